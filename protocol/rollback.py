"""Backing out: the way back before the burn (SATP 10.7, 11.5).

The draft has no rule between commit-ready and commit-final, precisely where the burn is (C6). Here:

    the sender may back out until its network has burned; whether it has, its network says
    the recipient may back out until it has logged commit-ready; from then on it is *prepared* and leaves that
    state only on a receipt of the origin network: of the burn, or of the unlock or expiry that ended the lock

Backing out is a list of small durable steps, so that a crash in the middle goes on where it stopped: the
intent; for each own action in reverse, a cancellation if it may still land, then its undoing; last the
abort message, which carries the receipts and closes the session. An entry in the log is an intent and
never the decision: a sender that wanted to back out and finds the asset burned goes forward.
"""

from __future__ import annotations

from protocol.errors import INVALID_MESSAGE_TYPE, Refused
from protocol.journal import Journal, Work
from protocol.ledger import Cancellation, LedgerRefused, PendingUntil, Receipt
from protocol.log import Operation
from protocol.messages.satp import NAMESPACE, SessionAbort
from protocol.objects import Json
from protocol.session import Session
from protocol.signing import KeyRing, Signed
from protocol.steps import Role, Row, find_row, make_abort


class Rollback:
    """Ends sessions of one gateway before their last step."""

    def __init__(self, journal: Journal, networks: KeyRing) -> None:
        self._journal = journal
        self._networks = networks

    def back_out(self, session: Session, reason: str, code: str = "") -> Work[bytes | None]:
        """Begin to back out, for `reason` and with the draft's `code` if it has one. See `go_on` for the result."""
        payload: Json = {"backOut": {"reason": reason} | ({"code": code} if code else {})}
        self._journal.write(session, _row(session), Operation.INIT, payload)
        return (yield from self.go_on(session))

    def go_on(self, session: Session) -> Work[bytes | None]:
        """Undo what is left to undo, then say so. Returns the abort message.

        None if the peer said it first, if the network allows no early unlock (try again later), or if the asset
        turns out to be burned: then `session.ending` is None again and the only way is forward.
        """
        yield  # the intent must be durable before anything is cancelled or undone
        self._journal.verify_durable(session)
        if self._find_burn(session):
            return None
        while (undo := session.next_undo) is not None:
            try:
                yield from self._take_back(session, undo)
            except PendingUntil:
                return None
            except LedgerRefused as refusal:
                if self._find_end(session, undo) is None:
                    self._journal.write(session, undo, Operation.FAIL, {"parked": f"{undo.name} refused: {refusal}"})
                    return None
        if session.abort is not None:
            self._journal.write(session, _row(session), Operation.ACK, {"ended": True}, closes=True)
            return None
        return self._say_abort(session)

    def _find_burn(self, session: Session) -> bool:
        """A burn that was begun may still land: cancel it, or learn that it has happened."""
        if session.role is not Role.SENDER or "3.4" not in session.begun:
            return False
        row = find_row("3.4")
        answer = self._journal.network.cancel(session.operation_id("3.4"))
        if isinstance(answer, Cancellation):
            self._write_cancellation(session, row, answer)
            return False
        self._journal.write_receipt(session, row, answer)
        self._journal.write(session, _row(session), Operation.FAIL, {"goesOn": "the asset is burned"})
        return True

    def _take_back(self, session: Session, undo: Row) -> Work[None]:
        """One own action: cancelled if it has not happened, else undone, unless something else ended it already."""
        network, journal = self._journal.network, self._journal
        row = find_row(undo.number.removesuffix("/undo"))
        operation_id = session.operation_id(row.number)
        if row.number in session.begun:
            answer = network.cancel(operation_id)
            if isinstance(answer, Cancellation):
                self._write_cancellation(session, undo, answer)
                return
            journal.write_receipt(session, row, answer)
        end = self._find_end(session, undo)
        if end is not None:
            journal.write_receipt(session, undo, end)
        else:
            yield from journal.do(session, undo)

    def _find_end(self, session: Session, undo: Row) -> Receipt | None:
        """What ended the lock or the mint already. It may have ended between this question and the undoing."""
        return self._journal.network.end_of(session.operation_id(undo.number.removesuffix("/undo")))

    def _write_cancellation(self, session: Session, row: Row, answer: Cancellation) -> None:
        payload = {"cancellation": answer.as_json(), "signed": answer.signed}
        self._journal.write(session, row, Operation.FAIL, payload)

    def _say_abort(self, session: Session) -> bytes:
        """The abort message cites the last message of the peer, which the peer surely has; ours may have been lost."""
        receipts = [session.receipts[step]["signed"] for step in session.receipts if step.endswith("/undo")]
        cited = next((version for version in reversed(list(session.history)) if version.author == session.peer), None)
        payload = {
            "messageType": NAMESPACE + "session-abort-msg",
            "sessionId": session.id,
            "transferContextId": session.context,
            **(session.ending or {}),
            "receipts": receipts,
            "hashPrevMessage": cited.name if cited else session.history.head,
            "timestamp": self._journal.now,
        }
        compact = self._journal.identity.key.sign(payload)
        content = {"message": compact, "author": self._journal.identity.gateway_id, "ended": True}
        self._journal.write(session, _row(session), Operation.INIT, content, closes=True)
        return compact.encode()

    # ------------------------------------------------------------------ the peer ends it

    def verify_abort(self, session: Session, message: SessionAbort) -> None:
        """Raise Refused for an abort that cannot be: unchained, after the burn, or without the receipt it needs."""
        if message.transferContextId != session.context or message.hashPrevMessage not in session.history:
            words = "the abort does not cite a message of this session"
            raise Refused(words, code=INVALID_MESSAGE_TYPE, field="hashPrevMessage", found=message.hashPrevMessage)
        if session.is_committed:
            raise Refused("the asset is burned: an abort has no effect any more", code=INVALID_MESSAGE_TYPE)
        if session.is_prepared:
            session.verify_release(message.receipts, self._networks)

    def follow(self, session: Session, signed: Signed, message: SessionAbort) -> Work[bytes | None]:
        """The peer has ended the session: keep its word, and undo what is ours."""
        why = {"reason": f"{session.peer}: {message.reason}"} | ({"code": message.code} if message.code else {})
        payload = {"message": signed.compact, "author": signed.signer, "backOut": why}
        self._journal.write(session, _row(session), Operation.DONE, payload)
        return (yield from self.go_on(session))


def _row(session: Session) -> Row:
    """Aborts are logged under the stage in which they happened."""
    return make_abort(session.role, session.rows_done[-1].stage)
