"""Log, act, log: the one way to the disk and the one way to the ledger.

    write    one entry, and what it says is part of what the gateway knows
    do       an action: the intent, the network acts, the outcome
    say      a message: composed, signed, written, and only then returned
    ask      an action that was begun and has no outcome: the ledger knows

An entry must be durable before anything leaves the gateway because of it. There are two such places, and
no other: a bare `yield` stands right before each action on the ledger, and the end of the work stands
before its message. `run` works through one piece of work, where each entry is durable as soon as it is
written. `run_together` works through many at once: all of them to their next such place, then one flush
of the disk for all. So what many sessions share is the disk, and never the order: log, then act.

Whoever decides (gateway.py) and whoever backs out (rollback.py) does it through these four. Nothing here
decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol, TypeAlias, TypeVar, cast

from protocol.errors import Misuse
from protocol.lease import Fenced
from protocol.ledger import Cancellation, LedgerRefused, Order, PendingUntil, Receipt, rfc3339
from protocol.log import BrokenChain, LogEntry, LogStorage, Operation
from protocol.messages.recovery import RECOVERY_NAMESPACE
from protocol.messages.satp import NO_ID, VERSION
from protocol.negotiation import Identity
from protocol.objects import Json, canonical, digest
from protocol.rules import Rules
from protocol.session import Session, read_session
from protocol.signing import Signed, extract, reread
from protocol.steps import LAST, RESTART, Role, Row

T = TypeVar("T")
Work: TypeAlias = Generator[None, None, T]
"""Something to do that stops, at each `yield`, until what it wrote is durable."""


class AssetNetwork(Protocol):
    """What a gateway asks of its own network; ledger.py says what the answers mean."""

    def act(self, order: Order) -> Receipt: ...

    def receipt(self, operation_id: str) -> Receipt | None: ...

    def cancel(self, operation_id: str) -> Receipt | Cancellation: ...

    def end_of(self, operation_id: str) -> Receipt | None: ...

    def state(self, lock_id: str) -> str: ...

    def actions_of(self, gateway: str, session_id: str | None = None) -> list[Receipt]: ...


class Journal:
    """The sessions of one gateway, as its log tells them."""

    def __init__(
        self, identity: Identity, log: LogStorage, network: AssetNetwork, now: Callable[[], datetime], rules: Rules
    ) -> None:
        self.identity = identity
        self.network = network
        self.rules = rules
        self._log = log
        self._now = now
        self._sessions: dict[str, Session] = {}
        self._unwritten: list[tuple[LogEntry, bool]] = []  # always empty with the rule durable_before_sending
        self.damaged: dict[str, str] = {}
        self.fenced: Fenced | None = None

    @property
    def now(self) -> str:
        """RFC 3339."""
        return rfc3339(self._now())

    def find(self, session_id: str) -> Session | None:
        """The state of a transfer, read from the log if need be; None if this gateway has none of that name."""
        if session_id == NO_ID:
            return None  # the gateway's own log, about its restarts
        if session_id not in self._sessions:
            session = read_session(session_id, self.identity.gateway_id, self._log.getLog(session_id))
            if session is None:
                return None
            self._sessions[session_id] = session
        return self._sessions[session_id]

    def session(self, session_id: str) -> Session:
        """As `find`. Misuse if there is none."""
        session = self.find(session_id)
        if session is None:
            raise Misuse(f"{self.identity.gateway_id} knows no session {session_id}")
        return session

    @property
    def known(self) -> list[Session]:
        """The sessions that were looked at since the gateway came up."""
        return list(self._sessions.values())

    def find_open(self) -> list[Session]:
        """The sessions that no entry has closed, oldest first. One whose log is damaged goes to `damaged` instead.

        It must not hold up the others; a human has to look at it.
        """
        return [self.session(name) for name in self._log.getOpenSessions() if not self.is_damaged(name)]

    @property
    def epoch(self) -> int:
        """Under which this gateway writes; 0 where the log is its own alone."""
        return self._log.epoch

    def begin_work(self) -> None:
        """Before anything else in each piece of work. Fenced as in `verify_in_charge`."""
        self.verify_in_charge()
        self._write_what_was_said()

    def verify_in_charge(self) -> None:
        """Raise Fenced for ever after the log has refused an append so: another gateway has taken over."""
        if self.fenced is not None:
            raise self.fenced

    def count_restart(self, why: str, takeover: Json) -> int:
        """One more restart, durable before anybody hears of it; returns how often this gateway has come up.

        Restarts, and takeovers, are logged under a session of their own. If the log is lost, the count begins anew.
        """
        chronicle, entries = self.read_chronicle()
        incarnation = 2 + sum("incarnation" in entry.payload for entry in entries)
        payload = {"incarnation": incarnation, "crashErrorCode": why} | takeover
        name = RECOVERY_NAMESPACE + "transfer-resume-msg"
        self.write(chronicle, RESTART, Operation.INIT, payload, closes=True, recovery=name)
        return incarnation

    def read_chronicle(self) -> tuple[Session, list[LogEntry]]:
        """The gateway's own log, as a session to go on with: its restarts, takeovers, and successions of its peers."""
        chronicle, entries = Session(NO_ID, self.identity.gateway_id), self._log.getLog(NO_ID)
        for entry in entries:
            chronicle.apply(entry)
        return chronicle, entries

    def renew(self, compact: str) -> bytes:
        """A stored message of ours, to be sent again: under the present key. The digest, its name, stays the same."""
        if self.identity.former and extract(compact).headers()["kid"] != self.identity.key.public.kid:
            compact = self.identity.key.sign(reread(compact, self.identity.gateway_id).payload)
        return compact.encode()

    def is_damaged(self, session_id: str) -> bool:
        """Whether the log of this session cannot be read; remembered, for a human."""
        try:
            self.find(session_id)
        except BrokenChain as broken:
            self.damaged[session_id] = str(broken)
            return True
        return False

    def run(self, work: Work[T]) -> T:
        """Work through it; every entry is durable as soon as it is written.

        If the store fails, what it has is not known: then it is read again before anything else is done.
        """
        self.begin_work()
        while True:
            try:
                next(work)
            except StopIteration as end:
                return cast(T, end.value)
            except BaseException:
                self._forget()
                raise

    def run_together(self, works: list[Work[T]]) -> list[T]:
        """Work through all of them, one flush of the disk for the entries that all of them wrote meanwhile.

        They must be about different sessions. If the store fails, what was not durable is forgotten.
        """
        self.begin_work()
        results: dict[int, T] = {}
        while len(results) < len(works):
            with self.together():
                for place, work in enumerate(works):
                    if place not in results:
                        self._advance(work, place, results)
        return [results[place] for place in range(len(works))]

    @contextmanager
    def together(self, sessions: int = 2) -> Iterator[None]:
        """What is written inside shares one flush of the disk, and is not durable before. No action stands inside.

        With fewer `sessions` than two there is nothing to share: each entry is durable as soon as it is written.
        """
        if sessions < 2:
            yield
            return
        try:
            with self._log.group():
                yield
        except BaseException:
            self._forget()
            raise

    @staticmethod
    def _advance(work: Work[T], place: int, results: dict[int, T]) -> None:
        try:
            next(work)
        except StopIteration as end:
            results[place] = end.value

    def write(
        self,
        session: Session,
        row: Row,
        operation: Operation,
        payload: Json,
        *,
        signed: Signed | None = None,
        closes: bool = False,
        recovery: str | None = None,
    ) -> LogEntry:
        """One entry: in the log first, then part of what we know. `signed` is the message in it, if it is at hand.

        `recovery` names the recovery message that it belongs to (RECOVERY 4).
        """
        entry = LogEntry(
            version=VERSION,
            sessionId=session.id,
            contextId=session.context or (signed.payload["transferContextId"] if signed else ""),
            gatewayId=self.identity.gateway_id,
            sequenceNumber=session.length + 1,
            satpPhase=row.stage,
            step=row.number,
            operation=operation,
            timestamp=self.now,
            payload=payload,
            payloadHash=digest(payload),
            lastEntryHash=session.last_hash,
            recoveryMessage=recovery,
            writerId=self.identity.backup_id,
            epoch=self.epoch or None,
        )
        is_ours = signed is not None and signed.signer == self.identity.gateway_id and recovery is None
        if is_ours and not self.rules.durable_before_sending:
            self._unwritten.append((entry, closes))
        else:
            self._write_what_was_said()
            self._append(entry, closes)
        session.apply(entry, signed)
        if session.id != NO_ID:  # the gateway's own log is no transfer
            self._sessions[session.id] = session
        return entry

    def _append(self, entry: LogEntry, closes: bool) -> None:
        try:
            self._log.writeLogEntry(entry, closes=closes)
        except Fenced as fenced:
            self.fenced = fenced
            raise

    def _write_what_was_said(self) -> None:
        """Without the rule durable_before_sending: what was sent by now comes to the disk afterwards."""
        unwritten, self._unwritten = self._unwritten, []
        try:
            for entry, closes in unwritten:
                self._append(entry, closes)
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        """The store failed, or the work did: what is known is read again from the log."""
        self._sessions.clear()
        self._unwritten.clear()

    def do(self, session: Session, row: Row) -> Work[Receipt]:
        """A ledger action: intent, action, outcome. Raises LedgerRefused after logging it; PendingUntil as it is."""
        preimage = self._compute_preimage(session) if row.name in ("lock", "unlock") else ""
        order = session.compute_order(row, preimage)
        if row.number not in session.begun and self.rules.log_before_acting:
            secret = {"preimage": preimage} if order.hashLock else {}
            self.write(session, row, Operation.EXEC, {"order": order.as_json()} | secret)
        yield  # what was written must be durable before the network acts
        self.verify_durable(session)
        try:
            receipt = self.network.act(order)
        except PendingUntil:
            raise
        except LedgerRefused as refusal:
            words = {"reason": str(refusal), "code": refusal.code}
            self.write(session, row, Operation.FAIL, {"refusal": words})
            raise
        self.write_receipt(session, row, receipt)
        return receipt

    def verify_durable(self, session: Session) -> None:
        """No durable entry, no action (R42): Misuse if something this gateway knows of the session is not on disk."""
        self._log.verify_durable(session.id)
        if any(entry.sessionId == session.id for entry, _ in self._unwritten):
            raise Misuse(f"what was said in session {session.id} is not durable yet")

    def say(self, session: Session, row: Row) -> bytes:
        """The message of this row."""
        signed = self.sign(session.compute_payload(row, self.now))
        operation = Operation.ACK if row.actor is Role.RECIPIENT else Operation.INIT  # a recipient only answers
        content = {"message": signed.compact, "author": signed.signer}
        self.write(session, row, operation, content, signed=signed, closes=row is LAST)
        return signed.compact.encode()

    def sign(self, payload: Json) -> Signed:
        """A message of our own."""
        body, key = canonical(payload), self.identity.key
        return Signed(key.sign_canonical(body), self.identity.gateway_id, key.public.kid, payload, digest(body))

    def ask(self, session: Session) -> None:
        """An action that was begun and has no outcome may have happened. Only the ledger knows.

        Nor does the log know that it is whole: the entry that says "begun" may be among those that were lost. So the
        next action is asked about, begun or not.
        """
        row = session.next_row
        if row is None or not row.is_action or row.actor is not session.role or session.orphan is not None:
            return
        if not self.rules.ask_the_ledger_before_repeating:
            return
        receipt = self.network.receipt(session.operation_id(row.number))
        if receipt is not None:
            self.write_receipt(session, row, receipt)

    def has_acted(self, session: Session, step: str) -> bool:
        """Whether the own network made the lock or the mint of this session, whatever the log says."""
        return self.network.state(session.operation_id(step)) != "unknown"

    def write_receipt(self, session: Session, row: Row, receipt: Receipt) -> None:
        payload = {"receipt": receipt.as_json(), "signed": receipt.signed}
        self.write(session, row, Operation.DONE, payload)

    def _compute_preimage(self, session: Session) -> str:
        """The secret of a hash lock, hexadecimal: from the log once it is there, else computed from the signing key.

        A deterministic signature is known to the holder of the key alone, so the secret needs no dice, and is found
        again even if the log is lost. If log and key are lost, so is the secret: such a lock can only expire. A backup
        has another key: it has the secret from the log, where it stands before the lock is made.
        """
        computed = {"preimage of the lock of": session.id}
        return session.preimage or digest(self.identity.key.sign(computed).encode())
