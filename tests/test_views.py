"""What a reader is shown of a transfer is what happened."""

from __future__ import annotations

from itertools import pairwise

import pytest

from protocol.errors import Misuse, Refused
from protocol.messages.satp import parse_message
from protocol.network import World
from protocol.objects import digest
from protocol.steps import TABLE_1, Role
from protocol.views import SECTIONS, Transfer, read_message

MESSAGES = [row.number for row in TABLE_1 if not row.is_action]
ACTIONS = [row.number for row in TABLE_1 if row.is_action]


@pytest.fixture
def transfer(world: World) -> Transfer:
    world.start()
    world.run()
    return Transfer(world)


def test_the_messages_are_the_chain(transfer: Transfer) -> None:
    messages = transfer.messages
    assert [message.step for message in messages] == MESSAGES
    assert messages[0].reads is None
    assert all(later.reads == earlier.digest == digest(earlier.payload) for earlier, later in pairwise(messages))
    assert len(repr(messages).splitlines()) == 1 + 11


@pytest.mark.parametrize("number", MESSAGES)
def test_a_message_is_shown_with_every_field_and_both_logs(number: str, transfer: Transfer) -> None:
    step = transfer.step(number)
    shown = repr(step)
    assert step.message
    for field in [*step.message.payload, *step.message.payload.get("transferInitClaim", {})]:
        assert field in shown
    assert [len(entries) for entries in step.entries.values()] == [1, 1]
    assert all(repr(entry) in shown for entries in step.entries.values() for entry in entries)
    assert "height" not in shown.partition("log of")[2], "a message changes no ledger"


@pytest.mark.parametrize("number", MESSAGES)
def test_the_section_is_the_one_that_the_message_follows(number: str, transfer: Transfer) -> None:
    message = transfer.step(number).message
    assert message
    model = parse_message(message.payload)
    assert f"{number}, SATP {SECTIONS[number]}" in (type(model).__doc__ or "")


@pytest.mark.parametrize("number", ACTIONS)
def test_an_action_is_shown_with_its_order_and_both_ledgers(number: str, transfer: Transfer) -> None:
    step = transfer.step(number)
    assert step.message is None
    assert step.receipt
    changed = [name for name in step.before if step.before[name] != step.after[name]]
    assert changed == [f"network {step.receipt.networkId}"]
    assert step.after[changed[0]].height == step.before[changed[0]].height + 1
    assert step.entries[step.actor] and not step.entries[{"GW1": "GW2", "GW2": "GW1"}[step.actor]]
    assert f"{transfer.id}/{number}" in repr(step)


def test_the_ledgers_of_the_last_step_are_those_of_the_networks(transfer: Transfer) -> None:
    for ledger in transfer.world.ledgers:
        assert list(transfer.step("3.8").after[ledger.name].assets) == ledger.assets
        assert transfer.step("3.8").after[ledger.name].height == ledger.height


def test_the_ledgers_of_each_step_begin_where_those_of_the_step_before_end(transfer: Transfer) -> None:
    for earlier, later in pairwise(map(transfer.step, ACTIONS)):
        assert earlier.after == later.before


@pytest.mark.parametrize(("lock_type", "word"), [("TIME_LOCK", "expire"), ("HASH_TIME_LOCK", "unlock")])
def test_an_undoing_is_shown_by_what_ended_the_lock(lock_type: str, word: str, world: World) -> None:
    world.start(lock_type=lock_type)
    world.run(until="3.3")
    world.abort("sender", "a reason")
    world.wait(200)
    world.run()
    step = Transfer(world).step("2.1/undo")
    assert step.receipt
    assert step.receipt.action == word
    assert "locked, owner Alice" in repr(step.before["network 1"])
    assert "free, owner Alice" in repr(step.after["network 1"])
    assert "held" in repr(step.after["network 43114"])
    assert step.section == "SATP 11.5"


@pytest.mark.parametrize("who", Role)
def test_a_gateway_that_is_down_can_be_looked_at(who: Role, world: World) -> None:
    world.start()
    world.run(until="3.3")
    world.crash(who)
    assert len(Transfer(world).messages) == 8


def test_two_transfers_do_not_mix(world: World) -> None:
    names = [world.start("one"), world.start("two")]
    world.run()
    for name in names:
        transfer = Transfer(world, name)
        assert {message.payload["sessionId"] for message in transfer.messages} == {name}
        assert transfer.step("3.6").receipt == world.destination.receipt(f"{name}/3.6")
    after = Transfer(world, names[1]).step("3.8").after
    assert [list(book.assets) for book in after.values()] == [ledger.assets for ledger in world.ledgers]


def test_what_cannot_be_shown_is_said(world: World) -> None:
    with pytest.raises(Misuse, match="no such session"):
        Transfer(world)
    world.start()
    with pytest.raises(Misuse, match="has not happened"):
        Transfer(world).step("3.4")
    with pytest.raises(Misuse, match="no answer"):
        read_message(world, None)
    with pytest.raises(Refused):
        read_message(world, world.key("GW3").sign({"messageType": "x"}))


def test_a_view_is_the_same_every_time_and_names_no_machine(transfer: Transfer) -> None:
    again = World(seed="test")
    again.start()
    again.run()
    for number in [row.number for row in TABLE_1]:
        assert repr(transfer.step(number)) == repr(Transfer(again).step(number))
        assert max(map(len, repr(transfer.step(number)).splitlines())) <= 100
    again.close()


def test_an_error_shows_its_whole_sentence(world: World) -> None:
    error = read_message(world, world.recipient.receive(b"hello"))
    shown = " ".join(repr(error).split())
    assert error.payload["detail"] in shown
    assert "urn:ietf:params:satp:core:error:err_0.1.1" in shown
    assert error.step == ""
