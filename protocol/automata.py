"""What an exploration asks of each of two sides: a state, an event, and what comes of it.

A side that can be explored holds its state apart from the code that computes the next one, so that each pair of state
and event is computed once. `key` names a state by its content; `view` is what properties may look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Event = tuple[str, Any]
"""What happens to one side, by name, and what it is about."""


class SideState(Protocol):
    """A side between two events."""

    @property
    def key(self) -> bytes: ...

    @property
    def view(self) -> Any: ...


class Cut(NamedTuple):
    """What a crash leaves: `before` or after the `number`-th durable act of an event.

    `is_pause`: it stands still there instead. `loses` names what is lost of what is on its way; None: all to this side.
    """

    number: int
    is_after: bool
    state: SideState
    is_pause: bool = False
    loses: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """What one event does to a side. `sent` is for the peer; `cuts` are what a crash on the way leaves.

    `loses` names what is lost of what is on its way, for a plan that knows such names. `waits`: the message cannot be
    taken now, and stays on its way.
    """

    state: SideState
    sent: tuple[bytes, ...] = ()
    cuts: tuple[Cut, ...] = ()
    loses: tuple[str, ...] = ()
    waits: bool = False


class Automaton(Protocol):
    """One side: where it begins, and what an event does to it. `name` is for people."""

    name: str
    initial: Any

    def run(self, state: Any, event: Event) -> Outcome | None:
        """None if it cannot happen there, or changes nothing and says nothing."""
