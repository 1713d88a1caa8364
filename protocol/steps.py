"""TABLE 1: every step of a transfer, in order. It decides the way forward, and nothing else does.

The rows are the seventeen steps of SATP figure 2. A row is a message that one gateway signs and sends,
or an action that one gateway asks of its own network. What a gateway does next is the first row that is
not done; if that row is the peer's, it waits.

A gateway never sees the peer's actions, only the messages that report them: so the rows of a gateway
are all messages and its own actions.

`undo` is the action that takes an action back. Burn and assign have none: after the burn only forward.
`Record` (2.3, 3.8) is drawn in the figure and described nowhere; here it writes the hash of the message
before it onto the network, always.
"""

from __future__ import annotations

from collections.abc import Container
from enum import StrEnum
from typing import NamedTuple

from protocol.errors import INVALID_MESSAGE_TYPE, Misuse, Refused
from protocol.messages.satp import NAMESPACE, short_name


class Role(StrEnum):
    """SATP 3: the sender gateway starts a transfer, the recipient gateway is its other side."""

    SENDER = "sender"
    RECIPIENT = "recipient"

    @property
    def other(self) -> Role:
        return Role.RECIPIENT if self is Role.SENDER else Role.SENDER


class Kind(StrEnum):
    MESSAGE = "message"
    ACTION = "action"


class Row(NamedTuple):
    """One step. `name` is the message type without its namespace, or the action of the ledger."""

    number: str
    stage: int
    actor: Role
    kind: Kind
    name: str
    undo: str | None = None

    @property
    def is_action(self) -> bool:
        return self.kind is Kind.ACTION

    def __repr__(self) -> str:
        return f"{self.number} {self.name} ({self.actor})"


_S, _R, _M, _A = Role.SENDER, Role.RECIPIENT, Kind.MESSAGE, Kind.ACTION

TABLE_1: tuple[Row, ...] = (
    Row("1.1", 1, _S, _M, "transfer-proposal-msg"),
    Row("1.2", 1, _R, _M, "proposal-receipt-msg"),
    Row("1.3", 1, _S, _M, "transfer-commence-msg"),
    Row("1.4", 1, _R, _M, "ack-commence-msg"),
    Row("2.1", 2, _S, _A, "lock", undo="unlock"),
    Row("2.2", 2, _S, _M, "lock-assert-msg"),
    Row("2.3", 2, _R, _A, "record"),
    Row("2.4", 2, _R, _M, "assertion-receipt-msg"),
    Row("3.1", 3, _S, _M, "commit-prepare-msg"),
    Row("3.2", 3, _R, _A, "mint", undo="destroy"),
    Row("3.3", 3, _R, _M, "commit-ready-msg"),
    Row("3.4", 3, _S, _A, "burn"),
    Row("3.5", 3, _S, _M, "commit-final-msg"),
    Row("3.6", 3, _R, _A, "assign"),
    Row("3.7", 3, _R, _M, "ack-commit-final-msg"),
    Row("3.8", 3, _S, _A, "record"),
    Row("3.9", 3, _S, _M, "commit-transfer-complete-msg"),
)

FIRST, LAST = TABLE_1[0], TABLE_1[-1]
_BY_NUMBER = {row.number: row for row in TABLE_1}
_BY_TYPE = {NAMESPACE + row.name: row for row in TABLE_1 if row.kind is Kind.MESSAGE}
_BY_TYPE[NAMESPACE + "ack-prepare-msg"] = _BY_NUMBER["3.3"]  # the registry of SATP 5.3.2 has this name for 3.3
_ROWS_OF = {role: tuple(row for row in TABLE_1 if not row.is_action or row.actor is role) for role in Role}


def make_undo(row: Row) -> Row:
    """The row that takes an action back: `2.1/undo` is the unlock."""
    assert row.undo is not None, "burn and assign are never taken back"
    return Row(f"{row.number}/undo", row.stage, row.actor, Kind.ACTION, row.undo)


def make_abort(role: Role, stage: int) -> Row:
    """The end of a session before its last step (SATP 10.7): not a row of the table, but logged like one."""
    return Row("abort", stage, role, Kind.MESSAGE, "session-abort-msg")


def make_succession(stage: int) -> Row:
    """Somebody else acts for one of the gateways (R40): no row either, and logged like one."""
    return Row(SUCCESSION, stage, Role.SENDER, Kind.MESSAGE, SUCCESSION)


RESTART = Row("restart", 0, Role.SENDER, Kind.MESSAGE, "transfer-resume-msg")  # no row either: a gateway came back
SUCCESSION = "succession"
REISSUE = Row("3.4/undo", 3, _S, _A, "reissue")  # nor this: what recovery 5.2.3(8) makes of a burn (R30)
NO_ROWS = {  # what is logged like a step and is none
    "abort": "session-abort",
    RESTART.number: "transfer-resume",
    SUCCESSION: SUCCESSION,
}


def find_row(number: str) -> Row:
    """The row of a step, or of its undoing."""
    if number == REISSUE.number:
        return REISSUE
    if number.endswith("/undo") and number.removesuffix("/undo") in _BY_NUMBER:
        return make_undo(_BY_NUMBER[number.removesuffix("/undo")])
    if number not in _BY_NUMBER:
        raise Misuse(f"there is no step {number!r}; the steps are {', '.join(_BY_NUMBER)}")
    return _BY_NUMBER[number]


def describe_step(number: str) -> str:
    """The name of a step, an undoing, an abort or a restart, for people."""
    return NO_ROWS.get(number) or short_name(find_row(number).name)


def find_row_of_type(message_type: str) -> Row:
    """The row of a message type; Refused for messages that are no step (errors, aborts)."""
    if message_type not in _BY_TYPE:
        raise Refused("this message is no step of a transfer", code=INVALID_MESSAGE_TYPE, found=message_type)
    return _BY_TYPE[message_type]


def find_step(message_type: str) -> str:
    """The number of the step that a message type belongs to, for people; empty if it is no step."""
    return _BY_TYPE[message_type].number if message_type in _BY_TYPE else ""


def rows_of(role: Role) -> tuple[Row, ...]:
    """What a gateway of this role sends, receives or does."""
    return _ROWS_OF[role]


def next_row(role: Role, done: Container[str]) -> Row | None:
    """The first row that is not done; None when the transfer is complete."""
    return next((row for row in _ROWS_OF[role] if row.number not in done), None)
