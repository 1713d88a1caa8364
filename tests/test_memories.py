"""A gateway that is put back into an earlier state knows what it knew then, and nothing that came later."""

from __future__ import annotations

from typing import Any

from protocol.explorations import explore
from protocol.steps import Role
from protocol.units import Unit


def step(unit: Unit, state: Any, kind: str, about: object = None) -> Any:
    outcome = unit.run(state, (kind, about))
    assert outcome is not None
    return outcome


def test_what_was_verified_with_a_key_is_not_known_before_that_key_was() -> None:
    """The recipient comes back with a new key. Its peer learns of it; put back to before, it does not know it."""
    sender, recipient = Unit(Role.SENDER), Unit(Role.RECIPIENT)
    begun = step(sender, sender.initial, "start", 0)
    told = step(recipient, recipient.initial, "deliver", begun.sent[0])
    down = step(recipient, told.state, "crash")
    offer = step(recipient, step(recipient, down.state, "lose key").state, "restart")
    answer = step(sender, begun.state, "deliver", offer.sent[0])
    later = step(recipient, offer.state, "deliver", answer.sent[0])  # signed with the new key
    assert sender.run(answer.state, ("deliver", later.sent[0])) is not None
    refused = sender.run(begun.state, ("deliver", later.sent[0]))
    assert refused is None or not refused.state.view.failure


def test_a_lost_key_is_searched_to_the_end() -> None:
    found = explore(crashes=1, keys=1)
    assert found.is_whole
    assert not found.broken, found
