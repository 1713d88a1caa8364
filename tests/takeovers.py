"""One takeover as a case: who is replaced, where and how it failed, when it comes back, when its last order lands.

A case is played on the real gateways, step by step, and looked at after every step. Its moments, in order:

    before      the lease is nearly over, and nobody has taken over
    early       the backup has taken over; its counterparty has not heard of it
    1, 2 ...    so many messages were delivered since
    accepted    the counterparty has just taken the backup for its predecessor
    end         everything is at rest

At such a moment the primary comes back, or its last order lands at the ledger. A moment that a short recovery does not
reach comes at its end. "again 3": the primary comes back early, and takes over in its turn when the backup has crashed
at the third message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from protocol.errors import Misuse, NotYet
from protocol.faults import Store
from protocol.link import InFlight, Side
from protocol.replacement import STEP_S, Node, PrimaryBackup
from protocol.rules import Rules
from protocol.steps import Role
from protocol.takeovers import make_directory
from protocol.trace import Accepted, Crashed, Paused, TookOver
from tests.at_rest import BEYOND_EXPIRY_S, come_back, find_unsafe

FAILURES = ("dead", "slow", "no store", "no peer")
LATE_MAIL = "no store, late mail"  # what it still says is held up until its successor is accepted
BACKUP_WITHOUT_STORE = "no store for the backup"  # then nobody takes over
NUMBERS = ("1", "2", "3", "4", "5", "6")
AGAIN = ("again 1", "again 4")
BACKS = ("never", "before", "early", *NUMBERS, "end", *AGAIN)
LANDINGS = ("before", "early", "accepted", "end")
WISHES = ("", "backup", "peer")  # whose application wants to abort: that of the backup, or of the counterparty
EXPIRY = "the lock's expiry"  # instead of a wish: so long nobody takes over
UNTIL = {Role.SENDER: "3.2", Role.RECIPIENT: "2.4"}  # how far a transfer is that this side leaves
MOST_STEPS = 300


@dataclass(frozen=True)
class Place:
    """Before or after a durable act: the `number`-th of a step, or of the way back once `leaves` wants to abort."""

    role: Role
    step: str
    when: str
    number: int
    leaves: Role | None = None

    def __str__(self) -> str:
        where = f"step {self.step}" if self.leaves is None else f"the way back that the {self.leaves} wants"
        return f"{self.role}, {self.when} act {self.number} of {where}"


@dataclass(frozen=True)
class Takeover:
    """One case."""

    place: Place
    failure: str
    back: str
    lands: str = "never"
    wish: str = ""
    lock_type: str = "HASH_TIME_LOCK"

    def __str__(self) -> str:
        words = [f"back: {self.back}", f"lands: {self.lands}", f"wish to abort: {self.wish or 'nobody'}"]
        return f"{self.place}; {self.failure}; {'; '.join(words)}; {self.lock_type}"


class SweptWorld(PrimaryBackup):
    """A World that is looked at after every step, and that knows who claimed which epoch."""

    def __init__(self, of: str, **how: Any) -> None:
        self.claims: dict[tuple[str, int], str] = {}
        self.unsafe: list[str] = []
        self.held_up = ""  # the node whose messages arrive after all others, and not before a successor is accepted
        self.on_step: Callable[[], None] = lambda: None
        super().__init__(of, **how)

    def _open_store(self, side: Side) -> Store:
        store = super()._open_store(side)
        if isinstance(side, Node):
            self.claims[side.id, store.epoch] = side.name
        return store

    def go_on(self) -> bool:
        """One message is delivered, or time passes; True for a message. Remembers what must never be."""
        message = self._choose()
        if message is not None:
            self.link.remove(message)
            self._deliver(message)
        else:
            self._time_out()
        self.on_step()
        self.unsafe += find_unsafe(self)
        return message is not None

    def count_stops(self) -> int:
        """How often a gateway crashed or stood still."""
        return len(self.trace.of(Crashed, Paused))

    def go_on_until(self, is_there: Callable[[], bool]) -> None:
        """Step by step; at most so far that whatever does not come to rest is seen."""
        for _ in range(MOST_STEPS):
            if is_there():
                return
            self.go_on()

    def _choose(self) -> InFlight | None:
        able = [message for message in self.link if not message.target.is_paused]
        held_up = [message for message in able if message.source.name == self.held_up]
        others = [message for message in able if message not in held_up]
        if others or not self.trace.of(Accepted):
            return others[0] if others else None
        return held_up[0] if held_up else None


@contextmanager
def make_swept_world(of: str, *, tls: bool, rules: Rules | None = None) -> Iterator[SweptWorld]:
    with make_directory() as directory:
        world = SweptWorld(of, seed="takeovers", directory=directory, tls=tls, rules=rules)
        try:
            yield world
        finally:
            world.close()


def stop(world: SweptWorld, place: Place, *, is_crash: bool, lock_type: str = "HASH_TIME_LOCK") -> bool:
    """A transfer, up to where this gateway crashes or stands still; False if it has no such durable act."""
    halt = world.crash if is_crash else world.pause
    if place.leaves is None:
        halt(place.role, at=place.step, **{place.when: place.number})
        world.start(lock_type=lock_type)
    else:
        world.start(lock_type=lock_type)
        world.run(until=UNTIL[place.leaves])
        halt(place.role, **{place.when: place.number})  # type: ignore[arg-type]
        world.abort(place.leaves, "the application changed its mind")
    world.go_on_until(lambda: world.count_stops() > 0 or world.is_at_rest)
    return world.count_stops() > 0


class Played:
    """A case on its way through a World."""

    def __init__(self, world: SweptWorld, case: Takeover) -> None:
        self.world, self.case = world, case
        self.primary = world._list_nodes(case.place.role)[0]
        self.backup = world._list_nodes(case.place.role)[1].name
        self.peer = world._sides[case.place.role.other].name
        self.to_do = {"back": case.back, "lands": case.lands}
        self.has_wished = case.wish in ("", EXPIRY)
        self.is_accepted = False

    def play(self) -> None:
        case, world = self.case, self.world
        assert stop(world, case.place, is_crash=case.failure == "dead", lock_type=case.lock_type), f"no place: {case}"
        world.on_step = self.wish
        self._fail()
        self._wait()
        self._reach("before")
        if case.wish == EXPIRY:
            world.wait(BEYOND_EXPIRY_S)
        if case.back != "before":
            self._be_replaced()
            self._recover()
        self._rest()
        self._reach("end", *BACKS, *LANDINGS)  # and what a short recovery did not reach
        self._rest()

    def _fail(self) -> None:
        """The primary stands where it was stopped. What has failed besides?"""
        world, name = self.world, self.primary.name
        match self.case.failure:
            case "no store" | "no store, late mail":
                world.held_up = name if self.case.failure == LATE_MAIL else ""
                world.cut_store(name)
                world.wake(name)
            case "no peer":
                world.part(name, self.peer)
                world.wake(name)
            case "no store for the backup":
                world.cut_store(self.backup)

    def _wait(self) -> None:
        """Until the lease is nearly over; longer, if that does not make anybody take over."""
        world = self.world
        if self.case.failure in ("no peer", BACKUP_WITHOUT_STORE):
            until = world.clock.read().timestamp() + 40
            while world.clock.read().timestamp() < until:
                self.world.go_on()
            assert not world.trace.of(TookOver), "the primary was in charge, or nobody could tell that it was not"
            return
        while self._compute_rest_of_lease() > STEP_S:
            self.world.go_on()

    def _compute_rest_of_lease(self) -> float:
        lease = self.world.lease(self.primary.name)
        assert lease is not None
        return (lease.until - self.world.clock.read()).total_seconds()

    def _be_replaced(self) -> None:
        if self.case.failure == "no peer":
            self.world.hand_over(self.primary.name)
        self.world.go_on_until(lambda: bool(self.world.trace.of(TookOver)))
        assert self.world.in_charge[self.primary.id] == self.backup
        self._reach("early")

    def _recover(self) -> None:
        """Message by message, up to the last moment that has a number."""
        for number in NUMBERS:
            while not self.world.is_at_rest and not self.world.go_on():
                pass
            if not self.is_accepted and self.world.trace.of(Accepted):
                self.is_accepted = True
                self._reach("accepted")
            self._reach(number)
            if self.case.back == f"again {number}" and not self.world.is_at_rest:
                self.world.crash(self.backup)

    def _rest(self) -> None:
        self.world.go_on_until(lambda: self.world.is_at_rest)

    def _reach(self, *moments: str) -> None:
        """What is to happen at these moments: the order lands, and then the primary comes back."""
        if self.to_do["lands"] in moments:
            self.to_do["lands"] = "never"
            if self.primary.wire.in_flight is not None:
                self.world.land(self.primary.name)
        back = "early" if self.to_do["back"] in AGAIN else self.to_do["back"]
        if back in moments and back != "never":
            self.to_do["back"] = "never"
            if self.case.failure == "no peer":
                self.world.heal(self.primary.name, self.peer)
            else:
                come_back(self.world, self.primary)
        self.world.unsafe += find_unsafe(self.world)

    def wish(self) -> None:
        """The application asks as soon as its gateway is there, and again while the answer is "not yet"."""
        who = self.peer if self.case.wish == "peer" else self.world.in_charge[self.primary.id]
        if self.has_wished or (self.case.wish == "backup" and who == self.primary.name):
            return
        if not self.world._side(who).is_awake:
            return
        try:
            self.world.abort(who, "the application changed its mind")
        except NotYet:
            return
        except Misuse:
            pass
        self.has_wished = True
