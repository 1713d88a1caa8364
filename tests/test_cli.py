"""`python -m protocol`: what it prints, and what it says to a wrong choice."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from protocol.__main__ import main, show_progress
from protocol.recovery import TABLE_2, find_recovery_row
from protocol.rules import SAFETY
from tests.conftest import ALICE, BOB, every_crash_point


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_without_arguments_it_tells_the_story(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    assert "CRASH after the mint (3.2) X" in out
    assert "<mint? yes.>" in out
    assert f"At rest. Owners: {BOB}" in out
    assert out.index("before") < out.index("while the recipient is down") < out.index("\nafter")


@pytest.mark.parametrize(("who", "step", "when", "number"), every_crash_point()[::7])
def test_every_place_can_be_chosen(
    who: str, step: str, when: str, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "--crash", who, "--at", step, f"--{when}", str(number))
    assert status == 0
    assert out.count("CRASH") == 1
    assert f"Owners: {BOB}" in out or f"Owners: {ALICE}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--at", "3.6", "--after", "2", "--lose", "log"], "GW2, row H: my log is lost, the peer kept the chain"),
        (["--at", "3.6", "--after", "2", "--lose", "3"], "GW2, row E: I lost entries -> continue"),
        (["--crash", "sender", "--at", "3.5", "--lose", "log", "--both"], "row O: both logs are lost, and the asset"),
        (["--at", "3.6", "--lose", "key", "--both"], "while the recipient and the sender are down"),
        (["--at", "3.5", "--restart-from", "stage"], "Said again: 3.3, 3.5."),
    ],
)
def test_more_can_be_lost_than_the_process(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "")
    assert words in out
    assert f"Owners: {BOB}" in out


def test_the_row_that_decided_is_printed_with_its_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--crash", "sender", "--at", "3.4", "--after", "2")
    assert "GW1, row C: after the burn only forward -> continue" in out
    assert find_recovery_row("C").why in " ".join(out.split())


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--table")
    assert status == 0
    for row in TABLE_2:
        assert f"\n{row.letter}  {row.title} " in f"\n{out}"


def test_the_list_of_places_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--acts")
    assert len(out.splitlines()) == 1 + len(every_crash_point()) // 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--at", "4.2"], "there is no step '4.2'; the steps are 1.1"),
        (["--crash", "sender", "--at", "3.2"], "it is the other gateway's"),
        (["--at", "3.2", "--after", "4"], "they are 1 to 3"),
        (["--at", "3.2", "--before", "0"], "they are 1 to 3"),
        (["--lose", "disk"], "what is lost is log, key, or a number of last entries, not disk"),
        (["--lose", "0"], "not 0"),
        (["--rule-off", "gravity"], f"there is no rule gravity; the rules are {', '.join(SAFETY)}."),
        (["--compare-rules", "--rule-off", "gravity"], "there is no rule gravity; the rules are"),
        (["--replace", "sender", "--at", "3.2"], "it is the other gateway's"),
        (["--replace", "sender", "--at", "4.2"], "`python -m protocol --acts` lists the places"),
        (["--replace", "sender", "--comes-back", "-1"], "it comes back after 0 or more deliveries, not after -1."),
        (["--replace", "sender", "--at", "3.9", "--leaves"], "the session is over"),
    ],
)
def test_a_wrong_choice_gets_a_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--crash", "nobody", "--lose", "log"], "--crash nobody goes without --lose"),
        (["--crash", "nobody", "--both"], "--crash nobody goes without --both"),
        (["--crash", "nobody", "--restart-from", "stage", "--at", "3.2"], "goes without --at, --restart-from"),
        (["--how", "slow", "--comes-back", "0"], "a crash goes without --how, --comes-back"),
        (["--replace", "sender", "--both"], "--replace goes without --both"),
        (["--compare-rules", "--leaves", "--seed", "x"], "--compare-rules goes without --seed, --leaves"),
        (["--replace", "sender", "--crash", "sender"], "not allowed with argument"),
        (["--replace", "sender", "--how", "gone"], "invalid choice: 'gone'"),
        (["--restart-from", "phase"], "invalid choice: 'phase'"),
        (["--crash", "me"], "invalid choice: 'me'"),
        (["--before", "1", "--after", "1"], "not allowed with argument"),
        (["--after", "x"], "invalid int value: 'x'"),
    ],
)
def test_what_the_parser_refuses(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    usage, last = capsys.readouterr().err.rstrip().rsplit("\n", 1)
    assert usage.startswith("usage:")
    assert words in last


TAKEN_OVER, FENCED = "takes over from GW1", "FENCED: GW1-B has epoch 2"


@pytest.mark.parametrize(
    ("arguments", "words", "owner"),
    [
        ([], ["X CRASH before the burn (3.4)", TAKEN_OVER], BOB),
        (["--comes-back", "4"], [TAKEN_OVER, "O restart", "burn late", "log entries 0, actions 1"], BOB),
        (["--how", "slow"], ["stands still before the burn (3.4)", TAKEN_OVER], BOB),
        (["--how", "slow", "--comes-back", "4"], ["goes on", FENCED], BOB),
        (["--how", "no-store", "--comes-back", "4", "--at", "2.1", "--after", "2"], ["its log store", FENCED], BOB),
        (["--leaves"], [TAKEN_OVER, "ROLLBACK"], ALICE),
    ],
)
def test_a_takeover(arguments: list[str], words: list[str], owner: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "--replace", "sender", *arguments)
    assert (status, err) == (0, "")
    for each in words:
        assert each.lower() in out.lower()
    assert "GW1-B, row " in out
    assert out.endswith(f"At rest. Owners: {owner}\n")


def test_a_takeover_of_the_recipient(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--replace", "recipient")
    assert status == 0
    assert "CRASH before the mint" in out
    assert "takes over from GW2" in out


@pytest.mark.parametrize("form", ["mermaid", "svg"])
def test_other_forms_of_a_takeover(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--replace", "sender", "--how", "slow", "--comes-back", "4", "--format", form)
    assert status == 0
    assert out.startswith({"mermaid": "sequenceDiagram\n", "svg": "<svg"}[form])
    assert "GW1-B" in out
    assert "At rest" not in out


def test_a_rule_that_is_off_shows_what_it_was_for(capsys: pytest.CaptureFixture[str]) -> None:
    late = ("--replace", "sender", "--how", "slow", "--comes-back", "6", "--leaves")
    assert run(capsys, *late)[0] == 0
    status, out, _ = run(capsys, *late, "--rule-off", "back-out-only-with-the-receipt")
    assert status == 1
    assert out.endswith("NOT at rest. Owners: nobody\n")
    assert "\nAt rest" not in out
    writer = ("--replace", "sender", "--at", "3.4", "--how", "slow", "--comes-back", "3")
    assert "log entries 0, actions 1" in run(capsys, *writer)[1]
    assert "log entries 2, actions 1" in run(capsys, *writer, "--rule-off", "fence_the_replaced_primary")[1]


def test_a_rule_can_be_off_in_a_crash_too(capsys: pytest.CaptureFixture[str]) -> None:
    crash = ("--crash", "sender", "--at", "3.4", "--after", "1", "--format", "mermaid")
    assert run(capsys, *crash)[1] != run(capsys, *crash, "--rule-off", "log_before_acting")[1]


def test_rules_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a terminal: nothing is said meanwhile."""
    status, out, err = run(capsys, "--compare-rules", "--rule-off", "fence-the-replaced-primary")
    assert (status, err) == (0, "")
    heads, every, fence = (line.split() for line in out.splitlines())
    assert heads[:3] == ["switched", "off", "runs"]
    assert [len(line) for line in (every, fence)] == [10, 10]
    assert every[:8] == ["nothing", "96", "96", "0", "0", "0", "0", "0"]
    assert fence[:2] == ["fence_the_replaced_primary", "96"]
    assert int(fence[6]) > 0, "whoever was replaced writes late"


class Screen(io.StringIO):
    """What a person sees."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("has_tqdm", "words"), [(True, "run/s"), (False, "3 of 4 runs")])
def test_a_person_who_waits_sees_how_long(has_tqdm: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tqdm, as where only the package is installed, it is a plain line."""
    if not has_tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with show_progress() as on_run:
        on_run(3, 4)
    assert words in screen.getvalue()


def test_other_forms_print_the_figure_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--format", "mermaid")[1].startswith("sequenceDiagram\n")
    svg = run(capsys, "--format", "svg")[1]
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>\n")


def test_it_runs_as_a_module_and_helps() -> None:
    done = subprocess.run([sys.executable, "-m", "protocol", "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert "durable act" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """`python -m protocol --table | head -1`"""
    with subprocess.Popen(
        [sys.executable, "-m", "protocol", "--table"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
