"""A gateway comes back: it tells every counterparty where each open session stands, and both compare.

    restart            Transfer-Resume to every configured counterparty: all open sessions in one message
    Transfer-Resume    is answered with Transfer-Continue: a verdict for each, by TABLE 2; changes nothing
    Transfer-Continue  for each session its row of TABLE 2, and what that row asks for: exchange.py, rollback.py,
                       forward.py

What is told and answered is made in offers.py; here is what follows from it.

Until a counterparty has answered, nothing else from it is served: a log cannot know that it is whole, and a gateway
that has forgotten what it promised must not promise anything new. Its counterparty does the same for itself, so
offers may cross, and both may crash in the middle: an offer is made anew with the next time-out, and answers to an
older one count for nothing. All that is kept here is in memory, and a crash begins again.

A peer that has read the draft alone begins with RECOVER. It gets its RECOVER-UPDATE, or the ROLLBACK that was
stored for it; what changes anything needs the link to a Transfer-Continue of this very incarnation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.errors import INVALID_MESSAGE_TYPE, Refused, Unanswered
from protocol.exchange import Exchange
from protocol.facts import ask_facts, ask_ledger, compute_next_step, has_left, read_log
from protocol.forward import Forward
from protocol.journal import Journal, Work
from protocol.log import Operation
from protocol.messages import recovery as wire
from protocol.objects import digest
from protocol.offers import Offers, Outgoing
from protocol.recovery import Exchange as What
from protocol.recovery import Facts, MyLedger, MyLog, Peer, RecoveryRow, Verdict, decide
from protocol.rollback import Rollback, find_cited
from protocol.session import Session
from protocol.signing import Signed, read_payload
from protocol.steps import Role

EXCHANGED = (wire.Recover, wire.RecoverUpdate, wire.RecoverUpdateAck, wire.RecoverSuccess)


@dataclass(frozen=True)
class Judgement:
    """What TABLE 2 said of a session after a crash, for people."""

    session_id: str
    facts: Facts
    row: RecoveryRow
    step: str | None

    @property
    def words(self) -> str:
        """The verdict, and step X if there is one."""
        step = f" with {self.step}" if self.step and self.row.verdict is Verdict.CONTINUE else ""
        return f"{self.row.verdict}{step}"

    def __repr__(self) -> str:
        return f"{self.words} (row {self.row.letter}: {self.row.title})"


@dataclass
class Reconciliation:
    """The recoveries of one gateway."""

    journal: Journal
    forward: Forward
    rollback: Rollback
    exchange: Exchange
    offers: Offers
    on_verdict: Callable[[Judgement], None]
    wishes: dict[str, str] = field(default_factory=dict)  # of the application, to end a session that is still compared
    _answers: list[tuple[str, str, wire.Answer]] = field(default_factory=list)
    _pages: list[Outgoing] = field(default_factory=list)

    # ------------------------------------------------------------------ the offer

    def begin(self, crash: wire.CrashErrorCode, start: str) -> list[Outgoing]:
        """After a crash: ask the own ledger about what may have been begun, then offer all that is open."""
        offers = self.offers
        offers.crash, offers.start = crash, start
        offers.incarnation = self.journal.count_restart(crash, offers.successions.note_own())
        offers.successions.accept_known()
        sessions = [*self.journal.find_open(), *self.exchange.salvage.find_all()]
        with self.journal.together(len(sessions)):
            for session in sessions:
                if not session.ending and not session.is_at_rest:
                    self.journal.ask(session)
                offers.pending[session.id] = session.peer
        if self.journal.rules.terminate_on_lost_connection:
            return self._terminate(sessions)
        return offers.offer_all()

    def _terminate(self, sessions: list[Session]) -> list[Outgoing]:
        """Core 10.8, 11.2: what was open has ended, and nobody is asked or told."""
        self.offers.pending.clear()
        for session in sessions:
            if not session.is_at_rest:
                self.journal.run(self.forward.on_time_out(session))
        return []

    # ------------------------------------------------------------------ what arrives

    def receive(self, signed: Signed) -> Work[bytes | None]:
        """A recovery message. Refused if it cannot be; then nothing has changed. Returns the answer to it, if any."""
        message = wire.parse_recovery(signed.payload)
        if isinstance(message, wire.TransferResume):
            self.offers.admission.verify_sender(signed, message.gatewayId, message.peerId)
            self.offers.admission.verify_key(message, signed)
            return self.offers.answer(message, signed)
        if isinstance(message, wire.TransferContinue):
            self.offers.admission.verify_sender(signed, message.gatewayId, self.journal.identity.gateway_id)
            self.offers.admission.verify_key(message, signed)
            answers, pages = self.offers.take(message, signed)
            self._answers += [(signed.signer, signed.digest, answer) for answer in answers]
            self._pages += pages
            return None
        return (yield from self._receive_about(self.journal.find(message.sessionId), message, signed))

    def _receive_about(
        self, session: Session | None, message: wire.RecoveryMessage, signed: Signed
    ) -> Work[bytes | None]:
        """A recovery message about one session. A frozen one is answered with what it is frozen for."""
        self.offers.admission.verify_about(session, message, signed)
        if session is not None and session.frozen and isinstance(message, EXCHANGED):
            return self.journal.renew(session.frozen["dispute"])
        before, was_frozen = read_log(session), session is not None and session.frozen
        answer = yield from self._dispatch(session, message, signed)
        if session is not None and session.frozen and not was_frozen:
            self._report_freezing(session, before, message)
        return answer

    def _report_freezing(self, session: Session, log: MyLog, message: wire.RecoveryMessage) -> None:
        """The message before has frozen the session: row Q, found in the exchange, or the peer's word for it."""
        if isinstance(message, wire.RecoverUpdate | wire.RecoverUpdateAck | wire.RecoverDispute):
            peer = Peer.FROZEN if isinstance(message, wire.RecoverDispute) else Peer.FORKED
            ledger = ask_ledger(self.journal.network, session.id, session.role)
            self._report(session, session.id, Facts(log, ledger, peer))

    def _dispatch(self, session: Session | None, message: wire.RecoveryMessage, signed: Signed) -> Work[bytes | None]:
        match message:
            case wire.Recover():
                return (yield from self._on_recover(session, message, signed))
            case wire.RecoverUpdate():
                return (yield from self._on_update(session, message, signed))
            case wire.RecoverUpdateAck():
                if session is not None and session.ending and session.is_over:
                    return self.rollback.report(session)  # now the peer has the message that this cites
                return self.exchange.on_update_ack(message, signed)
            case wire.RecoverSuccess():
                self.exchange.on_success(message)
                return (yield from self._settle(message.sessionId))
            case wire.Rollback():
                return (yield from self._on_rollback(session, message, signed))
            case wire.RollbackAck():
                self._on_rollback_ack(session, message, signed)
            case wire.RecoverDispute():
                return self.exchange.on_dispute(message, signed)
        return None

    def follow_up(self) -> list[Outgoing]:
        """What the last Transfer-Continue asks for: for each session the row of TABLE 2, and what it says.

        If not all sessions had room in it, the offer of the next ones comes after that.
        """
        answers, self._answers = self._answers, []
        pages, self._pages = self._pages, []
        works = [self._follow(link, answer) for _, link, answer in answers]
        run = self.journal.run_together if len(works) > 1 else lambda works: [self.journal.run(work) for work in works]
        replies = run(works)
        pairs = zip(answers, replies, strict=True)
        return [Outgoing(peer, data) for (peer, _, _), data in pairs if data is not None] + pages

    def _follow(self, link: str, answer: wire.Answer) -> Work[bytes | None]:
        session = self.journal.find(answer.sessionId)
        facts = ask_facts(self.journal.network, session, answer)
        row = self._report(session, answer.sessionId, facts)
        return (yield from self._do(session, answer, row, link))

    def _report(self, session: Session | None, session_id: str, facts: Facts) -> RecoveryRow:
        row = decide(facts)
        self.on_verdict(Judgement(session_id, facts, row, compute_next_step(session) if session else None))
        return row

    def _do(self, session: Session | None, answer: wire.Position, row: RecoveryRow, link: str) -> Work[bytes | None]:
        """What a row of TABLE 2 asks for."""
        role = session.role if session is not None else Role(answer.role).other
        if row.exchange in (What.DISPUTE, What.ROLLBACK) and session is None:
            session = self.exchange.salvage.find(answer.sessionId, role)
        if row.exchange is What.DISPUTE:
            return self.exchange.dispute(answer.sessionId, f"row {row.letter}: {row.title}", [], link)
        if row.exchange is What.RECOVER or self._has_to_tell(session, answer, row):
            return self.exchange.say_recover(answer.sessionId, role, link)
        if session is None:
            self.offers.pending.pop(answer.sessionId, None)
            return None
        if row.exchange is What.ROLLBACK:
            if session.orphan is not None and role is Role.RECIPIENT and not session.ending:
                return self.exchange.say_recover(answer.sessionId, role, link)
            return (yield from self._roll_back(session, row))
        return (yield from self._step_x(session))

    def _has_to_tell(self, session: Session | None, answer: wire.Position, row: RecoveryRow) -> bool:
        """Whether the peer has to hear who acts in this session, or say it, before anything else is said in it.

        A report of an undoing needs no key that the session knows. But who only begins to undo may have to wait, and
        then says a plain abort; or finds the asset burned, and goes on.
        """
        if session is None or self.offers.successions.is_settled(session, answer, session.peer):
            return False
        is_left = session.is_over or has_left(answer)
        return row.exchange is What.NOTHING or (row.exchange is What.ROLLBACK and not is_left)

    def _roll_back(self, session: Session, row: RecoveryRow) -> Work[bytes | None]:
        """Undo what is ours and report it; or report again. None while a network allows no undoing yet."""
        if session.is_over:
            data: bytes | None = self.rollback.report(session)
        elif session.ending:
            data = yield from self.forward.resume(session, reports=True)
        else:
            data = yield from self.forward.back_out(session, row.title, reports=True)
        is_waiting = data is None and session.ending and not session.is_at_rest
        if not is_waiting or self.offers.successions.is_told(session):  # else nothing but a ROLLBACK would be believed
            self.offers.pending.pop(session.id, None)
        return data

    def _step_x(self, session: Session) -> Work[bytes | None]:
        """Where a session stands is settled: the next step, or the last word again."""
        self.offers.pending.pop(session.id, None)
        wish = self.wishes.pop(session.id, None)
        if session.is_over:
            return self._say_again(session.compute_last_own_message())
        if session.is_at_rest:
            return None
        if wish is not None and self.rollback.can_begin(session):
            return (yield from self.forward.back_out(session, wish, reports=True))
        data = yield from self.forward.resume(session, reports=True)
        if session.ending or session.is_at_rest:
            return data
        first = session.compute_first_of_stage() if self.offers.start == "stage" else None
        return self._say_again(first) or data or self._say_again(session.compute_last_own_message())

    def _say_again(self, message: str | None) -> bytes | None:
        if message is None or not self.journal.rules.repeat_until_answered:
            return None
        return self.journal.renew(message)

    # ------------------------------------------------------------------ the exchange of one session

    def _on_recover(self, session: Session | None, message: wire.Recover, signed: Signed) -> Work[bytes | None]:
        """RECOVER: the missing messages; or ROLLBACK, if there is nothing to go on with; or RECOVER-DISPUTE."""
        role = session.role if session is not None else Role.SENDER
        is_bound = self.offers.is_bound(message, signed.signer)
        can_report = is_bound or (session is not None and self.rollback.has_said(session))
        is_ended = session is not None and session.ending and session.is_over
        if session is not None and is_ended and can_report and not _lacks_cited(session, message.position):
            return self.rollback.report(session)
        if message.position is None or not is_bound:
            self.offers.successions.verify_known(session, signed)
            return self.exchange.say_update(message, signed, role)
        self.offers.successions.accept(signed.signer, message)
        answer = yield from self._answer_recover(session, message, signed)
        self.offers.successions.write_heard(session, signed, answer)
        return answer

    def _answer_recover(self, session: Session | None, message: wire.Recover, signed: Signed) -> Work[bytes | None]:
        """What follows for a session from the position of a gateway that is bound to our last answer."""
        assert message.position is not None, "whoever is bound says where it stands"
        role = session.role if session is not None else Role(message.position.role).other
        row = decide(ask_facts(self.journal.network, session, message.position))
        if row.exchange is What.DISPUTE:
            return self.exchange.dispute(message.sessionId, f"row {row.letter}: {row.title}", [], signed.digest)
        if row.exchange is What.ROLLBACK and not _lacks_cited(session, message.position):
            found = session or self.exchange.salvage.find(message.sessionId, role)
            can_alone = found is not None and (found.orphan is None or role is Role.SENDER)
            if found is not None and can_alone:
                return (yield from self._roll_back(found, row))
        if session is not None and self.exchange.salvage.is_burned(session, message.receipts or []):
            yield from self.exchange.salvage.complete(session)
        return self.exchange.say_update(message, signed, role)

    def _on_update(self, session: Session | None, message: wire.RecoverUpdate, signed: Signed) -> Work[bytes | None]:
        """RECOVER-UPDATE: with both logs lost it brings receipts, and otherwise messages."""
        is_orphan = session is None or session.orphan is not None
        if is_orphan and not message.recoveredLogs:
            self.exchange.verify_link(message.sessionId, "recover", message.hashRecoverMessage)
            if session is not None and self.exchange.salvage.is_burned(session, message.receipts or []):
                yield from self.exchange.salvage.complete(session)
            self.offers.pending.pop(message.sessionId, None)
            return None
        return self.exchange.on_update(message, signed)

    def _settle(self, session_id: str) -> Work[bytes | None]:
        """RECOVER-SUCCESS: both hold the same chain now, so the table is read once more."""
        session = self.journal.find(session_id)
        if session is None:
            return None
        ledger = ask_ledger(self.journal.network, session_id, session.role)
        peer = Peer.LEFT if session_id in self.exchange.leaving else Peer.SAME
        row = self._report(session, session_id, Facts(read_log(session), ledger, peer))
        if row.exchange is What.RECOVER:
            return None  # row M: the peer has still something to undo; it is asked again with the next time-out
        if row.exchange is What.ROLLBACK:
            return (yield from self._roll_back(session, row))
        if row.exchange is What.DISPUTE:
            return self.exchange.dispute(session_id, f"row {row.letter}: {row.title}", [], None)
        return (yield from self._step_x(session))

    def _on_rollback(self, session: Session | None, message: wire.Rollback, signed: Signed) -> Work[bytes | None]:
        """ROLLBACK: verified like an abort, followed like one, and acknowledged."""
        if session is None or session.frozen:
            raise Unanswered("a report about no open session of ours")
        if not (session.is_over or session.ending):
            if self.rollback.shows_loss(session, message.proofs):
                row = decide(Facts(read_log(session), MyLedger.FINAL, Peer.LEFT))
                reason, proofs = f"row {row.letter}: {row.title}", message.proofs
                return self.exchange.dispute(message.sessionId, reason, proofs, signed.digest)
            self.rollback.verify_abort(session, message)
            self.offers.pending.pop(session.id, None)
            data = yield from self.rollback.follow(session, signed, message)
            if not session.ending:
                return (yield from self.forward.go_on(session))
            if session.is_over:
                return data
        return self.rollback.acknowledge(session, signed.digest)

    def _on_rollback_ack(self, session: Session | None, message: wire.RollbackAck, signed: Signed) -> None:
        """ROLLBACK-ACK: kept as evidence, once, with the session that it closes. Not answered."""
        if session is None or session.own_abort is None or not session.is_over:
            raise Unanswered("an acknowledgement of nothing that we said")
        if message.hashPrevMessage != digest(read_payload(session.own_abort)):
            words, name = "an acknowledgement of something else than we said", "hashPrevMessage"
            raise Refused(words, code=INVALID_MESSAGE_TYPE, field=name, found=message.hashPrevMessage)
        if session.acknowledgement:
            return
        name = wire.RECOVERY_NAMESPACE + "rollback-ack-msg"
        content = {"acknowledgement": signed.compact}
        self.journal.write(session, session.rows_done[-1], Operation.DONE, content, closes=True, recovery=name)


def _lacks_cited(session: Session | None, position: wire.Position | None) -> bool:
    """Whether the peer has forgotten the message that our report of a session cites: then it needs that first."""
    if session is None or position is None or position.headHash not in session.history:
        return False
    return find_cited(session) in [version.name for version in session.history.after(position.headHash)]
