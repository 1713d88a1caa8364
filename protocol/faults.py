"""Where a gateway touches what survives it: watched, and the place where it can be made to crash.

A *durable act* is an append to the log or an action on the ledger. `WatchedLog` and `WatchedNetwork`
stand at exactly that seam, in front of the real store and the network; a gateway cannot tell. They
report each act to a `Tripwire`, which ends the gateway before or after the chosen one.

Asking the ledger is no durable act: it changes nothing, so a crash there is a crash before the next act.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from protocol.ledger import Cancellation, Ledger, LedgerRefused, Order, Receipt
from protocol.log import LogEntry
from protocol.steps import describe_step
from protocol.stores import SQLiteLog
from protocol.trace import Acted, Asked, Denied, Event, Logged

Report = Callable[[Event], None]


class GatewayGone(BaseException):
    """The simulated crash. Not an Exception: nothing inside a gateway can catch it and go on."""


@dataclass
class CrashPoint:
    """Before or after the `number`-th durable act from now on, counted within `step` if that is given."""

    number: int
    is_after: bool
    step: str | None = None


@dataclass
class Tripwire:
    """Counts the durable acts of one gateway and ends it at the chosen one."""

    acts: list[tuple[str, str]] = field(default_factory=list)
    armed: CrashPoint | None = None

    @contextmanager
    def around(self, step: str, words: str) -> Iterator[None]:
        """A durable act happens inside. Raises GatewayGone before or after it, if it is the chosen one."""
        point = self.armed
        if point is not None and point.step in (None, step):
            point.number -= 1
        is_it = point is not None and point.step in (None, step) and point.number == 0
        if point is not None and is_it and not point.is_after:
            raise GatewayGone(f"before {words}")
        yield
        self.acts.append((step, words))
        if point is not None and is_it:
            raise GatewayGone(f"after {words}")


class WatchedLog(SQLiteLog):
    """A gateway's log file, watched."""

    def __init__(self, path: Path, gateway: str, wire: Tripwire, report: Report, now: Callable[[], str]) -> None:
        super().__init__(path)
        self._gateway, self._wire, self._report, self._now = gateway, wire, report, now

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        name = describe_step(entry.step)
        with self._wire.around(entry.step, f"logging {entry.operation} of {name} ({entry.step})"):
            number = super().writeLogEntry(entry, closes=closes)
            self._report(Logged(self._now(), self._gateway, entry.step, entry.operation, number))
        return number


class WatchedNetwork:
    """A gateway's access to its network, watched."""

    def __init__(self, ledger: Ledger, gateway: str, wire: Tripwire, report: Report, now: Callable[[], str]) -> None:
        self._ledger, self._gateway, self._wire, self._report, self._now = ledger, gateway, wire, report, now

    def act(self, order: Order) -> Receipt:
        step = _step_of(order.operationId)
        with self._wire.around(step, f"the {order.action} ({step})"):
            height = self._ledger.height
            try:
                receipt = self._ledger.act(order)
            except LedgerRefused as refusal:
                place, reason = self._ledger.name, refusal.reason
                self._report(Denied(self._now(), self._gateway, place, step, order.action, reason))
                raise
            again = self._ledger.height == height
            self._report(Acted(self._now(), self._gateway, self._ledger.name, step, order.action, again))
        return receipt

    def cancel(self, operation_id: str) -> Receipt | Cancellation:
        step = _step_of(operation_id)
        with self._wire.around(step, f"cancelling the {describe_step(step)} ({step})"):
            answer = self._ledger.cancel(operation_id)
            happened = isinstance(answer, Receipt)
            place = self._ledger.name
            self._report(Asked(self._now(), self._gateway, place, step, f"cancel {describe_step(step)}", happened))
        return answer

    def actions_of(self, gateway: str, session_id: str | None = None) -> list[Receipt]:
        return self._ledger.actions_of(gateway, session_id)

    def end_of(self, operation_id: str) -> Receipt | None:
        return self._ledger.end_of(operation_id)

    def state(self, lock_id: str) -> str:
        return self._ledger.state(lock_id)

    def receipt(self, operation_id: str) -> Receipt | None:
        receipt = self._ledger.receipt(operation_id)
        step = _step_of(operation_id)
        action, happened = describe_step(step), receipt is not None
        self._report(Asked(self._now(), self._gateway, self._ledger.name, step, action, happened))
        return receipt


def _step_of(operation_id: str) -> str:
    """An operation id is session/step, or session/step/undo."""
    return operation_id.partition("/")[2]
