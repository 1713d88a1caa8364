"""Every role, in every state, receives every message: the next one advances, all others are refused or repeated.

The messages are real ones: those of a completed transfer of the same seed, re-chained to the receiver's head so
that nothing but their place in TABLE 1 can be wrong.
"""

from __future__ import annotations

from functools import cache

import pytest

from protocol.messages.satp import NAMESPACE, ErrorMessage, parse_message
from protocol.network import World
from protocol.objects import Json
from protocol.signing import read_payload
from protocol.steps import TABLE_1, Kind, Role, Row, next_row
from tests.test_bad_input import fingerprint

MESSAGES = [row for row in TABLE_1 if row.kind is Kind.MESSAGE]


@cache
def completed() -> dict[str, Json]:
    """The payloads of a whole transfer, by step."""
    world = World(seed="test")
    world.start()
    world.run()
    payloads = {e.step: read_payload(e.payload["message"]) for e in world.log("sender") if "message" in e.payload}
    world.close()
    return payloads


def bring_to(world: World, delivered: int) -> None:
    """A world in which this many messages have arrived; the next one is on the link, or everything is over."""
    world.start()
    for _ in range(delivered):
        world.deliver_next()


@pytest.mark.parametrize("delivered", range(12))
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row.number)
def test_only_the_next_message_advances(delivered: int, role: Role, row: Row, world: World) -> None:
    bring_to(world, delivered)
    gateway = world.sender if role is Role.SENDER else world.recipient
    session = gateway.find_session(world.sessions[0])
    author = "GW1" if row.actor is Role.SENDER else "GW2"
    payload = dict(completed()[row.number])
    if session is not None and row.number != "1.1":
        payload["hashPrevMessage"] = session.history.head
    peer = "GW1" if role is Role.RECIPIENT else "GW2"
    data = world.key(peer).sign(payload).encode()

    expected = next_row(role, session.done if session else set())
    is_next = row is expected and author == peer
    is_repeated = session is not None and author == peer and row.number == "1.1" and role is Role.RECIPIENT
    before = fingerprint(world)
    reply = gateway.receive(data)

    if is_next:
        assert fingerprint(world) != before, "the next message was not taken"
        assert row.number in gateway.session(world.sessions[0]).done
    else:
        assert fingerprint(world) == before, f"{role} took {row.number} while waiting for {expected}"
        assert reply is not None
        answer = parse_message(read_payload(reply))
        assert isinstance(answer, ErrorMessage) != is_repeated


@pytest.mark.parametrize("delivered", range(1, 12))
def test_a_repeated_message_gets_the_same_bytes(delivered: int, world: World) -> None:
    """Each message that a side has received, handed to it again in every later state."""
    bring_to(world, delivered)
    for who, gateway in ((Role.SENDER, world.sender), (Role.RECIPIENT, world.recipient)):
        session = gateway.session(world.sessions[0])
        versions = list(session.history)
        for version, following in zip(versions, [*versions[1:], None], strict=True):
            if version.author == gateway.id:
                continue
            before = fingerprint(world)
            reply = gateway.receive(version.signed.encode())
            assert fingerprint(world) == before, who
            assert reply == (following.signed.encode() if following else None)


@pytest.mark.parametrize("delivered", range(1, 12))
def test_own_messages_that_come_back_are_refused(delivered: int, world: World) -> None:
    bring_to(world, delivered)
    for gateway in (world.sender, world.recipient):
        for version in gateway.session(world.sessions[0]).history:
            if version.author == gateway.id:
                before = fingerprint(world)
                reply = gateway.receive(version.signed.encode())
                assert read_payload(reply or b"")["type"].endswith("err_0.1.3"), "our own key is no peer's"
                assert fingerprint(world) == before


def test_a_message_of_another_session_is_refused(world: World) -> None:
    """Replayed from one session into another, as it is and with the other session's id."""
    first = world.start()
    second = world.start("another asset")
    world.run(until="2.2", of=second)
    stolen = world.sender.session(first).history
    target = world.recipient.session(second)
    for version in list(stolen):
        if version.author != "GW1":
            continue
        payload = read_payload(version.signed) | {"sessionId": second}
        before = fingerprint(world)
        reply = world.recipient.receive(world.key("GW1").sign(payload).encode())
        assert isinstance(parse_message(read_payload(reply or b"")), ErrorMessage)
        assert fingerprint(world) == before
    assert target.next_row is not None


def test_ack_prepare_is_taken_for_commit_ready(world: World) -> None:
    """The registry of SATP 5.3.2 has another name for 3.3 than section 10.2 (C1)."""
    bring_to(world, 7)
    payload = read_payload(world.link.pop().data) | {"messageType": NAMESPACE + "ack-prepare-msg"}
    reply = world.sender.receive(world.key("GW2").sign(payload).encode())
    assert read_payload(reply or b"")["messageType"] == NAMESPACE + "commit-final-msg"
