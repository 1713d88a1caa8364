"""What breaks without each rule, and with each behaviour of the drafts: which properties, after how many actions, and
the shortest run, letter by letter. All of it is searched here again.

A row that is empty is a result too: nothing breaks within these bounds (campaigns.py), because something else guards
against the same danger.
"""

from __future__ import annotations

import pytest

from protocol.campaigns import NOTHING, PAIRS, RuleTable, compare_rules
from protocol.rules import NAMES

Row = tuple[dict[str, int], str]
ROWS: dict[tuple[str, ...], Row] = {
    ("log_before_acting",): ({}, NOTHING),
    ("ask_the_ledger_before_repeating",): ({}, NOTHING),
    ("ledger_acts_once",): (
        {"durability": 15, "isolation": 12},
        "without ledger_acts_once; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1:b3 R.restart "
        "R.transfer-resume S.transfer-continue R.land",
    ),
    ("same_reply_to_a_repeated_request",): ({}, NOTHING),
    ("burn_only_under_a_live_lock",): ({}, NOTHING),
    ("reconcile_before_serving",): ({}, NOTHING),
    ("fresh_connection_after_restart",): ({}, NOTHING),
    ("back_out_only_with_the_receipt",): (
        {"no loss": 15, "progress": 15},
        "without back_out_only_with_the_receipt; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 3.3:b3 "
        "S.restart S.transfer-resume S.abort R.transfer-continue S.session-abort S.land",
    ),
    ("fence_the_replaced_primary",): (
        {"one in charge": 7},
        "without fence_the_replaced_primary; backup of sender; S-B.take-over S-B.transfer-resume "
        "R.transfer-continue start 1.1 1.2/b2 S.time-out",
    ),
    ("prepared_recipient_waits",): (
        {"no loss": 10, "progress": 10},
        "without prepared_recipient_waits; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 3.3 R.abort",
    ),
    ("only_forward_after_burn",): (
        {"progress": 10},
        "without only_forward_after_burn; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 3.3 S.abort",
    ),
    ("durable_before_sending",): ({}, NOTHING),
    ("cancel_before_undoing",): (
        {"no loss": 12},
        "without cancel_before_undoing; start 1.1 1.2 1.3 1.4:b3 S.restart S.transfer-resume "
        "S.abort R.transfer-continue S.rollback R.rollback-ack S.land",
    ),
    ("repeat_until_answered",): (
        {"progress": 2},
        "without repeat_until_answered; start -1.1",
    ),
    ("recipient_rolls_back_on_its_timer",): (
        {"no loss": 10, "progress": 10},
        "with recipient_rolls_back_on_its_timer; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 R.time-out 3.3",
    ),
    ("sender_reissues",): (
        {"no double spend": 11, "durability": 11, "isolation": 10, "progress": 10},
        "with sender_reissues; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 3.3 S.time-out",
    ),
    ("sender_terminates_on_its_timer",): (
        {"progress": 10},
        "with sender_terminates_on_its_timer; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 3.3 S.time-out",
    ),
    ("errors_end_the_session",): ({}, NOTHING),
    ("roll_back_by_the_drafts_list",): (
        {"no loss": 8, "progress": 9},
        "with roll_back_by_the_drafts_list; start 1.1 1.2 1.3 1.4 S.abort S.session-abort 2.2",
    ),
    ("terminate_on_lost_connection",): (
        {"no loss": 10, "agreement": 13},
        "with terminate_on_lost_connection; start 1.1 1.2 1.3 1.4 2.2 2.4 3.1 R.time-out 3.3",
    ),
    ("ask_the_ledger_before_repeating", "ledger_acts_once"): (
        {"isolation": 11, "progress": 10},
        "without ask_the_ledger_before_repeating; without ledger_acts_once; start 1.1 1.2 1.3 1.4 "
        "2.2 2.4 3.1 3.3 3.5:a3",
    ),
    ("same_reply_to_a_repeated_request", "errors_end_the_session"): (
        {"no loss": 11, "agreement": 15, "progress": 11},
        "without same_reply_to_a_repeated_request; with errors_end_the_session; start 1.1 1.2 1.3 "
        "1.4 2.2 2.4 3.1 +3.3 3.3 S.error-err_3.3.3",
    ),
    ("reconcile_before_serving", "fresh_connection_after_restart"): (
        {"progress": 16},
        "without reconcile_before_serving; without fresh_connection_after_restart; start 1.1 1.2 "
        "1.3 1.4 2.2 2.4 S.crash S.forget S.restart S.transfer-resume R.transfer-continue "
        "S.recover 3.1 3.3 S.error-err_3.3.2",
    ),
}


@pytest.fixture(scope="module")
def table() -> RuleTable:
    return compare_rules()


def test_every_rule_and_every_pair_has_its_row(table: RuleTable) -> None:
    assert list(table) == list(ROWS)
    assert set(ROWS) == {(name,) for name in NAMES} | set(PAIRS)


@pytest.mark.parametrize("names", ROWS, ids="+".join)
def test_what_breaks_and_the_shortest_run_that_shows_it(table: RuleTable, names: tuple[str, ...]) -> None:
    found, (broken, text) = table[names], ROWS[names]
    assert {each.name: each.length for each in found.broken if each.text} == broken
    assert (found.counterexample.text if found.counterexample else NOTHING) == text


def test_with_every_rule_nothing_breaks(table: RuleTable) -> None:
    assert not table.control.broken
