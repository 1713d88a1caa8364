"""A crash and its recovery in one line, to be looked at; and TABLE 2 as a table.

    crash_and_resume("recipient", at="3.6", after=2)    who crashes, in which step, after which durable act
    crash_and_resume("sender", at="3.4", loses="log")   and what is lost besides: "log", "key", its last 3 entries
    every_crash()                                       the same for every place where a crash can be put
    every_expiry()                                      a lock that runs out after every step
    Recovery(world)                                     the recovery of a World that was run by hand
    describe_end(world)                                 who owns the asset now, to stand below a figure
    RecoveryTable(), explain("H")                       all rows of TABLE 2, and one with its paragraph

A Recovery shows itself: the figure from the last message before the crash on, then what TABLE 2 said, with the three
facts and the paragraph of each row that decided, then who owns the asset and what the recovery took. As a picture,
and as the same words in letters.

Nothing here decides or changes anything: a story uses a World as a reader would, and reads its trace.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from itertools import product
from typing import Literal

from protocol.diagrams import Figure, Note, kind_of
from protocol.errors import Misuse
from protocol.evidence import write_columns, write_table
from protocol.messages.recovery import NAMES
from protocol.messages.satp import short_name
from protocol.network import World
from protocol.recovery import TABLE_2, Case, Exchange, RecoveryRow, Verdict, find_recovery_row
from protocol.rules import Rules
from protocol.steps import TABLE_1, Role, find_row
from protocol.trace import Crashed, Delivered, Judged, Lost
from protocol.views import SignedMessage, read_message

Loss = Literal["log", "key"] | int | None
LOCK_S = 120  # the lock of the example lasts so long; where only its expiry frees the asset, a story waits for that
WIDTH = 96


def crash_and_resume(
    who: str = "recipient",
    at: str = "3.6",
    after: int | None = None,
    *,
    before: int | None = None,
    loses: Loss = None,
    both: bool = False,
    again: int | None = None,
    start: str = "last-message",
    lock_type: str | None = None,
    seed: str = "lab",
    rules: Rules | None = None,
    tls: bool = True,
) -> Recovery:
    """One transfer in which `who`, "sender" or "recipient", crashes once and comes back.

    It crashes after its n-th durable act within step `at`, the first if no number is given, or `before` one. With
    `both` the other one goes down too, and loses the same. With `again` the first one crashes once more, after its n-th
    durable act of the recovery, if it has so many. Without `tls` messages travel bare, which is faster and changes
    nothing else. Misuse, with what is allowed, for a choice that cannot be.
    """
    _check_kinds(at, before, after, again)
    if isinstance(loses, bool) or not (loses in (None, "log", "key") or (isinstance(loses, int) and loses > 0)):
        raise Misuse(f'what is lost is "log", "key", or a number of last entries, not {loses!r}')
    world = World(seed, rules=rules, tls=tls)
    world.crash(who, at=at, before=before, after=1 if after is None and before is None else after)
    world.start(lock_type=lock_type)
    world.run()
    down = [Role.SENDER if who in (Role.SENDER, world.trace.gateways[0]) else Role.RECIPIENT]
    if both:
        down.append(down[0].other)
        world.crash(down[1])
    for each in down:
        lose(world, each, loses)
    if again is not None:
        world.crash(down[0], after=again)
    crashes = len(world.trace.of(Crashed))
    for each in down:
        world.restart(each, start)
    run_to_rest(world)
    if len(world.trace.of(Crashed)) > crashes:
        world.restart(down[0], start)
        run_to_rest(world)
    return Recovery(world)


def _check_kinds(at: object, *counts: object) -> None:
    """A step is text and an act is counted: `at=3.6` is the slip that everybody makes once."""
    if not isinstance(at, str):
        raise Misuse(f'a step is a text such as "3.6", not {at!r}')
    wrong = [count for count in counts if count is not None and (isinstance(count, bool) or not isinstance(count, int))]
    if wrong:
        raise Misuse(f"durable acts are counted from 1: a whole number, not {wrong[0]!r}")


def lose(world: World, who: str, loses: Loss) -> None:
    """What a gateway that is down has lost besides its process."""
    if loses == "key":
        world.lose_key(who)
    elif loses is not None:
        world.forget(who, loses if isinstance(loses, int) else None)


def run_to_rest(world: World) -> None:
    """Run, until somebody crashes; and where only the expiry of a lock can end it, wait for that."""
    crashes = len(world.trace.of(Crashed))
    for _ in range(3):
        world.run()
        if world.is_at_rest or len(world.trace.of(Crashed)) > crashes:
            return
        world.wait(LOCK_S)


class Recovery:
    """What happened in a World from its first crash on."""

    def __init__(self, world: World, title: str = "") -> None:
        self.world = world
        self.trace = world.trace.since_crash()
        self.notes = list(self._compute_notes())
        title, is_one = title or "A crash and the recovery from it", len(world.sessions) < 2
        self.figure = Figure(self.trace, title, self.notes, has_stages=is_one)

    @property
    def judgements(self) -> list[Judged]:
        """What TABLE 2 said, in order."""
        return [event for event in self.trace if isinstance(event, Judged)]

    @property
    def rows(self) -> list[RecoveryRow]:
        """The rows of TABLE 2 that decided, in order."""
        return [find_recovery_row(judged.letter) for judged in self.judgements]

    @property
    def letters(self) -> str:
        """The letters of these rows: "HC"."""
        return "".join(row.letter for row in self.rows)

    @property
    def sent(self) -> list[Delivered | Lost]:
        """The recovery messages that travelled, also those that were lost on the way."""
        return [event for event in self.trace if isinstance(event, Delivered | Lost) and event.name in NAMES]

    @property
    def messages(self) -> list[str]:
        """The same in words."""
        return [_describe(event) for event in self.sent]

    @property
    def repeated(self) -> list[str]:
        """The steps of the transfer that were said again after the crash, with the bytes of the first time."""
        again = (event for event in self.trace if isinstance(event, Delivered) and event.again and event.step)
        return [event.step for event in again]

    @property
    def size(self) -> int:
        """Bytes of the recovery messages that arrived."""
        return sum(len(event.data) for event in self.sent if isinstance(event, Delivered))

    @property
    def owners(self) -> list[str]:
        return self.world.owners

    @property
    def outcome(self) -> Outcome:
        """The same, counted. One chain: where both logs know a session, they end with the same message."""
        arrived = [event for event in self.trace if isinstance(event, Delivered)]
        heads = []
        for name in self.world.sessions:
            known = [gateway.find_session(name) for gateway in (self.world.sender, self.world.recipient)]
            heads.append({session.history.head for session in known if session is not None and session.history})
        return Outcome(
            self.letters,
            tuple(self.owners),
            self.world.is_at_rest,
            all(len(each) <= 1 for each in heads),
            len(arrived) - 1,  # the trace begins with the last message before the crash
            tuple(self.repeated),
            frozenset(asset.state.value for ledger in self.world.ledgers for asset in ledger.assets),
        )

    def message(self, name: str) -> SignedMessage:
        """The first recovery message of this name that arrived. Misuse if there was none."""
        found = next((each for each in self.sent if isinstance(each, Delivered) and each.name == name), None)
        if found is None:
            names = dict.fromkeys(each.name for each in self.sent if isinstance(each, Delivered))
            raise Misuse(f"no {name} arrived in this recovery; there were {', '.join(names) or 'none'}")
        return read_message(self.world, found.data)

    def _compute_notes(self) -> Iterator[Note]:
        """Each verdict once, with how often it was given; then who owns the asset, and what it took."""
        counted = Counter((each.gateway, each.letter, each.verdict, each.facts) for each in self.judgements)
        explained: set[str] = set()
        for (gateway, letter, verdict, (log, ledger, peer)), times in counted.items():
            row = find_recovery_row(letter)
            heading = f"{gateway}, row {letter}: {row.title} -> {verdict}{f' ({times} times)' if times > 1 else ''}"
            facts = f"My log: {log}; my ledger: {ledger}; the peer: {peer}."
            yield Note(heading, (facts,) if letter in explained else (facts, row.why), kind_of(verdict))
            explained.add(letter)
        if not counted:
            yield Note("No row of TABLE 2: no session was left to compare", ())
        end = describe_end(self.world)
        yield replace(end, paragraphs=(*end.paragraphs, self._describe_messages()))

    def _describe_messages(self) -> str:
        words = _count_words(f"{each.name}{' (lost)' if isinstance(each, Lost) else ''}" for each in self.sent)
        steps = f" Said again: {', '.join(self.repeated)}." if self.repeated else ""
        count = f"{len(self.sent)} recovery {'message' if len(self.sent) == 1 else 'messages'}"
        return f"{count}, {self.size:,} bytes: {words or 'none'}.{steps}"

    def _repr_svg_(self) -> str:
        return self.figure.svg

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "image/svg+xml": self.figure.svg}

    def __repr__(self) -> str:
        return self.figure.ascii


def describe_end(world: World) -> Note:
    """Who owns the asset, and what both networks say of it: what stands below a figure."""
    owners = _count_words(shorten_owner(owner) for owner in world.owners) or "nobody"
    rest = "At rest" if world.is_at_rest else "NOT at rest"
    books = _count_words(f"{asset.state} in {ledger.name}" for ledger in world.ledgers for asset in ledger.assets)
    return Note(f"{rest}. Owner: {owners}", (f"Ledgers: {books or 'no asset'}.",))


def _count_words(words: Iterable[str]) -> str:
    """Each once, in order, with how often it occurs if that is more than once."""
    return ", ".join(f"{word} x {number}" if number > 1 else word for word, number in Counter(words).items())


def _describe(event: Delivered | Lost) -> str:
    if isinstance(event, Lost):
        return f"{event.source} -x {event.target}: {event.name} is lost"
    return f"{event.source} -> {event.target}: {event.name}, {len(event.data):,} bytes"


def shorten_owner(owner: str) -> str:
    """`Bob in network 43114` for the line of `World.owners`."""
    place, _, name = owner.partition(": ")
    common = re.search(r"CN=([^,]+)", name)
    return f"{common[1] if common else name} in {place}"


# ---------------------------------------------------------------------- every crash


@dataclass(frozen=True, order=True)
class Place:
    """Where a crash can be put: before or after the n-th durable act of a gateway within a step."""

    step: str
    who: str
    number: int
    is_after: bool

    def __repr__(self) -> str:
        return f"{self.who}, {'after' if self.is_after else 'before'} act {self.number} of {self.step}"


@dataclass(frozen=True)
class Outcome:
    """What came of one crash. `messages` counts all that arrived after it, `said_again` are the steps among them.

    `states` are those of the asset in both networks.
    """

    letters: str
    owners: tuple[str, ...]
    is_at_rest: bool
    is_one_chain: bool
    messages: int
    said_again: tuple[str, ...]
    states: frozenset[str]


class CrashMap(dict[Place, Outcome]):
    """The outcomes of many crashes; shows the letters of TABLE 2, `-` where no session was left to compare."""

    def __repr__(self) -> str:
        rows = [f"{'step':<29}{'sender crashes':<22}recipient crashes"]
        for step in dict.fromkeys(place.step for place in self):
            cells = [self._draw_cell(step, role) for role in Role]
            rows.append(f"{step} {short_name(find_row(step).name):<24} {cells[0]:<21} {cells[1]}".rstrip())
        return "\n".join(rows)

    def _draw_cell(self, step: str, role: str) -> str:
        return " ".join(out.letters or "-" for place, out in self.items() if (place.step, place.who) == (step, role))


def every_crash(
    loses: Loss = None,
    *,
    both: bool = False,
    start: str = "last-message",
    seed: str = "lab",
    tls: bool = True,
    only: Literal["before", "after"] | None = None,
) -> CrashMap:
    """`crash_and_resume` before and after every durable act of both gateways, in the order of the steps.

    `only` "after" leaves half of the places out: before an act as much is durable as after the one before it.
    """
    if only not in ("before", "after", None):
        raise Misuse(f'only "before" or only "after" each act, not {only!r}')
    sides = (False, True) if only is None else (only == "after",)
    found = CrashMap()
    counting = World(seed, tls=tls)
    for row, role in ((row, role) for row in TABLE_1 for role in Role):
        for number, is_after in product(range(1, counting.count_acts(role, row.number) + 1), sides):
            after, before = (number, None) if is_after else (None, number)
            told = crash_and_resume(
                role, row.number, after, before=before, loses=loses, both=both, start=start, seed=seed, tls=tls
            )
            found[Place(row.number, role.value, number, is_after)] = told.outcome
            told.world.close()
    counting.close()
    return found


# ---------------------------------------------------------------------- every expiry


class ExpiryMap(dict[tuple[str, Role | None], Outcome]):
    """What came of it when the lock ran out, by the step that was done last and by who was down; shows the owners."""

    heads = ("the lock runs out after", "both up", "sender down", "recipient down")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [
            (f"{row.number} {short_name(row.name)}", *(self._find_owner(row.number, down) for down in (None, *Role)))
            for row in TABLE_1
        ]

    def _find_owner(self, step: str, down: Role | None) -> str:
        return ", ".join(shorten_owner(owner).partition(" in ")[0] for owner in self[step, down].owners) or "nobody"

    def _repr_html_(self) -> str:
        return write_table(self.heads, self.rows)

    def __repr__(self) -> str:
        return write_columns([self.heads, *self.rows])


def every_expiry(lock_type: str | None = None, *, seed: str = "lab", tls: bool = False) -> ExpiryMap:
    """For each step a transfer that runs until it is done; then the lock runs out, and all goes on to rest.

    Meanwhile both gateways are up, or one of them is down and comes back later.
    """
    found = ExpiryMap()
    for row, down in product(TABLE_1, (None, *Role)):
        world = World(seed, tls=tls)
        world.start(lock_type=lock_type)
        world.run(until=row.number)
        if down:
            world.crash(down)
        world.wait(LOCK_S + 1)
        world.run()
        if down:
            world.restart(down)
            world.run()
        found[row.number, down] = Recovery(world).outcome
        world.close()
    return found


# ---------------------------------------------------------------------- TABLE 2


class RecoveryTable:
    """TABLE 2, all of it or some rows: letter, title, facts, verdict, and what is exchanged before step X."""

    def __init__(self, rows: Iterable[RecoveryRow] = TABLE_2) -> None:
        self.rows = list(rows)

    def _repr_html_(self) -> str:
        left = ' style="text-align: left"'
        heads = "".join(
            f"<th{left}>{head}</th>" for head in ("row", "what is the case", "verdict", "said before step X")
        )
        body = "\n".join(_draw_html_row(row) for row in self.rows)
        return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def __repr__(self) -> str:
        return "\n".join(line for row in self.rows for line in _draw_row(row))


class ExplainedRow:
    """One row of TABLE 2 with its paragraph."""

    def __init__(self, row: RecoveryRow) -> None:
        self.row = row

    def __repr__(self) -> str:
        return "\n".join([*_draw_row(self.row), *_wrap(self.row.why, "   ")])


def explain(letter: str) -> ExplainedRow:
    """The row of TABLE 2 with this letter, and the crash that leads there. Misuse if there is none."""
    letters = [row.letter for row in TABLE_2]
    if letter not in letters:
        raise Misuse(f"TABLE 2 has no row {letter!r}; its rows are {', '.join(letters)}")
    return ExplainedRow(find_recovery_row(letter))


def _draw_row(row: RecoveryRow) -> Iterator[str]:
    said = "nothing" if row.exchange is Exchange.NOTHING else row.exchange.value
    yield f"{row.letter}  {row.title}".ljust(54) + f"-> {row.verdict}; before step X: {said}"
    for case in row.cases:
        yield from _wrap(_describe_case(case), "   ", "      ")


def _draw_html_row(row: RecoveryRow) -> str:
    facts = "<br>".join(escape(_describe_case(case)) for case in row.cases)
    is_safe = row.verdict is not Verdict.DISPUTE
    verdict = escape(row.verdict) if is_safe else f"<b>{escape(row.verdict)}</b>"
    cells = [f"<b>{row.letter}</b>", f"{escape(row.title)}<br><small>{facts}</small>", verdict, row.exchange.value]
    left = ' style="text-align: left"'
    return "<tr>" + "".join(f"<td{left}>{cell}</td>" for cell in cells) + "</tr>"


def _describe_case(case: Case) -> str:
    """A product of facts, in the order of their definitions; `any` where all of them do."""
    words = []
    for name, chosen in zip(("log", "ledger", "peer"), case, strict=True):
        kinds = list(type(next(iter(chosen))))
        several = ", ".join(kind.value for kind in kinds if kind in chosen)
        words.append(f"{name}: {'any' if len(chosen) == len(kinds) else several}")
    return "; ".join(words)


def _wrap(text: str, indent: str, hanging: str | None = None) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=hanging or indent)
