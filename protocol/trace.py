"""Typed events of a run.

A run is data. Whoever simulates the world writes down what happened, one event after the other;
diagrams, notebooks, tests and bug reports read the same list and never look into a gateway to draw it.

Events say what can be seen from outside: a message arrived or was lost, an entry became durable, a
ledger acted or was asked, a gateway crashed or came back. Places are the names of gateways and networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


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
    """A network carried out an action. `again` if it had done so before and returned the first receipt."""

    gateway: str
    network: str
    step: str
    action: str
    again: bool = False

    def __str__(self) -> str:
        return f"{self.network} does {self.action} for {self.gateway}{' (did so before)' if self.again else ''}"


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


@dataclass
class Trace:
    """What happened, in order. `lanes` are the places from left to right; `gateways` those of them that can crash."""

    lanes: tuple[str, ...]
    gateways: tuple[str, ...]
    events: list[Event] = field(default_factory=list)
    down: frozenset[str] = frozenset()  # gateways that were down already when this trace begins

    def add(self, event: Event) -> None:
        self.events.append(event)

    def of(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kinds)]

    def since(self, step: str) -> Trace:
        """The events from the first one of `step` on, as a trace of their own."""
        steps = (n for n, event in enumerate(self.events) if getattr(event, "step", "") == step)
        return self._cut(next(steps, len(self.events)))

    def since_crash(self) -> Trace:
        """The events from the last message before the first crash on, as a trace of their own.

        A connection lost without a crash counts as one; without either it is the whole trace.
        """
        crash = next((n for n, event in enumerate(self.events) if isinstance(event, Crashed | Forgotten)), 0)
        arrivals = [n for n, event in enumerate(self.events[:crash]) if isinstance(event, Delivered)]
        return self._cut(arrivals[-1] if arrivals else 0)

    def _cut(self, place: int) -> Trace:
        down = self.down
        for event in self.events[:place]:
            if isinstance(event, Crashed):
                down |= {event.gateway}
            if isinstance(event, Restarted):
                down -= {event.gateway}
        return Trace(self.lanes, self.gateways, self.events[place:], down)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return "\n".join(f"{event.at[11:19]}  {event}" for event in self.events)
