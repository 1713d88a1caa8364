"""The environment that Binder builds, built here from `binder/` alone, in a clean virtual environment.

Binder installs `binder/requirements.txt` from the top of the repository and runs `binder/postBuild`
(a `binder/` folder hides the requirements at the top). The same lines are replayed; then notebook 00 runs there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INPUTS = [ROOT / "requirements.txt", ROOT / "pyproject.toml", *sorted((ROOT / "binder").iterdir())]


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
def test_what_the_book_needs_is_there_and_no_compiler_was(environment: Path) -> None:
    listed = run(environment, "python", "-m", "pip", "list", "--format=json")
    names = {package["name"].lower() for package in json.loads(listed)}
    assert {"jupyterlab", "ipywidgets", "nbval", "papermill", "pydantic", "cryptography"} <= names
    assert not {"mypy", "ruff", "hypothesis"} & names, "start-up is light: the tests' tools stay out"


@pytest.mark.environment
def test_notebook_00_runs_there_and_shows_the_same(environment: Path) -> None:
    out = run(environment, "python", "-m", "tools.book", "--check", "00")
    assert "same bytes as committed" in out


@pytest.mark.environment
def test_the_badge_opens_a_page_that_the_server_has(environment: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"urlpath=lab/tree/(\S+?)\)", readme)
    assert found
    assert (ROOT / found[1]).exists()
    assert int(run(environment, "jupyter", "lab", "--version").split(".")[0]) >= 4


def test_binder_is_told_its_python() -> None:
    assert re.fullmatch(r"python-3\.1[1-9]\n", (ROOT / "binder" / "runtime.txt").read_text())
