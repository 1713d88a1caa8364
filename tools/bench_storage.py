"""How fast a log is written, and how long a restart takes among many closed sessions.

    python -m tools.bench_storage                       both tables (the big file takes some minutes and 2 GB)
    python -m tools.bench_storage --only appends
    python -m tools.bench_storage --only restart --entries 10000 100000

Appends: the same chained entries, as big as those of a transfer, into each store. "grouped" appends one
entry each of 8 or 64 sessions and commits them together. Every number is the median of several runs.
PostgreSQL, where a server is installed, is a private one over a Unix socket; beside it stands what it allows:
the same bytes, one INSERT and COMMIT each, nothing compared, in turns with the log.

Restart: 100 open sessions among ever more entries of closed ones; what is measured is what a gateway
does first after a crash: open the file, find the open sessions, read and verify their logs. The big
files are written by bulk inserts, and a sample of their closed sessions is verified before measuring.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from protocol.log import LogEntry, LogStorage, MemoryLog, Operation, compose_entry, compute_genesis
from protocol.objects import Json, digest
from protocol.postgres import PostgresLog
from protocol.stores import SQLiteLog
from tests.postgres import find_programs, run_server

OPEN_SESSIONS = 100
ENTRIES_PER_SESSION = 17  # of one gateway in one transfer
BODY_BYTES = 1500


class Appends(NamedTuple):
    store: str
    per_second: float
    microseconds: float


class Restart(NamedTuple):
    entries: int
    megabytes: float
    find_ms: float
    read_ms: float

    @property
    def total_ms(self) -> float:
        return self.find_ms + self.read_ms


def session_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def make_fields(session: str) -> Json:
    """An entry of about BODY_BYTES, as one that holds a signed message or a receipt."""
    return {
        "version": "1.0",
        "sessionId": session,
        "contextId": session,
        "gatewayId": "GW1",
        "satpPhase": 2,
        "step": "2.2",
        "operation": Operation.INIT,
        "timestamp": "2024-10-03T12:02:00Z",
        "payload": {"author": "GW1", "message": "x" * (BODY_BYTES - 442)},
    }


def make_chain(session: str, length: int, **others: object) -> list[LogEntry]:
    chain: list[LogEntry] = []
    for _ in range(length):
        entry = compose_entry(chain[-1] if chain else None, make_fields(session) | others)
        assert entry.canonical_bytes
        chain.append(entry)
    return chain


# ------------------------------------------------------------------ appends


def measure_appends(sessions: int = 64, length: int = ENTRIES_PER_SESSION, runs: int = 5) -> list[Appends]:
    """Each store gets the same entries; they are made and hashed beforehand, so that the store alone is measured."""
    chains = [make_chain(session_id(number), length) for number in range(sessions)]
    rows = [chain[place] for place in range(length) for chain in chains]
    stores: list[tuple[str, Callable[[Path], LogStorage], int]] = [
        ("memory", lambda path: MemoryLog(), 1),
        ("SQLite, one by one", SQLiteLog, 1),
        ("SQLite, grouped 8", SQLiteLog, 8),
        ("SQLite, grouped 64", SQLiteLog, 64),
    ]
    results = []
    for name, open_store, size in stores:
        seconds = []
        for _ in tqdm(range(runs), desc=name, leave=False, disable=None):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                log = open_store(Path(folder) / "log.sqlite")
                seconds.append(append_all(log, rows, size))
                if isinstance(log, SQLiteLog):
                    log.close()
        median = statistics.median(seconds) / len(rows)
        results.append(Appends(name, 1 / median, median * 1e6))
    return results


def append_all(log: LogStorage, rows: list[LogEntry], size: int) -> float:
    started = time.perf_counter()
    for start in range(0, len(rows), size):
        with log.group() if size > 1 else nullcontext():
            for entry in rows[start : start + size]:
                log.writeLogEntry(entry)
    return time.perf_counter() - started


def measure_postgres(sessions: int = 64, length: int = ENTRIES_PER_SESSION, runs: int = 5) -> list[Appends]:
    """The log, and one bare INSERT for each entry, in turns on one server. Nothing where none is installed."""
    if find_programs() is None:
        return []
    import psycopg

    rows = [entry for number in range(sessions) for entry in make_chain(session_id(number), length, epoch=1)]
    seconds: dict[str, list[float]] = {"PostgreSQL, one by one": [], "PostgreSQL, bare": []}
    with run_server() as server, psycopg.connect(server.conninfo, autocommit=True) as bare:
        for _ in tqdm(range(runs), desc="PostgreSQL", leave=False, disable=None):
            log = PostgresLog(server.conninfo, "bench")
            log.claim("GW1", 3600)  # the first claim: epoch 1
            seconds["PostgreSQL, one by one"].append(append_all(log, rows, 1))
            log.drop()
            bare.execute("CREATE TABLE bare (session text, number bigint, body bytea, PRIMARY KEY (session, number))")
            started = time.perf_counter()
            for entry in rows:
                values = (entry.sessionId, entry.sequenceNumber, entry.canonical_bytes)
                bare.execute("INSERT INTO bare VALUES (%s, %s, %s)", values, binary=True)
            seconds["PostgreSQL, bare"].append(time.perf_counter() - started)
            bare.execute("DROP TABLE bare")
    medians = {name: statistics.median(values) / len(rows) for name, values in seconds.items()}
    return [Appends(name, 1 / median, median * 1e6) for name, median in medians.items()]


# ------------------------------------------------------------------ restart


def build_file(path: Path, entries: int, opened: int = OPEN_SESSIONS, seed: str = "bench") -> list[str]:
    """A log of `entries` entries, `opened` of its sessions open, at random places. Returns the open sessions."""
    SQLiteLog(path).close()
    count = max(entries // ENTRIES_PER_SESSION, opened)
    names = set(random.Random(seed).sample(range(count), opened))
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    with database, tqdm(total=count, unit="session", desc=f"{entries:,} entries", leave=False, disable=None) as bar:
        for number in range(count):
            add_session(database, number, is_open=number in names)
            bar.update()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return [session_id(number) for number in sorted(names)]


def add_session(database: sqlite3.Connection, number: int, *, is_open: bool) -> None:
    session, last_hash = session_id(number), ""
    rows = []
    for place, (body, body_hash) in enumerate(bulk_bodies(session, ENTRIES_PER_SESSION), 1):
        rows.append((session, place, body))
        last_hash = body_hash
    database.executemany("INSERT INTO entry VALUES (?, ?, ?)", rows)
    row = (session, ENTRIES_PER_SESSION, last_hash, int(is_open))
    database.execute("INSERT INTO session VALUES (?, ?, ?, ?)", row)


_MARK = "0" * 64  # stands for the hash in the template
_TEMPLATE = LogEntry(
    **make_fields("SESSION"),
    payloadHash=digest(make_fields("SESSION")["payload"]),
    lastEntryHash=_MARK,
    sequenceNumber=987654321,
).canonical_bytes


def bulk_bodies(session: str, length: int) -> Iterator[tuple[bytes, str]]:
    """Canonical entries of a valid chain and their hashes, made by replacing text: a million in seconds."""
    template = _TEMPLATE.replace(b"SESSION", session.encode())
    before = compute_genesis(session, "GW1")
    for number in range(1, length + 1):
        body = template.replace(_MARK.encode(), before.encode()).replace(b"987654321", str(number).encode())
        before = hashlib.sha256(body).hexdigest()
        yield body, before


def measure_restart(entries: int, folder: Path, runs: int = 7) -> Restart:
    path = folder / f"{entries}.sqlite"
    opened = build_file(path, entries)
    verify_sample(path)
    find, read = [], []
    for _ in range(runs):
        started = time.perf_counter()
        log = SQLiteLog(path)
        found = log.getOpenSessions()
        middle = time.perf_counter()
        logs = [log.getLog(session) for session in found]
        ended = time.perf_counter()
        log.close()
        assert found == opened
        assert all(len(each) == ENTRIES_PER_SESSION for each in logs)
        find.append((middle - started) * 1e3)
        read.append((ended - middle) * 1e3)
    size = path.stat().st_size / 1e6
    path.unlink()
    return Restart(entries, size, statistics.median(find), statistics.median(read))


def verify_sample(path: Path, count: int = 20) -> None:
    """The bulk inserts made real logs: a sample of the closed sessions is read and its chains verified."""
    log = SQLiteLog(path)
    sessions = log.getSessions()
    for session in random.Random("sample").sample(sessions, min(count, len(sessions))):
        assert len(log.getLog(session)) == ENTRIES_PER_SESSION
    log.close()


# ------------------------------------------------------------------ the page


def print_appends(results: list[Appends]) -> None:
    print(f"Appends of {BODY_BYTES / 1000:.1f} kB entries, durable when counted (but memory)\n")
    print(f"{'store':<22} {'per second':>12} {'each':>10} {'ratio':>7}")
    one_by_one = next(row.per_second for row in results if row.store.endswith("one by one"))
    for row in results:
        ratio = row.per_second / one_by_one
        print(f"{row.store:<22} {row.per_second:>12,.0f} {row.microseconds:>7.1f} us {ratio:>6.1f}x")


def print_postgres(results: list[Appends]) -> None:
    if not results:
        print("PostgreSQL             no server program is installed: not measured")
        return
    log, bare = results
    ratio = (
        f"{log.microseconds / bare.microseconds:.1f} times the {bare.microseconds:.1f} us of a bare INSERT and COMMIT"
    )
    print(f"{log.store:<22} {log.per_second:>12,.0f} {log.microseconds:>7.1f} us   {ratio}")


def print_restarts(results: list[Restart]) -> None:
    print(
        f"\nRestart with {OPEN_SESSIONS} open sessions: the file opened, they are found, their logs read and verified\n"
    )
    print(f"{'entries':>10} {'file':>9} {'found':>10} {'read':>10} {'together':>10} {'ratio':>7}")
    for row in results:
        ratio = row.total_ms / results[0].total_ms
        numbers = f"{row.find_ms:>7.2f} ms {row.read_ms:>7.1f} ms {row.total_ms:>7.1f} ms"
        print(f"{row.entries:>10,} {row.megabytes:>6,.0f} MB {numbers} {ratio:>6.2f}x")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_storage", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", choices=["appends", "restart"], help="measure one of the two")
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 1_000_000], help="sizes of the logs")
    parser.add_argument("--runs", type=int, default=5, help="how often each measurement is repeated")
    parser.add_argument("--folder", type=Path, help="where the files are made (default: the temporary directory)")
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}\n")
    if options.only != "restart":
        print_appends(measure_appends(runs=options.runs))
        print_postgres(measure_postgres(runs=options.runs))
    if options.only != "appends":
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
            print_restarts([measure_restart(entries, Path(folder), options.runs) for entries in options.entries])
    return 0


if __name__ == "__main__":
    sys.exit(main())
