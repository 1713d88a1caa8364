"""Durable stores behind the Log Storage API: what a database has to do, and SQLite.

`SQLiteLog(path)` is private, one file per gateway: write-ahead log with `synchronous=FULL`, so that an append
which returned survives a power cut and not only a crash of the process. Comparison, entry and the mark that a
session is closed are one transaction; a group of appends is one transaction too.

A torn tail: SQLite gives every frame of its write-ahead log a checksum that covers all frames before it,
and reads only up to the last whole commit. So a store whose last write was cut anywhere opens with all
entries or with all but the last transaction, never with half of one. What it cannot tell is damage
further up in that file: everything after it is dropped without a word, and the log is shorter and
whole. That is seen by whoever keeps the hash of the last entry elsewhere: the peer, or a notary.

A shared log is written by one of several processes at a time (`lease.py`). `SQLiteLog(path, shared=True)` is for
two on one machine, without write-ahead log: where two processes write and checkpoint one, SQLite from 3.7.0 to
3.51.2 can damage it (sqlite.org/wal.html, "the WAL-reset bug"). Several machines need `postgres.py`. Every
append, and every change of the lease, is a transaction that begins by waiting until no other one writes; so the
epoch that it compares cannot change before it ends, and a claim either waits for an append or fences it.

A process that is stopped inside such a transaction holds up the others, and SQLite has nobody who could end it:
while it lives, a takeover fails with StorageFailed; when it has been killed, the takeover goes through.

A log without a lease takes entries with and without an epoch: a copy of a shared log can be read anywhere.
A store knows entries and chains; what an entry means it never asks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from protocol.errors import Fault, Misuse, NotYet
from protocol.lease import Fenced, Lease, SharedLogStorage
from protocol.log import (
    NOT_DURABLE,
    BrokenChain,
    LogEntry,
    StorageFailed,
    is_reopening,
    verify_chain,
    verify_continues,
)

Now = Callable[[], datetime]
WAIT_S = 5.0

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
_LEASE_SCHEMA = """
CREATE TABLE IF NOT EXISTS lease (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    holder TEXT NOT NULL,
    epoch  INTEGER NOT NULL,
    until  TEXT NOT NULL
) STRICT;
"""

# INDEXED BY: if this could ever be answered only by reading the closed sessions, it fails instead.
OPEN_SESSIONS = "SELECT id FROM session INDEXED BY open_session WHERE is_open = 1 ORDER BY rowid"

# One statement, so that an append by another process cannot come between the entries and what the session says of them.
_WHOLE_LOG = """
SELECT session.length, session.last_hash, entry.number, entry.body
FROM (SELECT CAST(? AS TEXT) AS id) AS asked
LEFT JOIN session ON session.id = asked.id LEFT JOIN entry ON entry.session = asked.id ORDER BY entry.number
"""


class Checked(NamedTuple):
    """What `verify` found out about one session: the length of its chain, or where and why it is broken."""

    session_id: str
    length: int
    broken: BrokenChain | None

    def __repr__(self) -> str:
        return f"session {self.session_id[:8]}: {self.broken or f'{self.length} entries, one chain'}"


class DatabaseLog(SharedLogStorage):
    """What both databases do alike. A subclass says how its database begins, answers and fails."""

    _errors: type[Exception]
    _sessions: str
    _open_sessions: str

    def __init__(self, *, is_shared: bool, now: Now | None, fencing: bool) -> None:
        self.epoch = 0
        self._is_shared, self._clock, self._fencing = is_shared, now, fencing
        self._lease: Lease | None = None  # as it is while our transaction lasts
        self._depth = 0
        self._written: set[str] = set()  # sessions with an entry in the transaction that is not yet committed
        self._has_failed = False

    def _execute(self, statement: str, *values: object) -> Any:
        """A statement with `?` for its values. Returns what a cursor is in the database's driver."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Begin a transaction and wait until no other one writes to this log; at most some seconds."""
        raise NotImplementedError

    def _commit(self) -> None:
        raise NotImplementedError

    def _is_in_transaction(self) -> bool:
        raise NotImplementedError

    def _is_damage(self, error: Exception) -> bool:
        """Whether the database found its own content damaged, and not only itself unable to answer."""
        raise NotImplementedError

    def close(self) -> None:
        """What a crash does to the connection too: anything not committed is gone."""
        raise NotImplementedError

    def drop(self) -> None:
        """Close and delete the whole log. For tests and experiments."""
        raise NotImplementedError

    # -------------------------------------------------------------- appending

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        with self._appending():
            # Before anything else: what is appended under another epoch is never answered as accepted.
            if self._fencing and self._lease is not None and entry.epoch != self._lease.epoch:
                raise Fenced(entry.epoch, self._lease)
            query = "SELECT length, last_hash, is_open FROM session WHERE id = ?"
            length, last_hash, is_open = self._execute(query, entry.sessionId).fetchone() or (0, None, 1)
            if entry.sequenceNumber <= length and self._is_stored(entry):
                return entry.sequenceNumber
            verify_continues(entry, length, last_hash)
            self._written.add(entry.sessionId)
            self._execute("INSERT INTO entry VALUES (?, ?, ?)", entry.sessionId, length + 1, entry.canonical_bytes)
            stays_open = int((is_open or is_reopening(entry)) and not closes)
            if length:
                statement = "UPDATE session SET length = ?, last_hash = ?, is_open = ? WHERE id = ?"
            else:
                statement = "INSERT INTO session (length, last_hash, is_open, id) VALUES (?, ?, ?, ?)"
            self._execute(statement, length + 1, entry.compute_hash(), stays_open, entry.sessionId)
        return entry.sequenceNumber

    def _is_stored(self, entry: LogEntry) -> bool:
        query = "SELECT body FROM entry WHERE session = ? AND number = ?"
        row = self._execute(query, entry.sessionId, entry.sequenceNumber).fetchone()
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
        except self._errors as error:
            self._has_failed = True
            raise StorageFailed(f"the store failed: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. The outermost one ends on the disk; one inside another can fail alone."""
        name = f"inner_{self._depth}"
        try:
            if self._depth:
                self._execute(f"SAVEPOINT {name}")
            else:
                self._begin()
                self._lease = self._find_lease() if self._is_shared else None
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            if self._has_failed and not self._depth:
                raise StorageFailed("an append inside the group failed")
            if self._depth:
                self._execute(f"RELEASE {name}")
            else:
                self._commit()
        except BaseException as error:
            self._take_back(name)
            if isinstance(error, self._errors):
                raise StorageFailed(f"the store failed: {error}") from error
            raise
        finally:
            if not self._depth:
                self._written.clear()
                self._lease = None

    def _take_back(self, name: str) -> None:
        self._has_failed = self._has_failed and self._depth > 0
        if not self._is_in_transaction():  # a full disk, a lost connection or a crash inside has ended it already
            return
        try:
            self._execute(f"ROLLBACK TO {name}" if self._depth else "ROLLBACK")
        except self._errors:
            self._has_failed = self._depth > 0  # what is around it must not become durable without it being undone

    def verify_durable(self, session_id: str) -> None:
        if session_id in self._written:
            raise Misuse(NOT_DURABLE.format(session_id))

    # -------------------------------------------------------------- reading

    def getLogEntry(self, session_id: str, number: int) -> LogEntry:
        query = "SELECT body FROM entry WHERE session = ? AND number = ?"
        with self._reading():
            row = self._execute(query, session_id, number).fetchone()
        if row is None:
            raise Misuse(f"session {session_id} has no entry {number}; it has {self.getLogLength(session_id)}")
        return _read_body(row[0], session_id, number)

    def getLogLength(self, session_id: str) -> int:
        with self._reading():
            row = self._execute("SELECT length FROM session WHERE id = ?", session_id).fetchone()
        return int(row[0]) if row else 0

    def getLog(self, session_id: str) -> list[LogEntry]:
        with self._reading():
            rows = self._execute(_WHOLE_LOG, session_id).fetchall()
        length, last_hash = rows[0][0] or 0, rows[0][1]
        entries = [_read_body(body, session_id, number) for _, _, number, body in rows if number is not None]
        verify_chain(entries, session_id)
        if len(entries) != length:
            raise BrokenChain(f"the last entries of session {session_id} are gone", expected=length, found=len(entries))
        if entries and entries[-1].compute_hash() != last_hash:
            raise BrokenChain(f"entry {length} of session {session_id}, the last, was changed")
        return entries

    def getSessions(self) -> list[str]:
        with self._reading():
            return [row[0] for row in self._execute(self._sessions).fetchall()]

    def getOpenSessions(self) -> list[str]:
        with self._reading():
            return [row[0] for row in self._execute(self._open_sessions).fetchall()]

    def verify(self) -> Iterator[Checked]:
        """Read the whole store, one session at a time; as long as `getSessions`, and it goes on after a broken one.

        Raises BrokenChain at the end for entries that belong to no session.
        """
        for session_id in self.getSessions():
            try:
                yield Checked(session_id, len(self.getLog(session_id)), None)
            except BrokenChain as broken:
                yield Checked(session_id, self.getLogLength(session_id), broken)
        query = "SELECT session, number FROM entry WHERE session NOT IN (SELECT id FROM session) LIMIT 1"
        with self._reading():
            stray = self._execute(query).fetchone()
        if stray is not None:
            raise BrokenChain(f"entry {stray[1]} of session {stray[0]} is there, and the session is not")

    @contextmanager
    def _reading(self, where: str = "the file is damaged") -> Iterator[None]:
        """What a database finds wrong with its content is a broken log; a store that does not answer is not."""
        try:
            yield
        except self._errors as error:
            if self._is_damage(error):
                raise BrokenChain(f"{where}: {error}") from error
            raise StorageFailed(f"the store failed: {error}") from error

    # -------------------------------------------------------------- lease and epoch

    def read_clock(self) -> datetime:
        if self._clock is None:
            raise Misuse("the lease needs a clock, and this store was opened without one")
        return self._clock()

    def read_lease(self) -> Lease | None:
        if not self._is_shared:
            return None
        with self._reading():
            return self._find_lease()

    def _find_lease(self) -> Lease | None:
        row = self._execute("SELECT holder, epoch, until FROM lease").fetchone()
        return Lease(row[0], row[1], datetime.fromisoformat(row[2])) if row else None

    def claim(self, holder: str, lease_s: float) -> Lease:
        with self._changing_lease():
            before, now = self._lease, self.read_clock()
            if before is not None and before.holder != holder and not before.is_over(now):
                raise NotYet(f"the lease of {before} runs; it is {now:%Y-%m-%dT%H:%M:%SZ}")
            lease = Lease(holder, before.epoch + 1 if before else 1, now + timedelta(seconds=lease_s))
            self._write_lease(lease)
        self.epoch = lease.epoch
        return lease

    def renew(self, lease_s: float) -> Lease:
        with self._changing_lease():
            lease = Lease(self._own_lease().holder, self.epoch, self.read_clock() + timedelta(seconds=lease_s))
            self._write_lease(lease)
        return lease

    def release(self) -> None:
        with self._changing_lease():
            self._write_lease(Lease(self._own_lease().holder, self.epoch, self.read_clock()))

    def raise_epoch(self, at_least: int) -> None:
        if not 0 <= at_least < 2**53:
            raise Misuse(f"{at_least} is no epoch")
        with self._changing_lease():
            before = self._own_lease()
            lease = Lease(before.holder, max(before.epoch, at_least), before.until)
            self._write_lease(lease)
        self.epoch = lease.epoch

    @contextmanager
    def _changing_lease(self) -> Iterator[None]:
        if not self._is_shared:
            raise Misuse("this log is private: it has no lease")
        if self._depth:
            raise Misuse("a group is of appends; leave it before the lease is changed")
        with self._transaction():
            yield

    def _own_lease(self) -> Lease:
        if not self.epoch:
            raise Misuse("claim the lease first")
        if self._lease is None:
            raise Fault("the lease is gone: this is not the store in which it was claimed")
        if self._lease.epoch != self.epoch:
            raise Fenced(self.epoch, self._lease)
        return self._lease

    def _write_lease(self, lease: Lease) -> None:
        until = lease.until.astimezone(UTC).isoformat()
        self._execute("DELETE FROM lease")
        self._execute("INSERT INTO lease VALUES (1, ?, ?, ?)", lease.holder, lease.epoch, until)


class SQLiteLog(DatabaseLog):
    """The Log Storage API over one SQLite file. One writer at a time; Conflict or Fenced tells the second one.

    `shared`: the file has a lease and may be open in several processes of one machine; `now` is the clock by which
    they measure it. `fencing=False` leaves out the comparison of the epoch in an append, and nothing else: an
    experiment that shows what the comparison is good for. `wait_s` is how long another process may write.
    """

    _errors = sqlite3.Error
    _sessions = "SELECT id FROM session ORDER BY rowid"
    _open_sessions = OPEN_SESSIONS

    def __init__(
        self,
        path: Path | str,
        *,
        shared: bool = False,
        now: Now | None = None,
        fencing: bool = True,
        wait_s: float = WAIT_S,
    ) -> None:
        super().__init__(is_shared=shared, now=now, fencing=fencing)
        self.path = Path(path)
        self._database = sqlite3.connect(self.path, isolation_level=None, timeout=wait_s)
        try:
            with self._reading("the file is no log"):
                self._set_up()
        except BaseException:
            self._database.close()
            raise

    def _set_up(self) -> None:
        """EXTRA: without it a power cut can bring back a deleted rollback journal, which takes the last commit back."""
        has_lease = self._execute("SELECT 1 FROM sqlite_master WHERE name = 'lease'").fetchone() is not None
        if not self._is_shared:
            if has_lease:
                raise Misuse(f"{self.path} is a shared log: open it with shared=True")
            self._execute("PRAGMA journal_mode = WAL")
            self._execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
            return
        if self.read_pragma("journal_mode = DELETE") not in ("delete", "memory"):
            raise StorageFailed(f"{self.path} is still open as a private log")
        self._execute("PRAGMA synchronous = EXTRA")
        if not has_lease:
            self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {_LEASE_SCHEMA} COMMIT")

    def _execute(self, statement: str, *values: object) -> Any:
        return self._database.execute(statement, values)

    def _begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        self._execute("COMMIT")

    def _is_in_transaction(self) -> bool:
        try:
            return self._database.in_transaction
        except sqlite3.ProgrammingError:  # closed
            return False

    def _is_damage(self, error: Exception) -> bool:
        return not isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError)

    def read_pragma(self, name: str) -> object:
        """How this connection is set up, as SQLite itself reports it."""
        return self._execute(f"PRAGMA {name}").fetchone()[0]

    def close(self) -> None:
        self._database.close()

    def drop(self) -> None:
        self.close()
        for ending in ("", "-journal", "-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)


def _read_body(body: bytes, session_id: str, number: int) -> LogEntry:
    try:
        return LogEntry.from_bytes(body)
    except ValueError as error:
        raise BrokenChain(f"entry {number} of session {session_id} cannot be read: {error}") from error
