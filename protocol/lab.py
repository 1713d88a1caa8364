"""CrashLab: choose a crash, and see what comes of it. RuleLab, from rule_lab.py, is the other panel of the lab.

    lab = CrashLab()                                     the panel; the last line of a cell shows it
    lab.choose(crashed="sender", step="3.4", lost="log")  the same as with its buttons
    lab.act = 3; lab.frame = 7                           one choice, or one frame of the run
    lab.scenario, lab.run, lab.status, lab.panel         what was chosen, what came of it, in words, the widgets

Nothing is decided here: a choice is a Scenario, what is shown is its Run (scenarios.py). Each control holds one field
of the Scenario. A gateway that does nothing durable in a step cannot crash there; but who chooses with a button is
never refused anything: what is no longer possible moves to the nearest that is, and the status line says so. Who names
a value in a program gets Misuse if it cannot be, with what can.

Frame n is the run after its first n events; the last one is the whole run. All that changes is drawn into HTML, and
only from a Run: the same choice always gives the same page. Where no kernel runs, the figure and its text are shown.

Classes of the page, for tests and styles, all inside `.crash-lab`:

    crash-lab-FIELD      the control of a field: crashed, step, when, act, lost, restart, network; off: the rules
    crash-lab-status     the line with role="status"       crash-lab-frame      the slider; -first -back -forward -last
    crash-lab-figure     the picture: svg[role=img]        crash-lab-verdict    TABLE 2: letter, facts, paragraph
    crash-lab-GW1, -GW2  ledger and log of a gateway       crash-lab-copy, crash-lab-copied   what can be copied
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import reduce
from html import escape
from threading import RLock
from typing import Any, Final

from protocol.diagrams import Figure
from protocol.errors import Misuse
from protocol.panels import (
    Choice,
    Copied,
    Pane,
    Panel,
    Status,
    Steps,
    Switches,
    draw_figure,
    draw_rules,
    draw_scroll,
    draw_words,
    list_rules,
    make_panel,
    set_beside,
    set_in_line,
)
from protocol.rule_lab import RuleLab
from protocol.rules import NAMES, SAFETY
from protocol.scenarios import CHOICES, STEPS, Frame, Run, Scenario, Verdict, count_verdicts, list_acts, list_steps
from protocol.steps import describe_step, find_row
from protocol.trace import Judged, compute_marks

__all__ = ["CrashLab", "RuleLab"]

FIELDS: Final = tuple(each.name for each in fields(Scenario))
LABELS: Final = {
    "crashed": "Who crashes",
    "step": "In step",
    "when": "When",
    "act": "Durable act",
    "lost": "Also lost",
    "restart": "Restart from",
    "network": "Network",
}
ROWS: Final = (("crashed", "when"), ("step",), ("act", "restart"), ("lost", "network"))
HEIGHT: Final = "max(26rem, 100vh - 38rem)"  # of the figure and of what stands beside it
LOG_HEIGHT: Final = "13em"


class Chosen:
    """A field of the scenario: read it, or set it to choose anew."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, lab: CrashLab | None, owner: type) -> Any:
        return self if lab is None else getattr(lab.scenario, self.name)

    def __set__(self, lab: CrashLab, value: object) -> None:
        lab.choose(**{self.name: value})


class CrashLab(Panel):
    """A crash by choice. Keywords and attributes are the fields of a Scenario; Misuse for what cannot be."""

    settable = (*FIELDS, "frame")
    crashed, step, when, act = Chosen(), Chosen(), Chosen(), Chosen()
    lost, restart, network, off = Chosen(), Chosen(), Chosen(), Chosen()

    def __init__(self, **chosen: Any) -> None:
        self._lock = RLock()  # JupyterLab may answer a button on another thread than that of the cells
        self._scenario, self._moves = fit(Scenario(), chosen)
        self._choices = {name: Choice(label, f"crash-lab-{name}", self._follow(name)) for name, label in LABELS.items()}
        self._rules = Switches("rules", "crash-lab-off", list_rules(NAMES), self._follow_rules)
        self._frames = Steps("Frame", "crash-lab", self._follow_frames)
        self._status = Status("crash-lab-status")
        self._figure = Pane("crash-lab-figure", label="Sequence diagram", height=HEIGHT, is_at_end=True)
        self._verdict = Pane("crash-lab-verdict", label="What TABLE 2 says", height=HEIGHT)
        self._copied = Copied("Copy", "crash-lab")
        self._run = self._scenario.play()
        self._sides = {name: Pane(f"crash-lab-{name}") for name in self._run.trace.gateways}
        self._panel = make_panel(
            "crash-lab",
            *(set_in_line(*(self._choices[name].widget for name in row)) for row in ROWS),
            self._rules.widget,
            self._status.widget,
            self._frames.row,
            set_beside((self._figure.widget, "44em"), (self._verdict.widget, "18em")),
            set_beside(*((pane.widget, "20em") for pane in self._sides.values())),
            self._copied.widget,
        )
        self._play()

    # ------------------------------------------------------------------ choosing

    def choose(self, **chosen: Any) -> CrashLab:
        """Several fields at once. What is not named stays, or moves to the nearest that is possible beside them."""
        with self._lock:
            self._scenario, self._moves = fit(self._scenario, chosen)
            self._play()
        return self

    def _follow(self, name: str) -> Callable[[], None]:
        """What a control does when a person has changed it."""

        def follow() -> None:
            with self._lock:
                value, moves = self._choices[name].value, []
                chosen = {name: value}
                if name == "step" and value not in list_steps(self.crashed):
                    chosen["crashed"] = find_row(value).actor.value
                    moves = [f"Step {value} is the {chosen['crashed']}'s own: moved to the {chosen['crashed']}."]
                self._scenario, others = fit(self._scenario, chosen)
                self._moves = [*moves, *others]
                self._play()

        return follow

    def _follow_rules(self) -> None:
        with self._lock:
            on = self._rules.value
            self.choose(off=tuple(name for name in NAMES if (name in on) != (name in SAFETY)))

    def _follow_frames(self) -> None:
        with self._lock:
            self._redraw()

    @property
    def frame(self) -> int:
        return self._frames.value

    @frame.setter
    def frame(self, number: int) -> None:
        with self._lock:
            last = len(self._run.frames)
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= last:
                raise Misuse(f"frame is a whole number from 1 to {last}, the events of this run; not {number!r}")
            self._frames.show(number, last)
            self._redraw()

    # ------------------------------------------------------------------ what came of it

    @property
    def scenario(self) -> Scenario:
        return self._scenario

    @property
    def run(self) -> Run:
        return self._run

    @property
    def panel(self) -> Any:
        """The tree of widgets."""
        return self._panel

    @property
    def status(self) -> str:
        """The words of the status line."""
        return self._status.words

    @property
    def shown(self) -> Frame:
        """The frame that is shown."""
        return self._run.frames[self.frame - 1]

    @property
    def figure(self) -> Figure:
        """The picture in the panel. What TABLE 2 said stands beside it there, not below it."""
        return self.shown.figure

    @property
    def verdicts(self) -> list[Verdict]:
        """What TABLE 2 has said up to the frame that is shown."""
        asked = [event for event in self._run.trace.events[: self.frame] if isinstance(event, Judged)]
        return list(self._run.verdicts[: len(asked)])

    @property
    def is_at_end(self) -> bool:
        return self.frame == len(self._run.frames)

    def list_drawn(self) -> list[Any]:
        """The widgets that are drawn into."""
        panes: list[Pane | Status] = [self._status, self._figure, self._verdict, *self._sides.values()]
        return [each.widget for each in panes]

    @property
    def svg(self) -> str:
        return self._static.svg

    @property
    def text(self) -> str:
        return "\n".join([*self._describe(), "", self._static.ascii])

    @property
    def _static(self) -> Figure:
        """The picture for a page without a kernel: with the verdicts below it."""
        return self._run.figure if self.is_at_end else self.figure

    # ------------------------------------------------------------------ drawing

    def _play(self) -> None:
        self._run = self._scenario.play()
        for name, choice in self._choices.items():
            options, hints = list_options(self._scenario, name)
            is_open = self.crashed != "nobody" or name in ("crashed", "network")
            choice.show(options, getattr(self._scenario, name), hints, is_open=is_open)
        self._rules.show([name for name in NAMES if (name in SAFETY) != (name in self.off)])
        self._frames.show(len(self._run.frames), len(self._run.frames))
        self._redraw()

    def _redraw(self) -> None:
        frame, before = self.shown, self._run.frames[max(self.frame - 2, 0)]
        self._figure.show(draw_figure(self.figure))
        self._verdict.show("\n".join(['<div class="lab-page">', *self._draw_verdicts(), "</div>"]))
        marks = reduce(compute_marks, self._run.trace.events[: self.frame], self._run.trace.marks)
        for (gateway, pane), network in zip(self._sides.items(), frame.ledgers, strict=True):
            pane.show("\n".join(draw_side(gateway, network, frame, before, is_down=(gateway, "down") in marks)))
        whole = self._run.figure
        texts = {"replay string": self._run.text, "Mermaid text": whole.mermaid, "ASCII figure": whole.ascii}
        self._copied.show(texts)
        place = f"Frame {self.frame} of {len(self._run.frames)}: {self.shown.event}."
        self._status.say(" ".join([*self._moves, *self._describe(), place]))

    def _describe(self) -> Iterator[str]:
        """What was chosen and what came of it."""
        yield self._scenario.words
        yield self._run.ending
        if self._run.broken:
            yield f"Broken: {', '.join(self._run.broken)}."

    def _draw_verdicts(self) -> Iterator[str]:
        """What TABLE 2 has said up to here, each once; how it ends; and what was switched off."""
        counted = count_verdicts(self.verdicts)
        if not counted:
            yield draw_words("TABLE 2 has not been asked." if self.is_at_end else "TABLE 2 has not been asked yet.")
        for verdict, times, is_new in counted:
            yield from draw_verdict(verdict, times, is_new=is_new)
        if self.is_at_end:
            yield draw_words("How it ends", "head")
            yield draw_words(self._run.ending)
            if self._run.broken:
                yield draw_words(f"Broken: {', '.join(self._run.broken)}.", "bad")
        yield from draw_rules(self.off)


# ---------------------------------------------------------------------- what can be chosen


def fit(scenario: Scenario, chosen: dict[str, Any]) -> tuple[Scenario, list[str]]:
    """The scenario with these fields, and sentences on those others that had to move. Misuse for what cannot be."""
    unknown = [name for name in chosen if name not in FIELDS]
    if unknown:
        raise Misuse(f"there is no {', '.join(unknown)} to be chosen; there are {', '.join(FIELDS)}")
    wanted = {name: getattr(scenario, name) for name in FIELDS} | chosen
    moves = []
    if wanted["crashed"] in CHOICES["crashed"] and wanted["crashed"] != "nobody":
        steps = list_steps(wanted["crashed"])
        if "step" not in chosen and wanted["step"] not in steps:
            old, wanted["step"] = wanted["step"], find_nearest(wanted["step"], steps)
            moves.append(f"The {wanted['crashed']} does nothing durable in step {old}: moved to {wanted['step']}.")
        acts = len(list_acts(wanted["crashed"], wanted["step"])) if wanted["step"] in steps else 0
        if acts and "act" not in chosen and wanted["act"] not in range(1, acts + 1):
            moves.append(f"There is no act {wanted['act']} in step {wanted['step']}: moved to act {acts}.")
            wanted["act"] = acts
    return Scenario(**wanted), moves


def find_nearest(step: str, steps: tuple[str, ...]) -> str:
    """The one of `steps` that is nearest along TABLE 1; the earlier one of two."""
    return min(steps, key=lambda each: abs(STEPS.index(each) - STEPS.index(step)))


def list_options(scenario: Scenario, name: str) -> tuple[list[tuple[str, Any]], list[str]]:
    """What a control offers, each a label and a value, and a sentence for each."""
    if name == "step":  # always all: a button that moves away under the hand is another step
        rows = [find_row(step) for step in STEPS]
        hints = [f"{row.number} {describe_step(row.number)}, {row.kind} of the {row.actor}" for row in rows]
        return [(step, step) for step in STEPS], hints
    if name == "act":
        acts = list_acts(scenario.crashed, scenario.step)
        if not acts:
            return [("none, since nobody crashes", scenario.act)], []
        words = [each.partition(" (")[0] for each in acts]
        return [(f"{number}: {each}", number) for number, each in enumerate(words, 1)], list(acts)
    return [(each, each) for each in CHOICES[name]], []


# ---------------------------------------------------------------------- drawn


def draw_verdict(verdict: Verdict, times: int, *, is_new: bool) -> Iterator[str]:
    """A row of TABLE 2: letter, facts, and its paragraph where the row is new."""
    log, ledger, peer = verdict.facts
    often = f" ({times} times)" if times > 1 else ""
    row = verdict.row
    yield draw_words(f"{verdict.gateway}, row {row.letter}: {row.title} -> {verdict.words}{often}", "head")
    yield draw_words(f"My log: {log}; my ledger: {ledger}; the peer: {peer}.", "soft")
    if is_new:
        yield draw_words(row.why)


def draw_side(gateway: str, network: str, frame: Frame, before: Frame, *, is_down: bool) -> Iterator[str]:
    """What survives a crash of a gateway: its ledger and its log. What the last event has changed is bold."""
    yield draw_words(f"{gateway} is down; its network and its log stay" if is_down else gateway, "head")
    books = frame.ledgers[network], before.ledgers[network]
    yield f'<p class="lab-words lab-two-rows">{escape(network)}: {draw_new(*books)}</p>'
    log, known = frame.logs[gateway], set(before.logs[gateway])
    lines = [escape(line) if line in known else f"<b>{escape(line)}</b>" for line in log]
    yield draw_scroll("\n".join(lines) or "the log is empty", f"Log of {gateway}", LOG_HEIGHT)


def draw_new(words: str, before: str) -> str:
    return escape(words) if words == before else f"<b>{escape(words)}</b>"
