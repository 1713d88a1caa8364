"""Each behaviour of the drafts: one run that shows what comes of it.

Every run is played twice, as the protocol has it and with the switch turned over, so that nothing but the switch can
make the difference. Where another rule would mend the damage, it is off in both.
"""

from __future__ import annotations

import pytest

from protocol.ledger import LedgerRefused, Order
from protocol.network import World
from protocol.rules import Rules, switch_on
from protocol.steps import Role
from tests.ends import BACK, BACK_BEFORE_MINT, LONG, TRANSFERRED, End, complain, play_twice, read_end, wish


def crash_after_the_burn(world: World) -> None:
    world.start()
    world.crash("sender", at="3.4", after=3)
    world.run()
    world.run()
    world.restart("sender")
    world.run()


def test_recipient_rolls_back_on_its_timer() -> None:
    """R31, as in figure 5.4.3: the sender has burned and is down. When it is back, both see it: too late."""
    lost = End("burned", "destroyed", "frozen", "frozen")
    assert play_twice("recipient_rolls_back_on_its_timer", crash_after_the_burn) == (TRANSFERRED, lost)


def test_recipient_rolls_back_on_its_timer_and_nobody_crashed() -> None:
    """Commit-ready is lost: the timer ends a transfer that one repetition would have completed."""

    def story(world: World) -> None:
        world.lose("3.3")
        world.start()
        world.run()

    assert play_twice("recipient_rolls_back_on_its_timer", story) == (TRANSFERRED, BACK)


def test_sender_reissues() -> None:
    """R30: a lost answer looks like a failed commit. Two owners."""

    def story(world: World) -> None:
        world.lose("3.7")
        world.start()
        world.run()

    assert play_twice("sender_reissues", story) == (TRANSFERRED, End("free", "free", "ended", "open"))


def test_sender_reissues_wherever_it_resumes() -> None:
    """It restarts after the burn, before it has told anybody: one owner, and a mint that nobody can free."""
    kept, broken = play_twice("sender_reissues", crash_after_the_burn)
    assert (kept, broken) == (TRANSFERRED, End("free", "held", "ended", "open"))


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_in_the_middle_of_a_reissue(number: int, when: str) -> None:
    """It goes through the same log, act, log: the asset is created again once."""
    world = World(seed="test", tls=False, rules=switch_on("sender_reissues"))
    world.lose("3.7")
    world.start()
    world.run(until="3.6")
    world.crash("sender", at="3.4/undo", **{when: number})
    world.run()
    world.restart("sender")
    world.run()
    actions = [receipt.action for receipt in world.origin.actions_of("GW1")]
    assert actions.count("reissue") == 1
    assert read_end(world).sender == "ended"
    world.close()


def test_a_network_creates_nothing_again_unless_the_drafts_want_it() -> None:
    """R34: the order itself, and what it must build on."""
    for rules, words in ((Rules(), "knows no such action"), (switch_on("sender_reissues"), "no such burn")):
        world = World(seed="test", tls=False, rules=rules)
        world.start()
        world.run()
        burn = next(entry.payload["order"] for entry in world.log("sender") if "order" in entry.payload)
        order = Order(**burn | {"operationId": "another", "action": "reissue", "under": "no burn"})
        with pytest.raises(LedgerRefused, match=words):
            world.origin.act(order)
        world.close()


def test_sender_terminates_on_its_timer() -> None:
    """C4, C9: "the client may terminate"; true even when it has burned."""

    def story(world: World) -> None:
        world.lose("3.5")
        world.start()
        world.run()

    lost = End("burned", "held", "ended", "open")
    assert play_twice("sender_terminates_on_its_timer", story) == (TRANSFERRED, lost)


def test_sender_terminates_on_its_timer_when_the_lock_is_over() -> None:
    """It has nothing to show for it, so the prepared recipient holds its mint for ever."""

    def story(world: World) -> None:
        world.start()
        world.run(until="3.3")
        world.link.clear()
        world.wait(LONG)
        world.run()

    assert play_twice("sender_terminates_on_its_timer", story) == (BACK, End("free", "held", "ended", "open"))


@pytest.mark.parametrize(
    ("step", "who", "code", "kept", "broken"),
    [
        ("3.3", "recipient", "err_3.3.4", TRANSFERRED, End("burned", "destroyed", "open", "ended")),
        ("3.5", "sender", "err_3.5.4", TRANSFERRED, End("burned", "free", "ended", "open")),
    ],
)
def test_errors_end_the_session(step: str, who: str, code: str, kept: End, broken: End) -> None:
    """C16: an error about commit-ready, and one about commit-final, which are necessarily too late."""

    def story(world: World) -> None:
        world.start()
        world.run(until=step)
        complain(world, who, code)
        world.run()

    assert play_twice("errors_end_the_session", story) == (kept, broken)


def test_errors_end_the_session_for_one_lost_answer() -> None:
    """C14: the repeated commit-ready is refused for its old hashPrevMessage: a lost commit-final loses the asset."""

    def story(world: World) -> None:
        world.start()
        world.run(until="3.5")
        world.link.clear()
        world._live(world._side("recipient"), lambda gateway: gateway.on_time_out())
        world.run()

    kept, broken = play_twice("errors_end_the_session", story, "same_reply_to_a_repeated_request")
    assert (kept.origin, kept.destination) == ("burned", "free")
    assert (broken.origin, broken.destination) == ("burned", "destroyed")


@pytest.mark.parametrize(
    ("step", "kept", "broken"),
    [
        ("2.4", BACK_BEFORE_MINT, End("locked", "absent", "ended", "ended")),
        ("3.2", BACK, End("locked", "held", "ended", "open")),
    ],
)
def test_roll_back_by_the_drafts_list(step: str, kept: End, broken: End) -> None:
    """R29: before the burn nothing is on the list, so what was locked stays locked, and what was minted held."""

    def story(world: World) -> None:
        world.start(lock_type="HASH_LOCK")
        world.run(until=step)
        wish(world, "sender")
        world.run()

    assert play_twice("roll_back_by_the_drafts_list", story) == (kept, broken)


def test_roll_back_by_the_drafts_list_after_the_burn() -> None:
    """Then the lock is on the list, and no lock is left; the burn is not on it."""

    def story(world: World) -> None:
        world.start()
        world.run(until="3.4")
        world.link.clear()
        wish(world, "sender")
        undone = [entry.payload["receipt"]["action"] for entry in world.log("sender") if entry.step == "2.1/undo"]
        assert undone == (["burn"] if world.rules.roll_back_by_the_drafts_list else [])

    kept, broken = play_twice("roll_back_by_the_drafts_list", story, "only_forward_after_burn")
    assert kept == broken == End("burned", "held", "ended", "open")


def test_terminate_on_lost_connection_after_the_burn() -> None:
    """R36: each side releases what it holds, and hears nothing more of it."""
    lost = End("burned", "destroyed", "ended", "ended")
    assert play_twice("terminate_on_lost_connection", crash_after_the_burn) == (TRANSFERRED, lost)


@pytest.mark.parametrize("by", Role)
def test_terminate_on_lost_connection_when_nobody_crashed(by: Role) -> None:
    """C9: the connection is lost with commit-final on it."""

    def story(world: World) -> None:
        world.start()
        world.run(until="3.5")
        world.cut(by)
        world.run()

    lost = End("burned", "destroyed", "ended", "ended")
    assert play_twice("terminate_on_lost_connection", story) == (TRANSFERRED, lost)


def test_terminate_on_lost_connection_before_the_burn() -> None:
    """Then it is safe, and a transfer that could have gone on has ended."""

    def story(world: World) -> None:
        world.start()
        world.run(until="2.4")
        world.crash("recipient")
        world.restart("recipient")
        world.run()

    assert play_twice("terminate_on_lost_connection", story) == (TRANSFERRED, BACK_BEFORE_MINT)


def test_after_a_lost_connection_nothing_is_said_and_nothing_heard() -> None:
    """Core 11.1. Commit-final arrives after all, and is not even refused."""
    world = World(seed="test", tls=False, rules=switch_on("terminate_on_lost_connection"))
    world.start()
    world.run(until="3.5")
    final = world.link[-1].data
    world.cut("recipient")
    assert world.link == []
    assert world.recipient.receive(final) is None
    assert read_end(world).recipient == "ended"
    world._time_out()
    assert world.link == [], "the sender, which got no answer, ends it without a word too"
    assert read_end(world).sender == "ended"
    world.close()
