"""A gateway that is only slow: it stands still inside a durable act, and goes on with what it believed before.

Also what else may come late or not at all without a crash: an order on its way to the ledger, an answer of the log
store.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from protocol.errors import Misuse
from protocol.faults import PAUSED, CrashPoint, GatewayGone, Tripwire
from protocol.ledger import Receipt
from protocol.log import Conflict, StorageFailed, compose_entry
from protocol.network import World
from protocol.rules import Rules
from protocol.steps import TABLE_1, Role
from protocol.stores import SQLiteLog
from protocol.trace import (
    Acted,
    Crashed,
    Delivered,
    Denied,
    Event,
    Healed,
    Lost,
    NotConnected,
    Partitioned,
    Paused,
    TimedOut,
    Trace,
    Woken,
)
from tests.at_rest import come_to_rest, find_unsettled, make_world
from tests.conftest import ALICE, BOB, check_transferred, every_crash_point

POINTS = every_crash_point()
ACTIONS = [(row.actor, row.number) for row in TABLE_1 if row.is_action]
NOBODY_WAITS = ("1.1", "3.8", "3.9")  # the peer knows nothing yet, or has all that it needs


@pytest.fixture
def plain() -> Iterator[World]:
    with make_world("slow", tls=False) as world:
        yield world


@pytest.fixture(scope="module")
def undisturbed() -> tuple[list[Event], dict[Role, list[bytes]]]:
    with make_world("slow", tls=False) as world:
        world.start()
        world.run()
        check_transferred(world)
        return world.trace.events, read_logs(world)


def read_logs(world: World) -> dict[Role, list[bytes]]:
    return {role: [entry.canonical_bytes for entry in world.log(role)] for role in Role}


def pause_at(world: World, who: Role, step: str, when: str, number: int) -> None:
    """Start, and run until the gateway stands still there."""
    world.pause(who, at=step, **{when: number})
    world.start()
    if not world._side(who).is_paused:
        world.run()
    assert isinstance(world.trace.events[-1], Paused)
    assert world._side(who).is_paused


# ---------------------------------------------------------------------- pause and wake


@pytest.mark.parametrize(("who", "step", "when", "number"), POINTS)
def test_whoever_is_woken_at_once_has_missed_nothing(
    who: Role,
    step: str,
    when: str,
    number: int,
    plain: World,
    undisturbed: tuple[list[Event], dict[Role, list[bytes]]],
) -> None:
    """The same stack and the same memory: not one byte and not one event is different."""
    pause_at(plain, who, step, when, number)
    plain.wake(who)
    plain.run()
    check_transferred(plain)
    events, logs = undisturbed
    assert [event for event in plain.trace if not isinstance(event, Paused | Woken)] == events
    assert read_logs(plain) == logs


@pytest.mark.parametrize(("who", "step", "when", "number"), POINTS)
def test_the_other_one_waits_no_longer_and_the_slow_one_comes_back(
    who: Role, step: str, when: str, number: int, plain: World
) -> None:
    pause_at(plain, who, step, when, number)
    stop = len(plain.trace)
    while not Trace((), (), plain.trace.events[stop:]).of(TimedOut) and not plain._sides[who.other].is_paused:
        said = len(plain.trace)
        plain.run()
        if len(plain.trace) == said:
            break  # the other one has all that it needs
    meanwhile = plain.trace.events[stop:]
    assert not [event for event in meanwhile if getattr(event, "gateway", "") == plain._side(who).name]
    assert not [event for event in meanwhile if isinstance(event, Delivered) and event.target == plain._side(who).name]
    assert [event for event in meanwhile if isinstance(event, TimedOut)] or step in NOBODY_WAITS
    plain.wake(who)
    plain.run()
    check_transferred(plain)
    assert find_unsettled(plain) == []
    assert not plain.trace.of(Crashed, Lost)


def test_with_tls_what_is_sent_meanwhile_waits_on_the_same_connection(world: World) -> None:
    pause_at(world, Role.RECIPIENT, "3.2", "before", 2)
    world.run()
    world.run()
    (waiting, _) = world.link
    assert waiting.connection is world.secure.connection
    with pytest.raises(Misuse, match="nothing on the link can be delivered"):
        world.deliver_next()
    world._deliver(waiting)  # whoever carries it by hand brings it to a door that nobody opens
    assert not world.trace.of(Lost)
    world.wake("recipient")
    world.run()
    check_transferred(world)


def test_no_handshake_comes_about_with_a_gateway_that_stands_still(world: World) -> None:
    pause_at(world, Role.RECIPIENT, "3.2", "before", 2)
    world.cut()
    connection = world.secure.connection
    world.run()
    assert world.secure.connection is connection is None
    assert isinstance(world.trace.events[-1], Lost)
    assert not world.trace.of(NotConnected)
    world.wake("recipient")
    world.run()
    check_transferred(world)


def test_between_two_pieces_of_work(plain: World) -> None:
    plain.start()
    plain.run(until="2.2")
    plain.pause("GW2")
    plain.run()
    assert [message.name for message in plain.link] == ["lock-assert"] * 2
    assert not plain.is_at_rest
    plain.wake("GW2")
    plain.run()
    check_transferred(plain)


def test_paused_twice_and_then_crashed(plain: World) -> None:
    """What comes out of `wake` is what the gateway meets after it: another pause, or its end."""
    pause_at(plain, Role.SENDER, "3.4", "before", 1)
    plain.pause("sender", at="3.4", before=2)
    plain.wake("sender")
    assert str(plain.trace.events[-1]) == "GW1 stands still before the burn (3.4)"
    plain.crash("sender", after=2)
    plain.wake("sender")
    assert str(plain.trace.events[-1]) == "GW1 CRASHES after logging done of burn (3.4)"
    plain.restart("sender")
    plain.run()
    check_transferred(plain)


def test_a_paused_gateway_may_be_crashed(plain: World) -> None:
    """Its stack is taken down, and nothing on it acts: the ledger has not moved."""
    pause_at(plain, Role.SENDER, "3.4", "before", 2)
    height, entries = plain.origin.height, len(plain.log("sender"))
    plain.crash("sender")
    assert (plain.origin.height, len(plain.log("sender"))) == (height, entries)
    assert not plain._side("sender").is_paused
    plain.restart("sender")
    plain.run()
    check_transferred(plain)


def test_what_the_store_refuses_a_woken_gateway_comes_out_of_wake(plain: World) -> None:
    """Somebody else has written its place meanwhile."""
    pause_at(plain, Role.SENDER, "2.1", "after", 2)
    entries = plain.log("sender")
    fields = entries[-1].as_json() | {"operation": "fail", "payload": {"by": "another process"}}
    other = SQLiteLog(plain._side("sender").path)
    other.writeLogEntry(compose_entry(entries[-1], fields))
    other.close()
    with pytest.raises(Conflict):
        plain.wake("sender")
    assert not plain._side("sender").is_paused


def test_the_words_for_what_cannot_be(plain: World) -> None:
    plain.start()
    with pytest.raises(Misuse, match="GW1 is not paused"):
        plain.wake("sender")
    with pytest.raises(Misuse, match=r"GW1 has no durable act 1 in step 3.2 mint: it is the other gateway's"):
        plain.pause("sender", at="3.2", before=1)
    with pytest.raises(Misuse, match="no order of GW1 is in flight"):
        plain.land("sender")
    plain.pause("sender")
    for forbidden in (plain.start, lambda: plain.abort("sender", "a reason"), lambda: plain.pause("sender")):
        with pytest.raises(Misuse, match="GW1 is paused; wake it first"):
            forbidden()
    with pytest.raises(Misuse, match="GW1 is up; crash it first"):
        plain.restart("sender")
    plain.crash("sender")
    with pytest.raises(Misuse, match="GW1 is down; restart it first"):
        plain.pause("sender")
    plain.cut_store("sender")
    with pytest.raises(Misuse, match="heal_store it first"):
        plain.restart("sender")


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_world_with_a_paused_gateway_is_given_up_like_any_other(when: str, tls: bool) -> None:
    """No reference to it is left on the stack that stands still, and nothing there is heard of again."""
    world = World("given up", tls=tls)
    pause_at(world, Role.RECIPIENT, "3.2", when, 2)
    ledger, side = world.destination, world._side("recipient")
    height, is_gone = ledger.height, weakref.ref(world)
    del world
    gc.collect()
    assert is_gone() is None
    assert not side.is_paused
    assert ledger.height == height


# ---------------------------------------------------------------------- the wire alone


def work_through(wire: Tripwire, done: list[int]) -> str:
    for number in (1, 2, 3):
        with wire.around("1.1", f"act {number}"):
            done.append(number)
    return "the result"


def test_work_stops_exactly_there_and_its_result_comes_out_of_wake() -> None:
    wire, done = Tripwire(armed=CrashPoint(2, is_after=False, is_pause=True)), list[int]()
    assert wire.run_pausable(lambda: work_through(wire, done)) is PAUSED
    assert (done, wire.where) == ([1], "before act 2")
    wire.armed = CrashPoint(1, is_after=True, is_pause=True)
    assert wire.wake() is PAUSED
    assert (done, wire.where) == ([1, 2], "after act 2")
    assert wire.wake() == "the result"
    assert done == [1, 2, 3]
    with pytest.raises(Misuse, match="not paused"):
        wire.wake()


def test_a_crash_after_the_pause_comes_out_of_wake() -> None:
    wire, done = Tripwire(armed=CrashPoint(1, is_after=True, is_pause=True)), list[int]()
    assert wire.run_pausable(lambda: work_through(wire, done)) is PAUSED
    wire.armed = CrashPoint(1, is_after=False)
    with pytest.raises(GatewayGone, match="before act 2"):
        wire.wake()
    assert done == [1]
    with pytest.raises(Misuse, match="only work that run_pausable has begun can pause"):
        wire.armed = CrashPoint(1, is_after=False, is_pause=True)
        work_through(wire, done)


def test_discarded_work_ends_where_it_stands() -> None:
    wire, done = Tripwire(armed=CrashPoint(2, is_after=False, is_pause=True)), list[int]()
    assert wire.run_pausable(lambda: work_through(wire, done)) is PAUSED
    wire.discard()
    assert done == [1] and not wire.is_paused
    assert wire.run_pausable(lambda: work_through(wire, done)) == "the result"


# ---------------------------------------------------------------------- orders that land late


def stop_before(world: World, how: str, who: Role, step: str) -> None:
    (world.pause if how == "pause" else world.crash)(who, at=step, before=2)
    world.start()
    world.run()
    order = world._side(who).wire.in_flight
    assert order is not None and order.operationId.endswith(f"/{step}")


@pytest.mark.parametrize(("who", "step"), ACTIONS)
def test_an_order_lands_and_the_woken_gateway_gets_the_same_receipt(who: Role, step: str, plain: World) -> None:
    stop_before(plain, "pause", who, step)
    receipt = plain.land(who)
    assert isinstance(receipt, Receipt)
    landed = plain.trace.of(Acted)[-1]
    assert isinstance(landed, Acted) and landed.late and not landed.again
    assert str(landed).endswith("(late)")
    plain.wake(who)
    woken = next(event for event in plain.trace.events[::-1] if isinstance(event, Acted) and event.step == step)
    assert woken.again and not woken.late
    assert plain._side(who).wire.in_flight is None
    stored = [entry.payload["signed"] for entry in plain.log(who) if "signed" in entry.payload and entry.step == step]
    assert stored == [receipt.signed]
    plain.run()
    check_transferred(plain)


@pytest.mark.parametrize("when", ["before the restart", "after the restart", "at the end"])
@pytest.mark.parametrize("wait_s", [0, 500])
@pytest.mark.parametrize("lock_type", ["HASH_LOCK", "HASH_TIME_LOCK", "TIME_LOCK"])
@pytest.mark.parametrize(("who", "step"), ACTIONS)
def test_an_order_of_a_crashed_gateway_lands_at_any_time(
    who: Role, step: str, lock_type: str, wait_s: int, when: str, plain: World
) -> None:
    """Done or refused, the ledger acts once: there is one owner, and the gateways agree on who it is."""
    plain.crash(who, at=step, before=2)
    plain.start(lock_type=lock_type)
    plain.run()
    plain.wait(wait_s)
    if when == "before the restart":
        plain.land(who)
    plain.restart(who)
    if when == "after the restart":
        plain.land(who)
    come_to_rest(plain)
    if when == "at the end":
        plain.land(who)
        come_to_rest(plain)
    assert plain._side(who).wire.in_flight is None
    (late,) = [event for event in plain.trace.of(Acted, Denied) if isinstance(event, Denied) or event.late]  # type: ignore[attr-defined]
    assert late.step == step  # type: ignore[attr-defined]
    assert find_unsettled(plain) == []


def test_a_burn_that_lands_after_the_lock_has_expired_is_refused(plain: World) -> None:
    stop_before(plain, "crash", Role.SENDER, "3.4")
    plain.wait(500)
    assert plain.land("sender") is None
    assert isinstance(plain.trace.events[-1], Denied)
    plain.restart("sender")
    come_to_rest(plain)
    assert plain.owners == [ALICE]


def test_without_the_ledgers_memory_a_mint_that_lands_late_is_a_second_mint() -> None:
    """What "the ledger acts once" carries: the backup of a slow gateway has minted, then the old order arrives."""
    owners = {}
    for acts_once in (True, False):
        world = World("twice", rules=Rules(ledger_acts_once=acts_once), tls=False)
        stop_before(world, "crash", Role.RECIPIENT, "3.2")
        world.restart("recipient")
        world.run()
        world.land("recipient")
        owners[acts_once] = [asset.id for asset in world.destination.assets]
        world.close()
    assert len(owners[True]) == 1 < len(owners[False]) == 2


# ---------------------------------------------------------------------- the log store out of reach


@pytest.mark.parametrize(("who", "step", "when", "number"), POINTS)
def test_the_log_store_is_out_of_reach_for_a_while(who: Role, step: str, when: str, number: int, plain: World) -> None:
    """It answers nothing, and tries again; then it knows what is in its log, and nothing else."""
    pause_at(plain, who, step, when, number)
    plain.cut_store(who)
    plain.wake(who)
    entries, name = len(plain.log(who)), plain._side(who).name
    said = len(plain.trace)
    plain.run()
    plain.run()
    assert len(plain.log(who)) == entries
    assert plain._side(who).gateway is not None
    assert not plain.is_at_rest
    spoken = [event for event in plain.trace.events[said:] if isinstance(event, Delivered) and event.source == name]
    assert when == "after" or not spoken
    plain.heal_store(who)
    plain.run()
    assert len(plain.trace.of(Partitioned, Healed)) == 2
    if (who, step, when) == (Role.SENDER, "1.1", "before"):
        assert plain.owners == [ALICE]  # nothing was begun, and the application has not heard that it was
        return
    check_transferred(plain)
    assert find_unsettled(plain) == []


def test_what_an_application_asks_of_it_meanwhile_fails(plain: World) -> None:
    plain.start()
    plain.cut_store("sender")
    with pytest.raises(StorageFailed, match="cannot be reached"):
        plain.abort("sender", "a reason")
    with pytest.raises(StorageFailed, match="cannot be reached"):
        plain.start("another asset")
    plain.heal_store("sender")
    plain.run()
    assert plain.owners == [ALICE, BOB]  # the other asset has stayed where it was


def test_a_gateway_that_loses_its_store_while_it_comes_up_is_down(plain: World) -> None:
    plain.start()
    plain.run(until="3.2")
    plain.crash("recipient")
    side = plain._side("recipient")
    side.wire.armed = CrashPoint(1, is_after=False, is_pause=True)
    plain.restart("recipient")
    assert side.is_paused
    plain.cut_store("recipient")
    plain.wake("recipient")
    assert side.gateway is None
    plain.heal_store("recipient")
    plain.restart("recipient")
    plain.run()
    check_transferred(plain)


def test_a_group_that_is_cut_off_meanwhile_leaves_nothing(plain: World) -> None:
    """And what the store has beyond the API is out of reach as well; the epoch a process knows by itself."""
    plain.start()
    side = plain._side("sender")
    log = side.log
    assert log is not None
    last = log.getLog(plain.sessions[0])[-1]
    with pytest.raises(StorageFailed), log.group():
        log.writeLogEntry(compose_entry(last, last.as_json()))
        with pytest.raises(Misuse, match="not durable yet"):
            log.verify_durable(plain.sessions[0])
        side.wire.is_cut_off = True
    assert log.epoch == 0
    for ask in (log.read_lease, lambda: log.renew(1.0), log.release, lambda: log.claim("GW1", 1.0), log.getSessions):
        with pytest.raises(StorageFailed):
            ask()
    side.wire.is_cut_off = False
    assert log.getLog(plain.sessions[0])[-1] == last
