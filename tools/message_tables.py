"""The fields of every message as text for an author: in the style of the document that the message is of.

SATP and RECOVERY list their parameters, `- name REQUIRED: meaning`; LIP-1 has tables. Both are kramdown, made from the
models and from their meanings. What the documents do not have stands apart, as a proposal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel

from protocol.log import LogEntry
from protocol.messages import offchain, recovery, satp
from protocol.messages.meanings import find_meaning, is_ours
from protocol.objects import Json
from tools.json_schemas import OBJECTS, Entry, list_satp, make_schema

OPENING = """# Message tables

The fields of every message, in the style of the document that it belongs to, so that an author can paste them. They are
generated from the models that read the messages (`make schemas`); the same models give the
[JSON Schemas](schemas/README.md) and the [description of the endpoints](openapi.json). What a document does not have
follows as a proposal.
"""
AT_CREATION = "Required for payment creation"  # LIP-1's words; an update carries only what it changes
OWN_SECTION = re.compile(r" \((?:SATP|RECOVERY) [\d.]+\)")  # in its own document a section has another form
LISTED: tuple[type[BaseModel], ...] = (satp.TransferInitClaim, satp.Capabilities, *list_satp(), satp.AssertionClaim)
IN_RECOVERY: tuple[type[BaseModel], ...] = (
    recovery.Position,
    recovery.Answer,
    recovery.Takeover,
    *recovery.MODELS,
    LogEntry,
)
IN_LIP_1: tuple[type[BaseModel], ...] = (
    offchain.CommandRequestObject,
    offchain.PaymentCommand,
    offchain.EmptyCommand,
    offchain.GetPaymentByRef,
    offchain.GetPaymentHistoryByRef,
    offchain.ChannelHealthCheck,
    offchain.HistoryOffer,
    offchain.CommandResponseObject,
    *OBJECTS,
)


def write_tables() -> str:
    parts = [OPENING, "## SATP core\n", *map(write_list, LISTED)]
    parts += ["## Gateway crash recovery\n", *map(write_list, IN_RECOVERY)]
    parts += ["## LIP-1\n", *map(write_table, IN_LIP_1)]
    return "\n".join(parts)


def write_heading(model: type[BaseModel]) -> str:
    meaning = find_meaning(model)
    section = "proposed" if meaning.section == "ours" else meaning.section
    return f"### {meaning.name} ({section})\n\n{meaning.purpose}\n"


# SATP and RECOVERY


def write_list(model: type[BaseModel]) -> str:
    """The parameters, one paragraph each; what is proposed in addition comes after what the document has."""
    words = "message" if "messageType" in model.model_fields else "object"
    text = write_heading(model)
    for is_proposed, opening in (
        (False, f"The parameters of this {words} consist of the following:"),
        (True, "In addition, as a proposal:"),
    ):
        items = list(list_fields(model, is_proposed))
        if items:
            text += f"\n{opening}\n\n" + "\n\n".join(items) + "\n"
    return text


def list_fields(model: type[BaseModel], is_proposed: bool) -> Iterator[str]:
    schema = make_schema(Entry("", model, ""))
    for name in schema["properties"]:
        if is_ours(model, name) is is_proposed:
            word = "REQUIRED" if name in schema.get("required", []) else "OPTIONAL"
            values = say_values(schema["properties"][name], schema)
            meaning = "" if name == "messageType" and "MUST" in values else say_meaning(model, name)
            yield f"- {name} {word}: {OWN_SECTION.sub('', meaning)} {values}".replace("  ", " ").rstrip()


def say_meaning(model: type[BaseModel], field: str) -> str:
    return next(
        meaning.fields[field]
        for each in model.__mro__
        if issubclass(each, BaseModel) and each is not BaseModel
        for meaning in [find_meaning(each)]
        if field in meaning.fields
    )


def say_values(field: Json, schema: Json) -> str:
    """The values of a closed list."""
    if "$ref" in field:
        field = schema["$defs"][field["$ref"].rpartition("/")[2]]
    if "const" in field:
        return f"It MUST be the value {field['const']}."
    if "enum" in field:
        return "The values allowed are " + ", ".join(f'"{value}"' for value in field["enum"]) + "."
    return ""


# LIP-1


def write_table(model: type[BaseModel]) -> str:
    """LIP-1's columns. A row of a field that LIP-1 does not have says so."""
    schema = make_schema(Entry("", model, ""))
    rows = ["| Field | Type | Required? | Description |", "|---|---|---|---|"]
    is_proposal = find_meaning(model).section == "ours"
    for name, info in model.model_fields.items():
        alias = info.alias or name
        required = "Y" if alias in schema.get("required", []) else "N"
        required = AT_CREATION if AT_CREATION in say_meaning(model, name) else required
        words = "Proposed. " if is_ours(model, name) and not is_proposal else ""
        rows.append(
            f"| {alias} | {say_type(schema['properties'][alias])} | {required} | {words}{say_meaning(model, name)} |"
        )
    return write_heading(model) + "\n" + "\n".join(rows) + "\n"


def say_type(field: Json) -> str:
    """A type as LIP-1 writes it."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "oneOf" in field:
        return " or ".join(say_type(each) for each in field["oneOf"])
    if field.get("type") == "array":
        return f"list of {say_type(field['items'])}"
    if field.get("type") == "object":
        return "JSON object map"
    if "enum" in field:
        return "str (enum)"
    return {"string": "str", "integer": "uint", "boolean": "bool"}.get(str(field.get("type")), "Command object")
