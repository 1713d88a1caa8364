"""How much may happen in one behaviour, and what is explored of a transfer within that.

    Bounds(crashes=1, aborts=1)     at most one crash, and one wish of an application to leave
    DEFAULT                         one transfer, up to two crashes, every single loss and every single duplication

What is 0 does not happen. The bounds by default are two searches, one with a loss and one with a duplicate: each alone
is over in seconds, and the two can run beside each other. Both faults in one behaviour are one more search.

An ending that needs what the bounds do not allow cannot be asked for: a lock does not expire where no time passes.
`choose_properties` leaves such endings out, and an exploration says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final

from protocol.errors import Misuse
from protocol.plans import Move, Plan, verify_count
from protocol.properties import ENDINGS, TRANSFER, Property
from protocol.replays import LOCKS, Conditions, label_message
from protocol.steps import Role
from protocol.units import Unit

WORDS: Final = {  # of one, and of several
    "crashes": ("crash", "crashes"),
    "losses": ("loss", "losses"),
    "duplicates": ("duplicate", "duplicates"),
    "waits": ("wait", "waits"),
    "early": ("early time-out", "early time-outs"),
    "aborts": ("abort", "aborts"),
    "logs": ("lost log", "lost logs"),
    "tails": ("lost entry", "lost entries"),
    "keys": ("lost key", "lost keys"),
    "cuts": ("cut", "cuts"),
    "lands": ("late order", "late orders"),
    "takeovers": ("takeover", "takeovers"),
    "pauses": ("pause", "pauses"),
}


def write_slots(slots: Mapping[str, int]) -> list[str]:
    """What may happen, in words."""
    return [f"{count} {WORDS[name][count > 1]}" for name, count in slots.items() if count]


@dataclass(frozen=True)
class Bounds:
    """How much may happen in one behaviour. What is 0 does not happen. Misuse for what cannot be."""

    sessions: int = 1
    crashes: int = 2  # of either gateway
    losses: int = 0  # messages that are lost by themselves
    duplicates: int = 0  # messages that arrive twice
    waits: int = 0  # how often the time of a lock passes
    early: int = 0  # time-outs while something is still on its way
    aborts: int = 0  # how often an application wants to leave
    logs: int = 0  # how often a gateway that is down loses its whole log
    tails: int = 0  # how often it loses the last entry
    keys: int = 0  # how often it loses its key
    cuts: int = 0  # how often the connection is lost, and one of both notices
    lands: int = 0  # how often an order lands that a crash left on its way: the last one of a gateway
    lock_type: str | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 1 if name == "sessions" else 0
            if name != "lock_type":
                verify_count(name, value, least=least)
        if self.lock_type not in (None, *LOCKS):
            raise Misuse(f"a lock is one of {', '.join(LOCKS)}, not {self.lock_type!r}")
        without = [name for name in ("logs", "tails", "keys", "lands") if getattr(self, name) and not self.crashes]
        if self.lock_type == "TIME_LOCK" and self.aborts and not self.waits:
            raise Misuse("a TIME_LOCK is freed by time alone: whoever aborts needs waits=1 or more")
        if without:
            raise Misuse(f"{', '.join(without)}: this happens to a gateway that is down, so it needs crashes=1 or more")

    def __str__(self) -> str:
        """What may happen, in words."""
        sessions = [f"{self.sessions} sessions"] if self.sessions > 1 else []
        lock = [self.lock_type] if self.lock_type else []
        return ", ".join([*sessions, *write_slots(self.slots), *lock]) or "no fault"

    @property
    def slots(self) -> dict[str, int]:
        """How often what may happen that is not free."""
        names = (each.name for each in fields(Bounds) if each.name not in ("sessions", "lock_type"))
        return {name: getattr(self, name) for name in names}

    def make_conditions(self, flipped: tuple[str, ...]) -> Conditions:
        """What stands before the text of a run that was found within them."""
        return Conditions(flipped, self.lock_type)


DEFAULT: Final = (Bounds(crashes=2, losses=1), Bounds(crashes=2, duplicates=1))


def make_bounds(bounds: Bounds | None = None, **by_name: int | str | None) -> Bounds:
    """The bounds, or those made of names. Misuse, with the names that there are, for any other."""
    known = [each.name for each in fields(Bounds)]
    unknown = [name for name in by_name if name not in known]
    if unknown:
        raise Misuse(f"there is no bound {', '.join(unknown)}; there are {', '.join(known)}")
    if bounds is not None and not isinstance(bounds, Bounds):
        raise Misuse(f"bounds are an object of Bounds, not {bounds!r}")
    if bounds is not None and by_name:
        raise Misuse("bounds are given as one object, or by their names, not both")
    return bounds if bounds is not None else Bounds(**by_name)  # type: ignore[arg-type]


def join_bounds(several: Sequence[Bounds]) -> Bounds:
    """The least that allows what each of these allows."""
    counts = {name: max(each.slots[name] for each in several) for name in Bounds().slots}
    locks = [each.lock_type for each in several if each.lock_type]
    return Bounds(max(each.sessions for each in several), **counts, lock_type=locks[0] if locks else None)


def make_plan(flipped: tuple[str, ...], bounds: Bounds) -> Plan:
    """One transfer or several between two gateways, with these rules off, and these behaviours of the drafts on."""
    rules = Conditions(flipped).rules
    sides = tuple(
        Unit(
            role,
            rules,
            sessions=bounds.sessions,
            lock_type=bounds.lock_type,
            keeps_orders=bool(bounds.lands),
            loses_tails=bool(bounds.tails),
        )
        for role in Role
    )
    numbers = range(bounds.sessions)
    return Plan(
        (sides[0], sides[1]),
        bounds.slots | {f"start {number + 1}": 1 for number in numbers},
        tuple((0, Move(("start", number), f"start {number + 1}")) for number in numbers),
        (
            Move(("time out", None)),
            *(Move(("abort", number), "aborts") for number in numbers),
            Move(("cut", None), "cuts"),
            Move(("land", None), "lands"),
        ),
        (
            Move(("restart", None)),
            Move(("forget", None), "logs"),
            Move(("forget", 1), "tails"),
            Move(("lose key", None), "keys"),
            Move(("land", None), "lands"),
        ),
        label_message,
        (Move(("wait", None), "waits", helps=True),),
        loses_connection=rules.fresh_connection_after_restart,
        keeps_messages=not rules.fresh_connection_after_restart,
    )


# Which bounds an ending needs: one of these must not be 0. What is not here needs nothing.
NEEDS: Final = {"backs out": ("aborts", "waits"), "unlocks": ("aborts",), "expires": ("waits",)}


def choose_properties(bounds: Bounds) -> tuple[Property, ...]:
    """What must hold, and the endings that can occur within the bounds."""
    return TRANSFER + tuple(each for each in ENDINGS if _can_occur(each.name, bounds))


def list_left_out(bounds: Bounds) -> tuple[str, ...]:
    """The endings that cannot occur within the bounds."""
    return tuple(each.name for each in ENDINGS if not _can_occur(each.name, bounds))


def _can_occur(ending: str, bounds: Bounds) -> bool:
    return ending not in NEEDS or any(getattr(bounds, name) for name in NEEDS[ending])
