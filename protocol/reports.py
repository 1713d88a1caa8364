"""A report of one scenario: the choice read from text, and what a figure does not show, as tables.

    report = Report(choose(CRASHED="sender", STEP=3.4, LOST="log"))
    report.figure, report.recovery     the whole run, and a closer look from the crash on
    report.place                       the crash among the durable acts of the gateway that crashes
    report.witnesses                   both logs and both ledgers in the moment of the crash, and what was lost then
    report.rows                        the rows of TABLE 2 that decided: three facts, verdict, paragraph
    report.end                         who owns the asset, what both gateways say, and which properties do not hold

`choose` takes values as a person, a command line or a file of parameters gives them: 3.4 or "3.4", "2" or 2, and ""
or None for what is not chosen. What is not chosen follows from the rest: the step with the action that matters most
to whoever crashes, and in a step with an action the moment after it, before its outcome is logged.

What a report says was read from the Run; nothing is decided here. Each part shows itself as HTML and as text, and
`end` as data too, for whoever counts many reports. A value that cannot be is refused with one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any, Final

from protocol.diagrams import Figure
from protocol.errors import Misuse
from protocol.properties import TRANSFER
from protocol.rules import describe
from protocol.scenarios import Frame, Run, Scenario, Verdict, count_verdicts, list_acts, list_steps
from protocol.steps import Role
from protocol.trace import Crashed, Forgotten, Restarted

PARAMETERS: Final = {
    "CRASHED": "crashed",
    "STEP": "step",
    "LOST": "lost",
    "WHEN": "when",
    "ACT": "act",
    "RESTART": "restart",
    "NETWORK": "network",
    "RULES_OFF": "off",
}
MOST_TELLING: Final = {"sender": "3.4", "recipient": "3.2", "both": "3.4", "nobody": "3.2"}
WORDS: Final = {each.name: each.words for each in TRANSFER} | {"no breakdown": "no gateway breaks down"}
LEFT: Final = ' style="text-align: left; vertical-align: top"'

# ---------------------------------------------------------------------- the choice


def choose(**chosen: object) -> Scenario:
    """The Scenario that is meant by these parameters. Misuse, in a sentence that says what is allowed, if none is."""
    unknown = [name for name in chosen if name not in PARAMETERS]
    if unknown:
        raise Misuse(f"there is no parameter {', '.join(unknown)}; the parameters are {', '.join(PARAMETERS)}")
    texts = {PARAMETERS[name]: value for name, value in chosen.items() if value is not None and value != ""}
    values: dict[str, Any] = {name: str(value) for name, value in texts.items() if name not in ("act", "off")}
    crashed = values.get("crashed", Scenario.crashed)
    if crashed in MOST_TELLING:  # else the Scenario says what is allowed
        step = values.setdefault("step", MOST_TELLING[crashed])
        values["act"] = read_act(texts["act"]) if "act" in texts else find_worst_act(crashed, step)
    return Scenario(**values, off=_read_names(texts.get("off", ())))


def find_worst_act(crashed: str, step: str) -> int:
    """Of intent, action and outcome the action: it has happened, and the log does not say so yet."""
    return 2 if step in list_steps(crashed) and len(list_acts(crashed, step)) == 3 else 1


def read_act(value: object) -> int:
    is_number = isinstance(value, int | str) and re.fullmatch("0*[1-9][0-9]{0,8}", str(value))
    if not is_number:
        raise Misuse(f"ACT counts the durable acts within the step: a whole number from 1, not {str(value)[:40]!r}")
    return int(str(value))


def _read_names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(dict.fromkeys(value.replace(",", " ").split()))
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return tuple(dict.fromkeys(value))
    raise Misuse(f"RULES_OFF is names of rules with commas between them, not {value!r}")


def write_parameters(scenario: Scenario) -> dict[str, str | int]:
    """All parameters, as `choose` reads them."""
    values: dict[str, Any] = {name: getattr(scenario, field) for name, field in PARAMETERS.items()}
    return values | {"RULES_OFF": ", ".join(scenario.off)}


# ---------------------------------------------------------------------- the parts


def write_cells(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table of cells that are HTML already (evidence.write_table takes words)."""
    head = "".join(f"<th{LEFT}>{escape(each)}</th>" for each in heads)
    body = "\n".join("<tr>" + "".join(f"<td{LEFT}>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


@dataclass(frozen=True)
class Sentence:
    """Where there is nothing to be drawn."""

    words: str

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.words)}</p>"

    def __repr__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Place:
    """The durable acts of the gateway that crashes by itself, around its crash: a step before and a step after."""

    run: Run

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Step and words of each act, and the crash between them with no step."""
        chosen = self.run.scenario
        role = chosen.down[0].value
        steps = list_steps(role)
        place = steps.index(chosen.step)
        lines: list[tuple[str, str]] = []
        for step in steps[max(0, place - 1) : place + 2]:
            acts = [(step, words.removesuffix(f" ({step})")) for words in list_acts(role, step)]
            if step == chosen.step:
                acts.insert(chosen.act - (chosen.when == "before"), ("", self._describe_crash(role)))
            lines += acts
        return lines

    def _describe_crash(self, role: str) -> str:
        if not self.run.trace.of(Crashed):
            return f"no crash: with these rules the {role} never comes here"
        both = " and, right after it, the other one" if len(self.run.scenario.down) > 1 else ""
        return f"here the {role} crashes{both}"

    def _repr_html_(self) -> str:
        rows = [(step, escape(words) if step else f"<b>✗ {escape(words)}</b>") for step, words in self.lines]
        return write_cells(("step", f"what becomes durable at the {self.run.scenario.down[0]}"), rows)

    def __repr__(self) -> str:
        return "\n".join(f"  {step}  {words}" if step else f"  X    {words.upper()}" for step, words in self.lines)


@dataclass(frozen=True)
class Witnesses:
    """Both logs and both ledgers at a frame, entry beside entry; `after` is the same when the losses have come."""

    frame: Frame
    after: Frame
    losses: tuple[str, ...]

    @property
    def entries(self) -> list[list[tuple[str, bool]]]:
        """By number: what each log has there, and whether it is lost. An entry is its operation and its step."""
        length = max(map(len, self.frame.logs.values()), default=0)
        return [[self._read(name, number) for name in self.frame.logs] for number in range(length)]

    def _read(self, gateway: str, number: int) -> tuple[str, bool]:
        log = self.frame.logs[gateway]
        if number >= len(log):
            return "", False
        return log[number].split(maxsplit=1)[1], number >= len(self.after.logs[gateway])

    @property
    def words(self) -> str:
        lost = f"; then {', '.join(self.losses)}" if self.losses else ""
        return f"After event {self.frame.number}: {self.frame.event.strip()}{lost}."

    def _repr_html_(self) -> str:
        rows = [
            [str(number), *(f"<del>{escape(words)}</del> lost" if lost else escape(words) for words, lost in row)]
            for number, row in enumerate(self.entries, 1)
        ]
        logs = write_cells(("", *(f"the log of {name}" for name in self.frame.logs)), rows)
        books = [(escape(name), escape(line)) for name, line in self.frame.ledgers.items()]
        return f"<p>{escape(self.words)}</p>\n{logs}\n{write_cells(('ledger', 'says'), books)}"

    def __repr__(self) -> str:
        heads = "".join(f"{'log of ' + name:<40}" for name in self.frame.logs)
        lines = [self.words, "", f"    {heads}".rstrip()]
        for number, row in enumerate(self.entries, 1):
            cells = "".join(f"{words + ' (lost)' * lost:<40}" for words, lost in row)
            lines.append(f"{number:>2}  {cells}".rstrip())
        return "\n".join([*lines, "", *(f"{name}: {line}" for name, line in self.frame.ledgers.items())])


@dataclass(frozen=True)
class Rows:
    """The rows of TABLE 2 that decided, in order, each verdict once; a paragraph stands where its row is first read."""

    verdicts: tuple[Verdict, ...]

    def _repr_html_(self) -> str:
        rows = []
        for verdict, times, is_new in count_verdicts(self.verdicts):
            log, ledger, peer = map(escape, verdict.facts)
            says = f"<b>{escape(verdict.words)}</b>" + (f"<br>{times} times" if times > 1 else "")
            why = f"<br><small>{escape(verdict.row.why)}</small>" if is_new else ""
            facts = f"my log: {log}<br>my ledger: {ledger}<br>the peer: {peer}"
            title = f"<b>{verdict.row.letter}</b> {escape(verdict.row.title)}{why}"
            rows.append((verdict.gateway, facts, title, says))
        return write_cells(("at", "three facts", "the row of TABLE 2", "verdict"), rows)

    def __repr__(self) -> str:
        lines = []
        for verdict, times, is_new in count_verdicts(self.verdicts):
            log, ledger, peer = verdict.facts
            often = f" ({times} times)" if times > 1 else ""
            lines.append(f"{verdict.gateway}: row {verdict.row.letter}, {verdict.row.title} -> {verdict.words}{often}")
            lines.append(f"  my log: {log}; my ledger: {ledger}; the peer: {peer}")
            lines += [f"  {verdict.row.why}"] * is_new
        return "\n".join(lines)


@dataclass(frozen=True)
class End:
    """How it ended, for people and, as JSON, for whoever counts."""

    run: Run

    @property
    def heading(self) -> str:
        if self.run.has_recovered:
            return "Recovered" if self.run.trace.of(Crashed) else "Completed"
        return "Not recovered"

    @property
    def lines(self) -> list[str]:
        """The ending; what was switched off or on; what does not hold."""
        off = [f"Turned over: {describe(name)!r}" for name in self.run.scenario.off]
        return [self.run.ending, *off, *(f"Does not hold: {name}: {WORDS[name]}." for name in self.run.broken)]

    def _repr_html_(self) -> str:
        """A colour at the side that can be seen in both themes; the words say the same."""
        colour = "#2e9e5b" if self.run.has_recovered else "#d1443a"
        lines = "".join(f"<br>{escape(line)}" for line in self.lines)
        style = f"border-left: 8px solid {colour}; padding: 0.3em 0 0.3em 0.8em; margin: 0.5em 0"
        return f'<div style="{style}"><b>{self.heading}.</b>{lines}</div>'

    def _repr_json_(self) -> dict[str, object]:
        return {
            "words": self.run.scenario.words,
            "letters": [verdict.row.letter for verdict in self.run.verdicts],
            "verdicts": [verdict.row.verdict.value for verdict in self.run.verdicts],
            "owners": list(self.run.owners),
            "ending": self.run.ending,
            "broken": list(self.run.broken),
            "has_recovered": self.run.has_recovered,
            "replay": self.run.text,
        }

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        return {"text/plain": repr(self), "text/html": self._repr_html_(), "application/json": self._repr_json_()}

    def __repr__(self) -> str:
        return "\n  ".join([f"{self.heading}.", *self.lines])


# ---------------------------------------------------------------------- the report


class Report:
    """A scenario that was played, part by part."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.run = scenario.play()
        self.end = End(self.run)

    @property
    def figure(self) -> Figure:
        """The whole run."""
        return Figure(self.run.trace, self.scenario.words)

    @property
    def recovery(self) -> Figure | Sentence:
        """From the last message before the crash on, and below it who owns the asset."""
        if not self.run.trace.of(Crashed):
            return Sentence("Nobody crashed: there is no recovery to look at.")
        return Figure(self.run.trace.since_crash(), "The recovery", self.run.notes[-1:])

    @property
    def place(self) -> Place | Sentence:
        if self.scenario.down:
            return Place(self.run)
        acts = sum(len(list_acts(role, step)) for role in Role for step in list_steps(role))
        return Sentence(f"Nobody crashes: all {acts} durable acts are made, one after the other.")

    @cached_property
    def witnesses(self) -> Witnesses:
        """In the moment of the crash, or at the end where nobody crashed."""
        frames, events = self.run.frames, self.run.trace.events
        back = next((n for n, event in enumerate(events) if isinstance(event, Restarted)), len(events))
        crashes = [n for n, event in enumerate(events[:back]) if isinstance(event, Crashed)]
        losses = tuple(str(event) for event in events[:back] if isinstance(event, Forgotten))
        return Witnesses(frames[crashes[-1] if crashes else -1], frames[back - 1], losses)

    @property
    def rows(self) -> Rows | Sentence:
        return Rows(self.run.verdicts) if self.run.verdicts else Sentence("None: no session was left to compare.")
