"""The lab in a terminal, for people without Jupyter: choose a crash, watch the transfer finish after it.

Nothing lives here but the command line; the story itself is the same World as in the notebooks. After a crash the
verdict of TABLE 2 is printed with the row that gave it.

    python -m protocol --crash sender --at 3.4 --after 2
"""

from __future__ import annotations

import argparse
import os
import sys

from protocol.diagrams import Figure, draw_notes
from protocol.errors import Misuse
from protocol.network import World
from protocol.steps import TABLE_1, Role
from protocol.stories import Loss, Recovery, RecoveryTable, lose, run_to_rest

EXAMPLES = """\
examples:
  python -m protocol                                      the recipient crashes between mint and commit-ready
  python -m protocol --crash sender --at 3.4 --after 2    the sender crashes right after the burn
  python -m protocol --crash sender --at 3.4 --lose log   the same after the intent, and its log is lost
  python -m protocol --at 3.6 --lose 3                    the last three entries were not on the disk after all
  python -m protocol --at 3.6 --lose key --both           both crash, and both come back with new keys
  python -m protocol --at 3.7 --restart-from stage        from the beginning of the stage, not the last message
  python -m protocol --table                              TABLE 2: what a session does after a crash
  python -m protocol --crash nobody                       the transfer without a crash
  python -m protocol --acts                               every place where a crash can be put
  python -m protocol --format svg > crash.svg             the picture as a file (or: mermaid)

A durable act is an entry that reaches the log or an action that reaches the network. A gateway's own action
takes three: 1 the intent is logged, 2 the network acts, 3 the outcome is logged. A message takes one.
"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m protocol",
        description="One transfer, one crash, one resumption.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--crash",
        default="recipient",
        choices=[*(role.value for role in Role), "nobody"],
        help="who crashes (default: %(default)s)",
    )
    parser.add_argument(
        "--at", metavar="STEP", help="the step of SATP figure 2, 1.1 to 3.9 (default: 3.2, after its second act)"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--before", type=int, metavar="N", help="crash before its N-th durable act within the step")
    place.add_argument("--after", type=int, metavar="N", help="crash after its N-th durable act within the step")
    parser.add_argument("--lose", metavar="WHAT", help="what else is lost: log, key, or a number of last log entries")
    parser.add_argument("--both", action="store_true", help="the other gateway goes down too, and loses the same")
    parser.add_argument(
        "--restart-from",
        default="last-message",
        choices=["last-message", "stage"],
        help="where the transfer goes on (default: %(default)s)",
    )
    parser.add_argument("--format", default="ascii", choices=["ascii", "mermaid", "svg"], help="how to draw it")
    parser.add_argument("--seed", default="lab", help="another seed gives other keys and signatures")
    parser.add_argument("--acts", action="store_true", help="list the durable acts of both gateways and stop")
    parser.add_argument(
        "--table", action="store_true", help="print TABLE 2, what a session does after a crash, and stop"
    )
    return parser


def play(world: World, options: argparse.Namespace) -> list[str]:
    """Run the story; returns what both networks looked like before, during the crash, and after."""
    if options.crash != "nobody":
        after = options.after
        if options.before is None and after is None:
            after = 1 if options.at else 2
        world.crash(options.crash, at=options.at or "3.2", before=options.before, after=after)
    world.start()
    seen = [f"before\n{_describe(world)}"]
    world.run()
    if options.crash != "nobody":
        down = [Role(options.crash)] + ([Role(options.crash).other] if options.both else [])
        for who in down[1:]:
            world.crash(who)
        seen.append(f"while the {' and the '.join(down)} {'are' if options.both else 'is'} down\n{_describe(world)}")
        for who in down:
            lose(world, who, read_loss(options.lose))
        for who in down:
            world.restart(who, options.restart_from)
        run_to_rest(world)
    return [*seen, f"after\n{_describe(world)}"]


def read_loss(text: str | None) -> Loss:
    """What stands after --lose. Misuse for anything but log, key and a number from 1 on."""
    if text is None or text in ("log", "key"):
        return text  # type: ignore[return-value]
    if not text.isdecimal() or int(text) < 1:
        raise Misuse(f"what is lost is log, key, or a number of last entries, not {text}")
    return int(text)


def _describe(world: World) -> str:
    ledgers = f"{world.origin!r}\n{world.destination!r}"
    return "\n".join(f"  {line}" for line in ledgers.splitlines())


def list_acts(world: World) -> str:
    """Every durable act of a transfer without a crash, counted within its step."""
    world.start()
    world.run()
    rows = [f"{'step':<6}{'who crashes':<13}{'act':<5}what becomes durable"]
    for row in TABLE_1:
        for role in Role:
            words = [words for step, words in world.durable_acts(role) if step == row.number]
            rows += [f"{row.number:<6}{role:<13}{number:<5}{text}" for number, text in enumerate(words, 1)]
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 if the transfer came to rest with one owner, 1 if not, 2 for a wrong choice."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    choices = (options.at, options.before, options.after, options.lose, options.both)
    if options.crash == "nobody" and (any(choices) or options.restart_from != "last-message"):
        parser.error("--crash nobody goes without --at, --before, --after, --lose, --both and --restart-from")
    try:
        read_loss(options.lose)
    except Misuse as wrong:
        print(f"{parser.prog}: {wrong}.", file=sys.stderr)
        return 2
    if options.table:
        print(RecoveryTable())
        return 0
    world = World(seed=options.seed)
    try:
        if options.acts:
            print(list_acts(world))
            return 0
        seen = play(world, options)
        figure = Figure(world.trace, "One transfer, one crash, one resumption")
        print(getattr(figure, options.format))
        if options.format == "ascii":
            print("", *seen, sep="\n")
            if options.crash != "nobody":
                print("", draw_notes(Recovery(world).notes), sep="\n")
            print(
                f"\n{'At rest' if world.is_at_rest else 'NOT at rest'}. Owners: {'; '.join(world.owners) or 'nobody'}"
            )
        return 0 if world.is_at_rest and len(world.owners) == 1 else 1
    except Misuse as wrong:
        print(f"{parser.prog}: {wrong}. `{parser.prog} --acts` lists the places.", file=sys.stderr)
        return 2
    finally:
        world.close()


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
