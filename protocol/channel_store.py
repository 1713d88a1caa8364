"""What one side of a channel keeps: commands, shared objects with their versions, disputes, a few notes.

`write` takes everything that one decision changes and makes it durable together or not at all: the
answer to a command and the object that the command changed are one transaction (LIP-1 asks for neither;
without it a crash between the two leaves an answer that is a lie). A write that returned is durable.

    MemoryStore     dictionaries; also the definition of what a store must do
    SQLiteStore     one file, write-ahead log, synchronous=FULL: survives a power cut, not only a crash

Finished objects leave the open set and stay readable. `remove_closed` takes them away, with the commands
that made them; what remains of an object for ever is the digest of its reference id, so that the id
cannot be used again. Open objects and unanswered commands are found without looking at the others.

A store knows no rule of the channel: what it is told to keep, it keeps.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from protocol.errors import Misuse
from protocol.objects import History, Json, Version, canonical, digest

State = Literal["pending", "success", "failure"]


class Record(NamedTuple):
    """A command, known by author and cid, and what became of it.

    The last fields are its author's: whether the change is tried again on a newer version, whether its failure still
    has to be looked into, whether a rebuilding peer was shown it, and why it is no longer sent.
    """

    author: str
    cid: str
    digest: str
    request: str
    state: State
    response: str | None = None
    reference_id: str | None = None
    reads: str | None = None
    retry: bool = False
    is_unexplained: bool = False
    was_shown: bool = False
    reason: str | None = None

    def __repr__(self) -> str:
        return f"{self.cid[:8]} by {self.author}: {self.state}{f' ({self.reason})' if self.reason else ''}"


class SharedObject(NamedTuple):
    """A payment as it stands. `closed_at` is the time when it ended, in seconds; None while it is open."""

    reference_id: str
    head: str
    payment: Json
    closed_at: float | None = None


class Written(NamedTuple):
    """A new version, and the object as it stands with it."""

    version: Version
    object: SharedObject


class Dispute(NamedTuple):
    """Two signed statements that cannot both hold, about one object (or one command, where there is no object)."""

    subject: str
    reason: str
    first: str
    second: str

    def __repr__(self) -> str:
        return f"dispute about {self.subject[-8:]}: {self.reason}"


class Note(NamedTuple):
    """Something that one side has to remember about the channel itself."""

    name: str
    value: Json


Change = Record | Written | Dispute | Note


class ChannelStore(Protocol):
    """What the channel asks of any store."""

    def write(self, changes: Sequence[Change]) -> None: ...
    def find_record(self, author: str, cid: str) -> Record | None: ...
    def find_object(self, reference_id: str) -> SharedObject | None: ...
    def has_version(self, reference_id: str, name: str) -> bool: ...
    def read_history(self, reference_id: str) -> History: ...
    def list_pending(self) -> list[Record]: ...
    def list_unexplained(self) -> list[Record]: ...
    def list_open(self) -> dict[str, str]: ...
    def list_closed(self) -> dict[str, str]: ...
    def is_spent(self, reference_id: str) -> bool: ...
    def find_disputes(self, subject: str) -> list[Dispute]: ...
    def list_disputes(self) -> list[Dispute]: ...
    def find_note(self, name: str) -> Json | None: ...
    def remove_closed(self, before: float) -> int: ...


class MemoryStore:
    """Dictionaries. It survives a crash only because the world keeps it when it throws the party away."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Record] = {}
        self._objects: dict[str, SharedObject] = {}
        self._histories: dict[str, History] = {}
        self._commands_of: dict[str, list[tuple[str, str]]] = {}
        self._pending: dict[tuple[str, str], None] = {}
        self._unexplained: dict[tuple[str, str], None] = {}
        self._open: dict[str, None] = {}
        self._closed: dict[str, float] = {}
        self._spent: set[str] = set()
        self._disputes: dict[str, list[Dispute]] = {}
        self._notes: dict[str, Json] = {}

    def write(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, Written):  # first, because only a version that does not fit can fail
                self._write_version(*change)
        for change in changes:
            match change:
                case Record():
                    self._write_record(change)
                case Dispute():
                    self._disputes.setdefault(change.subject, []).append(change)
                case Note():
                    self._notes[change.name] = change.value

    def _write_record(self, record: Record) -> None:
        key = record.author, record.cid
        if record.reference_id is not None and key not in self._records:
            self._commands_of.setdefault(record.reference_id, []).append(key)
        self._records[key] = record
        for members, is_member in (
            (self._pending, record.state == "pending"),
            (self._unexplained, record.is_unexplained),
        ):
            if is_member:
                members[key] = None
            else:
                members.pop(key, None)

    def _write_version(self, version: Version, shared: SharedObject) -> None:
        name = shared.reference_id
        self._histories.setdefault(name, History()).append(version)
        self._objects[name] = shared
        if shared.closed_at is None:
            self._open[name] = None
        else:
            self._open.pop(name, None)
            self._closed[name] = shared.closed_at

    def find_record(self, author: str, cid: str) -> Record | None:
        return self._records.get((author, cid))

    def find_object(self, reference_id: str) -> SharedObject | None:
        return self._objects.get(reference_id)

    def has_version(self, reference_id: str, name: str) -> bool:
        return name in self._histories.get(reference_id, ())

    def read_history(self, reference_id: str) -> History:
        return History(self._histories.get(reference_id, ()))

    def list_pending(self) -> list[Record]:
        return [self._records[key] for key in self._pending]

    def list_unexplained(self) -> list[Record]:
        return [self._records[key] for key in self._unexplained]

    def list_open(self) -> dict[str, str]:
        return {name: self._objects[name].head for name in self._open}

    def list_closed(self) -> dict[str, str]:
        return {name: self._objects[name].head for name in self._closed}

    def is_spent(self, reference_id: str) -> bool:
        return digest(reference_id.encode()) in self._spent

    def find_disputes(self, subject: str) -> list[Dispute]:
        return self._disputes.get(subject, [])

    def list_disputes(self) -> list[Dispute]:
        return [dispute for disputes in self._disputes.values() for dispute in disputes]

    def find_note(self, name: str) -> Json | None:
        return self._notes.get(name)

    def remove_closed(self, before: float) -> int:
        names = [name for name, closed_at in self._closed.items() if closed_at < before]
        for name in names:
            for key in self._commands_of.pop(name, []):
                del self._records[key]
            del self._objects[name], self._histories[name], self._closed[name]
            self._spent.add(digest(name.encode()))
        return len(names)


_SCHEMA = """
CREATE TABLE IF NOT EXISTS command (
    author TEXT NOT NULL, cid TEXT NOT NULL, digest TEXT NOT NULL, request TEXT NOT NULL, state TEXT NOT NULL,
    response TEXT, reference_id TEXT, reads TEXT, retry INTEGER NOT NULL, is_unexplained INTEGER NOT NULL,
    was_shown INTEGER NOT NULL, reason TEXT,
    PRIMARY KEY (author, cid)
) STRICT;
CREATE INDEX IF NOT EXISTS pending_command ON command (author, cid) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS unexplained_command ON command (author, cid) WHERE is_unexplained = 1;
CREATE INDEX IF NOT EXISTS command_of ON command (reference_id);
CREATE TABLE IF NOT EXISTS version (
    reference_id TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, reads TEXT, author TEXT NOT NULL,
    signed TEXT NOT NULL, answer TEXT,
    PRIMARY KEY (reference_id, number),
    UNIQUE (reference_id, name)
) STRICT;
CREATE TABLE IF NOT EXISTS object (
    reference_id TEXT PRIMARY KEY, head TEXT NOT NULL, payment BLOB NOT NULL, closed_at REAL
) STRICT;
CREATE INDEX IF NOT EXISTS open_object ON object (reference_id, head) WHERE closed_at IS NULL;
CREATE INDEX IF NOT EXISTS closed_object ON object (closed_at) WHERE closed_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS dispute (subject TEXT, reason TEXT, first TEXT, second TEXT) STRICT;
CREATE INDEX IF NOT EXISTS dispute_of ON dispute (subject);
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS spent (digest TEXT PRIMARY KEY) STRICT;
"""


class SQLiteStore:
    """The same in one SQLite file."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def write(self, changes: Sequence[Change]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                self._write_one(change)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _write_one(self, change: Change) -> None:
        match change:
            case Record():
                self._insert("command", change)
            case Written(version, shared):
                self._write_version(version, shared)
            case Dispute():
                self._insert("dispute", change)
            case Note():
                self._insert("note", (change.name, canonical(change.value)))

    def _insert(self, table: str, values: tuple[object, ...]) -> None:
        places = ", ".join("?" * len(values))
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", values)

    def _write_version(self, version: Version, shared: SharedObject) -> None:
        old = self.find_object(shared.reference_id)
        if version.reads != (old.head if old else None):
            raise Misuse("a version is written after the one it reads")
        row = (shared.reference_id, version.name, version.reads, version.author, version.signed, version.answer)
        self._db.execute(
            "INSERT INTO version SELECT ?1, (SELECT count(*) FROM version WHERE reference_id = ?1), ?2, ?3, ?4, ?5, ?6",
            row,
        )
        self._insert("object", (shared.reference_id, shared.head, canonical(shared.payment), shared.closed_at))

    def find_record(self, author: str, cid: str) -> Record | None:
        return next(self._records("author = ? AND cid = ?", author, cid), None)

    def _records(self, condition: str, *values: str) -> Iterator[Record]:
        for row in self._db.execute(f"SELECT * FROM command WHERE {condition}", values):
            yield Record._make((*row[:8], *map(bool, row[8:11]), row[11]))

    def find_object(self, reference_id: str) -> SharedObject | None:
        query = "SELECT head, payment, closed_at FROM object WHERE reference_id = ?"
        row = self._db.execute(query, (reference_id,)).fetchone()
        return SharedObject(reference_id, row[0], json.loads(row[1]), row[2]) if row else None

    def has_version(self, reference_id: str, name: str) -> bool:
        query = "SELECT 1 FROM version WHERE reference_id = ? AND name = ?"
        return self._db.execute(query, (reference_id, name)).fetchone() is not None

    def read_history(self, reference_id: str) -> History:
        query = "SELECT name, reads, author, signed, answer FROM version WHERE reference_id = ? ORDER BY number"
        return History(Version(*row) for row in self._db.execute(query, (reference_id,)))

    def list_pending(self) -> list[Record]:
        return list(self._records("state = 'pending' ORDER BY rowid"))

    def list_unexplained(self) -> list[Record]:
        return list(self._records("is_unexplained = 1 ORDER BY rowid"))

    def list_open(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT reference_id, head FROM object WHERE closed_at IS NULL"))

    def list_closed(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT reference_id, head FROM object WHERE closed_at IS NOT NULL"))

    def is_spent(self, reference_id: str) -> bool:
        found = self._db.execute("SELECT 1 FROM spent WHERE digest = ?", (digest(reference_id.encode()),))
        return found.fetchone() is not None

    def find_disputes(self, subject: str) -> list[Dispute]:
        return [Dispute(*row) for row in self._db.execute("SELECT * FROM dispute WHERE subject = ?", (subject,))]

    def list_disputes(self) -> list[Dispute]:
        return [Dispute(*row) for row in self._db.execute("SELECT * FROM dispute")]

    def find_note(self, name: str) -> Json | None:
        row = self._db.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return dict(json.loads(row[0])) if row else None

    def remove_closed(self, before: float) -> int:
        query = "SELECT reference_id FROM object WHERE closed_at < ?"  # uses the index of closed objects
        names = [row[0] for row in self._db.execute(query, (before,)).fetchall()]
        self._db.execute("BEGIN IMMEDIATE")
        for name in names:
            for table in ("command", "version", "object"):
                self._db.execute(f"DELETE FROM {table} WHERE reference_id = ?", (name,))
            self._insert("spent", (digest(name.encode()),))
        self._db.execute("COMMIT")
        return len(names)
