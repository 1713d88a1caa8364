"""Log entries, the chain they form, and the Log Storage API (RECOVERY 3 and 4).

The log says what its writer intended and what came of it. Nobody acts before the entry that says so is
durable: `writeLogEntry` returns only then. A gateway writes one chain of entries per session; the first
entry's `lastEntryHash` is the genesis value of (session, writer), each later one is the digest of the
entry before it, over all its fields. Sequence numbers count 1, 2, 3 ... within that chain (the draft
numbers messages and entries of both gateways in one counter, which two writers cannot keep: R5, R14).

What an operation means here (the draft gives `ack` two opposite meanings: R16):

    init   the message in the payload is decided and may be sent: the first message of an exchange
    ack    the same for a message that answers one
    exec   a ledger action is about to be begun; the payload names it
    done   the outcome: the receipt of the action, or the message that was received and accepted
    fail   the outcome: the ledger's refusal, or the error message that was received

Appending is compare-and-set on (sequence number, hash of the last entry): of two writers that believe
to be alone, the second is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from protocol.errors import Misuse, Refused
from protocol.objects import Json, digest
from protocol.steps import describe_step


class Operation(StrEnum):
    """RECOVERY 4, "Operation"."""

    INIT = "init"
    EXEC = "exec"
    DONE = "done"
    ACK = "ack"
    FAIL = "fail"


class LogEntry(BaseModel):
    """One entry: the fields of RECOVERY 4 that carry information here, in camelCase.

    `timestamp` is RFC 3339, not the draft's UNIX seconds, which cannot order entries (R15); order is
    `sequenceNumber`. `payload` is a signed message, an operation of the ledger, or a receipt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    sessionId: str
    contextId: str
    gatewayId: str
    sequenceNumber: int
    phase: int
    step: str
    operation: Operation
    timestamp: str
    payload: dict[str, Any]
    payloadHash: str
    lastEntryHash: str

    def as_json(self) -> Json:
        content: Json = self.model_dump(mode="json")
        return content

    def compute_hash(self) -> str:
        """Digest over all fields, the previous entry's hash included: this is what chains them."""
        return digest(self.as_json())

    def __repr__(self) -> str:
        return f"{self.sequenceNumber:>2}  {self.operation:<4} {self.step} {describe_step(self.step)}"

    __str__ = __repr__


class BrokenChain(Refused):
    """A stored log whose entries do not follow from each other; says which entry and why."""


class Conflict(Refused):
    """An append that lost the comparison: somebody else wrote this place first."""


def compute_genesis(session_id: str, gateway_id: str) -> str:
    """What the first entry of a chain names as the entry before it."""
    return digest({"genesis": "log", "sessionId": session_id, "gatewayId": gateway_id})


def verify_chain(entries: Iterable[LogEntry]) -> None:
    """Raise BrokenChain at the first entry of one session's log that does not follow from the one before."""
    expected_hash, expected_number = None, 1
    for entry in entries:
        where = f"entry {expected_number} of session {entry.sessionId}"
        if entry.sequenceNumber != expected_number:
            raise BrokenChain(f"{where} is missing", expected=expected_number, found=entry.sequenceNumber)
        before = expected_hash or compute_genesis(entry.sessionId, entry.gatewayId)
        if entry.lastEntryHash != before:
            words = f"{where} does not follow the entry before it"
            raise BrokenChain(words, expected=before, found=entry.lastEntryHash)
        if digest(entry.payload) != entry.payloadHash:
            raise BrokenChain(f"the payload of {where} was changed")
        expected_hash, expected_number = entry.compute_hash(), expected_number + 1


class LogStorage(Protocol):
    """The Log Storage API of RECOVERY 3.4, by its names, with a session selector (R9)."""

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        """Append durably and return the sequence number. Conflict if the entry does not continue the chain.

        `closes` marks the session as no longer open, in the same durable act.
        """

    def getLogEntry(self, session_id: str, number: int) -> LogEntry: ...

    def getLogLength(self, session_id: str) -> int: ...

    def getLastEntry(self, session_id: str) -> LogEntry | None: ...

    def getLog(self, session_id: str) -> list[LogEntry]:
        """All entries of a session, oldest first. BrokenChain if they do not follow from each other."""

    def group(self) -> AbstractContextManager[None]:
        """Ours: the appends inside become durable together, at its end."""

    def getOpenSessions(self) -> list[str]:
        """Ours: the sessions that no entry has closed, oldest first. A restart begins with them."""


class MemoryLog:
    """The API in memory. For tests and for measuring what a disk costs; a crash of the machine loses it."""

    def __init__(self) -> None:
        self._entries: dict[str, list[LogEntry]] = {}
        self._open: dict[str, bool] = {}

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        entries = self._entries.setdefault(entry.sessionId, [])
        last = entries[-1] if entries else None
        verify_continues(entry, len(entries), last.compute_hash() if last else None)
        entries.append(entry)
        self._open[entry.sessionId] = not closes and self._open.get(entry.sessionId, True)
        return entry.sequenceNumber

    def group(self) -> AbstractContextManager[None]:
        return nullcontext()

    def getLogEntry(self, session_id: str, number: int) -> LogEntry:
        entries = self._entries.get(session_id, [])
        if not 1 <= number <= len(entries):
            raise Misuse(f"session {session_id} has no entry {number}; it has {len(entries)}")
        return entries[number - 1]

    def getLogLength(self, session_id: str) -> int:
        return len(self._entries.get(session_id, []))

    def getLastEntry(self, session_id: str) -> LogEntry | None:
        return next(reversed(self._entries.get(session_id, [])), None)

    def getLog(self, session_id: str) -> list[LogEntry]:
        return list(self._entries.get(session_id, []))

    def getOpenSessions(self) -> list[str]:
        return [session_id for session_id, is_open in self._open.items() if is_open]


def verify_continues(entry: LogEntry, length: int, last_hash: str | None) -> None:
    """The comparison of compare-and-set: `entry` must be the next one of a chain with this length and last hash."""
    if entry.sequenceNumber != length + 1:
        raise Conflict("another entry has this place", expected=length + 1, found=entry.sequenceNumber)
    before = last_hash or compute_genesis(entry.sessionId, entry.gatewayId)
    if entry.lastEntryHash != before:
        raise Conflict("the chain goes on from another entry", expected=before, found=entry.lastEntryHash)
