"""RuleLab: switch rules off, choose bounds, search; and step through the shortest story of what breaks.

    lab = RuleLab("prepared_recipient_waits")              within the smallest bounds that show what the rule is for
    lab = RuleLab("sender_reissues", crashes=1, losses=1)  within these; what is not named does not happen
    lab.search()                                           to its end, here and now
    lab.start(); lab.cancel()                              what the buttons do: beside whatever else happens
    lab.exploration, lab.found, lab.status                 what came of it, whose run is shown, the words
    lab.action = 8                                         one step of that run

Nothing is decided here: what is searched is a Task, what comes of it an Exploration (explorations.py), what is drawn
its shortest run, played in a World (replays.py). Action n is that run after its first n words.

`start` searches in slices, between which the event loop does all else: so buttons and other cells are answered. A
button may be answered on a thread of its own (JupyterLab asks the kernel for one), so a slice and a change of what is
searched exclude each other. A search that is cancelled tells what it has covered until then. How fast it goes is shown
while it runs and kept nowhere: the same choice, searched to its end, always gives the same page.

Classes of the page, inside `.rule-lab`: rule-lab-BOUND the control of a bound, rule-lab-rules the switches,
rule-lab-search, -cancel, -suggest the buttons, rule-lab-status and rule-lab-progress the lines, rule-lab-verdicts,
rule-lab-run whose run is shown, rule-lab-frame its slider, rule-lab-figure, rule-lab-copy and rule-lab-copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from threading import RLock
from typing import Any, Final

from protocol.bounds import WORDS, Bounds
from protocol.campaigns import choose_task
from protocol.diagrams import Figure, Note
from protocol.errors import Misuse
from protocol.evidence import write_table
from protocol.explorations import Exploration, Found, Task, begin_search, tell_search
from protocol.explorer import Explorer
from protocol.outcomes import Outcomes
from protocol.panels import (
    Choice,
    Copied,
    Pane,
    Panel,
    Status,
    Steps,
    Switches,
    add_classes,
    draw_figure,
    draw_rules,
    draw_words,
    list_rules,
    make_panel,
    set_beside,
    set_in_line,
    widgets,
)
from protocol.properties import TRANSFER, Kind
from protocol.replays import Replay
from protocol.rules import NAMES, SAFETY, vary

__all__ = ["RuleLab"]

CHOICES: Final[Mapping[str, tuple[int, ...]]] = {
    "crashes": (0, 1, 2),
    "losses": (0, 1, 2),
    "duplicates": (0, 1, 2),
    "aborts": (0, 1, 2),
    "waits": (0, 1, 2),
    "early": (0, 1),
    "lands": (0, 1),
    "cuts": (0, 1),
    "logs": (0, 1),
    "tails": (0, 1),
    "keys": (0, 1),
}
HINTS: Final = {each: f"at most so many in one behaviour: {WORDS[each][1]}" for each in CHOICES}
OF_ONE_THAT_IS_DOWN: Final = ("lands", "logs", "tails", "keys")
NEEDS_A_BACKUP: Final = "fence_the_replaced_primary"
RULES: Final = tuple(name for name in NAMES if name != NEEDS_A_BACKUP)
MOST_STATES: Final = 150_000  # a panel is no place for more: the command line has a bar, and all of the memory
SLICE_S, PAUSE_S, SHOWN_S = 0.04, 0.005, 0.25  # a slice, the least between two, and between two lines of progress
HEIGHT: Final = "clamp(20rem, 54vh, 46rem)"
EMPTY: Final = "Nothing has been searched yet."
NOTHING: Final = "\N{NO-BREAK SPACE}"  # a line that keeps its place


class RuleLab(Panel):
    """A search by choice. Names as of `explore`; Misuse, with what can be chosen, for any other."""

    settable = ("action",)

    def __init__(self, *flipped: str, **bounds: int) -> None:
        self._lock = RLock()
        self._outcomes = Outcomes()
        self._explorer: Explorer | None = None
        self._shown_at = 0.0
        self._exploration: Exploration | None = None
        self._story: Story | None = None
        self._task = make_lab_task(flipped, bounds)
        self._choices = {name: Choice(WORDS[name][1], f"rule-lab-{name}", self._follow(name)) for name in CHOICES}
        self._rules = Switches("rules", "rule-lab-rules", list_rules(RULES), self._follow_rules)
        self._search = self._make_button("Search", "all behaviours within these bounds", self.start)
        self._cancel = self._make_button("Cancel", "end the search, and show what it has covered", self.cancel)
        self._suggest = self._make_button(
            "Suggest bounds", "the smallest bounds that are known to show it", self._follow_suggest
        )
        self._status, self._progress = Status("rule-lab-status"), Pane("rule-lab-progress")
        self._verdicts = Pane("rule-lab-verdicts", label="What came of each property", height=HEIGHT)
        self._runs = Choice("Run that shows", "rule-lab-run", self._choose_run)
        self._steps, self._words = Steps("Action", "rule-lab", self._follow_steps), Pane("rule-lab-words")
        self._figure = Pane("rule-lab-figure", label="Sequence diagram", height=HEIGHT, is_at_end=True)
        self._copied = Copied("Copy", "rule-lab")
        self._panel = make_panel(
            "rule-lab",
            self._rules.widget,
            set_in_line(*(each.widget for each in self._choices.values())),
            set_in_line(self._search, self._cancel, self._suggest),
            self._status.widget,
            self._progress.widget,
            self._runs.widget,
            self._steps.row,
            self._words.widget,
            set_beside((self._figure.widget, "44em"), (self._verdicts.widget, "22em")),
            self._copied.widget,
        )
        self._put(self._task)

    def _make_button(self, word: str, hint: str, act: Callable[[], object]) -> Any:
        button = widgets.Button(description=word, tooltip=hint, layout={"width": "auto"})
        button.on_click(lambda _: act())
        return add_classes(button, f"rule-lab-{word.split()[0].lower()}")

    # ------------------------------------------------------------------ what is chosen

    @property
    def flipped(self) -> tuple[str, ...]:
        """The rules that are off, and the behaviours of the drafts that are on."""
        return self._task.flipped

    @property
    def bounds(self) -> Bounds:
        bounds: Bounds = self._task.bounds
        return bounds

    def choose(self, *flipped: str, **bounds: int) -> RuleLab:
        """As if it was made with these. What was searched before is shown no longer."""
        self._put(make_lab_task(flipped, bounds))
        return self

    def _follow(self, name: str) -> Callable[[], None]:
        """What a control does when a person has changed it."""

        def follow() -> None:
            with self._lock:
                self._put(*fit(self._task, name, self._choices[name].value))

        return follow

    def _follow_rules(self) -> None:
        with self._lock:
            on = self._rules.value
            flipped = tuple(name for name in RULES if (name in on) is not (name in SAFETY))
            self._put(self._task._replace(flipped=flipped))

    def _follow_suggest(self) -> None:
        with self._lock:
            self.choose(*self.flipped)

    def _follow_steps(self) -> None:
        with self._lock:
            self._redraw()

    def _put(self, task: Task, moved: str = "") -> None:
        """Show this choice, with nothing searched."""
        with self._lock:
            self._task, self._explorer, self._exploration, self._story = task, None, None, None
            self._rules.show([name for name in RULES if (name in SAFETY) is not (name in task.flipped)])
            for name, choice in self._choices.items():
                numbers = CHOICES[name]
                choice.show(
                    [(str(each), each) for each in numbers], getattr(task.bounds, name), [HINTS[name]] * len(numbers)
                )
            self._tell(f"{moved}{self.title} Not searched yet: press Search.")
            self._show_found()

    @property
    def title(self) -> str:
        """What is chosen, in words."""
        words = f"{vary(*self.flipped)!r}: {self.bounds}."
        return words[0].upper() + words[1:]

    # ------------------------------------------------------------------ the search

    @property
    def is_running(self) -> bool:
        return self._explorer is not None

    def search(self) -> RuleLab:
        """Search to the end, here and now. The kernel's interrupt ends it as `cancel` does."""
        explorer = self._begin()
        with suppress(KeyboardInterrupt):
            while self._go_on(explorer):
                pass
        self.cancel()
        return self

    def start(self) -> None:
        """Search beside whatever else happens. Misuse where nothing else can: there `search` is the way."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise Misuse("there is no event loop here, so nothing can go on beside; search() does it at once") from None
        explorer = self._begin()

        def go_on() -> None:
            if self._go_on(explorer):
                loop.call_later(PAUSE_S, go_on)

        loop.call_soon(go_on)

    def cancel(self) -> None:
        """End the search, and tell what it has covered. Without a search there is nothing to end."""
        with self._lock:
            if self.is_running:
                self._finish()

    def _begin(self) -> Explorer:
        with self._lock:
            self._put(self._task)
            explorer = begin_search(self._task._replace(most_states=MOST_STATES), self._outcomes)
            explorer.go_on(1)
            self._explorer, self._shown_at = explorer, explorer.seconds
            self._tell(f"{self.title} Searching.")
            return explorer

    def _go_on(self, explorer: Explorer) -> bool:
        """One slice. False at the end; also if this search was ended, or another begun, since the last slice."""
        with self._lock:
            if explorer is not self._explorer:
                return False
            end, is_open = explorer.seconds + SLICE_S, True
            try:
                while is_open and explorer.seconds <= end:
                    is_open = explorer.go_on(8)
            except BaseException:
                self._finish()
                raise
            if is_open:
                self._show_progress(explorer)
            else:
                self._finish()
            return is_open

    def _show_progress(self, explorer: Explorer) -> None:
        if explorer.seconds - self._shown_at > SHOWN_S:
            self._shown_at, found = explorer.seconds, explorer.progress
            rate = found.states / found.seconds if found.seconds else 0
            words = f"{found.states:,} states so far, {found.waiting:,} of them to go on from"
            self._progress.show(draw_words(f"{words}, {found.depth} actions deep, {rate:,.0f} states a second"))

    def _finish(self) -> None:
        """What has come of the search, to its end or not."""
        assert self._explorer is not None
        explorer, self._explorer = self._explorer, None
        self._exploration = tell_search(self._task, explorer)
        self._tell(f"{self.title} {tell_verdict(self._exploration)}")
        self._show_found()

    def _tell(self, words: str) -> None:
        """The words of the status line, and which buttons can be pressed."""
        self._status.say(words)
        self._search.disabled, self._cancel.disabled = self.is_running, not self.is_running
        self._progress.show(draw_words(NOTHING))

    # ------------------------------------------------------------------ what came of it

    @property
    def status(self) -> str:
        """The words of the status line."""
        return self._status.words

    @property
    def panel(self) -> Any:
        return self._panel

    @property
    def exploration(self) -> Exploration | None:
        """What came of the search; None before one has ended."""
        return self._exploration

    @property
    def story(self) -> Story | None:
        """The run that is shown."""
        return self._story

    @property
    def found(self) -> Found | None:
        """The verdict whose run is shown; at first the shortest counterexample, if there is one."""
        name = self._runs.value
        return self.exploration[name] if self.exploration and name else None

    @property
    def action(self) -> int:
        """How many actions of the run are shown."""
        return self._steps.value

    @action.setter
    def action(self, number: int) -> None:
        with self._lock:
            last = len(self.story.actions) if self.story else 0
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= last:
                upto = f"a whole number from 1 to {last}, the length of the run"
                raise Misuse(f"action is {upto if last else 'to be chosen after a search'}; not {number!r}")
            self._steps.show(number, last)
            self._redraw()

    def show_run(self, name: str) -> RuleLab:
        """Draw the run that breaks a property, or shows an ending. Misuse if there is none."""
        known = [value for _, value in self._runs.widget.options if value]
        if name not in known:
            raise Misuse(f"there is no run that shows {name!r}; there are {', '.join(known) or 'none yet'}")
        self._runs.widget.value = name
        return self

    def _show_found(self) -> None:
        """Verdicts, and the runs to choose from: what is broken first, the shortest before the longer."""
        shown = [each for each in self.exploration.verdicts if each.text] if self.exploration else []
        shown.sort(key=lambda each: (each.holds, each.length))
        options = [(f"{each.name}: {each.verdict}", each.name) for each in shown] or [("none yet", "")]
        self._runs.show(options, options[0][1], is_open=bool(shown))
        self._verdicts.show(f'<div class="lab-page">{"".join(draw_verdicts(self.exploration, self.flipped))}</div>')
        self._choose_run()

    def _choose_run(self) -> None:
        with self._lock:
            self._story = Story(self.found.text) if self.found else None
            last = len(self._story.actions) if self._story else 1
            self._steps.show(last, last)
            self._redraw()

    def _redraw(self) -> None:
        """The run up to the action that is shown."""
        if self.story is None:
            self._figure.show(f'<div class="lab-page">{draw_words(EMPTY)}</div>')
            self._words.show(draw_words(NOTHING))
            self._copied.show({"nothing yet": ""})
            return
        figure = self.figure
        self._figure.show(draw_figure(figure))
        self._words.show(draw_words(self.story.tell(self.action)))
        texts = {"replay text": self.story.write(self.action), "Mermaid": figure.mermaid, "ASCII": figure.ascii}
        self._copied.show(texts | {"Python": write_call(self._task)})

    @property
    def figure(self) -> Figure:
        """The picture of the run, up to the action that is shown."""
        if self.story is None:
            raise Misuse("there is no picture before a search")
        return self.story.draw(self.action)

    @property
    def svg(self) -> str:
        return self.figure.svg if self.story else ""

    @property
    def text(self) -> str:
        if self.exploration is None:
            return self.status
        return f"{self.exploration!r}\n\n{self.figure.ascii}" if self.story else repr(self.exploration)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Before a search there is no picture."""
        return {kind: value for kind, value in super()._repr_mimebundle_(include, exclude).items() if value}


class Story:
    """A run played action by action: how far its trace goes after each of them, and what is broken there."""

    def __init__(self, text: str) -> None:
        before, _, actions = text.rpartition(";")
        self.conditions, self.actions = f"{before}; " if before else "", actions.split()
        self.replay = Replay(self.conditions)
        self._ends: list[int] = []
        self._notes: list[Note] = []
        self._broken: list[list[str]] = []
        for action in self.actions:
            self.replay.play(action)
            self._ends.append(len(self.replay.trace.events))
            self._notes.append(self.replay.end)
            broken = self.replay.list_broken(TRANSFER)
            self._broken.append([each.name for each in broken if each.kind is Kind.ALWAYS])

    def write(self, number: int) -> str:
        """The first so many actions as a text that can be played."""
        return self.conditions + " ".join(self.actions[:number])

    def tell(self, number: int) -> str:
        broken = self._broken[number - 1]
        wrong = f" Broken: {', '.join(broken)}." if broken else ""
        return f"Action {number} of {len(self.actions)}: {self.actions[number - 1]}.{wrong}"

    def draw(self, number: int) -> Figure:
        trace = self.replay.trace.until(self._ends[number - 1])
        return Figure(trace, self.tell(number), [self._notes[number - 1]])


# ---------------------------------------------------------------------- what can be chosen


def make_lab_task(flipped: tuple[str, ...], bounds: Mapping[str, int]) -> Task:
    """What is to be searched. Misuse, with what there is, for what cannot be chosen."""
    vary(*flipped)
    if NEEDS_A_BACKUP in flipped:
        raise Misuse(f"{NEEDS_A_BACKUP} needs a gateway with a backup, which is another search: pair_plans.py")
    for name, value in bounds.items():
        if name not in CHOICES:
            raise Misuse(f"there is no bound {name} here; there are {', '.join(CHOICES)}")
        if isinstance(value, bool) or value not in CHOICES[name]:
            raise Misuse(f"{name} is one of {', '.join(map(str, CHOICES[name]))}, not {value!r}")
    ordered = tuple(name for name in RULES if name in flipped)
    if not bounds:
        return choose_task(ordered)
    counts: dict[str, Any] = {"crashes": 0, **bounds}
    return Task(ordered, Bounds(**counts))


def fit(task: Task, name: str, value: int) -> tuple[Task, str]:
    """The task with this bound, and a sentence on those that had to move with it."""
    wanted = {each.name: getattr(task.bounds, each.name) for each in fields(Bounds)} | {name: value}
    moved = ""
    if name == "crashes" and not value:
        dropped = [each for each in OF_ONE_THAT_IS_DOWN if wanted[each]]
        wanted |= dict.fromkeys(dropped, 0)
        if dropped:
            moved = f"Without a crash nobody is down: {', '.join(WORDS[each][1] for each in dropped)} moved to 0. "
    elif name in OF_ONE_THAT_IS_DOWN and value and not wanted["crashes"]:
        wanted["crashes"] = 1
        moved = f"{WORDS[name][0].capitalize()}: this happens to a gateway that is down, so crashes moved to 1. "
    return task._replace(bounds=Bounds(**wanted)), moved


def write_call(task: Task) -> str:
    """The same search as a line of Python."""
    bounds = {each.name: getattr(task.bounds, each.name) for each in fields(Bounds) if each.name in CHOICES}
    chosen = [f"{each}={value}" for each, value in bounds.items() if value or each == "crashes"]
    return f"explore({', '.join([*map(repr, task.flipped), *chosen])})".replace("'", '"')


# ---------------------------------------------------------------------- told


def tell_verdict(found: Exploration) -> str:
    """One sentence or two: what breaks, and how much was covered."""
    worst = found.counterexample
    what = f"{worst.name}: {worst.verdict} actions." if worst else f"Nothing breaks{found.so_far}."
    return f"{what[0].upper()}{what[1:]} {found.states:,} states; {found.coverage}."


def draw_verdicts(found: Exploration | None, flipped: tuple[str, ...]) -> Iterator[str]:
    """What came of each property, what each asks, and what was turned over."""
    if found is None:
        yield draw_words(EMPTY)
    else:
        yield write_table(
            ("property", "within these bounds"), [(each.name, found.tell(each)) for each in found.verdicts]
        )
        yield "".join(draw_words(note) for note in found.notes)
        yield draw_words("What is asked", "head")
        yield "".join(draw_words(f"{each.name}: {each.words}.") for each in found.verdicts)
    yield from draw_rules(flipped)
