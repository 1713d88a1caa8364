"""Many sessions that share a flush of the disk: on real files, with the order log, then act, and with crashes."""

from __future__ import annotations

import pytest

from protocol.faults import CrashPoint, WatchedNetwork
from protocol.gateway import Gateway
from protocol.ledger import Order, Receipt
from protocol.link import InFlight
from protocol.network import World
from protocol.offers import Outgoing
from protocol.steps import Role
from protocol.stores import SQLiteLog
from tests.conftest import ALICE, BOB

SESSIONS = 3


def exchange(world: World) -> None:
    """Until the link is empty or a gateway is down: a gateway gets everything that waits for it at once."""
    while world.link and all(side.gateway for side in world._sides.values()):
        target = world.link[0].target
        batch = [message for message in world.link if message.target is target]
        world.link = [message for message in world.link if message.target is not target]

        def work(gateway: Gateway, batch: list[InFlight] = batch) -> list[Outgoing]:
            replies = gateway.receive_all([message.data for message in batch])
            pairs = zip(batch, replies, strict=True)
            return [Outgoing(message.source.id, reply) for message, reply in pairs if reply]

        world._live(target, work)


def start_many(world: World) -> None:
    for number in range(SESSIONS):
        world.start(f"asset {number}")


def test_sessions_in_both_directions_share_the_flushes_too(world: World) -> None:
    """In one batch a gateway is sender of some sessions and recipient of others."""
    for number in range(SESSIONS):
        world.start(f"asset {number} of Alice")
        world.start(f"asset {number} of Bob", by="GW2")
    exchange(world)
    assert world.owners == [ALICE] * SESSIONS + [BOB] * SESSIONS
    for who in Role:
        assert all(world._gateway(who).session(session).next_row is None for session in world.sessions)


def test_several_messages_of_one_session_in_one_batch(world: World) -> None:
    """They are worked through one after the other; the repeated one gets the same bytes."""
    world.start()
    message = world.link.pop().data
    replies = world.recipient.receive_all([message, b"hello", message])
    assert replies[0] == replies[2] != replies[1]
    assert len(world.log("recipient")) == 2


def check_all_transferred(world: World) -> None:
    assert world.owners == [BOB] * SESSIONS
    for who in Role:
        for session in world.sessions:
            assert world._gateway(who).session(session).next_row is None


def test_no_network_acts_on_an_entry_that_is_not_durable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    act, acted = WatchedNetwork.act, 0

    def act_on_durable(network: WatchedNetwork, order: Order) -> Receipt:
        nonlocal acted
        log = world._side(order.gateway).log
        assert log is not None
        log.verify_durable(order.sessionId)
        reader = SQLiteLog(world._side(order.gateway).path)  # and another connection sees the intent: it is committed
        last = reader.getLastEntry(order.sessionId)
        reader.close()
        assert last is not None
        assert last.payload["order"]["operationId"] == order.operationId
        acted += 1
        return act(network, order)

    monkeypatch.setattr(WatchedNetwork, "act", act_on_durable)
    start_many(world)
    exchange(world)
    check_all_transferred(world)
    assert acted == 6 * SESSIONS


def test_many_sessions_take_as_many_commits_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where SQLite commits, with the entries that each commit made durable."""
    commits: dict[int, int] = {}
    for sessions in (1, SESSIONS):
        world = World(seed="together")
        for number in range(sessions):
            world.start(f"asset {number}")
        log = world._side("recipient").log
        assert log is not None
        statements: list[str] = []
        log.store._database.set_trace_callback(statements.append)
        exchange(world)
        commits[sessions] = statements.count("COMMIT")
        written = sum(statement.startswith("INSERT INTO entry") for statement in statements)
        assert written == 17 * sessions
        world.close()
    assert commits[1] == commits[SESSIONS] <= 17


@pytest.mark.parametrize("who", ["sender", "recipient"])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_crash_among_many_sessions_costs_none_of_them(who: str, is_after: bool) -> None:
    """At every durable act of the gateway; what its last group held is gone, and asked for again."""
    number, crashes = 1, 0
    while True:
        world = World(seed="together")
        start_many(world)
        world._side(who).wire.armed = CrashPoint(number, is_after)
        exchange(world)
        is_down = world._side(who).gateway is None
        if is_down:
            crashes += 1
            world.restart(who)
        world.run()
        check_all_transferred(world)
        world.close()
        if not is_down:
            break
        number += 3  # not every act: intents, actions and outcomes alternate over three sessions
    assert crashes > 15
