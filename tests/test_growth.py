"""The table and the picture of how the number of states grows."""

from __future__ import annotations

import re
from math import log2
from xml.etree import ElementTree

import pytest

from protocol.bounds import Bounds
from protocol.errors import Misuse
from protocol.explorations import explore
from protocol.growth import DECADE, Growth

SMALL = (Bounds(crashes=0), Bounds(crashes=0, losses=1), Bounds(crashes=0, duplicates=1))


@pytest.fixture(scope="module")
def grown() -> Growth:
    return Growth(explore(bounds=each) for each in SMALL)


def test_every_exploration_has_a_row_with_its_own_counts(grown: Growth) -> None:
    assert tuple(grown) == SMALL
    lines = repr(grown).splitlines()
    assert len(lines) == 1 + len(SMALL)
    for line, each in zip(lines[1:], grown.values(), strict=True):
        assert line.startswith(str(each.bounds))
        assert re.findall(r" ([\d,]+)(?= )", line)[0] == f"{each.states:,}"
    assert [line.count("#") for line in lines[1:]] == [round(log2(each.states)) for each in grown.values()]


def test_a_bar_is_as_long_as_the_logarithm_of_what_it_counts(grown: Growth) -> None:
    root = ElementTree.fromstring(grown.svg)
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("x") == "190"][1:]
    counts = [count for each in grown.values() for count in (each.states, each.steps)]
    assert len(bars) == len(counts)
    for bar, count in zip(bars, counts, strict=True):
        assert 10 ** (int(bar.get("width") or 0) / DECADE) == pytest.approx(count, rel=0.02)


def test_two_within_the_same_bounds_or_none_are_refused(grown: Growth) -> None:
    with pytest.raises(Misuse, match="each within other bounds"):
        Growth([*grown.values(), grown[SMALL[0]]])
    with pytest.raises(Misuse, match="one at least"):
        Growth([])
