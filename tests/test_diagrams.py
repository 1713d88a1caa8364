"""One list of lines, three drawings of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import mermaidx
import pytest

from protocol.diagrams import FOUR, STYLE, SVG_LETTER, Figure, Note, kind_of
from protocol.network import World
from protocol.steps import TABLE_1
from protocol.trace import LEFT_BY


def read_texts(figure: Figure) -> list[ET.Element]:
    return list(ET.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}text"))


@pytest.fixture
def figure(world: World) -> Figure:
    """Everything that can be drawn: crash, restart, question, loss, repetition, time-out, error."""
    world.start()
    world.crash("recipient", at="3.2", after=2)
    world.run()
    world.forget("recipient", 1)
    world.restart("recipient")
    world.lose("3.5")
    world.crash("sender", at="3.8", before=2)
    world.run()
    world.restart("sender")
    world.run()
    return Figure(world.trace, "everything <&> at once")


def test_the_same_run_gives_the_same_figures(figure: Figure) -> None:
    assert {line.kind for line in figure.lines} == {
        "stage", "message", "lost", "action", "question", "tls", "crash", "loss", "restart", "verdict", "wait", "gap",
    }  # fmt: skip
    again = Figure.__new__(Figure)
    again.__dict__ = dict(figure.__dict__)
    assert (figure.svg, figure.mermaid, figure.ascii) == (again.svg, again.mermaid, again.ascii)


def test_ascii_fits_into_an_internet_draft(figure: Figure) -> None:
    """RFC 7322 and its tools allow 72 columns; nothing but ASCII."""
    rows = figure.ascii.splitlines()
    assert max(map(len, rows)) <= 72
    assert figure.ascii.isascii()
    assert all(row == row.rstrip() for row in rows)
    assert repr(figure) == figure.ascii


def test_all_three_name_every_step_and_every_crash(figure: Figure) -> None:
    for row in TABLE_1:
        assert f"({row.number})" in figure.ascii
        assert f">{row.number}</text>" in figure.svg
        assert f": {row.number} " in figure.mermaid
    for drawing in (figure.svg, figure.mermaid, figure.ascii):
        assert drawing.count("CRASH") == 2
        assert drawing.count("restart") - drawing.count(".restart") - drawing.count('class="restart') >= 2


def test_a_lost_message_never_reaches_the_other_side(figure: Figure) -> None:
    lost = [row for row in figure.ascii.splitlines() if "commit-final" in row and "X" in row]
    assert lost
    assert not any(">" in row for row in lost)
    assert "-xP2: 3.5 commit-final" in figure.mermaid


def test_a_gateway_that_is_down_has_a_dotted_lifeline(figure: Figure) -> None:
    assert 'class="down"' in figure.svg
    rows = figure.ascii.splitlines()
    crash = next(number for number, row in enumerate(rows) if "CRASH after the mint" in row)
    assert rows[crash][50] == "X"


def test_svg_is_well_formed_themed_and_one_element_a_line(figure: Figure) -> None:
    root = ET.fromstring(figure.svg)
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "everything <&> at once"
    assert "prefers-color-scheme: dark" in figure.svg
    body = figure.svg.split("</style>")[1]
    assert all(len(re.findall(r"<(?:line|text|rect|path|circle)\b", row)) <= 1 for row in body.splitlines())
    assert not re.search(r"(href|src|url\()", figure.svg), "a picture needs nothing from the network"


def test_no_style_makes_words_invisible(figure: Figure) -> None:
    """A rule for arrows (stroke, no fill) must not also reach the words of the same class."""
    root = ET.fromstring(figure.svg)
    classes = {name for text in root.iter("{http://www.w3.org/2000/svg}text") for name in text.get("class", "").split()}
    assert {"message", "action", "question", "lost", "crash"} <= classes
    for selector, rule in re.findall(r"(\.gwf [^{]*)\{([^}]*)\}", STYLE):
        if "stroke" in rule or "fill: none" in rule:
            assert not re.search(rf"\.gwf (?:text)?\.(?:{'|'.join(classes)})\b", selector), selector


def test_the_line_of_a_network_says_how_the_asset_stands_there(figure: Figure) -> None:
    """Who sees only the picture sees who can use the asset: nobody, between the burn and the assignment."""
    lines = ET.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}line")
    ends = [(line.get("class", ""), float(line.attrib["y1"]), line.attrib["x1"]) for line in lines]
    states = [(name, x) for name, _, x in sorted(ends, key=lambda end: end[1]) if name in LEFT_BY.values()]
    assert states == [("locked", "80"), ("held", "720"), ("burned", "80"), ("assigned", "720")]
    assert re.findall(r'<text class="state[^>]*>(\w+)<', figure.svg) == ["locked", "burned", "held", "assigned"]


def test_a_figure_that_begins_later_knows_how_the_asset_stood(world: World) -> None:
    world.start(lock_type="TIME_LOCK")
    world.run("2.2")
    world.wait(121)
    later = Figure(world.trace.since("2.2"))
    assert re.findall(r'<text class="state[^>]*>(\w+)<', later.svg) == ["locked", "free"]
    assert "T expired" in later.ascii
    assert "Note over P0: expired" in later.mermaid
    assert 'class="sign expiry"' in later.svg


def test_with_several_assets_no_line_says_how_one_of_them_stands(world: World) -> None:
    world.start()
    world.start("another")
    world.run()
    assert 'class="state' not in Figure(world.trace, has_stages=False).svg


def test_svg_stays_inside_its_own_frame(figure: Figure) -> None:
    root = ET.fromstring(figure.svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y1", height), ("y2", height)):
            assert 0 <= float(element.attrib.get(name, 0)) <= limit


@pytest.mark.parametrize(("step", "name"), [("3.5", "commit-final"), ("3.9", "commit-transfer-complete")])
def test_the_words_of_a_mark_stand_between_the_gateways(step: str, name: str) -> None:
    """Each letter as wide as it may be: what fills its row just so, and the longest words, reach no other lifeline."""
    world = World()
    world.start()
    world.crash("recipient", at=step, after=1)
    world.run()
    words = [text for text in read_texts(Figure(world.trace)) if "crash" in text.get("class", "")]
    assert " ".join(text.text or "" for text in words) == f"CRASH after logging done of {name} ({step})"
    for text in words:
        assert text.get("class") == "crash end", "it ends at the lifeline of the recipient"
        assert float(text.attrib["x"]) - SVG_LETTER * len(text.text or "") >= FOUR.x[1]


def test_the_words_of_one_mark_stand_together_however_many_rows_they_take() -> None:
    world = World()
    world.start()
    world.run(until="2.2")
    world.revoke("GW1")
    world.cut()
    world.run()
    rows = [float(text.attrib["y"]) for text in read_texts(Figure(world.trace)) if "refused" in text.get("class", "")]
    assert len({one - other for other, one in pairwise(rows[:3])}) == 1, "the first refusal takes three rows"


def test_a_dispute_is_drawn_like_a_loss(figure: Figure) -> None:
    """Green says that it goes on."""
    lines = [replace(line, kind="dispute", text="row Q: dispute") for line in figure.lines if line.kind == "verdict"]
    assert lines
    calm = figure.svg
    figure.lines, figure.notes = lines, [Note("GW1, row Q", ("why",), "dispute")]
    assert 'class="verdict' in calm and 'class="row"' in calm
    assert 'class="verdict' not in figure.svg and 'class="row"' not in figure.svg
    assert figure.svg.count('class="cross"') == len(lines) + 1
    assert figure.svg.count('class="loss') == len(lines)
    assert "*" in figure.ascii
    assert [kind_of(verdict) for verdict in ("continue", "dispute")] == ["verdict", "dispute"]


def test_mermaid_itself_accepts_the_text(figure: Figure) -> None:
    """The real mermaid.js, without a browser."""
    drawn = mermaidx.render(figure.mermaid).svg()
    assert "commit-ready" in drawn
    with pytest.raises(Exception, match=r"(?i)parse|expect"):
        mermaidx.render("sequenceDiagram\n    A->>").svg()
