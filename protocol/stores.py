"""Durable stores behind the Log Storage API.

SQLite, one file per gateway: write-ahead log with `synchronous=FULL`, so that an append which returned
survives a power cut and not only a crash of the process. Comparison, entry and the mark that a session
is closed are one transaction.

A store knows entries and chains; what an entry means it never asks.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from protocol.errors import Misuse
from protocol.log import BrokenChain, LogEntry, verify_chain, verify_continues
from protocol.objects import canonical

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    id        TEXT PRIMARY KEY,
    length    INTEGER NOT NULL,
    last_hash TEXT NOT NULL,
    is_open   INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS open_session ON session (id) WHERE is_open = 1;
CREATE TABLE IF NOT EXISTS entry (
    session TEXT NOT NULL,
    number  INTEGER NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (session, number)
) STRICT;
"""


class SQLiteLog:
    """The Log Storage API over one SQLite file. One writer at a time; Conflict tells the second one."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._database = sqlite3.connect(self.path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        try:
            query = "SELECT length, last_hash, is_open FROM session WHERE id = ?"
            length, last_hash, is_open = execute(query, (entry.sessionId,)).fetchone() or (0, None, 1)
            verify_continues(entry, length, last_hash)
            execute("INSERT INTO entry VALUES (?, ?, ?)", (entry.sessionId, length + 1, canonical(entry.as_json())))
            execute(
                "INSERT INTO session VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "length = excluded.length, last_hash = excluded.last_hash, is_open = excluded.is_open",
                (entry.sessionId, length + 1, entry.compute_hash(), int(bool(is_open) and not closes)),
            )
        except BaseException:
            execute("ROLLBACK")
            raise
        execute("COMMIT")
        return entry.sequenceNumber

    def getLogEntry(self, session_id: str, number: int) -> LogEntry:
        row = self._database.execute(
            "SELECT body FROM entry WHERE session = ? AND number = ?", (session_id, number)
        ).fetchone()
        if row is None:
            raise Misuse(f"session {session_id} has no entry {number}; it has {self.getLogLength(session_id)}")
        return _read_entry(row[0], session_id, number)

    def getLogLength(self, session_id: str) -> int:
        row = self._database.execute("SELECT length FROM session WHERE id = ?", (session_id,)).fetchone()
        return int(row[0]) if row else 0

    def getLastEntry(self, session_id: str) -> LogEntry | None:
        length = self.getLogLength(session_id)
        return self.getLogEntry(session_id, length) if length else None

    def getLog(self, session_id: str) -> list[LogEntry]:
        rows = self._database.execute("SELECT number, body FROM entry WHERE session = ? ORDER BY number", (session_id,))
        entries = [_read_entry(body, session_id, number) for number, body in rows]
        verify_chain(entries)
        query = "SELECT length, last_hash FROM session WHERE id = ?"
        length, last_hash = self._database.execute(query, (session_id,)).fetchone() or (0, None)
        if len(entries) != length:
            raise BrokenChain(f"the last entries of session {session_id} are gone", expected=length, found=len(entries))
        if entries and entries[-1].compute_hash() != last_hash:
            raise BrokenChain(f"entry {length} of session {session_id}, the last, was changed")
        return entries

    def getOpenSessions(self) -> list[str]:
        return [row[0] for row in self._database.execute("SELECT id FROM session WHERE is_open = 1 ORDER BY rowid")]

    def group(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def read_pragma(self, name: str) -> object:
        """How this connection is set up, as SQLite itself reports it."""
        return self._database.execute(f"PRAGMA {name}").fetchone()[0]

    def close(self) -> None:
        """What a crash does to the connection too: anything not committed is gone."""
        self._database.close()


def _read_entry(body: bytes, session_id: str, number: int) -> LogEntry:
    try:
        return LogEntry.model_validate_json(body)
    except ValueError as error:
        raise BrokenChain(f"entry {number} of session {session_id} cannot be read: {error}") from error
