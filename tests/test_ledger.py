"""The network's contract: once, exclusive, and always able to say whether."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from protocol.errors import Misuse
from protocol.ledger import (
    ACTIONS,
    Cancellation,
    Ledger,
    LedgerRefused,
    Order,
    PendingUntil,
    State,
    compute_hash_lock,
)
from protocol.network import START
from protocol.rules import Rules
from protocol.signing import KeyPair, KeyRing

PREIMAGE = "ab" * 32
KEY = KeyPair.lab("network", "test")


class Clock:
    def __init__(self) -> None:
        self.time = START


def make_ledger(rules: Rules | None = None) -> tuple[Ledger, Clock]:
    clock = Clock()
    ledger = Ledger("1", KEY, lambda: clock.time, rules)
    ledger.issue("asset", "Alice")
    return ledger, clock


def order(action: str, step: str = "", under: str | None = None, **changes: object) -> Order:
    base = Order(f"s/{step or action}", action, "asset", "s", "GW1", "GW2", "Alice", "Bob", under=under)
    if action == "lock":
        base = replace(base, lockType="HASH_TIME_LOCK", lock_s=60, hashLock=compute_hash_lock(PREIMAGE))
    if action == "unlock":
        base = replace(base, preimage=PREIMAGE)
    return replace(base, **changes)  # type: ignore[arg-type]


LOCK, MINT = order("lock"), order("mint", assetId="minted")


def test_an_operation_happens_once_and_returns_the_first_receipt() -> None:
    ledger, clock = make_ledger()
    first = ledger.act(LOCK)
    clock.time += timedelta(seconds=5)
    assert ledger.act(LOCK) == first
    assert ledger.height == 1
    with pytest.raises(LedgerRefused, match="used for something else"):
        ledger.act(replace(LOCK, action="mint"))


def test_receipt_answers_whether_it_happened_yet() -> None:
    ledger, _ = make_ledger()
    assert ledger.receipt("s/lock") is None
    receipt = ledger.act(LOCK)
    assert ledger.receipt("s/lock") == receipt
    assert (receipt.sessionId, receipt.peer, receipt.beneficiary) == ("s", "GW2", "Bob")
    assert ledger.actions_of("GW1") == [receipt]
    assert ledger.actions_of("GW2") == []


def test_receipts_are_signed_by_the_network() -> None:
    ledger, _ = make_ledger()
    receipt = ledger.act(LOCK)
    signed = KeyRing([("1", KEY.public)]).verify(receipt.signed)
    assert signed.payload == receipt.as_json()


ENDS = {"burn": State.BURNED, "unlock": State.FREE, "expire": State.FREE}


@pytest.mark.parametrize("sequence", list(permutations(ENDS)))
def test_burn_unlock_and_expiry_exclude_each_other(sequence: tuple[str, ...]) -> None:
    """In every order the first one wins, and the others find nothing to do."""
    ledger, clock = make_ledger()
    ledger.act(LOCK)
    for action in sequence:
        if action == "expire":
            clock.time += timedelta(seconds=60)
        elif action == sequence[0]:
            ledger.act(order(action, under="s/lock"))
        else:
            with pytest.raises(LedgerRefused):
                ledger.act(order(action, under="s/lock"))
    assert ledger.assets[0].state is ENDS[sequence[0]]
    word = {"burn": "burned", "unlock": "unlocked", "expire": "expired"}[sequence[0]]
    assert ledger.state("s/lock") == word
    expiries = [receipt for receipt in ledger.actions_of("GW1") if receipt.action == "expire"]
    assert len(expiries) == (sequence[0] == "expire"), "expiry is an event with a receipt, and only if it happened"


def test_a_lock_expires_at_its_second_and_not_before() -> None:
    ledger, clock = make_ledger()
    receipt = ledger.act(LOCK)
    assert receipt.expiry == "2024-10-03T12:03:00Z"
    clock.time += timedelta(seconds=59)
    assert ledger.state("s/lock") == "live"
    clock.time += timedelta(seconds=1)
    assert ledger.state("s/lock") == "expired"
    assert ledger.receipt("s/lock/expire") is not None
    with pytest.raises(LedgerRefused, match="asset lock expired") as refusal:
        ledger.act(order("burn", under="s/lock"))
    assert refusal.value.code == "err_2.2.9"


@pytest.mark.parametrize("sequence", list(permutations(["assign", "destroy"])))
def test_assign_and_destroy_exclude_each_other(sequence: tuple[str, str]) -> None:
    ledger, _ = make_ledger()
    ledger.act(MINT)
    ledger.act(order(sequence[0], under="s/mint", assetId="minted"))
    with pytest.raises(LedgerRefused):
        ledger.act(order(sequence[1], under="s/mint", assetId="minted"))
    assert ledger.owner_of("minted") == ("Bob" if sequence[0] == "assign" else None)


def test_a_minted_asset_is_nobodys_until_it_is_assigned() -> None:
    """SATP 10.2: self-assigned to the recipient gateway."""
    ledger, _ = make_ledger()
    ledger.act(MINT)
    assert ledger.owner_of("minted") is None
    assert ledger.assets[-1].owner == "GW1"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (order("lock", "first", assetId="nothing"), "err_2.2.7"),
        (order("lock", "second"), "err_2.2.8"),
        (order("burn", under="another/lock"), ""),
        (order("unlock", under=None), ""),
        (order("mint"), ""),
        (order("expire", under="s/lock"), ""),
        (order("melt"), ""),
        (order("lock", "third", originator="Mallory"), "err_2.2.8"),
    ],
)
def test_a_refusal_changes_nothing(wrong: Order, code: str) -> None:
    ledger, _ = make_ledger()
    ledger.act(LOCK)
    before = (ledger.assets, ledger.height)
    with pytest.raises(LedgerRefused) as refusal:
        ledger.act(wrong)
    assert refusal.value.code == code
    assert (ledger.assets, ledger.height) == before
    assert ledger.receipt(wrong.operationId) is None or wrong.operationId == "s/lock"


def test_only_the_owner_can_have_an_asset_locked_and_never_for_ever() -> None:
    ledger, _ = make_ledger()
    with pytest.raises(LedgerRefused, match="not the originator's"):
        ledger.act(order("lock", originator="Mallory"))
    with pytest.raises(LedgerRefused, match="seconds after which it expires"):
        ledger.act(order("lock", lock_s=None))


def test_every_action_leaves_another_state_than_it_needs() -> None:
    """So that no action can follow itself under a new operation id."""
    assert all(after not in needed for needed, after in ACTIONS.values())


def test_record_changes_no_asset_and_keeps_the_hash() -> None:
    ledger, _ = make_ledger()
    before = ledger.assets
    assert ledger.act(order("record", recordHash="ab")).recordHash == "ab"
    assert ledger.assets == before


def test_an_asset_is_issued_once() -> None:
    ledger, _ = make_ledger()
    with pytest.raises(Misuse, match="has asset asset already"):
        ledger.issue("asset", "Alice")


# What each lock type allows: early unlock without and with the preimage, expiry.
LOCKS: dict[str, tuple[type[LedgerRefused] | None, type[LedgerRefused] | None, bool]] = {
    "TIME_LOCK": (PendingUntil, PendingUntil, True),
    "HASH_LOCK": (LedgerRefused, None, False),
    "HASH_TIME_LOCK": (LedgerRefused, None, True),
}


@pytest.mark.parametrize("lock_type", LOCKS)
@pytest.mark.parametrize("preimage", [None, "cd" * 32, PREIMAGE])
def test_what_each_lock_type_allows(lock_type: str, preimage: str | None) -> None:
    ledger, clock = make_ledger()
    ledger.act(replace(LOCK, lockType=lock_type))
    without, with_preimage, expires = LOCKS[lock_type]
    refusal = with_preimage if preimage == PREIMAGE else without
    unlock = order("unlock", under="s/lock", preimage=preimage)
    if refusal is None:
        assert ledger.act(unlock).action == "unlock"
        assert ledger.owner_of("asset") == "Alice"
        return
    with pytest.raises(refusal) as raised:
        ledger.act(unlock)
    assert isinstance(raised.value, PendingUntil) == (lock_type == "TIME_LOCK")
    assert ledger.state("s/lock") == "live"
    clock.time += timedelta(days=3650)
    assert ledger.state("s/lock") == ("expired" if expires else "live")


def test_a_pending_unlock_says_until_when() -> None:
    ledger, _ = make_ledger()
    ledger.act(replace(LOCK, lockType="TIME_LOCK"))
    with pytest.raises(PendingUntil) as raised:
        ledger.act(order("unlock", under="s/lock"))
    assert raised.value.until == "2024-10-03T12:03:00Z"


@pytest.mark.parametrize(
    "incomplete",
    [replace(LOCK, lockType="PAD_LOCK"), replace(LOCK, lockType=None), replace(LOCK, hashLock=None)],
)
def test_an_incomplete_lock_is_refused(incomplete: Order) -> None:
    ledger, _ = make_ledger()
    with pytest.raises(LedgerRefused):
        ledger.act(incomplete)
    assert ledger.owner_of("asset") == "Alice"


def test_cancel_answers_for_good() -> None:
    """Before the operation: it never happens. After it: the receipt. Either way the answer stays the same."""
    ledger, _ = make_ledger()
    cancelled = ledger.cancel("s/lock")
    assert isinstance(cancelled, Cancellation)
    assert KeyRing([("1", KEY.public)]).verify(cancelled.signed).payload == cancelled.as_json()
    with pytest.raises(LedgerRefused, match="cancelled for good"):
        ledger.act(LOCK)
    assert ledger.cancel("s/lock") == cancelled
    assert ledger.receipt("s/lock") is None
    receipt = ledger.act(order("lock", "second"))
    assert ledger.cancel("s/second") == receipt
    assert ledger.act(order("lock", "second")) == receipt


EVERY_ACT = {
    "burn": order("burn", under="s/lock"),
    "unlock": order("unlock", under="s/lock"),
    "cancel burn": None,
    "cancel unlock": None,
    "expire": None,
}


@pytest.mark.parametrize("sequence", list(permutations(EVERY_ACT)))
def test_in_every_order_one_thing_ends_a_lock_and_nothing_lands_late(sequence: tuple[str, ...]) -> None:
    ledger, clock = make_ledger()
    ledger.act(LOCK)
    ended: list[str] = []
    cancelled: set[str] = set()
    for name in sequence:
        if name == "expire":
            clock.time += timedelta(seconds=60)
            if not ended:
                ended.append("expire")
        elif name.startswith("cancel"):
            answer = ledger.cancel(f"s/{name[7:]}")
            assert isinstance(answer, Cancellation) == (name[7:] not in ended)
            cancelled.add(name[7:])
        elif ended or name in cancelled:
            with pytest.raises(LedgerRefused):
                act = EVERY_ACT[name]
                assert act is not None
                ledger.act(act)
        else:
            act = EVERY_ACT[name]
            assert act is not None
            ledger.act(act)
            ended.append(name)
        end = ledger.end_of("s/lock")
        assert (end.action if end else None) == (ended[0] if ended else None)
    assert len(ended) == 1
    assert sum(receipt.under == "s/lock" for receipt in ledger.actions_of("GW1")) == 1


def test_two_sessions_want_one_asset_and_one_gets_it() -> None:
    ledger, _ = make_ledger()
    ledger.act(LOCK)
    with pytest.raises(LedgerRefused, match="asset already locked") as raised:
        ledger.act(order("lock", operationId="other/lock", sessionId="other"))
    assert raised.value.code == "err_2.2.8"
