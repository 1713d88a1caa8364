"""Disputes: copies that cannot be reconciled freeze the session at both sides, with the evidence, and touch nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protocol.ledger import State
from protocol.network import World
from protocol.rules import Rules
from protocol.signing import read_payload
from protocol.steps import Role
from protocol.trace import Judged
from protocol.views import Dispute
from tests.conftest import BOB, check_transferred
from tests.test_bad_input import fingerprint
from tests.test_rollback import LONG, check_refused, make_world


@pytest.fixture
def world() -> Iterator[World]:
    world = make_world()
    yield world
    world.close()


def make_fork(world: World) -> None:
    """Both lose the end of their logs and agree on another 1.2; then an old copy of the sender's log is put back."""
    world.start()
    world.run(until="1.3")
    copy = world.keep_copy("sender")
    for who in Role:
        world.crash(who)
        world.forget(who, 2)
    world.wait(60)
    for who in Role:
        world.restart(who)
    world.run(until="2.4")
    world.crash("sender")
    world.put_back("sender", copy)
    world.restart("sender")


def make_split(world: World) -> None:
    """Burned here, destroyed there. Needs the rules off that keep an old abort from being served."""
    world.start()
    world.run(until="1.4")
    world.link.clear()
    world.abort("sender", "a reason")
    world.crash("sender")
    world.forget("sender", 3)
    world.restart("sender")
    late = [world.link.pop(0)] if world.link[0].name == "session-abort" else []
    world.run(until="3.4")
    world.crash("recipient")
    world.forget("recipient", 1)
    world.restart("recipient")
    world.link[:0] = late
    world.run()


def test_two_agreed_chains_freeze_both_sides(world: World) -> None:
    make_fork(world)
    heights = [ledger.height for ledger in world.ledgers]
    world.run()
    assert world.is_at_rest
    for who, gateway in (("sender", world.sender), ("recipient", world.recipient)):
        dispute = Dispute(world, who)
        assert set(gateway.disputes) == set(world.sessions)
        assert dispute.fork
        assert dispute.fork.differences == ["timestamp"]
        assert dispute.fork.own.digest in gateway.session(world.sessions[0]).history
        assert dispute.fork.other.digest not in gateway.session(world.sessions[0]).history
    world.wait(LONG)
    world.run()
    assert [asset.state for asset in world.origin.assets] == [State.FREE]
    assert [ledger.height for ledger in world.ledgers] == [heights[0] + 1, heights[1]], "the expiry, and nothing else"
    assert {event.letter for event in world.trace.of(Judged) if isinstance(event, Judged)} >= {"E"}


@pytest.mark.parametrize("who", Role)
def test_a_dispute_survives_restarts_and_hinders_nobody(who: Role, world: World) -> None:
    make_fork(world)
    world.run()
    evidence = {role: world._gateway(role).disputes for role in Role}
    for _ in range(2):
        world.crash(who)
        world.restart(who)
        world.run()
    assert {role: world._gateway(role).disputes for role in Role} == evidence
    assert [event.letter for event in world.trace.of(Judged) if isinstance(event, Judged)][-1] in ("R", "Q")
    other = world.start("another asset")
    world.run()
    assert world.sender.session(other).next_row is None
    assert world.owners == [BOB]


def test_a_dispute_repeated_crossing_or_about_nothing(world: World) -> None:
    world.admit("GW3")
    make_fork(world)
    world.run()
    said = {role: world._gateway(role).session(world.sessions[0]).frozen for role in Role}
    mine, theirs = ((said[role] or {})["dispute"].encode() for role in Role)
    before = fingerprint(world)
    assert world.sender.receive(theirs) is None
    assert world.recipient.receive(mine) is None
    unknown = read_payload(mine) | {"sessionId": world.make_id()}
    assert world.recipient.receive(world.key("GW1").sign(unknown).encode()) is None
    assert fingerprint(world) == before
    check_refused(world, read_payload(mine), "the signer is not the peer", signer="GW3")


def test_row_p_with_two_rules_off() -> None:
    world = make_world(Rules(reconcile_before_serving=False, fresh_connection_after_restart=False))
    make_split(world)
    assert world.owners == []
    heights = [ledger.height for ledger in world.ledgers]
    for who in Role:
        world.crash(who)
        world.restart(who)
    world.run()
    for who in Role:
        dispute = Dispute(world, who)
        assert "row P" in dispute.reason
        assert dispute.fork is None
        assert {receipt["action"] for receipt in dispute.receipts} >= {"burn", "destroy"}
    assert [ledger.height for ledger in world.ledgers] == heights
    world.close()


def test_the_same_story_with_all_rules_on(world: World) -> None:
    make_split(world)
    check_transferred(world)


def test_row_z_a_network_that_forgets(world: World) -> None:
    """No crash leaves this behind: commit-ready is in the log, and the network knows no mint."""
    world.start()
    world.run(until="3.3")
    world.crash("recipient")
    world.destination._receipts.clear()
    world.destination._history.clear()
    world.restart("recipient")
    world.run()
    judged = [(event.gateway, event.letter) for event in world.trace.of(Judged) if isinstance(event, Judged)]
    assert judged == [("GW2", "Z"), ("GW1", "Q")], "found here, and frozen over there for it"
    assert world.sender.disputes
    assert world.recipient.disputes
    assert world.origin.state(f"{world.sessions[0]}/2.1") == "live", "no ledger is touched"
