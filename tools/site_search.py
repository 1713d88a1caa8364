"""What the site's search knows, and the page of sections, which needs no script.

An entry is a section of a document, a heading or a cell of a notebook, a finding, a clause, a word of the glossary, a
module or a definition. A section's entry carries what cites it: cells of the notebooks, and lines of the package.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tools.citations import DOCUMENTS, ROOT, Section, find_citations, list_modules, read_code
from tools.clauses import read_all
from tools.links import GLOSSARY
from tools.site_pages import (
    FINDINGS,
    HERE,
    REPORTS,
    find_page,
    frame,
    list_cells,
    make_slug,
    name_notebook,
    put,
    read_rows,
)

Entry = dict[str, Any]


def make_entry(kind: str, title: str, url: str, text: str = "") -> Entry:
    return {"kind": kind, "title": title, "url": url, "text": text, "keys": [], "links": []}


def read_plain(markdown: str) -> str:
    """The words of a Markdown text."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"^\|?[-:| ]+\|?$", "", text, flags=re.MULTILINE)
    return " ".join(re.sub(r"[`*#|]|^>|```\w*", " ", text, flags=re.MULTILINE).split())


# Sections


@cache
def list_sections() -> list[Section]:
    return [Section(document, number) for document in DOCUMENTS for number in DOCUMENTS[document]["sections"]]


def find_cells(notebooks: dict[Path, Any]) -> dict[Section, list[tuple[str, str]]]:
    """For each section the cells that cite it: what to call the cell, and where it is."""
    cells: dict[Section, list[tuple[str, str]]] = defaultdict(list)
    for path, notebook in notebooks.items():
        heading = ""
        for place, text in list_cells(notebook):
            headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
            heading = read_plain(headings[0]) if headings else heading
            short = f"{path.stem[:2]} {re.sub(r'^[0-9]{2} | [(].*', '', heading)}"
            for section in dict.fromkeys(citation.section for citation in find_citations(text)):
                cells[section].append((short, f"{find_page(f'notebooks/{path.name}')}#cell-{place:02d}"))
    return cells


def list_lines(section: Section) -> list[tuple[str, str]]:
    return [(line.name, f"{find_page(line.file)}#L{line.number}") for line in read_code().get(section, [])]


def join_links(links: list[tuple[str, str]]) -> str:
    return (
        ", ".join(f'<a href="{url}">{html.escape(label)}</a>' for label, url in links) or '<span class="soft">–</span>'
    )


def write_sections(notebooks: dict[Path, Any]) -> Path:
    """Each section of each document with what cites it."""
    cells, parts = find_cells(notebooks), ["<h1>The documents, section by section</h1>"]
    parts.append("<p>Where the book and the code cite a section: cells of the notebooks, and lines of the package.</p>")
    for document, data in DOCUMENTS.items():
        parts.append(f'<h2 id="{make_slug(document)}">{document}: {html.escape(data["title"])}</h2>')
        parts.append('<div class="scroll"><table class="cite">')
        parts.append("<tr><th>section</th><th>title</th><th>notebooks</th><th>code</th></tr>")
        for section in list_sections():
            if section.document == document:
                name = document if document == "LIP-1" else html.escape(section.name)
                link = f'<a href="{section.address}">{name}</a>'
                row = [
                    link,
                    html.escape(section.title),
                    join_links(cells.get(section, [])),
                    join_links(list_lines(section)),
                ]
                parts.append(f'<tr id="{make_slug(section.name)}"><td>' + "</td><td>".join(row) + "</td></tr>")
        parts.append("</table></div>")
    return put("sections.html", frame("Sections", "\n".join(parts), "sections.html", wide=True))


def list_section_entries(notebooks: dict[Path, Any]) -> Iterator[Entry]:
    cells = find_cells(notebooks)
    for section in list_sections():
        name = section.document if section.document == "LIP-1" else section.name
        entry = make_entry("section", f"{name} {section.title}", f"sections.html#{make_slug(section.name)}")
        entry["keys"] = [section.name.lower(), section.number.lower()]
        entry["links"] = [*cells.get(section, [])[:8], *list_lines(section)[:8]]
        yield entry


# Everything else that can be found


def list_notebook_entries(notebooks: dict[Path, Any]) -> Iterator[Entry]:
    for path, notebook in notebooks.items():
        page, heading = find_page(f"notebooks/{path.name}"), ""
        for place, text in list_cells(notebook):
            found = re.match(r"#+ (.+)", text)
            if found:
                heading = read_plain(found[1])
            title = heading if place == 0 else f"{path.stem[:2]} · {heading}"
            words = read_plain(text[found.end() :] if found else text)
            yield make_entry("notebook" if place == 0 else "cell", title, f"{page}#cell-{place:02d}", words)


def list_finding_entries() -> Iterator[Entry]:
    text = FINDINGS.read_text(encoding="utf-8")
    for name, words in re.findall(r"^\* \*\*([RCN]\d+)\*\* (.+(?:\n  .+)*)", text, flags=re.MULTILINE):
        entry = make_entry("finding", f"Finding {name}", f"findings.html#{name}", read_plain(words))
        entry["keys"] = [name.lower()]
        yield entry


def list_glossary_entries() -> Iterator[Entry]:
    text = GLOSSARY.read_text(encoding="utf-8") if GLOSSARY.exists() else ""
    for row in re.findall(r"^\| (?!-)(.+) \|$", text, flags=re.MULTILINE):
        word, _, meaning = row.partition(" | ")
        if word != "word":
            yield make_entry(
                "glossary", read_plain(word), f"glossary.html#{make_slug(read_plain(word))}", read_plain(meaning)
            )


def list_clause_entries() -> Iterator[Entry]:
    for clause in read_all():
        title, words = (
            f"{clause.document} {clause.id}, {clause.keyword}",
            f"{clause.says} {clause.standing}. {clause.why}",
        )
        yield make_entry("clause", title, f"clauses.html#{clause.anchor}", read_plain(words))


def list_code_entries() -> Iterator[Entry]:
    says = read_rows("protocol")
    for path in list_modules():
        file = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield make_entry("module", file.removeprefix("protocol/"), find_page(file), says.get(file, ""))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                where = f"{find_page(file)}#L{node.lineno}"
                yield make_entry(file.removeprefix("protocol/"), node.name, where, first)


def list_entries(notebooks: dict[Path, Any]) -> list[Entry]:
    return [
        *list_section_entries(notebooks),
        *list_glossary_entries(),
        *list_notebook_entries(notebooks),
        *list_finding_entries(),
        *list_clause_entries(),
        *list_code_entries(),
    ]


def write_index(notebooks: dict[Path, Any]) -> Path:
    """The search, and one line for each notebook."""
    says = read_rows("notebooks")
    rows = "\n".join(
        f'<tr><td><a href="{find_page(f"notebooks/{path.name}")}">{html.escape(name_notebook(path))}</a></td>'
        f"<td>{html.escape(says.get(f'notebooks/{path.name}', ''))}</td></tr>"
        for path in notebooks
    )
    reports = ""
    if (REPORTS / "index.html").exists():
        reports = '<p>Reports of single crashes: <a href="../reports/index.html">the gallery</a>.</p>'
    entries = json.dumps(list_entries(notebooks), ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    body = f"""<h1>Two gateways and a crash</h1>
<p>How two gateways stay in agreement when one of them crashes, as an executable book.
Every page was produced by running its notebook from the first cell.</p>
<form role="search"><input class="large" type="search" id="q" name="q" aria-label="search" aria-describedby="status"
 placeholder="a section (SATP 8.3, or 8.3), a word (rollback), a finding (R18)" autocomplete="off"></form>
<p id="status" role="status" class="soft"></p>
<ul class="found" id="found"></ul>
<noscript><p>The search needs JavaScript. Without it: <a href="sections.html">all sections</a>.</p></noscript>
<h2 id="the-book">The book</h2>
<div class="scroll"><table><tr><th>notebook</th><th>shows</th></tr>
{rows}
</table></div>
{reports}
<script type="application/json" id="entries">{entries}</script>
<script>
{(HERE / "site.js").read_text(encoding="utf-8")}</script>"""
    return put("index.html", frame("Two gateways and a crash", body, "index.html"))
