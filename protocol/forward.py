"""The way on: every row of TABLE 1 that is ours, up to and including the next message.

The first row that is not done decides; this module only walks. Where the own network refuses, or a lock is over,
it turns into the way back (rollback.py) if that is still open, and else waits for a human.

A gateway walks here when a message has arrived, when it has waited long enough, and when a recovery has settled
where a session stands: the same few lines, so a restart can do nothing that a normal run would not do.
"""

from __future__ import annotations

from protocol.facts import ask_ledger
from protocol.journal import Journal, Work
from protocol.ledger import LedgerRefused
from protocol.log import Operation
from protocol.recovery import MyLedger
from protocol.rollback import Rollback
from protocol.session import Session
from protocol.steps import Role, Row


class Forward:
    """Drives the sessions of one gateway."""

    def __init__(self, journal: Journal, rollback: Rollback) -> None:
        self._journal = journal
        self._rollback = rollback

    def go_on(self, session: Session) -> Work[bytes | None]:
        """Do every row that is ours, up to and including the next message. The first row not done decides."""
        while (row := session.next_row) is not None and row.actor is session.role:
            if not row.is_action:
                return self._journal.say(session, row)
            if row.name == "burn" and not self._is_lock_live(session):
                return (yield from self.back_out(session, "asset lock expired", "err_2.2.9"))
            if row.undo is not None and self._is_taken_back(session, row):
                return (yield from self.back_out(session, f"the {row.name} was taken back"))
            try:
                yield from self._journal.do(session, row)
            except LedgerRefused as refusal:
                return (yield from self._on_refusal(session, row, refusal))
        return None

    def on_time_out(self, session: Session) -> Work[bytes | None]:
        """No answer came in time: as `resume`. The protocol decides nothing by a timer; the drafts do."""
        data = yield from self.resume(session, is_late=True)
        return None if self._journal.rules.terminate_on_lost_connection else data

    def resume(self, session: Session, *, reports: bool = False, is_late: bool = False) -> Work[bytes | None]:
        """Go on backing out if that was begun, else forward; a lost lock begins it. `reports` as in Rollback."""
        if session.ending:
            data = yield from self._rollback.go_on(session, reports=reports)
            if session.ending:
                return data
        self._journal.ask(session)
        why = self._rollback.drafts.find_reason(session, is_late=is_late)
        if why:
            return (yield from self.back_out(session, why, reports=reports))
        if self._has_lost_its_lock(session):
            return (yield from self.back_out(session, "asset lock expired", "err_2.2.9", reports=reports))
        return (yield from self.go_on(session))

    def back_out(self, session: Session, reason: str, code: str = "", *, reports: bool = False) -> Work[bytes | None]:
        """Back out, unless it turns out that the asset is burned: then forward."""
        data = yield from self._rollback.back_out(session, reason, code, reports=reports)
        return data if session.ending else (yield from self.go_on(session))

    def _is_lock_live(self, session: Session) -> bool:
        """The sender burns only while its lock is held (C29). A burn that is begun already is the ledger's to judge.

        A lock that is burned is not lost: the burn has happened, and the log has forgotten it.
        """
        is_asked = self._journal.rules.burn_only_under_a_live_lock and "3.4" not in session.begun
        return not is_asked or self._journal.network.state(session.operation_id("2.1")) in ("live", "burned")

    def _is_taken_back(self, session: Session, row: Row) -> bool:
        """A network acts once: of a lock or mint that was undone the old receipt would come again, and mean nothing."""
        return ask_ledger(self._journal.network, session.id, row.actor) is MyLedger.UNDONE

    def _has_lost_its_lock(self, session: Session) -> bool:
        is_locked = session.role is Role.SENDER and "2.1" in session.done and "3.4" not in session.done
        return is_locked and not self._is_lock_live(session)

    def _on_refusal(self, session: Session, row: Row, refusal: LedgerRefused) -> Work[bytes | None]:
        """The own network refused an action: back out where that is still possible, else wait for a human."""
        rules = self._journal.rules
        is_burned = session.is_committed and rules.only_forward_after_burn
        if is_burned or (session.is_prepared and rules.prepared_recipient_waits):
            self._journal.write(session, row, Operation.FAIL, {"parked": f"{row.name} refused: {refusal}"})
            return None
        return (yield from self.back_out(session, f"{row.name} refused: {refusal.reason}", refusal.code))
