"""Explorations that several tests look at, and their behaviours played again where both compare byte by byte."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest.mock import patch

from protocol.bounds import Bounds, make_plan
from protocol.example import OWNERS
from protocol.explorer import Explorer
from protocol.link import Side
from protocol.plans import Plan
from protocol.properties import ENDINGS, TRANSFER, Scene
from protocol.replays import Conditions, Replay, StillWorld, write_actions
from protocol.signing import KeyPair
from protocol.steps import Role
from protocol.tables import BITS, MASK
from protocol.takeovers import make_directory
from protocol.units import RememberingKey, State

PROPERTIES = TRANSFER + ENDINGS
MOST = 40_000
Content = tuple[dict[str, list[str]], list[str]]  # a log: its chains by session, as hashes; a ledger: its receipts


def make_small_plan(*flipped: str, **bounds: Any) -> Plan:
    """What is not named does not happen: not even a crash."""
    return make_plan(flipped, Bounds(**({"crashes": 0} | bounds)))


@functools.cache
def search(*flipped: str, **bounds: Any) -> Explorer:
    """To its end; a mistake may make it endless."""
    return Explorer(make_small_plan(*flipped, **bounds), PROPERTIES, most_states=MOST).run()


def list_broken(found: Explorer) -> dict[str, str]:
    """The properties that do not hold, with the shortest run that shows it; "" where something never happens."""
    verdicts = [each for each in found.list_verdicts() if not each.holds]
    return {each.name: "" if each.place is None else write_actions(found, each.place) for each in verdicts}


def list_seen(found: Explorer) -> set[str]:
    """The endings that happen."""
    names = {each.name for each in ENDINGS}
    return {each.name for each in found.list_verdicts() if each.holds and each.name in names}


def unpack(found: Explorer, place: int) -> tuple[int, int]:
    """The numbers of both sides' states."""
    return found.states[place] & MASK, found.states[place] >> BITS & MASK


def find_locals(found: Explorer, place: int) -> tuple[State, State]:
    """The states of both sides in a global state."""
    first, second = unpack(found, place)
    return found.tables[0].states[first], found.tables[1].states[second]


def list_pairs(found: Explorer) -> set[tuple[bytes, bytes]]:
    """What is reached of both sides together, whatever is on its way and left of the bounds."""
    pairs = {unpack(found, place) for place in range(len(found.states))}
    one, other = (table.states for table in found.tables)
    return {(one[first].key, other[second].key) for first, second in pairs}


def see(found: Explorer, place: int) -> Scene:
    one, other = find_locals(found, place)
    return Scene(one.view, other.view, not found.list_on_way(place))


# ---------------------------------------------------------------------- played again


class TwinWorld(StillWorld):
    """A World whose gateways make the nonces of the units: so all bytes are the same."""

    def __init__(self, **options: Any) -> None:
        self._starts = {name: itertools.count() for name in OWNERS}
        super().__init__(**options)

    def key(self, name: str) -> KeyPair:
        return RememberingKey.lab(name, self.seed)

    def _make_gateway(self, side: Side) -> None:
        super()._make_gateway(side)
        starts, numbers = next(self._starts[side.id]), itertools.count(1)
        assert side.gateway is not None
        side.gateway._offers.make_nonce = lambda: f"{side.id}-{starts}.{next(numbers)}"


@contextmanager
def play(text: str, conditions: Conditions | None = None) -> Iterator[Replay]:
    """A replay with the nonces of the units, on a fast disk."""
    with make_directory() as directory:
        make_world = functools.partial(TwinWorld, directory=directory)
        with patch("protocol.replays.StillWorld", make_world):
            played = Replay(f"{conditions or ''}{text}")
        try:
            yield played
        finally:
            played.world.close()


def read_content(played: Replay, role: Role) -> Content:
    """What the World has of one side on disk, and in its network."""
    side = played.world._side(role)
    with closing(played.world._read_store(side)) as store:
        log = {name: [entry.compute_hash() for entry in store.getLog(name)] for name in store.getSessions()}
    return log, [receipt.signed for receipt in side.ledger._history]


def show_content(state: State) -> Content:
    """The same of a state of a unit."""
    log: dict[str, list[str]] = {}
    for entry, _ in state.log:
        log.setdefault(entry.sessionId, []).append(entry.compute_hash())
    return log, [receipt.signed for receipt in state.ledger["_history"]]
