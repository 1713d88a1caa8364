"""`python -m protocol`: what it prints, and what it says to a wrong choice."""

from __future__ import annotations

import subprocess
import sys

import pytest

from protocol.__main__ import main
from protocol.recovery import TABLE_2, find_recovery_row
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
    ],
)
def test_a_wrong_choice_gets_a_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--lose", "log"], ["--both"], ["--restart-from", "stage"]])
def test_nobody_loses_nothing(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--crash", "nobody", *arguments])


@pytest.mark.parametrize(
    "arguments", [["--restart-from", "phase"], ["--crash", "me"], ["--before", "1", "--after", "1"], ["--after", "x"]]
)
def test_what_the_parser_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


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
