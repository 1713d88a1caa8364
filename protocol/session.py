"""One transfer as a gateway's log tells it.

A session is a fold over log entries and nothing else: `apply` is called with each entry after it became
durable, and a restart calls it with the same entries again. So what a gateway knows after a crash is
what it knew before, up to the last entry, and there is no second place to keep in step.

Here also stands what each message must say (`compute_payload`) and what a received message must agree
with (`verify_follows`): the shared chain by `hashPrevMessage`, the claim by `hashTransferInitClaim`, the
receipts of the peer's network inside the assertions.

A session ends in one of three ways: complete (3.9), ended by an abort after everything was undone, or
parked: a human has to look. Nothing else closes it. What is frozen in a dispute is at rest too, and for good.

Where both logs were lost there is a session without messages: an *orphan*, known from the receipt of its lock
or mint alone. It can be undone, or completed if the asset is burned; it has no next step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from protocol.errors import BAD_SIGNATURE, INSUFFICIENT_PERMISSIONS, INVALID_MESSAGE_TYPE, Refused, satp_code
from protocol.ledger import Order, compute_hash_lock
from protocol.log import LogEntry, Operation, compute_genesis
from protocol.messages.satp import NAMESPACE, VERSION, AssertionClaim, Message, TransferProposal, short_name
from protocol.objects import History, Json, Version, digest
from protocol.signing import KeyRing, PublicKey, Signed, read_payload, reread
from protocol.steps import LAST, Role, Row, find_row, make_undo, next_row, rows_of

NEVER = "9999-12-31T23:59:59Z"  # lockAssertionExpiration is REQUIRED (9.1); this is what a HASH_LOCK says

# The assertion claims: step of the message -> (field of the format, its value, field of the claim, step of the action)
CLAIMS = {
    "2.2": ("lockAssertionClaimFormat", "LOCK_ASSERTION_CLAIM_FORMAT_1", "lockAssertionClaim", "2.1"),
    "3.3": ("mintAssertionFormat", "MINT_ASSERTION_CLAIM_FORMAT_1", "mintAssertionClaim", "3.2"),
    "3.5": ("burnAssertionClaimFormat", "BURN_ASSERTION_CLAIM_FORMAT_1", "burnAssertionClaim", "3.4"),
    "3.7": ("assignmentAssertionClaimFormat", "ASSIGNMENT_ASSERTION_CLAIM_FORMAT_1", "assignmentAssertionClaim", "3.6"),
}
ANCHORS = {Role.SENDER: "2.1", Role.RECIPIENT: "3.2"}  # what a role can take back: its lock, its mint
# The lock or mint that an action ends, or the burn
BUILDS_ON = {"burn": "2.1", "unlock": "2.1", "assign": "3.2", "destroy": "3.2", "reissue": "3.4"}


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
    peer_receipts: dict[str, Json] = field(default_factory=dict)
    just_read: dict[str, Json] = field(default_factory=dict, repr=False)  # receipts, between verifying and logging them
    ending: Json | None = None
    abort: str | None = None
    own_abort: str | None = None
    acknowledgement: str | None = None
    is_ended: bool = False
    parked: str | None = None
    frozen: Json | None = None
    preimage: str = field(default="", repr=False)
    keys: dict[str, str] = field(default_factory=dict)
    claimed: dict[str, str] = field(default_factory=dict, repr=False)  # the keys of the claim, by gateway
    cancelled: set[str] = field(default_factory=set)
    length: int = 0
    last_hash: str = ""

    def __post_init__(self) -> None:
        self.last_hash = self.last_hash or compute_genesis(self.id, self.gateway_id)

    # ------------------------------------------------------------------ the fold

    def apply(self, entry: LogEntry, signed: Signed | None = None) -> None:
        """Take one entry into account. `signed` is the message in it, where it has just been read or written."""
        payload = entry.payload
        if "message" in payload and entry.step == "abort":
            self.abort = payload["message"]
            self.own_abort = payload["message"] if payload["author"] == self.gateway_id else None
        elif "message" in payload and entry.operation is not Operation.FAIL:
            self._apply_message(entry.step, signed or reread(payload["message"], payload["author"]))
        self._apply_action(entry.step, payload)
        if "backOut" in payload:
            self.ending, self.parked = payload["backOut"], None
        if "goesOn" in payload:
            self.ending = None
        if "succession" in payload:
            self.keys[payload["succession"]["gatewayId"]] = payload["succession"]["kid"]
        self.acknowledgement = payload.get("acknowledgement", self.acknowledgement)
        self.frozen = payload.get("frozen", self.frozen)
        self.parked = payload.get("parked", self.parked)
        self.is_ended = self.is_ended or payload.get("ended", False)
        self.length, self.last_hash = entry.sequenceNumber, entry.compute_hash()

    def _apply_action(self, step: str, payload: Json) -> None:
        """An action on the ledger: begun, done, or cancelled for good."""
        if "order" in payload:
            self.begun[step] = payload
            self.preimage = payload.get("preimage", self.preimage)
        if "receipt" in payload:
            self.receipts[step] = payload["receipt"] | {"signed": payload["signed"]}
            if not self.proposal and step in ANCHORS.values():
                self.role = next(role for role, anchor in ANCHORS.items() if anchor == step)
        if "cancellation" in payload:
            self.cancelled.add(step)
        if "receipt" in payload or "cancellation" in payload:
            self.begun.pop(step.removesuffix("/undo"), None)
            self.begun.pop(step, None)
        if "receipt" in payload or ("cancellation" in payload and step.endswith("/undo")):
            self.done.add(step)

    def _apply_message(self, step: str, signed: Signed) -> None:
        content, author = signed.payload, signed.signer
        if not self.proposal:
            self.proposal, self.context = content, content["transferContextId"]
            sender = self.claim["senderGatewayId"]
            self.role = Role.SENDER if sender == self.gateway_id else Role.RECIPIENT
        if step in CLAIMS and author != self.gateway_id:
            compact = content[CLAIMS[step][2]]["receipt"]
            known = self.just_read.get(compact)
            self.peer_receipts[CLAIMS[step][3]] = known if known is not None else read_payload(compact)
        self.history.append(Version(signed.digest, content.get("hashPrevMessage"), author, signed.compact))
        self.message_of[step] = signed.digest
        self.done.add(step)
        self.parked = None  # the next message came after all
        if author == self.gateway_id and self.ending and not self.is_ended:
            self.ending = None  # taken back from the peer: we went on after we had wanted to leave

    # ------------------------------------------------------------------ where it stands

    @property
    def claim(self) -> Json:
        """SATP 8.1, as the proposal carries it."""
        claim: Json = self.proposal["transferInitClaim"]
        return claim

    @property
    def orphan(self) -> Json | None:
        """The receipt that is left of this session where both logs were lost; None where there are messages."""
        return None if self.proposal else self.receipts.get(ANCHORS[self.role])

    @property
    def peer(self) -> str:
        if self.orphan is not None:
            return str(self.orphan["peer"])
        return str(self.claim["recipientGatewayId" if self.role is Role.SENDER else "senderGatewayId"])

    @property
    def next_row(self) -> Row | None:
        """The first row of TABLE 1 that is not done; None when complete."""
        return next_row(self.role, self.done)

    @property
    def rows_done(self) -> list[Row]:
        return [row for row in rows_of(self.role) if row.number in self.done]

    @property
    def next_undo(self) -> Row | None:
        """The latest own action that happened, or may have, and is not taken back yet."""
        for row in reversed(rows_of(self.role)):
            touched = row.number in self.done or row.number in self.begun
            if row.undo is not None and touched and f"{row.number}/undo" not in self.done:
                return make_undo(row)
        return None

    @property
    def is_at_rest(self) -> bool:
        """Complete, ended, frozen, or parked until a human decides."""
        return self.parked is not None or self.frozen is not None or self.is_over

    @property
    def is_over(self) -> bool:
        """Complete or ended: nothing can change it any more."""
        return self.is_ended or LAST.number in self.done

    @property
    def is_prepared(self) -> bool:
        """The recipient may have sent commit-ready: now only a receipt of the origin network moves it."""
        return self.role is Role.RECIPIENT and "3.3" in self.done

    @property
    def is_committed(self) -> bool:
        """The burn is known to have happened: only forward from here."""
        return ("3.4" if self.role is Role.SENDER else "3.5") in self.done

    def compute_last_own_message(self) -> str | None:
        """The message to send again while no answer comes; None if the last word was the peer's."""
        last = self.history[self.history.head] if self.history.head else None
        return last.signed if last is not None and last.author == self.gateway_id else None

    def compute_first_of_stage(self) -> str | None:
        """The first message of this gateway in the stage where the session stands; None if there is none."""
        stage = self.rows_done[-1].stage
        own = (row for row in rows_of(self.role) if row.stage == stage and row.actor is self.role)
        first = next((self.message_of[row.number] for row in own if row.number in self.message_of), None)
        return self.history[first].signed if first is not None else None

    def compute_reply_to(self, name: str) -> str | None:
        """The message with which this gateway answered the message `name`, byte for byte."""
        after = self.history.after(name)
        return after[0].signed if after and after[0].author == self.gateway_id else None

    # ------------------------------------------------------------------ what to do and to say

    def operation_id(self, step: str) -> str:
        """The name of an action on the ledger, made of session and step: R3."""
        return f"{self.id}/{step}"

    def compute_order(self, row: Row, preimage: str = "") -> Order:
        """What to ask of the own network."""
        if self.orphan is not None:
            return self._compute_order_of_orphan(self.orphan, row, preimage)
        claim, capabilities = self.claim, self.proposal["gatewayAndNetworkCapabilities"]
        seconds = [capabilities["networkLockExpirationTime"], claim.get("assetLockExpirationTime")]
        is_lock, is_hashed = row.name == "lock", claim["networkLockType"] != "TIME_LOCK"
        return Order(
            operationId=self.operation_id(row.number),
            action=row.name,
            assetId=claim["digitalAssetId"],
            sessionId=self.id,
            gateway=self.gateway_id,
            peer=self.peer,
            originator=claim["verifiedOriginatorEntityId"],
            beneficiary=claim["verifiedBeneficiaryEntityId"],
            under=self.operation_id(BUILDS_ON[row.name]) if row.name in BUILDS_ON else None,
            lockType=claim["networkLockType"] if is_lock else None,
            lock_s=min(filter(None, seconds)) if is_lock else None,
            hashLock=compute_hash_lock(preimage) if is_lock and is_hashed else None,
            preimage=preimage if row.name == "unlock" and is_hashed else None,
            recordHash=self.history.head if row.name == "record" else None,
        )

    def _compute_order_of_orphan(self, receipt: Json, row: Row, preimage: str) -> Order:
        """The same where only the receipt of the lock or mint is left: it names asset, peer and beneficiary."""
        return Order(
            operationId=self.operation_id(row.number),
            action=row.name,
            assetId=receipt["assetId"],
            sessionId=self.id,
            gateway=self.gateway_id,
            peer=self.peer,
            originator="",
            beneficiary=receipt["beneficiary"],
            under=receipt["operationId"],
            preimage=preimage or None,
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

    # ------------------------------------------------------------------ whose keys count

    def claimed_kid(self, gateway_id: str) -> str:
        """The key (RFC 7638) that the claim names for one of the two gateways."""
        if not self.claimed:
            for name, key in (("senderGatewayId", "sender"), ("recipientGatewayId", "receiver")):
                jwk = self.claim[f"{key}GatewaySignaturePublicKey"]
                self.claimed[self.claim[name]] = PublicKey.from_jwk(jwk).kid
        return self.claimed[gateway_id]

    def kid_of(self, gateway_id: str) -> str:
        """The key under which a gateway speaks in this session: that of its last succession, or the claim's."""
        return self.keys.get(gateway_id) or self.claimed_kid(gateway_id)

    def verify_key(self, signed: Signed) -> None:
        """Raise Refused unless this session knows that this key acts for its signer (R40)."""
        expected = self.kid_of(signed.signer) if self.proposal else signed.kid
        if signed.kid != expected:
            words = f"no succession in this session names this key of {signed.signer}"
            raise Refused(words, code=BAD_SIGNATURE, field="kid", expected=expected, found=signed.kid)

    # ------------------------------------------------------------------ what to accept

    def verify_author(self, signed: Signed) -> None:
        """A repeated message must come from whoever wrote it first."""
        author = self.history[signed.digest].author
        if author != signed.signer:
            words = "another gateway's message"
            raise Refused(words, code=INSUFFICIENT_PERMISSIONS, expected=author, found=signed.signer)

    def verify_peer(self, signer: str) -> None:
        if signer != self.peer:
            words = "the signer is not the peer of this session"
            raise Refused(words, code=INSUFFICIENT_PERMISSIONS, expected=self.peer, found=signer)

    def verify_fits(self, proposal: TransferProposal) -> None:
        """Refused unless this proposal is about what the network holds for an orphan."""
        claim, receipt = proposal.transferInitClaim, self.orphan or {}
        found = {"assetId": claim.digitalAssetId, "beneficiary": claim.verifiedBeneficiaryEntityId}
        expected = {name: receipt[name] for name in found}
        if found != expected:
            words = "the mint is of another asset or beneficiary"
            raise Refused(words, code=INVALID_MESSAGE_TYPE, expected=expected, found=found)

    def verify_follows(self, message: Message, row: Row, networks: KeyRing, now: str) -> None:
        """Raise Refused unless `message` is the peer's next version of this transfer. `now` is RFC 3339."""
        self._verify_links(message, row)
        if row.number in CLAIMS:
            receipt = self._verify_claim(row, getattr(message, CLAIMS[row.number][2]), networks)
            if row.number == "2.2":
                self._verify_expiration(getattr(message, "lockAssertionExpiration", ""), receipt, now)

    def verify_recovered(self, message: Message, row: Row, author: str, networks: KeyRing) -> None:
        """The same for a message of either side that was lost here and comes back: it was timely when it was said.

        A claim of our own must carry the receipt that our own network has for that action.
        """
        self._verify_links(message, row)
        if author == self.gateway_id and row.number in CLAIMS:
            field_path, step = f"{CLAIMS[row.number][2]}.receipt", CLAIMS[row.number][3]
            said, known = getattr(message, CLAIMS[row.number][2]).receipt, self.receipts[step]["signed"]
            if said != known:
                raise Refused("our network gave another receipt", field=field_path, expected=known, found=said)
        elif row.number in CLAIMS:
            self._verify_claim(row, getattr(message, CLAIMS[row.number][2]), networks)

    def _verify_links(self, message: Message, row: Row) -> None:
        """What every message must agree with: context, chain, hashes of what was agreed, and its place in TABLE 1."""
        expected = {"transferContextId": self.context, "hashPrevMessage": self.history.head}
        if row.number == "1.2":
            expected["version"] = VERSION
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

    def _verify_claim(self, row: Row, claim: AssertionClaim, networks: KeyRing) -> Json:
        """The receipt inside must be the peer's network's, about this session, this asset and this action."""
        format_field, _, claim_field, step = CLAIMS[row.number]
        action = find_row(step).name
        network = "senderGatewayNetworkId" if row.actor is Role.SENDER else "recipientGatewayNetworkId"
        expected: Json = {
            "networkId": self.claim[network],
            "operationId": self.operation_id(step),
            "sessionId": self.id,
            "action": action,
            "assetId": self.claim["digitalAssetId"],
            "gateway": self.peer,
            "peer": self.gateway_id,
            "beneficiary": self.claim["verifiedBeneficiaryEntityId"],
        }
        if action in BUILDS_ON:
            expected["under"] = self.peer_receipts[BUILDS_ON[action]]["operationId"]
        where, code = f"{claim_field}.receipt", satp_code(row.number, format_field)
        receipt = read_receipt(claim.receipt, self.claim[network], networks, where, code)
        for name, value in expected.items():
            if receipt.get(name) != value:
                code = "err_2.2.7" if (row.number, name) == ("2.2", "assetId") else code
                words, field_path = f"{where}.{name} does not fit", f"{where}.{name}"
                raise Refused(words, code=code, field=field_path, expected=value, found=receipt.get(name))
        self.just_read = {claim.receipt: receipt}
        return receipt

    def _verify_expiration(self, expiration: str, receipt: Json, now: str) -> None:
        """SATP 9.1: the expiration is the receipt's, and in the future. Times in one notation compare as text."""
        wanted = receipt.get("expiry", NEVER)
        name = "lockAssertionExpiration"
        if expiration != wanted:
            words = f"{name} is not that of the lock's receipt"
            raise Refused(words, code=satp_code("2.2", name), field=name, expected=wanted, found=expiration)
        if expiration <= now:
            raise Refused("asset lock expired", code="err_2.2.9", field=name, expected=f"after {now}", found=expiration)

    def verify_release(self, receipts: list[str], networks: KeyRing) -> None:
        """Raise Refused unless one of the receipts shows that the lock in the origin network ended without a burn."""
        if self.find_end_of_lock(receipts, networks, ("unlock", "expire")) is not None:
            return
        raise Refused(
            "a recipient that has sent commit-ready waits for the receipt that ended the lock",
            code=INVALID_MESSAGE_TYPE,
        )

    def find_end_of_lock(self, receipts: list[str], networks: KeyRing, actions: tuple[str, ...]) -> Json | None:
        """The first of these receipts by which the origin network ended the lock of this session in one of these ways.

        Refused for what is no receipt of that network. Without its assertion the lock is known by its name alone.
        """
        lock = self.peer_receipts.get("2.1", {}).get("operationId", self.operation_id("2.1"))
        for compact in receipts:
            origin = self.claim["senderGatewayNetworkId"] if self.proposal else self._find_network(compact, networks)
            receipt = read_receipt(compact, origin, networks, "receipts", INVALID_MESSAGE_TYPE)
            is_ours = receipt.get("gateway") == self.peer and receipt.get("peer") == self.gateway_id
            if receipt.get("under") == lock and receipt.get("action") in actions and is_ours:
                return receipt
        return None

    def _find_network(self, compact: str, networks: KeyRing) -> str:
        """Which network signed it: any that we know but our own, which would speak for us and not for the peer."""
        own = (self.orphan or {}).get("networkId")
        signer = networks.verify(compact).signer
        if signer == own:
            raise Refused("a receipt of our own network shows nothing about the peer's", code=INVALID_MESSAGE_TYPE)
        return signer

    def __repr__(self) -> str:
        if self.frozen:
            state = f"frozen: {self.frozen['reason']}"
        elif self.parked:
            state = f"parked: {self.parked}"
        elif self.ending:
            state = f"{'ended' if self.is_ended else 'backing out'}: {self.ending['reason']}"
        elif self.next_row is None or self.is_ended:
            state = "complete"
        elif self.orphan is not None:
            state = f"known from the {self.orphan['action']} alone"
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
    "2.2": lambda session, now: {"lockAssertionExpiration": session.receipts["2.1"].get("expiry", NEVER)},
    "3.9": lambda session, now: {"hashTransferCommence": session.message_of["1.3"]},
}


def read_session(session_id: str, gateway_id: str, entries: Sequence[LogEntry]) -> Session | None:
    """A session as the log of a gateway tells it; None if it tells nothing."""
    session = Session(session_id, gateway_id)
    for entry in entries:
        session.apply(entry)
    return session if entries else None


def read_receipt(compact: str, network: str, networks: KeyRing, where: str, code: str) -> Json:
    """The receipt inside a JWS of this network; Refused with `code` if it is not one."""
    try:
        signed = networks.verify(compact)
    except Refused as error:
        raise Refused(f"{where}: {error.reason}", code=code, field=where) from error
    if signed.signer != network:
        words = f"{where} is signed by another network"
        raise Refused(words, code=code, field=where, expected=network, found=signed.signer)
    return signed.payload
