"""Where a log can be, for tests that hold everywhere: a private file, a shared file, a schema of PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from protocol.postgres import PostgresLog
from protocol.stores import DatabaseLog, SQLiteLog
from tests.postgres import Server

START = datetime(2024, 10, 3, 12, 2, 0, tzinfo=UTC)
_numbers = itertools.count(1)


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Place:
    """Where one log is. Whatever `open` returns is a connection of its own, as of another process."""

    def __init__(self, kind: str, open_log: Callable[..., DatabaseLog], clock: Clock) -> None:
        self.kind, self.clock = kind, clock
        self._open_log = open_log
        self._opened: list[DatabaseLog] = []

    def open(self, **options: Any) -> DatabaseLog:
        self._opened.append(self.open_here(**options))
        return self._opened[-1]

    def open_here(self, **options: Any) -> DatabaseLog:
        """For another thread, to which the connection then belongs: it is closed there."""
        return self._open_log(**({"now": self.clock} | options))

    def close(self) -> None:
        for log in self._opened:
            log.close()


def make_place(kind: str, folder: Path, request: pytest.FixtureRequest) -> Place:
    """A new place with an empty log. Skips where `kind` is not installed."""
    if kind == "postgres":
        server: Server = request.getfixturevalue("postgres")
        name = f"log {next(_numbers)}"
        return Place(kind, lambda **options: PostgresLog(server.conninfo, name, **options), Clock())
    path = folder / f"a folder with spaces {next(_numbers)}.sqlite"
    shared = kind == "shared file"
    return Place(kind, lambda **options: SQLiteLog(path, **({"shared": shared} | options)), Clock())


@pytest.fixture(params=["file", "shared file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = make_place(request.param, tmp_path, request)
    yield made
    made.close()


@pytest.fixture(params=["shared file", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = make_place(request.param, tmp_path, request)
    yield made
    made.close()


@pytest.fixture
def in_postgres(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = make_place("postgres", tmp_path, request)
    yield made
    made.close()
