"""A private PostgreSQL for the tests: started once, in a temporary folder, reachable by a Unix socket only.

It refuses to run as root, so root's tests start it as another user. REQUIRE_POSTGRES=1 says that it must be there.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOT_INSTALLED = "PostgreSQL's server is not installed (Debian, Ubuntu: apt-get install postgresql)"


def find_programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`: in PATH, else the newest of Debian's, which are not in PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    in_path = shutil.which("initdb")
    for folder in [Path(in_path).parent, *newest_first] if in_path else newest_first:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    return None


class Server:
    """A cluster of its own. `conninfo` is what a client needs to know."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.data = folder / "data"
        self.user = find_user()
        self.conninfo = f"host={folder} user=postgres dbname=postgres"

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        out = self.folder / f"{program}.out"  # no pipe: the server would inherit it and keep it open
        with out.open("wb") as file:
            done = subprocess.run(
                command,
                cwd=self.folder,
                user=self.user,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                timeout=120,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {out.read_text()} {self.read_log()}")

    def create(self) -> None:
        self.run(
            "initdb", "--pgdata", str(self.data), "--auth", "trust", "--username", "postgres", "--encoding", "UTF8"
        )
        settings = f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\nmax_connections = 50\n"
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(settings)

    def start(self) -> None:
        self.run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.folder / "server.log"))

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is a crash: the next start recovers from the write-ahead log."""
        self.run("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", mode)

    def read_log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text()[-2000:] if path.exists() else ""


def find_user() -> str | None:
    """Whom root becomes to start the server; None where we are not root."""
    if os.geteuid() != 0:
        return None
    known = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@contextmanager
def run_server(directory: str = "/tmp") -> Iterator[Server]:
    """RuntimeError if it is not installed or does not start. Stopped and deleted at the end, whatever happened."""
    programs = find_programs()
    if programs is None:
        raise RuntimeError(NOT_INSTALLED)
    # Short, for the name of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pg-", dir=directory, ignore_cleanup_errors=True) as name:
        server = Server(programs, Path(name))
        if server.user is not None:
            os.chown(name, pwd.getpwnam(server.user).pw_uid, -1)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def start_or_skip(directory: str = "/tmp") -> Iterator[Server]:
    """For fixtures. Skips where it is not installed, unless it must be there."""
    if find_programs() is None:
        if os.environ.get("REQUIRE_POSTGRES"):
            pytest.fail(NOT_INSTALLED)
        pytest.skip(NOT_INSTALLED)
    with run_server(directory) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    yield from start_or_skip()
