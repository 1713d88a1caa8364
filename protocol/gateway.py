"""The corridor. A message arrives, or a gateway comes back; both ways lead through the same few lines.

    receive    verify -> decide -> log -> act -> log -> reply
    restart    read the log -> ask the ledger -> continue

Everything that can refuse stands before the first write: a refused message changes neither log nor
ledger and is answered with the document's code, signed. No action without a durable entry that says it
is about to happen; no message leaves before the entry that contains it is durable.

The class plays sender and recipient alike. It opens no socket, reads no clock and throws no dice: bytes
come in and bytes go out, and time is a function it was given. What it does next is decided by TABLE 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from protocol.errors import BAD_SIGNATURE, INVALID_MESSAGE_TYPE, Misuse, Refused, satp_code
from protocol.ledger import LedgerRefused, Order, Receipt, rfc3339
from protocol.log import LogEntry, LogStorage, Operation
from protocol.messages.satp import (
    VERSION,
    AnyMessage,
    ErrorMessage,
    TransferProposal,
    parse_message,
    write_error,
    write_message,
)
from protocol.objects import Json, digest
from protocol.rules import Rules
from protocol.session import Session, verify_proposal
from protocol.signing import BadSignature, KeyPair, KeyRing, NotSigned, Signed, read_payload
from protocol.steps import FIRST, LAST, Row, find_row_of_type

ANSWERS = {"1.2", "1.4", "2.4", "3.3", "3.7"}  # the messages that answer one: logged as `ack`, the others as `init`


class AssetNetwork(Protocol):
    """What a gateway asks of its own network."""

    def act(self, order: Order) -> Receipt: ...

    def receipt(self, operation_id: str) -> Receipt | None: ...


@dataclass(frozen=True)
class Identity:
    """SATP 5.3.11: a gateway's id, the network behind it, and its signing key."""

    gateway_id: str
    network_id: str
    key: KeyPair


@dataclass(frozen=True)
class Outgoing:
    """Bytes for a peer."""

    peer: str
    data: bytes


class Gateway:
    """One gateway, in whatever role a session gives it."""

    def __init__(
        self,
        identity: Identity,
        log: LogStorage,
        network: AssetNetwork,
        *,
        peers: KeyRing,
        networks: KeyRing,
        now: Callable[[], datetime],
        rules: Rules | None = None,
    ) -> None:
        self.identity = identity
        self.id = identity.gateway_id
        self._log = log
        self._network = network
        self._peers = peers
        self._networks = networks
        self._now = now
        self._rules = rules or Rules()
        self._sessions: dict[str, Session] = {}

    # ------------------------------------------------------------------ a message arrives

    def receive(self, data: bytes) -> bytes | None:
        """The corridor. Returns the bytes to send back, or None. Never raises because of what the peer sent."""
        try:
            signed, message = self._verify(data)
            session, row = self._decide(signed, message)
        except Refused as refusal:
            return self._refuse(data, refusal)
        if isinstance(message, ErrorMessage):
            self._park(session, signed, message)
            return None
        if signed.digest in session.history:
            return self._reply_again(session, signed)
        self._write(session, row, Operation.DONE, {"message": signed.compact, "author": signed.signer})
        return self._go_on(session)

    def _verify(self, data: bytes) -> tuple[Signed, AnyMessage]:
        """Signature over the bytes received, then the schema."""
        try:
            signed = self._peers.verify(data)
        except BadSignature as error:
            raise Refused(error.reason, code=BAD_SIGNATURE, found=error.found) from error
        except NotSigned as error:
            raise Refused(error.reason, code=INVALID_MESSAGE_TYPE, found=error.found) from error
        return signed, parse_message(signed.payload)

    def _decide(self, signed: Signed, message: AnyMessage) -> tuple[Session, Row]:
        """The session and the row of TABLE 1; Refused unless the message is its next version, or a repeated one."""
        session = self.find_session(message.sessionId)
        if isinstance(message, ErrorMessage):
            return self._decide_error(session, signed, message)
        row = find_row_of_type(message.messageType)
        if session is None and not isinstance(message, TransferProposal):
            raise Refused("unknown session", code=satp_code(row.number, "sessionId"), found=message.sessionId)
        if session is None:
            assert isinstance(message, TransferProposal)
            verify_proposal(message, signed, self.identity.key.public, self.id, self.identity.network_id)
            return Session(message.sessionId, self.id), FIRST
        if signed.digest in session.history and self._rules.same_reply_to_a_repeated_request:
            session.verify_author(signed)
            return session, row
        if row is FIRST:
            raise Refused("the session exists", code=satp_code("1.1", "sessionId"), found=message.sessionId)
        if session.parked:
            raise Refused(f"the session is parked: {session.parked}", code=INVALID_MESSAGE_TYPE)
        session.verify_follows(message, row, signed.signer, self._networks)
        return session, row

    def _decide_error(self, session: Session | None, signed: Signed, error: ErrorMessage) -> tuple[Session, Row]:
        """An error counts only if the peer of the session says it, about the last message that we sent."""
        if session is None or signed.signer != session.peer:
            raise Unanswered("an error about no session of ours")
        last = session.history[session.history.head] if session.history.head else None
        if last is None or last.author != self.id or error.hashPrevMessage != last.name:
            raise Unanswered("an error about no message that waits for an answer")
        row = next(row for row in reversed(session.rows_done) if not row.is_action)
        return session, row

    def _go_on(self, session: Session) -> bytes | None:
        """Do every row that is ours, up to and including the next message. The first row not done decides."""
        while (row := session.next_row) is not None and row.actor is session.role:
            if not row.is_action:
                return self._say(session, row)
            if not self._do(session, row):
                return None
        return None

    def _do(self, session: Session, row: Row) -> bool:
        """A ledger action: intent, action, outcome. False if the network refused, which parks the session."""
        order = session.compute_order(row)
        if row.number not in session.begun and self._rules.log_before_acting:
            self._write(session, row, Operation.EXEC, {"order": order.as_json()})
        try:
            receipt = self._network.act(order)
        except LedgerRefused as refusal:
            self._write(session, row, Operation.FAIL, {"reason": f"{row.name} refused: {refusal}"})
            return False
        self._write_receipt(session, row, receipt)
        return True

    def _say(self, session: Session, row: Row) -> bytes:
        """The message of this row: composed, signed, durable, and only then returned."""
        compact = self.identity.key.sign(session.compute_payload(row, rfc3339(self._now())))
        operation = Operation.ACK if row.number in ANSWERS else Operation.INIT
        self._write(session, row, operation, {"message": compact, "author": self.id})
        return compact.encode()

    def _reply_again(self, session: Session, signed: Signed) -> bytes | None:
        """A repeated message gets the stored bytes again, or what is still owed; after a crash that may be a step."""
        stored = session.compute_reply_to(signed.digest)
        if stored is not None:
            return stored.encode()
        return None if session.is_at_rest else self._go_on(session)

    def _refuse(self, data: bytes, refusal: Refused) -> bytes | None:
        """The document's error, signed (SATP 11.3). Nothing is written."""
        if isinstance(refusal, Unanswered):
            return None  # an error is never answered with an error: two gateways could go on for ever
        return self.identity.key.sign(write_error(data, refusal, rfc3339(self._now()))).encode()

    def _park(self, session: Session, signed: Signed, error: ErrorMessage) -> None:
        """The peer refused our last message: keep the evidence, and wait for a human. Nothing is undone."""
        if not session.is_at_rest:
            row = session.rows_done[-1]
            reason = f"{session.peer} answered {error.type.rpartition(':')[2]}: {error.detail or error.title}"
            evidence = {"reason": reason, "message": signed.compact, "author": signed.signer}
            self._write(session, row, Operation.FAIL, evidence)

    # ------------------------------------------------------------------ a transfer starts, waits, comes back

    def start(self, proposal: Json) -> Outgoing:
        """Begin a transfer as sender. `proposal` is the payload of 1.1. Misuse if it is not ours to send."""
        try:
            message = parse_message(proposal)
        except Refused as refusal:
            raise Misuse(str(refusal)) from refusal
        if not isinstance(message, TransferProposal) or message.transferInitClaim.senderGatewayId != self.id:
            raise Misuse(f"a transfer begins with a transfer-proposal-msg whose senderGatewayId is {self.id}")
        if self.find_session(message.sessionId) is not None:
            raise Misuse(f"session {message.sessionId} exists; a new transfer needs a new sessionId")
        session = Session(message.sessionId, self.id)
        compact = self.identity.key.sign(write_message(message))
        self._write(session, FIRST, Operation.INIT, {"message": compact, "author": self.id})
        return Outgoing(session.peer, compact.encode())

    def on_time_out(self) -> list[Outgoing]:
        """No answer came: send the last message of every open session again, the same bytes."""
        sessions = [self.session(name) for name in self._log.getOpenSessions()]
        waiting = [(session, session.compute_last_own_message()) for session in sessions if not session.is_at_rest]
        return [Outgoing(session.peer, compact.encode()) for session, compact in waiting if compact]

    def restart(self) -> list[Outgoing]:
        """After a crash: read the log, ask the ledger about what was begun, go on, and say the last word again."""
        outgoing = []
        for name in self._log.getOpenSessions():
            session = self.session(name)
            if session.is_at_rest:
                continue
            self._ask_the_ledger(session)
            data = self._go_on(session)
            again = session.compute_last_own_message()
            if data is None and again is not None:
                data = again.encode()
            if data is not None:
                outgoing.append(Outgoing(session.peer, data))
        return outgoing

    def _ask_the_ledger(self, session: Session) -> None:
        """An action that was begun and has no outcome may have happened. Only the ledger knows."""
        row = session.next_row
        if row is None or row.number not in session.begun or not self._rules.ask_the_ledger_before_repeating:
            return
        receipt = self._network.receipt(session.begun[row.number]["operationId"])
        if receipt is not None:
            self._write_receipt(session, row, receipt)

    # ------------------------------------------------------------------ the log

    def session(self, session_id: str) -> Session:
        """The state of a transfer. Misuse if this gateway has none of that name."""
        session = self.find_session(session_id)
        if session is None:
            raise Misuse(f"{self.id} knows no session {session_id}")
        return session

    def find_session(self, session_id: str) -> Session | None:
        """The state of a transfer, read from the log if need be; None if this gateway has none of that name."""
        if session_id not in self._sessions:
            entries = self._log.getLog(session_id)
            if not entries:
                return None
            session = Session(session_id, self.id)
            for entry in entries:
                session.apply(entry)
            self._sessions[session_id] = session
        return self._sessions[session_id]

    def _write(self, session: Session, row: Row, operation: Operation, payload: Json) -> None:
        """One entry: durable first, then part of what we know."""
        entry = LogEntry(
            version=VERSION,
            sessionId=session.id,
            contextId=session.context or read_payload(payload["message"])["transferContextId"],
            gatewayId=self.id,
            sequenceNumber=session.length + 1,
            phase=row.stage,
            step=row.number,
            operation=operation,
            timestamp=rfc3339(self._now()),
            payload=payload,
            payloadHash=digest(payload),
            lastEntryHash=session.last_hash,
        )
        self._log.writeLogEntry(entry, closes=row is LAST)
        session.apply(entry)
        self._sessions[session.id] = session

    def _write_receipt(self, session: Session, row: Row, receipt: Receipt) -> None:
        payload = {"receipt": receipt.as_json(), "signed": receipt.signed}
        self._write(session, row, Operation.DONE, payload)

    def __repr__(self) -> str:
        sessions = "; ".join(repr(session) for session in self._sessions.values())
        return f"gateway {self.id} before network {self.identity.network_id}: {sessions or 'no session'}"


class Unanswered(Refused):
    """Refused, and nobody is told."""
