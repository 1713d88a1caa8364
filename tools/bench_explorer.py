"""How fast explorations are, beside what the signatures of the same messages alone would cost.

    python -m tools.bench_explorer              the bounds by default, and a campaign on all cores (some minutes)
    python -m tools.bench_explorer --small      the same with fewer faults

One process: distinct states and steps for each second. A step is one event computed with the real code: a gateway put
back, a message verified, log and ledger written, the gateway taken apart again. The limit is measured in the same run:
each message of the exploration signed once and verified once for each step, and nothing else.
All cores: one exploration for each rule, on the processes of a campaign. Default bounds: its two searches at once.
Memory: what a global state takes besides the states of the two sides.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace

from tqdm import tqdm

from protocol.bounds import DEFAULT, Bounds, make_plan
from protocol.campaigns import explore_all
from protocol.explorations import Exploration, Task, run_search
from protocol.explorer import Explorer
from protocol.objects import canonical
from protocol.rules import SAFETY
from protocol.signing import KeyPair, KeyRing, read_payload

COUNT = 200  # signatures that the limit is measured with


def measure_signatures() -> tuple[float, float]:
    """Seconds for one signature, and for one verification, of a message of an exploration."""
    search = Explorer(make_plan((), Bounds(crashes=0)), ()).run()
    payload, key = canonical(read_payload(search.messages[0].data)), KeyPair.lab("bench", "lab")
    ring = KeyRing([("bench", key.public)])
    begin = time.perf_counter()
    for _ in range(COUNT):
        compact = key.sign_canonical(payload)
    signed = time.perf_counter()
    for _ in range(COUNT):
        ring.verify(compact)
    return (signed - begin) / COUNT, (time.perf_counter() - signed) / COUNT


def compute_limit(found: Exploration, signing: float, verifying: float) -> float:
    """Seconds for the signatures alone: each message is signed once, and each step verifies one."""
    return found.messages * signing + found.steps * verifying


def describe(found: Exploration, signing: float, verifying: float) -> str:
    """One line of the page."""
    limit = compute_limit(found, signing, verifying)
    return (
        f"{found.bounds!s:<20}{found.states:>9,} states {found.seconds:>7.1f} s "
        f"{found.states_per_second:>8,.0f} states/s "
        f"{found.steps / found.seconds:>7,.0f} steps/s {found.bytes_per_state:>5.0f} B a state   "
        f"{found.seconds / limit:.1f} times the signatures"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_explorer")
    parser.add_argument("--small", action="store_true", help="fewer crashes, and fewer rules")
    options = parser.parse_args(arguments)
    crashes = 1 if options.small else 2
    bounds = [Bounds(crashes=1), *((Bounds(crashes=2), Bounds(crashes=2, losses=1)) if crashes == 2 else ())]
    cores = os.cpu_count() or 1
    print(f"Python {sys.version.split()[0]}, {cores} cores")
    signing, verifying = measure_signatures()
    print(f"one signature {signing * 1e6:.0f} us, one verification {verifying * 1e6:.0f} us\n\none process")
    for each in tqdm(bounds, desc="one process", leave=False, disable=None):
        print(f"-> {describe(run_search(Task((), each)), signing, verifying)}")
    tasks = [Task((name,), Bounds(crashes=1)) for name in (SAFETY[:2] if options.small else SAFETY)]
    begin = time.perf_counter()
    found = explore_all(tasks)
    seconds = time.perf_counter() - begin
    states, steps = sum(each.states for each in found), sum(each.steps for each in found)
    print(f"\nall cores: {len(tasks)} explorations of one crash, each without another rule")
    print(f"-> {states:,} states, {seconds:.1f} s, {states / seconds:,.0f} states/s, {steps / seconds:,.0f} steps/s")
    default = DEFAULT if crashes == 2 else tuple(replace(each, crashes=0) for each in DEFAULT)
    begin = time.perf_counter()
    found = explore_all(default)
    print(f"\nthe bounds by default: {'; '.join(str(each) for each in default)}")
    print(f"-> {sum(each.states for each in found):,} states in {time.perf_counter() - begin:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
