"""The test vectors: made anew they have the same bytes, the own door passes all of them, and the runner finds faults.

The wrong implementations below are programs of a few lines behind the same door as anybody's.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.certificates import BACKUPS
from protocol.door import OPERATIONS, answer
from tools import run_vectors, vectors
from tools.citations import DOCUMENTS
from tools.run_vectors import is_same
from tools.vector_families import FAMILIES, Json, case, make_family

ROOT = Path(__file__).resolve().parent.parent
README = (vectors.VECTORS / "README.md").read_text(encoding="utf-8")
DOOR = [sys.executable, "-m", "protocol.door"]


def read(name: str) -> Json:
    return run_vectors.read_families([name])[0]


@pytest.fixture(autouse=True)
def programs_find_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


# ---------------------------------------------------------------------- the files


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_what_is_made_now(name: str) -> None:
    """Byte for byte; a module asserts for each of its cases why it exists while it makes them."""
    assert vectors.find_difference(name, vectors.write_family(make_family(name))) is None, "if meant: make vectors"


def test_there_is_no_other_file() -> None:
    found = {path.stem for path in vectors.VECTORS.glob("*.json")} - {"satp_core_examples"}
    assert found == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_what_it_is(name: str) -> None:
    family = read(name)
    assert family["operation"] in OPERATIONS
    assert len(family["cases"]) >= 3
    assert any("expect" in each for each in family["cases"]) or name.startswith("invalid"), "nothing can be passed"
    for section in family["sections"]:
        document, _, number = section.partition(" ")
        if document in ("SATP", "RECOVERY"):
            assert number in DOCUMENTS[document]["sections"], section


@pytest.mark.parametrize("name", FAMILIES)
def test_the_readme_describes_the_operation_of_every_family(name: str) -> None:
    heading = f"### `{name}`: {read(name)['operation']}"
    assert heading in README.splitlines()
    assert f"`{name}`" in README.partition("## The operations")[0], "where to begin"


def test_the_readme_names_the_extension_of_backups() -> None:
    assert f"extension {BACKUPS.dotted_string}," in README


def test_no_path_and_no_date_of_today_is_in_the_files() -> None:
    for name in FAMILIES:
        text = vectors.find_file(name).read_bytes().decode("ascii")
        assert str(ROOT) not in text
        dates = set(re.findall(r"\b20(?:2[5-9]|[3-9]\d)-\d\d-\d\dT", text))
        assert dates <= {"2030-01-01T", "2099-12-31T"}, f"{name}: no certificate ends then, and no lock"


def test_a_case_that_does_not_do_what_it_is_for_is_not_written() -> None:
    with pytest.raises(AssertionError, match="does not do what it is for"):
        case("a-name", "A sentence.", {}, holds=False, expect={})
    with pytest.raises(AssertionError, match="an output or an error"):
        case("a-name", "A sentence.", {}, holds=True)
    with pytest.raises(AssertionError, match="words say what is wrong"):
        case("a-name", "A sentence.", {}, holds=True, code="")


def test_a_changed_byte_is_found_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = vectors.find_file("thumbprints").read_text(encoding="ascii")
    monkeypatch.setattr(vectors, "VECTORS", tmp_path)
    assert "is missing" in str(vectors.find_difference("thumbprints", text))
    place = text.index('"thumbprint": "') + 20
    vectors.find_file("thumbprints").write_text(text[:place] + "~" + text[place + 1 :], encoding="ascii")
    line = text[:place].count("\n") + 1
    assert str(vectors.find_difference("thumbprints", text)).endswith(f"first in line {line}")
    assert vectors.main(["--check", "thumbprints"]) == 1
    assert vectors.main(["thumbprints"]) == 0
    assert vectors.main(["--check", "thumbprints"]) == 0


# ---------------------------------------------------------------------- the door


def test_the_own_package_passes_all_of_them_through_the_door(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_vectors.main(["--", *DOOR]) == 0, capfd.readouterr().out
    rows = [line.split() for line in capfd.readouterr().out.splitlines()[1:]]
    counts = {name: len(read(name)["cases"]) for name in FAMILIES}
    assert rows == [[name, str(number), "0", "0"] for name, number in (counts | {"all": sum(counts.values())}).items()]


def test_the_door_says_what_it_does_not_know() -> None:
    assert answer({"id": 7, "operation": "make-coffee", "input": {}}) == {"id": 7, "unsupported": True}


def test_a_certificate_is_judged_for_the_reason_that_the_case_names() -> None:
    """Its code is always the same: the condition in words tells whether the right one was found."""
    family = read("backups")
    for each in family["cases"]:
        said = answer({"id": 1, "operation": "verify-backup", "input": each["input"], "shared": family["shared"]})
        assert ("error" in said) == ("error" in each)
        assert said.get("error", {"reason": ""})["reason"].startswith(each.get("error", {"reason": ""})["reason"])


# ---------------------------------------------------------------------- the runner, with other programs

LOOP = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    {body}
    print(json.dumps(said), flush=True)
"""
RIGHT = "from protocol.door import answer; said = answer(request)"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Ask a program whose loop has these lines; returns the exit status, and what was printed."""

    def ask(body: str, *options: str, family: str = "thumbprints") -> tuple[int, str]:
        program = tmp_path / "door.py"
        program.write_text(LOOP.format(body=body), encoding="utf-8")
        status = run_vectors.main([*options, "--family", family, "--", sys.executable, str(program)])
        return status, capfd.readouterr().out

    return ask


def count(printed: str, family: str = "thumbprints") -> tuple[int, int, int]:
    row = next(line.split() for line in printed.splitlines() if line.startswith(f"{family} "))
    return int(row[1]), int(row[2]), int(row[3])


def test_a_right_program_passes(run: Run) -> None:
    status, printed = run(RIGHT)
    assert (status, count(printed)) == (0, (len(read("thumbprints")["cases"]), 0, 0))


def test_what_is_unsupported_is_counted_and_does_not_fail(run: Run) -> None:
    status, printed = run("said = {'id': request['id'], 'unsupported': True}")
    assert (status, count(printed)) == (0, (0, 0, len(read("thumbprints")["cases"])))
    assert "FAILED" not in printed


def test_a_wrong_output_is_named_with_what_was_expected(run: Run) -> None:
    """One that writes thumbprints with padding."""
    wrong = f"{RIGHT}\n    if 'output' in said: said['output']['thumbprint'] += '='"
    status, printed = run(wrong)
    good = [each for each in read("thumbprints")["cases"] if "expect" in each]
    assert (status, count(printed)[1]) == (1, len(good))
    assert printed.count("FAILED thumbprints / ") == len(good)
    assert "FAILED thumbprints / rfc-8037-example: another output" in printed
    assert good[0]["comment"] in printed
    expected = good[0]["expect"]["thumbprint"]
    assert f'expected  {{"thumbprint": "{expected}"}}' in printed
    assert f'got       {{"thumbprint": "{expected}="}}' in printed


def test_a_program_that_refuses_nothing_and_one_that_refuses_all_fail(run: Run) -> None:
    for body, words in (
        ("said = {'id': request['id'], 'output': {}}", "it has to be refused and was not"),
        ("said = {'id': request['id'], 'error': {'code': ''}}", "it was refused and must not be"),
    ):
        status, printed = run(body)
        assert status == 1
        assert words in printed


def test_a_wrong_code_fails_and_where_there_is_none_any_will_do(run: Run) -> None:
    wrong = f"{RIGHT}\n    if 'error' in said: said['error']['code'] = 'err_9.9.9'"
    assert run(wrong)[0] == 0, "no document has a code for a bad key"
    status, printed = run(wrong, family="certificates")
    refused = [each for each in read("certificates")["cases"] if "error" in each]
    assert (status, count(printed, "certificates")[1]) == (1, len(refused))
    assert "refused with another code" in printed


def test_a_program_that_dies_fails_the_case_at_which_it_dies(run: Run) -> None:
    """It is started again: only that case has failed, and the error that it wrote is shown."""
    dies = f"if request['input']['jwk'].get('y') == 'A' * 43: sys.exit('I cannot divide by zero')\n    {RIGHT}"
    status, printed = run(dies)
    assert (status, count(printed)[1]) == (1, 1)
    assert "FAILED thumbprints / point-at-zero: the command ended with status 1 before it answered" in printed
    assert "I cannot divide by zero" in printed


def test_the_error_is_shown_and_not_what_a_language_writes_after_it(run: Run) -> None:
    after = "sys.exit('TypeError: x is not a function\\n    at y\\n\\nNode.js v20')"
    assert "on its standard error: TypeError: x is not a function\n" in run(after, "--case", "no-y")[1]


def test_a_program_that_always_dies_is_not_started_for_ever(run: Run) -> None:
    status, printed = run("raise SystemExit(3)")
    number = len(read("thumbprints")["cases"])
    assert (status, count(printed)[1]) == (1, number)
    assert printed.count("status 3") == run_vectors.MOST_STARTS
    assert printed.count("not asked:") == number - run_vectors.MOST_STARTS


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("print('hello'); said = {}", "is not JSON: 'hello'"),
        ("said = [1]", "has the id of no request"),
        ("said = {'output': {}}", "has the id of no request"),
        ("said = {'id': request['id'] + 1, 'output': {}}", "has the id of no request"),
        ("said = {'id': True, 'output': {}}", "has the id of no request"),
        ("said = {'id': request['id']}", "one of output, error and unsupported, not 0"),
        ("said = {'id': request['id'], 'output': {}, 'error': {'code': ''}}", "not 2"),
        ("said = {'id': request['id'], 'error': 'bad'}", "an error has a code"),
        ("said = {'id': request['id'], 'error': {}}", "an error has a code"),
    ],
)
def test_nonsense_is_answered_with_a_sentence(run: Run, body: str, words: str) -> None:
    status, printed = run(body, "--case", "rfc-8037-example")
    assert (status, count(printed)) == (1, (0, 1, 0))
    assert words in printed


def test_lines_that_are_no_answer_cost_one_case_and_not_the_next(run: Run) -> None:
    """What comes late, after a line that was nonsense, is an answer to a request that is over."""
    first = "if request['id'] == 1: print('I am ready', flush=True)"
    status, printed = run(f"{first}\n    {RIGHT}")
    assert (status, count(printed)[1]) == (1, 1)


def test_a_program_that_says_nothing_is_waited_for_and_started_again(run: Run) -> None:
    """Only the waiting ends; no time is measured. It does not use the package, whose import takes a while."""
    silent = "if request['input']['jwk'].get('y') == 'A' * 43: sys.stdin.read()"
    refuses = "said = {'id': request['id'], 'error': {'code': ''}}"
    names = [option for name in ("point-at-zero", "private-key", "no-y") for option in ("--case", name)]
    status, printed = run(f"{silent}\n    {refuses}", "--time-out", "4", *names)
    assert (status, count(printed)) == (1, (2, 1, 0))
    assert "FAILED thumbprints / point-at-zero: no answer within 4 s; is each line flushed" in printed


def test_a_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"The command no-such-program cannot be started: No such file"):
        run_vectors.main(["--family", "thumbprints", "--", "no-such-program"])
    with pytest.raises(SystemExit, match=r"There is no case other in thumbprints\."):
        run_vectors.main(["--family", "thumbprints", "--case", "other", "--", "true"])
    with pytest.raises(SystemExit):
        run_vectors.main(["--family", "thumbprints"])
    assert "after -- comes the command" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_out_is_a_number_of_seconds(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_vectors.main(["--time-out", seconds, "--", "true"])
    assert "argument --time-out: invalid" in capsys.readouterr().err


def test_a_family_that_is_named_twice_is_asked_once(run: Run) -> None:
    status, printed = run(RIGHT, "--family", "thumbprints")
    assert (status, count(printed)) == (0, (len(read("thumbprints")["cases"]), 0, 0))
    assert printed.count("\nthumbprints ") == 1


def test_a_family_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_vectors, "VECTORS", tmp_path)
    with pytest.raises(SystemExit, match=r"There is no file .*canonical\.json"):
        run_vectors.main(["--", "true"])


def test_outputs_are_equal_as_json() -> None:
    assert is_same({"a": 1, "b": [1.0]}, {"b": [1], "a": 1})
    assert not is_same({"a": True}, {"a": 1})
    assert not is_same([1, 2], [2, 1])
    assert not is_same({"a": None}, {})
    assert json.loads(json.dumps(read("canonical"))) == read("canonical")
