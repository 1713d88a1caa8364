"""The links inside the notebooks: made from plain words, the same when made twice, and all of them lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools import links
from tools.citations import DOCUMENTS, ROOT, Section, find_citations, find_unknown, read_code
from tools.links import link_cells, link_notebook, refresh, strip_notebook
from tools.notebooks import canonicalise, find_notebooks

BOOK = ["00_start.ipynb", "01_the_log.ipynb", "07_crash_and_resume.ipynb"]
CITED = "SATP 8.3"  # the package cites it
UNCITED = "SATP 13.1"  # nothing in the package does


def link(text: str, own: str = "01_the_log.ipynb") -> str:
    """A middle cell of a notebook, linked."""
    return link_cells(["# 01 The log", text, "## Questions"], own, BOOK)[1]


def names(text: str) -> list[str]:
    return [citation.section.name for citation in find_citations(text)]


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("as SATP 8.3 says", ["SATP 8.3"]),
        ("at the end, SATP 8.3. Then", ["SATP 8.3"]),
        ("(SATP 8.2, 5.3.9)", ["SATP 8.2", "SATP 5.3.9"]),
        ("SATP 8.1, 8.2 and 8.3 and 8 more", ["SATP 8.1", "SATP 8.2", "SATP 8.3"]),
        ("(RECOVERY 3 and 4)", ["RECOVERY 3", "RECOVERY 4"]),
        ("RECOVERY 3 calls it a stack, and 4 calls", ["RECOVERY 3"]),
        ("RECOVERY 5.1(2)", ["RECOVERY 5.1"]),
        ("SATP section 12 assumes", ["SATP 12"]),
        ("as in SATP figure 2", ["SATP 6"]),
        ("(RFC 7517, 7638), RFC 3339", ["RFC 7517", "RFC 7638", "RFC 3339"]),
        ('LIP-1 "Command Sequencing" says', ['LIP-1 "Command Sequencing"']),
        ('LIP-1, "PaymentObject" to "StatusEnum"', ['LIP-1 "PaymentObject"', 'LIP-1 "StatusEnum"']),
        ('LIP-1: "both must be exact"', []),
        ("SATP core, SATP 2PC, SATP 99, SATP figure 9, RFC 1", []),
    ],
)
def test_what_counts_as_a_citation(text: str, sections: list[str]) -> None:
    assert names(text) == sections


def test_a_citation_may_be_broken_over_two_lines_of_a_comment() -> None:
    assert names("    # the hash that SATP\n    # 8.3 asks for") == ["SATP 8.3"]
    assert names('LIP-1, "Protocol Server\nand Client Roles"') == ['LIP-1 "Protocol Server and Client Roles"']


def test_a_number_that_no_document_has_is_a_slip() -> None:
    assert find_unknown("SATP 8.3, SATP 8.9 and RFC 1149") == ["SATP 8.9", "RFC 1149"]
    with pytest.raises(ValueError, match=r"00_start\.ipynb cites SATP 8\.9"):
        link_notebook(make_notebook("# A", "SATP 8.9", "end"), "00_start.ipynb", BOOK)


def test_a_citation_leads_to_the_code_and_without_code_to_the_document() -> None:
    line = read_code()[Section("SATP", "8.3")][0]
    assert link(f"as {CITED} says") == f"as [{CITED}](../{line.file}#L{line.number}) says"
    assert link(UNCITED) == f"[{UNCITED}](https://datatracker.ietf.org/doc/html/draft-ietf-satp-core#section-13.1)"


def test_the_best_line_is_in_the_definition_that_speaks_of_least() -> None:
    best = read_code()[Section("SATP", "8.3")]
    assert (best[0].file, best[0].within) == ("protocol/messages/satp.py", "TransferProposal")
    assert len(best) > 1
    assert not best[-1].within, "the opening lines of a module come last"


def test_every_line_of_the_code_that_is_linked_cites_its_section() -> None:
    for section, lines in read_code().items():
        for line in lines:
            text = (ROOT / line.file).read_text().splitlines()
            assert section in {
                each.section for each in find_citations("\n".join(text[line.number - 1 : line.number + 2]))
            }


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("see notebook 07.", "see [notebook 07](07_crash_and_resume.ipynb)."),
        ("Notebooks 00 and 07", "[Notebooks 00](00_start.ipynb) and [07](07_crash_and_resume.ipynb)"),
        ("this is notebook 01, and notebook 55 is nowhere", "this is notebook 01, and notebook 55 is nowhere"),
    ],
)
def test_another_notebook_is_linked(text: str, linked: str) -> None:
    assert link(text) == linked


@pytest.mark.parametrize(
    "text",
    [
        "`SATP 8.3` and ``a ` SATP 8.3``",
        "```\nSATP 8.3, notebook 07\n```",
        "~~~mermaid\nSATP 8.3\n~~~",
        "text\n\n    SATP 8.3",
        "[see SATP 8.3](https://example.org/x)",
        "![SATP 8.3](picture.svg)",
        "https://example.org/SATP 8.9x",
        '<a title="SATP 8.3">',
        "[the log](00_start.ipynb)",
    ],
)
def test_code_links_and_addresses_stay_as_they_are(text: str) -> None:
    assert link(text) == text


def test_the_title_of_a_notebook_carries_no_link() -> None:
    first = link_cells(["# 01 SATP 8.3\n\nSATP 8.3?", "x", "y"], "01_the_log.ipynb", BOOK)[0]
    assert first.startswith("# 01 SATP 8.3\n\n[SATP 8.3](")


def test_the_first_cell_ends_with_the_way_on() -> None:
    lines = [link_cells(["# A?", "end"], own, BOOK)[0].splitlines()[-1] for own in BOOK]
    assert "←" not in lines[0] and "[01 The log →](01_the_log.ipynb)" in lines[0]
    assert lines[1].startswith(
        "[← 00 Start](00_start.ipynb) · [contents](00_start.ipynb) · [07 Crash and resume →](07_crash"
    )
    assert "→" not in lines[2]


def test_the_last_cell_lists_what_is_cited() -> None:
    last = link_cells(["# A?", f"{CITED}, RECOVERY 6.1", f"## Questions\n\n{UNCITED}"], BOOK[0], BOOK)[-1]
    table = last.split("## Sections cited\n\n")[1].splitlines()
    assert [row.split(" | ")[0].strip("| ") for row in table[2:]] == ["SATP 8.3", "SATP 13.1", "RECOVERY 6.1"]
    assert "Transfer Proposal Message" in table[2] and "#section-8.3)" in table[2]
    assert "satp.py" in table[2] and table[3].endswith("| none |")
    assert len(re.findall(r"#L\d+", link_cells(["# A?", "RFC 3339"], BOOK[0], BOOK)[-1])) == 1 + links.MOST_LINES


TEXTS = [
    "# 01 The log\n\nWhat does SATP 8.3 say?",
    '`SATP 8.3`, SATP 8.2, 5.3.9 and notebook 07; notebooks 00 and 07; [x](https://example.org) LIP-1 "StatusEnum" is',
    "## Questions\n\n**Is SATP 13.1 followed?** RFC 8785 | SATP figure 2.",
]


def test_twice_is_once_and_back_is_where_it_began() -> None:
    once = link_cells(TEXTS, BOOK[1], BOOK)
    assert once != TEXTS
    assert link_cells(once, BOOK[1], BOOK) == once
    assert strip_notebook(once) == TEXTS


def test_a_stale_line_number_is_refreshed() -> None:
    once = link_cells(TEXTS, BOOK[1], BOOK)
    moved = [re.sub(r"#L\d+", "#L99999", text) for text in once]
    assert moved != once
    assert link_cells(moved, BOOK[1], BOOK) == once


def make_notebook(*texts: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in texts])


def test_write_then_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / name for name in BOOK]
    for path in paths:
        path.write_text(canonicalise(make_notebook("# A?", "SATP 8.3 and notebook 07", "end")))
    monkeypatch.setattr(links, "find_notebooks", lambda names: paths)
    assert links.main(["--check"]) == 1
    assert "run `make links`" in capsys.readouterr().out
    assert links.main(["--write"]) == 0
    assert links.main(["--check"]) == 0
    text = paths[0].read_text()
    assert canonicalise(nbformat.reads(text, as_version=4)) == text


@pytest.mark.parametrize("path", find_notebooks([]), ids=lambda path: path.stem)
def test_the_links_of_the_book_are_fresh(path: Path) -> None:
    text, wanted = refresh(path, find_notebooks([]))
    assert text == wanted, "run `make links`"


@pytest.mark.parametrize("path", find_notebooks([]), ids=lambda path: path.stem)
def test_the_links_of_the_book_lead_somewhere(path: Path) -> None:
    _, text = refresh(path, find_notebooks([]))
    prose = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith("http"):
            continue
        file, _, line = target.partition("#L")
        there = path.parent / file.partition("#")[0]
        assert there.is_file(), target
        assert not line or int(line) <= len(there.read_text().splitlines()), target


def test_the_table_of_sections_is_in_the_order_of_the_documents() -> None:
    for document in ("SATP", "RECOVERY"):
        numbers = [[int(part) for part in number.split(".")] for number in DOCUMENTS[document]["sections"]]
        assert numbers == sorted(numbers)
        for number in numbers:
            assert len(number) == 1 or number[:-1] in numbers
