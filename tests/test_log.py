"""Entries, their chain, and the two stores behind one API."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import Misuse
from protocol.log import (
    BrokenChain,
    Conflict,
    LogEntry,
    LogStorage,
    MemoryLog,
    Operation,
    compute_genesis,
    verify_chain,
)
from protocol.network import World
from protocol.objects import Json, digest
from protocol.stores import SQLiteLog

SESSION = "00000000-0000-4000-8000-000000000001"


def make_entry(number: int, before: str, session: str = SESSION, **changes: object) -> LogEntry:
    payload: Json = {"order": {"number": number}}
    fields: Json = {
        "version": "1.0",
        "sessionId": session,
        "contextId": "context",
        "gatewayId": "GW1",
        "sequenceNumber": number,
        "phase": 2,
        "step": "2.1",
        "operation": Operation.EXEC,
        "timestamp": "2024-10-03T12:02:00Z",
        "payload": payload,
        "payloadHash": digest(payload),
        "lastEntryHash": before,
    }
    return LogEntry(**(fields | changes))


def make_chain(length: int, session: str = SESSION) -> list[LogEntry]:
    entries: list[LogEntry] = []
    for number in range(1, length + 1):
        before = entries[-1].compute_hash() if entries else compute_genesis(session, "GW1")
        entries.append(make_entry(number, before, session))
    return entries


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogStorage]:
    if request.param == "memory":
        yield MemoryLog()
        return
    log = SQLiteLog(tmp_path / "a folder with spaces.sqlite")
    yield log
    log.close()


def test_what_was_written_is_read_back(store: LogStorage) -> None:
    chain = make_chain(3)
    assert [store.writeLogEntry(entry) for entry in chain] == [1, 2, 3]
    assert store.getLog(SESSION) == chain
    assert store.getLogEntry(SESSION, 2) == chain[1]
    assert store.getLastEntry(SESSION) == chain[2]
    assert store.getLogLength(SESSION) == 3
    with pytest.raises(Misuse, match="has no entry 4; it has 3"):
        store.getLogEntry(SESSION, 4)


def test_an_unknown_session_has_an_empty_log(store: LogStorage) -> None:
    assert store.getLog(SESSION) == []
    assert store.getLogLength(SESSION) == 0
    assert store.getLastEntry(SESSION) is None


def test_of_two_writers_the_second_is_refused(store: LogStorage) -> None:
    first, second = make_chain(2)
    store.writeLogEntry(first)
    with pytest.raises(Conflict, match="another entry has this place"):
        store.writeLogEntry(first)
    with pytest.raises(Conflict, match="the chain goes on from another entry"):
        store.writeLogEntry(make_entry(2, "0" * 64))
    with pytest.raises(Conflict, match="another entry has this place"):
        store.writeLogEntry(make_entry(3, first.compute_hash()))
    assert store.getLog(SESSION) == [first]
    store.writeLogEntry(second)


def test_a_session_is_open_until_an_entry_closes_it(store: LogStorage) -> None:
    other = "00000000-0000-4000-8000-000000000002"
    chain = make_chain(2)
    store.writeLogEntry(make_chain(1, other)[0])
    store.writeLogEntry(chain[0])
    assert sorted(store.getOpenSessions()) == sorted([other, SESSION])
    store.writeLogEntry(chain[1], closes=True)
    assert store.getOpenSessions() == [other]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"sequenceNumber": 3}, "entry 2 of session .* is missing"),
        ({"lastEntryHash": "0" * 64}, "entry 2 .* does not follow"),
        ({"payload": {"order": {}}}, "the payload of entry 2 .* was changed"),
    ],
)
def test_a_broken_chain_names_the_entry_and_the_reason(fault: Json, words: str) -> None:
    chain = make_chain(3)
    verify_chain(chain)
    chain[1] = chain[1].model_copy(update=fault)
    with pytest.raises(BrokenChain, match=words):
        verify_chain(chain)


def test_every_field_is_covered_by_the_hash() -> None:
    entry = make_chain(1)[0]
    others = {
        "version": "2.0", "sessionId": "x", "contextId": "x", "gatewayId": "x", "sequenceNumber": 9, "phase": 9,
        "step": "9.9", "operation": Operation.FAIL, "timestamp": "x", "payload": {}, "payloadHash": "x",
        "lastEntryHash": "x",
    }  # fmt: skip
    assert set(others) == set(LogEntry.model_fields)
    for name, value in others.items():
        assert entry.model_copy(update={name: value}).compute_hash() != entry.compute_hash(), name


CHANGE = """UPDATE entry SET body =
CAST(replace(CAST(body AS TEXT), '"gatewayId":"GW2"', '"gatewayId":"GW7"') AS BLOB) WHERE number = {}"""


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (CHANGE.format(3), "entry 4 of session .* does not follow the entry before it"),
        (CHANGE.format(14), "entry [0-9]+ of session .*, the last, was changed"),
        ("UPDATE entry SET body = CAST('{' AS BLOB) WHERE number = 3", "entry 3 of session .* cannot be read"),
        ("DELETE FROM entry WHERE number = 3", "entry 3 of session .* is missing"),
        ("DELETE FROM entry WHERE number = 14", "the last entries of session .* are gone"),
    ],
)
def test_a_file_that_somebody_changed_is_refused_by_name(statement: str, words: str, world: World) -> None:
    world.start()
    world.run(until="3.3")
    world.crash("recipient")
    path = world.directory / "GW2.sqlite"
    length = len(world.log("recipient"))
    with sqlite3.connect(path) as database:
        database.execute(statement.replace("= 14", f"= {length}"))
    database.close()
    with pytest.raises(BrokenChain, match=words):
        world.restart("recipient")


def test_entries_survive_a_closed_file(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    first = SQLiteLog(path)
    chain = make_chain(2)
    for entry in chain:
        first.writeLogEntry(entry)
    first.close()
    second = SQLiteLog(path)
    assert second.getLog(SESSION) == chain
    second.close()


def test_an_append_is_durable_when_it_returns(tmp_path: Path) -> None:
    """Write-ahead log and full synchronisation: with less, a power cut can take the newest entries."""
    log = SQLiteLog(tmp_path / "log.sqlite")
    assert log.read_pragma("journal_mode") == "wal"
    assert log.read_pragma("synchronous") == 2
    log.close()
