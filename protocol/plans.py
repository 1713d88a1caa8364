"""What an exploration is given, and how it names what happened.

    Plan      two sides, what can happen to them, and how much of it
    Action    one step of a behaviour: an event of one side, or what became of a message

A plan is data and a few functions: nothing here knows what the sides are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from protocol.automata import Automaton, Event
from protocol.errors import Misuse


class Crash(NamedTuple):
    """Before or after the n-th durable act of an event. `is_pause`: it stands still there, with all that it knows."""

    number: int
    is_after: bool
    is_pause: bool = False


class Action(NamedTuple):
    """One step of a behaviour: `kind` is an event, or "lose", "twice". `about` is a message for these and "deliver"."""

    kind: str
    side: int
    about: Any = None
    crash: Crash | None = None


class Message(NamedTuple):
    """Bytes on their way. `target` is the number of a side."""

    data: bytes
    target: int


class Move(NamedTuple):
    """Something that can happen to a side by itself. `slot` is what it costs, None if it is free.

    What costs something is a fault, unless it `helps`: progress may count on it.
    """

    event: Event
    slot: str | None = None
    helps: bool = False

    @property
    def is_fault(self) -> bool:
        """What progress does not count on."""
        return self.slot is not None and not self.helps


class Plan(NamedTuple):
    """What is explored: two sides, how much may happen, and what may happen to a side that is up, or down, or to both.

    `slots` says how often, for all that is not free; `label` is what to call a message of a side. With
    `loses_connection` a restart ends what is on its way; with `keeps_messages` it outlives whoever it goes to, and may
    arrive after a restart.
    `most_attempts` bounds what a side may count without end; what that leaves out is reported.
    """

    sides: tuple[Automaton, Automaton]
    slots: dict[str, int]
    begins: tuple[tuple[int, Move], ...]
    up: tuple[Move, ...]
    down: tuple[Move, ...]
    label: Callable[[str, bytes], str]
    both: tuple[Move, ...] = ()
    crashing: tuple[int, ...] = (0, 1)
    loses_connection: bool = True
    keeps_messages: bool = False
    most_attempts: int = 6
    is_lost: Callable[[str, Message], bool] = lambda name, message: False  # what an outcome's `loses` names


def verify_count(name: str, value: object, *, least: int = 0) -> None:
    """Misuse for what is no number of times."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Misuse(f"{name} is a whole number from {least} on, not {value!r}")
