"""Figures with three gateways: a slow one, its backup and their counterparty."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import mermaidx
import pytest

from protocol.diagrams import ASCII_WIDTH, SIGNS, SLOW_STYLE, STYLE, Figure
from protocol.network import World
from protocol.trace import (
    Accepted,
    Acted,
    Asked,
    Connected,
    Crashed,
    Delivered,
    Denied,
    Event,
    Expired,
    FencedOff,
    HandedOver,
    Healed,
    Judged,
    Lost,
    Partitioned,
    Paused,
    Restarted,
    TimedOut,
    TookOver,
    Trace,
    Woken,
)

AT = "2024-10-03T12:02:00Z"
NET, GW1, BACKUP, GW2, OTHER = LANES = ("network 1", "GW1", "GW1-B", "GW2", "network 43114")
STANDBY = frozenset({(BACKUP, "standby")})
EVENTS: list[Event] = [
    Connected(AT, GW1, GW2, is_resumed=False),
    Expired(AT, NET),
    Delivered(AT, GW1, GW2, "3.1", "commit-prepare"),
    Asked(AT, GW2, OTHER, "3.2", "mint", happened=False),
    Acted(AT, GW2, OTHER, "3.2", "mint"),
    Delivered(AT, GW2, GW1, "3.3", "commit-ready"),
    Paused(AT, GW1, "before the burn (3.4)"),
    Partitioned(AT, BACKUP, "GW1"),
    TimedOut(AT, GW2),
    TookOver(AT, BACKUP, GW1, 2),
    Acted(AT, GW1, NET, "3.4", "burn", late=True),
    Connected(AT, BACKUP, GW2, is_resumed=False),
    Lost(AT, BACKUP, GW2, "", "transfer-resume"),
    Delivered(AT, BACKUP, GW2, "", "transfer-resume"),
    Accepted(AT, GW2, GW1, BACKUP, 2),
    Delivered(AT, GW2, BACKUP, "", "transfer-continue"),
    Asked(AT, BACKUP, NET, "3.4", "burn", happened=True),
    Judged(AT, BACKUP, "d66a567c", "H", "continue", ("begun", "done", "behind")),
    Woken(AT, GW1),
    Acted(AT, GW1, NET, "3.4", "burn", again=True),
    FencedOff(AT, GW1, 2, BACKUP),
    Delivered(AT, BACKUP, GW2, "3.5", "commit-final"),
    Acted(AT, GW2, OTHER, "3.6", "assign"),
    Denied(AT, BACKUP, NET, "3.8", "record", "for a figure"),
    Delivered(AT, GW2, BACKUP, "3.7", "ack-commit-final", again=True),
    Healed(AT, BACKUP, "GW1"),
    Restarted(AT, GW1),
    HandedOver(AT, BACKUP, 2),
    TookOver(AT, GW1, BACKUP, 3),
    Delivered(AT, GW1, GW2, "3.9", "commit-transfer-complete"),
    Crashed(AT, GW2, "after logging done of commit-transfer-complete (3.9)"),
    Restarted(AT, GW2),
]


@pytest.fixture
def figure() -> Figure:
    return Figure(Trace(LANES, (GW1, BACKUP, GW2), EVENTS, STANDBY), "A slow gateway and its backup")


def find_row(figure: Figure, words: str) -> tuple[int, list[str]]:
    rows = figure.ascii.splitlines()
    return next(number for number, row in enumerate(rows) if words in row), rows


def test_all_three_forms_draw_every_new_event(figure: Figure) -> None:
    for words in (
        "stands still before the burn (3.4)",
        "goes on",
        "does not reach GW1",
        "reaches GW1 again",
        "takes over from GW1: epoch 2",
        "hands over epoch 2",
        "FENCED: GW1-B has epoch 2",
        "accepts GW1-B for GW1: epoch 2",
        "burn late",
    ):
        assert words in figure.mermaid
        assert words in re.sub(r"</text>\n<text [^>]*>", " ", figure.svg)
        last = words.split(maxsplit=1)[0]
        assert last in figure.ascii
    for kind in SIGNS:
        assert f'class="sign {kind}"' in figure.svg
        assert f'class="{kind}' in figure.svg
    assert {line.kind for line in figure.lines} >= set(SIGNS)


def test_ascii_of_five_lanes_stays_readable(figure: Figure) -> None:
    rows = figure.ascii.splitlines()
    assert max(map(len, rows)) <= ASCII_WIDTH
    assert figure.ascii.isascii()
    assert rows[0].split("  ", 1)[0] == NET and all(lane in rows[0] for lane in LANES)
    for name in ("commit-transfer-complete", "ack-commit-final again", "TLS 1.3 full handshake", "burn? yes"):
        number, _ = find_row(figure, name)
        assert not set("-=.<>") & set(rows[number].replace(name, "")) - {"."}, "the words stand above their arrow"
        assert set("-=.") & set(rows[number + 1])


def test_each_state_has_its_own_lifeline(figure: Figure) -> None:
    def lives(words: str, lane: str) -> str:
        number, rows = find_row(figure, words)
        return rows[number][figure.layout.columns[LANES.index(lane)]]

    assert lives("commit-prepare", BACKUP) == "."  # on standby
    assert lives("commit-prepare", GW1) == "|"
    assert lives("transfer-resume", GW1) == "'"  # it stands still
    assert lives("transfer-resume", BACKUP) == "|"
    assert lives("commit-final", GW1) == "!"  # fenced
    assert lives("commit-transfer-complete", BACKUP) == "."
    for kind in ("life", "paused", "fenced", "standby", "down"):
        assert f'<line class="{kind}"' in figure.svg
    assert figure.svg.count('<line class="paused"') == figure.svg.count('<line class="fenced"') == 1


def read_texts(svg: str) -> list[tuple[float, float, str]]:
    """Where the words of arrows begin and end, in pixels: eight for a letter is more than it takes on average."""
    found = []
    for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        if text.get("class", "").startswith("mid ") and text.text:
            middle, half = float(text.attrib["x"]), 4 * len(text.text)
            found.append((middle - half, middle + half, text.text))
    return found


def test_no_words_of_an_arrow_touch_a_lifeline(figure: Figure) -> None:
    texts = read_texts(figure.svg)
    assert {"commit-prepare", "burn? yes", "record", "mint", "TLS 1.3 full handshake"} <= {text for _, _, text in texts}
    for left, right, text in texts:
        assert any(one < left and right < other for one, other in pairwise(figure.layout.x)), text


def test_where_the_words_of_a_mark_cross_a_lifeline_it_has_a_gap(figure: Figure) -> None:
    """GW1's longest words only; its short ones, and those of the others, have room."""
    gaps = re.findall(r'<rect class="words" x="(\d+)"', figure.svg)
    assert gaps == ["350"] * 3
    assert figure.svg.index('<rect class="words"') > figure.svg.rindex('<line class="life"')


def test_svg_of_five_lanes_is_well_formed_and_inside_its_frame(figure: Figure) -> None:
    root = ET.fromstring(figure.svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y1", height), ("y2", height)):
            assert 0 <= float(element.attrib.get(name, 0)) <= limit
    body = figure.svg.split("</style>")[-1]
    assert all(len(re.findall(r"<(?:line|text|rect|path|circle)\b", row)) <= 1 for row in body.splitlines())
    for selector, rule in re.findall(r"(\.gwf [^{]*)\{([^}]*)\}", SLOW_STYLE):
        if "stroke" in rule or "fill: none" in rule:
            assert selector.startswith((".gwf .sign", ".gwf .paused", ".gwf .fenced", ".gwf .standby")), selector


def test_mermaid_itself_accepts_the_text(figure: Figure) -> None:
    drawn = mermaidx.render(figure.mermaid).svg()
    assert "takes over from GW1: epoch 2" in drawn
    assert "GW1-B" in drawn


def test_figures_that_need_nothing_new_stay_as_they_are() -> None:
    plain = Figure(Trace((GW1, GW2), (GW1, GW2), [Crashed(AT, GW1, "")]))
    assert STYLE in plain.svg and SLOW_STYLE not in plain.svg
    slow = Figure(Trace((GW1, GW2), (GW1, GW2), [Paused(AT, GW1, "")]))
    assert SLOW_STYLE in slow.svg
    assert slow.ascii.splitlines()[1][19] == "="


def test_three_gateways_without_their_networks() -> None:
    events = [event for event in EVENTS if not isinstance(event, Acted | Asked | Denied | Expired)]
    three = Figure(Trace((GW1, BACKUP, GW2), (GW1, BACKUP, GW2), events, STANDBY))
    assert three.ascii.splitlines()[0].split() == [GW1, BACKUP, GW2]
    assert max(map(len, three.ascii.splitlines())) <= ASCII_WIDTH
    ET.fromstring(three.svg)


def test_a_trace_that_is_cut_knows_what_the_gateways_were() -> None:
    whole = Trace(LANES, (GW1, BACKUP, GW2), EVENTS, STANDBY)
    assert whole.since("3.5").marks == {(GW1, "fenced"), (NET, "burned"), (OTHER, "held")}
    assert whole.since("3.9").marks == {(BACKUP, "standby"), (NET, "burned"), (OTHER, "assigned")}
    (first, *_) = whole.since_crash()
    assert isinstance(first, Delivered) and first.name == "commit-ready"
    assert whole.since_crash().marks == STANDBY | {(NET, "free"), (OTHER, "held")}


@pytest.mark.parametrize("trouble", [Partitioned(AT, GW1, "its log store"), HandedOver(AT, GW1, 1)])
def test_since_crash_begins_with_whatever_trouble_there_was(trouble: Event) -> None:
    """The message before it is the first that is shown."""
    events = [EVENTS[2], EVENTS[5], trouble, EVENTS[13]]
    assert list(Trace(LANES, (GW1, BACKUP, GW2), events).since_crash()) == events[1:]


def test_a_run_with_a_pause_draws_itself(world: World) -> None:
    world.pause("recipient", at="3.2", before=2)
    world.start()
    world.run()
    world.land("recipient")
    world.wake("recipient")
    world.run()
    figure = Figure(world.trace.since_crash())
    assert figure.lines[0].text == "Stage 3" or figure.lines[0].kind == "message"
    assert {"pause", "wake"} <= {line.kind for line in figure.lines}
    assert [line.text for line in figure.lines if line.kind == "action"][:2] == ["mint late", "mint again"]
    assert str(world.trace.of(Paused)[0]) == "GW2 stands still before the mint (3.2)"
