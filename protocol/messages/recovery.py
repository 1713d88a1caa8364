"""The messages of a recovery (RECOVERY 5.3, and the thread of December 2020 that asked for them).

The thread sketched two, Transfer-Resume and Transfer-Continue; the draft spells out RECOVER to ROLLBACK-ACK.
Both are here. Times, ids and the JWS are as in the transfer itself, and so is the rule for unknown fields.

What the texts leave out, and is needed, is marked `OURS` at its field: the length and the head of the shared chain
(R24: equal numbers hide different contents), nonce, incarnation and epoch (R25), and in every message the hash of
the one that it answers (R50). Where the draft says one thing twice and differently:

    types              the draft's own, although their namespace is not registered (R43): a peer that has read
                       the draft must recognise them. The two messages of the thread are put beside them
    four, not three    the section RECOVER-SUCCESS has type `recover-update-ack-msg` (R22). Here RECOVER-UPDATE-ACK
                       has that type and is the recovered side's; RECOVER-SUCCESS is the other side's answer
    senderSignature    the signature of the JWS
    "log"              `recoveredLogs` are the messages that both sides share, as signed. Private entries are never sent
    sequenceNumber     the latest entry of the writer's own log; two writers have no number in common (R5)

A position says where a session stands at one gateway; it carries no content, so it may travel before TLS is back.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from protocol.errors import INVALID_MESSAGE_TYPE, Refused
from protocol.messages.meanings import OURS
from protocol.messages.satp import CODE_PATTERN, JWS_PATTERN, Jwk, Sha256, Text, Time, Uuid, _Model
from protocol.objects import Json

RECOVERY_NAMESPACE = "urn:ietf:SATP-2pc:msgtype:"
MOST_SESSIONS = 10_000  # in one offer or answer: an answer about so many takes 4.1 MB
MOST_TAKEOVERS = 64  # in one offer or answer: a line of certificates of 0.6 kB each
MOST_EVIDENCE = 64  # signed messages and receipts in one dispute: two whole chains, and all receipts, are 40

CrashErrorCode = Literal["process", "power", "storage-tail", "storage", "key", "connection", "replaced"]
LogWord = Literal["nothing", "open", "prepared", "committed", "leaving", "left", "complete", "frozen"]
LedgerWord = Literal["untouched", "held", "final", "undone"]
Verdict = Literal["continue", "complete", "back out", "unknown", "dispute"]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Jws = Annotated[str, Field(pattern=JWS_PATTERN)]
Thumbprint = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]  # RFC 7638, SHA-256
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+=*$")]


class Position(_Model):
    """Where a session stands at one gateway: "a list of transactions and phases" (the thread), and RECOVER's fields.

    `messages` and `headHash` name the shared chain, `log` and `ledger` are this gateway's words of TABLE 2. `peerKey`
    (RFC 7638) is the key under which it believes the other one in this session, if that is not the claim's any more.
    """

    sessionId: Uuid
    satpPhase: Annotated[int, Field(ge=0, le=3)]
    sequenceNumber: Count
    step: Annotated[Text | None, OURS] = None
    role: Annotated[Literal["sender", "recipient"], OURS]
    messages: Annotated[Count, OURS]
    headHash: Annotated[Sha256 | None, OURS] = None
    log: Annotated[LogWord, OURS]
    ledger: Annotated[LedgerWord, OURS]
    peerKey: Annotated[Thumbprint | None, OURS] = None


class Answer(Position):
    """What Transfer-Continue says of one session: the verdict, the step to continue with, the row of TABLE 2."""

    verdict: Verdict
    continueWith: Text | None = None
    decidedBy: Annotated[str, Field(pattern=r"^[A-Z]$"), OURS]


class Takeover(_Model):
    """A backup that acted for the gateway before the one that speaks: its certificate (DER, base64), and since when."""

    certificate: Base64
    epoch: Annotated[Count, Field(ge=1)]


class _Recovery(_Model):
    """What all messages of a recovery have (RECOVERY 5.3)."""

    messageType: str


class TransferResume(_Recovery):
    """The thread: "offers to continue processing, with a list of transactions and phases". Changes nothing by itself.

    `incarnation` counts restarts of this gateway, `epoch` counts takeovers; `isWhole`: no session was left out
    whose id sorts after `after` and not after `upTo`, which are there if one message has no room for all: they are
    compared page by page, in the order of their ids. `restartFrom` answers "would the gateway pick up from the last
    message before crash, or does it start from the beginning of the Phase?". `certificate` (DER, base64) comes with a
    new key; if that is a backup's, `takeovers` are those of the backups before it.
    """

    messageType: Literal["urn:ietf:SATP-2pc:msgtype:transfer-resume-msg"]
    gatewayId: Annotated[Text, OURS]
    peerId: Annotated[Text, OURS]
    crashErrorCode: CrashErrorCode
    sessions: list[Position]
    isWhole: Annotated[bool, OURS]
    after: Annotated[Uuid | None, OURS] = None
    upTo: Annotated[Uuid | None, OURS] = None
    isBackup: bool
    newIdentityPublicKey: Jwk | None = None
    certificate: Annotated[Base64 | None, OURS] = None
    takeovers: Annotated[list[Takeover] | None, Field(max_length=MOST_TAKEOVERS), OURS] = None
    restartFrom: Annotated[Literal["last-message", "stage"], OURS]
    nonce: Annotated[Text, OURS]
    incarnation: Annotated[Count, OURS]
    epoch: Annotated[Count, OURS]
    timestamp: Annotated[Time, OURS]


class TransferContinue(_Recovery):
    """The thread: "Transfer-Continue [SessionID; protocol-step-X; TLS-resume]", one answer for each session.

    `notNamed` are the sessions with that gateway which the offer did not name, and the answerer has. Where both have
    more than there is room for, `upTo` is the last id that was answered. `certificate` (DER, base64) is there if the
    answerer's first key was replaced, with the `epoch` of its takeover if it is a backup, and the `takeovers` before
    that one: a gateway that comes back may not know them.
    """

    messageType: Literal["urn:ietf:SATP-2pc:msgtype:transfer-continue-msg"]
    gatewayId: Annotated[Text, OURS]
    sessions: list[Answer]
    notNamed: Annotated[list[Answer], OURS]
    tlsResume: bool
    certificate: Annotated[Base64 | None, OURS] = None
    takeovers: Annotated[list[Takeover] | None, Field(max_length=MOST_TAKEOVERS), OURS] = None
    epoch: Annotated[Count | None, OURS] = None
    nonce: Annotated[Text, OURS]
    highestIncarnation: Annotated[Count, OURS]
    upTo: Annotated[Uuid | None, OURS] = None
    hashPrevMessage: Annotated[Sha256, OURS]
    timestamp: Annotated[Time, OURS]


class _OfSession(_Recovery):
    sessionId: Uuid
    contextId: Text | None = None


class Recover(_OfSession):
    """RECOVER. `position` is ours and so are the link to the Transfer-Continue before it, and `receipts`.

    A peer that speaks the draft alone begins with this message, without what is ours. `receipts` are the words of the
    sender's network about this session; with both logs lost they are all that is left. With `certificate`, and the
    `epoch` of the takeover if it is a backup's, it is the succession that this session gets (R40).
    """

    messageType: Literal["urn:ietf:SATP-2pc:msgtype:recover-msg"]
    satpPhase: Annotated[int, Field(ge=0, le=3)] | None = None
    sequenceNumber: Count | None = None
    isBackup: bool
    newIdentityPublicKey: Jwk | None = None
    lastEntryTimestamp: Time
    position: Annotated[Position | None, OURS] = None
    certificate: Annotated[Base64 | None, OURS] = None
    epoch: Annotated[Count | None, OURS] = None
    receipts: Annotated[list[Jws] | None, OURS] = None
    hashPrevMessage: Annotated[Sha256 | None, OURS] = None


class RecoverUpdate(_OfSession):
    """RECOVER-UPDATE: the shared messages that the recovered gateway lacks, and where the answerer stands.

    With `certificate` it tells of a succession, as RECOVER does: the recovered gateway may have forgotten that one.
    """

    messageType: Literal["urn:ietf:SATP-2pc:msgtype:recover-update-msg"]
    hashRecoverMessage: Sha256
    recoveredLogs: list[Jws]
    position: Annotated[Position, OURS]
    newIdentityPublicKey: Annotated[Jwk | None, OURS] = None
    certificate: Annotated[Base64 | None, OURS] = None
    epoch: Annotated[Count | None, OURS] = None
    receipts: Annotated[list[Jws] | None, OURS] = None


class RecoverUpdateAck(_OfSession):
    """RECOVER-UPDATE-ACK: what was appended; and, ours, the messages that the other side lacks."""

    messageType: Literal["urn:ietf:SATP-2pc:msgtype:recover-update-ack-msg"]
    hashRecoverUpdateMessage: Sha256
    success: bool
    entriesChanged: list[Sha256]
    recoveredLogs: Annotated[list[Jws], OURS]


class RecoverSuccess(_OfSession):
    """RECOVER-SUCCESS (RECOVERY 5.3.3): both hold the same chain. Its type is ours: the draft has none left (R22)."""

    messageType: Annotated[Literal["urn:ietf:SATP-2pc:msgtype:recover-success-msg"], OURS]
    hashRecoverUpdateAckMessage: Annotated[Sha256, OURS]
    success: bool
    entriesChanged: list[Sha256]


class RecoverDispute(_OfSession):
    """RECOVER-DISPUTE: named by the draft and not described (R23). The session is frozen at its sender, for `reason`.

    `evidence` are the signed messages and receipts that contradict each other.
    """

    messageType: Literal["urn:ietf:SATP-2pc:msgtype:recover-dispute-msg"]
    reason: Annotated[Text, OURS]
    evidence: Annotated[list[Jws], Field(max_length=MOST_EVIDENCE), OURS]
    hashPrevMessage: Annotated[Sha256 | None, OURS] = None
    timestamp: Annotated[Time, OURS]


class Rollback(_OfSession):
    """ROLLBACK: a report, sent with the receipts in hand (R33), never a request.

    `hashPrevMessage` is the last message of the peer in this session; absent only if no message is left anywhere.
    """

    messageType: Literal["urn:ietf:SATP-2pc:msgtype:rollback-msg"]
    success: bool
    actionsPerformed: list[Text]
    proofs: list[Jws]
    reason: Annotated[Text, OURS]
    code: Annotated[str | None, Field(pattern=CODE_PATTERN), OURS] = None
    hashPrevMessage: Annotated[Sha256 | None, OURS] = None
    timestamp: Annotated[Time, OURS]


class RollbackAck(_OfSession):
    """ROLLBACK-ACK: what the other side has undone. `hashPrevMessage` is the ROLLBACK's."""

    messageType: Literal["urn:ietf:SATP-2pc:msgtype:rollback-ack-msg"]
    success: bool
    actionsPerformed: list[Text]
    proofs: list[Jws]
    hashPrevMessage: Annotated[Sha256, OURS]
    timestamp: Annotated[Time, OURS]


RecoveryMessage = Annotated[
    TransferResume
    | TransferContinue
    | Recover
    | RecoverUpdate
    | RecoverUpdateAck
    | RecoverSuccess
    | RecoverDispute
    | Rollback
    | RollbackAck,
    Field(discriminator="messageType"),
]

_ADAPTER: TypeAdapter[RecoveryMessage] = TypeAdapter(RecoveryMessage)
MODELS: tuple[type[_Recovery], ...] = get_args(get_args(RecoveryMessage)[0])
NAMES = tuple(
    get_args(model.model_fields["messageType"].annotation)[0].removeprefix(RECOVERY_NAMESPACE).removesuffix("-msg")
    for model in MODELS
)


def is_recovery(payload: Json) -> bool:
    """Whether a payload says of itself that it belongs to a recovery."""
    return str(payload.get("messageType", "")).startswith(RECOVERY_NAMESPACE)


def parse_recovery(payload: Json) -> RecoveryMessage:
    """A payload as one of the messages above. Refused for the first field that is wrong; the draft has no codes."""
    try:
        return _ADAPTER.validate_python(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = ".".join(str(part) for part in first["loc"][1:]) or "messageType"
        words = f"{path}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        raise Refused(words, code=INVALID_MESSAGE_TYPE, field=path) from error


def write_recovery(message: RecoveryMessage) -> Json:
    """The payload to sign: optional fields that are absent stay absent."""
    payload: Json = message.model_dump(exclude_none=True)
    return payload
