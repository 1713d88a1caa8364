"""Crashes and recoveries as lists of steps: about sixty, each of which leads somewhere else."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from protocol.link import ANSWER, OFFER
from protocol.replays import label_in_world, write_letter
from protocol.scenario_steps import StepPlay, play_scenario, read_steps
from protocol.scenarios import Scenario
from protocol.steps import Role
from protocol.trace import Crashed, Delivered, Judged
from tools.vector_families import Family, Json, case
from tools.vector_families.scenario_texts import CHOSEN, WRITTEN

PATIENCE = 6  # rounds of time-outs that may change nothing
LETTERS = set("ABCDEFGHIJKLMNOQR")  # P and Z come of no crash while the rules hold


class Driver:
    """Plays words of a replay, and carries messages where a text says `run`; writes down the steps that it took."""

    def __init__(self, lock_type: str | None = None, known: tuple[str, ...] = ()) -> None:
        self.play = StepPlay(lock_type)
        for name in known:
            self.play.world.admit(name)
        self.steps: list[Json] = []

    def do(self, step: Json) -> None:
        self.play.step(step)
        self.steps.append(step)

    def tell(self, text: str) -> None:
        """The words of a replay, and `run`, `run-until=STEP`, `run-until=NAME`, `look`, `S.keep-copy`, `S.put-back`."""
        for word in text.split():
            letter, _, what = word.partition(".")
            if word == "look":
                self.do({"do": "look"})
            elif word == "run" or word.startswith("run-until="):
                self.run(word.partition("=")[2])
            elif what in ("keep-copy", "put-back"):
                role = next(role for role in Role if write_letter(role) == letter)
                self.do({"do": what, "gateway": role.value})
            else:
                for step in read_steps(word):
                    self.do(step)

    def run(self, until: str = "") -> None:
        """Until all is at rest, or until the message of this step or name is the next to arrive."""
        world, patience, waits = self.play.world, PATIENCE, 2
        while not world.is_at_rest or until:
            message = next(iter(world.link), None)
            if until and message is not None and until in (message.step, message.name):
                return
            if message is not None:
                self._do_words(label_in_world(message))
                patience = PATIENCE
            elif patience:
                patience -= 1
                self._do_words(*(f"{write_letter(role)}.time-out" for role in Role if world.is_waiting(role)))
            else:
                assert waits, "this run does not come to rest"
                patience, waits = PATIENCE, waits - 1
                self._do_words("wait")

    def _do_words(self, *words: str) -> None:
        for word in words:
            for step in read_steps(word):
                self.do(step)


@dataclass(frozen=True)
class Reached:
    """What a scenario leads to. No two scenarios lead to the same."""

    facts: frozenset[tuple[str, ...]]  # gateway, row of TABLE 2, the three facts
    letters: str
    messages: frozenset[str]  # of the recovery, that arrived
    places: tuple[str, ...]  # where each crash was
    end: str
    network: tuple[int, int]  # how many messages were lost, how many doubled
    repeated: tuple[str, ...]  # steps that arrived again, with the bytes of the first time


def find_reached(given: Json) -> Reached:
    """Play a scenario and look at it from outside."""
    play = StepPlay(given.get("lockType"))
    with closing(play.world):
        for step in given["steps"]:
            play.step(step)
        facts = frozenset(
            (each.gateway, each.letter, *each.facts) for each in play.trace.events if isinstance(each, Judged)
        )
        names = frozenset(each.name for each in play.trace.events if isinstance(each, Delivered) and not each.step)
        places = tuple(str(each).split(maxsplit=1)[-1] for each in play.trace.events if isinstance(each, Crashed))
        lost = sum(step["do"] == "lose" for step in given["steps"])
        doubled = sum(step.get("copy", False) for step in given["steps"])
        repeated = tuple(
            each.step for each in play.trace.events if isinstance(each, Delivered) and each.again and each.step
        )
        return Reached(facts, str(play.letters), names, places, str(play.look()), (lost, doubled), repeated)


def verify_end(name: str, expect: Json, *, is_dispute: bool) -> bool:
    """At rest with one owner, and one chain: the same head where the transfer is complete."""
    end = expect["seen"][-1]
    words, has_messages = set(end["log"].values()), all(end["messages"].values())
    assert end["atRest"], f"{name}: not at rest"
    if is_dispute:
        assert words == {"frozen"} and end["chains"] == "forked", f"{name}: {end}"
        assert len(end["owners"]) <= 1, f"{name}: {end}"
        return True
    assert len(end["owners"]) == 1, f"{name}: {end}"
    assert "frozen" not in words and (end["chains"] != "forked" or not has_messages), f"{name}: {end}"
    assert words != {"complete"} or end["chains"] == "same", f"{name}: {end}"
    return True


def add_looks(steps: list[Json]) -> list[Json]:
    """One before anybody comes back for the first time, one at the end."""
    first = next((place for place, step in enumerate(steps) if step["do"] == "restart"), len(steps))
    return [*steps[:first], {"do": "look"}, *steps[first:], {"do": "look"}]


def make_case(name: str, comment: str, given: Json, *, is_dispute: bool = False) -> Json:
    expect = play_scenario(given, {})
    return case(name, comment, given, holds=verify_end(name, expect, is_dispute=is_dispute), expect=expect)


def make_chosen(name: str, scenario: Scenario) -> Json:
    """One crash of a transfer, as the lab plays it."""
    run = scenario.play()
    assert run.has_recovered, name
    return make_case(name, run.scenario.words, {"steps": add_looks(read_steps(run.text))})


def make_written(name: str, comment: str, text: str) -> Json:
    """A story of more than one crash, or of another end."""
    lock, _, words = text.rpartition(";")
    driver = Driver(lock or None)
    with closing(driver.play.world):
        driver.tell(words)
    given = {"lockType": lock} if lock else {}
    steps = driver.steps if any(step["do"] == "look" for step in driver.steps) else add_looks(driver.steps)[:-1]
    return make_case(name, comment, {**given, "steps": [*steps, {"do": "look"}]}, is_dispute=name.startswith("dispute"))


def make() -> Family:
    cases = [make_chosen(name, scenario) for name, scenario in CHOSEN.items()]
    cases += [make_written(name, comment, text) for name, (comment, text) in WRITTEN.items()]
    reached: dict[Reached, str] = {}
    for each in cases:
        found = find_reached(each["input"])
        assert found not in reached, f"{each['name']} leads where {reached[found]} leads"
        reached[found] = each["name"]
    letters = set("".join(str(each["expect"]["letters"]) for each in cases)) & set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert letters == LETTERS, f"rows that decide in no scenario: {sorted(LETTERS - letters)}"
    names = {step.get("message") for each in cases for step in each["input"]["steps"]}
    assert {OFFER, ANSWER, "recover", "rollback", "rollback-ack", "recover-dispute"} <= names
    return Family(
        name="recovery-scenarios",
        about="A transfer of the draft's example, with crashes, losses and recoveries, step by step. What must come "
        "out: what is seen at each look, at the end rest, one owner and one chain, and the rows of TABLE 2 by which "
        "each gateway acted and answered.",
        sections=("RECOVERY 5", "RECOVERY 6.1", "SATP 11"),
        operation="play-scenario",
        cases=cases,
    )
