"""Two agreed versions after the same one: kept, stopped and shown, on both sides."""

import pytest

from protocol.channel_world import ChannelWorld, lab_cid
from protocol.errors import Misuse
from protocol.signing import read_payload

READY, REVIEW = {"status": "ready_for_settlement"}, {"status": "pending_review"}


def make_fork() -> tuple[ChannelWorld, str]:
    """Both sides forget the same version at once, and agree on another one instead. Only D still has the first."""
    world = ChannelWorld()
    payment = world.create("C", "1")
    world.run()
    old = {name: world.copy_database(name) for name in ("C", "D")}
    world.update("C", payment, "2", metadata=["a"])
    world.run()
    kept = world.copy_database("D")
    for name in ("C", "D"):
        world.put_back(name, old[name])
        world.restart(name)
    world.run()
    world.update("C", payment, "3", metadata=["b"])
    world.run()
    world.put_back("D", kept)
    world.restart("D")
    return world, payment


@pytest.mark.parametrize("side", ["C", "D"])
def test_a_fork_is_a_dispute_on_both_sides_kept_frozen_and_shown(side: str) -> None:
    world, payment = make_fork()
    world[side].recovery.ask_history(payment)
    world.run()
    for name in ("C", "D"):
        (dispute,) = world[name].store.list_disputes()
        assert dispute.subject == payment and dispute.first != dispute.second
        assert {read_payload(dispute.first)["cid"], read_payload(dispute.second)["cid"]} == {lab_cid("2"), lab_cid("3")}
        with pytest.raises(Misuse, match="dispute"):
            world.update(name, payment, status=READY)
        assert len(world[name].store.read_history(payment)) == 2, "each keeps what it has"
    other = world.create("C", "99")
    world.run()
    assert world["D"].store.find_object(other) is not None, "other objects go on"


def fork_by_one(crash: bool = False) -> tuple[ChannelWorld, str]:
    """D, the server, agrees to version 2; before C hears of it D gets an old database back, and C agrees to 3."""
    world = ChannelWorld(server="D")
    payment = world.create("C", "1")
    world.run()
    old = world.copy_database("D")
    world.update("C", payment, "2", metadata=["a"])
    world.collect()
    world.deliver(0)
    late = world.link.pop()
    world.put_back("D", old)
    world.restart("D")
    world.update("D", payment, "3", status=REVIEW)
    world.collect()
    world.deliver(next(place for place, message in enumerate(world.link) if message.source == "D"))
    world.deliver(len(world.link) - 1)  # the yielding client's consent
    if crash:
        world.crash("C", after=1)
    world.link = [late]
    world.deliver(0)
    return world, payment


def assert_both_stopped(world: ChannelWorld, payment: str) -> None:
    for name in ("C", "D"):
        (dispute,) = world[name].store.list_disputes()
        assert dispute.subject == payment
        assert all(record.reason for record in world[name].store.list_pending()), "nothing is sent for ever"
        assert not world[name].outbox


def test_a_fork_that_only_one_side_can_see_is_shown_to_the_other() -> None:
    world, payment = fork_by_one()
    assert world["C"].store.list_disputes() and not world["D"].store.list_disputes()
    world.run()
    assert_both_stopped(world, payment)
    with pytest.raises(Misuse, match="dispute"):
        world.update("D", payment, status=READY)


def test_a_dispute_is_shown_again_after_a_crash_that_came_before_it_was_sent() -> None:
    world, payment = fork_by_one(crash=True)
    assert world.places["C"].channel is None
    world.restart("C")
    world.run()
    assert_both_stopped(world, payment)


@pytest.mark.parametrize("loser", ["C", "D"])
def test_a_side_that_forgets_a_dispute_is_shown_it_again_when_it_goes_on(loser: str) -> None:
    world, payment = fork_by_one()
    world.run()
    world.lose_database(loser)
    world.restart(loser)
    world.run()
    if not world[loser].store.list_disputes():
        world.update(loser, payment, "4", status=READY)
    world.run()
    assert_both_stopped(world, payment)
