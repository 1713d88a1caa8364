"""The two examples of RECOVERY 4, word for word, and everything like them that must be refused by its field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import Refused
from protocol.log import BrokenChain, Conflict, LogEntry, MemoryLog, Operation, verify_chain
from protocol.network import World
from protocol.notations import NAMES, read_entry
from protocol.objects import digest

EXAMPLE_1 = """
{
  "Version": "1.0",
  "Session ID": "123e4567-e89b-12d3-a456-426655440000",
  "Sequence Number": 1,
  "SATP Phase": "Initialization",
  "Resource URL": "http://myresource.com",
  "Developer URN": "urn:myapp:developerid",
  "Action/Response": "POST /myresource",
  "Credential Profile": "OAuth",
  "Credential Block": "ABC123TOKEN",
  "Payload Profile": "ProvenanceProfile1",
  "Application Profile": "AppProfile1",
  "Payload": "{ 'key1': 'value1', 'key2': 'value2' }",
  "Payload Hash": "abc123def456",
  "timestamp": 1646176142,
  "origin_gateway_pubkey": "abc123",
  "origin_gateway_system": "system1",
  "destination_gateway_pubkey": "def456",
  "destination_gateway_system": "system2",
  "logging_profile": "Local Store",
  "Message_signature": "ecdsa_signature_here",
  "Last_entry_hash": "hash_of_last_entry",
  "Access_control_profile": "GatewayOnly",
  "Operation": "init",
  "recovery message": "recovery_message_here",
  "recovery payload": "recovery_payload_here"
}
"""

# As printed: the brace that closes `payload` is there, the one that closes the entry is missing.
EXAMPLE_2_AS_PRINTED = """
{
    "sessionId": "4eb424c8-aead-4e9e-a321-a160ac3909ac",
    "contextId": "5eb424c8-aead-4e9e-a321-a160ac3909ac",
    "seqNumber": 7,
    "phaseId": "lock",
    "originGatewayId": "5.47.165.186",
    "originNetworkId": "Hyperledger-Fabric-JusticeChain",
    "destinationGatewayId": "192.47.113.116",
    "destinationNetworkId": "Ethereum",
    "timestamp": "1606157333",
    "payload": {
    "messageType": "2pc-log",
    "message": "LOCK_ASSET_ACK",
    "votes": "none"
}
"""
EXAMPLE_2 = EXAMPLE_2_AS_PRINTED + "}"


def test_the_first_example_is_read() -> None:
    entry = read_entry(EXAMPLE_1)
    assert repr(entry) == " 1  init phase 1"
    assert entry.sessionId == "123e4567-e89b-12d3-a456-426655440000"
    assert entry.timestamp == "2022-03-01T23:09:02Z"
    assert entry.payload == {"text": "{ 'key1': 'value1', 'key2': 'value2' }"}, "no JSON: its quotes are single"
    assert entry.loggingProfile == "Local Store"
    assert entry.accessControlProfile == "GatewayOnly"
    assert entry.actionResponse == "POST /myresource"
    assert entry.destinationGatewaySystem == "system2"
    assert entry.recoveryPayload == "recovery_payload_here"


def test_its_credential_token_is_hashed_on_the_way_in() -> None:
    entry = read_entry(EXAMPLE_1)
    assert entry.credentialBlock == digest(b"ABC123TOKEN")
    assert b"ABC123TOKEN" not in entry.canonical_bytes


def test_the_second_example_is_no_json_as_printed_and_is_read_with_its_missing_brace() -> None:
    with pytest.raises(Refused, match="not JSON"):
        read_entry(EXAMPLE_2_AS_PRINTED)
    entry = read_entry(EXAMPLE_2)
    assert repr(entry) == " 7  ack  phase 2"
    assert entry.timestamp == "2020-11-23T18:48:53Z"
    assert entry.originGatewaySystem == "Hyperledger-Fabric-JusticeChain"
    assert entry.destinationGatewayId == "192.47.113.116"
    assert entry.operation is Operation.ACK


def test_what_the_examples_leave_out_is_empty_and_nothing_is_made_up_for_it() -> None:
    """RECOVERY 4 requires version, payload hash, signature, hash of the last entry; the second example has none."""
    second = read_entry(EXAMPLE_2)
    assert (second.version, second.payloadHash, second.lastEntryHash, second.messageSignature) == ("", "", "", None)
    assert read_entry(EXAMPLE_1).contextId == ""


@pytest.mark.parametrize("example", [EXAMPLE_1, EXAMPLE_2])
def test_an_example_belongs_to_no_chain_and_cannot_be_appended(example: str) -> None:
    with pytest.raises(BrokenChain):
        verify_chain([read_entry(example)])
    with pytest.raises(Conflict):
        MemoryLog().writeLogEntry(read_entry(example))


def test_our_own_entries_are_read_as_they_are(world: World) -> None:
    world.start()
    world.run()
    for entry in world.log("sender"):
        assert read_entry(entry.canonical_bytes) == read_entry(entry.as_json()) == entry


def test_a_real_entry_may_be_written_with_the_names_of_the_list(world: World) -> None:
    """The names of the first example, with a phase that is a number and a payload that is an object."""
    world.start()
    entry = world.log("sender")[0]
    ours: dict[str, str] = {}
    for theirs, name in NAMES.items():
        ours.setdefault(name, theirs)
    assert read_entry({ours.get(name, name): value for name, value in entry.as_json().items()}) == entry


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Sequence Number": "first"}, "sequenceNumber"),
        ({"Sequence Number": 0}, "sequenceNumber"),
        ({"Sequence Number": 2**53}, "sequenceNumber"),
        ({"SATP Phase": "Celebration"}, "SATP Phase"),
        ({"SATP Phase": True}, "SATP Phase"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 10**20}, "timestamp"),
        ({"timestamp": "²"}, "timestamp"),
        ({"timestamp": None}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
        ({"Payload": 7}, "Payload"),
        ({"Credential Block": 7}, "Credential Block"),
        ({"Operation": "undo"}, "operation"),
        ({"Session ID": 7}, "sessionId"),
        ({"sessionId": "another"}, "sessionId"),
        ({"Log level": "debug"}, "Log level"),
        ({"seqNumber": 1}, "seqNumber"),
        ({"Session ID": ...}, "sessionId"),
        ({"Sequence Number": ...}, "sequenceNumber"),
        ({"SATP Phase": ...}, "satpPhase"),
        ({"timestamp": ...}, "timestamp"),
        ({"Payload": ...}, "payload"),
        ({"Operation": ...}, "operation"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_by_its_field(changes: dict[str, Any], field: str) -> None:
    content = {name: value for name, value in (json.loads(EXAMPLE_1) | changes).items() if value is not ...}
    with pytest.raises(Refused, match=r"^log entry: ") as refusal:
        read_entry(content)
    assert refusal.value.field == field


@pytest.mark.parametrize("source", ["", "[]", "7", "{", b"\xff", "[" * 100_000, '"text"'])
def test_what_is_no_object_is_refused(source: str | bytes) -> None:
    with pytest.raises(Refused, match=r"^log entry: not"):
        read_entry(source)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(example=st.sampled_from([EXAMPLE_1, EXAMPLE_2]), data=st.data(), value=JSON)
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_field_is_read_or_refused(example: str, data: st.DataObject, value: Any) -> None:
    content = json.loads(example)
    content[data.draw(st.sampled_from([*content, *NAMES, *LogEntry.model_fields]))] = value
    try:
        entry = read_entry(content)
    except Refused as refusal:
        assert refusal.reason.startswith("log entry: ")
    else:
        assert isinstance(entry, LogEntry)
