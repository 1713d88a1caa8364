"""A primary and its backup explored: counts, verdicts with the fence and without it, and the same runs in a World."""

from __future__ import annotations

import pytest

from protocol.errors import Misuse
from protocol.explorer import Explorer
from protocol.pair_plans import PairBounds, make_pair_plan
from protocol.properties import ENDINGS, ONE_IN_CHARGE, TRANSFER
from protocol.replays import Conditions, replay, write_actions
from protocol.steps import Role
from protocol.trace import FencedOff

FENCE = "fence_the_replaced_primary"
CHECKED = (*TRANSFER, ONE_IN_CHARGE)
STATES = {Role.SENDER: 2168, Role.RECIPIENT: 2610}  # one takeover
PART = 3000  # states from which a search with pauses is gone on with
SPLIT = {
    Role.SENDER: "S-B.take-over S-B.transfer-resume R.transfer-continue start 1.1 1.2/b2 S.time-out",
    Role.RECIPIENT: "R-B.take-over R-B.transfer-resume S.transfer-continue start 1.1/b2 R.time-out",
}


def search(*flipped: str, most_states: int | None = None, **bounds: object) -> Explorer:
    plan = make_pair_plan(flipped, PairBounds(**bounds))  # type: ignore[arg-type]
    return Explorer(plan, (*CHECKED, *ENDINGS), most_states=most_states).run()


def list_broken(found: Explorer) -> dict[str, str]:
    """The properties that do not hold, each with its shortest run."""
    names = {each.name for each in CHECKED}
    verdicts = [each for each in found.list_verdicts() if each.name in names and not each.holds]
    return {each.name: write_actions(found, each.place or 0) for each in verdicts}


@pytest.mark.parametrize("role", Role)
def test_one_takeover_at_any_moment_breaks_nothing(role: Role) -> None:
    found = search(of=role)
    assert (found.is_whole, found.truncated, len(found.states)) == (True, 0, STATES[role])
    assert list_broken(found) == {}
    happened = {each.name for each in found.list_verdicts() if each.holds}
    assert {"completes"} <= happened


@pytest.mark.parametrize("role", Role)
def test_only_the_fence_keeps_whoever_was_replaced_from_writing(role: Role) -> None:
    assert list_broken(search(of=role, pauses=1, most_states=PART)) == {}
    broken = list_broken(search(FENCE, of=role, pauses=1, most_states=PART))
    assert broken["one in charge"] == SPLIT[role]


@pytest.mark.parametrize("role", Role)
def test_the_run_without_the_fence_is_the_same_in_a_world(role: Role) -> None:
    text = f"backup of {role}; {SPLIT[role]}"
    assert [each.name for each in replay(f"without {FENCE}; {text}").list_broken([ONE_IN_CHARGE])] == ["one in charge"]
    assert replay(text).list_broken([ONE_IN_CHARGE]) == []


@pytest.mark.parametrize("role", Role)
def test_a_replay_ends_in_the_scene_that_was_found(role: Role) -> None:
    found = search(of=role, pauses=1, most_states=PART)
    head = str(Conditions((), None, role))
    woken = [place for place in range(1, PART) if found.find_actions(place)[-1].kind == "wake"]
    chosen = [*woken[:: len(woken) // 8], *range(100, PART, 250)]
    assert len(woken) > 8
    for place in chosen:
        text = head + write_actions(found, place)
        if " start" not in text:
            continue  # a World does not know the transfer before it begins
        played = replay(text)
        assert played.scene == found._see(*found._find_scene(found.states[place])), text
        played.world.close()


def test_a_gateway_that_was_paused_goes_on_with_its_old_memory() -> None:
    """It goes on in the middle of its work; its next append is refused, and it stands by."""
    played = replay("backup of sender; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 3.3/a2 S-B.take-over S.wake")
    assert played.scene.one.is_in_order
    assert [each.gateway for each in played.world.trace if isinstance(each, FencedOff)] == ["GW1"]


def test_what_needs_a_backup_is_refused_without_one() -> None:
    with pytest.raises(Misuse, match="nobody has a backup"):
        replay("start S.take-over")
    with pytest.raises(Misuse, match="there is no gateway 'GW1-B'"):
        replay("start S-B.take-over")
    with pytest.raises(Misuse, match='one of "sender" or "recipient"'):
        make_pair_plan((), PairBounds("both"))
