"""A takeover in one line, to be looked at; and which rule carries how much of its safety.

    take_over("sender", at="3.4", before=2)             who is replaced, and at which durable act it fails
    take_over(..., how="slow", comes_back=4)            how it fails, and after how many deliveries it is back
    take_over(..., leaves=True)                         the application behind the backup wants to end the transfer
    compare_rules()                                     the same runs with a rule switched off, counted
    compare_modes()                                     self-healing, and primary and backup, after the same crashes

The primary fails at the chosen act. When its lease has run out the backup takes over, and messages are delivered one
by one. Back is a dead primary when it is restarted, a slow one when it wakes up, one without its store when it reaches
that again: each time it finds another one in charge. An order that it had on its way to its network when it failed
lands when it comes back.

Nothing here decides or changes anything: a story uses a World as a reader would, and reads its trace.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Literal

from protocol.errors import Misuse
from protocol.evidence import write_columns, write_table
from protocol.lease import LEASE_S
from protocol.ledger import State
from protocol.network import World
from protocol.replacement import PrimaryBackup
from protocol.rules import Rules, switch_off
from protocol.steps import TABLE_1, Role
from protocol.stories import Recovery, shorten_owner
from protocol.trace import Acted, Crashed, Delivered, Event, Logged, Lost, TookOver

How = Literal["dead", "slow", "no store"]
PATIENCE = 4  # time-outs in a row that bring nothing new into a log, after which a run counts as stuck
MOST_STEPS = 400
FOR_EVER_S = 86400
RAM = Path("/dev/shm")


def take_over(
    who: str = "sender",
    at: str = "3.4",
    after: int | None = None,
    *,
    before: int | None = None,
    how: How = "dead",
    comes_back: int | None = None,
    leaves: bool = False,
    seed: str = "lab",
    rules: Rules | None = None,
    tls: bool = True,
) -> Recovery:
    """One transfer in which `who`, "sender" or "recipient", fails at a durable act, and its backup takes over.

    `comes_back`: after so many deliveries of the recovery; never, if not given. Misuse for a choice that cannot be.
    """
    if how not in ("dead", "slow", "no store"):
        raise Misuse(f'a primary is "dead", "slow", or has "no store", not {how!r}')
    if comes_back is not None and comes_back < 0:
        raise Misuse(f"it comes back after 0 or more deliveries, not after {comes_back}")
    if before is None and after is None:
        after = 1
    world = PrimaryBackup(who, seed=seed, rules=rules, tls=tls)
    primary = world.in_charge_of(who)
    _play_in(world, who, at, after, before, how, comes_back, leaves=leaves)
    return Recovery(world, f"{primary} is replaced by {primary}-B")


def _play_in(
    world: PrimaryBackup,
    who: str,
    at: str,
    after: int | None,
    before: int | None,
    how: How,
    comes_back: int | None,
    *,
    leaves: bool,
) -> None:
    primary = world.in_charge_of(who)
    (world.crash if how == "dead" else world.pause)(who, at=at, before=before, after=after)
    world.start()
    if world.is_awake(primary):
        world.run()
    if how == "no store":
        world.cut_store(primary)
        world.wake(primary)
    world.wait(int(LEASE_S))
    world.take_over(f"{primary}-B")
    if leaves and world.knows(who):
        world.abort(who, "the application wants to end it")
    _go_on(world, comes_back, lambda: _bring_back(world, primary, how))


def _bring_back(world: PrimaryBackup, primary: str, how: How) -> None:
    if how == "dead":
        if world.has_order_in_flight(primary):
            world.land(primary)
        world.restart(primary)
    elif how == "slow":
        world.wake(primary)
    else:
        world.heal_store(primary)


def _go_on(world: PrimaryBackup, comes_back: int | None, bring_back: Callable[[], None]) -> None:
    """Delivery by delivery to rest; a run that stands still for long ends where it is."""
    deliveries, waited, entries = 0, 0, 0
    for _ in range(MOST_STEPS):
        if entries < (entries := len(world.trace.of(Logged))):
            waited = 0
        if comes_back is not None and deliveries >= comes_back:
            comes_back, waited = None, 0
            bring_back()
        elif world.can_deliver:
            world.deliver_next()
            deliveries += 1
        elif comes_back is None and (world.is_at_rest or waited == PATIENCE):
            return
        else:
            world.time_out()
            deliveries, waited = deliveries + 1, waited + 1


# ---------------------------------------------------------------------- what came of it


@dataclass(frozen=True)
class Ending:
    """What came of one takeover: one of the words of `read_ending`, and what the replaced one did afterwards.

    `is_agreed` if both logs know the same successions in the session.
    """

    word: str
    late_entries: int
    late_messages: int
    late_actions: int
    is_agreed: bool


def read_ending(world: PrimaryBackup) -> Ending:
    """At rest and usable by one is "one owner"; else "two owners", "nobody's" for good, or "not at rest"."""
    usable = sum(ledger.owner_of(asset.id) is not None for ledger in world.ledgers for asset in ledger.assets)
    states = {asset.state for ledger in world.ledgers for asset in ledger.assets}
    is_open = bool(states & {State.LOCKED, State.HELD})
    if usable > 1:
        word = "two owners"
    elif usable == 0 and not is_open:
        word = "nobody's"
    else:
        word = "one owner" if world.is_at_rest and not is_open else "not at rest"
    late = _find_late(world)
    logs = ([entry.payload.get("succession") for entry in world.log(role)] for role in Role)
    own, other = ([(each["kid"], each["epoch"]) for each in log if each] for log in logs)
    return Ending(
        word,
        sum(isinstance(event, Logged) for event in late),
        sum(isinstance(event, Delivered | Lost) for event in late),
        sum(isinstance(event, Acted) and not event.again for event in late),
        own == other,
    )


def _find_late(world: PrimaryBackup) -> list[Event]:
    """The entries, the messages and the actions of a node after another one has taken over from it."""
    replaced: set[str] = set()
    late: list[Event] = []
    for event in world.trace:
        if isinstance(event, TookOver):
            replaced = (replaced | {event.predecessor}) - {event.gateway}
        elif isinstance(event, Logged | Acted | Delivered | Lost):
            who = event.source if isinstance(event, Delivered | Lost) else event.gateway
            late += [event] if who in replaced else []
    return late


class RuleCount(dict[str, list[Ending]]):
    """The endings of the same runs under different rules, counted; by what is switched off."""

    WORDS = ("one owner", "nobody's", "two owners", "not at rest")
    heads = ("switched off", "runs", *WORDS, "writes late", "speaks late", "acts late", "logs differ")

    def count(self, off: str, word: str) -> int:
        return sum(ending.word == word for ending in self[off])

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """How the runs ended; in how many the replaced one did something too late, or the logs know different ones."""
        found = []
        for name, endings in self.items():
            counts = Counter(ending.word for ending in endings)
            late = [(each.late_entries, each.late_messages, each.late_actions, not each.is_agreed) for each in endings]
            numbers = [sum(map(bool, column)) for column in zip(*late, strict=True)]
            found.append((name, *map(str, (len(endings), *(counts[word] for word in self.WORDS), *numbers))))
        return found

    def _repr_html_(self) -> str:
        return write_table(self.heads, self.rows)

    def __repr__(self) -> str:
        first = max(len(name) for name in (*self, self.heads[0]))
        widths = [len(head) + 2 for head in self.heads[1:]]
        lines = []
        for name, *cells in (self.heads, *self.rows):
            numbers = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            lines.append(name.ljust(first) + "".join(numbers))
        return "\n".join(lines)


@dataclass(frozen=True)
class Case:
    """One run of a comparison."""

    who: str
    at: str
    number: int
    comes_back: int
    leaves: bool

    def __repr__(self) -> str:
        leaves = ", the application wants to leave" if self.leaves else ""
        return f"{self.who}, slow after act {self.number} of {self.at}, back after {self.comes_back} deliveries{leaves}"


def list_cases(
    steps: Iterable[str] = ("2.1", "3.2", "3.4", "3.6"), comes_back: Iterable[int] = (0, 3, 6, 9)
) -> Iterator[Case]:
    """Slow primaries, stopped after each durable act of these steps and woken after so many deliveries."""
    chosen = [row for row in TABLE_1 if row.number in steps]
    for row, leaves, back in product(chosen, (False, True), comes_back):
        for number in (1, 2, 3) if row.is_action else (1,):
            yield Case(row.actor.value, row.number, number, back, leaves)


def compare_rules(
    *off: str, cases: Iterable[Case] | None = None, on_run: Callable[[int, int], None] = lambda done, total: None
) -> RuleCount:
    """The same runs with every rule, with each of `off` switched off, and with all of them off.

    Names of safety rules; by default the fence and the receipt. `on_run` is told after each run how many of how many
    are done. Misuse for a name that is none.
    """
    off = off or ("fence_the_replaced_primary", "back_out_only_with_the_receipt")
    choices = {"nothing": ()} | {name: (name,) for name in off} | ({"all of these": off} if len(off) > 1 else {})
    switched = {name: switch_off(*choice) for name, choice in choices.items()}  # a wrong name is refused before any run
    chosen, found = list(cases or list_cases()), RuleCount()
    for name, rules in switched.items():
        endings = found.setdefault(name, [])
        for case in chosen:
            endings.append(_play(case, rules))
            on_run(len(chosen) * (len(found) - 1) + len(endings), len(chosen) * len(choices))
    return found


def _play(case: Case, rules: Rules) -> Ending:
    with make_directory() as directory:
        world = PrimaryBackup(case.who, directory=directory, rules=rules, tls=False, server="")
        _play_in(world, case.who, case.at, case.number, None, "slow", case.comes_back, leaves=case.leaves)
        ending = read_ending(world)
        world.close()
    return ending


def make_directory() -> tempfile.TemporaryDirectory[str]:
    """In memory where the machine has such a place: a comparison of many runs waits for no disk."""
    return tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None)


# ---------------------------------------------------------------------- which mode


@dataclass(frozen=True)
class ModeRun:
    """One crash of the sender: `ended_s` seconds later all was at rest, and `owner` has the asset. None: never."""

    ended_s: int | None
    owner: str
    states: str

    def __repr__(self) -> str:
        return f"{self.ended_s} s: {self.owner}" if self.ended_s is not None else f"never: {self.states}"


class ModeTable(dict[tuple[str, int | None], tuple[ModeRun, ModeRun]]):
    """For each place of the crash and each absence: self-healing, and primary and backup."""

    heads = ("GW1 crashes", "and is away for", "self-healing", "primary and backup")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [
            (place, f"{away} s" if away is not None else "ever", repr(alone), repr(backed))
            for (place, away), (alone, backed) in self.items()
        ]

    def _repr_html_(self) -> str:
        return write_table(self.heads, self.rows)

    def __repr__(self) -> str:
        return write_columns([self.heads, *self.rows])


def compare_modes(away_s: Iterable[int | None] = (10, 60, 600, None)) -> ModeTable:
    """The sender crashes right before its burn, or right after it, and comes back after so many seconds, or never."""
    found, absences = ModeTable(), list(away_s)
    for place, when in (("before the burn", {"before": 2}), ("after the burn", {"after": 2})):
        for away in absences:
            found[place, away] = (_live_through(World, when, away), _live_through(PrimaryBackup, when, away))
    return found


def _live_through(make: Callable[..., World], when: dict[str, int], away: int | None) -> ModeRun:
    with make_directory() as directory:
        world = make(directory=directory)
        world.crash("sender", at="3.4", **when)
        world.start()
        world.run()
        (crash,) = world.trace.of(Crashed)
        if isinstance(world, PrimaryBackup) and (away is None or away > LEASE_S):
            world.run()
        if not world.is_at_rest and away is not None:
            world.wait(away - _count_seconds(crash.at, world.now))
            world.restart("sender")
            world.run()
        elif not world.is_at_rest:
            world.wait(FOR_EVER_S)
            world.run()
        ended = _count_seconds(crash.at, world.now) if world.is_at_rest else None
        states = ", ".join(f"{asset.state} in {ledger.name}" for ledger in world.ledgers for asset in ledger.assets)
        run = ModeRun(ended, ", ".join(map(shorten_owner, world.owners)) or "nobody", states)
        world.close()
    return run


def _count_seconds(since: str, until: str) -> int:
    return int((datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds())
