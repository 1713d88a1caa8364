"""The Log Storage API as requests and responses (RECOVERY 3.4): paths in, status and envelope out, no socket.

    POST writeLogEntry/:session             the entry in the body                index of the entry
    GET  getLogEntry/:session/:id                                                the entry
    GET  getLogLength/:session                                                   the length
    POST getLogDiff/:session                {"log": [...]} in the body           what the given log has more
    GET  getLastEntry/:session                                                   the last entry
    GET  getLog/:session                                                         all entries

The draft puts the whole entry and the whole log into the path, and three of its functions name no log
(R9). Here they travel in the body and the path names the session; an API that was made for one session
takes the draft's own paths too (`getLogLength`, `getLogEntry/:id`). The id of an entry is its sequence
number; indexes and lengths are strings, as in the draft's table. updateLog is not in that table: it
reads one log and writes another, so it is no request to one of them.

Responses are {"success", "response_data"}. The draft allows 200 and 5XX only, which lets a client that
made a mistake try for ever (R10). Ours beside them: 400 the body is no entry or log, 404 no such
function or entry, 405 wrong method, 409 another entry has the place, or the logs have parted. After 503
nobody knows whether the entry is there: sent again, it is written once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from protocol.errors import Explained, Misuse, Refused
from protocol.lease import Fenced
from protocol.log import BrokenChain, Conflict, Fork, LogEntry, LogStorage, StorageFailed, is_end, verify_chain
from protocol.notations import read_entry
from protocol.objects import Json, digest


class Response(NamedTuple):
    """HTTP status and the envelope of RECOVERY 3.4.1."""

    status: int
    envelope: Json

    @property
    def data(self) -> Any:
        return self.envelope["response_data"]


class _NotFound(Refused):
    """No function, session or entry of that name."""


class _WrongMethod(Refused):
    """The function exists, with the other method."""


STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (_NotFound, 404),
    (_WrongMethod, 405),
    (Conflict, 409),
    (Fenced, 409),
    (Fork, 409),
    (BrokenChain, 500),  # the stored log; a broken one that the client sent is refused by `_read_log`
    (StorageFailed, 503),
    (Refused, 400),
)


class LogStorageAPI:
    """The requests of RECOVERY 3.4 on a log; on one session of it, if `session_id` is given."""

    def __init__(self, log: LogStorage, session_id: str | None = None) -> None:
        self._log = log
        self._session_id = session_id

    def handle(self, method: str, path: str, body: Any = None) -> Response:
        """Answer one request. `body` is parsed JSON. Never raises because of what the client sent."""
        try:
            return Response(200, {"success": True, "response_data": self._answer(method, path, body)})
        except Explained as refusal:
            status = next(status for kind, status in STATUSES if isinstance(refusal, kind))
            return Response(status, {"success": False, "response_data": _describe(refusal)})

    def _answer(self, method: str, path: str, body: Any) -> Any:
        if not path.isprintable():
            raise _NotFound("the path is no text")
        name, *selectors = path.strip("/ ").split("/")
        if name not in FUNCTIONS:
            raise _NotFound(f"there is no function {name!r}; there are {', '.join(FUNCTIONS)}", found=name)
        allowed, function, ids = FUNCTIONS[name]
        if method.upper() != allowed:
            raise _WrongMethod(f"{name} is a {allowed}", expected=allowed, found=method)
        if len(selectors) == ids and self._session_id is not None:
            selectors.insert(0, self._session_id)
        if len(selectors) != ids + 1:
            wanted = f"{name}/:session{'/:id' * ids}"
            raise _NotFound("the path does not say which session", expected=wanted, found=path)
        return function(self, body, *selectors)

    def _write(self, body: Any, session_id: str) -> str:
        entry = _read_one(body)
        if entry.sessionId != session_id:
            raise Refused("the entry is of another session", expected=session_id, found=entry.sessionId)
        return str(self._log.writeLogEntry(entry, closes=is_end(entry)))

    def _entry(self, body: Any, session_id: str, number: str) -> Json:
        # isascii: there are digits which int() reads and nobody writes
        if not (number.isascii() and number.isdigit() and len(number) < 17):
            raise _NotFound("an entry id is a sequence number", found=number)
        try:
            return self._log.getLogEntry(session_id, int(number)).as_json()
        except Misuse as error:
            raise _NotFound(str(error)) from error

    def _length(self, body: Any, session_id: str) -> str:
        return str(self._log.getLogLength(session_id))

    def _diff(self, body: Any, session_id: str) -> list[Json]:
        return [entry.as_json() for entry in self._log.getLogDiff(session_id, _read_log(body))]

    def _last(self, body: Any, session_id: str) -> Json:
        entry = self._log.getLastEntry(session_id)
        if entry is None:
            raise _NotFound(f"session {session_id} has no entry")
        return entry.as_json()

    def _whole(self, body: Any, session_id: str) -> list[Json]:
        return [entry.as_json() for entry in self._log.getLog(session_id)]


FUNCTIONS: dict[str, tuple[str, Callable[..., Any], int]] = {  # method, function, ids after the session
    "writeLogEntry": ("POST", LogStorageAPI._write, 0),
    "getLogEntry": ("GET", LogStorageAPI._entry, 1),
    "getLogLength": ("GET", LogStorageAPI._length, 0),
    "getLogDiff": ("POST", LogStorageAPI._diff, 0),
    "getLastEntry": ("GET", LogStorageAPI._last, 0),
    "getLog": ("GET", LogStorageAPI._whole, 0),
}


def _read_one(body: Any) -> LogEntry:
    """An entry that can be stored: readable, with a canonical form, and with the hash of its own payload."""
    if not isinstance(body, dict):
        raise Refused("a log entry is a JSON object", found=type(body).__name__)
    entry = read_entry(body)
    try:
        entry.canonical_bytes  # noqa: B018
        payload_hash = digest(entry.payload)
    except Misuse as error:
        raise Refused(f"log entry: {error}") from error
    if entry.payloadHash != payload_hash:
        raise Refused("log entry: payloadHash", field="payloadHash", expected=payload_hash, found=entry.payloadHash)
    return entry


def _read_log(body: Any) -> list[LogEntry]:
    if not isinstance(body, dict) or not isinstance(body.get("log"), list):
        raise Refused('the body is {"log": [...]}', field="log")
    entries = [_read_one(each) for each in body["log"]]
    try:
        verify_chain(entries)
    except BrokenChain as broken:
        raise Refused(f"the given log: {broken.reason}", expected=broken.expected, found=broken.found) from broken
    return entries


def _describe(refusal: Explained) -> Json:
    """Reason and compared values, so that the client's engineer need not guess."""
    compared = {"field": refusal.field, "expected": refusal.expected, "found": refusal.found}
    return {"reason": refusal.reason} | {name: value for name, value in compared.items() if value is not None}
