"""Two copies as boxes: what is shown as agreed, pending, missing and forked is what History computes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from protocol.errors import Misuse
from protocol.histories import HistoryFigure
from protocol.network import World
from protocol.objects import History, Version


def make(*names: str, answered: bool = True) -> History:
    reads = [None, *names]
    answer = "answered" if answered else None
    return History(Version(name, before, "C", "signed", answer) for name, before in zip(names, reads, strict=False))


def kinds(figure: HistoryFigure) -> list[list[str]]:
    return [[kind for kind, _ in row] for row in figure.rows]


def test_equal_copies() -> None:
    figure = HistoryFigure({"C": make("abcd", "1234"), "D": make("abcd", "1234")})
    assert kinds(figure) == [["agreed"] * 2] * 2
    assert repr(figure) == "C   abcd <- 1234\nD   abcd <- 1234\nC and D have the same 2 versions."


@pytest.mark.parametrize("holders", [("C", "D"), ("D", "C")])
def test_the_shorter_one_lacks_what_history_says(holders: tuple[str, str]) -> None:
    short, whole = make("abcd"), make("abcd", "1234", "5678")
    figure = HistoryFigure(dict(zip(holders, (short, whole), strict=True)))
    assert kinds(figure)[0].count("missing") == len(short.compute_missing(whole)) == 2
    assert figure.words == f"{holders[0]} lacks 2 versions that {holders[1]} has."
    assert "abcd <- .... <- ...." in figure.ascii


def test_a_copy_with_nothing_lacks_everything() -> None:
    figure = HistoryFigure({"C": make("abcd"), "D": History()})
    assert kinds(figure) == [["agreed"], ["missing"]]
    assert figure.words == "D lacks 1 version that C has."


def test_a_fork_is_where_history_finds_it() -> None:
    mine, theirs = make("abcd", "1234"), make("abcd", "5678", "9abc")
    figure = HistoryFigure({"C": mine, "D": theirs})
    assert kinds(figure) == [["agreed", "forked"], ["agreed", "forked", "forked"]]
    assert mine.compute_fork(theirs) is not None
    assert repr(figure).splitlines()[1:] == [
        "D   abcd <-[5678]<-[9abc]",
        "A fork: C and D have different versions after abcd.",
    ]
    assert HistoryFigure({"C": make("1"), "D": make("2")}).words.endswith("from the beginning.")


def test_a_version_that_nobody_answered_is_pending() -> None:
    figure = HistoryFigure({"C": make("abcd", "1234", answered=False)})
    assert kinds(figure) == [["agreed", "pending"]]
    assert "(1234)" in figure.ascii
    assert "only its author has signed" in figure.words


def test_a_transfer_and_a_log(world: World) -> None:
    world.start()
    world.run()
    chain, log = world.history("sender"), world.log("recipient")
    assert kinds(HistoryFigure({"GW1": chain})) == [["agreed"] * 10 + ["pending"]]
    figure = HistoryFigure.of_logs({"whole": log, "torn": log[:-1]})
    assert figure.words == "torn lacks 1 entry that whole has."
    assert "exec 3.6" in figure.ascii
    assert HistoryFigure.of_logs({"GW2": log[2:5]}).words == "GW2, entry 3 to entry 5"
    assert "fork" in HistoryFigure.of_logs({"GW1": world.log("sender"), "GW2": log}).words


@pytest.mark.parametrize("count", [1, 2])
def test_every_drawing_is_well_formed_and_narrow(world: World, count: int) -> None:
    world.start()
    world.run()
    chain = world.history("sender")
    figure = HistoryFigure(dict(zip(("<GW1>", "GW2")[:count], (chain, History(list(chain)[:4])), strict=False)))
    boxes = [each for each in ET.fromstring(figure.svg) if each.tag.endswith("rect")]
    assert len(boxes) == 1 + count * 11, "the paper, and a box for each version"
    assert "prefers-color-scheme: dark" in figure.svg
    rows = figure.ascii.splitlines()[:-1]
    assert figure.ascii.isascii()
    assert max(map(len, rows)) <= 72
    assert figure._repr_svg_() == HistoryFigure.__dict__["svg"].fget(figure)


def test_three_holders_or_none_are_refused() -> None:
    for copies in ({}, dict.fromkeys("CDE", make("abcd")), {"C": History()}):
        with pytest.raises(Misuse, match="one holder or two, and at least one version"):
            HistoryFigure(copies)
