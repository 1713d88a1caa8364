"""What many tests share: places to crash, and what must hold whatever happened."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import nullcontext

import pytest

from protocol.ledger import State
from protocol.network import World
from protocol.steps import TABLE_1, Role
from tests.places import in_postgres, place, shared
from tests.postgres import postgres

RAM = "/dev/shm"
ROOM = 2**29  # bytes: the largest test leaves a few megabytes, for a moment
# Begun first, so that no core is left with one of them at the end. Only the order depends on this list.
LONGEST = (
    "explorer_rules", "recovery_campaign", "replacement_campaign", "channel_machine", "replacement_machine",
    "recovery_machine", "recovery_link", "vectors", "browser", "campaigns", "binder", "mutations", "stories", "pause",
    "two_processes",
)  # fmt: skip
__all__ = ["in_postgres", "place", "postgres", "shared"]  # fixtures


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """What a reader saw when a test failed is kept as a picture, and the failure says where (browser.py)."""
    watched = getattr(pyfuncitem.funcargs.get("reader"), "watched", nullcontext)
    with watched(pyfuncitem.name):
        return (yield)


ASSET = "2c949e3c-5edb-4a2c-9ef4-20de64b9960d"
BOB = "network 43114: CN=Bob, OU=Case Org Unit, O=Case, L=San Francisco, C=US"
ALICE = "network 1: CN=Alice, OU=Example Org Unit, O=Example, L=New York, C=US"


def pytest_configure() -> None:
    """Temporary files in memory, where there is room and nobody said TMPDIR: thousands of logs flush each entry.

    A crash in these tests is that of a process, and what was written survives it wherever it is.
    """
    if "TMPDIR" not in os.environ and os.access(RAM, os.W_OK) and shutil.disk_usage(RAM).free > ROOM:
        os.environ["TMPDIR"] = RAM  # for the processes that are started, too
        tempfile.tempdir = None  # it is asked for again


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


@pytest.fixture
def world() -> Iterator[World]:
    world = World(seed="test")
    yield world
    world.close()


def every_crash_point() -> list[tuple[Role, str, str, int]]:
    """Gateway, step, before or after, and number of the durable act: every place where a crash can be put."""
    with_acts = World(seed="count")
    points = [
        (role, row.number, when, number)
        for row in TABLE_1
        for role in Role
        for number in range(1, with_acts.count_acts(role, row.number) + 1)
        for when in ("before", "after")
    ]
    with_acts.close()
    return points


def check_one_owner(world: World) -> None:
    """Consistency (SATP 1): the asset can be used in one network only, by one owner."""
    assert len(world.owners) == 1
    states = [asset.state for ledger in (world.origin, world.destination) for asset in ledger.assets]
    assert states.count(State.FREE) == 1


def check_transferred(world: World) -> None:
    assert world.is_at_rest
    assert world.owners == [BOB]
    assert [asset.state for asset in world.origin.assets] == [State.BURNED]
    assert not world.sender.session(world.sessions[0]).parked
    assert not world.recipient.session(world.sessions[0]).parked
