"""JSON Schemas (2020-12) of every message, made from the models that the package reads messages with.

A schema says what is sent: an optional field is left out where it has no value, never null. Titles and descriptions
come from `protocol/messages/meanings.py`; what no document has is marked `x-ours`. Each file stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from protocol.log import LogEntry
from protocol.messages import offchain, recovery, satp
from protocol.messages.meanings import describe_field, find_meaning, is_ours
from protocol.objects import Json

ROOT = Path(__file__).resolve().parent.parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
OBJECTS: tuple[type[BaseModel], ...] = (
    offchain.PaymentObject,
    offchain.PaymentActorObject,
    offchain.KYCDataObject,
    offchain.AddressObject,
    offchain.NationalIdObject,
    offchain.StatusObject,
    offchain.PaymentActionObject,
    offchain.OffChainErrorObject,
    offchain.Evidence,
    offchain.PaymentByRef,
    offchain.PaymentHistoryByRef,
    offchain.ChannelHealth,
)


# Words of JSON Schema for what a pattern alone cannot say: February has no thirtieth day.
FORMATS = {satp.UUID_PATTERN: "uuid", satp.TIME_PATTERN: "date-time", offchain.DATE_PATTERN: "date"}


class Entry(NamedTuple):
    """One file: its place below docs/schemas, the model, and the document that the model is of."""

    path: str
    model: type[BaseModel]
    document: str

    @property
    def title(self) -> str:
        return find_meaning(self.model).name + (f" with {self.command}" if self.command else "")

    @property
    def command(self) -> str:
        """The type of the command in a request of LIP-1; other models have none."""
        return next((name for name, model in offchain.REQUESTS.items() if model is self.model), "")

    @property
    def section(self) -> str:
        return find_meaning(self.model).section

    @property
    def types(self) -> list[str]:
        """The values of messageType that say that it is this message."""
        field = self.model.model_fields.get("messageType")
        return list(get_args(field.annotation)) if field else []


def list_entries() -> list[Entry]:
    """Every message and object, document by document, in the order of the documents."""
    entries = [Entry(f"satp/{short_name(model)}.json", model, "SATP") for model in list_satp()]
    entries += [Entry(f"recovery/{short_name(model)}.json", model, "RECOVERY") for model in recovery.MODELS]
    entries.append(Entry("recovery/LogEntry.json", LogEntry, "RECOVERY"))
    for name, model in offchain.REQUESTS.items():
        entries.append(Entry(f"lip-1/CommandRequestObject.{name}.json", model, "LIP-1"))
    responses: tuple[type[BaseModel], ...] = (offchain.CommandResponseObject, *OBJECTS)
    return entries + [Entry(f"lip-1/{model.__name__}.json", model, "LIP-1") for model in responses]


def list_satp() -> tuple[type[satp.Message], ...]:
    return cast(tuple[type[satp.Message], ...], get_args(get_args(satp.AnyMessage)[0]))


def short_name(model: type[BaseModel]) -> str:
    """`commit-final`, from the first type that the model has."""
    message_type = str(get_args(model.model_fields["messageType"].annotation)[0])
    return message_type.rpartition(":")[2].removesuffix("-msg")


class InTheDocumentsWords(GenerateJsonSchema):
    """pydantic's schemas, with the documents' words in place of Python's, and without null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # the name of the field is its title

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])  # the only default is: absent

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        return {"oneOf": super().tagged_union_schema(schema)["oneOf"]}  # `discriminator` is a word of OpenAPI only

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        found = super().str_schema(schema)
        named = FORMATS.get(str(found.get("pattern")))
        return found | {"format": named} if named else found

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        return found | {"additionalProperties": False} if "patternProperties" in found else found

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        return {"enum": [member.value for member in schema["members"]], "type": "string"}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found, model = super().model_schema(schema), cast(type[BaseModel], schema["cls"])
        meaning = find_meaning(model)
        found |= {"title": meaning.name, "description": f"{meaning.purpose.removesuffix('.')} ({meaning.section})."}
        for name, field in model.model_fields.items():
            inner = found["properties"][field.alias or name]
            inner["description"] = describe_field(model, name)
            if is_ours(model, name):
                inner["x-ours"] = True
        return found


def make_schema(entry: Entry, ref_template: str = "#/$defs/{model}") -> Json:
    """The schema of one message, with all that it needs inside; keys in the order in which they are read."""
    found = entry.model.model_json_schema(schema_generator=InTheDocumentsWords, ref_template=ref_template)
    if entry.command:
        found["properties"]["command_type"]["const"] = entry.command
        found["title"] = entry.title
    first = ("title", "description", "type", "required", "properties", "additionalProperties", "$defs")
    return {name: found[name] for name in first if name in found}


def name_schema(path: str) -> str:
    """The `$id`: where the file is in the repository that CITATION.cff names."""
    repository = re.search(r"repository-code: https://github\.com/(\S+)", (ROOT / "CITATION.cff").read_text("utf-8"))
    assert repository
    return f"https://raw.githubusercontent.com/{repository[1]}/HEAD/docs/schemas/{path}"


def write_schemas() -> Iterator[tuple[str, Json]]:
    """Each file with its content, and the index of them all."""
    entries = list_entries()
    for entry in entries:
        yield entry.path, {"$schema": DIALECT, "$id": name_schema(entry.path)} | make_schema(entry)
    yield "index.json", {"dialect": DIALECT, "schemas": [describe_entry(entry) for entry in entries]}


def describe_entry(entry: Entry) -> Json:
    described: Json = {
        "file": entry.path,
        "$id": name_schema(entry.path),
        "title": entry.title,
        "document": entry.document,
        "section": entry.section,
    }
    if entry.types:
        described["messageType"] = entry.types
    if entry.command:
        described["command_type"] = entry.command
    return described
