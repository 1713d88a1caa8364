"""Each reduction of the search beside the search without it: it leaves states out, and no verdict."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from protocol.explorer import Explorer
from protocol.processes import START
from protocol.properties import Scene
from protocol.steps import Role
from protocol.tables import Entry, OnTheWay
from protocol.units import LOCK_S, Unit
from tests.twins import PROPERTIES, list_pairs, make_small_plan, search

BROKEN = ("prepared_recipient_waits",)
Case = tuple[tuple[str, ...], dict[str, Any]]
WITHOUT_CRASH: tuple[Case, ...] = (((), {"losses": 1}), (BROKEN, {"aborts": 1}))
SMALL: tuple[Case, ...] = (*WITHOUT_CRASH, ((), {"crashes": 1}))


class Twice(OnTheWay):
    def take(self, link: int, number: int) -> int:
        return self._change("take", link, number, lambda on_way: _remove_one(on_way, number))

    def put(self, link: int, numbers: tuple[int, ...]) -> int:
        return self._change("put", link, numbers, lambda on_way: _add_copies(on_way, numbers))


class Copies(Explorer):
    """Without "one copy": the same bytes can be on their way twice, each to arrive by itself. A third copy is not sent,
    for nothing else ends that."""

    def _make_link(self) -> OnTheWay:
        return Twice(self.plan)


def _remove_one(on_way: tuple[int, ...], number: int) -> list[int]:
    left = list(on_way)
    left.remove(number)
    return left


def _add_copies(on_way: tuple[int, ...], numbers: tuple[int, ...]) -> list[int]:
    counts = Counter(on_way) + Counter(numbers)
    return [number for number, count in counts.items() for _ in range(min(count, 2))]


class Keeping(Explorer):
    """Without "down": what was sent to a gateway that is down stays on its way until it comes back."""

    def _make_link(self) -> OnTheWay:
        return OnTheWay(self.plan._replace(keeps_messages=True))

    def _apply(self, side: int, entry: Entry | None, local: tuple[int, int], link: int, budget: int) -> int:
        if entry is None:
            return self._pack(*local, link, budget)
        return self._pack_side(side, entry.state, local, self.link.put(link, entry.sent), budget)


class OutOfPlace(Explorer):
    """Without "in place": a crash before the first act of an event is one more way to crash."""

    def _find_gone(self, side: int, state: int) -> int | None:
        return None


class Impatient(Explorer):
    """Without "patience": a gateway waits no longer whenever it likes, as often as it likes, and says its offer to
    a peer that is down."""

    def _judge_time_out(self, side: int, local: tuple[int, int], link: int) -> str | None:
        state = self.tables[side].states[local[side]]
        if state.view.is_comparing and state.nonces >= self.plan.most_attempts:
            self.truncated += 1
            return None
        return ""


def run(kind: type[Explorer], case: Case, **changes: Any) -> Explorer:
    flipped, bounds = case
    return kind(make_small_plan(*flipped, **bounds)._replace(**changes), PROPERTIES).run()


def judge(found: Explorer) -> dict[str, bool]:
    return {each.name: each.holds for each in found.list_verdicts()}


@pytest.mark.parametrize("case", SMALL, ids=str)
@pytest.mark.parametrize("kind", [Keeping, OutOfPlace])
def test_what_is_left_out_reaches_nothing_new(kind: type[Explorer], case: Case) -> None:
    reduced, whole = search(*case[0], **case[1]), run(kind, case)
    assert list_pairs(whole) == list_pairs(reduced)
    assert judge(whole) == judge(reduced)


def test_both_really_leave_something_out() -> None:
    reduced, case = search(crashes=1), ((), {"crashes": 1})
    assert len(run(Keeping, case).states) > len(reduced.states)
    assert len(run(OutOfPlace, case).states) > len(reduced.states)


@pytest.mark.parametrize("case", WITHOUT_CRASH, ids=str)
def test_a_second_copy_is_the_fault_duplicate_and_nothing_else(case: Case) -> None:
    flipped, bounds = case
    reduced, twice, whole = search(*flipped, **bounds), search(*flipped, **bounds, duplicates=1), run(Copies, case)
    assert len(whole.states) > len(twice.states) > len(reduced.states)
    assert list_pairs(whole) == list_pairs(twice)
    assert judge(whole) == judge(twice) == judge(reduced)


@pytest.mark.parametrize("case", WITHOUT_CRASH, ids=str)
def test_without_patience_the_verdicts_are_the_same_with_more_states(case: Case) -> None:
    reduced, whole = search(*case[0], **case[1]), run(Impatient, case)
    assert len(whole.states) > len(reduced.states)
    assert list_pairs(whole) == list_pairs(reduced)
    assert judge(whole) == judge(reduced)


def test_with_a_crash_one_early_time_out_reaches_more_and_breaks_nothing() -> None:
    """Here patience is a bound and not only a short cut: a new offer makes the answer to the older one worthless."""
    reduced, early = search(crashes=1), search(crashes=1, early=1)
    assert list_pairs(early) > list_pairs(reduced)
    assert judge(early) == judge(reduced)


def list_scenes(found: Explorer) -> set[Scene]:
    """What both sides show, whatever the clock says."""
    return {found._see(*scene) for scene in found._scenes}


class Timeless(Unit):
    """Without "time": it passes whether there is a lock or not."""

    def _wait(self) -> None:
        self._waits += 1
        self._clock.time = START + timedelta(seconds=self._waits * (LOCK_S + 1))
        _ = self._ledger.assets


@pytest.mark.parametrize(
    "case", [((), {"waits": 1}), ((), {"waits": 1, "aborts": 1}), ((), {"waits": 1, "crashes": 1})]
)
def test_time_that_passes_without_a_lock_changes_no_verdict(case: Case) -> None:
    reduced, plan = search(*case[0], **case[1]), make_small_plan(*case[0], **case[1])
    whole = Explorer(plan._replace(sides=(Timeless(Role.SENDER), Timeless(Role.RECIPIENT))), PROPERTIES).run()
    assert len(whole.states) > len(reduced.states)
    assert judge(whole) == judge(reduced)
    assert list_scenes(whole) == list_scenes(reduced)


def test_progress_does_not_count_on_an_early_time_out() -> None:
    """As it costs something, it is a fault; the time of a lock, which passes anyway, is none."""
    found = search(early=1)
    for place in range(1, len(found.states)):
        parent, action = found.find_places(place)[-2], found.find_actions(place)[-1]
        begin = found._ends[parent - 1] if parent else 0
        is_early = action.kind == "time out" and bool(found.list_on_way(parent))
        assert (place in found._edges[begin : found._ends[parent]]) is not (is_early or action.kind == "start")
