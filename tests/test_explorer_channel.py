"""Every behaviour of a channel within bounds, with the real engine; and engines that are broken on purpose.

The numbers of states are part of what is tested: a change of the engine that opens or closes a way shows here.
"""

import pytest

from protocol import channel_units
from protocol.channel import Channel, _version
from protocol.channel_explorations import ChannelBounds, explore_channel, make_channel_plan
from protocol.channel_recovery import Recovery
from protocol.channel_replays import NAMES, ChannelReplay, replay_channel
from protocol.channel_store import Record, SharedObject, Written
from protocol.channel_units import ChannelState, UnitStore, write_message
from protocol.commands import Commands
from protocol.errors import Misuse
from protocol.explorer import Explorer
from protocol.replays import write_actions
from protocol.signing import Signed
from protocol.tables import BITS, MASK

CONFLICT = "A.update B.update A.aaaa B.aaaa-ok B.bbbb A.bbbb-used_dependencies"


@pytest.mark.parametrize(
    ("bounds", "states", "local_states"),
    [
        (ChannelBounds(crashes=0), 153, (33, 36)),
        (ChannelBounds(crashes=1), 3_483, (123, 123)),
        (ChannelBounds(crashes=1, losses=1), 9_739, (123, 123)),
        (ChannelBounds(crashes=1, aborting="A"), 1_815, (111, 25)),
    ],
    ids=repr,
)
def test_everything_holds_and_everything_happens(
    bounds: ChannelBounds, states: int, local_states: tuple[int, int]
) -> None:
    found = explore_channel(**vars(bounds))
    assert found.is_whole
    assert not found.broken, found
    assert (found.states, found.local_states) == (states, local_states)


def test_a_lost_database_is_restored_by_the_peer() -> None:
    found = explore_channel(crashes=1, forgets=1, forgetful="B", most_states=12_000)
    assert not found.broken, found
    (restored,) = [verdict.text for verdict in found.verdicts if verdict.name == "restored"]
    assert restored.startswith("B.update B.bbbb A.bbbb-ok:a1 B.forget B.restart")
    copies = replay_channel(restored).copies
    assert copies.agree()
    assert [version.name[:4] for each in copies.histories.values() for version in each["B"]] == ["1111", "bbbb"]


# ---------------------------------------------------------------------- an exploration and a world say the same


def _state_of(search: Explorer, place: int, side: int) -> ChannelState:
    found: ChannelState = search.tables[side].states[search.states[place] >> side * BITS & MASK]
    return found


def _is_same(played: ChannelReplay, search: Explorer, place: int) -> bool:
    """Stores, what is unanswered, what is on its way, and the cids drawn: byte by byte."""
    on_way = {search.messages[number].data for number in search.list_on_way(place)}
    if on_way != {write_message(each.post, is_request=each.is_request) for each in played.world.link}:
        return False
    for side, name in enumerate(NAMES):
        state, there, store = _state_of(search, place, side), played.world.places[name], UnitStore(lambda: None)
        store.load(vars(there.disk.store))
        waiting = None if there.channel is None else there.channel.outbox._bodies
        if (store.key, there.ids.drawn) != (state.kept, state.drawn):
            return False
        if waiting != (None if state.process is None else state.process.waiting):
            return False
    return True


@pytest.mark.parametrize(
    ("bounds", "step"),
    [
        (ChannelBounds(crashes=0), 3),
        (ChannelBounds(crashes=1, losses=1, duplicates=1, forgets=1), 79),
    ],
    ids=repr,
)
def test_a_world_that_plays_a_run_stands_where_the_search_stands(bounds: ChannelBounds, step: int) -> None:
    search = Explorer(make_channel_plan(bounds), [], most_states=4_000).run()
    for place in range(0, len(search.states), step):
        text = write_actions(search, place)
        assert _is_same(replay_channel(text), search, place), text


def test_a_field_of_the_engine_that_nobody_has_looked_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(channel_units.MEMORY, Recovery, channel_units.MEMORY[Recovery] - {"_rebuild"})
    with pytest.raises(AssertionError, match="_rebuild"):
        make_channel_plan(ChannelBounds())


# ---------------------------------------------------------------------- engines that are broken on purpose


def _has_forked(text: str) -> bool:
    """Whether the two copies at the end of this run cannot both hold, as the ChannelWorld has them."""
    ((one, other),) = [histories.values() for histories in replay_channel(text).copies.histories.values()]
    return any(mine != theirs for mine, theirs in zip(one, other, strict=False))


def test_if_the_server_yields_too_both_commands_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Commands, "_is_first", lambda self, holder, is_recovering: False)
    runs = {verdict.name: verdict.text for verdict in explore_channel(crashes=0).broken}
    assert runs["agreement"] == runs["one version is read once"] == "A.update B.update A.aaaa B.bbbb"
    assert runs["no dispute"] == "A.update B.update A.aaaa B.bbbb B.aaaa-ok"
    assert _has_forked(runs["agreement"])
    assert replay_channel(runs["no dispute"]).world["A"].store.list_disputes()


def test_if_nobody_yields_both_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Commands, "_is_first", lambda self, holder, is_recovering: True)
    assert "progress" not in {verdict.name for verdict in explore_channel(crashes=0).broken}, "the server yields then"
    monkeypatch.setattr(Commands, "on_wait", lambda self, record: None)
    broken = explore_channel(crashes=0).broken
    assert {verdict.name: verdict.text for verdict in broken} == {"progress": "A.update B.update", "A, then B": ""}


def test_if_answer_and_object_are_two_transactions_a_crash_between_them_makes_the_answer_a_lie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_one_by_one(self: Channel, record: Record, shared: SharedObject | None) -> None:
        self.store.write([record])
        if shared is not None:
            self.store.write([Written(_version(record), shared)])

    monkeypatch.setattr(Channel, "_write", write_one_by_one)
    runs = {verdict.name: verdict.text for verdict in explore_channel(crashes=1).broken}
    assert runs["nothing agreed is lost"] == "A.update A.aaaa B.aaaa-ok:a1 A.restart"
    assert not replay_channel(runs["nothing agreed is lost"]).copies.agree()


def test_if_an_answer_is_not_given_again_a_lost_one_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    def recall_nothing(self: Channel, signed: Signed) -> None:
        self.recovery.verify_memory(signed)

    monkeypatch.setattr(Channel, "_recall", recall_nothing)
    runs = {verdict.name: verdict.text for verdict in explore_channel(crashes=0, losses=1, most_states=6_000).broken}
    assert runs["server first"] == "A.update A.aaaa -B.aaaa-ok A.time-out A.aaaa B.aaaa-used_dependencies"
    assert replay_channel(runs["server first"]).world.outcome("A", "aaaa").state == "failure"


def test_if_a_message_from_a_lost_memory_counts_it_forks_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recovery, "verify_memory", lambda self, signed: None)
    found = explore_channel(crashes=1, forgets=1, forgetful="A", most_states=12_000)
    (run,) = [verdict.text for verdict in found.broken if verdict.name == "agreement"]
    assert run.startswith("A.update A.crash A.forget A.restart") and run.endswith("B.update A.aaaa B.bbbb")
    assert _has_forked(run)


# ---------------------------------------------------------------------- what explorations have found


def test_a_question_that_arrives_late_makes_nobody_wait_for_ever() -> None:
    """The client has shown its command in an answer that nobody reads, and keeps it; so the server must yield."""
    played = replay_channel(
        "A.crash A.forget A.restart A.crash A.restart A.b5ed-health? B.b5ed-health A.4ad2-history? B.4ad2-history"
        " A.update B.update A.8510-health?"
    )
    played.world.run()
    assert played.copies.agree()
    assert [played.world.outcome(name, word).state for name, word in (("A", "aaaa"), ("B", "bbbb"))] == [
        "failure",
        "success",
    ]


def test_an_answer_to_an_older_question_ends_no_recovery() -> None:
    """What was asked before the health of the channel was known says nothing of what came after."""
    played = replay_channel(
        "B.update B.bbbb A.crash A.forget A.restart A.8510-health? A.crash A.restart B.8510-health A.4ad2-health?"
        " B.4ad2-health A.6725-history? A.bbbb-ok A.b5ed-health? B.b5ed-health B.6725-history"
    )
    assert played.world["A"].recovery.is_open
    played.world.run()
    assert not played.world["A"].recovery.is_open and played.copies.agree()


# ---------------------------------------------------------------------- texts


def test_a_run_is_played_and_told() -> None:
    played = replay_channel(f"  {CONFLICT}\n B.ac9c A.ac9c-ok")
    assert played.text == f"{CONFLICT} B.ac9c A.ac9c-ok"
    assert repr(played).endswith("A: 1111 <- aaaa <- ac9c\n  B: 1111 <- aaaa <- ac9c")
    assert "A -> B:  used_dependencies" in str(played.trace)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A.update B.cccc", "there is no such message on its way; there are A.aaaa"),
        ("A.restart", "A is up"),
        ("A.crash A.time-out", "A is down"),
        ("A.crash A.restart:a1", "there are not so many writes"),
        ("A.update A.aaaa:b1", "a crash before a write"),
        ("A.update :a1", "it is no action"),
        ("C aborts; A.update", "there is A aborts, or B aborts"),
    ],
)
def test_what_cannot_be_played_is_said(text: str, words: str) -> None:
    with pytest.raises(Misuse, match=words):
        replay_channel(text)


def test_what_was_found_is_told() -> None:
    told = repr(explore_channel(crashes=0)).splitlines()
    assert told[0] == "153 states, 33 of A and 36 of B, 126 steps of the real code, at most 16 actions deep"
    assert "  progress                  holds: from every state some way leads to rest" in told
    assert "  B first                   happens: the client's command is written" in told
    stopped = repr(explore_channel(crashes=0, most_states=5))
    assert "stopped before the end" in stopped and "holds so far" in stopped and "NEVER so far" in stopped


def test_bounds_name_the_sides() -> None:
    with pytest.raises(Misuse, match="A and B"):
        ChannelBounds(forgetful="C")
