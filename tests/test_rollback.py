"""The way back: every moment of an expiry, every crash of a rollback, every word about it; and disputes.

What must hold at rest, whatever happened: exactly one owner, nothing locked or held, both gateways agree. Where two
signed stories contradict each other: both frozen, both stories kept, no ledger touched any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from protocol.faults import Tripwire
from protocol.ledger import Order, State
from protocol.messages.recovery import RECOVERY_NAMESPACE
from protocol.network import World
from protocol.objects import Json, digest
from protocol.rules import Rules
from protocol.signing import read_payload
from protocol.steps import TABLE_1, Role
from protocol.trace import Crashed
from protocol.views import read_message
from tests.conftest import BOB, check_transferred
from tests.test_abort import check_ended
from tests.test_bad_input import fingerprint

LOCK_TYPES = ("TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK")
LONG = 300  # seconds: no lock of the example lasts that long


def make_world(rules: Rules | None = None) -> World:
    """Without TLS: these runs are many."""
    return World(seed="test", tls=False, rules=rules)


@pytest.fixture
def world() -> Iterator[World]:
    world = make_world()
    yield world
    world.close()


def check_rest(world: World) -> None:
    """One owner, nothing locked or held, both agree, and nobody had to be asked."""
    assert world.is_at_rest
    assert len(world.owners) == 1
    assert not [a for ledger in world.ledgers for a in ledger.assets if a.state in (State.LOCKED, State.HELD)]
    for name in world.sessions:
        sessions = [gateway.find_session(name) for gateway in (world.sender, world.recipient)]
        assert len({session.is_ended for session in sessions if session}) == 1
        assert not [session for session in sessions if session and (session.parked or session.frozen)]
    if world.owners != [BOB]:
        check_ended(world)


# ---------------------------------------------------------------------- the lock expires at every moment


class Bomb(Tripwire):
    """Lets time pass before or after the `number`-th durable act, while the gateway goes on."""

    def __init__(self, world: World, number: int, is_after: bool) -> None:
        super().__init__()
        self._world, self._left, self._is_after, self.went_off = world, number, is_after, ""

    @contextmanager
    def around(self, step: str, words: str, order: Order | None = None) -> Iterator[None]:
        self._left -= 1
        is_it = self._left == 0
        self.went_off = words if is_it else self.went_off
        if is_it and not self._is_after:
            self._world.wait(LONG)
        with super().around(step, words, order):
            yield
        if is_it and self._is_after:
            self._world.wait(LONG)


@pytest.mark.parametrize("lock_type", LOCK_TYPES)
@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_the_lock_expires_at_every_durable_act_with_both_up(lock_type: str, who: Role, is_after: bool) -> None:
    ends = set()
    for number in range(1, 21):
        world = make_world()
        side = world._side(who)
        bomb = side.wire = Bomb(world, number, is_after)
        world._side(who).log.close()  # type: ignore[union-attr]
        world._make_gateway(side)
        world.start(lock_type=lock_type)
        world.run()
        assert bomb.went_off
        check_rest(world)
        ends.add(world.owners[0])
        world.close()
    assert len(ends) == (1 if lock_type == "HASH_LOCK" else 2)


@pytest.mark.parametrize("lock_type", LOCK_TYPES)
@pytest.mark.parametrize("down", [None, *Role])
@pytest.mark.parametrize("tries", [0, 1], ids=["asleep meanwhile", "the other one tries meanwhile"])
def test_the_lock_expires_after_every_step(lock_type: str, down: Role | None, tries: int) -> None:
    """With a gateway down: restarted later. `tries`: the other one's time-outs come before the restart."""
    owners = {}
    for row in TABLE_1:
        world = make_world()
        world.start(lock_type=lock_type)
        world.run(until=row.number)
        if down:
            world.crash(down)
        world.wait(LONG)
        if tries:
            world.run()
        if down:
            world.restart(down)
        world.run()
        check_rest(world)
        owners[row.number] = "Alice" if "Alice" in world.owners[0] else "Bob"
        world.close()
    back = [] if lock_type == "HASH_LOCK" else ["2.1", "2.2", "2.3", "2.4", "3.1", "3.2", "3.3"]
    assert [number for number in owners if owners[number] == "Alice"] == back


@pytest.mark.parametrize("lock_type", LOCK_TYPES)
@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("entries", [1, 4])
def test_a_lock_that_expires_while_entries_are_lost(lock_type: str, who: Role, entries: int) -> None:
    for row in TABLE_1[1:]:
        world = make_world()
        world.start(lock_type=lock_type)
        world.run(until=row.number)
        world.crash(who)
        world.forget(who, entries)
        world.wait(LONG)
        world.restart(who)
        world.run()
        check_rest(world)
        world.close()


# ---------------------------------------------------------------------- a crash at every act of a rollback


def begin_rollback(world: World, lock_type: str = "HASH_TIME_LOCK") -> None:
    """The sender is back after its lock is over; the recipient is prepared."""
    world.start(lock_type=lock_type)
    world.run(until="3.3")
    world.crash("sender")
    world.wait(LONG)
    world.restart("sender")


def begin_abort(world: World, who: Role, step: str) -> None:
    world.start()
    world.run(until=step)
    world.abort(who, "a reason")


def bring_up(world: World) -> None:
    for who in Role:
        if world._side(who).gateway is None:
            world.restart(who)
    world.run()


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("second", [None, 1, 2, 3])
def test_a_crash_at_every_act_of_a_rollback(who: Role, when: str, second: int | None) -> None:
    """R34. `second`: and once more, at that durable act after the restart."""
    crashes = 0
    for number in range(1, 9):
        world = make_world()
        begin_rollback(world)
        before = len(world.trace.of(Crashed))
        world.crash(who, None, **{when: number})
        world.run()
        is_reached = len(world.trace.of(Crashed)) > before
        crashes += is_reached
        if is_reached:
            world.restart(who)
            if second:
                world.crash(who, before=second)
            world.run()
            bring_up(world)
        check_ended(world)
        world.close()
    assert crashes == 5 if who is Role.RECIPIENT else crashes >= 3


@pytest.mark.parametrize("crashed", Role)
@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("second", [1, 2])
def test_two_crashes_while_an_abort_is_carried_out(who: Role, crashed: Role, second: int) -> None:
    for number in range(2, 7):  # before the first act of its author nobody knows of the wish
        world = make_world()
        world.start()
        world.run(until="2.4")
        world.crash(crashed, before=number)
        world.abort(who, "a reason")
        world.run()
        if world._side(crashed).gateway is None:
            world.restart(crashed)
            world.crash(crashed, before=second)
            world.run()
            bring_up(world)
        check_ended(world)
        world.close()


@pytest.mark.parametrize("lock_type", LOCK_TYPES)
@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("step", ["1.2", "1.4", "2.2", "2.4"])
def test_an_old_copy_that_wants_to_leave_is_not_followed(lock_type: str, who: Role, step: str) -> None:
    """The wish was given up since, and the copy does not know it: what came after it is taken back first (row E)."""
    place = [row.number for row in TABLE_1].index(step)
    for later in TABLE_1[place + 1 : -1]:
        world = make_world()
        world.start(lock_type=lock_type)
        world.run(until=step)
        world.crash(who, before=2)
        world.abort(who, "a wish")
        copy = world.keep_copy(who)
        world.forget(who, 1)
        world.restart(who)
        world.run(until=later.number)
        world.crash(who)
        world.put_back(who, copy)
        world.restart(who)
        world.run()
        world.wait(LONG if not world.is_at_rest else 0)
        world.run()
        check_rest(world)
        if world.origin.state(f"{world.sessions[0]}/2.1") == "burned":
            check_transferred(world)
        world.close()


# ---------------------------------------------------------------------- ROLLBACK and ROLLBACK-ACK


@pytest.mark.parametrize("fault", ["lose", "repeat"])
@pytest.mark.parametrize("name", ["rollback", "rollback-ack", "transfer-resume", "transfer-continue"])
@pytest.mark.parametrize("lock_type", ["TIME_LOCK", "HASH_TIME_LOCK"])
def test_every_message_of_a_rollback_may_be_lost_or_come_twice(
    fault: str, name: str, lock_type: str, world: World
) -> None:
    getattr(world, fault)(name)
    begin_rollback(world, lock_type)
    world.run()
    check_ended(world)


def test_a_rollback_and_its_acknowledgement_name_each_other(world: World) -> None:
    """R50; and both sides keep both. ROLLBACK is a report with receipts (R33)."""
    begin_rollback(world)
    world.run()
    sender, recipient = (gateway.session(world.sessions[0]) for gateway in (world.sender, world.recipient))
    said, answered = read_payload(sender.own_abort or ""), read_payload(recipient.acknowledgement or "")
    assert answered["hashPrevMessage"] == digest(said)
    assert said["hashPrevMessage"] in recipient.history
    assert (sender.own_abort, sender.acknowledgement) == (recipient.abort, recipient.acknowledgement)
    assert (said["success"], said["actionsPerformed"]) == (True, ["EXPIRE"])
    assert (answered["success"], answered["actionsPerformed"]) == (True, ["DESTROY"])


def test_late_copies_change_nothing(world: World) -> None:
    begin_rollback(world)
    world.run()
    sender = world.sender.session(world.sessions[0])
    assert sender.own_abort
    assert sender.acknowledgement
    before = fingerprint(world)
    assert world.recipient.receive(sender.own_abort.encode()) == sender.acknowledgement.encode()
    assert world.sender.receive(sender.acknowledgement.encode()) is None
    assert fingerprint(world) == before


def make_rollback(world: World, **changes: object) -> Json:
    """A ROLLBACK of the sender, well formed and chained; None leaves a field out."""
    session = world.recipient.session(world.sessions[0])
    payload: Json = {
        "messageType": RECOVERY_NAMESPACE + "rollback-msg",
        "sessionId": session.id,
        "contextId": session.context,
        "success": True,
        "actionsPerformed": [],
        "proofs": [],
        "reason": "believe me",
        "hashPrevMessage": session.history.head,
        "timestamp": world.now,
    }
    return {name: value for name, value in (payload | changes).items() if value is not None}


def check_refused(world: World, payload: Json, words: str, signer: str = "GW1") -> None:
    """Answered with a signed error, and nothing changed."""
    before = fingerprint(world)
    reply = world.recipient.receive(world.key(signer).sign(payload).encode())
    error = read_message(world, reply)
    assert error.signer == "GW2"
    assert words in error.payload["detail"]
    assert fingerprint(world) == before


def test_a_prepared_recipient_needs_the_receipt(world: World) -> None:
    """R31, C6: with none, with another receipt, with that of another session."""
    world.start()
    world.run(until="3.3")
    session = world.recipient.session(world.sessions[0])
    lock = read_payload(session.history[session.message_of["2.2"]].signed)["lockAssertionClaim"]["receipt"]
    own = session.receipts["3.2"]["signed"]
    for proofs in ([], [lock]):
        check_refused(world, make_rollback(world, proofs=proofs), "waits for the receipt")
    check_refused(world, make_rollback(world, proofs=[own]), "signed by another network")
    forged = world.key("GW1").sign(read_payload(lock) | {"action": "unlock", "under": f"{session.id}/2.1"})
    check_refused(world, make_rollback(world, proofs=[forged]), "receipts")
    world.run()
    check_transferred(world)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hashPrevMessage": "0" * 64}, "does not cite a message"),
        ({"hashPrevMessage": None}, "does not cite a message"),
        ({"contextId": "another"}, "mismatch contextId"),
        ({"reason": None}, "reason"),
        ({"proofs": None}, "proofs"),
    ],
)
def test_an_unchained_or_incomplete_rollback_is_refused(changes: Json, words: str, world: World) -> None:
    world.start()
    world.run(until="2.4")
    check_refused(world, make_rollback(world, **changes), words)
    world.run()
    check_transferred(world)


def test_a_rollback_after_the_burn_is_refused(world: World) -> None:
    """With the very receipt of an expiry: from a run with the same seed in which the lock did expire."""
    other = make_world()
    begin_rollback(other)
    other.run()
    said = read_payload(other.sender.session(other.sessions[0]).own_abort or "")
    other.close()
    world.start()
    world.run(until="3.6")
    check_refused(world, said, "the asset is burned")
    world.run()
    check_transferred(world)


def test_a_rollback_of_a_stranger_is_refused(world: World) -> None:
    world.admit("GW3")
    world.start()
    world.run(until="2.4")
    check_refused(world, make_rollback(world), "the signer is not the peer", signer="GW3")


def test_a_time_lock_is_pending_until_it_expires(world: World) -> None:
    """C33: the recipient reports a rollback; the sender's lock cannot be undone yet, and it says so."""
    world.start(lock_type="TIME_LOCK")
    world.run(until="2.4")
    world.abort("recipient", "a reason")
    world.link.clear()
    world.crash("recipient")
    world.restart("recipient")
    world.run()
    acknowledgements = [
        read_payload(entry.payload["acknowledgement"])["success"]
        for who in Role
        for entry in world.log(who)
        if "acknowledgement" in entry.payload
    ]
    session = world.sender.session(world.sessions[0])
    assert session.ending
    assert not session.is_ended
    assert True not in acknowledgements
    early = world.sender.receive((session.abort or "").encode())
    assert early
    assert read_payload(early)["success"] is False
    world.wait(LONG)
    world.run()
    check_ended(world)
    final = read_payload(session.acknowledgement or "")
    assert (final["success"], final["actionsPerformed"]) == (True, ["EXPIRE"])


def test_a_recipient_that_was_down_learns_of_an_abort_it_missed(world: World) -> None:
    """The stored abort is said again as ROLLBACK: while it compares, the recipient serves nothing else."""
    world.start()
    world.run(until="3.3")
    world.crash("recipient")
    world.wait(LONG)
    world.run()
    assert world.sender.session(world.sessions[0]).is_ended
    world.restart("recipient")
    world.run()
    check_ended(world)


def test_a_time_out_decides_nothing(world: World) -> None:
    world.start(lock_type="HASH_LOCK")
    world.run(until="3.3")
    before = fingerprint(world)
    for _ in range(50):
        world.link.clear()
        assert world.recipient.on_time_out()
    assert fingerprint(world) == before
    world.run()
    check_transferred(world)
