"""The pages of the site: notebooks, documents, modules and the style they share; links between them lead to places.

A page needs nothing from the network. It follows the light or dark theme of the reader, and a figure is part of it,
so that its words can be found. Links between files of the repository become links between pages and lines. Which
pages there are is not known here, nor what is searched (site.py, site_search.py).
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tools.citations import find_citations, list_modules
from tools.clauses import list_tests, read_all
from tools.links import GLOSSARY, NAVIGATION, strip_notebook
from tools.notebooks import ROOT, WIDGET_VIEW, find_notebooks, read_title

PAGES = ROOT / "build" / "book"
REPORTS = ROOT / "build" / "reports"
HERE = Path(__file__).parent
FINDINGS = ROOT / "docs" / "findings.md"
TABLES = ROOT / "docs" / "message-tables.md"
SCHEMAS = ROOT / "docs" / "schemas" / "README.md"
BINDER = re.compile(r"https://mybinder\.org/v2/\S+?(?=\))")
PANELS = re.compile(r"\b(?:CrashLab|RuleLab)\(")
BEST_FIRST = ("text/html", "image/svg+xml", "text/plain")
HREF = re.compile(r'(?<=<a href=")[^"]*(?=")')


def read_notebook(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


@cache
def read_readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def read_rows(folder: str) -> dict[str, str]:
    """What the README's tables say that a notebook shows, and that lives in a module."""
    return dict(re.findall(rf"^\| \[[^\]]+\]\(({folder}/\S+?)\) \| (.+?) \|$", read_readme(), flags=re.MULTILINE))


# Pages and links


def find_page(path: str) -> str:
    """Where a file of the repository is in the site."""
    if path.startswith("notebooks/"):
        return path.removeprefix("notebooks/").removesuffix(".ipynb") + ".html"
    if path.endswith(".py"):
        return "code/" + path.removeprefix("protocol/").removesuffix(".py") + ".html"
    if path == "README.md":
        return "index.html"
    if path == SCHEMAS.relative_to(ROOT).as_posix():
        return "schemas.html"
    if path.endswith(".md"):
        return posixpath.basename(path).removesuffix(".md") + ".html"
    return f"files/{path}"


def rewrite_links(body: str, source: str) -> str:
    """Links between files of the repository become links between pages of the site."""
    here = posixpath.dirname(find_page(source))

    def rewrite(found: re.Match[str]) -> str:
        target, mark, fragment = html.unescape(found[0]).partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if (ROOT / path).is_dir():
            path = "README.md"
        return html.escape(posixpath.relpath(find_page(path), here or ".") + mark + fragment)

    return HREF.sub(rewrite, body)


def frame(title: str, body: str, page: str, way: str = "", wide: bool = False) -> str:
    """A page with its bar: the way through the book, the lists, and the search."""
    up = "../" * page.count("/")
    lists = [("index.html", "contents"), ("sections.html", "sections"), ("code/index.html", "code")]
    lists += [("message-tables.html", "messages"), ("findings.html", "findings"), ("clauses.html", "clauses")]
    lists += [("glossary.html", "glossary")] * GLOSSARY.exists()
    links = [
        f'<a href="{up}{to}"' + (' aria-current="page"' if to == page else "") + f">{name}</a>" for to, name in lists
    ]
    box = f"""<form action="{up}index.html" role="search"><input type="search" name="q" aria-label="search"
 placeholder="SATP 8.3, 5.3.9, rollback"></form>"""
    box = "" if page == "index.html" else box
    foot = f'<nav class="bar foot" aria-label="onwards"><span class="way">{way}</span></nav>' if way else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="stylesheet" href="{up}style.css"></head><body>
<nav class="bar" aria-label="site"><span class="way">{way}</span>{" ".join(links)}{box}</nav>
<main{' class="wide"' if wide else ""}>
{body}
{foot}
</main></body></html>
"""


def write_way(places: list[tuple[str, str]], place: int, page: str) -> str:
    """The page before and the page after."""
    up = "../" * page.count("/")
    before = [f'<a rel="prev" href="{up}{to}">← {html.escape(name)}</a>' for to, name in places[place - 1 : place]]
    after = [f'<a rel="next" href="{up}{to}">{html.escape(name)} →</a>' for to, name in places[place + 1 : place + 2]]
    return " ".join(before + after)


def put(page: str, text: str) -> Path:
    path = PAGES / page
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# Notebooks and documents


def render_markdown(text: str, source: str) -> str:
    """Markdown as HTML, with wide tables that scroll. Mermaid text stays text: there is nothing here to draw it."""
    from nbconvert.filters import markdown2html

    body = str(markdown2html(text)).replace('<pre class="mermaid">', "<pre>")
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    return rewrite_links(body, source)


def highlight(code: str) -> str:
    from pygments import highlight as draw
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return str(draw(code, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)))


def render_output(output: Any) -> str:
    """The best form of an output that needs no script."""
    if output.output_type == "stream":
        return f"<pre>{html.escape(output.text)}</pre>"
    kind = next((kind for kind in BEST_FIRST if kind in output.data), None)
    if kind is None:
        return ""
    if kind == "text/html":
        body = str(output.data[kind]).replace("<table", '<div class="scroll"><table')
        return body.replace("</table>", "</table></div>")
    if kind == "image/svg+xml":
        return f'<div class="scroll">{output.data[kind]}</div>'
    return f"<pre>{html.escape(output.data[kind])}</pre>"


def render_cell(cell: Any) -> str:
    parts = [f'<div class="highlight"><pre>{highlight(cell.source).rstrip()}</pre></div>']
    outputs = [render_output(output) for output in cell.outputs]
    if any(outputs):
        parts.append(f'<div class="output">{"".join(outputs)}</div>')
    if PANELS.search(cell.source) or any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs):
        address = BINDER.search(read_readme())
        binder = f'or <a href="{html.escape(address[0])}">Binder</a> in a browser' if address else "or Binder"
        parts.append(
            '<p class="live">This is a picture of a panel with controls. The live one is in the notebook: '
            f"<code>make lab</code> on your machine, {binder}.</p>"
        )
    return "\n".join(parts)


def write_notebook(notebook: Any, path: Path) -> Path:
    """A notebook as one page. The bar takes the place of the links in its first cell."""
    source = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else f"notebooks/{path.name}"
    book = [(find_page(f"notebooks/{each.name}"), name_notebook(each)) for each in find_notebooks([])]
    page, cells = find_page(f"notebooks/{path.name}"), []
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text = NAVIGATION.sub("", cell.source) if place == 0 else cell.source
            body = replace_in_text(render_markdown(text, source), link_findings)
        else:
            body = render_cell(cell)
        cells.append(f'<div class="cell" id="cell-{place:02d}">\n{body}\n</div>')
    way = write_way(book, [to for to, _ in book].index(page), page)
    return put(page, frame(read_title(notebook), make_ids_unique("\n".join(cells)), page, way))


def name_notebook(path: Path) -> str:
    return path.stem[:2] + " " + path.stem[3:].replace("_", " ").capitalize()


def make_ids_unique(body: str) -> str:
    """Two headings of one page may say the same."""
    seen: dict[str, int] = {}

    def count(found: re.Match[str]) -> str:
        seen[found[1]] = seen.get(found[1], 0) + 1
        return found[0] if seen[found[1]] == 1 else f"{found[0]}-{seen[found[1]]}"

    return re.sub(r'(?<=<h[1-6] id=")([^"]+)', count, body)


@cache
def list_findings() -> frozenset[str]:
    return frozenset(re.findall(r"^\* \*\*([RCN]\d+)\*\*", FINDINGS.read_text(encoding="utf-8"), flags=re.MULTILINE))


def replace_in_text(body: str, change: Callable[[str], str]) -> str:
    """Change the words of a page: not its code, headings, figures and links, and not what stands inside a tag."""
    skip = re.compile(r"<(a|code|pre|h1|h2|h3|svg|style)\b.*?</\1>|<[^>]*>", re.DOTALL)
    pieces, end = [], 0
    for found in skip.finditer(body):
        pieces += [change(body[end : found.start()]), found[0]]
        end = found.end()
    return "".join(pieces) + change(body[end:])


def link_findings(text: str) -> str:
    """R18 in a sentence leads to the finding."""

    def link(found: re.Match[str]) -> str:
        return f'<a href="findings.html#{found[0]}">{found[0]}</a>' if found[0] in list_findings() else found[0]

    return re.sub(r"\b[RCN]\d{1,2}\b", link, text)


def link_sections(text: str, up: str = "") -> str:
    """SATP 8.3 leads to its line in the list of sections."""
    text, end, linked = text.replace("&quot;", '"'), 0, ""
    for citation in find_citations(text):
        to = f"{up}sections.html#{make_slug(citation.section.name)}"
        linked += f'{text[end : citation.start]}<a href="{to}">{text[citation.start : citation.end]}</a>'
        end = citation.end
    return linked + text[end:]


def write_document(path: Path, title: str) -> Path:
    """A text of docs/ as a page; each finding and each word of the glossary can be linked to."""
    source = path.relative_to(ROOT).as_posix()
    body = replace_in_text(render_markdown(path.read_text(encoding="utf-8"), source), link_sections)
    if path == GLOSSARY:
        body = replace_in_text(body, link_findings)
    body = re.sub(r"<li><strong>([RCN]\d+)</strong>", r'<li id="\1"><strong>\1</strong>', body)
    if path == GLOSSARY:
        body = re.sub(r"<tr>\s*<td>(.*?)</td>", _anchor_word, body, flags=re.DOTALL)
    page = find_page(source)
    return put(page, frame(title, make_ids_unique(body), page, wide=True))


def _anchor_word(found: re.Match[str]) -> str:
    return f'<tr id="{make_slug(re.sub("<[^>]+>", "", found[1]))}"><td>{found[1]}</td>'


def make_slug(words: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", html.unescape(words).lower()).strip("-")


# Code


def render_module(text: str, page: str) -> str:
    """Code with an anchor on each line; a section that a comment cites leads to the list of sections."""
    up = "../" * page.count("/")
    lines = []
    for number, line in enumerate(highlight(text).rstrip("\n").split("\n"), 1):
        anchor = f'<a class="lineno" href="#L{number}">{number}</a>'
        lines.append(f'<span class="line" id="L{number}">{anchor}{link_sections(line, up)}</span>')
    return '<div class="highlight module"><pre>' + "\n".join(lines) + "</pre></div>"


def write_code() -> list[Path]:
    """A page for each module, and one that lists them in reading order."""
    modules = [path.relative_to(ROOT).as_posix() for path in list_modules()]
    says = read_rows("protocol")
    places = [(find_page(module), module.removeprefix("protocol/")) for module in modules]
    pages = []
    for place, module in enumerate(modules):
        page, name = places[place]
        head = f"<h1>{name}</h1>\n<p>{html.escape(says.get(module, ''))}</p>\n"
        body = head + render_module((ROOT / module).read_text(encoding="utf-8"), page)
        pages.append(put(page, frame(name, body, page, write_way(places, place, page), wide=True)))
    items = "\n".join(
        f'<li><a href="{to.removeprefix("code/")}"><code>{name}</code></a> {html.escape(says.get(module, ""))}</li>'
        for module, (to, name) in zip(modules, places, strict=True)
    )
    body = f'<h1>The package, in reading order</h1>\n<ol class="modules">\n{items}\n</ol>'
    return [*pages, put("code/index.html", frame("The package", body, "code/index.html"))]


def write_tests() -> list[Path]:
    """A page for each file of tests that the clause index leads to."""
    pages = []
    for file in list_tests(read_all()):
        page, text = find_page(file), (ROOT / file).read_text(encoding="utf-8")
        pages.append(put(page, frame(file, f"<h1>{file}</h1>\n{render_module(text, page)}", page, wide=True)))
    return pages


def write_style() -> Path:
    """One style sheet for all pages; the colours of code follow the theme like everything else."""
    from pygments.formatters import HtmlFormatter

    def colours(style: str) -> str:
        rules = HtmlFormatter(style=style).get_style_defs(".highlight").splitlines()
        return "\n".join(rule for rule in rules if re.match(r"\.highlight \.\w+ \{", rule))

    light, dark = colours("default"), colours("github-dark")
    sheet = (HERE / "site.css").read_text(encoding="utf-8")
    return put("style.css", f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n{sheet}")


def list_cells(notebook: Any) -> list[tuple[int, str]]:
    """The Markdown cells of a notebook as they were written by hand, with their places."""
    cells = [(place, cell.source) for place, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"]
    return list(zip([place for place, _ in cells], strip_notebook([text for _, text in cells]), strict=True))
