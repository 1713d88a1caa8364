"""Run the ordered notebooks, and keep them in one canonical form.

    python -m tools.book                run the book, write readable pages to build/book (this is `make demo`)
    python -m tools.book --write        run the book and write the notebooks themselves, canonically (`make book`)
    python -m tools.book --check        run the book; fail if a notebook differs in one byte from what was committed

A notebook is canonical when every cell was executed in order, its metadata says nothing about who ran it
where, cell ids count upwards, and no output depends on the run. Then the same seed gives the same bytes,
and the comparison can be exact: it also covers what nbval skips (pictures, cell ids, a notebook never run).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import html
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PAGES = ROOT / "build" / "book"
SVG_IMAGE = re.compile(r'<img[^>]*src="data:image/svg\+xml;base64,([^"]+)"[^>]*>')
MEMORY = "/dev/shm"  # where there is one, the logs of all the gateways in the book; a disk takes three times as long
TIMEOUT_S = 300  # for one cell: a stall of the machinery must end

# What a notebook may put on a page. Widgets and figures add more kinds beside these, never instead of text/plain.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def find_notebooks(names: list[str]) -> list[Path]:
    """The notebooks of the book in reading order; only those whose number was named, if any was."""
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not names:
        return found
    wanted = [path for path in found if path.name[:2] in names]
    unknown = sorted(set(names) - {path.name[:2] for path in found})
    if unknown:
        there = ", ".join(path.name[:2] for path in found)
        sys.exit(f"There is no notebook {', '.join(unknown)}; the book has {there}.")
    return wanted


def canonicalise(notebook: Any) -> str:
    """The one way to write a notebook down. Returns the file's text."""
    import nbformat

    notebook = nbformat.from_dict(notebook)
    notebook["nbformat"], notebook["nbformat_minor"], notebook["metadata"] = 4, 5, METADATA
    executed = 0
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number:02d}"
        kept = {"tags": cell["metadata"]["tags"]} if cell["metadata"].get("tags") else {}
        cell["metadata"] = kept
        cell["source"] = "\n".join(line.rstrip() for line in cell["source"].splitlines())
        if cell["cell_type"] == "code":
            executed += 1
            cell["execution_count"] = executed
            cell["outputs"] = _join_streams(cell["outputs"])
            for output in cell["outputs"]:
                if output["output_type"] == "execute_result":
                    output["execution_count"] = executed
                if "metadata" in output:
                    output["metadata"] = {}
    return str(nbformat.writes(nbformat.from_dict(notebook))) + "\n"


def _join_streams(outputs: list[Any]) -> list[Any]:
    """What was printed arrives in as many pieces as the moment makes of it; on the page it is one."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output["output_type"] == last.get("output_type") == "stream" and output["name"] == last["name"]:
            last["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def execute(path: Path, on_cell: Any = None) -> Any:
    """Run a notebook from its first cell in a fresh kernel; the stored outputs play no part."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    for attempt in (1, 2):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.pop("outputs", None)
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT_S,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_executed=on_cell,
        )
        try:
            return client.execute()
        except (CellTimeoutError, DeadKernelError):
            # The kernel or its channel stalled: try once more. A wrong result is never tried again.
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


def write_page(notebook: Any, path: Path) -> Path:
    """A notebook as one HTML page that needs nothing from the network."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="lab")
    exporter.log.setLevel("ERROR")
    for script in ("require_js_url", "mathjax_url", "jquery_url", "mermaid_js_url"):
        setattr(exporter, script, "")
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": read_title(notebook)}})
    # Figures as elements of the page, not as images: their words can be found and read aloud.
    body = SVG_IMAGE.sub(lambda image: base64.b64decode(image[1]).decode(), body)
    page = PAGES / f"{path.stem}.html"
    page.write_text(body, encoding="utf-8")
    return page


def read_title(notebook: Any) -> str:
    return str(notebook.cells[0].source.splitlines()[0].lstrip("# "))


def write_index(pages: list[tuple[str, Path]]) -> Path:
    links = "\n".join(f'<li><a href="{page.name}">{html.escape(title)}</a></li>' for title, page in pages)
    index = PAGES / "index.html"
    index.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Two gateways and a crash</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }}
</style></head><body>
<h1>Two gateways and a crash</h1>
<p>How two gateways stay in agreement when one of them crashes, as an executable book.
Every page was produced by running its notebook from the first cell.</p>
<ul>
{links}
</ul>
</body></html>
""",
        encoding="utf-8",
    )
    return index


def run(paths: list[Path]) -> Iterator[tuple[Path, Any, str, float]]:
    """Execute each notebook under one progress bar; yields path, notebook, its text and seconds.

    Both are the canonical form: a page shows what is written down, however the outputs arrived.
    """
    import nbformat
    from tqdm import tqdm

    cells = {path: sum(cell.cell_type == "code" for cell in nbformat.read(path, as_version=4).cells) for path in paths}
    with tqdm(total=sum(cells.values()), unit="cell", desc="the book", leave=False, disable=None) as bar:
        for path in paths:
            bar.set_description(path.stem)
            started = time.monotonic()
            text = canonicalise(execute(path, on_cell=lambda **_: bar.update(1)))
            with bar.external_write_mode(sys.stdout):
                yield path, nbformat.reads(text, as_version=4), text, time.monotonic() - started


def prepare_environment() -> None:
    """Keep the reader's own Jupyter and IPython settings out of the outputs."""
    private = ROOT / "build" / "jupyter"
    private.mkdir(parents=True, exist_ok=True)
    os.environ["IPYTHONDIR"] = str(private / "ipython")
    os.environ["JUPYTER_CONFIG_DIR"] = str(private / "config")
    os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
    os.environ.pop("PYTHONSTARTUP", None)
    os.environ["COLUMNS"] = "80"
    if os.access(MEMORY, os.W_OK):  # a crash in the book is that of a process: what was flushed survives it anywhere
        os.environ["TMPDIR"] = MEMORY
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if sys.platform == "win32":
        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.book", description=(__doc__ or "").split("\n\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help="write the executed notebooks back, in canonical form")
    mode.add_argument("--check", action="store_true", help="fail if a notebook would change in a single byte")
    parser.add_argument("only", nargs="*", metavar="NN", help="numbers of the notebooks to run (default: all)")
    options = parser.parse_args(arguments)
    prepare_environment()
    PAGES.mkdir(parents=True, exist_ok=True)
    paths = find_notebooks(options.only)

    changed, pages = [], []
    for path, notebook, text, seconds in run(paths):
        same = path.read_text(encoding="utf-8") == text
        if not same:
            changed.append(path)
        if options.write:
            path.write_text(text, encoding="utf-8")
            word = "unchanged" if same else "written"
        else:
            word = "same bytes as committed" if same else "DIFFERS from what was committed"
        title = read_title(notebook)
        if not options.write and not options.check:
            (PAGES / path.name).write_text(text, encoding="utf-8")
            pages.append((title, write_page(notebook, path)))
        print(f"{title:<40} {seconds:5.1f} s   {word}", flush=True)

    if pages:
        index = write_index(pages).relative_to(ROOT)
        print(f"\nThe pages are in {PAGES.relative_to(ROOT)}; open {index} in a browser.")
    if changed and not options.write:
        print("A notebook differs: if you changed it on purpose, run `make book` and look at the difference with git.")
    return 1 if changed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
