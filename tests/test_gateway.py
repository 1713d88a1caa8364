"""The corridor: seventeen steps, a crash at every durable act, lost and repeated messages."""

from __future__ import annotations

import pytest

from protocol.errors import Misuse
from protocol.log import Operation, verify_chain
from protocol.network import World
from protocol.objects import digest
from protocol.rules import Rules
from protocol.signing import read_payload
from protocol.steps import TABLE_1, Kind, Role
from protocol.stores import SQLiteLog
from protocol.trace import Acted, Asked, Crashed, Delivered, Lost
from tests.conftest import ALICE, BOB, check_one_owner, check_transferred, every_crash_point

CRASH_POINTS = every_crash_point()
MESSAGES = [row.number for row in TABLE_1 if row.kind is Kind.MESSAGE]


def test_the_seventeen_steps_of_figure_2_in_order(world: World) -> None:
    world.start()
    world.run()
    check_transferred(world)
    seen = [event.step for event in world.trace.of(Delivered, Acted) if isinstance(event, Delivered | Acted)]
    assert seen == [row.number for row in TABLE_1]
    assert len(seen) == 17


def test_each_log_holds_the_signed_messages_and_the_own_actions(world: World) -> None:
    world.start()
    world.run()
    for who in Role:
        entries = world.log(who)
        verify_chain(entries)
        assert len(entries) == 17
        messages = [entry for entry in entries if "message" in entry.payload]
        assert [entry.step for entry in messages] == MESSAGES
        own_actions = [row.number for row in TABLE_1 if row.is_action and row.actor is who]
        assert [entry.step for entry in entries if entry.operation is Operation.EXEC] == own_actions


def test_both_sides_hold_the_same_chain_of_messages(world: World) -> None:
    """The shared chain: the same bytes on both sides, each naming the digest of the one before (hashPrevMessage)."""
    world.start()
    world.run()
    shared = [[e.payload["message"] for e in world.log(who) if "message" in e.payload] for who in Role]
    assert shared[0] == shared[1]
    payloads = [read_payload(compact) for compact in shared[0]]
    assert [p.get("hashPrevMessage") for p in payloads] == [None, *(digest(p) for p in payloads[:-1])]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    logs = []
    for seed in ("a", "a", "b"):
        world = World(seed=seed)
        world.crash("sender", at="3.4", after=2)
        world.start()
        world.run()
        world.restart("sender")
        world.run()
        logs.append([[entry.as_json() for entry in world.log(who)] for who in Role])
        world.close()
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_a_message_is_durable_before_it_is_sent(world: World) -> None:
    world.crash("recipient", at="3.3", before=1)
    world.start()
    world.run()
    assert not [e for e in world.trace.of(Delivered) if isinstance(e, Delivered) and e.step == "3.3"]
    assert world.log("recipient")[-1].step == "3.2"


@pytest.mark.parametrize(("who", "step", "when", "number"), CRASH_POINTS)
def test_a_crash_anywhere_ends_with_one_owner(who: Role, step: str, when: str, number: int, world: World) -> None:
    world.crash(who, at=step, **{when: number})
    world.start()
    world.run()
    assert len(world.trace.of(Crashed)) == 1, "the crash did not happen, so this test would show nothing"
    world.restart(who)
    world.run()
    if (who, step, when) == (Role.SENDER, "1.1", "before"):
        assert world.owners == [ALICE], "nothing was durable: the application has to ask again"
    else:
        check_transferred(world)
    for ledger in (world.origin, world.destination):
        assert all(ledger.receipt(receipt.operationId) == receipt for receipt in ledger.actions_of("GW1"))


def test_there_are_eighty_places_to_crash() -> None:
    """Twenty durable acts at each gateway, before and after."""
    assert len(CRASH_POINTS) == 80


@pytest.mark.parametrize(("who", "step", "when", "number"), CRASH_POINTS[::3])
@pytest.mark.parametrize("second", [1, 2, 3])
def test_a_second_crash_right_after_the_restart(
    who: Role, step: str, when: str, number: int, second: int, world: World
) -> None:
    world.crash(who, at=step, **{when: number})
    world.start()
    world.run()
    world.crash(who, before=second)
    world.restart(who)
    world.run()
    if len(world.trace.of(Crashed)) == 2:
        world.restart(who)
        world.run()
    check_one_owner(world)
    assert world.is_at_rest


@pytest.mark.parametrize("step", MESSAGES)
@pytest.mark.parametrize("fault", ["lose", "repeat"])
def test_every_message_may_be_lost_or_come_twice(step: str, fault: str, world: World) -> None:
    getattr(world, fault)(step)
    world.start()
    world.run()
    check_transferred(world)
    actions = [event for event in world.trace.of(Acted) if isinstance(event, Acted)]
    assert len(actions) == 6, "each of the six ledger actions was asked for once"


def test_a_restarted_gateway_asks_before_it_repeats(world: World) -> None:
    world.start()
    world.crash("recipient", at="3.2", after=2)
    world.run()
    assert world.log("recipient")[-1].operation is Operation.EXEC, "the log only knows that it was begun"
    world.restart("recipient")
    world.run()
    asked = [event for event in world.trace.of(Asked) if isinstance(event, Asked)]
    assert [(event.step, event.happened) for event in asked] == [("3.2", True)]
    assert [e.action for e in world.trace.of(Acted) if isinstance(e, Acted)].count("mint") == 1


def test_both_gateways_down_at_once(world: World) -> None:
    world.start()
    world.run(until="3.3")
    world.crash("sender")
    world.crash("recipient")
    world.restart("recipient")
    world.restart("sender")
    world.run()
    check_transferred(world)


def test_what_was_on_its_way_is_lost_with_the_connection(world: World) -> None:
    """Neither what was sent to a gateway that is gone nor what it sent itself arrives after its restart."""
    world.start()
    world.run(until="2.4")
    assert [message.step for message in world.link] == ["2.4"]
    world.crash("recipient")
    world.restart("recipient")
    lost = [event for event in world.trace.of(Lost) if isinstance(event, Lost)]
    assert [(event.source, event.step) for event in lost] == [("GW2", "2.4")]
    assert [message.name for message in world.link] == ["transfer-resume"]
    world.run(until="3.1")
    again = [event.step for event in world.trace.of(Delivered) if isinstance(event, Delivered) and event.step]
    assert again[-1] == "2.4", "it is said again, once both know where they stand"
    world.run()
    check_transferred(world)


def test_a_complete_session_is_no_longer_open(world: World) -> None:
    """A restart begins with the open sessions only."""
    world.start()
    world.run(until="3.7")
    stores = [SQLiteLog(world.directory / name) for name in ("GW1.sqlite", "GW2.sqlite")]
    assert [store.getOpenSessions() for store in stores] == [world.sessions] * 2
    world.run()
    assert [store.getOpenSessions() for store in stores] == [[], []]
    for store in stores:
        store.close()
    world.crash("sender")
    world.restart("sender")
    offer = read_payload(world.link[0].data)
    assert offer["sessions"] == [], "there is nothing to say about a complete session"
    world.run()
    assert world.is_at_rest


def test_two_transfers_between_the_same_gateways(world: World) -> None:
    world.start()
    world.start(asset="another asset")
    world.crash("recipient", at="3.6", after=2)
    world.run()
    world.restart("recipient")
    world.run()
    assert world.is_at_rest
    assert world.owners == [BOB, BOB]


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("number", range(1, 40, 3))
def test_many_transfers_at_once_in_either_direction(who: Role, number: int, world: World) -> None:
    """Each gateway is sender of some sessions and recipient of others, and crashes somewhere among all of them."""
    there = [world.start(f"asset {n} of Alice") for n in range(3)]
    back = [world.start(f"asset {n} of Bob", by="GW2") for n in range(3)]
    world.crash(who, after=number)
    world.run()
    if world.trace.of(Crashed):
        world.restart(who)
    world.run()
    assert world.is_at_rest
    assert {world.recipient.session(name).role for name in there} == {Role.RECIPIENT}
    assert {world.recipient.session(name).role for name in back} == {Role.SENDER}
    for gateway in (world.sender, world.recipient):
        assert all(gateway.session(name).next_row is None for name in there + back)
    assert world.owners == [ALICE] * 3 + [BOB] * 3


def test_there_and_back_again(world: World) -> None:
    """The same asset leaves its network, and returns to it."""
    world.start("the asset")
    world.run()
    assert world.owners == [BOB]
    world.start("the asset", by="GW2")
    world.run()
    assert world.owners == [ALICE]
    assert [asset.state for asset in world.destination.assets] == ["burned"]


def test_what_happens_without_asking_and_without_a_ledger_that_acts_once() -> None:
    """Either rule alone is enough; without both the asset is minted twice."""
    minted = {}
    for ask in (True, False):
        for once in (True, False):
            rules = Rules(ask_the_ledger_before_repeating=ask, ledger_acts_once=once)
            world = World(seed="rules", rules=rules)
            world.start()
            world.crash("recipient", at="3.2", after=2)
            world.run()
            world.restart("recipient")
            world.run()
            minted[ask, once] = len(world.destination.assets)
            world.close()
    assert minted == {(True, True): 1, (True, False): 1, (False, True): 1, (False, False): 2}


def test_without_a_log_entry_before_acting_the_question_still_helps() -> None:
    """The restarted gateway does not know that it had begun. It asks all the same, since a log may have lost its tail;

    without that question only the ledger's memory helps.
    """
    minted = {}
    for once, asks in ((True, False), (False, True), (False, False)):
        rules = Rules(log_before_acting=False, ledger_acts_once=once, ask_the_ledger_before_repeating=asks)
        world = World(seed="rules", rules=rules)
        world.start()
        world.crash("recipient", at="3.2", after=1)
        world.run()
        world.restart("recipient")
        world.run()
        assert bool(world.trace.of(Asked)) == asks
        minted[once, asks] = len(world.destination.assets)
        world.close()
    assert minted == {(True, False): 1, (False, True): 1, (False, False): 2}


def test_without_the_same_reply_a_lost_answer_parks_the_transfer() -> None:
    """C14: the draft has no retransmission rule; a repeated request fails on its old hashPrevMessage."""
    world = World(seed="rules", rules=Rules(same_reply_to_a_repeated_request=False))
    world.lose("3.7")
    world.lose("3.7")  # also when the recipient says it again by itself
    world.start()
    world.run()
    parked = [entry.payload["parked"] for entry in world.log("sender") if "parked" in entry.payload]
    assert len(parked) == 1, "after the burn a session is parked and never terminated"
    assert "err_3.5.3" in parked[0]
    world.close()


def test_wrong_choices_get_a_sentence(world: World) -> None:
    world.start()
    for wrong, words in (
        (lambda: world.crash("somebody"), "there are sender"),
        (lambda: world.crash("sender", at="9.9", after=1), "the steps are 1.1"),
        (lambda: world.crash("sender", at="3.2", after=1), "it is the other gateway's"),
        (lambda: world.crash("sender", at="3.4", after=4), "they are 1 to 3"),
        (lambda: world.crash("sender", after=0), "counted from 1"),
        (lambda: world.crash("sender", at="3.4"), "one durable act"),
        (lambda: world.crash("sender", before=1, after=1), "one durable act"),
        (lambda: world.restart("sender"), "is up"),
        (lambda: world.lose("2.9"), "the steps are"),
        (lambda: world.sender.session("no such"), "knows no session"),
    ):
        with pytest.raises(Misuse, match=words):
            wrong()
