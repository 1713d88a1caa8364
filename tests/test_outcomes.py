"""What is kept from one search for the next: the same comes of a search with it, under whatever rules."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.bounds import Bounds
from protocol.campaigns import compare_rules, explore_all
from protocol.errors import Misuse
from protocol.explorations import Exploration, explore
from protocol.outcomes import MOST_KEPT, Outcomes
from protocol.rules import DRAFTS, NAMES, AskedRules, Rules, vary

SMALL: dict[str, Any] = {"crashes": 0, "aborts": 1, "duplicates": 1}


def search(*flipped: str, outcomes: Outcomes | None = None, **bounds: Any) -> Exploration:
    return explore(*flipped, outcomes=outcomes, bounds=Bounds(**bounds))


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """Those of a search with every rule."""
    kept = Outcomes()
    search(outcomes=kept, **SMALL)
    return kept


@pytest.mark.parametrize("name", NAMES)
def test_a_search_under_other_rules_finds_the_same_with_them(name: str, outcomes: Outcomes) -> None:
    assert search(name, outcomes=outcomes, **SMALL) == search(name, **SMALL)


@pytest.mark.parametrize("bounds", [{"crashes": 1}, {"crashes": 1, "lands": 1}, {"crashes": 1, "keys": 1}], ids=str)
def test_a_search_within_other_bounds_finds_the_same_with_them(bounds: dict[str, Any], outcomes: Outcomes) -> None:
    """A gateway with a second key is made where the first search that has kept one has ended."""
    assert search(outcomes=outcomes, **bounds) == search(**bounds)
    computed = outcomes.computed
    assert search(outcomes=outcomes, **bounds) == search(**bounds)
    assert outcomes.computed == computed


def test_what_asks_for_a_rule_is_computed_again_where_that_rule_is_another() -> None:
    kept = Outcomes()
    first = search(outcomes=kept, crashes=0, aborts=1)
    assert kept.computed == first.steps and not kept.given
    second = search("prepared_recipient_waits", outcomes=kept, crashes=0, aborts=1)
    assert 0 < kept.computed - first.steps < second.steps / 5
    assert kept.given == second.steps - (kept.computed - first.steps)


def test_a_lock_of_another_type_is_another_transfer(outcomes: Outcomes) -> None:
    bounds: dict[str, Any] = {"crashes": 0, "aborts": 1, "waits": 1, "lock_type": "TIME_LOCK"}
    assert search(outcomes=outcomes, **bounds) == search(**bounds)


def test_no_more_is_kept_than_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_KEPT > 1_000
    monkeypatch.setattr("protocol.outcomes.MOST_KEPT", 50)
    kept = Outcomes()
    found = [search(outcomes=kept, **SMALL) for _ in range(2)]
    assert found[0] == found[1] and kept.count == 50 and kept.given == 50


def test_rules_note_what_they_are_asked_and_answer_as_before() -> None:
    for rules in (Rules(), *map(vary, NAMES)):
        asked = AskedRules(rules)
        assert not asked.asked
        assert {name: getattr(asked, name) for name in NAMES} == {name: getattr(rules, name) for name in NAMES}
        assert asked.asked == set(NAMES)
    few = AskedRules(vary(DRAFTS[0]))
    assert few.log_before_acting and few.asked == {"log_before_acting"}


def test_a_table_with_them_is_the_same_table() -> None:
    names = ["prepared_recipient_waits", "sender_reissues", "repeat_until_answered"]
    kept = Outcomes()
    assert compare_rules(names, outcomes=kept) == compare_rules(names)
    assert kept.given > kept.computed


def test_they_are_kept_in_one_process() -> None:
    with pytest.raises(Misuse, match="one of the two"):
        explore_all([Bounds(crashes=0)], object(), outcomes=Outcomes())  # type: ignore[arg-type]
