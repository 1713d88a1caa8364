"""One side of a channel between two VASPs: the command engine of LIP-1.

    issue            a command of ours: checked, signed, stored; then sent until it is answered for good
    on_request       something of theirs: verify, recall, judge, store, answer
    on_response      an answer of theirs: verify, match, store, and do what follows from it
    take_due         what has to be sent now; everything unanswered has its own clock

What can refuse stands before the first write. A `protocol_error` stores nothing and may be answered
otherwise later; success and `command_error` are final, stored, and given again byte by byte. The answer
and the object that it changes are one transaction. A command is known by its author and cid, an answer
by the digest of its request.

A failed command that read a used version leads to `recovery`: fetch, verify, adopt, then try again or give
up with a reason. So does an empty store: a side without memory cannot know whether it is new or has lost
everything, and asks before it issues or answers anything.

No clock, dice or network: `now` is in seconds, cids come from `ids`, and a `Post` is what HTTP would carry.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from protocol.channel_recovery import Recovery
from protocol.channel_store import ChannelStore, Dispute, Record, SharedObject, State, Written
from protocol.commands import Commands, target_of
from protocol.errors import Misuse, NotYet, Refused
from protocol.messages.offchain import (
    QUESTIONS,
    CommandRequestObject,
    CommandResponseObject,
    Invalid,
    PaymentRequest,
    failure,
    protocol_error,
    read_request,
    read_response,
    request_object,
    success,
)
from protocol.objects import Json, Version, canonical, digest
from protocol.outbox import Outbox, Post, to_request_id
from protocol.parties import Keys, Vasp
from protocol.signing import BadPayload, BadSignature, KeyPair, Signed, extract, read_payload

RETENTION_S = 90 * 24 * 3600.0  # how long a finished payment stays readable; longer than any message is under way
_CID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Outcome:
    """What became of a command of ours. `reason` says why it failed, or why it is no longer sent."""

    cid: str
    state: str
    errors: tuple[str, ...] = ()
    reason: str | None = None

    def __repr__(self) -> str:
        words = f"{self.cid[:8]}: {self.state}"
        words += f" ({'; '.join(self.errors)})" if self.errors else ""
        return f"{words}, {self.reason}" if self.reason else words


class Channel:
    """One side. Everything that must survive is in `store`; what is here may be lost at any moment."""

    def __init__(
        self, me: Vasp, key: KeyPair, peer: Vasp, store: ChannelStore, ids: Callable[[], str], recovers: bool = True
    ) -> None:
        """`recovers=False` is LIP-1 as it stands: no questions, no offers, no way back."""
        self.me, self.peer, self.store = me, peer, store
        self.keys = Keys((me, peer), store)
        self.commands = Commands(me, peer, store)
        self.outbox = Outbox()
        self.log: deque[str] = deque(maxlen=1000)  # what was refused without an answer
        self._key, self._ids = key, ids
        self._changes: dict[str, Json] = {}  # of unanswered commands, to save reading them again
        self._recovers = recovers
        self.recovery = Recovery(self, me.name, key, self.keys, store, self.outbox, ids)
        if recovers and not self.recovery.remembers():
            self.recovery.begin()
        else:
            self.start_sending(0.0)

    # Ours

    def issue(self, command: Json, now: float, cid: str | None = None, retry: bool = True) -> str:
        """Store a command and begin to send it. Returns its cid.

        Misuse for what the peer would have to refuse, and for a cid that stands for another command; NotYet while this
        side still has to find out what it knew.
        """
        record = self._prepare(command, cid or self._ids(), retry)
        if record is not None:
            self._start(record, command, now)
        return record.cid if record is not None else str(cid)

    def create(self, payment: Json, now: float, cid: str | None = None) -> str:
        """A new payment; `payment` is LIP-1's PaymentObject."""
        return self.issue(self._command(payment["reference_id"], payment, cid := cid or self._ids()), now, cid)

    def update(self, reference_id: str, change: Json, now: float, cid: str | None = None, retry: bool = True) -> str:
        """Change a payment from the version that it has here; `change` holds the fields that change."""
        payment = {**change, "reference_id": reference_id}
        return self.issue(self._command(reference_id, payment, cid := cid or self._ids()), now, cid, retry)

    def _command(self, reference_id: str, payment: Json, cid: str) -> Json:
        shared = self.store.find_object(reference_id)
        reads = {} if shared is None else {reference_id: shared.head}
        return {"_ObjectType": "PaymentCommand", "_reads": reads, "_writes": {reference_id: cid}, "payment": payment}

    def _prepare(self, command: Json, cid: str, retry: bool) -> Record | None:
        """The record of a new command; None if exactly this command is known already."""
        request = request_object(command, cid)
        body = canonical(request)
        name = digest(body)
        known = self.store.find_record(self.me.name, cid)
        if known is not None and known.digest == name:
            return None
        if known is not None:
            raise Misuse(f"the cid {cid} stands for another command of ours ({known.state})")
        if self.recovery.is_open:
            raise NotYet("this side may have forgotten something: nothing new before it has asked its peer")
        form = self.commands.verify_new(request)
        reference_id, reads = target_of(form) if isinstance(form, PaymentRequest) else (None, None)
        signed = self._key.sign_canonical(body, memory=self.recovery.memory)
        return Record(self.me.name, cid, name, signed, "pending", None, reference_id, reads, retry)

    def _start(self, record: Record, command: Json, now: float, replaced: Record | None = None) -> None:
        self.store.write([record] if replaced is None else [record, replaced])
        self.commands.hold(record)
        self._changes[record.cid] = command.get("payment", {})
        self.outbox.put(record.cid, record.request, now)

    def give_up(self, cid: str, reason: str) -> None:
        """Stop sending. The cid stays taken and the version stays held, because the command may still be under way."""
        record = self._find_pending(cid)
        self.store.write([record._replace(reason=reason)])
        self.outbox.remove(cid)

    def _find_pending(self, cid: str) -> Record:
        record = self.store.find_record(self.me.name, cid)
        if record is None or record.state != "pending":
            raise Misuse(f"{cid} is no unanswered command of ours")
        return record

    def take_due(self, now: float) -> list[Post]:
        """What has to be sent now."""
        return list(self.outbox.take_due(now))

    def compute_outcome(self, cid: str) -> Outcome:
        """What became of a command of ours. Misuse if there is none with this cid."""
        record = self.store.find_record(self.me.name, cid)
        if record is None:
            raise Misuse(f"{cid} is no command of ours")
        answer = read_response(read_payload(record.response)) if record.response else None
        errors = tuple(f"{error.code} at {error.field}" for error in (answer.error or [] if answer else []))
        return Outcome(cid, record.state, errors, record.reason)

    # Theirs

    def on_request(self, post: Post, now: float) -> Post:
        """Answer whatever came, signed."""
        try:
            signed = self._open(post)
        except Unreadable as unread:
            answer = failure(unread.cid, unread.refusal)
            return Post(post.x_request_id, self._sign(answer, unread.digest))
        try:
            response = self._recall(signed) or self._answer(signed, now)
        except Invalid as refusal:
            response = self._sign(failure(_find_cid(signed.payload), refusal), signed.digest)
        return Post(post.x_request_id, response)

    def _open(self, post: Post) -> Signed:
        """Header, form and signature. Raises Unreadable."""
        try:
            if not post.x_request_id:
                raise protocol_error("missing_http_header", "X-REQUEST-ID", "every request has an id")
            signed = self.keys.verify(post.body)
            if signed.signer != self.peer.name:
                raise BadSignature("not signed by the other party of this channel", expected=self.peer.name)
        except Refused as refusal:
            raise Unreadable(refusal, post.body) from refusal
        return signed

    def _recall(self, signed: Signed) -> str | None:
        """The answer that this command was given before. Raises Invalid if its cid stands for another one."""
        cid = _find_cid(signed.payload)
        known = self.store.find_record(self.peer.name, cid) if cid else None
        if known is not None and known.digest == signed.digest:
            return known.response
        try:
            self.keys.verify_is_current(signed)
        except BadSignature as refusal:
            raise protocol_error("invalid_jws_signature", None, refusal.reason) from refusal
        if known is not None:
            raise protocol_error("conflict", "cid", "this cid stands for another command")
        self.recovery.verify_memory(signed)
        return None

    def _sign(self, answer: Json, request_digest: str) -> str:
        return self._key.sign(answer, request_digest=request_digest)

    def _answer(self, signed: Signed, now: float) -> str:
        """Questions are answered as things stand; commands are judged once."""
        if signed.payload.get("command_type") not in QUESTIONS:
            return self._judge(signed, now)
        form = read_request(signed.payload)
        return self._sign(success(form.cid, self.recovery.answer(form, now)), signed.digest)

    def _judge(self, signed: Signed, now: float, is_shown: bool = False) -> str:
        """The one way by which a command of theirs takes effect: judge, sign, store answer and object together."""
        cid, form, shared = _find_cid(signed.payload), None, None
        state: State = "success"
        try:
            if self.recovery.is_open and not is_shown:
                raise protocol_error("wait", None, "this side is finding out what it knew")
            form = read_request(signed.payload)
            shared = self.commands.judge(form, signed, now, self.recovery.is_open)
            answer = success(form.cid)
        except Invalid as refusal:
            state, answer = "failure", failure(cid, refusal)
            if cid is None or not refusal.is_final():
                self._wake_holder(form)
                return self._sign(answer, signed.digest)
        response = self._sign(answer, signed.digest)
        reference_id, reads = target_of(form) if isinstance(form, PaymentRequest) else (None, None)
        record = Record(self.peer.name, str(cid), signed.digest, signed.compact, state, response, reference_id, reads)
        self._write(record, shared)
        return response

    def _write(self, record: Record, shared: SharedObject | None) -> None:
        """An answered command, with the object that it leaves behind: one transaction."""
        if shared is None:
            self.store.write([record])
            return
        self.store.write([record, Written(_version(record), shared)])

    def _wake_holder(self, form: CommandRequestObject | None) -> None:
        """The peer waits for a command that we had given up: send it again, so that it finds its end.

        And a peer that goes on with a disputed object has not seen the dispute: show it.
        """
        if self._recovers and isinstance(form, PaymentRequest):
            self.recovery.show_dispute(target_of(form)[0])
        holder = self.commands.find_holder(*target_of(form)) if isinstance(form, PaymentRequest) else None
        if holder is not None and holder.reason is not None and not self.store.find_disputes(str(holder.reference_id)):
            self.store.write([holder._replace(reason=None)])
            self.outbox.put(holder.cid, holder.request)

    # Answers

    def on_response(self, post: Post, now: float) -> None:
        """Take an answer. One that cannot be right changes nothing and is noted in `log`."""
        try:
            self._take_response(post, now)
        except Refused as refusal:
            self.log.append(f"response refused: {refusal}")

    def _take_response(self, post: Post, now: float) -> None:
        signed = self.keys.verify(post.body)
        if signed.signer != self.peer.name:
            raise Refused("a response that the other party did not sign", found=signed.signer)
        answer = read_response(signed.payload)
        if answer.cid is None or post.x_request_id != to_request_id(answer.cid):
            raise Refused("the response names no request of ours", found=post.x_request_id)
        self.keys.verify_is_current(signed, answer.cid)
        if self.recovery.on_answer(answer.cid, signed, answer, now):
            return
        record = self.store.find_record(self.me.name, answer.cid)
        if record is None:
            if answer.status == "success" and self._recovers:
                self.recovery.ask_health()  # perhaps the command was ours, and forgotten
            raise Refused("a response for an unknown cid", found=answer.cid)
        if signed.request_digest != record.digest:
            raise Refused("the response answers another request", found=signed.request_digest)
        if answer.is_final():
            self._settle(record, signed, answer, now)
        elif record.state == "pending" and record.reason is None:
            self._on_protocol_error(record, answer)

    def _settle(self, record: Record, signed: Signed, answer: CommandResponseObject, now: float) -> None:
        """A final answer, counted once."""
        if record.state != "pending":
            # Two failures in other words are no dispute: nothing hangs on them.
            if record.state != answer.status:
                subject = record.reference_id or record.cid
                dispute = Dispute(subject, "one command has two answers", record.response or "", signed.compact)
                agreed = signed.compact if answer.status == "success" else record.response
                rival = _version(record._replace(response=agreed)) if record.reference_id else None
                self.recovery.dispute(dispute, rival)
            return
        record = record._replace(response=signed.compact)
        if record.reference_id is not None and self.store.find_disputes(record.reference_id):
            self.store.write([record])
        elif answer.status == "success":
            self._apply(record, now)
        else:
            self._fail(record, answer, now)

    def _apply(self, record: Record, now: float) -> None:
        if record.reference_id is None:
            shared = None
        else:
            result = self.commands.apply(record, self._read_change(record), now)
            if isinstance(result, Dispute):
                self.recovery.dispute(result, _version(record), record)
                return
            shared = result
        self._write(record._replace(state="success", reason=None), shared)
        self.settle(record)

    def _fail(self, record: Record, answer: CommandResponseObject, now: float) -> None:
        is_stale = self._recovers and any(error.code == "used_dependencies" for error in answer.error or [])
        failed = record._replace(state="failure", reason=None, is_unexplained=is_stale)
        self.store.write([failed])
        self.settle(failed)
        if is_stale:
            self.recovery.explain(failed, now)

    def _on_protocol_error(self, record: Record, answer: CommandResponseObject) -> None:
        """Nothing is decided. If the peer lacks the version that we read, show it; in any case send again later."""
        codes = {error.code for error in answer.error or []}
        if "invalid_jws_signature" in codes:
            self._sign_again(record)
        if any((error.code, error.field) == ("conflict", "memory") for error in answer.error or []):
            self._sign_again(record, self.recovery.memory)  # we do remember it, so it is no command of a lost memory
        if any(
            error.code == "wait" and (error.field or "").startswith("command._reads") for error in answer.error or []
        ):
            self.commands.on_wait(record)
        if "missing_dependencies" not in codes:
            return
        if self._recovers:
            self.recovery.offer(str(record.reference_id), record.cid)
        else:
            self.give_up(record.cid, "given up: the peer does not know the version that it reads")

    def _sign_again(self, record: Record, memory: str | None = None) -> None:
        """The same command under our newest key; only after a refusal: the peer may have agreed to the old bytes."""
        old = extract(record.request)
        header = old.headers()
        memory = memory or str(header["memory"])
        if (header["kid"], header["memory"]) == (self._key.public.kid, memory) or self.recovery.is_open:
            return
        record = record._replace(request=self._key.sign_canonical(bytes(old.payload), memory=memory))
        self.store.write([record])
        self.outbox.put(record.cid, record.request)

    def _read_change(self, record: Record) -> Json:
        change = self._changes.get(record.cid)
        return read_payload(record.request)["command"]["payment"] if change is None else change

    # What recovery asks for

    def judge_shown(self, request: str, now: float) -> None:
        try:
            signed = self._open(Post("shown", request))
            if self._recall(signed) is None:
                self._judge(signed, now, is_shown=True)
        except (Unreadable, Invalid) as refusal:
            self.log.append(f"a pending command that was shown is refused: {refusal}")

    def conclude(self, record: Record, now: float) -> None:
        if self.recovery.is_open:
            return  # looked into again when recovery is over
        reference_id = str(record.reference_id)
        shared = self.store.find_object(reference_id)
        if self.store.find_disputes(reference_id):
            reason = "the object is stopped by a dispute"
        elif shared is None or shared.head == record.reads:
            reason = "the peer shows no version after the one that it calls used"
        elif not record.retry:
            reason = "it was not to be tried again"
        else:
            reason = self._try_again(record, now)
        if reason:
            self.store.write([record._replace(is_unexplained=False, reason=f"given up: {reason}")])

    def _try_again(self, record: Record, now: float) -> str:
        """The same change on the newest version, under a new cid. Returns why not, or an empty text."""
        cid = self._ids()
        try:
            command = self._command(str(record.reference_id), self._read_change(record), cid)
            again = self._prepare(command, cid, retry=True)
        except Misuse as refusal:
            return str(refusal)
        done = record._replace(is_unexplained=False, reason=f"tried again as {cid[:8]}")
        self._start(again or done, command, now, done)
        return ""

    def settle(self, record: Record) -> None:
        self.commands.release(record)
        self.outbox.remove(record.cid)
        if not record.is_unexplained:
            self._changes.pop(record.cid, None)

    def stop(self, reference_id: str) -> None:
        for record in self.store.list_pending():
            if record.reference_id == reference_id and record.reason is None:
                self.give_up(record.cid, "given up: the object is stopped by a dispute")

    def send_again(self, cid: str) -> None:
        record = self.store.find_record(self.me.name, cid)
        if record is not None and record.state == "pending" and record.reason is None:
            self.outbox.put(cid, record.request)

    def start_sending(self, now: float) -> None:
        for subject in dict.fromkeys(dispute.subject for dispute in self.store.list_disputes()):
            self.stop(subject)
            if self._recovers:
                self.recovery.show_dispute(subject)
        for record in self.store.list_pending():
            self.send_again(record.cid)
        for record in self.store.list_unexplained():
            self.recovery.explain(record, now)

    def stop_sending(self) -> None:
        for record in self.store.list_pending():
            self.outbox.remove(record.cid)

    # Housekeeping

    def replace_key(self, name: str, statement: str) -> None:
        """The owner of a party states a new key for it."""
        self.keys.add_statement(name, statement, [record.cid for record in self.store.list_pending()])

    def remove_expired(self, now: float) -> int:
        """Remove finished payments whose retention has ended. Returns how many."""
        return self.store.remove_closed(now - RETENTION_S)

    def __repr__(self) -> str:
        role = "protocol server" if self.commands.is_server else "protocol client"
        state = "finding out what it knew" if self.recovery.is_open else f"{len(self.store.list_open())} open"
        return f"{self.me.name}, {role} towards {self.peer.name}: {state}, {len(self.store.list_pending())} pending"


class Unreadable(Exception):
    """A request that nobody can be held to; the answer names what could be read of it."""

    def __init__(self, refusal: Refused, body: str | bytes) -> None:
        super().__init__(str(refusal))
        payload = refusal.payload if isinstance(refusal, BadPayload) else _to_bytes(body)
        self.digest, self.cid = digest(payload), _find_cid_in(payload)
        match refusal:
            case Invalid():
                self.refusal = refusal
            case BadPayload():
                code = "invalid_json" if refusal.found is None else "invalid_object"  # found: JSON, but no object
                self.refusal = protocol_error(code, refusal.field, refusal.reason)
            case BadSignature():
                self.refusal = protocol_error("invalid_jws_signature", None, refusal.reason)
            case _:
                self.refusal = protocol_error("invalid_jws", None, refusal.reason)


def _version(record: Record) -> Version:
    return Version(record.cid, record.reads, record.author, record.request, record.response)


def _to_bytes(body: str | bytes) -> bytes:
    return body if isinstance(body, bytes) else body.encode(errors="replace")


def _find_cid(payload: Json) -> str | None:
    cid = payload.get("cid")
    return cid if isinstance(cid, str) and _CID.fullmatch(cid) else None


def _find_cid_in(payload: bytes) -> str | None:
    """The cid of a payload that is not as it should be; its first place in the text, which may be the wrong one."""
    found = re.search(rb'"cid":"([0-9a-f]{32})"', payload)
    return found[1].decode() if found else None
