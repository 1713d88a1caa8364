"""The storage modes of RECOVERY 3.3, and its notary: a public log that holds hashes only.

A gateway keeps its entries to itself and publishes, for each, a signed record: who wrote it, which session
(as a digest), which number, and the hash of the entry. `NotaryLog` does that in front of any store;
the order is entry durable, record published, and only then does `writeLogEntry` return. So an entry on
which anybody acted has a record, and a crash between the two leaves one record to be published later.

`Notary` stands for the public log. Nobody can change or remove what is published there, a gateway can
publish for itself only, and it can publish one hash for each place. It can later tell whether a log
that it is shown is whole, changed or shortened; it can give nothing back: it never had the entries.

An entry contains signatures, so its hash does not betray it to somebody who guesses contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocol.errors import Refused
from protocol.log import Conflict, LogEntry, LogStorage
from protocol.messages.satp import Sha256
from protocol.objects import Json, digest
from protocol.signing import KeyPair, KeyRing


class Record(BaseModel):
    """What is published of an entry: its hash, and as little else as a later proof needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    gatewayId: str
    session: Sha256
    sequenceNumber: int = Field(ge=1)
    entryHash: Sha256


def make_record(entry: LogEntry) -> Json:
    record = Record(
        gatewayId=entry.gatewayId,
        session=digest(entry.sessionId),
        sequenceNumber=entry.sequenceNumber,
        entryHash=entry.compute_hash(),
    )
    content: Json = record.model_dump()
    return content


class Finding(StrEnum):
    """What a notary can say of a log that it is shown."""

    WHOLE = "whole"
    CHANGED = "changed"
    SHORTENED = "shortened"
    AHEAD = "ahead"


class Proof(NamedTuple):
    """A finding, and the number of the entry where it shows: the first that is changed, missing or new."""

    finding: Finding
    published: int
    shown: int
    place: int | None = None

    def __repr__(self) -> str:
        words = f"{self.finding}: {self.shown} entries shown, {self.published} published"
        return f"{words}, from entry {self.place}" if self.place else words


class Notary:
    """A public log of hashes. It knows the gateways' keys and nothing of their business."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._records: dict[tuple[str, str], list[str]] = {}

    def publish(self, compact: str) -> None:
        """Take one signed record. Conflict if its place has another one; the same one again is no news."""
        signed = self._keys.verify(compact)
        try:
            record = Record.model_validate(signed.payload)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise Refused(f"not a record: {first['msg']}", field=str(first["loc"][0])) from error
        if record.gatewayId != signed.signer:
            raise Refused("a record of another gateway", expected=signed.signer, found=record.gatewayId)
        known = self._records.get((record.gatewayId, record.session), [])
        if known[record.sequenceNumber - 1 : record.sequenceNumber] == [record.entryHash]:
            return
        if record.sequenceNumber != len(known) + 1:
            raise Conflict("another record has this place", expected=len(known) + 1, found=record.sequenceNumber)
        self._records.setdefault((record.gatewayId, record.session), []).append(record.entryHash)

    def get_length(self, session_id: str, gateway_id: str) -> int:
        return len(self._get_hashes(session_id, gateway_id))

    def prove(self, session_id: str, gateway_id: str, entries: Sequence[LogEntry]) -> Proof:
        """Compare a log with what its writer published. AHEAD: whole as far as published, and longer."""
        hashes = self._get_hashes(session_id, gateway_id)
        count = len(hashes), len(entries)
        for number, (published, entry) in enumerate(zip(hashes, entries, strict=False), 1):
            if entry.compute_hash() != published:
                return Proof(Finding.CHANGED, *count, number)
        if len(entries) < len(hashes):
            return Proof(Finding.SHORTENED, *count, len(entries) + 1)
        if len(entries) > len(hashes):
            return Proof(Finding.AHEAD, *count, len(hashes) + 1)
        return Proof(Finding.WHOLE, *count)

    def _get_hashes(self, session_id: str, gateway_id: str) -> list[str]:
        return self._records.get((gateway_id, digest(session_id)), [])

    def __repr__(self) -> str:
        lines = (
            f"{gateway}, session {session[:8]}: {len(hashes)} hashes"
            for (gateway, session), hashes in self._records.items()
        )
        return "\n".join(lines) or "no record"


class NotaryLog(LogStorage):
    """A store whose every entry has its hash published before the append returns."""

    def __init__(self, log: LogStorage, notary: Notary, key: KeyPair) -> None:
        self._log = log
        self._notary = notary
        self._key = key
        self._waiting: list[LogEntry] = []
        self._depth = 0

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        with self.group():
            number = self._log.writeLogEntry(entry, closes=closes)
            self._waiting.append(entry)
        return number

    @contextmanager
    def group(self) -> Iterator[None]:
        """Published after the commit: a record of an entry that was then lost would prove a loss that is none."""
        mark = len(self._waiting)
        self._depth += 1
        try:
            with self._log.group():
                yield
        except BaseException:
            del self._waiting[mark:]
            raise
        finally:
            self._depth -= 1
        if not self._depth:
            waiting, self._waiting = self._waiting, []
            for entry in waiting:
                self._publish(entry)

    def publish_missing(self) -> int:
        """After a crash: publish what became durable and was not published any more. Returns how many.

        The closed sessions are asked for their length too: the entry that was not published may have closed one.
        """
        count = 0
        for session_id in self.getSessions():
            published = self._notary.get_length(session_id, self.getLogEntry(session_id, 1).gatewayId)
            for number in range(published + 1, self.getLogLength(session_id) + 1):
                self._publish(self.getLogEntry(session_id, number))
                count += 1
        return count

    def _publish(self, entry: LogEntry) -> None:
        self._notary.publish(self._key.sign(make_record(entry)))

    def verify_durable(self, session_id: str) -> None:
        self._log.verify_durable(session_id)

    def getLogEntry(self, session_id: str, number: int) -> LogEntry:
        return self._log.getLogEntry(session_id, number)

    def getLogLength(self, session_id: str) -> int:
        return self._log.getLogLength(session_id)

    def getLog(self, session_id: str) -> list[LogEntry]:
        return self._log.getLog(session_id)

    def getSessions(self) -> list[str]:
        return self._log.getSessions()

    def getOpenSessions(self) -> list[str]:
        return self._log.getOpenSessions()


class StorageMode(NamedTuple):
    """One row of the table: what a mode of RECOVERY 3.3 holds, and what recovery can rely on in it (R7)."""

    mode: str
    holds: str
    after_torn_tail: str
    after_lost_log: str
    loss_is_seen_by: str
    here: str

    def __repr__(self) -> str:
        return "\n".join(
            [
                self.mode,
                f"  holds                 {self.holds}",
                f"  after a torn tail     {self.after_torn_tail}",
                f"  after the log is lost {self.after_lost_log}",
                f"  a loss is seen by     {self.loss_is_seen_by}",
                f"  here                  {self.here}",
            ]
        )


# RECOVERY 3.3 lists four modes and then describes recovery for three, two of them under another mode's name (R7).
STORAGE_MODES = (
    StorageMode(
        mode="1   public decentralized log",
        holds="the entries, for everybody to read",
        after_torn_tail="nothing is missing: the log is elsewhere",
        after_lost_log="everything, from the public log",
        loss_is_seen_by="everybody",
        here="not offered: an entry has parties, receipts and credentials in it (R8)",
    ),
    StorageMode(
        mode="1h  the same, as notary",
        holds="hash, number, writer and a digest of the session id",
        after_torn_tail="shared entries from the peer, own outcomes from the own ledger, each checked by its hash",
        after_lost_log="the same, and the notary says how many entries there were",
        loss_is_seen_by="everybody who is shown the log",
        here="NotaryLog in front of any store",
    ),
    StorageMode(
        mode="2   public centralized log",
        holds="the entries, on a bulletin that its keeper can change or take down",
        after_torn_tail="as mode 1, while the bulletin is there",
        after_lost_log="as mode 1, if somebody kept a copy",
        loss_is_seen_by="whoever kept a copy",
        here="not offered, for the reason of mode 1",
    ),
    StorageMode(
        mode="3   private centralized log",
        holds="the entries, for their writer alone",
        after_torn_tail="shared entries from the peer, own outcomes from the own ledger",
        after_lost_log="the same; that a session existed is known from the peer only",
        loss_is_seen_by="the peer, who has our signed messages",
        here="SQLiteLog, the default",
    ),
    StorageMode(
        mode="4   private decentralized log",
        holds="the entries, for the gateways of a consortium",
        after_torn_tail="nothing is missing: an append counts when the consortium has it",
        after_lost_log="everything, from the consortium; RECOVERY 3.3 forgets this mode",
        loss_is_seen_by="every member",
        here="any store behind the same API that several gateways can reach",
    ),
)
