"""What a search has met, numbered: the states of each side, the messages, and what can be on its way at once.

Numbers are given in the order in which things are met, so the same search gives the same numbers. What an event does to
a state, and what taking a message away leaves on its way, is computed once and looked up from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from protocol.automata import Automaton, Event
from protocol.errors import Misuse
from protocol.plans import Crash, Message, Plan

BITS: Final = 20  # of a number: for a side's state, and for what is on its way
MASK: Final = (1 << BITS) - 1


class Table:
    """The states of one side, numbered, and what events do to them."""

    def __init__(self, side: Automaton) -> None:
        self.side = side
        self.states: list[Any] = []
        self.views: list[int] = []
        self.outcomes: dict[tuple[int, Event], Entry | None] = {}
        self._numbers: dict[bytes, int] = {}
        self._views: dict[Any, int] = {}
        self.shown: list[Any] = []  # the views, by their numbers

    def number(self, state: Any) -> int:
        """The number of a state, by its key."""
        found = self._numbers.get(state.key)
        if found is None:
            found = self._numbers[state.key] = verify_room(len(self.states))
            self.states.append(state)
            view = self._views.setdefault(state.view, len(self._views))
            if view == len(self.shown):
                self.shown.append(state.view)
            self.views.append(view)
        return found


class Entry(NamedTuple):
    """An outcome, in numbers."""

    state: int
    sent: tuple[int, ...]
    cuts: tuple[tuple[Crash, int, tuple[str, ...] | None], ...]
    loses: tuple[str, ...]
    waits: bool


class OnTheWay:
    """Sets of messages, numbered; 0 is the empty one. The same bytes are in a set once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.messages: list[Message] = []
        self._numbers: dict[Message, int] = {}
        self.sets: list[tuple[int, ...]] = [()]
        self._set_numbers: dict[tuple[int, ...], int] = {(): 0}
        self._changes: dict[tuple[str, int, Any], int] = {}

    def number(self, message: Message) -> int:
        found = self._numbers.setdefault(message, len(self.messages))
        if found == len(self.messages):
            self.messages.append(message)
        return found

    def take(self, link: int, number: int) -> int:
        return self._change("take", link, number, lambda on_way: (each for each in on_way if each != number))

    def put(self, link: int, numbers: tuple[int, ...]) -> int:
        return self._change("put", link, numbers, lambda on_way: {*on_way, *numbers})

    def drop_to(self, link: int, side: int) -> int:
        """What is on its way to a side that is gone is gone too, unless the plan keeps it."""
        if self._plan.keeps_messages:
            return link
        messages = self.messages
        return self._change("drop", link, side, lambda on_way: (n for n in on_way if messages[n].target != side))

    def lose(self, link: int, names: tuple[str, ...]) -> int:
        """What these names say is lost."""
        if not names:
            return link
        messages, is_lost = self.messages, self._plan.is_lost
        return self._change(
            "lose",
            link,
            names,
            lambda on_way: (n for n in on_way if not any(is_lost(each, messages[n]) for each in names)),
        )

    def _change(self, how: str, link: int, about: Any, compute: Callable[[tuple[int, ...]], Iterable[int]]) -> int:
        known = self._changes.get((how, link, about))
        if known is None:
            on_way = tuple(sorted(compute(self.sets[link])))
            known = self._set_numbers.setdefault(on_way, len(self.sets))
            if known == len(self.sets):
                self.sets.append(on_way)
                verify_room(known)
            self._changes[how, link, about] = known
        return known


def verify_room(number: int) -> int:
    """The number itself. Misuse if there are more than a global state has bits for."""
    if number > MASK:
        raise Misuse(f"a side, or the link, has more than {MASK + 1} states; choose smaller bounds")
    return number
