"""What random schedules of takeovers found, each as the shortest story that shows it.

Every one of these ended with gateways that waited for ever, or that disagreed.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from protocol.errors import Misuse
from protocol.messages.recovery import MOST_TAKEOVERS
from protocol.network import World
from protocol.replacement import PrimaryBackup
from protocol.steps import Role
from tests.at_rest import BEYOND_EXPIRY_S, find_unsettled
from tests.conftest import check_transferred


@pytest.mark.parametrize("until", ["1.2", "2.2", "3.1", "3.3", "3.7"])
def test_both_gateways_are_replaced_at_once(until: str) -> None:
    """Each backup knew only the machine that the other one had replaced, and told its takeover to nobody else."""
    world = PrimaryBackup("both", seed="regression", tls=False)
    world.start()
    world.run(until=until)
    for role in Role:
        world.crash(role)
    world.run()
    assert set(world.in_charge.values()) == {"GW1-B", "GW2-B"}
    check_transferred(world)
    assert not find_unsettled(world)


def cross_offers(world: World) -> None:
    """Two offers of the sender are on their way, and the younger one arrives first."""
    world._time_out()
    older, younger = (message for message in world.link if message.name == "transfer-resume")
    world.link[:] = [younger, older]
    world.run()
    check_transferred(world)
    assert not find_unsettled(world)


@pytest.mark.parametrize("until", ["1.2", "2.2", "2.4", "3.3"])
def test_a_succession_whose_offers_overtake_each_other(until: str) -> None:
    """RECOVER answered the younger offer, which was not the last one to arrive: the counterparty wrote no succession.

    It answered all the same, and the backup took that for its word; so every later message was refused.
    """
    world = PrimaryBackup("sender", seed="regression", tls=False)
    world.start()
    world.run(until=until)
    world.hand_over("GW1")
    world.take_over("GW1-B")
    cross_offers(world)


@pytest.mark.parametrize("until", ["1.2", "2.2", "2.4", "3.3"])
def test_a_new_key_whose_offers_overtake_each_other(until: str) -> None:
    """The same for a key that was lost."""
    world = World("regression", tls=False)
    world.start()
    world.run(until=until)
    world.crash("sender")
    world.lose_key("sender")
    world.restart("sender")
    cross_offers(world)


def test_who_stands_by_is_not_restarted() -> None:
    """It came up as one in charge and was still taken for one that watches, so it took over from itself."""
    world = PrimaryBackup("sender", seed="regression", tls=False)
    world.hand_over("GW1")
    with pytest.raises(Misuse, match="stands by already"):
        world.restart("GW1")
    world.take_over("GW1")
    assert world.in_charge["GW1"] == "GW1"
    assert world.sender is world._side("GW1").gateway


@pytest.mark.parametrize("kind", ["backup", "key"])
@pytest.mark.parametrize("until", ["2.4", "3.1", "3.3"])
def test_an_abort_that_has_to_wait_for_the_lock_is_told_by_the_successor(until: str, kind: str) -> None:
    """It was said as an abort when the TIME_LOCK was over at last, under a key of which the session knew nothing."""
    world: World = PrimaryBackup("sender", seed="regression", tls=False) if kind == "backup" else World("r", tls=False)
    world.start(lock_type="TIME_LOCK")
    world.run(until=until)
    world.link.clear()
    world.abort("sender", "a reason")
    world.crash("sender")
    if kind == "key":
        world.lose_key("sender")
        world.restart("sender")
    world.run()
    world.wait(BEYOND_EXPIRY_S)
    world.run()
    assert not find_unsettled(world)


def change_places(world: PrimaryBackup) -> None:
    """GW1 and its backup, whichever is in charge, change places."""
    one = world.in_charge["GW1"]
    world.hand_over(one)
    world.take_over("GW1-B" if one == "GW1" else "GW1")
    world.run()


@pytest.mark.parametrize("count", [MOST_TAKEOVERS + 1, MOST_TAKEOVERS + 2, MOST_TAKEOVERS + 3])
def test_more_takeovers_than_a_message_has_room_for(count: int) -> None:
    """All were told for ever, so from the 66th on the counterparty refused every offer."""
    world = PrimaryBackup("sender", seed="regression", tls=False)
    for _ in range(count):
        change_places(world)
    world.crash("recipient")
    world.forget("recipient")
    world.restart("recipient")
    world.run()
    world.start()
    world.run()
    check_transferred(world)
    assert not find_unsettled(world)
    ring = world._side("recipient").ring
    assert ring is not None
    assert (ring.current("GW1").gateway_id, ring.epoch_of("GW1")) == (world.in_charge["GW1"], count + 1)


@pytest.mark.parametrize("acts", ["GW1", "GW1-B"])
def test_the_certificate_of_a_former_backup_has_expired(acts: str) -> None:
    """Each takeover of a line was judged as if it were made now: a counterparty that lost its log refused the last one.

    Who acts now has to be valid now.
    """
    world = PrimaryBackup("sender", seed="regression", tls=False)
    backup, primary = (world._side(name).identity.key.public for name in ("GW1-B", "GW1"))
    until = world.clock.read() + timedelta(seconds=60)
    soon_over = world.registry.certify("GW1-B", backup, backups=[primary], owner_of="GW1", valid_until=until)
    world.give_certificate("GW1-B", soon_over)
    change_places(world)
    if acts == "GW1":
        change_places(world)
    world.wait(120)
    world.crash("recipient")
    world.forget("recipient")
    world.restart("recipient")
    world.run()
    ring = world._side("recipient").ring
    assert ring is not None
    assert (ring.current("GW1").gateway_id, ring.epoch_of("GW1")) == ("GW1", 3 if acts == "GW1" else 0)
    assert world.is_at_rest == (acts == "GW1")


def test_a_backup_that_restarts_tells_a_later_epoch() -> None:
    """The counterparty remembered that of the takeover, and would have taken one in between for a later one."""
    world = PrimaryBackup("sender", seed="regression", tls=False)
    change_places(world)
    world.crash("GW1-B")
    world.restart("GW1-B")
    world.run()
    ring, lease = world._side("recipient").ring, world.lease("GW1-B")
    assert ring is not None and lease is not None
    assert (ring.epoch_of("GW1"), lease.epoch) == (3, 3)


def test_a_gateway_comes_back_when_its_backup_was_revoked() -> None:
    """A revoked certificate authorises nobody; but GW1 is no backup of its backup, it is the gateway itself."""
    world = PrimaryBackup("sender", seed="regression", tls=False)
    world.start()
    world.run("2.2")
    change_places(world)
    world.revoke("GW1-B")
    world.crash("GW1-B")
    world.run()
    assert world.in_charge["GW1"] == "GW1" and world.is_at_rest
    world.start(by="recipient")
    world.run()
    assert not find_unsettled(world)


def test_an_operator_raises_the_epoch_of_a_store_that_was_lost() -> None:
    """A new store begins with epoch 1, and the counterparty remembers a higher one: nobody can tell but a human."""
    lost = {}
    for raised in (0, 7):
        world = PrimaryBackup("sender", seed="regression", tls=False)
        world.start()
        world.run("2.2")
        for _ in range(4):
            change_places(world)
        world.crash("sender")
        world.forget("sender")
        world.take_over("GW1-B", epoch=raised)
        world.run()
        lost[raised] = (world.is_at_rest, world.lease("GW1"))
        if raised:
            assert not find_unsettled(world)
    assert [is_at_rest for is_at_rest, _ in lost.values()] == [False, True]
    assert [lease.epoch for _, lease in lost.values() if lease] == [1, 7]
