"""Typed events of a run.

A run is data. Whoever simulates the world writes down what happened, one event after the other;
diagrams, notebooks, tests and bug reports read the same list and never look into a gateway to draw it.

Events say what can be seen from outside: a message arrived or was lost, an entry became durable, a
ledger acted or was asked, a gateway crashed or came back. Places are the names of gateways and networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

Mark: TypeAlias = tuple[str, str]
"""A place, and what it is.

A gateway is "down", "paused", "fenced" (another one writes in its place), or on "standby". A network has the one asset
of the trace "locked", "free", "held", "assigned", "burned" or "destroyed".
"""

LEFT_BY = {  # what an action makes of the asset; it is free where an owner has it, and the beneficiary's if assigned
    "lock": "locked",
    "unlock": "free",
    "mint": "held",
    "destroy": "destroyed",
    "burn": "burned",
    "assign": "assigned",
    "reissue": "free",
}


@dataclass(frozen=True)
class Event:
    """Something that happened at `at`, an RFC 3339 time of the simulated clock."""

    at: str


@dataclass(frozen=True)
class Delivered(Event):
    """A message arrived. `step` is its row in TABLE 1, empty for errors; `again` if the same bytes arrived before.

    `data` are its bytes as they came out of the connection.
    """

    source: str
    target: str
    step: str
    name: str
    again: bool = False
    data: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}: {self.step} {self.name}{' (again)' if self.again else ''}"


@dataclass(frozen=True)
class Lost(Event):
    """A message was sent and never arrived."""

    source: str
    target: str
    step: str
    name: str

    def __str__(self) -> str:
        return f"{self.source} -x {self.target}: {self.step} {self.name} is lost"


@dataclass(frozen=True)
class Logged(Event):
    """An entry of `gateway`'s log is durable."""

    gateway: str
    step: str
    operation: str
    number: int

    def __str__(self) -> str:
        return f"{self.gateway} logs {self.operation} {self.step} (entry {self.number})"


@dataclass(frozen=True)
class Acted(Event):
    """A network carried out an action. `again` if it had done so before and returned the first receipt.

    `late` if the order was still on its way when its gateway had been stopped.
    """

    gateway: str
    network: str
    step: str
    action: str
    again: bool = False
    late: bool = False

    def __str__(self) -> str:
        words = [word for word, holds in (("did so before", self.again), ("late", self.late)) if holds]
        how = f" ({', '.join(words)})" if words else ""
        return f"{self.network} does {self.action} for {self.gateway}{how}"


@dataclass(frozen=True)
class Expired(Event):
    """A lock was over, and the network let go of the asset by itself."""

    network: str

    def __str__(self) -> str:
        return f"{self.network}: a lock has expired"


@dataclass(frozen=True)
class Denied(Event):
    """A network refused an action; nothing changed there."""

    gateway: str
    network: str
    step: str
    action: str
    reason: str

    def __str__(self) -> str:
        return f"{self.network} refuses {self.action} to {self.gateway}: {self.reason}"


@dataclass(frozen=True)
class Asked(Event):
    """A gateway asked its network whether an action has happened."""

    gateway: str
    network: str
    step: str
    action: str
    happened: bool

    def __str__(self) -> str:
        return f"{self.gateway} asks {self.network}: {self.action}? {'yes' if self.happened else 'no'}"


@dataclass(frozen=True)
class Crashed(Event):
    """A gateway is gone; what it had in memory is lost. `where` says after or before which durable act."""

    gateway: str
    where: str

    def __str__(self) -> str:
        return f"{self.gateway} CRASHES {self.where}"


@dataclass(frozen=True)
class Connected(Event):
    """A TLS connection came about; `is_resumed` as OpenSSL itself says."""

    one: str
    other: str
    is_resumed: bool

    def __str__(self) -> str:
        return f"{self.one} and {self.other} connect: TLS 1.3, {'resumed' if self.is_resumed else 'full handshake'}"


@dataclass(frozen=True)
class NotConnected(Event):
    """A handshake was refused by `gateway`; `is_resumed` if OpenSSL had agreed to resume before we looked."""

    gateway: str
    peer: str
    reason: str
    is_resumed: bool

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Judged(Event):
    """TABLE 2 has spoken: the row with `letter` holds for a session at `gateway`, because of its three `facts`.

    The facts are words of TABLE 2: what the log says, what the ledger says, what the peer holds.
    """

    gateway: str
    session: str
    letter: str
    verdict: str
    facts: tuple[str, str, str]

    def __str__(self) -> str:
        return f"{self.gateway}, row {self.letter}: {self.verdict}"


@dataclass(frozen=True)
class Forgotten(Event):
    """Something of a gateway that is down was lost besides its process: entries, its log, its key, the connection."""

    gateway: str
    what: str

    def __str__(self) -> str:
        return f"{self.gateway} loses {self.what}"


@dataclass(frozen=True)
class Restarted(Event):
    """A new gateway was made from the same files and the same ledger."""

    gateway: str

    def __str__(self) -> str:
        return f"{self.gateway} restarts"


@dataclass(frozen=True)
class TimedOut(Event):
    """A gateway waited long enough for an answer to send its last message again."""

    gateway: str

    def __str__(self) -> str:
        return f"{self.gateway} waits no longer"


@dataclass(frozen=True)
class Paused(Event):
    """A gateway stands still, with all that it has in memory. `where` says after or before which durable act."""

    gateway: str
    where: str

    def __str__(self) -> str:
        return f"{self.gateway} stands still {self.where}".rstrip()


@dataclass(frozen=True)
class Woken(Event):
    """A gateway that stood still goes on, and cannot know how long it did."""

    gateway: str

    def __str__(self) -> str:
        return f"{self.gateway} goes on"


@dataclass(frozen=True)
class Partitioned(Event):
    """A gateway and `place`, another gateway or its log store, do not reach each other any more."""

    gateway: str
    place: str

    def __str__(self) -> str:
        return f"{self.gateway} does not reach {self.place}"


@dataclass(frozen=True)
class Healed(Event):
    """They reach each other again."""

    gateway: str
    place: str

    def __str__(self) -> str:
        return f"{self.gateway} reaches {self.place} again"


@dataclass(frozen=True)
class TookOver(Event):
    """A backup acts for `predecessor` from now on; whatever it writes carries `epoch`."""

    gateway: str
    predecessor: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.gateway} takes over from {self.predecessor}: epoch {self.epoch}"


@dataclass(frozen=True)
class HandedOver(Event):
    """A gateway gave up its lease of its own accord, which had `epoch`."""

    gateway: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.gateway} hands over epoch {self.epoch}"


@dataclass(frozen=True)
class StandsBy(Event):
    """A gateway that came up has found another one in charge."""

    gateway: str

    def __str__(self) -> str:
        return f"{self.gateway} stands by"


@dataclass(frozen=True)
class FencedOff(Event):
    """The store refused what a gateway wanted to write: the present `epoch` is the one of `by`. It acts no more."""

    gateway: str
    epoch: int
    by: str

    def __str__(self) -> str:
        return f"{self.gateway} is fenced: {self.by} writes under epoch {self.epoch}"


@dataclass(frozen=True)
class Accepted(Event):
    """`gateway`, the counterparty, takes `by` for `peer` from now on, since it showed that it may under `epoch`."""

    gateway: str
    peer: str
    by: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.gateway} accepts {self.by} for {self.peer}: epoch {self.epoch}"


@dataclass
class Trace:
    """What happened, in order. `lanes` are the places from left to right; `gateways` those of them that can crash.

    `marks` are what the places are when the trace begins. A `watcher` is told of each event right after it.
    """

    lanes: tuple[str, ...]
    gateways: tuple[str, ...]
    events: list[Event] = field(default_factory=list)
    marks: frozenset[Mark] = frozenset()
    watcher: Callable[[Event], None] | None = field(default=None, compare=False, repr=False)

    def add(self, event: Event) -> None:
        self.events.append(event)
        if self.watcher is not None:
            self.watcher(event)

    def of(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kinds)]

    def since(self, step: str) -> Trace:
        """The events from the first one of `step` on, as a trace of their own."""
        steps = (n for n, event in enumerate(self.events) if getattr(event, "step", "") == step)
        return self.after(next(steps, len(self.events)))

    def since_crash(self) -> Trace:
        """The events from the last message before the first trouble on, as a trace of their own.

        Trouble is a crash, a connection lost without one, a pause, a partition, or that a gateway hands over; without
        any it is the whole trace.
        """
        trouble = Crashed | Forgotten | Paused | Partitioned | HandedOver
        crash = next((n for n, event in enumerate(self.events) if isinstance(event, trouble)), 0)
        arrivals = [n for n, event in enumerate(self.events[:crash]) if isinstance(event, Delivered)]
        return self.after(arrivals[-1] if arrivals else 0)

    def until(self, number: int) -> Trace:
        """The first events, as a trace of their own."""
        return Trace(self.lanes, self.gateways, self.events[:number], self.marks)

    def after(self, number: int) -> Trace:
        """The events after the first `number`, as a trace of their own."""
        marks = self.marks
        for event in self.events[:number]:
            marks = compute_marks(marks, event)
        return Trace(self.lanes, self.gateways, self.events[number:], marks)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return "\n".join(f"{event.at[11:19]}  {event}" for event in self.events)


def compute_marks(marks: frozenset[Mark], event: Event) -> frozenset[Mark]:
    """What the places are after an event. Whoever was woken or restarted is on standby if it was before."""
    if isinstance(event, Expired) or (isinstance(event, Acted) and not event.again and event.action in LEFT_BY):
        state = LEFT_BY[event.action] if isinstance(event, Acted) else "free"
        return frozenset(mark for mark in marks if mark[0] != event.network) | {(event.network, state)}
    gone, new = _find_change(event)
    gateway = str(getattr(event, "gateway", ""))
    return (marks - {(gateway, mark) for mark in gone}) | {(gateway, mark) for mark in new}


def _find_change(event: Event) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The marks that a gateway loses, and those that it gets."""
    match event:
        case Crashed():
            return ("paused",), ("down",)
        case Restarted():
            return ("down", "fenced"), ()
        case Paused():
            return (), ("paused",)
        case Woken():
            return ("paused",), ()
        case FencedOff():
            return ("standby",), ("fenced",)
        case HandedOver() | StandsBy():
            return ("fenced",), ("standby",)
        case TookOver():
            return ("fenced", "standby"), ()
    return (), ()
