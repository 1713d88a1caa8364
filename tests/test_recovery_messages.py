"""The nine messages of a recovery: what each must have, what each may have more, and which fields are ours."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from protocol.errors import Refused
from protocol.facts import compute_no_position
from protocol.messages import recovery as wire
from protocol.network import World
from protocol.objects import Json, digest
from protocol.recovery import MyLedger, MyLog, Verdict
from protocol.session import Session
from protocol.signing import KeyPair, read_payload
from protocol.steps import Role
from tests.conftest import check_transferred
from tests.test_bad_input import fingerprint
from tests.test_recovery_fuzz import Recorded

NAMES = ("transfer-resume", "transfer-continue", "recover", "recover-update", "recover-update-ack", "recover-success",
         "recover-dispute", "rollback", "rollback-ack")  # fmt: skip

# RECOVERY 5.3, parameter by parameter. The signature is the JWS's.
DRAFT: dict[str, dict[str, str]] = {
    "recover": {"Session ID": "sessionId", "Context ID": "contextId", "Message Type": "messageType",
                "SATP phase": "satpPhase", "Sequence number": "sequenceNumber", "Is_Backup": "isBackup",
                "New Identity Public Key": "newIdentityPublicKey", "Last_entry_timestamp": "lastEntryTimestamp"},
    "recover-update": {"Session ID": "sessionId", "Context ID": "contextId", "Message Type": "messageType",
                       "Hash Recover Message": "hashRecoverMessage", "Recovered logs": "recoveredLogs"},
    "recover-update-ack": {"Session ID": "sessionId", "Context ID": "contextId", "Message Type": "messageType",
                           "Hash Recover Update Message": "hashRecoverUpdateMessage", "success": "success",
                           "entries changed": "entriesChanged"},
    "rollback": {"Session ID": "sessionId", "Context ID": "contextId", "Message Type": "messageType",
                 "success": "success", "actions performed": "actionsPerformed", "proofs": "proofs"},
    "rollback-ack": {"Session ID": "sessionId", "Context ID": "contextId", "Message Type": "messageType",
                     "success": "success", "actions performed": "actionsPerformed", "proofs": "proofs"},
}  # fmt: skip
DRAFT_TYPES = {name: f"urn:ietf:SATP-2pc:msgtype:{name}-msg" for name in DRAFT}

# The fourth message and the dispute are named by the draft (5.1, figures of 5.4; 5.3.3), and not spelt out.
NAMED_BY_DRAFT = {
    "recover-success": {"sessionId", "contextId", "success", "entriesChanged"},
    "recover-dispute": {"messageType", "sessionId", "contextId"},
}

# The thread: "offers to continue processing, with a list of transactions and phases in each transaction", "SessionID;
# crash-error-code", "SessionID; protocol-step-X; TLS-resume", "proceed or back out (or indeed don't recognise)".
THREAD = {
    "transfer-resume": {"messageType", "crashErrorCode", "sessions", "isBackup", "newIdentityPublicKey"},
    "transfer-continue": {"messageType", "sessions", "tlsResume"},
    "Position": {"sessionId", "satpPhase", "sequenceNumber"},
    "Answer": {"sessionId", "satpPhase", "sequenceNumber", "verdict", "continueWith"},
}


@cache
def examples() -> dict[str, Json]:
    """One real message of every type, out of runs."""
    found: dict[str, Json] = {}
    for kind in ("tail", "back out", "key"):
        world = Recorded(f"examples of {kind}")
        world.start()
        world.run(until="3.3")
        world.crash("sender")
        if kind == "tail":
            world.forget("sender", 5)
        elif kind == "key":
            world.lose_key("sender")
        else:
            world.wait(400)
        world.restart("sender")
        world.run()
        for _, data in world.said:
            payload = read_payload(data)
            if wire.is_recovery(payload):
                name = wire.RECOVERY_NAMESPACE
                found[payload["messageType"].removeprefix(name).removesuffix("-msg")] = payload
        if kind == "tail":
            gateway = world.sender
            data = gateway._reconciliation.exchange.dispute(world.sessions[0], "a reason", [], "0" * 64)
            found["recover-dispute"] = read_payload(data)
        world.close()
    return found


def model_of(name: str) -> type[BaseModel]:
    models: dict[str, type[BaseModel]] = dict(zip(wire.NAMES, wire.MODELS, strict=True))
    return models[name]


def test_the_closed_list() -> None:
    assert set(wire.NAMES) == set(NAMES) == examples().keys()
    for name, message_type in DRAFT_TYPES.items():
        assert examples()[name]["messageType"] == message_type


@pytest.mark.parametrize("name", NAMES)
def test_parsed_and_written_again_it_is_the_same(name: str) -> None:
    payload = examples()[name]
    assert wire.write_recovery(wire.parse_recovery(payload)) == payload
    assert digest(wire.write_recovery(wire.parse_recovery(payload))) == digest(payload)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_fields_are_kept(name: str) -> None:
    payload = examples()[name] | {"somethingNew": {"a": [1]}}
    assert wire.write_recovery(wire.parse_recovery(payload)) == payload


def fields(name: str) -> list[tuple[str, str]]:
    return [(name, field) for field in model_of(name).model_fields]


EVERY_FIELD = [pair for name in NAMES for pair in fields(name)]


def refuse(payload: Json) -> Refused:
    with pytest.raises(Refused) as caught:
        wire.parse_recovery(payload)
    return caught.value


@pytest.mark.parametrize(("name", "field"), EVERY_FIELD)
def test_a_required_field_that_is_missing_is_named(name: str, field: str) -> None:
    payload = {key: value for key, value in examples()[name].items() if key != field}
    if model_of(name).model_fields[field].is_required():
        assert refuse(payload).field == field
    else:
        assert wire.write_recovery(wire.parse_recovery(payload)) == payload


@pytest.mark.parametrize(("name", "field"), EVERY_FIELD)
@pytest.mark.parametrize("value", [7.5, [None], {"": None}, "\u0000", True], ids=repr)
def test_a_field_of_another_type_is_named(name: str, field: str, value: Any) -> None:
    """Some of these values are right for some fields; then the message is taken as it is."""
    payload = examples()[name] | {field: value}
    annotation = str(model_of(name).model_fields[field].annotation)
    if (value is True and "bool" in annotation) or (isinstance(value, dict) and "dict" in annotation):
        wire.parse_recovery(payload)
        return
    if value == "\u0000" and field in FREE_TEXT:
        wire.parse_recovery(payload)
        return
    refusal = refuse(payload)
    assert str(refusal.field).split(".")[0] == field
    assert field in str(refusal)


FREE_TEXT = {"gatewayId", "peerId", "nonce", "contextId", "reason"}
CLOSED = [
    ("transfer-resume", "crashErrorCode", "meteorite"),
    ("transfer-resume", "restartFrom", "the beginning"),
    ("transfer-resume", "incarnation", -1),
    ("transfer-resume", "incarnation", 2**53),
    ("transfer-resume", "epoch", -1),
    ("transfer-resume", "timestamp", "2024-10-03T12:02+00Z"),
    ("transfer-continue", "hashPrevMessage", "A" * 64),
    ("recover", "satpPhase", 4),
    ("recover", "satpPhase", -1),
    ("recover", "sequenceNumber", -1),
    ("recover", "lastEntryTimestamp", "soon"),
    ("recover", "certificate", "-----BEGIN CERTIFICATE-----"),
    ("recover-update", "sessionId", "7"),
    ("recover-update", "recoveredLogs", ["not a JWS"]),
    ("recover-update-ack", "entriesChanged", ["0"]),
    ("recover-dispute", "reason", ""),
    ("recover-dispute", "evidence", [""]),
    ("rollback", "code", "err"),
    ("rollback", "proofs", ["a.b"]),
    ("rollback", "actionsPerformed", [""]),
    ("rollback-ack", "hashPrevMessage", "0" * 63),
]


@pytest.mark.parametrize(("name", "field", "value"), CLOSED)
def test_a_value_that_is_not_in_the_list_is_named(name: str, field: str, value: Any) -> None:
    assert str(refuse(examples()[name] | {field: value}).field).split(".")[0] == field


@pytest.mark.parametrize("field", wire.Answer.model_fields)
@pytest.mark.parametrize("value", ["xx", -1, None, [], 10**30])
def test_a_wrong_line_of_a_list_is_found_at_its_place(field: str, value: Any) -> None:
    payload = copy.deepcopy(examples()["transfer-continue"])
    payload["sessions"][0][field] = value
    if value is None and not wire.Answer.model_fields[field].is_required():
        return
    if value == "xx" and field in ("step", "continueWith"):
        return
    assert str(refuse(payload).field) == f"sessions.0.{field}"


@pytest.mark.parametrize("message_type", ["urn:ietf:SATP-2pc:msgtype:hello-msg", "", 7, None, ["recover-msg"]])
def test_an_unknown_type_is_refused(message_type: Any) -> None:
    assert refuse({"messageType": message_type}).field == "messageType"


# ---------------------------------------------------------------------- what is ours


def ours(model: type[BaseModel]) -> set[str]:
    return {
        name
        for name, info in model.model_fields.items()
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("x-ours")
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_no_document_names_is_marked_and_nothing_else(name: str) -> None:
    named = set(DRAFT.get(name, {}).values()) | NAMED_BY_DRAFT.get(name, set()) | THREAD.get(name, set())
    model = model_of(name)
    assert named <= model.model_fields.keys()
    assert ours(model) == model.model_fields.keys() - named


@pytest.mark.parametrize("model", [wire.Position, wire.Answer])
def test_what_no_document_names_in_a_list_is_marked(model: type[BaseModel]) -> None:
    assert ours(model) == model.model_fields.keys() - THREAD[model.__name__]


def test_what_the_draft_requires_is_required() -> None:
    """The words REQUIRED of 5.3; the others of the draft may be left out."""
    required = {
        "recover": {"messageType", "isBackup", "lastEntryTimestamp"},
        "recover-update": {"messageType", "hashRecoverMessage"},
        "recover-update-ack": {"messageType", "hashRecoverUpdateMessage"},
        "rollback": {"messageType"},
        "rollback-ack": {"messageType"},
    }
    for name, wanted in required.items():
        assert all(model_of(name).model_fields[field].is_required() for field in wanted)
    optional = {"contextId", "satpPhase", "sequenceNumber", "newIdentityPublicKey"}
    assert not any(wire.Recover.model_fields[field].is_required() for field in optional)


def test_the_words_on_the_wire_are_those_of_table_2() -> None:
    assert get_args(wire.LogWord) == tuple(MyLog)
    assert get_args(wire.LedgerWord) == tuple(MyLedger)
    assert get_args(wire.Verdict) == tuple(Verdict)
    for log in MyLog:
        for ledger in MyLedger:
            position = compute_no_position("0" * 8 + "-0000-4000-8000-" + "0" * 12, Role.SENDER, ledger)
            payload = position.model_dump(exclude_none=True) | {"log": log.value}
            assert wire.Position.model_validate(payload).ledger == ledger


# ---------------------------------------------------------------------- a peer that has read the draft alone


@pytest.mark.parametrize("until", ["1.2", "2.2", "2.4", "3.3", "3.5", "3.9"])
@pytest.mark.parametrize("who", ["sender", "recipient"])
def test_the_drafts_recover_is_answered_with_what_both_share(until: str, who: str, world: World) -> None:
    world.start()
    world.run(until=until)
    gateway, key = (world.sender, world.key("GW2")) if who == "sender" else (world.recipient, world.key("GW1"))
    session: Session = gateway.session(world.sessions[0])
    payload = {
        "messageType": DRAFT_TYPES["recover"],
        "sessionId": session.id,
        "contextId": session.context,
        "satpPhase": 1,
        "sequenceNumber": 1,
        "isBackup": False,
        "lastEntryTimestamp": world.now,
    }
    data = key.sign(payload).encode()
    before = fingerprint(world)
    update = wire.parse_recovery(read_payload(gateway.receive(data) or b""))
    assert isinstance(update, wire.RecoverUpdate)
    assert update.hashRecoverMessage == digest(payload)
    assert update.recoveredLogs == [version.signed for version in session.history]
    assert gateway.receive(data) is not None, "and again"
    assert fingerprint(world) == before
    world.run()
    check_transferred(world)


def test_the_drafts_key_of_a_backup_must_be_the_one_that_signed(world: World) -> None:
    """R26: the draft lets a message vouch for its own key."""
    world.start()
    world.run(until="2.2")
    payload = {
        "messageType": DRAFT_TYPES["recover"],
        "sessionId": world.sessions[0],
        "isBackup": False,
        "lastEntryTimestamp": world.now,
        "newIdentityPublicKey": world.key("GW1").public.jwk,
    }
    good = read_payload(world.recipient.receive(world.key("GW1").sign(payload).encode()) or b"")
    assert good["messageType"] == DRAFT_TYPES["recover-update"]
    payload["newIdentityPublicKey"] = KeyPair.lab("another", "x").public.jwk
    bad = read_payload(world.recipient.receive(world.key("GW1").sign(payload).encode()) or b"")
    assert bad["type"].endswith("err_0.1.3")
    assert "newIdentityPublicKey" in bad["detail"]
