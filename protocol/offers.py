"""Transfer-Resume and Transfer-Continue: what is told of all sessions at once, and what is answered.

    told       every open session with a counterparty, and where it stands: one message, however many there are
    answered   a verdict for each by TABLE 2, and the sessions that were not named; nothing is written, nothing acts

A session is *pending* from a restart until it was compared. What a peer has not answered is offered anew with the
next time-out, under a new nonce, and an answer to an older offer counts for nothing. More sessions than one message
can name are compared page by page, in the order of their ids.

Who acts for a gateway is the one thing that an offer brings along (successions.py): a certificate is the owner's word,
whoever carries it, so it counts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from protocol.admission import Admission, Answered
from protocol.errors import Unanswered
from protocol.exchange import Exchange
from protocol.facts import ask_facts, compute_next_step, compute_no_position
from protocol.journal import Journal
from protocol.messages import recovery as wire
from protocol.objects import Json
from protocol.recovery import MyLedger, Verdict, decide
from protocol.signing import Signed
from protocol.steps import TABLE_1, Role
from protocol.successions import Successions

SILENCE = "compare first: {} has not said yet where its sessions stand"


@dataclass(frozen=True)
class Outgoing:
    """Bytes for a peer."""

    peer: str
    data: bytes


@dataclass
class Offer:
    """A Transfer-Resume that waits for its answer: about the sessions whose ids sort in `after` < id <= `up_to`."""

    nonce: str
    digest: str
    is_whole: bool
    after: str | None = None
    up_to: str | None = None


@dataclass
class Offers:
    """The offers of one gateway and its answers to those of others. `waiting` are those without an answer, by peer."""

    journal: Journal
    exchange: Exchange
    admission: Admission
    successions: Successions
    make_nonce: Callable[[], str]
    can_resume_tls: Callable[[str], bool]
    crash: wire.CrashErrorCode = "process"
    start: str = "last-message"
    incarnation: int = 1
    waiting: dict[str, Offer] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    tls_resume: dict[str, bool] = field(default_factory=dict)
    _answered: dict[str, Answered] = field(default_factory=dict)
    _incarnations: dict[str, int] = field(default_factory=dict)

    # ------------------------------------------------------------------ what is told

    def offer_all(self) -> list[Outgoing]:
        """Every configured counterparty is asked, whatever the log knows: it may have lost sessions."""
        peers = sorted(self.successions.peers.owners - {self.journal.identity.gateway_id})
        return [self._offer(peer, is_whole=True) for peer in peers]

    def offer_again(self) -> list[Outgoing]:
        """Time has passed: offer anew what was not answered, and what was answered and is not settled.

        A session that is still unknown here cannot be named, only be asked for: its peer gets a whole offer again.
        """
        self.journal.begin_work()
        unknown = [peer for session_id, peer in self.pending.items() if self.journal.find(session_id) is None]
        for session_id in [session_id for session_id in self.pending if self._is_settled(session_id)]:
            del self.pending[session_id]
        begun = {peer: offer.after for peer, offer in self.waiting.items() if offer.is_whole}
        whole = dict.fromkeys(unknown) | begun
        partly = [peer for peer in dict.fromkeys([*self.waiting, *self.pending.values()]) if peer not in whole]
        again = [self._offer(peer, is_whole=True, after=after) for peer, after in whole.items()]
        return again + [self._offer(peer, is_whole=False) for peer in partly]

    def _offer(self, peer: str, *, is_whole: bool, after: str | None = None) -> Outgoing:
        """Where the sessions stand. What has no room comes later: the next page of the ids, or the next time-out."""
        names = [name for name, of in self.pending.items() if of == peer and (after is None or name > after)]
        up_to = None
        if len(names) > wire.MOST_SESSIONS:
            names = (sorted(names) if is_whole else names)[: wire.MOST_SESSIONS]
            up_to = names[-1] if is_whole else None
            for name in names:
                self.pending[name] = self.pending.pop(name)  # the others are the first to be named next time
        positions = [self.exchange.compute_position(name, Role.SENDER).model_dump(exclude_none=True) for name in names]
        nonce = self.make_nonce()
        content = {
            "messageType": wire.RECOVERY_NAMESPACE + "transfer-resume-msg",
            "gatewayId": self.journal.identity.gateway_id,
            "peerId": peer,
            "crashErrorCode": self.crash,
            "sessions": positions,
            "isWhole": is_whole,
            "isBackup": self.successions.is_backup,
            "restartFrom": self.start,
            "nonce": nonce,
            "incarnation": self.incarnation,
            "epoch": self.journal.epoch,
            "timestamp": self.journal.now,
        }
        content |= {name: session_id for name, session_id in (("after", after), ("upTo", up_to)) if session_id}
        signed = self.journal.sign(content | self.successions.compute_words(is_offer=True))
        self.waiting[peer] = Offer(nonce, signed.digest, is_whole, after, up_to)
        return Outgoing(peer, signed.compact.encode())

    def _is_settled(self, session_id: str) -> bool:
        """Nothing is left to compare: the session is over, whoever ended it meanwhile."""
        session = self.journal.find(session_id)
        return session is None or session.is_over or session.frozen is not None

    def verify_served(self, signer: str, session_id: str) -> None:
        """Refused, without an answer, while this peer or this session is still to be compared."""
        if not self.journal.rules.reconcile_before_serving:
            return
        offer = self.waiting.get(signer)
        is_to_come = offer is not None and session_id > (offer.after or "")
        if is_to_come or session_id in self.pending:
            raise Unanswered(SILENCE.format(signer))

    # ------------------------------------------------------------------ what is answered

    def answer(self, offer: wire.TransferResume, signed: Signed) -> bytes:
        """Transfer-Continue: a verdict for each session, by the same table. Writes nothing but a succession."""
        peer = signed.signer
        self.successions.accept(peer, offer)
        known = max(self._incarnations.get(peer, 0), offer.incarnation)
        self._incarnations[peer] = known
        not_named = self._find_not_named(offer, peer) if offer.isWhole else []
        up_to = None
        if len(offer.sessions) + len(not_named) > wire.MOST_SESSIONS:
            up_to = sorted(each.sessionId for each in (*offer.sessions, *not_named))[wire.MOST_SESSIONS - 1]
        is_alive = offer.crashErrorCode == "connection" and self.can_resume_tls(peer)
        content = {
            "messageType": wire.RECOVERY_NAMESPACE + "transfer-continue-msg",
            "gatewayId": self.journal.identity.gateway_id,
            "sessions": self._judge(offer.sessions, up_to, peer, offer.restartFrom),
            "notNamed": self._judge(not_named, up_to, peer, offer.restartFrom),
            "tlsResume": is_alive,
            "nonce": offer.nonce,
            "highestIncarnation": known,
            "hashPrevMessage": signed.digest,
            "timestamp": self.journal.now,
        }
        content |= self.successions.compute_words() | ({"upTo": up_to} if up_to is not None else {})
        answer = self.journal.sign(content)
        is_next_page = offer.after is not None
        self._answered.setdefault(peer, Answered()).add(offer.nonce, answer.digest, is_next_page)
        return answer.compact.encode()

    def _find_not_named(self, offer: wire.TransferResume, peer: str) -> list[wire.Position]:
        """Our open sessions with that peer in the range of a whole offer which it does not name."""
        named, after = {position.sessionId for position in offer.sessions}, offer.after or ""
        return [
            compute_no_position(session.id, session.role.other, MyLedger.UNTOUCHED)
            for session in self.journal.find_open()
            if session.peer == peer and session.id not in named
            if after < session.id and (offer.upTo is None or session.id <= offer.upTo)
        ]

    def _judge(self, positions: Iterable[wire.Position], up_to: str | None, peer: str, start: str) -> list[Json]:
        """Our own position beside the verdict, for each session of an offer that is one between us."""
        answers = []
        for position in positions:
            if (up_to is not None and position.sessionId > up_to) or self.journal.is_damaged(position.sessionId):
                continue  # there is no room for it; or our own disk is at fault, which is no business of the peer's
            session = self.journal.find(position.sessionId)
            if not self.admission.is_between(session, position, peer):
                continue
            row = decide(ask_facts(self.journal.network, session, position))
            own = self.exchange.compute_position(position.sessionId, Role(position.role).other)
            step = compute_next_step(session) if session is not None and row.verdict is Verdict.CONTINUE else None
            if step is not None and start == "stage":
                step = next(row.number for row in TABLE_1 if row.stage == int(step[0]) and not row.is_action)
            words = {"verdict": row.verdict.value, "continueWith": step, "decidedBy": row.letter}
            found = own.model_dump(exclude_none=True) | words
            answers.append({name: value for name, value in found.items() if value is not None})
        return answers

    def take(self, message: wire.TransferContinue, signed: Signed) -> tuple[list[wire.Answer], list[Outgoing]]:
        """Transfer-Continue: what it says of each session, and the offer of the next page if there is one.

        Unanswered unless it answers our last offer.
        """
        offer = self.waiting.get(signed.signer)
        if offer is None or (message.nonce, message.hashPrevMessage) != (offer.nonce, offer.digest):
            raise Unanswered("an answer to no offer of ours")
        up_to = message.upTo or offer.up_to
        if up_to is not None and not (offer.after or "") < up_to <= (offer.up_to or up_to):
            raise Unanswered("an answer about other sessions than those of the offer")
        self.successions.accept(signed.signer, message)
        del self.waiting[signed.signer]
        self.incarnation = max(self.incarnation, message.highestIncarnation)
        self.tls_resume[signed.signer] = message.tlsResume
        once = {answer.sessionId: answer for answer in [*message.notNamed, *message.sessions]}
        answers = []
        for answer in once.values():
            if self.journal.is_damaged(answer.sessionId):
                continue
            if self.admission.is_between(self.journal.find(answer.sessionId), answer, signed.signer):
                self.pending[answer.sessionId] = signed.signer
                answers.append(answer)
        has_more = offer.is_whole and up_to is not None
        return answers, [self._offer(signed.signer, is_whole=True, after=up_to)] if has_more else []

    def is_bound(self, message: wire.Recover, peer: str) -> bool:
        """Whether this RECOVER comes of our answer to the last offer of this peer."""
        return message.hashPrevMessage in self._answered.get(peer, Answered()).digests
