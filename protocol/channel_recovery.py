"""The way back: questions to the peer, and what follows from the answers.

    one stale object       a command of ours read a used version: fetch what came after it, adopt, then the
                           command is tried again on the new version, or given up with a reason
    a peer that is behind  it misses a version that we read: offer it the history, then send again
    a dispute              show the peer both chains, so that it stops the object too, and again whenever the
                           peer goes on with it
    a lost memory          ask for the health of the channel, fetch the history of every object named, judge
                           the peer's pending commands, and only then issue or answer anything new

Questions are read commands; an answer to one carries signed evidence and is believed as far as `resync`
can verify it. An answer cannot be proven complete. So the answer that ended a recovery is kept: if later
evidence shows something that we wrote before our loss, the two together prove what was hidden, and recovery
opens again. "I know of no channel with you" is an answer like any other.

A message may arrive long after its author has forgotten it. So every message names the memory that it was
written from, and each side knows which memories the other has lost: a command from a lost one takes no
effect any more, unless it took effect before.

After a crash recovery simply starts again: what was adopted is adopted already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from protocol.channel_store import Change, ChannelStore, Dispute, Note, Record
from protocol.errors import Refused
from protocol.messages.offchain import (
    QUESTIONS,
    ChannelHealth,
    CommandRequestObject,
    CommandResponseObject,
    Evidence,
    HealthRequest,
    HistoryByRefRequest,
    Invalid,
    OffChainObject,
    OfferRequest,
    PaymentByRef,
    PaymentByRefRequest,
    PaymentHistoryByRef,
    PaymentObject,
    protocol_error,
    request_object,
)
from protocol.messages.payments import compute_payment
from protocol.objects import Json, Version, canonical, digest
from protocol.outbox import Outbox
from protocol.parties import Keys
from protocol.resync import Agreed, BadEvidence, compute_adoption, show, verify_history
from protocol.signing import KeyPair, Signed

_BEHIND = ("missing_dependencies", "invalid_initial_or_prior_not_found")  # the peer knows less than we do
_RIVAL = "rival of {}"  # the note that keeps the version which our history of a disputed object lacks


class Engine(Protocol):
    """What recovery asks of the command engine."""

    def judge_shown(self, request: str, now: float) -> None:
        """Judge a pending command of the peer as if it had just arrived."""

    def conclude(self, record: Record, now: float) -> None:
        """A failure is explained: try the change again, or give it up."""

    def settle(self, record: Record) -> None:
        """A command of ours found its answer in the evidence."""

    def stop(self, reference_id: str) -> None:
        """The object is disputed: nothing more is sent about it."""

    def send_again(self, cid: str) -> None:
        """What this command was missing is there now."""

    def start_sending(self, now: float) -> None:
        """Recovery is over: send what is unanswered, look into what is unexplained."""

    def stop_sending(self) -> None:
        """Recovery begins: nothing is sent but questions."""


@dataclass(frozen=True)
class Memories:
    """The memories that a side has had, the present one last."""

    names: tuple[str, ...] = ()

    @classmethod
    def read(cls, note: Json | None) -> Memories:
        return cls(tuple(note["names"]) if note else ())

    @property
    def current(self) -> str | None:
        return self.names[-1] if self.names else None

    def note(self, name: str) -> Note:
        return Note(name, {"names": list(self.names)})


@dataclass
class Question:
    """A read command under way."""

    command: Json
    digest: str
    peers_memories: tuple[str, ...]  # as they were known when this was asked
    wakes: str | None = None  # a command of ours that waits for this
    is_rebuild: bool = False


@dataclass
class Rebuild:
    """How far the recovery of a lost memory has come."""

    health: str | None = None
    wanted: set[str] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)


class Recovery:
    """The read commands of one side, asked and answered."""

    def __init__(
        self,
        engine: Engine,
        me: str,
        key: KeyPair,
        keys: Keys,
        store: ChannelStore,
        outbox: Outbox,
        ids: Callable[[], str],
    ) -> None:
        self._engine, self._me, self._key, self._keys = engine, me, key, keys
        self._store, self._outbox, self._ids = store, outbox, ids
        self._questions: dict[str, Question] = {}
        self._rebuild: Rebuild | None = None
        self.answers: dict[str, OffChainObject | Refused] = {}

        self._own = Memories.read(store.find_note("memories"))
        self._peers = Memories.read(store.find_note("memories of the peer"))

    @property
    def memory(self) -> str:
        """The name of what this side knows; a side that lost its database gives a new one to what it learns then."""
        return self._own.names[-1] if self._own.names else ""

    def remembers(self) -> bool:
        """Whether the store holds all that this side ever knew, as far as it can tell."""
        note = self._store.find_note("memory")
        return note is not None and bool(note["is_whole"])

    @property
    def is_open(self) -> bool:
        """Whether this side still has to find out what it knew."""
        return self._rebuild is not None

    # Asking

    def ask(self, command: Json, wakes: str | None = None, is_rebuild: bool = False) -> str:
        """Send a read command until it is answered. Returns its cid; `answers` holds what came."""
        cid = self._ids()
        body = canonical(request_object(command, cid))
        self._questions[cid] = Question(command, digest(body), self._peers.names, wakes, is_rebuild)
        self._outbox.put(cid, self._key.sign_canonical(body, memory=self.memory))
        return cid

    def ask_payment(self, reference_id: str) -> str:
        return self.ask({"_ObjectType": "GetPaymentByRef", "reference_id": reference_id})

    def ask_history(self, reference_id: str, since: str | None = None, is_rebuild: bool = False) -> str:
        after = {} if since is None else {"since": since}
        command = {"_ObjectType": "GetPaymentHistoryByRef", "reference_id": reference_id, **after}
        return self.ask(command, is_rebuild=is_rebuild)

    def ask_health(self, state_lost: bool = False) -> str:
        for cid, asked in self._questions.items():
            if asked.command == {"_ObjectType": "ChannelHealthCheck", "state_lost": state_lost}:
                return cid  # under way already
        return self.ask({"_ObjectType": "ChannelHealthCheck", "state_lost": state_lost}, is_rebuild=state_lost)

    def offer(self, reference_id: str, wakes: str | None = None) -> None:
        """Show the peer our history of an object; `wakes` is the command that failed for want of it."""
        self._offer(reference_id, self._store.read_history(reference_id), wakes)

    def _offer(self, reference_id: str, versions: Iterable[Version], wakes: str | None = None) -> None:
        history = [evidence.to_json() for evidence in show(versions)]
        command = {"_ObjectType": "HistoryOffer", "reference_id": reference_id, "history": history}
        if all(asked.command != command for asked in self._questions.values()):
            self.ask(command, wakes)

    def show_dispute(self, reference_id: str) -> None:
        """If this object is disputed: show the peer our history, and the one that cannot hold beside it."""
        if not self._store.find_disputes(reference_id):
            return
        mine = list(self._store.read_history(reference_id))
        if mine:
            self._offer(reference_id, mine)
        if (note := self._store.find_note(_RIVAL.format(reference_id))) is not None:
            rival = Version(**note)
            place = next((number for number, version in enumerate(mine, 1) if version.name == rival.reads), 0)
            self._offer(reference_id, [*mine[:place], rival])

    def explain(self, record: Record, now: float) -> None:
        """Find out why a command of ours read a used version."""
        shared = self._store.find_object(str(record.reference_id))
        if (shared.head if shared else None) != record.reads:
            self._engine.conclude(record, now)  # the newer version is here already: we yielded to it
        else:
            self.ask_history(str(record.reference_id), record.reads)

    def begin(self) -> None:
        """Whatever was known may be incomplete: ask before doing anything new."""
        self._rebuild = Rebuild()
        self._engine.stop_sending()
        if not self._own.names:
            self._own = Memories((self._ids(),))
            self._store.write([self._own.note("memories")])
        self.ask_health(state_lost=True)

    # Being asked

    def verify_memory(self, signed: Signed) -> None:
        """Refused as Invalid if this was written from a memory that its author has lost."""
        memory = signed.memory or ""
        if memory == self._peers.current or self.is_open:
            return
        command = signed.payload.get("command")
        has_lost = isinstance(command, dict) and command.get("state_lost") is True
        if signed.payload.get("command_type") in QUESTIONS and not has_lost:
            return
        if memory in self._peers.names:
            self.ask_health()  # in case it is we who have been misled, by something that arrived late
            raise protocol_error("conflict", "memory", "this was sent before its author lost its memory")
        if self._peers.names and not has_lost:
            self.ask_health()
            raise protocol_error("wait", "memory", "this side does not know this memory and asks for it")
        self._learn_memories([memory])

    def _learn_memories(self, names: Sequence[str], is_fresh: bool = False) -> None:
        """What is learned is kept. Only an answer to what we have asked since says which memory is the present one."""
        known = self._peers.names
        last = max((place for place, name in enumerate(names) if name in known), default=-1)
        past = [name for name in names[: last + 1] if name not in known]
        learned = (*past, *known, *names[last + 1 :])
        if is_fresh and names:
            learned = (*(name for name in learned if name != names[-1]), names[-1])
        if learned != known:
            self._peers = Memories(learned)
            self._store.write([self._peers.note("memories of the peer")])

    def answer(self, form: CommandRequestObject, now: float) -> OffChainObject | None:
        """The result of a read command, with evidence. Raises Invalid."""
        match form:
            case HealthRequest():
                return self._answer_health(form.command.state_lost)
            case PaymentByRefRequest():
                reference_id = form.command.reference_id
                payment = PaymentObject.model_validate(self._find(reference_id))
                history = show(self._store.read_history(reference_id))
                return PaymentByRef(_ObjectType="PaymentByRef", payment=payment, history=history)
            case HistoryByRefRequest():
                return self._answer_history(form.command.reference_id, form.command.since)
            case OfferRequest():
                self._take_offer(form.command.reference_id, form.command.history, now)
        return None

    def _find(self, reference_id: str) -> Json:
        shared = self._store.find_object(reference_id)
        if shared is None:
            raise protocol_error("invalid_initial_or_prior_not_found", "command.reference_id", "not known here")
        return shared.payment

    def _answer_history(self, reference_id: str, since: str | None) -> PaymentHistoryByRef:
        self._find(reference_id)
        if since is not None and not self._store.has_version(reference_id, since):
            raise protocol_error("missing_dependencies", "command.since", "this version is not known here")
        history = show(self._store.read_history(reference_id).after(since))
        return PaymentHistoryByRef(_ObjectType="PaymentHistoryByRef", reference_id=reference_id, history=history)

    def _answer_health(self, state_lost: bool) -> ChannelHealth:
        """Open objects and heads. To a side that lost its state also what is closed, and what it has not answered."""
        pending = [record for record in self._store.list_pending() if record.reason is None] if state_lost else []
        opened, closed = self._store.list_open(), self._store.list_closed() if state_lost else {}
        known = bool(opened or closed or pending or self._store.find_note("memory"))
        if pending:
            # From now on these commands come before any that the asking side sent before its loss.
            self._store.write([record._replace(was_shown=True) for record in pending])
        lost = {"closed": closed, "pending": [record.request for record in pending]} if state_lost else {}
        return ChannelHealth.model_validate(
            {
                "_ObjectType": "ChannelHealth",
                "known": known,
                "open": opened,
                "mine": list(self._own.names),
                "yours": list(self._peers.names),
                **lost,
            }
        )

    def _take_offer(self, reference_id: str, history: Sequence[Evidence], now: float) -> None:
        try:
            self.adopt(reference_id, history, now)
        except BadEvidence as refusal:
            field = f"command.{refusal.field or 'history'}"
            raise protocol_error("invalid_field_value", field, refusal.reason) from refusal
        if self._store.find_disputes(reference_id):
            raise protocol_error("conflict", "command.history", "the object is stopped by a dispute")

    # Answers

    def on_answer(self, cid: str, signed: Signed, answer: CommandResponseObject, now: float) -> bool:
        """Take the answer to a question of ours. False if the cid is none; Refused if it answers something else."""
        question = self._questions.get(cid)
        if question is None:
            return False
        if signed.request_digest != question.digest:
            raise Refused("the response answers another request", found=signed.request_digest)
        if not answer.is_final() and answer.error and answer.error[0].code == "wait":
            return True  # asked again after the next pause
        del self._questions[cid]
        self._outbox.remove(cid)
        try:
            self.answers[cid] = self._take(question, signed, answer, now)
        except Refused as refusal:
            self.answers[cid] = refusal
            self._on_refused_answer(question, refusal, now)
        return True

    def _take(self, question: Question, signed: Signed, answer: CommandResponseObject, now: float) -> OffChainObject:
        """Verify a result and act on it. Raises Refused for a failure, and for evidence that does not hold."""
        if answer.error:
            raise Invalid(answer.error)
        result, command = answer.result, question.command
        expected = {
            "GetPaymentByRef": "PaymentByRef",
            "GetPaymentHistoryByRef": "PaymentHistoryByRef",
            "ChannelHealthCheck": "ChannelHealth",
        }.get(command["_ObjectType"])
        if (result.object_type if result else None) != expected:
            raise Refused("the result is of another kind than the question", expected=expected)
        match result:
            case ChannelHealth():
                self._take_health(question, signed, result, now)
            case PaymentHistoryByRef():
                self.adopt(command["reference_id"], result.history, now)
                self._after_history(question, now)
            case PaymentByRef():
                chain = verify_history(command["reference_id"], result.history, self._keys.ring)
                if not chain or compute_payment(agreed.change for agreed in chain) != result.payment.to_json():
                    raise BadEvidence("the payment is not what its history makes of it", field="payment")
                self.adopt(command["reference_id"], result.history, now)
        if question.wakes:
            self._engine.send_again(question.wakes)
        return result if result is not None else answer

    def _on_refused_answer(self, question: Question, refusal: Refused, now: float) -> None:
        command, code = question.command, refusal.code
        if command["_ObjectType"] == "HistoryOffer" and code == "conflict" and not self._is_disputed(command):
            self.ask_history(command["reference_id"])  # the peer holds another history: see it, and stop the object too
        if command["_ObjectType"] == "GetPaymentHistoryByRef":
            if code in _BEHIND and not question.is_rebuild:
                self.offer(command["reference_id"])
            self._after_history(question, now)
        if command["_ObjectType"] == "ChannelHealthCheck" and question.is_rebuild:
            if refusal.field == "memory":  # the peer takes ours for one that we have lost: begin another
                self._own = Memories((*self._own.names, self._ids()))
                self._store.write([self._own.note("memories")])
            self.ask_health(state_lost=True)

    def _is_disputed(self, command: Json) -> bool:
        return bool(self._store.find_disputes(command["reference_id"]))

    def _after_history(self, question: Question, now: float) -> None:
        """An answer to what was asked before the health of the channel was known ends no recovery."""
        reference_id = question.command["reference_id"]
        for record in self._store.list_unexplained():
            if record.reference_id == reference_id:
                self._engine.conclude(record, now)
        if question.is_rebuild and self._rebuild is not None and self._rebuild.health is not None:
            self._rebuild.wanted.discard(reference_id)
            self._finish_if_done(now)

    # Adopting

    def adopt(self, reference_id: str, shown: Sequence[Evidence], now: float) -> None:
        """Verify evidence and take over what is new in it. Raises BadEvidence."""
        chain = verify_history(reference_id, shown, self._keys.ring)
        if self._store.find_disputes(reference_id):
            return
        adoption = compute_adoption(reference_id, chain, self._store, now)
        if adoption.dispute is not None:
            mine = self._store.read_history(reference_id)
            rivals = (agreed.version for agreed in chain if agreed.version.name not in mine)
            self.dispute(adoption.dispute, next(rivals, None))
            return
        if adoption.changes:
            self._store.write(adoption.changes)
        for record in adoption.settled:
            self._engine.settle(record)
        if adoption.forgotten and not self.is_open:
            self.reopen(adoption.forgotten)

    def dispute(self, dispute: Dispute, rival: Version | None, *also: Record) -> None:
        """Keep both statements and stop the object, on both sides; `rival` is the version that our history lacks."""
        changes: list[Change] = [dispute, *also]
        if rival is not None and rival.name not in self._store.read_history(dispute.subject):
            changes.append(Note(_RIVAL.format(dispute.subject), asdict(rival)))
        self._store.write(changes)
        self._engine.stop(dispute.subject)
        self.show_dispute(dispute.subject)

    def reopen(self, forgotten: Sequence[Agreed]) -> None:
        """We signed something that we do not know: ask again.

        If it was written from a memory that we lost, it was agreed before the recovery that followed, and the peer kept
        it from us then. Otherwise our own database may be an older copy, and nobody is to blame.
        """
        note = self._store.find_note("memory") or {}
        changes: list[Change] = [Note("memory", {"is_whole": False})]
        for agreed in forgotten:
            if agreed.version.author == self._me and agreed.memory != self.memory and "health" in note:
                reason = f"{agreed.version.name[:8]} was agreed before we lost our memory, and not shown when we asked"
                pair = {"reason": reason, "health": note["health"], "evidence": agreed.version.signed}
                changes.append(Note("contradiction", pair))
                break
        self._store.write(changes)
        self.begin()

    # A lost memory

    def _take_health(self, question: Question, signed: Signed, health: ChannelHealth, now: float) -> None:
        self._learn_memories(health.mine, is_fresh=question.peers_memories == self._peers.names)
        if set(health.yours) - set(self._own.names):
            self._own = Memories((*(name for name in health.yours if name != self.memory), self.memory))
            self._store.write([self._own.note("memories")])
        named = {**health.open, **(health.closed or {})}
        unknown = [name for name, head in named.items() if not self._store.has_version(name, head)]
        behind = [name for name, head in health.open.items() if name not in unknown and self._head(name) != head]
        if question.is_rebuild and self._rebuild is not None:
            self._rebuild = Rebuild(signed.compact, set(unknown), list(health.pending or []))
            for name in unknown:
                self.ask_history(name, is_rebuild=True)
            self._finish_if_done(now)
            return
        for name in [*unknown, *(name for name in self._store.list_open() if name not in named)]:
            self.ask_history(name, self._head(name))
        for name in behind:
            self.offer(name)

    def _head(self, reference_id: str) -> str | None:
        shared = self._store.find_object(reference_id)
        return shared.head if shared else None

    def _finish_if_done(self, now: float) -> None:
        rebuild = self._rebuild
        if rebuild is None or rebuild.wanted or rebuild.health is None:
            return
        for request in rebuild.shown:
            self._engine.judge_shown(request, now)
        self._store.write([Note("memory", {"is_whole": True, "health": rebuild.health})])
        self._rebuild = None
        self._engine.start_sending(now)
