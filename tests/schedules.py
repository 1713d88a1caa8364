"""How a state machine of random schedules is run: bounded, repeatable, and saying how to run it again."""

from __future__ import annotations

import sys

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_schedules(
    machine: type[RuleBasedStateMachine], count: int, number: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`count` schedules of forty steps, from the seed `number`."""
    with capsys.disabled():
        sys.stderr.write(f"\n{count} schedules of {words}, seed {number} (again with: SEED={number})\n")
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=count,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
