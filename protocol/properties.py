"""What must hold of every behaviour, and what must happen in some: the properties that an exploration checks.

    always       in every state
    sometimes    in at least one: so a model that does nothing cannot pass
    eventually   from every state some way leads to rest, without another fault

A property looks at a *scene*: what both sides show from outside, and whether anything is on its way. At rest nothing is
on its way, both gateways are up, nothing is left to compare, and no transfer is open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from protocol.example import CLAIM
from protocol.recovery import MyLog
from protocol.units import Transfer, View


class Scene(NamedTuple):
    """Both sides from outside. `is_quiet`: nothing is on its way."""

    one: Any
    other: Any
    is_quiet: bool


class Kind(StrEnum):
    ALWAYS = "always"
    SOMETIMES = "sometimes"
    EVENTUALLY = "eventually"


@dataclass(frozen=True)
class Property:
    """`holds` says of a scene whether it fits; for "eventually", whether it is where all ways must be able to lead."""

    name: str
    kind: Kind
    words: str
    holds: Callable[[Scene], bool]

    def __repr__(self) -> str:
        return f"{self.name} ({self.kind}): {self.words}"


# ---------------------------------------------------------------------- transfers

AT_REST = {MyLog.NOTHING.value, MyLog.LEFT.value, MyLog.COMPLETE.value, MyLog.FROZEN.value, "parked"}
ORIGINATOR: Final = CLAIM["verifiedOriginatorEntityId"]  # of every transfer that is explored
BENEFICIARY: Final = CLAIM["verifiedBeneficiaryEntityId"]
REPORTED = {MyLog.FROZEN.value, "parked"}  # a human was called


def is_rest(scene: Scene) -> bool:
    """Nothing more will happen by itself."""
    views: tuple[View, View] = scene.one, scene.other
    is_done = all(transfer.standing in AT_REST for view in views for transfer in view.transfers)
    return scene.is_quiet and is_done and all(view.is_up and not view.is_comparing for view in views)


def _pairs(scene: Scene) -> list[tuple[Transfer, Transfer]]:
    return list(zip(scene.one.transfers, scene.other.transfers, strict=True))


def _no_double_spend(scene: Scene) -> bool:
    return all(len(origin.free) + len(destination.free) <= 1 for origin, destination in _pairs(scene))


def _no_loss(scene: Scene) -> bool:
    """What is burned here and destroyed there is lost, whatever anybody does, and so is what a stranger can use.

    Else it is for rest to show.
    """
    is_gone = any(one.actions[-1:] == ("burn",) and other.actions[-1:] == ("destroy",) for one, other in _pairs(scene))
    is_strange = any({*one.free} - {ORIGINATOR} or {*other.free} - {BENEFICIARY} for one, other in _pairs(scene))
    return not (is_gone or is_strange) and (
        not is_rest(scene) or all(len(one.free) + len(other.free) == 1 for one, other in _pairs(scene))
    )


def _agreement(scene: Scene) -> bool:
    if not is_rest(scene):
        return True
    return all(
        {one.standing, other.standing} & REPORTED or _find_end(one, "burn") == _find_end(other, "assign")
        for one, other in _pairs(scene)
    )


def _find_end(transfer: Transfer, final: str) -> bool:
    """Whether it is complete, as far as this side can say. Who has lost its log has its network's word for it."""
    if transfer.standing == MyLog.NOTHING.value:
        return transfer.actions[-1:] == (final,)
    return transfer.standing == MyLog.COMPLETE.value


def _durability(scene: Scene) -> bool:
    """Whoever has the message that says "burned" or "assigned" can rely on it."""
    return all(
        (not {"3.5"} <= other.done or one.actions[-1:] == ("burn",))
        and (not {"3.7"} <= one.done or other.actions[-1:] == ("assign",))
        for one, other in _pairs(scene)
    )


def _acts_once(scene: Scene) -> bool:
    """A lock is ended once, a mint too; and nothing is done twice in one session."""
    return all(len(set(transfer.actions)) == len(transfer.actions) <= 2 for pair in _pairs(scene) for transfer in pair)


def _no_breakdown(scene: Scene) -> bool:
    return not scene.one.failure and not scene.other.failure


def _one_in_charge(scene: Scene) -> bool:
    return bool(scene.one.is_in_order and scene.other.is_in_order)


def _both_are(scene: Scene, standing: MyLog) -> bool:
    return is_rest(scene) and all({one.standing, other.standing} == {standing.value} for one, other in _pairs(scene))


def _returned_after(scene: Scene, end: str) -> bool:
    return is_rest(scene) and all(one.actions[-1:] == (end,) for one, _ in _pairs(scene))


TRANSFER: tuple[Property, ...] = (
    Property(
        "no double spend", Kind.ALWAYS, "never free at the origin and assigned at the destination", _no_double_spend
    ),
    Property(
        "no loss",
        Kind.ALWAYS,
        "never burned here and destroyed there, never a stranger's; at rest exactly one owner",
        _no_loss,
    ),
    Property("agreement", Kind.ALWAYS, "at rest both gateways say the same, or one has called a human", _agreement),
    Property("durability", Kind.ALWAYS, "a burn or assignment that the peer was told of is never undone", _durability),
    Property("isolation", Kind.ALWAYS, "one lock, one mint, and one end of each", _acts_once),
    Property("no breakdown", Kind.ALWAYS, "no gateway ends by a mistake of its own program", _no_breakdown),
    Property("progress", Kind.EVENTUALLY, "from every state some way leads to rest", is_rest),
)
ENDINGS: tuple[Property, ...] = (
    Property("completes", Kind.SOMETIMES, "both say complete", lambda scene: _both_are(scene, MyLog.COMPLETE)),
    Property("backs out", Kind.SOMETIMES, "both say ended", lambda scene: _both_are(scene, MyLog.LEFT)),
    Property("unlocks", Kind.SOMETIMES, "the sender has unlocked", lambda scene: _returned_after(scene, "unlock")),
    Property("expires", Kind.SOMETIMES, "the lock has expired", lambda scene: _returned_after(scene, "expire")),
)
ONE_IN_CHARGE = Property(
    "one in charge", Kind.ALWAYS, "no entry of an older epoch after one of a newer epoch", _one_in_charge
)
