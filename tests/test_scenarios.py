"""One crash as a choice from closed lists: what can be chosen, what comes of it, and that it is no other run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from protocol.errors import Misuse
from protocol.replays import replay
from protocol.rules import NAMES
from protocol.scenarios import CHOICES, STEPS, Scenario, list_acts, list_steps
from protocol.steps import Role
from protocol.trace import Acted, Crashed, Forgotten, Restarted
from tests.conftest import every_crash_point

BOB = "network 43114: CN=Bob, OU=Case Org Unit, O=Case, L=San Francisco, C=US"


def list_places() -> list[tuple[str, str, str, int]]:
    """Every gateway, step, side of the act, and act: as the lists allow them."""
    return [
        (crashed, step, when, act)
        for crashed in ("sender", "recipient")
        for step in list_steps(crashed)
        for when in CHOICES["when"]
        for act in range(1, len(list_acts(crashed, step)) + 1)
    ]


def test_the_lists_allow_every_place_where_a_crash_can_be_put() -> None:
    assert sorted(list_places()) == sorted((str(who), step, when, n) for who, step, when, n in every_crash_point())
    assert len(list_places()) == 80


@pytest.mark.parametrize(("crashed", "step", "when", "act"), list_places())
def test_each_of_them_is_recovered_from_and_is_the_replay_of_its_text(
    crashed: str, step: str, when: str, act: int
) -> None:
    run = Scenario(crashed, step, when, act).play()
    assert run.has_recovered
    (crash,) = run.trace.of(Crashed)
    words = list_acts(crashed, step)[act - 1]
    assert isinstance(crash, Crashed)
    assert crash.where == f"{when} {words}"
    again = replay(run.text)
    assert again.trace.events == run.trace.events
    assert again.world.owners == list(run.owners)


@pytest.mark.parametrize("crashed", ["sender", "recipient", "both"])
@pytest.mark.parametrize("lost", CHOICES["lost"])
@pytest.mark.parametrize(
    ("restart", "network"), [("last message", "lossy"), ("stage", "reliable"), ("stage", "doubling")]
)
def test_so_is_every_loss_on_every_network(crashed: str, lost: str, restart: str, network: str) -> None:
    for step in list_steps(crashed)[::3]:
        run = Scenario(crashed, step, "after", 1, lost, restart, network).play()
        assert run.has_recovered, run
        assert len(run.trace.of(Restarted)) == len(run.scenario.down)
        assert bool(run.trace.of(Forgotten)) == (lost != "nothing")
        assert replay(run.text).trace.events == run.trace.events


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_that_is_off_gives_a_result_and_never_an_error(name: str) -> None:
    for place in (("sender", "3.4"), ("recipient", "3.2"), ("both", "3.6")):
        run = Scenario(*place, off=(name,), network="lossy").play()
        assert run.ending
        assert name in run.text


def test_without_both_rules_the_asset_is_minted_twice() -> None:
    off = ("ask_the_ledger_before_repeating", "ledger_acts_once")
    run = Scenario("recipient", "3.2", act=2, off=off).play()
    assert run.frames[-1].ledgers["network 43114"].count("2c949e3c") == 2
    assert run.broken == ("isolation",)
    assert not run.has_recovered
    assert Scenario("recipient", "3.2", act=2, off=off[:1]).play().has_recovered, "either of the two would do"
    assert Scenario("recipient", "3.2", act=2, off=off[1:]).play().has_recovered


def test_who_lost_its_log_and_does_not_ask_cannot_know_of_the_burn() -> None:
    run = Scenario("sender", "3.4", act=2, lost="log", off=("ask_the_ledger_before_repeating",)).play()
    assert run.ending == "At rest: nobody owns the asset; GW1 calls a human, GW2 calls a human."
    assert run.broken == ("no loss",)


def test_nobody_crashes() -> None:
    run = Scenario("nobody").play()
    assert not run.trace.of(Crashed)
    assert run.owners == (BOB,)
    assert run.ending == "At rest: Bob in network 43114 owns the asset; GW1 says complete, GW2 says complete."


def test_a_run_says_which_row_decided_and_why() -> None:
    run = Scenario().play()
    assert [(each.gateway, each.row.letter, each.words) for each in run.verdicts] == [("GW2", "A", "continue with 3.3")]
    assert run.scenario.words == "The recipient crashes after the mint (3.2)."
    assert (
        run.text
        == "start 1.1 1.2 1.3 1.4 2.2 2.4 3.1:a3 R.restart R.transfer-resume S.transfer-continue 3.3 3.5 3.7 3.9"
    )
    assert "CRASH after the mint" in run.figure.ascii
    assert run._repr_svg_().startswith("<svg")


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (Scenario("nobody", network="lossy"), "Nobody crashes. Every message is lost the first time."),
        (
            Scenario(lost="last 3 entries"),
            "The recipient crashes after the mint (3.2), and its last 3 entries are lost.",
        ),
        (
            Scenario("both", "3.4", lost="key", restart="stage"),
            "The sender crashes after the burn (3.4), the recipient right after it, and of both the key is lost; "
            "they go on from the beginning of the stage.",
        ),
        (
            Scenario(off=("log_before_acting", "sender_reissues")),
            "The recipient crashes after the mint (3.2). Without the rule log_before_acting. "
            "As the drafts have it: sender_reissues.",
        ),
    ],
)
def test_a_choice_is_a_sentence(scenario: Scenario, words: str) -> None:
    assert scenario.words == words


def test_frames_are_what_there_was_after_each_event() -> None:
    run = Scenario("recipient", "3.2", act=2, lost="last entry").play()
    assert [frame.number for frame in run.frames] == list(range(1, len(run.trace) + 1))
    assert [frame.event for frame in run.frames] == [str(event) for event in run.trace]
    mint = next(n for n, event in enumerate(run.trace) if isinstance(event, Acted) and event.action == "mint")
    assert run.frames[mint - 1].ledgers["network 43114"] == "no asset"
    assert "held" in run.frames[mint].ledgers["network 43114"]
    assert run.frames[mint].logs["GW2"][-1] == "10  exec 3.2 mint"
    lost = next(n for n, event in enumerate(run.trace) if isinstance(event, Forgotten))
    assert run.frames[lost].logs["GW2"][-1].endswith("done 3.1 commit-prepare")
    assert len(run.frames[-1].logs["GW1"]) == 17
    assert len(run.frames[-1].logs["GW2"]) == 16, "the intent of the mint is lost, and its outcome is found again"
    assert run.frames[-1].figure.ascii == type(run.figure)(run.trace).ascii


def test_each_log_grows_by_one_entry_at_a_time() -> None:
    """What is shown between two actions is read off the log after them; no entry may show before it was written."""
    for scenario in (Scenario(), Scenario("sender", "2.1", act=3), Scenario("both", "3.6", network="lossy")):
        frames = scenario.play().frames
        for gateway in ("GW1", "GW2"):
            lengths = [len(frame.logs[gateway]) for frame in frames]
            assert {after - before for before, after in pairwise(lengths)} <= {0, 1}


def test_a_run_is_made_once() -> None:
    assert Scenario().play() is Scenario().play()


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ({"crashed": "bank"}, "crashed is one of sender, recipient, both, nobody; not 'bank'"),
        ({"step": "9.9"}, "step is one of 1.1, 1.2"),
        ({"step": 3.2}, "step is one of 1.1, 1.2"),
        ({"crashed": "sender"}, "the sender does nothing durable in step 3.2: the mint is the other gateway's"),
        ({"act": 4}, "act in step 3.2 is 1 .* or 3 .*; not 4"),
        ({"act": 0}, "not 0"),
        ({"crashed": "nobody", "act": "x"}, "act is a whole number from 1 on, not 'x'"),
        ({"act": True}, "not True"),
        ({"act": "2"}, "not '2'"),
        ({"when": "during"}, "when is one of before, after"),
        ({"lost": "hope"}, "lost is one of nothing, last entry, last 3 entries, log, key; not 'hope'"),
        ({"restart": "never"}, "restart is one of last message, stage"),
        ({"network": "fast"}, "network is one of reliable, lossy, doubling"),
        ({"off": ("gravity",)}, "there is no rule or behaviour of the drafts gravity; there are log_before_acting"),
        ({"off": "log_before_acting"}, "off is a tuple of names"),
        ({"off": ("ledger_acts_once",) * 2}, "off names each rule once; not ledger_acts_once, ledger_acts_once"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(wrong: dict[str, Any], allowed: str) -> None:
    with pytest.raises(Misuse, match=allowed.replace("(", r"\(")):
        Scenario(**wrong)


def test_who_and_which_step_are_asked_for_by_their_names() -> None:
    with pytest.raises(Misuse, match="crashed is one of sender, recipient, both, nobody; not 'bank'"):
        list_steps("bank")
    with pytest.raises(Misuse, match=r"step is one of 1\.1, .*; not '9'"):
        list_acts("sender", "9")


def test_steps_and_acts_are_those_of_whoever_crashes_by_itself() -> None:
    assert list_steps("nobody") == STEPS
    assert "3.4" not in list_steps("recipient")
    assert list_steps("both") == STEPS
    assert len(list_acts("both", "3.4")) == 3
    assert Scenario("both", "3.4").down == (Role.SENDER, Role.RECIPIENT)
