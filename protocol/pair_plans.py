"""What is explored where one of the two gateways has a backup: how much may happen, and who its peer is.

    Explorer(make_pair_plan((), PairBounds("sender", takeovers=1, pauses=1)), (*TRANSFER, ONE_IN_CHARGE)).run()

The pair is one side (pairs.py), an ordinary unit is the other: it knows the certificate of the primary, and learns of
the backup from the backup's own offer. A takeover is no fault: progress may count on one, as far as the bounds allow.
With `comes_back=False` a primary that was stopped never does: then progress is what the backup brings about alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from protocol.automata import Event, Outcome
from protocol.bounds import write_slots
from protocol.errors import Misuse
from protocol.example import make_proposal
from protocol.letters import AFTER, BACKUP, PRIMARY, Letter, is_lost, label_letter
from protocol.offers import Outgoing
from protocol.pairs import Pair
from protocol.peers import CertifiedKeys
from protocol.plans import Move, Plan, verify_count
from protocol.properties import ENDINGS, ONE_IN_CHARGE, TRANSFER, Property
from protocol.replays import Conditions
from protocol.rules import Rules, vary
from protocol.steps import Role
from protocol.successions import Succession
from protocol.units import State, Unit

# ---------------------------------------------------------------------- their peer


class Counterparty(Unit):
    """A unit whose peer has a backup: it knows the certificate of the primary, which lists the backup's key."""

    def __init__(self, role: Role, rules: Rules | None = None, **how: Any) -> None:
        self._heard: list[str] = []
        self._lock_type = how.get("lock_type")
        super().__init__(role, rules, **how)

    def _publish(self, name: str) -> None:
        key = self._make_key(name).public
        backups = [self._make_key(name + BACKUP).public] if name == self.peer else []
        self._registry.publish(name, key, backups=backups)

    def _on_succession(self, heard: Succession) -> None:
        self._heard.append(heard.certificate.gateway_id)

    def run(self, state: State, event: Event) -> Outcome | None:
        self._heard.clear()
        speaker, about = "", event[1]
        if event[0] == "deliver":
            letter = Letter.open(about)
            speaker, about = letter.source, letter.data
        elif isinstance(about, str):
            return None  # about a node of the pair
        outcome = super().run(state, (event[0], about))
        if outcome is None or not (outcome.sent or self._heard):
            return outcome
        target = speaker or self._find_acting()
        sent = tuple(Letter(self.id, target, data).seal() for data in outcome.sent)
        replaced = {self.peer + each for each in AFTER} - set(self._heard) if self._heard else set()
        return replace(outcome, sent=sent, loses=tuple(f"of {name} but offers" for name in sorted(replaced)))

    def _happen(self, kind: str, about: Any) -> list[Outgoing]:
        """The claim of a proposal names the key of the node that it believes to act for its peer."""
        if kind != "start":
            return super()._happen(kind, about)
        assert self._gateway is not None
        names = {self.peer: self._find_acting()}
        proposal = make_proposal(lambda name: self._make_key(names.get(name, name)), None, self._lock_type)
        return [self._gateway.start(proposal)]

    def _find_acting(self) -> str:
        """The node that it believes to act for its peer."""
        ring = next(part for part in self._parts if isinstance(part, CertifiedKeys))
        return ring.current(self.peer).gateway_id


# ---------------------------------------------------------------------- what is explored


@dataclass(frozen=True)
class PairBounds:
    """How much may happen in one behaviour of a transfer, where the gateway `of` has a backup."""

    of: str = Role.SENDER
    takeovers: int = 1
    pauses: int = 0
    crashes: int = 0  # of any of the three gateways
    losses: int = 0
    duplicates: int = 0
    waits: int = 0
    early: int = 0
    aborts: int = 0
    lands: int = 0
    comes_back: bool = True  # whoever was stopped; without it progress is the backup's alone
    lock_type: str | None = None

    def __str__(self) -> str:
        """What may happen, in words."""
        lock = [self.lock_type] if self.lock_type else []
        return ", ".join([f"backup of {self.of}", *write_slots(self.slots), *lock])

    @property
    def slots(self) -> dict[str, int]:
        """How often what may happen that is not free."""
        names = (each.name for each in fields(self) if each.name not in ("of", "comes_back", "lock_type"))
        return {name: getattr(self, name) for name in names}

    def make_conditions(self, flipped: tuple[str, ...]) -> Conditions:
        """What stands before the text of a run that was found within them."""
        return Conditions(flipped, self.lock_type, self.of)


def make_pair_plan(flipped: tuple[str, ...], bounds: PairBounds) -> Plan:
    """Misuse for a role that is none, and where nobody could take over."""
    if bounds.of not in tuple(Role):
        raise Misuse(f'the backup is one of "sender" or "recipient", not of {bounds.of!r}')
    rules, keeps = vary(*flipped), bool(bounds.lands)
    sides = tuple(
        (Pair if role == bounds.of else Counterparty)(role, rules, keeps_orders=keeps, lock_type=bounds.lock_type)
        for role in Role
    )
    for name, count in bounds.slots.items():
        verify_count(name, count)
    back = (
        [Move((kind, node)) for kind in ("restart", "wake") for node in AFTER]
        if bounds.comes_back
        else [Move(("restart", BACKUP)), Move(("wake", BACKUP))]
    )
    alone = (
        Move(("time out", PRIMARY)),
        Move(("time out", BACKUP)),
        *back,
        *(Move(("take over", node), "takeovers", helps=True) for node in AFTER),
        *(Move(("crash", node), "crashes") for node in AFTER),
        *(Move(("land", node), "lands") for node in AFTER),
    )
    return Plan(
        (sides[0], sides[1]),
        bounds.slots | {"start": 1},
        ((0, Move(("start", 0), "start")),),
        (*alone, Move(("time out", None)), Move(("abort", 0), "aborts")),
        (*alone, Move(("restart", None)), Move(("land", None), "lands")),
        label_letter,
        (Move(("wait", None), "waits", helps=True),),
        loses_connection=rules.fresh_connection_after_restart,
        is_lost=lambda name, message: is_lost(name, Letter.open(message.data)),
    )


def choose_pair_properties(bounds: PairBounds) -> tuple[Property, ...]:
    """What must hold of a transfer, and that whoever was replaced writes nothing more."""
    del bounds
    return (*TRANSFER, ONE_IN_CHARGE, next(each for each in ENDINGS if each.name == "completes"))


def list_pair_left_out(bounds: PairBounds) -> tuple[str, ...]:
    """The endings that are not asked for here."""
    del bounds
    return tuple(each.name for each in ENDINGS if each.name != "completes")
