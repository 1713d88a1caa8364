"""Trouble of one's own, without a crash: a disk that fails once, a network that changes between question and act.

A gateway that lives on must be where a restart would have put it: it knows what is on disk and nothing else, and a
time-out takes it on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.ledger import Receipt
from protocol.log import LogEntry, StorageFailed
from protocol.network import World
from protocol.steps import Role
from tests.conftest import ALICE, check_transferred
from tests.test_abort import check_ended


def fail_once(world: World, who: str, at: int, *, is_written: bool) -> list[str]:
    """The `at`-th append from now on fails; or it is written and only the answer is lost. Returns what happened."""
    store = world._side(who).log
    assert store is not None
    append: Callable[..., int] = store.writeLogEntry
    happened: list[str] = []
    count = iter(range(1, 1000))

    def writeLogEntry(entry: LogEntry, *, closes: bool = False) -> int:
        if next(count) != at:
            return append(entry, closes=closes)
        if is_written:
            append(entry, closes=closes)
        happened.append(entry.step)
        raise StorageFailed("the disk failed, once")

    store.writeLogEntry = writeLogEntry  # type: ignore[method-assign]
    return happened


def run_to_rest(world: World) -> None:
    """Whoever carries messages meets the failure as an exception, and goes on."""
    for _ in range(30):
        try:
            world.run()
        except StorageFailed:
            continue
        if world.is_at_rest:
            return


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("at", range(1, 17))
@pytest.mark.parametrize("is_written", [True, False], ids=["written, not told", "not written"])
def test_a_disk_that_fails_once(who: Role, at: int, is_written: bool, world: World) -> None:
    """R10: whether the entry exists is not known. It is read again, and the same append is answered alike."""
    world.start()
    happened = fail_once(world, who, at, is_written=is_written)
    run_to_rest(world)
    assert happened, "the failure did not happen, so this test would show nothing"
    check_transferred(world)


@pytest.mark.parametrize("lock_type", ["HASH_LOCK", "HASH_TIME_LOCK", "TIME_LOCK"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_disk_that_fails_once_while_the_peer_has_ended_it(lock_type: str, at: int, world: World) -> None:
    """The peer's abort is lost, and our own next step was interrupted: a time-out takes it, and learns."""
    world.start(lock_type=lock_type)
    world.run(until="1.4")
    world.abort("recipient", "a reason")
    world.link.pop()
    happened = fail_once(world, "sender", at, is_written=False)
    for _ in range(4):
        run_to_rest(world)
        world.wait(200)
    assert happened
    check_ended(world)


def test_a_lock_that_expires_between_the_question_and_the_unlock(world: World) -> None:
    """What the unlock wanted has happened by itself; the receipt of the expiry does."""
    world.start()
    world.run(until="3.3")
    network: Any = world.sender._journal.network
    ask = network.end_of

    def end_of(operation_id: str) -> Receipt | None:
        answer: Receipt | None = ask(operation_id)
        world.wait(200)
        return answer

    network.end_of = end_of
    world.abort("sender", "a reason")
    network.end_of = ask
    world.run()
    check_ended(world)


def test_a_cancelled_burn_is_no_burn(world: World) -> None:
    world.start()
    world.crash("sender", at="3.4", before=2)
    world.run()
    world.wait(500)
    world.restart("sender")
    world.run()
    check_ended(world)
    session = world.sender.session(world.sessions[0])
    assert not session.is_committed
    assert "3.4" not in session.done
    assert world.owners == [ALICE]
