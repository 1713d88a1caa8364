"""The wire as an OpenAPI 3.1 document: the endpoints of a gateway, and the Log Storage API.

Documentation of the wire: no server of this repository serves it, and `info` says so. The drafts name
endpoints and give them no paths; the paths here are those names. Where the drafts name none, the endpoint is ours.
Message schemas are those of docs/schemas, in one place; a message travels as a compact JWS, whose parts
`contentSchema` describes. Requests and statuses of the Log Storage API are read from the module that answers them.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

from pydantic import BaseModel

from protocol.errors import SATP_CODES
from protocol.log import LogEntry
from protocol.log_api import FUNCTIONS, STATUSES
from protocol.messages import recovery, satp
from protocol.messages.meanings import find_meaning
from protocol.objects import Json
from tools.json_schemas import DIALECT, list_entries, list_satp, make_schema, name_schema, short_name

COMPONENTS = "#/components/schemas/"
JOSE = "application/jose"
NOT_SERVED = (
    "Documentation of the wire, generated from the models of the messages. Nothing in this repository serves these "
    "paths over HTTP: here messages travel over simulated links and over TLS in memory. SATP names endpoints and gives "
    "them no paths; the paths below are those names. What no document has is marked `x-ours`."
)
SERVERS = [
    {"url": "https://{gateway}", "description": "a gateway", "variables": {"gateway": {"default": "gateway.example"}}}
]
ENDPOINTS: dict[type[BaseModel], str] = {  # the drafts' names; what is not here has none
    satp.TransferProposal: "Transfer Initialization Endpoint",
    satp.ProposalReceipt: "Transfer Proposal Endpoint",
    satp.TransferCommence: "Transfer Commence Endpoint",
    satp.AckCommence: "Transfer Commence Endpoint",
    satp.LockAssertion: "Lock Assertion Endpoint",
    satp.AssertionReceipt: "Assertion Receipt Endpoint",
    satp.CommitPrepare: "Commit Prepare Endpoint",
    satp.CommitReady: "Commit Ready Endpoint",
    satp.CommitFinal: "Commit Final Assertion Endpoint",
    satp.AckCommitFinal: "Commit Final Receipt Endpoint",
    satp.TransferComplete: "Transfer Complete Endpoint",
}
STAGES = {"1": "Transfer Initiation (Stage 1)", "2": "Lock Assertion (Stage 2)", "3": "Commitment (Stage 3)"}
IN_TURN: tuple[type[satp.Message], ...] = tuple(model for model in list_satp() if hasattr(model, "STEP"))
OF_A_SESSION: tuple[type[BaseModel], ...] = (*IN_TURN, satp.SessionAbort, recovery.Rollback)
ANSWERS: dict[type[BaseModel], tuple[type[BaseModel], ...]] = {
    **{one: (other, satp.SessionAbort, recovery.Rollback) for one, other in pairwise(IN_TURN)},
    satp.TransferComplete: (),
    satp.ErrorMessage: (satp.SessionAbort,),
    satp.SessionAbort: (satp.SessionAbort,),
    recovery.TransferResume: (recovery.TransferContinue,),
    recovery.TransferContinue: (recovery.Recover, *OF_A_SESSION),
    recovery.Recover: (recovery.RecoverUpdate, recovery.RecoverDispute),
    recovery.RecoverUpdate: (recovery.RecoverUpdateAck, recovery.RecoverDispute),
    recovery.RecoverUpdateAck: (recovery.RecoverSuccess, recovery.RecoverDispute),
    recovery.RecoverSuccess: OF_A_SESSION,
    recovery.RecoverDispute: (recovery.RecoverDispute,),
    recovery.Rollback: (recovery.RollbackAck, satp.SessionAbort),
    recovery.RollbackAck: (),
}


class Door(NamedTuple):
    """A path, and the messages that are sent there."""

    path: str
    name: str
    tag: str
    models: list[type[BaseModel]]
    is_ours: bool


def list_doors() -> list[Door]:
    """The paths of a gateway, in the order of a transfer, then of a recovery."""
    doors: dict[str, Door] = {}
    for model in (*list_satp(), *recovery.MODELS):
        place = "/recovery/" if model in recovery.MODELS else "/"
        name = ENDPOINTS.get(model, f"{find_meaning(model).name} Endpoint")
        words = name.removesuffix(" Endpoint") if model in ENDPOINTS else short_name(model)
        path = place + words.lower().replace(" ", "-")
        stage = STAGES.get(str(getattr(model, "STEP", ""))[:1], "Errors and aborts")
        tag = "Recovery" if model in recovery.MODELS else stage
        doors.setdefault(path, Door(path, name, tag, [], model not in ENDPOINTS)).models.append(model)
    return list(doors.values())


def make_document(version: str) -> Json:
    doors = list_doors()
    tags = [*dict.fromkeys(door.tag for door in doors), "Log Storage API"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gateway messages, crash recovery and the Log Storage API",
            "version": version,
            "summary": "Documentation of the wire; not served by this repository.",
            "description": NOT_SERVED,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": DIALECT,
        "servers": SERVERS,
        "security": [{"gateways": []}],
        "tags": [{"name": tag, "description": describe_tag(tag)} for tag in tags],
        "paths": {door.path: {"post": make_operation(door)} for door in doors} | write_log_paths(),
        "components": {
            "schemas": write_components(),
            "responses": write_errors(),
            "securitySchemes": {
                "gateways": {"type": "mutualTLS", "description": "TLS 1.3 between gateways (SATP 5.4.1)."},
            },
        },
    }


def describe_tag(tag: str) -> str:
    return {
        "Errors and aborts": "What either gateway can send at any point (SATP 10.6, 10.7, 11.3).",
        "Recovery": "What travels after a crash (RECOVERY 5.3), and the two messages before it. All paths are ours.",
        "Log Storage API": "Requests to a log (RECOVERY 3.4). Where a log is of one session only, the draft's own "
        "paths name the same functions: `getLogLength`, `getLogEntry/{id}`.",
    }.get(tag, "Messages of this stage (SATP 6).")


# Messages of gateways


def make_operation(door: Door) -> Json:
    """One endpoint: which messages it takes, what comes back."""
    sections = list(dict.fromkeys(find_meaning(model).section for model in door.models))
    names = " or ".join(find_meaning(model).name for model in door.models)
    words = f"Takes: {names} ({', '.join(sections)})."
    if door.is_ours:
        words += " The document names no endpoint for it; this one is ours."
    operation: Json = {
        "operationId": re.sub(r"\W+", "-", door.path).strip("-"),
        "tags": [door.tag],
        "summary": door.name,
        "description": words,
        "requestBody": {"required": True, "content": {JOSE: {"schema": write_jws(door.models)}}},
        "responses": write_responses(door),
    }
    return operation | ({"x-ours": True} if door.is_ours else {})


def write_jws(models: list[type[BaseModel]], *narrower: Json) -> Json:
    """A compact JWS: its protected header and its payload, as RFC 7515 puts them together."""
    payloads: list[Json] = [{"$ref": COMPONENTS + model.__name__} for model in models]
    payload = payloads[0] if len(payloads) == 1 else {"oneOf": payloads}
    return {
        "type": "string",
        "pattern": satp.JWS_PATTERN,
        "contentMediaType": JOSE,
        "contentSchema": {
            "type": "array",
            "minItems": 2,
            "prefixItems": [
                {"$ref": COMPONENTS + "ProtectedHeader"},
                {"allOf": [payload, *narrower]} if narrower else payload,
            ],
        },
    }


def write_responses(door: Door) -> Json:
    answers = list(dict.fromkeys(answer for model in door.models for answer in ANSWERS[model]))
    responses: Json = {}
    if answers:
        names = ", ".join(find_meaning(answer).name for answer in answers[:2])
        responses["200"] = {
            "description": f"The gateway's own next message: {names}{', or another' * (len(answers) > 2)}.",
            "content": {JOSE: {"schema": write_jws(answers)}},
        }
    responses["204"] = {"description": "Taken. Nothing is answered now; what follows is sent to the peer's endpoint."}
    if satp.ErrorMessage in door.models:  # an error is never answered with an error
        return responses
    steps = {"0.1", *(str(getattr(model, "STEP", "")) for model in door.models)}
    for status in sorted({code.status for code in SATP_CODES.values() if code.step in steps}):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return responses


def write_errors() -> Json:
    """One response for each status of SATP 11.4, with the codes that have it."""
    responses: Json = {}
    for status in sorted({code.status for code in SATP_CODES.values()}):
        codes = [code for code in SATP_CODES.values() if code.status == status]
        words = "; ".join(f"{code.code} {code.description}" for code in codes)
        only = {"properties": {"status": {"const": status}, "type": {"enum": [code.urn for code in codes]}}}
        responses[str(status)] = {
            "description": f"Problem details (SATP 11.3, RFC 9457), signed like every message: {words}.",
            "content": {JOSE: {"schema": write_jws([satp.ErrorMessage], only)}},
        }
    return responses


def write_components() -> Json:
    """Every schema by the name of its model; the same as in docs/schemas."""
    found: Json = {
        "ProtectedHeader": {
            "title": "Protected header of a message",
            "description": "The JOSE header of the JWS (RFC 7515), base64url encoded as its first part.",
            "type": "object",
            "required": ["alg", "kid"],
            "properties": {
                "alg": {"const": "ES256", "description": "ECDSA with P-256 and SHA-256 (SATP 5.2)."},
                "kid": {"type": "string", "description": "The thumbprint of the key (RFC 7638)."},
            },
        }
    }
    for entry in list_entries():
        if entry.document in ("SATP", "RECOVERY"):
            schema = make_schema(entry, COMPONENTS + "{model}")
            inner = schema.pop("$defs", {})
            found |= {name: inner[name] for name in inner if name not in found}
            found[entry.model.__name__] = {"$comment": f"as {name_schema(entry.path)}"} | schema
    return found


# The Log Storage API


def write_log_paths() -> Json:
    return {
        f"/{name}/{{session}}" + "/{id}" * ids: {method.lower(): make_log_operation(name, method, ids)}
        for name, (method, _, ids) in FUNCTIONS.items()
    }


ENTRY = {"$ref": COMPONENTS + LogEntry.__name__}
NUMBER = {"type": "string", "pattern": "^[0-9]+$"}
ENTRIES = {"type": "array", "items": ENTRY}
LOG_FUNCTIONS: dict[str, tuple[str, Json, Json | None]] = {  # what it does, the answer's data, the body
    "writeLogEntry": ("Append a log entry; the answer is its index.", NUMBER, ENTRY),
    "getLogEntry": ("Obtain a log entry.", ENTRY, None),
    "getLogLength": ("Obtain the length of the log.", NUMBER, None),
    "getLogDiff": (
        "Obtain the difference between a given log and this one: what the given log has more.",
        ENTRIES,
        {"type": "object", "required": ["log"], "properties": {"log": ENTRIES}},
    ),
    "getLastEntry": ("Obtain the last log entry.", ENTRY, None),
    "getLog": ("Obtain the whole log.", ENTRIES, None),
}
REFUSALS = {
    400: "The body is no entry or log (ours).",
    404: "There is no such function, session or entry (ours).",
    405: "The function exists, with the other method (ours).",
    409: "Another entry has the place, the writer was fenced off, or the logs have parted (ours).",
    500: "The stored log is broken (RECOVERY 3.4.1).",
    503: "The store could not answer, and whether the entry is there is not known: send it again (RECOVERY 3.4.1).",
}


def make_log_operation(name: str, method: str, ids: int) -> Json:
    words, data, body = LOG_FUNCTIONS[name]
    session = {"name": "session", "in": "path", "required": True, "schema": {"type": "string"}}
    number = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]{1,16}$"}}
    operation: Json = {
        "operationId": name,
        "tags": ["Log Storage API"],
        "summary": words,
        "description": "RECOVERY 3.4. The path names the session; the draft's names no log, and has the body in it.",
        "parameters": [session | {"description": "The session whose log it is (ours)."}]
        + [number | {"description": "The sequence number of the entry."}] * ids,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    responses = {"200": describe_envelope("Done.", True, data)}
    statuses = sorted({status for _, status in STATUSES} - {405} - ({409} if body is None else set()))
    responses |= {str(status): describe_envelope(REFUSALS[status], False, REASON) for status in statuses}
    return operation | {"responses": responses}


REASON: Json = {
    "type": "object",
    "required": ["reason"],
    "properties": {
        "reason": {"type": "string", "description": "What is wrong, in words (ours)."},
        "field": {"type": "string", "description": "The path of the field that is wrong (ours)."},
        "expected": {"description": "What was expected (ours)."},
        "found": {"description": "What was found (ours)."},
    },
}


def describe_envelope(words: str, is_success: bool, data: Any) -> Json:
    """The two fields of RECOVERY 3.4.1."""
    schema = {
        "type": "object",
        "required": ["success", "response_data"],
        "additionalProperties": False,
        "properties": {"success": {"const": is_success}, "response_data": data},
    }
    return {"description": words, "content": {"application/json": {"schema": schema}}}
