"""What survives a crash, in memory: a log, a ledger, and the copies of both that a crash would leave.

They stand where the store and the network stand in any other chapter, and are named by what they hold.

    UnitLog, UnitLedger    the log and the network, each with a `key` that says all it holds
    Recorder               stands where a crash can be put, and copies what it would leave
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from protocol.automata import Cut, SideState
from protocol.faults import Tripwire
from protocol.ledger import Ledger, Order
from protocol.log import LogEntry, MemoryLog
from protocol.memories import copy_value


class Recorder(Tripwire):
    """Stands where a crash can be put, and copies what it would leave after each durable act."""

    def __init__(
        self, copy: Callable[[Order | None], SideState], *, keeps_orders: bool, has_groups: bool = False
    ) -> None:
        super().__init__()
        self._copy, self._keeps_orders, self._has_groups = copy, keeps_orders, has_groups
        self.cuts: list[Cut] = []
        self.number = 0

    @contextmanager
    def around(self, step: str, words: str, order: Order | None = None) -> Iterator[None]:
        self.number += 1
        number = self.number
        is_late = order is not None and self._keeps_orders
        if number == 1 or is_late or self._has_groups:  # after one entry of a group is not before what follows it
            self.cuts.append(Cut(number, False, self._copy(order if is_late else None)))
        yield
        self.cuts.append(Cut(number, True, self._copy(None)))


class UnitLog(MemoryLog):
    """The log in memory, with the order in which entries became durable: part of the state if it `loses_tails`."""

    def __init__(self, *, loses_tails: bool = False) -> None:
        super().__init__()
        self._loses_tails = loses_tails
        self.written: list[tuple[LogEntry, bool]] = []
        self._durable: int | None = None  # how many entries are, while a group is written

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        length = self.getLogLength(entry.sessionId)
        number = super().writeLogEntry(entry, closes=closes)
        if number > length:
            self.written.append((entry, closes))
        return number

    def load(self, written: Iterable[tuple[LogEntry, bool]]) -> None:
        """What a disk has. Nothing is verified: it was when it was written."""
        self._entries, self._closed, self.written = {}, set(), list(written)
        for entry, closes in self.written:
            self._keep(entry, closes)

    @contextmanager
    def group(self) -> Iterator[None]:
        """What is written inside becomes durable together, at its end."""
        self._durable = len(self.written)
        try:
            with super().group():
                yield
        finally:
            self._durable = None
            del self.written[sum(map(len, self._entries.values())) :]  # of a group that failed nothing is left

    @contextmanager
    def as_on_disk(self) -> Iterator[None]:
        """Without what a group has written so far, for as long as somebody looks."""
        present = self._entries, self._closed, self.written
        if self._durable is not None:
            self.load(self.written[: self._durable])
        yield
        self._entries, self._closed, self.written = present

    @property
    def key(self) -> tuple[Any, ...]:
        """The chains by their last hashes, which name all before them. Which began first matters to no property."""
        heads = tuple(sorted((name, entries[-1].compute_hash()) for name, entries in self._entries.items()))
        order = tuple(entry.compute_hash() for entry, _ in self.written) if self._loses_tails else ()
        return heads, tuple(sorted(self._closed)), order

    def close(self) -> None:
        """There is nothing to close."""


class UnitLedger(Ledger):
    """The network, with a name for all that it has done."""

    def take_copy(self) -> dict[str, Any]:
        """What it has: assets, receipts, locks."""
        return {name: copy_value(value) for name, value in vars(self).items() if type(value) in (dict, list)}

    def load(self, copy: dict[str, Any]) -> None:
        """What it had when this was taken."""
        vars(self).update(copy_value(copy))

    @property
    def key(self) -> tuple[Any, ...]:
        """Its receipts and cancellations; assets and locks follow from them."""
        cancelled = tuple(cancellation.signed for cancellation in self._cancelled.values())
        return tuple(receipt.signed for receipt in self._history), cancelled
