"""Every takeover, one after the other: no dice, so the number of cases is known and asserted.

    first part    each durable act of the gateway that is replaced, on the way on and on the way back, before and after
                  it; each way to fail there; each moment at which it comes back; an application that wants to abort, or
                  none
    second part   where an order may be on its way to the ledger: each moment at which it lands, under each lock
    third part    the backup stops in its turn, at each durable act of its recovery, and the primary takes over again
    fourth part   while one gateway stands there, the other one fails too, and both are replaced

In every case nothing is ever usable twice, everything comes to rest by itself, both gateways say the same, and of two
actions that contradict each other at most one took effect (at_rest.py, one_in_charge.py). `make campaign` runs all of
them, over TLS; otherwise every k-th one is run, always the same ones, and TLS comes in now and then.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import product

import pytest

from protocol.faults import CrashPoint
from protocol.lease import LEASE_S
from protocol.replacement import Node, PrimaryBackup
from protocol.steps import Role
from protocol.trace import Acted, Denied, FencedOff, TookOver
from tests.at_rest import come_back, find_unsettled
from tests.conftest import BOB, every_crash_point
from tests.one_in_charge import find_wrong
from tests.takeovers import (
    BACKS,
    BACKUP_WITHOUT_STORE,
    EXPIRY,
    FAILURES,
    LANDINGS,
    LATE_MAIL,
    WISHES,
    Place,
    Played,
    SweptWorld,
    Takeover,
    make_swept_world,
    stop,
)
from tests.test_recovery_campaign import show

IS_WHOLE = os.environ.get("CAMPAIGN") == "all"
LOCK_TYPES = ("HASH_TIME_LOCK", "TIME_LOCK", "HASH_LOCK")
SOME_BACKS = ("never", "early", "3", "end")
MOST_ACTS_BACK = 8  # more than any way back has
EVERY_TLS, EVERY_FIRST, EVERY_LANDING, EVERY_SECOND, EVERY_BOTH = (
    17,
    23,
    11,
    41,
    41,
)  # odd, and prime to the length of every axis
FIRST_PART, LANDING_PART, SECOND_PART, BOTH_PART = 18762, 4752, 22128, 8496
FIRST_PART_BOUNDED, LANDING_PART_BOUNDED, SECOND_PART_BOUNDED, BOTH_PART_BOUNDED = 816, 432, 547, 208


@cache
def list_places() -> dict[Place, bool]:
    """Every durable act at which a gateway can be stopped; whether an order may be on its way to the ledger there."""
    on = [Place(*point) for point in every_crash_point()]
    numbers, whens = range(1, MOST_ACTS_BACK + 1), ("before", "after")
    back = [Place(role, "", when, n, leaves) for leaves, role, n, when in product(Role, Role, numbers, whens)]
    found = {}
    for place in [*on, *back]:
        with make_swept_world(place.role, tls=False) as world:
            if stop(world, place, is_crash=False):
                found[place] = world._side(place.role).wire.in_flight is not None
    return found


def list_takeovers() -> list[Takeover]:
    all_failures = [Takeover(*each) for each in product(list_places(), FAILURES, BACKS, ("never",), WISHES)]
    late_mail = [Takeover(*each) for each in product(list_places(), (LATE_MAIL,), SOME_BACKS, ("never",), WISHES)]
    no_takeover = [
        Takeover(*each) for each in product(list_places(), (BACKUP_WITHOUT_STORE,), ("before",), ("never",), WISHES)
    ]
    return all_failures + late_mail + no_takeover


def list_landings() -> list[Takeover]:
    """Whoever was slow and has gone on brings its order to its end itself: then it lands no later."""
    places = [place for place, has_order in list_places().items() if has_order]
    moments = ["before", "early", "accepted", "3", "end", "never"]
    cases = product(
        places, ("dead", "slow"), ("before", *SOME_BACKS), ("never", *LANDINGS), (*WISHES, EXPIRY), LOCK_TYPES
    )
    return [
        Takeover(*case)
        for case in cases
        if case[1] == "dead" or case[3] == "never" or moments.index(case[3]) <= moments.index(case[2])
    ]


def find_all_wrong(world: SweptWorld) -> list[str]:
    return world.unsafe + find_unsettled(world) + find_wrong(world, world.claims)


def check(world: SweptWorld, case: Takeover) -> None:
    """All that must hold; and a transfer that nobody wants to leave is not left."""
    wrong = find_all_wrong(world)
    is_too_early = case.place.step == "1.1"  # a claim that names the primary's key, and that its peer has not logged
    if not case.wish and case.place.leaves is None and not is_too_early and world.owners != [BOB]:
        wrong.append(f"nobody wanted to leave, and the owners are {world.owners}")
    has_taken_over = bool(world.trace.of(TookOver))
    if has_taken_over != (case.back != "before"):
        wrong.append(f"taken over: {has_taken_over}")
    assert not wrong, f"{case}\n{wrong}\n{world.trace}"


def find_facts(world: PrimaryBackup, case: Takeover) -> list[str]:
    """What happened in a case, in words that are counted."""
    late = [event for event in world.trace if isinstance(event, Acted) and event.late and not event.again]
    refused = [event for event in world.trace if isinstance(event, Denied)]
    words = ["transferred" if world.owners == [BOB] else "taken back"]
    words += ["fenced"] * bool(world.trace.of(FencedOff))
    words += ["found burned by the predecessor"] * any(event.step == "3.4" for event in late)
    return words + ["whose late burn was refused"] * any(event.step == "3.4" for event in refused)


def run_all(cases: list[Takeover], every: int) -> Counter[str]:
    """Plays the cases, or every k-th of them; what happened how often, and `cases`."""
    found: Counter[str] = Counter()
    for place, case in enumerate(cases if IS_WHOLE else cases[::every]):
        with make_swept_world(case.place.role, tls=IS_WHOLE or place % EVERY_TLS == 0) as world:
            Played(world, case).play()
            check(world, case)
            found.update(["cases", *find_facts(world, case)])
    return found


def describe(found: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(found.items()) if word != "cases")


def test_every_takeover(capsys: pytest.CaptureFixture[str]) -> None:
    cases = list_takeovers()
    assert len(cases) == FIRST_PART
    found = run_all(cases, EVERY_FIRST)
    show(capsys, f"{found['cases']} of {FIRST_PART} takeovers: all at rest; {describe(found)}")
    assert found["cases"] == (FIRST_PART if IS_WHOLE else FIRST_PART_BOUNDED)
    assert found["transferred"] and found["taken back"] and found["fenced"]


def test_every_landing_of_the_last_order(capsys: pytest.CaptureFixture[str]) -> None:
    cases = list_landings()
    assert len(cases) == LANDING_PART
    found = run_all(cases, EVERY_LANDING)
    show(capsys, f"{found['cases']} of {LANDING_PART} late orders: all at rest; {describe(found)}")
    assert found["cases"] == (LANDING_PART if IS_WHOLE else LANDING_PART_BOUNDED)
    assert found["found burned by the predecessor"] and found["whose late burn was refused"]


def replace_again(case: Takeover, point: CrashPoint) -> bool:
    """The backup stops during its recovery, and the primary is there again. False if that has fewer durable acts."""
    words, place, has_happened = f"{case}; then the backup at {point}", case.place, False
    with make_swept_world(place.role, tls=IS_WHOLE) as world:
        primary, backup = world._list_nodes(place.role)
        assert stop(world, place, is_crash=case.failure == "dead"), words
        backup.wire.armed, stops = point, world.count_stops()
        world.on_step = Played(world, case).wish
        world.go_on_until(lambda: world.is_at_rest or world.count_stops() > stops)
        has_happened = world.count_stops() > stops
        land_and_come_back(world, primary)
        if has_happened:
            moments = {"early": 1, "3": 2, "end": 2}  # how often somebody has taken over by then
            world.go_on_until(lambda: len(world.trace.of(TookOver)) == moments[case.back])
            if case.back == "end":
                world.go_on_until(lambda: world.is_at_rest)
            land_and_come_back(world, backup)
        world.go_on_until(lambda: world.is_at_rest)
        wrong = find_all_wrong(world)
        in_charge = primary if has_happened and case.back != "early" else backup
        if world.in_charge[primary.id] != in_charge.name:
            wrong.append(f"{in_charge.name} is not in charge")
        assert not wrong, f"{words}\n{wrong}\n{world.trace}"
        return has_happened


def land_and_come_back(world: SweptWorld, node: Node) -> None:
    if node.wire.in_flight is not None and node.gateway is None:
        world.land(node.name)
    come_back(world, node)


def test_every_takeover_from_the_backup(capsys: pytest.CaptureFixture[str]) -> None:
    """It keeps its place if it comes back early; otherwise the primary takes over again."""
    firsts = (("dead", "backup"), ("slow", ""))  # how the primary failed, and whose application wants to abort
    axes = product(list_places(), firsts, (False, True), (False, True), ("early", "3", "end"))
    count = 0
    for number, (place, (failure, wish), is_after, is_pause, back) in enumerate(axes):
        if not IS_WHOLE and number % EVERY_SECOND:
            continue
        case, act = Takeover(place, failure, back, wish=wish), 1
        while replace_again(case, CrashPoint(act, is_after, is_pause=is_pause)):
            act += 1
        count += act - 1
    show(capsys, f"{count} stops of a backup during its recovery: all at rest")
    assert count == (SECOND_PART if IS_WHOLE else SECOND_PART_BOUNDED)


@dataclass(frozen=True)
class Both:
    """Both are replaced: how the first failed, and the other; who takes over first, and how much later the second."""

    place: Place
    failure: str
    other_failure: str
    is_other_first: bool
    back: str
    messages: int

    def play(self, world: SweptWorld) -> None:
        assert stop(world, self.place, is_crash=self.failure == "dead"), self
        nodes = [world._list_nodes(role) for role in (self.place.role, self.place.role.other)]
        (world.crash if self.other_failure == "dead" else world.pause)(nodes[1][0].name)
        world.wait(int(LEASE_S))
        first, second = reversed(nodes) if self.is_other_first else nodes
        world.take_over(first[1].name)
        for _ in range(self.messages):
            if world.carrier.find_next() is not None:
                world.go_on()
        world.take_over(second[1].name)
        for moment in ("early", "end"):
            if self.back == moment:
                for primary, _ in nodes:
                    come_back(world, primary)
            world.go_on_until(lambda: world.is_at_rest)


def test_every_takeover_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    failures, backs = ("dead", "slow"), ("never", "early", "end")
    cases = [Both(*each) for each in product(list_places(), failures, failures, (False, True), backs, (0, 1, 3))]
    assert len(cases) == BOTH_PART
    count = 0
    for place, case in enumerate(cases if IS_WHOLE else cases[::EVERY_BOTH]):
        with make_swept_world("both", tls=IS_WHOLE or place % EVERY_TLS == 0) as world:
            case.play(world)
            wrong = find_all_wrong(world)
            assert not wrong, f"{case}\n{wrong}\n{world.trace}"
            count += 1
    show(capsys, f"{count} of {BOTH_PART} times both gateways replaced: all at rest")
    assert count == (BOTH_PART if IS_WHOLE else BOTH_PART_BOUNDED)
