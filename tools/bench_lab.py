"""How long a panel takes to follow a choice, beside what the gateways alone take for the same crash.

    python -m tools.bench_lab                  every place of a crash, once
    python -m tools.bench_lab --network lossy  the same with every message lost the first time

A choice is made as a browser makes it, by a new value of a control; it is over when all that is shown is written.
Nothing is remembered from one choice to the next. The limit is the same crash, played by its replay string: the two
gateways, their logs and ledgers, without anybody who looks on. What the browser needs to show it comes on top.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import product

from protocol.lab import CrashLab
from protocol.replays import replay
from protocol.scenarios import CHOICES, Run, _play, list_acts, list_steps

TARGET_MS = 200  # what a redraw may take at the median


def measure(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def play_alone(run: Run) -> None:
    replay(run.text).world.close()


def find_size(lab: CrashLab) -> int:
    """Letters of what is drawn."""
    return sum(len(each.value) for each in lab.list_drawn())


def main(arguments: list[str] | None = None) -> int:
    summary = (__doc__ or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tools.bench_lab", description=summary)
    parser.add_argument("--network", choices=CHOICES["network"], default="reliable")
    parser.add_argument("--lost", choices=CHOICES["lost"], default="nothing")
    options = parser.parse_args(arguments)
    lab = CrashLab(network=options.network, lost=options.lost)
    redraws, frames, limits, sizes = [], [], [], []
    for crashed, when in product(("sender", "recipient", "both"), CHOICES["when"]):
        lab.choose(crashed=crashed, when=when)
        for step in list_steps(crashed):
            for act in range(1, len(list_acts(crashed, step)) + 1):
                _play.cache_clear()
                lab.choose(crashed="nobody", network="reliable", lost="nothing")
                place = {"crashed": crashed, "step": step, "when": when, "act": act}
                chosen = {**place, "network": options.network, "lost": options.lost}
                redraws.append(measure(lambda chosen=chosen: lab.choose(**chosen)))  # type: ignore[misc]
                limits.append(measure(lambda: play_alone(lab.run)))
                frames.append(measure(lambda: setattr(lab, "frame", max(1, lab.frame // 2))))
                sizes.append(find_size(lab))
    redraw, limit, frame = (statistics.median(each) for each in (redraws, limits, frames))
    worst = statistics.quantiles(redraws, n=20)[-1]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}; CrashLab")
    print(f"{'crashes':>9}{'redraw':>11}{'19 of 20':>11}{'limit':>11}{'ratio':>8}{'a frame':>11}{'drawn':>11}")
    cells = f"{redraw:>8.1f} ms{worst:>8.1f} ms{limit:>8.1f} ms{redraw / limit:>7.1f}x{frame:>8.1f} ms"
    print(f"{len(redraws):>9}{cells}{statistics.median(sizes) / 1e3:>8.1f} kB")
    print(f"-> at the median {redraw:.0f} ms of the {TARGET_MS} ms that a redraw may take")
    return 0


if __name__ == "__main__":
    sys.exit(main())
