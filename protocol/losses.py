"""What a crash may take from a disk besides the process, done to the real file while nobody has it open.

    lose_log        the file is gone
    lose_tail       the last entries were not durable after all
    put_log_back    an old copy takes its place: what was written since is gone

The real store opens the file afterwards and finds nothing wrong with it: what is there is a log, only not the
latest one. That is why a gateway asks its ledger and its peer before it believes its log.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from protocol.log import LogEntry, is_end
from protocol.messages.satp import NO_ID


def lose_log(path: Path) -> None:
    """The file is gone, with what belongs to it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def copy_log(path: Path) -> bytes:
    """What a backup of the file would hold now."""
    database = sqlite3.connect(path)
    copy = database.serialize()
    database.close()
    return copy


def put_log_back(path: Path, copy: bytes) -> None:
    """An old copy takes the place of the file: what was written since is gone, and what was rewritten is back."""
    lose_log(path)
    path.write_bytes(copy)


def is_closed(entry: LogEntry) -> bool:
    """Whether a log that ends with this entry has its session closed."""
    return entry.sessionId == NO_ID or is_end(entry)


def lose_tail(path: Path, count: int) -> int:
    """The last `count` entries of a log are gone, whatever session they belong to; returns how many there were."""
    if not path.exists():
        return 0  # all of it is lost already
    database = sqlite3.connect(path)
    with database:
        lost = database.execute("SELECT rowid, session FROM entry ORDER BY rowid DESC LIMIT ?", (count,)).fetchall()
        database.executemany("DELETE FROM entry WHERE rowid = ?", [(rowid,) for rowid, _ in lost])
        for session_id in {session_id for _, session_id in lost}:
            query = "SELECT body FROM entry WHERE session = ? ORDER BY number DESC LIMIT 1"
            row = database.execute(query, (session_id,)).fetchone()
            if row is None:
                database.execute("DELETE FROM session WHERE id = ?", (session_id,))
                continue
            last = LogEntry.from_bytes(row[0])
            state = (last.sequenceNumber, last.compute_hash(), int(not is_closed(last)), session_id)
            database.execute("UPDATE session SET length = ?, last_hash = ?, is_open = ? WHERE id = ?", state)
    database.close()
    return len(lost)
