"""One transfer as a gateway's log tells it.

A session is a fold over log entries and nothing else: `apply` is called with each entry after it became
durable, and a restart calls it with the same entries again. So what a gateway knows after a crash is
what it knew before, up to the last entry, and there is no second place to keep in step.

Here also stands what each message must say (`compute_payload`) and what a received message must agree
with (`verify_follows`): the shared chain by `hashPrevMessage`, the claim by `hashTransferInitClaim`, the
receipts of the peer's network inside the assertions (SATP 9.1, 10.2 to 10.4 leave their format open;
here a claim carries the receipt, signed by the network).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol.errors import INVALID_MESSAGE_TYPE, Refused, satp_code
from protocol.ledger import Order
from protocol.log import LogEntry, Operation, compute_genesis
from protocol.messages.satp import NAMESPACE, VERSION, Message, TransferProposal, short_name
from protocol.objects import History, Json, Version, digest
from protocol.signing import KeyRing, PublicKey, Signed, read_payload
from protocol.steps import LAST, Role, Row, find_row, next_row, rows_of

SIGNATURE_ALGORITHMS = ("ES256",)
LOCK_TYPES = ("TIME_LOCK", "HASH_TIME_LOCK")
TLS_SCHEMES = ("TLS_AES_128_GCM_SHA256",)
SHORTEST_LOCK_S = 30  # a recipient declines a lock that cannot outlive two lost messages

# The assertion claims: step of the message -> (field of the format, its value, field of the claim, step of the action)
CLAIMS = {
    "2.2": ("lockAssertionClaimFormat", "LOCK_ASSERTION_CLAIM_FORMAT_1", "lockAssertionClaim", "2.1"),
    "3.3": ("mintAssertionFormat", "MINT_ASSERTION_CLAIM_FORMAT_1", "mintAssertionClaim", "3.2"),
    "3.5": ("burnAssertionClaimFormat", "BURN_ASSERTION_CLAIM_FORMAT_1", "burnAssertionClaim", "3.4"),
    "3.7": ("assignmentAssertionClaimFormat", "ASSIGNMENT_ASSERTION_CLAIM_FORMAT_1", "assignmentAssertionClaim", "3.6"),
}  # fmt: skip


@dataclass
class Session:
    """The state of one transfer at one gateway. Only `apply` changes it."""

    id: str
    gateway_id: str
    context: str = ""
    role: Role = Role.SENDER
    proposal: Json = field(default_factory=dict)
    history: History = field(default_factory=History)
    done: set[str] = field(default_factory=set)
    begun: dict[str, Json] = field(default_factory=dict)
    receipts: dict[str, Json] = field(default_factory=dict)
    message_of: dict[str, str] = field(default_factory=dict)
    parked: str | None = None
    length: int = 0
    last_hash: str = ""

    def __post_init__(self) -> None:
        self.last_hash = self.last_hash or compute_genesis(self.id, self.gateway_id)

    def apply(self, entry: LogEntry) -> None:
        """Take one durable entry into account."""
        payload = entry.payload
        if "message" in payload and entry.operation is not Operation.FAIL:
            self._apply_message(entry.step, payload["message"], payload["author"])
        if "order" in payload:
            self.begun[entry.step] = payload["order"]
        if "receipt" in payload:
            self.receipts[entry.step] = payload["receipt"] | {"signed": payload["signed"]}
            self.begun.pop(entry.step, None)
            self.done.add(entry.step)
        if entry.operation is Operation.FAIL:
            self.parked = payload["reason"]
        self.length, self.last_hash = entry.sequenceNumber, entry.compute_hash()

    def _apply_message(self, step: str, compact: str, author: str) -> None:
        content = read_payload(compact)
        if not self.proposal:
            self.proposal, self.context = content, content["transferContextId"]
            sender = self.claim["senderGatewayId"]
            self.role = Role.SENDER if sender == self.gateway_id else Role.RECIPIENT
        name = digest(content)
        self.history.append(Version(name, content.get("hashPrevMessage"), author, compact))
        self.message_of[step] = name
        self.done.add(step)

    @property
    def claim(self) -> Json:
        """SATP 8.1, as the proposal carries it."""
        claim: Json = self.proposal["transferInitClaim"]
        return claim

    @property
    def peer(self) -> str:
        return str(self.claim["recipientGatewayId" if self.role is Role.SENDER else "senderGatewayId"])

    @property
    def next_row(self) -> Row | None:
        """The first row of TABLE 1 that is not done; None when complete."""
        return next_row(self.role, self.done)

    @property
    def rows_done(self) -> list[Row]:
        return [row for row in rows_of(self.role) if row.number in self.done]

    @property
    def is_at_rest(self) -> bool:
        """Complete, or parked until a human decides."""
        return self.parked is not None or LAST.number in self.done

    def compute_last_own_message(self) -> str | None:
        """The message to send again while no answer comes; None if the last word was the peer's."""
        last = self.history[self.history.head] if self.history.head else None
        return last.signed if last is not None and last.author == self.gateway_id else None

    def compute_reply_to(self, name: str) -> str | None:
        """The message with which this gateway answered the message `name`, byte for byte."""
        after = self.history.after(name)
        return after[0].signed if after and after[0].author == self.gateway_id else None

    def compute_order(self, row: Row) -> Order:
        """What to ask of the own network. The operation id is made of session and step: R3."""
        claim, capabilities = self.claim, self.proposal["gatewayAndNetworkCapabilities"]
        seconds = [capabilities["networkLockExpirationTime"], claim.get("assetLockExpirationTime")]
        return Order(
            operationId=f"{self.id}/{row.number}",
            action=row.name,
            assetId=claim["digitalAssetId"],
            sessionId=self.id,
            gateway=self.gateway_id,
            peer=self.peer,
            originator=claim["verifiedOriginatorEntityId"],
            beneficiary=claim["verifiedBeneficiaryEntityId"],
            under={"burn": f"{self.id}/2.1", "assign": f"{self.id}/3.2"}.get(row.name),
            lock_s=min(filter(None, seconds)) if row.name == "lock" else None,
            recordHash=self.history.head if row.name == "record" else None,
        )

    def compute_payload(self, row: Row, now: str) -> Json:
        """What the message of this row must say. `now` is RFC 3339."""
        return {
            "messageType": NAMESPACE + row.name,
            "sessionId": self.id,
            "transferContextId": self.context,
            "hashPrevMessage": self.history.head,
            **(_BODIES[row.number](self, now) if row.number in _BODIES else {}),
            **self._compute_claim(row),
        }

    def _compute_claim(self, row: Row) -> Json:
        if row.number not in CLAIMS:
            return {}
        format_field, format_name, claim_field, step = CLAIMS[row.number]
        return {format_field: format_name, claim_field: {"receipt": self.receipts[step]["signed"]}}

    def verify_author(self, signed: Signed) -> None:
        """A repeated message must come from whoever wrote it first."""
        author = self.history[signed.digest].author
        if author != signed.signer:
            raise Refused("another gateway's message", code="err_0.1.2", expected=author, found=signed.signer)

    def verify_follows(self, message: Message, row: Row, signer: str, networks: KeyRing) -> None:
        """Raise Refused unless `message` is the next version of this transfer."""
        if signer != self.peer:
            raise Refused(
                "the signer is not the peer of this session", code="err_0.1.2", expected=self.peer, found=signer
            )
        expected = {"transferContextId": self.context, "hashPrevMessage": self.history.head}
        if row.number in ("1.2", "1.3"):
            expected["hashTransferInitClaim"] = digest(self.claim)
        if row is LAST:
            expected["hashTransferCommence"] = self.message_of.get("1.3")
        for name, value in expected.items():
            if getattr(message, name) != value:
                code = satp_code(row.number, name)
                raise Refused(f"mismatch {name}", code=code, field=name, expected=value, found=getattr(message, name))
        if row is not self.next_row:
            words = f"step {row.number} does not come next"
            raise Refused(words, code=INVALID_MESSAGE_TYPE, expected=self.next_row, found=row)
        if row.number in CLAIMS:
            self._verify_claim(row, getattr(message, CLAIMS[row.number][2]), networks)

    def _verify_claim(self, row: Row, claim: Mapping[str, Any], networks: KeyRing) -> None:
        """The receipt inside must be the peer's network's, about this session, this asset and this action."""
        format_field, _, claim_field, step = CLAIMS[row.number]
        code = satp_code(row.number, format_field)
        action = find_row(step)
        try:
            receipt = networks.verify(str(claim.get("receipt")))
        except Refused as error:
            words = f"{claim_field}.receipt: {error.reason}"
            raise Refused(words, code=code, field=f"{claim_field}.receipt") from error
        network = "senderGatewayNetworkId" if row.actor is Role.SENDER else "recipientGatewayNetworkId"
        expected = {
            "networkId": self.claim[network],
            "sessionId": self.id,
            "assetId": self.claim["digitalAssetId"],
            "action": action.name,
        }
        if receipt.signer != self.claim[network]:
            raise Refused(f"{claim_field}.receipt is signed by another network", code=code, found=receipt.signer)
        for name, value in expected.items():
            if receipt.payload.get(name) != value:
                where = f"{claim_field}.receipt.{name}"
                found = receipt.payload.get(name)
                raise Refused(f"{where} does not fit", code=code, field=where, expected=value, found=found)

    def __repr__(self) -> str:
        if self.parked:
            state = f"parked: {self.parked}"
        elif self.next_row is None:
            state = "complete"
        else:
            state = f"next {self.next_row.number} {short_name(self.next_row.name)} ({self.next_row.actor})"
        return f"session {self.id[:8]} as {self.role}, {state}"


_BODIES: dict[str, Callable[[Session, str], Json]] = {
    "1.2": lambda session, now: {
        "version": VERSION,
        "hashTransferInitClaim": digest(session.claim),
        "timestamp": now,
    },
    "1.3": lambda session, now: {"hashTransferInitClaim": digest(session.claim)},
    "2.2": lambda session, now: {"lockAssertionExpiration": session.receipts["2.1"]["expiry"]},
    "3.9": lambda session, now: {"hashTransferCommence": session.message_of["1.3"]},
}


def verify_proposal(proposal: TransferProposal, signed: Signed, own: PublicKey, gateway_id: str, network: str) -> None:
    """Raise Refused unless this gateway can take part (SATP 8.1 to 8.3, codes err_1.1.x)."""
    claim, offered = proposal.transferInitClaim, proposal.gatewayAndNetworkCapabilities
    thumbprints = {}
    for name in (
        "originatorPublicKey",
        "beneficiaryPublicKey",
        "senderGatewaySignaturePublicKey",
        "receiverGatewaySignaturePublicKey",
    ):
        try:
            thumbprints[name] = PublicKey.from_jwk(getattr(claim, name)).kid
        except Refused as error:
            raise Refused(f"{name}: {error.reason}", code=satp_code("1.1", name), field=name) from error
    expected: tuple[tuple[str, object, object], ...] = (
        ("version", proposal.version, VERSION),
        ("senderGatewayId", claim.senderGatewayId, signed.signer),
        ("recipientGatewayId", claim.recipientGatewayId, gateway_id),
        ("recipientGatewayNetworkId", claim.recipientGatewayNetworkId, network),
        ("senderGatewaySignaturePublicKey", thumbprints["senderGatewaySignaturePublicKey"], signed.kid),
        ("receiverGatewaySignaturePublicKey", thumbprints["receiverGatewaySignaturePublicKey"], own.kid),
    )
    for name, found, value in expected:
        if found != value:
            raise Refused(f"invalid {name}", code=satp_code("1.1", name), field=name, expected=value, found=found)
    supported: tuple[tuple[str, object, object, bool], ...] = (
        ("gatewayDefaultSignatureAlgorithm", offered.gatewayDefaultSignatureAlgorithm, SIGNATURE_ALGORITHMS,
         offered.gatewayDefaultSignatureAlgorithm in SIGNATURE_ALGORITHMS),
        ("networkLockType", offered.networkLockType, LOCK_TYPES, offered.networkLockType in LOCK_TYPES),
        ("networkLockExpirationTime", offered.networkLockExpirationTime, f"at least {SHORTEST_LOCK_S} s",
         offered.networkLockExpirationTime >= SHORTEST_LOCK_S),
        ("gatewayTlsScheme", offered.gatewayTlsScheme, TLS_SCHEMES, offered.gatewayTlsScheme in TLS_SCHEMES),
    )  # fmt: skip
    for name, found, wanted, fits in supported:
        if not fits:
            raise Refused(f"unsupported {name}", code=satp_code("1.1", name), field=name, expected=wanted, found=found)
