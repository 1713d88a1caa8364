"""The way back: who may end a session when, what is undone, and what a prepared recipient waits for."""

from __future__ import annotations

import pytest

from protocol.errors import Misuse
from protocol.ledger import Order, State
from protocol.messages.satp import NAMESPACE, ErrorMessage, SessionAbort, parse_message
from protocol.network import World
from protocol.objects import Json, digest
from protocol.signing import read_payload
from protocol.steps import Role
from protocol.trace import Crashed
from tests.conftest import ALICE, BOB, check_transferred, every_crash_point
from tests.test_bad_input import fingerprint

BEFORE_THE_BURN = ["1.1", "1.2", "1.3", "1.4", "2.1", "2.2", "2.3", "2.4", "3.1", "3.2", "3.3"]
BEFORE_COMMIT_READY = BEFORE_THE_BURN[1:8]


def check_ended(world: World) -> None:
    """Both sides are over and the asset is back where it was."""
    assert world.is_at_rest
    assert world.owners == [ALICE]
    assert not [asset for asset in world.destination.assets if asset.state is not State.DESTROYED]
    for gateway in (world.sender, world.recipient):
        for name in world.sessions:
            session = gateway.find_session(name)
            assert session is None or (session.is_ended and not session.parked)


def last_abort(world: World, who: str) -> SessionAbort:
    compact = world.log(who)[-1].payload["message"]
    message = parse_message(read_payload(compact))
    assert isinstance(message, SessionAbort)
    return message


@pytest.mark.parametrize("step", BEFORE_THE_BURN)
def test_the_sender_may_end_it_until_the_burn(step: str, world: World) -> None:
    world.start()
    world.run(until=step)
    if "3.4" in world.sender.session(world.sessions[0]).done:
        pytest.fail("the run went too far to show this")
    world.abort("sender", "the client changed its mind")
    world.run()
    check_ended(world)


@pytest.mark.parametrize("step", BEFORE_COMMIT_READY)
def test_the_recipient_may_end_it_until_commit_ready(step: str, world: World) -> None:
    world.start()
    world.run(until=step)
    world.abort("recipient", "the beneficiary's account was closed")
    world.run()
    check_ended(world)
    assert last_abort(world, "recipient").reason == "the beneficiary's account was closed"


def test_when_it_is_too_late_the_application_is_told(world: World) -> None:
    world.start()
    world.run(until="3.3")
    with pytest.raises(Misuse, match="only a receipt of the origin network"):
        world.abort("recipient", "too late")
    world.run(until="3.4")
    with pytest.raises(Misuse, match="the asset is burned"):
        world.abort("sender", "too late")
    world.run()
    with pytest.raises(Misuse, match="the session is over"):
        world.abort("sender", "too late")
    check_transferred(world)


def test_the_abort_carries_the_receipt_of_the_unlock(world: World) -> None:
    world.start()
    world.run(until="3.3")
    world.abort("sender", "the client changed its mind")
    abort = last_abort(world, "sender")
    receipts = [read_payload(compact) for compact in abort.receipts]
    assert [(receipt["action"], receipt["under"]) for receipt in receipts] == [("unlock", f"{world.sessions[0]}/2.1")]


def test_a_prepared_recipient_does_not_follow_an_abort_without_that_receipt(world: World) -> None:
    """R31, C6: the sender may have burned. Only the origin network can tell."""
    world.start()
    world.run(until="3.3")
    session = world.recipient.session(world.sessions[0])
    abort: Json = {
        "messageType": NAMESPACE + "session-abort-msg",
        "sessionId": session.id,
        "transferContextId": session.context,
        "reason": "believe me",
        "receipts": [],
        "hashPrevMessage": session.history.head,
        "timestamp": world.now,
    }
    unrelated = read_payload(session.history[session.message_of["2.2"]].signed)["lockAssertionClaim"]["receipt"]
    before = fingerprint(world)
    for receipts in ([], [unrelated], ["not a receipt"]):
        reply = world.recipient.receive(world.key("GW1").sign(abort | {"receipts": receipts}).encode())
        error = parse_message(read_payload(reply or b""))
        assert isinstance(error, ErrorMessage)
        assert fingerprint(world) == before
    assert session.is_prepared
    assert not session.ending


@pytest.mark.parametrize(
    "wrong",
    [{"hashPrevMessage": "0" * 64}, {"transferContextId": "another"}, {"reason": ""}, {"receipts": None}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_an_unchained_or_incomplete_abort_is_refused(wrong: Json, world: World) -> None:
    """C8: the draft's abort has a type and a session only, so that anybody could write one."""
    world.start()
    world.run(until="2.4")
    session = world.recipient.session(world.sessions[0])
    abort: Json = {
        "messageType": NAMESPACE + "session-abort-msg",
        "sessionId": session.id,
        "transferContextId": session.context,
        "reason": "a reason",
        "receipts": [],
        "hashPrevMessage": session.history.head,
        "timestamp": world.now,
    } | wrong
    before = fingerprint(world)
    reply = world.recipient.receive(
        world.key("GW1").sign({name: value for name, value in abort.items() if value is not None}).encode()
    )
    assert isinstance(parse_message(read_payload(reply or b"")), ErrorMessage)
    assert fingerprint(world) == before


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("step", ["1.4", "2.2", "2.4"])
def test_a_lost_abort_is_said_again_when_the_peer_speaks(who: Role, step: str, world: World) -> None:
    world.start()
    world.run(until=step)
    world.abort(who, "a reason")
    world.link.clear()
    world.run()
    check_ended(world)


def test_after_an_abort_there_is_silence(world: World) -> None:
    """SATP 11.1: data received after the termination is ignored. The aborting side repeats its abort, no more."""
    world.start()
    world.run(until="2.4")
    late = world.link[0].data
    world.abort("sender", "a reason")
    abort = world.link[-1].data
    world.link.pop(0)
    world.run()
    before = fingerprint(world)
    assert world.sender.receive(late) == abort
    assert world.recipient.receive(abort) is None
    assert world.recipient.receive(world.key("GW1").sign(read_payload(late)).encode()) is None
    assert fingerprint(world) == before


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("step", ["1.4", "2.2", "2.4", "3.1"])
@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("crashed", Role)
def test_a_crash_in_the_middle_of_backing_out(who: Role, step: str, number: int, crashed: Role, world: World) -> None:
    world.start()
    world.run(until=step)
    world.crash(crashed, before=number)
    world.abort(who, "a reason")
    world.run()
    if world.trace.of(Crashed):
        world.restart(crashed)
        world.run()
    if (who, crashed, number) == (crashed, who, 1):
        # Not even the wish was durable, so nobody knows of it; the application has to ask again.
        check_transferred(world)
    else:
        check_ended(world)


def test_a_lock_that_expires_before_the_burn_ends_the_transfer(world: World) -> None:
    world.start()
    world.run(until="3.3")
    world.wait(200)
    world.run()
    check_ended(world)
    abort = last_abort(world, "sender")
    assert (abort.code, abort.reason) == ("err_2.2.9", "asset lock expired")
    assert [read_payload(compact)["action"] for compact in abort.receipts] == ["expire"]
    assert [receipt.action for receipt in world.destination.actions_of("GW2")] == ["record", "mint", "destroy"]


def test_a_lock_that_expires_while_the_burn_is_on_its_way(world: World) -> None:
    """The intent to burn is logged, the sender crashes, the lock expires: the burn is cancelled, nothing can land."""
    world.start()
    world.crash("sender", at="3.4", after=1)
    world.run()
    world.wait(200)
    world.restart("sender")
    world.run()
    check_ended(world)
    assert world.origin.receipt(f"{world.sessions[0]}/3.4") is None


def test_a_sender_that_wants_to_back_out_and_finds_the_asset_burned_goes_forward(world: World) -> None:
    """The log says that a burn was begun, the application wants to end it, the ledger says `burned`.

    An entry is an intent, never the decision: here the burn lands late, while the gateway is down.
    """
    world.start()
    world.crash("sender", at="3.4", after=1)
    world.run()
    world.origin.act(Order(**world.log("sender")[-1].payload["order"]))
    side = world._side("sender")
    world._make_gateway(side)  # up again, and asked to abort before it could look around
    world._live(side, lambda gateway: gateway.abort(world.sessions[0], "we heard nothing for long"))
    world.run()
    check_transferred(world)


@pytest.mark.parametrize("lock_type", ["TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK"])
def test_every_lock_type_there_and_back(lock_type: str, world: World) -> None:
    world.start(lock_type=lock_type)
    world.run()
    check_transferred(world)
    back = world.start("another asset", lock_type=lock_type)
    world.run(until="2.4", of=back)
    world.abort("sender", "a reason", back)
    world.run()
    session = world.sender.session(back)
    if lock_type == "TIME_LOCK":  # C33: the locker cannot unlock early
        assert not session.is_ended
        assert session.ending
        world.wait(200)
        world.run()
    assert session.is_ended
    assert world.recipient.session(back).is_ended
    assert sorted(world.owners) == [ALICE, BOB]


def test_a_hash_lock_never_expires(world: World) -> None:
    world.start(lock_type="HASH_LOCK")
    world.run(until="3.3")
    assertion = world.history("sender")[world.sender.session(world.sessions[0]).message_of["2.2"]]
    expiration = read_payload(assertion.signed)["lockAssertionExpiration"]
    assert expiration == "9999-12-31T23:59:59Z"
    world.wait(10 * 365 * 86400)
    world.run()
    check_transferred(world)


def test_the_preimage_stays_with_the_locker(world: World) -> None:
    """It is in the sender's private log, never in a message, nor on the ledger before the unlock."""
    world.start()
    world.run()
    secret = next(e.payload["preimage"] for e in world.log("sender") if "preimage" in e.payload)
    assert not any(secret in repr(entry.payload) for entry in world.log("recipient"))
    assert secret not in repr(world.origin.actions_of("GW1"))


def test_two_sessions_want_one_asset(world: World) -> None:
    first = world.start("the asset")
    second = world.start("the asset")
    world.run()
    sessions = {name: world.sender.session(name) for name in (first, second)}
    assert sessions[first].next_row is None
    assert sessions[second].is_ended
    assert (sessions[second].ending or {})["code"] == "err_2.2.8"
    assert world.recipient.session(second).is_ended
    assert world.owners == [BOB]


def test_a_network_that_cannot_mint_lets_the_recipient_end_it(world: World) -> None:
    world.start("the asset")
    world.destination.issue("the asset", "somebody")
    world.run()
    assert world.sender.session(world.sessions[0]).is_ended
    assert world.origin.owner_of("the asset") is not None
    assert world.destination.owner_of("the asset") == "somebody"


def make_error(world: World, about: str | None) -> bytes:
    """The recipient's error about the sender's last message."""
    error = read_payload(world.recipient.receive(b"hello") or b"")
    last = {"hashPrevMessage": world.sender.session(world.sessions[0]).history.head, "sessionId": world.sessions[0]}
    return world.key("GW2").sign(error | last | {"hashRefusedMessage": digest((about or "").encode())}).encode()


def test_the_peers_error_before_the_burn_lets_us_back_out(world: World) -> None:
    world.start()
    world.run(until="2.2")
    world.link.clear()
    abort = world.sender.receive(make_error(world, world.sender.session(world.sessions[0]).compute_last_own_message()))
    assert abort is not None
    session = world.sender.session(world.sessions[0])
    assert session.is_ended
    assert world.owners == [ALICE]
    assert "err_0.1.1" in repr(session)
    assert world.recipient.receive(abort) is None
    assert world.recipient.session(world.sessions[0]).is_ended


def test_the_peers_error_after_the_burn_parks_the_session(world: World) -> None:
    """C16: never terminal after the burn; the evidence is kept, and a human has to look."""
    world.start()
    world.run(until="3.5")
    world.link.clear()
    assert (
        world.sender.receive(make_error(world, world.sender.session(world.sessions[0]).compute_last_own_message()))
        is None
    )
    session = world.sender.session(world.sessions[0])
    assert session.parked
    assert "err_0.1.1" in session.parked
    assert "message" in world.log("sender")[-1].payload
    assert world.sender.on_time_out() == [], "a parked session says nothing more"
    assert not [receipt for receipt in world.origin.actions_of("GW1") if receipt.action == "unlock"]


def test_a_rejected_proposal_ends_the_session(world: World) -> None:
    """SATP 8.5: the error message is the rejection. The peer knows no such session and says nothing to its end."""
    world.start()
    world.link.clear()
    abort = world.sender.receive(make_error(world, world.sender.session(world.sessions[0]).compute_last_own_message()))
    assert abort is not None
    assert world.recipient.receive(abort) is None
    assert world.sender.session(world.sessions[0]).is_ended
    world.run()
    assert world.owners == [ALICE]


def damage(data: bytes) -> bytes:
    """The same message with another signature."""
    return data[:-8] + (b"AAAAAAAA" if not data.endswith(b"AAAAAAAA") else b"BBBBBBBB")


@pytest.mark.parametrize("delivered", range(11))
def test_a_damaged_copy_parks_and_ends_nothing(delivered: int, world: World) -> None:
    """Anybody can copy a payload under a bad signature; the error about the copy must not count as one about us."""
    world.start()
    for _ in range(delivered):
        world.deliver_next()
    message = world.link[0]
    copy = damage(message.data)
    receiver, author = (
        (world.recipient, world.sender) if message.source.id == "GW1" else (world.sender, world.recipient)
    )
    before = fingerprint(world)
    error = receiver.receive(copy)
    assert isinstance(parse_message(read_payload(error or b"")), ErrorMessage)
    assert author.receive(error or b"") is None
    assert fingerprint(world) == before
    world.run()
    check_transferred(world)


@pytest.mark.parametrize("delivered", range(1, 11))
def test_a_third_gateway_cannot_turn_one_against_the_other(delivered: int, world: World) -> None:
    world.admit("GW3")
    world.start()
    for _ in range(delivered):
        world.deliver_next()
    message = world.link[0]
    copy = world.key("GW3").sign(read_payload(message.data)).encode()
    receiver, author = (
        (world.recipient, world.sender) if message.source.id == "GW1" else (world.sender, world.recipient)
    )
    error = receiver.receive(copy)
    assert isinstance(parse_message(read_payload(error or b"")), ErrorMessage)
    assert author.receive(error or b"") is None
    world.run()
    check_transferred(world)


def park_prepared_recipient(world: World) -> None:
    """The sender's error about commit-ready reaches a recipient that is prepared."""
    world.start()
    world.run(until="3.3")
    session = world.recipient.session(world.sessions[0])
    error = read_payload(world.sender.receive(b"hello") or b"")
    last = digest((session.compute_last_own_message() or "").encode())
    error |= {"hashRefusedMessage": last, "hashPrevMessage": session.history.head, "sessionId": session.id}
    assert world.recipient.receive(world.key("GW1").sign(error).encode()) is None
    assert session.parked


def test_what_is_parked_goes_on_when_the_next_message_comes_after_all(world: World) -> None:
    """C7: a commit-final with its receipt beats whatever was said before it."""
    park_prepared_recipient(world)
    world.run()
    check_transferred(world)


def test_what_is_parked_ends_when_the_receipt_of_the_release_comes(world: World) -> None:
    park_prepared_recipient(world)
    world.link.clear()
    world.wait(200)
    world.run()
    check_ended(world)


@pytest.mark.parametrize(("who", "step", "when", "number"), every_crash_point()[::2])
def test_an_outage_longer_than_the_lock_ends_one_way_or_the_other(
    who: Role, step: str, when: str, number: int, world: World
) -> None:
    """The gateway stays away until the lock has expired. Burned before that: forward. Not burned: everything undone."""
    world.crash(who, at=step, **{when: number})
    world.start()
    world.run()
    is_burned = bool(world.origin.receipt(f"{world.sessions[0]}/3.4"))
    world.wait(500)
    world.restart(who)
    world.run()
    assert world.is_at_rest
    locked = world.origin.receipt(f"{world.sessions[0]}/2.1")
    if is_burned or (locked and world.origin.state(f"{world.sessions[0]}/2.1") == "burned"):
        check_transferred(world)
    else:
        check_ended(world)


def test_an_error_of_a_peer_that_speaks_the_draft_alone_counts_too(world: World) -> None:
    world.start()
    world.run(until="2.2")
    about = world.sender.session(world.sessions[0]).compute_last_own_message()
    error = read_payload(make_error(world, about))
    del error["hashRefusedMessage"]
    assert world.sender.receive(world.key("GW2").sign(error).encode()) is not None
    assert world.sender.session(world.sessions[0]).is_ended
