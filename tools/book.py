"""Run the ordered notebooks, and keep them in one canonical form.

    python -m tools.book                run the book, write readable pages to build/book (this is `make demo`)
    python -m tools.book --write        run the book, write the notebooks canonically, with fresh links (`make book`)
    python -m tools.book --check        run the book; fail if a notebook differs in one byte from what was committed

Canonical is what notebooks.py writes. A run that writes other bytes than were committed shows something else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.links import link_notebook
from tools.notebooks import ROOT, canonicalise, find_notebooks, read_title
from tools.site import write_site

MEMORY = "/dev/shm"  # where there is one, the logs of all the gateways in the book; a disk takes three times as long
TIMEOUT_S = 300  # for one cell: a stall of the machinery must end


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


def link(notebook: Any, path: Path) -> str:
    """The canonical text of a notebook, with fresh links."""
    return canonicalise(link_notebook(notebook, path.name, [each.name for each in find_notebooks([])]))


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
    paths = find_notebooks(options.only)

    changed, as_they_ran = [], {}
    for path, notebook, as_run, seconds in run(paths):
        text = link(notebook, path) if options.write else as_run
        same = path.read_text(encoding="utf-8") == text
        if not same:
            changed.append(path)
        if options.write:
            path.write_text(text, encoding="utf-8")
            word = "unchanged" if same else "written"
        else:
            word = "same bytes as committed" if same else "DIFFERS from what was committed"
        as_they_ran[path] = notebook
        print(f"{read_title(notebook):<40} {seconds:5.1f} s   {word}", flush=True)

    if not options.write and not options.check:
        index = write_site(as_they_ran).relative_to(ROOT)
        print(f"\nThe pages are in {index.parent}; open {index} in a browser.")
    if changed and not options.write:
        print("A notebook differs. If you changed it on purpose, run `make book` and look at the difference with git.")
        print("JupyterLab saves a notebook that was only opened: `git checkout notebooks` brings it back.")
    return 1 if changed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
