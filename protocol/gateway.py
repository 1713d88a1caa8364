"""The corridor. A message arrives, or a gateway comes back; both ways lead through the same few lines.

    receive    verify -> decide -> log -> act -> log -> reply
    restart    read the log -> ask the ledger -> tell the peers -> compare -> continue, back out, or stop for a human

Everything that can refuse stands before the first write: a refused message changes neither log nor
ledger and is answered with the document's code, signed. No action without a durable entry that says it
is about to happen; no message leaves before the entry that contains it is durable.

The class plays sender and recipient alike. It opens no socket, reads no clock and throws no dice: bytes
come in and bytes go out, and time is a function it was given. TABLE 1 decides what it does next, TABLE 2 what it
does after a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import zip_longest

from protocol.admission import Admission
from protocol.certificates import Certificate
from protocol.errors import Misuse, NotYet, Refused, Unanswered, satp_code
from protocol.exchange import Exchange
from protocol.forward import Forward
from protocol.journal import AssetNetwork, Journal, Work
from protocol.log import BrokenChain, LogStorage, Operation
from protocol.messages.recovery import CrashErrorCode, is_recovery
from protocol.messages.satp import (
    NO_ID,
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
from protocol.offers import Offers, Outgoing
from protocol.peers import CertifiedKeys
from protocol.reconcile import Judgement, Reconciliation
from protocol.rollback import Rollback
from protocol.rules import Rules
from protocol.salvage import Salvage
from protocol.session import Session
from protocol.signing import KeyRing, Signed
from protocol.steps import FIRST, LAST, Role, Row, find_row_of_type
from protocol.successions import Succession, Successions


class Gateway:
    """One gateway, in whatever role a session gives it."""

    def __init__(
        self,
        identity: Identity,
        log: LogStorage,
        network: AssetNetwork,
        *,
        peers: CertifiedKeys,
        networks: KeyRing,
        now: Callable[[], datetime],
        make_nonce: Callable[[], str],
        rules: Rules | None = None,
        able: Capabilities | None = None,
        certificate: Certificate | None = None,
        can_resume_tls: Callable[[str], bool] = lambda peer: False,
        on_verdict: Callable[[Judgement], None] = lambda judgement: None,
        on_succession: Callable[[Succession], None] = lambda succession: None,
    ) -> None:
        """`make_nonce`: a text never given before; `certificate`: needed if the key is not the first of this gateway.

        `on_verdict` is told what TABLE 2 says, `on_succession` that every connection of a predecessor is to be closed.
        """
        self.identity = identity
        self.id = identity.gateway_id
        self._networks, self._rules, self._able = networks, rules or Rules(), able or Capabilities()
        self._journal = journal = Journal(identity, log, network, now, self._rules)
        self._rollback = Rollback(journal, networks)
        self._forward = Forward(journal, self._rollback)
        salvage = Salvage(journal, networks)
        successions = Successions(journal, peers, certificate, on_succession)
        exchange = Exchange(journal, salvage, successions, networks)
        self._admission = Admission(journal, salvage, successions)
        self._offers = offers = Offers(journal, exchange, self._admission, successions, make_nonce, can_resume_tls)
        self._reconciliation = Reconciliation(journal, self._forward, self._rollback, exchange, offers, on_verdict)

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
            signed = self._admission.verify(data)
            if is_recovery(signed.payload):
                return (yield from self._reconciliation.receive(signed))
            message = parse_message(signed.payload)
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
        return (yield from self._forward.go_on(session))

    def _decide(self, signed: Signed, message: AnyMessage) -> tuple[Session, Row | None]:
        """The session, and the row of TABLE 1 that the message takes. Row None: a repeated message, error or abort.

        Refused unless the message is one of these.
        """
        session = self._journal.find(message.sessionId)
        self._offers.verify_served(signed.signer, message.sessionId)
        if session is not None and (session.frozen or self._rollback.drafts.is_deaf(session)):
            raise Unanswered("this session is frozen, or its connection was its end")
        if isinstance(message, ErrorMessage):
            return self._decide_error(session, signed, message), None
        if session is None:
            return self._decide_first(signed, message)
        session.verify_peer(signed.signer)
        if isinstance(message, SessionAbort):
            session.verify_key(signed)
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
        if row is FIRST or session.orphan is not None:
            return self._decide_first(signed, message, session)
        session.verify_key(signed)
        if row.number == "2.2" and self._journal.has_acted(session, "3.2"):
            session.verify_recovered(message, row, signed.signer, self._networks)  # it was timely when we minted on it
        else:
            session.verify_follows(message, row, self._networks, self._journal.now)
        return session, row

    def _decide_first(self, signed: Signed, message: AnyMessage, known: Session | None = None) -> tuple[Session, Row]:
        """A session of which this gateway knows no message begins with a proposal that it can accept (row I)."""
        if isinstance(message, SessionAbort):
            raise Unanswered("an abort of no session of ours")
        if not isinstance(message, TransferProposal):
            code = satp_code(find_row_of_type(message.messageType).number, "sessionId")
            raise Refused("unknown session", code=code, found=message.sessionId)
        if message.sessionId == NO_ID:
            raise Refused("invalid sessionId", code=satp_code("1.1", "sessionId"), found=NO_ID)
        if known is not None and (known.orphan is None or known.is_over or known.role is Role.SENDER):
            raise Refused("the session exists", code=satp_code("1.1", "sessionId"), found=known.id)
        verify_proposal(message, signed, self.identity, self._able)
        if known is not None:
            known.verify_fits(message)
        return known or Session(message.sessionId, self.id), FIRST

    def _decide_error(self, session: Session | None, signed: Signed, error: ErrorMessage) -> Session:
        """An error counts only if the peer of the session says it, about the very bytes that we sent last."""
        if session is None or signed.signer != session.peer or session.is_at_rest or session.ending:
            raise Unanswered("an error about no session of ours")
        last = session.compute_last_own_message()
        if last is None or error.hashPrevMessage != session.history.head:
            raise Unanswered("an error about no message that waits for an answer")
        if error.hashRefusedMessage not in (None, digest(self._journal.renew(last))):
            raise Unanswered("an error about a copy of our message, not about what we sent")
        return session

    def _on_special(self, session: Session, signed: Signed, message: AnyMessage) -> Work[bytes | None]:
        """What is no step: an error, an abort, a message to a session that is over, a repeated message."""
        if isinstance(message, ErrorMessage):
            return (yield from self._on_error(session, signed, message))
        if isinstance(message, SessionAbort):
            data = yield from self._rollback.follow(session, signed, message)
            return data if session.ending else (yield from self._forward.go_on(session))
        if session.ending:
            return self._journal.renew(session.own_abort) if session.own_abort else None
        if session.parked:
            return None
        stored = session.compute_reply_to(signed.digest)
        if stored is not None:
            return self._journal.renew(stored)
        return None if session.is_at_rest else (yield from self._forward.go_on(session))

    def _on_error(self, session: Session, signed: Signed, error: ErrorMessage) -> Work[bytes | None]:
        """The peer refused our last message: before the burn back out, after it wait for a human. Never terminate.

        A recipient that has sent commit-ready cannot know on which side of the burn it is. What is parked goes on by
        itself if the peer's next message comes after all, or the receipt that ends it.
        """
        code = error.type.rpartition(":")[2]
        reason = f"{session.peer} answered {code}: {error.detail or error.title}"
        if self._rollback.is_bound(session) and not self._rules.errors_end_the_session:
            self._journal.write(
                session, session.rows_done[-1], Operation.FAIL, {"parked": reason} | _as_evidence(signed)
            )
            return None
        self._journal.write(session, session.rows_done[-1], Operation.FAIL, _as_evidence(signed))
        return (yield from self._forward.back_out(session, reason, code))

    # ------------------------------------------------------------------ a transfer starts, waits, ends, comes back

    def start(self, proposal: Json) -> Outgoing:
        """Begin a transfer as sender. `proposal` is the payload of 1.1. Misuse if it is not ours to send.

        NotYet while its recipient has not answered our last Transfer-Resume.
        """
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
        verify_own_proposal(message, self.identity, self._offers.successions.peers.owners)
        if message.transferInitClaim.recipientGatewayId in self._offers.waiting:
            raise NotYet("this gateway came back and has not heard from that peer yet")
        session = Session(message.sessionId, self.id)
        signed = self._journal.sign(write_message(message))
        self._journal.write(session, FIRST, Operation.INIT, _as_evidence(signed), signed=signed)
        yield
        return Outgoing(session.peer, signed.compact.encode())

    def abort(self, session_id: str, reason: str) -> list[Outgoing]:
        """End a session on the application's wish (SATP 11.1). Misuse where this gateway may not decide that alone.

        After a restart the log may have forgotten a promise: then the wish waits until the peer has been heard.
        """
        session = self.session(session_id)
        if session_id in self._offers.pending:
            self._reconciliation.wishes[session_id] = reason
            return []
        if session.is_at_rest or session.ending:
            raise Misuse(f"the session is over: {session!r}")
        if session.is_committed and self._rules.only_forward_after_burn:
            raise Misuse("the asset is burned: an abort has no effect any more")
        if self._rollback.is_bound(session):
            raise Misuse("commit-ready may have been sent: only a receipt of the origin network ends this session")
        return self._address(session, self._journal.run(self._forward.back_out(session, reason)))

    def on_time_out(self) -> list[Outgoing]:
        """No answer came. Every open session goes on where it stands, and says its last word again.

        What is still to be compared after a restart is offered again. A time-out decides nothing by itself: the network
        says whether a lock is over or an action has happened.
        """
        again = self._offers.offer_again()
        settled = [each for each in self._journal.find_open() if each.id not in self._offers.pending]
        return again + [outgoing for session in settled for outgoing in self._resume(session)]

    def restart(self, crash: CrashErrorCode = "process", start: str = "last-message") -> list[Outgoing]:
        """After a crash: read the log, ask the ledger about what was begun, and tell every peer where we stand.

        `crash` is what is known to be lost. Sessions continue from the "last-message" of this gateway, or its first
        one in the present "stage": the thread's question, and both work.
        """
        return self._reconciliation.begin(crash, start)

    def collect(self) -> list[Outgoing]:
        """To be called after `receive`: what a Transfer-Continue has set in motion, for all its sessions."""
        return self._reconciliation.follow_up()

    @property
    def has_pending(self) -> bool:
        """Whether a session is still to be compared with its peer."""
        return bool(self._offers.pending)

    def find_unheard(self) -> set[str]:
        """The peers that have not answered our last Transfer-Resume."""
        return set(self._offers.waiting)

    def wants_tls_resumed(self, peer: str) -> bool:
        """What that peer's last Transfer-Continue said; False if it has said nothing."""
        return self._offers.tls_resume.get(peer, False)

    def _resume(self, session: Session) -> list[Outgoing]:
        if session.is_at_rest:
            return []
        data = self._journal.run(self._forward.on_time_out(session))
        last = session.compute_last_own_message() if self._rules.repeat_until_answered else None
        if data is None and last is not None and not (session.ending or session.is_at_rest):
            data = self._journal.renew(last)
        return self._address(session, data)

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

    @property
    def disputes(self) -> dict[str, Json]:
        """Frozen sessions: the reason, the signed evidence of both sides, and the dispute as it was said."""
        return {each.id: each.frozen for each in self._journal.find_open() if each.frozen is not None}

    def __repr__(self) -> str:
        sessions = "; ".join(repr(session) for session in self._journal.known)
        return f"gateway {self.id} before network {self.identity.network_id}: {sessions or 'no session'}"


def _as_evidence(signed: Signed) -> Json:
    """How a received message stands in the log."""
    return {"message": signed.compact, "author": signed.signer}
