"""Worlds with backups for tests of one situation each, and what must hold at their end."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from protocol.lease import LEASE_S
from protocol.replacement import PrimaryBackup
from protocol.steps import Role
from protocol.takeovers import make_directory
from protocol.trace import Event
from tests.at_rest import find_unsettled
from tests.one_in_charge import find_acts_of_the_fenced, find_contradictions, find_heard_predecessors, find_wrong_keys

BEYOND_LEASE_S = int(LEASE_S) + 10


class Worlds:
    """Worlds of one test, closed with it."""

    def __init__(self, files: ExitStack) -> None:
        self._files = files

    def make(self, of: str = "sender", **how: Any) -> PrimaryBackup:
        world = PrimaryBackup(of, seed="test", directory=self._files.enter_context(make_directory()), **how)
        self._files.callback(world.close)
        return world


def check_settled(world: PrimaryBackup) -> None:
    wrong = find_unsettled(world) + find_contradictions(world) + find_acts_of_the_fenced(world)
    wrong += find_heard_predecessors(world)
    wrong += [words for role in Role for words in find_wrong_keys(world, role)]
    assert not wrong, f"{wrong}\n{world.trace}"


def tell(world: PrimaryBackup, *kinds: type[Event]) -> list[str]:
    """The events of these kinds, in words."""
    return [str(event) for event in world.trace.of(*kinds)]
