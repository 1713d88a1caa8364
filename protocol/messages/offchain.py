"""LIP-1: every object that travels between two VASPs, under LIP-1's names.

    CommandRequestObject     a command, its cid, and what it asks for
    CommandResponseObject    success or failure, errors as a list
    PaymentCommand           the one command of LIP-1 that changes a shared object
    EmptyCommand             the same without an object: what sequencing alone costs, and does

    ours, because LIP-1 has no way back after a loss; George Danezis offers the first two in the discussion of it:
    GetPaymentByRef, GetPaymentHistoryByRef, ChannelHealthCheck      questions, answered with signed evidence
    HistoryOffer                                                     evidence that was not asked for

This module knows the form of each object and nothing of the state of a channel; `messages/payments` has
the rules between two versions of a payment. Validation is strict: no field is converted, none is
ignored. LIP-1 leaves two forms open: `payload_version` is a string in its table and a number in its
example (both are accepted), and addresses are lbr1 in LIP-1 and dm1 in DIP-5 (a channel has one).

What it only recommends (SHOULD) is not enforced here. Addresses are bech32 as in DIP-5, through `bech32`,
the reference code of BIP 173: typed, without dependencies, unchanged since 2020 because the format is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

import bech32
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from protocol.errors import Refused
from protocol.messages.meanings import OURS
from protocol.objects import Json

T = TypeVar("T")
M = TypeVar("M", bound="OffChainObject")
PREFIXES = ("lbr", "tlb", "dm", "tdm", "pdm")  # LIP-5 and DIP-5: which network an address is for
# bech32 of version 1 and 24 bytes, in one case; what a pattern cannot say is the checksum
ADDRESS_PATTERN = f"^({'|'.join(PREFIXES)})1p[02-9ac-hj-np-z]{{45}}$"
ADDRESS_PATTERN += "|" + ADDRESS_PATTERN.upper()
DATE_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
LARGEST = 2**53 - 1  # the largest integer that canonical JSON says exactly


# Addresses (DIP-5, "Account identifiers")


@dataclass(frozen=True)
class Address:
    """An account identifier: the network, 16 bytes of on-chain address, 8 bytes of subaddress (zero for the VASP)."""

    prefix: str
    account: bytes
    subaddress: bytes = bytes(8)

    def __str__(self) -> str:
        return _write_address(self.prefix, self.account + self.subaddress)

    def with_subaddress(self, subaddress: bytes) -> Address:
        return Address(self.prefix, self.account, subaddress)


@lru_cache(maxsize=4096)
def _write_address(prefix: str, content: bytes) -> str:
    words = bech32.convertbits(content, 8, 5)
    return bech32.bech32_encode(prefix, [1, *(words or [])])


@lru_cache(maxsize=4096)  # a channel meets few addresses, each many times
def read_address(text: str) -> Address:
    """Refused unless it is bech32 of version 1 for a known network, with address and subaddress, in one case."""
    prefix, words = bech32.bech32_decode(text) if len(text) <= 80 else (None, None)
    if prefix is None or words is None:
        raise Refused("not bech32, or its checksum is wrong", found=text[:90])
    if prefix not in PREFIXES or words[:1] != [1]:
        raise Refused("not a DIP-5 account identifier of version 1", expected=" ".join(PREFIXES), found=prefix)
    content = bech32.convertbits(words[1:], 5, 8, False)
    if content is None or len(content) != 24:
        raise Refused("an account identifier has 16 bytes of address and 8 of subaddress")
    return Address(prefix, bytes(content[:16]), bytes(content[16:]))


def _check_address(text: str) -> str:
    try:
        read_address(text)
    except Refused as error:
        raise ValueError(str(error)) from error
    return text


def _check_date(text: str) -> str:
    date.fromisoformat(text)
    return text


def _refuse_null(value: T) -> T:
    """An optional field is absent, never null. Defaults are not validated: only a null that was sent gets here."""
    if value is None:
        raise ValueError("null is not a value; leave the field out")
    return value


def _refuse_truth(value: object) -> object:
    """In Python true equals 1; on the wire it does not."""
    if value is True:
        raise ValueError("Input should be 1 or '1'")
    return value


AddressText = Annotated[str, AfterValidator(_check_address), Field(json_schema_extra={"pattern": ADDRESS_PATTERN})]
Cid = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
Country = Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]
Hex = Annotated[str, StringConstraints(pattern="^([0-9a-f]{2})+$")]
Date = Annotated[str, StringConstraints(pattern=DATE_PATTERN), AfterValidator(_check_date)]
Uint = Annotated[int, Field(ge=0, le=LARGEST)]
ReferenceId = Annotated[str, StringConstraints(pattern="^[0-9a-z]{1,80}_.{1,64}$")]
Reads = dict[ReferenceId, Cid]
Optional = Annotated[T | None, AfterValidator(_refuse_null)]


class OffChainObject(BaseModel):
    """Strict, closed, immutable; LIP-1's own spelling on the wire."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def to_json(self) -> Json:
        """The fields that are set, under LIP-1's names."""
        return self.model_dump(by_alias=True, exclude_none=True)


# Payments


class AddressObject(OffChainObject):
    city: Optional[str] = None
    country: Optional[Country] = None
    line1: Optional[str] = None
    line2: Optional[str] = None
    postal_code: Optional[str] = None
    state: Optional[str] = None


class NationalIdObject(OffChainObject):
    id_value: str
    country: Optional[Country] = None
    type: Optional[str] = None


class KYCDataObject(OffChainObject):
    payload_type: Literal["KYC_DATA"]
    payload_version: Annotated[Literal[1, "1"], BeforeValidator(_refuse_truth)]
    type: Literal["individual", "entity"]
    given_name: Optional[str] = None
    surname: Optional[str] = None
    address: Optional[AddressObject] = None
    dob: Optional[Date] = None
    place_of_birth: Optional[AddressObject] = None
    national_id: Optional[NationalIdObject] = None
    legal_entity_name: Optional[str] = None
    additional_kyc_data: Optional[str] = None


Status = Literal[
    "none",
    "needs_kyc_data",
    "needs_recipient_signature",
    "ready_for_settlement",
    "abort",
    "pending_review",
    "soft_match",
]


class StatusObject(OffChainObject):
    status: Status
    abort_code: Optional[str] = None
    abort_message: Optional[str] = None


class PaymentActorObject(OffChainObject):
    """One side of a payment. All fields are optional here: an update may carry only what it changes."""

    address: Optional[AddressText] = None
    kyc_data: Optional[KYCDataObject] = None
    status: Optional[StatusObject] = None
    metadata: Optional[list[str]] = None


class PaymentActionObject(OffChainObject):
    amount: Uint
    currency: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9]{1,10}$")]
    action: Literal["charge"]
    timestamp: Uint


class PaymentObject(OffChainObject):
    """A payment, or the fields of one that a command changes."""

    reference_id: ReferenceId
    sender: Optional[PaymentActorObject] = None
    receiver: Optional[PaymentActorObject] = None
    original_payment_reference_id: Optional[ReferenceId] = None
    recipient_signature: Optional[Hex] = None
    action: Optional[PaymentActionObject] = None
    description: Optional[Annotated[str, StringConstraints(max_length=255)]] = None


# Commands


class Command(OffChainObject):
    """What a request carries: which versions it reads, which it writes."""

    object_type: str = Field(alias="_ObjectType")
    reads: Reads = Field(alias="_reads")
    writes: Reads = Field(alias="_writes")


class PaymentCommand(Command):
    object_type: Literal["PaymentCommand"] = Field(alias="_ObjectType")
    payment: PaymentObject


class EmptyCommand(Command):
    """A command on no object at all."""

    object_type: Literal["EmptyCommand"] = Field(alias="_ObjectType")


class Evidence(OffChainObject):
    """An agreed version: the signed request that wrote it, and the signed response of the other side."""

    request: str
    response: str


class GetPaymentByRef(OffChainObject):
    object_type: Literal["GetPaymentByRef"] = Field(alias="_ObjectType")
    reference_id: ReferenceId


class GetPaymentHistoryByRef(OffChainObject):
    """`since` is a version that the asking side has; only what came after it is wanted."""

    object_type: Literal["GetPaymentHistoryByRef"] = Field(alias="_ObjectType")
    reference_id: ReferenceId
    since: Optional[Cid] = None


class ChannelHealthCheck(OffChainObject):
    """`state_lost`: the asking side has no memory, and will judge your pending commands before it does anything new."""

    object_type: Literal["ChannelHealthCheck"] = Field(alias="_ObjectType")
    state_lost: bool


class HistoryOffer(OffChainObject):
    object_type: Literal["HistoryOffer"] = Field(alias="_ObjectType")
    reference_id: ReferenceId
    history: list[Evidence]


class CommandRequestObject(OffChainObject):
    object_type: Literal["CommandRequestObject"] = Field(alias="_ObjectType")
    command_type: str
    command: Any
    cid: Cid


class PaymentRequest(CommandRequestObject):
    command: PaymentCommand


class EmptyRequest(CommandRequestObject):
    command: EmptyCommand


class PaymentByRefRequest(CommandRequestObject):
    command: GetPaymentByRef


class HistoryByRefRequest(CommandRequestObject):
    command: GetPaymentHistoryByRef


class HealthRequest(CommandRequestObject):
    command: ChannelHealthCheck


class OfferRequest(CommandRequestObject):
    command: HistoryOffer


REQUESTS: dict[str, type[CommandRequestObject]] = {
    "PaymentCommand": PaymentRequest,
    "EmptyCommand": EmptyRequest,
    "GetPaymentByRef": PaymentByRefRequest,
    "GetPaymentHistoryByRef": HistoryByRefRequest,
    "ChannelHealthCheck": HealthRequest,
    "HistoryOffer": OfferRequest,
}
# Questions are answered as things stand; every other command is judged once and answered alike for ever.
QUESTIONS = ("GetPaymentByRef", "GetPaymentHistoryByRef", "ChannelHealthCheck", "HistoryOffer")


# Responses


class OffChainErrorObject(OffChainObject):
    type: Literal["command_error", "protocol_error"]
    field: Optional[str] = None
    code: str
    message: Optional[str] = None


class PaymentByRef(OffChainObject):
    """A payment as its history makes it, and that history; the asking side computes the one from the other."""

    object_type: Literal["PaymentByRef"] = Field(alias="_ObjectType")
    payment: PaymentObject
    history: list[Evidence]


class PaymentHistoryByRef(OffChainObject):
    object_type: Literal["PaymentHistoryByRef"] = Field(alias="_ObjectType")
    reference_id: ReferenceId
    history: list[Evidence]


class ChannelHealth(OffChainObject):
    """`known` is false where nothing is remembered of this channel.

    `open` maps each open object to its head. Only for a side that lost its state: `closed`, the finished objects
    that are still kept, and `pending`, the answering side's signed requests that have no answer yet.
    `mine` and `yours` name the memories that each side has had, the present one last, as far as is known.
    """

    object_type: Literal["ChannelHealth"] = Field(alias="_ObjectType")
    known: bool
    open: Reads
    mine: list[str]
    yours: list[str]
    closed: Optional[Reads] = None
    pending: Optional[list[str]] = None


Answer = PaymentByRef | PaymentHistoryByRef | ChannelHealth


class CommandResponseObject(OffChainObject):
    """`result` is ours: LIP-1 has no command that asks."""

    object_type: Literal["CommandResponseObject"] = Field(alias="_ObjectType")
    status: Literal["success", "failure"]
    error: Optional[list[OffChainErrorObject]] = None
    cid: Optional[Cid] = None
    result: Annotated[Optional[Annotated[Answer, Field(discriminator="object_type")]], OURS] = None

    def is_final(self) -> bool:
        """Whether the same command can ever be answered otherwise (LIP-1, "Network Error Handling")."""
        return self.status == "success" or all(error.type == "command_error" for error in self.error or [])


# Reading


class Invalid(Refused):
    """One or more fields break the form or a rule. `errors` is what goes on the wire."""

    def __init__(self, errors: Iterable[OffChainErrorObject]) -> None:
        self.errors = list(errors)
        first = self.errors[0]
        super().__init__(first.message or "", code=first.code, field=first.field)

    def is_final(self) -> bool:
        return all(error.type == "command_error" for error in self.errors)


def command_error(code: str, field: str, message: str) -> Invalid:
    """A refusal that no repetition will change."""
    return Invalid([OffChainErrorObject(type="command_error", field=field, code=code, message=message)])


def protocol_error(code: str, field: str | None, message: str) -> Invalid:
    """A refusal of this moment: nothing is stored, the same command may be sent again."""
    where = {} if field is None else {"field": field}
    return Invalid([OffChainErrorObject(type="protocol_error", code=code, message=message, **where)])


_CODES = {"missing": "missing_field", "extra_forbidden": "unknown_field"}


def read_request(payload: Json) -> CommandRequestObject:
    """Refused as Invalid, with DIP-1's code and the path of every field that is wrong."""
    kind = payload.get("command_type")
    if payload.get("_ObjectType") != "CommandRequestObject":
        raise command_error("invalid_object", "_ObjectType", "a request is a CommandRequestObject")
    if "command_type" not in payload:
        raise command_error("missing_field", "command_type", "Field required")
    if not isinstance(kind, str) or kind not in REQUESTS:
        raise command_error("unknown_command_type", "command_type", f"known are {', '.join(REQUESTS)}")
    return _validate(REQUESTS[kind], payload)


def read_response(payload: Json) -> CommandResponseObject:
    return _validate(CommandResponseObject, payload)


def _validate(model: type[M], payload: Json) -> M:
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        raise Invalid(_to_error(detail) for detail in error.errors()[:20]) from None


def _to_error(detail: Any) -> OffChainErrorObject:
    """One complaint of pydantic in DIP-1's words; what was found is not repeated, it may be large or private."""
    path = ".".join(str(part) for part in detail["loc"])[:500]
    code = _CODES.get(detail["type"], "invalid_field_value")
    if path.endswith("_ObjectType") and detail["type"] == "literal_error":
        code = "invalid_object"
    return OffChainErrorObject(type="command_error", field=path, code=code, message=detail["msg"])


# Writing


def request_object(command: Json, cid: str) -> Json:
    """A request around a command."""
    return {
        "_ObjectType": "CommandRequestObject",
        "command_type": command["_ObjectType"],
        "command": command,
        "cid": cid,
    }


def success(cid: str, result: Optional[OffChainObject] = None) -> Json:
    answer: Json = {"_ObjectType": "CommandResponseObject", "status": "success", "cid": cid}
    return answer if result is None else {**answer, "result": result.to_json()}


def failure(cid: str | None, refusal: Invalid) -> Json:
    answer: Json = {
        "_ObjectType": "CommandResponseObject",
        "status": "failure",
        "error": [error.to_json() for error in refusal.errors],
    }
    return answer if cid is None else {**answer, "cid": cid}
