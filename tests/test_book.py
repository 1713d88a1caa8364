"""What nbval does not see: a notebook that was never run, pictures without words, traces of whoever ran it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools import book
from tools.notebooks import NOTEBOOKS, canonicalise, find_notebooks

PATHS = find_notebooks([])
ALLOWED_OUTPUTS = {"text/plain", "image/svg+xml", "text/html", "application/json"}


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_book_has_notebooks_in_order() -> None:
    assert PATHS
    assert [path.name[:2] for path in PATHS] == sorted(path.name[:2] for path in PATHS)
    assert sorted(NOTEBOOKS.glob("*.ipynb")) == PATHS, "every notebook has a number"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_cell_was_executed_in_order(path: Path) -> None:
    counts = [cell["execution_count"] for cell in code_cells(load(path))]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_file_is_canonical(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert canonicalise(nbformat.reads(text, as_version=4)) == text, "run `make book`"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_outputs_are_of_a_kind_that_can_be_compared(path: Path) -> None:
    for cell in code_cells(load(path)):
        for output in cell["outputs"]:
            assert output["output_type"] in ("execute_result", "display_data", "stream"), "no tracebacks"
            assert output.get("name") != "stderr"
            kinds = set(output.get("data", {}))
            assert kinds <= ALLOWED_OUTPUTS
            assert not kinds or "text/plain" in kinds, "a picture has its text beside it"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_nothing_tells_who_ran_it_where_and_when(path: Path) -> None:
    outputs = json.dumps([cell["outputs"] for cell in code_cells(load(path))])
    assert not re.search(r"0x[0-9a-f]{6,}|/home/|/tmp/|/root|/work/|/Users/|202[5-9]-", outputs)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_no_cell_is_exempted(path: Path) -> None:
    for cell in load(path)["cells"]:
        assert not re.search(r"NBVAL_|nbval-", "".join(cell["source"]) + str(cell["metadata"])), "give a reason here"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_reads_as_a_story(path: Path) -> None:
    """A question first, never more than three code cells in a row, asserts and a reviewer's questions at the end."""
    cells = load(path)["cells"]
    kinds = "".join("c" if cell["cell_type"] == "code" else "m" for cell in cells)
    assert kinds[0] == "m"
    assert "?" in "".join(cells[0]["source"])
    assert "cccc" not in kinds
    assert "Questions a reviewer might ask" in "".join(cells[-1]["source"])
    last_code = "".join(code_cells({"cells": cells})[-1]["source"])
    assert last_code.count("assert ") >= 3


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_its_question(path: Path) -> None:
    """In bold, under the title: whoever turns the page knows what it answers."""
    paragraphs = re.split(r"\n\s*\n", "".join(load(path)["cells"][0]["source"]))
    is_question = [re.fullmatch(r"\*\*[^*]*\?[^*]*\*\*", each.strip()) is not None for each in paragraphs]
    assert any(is_question[:3]), "its question stands below the title, in bold"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_does_not_show(path: Path) -> None:
    """Under one heading, before its last asserts: what is left to other notebooks, to tests, or to nobody."""
    cells = load(path)["cells"]
    last_code = max(place for place, cell in enumerate(cells) if cell["cell_type"] == "code")
    headings = [
        place
        for place, cell in enumerate(cells)
        if cell["cell_type"] == "markdown"
        and "## What this notebook does not show" in "".join(cell["source"]).splitlines()
    ]
    assert len(headings) == 1
    assert headings[0] < last_code


def test_a_notebook_that_was_never_run_does_not_pass() -> None:
    """The check above can fail: an unexecuted copy is not the canonical text of itself."""
    notebook = nbformat.read(PATHS[0], as_version=4)
    for cell in code_cells(notebook):
        cell["execution_count"], cell["outputs"] = None, []
    text = nbformat.writes(notebook) + "\n"
    assert canonicalise(nbformat.reads(text, as_version=4)) != text


def test_what_was_printed_in_pieces_is_one_text() -> None:
    """A busy machine splits one print into two messages; that is no difference between two runs."""
    error = nbformat.v4.new_output("stream", name="stderr", text="!")
    texts = []
    for pieces in (["one line", "\n", "another\n"], ["one line\nanother\n"]):
        notebook = nbformat.read(PATHS[0], as_version=4)
        printed = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in pieces]
        code_cells(notebook)[0]["outputs"] = [*printed, error]
        texts.append(canonicalise(notebook))
    assert texts[0] == texts[1]
    assert '"!"' in texts[0]


def test_a_page_shows_what_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed arrives in as many pieces as the moment makes of it."""
    cell = nbformat.v4.new_code_cell("print('one'); print('two')")
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("one\n", "two\n")]
    monkeypatch.setattr(book, "execute", lambda path, on_cell: nbformat.v4.new_notebook(cells=[cell]))
    ((_, notebook, text, _),) = book.run(PATHS[:1])
    assert [output.text for output in notebook.cells[0].outputs] == ["one\ntwo\n"]
    assert canonicalise(notebook) == text
