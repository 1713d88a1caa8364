"""Two processes of the operating system fight for one log. They are stopped, woken and killed at seeded places.

No time is asserted: every wait ends with what it waits for, or fails after a minute.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from protocol.errors import NotYet
from protocol.lease import Lease
from protocol.log import StorageFailed
from protocol.stores import DatabaseLog
from tests.contender import LEASE_S, SESSION, open_log
from tests.postgres import Server

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, TAKEOVERS = 12, 8
LIMIT_S = 60.0


def wait_for(condition: Callable[[], bool], words: str, limit_s: float = LIMIT_S) -> None:
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, f"no sign of: {words}"
        time.sleep(0.005)


class Contender:
    """One process, and what it said."""

    def __init__(self, arena: Arena, holder: str, part: str) -> None:
        self.holder = holder
        self.out = arena.folder / f"{len(arena.contenders)}.out"
        command = [sys.executable, "-m", "tests.contender", arena.place, holder, part]
        with self.out.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, env=arena.environment, stdout=file)

    def said(self, word: str) -> list[list[str]]:
        lines = self.out.read_text().split("\n")[:-1]
        return [line.split()[1:] for line in lines if line.startswith(word)]

    @property
    def epoch(self) -> int:
        """The last one that it claimed."""
        claims = self.said("claimed")
        return int(claims[-1][0]) if claims else 0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)

    def wait_until_stopped(self) -> None:
        """It stops itself; the operating system tells the parent."""

        def has_stopped() -> bool:
            _, status = os.waitpid(self.process.pid, os.WUNTRACED | os.WNOHANG)
            return os.WIFSTOPPED(status)

        wait_for(has_stopped, "a process that stops itself")


class Arena:
    """Where one log is, and all processes that ever wrote it."""

    def __init__(self, folder: Path, server: Server | None) -> None:
        self.folder = folder
        self.place = "fight" if server else str(folder / "log.sqlite")
        self.environment = {name: value for name, value in os.environ.items() if name != "SHARED_LOG"}
        if server:
            self.place = f"fight {folder.name}"
            self.environment["SHARED_LOG"] = server.conninfo
        self.contenders: list[Contender] = []

    def start(self, holder: str, part: str = "fight") -> Contender:
        self.contenders.append(Contender(self, holder, part))
        return self.contenders[-1]

    def open(self, wait_s: float) -> DatabaseLog:
        return open_log(self.place, wait_s=wait_s)

    def close(self) -> None:
        for contender in self.contenders:
            contender.kill()


@pytest.fixture(params=["shared file", "postgres"])
def arena(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    monkeypatch.delenv("SHARED_LOG", raising=False)
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    if server:
        monkeypatch.setenv("SHARED_LOG", server.conninfo)
    made = Arena(tmp_path, server)
    yield made
    made.close()


def trouble(arena: Arena, one: Contender, other: Contender, dice: random.Random) -> tuple[Contender, Contender]:
    """Whoever holds the lease is stopped or killed after some appends; the other takes over, then it comes back.

    A stopped process that holds up a file for ever is killed: nothing else helps.
    """
    wait_for(lambda: max(one.epoch, other.epoch) > 0, "a claim")
    holder, rival = (one, other) if one.epoch > other.epoch else (other, one)
    appended, more = len(holder.said("appended")), dice.randint(1, 15)
    wait_for(lambda: rival.epoch > holder.epoch or len(holder.said("appended")) >= appended + more, "appends")
    time.sleep(dice.random() * 0.003)  # anywhere between two appends
    epoch = max(holder.epoch, rival.epoch)
    is_killed = dice.random() < 0.3
    holder.kill() if is_killed else holder.stop()
    may_hold_up = not is_killed and "SHARED_LOG" not in arena.environment
    try:
        wait_for(lambda: rival.epoch > epoch, "a takeover", 1.0 if may_hold_up else LIMIT_S)
    except AssertionError:
        if not may_hold_up:
            raise
        is_killed = True
        holder.kill()
        wait_for(lambda: rival.epoch > epoch, "a takeover")
    if is_killed:
        return arena.start(holder.holder), rival
    holder.wake()
    return holder, rival


def check(arena: Arena, log: DatabaseLog) -> None:
    assert [repr(each) for each in log.verify()] == [
        f"session 00000000: {log.getLogLength(SESSION)} entries, one chain"
    ]
    entries = log.getLog(SESSION)
    epochs = [entry.epoch or 0 for entry in entries]
    assert epochs == sorted(epochs), "after a takeover no append of an older epoch was accepted"
    assert min(epochs) >= 1
    writers: dict[int, set[object]] = {}
    for entry in entries:
        writers.setdefault(entry.epoch or 0, set()).add((entry.writerId, entry.payload["process"]))
    assert all(len(each) == 1 for each in writers.values())
    claims = [int(claim[0]) for contender in arena.contenders for claim in contender.said("claimed")]
    assert len(set(claims)) == len(claims), "an epoch is claimed once"
    hashes = [entry.compute_hash() for entry in entries]
    acknowledged = [line for contender in arena.contenders for line in contender.said("appended")]
    for number, epoch, entry_hash in acknowledged:
        assert (hashes[int(number) - 1], epochs[int(number) - 1]) == (entry_hash, int(epoch))
    assert len(acknowledged) > ROUNDS


def test_two_processes_fight_for_one_log(arena: Arena) -> None:
    dice = random.Random("two processes")
    one, other = arena.start("GW1"), arena.start("GW1-B")
    for _ in range(ROUNDS):
        one, other = trouble(arena, one, other, dice)
    last = str(max(one.epoch, other.epoch))
    wait_for(lambda: any(line[1] == last for each in (one, other) for line in each.said("appended")), "a last word")
    arena.close()
    log = arena.open(LIMIT_S)
    check(arena, log)
    holders = [entry.writerId for entry in log.getLog(SESSION)]
    changes = sum(before != after for before, after in pairwise(holders))
    assert changes >= TAKEOVERS
    fenced = [line for contender in arena.contenders for line in contender.said("fenced")]
    assert all(int(mine) < int(present) for mine, present in fenced)
    assert fenced or "SHARED_LOG" not in arena.environment
    log.close()


def take_over(log: DatabaseLog) -> Lease:
    """Claim as soon as the lease is over; whatever the store answers until then."""
    leases: list[Lease] = []

    def claim() -> bool:
        try:
            leases.append(log.claim("GW1-B", LIMIT_S))
        except (NotYet, StorageFailed):
            return False
        return True

    wait_for(claim, "a takeover")
    return leases[0]


def test_a_process_that_is_woken_after_a_takeover_is_fenced(arena: Arena) -> None:
    primary = arena.start("GW1", "before")
    primary.wait_until_stopped()
    backup = arena.open(LIMIT_S)
    assert take_over(backup).epoch == 2
    primary.wake()
    assert primary.process.wait(LIMIT_S) == 0
    assert primary.said("fenced") == [["1", "2"]]
    assert primary.said("appended") == []
    assert backup.getSessions() == []
    backup.close()


def test_a_process_that_is_woken_before_a_takeover_goes_on(arena: Arena) -> None:
    primary = arena.start("GW1", "before")
    primary.wait_until_stopped()
    primary.wake()
    assert primary.process.wait(LIMIT_S) == 0
    assert [line[:2] for line in primary.said("appended")] == [["1", "1"]]


@pytest.mark.parametrize("arena", ["postgres"], indirect=True)
def test_postgresql_ends_the_append_of_a_process_that_is_stopped_inside_it(arena: Arena) -> None:
    primary = arena.start("GW1", "inside")
    primary.wait_until_stopped()
    backup = arena.open(LIMIT_S)
    assert take_over(backup).epoch == 2
    assert backup.getSessions() == []
    primary.wake()
    assert primary.process.wait(LIMIT_S) == 0
    assert (primary.said("lost"), primary.said("fenced")) == ([["1"]], [["1", "2"]])
    assert backup.getSessions() == []
    backup.close()


@pytest.mark.parametrize("arena", ["shared file"], indirect=True)
@pytest.mark.parametrize("ending", ["killed", "woken"])
def test_a_file_is_held_up_by_a_process_that_is_stopped_inside_an_append(arena: Arena, ending: str) -> None:
    """Nobody can end its transaction while it lives: no takeover, however long its lease is over."""
    primary = arena.start("GW1", "inside")
    primary.wait_until_stopped()
    backup = arena.open(0.1)
    time.sleep(LEASE_S)
    lease = backup.read_lease()
    assert lease is not None and lease.is_over(backup.read_clock())
    for _ in range(3):
        with pytest.raises(StorageFailed, match="locked"):
            backup.claim("GW1-B", LIMIT_S)
    if ending == "killed":
        primary.kill()
        assert take_over(backup).epoch == 2
        assert backup.getSessions() == []
    else:
        primary.wake()
        assert primary.process.wait(LIMIT_S) == 0
        assert primary.said("committed") == [["1"]], "the takeover waited for it, so it counts"
        assert take_over(backup).epoch == 2
        assert backup.getLogLength(SESSION) == 1
    backup.close()
