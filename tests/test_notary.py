"""The notary: what it can prove, whom it believes, and what it never gets to see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import Misuse, Refused
from protocol.log import Conflict, LogEntry, LogStorage, MemoryLog, verify_chain
from protocol.notary import STORAGE_MODES, Finding, Notary, NotaryLog, make_record
from protocol.objects import digest
from protocol.signing import BadSignature, KeyPair, KeyRing
from protocol.stores import SQLiteLog
from tests.test_log import OTHER, SESSION, extend, make_chain, make_entry

KEY, PEER = KeyPair.lab("GW1", "test"), KeyPair.lab("GW2", "test")
CHAIN = make_chain(5)


@pytest.fixture
def notary() -> Notary:
    return Notary(KeyRing([("GW1", KEY.public), ("GW2", PEER.public)]))


@pytest.fixture(params=["memory", "sqlite"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogStorage]:
    if request.param == "memory":
        yield MemoryLog()
        return
    log = SQLiteLog(tmp_path / "log.sqlite")
    yield log
    log.close()


def test_a_log_is_proved_whole_changed_or_shortened(inner: LogStorage, notary: Notary) -> None:
    log = NotaryLog(inner, notary, KEY)
    for entry in CHAIN:
        log.writeLogEntry(entry)
    for entries, words in [
        (log.getLog(SESSION), "whole: 5 entries shown, 5 published"),
        (CHAIN[:3], "shortened: 3 entries shown, 5 published, from entry 4"),
        ([], "shortened: 0 entries shown, 5 published, from entry 1"),
        (extend(CHAIN[:2], 3, step="3.4"), "changed: 5 entries shown, 5 published, from entry 3"),
        (extend(CHAIN, 1), "ahead: 6 entries shown, 5 published, from entry 6"),
    ]:
        assert repr(notary.prove(SESSION, "GW1", entries)) == words


def test_the_chain_alone_cannot_see_a_lost_tail_and_the_notary_can(inner: LogStorage, notary: Notary) -> None:
    """A clean tail may be lost with the disk, and the hash chain of what is left is whole."""
    NotaryLog(inner, notary, KEY).updateLog(SESSION, CHAIN)
    verify_chain(CHAIN[:-1])
    assert notary.prove(SESSION, "GW1", CHAIN[:-1]).finding is Finding.SHORTENED


def test_only_hashes_and_the_least_beside_them_are_published(notary: Notary) -> None:
    record = make_record(CHAIN[0])
    assert set(record) == {"gatewayId", "session", "sequenceNumber", "entryHash"}
    assert SESSION not in json.dumps(record)
    assert record["entryHash"] == CHAIN[0].compute_hash()


def test_an_entry_is_published_when_its_append_returns(inner: LogStorage, notary: Notary) -> None:
    log = NotaryLog(inner, notary, KEY)
    for number, entry in enumerate(CHAIN, 1):
        log.writeLogEntry(entry)
        assert notary.get_length(SESSION, "GW1") == log.getLogLength(SESSION) == number
    log.writeLogEntry(CHAIN[4])
    assert notary.get_length(SESSION, "GW1") == 5


def test_a_group_is_published_after_it_became_durable_or_never(inner: LogStorage, notary: Notary) -> None:
    log = NotaryLog(inner, notary, KEY)
    with log.group():
        log.writeLogEntry(CHAIN[0])
        log.writeLogEntry(CHAIN[1])
        assert notary.get_length(SESSION, "GW1") == 0
        with pytest.raises(Misuse):
            log.verify_durable(SESSION)
    assert notary.get_length(SESSION, "GW1") == 2
    with pytest.raises(KeyboardInterrupt), log.group():
        log.writeLogEntry(CHAIN[2])
        raise KeyboardInterrupt
    with log.group():
        with pytest.raises(Conflict):
            log.writeLogEntry(make_entry(3, "0" * 64))
        log.writeLogEntry(extend(CHAIN[:2], 1, step="3.4")[2])
    assert notary.prove(SESSION, "GW1", log.getLog(SESSION)).finding is Finding.WHOLE
    assert log.getLogLength(SESSION) == 3


@pytest.mark.parametrize("closes", [False, True])
def test_a_crash_between_append_and_record_is_made_good(inner: LogStorage, notary: Notary, closes: bool) -> None:
    log = NotaryLog(inner, notary, KEY)
    log.writeLogEntry(CHAIN[0])
    inner.writeLogEntry(CHAIN[1], closes=closes)  # durable; the crash came before the record
    log.writeLogEntry(make_chain(1, OTHER)[0])
    assert notary.prove(SESSION, "GW1", inner.getLog(SESSION)).finding is Finding.AHEAD
    again = NotaryLog(inner, notary, KEY)
    assert [again.publish_missing(), again.publish_missing()] == [1, 0]
    assert notary.prove(SESSION, "GW1", inner.getLog(SESSION)).finding is Finding.WHOLE


def test_a_place_that_is_published_stays_what_it_is(notary: Notary) -> None:
    notary.publish(KEY.sign(make_record(CHAIN[0])))
    notary.publish(KEY.sign(make_record(CHAIN[0])))
    other = make_entry(1, CHAIN[0].lastEntryHash, step="3.4")
    with pytest.raises(Conflict, match="another record has this place"):
        notary.publish(KEY.sign(make_record(other)))
    with pytest.raises(Conflict):
        notary.publish(KEY.sign(make_record(CHAIN[2])))
    assert notary.get_length(SESSION, "GW1") == 1


def test_a_gateway_publishes_for_itself_only(notary: Notary) -> None:
    with pytest.raises(Refused, match="a record of another gateway"):
        notary.publish(PEER.sign(make_record(CHAIN[0])))
    with pytest.raises(BadSignature):
        notary.publish(KeyPair.lab("GW3", "test").sign(make_record(CHAIN[0])))
    good = make_record(CHAIN[0])
    for change in ({"entryHash": 7}, {"sequenceNumber": "1"}, {"sequenceNumber": 0}, {"session": SESSION}, {"x": 1}):
        with pytest.raises(Refused, match="not a record") as refusal:
            notary.publish(KEY.sign(good | change))
        assert refusal.value.field == next(iter(change))
    assert notary.get_length(SESSION, "GW1") == 0
    assert repr(notary) == "no record"


def test_two_gateways_of_one_session_are_two_chains(notary: Notary) -> None:
    theirs = LogEntry(**(CHAIN[0].as_json() | {"gatewayId": "GW2"}))
    notary.publish(KEY.sign(make_record(CHAIN[0])))
    notary.publish(PEER.sign(make_record(theirs)))
    assert notary.prove(SESSION, "GW2", [theirs]).finding is Finding.WHOLE
    assert notary.prove(SESSION, "GW2", CHAIN[:1]).finding is Finding.CHANGED
    assert repr(notary).count(digest(SESSION)[:8]) == 2


def test_the_rest_of_the_api_is_that_of_the_store(inner: LogStorage, notary: Notary) -> None:
    log = NotaryLog(inner, notary, KEY)
    assert log.updateLog(SESSION, CHAIN) == CHAIN
    log.verify_durable(SESSION)
    assert log.getLogDiff(SESSION, extend(CHAIN, 1)) == extend(CHAIN, 1)[5:]
    assert [log.getLastEntry(SESSION), log.getLogEntry(SESSION, 1)] == [CHAIN[4], CHAIN[0]]
    assert log.getSessions() == log.getOpenSessions() == [SESSION]


def test_every_mode_of_the_draft_has_its_row() -> None:
    assert [row.mode.split()[0] for row in STORAGE_MODES] == ["1", "1h", "2", "3", "4"]
    for row in STORAGE_MODES:
        assert all(row)
        assert len(repr(row).splitlines()) == 6
