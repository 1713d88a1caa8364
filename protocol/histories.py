"""Copies of one history as boxes: what both sides have, what one of them lacks, where they fork.

A crash leaves one copy shorter than the other. This module draws that, for the versions of a shared object
(LIP-1), for the messages of a transfer (SATP), and for the entries of a log. A box is a version, its arrow
leads to the version that it reads, and the copies stand below each other:

    green      both sides have signed for it; dashed while only its author has
    dotted     the other side has it, this one does not
    red        the two copies have different versions after the same one: a fork
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from protocol.diagrams import ASCII_WIDTH, STYLE
from protocol.errors import Misuse
from protocol.log import LogEntry
from protocol.objects import History

Kind = Literal["agreed", "pending", "missing", "forked"]
LETTER, BOX, GAP, TOP, PITCH = 8, 40, 22, 16, 62  # of the SVG, in pixels
MARKS: dict[Kind, str] = {"agreed": " {} ", "pending": "({})", "missing": " {} ", "forked": "[{}]"}

BOX_STYLE = """\
<style>
.gwf .agreed { fill: var(--band); stroke: var(--good); stroke-width: 2; }
.gwf .pending { fill: var(--band); stroke: var(--good); stroke-width: 2; stroke-dasharray: 5 3; }
.gwf .missing { fill: none; stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 2 4; }
.gwf .forked { fill: var(--band); stroke: var(--bad); stroke-width: 3; } .gwf text.fork { fill: var(--bad); }
</style>"""


@dataclass(frozen=True)
class Box:
    """One version or entry: `name` tells it from all others, `word` and `note` are what the box says."""

    name: str
    word: str
    note: str
    is_agreed: bool = True


class HistoryFigure:
    """One copy of a history, or two beside each other, by the name of who holds it."""

    def __init__(self, copies: Mapping[str, History]) -> None:
        rows = {}
        for holder, history in copies.items():
            agreed = {version.name for version in history.compute_agreed()}
            rows[holder] = [Box(v.name, v.name[:4], f"by {v.author}", v.name in agreed) for v in history]
        self._compare(rows, "version", "versions")

    @classmethod
    def of_logs(cls, logs: Mapping[str, Sequence[LogEntry]]) -> HistoryFigure:
        """The same of entries: each names the hash of the one before it."""
        figure = cls.__new__(cls)
        rows = {}
        for holder, log in logs.items():
            rows[holder] = [Box(e.compute_hash(), f"{e.operation} {e.step}", f"entry {e.sequenceNumber}") for e in log]
        figure._compare(rows, "entry", "entries")
        if len(rows) == 1:  # mostly a part of a log: which one
            ((holder, boxes),) = rows.items()
            figure.words = f"{holder}, {boxes[0].note} to {boxes[-1].note}"
        return figure

    def _compare(self, copies: dict[str, list[Box]], one: str, many: str) -> None:
        if len(copies) not in (1, 2) or not any(copies.values()):
            raise Misuse(f"a figure of histories has one holder or two, and at least one {one}")
        self.holders = list(copies)
        short, *_, long = sorted([*copies, *copies], key=lambda holder: len(copies[holder]))
        pairs = zip(copies[long], copies[short], strict=False)
        self.fork = next((place for place, (a, b) in enumerate(pairs) if a.name != b.name), None)
        rest = copies[long][len(copies[short]) :] if self.fork is None else []
        self.rows: list[list[tuple[Kind, Box]]] = [
            [(self._find_kind(place, box), box) for place, box in enumerate(copy)]
            + [("missing", box) for box in (rest if holder == short else [])]
            for holder, copy in copies.items()
        ]
        if self.fork is not None:
            where = f"after {copies[long][self.fork - 1].word}" if self.fork else "from the beginning"
            self.words = f"A fork: {' and '.join(copies)} have different {many} {where}."
        elif rest:
            self.words = f"{short} lacks {len(rest)} {one if len(rest) == 1 else many} that {long} has."
        else:
            verb, number = "has" if len(copies) == 1 else "have the same", len(copies[long])
            self.words = f"{' and '.join(copies)} {verb} {f'{number} {many}' if number > 1 else f'one {one}'}."
        if any(kind == "pending" for row in self.rows for kind, _ in row):
            self.words += " Dashed, or in round brackets: only its author has signed."

    def _find_kind(self, place: int, box: Box) -> Kind:
        if self.fork is not None and place >= self.fork:
            return "forked"
        return "agreed" if box.is_agreed else "pending"

    @property
    def ascii(self) -> str:
        """One line for each copy, in pieces where it is long; `[ ]` is a fork, `( )` is pending, dots are missing."""
        margin = max(map(len, self.holders)) + 2
        width = max(len(box.word) for row in self.rows for _, box in row) + 2
        piece = max(1, (ASCII_WIDTH - margin) // (width + 2))
        blocks = []
        for start in range(0, max(map(len, self.rows)), piece):
            lines = []
            for holder, row in zip(self.holders, self.rows, strict=True):
                cells = [MARKS[k].format("." * len(b.word) if k == "missing" else b.word) for k, b in row]
                text = "<-".join(cell.ljust(width) for cell in cells[start : start + piece])
                lines.append(f"{holder:{margin}}{'<-' if start and text else ''}{text}".rstrip())
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks) + f"\n{self.words}"

    @property
    def svg(self) -> str:
        box = LETTER * max(len(box.word) for row in self.rows for _, box in row) + 20
        margin = (LETTER + 2) * max(map(len, self.holders)) + 26
        width = max(margin + max(map(len, self.rows)) * (box + GAP), LETTER * len(self.words) + 30)
        height = TOP + PITCH * len(self.rows) + 26
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gwf" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img">',
            f"<title>{escape(self.words)}</title>",
            STYLE,
            BOX_STYLE,
            f'<rect width="{width}" height="{height}" rx="6" style="fill: var(--paper)"/>',
        ]
        for number, (holder, row) in enumerate(zip(self.holders, self.rows, strict=True)):
            y = TOP + PITCH * number
            out.append(f'<text class="note" x="14" y="{y + 25}">{escape(holder)}</text>')
            for place, (kind, each) in enumerate(row):
                out += _draw_box(kind, each, margin + place * (box + GAP), y, box, has_link=place > 0)
        ink = "" if self.fork is None else ' class="fork"'
        out.append(f'<text{ink} x="14" y="{height - 14}">{escape(self.words)}</text>')
        return "\n".join([*out, "</svg>"])

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.ascii


def _draw_box(kind: Kind, box: Box, x: int, y: int, width: int, has_link: bool) -> Iterator[str]:
    yield f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{BOX}" rx="4"/>'
    if kind == "missing":
        return
    if has_link:
        yield f'<line class="message" x1="{x - 1}" y1="{y + 20}" x2="{x - GAP + 8}" y2="{y + 20}"/>'
        yield f'<path class="tip" d="M{x - GAP + 1} {y + 20}l9 -4v8z"/>'
    yield f'<text class="mid" x="{x + width // 2}" y="{y + 17}">{escape(box.word)}</text>'
    yield f'<text class="mid number" x="{x + width // 2}" y="{y + 33}">{escape(box.note)}</text>'
