"""A lost signing key: what the old one still verifies, and what it signs no more."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from protocol.channel_store import MemoryStore, SQLiteStore
from protocol.channel_world import ChannelWorld, lab_cid
from protocol.errors import Refused
from protocol.messages.offchain import (
    failure,
    protocol_error,
    request_object,
)
from protocol.outbox import Post, to_request_id
from protocol.signing import BadSignature, KeyPair, read_payload, state_key, verify_key_statement


def test_a_lost_key_is_replaced_and_old_evidence_still_verifies() -> None:
    world = ChannelWorld()
    payment = world.create("C", "1")
    world.run()
    old = world.places["C"].key
    world.replace_key("C")
    world.update("C", payment, "2", metadata=["new key"])
    world.run()
    kids = [world["D"].keys.verify(v.signed).kid for v in world["D"].store.read_history(payment)]
    assert kids == [old.public.kid, world.places["C"].key.public.kid]
    world.lose_database("D")
    world.restart("D")
    world.run()
    assert world.copies.agree(), "a rebuild reads evidence under both keys"


def test_a_replaced_key_signs_nothing_new() -> None:
    world = ChannelWorld()
    payment = world.create("C", "1")
    world.run()
    old = world.places["C"].key
    world.replace_key("C")
    command = {
        "_ObjectType": "PaymentCommand",
        "_reads": {payment: lab_cid("1")},
        "_writes": {payment: lab_cid("2")},
        "payment": {"reference_id": payment},
    }
    forged = old.sign(request_object(command, lab_cid("2")), memory=world["C"].recovery.memory)
    reply = read_payload(world["D"].on_request(Post(to_request_id(lab_cid("2")), forged), world.now).body)
    assert reply["error"][0]["code"] == "invalid_jws_signature"
    replay = world["D"].store.read_history(payment)[lab_cid("1")]
    again = world["D"].on_request(Post(to_request_id(lab_cid("1")), replay.signed), world.now)
    assert again.body == replay.answer, "what is stored is answered again, under whichever key it came"


def test_a_command_that_never_arrived_under_the_old_key_is_signed_again_with_the_new_one() -> None:
    world = ChannelWorld()
    payment = world.create("C", "aa")
    world.collect()
    world.link.clear()
    before = world["C"].store.list_pending()[0]
    world.replace_key("C")
    world.run()
    after = world["C"].store.find_record("C", lab_cid("aa"))
    assert after is not None and after.state == "success" and after.digest == before.digest
    old, new = world["D"].keys.verify(before.request), world["D"].keys.verify(after.request)
    assert old.kid != new.kid and old.memory == new.memory and old.payload == new.payload
    assert world.copies.agree() and world["D"].store.find_object(payment) is not None


def test_a_command_that_was_answered_under_the_old_key_keeps_its_old_signature() -> None:
    world = ChannelWorld()
    payment = world.create("C", "aa")
    world.collect()
    world.deliver(0)
    world.link.clear()
    before = world["C"].store.list_pending()[0]
    world.replace_key("C")
    world.run()
    assert world["C"].store.read_history(payment)[lab_cid("aa")].signed == before.request
    assert world.copies.agree()


def test_a_refused_signature_of_the_newest_key_is_not_signed_again() -> None:
    """A peer that has not heard of the new key yet: the same bytes go out again after the pause."""
    world = ChannelWorld()
    world.create("C", "aa")
    world.collect()
    (message,) = world.link
    before = world["C"].store.list_pending()[0]
    error = failure(lab_cid("aa"), protocol_error("invalid_jws_signature", None, "no"))
    refusal = world.places["D"].key.sign(error, request_digest=before.digest)
    world["C"].on_response(Post(message.post.x_request_id, refusal), world.now)
    assert world["C"].store.list_pending() == [before] and not world["C"].take_due(world.now)


def test_database_and_key_lost_together() -> None:
    world = ChannelWorld()
    payment = world.create("C", "1")
    world.run()
    world.lose_database("C")
    world.replace_key("C")
    world.run()
    assert world.copies.agree() and world["C"].store.find_object(payment) is not None


@pytest.mark.parametrize("make_store", [MemoryStore, None])
def test_a_restart_after_two_replacements_hears_of_both_again(make_store: Any, tmp_path: Path) -> None:
    """The owner's statements come again with every start, the oldest first: what is known already is no news."""
    numbers = count()
    world = ChannelWorld(make_store=make_store or (lambda: SQLiteStore(tmp_path / f"{next(numbers)}.sqlite")))
    world.replace_key("C")
    world.replace_key("C")
    for name in ("C", "D"):
        world.restart(name)
    payment = world.create("C", "1")
    world.run()
    assert world.copies.agree() and world["D"].store.find_object(payment) is not None


def test_a_statement_about_a_key_counts_only_from_the_owner_and_with_a_higher_serial() -> None:
    owner, stranger = KeyPair.lab_ed25519("owner", "x"), KeyPair.lab_ed25519("stranger", "x")
    key = KeyPair.lab_ed25519("C 2", "x").public
    assert verify_key_statement(state_key(owner, "C", key, 1), owner.public, "C").key.kid == key.kid
    with pytest.raises(BadSignature):
        verify_key_statement(state_key(stranger, "C", key, 1), owner.public, "C")
    with pytest.raises(Refused, match="not a statement"):
        verify_key_statement(state_key(owner, "D", key, 1), owner.public, "C")
    world = ChannelWorld()
    world.replace_key("C")
    late = state_key(world.places["C"].owner, "C", stranger.public, 1)
    with pytest.raises(Refused, match="serial"):
        world["D"].replace_key("C", late)
