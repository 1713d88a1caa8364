"""LIP-1's tables, field by field: the column "Required?" of each clause is tried on an object that has all fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from protocol.channel_world import ChannelWorld, lab_cid
from protocol.messages import offchain
from protocol.messages.offchain import Invalid, OffChainObject, read_request, read_response
from protocol.messages.payments import verify_creation, verify_update
from protocol.objects import Json
from protocol.outbox import Post, to_request_id
from tests.test_offchain import KYC, OTHER, SIDES, C, payment, request
from tools.clauses import FOLDER, Clause, read_clauses

LIP_1 = read_clauses(FOLDER / "lip-1.json")
ADDRESS = {
    "city": "Sunnyvale",
    "country": "US",
    "line1": "1234 Maple Street",
    "line2": "Apartment 123",
    "postal_code": "12345",
    "state": "California",
}
NATIONAL_ID = {"id_value": "123-45-6789", "country": "US", "type": "SSN"}
WHOLE_KYC = KYC | {
    "address": ADDRESS,
    "place_of_birth": {"city": "Sunnyvale"},
    "national_id": NATIONAL_ID,
    "legal_entity_name": "Example",
    "additional_kyc_data": "more",
}
STATUS = {"status": "abort", "abort_code": "a code", "abort_message": "a message"}
ACTOR = {"address": str(C), "kyc_data": WHOLE_KYC, "status": STATUS, "metadata": []}
ERROR = {"type": "command_error", "field": "cid", "code": "conflict", "message": "a message"}
RESPONSE = {"_ObjectType": "CommandResponseObject", "status": "failure", "error": [ERROR], "cid": request()["cid"]}


class Table(NamedTuple):
    """An object with every field of one table of LIP-1, its model, and how an object of it is judged."""

    whole: Json
    model: type[OffChainObject]
    judge: Callable[[Json], object]


def by_model(model: type[OffChainObject], whole: Json) -> Table:
    return Table(whole, model, lambda content: offchain._validate(model, content))


def as_payment(content: Json) -> object:
    """Some fields are required of a payment that is created, and may be left out where one is changed."""
    offchain._validate(offchain.PaymentObject, content)
    return verify_creation(content, SIDES)


TABLES = {
    "CommandRequestObject": Table(request(), offchain.CommandRequestObject, read_request),
    "CommandResponseObject": Table(RESPONSE, offchain.CommandResponseObject, read_response),
    "OffChainErrorObject": by_model(offchain.OffChainErrorObject, ERROR),
    "PaymentCommand Object": by_model(offchain.PaymentCommand, request()["command"]),
    "PaymentObject": Table(payment(sender=ACTOR), offchain.PaymentObject, as_payment),
    "PaymentActorObject": Table(
        ACTOR, offchain.PaymentActorObject, lambda content: as_payment(payment(sender=content))
    ),
    "KYCDataObject": by_model(offchain.KYCDataObject, WHOLE_KYC),
    "AddressObject": by_model(offchain.AddressObject, ADDRESS),
    "NationalIdObject": by_model(offchain.NationalIdObject, NATIONAL_ID),
    "PaymentActionObject": by_model(offchain.PaymentActionObject, payment()["action"]),
    "StatusObject": by_model(offchain.StatusObject, STATUS),
}
OURS = {"CommandResponseObject": {"result"}}
ONE_SIDE_ONLY = {"recipient_signature"}  # of a payment that its receiver creates


def list_fields(*keywords: str) -> list[tuple[str, str]]:
    """Section and field of the clauses that a table's row made."""
    rows = [clause for clause in LIP_1 if clause.keyword in keywords]
    return [(clause.section, name_field(clause)) for clause in rows]


def name_field(clause: Clause) -> str:
    return clause.id.removeprefix(f"{clause.section} ")


def without(content: Json, field: str) -> Json:
    return {name: value for name, value in content.items() if name != field}


@pytest.mark.parametrize("section", TABLES)
def test_an_object_with_all_fields_is_taken(section: str) -> None:
    table = TABLES[section]
    table.judge(table.whole)


@pytest.mark.parametrize(("section", "field"), list_fields("Y"))
def test_an_object_without_a_required_field_is_refused(section: str, field: str) -> None:
    table = TABLES[section]
    assert field in table.whole, "the field is there, so that it can be left out"
    with pytest.raises(Invalid) as refusal:
        table.judge(without(table.whole, field))
    assert {str(error.field).rpartition(".")[2] for error in refusal.value.errors} == {field}


@pytest.mark.parametrize(("section", "field"), list_fields("N"))
def test_an_object_without_an_optional_field_is_taken(section: str, field: str) -> None:
    table = TABLES[section]
    whole = {**table.whole, field: "00ff"} if field in ONE_SIDE_ONLY else table.whole
    assert field in whole, "the field is there, so that it can be left out"
    table.judge(without(whole, field))


@pytest.mark.parametrize("section", TABLES)
def test_every_field_of_an_object_has_its_clause_or_is_ours(section: str) -> None:
    named = {field for each, field in list_fields("Y", "N") if each == section}
    named |= {"sender", "receiver"} if section == "PaymentObject" else set()
    fields = {info.alias or name for name, info in TABLES[section].model.model_fields.items()}
    assert fields == named | OURS.get(section, set())


@pytest.mark.parametrize(
    ("section", "field", "good", "bad"),
    [
        ("PaymentObject", "reference_id", f"{C}_{'x' * 64}", f"{C}_{'x' * 65}"),
        ("PaymentObject", "description", "é" * 255, "é" * 256),
        ("KYCDataObject", "type", "entity", "Individual"),
        ("KYCDataObject", "payload_version", "1", 2),
        ("PaymentActionObject", "action", "charge", "refund"),
        ("StatusObject", "status", "soft_match", "settled"),
        ("OffChainErrorObject", "type", "protocol_error", "error"),
        ("CommandResponseObject", "status", "success", "wait"),
    ],
)
def test_what_lip_1_limits_is_refused_beyond_it(section: str, field: str, good: Any, bad: Any) -> None:
    table = TABLES[section]
    table.judge(table.whole | {field: good})
    with pytest.raises(Invalid) as refusal:
        table.judge(table.whole | {field: bad})
    assert refusal.value.field == field


def test_a_receiver_does_not_wait_for_its_own_signature() -> None:
    waiting = {"status": {"status": "needs_recipient_signature"}}
    created = as_payment(payment())
    assert isinstance(created, dict)
    verify_update(created, {"sender": waiting}, SIDES)
    with pytest.raises(Invalid) as refusal:
        verify_update(created, {"receiver": waiting}, OTHER)
    assert refusal.value.field == "command.payment.receiver.status.status"


def test_a_response_under_the_id_of_another_request_changes_nothing() -> None:
    world = ChannelWorld()
    world.create("C", "abcd")
    (sent,) = world["C"].take_due(world.now)
    reply = world["D"].on_request(sent, world.now)
    assert reply.x_request_id == sent.x_request_id == to_request_id(lab_cid("abcd"))
    world["C"].on_response(Post(to_request_id(lab_cid("beef")), reply.body), world.now)
    assert world.outcome("C", "abcd").state == "pending"
    assert "names no request of ours" in world["C"].log[-1]
    world["C"].on_response(reply, world.now)
    assert world.outcome("C", "abcd").state == "success"
