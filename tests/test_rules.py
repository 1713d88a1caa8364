"""Each rule that can be switched off: one run that shows what it is for; and the names of all that can be varied.

Every run is played twice, as the protocol has it and with the switch turned over, so that nothing but the switch can
make the difference. Where another rule would mend the damage, it is off in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.errors import Misuse
from protocol.network import World
from protocol.replays import replay
from protocol.rules import DRAFTS, NAMES, SAFETY, Rules, describe, switch_off, switch_on, vary
from protocol.trace import Judged
from tests.ends import BACK, LONG, TRANSFERRED, End, complain, play_twice, read_end, wish

FINDINGS = (Path(__file__).resolve().parent.parent / "docs" / "findings.md").read_text()


# ---------------------------------------------------------------------- safety rules


def leave_when_prepared(world: World) -> None:
    world.start()
    world.run(until="3.3")
    wish(world, "recipient")
    world.run()


def hear_an_error_when_prepared(world: World) -> None:
    world.start()
    world.run(until="3.3")
    complain(world, "recipient", "err_3.3.4")
    world.run()


@pytest.mark.parametrize("story", [leave_when_prepared, hear_an_error_when_prepared])
def test_prepared_recipient_waits(story: Callable[[World], None]) -> None:
    """C6, R31: what the recipient says crosses the burn, and the asset is on no ledger."""
    lost = End("burned", "destroyed", "open", "ended")
    assert play_twice("prepared_recipient_waits", story) == (TRANSFERRED, lost)


def test_only_forward_after_burn() -> None:
    """C4: a sender that leaves after its burn; nobody else can free the mint."""

    def story(world: World) -> None:
        world.start()
        world.run(until="3.4")
        world.link.clear()
        wish(world, "sender")
        world.run()

    lost = End("burned", "held", "ended", "open")
    assert play_twice("only_forward_after_burn", story) == (TRANSFERRED, lost)


def test_only_forward_after_burn_whatever_the_peer_says() -> None:
    """C7: an abort of the recipient and the burn cross. It has let go of its mint, which is another rule's matter."""

    def story(world: World) -> None:
        leave_when_prepared(world)

    kept, broken = play_twice("only_forward_after_burn", story, "prepared_recipient_waits")
    assert kept == End("burned", "destroyed", "open", "ended"), "refused: a human can still see that it is not over"
    assert broken == End("burned", "destroyed", "ended", "ended"), "both gateways agree, and nobody has the asset"


def test_durable_before_sending() -> None:
    """R3, R42: commit-ready is on its way and in no log, and the recipient leaves before it arrives.

    Two other rules would keep it from that, and are off: no old connection, and a mint that binds as commit-ready does.
    """

    def story(world: World) -> None:
        world.start()
        world.run(until="3.3")
        world.crash("recipient")
        world.restart("recipient")
        late, world.link = world.link[:1], world.link[1:]
        wish(world, "recipient")
        while world.recipient.has_pending or world.recipient.find_unheard():
            world.deliver_next()
        world.link[:0] = late
        world.run()

    others = ("reconcile_before_serving", "fresh_connection_after_restart")
    lost = End("burned", "destroyed", "frozen", "frozen")
    assert play_twice("durable_before_sending", story, *others) == (TRANSFERRED, lost)


@pytest.mark.parametrize(("off", "last", "row"), [((), "3.3", "B"), (("durable_before_sending",), "3.2", "E")])
def test_what_was_said_before_it_was_durable_is_forgotten(off: tuple[str, ...], last: str, row: str) -> None:
    """With all other rules on the peer gives it back."""
    world = World(seed="test", tls=False, rules=vary(*off))
    world.start()
    world.run(until="3.3")
    world.deliver_next()
    world.crash("recipient")
    assert world.log("recipient")[-1].step == last
    world.restart("recipient")
    world.run()
    judged = [event for event in world.trace.events if isinstance(event, Judged)]
    assert judged[0].letter == row
    assert read_end(world) == TRANSFERRED
    world.close()


def test_a_message_that_is_not_durable_comes_to_the_disk_with_the_next_work() -> None:
    world = World(seed="test", tls=False, rules=switch_off("durable_before_sending"))
    world.start()
    assert world.log("sender") == []
    with pytest.raises(Misuse, match="is not durable yet"):
        world.sender._journal.verify_durable(world.sender.session(world.sessions[0]))
    world.sender.on_time_out()
    assert [entry.step for entry in world.log("sender")] == ["1.1"]
    world.run()
    assert read_end(world) == TRANSFERRED
    world.close()


@pytest.mark.parametrize(
    ("who", "step", "kept", "broken"),
    [
        ("sender", "2.1", End("free", "absent", "ended", "ended"), End("locked", "absent", "ended", "ended")),
        ("recipient", "3.2", End("free", "absent", "ended", "ended"), End("free", "held", "ended", "ended")),
    ],
)
def test_cancel_before_undoing(who: str, step: str, kept: End, broken: End) -> None:
    """C4, R34: an order that was on its way lands after the undoing, and nobody is there any more to undo it."""

    def story(world: World) -> None:
        world.start(lock_type="HASH_LOCK")
        world.crash(who, at=step, before=2)
        world.run()
        world.restart(who)
        wish(world, who)
        world.run()
        world.land(who)

    assert play_twice("cancel_before_undoing", story) == (kept, broken)


@pytest.mark.parametrize(
    ("step", "broken"),
    [("2.2", End("locked", "absent", "open", "open")), ("3.5", End("burned", "held", "open", "open"))],
)
def test_repeat_until_answered(step: str, broken: End) -> None:
    """C14: one message is lost, and both wait for ever."""

    def story(world: World) -> None:
        world.lose(step)
        world.start(lock_type="HASH_LOCK")
        world.run()

    assert play_twice("repeat_until_answered", story) == (TRANSFERRED, broken)


def test_repeat_until_answered_after_a_recovery() -> None:
    """R48, R49: logged and never sent; the draft's own example goes on with the next step."""

    def story(world: World) -> None:
        world.start(lock_type="HASH_LOCK")
        world.crash("sender", at="2.2", after=1)
        world.run()
        world.restart("sender")
        world.run()

    assert play_twice("repeat_until_answered", story) == (TRANSFERRED, End("locked", "absent", "open", "open"))


def test_burn_only_under_a_live_lock() -> None:
    """C29: without the question the burn is ordered although the lock is over. This ledger checks it once more (C4)."""
    ordered = {}

    def story(world: World) -> None:
        world.start()
        world.run(until="3.3")
        world.wait(LONG)
        world.run()
        ordered[world.rules.burn_only_under_a_live_lock] = any(entry.step == "3.4" for entry in world.log("sender"))

    assert play_twice("burn_only_under_a_live_lock", story) == (BACK, BACK)
    assert ordered == {True: False, False: True}


# ---------------------------------------------------------------------- the names


def test_the_two_groups_are_all_there_is() -> None:
    assert NAMES == SAFETY + DRAFTS
    assert all(getattr(Rules(), name) for name in SAFETY)
    assert not any(getattr(Rules(), name) for name in DRAFTS)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_described_once_and_tried_somewhere(name: str) -> None:
    described = describe(name)
    assert described.name == name
    assert described.findings
    for finding in described.findings:
        assert f"* **{finding}** " in FINDINGS, f"{finding} is no finding"
    assert described.sentence.endswith((".", ")."))
    assert len([each for each in NAMES if describe(each).sentence == described.sentence]) == 1
    tests = Path(__file__).parent.glob("test_*.py")
    assert any(re.search(rf"\b{name}\b", path.read_text()) for path in tests)


def test_vary_turns_over_what_is_named() -> None:
    assert vary() == Rules()
    assert vary("ledger_acts_once") == switch_off("ledger_acts_once") == Rules(ledger_acts_once=False)
    assert vary("sender_reissues") == switch_on("sender_reissues") == Rules(sender_reissues=True)
    both = vary("sender_reissues", "ledger_acts_once")
    assert both == Rules(ledger_acts_once=False, sender_reissues=True)
    assert repr(both) == "every rule but ledger_acts_once; and as the drafts have it: sender_reissues"
    assert repr(Rules()) == "every rule"
    assert repr(vary("sender_reissues")) == "every rule; and as the drafts have it: sender_reissues"


@pytest.mark.parametrize(
    ("ask", "name", "known"),
    [(switch_off, "sender_reissues", SAFETY), (switch_on, "ledger_acts_once", DRAFTS), (vary, "gravity", NAMES)],
)
def test_a_wrong_name_gets_the_list(ask: Callable[[str], Rules], name: str, known: tuple[str, ...]) -> None:
    with pytest.raises(Misuse) as wrong:
        ask(name)
    assert name in str(wrong.value).partition(";")[0]
    assert str(wrong.value).endswith(", ".join(known))


def test_nothing_is_described_that_is_no_rule() -> None:
    with pytest.raises(Misuse, match="there is no rule or behaviour of the drafts gravity; there are log_before"):
        describe("gravity")


def test_fresh_connection_after_restart() -> None:
    """R36: a message to the process before meets the one after it, whose log was lost meanwhile; both then talk past
    each other for ever. Found by a search with two crashes and a lost log."""
    played = replay(
        "without fresh_connection_after_restart; start 1.1 1.2 S.crash S.forget S.restart S.transfer-resume "
        "R.transfer-continue S.recover R.recover-update:a1 S.restart S.transfer-resume 1.3 R.transfer-continue 1.4 "
        "S.error-err_1.4.3"
    )
    played.world.run()
    assert not played.world.is_at_rest
    assert [each.transfers[0].standing for each in played.scene[:2]] == ["open", "left"]
    with pytest.raises(Misuse, match=r"'R\.recover-update:a1'|'1\.3'"):
        replay(played.text.partition("; ")[2])
