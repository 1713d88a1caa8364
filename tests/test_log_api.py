"""The requests of RECOVERY 3.4 and their envelope, over both stores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.log import LogStorage, MemoryLog, Operation
from protocol.log_api import LogStorageAPI
from protocol.stores import SQLiteLog
from tests.test_log import OTHER, SESSION, extend, make_chain
from tests.test_notations import JSON

CHAIN = make_chain(4)
LINES = [entry.as_json() for entry in CHAIN]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogStorage]:
    if request.param == "memory":
        yield MemoryLog()
        return
    log = SQLiteLog(tmp_path / "log.sqlite")
    yield log
    log.close()


def test_every_request_of_the_table_is_answered_in_its_envelope(store: LogStorage) -> None:
    """Indexes and lengths are strings; the rest is what the table says."""
    api = LogStorageAPI(store)
    for number, line in enumerate(LINES[:2], 1):
        assert api.handle("POST", f"writeLogEntry/{SESSION}", line) == (
            200,
            {"success": True, "response_data": str(number)},
        )
    for method, path, body, data in [
        ("GET", f"getLogEntry/{SESSION}/2", None, LINES[1]),
        ("GET", f"getLogLength/{SESSION}", None, "2"),
        ("POST", f"/getLogDiff/{SESSION}", {"log": LINES}, LINES[2:]),
        ("GET", f"getLastEntry/{SESSION}", None, LINES[1]),
        ("GET", f"getLog/{SESSION}", None, LINES[:2]),
        ("GET", f"getLog/{OTHER}", None, []),
        ("get", f"/getLogLength/{OTHER}", None, "0"),
    ]:
        assert api.handle(method, path, body) == (200, {"success": True, "response_data": data}), path


def test_the_paths_of_the_draft_work_where_there_is_one_session(store: LogStorage) -> None:
    api = LogStorageAPI(store, SESSION)
    assert api.handle("POST", "/ writeLogEntry".replace(" ", ""), LINES[0]).data == "1"
    assert api.handle("GET", "getLogLength").data == "1"
    assert api.handle("GET", "getLogEntry/1").data == LINES[0]
    assert api.handle("GET", "getLastEntry").data == LINES[0]
    assert api.handle("GET", "getLog").data == LINES[:1]
    assert api.handle("POST", "/getLogDiff", {"log": LINES}).data == LINES[1:]


def test_an_append_whose_answer_was_lost_is_sent_again(store: LogStorage) -> None:
    api = LogStorageAPI(store, SESSION)
    assert [api.handle("POST", "writeLogEntry", LINES[0]).data for _ in range(3)] == ["1", "1", "1"]
    assert api.handle("GET", "getLogLength").data == "1"


def test_the_last_step_closes_its_session(store: LogStorage) -> None:
    last = make_chain(1, step="3.9", operation=Operation.INIT)[0]
    LogStorageAPI(store).handle("POST", f"writeLogEntry/{SESSION}", last.as_json())
    assert store.getOpenSessions() == []


FORKED = [entry.as_json() for entry in extend(CHAIN[:1], 1, step="3.4")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", f"writeLogEntry/{SESSION}", LINES[3], 409, "another entry has this place"),
        ("POST", f"writeLogEntry/{SESSION}", FORKED[1] | {"sequenceNumber": 3}, 409, "goes on from another entry"),
        ("POST", f"getLogDiff/{SESSION}", {"log": FORKED}, 409, "the logs part at entry 2"),
        ("POST", f"writeLogEntry/{SESSION}", None, 400, "a log entry is a JSON object"),
        ("POST", f"writeLogEntry/{SESSION}", LINES[2] | {"payload": {}}, 400, "payloadHash"),
        ("POST", f"writeLogEntry/{SESSION}", LINES[2] | {"payload": {"a": 2**60}}, 400, "no canonical form"),
        ("POST", f"writeLogEntry/{SESSION}", LINES[2] | {"color": "red"}, 400, "'color' is no field"),
        ("POST", f"writeLogEntry/{OTHER}", LINES[2], 400, "the entry is of another session"),
        ("POST", f"getLogDiff/{SESSION}", LINES, 400, "the body is"),
        ("POST", f"getLogDiff/{SESSION}", {"log": LINES[1:]}, 400, "the given log: entry 1 .* is missing"),
        ("GET", f"getLogEntry/{SESSION}/3", None, 404, "has no entry 3; it has 2"),
        ("GET", f"getLogEntry/{SESSION}/0", None, 404, "has no entry 0"),
        ("GET", f"getLogEntry/{SESSION}/-1", None, 404, "an entry id is a sequence number"),
        ("GET", f"getLogEntry/{SESSION}/²", None, 404, "an entry id is a sequence number"),
        ("GET", f"getLogEntry/{SESSION}/{10**30}", None, 404, "an entry id is a sequence number"),
        ("GET", f"getLastEntry/{OTHER}", None, 404, "has no entry"),
        ("GET", "getLog", None, 404, "which session"),
        ("GET", f"getLog/{SESSION}/1", None, 404, "which session"),
        ("GET", "deleteLog", None, 404, "there is no function 'deleteLog'"),
        ("GET", "", None, 404, "there is no function"),
        ("GET", "getLog/\ud800", None, 404, "the path is no text"),
        ("GET", f"writeLogEntry/{SESSION}", LINES[2], 405, "writeLogEntry is a POST"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() and len(value) < 60 else "",
)
def test_a_clients_mistake_has_a_status_of_ours_and_says_what_was_compared(
    method: str, path: str, body: Any, status: int, words: str
) -> None:
    """R10: the draft knows 200 and 5XX only."""
    log = MemoryLog()
    log.updateLog(SESSION, CHAIN[:2])
    response = LogStorageAPI(log).handle(method, path, body)
    assert response.status == status
    assert response.envelope["success"] is False
    assert re.search(words, response.data["reason"]), response.data
    assert log.getLog(SESSION) == CHAIN[:2]


def test_a_broken_log_and_a_store_that_does_not_answer_are_5xx(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.sqlite")
    log.updateLog(SESSION, CHAIN)
    api = LogStorageAPI(log, SESSION)
    log._database.execute("DELETE FROM entry WHERE number = 2")
    status, envelope = api.handle("GET", "getLog")
    assert (status, envelope["success"]) == (500, False)
    assert envelope["response_data"]["reason"] == f"entry 2 of session {SESSION} is missing"
    assert api.handle("POST", "getLogDiff", {"log": LINES}).status == 500
    log.close()
    assert api.handle("POST", "writeLogEntry", LINES[0]).status == 503
    assert api.handle("GET", "getLogLength").status == 503


@given(path=st.text(max_size=30), body=JSON, data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_a_client_sends_is_an_exception_or_a_write_without_an_answer(
    path: str, body: Any, data: st.DataObject, tmp_path: Path
) -> None:
    store = data.draw(st.sampled_from(["memory", "sqlite"]))
    log: LogStorage = MemoryLog() if store == "memory" else SQLiteLog(":memory:")
    log.updateLog(SESSION, CHAIN[:2])
    api = LogStorageAPI(log, SESSION)
    name = data.draw(st.sampled_from(["writeLogEntry", "getLogEntry", "getLog", "getLogDiff", "getLastEntry"]))
    line = dict(LINES[2])
    line[data.draw(st.sampled_from([*line, "resourceUrl", "messageSignature", "recoveryPayload"]))] = body
    for method, where, content in [
        ("POST", name, line),
        ("POST", name, {"log": [*LINES[:2], line]}),
        ("POST", name, body),
        ("GET", f"{name}/{path}", body),
        ("GET", path, body),
    ]:
        before = log.getLog(SESSION)
        response = api.handle(method, where, content)
        assert set(response.envelope) == {"success", "response_data"}
        assert (response.status == 200) == response.envelope["success"]
        if not response.envelope["success"]:
            assert log.getLog(SESSION) == before
