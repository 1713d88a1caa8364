"""A restart among many sessions: in both directions, at different steps, and more of them than one message names."""

from __future__ import annotations

import itertools

import pytest

from protocol.errors import Unanswered
from protocol.faults import CrashPoint
from protocol.ledger import State
from protocol.link import InFlight
from protocol.messages import recovery as wire
from protocol.network import World
from protocol.objects import canonical
from protocol.recovery import TABLE_2, MyLedger, MyLog
from protocol.signing import KeyPair, KeyRing, read_payload
from protocol.steps import TABLE_1, Role
from protocol.trace import Crashed, Delivered
from tests.conftest import ALICE, BOB
from tests.test_together import exchange

STEPS = ("1.1", "1.2", "1.4", "2.2", "2.4", "3.3", "3.5", "3.7")  # said, and lost: where the eight sessions stop
LOSSES = ("process", "tail", "log")


def stop_at(world: World, number: int, step: str) -> str:
    """A session whose message of this step is said and lost; every other one goes from Bob to Alice."""
    session_id = world.start(f"asset {number}", by=("GW1", "GW2")[number % 2])
    while True:
        at_last = [message for message in world.link if message.step == step]
        world.link = [message for message in world.link if message not in at_last]
        if at_last:
            return session_id
        world.deliver_next()


def make_world(seed: str, steps: tuple[str, ...] = STEPS) -> World:
    world = World(seed=seed)
    for number, step in enumerate(steps):
        stop_at(world, number, step)
    assert len(world.sessions) == len(steps)
    return world


def crash(world: World, who: str, loss: str, entries: int = 12) -> None:
    world.crash(who)
    if loss != "process":
        world.forget(who, entries if loss == "tail" else None)


def check_one_owner_each(world: World) -> None:
    """At rest, and each asset can be used by one owner, in one network; nobody waits for a human."""
    assert world.is_at_rest
    for who in Role:
        assert not world._gateway(who).disputes
        for each in world._known(world._sides[who]):
            assert each.is_over, each
            assert not each.parked
    for number in range(len(world.sessions)):
        states = [asset.state for ledger in world.ledgers for asset in ledger.assets if asset.id == f"asset {number}"]
        assert states.count(State.FREE) == 1, (number, states)
        assert State.LOCKED not in states
        assert State.HELD not in states


def said(world: World, name: str) -> int:
    return sum(isinstance(event, Delivered) and event.name == name for event in world.trace.of(Delivered))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("who", ["sender", "recipient"])
def test_eight_sessions_at_eight_steps_in_both_directions(who: str, loss: str) -> None:
    world = make_world("many")
    crash(world, who, loss)
    world.restart(who)
    world.run()
    check_one_owner_each(world)
    assert said(world, "transfer-resume") == said(world, "transfer-continue") == 1
    if loss == "process":
        assert sorted(world.owners) == sorted(
            [ALICE, BOB] * 4
        )  # nothing but a memory is lost: every transfer completes
    world.close()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("who", ["sender", "recipient"])
def test_more_sessions_than_one_message_names(who: str, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three to a message, and eight sessions: page after page, what the offer names and what only the peer knows."""
    monkeypatch.setattr(wire, "MOST_SESSIONS", 3)
    world = make_world("pages")
    crash(world, who, loss)
    world.restart(who)
    sizes = []
    deliver = world._deliver

    def watch(message: InFlight) -> None:
        if message.name in ("transfer-resume", "transfer-continue"):
            payload = read_payload(message.data)
            sizes.append(len(payload["sessions"]) + len(payload.get("notNamed", [])))
        deliver(message)

    monkeypatch.setattr(world, "_deliver", watch)
    world.run()
    check_one_owner_each(world)
    assert max(sizes) == 3
    assert said(world, "transfer-resume") >= 3
    if loss == "process":
        assert sorted(world.owners) == sorted([ALICE, BOB] * 4)
    world.close()


@pytest.mark.parametrize("most", [3, 10_000])
def test_the_sessions_of_a_lost_log_are_served_only_when_they_are_compared(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's own time-out comes in the middle; what is on a later page is not answered with `unknown session`."""
    monkeypatch.setattr(wire, "MOST_SESSIONS", most)
    world = make_world("served", ("2.4",) * 8)
    crash(world, "recipient", "log")
    world.restart("recipient")
    impatient = [message.data for message in world.sender.on_time_out()]
    assert [world.recipient.receive(data) for data in impatient] == [None] * len(impatient)
    assert len(impatient) > 3
    while said(world, "transfer-continue") == 0:
        world.deliver_next()
    replies = [world.recipient.receive(data) for data in impatient]
    assert not any(reply and "error-msg" in read_payload(reply)["messageType"] for reply in replies)
    world.run()
    check_one_owner_each(world)
    assert sorted(world.owners) == sorted([ALICE, BOB] * 4)
    world.close()


@pytest.mark.parametrize(
    "name",
    ["transfer-resume", "transfer-continue", "recover", "recover-update", "recover-update-ack", "recover-success"],
)
@pytest.mark.parametrize("most", [3, 10_000])
def test_any_kind_of_message_of_a_recovery_is_lost(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then time passes and it is said again; nothing that the crashed gateway has forgotten is left out."""
    monkeypatch.setattr(wire, "MOST_SESSIONS", most)
    world = make_world("lost", ("1.4", "2.2", "2.4", "3.3"))
    crash(world, "sender", "log")
    for _ in world.sessions if name.startswith("recover") else (1,):
        world.lose(name)
    world.restart("sender")
    world.run()
    check_one_owner_each(world)
    assert sorted(world.owners) == sorted([ALICE, BOB] * 2)
    world.close()


@pytest.mark.parametrize("loss", ["process", "log"])
def test_both_come_back_with_more_sessions_than_one_message_names(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_SESSIONS", 3)
    world = make_world("both")
    crash(world, "sender", loss)
    crash(world, "recipient", "process")
    world.restart("sender")
    world.restart("recipient")
    world.run()
    check_one_owner_each(world)
    world.close()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_crash_among_the_followed_sessions_costs_none_of_them(loss: str) -> None:
    """At every durable act after the restart: while the ledger is asked, in the group of follow_up, in the exchange."""
    number, crashes = 1, 0
    for number in itertools.count(1, 2):
        world = make_world("crash", ("1.4", "2.2", "2.4", "3.3"))
        crash(world, "sender", loss, 6)
        world._side("sender").wire.armed = CrashPoint(number, is_after=number % 4 == 1)
        earlier = len(world.trace.of(Crashed))
        world.restart("sender")
        if world._side("sender").gateway is not None:
            exchange_and_collect(world)
        is_again = len(world.trace.of(Crashed)) > earlier
        if is_again:
            crashes += 1
            world.restart("sender")
        world._side("sender").wire.armed = None
        world.run()
        check_one_owner_each(world)
        assert sorted(world.owners) == sorted([ALICE, BOB] * 2)
        world.close()
        if not is_again:
            break
    assert crashes > 3


def exchange_and_collect(world: World) -> None:
    """Offer and answer one by one; from then on a gateway gets everything that waits for it at once."""
    while any(message.name.startswith("transfer-") for message in world.link):
        world.deliver_next()
        if world._side("sender").gateway is None:
            return
    exchange(world)


def test_an_answer_that_leaves_the_range_of_the_offer_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages only go forward, so a peer cannot keep a gateway comparing for ever."""
    monkeypatch.setattr(wire, "MOST_SESSIONS", 3)
    world = make_world("range", ("2.2",) * 8)
    crash(world, "sender", "process")
    world.restart("sender")
    world.deliver_next()
    answer = read_payload(world.link.pop().data)
    last = answer["upTo"] if "upTo" in answer else max(each["sessionId"] for each in answer["sessions"])
    for up_to in ("00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"):
        world.sender.receive(world._side("recipient").identity.key.sign(answer | {"upTo": up_to}).encode())
        assert world.sender.collect() == [] or up_to < last
        assert world.sender.find_unheard() == {"GW2"}
    world.run()
    world._time_out()
    world.run()
    check_one_owner_each(world)
    world.close()


def test_an_answer_about_as_many_sessions_as_there_is_room_for_can_be_signed_and_read() -> None:
    """Every field at its longest: what the tables can say, and counts that no log reaches."""
    longest: dict[str, object] = {
        "sessionId": "00000000-0000-4000-8000-000000000000",
        "satpPhase": 3,
        "sequenceNumber": 10**9,
        "step": max((row.number for row in TABLE_1), key=len),
        "role": Role.RECIPIENT.value,
        "messages": 11,
        "headHash": "0" * 64,
        "log": max(MyLog, key=len).value,
        "ledger": max(MyLedger, key=len).value,
        "verdict": max((row.verdict for row in TABLE_2), key=len).value,
        "continueWith": max((row.number for row in TABLE_1), key=len),
        "decidedBy": "A",
    }
    key = KeyPair.lab("GW2", "test")
    answer = {
        "messageType": wire.RECOVERY_NAMESPACE + "transfer-continue-msg",
        "gatewayId": "GW2",
        "sessions": [longest] * (wire.MOST_SESSIONS // 2),
        "notNamed": [longest] * (wire.MOST_SESSIONS - wire.MOST_SESSIONS // 2),
        "tlsResume": False,
        "nonce": "n" * 64,
        "highestIncarnation": 10**9,
        "hashPrevMessage": "0" * 64,
        "timestamp": "2024-10-03T12:02:00Z",
    }
    assert len(canonical(longest)) < 360
    read = KeyRing([("GW2", key.public)]).verify(key.sign(answer))
    message = wire.parse_recovery(read.payload)
    assert isinstance(message, wire.TransferContinue)
    assert len(message.sessions) + len(message.notNamed) == wire.MOST_SESSIONS


def test_a_session_at_rest_is_not_named_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With three to a message, time-outs name those that have had no turn yet, not the same three for ever."""
    monkeypatch.setattr(wire, "MOST_SESSIONS", 3)
    world = make_world("turns", ("2.4",) * 8)
    crash(world, "sender", "process")
    world.restart("sender")
    offers = world.sender._offers
    named: set[str] = set()
    for _ in range(3):
        offers.waiting["GW2"].is_whole = False
        (offer,) = offers.offer_again()
        named |= {each["sessionId"] for each in read_payload(offer.data)["sessions"]}
    assert named == set(world.sessions)
    with pytest.raises(Unanswered):
        offers.verify_served("GW2", world.sessions[0])
    world.close()
