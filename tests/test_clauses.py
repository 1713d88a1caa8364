"""The clause index: nothing is forgotten, everything that a clause names is there, and the page is what it gives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from protocol.errors import Refused
from protocol.messages.satp import AnyMessage, Message, parse_message, write_error
from protocol.network import World
from protocol.objects import Json
from protocol.session import Session
from protocol.signing import read_payload
from protocol.steps import find_row
from protocol.views import SECTIONS
from tests.test_bad_input import change, receive_refused, stop_before
from tests.test_every_message import completed
from tools import clauses
from tools.citations import DOCUMENTS, ROOT
from tools.clauses import Clause, find_faults, read_all, read_counts, render_page

ALL = read_all()
GOOD = Clause(
    "SATP", "8.3 example", "8.3", "MUST", "An example.", "kept", code=["protocol/steps.py::find_row"], findings=["C8"]
)


# ---------------------------------------------------------------------- the index as it is


def test_there_is_nothing_wrong_with_the_index() -> None:
    assert list(find_faults(ALL)) == []


def test_the_page_is_what_the_index_gives() -> None:
    assert clauses.PAGE.read_text(encoding="utf-8") == render_page(ALL), "run make links"


@pytest.mark.parametrize("path", clauses.list_files(), ids=lambda path: path.stem)
def test_the_files_are_written_in_one_way(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    data = json.loads(text)
    assert text == clauses.write_json(data)
    assert all(value for clause in data["clauses"] for value in clause.values()), "what is empty is left out"
    order = list(DOCUMENTS[data["document"]]["sections"])
    places = [order.index(clause["section"]) for clause in data["clauses"]]
    assert places == sorted(places), "clauses come in the order of the document"


def test_satp_core_is_counted_to_its_last_keyword() -> None:
    """156 words in capitals, ten of which are the list of keywords in section 2."""
    counted = sum((Counter(words) for words in read_counts()["SATP"].values()), Counter[str]())
    assert counted == {"REQUIRED": 88, "MUST": 43, "OPTIONAL": 9, "SHOULD": 3, "MAY": 3}
    assert counted.total() == 156 - 10 == sum(clause.document == "SATP" for clause in ALL)


def test_the_page_counts_and_lists_every_clause() -> None:
    page = render_page(ALL)
    for document in dict.fromkeys(clause.document for clause in ALL):
        own = [clause for clause in ALL if clause.document == document]
        stand = " | ".join(str(sum(clause.standing == each for clause in own)) for each in clauses.STANDINGS)
        assert f"| **all** | {len(own)} | {stand} |" in page
    assert all(f'<a id="{clause.anchor}"></a>' in page for clause in ALL)
    assert len({clause.anchor for clause in ALL}) == len(ALL)
    exceptions = sum(clause.standing in ("partly", "not done") for clause in ALL)
    assert page.count("\n* [") == exceptions


# ---------------------------------------------------------------------- what would be wrong


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"standing": ""}, "'' is no standing"),
        ({"standing": "perhaps"}, "'perhaps' is no standing"),
        ({"code": []}, "it is kept, but no code, test or cell is named"),
        ({"standing": "partly"}, "it is 'partly', and nothing says why"),
        ({"standing": "not done", "why": " "}, "it is 'not done', and nothing says why"),
        ({"standing": "needs no code", "why": "so"}, "it needs no code, and names some"),
        ({"keyword": "WILL"}, "'WILL' is no keyword of this document"),
        ({"keyword": "must"}, "'must' is no keyword of this document"),
        ({"section": "99"}, "there is no section 99"),
        ({"says": " "}, "it says nothing"),
        ({"findings": ["C8", "C99"]}, "there is no finding C99"),
        ({"code": ["protocol/nothing.py::f"]}, "there is no file protocol/nothing.py"),
        ({"code": ["protocol/steps.py::find_no_row"]}, "protocol/steps.py has no find_no_row"),
        ({"code": ["protocol/steps.py::Row.colour"]}, "protocol/steps.py has no Row.colour"),
        ({"code": ["protocol/steps.py::find_row::no such words"]}, "has no line with the words"),
        ({"test": ["tests/test_steps.py::test_nothing"]}, "tests/test_steps.py has no test_nothing"),
        ({"test": ["tests/test_bad_input.py::stop_before"]}, "names no test"),
        ({"test": ["tests/test_none.py::test_nothing"]}, "there is no file tests/test_none.py"),
        ({"notebook": ["05 words that nobody wrote"]}, "notebook 05 has no cell with the words"),
        ({"notebook": ["05"]}, "notebook 05 has no cell with the words"),
        ({"notebook": ["99 words"]}, "there is no notebook 99"),
    ],
    ids=str,
)
def test_a_faulty_clause_is_found(changed: dict[str, Any], words: str) -> None:
    faulty = replace(GOOD, **changed)
    said = [fault for fault in find_faults([*ALL, faulty]) if fault.startswith(f"{faulty.document}, {faulty.id}:")]
    assert len(said) == 1 and words in said[0]


def test_an_id_that_comes_twice_is_found() -> None:
    assert [fault for fault in find_faults([*ALL, ALL[0]]) if "the id is there twice" in fault]


@pytest.mark.parametrize("clause", [ALL[0], ALL[-1]], ids=lambda clause: clause.id)
def test_a_clause_that_is_forgotten_or_invented_is_found(clause: Clause) -> None:
    count = read_counts()[clause.document][clause.section][clause.keyword]
    wanted = f"{clause.document} {clause.section}: the document has {count} {clause.keyword}, the index"
    forgotten = [each for each in ALL if each is not clause]
    assert list(find_faults(forgotten)) == [f"{wanted} {count - 1}"]
    assert list(find_faults([*ALL, replace(clause, id="another")])) == [f"{wanted} {count + 1}"]


def test_a_sentence_without_a_keyword_is_a_clause_and_is_not_counted() -> None:
    assert list(find_faults([*ALL, replace(GOOD, keyword=clauses.SENTENCE)])) == []


def test_a_document_without_its_file_is_found() -> None:
    assert sum("the index 0" in fault for fault in find_faults([])) >= 40


# ---------------------------------------------------------------------- where references lead


def read_line(place: clauses.Place) -> str:
    return (ROOT / place.file).read_text(encoding="utf-8").split("\n")[int(place.fragment[1:]) - 1]


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("protocol/steps.py::find_row", "def find_row(number: str) -> Row:"),
        ("protocol/steps.py::TABLE_1", "TABLE_1: tuple[Row, ...] = ("),
        ("protocol/steps.py::Role.other", "    def other(self) -> Role:"),
        ("protocol/steps.py::FIRST", "FIRST, LAST = TABLE_1[0], TABLE_1[-1]"),
        ("protocol/messages/satp.py::TransferInitClaim.digitalAssetId", "    digitalAssetId: Text"),
        ("protocol/steps.py::Row.is_action::return", "        return self.kind is Kind.ACTION"),
    ],
)
def test_a_reference_to_code_leads_to_its_line(reference: str, line: str) -> None:
    assert read_line(clauses.resolve_code(reference)) == line


def test_a_reference_to_a_test_or_a_cell_leads_there() -> None:
    place = clauses.resolve_test("tests/test_steps.py::test_the_table_is_the_figure")
    assert read_line(place).startswith("def test_the_table_is_the_figure(")
    assert place.name == "test: the table is the figure"
    cell = clauses.resolve_cell("05 lockAssertionClaimFormat LOCK_ASSERTION_CLAIM_FORMAT_1")
    assert cell.file == "notebooks/05_a_transfer.ipynb"
    notebook = json.loads((ROOT / cell.file).read_text(encoding="utf-8"))
    (found,) = [each for each in notebook["cells"] if each["id"] == cell.fragment]
    assert found["source"] == ['transfer.step("2.2")']


# ---------------------------------------------------------------------- counting a document


def count(document: str, text: str) -> dict[str, dict[str, int]]:
    return clauses.count_document(document, text)


def test_how_the_keywords_of_a_document_are_counted() -> None:
    text = """MUST
# Introduction
The words "MUST" and "MAY" are spoken of; it must not count. MUST NOT is one word, a MUSTARD none.
# Conventions used in this document
~~~
MUST
# no heading
~~~
- a field OPTIONAL: it MAY be; SHOULD NOT, NOT RECOMMENDED
"""
    assert count("SATP", text) == {
        "": {"MUST": 1},
        "1": {"MUST NOT": 1},
        "2": {"OPTIONAL": 1, "MAY": 1, "SHOULD NOT": 1, "NOT RECOMMENDED": 1},
    }


def test_lip_1_has_its_keywords_in_small_letters_and_in_a_column() -> None:
    text = """# Summary
It must be, it must not be. (A MUST is none.)
| Field | Type | Required? | Description |
|---|---|---|---|
| a | str | Y | Y or N |
| b | str | N     | it may be |
| c | str | Required for payment creation | |
"""
    assert count("LIP-1", text) == {"Summary": {"must": 1, "must not": 1, "Y": 1, "N": 1, "may": 1, "Required": 1}}


def test_a_heading_that_nobody_knows_stops_the_count() -> None:
    with pytest.raises(SystemExit, match="'Another' stands where 2 is expected"):
        count("SATP", "# Introduction\n# Another\n")


# ---------------------------------------------------------------------- the fields of SATP core, one by one


@cache
def make_messages() -> dict[str, tuple[Json, str]]:
    """For each section a message with all its fields, and the part of it that the section describes."""
    steps = {section: (completed()[step], "") for step, section in SECTIONS.items()}
    proposal = completed()["1.1"]
    parts = {"8.1": (proposal, "transferInitClaim"), "8.2": (proposal, "gatewayAndNetworkCapabilities")}
    world = World(seed="test")
    error = write_error(stop_before(world, "2.2"), Refused("a reason", code="err_2.2.5"), world.now)
    world.abort("sender", "a reason")
    abort = read_payload(world.link[-1].data)
    world.close()
    return steps | parts | {"10.7": (abort, ""), "11.3": (error | {"instance": error["transferContextId"]}, "")}


def leave_out(clause: Clause) -> tuple[Json, str]:
    """The message without the field of the clause, and the path of that field."""
    message, part = make_messages()[clause.section]
    name = clause.id.removeprefix(f"{clause.section} ")
    inner = message[part] if part else message
    assert name in inner, "the field is there, so that it can be left out"
    rest = {field: value for field, value in inner.items() if field != name}
    return ({**message, part: rest}, f"{part}.{name}") if part else (rest, name)


def list_fields(keyword: str) -> list[Clause]:
    return [clause for clause in ALL if clause.document == "SATP" and clause.keyword == keyword]


@pytest.mark.parametrize("clause", list_fields("REQUIRED"), ids=lambda clause: clause.id)
def test_a_message_without_a_required_field_is_refused(clause: Clause) -> None:
    parse_message(make_messages()[clause.section][0])
    message, path = leave_out(clause)
    with pytest.raises(Refused) as refusal:
        parse_message(message)
    assert refusal.value.field == path


@pytest.mark.parametrize("clause", list_fields("OPTIONAL"), ids=lambda clause: clause.id)
def test_a_message_without_an_optional_field_is_taken(clause: Clause) -> None:
    parse_message(leave_out(clause)[0])


def test_a_proposal_without_any_optional_field_is_accepted(world: World) -> None:
    proposal = read_payload(stop_before(world, "1.1"))
    for clause in list_fields("OPTIONAL"):
        if clause.section in ("8.1", "8.2"):
            del proposal[make_messages()[clause.section][1]][clause.id.split()[1]]
    reply = world.recipient.receive(change()(world, proposal))
    assert read_payload(reply or b"")["messageType"].endswith(":proposal-receipt-msg")


OURS = {  # fields that no clause of the draft names
    "ProposalReceipt": {"hashPrevMessage"},
    "ErrorMessage": {"hashRefusedMessage"},
    "SessionAbort": {"transferContextId", "reason", "code", "receipts", "hashPrevMessage", "timestamp"},
}


def list_models() -> Iterator[tuple[str, type[Message]]]:
    by_step = {model.STEP: model for model in get_args(get_args(AnyMessage)[0]) if hasattr(model, "STEP")}
    yield from ((section, by_step[step]) for step, section in SECTIONS.items())
    yield from ((section, type(parse_message(make_messages()[section][0]))) for section in ("10.7", "11.3"))


def test_every_field_of_a_message_has_its_clause_or_is_ours() -> None:
    named = {clause.id for clause in [*list_fields("REQUIRED"), *list_fields("OPTIONAL")]}
    for section, model in list_models():
        unnamed = {field for field in model.model_fields if f"{section} {field}" not in named}
        assert unnamed == OURS.get(model.__name__, set()), model.__name__


# ---------------------------------------------------------------------- what no other test asks of a message


def test_a_proposal_for_another_network_is_refused(world: World) -> None:
    proposal = read_payload(stop_before(world, "1.1"))
    proposal["transferInitClaim"]["recipientGatewayNetworkId"] = "7"
    error = receive_refused(world, "1.1", change()(world, proposal))
    assert error.detail == "invalid recipientGatewayNetworkId (expected 43114, found 7)"


@pytest.mark.parametrize("step", ["1.1", "1.2"])
def test_another_version_is_refused(step: str, world: World) -> None:
    payload = read_payload(stop_before(world, step))
    error = receive_refused(world, step, change(version="2.0")(world, payload))
    assert "version (expected 1.0, found 2.0)" in str(error.detail)


@pytest.mark.parametrize(("asset", "network", "shorter"), [(60, 120, 60), (120, 60, 60), (None, 120, 120)])
def test_a_lock_lasts_for_the_shorter_of_two_durations(asset: int | None, network: int, shorter: int) -> None:
    proposal = json.loads(json.dumps(completed()["1.1"]))
    proposal["transferInitClaim"]["assetLockExpirationTime"] = asset
    proposal["gatewayAndNetworkCapabilities"]["networkLockExpirationTime"] = network
    session = Session(proposal["sessionId"], "GW1", proposal=proposal)
    assert session.compute_order(find_row("2.1")).lock_s == shorter
