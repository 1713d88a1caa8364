"""How a gateway can fail and be replaced, each way told once, in plain words.

The sweep of all of them is in test_replacement_campaign.py. Here are the single situations, for a reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from protocol.errors import NotYet
from protocol.replacement import PrimaryBackup
from protocol.signing import read_payload
from protocol.steps import SUCCESSION
from protocol.trace import Accepted, Acted, Connected, Denied, FencedOff, HandedOver, TookOver
from tests.at_rest import BEYOND_EXPIRY_S
from tests.backups import BEYOND_LEASE_S, Worlds, check_settled, tell
from tests.conftest import ALICE, BOB, check_transferred


@pytest.fixture
def worlds() -> Iterator[Worlds]:
    with ExitStack() as files:
        yield Worlds(files)


@pytest.fixture
def world(worlds: Worlds) -> PrimaryBackup:
    return worlds.make()


# ---------------------------------------------------------------------- dead


def test_a_dead_primary_is_replaced_when_its_lease_has_run_out(world: PrimaryBackup) -> None:
    world.crash("GW1", at="3.4", before=2)
    world.start()
    world.run()
    with pytest.raises(NotYet, match="the lease of GW1"):
        world.take_over("GW1-B")
    world.run()
    assert tell(world, TookOver, Accepted) == [
        "GW1-B takes over from GW1: epoch 2",
        "GW2 accepts GW1-B for GW1: epoch 2",
    ]
    assert world.in_charge == {"GW1": "GW1-B", "GW2": "GW2"}
    check_transferred(world)
    check_settled(world)


def test_both_logs_say_who_acts_now_and_who_wrote(world: PrimaryBackup) -> None:
    world.crash("GW1", at="3.1", after=1)
    world.start()
    world.run()
    world.run()
    own, others = world.log("GW1-B"), world.log("GW2")
    assert [entry.payload["succession"]["backupId"] for entry in own if entry.step == SUCCESSION] == ["GW1-B"]
    assert [entry.payload["succession"]["epoch"] for entry in others if entry.step == SUCCESSION] == [2]
    assert {(entry.gatewayId, entry.writerId, entry.epoch) for entry in own} == {("GW1", None, 1), ("GW1", "GW1-B", 2)}
    assert {(entry.gatewayId, entry.writerId, entry.epoch) for entry in others} == {("GW2", None, None)}


def test_a_backup_never_resumes_the_tls_session_of_the_primary(world: PrimaryBackup) -> None:
    world.crash("GW1", at="3.1", after=1)
    world.start()
    world.run()
    world.run()
    connected = [event for event in world.trace if isinstance(event, Connected)]
    assert [(event.one, event.other, event.is_resumed) for event in connected] == [
        ("GW1", "GW2", False),
        ("GW1-B", "GW2", False),
    ]


def test_a_dead_recipient_is_replaced_too(worlds: Worlds) -> None:
    world = worlds.make("recipient")
    world.crash("GW2", at="3.6", before=2)
    world.start()
    world.run()
    world.run()
    assert world.in_charge == {"GW1": "GW1", "GW2": "GW2-B"}
    check_transferred(world)
    check_settled(world)


def test_a_proposal_that_the_peer_never_logged_ends_with_its_key(world: PrimaryBackup) -> None:
    """The claim names the key of the primary, and the backup signs: that is agreed in a session that both know only.

    So the transfer ends before anything was locked, and the application proposes a new one.
    """
    world.crash("GW1", at="1.1", after=1)
    world.start()
    world.run()
    world.run()
    assert "invalid senderGatewaySignaturePublicKey" in str(world.sender.session(world.sessions[0]).ending)
    assert world.owners == [ALICE]
    check_settled(world)
    world.start(world.origin.assets[0].id)
    world.run()
    assert world.owners == [BOB]
    check_settled(world)


# ---------------------------------------------------------------------- slow


def test_a_slow_primary_learns_at_its_next_append_that_it_was_replaced(world: PrimaryBackup) -> None:
    world.pause("GW1", at="3.4", before=2)
    world.start()
    world.run()
    world.run()
    assert world.in_charge["GW1"] == "GW1-B"
    world.wake("GW1")
    assert tell(world, FencedOff) == ["GW1 is fenced: GW1-B writes under epoch 2"]
    assert str(world.trace.events[-2]) == "network 1 does burn for GW1 (did so before)"
    check_transferred(world)
    check_settled(world)


def pause_with_the_burn_on_its_way(world: PrimaryBackup) -> None:
    world.pause("GW1", at="3.4", before=2)
    world.start()
    world.run()
    assert world._side("GW1").wire.in_flight is not None


def test_a_burn_that_lands_after_the_backup_has_cancelled_it_is_refused(world: PrimaryBackup) -> None:
    """The lock was over when the backup came: it has the burn refused for good, and leaves with the receipt."""
    pause_with_the_burn_on_its_way(world)
    world.wait(BEYOND_EXPIRY_S)
    world.take_over("GW1-B")
    world.run()
    assert world.owners == [ALICE]
    assert "3.4" in world.sender.session(world.sessions[0]).cancelled
    assert world.land("GW1") is None
    assert tell(world, Denied) == ["network 1 refuses burn to GW1: this operation was cancelled for good"]
    world.wake("GW1")
    world.run()
    assert tell(world, FencedOff) == ["GW1 is fenced: GW1-B writes under epoch 2"]
    assert world.owners == [ALICE]
    check_settled(world)


def test_a_burn_that_lands_before_the_backup_has_cancelled_it_leads_forward(world: PrimaryBackup) -> None:
    """The log says "begun" and no more. The backup asks the network, after the lock's time too, and believes it."""
    pause_with_the_burn_on_its_way(world)
    assert world.land("GW1") is not None
    world.wait(BEYOND_EXPIRY_S)
    world.take_over("GW1-B")
    world.run()
    world.wake("GW1")
    world.run()
    check_transferred(world)
    check_settled(world)


def test_a_burn_that_lands_while_the_backup_compares_leads_forward(world: PrimaryBackup) -> None:
    pause_with_the_burn_on_its_way(world)
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    assert str(world.trace.events[-1]) == "GW1-B asks network 1: burn? no"
    world.deliver_next()
    assert world.land("GW1") is not None
    world.run()
    assert tell(world, Acted).count("network 1 does burn for GW1 (late)") == 1
    assert not [event for event in world.trace.of(Acted) if event.gateway == "GW1-B" and event.step == "3.4"]  # type: ignore[attr-defined]
    check_transferred(world)
    check_settled(world)


def test_a_lock_that_lands_after_the_backup_has_cancelled_it_is_refused(world: PrimaryBackup) -> None:
    """The recipient wants to leave meanwhile. What was begun is cancelled first, so nothing is locked for ever."""
    world.pause("GW1", at="2.1", before=2)
    world.start()
    world.run()
    world.abort("GW2", "the application changed its mind")
    world.run()
    assert world.in_charge["GW1"] == "GW1-B"
    assert world.land("GW1") is None
    world.wake("GW1")
    world.run()
    assert world.owners == [ALICE]
    check_settled(world)


def test_whoever_was_fenced_says_so_and_becomes_the_backup_and_takes_over_again(world: PrimaryBackup) -> None:
    world.pause("GW1", at="2.1", before=1)
    world.start()
    world.run()
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    world.wake("GW1")
    with pytest.raises(NotYet, match="the lease of GW1-B"):
        world.take_over("GW1")
    world.crash("GW1-B", at="3.4", after=2)
    world.run()
    world.run()
    assert tell(world, TookOver, FencedOff, Accepted) == [
        "GW1-B takes over from GW1: epoch 2",
        "GW1 is fenced: GW1-B writes under epoch 2",
        "GW2 accepts GW1-B for GW1: epoch 2",
        "GW1 takes over from GW1-B: epoch 3",
        "GW2 accepts GW1 for GW1: epoch 3",
    ]
    check_transferred(world)
    check_settled(world)


def test_what_a_replaced_primary_still_says_no_longer_counts(world: PrimaryBackup) -> None:
    """Its next message is in its memory, signed and logged, when it is stopped. Woken, it sends it."""
    world.pause("GW1", at="3.1", after=1)
    world.start()
    world.run()
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    world.deliver_next()
    assert tell(world, Accepted) == ["GW2 accepts GW1-B for GW1: epoch 2"]
    length = len(world.log("GW2"))
    world.wake("GW1")
    assert "GW1 was replaced: GW1-B acts for GW1 since epoch 2" in str(world.trace)
    assert len(world.log("GW2")) == length
    world.run()
    check_transferred(world)
    check_settled(world)


def test_a_new_message_of_a_backup_counts_only_once_its_session_knows_it(world: PrimaryBackup) -> None:
    """Accepted for GW1 it is already; but in this session nobody has answered yet that it acts."""
    world.crash("GW1", at="3.1", before=1)
    world.start()
    world.run()
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    world.deliver_next()
    assert tell(world, Accepted) == ["GW2 accepts GW1-B for GW1: epoch 2"]
    session, length = world.sender.session(world.sessions[0]), len(world.log("GW2"))
    row = session.next_row
    assert row is not None
    early = world.key("GW1-B").sign(session.compute_payload(row, world.now))
    answer = world.recipient.receive(early.encode())
    assert answer is not None
    assert "no succession in this session names this key of GW1" in str(read_payload(answer))
    assert len(world.log("GW2")) == length
    world.run()
    check_transferred(world)
    check_settled(world)


def test_an_old_offer_of_a_backup_that_was_replaced_itself_brings_nobody_back(world: PrimaryBackup) -> None:
    """Offers need no connection, so an old one may arrive at any time: its epoch is over."""
    world.crash("GW1", at="2.1", before=1)
    world.start()
    world.run()
    world.wait(BEYOND_LEASE_S)
    world.take_over("GW1-B")
    old = world.link[-1].data
    world.crash("GW1-B", at="3.1", after=1)
    world.run()
    world.restart("GW1")
    world.run()
    assert world.in_charge["GW1"] == "GW1"
    answer = world.recipient.receive(old)
    assert answer is not None
    assert "GW1-B was replaced: GW1 acts for GW1 since epoch 3" in str(read_payload(answer))
    assert tell(world, Accepted)[-1] == "GW2 accepts GW1 for GW1: epoch 3"
    check_transferred(world)
    check_settled(world)


# ---------------------------------------------------------------------- back in time


def test_a_primary_that_restarts_before_its_lease_has_run_out_keeps_its_place(world: PrimaryBackup) -> None:
    """Its epoch rises, so its own forgotten process is fenced; to its counterparty nobody has been replaced."""
    world.crash("GW1", at="3.4", before=2)
    world.start()
    world.run()
    world.restart("GW1")
    world.run()
    lease = world.lease("GW1")
    assert lease is not None
    assert (lease.holder, lease.epoch) == ("GW1", 2)
    assert not tell(world, TookOver, Accepted)
    assert not [entry for entry in [*world.log("GW1"), *world.log("GW2")] if entry.step == SUCCESSION]
    check_transferred(world)
    check_settled(world)


def test_the_lease_holds_while_the_primary_is_cut_off_from_its_counterparty_only(world: PrimaryBackup) -> None:
    world.start()
    world.run(until="2.4")
    world.part("GW1", "GW2")
    world.run()
    world.wait(BEYOND_LEASE_S)
    with pytest.raises(NotYet, match="the lease of GW1"):
        world.take_over("GW1-B")
    assert not tell(world, TookOver)
    world.heal("GW1", "GW2")
    world.run()
    check_transferred(world)
    check_settled(world)


def test_an_operator_hands_over_what_is_cut_off_from_its_counterparty(world: PrimaryBackup) -> None:
    world.start()
    world.run(until="2.4")
    world.part("GW1", "GW2")
    world.hand_over("GW1")
    world.run()
    assert tell(world, HandedOver, TookOver, FencedOff) == [
        "GW1 hands over epoch 1",
        "GW1-B takes over from GW1: epoch 2",
    ]
    world.heal("GW1", "GW2")
    world.hand_over("GW1-B")
    world.take_over("GW1")
    world.run()
    assert world.in_charge["GW1"] == "GW1"
    check_transferred(world)
    check_settled(world)


def test_nobody_takes_over_while_the_backup_does_not_reach_the_store(world: PrimaryBackup) -> None:
    world.cut_store("GW1-B")
    world.pause("GW1", at="3.4", before=2)
    world.start()
    world.run()
    world.wait(BEYOND_LEASE_S)
    world.run()
    assert not tell(world, TookOver)
    world.wake("GW1")
    world.run()
    check_transferred(world)
    check_settled(world)


# ---------------------------------------------------------------------- found by the sweep


@pytest.mark.parametrize("trouble", ["takeover", "lost key"])
def test_who_goes_back_under_a_new_key_tells_it_in_the_session_first(world: PrimaryBackup, trouble: str) -> None:
    """A TIME_LOCK frees the asset at its time only, so the report is a plain abort, long after the recovery.

    That is a new message of the session, and counts under the key that the session knows. Unless the session had been
    told who acts now, its peer would refuse it and wait for ever.
    """
    world.start(lock_type="TIME_LOCK")
    world.run(until="3.2")
    world.crash("GW1", before=3)
    world.abort("GW1", "the application changed its mind")
    if trouble == "lost key":
        world.lose_key("GW1")
        world.restart("GW1")
    for _ in range(8):
        world.run()
        world.wait(30)
    assert bool(world.trace.of(TookOver)) == (trouble == "takeover")
    assert world.owners == [ALICE]
    check_settled(world)
