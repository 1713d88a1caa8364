"""TABLE 2: all combinations of three facts, each with the row that decides."""

from __future__ import annotations

from itertools import product

from protocol.recovery import TABLE_2, Exchange, Facts, MyLedger, MyLog, Peer, Verdict, decide
from protocol.scenario_steps import decide_by_table
from tools.vector_families import Family, Json, case


def make_case(facts: Facts) -> Json:
    log, ledger, peer = facts.words
    given: Json = {"log": log, "ledger": ledger, "peer": peer}
    row = decide(facts)
    return case(
        f"{log}-{ledger}-{peer.replace(' ', '-')}",
        f"Row {row.letter}: {row.title}.",
        given,
        holds=[each for each in TABLE_2 if each.matches(facts)] == [row],
        expect=decide_by_table(given, {}),
    )


def make_shared() -> Json:
    """The words, and the rows with the crash that leads to each: what an implementer would read as a table."""
    return {
        "log": [each.value for each in MyLog],
        "ledger": [each.value for each in MyLedger],
        "peer": [each.value for each in Peer],
        "verdicts": [each.value for each in Verdict],
        "exchanges": [each.value for each in Exchange],
        "rows": {row.letter: {"title": row.title, "why": row.why} for row in TABLE_2},
    }


def make() -> Family:
    cases = [make_case(Facts(*words)) for words in product(MyLog, MyLedger, Peer)]
    letters = {each["expect"]["letter"] for each in cases}
    assert len(cases) == 320
    assert letters == {row.letter for row in TABLE_2}, "every row is reached"
    wrong: Json = {"log": "open", "ledger": "held", "peer": "asleep"}
    words = "a word that is none of the table's is no fact"
    refused = case(
        "a-word-that-is-none", "The peer's word is not one of the ten.", wrong, holds=True, code="", reason=words
    )
    return Family(
        name="recovery-table",
        about="What a session does after a crash follows from three facts: what its own log says, what its own ledger "
        "says, and what the peer holds. All 320 combinations; there is exactly one row for each.",
        sections=("RECOVERY 5", "RECOVERY 6.1"),
        operation="decide",
        cases=[*cases, refused],
        shared=make_shared(),
    )
