"""The CrashLab, driven as a browser drives it: a control gets a new value, and all that is shown follows."""

from __future__ import annotations

import subprocess
import sys
from threading import Thread
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from protocol.diagrams import Figure
from protocol.errors import Misuse
from protocol.lab import FIELDS, LABELS, CrashLab, find_nearest
from protocol.panels import WIDGET_VIEW
from protocol.replays import replay
from protocol.rules import DRAFTS, NAMES, SAFETY, describe
from protocol.scenarios import CHOICES, STEPS, Scenario, list_acts, list_steps
from tools import bench_lab
from tools.notebooks import canonicalise


def find(lab: CrashLab, css_class: str) -> Any:
    """A widget of the panel by its class, as a test in a browser finds it."""
    found = [each for each in walk(lab.panel) if css_class in each._dom_classes]
    assert len(found) == 1, css_class
    return found[0]


def walk(widget: Any) -> list[Any]:
    return [widget, *(each for child in getattr(widget, "children", ()) for each in walk(child))]


def press(lab: CrashLab, field: str, value: object) -> None:
    find(lab, f"crash-lab-{field}").value = value


def click(lab: CrashLab, word: str) -> None:
    find(lab, f"crash-lab-{word}").click()


def read(lab: CrashLab, place: str) -> str:
    return str(find(lab, f"crash-lab-{place}").value)


def read_all(lab: CrashLab) -> list[str]:
    return [read(lab, place) for place in ("status", "figure", "verdict", "GW1", "GW2", "copied")]


def values(widget: Any) -> list[Any]:
    return [value for _, value in widget.options]


# ---------------------------------------------------------------------- a choice and what comes of it


def test_it_opens_with_a_crash_that_can_be_seen() -> None:
    lab = CrashLab()
    assert lab.scenario == Scenario()
    assert lab.figure.svg in read(lab, "figure")
    assert "row A" in read(lab, "verdict")
    assert 'role="status"' in read(lab, "status")
    assert Scenario().words in lab.status
    assert lab.run.ending in lab.status
    assert lab.run.text == read(lab, "copied")


def test_a_choice_redraws_all_of_it() -> None:
    lab = CrashLab()
    before = read_all(lab)
    press(lab, "lost", "log")
    assert lab.scenario == Scenario(lost="log")
    assert all(new != old for new, old in zip(read_all(lab)[:3], before[:3], strict=True))
    assert "row H" in read(lab, "verdict")
    assert lab.run.text == read(lab, "copied")
    press(lab, "crashed", "nobody")
    assert "row" not in read(lab, "verdict")
    press(lab, "crashed", "recipient")
    press(lab, "lost", "nothing")
    assert read_all(lab) == before, "the same choice, the same page"


def test_a_verdict_stands_with_its_row() -> None:
    lab = CrashLab(crashed="recipient", lost="log")
    shown = read(lab, "verdict")
    assert lab.verdicts == list(lab.run.verdicts)
    for verdict in lab.verdicts:
        assert f"{verdict.gateway}, row {verdict.row.letter}: {verdict.row.title}" in shown
        assert verdict.row.why[:60] in shown
        assert f"My log: {verdict.facts[0]}; my ledger: {verdict.facts[1]}; the peer: {verdict.facts[2]}." in shown


@pytest.mark.parametrize("crashed", CHOICES["crashed"])
def test_every_place_of_a_crash_can_be_chosen(crashed: str) -> None:
    """By the controls alone, each offering what is possible beside the others."""
    lab = CrashLab()
    press(lab, "crashed", crashed)
    assert values(find(lab, "crash-lab-step")) == list(STEPS), "no button moves away under the hand"
    for step in list_steps(crashed):
        press(lab, "step", step)
        acts = range(1, len(list_acts(crashed, step)) + 1)
        assert crashed == "nobody" or values(find(lab, "crash-lab-act")) == list(acts)
        for act in acts:
            press(lab, "act", act)
            assert lab.scenario == Scenario(crashed, step, act=act)
            assert lab.figure.svg in read(lab, "figure")


@pytest.mark.parametrize("field", ["when", "lost", "restart", "network"])
@pytest.mark.parametrize("crashed", ["sender", "recipient", "both"])
def test_every_value_of_the_other_controls_can_be_chosen(field: str, crashed: str) -> None:
    lab = CrashLab(crashed=crashed)
    for value in CHOICES[field]:
        press(lab, field, value)
        assert getattr(lab.scenario, field) == value
        assert lab.run.text == read(lab, "copied")


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_can_be_switched(name: str) -> None:
    """In the very worst place for it: a lossy network, and the log of both is lost."""
    lab = CrashLab(crashed="both", step="3.6", lost="log", network="lossy", act=1)
    switch = find(lab, f"crash-lab-off-{name}")
    assert switch.value is (name in SAFETY)
    assert switch.description == name.replace("_", " ")
    switch.value = not switch.value
    assert lab.scenario.off == (name,)
    assert describe(name).sentence.replace("'", "&#x27;") in read(lab, "verdict")
    switch.value = not switch.value
    assert not lab.scenario.off


def test_what_is_broken_is_said() -> None:
    lab = CrashLab(crashed="sender", step="3.4", act=2, lost="nothing", off=("ask_the_ledger_before_repeating",))
    assert not lab.run.broken, "the ledger acts once"
    lab.off = ("ask_the_ledger_before_repeating", "ledger_acts_once")
    assert bool(lab.run.broken) == ("Broken:" in lab.status)
    lab.choose(crashed="recipient", step="3.2", off=("ask_the_ledger_before_repeating", "ledger_acts_once"))
    assert lab.run.broken
    assert f"Broken: {', '.join(lab.run.broken)}." in lab.status
    assert f"Broken: {', '.join(lab.run.broken)}." in read(lab, "verdict")


# ---------------------------------------------------------------------- what follows from another choice


def test_a_choice_that_is_no_longer_possible_moves_and_the_line_says_so() -> None:
    lab = CrashLab()
    press(lab, "crashed", "sender")
    assert (lab.step, lab.act) == ("3.1", 1)
    assert "The sender does nothing durable in step 3.2: moved to 3.1." in lab.status
    assert "There is no act 2 in step 3.1: moved to act 1." in lab.status
    press(lab, "step", "3.4")
    assert "moved" not in lab.status
    assert values(find(lab, "crash-lab-act")) == [1, 2, 3]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("crashed", ["sender", "recipient"])
def test_a_step_that_only_the_other_one_takes_moves_the_crash_to_it(crashed: str, step: str) -> None:
    lab = CrashLab(crashed=crashed, step="3.3", act=1)
    press(lab, "step", step)
    assert lab.step == step
    is_moved = step not in list_steps(crashed)
    assert (lab.crashed != crashed) == is_moved
    assert (f"Step {step} is the {lab.crashed}'s own: moved to the {lab.crashed}." in lab.status) == is_moved


def test_the_nearest_step_is_that_along_table_1() -> None:
    assert find_nearest("3.2", list_steps("sender")) == "3.1"
    assert find_nearest("2.1", list_steps("recipient")) in ("1.4", "2.2")
    for crashed in ("sender", "recipient", "both"):
        for step in STEPS:
            steps = list_steps(crashed)
            near = find_nearest(step, steps)
            assert near in steps
            assert near == step or step not in steps


def test_where_nobody_crashes_there_is_nothing_to_choose_of_a_crash() -> None:
    lab = CrashLab()
    press(lab, "crashed", "nobody")
    closed = {field for field in LABELS if find(lab, f"crash-lab-{field}").disabled}
    assert closed == {"step", "when", "act", "lost", "restart"}
    assert lab.status.startswith("Nobody crashes.")
    press(lab, "crashed", "recipient")
    assert not any(find(lab, f"crash-lab-{field}").disabled for field in LABELS)


def test_a_number_of_an_act_that_meant_nothing_is_put_right() -> None:
    lab = CrashLab(crashed="nobody", act=99)
    press(lab, "crashed", "recipient")
    assert lab.act in range(1, 4)


# ---------------------------------------------------------------------- frame by frame


def test_the_trace_is_stepped_through_forward_and_back() -> None:
    lab = CrashLab()
    last = len(lab.run.frames)
    assert lab.frame == last
    click(lab, "back")
    assert lab.frame == last - 1
    assert f"Frame {last - 1} of {last}: {lab.run.frames[-2].event}." in lab.status
    click(lab, "first")
    click(lab, "back")
    assert lab.frame == 1
    click(lab, "forward")
    assert lab.frame == 2
    click(lab, "last")
    click(lab, "forward")
    assert lab.frame == last


def test_every_frame_is_drawn_as_it_was_then() -> None:
    lab = CrashLab(lost="last 3 entries")
    for frame in lab.run.frames:
        find(lab, "crash-lab-frame").value = frame.number
        assert lab.shown is frame
        assert frame.figure.svg in read(lab, "figure")
        for gateway, (network, line) in zip(frame.logs, frame.ledgers.items(), strict=True):
            side = read(lab, gateway).replace("<b>", "").replace("</b>", "")
            assert f"{network}: {line}" in side
            assert "\n".join(frame.logs[gateway]) in side
            assert ("is down" in side) == (gateway in find_down(lab, frame.number))


def find_down(lab: CrashLab, number: int) -> set[str]:
    down: set[str] = set()
    for event in map(str, lab.run.trace.events[:number]):
        down |= {event.split()[0]} if " CRASHES " in event else set()
        down -= {event.split()[0]} if event.endswith(" restarts") else set()
    return down


def test_a_verdict_is_shown_from_the_moment_on_at_which_it_was_given() -> None:
    lab = CrashLab()
    spoken = next(n for n, event in enumerate(lab.run.trace.events, 1) if "row A" in str(event))
    lab.frame = spoken - 1
    assert "not been asked yet" in read(lab, "verdict")
    lab.frame = spoken
    assert "row A" in read(lab, "verdict")


def test_what_an_event_has_changed_is_bold() -> None:
    lab = CrashLab()
    for number, event in enumerate(lab.run.trace.events, 1):
        if str(event).startswith("GW2 logs exec 3.2"):
            lab.frame = number
            assert "<b>10  exec 3.2 mint</b>" in read(lab, "GW2")
            assert "<b>" not in read(lab, "GW1")
            return
    pytest.fail("the intent of the mint was not logged")


def test_a_new_choice_shows_its_end() -> None:
    lab = CrashLab()
    lab.frame = 3
    lab.lost = "key"
    assert lab.frame == len(lab.run.frames)
    assert find(lab, "crash-lab-frame").max == len(lab.run.frames)


# ---------------------------------------------------------------------- copied


def test_three_texts_can_be_copied_and_none_can_be_spoiled() -> None:
    lab = CrashLab(lost="log")
    figure = lab.run.figure
    texts = {"replay string": lab.run.text, "Mermaid text": figure.mermaid, "ASCII figure": figure.ascii}
    assert values(find(lab, "crash-lab-copy")) == list(texts)
    for name, text in texts.items():
        press(lab, "copy", name)
        assert read(lab, "copied") == text
    find(lab, "crash-lab-copied").value = "something else"
    assert read(lab, "copied") == figure.ascii
    lab.frame = 1
    assert read(lab, "copied") == figure.ascii, "the whole run, whatever is looked at"


def test_the_replay_string_plays_what_is_shown() -> None:
    lab = CrashLab(crashed="both", step="3.6", act=3, lost="key", network="lossy")
    assert Figure(replay(read(lab, "copied")).trace).ascii == lab.run.frames[-1].figure.ascii


# ---------------------------------------------------------------------- nonsense


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"crashed": "bank"}, "crashed is one of sender, recipient, both, nobody; not 'bank'"),
        ({"crashed": None}, "crashed is one of"),
        ({"crashed": ["sender"]}, "crashed is one of"),
        ({"step": "9.9"}, "step is one of 1.1"),
        ({"step": 3.2}, "not 3.2"),
        ({"step": "3.4"}, "the recipient does nothing durable in step 3.4"),
        ({"act": 4}, "act in step 3.2 is 1 "),
        ({"act": 0}, "act in step 3.2 is 1 "),
        ({"act": True}, "act in step 3.2 is 1 "),
        ({"act": "2"}, "act in step 3.2 is 1 "),
        ({"when": "during"}, "when is one of before, after"),
        ({"lost": "everything"}, "lost is one of nothing, last entry, last 3 entries, log, key"),
        ({"restart": "now"}, "restart is one of last message, stage"),
        ({"network": "slow"}, "network is one of reliable, lossy, doubling"),
        ({"off": ("gravity",)}, "log_before_acting"),
        ({"off": "log_before_acting"}, "off is a tuple"),
        ({"frame": 2}, "there is no frame to be chosen; there are crashed, step"),
        ({"stpe": "3.2"}, "there is no stpe to be chosen; there are crashed, step"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed_and_changes_nothing(chosen: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misuse, match=sentence.replace("(", r"\(")):
        CrashLab(**chosen)
    lab = CrashLab()
    before = read_all(lab)
    with pytest.raises(Misuse, match=sentence.replace("(", r"\(")):
        lab.choose(**chosen)
    if next(iter(chosen)) in FIELDS:
        with pytest.raises(Misuse):
            setattr(lab, *next(iter(chosen.items())))
    assert read_all(lab) == before
    assert lab.scenario == Scenario()


@pytest.mark.parametrize("number", [0, -1, 59, 1.0, "7", None, True])
def test_a_frame_that_there_is_not_is_refused(number: object) -> None:
    lab = CrashLab()
    with pytest.raises(Misuse, match=f"from 1 to {len(lab.run.frames)}"):
        lab.frame = number  # type: ignore[assignment]
    assert lab.frame == len(lab.run.frames)


@pytest.mark.parametrize("name", ["stpe", "run", "scenario", "status"])
def test_a_slip_of_the_pen_does_not_pass_in_silence(name: str) -> None:
    with pytest.raises(Misuse, match=f"{name} is nothing to be set; what can be set is crashed"):
        setattr(CrashLab(), name, "3.4")


def test_without_ipywidgets_a_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['ipywidgets'] = None; import protocol, protocol.scenarios; import protocol.lab"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a panel needs ipywidgets, which comes with the book" in done.stderr.splitlines()[-1]


# ---------------------------------------------------------------------- labels, and pages without a kernel


def test_every_control_has_a_label_and_every_place_that_scrolls_has_a_name() -> None:
    lab = CrashLab()
    controls = [each for each in walk(lab.panel) if hasattr(each, "description") and hasattr(each, "disabled")]
    assert len(controls) == len(LABELS) + 1 + len(NAMES) + 1 + 4 + 2
    assert all(each.description for each in controls)
    for field, label in LABELS.items():
        assert find(lab, f"crash-lab-{field}").description == label
    for place, name in {"figure": "Sequence diagram", "verdict": "What TABLE 2 says", "GW1": "Log of GW1"}.items():
        assert f'tabindex="0" role="region" aria-label="{name}"' in read(lab, place)


def test_nothing_that_the_front_end_would_have_to_be_asked_to_run() -> None:
    for widget in walk(CrashLab().panel):
        assert type(widget).__name__ not in ("Output", "Dropdown", "RadioButtons", "Select")
        assert "<script" not in str(getattr(widget, "value", ""))


def test_the_bundle_carries_picture_and_text_beside_the_widget() -> None:
    lab = CrashLab(lost="log")
    bundle = lab._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", WIDGET_VIEW}
    assert bundle["image/svg+xml"] == lab.run.figure.svg
    assert lab.run.figure.ascii in bundle["text/plain"]
    assert lab.scenario.words in bundle["text/plain"]
    assert bundle[WIDGET_VIEW]["model_id"] == lab.panel.model_id
    assert repr(lab) == bundle["text/plain"]
    lab.frame = 5
    assert lab._repr_mimebundle_()["image/svg+xml"] == lab.run.frames[4].figure.svg


def test_a_notebook_is_written_down_with_the_picture_and_without_the_widget() -> None:
    cell = new_code_cell("from protocol.lab import CrashLab\nCrashLab()")
    notebooks = []
    for _ in range(2):
        notebook = NotebookClient(new_notebook(cells=[cell]), timeout=120, kernel_name="python3").execute()
        assert WIDGET_VIEW in notebook.cells[0].outputs[0].data
        notebooks.append(canonicalise(notebook))
    assert notebooks[0] == notebooks[1]
    assert "image/svg+xml" in notebooks[0]
    assert "widget" not in notebooks[0].replace("ipywidgets", "")


def test_two_labs_do_not_disturb_each_other() -> None:
    one, other = CrashLab(), CrashLab()
    press(one, "lost", "key")
    assert other.scenario == Scenario()
    assert DRAFTS[0] not in other.off


def test_a_button_may_be_answered_on_another_thread() -> None:
    """It waits until what is being drawn is drawn, and a program that sets the same control does not swallow it."""
    lab = CrashLab()
    pressed = Thread(target=lambda: press(lab, "lost", "log"))
    with lab._lock, lab._choices["lost"].quietly():
        pressed.start()
        pressed.join(0.2)
        assert pressed.is_alive()
        assert lab.scenario == Scenario()
    pressed.join()
    assert lab.scenario == Scenario(lost="log")
    assert read_all(lab) == read_all(CrashLab(lost="log"))


def test_the_benchmark_counts_every_place(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_lab, "list_steps", lambda crashed: ("3.3",) if crashed != "both" else ())
    assert bench_lab.main([]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[0] == "4"
