"""A behaviour as a short text, and the text played again in a World: real files, the same gateways, a Trace to draw.

    start  1.1  1.2              the sender begins; the messages of these steps arrive
    3.3:a2  3.3:b1               it arrives, and its receiver crashes after its 2nd durable act, or before its first
    -3.3  +3.3  3.3~2            it is lost; it arrives and a copy stays; the second of that name that was sent
    S.recover                    a message that is no step arrives; S or R says who has sent it
    S.crash  S.restart  S.restart:a1  S.time-out  S.abort  S.forget  S.forget3  S.lose-key  S.land  S.cut
    S.restart-stage              it comes back, and open sessions go on from the first message of the stage
    wait                         the time of a lock passes
    S-B.take-over  S-B.restart   the backup of the sender takes over; it comes back. All that S can do S-B can do
    3.3/a2  3.3/b1  S.wake       it arrives, and its receiver stands still there, with all that it knows; it goes on

What is not usual stands before the actions, each ended by a semicolon: "without RULE", "with RULE" for what the drafts
do instead, "TIME_LOCK" for another lock, "backup of sender" or "of recipient". Time stands still but for `wait`: the
messages are those of the search.

    replay("without prepared_recipient_waits; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 R.abort 3.3")
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import Final, NamedTuple

from protocol.diagrams import Figure, Note
from protocol.errors import Misuse
from protocol.example import CLAIM
from protocol.explorer import Explorer
from protocol.lease import LEASE_S
from protocol.link import OFFER, Clock, InFlight, Side, read_label
from protocol.network import START, World
from protocol.plans import Action, Crash
from protocol.properties import Property, Scene
from protocol.replacement import Node, PrimaryBackup
from protocol.rules import DRAFTS, NAMES, SAFETY, Rules, vary
from protocol.session import Session, read_session
from protocol.signing import KeyPair
from protocol.steps import Role
from protocol.stores import SQLiteLog
from protocol.stories import describe_end
from protocol.takeovers import make_directory
from protocol.trace import TimedOut
from protocol.units import LOCK_S, Transfer, View, is_comparing, is_in_order, show_ledger, show_session

HOWS: Final = {"deliver": "", "lose": "-", "twice": "+"}
LETTERS: Final = {"S": Role.SENDER, "R": Role.RECIPIENT}
TOKEN: Final = re.compile(r"([-+]?)([^\s:/~+-][^\s:/~]*)(?:~([1-9]\d*))?(?:([:/])([ab])(\d+))?")
OF_A_SIDE: Final = re.compile(
    r"([SR])(-B)?\.(crash|restart-stage|restart|time-out|abort|forget|lose-key|land|cut|take-over|wake)([1-9]\d*)?"
)
COUNTED: Final = ("abort", "forget")  # what a number may stand after: of a transfer, or of entries
WITHOUT_ACTS: Final = ("wait", "crash", "forget", "lose-key", "land")  # in these nobody can crash
LOCKS: Final = ("TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK")


class Conditions(NamedTuple):
    """What stands before the actions."""

    flipped: tuple[str, ...] = ()
    lock_type: str | None = None
    backup_of: str | None = None

    @property
    def rules(self) -> Rules:
        return vary(*self.flipped)

    def __str__(self) -> str:
        words = [f"{'with' if name in DRAFTS else 'without'} {name}; " for name in self.flipped]
        lock = f"{self.lock_type}; " if self.lock_type else ""
        return "".join(words) + lock + (f"backup of {self.backup_of}; " if self.backup_of else "")


# ---------------------------------------------------------------------- written


def label_message(source: str, data: bytes) -> str:
    """What a message is called: its step, or who has sent it and its name."""
    step, name = read_label(data)
    return step or f"{write_letter(source)}.{name.replace(' ', '-')}"


def label_in_world(message: InFlight) -> str:
    """The same of a message in a World."""
    source = message.source
    return label_message(source.role + source.name.removeprefix(source.id), message.data)


def write_letter(source: str) -> str:
    """S or R for a role; S-B for its backup, "sender-B"."""
    role, dash, backup = source.partition("-")
    return role[0].upper() + dash + backup


def write_actions(search: Explorer, place: int) -> str:
    """A shortest way to a state of an exploration."""
    on_way: list[int] = []
    tokens = []
    for before, action in zip(search.find_places(place), search.find_actions(place), strict=False):
        present = search.list_on_way(before)
        on_way = [number for number in on_way if number in present] + [n for n in present if n not in on_way]
        tokens.append(_write(search, action, on_way))
    return " ".join(tokens)


def _write(search: Explorer, action: Action, on_way: list[int]) -> str:
    cut = _write_crash(action.crash) if action.crash else ""
    if action.kind in HOWS:
        label = _label(search, action.about)
        of_that_name = [number for number in on_way if _label(search, number) == label]
        nth = of_that_name.index(action.about)
        return f"{HOWS[action.kind]}{label}{f'~{nth + 1}' if nth else ''}{cut}"
    node = action.about if isinstance(action.about, str) else ""
    about = str(action.about + (action.kind != "forget")) if action.about and not node else ""
    letter = "" if action.kind in ("start", "wait") else f"{write_letter(search.plan.sides[action.side].name + node)}."
    return f"{letter}{action.kind.replace(' ', '-')}{about}{cut}"


def _write_crash(crash: Crash) -> str:
    return f"{'/' if crash.is_pause else ':'}{'a' if crash.is_after else 'b'}{crash.number}"


def _label(search: Explorer, number: int) -> str:
    message = search.messages[number]
    return search.plan.label(search.plan.sides[1 - message.target].name, message.data)


# ---------------------------------------------------------------------- read


def read_conditions(text: str) -> tuple[Conditions, list[str]]:
    """What stands before the actions, and the actions. Misuse for what neither can be."""
    *before, actions = text.split(";")
    flipped, lock_type, backup_of = [], None, None
    for words in map(str.split, before):
        match words:
            case ["without", name] if name in SAFETY:
                flipped.append(name)
            case ["with", name] if name in DRAFTS:
                flipped.append(name)
            case [name] if name in LOCKS and lock_type is None:
                lock_type = name
            case ["backup", "of", role] if role in tuple(Role) and backup_of is None:
                backup_of = role
            case _:
                known = (
                    f"{', '.join(LOCKS)}, backup of sender or recipient, or without or with one of {', '.join(NAMES)}"
                )
                raise Misuse(f"{' '.join(words)!r} is nothing that a replay can begin with; there are {known}")
    return Conditions(tuple(flipped), lock_type, backup_of), actions.split()


def verify_fits(found: re.Match[str], what: str, *, is_message: bool) -> None:
    """Misuse for what stands before or after an action and says nothing of it."""
    how, _, nth, _, cut, _ = found.groups()
    if (how or nth) and not is_message:
        raise Misuse("only a message can be lost, or arrive twice, or be one of several")
    if cut and (what in WITHOUT_ACTS or how == HOWS["lose"]):
        raise Misuse("there is no durable act in it")


# ---------------------------------------------------------------------- played


class StillWorld(World):
    """A World in which time passes only when it is told to, and nothing is on its way twice, or to nobody."""

    delivery_s = 0

    def _send(self, source: Side, target: Side, data: bytes) -> None:
        if target.gateway is None and self.rules.fresh_connection_after_restart:
            self.carrier.lose(source, target, data)
            return
        if not any((each.source, each.target, each.data) == (source, target, data) for each in self.link):
            super()._send(source, target, data)

    def readdress(self, message: InFlight) -> InFlight:
        """To whom it goes when it arrives."""
        return message


class StillBackups(StillWorld, PrimaryBackup):
    """The same with a backup. The leases have a clock of their own, by which one is over when somebody takes over.

    There are no heartbeats, so whoever was replaced learns it by its next append.
    """

    def __init__(self, of: str, *, rules: Rules, tls: bool, directory: str | None = None) -> None:
        self._lease_clock = Clock(START)
        PrimaryBackup.__init__(self, of, rules=rules, tls=tls, server="", directory=directory)

    def _connect(self, node: Node) -> SQLiteLog:
        fencing = self.rules.fence_the_replaced_primary
        return SQLiteLog(node.path, shared=True, now=self._lease_clock.read, fencing=fencing)

    def take_over(self, who: str, *, epoch: int = 0) -> None:
        self._lease_clock.advance(int(LEASE_S))
        super().take_over(who, epoch=epoch)

    def find_key(self, name: str) -> KeyPair:
        """A gateway that proposes knows of its peer what it was told."""
        side = self._sides[Role.SENDER]
        if side.ring is None or name != self._sides[Role.RECIPIENT].id:
            return super().find_key(name)
        return self.key(side.ring.current(name).gateway_id)

    def readdress(self, message: InFlight) -> InFlight:
        """An offer for a node that does not answer goes to the other one."""
        if message.name != OFFER or message.target.is_awake:
            return message
        others = [node for node in self._list_nodes(message.target.role) if node.is_awake]
        return replace(message, target=others[0]) if others else message

    def is_in_order(self, who: str) -> bool:
        """Whether along the log of a gateway no epoch is followed by an older one."""
        with closing(self._read_store(self._side(who))) as store:
            return is_in_order([store.getLog(name) for name in store.getSessions()])

    def _beat(self) -> None:
        """Nobody does."""


class Replay:
    """A behaviour that was played: its World, its Trace, its picture."""

    def __init__(self, text: str, *, tls: bool = False) -> None:
        self.text = " ".join(text.split())
        self.conditions, self.tokens = read_conditions(text)
        self.started: dict[int, tuple[str, str]] = {}  # session and asset of each transfer, by its number
        self.world = self._make_world(tls=tls)
        self.trace = self.world.trace
        for token in self.tokens:
            self.play(token)

    @property
    def figure(self) -> Figure:
        return Figure(self.trace, str(self.conditions.rules), [self.end], has_stages=len(self.world.sessions) < 2)

    @property
    def end(self) -> Note:
        """Who owns the asset now, for below the figure."""
        return describe_end(self.world)

    def _make_world(self, *, tls: bool) -> StillWorld:
        """Its files are in memory where the machine has such a place: nothing here ends a machine."""
        directory, rules, backup_of = make_directory(), self.conditions.rules, self.conditions.backup_of
        world = (
            StillBackups(backup_of, rules=rules, tls=tls, directory=directory.name)
            if backup_of
            else StillWorld(rules=rules, tls=tls, directory=directory.name)
        )
        weakref.finalize(world, directory.cleanup)
        return world

    def play(self, token: str) -> None:
        """One action more. Misuse, with the action, if it cannot be."""
        try:
            self._play(token)
        except Misuse as misuse:
            raise Misuse(f"{token!r} of this replay cannot be played: {misuse}") from misuse

    def _play(self, token: str) -> None:
        found = TOKEN.fullmatch(token)
        if found is None:
            raise Misuse("it is no action: a message such as 3.3, or start, wait, S.crash, R.restart")
        how, word, nth, stop, cut, number = found.groups()
        crash = Crash(int(number), cut == "a", stop == "/") if cut else None
        of_a_side, start = OF_A_SIDE.fullmatch(word), re.fullmatch(r"start([1-9]\d*)?", word)
        what = of_a_side[3] if of_a_side is not None else word
        verify_fits(found, what, is_message=not (of_a_side or start or word == "wait"))
        if word == "wait":
            self.world.wait(LOCK_S + 1)
        elif start is not None:
            self._arm(self.world._side(Role.SENDER), crash)
            self._start(int(start[1] or 1))
        elif of_a_side is not None:
            if of_a_side[4] and what not in COUNTED:
                raise Misuse(f"a number stands after {' or '.join(COUNTED)} alone")
            role = LETTERS[of_a_side[1]]
            side = self.world._side(self.world._sides[role].id + (of_a_side[2] or ""))
            self._play_side(role, side, what, of_a_side[4], crash)
        else:
            self._play_message(self._find(word, int(nth or 1)), how, crash)
        self._verify_crashed(crash)

    def _start(self, number: int) -> None:
        """The first transfer that begins is the example's own, whatever its number."""
        if number in self.started:
            raise Misuse("this transfer has begun")
        asset = f"asset {number}" if self.started else None
        session = self.world.start(asset, lock_type=self.conditions.lock_type)
        self.started[number] = (session, asset or CLAIM["digitalAssetId"])

    def _find_started(self, number: int) -> str:
        if number not in self.started:
            raise Misuse("this transfer has not begun")
        return self.started[number][0]

    def _play_message(self, message: InFlight, how: str, crash: Crash | None) -> None:
        world = self.world
        if how != "+":
            world.link.remove(message)
        message = world.readdress(message)
        if how == "-":
            world.trace.add(message.as_lost(world.now))
            return
        self._arm(message.target, crash)
        world._deliver(message)

    def _play_side(self, role: Role, side: Side, what: str, about: str, crash: Crash | None) -> None:
        world, name = self.world, side.name
        self._arm(side, crash)
        match what:
            case "crash":
                world.crash(name)
            case "restart" | "restart-stage":
                world.restart(name, "stage" if what.endswith("stage") else "last-message")
            case "time-out":
                world.trace.add(TimedOut(world.now, name))
                world._live(side, lambda gateway: gateway.on_time_out())
            case "abort":
                world.abort(role, "the application wants to leave", self._find_started(int(about or 1)))
            case "forget":
                world.forget(name, int(about) if about else None)
            case "lose-key":
                world.lose_key(name)
            case "cut":
                world.cut(by=name)
            case "land" | "wake" | "take-over":
                self._play_node(name, what)

    def _play_node(self, name: str, what: str) -> None:
        """An order that lands late; and what only happens where somebody has a backup."""
        if what == "land":
            self.world.land(name)
            return
        if not isinstance(self.world, StillBackups):
            raise Misuse("nobody has a backup; begin with: backup of sender;")
        (self.world.wake if what == "wake" else self.world.take_over)(name)

    def _arm(self, side: Side, crash: Crash | None) -> None:
        if crash is None:
            return
        halt = self.world.pause if crash.is_pause else self.world.crash
        before, after = (None, crash.number) if crash.is_after else (crash.number, None)
        halt(side.name, before=before, after=after)

    def _verify_crashed(self, crash: Crash | None) -> None:
        if crash is not None and any(node.wire.armed for node in self.world._nodes):
            raise Misuse("there are not so many durable acts")

    def _find(self, label: str, nth: int) -> InFlight:
        found = [each for each in self.world.link if label_in_world(each) == label]
        if len(found) < nth:
            present = [label_in_world(each) for each in self.world.link]
            raise Misuse(f"there is no such message on its way; there are {', '.join(present) or 'none'}")
        return found[nth - 1]

    # ------------------------------------------------------------------ looking at it

    @property
    def scene(self) -> Scene:
        """What both sides show at the end."""
        one, other = (self._view(self.world._side(role)) for role in Role)
        return Scene(one, other, not self.world.link)

    def _view(self, side: Side) -> View:
        gateway = side.gateway
        transfers = tuple(
            Transfer(*show_session(self._find_session(side, name)), *show_ledger(side.ledger, side.id, name, asset))
            for _, (name, asset) in sorted(self.started.items())
        )
        if not isinstance(side, Node) or not isinstance(self.world, StillBackups):
            return View(gateway is not None, is_comparing(gateway), transfers)
        is_up = any(node.gateway is not None for node in self.world._list_nodes(side.role))
        is_in_order = self.world.is_in_order(side.name)
        return View(is_up, is_comparing(gateway) or not side.is_awake, transfers, is_in_order=is_in_order)

    def _find_session(self, side: Side, session_id: str) -> Session | None:
        if side.gateway is not None and side.is_awake:
            return side.gateway.find_session(session_id)
        return read_session(session_id, side.id, self.world.log(side.name, session_id))

    def list_broken(self, properties: Iterable[Property]) -> list[Property]:
        """Those of the properties that do not hold at the end."""
        return [each for each in properties if not each.holds(self.scene)]

    def _repr_svg_(self) -> str:
        return self.figure.svg

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.figure.ascii}\n\n{self.world!r}"


def replay(text: str, *, tls: bool = False) -> Replay:
    """Play a behaviour, as an exploration wrote it or as you write it. Misuse, with what there is, if it cannot be."""
    return Replay(text, tls=tls)
