"""The pages of the reports: one for each, with its figure first, and the gallery that leads to them.

A page is one file that needs nothing else: it can be sent to somebody. It shows what the cells of notebook 13 put
out, in their order, and what they say about it; cells with the tag `book` speak to the reader of the book and are
left out, and what a cell with the tag `fold` puts out is folded away. How it ended and the figure stand on top; where
the screen is wide, the figure stays beside all the rest.

The gallery is a table for each gateway that crashes: steps down, losses across. A cell has the letters of the rows
of TABLE 2 that decided and who owns the asset, has the colour of the last verdict, and leads to its page.
"""

from __future__ import annotations

import html
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.messages.satp import short_name
from protocol.recovery import TABLE_2, Verdict
from protocol.scenarios import CHOICES, Scenario
from protocol.steps import find_row
from protocol.stories import shorten_owner
from tools.site_pages import HERE, render_markdown, render_output

JSON = "application/json"
SVG = "image/svg+xml"
TALLEST = 1150  # of a figure that can still be read when all of it is on a screen; pixels
SOURCE = "notebooks/13_scenario_report.ipynb"
VERDICTS = {verdict.value: "k-" + verdict.value.replace(" ", "-") for verdict in Verdict}


@dataclass(frozen=True)
class Made:
    """A report that was made: its page, and what the notebook says of the end. `failure` if it broke off."""

    scenario: Scenario
    page: str
    end: dict[str, Any]
    failure: str = ""


def put(path: Path, text: str) -> Path:
    """All of it or nothing: an interrupt leaves no half page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return path


def frame(title: str, body: str, kind: str, bar: str = "") -> str:
    """A page with its style inside, in the look of the site."""
    style = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("site.css", "report.css"))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
{style}</style></head><body>
{bar}<main class="{kind}">
{body}
</main></body></html>
"""


# ---------------------------------------------------------------------- one report


def read_end(notebook: Any) -> dict[str, Any]:
    """What the notebook says of the end, as data."""
    return dict(next(output.data[JSON] for output in list_outputs(notebook) if JSON in output.get("data", {})))


def list_outputs(notebook: Any) -> Iterator[Any]:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def render_picture(notebook: Any) -> str:
    """The first figure of the notebook, and the words of the cell with the tag `caption`, without their heading."""
    figure = next(output for output in list_outputs(notebook) if SVG in output.get("data", {}))
    (words,) = (cell.source for cell in notebook.cells if "caption" in cell.metadata.get("tags", []))
    caption = render_markdown(words.split("\n\n", 1)[1], SOURCE)
    height = re.search(r'height="(\d+)"', figure.data[SVG])
    fits = " fits" if height and int(height[1]) <= TALLEST else ""
    return f'<figure class="picture{fits}">\n{figure.data[SVG]}\n<figcaption>{caption}</figcaption>\n</figure>'


def render_cells(notebook: Any) -> Iterator[str]:
    """All cells that are for the page, but for the sentence of the choice and the figure, which stand on top."""
    cells = list(notebook.cells)
    first = next(n for n, cell in enumerate(cells) if "caption" in cell.metadata.get("tags", []))
    for cell in cells[first + 2 :]:
        tags = cell.metadata.get("tags", [])
        if "book" in tags:
            continue
        if cell.cell_type == "markdown":
            yield render_markdown(cell.source, SOURCE)
            continue
        shown = "\n".join(map(render_output, cell.outputs))
        yield f"<details><summary>show it</summary>\n{shown}\n</details>" if "fold" in tags and shown else shown


def write_page(notebook: Any, scenario: Scenario, page: Path, gallery: str = "") -> Path:
    """The choice as its title, the end, the figure, and the rest. `gallery` is where the bar leads."""
    end = next(output for output in list_outputs(notebook) if JSON in output.get("data", {}))
    head = f"<header>\n<h1>{html.escape(scenario.words)}</h1>\n{render_output(end)}\n</header>"
    rest = "\n".join(cell for cell in render_cells(notebook) if cell.strip())
    bar = f'<nav class="bar" aria-label="reports"><a href="{html.escape(gallery)}">← all reports</a></nav>\n'
    body = f'{head}\n{render_picture(notebook)}\n<div class="rest">\n{rest}\n</div>'
    return put(page, frame(scenario.words, body, "report", bar if gallery else ""))


# ---------------------------------------------------------------------- the gallery


def write_gallery(chosen: list[Scenario], made: list[Made], folder: Path, pages: str) -> Path:
    """index.html and summary.txt, of whatever was made. `pages` is the folder of the pages, seen from there."""
    body = [
        "<h1>One crash, one report</h1>",
        f"<p>{html.escape(describe_matrix(chosen))} {describe_progress(chosen, made)} A cell has the letters of the "
        "rows of TABLE 2 that decided, in their order, and who owns the asset at the end. It leads to the report.</p>",
        write_legend(),
        *write_matrices(chosen, {each.scenario: each for each in made}, pages),
        "<h2>Summary</h2>",
        '<div class="tables">',
        write_counts("row", count_rows(made)),
        write_counts("end", count_ends(made)),
        "</div>",
    ]
    put(folder / "summary.txt", write_summary(chosen, made))
    return put(folder / "index.html", frame("One crash, one report", "\n".join(body), "gallery"))


def describe_matrix(chosen: list[Scenario]) -> str:
    """What all have in common."""
    first = chosen[0]
    network = {"reliable": "", "lossy": " Every message is lost the first time.", "doubling": " All arrive twice."}
    moment = "before" if first.when == "before" else "after"
    off = f" Rules turned over: {', '.join(first.off)}." if first.off else " Every rule is on."
    stage = "the beginning of the stage" if first.restart == "stage" else "the last message"
    return (
        f"The gateway crashes {moment} an action of its own or {moment} the entry of a message, comes back and goes on "
        f"from {stage}.{network[first.network]}{off}"
    )


def describe_progress(chosen: list[Scenario], made: list[Made]) -> str:
    failed = sum(bool(each.failure) for each in made)
    words = f"{len(made)} of {len(chosen)} reports were made."
    return words + (f" {failed} broke off." if failed else "")


def write_legend() -> str:
    kinds = [(f"the last verdict: {verdict}", kind) for verdict, kind in VERDICTS.items()]
    spans = [f'<span class="{kind}">{words}</span>' for words, kind in kinds]
    spans += ['<span class="k-none">– no row: no session was left to compare</span>']
    return '<p class="legend">' + "".join([*spans, '<span class="bad">✗ not recovered</span>']) + "</p>"


def write_matrices(chosen: list[Scenario], made: dict[Scenario, Made], pages: str) -> Iterator[str]:
    """A table for each who crashes; an empty cell is a report that was not made, none where there is no such crash."""
    for crashed in dict.fromkeys(each.crashed for each in chosen):
        cells = {(each.step, each.lost): each for each in chosen if each.crashed == crashed}
        losses = [lost for lost in CHOICES["lost"] if any(lost == there for _, there in cells)]
        heads = "".join(f'<th scope="col">{"its process only" if lost == "nothing" else lost}</th>' for lost in losses)
        rows = []
        for step in dict.fromkeys(step for step, _ in cells):
            name = html.escape(short_name(find_row(step).name))
            row = "".join(write_cell(cells.get((step, lost)), made, pages) for lost in losses)
            rows.append(f'<tr><th scope="row">{step} {name}</th>{row}</tr>')
        who = {"both": "Both crash", "nobody": "Nobody crashes"}.get(crashed, f"The {crashed} crashes")
        yield f"<h2>{who}</h2>"
        table = f'<table class="matrix">\n<thead><tr><th>in step; lost is</th>{heads}</tr></thead>'
        yield f'<div class="scroll">{table}\n<tbody>\n' + "\n".join(rows) + "\n</tbody></table></div>"


def write_cell(scenario: Scenario | None, made: dict[Scenario, Made], pages: str) -> str:
    if scenario is None or scenario not in made:
        return "<td></td>"
    each = made[scenario]
    if each.failure:
        return f'<td class="bad" title="{html.escape(each.failure)}">broke off</td>'
    end = each.end
    kind = VERDICTS[end["verdicts"][-1]] if end["verdicts"] else "k-none"
    is_good = end["has_recovered"]
    words = html.escape(f"{end['words']} {end['ending']}")
    owners = " and ".join(shorten_owner(owner).split()[0] for owner in end["owners"]) or "nobody"
    letters = " ".join(end["letters"]) or "–"
    mark = "" if is_good else " ✗"
    return (
        f'<td class="{kind}{"" if is_good else " bad"}"><a href="{pages}/{each.page}" title="{words}">'
        f"{letters}{mark}<small>{owners}</small></a></td>"
    )


def write_counts(head: str, counts: list[tuple[str, int]]) -> str:
    heads = {"row": "row of TABLE 2 that decided", "end": "how it ended"}
    rows = "\n".join(
        f'<tr><td>{html.escape(words)}</td><td style="text-align: right">{n}</td></tr>' for words, n in counts
    )
    return f"<table>\n<thead><tr><th>{heads[head]}</th><th>reports</th></tr></thead>\n<tbody>\n{rows}\n</tbody></table>"


# ---------------------------------------------------------------------- the summary


def count_rows(made: Iterable[Made]) -> list[tuple[str, int]]:
    """In how many reports each row decided, in the order of the table."""
    counts = Counter(letter for each in made if each.end for letter in set(each.end["letters"]) or {""})
    named = [(f"row {row.letter}: {row.title} -> {row.verdict}", counts[row.letter]) for row in TABLE_2]
    return [each for each in [*named, ("none: no session was left to compare", counts[""])] if each[1]]


def count_ends(made: Iterable[Made]) -> list[tuple[str, int]]:
    """How often it ended how, the most frequent end first."""
    ends = Counter(re.sub(r"breaks? down: .*", "breaks down.", _describe_end(each)) for each in made)
    return sorted(ends.items(), key=lambda each: (-each[1], each[0]))


def _describe_end(made: Made) -> str:
    if made.failure:
        return "The report broke off."
    broken = f" Does not hold: {', '.join(made.end['broken'])}." if made.end["broken"] else ""
    return f"{made.end['ending']}{broken}"


def write_summary(chosen: list[Scenario], made: list[Made]) -> str:
    """The same counts as text."""
    lines = [describe_progress(chosen, made)]
    for head, counts in (("Rows of TABLE 2 that decided:", count_rows(made)), ("Ends:", count_ends(made))):
        lines += ["", head, *(f"{number:>5}  {words}" for words, number in counts)]
    return "\n".join(lines) + "\n"
