"""The notebooks of the book: where they are, in which order they are read, and the one way to write one down.

A notebook is canonical when every cell was executed in order, its metadata says nothing about who ran it
where, cell ids count upwards, and no output depends on the run. Then the same seed gives the same bytes,
and the comparison can be exact: it also covers what nbval skips (pictures, cell ids, a notebook never run).

Nothing is run here, and nothing is imported before it is needed: whoever only asks for a name waits for no library.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

# Nothing of who ran it where.
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
                # A panel is written down as the figure and the text beside it: a widget's id is of its kernel alone.
                output.get("data", {}).pop(WIDGET_VIEW, None)
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


def read_title(notebook: Any) -> str:
    return str(notebook.cells[0].source.splitlines()[0].lstrip("# "))
