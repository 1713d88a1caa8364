"""Many explorations: the same results wherever they run, the table rule by property, and what is told of them."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any, NamedTuple

import pytest

from protocol import campaigns
from protocol.__main__ import main
from protocol.automata import Outcome
from protocol.bounds import DEFAULT, NEEDS, Bounds, choose_properties, join_bounds, list_left_out, make_plan
from protocol.campaigns import NOTHING, PAIRS, SHOWN_BY, Campaign, RuleTable, compare_rules, explore_all
from protocol.errors import Misuse
from protocol.explorations import Search, Task, explore, run_search
from protocol.explorer import Explorer, Progress
from protocol.plans import Move, Plan
from protocol.properties import ENDINGS, ONE_IN_CHARGE, TRANSFER, Kind, Property
from protocol.replays import replay
from protocol.rules import NAMES
from protocol.units import View

SMALL = Bounds(crashes=0, aborts=1)
TASKS = (
    Bounds(crashes=1),
    (("prepared_recipient_waits",), SMALL),
    ("sender_reissues", Bounds(crashes=0, losses=1)),
    Task(("repeat_until_answered",), Bounds(crashes=0, losses=1)),
)


@pytest.fixture(scope="module")
def here() -> Campaign:
    """Each task in this process, one after the other."""
    return Campaign(run_search(campaigns.make_task(task)) for task in TASKS)


@contextlib.contextmanager
def open_threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@contextlib.contextmanager
def open_processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        yield executor


@contextlib.contextmanager
def open_cluster() -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.mark.parametrize("open_executor", [open_threads, open_processes, open_cluster, contextlib.nullcontext])
def test_the_same_comes_of_it_wherever_it_runs(open_executor: Any, here: Campaign) -> None:
    with open_executor() as executor:
        found = explore_all(TASKS, executor)
    assert found == here
    assert repr(found) == repr(here)
    assert [repr(each) for each in found] == [repr(each) for each in here]
    assert all(each.seconds > 0 for each in found)


def test_an_exploration_can_be_kept() -> None:
    found = explore("prepared_recipient_waits", bounds=SMALL)
    assert pickle.loads(pickle.dumps(found)) == found == explore("prepared_recipient_waits", crashes=0, aborts=1)


def test_what_is_told_of_an_exploration() -> None:
    found = explore("prepared_recipient_waits", bounds=SMALL)
    assert [each.name for each in found.broken] == ["no loss", "progress"]
    assert found.counterexample == found["no loss"]
    assert found["no loss"].verdict == "broken after 10"
    lines = repr(found).splitlines()
    assert lines[0] == "Every rule but prepared_recipient_waits: 1 abort"
    assert "searched to the end" in lines[1]
    assert "not asked within these bounds: expires" in lines
    assert sum(found.depths) == found.states == 79
    shortest = found.shortest
    assert shortest is not None
    assert found._repr_svg_() == shortest._repr_svg_() and "<svg" in shortest._repr_svg_()
    assert found._repr_html_() is None


def test_nothing_broken_is_a_table_and_no_picture() -> None:
    found = explore(bounds=SMALL)
    assert not found.broken and found.shortest is None and found._repr_svg_() is None
    assert "<td" in (found._repr_html_() or "")
    with pytest.raises(Misuse, match="there is no run to play, it holds"):
        found.replay("no loss")
    assert "complete" in repr(found.replay("completes"))
    with pytest.raises(Misuse, match="was not asked"):
        found["expires"]


# ---------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"crashes": -1}, "a whole number from 0 on"),
        ({"sessions": 0}, "a whole number from 1 on"),
        ({"losses": True}, "a whole number"),
        ({"crashes": 0, "logs": 1}, "needs crashes=1"),
        ({"lock_type": "SPRING"}, "a lock is one of TIME_LOCK"),
        ({"crash": 1}, "there is no bound crash; there are sessions, crashes"),
        ({"bounds": "crashes=1"}, "bounds are an object of Bounds"),
    ],
)
def test_bounds_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        explore(**wrong)


def test_bounds_are_given_once() -> None:
    with pytest.raises(Misuse, match="not both"):
        explore(bounds=SMALL, losses=1)


def test_bounds_in_words() -> None:
    assert str(Bounds(crashes=2, losses=1, sessions=2)) == "2 sessions, 2 crashes, 1 loss"
    assert str(Bounds(crashes=0)) == "no fault"


def test_joined_bounds_allow_what_each_allows() -> None:
    assert join_bounds([Bounds(crashes=1, waits=1), Bounds(crashes=2, losses=1)]) == Bounds(
        crashes=2, waits=1, losses=1
    )


@pytest.mark.parametrize("slot", [None, *Bounds().slots])
def test_an_ending_is_asked_for_exactly_where_it_can_occur(slot: str | None) -> None:
    """With one fault of each kind; what two faults together may lead to is not asked for, and not excluded."""
    needs_crash = slot in ("logs", "tails", "keys", "lands")
    bounds = Bounds(crashes=int(needs_crash))
    bounds = bounds if slot is None else replace(bounds, **{slot: 1})  # type: ignore[arg-type]
    search = Explorer(make_plan((), bounds), ENDINGS).run()
    occurring = {each.name for each in search.list_verdicts() if each.holds}
    asked = {each.name for each in choose_properties(bounds) if each.kind is Kind.SOMETIMES}
    assert occurring == asked
    assert asked | set(list_left_out(bounds)) == {each.name for each in ENDINGS}
    assert set(NEEDS) <= {each.name for each in ENDINGS}


# ---------------------------------------------------------------------- stopped


class Impatient:
    """Presses Ctrl-C when this many states are known."""

    def __init__(self, most: int) -> None:
        self.most, self.is_done = most, False

    def __call__(self, progress: Any) -> None:
        if progress.states >= self.most and not self.is_done:
            self.is_done = True
            raise KeyboardInterrupt


def test_a_stopped_search_says_what_it_has_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.explorer.REPORT_S", 0)
    found = run_search(Task((), Bounds(crashes=1)), Impatient(300))
    assert found.waiting and not found.is_whole
    assert f"stopped after {found.depth} actions" in repr(found)
    assert f"{found.states - found.waiting:,} of {found.states:,}" in repr(found)
    assert not [each for each in found.broken if each.kind is not Kind.SOMETIMES]
    whole = explore(crashes=1)
    assert found.states < whole.states and found.depths[: found.depth - 1] == whole.depths[: found.depth - 1]


def test_a_campaign_is_stopped_with_what_its_processes_have_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Ctrl-C reaches the process that collects; the searches that have begun return what they have."""
    collect, calls = campaigns._collect, []

    def interrupted(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            wait_until_running(arguments[0])
            raise KeyboardInterrupt
        collect(*arguments)

    monkeypatch.setattr(campaigns, "_collect", interrupted)
    found = explore_all([Bounds(crashes=2, losses=2, duplicates=2, aborts=1)] * 1)
    assert len(found) == 1 and found[0].waiting and "stopped" in repr(found)


def wait_until_running(futures: Any) -> None:
    while not any(future.running() for future in futures):
        pass


class Chain:
    """A side that counts so far and no further."""

    name = "chain"

    def __init__(self, most: int) -> None:
        self.most, self.initial = most, Link(0)

    def run(self, state: Any, event: Any) -> Outcome | None:
        return Outcome(Link(state.number + 1)) if event[0] == "count" and state.number < self.most else None


class Link(NamedTuple):
    number: int

    @property
    def key(self) -> bytes:
        return str(self.number).encode()

    @property
    def view(self) -> Any:
        return View(is_up=True, is_comparing=False, transfers=())


def test_the_last_state_can_be_the_one_that_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report comes after every 256 states and at the end; here both are one."""
    monkeypatch.setattr("protocol.explorer.REPORT_S", -1)
    told: list[Progress] = []
    plan = Plan((Chain(255), Chain(0)), {"crashes": 0}, (), (Move(("count", None)),), (), lambda source, data: "")
    search = Explorer(plan, ()).run(told.append)
    assert search.is_whole and len(search.states) == 256
    assert [(each.states, each.waiting, each.depth) for each in told] == [(256, 0, 255)]


def test_what_was_stopped_holds_so_far(table: RuleTable) -> None:
    found = run_search(Task((), Bounds(crashes=1), most_states=300))
    assert {name: said for name, said, _ in found.rows}["no loss"] == "holds so far"
    assert "never so far" in repr(run_search(Task((), SMALL, most_states=3)))
    assert Campaign([found]).rows[0][-1] == "nothing so far"
    of_one = RuleTable({("log_before_acting",): found}, Campaign())
    assert of_one.rows[0][-1] == f"{NOTHING} so far" and "holds so far" in of_one.rows[0]
    whole = RuleTable(table, table.control)
    assert whole.rows[0][1] == "all of these"
    part = RuleTable(table, Campaign(table.control[:2]))
    assert part.rows[0][1] == "those of these that were searched"


def test_what_is_broken_at_the_beginning_is_broken() -> None:
    never = Property("never", Kind.ALWAYS, "it never holds", lambda scene: False)
    found = run_search(Task((), SMALL, Search(make_plan, lambda bounds: (never,), lambda bounds: ())))
    assert found.counterexample == found["never"] and found["never"].length == 0
    assert found.shortest is not None and found.shortest.tokens == []


# ---------------------------------------------------------------------- rule by property


# Those of which it is known that something breaks, and one of which nothing does; all together take some minutes.
SHOWN = (
    "log_before_acting",
    "ledger_acts_once",
    "back_out_only_with_the_receipt",
    "prepared_recipient_waits",
    "only_forward_after_burn",
    "cancel_before_undoing",
    "repeat_until_answered",
    "recipient_rolls_back_on_its_timer",
    "sender_reissues",
    "sender_terminates_on_its_timer",
    "roll_back_by_the_drafts_list",
    "terminate_on_lost_connection",
)


@pytest.fixture(scope="module")
def table() -> RuleTable:
    return compare_rules(reversed(SHOWN))


def test_every_name_has_its_row_in_order(table: RuleTable) -> None:
    assert list(table) == [(name,) for name in SHOWN]
    page = table._repr_html_().replace("<wbr>", "")
    assert all(name in repr(table) and name in page for name in SHOWN)
    assert all(len(row) == len(table.heads) for row in table.rows)


def test_nothing_breaks_with_every_rule_within_the_same_bounds(table: RuleTable) -> None:
    assert {each.task.bounds for each in table.control} == {each.task.bounds for each in table.values()}
    assert not table.control.broken
    assert all(each.is_whole for each in table.control)


def list_runs(table: RuleTable) -> list[tuple[str, str]]:
    return [(found.name, found.text) for each in table.values() for found in each.broken if found.kind is Kind.ALWAYS]


def test_each_run_of_the_table_breaks_the_same_property_in_a_world(table: RuleTable) -> None:
    runs = list_runs(table)
    assert len(runs) >= 9
    for name, text in runs:
        (broken,) = [each for each in TRANSFER if each.name == name]
        assert replay(text).list_broken([broken]) == [broken], text
        without_last = text.rpartition(" ")[0]
        assert not replay(without_last).list_broken([broken]), text


def test_a_rule_that_changes_nothing_is_said_so(table: RuleTable) -> None:
    assert table.silent == [("log_before_acting",)]
    for names in table.silent:
        assert table.rows[1 + list(table).index(names)][-1] == NOTHING
    with pytest.raises(Misuse, match="not in this table"):
        table["something"]


def list_smaller(bounds: Bounds) -> list[Bounds]:
    """With one fault less of one kind."""
    fewer = [
        replace(bounds, **{name: count - 1})  # type: ignore[arg-type]
        for name, count in bounds.slots.items()
        if count and name != "crashes"
    ]
    needs_crash = bounds.logs or bounds.tails or bounds.lands or bounds.keys
    return fewer + ([replace(bounds, crashes=bounds.crashes - 1)] if bounds.crashes and not needs_crash else [])


def test_nothing_breaks_within_smaller_bounds(table: RuleTable) -> None:
    tasks = [
        Task(names, smaller)
        for names, each in table.items()
        if names not in table.silent
        for smaller in list_smaller(each.bounds)
    ]
    assert len(tasks) >= 9
    for each in explore_all(tasks):
        assert not each.counterexample, each


def test_names_turned_over_together() -> None:
    """Each alone changes nothing with a crash; without both a mint is made twice."""
    pair = ("ask_the_ledger_before_repeating", "ledger_acts_once")
    found = compare_rules(pair, pairs=[pair], shown_by={})
    assert found.silent == [(pair[0],), (pair[1],)]
    assert found[pair]["isolation"].length == 11
    assert "without ask_the_ledger_before_repeating + without ledger_acts_once" in repr(found)
    assert PAIRS[pair] == found[pair].bounds


def test_the_fence_has_a_row_with_a_backup() -> None:
    """The search is stopped, so what holds holds so far; what breaks, breaks in a World as well."""
    name = "fence_the_replaced_primary"
    table = compare_rules([name])
    (found,) = table[name].broken
    assert (found.name, found.length) == ("one in charge", 7)
    assert replay(found.text).list_broken([ONE_IN_CHARGE]) == [ONE_IN_CHARGE]
    assert not table.control.broken
    assert not table[name].is_whole
    assert "so far" in repr(table)


def test_a_name_of_no_rule() -> None:
    with pytest.raises(Misuse, match="there is no rule or behaviour of the drafts always_win"):
        compare_rules(["always_win"])


def test_what_else_can_be_explored_in_its_place() -> None:
    """A Task brings its own plan, and its own properties."""
    search = Search(make_plan, lambda bounds: TRANSFER[:1], lambda bounds: ())
    found = run_search(Task((), SMALL, search))
    assert [each.name for each in found.verdicts] == ["no double spend"]


# ---------------------------------------------------------------------- the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_an_exploration_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "--explore", "--crashes", "1")
    assert (status, err) == (0, "")
    assert "Every rule: 1 crash" in out and "searched to the end" in out and "states/s" in out


def test_a_rule_left_out_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--explore", "--rule-off", "prepared-recipient-waits")
    assert status == 1
    assert "without prepared_recipient_waits; start 1.1" in out and "transfer-proposal" in out
    text = next(line for line in out.splitlines() if line.startswith("without "))
    status, played, _ = run(capsys, "--replay", text)
    assert status == 1 and "broken: no loss" in played
    status, picture, _ = run(capsys, "--replay", text, "--format", "svg")
    assert status == 1 and picture.startswith("<svg")


def test_what_the_drafts_do_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--explore", "--with", "sender_reissues", "--losses", "1", "--format", "svg")
    assert status == 1 and out.startswith("<svg")


def test_some_rules_as_a_table_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--explore", "--every-rule", "--rule-off", "repeat_until_answered")
    assert status == 0 and "without repeat_until_answered; start -1.1" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--explore", "--logs", "1"], "needs crashes=1 or more"),
        (["--explore", "--crashes", "-1"], "a whole number from 0 on"),
        (["--explore", "--with", "log_before_acting"], "there is no behaviour of the drafts log_before_acting"),
        (["--explore", "--every-rule", "--crashes", "1"], "each rule has bounds of its own"),
        (["--explore", "--aborts", "1", "--format", "svg"], "nothing to draw"),
        (["--replay", "start 9.9"], "there is no such message on its way; there are 1.1"),
    ],
)
def test_a_wrong_choice_is_explained(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and words in err


def test_what_does_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--table", "--with", "sender_reissues"])
    assert "--table goes without --with" in capsys.readouterr().err


@pytest.mark.parametrize("has_tqdm", [True, False])
def test_somebody_who_waits_sees_how_far_it_is(has_tqdm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tqdm, as where only the package is installed, it is a plain line."""
    if not has_tqdm:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    told = [io.StringIO() for _ in range(3)]
    monkeypatch.setattr(sys, "stderr", told[0])
    found = explore(crashes=0, progress=True)
    monkeypatch.setattr(sys, "stderr", told[1])
    explore_all([SMALL], progress=True)
    monkeypatch.setattr(sys, "stderr", told[2])
    explore(crashes=0)
    assert f"{found.states}" in told[0].getvalue() and "depth" in told[0].getvalue()
    assert "search" in told[1].getvalue()
    assert told[2].getvalue() == ""


def test_the_bounds_by_default_are_two_crashes_with_every_loss_or_every_duplicate() -> None:
    assert [str(each) for each in DEFAULT] == ["2 crashes, 1 loss", "2 crashes, 1 duplicate"]
    assert set(SHOWN_BY) == set(NAMES)
