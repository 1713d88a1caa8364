"""Durable stores behind the Log Storage API, and logs as files of lines.

SQLite, one file per gateway: write-ahead log with `synchronous=FULL`, so that an append which returned
survives a power cut and not only a crash of the process. Comparison, entry and the mark that a session
is closed are one transaction; a group of appends is one transaction too.

A torn tail: SQLite gives every frame of its write-ahead log a checksum that covers all frames before it,
and reads only up to the last whole commit. So a store whose last write was cut anywhere opens with all
entries or with all but the last transaction, never with half of one. What it cannot tell is damage
further up in that file: everything after it is dropped without a word, and the log is shorter and
whole. That is seen by whoever keeps the hash of the last entry elsewhere: the peer, or a notary.

A file is for one gateway, which is one process: where two processes write and checkpoint one file at the
same time, SQLite from 3.7.0 to 3.51.2 can damage it (sqlite.org/wal.html, "the WAL-reset bug"). What
several machines share needs another store.

In a file of lines (`*.jsonl`, one canonical entry a line) the same rule is ours: a last line that is not
whole is dropped and reported; any other line that cannot be read is refused with its number.

A store knows entries and chains; what an entry means it never asks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from protocol.errors import Misuse, Refused
from protocol.log import (
    NOT_DURABLE,
    BrokenChain,
    LogEntry,
    LogStorage,
    StorageFailed,
    is_end,
    is_reopening,
    validate_entry,
    verify_chain,
    verify_continues,
)
from protocol.objects import parse

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    id        TEXT PRIMARY KEY,
    length    INTEGER NOT NULL,
    last_hash TEXT NOT NULL,
    is_open   INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS open_session ON session (is_open) WHERE is_open = 1;
CREATE TABLE IF NOT EXISTS entry (
    session TEXT NOT NULL,
    number  INTEGER NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (session, number)
) STRICT;
"""

# INDEXED BY: if this could ever be answered only by reading the closed sessions, it fails instead.
OPEN_SESSIONS = "SELECT id FROM session INDEXED BY open_session WHERE is_open = 1 ORDER BY rowid"


class Checked(NamedTuple):
    """What `verify` found out about one session: the length of its chain, or where and why it is broken."""

    session_id: str
    length: int
    broken: BrokenChain | None

    def __repr__(self) -> str:
        return f"session {self.session_id[:8]}: {self.broken or f'{self.length} entries, one chain'}"


class SQLiteLog(LogStorage):
    """The Log Storage API over one SQLite file. One writer at a time; Conflict tells the second one."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._depth = 0
        self._written: set[str] = set()  # sessions with an entry in the transaction that is not yet committed
        self._has_failed = False
        self._database = sqlite3.connect(self.path, isolation_level=None)
        with _reading("the file is no log"):
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        with self._appending():
            execute = self._database.execute
            query = "SELECT length, last_hash, is_open FROM session WHERE id = ?"
            length, last_hash, is_open = execute(query, (entry.sessionId,)).fetchone() or (0, None, 1)
            if entry.sequenceNumber <= length and self._is_stored(entry):
                return entry.sequenceNumber
            verify_continues(entry, length, last_hash)
            self._written.add(entry.sessionId)
            execute("INSERT INTO entry VALUES (?, ?, ?)", (entry.sessionId, length + 1, entry.canonical_bytes))
            execute(
                "INSERT INTO session VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "length = excluded.length, last_hash = excluded.last_hash, is_open = excluded.is_open",
                (
                    entry.sessionId,
                    length + 1,
                    entry.compute_hash(),
                    int((is_open or is_reopening(entry)) and not closes),
                ),
            )
        return entry.sequenceNumber

    def _is_stored(self, entry: LogEntry) -> bool:
        query = "SELECT body FROM entry WHERE session = ? AND number = ?"
        row = self._database.execute(query, (entry.sessionId, entry.sequenceNumber)).fetchone()
        return row is not None and row[0] == entry.canonical_bytes

    @contextmanager
    def group(self) -> Iterator[None]:
        with self._transaction():
            yield

    @contextmanager
    def _appending(self) -> Iterator[None]:
        """One append: a transaction of its own, or part of the group's.

        It compares before it writes, so a Conflict inside a group leaves nothing behind. If the store itself fails,
        half an append may be there: then the whole group must fail, whoever caught the error. A full disk makes
        SQLite end the transaction by itself, so anything written afterwards would be durable alone: nothing is.
        """
        if not self._depth:
            with self._transaction():
                yield
            return
        if self._has_failed:
            raise StorageFailed("an append inside the group failed")
        try:
            yield
        except sqlite3.Error as error:
            self._has_failed = True
            raise StorageFailed(f"the store failed: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. The outermost one ends on the disk; one inside another can fail alone."""
        execute, name = self._database.execute, f"inner_{self._depth}"
        try:
            execute(f"SAVEPOINT {name}" if self._depth else "BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            if self._has_failed and not self._depth:
                raise StorageFailed("an append inside the group failed")
            execute(f"RELEASE {name}" if self._depth else "COMMIT")
        except BaseException as error:
            self._has_failed = self._has_failed and self._depth > 0
            if _is_in_transaction(self._database):  # a full disk, or a crash inside, has ended it already
                execute(f"ROLLBACK TO {name}" if self._depth else "ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StorageFailed(f"the store failed: {error}") from error
            raise
        finally:
            if not self._depth:
                self._written.clear()

    def verify_durable(self, session_id: str) -> None:
        if session_id in self._written:
            raise Misuse(NOT_DURABLE.format(session_id))

    def getLogEntry(self, session_id: str, number: int) -> LogEntry:
        query = "SELECT body FROM entry WHERE session = ? AND number = ?"
        with _reading():
            row = self._database.execute(query, (session_id, number)).fetchone()
        if row is None:
            raise Misuse(f"session {session_id} has no entry {number}; it has {self.getLogLength(session_id)}")
        return _read_body(row[0], session_id, number)

    def getLogLength(self, session_id: str) -> int:
        with _reading():
            row = self._database.execute("SELECT length FROM session WHERE id = ?", (session_id,)).fetchone()
        return int(row[0]) if row else 0

    def getLog(self, session_id: str) -> list[LogEntry]:
        with _reading():
            query = "SELECT number, body FROM entry WHERE session = ? ORDER BY number"
            rows = self._database.execute(query, (session_id,)).fetchall()
            query = "SELECT length, last_hash FROM session WHERE id = ?"
            length, last_hash = self._database.execute(query, (session_id,)).fetchone() or (0, None)
        entries = [_read_body(body, session_id, number) for number, body in rows]
        verify_chain(entries, session_id)
        if len(entries) != length:
            raise BrokenChain(f"the last entries of session {session_id} are gone", expected=length, found=len(entries))
        if entries and entries[-1].compute_hash() != last_hash:
            raise BrokenChain(f"entry {length} of session {session_id}, the last, was changed")
        return entries

    def getSessions(self) -> list[str]:
        with _reading():
            return [row[0] for row in self._database.execute("SELECT id FROM session ORDER BY rowid")]

    def getOpenSessions(self) -> list[str]:
        with _reading():
            return [row[0] for row in self._database.execute(OPEN_SESSIONS)]

    def verify(self) -> Iterator[Checked]:
        """Read the whole file, one session at a time; as long as `getSessions`, and it goes on after a broken one.

        Raises BrokenChain at the end for entries that belong to no session.
        """
        for session_id in self.getSessions():
            try:
                yield Checked(session_id, len(self.getLog(session_id)), None)
            except BrokenChain as broken:
                yield Checked(session_id, self.getLogLength(session_id), broken)
        query = "SELECT session, number FROM entry WHERE session NOT IN (SELECT id FROM session) LIMIT 1"
        stray = self._database.execute(query).fetchone()
        if stray is not None:
            raise BrokenChain(f"entry {stray[1]} of session {stray[0]} is there, and the session is not")

    def read_pragma(self, name: str) -> object:
        """How this connection is set up, as SQLite itself reports it."""
        return self._database.execute(f"PRAGMA {name}").fetchone()[0]

    def close(self) -> None:
        """What a crash does to the connection too: anything not committed is gone."""
        self._database.close()


@contextmanager
def _reading(where: str = "the file is damaged") -> Iterator[None]:
    """What SQLite finds wrong with the file itself is a broken log; a store that does not answer is not."""
    try:
        yield
    except sqlite3.Error as error:
        if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
            raise StorageFailed(f"the store failed: {error}") from error
        raise BrokenChain(f"{where}: {error}") from error


def _is_in_transaction(database: sqlite3.Connection) -> bool:
    try:
        return database.in_transaction
    except sqlite3.ProgrammingError:  # closed
        return False


def _read_body(body: bytes, session_id: str, number: int) -> LogEntry:
    try:
        return LogEntry.from_bytes(body)
    except ValueError as error:
        raise BrokenChain(f"entry {number} of session {session_id} cannot be read: {error}") from error


# ------------------------------------------------------------------ a log as lines


@dataclass
class Lines:
    """A file of lines as it was read: the entries of each session, and what was torn off at its end."""

    sessions: dict[str, list[LogEntry]] = field(default_factory=dict)
    torn: str | None = None

    @property
    def length(self) -> int:
        return sum(map(len, self.sessions.values()))

    def __repr__(self) -> str:
        words = f"{self.length} entries of {len(self.sessions)} sessions"
        return f"{words}; dropped {self.torn}" if self.torn else words


def export_lines(log: LogStorage, path: Path) -> int:
    """Write every session, one canonical entry a line; durable when it returns. Returns the number of lines."""
    entries = (entry for session_id in log.getSessions() for entry in log.getLog(session_id))
    return write_lines(entries, path)


def write_lines(entries: Iterable[LogEntry], path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for count, entry in enumerate(entries, 1):  # noqa: B007
            file.write(entry.canonical_bytes + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return count


def read_lines(path: Path) -> Lines:
    """Read and verify a file of lines.

    The last line is torn if it has no end, or has one and cannot be read: it is dropped and reported, for
    an append returns only after the whole line is durable. An entry that is there twice counts once.
    BrokenChain names any other line that cannot be read, and any entry that does not follow.
    """
    *lines, rest = path.read_bytes().split(b"\n")
    found = Lines(torn=f"line {len(lines) + 1}: {len(rest)} bytes without an end" if rest else None)
    for place, line in enumerate(lines, 1):
        try:
            entry = _read_line(line)
        except Refused as error:
            if place == len(lines) and not rest:
                found.torn = f"line {place}: {error.reason}"
                break
            raise BrokenChain(f"line {place} cannot be read: {error.reason}") from error
        entries = found.sessions.setdefault(entry.sessionId, [])
        stored = entries[entry.sequenceNumber - 1 : entry.sequenceNumber]
        if not stored or stored[0].canonical_bytes != entry.canonical_bytes:
            entries.append(entry)
    for session_id, entries in found.sessions.items():
        verify_chain(entries, session_id)
    return found


def import_lines(log: LogStorage, path: Path, *, closes: Callable[[LogEntry], bool] = is_end) -> Lines:
    """Bring a log up to a file of lines, as updateLog does, in one group: all sessions or none."""
    found = read_lines(path)
    with log.group():
        for session_id, entries in found.sessions.items():
            log.updateLog(session_id, entries, closes=closes)
    return found


def _read_line(line: bytes) -> LogEntry:
    entry = validate_entry(parse(line))
    if entry.canonical_bytes != line:
        raise Refused("not the canonical form of a log entry")
    return entry
