"""How fast the engines are, beside what their signatures alone allow.

    python -m tools.bench                 every benchmark
    python -m tools.bench empty payments  only these
    python -m tools.bench --help          their names

Two parties in one process, real signatures and verifications on both sides, in-memory stores. Every figure
stands beside a limit measured in the same run: the rate of two signatures and two verifications, which is
what a command needs at least. Ratios carry over to other machines, absolute rates do not.

A benchmark is a function that yields lines; `BENCHMARKS` lists them by name.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tqdm import tqdm

from protocol.channel_world import ChannelWorld
from protocol.objects import Json

ROUND_S = 0.15  # one round; rounds of what is compared take turns, so that a slow moment meets both
ROUNDS = 12  # the best counts: other processes can only slow it down


def measure_round(action: Callable[[], object]) -> float:
    """Calls per second during one round."""
    gc.collect()
    done, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < ROUND_S:
        action()
        done += 1
    return done / taken


def measure(*actions: Callable[[], object]) -> list[float]:
    """Calls per second of each action, the best of its rounds; the rounds take turns."""
    rounds = [[measure_round(action) for action in actions] for _ in range(ROUNDS)]
    return [max(rates) for rates in zip(*rounds, strict=True)]


def make_limit() -> Callable[[], None]:
    """A command of which nothing but Ed25519 is left: two signatures, two verifications."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = private.public_key()
    message = bytes(300)
    signature = private.sign(message)

    def both() -> None:
        for _ in range(2):
            private.sign(message)
            public.verify(signature, message)

    return both


class Pair:
    """Two channels, connected by function calls."""

    def __init__(self) -> None:
        self.world = ChannelWorld(seed="bench")
        self.numbers = iter(range(10**9))

    def send(self, name: str, command: Json, cid: str) -> None:
        """A command, its answer, and nothing between them."""
        near, far = self.world[name], self.world["D" if name == "C" else "C"]
        near.issue(command, self.world.now, cid)
        for post in near.take_due(self.world.now):
            near.on_response(far.on_request(post, self.world.now), self.world.now)

    def next_cid(self) -> str:
        return f"{next(self.numbers):032x}"

    def empty(self) -> None:
        self.send("C", {"_ObjectType": "EmptyCommand", "_reads": {}, "_writes": {}}, self.next_cid())

    def create(self) -> tuple[str, str]:
        cid = self.next_cid()
        me, peer = (self.world.places[name].vasp.address for name in ("C", "D"))
        reference_id = f"{me}_{cid}"
        kyc = {
            "payload_type": "KYC_DATA",
            "payload_version": 1,
            "type": "individual",
            "given_name": "ben",
            "surname": "maurer",
            "dob": "1920-03-20",
            "address": {"city": "Sunnyvale", "country": "US", "line1": "1234 Maple Street"},
        }
        payment = {
            "reference_id": reference_id,
            "sender": {"address": str(me), "kyc_data": kyc, "metadata": [], "status": {"status": "needs_kyc_data"}},
            "receiver": {"address": str(peer)},
            "action": {"amount": 100, "currency": "LBR", "action": "charge", "timestamp": 72322},
            "description": "A free form or structured description of the payment.",
        }
        self.send("C", self.command(payment, {}, cid), cid)
        return reference_id, cid

    def update(self, reference_id: str, reads: str, name: str, change: Json) -> str:
        cid = self.next_cid()
        self.send(name, self.command({"reference_id": reference_id, **change}, {reference_id: reads}, cid), cid)
        return cid

    def chain(self) -> None:
        """A payment as it goes: created, reviewed by the receiver, ready on both sides. Four commands."""
        reference_id, head = self.create()
        head = self.update(reference_id, head, "D", {"receiver": {"status": {"status": "pending_review"}}})
        head = self.update(reference_id, head, "C", {"sender": {"status": {"status": "ready_for_settlement"}}})
        self.update(reference_id, head, "D", {"receiver": {"status": {"status": "ready_for_settlement"}}})

    def half_open(self) -> None:
        """Two payments of four commands each: one ends, the other is still waiting for the receiver's last word."""
        self.chain()
        reference_id, head = self.create()
        head = self.update(reference_id, head, "D", {"receiver": {"status": {"status": "pending_review"}}})
        head = self.update(reference_id, head, "C", {"sender": {"status": {"status": "ready_for_settlement"}}})
        self.update(reference_id, head, "D", {"receiver": {"metadata": ["still under review"]}})

    @staticmethod
    def command(payment: Json, reads: Json, cid: str) -> Json:
        return {
            "_ObjectType": "PaymentCommand",
            "_reads": reads,
            "_writes": {payment["reference_id"]: cid},
            "payment": payment,
        }


def compare(aims: dict[str, tuple[Callable[[], object], int, int]]) -> Iterator[str]:
    """Each action, how many commands it is, and the aim in per cent; all of them and the limit in turns."""
    limit, *rates = measure(make_limit(), *(action for action, _, _ in aims.values()))
    yield f"  {'two signatures, two verifications':<42} {limit:8.0f}/s   the limit"
    for (what, (_, commands, aim)), rate in zip(aims.items(), rates, strict=True):
        share = 100 * commands * rate / limit
        yield f"  {what:<42} {commands * rate:8.0f}/s   {share:3.0f} % of the limit (aim {aim} %)"


def bench_empty() -> Iterator[str]:
    yield from compare({"empty command": (Pair().empty, 1, 65)})


def bench_payments() -> Iterator[str]:
    yield from compare(
        {
            "payment created": (Pair().create, 1, 45),
            "payment, per command of a chain of four": (Pair().chain, 4, 45),
        }
    )


def bench_flat() -> Iterator[str]:
    """Payments, while more and more commands are stored: 1,000, 10,000, 100,000; half of the payments stay open."""
    pair, stored, first = Pair(), 0, 0.0
    with tqdm(total=100_000, unit="command", desc="flat", leave=False, disable=None) as bar:
        for size in (1_000, 10_000, 100_000):
            while stored < size:
                pair.half_open()
                stored += 8
                bar.update(8)
            rate = 8 * measure(pair.half_open)[0]
            first = first or rate
            words = f"with {size:,} stored commands"
            with bar.external_write_mode(sys.stdout):
                yield f"  {words:<42} {rate:8.0f}/s   {100 * rate / first:3.0f} % of the first"


BENCHMARKS: dict[str, Callable[[], Iterator[str]]] = {
    "empty": bench_empty,
    "payments": bench_payments,
    "flat": bench_flat,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of: {', '.join(BENCHMARKS)} (default: all)")
    names = parser.parse_args(arguments).names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; each figure is one process, one core")
    for name in names:
        print(name)
        for line in BENCHMARKS[name]():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
