"""TABLE 1 against the draft's figure and against the messages."""

from __future__ import annotations

import pytest

from protocol.errors import SATP_CODES, Misuse, Refused
from protocol.messages import satp
from protocol.steps import FIRST, LAST, TABLE_1, Kind, Role, find_row, find_row_of_type, next_row, rows_of

# SATP figure 2, read off the drawing: step and who does it.
FIGURE_2 = "1.1 G1, 1.2 G2, 1.3 G1, 1.4 G2, 2.1 G1, 2.2 G1, 2.3 G2, 2.4 G2, 3.1 G1, 3.2 G2, 3.3 G2, 3.4 G1, 3.5 G1, 3.6 G2, 3.7 G2, 3.8 G1, 3.9 G1"  # noqa: E501


def test_the_table_is_the_figure() -> None:
    drawn = [f"{row.number} {'G1' if row.actor is Role.SENDER else 'G2'}" for row in TABLE_1]
    assert ", ".join(drawn) == FIGURE_2
    assert (FIRST.number, LAST.number) == ("1.1", "3.9")
    assert all(row.number.startswith(f"{row.stage}.") for row in TABLE_1)


def test_every_message_type_has_its_step_and_every_step_its_message() -> None:
    steps = {
        row.number: getattr(model, "STEP", None)
        for model in satp._MODELS
        if hasattr(model, "STEP")
        for row in [find_row(model.STEP)]
    }
    assert all(number == step for number, step in steps.items())
    assert sorted(steps) == sorted(row.number for row in TABLE_1 if row.kind is Kind.MESSAGE)
    for row in TABLE_1:
        if row.kind is Kind.MESSAGE:
            assert satp._STEP_OF_TYPE[satp.NAMESPACE + row.name] == row.number


def test_both_names_of_step_3_3_lead_to_it() -> None:
    for name in ("commit-ready-msg", "ack-prepare-msg"):
        assert find_row_of_type(satp.NAMESPACE + name).number == "3.3"


def test_only_lock_and_mint_can_be_undone() -> None:
    assert {row.name: row.undo for row in TABLE_1 if row.undo} == {"lock": "unlock", "mint": "destroy"}


@pytest.mark.parametrize("role", Role)
def test_the_first_row_that_is_not_done_comes_next(role: Role) -> None:
    done: set[str] = set()
    walked = []
    while (row := next_row(role, done)) is not None:
        walked.append(row)
        done.add(row.number)
    assert tuple(walked) == rows_of(role)
    assert len(walked) == 14, "eleven messages and three own actions"


def test_unknown_steps_and_types_are_named() -> None:
    with pytest.raises(Misuse, match=r"there is no step '4\.1'; the steps are 1\.1"):
        find_row("4.1")
    with pytest.raises(Refused, match="no step of a transfer"):
        find_row_of_type(satp.NAMESPACE + "error-msg")


def test_the_registry_of_codes_is_complete() -> None:
    """SATP 11.4 has 62 rows; each belongs to a step that exists, or is a general one."""
    assert len(SATP_CODES) == 62
    numbers = {row.number for row in TABLE_1}
    assert {code.step for code in SATP_CODES.values()} - numbers == {"0.1"}
    assert SATP_CODES["err_2.2.8"].status == 409
    assert SATP_CODES["err_2.2.8"].urn == "urn:ietf:params:satp:core:error:err_2.2.8"
