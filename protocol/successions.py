"""Who acts for a gateway: its first key, the key that replaced a lost one, or a backup that took over.

The claim of a transfer names both gateways and their keys, and the hash of the claim is in the chain (R40). So nothing
is written over the old name: whoever acts for the gateway from now on is a *succession*, told and answered:

    told        in Transfer-Resume and Transfer-Continue, once for all sessions: the certificate, and of a backup the
                epoch of its takeover. It counts at once: the one is the owner's word, the other the shared log's
    noted       in the log of whoever hears it, under no session, so that it is known after the next crash
    answered    in each session that both know: RECOVER or RECOVER-UPDATE with the certificate, signed with the new key,
                and the signed answer. Both stand in that session's log, at both gateways

A new message of a transfer counts only under the key that its session knows: the claim's, or that of its last
succession. What the predecessor said before stays what it is: in the chain already, it verifies for ever.

A gateway that lost its log, or part of it, no longer knows who acts for its peer in a session. Its position says which
key it knows, so the peer sees it and says RECOVER first. Nobody has to remember who was told.

Of a line of takeovers each certificate authorises the next one, so whoever missed some is shown all that came between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from protocol.certificates import BadCertificate, Certificate
from protocol.errors import Unanswered
from protocol.journal import Journal
from protocol.log import LogEntry, Operation
from protocol.messages import recovery as wire
from protocol.objects import Json
from protocol.peers import CertifiedKeys
from protocol.session import Session
from protocol.signing import Signed
from protocol.steps import RESTART, make_succession


@dataclass(frozen=True)
class Succession:
    """`certificate` acts for the gateway; since the takeover of this `epoch` if it is not the gateway's own."""

    gateway_id: str
    certificate: Certificate
    epoch: int = 0

    def as_json(self) -> Json:
        """How it stands in a log."""
        words = {"gatewayId": self.gateway_id, "kid": self.certificate.key.kid, "certificate": self.certificate.base64}
        return words | ({"backupId": self.certificate.gateway_id, "epoch": self.epoch} if self.epoch else {})

    @classmethod
    def from_json(cls, words: Json) -> Succession:
        return cls(words["gatewayId"], Certificate.from_base64(words["certificate"]), words.get("epoch", 0))


@dataclass
class Successions:
    """What one gateway knows of its peers, and tells of itself. `certificate` is its own if it is not the first one."""

    journal: Journal
    peers: CertifiedKeys
    certificate: Certificate | None = None
    on_succession: Callable[[Succession], None] = lambda succession: None
    takeovers: list[Succession] = field(default_factory=list)
    _told: dict[str, str] = field(default_factory=dict)  # messages that carried our certificate, by their digest

    # ------------------------------------------------------------------ of itself

    @property
    def is_backup(self) -> bool:
        """Whether this gateway acts because of a takeover."""
        return bool(self.takeovers)

    def note_own(self) -> Json:
        """At a restart: what is to be logged if this gateway has taken over from another since the last one."""
        entries = self.journal.read_chronicle()[1]
        self.takeovers = [Succession.from_json(each) for each in _list(entries, "takeover")]
        own, epoch = self.certificate, self.journal.epoch
        is_first = not self.takeovers and self.journal.identity.backup_id is None
        if own is None or not epoch or is_first or (self.takeovers and self.takeovers[-1].certificate == own):
            return {}
        self.takeovers.append(Succession(self.journal.identity.gateway_id, own, epoch))
        return {"takeover": self.takeovers[-1].as_json()}

    def compute_words(self, *, is_offer: bool = False) -> Json:
        """What an offer says of a gateway that does not act under its first key, and its answer."""
        if self.certificate is None:
            return {}
        before = [
            {"certificate": each.certificate.base64, "epoch": each.epoch} for each in _shorten(self.takeovers)[:-1]
        ]
        key = {"newIdentityPublicKey": self.journal.identity.key.public.jwk} if is_offer else self._compute_epoch()
        return key | {"certificate": self.certificate.base64} | ({"takeovers": before} if before else {})

    def compute_words_of_session(self) -> Json:
        """The same in RECOVER and RECOVER-UPDATE."""
        if self.certificate is None:
            return {}
        key = {"newIdentityPublicKey": self.journal.identity.key.public.jwk, "certificate": self.certificate.base64}
        return key | self._compute_epoch()

    def _compute_epoch(self) -> Json:
        return {"epoch": self.takeovers[-1].epoch} if self.takeovers else {}

    # ------------------------------------------------------------------ of the peers

    def try_out(self, signer: str, message: wire.RecoveryMessage) -> CertifiedKeys:
        """The keys of peers as they would be if this message were believed. Raises BadCertificate."""
        trial = self.peers.copy()
        line = _read_line(signer, message)
        for each in line:
            _adopt(trial, each, is_past=each is not line[-1])
        return trial

    def accept(self, signer: str, message: wire.RecoveryMessage) -> None:
        """A peer has shown another certificate. BadCertificate if it is neither its own nor that of its backup."""
        line = _read_line(signer, message)
        for each in line:
            if _adopt(self.peers, each, is_past=each is not line[-1]):
                self._note(each)
                if each.epoch:
                    self.on_succession(each)

    def accept_known(self) -> None:
        """The configuration knows the certificates of the first day; the log of this gateway what came after them."""
        for words in _list(self.journal.read_chronicle()[1], "succession"):
            known = Succession.from_json(words)
            with suppress(BadCertificate):  # a newer one is known already
                if known.epoch:
                    self.peers.restore_backup(known.certificate, known.gateway_id, known.epoch)
                else:
                    self.peers.adopt(known.certificate)

    def _note(self, succession: Succession) -> None:
        """Once, and not only with its open sessions: there may be none."""
        chronicle, entries = self.journal.read_chronicle()
        if succession.as_json() not in _list(entries, "succession"):
            payload = {"succession": succession.as_json()}
            self.journal.write(chronicle, RESTART, Operation.DONE, payload, closes=True)

    # ------------------------------------------------------------------ in a session

    def is_settled(self, session: Session, position: wire.Position, peer: str) -> bool:
        """Whether each of the two knows in this session whose key the other's is. `position` is the peer's."""
        own = self.journal.identity
        if not session.history or not position.messages:
            return True  # nothing is agreed yet that a succession could be added to
        known_there = position.peerKey or session.claimed_kid(own.gateway_id)
        return known_there == own.key.public.kid and session.kid_of(peer) == self.peers.current(peer).key.kid

    def is_told(self, session: Session) -> bool:
        """Whether the peer has answered, in this session, that the present key is ours."""
        own = self.journal.identity
        return not session.history or session.kid_of(own.gateway_id) == own.key.public.kid

    def tell(self, signed: Signed) -> None:
        """Note a message of ours that carries our certificate; its answer will be the peer's word for it."""
        if self.certificate is not None:
            self._told[signed.digest] = signed.compact

    def write_told(self, session: Session | None, name: str, answer: Signed) -> None:
        """The peer has answered the message of this digest, which told it: the succession is part of the session."""
        told, own = self._told.pop(name, None), self.journal.identity
        if session is None or not session.history or told is None or self.certificate is None:
            return
        if session.kid_of(own.gateway_id) != own.key.public.kid:
            epoch = self.takeovers[-1].epoch if self.takeovers else 0
            self._write(session, Succession(own.gateway_id, self.certificate, epoch), told, answer.compact)

    def verify_known(self, session: Session | None, signed: Signed) -> None:
        """Unanswered for a succession that this session does not know: its sender would take the answer for our word.

        For messages that answer nothing and so can change nothing.
        """
        tells = session is not None and session.history and "certificate" in signed.payload
        if session is not None and tells and session.kid_of(signed.signer) != signed.kid:
            raise Unanswered("a succession in an answer to nothing that we said last")

    def write_heard(self, session: Session | None, signed: Signed, answer: bytes | None) -> None:
        """The peer has said in this session who acts for it, and this is our answer."""
        encoded = signed.payload.get("certificate")
        if session is None or not session.history or encoded is None or session.kid_of(signed.signer) == signed.kid:
            return
        heard = Succession(signed.signer, Certificate.from_base64(encoded), signed.payload.get("epoch", 0))
        self._write(session, heard, signed.compact, answer.decode() if answer is not None else None)

    def _write(self, session: Session, succession: Succession, message: str, answer: str | None) -> None:
        signed = {"message": message} | ({"answer": answer} if answer else {})
        payload = {"succession": succession.as_json() | signed}
        row = make_succession(session.rows_done[-1].stage)
        self.journal.write(session, row, Operation.DONE, payload, recovery=wire.RECOVERY_NAMESPACE + "recover-msg")


def _list(entries: Iterable[LogEntry], name: str) -> list[Json]:
    return [entry.payload[name] for entry in entries if name in entry.payload]


def _read_line(signer: str, message: wire.RecoveryMessage) -> list[Succession]:
    """The certificates that a message brings, in the order in which they took over. Few messages bring one."""
    encoded = getattr(message, "certificate", None)
    if encoded is None:
        return []
    certificate, epoch = Certificate.from_base64(encoded), getattr(message, "epoch", None) or 0
    if not getattr(message, "isBackup", epoch > 0) and certificate.gateway_id == signer:
        return [Succession(signer, certificate)]
    before = getattr(message, "takeovers", None) or []
    line = [Succession(signer, Certificate.from_base64(each.certificate), each.epoch) for each in before]
    return [*line, Succession(signer, certificate, epoch)]


def _shorten(takeovers: list[Succession]) -> list[Succession]:
    """What one message has room for. From a certificate to itself is no way: of a round only the last one is told.

    A shorter line is told to everybody only when it has to be: who knows one of a round may not be named by it.
    """
    if len(takeovers) <= wire.MOST_TAKEOVERS + 1:
        return takeovers
    line: list[Succession] = []
    for each in takeovers:
        found = [place for place, before in enumerate(line) if before.certificate == each.certificate]
        line = [*line[: found[0] if found else None], each]
    return line[-wire.MOST_TAKEOVERS - 1 :]


def _adopt(peers: CertifiedKeys, succession: Succession, *, is_past: bool) -> bool:
    """Whether it was new. BadCertificate if it cannot be. `is_past` as in `verify_backup`."""
    name, certificate, epoch = succession.gateway_id, succession.certificate, succession.epoch
    known, acting = peers.epoch_of(name), peers.current(name)
    if epoch and epoch <= known:
        return False
    if not epoch:
        return peers.adopt(certificate)
    is_new = bool(known) and acting.gateway_id == certificate.gateway_id and peers.adopt(certificate)  # a new key
    return peers.adopt_backup(certificate, name, epoch, is_past=is_past) or is_new
