"""TABLE 2 as a whole, and the facts that it is asked with: all of them, and those that real crashes leave behind."""

from __future__ import annotations

import re
from functools import cache
from itertools import product

import pytest

from protocol.facts import ask_ledger, compare, read_log
from protocol.ledger import Ledger, State
from protocol.log import LogEntry
from protocol.network import World
from protocol.recovery import (
    TABLE_2,
    Exchange,
    Facts,
    MyLedger,
    MyLog,
    Peer,
    Verdict,
    decide,
    find_recovery_row,
)
from protocol.session import Session
from protocol.signing import read_payload
from protocol.steps import Role
from tests.conftest import check_one_owner, every_crash_point

ALL = [Facts(log, ledger, peer) for log, ledger, peer in product(MyLog, MyLedger, Peer)]


def test_every_combination_has_one_row() -> None:
    assert len(ALL) == 8 * 4 * 10 == 320
    assert {sum(row.matches(facts) for row in TABLE_2) for facts in ALL} == {1}
    assert all(decide(facts).matches(facts) for facts in ALL)


def test_every_row_is_reached_and_named_once() -> None:
    letters = [row.letter for row in TABLE_2]
    assert letters == sorted(set(letters))
    assert {decide(facts).letter for facts in ALL} == set(letters)
    assert all(find_recovery_row(letter).letter == letter for letter in letters)


@pytest.mark.parametrize("row", TABLE_2, ids=lambda row: row.letter)
def test_a_row_says_what_and_why(row: object) -> None:
    assert row in TABLE_2
    found = next(each for each in TABLE_2 if each is row)
    assert found.verdict in Verdict
    assert found.exchange in Exchange
    assert len(found.why.split()) >= 5
    named = r"crash|lost|down|gone|forg[eo]t|expired|before it has reconciled|time-?out|not on the disk"
    assert re.search(named, f"{found.title}: {found.why}"), "the paragraph names what happened"
    assert (found.verdict is Verdict.DISPUTE) == (found.exchange is Exchange.DISPUTE)
    assert found.exchange is not Exchange.ROLLBACK or found.verdict is Verdict.BACK_OUT


def test_no_row_lets_go_of_what_is_final_or_of_what_was_promised() -> None:
    """What the table must never say, whatever its rows are."""
    for facts in ALL:
        row = decide(facts)
        if facts.log in (MyLog.COMMITTED, MyLog.COMPLETE) or facts.ledger is MyLedger.FINAL:
            assert row.verdict is not Verdict.BACK_OUT, f"{facts}: after the burn only forward"
        if facts.log is MyLog.PREPARED and row.verdict is Verdict.BACK_OUT:
            assert facts.peer is Peer.LEFT
            assert row.exchange is Exchange.RECOVER, "a prepared recipient asks for the receipt"
        if facts.ledger is MyLedger.UNDONE:
            forward = row.verdict in (Verdict.CONTINUE, Verdict.COMPLETE)
            asks_first = row.exchange is Exchange.RECOVER and facts.peer is Peer.AHEAD  # then the table is read again
            assert not forward or asks_first, f"{facts}: what is undone does not go on"
        if facts.log is MyLog.FROZEN or facts.peer is Peer.FROZEN:
            assert row.verdict is Verdict.DISPUTE


# ---------------------------------------------------------------------- positions that real runs lead to

POINTS = every_crash_point()
TAIL = 3
LOSSES = ("nothing", "tail", "log")


def crash_and_lose(point: tuple[Role, str, str, int], loss: str) -> World:
    role, step, when, number = point
    world = World("pairs", tls=False)
    world.start()
    world.crash(role, at=step, **{when: number})
    world.run()
    if world._sides[role].gateway is not None:
        world.crash(role)  # the act never came: the run was over before it
    if loss != "nothing":
        world.forget(role, TAIL if loss == "tail" else None)
    return world


@cache
def both_sides(point: tuple[Role, str, str, int], loss: str) -> tuple[Facts, Facts, str]:
    """What each side would read TABLE 2 with, right after the restart; and how the run ended, in words."""
    world = crash_and_lose(point, loss)
    world.restart(point[0])
    sessions = {role: world._gateway(role).find_session(world.sessions[0]) for role in Role}
    positions, facts = {}, {}
    for role in Role:
        side = world._sides[role]
        ledger = ask_ledger(side.ledger, world.sessions[0], role)
        check_facts(world, role, sessions[role], ledger)
        positions[role] = world._gateway(role)._reconciliation.exchange.compute_position(world.sessions[0], role)
    for role in Role:
        ledger = ask_ledger(world._sides[role].ledger, world.sessions[0], role)
        peer = compare(sessions[role], positions[role.other])
        assert peer is recompute_peer(world, role), f"{point} {loss}: {peer}"
        facts[role] = Facts(read_log(sessions[role]), ledger, peer)
    world.run()
    ended = [world._gateway(role).find_session(world.sessions[0]) for role in Role]
    assert world.is_at_rest, f"{point} {loss}: {world!r}"
    check_one_owner(world)
    assert not any(session is not None and (session.frozen or session.parked) for session in ended)
    where = "transferred" if "CN=Bob" in world.owners[0] else "returned"
    for session in filter(None, ended):
        assert bool(session.ending) == (where == "returned"), "both sides call it by the same name"
    world.close()
    return facts[Role.SENDER], facts[Role.RECIPIENT], where


def check_facts(world: World, role: Role, session: Session | None, ledger: MyLedger) -> None:
    """The first two facts once more: from the entries in the file, and from what the network holds."""
    entries = world.log(role)
    assert read_log(session) is recompute_log(role, entries)
    assert ledger is recompute_ledger(world._sides[role].ledger, world.sessions[0])


def recompute_log(role: Role, entries: list[LogEntry]) -> MyLog:
    """The log's own word, read from the entries without a Session."""
    if not entries:
        return MyLog.NOTHING
    done = {entry.step for entry in entries if "receipt" in entry.payload or ("message" in entry.payload)}
    if any("frozen" in entry.payload for entry in entries):
        return MyLog.FROZEN
    ends = [e for e in entries if "backOut" in e.payload or "goesOn" in e.payload]
    if ends and "backOut" in ends[-1].payload:
        return MyLog.LEFT if any(entry.payload.get("ended") for entry in entries) else MyLog.LEAVING
    if "3.9" in done or any(entry.payload.get("ended") for entry in entries):
        return MyLog.COMPLETE
    if not any("message" in entry.payload for entry in entries):
        return MyLog.NOTHING
    if ("3.4" if role is Role.SENDER else "3.5") in done:
        return MyLog.COMMITTED
    return MyLog.PREPARED if role is Role.RECIPIENT and "3.3" in done else MyLog.OPEN


def recompute_ledger(ledger: Ledger, session_id: str) -> MyLedger:
    """The network's own word, read from the assets and the history of the network."""
    actions = [r for name in ("GW1", "GW2") for r in ledger.actions_of(name) if r.sessionId == session_id]
    names = {receipt.action for receipt in actions}
    states = {asset.state for asset in ledger.assets}
    if names & {"burn", "assign"}:
        assert states <= {State.BURNED, State.FREE}
        return MyLedger.FINAL
    if not names & {"lock", "mint"}:
        return MyLedger.UNTOUCHED
    if states & {State.LOCKED, State.HELD}:
        return MyLedger.HELD
    return MyLedger.UNDONE


def recompute_peer(world: World, role: Role) -> Peer:
    """The third fact from both chains at once, as nobody can see them but the World."""
    mine, theirs = chain_of(world, role), chain_of(world, role.other)
    book = recompute_ledger(world._sides[role.other].ledger, world.sessions[0])
    log = recompute_log(role.other, world.log(role.other))
    if log is MyLog.FROZEN:
        return Peer.FROZEN
    common = min(len(mine), len(theirs))
    if mine[:common] != theirs[:common]:
        return Peer.FORKED
    if book is MyLedger.UNDONE or (log in (MyLog.LEAVING, MyLog.LEFT) and book is not MyLedger.FINAL):
        return Peer.LEFT
    if mine == theirs:
        is_burned = not mine and role is Role.RECIPIENT and book is MyLedger.FINAL
        return Peer.SAME if mine else Peer.BURNED if is_burned else Peer.UNKNOWN
    longer, me = max(mine, theirs, key=len), ("GW1" if role is Role.SENDER else "GW2")
    is_next_mine = (author_of(len(common_and_one(longer, common))) == me) if len(longer) - common == 1 else None
    if len(mine) > len(theirs):
        return Peer.LACKS_LAST if is_next_mine else Peer.BEHIND
    return Peer.HAS_NEXT if is_next_mine is False else Peer.AHEAD


def common_and_one(longer: list[str], common: int) -> list[str]:
    return longer[: common + 1]


def author_of(number: int) -> str:
    return "GW1" if number % 2 else "GW2"


def chain_of(world: World, role: Role) -> list[str]:
    """The messages in a gateway's file, in order, aborts excepted."""
    stored = [e.payload["message"] for e in world.log(role) if "message" in e.payload and e.step != "abort"]
    return [str(read_payload(message)) for message in stored]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(map(str, point)))
def test_two_gateways_never_contradict_each_other(point: tuple[Role, str, str, int], loss: str) -> None:
    """Whatever the two read in the table, the run ends with one owner, and both say which; nobody disputes."""
    sender, recipient, where = both_sides(point, loss)
    for facts in (sender, recipient):
        row = decide(facts)
        assert row.verdict is not Verdict.DISPUTE, f"row {row.letter} for {facts}"
        if row.verdict is Verdict.COMPLETE:
            assert where == "transferred", f"row {row.letter}, and then it was taken back"
    back = [decide(facts).verdict for facts in (sender, recipient)].count(Verdict.BACK_OUT)
    assert not back or where == "returned", f"{sender}; {recipient}"
