"""A Trace as a sequence diagram: SVG, Mermaid text, and an ASCII figure in the manner of an RFC.

One list of lines is computed from the events; each of the three forms only draws that list. They show the
same: who said what to whom, what the networks did and were asked, who crashed and came back. A gateway that
is down has a dotted lifeline.

Below the lifelines there may be notes: why it went as it did, in words.

The SVG carries its own paper and ink for light and dark themes and has one element per line, so that a
change in a figure can be read as a change of text. The ASCII figure has at most 70 columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape

from protocol.steps import find_row
from protocol.trace import (
    Acted,
    Asked,
    Connected,
    Crashed,
    Delivered,
    Denied,
    Event,
    Forgotten,
    Judged,
    Lost,
    NotConnected,
    Restarted,
    TimedOut,
    Trace,
)


@dataclass(frozen=True)
class Line:
    """One row of a figure: an arrow between two places, a mark on one, or the heading of a stage.

    `kind` is message, lost, action, denied (the network refuses), question, tls (a connection comes about), crash,
    loss, restart, verdict, dispute, wait, refused, stage, or gap, a row without a mark that lets a dead lifeline be
    seen; `down` are the gateways that are down. `is_more`: the words of the row above go on.
    """

    kind: str
    text: str
    step: str = ""
    source: str = ""
    target: str = ""
    down: frozenset[str] = frozenset()
    is_more: bool = False

    @property
    def is_arrow(self) -> bool:
        return self.kind in ("message", "lost", "action", "denied", "question", "tls")


@dataclass(frozen=True)
class Note:
    """What stands below a figure: a heading, and paragraphs. `kind` is verdict, dispute or empty."""

    heading: str
    paragraphs: tuple[str, ...]
    kind: str = ""


def compute_lines(trace: Trace, *, has_stages: bool = True) -> Iterator[Line]:
    """The rows of the figure, top to bottom. Log entries are left out: they belong to the table of a log.

    Several sessions at once are not at one stage: then without headings.
    """
    down = trace.down
    stage = 0
    for event in trace:
        if isinstance(event, Crashed):
            down |= {event.gateway}
        if isinstance(event, Restarted):
            down -= {event.gateway}
        line = _compute_line(event, down)
        if line is None:
            continue
        if has_stages and line.step and line.kind != "question" and find_row(line.step).stage > stage:
            stage = find_row(line.step).stage
            yield Line("stage", f"Stage {stage}", down=down)
        yield line
        if line.kind == "crash":
            yield Line("gap", "", down=down)


def _compute_line(event: Event, down: frozenset[str]) -> Line | None:
    return _compute_arrow(event, down) or _compute_mark(event, down)


def _compute_arrow(event: Event, down: frozenset[str]) -> Line | None:
    match event:
        case Delivered(source=source, target=target, step=step, name=name, again=again):
            return Line("message", f"{name} again" if again else name, step, source, target, down)
        case Lost(source=source, target=target, step=step, name=name):
            return Line("lost", name, step, source, target, down)
        case Acted(gateway=gateway, network=network, step=step, action=action, again=again):
            return Line("action", f"{action} again" if again else action, step, gateway, network, down)
        case Denied(gateway=gateway, network=network, step=step, action=action):
            return Line("denied", action, step, gateway, network, down)
        case Asked(gateway=gateway, network=network, step=step, action=action, happened=happened):
            return Line("question", f"{action}? {'yes' if happened else 'no'}", step, gateway, network, down)
        case Connected(one=one, other=other, is_resumed=is_resumed):
            return Line("tls", f"TLS 1.3 {'resumed' if is_resumed else 'full handshake'}", "", one, other, down)
    return None


def _compute_mark(event: Event, down: frozenset[str]) -> Line | None:
    match event:
        case Crashed(gateway=gateway, where=where):
            return Line("crash", f"CRASH {where}".rstrip(), "", gateway, gateway, down)
        case Restarted(gateway=gateway):
            return Line("restart", "restart", "", gateway, gateway, down)
        case Forgotten(gateway=gateway, what=what):
            return Line("loss", f"loses {what}", "", gateway, gateway, down)
        case Judged(gateway=gateway, letter=letter, verdict=verdict):
            return Line(kind_of(verdict), f"row {letter}: {verdict}", "", gateway, gateway, down)
        case NotConnected(gateway=gateway, reason=reason):
            return Line("refused", f"no TLS: {reason}", "", gateway, gateway, down)
        case TimedOut(gateway=gateway):
            return Line("wait", "no answer: says it again", "", gateway, gateway, down)
    return None


def kind_of(verdict: str) -> str:
    """A dispute is drawn like a loss: nothing goes on until a human decides."""
    return "dispute" if verdict == "dispute" else "verdict"


def fold(lines: list[Line], width: int) -> Iterator[Line]:
    """The same rows, with the words of a mark spread over as many as they need."""
    for line in lines:
        parts = _wrap(line.text, width) if not line.is_arrow and line.text else [line.text]
        for number, part in enumerate(parts):
            yield replace(line, text=part, is_more=number > 0)


class Figure:
    """A drawn Trace. Shows itself as SVG where pictures can be shown, and as the ASCII figure elsewhere."""

    def __init__(self, trace: Trace, title: str = "", notes: Iterable[Note] = (), *, has_stages: bool = True) -> None:
        self.lanes = trace.lanes
        self.gateways = trace.gateways
        self.title = title or " and ".join(trace.gateways)
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

COLUMNS = (6, 19, 50, 63)
ASCII_WIDTH = 70


def inner(places: tuple[int, ...], lanes: tuple[str, ...]) -> tuple[int, ...]:
    """Two lanes stand where the two gateways stand in a figure of four."""
    return places if len(lanes) == len(places) else places[1:3]


def draw_ascii(figure: Figure) -> str:
    """Four lifelines as in SATP figure 2; `X` ends one, `O` begins it anew, `:` is a gateway that is down."""
    heads = [" "] * 76
    for column, lane in zip(inner(COLUMNS, figure.lanes), figure.lanes, strict=True):
        _put(heads, column - len(lane) // 2, lane)
    rows = ["".join(heads)]
    for line in fold(figure.lines, COLUMNS[2] - COLUMNS[1] - 4):
        rows += _draw_ascii_line(figure, line)
    if figure.notes:
        rows += ["", draw_notes(figure.notes)]
    return "\n".join(row.rstrip() for row in rows)


def draw_notes(notes: Iterable[Note]) -> str:
    """What stands below the ASCII figure."""
    rows: list[str] = []
    for note in notes:
        rows += ["", *_wrap(note.heading, ASCII_WIDTH)]
        for paragraph in note.paragraphs:
            rows += ["  " + row for row in _wrap(paragraph, ASCII_WIDTH - 2)]
    return "\n".join(rows[1:])


def _wrap(text: str, width: int) -> list[str]:
    """Words such as commit-ready are not taken apart."""
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _draw_ascii_line(figure: Figure, line: Line) -> list[str]:
    blank = [" "] * 76
    for column, lane in zip(inner(COLUMNS, figure.lanes), figure.lanes, strict=True):
        blank[column] = ":" if lane in line.down else "|"
    row = blank.copy()
    place = dict(zip(figure.lanes, inner(COLUMNS, figure.lanes), strict=True))
    if line.kind == "gap":
        return ["".join(blank)]
    if line.kind == "stage":
        row = ["." if mark == " " and 2 < column < COLUMNS[-1] + 4 else mark for column, mark in enumerate(row)]
        _put(row, (COLUMNS[1] + COLUMNS[2]) // 2 - 4, f" {line.text} ")
        return ["".join(blank), "".join(row), "".join(blank)]
    source, target = place[line.source], place[line.target]
    if line.is_arrow:
        return _draw_ascii_arrow(line, blank, source, target)
    if not line.is_more:
        row[source] = {"crash": "X", "restart": "O", "verdict": "*", "dispute": "*"}.get(line.kind, row[source])
    _put(row, source + 2 if source == COLUMNS[1] else source - 1 - len(line.text), line.text)
    return ["".join(row)]


def _draw_ascii_arrow(line: Line, blank: list[str], source: int, target: int) -> list[str]:
    """Words that are longer than their arrow begin in a row of their own, above it."""
    left, width = min(source, target) + 1, abs(source - target) - 1
    is_rightward = source < target
    *above, last = _wrap(line.text, width - 2)
    if line.kind in ("question", "tls"):
        arrow = f"<{last.center(width - 2, '.' if line.kind == 'question' else '=')}>"
    elif line.kind in ("lost", "denied"):
        arrow = last.center(width - 2, "-") + "X " if is_rightward else " X" + last.center(width - 2, "-")
    else:
        arrow = last.center(width - 1, "-") + ">" if is_rightward else "<" + last.center(width - 1, "-")
    rows = []
    for part in [*(each.center(width) for each in above), arrow]:
        row = blank.copy()
        _put(row, left, part)
        rows.append(row)
    label = f"({line.step})" if line.step else ""
    _put(rows[-1], source - len(label) if is_rightward else source + 1, label)
    return ["".join(row) for row in rows]


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

X = (80, 245, 555, 720)
WIDTH, TOP, PITCH = 800, 58, 27
DIAMONDS = {"verdict": "row", "dispute": "cross"}
SVG_MARK, SVG_NOTE, NOTE_PITCH = 40, 108, 18  # letters in a row, pixels between two rows

STYLE = """\
<style>
.gwf { --paper: #ffffff; --ink: #1c2128; --soft: #667085; --line: #98a2b3; --act: #0b5cad; --ask: #7a3fb0; --bad: #b42318; --good: #1a7f37; --tls: #8a5a00; --band: #f2f4f7; }
@media (prefers-color-scheme: dark) { .gwf { --paper: #12161c; --ink: #e6edf3; --soft: #9aa7b4; --line: #5b6672; --act: #79b8ff; --ask: #cfa5ff; --bad: #ff8a80; --good: #6fdd8b; --tls: #e3b341; --band: #1d242d; } }
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
.gwf .cross { stroke: var(--bad); stroke-width: 3; fill: none; } .gwf .again { fill: var(--good); }
</style>"""  # noqa: E501


def draw_svg(figure: Figure) -> str:
    """An SVG document as text. Nothing in it depends on the machine or the moment."""
    lines = list(fold(figure.lines, SVG_MARK))
    foot = TOP + PITCH * (len(lines) + 1)
    notes, height = _draw_svg_notes(figure.notes, foot)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gwf" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img">',
        f"<title>{escape(figure.title)}</title>",
        STYLE,
        f'<rect width="{WIDTH}" height="{height}" rx="6" style="fill: var(--paper)"/>',
    ]
    for number, line in enumerate(lines):
        if line.kind == "stage":
            out.append(f'<rect class="box" x="14" y="{_y(number) - 18}" width="{WIDTH - 28}" height="20" rx="3"/>')
    for x, lane in zip(inner(X, figure.lanes), figure.lanes, strict=True):
        out += _draw_svg_lifeline(x, lane, lines, foot)
    place = dict(zip(figure.lanes, inner(X, figure.lanes), strict=True))
    for number, line in enumerate(lines):
        out += _draw_svg_line(line, place, _y(number))
    return "\n".join([*out, *notes, "</svg>"])


def _draw_svg_notes(notes: list[Note], y: int) -> tuple[list[str], int]:
    """The rows below the lifelines, and where they end."""
    out = []
    for note in notes:
        y += PITCH
        if note.kind:
            out.append(f'<path class="{DIAMONDS[note.kind]}" d="M25 {y - 11}l7 7l-7 7l-7 -7z"/>')
        for part in _wrap(note.heading, SVG_NOTE):
            out.append(f'<text class="note" x="40" y="{y}">{escape(part)}</text>')
            y += NOTE_PITCH
        for paragraph in note.paragraphs:
            for part in _wrap(paragraph, SVG_NOTE):
                out.append(f'<text x="40" y="{y}">{escape(part)}</text>')
                y += NOTE_PITCH
        y -= NOTE_PITCH
    return out, y + 18 if notes else y


def _y(number: int) -> int:
    return TOP + PITCH * (number + 1) - 8


def _draw_svg_lifeline(x: int, lane: str, lines: list[Line], height: int) -> Iterator[str]:
    """The head of a lane and its lifeline, cut where the gateway goes down and comes back."""
    yield f'<rect class="box" x="{x - 62}" y="12" width="124" height="28" rx="4"/>'
    yield f'<text class="head" x="{x}" y="31">{escape(lane)}</text>'
    cuts = [(40, "life")]
    for number, line in enumerate(lines):
        kind = "down" if lane in line.down else "life"
        if kind != cuts[-1][1]:
            cuts.append((_y(number) - 4, kind))
    for (top, kind), (bottom, _) in zip(cuts, [*cuts[1:], (height - 10, "")], strict=True):
        yield f'<line class="{kind}" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>'


def _draw_svg_line(line: Line, place: dict[str, int], y: int) -> Iterator[str]:
    text = escape(line.text)
    if line.kind == "gap":
        return
    if line.kind == "stage":
        yield f'<text class="mid" x="{WIDTH // 2}" y="{y - 3}">{text}</text>'
        return
    x1, x2 = place[line.source], place[line.target]
    if not line.is_arrow:
        yield from _draw_svg_mark(line, x1, y, is_left=x1 == X[1])
        return
    step = 1 if x1 < x2 else -1
    if line.kind in ("lost", "denied"):
        x2 -= (60 if line.kind == "lost" else 14) * step
        yield f'<path class="cross" d="M{x2 - 6} {y - 10}l12 12m0 -12l-12 12"/>'
    else:
        yield f'<path class="tip {line.kind}" d="M{x2 - step} {y - 4}l{-9 * step} -4v8z"/>'
    if line.kind == "tls":
        yield f'<path class="tip tls" d="M{x1 + step} {y - 4}l{9 * step} -4v8z"/>'
    yield f'<line class="{line.kind}" x1="{x1 + step}" y1="{y - 4}" x2="{x2 - 6 * step}" y2="{y - 4}"/>'
    yield f'<text class="mid {line.kind}" x="{(x1 + x2) // 2}" y="{y - 9}">{text}</text>'
    anchor = "end" if step == 1 else ""
    if line.step:
        yield f'<text class="number {anchor}" x="{x1 - 5 * step}" y="{y}">{line.step}</text>'


def _draw_svg_mark(line: Line, x: int, y: int, is_left: bool) -> Iterator[str]:
    """A crash, a loss, a restart, a verdict or a time-out on a lifeline; its words stand between the gateways."""
    kind = "" if line.is_more else line.kind
    if kind == "crash":
        yield f'<path class="cross" d="M{x - 7} {y - 11}l14 14m0 -14l-14 14"/>'
    if kind == "restart":
        yield f'<circle class="again" cx="{x}" cy="{y - 4}" r="6"/>'
    if kind in DIAMONDS:
        yield f'<path class="{DIAMONDS[kind]}" d="M{x} {y - 11}l7 7l-7 7l-7 -7z"/>'
    x, side = (x + 14, "") if is_left else (x - 14, " end")
    y -= 8 if line.is_more else 0  # the words of one mark stand together
    ink = "loss" if line.kind == "dispute" else line.kind
    yield f'<text class="{ink}{side}" x="{x}" y="{y}">{escape(line.text)}</text>'
