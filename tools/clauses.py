"""The clause index: every MUST, SHOULD, REQUIRED, MAY of the documents, and how the project stands to it.

    python -m tools.clauses --write                  write docs/clauses.md anew (`make links` does this too)
    python -m tools.clauses --check                  say what is wrong with the index, and whether the page is stale
    python -m tools.clauses --count SATP DRAFT.md    count a document's keywords into docs/clauses/counts.json

The documents themselves are not in the repository. docs/clauses/counts.json says how many keywords each of their
sections has, so that no clause can be left out; docs/clauses/*.json holds the clauses, one file for a document:

    {"document": "SATP", "clauses": [CLAUSE, ...]}        SATP, RECOVERY or LIP-1; clauses in the document's order

    id         unique in its document: the section, a blank or not, a few words or the field: "8.1 digitalAssetId"
    section    as in tools/sections.json: a number, for LIP-1 a title
    keyword    as the document writes it, one occurrence for each clause; READINGS below says what counts as one.
               "sentence" for what binds without any: such clauses are chosen, and not counted in the document
    says       the clause in our own words
    standing   "kept", "partly", "needs no code", "not done"
    why        a sentence: needed for all but "kept", where it is a remark
    code       list of "protocol/steps.py::find_row", "…::Class.field" or "…::Class.method::words of a line in it"
    test       list of "tests/test_steps.py::test_name"
    notebook   list of "05 words of a cell": the first cell with these words, of its text (without links) or output
    findings   list of names in docs/findings.md

    kept           code or a test or a cell shows it: a field of a model is declared, an act is done or refused
    partly         the same, and why says what is missing or otherwise
    needs no code  why says so: it speaks to people, or to what the document itself leaves out
    not done       why says so: an implementation would have to do it, and this one does not

Files are written as json.dumps(indent=1, ensure_ascii=False) does it, and a newline; empty lists are left out.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tools.citations import DOCUMENTS, Section, find_section
from tools.links import strip_notebook
from tools.notebooks import ROOT, find_notebooks

FOLDER = ROOT / "docs" / "clauses"
COUNTS = FOLDER / "counts.json"
PAGE = ROOT / "docs" / "clauses.md"
FINDINGS = ROOT / "docs" / "findings.md"

KEPT, PARTLY, NO_CODE, NOT_DONE = STANDINGS = ("kept", "partly", "needs no code", "not done")
SHOWN_BY = ("code", "test", "notebook")

OPENING = """# Clauses

What the documents require, and how this project stands to it: every word that makes a requirement, one row for each.
The recovery draft and LIP-1 often bind without such a word: *sentence* marks a choice of what they say so.
*Kept*: code does it, or refuses what is against it, and the links show where. *Partly*: the row says what is missing
or otherwise. *Needs no code* and *not done*: the row says why. Names such as C8 are [findings](findings.md). A test
fails when a requirement has no row, and when what a row names is not there.
"""

# What counts as a keyword. In quotation marks it is spoken of, not used.
UPPER_CASE = re.compile(
    r'(?<!")\b(?:MUST(?: NOT)?|SHALL(?: NOT)?|SHOULD(?: NOT)?|NOT RECOMMENDED|REQUIRED|RECOMMENDED|MAY|OPTIONAL)\b(?!")'
)
# LIP-1 has no capitals: the words themselves, and the column "Required?" of its tables.
LOWER_CASE = re.compile(
    r"\b(?:must(?: not)?|shall(?: not)?|should(?: not)?|may)\b"
    r"|(?:(?<=\|)|(?<=\| )|(?<=\|  ))(?:[YN](?= *\|)|Required(?= for))"
)
READINGS = {"SATP": UPPER_CASE, "RECOVERY": UPPER_CASE, "LIP-1": LOWER_CASE}


SENTENCE = "sentence"  # what binds without a keyword


class Unresolved(Exception):
    """A reference that leads nowhere; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a reference leads: what to call it, and the file with the line or the cell."""

    name: str
    file: str
    fragment: str


@dataclass(frozen=True)
class Clause:
    document: str
    id: str
    section: str
    keyword: str
    says: str
    standing: str
    why: str = ""
    code: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    notebook: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return re.sub(r"[^\w.]+", "-", f"{self.document} {self.id}".lower()).strip("-")

    @property
    def is_shown(self) -> bool:
        return bool(self.code or self.test or self.notebook)


# Reading


def list_files() -> list[Path]:
    """The data files, in the order of the documents."""
    found = [path for path in FOLDER.glob("*.json") if path != COUNTS]
    return sorted(found, key=lambda path: list(DOCUMENTS).index(json.loads(path.read_text("utf-8"))["document"]))


def read_clauses(path: Path) -> list[Clause]:
    data = json.loads(path.read_text(encoding="utf-8"))
    return [Clause(document=data["document"], **clause) for clause in data["clauses"]]


def read_all() -> list[Clause]:
    return [clause for path in list_files() for clause in read_clauses(path)]


def read_counts() -> dict[str, dict[str, dict[str, int]]]:
    """Document, section, keyword, how often."""
    counts: dict[str, dict[str, dict[str, int]]] = json.loads(COUNTS.read_text(encoding="utf-8"))
    return counts


def write_json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


# Resolving


@cache
def read_tree(file: str) -> ast.Module:
    path = ROOT / file
    if not path.is_file():
        raise Unresolved(f"there is no file {file}")
    return ast.parse(path.read_text(encoding="utf-8"))


def find_definition(nodes: list[ast.stmt], name: str) -> ast.stmt | None:
    """A function, a class, or a name that is given a value or a type."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if any(name in (target.id for target in ast.walk(each) if isinstance(target, ast.Name)) for each in targets):
            return node
    return None


def resolve_code(reference: str) -> Place:
    """The line of a symbol, or the line in it that has the words."""
    file, _, rest = reference.partition("::")
    symbol, _, words = rest.partition("::")
    nodes: list[ast.stmt] = read_tree(file).body
    found: ast.stmt | None = None
    for name in symbol.split("."):
        found = find_definition(nodes, name)
        if found is None:
            raise Unresolved(f"{file} has no {symbol}")
        nodes = getattr(found, "body", [])
    assert found is not None
    line = found.lineno
    if words:
        lines = (ROOT / file).read_text(encoding="utf-8").split("\n")
        within = range(found.lineno, (found.end_lineno or found.lineno) + 1)
        line = next((number for number in within if words in lines[number - 1]), 0)
        if not line:
            raise Unresolved(f"{symbol} in {file} has no line with the words {words!r}")
    return Place(f"{file.removeprefix('protocol/')}:{symbol}", file, f"L{line}")


def resolve_test(reference: str) -> Place:
    file, _, name = reference.partition("::")
    if not name.startswith("test_"):
        raise Unresolved(f"{reference} names no test")
    return Place("test: " + name.removeprefix("test_").replace("_", " "), file, resolve_code(reference).fragment)


@cache
def read_cells(number: str) -> tuple[str, list[str]]:
    """A notebook's file and its cells as they were written by hand, with what came out, each in one line."""
    import nbformat

    path = next((path for path in find_notebooks([]) if path.name.startswith(number)), None)
    if path is None:
        raise Unresolved(f"there is no notebook {number}")
    cells = nbformat.read(path, as_version=4).cells
    texts = [cell.source + read_outputs(cell) for cell in cells]
    prose = [place for place, cell in enumerate(cells) if cell.cell_type == "markdown"]
    for place, text in zip(prose, strip_notebook([texts[place] for place in prose]), strict=True):
        texts[place] = text
    return path.relative_to(ROOT).as_posix(), [" ".join(text.split()) for text in texts]


def read_outputs(cell: Any) -> str:
    outputs = cell.get("outputs", [])
    return "".join("\n" + str(each.get("text") or each.get("data", {}).get("text/plain", "")) for each in outputs)


def resolve_cell(reference: str) -> Place:
    number, _, words = reference.partition(" ")
    file, cells = read_cells(number)
    for place, text in enumerate(cells):
        if words and words in text:
            return Place(f"notebook {number}", file, f"cell-{place:02d}")
    raise Unresolved(f"notebook {number} has no cell with the words {words!r}")


RESOLVERS = {"code": resolve_code, "test": resolve_test, "notebook": resolve_cell}


def list_tests(clauses: list[Clause]) -> list[str]:
    """The files of the tests that are named."""
    return sorted({reference.partition("::")[0] for clause in clauses for reference in clause.test})


def list_places(clause: Clause, kind: str) -> list[Place]:
    return [RESOLVERS[kind](reference) for reference in getattr(clause, kind)]


# Checking


def count_keywords(clauses: list[Clause]) -> dict[str, dict[str, dict[str, int]]]:
    """The clauses as counts.json has them."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for clause in clauses:
        if clause.keyword == SENTENCE:
            continue
        counts.setdefault(clause.document, {}).setdefault(clause.section, Counter())[clause.keyword] += 1
    return {
        document: {section: dict(words) for section, words in sections.items()} for document, sections in counts.items()
    }


def is_keyword(document: str, keyword: str) -> bool:
    cell, sentence = (READINGS[document].findall(text) for text in (f"|{keyword}|", f"|{keyword} for|"))
    return keyword == SENTENCE or [keyword] in (cell, sentence)


def find_faults(clauses: list[Clause]) -> Iterator[str]:
    """Everything that is wrong with the clauses, one sentence for each."""
    seen: set[str] = set()
    for clause in clauses:
        name = f"{clause.document}, {clause.id}"
        if clause.anchor in seen:
            yield f"{name}: the id is there twice"
        seen.add(clause.anchor)
        if find_section(clause.document, clause.section) is None:
            yield f"{name}: there is no section {clause.section}"
        if not is_keyword(clause.document, clause.keyword):
            yield f"{name}: {clause.keyword!r} is no keyword of this document"
        if not clause.says.strip():
            yield f"{name}: it says nothing"
        yield from (f"{name}: {fault}" for fault in find_standing_faults(clause))
        yield from (f"{name}: {fault}" for fault in find_reference_faults(clause))
    yield from find_count_faults(count_keywords(clauses), read_counts())


def find_standing_faults(clause: Clause) -> Iterator[str]:
    if clause.standing not in STANDINGS:
        yield f"{clause.standing!r} is no standing: it is one of {', '.join(STANDINGS)}"
    if clause.standing in (KEPT, PARTLY) and not clause.is_shown:
        yield f"it is {clause.standing}, but no code, test or cell is named"
    if clause.standing in (PARTLY, NO_CODE, NOT_DONE) and not clause.why.strip():
        yield f"it is {clause.standing!r}, and nothing says why"
    if clause.standing == NO_CODE and clause.code:
        yield "it needs no code, and names some"


def find_reference_faults(clause: Clause) -> Iterator[str]:
    for kind in SHOWN_BY:
        for reference in getattr(clause, kind):
            try:
                RESOLVERS[kind](reference)
            except Unresolved as error:
                yield f"{kind} {reference!r}: {error}"
    for finding in clause.findings:
        if f"* **{finding}** " not in FINDINGS.read_text(encoding="utf-8"):
            yield f"there is no finding {finding}"


def find_count_faults(
    found: dict[str, dict[str, dict[str, int]]], expected: dict[str, dict[str, dict[str, int]]]
) -> Iterator[str]:
    """Where the clauses are more or fewer than the keywords of the document."""
    for document in sorted({*found, *expected}):
        sections = {*found.get(document, {}), *expected.get(document, {})}
        for section in sorted(sections):
            here, there = (counts.get(document, {}).get(section, {}) for counts in (found, expected))
            for keyword in sorted({*here, *there}):
                if here.get(keyword, 0) != there.get(keyword, 0):
                    yield (
                        f"{document} {section}: the document has {there.get(keyword, 0)} {keyword}, "
                        f"the index {here.get(keyword, 0)}"
                    )


# Counting a document


def count_document(document: str, text: str) -> dict[str, dict[str, int]]:
    """The keywords of each section. Figures and examples do not count; a heading that comes again is the same one."""
    text = re.sub(r"^ *(```|~~~).*?^ *\1[^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = {Section(document, number).title: number for number in DOCUMENTS[document]["sections"]}
    ahead = list(DOCUMENTS[document]["sections"])
    counts: dict[str, dict[str, int]] = {}
    number = ""
    for line in text.splitlines():
        heading = re.match(r"#+ +(.*?)\s*$", line)
        if heading and ahead:
            title = " ".join(heading[1].split())
            if Section(document, ahead[0]).title.endswith(title):
                number = ahead.pop(0)
            elif title in titles:
                number = titles[title]
            else:
                sys.exit(f"{document}: the heading {title!r} stands where {ahead[0]} is expected.")
        for keyword in READINGS[document].findall(line):
            words = counts.setdefault(number, {})
            words[keyword] = words.get(keyword, 0) + 1
    return counts


def write_counts(document: str, draft: Path) -> None:
    counts = read_counts() if COUNTS.exists() else {}
    counts[document] = count_document(document, draft.read_text(encoding="utf-8"))
    COUNTS.write_text(write_json({name: counts[name] for name in DOCUMENTS if name in counts}), encoding="utf-8")


# The page


def write_link(place: Place) -> str:
    """From docs/ to the line of a file, or to the cell of a notebook."""
    return f"[{place.name}](../{place.file}#{place.fragment})"


def render_counts(document: str, clauses: list[Clause]) -> Iterator[str]:
    """How many clauses of each keyword have which standing."""
    yield f"| {document} | clauses | {' | '.join(STANDINGS)} | with code | with a test | with a cell |"
    yield "|---" * (len(STANDINGS) + 5) + "|"
    keywords = list(dict.fromkeys(clause.keyword for clause in clauses))
    for keyword in [*sorted(keywords), ""]:
        chosen = [clause for clause in clauses if clause.keyword == keyword or not keyword]
        stand = [sum(clause.standing == standing for clause in chosen) for standing in STANDINGS]
        held = [clause for clause in chosen if clause.standing in (KEPT, PARTLY)]
        shown = [sum(bool(getattr(clause, kind)) for clause in held) for kind in SHOWN_BY]
        yield f"| {keyword or '**all**'} | {' | '.join(map(str, [len(chosen), *stand, *shown]))} |"


def render_exceptions(clauses: list[Clause]) -> Iterator[str]:
    """What is not kept, or not wholly, at a glance."""
    yield from ("## Partly, and not done", "")
    for clause in clauses:
        if clause.standing in (PARTLY, NOT_DONE):
            name = f"[{clause.document} {clause.id}](#{clause.anchor})"
            yield f"* {name}, {clause.keyword}, *{clause.standing}*: {clause.why}"
    yield ""


def render_clause(clause: Clause) -> str:
    places = [write_link(place) for kind in SHOWN_BY for place in list_places(clause, kind)]
    why = f"{clause.why} " if clause.why else ""
    found = " ".join(f"[{finding}](findings.md#{finding})" for finding in clause.findings)
    name = f'<a id="{clause.anchor}"></a>{clause.id}'
    cells = [name, clause.keyword, clause.says, clause.standing, (why + found).strip(), "<br>".join(places)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def render_section(section: Section, clauses: list[Clause]) -> Iterator[str]:
    heading = section.name if section.document == "LIP-1" else f"{section.name} {section.title}"
    yield from ("", f"### {heading}", "", "| clause | keyword | it says | standing | why | where |", "|---" * 6 + "|")
    yield from map(render_clause, clauses)


def render_page(clauses: list[Clause]) -> str:
    lines = [OPENING]
    by_document = {document: [each for each in clauses if each.document == document] for document in DOCUMENTS}
    for document, own in by_document.items():
        if own:
            lines += [*render_counts(document, own), ""]
    lines += render_exceptions(clauses)
    for document, own in by_document.items():
        if own:
            lines += [f"## {document}: {DOCUMENTS[document]['title']}"]
            for number in dict.fromkeys(clause.section for clause in own):
                chosen = [clause for clause in own if clause.section == number]
                lines += render_section(Section(document, number), chosen)
            lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.clauses", description="The clause index.")
    parser.add_argument("--write", action="store_true", help="write docs/clauses.md")
    parser.add_argument("--check", action="store_true", help="fail if the index has a fault or the page is stale")
    parser.add_argument("--count", nargs=2, metavar=("DOCUMENT", "FILE"), help="count the keywords of a document")
    arguments = parser.parse_args()
    if arguments.count:
        if arguments.count[0] not in READINGS:
            parser.error(f"there is no document {arguments.count[0]}; there are {', '.join(READINGS)}")
        if not Path(arguments.count[1]).is_file():
            parser.error(f"there is no file {arguments.count[1]}")
        write_counts(arguments.count[0], Path(arguments.count[1]))
        return 0
    clauses = read_all()
    faults = list(find_faults(clauses))
    if arguments.write and not faults:
        PAGE.write_text(render_page(clauses), encoding="utf-8")
    if not faults and (not PAGE.exists() or PAGE.read_text("utf-8") != render_page(clauses)):
        faults = ["docs/clauses.md is not what the index gives: make links"]
    print("\n".join(faults) or f"{len(clauses)} clauses, each with its standing.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
