"""Who a key belongs to: owner CAs and the certificates of their gateways (SATP 4.4, 11.2 (b), RFC 5280).

An owner, the legal entity that answers for its gateways, certifies the signing key of each of them. A
certificate binds gateway id, owner and key for a time. Everything about it is judged here, in one place
and against the clock that is passed in: issuer, signature, identity, validity, replacement, revocation.
Nothing reads the wall clock, so a run that takes place in 2024 is judged in 2024. The certificates carry
what RFC 5280 asks of a CA, so that OpenSSL in its strict mode can build the same chains.

`CertifiedKeys` is the ring of keys that a gateway accepts from its peers, and the life of each certificate:

    current    the one with the highest serial number of this gateway and this owner; it signs, it connects
    former     it was replaced: its key verifies what is in a chain already, and nothing new
    revoked    the owner took it back: as a former one, but only a higher serial number brings the gateway back

A certificate that is not current and valid when a message arrives makes its signature worth nothing (C27:
the draft fixes the keys at the start of a session and says nothing about the days that a recovery may take).
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey

from protocol.errors import Misuse, Refused
from protocol.signing import BadSignature, KeyPair, KeyRing, PublicKey, Signed

VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2099, 12, 31, tzinfo=UTC)
CA_SERIAL = 2**64  # of an owner's own certificate; those of its gateways count from 1


class BadCertificate(BadSignature):
    """A certificate that does not show what it should: SATP 11.2 (b) names the reasons, and so does the text."""


class KeyReplaced(BadCertificate):
    """A good signature with a key that its gateway has replaced. `verify_stored` still accepts it."""


@dataclass(frozen=True)
class Certificate:
    """An X.509 certificate of a gateway's signing key, as DER bytes."""

    der: bytes

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """A certificate that somebody else shows. BadCertificate unless all that is asked of it later can be read."""
        shown = cls(der)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what the library only warns of, a negative serial number, is no better
                _ = shown.gateway_id, shown.owner, shown.serial, shown.key, shown.x509.signature_hash_algorithm
                _ = shown.x509.not_valid_before_utc, shown.x509.not_valid_after_utc
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, Warning) as error:
            raise BadCertificate("these bytes are not a certificate that can be read (RFC 5280)") from error
        return shown

    @classmethod
    def from_base64(cls, text: str) -> Certificate:
        """The certificate that `base64` wrote, out of a JSON message. Raises BadCertificate."""
        try:
            return cls.from_der(base64.b64decode(text, validate=True))
        except (ValueError, TypeError) as error:
            raise BadCertificate("a certificate is sent as the base64 of its DER bytes") from error

    @cached_property
    def base64(self) -> str:
        return base64.b64encode(self.der).decode("ascii")

    @cached_property
    def as_pem(self) -> str:
        return self.x509.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @cached_property
    def x509(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)

    @cached_property
    def gateway_id(self) -> str:
        return _read_name(self.x509.subject, NameOID.COMMON_NAME)

    @cached_property
    def owner(self) -> str:
        return _read_name(self.x509.subject, NameOID.ORGANIZATION_NAME)

    @property
    def serial(self) -> int:
        return self.x509.serial_number

    @cached_property
    def key(self) -> PublicKey:
        public = self.x509.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise BadCertificate(
                f"the certificate of {self.gateway_id} is for another kind of key than SATP 5.2 asks for"
            )
        return PublicKey(ECKey.import_key(public))

    def __repr__(self) -> str:
        until = self.x509.not_valid_after_utc.date()
        return f"certificate {self.serial} of {self.gateway_id}, owner {self.owner}, valid until {until}"


@dataclass(frozen=True)
class OwnerCA:
    """An owner and the key with which it certifies its gateways."""

    owner: str
    key: KeyPair

    @cached_property
    def certificate(self) -> Certificate:
        """The owner's own, signed by itself: where the chains that OpenSSL verifies end. The same bytes every time."""
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        public = _as_ec(self.key.public)
        builder = (
            self._begin(f"{self.owner} CA", self.key.public, CA_SERIAL, VALID_FROM, VALID_UNTIL)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        return self._sign(builder)

    def certify(
        self,
        gateway_id: str,
        key: PublicKey,
        *,
        serial: int = 1,
        valid_from: datetime = VALID_FROM,
        valid_until: datetime = VALID_UNTIL,
    ) -> Certificate:
        """A certificate for the signing key of one gateway. A higher serial number replaces a lower one."""
        public = _as_ec(self.key.public)
        builder = (
            self._begin(gateway_id, key, serial, valid_from, valid_until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        )
        return self._sign(builder)

    def _begin(
        self, name: str, key: PublicKey, serial: int, valid_from: datetime, valid_until: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_make_name(name, self.owner))
            .issuer_name(_make_name(f"{self.owner} CA", self.owner))
            .public_key(_as_ec(key))
            .serial_number(serial)
            .not_valid_before(valid_from)
            .not_valid_after(valid_until)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> Certificate:
        signer = self.key.key.private_key
        assert isinstance(signer, ec.EllipticCurvePrivateKey), "an owner's key is P-256"
        signed = builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True)
        return Certificate(signed.public_bytes(serialization.Encoding.DER))

    def verify_issued(self, certificate: Certificate) -> None:
        """Raise BadCertificate unless this owner signed it, for a gateway of its own."""
        if certificate.owner != self.owner:
            words = f"the certificate of {certificate.gateway_id} names another owner"
            raise BadCertificate(words, expected=self.owner, found=certificate.owner)
        public = _as_ec(self.key.public)
        body, algorithm = certificate.x509.tbs_certificate_bytes, certificate.x509.signature_hash_algorithm
        try:
            public.verify(certificate.x509.signature, body, ec.ECDSA(algorithm or hashes.SHA256()))
        except InvalidSignature as error:
            raise BadCertificate(
                f"the certificate of {certificate.gateway_id} was not signed by {self.owner}"
            ) from error


class CertifiedKeys(KeyRing):
    """The keys of peers, each by a certificate that is judged whenever one of its signatures arrives.

    Serial numbers are compared here and nowhere else. A refused call changes nothing.
    """

    def __init__(
        self, certificates: Iterable[Certificate], owners: Iterable[OwnerCA], now: Callable[[], datetime]
    ) -> None:
        super().__init__(())
        self._owners = {owner.owner: owner for owner in owners}
        self._now = now
        self._current: dict[str, Certificate] = {}
        self._revoked: set[tuple[str, int]] = set()
        for certificate in sorted(certificates, key=lambda each: each.serial):
            self.admit(certificate)

    def admit(self, certificate: Certificate) -> None:
        """What the configuration says, never a message: a gateway's first certificate. Of a known one as `adopt`."""
        if certificate.gateway_id in self._current:
            self.adopt(certificate)
            return
        owner = self._owners.get(certificate.owner)
        if owner is None:
            raise BadCertificate(f"{certificate!r}: this owner is not known here")
        owner.verify_issued(certificate)
        self._make_current(certificate)

    def add(self, owner: str, key: PublicKey) -> None:
        raise Misuse(f"a key of {owner} comes with its certificate: admit or adopt that")

    def current(self, gateway_id: str) -> Certificate:
        """The certificate that no other has replaced, valid now or not. BadCertificate for a gateway unknown here."""
        if gateway_id not in self._current:
            raise BadCertificate(f"no certificate of {gateway_id} is known here")
        return self._current[gateway_id]

    def adopt(self, certificate: Certificate) -> bool:
        """A certificate that replaces the current one of its gateway; False if it is that one already.

        BadCertificate unless the same owner issued it, with a higher serial number, and did not revoke it. Whether it
        is valid now is not asked: a log may be read again long after. What a peer shows goes through `judge`.
        """
        if not self._is_successor(certificate):
            return False
        self._refuse_revoked(certificate)
        self._make_current(certificate)
        return True

    def verify_successor(self, certificate: Certificate) -> None:
        """BadCertificate unless `adopt` would take it, and it is valid now. Nothing is adopted."""
        self._is_successor(certificate)
        self._refuse_revoked(certificate)
        self._refuse_invalid(certificate)

    def revoke(self, certificate: Certificate | int, gateway_id: str) -> None:
        """The owner took a certificate back, or a serial number of a gateway: it neither signs nor connects now."""
        serial = certificate if isinstance(certificate, int) else certificate.serial
        self._revoked.add((gateway_id, serial))

    def judge(self, der: bytes, gateway_id: str) -> Certificate:
        """What must hold of the certificate that a peer shows in a handshake, a full or a resumed one.

        It can be read, is of this gateway, was issued by the owner of the current one, is the current one or
        its successor (which is then adopted), was not revoked, and is valid now. Otherwise BadCertificate says which.
        """
        current = self.current(gateway_id)
        certificate = current if der == current.der else Certificate.from_der(der)
        if certificate.gateway_id != gateway_id:
            words = "the certificate is one of another gateway"
            raise BadCertificate(words, expected=gateway_id, found=certificate.gateway_id)
        is_successor = self._is_successor(certificate)
        self._refuse_revoked(certificate)
        self._refuse_invalid(certificate)
        if is_successor:
            self._make_current(certificate)
        return certificate

    def verify(self, compact: bytes | str) -> Signed:
        """As KeyRing; besides, BadCertificate if the certificate was revoked or is not valid now, or KeyReplaced."""
        signed = super().verify(compact)
        certificate = self._current[signed.signer]
        if signed.kid != certificate.key.kid:
            raise KeyReplaced(f"the key of {signed.signer} was replaced by certificate {certificate.serial}")
        self._refuse_revoked(certificate)
        self._refuse_invalid(certificate)
        return signed

    def verify_stored(self, compact: bytes | str) -> Signed:
        """For what is in the chain of a session already, and stored replies sent again: any key that was ever current.

        It was judged when it came. Validity and revocation are not asked again: history does not expire.
        """
        return super().verify(compact)

    def _is_successor(self, certificate: Certificate) -> bool:
        """Of the current one: False if it is that one itself. BadCertificate if it is neither."""
        current = self.current(certificate.gateway_id)
        if certificate.der == current.der:
            return False  # who issued it was verified when it became current
        self._owners[current.owner].verify_issued(certificate)
        if certificate.serial <= current.serial:
            another = "another certificate" if certificate.serial == current.serial else "certificate"
            words = f"certificate {certificate.serial} of {certificate.gateway_id} was replaced"
            raise BadCertificate(f"{words} by {another} {current.serial}")
        return True

    def _make_current(self, certificate: Certificate) -> None:
        """Nobody takes the key of another gateway for its own, and a key that was replaced does not come back."""
        gateway_id, kid = certificate.gateway_id, certificate.key.kid
        owner, _ = self._by_kid.get(kid, (gateway_id, None))
        if owner != gateway_id:
            raise BadCertificate(f"certificate {certificate.serial} of {gateway_id} is for a key of {owner}")
        if kid in self._by_kid and self._current[gateway_id].key.kid != kid:
            raise BadCertificate(f"certificate {certificate.serial} of {gateway_id} is for a key that was replaced")
        self._current[gateway_id] = certificate
        super().add(gateway_id, certificate.key)

    def _refuse_revoked(self, certificate: Certificate) -> None:
        if (certificate.gateway_id, certificate.serial) in self._revoked:
            raise BadCertificate(f"certificate {certificate.serial} of {certificate.gateway_id} was revoked")

    def _refuse_invalid(self, certificate: Certificate) -> None:
        begins, ends = certificate.x509.not_valid_before_utc, certificate.x509.not_valid_after_utc
        now = self._now()
        if not begins <= now <= ends:
            word = "not valid before" if now < begins else "expired at"
            limit = begins if now < begins else ends
            raise BadCertificate(f"the certificate of {certificate.gateway_id} is {word} {limit:%Y-%m-%dT%H:%M:%SZ}")


def _make_name(common_name: str, organization: str) -> x509.Name:
    attributes = [(NameOID.COMMON_NAME, common_name), (NameOID.ORGANIZATION_NAME, organization)]
    return x509.Name([x509.NameAttribute(oid, text[:64]) for oid, text in attributes])


def _read_name(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    if len(found) != 1:
        raise BadCertificate("a gateway's certificate has one common name and one organization")
    return str(found[0].value)


def _as_ec(key: PublicKey) -> ec.EllipticCurvePublicKey:
    public = key.key.public_key
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise Refused("SATP signatures are ES256: the key must be on P-256")
    return public
