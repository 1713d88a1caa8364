"""Keep the links inside the notebooks: to each other, to the documents, and to the lines of the code.

    python -m tools.links --write       refresh the links of every notebook (this is `make links`)
    python -m tools.links --check       fail if a link is missing, or leads to a line that has moved

No notebook is run. The text of a notebook is written plainly: "SATP 8.3", "notebook 07". From that follow

- the last line of the first cell: the notebook before, the contents, the next one, the glossary;
- a link on each mention of another notebook;
- a link on each section that is cited: to the best line of the package that cites it too (tools/citations.py
  says which is best), or to the document where none does;
- at the end of the last cell the table of all sections cited, with up to five lines of the package for each.

Code, headings of the first line, links that are there already and addresses stay as they are. Writing twice
changes nothing: the links are taken out first, and are known by the pair of a citation and a place of ours.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tools.citations import DOCUMENTS, Section, find_citations, find_unknown, read_code
from tools.notebooks import ROOT, canonicalise, find_notebooks

GLOSSARY = ROOT / "docs" / "glossary.md"
MOST_LINES = 5
TABLE = "\n\n## Sections cited\n"

# What no link is put into: fenced and indented code, code spans, links and pictures, addresses, HTML.
PROTECTED = re.compile(
    r"""(?P<fence>^[ ]{0,3}(?:```|~~~)) .*? (?:^[ ]{0,3}(?:```|~~~)[ ]*$ | \Z)
    | ^(?:[ ]{4}|\t)[^\n]*
    | (?P<ticks>`+)(?!`) .*? (?<!`)(?P=ticks)(?!`)
    | !?\[(?:[^\[\]]|\[[^\]]*\])*\](?:\([^)\s]*\)|\[[^\]]*\])
    | <[^<>\s][^<>]*>
    | https?://[^\s)>\]]+
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
MENTION = re.compile(
    r"\b(?P<first>[Nn]otebooks?[ \n](?P<number>\d\d))(?P<more>(?:(?:, | and |, and | to | or )\d\d\b)*)(?!\d)"
)
GENERATED = re.compile(r"\[(?P<text>[^\[\]]+)\]\((?P<target>[^()\s]+)\)")
NAVIGATION = re.compile(r"\n\n[^\n]*\[contents\]\([^)\s]*\)[^\n]*\s*\Z")


def split_protected(text: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces, with whether each must stay as it is."""
    end = 0
    for found in PROTECTED.finditer(text):
        yield False, text[end : found.start()]
        yield True, found[0]
        end = found.end()
    yield False, text[end:]


def is_ours(text: str, target: str) -> bool:
    """Whether a link can only have been written here: such words, and such a place."""
    places = [document["address"].split("{}")[0] for document in DOCUMENTS.values()]
    if re.fullmatch(r"(?:[Nn]otebooks?\s)?\d\d", text):
        return re.fullmatch(r"\d\d_\w+\.ipynb", target) is not None
    cites = [citation.end for citation in find_citations(text)] == [len(text)]
    continues = re.fullmatch(r'\d+(?:\.\d+)*|"[^"]+"', text) is not None
    in_code = re.fullmatch(r"\.\./protocol/[\w/]+\.py#L\d+", target) is not None
    return (cites or continues) and (in_code or any(target.startswith(place) for place in places))


def remove_links(source: str) -> str:
    """A cell as it was written by hand."""

    def plain(found: re.Match[str]) -> str:
        return found["text"] if is_ours(found["text"], found["target"]) else found[0]

    pieces = split_protected(source)
    return "".join(GENERATED.sub(plain, text) if text.startswith("[") or not kept else text for kept, text in pieces)


def replace_in_prose(source: str, change: Callable[[str], str]) -> str:
    """Apply a change to what is neither code nor link. A sentence may be cut by code; a citation is not."""
    return "".join(text if kept else change(text) for kept, text in split_protected(source))


def find_target(section: Section) -> str:
    lines = read_code().get(section)
    return f"../{lines[0].file}#L{lines[0].number}" if lines else section.address


def link_citations(prose: str) -> str:
    pieces, end = [], 0
    for citation in find_citations(prose):
        words = prose[citation.start : citation.end]
        pieces += [prose[end : citation.start], f"[{words}]({find_target(citation.section)})"]
        end = citation.end
    return "".join(pieces) + prose[end:]


def link_notebooks(prose: str, own: str, book: list[str]) -> str:
    names = {name[:2]: name for name in book if name != own}

    def link(found: re.Match[str]) -> str:
        first = f"[{found['first']}]({names[found['number']]})" if found["number"] in names else found["first"]
        more = re.sub(r"\d\d", lambda n: f"[{n[0]}]({names[n[0]]})" if n[0] in names else n[0], found["more"])
        return first + more

    return MENTION.sub(link, prose)


def write_navigation(own: str, book: list[str]) -> str:
    """One line: back, contents, on, glossary."""
    place = book.index(own)

    def name(file: str) -> str:
        number, _, words = file.removesuffix(".ipynb").partition("_")
        return f"{number} {words.replace('_', ' ').capitalize()}"

    before = [f"[← {name(book[place - 1])}]({book[place - 1]})"] if place else []
    after = [f"[{name(book[place + 1])} →]({book[place + 1]})"] if place + 1 < len(book) else []
    contents = "[contents](../README.md#the-book)" if place == 0 else f"[contents]({book[0]})"
    glossary = ["[glossary](../docs/glossary.md)"] if GLOSSARY.exists() else []
    return " · ".join([*before, contents, *after, *glossary])


def write_table(sections: list[Section]) -> str:
    """Every section that a notebook cites, with the document and the code."""
    rows = ["| section | title | in the document | in the code |", "|---|---|---|---|"]
    for section in sections:
        lines = read_code().get(section, [])
        links = [f"[`{line.name}`](../{line.file}#L{line.number})" for line in lines[:MOST_LINES]]
        rest = [f"{len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
        name = section.document if section.document == "LIP-1" else section.name
        document = f"[{'the RFC' if section.document == 'RFC' else 'the section'}]({section.address})"
        rows.append(f"| {name} | {section.title} | {document} | {', '.join([*links, *rest]) or 'none'} |")
    return "\n".join(rows)


def strip_notebook(sources: list[str]) -> list[str]:
    """The Markdown cells as they were written by hand."""
    plain = [remove_links(source) for source in sources]
    plain[-1] = plain[-1].split(TABLE)[0] if TABLE in plain[-1] else plain[-1]
    plain[0] = NAVIGATION.sub("", plain[0])
    return plain


def link_cells(sources: list[str], own: str, book: list[str]) -> list[str]:
    """The Markdown cells of a notebook with all their links."""
    sections: set[Section] = set()

    def link(prose: str) -> str:
        sections.update(citation.section for citation in find_citations(prose))
        return link_citations(link_notebooks(prose, own, book))

    linked = []
    for place, source in enumerate(strip_notebook(sources)):
        title, end, rest = source.partition("\n") if place == 0 and source.startswith("#") else ("", "", source)
        linked.append(title + end + replace_in_prose(rest, link))
    linked[0] += "\n\n" + write_navigation(own, book)
    if sections:
        linked[-1] += TABLE + "\n" + write_table(sorted(sections, key=lambda section: section.order))
    return linked


def link_notebook(notebook: Any, own: str, book: list[str]) -> Any:
    """Refresh the links of a notebook in place. Raises ValueError where it cites a section that is not there."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    sources = ["".join(cell["source"]) for cell in cells]
    unknown = [name for source in strip_notebook(sources) for name in find_unknown_in_prose(source)]
    if unknown:
        raise ValueError(f"{own} cites {', '.join(sorted(set(unknown)))}: no such section in tools/sections.json")
    for cell, source in zip(cells, link_cells(sources, own, book), strict=True):
        cell["source"] = source
    return notebook


def find_unknown_in_prose(source: str) -> list[str]:
    return [name for kept, text in split_protected(source) if not kept for name in find_unknown(text)]


def refresh(path: Path, book: list[Path]) -> tuple[str, str]:
    """The text of a notebook's file, and what it has to be."""
    import nbformat

    text = path.read_text(encoding="utf-8")
    notebook = link_notebook(nbformat.reads(text, as_version=4), path.name, [each.name for each in book])
    return text, canonicalise(notebook)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.links", description=(__doc__ or "").split("\n\n")[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the notebooks back with fresh links")
    mode.add_argument("--check", action="store_true", help="fail if a link is missing or stale")
    options = parser.parse_args(arguments)
    book, stale = find_notebooks([]), []
    for path in book:
        try:
            text, wanted = refresh(path, book)
        except ValueError as error:
            sys.exit(str(error))
        if text != wanted:
            stale.append(path)
            if options.write:
                path.write_text(wanted, encoding="utf-8")
    for path in stale:
        print(f"{path.name}   {'written' if options.write else 'has links to refresh: run `make links`'}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
