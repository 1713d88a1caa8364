"""How many states there are within which bounds, and what comes of them: with every rule on, every property holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import Misuse
from protocol.explorer import Explorer
from protocol.tables import MASK, verify_room
from tests.twins import PROPERTIES, list_broken, list_seen, make_small_plan, search

# A changed engine means new numbers here, and nowhere else: distinct states, and of the sender and the recipient alone.
COUNTS: tuple[tuple[dict[str, Any], tuple[int, int, int]], ...] = (
    ({}, (13, 28, 28)),
    ({"losses": 1}, (46, 28, 28)),
    ({"duplicates": 1}, (90, 28, 28)),
    ({"early": 1}, (90, 28, 28)),
    ({"aborts": 1}, (69, 73, 61)),
    ({"aborts": 1, "waits": 1}, (244, 156, 141)),
    ({"aborts": 1, "waits": 1, "lock_type": "TIME_LOCK"}, (279, 166, 122)),
    ({"crashes": 1}, (1582, 181, 189)),
    ({"crashes": 1, "losses": 1}, (7949, 378, 402)),
    ({"crashes": 1, "aborts": 1}, (6574, 824, 683)),
    ({"crashes": 1, "logs": 1}, (2238, 427, 425)),
    ({"crashes": 1, "tails": 1}, (3434, 939, 960)),
    ({"crashes": 1, "keys": 1}, (4133, 978, 980)),
    ({"crashes": 1, "lands": 1}, (2029, 229, 240)),
    ({"crashes": 2}, (13275, 909, 974)),
    ({"sessions": 2}, (2085, 2466, 3222)),
)


def find_endings(bounds: dict[str, Any]) -> set[str]:
    """Those that can happen: what nobody asks for, and what no time passes for, does not."""
    has_aborts, has_waits = "aborts" in bounds, "waits" in bounds
    return {"completes"} | {
        name
        for name, can in (
            ("backs out", has_aborts or has_waits),
            ("unlocks", has_aborts and bounds.get("lock_type") != "TIME_LOCK"),
            ("expires", has_waits),
        )
        if can
    }


@pytest.mark.parametrize(("bounds", "counts"), COUNTS, ids=str)
def test_every_property_holds_in_so_many_states(bounds: dict[str, Any], counts: tuple[int, int, int]) -> None:
    found = search(**bounds)
    assert (len(found.states), *(len(table.states) for table in found.tables)) == counts
    assert found.is_whole and not found.truncated
    assert list_seen(found) == find_endings(bounds)
    assert not {name for name, text in list_broken(found).items() if text}


def test_an_order_that_lands_after_the_restart_shows_what_the_cancellation_is_for() -> None:
    found = search("cancel_before_undoing", crashes=1, aborts=1, lands=1)
    assert list_broken(found)["no loss"] == (
        "start 1.1 1.2 1.3 1.4:b3 S.restart S.transfer-resume S.abort R.transfer-continue S.rollback R.rollback-ack "
        "S.land"
    )


def test_more_states_than_have_room_are_refused() -> None:
    assert verify_room(MASK) == MASK
    with pytest.raises(Misuse, match="smaller bounds"):
        verify_room(MASK + 1)


def test_a_search_that_is_stopped_says_so() -> None:
    found = Explorer(make_small_plan(crashes=1), PROPERTIES, most_states=100).run()
    assert not found.is_whole and len(found.states) >= 100
    assert "progress" not in list_broken(found)


PROGRAM = """
from tests.twins import list_broken, search
for found in (search(crashes=1), search("prepared_recipient_waits", aborts=1)):
    print([state for state in found.states], [each.data for each in found.messages], list_broken(found))
"""


def test_another_process_finds_the_same_in_the_same_order() -> None:
    """Whatever the order of its sets."""
    root = Path(__file__).resolve().parent.parent
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
