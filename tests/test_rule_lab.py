"""RuleLab driven as a person would: switches, buttons, slider; and what it shows is what the search has found."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from protocol.bounds import Bounds
from protocol.errors import Misuse
from protocol.explorations import explore
from protocol.properties import TRANSFER
from protocol.replays import replay
from protocol.rule_lab import CHOICES, MOST_STATES, NEEDS_A_BACKUP, RuleLab
from protocol.rules import NAMES, SAFETY

RULE = "prepared_recipient_waits"


@pytest.fixture(scope="module")
def searched() -> RuleLab:
    return RuleLab(RULE, crashes=0, aborts=1).search()


def walk(widget: Any) -> list[Any]:
    """The tree of widgets, parents first."""
    return [widget, *(each for child in getattr(widget, "children", ()) for each in walk(child))]


def find(lab: RuleLab, name: str) -> Any:
    """The one widget of a class."""
    (found,) = [each for each in walk(lab.panel) if f"rule-lab-{name}" in getattr(each, "_dom_classes", ())]
    return found


def watch(lab: RuleLab, until: Callable[[RuleLab], bool] = lambda lab: not lab.is_running) -> list[str]:
    """Let the event loop go on until something is so; every line of progress that was shown."""

    async def run() -> list[str]:
        shown: list[str] = []
        progress = find(lab, "progress")
        find(lab, "search").click()
        assert lab.is_running and find(lab, "search").disabled and not find(lab, "cancel").disabled
        while not until(lab):
            await asyncio.sleep(0.001)
            if progress.value and progress.value not in shown:
                shown.append(progress.value)
        if lab.is_running:
            find(lab, "cancel").click()
        return shown

    return asyncio.run(asyncio.wait_for(run(), 120))


# ---------------------------------------------------------------------- choosing


def test_what_is_named_is_chosen_and_nothing_else_happens() -> None:
    lab = RuleLab(RULE, aborts=1)
    assert lab.flipped == (RULE,) and lab.bounds == Bounds(crashes=0, aborts=1)
    assert find(lab, "aborts").value == 1 and find(lab, "crashes").value == 0
    assert not find(lab, f"rules-{RULE}").value and find(lab, "rules-log_before_acting").value
    assert not find(lab, "rules-sender_reissues").value
    assert lab.status == f"Every rule but {RULE}: 1 abort. Not searched yet: press Search."


def test_without_bounds_it_takes_the_smallest_that_show_the_rule() -> None:
    assert RuleLab("cancel_before_undoing").bounds == Bounds(crashes=1, aborts=1, lands=1)
    assert RuleLab().bounds == Bounds(crashes=1)
    lab = RuleLab("cancel_before_undoing", crashes=0)
    find(lab, "suggest").click()
    assert lab.bounds == Bounds(crashes=1, aborts=1, lands=1)


def test_switches_and_buttons_choose_as_the_names_do() -> None:
    lab = RuleLab(crashes=0)
    for name in (RULE, "sender_reissues"):
        find(lab, f"rules-{name}").value = name not in SAFETY
    find(lab, "aborts").value = 2
    assert lab.flipped == (RULE, "sender_reissues") and lab.bounds == Bounds(crashes=0, aborts=2)
    find(lab, f"rules-{RULE}").value = True
    assert lab.flipped != (RULE, "sender_reissues")
    assert find(lab, "status").value == RuleLab("sender_reissues", crashes=0, aborts=2)._status.widget.value


@pytest.mark.parametrize("name", CHOICES)
def test_every_number_that_is_offered_can_be_chosen(name: str) -> None:
    """Those of a gateway that is down take a crash with them, and say so."""
    lab = RuleLab(crashes=0)
    assert tuple(value for _, value in find(lab, name).options) == CHOICES[name]
    for number in CHOICES[name]:
        find(lab, name).value = number
        assert getattr(lab.bounds, name) == number
    if name in ("logs", "tails", "keys", "lands"):
        assert lab.bounds.crashes == 1 and "crashes moved to 1" in lab.status
        find(lab, "crashes").value = 0
        assert getattr(lab.bounds, name) == 0 and "moved to 0" in lab.status


def test_every_control_has_a_name_and_every_rule_a_switch() -> None:
    lab = RuleLab()
    controls = [each for each in walk(lab.panel) if type(each).__name__ in ("ToggleButtons", "Checkbox", "Button")]
    assert all(each.description for each in controls)
    assert all(each.tooltip for each in controls if type(each).__name__ == "Checkbox")
    switches = {each.description for each in controls if type(each).__name__ == "Checkbox"}
    assert switches == {name.replace("_", " ") for name in NAMES if name != NEEDS_A_BACKUP}
    assert 'role="status"' in find(lab, "status").value


@pytest.mark.parametrize(
    ("flipped", "bounds", "said"),
    [
        (("always_win",), {}, "there are log_before_acting"),
        ((NEEDS_A_BACKUP,), {}, "needs a gateway with a backup"),
        ((), {"crash": 1}, "there are crashes, losses"),
        ((), {"crashes": 3}, "crashes is one of 0, 1, 2, not 3"),
        ((), {"crashes": True}, "crashes is one of 0, 1, 2, not True"),
        ((), {"losses": "many"}, "losses is one of 0, 1, 2, not 'many'"),
        ((), {"crashes": 0, "logs": 1}, "needs crashes=1 or more"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(flipped: tuple[str, ...], bounds: dict[str, Any], said: str) -> None:
    with pytest.raises(Misuse, match=re.escape(said)):
        RuleLab(*flipped, **bounds)


def test_a_choice_that_is_refused_changes_nothing() -> None:
    lab = RuleLab(RULE, aborts=1)
    with pytest.raises(Misuse):
        lab.choose("always_win")
    assert lab.flipped == (RULE,)


@pytest.mark.parametrize("name", ["crashes", "bounds", "flipped", "exploration", "acton"])
def test_a_slip_of_the_pen_does_not_pass_in_silence(name: str) -> None:
    with pytest.raises(Misuse, match=f"{name} is nothing to be set; what can be set is action"):
        setattr(RuleLab(), name, 2)


# ---------------------------------------------------------------------- searching


def test_it_finds_what_the_search_finds(searched: RuleLab) -> None:
    found = explore(RULE, crashes=0, aborts=1)
    assert searched.exploration is not None and searched.exploration.verdicts == found.verdicts
    assert (searched.exploration.states, searched.exploration.steps) == (found.states, found.steps)
    assert searched.found == found.counterexample
    assert "No loss: broken after 10 actions. 79 states; searched to the end." in searched.status
    assert searched.found is not None and find(searched, "copied").value == searched.found.text
    shown = find(searched, "verdicts").value
    for name, verdict, _ in found.rows:
        assert f"{name}</td>" in shown and f">{verdict}</td>" in shown


def test_the_figure_is_that_of_the_replay(searched: RuleLab) -> None:
    assert searched.found is not None
    played = replay(searched.found.text)
    assert searched.figure.ascii == played.figure.ascii
    assert searched.svg in find(searched, "figure").value


def test_the_buttons_search_in_the_background_and_find_the_same(searched: RuleLab) -> None:
    lab = RuleLab(RULE, crashes=0, aborts=1)
    watch(lab)
    assert lab.text == searched.text and lab.status == searched.status
    assert not find(lab, "search").disabled and find(lab, "cancel").disabled
    assert "states so far" not in find(lab, "progress").value


def test_progress_is_shown_and_a_search_that_is_cancelled_says_what_it_covered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("protocol.rule_lab.SHOWN_S", -1)
    monkeypatch.setattr("protocol.rule_lab.SLICE_S", 0)
    lab = RuleLab(crashes=2, losses=1)
    shown = watch(lab, lambda lab: "8 actions deep" in find(lab, "progress").value)
    assert len(shown) > 2 and all("states so far" in each and "states a second" in each for each in shown)
    found = lab.exploration
    assert found is not None and found.waiting and not lab.is_running
    assert "Nothing breaks so far." in lab.status and "were gone on from" in lab.status
    assert "holds so far" in find(lab, "verdicts").value
    assert "states so far" not in find(lab, "progress").value


def test_another_choice_ends_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it in the event loop does nothing more."""
    monkeypatch.setattr("protocol.rule_lab.SLICE_S", 0)
    lab = RuleLab(crashes=1)

    async def run() -> None:
        lab.start()
        await asyncio.sleep(0.02)
        find(lab, "aborts").value = 1
        assert not lab.is_running
        await asyncio.sleep(0.05)

    asyncio.run(run())
    assert lab.exploration is None and "Not searched yet" in lab.status


def test_a_button_that_is_answered_on_another_thread_waits_for_the_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told then is what was covered, and nothing of the search comes after it."""
    monkeypatch.setattr("protocol.rule_lab.SHOWN_S", -1)
    lab = RuleLab(crashes=2)
    clicked = threading.Timer(0.2, lambda: find(lab, "cancel").click())
    clicked.start()
    lab.search()
    clicked.join()
    found = lab.exploration
    assert found is not None and found.waiting and sum(found.depths) == found.states
    assert f"{found.states:,} states" in lab.status and "states so far" not in find(lab, "progress").value


def test_every_control_waits_for_what_is_being_done_on_another_thread() -> None:
    """A picture of one run beside the words of another would be the least of it."""
    lab = RuleLab(RULE, crashes=0, aborts=1).search()
    for change in (
        lambda: find(lab, "frame").set_trait("value", 1),
        lambda: find(lab, "run").set_trait("value", "progress"),
        lambda: find(lab, f"rules-{RULE}").set_trait("value", True),
        lambda: find(lab, "suggest").click(),
        lambda: find(lab, "losses").set_trait("value", 1),
    ):
        drawn = find(lab, "figure").value, find(lab, "status").value
        changed = threading.Thread(target=change)
        with lab._lock:
            changed.start()
            changed.join(0.2)
            assert changed.is_alive()
            assert (find(lab, "figure").value, find(lab, "status").value) == drawn
        changed.join()
    assert lab.bounds.losses == 1 and not lab.flipped


def test_a_search_that_cannot_begin_does_not_leave_the_panel_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> bool:
        raise RuntimeError("no more memory")

    monkeypatch.setattr("protocol.explorer.Explorer.go_on", fail)
    lab = RuleLab(crashes=1)
    with pytest.raises(RuntimeError, match="no more memory"):
        lab.search()
    assert not lab.is_running and not find(lab, "search").disabled


def test_a_search_that_breaks_down_does_not_leave_the_panel_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> bool:
        raise RuntimeError("no more memory")

    lab, told = RuleLab(crashes=1), []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(str(context["exception"])))
        lab.start()
        monkeypatch.setattr("protocol.explorer.Explorer.go_on", fail)
        await asyncio.sleep(0.02)

    asyncio.run(run())
    assert told == ["no more memory"] and not lab.is_running and not find(lab, "search").disabled


def test_where_nothing_goes_on_beside_start_is_refused_and_search_is_named() -> None:
    lab = RuleLab(crashes=0)
    with pytest.raises(Misuse, match=re.escape("search() does it at once")):
        lab.start()
    assert not lab.is_running
    lab.cancel()
    assert lab.exploration is None


def test_a_panel_has_room_for_so_many_states(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_STATES >= 100_000
    monkeypatch.setattr("protocol.rule_lab.MOST_STATES", 50)
    lab = RuleLab(crashes=1).search()
    assert lab.exploration is not None and lab.exploration.waiting and "stopped after" in lab.status


def test_a_second_search_computes_only_what_is_new() -> None:
    lab = RuleLab(crashes=0, aborts=1).search()
    before = lab._outcomes.computed
    lab.choose(RULE, aborts=1).search()
    assert lab.exploration is not None and lab._outcomes.computed - before < lab.exploration.steps / 5


# ---------------------------------------------------------------------- stepping


def test_the_run_is_stepped_through_action_by_action(searched: RuleLab) -> None:
    assert searched.found is not None and searched.story is not None
    conditions, _, actions = searched.found.text.rpartition("; ")
    words = actions.split()
    for number in range(1, len(words) + 1):
        find(searched, "frame").value = number
        text = f"{conditions}; {' '.join(words[:number])}"
        played = replay(text)
        assert searched.action == number and find(searched, "copied").value == text
        assert searched.figure.ascii == played.figure.ascii
        broken = {each.name for each in played.list_broken(TRANSFER)} - {"progress"}
        assert ("Broken: no loss." in find(searched, "words").value) is bool(broken)
    find(searched, "first").click()
    assert searched.action == 1
    for button, number in (("forward", 2), ("back", 1), ("last", len(words))):
        find(searched, button).click()
        assert searched.action == number


def test_other_runs_can_be_shown(searched: RuleLab) -> None:
    searched.show_run("completes")
    assert searched.found is not None and searched.found.name == "completes" and searched.action == 12
    with pytest.raises(Misuse, match="there is no run that shows 'isolation'; there are no loss, progress"):
        searched.show_run("isolation")
    searched.show_run("no loss")
    assert searched.action == 10


def test_what_can_be_copied_can_be_used(searched: RuleLab) -> None:
    copied = find(searched, "copied")
    choice = find(searched, "copy")
    texts = {}
    for name, _ in choice.options:
        choice.value = name
        texts[name] = copied.value
    choice.value = "replay text"
    assert texts["Mermaid"].startswith("sequenceDiagram") and texts["ASCII"] == searched.figure.ascii
    assert eval(texts["Python"], {"explore": explore}) == explore(RULE, crashes=0, aborts=1)


@pytest.mark.parametrize("number", [0, 11, True, "1"])
def test_an_action_that_is_none_is_refused(searched: RuleLab, number: Any) -> None:
    with pytest.raises(Misuse, match="from 1 to 10"):
        searched.action = number


def test_before_a_search_there_is_nothing_to_step_through() -> None:
    lab = RuleLab(RULE)
    with pytest.raises(Misuse, match="after a search"):
        lab.action = 1
    with pytest.raises(Misuse, match="no picture"):
        _ = lab.figure
    with pytest.raises(Misuse, match="none yet"):
        lab.show_run("no loss")
    assert set(lab._repr_mimebundle_()) == {"text/plain", "application/vnd.jupyter.widget-view+json"}


def test_where_no_kernel_runs_the_figure_and_its_text_are_shown(searched: RuleLab) -> None:
    bundle = searched._repr_mimebundle_()
    assert bundle["image/svg+xml"] == searched.svg and searched.figure.ascii in bundle["text/plain"]
    assert repr(explore(RULE, crashes=0, aborts=1)) in bundle["text/plain"]
    assert "states a second" not in str(bundle)
