"""Random schedules of two channels: commands that depend on each other, a bad network, crashes, lost databases.

Afterwards the network is good again, everybody is up, and each side asks once how the channel is. Then both
sides hold the same versions with the same signatures, every command has one outcome on both sides, nothing
is unanswered. No object is disputed while lost memories are lost one at a time and by name. A copy of a database
that was put back keeps its name and may bring a dispute about: then both sides know it and have stopped.
"""

import contextlib
import os
import random
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from protocol.channel_store import ChannelStore
from protocol.channel_world import ChannelWorld, Copies
from protocol.errors import Misuse, NotYet
from protocol.objects import History
from protocol.signing import read_payload
from tests.schedules import run_schedules

SIDES = st.sampled_from(["C", "D"])
STATUSES = st.sampled_from(["needs_kyc_data", "pending_review", "soft_match", "ready_for_settlement", "abort"])
SCHEDULES = int(os.environ.get("SCHEDULES", "500"))
SEED = int(os.environ.get("SEED", random.randrange(10**9)))


class TwoChannels(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = ChannelWorld()
        self.payments: list[str] = []
        self.backups: dict[str, list[ChannelStore]] = {"C": [], "D": []}
        self.has_new_key = False
        self.is_forgetful = False  # an old copy of a database was put back: it keeps the name of its memory

    def is_up(self, side: str) -> bool:
        return self.world.places[side].channel is not None

    def is_sane(self, side: str) -> bool:
        return self.is_up(side) and not self.world[side].recovery.is_open

    def try_to(self, side: str, action: Callable[[], object]) -> None:
        if self.is_up(side):
            with contextlib.suppress(Misuse, NotYet):  # our own side would not send this: nothing has happened
                action()

    @rule(side=SIDES)
    def create(self, side: str) -> None:
        self.try_to(side, lambda: self.payments.append(self.world.create(side)))

    @precondition(lambda self: self.payments)
    @rule(side=SIDES, which=st.integers(0, 99), status=STATUSES, retry=st.booleans())
    def change_status(self, side: str, which: int, status: str, retry: bool) -> None:
        payment = self.payments[which % len(self.payments)]
        self.try_to(side, lambda: self.world.update(side, payment, retry=retry, status={"status": status}))

    @precondition(lambda self: self.payments)
    @rule(side=SIDES, which=st.integers(0, 99))
    def append_metadata(self, side: str, which: int) -> None:
        payment = self.payments[which % len(self.payments)]
        if self.is_up(side) and (shared := self.world[side].store.find_object(payment)) is not None:
            metadata = [*shared.payment[self.world.role(side, payment)]["metadata"], "more"]
            self.try_to(side, lambda: self.world.update(side, payment, metadata=metadata))

    @rule(side=SIDES)
    def send_nothing(self, side: str) -> None:
        command = {"_ObjectType": "EmptyCommand", "_reads": {}, "_writes": {}}
        self.try_to(side, lambda: self.world.act(side, lambda channel: channel.issue(command, self.world.now)))

    @rule()
    def send(self) -> None:
        self.world.collect()

    @precondition(lambda self: self.world.link)
    @rule(which=st.integers(0, 99), keep=st.booleans())
    def deliver(self, which: int, keep: bool) -> None:
        self.world.deliver(which % len(self.world.link), keep)

    @precondition(lambda self: self.world.link)
    @rule(times=st.integers(1, 6))
    def deliver_some(self, times: int) -> None:
        for _ in range(times):
            if self.world.link:
                self.world.deliver(0)
            else:
                self.world.collect()

    @precondition(lambda self: self.world.link)
    @rule(which=st.integers(0, 99))
    def drop(self, which: int) -> None:
        self.world.drop(self.world.link.pop(which % len(self.world.link)))

    @rule(seconds=st.sampled_from([1, 2, 5, 70]))
    def wait(self, seconds: int) -> None:
        self.world.now += seconds
        self.world.collect()

    @rule(side=SIDES, number=st.integers(1, 3), is_before=st.booleans())
    def crash(self, side: str, number: int, is_before: bool) -> None:
        if self.is_up(side):
            self.world.crash(side, before=number) if is_before else self.world.crash(side, after=number)

    @rule(side=SIDES)
    def restart(self, side: str) -> None:
        self.world.restart(side)

    @rule(side=SIDES)
    def lose_database(self, side: str) -> None:
        if self.is_sane("D" if side == "C" else "C"):
            self.world.lose_database(side)
            self.world.restart(side)

    @rule(side=SIDES)
    def replace_key(self, side: str) -> None:
        self.world.replace_key(side)
        self.has_new_key = True

    @rule(side=SIDES)
    def copy_database(self, side: str) -> None:
        self.backups[side].append(self.world.copy_database(side))

    @rule(side=SIDES, which=st.integers(0, 99))
    def put_back(self, side: str, which: int) -> None:
        if self.backups[side] and self.is_sane("D" if side == "C" else "C"):
            self.world.put_back(side, self.backups[side][which % len(self.backups[side])])
            self.world.restart(side)
            self.is_forgetful = True

    def agree(self, histories: dict[str, dict[str, History]]) -> bool:
        """Byte by byte. Who went back to an old copy and had its key replaced says the same under two keys."""
        if not (self.is_forgetful and self.has_new_key):
            return Copies(histories).agree()
        said = [
            [
                [(v.name, v.reads, read_payload(v.signed), read_payload(v.answer or "")) for v in h]
                for h in pair.values()
            ]
            for pair in histories.values()
        ]
        return all(first == second for first, second in said)

    def teardown(self) -> None:
        world = self.world
        for side in ("C", "D"):
            world.restart(side)
        world.run()
        for side in ("C", "D"):
            world[side].recovery.ask_health()
        world.run()
        c, d = world["C"], world["D"]
        disputed = {dispute.subject for dispute in c.store.list_disputes()}
        assert disputed == {dispute.subject for dispute in d.store.list_disputes()}, f"one sees it\n{world.trace}"
        assert self.is_forgetful or not disputed, "one memory was lost at a time, and by its name: no fork"
        histories = {name: pair for name, pair in world.copies.histories.items() if name not in disputed}
        assert self.agree(histories), f"the copies differ\n{world.copies}\n{world.trace}"
        assert c.store.list_open().items() ^ d.store.list_open().items() <= {
            (name, head) for channel in (c, d) for name, head in channel.store.list_open().items() if name in disputed
        }
        assert not c.recovery.is_open and not d.recovery.is_open
        for channel in (c, d):
            unanswered = [*channel.store.list_pending(), *channel.store.list_unexplained()]
            stuck = [record for record in unanswered if record.reference_id not in disputed or record.reason is None]
            assert not stuck, f"{stuck} of {channel}\n{world.trace}"
            assert not channel.outbox, "nothing is left to be sent"
        for record in world.copy_database("C")._records.values():  # type: ignore[attr-defined]
            if record.reference_id in disputed:
                continue
            # A side that lost its memory may not know a command any more.
            other = d.store.find_record(record.author, record.cid) or record
            assert other.state == record.state, f"{record} and {other}"
            is_same = other.response == record.response or (self.is_forgetful and self.has_new_key)
            assert record.state == "failure" or is_same, "one success, one signature"


def test_no_schedule_makes_the_copies_differ(capsys: pytest.CaptureFixture[str]) -> None:
    run_schedules(TwoChannels, SCHEDULES, SEED, "two channels", capsys)
