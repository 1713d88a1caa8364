"""The certificates of a gateway's peers: which one counts, what replaces it, and who takes over (RECOVERY 6.1).

`CertifiedKeys` is the ring of keys that a gateway accepts from its peers. Everything about their certificates is
judged here, in one place and against the clock that is passed in: issuer, signature, identity, validity,
replacement, revocation. Nothing reads the wall clock, so a run that takes place in 2024 is judged in 2024.

    current    the certificate of whoever acts for a gateway; its key signs, and it connects
    former     it was replaced: its key verifies what is in a chain already, and nothing new
    revoked    the owner took it back: as a former one, but only a higher serial number brings the gateway back

A certificate that is not current and valid when a message arrives makes its signature worth nothing (C27:
the draft fixes the keys at the start of a session and says nothing about the days that a recovery may take).

A certificate is replaced in two ways. A **successor** is of the same gateway, with a higher serial number: the
key that it replaces may be stolen and never comes back. A **backup** is another gateway that acts for the one that
it replaces, from an epoch on; all that it signs counts as signed by that one. The key that it replaces is only
fenced off, and may come back with a later epoch, if the certificate of the backup names it in its turn.

Who may take over is RECOVERY 6.1 (1) to (3), and what these leave open: `Condition` lists it, and a refusal says
which one it was. The list that counts is that of the current certificate, so a backup may name its own backups.
A handshake adopts successors and never a backup: a takeover has an epoch, and the epoch comes in a signed offer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from enum import StrEnum

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import SubjectAlternativeName
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from protocol.certificates import BadCertificate, Certificate, OwnerCA, compute_key_hash
from protocol.errors import Misuse
from protocol.signing import KeyRing, PublicKey, Signed


class KeyReplaced(BadCertificate):
    """A good signature with a key that its gateway has replaced. `verify_stored` still accepts it."""


class Condition(StrEnum):
    """What must hold of a backup before it is believed."""

    PATH = "certification path"  # RECOVERY 6.1 (1): it ends at a trusted root
    PARENT = "parent certificate"  # 6.1 (2): the very one that issued the certificate of the gateway it replaces
    LISTED = "list of backups"  # 6.1 (3): the current certificate names its key
    ORGANIZATION = "organization"  # of both the same: customers of a public CA share a parent (R38)
    PREDECESSOR = "predecessor"  # its certificate, which holds the list, was not taken back
    REVOKED = "revocation"  # the backup's own certificate was not either
    VALIDITY = "validity"  # it is valid now
    SERIAL = "serial number"  # no newer certificate of the same backup is known
    IDENTITY = "gateway id"  # not the gateway that it replaces, and nobody's who is a peer otherwise
    KEY = "key"  # of no other gateway, and not one that was lost
    EPOCH = "epoch"  # later than every one that was told of this gateway (R18)


class NotABackup(BadCertificate):
    """Whoever this is, it does not take over. `condition` is the one that does not hold."""

    def __init__(self, condition: Condition, reason: str, *, expected: object = None, found: object = None) -> None:
        super().__init__(reason, expected=expected, found=found)
        self.condition = condition


class CertifiedKeys(KeyRing):
    """The keys of peers, each by a certificate that is judged whenever one of its signatures arrives.

    Serial numbers and epochs are compared here and nowhere else. A refused call changes nothing.
    """

    def __init__(
        self,
        certificates: Iterable[Certificate],
        owners: Iterable[OwnerCA],
        now: Callable[[], datetime],
        *,
        roots: Iterable[Certificate] | None = None,
    ) -> None:
        """`roots` are trusted, and no owner outside them is; if they are not given, those of the owners."""
        super().__init__(())
        self._owners = tuple(owners)
        found = (owner.root.certificate for owner in self._owners) if roots is None else roots
        self.roots = tuple(dict.fromkeys(found))
        self._now = now
        self._latest: dict[str, Certificate] = {}  # by the id in the certificate, be it a peer or a backup of one
        self._speaks_for: dict[str, str] = {}  # the same ids, and for which peer each speaks
        self._acting: dict[str, str] = {}  # which of these ids acts for a peer
        self._issuers: dict[str, OwnerCA] = {}  # of a peer and of all its backups
        self._epochs: dict[str, int] = {}
        self._names: dict[str, str] = {}  # kid to the id in its certificate
        self._revoked: set[tuple[str, int]] = set()
        for certificate in sorted(certificates, key=lambda each: each.serial):
            self.admit(certificate)

    def admit(self, certificate: Certificate) -> None:
        """What the configuration says, never a message: a gateway's first certificate. Of a known one as `adopt`."""
        gateway_id = certificate.gateway_id
        if gateway_id in self._latest:
            self.adopt(certificate)
            return
        issuer = self._find_issuer(certificate)
        self._make_latest(certificate, gateway_id)
        self._issuers[gateway_id], self._acting[gateway_id] = issuer, gateway_id

    def copy(self) -> CertifiedKeys:
        """The same knowledge, to be tried out: what is adopted there is not adopted here."""
        twin = copy(self)
        for name, known in vars(self).items():
            if isinstance(known, dict | set):
                setattr(twin, name, known.copy())
        return twin

    def add(self, owner: str, key: PublicKey) -> None:
        raise Misuse(f"a key of {owner} comes with its certificate: admit or adopt that")

    def current(self, gateway_id: str) -> Certificate:
        """The certificate that no other has replaced, valid now or not. BadCertificate for a gateway unknown here.

        After a takeover it is that of the backup.
        """
        if gateway_id not in self._acting:
            raise BadCertificate(f"no certificate of {gateway_id} is known here")
        return self._latest[self._acting[gateway_id]]

    # ------------------------------------------------------------------ successors

    def adopt(self, certificate: Certificate) -> bool:
        """A certificate that replaces an earlier one of its gateway, or of its backup; False if it is known already.

        BadCertificate unless the same owner issued it, with a higher serial number, and did not revoke it. Whether it
        is valid now is not asked: a log may be read again long after. What a peer shows goes through `judge`. Who
        acts for the gateway stays the same.
        """
        if not self._is_successor(certificate):
            return False
        self._refuse_revoked(certificate)
        self._make_latest(certificate, self._speaks_for[certificate.gateway_id])
        return True

    def revoke(self, certificate: Certificate | int, gateway_id: str) -> None:
        """The owner took a certificate back, or a serial number of a gateway: it neither signs nor connects now."""
        serial = certificate if isinstance(certificate, int) else certificate.serial
        self._revoked.add((gateway_id, serial))

    # ------------------------------------------------------------------ backups

    def epoch_of(self, gateway_id: str) -> int:
        """The latest epoch that was told of this gateway by whoever acts for it; 0 if none ever was."""
        return self._epochs.get(gateway_id, 0)

    def verify_backup(self, certificate: Certificate, gateway_id: str, epoch: int, *, is_past: bool = False) -> None:
        """NotABackup unless this certificate's gateway may act for `gateway_id` from `epoch` on. Nothing is adopted.

        Whoever acts already need not be authorised again: only its epoch and its certificate are judged.
        `is_past`: another one took over from it since, so its certificate may have expired; all that it has to do is
        to name that one.
        """
        current, name = self.current(gateway_id), certificate.gateway_id
        self._refuse_earlier(certificate, gateway_id, epoch)
        with _as_condition(Condition.REVOKED):
            self._refuse_revoked(certificate)
        at = min(self._now(), certificate.x509.not_valid_after_utc) if is_past else self._now()
        with _as_condition(Condition.VALIDITY):
            self._refuse_invalid(certificate, at)
        if certificate.der == current.der and self.epoch_of(gateway_id):
            return
        self._refuse_stranger(certificate, gateway_id)
        parent, expected = self._verify_path(certificate, at), self._issuers[gateway_id].certificate
        if parent != expected:
            words = f"the certificate of {name} has another parent than that of {current.gateway_id}"
            raise NotABackup(Condition.PARENT, words, expected=expected, found=parent)
        if certificate.owner != current.owner:
            words = f"{name} belongs to another organization than {current.gateway_id}"
            raise NotABackup(Condition.ORGANIZATION, words, expected=current.owner, found=certificate.owner)
        if name == gateway_id and self._is_revoked(current):
            return  # its backup was taken back: the gateway itself needs nobody's leave to act again
        with _as_condition(Condition.PREDECESSOR):
            self._refuse_revoked(current)
        if compute_key_hash(certificate.key) not in current.backups:
            words = f"the key of {name} is not among the authorised backups of {current.gateway_id}"
            raise NotABackup(Condition.LISTED, words)

    def adopt_backup(self, certificate: Certificate, gateway_id: str, epoch: int, *, is_past: bool = False) -> bool:
        """From now on this certificate's gateway acts for `gateway_id`; False if it did already.

        Even then its epoch may rise. NotABackup if `verify_backup` says so.
        """
        self.verify_backup(certificate, gateway_id, epoch, is_past=is_past)
        is_new = certificate.der != self.current(gateway_id).der
        if is_new:
            self._make_latest(certificate, gateway_id)
        self._acting[gateway_id], self._epochs[gateway_id] = certificate.gateway_id, epoch
        return is_new

    def restore_backup(self, certificate: Certificate, gateway_id: str, epoch: int) -> None:
        """What this gateway's own log says that it adopted. It was judged when it came.

        What changes with time is not asked again: a certificate that has expired since must not let the one back in
        that was replaced. A newer certificate of the same backup that is known already stays.
        """
        self.current(gateway_id)
        self._refuse_earlier(certificate, gateway_id, epoch)
        known = self._latest.get(certificate.gateway_id)
        self._refuse_other_peer(certificate, gateway_id)
        if known is None or certificate.serial > known.serial:
            self._issuers[gateway_id].verify_issued(certificate)
            self._make_latest(certificate, gateway_id)
        self._acting[gateway_id], self._epochs[gateway_id] = certificate.gateway_id, epoch

    # ------------------------------------------------------------------ what arrives

    def judge(self, der: bytes, gateway_id: str) -> Certificate:
        """What must hold of the certificate that a peer shows in a handshake, a full or a resumed one.

        It can be read, is of whoever acts for this gateway, was issued by the owner of the current one, is the
        current one or its successor (which is then adopted), was not revoked, and is valid now. Otherwise
        BadCertificate says which.
        """
        current = self.current(gateway_id)
        certificate = current if der == current.der else Certificate.from_der(der)
        name = certificate.gateway_id
        if name != current.gateway_id:
            if self._speaks_for.get(name) == gateway_id:
                raise BadCertificate(self._explain_fence(name, gateway_id))
            words = "the certificate is one of another gateway"
            raise BadCertificate(words, expected=current.gateway_id, found=name)
        is_successor = self._is_successor(certificate)
        self._refuse_revoked(certificate)
        self._refuse_invalid(certificate)
        if is_successor:
            self._make_latest(certificate, gateway_id)
        return certificate

    def verify(self, compact: bytes | str) -> Signed:
        """As KeyRing; besides, BadCertificate if the certificate was revoked or is not valid now, or KeyReplaced."""
        signed = super().verify(compact)
        certificate, name = self.current(signed.signer), self._names[signed.kid]
        if name != certificate.gateway_id:
            raise KeyReplaced(self._explain_fence(name, signed.signer))
        if signed.kid != certificate.key.kid:
            raise KeyReplaced(f"the key of {name} was replaced by certificate {certificate.serial}")
        self._refuse_revoked(certificate)
        self._refuse_invalid(certificate)
        return signed

    def verify_stored(self, compact: bytes | str) -> Signed:
        """For what is in the chain of a session already, and stored replies sent again: any key that was ever current.

        It was judged when it came. Validity and revocation are not asked again: history does not expire.
        """
        return super().verify(compact)

    # ------------------------------------------------------------------ the single conditions

    def _find_issuer(self, certificate: Certificate) -> OwnerCA:
        """Under a trusted root, and for this organization. BadCertificate if no owner known here signed it."""
        owners = [owner for owner in self._owners if certificate.owner in owner.organizations]
        refusal = BadCertificate(f"{certificate!r}: this owner is not known here")
        for owner in owners:
            try:
                owner.verify_issued(certificate)
            except BadCertificate as error:
                refusal = error
                continue
            if owner.root.certificate in self.roots:
                return owner
            refusal = BadCertificate(f"{certificate!r}: its owner is certified by no root that is trusted here")
        raise refusal

    def _is_successor(self, certificate: Certificate) -> bool:
        """Of the latest one of the same id: False if it is that one itself. BadCertificate if it is neither."""
        name = certificate.gateway_id
        if name not in self._latest:
            raise BadCertificate(f"no certificate of {name} is known here")
        latest = self._latest[name]
        if certificate.der == latest.der:
            return False  # who issued it was verified when it became current
        if certificate.owner != latest.owner:
            words = f"the certificate of {name} names another owner"
            raise BadCertificate(words, expected=latest.owner, found=certificate.owner)
        self._issuers[self._speaks_for[name]].verify_issued(certificate)
        self._refuse_older(certificate)
        return True

    def _refuse_older(self, certificate: Certificate) -> None:
        latest = self._latest.get(certificate.gateway_id, certificate)
        if certificate.der != latest.der and certificate.serial <= latest.serial:
            another = "another certificate" if certificate.serial == latest.serial else "certificate"
            words = f"certificate {certificate.serial} of {certificate.gateway_id} was replaced"
            raise BadCertificate(f"{words} by {another} {latest.serial}")

    def _refuse_taken(self, certificate: Certificate) -> None:
        """Nobody takes the key of another gateway for its own, and a key that was lost does not come back."""
        name, kid = certificate.gateway_id, certificate.key.kid
        owner = self._names.get(kid, name)
        if owner != name:
            raise BadCertificate(f"certificate {certificate.serial} of {name} is for a key of {owner}")
        if kid in self._names and self._latest[name].key.kid != kid:
            raise BadCertificate(f"certificate {certificate.serial} of {name} is for a key that was replaced")

    def _refuse_earlier(self, certificate: Certificate, gateway_id: str, epoch: int) -> None:
        """A new one has a later epoch. Whoever acts may say its own again, and raises it with every restart."""
        is_acting = certificate.gateway_id == self._acting[gateway_id]
        least = self.epoch_of(gateway_id) + (not is_acting)
        if epoch < least:
            words = f"epoch {epoch} of {gateway_id} is over: its epoch is {self.epoch_of(gateway_id)}"
            raise NotABackup(Condition.EPOCH, words)

    def _refuse_other_peer(self, certificate: Certificate, gateway_id: str) -> None:
        name = certificate.gateway_id
        peer = self._speaks_for.get(name, gateway_id)
        if peer != gateway_id:
            words = "a peer of its own" if peer == name else f"a backup of {peer}"
            raise NotABackup(Condition.IDENTITY, f"{name} is {words} here and does not act for {gateway_id}")

    def _refuse_stranger(self, certificate: Certificate, gateway_id: str) -> None:
        """It is neither the one that it replaces, nor somebody else, nor somebody that it was once."""
        self._refuse_other_peer(certificate, gateway_id)
        if certificate.gateway_id == self._acting[gateway_id]:
            words = f"{certificate.gateway_id} does not replace itself: a new certificate of it is a successor"
            raise NotABackup(Condition.IDENTITY, words)
        with _as_condition(Condition.KEY):
            self._refuse_taken(certificate)
        with _as_condition(Condition.SERIAL):
            self._refuse_older(certificate)

    def _verify_path(self, certificate: Certificate, at: datetime) -> Certificate:
        """RFC 5280 section 6, by the library: the parent, on a path over the owners known here to a trusted root.

        The library's own rules are those of the web. One is changed: a gateway has no host name to be known by.
        """
        gateways = ExtensionPolicy.webpki_defaults_ee()
        gateways = gateways.may_be_present(SubjectAlternativeName, Criticality.AGNOSTIC, None)
        policy = (
            PolicyBuilder()
            .store(Store([root.x509 for root in self.roots]))
            .time(at.astimezone(UTC))
            .max_chain_depth(1)
            .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=gateways)
        )
        try:
            between = [owner.certificate.x509 for owner in self._owners]
            path = policy.build_client_verifier().verify(certificate.x509, between).chain
        except VerificationError as error:
            words = f"no certification path leads from {certificate.gateway_id} to a trusted root"
            raise NotABackup(Condition.PATH, words) from error
        return Certificate(path[1].public_bytes(Encoding.DER))

    def _make_latest(self, certificate: Certificate, gateway_id: str) -> None:
        self._refuse_taken(certificate)
        name, key = certificate.gateway_id, certificate.key
        self._latest[name], self._speaks_for[name], self._names[key.kid] = certificate, gateway_id, name
        super().add(gateway_id, key)

    def _explain_fence(self, name: str, gateway_id: str) -> str:
        acting = self._acting[gateway_id]
        return f"{name} was replaced: {acting} acts for {gateway_id} since epoch {self.epoch_of(gateway_id)}"

    def _is_revoked(self, certificate: Certificate) -> bool:
        return (certificate.gateway_id, certificate.serial) in self._revoked

    def _refuse_revoked(self, certificate: Certificate) -> None:
        if self._is_revoked(certificate):
            raise BadCertificate(f"certificate {certificate.serial} of {certificate.gateway_id} was revoked")

    def _refuse_invalid(self, certificate: Certificate, at: datetime | None = None) -> None:
        begins, ends = certificate.x509.not_valid_before_utc, certificate.x509.not_valid_after_utc
        now = at or self._now()
        if not begins <= now <= ends:
            word = "not valid before" if now < begins else "expired at"
            limit = begins if now < begins else ends
            raise BadCertificate(f"the certificate of {certificate.gateway_id} is {word} {limit:%Y-%m-%dT%H:%M:%SZ}")


@contextmanager
def _as_condition(condition: Condition) -> Iterator[None]:
    try:
        yield
    except BadCertificate as error:
        raise NotABackup(condition, error.reason, expected=error.expected, found=error.found) from error
