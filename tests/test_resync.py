"""The three scenarios of the discussion of LIP-1, and everything that somebody might try on a side without memory."""

from typing import Any

import pytest

from protocol.channel_world import ChannelWorld, lab_cid
from protocol.errors import NotYet, Refused
from protocol.messages.offchain import (
    ChannelHealth,
    Evidence,
    PaymentByRef,
    PaymentHistoryByRef,
    protocol_error,
    request_object,
    success,
)
from protocol.outbox import Post, to_request_id
from protocol.resync import BadEvidence, show, verify_history
from protocol.signing import KeyPair, read_payload

READY, REVIEW = {"status": "ready_for_settlement"}, {"status": "pending_review"}


def grow(world: ChannelWorld, payment: str, side: str, words: list[str]) -> None:
    """One version after the other, each with one more entry of metadata."""
    for number, word in enumerate(words):
        world.update(side, payment, word, metadata=["entry"] * (number + 1))
        world.run()


def make(behind: str) -> tuple[ChannelWorld, str]:
    """Both at version 1, then four more by the other side, then `behind` gets its old database back."""
    world = ChannelWorld()
    payment = world.create("C", "1")
    world.run()
    old = world.copy_database(behind)
    grow(world, payment, "D" if behind == "C" else "C", ["2", "3", "4", "5"])
    world.put_back(behind, old)
    world.restart(behind)
    return world, payment


def names(world: ChannelWorld, place: int) -> list[str]:
    return [str(event).partition("  ")[2].strip() or str(event) for event in world.since(place)]


def test_scenario_1_the_server_is_out_of_sync_and_the_client_does_not_fall_back() -> None:
    world, payment = make(behind="C")
    assert world["C"].commands.is_server
    place = len(world.trace)
    world.update("C", payment, "beef", metadata=["mine"])
    world.run()
    shown = names(world, place)
    assert "used_dependencies" in shown[1] and "4 versions" in "".join(shown)
    assert world.copies.agree() and len(world["D"].store.read_history(payment)) == 6
    assert world.outcome("C", "beef").state == "failure", "the stale command failed, its change came through"
    assert world["C"].store.find_object(payment).payment["sender"]["metadata"] == ["mine"]  # type: ignore[union-attr]


def test_scenario_1_the_server_is_shown_the_commands_that_it_signed_itself() -> None:
    world, payment = make(behind="C")
    cid = world["C"].recovery.ask_history(payment, lab_cid("1"))
    world.run()
    answer = world["C"].recovery.answers[cid]
    assert isinstance(answer, PaymentHistoryByRef)
    assert [world["C"].keys.verify(evidence.response).signer for evidence in answer.history] == ["C"] * 4


def test_scenario_2_the_client_is_out_of_sync_and_fetches_the_difference() -> None:
    world, payment = make(behind="D")
    assert not world["D"].commands.is_server
    world.update("D", payment, "beef", status=REVIEW)
    world.run()
    assert world.copies.agree() and len(world["C"].store.read_history(payment)) == 6


@pytest.mark.parametrize("loser", ["C", "D"])
def test_scenario_3_a_lost_database_is_rebuilt_byte_by_byte(loser: str) -> None:
    world = ChannelWorld()
    payments = [world.create("C", "aa"), world.create("D", "bb")]
    world.run()
    grow(world, payments[0], "D", ["a1", "a2"])
    closed = world.create("C", "cc")
    world.run()
    world.update("D", closed, status={"status": "abort"})
    world.run()
    before = {name: list(world[loser].store.read_history(name)) for name in [*payments, closed]}
    world.lose_database(loser)
    assert not world.places[loser].disk.list_open()
    world.restart(loser)
    world.run()
    assert {name: list(world[loser].store.read_history(name)) for name in before} == before
    assert world.copies.agree() and world["C"].store.list_open() == world["D"].store.list_open()
    assert world[loser].store.list_closed().keys() == {closed}


def test_a_side_that_is_finding_out_what_it_knew_serves_nothing_but_recovery() -> None:
    world = ChannelWorld()
    payment = world.create("C", "aa")
    world.run()
    world.lose_database("D")
    world.restart("D")
    with pytest.raises(NotYet):
        world.create("D", "bb")
    world.update("C", payment, "2", metadata=["x"])
    (post,) = world["C"].take_due(world.now)
    reply = world["D"].on_request(post, world.now)
    assert read_payload(reply.body)["error"][0]["code"] == "wait"
    health = world["C"].recovery.ask_health()
    world.run(for_s=0.0)
    assert isinstance(world["C"].recovery.answers[health], ChannelHealth), "but it says how the channel is"


def test_a_new_channel_and_a_forgotten_one_are_told_apart_by_the_peers_signed_answer() -> None:
    world = ChannelWorld()
    note = world["C"].store.find_note("memory")
    assert note is not None
    answer = read_payload(note["health"])
    assert world["C"].keys.verify(note["health"]).signer == "D" and answer["result"]["known"] is False


def test_the_pending_commands_of_the_peer_are_judged_before_anything_new() -> None:
    """D answered, the answer was lost, D forgets: it must answer the same again before it may do anything else."""
    world = ChannelWorld()
    payment = world.create("C", "aa")
    world.run()
    world.update("C", payment, "2", metadata=["x"])
    world.collect()
    world.deliver(0)
    first = world.link.pop().post  # the answer, which will arrive very late
    world.lose_database("D")
    world.restart("D")
    world.collect()
    while world["D"].recovery.is_open:
        world.collect()
        world.deliver(0)
    record = world["D"].store.find_record("C", lab_cid("2"))
    assert record is not None and record.response == first.body, "judged again, with the same bytes"
    world["C"].on_response(first, world.now)
    world.run()
    assert world.copies.agree() and not world["C"].store.list_disputes()


def test_a_command_that_its_author_has_forgotten_takes_no_effect_any_more() -> None:
    """Without this rule a yielding client and a server that forgot its own command would make a fork."""
    world = ChannelWorld()
    payment = world.create("C", "aa")
    world.run()
    world.update("C", payment, "0c", metadata=["old"])
    world.collect()
    old = world.link.pop().post
    world.lose_database("C")
    world.restart("C")
    world.run()
    world.update("D", payment, "0d", status=REVIEW)
    reply = world["D"].on_request(old, world.now)
    error = read_payload(reply.body)["error"][0]
    assert (error["code"], error["field"]) == ("conflict", "memory")
    world.run()
    assert world.copies.agree() and not world["D"].store.list_disputes()


def test_a_pending_command_of_a_copy_that_is_older_than_a_lost_memory_is_signed_again() -> None:
    """C loses its memory, then a copy from before the loss comes back: what it sends next bears a lost name."""
    world = ChannelWorld()
    old, old_of_d = world.copy_database("C"), world.copy_database("D")
    world.create("C", "aa")
    world.create("D", "dd")
    world.collect()
    world.put_back("D", old_of_d)
    world.restart("D")
    world.deliver(0)
    world.deliver(0)
    world.lose_database("C")
    world.restart("C")
    world.collect()
    world.put_back("C", old)
    world.restart("C")
    world.create("C", "bb")
    world.run()
    for name in ("C", "D"):
        world[name].recovery.ask_health()
    world.run()
    assert not world["C"].store.list_pending() and not world["D"].store.list_pending()
    assert world.outcome("C", "bb").state == "success" and world.copies.agree()


# The worked example of the discussion


def test_the_worked_example_without_recovery() -> None:
    """kphfb: the new object goes through, and the update of the first one fails, because D no longer has it."""
    world = ChannelWorld(recovers=False)
    first = world.create("C", "abcd")
    world.run()
    world.lose_database("D")
    world.restart("D")
    world.create("C", "cbad")
    world.run()
    assert world.outcome("C", "cbad").state == "success"
    world.update("C", first, "1234", metadata=["on chain soon"])
    world.run()
    assert world.outcome("C", "1234").state == "pending"
    assert "does not know" in str(world.outcome("C", "1234").reason)
    assert not world.copies.agree()


def test_the_worked_example_with_recovery() -> None:
    world = ChannelWorld()
    first = world.create("C", "abcd")
    world.run()
    world.lose_database("D")
    world.restart("D")
    world.create("C", "cbad")
    world.update("C", first, "1234", metadata=["on chain soon"])
    world.run()
    assert world.outcome("C", "cbad").state == world.outcome("C", "1234").state == "success"
    assert world.copies.agree()


# Evidence


def evidence(world: ChannelWorld, payment: str) -> list[Evidence]:
    return show(world["C"].store.read_history(payment))


def tamper(kind: str, world: ChannelWorld, payment: str) -> list[Evidence]:
    shown = evidence(world, payment)
    first, second, third = shown
    key = {name: place.key for name, place in world.places.items()}
    stranger = KeyPair.lab_ed25519("stranger", "x")
    signed = world["C"].keys.verify(second.request)
    return {
        "a gap": [first, third],
        "another order": [second, first, third],
        "the same version twice": [first, second, second],
        "a response to another request": [first, Evidence(request=second.request, response=third.response)],
        "both signed by one side": [
            first,
            Evidence(
                request=second.request, response=key["C"].sign(success(lab_cid("2")), request_digest=signed.digest)
            ),
        ],
        "a stranger's signature": [Evidence(request=first.request, response=stranger.sign(success(lab_cid("1"))))],
        "a refusal": [
            first,
            Evidence(
                request=second.request,
                response=key["D"].sign({**success(lab_cid("2")), "status": "failure"}, request_digest=signed.digest),
            ),
        ],
        "no digest of the request": [
            first,
            Evidence(request=second.request, response=key["D"].sign(success(lab_cid("2")))),
        ],
        "a changed signature": [Evidence(request=first.request[:-4] + "AAAA", response=first.response)],
        "nothing signed": [Evidence(request="", response="")],
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "a gap",
        "another order",
        "the same version twice",
        "a response to another request",
        "both signed by one side",
        "a stranger's signature",
        "a refusal",
        "no digest of the request",
        "a changed signature",
        "nothing signed",
    ],
)
def test_evidence_that_proves_nothing_is_refused_with_its_place(kind: str) -> None:
    world = ChannelWorld()
    payment = world.create("C", "1")
    world.run()
    grow(world, payment, "C", ["2", "3"])
    assert len(verify_history(payment, evidence(world, payment), world["D"].keys.ring)) == 3
    with pytest.raises(BadEvidence, match=r"evidence \d does not hold"):
        verify_history(payment, tamper(kind, world, payment), world["D"].keys.ring)


def test_evidence_of_another_object_is_refused() -> None:
    world = ChannelWorld()
    first, second = world.create("C", "1"), world.create("C", "2")
    world.run()
    with pytest.raises(BadEvidence, match="another object"):
        verify_history(second, evidence(world, first), world["D"].keys.ring)


def test_a_payment_by_reference_is_checked_against_its_own_history() -> None:
    world = ChannelWorld()
    payment = world.create("C", "1")
    world.run()
    cid = world["D"].recovery.ask_payment(payment)
    world.run()
    answer = world["D"].recovery.answers[cid]
    assert isinstance(answer, PaymentByRef)
    assert answer.payment.to_json() == world["D"].store.find_object(payment).payment  # type: ignore[union-attr]

    cid = world["D"].recovery.ask_payment(payment)
    (post,) = world["D"].take_due(world.now)
    lie = answer.to_json()
    lie["payment"] = {**lie["payment"], "description": "something else"}
    digest = world["D"].keys.verify(post.body).digest
    reply = world.places["C"].key.sign({**success(cid), "result": lie}, request_digest=digest)
    world["D"].on_response(Post(post.x_request_id, reply), world.now)
    assert isinstance(world["D"].recovery.answers[cid], BadEvidence)


def test_a_question_about_an_unknown_payment_gets_a_signed_no() -> None:
    world = ChannelWorld()
    cid = world["C"].recovery.ask_payment(f"{world.places['C'].vasp.address}_none")
    world.run()
    answer = world["C"].recovery.answers[cid]
    assert isinstance(answer, Refused) and answer.code == "invalid_initial_or_prior_not_found"


# A peer that tells less than it knows, or something else


def test_a_peer_that_hides_a_channel_is_found_out_by_our_own_signature() -> None:
    world = ChannelWorld()
    payment = world.create("D", "1")
    world.run()
    grow(world, payment, "C", ["2"])
    honest = world.copy_database("D")
    world.lose_database("C")
    world.lose_database("D")  # D says that it knows nothing: a signed answer, and the end of C's recovery
    for name in ("C", "D"):
        world.restart(name)
    world.run()
    assert not world["C"].recovery.is_open and world["C"].store.list_open() == {}
    hidden = world["C"].store.find_note("memory")
    world.put_back("D", honest)
    world.restart("D")
    world["D"].recovery.offer(payment)
    world.run()
    found = world["C"].store.find_note("contradiction")
    assert hidden and found and found["health"] == hidden["health"]
    assert world["C"].keys.verify(found["evidence"]).signer == "C", "C's own command, which was not shown"
    assert not world["C"].recovery.is_open and world.copies.agree(), "recovery was opened again, and ended"


def test_an_old_copy_of_our_own_database_is_nobodys_lie() -> None:
    world, payment = make(behind="C")
    world["C"].recovery.ask_history(payment)
    world.run()
    assert world["C"].store.find_note("contradiction") is None and world.copies.agree()


def test_a_side_without_memory_cannot_be_made_to_create_a_reference_id_anew() -> None:
    world = ChannelWorld()
    payment = world.create("D", "1", amount=1000)
    world.run()
    world.lose_database("C")
    world.restart("C")
    shared = world["D"].store.find_object(payment)
    assert shared is not None
    other = {
        **shared.payment,
        "action": {**shared.payment["action"], "amount": 1},
        "receiver": {"address": shared.payment["receiver"]["address"]},
    }
    command = {"_ObjectType": "PaymentCommand", "_reads": {}, "_writes": {payment: lab_cid("9")}, "payment": other}
    key, memory = world.places["D"].key, world["D"].recovery.memory
    post = Post(to_request_id(lab_cid("9")), key.sign(request_object(command, lab_cid("9")), memory=memory))

    def code() -> str:
        return str(read_payload(world["C"].on_request(post, world.now).body)["error"][0]["code"])

    assert code() == "wait", "while C is finding out"
    world.run()
    assert code() == "conflict", "and after"
    assert world["C"].store.find_object(payment).payment["action"]["amount"] == 1000  # type: ignore[union-attr]


def test_the_longest_agreed_chain_wins_whoever_is_protocol_server() -> None:
    for behind in ("C", "D"):
        world, payment = make(behind)
        world[behind].recovery.ask_health()
        world.run()
        assert world.copies.agree() and len(world[behind].store.read_history(payment)) == 5


def test_a_wait_while_the_peer_recovers_is_no_answer_to_a_question() -> None:
    world = ChannelWorld()
    cid = world["C"].recovery.ask_health()
    (post,) = world["C"].take_due(world.now)
    digest = world["C"].keys.verify(post.body).digest
    refusal: Any = protocol_error("wait", None, "later")
    answer = {
        "_ObjectType": "CommandResponseObject",
        "status": "failure",
        "cid": cid,
        "error": [error.to_json() for error in refusal.errors],
    }
    reply = world.places["D"].key.sign(answer, request_digest=digest)
    world["C"].on_response(Post(post.x_request_id, reply), world.now)
    assert cid not in world["C"].recovery.answers
    world.run()
    assert isinstance(world["C"].recovery.answers[cid], ChannelHealth)
