"""How long a recovery takes among many open sessions, beside what its signatures, reading and the disk alone allow.

    python -m tools.bench_recovery                            all three tables (some minutes)
    python -m tools.bench_recovery --sessions 1 100 --lost 100 --repeat 2

Restart: the sender of 1, 100 and 10,000 open sessions comes back, a third of them in stage 1, a third with the asset
locked, a third where the recipient is prepared and commit-ready is lost. Measured from `Gateway.restart()` until every
session has said its step X again; both gateways in this process, each on its own SQLite file with synchronous FULL.
Loss: the same with the last two entries of every session gone, or the whole log: until each message was taken back.
TLS: handshakes between the two, full and resumed.

The limit is measured in the same run, in turns with the recovery: the very same entries read and hashed, the same
payloads made canonical and signed, the same messages verified and parsed, the same entries chained and written with
as many flushes. No state, no decision, no question to a ledger.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tqdm import tqdm

from protocol.log import LogEntry
from protocol.losses import lose_log, lose_tail
from protocol.messages.recovery import CrashErrorCode, is_recovery, parse_recovery
from protocol.network import START
from protocol.objects import Json, canonical, digest
from protocol.peers import CertifiedKeys
from protocol.signing import KeyPair, KeyRing, Signed, read_payload
from protocol.stores import SQLiteLog
from protocol.tls import Connection, Endpoint
from tools.bench_transfers import CERTIFICATES, KEYS, OWNER, Pair, make_proposals

STOPS = (3, 5, 8)  # messages said when the sender crashes; the last one is lost: 1.3, 2.2, 3.3
ALL_KEYS = KeyRing((name, key.public) for name, key in KEYS.items())
PARTS = ("reading", "ledger", "composing", "answering", "following up")
HANDSHAKES = 40


@dataclass
class Recovery:
    """One recovery: seconds by part, and what was said."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    messages: list[bytes] = field(default_factory=list)
    exchanges: int = 0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def size(self) -> int:
        return sum(len(message) for message in self.messages)

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """The time inside belongs to this part, except what another clock has taken meanwhile."""
        before, begun = self.total, time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - begun - (self.total - before)

    def watch(self, owner: object, name: str, part: str) -> None:
        """Calls of this method belong to this part."""
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any) -> Any:
            with self.clock(part):
                return inner(*arguments)

        setattr(owner, name, timed)


def make_pair(folder: Path, count: int, stops: tuple[int, ...] = STOPS, batch: int = 600) -> Pair:
    """Two gateways with so many open sessions, evenly spread over the places where they stop."""
    pair = Pair(folder, SQLiteLog)
    with tqdm(total=count, unit="session", desc=f"{count:,} sessions", leave=False, disable=None) as bar:
        for first in range(0, count, batch):
            proposals = make_proposals(min(batch, count - first), first)
            for place, stop in enumerate(stops):
                if chosen := proposals[place :: len(stops)]:
                    pair.run(chosen, stop)
            bar.update(len(proposals))
    return pair


def crash(pair: Pair, loss: CrashErrorCode, count: int) -> None:
    """The sender goes down, and may lose something; a new one is made from what is left."""
    pair.close_store("GW1")
    if loss == "storage":
        lose_log(pair.paths["GW1"])
    if loss == "storage-tail":
        lose_tail(pair.paths["GW1"], 2 * count)
    pair.gateways["GW1"] = pair.make_gateway("GW1")


def recover(pair: Pair, loss: CrashErrorCode) -> Recovery:
    """From the call of `restart` until every session has said its step X."""
    run, gateway = Recovery(), pair.sender
    ledger = pair.origin
    run.watch(gateway._journal, "find_open", "reading")
    for question in ("receipt", "state", "end_of", "actions_of"):
        run.watch(ledger, question, "ledger")
    with run.clock("composing"):
        (offer,) = gateway.restart(loss)
    with run.clock("answering"):
        answer = pair.recipient.receive(offer.data)
    assert answer is not None
    with run.clock("following up"):
        gateway.receive(answer)
        said = [outgoing.data for outgoing in gateway.collect()]
    run.messages = [offer.data, answer, *said]
    for target in itertools.cycle((pair.recipient, gateway)):
        said = [data for data in said if is_recovery(read_payload(data))]
        if not said:
            break
        run.exchanges = max(run.exchanges, len(said))
        with run.clock("exchange"):
            said = [reply for reply in target.receive_all(said) if reply is not None]
        run.messages += said
    for question in ("receipt", "state", "end_of", "actions_of"):
        delattr(ledger, question)
    assert not gateway.has_pending
    assert not gateway.find_unheard()
    return run


# ------------------------------------------------------------------ the limit


@dataclass
class Work:
    """What a recovery cannot do without, recorded from a real one."""

    read: list[list[bytes]]
    signed: list[Json] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    written: list[Json] = field(default_factory=list)
    flushes: int = 0

    @classmethod
    def record(cls, pair: Pair, loss: CrashErrorCode) -> Work:
        """Watch one recovery of this gateway."""
        log = pair.stores["GW1"]
        assert isinstance(log, SQLiteLog)
        work = cls([[entry.canonical_bytes for entry in log.getLog(name)] for name in log.getOpenSessions()])
        statements: list[str] = []
        sign, verify, write = KeyPair.sign_canonical, KeyRing.verify, SQLiteLog.writeLogEntry

        def note_signed(key: KeyPair, payload: bytes, **header: str) -> str:
            work.signed.append(json.loads(payload))
            return sign(key, payload, **header)

        def note_verified(ring: KeyRing, compact: bytes | str) -> Signed:
            signed = verify(ring, compact)
            work.verified.append(signed.compact)
            return signed

        def note_written(store: SQLiteLog, entry: LogEntry, *, closes: bool = False) -> int:
            work.written.append(entry.as_json())
            return write(store, entry, closes=closes)

        def note_flush(statement: str) -> None:
            statements.append(statement.partition(" VALUES")[0])
            work.flushes += statement == "COMMIT" and "INSERT INTO entry" in statements
            if statement == "COMMIT":
                statements.clear()

        for store in pair.stores.values():
            assert isinstance(store, SQLiteLog)
            store._database.set_trace_callback(note_flush)
        with (
            patch.object(KeyPair, "sign_canonical", note_signed),
            patch.object(KeyRing, "verify", note_verified),
            patch.object(SQLiteLog, "writeLogEntry", note_written),
        ):
            recover(pair, loss)
        for store in pair.stores.values():
            assert isinstance(store, SQLiteLog)
            store._database.set_trace_callback(None)
        return work

    def measure(self) -> float:
        """Seconds for nothing but this."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            database = sqlite3.connect(Path(folder) / "limit.sqlite", isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("CREATE TABLE entry (session INTEGER, number INTEGER, body BLOB)")
            database.execute("CREATE INDEX place ON entry (session, number)")
            rows = [(place, number, body) for place, log in enumerate(self.read) for number, body in enumerate(log)]
            database.execute("BEGIN")
            database.executemany("INSERT INTO entry VALUES (?, ?, ?)", rows)
            database.execute("COMMIT")
            begun = time.perf_counter()
            self._do(database)
            seconds = time.perf_counter() - begun
            database.close()
            return seconds

    def _do(self, database: sqlite3.Connection) -> None:
        query = "SELECT body FROM entry WHERE session = ? ORDER BY number"
        for place in range(len(self.read)):
            for (body,) in database.execute(query, (place,)).fetchall():
                digest(body)
                json.loads(body)
        for payload in self.signed:
            KEYS["GW1"].sign_canonical(canonical(payload))
        for compact in self.verified:
            payload_read = ALL_KEYS.verify(compact).payload
            if is_recovery(payload_read):
                parse_recovery(payload_read)
        size = -(-len(self.written) // max(self.flushes, 1)) or 1
        for first in range(0, len(self.written), size):
            database.execute("BEGIN IMMEDIATE")
            for entry in self.written[first : first + size]:
                body = canonical(entry | {"payloadHash": digest(entry["payload"])})
                digest(body)
                database.execute("INSERT INTO entry VALUES (-1, 0, ?)", (body,))
            database.execute("COMMIT")


# ------------------------------------------------------------------ the tables


@dataclass(frozen=True)
class Result:
    """The best of several recoveries of one kind, and of their limit."""

    sessions: int
    limit: float
    best: Recovery

    @property
    def ratio(self) -> float:
        return self.best.total / self.limit


def measure_restarts(count: int, repeat: int) -> Result:
    """The same gateway, again and again: a restart that has lost nothing leaves the sessions where they are."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        pair = make_pair(Path(folder), count)
        crash(pair, "process", count)
        work = Work.record(pair, "process")
        limits, runs = [], []
        for _ in tqdm(range(repeat), desc="restarts", leave=False, disable=None):
            limits.append(work.measure())
            crash(pair, "process", count)
            runs.append(recover(pair, "process"))
        pair.close()
    return Result(count, min(limits), min(runs, key=lambda run: run.total))


def measure_losses(count: int, loss: CrashErrorCode, repeat: int) -> Result:
    """Each time from the beginning: what was taken back stays."""
    limits, runs, works = [], [], []
    for turn in tqdm(range(repeat + 1), desc=f"{loss} of {count:,}", leave=False, disable=None):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            stops = STOPS if loss == "storage" else STOPS[-1:]
            pair = make_pair(Path(folder), count, stops, batch=count)
            crash(pair, loss, count)
            if turn == 0:
                works.append(Work.record(pair, loss))
            else:
                limits.append(works[0].measure())
                runs.append(recover(pair, loss))
            pair.close()
    return Result(count, min(limits), min(runs, key=lambda run: run.total))


def print_restarts(results: list[Result]) -> None:
    print("\nRestart: nothing but the process is lost; milliseconds, and the share of each part\n")
    heads = "".join(f"{part:>14}" for part in PARTS)
    print(f"{'sessions':>9}{'together':>11}{'limit':>9}{'ratio':>7}{heads}{'messages':>10}{'offer':>13}{'answer':>13}")
    for row in results:
        run, total = row.best, row.best.total
        shares = "".join(f"{run.seconds[part] * 1e3:>8.1f} {run.seconds[part] / total:>4.0%} " for part in PARTS)
        sizes = f"{len(run.messages):>9,}{len(run.messages[0]):>11,} B{len(run.messages[1]):>11,} B"
        print(f"{row.sessions:>9,}{total * 1e3:>11.1f}{row.limit * 1e3:>9.1f}{row.ratio:>6.1f}x{shares}{sizes}")
    last = results[-1]
    each = last.best.total / last.sessions * 1e6
    part = max(PARTS, key=lambda name: last.best.seconds[name])
    print(
        f"-> {last.sessions:,} open sessions are under way again after {last.best.total:.2f} s, {each:.0f} us each, "
        f"{last.ratio:.1f} times the limit; {last.best.seconds[part] / last.best.total:.0%} of it is {part}; "
        f"two messages compare them all, {len(last.best.messages) - 2:,} say step X"
    )


def print_losses(results: dict[str, list[Result]]) -> None:
    print("\nLoss: entries are taken back from the peer, session by session: RECOVER to RECOVER-SUCCESS\n")
    print(
        f"{'lost':<14}{'sessions':>9}{'together':>12}{'limit':>11}{'ratio':>7}{'exchanges':>11}"
        f"{'messages':>10}{'bytes':>13}"
    )
    for what, rows in results.items():
        for row in rows:
            run = row.best
            times = f"{run.total * 1e3:>9.1f} ms{row.limit * 1e3:>8.1f} ms{row.ratio:>6.1f}x"
            print(f"{what:<14}{row.sessions:>9,}{times}{run.exchanges:>11,}{len(run.messages):>10,}{run.size:>13,}")
    for what, rows in results.items():
        last = rows[-1]
        size = last.best.size / last.sessions / 1e3
        each = f"{last.best.total / last.sessions * 1e3:.1f} ms, {len(last.best.messages) / last.sessions:.1f} messages"
        print(f"-> {what}: {each} and {size:.1f} kB a session, {last.ratio:.1f} times the limit")


def make_endpoints() -> list[Endpoint]:
    """The two ends, as two processes that have just been started make them."""
    ends = []
    for name, peer in (("GW1", "GW2"), ("GW2", "GW1")):
        peers = CertifiedKeys([CERTIFICATES[peer]], [OWNER], lambda: START)
        ends.append(Endpoint(KEYS[name], CERTIFICATES[name], [OWNER], peers))
    return ends


def print_handshakes(count: int) -> None:
    """In turns; CPU time of both ends together."""
    old = make_endpoints()
    Connection.open(old[0], old[1], resume=False)
    kinds: dict[str, tuple[Callable[[], list[Endpoint]], bool]] = {
        "resumed": (lambda: old, True),
        "full": (lambda: old, False),
        "full, new process": (make_endpoints, False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    shown: dict[str, Connection] = {}
    for _ in tqdm(range(count), desc="handshakes", leave=False, disable=None):
        for name, (make, resume) in kinds.items():
            begun = time.process_time()
            one, other = make()
            shown[name] = Connection.open(one, other, resume=resume)
            seconds[name].append(time.process_time() - begun)
            assert shown[name].is_resumed is resume
    best = {name: min(found) for name, found in seconds.items()}
    print("\nTLS 1.3, both ends authenticated by certificate\n")
    print(f"{'handshake':<20}{'CPU, both ends':>16}{'ratio':>8}{'bytes':>9}{'round trips':>13}")
    for name, connection in shown.items():
        ratio = best[name] / best["full"]
        cells = (
            f"{best[name] * 1e3:>13.2f} ms{ratio:>7.2f}x{connection.handshake_bytes:>9,}{connection.round_trips:>13}"
        )
        print(f"{name:<20}{cells}")
    cpu, size = best["resumed"] / best["full"], shown["resumed"].handshake_bytes / shown["full"].handshake_bytes
    new = best["full, new process"] / best["full"]
    trips, trips_full = shown["resumed"].round_trips, shown["full"].round_trips
    words = "as many round trips" if trips == trips_full else f"{trips} round trips instead of {trips_full}"
    print(
        f"-> a resumed handshake costs {cpu:.0%} of the CPU and {size:.0%} of the bytes of a full one, and {words}; "
        f"after a crash there is none to resume, and with new contexts a full one costs {new:.1f} times as much"
    )


def main(arguments: list[str] | None = None) -> int:
    summary = (__doc__ or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tools.bench_recovery", description=summary)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 100, 10_000], help="open sessions of a restart")
    parser.add_argument("--lost", type=int, nargs="+", default=[100, 1_000], help="open sessions where a log is lost")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each kind, the best counts")
    options = parser.parse_args(arguments)
    if min(*options.sessions, *options.lost, options.repeat) < 1:
        parser.error("--sessions, --lost and --repeat are at least 1")
    load = f"load {os.getloadavg()[0]:.1f}"
    print(
        f"{os.cpu_count()} cores, {load}, Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}; one process"
    )
    print_restarts(
        [measure_restarts(count, options.repeat * (5 if count < 1_000 else 1)) for count in options.sessions]
    )
    kinds: dict[str, CrashErrorCode] = {"last entries": "storage-tail", "whole log": "storage"}
    print_losses(
        {what: [measure_losses(count, loss, options.repeat) for count in options.lost] for what, loss in kinds.items()}
    )
    print_handshakes(HANDSHAKES)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
