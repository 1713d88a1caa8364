"""The life of a payment (LIP-1, "PaymentObject" to "StatusEnum"): what one version may change of the one before.

    written at creation, never changed     reference_id, addresses, action, original_payment_reference_id
    written once, by whoever               description
    written once, by one side              kyc_data (each its own), recipient_signature (the receiver's)
    appended to                            metadata
    only ever rising                       status, in LIP-1's three ranks
    the end                                abort on either side, or ready_for_settlement on both

A command may repeat what stands already; it may never touch the other side's half. Everything here is
pure and knows no cid: `verify_creation` and `verify_update` return the new payment or refuse with every
breach and its path. `compute_payment` makes the same payment from a history that both sides signed.

LIP-1 says that kyc_data is immutable once set, and that a soft match is cleared by additional_kyc_data
inside it. Both cannot hold; here additional_kyc_data may be added once, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

from protocol.errors import Refused
from protocol.messages.offchain import Address, Invalid, OffChainErrorObject, read_address
from protocol.objects import Json

ROLES = ("sender", "receiver")
RANK = {
    "none": 0,
    "needs_kyc_data": 1,
    "needs_recipient_signature": 1,
    "pending_review": 1,
    "soft_match": 1,
    "ready_for_settlement": 2,
    "abort": 2,
}
Breach = tuple[str, str, str]  # code, path below `command.payment`, what is wrong


@dataclass(frozen=True)
class Sides:
    """Who produced a command, and who the other party of the channel is, by the address of the VASP."""

    producer: Address
    other: Address

    def owner_of(self, address: str) -> Address | None:
        """The party whose account the address is of; its subaddress belongs to a customer."""
        try:
            found = read_address(address)
        except Refused:
            return None
        for party in (self.producer, self.other):
            if (party.prefix, party.account) == (found.prefix, found.account):
                return party
        return None


def is_terminal(payment: Json) -> bool:
    """Aborted on either side, or ready on both: not to be changed any more."""
    said = [_status(payment, role) for role in ROLES]
    return "abort" in said or said == ["ready_for_settlement"] * 2


def verify_creation(payment: Json, sides: Sides) -> Json:
    """The first version. Refused as Invalid."""
    breaches = list(_find_missing(payment)) or list(_find_creation_breaches(payment, sides))
    _refuse(breaches)
    return _create(payment)


def verify_update(old: Json, change: Json, sides: Sides) -> Json:
    """The next version. Refused as Invalid."""
    if is_terminal(old):
        states = " and ".join(f"{role} {_status(old, role)}" for role in ROLES)
        _refuse([("invalid_transition", "", f"the payment has ended: {states}")])
    own = next(role for role in ROLES if sides.owner_of(old[role]["address"]) == sides.producer)
    _refuse([*_find_fixed_breaches(old, change, own), *_find_actor_breaches(old, change, own)])
    return _merge(old, change)


def compute_payment(changes: Iterable[Json], start: Json | None = None) -> Json:
    """What a chain of commands makes of a payment. Rules are not asked: both sides signed for every step."""
    steps = iter(changes)
    return reduce(_merge, steps, start if start is not None else _create(next(steps)))


# Creation


def _find_missing(payment: Json) -> Iterator[Breach]:
    for name in (*ROLES, "action"):
        if name not in payment:
            yield "missing_field", name, "required when a payment is created"
    for role in ROLES:
        if role in payment and "address" not in payment[role]:
            yield "missing_field", f"{role}.address", "required when a payment is created"


def _find_creation_breaches(payment: Json, sides: Sides) -> Iterator[Breach]:
    owners = {role: sides.owner_of(payment[role]["address"]) for role in ROLES}
    for role in ROLES:
        if owners[role] is None or owners["sender"] == owners["receiver"]:
            yield "unknown_address", f"{role}.address", "one actor is a customer of each party of the channel"
            return
    own, other = ROLES if owners["sender"] == sides.producer else reversed(ROLES)
    if payment["reference_id"].split("_")[0] != str(sides.producer):
        yield "invalid_command_producer", "reference_id", "a reference id begins with the address of its creator"
    for name in ("status", "metadata"):
        if name not in payment[own]:
            yield "missing_field", f"{own}.{name}", "required of the side that creates the payment"
    if "kyc_data" in payment[other] or payment[other].get("metadata"):
        yield "invalid_overwrite", other, "the other side writes this itself"
    if _status(payment, other) != "none":
        yield "invalid_overwrite", f"{other}.status.status", "only none may be set for the other side"
    if own == "sender" and "recipient_signature" in payment:
        yield "invalid_command_producer", "recipient_signature", "only the receiving side can sign this"
    yield from _find_status_breaches(payment, own)


def _create(payment: Json) -> Json:
    """The stored form: both actors with the fields that are mandatory in LIP-1."""
    return {**payment, **{role: {"status": {"status": "none"}, "metadata": [], **payment[role]} for role in ROLES}}


# Update


def _find_fixed_breaches(old: Json, change: Json, own: str) -> Iterator[Breach]:
    for name in ("reference_id", "action", "original_payment_reference_id"):
        if name in change and change[name] != old.get(name):
            yield "invalid_overwrite", name, "written at creation and never changed"
    for name in ("description", "recipient_signature"):
        if name in change and name in old and change[name] != old[name]:
            yield "invalid_overwrite", name, "written once"
    if own == "sender" and "recipient_signature" in change and "recipient_signature" not in old:
        yield "invalid_command_producer", "recipient_signature", "only the receiving side can sign this"


def _find_actor_breaches(old: Json, change: Json, own: str) -> Iterator[Breach]:
    for role in ROLES:
        new, before = change.get(role, {}), old[role]
        if new.get("address", before["address"]) != before["address"]:
            yield "invalid_overwrite", f"{role}.address", "written at creation and never changed"
        if role != own:
            for name in ("kyc_data", "status", "metadata"):
                if name in new and new[name] != before.get(name):
                    yield "invalid_overwrite", f"{role}.{name}", "the other side writes this itself"
            continue
        if "kyc_data" in new and "kyc_data" in before and not _extends_kyc(before["kyc_data"], new["kyc_data"]):
            yield "invalid_overwrite", f"{role}.kyc_data", "written once; only additional_kyc_data may be added"
        if "metadata" in new and new["metadata"][: len(before["metadata"])] != before["metadata"]:
            yield "invalid_overwrite", f"{role}.metadata", "entries are appended, never changed or removed"
        if "status" in new:
            was, wants = _status(old, role), _status(change, role)
            if RANK[wants] < RANK[was]:
                yield "invalid_transition", f"{role}.status.status", f"{was} does not go back to {wants}"
            yield from _find_status_breaches(change, role)


def _find_status_breaches(payment: Json, own: str) -> Iterator[Breach]:
    status: Json = payment[own].get("status", {})
    if own == "receiver" and status.get("status") == "needs_recipient_signature":
        yield "invalid_field_value", "receiver.status.status", "only the sender waits for the recipient's signature"
    if "abort_code" in status and status.get("status") != "abort":
        yield "invalid_field_value", f"{own}.status.abort_code", "goes with the status abort"
    if "abort_message" in status and "abort_code" not in status:
        yield "invalid_field_value", f"{own}.status.abort_message", "goes with an abort_code"


def _extends_kyc(old: Json, new: Json) -> bool:
    return new == old or ("additional_kyc_data" not in old and {**old, **_additional(new)} == new)


def _additional(kyc: Json) -> Json:
    return {name: value for name, value in kyc.items() if name == "additional_kyc_data"}


def _merge(old: Json, change: Json) -> Json:
    actors = {role: {**old[role], **change[role]} for role in ROLES if role in change}
    return {**old, **change, **actors}


def _status(payment: Json, role: str) -> Any:
    return payment[role].get("status", {}).get("status", "none")


def _refuse(breaches: list[Breach]) -> None:
    if breaches:
        raise Invalid(
            OffChainErrorObject(
                type="command_error", code=code, message=message, field=f"command.payment.{path}".rstrip(".")
            )
            for code, path, message in breaches
        )
