"""Steps as JSON stand for the words of a replay; what they lead to is what the World itself says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.channel_steps import play_channel
from protocol.errors import Misuse, Refused
from protocol.network import World
from protocol.replays import replay
from protocol.scenario_steps import StepPlay, compare_chains, play_scenario, read_steps, receive_recovery, write_step
from protocol.scenarios import Scenario
from protocol.witness import verify_log, verify_transfer
from tools.run_vectors import read_families
from tools.vector_families import recovery_scenarios
from tools.vector_families.scenario_texts import CHOSEN, WRITTEN


def read(name: str) -> dict[str, Any]:
    return dict(read_families([name])[0])


def find(family: dict[str, Any], name: str) -> dict[str, Any]:
    return next(dict(each) for each in family["cases"] if each["name"] == name)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_text_becomes_steps_and_the_steps_the_same_text(name: str) -> None:
    text = CHOSEN[name].play().text
    steps = [json.loads(json.dumps(step)) for step in read_steps(text)]
    assert [write_step(step) if step["do"] != "wait" else "wait" for step in steps] == text.split()


@pytest.mark.parametrize("words", ["S.dance", "with sender_reissues; start", "backup of sender; start", "3.3/a2"])
def test_what_is_no_step_of_the_protocol_is_refused(words: str) -> None:
    with pytest.raises(Misuse):
        play_scenario({"steps": read_steps(words)}, {})


def test_an_unknown_step_names_those_that_there_are() -> None:
    with pytest.raises(Misuse, match="there is no step 'dance'; there are start, deliver, lose, crash"):
        write_step({"do": "dance", "gateway": "sender"})
    with pytest.raises(Misuse, match="there is no step 'dance'"):
        play_channel({"steps": [{"do": "dance"}]}, read("channel")["shared"])


def test_what_is_seen_is_what_the_world_says() -> None:
    text = "start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 S.crash wait S.restart S.transfer-resume R.transfer-continue"
    played, world = StepPlay(), replay(text).world
    for step in read_steps(text):
        played.step(step)
    seen = played.look()
    assert seen["owners"] == [{"network": place.split()[-1], "owner": owner}
                              for place, _, owner in (each.partition(": ") for each in world.owners)]  # fmt: skip
    assert seen["assets"] == {each.network_id: each.assets[0].state.value for each in world.ledgers}
    heads = [world.history(role).head for role in ("sender", "recipient")]
    assert (seen["chains"] == "same") is (heads[0] == heads[1])
    assert played.trace.events == replay(text).trace.events


def test_chains_are_compared_by_their_messages() -> None:
    assert compare_chains(["a", "b"], ["a", "b"]) == compare_chains([], []) == "same"
    assert compare_chains(["a"], ["a", "b"]) == compare_chains(["a", "b"], ["a"]) == "one is longer"
    assert compare_chains(["a", "b"], ["a", "c", "d"]) == "forked"


def test_no_scenario_is_there_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The family is not written if two scenarios lead to the same, or a row of TABLE 2 decides in none."""
    one = Scenario("sender", "2.1", act=2)
    monkeypatch.setattr(recovery_scenarios, "CHOSEN", {"one": one, "other": one})
    monkeypatch.setattr(recovery_scenarios, "WRITTEN", {})
    with pytest.raises(AssertionError, match="other leads where one leads"):
        recovery_scenarios.make()
    monkeypatch.setattr(recovery_scenarios, "CHOSEN", {"one": one})
    with pytest.raises(AssertionError, match="rows that decide in no scenario"):
        recovery_scenarios.make()
    assert len(CHOSEN) + len(WRITTEN) >= 60


def test_a_witness_sees_the_chain_that_both_gateways_have() -> None:
    """The digests of the first case are those of a transfer with the same seed."""
    family = read("transfers")
    world = World(tls=False)
    world.start()
    world.run()
    said = verify_transfer(find(family, "the-drafts-example")["input"], family["shared"])
    assert said["digests"] == [version.name for version in world.history("recipient")]
    world.close()


@pytest.mark.parametrize("place", range(11))
def test_a_message_that_is_left_out_is_always_found(place: int) -> None:
    family = read("transfers")
    names = find(family, "the-drafts-example")["input"]["messages"]
    left = [name for number, name in enumerate(names) if number != place]
    if place == 10:
        assert not verify_transfer({"messages": left}, family["shared"])["isComplete"]
    else:
        with pytest.raises(Refused):
            verify_transfer({"messages": left}, family["shared"])


@pytest.mark.parametrize("cut", range(0, 17, 4))
def test_every_bit_of_a_log_counts(cut: int) -> None:
    """A letter changed anywhere: another head at least, if it is in the last entry; else a broken log."""
    family = read("logs")
    text = find(family, "the-drafts-example-sender")["input"]["text"]
    lines = text.splitlines()
    place = lines[cut].index('"timestamp":"2024-10-03T12:02:') + len('"timestamp":"2024-10-03T12:02:')
    lines[cut] = lines[cut][:place] + "5" + lines[cut][place + 1 :]
    before, after = (verify_log({"text": each}, family["shared"]) for each in (text, "\n".join(lines) + "\n"))
    if cut == 16:
        assert before["sessions"][0]["head"] != after["sessions"][0]["head"]
    else:
        assert (after["standing"], after["field"], after["entry"]) == ("broken", "lastEntryHash", cut + 2)


@pytest.mark.parametrize("name", read("invalid-recovery")["shared"]["states"])
def test_the_good_message_of_every_state_is_taken(name: str) -> None:
    """What is refused in a state is refused for what is wrong with it, and not for the state."""
    shared = read("invalid-recovery")["shared"]
    state = shared["states"][name]
    said = receive_recovery({"state": name, "to": state["to"], "message": state["next"]}, shared)
    assert said["log"] != "frozen"
    assert name in ("transfer-continue", "recover-success", "rollback-ack") or said["answer"] != "nothing"
