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
from itertools import zip_longest

from protocol.errors import BAD_SIGNATURE, INVALID_MESSAGE_TYPE, Misuse, Refused, satp_code
from protocol.journal import AssetNetwork, Journal, Work
from protocol.ledger import LedgerRefused
from protocol.log import BrokenChain, LogStorage, Operation
from protocol.messages.satp import (
    AnyMessage,
    ErrorMessage,
    SessionAbort,
    TransferProposal,
    is_error,
    parse_message,
    peek_session,
    write_error,
    write_message,
)
from protocol.negotiation import Capabilities, Identity, verify_own_proposal, verify_proposal
from protocol.objects import Json, digest
from protocol.rollback import Rollback
from protocol.rules import Rules
from protocol.session import Session
from protocol.signing import BadSignature, KeyRing, NotSigned, Signed
from protocol.steps import FIRST, LAST, Role, Row, find_row_of_type


@dataclass(frozen=True)
class Outgoing:
    """Bytes for a peer."""

    peer: str
    data: bytes


class Unanswered(Refused):
    """Refused, and nobody is told."""


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
        able: Capabilities | None = None,
    ) -> None:
        self.identity = identity
        self.id = identity.gateway_id
        self._peers = peers
        self._networks = networks
        self._rules = rules or Rules()
        self._able = able or Capabilities()
        self._journal = Journal(identity, log, network, now, self._rules)
        self._rollback = Rollback(self._journal, networks)

    # ------------------------------------------------------------------ a message arrives

    def receive(self, data: bytes) -> bytes | None:
        """Returns the bytes to send back, or None. Never raises because of what the peer sent."""
        return self._journal.run(self._corridor(data))

    def receive_all(self, messages: list[bytes]) -> list[bytes | None]:
        """The same for many messages: those of different sessions share the flushes of the disk.

        If the disk fails, nothing of the batch may be sent; the peers will ask again.
        """
        queues: dict[str, list[int]] = {}
        for place, data in enumerate(messages):
            queues.setdefault(peek_session(data), []).append(place)
        replies: dict[int, bytes | None] = {}
        for places in zip_longest(*queues.values()):
            chosen = [place for place in places if place is not None]
            works = [self._corridor(messages[place]) for place in chosen]
            replies.update(zip(chosen, self._journal.run_together(works), strict=True))
        return [replies[place] for place in range(len(messages))]

    def _corridor(self, data: bytes) -> Work[bytes | None]:
        """Verify, decide, log, act, log, reply."""
        try:
            signed, message = self._verify(data)
            session, row = self._decide(signed, message)
        except BrokenChain as broken:
            self._journal.damaged[peek_session(data)] = str(broken)
            return None  # our own disk is no business of the peer's
        except Refused as refusal:
            if isinstance(refusal, Unanswered) or is_error(data):
                return None  # an error is never answered with an error: two gateways could go on for ever
            return self.identity.key.sign(write_error(data, refusal, self._journal.now)).encode()
        if row is None:
            return (yield from self._on_special(session, signed, message))
        self._journal.write(session, row, Operation.DONE, _as_evidence(signed), signed=signed, closes=row is LAST)
        return (yield from self._go_on(session))

    def _verify(self, data: bytes) -> tuple[Signed, AnyMessage]:
        """Signature over the bytes received, then the schema."""
        try:
            signed = self._peers.verify(data)
        except BadSignature as error:
            raise Refused(error.reason, code=BAD_SIGNATURE, found=error.found) from error
        except NotSigned as error:
            raise Refused(error.reason, code=INVALID_MESSAGE_TYPE, found=error.found) from error
        return signed, parse_message(signed.payload)

    def _decide(self, signed: Signed, message: AnyMessage) -> tuple[Session, Row | None]:
        """The session, and the row of TABLE 1 that the message takes. Row None: a repeated message, error or abort.

        Refused unless the message is one of these.
        """
        session = self._journal.find(message.sessionId)
        if isinstance(message, ErrorMessage):
            return self._decide_error(session, signed, message), None
        if session is None:
            return self._decide_first(signed, message)
        session.verify_peer(signed.signer)
        if isinstance(message, SessionAbort):
            if session.is_over or session.ending:
                raise Unanswered("this session is over")  # SATP 11.1
            self._rollback.verify_abort(session, message)
            return session, None
        row = find_row_of_type(message.messageType)
        if session.ending:
            return session, None
        if signed.digest in session.history and self._rules.same_reply_to_a_repeated_request:
            session.verify_author(signed)
            return session, None
        if row is FIRST:
            raise Refused("the session exists", code=satp_code("1.1", "sessionId"), found=message.sessionId)
        session.verify_follows(message, row, self._networks, self._journal.now)
        return session, row

    def _decide_first(self, signed: Signed, message: AnyMessage) -> tuple[Session, Row]:
        """A session that this gateway does not know begins with a proposal that it can accept."""
        if isinstance(message, SessionAbort):
            raise Unanswered("an abort of no session of ours")
        if not isinstance(message, TransferProposal):
            code = satp_code(find_row_of_type(message.messageType).number, "sessionId")
            raise Refused("unknown session", code=code, found=message.sessionId)
        verify_proposal(message, signed, self.identity, self._able)
        return Session(message.sessionId, self.id), FIRST

    def _decide_error(self, session: Session | None, signed: Signed, error: ErrorMessage) -> Session:
        """An error counts only if the peer of the session says it, about the very bytes that we sent last."""
        if session is None or signed.signer != session.peer or session.is_at_rest or session.ending:
            raise Unanswered("an error about no session of ours")
        last = session.compute_last_own_message()
        if last is None or error.hashPrevMessage != session.history.head:
            raise Unanswered("an error about no message that waits for an answer")
        if error.hashRefusedMessage not in (None, digest(last.encode())):
            raise Unanswered("an error about a copy of our message, not about what we sent")
        return session

    def _on_special(self, session: Session, signed: Signed, message: AnyMessage) -> Work[bytes | None]:
        """What is no step: an error, an abort, a message to a session that is over, a repeated message."""
        if isinstance(message, ErrorMessage):
            return (yield from self._on_error(session, signed, message))
        if isinstance(message, SessionAbort):
            data = yield from self._rollback.follow(session, signed, message)
            return data if session.ending else (yield from self._go_on(session))
        if session.ending:
            return session.own_abort.encode() if session.own_abort else None
        if session.parked:
            return None
        stored = session.compute_reply_to(signed.digest)
        if stored is not None:
            return stored.encode()
        return None if session.is_at_rest else (yield from self._go_on(session))

    def _on_error(self, session: Session, signed: Signed, error: ErrorMessage) -> Work[bytes | None]:
        """The peer refused our last message: before the burn back out, after it wait for a human. Never terminate.

        A recipient that has sent commit-ready cannot know on which side of the burn it is. What is parked goes on by
        itself if the peer's next message comes after all, or the receipt that ends it.
        """
        code = error.type.rpartition(":")[2]
        reason = f"{session.peer} answered {code}: {error.detail or error.title}"
        if session.is_committed or session.is_prepared:
            self._journal.write(
                session, session.rows_done[-1], Operation.FAIL, {"parked": reason} | _as_evidence(signed)
            )
            return None
        self._journal.write(session, session.rows_done[-1], Operation.FAIL, _as_evidence(signed))
        return (yield from self._back_out(session, reason, code))

    def _go_on(self, session: Session) -> Work[bytes | None]:
        """Do every row that is ours, up to and including the next message. The first row not done decides."""
        while (row := session.next_row) is not None and row.actor is session.role:
            if not row.is_action:
                return self._journal.say(session, row)
            if row.name == "burn" and not self._is_lock_live(session):
                return (yield from self._back_out(session, "asset lock expired", "err_2.2.9"))
            try:
                yield from self._journal.do(session, row)
            except LedgerRefused as refusal:
                return (yield from self._on_refusal(session, row, refusal))
        return None

    def _is_lock_live(self, session: Session) -> bool:
        """The sender burns only while its lock is held (C29). A burn that is begun already is the ledger's to judge."""
        is_asked = self._rules.burn_only_under_a_live_lock and "3.4" not in session.begun
        return not is_asked or self._journal.network.state(session.operation_id("2.1")) == "live"

    def _on_refusal(self, session: Session, row: Row, refusal: LedgerRefused) -> Work[bytes | None]:
        """The own network refused an action: back out where that is still possible, else wait for a human."""
        if session.is_committed or session.is_prepared:
            self._journal.write(session, row, Operation.FAIL, {"parked": f"{row.name} refused: {refusal}"})
            return None
        return (yield from self._back_out(session, f"{row.name} refused: {refusal.reason}", refusal.code))

    def _back_out(self, session: Session, reason: str, code: str = "") -> Work[bytes | None]:
        data = yield from self._rollback.back_out(session, reason, code)
        return data if session.ending else (yield from self._go_on(session))

    # ------------------------------------------------------------------ a transfer starts, waits, ends, comes back

    def start(self, proposal: Json) -> Outgoing:
        """Begin a transfer as sender. `proposal` is the payload of 1.1. Misuse if it is not ours to send."""
        return self._journal.run(self._propose(proposal))

    def start_all(self, proposals: list[Json]) -> list[Outgoing]:
        """The same for many transfers, which share the flush of the disk."""
        return self._journal.run_together([self._propose(proposal) for proposal in proposals])

    def _propose(self, proposal: Json) -> Work[Outgoing]:
        try:
            message = parse_message(proposal)
        except Refused as refusal:
            raise Misuse(str(refusal)) from refusal
        if not isinstance(message, TransferProposal) or message.transferInitClaim.senderGatewayId != self.id:
            raise Misuse(f"a transfer begins with a transfer-proposal-msg whose senderGatewayId is {self.id}")
        if self._journal.find(message.sessionId) is not None:
            raise Misuse(f"session {message.sessionId} exists; a new transfer needs a new sessionId")
        verify_own_proposal(message, self.identity, self._peers.owners)
        session = Session(message.sessionId, self.id)
        signed = self._journal.sign(write_message(message))
        self._journal.write(session, FIRST, Operation.INIT, _as_evidence(signed), signed=signed)
        yield
        return Outgoing(session.peer, signed.compact.encode())

    def abort(self, session_id: str, reason: str) -> list[Outgoing]:
        """End a session on the application's wish (SATP 11.1). Misuse where this gateway may not decide that alone."""
        session = self.session(session_id)
        if session.is_at_rest or session.ending:
            raise Misuse(f"the session is over: {session!r}")
        if session.is_committed:
            raise Misuse("the asset is burned: an abort has no effect any more")
        if session.is_prepared:
            raise Misuse("commit-ready has been sent: only a receipt of the origin network ends this session now")
        return self._address(session, self._journal.run(self._back_out(session, reason)))

    def on_time_out(self) -> list[Outgoing]:
        """No answer came. Every open session goes on where it stands, and says its last word again.

        A time-out decides nothing by itself: the network says whether a lock is over or an action has happened.
        """
        return [outgoing for session in self._journal.find_open() for outgoing in self._resume(session)]

    def restart(self) -> list[Outgoing]:
        """After a crash: read the log, ask the ledger about what was begun, go on, and say the last word again.

        The same as a time-out, on purpose: a gateway that was interrupted without a crash is in the same place.
        """
        return self.on_time_out()

    def _resume(self, session: Session) -> list[Outgoing]:
        if session.is_at_rest:
            return []
        data = self._journal.run(self._continue(session))
        last = session.compute_last_own_message()
        if data is None and last is not None and not (session.ending or session.is_at_rest):
            data = last.encode()
        return self._address(session, data)

    def _continue(self, session: Session) -> Work[bytes | None]:
        """Go on backing out if that was begun, else forward; a lock that is lost begins it."""
        if session.ending:
            data = yield from self._rollback.go_on(session)
            if session.ending:
                return data
        self._journal.ask(session)
        if self._has_lost_its_lock(session):
            return (yield from self._back_out(session, "asset lock expired", "err_2.2.9"))
        return (yield from self._go_on(session))

    def _has_lost_its_lock(self, session: Session) -> bool:
        is_locked = session.role is Role.SENDER and "2.1" in session.done and "3.4" not in session.done
        return is_locked and not self._is_lock_live(session)

    def _address(self, session: Session, data: bytes | None) -> list[Outgoing]:
        return [] if data is None else [Outgoing(session.peer, data)]

    # ------------------------------------------------------------------ looking at it

    def session(self, session_id: str) -> Session:
        """The state of a transfer. Misuse if this gateway has none of that name."""
        return self._journal.session(session_id)

    def find_session(self, session_id: str) -> Session | None:
        """The state of a transfer; None if this gateway has none of that name."""
        return self._journal.find(session_id)

    @property
    def damaged(self) -> dict[str, str]:
        """Sessions whose log cannot be read, and why: for a human. All others go on."""
        return dict(self._journal.damaged)

    def __repr__(self) -> str:
        sessions = "; ".join(repr(session) for session in self._journal.known)
        return f"gateway {self.id} before network {self.identity.network_id}: {sessions or 'no session'}"


def _as_evidence(signed: Signed) -> Json:
    """How a received message stands in the log."""
    return {"message": signed.compact, "author": signed.signer}
