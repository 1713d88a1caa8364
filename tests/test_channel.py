"""Every situation of the command engine, as a test with its number."""

from typing import Any

import pytest

from protocol.channel_world import ChannelWorld, lab_cid
from protocol.errors import Misuse
from protocol.messages.offchain import command_error, failure, success
from protocol.objects import Json
from protocol.outbox import Post, to_request_id
from protocol.signing import KeyPair, read_payload

READY = {"status": "ready_for_settlement"}
REVIEW = {"status": "pending_review"}


@pytest.fixture
def world() -> ChannelWorld:
    """C is protocol server, D is protocol client."""
    return ChannelWorld()


def create(world: ChannelWorld, word: str = "abcd") -> str:
    payment = world.create("C", word)
    world.run()
    assert world.outcome("C", word).state == "success"
    return payment


def command(world: ChannelWorld, payment: str, reads: str | None, word: str, **fields: Any) -> Json:
    """A payment command of C, written by hand."""
    change = {"reference_id": payment, **({"sender": fields} if fields else {})}
    return {
        "_ObjectType": "PaymentCommand",
        "_reads": {} if reads is None else {payment: lab_cid(reads)},
        "_writes": {payment: lab_cid(word)},
        "payment": change,
    }


def post(world: ChannelWorld, name: str, command: Json, word: str, **changes: Any) -> Post:
    """A request signed by a party, whatever it says."""
    cid = lab_cid(word)
    request = {
        "_ObjectType": "CommandRequestObject",
        "command_type": command.get("_ObjectType"),
        "command": command,
        "cid": cid,
        **changes,
    }
    request = {name: value for name, value in request.items() if value is not ...}
    key, memory = world.places[name].key, world[name].recovery.memory
    return Post(to_request_id(cid), key.sign(request, memory=memory))


def errors(reply: Post) -> list[tuple[str, str, str | None]]:
    return [(error["type"], error["code"], error.get("field")) for error in read_payload(reply.body).get("error", [])]


def ask(world: ChannelWorld, message: Post) -> list[tuple[str, str, str | None]]:
    return errors(world["D"].on_request(message, world.now))


def stored(store: Any) -> bytes:
    return repr(vars(store.store)).encode()


# The situations


def test_row_01_a_command_that_reads_an_unknown_version_is_not_sent(world: ChannelWorld) -> None:
    payment = create(world)
    before = stored(world["C"].store)
    with pytest.raises(Misuse, match="missing_dependencies"):
        world["C"].issue(command(world, payment, "bad", "2"), world.now, lab_cid("2"))
    assert stored(world["C"].store) == before and not world["C"].outbox


def test_row_02_a_responder_that_misses_the_version_is_shown_the_history() -> None:
    world = ChannelWorld()
    payment = create(world)
    old = world.copy_database("D")
    world.update("C", payment, "2", metadata=["a"])
    world.run()
    world.put_back("D", old)
    world.restart("D")
    place = len(world.trace)
    world.update("C", payment, "3", metadata=["a", "b"])
    world.run(for_s=0.0)
    names = [str(event).partition(": ")[2].strip() for event in world.since(place)][:4]
    assert names == ["2000 -> 3000", "missing_dependencies", "offers 2 versions", "success " + names[3][8:]]
    world.run()
    assert world.copies.agree() and world.outcome("C", "3").state == "success"


def test_row_02_nothing_is_stored_at_the_responder(world: ChannelWorld) -> None:
    payment = create(world)
    before = stored(world["D"].store)
    found = ask(world, post(world, "C", command(world, payment, "bad", "2"), "2"))
    assert found == [("protocol_error", "missing_dependencies", f"command._reads.{payment}")]
    assert stored(world["D"].store) == before


def test_row_03_a_command_that_reads_a_used_version_is_not_sent(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    world.run()
    with pytest.raises(Misuse, match="used_dependencies"):
        world["C"].issue(command(world, payment, "abcd", "3"), world.now, lab_cid("3"))


def test_row_04_reading_a_used_version_fails_for_good_and_the_history_is_fetched(world: ChannelWorld) -> None:
    payment = create(world)
    old = world.copy_database("C")
    world.update("D", payment, "2", status=REVIEW)
    world.run()
    world.put_back("C", old)
    world.restart("C")
    world.update("C", payment, "3", metadata=["mine"])
    world.run()
    assert world.outcome("C", "3").state == "failure"
    assert str(world.outcome("C", "3").reason).startswith("tried again as")
    assert world.copies.agree() and len(world["C"].store.read_history(payment)) == 3
    answer = world["D"].store.find_record("C", lab_cid("3"))
    assert answer is not None and answer.state == "failure", "a command_error is stored with the command"


def test_row_04_a_command_that_must_not_be_tried_again_is_given_up_with_a_reason(world: ChannelWorld) -> None:
    payment = create(world)
    old = world.copy_database("C")
    world.update("D", payment, "2", status=REVIEW)
    world.run()
    world.put_back("C", old)
    world.restart("C")
    world.update("C", payment, "3", retry=False, metadata=["mine"])
    world.run()
    assert world.outcome("C", "3").reason == "given up: it was not to be tried again"
    assert world.copies.agree() and len(world["C"].store.read_history(payment)) == 2


def test_row_04_a_change_that_the_newer_version_forbids_is_given_up_with_a_reason(world: ChannelWorld) -> None:
    payment = create(world)
    old = world.copy_database("C")
    world.update("D", payment, "2", status={"status": "abort"})
    world.run()
    world.put_back("C", old)
    world.restart("C")
    world.update("C", payment, "3", status=READY)
    world.run()
    assert "invalid_transition" in str(world.outcome("C", "3").reason)


def test_row_05_a_version_held_by_an_own_command_is_not_read_by_a_second_one(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    with pytest.raises(Misuse, match="wait"):
        world["C"].update(payment, {"sender": {"metadata": ["b"]}}, world.now, lab_cid("3"))


def test_rows_06_and_07_the_server_says_wait_and_the_client_yields(world: ChannelWorld) -> None:
    payment = create(world)
    place = len(world.trace)
    world.update("C", payment, "c0", status=READY)
    world.update("D", payment, "d0", retry=False, status=REVIEW)
    world.run()
    names = [str(event).partition(": ")[2].strip() for event in world.since(place)]
    assert names == [
        "abcd -> c000",
        "abcd -> d000",
        "success c000",
        "wait",
        "abcd -> d000 (again)",
        "used_dependencies",
    ]
    assert world.outcome("C", "c0").state == "success" and world.outcome("D", "d0").state == "failure"
    assert world.copies.agree()


def test_row_07_the_client_then_tries_again_on_the_version_it_yielded_to(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "c0", status=READY)
    world.update("D", payment, "d0", status=REVIEW)
    world.run()
    shared = world["C"].store.find_object(payment)
    assert shared and shared.payment["receiver"]["status"] == REVIEW and world.copies.agree()


def test_row_08_used_wins_over_held(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    world.run()
    world.update("C", payment, "3", metadata=["a", "b"])  # C now holds version 2
    request = post(world, "D", {**command(world, payment, "abcd", "d0"), "payment": {"reference_id": payment}}, "d0")
    assert errors(world["C"].on_request(request, world.now))[0][:2] == ("command_error", "used_dependencies")


@pytest.mark.parametrize("is_right", [True, False])
def test_row_09_the_same_command_gets_the_same_signed_answer_and_is_applied_once(
    world: ChannelWorld, is_right: bool
) -> None:
    payment = create(world)
    status = READY if is_right else {"status": "none"}
    request = post(world, "C", command(world, payment, "abcd", "2", status=status), "2")
    first = world["D"].on_request(request, world.now)
    before = stored(world["D"].store)
    again = world["D"].on_request(request, world.now + 100)
    assert again.body == first.body and stored(world["D"].store) == before
    assert (errors(first) == []) is is_right


def test_row_10_another_command_under_the_same_cid_is_a_conflict(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    other = post(world, "C", command(world, payment, "abcd", "2", metadata=["b"]), "2")
    world.run()
    before = stored(world["D"].store)
    assert ask(world, other) == [("protocol_error", "conflict", "cid")]
    assert stored(world["D"].store) == before


def test_row_10_a_right_response_later_still_counts(world: ChannelWorld) -> None:
    payment = create(world)
    world["D"].on_request(post(world, "C", command(world, payment, "abcd", "2", metadata=["b"]), "2"), world.now)
    world["C"].update(payment, {"sender": {"metadata": ["a"]}}, world.now, lab_cid("2"))
    world.run(for_s=3.0)
    assert world.outcome("C", "2").state == "pending"
    right = world.places["D"].key.sign(success(lab_cid("2")), request_digest=world["C"].store.list_pending()[0].digest)
    world["C"].on_response(Post(to_request_id(lab_cid("2")), right), world.now)
    assert world.outcome("C", "2").state == "success"


def test_row_11_an_own_cid_stands_for_one_command_for_ever(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    world["C"].give_up(lab_cid("2"), "no longer wanted")
    with pytest.raises(Misuse, match="another command"):
        world["C"].update(payment, {"sender": {"metadata": ["b"]}}, world.now, lab_cid("2"))
    same = command(world, payment, "abcd", "2", metadata=["a"])
    assert world["C"].issue(same, world.now, lab_cid("2")) == lab_cid("2"), "the same command again is no mistake"


def test_row_12_both_parties_may_use_one_cid_at_once(world: ChannelWorld) -> None:
    first, second = world.create("C", "aa"), world.create("D", "aa")
    world.run()
    assert world.outcome("C", "aa").state == world.outcome("D", "aa").state == "success"
    assert first != second and world.copies.agree()


def test_row_13_a_response_that_arrives_twice_counts_once(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    world.collect()
    world.deliver(0)
    world.deliver(0, keep=True)
    before = stored(world["C"].store)
    world.deliver(0)
    assert stored(world["C"].store) == before and world.outcome("C", "2").state == "success"


def test_row_14_two_signed_answers_to_one_command_are_a_dispute(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    world.run()
    record = world["C"].store.find_record("C", lab_cid("2"))
    assert record is not None
    lie = failure(lab_cid("2"), command_error("invalid_overwrite", "command.payment.sender", "no"))
    answer = world.places["D"].key.sign(lie, request_digest=record.digest)
    world["C"].on_response(Post(to_request_id(lab_cid("2")), answer), world.now)
    (dispute,) = world["C"].store.list_disputes()
    assert {dispute.first, dispute.second} == {record.response, answer}
    with pytest.raises(Misuse, match="dispute"):
        world.update("C", payment, "3", metadata=["a", "b"])
    request = post(world, "D", {**command(world, payment, "2", "d0"), "payment": {"reference_id": payment}}, "d0")
    assert errors(world["C"].on_request(request, world.now))[0][:2] == ("protocol_error", "conflict")


def test_row_15_a_response_for_an_unknown_cid_is_refused_and_noted(world: ChannelWorld) -> None:
    create(world)
    before = stored(world["C"].store)
    answer = world.places["D"].key.sign(success(lab_cid("99")), request_digest="0" * 64)
    world["C"].on_response(Post(to_request_id(lab_cid("99")), answer), world.now)
    assert "unknown cid" in world["C"].log[-1] and stored(world["C"].store) == before


def test_row_16_a_version_name_is_used_once_per_object(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    world.run()
    request = {**command(world, payment, "2", "abcd"), "payment": {"reference_id": payment}}
    reply = world["C"].on_request(post(world, "D", request, "abcd"), world.now)
    assert errors(reply) == [("command_error", "conflict", f"command._writes.{payment}")]


@pytest.mark.parametrize(
    ("reads", "writes", "path"),
    [
        ({"self": "abcd"}, {"self": "beef"}, "command._writes.{self}"),
        ({"self": "abcd"}, {}, "command._writes"),
        ({"self": "abcd"}, {"self": "2", "lbr1x_other": "2"}, "command._writes"),
        ({"self": "abcd"}, {"lbr1x_other": "2"}, "command._writes"),
        ({"lbr1x_other": "abcd"}, {"self": "2"}, "command._reads"),
        ({"self": "abcd", "lbr1x_other": "abcd"}, {"self": "2"}, "command._reads"),
    ],
)
def test_row_17_reads_and_writes_are_exact(
    world: ChannelWorld, reads: dict[str, str], writes: dict[str, str], path: str
) -> None:
    payment = create(world)

    def fill(names: dict[str, str]) -> dict[str, str]:
        return {payment if name == "self" else name: lab_cid(word) for name, word in names.items()}

    wrong = {**command(world, payment, "abcd", "2"), "_reads": fill(reads), "_writes": fill(writes)}
    expected = path.replace("{self}", payment)
    assert ask(world, post(world, "C", wrong, "2")) == [("command_error", "invalid_field_value", expected)]


def test_row_18_a_broken_rule_is_final_and_names_every_field(world: ChannelWorld) -> None:
    payment = create(world)
    wrong = command(world, payment, "abcd", "2", status={"status": "none"})
    wrong["payment"] |= {
        "action": {"amount": 1, "currency": "LBR", "action": "charge", "timestamp": 1},
        "receiver": {"status": READY},
    }
    found = ask(world, post(world, "C", wrong, "2"))
    assert found == [
        ("command_error", "invalid_overwrite", "command.payment.action"),
        ("command_error", "invalid_transition", "command.payment.sender.status.status"),
        ("command_error", "invalid_overwrite", "command.payment.receiver.status"),
    ]


def test_row_18_a_reference_id_is_used_once(world: ChannelWorld) -> None:
    payment = create(world)
    shared = world["C"].store.find_object(payment)
    assert shared is not None
    again = {**command(world, payment, None, "2"), "payment": {**shared.payment, "description": "another one"}}
    assert ask(world, post(world, "C", again, "2")) == [("command_error", "conflict", "command.payment.reference_id")]


def test_row_19_what_cannot_be_read_is_answered_with_a_signed_error(world: ChannelWorld) -> None:
    cid = to_request_id(lab_cid("2"))
    stranger = KeyPair.lab_ed25519("stranger", "x")
    key = world.places["C"].key
    cases: list[tuple[Post, str]] = [
        (Post(cid, "not a jws"), "invalid_jws"),
        (Post(cid, b"\xff\xfe"), "invalid_jws"),
        (Post(cid, stranger.sign({"a": 1})), "invalid_jws_signature"),
        (Post(cid, world.places["D"].key.sign({"a": 1})), "invalid_jws_signature"),
        (Post(cid, key.sign_canonical(b"{")), "invalid_json"),
        (Post(cid, key.sign_canonical(b"[1]")), "invalid_object"),
        (Post(None, key.sign({"a": 1})), "missing_http_header"),
        (Post(cid, key.sign({"a": 1}, memory=world["C"].recovery.memory)), "invalid_object"),
    ]
    before = stored(world["D"].store)
    for message, code in cases:
        reply = world["D"].on_request(message, world.now)
        assert world["C"].keys.verify(reply.body).signer == "D"
        assert errors(reply)[0][1] == code, message
    assert stored(world["D"].store) == before


def test_row_19_the_cid_is_in_the_answer_where_it_could_be_read(world: ChannelWorld) -> None:
    request = post(world, "C", {"_ObjectType": "Dance"}, "2")
    reply = world["D"].on_request(request, world.now)
    assert errors(reply) == [("command_error", "unknown_command_type", "command_type")]
    assert read_payload(reply.body)["cid"] == lab_cid("2")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_rows_20_and_21_a_crash_while_a_command_is_applied_is_never_half(world: ChannelWorld, moment: str) -> None:
    payment = create(world)
    world.crash("D", **{moment: 1})
    world.update("C", payment, "2", metadata=["a"])
    world.run(for_s=5.0)
    assert world.places["D"].channel is None
    disk = world.places["D"].disk
    record, shared = disk.find_record("C", lab_cid("2")), disk.find_object(payment)
    assert (record is not None) == (shared.head == lab_cid("2")) == (moment == "after"), "both, or neither"
    world.restart("D")
    world.run()
    assert world.outcome("C", "2").state == "success" and world.copies.agree()
    if moment == "after":
        assert world["C"].store.read_history(payment)[lab_cid("2")].answer == record.response, "the same answer"


def test_row_22_a_hundred_stuck_commands_hold_up_nobody(world: ChannelWorld) -> None:
    for number in range(100):
        world.create("C", f"{number:04d}aa")
    world.collect()
    stuck = [world.link.pop() for _ in range(100)]
    assert len(stuck) == 100
    world.create("C", "beef")
    world.run(for_s=0.0)
    assert world.outcome("C", "beef").state == "success"
    world.run()
    assert not world["C"].store.list_pending()


def test_row_22_the_pauses_double_and_each_command_has_its_own(world: ChannelWorld) -> None:
    world.crash("D")
    world.create("C", "aa")
    sent: list[float] = []
    start = world.now
    while world.now < start + 40:
        sent += [world.now - start for _ in world["C"].take_due(world.now)]
        world.now += 1
    assert sent == [0, 1, 3, 7, 15, 31]


def test_a_given_up_command_is_sent_again_when_the_peer_waits_for_it(world: ChannelWorld) -> None:
    payment = create(world)
    world.update("C", payment, "2", metadata=["a"])
    world["C"].give_up(lab_cid("2"), "no longer wanted")
    world.update("D", payment, "d0", status=REVIEW)
    world.run()
    assert world.outcome("C", "2").state == "success" and world.copies.agree()
    assert not world["D"].store.list_pending()
