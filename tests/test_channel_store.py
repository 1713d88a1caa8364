"""What a channel keeps: a crash at every durable act, both stores, all or nothing, retention."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.channel import RETENTION_S
from protocol.channel_store import ChannelStore, MemoryStore, SQLiteStore, Written
from protocol.channel_world import ChannelWorld, lab_cid
from protocol.errors import Misuse, NotYet
from protocol.objects import Json
from tests.test_channel import READY, REVIEW, ask, command, create, post


@pytest.fixture
def world() -> ChannelWorld:
    return ChannelWorld()


# Crashes


def story(world: ChannelWorld) -> None:
    """Two payments, changed by both sides; whoever is down comes back before its turn."""
    payments: list[str] = []

    def turn(side: str, act: Callable[[], object]) -> None:
        if world.places[side].channel is None:
            world.restart(side)
        with contextlib.suppress(Misuse, NotYet, IndexError):  # the crash may have delayed what this builds on
            act()
        world.run(for_s=5.0)

    turn("C", lambda: payments.append(world.create("C", "aa")))
    turn("D", lambda: payments.append(world.create("D", "bb")))
    turn("D", lambda: world.update("D", payments[0], status=REVIEW))
    turn("C", lambda: world.update("C", payments[0], status=READY))
    turn("C", lambda: world.update("C", payments[1], metadata=["x"]))
    turn("D", lambda: world.update("D", payments[0], status=READY))


@pytest.mark.parametrize("side", ["C", "D"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_crash_at_every_durable_act_loses_nothing_and_applies_nothing_twice(
    side: str, moment: str, number: int
) -> None:
    world = ChannelWorld()
    world.crash(side, **{moment: number})
    story(world)
    for name in ("C", "D"):
        if world.places[name].channel is None:
            world.restart(name)
    world.run()
    assert world.copies.agree(), world.copies
    for name in ("C", "D"):
        assert not world[name].store.list_pending() and not world[name].recovery.is_open


@pytest.mark.parametrize("make_store", [MemoryStore, None])
def test_both_stores_tell_the_same_story(make_store: Callable[[], ChannelStore] | None, tmp_path: Path) -> None:
    numbers = iter(range(9))
    world = ChannelWorld(make_store=make_store or (lambda: SQLiteStore(tmp_path / f"{next(numbers)}.sqlite")))
    story(world)
    world.lose_database("D")
    world.restart("D")
    story_end = repr(world.copies)
    world.run()
    assert world.copies.agree() and story_end
    reference = ChannelWorld()
    story(reference)
    assert repr(reference.copies) == repr(world.copies)
    assert [event.at for event in world.trace][:10] == [event.at for event in reference.trace][:10]


def test_sqlite_keeps_all_or_nothing_of_a_write(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "one.sqlite")
    source = ChannelWorld()
    payment = create(source)
    record = source["D"].store.find_record("C", lab_cid("abcd"))
    version, shared = source["D"].store.read_history(payment)[lab_cid("abcd")], source["D"].store.find_object(payment)
    assert record is not None and shared is not None
    with pytest.raises(Misuse):
        store.write([record, Written(version, shared._replace(payment=object()))])  # type: ignore[arg-type]
    assert store.find_record("C", lab_cid("abcd")) is None, "the record went away with the object that failed"
    store.write([record, Written(version, shared)])
    store.close()
    again = SQLiteStore(tmp_path / "one.sqlite")
    assert again.find_record("C", lab_cid("abcd")) == record and again.find_object(payment) == shared
    again.close()


# Retention


def test_a_finished_payment_leaves_the_open_set_stays_readable_and_is_removed_after_retention(
    world: ChannelWorld,
) -> None:
    payment = create(world)
    world.update("D", payment, "2", status={"status": "abort"})
    world.run()
    store = world["C"].store
    assert store.list_open() == {} and list(store.list_closed()) == [payment]
    assert world["C"].remove_expired(world.now + RETENTION_S - 1) == 0 and store.find_object(payment) is not None
    for name in ("C", "D"):
        assert world[name].remove_expired(world.now + RETENTION_S + 1) == 1
    assert store.find_object(payment) is None and store.find_record("C", lab_cid("abcd")) is None
    again = {**command(world, payment, None, "2"), "payment": create_payment(world, payment)}
    assert ask(world, post(world, "C", again, "2")) == [("command_error", "conflict", "command.payment.reference_id")]


def create_payment(world: ChannelWorld, payment: str) -> Json:
    me, peer = world.places["C"].vasp.address, world.places["D"].vasp.address
    return {
        "reference_id": payment,
        "action": {"amount": 1, "currency": "LBR", "action": "charge", "timestamp": 1},
        "sender": {"address": str(me), "status": READY, "metadata": []},
        "receiver": {"address": str(peer)},
    }


def test_open_objects_are_found_without_looking_at_closed_ones(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "x.sqlite")
    for query in (
        "SELECT reference_id, head FROM object WHERE closed_at IS NULL",
        "SELECT * FROM command WHERE state = 'pending'",
        "SELECT reference_id FROM object WHERE closed_at < 5",
    ):
        plan = " ".join(str(row) for row in store._db.execute(f"EXPLAIN QUERY PLAN {query}"))
        assert "INDEX" in plan and "SCAN object'" not in plan, plan
    store.close()


def test_the_store_of_a_channel_is_synchronous(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "x.sqlite")
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2, "2 is FULL"
    store.close()
