"""The objects of LIP-1: forms, addresses, the life of a payment, and malformed input of every field."""

from typing import Any

import pytest

from protocol.channel_world import ChannelWorld, lab_cid
from protocol.errors import Refused
from protocol.messages.offchain import Address, Invalid, read_address, read_request
from protocol.messages.payments import RANK, Sides, is_terminal, verify_creation, verify_update
from protocol.objects import Json, canonical, parse
from protocol.outbox import Post, to_request_id
from protocol.parties import is_protocol_server
from protocol.signing import read_payload

WORLD = ChannelWorld()
C, D = WORLD.places["C"].vasp.address, WORLD.places["D"].vasp.address
KYC = {
    "payload_type": "KYC_DATA",
    "payload_version": 1,
    "type": "individual",
    "given_name": "ben",
    "surname": "maurer",
    "dob": "1920-03-20",
    "address": {"city": "Sunnyvale", "country": "US"},
    "place_of_birth": {"city": "Sunnyvale"},
    "national_id": {"id_value": "123-45-6789", "country": "US"},
}


def payment(**changes: Any) -> Json:
    """A payment that C sends to D, with every field of LIP-1 that its creation may have."""
    return {
        "reference_id": f"{C}_1",
        "sender": {
            "address": str(C.with_subaddress(b"12345678")),
            "kyc_data": KYC,
            "metadata": ["a"],
            "status": {"status": "needs_kyc_data"},
        },
        "receiver": {"address": str(D.with_subaddress(b"87654321"))},
        "original_payment_reference_id": f"{C}_0",
        "action": {"amount": 100, "currency": "LBR", "action": "charge", "timestamp": 72322},
        "description": "A free form description",
        **changes,
    }


def request(cid: str = lab_cid("1"), **changes: Any) -> Json:
    command = {"_ObjectType": "PaymentCommand", "_reads": {}, "_writes": {f"{C}_1": cid}, "payment": payment()}
    return {
        "_ObjectType": "CommandRequestObject",
        "command_type": "PaymentCommand",
        "command": command,
        "cid": cid,
        **changes,
    }


def answer(payload: bytes) -> list[tuple[str, str | None]]:
    """What D answers, as code and field; the answer must be signed, and no exception may come out."""
    world = ChannelWorld()  # the same seed, so the same keys and addresses; nothing has happened in it yet
    body = world.places["C"].key.sign_canonical(payload, memory=world["C"].recovery.memory)
    reply = world["D"].on_request(Post(to_request_id(lab_cid("1")), body), world.now)
    assert world["C"].keys.verify(reply.body).signer == "D"
    return [(error["code"], error.get("field")) for error in read_payload(reply.body).get("error", [])]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every field, whole objects included."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [deeper for name, inner in items for deeper in leaves(inner, (*path, name))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, list):
        return [put(inner, path[1:], new) if place == path[0] else inner for place, inner in enumerate(value)]
    return {name: put(inner, path[1:], new) if name == path[0] else inner for name, inner in value.items()}


EVERY = leaves(request())
NAMES = {path: ".".join(map(str, path)) for path in EVERY}
IN_OBJECTS = [path for path in EVERY if isinstance(path[-1], str)]
FREE_TEXT = {"city", "given_name", "surname", "id_value", "description"}  # LIP-1 says nothing about their content
_KYC = (
    "given_name",
    "surname",
    "dob",
    "address",
    "place_of_birth",
    "national_id",
    "address.city",
    "address.country",
    "place_of_birth.city",
    "national_id.country",
)
OPTIONAL = {f"command.payment.sender.kyc_data.{name}" for name in _KYC} | {
    "command.payment.sender.kyc_data",
    "command.payment.original_payment_reference_id",
    "command.payment.description",
}


@pytest.mark.parametrize("path", EVERY, ids=NAMES.get)
@pytest.mark.parametrize(
    "wrong",
    [None, 1.5, -1, True, {"x": 1}, [[]], "", "\u0000" * 300_000],
    ids=["null", "fraction", "negative", "truth", "object", "list", "empty", "huge"],
)
def test_a_wrong_value_in_any_field_is_answered_with_its_path(path: tuple[Any, ...], wrong: Any) -> None:
    found = answer(canonical(put(request(), path, wrong)))
    is_legal = isinstance(wrong, str) and (path[-1] in FREE_TEXT or path[-2:] == ("metadata", 0))
    if is_legal and not (path[-1] == "description" and wrong):
        assert found == [], "any text is a city"
        return
    assert any(is_about(field, NAMES[path]) for _, field in found), f"{NAMES[path]} is not named in {found}"


def is_about(field: str | None, path: str) -> bool:
    """A complaint names the field, something in it, or the mapping that a wrong cid or reference id breaks."""
    broken = {"cid": "command._writes", "command.payment.reference_id": "command._writes"}.get(path, path)
    return field is not None and (field.startswith((path, broken)) or path.startswith(f"{field}."))


@pytest.mark.parametrize("path", IN_OBJECTS, ids=NAMES.get)
def test_a_missing_field_is_named_where_it_is_required(path: tuple[Any, ...]) -> None:
    whole = request()
    inside = at(whole, path[:-1])
    found = answer(canonical(put(whole, path[:-1], {name: inside[name] for name in inside if name != path[-1]})))
    if NAMES[path] in OPTIONAL:
        assert found == []
    else:
        assert any(is_about(field, NAMES[path]) for _, field in found), found


@pytest.mark.parametrize("path", [(), *IN_OBJECTS], ids=lambda path: NAMES.get(path, "request"))
def test_an_unknown_field_is_named_in_every_object(path: tuple[Any, ...]) -> None:
    whole = request()
    inside = at(whole, path)
    if isinstance(inside, dict) and path[-1:] not in (("_reads",), ("_writes",)):
        found = answer(canonical(put(whole, path, {**inside, "surprise": 1})))
        assert found == [("unknown_field", ".".join([*path, "surprise"]))]


def at(whole: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        whole = whole[name]
    return whole


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b'"amount":100', b'"amount":100,"amount":100', "command.payment.action.amount"),
        (b'"amount":100', b'"amount":100.0', "command.payment.action.amount"),
        (b'"amount":100', b'"amount":1e2', "command.payment.action.amount"),
        (b'"amount":100', b'"amount":0100', "command.payment.action.amount"),
        (b'"amount":100', b'"amount":-0', "command.payment.action.amount"),
        (b'"amount":100', b'"amount":9007199254740993', "command.payment.action.amount"),
        (b'"amount":100', b'"amount":' + b"9" * 5000, "command.payment.action.amount"),
        (b'"amount":100', b'"amount":NaN', "command.payment.action.amount"),
        (b'"amount":100', b'"amount": 100', "command.payment.action.amount"),
        (b'"surname":"maurer"', b'"surname":"\\ud800"', "command.payment.sender.kyc_data.surname"),
        (b'"surname":"maurer"', b'"surname":"\\u006daurer"', "command.payment.sender.kyc_data.surname"),
        (b'"metadata":["a"]', b'"metadata":["a",1.0]', "command.payment.sender.metadata.1"),
        (
            b'"metadata":["a"]',
            b'"metadata":' + b"[" * 100_000 + b"]" * 100_000,
            "command.payment.sender.metadata.0.0.0.0",
        ),
        (b'"cid":', b'"aid":1,"cid":1,"cid":', "cid"),
    ],
)
def test_what_is_not_canonical_json_is_refused_at_its_place(old: bytes, new: bytes, field: str) -> None:
    payload = canonical(request())
    assert old in payload
    found = answer(payload.replace(old, new, 1))
    assert found == [("invalid_json", field)]


def test_an_amount_that_json_cannot_say_exactly_names_its_field() -> None:
    with pytest.raises(Refused) as refusal:
        parse(canonical(request()).replace(b'"amount":100', b'"amount":9007199254740992'))
    assert refusal.value.field == "command.payment.action.amount"


# Addresses


@pytest.mark.parametrize(
    ("text", "account", "subaddress"),
    [
        ("dm1p7ujcndcl7nudzwt8fglhx6wxn08kgs5tm6mz4us2vfufk", "f72589b71ff4f8d139674a3f7369c69b", "cf64428bdeb62af2"),
        ("dm1p7ujcndcl7nudzwt8fglhx6wxnvqqqqqqqqqqqqqd8p9cq", "f72589b71ff4f8d139674a3f7369c69b", "0000000000000000"),
    ],
)
def test_the_examples_of_dip_5(text: str, account: str, subaddress: str) -> None:
    address = read_address(text)
    assert (address.account.hex(), address.subaddress.hex(), str(address)) == (account, subaddress, text)
    assert read_address(text.upper()).account == address.account


@pytest.mark.parametrize(
    "text",
    [
        "lbr1pg9q5zs2pg9q5zs2pg9q5zs2pgyqqqqqqqqqqqqqqspa3m",
        "lbr1pgfpyysjzgfpyysjzgfpyysjzggqqqqqqqqqqqqqxjt54z",
        "lbr1pg9q5zs2pg9q5zs2pg9q5zs2pg9skzctpv9skzcg9kmwta",
        "lbr1pgfpyysjzgfpyysjzgfpyysjzgf3xycnzvf3xycsm957ne",
    ],
)
def test_the_addresses_in_lip_1(text: str) -> None:
    assert str(read_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "dm1pptdXVFJCK4JYW3RKFNM2MND2t5qqqqqqqqqqqqq305frg",  # mixed case, from DIP-5
        "dm1p7ujcndcl7nudzwt8fglhx6wxn08kgs5tm6mz4us2vfufj",  # a wrong checksum
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        str(Address("dm", bytes(16), bytes(7))),
        str(Address("xx", bytes(16))),
        "1" * 10_000,
    ],
)
def test_what_is_no_account_identifier_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_address(text)


@pytest.mark.parametrize(
    ("mine", "theirs", "is_server"),
    [
        ("00", "02", True),
        ("02", "00", False),  # equal last bits: the lower address serves
        ("00", "03", False),
        ("03", "00", True),  # different last bits: the higher one
    ],
)
def test_the_role_follows_from_the_addresses(mine: str, theirs: str, is_server: bool) -> None:
    first, second = (Address("lbr", bytes(15) + bytes.fromhex(text)) for text in (mine, theirs))
    assert is_protocol_server(first, second) is is_server


# The life of a payment

SIDES, OTHER = Sides(C, D), Sides(D, C)


def codes(call: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refusal:
        call()
    return [(error.code, str(error.field).removeprefix("command.payment.")) for error in refusal.value.errors]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"receiver": {"address": str(D), "status": {"status": "abort"}}},
            ("invalid_overwrite", "receiver.status.status"),
        ),
        ({"receiver": {"address": str(D), "kyc_data": KYC}}, ("invalid_overwrite", "receiver")),
        ({"receiver": {"address": str(C)}}, ("unknown_address", "sender.address")),
        ({"receiver": {"address": str(Address("lbr", b"nobody in here!!"))}}, ("unknown_address", "receiver.address")),
        ({"reference_id": f"{D}_1"}, ("invalid_command_producer", "reference_id")),
        ({"recipient_signature": "00"}, ("invalid_command_producer", "recipient_signature")),
        ({"sender": {"address": str(C), "metadata": []}}, ("missing_field", "sender.status")),
        ({"sender": {"address": str(C), "status": {"status": "none"}}}, ("missing_field", "sender.metadata")),
    ],
)
def test_what_a_creation_may_not_say(changes: Json, expected: tuple[str, str]) -> None:
    assert expected in codes(lambda: verify_creation(payment(**changes), SIDES))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"action": {"amount": 1, "currency": "LBR", "action": "charge", "timestamp": 1}},
            ("invalid_overwrite", "action"),
        ),
        ({"description": "other"}, ("invalid_overwrite", "description")),
        ({"original_payment_reference_id": f"{C}_7"}, ("invalid_overwrite", "original_payment_reference_id")),
        ({"sender": {"address": str(C)}}, ("invalid_overwrite", "sender.address")),
        ({"sender": {"metadata": []}}, ("invalid_overwrite", "sender.metadata")),
        ({"sender": {"metadata": ["b", "a"]}}, ("invalid_overwrite", "sender.metadata")),
        ({"sender": {"kyc_data": {**KYC, "surname": "x"}}}, ("invalid_overwrite", "sender.kyc_data")),
        ({"sender": {"status": {"status": "none"}}}, ("invalid_transition", "sender.status.status")),
        (
            {"sender": {"status": {"status": "needs_kyc_data", "abort_code": "x"}}},
            ("invalid_field_value", "sender.status.abort_code"),
        ),
        (
            {"sender": {"status": {"status": "abort", "abort_message": "x"}}},
            ("invalid_field_value", "sender.status.abort_message"),
        ),
        ({"receiver": {"metadata": ["x"]}}, ("invalid_overwrite", "receiver.metadata")),
        ({"recipient_signature": "00"}, ("invalid_command_producer", "recipient_signature")),
    ],
)
def test_what_an_update_may_not_change(change: Json, expected: tuple[str, str]) -> None:
    old = verify_creation(payment(), SIDES)
    assert codes(lambda: verify_update(old, change, SIDES)) == [expected]


def test_repeating_what_stands_is_allowed_and_additional_kyc_may_come_once() -> None:
    old = verify_creation(payment(), SIDES)
    assert verify_update(old, old, SIDES) == old
    more = {"sender": {"kyc_data": {**KYC, "additional_kyc_data": "x"}}}
    new = verify_update(old, more, SIDES)
    assert new["sender"]["kyc_data"]["additional_kyc_data"] == "x"
    again = {"sender": {"kyc_data": {**KYC, "additional_kyc_data": "y"}}}
    assert codes(lambda: verify_update(new, again, SIDES)) == [("invalid_overwrite", "sender.kyc_data")]


@pytest.mark.parametrize("was", RANK)
@pytest.mark.parametrize("wants", RANK)
def test_a_status_never_falls_and_an_abort_is_the_end(was: str, wants: str) -> None:
    old = verify_creation(payment(sender={"address": str(C), "status": {"status": was}, "metadata": []}), SIDES)
    change = {"sender": {"status": {"status": wants}}}
    if was != "abort" and RANK[wants] >= RANK[was]:
        assert verify_update(old, change, SIDES)["sender"]["status"]["status"] == wants
    else:
        assert [code for code, _ in codes(lambda: verify_update(old, change, SIDES))] == ["invalid_transition"]


def test_ready_on_both_sides_is_the_end() -> None:
    ready = {"status": "ready_for_settlement"}
    old = verify_creation(payment(sender={"address": str(C), "status": ready, "metadata": []}), SIDES)
    assert not is_terminal(old)
    done = verify_update(old, {"receiver": {"status": ready}, "recipient_signature": "00ff"}, OTHER)
    assert is_terminal(done) and not is_terminal(old)
    assert codes(lambda: verify_update(done, {}, SIDES)) == [("invalid_transition", "command.payment")]


def test_the_example_request_of_lip_1_has_a_legal_form() -> None:
    """Its trailing commas and comments put right; the example leaves out metadata, which an update may."""
    reference = "lbr1pg9q5zs2pg9q5zs2pg9q5zs2pgyqqqqqqqqqqqqqqspa3m_5b8403c986f53fe072301fe950d030cb"
    cid = "88b282d6181129f682be0421d0ee9887"
    form = read_request(
        {
            "_ObjectType": "CommandRequestObject",
            "command_type": "PaymentCommand",
            "cid": cid,
            "command": {
                "_ObjectType": "PaymentCommand",
                "_reads": {reference: "fd52e9c2a7ccc96be564d67199774fbc"},
                "_writes": {reference: cid},
                "payment": {
                    "sender": {
                        "address": "lbr1pg9q5zs2pg9q5zs2pg9q5zs2pg9skzctpv9skzcg9kmwta",
                        "kyc_data": KYC,
                        "status": {"status": "ready_for_settlement"},
                    },
                    "receiver": {"address": "lbr1pgfpyysjzgfpyysjzgfpyysjzgf3xycnzvf3xycsm957ne"},
                    "reference_id": reference,
                    "action": {"amount": 100, "currency": "USD", "action": "charge", "timestamp": 72322},
                    "description": "A free form or structured description of the payment.",
                },
            },
        }
    )
    assert form.cid == cid
