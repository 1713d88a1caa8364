"""The README says what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from protocol.__main__ import main
from tests.test_tidy import contents
from tools.notebooks import find_notebooks

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_picture_is_the_one_that_the_code_draws(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--format", "svg"])
    drawn = capsys.readouterr().out
    assert (ROOT / "docs" / "crash-and-resumption.svg").read_text() == drawn, (
        "run: python -m protocol --format svg > docs/crash-and-resumption.svg"
    )
    assert "(docs/crash-and-resumption.svg)" in README


def test_it_lists_every_notebook_and_every_module_in_order() -> None:
    listed = re.findall(r"\]\(notebooks/(\S+?)\)", README)
    assert listed == [path.name for path in find_notebooks([])]
    assert re.findall(r"^\| \[`\S+`\]\(protocol/(\S+?)\.py\) \|", README, flags=re.MULTILINE) == contents()


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?! python3)", README)) <= targets
    found = [shlex.split(options) for options in re.findall(r"-m protocol (--[^\n`#]+)", README)]
    assert len(found) >= 5
    for options in found:
        is_long, shows_what_breaks = "--every-rule" in options, bool({"--explore", "--replay"} & {*options})
        assert is_long or main(options) == int(shows_what_breaks), options


def test_the_badge_opens_this_repository_at_notebook_00() -> None:
    repository = re.search(r"repository-code: https://github\.com/(\S+)", (ROOT / "CITATION.cff").read_text())
    assert repository
    wanted = f"https://mybinder.org/v2/gh/{repository[1]}/HEAD?urlpath=lab/tree/notebooks/00_start_here.ipynb"
    assert wanted in README


def test_ci_runs_what_everybody_can_run() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and line[0] not in "#"]
    assert commands[-1] == "make test"
    assert "bash .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_lock_files_name_versions_and_no_addresses() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"[a-z0-9._-]+==[^\s/]+( ; [^/]+)?", line) for line in lines)
