"""What one side shows the other, and what the other makes of it.

Evidence of a version is two signatures: the request of its author and the success response of the other
side, which names the digest of that request. Neither side can make it alone, so whoever shows it, it
holds; the role of protocol server gives nobody a better memory. Of two chains where one continues the
other the longer one wins. Two different agreed versions after the same one are a fork: nobody chooses,
both are kept, the object stops.

`verify_history` believes nothing: not the peer's signatures, not our own old ones. `compute_adoption`
compares what was shown with what is stored and says what to write; it writes nothing itself.

Evidence proves that something was agreed, never that nothing else was. A side that meets its own signature
on a version that it does not know has forgotten something, or was shown too little when it asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from protocol.channel_store import Change, ChannelStore, Dispute, Record, SharedObject, Written
from protocol.errors import Refused
from protocol.messages.offchain import Evidence, PaymentRequest, read_request, read_response
from protocol.messages.payments import compute_payment, is_terminal
from protocol.objects import History, Json, Version
from protocol.signing import KeyRing, Signed


class BadEvidence(Refused):
    """What was shown does not prove what it should; the reason says which part of it."""


class Agreed(NamedTuple):
    """One verified piece of evidence."""

    version: Version
    change: Json
    digest: str
    memory: str | None  # the memory that its author wrote it from


def show(history: Iterable[Version]) -> list[Evidence]:
    """Versions as evidence, oldest first."""
    return [Evidence(request=version.signed, response=version.answer or "") for version in history]


def verify_history(reference_id: str, shown: Sequence[Evidence], ring: KeyRing) -> list[Agreed]:
    """A chain of agreed versions of this object. Raises BadEvidence, with the place in the list."""
    chain: list[Agreed] = []
    for place, evidence in enumerate(shown):
        try:
            agreed = _verify_evidence(reference_id, evidence, ring)
            if chain and agreed.version.reads != chain[-1].version.name:
                raise BadEvidence("it does not read the version shown before it", found=agreed.version.reads)
            if any(agreed.version.name == before.version.name for before in chain):
                raise BadEvidence("a version name comes twice", found=agreed.version.name)
        except Refused as error:
            raise BadEvidence(f"evidence {place} does not hold: {error}", field=f"history.{place}") from error
        chain.append(agreed)
    return chain


def _verify_evidence(reference_id: str, evidence: Evidence, ring: KeyRing) -> Agreed:
    request, response = ring.verify(evidence.request), ring.verify(evidence.response)
    if request.signer == response.signer:
        raise BadEvidence("request and response are signed by the same side", found=request.signer)
    if response.request_digest != request.digest:
        raise BadEvidence("the response answers another request", found=response.request_digest)
    answer = read_response(response.payload)
    if answer.status != "success" or answer.cid != request.payload.get("cid"):
        raise BadEvidence("the response is no consent to this command", found=answer.status)
    return _read_version(reference_id, request, evidence.response)


def _read_version(reference_id: str, request: Signed, response: str) -> Agreed:
    form = read_request(request.payload)
    if not isinstance(form, PaymentRequest) or form.command.writes != {reference_id: form.cid}:
        raise BadEvidence("the command writes another object", expected=reference_id)
    reads = form.command.reads.get(reference_id)
    change = request.payload["command"]["payment"]
    if reads is None and not {"sender", "receiver", "action"} <= change.keys():
        raise BadEvidence("the first version is not a whole payment")
    version = Version(form.cid, reads, request.signer, request.compact, response)
    return Agreed(version, change, request.digest, request.memory)


@dataclass
class Adoption:
    """What follows from evidence: what to write, whether the object forked, and what this side had forgotten."""

    changes: list[Change] = field(default_factory=list)
    dispute: Dispute | None = None
    forgotten: list[Agreed] = field(default_factory=list)  # what we signed and do not know
    settled: list[Record] = field(default_factory=list)  # own commands whose fate is now known


def compute_adoption(reference_id: str, chain: Sequence[Agreed], store: ChannelStore, now: float) -> Adoption:
    """Compare a verified chain with the own copy. The chain may begin after any version that is known here."""
    adoption = Adoption()
    mine = store.read_history(reference_id)
    if chain and chain[0].version.reads is not None and chain[0].version.reads not in mine:
        raise BadEvidence("the evidence begins after a version that is not known here", found=chain[0].version.reads)
    news = [agreed for agreed in chain if agreed.version.name not in mine]
    if news and (rival := _find_rival(mine, news[0])) is not None:
        adoption.dispute = Dispute(
            reference_id, "two agreed versions after the same one", rival.signed, news[0].version.signed
        )
        return adoption
    shared = store.find_object(reference_id)
    payment = shared.payment if shared else None
    for agreed in chain:
        known = store.find_record(agreed.version.author, agreed.version.name)
        adoption.dispute = _find_contradiction(reference_id, agreed, known)
        if adoption.dispute is not None:
            return adoption
        if agreed.version.name in mine:
            continue
        if known is None:
            adoption.forgotten.append(agreed)
        payment = compute_payment([agreed.change], payment)
        closed_at = now if is_terminal(payment) else None
        record = _record(reference_id, agreed, known)
        adoption.changes += [
            Written(agreed.version, SharedObject(reference_id, agreed.version.name, payment, closed_at)),
            record,
        ]
        if known is not None and known.state == "pending":
            adoption.settled.append(record)
    return adoption


def _find_rival(mine: History, new: Agreed) -> Version | None:
    """The version of ours that reads the same one as the first new version, if there is any."""
    after = mine.after(new.version.reads)
    return after[0] if after else None


def _find_contradiction(reference_id: str, agreed: Agreed, known: Record | None) -> Dispute | None:
    if known is not None and known.digest != agreed.digest:
        return Dispute(reference_id, "one cid stands for two commands", known.request, agreed.version.signed)
    if known is not None and known.state == "failure":
        answers = known.response or "", agreed.version.answer or ""
        return Dispute(reference_id, "one command has two answers", *answers)
    return None


def _record(reference_id: str, agreed: Agreed, known: Record | None) -> Record:
    version = agreed.version
    fresh = Record(
        version.author,
        version.name,
        agreed.digest,
        version.signed,
        "success",
        version.answer,
        reference_id,
        version.reads,
    )
    # A retransmission may carry the same payload under a newer key: what was stored first stays.
    return fresh if known is None else known._replace(state="success", response=version.answer, reason=None)
