"""The schemas in docs/schemas, asked by a validator that is not ours: they take every message, and nothing else.

Two witnesses are independent of the models: the `jsonschema` library, and the lists of parameters of the draft, which
are written down here once more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from protocol.log import LogEntry
from protocol.messages import offchain
from protocol.messages.meanings import MEANINGS, describe_field, find_meaning, is_ours
from protocol.objects import Json
from tests.test_offchain import leaves, put
from tests.wire import hear_channels, hear_gateways, read_jws
from tools import schemas
from tools.citations import find_citations
from tools.json_schemas import DIALECT, ROOT, Entry, list_entries, name_schema

FOLDER = ROOT / "docs" / "schemas"
VECTORS = Path(__file__).parent / "vectors"
ENTRIES = list_entries()
MESSAGES = [entry for entry in ENTRIES if entry.types or entry.command or entry.model is offchain.CommandResponseObject]
# SATP 8.1 to 11.3: what the draft lists; a question mark is OPTIONAL, everything else REQUIRED.
IDS = "messageType sessionId transferContextId"
DRAFT = {
    "TransferInitClaim": "digitalAssetId assetProfileId networkLockType assetLockExpirationTime? "
    "verifiedOriginatorEntityId verifiedBeneficiaryEntityId originatorPublicKey beneficiaryPublicKey "
    "senderGatewaySignaturePublicKey receiverGatewaySignaturePublicKey senderGatewayId recipientGatewayId "
    "senderGatewayNetworkId recipientGatewayNetworkId senderGatewayDeviceIdentityPublicKey? "
    "receiverGatewayDeviceIdentityPublicKey? senderGatewayOwnerId? receiverGatewayOwnerId?",
    "Capabilities": "gatewayDefaultSignatureAlgorithm gatewaySupportedSignatureAlgorithms? networkLockType "
    "networkLockExpirationTime gatewayTlsScheme",
    "TransferProposal": f"version {IDS} transferInitClaimFormat transferInitClaim gatewayAndNetworkCapabilities",
    "ProposalReceipt": f"version {IDS} hashTransferInitClaim timestamp",
    "TransferCommence": f"{IDS} hashTransferInitClaim hashPrevMessage",
    "AckCommence": f"{IDS} hashPrevMessage",
    "LockAssertion": f"{IDS} lockAssertionClaimFormat lockAssertionClaim lockAssertionExpiration hashPrevMessage",
    "AssertionReceipt": f"{IDS} hashPrevMessage",
    "CommitPrepare": f"{IDS} hashPrevMessage",
    "CommitReady": f"{IDS} hashPrevMessage mintAssertionFormat mintAssertionClaim",
    "CommitFinal": f"{IDS} hashPrevMessage burnAssertionClaimFormat burnAssertionClaim",
    "AckCommitFinal": f"{IDS} hashPrevMessage assignmentAssertionClaimFormat assignmentAssertionClaim",
    "TransferComplete": f"{IDS} hashPrevMessage hashTransferCommence",
    "ErrorMessage": f"{IDS} type status title detail? version instance? prevMsgType? hashPrevMessage timestamp",
    "SessionAbort": IDS,  # the context is not in 10.7; 11.3 says that it is used in all messages
}
# What stands in no schema: fields that the model takes and nobody sends, and what only the gateway's own checks find.
WRONG: tuple[Any, ...] = (7, -1, 1.5, "", "another", [], {}, True, [7], "x" * 5000)


def load(path: str) -> Json:
    found: Json = json.loads((FOLDER / path).read_text("utf-8"))
    return found


def validator(entry: Entry) -> Draft202012Validator:
    return Draft202012Validator(load(entry.path), format_checker=Draft202012Validator.FORMAT_CHECKER)


VALIDATORS = {entry.path: validator(entry) for entry in ENTRIES}


def find_entry(payload: Json) -> Entry:
    """Whose message this is, by its own word."""
    for entry in MESSAGES:
        if payload.get("messageType") in entry.types or (
            entry.command and payload.get("command_type") == entry.command
        ):
            return entry
    assert payload["_ObjectType"] == "CommandResponseObject", payload
    return next(entry for entry in MESSAGES if entry.model is offchain.CommandResponseObject)


def list_heard() -> list[Json]:
    return [*hear_gateways().payloads, *hear_channels().payloads]


def one_of_each() -> dict[str, Json]:
    """The longest message of each kind: the one with the most optional fields."""
    found: dict[str, Json] = {}
    for payload in list_heard():
        path = find_entry(payload).path
        found[path] = max(found.get(path, {}), payload, key=lambda each: len(json.dumps(each)))
    return found


# ---------------------------------------------------------------------- the files


def test_the_files_are_what_the_models_say() -> None:
    assert schemas.find_differences() == [], "run: make schemas"


def test_a_changed_a_missing_and_a_stray_file_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "DOCS", tmp_path)
    schemas.write_files()
    assert schemas.find_differences() == []
    changed, missing = tmp_path / "openapi.json", tmp_path / "schemas" / "satp" / "error.json"
    changed.write_text(changed.read_text().replace("SATP 11.3", "SATP 11.4"))
    missing.unlink()
    (tmp_path / "schemas" / "satp" / "hello.json").write_text("{}")
    assert len(schemas.find_differences()) == 3
    assert schemas.main(["--check"]) == 1
    schemas.write_files()
    assert schemas.find_differences() == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.path)
def test_a_schema_is_one_and_has_its_name(entry: Entry) -> None:
    schema = load(entry.path)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == DIALECT
    assert schema["$id"] == name_schema(entry.path)
    assert set(re.findall(r'"\$ref": "#/\$defs/(\w+)"', json.dumps(schema))) <= schema.get("$defs", {}).keys()
    for described in (schema, *schema.get("$defs", {}).values()):
        assert "description" in described or "enum" in described
        assert all("description" in field for field in described.get("properties", {}).values())


def test_the_index_lists_every_file_once() -> None:
    index = load("index.json")["schemas"]
    files = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*/*.json"))
    assert sorted(each["file"] for each in index) == files
    assert len({each["$id"] for each in index}) == len(files)
    types = [word for each in index for word in each.get("messageType", [])]
    assert len(types) == len(set(types)) == 23, "13 and 9 messages, one of which has two types"


# ---------------------------------------------------------------------- what the words say


def test_every_field_has_a_meaning_and_every_meaning_a_field() -> None:
    models = list_models()
    for model in models.values():
        for field in model.model_fields:
            assert describe_field(model, field)
    heirs = {
        name: [each for each in models.values() if name in {base.__name__ for base in each.__mro__}]
        for name in MEANINGS
    }
    for name, meaning in MEANINGS.items():
        known = {field for each in heirs[name] for field in each.model_fields}
        assert meaning.fields.keys() <= known, f"{name} has no such field"


def list_models() -> dict[str, type[BaseModel]]:
    """Every model that a schema is made of."""
    from protocol.messages import recovery, satp

    found = [each for module in (satp, recovery, offchain) for each in vars(module).values()]
    found.append(LogEntry)
    return {
        each.__name__: each
        for each in found
        if isinstance(each, type) and issubclass(each, BaseModel) and each.model_fields
    }


def test_every_section_that_is_named_exists() -> None:
    for name, meaning in MEANINGS.items():
        for words in (meaning.section, *meaning.fields.values()):
            for cited in re.findall(r"(?:SATP|RECOVERY) [\d.]*\d|LIP-1 \"[^\"]+\"", words):
                assert [each.section.name for each in find_citations(cited)] == [cited], f"{name}: {cited}"


@pytest.mark.parametrize("name", DRAFT)
def test_required_and_ours_are_as_in_the_draft(name: str) -> None:
    """The draft's own list of parameters decides; what is not in it is marked as ours."""
    schema = next(
        each
        for entry in ENTRIES
        for each in [load(entry.path) if entry.model.__name__ == name else load(entry.path).get("$defs", {}).get(name)]
        if each
    )
    wanted = {word.rstrip("?"): not word.endswith("?") for word in DRAFT[name].split()}
    ours = {field for field, inner in schema["properties"].items() if inner.get("x-ours")}
    assert schema["properties"].keys() - ours == wanted.keys()
    assert {field for field in schema["required"] if field not in ours} == {f for f, needed in wanted.items() if needed}


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.types], ids=lambda entry: entry.path)
def test_the_type_of_a_message_is_required(entry: Entry) -> None:
    """A default in the model would take it out of the list."""
    assert "messageType" in load(entry.path)["required"]


def test_the_tables_list_what_the_draft_lists() -> None:
    text = (ROOT / "docs" / "message-tables.md").read_text("utf-8")
    parts = {part.partition("\n")[0]: part.split("In addition, as a proposal:")[0] for part in text.split("\n### ")[1:]}
    for name, words in DRAFT.items():
        meaning = MEANINGS[name]
        listed = re.findall(
            r"^- (\w+) (REQUIRED|OPTIONAL): \S", parts[f"{meaning.name} ({meaning.section})"], re.MULTILINE
        )
        assert {(field, word) for field, word in listed} == {
            (word.rstrip("?"), "OPTIONAL" if word.endswith("?") else "REQUIRED") for word in words.split()
        }, name


# ---------------------------------------------------------------------- what is sent


def test_every_message_that_is_sent_is_valid_and_of_one_kind_only() -> None:
    heard = list_heard()
    for payload in heard:
        VALIDATORS[find_entry(payload).path].validate(payload)
    assert {find_entry(payload).path for payload in heard} == {entry.path for entry in MESSAGES}, "each is heard"
    for path, payload in one_of_each().items():
        assert [entry.path for entry in MESSAGES if VALIDATORS[entry.path].is_valid(payload)] == [path]


def test_every_log_entry_is_valid() -> None:
    entries = hear_gateways().entries
    assert len(entries) > 300
    for entry in entries:
        VALIDATORS["recovery/LogEntry.json"].validate(entry)
    for name in load("recovery/LogEntry.json")["required"]:
        assert not VALIDATORS["recovery/LogEntry.json"].is_valid({k: v for k, v in entries[0].items() if k != name})


def test_the_objects_of_lip_1_are_valid_alone() -> None:
    heard = [inner for payload in hear_channels().payloads for inner in list_inner(payload)]
    found = {
        entry.model.__name__
        for entry in ENTRIES
        if entry.document == "LIP-1"
        and entry not in MESSAGES
        and any(VALIDATORS[entry.path].is_valid(x) for x in heard)
    }
    assert found == {entry.model.__name__ for entry in ENTRIES if entry.document == "LIP-1" and entry not in MESSAGES}


def list_inner(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from list_inner(inner)


# ---------------------------------------------------------------------- what is not


def mutate(payload: Json) -> Iterator[tuple[str, Json]]:
    """The payload with one field less, one more, or another value, at every depth."""
    yield "one more", payload | {"aFieldOfTomorrow": 1}
    for path in leaves(payload):
        where = ".".join(map(str, path))
        if isinstance(path[-1], str):
            yield f"without {where}", remove(payload, path)
        if isinstance(inner := get(payload, path), dict):
            yield f"one more in {where}", put(payload, path, inner | {"aFieldOfTomorrow": "0" * 32})
        for new in WRONG:
            yield f"{where} = {str(new)[:20]!r}", put(payload, path, new)


def get(value: Any, path: tuple[Any, ...]) -> Any:
    return get(value[path[0]], path[1:]) if path else value


def remove(value: Any, path: tuple[Any, ...]) -> Any:
    if len(path) == 1:
        return {name: inner for name, inner in value.items() if name != path[0]}
    return put(value, path[:1], remove(value[path[0]], path[1:]))


def is_read(entry: Entry, payload: Json) -> bool:
    """Whether the package's own model takes it."""
    if entry.document == "LIP-1" and entry.command and payload.get("command_type") != entry.command:
        return False  # the reader chooses the model by this field
    try:
        entry.model.model_validate(payload)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("path", [entry.path for entry in MESSAGES])
def test_schema_and_model_refuse_the_same(path: str) -> None:
    """Missing, wrong type, wrong value, one too many: two readings of one message, without a difference."""
    entry, payload = next(each for each in MESSAGES if each.path == path), one_of_each()[path]
    schema = Draft202012Validator(load(path))
    refused = 0
    for words, changed in mutate(payload):
        is_key = re.search(r"PublicKey(\.kty)?( |$)", words) and not words.startswith("one")
        if is_key and not schema.is_valid(changed):
            continue  # the model takes any object; that a key is one, is found when it is used
        is_valid = schema.is_valid(changed)
        assert is_valid == is_read(entry, changed), words
        refused += not is_valid
    assert refused > 10


@pytest.mark.parametrize("entry", MESSAGES, ids=lambda entry: entry.path)
def test_null_is_never_sent(entry: Entry) -> None:
    payload = one_of_each()[entry.path]
    schema = load(entry.path)
    for name in schema["properties"]:
        assert not VALIDATORS[entry.path].is_valid(payload | {name: None}), name


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("satp/error.json", "timestamp", "2024-10-03T12:02+00Z"),
        ("satp/error.json", "timestamp", "2024-02-30T12:02:00Z"),
        ("satp/error.json", "timestamp", "٢٠٢٤-10-03T12:02:00Z"),
        ("satp/error.json", "hashPrevMessage", "A" * 64),
        ("satp/error.json", "sessionId", "D66A567C-11F2-4729-A0E9-17CE1FAF47C1"),
        ("satp/error.json", "type", "err_1.1.1"),
        ("satp/commit-final.json", "burnAssertionClaimFormat", "BURN_ASSERTION_CLAIM_FORMAT_2"),
        ("recovery/transfer-resume.json", "crashErrorCode", "bored"),
        ("recovery/transfer-resume.json", "incarnation", 2**53),
        ("recovery/rollback.json", "proofs", ["no.jws"]),
    ],
)
def test_what_is_out_of_form_is_refused(path: str, field: str, value: Any) -> None:
    payload = one_of_each()[path]
    assert VALIDATORS[path].is_valid(payload)
    assert not VALIDATORS[path].is_valid(payload | {field: value})


def test_a_digit_of_another_script_is_no_digit_for_the_package_either() -> None:
    entry = next(each for each in MESSAGES if each.path == "satp/error.json")
    assert not is_read(entry, one_of_each()[entry.path] | {"timestamp": "٢٠٢٤-10-03T12:02:00Z"})


def test_an_address_is_the_pattern_and_a_checksum() -> None:
    schema = load("lip-1/PaymentActorObject.json")["properties"]["address"]
    for address in (
        "lbr1pgfpyysjzgfpyysjzgfpyysjzgf3xycnzvf3xycsm957ne",
        "LBR1PGFPYYSJZGFPYYSJZGFPYYSJZGF3XYCNZVF3XYCSM957NE",
    ):
        assert offchain.read_address(address)
        assert Draft202012Validator(schema).is_valid(address)
    for wrong in ("lbr1pgfpyysjzg", "xyz1pgfpyysjzgfpyysjzgfpyysjzgf3xycnzvf3xycsm957ne", "", "lbr1" + "p" * 45 + "b"):
        assert not Draft202012Validator(schema).is_valid(wrong)


# ---------------------------------------------------------------------- the vectors


@pytest.mark.parametrize("family", ["messages", "offchain-messages", "transfers"])
def test_the_messages_of_the_vectors_are_valid(family: str) -> None:
    content = json.loads((VECTORS / f"{family}.json").read_text("utf-8"))
    texts = [text for case in content["cases"] if "error" not in case for text in list_texts(case["input"])]
    named = content.get("shared", {}).get("messages", {})  # cases may speak of shared messages by name
    texts = [text for each in texts for text in list_texts(named.get(each, each))]
    payloads = [payload for payload in map(read_jws, texts) if payload is not None]
    messages = [each for each in payloads if {"messageType", "_ObjectType"} & each.keys()]
    assert messages
    for payload in messages:
        VALIDATORS[find_entry(payload).path].validate(payload)


def list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from list_texts(inner)


def test_what_is_ours_is_said_to_be() -> None:
    assert all(is_ours(offchain.ChannelHealth, field) for field in offchain.ChannelHealth.model_fields)
    assert not is_ours(offchain.PaymentObject, "sender")
    assert find_meaning(offchain.PaymentRequest).name == "CommandRequestObject"
