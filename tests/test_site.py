"""The site: every link in it leads to a place, it can be searched, asks no network, and can be read in the dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools import site, site_pages, site_search
from tools.citations import Section
from tools.links import link_notebook
from tools.notebooks import WIDGET_VIEW, canonicalise, find_notebooks

LOADED = r"""<(?:script|link|img|iframe|source|image)\b[^>]*?\b(?:src|href|xlink:href)=["']?([^"' >]+)"""
NODE = shutil.which("node")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The site of the stored notebooks, with the links that `make links` gives them; of other files the names only."""
    folder = tmp_path_factory.mktemp("site")
    book = [path.name for path in find_notebooks([])]
    linked = {}
    for path in find_notebooks([]):
        text = canonicalise(link_notebook(site_pages.read_notebook(path), path.name, book))
        linked[path] = nbformat.reads(text, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_pages, "PAGES", folder)
        patch.setattr(site_search, "REPORTS", folder / "reports")  # whether some were made here or not
        site.write_site(linked)
    texts = {page.relative_to(folder).as_posix(): page.read_text("utf-8") for page in folder.rglob("*.html")}
    yield texts | {path.relative_to(folder).as_posix(): "" for path in (folder / "files").rglob("*.*")}


def test_every_notebook_document_and_module_has_a_page(pages: dict[str, str]) -> None:
    assert {f"{path.stem}.html" for path in find_notebooks([])} <= set(pages)
    assert {"index.html", "sections.html", "findings.html", "code/index.html", "code/gateway.html"} <= set(pages)
    assert {"message-tables.html", "schemas.html"} <= set(pages)
    assert "code/messages/satp.html" in pages


def list_anchors(page: str) -> list[str]:
    return [
        unescape(name) for name in re.findall(r'<[^>]*\bid="([^"]+)"', re.sub(r"<svg.*?</svg>", "", page, flags=re.S))
    ]


def test_every_link_inside_the_site_leads_to_a_place(pages: dict[str, str]) -> None:
    anchors = {name: set(list_anchors(page)) for name, page in pages.items()}
    followed = 0
    for name, page in pages.items():
        for target in map(unescape, re.findall(r'<a\b[^>]*\bhref="([^"]*)"', page)):
            if re.match(r"https?:", target):
                continue
            file, _, fragment = target.partition("#")
            there = (Path("/") / Path(name).parent / file).resolve().relative_to("/").as_posix() if file else name
            assert there in pages, f"{name} leads to {target}"
            assert not fragment or fragment in anchors[there], f"{name} leads to {target}"
            followed += 1
    assert followed > 1000


def test_a_place_has_one_name(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        anchors = list_anchors(page)
        assert len(anchors) == len(set(anchors)), name


def test_the_pages_do_not_ask_the_network(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        assert all(not re.match(r"(?:https?:)?//", target) for target in re.findall(LOADED, page)), name
    style, script = site_pages.HERE / "site.css", site_pages.HERE / "site.js"
    assert not re.search(r"@import|url\(", style.read_text())
    assert not re.search(r"fetch\(|XMLHttpRequest|import\b|https?:", script.read_text())


def test_a_line_that_loads_from_the_network_would_be_seen() -> None:
    assert re.findall(LOADED, '<script async src="https://x.org/a.js"><link rel=x href=//y.org>') == [
        "https://x.org/a.js",
        "//y.org",
    ]


def test_figures_are_part_of_their_page(pages: dict[str, str]) -> None:
    page = pages["07_crash_and_resume.html"]
    assert page.count("<svg") > 5
    assert "transfer-resume" in re.findall(r"<svg.*?</svg>", page, flags=re.S)[0]
    assert "<img" not in page


def test_a_link_to_the_code_leads_to_the_line(pages: dict[str, str]) -> None:
    target = re.search(r'<a href="(code/[^"#]+)#(L\d+)">SATP 8\.3</a>', pages["05_a_transfer.html"])
    assert target
    line = re.search(rf'<span class="line" id="{target[2]}">(.*)', pages[target[1]])
    assert line and "SATP 8.3" in re.sub(r"<[^>]+>", "", line[1])


def test_the_pages_of_sections_needs_no_script(pages: dict[str, str]) -> None:
    page = pages["sections.html"]
    assert "<script" not in page
    row = re.search(r'<tr id="satp-8.3">.*', page)
    assert row and "05_a_transfer.html#cell-" in row[0] and "code/messages/satp.html#L" in row[0]


# Search


def read_entries(pages: dict[str, str]) -> list[Any]:
    found = re.search(r'<script type="application/json" id="entries">(.*?)</script>', pages["index.html"], flags=re.S)
    assert found
    entries: list[Any] = json.loads(found[1])
    return entries


def test_the_search_knows_sections_headings_findings_and_code(pages: dict[str, str]) -> None:
    entries = read_entries(pages)
    kinds = {entry["kind"] for entry in entries}
    assert {"section", "notebook", "cell", "finding", "module"} <= kinds
    (section,) = [entry for entry in entries if "satp 8.3" in entry["keys"]]
    assert section["url"] == "sections.html#satp-8.3"
    assert any(url.startswith("05_a_transfer.html#cell-") for _, url in section["links"])
    assert [entry for entry in entries if entry["title"].startswith("08 Rollback")]
    assert len([entry for entry in entries if entry["kind"] == "section"]) == len(site_search.list_sections())
    assert {Section("SATP", "8.3"), Section("RECOVERY", "6.1")} <= set(site_search.list_sections())


def test_what_can_be_found_is_there(pages: dict[str, str]) -> None:
    anchors = {name: set(list_anchors(page)) for name, page in pages.items()}
    for entry in read_entries(pages):
        for url in [entry["url"], *(url for _, url in entry["links"])]:
            page, _, fragment = url.partition("#")
            assert not fragment or fragment in anchors[page], entry["title"]


SEARCH = """
const {readFileSync} = require("fs");
const [, , code, data, asked] = process.argv;
const made = () => ({
  children: [], textContent: "", value: asked, form: {addEventListener() {}}, addEventListener() {},
  append(...all) { this.children.push(...all); }, replaceChildren(...all) { this.children = all; },
});
const parts = {entries: {textContent: readFileSync(data, "utf8")}, q: made(), found: made(), status: made()};
globalThis.document = {getElementById: (name) => parts[name], createElement: made};
globalThis.location = {search: "?q=" + encodeURIComponent(asked)};
(0, eval)(readFileSync(code, "utf8"));
console.log(JSON.stringify([parts.status.textContent, parts.found.children.map((item) => item.children[0].href)]));
"""


@pytest.mark.skipif(NODE is None, reason="node runs the search without a browser; it is not installed")
@pytest.mark.parametrize(
    ("asked", "first", "among"),
    [
        ("SATP 8.3", "sections.html#satp-8.3", "05_a_transfer.html#cell-"),
        ("8.3", "sections.html#satp-8.3", "sections.html#satp-8.3"),
        ("6.1", "sections.html#recovery-6.1", "sections.html#recovery-6.1"),
        ("§ 5.3.9", "sections.html#satp-5.3.9", "sections.html"),
        ("gateway replacement", "sections.html#recovery-6.1", "sections.html#recovery-6.1"),
        ("R18", "findings.html#R18", "findings.html#R18"),
    ],
)
def test_the_search_finds(pages: dict[str, str], tmp_path: Path, asked: str, first: str, among: str) -> None:
    (tmp_path / "search.cjs").write_text(SEARCH)
    (tmp_path / "data.json").write_text(json.dumps(read_entries(pages)))
    arguments = [tmp_path / "search.cjs", site_pages.HERE / "site.js", tmp_path / "data.json", asked]
    done = subprocess.run([str(NODE), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True)
    status, found = json.loads(done.stdout)
    assert re.match(r"\d+ found", status)
    assert found[0] == first
    assert any(url.startswith(among) for url in found)


def test_a_word_finds_sections_and_notebooks(pages: dict[str, str]) -> None:
    """Without the script: what it looks through has the word in these titles."""
    found = [entry["url"] for entry in read_entries(pages) if "rollback" in entry["title"].lower()]
    assert {"sections.html#recovery-5.3.4", "08_rollback.html#cell-00", "code/rollback.html"} <= {*found}


# Themes


def test_there_are_colours_for_the_dark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_pages, "PAGES", tmp_path)
    sheet = site_pages.write_style().read_text()
    assert sheet.count("prefers-color-scheme: dark") == 2, "one for the pages, one for the code"
    names = re.findall(r"--(\w+):", sheet.split(":root {")[1].split("}")[0])
    dark = re.findall(r"--(\w+):", sheet.rsplit("prefers-color-scheme: dark", 1)[1].split("}")[0])
    assert names == dark, "every colour has its dark twin"


def read_colours(text: str) -> dict[str, tuple[float, float, float]]:
    found = re.findall(r"--(\w+): #([0-9a-f]{6})", text)
    return {name: (int(c[:2], 16) / 255, int(c[2:4], 16) / 255, int(c[4:], 16) / 255) for name, c in found}


def compute_contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """WCAG 2: from 1 to 21; small text needs 4.5."""

    def light(colour: tuple[float, float, float]) -> float:
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    bright, dim = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_no_theme_writes_grey_on_grey() -> None:
    light, dark, *_ = re.findall(r":root \{.*?\}", (site_pages.HERE / "site.css").read_text(), flags=re.S)
    for colours in map(read_colours, (light, dark)):
        for ink in ("ink", "soft", "link"):
            for paper in ("paper", "band", "mark"):
                assert compute_contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


def test_no_output_brings_a_colour_of_its_own() -> None:
    """HTML outputs take the colours of the page; figures have both themes."""
    for path in find_notebooks([]):
        for cell in site_pages.read_notebook(path).cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                outside = re.sub(r"<svg.*?</svg>", "", data.get("text/html", ""), flags=re.S)
                assert not re.search(r"color\s*[:=]|background", outside), path.name
                for figure in re.findall(r"<svg.*?</svg>", data.get("image/svg+xml", ""), flags=re.S):
                    assert "prefers-color-scheme: dark" in figure, path.name


# Small things


def test_what_the_tool_does_not_know_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(site_pages, "PAGES", tmp_path / "book")
    with pytest.raises(SystemExit):
        site.main(["--chek"])
    assert "unrecognized arguments: --chek" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_panel_is_a_picture_that_says_where_the_live_one_is() -> None:
    cell = nbformat.v4.new_code_cell("CrashLab()")
    cell.outputs = [
        nbformat.v4.new_output(
            "execute_result",
            data={WIDGET_VIEW: {"model_id": "x"}, "image/svg+xml": "<svg>crash</svg>", "text/plain": "X"},
            execution_count=1,
        )
    ]
    body = site_pages.render_cell(cell)
    assert "<svg>crash</svg>" in body and "model_id" not in body
    assert "make lab" in body and "mybinder.org" in body


def test_two_headings_that_say_the_same_are_two_places() -> None:
    body = site_pages.make_ids_unique('<h2 id="A">A</h2><h3 id="A">A</h3>')
    assert re.findall(r'id="([^"]+)"', body) == ["A", "A-2"]


def test_a_finding_is_linked_in_prose_only() -> None:
    text = '<p title="R18">R18, <code>R18</code>, <a href="x">R18</a>, R999, GW1</p><h2>R18</h2>'
    assert site_pages.replace_in_text(text, site_pages.link_findings).count("findings.html#R18") == 1


def test_a_section_in_the_glossary_leads_to_the_list() -> None:
    text = site_pages.replace_in_text(
        "<td>LIP-1 &quot;StatusEnum&quot;, SATP 8.3</td><code>SATP 8.3</code>", site_pages.link_sections
    )
    assert re.findall(r'href="([^"]+)"', text) == ["sections.html#lip-1-statusenum", "sections.html#satp-8.3"]


def test_the_reports_are_linked_once_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_pages, "PAGES", tmp_path / "book")
    monkeypatch.setattr(site_search, "REPORTS", tmp_path / "reports")
    assert "reports/index.html" not in site_search.write_index({}).read_text()
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("")
    assert 'href="../reports/index.html"' in site_search.write_index({}).read_text()
