"""One exploration and what came of it: counts, a verdict for each property, the shortest counterexample as a picture.

    explore()                                       every rule, two crashes
    explore("prepared_recipient_waits", aborts=1)   without this rule, or with this behaviour of the drafts
    explore(bounds=Bounds(crashes=1, losses=2))     the bounds as an object

An Exploration holds no state of the search, only what is told of it, so it can be kept, compared and sent to another
process. What was measured (seconds, memory) is beside the result and no part of it: two runs give the same. Interrupted
by Ctrl-C a search returns what it has covered until then; whatever holds, holds for that.

A Search says what is explored. Its functions stand in modules, so that it can be sent to another process too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from itertools import count
from typing import Any, Final, NamedTuple

from protocol.bounds import Bounds, choose_properties, list_left_out, make_bounds, make_plan
from protocol.errors import Misuse
from protocol.evidence import write_columns, write_table
from protocol.explorer import Explorer, Progress
from protocol.outcomes import Outcomes
from protocol.plans import Plan
from protocol.properties import Kind, Property
from protocol.replays import Replay, replay, write_actions
from protocol.rules import vary


class Search(NamedTuple):
    """What is explored, and how a run of it is written and played: functions of a module, no others."""

    make_plan: Callable[[tuple[str, ...], Any], Plan]
    choose_properties: Callable[[Any], tuple[Property, ...]]
    list_left_out: Callable[[Any], tuple[str, ...]]
    write: Callable[[Explorer, int], str] = write_actions
    replay: Callable[[str], Replay] = replay


TRANSFERS: Final = Search(make_plan, choose_properties, list_left_out)


class Task(NamedTuple):
    """One exploration that somebody is to run. `flipped` are names of rules.py."""

    flipped: tuple[str, ...] = ()
    bounds: Any = Bounds()  # those of the search
    search: Search = TRANSFERS
    most_states: int | None = None


@dataclass(frozen=True)
class Found:
    """What came of one property. `length` and `text` are those of the shortest run that breaks it, or shows it."""

    name: str
    kind: Kind
    words: str
    holds: bool
    length: int | None = None
    text: str = ""

    @property
    def verdict(self) -> str:
        if self.kind is Kind.SOMETIMES:
            return f"after {self.length}" if self.holds else "never"
        return "holds" if self.holds else f"broken after {self.length}"


@dataclass(frozen=True)
class Exploration:
    """What one search has covered, and what it found there."""

    task: Task
    states: int
    local_states: tuple[int, int]
    steps: int  # computed with the real code
    transitions: int
    messages: int
    depths: tuple[int, ...]  # how many states are reached first after 0, 1, 2 ... actions
    waiting: int  # states that were reached and not gone on from
    truncated: int  # attempts beyond what the plan counts
    verdicts: tuple[Found, ...]
    seconds: float = field(compare=False, repr=False, default=0.0)
    bytes_per_state: float = field(compare=False, repr=False, default=0.0)

    @property
    def bounds(self) -> Any:
        return self.task.bounds

    @property
    def title(self) -> str:
        rules = repr(vary(*self.task.flipped))
        return f"{rules[0].upper()}{rules[1:]}: {self.bounds}"

    @property
    def is_whole(self) -> bool:
        return not self.waiting and not self.truncated

    @property
    def depth(self) -> int:
        return len(self.depths) - 1

    @property
    def states_per_second(self) -> float:
        return self.states / self.seconds if self.seconds else 0.0

    @property
    def left_out(self) -> tuple[str, ...]:
        """The endings that cannot occur within the bounds."""
        return self.task.search.list_left_out(self.bounds)

    @property
    def broken(self) -> tuple[Found, ...]:
        """What does not hold; of a search to the end also what never happens, though it should."""
        return tuple(each for each in self.verdicts if not each.holds and (each.length is not None or self.is_whole))

    @property
    def counterexample(self) -> Found | None:
        """The broken property with the shortest run."""
        return min(
            (each for each in self.broken if each.length is not None), key=lambda each: each.length or 0, default=None
        )

    @property
    def shortest(self) -> Replay | None:
        """The shortest counterexample, played; None if there is none."""
        found = self.counterexample
        return self.task.search.replay(found.text) if found else None

    def __getitem__(self, name: str) -> Found:
        """The verdict on a property."""
        for each in self.verdicts:
            if each.name == name:
                return each
        raise Misuse(f"{name!r} was not asked; there are {', '.join(each.name for each in self.verdicts)}")

    def replay(self, name: str) -> Replay:
        """The run that breaks a property, or shows that it happens, played. Misuse if there is none."""
        found = self[name]
        if found.length is None:
            raise Misuse(f"{name!r}: there is no run to play, it {'holds' if found.holds else 'never happens'}")
        return self.task.search.replay(found.text)

    # ------------------------------------------------------------------ looking at it

    @property
    def coverage(self) -> str:
        if self.waiting:
            return (
                f"stopped after {self.depth} actions: {self.states - self.waiting:,} of {self.states:,} known states "
                f"were gone on from"
            )
        ends = "searched to the end"
        return (
            f"{ends}, but for {self.truncated:,} attempts beyond the most that are counted" if self.truncated else ends
        )

    @property
    def notes(self) -> list[str]:
        """The counts, in words."""
        one, other = self.local_states
        lines = [
            f"{self.states:,} states, at most {self.depth} actions deep, {self.transitions:,} transitions; "
            f"{self.coverage}",
            f"{one:,} and {other:,} states of the two sides, {self.messages:,} messages, {self.steps:,} steps computed",
        ]
        return lines + ([f"not asked within these bounds: {', '.join(self.left_out)}"] if self.left_out else [])

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        return [(each.name, self.tell(each), "" if each.holds else each.text) for each in self.verdicts]

    def tell(self, found: Found) -> str:
        """A verdict; what no run has shown is said of what was covered."""
        return found.verdict if found.length is not None else f"{found.verdict}{self.so_far}"

    @property
    def so_far(self) -> str:
        """What is to be added where nothing was found, and the search was stopped."""
        return " so far" if self.waiting else ""

    @property
    def cost(self) -> str:
        """What it took here; another machine, or another day, takes something else."""
        return (
            f"{self.seconds:.1f} s, {self.states_per_second:,.0f} states/s, {self.bytes_per_state:.0f} bytes for each "
            f"state besides the states of the two sides"
        )

    def _repr_svg_(self) -> str | None:
        """The shortest counterexample, where something is broken. Its table is then what is printed."""
        shortest = self.shortest
        return shortest._repr_svg_() if shortest else None

    def _repr_html_(self) -> str | None:
        """The table, where nothing is broken."""
        return None if self.counterexample else self.html

    @property
    def html(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>\n" for note in (self.title, *self.notes))
        return f"{notes}{write_table(('property', 'within these bounds', 'shortest run'), self.rows)}"

    def __repr__(self) -> str:
        return write_columns([(self.title,), *((note,) for note in self.notes), ("",), *self.rows])


# ---------------------------------------------------------------------- one search


def explore(
    *flipped: str,
    bounds: Bounds | None = None,
    progress: bool | None = None,
    outcomes: Outcomes | None = None,
    **by_name: int | str | None,
) -> Exploration:
    """Search all behaviours within the bounds, under the rules with each of `flipped` turned over.

    `progress` shows a bar on stderr; None means: where somebody looks at a terminal. `outcomes` are those of searches
    before. Misuse, with the names that there are, for a wrong name, and for bounds that cannot be.
    """
    vary(*flipped)
    task = Task(flipped, make_bounds(bounds, **by_name))
    with show_states(progress) as report:
        return run_search(task, report, outcomes)


def run_search(
    task: Task, report: Callable[[Progress], None] = lambda progress: None, outcomes: Outcomes | None = None
) -> Exploration:
    """What any process can do with a task."""
    return tell_search(task, begin_search(task, outcomes).run(report))


def begin_search(task: Task, outcomes: Outcomes | None = None) -> Explorer:
    """The search of a task, to be run, or to be gone on with part by part."""
    plan = task.search.make_plan(task.flipped, task.bounds)
    shared = plan if outcomes is None else outcomes.share(plan)
    return Explorer(shared, task.search.choose_properties(task.bounds), most_states=task.most_states)


def tell_search(task: Task, explorer: Explorer) -> Exploration:
    """What has come of the search of a task, to its end or so far."""
    conditions = task.bounds.make_conditions(task.flipped)
    return Exploration(
        task,
        len(explorer.states),
        (len(explorer.tables[0].states), len(explorer.tables[1].states)),
        explorer.computed,
        explorer.transitions,
        len(explorer.messages),
        tuple(explorer.depths),
        explorer.waiting,
        explorer.truncated,
        list_found(explorer, lambda place: f"{conditions}{task.search.write(explorer, place)}"),
        explorer.seconds,
        explorer.measure_state(),
    )


def list_found(explorer: Explorer, write: Callable[[int], str]) -> tuple[Found, ...]:
    """What came of each property; `write` says as text how a state is reached."""
    found = []
    for each, verdict in zip(explorer.properties, explorer.list_verdicts(), strict=True):
        place = verdict.place
        shown = (None, "") if place is None else (explorer.find_depth(place), write(place))
        found.append(Found(each.name, each.kind, each.words, verdict.holds, *shown))
    return tuple(found)


@contextmanager
def show_states(progress: bool | None) -> Iterator[Callable[[Progress], None]]:
    """Tells somebody who waits how far a search is: states, states per second, time, depth."""
    with _open_bar(progress, unit="state") as bar:

        def advance(progress: Progress) -> None:
            if bar is None:
                _say(f"{progress.states:,} states, depth {progress.depth}, {progress.seconds:.0f} s")
                return
            bar.set_postfix_str(f"depth {progress.depth}, {progress.waiting:,} to go on from", refresh=False)
            bar.update(progress.states - bar.n)
            bar.refresh()

        yield advance if _is_shown(progress) else lambda progress: None


@contextmanager
def show_count(total: int, progress: bool | None) -> Iterator[Callable[[], None]]:
    """Tells somebody who waits how many searches of how many are done."""
    done = count(1)
    with _open_bar(progress, total=total, unit="search") as bar:

        def advance() -> None:
            if bar is None:
                _say(f"{next(done)} of {total} searches")
                return
            bar.update()
            bar.refresh()

        yield advance if _is_shown(progress) else lambda: None


def _is_shown(progress: bool | None) -> bool:
    return sys.stderr.isatty() if progress is None else progress


@contextmanager
def _open_bar(progress: bool | None, **how: Any) -> Iterator[Any]:
    """A bar on stderr; None where none is wanted, or there is none: it comes with the book, not with the package."""
    if not _is_shown(progress):
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield None
        sys.stderr.write("\r\033[K")
        return
    with tqdm(leave=False, **how) as bar:
        yield bar


def _say(words: str) -> None:
    sys.stderr.write(f"\r{words}")
    sys.stderr.flush()
