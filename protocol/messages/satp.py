"""The messages of SATP stages 1 to 3 (SATP 8, 9, 10), errors (11.3) and abort (10.7), with the draft's names.

A closed list: what is not here is refused as `err_0.1.1`. Fields that the draft does not name are kept,
because the sender signed them and the hash of the message covers them.

Where the draft says one thing twice and differently:

    3.3                  type `commit-ready-msg` (10.2) is sent, `ack-prepare-msg` (5.3.2) is accepted too
    mintAssertionFormat  as in the parameter list of 10.2; the example below it writes another name
    hashPrevMessage      in every message but the first, the proposal receipt included (8.4 leaves it out),
                         so that the chain covers the capabilities too
    times                RFC 3339 with Z; the draft's `2024-10-03T12:02+00Z` is refused
    reject (8.5)         has no type of its own; it is the error message, in stage 1 (C2, C15)
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from protocol.errors import INVALID_MESSAGE_TYPE, SATP_CODES, Refused, satp_code
from protocol.messages.meanings import OURS
from protocol.objects import Json, digest
from protocol.signing import extract, read_payload

NAMESPACE = "urn:ietf:params:satp:core:msgtype:"
VERSION = "1.0"
NO_ID = "00000000-0000-0000-0000-000000000000"  # in errors about messages whose ids could not be read

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
TIME_PATTERN = r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]+)?Z$"
JWS_PATTERN = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"
CODE_PATTERN = r"^err_[0-9]+\.[0-9]+\.[0-9]+$"
Uuid = Annotated[str, StringConstraints(pattern=UUID_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Time = Annotated[str, StringConstraints(pattern=TIME_PATTERN)]
KEY_TYPE: dict[str, Any] = {"kty": {"type": "string", "description": "The type of the key (RFC 7517)."}}
Jwk = Annotated[dict[str, Any], Field(json_schema_extra={"required": ["kty"], "properties": KEY_TYPE})]
LockType = Literal["TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK"]
Seconds = Annotated[int, Field(gt=0, le=10 * 365 * 86400)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class TransferInitClaim(_Model):
    """SATP 8.1: the artifacts that both gateways must agree on."""

    digitalAssetId: Text
    assetProfileId: Text
    networkLockType: LockType
    assetLockExpirationTime: Seconds | None = None
    verifiedOriginatorEntityId: Text
    verifiedBeneficiaryEntityId: Text
    originatorPublicKey: Jwk
    beneficiaryPublicKey: Jwk
    senderGatewaySignaturePublicKey: Jwk
    receiverGatewaySignaturePublicKey: Jwk
    senderGatewayId: Text
    recipientGatewayId: Text
    senderGatewayNetworkId: Text
    recipientGatewayNetworkId: Text
    senderGatewayDeviceIdentityPublicKey: Jwk | None = None
    receiverGatewayDeviceIdentityPublicKey: Jwk | None = None
    senderGatewayOwnerId: Text | None = None
    receiverGatewayOwnerId: Text | None = None


class Capabilities(_Model):
    """SATP 8.2: what the sender's gateway and network can do."""

    gatewayDefaultSignatureAlgorithm: Text
    gatewaySupportedSignatureAlgorithms: list[Text] | None = None
    networkLockType: LockType
    networkLockExpirationTime: Seconds
    gatewayTlsScheme: Text


class AssertionClaim(_Model):
    """What the four claims carry (SATP 9.1, 10.2, 10.3, 10.4 leave it open): the network's receipt, a compact JWS."""

    receipt: Annotated[str, StringConstraints(pattern=JWS_PATTERN), OURS]


class Message(_Model):
    """What all messages have: SATP 5.3, and the transfer context that 11.3 says is used in all of them."""

    messageType: str
    sessionId: Uuid
    transferContextId: Text


class TransferProposal(Message):
    """1.1, SATP 8.3: the sender proposes a transfer."""

    STEP: ClassVar[str] = "1.1"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:transfer-proposal-msg"]
    version: Text
    transferInitClaimFormat: Literal["TRANSFER_INIT_CLAIM_FORMAT_1"]
    transferInitClaim: TransferInitClaim
    gatewayAndNetworkCapabilities: Capabilities


class ProposalReceipt(Message):
    """1.2, SATP 8.4: the recipient accepts the proposal. `hashPrevMessage` is ours."""

    STEP: ClassVar[str] = "1.2"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:proposal-receipt-msg"]
    version: Text
    hashTransferInitClaim: Sha256
    timestamp: Time
    hashPrevMessage: Annotated[Sha256, OURS]


class TransferCommence(Message):
    """1.3, SATP 8.6."""

    STEP: ClassVar[str] = "1.3"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:transfer-commence-msg"]
    hashTransferInitClaim: Sha256
    hashPrevMessage: Sha256


class AckCommence(Message):
    """1.4, SATP 8.7."""

    STEP: ClassVar[str] = "1.4"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:ack-commence-msg"]
    hashPrevMessage: Sha256


class LockAssertion(Message):
    """2.2, SATP 9.1: the asset is locked in the origin network."""

    STEP: ClassVar[str] = "2.2"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:lock-assert-msg"]
    lockAssertionClaimFormat: Literal["LOCK_ASSERTION_CLAIM_FORMAT_1"]
    lockAssertionClaim: AssertionClaim
    lockAssertionExpiration: Time
    hashPrevMessage: Sha256


class AssertionReceipt(Message):
    """2.4, SATP 9.2."""

    STEP: ClassVar[str] = "2.4"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:assertion-receipt-msg"]
    hashPrevMessage: Sha256


class CommitPrepare(Message):
    """3.1, SATP 10.1."""

    STEP: ClassVar[str] = "3.1"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:commit-prepare-msg"]
    hashPrevMessage: Sha256


class CommitReady(Message):
    """3.3, SATP 10.2: the asset is minted in the destination network and held by the recipient."""

    STEP: ClassVar[str] = "3.3"
    messageType: Literal[
        "urn:ietf:params:satp:core:msgtype:commit-ready-msg", "urn:ietf:params:satp:core:msgtype:ack-prepare-msg"
    ]
    mintAssertionFormat: Literal["MINT_ASSERTION_CLAIM_FORMAT_1"]
    mintAssertionClaim: AssertionClaim
    hashPrevMessage: Sha256


class CommitFinal(Message):
    """3.5, SATP 10.3: the asset is burned in the origin network."""

    STEP: ClassVar[str] = "3.5"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:commit-final-msg"]
    burnAssertionClaimFormat: Literal["BURN_ASSERTION_CLAIM_FORMAT_1"]
    burnAssertionClaim: AssertionClaim
    hashPrevMessage: Sha256


class AckCommitFinal(Message):
    """3.7, SATP 10.4: the asset is assigned to the beneficiary."""

    STEP: ClassVar[str] = "3.7"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:ack-commit-final-msg"]
    assignmentAssertionClaimFormat: Literal["ASSIGNMENT_ASSERTION_CLAIM_FORMAT_1"]
    assignmentAssertionClaim: AssertionClaim
    hashPrevMessage: Sha256


class TransferComplete(Message):
    """3.9, SATP 10.5: the sender closes the session. It has no answer."""

    STEP: ClassVar[str] = "3.9"
    messageType: Literal["urn:ietf:params:satp:core:msgtype:commit-transfer-complete-msg"]
    hashTransferCommence: Sha256
    hashPrevMessage: Sha256


class ErrorMessage(Message):
    """SATP 10.6 and 11.3: problem details (RFC 9457) with the draft's code; here inside a JWS, like every message.

    `hashPrevMessage` is the hash of the payload that caused the error. `hashRefusedMessage` is ours: the hash of the
    bytes that arrived. A payload can be copied under a damaged signature, and an error about that copy must not
    count as an error about the message. A peer that speaks the draft alone leaves it out.
    """

    messageType: Literal["urn:ietf:params:satp:core:msgtype:error-msg"]
    version: Text
    type: Annotated[str, StringConstraints(pattern=r"^urn:ietf:params:satp:core:error:err_[0-9]+\.[0-9]+\.[0-9]+$")]
    status: int
    title: Text
    detail: str | None = None
    instance: str | None = None
    prevMsgType: str | None = None
    hashPrevMessage: Sha256
    hashRefusedMessage: Annotated[Sha256 | None, OURS] = None
    timestamp: Time


class SessionAbort(Message):
    """SATP 10.7. The draft's has a type and a session only; signed, chained and with a reason it cannot be forged (C8).

    `hashPrevMessage` is the last message of the peer that its author knew. `receipts` are the networks' words that
    end a lock or a mint: without the one that ended the lock, a recipient that has sent commit-ready does not follow.
    """

    messageType: Literal["urn:ietf:params:satp:core:msgtype:session-abort-msg"]
    reason: Annotated[Text, OURS]
    code: Annotated[Annotated[str, StringConstraints(pattern=CODE_PATTERN)] | None, OURS] = None
    receipts: Annotated[list[str], OURS]
    hashPrevMessage: Annotated[Sha256, OURS]
    timestamp: Annotated[Time, OURS]


AnyMessage = Annotated[
    TransferProposal
    | ProposalReceipt
    | TransferCommence
    | AckCommence
    | LockAssertion
    | AssertionReceipt
    | CommitPrepare
    | CommitReady
    | CommitFinal
    | AckCommitFinal
    | TransferComplete
    | ErrorMessage
    | SessionAbort,
    Field(discriminator="messageType"),
]

_ADAPTER: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)

_MODELS: tuple[type[Message], ...] = get_args(get_args(AnyMessage)[0])
_STEP_OF_TYPE = {
    message_type: getattr(model, "STEP", "")
    for model in _MODELS
    for message_type in get_args(model.model_fields["messageType"].annotation)
}


def short_name(message_type: object) -> str:
    """`commit-final` for `urn:ietf:params:satp:core:msgtype:commit-final-msg`."""
    return str(message_type).removeprefix(NAMESPACE).removesuffix("-msg")


def parse_message(payload: Json) -> AnyMessage:
    """A payload as one of the messages above. Refused with the draft's code for the first field that is wrong."""
    try:
        return _ADAPTER.validate_python(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = list(first["loc"][1:])  # the first part is the discriminator
        if not path:
            raise Refused("unknown messageType", code=INVALID_MESSAGE_TYPE, field="messageType") from error
        code = _find_code(_STEP_OF_TYPE[payload["messageType"]], [part for part in path if isinstance(part, str)])
        where = ".".join(map(str, path))
        raise Refused(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}", code=code, field=where) from error


def _find_code(step: str, path: list[str]) -> str:
    """The code for the innermost field that has one; what is wrong inside a claim is an unsupported format of it."""
    formats = [f"{part}Format" for part in path] + [f"{part.removesuffix('Claim')}Format" for part in path]
    codes = (satp_code(step, name) for name in [*reversed(path), *formats])
    return next((code for code in codes if code != INVALID_MESSAGE_TYPE), INVALID_MESSAGE_TYPE)


def write_message(message: AnyMessage) -> Json:
    """The payload to sign: optional fields that are absent stay absent."""
    payload: Json = message.model_dump(exclude_none=True)
    return payload


def write_error(data: bytes, refusal: Refused, now: str) -> Json:
    """The payload that answers `data`: problem details with the code of the refusal. `now` is RFC 3339."""
    code = SATP_CODES[refusal.code or INVALID_MESSAGE_TYPE]
    about = {"sessionId": NO_ID, "transferContextId": NO_ID, "hashPrevMessage": digest(data)} | _quote(data)
    return about | {
        "hashRefusedMessage": digest(data),
        "messageType": NAMESPACE + "error-msg",
        "version": VERSION,
        "type": code.urn,
        "status": code.status,
        "title": code.description,
        "detail": refusal.in_words()[:1000].encode(errors="replace").decode(),
        "timestamp": now,
    }


def peek_session(data: bytes) -> str:
    """The session that these bytes speak of, to keep apart what belongs apart; nothing is verified."""
    try:
        payload = json.loads(urlsafe_b64decode(data.split(b".")[1] + b"=="))
        return str(payload["sessionId"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def is_error(data: bytes) -> bool:
    """Whether these bytes say of themselves that they are an error; nothing is verified."""
    try:
        return read_payload(data).get("messageType") == NAMESPACE + "error-msg"
    except Refused:
        return False


def _quote(data: bytes) -> Json:
    """What an error can quote from the message that it is about; nothing from what is no message."""
    try:
        content, payload = read_payload(data), bytes(extract(data).payload)
    except Refused:
        return {}
    patterns = {"messageType": r".{1,200}", "sessionId": UUID_PATTERN, "transferContextId": r".{1,4096}"}
    found = {name: content.get(name) for name in patterns}
    found["transferContextId"] = found["transferContextId"] or content.get("contextId")  # RECOVERY's name of it
    texts = {name: text for name, text in found.items() if isinstance(text, str) and re.fullmatch(patterns[name], text)}
    if "messageType" in texts:
        texts["prevMsgType"] = texts.pop("messageType")
    return texts | {"hashPrevMessage": digest(payload)}
