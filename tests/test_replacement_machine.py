"""Random faults where several nodes can act for a gateway: dead, slow, cut off, parted, and all of it at once.

Messages come late, twice, out of order or never; nodes crash and pause between any two durable acts, also while they
take over; orders land late; leases run out, are handed over and come back. After every step nothing is usable twice and
nothing final is undone, of two contradicting actions on a ledger one at most took effect, and along a shared log the
epochs never go back. At the end everybody is up and reaches everybody: then everything comes to rest, each asset has
one owner, and both gateways say the same.

A message of an ended connection arrives no more, and a takeover ends those of the predecessor. Transfer-Resume and
Transfer-Continue need no connection: old copies of them arrive at any time.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections import Counter
from contextlib import ExitStack, closing

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import Misuse, NotYet
from protocol.faults import CrashPoint
from protocol.link import PLAIN, InFlight
from protocol.log import StorageFailed
from protocol.messages.recovery import NAMES
from protocol.replacement import Node, PrimaryBackup
from protocol.steps import TABLE_1, Role
from protocol.takeovers import make_directory
from protocol.trace import Accepted, Crashed, FencedOff, Forgotten, HandedOver, Restarted, TookOver
from tests.at_rest import come_to_rest, find_final, find_unsafe, find_unsettled
from tests.schedules import run_schedules

ROLES = st.sampled_from(list(Role))
NODES = st.integers(0, 5)
LOCK_TYPES = st.sampled_from(["HASH_TIME_LOCK", "HASH_LOCK", "TIME_LOCK"])
LABELS = st.sampled_from([*(row.number for row in TABLE_1 if not row.is_action), *NAMES])
STARTS = st.sampled_from(["last-message", "stage"])
MOST_SESSIONS = 3
ALLOWED = ("the session is over", "the asset is burned", "commit-ready may have been sent", "knows no session")
SCHEDULES = int(os.environ.get("SCHEDULES", "500")) // 20
SEED = int(os.environ.get("SEED", random.randrange(10**9)))
ENDS_CONNECTIONS = (Accepted, Crashed, FencedOff, Forgotten, HandedOver, Restarted, TookOver)


def heal_all(world: PrimaryBackup) -> None:
    """Nothing is in the way any more: everybody is up, awake, and reaches everybody."""
    world.carrier.to_lose.clear()
    world.carrier.to_repeat.clear()
    for node in world._nodes:
        node.wire.armed = None
        if node.wire.is_cut_off:
            world.heal_store(node.name)
    for pair in list(world._parted):
        world.heal(*pair)
    for node in world._nodes:
        if node.is_paused:
            world.wake(node.name)
    for node in world._nodes:
        if node.gateway is None and not (isinstance(node, Node) and node.is_standby):
            world.restart(node.name)


def find_contradictions(world: PrimaryBackup) -> list[str]:
    """The locks and mints that were ended twice."""
    actions = [action for ledger in world.ledgers for name in ("GW1", "GW2") for action in ledger.actions_of(name)]
    ends = Counter(action.under for action in actions if action.under is not None)
    return [f"ended {count} times: {name}" for name, count in ends.items() if count > 1]


class Takeovers(RuleBasedStateMachine):
    OF = "both"

    def __init__(self) -> None:
        super().__init__()
        self.files = ExitStack()
        self.recorded: list[tuple[int, InFlight]] = []
        self.transfers = 0
        self.final: set[str] = set()
        self.read: dict[Role, tuple[int, int]] = dict.fromkeys(Role, (0, 0))  # the last row read, and its epoch

    @initialize(tls=st.integers(0, 7), first=ROLES, lock_type=LOCK_TYPES)
    def begin(self, tls: int, first: Role, lock_type: str) -> None:
        directory = self.files.enter_context(make_directory())
        self.world = PrimaryBackup(self.OF, backups=2, seed="machine", directory=directory, tls=tls == 7)
        self.files.callback(self.world.close)
        self.world.start(by=first, lock_type=lock_type)

    @property
    def connection(self) -> int:
        """Counts what ends connections: what was on an old one cannot arrive."""
        return len(self.world.trace.of(*ENDS_CONNECTIONS))

    def node(self, number: int) -> Node:
        nodes = self.world._nodes
        return nodes[number % len(nodes)]  # type: ignore[return-value]

    # ------------------------------------------------------------------ what applications do

    @precondition(lambda self: len(self.world.sessions) < MOST_SESSIONS)
    @rule(role=ROLES, lock_type=LOCK_TYPES, old=st.integers(0, 9))
    def start(self, role: Role, lock_type: str, old: int) -> None:
        """A transfer of a new asset; of one that was transferred before, and perhaps still is, if `old` finds one."""
        if self.world._side(role).is_awake:
            assets = [asset.id for asset in self.world._side(role).ledger.assets]
            self.transfers += 1
            name = assets[old] if old < len(assets) else f"asset {self.transfers}"
            try:
                self.world.start(asset=name, by=role, lock_type=lock_type)
            except (NotYet, StorageFailed):
                self.world.sessions.pop()  # nothing has happened

    @rule(number=NODES, which=st.integers(0, 9))
    def abort(self, number: int, which: int) -> None:
        if self.node(number).is_awake:
            name = self.world.sessions[which % len(self.world.sessions)]
            try:
                self.world.abort(self.node(number).name, "a reason", name)
            except (NotYet, StorageFailed):
                pass
            except Misuse as misuse:
                assert any(words in str(misuse) for words in ALLOWED), misuse

    # ------------------------------------------------------------------ what the network does

    def deliver(self, message: InFlight) -> None:
        self.recorded.append((self.connection, message))
        self.world._deliver(message)

    @rule(times=st.integers(1, 12))
    def deliver_next(self, times: int) -> None:
        for _ in range(times):
            message = self.world.carrier.find_next()
            if message is None:
                self.world._time_out()
            else:
                self.world.link.remove(message)
                self.deliver(message)

    @precondition(lambda self: self.world.link)
    @rule(which=st.integers(0, 9))
    def deliver_out_of_order(self, which: int) -> None:
        self.deliver(self.world.link.pop(which % len(self.world.link)))

    @precondition(lambda self: self.recorded)
    @rule(which=st.integers(0, 99))
    def deliver_old_copy(self, which: int) -> None:
        connection, message = self.recorded[-1 - which % len(self.recorded)]
        if frozenset((message.source.name, message.target.name)) in self.world._parted:
            return
        if connection == self.connection or message.name in PLAIN:
            self.world._deliver(message)

    @precondition(lambda self: self.world.link)
    @rule(which=st.integers(0, 9))
    def drop(self, which: int) -> None:
        self.world.link.pop(which % len(self.world.link))

    @rule(label=LABELS, twice=st.booleans())
    def lose_or_repeat(self, label: str, twice: bool) -> None:
        (self.world.repeat if twice else self.world.lose)(label)

    @rule()
    def time_out(self) -> None:
        self.world._time_out()

    @rule(seconds=st.sampled_from([1, 10, 31, 130, 1000]))
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule(one=NODES, other=NODES)
    def part(self, one: int, other: int) -> None:
        if self.node(one).role is not self.node(other).role:
            self.world.part(self.node(one).name, self.node(other).name)

    @precondition(lambda self: self.world._parted)
    @rule()
    def heal(self) -> None:
        self.world.heal(*sorted(min(self.world._parted, key=sorted)))

    # ------------------------------------------------------------------ what happens to nodes

    @rule(number=NODES, act=st.integers(1, 9), is_after=st.booleans(), is_pause=st.booleans())
    def stop_at_an_act(self, number: int, act: int, is_after: bool, is_pause: bool) -> None:
        """Also one that is down or stands by: then it stops while it comes up or takes over."""
        if not self.node(number).is_paused:
            self.node(number).wire.armed = CrashPoint(act, is_after, is_pause=is_pause)

    @rule(role=ROLES, is_pause=st.booleans())
    def stop(self, role: Role, is_pause: bool) -> None:
        """The one in charge, between two pieces of work."""
        side = self.world._side(role)
        if is_pause and side.is_awake:
            self.world.pause(side.name)
        elif side.gateway is not None:
            self.world.crash(side.name)

    @rule(number=NODES)
    def come_back(self, number: int) -> None:
        """Whatever it is that keeps this node away ends."""
        node = self.node(number)
        if node.wire.is_cut_off:
            self.world.heal_store(node.name)
        elif node.is_paused:
            self.world.wake(node.name)

    @rule(number=NODES, start=STARTS)
    def restart(self, number: int, start: str) -> None:
        node = self.node(number)
        if node.gateway is None and not node.wire.is_cut_off:
            try:
                self.world.restart(node.name, start)
            except Misuse as misuse:
                assert "stands by already" in str(misuse), misuse

    @rule(number=NODES)
    def land(self, number: int) -> None:
        if self.node(number).wire.in_flight is not None:
            self.world.land(self.node(number).name)

    @rule(number=NODES)
    def cut_store(self, number: int) -> None:
        if isinstance(self.node(number), Node) and not self.node(number).wire.is_cut_off:
            self.world.cut_store(self.node(number).name)

    @rule(number=NODES)
    def hand_over(self, number: int) -> None:
        node = self.node(number)
        if isinstance(node, Node) and node.is_awake and not node.wire.is_cut_off:
            self.world.hand_over(node.name)

    @rule(number=NODES)
    def take_over(self, number: int) -> None:
        node = self.node(number)
        if isinstance(node, Node) and node.is_standby and not node.wire.is_cut_off:
            try:
                self.world.take_over(node.name)
            except NotYet:
                lease = self.world.lease(node.name)
                assert lease is not None
                assert not lease.is_over(self.world.clock.read())

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def nothing_is_usable_twice(self) -> None:
        found = find_unsafe(self.world) + find_contradictions(self.world)
        assert not found, f"{found}\n{self.world.trace}"

    @invariant()
    def nothing_final_is_undone(self) -> None:
        now = find_final(self.world)
        assert self.final <= now, f"{self.final - now}\n{self.world.trace}"
        self.final = now

    @invariant()
    def epochs_never_go_back(self) -> None:
        """In the order in which the store took the entries."""
        for role in Role if os.environ.get("SHARED_LOG") is None else ():
            last, epoch = self.read[role]
            with closing(sqlite3.connect(self.world._side(role).path)) as database:
                query = "SELECT rowid, body FROM entry WHERE rowid > ? ORDER BY rowid"
                rows = database.execute(query, (last,)).fetchall()
            for row, body in rows:
                written = json.loads(body).get("epoch", 0)
                assert written >= epoch, f"epoch {written} after {epoch}\n{self.world.trace}"
                last, epoch = row, written
            self.read[role] = (last, epoch)

    def teardown(self) -> None:
        with self.files:
            if hasattr(self, "world"):
                heal_all(self.world)
                come_to_rest(self.world)
                assert not find_unsettled(self.world), f"{find_unsettled(self.world)}\n{self.world.trace}"
                self.epochs_never_go_back()


class TakeoversOfSender(Takeovers):
    OF = "sender"


@pytest.mark.parametrize("machine", [Takeovers, TakeoversOfSender])
def test_no_schedule_of_takeovers_loses_an_asset(machine: type[Takeovers], capsys: pytest.CaptureFixture[str]) -> None:
    run_schedules(machine, SCHEDULES, SEED, f"takeovers of {machine.OF}", capsys)
