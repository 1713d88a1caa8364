"""Every behaviour within bounds: the real gateways, through all orders of what can happen to them.

    deliver, lose, duplicate      any message that is on its way, in any order
    crash                         between two events, or before or after any durable act within one
    restart, time out             whenever a gateway is down, or waits
    wait                          the time of a lock passes
    forget, lose key, land, ...   as the bounds allow

The search is breadth first, so the first state that breaks a property ends a shortest run that does. A global state is
a number for each side's state, one for what is on its way, and one for how much of the bounds is left. What an event
does to one side is computed once, with the real code, and looked up from then on.

Reductions, each checked against the search without it on small cases (tests/test_explorer_reductions.py):

    one copy      the same bytes on their way twice are there once: delivering them twice is the fault "duplicate", and
                  a gateway that says its last word again says the same bytes
    down          what is sent to a gateway that is down is lost at once: its connection is gone, and it would be lost
                  when it comes back; without that rule it stays on its way
    in place      a crash before the first act of an event is a crash before the event: the message is lost with it
    time          passes only while a lock is live: before and after, nothing depends on it
    patience      a gateway says its last word again when nothing is on its way to it, and its offer when nothing is
                  on its way at all and its peer is up. After a crash this is a bound: `early` allows more
"""

from __future__ import annotations

import gc
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

from protocol.automata import Event
from protocol.plans import Action, Crash, Message, Plan
from protocol.properties import Kind, Property, Scene
from protocol.tables import BITS, MASK, Entry, OnTheWay, Table

REPORT_S: Final = 0.5


@dataclass(frozen=True)
class Verdict:
    """What came of one property. `place` is where the shortest run ends that breaks it, or that shows it happen."""

    name: str
    holds: bool
    place: int | None = None


class Progress(NamedTuple):
    """How far a search is: what is reported while it runs."""

    states: int
    waiting: int
    depth: int
    seconds: float


class Explorer:
    """One search. `run` takes it to its end, `go_on` a part of the way; `find_actions` tells how a state is reached."""

    def __init__(self, plan: Plan, properties: Sequence[Property], *, most_states: int | None = None) -> None:
        self.plan, self.properties, self._most_states = plan, list(properties), most_states or sys.maxsize
        self.tables = tuple(Table(side) for side in plan.sides)
        self.link = self._make_link()
        self.messages = self.link.messages
        self._weights = self._compute_weights()
        self.states: list[int] = []
        self._index: dict[int, int] = {}
        self._parents, self._how, self._depths = array("I"), array("I"), array("H")
        self._actions: list[Action] = []
        self._action_numbers: dict[Action, int] = {}
        self._edges, self._ends = array("I"), array("I")  # where each state's faultless steps lead, and where they end
        self._left_open: list[int] = []  # states where the bound on attempts has left something out
        self._scenes: set[tuple[int, int, bool]] = set()
        self._witness: dict[str, int] = {}
        self.truncated = 0
        self.computed = 0
        self.is_interrupted = False
        self.transitions = 0
        self.seconds = 0.0

    def _make_link(self) -> OnTheWay:
        return OnTheWay(self.plan)

    # ------------------------------------------------------------------ the search

    def run(self, report: Callable[[Progress], None] = lambda progress: None) -> Explorer:
        """Search to the end of the bounds, or until interrupted; then `is_whole` is False, and nothing is lost."""
        last = time.monotonic()
        try:
            while self.go_on():
                if (now := time.monotonic()) - last > REPORT_S:
                    last = now
                    report(self.progress)
        except KeyboardInterrupt:
            self.is_interrupted = True
        report(self.progress)
        return self

    def go_on(self, most: int = 256) -> bool:
        """Go on from so many more states. False if nothing is left to do; until then it can be called again."""
        begin, is_collecting = time.monotonic(), gc.isenabled()
        gc.disable()  # all that a search makes stays; looking for what does not costs a sixth of its time
        try:
            if not self.states:
                self._begin()
            for place in range(len(self._ends), min(len(self._ends) + most, self._most_states)):
                if place == len(self.states):
                    return False
                self._expand(place)
        except KeyboardInterrupt:
            del self.states[len(self._depths) :]  # a state that was just being added
            raise
        finally:
            self.seconds += time.monotonic() - begin
            if is_collecting:
                gc.enable()
        return not self.is_whole and len(self._ends) < self._most_states

    def _begin(self) -> None:
        budget = sum(count * self._weights[slot] for slot, count in self.plan.slots.items())
        one, other = (table.number(table.side.initial) for table in self.tables)
        self._add(self._pack(one, other, 0, budget), 0, Action("begin", 0))

    @property
    def progress(self) -> Progress:
        depth = self._depths[len(self._ends) - 1] if self._ends else 0
        return Progress(len(self.states), self.waiting, depth, self.seconds)

    @property
    def is_whole(self) -> bool:
        """Whether it has gone on from every state that it has reached."""
        return bool(self.states) and not self.waiting

    def _expand(self, place: int) -> None:
        """All that can happen in one state."""
        state, truncated = self.states[place], self.truncated
        for action, after, is_fault in self._list_successors(state):
            self.transitions += 1
            found = self._index.get(after)
            if found is None:
                found = self._add(after, place, action)
            if not is_fault and found != place:
                self._edges.append(found)
        self._ends.append(len(self._edges))
        if self.truncated > truncated:
            self._left_open.append(place)

    def _list_successors(self, state: int) -> Iterator[tuple[Action, int, bool]]:
        """Each with what happened, and whether it was a fault."""
        local = (state & MASK, state >> BITS & MASK)
        link, budget = state >> 2 * BITS & MASK, state >> 3 * BITS
        for number in self.link.sets[link]:
            yield from self._list_of_message(number, local, link, budget)
        for side in (0, 1):
            yield from self._list_of_side(side, local, link, budget)
        for side, move in self.plan.begins:
            left = self._spend(budget, move.slot)
            if left is not None:
                yield from self._list_of_event(side, move.event, local, link, left, is_fault=move.is_fault)
        for move in self.plan.both:
            left = self._spend(budget, move.slot)
            if left is not None:
                one, other = (self._find(side, local[side], move.event) for side in (0, 1))
                if one is not None and other is not None:
                    yield Action(move.event[0], 0), self._pack(one.state, other.state, link, left), move.is_fault

    def _list_of_message(
        self, number: int, local: tuple[int, int], link: int, budget: int
    ) -> Iterator[tuple[Action, int, bool]]:
        """It arrives, is lost, or arrives and stays on its way; or its receiver crashes over it."""
        target = self.messages[number].target
        rest = self.link.take(link, number)
        entry = self._find(target, local[target], ("deliver", number))
        waits = entry is not None and entry.waits
        if not waits:
            yield Action("deliver", target, number), self._apply(target, entry, local, rest, budget), False
        left = self._spend(budget, "losses")
        if left is not None:
            yield Action("lose", target, number), self._pack(*local, rest, left), True
        if waits:
            return
        left = self._spend(budget, "duplicates")
        if left is not None:
            yield Action("twice", target, number), self._apply(target, entry, local, link, left), True
        if entry is not None:
            yield from self._list_crashes(Action("deliver", target, number), entry, local, rest, budget)

    def _list_crashes(
        self, action: Action, entry: Entry, local: tuple[int, int], link: int, budget: int
    ) -> Iterator[tuple[Action, int, bool]]:
        side = action.side
        if side not in self.plan.crashing:
            return
        for crash, after, loses in entry.cuts:
            left = self._spend(budget, "pauses" if crash.is_pause else "crashes")
            if left is not None:
                alone = self.link.drop_to(link, side) if loses is None else self.link.lose(link, loses)
                yield action._replace(crash=crash), self._pack_side(side, after, local, alone, left), True

    def _list_of_side(
        self, side: int, local: tuple[int, int], link: int, budget: int
    ) -> Iterator[tuple[Action, int, bool]]:
        """What a side does by itself, or what befalls it, while it is up, or down."""
        plan, is_up = self.plan, self._is_up(side, local[side])
        for move in plan.up if is_up else plan.down:
            if move.event[0] == "time out":
                slot = self._judge_time_out(side, local, link)
                left, is_fault = None if slot is None else self._spend(budget, slot or None), bool(slot)
            else:
                left, is_fault = self._spend(budget, move.slot), move.is_fault
            if left is not None:
                yield from self._list_of_event(side, move.event, local, link, left, is_fault=is_fault)
        if is_up and side in plan.crashing:
            left = self._spend(budget, "crashes")
            entry = None if left is None else self._find(side, local[side], ("crash", None))
            if left is not None and entry is not None:
                after = self._pack_side(side, entry.state, local, self.link.drop_to(link, side), left)
                yield Action("crash", side), after, True

    def _list_of_event(
        self, side: int, event: Event, local: tuple[int, int], link: int, budget: int, *, is_fault: bool = False
    ) -> Iterator[tuple[Action, int, bool]]:
        if event in (("restart", None), ("cut", None)) and self.plan.loses_connection:
            link = 0
        entry = self._find(side, local[side], event)
        if entry is not None:
            action = Action(event[0], side, event[1])
            yield action, self._apply(side, entry, local, link, budget), is_fault
            yield from self._list_crashes(action, entry, local, link, budget)

    def _judge_time_out(self, side: int, local: tuple[int, int], link: int) -> str | None:
        """What waiting no longer costs: nothing (""), a slot, or None where it is not explored."""
        state = self.tables[side].states[local[side]]
        on_way = [number for number in self.link.sets[link] if not self._is_held_up(number, local)]
        if state.view.is_comparing:
            if not self._is_up(1 - side, local[1 - side]):
                return None
            if state.nonces >= self.plan.most_attempts:
                self.truncated += 1
                return None
            return "early" if on_way else ""
        return "early" if any(self.messages[number].target == side for number in on_way) else ""

    def _is_held_up(self, number: int, local: tuple[int, int]) -> bool:
        """Whether a message waits for somebody who stands still."""
        target = self.messages[number].target
        entry = self._find(target, local[target], ("deliver", number))
        return entry is not None and entry.waits

    # ------------------------------------------------------------------ one side, computed once

    def _find(self, side: int, state: int, event: Event) -> Entry | None:
        table = self.tables[side]
        known = table.outcomes.get((state, event), table)
        if known is not table:
            return known  # type: ignore[return-value]
        self.computed += 1
        about = ("deliver", self.messages[event[1]].data) if event[0] == "deliver" else event
        outcome = table.side.run(table.states[state], about)
        entry = None
        if outcome is not None:
            sent = tuple(self.link.number(Message(data, 1 - side)) for data in outcome.sent)
            cuts = {table.number(cut.state): cut for cut in reversed(outcome.cuts)}
            gone = self._find_gone(side, state) if outcome.cuts else None
            chosen = tuple(
                (Crash(cut.number, cut.is_after, cut.is_pause), number, cut.loses)
                for number, cut in cuts.items()
                if number != gone
            )
            entry = Entry(table.number(outcome.state), sent, chosen, outcome.loses, outcome.waits)
        table.outcomes[state, event] = entry
        return entry

    def _find_gone(self, side: int, state: int) -> int | None:
        """The state that a crash between two events leaves."""
        if not self._is_up(side, state):
            return state
        entry = self._find(side, state, ("crash", None))
        return entry.state if entry is not None else None

    def _is_up(self, side: int, state: int) -> bool:
        return bool(self.tables[side].states[state].view.is_up)

    def _apply(self, side: int, entry: Entry | None, local: tuple[int, int], link: int, budget: int) -> int:
        """The global state after an outcome, with what was sent on its way."""
        if entry is None:
            return self._pack(*local, link, budget)
        link = self.link.lose(link, entry.loses)
        hears = self._is_up(1 - side, local[1 - side]) or not self.plan.loses_connection
        after = self.link.put(link, entry.sent) if entry.sent and hears else link
        return self._pack_side(side, entry.state, local, after, budget)

    # ------------------------------------------------------------------ global states

    def _compute_weights(self) -> dict[str, int]:
        """What one of each slot counts in the number that is the budget."""
        weights, weight = {}, 1
        for slot, count in self.plan.slots.items():
            weights[slot] = weight
            weight *= count + 1
        return weights

    def _spend(self, budget: int, slot: str | None) -> int | None:
        """What is left of the budget; None if it does not allow it."""
        if slot is None:
            return budget
        weight = self._weights.get(slot)
        if weight is None:
            return None
        return budget - weight if budget // weight % (self.plan.slots[slot] + 1) else None

    @staticmethod
    def _pack(one: int, other: int, link: int, budget: int) -> int:
        return one | other << BITS | link << 2 * BITS | budget << 3 * BITS

    def _pack_side(self, side: int, state: int, local: tuple[int, int], link: int, budget: int) -> int:
        return self._pack(*((state, local[1]) if side == 0 else (local[0], state)), link, budget)

    def _add(self, state: int, parent: int, action: Action) -> int:
        place = self._index[state] = len(self.states)
        self.states.append(state)
        number = self._action_numbers.setdefault(action, len(self._actions))
        if number == len(self._actions):
            self._actions.append(action)
        self._parents.append(parent)
        self._how.append(number)
        self._depths.append(self._depths[parent] + 1 if place else 0)
        self._look(place, state)
        return place

    def _look(self, place: int, state: int) -> None:
        """The first state of each scene is where its properties are judged."""
        found = self._find_scene(state)
        if found in self._scenes:
            return
        self._scenes.add(found)
        scene = self._see(*found)
        for each in self.properties:
            if each.kind is not Kind.EVENTUALLY and each.holds(scene) is (each.kind is Kind.SOMETIMES):
                self._witness.setdefault(each.name, place)

    def _find_scene(self, state: int) -> tuple[int, int, bool]:
        one, other = self.tables
        return one.views[state & MASK], other.views[state >> BITS & MASK], not state >> 2 * BITS & MASK

    def _see(self, one: int, other: int, is_quiet: bool) -> Scene:
        return Scene(self.tables[0].shown[one], self.tables[1].shown[other], is_quiet)

    # ------------------------------------------------------------------ what came of it

    def list_verdicts(self) -> list[Verdict]:
        """One for each property. Of a search that was stopped, they hold for what it has covered."""
        return [self._judge(each) for each in self.properties]

    def _judge(self, each: Property) -> Verdict:
        place = self._find_stuck(each) if each.kind is Kind.EVENTUALLY else self._witness.get(each.name)
        return Verdict(each.name, (place is not None) is (each.kind is Kind.SOMETIMES), place)

    def _find_stuck(self, rest: Property) -> int | None:
        """The first state from which no way without another fault leads to rest.

        Where the search has left something out nothing is claimed.
        """
        known = {scene: rest.holds(self._see(*scene)) for scene in self._scenes}
        gets_there = bytearray(known[self._find_scene(state)] for state in self.states)
        for place in (*self._left_open, *range(len(self._ends), len(self.states))):
            gets_there[place] = 1
        changed = True
        while changed:
            changed = False
            for place in range(len(self._ends) - 1, -1, -1):
                if not gets_there[place]:
                    begin = self._ends[place - 1] if place else 0
                    if any(gets_there[after] for after in self._edges[begin : self._ends[place]]):
                        gets_there[place] = changed = True
        place = gets_there.find(0)
        return None if place < 0 else place

    def find_places(self, place: int) -> list[int]:
        """The states on a shortest way to a state, that one last."""
        found = [place]
        while found[-1]:
            found.append(self._parents[found[-1]])
        return found[::-1]

    def find_actions(self, place: int) -> list[Action]:
        """What happens on that way."""
        return [self._actions[self._how[each]] for each in self.find_places(place)[1:]]

    def list_on_way(self, place: int) -> tuple[int, ...]:
        """The numbers of the messages that are on their way in a state."""
        return self.link.sets[self.states[place] >> 2 * BITS & MASK]

    @property
    def depths(self) -> list[int]:
        """How many states are reached first after 0, 1, 2 ... actions."""
        return [len(list(group)) for _, group in groupby(self._depths)]

    def find_depth(self, place: int) -> int:
        """The length of a shortest way to a state."""
        return self._depths[place]

    @property
    def waiting(self) -> int:
        """How many states were reached, and not gone on from."""
        return len(self.states) - len(self._ends)

    def measure_state(self) -> float:
        """Bytes of memory for each global state: its number, how it was reached, where it leads."""
        parts = (self.states, self._index, self._parents, self._how, self._depths, self._edges, self._ends)
        numbers = sum(map(sys.getsizeof, self.states)) + sum(map(sys.getsizeof, self._index.values()))
        return (sum(map(sys.getsizeof, parts)) + numbers) / len(self.states)
