"""Entries, their chain and signatures, and the API as both stores have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import Misuse, Refused
from protocol.log import (
    LOCAL_CONSTANTS,
    BrokenChain,
    Conflict,
    Fork,
    LogEntry,
    LogStorage,
    MemoryLog,
    Operation,
    compose_entry,
    compute_genesis,
    compute_parties,
    getLogDiff,
    sign_entry,
    validate_entry,
    verify_chain,
    verify_signature,
)
from protocol.network import World
from protocol.objects import Json, canonical, digest
from protocol.signing import BadSignature, KeyPair, KeyRing
from tests.places import make_place

SESSION = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"


def make_entry(number: int, before: str, session: str = SESSION, **changes: Any) -> LogEntry:
    payload: Json = {"order": {"number": number}}
    fields: Json = {
        "version": "1.0",
        "sessionId": session,
        "contextId": "context",
        "gatewayId": "GW1",
        "sequenceNumber": number,
        "satpPhase": 2,
        "step": "2.1",
        "operation": Operation.EXEC,
        "timestamp": "2024-10-03T12:02:00Z",
        "payload": payload,
        "payloadHash": digest(payload),
        "lastEntryHash": before,
    }
    return LogEntry(**(fields | changes))


def make_chain(length: int, session: str = SESSION, **changes: Any) -> list[LogEntry]:
    return extend([], length, session, **changes)


def extend(chain: list[LogEntry], length: int, session: str = SESSION, **changes: Any) -> list[LogEntry]:
    """`chain` and `length` further entries."""
    entries = list(chain)
    for _ in range(length):
        before = entries[-1].compute_hash() if entries else compute_genesis(session, "GW1")
        entries.append(make_entry(len(entries) + 1, before, session, **changes))
    return entries


@pytest.fixture(params=["memory", "file", "shared file", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogStorage]:
    if request.param == "memory":
        yield MemoryLog()
        return
    place = make_place(request.param, tmp_path, request)
    yield place.open()
    place.close()


def test_what_was_written_is_read_back(store: LogStorage) -> None:
    chain = make_chain(3)
    assert [store.writeLogEntry(entry) for entry in chain] == [1, 2, 3]
    assert store.getLog(SESSION) == chain
    assert store.getLogEntry(SESSION, 2) == chain[1]
    assert store.getLastEntry(SESSION) == chain[2]
    assert store.getLogLength(SESSION) == 3
    with pytest.raises(Misuse, match="has no entry 4; it has 3"):
        store.getLogEntry(SESSION, 4)


def test_an_unknown_session_has_an_empty_log(store: LogStorage) -> None:
    assert store.getLog(SESSION) == []
    assert store.getLogLength(SESSION) == 0
    assert store.getLastEntry(SESSION) is None


def test_of_two_writers_the_second_is_refused(store: LogStorage) -> None:
    first, second = make_chain(2)
    store.writeLogEntry(first)
    with pytest.raises(Conflict, match="another entry has this place"):
        store.writeLogEntry(first.model_copy(update={"timestamp": "2024-10-03T12:02:01Z"}))
    with pytest.raises(Conflict, match="the chain goes on from another entry"):
        store.writeLogEntry(make_entry(2, "0" * 64))
    with pytest.raises(Conflict, match="another entry has this place"):
        store.writeLogEntry(make_entry(3, first.compute_hash()))
    assert store.getLog(SESSION) == [first]
    store.writeLogEntry(second)


def test_a_session_is_open_until_an_entry_closes_it(store: LogStorage) -> None:
    chain = make_chain(2)
    store.writeLogEntry(make_chain(1, OTHER)[0])
    store.writeLogEntry(chain[0])
    assert store.getOpenSessions() == [OTHER, SESSION], "oldest first"
    store.writeLogEntry(chain[1], closes=True)
    assert store.getOpenSessions() == [OTHER]
    assert store.getSessions() == [OTHER, SESSION]


def test_the_same_append_again_is_answered_alike_and_written_once(store: LogStorage) -> None:
    """R10: a writer that did not hear the answer asks again, and a disk may have kept what it reported as failed."""
    chain = make_chain(3)
    for entry in chain:
        store.writeLogEntry(entry)
    assert [store.writeLogEntry(LogEntry(**entry.as_json())) for entry in chain] == [1, 2, 3]
    assert store.getLog(SESSION) == chain


def test_a_closed_session_stays_closed_whatever_is_appended(store: LogStorage) -> None:
    first, second = make_chain(2)
    store.writeLogEntry(first, closes=True)
    store.writeLogEntry(second)
    assert store.getOpenSessions() == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"sequenceNumber": 3}, "entry 2 of session .* is missing"),
        ({"lastEntryHash": "0" * 64}, "entry 2 .* does not follow"),
        ({"payload": {"order": {}}}, "the payload of entry 2 .* was changed"),
    ],
)
def test_a_broken_chain_names_the_entry_and_the_reason(fault: Json, words: str) -> None:
    chain = make_chain(3)
    verify_chain(chain)
    chain[1] = chain[1].model_copy(update=fault)
    with pytest.raises(BrokenChain, match=words):
        verify_chain(chain)


def test_every_field_is_covered_by_the_hash() -> None:
    entry = make_chain(1)[0]
    others: Json = dict.fromkeys(LogEntry.model_fields, "x")
    others |= {"sequenceNumber": 9, "satpPhase": 9, "epoch": 9, "operation": Operation.FAIL, "payload": {}}
    for name, value in others.items():
        assert entry.model_copy(update={name: value}).compute_hash() != entry.compute_hash(), name


def test_a_changed_copy_does_not_keep_the_old_bytes() -> None:
    """The bytes are computed once per entry; a copy with another content must not inherit them."""
    entry = make_chain(1)[0]
    assert entry.canonical_bytes == canonical(entry.as_json())
    assert entry.model_copy(update={"step": "3.4"}).canonical_bytes != entry.canonical_bytes


def test_an_entry_of_another_session_is_no_part_of_the_chain() -> None:
    chain = make_chain(2)
    chain.append(make_entry(3, chain[1].compute_hash(), OTHER))
    with pytest.raises(BrokenChain, match=r"entry 3 of session .*1 is of another session"):
        verify_chain(chain)
    with pytest.raises(BrokenChain, match=r"entry 1 of session .*2 is of another session"):
        verify_chain(make_chain(1), OTHER)


# ------------------------------------------------------------------ the fields of RECOVERY 4


def test_what_an_entry_leaves_out_is_neither_stored_nor_hashed() -> None:
    entry = make_chain(1)[0]
    assert set(entry.as_json()) == set(make_entry(1, "").model_fields_set)
    assert len(entry.canonical_bytes) < 600


def test_as_a_document_an_entry_has_every_field_the_draft_requires(world: World) -> None:
    world.start()
    entry = sign_entry(world.log("sender")[0], world.key("GW1"))
    claim = world.sender.session(world.sessions[0]).claim
    document = entry.as_document(compute_parties(claim))
    required = {
        "version", "sessionId", "contextId", "sequenceNumber", "satpPhase", "payload", "payloadHash", "timestamp",
        "originGatewayPubkey", "originGatewaySystem", "destinationGatewayPubkey", "destinationGatewaySystem",
        "loggingProfile", "accessControlProfile", "messageSignature", "lastEntryHash", "operation",
    }  # fmt: skip
    assert required <= set(document)
    assert document["originGatewaySystem"] == "1"
    assert {name: document[name] for name in LOCAL_CONSTANTS} == LOCAL_CONSTANTS
    other = entry.model_copy(update={"loggingProfile": "Shared Store"})
    assert other.as_document()["loggingProfile"] == "Shared Store"


def test_an_entry_never_holds_a_credential_only_its_digest() -> None:
    fields = make_chain(1)[0].as_json()
    entry = compose_entry(None, fields, credential="ABC123TOKEN")
    assert entry.credentialBlock == digest(b"ABC123TOKEN")
    assert b"ABC123TOKEN" not in entry.canonical_bytes
    with pytest.raises(Refused, match="credentialBlock") as refusal:
        validate_entry(fields | {"credentialBlock": "ABC123TOKEN"})
    assert refusal.value.field == "credentialBlock"


def test_composed_entries_form_a_chain(store: LogStorage) -> None:
    fields = make_chain(1)[0].as_json()
    key = KeyPair.lab("GW1", "test")
    first = compose_entry(None, fields)
    second = compose_entry(first, fields | {"payload": {"order": "another"}}, signer=key)
    third = compose_entry(second, fields)
    for entry in (first, second, third):
        store.writeLogEntry(entry)
    verify_chain(store.getLog(SESSION))
    assert [entry.messageSignature is None for entry in store.getLog(SESSION)] == [True, False, True]


# ------------------------------------------------------------------ the signature of an entry


def make_signed() -> tuple[LogEntry, KeyRing]:
    key = KeyPair.lab("GW1", "test")
    ring = KeyRing([("GW1", key.public), ("GW2", KeyPair.lab("GW2", "test").public)])
    return sign_entry(make_chain(1)[0], key), ring


def test_a_signature_covers_every_field_but_itself() -> None:
    entry, ring = make_signed()
    verify_signature(entry, ring)
    others: Json = dict.fromkeys(set(LogEntry.model_fields) - {"messageSignature", "gatewayId"}, "x")
    others |= {"sequenceNumber": 9, "satpPhase": 9, "epoch": 9, "operation": Operation.FAIL, "payload": {}}
    for name, value in others.items():
        with pytest.raises(BadSignature, match="the signature is not one of GW1"):
            verify_signature(entry.model_copy(update={name: value}), ring)


def test_the_signature_is_that_of_the_writer() -> None:
    entry, ring = make_signed()
    with pytest.raises(BadSignature, match="is not signed"):
        verify_signature(entry.model_copy(update={"messageSignature": None}), ring)
    with pytest.raises(BadSignature, match="is signed by another"):
        verify_signature(sign_entry(entry, KeyPair.lab("GW2", "test")), ring)
    with pytest.raises(Refused, match="not a compact JWS"):
        verify_signature(entry.model_copy(update={"messageSignature": "ecdsa_signature_here"}), ring)
    with pytest.raises(BadSignature, match="kid is not known here"):
        verify_signature(sign_entry(entry, KeyPair.lab("GW3", "test")), ring)


def test_the_next_entry_covers_the_signature() -> None:
    entry, _ = make_signed()
    following = make_entry(2, entry.compute_hash())
    verify_chain([entry, following])
    with pytest.raises(BrokenChain, match=r"entry 2 .* does not follow"):
        verify_chain([entry.model_copy(update={"messageSignature": None}), following])


# ------------------------------------------------------------------ getLogDiff and updateLog


@given(common=st.integers(0, 4), mine=st.integers(0, 3), theirs=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_difference_is_what_the_other_has_more_or_a_fork_by_name(common: int, mine: int, theirs: int) -> None:
    prefix = make_chain(common)
    l1, l2 = extend(prefix, mine), extend(prefix, theirs, step="3.4")
    if mine and theirs:
        with pytest.raises(Fork, match=f"the logs part at entry {common + 1} of session {SESSION}"):
            getLogDiff(l1, l2)
        return
    assert getLogDiff(l1, l2) == l2[common:]
    assert getLogDiff(l2, l1) == l1[common:]
    assert l1 + getLogDiff(l1, l2) == max(l1, l2, key=len)


def test_the_private_logs_of_two_gateways_part_at_once(world: World) -> None:
    world.start()
    world.run()
    with pytest.raises(Fork, match=r"part at entry 1 .* written by GW1 and by GW2"):
        getLogDiff(world.log("sender"), world.log("recipient"))


def test_no_difference_is_computed_from_what_is_no_chain() -> None:
    chain = make_chain(3)
    for l1, l2 in ((chain, chain[1:]), (chain[1:], chain)):
        with pytest.raises(BrokenChain, match=r"entry 1 .* is missing"):
            getLogDiff(l1, l2)


def test_a_log_is_brought_up_to_another(store: LogStorage) -> None:
    chain = make_chain(4)
    assert store.updateLog(SESSION, chain[:2]) == chain[:2]
    assert store.getLogDiff(SESSION, chain) == chain[2:]
    assert store.updateLog(SESSION, chain) == chain[2:]
    assert store.updateLog(SESSION, chain[:3]) == []
    assert store.getLog(SESSION) == chain
    assert store.getOpenSessions() == [SESSION]


def test_an_update_that_is_refused_changes_nothing(store: LogStorage) -> None:
    chain = make_chain(2)
    store.updateLog(SESSION, chain)
    with pytest.raises(Fork):
        store.updateLog(SESSION, extend(chain[:1], 3, step="3.4"))
    with pytest.raises(BrokenChain):
        store.updateLog(SESSION, [*extend(chain, 1), chain[0]])
    with pytest.raises(BrokenChain, match="is of another session"):
        store.updateLog(OTHER, chain)
    assert store.getLog(SESSION) == chain
    assert store.getSessions() == [SESSION]


def test_the_last_step_closes_the_session_of_an_updated_log(store: LogStorage) -> None:
    chain = make_chain(2)
    store.updateLog(SESSION, extend(chain, 1, step="3.9", operation=Operation.FAIL))
    assert store.getOpenSessions() == [SESSION]
    store.updateLog(OTHER, make_chain(1, OTHER, step="3.9"))
    assert store.getOpenSessions() == [SESSION]


# ------------------------------------------------------------------ groups


def test_a_group_is_durable_when_it_ends_and_not_before(store: LogStorage) -> None:
    chain = make_chain(2)
    with store.group():
        store.writeLogEntry(chain[0])
        store.verify_durable(OTHER)
        with pytest.raises(Misuse, match=f"of session {SESSION} is not durable yet: leave the group first"):
            store.verify_durable(SESSION)
    store.verify_durable(SESSION)
    assert store.getLog(SESSION) == chain[:1]
    with store.group():
        store.verify_durable(SESSION)
    store.writeLogEntry(chain[1])
    store.verify_durable(SESSION)


def test_a_failed_group_is_lost_whole_and_nothing_else_is(store: LogStorage) -> None:
    chain, other = make_chain(3), make_chain(2, OTHER)
    store.writeLogEntry(chain[0])
    with pytest.raises(KeyboardInterrupt), store.group():
        store.writeLogEntry(chain[1], closes=True)
        store.writeLogEntry(other[0])
        store.writeLogEntry(chain[2])
        assert store.getLog(SESSION) == chain
        raise KeyboardInterrupt
    assert store.getLog(SESSION) == chain[:1]
    assert store.getSessions() == store.getOpenSessions() == [SESSION]
    assert store.writeLogEntry(chain[1]) == 2
    assert store.writeLogEntry(other[0]) == 1


def test_inside_a_group_one_refused_append_does_not_take_the_others_along(store: LogStorage) -> None:
    chain = make_chain(2)
    with store.group():
        store.writeLogEntry(chain[0])
        with pytest.raises(Conflict):
            store.writeLogEntry(make_entry(2, "0" * 64))
        with pytest.raises(Fork):
            store.updateLog(SESSION, make_chain(2, step="3.4"))
        store.writeLogEntry(chain[1])
    assert store.getLog(SESSION) == chain


def test_a_group_inside_a_group_ends_with_the_outer_one(store: LogStorage) -> None:
    chain = make_chain(3)
    with pytest.raises(RuntimeError), store.group():
        store.writeLogEntry(chain[0])
        with store.group():
            store.writeLogEntry(chain[1])
        raise RuntimeError
    assert store.getLog(SESSION) == []
    with store.group():
        store.writeLogEntry(chain[0])
        with pytest.raises(RuntimeError), store.group():
            store.writeLogEntry(chain[1])
            raise RuntimeError
        assert store.getLog(SESSION) == chain[:1]
    assert store.getLog(SESSION) == chain[:1]
