"""What `python -m protocol --explore` and `--replay` take, and what they say.

    --explore                      the bounds by default: several searches, on the cores of this machine
    --explore --crashes 1          one search; what is not named does not happen
    --explore --rule-off NAME      without other bounds: those that show what the rule is for
    --replay TEXT                  one behaviour, and what both gateways make of it at its end

Only the options, and the order in which results are told, live here. Ctrl-C ends a search with what it has covered.
"""

from __future__ import annotations

import argparse
from typing import Final

from protocol.bounds import DEFAULT, make_bounds
from protocol.campaigns import choose_task, compare_rules, explore_all
from protocol.errors import Misuse
from protocol.explorations import Exploration, Task, run_search, show_states
from protocol.properties import TRANSFER, Kind
from protocol.replays import LOCKS, Replay, replay

HELP: Final = {
    "sessions": "transfers at the same time (1)",
    "crashes": "crashes of either gateway",
    "losses": "messages that are lost by themselves",
    "duplicates": "messages that arrive twice",
    "waits": "how often the time of a lock passes",
    "early": "time-outs while something is still on its way",
    "aborts": "how often an application wants to leave",
    "logs": "how often a gateway that is down loses its log",
    "tails": "how often it loses the last entry",
    "keys": "how often it loses its key",
    "cuts": "how often the connection is lost",
    "lands": "orders that a crash left on their way, and that land later",
}
BOUNDS: Final = (*HELP, "lock_type")
INTERRUPTED: Final = 130


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("only with --explore: how much may happen in one behaviour (default: nothing)")
    for name, words in HELP.items():
        group.add_argument(f"--{name}", type=int, metavar="N", help=words)
    group.add_argument("--lock-type", choices=LOCKS, help="another lock than that of the example")
    group.add_argument(
        "--with", dest="with_draft", action="append", metavar="NAME", help="do what the drafts do; may be repeated"
    )
    group.add_argument(
        "--every-rule", action="store_true", help="the table of all rules, or of those named by --rule-off and --with"
    )


def tell_search(options: argparse.Namespace) -> tuple[int, str]:
    """Exit status and text: 0 if all holds, 1 if something breaks, 130 if the search was stopped before its end."""
    flipped = (*options.rule_off, *options.with_draft)
    given = {name: getattr(options, name) for name in BOUNDS if getattr(options, name) is not None}
    if options.every_rule:
        if given:
            raise Misuse("with --every-rule each rule has bounds of its own")
        table = compare_rules(flipped) if flipped else compare_rules()
        return 0, repr(table)
    if flipped or given:
        task = Task(flipped, make_bounds(**{"crashes": 0, **given})) if given else choose_task(flipped)
        with show_states(None) as report:
            return tell([run_search(task, report)], 1, options.format)
    return tell(list(explore_all(DEFAULT)), len(DEFAULT), options.format)


def tell(found: list[Exploration], asked: int, form: str) -> tuple[int, str]:
    """What was covered, and the shortest of all counterexamples as a figure."""
    examples = [(each.counterexample.length or 0, n) for n, each in enumerate(found) if each.counterexample]
    stopped = len(found) < asked or any(each.waiting for each in found)
    status = 1 if examples else INTERRUPTED if stopped else 0
    shortest = found[min(examples)[1]].shortest if examples else None
    if form != "ascii":
        if shortest is None:
            raise Misuse("nothing is broken within these bounds, so there is nothing to draw")
        return status, str(getattr(shortest.figure, form))
    texts = [f"{each!r}\n\n{each.cost}" for each in found]
    if shortest is not None:
        texts.append(f"The shortest run that breaks a property:\n\n{shortest.text}\n\n{shortest.figure.ascii}")
    return status, "\n\n".join(texts) or "Stopped before any search had begun."


def tell_replay(options: argparse.Namespace) -> tuple[int, str]:
    """The figure, the end, and which properties do not hold there: then the exit status is 1."""
    played: Replay = replay(options.replay)
    broken = played.list_broken(each for each in TRANSFER if each.kind is Kind.ALWAYS)
    if options.format != "ascii":
        return int(bool(broken)), str(getattr(played.figure, options.format))
    words = "\n".join(f"broken: {each.name}: {each.words}" for each in broken)
    return int(bool(broken)), f"{played!r}\n\n{words or 'No property that must always hold is broken.'}"
