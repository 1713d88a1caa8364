"""The lab in a terminal, for people without Jupyter: choose a crash or a takeover, watch the transfer finish after it.

Nothing lives here but the command line; the stories themselves are the same Worlds as in the notebooks. After a crash
or a takeover the verdict of TABLE 2 is printed with the row that gave it.

    python -m protocol --crash sender --at 3.4 --after 2
    python -m protocol --replace sender --how slow --comes-back 6
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from protocol.diagrams import Figure, draw_notes
from protocol.errors import Fault, Misuse
from protocol.network import World
from protocol.replacement import PrimaryBackup
from protocol.rules import DRAFTS, SAFETY, switch_off, switch_on
from protocol.search_options import BOUNDS, add_options, tell_replay, tell_search
from protocol.steps import TABLE_1, Role
from protocol.stories import Loss, Recovery, RecoveryTable, lose, run_to_rest
from protocol.takeovers import compare_rules, read_ending, take_over

EXAMPLES = """\
examples of a crash:
  python -m protocol                                      the recipient crashes between mint and commit-ready
  python -m protocol --crash sender --at 3.4 --after 2    the sender crashes right after the burn
  python -m protocol --crash sender --at 3.4 --lose log   the same after the intent, and its log is lost
  python -m protocol --at 3.6 --lose 3                    the last three entries were not on the disk after all
  python -m protocol --at 3.6 --lose key --both           both crash, and both come back with new keys
  python -m protocol --at 3.7 --restart-from stage        from the beginning of the stage, not the last message
  python -m protocol --crash nobody                       the transfer without a crash

examples of a takeover:
  python -m protocol --replace sender                     the sender dies with a burn on its way; its backup goes on
  python -m protocol --replace sender --how slow --comes-back 6      it was only slow: it wakes up and is fenced
  python -m protocol --replace recipient --at 3.6 --how no-store     it reaches its log store no more
  python -m protocol --replace sender --at 2.1 --leaves   the application behind the backup ends the transfer
  python -m protocol --replace sender --how slow --comes-back 6 --leaves --rule-off back_out_only_with_the_receipt
                                                          the asset is lost: what that rule is for
  python -m protocol --compare-rules                      384 takeovers: which rule carries how much (10 seconds)

examples of explorations:
  python -m protocol --explore                            two crashes, every loss, every duplicate, in every order
  python -m protocol --explore --crashes 1 --cuts 1       other bounds: what is not named does not happen
  python -m protocol --explore --rule-off prepared_recipient_waits     the shortest story of what breaks without it
  python -m protocol --explore --with sender_reissues     what comes of what the drafts do
  python -m protocol --explore --every-rule               rule by property: what each rule is for (some minutes)
  python -m protocol --replay "start 1.1 1.2 -1.3"        a behaviour as text: the messages that arrive, and faults

other examples:
  python -m protocol --table                              TABLE 2: what a session does after a crash
  python -m protocol --acts                               every place where a crash or a takeover can be put
  python -m protocol --format svg > crash.svg             the picture as a file (or: mermaid)

A durable act is an entry that reaches the log or an action that reaches the network. A gateway's own action
takes three: 1 the intent is logged, 2 the network acts, 3 the outcome is logged. A message takes one.

The rules that can be switched off:
  """

NEXT = "\n  "

# With what each kind of story goes. Whatever else is chosen would be ignored, so it is refused.
GOES_WITH = {
    "--crash": {"crash", "at", "before", "after", "lose", "both", "restart_from", "rule_off", "format", "seed"},
    "--crash nobody": {"crash", "rule_off", "format", "seed"},
    "--replace": {
        *("replace", "how", "comes_back", "leaves"),
        *("at", "before", "after", "rule_off", "format", "seed"),
    },
    "--compare-rules": {"compare_rules", "rule_off"},
    "--explore": {"explore", "rule_off", "with_draft", "every_rule", "format", *BOUNDS},
    "--replay": {"replay", "format"},
    "--acts": {"acts", "seed"},
    "--table": {"table"},
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m protocol",
        description="One transfer, and one crash with its resumption or one takeover by a backup gateway.",
        epilog=f"{EXAMPLES}{f',{NEXT}'.join(SAFETY)}\n\nWhat the drafts do, for --with:{NEXT}{f',{NEXT}'.join(DRAFTS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--crash", choices=[*(role.value for role in Role), "nobody"], help="who crashes (default: recipient)"
    )
    who.add_argument("--replace", choices=[role.value for role in Role], help="whose place its backup takes")
    who.add_argument(
        "--compare-rules",
        action="store_true",
        help="play many takeovers with and without the rules named by --rule-off, and count how they end",
    )
    who.add_argument("--explore", action="store_true", help="play all orders of what can happen, within bounds")
    who.add_argument("--replay", metavar="TEXT", help="play one behaviour again, as an exploration has written it")
    who.add_argument("--acts", action="store_true", help="list the durable acts of both gateways and stop")
    who.add_argument("--table", action="store_true", help="print TABLE 2, what a session does after a crash, and stop")
    parser.add_argument(
        "--at",
        metavar="STEP",
        help="the step of SATP figure 2, 1.1 to 3.9 (default: a crash is at 3.2, after its second act; "
        "a takeover is at 3.4 or 3.2, with the order to its network on its way)",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--before", type=int, metavar="N", help="fail before its N-th durable act of the step")
    place.add_argument(
        "--after", type=int, metavar="N", help="fail after its N-th durable act of the step (default with --at: 1)"
    )
    parser.add_argument("--rule-off", action="append", metavar="NAME", help="switch a safety rule off; may be repeated")
    parser.add_argument("--format", default="ascii", choices=["ascii", "mermaid", "svg"], help="how to draw it")
    parser.add_argument("--seed", default="lab", help="another seed gives other keys and signatures")
    _add_kinds(parser)
    add_options(parser)
    return parser


def _add_kinds(parser: argparse.ArgumentParser) -> None:
    crash = parser.add_argument_group("only with a crash")
    crash.add_argument("--lose", metavar="WHAT", help="what else is lost: log, key, or a number of last log entries")
    crash.add_argument("--both", action="store_true", help="the other gateway goes down too, and loses the same")
    crash.add_argument(
        "--restart-from",
        default="last-message",
        choices=["last-message", "stage"],
        help="where the transfer goes on (default: %(default)s)",
    )
    takeover = parser.add_argument_group("only with --replace")
    takeover.add_argument(
        "--how",
        default="dead",
        choices=["dead", "slow", "no-store"],
        help="the replaced one crashes, stands still, or is cut off from its log store (default: %(default)s)",
    )
    takeover.add_argument(
        "--comes-back",
        type=int,
        metavar="N",
        help="after N deliveries of the recovery it restarts, wakes up or reaches its log store again, and an order "
        "that it had on its way to its network lands (default: never)",
    )
    takeover.add_argument("--leaves", action="store_true", help="the application behind the backup ends the transfer")


def find_misplaced(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The kind of story and what does not go with it, in words; empty if all does."""
    given = [name for name, value in vars(options).items() if value != parser.get_default(name)]
    kind = "--crash nobody" if options.crash == "nobody" else "--crash"
    for name in ("replace", "compare_rules", "explore", "replay", "acts", "table"):
        kind = _spell(name) if name in given else kind
    wrong = [_spell(name) for name in given if name not in GOES_WITH[kind]]
    kind = "a crash" if kind == "--crash" else kind
    return f"{kind} goes without {', '.join(wrong)}" if wrong else ""


def _spell(name: str) -> str:
    return "--with" if name == "with_draft" else f"--{name.replace('_', '-')}"


# ---------------------------------------------------------------------- a crash


def show_crash(options: argparse.Namespace) -> int:
    world = World(seed=options.seed, rules=switch_off(*options.rule_off))
    try:
        seen = play(world, options)
        print(getattr(Figure(world.trace, "One transfer, one crash, one resumption"), options.format))
        if options.format == "ascii":
            print("", *seen, sep="\n")
            if options.crash != "nobody":
                print("", draw_notes(Recovery(world).notes), sep="\n")
            print(_describe_end(world, is_at_rest=world.is_at_rest))
        return 0 if world.is_at_rest and len(world.owners) == 1 else 1
    finally:
        world.close()


def play(world: World, options: argparse.Namespace) -> list[str]:
    """Run the story; returns what both networks looked like before, during the crash, and after."""
    who = options.crash or Role.RECIPIENT.value
    if who != "nobody":
        after = options.after
        if options.before is None and after is None:
            after = 1 if options.at else 2
        world.crash(who, at=options.at or "3.2", before=options.before, after=after)
    world.start()
    seen = [f"before\n{_describe(world)}"]
    world.run()
    if who != "nobody":
        down = [Role(who)] + ([Role(who).other] if options.both else [])
        for each in down[1:]:
            world.crash(each)
        seen.append(f"while the {' and the '.join(down)} {'are' if options.both else 'is'} down\n{_describe(world)}")
        for each in down:
            lose(world, each, read_loss(options.lose))
        for each in down:
            world.restart(each, options.restart_from)
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


def _describe_end(world: World, *, is_at_rest: bool) -> str:
    return f"\n{'At rest' if is_at_rest else 'NOT at rest'}. Owners: {'; '.join(world.owners) or 'nobody'}"


def list_acts(seed: str) -> str:
    """Every durable act of a transfer without a crash, counted within its step."""
    world = World(seed=seed)
    world.start()
    world.run()
    rows = [f"{'step':<6}{'who fails':<13}{'act':<5}what becomes durable"]
    for row in TABLE_1:
        for role in Role:
            words = [words for step, words in world.durable_acts(role) if step == row.number]
            rows += [f"{row.number:<6}{role:<13}{number:<5}{text}" for number, text in enumerate(words, 1)]
    world.close()
    return "\n".join(rows)


# ---------------------------------------------------------------------- a takeover


def show_takeover(options: argparse.Namespace) -> int:
    before = options.before
    if options.at is None and before is None and options.after is None:
        before = 2
    told = take_over(
        options.replace,
        options.at or ("3.4" if options.replace == Role.SENDER else "3.2"),
        options.after,
        before=before,
        how=options.how.replace("-", " "),
        comes_back=options.comes_back,
        leaves=options.leaves,
        seed=options.seed,
        rules=switch_off(*options.rule_off),
    )
    world = told.world
    assert isinstance(world, PrimaryBackup)
    ending = read_ending(world)
    print(getattr(Figure(told.world.trace, "One transfer, one takeover"), options.format))
    if options.format == "ascii":
        print("", draw_notes(told.notes), sep="\n")
        if ending.late_entries or ending.late_actions:
            late = f"log entries {ending.late_entries}, actions {ending.late_actions}"
            print(f"\nWhat the replaced one did after the takeover: {late}.")
        print(_describe_end(world, is_at_rest=world.is_at_rest))
    world.close()
    return 0 if ending.word == "one owner" else 1


@contextmanager
def show_progress() -> Iterator[Callable[[int, int], None]]:
    """Tells a person who waits how many runs of how many are done; anything but a terminal is told nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    try:
        from tqdm import tqdm
    except ImportError:  # it comes with the book, not with the package
        yield lambda done, total: print(f"\r{done} of {total} runs", end="", file=sys.stderr, flush=True)
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        return
    with tqdm(unit="run", leave=False) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def show_search(options: argparse.Namespace) -> int:
    status, text = tell_search(options) if options.explore else tell_replay(options)
    print(text)
    return status


# ---------------------------------------------------------------------- all of it


def show(options: argparse.Namespace) -> int:
    """Exit status 0 if the transfer came to rest with one owner, 1 if not."""
    if options.table:
        print(RecoveryTable())
    elif options.acts:
        print(list_acts(options.seed))
    elif options.explore or options.replay is not None:
        return show_search(options)
    elif options.compare_rules:
        with show_progress() as on_run:
            counts = compare_rules(*options.rule_off, on_run=on_run)
        print(counts)
    else:
        return show_takeover(options) if options.replace else show_crash(options)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The exit status of `show`, or 2 for a wrong choice, and for a log store that SHARED_LOG names in vain."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    misplaced = find_misplaced(parser, options)
    if misplaced:
        parser.error(misplaced)
    options.rule_off = [name.replace("-", "_") for name in options.rule_off or ()]
    try:
        read_loss(options.lose)
        switch_off(*options.rule_off)
        options.with_draft = [name.replace("-", "_") for name in options.with_draft or ()]
        switch_on(*options.with_draft)
        return show(options)
    except (Misuse, Fault) as wrong:
        hint = f" `{parser.prog} --acts` lists the places." if options.at else ""
        print(f"{parser.prog}: {' '.join(str(wrong).split()).rstrip('.?')}.{hint}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
