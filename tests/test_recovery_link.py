"""The link during a recovery: every message of it lost, repeated, or late, and the connection cut before each of them.

For the crash at every durable act of either gateway, with a loss that makes the recovery short (the process alone)
and one that makes it long (the last entries, or the log). The number of cases is asserted. `make campaign` runs all,
otherwise every k-th, always the same ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from protocol.link import InFlight
from protocol.messages.recovery import NAMES
from protocol.network import World
from protocol.steps import Role
from tests.at_rest import find_unsettled, make_world
from tests.conftest import every_crash_point
from tests.test_bad_input import fingerprint
from tests.test_recovery_campaign import Crash, list_crashes, show

IS_WHOLE = os.environ.get("CAMPAIGN") == "all"
LOSSES = ("process", "last 3", "log")
EVERY = 1 if IS_WHOLE else 5
CASES = len(LOSSES) * 80


def select() -> Iterator[Crash]:
    crashes = list_crashes(LOSSES, ("last-message",))
    assert len(crashes) == len(every_crash_point()) * len(LOSSES) == CASES
    yield from crashes[::EVERY]


def begin(world: World, crash: Crash) -> None:
    crash.happen(world)
    world.restart(crash.role)


def check(world: World, words: str) -> None:
    world.run()
    assert not find_unsettled(world), f"{words}\n{find_unsettled(world)}\n{world.trace}"


@pytest.mark.parametrize("fault", ["lose", "repeat"])
def test_each_message_of_a_recovery_lost_or_repeated(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = 0
    for crash in select():
        for name in NAMES:
            with make_world("link", tls=False) as world:
                crash.happen(world)
                getattr(world, fault)(name)
                world.restart(crash.role)
                check(world, f"{crash}, {fault} {name}")
                count += not (world.carrier.to_lose or world.carrier.to_repeat)  # such a message was sent
    show(
        capsys,
        f"{count} recoveries in which a message of them was {'lost' if fault == 'lose' else 'repeated'}: all at rest",
    )
    assert count > 2 * CASES // EVERY, "two messages at the least belong to every recovery"


def test_a_recovery_that_arrives_again_when_all_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Late: each message of the recovery once more, in the order in which it came. Logs and ledgers stay."""
    count = 0
    for crash in select():
        with make_world("link", tls=False) as world:
            begin(world, crash)
            said: list[InFlight] = []
            while world.link:
                said += [message for message in world.link if message.name in NAMES and message not in said]
                world.deliver_next()
            check(world, f"{crash}")
            before = fingerprint(world)
            for message in said:
                gateway = world._gateway(message.target.role)
                gateway.receive(message.data)
                gateway.collect()
                count += 1
            assert fingerprint(world) == before, f"{crash}\n{world.trace}"
    show(capsys, f"{count} late messages of recoveries: nothing changed")
    assert count >= 2 * CASES // EVERY


@pytest.mark.parametrize("by", [None, *Role])
def test_the_connection_is_cut_before_each_message(by: Role | None, capsys: pytest.CaptureFixture[str]) -> None:
    """Over TLS. Nobody notices until a time-out, or either gateway does and offers its sessions again."""
    count = 0
    for crash in list(select())[:: 1 if IS_WHOLE else 3]:
        number = 0
        while True:
            with make_world("link", tls=True) as world:
                begin(world, crash)
                for _ in range(number):
                    if world.link:
                        world.deliver_next()
                if not world.link:
                    break
                world.cut(by)
                check(world, f"{crash}, cut before message {number} of what follows, noticed by {by}")
                count += 1
                number += 1
    show(capsys, f"{count} connections cut during and after a recovery, noticed by {by or 'nobody'}: all at rest")
    assert count > 2 * CASES // EVERY // 3
