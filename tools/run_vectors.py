"""Ask an implementation every case of the test vectors, over its standard input and output.

    python -m tools.run_vectors -- COMMAND ARGUMENTS
    python -m tools.run_vectors --family canonical --case text-is-utf-8 -- node door.js
    python -m tools.run_vectors -- python -m protocol.door          this package, through the same door

One JSON request per line goes in, one JSON answer per line comes out; tests/vectors/README.md describes both. A
request is sent when the one before has its answer, so that whoever dies or falls silent is known to do it at this
case; it is then started again for the next one. The exit status is 0 if nothing failed. What is unsupported is
counted, and does not fail. Nothing but Python's standard library is needed here.
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.vector_families import FAMILIES, Json

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
TIME_OUT_S = 30.0
MOST_STARTS = 5  # of one command: whoever dies at every case need not do it a thousand times
WIDTH = 600  # characters of an output in a failure


class NoAnswer(Exception):
    """The command ended, fell silent, or said what is no answer; the text says which."""


class Ended(NoAnswer):
    """The command has to be started again, if it can be."""


@dataclass(frozen=True)
class Verdict:
    """What came of one case: `passed`, `failed` or `unsupported`, and for a failure what was wrong."""

    family: str
    case: Json
    word: str
    why: str = ""
    got: str = ""


class Command:
    """A program behind its door: started when it is asked, and started again when it has ended."""

    def __init__(self, words: list[str], time_out: float, stderr: IO[bytes]) -> None:
        """`stderr` is an empty file: its last line is shown if the command ends."""
        self._words, self._time_out, self._stderr = words, time_out, stderr
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._asked = self._starts = 0

    def ask(self, operation: str, given: Json, shared: Json) -> Json:
        """The answer to one request. NoAnswer if there is none."""
        process = self._process or self._start()
        self._asked += 1
        request = {"id": self._asked, "operation": operation, "input": given} | ({"shared": shared} if shared else {})
        threading.Thread(target=_send, args=(process, json.dumps(request) + "\n"), daemon=True).start()
        while True:
            answer = self._read_answer()
            if answer["id"] == self._asked:
                return answer

    def close(self) -> None:
        """End the command; it may end by itself first, because its input has ended."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self) -> subprocess.Popen[str]:
        if self._starts >= MOST_STARTS:
            raise Ended(f"not asked: the command had to be started {MOST_STARTS} times and ended each time")
        self._starts += 1
        self._stderr.truncate(0)
        self._stderr.seek(0)
        try:
            process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            sys.exit(f"The command {self._words[0]} cannot be started: {error.strerror}.")
        self._process, self._lines = process, queue.Queue()
        threading.Thread(target=_read_lines, args=(process, self._lines), daemon=True).start()
        return process

    def _read_answer(self) -> Json:
        try:
            line = self._lines.get(timeout=self._time_out)
        except queue.Empty:
            self._end()
            raise Ended(f"no answer within {self._time_out:g} s; is each line flushed when it is written?") from None
        if line is None:
            raise Ended(self._explain_end())
        return read_answer(line, self._asked)

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self.close()

    def _explain_end(self) -> str:
        assert self._process is not None
        status = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        self.close()
        errors = [line for line in lines if line.partition(":")[0].endswith("Error")]  # Node's last line is its version
        said = f"; on its standard error: {(errors or lines)[-1].strip()[:WIDTH]}" if lines else ""
        return f"the command ended with status {status} before it answered{said}"


def _send(process: subprocess.Popen[str], line: str) -> None:
    """In a thread: whoever does not read must not keep us waiting here."""
    assert process.stdin is not None
    with suppress(OSError, ValueError):  # it has ended: what it said before that is still read
        process.stdin.write(line)
        process.stdin.flush()


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def read_answer(line: str, asked: int) -> Json:
    """One line of the command as an answer. NoAnswer says what is wrong with it."""
    shown = line.strip()[:WIDTH]
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise NoAnswer(f"what it wrote is not JSON: {shown!r}") from None
    if not isinstance(answer, dict) or type(answer.get("id")) is not int or not 1 <= answer["id"] <= asked:
        raise NoAnswer(f"what it wrote has the id of no request: {shown}")
    kinds = [name for name in ("output", "error", "unsupported") if name in answer]
    if len(kinds) != 1:
        raise NoAnswer(f"an answer has one of output, error and unsupported, not {len(kinds)} of them: {shown}")
    error = answer.get("error", {"code": ""})
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        raise NoAnswer(f'an error has a code, "" where the documents have none: {shown}')
    return answer


def is_same(one: object, other: object) -> bool:
    """Equal as JSON: the order of members does not count, and true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def compare(family: str, case: Json, answer: Json) -> Verdict:
    """Output with output, code with code. Where the documents have no code, any refusal is the right one."""
    if "unsupported" in answer:
        return Verdict(family, case, "unsupported")
    if "output" in answer:
        got = json.dumps(answer["output"], ensure_ascii=True)
        if "expect" not in case:
            return Verdict(family, case, "failed", "it has to be refused and was not", got)
        if is_same(case["expect"], answer["output"]):
            return Verdict(family, case, "passed")
        return Verdict(family, case, "failed", "another output", got)
    got = json.dumps(answer["error"], ensure_ascii=True)
    if "error" not in case:
        return Verdict(family, case, "failed", "it was refused and must not be", got)
    if case["error"]["code"] in ("", answer["error"]["code"]):
        return Verdict(family, case, "passed")
    return Verdict(family, case, "failed", "refused with another code", got)


def run_family(command: Command, family: Json, names: list[str]) -> Iterator[Verdict]:
    """Every case of a family, or those that are named."""
    for case in family["cases"]:
        if names and case["name"] not in names:
            continue
        try:
            answer = command.ask(family["operation"], case["input"], family.get("shared", {}))
        except NoAnswer as error:
            yield Verdict(family["family"], case, "failed", str(error))
        else:
            yield compare(family["family"], case, answer)


def show_progress(done: int, total: int, family: str) -> None:
    """A bar where a person looks on, and nothing where a file does."""
    if sys.stderr.isatty():
        filled = 30 * done // max(total, 1)
        end = "\r" if done < total else "\r" + " " * 78 + "\r"
        print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{total} {family:<24}", end=end, file=sys.stderr)


def print_table(verdicts: list[Verdict], families: list[str]) -> None:
    print(f"{'family':<24} {'passed':>7} {'failed':>7} {'unsupported':>12}")
    for name in [*families, "all"]:
        words = [each.word for each in verdicts if name in (each.family, "all")]
        counts = (words.count(word) for word in ("passed", "failed", "unsupported"))
        print("{:<24} {:>7} {:>7} {:>12}".format(name, *counts))


def print_failure(verdict: Verdict) -> None:
    case = verdict.case
    wanted = json.dumps(case.get("expect", case.get("error")), ensure_ascii=True)
    print(f"\nFAILED {verdict.family} / {case['name']}: {verdict.why}")
    print(f"  {case['comment']}")
    print(f"  expected  {wanted[:WIDTH]}")
    if verdict.got:
        print(f"  got       {verdict.got[:WIDTH]}")


def read_families(names: list[str]) -> list[Json]:
    """The families of these names as they are written down; all of them unless one is named."""
    try:
        return [json.loads((VECTORS / f"{name}.json").read_text(encoding="ascii")) for name in names or FAMILIES]
    except FileNotFoundError as error:
        sys.exit(f"There is no file {error.filename}. If the family is new: make vectors")


def read_seconds(text: str) -> float:
    """More than none, and not for ever."""
    seconds = float(text)
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise ValueError
    return seconds


def parse_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.run_vectors",
        usage="%(prog)s [--family NAME] [--case NAME] [--time-out SECONDS] -- COMMAND ARGUMENTS",
        description="Ask an implementation every case of the test vectors, over its standard input and output.",
    )
    parser.add_argument("--family", action="append", default=[], choices=FAMILIES, help="only this one; repeatable")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--time-out", type=read_seconds, default=TIME_OUT_S, metavar="SECONDS", help="for one answer")
    ours, theirs = arguments, []
    if "--" in arguments:
        place = arguments.index("--")
        ours, theirs = arguments[:place], arguments[place + 1 :]
    options = parser.parse_args(ours)
    options.family = list(dict.fromkeys(options.family))  # named twice, asked once
    if not theirs:
        parser.error("after -- comes the command to ask, for example: -- python -m protocol.door")
    options.command = theirs
    return options


def main(arguments: list[str]) -> int:
    options = parse_options(arguments)
    families = read_families(options.family)
    known = {case["name"] for family in families for case in family["cases"]}
    if missing := sorted(set(options.case) - known):
        sys.exit(f"There is no case {', '.join(missing)} in {', '.join(family['family'] for family in families)}.")
    total = sum(not options.case or case["name"] in options.case for family in families for case in family["cases"])
    verdicts: list[Verdict] = []
    with tempfile.TemporaryFile() as stderr:
        command = Command(options.command, options.time_out, stderr)
        try:
            for family in families:
                for verdict in run_family(command, family, options.case):
                    verdicts.append(verdict)
                    show_progress(len(verdicts), total, family["family"])
        finally:
            command.close()
    print_table(verdicts, [family["family"] for family in families])
    failures = [each for each in verdicts if each.word == "failed"]
    for each in failures:
        print_failure(each)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
