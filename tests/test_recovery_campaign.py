"""Every crash with every loss, one after the other: no dice, so the number of cases is known and asserted.

    first part    each durable act of each gateway, before and after it, with each loss, from each start
    second part   the same crashes, and a second one at every durable act of either gateway during the recovery

Every case must come to rest: one owner, nothing locked or held, both gateways say the same. The first part always runs
whole, over TLS now and then; `make campaign` runs it over TLS throughout, and the whole second part, of which
otherwise every k-th case is run, always the same ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from protocol.faults import CrashPoint
from protocol.network import World
from protocol.steps import Role
from tests.at_rest import find_unsettled, make_world, restart_all
from tests.conftest import every_crash_point

IS_WHOLE = os.environ.get("CAMPAIGN") == "all"
STARTS = ("last-message", "stage")
TAILS = (1, 2, 3, 5, 9)
LOSSES = ("process", *(f"last {count}" for count in TAILS), "log", "key", "both down", "both logs", "both tails")
PAIRS = (("process", "process"), ("last 3", "last 3"), ("log", "log"))  # lost by the first crash, by the second
EVERY_TLS, EVERY_SECOND = 17, 7  # odd: before and after, and both gateways, alternate in the lists
FIRST_PART, SECOND_PART, SECOND_PART_BOUNDED = 1760, 11246, 1593


@dataclass(frozen=True)
class Crash:
    """One crash of the first part."""

    role: Role
    step: str
    when: str
    number: int
    loss: str
    start: str

    def happen(self, world: World) -> None:
        """A transfer, the crash, and what it takes with it. Nobody is restarted yet."""
        world.crash(self.role, at=self.step, **{self.when: self.number})
        world.start()
        world.run()
        assert world._side(self.role).gateway is None, f"{self} did not happen, so this case would show nothing"
        if self.loss.startswith("both"):
            world.crash(self.role.other)
        for role in (self.role, self.role.other) if self.loss.startswith("both") else (self.role,):
            lose(world, role, self.loss.removeprefix("both "))


def lose(world: World, who: Role, what: str) -> None:
    """What a gateway that is down loses besides its process."""
    if what.startswith("last "):
        world.forget(who, int(what.removeprefix("last ")))
    elif what == "tails":
        world.forget(who, 3)
    elif what in ("log", "logs"):
        world.forget(who)
    elif what == "key":
        world.lose_key(who)


def list_crashes(losses: tuple[str, ...], starts: tuple[str, ...]) -> list[Crash]:
    return [Crash(*point, loss, start) for start in starts for loss in losses for point in every_crash_point()]


def check(world: World, case: object) -> None:
    """Everybody up, and at rest by itself: no lock needs to expire but one that cannot be taken back."""
    world.run()
    wrong = find_unsettled(world)
    assert not wrong, f"{case}\n{wrong}\n{world.trace}"


def show(capsys: pytest.CaptureFixture[str], words: str) -> None:
    with capsys.disabled():
        sys.stderr.write(f"\n{words}\n")


def test_every_crash_with_every_loss(capsys: pytest.CaptureFixture[str]) -> None:
    crashes = list_crashes(LOSSES, STARTS)
    assert len(crashes) == len(every_crash_point()) * len(LOSSES) * len(STARTS) == FIRST_PART
    count = 0
    for place, crash in enumerate(crashes):
        with make_world("campaign", tls=IS_WHOLE or place % EVERY_TLS == 0) as world:
            crash.happen(world)
            restart_all(world, crash.start)
            check(world, crash)
            count += 1
    show(capsys, f"{count} of {FIRST_PART} crashes with a loss: all at rest")
    assert count == FIRST_PART


def crash_again(crash: Crash, second: Role, point: CrashPoint, loss: str) -> bool:
    """A second crash while the first is recovered from; False if that recovery has fewer durable acts."""
    with make_world("campaign", tls=False) as world:
        crash.happen(world)
        words = f"{crash}, then {second} at {point}, losing {loss}"
        world._side(second).wire.armed = point
        world.restart(crash.role, crash.start)
        if world._side(second).gateway is not None:
            world.run()
        has_happened = world._side(second).gateway is None
        if has_happened:
            lose(world, second, loss)
            restart_all(world)
        check(world, words)
        return has_happened


def list_second_crashes() -> Iterator[tuple[Crash, Role, bool, str]]:
    for first, loss in PAIRS:
        for crash in list_crashes((first,), STARTS[:1]):
            for second in Role:
                for is_after in (False, True):
                    yield crash, second, is_after, loss


def test_a_second_crash_during_every_recovery(capsys: pytest.CaptureFixture[str]) -> None:
    count = 0
    for place, (crash, second, is_after, loss) in enumerate(list_second_crashes()):
        if not IS_WHOLE and place % EVERY_SECOND:
            continue
        number = 1
        while crash_again(crash, second, CrashPoint(number, is_after), loss):
            number += 1
        count += number - 1
    show(capsys, f"{count} second crashes during a recovery: all at rest")
    assert count == (SECOND_PART if IS_WHOLE else SECOND_PART_BOUNDED)
