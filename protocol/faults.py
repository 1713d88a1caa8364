"""Where a gateway touches what survives it: watched, and the place where it can be made to crash, or to pause.

A *durable act* is an append to the log or an action on the ledger. `WatchedLog` and `WatchedNetwork`
stand at exactly that seam, in front of the real store and the network; a gateway cannot tell. They
report each act to a `Tripwire`, which stops the gateway before or after the chosen one.

    crash    the work ends there; what was in memory is gone
    pause    the work stands still there, and `wake` lets it go on, with the same stack and the same memory, which may
             be old by then: a gateway that is only slow. The rest of the world goes on meanwhile.

Stopped before an action on the ledger, a gateway may have sent its order already. It is `in_flight`: it may land at any
later moment, or never. A gateway that is cut off from its log store gets StorageFailed for whatever it asks of it.

Work that may pause runs in a greenlet: a second stack in the same thread. So nothing else runs at the same time,
connections to stores stay in the thread that made them, and the same story gives the same bytes.

Asking the ledger is no durable act: it changes nothing, so a crash there is a crash before the next act.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast

from greenlet import getcurrent, greenlet

from protocol.errors import Misuse
from protocol.ledger import Cancellation, Ledger, LedgerRefused, Order, Receipt
from protocol.log import LogEntry, LogStorage, StorageFailed
from protocol.steps import describe_step
from protocol.trace import Acted, Asked, Denied, Event, Logged

T = TypeVar("T")
Report = Callable[[Event], None]


class Standing(Enum):
    """What comes of work that has not ended."""

    PAUSED = "paused"


PAUSED: Final = Standing.PAUSED
IsPaused: TypeAlias = Literal[Standing.PAUSED]


class GatewayGone(BaseException):
    """The simulated crash. Not an Exception: nothing inside a gateway can catch it and go on."""


@dataclass
class CrashPoint:
    """Before or after the `number`-th durable act from now on, counted within `step` if that is given.

    The gateway crashes there, or pauses.
    """

    number: int
    is_after: bool
    step: str | None = None
    is_pause: bool = False


@dataclass
class Tripwire:
    """Counts the durable acts of one gateway and stops it at the chosen one.

    `in_flight` is the last order that may have been sent and was not seen to arrive; `where` says at which act the
    gateway is paused.
    """

    acts: list[tuple[str, str]] = field(default_factory=list)
    armed: CrashPoint | None = None
    in_flight: Order | None = None
    is_cut_off: bool = False
    is_paused: bool = False
    where: str = ""
    _work: greenlet | None = field(default=None, repr=False)

    @contextmanager
    def around(self, step: str, words: str, order: Order | None = None) -> Iterator[None]:
        """A durable act happens inside, `order` if it is the ledger's. Stops before or after it, if it is chosen."""
        point = self._count(step)
        while point is not None and not point.is_after:
            self.in_flight = order or self.in_flight
            self._stop(point, f"before {words}")
            if self.in_flight is order:
                self.in_flight = None  # woken, the gateway itself brings it to its end
            point = self._count(step)  # what was armed meanwhile counts from this very act on
        yield
        self.acts.append((step, words))
        if point is not None:
            self._stop(point, f"after {words}")

    def _count(self, step: str) -> CrashPoint | None:
        """One more act; what is armed, if this is the chosen one."""
        point = self.armed
        if point is None or point.step not in (None, step):
            return None
        point.number -= 1
        return point if point.number == 0 else None

    def _stop(self, point: CrashPoint, where: str) -> None:
        """Raises GatewayGone, or returns when the gateway is woken."""
        if not point.is_pause:
            raise GatewayGone(where)
        current = getcurrent()
        if current is not self._work or current.parent is None:
            raise Misuse("only work that run_pausable has begun can pause")
        self.armed = None
        self.pause(where)
        current.parent.switch(PAUSED)

    def pause(self, where: str = "") -> None:
        """Stand still from now on; without `where` it is between two pieces of work."""
        self.is_paused, self.where = True, where

    def run_pausable(self, work: Callable[[], T]) -> T | IsPaused:
        """The result of the work, or PAUSED; then `wake` goes on with it. What the work raises comes out here."""
        if self.is_paused:
            raise Misuse("it is paused; wake it first")
        if self.armed is None or not self.armed.is_pause:
            return work()
        self._work = greenlet(work)
        return cast("T | IsPaused", self._go_on(self._work))

    def wake(self) -> Any:
        """Go on where it was paused: the result of that work, or PAUSED again; None if no work was going on.

        What the work raises from there on comes out here.
        """
        if not self.is_paused:
            raise Misuse("it is not paused")
        self.is_paused, self.where = False, ""
        return None if self._work is None else self._go_on(self._work)

    def _go_on(self, work: greenlet) -> Any:
        work.parent = getcurrent()
        try:
            return work.switch()
        finally:
            if work.dead:
                self._work = None

    def discard(self) -> None:
        """A paused gateway is gone for good: its stack is taken down, and nothing that it holds acts any more."""
        work, self._work = self._work, None
        self.is_paused, self.where = False, ""
        if work is not None and not work.dead:
            with suppress(Exception):  # its connections may be closed already
                work.parent = getcurrent()
                work.throw()


# ---------------------------------------------------------------------- the log


class Store(LogStorage, Protocol):
    """A log store that can be closed."""

    def close(self) -> None: ...


class WatchedLog(LogStorage):
    """A gateway's log store, watched. Whatever the store has beyond the API is reached through `store`."""

    def __init__(self, store: Store, gateway: str, wire: Tripwire, report: Report, now: Callable[[], str]) -> None:
        self._store, self._gateway, self._wire, self._report, self._now = store, gateway, wire, report, now

    @property
    def store(self) -> Any:
        """The store itself, with all that it has. StorageFailed while the gateway is cut off from it."""
        self._verify_reachable()
        return self._store

    def _verify_reachable(self) -> None:
        if self._wire.is_cut_off:
            raise StorageFailed("the log store cannot be reached")

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        name = describe_step(entry.step)
        with self._wire.around(entry.step, f"logging {entry.operation} of {name} ({entry.step})"):
            number: int = self.store.writeLogEntry(entry, closes=closes)
            self._report(Logged(self._now(), self._gateway, entry.step, entry.operation, number))
        return number

    def getLogEntry(self, session_id: str, number: int) -> LogEntry:
        return cast(LogEntry, self.store.getLogEntry(session_id, number))

    def getLogLength(self, session_id: str) -> int:
        return int(self.store.getLogLength(session_id))

    def getLog(self, session_id: str) -> list[LogEntry]:
        return cast(list[LogEntry], self.store.getLog(session_id))

    def getSessions(self) -> list[str]:
        return cast(list[str], self.store.getSessions())

    def getOpenSessions(self) -> list[str]:
        return cast(list[str], self.store.getOpenSessions())

    @contextmanager
    def group(self) -> Iterator[None]:
        with self.store.group():
            yield
            self._verify_reachable()  # cut off meanwhile, a group cannot become durable

    def verify_durable(self, session_id: str) -> None:
        self._store.verify_durable(session_id)  # what this process wrote it knows without asking

    # The lease, for stores that have one (SharedLogStorage).

    @property
    def epoch(self) -> int:  # type: ignore[override]  # only the store changes it
        """Of this connection's claim, which this process knows without asking; 0 where the log is not shared."""
        return int(getattr(self._store, "epoch", 0))

    def read_lease(self) -> Any:
        return self.store.read_lease()

    def claim(self, holder: str, lease_s: float) -> Any:
        return self.store.claim(holder, lease_s)

    def renew(self, lease_s: float) -> Any:
        return self.store.renew(lease_s)

    def release(self) -> None:
        self.store.release()

    def raise_epoch(self, at_least: int) -> None:
        self.store.raise_epoch(at_least)

    def close(self) -> None:
        self._store.close()


# ---------------------------------------------------------------------- the network


class WatchedNetwork:
    """A gateway's access to its network, watched."""

    def __init__(self, ledger: Ledger, gateway: str, wire: Tripwire, report: Report, now: Callable[[], str]) -> None:
        self._ledger, self._gateway, self._wire, self._report, self._now = ledger, gateway, wire, report, now

    def act(self, order: Order) -> Receipt:
        step = _step_of(order.operationId)
        with self._wire.around(step, f"the {order.action} ({step})", order):
            return self._carry_out(order)

    def land(self) -> Receipt | None:
        """The order in flight arrives now, whatever has become of the gateway; None if the network refuses it."""
        order, self._wire.in_flight = self._wire.in_flight, None
        if order is None:
            raise Misuse(f"no order of {self._gateway} is in flight")
        try:
            return self._carry_out(order, is_late=True)
        except LedgerRefused:
            return None

    def _carry_out(self, order: Order, *, is_late: bool = False) -> Receipt:
        place, step, height = self._ledger.name, _step_of(order.operationId), self._ledger.height
        try:
            receipt = self._ledger.act(order)
        except LedgerRefused as refusal:
            self._report(Denied(self._now(), self._gateway, place, step, order.action, refusal.reason))
            raise
        again = self._ledger.height == height
        self._report(Acted(self._now(), self._gateway, place, step, order.action, again, is_late))
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
