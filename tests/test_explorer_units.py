"""The unit is the real thing: what it computes is what a World does, and what it keeps apart is all there is."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import Misuse
from protocol.explorer import Explorer
from protocol.memories import freeze
from protocol.peers import CertifiedKeys
from protocol.replays import replay, write_actions
from protocol.session import Session, read_session
from protocol.steps import Role
from protocol.units import State, Unit, find_sessions
from tests.twins import PROPERTIES, Content, find_locals, make_small_plan, play, read_content, search, see, show_content

NORMAL = ["start", "1.1", "1.2", "1.3", "1.4", "2.2", "2.4", "3.1", "3.3", "3.5", "3.7", "3.9"]


def find_normal_way(found: Explorer) -> list[int]:
    """The states of a transfer in which nothing goes wrong."""
    texts = {" ".join(NORMAL[:length]) for length in range(1, len(NORMAL) + 1)}
    return [place for place in range(1, len(found.states)) if write_actions(found, place) in texts]


def is_same(name: str, one: Session, other: Session) -> bool:
    """Whatever the order of the fields in a message, which is written canonically."""
    if name in ("just_read", "claimed"):
        return True  # what a message brings along until it is logged, and what is read off the claim
    known, told = getattr(one, name), getattr(other, name)
    return bool(known == told or freeze(known) == freeze(told))


def list_states(found: Explorer) -> list[tuple[Unit, State]]:
    return [(table.side, state) for table in found.tables for state in table.states]  # type: ignore[misc]


@pytest.mark.parametrize("length", range(1, len(NORMAL) + 1), ids=lambda length: NORMAL[length - 1])
def test_what_a_crash_leaves_is_what_a_world_leaves(length: int) -> None:
    """Before and after every durable act of this event, byte for byte: the log and the receipts."""
    found = search(losses=1)
    place = find_normal_way(found)[length - 1]
    action, before = found.find_actions(place)[-1], find_locals(found, found.find_places(place)[-2])
    unit, role = found.plan.sides[action.side], list(Role)[action.side]
    about = found.messages[action.about].data if action.kind == "deliver" else action.about
    outcome = unit.run(before[action.side], (action.kind, about))
    assert outcome is not None and outcome.cuts
    for cut in outcome.cuts:
        text = f"{' '.join(NORMAL[:length])}:{'a' if cut.is_after else 'b'}{cut.number}"
        with play(text) as played:
            assert read_content(played, role) == show_content(cut.state), text  # type: ignore[arg-type]


def test_before_an_act_is_after_the_one_before_it() -> None:
    """So only the first is copied."""
    for number in (2, 3, 4):
        with play(f"start 1.1 1.2 1.3 1.4:b{number}") as before, play(f"start 1.1 1.2 1.3 1.4:a{number - 1}") as after:
            assert read_content(before, Role.SENDER) == read_content(after, Role.SENDER)


def test_sessions_in_memory_are_a_fold_over_the_log() -> None:
    """So the hash of the last entry names a session, and memory adds nothing."""
    compared = 0
    for unit, state in list_states(search(crashes=1)):
        for name, session in (find_sessions(state.process) if state.process else {}).items():
            entries = [entry for entry, _ in state.log if entry.sessionId == name]
            again = read_session(name, unit.id, entries)
            assert again is not None
            assert {name for name in vars(session) if not is_same(name, session, again)} == set()
            compared += 1
    assert compared > 100


def test_a_state_put_back_and_copied_again_is_the_same_state() -> None:
    for unit, state in list_states(search(crashes=1)):
        if not state.view.failure:
            unit._load(state)
            assert unit._copy().key == state.key


def test_a_crash_leaves_what_is_on_the_disk_and_nothing_else() -> None:
    """Nothing is computed for a crash between two events; it is what a copy of the disk would be."""
    for unit, state in list_states(search(crashes=1)):
        if state.process is not None:
            unit._load(state)
            outcome = unit.run(state, ("crash", None))
            assert outcome is not None and outcome.state.key == unit._copy_durable(None).key


BOUNDS = (
    ({"crashes": 1}, 29),
    ({"crashes": 1, "logs": 1}, 301),
    ({"crashes": 1, "tails": 1}, 401),
    ({"crashes": 1, "keys": 1}, 211),
    ({"crashes": 1, "lands": 1}, 301),
    ({"crashes": 1, "duplicates": 1}, 1501),
    ({"losses": 1}, 1),
    ({"aborts": 1}, 5),
)


@pytest.mark.parametrize(("bounds", "every"), BOUNDS, ids=str)
def test_a_world_that_plays_a_behaviour_shows_the_same_scene_and_has_the_same_bytes(
    bounds: dict[str, int], every: int
) -> None:
    """Of every n-th state of a search. Before a transfer begins a World has no asset to show."""
    found = search(**bounds)
    for place in range(1, len(found.states), every):
        text = write_actions(found, place)
        if "start" in text.split():
            with play(text) as played:
                assert played.scene == see(found, place), text
                for role, state in zip(Role, find_locals(found, place), strict=True):
                    assert read_content(played, role) == show_content(state), text


def test_what_is_said_to_a_gateway_that_is_down_is_lost_in_both() -> None:
    found = Explorer(make_small_plan(crashes=1, cuts=1), PROPERTIES, most_states=1000).run()
    text = "start 1.1 1.2 1.3:a1 S.cut"
    place = next(place for place in range(len(found.states)) if write_actions(found, place) == text)
    with play(text) as played:
        assert played.scene == see(found, place)


def test_no_key_is_known_before_it_is_heard_of() -> None:
    """What a gateway has verified in one state, it has not in another."""
    found = search(crashes=1, keys=1)
    assert not [state for _, state in list_states(found) if state.view.failure]
    unit, state = list_states(found)[0]
    unit._load(state)
    assert [part._seals for part in unit._parts if isinstance(part, CertifiedKeys)] == [{}]


@pytest.mark.parametrize(("cut", "is_after"), [(1, True), (2, False), (2, True)])
def test_entries_of_a_group_are_durable_together_or_not_at_all(cut: int, is_after: bool) -> None:
    """Two sessions are open, and a restart writes what the ledger says of them in one group."""
    sender, recipient = (Unit(role, sessions=2) for role in Role)
    other: Any = recipient.initial
    outcome: Any = sender.run(sender.initial, ("start", 1))
    outcome = sender.run(outcome.state, ("start", 0))
    for _ in range(2):
        answer: Any = recipient.run(other, ("deliver", outcome.sent[0]))
        other, outcome = answer.state, sender.run(outcome.state, ("deliver", answer.sent[0]))
    locked = next(each.state for each in outcome.cuts if (each.number, each.is_after) == (3, True))
    again: Any = sender.run(locked, ("restart", None))
    left = next(each.state for each in again.cuts if (each.number, each.is_after) == (cut, is_after))
    text = f"start start2 1.1~2 1.2 1.3 1.4:a3 S.restart:{'a' if is_after else 'b'}{cut}"
    with play(text) as played:
        assert count_entries(read_content(played, Role.SENDER)) == count_entries(show_content(left))


def count_entries(content: Content) -> list[int]:
    """The sessions have other ids in a World."""
    return sorted(map(len, content[0].values()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("start 1.1~0", "it is no action"),
        ("-start", "only a message can be lost"),
        ("start +S.time-out", "only a message can be lost"),
        ("start~2", "only a message can be lost, or arrive twice, or be one of several"),
        ("start -1.1:a1", "there is no durable act in it"),
        ("start S.crash:a1", "there is no durable act in it"),
        ("start wait:a1", "there is no durable act in it"),
        ("start S.crash2", "a number stands after abort or forget alone"),
        ("start0", "there is no such message"),
        ("TIME_LOCK; HASH_LOCK; start", "nothing that a replay can begin with"),
    ],
)
def test_what_says_nothing_of_an_action_is_refused(text: str, words: str) -> None:
    with pytest.raises(Misuse, match=words):
        replay(text)
