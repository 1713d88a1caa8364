"""RECOVER, RECOVER-UPDATE, RECOVER-UPDATE-ACK, RECOVER-SUCCESS, RECOVER-DISPUTE: two copies of one session made equal.

    RECOVER               I stand here
    RECOVER-UPDATE        you lack these messages, and I stand there
    RECOVER-UPDATE-ACK    I have appended them; you lack these
    RECOVER-SUCCESS       I have appended those

Only what both share travels: signed messages. Each is verified as if it had just arrived, the own ones too, and
appended in its place; the private entries around it are fetched from the own ledger by operation id. Evidence
proves authenticity, not completeness: a peer can hold something back, but it cannot invent anything.

What does not fit freezes the session, at both sides, with both copies as evidence. A frozen session touches no
ledger and answers nothing any more but what it is frozen for.

Each message names the hash of the one that it answers. Nothing about an exchange is stored: a crash in the middle
loses it, and recovery begins anew. Whatever was appended stays, and is not appended twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from protocol.errors import INSUFFICIENT_PERMISSIONS, INVALID_MESSAGE_TYPE, Refused
from protocol.facts import ask_ledger, compute_no_position, compute_position, has_left
from protocol.journal import Journal
from protocol.log import Operation
from protocol.messages import recovery as wire
from protocol.messages.satp import TransferProposal, parse_message
from protocol.objects import Json, Version
from protocol.salvage import Salvage
from protocol.session import Session
from protocol.signing import BadSignature, KeyRing, Signed
from protocol.steps import LAST, Role, find_row_of_type
from protocol.successions import Successions


@dataclass
class Exchange:
    """The exchanges of one gateway. `sent` holds the hash of its last recovery message of each name and session.

    Of each name, because both may ask at once: then two exchanges cross, and each has its own links. `leaving` are the
    sessions that the peer wanted to leave when it gave us what we lacked, and it lacked nothing that could undo that.
    """

    journal: Journal
    salvage: Salvage
    successions: Successions
    networks: KeyRing
    sent: dict[tuple[str, str], str] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)

    @cached_property
    def _own_keys(self) -> KeyRing:
        own = self.journal.identity
        return KeyRing((own.gateway_id, key) for key in (own.key.public, *own.former))

    # ------------------------------------------------------------------ what is said

    def say(self, name: str, session_id: str, fields: Json) -> bytes:
        """A recovery message about a session, signed and remembered by its hash."""
        session = self.journal.find(session_id)
        context = {"contextId": session.context} if session is not None and session.context else {}
        payload = {"messageType": f"{wire.RECOVERY_NAMESPACE}{name}-msg", "sessionId": session_id} | context | fields
        signed = self.journal.sign(payload)
        self.sent[session_id, name] = signed.digest
        self.successions.tell(signed)
        return signed.compact.encode()

    def say_recover(self, session_id: str, role: Role, link: str) -> bytes:
        """RECOVER. `link` is the hash of the Transfer-Continue that led here."""
        position = self.compute_position(session_id, role)
        receipts = self.salvage.list_receipts(session_id) if not position.messages else None
        fields = {
            "satpPhase": position.satpPhase,
            "sequenceNumber": position.sequenceNumber,
            "isBackup": self.successions.is_backup,
            "lastEntryTimestamp": self.journal.now,
            "position": position.model_dump(exclude_none=True),
            "receipts": receipts,
            "hashPrevMessage": link,
        } | self.successions.compute_words_of_session()
        return self.say("recover", session_id, {name: value for name, value in fields.items() if value is not None})

    def say_update(self, message: wire.Recover, signed: Signed, role: Role) -> bytes:
        """RECOVER-UPDATE: what comes after the peer's head; everything, if it does not say where it stands."""
        position = self.compute_position(message.sessionId, role)
        head = message.position.headHash if message.position else None
        fields = {
            "hashRecoverMessage": signed.digest,
            "recoveredLogs": self._renew_after(message.sessionId, head),
            "position": position.model_dump(exclude_none=True),
        } | self.successions.compute_words_of_session()
        receipts = {} if position.messages else {"receipts": self.salvage.list_receipts(message.sessionId)}
        return self.say("recover-update", message.sessionId, fields | receipts)

    def compute_position(self, session_id: str, role: Role) -> wire.Position:
        """Where a session stands here. `role` counts only if the log does not know it."""
        session = self.journal.find(session_id)
        role = session.role if session is not None else role
        ledger = ask_ledger(self.journal.network, session_id, role)
        if session is None:
            return compute_no_position(session_id, role, ledger)
        return compute_position(session, ledger)

    def _list_after(self, session_id: str, head: str | None) -> list[Version]:
        """The shared messages after `head`; all of them if `head` is not among them."""
        session = self.journal.find(session_id)
        return [] if session is None else session.history.after(head if head in session.history else None)

    def _renew_after(self, session_id: str, head: str | None) -> list[str]:
        """The same for a peer that lacks them: ours under the present key, since it may never have seen the former."""
        own, renew = self.journal.identity.gateway_id, self.journal.renew
        missing = self._list_after(session_id, head)
        return [renew(each.signed).decode() if each.author == own else each.signed for each in missing]

    # ------------------------------------------------------------------ what is answered

    def on_update(self, message: wire.RecoverUpdate, signed: Signed) -> bytes:
        """RECOVER-UPDATE arrives: take what is missing here, give what is missing there."""
        self.verify_link(message.sessionId, "recover", message.hashRecoverMessage)
        try:
            changed = self._adopt(message.sessionId, signed.signer, message.recoveredLogs)
            self._verify_whole(message.sessionId, message.position.headHash)
        except Refused as refusal:
            return self.dispute(message.sessionId, refusal.in_words(), message.recoveredLogs, signed.digest)
        self.successions.write_told(self.journal.find(message.sessionId), message.hashRecoverMessage, signed)
        lacking = self._renew_after(message.sessionId, message.position.headHash)
        self.leaving.discard(message.sessionId)
        if has_left(message.position) and not lacking:
            self.leaving.add(message.sessionId)
        fields = {
            "hashRecoverUpdateMessage": signed.digest,
            "success": True,
            "entriesChanged": changed,
            "recoveredLogs": lacking,
        }
        answer = self.say("recover-update-ack", message.sessionId, fields)
        self.successions.write_heard(self.journal.find(message.sessionId), signed, answer)
        return answer

    def on_update_ack(self, message: wire.RecoverUpdateAck, signed: Signed) -> bytes:
        """RECOVER-UPDATE-ACK arrives: take what was missing here too."""
        self.verify_link(message.sessionId, "recover-update", message.hashRecoverUpdateMessage)
        try:
            changed = self._adopt(message.sessionId, signed.signer, message.recoveredLogs)
        except Refused as refusal:
            return self.dispute(message.sessionId, refusal.in_words(), message.recoveredLogs, signed.digest)
        self.successions.write_told(self.journal.find(message.sessionId), message.hashRecoverUpdateMessage, signed)
        fields = {"hashRecoverUpdateAckMessage": signed.digest, "success": True, "entriesChanged": changed}
        return self.say("recover-success", message.sessionId, fields)

    def on_success(self, message: wire.RecoverSuccess) -> None:
        """RECOVER-SUCCESS arrives: both hold the same chain."""
        self.verify_link(message.sessionId, "recover-update-ack", message.hashRecoverUpdateAckMessage)

    def verify_link(self, session_id: str, name: str, link: str) -> None:
        """Refused unless `link` is the hash of our last message of this name."""
        said = self.sent.get((session_id, name))
        if said != link:
            words = "an answer to nothing that we said last"
            raise Refused(words, code=INVALID_MESSAGE_TYPE, expected=said, found=link)

    # ------------------------------------------------------------------ taking messages back

    def _adopt(self, session_id: str, peer: str, messages: Iterable[str]) -> list[str]:
        """Append what is missing here; returns the hashes of the new entries. Refused at what does not fit."""
        signed = [self._verify_stored(compact, peer) for compact in messages]
        session = self.journal.find(session_id)
        if session is None or not session.history:
            session = self._begin(session_id, peer, signed, session)
        changed = []
        for each in signed:
            if session is None or each.digest in session.history:
                continue
            message = parse_message(each.payload)
            row = find_row_of_type(message.messageType)
            if message.sessionId != session_id:
                raise Refused("a message of another session", expected=session_id, found=message.sessionId)
            self.journal.ask(session)  # our own action before this message: our ledger has its outcome
            author = self.journal.identity.gateway_id if row.actor is session.role else peer
            if each.signer != author and session.history:
                raise Refused("not signed by its author", expected=author, found=each.signer)
            if session.history:
                session.verify_recovered(message, row, author, self.networks)
            content = {"message": each.compact, "author": each.signer}
            name = wire.RECOVERY_NAMESPACE + "recover-update-msg"
            entry = self.journal.write(
                session, row, Operation.DONE, content, signed=each, closes=row is LAST, recovery=name
            )
            changed.append(entry.compute_hash())
        return changed

    def _verify_whole(self, session_id: str, head: str | None) -> None:
        """What was missing must lead to where the peer says it stands: half a chain could hide what we promised."""
        session = self.journal.find(session_id)
        if session is not None and session.history and head is not None and head not in session.history:
            words = "the messages do not lead to the position that is named with them"
            raise Refused(words, code=INVALID_MESSAGE_TYPE, expected=head, found=session.history.head)

    def _begin(self, session_id: str, peer: str, signed: list[Signed], orphan: Session | None) -> Session | None:
        """A session that this log does not know begins with its proposal; something in it must be signed by us.

        None if there is nothing to begin with.
        """
        own = self.journal.identity
        if not any(each.signer == own.gateway_id for each in signed):
            return None  # a mere proposal of the peer: it can send that
        proposal = parse_message(signed[0].payload)
        if not isinstance(proposal, TransferProposal) or proposal.sessionId != session_id:
            raise Refused("a session begins with its proposal", code=INVALID_MESSAGE_TYPE, found=proposal.messageType)
        claim = proposal.transferInitClaim
        is_sender = claim.senderGatewayId == own.gateway_id
        ours = (claim.senderGatewayId, claim.senderGatewayNetworkId, claim.recipientGatewayId)
        theirs = (claim.recipientGatewayId, claim.recipientGatewayNetworkId, claim.senderGatewayId)
        found, expected = ours if is_sender else theirs, (own.gateway_id, own.network_id, peer)
        if found != expected or signed[0].signer != claim.senderGatewayId:
            raise Refused(
                "the proposal is between others", code=INSUFFICIENT_PERMISSIONS, expected=expected, found=found
            )
        return orphan or Session(session_id, own.gateway_id)

    def _verify_stored(self, compact: str, peer: str) -> Signed:
        """A message of ours or of the peer, under a key that counts now or counted once."""
        try:
            return self._own_keys.verify(compact)
        except BadSignature:
            signed = self.successions.peers.verify_stored(compact)
            if signed.signer != peer:
                raise Refused("signed by a stranger", code=INSUFFICIENT_PERMISSIONS, found=signed.signer) from None
            return signed

    # ------------------------------------------------------------------ dispute

    def dispute(self, session_id: str, reason: str, evidence: Iterable[str], link: str | None) -> bytes:
        """Freeze the session and say so. `evidence` is what the peer showed; our own copy goes along."""
        session = self.journal.find(session_id)
        if session is not None and session.frozen:
            return self.journal.renew(session.frozen["dispute"])
        messages = [version.signed for version in self._list_after(session_id, None)]
        own = [*messages, *self.salvage.list_receipts(session_id)]
        evidence = [*own, *(each for each in evidence if each not in own)][: wire.MOST_EVIDENCE]
        fields = {"reason": reason[:1000], "evidence": evidence, "timestamp": self.journal.now}
        data = self.say("recover-dispute", session_id, fields | ({"hashPrevMessage": link} if link else {}))
        self._freeze(session_id, reason, evidence, data.decode())
        return data

    def on_dispute(self, message: wire.RecoverDispute, signed: Signed) -> bytes | None:
        """The peer has frozen the session: freeze it here too. Answered, the first time, with our own copy."""
        session = self.journal.find(message.sessionId)
        if session is None:
            return None
        reason = f"{signed.signer}: {message.reason}"
        if session.frozen is None:
            return self.dispute(message.sessionId, reason, message.evidence, signed.digest)
        known = session.frozen["evidence"]
        new = [each for each in dict.fromkeys(message.evidence) if each not in known][: wire.MOST_EVIDENCE - len(known)]
        if new:
            self._freeze(message.sessionId, session.frozen["reason"], [*known, *new], session.frozen["dispute"])
        return None

    def _freeze(self, session_id: str, reason: str, evidence: list[str], dispute: str) -> None:
        session = self.journal.find(session_id)
        if session is None or not session.rows_done:
            return
        words = {"reason": reason, "evidence": evidence, "dispute": dispute}
        name = wire.RECOVERY_NAMESPACE + "recover-dispute-msg"
        self.journal.write(session, session.rows_done[-1], Operation.FAIL, {"frozen": words}, recovery=name)
