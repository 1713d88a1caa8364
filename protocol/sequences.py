"""A Trace as the rows of a sequence diagram: one list of lines, which every form of a figure only draws.

A row is an arrow between two places, a mark on the lifeline of one, or the heading of a stage. With each row goes what
the gateways are at that moment: a lifeline is drawn otherwise while its gateway is down, stands still, is fenced or
only stands by. Log entries have no row: they belong to the table of a log.

Below the lifelines there may be notes: why it went as it did, in words.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from protocol.steps import find_row
from protocol.trace import (
    LEFT_BY,
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
    Forgotten,
    HandedOver,
    Healed,
    Judged,
    Lost,
    Mark,
    NotConnected,
    Partitioned,
    Paused,
    Restarted,
    StandsBy,
    TimedOut,
    TookOver,
    Trace,
    Woken,
    compute_marks,
)


@dataclass(frozen=True)
class Line:
    """One row of a figure: an arrow between two places, a mark on one, or the heading of a stage.

    `kind` is message, lost, action, denied (the network refuses), question, tls (a connection comes about); crash,
    loss, restart, verdict, dispute, wait, refused, expiry, pause, wake, cut, heal, takeover, handover, fence, accept;
    stage, or gap, a row without a mark that lets a lifeline be seen. `marks` say which gateways are down, paused,
    fenced or on standby, and how the asset stands in a network. `part`: 0, or in which further row the words go on.
    """

    kind: str
    text: str
    step: str = ""
    source: str = ""
    target: str = ""
    marks: frozenset[Mark] = frozenset()
    part: int = 0

    @property
    def is_arrow(self) -> bool:
        return self.kind in ("message", "lost", "action", "denied", "question", "tls")

    def find_state(self, lane: str) -> str:
        """How the asset stands in a network; empty where nothing has been said of it."""
        return next((mark for place, mark in self.marks if place == lane and mark in LEFT_BY.values()), "")

    def find_life(self, lane: str) -> str:
        """How the lifeline of a place is to be drawn: life, or the strongest of its marks."""
        return next((mark for mark in ("down", "paused", "fenced", "standby") if (lane, mark) in self.marks), "life")


@dataclass(frozen=True)
class Note:
    """What stands below a figure: a heading, and paragraphs. `kind` is verdict, dispute or empty."""

    heading: str
    paragraphs: tuple[str, ...]
    kind: str = ""


def compute_lines(trace: Trace, *, has_stages: bool = True) -> Iterator[Line]:
    """The rows of the figure, top to bottom.

    Several sessions at once are not at one stage: then without headings.
    """
    marks = trace.marks
    stage = 0
    for event in trace:
        marks = compute_marks(marks, event)
        line = _compute_line(event, marks)
        if line is None:
            continue
        if has_stages and line.step and line.kind != "question" and find_row(line.step).stage > stage:
            stage = find_row(line.step).stage
            yield Line("stage", f"Stage {stage}", marks=marks)
        yield line
        if line.kind in ("crash", "pause", "fence"):
            yield Line("gap", "", marks=marks)


def _compute_line(event: Event, marks: frozenset[Mark]) -> Line | None:
    line = _compute_arrow(event) or _compute_mark(event) or _compute_succession(event)
    return None if line is None else replace(line, marks=marks)


def _compute_arrow(event: Event) -> Line | None:
    match event:
        case Delivered(source=source, target=target, step=step, name=name, again=again):
            return Line("message", f"{name} again" if again else name, step, source, target)
        case Lost(source=source, target=target, step=step, name=name):
            return Line("lost", name, step, source, target)
        case Acted(gateway=gateway, network=network, step=step, action=action, again=again, late=late):
            words = [action, *(["again"] if again else []), *(["late"] if late else [])]
            return Line("action", " ".join(words), step, gateway, network)
        case Denied(gateway=gateway, network=network, step=step, action=action):
            return Line("denied", action, step, gateway, network)
        case Asked(gateway=gateway, network=network, step=step, action=action, happened=happened):
            return Line("question", f"{action}? {'yes' if happened else 'no'}", step, gateway, network)
        case Connected(one=one, other=other, is_resumed=is_resumed):
            return Line("tls", f"TLS 1.3 {'resumed' if is_resumed else 'full handshake'}", "", one, other)
    return None


def _compute_mark(event: Event) -> Line | None:
    match event:
        case Crashed(gateway=gateway, where=where):
            return Line("crash", f"CRASH {where}".rstrip(), "", gateway, gateway)
        case Restarted(gateway=gateway):
            return Line("restart", "restart", "", gateway, gateway)
        case Forgotten(gateway=gateway, what=what):
            return Line("loss", f"loses {what}", "", gateway, gateway)
        case Judged(gateway=gateway, letter=letter, verdict=verdict):
            return Line(kind_of(verdict), f"row {letter}: {verdict}", "", gateway, gateway)
        case NotConnected(gateway=gateway, reason=reason):
            return Line("refused", f"no TLS: {reason}", "", gateway, gateway)
        case Expired(network=network):
            return Line("expiry", "expired", "", network, network)
        case TimedOut(gateway=gateway):
            return Line("wait", "no answer in time", "", gateway, gateway)
    return None


def _compute_succession(event: Event) -> Line | None:
    """Who is in charge, and who does not reach whom."""
    kind, text = _describe_succession(event)
    gateway = str(getattr(event, "gateway", ""))
    return Line(kind, text, "", gateway, gateway) if kind else None


def _describe_succession(event: Event) -> tuple[str, str]:
    match event:
        case Paused(where=where):
            return "pause", f"stands still {where}".rstrip()
        case Woken():
            return "wake", "goes on"
        case Partitioned(place=place):
            return "cut", f"does not reach {place}"
        case Healed(place=place):
            return "heal", f"reaches {place} again"
        case TookOver(predecessor=predecessor, epoch=epoch):
            return "takeover", f"takes over from {predecessor}: epoch {epoch}"
        case HandedOver(epoch=epoch):
            return "handover", f"hands over epoch {epoch}"
        case StandsBy():
            return "handover", "stands by"
        case FencedOff(by=by, epoch=epoch):
            return "fence", f"FENCED: {by} has epoch {epoch}"
        case Accepted(by=by, peer=peer, epoch=epoch):
            return "accept", f"accepts {by} for {peer}: epoch {epoch}"
    return "", ""


def kind_of(verdict: str) -> str:
    """A dispute is drawn like a loss: nothing goes on until a human decides."""
    return "dispute" if verdict == "dispute" else "verdict"


def fold(lines: list[Line], find_width: Callable[[Line], int]) -> Iterator[Line]:
    """The same rows, with the words of a mark spread over as many as they need."""
    for line in lines:
        parts = wrap(line.text, find_width(line)) if not line.is_arrow and line.text else [line.text]
        for number, words in enumerate(parts):
            yield replace(line, text=words, part=number)


def wrap(text: str, width: int) -> list[str]:
    """Words such as commit-ready are not taken apart."""
    return textwrap.wrap(text, width, break_on_hyphens=False)
