"""Many explorations at once, over rules and bounds; and the table that comes of it: rule by property.

    explore_all()                          the bounds by default, each a search, on the cores of this machine
    explore_all(tasks, executor)           any others, on any Executor: processes, threads, a cluster's
    explore_all(tasks, outcomes=...)       small ones, here, each with what those before it have computed
    compare_rules()                        for every rule what breaks without it, in the smallest bounds that show it

Each exploration is one process's work from beginning to end, so nothing is shared and the same comes of it wherever it
runs. Results are in the order of the tasks, whichever was done first.

Interrupted, a campaign on this machine's own processes has each search return what it has covered, and begins no other.
On an Executor of somebody else only what is done by then is returned: how to stop what runs there is not known here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Final

from protocol.bounds import DEFAULT, Bounds, join_bounds, make_plan
from protocol.errors import Misuse
from protocol.evidence import write_columns, write_table
from protocol.explorations import (
    Exploration,
    Found,
    Search,
    Task,
    begin_search,
    explore,
    run_search,
    show_count,
    tell_search,
)
from protocol.explorer import Progress
from protocol.outcomes import Outcomes
from protocol.pair_plans import (
    PairBounds,
    choose_pair_properties,
    list_pair_left_out,
    make_pair_plan,
)
from protocol.properties import Kind
from protocol.rules import DRAFTS, NAMES, vary

__all__ = [
    "DEFAULT",
    "PAIRS",
    "SHOWN_BY",
    "Bounds",
    "Campaign",
    "Exploration",
    "RuleTable",
    "Search",
    "Task",
    "compare_rules",
    "explore",
    "explore_all",
    "make_plan",
    "run_search",
]
AnyTask = Task | Bounds | tuple[Sequence[str], Bounds]
_STOPS: Final[list[Any]] = []  # in a process of a campaign: the event that ends its search


class Campaign(tuple[Exploration, ...]):
    """Explorations, in the order in which they were asked for."""

    heads = ("rules", "bounds", "states", "deepest", "steps computed", "covered", "what breaks")

    @property
    def broken(self) -> list[Exploration]:
        """Those in which something does not hold."""
        return [each for each in self if each.broken]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [
            (
                repr(vary(*each.task.flipped)),
                str(each.bounds),
                str(each.states),
                str(each.depth),
                str(each.steps),
                each.coverage,
                ", ".join(f"{found.name}: {found.verdict}" for found in each.broken) or f"nothing{each.so_far}",
            )
            for each in self
        ]

    def _repr_html_(self) -> str:
        return write_table(self.heads, self.rows)

    def __repr__(self) -> str:
        return write_columns([self.heads, *self.rows])


# ---------------------------------------------------------------------- many searches


def explore_all(
    tasks: Iterable[AnyTask] | None = None,
    executor: Executor | None = None,
    *,
    progress: bool | None = None,
    outcomes: Outcomes | None = None,
) -> Campaign:
    """Run every task, a Task, Bounds, or names of rules and Bounds; without tasks the bounds by default.

    `executor` may be anybody's; it is not shut down. None: as many processes as this machine has cores. With `outcomes`
    the searches run here, one after another, and none computes what one before it has: best where all are small.
    """
    chosen = list(map(make_task, DEFAULT if tasks is None else tasks))
    found: dict[int, Exploration] = {}
    if outcomes is not None:
        if executor is not None:
            raise Misuse("outcomes are kept in this process, and an executor is another; give one of the two")
        return _run_here(chosen, progress, outcomes)
    with _open(executor, len(chosen)) as (runs_on, stop), show_count(len(chosen), progress) as advance:
        futures = {runs_on.submit(_run, task): number for number, task in enumerate(chosen)}
        try:
            _collect(futures, found, advance)
        except KeyboardInterrupt:
            stop()
            begun = {future: number for future, number in futures.items() if not future.cancel()}
            _collect(begun if executor is None else {each: n for each, n in begun.items() if each.done()}, found)
    return Campaign(found[number] for number in sorted(found))


def _run_here(tasks: list[Task], progress: bool | None, outcomes: Outcomes) -> Campaign:
    """Interrupted, no other is begun."""
    found = []
    with show_count(len(tasks), progress) as advance:
        for task in tasks:
            explorer = begin_search(task, outcomes).run()
            found.append(tell_search(task, explorer))
            advance()
            if explorer.is_interrupted:
                break
    return Campaign(found)


def make_task(task: AnyTask) -> Task:
    """A Task of what can stand for one. Misuse for a name of no rule."""
    if isinstance(task, Bounds):
        task = Task((), task)
    if not isinstance(task, Task):
        flipped, bounds = task
        task = Task((flipped,) if isinstance(flipped, str) else tuple(flipped), bounds)
    vary(*task.flipped)
    return task


def _collect(
    futures: Mapping[Future[Exploration], int],
    found: dict[int, Exploration],
    advance: Callable[[], None] = lambda: None,
) -> None:
    for future in as_completed(futures):
        if not future.cancelled():
            found[futures[future]] = future.result()
        advance()


@contextmanager
def _open(executor: Executor | None, most: int) -> Iterator[tuple[Executor, Callable[[], None]]]:
    """Where searches run, and how those that have begun are stopped."""
    if executor is not None:
        yield executor, lambda: None
        return
    context = get_context("spawn")  # nothing of this process goes along: not its threads, and not what it remembers
    event = context.Event()
    with ProcessPoolExecutor(None, context, _begin_process, (event,)) as own:
        yield own, event.set


def _begin_process(event: Any) -> None:
    """Ctrl-C reaches every process of a terminal; the first one tells the others what to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _STOPS.append(event)


def _run(task: Task) -> Exploration:
    return run_search(task, _Stopping() if _STOPS else lambda progress: None)


class _Stopping:
    """Ends a search as Ctrl-C does, once."""

    is_stopped = False

    def __call__(self, progress: Progress) -> None:
        if not self.is_stopped and _STOPS[0].is_set():
            self.is_stopped = True
            raise KeyboardInterrupt


# ---------------------------------------------------------------------- rule by property

# The smallest bounds that were found in which something breaks without a rule, or with a behaviour of the drafts; where
# nothing breaks, the bounds that were searched. What is explored otherwise than a transfer is here as a Task.
TAKEOVERS: Final = Search(make_pair_plan, choose_pair_properties, list_pair_left_out)
SHOWN_BY: Final[Mapping[str, Bounds | Task]] = {
    "log_before_acting": Bounds(crashes=1),
    "ask_the_ledger_before_repeating": Bounds(crashes=1),
    "ledger_acts_once": Bounds(crashes=1, lands=1),
    "same_reply_to_a_repeated_request": Bounds(crashes=1, losses=1),
    "burn_only_under_a_live_lock": Bounds(crashes=1, waits=1),
    "reconcile_before_serving": Bounds(crashes=1, logs=1),
    "fresh_connection_after_restart": Bounds(crashes=1, logs=1),
    "back_out_only_with_the_receipt": Bounds(crashes=1, aborts=1, lands=1),
    "fence_the_replaced_primary": Task((), PairBounds(pauses=1), TAKEOVERS, most_states=2_000),
    "prepared_recipient_waits": Bounds(crashes=0, aborts=1),
    "only_forward_after_burn": Bounds(crashes=0, aborts=1),
    "durable_before_sending": Bounds(crashes=1, tails=1),
    "cancel_before_undoing": Bounds(crashes=1, aborts=1, lands=1),
    "repeat_until_answered": Bounds(crashes=0, losses=1),
    "recipient_rolls_back_on_its_timer": Bounds(crashes=0),
    "sender_reissues": Bounds(crashes=0),
    "sender_terminates_on_its_timer": Bounds(crashes=0),
    "errors_end_the_session": Bounds(crashes=1),
    "roll_back_by_the_drafts_list": Bounds(crashes=0, aborts=1),
    "terminate_on_lost_connection": Bounds(crashes=0),
}
# Rules of which each alone changes nothing within these bounds, and that together are missed there.
PAIRS: Final[Mapping[tuple[str, ...], Bounds]] = {
    ("ask_the_ledger_before_repeating", "ledger_acts_once"): Bounds(crashes=1),
    ("reconcile_before_serving", "fresh_connection_after_restart"): Bounds(crashes=1, logs=1),
    ("same_reply_to_a_repeated_request", "errors_end_the_session"): Bounds(crashes=0, duplicates=1),
}
NOTHING: Final = "nothing within these bounds"


class RuleTable(dict[tuple[str, ...], Exploration]):
    """What breaks without a rule, or with a behaviour of the drafts. Several names: all of them turned over at once.

    `control` is the protocol with every rule, within each of the same bounds.
    """

    def __init__(self, found: Mapping[tuple[str, ...], Exploration], control: Campaign) -> None:
        super().__init__(
            sorted(found.items(), key=lambda item: (len(item[0]), [NAMES.index(name) for name in item[0]]))
        )
        self.control = control

    def __getitem__(self, names: str | tuple[str, ...]) -> Exploration:
        key = (names,) if isinstance(names, str) else names
        if key not in self:
            raise Misuse(f"{' + '.join(key)} is not in this table; there are {', '.join(map(write_names, self))}")
        return super().__getitem__(key)

    @property
    def properties(self) -> list[str]:
        """What was asked of all of them, in the order of properties.py."""
        asked = [each.name for found in (*self.control, *self.values()) for each in found.verdicts if _is_column(each)]
        return list(dict.fromkeys(asked))

    @property
    def heads(self) -> tuple[str, ...]:
        return ("turned over", "within", *self.properties, "shortest run")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """In each cell the length of the shortest run that breaks a property."""
        control = tuple(_write_cell(name, self.control) for name in self.properties)
        of_all = "all of these" if self.is_controlled else "those of these that were searched"
        first = ("nothing", of_all, *control, "") if self.control else None
        rows = [
            (write_names(names), _write_bounds(each), *(_write_cell(name, [each]) for name in self.properties))
            for names, each in self.items()
        ]
        runs = [each.counterexample.text if each.counterexample else NOTHING + each.so_far for each in self.values()]
        found = [(*row, run) for row, run in zip(rows, runs, strict=True)]
        return [first, *found] if first else found

    @property
    def is_controlled(self) -> bool:
        """Whether the protocol was searched within the bounds of each row."""
        searched = {each.task for each in self.control}
        return all(each.task._replace(flipped=()) in searched for each in self.values())

    @property
    def silent(self) -> list[tuple[str, ...]]:
        """What was turned over, and nothing broke."""
        return [names for names, each in self.items() if not each.counterexample]

    def _repr_html_(self) -> str:
        """A name may go on in the next line, so that all columns can be seen beside each other."""
        return write_table(self.heads, self.rows).replace("_", "_<wbr>")

    def __repr__(self) -> str:
        table = write_columns([row[:-1] for row in (self.heads, *self.rows)])
        runs = [f"{row[0]}\n    {row[-1]}" for row in self.rows if row[-1]]
        return "\n".join([table, "", *runs])


def write_names(names: tuple[str, ...]) -> str:
    """Without a rule, with what the drafts do."""
    return " + ".join(f"{'with' if name in DRAFTS else 'without'} {name}" for name in names)


def _is_column(found: Found) -> bool:
    return found.kind is not Kind.SOMETIMES


def _write_bounds(found: Exploration) -> str:
    return str(found.bounds) + ("" if found.is_whole else ", not to the end")


def _write_cell(name: str, explorations: Iterable[Exploration]) -> str:
    asked = [(each, found.so_far) for found in explorations for each in found.verdicts if each.name == name]
    lengths = [each.length for each, _ in asked if not each.holds and each.length is not None]
    return str(min(lengths)) if lengths else f"holds{max(more for _, more in asked)}" if asked else "not asked"


def compare_rules(
    names: Iterable[str] | None = None,
    *,
    pairs: Iterable[tuple[str, ...]] | None = None,
    shown_by: Mapping[str, Bounds | Task] | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
    outcomes: Outcomes | None = None,
) -> RuleTable:
    """Turn each of `names` over alone, and those of each of `pairs` together, within bounds small enough to read.

    Without names: all of SHOWN_BY, and PAIRS. A name that is not in `shown_by` is explored with one crash; another pair
    within what both of its names need. `executor` and `outcomes` as in `explore_all`.
    """
    known = SHOWN_BY if shown_by is None else shown_by
    chosen = [(name,) for name in ([name for name in NAMES if name in known] if names is None else names)]
    together = pairs if pairs is not None else PAIRS if names is None else ()
    tasks = {key: choose_task(key, known) for key in [*chosen, *map(tuple, together)]}
    control = list(dict.fromkeys(task._replace(flipped=()) for task in tasks.values()))
    found = explore_all([*control, *tasks.values()], executor, progress=progress, outcomes=outcomes)
    table = {each.task: each for each in found}
    return RuleTable(
        {key: table[task] for key, task in tasks.items() if task in table},
        Campaign(table[task] for task in control if task in table),
    )


def choose_task(key: tuple[str, ...], known: Mapping[str, Bounds | Task] | None = None) -> Task:
    """Where to look for what a name breaks, or several together; by default in SHOWN_BY."""
    vary(*key)
    known = SHOWN_BY if known is None else known
    if key in PAIRS:
        return Task(key, PAIRS[key])
    chosen = [known[name] for name in key if name in known]
    for task in chosen:
        if isinstance(task, Task):
            return task._replace(flipped=key)
    bounds = [each for each in chosen if isinstance(each, Bounds)]
    return Task(key, join_bounds(bounds) if bounds else Bounds(crashes=1))
