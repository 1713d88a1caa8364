"""The two notations that RECOVERY 4 writes log entries in, read as one.

The draft lists the fields of an entry and then gives two examples. The first writes "Session ID" and
"Sequence Number", a number as UNIX time and a payload that is a text; the second "seqNumber" and
"phaseId", the time as a string, and leaves out most of what the list requires (R12). `read_entry` takes
both, and the camelCase of this project, by one table of names; it refuses with the field that does not
fit. It only reads: what is written has one notation.

What an example leaves out stays empty, and nothing is invented for it: an empty `lastEntryHash` belongs
to no chain, so such an entry can be shown and compared, but never appended. Two things are translated:

    credential block    the token becomes its digest at once: it must not get into a log (R8)
    operation           the second example has none; it is the last word of `payload.message`

The second example is not JSON as printed: its last brace is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from protocol.errors import Refused
from protocol.log import LogEntry, Operation, validate_entry
from protocol.objects import Json, digest

NAMES = {
    "Version": "version",
    "Session ID": "sessionId",
    "Context ID": "contextId",
    "Sequence Number": "sequenceNumber",
    "SATP Phase": "satpPhase",
    "Resource URL": "resourceUrl",
    "Developer URN": "developerUrn",
    "Action/Response": "actionResponse",
    "Credential Profile": "credentialProfile",
    "Credential Block": "credentialBlock",
    "Payload Profile": "payloadProfile",
    "Application Profile": "applicationProfile",
    "Payload": "payload",
    "Payload Hash": "payloadHash",
    "origin_gateway_pubkey": "originGatewayPubkey",
    "origin_gateway_system": "originGatewaySystem",
    "destination_gateway_pubkey": "destinationGatewayPubkey",
    "destination_gateway_system": "destinationGatewaySystem",
    "logging_profile": "loggingProfile",
    "Message_signature": "messageSignature",
    "Last_entry_hash": "lastEntryHash",
    "Access_control_profile": "accessControlProfile",
    "Operation": "operation",
    "recovery message": "recoveryMessage",
    "recovery payload": "recoveryPayload",
    # the second example
    "seqNumber": "sequenceNumber",
    "phaseId": "satpPhase",
    "originNetworkId": "originGatewaySystem",
    "destinationNetworkId": "destinationGatewaySystem",
}

# The three flows of RECOVERY 4 are the stages of SATP; the examples name them freely.
PHASES = {
    "initialization": 1,
    "transfer initiation": 1,
    "transfer initiation flow": 1,
    "lock": 2,
    "lock-evidence": 2,
    "lock-evidence flow": 2,
    "commit": 3,
    "commitment establishment": 3,
    "commitment establishment flow": 3,
}
TIME = "UNIX seconds or RFC 3339"
LEFT_OUT = {"version": "", "contextId": "", "gatewayId": "", "step": "", "payloadHash": "", "lastEntryHash": ""}


def read_entry(source: Mapping[str, Any] | str | bytes) -> LogEntry:
    """An entry in any notation of RECOVERY 4. Refused with the field, by the name it has in `source`."""
    content = source if isinstance(source, Mapping) else _parse(source)
    fields: Json = {}
    for name, value in content.items():
        field = NAMES.get(name, name)
        if field not in LogEntry.model_fields:
            raise Refused(f"log entry: {name!r} is no field of RECOVERY 4", field=name)
        if field in fields:
            raise Refused(f"log entry: {name!r} says {field} a second time", field=name)
        fields[field] = _READERS[name](value, name) if name in _READERS else value
    if "operation" not in fields:
        fields["operation"] = _read_operation(fields.get("payload"))
    return validate_entry(LEFT_OUT | fields)


def _parse(source: str | bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise Refused(f"log entry: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Refused("log entry: not an object", expected="a JSON object", found=type(content).__name__)
    return content


def _read_time(value: Any, name: str) -> str:
    """UNIX seconds, as a number or as digits, become RFC 3339."""
    if isinstance(value, str) and not value.isascii():
        raise Refused(f"log entry: {name} is no time", field=name, expected=TIME, found=value)
    if isinstance(value, str) and not value.isdigit():
        try:
            datetime.fromisoformat(value)
        except ValueError as error:
            raise Refused(f"log entry: {name} is no time", field=name, expected=TIME, found=value) from error
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Refused(f"log entry: {name} is no time", field=name, expected=TIME, found=value)
    try:
        return datetime.fromtimestamp(int(value), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError) as error:
        raise Refused(f"log entry: {name} is no time", field=name, expected=TIME, found=value) from error


def _read_phase(value: Any, name: str) -> Any:
    """A stage by its number or by one of the draft's words."""
    if isinstance(value, int) and not isinstance(value, bool) and value in (1, 2, 3):
        return value
    phase = PHASES.get(value.lower()) if isinstance(value, str) else None
    if phase is None:
        raise Refused(f"log entry: {name}", field=name, expected="1, 2, 3 or the name of a flow", found=value)
    return phase


def _read_payload(value: Any, name: str) -> Json:
    """RECOVERY 4 allows "a free format field": what is not an object is kept as text."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"text": value}
    raise Refused(f"log entry: {name} is neither an object nor a text", field=name, found=type(value).__name__)


def _read_credential(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Refused(f"log entry: {name}", field=name, expected="a text", found=type(value).__name__)
    return digest(value.encode("utf-8", "surrogatepass"))


def _read_operation(payload: Any) -> Operation:
    """The second example says `LOCK_ASSET_ACK` in its payload and nothing else."""
    words = payload.get("message") if isinstance(payload, dict) else None
    last = words.rpartition("_")[2].lower() if isinstance(words, str) else ""
    if last not in tuple(Operation):
        raise Refused("log entry: operation is missing, and payload.message does not end in one", field="operation")
    return Operation(last)


_READERS = {
    "timestamp": _read_time,
    "SATP Phase": _read_phase,
    "phaseId": _read_phase,
    "satpPhase": _read_phase,
    "Payload": _read_payload,
    "payload": _read_payload,
    "Credential Block": _read_credential,
}
