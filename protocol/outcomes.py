"""Outcomes that are kept from one search for the next: what an event did to a gateway, and which rules it asked for.

    outcomes = Outcomes()
    explore(crashes=1, outcomes=outcomes)
    explore("prepared_recipient_waits", crashes=1, outcomes=outcomes)

Within one search each event of a state is computed once. The second search here asks for most of the same again, under
other rules. But a gateway knows its rules from one object only (rules.py), and that object notes what it is asked. So
an outcome is kept with the rules that were looked at while it was computed, and is the answer wherever the state, the
event and those rules are the same: no other rule can have had a part in it.

Nothing is kept unless somebody asks for it: a search by itself, and each process of a campaign, begins with nothing.
What is counted stays what one search needs, wherever its outcomes come from.
"""

from __future__ import annotations

from typing import Any, Final

from protocol.automata import Automaton, Event, Outcome
from protocol.plans import Plan
from protocol.units import State, Unit

MOST_KEPT: Final = 12_000  # about 10 kB each; whatever comes after that is computed again
Asked = tuple[tuple[str, bool], ...]
Kept = dict[tuple[bytes, Event], list[tuple[Asked, Outcome | None]]]


class Outcomes:
    """What events did to states of transfers. `computed` counts those that had to be, `given` those that were here."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Kept] = {}
        self.computed = self.given = self.count = 0

    def share(self, plan: Plan) -> Plan:
        """The same plan, with sides that look here first. A side that is no single gateway stays as it is."""
        one, other = plan.sides
        return plan._replace(sides=(self._wrap(one), self._wrap(other)))

    def _wrap(self, side: Automaton) -> Automaton:
        if type(side) is not Unit:
            return side
        made_with = tuple((name, getattr(side.rules, name)) for name in sorted(side.rules.asked))
        return SharingUnit(side, self, self._kept.setdefault((*side.configuration, made_with), {}))


class SharingUnit:
    """A unit that computes only what nobody has computed before."""

    def __init__(self, unit: Unit, outcomes: Outcomes, kept: Kept) -> None:
        self._unit, self._outcomes, self._kept = unit, outcomes, kept
        self.name, self.initial = unit.name, unit.initial

    def run(self, state: State, event: Event) -> Outcome | None:
        known = self._kept.setdefault((state.key, event), [])
        rules, outcomes = self._unit.rules, self._outcomes
        for asked, outcome in known:
            if all(getattr(rules, name) is value for name, value in asked):
                outcomes.given += 1
                return outcome
        outcomes.computed += 1
        rules.asked.clear()
        outcome = self._unit.run(state, event)
        if outcomes.count < MOST_KEPT:
            outcomes.count += 1
            known.append((tuple((name, getattr(rules, name)) for name in sorted(rules.asked)), outcome))
        return outcome
