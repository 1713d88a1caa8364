"""A sequence diagram in three forms: SVG, Mermaid text, and an ASCII figure in the manner of an RFC.

Each form only draws the rows of sequences.py. They show the same: who said what to whom, what the networks did and were
asked, who crashed and came back, who stood still, who took over. A lifeline is dotted while its gateway is down, dashed
while it stands still, thin while it stands by, and dotted in another colour once it is fenced. In the SVG the line of a
network also says how the asset stands there: thick while a gateway has it locked or holds it, another colour once
an owner has it, thin and dotted once it is gone. In the other two forms the actions alone say so.

There are two gateways, with their networks or without, or three. With three the words of a message stand in the widest
space that its arrow crosses.

The SVG carries its own paper and ink for light and dark themes and has one element per line, so that a
change in a figure can be read as a change of text. The ASCII figure has at most 70 columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

from protocol.sequences import Line, Note, compute_lines, fold, kind_of, wrap
from protocol.trace import Trace

__all__ = [
    "Figure",
    "Line",
    "Note",
    "draw_ascii",
    "draw_mermaid",
    "draw_notes",
    "draw_svg",
    "draw_svg_heads",
    "kind_of",
]


@dataclass(frozen=True)
class Layout:
    """Where the lifelines stand, from left to right, and how the words of a mark are folded.

    `columns` and `ascii_words` count characters, `x` and `width` pixels, `svg_words` characters again. `left` is the
    number of lanes whose words stand to their right; those of all others stand to their left.
    """

    columns: tuple[int, ...]
    ascii_words: tuple[int, int]  # of the first gateway, of the others
    x: tuple[int, ...]
    width: int
    svg_words: tuple[int, int]
    left: int

    @property
    def middle(self) -> tuple[int, int]:
        """The two columns between which messages have most space."""
        return self.columns[self.left - 1], self.columns[self.left]

    @property
    def has_crossings(self) -> bool:
        """Whether an arrow between two gateways may cross the lifeline of a third."""
        return self.left > 2 or len(self.columns) == 3


FOUR = Layout((6, 19, 50, 63), (27, 27), (80, 245, 555, 720), 800, (36, 36), 2)
FIVE = Layout((4, 14, 26, 52, 63), (34, 24), (80, 215, 355, 680, 830), 910, (52, 38), 3)


def find_layout(lanes: tuple[str, ...]) -> Layout:
    """Two or three lanes stand where the gateways stand in a figure that has their networks too."""
    whole = FOUR if len(lanes) in (2, 4) else FIVE
    if len(lanes) == len(whole.columns):
        return whole
    return replace(whole, columns=whole.columns[1:-1], x=whole.x[1:-1], left=whole.left - 1)


class Figure:
    """A drawn Trace. Shows itself as SVG where pictures can be shown, and as the ASCII figure elsewhere."""

    def __init__(self, trace: Trace, title: str = "", notes: Iterable[Note] = (), *, has_stages: bool = True) -> None:
        self.lanes = trace.lanes
        self.layout = find_layout(trace.lanes)
        self.gateways = trace.gateways
        self.title = title or " and ".join(trace.gateways)
        self.has_states = has_stages  # with several assets there is not one state
        self.marks = trace.marks
        self.lines = list(compute_lines(trace, has_stages=has_stages))
        self.notes = list(notes)

    @property
    def ascii(self) -> str:
        return draw_ascii(self)

    @property
    def mermaid(self) -> str:
        return draw_mermaid(self)

    @property
    def svg(self) -> str:
        return draw_svg(self)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.ascii


# ---------------------------------------------------------------------- ASCII

ASCII_WIDTH = 70
LIVES = {"life": "|", "down": ":", "paused": "'", "fenced": "!", "standby": "."}
MARKS = {"crash": "X", "restart": "O", "verdict": "*", "dispute": "*", "pause": "=", "wake": "O", "fence": "#"} | {
    "takeover": "O",
    "handover": "#",
    "cut": "/",
    "heal": "O",
    "accept": "*",
    "expiry": "T",
}


def draw_ascii(figure: Figure) -> str:
    """Lifelines as in SATP figure 2.

    `X` ends one, `O` begins it anew, `=` stops it and `#` fences it; at `T` the time of a lock is over. A gateway that
    is down has `:`, one that stands still `'`, a fenced one `!`, and one that stands by `.`.
    """
    layout, heads = figure.layout, [" "] * 76
    for column, lane in zip(layout.columns, figure.lanes, strict=True):
        _put(heads, column - len(lane) // 2, lane)
    rows = ["".join(heads)]
    for line in fold(figure.lines, lambda line: _find_width(figure, line, layout.ascii_words)):
        rows += _draw_ascii_line(figure, line)
    if figure.notes:
        rows += ["", draw_notes(figure.notes)]
    return "\n".join(row.rstrip() for row in rows)


def _find_width(figure: Figure, line: Line, widths: tuple[int, int]) -> int:
    """How many characters the words of a mark may have in one row."""
    return widths[0] if line.source == figure.gateways[0] else widths[1]


def _find_space(places: tuple[int, ...], source: int, target: int) -> tuple[int, int]:
    """The two neighbours on the way of an arrow that have most space between them."""
    left, right = min(source, target), max(source, target)
    return max(pairwise([place for place in places if left <= place <= right]), key=lambda pair: pair[1] - pair[0])


def draw_notes(notes: Iterable[Note]) -> str:
    """What stands below the ASCII figure."""
    rows: list[str] = []
    for note in notes:
        rows += ["", *wrap(note.heading, ASCII_WIDTH)]
        for paragraph in note.paragraphs:
            rows += ["  " + row for row in wrap(paragraph, ASCII_WIDTH - 2)]
    return "\n".join(rows[1:])


def _draw_ascii_line(figure: Figure, line: Line) -> list[str]:
    layout, blank = figure.layout, [" "] * 76
    for column, lane in zip(layout.columns, figure.lanes, strict=True):
        blank[column] = LIVES[line.find_life(lane)]
    row = blank.copy()
    place = dict(zip(figure.lanes, layout.columns, strict=True))
    if line.kind == "gap":
        return ["".join(blank)]
    if line.kind == "stage":
        last = FOUR.columns[-1] + 4
        row = ["." if mark == " " and 2 < column < last else mark for column, mark in enumerate(row)]
        _put(row, sum(layout.middle) // 2 - 4, f" {line.text} ")
        return ["".join(blank), "".join(row), "".join(blank)]
    source, target = place[line.source], place[line.target]
    if line.is_arrow:
        return _draw_ascii_arrow(line, blank, (source, target), layout)
    if not line.part:
        row[source] = MARKS.get(line.kind, row[source])
    _put(row, source + 2 if source <= layout.middle[0] else source - 1 - len(line.text), line.text)
    return ["".join(row)]


def _draw_ascii_arrow(line: Line, blank: list[str], ends: tuple[int, int], layout: Layout) -> list[str]:
    """Words that are longer than their arrow begin in a row of their own, above it; all of them where lanes cross."""
    source, target = ends
    left, width = min(source, target) + 1, abs(source - target) - 1
    is_rightward = source < target
    room = _find_space(layout.columns, source, target)
    above = wrap(line.text, room[1] - room[0] - (1 if layout.has_crossings else 3))
    last = "" if layout.has_crossings else above.pop()
    if line.kind in ("question", "tls"):
        arrow = f"<{last.center(width - 2, '.' if line.kind == 'question' else '=')}>"
    elif line.kind in ("lost", "denied"):
        arrow = last.center(width - 2, "-") + "X " if is_rightward else " X" + last.center(width - 2, "-")
    else:
        arrow = last.center(width - 1, "-") + ">" if is_rightward else "<" + last.center(width - 1, "-")
    rows = [(room[0] + 1, part.center(room[1] - room[0] - 1)) for part in above] + [(left, arrow)]
    drawn = [blank.copy() for _ in rows]
    for row, (column, text) in zip(drawn, rows, strict=True):
        _put(row, column, text)
    label = f"({line.step})" if line.step else ""
    _put(drawn[-1], source - len(label) if is_rightward else source + 1, label)
    return ["".join(row) for row in drawn]


def _put(row: list[str], column: int, text: str) -> None:
    row[column : column + len(text)] = text


# ---------------------------------------------------------------------- Mermaid


def draw_mermaid(figure: Figure) -> str:
    """Text for a Mermaid fence: `sequenceDiagram`."""
    name = {lane: f"P{number}" for number, lane in enumerate(figure.lanes)}
    rows = ["sequenceDiagram"] + [f"    participant {name[lane]} as {lane}" for lane in figure.lanes]
    arrows = {"message": "->>", "lost": "-x", "denied": "-x", "action": "->>", "question": "-->>", "tls": "<<->>"}
    for line in figure.lines:
        text = f"{line.step} {line.text}".strip()
        if line.kind == "gap":
            continue
        if line.kind == "stage":
            rows.append(f"    Note over {name[figure.lanes[0]]},{name[figure.lanes[-1]]}: {text}")
        elif line.is_arrow:
            rows.append(f"    {name[line.source]}{arrows[line.kind]}{name[line.target]}: {text}")
        else:
            rows.append(f"    Note over {name[line.source]}: {text}")
    ends = f"{name[figure.lanes[0]]},{name[figure.lanes[-1]]}"
    rows += [f"    Note over {ends}: {note.heading.replace(';', ',')}" for note in figure.notes]
    return "\n".join(rows)


# ---------------------------------------------------------------------- SVG

TOP, PITCH = 58, 27
HEADS = 40  # pixels from the upper edge to below the heads
DIAMONDS = {"verdict": "row", "dispute": "cross"}
SVG_NOTE, NOTE_PITCH = 108, 18  # letters in a row, pixels between two rows
SVG_LETTER = 8  # pixels that a letter takes at most, on average
SIGNS = {
    "pause": "M-4 -11v14m8 -14v14",  # two bars
    "wake": "M-5 -11l12 7l-12 7z",  # a triangle
    "fence": "M-8 -8h16m-16 8h16m-12 -12v16m8 -16v16",  # a fence
    "takeover": "M-7 3l7 -14l7 14z",  # upwards
    "handover": "M-7 -11l7 14l7 -14z",  # downwards
    "cut": "M-8 1l16 -5m-16 0l16 -5",  # two strokes across
    "heal": "M0 -10v12m-6 -6h12",  # a cross that joins
    "accept": "M-7 -4l5 6l9 -12",  # a tick
    "expiry": "M-5 -11h10l-10 14h10z",  # an hourglass
}

# Paper and ink, for whoever shows a figure on a page with a theme of its own.
LIGHT = (
    "--paper: #ffffff; --ink: #1c2128; --soft: #667085; --line: #98a2b3; --act: #0b5cad; --ask: #7a3fb0; "
    "--bad: #b42318; --good: #1a7f37; --tls: #8a5a00; --band: #f2f4f7;"
)
DARK = (
    "--paper: #12161c; --ink: #e6edf3; --soft: #9aa7b4; --line: #5b6672; --act: #79b8ff; --ask: #cfa5ff; "
    "--bad: #ff8a80; --good: #6fdd8b; --tls: #e3b341; --band: #1d242d;"
)

STYLE = """\
<style>
.gwf { LIGHT }
@media (prefers-color-scheme: dark) { .gwf { DARK } }
.gwf text { font: 13px system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; fill: var(--ink); }
.gwf .head { font-weight: 600; text-anchor: middle; }
.gwf .box { fill: var(--band); stroke: var(--line); }
.gwf .life { stroke: var(--line); stroke-width: 1.5; }
.gwf .down { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 2 5; }
.gwf .note { font-weight: 600; }
.gwf .mid { text-anchor: middle; }
.gwf .end { text-anchor: end; }
.gwf .number { fill: var(--soft); font-size: 11px; }
.gwf line.message { stroke: var(--ink); stroke-width: 1.5; }
.gwf line.action { stroke: var(--act); stroke-width: 1.5; } .gwf text.action { fill: var(--act); }
.gwf line.question { stroke: var(--ask); stroke-width: 1.5; stroke-dasharray: 5 3; } .gwf text.question { fill: var(--ask); }
.gwf line.lost, .gwf line.denied { stroke: var(--bad); stroke-width: 1.5; } .gwf text.lost, .gwf text.denied { fill: var(--bad); }
.gwf line.tls { stroke: var(--tls); stroke-width: 3; } .gwf text.tls { fill: var(--tls); } .gwf .tip.tls { fill: var(--tls); }
.gwf .tip { fill: var(--ink); } .gwf .tip.action { fill: var(--act); } .gwf .tip.question { fill: var(--ask); }
.gwf text.crash { fill: var(--bad); font-weight: 600; } .gwf text.restart { fill: var(--good); font-weight: 600; } .gwf text.wait { fill: var(--soft); }
.gwf text.loss, .gwf text.refused { fill: var(--bad); } .gwf text.verdict { fill: var(--good); } .gwf .row { fill: var(--paper); stroke: var(--good); stroke-width: 2; }
.gwf .locked, .gwf .held { stroke: var(--tls); stroke-width: 4; } .gwf .free, .gwf .assigned { stroke: var(--good); stroke-width: 4; }
.gwf .burned, .gwf .destroyed { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 1 5; } .gwf text.state { font-size: 11px; fill: var(--soft); }
.gwf .cross { stroke: var(--bad); stroke-width: 3; fill: none; } .gwf .again { fill: var(--good); }
</style>""".replace("LIGHT", LIGHT).replace("DARK", DARK)  # noqa: E501

# Only in a figure that has need of it, so that all others stay as they are.
SLOW_STYLE = """\
<style>
.gwf .paused { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 8 6; }
.gwf .fenced { stroke: var(--tls); stroke-width: 2; stroke-dasharray: 2 4; }
.gwf .standby { stroke: var(--line); stroke-width: 0.75; }
.gwf .sign { stroke-width: 2.5; fill: none; }
.gwf .sign.pause { stroke: var(--soft); stroke-width: 3.5; } .gwf text.pause { fill: var(--soft); font-weight: 600; }
.gwf .sign.wake { stroke: none; fill: var(--good); } .gwf text.wake { fill: var(--good); font-weight: 600; }
.gwf .sign.fence { stroke: var(--tls); stroke-width: 2; } .gwf text.fence { fill: var(--tls); font-weight: 600; }
.gwf .sign.takeover { stroke: none; fill: var(--act); } .gwf text.takeover { fill: var(--act); font-weight: 600; }
.gwf .sign.handover { stroke: var(--act); stroke-width: 2; fill: var(--paper); } .gwf text.handover { fill: var(--act); }
.gwf .sign.cut { stroke: var(--bad); } .gwf text.cut { fill: var(--bad); }
.gwf .sign.heal { stroke: var(--good); } .gwf text.heal { fill: var(--good); }
.gwf .sign.expiry { stroke: var(--tls); stroke-width: 1.5; fill: var(--paper); } .gwf text.expiry { fill: var(--tls); }
.gwf .sign.accept { stroke: var(--good); } .gwf text.accept { fill: var(--good); }
.gwf .words { fill: var(--paper); }
</style>"""  # noqa: E501


def draw_svg(figure: Figure) -> str:
    """An SVG document as text. Nothing in it depends on the machine or the moment."""
    layout = figure.layout
    lines = list(fold(figure.lines, lambda line: _find_width(figure, line, layout.svg_words)))
    width, is_slow = layout.width, any(_is_slow(line) for line in lines)
    foot = TOP + PITCH * (len(lines) + 1)
    notes, height = _draw_svg_notes(figure.notes, foot)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gwf" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">',
        f"<title>{escape(figure.title)}</title>",
        *([STYLE, SLOW_STYLE] if is_slow or layout.has_crossings else [STYLE]),
        f'<rect width="{width}" height="{height}" rx="6" style="fill: var(--paper)"/>',
    ]
    for number, line in enumerate(lines):
        if line.kind == "stage":
            out.append(f'<rect class="box" x="14" y="{_y(number) - 18}" width="{width - 28}" height="20" rx="3"/>')
    for x, lane in zip(layout.x, figure.lanes, strict=True):
        out += _draw_svg_lifeline(x, lane, figure, lines, foot)
    place = dict(zip(figure.lanes, layout.x, strict=True))
    for number, line in enumerate(lines):
        out += _draw_svg_line(line, place, _y(number), layout)
    return "\n".join([*out, *notes, "</svg>"])


def _draw_svg_notes(notes: list[Note], y: int) -> tuple[list[str], int]:
    """The rows below the lifelines, and where they end."""
    out = []
    for note in notes:
        y += PITCH
        if note.kind:
            out.append(f'<path class="{DIAMONDS[note.kind]}" d="M25 {y - 11}l7 7l-7 7l-7 -7z"/>')
        for part in wrap(note.heading, SVG_NOTE):
            out.append(f'<text class="note" x="40" y="{y}">{escape(part)}</text>')
            y += NOTE_PITCH
        for paragraph in note.paragraphs:
            for part in wrap(paragraph, SVG_NOTE):
                out.append(f'<text x="40" y="{y}">{escape(part)}</text>')
                y += NOTE_PITCH
        y -= NOTE_PITCH
    return out, y + 18 if notes else y


def _y(number: int) -> int:
    return TOP + PITCH * (number + 1) - 8


def draw_svg_heads(figure: Figure) -> str:
    """The heads of the lifelines alone, for whoever shows a long figure in a window: they fit over its own."""
    layout = figure.layout
    heads = [row for x, lane in zip(layout.x, figure.lanes, strict=True) for row in _draw_svg_head(x, lane)]
    size = f'viewBox="0 0 {layout.width} {HEADS}" width="{layout.width}" height="{HEADS}"'
    paper = f'<rect width="{layout.width}" height="{HEADS}" style="fill: var(--paper)"/>'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" class="gwf" {size} aria-hidden="true">'
    return "\n".join([opening, paper, *heads, "</svg>"])


def _draw_svg_head(x: int, lane: str) -> Iterator[str]:
    yield f'<rect class="box" x="{x - 62}" y="12" width="124" height="28" rx="4"/>'
    yield f'<text class="head" x="{x}" y="31">{escape(lane)}</text>'


def _draw_svg_lifeline(x: int, lane: str, figure: Figure, lines: list[Line], foot: int) -> Iterator[str]:
    """The head of a lane and its lifeline, cut where its kind changes; beside a network's, how the asset stands."""
    yield from _draw_svg_head(x, lane)
    has_states = figure.has_states and lane not in figure.gateways
    begin = Line("gap", "", marks=figure.marks).find_state(lane) if has_states else ""
    if not begin:
        begin = lines[0].find_life(lane) if lines and lines[0].find_life(lane) != "down" else "life"
    cuts = [(40, begin)]
    for number, line in enumerate(lines):
        if line.kind == "stage":
            continue  # it has the marks of the row that follows
        kind = (line.find_state(lane) if has_states else "") or line.find_life(lane)
        if kind != cuts[-1][1]:
            cuts.append((_y(number) - 4, kind))
    for (top, kind), (bottom, _) in pairwise([*cuts, (foot - 10, "")]):
        yield f'<line class="{kind}" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>'
        if has_states and kind != "life":
            side, place = (" end", x - 7) if x < FOUR.x[1] else ("", x + 7)
            yield f'<text class="state{side}" x="{place}" y="{top + 13}">{kind}</text>'


def _is_slow(line: Line) -> bool:
    return line.kind in SIGNS or any(mark in ("paused", "fenced", "standby") for _, mark in line.marks)


def _draw_svg_line(line: Line, place: dict[str, int], y: int, layout: Layout) -> Iterator[str]:
    text = escape(line.text)
    if line.kind == "gap":
        return
    if line.kind == "stage":
        middle = sum(layout.x[layout.left - 1 : layout.left + 1]) // 2 if layout.has_crossings else layout.width // 2
        yield f'<text class="mid" x="{middle}" y="{y - 3}">{text}</text>'
        return
    x1, x2 = place[line.source], place[line.target]
    if not line.is_arrow:
        yield from _draw_svg_mark(line, x1, y, layout)
        return
    room, end = sum(_find_space(layout.x, x1, x2)), x2
    step = 1 if x1 < x2 else -1
    if line.kind in ("lost", "denied"):
        x2 -= (60 if line.kind == "lost" else 14) * step
        yield f'<path class="cross" d="M{x2 - 6} {y - 10}l12 12m0 -12l-12 12"/>'
    else:
        yield f'<path class="tip {line.kind}" d="M{x2 - step} {y - 4}l{-9 * step} -4v8z"/>'
    if line.kind == "tls":
        yield f'<path class="tip tls" d="M{x1 + step} {y - 4}l{9 * step} -4v8z"/>'
    yield f'<line class="{line.kind}" x1="{x1 + step}" y1="{y - 4}" x2="{x2 - 6 * step}" y2="{y - 4}"/>'
    yield f'<text class="mid {line.kind}" x="{(room + x2 - end) // 2}" y="{y - 9}">{text}</text>'
    anchor = "end" if step == 1 else ""
    if line.step:
        yield f'<text class="number {anchor}" x="{x1 - 5 * step}" y="{y}">{line.step}</text>'


def _draw_svg_mark(line: Line, x: int, y: int, layout: Layout) -> Iterator[str]:
    """A crash, a loss, a restart, a verdict or a time-out on a lifeline; its words stand between the gateways."""
    kind = "" if line.part else line.kind
    if kind == "crash":
        yield f'<path class="cross" d="M{x - 7} {y - 11}l14 14m0 -14l-14 14"/>'
    if kind == "restart":
        yield f'<circle class="again" cx="{x}" cy="{y - 4}" r="6"/>'
    if kind in DIAMONDS:
        yield f'<path class="{DIAMONDS[kind]}" d="M{x} {y - 11}l7 7l-7 7l-7 -7z"/>'
    if kind in SIGNS:
        yield f'<path class="sign {kind}" transform="translate({x} {y})" d="{SIGNS[kind]}"/>'
    is_left = x <= layout.x[layout.left - 1]
    place = layout.x[layout.left - 1]
    if layout.has_crossings and x < place < x + 20 + SVG_LETTER * len(line.text):  # the lifeline has a gap there
        top = y - 10 - 8 * line.part if line.part else y - 12
        yield f'<rect class="words" x="{place - 5}" y="{top}" width="10" height="16"/>'
    x, side = (x + 14, "") if is_left else (x - 14, " end")
    y -= 8 * line.part  # the words of one mark stand together
    ink = "loss" if line.kind == "dispute" else line.kind
    yield f'<text class="{ink}{side}" x="{x}" y="{y}">{escape(line.text)}</text>'
