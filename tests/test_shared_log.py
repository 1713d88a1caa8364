"""SHARED_LOG: the same takeovers and the same book over PostgreSQL; nothing is left there; and what it says in vain."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.__main__ import main
from protocol.errors import Misuse
from protocol.log import StorageFailed
from protocol.replacement import SHARED_LOG, PrimaryBackup
from protocol.takeovers import How, take_over
from tests.postgres import Server, start_or_skip

RAM = "/dev/shm"
ROOT = Path(__file__).resolve().parent.parent
NOBODY = "postgresql://somebody:a-secret@127.0.0.1:1/nothing"


def ask(server: Server, query: str) -> list[str]:
    import psycopg

    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        return [str(row[0]) for row in connection.execute(query.encode()).fetchall()]


def list_logs(server: Server) -> list[str]:
    """The schemas that are logs of gateways."""
    return ask(server, "SELECT nspname FROM pg_namespace WHERE nspname LIKE '% GW_'")


def count_commits(server: Server) -> int:
    return int(ask(server, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")[0])


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """One of its own, in memory where there is such a place: here the disk is not what is asked about."""
    yield from start_or_skip(RAM if os.access(RAM, os.W_OK) else "/tmp")


@pytest.fixture
def server(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """What is run now has its shared logs there, and leaves none."""
    before = list_logs(postgres)
    monkeypatch.setenv(SHARED_LOG, postgres.conninfo)
    yield postgres
    assert list_logs(postgres) == before


def play(how: How, who: str, at: str) -> list[str]:
    told = take_over(who, at, before=2, how=how, comes_back=4)
    try:
        return [*map(repr, told.trace), repr(told), *(repr(entry) for entry in told.world.log(who))]
    finally:
        told.world.close()


@pytest.mark.parametrize(("who", "at"), [("sender", "2.1"), ("sender", "3.4"), ("recipient", "3.2")])
@pytest.mark.parametrize("how", ["dead", "slow", "no store"])
def test_a_takeover_is_the_same_wherever_the_log_is(
    how: How, who: str, at: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = play(how, who, at)
    monkeypatch.delenv(SHARED_LOG)
    assert play(how, who, at) == there
    assert any("TookOver" in event for event in there)


def test_the_log_is_in_the_server_while_the_world_lives_and_gone_when_it_is_closed(server: Server) -> None:
    world = PrimaryBackup("both")
    world.start()
    assert len(list_logs(server)) == 2
    assert not list(world.directory.glob("*.sqlite"))
    world.close()
    assert list_logs(server) == []


def test_a_world_keeps_to_the_server_that_it_was_made_with(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    world = PrimaryBackup()
    monkeypatch.delenv(SHARED_LOG)
    world.start()
    world.crash("sender")
    assert world.log("GW1-B")
    world.close()
    assert list_logs(server) == []


@pytest.mark.parametrize("ending", ["", "world.pause('GW1')", "del world", "raise SystemExit"])
def test_a_world_that_nobody_closed_leaves_nothing_either(ending: str, server: Server) -> None:
    words = f"from protocol.replacement import PrimaryBackup; world = PrimaryBackup(); world.start(); {ending}"
    commits = count_commits(server)
    subprocess.run([sys.executable, "-c", words], cwd=ROOT, check=True, timeout=120)
    assert count_commits(server) > commits + 10
    assert list_logs(server) == []


def test_what_happens_to_a_file_cannot_happen_to_a_server(server: Server) -> None:
    world = PrimaryBackup()
    world.start()
    world.crash("sender")
    words = "the log of GW1 is in the PostgreSQL that SHARED_LOG names"
    for lose in (
        lambda: world.forget("sender"),
        lambda: world.forget("sender", 2),
        lambda: world.keep_copy("sender"),
        lambda: world.put_back("sender", b""),
    ):
        with pytest.raises(Misuse, match=words):
            lose()
    world.crash("recipient")
    world.forget("recipient")  # it has no backup, and its log is a file
    world.close()


@pytest.mark.parametrize("server_name", [NOBODY, "postgresql://localhost:none/", "no such thing"])
def test_a_server_that_cannot_be_reached(server_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED_LOG, server_name)
    with pytest.raises(StorageFailed, match=r"^SHARED_LOG names a PostgreSQL that cannot be used: .+") as failed:
        PrimaryBackup()
    assert "\n" not in str(failed.value)
    assert "a-secret" not in str(failed.value)


def test_psycopg_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED_LOG, NOBODY)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    words = r"^SHARED_LOG names a PostgreSQL that cannot be used: PostgreSQL needs psycopg: pip install"
    with pytest.raises(Misuse, match=words):
        PrimaryBackup()


def test_the_terminal_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(SHARED_LOG, NOBODY)
    assert main(["--replace", "sender"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("python -m protocol: SHARED_LOG names a PostgreSQL that cannot be used: ")
    assert err.count("\n") == 1
    assert main([]) == 0, "without a backup there is no shared log"


def run_notebook_10(environment: dict[str, str]) -> str:
    """As `make check` does it. Says whether it gave the very bytes that are stored."""
    command = [sys.executable, "-m", "tools.book", "--check", "10"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    return done.stdout + done.stderr


def test_notebook_10_says_the_same_over_postgresql(server: Server) -> None:
    commits = count_commits(server)
    said = run_notebook_10(dict(os.environ))
    assert "same bytes as committed" in said, said
    assert count_commits(server) > commits + 100, "it has not used the server"


def test_notebook_10_says_the_same_over_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED_LOG, raising=False)
    said = run_notebook_10(dict(os.environ))
    assert "same bytes as committed" in said, said
