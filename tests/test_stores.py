"""Stores on a disk: torn tails, changed files, groups, open sessions among closed ones, logs as lines."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.log import BrokenChain, Conflict, LogEntry, LogStorage, MemoryLog, StorageFailed
from protocol.network import World
from protocol.steps import TABLE_1, Row
from protocol.stores import OPEN_SESSIONS, SQLiteLog
from tests.conftest import check_transferred
from tests.places import Place
from tests.test_log import OTHER, SESSION, extend, make_chain, make_entry

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
    world.restart("recipient")
    assert re.search(words, world.recipient.damaged[world.sessions[0]])
    with pytest.raises(BrokenChain, match=words):
        world.recipient.session(world.sessions[0])


def test_a_damaged_session_holds_up_no_other_and_is_not_told_to_the_peer(world: World) -> None:
    """Our own disk is no business of the peer's: it gets no error, so it parks nothing, and asks again."""
    damaged = world.start("first asset")
    sound = world.start("second asset")
    world.run(until="2.2", of=sound)
    world.crash("recipient")
    with sqlite3.connect(world.directory / "GW2.sqlite") as database:
        database.execute("DELETE FROM entry WHERE session = ? AND number = 2", (damaged,))
    database.close()
    world.restart("recipient")
    world.run()
    assert list(world.recipient.damaged) == [damaged]
    assert world.recipient.session(sound).next_row is None
    assert world.sender.session(sound).next_row is None
    assert not world.sender.session(damaged).parked


def test_entries_survive_a_closed_store(place: Place) -> None:
    first = place.open()
    chain = make_chain(2)
    for entry in chain:
        first.writeLogEntry(entry)
    first.close()
    assert place.open().getLog(SESSION) == chain


def test_an_append_is_durable_when_it_returns(tmp_path: Path) -> None:
    """Write-ahead log and full synchronisation: with less, a power cut can take a clean tail, which no chain sees."""
    log = SQLiteLog(tmp_path / "log.sqlite")
    assert log.read_pragma("journal_mode") == "wal"
    assert log.read_pragma("synchronous") == 2
    log.close()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    path.write_bytes(b"no database at all, but long enough to be read as the header of one" * 20)
    with pytest.raises(BrokenChain, match="the file is no log: file is not a database"):
        SQLiteLog(path)


def test_a_store_that_does_not_answer_is_no_broken_log(place: Place) -> None:
    """R42: no durable entry, no action. Whoever gets StorageFailed does not know, and must not act."""
    log = place.open()
    log.close()
    with pytest.raises(StorageFailed):
        log.writeLogEntry(make_chain(1)[0])
    with pytest.raises(StorageFailed):
        log.getOpenSessions()


def test_a_full_disk_fails_the_group_and_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.sqlite")
    chain = make_chain(2)
    log.writeLogEntry(chain[0])
    pages = log.read_pragma("page_count")
    log.read_pragma(f"max_page_count = {pages}")
    big = make_entry(2, chain[0].compute_hash(), payload={"order": "x" * 100_000})
    with pytest.raises(StorageFailed, match="full"), log.group():
        log.writeLogEntry(big)
    with pytest.raises(StorageFailed), log.group():
        with suppress(StorageFailed):  # SQLite has ended the transaction: nothing may be written on its own now
            log.writeLogEntry(big)
        with suppress(StorageFailed):
            log.writeLogEntry(make_chain(1, OTHER)[0])
    assert log.getLog(SESSION) == chain[:1]
    assert log.getSessions() == [SESSION]
    log.writeLogEntry(chain[1])
    assert log.getLog(SESSION) == chain
    log.close()


# ------------------------------------------------------------------ a torn tail

FRAME, HEADER = 24, 32  # sizes that the file format of the write-ahead log gives to the headers of frame and file


def make_torn_pair(folder: Path, *, grouped: bool = False) -> tuple[bytes, bytes, list[LogEntry], int]:
    """Database and write-ahead log as the power cut leaves them, what they hold, and where the last commit begins."""
    log = SQLiteLog(folder / "whole.sqlite")
    chain, wal = make_chain(5), folder / "whole.sqlite-wal"
    for entry in chain[:3]:
        log.writeLogEntry(entry)
    start = wal.stat().st_size
    if grouped:
        with log.group():
            log.writeLogEntry(chain[3])
            log.writeLogEntry(chain[4])
    else:
        chain.pop()
        log.writeLogEntry(chain[3])
    pair = log.path.read_bytes(), wal.read_bytes()
    log.close()
    return *pair, chain, start


def read_back(folder: Path, database: bytes, wal: bytes) -> list[LogEntry]:
    (folder / "torn.sqlite-shm").unlink(missing_ok=True)
    (folder / "torn.sqlite").write_bytes(database)
    (folder / "torn.sqlite-wal").write_bytes(wal)
    log = SQLiteLog(folder / "torn.sqlite")
    try:
        return log.getLog(SESSION)
    finally:
        log.close()


def damaged(wal: bytes, place: int) -> bytes:
    return wal[:place] + bytes([wal[place] ^ 0x55]) + wal[place + 1 :]


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder without flushes, where there is one: thousands of files are opened in it."""
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="torn-", dir=fast if os.access(fast, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.parametrize("grouped", [False, True], ids=["one entry", "a group of two"])
def test_a_write_torn_anywhere_is_there_whole_or_not_at_all(memory_folder: Path, grouped: bool) -> None:
    """Cut, and damaged, at every byte of the last frame; cut at every frame of the last commit."""
    database, wal, chain, start = make_torn_pair(memory_folder, grouped=grouped)
    page = int.from_bytes(wal[8:12], "big")
    frame = FRAME + page
    assert (len(wal) - HEADER) % frame == (start - HEADER) % frame == 0
    before = chain[:3]
    assert read_back(memory_folder, database, wal) == chain
    # The whole last frame byte by byte once; for the group its header and every 64th byte are enough.
    last = len(wal) - frame
    places = range(last, len(wal)) if not grouped else [*range(last, last + FRAME), *range(last + FRAME, len(wal), 64)]
    for place in places:
        assert read_back(memory_folder, database, wal[:place]) == before, f"cut at byte {place}"
        assert read_back(memory_folder, database, damaged(wal, place)) == before, f"damaged at byte {place}"
    for place in range(start, len(wal), frame):
        assert read_back(memory_folder, database, wal[:place]) == before
        assert read_back(memory_folder, database, damaged(wal, place + FRAME)) == before


def test_damage_further_up_drops_everything_after_it_without_a_word(memory_folder: Path) -> None:
    """Not a torn tail, and SQLite cannot tell: a clean shorter log. The peer and the notary can."""
    database, wal, chain, start = make_torn_pair(memory_folder)
    page = int.from_bytes(wal[8:12], "big")
    found = read_back(memory_folder, database, damaged(wal, start - page))
    assert found == chain[:2]


@pytest.mark.parametrize("row", [row for row in TABLE_1 if row.number != "1.1"], ids=lambda row: str(row.number))
def test_a_gateway_goes_on_from_a_file_with_a_torn_tail(
    row: Row, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power fails while the first entry of a step is being written: it is torn, and nothing was done on it."""
    role, step = row.actor, row.number
    close = SQLiteLog.close

    def keep_files_and_close(log: SQLiteLog) -> None:
        if not list(tmp_path.iterdir()):  # as they are at the moment of the crash, before the connection tidies up
            for file in log.path.parent.glob(f"{log.path.name}*"):
                shutil.copy(file, tmp_path)
        close(log)

    world.crash(role, at=step, after=1)
    monkeypatch.setattr(SQLiteLog, "close", keep_files_and_close)
    world.start()
    world.run()
    monkeypatch.undo()
    length = len(world.log(role))
    name = f"{world._sides[role].id}.sqlite"
    wal = tmp_path / f"{name}-wal"
    os.truncate(wal, wal.stat().st_size - 1)
    for file in world.directory.glob(f"{name}*"):
        file.unlink()
    for file in tmp_path.glob(f"{name}*"):
        if file.suffix != ".sqlite-shm":
            shutil.copy(file, world.directory)
    assert len(world.log(role)) == length - 1
    world.restart(role)
    world.run()
    check_transferred(world)


# ------------------------------------------------------------------ groups on the disk


def test_nobody_else_sees_a_group_before_it_is_durable(place: Place) -> None:
    log, reader = place.open(), place.open()
    chain, other = make_chain(2), make_chain(1, OTHER)
    with log.group():
        for entry in (chain[0], other[0], chain[1]):
            log.writeLogEntry(entry)
        assert reader.getSessions() == []
    assert reader.getLog(SESSION) == chain
    assert reader.getLog(OTHER) == other


def test_a_crash_inside_a_group_loses_the_group_and_nothing_else(place: Place) -> None:
    """The connection goes away inside the group, as with a process that dies."""
    log = place.open()
    chain = make_chain(3)
    log.writeLogEntry(chain[0])
    with pytest.raises(SystemExit), log.group():
        log.writeLogEntry(chain[1])
        log.writeLogEntry(chain[2], closes=True)
        log.close()
        raise SystemExit
    again = place.open()
    assert again.getLog(SESSION) == chain[:1]
    assert again.getOpenSessions() == [SESSION]


def test_a_group_is_one_commit(tmp_path: Path) -> None:
    """Frames that carry a commit, counted in the file: one for eight sessions, eight for eight appends."""
    log = SQLiteLog(tmp_path / "log.sqlite")
    sessions = [f"00000000-0000-4000-8000-{number:012}" for number in range(8)]
    before = count_commits(tmp_path)
    with log.group():
        for session in sessions:
            log.writeLogEntry(make_chain(1, session)[0])
    assert count_commits(tmp_path) == before + 1
    for session in sessions:
        log.writeLogEntry(make_chain(2, session)[1])
    assert count_commits(tmp_path) == before + 9
    log.close()


def count_commits(folder: Path) -> int:
    wal = (folder / "log.sqlite-wal").read_bytes()
    frame = FRAME + int.from_bytes(wal[8:12], "big")
    return sum(any(wal[place + 4 : place + 8]) for place in range(HEADER, len(wal), frame))


APPEND = st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from(["2.1", "3.4"]), st.booleans())
ACTS = st.lists(st.one_of(APPEND, st.tuples(st.lists(APPEND, max_size=4), st.booleans())), max_size=8)


def perform(log: LogStorage, acts: list[Any]) -> list[object]:
    """Appends (session, place, content, closes) and groups of them (acts, fails): what each was answered."""
    answers: list[object] = []
    for act in acts:
        if isinstance(act[0], list):
            try:
                with log.group():
                    answers += perform(log, act[0])
                    if act[1]:
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                answers.append("lost")
            continue
        session, back, step, closes = act
        name = f"00000000-0000-4000-8000-{session:012}"
        entries = log.getLog(name)
        before = entries[: max(0, len(entries) - back)]
        try:
            answers.append(log.writeLogEntry(extend(before, 1, session=name, step=step)[-1], closes=closes))
        except Conflict as conflict:
            answers.append(str(conflict))
    return [*answers, log.getSessions(), log.getOpenSessions(), [log.getLog(name) for name in log.getSessions()]]


@pytest.mark.parametrize("shared", [False, True])
@given(acts=ACTS)
@settings(max_examples=60, deadline=None)
def test_whatever_is_done_to_them_all_stores_answer_alike(shared: bool, acts: list[Any]) -> None:
    log = SQLiteLog(":memory:", shared=shared)
    assert perform(log, acts) == perform(MemoryLog(), acts)
    log.close()


@given(acts=ACTS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_done_to_it_postgresql_answers_alike(in_postgres: Place, acts: list[Any]) -> None:
    log = in_postgres.open()
    log._execute("DELETE FROM entry")
    log._execute("DELETE FROM session")
    assert perform(log, acts) == perform(MemoryLog(), acts)
    log.close()


# ------------------------------------------------------------------ open sessions among closed ones


def fill(log: SQLiteLog, closed: int, opened: int) -> None:
    with log.group():
        for number in range(closed + opened):
            entry = make_chain(1, f"00000000-0000-4000-8000-{number:012}")[0]
            log.writeLogEntry(entry, closes=number < closed)


def test_finding_the_open_sessions_does_not_read_the_closed_ones(tmp_path: Path) -> None:
    """By the plan, and by counting the steps of SQLite's machine: as many among 5 as among 2,000 closed ones."""
    steps = []
    for closed in (5, 2000):
        log = SQLiteLog(tmp_path / f"{closed}.sqlite")
        fill(log, closed, 10)
        plan = [row[3] for row in log._database.execute(f"EXPLAIN QUERY PLAN {OPEN_SESSIONS}")]
        assert len(plan) == 1
        assert "USING INDEX open_session" in plan[0]
        assert "TEMP B-TREE" not in plan[0]
        steps.append(count_steps(log, lambda log: len(log.getOpenSessions())))
        assert [len(log.getOpenSessions()), len(log.getSessions())] == [10, closed + 10]
        scan = count_steps(log, lambda log: len(log.getSessions()))
        assert scan > 3 * closed, "the count does see rows that are read"
        log.close()
    assert steps[0] == steps[1]


def count_steps(log: SQLiteLog, question: Callable[[SQLiteLog], object]) -> int:
    count = 0

    def one_more() -> int:
        nonlocal count
        count += 1
        return 0

    log._database.set_progress_handler(one_more, 1)
    question(log)
    log._database.set_progress_handler(None, 1)
    return count


# ------------------------------------------------------------------ a whole file, verified


def test_a_whole_store_is_verified_session_by_session(place: Place) -> None:
    log = place.open()
    sessions = [f"00000000-0000-4000-8000-{number:012}" for number in range(4)]
    for session in sessions:
        log.updateLog(session, make_chain(3, session))
    assert [repr(each) for each in log.verify()] == ["session 00000000: 3 entries, one chain"] * 4
    log._execute("DELETE FROM entry WHERE number = 2 AND session = ?", sessions[1])
    checked = list(log.verify())
    assert [each.broken is None for each in checked] == [True, False, True, True]
    assert repr(checked[1]) == f"session 00000000: entry 2 of session {sessions[1]} is missing (expected 2, found 3)"
    log._execute("DELETE FROM session WHERE id = ?", sessions[3])
    with pytest.raises(BrokenChain, match=f"entry 1 of session {sessions[3]} is there, and the session is not"):
        list(log.verify())


DAMAGES = [
    ("UPDATE entry SET body = ? WHERE number = 2", "entry 3 of session .* does not follow the entry before it"),
    ("UPDATE entry SET body = ? WHERE number = 3", "entry 3 of session .*, the last, was changed"),
    ("DELETE FROM entry WHERE number = 2 AND body <> ?", "entry 2 of session .* is missing"),
    ("DELETE FROM entry WHERE number = 3 AND body <> ?", "the last entries of session .* are gone"),
    ("DELETE FROM entry WHERE body <> ?", "the last entries of session .* are gone"),
    ("UPDATE entry SET body = substr(body, 2) WHERE number = 2 AND body <> ?", "entry 2 of session .* cannot be read"),
    ("DELETE FROM session WHERE last_hash <> CAST(? AS TEXT)", "the last entries of session .* are gone"),
]


@pytest.mark.parametrize(("statement", "words"), DAMAGES)
def test_a_store_that_somebody_changed_is_refused_by_name(statement: str, words: str, place: Place) -> None:
    log = place.open()
    chain = make_chain(3)
    log.updateLog(SESSION, chain)
    number = 3 if "number = 3" in statement else 2
    changed = chain[number - 1].model_copy(update={"timestamp": "2024-10-03T12:02:09Z"})
    log._execute(statement, "" if "session WHERE" in statement else changed.canonical_bytes)
    with pytest.raises(BrokenChain, match=words):
        log.getLog(SESSION)


def test_a_group_in_which_the_store_failed_is_lost_whole_whoever_caught_it(tmp_path: Path) -> None:
    """Half an append could be there: the row of the entry without the head of its session."""
    log = SQLiteLog(tmp_path / "log.sqlite")
    chain = make_chain(2)
    log._database.execute("CREATE TRIGGER fail BEFORE INSERT ON session BEGIN SELECT RAISE(ABORT, 'disk'); END")
    failed = pytest.raises(StorageFailed, match="an append inside the group failed")
    with failed, log.group(), suppress(StorageFailed):
        log.writeLogEntry(chain[0])
    log._database.execute("DROP TRIGGER fail")
    assert log.getLogLength(SESSION) == 0
    log.writeLogEntry(chain[0])
    assert log.getLog(SESSION) == chain[:1], "the next group begins afresh"
    log.close()
