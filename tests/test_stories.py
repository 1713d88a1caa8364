"""A crash in one line: what is shown is what happened, at every place, whatever is lost."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import unescape
from itertools import product

import pytest

from protocol.errors import Misuse
from protocol.network import World
from protocol.recovery import TABLE_2, Facts, MyLedger, MyLog, Peer, decide
from protocol.rules import Rules
from protocol.steps import Role
from protocol.stories import (
    CrashMap,
    Loss,
    Recovery,
    RecoveryTable,
    crash_and_resume,
    every_crash,
    every_expiry,
    explain,
    lose,
    run_to_rest,
)
from protocol.trace import Acted, Crashed, Judged
from tests.conftest import ALICE, BOB, every_crash_point

POINTS = every_crash_point()
SVG = "{http://www.w3.org/2000/svg}"


def test_it_shows_the_figure_the_verdict_and_the_row() -> None:
    told = crash_and_resume("recipient", at="3.6", after=2, loses="log")
    text = repr(told)
    assert [row.letter for row in told.rows] == ["H", "C"]
    for row in told.rows:
        assert f"row {row.letter}: {row.title} -> {row.verdict}" in text
        assert row.why in " ".join(text.split())
    assert "My log: nothing; my ledger: final; the peer: ahead." in text
    assert "CRASH after the assign X" in text
    assert "transfer-proposal" not in text, "the figure begins with the last message before the crash"
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 72
    assert told.owners == [BOB]


def test_picture_and_text_say_the_same() -> None:
    told = crash_and_resume("sender", at="3.4", loses=3)
    bundle = told._repr_mimebundle_()
    assert bundle == {"text/plain": repr(told), "image/svg+xml": told._repr_svg_()}
    root = ET.fromstring(bundle["image/svg+xml"])
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    for row in told.rows:
        assert row.why in words
    assert unescape(told._describe_messages()) in words
    bottom = max(float(text.attrib["y"]) for text in root.iter(f"{SVG}text"))
    assert bottom < float(root.attrib["height"])
    assert told.figure.mermaid.count("row ") >= 2 * len(told.rows)


def test_the_facts_are_those_that_decided() -> None:
    for judged in crash_and_resume("recipient", at="3.3", after=1, loses=6, both=True).judgements:
        log, ledger, peer = judged.facts
        assert decide(Facts(MyLog(log), MyLedger(ledger), Peer(peer))).letter == judged.letter


def test_the_messages_are_counted_as_they_travelled() -> None:
    told = crash_and_resume("recipient", at="3.6", after=2, loses=3)
    answers = ["recover-update", "recover-update-ack", "recover-success"]
    assert [event.name for event in told.sent] == ["transfer-resume", "transfer-continue", "recover", *answers]
    assert len(told.messages) == 6
    assert told.size == sum(int(re.findall(r"([\d,]+) bytes", each)[0].replace(",", "")) for each in told.messages)
    assert told.message("recover").payload["hashPrevMessage"] == told.message("transfer-continue").digest
    with pytest.raises(Misuse, match="no rollback arrived in this recovery; there were transfer-resume"):
        told.message("rollback")


@pytest.mark.parametrize("loses", ["log", "key", 1, 2, 5])
@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("start", ["last-message", "stage"])
def test_whatever_is_lost_there_is_one_owner(loses: Loss, both: bool, start: str) -> None:
    """A sixth of all places for each; another sixth for each combination."""
    shift = ["log", "key", 1, 2, 5].index(loses) + both
    for who, step, when, number in POINTS[shift::6]:
        after, before = (number, None) if when == "after" else (None, number)
        told = crash_and_resume(who, step, after, before=before, loses=loses, both=both, start=start)
        assert told.world.is_at_rest
        assert told.owners in ([ALICE], [BOB])
        assert told.outcome.is_one_chain
        assert len(told.sent) <= 20, "no exchange goes round in a circle (R35)"
        told.world.close()


def test_two_exchanges_may_cross() -> None:
    """R35: both come back with new keys and no offer arrives; then each answers the other in its own exchange."""
    world = World()
    world.crash("recipient", at="3.6", after=1)
    world.start()
    world.run()
    world.crash("sender")
    lose(world, "recipient", "key")
    lose(world, "sender", "key")
    world.restart("sender")
    world.lose("transfer-resume")
    world.restart("recipient")
    world.run()
    told = Recovery(world)
    assert world.is_at_rest
    assert told.owners == [BOB]
    assert [event.source for event in told.sent if event.name == "recover"] == ["GW1", "GW2"]
    assert len(told.sent) <= 20, "they do not go round in a circle"


def test_several_sessions_have_no_common_stage() -> None:
    world = World()
    world.start()
    world.run(until="2.2")
    world.start("another asset", by="GW2")
    world.crash("recipient")
    world.restart("recipient")
    world.run()
    told = Recovery(world)
    assert "Stage" not in repr(told)
    assert "Owner: Alice in network 1, Bob in network 43114" in repr(told)
    assert len(told.message("transfer-resume").payload["sessions"]) == 2


@pytest.mark.parametrize("entries", range(1, 9))
@pytest.mark.parametrize("who", Role)
def test_the_peer_has_left_and_the_tail_is_lost(who: Role, entries: int) -> None:
    """The end cites a message that was lost, or the lost entries were about a lock that is still there."""
    for _, step, when, number in [point for point in POINTS if point[0] == who][::3]:
        world = World(seed="left")
        world.crash(who, at=step, **{when: number})
        world.start()
        world.run()
        lose(world, who, entries)
        try:
            world.abort(who.other, "the client changed its mind")
        except Misuse:  # it may not, or knows nothing yet
            world.close()
            continue
        world.restart(who)
        world.run()
        assert world.is_at_rest, (step, when, number)
        assert len(world.owners) == 1, (step, when, number)
        world.close()


@pytest.mark.parametrize("who", Role)
def test_the_lock_has_expired_and_the_tail_is_lost(who: Role) -> None:
    for (_, step, when, number), entries in product([point for point in POINTS if point[0] == who][1::5], (2, 5, 8)):
        world = World(seed="expired")
        world.crash(who, at=step, **{when: number})
        world.start()
        world.run()
        lose(world, who, entries)
        world.wait(130)
        world.restart(who)
        world.run()
        assert world.is_at_rest, (step, when, number, entries)
        assert len(world.owners) == 1, (step, when, number, entries)
        world.close()


@pytest.mark.parametrize("reconciles", [True, False])
def test_a_forgotten_burn_is_found_whoever_is_served_first(reconciles: bool) -> None:
    """Without the comparison the sender serves a repeated commit-ready and burns again: its network acts once."""
    world = World(rules=Rules(reconcile_before_serving=reconciles))
    world.crash("sender", at="3.4", after=2)
    world.start()
    world.run()
    world.forget("sender", 2)
    world.lose("transfer-resume")
    world.restart("sender")
    world.run()
    assert world.owners == [BOB]
    kinds = [(type(event), getattr(event, "again", None)) for event in world.trace.of(Acted, Judged)]
    burnt_again, judged = kinds.index((Acted, True)), kinds.index((Judged, None))
    assert (judged < burnt_again) == reconciles, "the rule says in which order"
    world.close()


def test_a_second_crash_after_each_act_of_the_recovery() -> None:
    crashes = []
    for again in range(1, 18):
        told = crash_and_resume("recipient", at="3.6", after=2, loses="log", again=again)
        assert told.world.is_at_rest
        assert told.owners == [BOB]
        crashes.append(len(told.world.trace.of(Crashed)))
    assert crashes[0] == 2
    assert crashes[-1] == 1, "there is no such act any more"


def test_a_lock_that_only_expiry_frees() -> None:
    told = crash_and_resume("recipient", at="3.2", after=2, loses="log", both=True, lock_type="TIME_LOCK")
    assert told.world.is_at_rest
    assert told.owners == [ALICE]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"at": "4.2"}, "there is no step '4.2'; the steps are 1.1"),
        ({"at": "3.4", "after": 2}, "it is the other gateway's"),
        ({"at": "3.6", "after": 4}, "they are 1 to 3"),
        ({"who": "G2"}, "there is no gateway 'G2'; there are sender"),
        ({"loses": "disk"}, '"log", "key", or a number of last entries, not \'disk\''),
        ({"loses": 0}, "a number of last entries, not 0"),
        ({"loses": True}, "a number of last entries, not True"),
        ({"start": "phase"}, "from the last-message or from the stage, not from phase"),
        ({"before": 1, "after": 1}, "name one durable act"),
        ({"at": 3.6}, 'a step is a text such as "3.6", not 3.6'),
        ({"after": "2"}, "a whole number, not '2'"),
        ({"again": True}, "a whole number, not True"),
    ],
)
def test_a_choice_that_cannot_be_says_what_can(choice: dict[str, object], words: str) -> None:
    with pytest.raises(Misuse) as refused:
        crash_and_resume(**choice)  # type: ignore[arg-type]
    assert words in str(refused.value)


def test_gateways_have_two_names() -> None:
    assert repr(crash_and_resume("GW1", at="3.4", both=True)) == repr(crash_and_resume("sender", at="3.4", both=True))


def test_the_map_has_every_place_once() -> None:
    found = every_crash(seed="map")
    assert [(place.who, place.step, place.number, place.is_after) for place in found] == [
        (who, step, number, when == "after") for who, step, when, number in POINTS
    ]
    assert isinstance(found, CrashMap)
    rows = repr(found).splitlines()
    assert len(rows) == 18
    assert rows[-1].split() == ["3.9", "commit-transfer-complete", "C", "D", "C", "-"]
    cells = re.findall(r"\b[A-Z]\b|-(?= |$)", " ".join(row[29:] for row in rows[1:]))
    assert len(cells) == 80
    # The beginning of the stage changes nothing but what is said again, and TLS changes nothing at all.
    from_stage = every_crash(seed="map", start="stage", tls=False)
    for place, out in found.items():
        other = from_stage[place]
        assert replace(other, messages=out.messages, said_again=out.said_again) == out
        assert other.messages - out.messages in (0, 2)
        assert (other.messages == out.messages) == (other.said_again == out.said_again)


def test_half_of_the_places() -> None:
    after = every_crash("log", both=True, tls=False, only="after")
    assert len(after) == 40
    assert all(place.is_after for place in after)
    with pytest.raises(Misuse, match=re.escape('only "before" or only "after" each act, not \'between\'')):
        every_crash(only="between")  # type: ignore[arg-type]


@pytest.mark.parametrize("entries", [2, 3, 5])
def test_what_is_served_before_the_comparison_does_no_harm_alone(entries: int) -> None:
    """After each durable act the first offer is lost too, so the peer speaks first. The other rules catch it all."""
    for who, step, when, number in POINTS:
        if when == "before":
            continue
        world = World(tls=False, rules=Rules(reconcile_before_serving=False))
        world.crash(who, at=step, after=number)
        world.start()
        world.run()
        world.forget(who, entries)
        world.lose("transfer-resume")
        world.restart(who)
        world.run()
        assert world.is_at_rest, (who, step, number)
        assert len(world.owners) == 1, (who, step, number)
        world.close()


def test_a_lock_that_runs_out_between_lock_and_burn_gives_the_asset_back() -> None:
    found = every_expiry()
    assert len(found) == 17 * 3
    for (step, _), out in found.items():
        assert out.is_at_rest
        assert out.owners == ((ALICE,) if "2.1" <= step <= "3.3" else (BOB,))
        assert out.states.isdisjoint({"locked", "held"})
    assert repr(found).splitlines()[5].split() == ["2.1", "lock", "Alice", "Alice", "Alice"]
    assert found._repr_html_().count("<tr>") == 18


def test_a_world_without_a_crash_is_shown_whole() -> None:
    world = World()
    world.start()
    world.run()
    told = Recovery(world)
    assert not told.rows
    assert "No row of TABLE 2" in repr(told)
    assert "0 recovery messages" in repr(told)
    assert len(told.trace) == len(world.trace)
    world.close()


def test_a_run_that_cannot_end_says_so() -> None:
    world = World()
    world.start()
    world.crash("recipient")
    run_to_rest(world)
    assert "NOT at rest" in repr(Recovery(world))
    world.close()


def test_the_table_is_complete() -> None:
    """Every row, and with it every combination of facts, in text and in HTML."""
    table = RecoveryTable()
    for form in (repr(table), unescape(table._repr_html_())):
        for row in TABLE_2:
            assert row.title in form
            assert len(row.cases) <= form.count("log: ")
    assert max(map(len, repr(table).splitlines())) <= 96
    assert len(re.findall(r"^[A-Z]  ", repr(table), flags=re.MULTILINE)) == len(TABLE_2)
    ET.fromstring(table._repr_html_().replace("<br>", "<br/>"))


def test_a_row_explains_itself() -> None:
    for row in TABLE_2:
        assert row.why in " ".join(repr(explain(row.letter)).split())
    with pytest.raises(Misuse, match=r"TABLE 2 has no row 'x'; its rows are A, B"):
        explain("x")


def test_a_verdict_keeps_its_facts_in_the_trace() -> None:
    told = crash_and_resume()
    judged = told.world.trace.of(Judged)
    assert judged == told.judgements
    assert all(isinstance(each, Judged) and len(each.facts) == 3 for each in judged)
