"""How many states there are within growing bounds, as a table and a picture.

    Growth(explore(bounds=each) for each in (Bounds(crashes=0), Bounds(crashes=1), Bounds(crashes=2)))

The scale is logarithmic, since every fault that is allowed multiplies what can happen: a step of the same width is a
factor of ten. Beside the states stand the steps that were computed with the real code. They grow with the states of
each side, the states with what both sides and the messages between them can be at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from math import ceil, log2, log10
from typing import Final

from protocol.bounds import Bounds
from protocol.diagrams import STYLE
from protocol.errors import Misuse
from protocol.evidence import write_columns
from protocol.explorations import Exploration

LEFT, DECADE, RIGHT = 190, 112, 70  # pixels: the words of the bounds, a factor of ten, the number after a bar
TOP, PITCH, BAR = 62, 34, 11
TITLE: Final = "distinct states, and steps computed with the real code"


class Growth(dict[Bounds, Exploration]):
    """Explorations by their bounds, in the order in which they were given. Misuse where there is none, or two alike."""

    heads = ("bounds", "states", "transitions", "states of the sender", "of the recipient", "steps computed")

    def __init__(self, explorations: Iterable[Exploration]) -> None:
        found = list(explorations)
        super().__init__((each.bounds, each) for each in found)
        if not found or len(self) < len(found):
            raise Misuse("a growth is shown by explorations, one at least, each within other bounds")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [
            (
                str(bounds),
                *(f"{count:,}" for count in (each.states, each.transitions, *each.local_states, each.steps)),
                "" if each.is_whole else "not to the end",
            )
            for bounds, each in self.items()
        ]

    @property
    def svg(self) -> str:
        most = max(max(each.states, each.steps) for each in self.values())
        decades = max(1, ceil(log10(most)))
        width, foot = LEFT + decades * DECADE + RIGHT, TOP + len(self) * PITCH
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gwf" viewBox="0 0 {width} {foot + 14}" width="{width}" '
            f'height="{foot + 14}" role="img">',
            f"<title>{TITLE}</title>",
            STYLE,
            "<style>.gwf .on { paint-order: stroke; stroke: var(--paper); stroke-width: 3; }</style>",
            f'<rect width="{width}" height="{foot + 14}" rx="6" style="fill: var(--paper)"/>',
            *_draw_legend(),
        ]
        for power in range(decades + 1):
            x = LEFT + power * DECADE
            out.append(f'<line class="life" style="stroke-opacity: 0.4" x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{foot}"/>')
            out.append(f'<text class="number mid" x="{x}" y="{TOP - 13}">{10**power:,}</text>')
        for number, (bounds, each) in enumerate(self.items()):
            out += _draw_row(TOP + number * PITCH, bounds, each)
        return "\n".join([*out, "</svg>"])

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        """The table. One # for each doubling of the states."""
        rows = [(*row[:-1], f"{'#' * round(log2(each.states))} {row[-1]}") for row, each in self._pairs]
        return write_columns([(*self.heads, ""), *rows])

    @property
    def _pairs(self) -> list[tuple[tuple[str, ...], Exploration]]:
        return list(zip(self.rows, self.values(), strict=True))


def _draw_legend() -> list[str]:
    return [
        f'<rect x="{LEFT}" y="12" width="12" height="{BAR}" style="fill: var(--act)"/>',
        f'<text x="{LEFT + 18}" y="22">distinct states</text>',
        f'<rect x="{LEFT + 138}" y="12" width="12" height="{BAR}" style="fill: var(--line)"/>',
        f'<text x="{LEFT + 156}" y="22">steps computed with the real code</text>',
    ]


def _draw_row(y: int, bounds: Bounds, each: Exploration) -> list[str]:
    """Two bars: what there is, and what it cost."""
    out = [f'<text class="end" x="{LEFT - 12}" y="{y + BAR + 4}">{escape(str(bounds))}</text>']
    for top, count, colour in ((y, each.states, "--act"), (y + BAR + 1, each.steps, "--line")):
        length = round(log10(count) * DECADE)
        out.append(f'<rect x="{LEFT}" y="{top}" width="{length}" height="{BAR}" style="fill: var({colour})"/>')
        out.append(f'<text class="number on" x="{LEFT + length + 5}" y="{top + 9}">{count:,}</text>')
    return out
