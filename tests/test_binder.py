"""The environment that Binder builds, built here from `binder/` alone, in a clean virtual environment.

Binder installs `binder/requirements.txt` from the top of the repository and runs `binder/postBuild`
(a `binder/` folder hides the requirements at the top). The same lines are replayed; then notebook 00 runs there,
and the page of the badge in README.md is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Reader, Server, make_private, run_browser, run_server, skip_or_fail

ROOT = Path(__file__).resolve().parent.parent
IN_BINDER = sorted(path for path in (ROOT / "binder").rglob("*") if path.is_file())
INPUTS = [ROOT / "requirements.txt", ROOT / "pyproject.toml", *IN_BINDER]


def run(environment: Path, *command: str) -> str:
    """Run a command with the environment's programs first, and nothing of the one that runs the tests."""
    variables = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "HOME": str(environment)}
    keep = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "LANG", "LC_", "SSL_"))}
    done = subprocess.run(command, cwd=ROOT, env=keep | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment() -> Path:
    """Built once for each state of its inputs."""
    inputs = b"".join(path.read_bytes() for path in INPUTS) + sys.version.encode()
    place = ROOT / "build" / f"binder-{hashlib.sha256(inputs).hexdigest()[:12]}"
    if not (place / "complete").exists():
        for old in (ROOT / "build").glob("binder-*"):
            shutil.rmtree(old)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        run(place, "python", "-m", "pip", "install", "--quiet", "-r", "binder/requirements.txt")
        (place / "complete").touch()
    run(place, "bash", "binder/postBuild")
    return place


@pytest.mark.environment
def test_the_package_is_importable_and_is_this_one(environment: Path) -> None:
    where = run(environment, "python", "-c", "import protocol; print(protocol.__file__)").strip()
    assert Path(where) == ROOT / "protocol" / "__init__.py"


@pytest.mark.environment
def test_what_the_book_needs_is_there_and_nothing_else(environment: Path) -> None:
    listed = run(environment, "python", "-m", "pip", "list", "--format=json")
    names = {package["name"].lower() for package in json.loads(listed)}
    assert {"jupyterlab", "ipywidgets", "nbval", "papermill", "pydantic", "cryptography"} <= names
    assert not {"mypy", "ruff", "hypothesis", "playwright", "pytest-xdist"} & names, (
        "start-up is light: the tests' tools stay out"
    )


@pytest.mark.environment
def test_notebook_00_runs_there_and_shows_the_same(environment: Path) -> None:
    out = run(environment, "python", "-m", "tools.book", "--check", "00")
    assert "same bytes as committed" in out


@pytest.fixture(scope="module")
def server(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The JupyterLab of that environment, with what `postBuild` left in its home folder, and on a copy."""
    folder = tmp_path_factory.mktemp("binder")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    variables = make_private(environment, environment / "bin")
    with run_server(["jupyter", "lab", "--no-browser", "--allow-root"], folder, variables) as server:
        yield server


@pytest.mark.environment
def test_the_badge_opens_notebook_00_with_the_table_of_contents(server: Server) -> None:
    status, page = server.fetch(read_badge())
    assert status == 200 and "JupyterLab" in page
    assert server.ask(f"api/contents/{read_badge().removeprefix('lab/tree/')}?content=0")["type"] == "notebook"
    layout = server.ask("lab/api/workspaces/default")["data"]["layout-restorer:data"]
    assert layout["left"]["current"] == "@jupyterlab/toc:plugin" and not layout["left"]["collapsed"]


@pytest.mark.environment
def test_a_browser_shows_them(server: Server) -> None:
    skip_or_fail()
    with run_browser() as browser:
        reader = Reader.sit_down(browser, server)
        with reader.watched("binder"):
            reader.open(read_badge())
            reader.page.locator("#table-of-contents").get_by_text("Questions a reviewer might ask").wait_for()
            assert reader.page.locator(".jp-OutputArea-output img").first.is_visible(), "trusted: pictures, not text"
            assert not reader.page.get_by_text("Jupyter news").is_visible()
            assert reader.complaints == []


def read_badge() -> str:
    """What the badge asks for."""
    found = re.search(r"urlpath=(lab/tree/\S+?)\)", (ROOT / "README.md").read_text())
    assert found
    return found[1]


def test_binder_is_asked_for_no_system_packages() -> None:
    """No compiler, no server: what there is in binder/ decides what is installed."""
    assert {path.name for path in (ROOT / "binder").iterdir()} == {
        "labconfig", "postBuild", "requirements.txt", "runtime.txt", "workspace.json",
    }  # fmt: skip


def test_binder_is_told_its_python() -> None:
    assert re.fullmatch(r"python-3\.1[1-9]\n", (ROOT / "binder" / "runtime.txt").read_text())
