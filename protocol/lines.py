"""A log as a file of lines (`*.jsonl`): one canonical entry a line, to be carried elsewhere and read again.

SQLite and PostgreSQL tell a torn write by themselves; in a file of lines the same rule is ours: a last line
that is not whole is dropped and reported, for a line that was cut was never answered as durable. Any other
line that cannot be read is refused with its number.

A file of lines is a copy. Nobody appends to it, and it has no lease: entries of every epoch are read alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from protocol.errors import Refused
from protocol.log import BrokenChain, LogEntry, LogStorage, is_end, validate_entry, verify_chain
from protocol.objects import parse


@dataclass
class Lines:
    """A file of lines as it was read: the entries of each session, and what was torn off at its end."""

    sessions: dict[str, list[LogEntry]] = field(default_factory=dict)
    torn: str | None = None
    torn_line: int = 0  # its number, counted from 1

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
    found = Lines()
    if rest:
        found.torn, found.torn_line = f"line {len(lines) + 1}: {len(rest)} bytes without an end", len(lines) + 1
    for place, line in enumerate(lines, 1):
        try:
            entry = _read_line(line)
        except Refused as error:
            if place == len(lines) and not rest:
                found.torn, found.torn_line = f"line {place}: {error.reason}", place
                break
            raise BrokenChain(f"line {place} cannot be read: {error.reason}", line=place) from error
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
