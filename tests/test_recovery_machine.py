"""Random faults while many sessions run at once, in both directions, under all lock types, on the real gateways.

Messages come late, twice, out of order or never; locks expire; applications abort; gateways crash between any two
durable acts, also while they recover, and lose entries, logs and keys. After every step no asset is usable twice and
nothing final is undone. At the end everybody is up and nothing interferes: then everything comes to rest, each asset
has one owner, and both gateways say the same.

What nobody can promise is left out. A gateway that loses its key and entries of its log has lost the preimage of its
hash lock: so a gateway loses one or the other. A message of an ended connection arrives no more: a restart ends it.
Transfer-Resume and Transfer-Continue need no connection, and old copies of them arrive at any time.
"""

from __future__ import annotations

import os
import random
from contextlib import ExitStack

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from protocol.errors import Misuse, NotYet
from protocol.faults import CrashPoint
from protocol.link import PLAIN, InFlight
from protocol.messages.recovery import NAMES
from protocol.steps import TABLE_1, Role
from tests.at_rest import come_to_rest, find_final, find_unsafe, find_unsettled, make_world, verify_chains
from tests.schedules import run_schedules

ROLES = st.sampled_from(list(Role))
LOCK_TYPES = st.sampled_from(["HASH_TIME_LOCK", "HASH_LOCK", "TIME_LOCK"])
LABELS = st.sampled_from([*(row.number for row in TABLE_1 if not row.is_action), *NAMES])
STARTS = st.sampled_from(["last-message", "stage"])
MOST_SESSIONS = 5
ALLOWED = ("the session is over", "the asset is burned", "commit-ready may have been sent", "knows no session")
SCHEDULES = int(os.environ.get("SCHEDULES", "500")) // 10
SEED = int(os.environ.get("SEED", random.randrange(10**9)))


class ManyFaults(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.files = ExitStack()
        self.recorded: list[tuple[int, InFlight]] = []
        self.connection = 0  # counts the connections: what was on an old one cannot arrive
        self.transfers = 0
        self.final: set[str] = set()
        self.has_forgotten = dict.fromkeys(Role, False)
        self.has_lost_key = dict.fromkeys(Role, False)

    @initialize(tls=st.integers(0, 7), first=ROLES, lock_type=LOCK_TYPES)
    def begin(self, tls: int, first: Role, lock_type: str) -> None:
        self.world = self.files.enter_context(make_world("machine", tls=tls == 7))
        self.world.start(by=first, lock_type=lock_type)

    def is_up(self, role: Role) -> bool:
        return self.world._side(role).gateway is not None

    # ------------------------------------------------------------------ what applications do

    @precondition(lambda self: len(self.world.sessions) < MOST_SESSIONS)
    @rule(role=ROLES, lock_type=LOCK_TYPES, old=st.integers(0, 9))
    def start(self, role: Role, lock_type: str, old: int) -> None:
        """A transfer of a new asset; of one that was transferred before, and perhaps still is, if `old` finds one."""
        if self.is_up(role):
            assets = [asset.id for asset in self.world._side(role).ledger.assets]
            self.transfers += 1
            name = assets[old] if old < len(assets) else f"asset {self.transfers}"
            try:
                self.world.start(asset=name, by=role, lock_type=lock_type)
            except NotYet:
                self.world.sessions.pop()  # nothing has happened

    @rule(role=ROLES, which=st.integers(0, 9))
    def abort(self, role: Role, which: int) -> None:
        if self.is_up(role):
            name = self.world.sessions[which % len(self.world.sessions)]
            try:
                self.world.abort(role, "a reason", name)
            except NotYet:
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
            if self.world.link:
                self.deliver(self.world.link.pop(0))
            else:
                self.world._time_out()

    @precondition(lambda self: self.world.link)
    @rule(which=st.integers(0, 9))
    def deliver_out_of_order(self, which: int) -> None:
        self.deliver(self.world.link.pop(which % len(self.world.link)))

    @precondition(lambda self: self.recorded)
    @rule(which=st.integers(0, 99))
    def deliver_old_copy(self, which: int) -> None:
        connection, message = self.recorded[-1 - which % len(self.recorded)]
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

    @rule(seconds=st.sampled_from([1, 10, 60, 130, 1000]))
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule(by=st.none() | ROLES)
    def cut(self, by: Role | None) -> None:
        self.connection += 1
        self.world.cut(by if by is not None and self.is_up(by) else None)

    # ------------------------------------------------------------------ what happens to gateways

    @rule(role=ROLES, number=st.integers(1, 9), is_after=st.booleans())
    def crash_at_an_act(self, role: Role, number: int, is_after: bool) -> None:
        """Also of a gateway that is down: then it crashes while it recovers."""
        self.world._side(role).wire.armed = CrashPoint(number, is_after)

    @rule(role=ROLES)
    def crash(self, role: Role) -> None:
        if self.is_up(role):
            self.world.crash(role)

    @rule(role=ROLES, start=STARTS)
    def restart(self, role: Role, start: str) -> None:
        if not self.is_up(role):
            verify_chains(self.world, role)
            self.connection += 1
            self.world.restart(role, start)

    @rule(role=ROLES, entries=st.none() | st.integers(1, 12))
    def forget(self, role: Role, entries: int | None) -> None:
        if not self.is_up(role) and not self.has_lost_key[role]:
            self.world.forget(role, entries)
            self.has_forgotten[role] = True

    @rule(role=ROLES)
    def lose_key(self, role: Role) -> None:
        if not self.is_up(role) and not self.has_forgotten[role] and not self.has_lost_key[role]:
            self.world.lose_key(role)
            self.has_lost_key[role] = True

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def nothing_is_usable_twice(self) -> None:
        assert not find_unsafe(self.world), f"{find_unsafe(self.world)}\n{self.world.trace}"

    @invariant()
    def nothing_final_is_undone(self) -> None:
        now = find_final(self.world)
        assert self.final <= now, f"{self.final - now}\n{self.world.trace}"
        self.final = now

    def teardown(self) -> None:
        with self.files:
            if hasattr(self, "world"):
                come_to_rest(self.world)
                assert not find_unsettled(self.world), f"{find_unsettled(self.world)}\n{self.world.trace}"


def test_no_schedule_of_faults_loses_an_asset(capsys: pytest.CaptureFixture[str]) -> None:
    run_schedules(ManyFaults, SCHEDULES, SEED, "many sessions", capsys)
