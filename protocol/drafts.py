"""What the drafts do instead: the few questions that the protocol asks here, and answers "no" as long as all is off.

    may_leave_prepared    whether a recipient that has said commit-ready can let go of its mint     C6, R31
    may_leave_burned      whether a session can end although the asset is burned                    C4, R30
    find_reason           why a gateway ends a session when it gets no answer, or comes back        R30, R31, R36
    next_undo             what is taken back, and in which order                                    R29, R30
    is_deaf               whether a session that ended hears nothing more, and says nothing          R36

Nothing acts here, and nothing is written: whoever asks does what follows, through the same log and with the same
operation ids as everything else. So a run under the drafts' behaviours differs from one of the protocol in what is
decided, and in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.journal import Journal
from protocol.session import Session
from protocol.steps import REISSUE, Role, Row, find_row, make_undo

LISTED_AT = {"3.6": "3.2", "3.4": "2.1"}  # recovery 5.2.3: the step that puts an action on the list, and which one


@dataclass(frozen=True)
class Drafts:
    """The behaviours of the drafts, for the sessions of one gateway."""

    journal: Journal

    @property
    def may_leave_prepared(self) -> bool:
        rules = self.journal.rules
        instead = rules.recipient_rolls_back_on_its_timer or rules.errors_end_the_session
        return instead or rules.terminate_on_lost_connection or not rules.prepared_recipient_waits

    @property
    def may_leave_burned(self) -> bool:
        rules = self.journal.rules
        instead = rules.sender_reissues or rules.sender_terminates_on_its_timer or rules.errors_end_the_session
        return instead or rules.terminate_on_lost_connection or not rules.only_forward_after_burn

    def find_reason(self, session: Session, *, is_late: bool) -> str:
        """Why this gateway leaves now, where the protocol goes on; empty if it does not.

        `is_late`: no answer came in time. Otherwise it has come back after a crash.
        """
        rules = self.journal.rules
        if rules.terminate_on_lost_connection:
            return "the connection was lost"
        if session.role is Role.SENDER:
            if rules.sender_reissues and _is_unanswered(session):
                return "no ack-commit-final came: the asset is created again"
            return "no answer came in time" if is_late and self._is_over_for_its_timer(session) else ""
        is_waiting = session.is_prepared and not session.is_committed
        rolls_back = rules.recipient_rolls_back_on_its_timer and is_late and is_waiting
        return "no commit-final came in time" if rolls_back else ""

    def next_undo(self, session: Session) -> Row | None:
        """The next action to take back; None if nothing is left. What is burned can only be created again."""
        rules = self.journal.rules
        is_burned = session.role is Role.SENDER and session.is_committed
        if rules.sender_reissues and is_burned and REISSUE.number not in session.done:
            return REISSUE
        if rules.roll_back_by_the_drafts_list:
            return _find_listed(session)
        if (session.is_committed and self.may_leave_burned) or self._is_over_for_its_timer(session):
            return None
        return session.next_undo

    def is_deaf(self, session: Session) -> bool:
        """Core 11.1: data that comes after the termination is ignored."""
        return self.journal.rules.terminate_on_lost_connection and session.is_ended

    def _is_over_for_its_timer(self, session: Session) -> bool:
        """Core 10: "the client may terminate" when its timer is over; it undoes nothing, and has nothing to show."""
        if not self.journal.rules.sender_terminates_on_its_timer or session.role is not Role.SENDER:
            return False
        return _is_unanswered(session) or self.journal.network.state(session.operation_id("2.1")) == "expired"


def _is_unanswered(session: Session) -> bool:
    """A sender has burned and has not heard that the asset is assigned."""
    return session.is_committed and "3.7" not in session.done


def _find_listed(session: Session) -> Row | None:
    listed = [find_row(number) for at, number in LISTED_AT.items() if at in session.done]
    left = (make_undo(row) for row in listed if f"{row.number}/undo" not in session.done)
    return next((undo for undo in left if undo.actor is session.role), None)
