"""Backing out: the way back before the burn (SATP 10.7, 11.5).

The draft has no rule between commit-ready and commit-final, precisely where the burn is (C6). Here:

    the sender may back out until its network has burned; whether it has, its network says
    the recipient may back out until it has logged commit-ready; from then on it is *prepared* and leaves that
    state only on a receipt of the origin network: of the burn, or of the unlock or expiry that ended the lock.
    A mint that its network holds binds it too: the entry that says "commit-ready" may be among those that were lost

Backing out is a list of small durable steps, so that a crash in the middle goes on where it stopped: the
intent; for each own action in reverse, a cancellation if it may still land, then its undoing; last the
message that carries the receipts and closes the session. An entry in the log is an intent and never the
decision: a sender that wanted to back out and finds the asset burned goes forward.

The message is an abort in a session that goes on, and ROLLBACK (RECOVERY 5.3.4) in one that is being recovered.
They say the same; ROLLBACK is answered with ROLLBACK-ACK, and both are stored and said again when asked for.
"""

from __future__ import annotations

from protocol.drafts import Drafts
from protocol.errors import INVALID_MESSAGE_TYPE, Refused
from protocol.facts import ask_ledger
from protocol.journal import Journal, Work
from protocol.ledger import Cancellation, LedgerRefused, PendingUntil, Receipt
from protocol.log import Operation
from protocol.messages import recovery as wire
from protocol.messages.satp import NAMESPACE, SessionAbort
from protocol.objects import Json, digest
from protocol.recovery import MyLedger
from protocol.session import ANCHORS, Session, read_receipt
from protocol.signing import KeyRing, Signed, read_payload
from protocol.steps import Role, Row, find_row, make_abort


class Rollback:
    """Ends sessions of one gateway before their last step."""

    def __init__(self, journal: Journal, networks: KeyRing) -> None:
        self._journal = journal
        self._networks = networks
        self.drafts = Drafts(journal)

    def back_out(self, session: Session, reason: str, code: str = "", *, reports: bool = False) -> Work[bytes | None]:
        """Begin to back out, for `reason` and with the draft's `code` if it has one. See `go_on` for the result."""
        payload: Json = {"backOut": {"reason": reason} | ({"code": code} if code else {})}
        self._journal.write(session, _row(session), Operation.INIT, payload)
        return (yield from self.go_on(session, reports=reports))

    def go_on(self, session: Session, *, reports: bool = False) -> Work[bytes | None]:
        """Undo what is left to undo, then say so. Returns the abort message, or ROLLBACK if it `reports` a recovery.

        ROLLBACK-ACK if the peer has said ROLLBACK before, None if it said an abort. None too if the network allows no
        early unlock (try again later), or if the asset turns out to be burned: then `session.ending` is None again
        and the only way is forward.
        """
        yield  # the intent must be durable before anything is cancelled or undone
        self._journal.verify_durable(session)
        is_said = session.abort is not None or session.own_abort is not None
        if not (is_said or self._journal.rules.back_out_only_with_the_receipt):
            return self._say_abort(session, ends=False)
        self._find_anchor(session)
        if self._find_final(session, reports):
            return None
        while (undo := self.drafts.next_undo(session)) is not None:
            try:
                yield from self._take_back(session, undo)
            except PendingUntil:
                return None
            except LedgerRefused as refusal:
                if self._find_end(session, undo) is None:
                    self._journal.write(session, undo, Operation.FAIL, {"parked": f"{undo.name} refused: {refusal}"})
                    return None
        if is_said:
            answer = self._compute_acknowledgement(session)
            content: Json = {"ended": True} | ({"acknowledgement": answer} if answer else {})
            self._journal.write(session, _row(session), Operation.ACK, content, closes=True)
            return answer.encode() if answer else None
        return self._say_rollback(session) if reports else self._say_abort(session)

    def _find_anchor(self, session: Session) -> None:
        """The entries that say "locked" or "minted" may be lost; what the own network holds is to be taken back."""
        row = find_row(ANCHORS[session.role])
        if row.number in session.done or row.number in session.begun:
            return
        if self._ask_ledger(session) is MyLedger.UNTOUCHED:
            return
        receipt = self._journal.network.receipt(session.operation_id(row.number))
        if receipt is not None:
            self._journal.write_receipt(session, row, receipt)

    def _find_final(self, session: Session, may_have_forgotten: bool) -> bool:
        """What cannot be taken back: the network says that it has happened, or refuses it for good from now on.

        A burn that was begun may still land. After a crash the entry that says "begun" may be lost, so then any burn
        under a live lock is refused. What both logs have forgotten, burn and assignment, the networks know.
        """
        step, word = ("3.4", "burned") if session.role is Role.SENDER else ("3.6", "assigned")
        is_final = self._ask_ledger(session) is MyLedger.FINAL
        if session.abort is None and not self.drafts.may_leave_prepared and self.holds_mint(session):
            words = "the mint is held: only a receipt of the origin network frees it"
            self._journal.write(session, _row(session), Operation.FAIL, {"goesOn": words})
            return True
        is_locked = "2.1" in session.done and "2.1/undo" not in session.done
        is_possible = "3.4" in session.begun or (may_have_forgotten and is_locked)
        if not is_final and (session.role is not Role.SENDER or not is_possible or "3.4" in session.cancelled):
            return False
        row = find_row(step)
        if session.is_committed and self.drafts.may_leave_burned:
            return False
        answer = self._cancel(session.operation_id(step))
        if isinstance(answer, Cancellation):
            self._write_cancellation(session, row, answer)
            return False
        self._journal.write_receipt(session, row, answer)
        if self.drafts.may_leave_burned:
            return False
        self._journal.write(session, _row(session), Operation.FAIL, {"goesOn": f"the asset is {word}"})
        return True

    def _take_back(self, session: Session, undo: Row) -> Work[None]:
        """One own action: cancelled if it has not happened, else undone, unless something else ended it already."""
        journal = self._journal
        row = find_row(undo.number.removesuffix("/undo"))
        operation_id = session.operation_id(row.number)
        if row.number in session.begun:
            answer = self._cancel(operation_id)
            if isinstance(answer, Cancellation):
                self._write_cancellation(session, undo, answer)
                return
            journal.write_receipt(session, row, answer)
        end = self._find_end(session, undo)
        if end is not None:
            journal.write_receipt(session, undo, end)
        else:
            yield from journal.do(session, undo)

    def _cancel(self, operation_id: str) -> Receipt | Cancellation:
        """The receipt of what has happened; else it never will. Without the rule it is only asked whether it has."""
        network = self._journal.network
        if self._journal.rules.cancel_before_undoing:
            return network.cancel(operation_id)
        return network.receipt(operation_id) or Cancellation("", operation_id, self._journal.now)

    def _find_end(self, session: Session, undo: Row) -> Receipt | None:
        """What ended the lock or the mint already. It may have ended between this question and the undoing."""
        return self._journal.network.end_of(session.operation_id(undo.number.removesuffix("/undo")))

    def _write_cancellation(self, session: Session, row: Row, answer: Cancellation) -> None:
        payload = {"cancellation": answer.as_json(), "signed": answer.signed}
        self._journal.write(session, row, Operation.FAIL, payload)

    def _say_abort(self, session: Session, *, ends: bool = True) -> bytes:
        """The abort message cites the last message of the peer, which the peer surely has; ours may have been lost.

        Not `ends`: it is said before anything is undone, which is what the rule about the receipt forbids.
        """
        payload = {
            "messageType": NAMESPACE + "session-abort-msg",
            "sessionId": session.id,
            "transferContextId": session.context,
            **(session.ending or {}),
            "receipts": _list_proofs(session),
            "hashPrevMessage": _cite(session),
            "timestamp": self._journal.now,
        }
        return self._say(session, payload, ends=ends)

    def _say_rollback(self, session: Session) -> bytes:
        """ROLLBACK: what was undone, and the receipts of it."""
        payload = {
            "messageType": wire.RECOVERY_NAMESPACE + "rollback-msg",
            **_name_session(session),
            **(session.ending or {}),
            **_list_undone(session),
            "success": True,
            "timestamp": self._journal.now,
        }
        cited = _cite(session)
        return self._say(session, payload | ({"hashPrevMessage": cited} if cited else {}))

    def _say(self, session: Session, payload: Json, *, ends: bool = True) -> bytes:
        compact = self._journal.identity.key.sign(payload)
        content: Json = {"message": compact, "author": self._journal.identity.gateway_id}
        self._journal.write(session, _row(session), Operation.INIT, content | {"ended": ends}, closes=ends)
        return compact.encode()

    def report(self, session: Session) -> bytes:
        """ROLLBACK for a session that was ended here, in whatever way: the stored one, if it was said before."""
        if session.own_abort is not None and self.has_said(session):
            return self._journal.renew(session.own_abort)
        return self._say_rollback(session)

    def has_said(self, session: Session) -> bool:
        """Whether a ROLLBACK of ours is stored: saying it again changes nothing."""
        return session.own_abort is not None and is_rollback(session.own_abort)

    def acknowledge(self, session: Session, name: str) -> bytes:
        """ROLLBACK-ACK for the ROLLBACK of this name: the stored one if there is one.

        Without success if something is still to be undone. What is stored may also be the peer's, about our own.
        """
        stored = session.acknowledgement if session.own_abort is None else None
        if stored is not None and read_payload(stored)["hashPrevMessage"] == name:
            return self._journal.renew(stored)
        return self._make_acknowledgement(session, name).encode()

    def _compute_acknowledgement(self, session: Session) -> str | None:
        """The answer to the ROLLBACK that ended this session; None if it was an abort."""
        if session.abort is None or not is_rollback(session.abort):
            return None
        return self._make_acknowledgement(session, digest(read_payload(session.abort)))

    def _make_acknowledgement(self, session: Session, name: str) -> str:
        payload = {
            "messageType": wire.RECOVERY_NAMESPACE + "rollback-ack-msg",
            **_name_session(session),
            **_list_undone(session),
            "success": self.drafts.next_undo(session) is None,
            "hashPrevMessage": name,
            "timestamp": self._journal.now,
        }
        return self._journal.identity.key.sign(payload)

    # ------------------------------------------------------------------ the peer ends it

    def verify_abort(self, session: Session, message: SessionAbort | wire.Rollback) -> None:
        """Raise Refused for an abort that cannot be: unchained, after the burn, or without the receipt it needs.

        A recipient that holds a mint may have forgotten that it sent commit-ready: it needs the receipt too.
        """
        if isinstance(message, SessionAbort):
            context, receipts = message.transferContextId, message.receipts
        else:
            context, receipts = message.contextId or "", message.proofs
        is_chained = message.hashPrevMessage in session.history
        if not (is_chained and context == session.context) and session.orphan is None:
            words = "the abort does not cite a message of this session"
            raise Refused(words, code=INVALID_MESSAGE_TYPE, field="hashPrevMessage", found=message.hashPrevMessage)
        if session.is_committed and self._journal.rules.only_forward_after_burn:
            raise Refused("the asset is burned: an abort has no effect any more", code=INVALID_MESSAGE_TYPE)
        is_bound = session.is_prepared or self.holds_mint(session)
        if is_bound and self._journal.rules.back_out_only_with_the_receipt:
            session.verify_release(receipts, self._networks)

    def can_begin(self, session: Session) -> bool:
        """Whether this gateway may still decide to leave."""
        return not (self.is_bound(session) or session.ending or session.is_at_rest)

    def is_bound(self, session: Session) -> bool:
        """Whether leaving is not this gateway's to decide: the asset is burned, or it may have said commit-ready."""
        rules = self._journal.rules
        is_burned = session.is_committed and rules.only_forward_after_burn
        return is_burned or (rules.prepared_recipient_waits and (session.is_prepared or self.holds_mint(session)))

    def holds_mint(self, session: Session) -> bool:
        """Whether a recipient has minted, whatever its log says: then it may have sent commit-ready.

        Without the rule to reconcile before serving, a log is believed if there is one.
        """
        is_asked = self._journal.rules.reconcile_before_serving or session.orphan is not None
        return session.role is Role.RECIPIENT and is_asked and self._ask_ledger(session) is MyLedger.HELD

    def _ask_ledger(self, session: Session) -> MyLedger:
        return ask_ledger(self._journal.network, session.id, session.role)

    def shows_loss(self, session: Session, receipts: list[str]) -> bool:
        """Whether these receipts show that the mint was destroyed in the recipient's network although we have burned.

        Then a refusal would mend nothing: both gateways would repeat themselves for ever.
        """
        if session.role is not Role.SENDER or not session.is_committed:
            return False
        network, mint = session.claim["recipientGatewayNetworkId"], session.operation_id("3.2")
        shown = [read_receipt(each, network, self._networks, "proofs", INVALID_MESSAGE_TYPE) for each in receipts]
        return any((receipt.get("action"), receipt.get("under")) == ("destroy", mint) for receipt in shown)

    def follow(self, session: Session, signed: Signed, message: SessionAbort | wire.Rollback) -> Work[bytes | None]:
        """The peer has ended the session: keep its word, and undo what is ours."""
        why = {"reason": f"{session.peer}: {message.reason}"} | ({"code": message.code} if message.code else {})
        payload = {"message": signed.compact, "author": signed.signer, "backOut": why}
        self._journal.write(session, _row(session), Operation.DONE, payload)
        return (yield from self.go_on(session, reports=isinstance(message, wire.Rollback)))


def _row(session: Session) -> Row:
    """Aborts are logged under the stage in which they happened."""
    return make_abort(session.role, session.rows_done[-1].stage)


def is_rollback(compact: str) -> bool:
    """Whether the word that ended a session was a ROLLBACK, or an abort."""
    return bool(read_payload(compact)["messageType"] == wire.RECOVERY_NAMESPACE + "rollback-msg")


def _cite(session: Session) -> str | None:
    """The last message of the peer; ours, which it may not have, only if it has said nothing yet."""
    cited = next((version for version in reversed(list(session.history)) if version.author == session.peer), None)
    return cited.name if cited else session.history.head


def find_cited(session: Session) -> str | None:
    """What our report of this session cites, or would cite: a message that the peer may have forgotten since."""
    said = read_payload(session.own_abort) if session.own_abort else {"hashPrevMessage": _cite(session)}
    return said.get("hashPrevMessage")


def _name_session(session: Session) -> Json:
    return {"sessionId": session.id} | ({"contextId": session.context} if session.context else {})


def _list_proofs(session: Session) -> list[str]:
    return [session.receipts[step]["signed"] for step in session.receipts if step.endswith("/undo")]


def _list_undone(session: Session) -> Json:
    """RECOVERY 5.3.4: "actions performed to rollback a state (e.g., UNLOCK; BURN)", and the proofs of them.

    A lock that expired was not unlocked by anybody: its receipt says `expire`.
    """
    undone = [session.receipts[step] for step in session.receipts if step.endswith("/undo")]
    return {"actionsPerformed": [str(receipt["action"]).upper() for receipt in undone], "proofs": _list_proofs(session)}
