"""The glossary: sorted, without doubles, and every word is where it says."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from protocol.findings import read_findings
from tools.citations import find_citations
from tools.notebooks import find_notebooks

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in GLOSSARY.splitlines()
    if line.startswith("| ") and not line.startswith("| word ")
]
WORDS = [row[0] for row in ROWS]


@cache
def read_notebook(number: str) -> str:
    """What stands on its pages, as text: prose, code and what came out."""
    (path,) = find_notebooks([number])
    pieces: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        pieces += cell["source"]
        for output in cell.get("outputs", []):
            pieces += [*output.get("text", []), *output.get("data", {}).get("text/plain", [])]
    return "\n".join(pieces).replace("*", "").replace("`", "")


def test_it_is_a_table_of_forty_to_seventy_words() -> None:
    assert 40 <= len(ROWS) <= 70
    assert all(len(row) == 4 and all(row) for row in ROWS)


def test_the_words_are_sorted_and_each_is_there_once() -> None:
    lowered = [word.lower() for word in WORDS]
    assert lowered == sorted(set(lowered))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_section_exists(row: list[str]) -> None:
    """The documents are not in this repository: what sections they have is in tools/sections.json."""
    assert row[2] == "ours" or [citation.end for citation in find_citations(row[2])] == [len(row[2])]


@pytest.mark.parametrize("number", ["4.0", "5.3.18", "6.1", "15", "5.5"])
def test_a_section_that_the_draft_does_not_have_is_none(number: str) -> None:
    assert not list(find_citations(f"SATP {number}"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_notebook_that_it_names_has_the_word(row: list[str]) -> None:
    links = re.findall(r"\[(\d\d)\]\(\.\./notebooks/(\S+?)\)", row[3])
    assert ", ".join(f"[{number}](../notebooks/{name})" for number, name in links) == row[3]
    for number, name in links:
        assert [path.name for path in find_notebooks([number])] == [name]
        assert re.search(rf"\b{re.escape(row[0])}(s|ed)?\b", read_notebook(number), re.IGNORECASE), number


def test_the_findings_that_it_names_exist() -> None:
    assert set(re.findall(r"\b[RCN]\d+\b", GLOSSARY)) <= set(read_findings())


def test_the_readme_and_the_first_notebook_lead_to_it() -> None:
    assert "(docs/glossary.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(../docs/glossary.md)" in read_notebook("00")
