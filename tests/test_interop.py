"""The test vectors in another language: a program in Node, with libraries that this package does not use.

Node and its two packages are needed: `make interop` installs them and shows the whole table. REQUIRE_NODE=1 says that
they must be there.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.vector_families import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "tests" / "vectors"
INTEROP = ROOT / "tests" / "interop"
OLDEST = 18  # Debian 12 has this one
NOT_INSTALLED = f"Node {OLDEST} or later is not installed (Debian: apt-get install nodejs npm)"
NO_PACKAGES = "Node's packages are not installed: make interop"
PATIENCE_S = 300.0

# Good messages are not written down in these; what is changed in them, only a gateway or a party can see.
PLAYED = ("recovery-table", "channel", "recovery-scenarios")


def find_trouble() -> str | None:
    """What is missing, in words."""
    node = shutil.which("node")
    if node is None:
        return NOT_INSTALLED
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < OLDEST:
        return NOT_INSTALLED
    return None if (INTEROP / "node_modules").is_dir() else NO_PACKAGES


@pytest.fixture(scope="module", autouse=True)
def _node() -> None:
    """Skips where something is missing, unless it must be there."""
    trouble = find_trouble()
    if trouble and os.environ.get("REQUIRE_NODE"):
        pytest.fail(trouble)
    if trouble:
        pytest.skip(trouble)


def run(script: str, *arguments: str | Path) -> tuple[int, str]:
    command = ["node", str(INTEROP / script), *map(str, arguments)]
    quiet = os.environ | {"NODE_NO_WARNINGS": "1"}  # Node 18 calls Ed25519 experimental
    done = subprocess.run(
        command, env=quiet, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE_S, check=False
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def read_table(output: str) -> dict[str, dict[str, int]]:
    """The rows by family: how many cases were verified whole, in part, not at all, and how many failed."""
    rows: dict[str, dict[str, int]] = {}
    for line in output.splitlines():
        if found := re.fullmatch(r"([a-z-]+)" + r" +(\d+)" * 6, line):
            names = ("cases", "whole", "in part", "not", "failed", "signatures")
            rows[found[1]] = dict(zip(names, map(int, found.groups()[1:]), strict=True))
    return rows


def test_node_verifies_the_vectors() -> None:
    status, output = run("check.mjs")
    rows = read_table(output)
    assert status == 0, output
    assert set(rows) == {*FAMILIES, "all"}
    for name, row in rows.items():
        assert row["whole"] + row["in part"] + row["not"] == row["cases"] > 0, name
        assert row["failed"] == 0, name
        reason = re.search(rf"^not verified in {name}: \S", output, flags=re.MULTILINE)
        assert name == "all" or bool(reason) == (row["whole"] < row["cases"]), name
    assert rows["all"]["signatures"] > 200


# One letter of a family's file becomes another one: before it stands this text, so many letters on.
CHANGES: dict[str, tuple[str, int]] = {
    "canonical": ('"digest": "', 0),
    "thumbprints": ('"thumbprint": "', 0),
    "messages": ('"message": "', 300),
    "signing": ('"message": "', 300),
    "offchain-messages": ('"message": "', 300),
    "certificates": ('"certificate": "', 300),
    "backups": ('"certificate": "', 300),
    "invalid-messages": ('"1.2": "', 300),
    "transfers": ('"draft 3.1": "', 300),
    "logs": ('\\"payloadHash\\":\\"', 0),
    "recoveries": ('"sender-forgot recover-update": "', 300),
    "invalid-recovery": ('"next": "', 300),
}


def change_letter(text: str, after: str, further: int) -> str:
    place = text.index(after) + len(after) + further
    assert text[place].isalnum()
    return text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :]


def test_one_changed_letter_is_noticed_in_every_family(tmp_path: Path) -> None:
    assert set(CHANGES) | set(PLAYED) == set(FAMILIES), "say for each family where a letter is changed, or why nowhere"
    for name, (after, further) in CHANGES.items():
        text = (VECTORS / f"{name}.json").read_text()
        (tmp_path / f"{name}.json").write_text(change_letter(text, after, further))
    status, output = run("check.mjs", tmp_path)
    assert status == 1
    assert {name for name, row in read_table(output).items() if row["failed"]} == {*CHANGES, "all"}


def drop_last_bit(text: str) -> str:
    """A JWS with another signature: one bit of it is changed."""
    head, _, signature = text.rpartition(".")
    data = bytearray(base64.urlsafe_b64decode(signature + "=="))
    data[-1] ^= 1
    return f"{head}.{base64.urlsafe_b64encode(data).decode().rstrip('=')}"


def strip_one_signature(text: str) -> str:
    return text.rpartition(".")[0] + "."


@pytest.mark.parametrize("spoil", [drop_last_bit, strip_one_signature])
def test_a_signature_that_does_not_fit_is_refused(spoil: Callable[[str], str], tmp_path: Path) -> None:
    family: dict[str, Any] = json.loads((VECTORS / "transfers.json").read_text())
    name = family["cases"][0]["input"]["messages"][-1]
    family["shared"]["messages"][name] = spoil(family["shared"]["messages"][name])
    family["cases"] = family["cases"][:1]
    (tmp_path / "transfers.json").write_text(json.dumps(family))
    status, output = run("check.mjs", tmp_path)
    assert (status, read_table(output)["transfers"]["failed"]) == (1, 1), output
    assert "it was refused and must not be" in output


def test_sorting_by_hand_is_no_canonical_form() -> None:
    status, output = run("check.mjs", "--naive")
    assert status == 1
    assert read_table(output)["canonical"]["failed"] > 0
    assert "FAILED canonical / rfc-8785-sorting" in output


def test_an_operation_of_which_nothing_is_said_is_a_failure(tmp_path: Path) -> None:
    case = {"name": "new", "comment": "A case.", "input": {}, "expect": {}}
    family = {"family": "new", "operation": "fly", "cases": [case]}
    (tmp_path / "new.json").write_text(json.dumps(family))
    status, output = run("check.mjs", tmp_path)
    assert status == 1
    assert "nobody has said why the operation fly is not done here" in output


def test_what_cannot_be_checked_is_said_in_a_sentence(tmp_path: Path) -> None:
    for arguments, status, words in (
        ([tmp_path / "none"], 2, f"There is no folder {tmp_path / 'none'}."),
        (["--fast"], 2, "node tests/interop/check.mjs [--naive] [FOLDER]"),
        ([tmp_path], 1, f"There are no vectors in {tmp_path}."),
    ):
        command = ["node", str(INTEROP / "check.mjs"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert (done.returncode, (done.stdout + done.stderr).splitlines()[0]) == (status, words)


def test_it_answers_at_the_door() -> None:
    command = [sys.executable, "-m", "tools.run_vectors", "--", "node", str(INTEROP / "door.mjs")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout
    passed = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()[1:] if line[:1].isalpha()}
    assert passed["transfers"] > 50 and passed["signing"] == 14


def test_a_new_implementer_needs_one_short_file() -> None:
    status, output = run("implementer.mjs")
    assert status == 0, output
    assert "transfer the-drafts-example: 11 messages" in output
    assert "recovery sender-forgot: 4 messages came back" in output
    text = (INTEROP / "implementer.mjs").read_text()
    assert len([line for line in text.splitlines() if line and not line.startswith("//")]) <= 130
    assert "from '." not in text, "it uses nothing of this repository but the vectors"
