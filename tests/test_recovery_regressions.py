"""What random faults have found (test_recovery_machine.py), each as the shortest story that shows it.

Without TLS where a handshake would have made up for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protocol.admission import MOST_NONCES, Answered
from protocol.errors import Misuse
from protocol.messages.recovery import MOST_EVIDENCE
from protocol.network import World
from protocol.rules import Rules
from protocol.signing import read_payload
from tests.at_rest import find_unsettled
from tests.conftest import ALICE, BOB, check_transferred


@pytest.fixture
def plain() -> Iterator[World]:
    world = World(seed="test", tls=False)
    yield world
    world.close()


def check_settled(world: World, outcome: str) -> None:
    world.run()
    assert not find_unsettled(world), f"{find_unsettled(world)}\n{world.trace}"
    assert world.owners == [outcome]


def test_a_log_that_is_lost_has_no_tail_to_lose(plain: World) -> None:
    plain.start()
    plain.crash("recipient")
    plain.forget("recipient")
    plain.forget("recipient", 1)
    plain.restart("recipient")
    check_settled(plain, BOB)


def test_a_key_that_was_replaced_while_nothing_was_open(plain: World) -> None:
    plain.crash("recipient")
    plain.lose_key("recipient")
    plain.restart("recipient")
    plain.run()
    plain.start()
    plain.run()
    check_transferred(plain)


def test_a_key_that_was_replaced_before_the_proposal_came(plain: World) -> None:
    """The proposal names the old key: it is refused, and the refusal can be read."""
    plain.start()
    plain.crash("recipient", at="1.1", before=1)
    plain.run()
    plain.lose_key("recipient")
    plain.restart("recipient")
    check_settled(plain, ALICE)


def test_a_gateway_that_comes_back_learns_that_the_key_of_its_peer_was_replaced(plain: World) -> None:
    plain.start()
    plain.run()
    plain.crash("recipient")
    plain.lose_key("recipient")
    plain.restart("recipient")
    plain.run()
    plain.crash("sender")
    plain.restart("sender")
    plain.run()
    assert plain.is_at_rest, "the answer to its Transfer-Resume is signed with a key that its configuration lacks"
    plain.start("another")
    plain.run()
    assert not find_unsettled(plain)


def test_two_recover_that_cross(plain: World) -> None:
    """R35: each is answered, and an answer belongs to the question, whatever was said in between."""
    plain.start()
    plain.run(until="3.4")
    plain.crash("sender")
    plain.crash("recipient")
    plain.forget("recipient")
    plain.restart("sender")
    plain.lose("transfer-resume")
    plain.restart("recipient")
    plain.run()
    check_transferred(plain)


@pytest.mark.parametrize("entries", [3, 2, 1])
def test_the_peer_has_forgotten_the_message_that_the_rollback_cites(entries: int, plain: World) -> None:
    plain.start()
    plain.crash("recipient", at="1.4", after=1)
    plain.run()
    plain.abort("sender", "a reason")
    plain.forget("recipient", entries)
    plain.restart("recipient")
    check_settled(plain, ALICE)


@pytest.mark.parametrize("lock_type", ["TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK"])
def test_a_lock_that_the_log_has_forgotten_is_taken_back_with_its_receipt(lock_type: str, plain: World) -> None:
    """The recipient is prepared: without the receipt of the expiry it would wait for ever."""
    plain.start(lock_type=lock_type)
    plain.crash("sender", at="3.3", before=1)
    plain.run()
    plain.wait(1000)
    plain.forget("sender", 8)
    plain.restart("sender")
    check_settled(plain, BOB if lock_type == "HASH_LOCK" else ALICE)


def test_a_mint_that_the_log_has_forgotten_is_destroyed(plain: World) -> None:
    plain.start()
    plain.crash("recipient", at="3.2", after=3)
    plain.run()
    plain.forget("recipient", 3)
    plain.wait(1000)
    plain.restart("recipient")
    check_settled(plain, ALICE)


def test_a_session_that_only_the_peer_can_name_is_asked_for_again(plain: World) -> None:
    """The connection breaks in the middle; a gateway without log must not say "unknown session" meanwhile."""
    plain.start()
    plain.crash("sender", at="3.8", after=1)
    plain.run()
    plain.forget("sender")
    plain.restart("sender")
    while not any(message.name == "recover-update" for message in plain.link):
        plain.deliver_next()
    plain.cut()
    plain.run()
    check_transferred(plain)


def forget_the_end(world: World) -> None:
    """Burned, assigned; the sender has lost its log and the recipient all that came after 2.4."""
    world.start(lock_type="TIME_LOCK")
    world.run(until="3.7")
    world.crash("sender")
    world.crash("recipient")
    world.forget("sender")
    world.forget("recipient", 8)
    world.restart("sender")
    world.restart("recipient")


def test_a_burn_that_both_logs_have_forgotten(plain: World) -> None:
    """A lock that is burned is not lost, and a time-out does not back out of what is final."""
    forget_the_end(plain)
    plain.lose("2.4")
    check_settled(plain, BOB)


def test_what_both_logs_have_forgotten_is_not_aborted(plain: World) -> None:
    forget_the_end(plain)
    while plain._is_comparing(plain._side("sender")) or plain._is_comparing(plain._side("recipient")):
        plain.deliver_next() if plain.link else plain._time_out()
    plain.abort("sender", "a reason")
    check_settled(plain, BOB)


@pytest.mark.parametrize("who", ["sender", "recipient"])
def test_a_session_of_which_all_entries_were_the_last_ones(who: str, plain: World) -> None:
    """The logs are not empty, and both have forgotten one session: its lock is found all the same."""
    plain.start()
    plain.run()
    plain.start("another", by=who, lock_type="HASH_LOCK")
    plain.run(until="2.4", of=plain.sessions[1])
    plain.crash("sender")
    plain.crash("recipient")
    plain.forget("sender", 9)
    plain.forget("recipient", 9)
    plain.restart("sender")
    plain.restart("recipient")
    plain.run()
    assert not find_unsettled(plain), f"{find_unsettled(plain)}\n{plain.trace}"


@pytest.mark.parametrize("lock_type", ["TIME_LOCK", "HASH_TIME_LOCK"])
def test_a_lock_assertion_that_was_timely_when_it_was_acted_on(lock_type: str, plain: World) -> None:
    """Burned and minted; both logs end before the mint, and the lock's expiry has passed meanwhile."""
    plain.start(lock_type=lock_type)
    plain.crash("sender", at="3.4", after=2)
    plain.run()
    plain.crash("recipient")
    plain.forget("sender", 4)
    plain.forget("recipient", 8)
    plain.wait(1000)
    plain.restart("sender")
    plain.restart("recipient")
    check_settled(plain, BOB)


def test_the_old_receipt_of_a_mint_that_was_destroyed_is_worth_nothing() -> None:
    """The network acts once, so it would answer the repeated mint with the first receipt. A late commit-prepare."""
    world = World(seed="test", tls=False, rules=Rules(reconcile_before_serving=False))
    world.start()
    world.run(until="3.1")
    prepare = world.link[0].data
    world.run(until="3.2")
    world.link.clear()
    world.abort("sender", "a reason")
    world.run()
    assert [receipt.action for receipt in world.destination.actions_of("GW2")][-1] == "destroy"
    world.crash("recipient")
    world.forget("recipient", len(world.log("recipient")) - 8)
    world.restart("recipient")
    answer = world.recipient.receive(prepare)
    assert answer is not None
    assert read_payload(answer)["messageType"].endswith("session-abort-msg"), "and not commit-ready"
    check_settled(world, ALICE)
    world.close()


def forget_the_burn(world: World, lock_type: str) -> None:
    """Burned; the sender has forgotten all but its proposal, and the recipient whatever comes after 1.4."""
    world.start(lock_type=lock_type)
    world.run(until="3.4")
    world.crash("sender")
    world.crash("recipient")
    world.forget("sender", len(world.log("sender")) - 1)
    world.forget("recipient", len(world.log("recipient")) - 4)
    world.restart("sender")
    world.restart("recipient")


@pytest.mark.parametrize("lock_type", ["TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK"])
def test_a_commit_ready_that_both_logs_have_forgotten_still_binds_the_recipient(lock_type: str, plain: World) -> None:
    """The mint that its network holds says that it may have been sent: the asset may be burned by now."""
    forget_the_burn(plain, lock_type)
    while plain._is_comparing(plain._side("sender")) or plain._is_comparing(plain._side("recipient")):
        plain.deliver_next() if plain.link else plain._time_out()
    assert not plain.recipient.session(plain.sessions[0]).is_prepared
    with pytest.raises(Misuse, match="commit-ready may have been sent"):
        plain.abort("recipient", "a reason")
    check_settled(plain, BOB)


def test_a_wish_to_leave_from_an_old_copy_does_not_destroy_the_mint(plain: World) -> None:
    """The copy remembers the wish and has forgotten the mint; the sender has burned and has forgotten that."""
    plain.start()
    plain.run(until="1.4")
    plain.crash("recipient", before=2)
    plain.abort("recipient", "a wish")
    copy = plain.keep_copy("recipient")
    plain.forget("recipient", 1)
    plain.restart("recipient")
    plain.run(until="3.4")
    plain.crash("sender")
    plain.crash("recipient")
    plain.put_back("recipient", copy)
    plain.forget("sender", len(plain.log("sender")) - 3)
    plain.restart("recipient")
    plain.restart("sender")
    check_settled(plain, BOB)


def test_a_proposal_is_all_that_is_left_and_the_mint_is_held(plain: World) -> None:
    """Row I: an old copy of the sender's log, and the recipient's log is lost: that is where they begin."""
    plain.start(lock_type="HASH_LOCK")
    copy = plain.keep_copy("sender")
    plain.run(until="3.4")
    plain.crash("sender")
    plain.crash("recipient")
    plain.put_back("sender", copy)
    plain.forget("recipient")
    plain.restart("sender")
    plain.restart("recipient")
    check_settled(plain, BOB)


@pytest.mark.parametrize("field", ["digitalAssetId", "verifiedBeneficiaryEntityId"])
def test_a_proposal_about_something_else_than_the_mint_is_refused(field: str, plain: World) -> None:
    """Another asset could be burned for the one that is held."""
    plain.start(lock_type="HASH_LOCK")
    proposal = plain.history("sender")[plain.history("sender").head or ""].signed
    plain.run(until="3.4")
    plain.crash("sender")
    plain.crash("recipient")
    plain.forget("recipient")
    plain.restart("recipient")
    plain.recipient._offers.waiting.clear()
    plain.recipient._offers.pending.clear()
    payload = read_payload(proposal)
    payload["transferInitClaim"][field] += "x"
    answer = plain.recipient.receive(plain.key("GW1").sign(payload).encode())
    assert "another asset or beneficiary" in read_payload(answer or b"")["detail"]
    answer = plain.recipient.receive(proposal.encode())
    assert read_payload(answer or b"")["messageType"].endswith("proposal-receipt-msg")


def test_a_message_to_an_orphan_is_refused(plain: World) -> None:
    """Of the sender nothing is left but its lock: what the peer says of it cannot be verified, and breaks nothing."""
    plain.start(lock_type="HASH_LOCK")
    plain.run(until="2.1")
    receipt = next(version.signed for version in plain.history("recipient") if version.author == "GW2")
    plain.crash("sender")
    plain.forget("sender")
    plain.restart("sender")
    plain.sender._offers.waiting.clear()
    plain.sender._offers.pending.clear()
    answer = plain.sender.receive(receipt.encode())
    assert "unknown session" in read_payload(answer or b"")["detail"]


def test_who_has_forgotten_its_own_abort_is_told_of_it(plain: World) -> None:
    """The sender follows the abort, and a TIME_LOCK lets it wait; the recipient has forgotten the wish, and 1.4."""
    plain.start(lock_type="TIME_LOCK")
    plain.run(until="1.4")
    plain.abort("recipient", "a reason")
    while not plain.sender.session(plain.sessions[0]).ending:
        plain.deliver_next()
    plain.crash("recipient")
    plain.forget("recipient", 3)
    plain.restart("recipient")
    plain.run()
    plain.wait(200)
    check_settled(plain, ALICE)


def test_what_is_remembered_of_a_peer_has_a_limit(plain: World) -> None:
    answered = Answered()
    for number in range(10 * MOST_NONCES):
        answered.add(f"nonce {number}", f"hash {number}", is_next_page=False)
    assert len(answered.nonces) == MOST_NONCES
    assert answered.digests == {f"hash {10 * MOST_NONCES - 1}"}


def test_a_frozen_session_does_not_grow_for_ever(plain: World) -> None:
    plain.start()
    plain.run(until="2.4")
    name, key = plain.sessions[0], plain.key("GW1")
    for number in range(5):
        evidence = [key.sign({"number": number, "evidence": each}) for each in range(MOST_EVIDENCE)]
        payload = {
            "messageType": "urn:ietf:SATP-2pc:msgtype:recover-dispute-msg",
            "sessionId": name,
            "reason": "a reason",
            "evidence": evidence,
            "timestamp": plain.now,
        }
        plain.recipient.receive(key.sign(payload).encode())
    entries = len(plain.log("recipient"))
    assert len(plain.recipient.disputes[name]["evidence"]) == MOST_EVIDENCE
    too_long = payload | {"evidence": [*evidence, key.sign({"one": "more"})]}
    answer = plain.recipient.receive(key.sign(too_long).encode())
    assert "evidence" in read_payload(answer or b"")["detail"]
    assert len(plain.log("recipient")) == entries


def test_a_key_between_the_first_and_the_present_one_is_not_needed(plain: World) -> None:
    """The recipient's second key has signed 1.2; the sender, whose log is lost, knows the first key and the third."""
    plain.crash("recipient")
    plain.lose_key("recipient")
    plain.restart("recipient")
    plain.run()
    plain.start()
    plain.run(until="2.4")
    plain.crash("sender")
    plain.crash("recipient")
    plain.lose_key("recipient")
    plain.forget("sender")
    plain.restart("sender")
    plain.restart("recipient")
    check_settled(plain, BOB)


@pytest.mark.parametrize("lock_type", ["HASH_LOCK", "HASH_TIME_LOCK"])
def test_a_lock_is_opened_with_the_preimage_of_the_key_that_was_lost(lock_type: str, plain: World) -> None:
    """The preimage was computed from the old key; the log has kept it."""
    plain.start(lock_type=lock_type)
    plain.run(until="2.4")
    plain.crash("sender")
    plain.lose_key("sender")
    plain.restart("sender")
    while plain._is_comparing(plain._side("sender")):
        plain.deliver_next()
    plain.abort("sender", "a reason")
    check_settled(plain, ALICE)
