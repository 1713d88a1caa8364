"""Log entries, the chain they form, and the Log Storage API (RECOVERY 3 and 4).

The log says what its writer intended and what came of it. Nobody acts before the entry that says so is
durable: `writeLogEntry` returns only then. A gateway writes one chain of entries per session; the first
entry's `lastEntryHash` is the genesis value of (session, writer), each later one is the digest of the
entry before it, over all its fields, signature included. Sequence numbers count 1, 2, 3 ... within that
chain, and they are also the index of getLogEntry (the draft has three numberings and one counter for
both gateways, which two writers cannot keep: R4, R5, R14).

What an operation means here (the draft gives `ack` two opposite meanings: R16):

    init   the message in the payload is decided and may be sent: the first message of an exchange
    ack    the same for a message that answers one
    exec   a ledger action is about to be begun; the payload names it
    done   the outcome: the receipt of the action, or the message that was received and accepted
    fail   the outcome: the ledger's refusal, or the error message that was received

Field names are those of RECOVERY 4 in camelCase. Four are ours: `gatewayId` is the writer, whom the draft
does not name, `step` is the row of TABLE 1; where the log is shared, `epoch` is the fencing token under which
the entry was appended, and `writerId` the backup that wrote it in the name of `gatewayId`. What an entry leaves
out is absent, not empty: the two profiles then have the LOCAL_CONSTANTS (R44), keys and networks stand in the
proposal, which is entry 1, and a log that is not shared has the bytes it would have without our two last fields.

Appending is compare-and-set on (sequence number, hash of the last entry): of two writers that believe to
be alone, the second is refused. The identical entry at its own place is no second writer but the same
append again, by somebody who did not hear the answer (R10): it is answered alike and nothing is written.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from protocol.errors import Fault, Misuse, Refused
from protocol.messages.meanings import OURS
from protocol.objects import Json, canonical, digest
from protocol.signing import BadSignature, KeyPair, KeyRing
from protocol.steps import LAST, describe_step

LOCAL_CONSTANTS: Json = {"loggingProfile": "Local Store", "accessControlProfile": "GatewayOnly"}
NOT_DURABLE = "what this group wrote of session {} is not durable yet: leave the group first, then act or send"


class Operation(StrEnum):
    """RECOVERY 4, "Operation"."""

    INIT = "init"
    EXEC = "exec"
    DONE = "done"
    ACK = "ack"
    FAIL = "fail"


class BrokenChain(Fault):
    """A stored log whose entries do not follow from each other; says which entry and why.

    The place is an entry of a session, counted from 1; or the line of a file, where no entry can be read from it.
    """

    def __init__(self, reason: str, *, session_id: str = "", entry: int = 0, line: int = 0, **more: Any) -> None:
        super().__init__(reason, **more)
        self.session_id = session_id
        self.entry = entry
        self.line = line


class Conflict(Fault):
    """An append that lost the comparison: somebody else wrote this place first."""


class Fork(Fault):
    """Two logs that have different entries at the same place: neither continues the other."""


class StorageFailed(Fault):
    """The store could not answer, and whether the entry is durable is not known. Append it again, then act (R42)."""


class LogEntry(BaseModel):
    """One entry: the fields of RECOVERY 4. What is None is absent from the stored entry and from its hash.

    `timestamp` is RFC 3339, not the draft's UNIX seconds, which cannot order entries (R15); order is
    `sequenceNumber`. `payload` is a signed message, an operation of the ledger, or a receipt.
    `credentialBlock` is the digest of a credential, never the credential: logs are shared (R8).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    sessionId: str
    contextId: str
    gatewayId: Annotated[str, OURS]
    sequenceNumber: int = Field(ge=1, lt=2**53)
    satpPhase: int
    step: Annotated[str, OURS]
    operation: Operation
    timestamp: str
    payload: dict[str, Any]
    payloadHash: str
    lastEntryHash: str
    messageSignature: str | None = None
    resourceUrl: str | None = None
    developerUrn: str | None = None
    actionResponse: str | None = None
    credentialProfile: str | None = None
    credentialBlock: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    payloadProfile: str | None = None
    applicationProfile: str | None = None
    originGatewayId: str | None = None
    originGatewayPubkey: str | Json | None = None
    originGatewaySystem: str | None = None
    destinationGatewayId: str | None = None
    destinationGatewayPubkey: str | Json | None = None
    destinationGatewaySystem: str | None = None
    loggingProfile: str | None = None
    accessControlProfile: str | None = None
    recoveryMessage: str | None = None
    recoveryPayload: str | Json | None = None
    writerId: Annotated[str | None, OURS] = None
    epoch: Annotated[int | None, Field(ge=1, lt=2**53), OURS] = None

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """An entry as it was stored; its hash is over these very bytes. ValueError if they are no entry."""
        entry = cls.model_validate_json(body)
        entry.__dict__["canonical_bytes"] = body
        return entry

    @cached_property
    def canonical_bytes(self) -> bytes:
        """What is stored and hashed. Computed once: every append needs it twice."""
        return canonical(self.as_json())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A changed copy must not keep the bytes of the original, nor their hash."""
        copied = super().model_copy(update=update, deep=deep)
        for computed in ("canonical_bytes", "entry_hash"):
            copied.__dict__.pop(computed, None)
        return copied

    def as_json(self) -> Json:
        content: Json = self.model_dump(mode="json", exclude_none=True)
        return content

    def as_document(self, parties: Json | None = None) -> Json:
        """The entry as RECOVERY 4 asks for it: what it leaves out is filled in. For `compute_parties(claim)`."""
        return LOCAL_CONSTANTS | (parties or {}) | self.as_json()

    def compute_hash(self) -> str:
        """Digest over all fields, the previous entry's hash included: this is what chains them."""
        return self.entry_hash

    @cached_property
    def entry_hash(self) -> str:
        """Computed once, as the bytes are: whoever reads a log needs it to verify, to compare and to go on from."""
        return digest(self.canonical_bytes)

    def __repr__(self) -> str:
        name = f"{self.step} {describe_step(self.step)}" if self.step else f"phase {self.satpPhase}"
        return f"{self.sequenceNumber:>2}  {self.operation:<4} {name}"

    __str__ = __repr__


# ------------------------------------------------------------------ making and signing an entry


def validate_entry(content: Mapping[str, Any]) -> LogEntry:
    """An entry from JSON by our names. Refused with the path of the first field that does not fit."""
    try:
        return LogEntry.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(f"log entry: {field}: {first['msg']}", field=field) from error


def compose_entry(
    before: LogEntry | None, fields: Json, *, credential: str | None = None, signer: KeyPair | None = None
) -> LogEntry:
    """The entry that comes after `before` (None: the first of its chain), signed if there is a signer.

    `credential` is a token or certificate; the entry gets its digest.
    """
    genesis = compute_genesis(fields["sessionId"], fields["gatewayId"])
    chained = {
        "sequenceNumber": before.sequenceNumber + 1 if before else 1,
        "lastEntryHash": before.compute_hash() if before else genesis,
        "payloadHash": digest(fields["payload"]),
    }
    hashed = {"credentialBlock": digest(credential.encode())} if credential is not None else {}
    entry = validate_entry(fields | chained | hashed)
    return entry if signer is None else sign_entry(entry, signer)


def sign_entry(entry: LogEntry, signer: KeyPair) -> LogEntry:
    """RECOVERY 4: "Gateway ECDSA signature over the log entry". A JWS with detached payload (RFC 7515, appendix F).

    It covers the canonical entry without `messageSignature`; the `lastEntryHash` of the next entry covers
    it too. The draft requires it and RECOVERY 7 calls it optional (R13): a private log, which only its
    writer reads, is unsigned here; an entry that is shown to others is signed.
    """
    header, _, signature = signer.sign(_unsigned(entry).as_json()).split(".")
    return entry.model_copy(update={"messageSignature": f"{header}..{signature}"})


def verify_signature(entry: LogEntry, keys: KeyRing) -> None:
    """Raise BadSignature unless the entry is signed by the gateway that it names as its writer."""
    where = f"entry {entry.sequenceNumber} of session {entry.sessionId}"
    if entry.messageSignature is None:
        raise BadSignature(f"{where} is not signed", field="messageSignature")
    header, _, signature = entry.messageSignature.partition("..")
    content = urlsafe_b64encode(_unsigned(entry).canonical_bytes).rstrip(b"=").decode()
    signed = keys.verify(f"{header}.{content}.{signature}")
    if signed.signer != entry.gatewayId:
        raise BadSignature(f"{where} is signed by another", expected=entry.gatewayId, found=signed.signer)


def _unsigned(entry: LogEntry) -> LogEntry:
    return entry.model_copy(update={"messageSignature": None})


def compute_parties(claim: Json) -> Json:
    """The fields of RECOVERY 4 that name the two gateways, from the claim of SATP 8.1: the same in every entry."""
    return {
        "originGatewayPubkey": claim["senderGatewaySignaturePublicKey"],
        "originGatewaySystem": claim["senderGatewayNetworkId"],
        "destinationGatewayPubkey": claim["receiverGatewaySignaturePublicKey"],
        "destinationGatewaySystem": claim["recipientGatewayNetworkId"],
    }


# ------------------------------------------------------------------ the chain


def compute_genesis(session_id: str, gateway_id: str) -> str:
    """What the first entry of a chain names as the entry before it."""
    return digest({"genesis": "log", "sessionId": session_id, "gatewayId": gateway_id})


def verify_chain(entries: Iterable[LogEntry], session_id: str | None = None) -> None:
    """Raise BrokenChain at the first entry of one session's log that does not follow from the one before."""
    expected_hash, expected_number = None, 1
    for entry in entries:
        session_id = session_id or entry.sessionId
        where = f"entry {expected_number} of session {session_id}"
        place: Json = {"session_id": session_id, "entry": expected_number}
        if entry.sessionId != session_id:
            words = f"{where} is of another session"
            raise BrokenChain(words, field="sessionId", expected=session_id, found=entry.sessionId, **place)
        if entry.sequenceNumber != expected_number:
            words, found = f"{where} is missing", entry.sequenceNumber
            raise BrokenChain(words, field="sequenceNumber", expected=expected_number, found=found, **place)
        before = expected_hash or compute_genesis(entry.sessionId, entry.gatewayId)
        if entry.lastEntryHash != before:
            words = f"{where} does not follow the entry before it"
            raise BrokenChain(words, field="lastEntryHash", expected=before, found=entry.lastEntryHash, **place)
        if digest(entry.payload) != entry.payloadHash:
            raise BrokenChain(f"the payload of {where} was changed", field="payloadHash", **place)
        expected_hash, expected_number = entry.compute_hash(), expected_number + 1


def verify_continues(entry: LogEntry, length: int, last_hash: str | None) -> None:
    """The comparison of compare-and-set: `entry` must be the next one of a chain with this length and last hash."""
    if entry.sequenceNumber != length + 1:
        raise Conflict("another entry has this place", expected=length + 1, found=entry.sequenceNumber)
    before = last_hash or compute_genesis(entry.sessionId, entry.gatewayId)
    if entry.lastEntryHash != before:
        raise Conflict("the chain goes on from another entry", expected=before, found=entry.lastEntryHash)


def getLogDiff(l1: Sequence[LogEntry], l2: Sequence[LogEntry]) -> list[LogEntry]:
    """RECOVERY 3: what `l2` has and `l1` lacks, which is the entries of `l2` after the common prefix.

    Empty where `l1` is the same as `l2` or continues it; getLogDiff(l2, l1) is the other direction.
    BrokenChain if either is no chain. Fork, with the place, if they differ where both have an entry: then
    neither can be brought to the other by appending, and no difference is returned. The private logs of
    two gateways are different chains from entry 1 on; what two gateways share is the history of messages.
    """
    verify_chain(l1)
    verify_chain(l2)
    for mine, theirs in zip(l1, l2, strict=False):
        if mine.compute_hash() != theirs.compute_hash():
            words = f"the logs part at entry {mine.sequenceNumber} of session {mine.sessionId}"
            if mine.gatewayId != theirs.gatewayId:
                words += f", written by {mine.gatewayId} and by {theirs.gatewayId}"
            raise Fork(words, expected=mine.compute_hash(), found=theirs.compute_hash())
    return list(l2[len(l1) :])


def is_end(entry: LogEntry) -> bool:
    """Whether a session has no more to do after this entry: the last row of TABLE 1 is done, or the way back ended."""
    is_last = entry.step == LAST.number and entry.operation is not Operation.FAIL
    return is_last or entry.payload.get("ended") is True


def is_reopening(entry: LogEntry) -> bool:
    """Whether a session that was closed needs a human again: it is frozen in a dispute."""
    return "frozen" in entry.payload


# ------------------------------------------------------------------ the API


class LogStorage(Protocol):
    """The Log Storage API of RECOVERY 3 and 3.4, by its names, with the session selectors it lacks (R9).

    The first group are the primitives that a store has to have; the second is made from them, once. `epoch` is ours:
    under which this store's user writes (lease.py), 0 where it shares the log with nobody.
    """

    epoch: int = 0

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        """Append durably and return the sequence number. Conflict if the entry does not continue the chain.

        `closes` marks the session as no longer open, in the same durable act. The identical entry at its
        place is answered as the first time. StorageFailed if the store cannot tell whether it has it.
        """

    def getLogEntry(self, session_id: str, number: int) -> LogEntry:
        """The entry with this index, counted from 1. Misuse if there is none."""

    def getLogLength(self, session_id: str) -> int: ...

    def getLog(self, session_id: str) -> list[LogEntry]:
        """All entries of a session, oldest first. BrokenChain if they do not follow from each other."""

    def getSessions(self) -> list[str]:
        """Ours: every session, oldest first."""

    def getOpenSessions(self) -> list[str]:
        """Ours: the sessions that no entry has closed, and those in dispute, oldest first. A restart begins there."""

    def group(self) -> AbstractContextManager[None]:
        """Ours: the appends inside become durable together when it ends, and not before.

        So nothing may be sent, and no ledger asked to act, because of an entry whose group has not ended. An
        exception inside loses the whole group and nothing else; whoever took its entries into account reads
        the log again. A group inside a group is part of the outer one.
        """

    def verify_durable(self, session_id: str) -> None:
        """Ours: raise Misuse while a group holds an entry of this session: it was appended and is not durable yet."""

    def getLastEntry(self, session_id: str) -> LogEntry | None:
        length = self.getLogLength(session_id)
        return self.getLogEntry(session_id, length) if length else None

    def getLogDiff(self, session_id: str, log: Sequence[LogEntry]) -> list[LogEntry]:
        """What `log` has and this one lacks of a session: `getLogDiff` of the module."""
        return getLogDiff(self.getLog(session_id), log)

    def updateLog(
        self, session_id: str, log: Sequence[LogEntry], *, closes: Callable[[LogEntry], bool] = is_end
    ) -> list[LogEntry]:
        """RECOVERY 3: bring this log up to `log` and return what was written: all of it durable, or nothing.

        Refused as in getLogDiff. Entries carry no mark that a session is closed: `closes` says which do.
        """
        verify_chain(log, session_id)
        with self.group():
            missing = self.getLogDiff(session_id, log)
            for entry in missing:
                self.writeLogEntry(entry, closes=closes(entry))
        return missing


class MemoryLog(LogStorage):
    """The API in memory. For tests and for measuring what a disk costs; a crash of the machine loses it."""

    def __init__(self) -> None:
        self._entries: dict[str, list[LogEntry]] = {}
        self._closed: set[str] = set()
        self._depth = 0
        self._undo: list[tuple[str, bool]] = []  # appends of the group: session, and whether it was closed before

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        entries = self._entries.get(entry.sessionId, [])
        stored = entries[entry.sequenceNumber - 1 : entry.sequenceNumber]
        if stored and stored[0].canonical_bytes == entry.canonical_bytes:
            return entry.sequenceNumber
        verify_continues(entry, len(entries), entries[-1].compute_hash() if entries else None)
        if self._depth:
            self._undo.append((entry.sessionId, entry.sessionId in self._closed))
        self._keep(entry, closes)
        return entry.sequenceNumber

    def _keep(self, entry: LogEntry, closes: bool) -> None:
        self._entries.setdefault(entry.sessionId, []).append(entry)
        if closes:
            self._closed.add(entry.sessionId)
        elif is_reopening(entry):
            self._closed.discard(entry.sessionId)

    def getLogEntry(self, session_id: str, number: int) -> LogEntry:
        entries = self._entries.get(session_id, [])
        if not 1 <= number <= len(entries):
            raise Misuse(f"session {session_id} has no entry {number}; it has {len(entries)}")
        return entries[number - 1]

    def getLogLength(self, session_id: str) -> int:
        return len(self._entries.get(session_id, []))

    def getLog(self, session_id: str) -> list[LogEntry]:
        return list(self._entries.get(session_id, []))

    def getSessions(self) -> list[str]:
        return list(self._entries)

    def getOpenSessions(self) -> list[str]:
        return [session_id for session_id in self._entries if session_id not in self._closed]

    @contextmanager
    def group(self) -> Iterator[None]:
        mark = len(self._undo)
        self._depth += 1
        try:
            yield
        except BaseException:
            self._take_back(mark)
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._undo.clear()

    def _take_back(self, mark: int) -> None:
        while len(self._undo) > mark:
            session_id, was_closed = self._undo.pop()
            self._entries[session_id].pop()
            if not self._entries[session_id]:
                del self._entries[session_id]
            (self._closed.add if was_closed else self._closed.discard)(session_id)

    def verify_durable(self, session_id: str) -> None:
        if any(written == session_id for written, _ in self._undo):
            raise Misuse(NOT_DURABLE.format(session_id))
