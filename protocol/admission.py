"""Who may say what in a recovery. All of it is verified before anything is looked up, written or done.

    key        the signature is of a key that counts now; a new key comes with its certificate, of the same owner,
               and is the very key that signed (R26)
    session    its peer alone may speak about a session; what others have with us, or with each other through our
               network, is neither told nor touched
    position   it is about this session, of the other role, and has a head if it has messages
    chain      it carries no context but that of the session

Certificates are judged in peers.py, positions in facts.py. Nothing is remembered here but which offers were
heard: one that comes again is answered, and takes the place of none that came later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from protocol.certificates import BadCertificate, Certificate
from protocol.errors import BAD_SIGNATURE, INSUFFICIENT_PERMISSIONS, INVALID_MESSAGE_TYPE, Refused
from protocol.facts import verify_position
from protocol.journal import Journal
from protocol.messages import recovery as wire
from protocol.peers import KeyReplaced
from protocol.salvage import Salvage
from protocol.session import Session
from protocol.signing import BadSignature, NotSigned, PublicKey, Signed, read_payload
from protocol.successions import Successions

_Telling: TypeAlias = wire.TransferResume | wire.TransferContinue | wire.Recover | wire.RecoverUpdate
MOST_NONCES = 64  # of a peer's offers that are remembered; an older one counts as new, and is offered once more


@dataclass
class Answered:
    """What was answered to a peer: the last nonces of its offers, oldest first; the hashes of our answers to the last.

    An old offer that arrives again is answered, and is not the last one.
    """

    nonces: dict[str, None] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)

    def add(self, nonce: str, digest: str, is_next_page: bool) -> None:
        """One more answer. A next page belongs to the offers before it; any other new offer ends them."""
        if nonce not in self.nonces:
            self.nonces[nonce] = None
            if len(self.nonces) > MOST_NONCES:
                del self.nonces[next(iter(self.nonces))]
            if not is_next_page:
                self.digests.clear()
        if nonce == next(reversed(self.nonces)):
            self.digests.add(digest)


class Admission:
    """The door of one gateway for recovery messages. Every method refuses, and changes nothing."""

    def __init__(self, journal: Journal, salvage: Salvage, successions: Successions) -> None:
        self._journal = journal
        self._salvage = salvage
        self._successions = successions
        self._peers = successions.peers

    def verify(self, data: bytes) -> Signed:
        """Signature over the bytes received.

        A replaced key counts for what is in the chain already, a new one for the message with its certificate.
        """
        try:
            return self._peers.verify(data)
        except BadSignature as error:
            try:
                found = self._find_in_chain(data, error) or self._verify_newcomer(data)
            except Refused as refusal:
                raise Refused(refusal.reason, code=BAD_SIGNATURE, found=error.found) from error
            if found is None:
                raise Refused(error.reason, code=BAD_SIGNATURE, found=error.found) from error
            return found
        except NotSigned as error:
            raise Refused(error.reason, code=INVALID_MESSAGE_TYPE, found=error.found) from error

    def _find_in_chain(self, data: bytes, error: BadSignature) -> Signed | None:
        """What was signed with a key that was replaced since, if it is in the chain already."""
        if not isinstance(error, KeyReplaced):
            return None
        signed = self._peers.verify_stored(data)
        session = self._journal.find(str(signed.payload.get("sessionId", "")))
        return signed if session is not None and signed.digest in session.history else None

    def _verify_newcomer(self, data: bytes) -> Signed | None:
        """A signature under a key that does not count yet: the message brings the certificate, of the same owner (R26).

        Nothing is accepted by this but the one message. None if it brings no certificate, BadCertificate if a bad one.
        """
        payload = read_payload(data)
        if not wire.is_recovery(payload) or "certificate" not in payload:
            return None
        message = wire.parse_recovery(payload)
        if isinstance(message, wire.TransferResume | wire.TransferContinue):
            return self._successions.try_out(message.gatewayId, message).verify(data)
        certificate = Certificate.from_base64(str(payload["certificate"]))
        return self._successions.try_out(certificate.gateway_id, message).verify(data)

    def verify_sender(self, signed: Signed, sender: str, receiver: str) -> None:
        expected = (signed.signer, self._journal.identity.gateway_id)
        if (sender, receiver) != expected:
            words = "between other gateways"
            raise Refused(words, code=INSUFFICIENT_PERMISSIONS, expected=expected, found=(sender, receiver))

    def verify_about(self, session: Session | None, message: wire.RecoveryMessage, signed: Signed) -> None:
        """Refused unless it comes from the peer of the session, and is about this session only."""
        assert not isinstance(message, wire.TransferResume | wire.TransferContinue)
        self._verify_between(session, message.sessionId, signed.signer)
        if session is not None and session.context and message.contextId not in (None, session.context):
            words, code = "mismatch contextId", INVALID_MESSAGE_TYPE
            raise Refused(words, code=code, field="contextId", expected=session.context, found=message.contextId)
        if isinstance(message, wire.Recover | wire.RecoverUpdate) and message.position is not None:
            verify_position(message.position, message.sessionId, session)
        if isinstance(message, wire.Recover | wire.RecoverUpdate):
            self.verify_key(message, signed)

    def _verify_between(self, session: Session | None, session_id: str, peer: str) -> None:
        """What others have with us, or with each other, is no business of this peer's."""
        if session is not None:
            session.verify_peer(peer)
        else:
            self._salvage.verify_between(session_id, peer)

    def is_between(self, session: Session | None, position: wire.Position, peer: str) -> bool:
        """Whether what a list says of a session can be: one wrong line must not hold up the others."""
        try:
            self._verify_between(session, position.sessionId, peer)
            verify_position(position, position.sessionId, session)
        except Refused:
            return False
        return True

    def verify_key(self, message: _Telling, signed: Signed) -> None:
        """R26: a new key is the one that signed, and its certificate is of that key, and of whoever may act."""
        new_key = None if isinstance(message, wire.TransferContinue) else message.newIdentityPublicKey
        if new_key is not None:
            found = PublicKey.from_jwk(new_key).kid
            if found != signed.kid:
                words, name = "newIdentityPublicKey is not the key that signed", "newIdentityPublicKey"
                raise Refused(words, code=BAD_SIGNATURE, field=name, expected=signed.kid, found=found)
        if message.certificate is not None:
            try:
                trial = self._successions.try_out(signed.signer, message)
            except BadCertificate as error:
                raise Refused(error.reason, code=BAD_SIGNATURE, field="certificate", found=error.found) from error
            certificate = Certificate.from_base64(message.certificate)
            if certificate != trial.current(signed.signer) or certificate.key.kid != signed.kid:
                words = "the certificate is not of the gateway and the key that signed"
                raise Refused(words, code=BAD_SIGNATURE, field="certificate", found=certificate)
