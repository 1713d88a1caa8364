"""Where a text cites a section of a document: "SATP 8.3", "RECOVERY 5.1(2)", "RFC 8785", LIP-1 "Command Sequencing".

The same reading serves the notebooks, the comments and docstrings of the package, and the pages made of both.
What sections there are, and what they are called, is written down in sections.json; a number that is not
there is no citation. `SATP 8.2, 5.3.9` cites two sections, `SATP figure 2` cites the section with that figure.

Of the lines that cite a section one is the best: the definition that speaks of the fewest sections comes first,
then lines outside of any definition, then the opening lines of a module; a line that names only a figure of the
section counts one less; the table of the fields' meanings comes last. Reading order decides what is left.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS: dict[str, Any] = json.loads((Path(__file__).parent / "sections.json").read_text(encoding="utf-8"))

WORDS, LAST = "protocol/messages/meanings.py", 4  # it says what sections say, and does none of it
GAP = r"(?:[ ]|[ ]*\n[ ]*(?:\#[ ])?)"  # a blank; or the end of a line, of a comment too
NUMBER = r"\d+(?:\.\d+)*"
MORE = rf"(?:,|,?{GAP}(?:and|or|to)){GAP}"
CITATION = re.compile(
    rf"""\b(?:
      (?P<numbered>SATP|RECOVERY) {GAP} (?:core{GAP}|section{GAP})? (?P<number>{NUMBER}) (?![\w%])
    | (?P<drawn>SATP|RECOVERY) {GAP} figure{GAP} (?P<figure>\d+) \b
    | (?P<rfc>RFC) {GAP} (?P<standard>\d{{4}}) \b
    | (?P<titled>LIP-1) ,? {GAP} "(?P<title>[^"]+)"
    )""",
    re.VERBOSE,
)
# What may follow: a further number with a dot, or one that ends the list; a further RFC; a further title.
FURTHER = {
    "numbered": re.compile(rf"{MORE}(?P<more>\d+(?:\.\d+)+|\d+(?=[).,;:\]]|$))(?![\w%]|\.\d)", re.VERBOSE),
    "rfc": re.compile(rf"{MORE}(?P<more>\d{{4}})\b(?!-)", re.VERBOSE),
    "titled": re.compile(rf'{MORE}(?P<more>"[^"]+")', re.VERBOSE),
}


@dataclass(frozen=True)
class Section:
    document: str
    number: str  # LIP-1 has no numbers: there it is the title

    @property
    def name(self) -> str:
        return f'{self.document} "{self.number}"' if self.document == "LIP-1" else f"{self.document} {self.number}"

    @property
    def title(self) -> str:
        return self.number if self.document == "LIP-1" else str(DOCUMENTS[self.document]["sections"][self.number])

    @property
    def address(self) -> str:
        document = DOCUMENTS[self.document]
        place = document["sections"][self.number] if self.document == "LIP-1" else self.number
        return str(document["address"]).format(place)

    @property
    def order(self) -> tuple[int, list[int]]:
        """Documents in the order of sections.json, sections in the order of their document."""
        place = list(DOCUMENTS[self.document]["sections"]).index(self.number)
        numbers = [place] if self.document == "LIP-1" else [int(part) for part in self.number.split(".")]
        return list(DOCUMENTS).index(self.document), numbers


@dataclass(frozen=True)
class Citation:
    start: int
    end: int
    section: Section
    by_figure: bool = False


@dataclass(frozen=True)
class Line:
    """A line of the package that cites a section."""

    file: str  # from the root of the repository
    number: int
    within: str  # the definition around it, or ""

    @property
    def name(self) -> str:
        return f"{self.file.removeprefix('protocol/')}:{self.number}"


def find_section(document: str, number: str) -> Section | None:
    number = " ".join(number.replace("#", " ").split())
    return Section(document, number) if number in DOCUMENTS[document]["sections"] else None


def find_citations(text: str) -> Iterator[Citation]:
    """Every section that a text cites, in its order, with the place of the words that do."""
    for found in CITATION.finditer(text):
        kind = next(kind for kind in ("numbered", "drawn", "rfc", "titled") if found[kind])
        document = found[kind]
        if kind == "drawn":
            number = DOCUMENTS[document]["figures"].get(found["figure"], "")
        else:
            number = found["number"] or found["standard"] or found["title"]
        section = find_section(document, number)
        if section is None:
            continue
        yield Citation(found.start(), found.end(), section, by_figure=kind == "drawn")
        end = found.end()
        while kind in FURTHER and (more := FURTHER[kind].match(text, end)):
            further = find_section(document, more["more"].strip('"'))
            if further is None:
                break
            yield Citation(more.start("more"), more.end("more"), further)
            end = more.end()


def find_unknown(text: str) -> list[str]:
    """What looks like a citation and names no section: a slip of the pen, or a title missing in sections.json."""
    unknown = []
    for found in CITATION.finditer(text):
        document = found["numbered"] or found["rfc"]
        if document and find_section(document, found["number"] or found["standard"]) is None:
            unknown.append(found[0])
    return unknown


def list_modules() -> list[Path]:
    """The package in reading order, as its contents list gives it; what the list leaves out comes last."""
    package = ROOT / "protocol"
    contents = re.findall(r"^ {4}([a-z_/]+) {2,}\S", (package / "__init__.py").read_text("utf-8"), flags=re.MULTILINE)
    listed = [package / f"{name}.py" for name in contents]
    return listed + sorted(set(package.rglob("*.py")) - set(listed))


@cache
def read_code() -> dict[Section, list[Line]]:
    """For each section the lines of the package that cite it, the best one first."""
    ranked: dict[Section, list[tuple[tuple[int, int, int, int], Line]]] = defaultdict(list)
    for place, path in enumerate(list_modules()):
        for section, rank, line in rank_lines(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()):
            ranked[section].append(((*rank, place, line.number), line))
    return {
        section: list(dict.fromkeys(line for _, line in sorted(ranked[section], key=lambda each: each[0])))
        for section in sorted(ranked, key=lambda section: section.order)
    }


def rank_lines(text: str, file: str) -> Iterator[tuple[Section, tuple[int, int], Line]]:
    """Every citation of a module with its rank: in a definition, beside one, or in the opening lines."""
    tree = ast.parse(text)
    opening = 0
    if tree.body and ast.get_docstring(tree, clean=False) is not None:
        opening = tree.body[0].end_lineno or 0
    definitions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    found = []
    for citation in find_citations(text):
        number = text.count("\n", 0, citation.start) + 1
        around = [node for node in definitions if node.lineno <= number <= (node.end_lineno or 0)]
        found.append((citation, number, max(around, key=lambda node: node.lineno, default=None)))
    for citation, number, node in found:
        spoken_of = {other.section for other, _, where in found if where is node} if node else set()
        kind = (0 if node else 2 if number <= opening else 1) + citation.by_figure
        kind = LAST if file == WORDS else kind
        yield citation.section, (kind, len(spoken_of)), Line(file, number, node.name if node else "")
