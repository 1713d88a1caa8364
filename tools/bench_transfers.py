"""Transfers per second, next to what signatures, encoding, validation and the disk alone allow.

    python -m tools.bench_transfers               both stores, 1 and 64 sessions at once
    python -m tools.bench_transfers --count 1280  more transfers per measurement

The bound is measured in the same run, on the same machine, in the same process. It does nothing but what
cannot be left out of one transfer: eleven messages made canonical, signed, verified, parsed and validated;
six receipts of the networks signed, and the four that travel verified; thirty-four entries made canonical
and chained; and as many flushes of the disk as the store is asked for. No state, no decision, no ledger.
Entries are not signed, in the bound as in the gateways: a private log is read by its writer only.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from protocol.certificates import OwnerCA, RootCA
from protocol.example import make_proposal
from protocol.gateway import Gateway
from protocol.ledger import Ledger
from protocol.log import LogStorage, MemoryLog
from protocol.messages.satp import parse_message
from protocol.negotiation import Identity
from protocol.network import START, World
from protocol.objects import Json, canonical, digest
from protocol.peers import CertifiedKeys
from protocol.signing import KeyPair, KeyRing, read_payload
from protocol.stores import SQLiteLog

STORES: dict[str, Callable[[Path], LogStorage]] = {"memory": lambda path: MemoryLog(), "sqlite": SQLiteLog}
FLUSHES_TOGETHER = 18  # places where both gateways wait for their disks in one transfer, however many share them
NETWORKS = {"GW1": "1", "GW2": "43114"}
KEYS = {name: KeyPair.lab(name, "bench") for name in ("GW1", "GW2", "network 1", "network 43114")}
OWNER = OwnerCA("bench", KeyPair.lab("owner", "bench"), RootCA("bench", KeyPair.lab("root", "bench")))
CERTIFICATES = {name: OWNER.certify(name, KEYS[name].public) for name in NETWORKS}


class Pair:
    """Two gateways without a World around them: nothing is watched, so nothing but the protocol is measured."""

    def __init__(self, folder: Path, make_store: Callable[[Path], LogStorage]) -> None:
        ticks = itertools.count()
        self._make_store = make_store
        self.ledgers = {
            name: Ledger(name, KEYS[f"network {name}"], lambda: START + timedelta(microseconds=next(ticks)))
            for name in NETWORKS.values()
        }
        self._nonces = itertools.count(1)
        self._networks = KeyRing((name, KEYS[f"network {name}"].public) for name in self.ledgers)
        self.paths = {name: folder / f"{name}.sqlite" for name in NETWORKS}
        self.stores: dict[str, LogStorage] = {}
        self.gateways = {name: self.make_gateway(name) for name in NETWORKS}

    def make_gateway(self, name: str) -> Gateway:
        """A gateway on its own file, and on its network as that is."""
        peers = CertifiedKeys((CERTIFICATES[peer] for peer in NETWORKS if peer != name), [OWNER], lambda: START)
        self.stores[name] = self._make_store(self.paths[name])
        return Gateway(
            Identity(name, NETWORKS[name], KEYS[name]),
            self.stores[name],
            self.ledgers[NETWORKS[name]],
            peers=peers,
            networks=self._networks,
            now=lambda: START,
            make_nonce=lambda: f"{name}-{next(self._nonces)}",
        )

    @property
    def sender(self) -> Gateway:
        return self.gateways["GW1"]

    @property
    def recipient(self) -> Gateway:
        return self.gateways["GW2"]

    @property
    def origin(self) -> Ledger:
        return self.ledgers["1"]

    def close_store(self, name: str) -> None:
        store = self.stores[name]
        if isinstance(store, SQLiteLog):
            store.close()

    def close(self) -> None:
        for name in self.stores:
            self.close_store(name)

    def run(self, proposals: list[Json], messages_each: int = 11) -> None:
        """All of these transfers side by side, from the proposal to the end; or until so many messages were said.

        The last of fewer messages is lost.
        """
        for proposal in proposals:
            claim = proposal["transferInitClaim"]
            self.origin.issue(claim["digitalAssetId"], claim["verifiedOriginatorEntityId"])
        messages = [outgoing.data for outgoing in self.sender.start_all(proposals)]
        for target, _ in zip(itertools.cycle((self.recipient, self.sender)), range(1, messages_each), strict=False):
            replies = target.receive_all(messages) if len(messages) > 1 else [target.receive(messages[0])]
            messages = [reply for reply in replies if reply is not None]
        if messages_each == 11:
            self.recipient.receive_all(messages)


def make_proposals(count: int, first: int) -> list[Json]:
    template = make_proposal(lambda name: KEYS.get(name) or KeyPair.lab(name, "bench"))
    proposals = []
    for number in range(first, first + count):
        claim = template["transferInitClaim"] | {"digitalAssetId": f"asset {number}"}
        ids = {"sessionId": f"00000000-0000-4000-8000-{number:012x}", "transferContextId": f"context {number}"}
        proposals.append(template | {"transferInitClaim": claim} | ids)
    return proposals


def measure_transfers(store: str, at_once: int, count: int) -> float:
    """Seconds for one transfer, both gateways in this process."""
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder), STORES[store])
        pair.run(make_proposals(at_once, 0))
        batches = [make_proposals(at_once, first) for first in range(at_once, at_once + count, at_once)]
        begun = time.perf_counter()
        for batch in batches:
            pair.run(batch)
        seconds = (time.perf_counter() - begun) / (len(batches) * at_once)
        assert all(pair.recipient.session(each["sessionId"]).next_row is None for each in batches[-1])
        pair.close()
        return seconds


@dataclass(frozen=True)
class Parts:
    """What one real transfer consists of."""

    messages: list[Json]
    receipts: list[Json]
    entries: list[Json]

    @classmethod
    def record(cls) -> Parts:
        world = World(seed="bench")
        world.start()
        world.run()
        entries = [*world.log("sender"), *world.log("recipient")]
        messages = [read_payload(version.signed) for version in world.history("sender")]
        receipts = [entry.payload["receipt"] for entry in entries if "receipt" in entry.payload]
        world.close()
        return cls(messages, receipts, [entry.as_json() for entry in entries])

    def work(self, ring: KeyRing) -> list[bytes]:
        """Signatures, encoding, validation and chain of one transfer; returns the entries as they would be stored."""
        for payload in self.messages:
            parse_message(ring.verify(KEYS["GW1"].sign(payload)).payload)
        signed = [KEYS["GW1"].sign(receipt) for receipt in self.receipts]
        for compact in signed[:4]:
            ring.verify(compact)
        last, bodies = "", []
        for entry in self.entries:
            payload_hash = digest(entry["payload"])
            body = canonical(entry | {"payloadHash": payload_hash, "lastEntryHash": last or payload_hash})
            last = digest(body)
            bodies.append(body)
        return bodies


def measure_bound(store: str, at_once: int, count: int, parts: Parts) -> float:
    """Seconds for one transfer of nothing but the parts; with the flushes that the store is asked for."""
    ring = KeyRing([("GW1", KEYS["GW1"].public)])
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder) / "bound.sqlite", isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY, body BLOB)")
        begun = time.perf_counter()
        for _ in range(0, count, at_once):
            bodies = [body for _ in range(at_once) for body in parts.work(ring)]
            if store == "sqlite":
                size = 1 if at_once == 1 else -(-len(bodies) // FLUSHES_TOGETHER)
                for first in range(0, len(bodies), size):
                    database.execute("BEGIN IMMEDIATE")
                    for body in bodies[first : first + size]:
                        database.execute("INSERT INTO entry (body) VALUES (?)", (body,))
                    database.execute("COMMIT")
        seconds = time.perf_counter() - begun
        database.close()
        return seconds / (-(-count // at_once) * at_once)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench_transfers", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--count", type=int, default=320, help="transfers per measurement (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each kind, the best counts")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.repeat < 1:
        parser.error("--count and --repeat are at least 1")
    parts = Parts.record()
    print(f"{os.cpu_count()} cores; both gateways in one process, on one core; best of {options.repeat}")
    print(f"{'store':<8} {'at once':>7} {'transfers/s':>12} {'bound/s':>9} {'ratio':>6}")
    for store in STORES:
        for at_once in (1, 64):
            bounds, reals = [], []
            for _ in range(options.repeat):  # in turn, so that a slow moment meets both
                bounds.append(measure_bound(store, at_once, options.count, parts))
                reals.append(measure_transfers(store, at_once, options.count))
            bound, real = min(bounds), min(reals)
            print(f"{store:<8} {at_once:>7} {1 / real:>12.0f} {1 / bound:>9.0f} {bound / real:>6.0%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
