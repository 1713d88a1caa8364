"""A report says what its scenario is and does; nonsense is refused in a sentence, and then nothing is written."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from protocol.errors import Misuse
from protocol.reports import PARAMETERS, Report, choose, write_parameters
from protocol.rules import NAMES
from protocol.scenarios import CHOICES, Scenario, list_acts, list_steps
from protocol.trace import Crashed
from tools import report, report_pages, report_press
from tools.book import prepare_environment
from tools.notebooks import ROOT
from tools.report_pages import Made, count_ends, count_rows, write_cell, write_gallery
from tools.report_press import NOTEBOOK, Press, name_page

NONSENSE = [
    ({"CRASHED": "everybody"}, "crashed is one of sender, recipient, both, nobody; not 'everybody'"),
    ({"STEP": "9.9"}, "step is one of 1.1, 1.2"),
    ({"CRASHED": "sender", "STEP": "3.2"}, "the sender does nothing durable in step 3.2"),
    ({"LOST": "everything"}, "lost is one of nothing, last entry, last 3 entries, log, key; not 'everything'"),
    ({"WHEN": "during"}, "when is one of before, after; not 'during'"),
    ({"ACT": "two"}, "ACT counts the durable acts within the step: a whole number from 1, not 'two'"),
    ({"ACT": "0"}, "a whole number from 1, not '0'"),
    ({"ACT": "9" * 5000}, "a whole number from 1, not '999"),
    ({"ACT": "\N{ARABIC-INDIC DIGIT TWO}"}, "a whole number from 1, not"),
    ({"ACT": "4"}, "act in step 3.2 is 1 (logging exec of mint (3.2)) or 2"),
    ({"RESTART": "never"}, "restart is one of last message, stage; not 'never'"),
    ({"NETWORK": "slow"}, "network is one of reliable, lossy, doubling; not 'slow'"),
    ({"RULES_OFF": "luck"}, "there is no rule or behaviour of the drafts luck; there are log_before_acting"),
    ({"CRASH": "sender"}, "there is no parameter CRASH; the parameters are CRASHED, STEP, LOST, WHEN"),
]


@pytest.fixture(scope="module", autouse=True)
def quiet_jupyter() -> Iterator[None]:
    """The tool sets the environment of its own process; here it is one of many."""
    before = dict(os.environ)
    prepare_environment()
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def press() -> Iterator[Press]:
    press = Press()
    yield press
    press.close()


def list_texts(notebook: Any) -> str:
    """All that a notebook put out, as text."""
    outputs = list(report_pages.list_outputs(notebook))
    return "\n".join(str(each.get("text") or each.get("data", {}).get("text/plain", "")) for each in outputs)


# ---------------------------------------------------------------------- the choice


@pytest.mark.parametrize(("settings", "sentence"), NONSENSE, ids=lambda each: str(each)[:40])
def test_the_tool_refuses_nonsense_and_writes_nothing(
    settings: dict[str, str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"{name}={value}" for name, value in settings.items()]
    assert report.main(["--out", str(tmp_path / "out"), *words]) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert told.err.count("\n") == 1
    assert not told.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--matrix", "huge"], "MATRIX is one of small, full; not 'huge'"),
        (["--matrix", "full", "LOST=log,nothing,luck"], "LOST of the gallery is some of nothing, last entry"),
        (["--matrix", "full", "CRASHED=nobody"], "CRASHED of the gallery is some of sender, recipient, both"),
        (["--matrix", "small", "STEP=1.1"], "the matrix small has no crash like that"),
        (["--matrix", "full", "ACT=4"], "the matrix full has no crash like that"),
        (["--matrix", "full", "ACT=x"], "ACT counts the durable acts"),
        (["--matrix", "full", "NETWORK=slow"], "network is one of reliable"),
        (["--matrix", "full", "--jobs", "0"], "--jobs is a number of processes from 1, not 0"),
        (["--matrix", "full", "ACT=" + "9" * 5000], "ACT counts the durable acts"),
        (["--matrix", "full", "MATRX=small"], "there is no parameter MATRX; the parameters are CRASHED, STEP"),
        (["MATRIX=small"], "there is no parameter MATRIX; the parameters are CRASHED, STEP"),
        (["=sender"], "a parameter is NAME=VALUE, as in CRASHED=sender, not '=sender'"),
        (["sender"], "a parameter is NAME=VALUE, as in CRASHED=sender, not 'sender'"),
    ],
)
def test_so_does_the_gallery(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--out", str(tmp_path / "out"), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("gallery", [[], ["--matrix", "small"]])
def test_a_place_that_is_no_folder_is_refused_before_anything_is_run(
    gallery: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert report.main(["--out", str(place), *gallery]) == 2
        assert f"--out is a folder, there already or to be made, not '{place}'" in capsys.readouterr().err


def test_what_is_not_chosen_follows_from_the_rest() -> None:
    assert choose() == choose(CRASHED=None, STEP="") == Scenario()
    assert choose(CRASHED="sender") == Scenario("sender", "3.4")
    assert choose(STEP=3.3) == choose(STEP="3.3") == Scenario(step="3.3", act=1)
    assert choose(ACT=1) == choose(ACT="1") == Scenario(act=1)
    assert choose(RULES_OFF="ledger_acts_once, sender_reissues").off == ("ledger_acts_once", "sender_reissues")
    assert choose(RULES_OFF=["ledger_acts_once"]) == choose(RULES_OFF="ledger_acts_once")
    for value in (5, {"a": 1}, [1]):
        with pytest.raises(Misuse, match="names of rules"):
            choose(RULES_OFF=value)
    for count in (True, 1.0, "²", -1):
        with pytest.raises(Misuse, match="a whole number"):
            choose(ACT=count)


def test_every_choice_can_be_written_down_and_has_a_page_of_its_own() -> None:
    chosen = [
        choose(CRASHED=crashed, STEP=step, LOST=lost, ACT=act, WHEN=when, NETWORK=network)
        for crashed in ("sender", "recipient", "both")
        for step in list_steps(crashed)
        for act in range(1, len(list_acts(crashed, step)) + 1)
        for lost in CHOICES["lost"]
        for when in CHOICES["when"]
        for network in CHOICES["network"]
    ]
    chosen += [Scenario(restart="stage"), Scenario(off=NAMES[:1]), Scenario(off=NAMES), Scenario(off=NAMES[:-1])]
    assert all(choose(**write_parameters(each)) == each for each in chosen)
    assert len({name_page(each) for each in chosen}) == len(chosen)
    assert all(re.fullmatch(r"[\w.-]{1,140}\.html", name_page(each)) for each in chosen)


def test_the_matrices_are_whole() -> None:
    full = report.compute_matrix("full", {})
    assert (
        len(full) == len({*full}) == 5 * sum(len(list_steps(each)) for each in ("sender", "recipient", "both")) == 225
    )
    small = report.compute_matrix("small", {})
    assert set(small) < set(full)
    assert {len(list_acts(each.crashed, each.step)) for each in small} == {3}
    part = report.compute_matrix("full", {"CRASHED": "both", "STEP": "3.4", "LOST": "log,key", "NETWORK": "lossy"})
    assert part == [Scenario("both", "3.4", lost=lost, network="lossy") for lost in ("log", "key")]
    assert {each.step for each in report.compute_matrix("full", {"CRASHED": "sender", "ACT": "3"})} == {
        "2.1",
        "3.4",
        "3.8",
    }


# ---------------------------------------------------------------------- the parts


def test_the_place_is_between_two_acts() -> None:
    for when, act in (("before", 2), ("after", 1)):
        lines = Report(Scenario(when=when, act=act)).place
        assert repr(lines).splitlines()[1:4] == [
            "  3.2  logging exec of mint",
            "  X    HERE THE RECIPIENT CRASHES",
            "  3.2  the mint",
        ]
    assert "all 40 durable acts" in repr(Report(Scenario("nobody")).place)


@pytest.mark.parametrize(("lost", "count"), [("nothing", 0), ("last entry", 1), ("last 3 entries", 3), ("log", 10)])
def test_the_witnesses_speak_in_the_moment_of_the_crash(lost: str, count: int) -> None:
    told = Report(Scenario(lost=lost))
    frame = told.witnesses.frame
    assert isinstance(told.run.trace.events[frame.number - 1], Crashed)
    assert len(frame.logs["GW2"]) == 10
    assert "held" in frame.ledgers["network 43114"]
    assert sum(is_lost for row in told.witnesses.entries for _, is_lost in row) == count
    assert repr(told.witnesses).count("(lost)") == told.witnesses._repr_html_().count("<del>") == count


def test_the_end_says_what_is_broken() -> None:
    told = Report(Scenario(off=("ask_the_ledger_before_repeating", "ledger_acts_once")))
    assert not told.run.has_recovered
    assert repr(told.end).startswith("Not recovered.")
    assert "Does not hold: isolation: one lock, one mint, and one end of each." in repr(told.end)
    assert told.end._repr_json_()["broken"] == ["isolation"]
    never = Report(Scenario("sender", "3.4", act=3, off=("log_before_acting",)))
    assert bool(never.run.trace.of(Crashed)) == ("HERE THE SENDER CRASHES" in repr(never.place))
    assert repr(Report(Scenario("nobody")).end).startswith("Completed.")


# ---------------------------------------------------------------------- the notebook and its pages


def test_the_page_is_what_the_scenario_computes(press: Press, tmp_path: Path) -> None:
    for settings in ({"LOST": "log"}, {"CRASHED": "sender", "ACT": 3, "NETWORK": "lossy"}, {"CRASHED": "nobody"}):
        told = Report(choose(**settings))
        made = press.make(told.scenario, tmp_path)
        assert not made.failure
        assert made.end == told.end._repr_json_()
        page = (tmp_path / made.page).read_text(encoding="utf-8")
        text = html.unescape(re.sub(r"<[^>]+>", "", page))
        assert f"<h1>{html.escape(told.scenario.words)}</h1>" in page
        assert told.figure.svg in page
        for part in (told.place, told.witnesses, told.rows, told.end):
            assert part._repr_html_() in page.replace('<div class="scroll"><table', "<table").replace(
                "</table></div>", "</table>"
            )
        assert told.run.text in text
        assert told.figure.mermaid in text
        assert "from protocol" not in text
        assert "Questions a reviewer might ask" not in text
        assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)


def test_what_is_broken_is_told_and_the_next_report_is_what_it_was(press: Press, tmp_path: Path) -> None:
    broken = choose(RULES_OFF="ask_the_ledger_before_repeating, ledger_acts_once")
    made = press.make(broken, tmp_path)
    assert not made.failure
    assert made.end["broken"] == ["isolation"]
    assert "Not recovered" in (tmp_path / made.page).read_text(encoding="utf-8")
    again = press.run(choose(LOST="log"))
    stored = nbformat.read(NOTEBOOK, as_version=4)
    assert list_texts(again) == list_texts(stored), "the notebook as it is kept is the report of its own parameters"


def test_no_report_knows_of_the_one_before(press: Press, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [nbformat.v4.new_code_cell("print('there was one' if 'one' in globals() else 'first'); one = 1")]
    nbformat.write(notebook, tmp_path / "asks.ipynb")
    monkeypatch.setattr(report_press, "NOTEBOOK", tmp_path / "asks.ipynb")
    assert [list_texts(press.run(Scenario())) for _ in range(2)] == ["first\n", "first\n"]


def test_the_notebook_refuses_nonsense_itself(press: Press, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """papermill puts in what it is given; the first cell after the parameters says what is wrong, and all ends."""
    for settings, sentence in NONSENSE:
        monkeypatch.setattr(report_press, "write_parameters", lambda scenario, settings=settings: settings)
        made = press.make(Scenario(), tmp_path)
        assert made.failure.startswith("Misuse: ")
        assert sentence in made.failure
        assert not list(tmp_path.iterdir())


def test_the_notebook_takes_exactly_the_parameters() -> None:
    (cell,) = (cell for cell in nbformat.read(NOTEBOOK, 4).cells if "parameters" in cell.metadata.get("tags", []))
    assert re.findall(r"^(\w+) = ", cell.source, flags=re.MULTILINE) == list(PARAMETERS)


# ---------------------------------------------------------------------- the gallery


def test_a_small_gallery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--matrix", "full", "--jobs", "1", "CRASHED=recipient,both", "STEP=3.2", "LOST=log"]
    (tmp_path / "matrix").mkdir()
    (tmp_path / "matrix" / "old.html").write_text("of another matrix")
    assert report.main(["--out", str(tmp_path), *words]) == 0
    told = capsys.readouterr().out
    summary = (tmp_path / "summary.txt").read_text()
    index = (tmp_path / "index.html").read_text()
    assert summary in told
    assert "2 of 2 reports were made." in summary
    chosen = [Scenario(crashed, "3.2", lost="log") for crashed in ("recipient", "both")]
    assert sorted(path.name for path in (tmp_path / "matrix").iterdir()) == sorted(map(name_page, chosen))
    for scenario in chosen:
        letters = " ".join(verdict.row.letter for verdict in scenario.play().verdicts)
        assert f'<a href="matrix/{name_page(scenario)}"' in index
        assert f'">{letters}<small>' in index
        assert '<a href="../index.html">' in (tmp_path / "matrix" / name_page(scenario)).read_text()
        assert scenario.play().ending in summary


def made_up(scenario: Scenario, failure: str = "") -> Made:
    return Made(scenario, name_page(scenario), {} if failure else Report(scenario).end._repr_json_(), failure)


def test_the_index_is_of_what_is_done(tmp_path: Path) -> None:
    chosen = [Scenario(lost=lost) for lost in ("nothing", "log", "key")]
    broken = Scenario(off=("ask_the_ledger_before_repeating", "ledger_acts_once"))
    made = [made_up(chosen[0]), made_up(chosen[1], "AssertionError: no")]
    index = write_gallery(chosen, made, tmp_path, "matrix").read_text()
    assert "2 of 3 reports were made. 1 broke off." in index
    assert index.count("<a href=") == 1
    assert index.count("<td></td>") == 1
    assert "broke off</td>" in index
    assert count_rows([made_up(chosen[1])]) == [
        ("row A: one message was on its way -> continue", 1),
        ("row H: my log is lost, the peer kept the chain -> continue", 1),
    ]
    assert count_ends(made) == [(f"{chosen[0].play().ending}", 1), ("The report broke off.", 1)]
    cell = write_cell(broken, {broken: made_up(broken)}, "matrix")
    assert 'class="k-continue bad"' in cell
    assert "✗" in cell


def test_an_interrupt_leaves_an_index_of_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop_after_one(chosen: list[Scenario], *_: object) -> Iterator[Made]:
        yield made_up(chosen[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(report_press, "make_many", stop_after_one)
    assert report.main(["--out", str(tmp_path), "--matrix", "full", "LOST=log", "STEP=3.2"]) == 130
    assert "1 of 2 reports were made." in (tmp_path / "index.html").read_text()
    assert "Interrupted" in capsys.readouterr().out


def test_make_hands_over_what_stands_on_its_command_line() -> None:
    make = ["make", "-s", "-o", ".venv/book", f"BIN={os.path.relpath(Path(sys.executable).parent, ROOT)}"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for target, word, sentence in (
        ("report", "CRASH=x", "there is no parameter CRASH; the parameters are CRASHED, STEP"),
        ("report", "MATRIX=small", "there is no parameter MATRIX; the parameters are CRASHED, STEP"),
        ("report", "LOST=last; touch 'here' $(pwd)", "lost is one of nothing, last entry"),
        ("reports", "MATRX=small", "there is no parameter MATRX; the parameters are CRASHED, STEP"),
        ("reports", 'MATRIX="; touch here; "', "MATRIX is one of small, full; not '"),
    ):
        told = subprocess.run(
            [*make, target, word], cwd=ROOT, env=outside, capture_output=True, text=True, timeout=60, check=False
        )
        assert sentence in told.stderr
        assert not (ROOT / "here").exists()


def die(*_: object) -> Made:
    """As a process ends that the machine has no memory for."""
    os._exit(9)


def test_a_process_that_is_killed_leaves_its_reports_unmade_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_press, "_make", die)
    monkeypatch.setattr(report_press, "_open_press", os.getpid)  # no kernel is needed for that
    chosen = [Scenario(), Scenario(lost="log")]
    made = list(report_press.make_many(chosen, tmp_path, "index.html", jobs=1))
    assert {each.scenario for each in made} == set(chosen)
    assert all(each.failure == "a process that makes reports was killed" for each in made)
