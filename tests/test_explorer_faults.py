"""Gateways that are broken on purpose, each in one place: the search finds what breaks, and the shortest run to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.channel import Channel
from protocol.channel_explorations import CHANNEL, ChannelBounds, make_channel_plan
from protocol.errors import Misuse, NotYet
from protocol.explorer import Explorer
from protocol.gateway import Gateway
from protocol.ledger import Asset, Ledger, Order
from protocol.pair_plans import PairBounds, make_pair_plan
from protocol.recovery import _BY_FACTS, find_recovery_row
from protocol.session import Session
from protocol.steps import _ROWS_OF, Role, find_row
from tests.twins import PROPERTIES, list_broken, make_small_plan

ENOUGH = 1500  # states: a broken gateway may write without end


def look(most: int = ENOUGH, **bounds: Any) -> dict[str, str]:
    return list_broken(Explorer(make_small_plan(**bounds), PROPERTIES, most_states=most).run())


def move_row(monkeypatch: pytest.MonkeyPatch, role: Role, number: str, *, before: str) -> None:
    """One row of TABLE 1 in another place, as one role reads it."""
    rows = [row for row in _ROWS_OF[role] if row.number != number]
    place = next(place for place, row in enumerate(rows) if row.number == before)
    monkeypatch.setitem(_ROWS_OF, role, (*rows[:place], find_row(number), *rows[place:]))


def test_a_recipient_that_assigns_before_it_has_heard_of_the_burn(monkeypatch: pytest.MonkeyPatch) -> None:
    move_row(monkeypatch, Role.RECIPIENT, "3.6", before="3.5")
    found = look(200, aborts=1)
    assert found["no double spend"] == "start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 R.time-out S.abort"


def test_a_sender_that_burns_before_there_is_a_mint(monkeypatch: pytest.MonkeyPatch) -> None:
    move_row(monkeypatch, Role.SENDER, "3.4", before="3.1")
    assert look(aborts=1)["progress"] == "start 1.1 1.2 1.3 1.4 2.2 2.4 R.abort"


def test_a_recipient_that_says_commit_ready_before_it_has_the_receipt_of_its_mint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    move_row(monkeypatch, Role.RECIPIENT, "3.3", before="3.2")
    assert look(200)["no breakdown"] == "start 1.1 1.2 1.3 1.4 2.2 2.4 3.1"


def test_a_row_of_table_2_that_gives_up_after_the_burn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row C decides as row Q does: a dispute, where the only way is forward."""
    for facts in [facts for facts, row in _BY_FACTS.items() if row.letter == "C"]:
        monkeypatch.setitem(_BY_FACTS, facts, find_recovery_row("Q"))
    assert look(crashes=1)["no loss"] == (
        "start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 3.3:a5 S.restart S.transfer-resume R.transfer-continue S.recover-dispute "
        "R.recover-dispute S.time-out"
    )


def test_a_gateway_that_never_says_its_last_word_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "compute_last_own_message", lambda session: None)
    assert look(losses=1)["progress"] == "start -1.1"


def test_a_gateway_that_answers_nothing_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing bad happens, either: that is what the endings are asked for."""
    monkeypatch.setattr(Gateway, "receive", lambda gateway, data: None)
    found = look()
    assert found["completes"] == ""
    assert "no double spend" not in found and "no loss" not in found


@pytest.mark.parametrize(
    ("action", "run"),
    [
        ("assign", "start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 3.3 3.5"),
        ("unlock", "start 1.1 1.2 1.3 1.4 S.abort"),
    ],
)
def test_a_network_that_gives_the_asset_to_a_stranger(action: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The asset has one owner at the end, and it is the wrong one."""
    compute = Ledger._compute_next

    def compute_for_a_stranger(ledger: Ledger, order: Order) -> Asset:
        after = compute(ledger, order)
        return replace(after, owner="a stranger") if order.action == action else after

    monkeypatch.setattr(Ledger, "_compute_next", compute_for_a_stranger)
    assert look(aborts=1)["no loss"] == run


@pytest.mark.parametrize("kind", [Misuse, NotYet])
def test_what_refuses_a_message_by_an_error_of_its_own_has_broken_down(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a gateway with a backup, and of a channel: only what an application asks for may be refused."""

    def refuse(gateway: Gateway, data: bytes) -> None:
        raise kind("a mistake")

    pair, channel = make_pair_plan((), PairBounds(Role.RECIPIENT, takeovers=0)), make_channel_plan(ChannelBounds())
    monkeypatch.setattr(Gateway, "receive", refuse)
    found = list_broken(Explorer(pair, PROPERTIES, most_states=200).run())
    assert found["no breakdown"] == "start 1.1"
    monkeypatch.setattr(Channel, "on_request", lambda channel, post, now: refuse(channel, post))
    found = list_broken(Explorer(channel, CHANNEL, most_states=200).run())
    assert found["no breakdown"] == "A.update A.aaaa"
