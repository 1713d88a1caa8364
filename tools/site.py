"""Write the book as a small site that needs nothing from the network: build/book.

    python -m tools.site                the pages of the notebooks as they are stored, without running them

`make demo` runs the notebooks first and then writes the same pages. The notebooks, the findings, the clauses, the
message tables, the glossary, the modules of the package and the tests that a clause names become pages; links between
them lead to pages and lines. index.html has the search, and sections.html lists, without any script, which cell and
which line cites which section of which document.
Pages follow the light or dark theme of the reader; figures are part of the page, so their words can be found.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import site_pages
from tools.clauses import PAGE as CLAUSES
from tools.links import GLOSSARY
from tools.notebooks import ROOT, find_notebooks
from tools.site_pages import (
    FINDINGS,
    HREF,
    SCHEMAS,
    TABLES,
    read_notebook,
    write_code,
    write_document,
    write_notebook,
    write_style,
    write_tests,
)
from tools.site_search import write_index, write_sections


def copy_files() -> Iterator[Path]:
    """Files that a page links to and that are neither page nor code."""
    for page in sorted(site_pages.PAGES.rglob("*.html")):
        for target in HREF.findall(page.read_text(encoding="utf-8")):
            path = posixpath.normpath(
                posixpath.join(page.parent.relative_to(site_pages.PAGES).as_posix(), target.partition("#")[0])
            )
            if path.startswith("files/") and not (site_pages.PAGES / path).exists():
                (site_pages.PAGES / path).parent.mkdir(parents=True, exist_ok=True)
                yield Path(shutil.copyfile(ROOT / path.removeprefix("files/"), site_pages.PAGES / path))


def write_site(run: dict[Path, Any] | None = None) -> Path:
    """The whole site: notebooks that were run just now as they came out, the others as they are stored."""
    shutil.rmtree(site_pages.PAGES, ignore_errors=True)
    notebooks = {path: (run or {}).get(path) or read_notebook(path) for path in find_notebooks([])}
    write_style()
    for path, notebook in notebooks.items():
        write_notebook(notebook, path)
    write_document(FINDINGS, "Findings")
    write_document(CLAUSES, "Clauses")
    write_document(TABLES, "Message tables")
    write_document(SCHEMAS, "JSON Schemas")
    if GLOSSARY.exists():
        write_document(GLOSSARY, "Glossary")
    write_code()
    write_tests()
    write_sections(notebooks)
    index = write_index(notebooks)
    list(copy_files())
    return index


def main(arguments: list[str] | None = None) -> int:
    summary = (__doc__ or "").split("\n\n")[0]
    argparse.ArgumentParser(prog="python -m tools.site", description=summary).parse_args(arguments)
    index = write_site()
    print(f"The pages are in {os.path.relpath(index.parent, ROOT)}; open {os.path.relpath(index, ROOT)} in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
