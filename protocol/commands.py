"""The rules by which commands are sequenced: what may be sent, what is accepted, what an answer does.

A command names the version that it reads and the version that it writes. Judging one asks, in this order:
does it say exactly what it touches; is that version there, and unused; is it wanted by a command of ours
that is still unanswered; do the rules of a payment allow the change. Used comes before held, because used
is final. Between two unanswered commands the protocol server's wins: the server says `wait`, the client
yields and lets its own command meet its fate.

That order of precedence is turned once: a side that lost its memory judges what its peer shows it as if
it had no command of its own, and the peer holds a command that it has shown against whatever the other
side sent before its loss. The server learns of such a hold by the `wait` that only it can cause there: then
its own command yields to the one that it has sent away.

Nothing here writes, signs or sends; `channel` does, with what these rules return.
"""

from __future__ import annotations

from protocol.channel_store import ChannelStore, Dispute, Record, SharedObject
from protocol.errors import Misuse
from protocol.messages.offchain import (
    CommandRequestObject,
    EmptyRequest,
    Invalid,
    PaymentRequest,
    command_error,
    protocol_error,
    read_request,
)
from protocol.messages.payments import Sides, compute_payment, is_terminal, verify_creation, verify_update
from protocol.objects import Json
from protocol.parties import Vasp, is_protocol_server
from protocol.signing import Signed


def target_of(form: PaymentRequest) -> tuple[str, str | None]:
    """The object that a payment command is about, and the version that it reads; None if it creates the object."""
    reference_id = form.command.payment.reference_id
    return reference_id, form.command.reads.get(reference_id)


def verify_exact(form: CommandRequestObject) -> None:
    """LIP-1: "Both _reads and _writes must be exact". Raises Invalid."""
    if isinstance(form, EmptyRequest):
        for name, mapping in (("_reads", form.command.reads), ("_writes", form.command.writes)):
            if mapping:
                raise command_error("invalid_field_value", f"command.{name}", "this command touches no object")
    if isinstance(form, PaymentRequest):
        reference_id, reads, writes = form.command.payment.reference_id, form.command.reads, form.command.writes
        if not reads.keys() <= {reference_id}:
            raise command_error("invalid_field_value", "command._reads", "a payment reads no object but itself")
        if writes.keys() != {reference_id}:
            raise command_error("invalid_field_value", "command._writes", "a payment writes itself and nothing else")
        if writes[reference_id] != form.cid:
            path = f"command._writes.{reference_id}"
            raise command_error("invalid_field_value", path, "the version that is written is named by the cid")


class Commands:
    """Both parties' commands as one side sees them."""

    def __init__(self, me: Vasp, peer: Vasp, store: ChannelStore) -> None:
        self._me, self._store = me.name, store
        self.is_server = is_protocol_server(me.address, peer.address)
        self._sides = {me.name: Sides(me.address, peer.address), peer.name: Sides(peer.address, me.address)}
        self._held: dict[tuple[str, str | None], str] = {}  # which version an unanswered command of ours reads
        self._sent_away: dict[str, str] = {}  # by a command of ours: the one of theirs that it came before
        self._yields: dict[str, str] = {}  # by a command of ours: the one of theirs that comes first after all
        for record in store.list_pending():
            self.hold(record)

    def hold(self, record: Record) -> None:
        if record.reference_id is not None:
            self._held[record.reference_id, record.reads] = record.cid

    def release(self, record: Record) -> None:
        if record.reference_id is not None:
            self._held.pop((record.reference_id, record.reads), None)
            self._sent_away.pop(record.cid, None)
            self._yields.pop(record.cid, None)

    def on_wait(self, record: Record) -> None:
        """The client says that a command of its own comes before this one of ours.

        A client yields, but not with a command that it has shown to a side that had lost its memory, and it holds that
        one to its end. So a server that waits for it too would wait for ever.
        """
        if self.is_server and record.cid in self._sent_away:
            self._yields[record.cid] = self._sent_away[record.cid]

    def find_holder(self, reference_id: str, version: str | None) -> Record | None:
        """Our unanswered command on this version."""
        cid = self._held.get((reference_id, version))
        return self._store.find_record(self._me, cid) if cid else None

    # Ours

    def verify_new(self, request: Json) -> CommandRequestObject:
        """A command that may be sent. Misuse for what the peer would refuse: nothing is stored, nothing is sent."""
        try:
            form = read_request(request)
            verify_exact(form)
            if isinstance(form, PaymentRequest):
                reference_id, reads = target_of(form)
                self._verify_version(form)
                if (holder := self.find_holder(reference_id, reads)) is not None:
                    raise protocol_error("wait", "command._reads", f"held by our unanswered command {holder.cid[:8]}")
                self._verify_payment(reference_id, request["command"]["payment"], self._me)
        except Invalid as refusal:
            raise Misuse(f"not sent: {refusal}, at {refusal.field}") from refusal
        return form

    # Theirs

    def judge(
        self, form: CommandRequestObject, signed: Signed, now: float, is_recovering: bool = False
    ) -> SharedObject | None:
        """The object as success leaves it; None for a command on no object. Raises Invalid."""
        verify_exact(form)
        if not isinstance(form, PaymentRequest):
            return None
        reference_id, reads = target_of(form)
        self._verify_version(form)
        holder = self.find_holder(reference_id, reads)
        if holder is not None and self._yields.get(holder.cid) != form.cid and self._is_first(holder, is_recovering):
            self._sent_away[holder.cid] = form.cid
            raise protocol_error("wait", f"command._reads.{reference_id}", "a command of this side comes first")
        payment = self._verify_payment(reference_id, signed.payload["command"]["payment"], signed.signer)
        return _as_object(reference_id, form.cid, payment, now)

    def _is_first(self, holder: Record, is_recovering: bool) -> bool:
        if is_recovering == holder.was_shown:
            return self.is_server
        return holder.was_shown

    def _verify_version(self, form: PaymentRequest) -> None:
        """That the version it reads is the head, and the version it writes is new. Raises Invalid."""
        reference_id, reads = target_of(form)
        shared, path = self._store.find_object(reference_id), f"command._reads.{reference_id}"
        if self._store.find_disputes(reference_id):
            raise protocol_error("conflict", path, "the object is stopped by a dispute")
        if shared is None and reads is not None:
            raise protocol_error("missing_dependencies", path, "this version is not known here")
        if shared is None and self._store.is_spent(reference_id):
            raise command_error("conflict", "command.payment.reference_id", "this reference id was used before")
        if shared is None:
            return
        if reads is None:
            raise command_error("conflict", "command.payment.reference_id", "this reference id is in use")
        if reads != shared.head and not self._store.has_version(reference_id, reads):
            raise protocol_error("missing_dependencies", path, "this version is not known here")
        if reads != shared.head:
            raise command_error("used_dependencies", path, "a newer version has been written after this one")
        if self._store.has_version(reference_id, form.cid):
            raise command_error("conflict", f"command._writes.{reference_id}", "the object had a version of this name")

    def _verify_payment(self, reference_id: str, change: Json, author: str) -> Json:
        shared = self._store.find_object(reference_id)
        if shared is None:
            return verify_creation(change, self._sides[author])
        return verify_update(shared.payment, change, self._sides[author])

    # Answers

    def apply(self, record: Record, change: Json, now: float) -> SharedObject | Dispute:
        """The object as a success of our own command leaves it; or the dispute that such an answer is."""
        reference_id = str(record.reference_id)
        shared = self._store.find_object(reference_id)
        if (shared.head if shared else None) != record.reads:
            rival = self._store.read_history(reference_id).after(record.reads)[0]
            return Dispute(reference_id, "two agreed versions after the same one", rival.signed, record.request)
        payment = compute_payment([change], shared.payment if shared else None)
        return _as_object(reference_id, record.cid, payment, now)


def _as_object(reference_id: str, head: str, payment: Json, now: float) -> SharedObject:
    return SharedObject(reference_id, head, payment, now if is_terminal(payment) else None)
