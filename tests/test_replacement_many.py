"""Takeovers where more happens at once: several backups, both gateways, a counterparty in trouble, many sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from protocol.replacement import PrimaryBackup
from protocol.steps import SUCCESSION, Role
from protocol.trace import Accepted, TookOver
from tests.backups import BEYOND_LEASE_S, Worlds, check_settled, tell
from tests.conftest import BOB, check_transferred


@pytest.fixture
def worlds() -> Iterator[Worlds]:
    with ExitStack() as files:
        yield Worlds(files)


@pytest.fixture
def world(worlds: Worlds) -> PrimaryBackup:
    return worlds.make()


# ---------------------------------------------------------------------- more than one


def test_a_second_backup_follows_the_first(worlds: Worlds) -> None:
    world = worlds.make(backups=2)
    world.crash("GW1", at="2.1", after=2)
    world.start()
    world.run()
    world.crash("GW1-B", at="3.4", before=2)
    world.run()
    world.run()
    world.run()
    assert tell(world, TookOver) == ["GW1-B takes over from GW1: epoch 2", "GW1-C takes over from GW1-B: epoch 3"]
    check_transferred(world)
    check_settled(world)


def test_a_counterparty_that_missed_a_takeover_is_shown_all_that_came_between(worlds: Worlds) -> None:
    """GW1-C is not told of by GW1 alone: each certificate authorises the next one (here they all name each other)."""
    world = worlds.make(backups=2)
    world.crash("GW1", at="2.1", after=2)
    world.start()
    world.run()
    world.crash("GW2")
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    world.crash("GW1-B")
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-C")
    world.restart("GW2")
    world.run()
    assert tell(world, Accepted) == ["GW2 accepts GW1-B for GW1: epoch 2", "GW2 accepts GW1-C for GW1: epoch 3"]
    check_transferred(world)
    check_settled(world)


@pytest.mark.parametrize("step", ["1.3", "2.2", "3.1", "3.3", "3.5"])
def test_both_gateways_are_replaced_at_the_same_time(worlds: Worlds, step: str) -> None:
    world = worlds.make("both")
    world.start()
    world.run(until=step)
    world.crash("GW1")
    world.crash("GW2")
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    world.take_over("GW2-B")
    world.run()
    assert world.in_charge == {"GW1": "GW1-B", "GW2": "GW2-B"}
    assert sorted(tell(world, Accepted)) == [
        "GW1-B accepts GW2-B for GW2: epoch 2",
        "GW2-B accepts GW1-B for GW1: epoch 2",
    ]
    check_transferred(world)
    check_settled(world)


# ---------------------------------------------------------------------- the counterparty has trouble of its own


def take_over_in_the_middle(world: PrimaryBackup) -> None:
    world.crash("GW1", at="3.1", after=1)
    world.start()
    world.run()
    world.run(until="3.2")
    assert world.in_charge["GW1"] == "GW1-B"


@pytest.mark.parametrize("entries", [None, 2, 6])
def test_a_counterparty_loses_its_log_while_a_backup_is_in_charge(world: PrimaryBackup, entries: int | None) -> None:
    take_over_in_the_middle(world)
    world.crash("GW2")
    world.forget("GW2", entries)
    world.restart("GW2")
    world.run()
    check_transferred(world)
    check_settled(world)
    assert [entry for entry in world.log("GW2") if entry.step == SUCCESSION]


def test_a_counterparty_loses_its_key_while_a_backup_is_in_charge(world: PrimaryBackup) -> None:
    take_over_in_the_middle(world)
    world.crash("GW2")
    world.lose_key("GW2")
    world.restart("GW2")
    world.run()
    check_transferred(world)
    check_settled(world)


def test_a_takeover_while_the_counterparty_is_down(world: PrimaryBackup) -> None:
    world.start()
    world.run(until="3.3")
    world.crash("GW2")
    world.crash("GW1")
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    world.run()
    assert not tell(world, Accepted)
    world.restart("GW2")
    world.run()
    assert tell(world, Accepted) == ["GW2 accepts GW1-B for GW1: epoch 2"]
    check_transferred(world)
    check_settled(world)


# ---------------------------------------------------------------------- many


def test_many_open_sessions_at_a_takeover(worlds: Worlds) -> None:
    world = worlds.make(tls=False)
    for number in range(50):
        world.start(f"asset {number}", lock_type="HASH_LOCK")
    for _ in range(170):
        world.deliver_next()
    world.crash("GW1")
    assert len({len(world.log("GW1", name)) for name in world.sessions}) > 1, "they stand in different places"
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    world.run()
    assert len(world.owners) == 50
    assert {owner.split(": ")[0] for owner in world.owners} == {"network 43114"}
    check_settled(world)


@pytest.mark.parametrize("of", ["sender", "recipient"])
def test_a_takeover_with_transfers_in_both_directions(worlds: Worlds, of: str) -> None:
    world = worlds.make(of)
    there, back = world.start("asset 1"), world.start("asset 2", by="GW2")
    world.run(until="3.2", of=there)
    world.crash(of)
    world.run()
    world.run()
    assert world.trace.of(TookOver)
    assert len(world.owners) == 2
    assert {world.sender.session(each).role for each in (there, back)} == {"sender", "recipient"}
    assert all(world.sender.session(each).is_over and not world.sender.session(each).ending for each in (there, back))
    check_settled(world)


@pytest.mark.parametrize("who", ["GW1", "GW1-B"])
def test_a_node_that_lost_its_key_keeps_its_place_and_is_replaced_and_comes_back(who: str) -> None:
    """The owner certifies the new key, and the other node anew, because its list has to name that key."""
    world = PrimaryBackup("sender")
    world.start()
    world.run("2.2")
    world.crash("GW1")
    if who == "GW1-B":
        world.run("3.1")
        world.crash("GW1-B")
    world.lose_key(who)
    world.restart(who)
    world.run()
    assert world.is_at_rest and world.owners == [BOB] and world.in_charge["GW1"] == who
    for node in ("GW1", "GW1-B"):
        if not world.is_awake(node) and not world._node(node).is_standby:
            world.restart(node)
    for _ in range(2):
        world.crash("sender")
        world.run()
        down = [node.name for node in world._list_nodes(Role.SENDER) if not node.is_standby and not node.gateway]
        world.restart(down[0])
        world.start(by="recipient")
        world.run()
        assert world.is_at_rest
    assert world.lease("GW1").epoch >= 4  # type: ignore[union-attr]
