"""docs/openapi.json, read by a validator that is not ours, and held against what gateways and logs really answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from protocol.log import LogStorage, MemoryLog, StorageFailed
from protocol.log_api import FUNCTIONS, LogStorageAPI
from protocol.objects import Json
from protocol.steps import TABLE_1, Kind
from tests.test_log import OTHER, SESSION, extend, make_chain
from tests.wire import hear_gateways
from tools.json_schemas import ROOT, list_entries, make_schema
from tools.openapi import COMPONENTS, ENDPOINTS, list_doors

DOCUMENT: Json = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
JOSE, PLAIN = "application/jose", "application/json"
CHAIN = make_chain(4)
LINES = [entry.as_json() for entry in CHAIN]


def resolve(pointer: str) -> Any:
    found: Any = DOCUMENT
    for part in pointer.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def list_refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and isinstance(value.get("$ref"), str):
        yield value["$ref"]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from list_refs(inner)


def is_valid(schema: Json, instance: Any) -> bool:
    """Against a schema of the document, whose references are into the document."""
    return bool(Draft202012Validator(schema | {"components": DOCUMENT["components"]}).is_valid(instance))


def read_parts(content: Json) -> tuple[Json, Json]:
    """The schemas of header and payload of a message."""
    schema = content[JOSE]["schema"]
    assert schema["type"] == "string" and schema["contentMediaType"] == JOSE
    header, payload = schema["contentSchema"]["prefixItems"]
    return header, payload


# ---------------------------------------------------------------------- the document


def test_it_is_an_openapi_document() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


@pytest.mark.parametrize("broken", ["info", "responses", "title"])
def test_the_validator_would_see_a_mistake(broken: str) -> None:
    text = json.dumps(DOCUMENT).replace(f'"{broken}":', f'"{broken}s":')
    assert list(OpenAPIV31SpecValidator(json.loads(text)).iter_errors())


def test_every_reference_leads_to_something_and_every_schema_is_one() -> None:
    refs = set(list_refs(DOCUMENT))
    assert len(refs) > 30
    assert all(ref.startswith("#/") and resolve(ref) for ref in refs)
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    unused = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in DOCUMENT["components"][kind]
    }
    assert unused <= refs


def test_it_says_that_nothing_serves_it() -> None:
    info = DOCUMENT["info"]
    assert "not served" in info["summary"]
    assert (
        info["description"].startswith("Documentation of the wire")
        and "Nothing in this repository serves" in info["description"]
    )


def test_names_are_given_once_and_tags_are_explained() -> None:
    operations = [each for path in DOCUMENT["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names) == 27
    assert {tag for each in operations for tag in each["tags"]} == {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(each["summary"] and each["description"] for each in operations)


def test_the_schemas_are_those_of_the_files() -> None:
    for entry in list_entries():
        if entry.document != "LIP-1":
            schema = dict(DOCUMENT["components"]["schemas"][entry.model.__name__])
            assert schema.pop("$comment").endswith(f"/docs/schemas/{entry.path}")
            wanted = make_schema(entry, COMPONENTS + "{model}")
            assert schema == {name: value for name, value in wanted.items() if name != "$defs"}


# ---------------------------------------------------------------------- the endpoints of gateways


def find_operation(payload: Json) -> Json:
    """The one operation whose request is this message."""
    (found,) = [
        path["post"]
        for name, path in DOCUMENT["paths"].items()
        if JOSE in path.get("post", {}).get("requestBody", {}).get("content", {})
        if is_valid(read_parts(path["post"]["requestBody"]["content"])[1], payload)
    ]
    return dict(found)


def test_the_draft_names_an_endpoint_for_every_message_of_table_1() -> None:
    rows = [row.name for row in TABLE_1 if row.kind is Kind.MESSAGE]
    named = [word.rpartition(":")[2] for model in ENDPOINTS for word in _types(model)]
    assert set(rows) == set(named) - {"ack-prepare-msg"}
    for door in list_doors():
        assert bool(DOCUMENT["paths"][door.path]["post"].get("x-ours")) is not bool(set(door.models) & ENDPOINTS.keys())


def _types(model: Any) -> list[str]:
    return next(entry.types for entry in list_entries() if entry.model is model)


def test_every_message_has_its_endpoint_and_every_answer_is_listed() -> None:
    """What the real gateways answered, in transfers, aborts, refusals and recoveries."""
    answers, listed = hear_gateways().answers, 0
    assert len(answers) > 200
    for asked, answer in answers:
        responses = find_operation(asked)["responses"]
        if answer is None:
            assert "204" in responses
            continue
        status = str(answer.get("status", 200))
        assert status in responses, f"{asked['messageType']} is answered with {answer['messageType']}, {status}"
        response = responses[status]
        _, payload = read_parts((resolve(response["$ref"]) if "$ref" in response else response)["content"])
        assert is_valid(payload, answer), f"{asked['messageType']} is answered with {answer['messageType']}"
        listed += 1
    assert listed > 150


def test_an_error_has_a_code_of_its_status() -> None:
    error = next(answer for _, answer in hear_gateways().answers if answer and "status" in answer)
    for status, response in DOCUMENT["components"]["responses"].items():
        _, payload = read_parts(response["content"])
        assert is_valid(payload, error) is (int(status) == error["status"])
        assert not is_valid(payload, error | {"type": "urn:ietf:params:satp:core:error:err_9.9.9"})
        assert not is_valid(payload, error | {"status": 599})


def test_a_header_names_algorithm_and_key() -> None:
    header, _ = read_parts(DOCUMENT["paths"]["/error"]["post"]["requestBody"]["content"])
    assert is_valid(header, {"alg": "ES256", "kid": "k"})
    assert not is_valid(header, {"alg": "none", "kid": "k"}) and not is_valid(header, {"alg": "ES256"})


# ---------------------------------------------------------------------- the Log Storage API


class Unreachable(MemoryLog):
    def getLog(self, *arguments: Any, **named: Any) -> Any:
        raise StorageFailed("the store does not answer")


def ask(log: LogStorage, method: str, path: str, body: Any = None) -> int:
    """One request, answered by the package; what was asked and answered has to be in the document."""
    response = LogStorageAPI(log).handle(method, path, body)
    name, *selectors = path.split("/")
    template = "/" + "/".join([name, "{session}", "{id}"][: len(selectors) + 1])
    operation = DOCUMENT["paths"][template][method.lower()]
    for parameter, value in zip(operation["parameters"], selectors, strict=True):
        assert is_valid(parameter["schema"], value) or response.status == 404
    documented = operation["responses"][str(response.status)]["content"][PLAIN]["schema"]
    assert is_valid(documented, response.envelope), response.envelope
    assert not is_valid(documented, response.envelope | {"success": not response.envelope["success"]})
    assert not is_valid(documented, {"response_data": response.data})
    if body is not None and response.status == 200:
        assert is_valid(operation["requestBody"]["content"][PLAIN]["schema"], body)
    return response.status


def test_every_function_of_the_api_has_its_path() -> None:
    described = {
        name for name, path in DOCUMENT["paths"].items() if any(e["tags"] == ["Log Storage API"] for e in path.values())
    }
    assert {re.split("/", name)[1] for name in described} == FUNCTIONS.keys()
    for name, (method, _, ids) in FUNCTIONS.items():
        assert list(DOCUMENT["paths"][f"/{name}/{{session}}" + "/{id}" * ids]) == [method.lower()]


def test_what_the_api_answers_is_what_is_described() -> None:
    log = MemoryLog()
    assert ask(log, "GET", f"getLastEntry/{SESSION}") == 404
    for line in LINES[:2]:
        assert ask(log, "POST", f"writeLogEntry/{SESSION}", line) == 200
    assert ask(log, "GET", f"getLogEntry/{SESSION}/2") == 200
    assert ask(log, "GET", f"getLogEntry/{SESSION}/9") == 404
    assert ask(log, "GET", f"getLogLength/{SESSION}") == 200
    assert ask(log, "POST", f"getLogDiff/{SESSION}", {"log": LINES}) == 200
    assert ask(log, "POST", f"getLogDiff/{SESSION}", {"log": 7}) == 400
    assert ask(log, "GET", f"getLastEntry/{SESSION}") == 200
    assert ask(log, "GET", f"getLog/{SESSION}") == 200
    assert ask(log, "GET", f"getLog/{OTHER}") == 200
    assert ask(log, "POST", f"writeLogEntry/{SESSION}", LINES[3]) == 409
    assert ask(log, "POST", f"writeLogEntry/{OTHER}", LINES[0]) == 400
    assert ask(log, "POST", f"writeLogEntry/{SESSION}", {"no": "entry"}) == 400
    other = [entry.as_json() for entry in extend(CHAIN[:1], 1, developerUrn="urn:another")]
    assert ask(log, "POST", f"getLogDiff/{SESSION}", {"log": other}) == 409
    assert ask(Unreachable(), "GET", f"getLog/{SESSION}") == 503
