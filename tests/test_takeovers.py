"""A takeover in one line, and what a comparison counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.errors import Misuse
from protocol.rules import Rules
from protocol.steps import Role
from protocol.takeovers import Case, compare_modes, compare_rules, list_cases, read_ending, take_over
from protocol.trace import FencedOff, TimedOut, TookOver
from tests.conftest import ALICE, BOB

BURN = Case("sender", "3.4", 1, 3, leaves=True)


def test_a_dead_primary_is_replaced() -> None:
    told = take_over("sender", at="3.4", before=2)
    assert told.owners == [BOB]
    assert [str(event) for event in told.trace.of(TookOver)] == ["GW1-B takes over from GW1: epoch 2"]
    assert read_ending(told.world).word == "one owner"  # type: ignore[arg-type]


@pytest.mark.parametrize("who", list(Role))
@pytest.mark.parametrize("how", ["slow", "no store"])
def test_who_comes_back_finds_another_one_in_charge(who: Role, how: str) -> None:
    told = take_over(who, at="2.2" if who is Role.SENDER else "2.4", how=how, comes_back=4, tls=False)  # type: ignore[arg-type]
    assert told.owners == [BOB]
    assert len(told.trace.of(FencedOff)) == 1


@pytest.mark.parametrize(
    ("choice", "words"), [({"how": "tired"}, 'a primary is "dead"'), ({"comes_back": -1}, "it comes back after")]
)
def test_a_choice_that_cannot_be(choice: dict[str, object], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        take_over(**choice)  # type: ignore[arg-type]


def test_without_the_receipt_an_asset_is_lost_and_the_run_ends_soon() -> None:
    safe, lost = (
        take_over("sender", at="3.4", how="slow", comes_back=6, leaves=True, rules=rules, tls=False)
        for rules in (Rules(), Rules(back_out_only_with_the_receipt=False))
    )
    assert safe.owners == [ALICE]
    assert lost.owners == []
    assert read_ending(lost.world).word == "nobody's"  # type: ignore[arg-type]
    assert len(lost.trace.of(TimedOut)) < 10, "what is said again for ever is not shown for ever"


def test_a_comparison_counts_who_writes_speaks_and_is_not_told() -> None:
    counted = compare_rules(cases=[BURN])
    assert counted.rows == [
        ("nothing", "1", "1", "0", "0", "0", "0", "0", "1", "0"),
        ("fence_the_replaced_primary", "1", "1", "0", "0", "0", "1", "1", "1", "1"),
        ("back_out_only_with_the_receipt", "1", "0", "1", "0", "0", "0", "0", "1", "0"),
        ("all of these", "1", "1", "0", "0", "0", "1", "1", "1", "1"),
    ]
    assert [counted.count(off, "one owner") for off in counted] == [1, 1, 0, 1]
    lines = repr(counted).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[:3] == ["switched", "off", "runs"]
    assert counted._repr_html_().count("<tr>") == 5


def test_the_receipt_keeps_the_asset_and_the_fence_keeps_the_log() -> None:
    """All cases: whoever is replaced at lock, mint, burn or assignment, and wakes up at whatever moment."""
    assert compare_rules().rows == [
        ("nothing", "96", "96", "0", "0", "0", "0", "0", "16", "0"),
        ("fence_the_replaced_primary", "96", "96", "0", "0", "0", "32", "32", "16", "32"),
        ("back_out_only_with_the_receipt", "96", "93", "3", "0", "0", "0", "0", "19", "0"),
        ("all of these", "96", "95", "1", "0", "0", "32", "32", "19", "32"),
    ]


def test_one_rule_is_compared_with_none() -> None:
    cases = [BURN, replace(BURN, leaves=False)]
    assert list(compare_rules("fence_the_replaced_primary", cases=cases)) == ["nothing", "fence_the_replaced_primary"]
    with pytest.raises(Misuse, match="there is no rule fence_everybody"):
        compare_rules("fence_everybody")


def test_the_cases_are_told_apart_in_words() -> None:
    cases = list(list_cases())
    assert len({*map(repr, cases)}) == len(cases) == 96
    assert repr(BURN) == "sender, slow after act 1 of 3.4, back after 3 deliveries, the application wants to leave"


def test_a_backup_adds_progress_and_both_modes_keep_the_asset() -> None:
    modes = compare_modes((10, 600, None))
    for place in ("before the burn", "after the burn"):
        alone, backed = modes[place, 10]
        assert alone == backed, "back within its lease, a primary goes on by itself"
        assert all(modes[place, away][1].ended_s == 33 for away in (600, None))
        assert modes[place, None][0].ended_s is None
    assert modes["before the burn", 600][0].owner == "Alice in network 1", "its lock is over"
    assert modes["before the burn", None][0].states == "free in network 1, held in network 43114"
    assert modes["after the burn", 600][0].owner == "Bob in network 43114"
    assert modes["after the burn", None][0].states == "burned in network 1, held in network 43114"
    assert repr(modes).splitlines()[0].split("  ")[0] == "GW1 crashes"
    assert modes._repr_html_().count("<tr>") == 7
