"""Every finding has one standing and it is true; every proof is the shortest of its search, and its rule mends it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from protocol import findings
from protocol.bounds import Bounds
from protocol.errors import Misuse
from protocol.findings import FINDINGS, Finding, Standing, read_findings
from protocol.proofs import FORWARD, Proof, read_type, search
from protocol.properties import TRANSFER, Kind
from protocol.replays import replay
from protocol.rules import NAMES
from protocol.strongest import LAST_MESSAGES, NAMED_QUOTES, PROOFS, SPLIT_BRAIN, prove
from protocol.takeovers import read_ending

ROOT = Path(__file__).resolve().parent.parent
TABLE = read_findings()
STRONGEST = {"R30", "R31", "R29", "R22", "R3", "R17", "R18", "R36", "C9", "R48", "R49", "C6", "C7", "C14", "C4", "C16"}


def cites(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


# ---------------------------------------------------------------------- standings


def test_every_finding_of_the_document_has_one_standing() -> None:
    listed = re.findall(r"^\* \*\*(\w+)\*\*", FINDINGS.read_text(), flags=re.MULTILINE)
    assert list(TABLE) == listed
    assert Counter(name[0] for name in listed) == {"R": 52, "C": 34, "N": 42}


def test_a_finding_that_stands_nowhere_or_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for changed in (findings.STANDINGS.replace("R4   ", "R3   "), findings.STANDINGS + "R99  decided  log\n"):
        monkeypatch.setattr(findings, "STANDINGS", changed)
        with pytest.raises(Misuse, match=r"one standing; not so .*R(4|99)"):
            read_findings()


@pytest.mark.parametrize("finding", TABLE.values(), ids=lambda each: each.name)
def test_it_stands_as_it_says(finding: Finding) -> None:
    """The test is there, the notebook names the finding, the module names it or has the words."""
    if finding.standing is Standing.DECIDED:
        text = (ROOT / "protocol" / f"{finding.where}.py").read_text()
        assert finding.words in text if finding.words else cites(text, finding.name)
    elif finding.standing is Standing.SHOWN and finding.where.startswith("notebook "):
        (path,) = (ROOT / "notebooks").glob(f"{finding.where.split()[1]}_*.ipynb")
        cells = json.loads(path.read_text())["cells"]
        assert any(cites("".join(cell["source"]), finding.name) for cell in cells)
    elif finding.standing is Standing.SHOWN:
        text = (ROOT / "tests" / f"{finding.where}.py").read_text()
        assert re.search(rf"^def test_{finding.words}\(", text, flags=re.MULTILINE)
    else:
        assert finding.words, "what nothing decides has a reason"


def test_what_is_called_editorial_or_open_is_decided_nowhere() -> None:
    """No module of the protocol names it."""
    others = [path for path in (ROOT / "protocol").rglob("*.py") if path.stem not in ("findings", "strongest")]
    for finding in TABLE.values():
        if finding.standing in (Standing.EDITORIAL, Standing.OPEN):
            assert not [path.name for path in others if cites(path.read_text(), finding.name)], finding.name


def test_the_table_counts_selects_and_shows_itself() -> None:
    assert sum(sum(counts.values()) for counts in TABLE.count().values()) == len(TABLE)
    assert list(TABLE.select("editorial")) == ["R20"]
    assert list(TABLE.select(Standing.OPEN)) == ["R45", "C31"]
    with pytest.raises(Misuse, match="shown, decided, editorial, open, not 'solved'"):
        TABLE.select("solved")
    assert TABLE["R31"].decision.startswith("prepared G2 blocks")
    assert TABLE["R31"].place == "s5.4.3"
    assert repr(TABLE).count("\n") == len(TABLE)
    assert TABLE._repr_html_().count("<tr>") == len(TABLE) + 1


@pytest.mark.parametrize("finding", TABLE.values(), ids=lambda each: each.name)
def test_each_says_what_to_decide(finding: Finding) -> None:
    assert finding.decision or "decide" not in finding.text


# ---------------------------------------------------------------------- proofs


def test_the_strongest_are_proved_and_stand_as_shown() -> None:
    named = {name for proof in PROOFS.values() for name in proof.names} | set(SPLIT_BRAIN.names) | {"R22"}
    assert named == STRONGEST | {"C17"}
    assert all(TABLE[name].standing is Standing.SHOWN and TABLE[name].where == "notebook 12" for name in named)
    strongest = FINDINGS.read_text().partition("The strongest: ")[2].partition("\n\n")[0]
    assert set(re.findall(r"[RC]\d+", strongest)) == STRONGEST


@pytest.mark.parametrize("name", PROOFS)
def test_the_run_is_the_shortest_and_breaks_what_it_says(name: str) -> None:
    proof = PROOFS[name]
    assert not proof.shortest.holds
    assert proof.shortest.text == f"{proof.replay_text.removesuffix(proof.onwards).rstrip()}"
    assert proof.breaks in proof.broken
    assert set(proof.flipped) <= set(NAMES)


@pytest.mark.parametrize("name", PROOFS)
def test_with_the_rule_all_holds(name: str) -> None:
    mended = PROOFS[name].mended()
    assert mended.is_whole
    assert not mended.broken


@pytest.mark.parametrize("name", [name for name, proof in PROOFS.items() if proof.breaks != "progress"])
def test_without_its_last_action_the_run_breaks_nothing(name: str) -> None:
    """The last one does it: what is shown is the moment, not a long way after it."""
    proof = PROOFS[name]
    played = replay(proof.shortest.text.rpartition(" ")[0])
    properties = [each for each in (*TRANSFER, FORWARD) if each.kind is Kind.ALWAYS and each.name == proof.breaks]
    assert played.list_broken(properties) == []
    played.world.close()


def test_a_proof_shows_itself() -> None:
    proof = prove("C17")
    assert proof is PROOFS["R31"]
    assert repr(proof).startswith("R31, C17: a prepared recipient rolls back alone")
    assert proof._repr_svg_().startswith("<svg")
    assert "<blockquote>[4]  Timeout<br>" in proof.sentence._repr_html_()
    assert proof.text._repr_html_().startswith("<blockquote>A recipient gateway that has logged")
    assert max(map(len, repr(proof.text).splitlines())) <= 96
    with pytest.raises(Misuse, match="there is no proof of R20; there are R30, R31, C17, R29"):
        prove("R20")


def test_neither_question_nor_ledger_alone_is_needed_and_one_of_them_is() -> None:
    """R3, R17: what searches of one crash say of each rule by itself."""
    proof: Proof = prove("R3")
    for name in ("log_before_acting", *proof.flipped):
        assert not search((name,), proof.bounds).broken
    assert [each.name for each in proof.found.broken] == ["isolation", "progress"]


def test_the_stored_reply_alone_is_comfort_as_long_as_errors_end_nothing() -> None:
    """C14: it takes both sentences of the draft to lose the asset."""
    for bounds in (Bounds(crashes=0, losses=1), Bounds(crashes=0, duplicates=1)):
        assert not search(("same_reply_to_a_repeated_request",), bounds).broken


def test_two_write_under_one_name_without_the_fence() -> None:
    """R18: nothing is lost by that alone."""
    torn, whole = SPLIT_BRAIN.replay(), SPLIT_BRAIN.mended()
    ends = [read_ending(each.world) for each in (torn, whole)]  # type: ignore[arg-type]
    assert [end.word for end in ends] == ["one owner", "one owner"]
    assert [(end.late_entries, end.late_messages, end.is_agreed) for end in ends] == [(2, 1, False), (0, 0, True)]


def test_the_shortest_run_with_two_in_charge_needs_the_fence_off() -> None:
    """That it is the shortest, tests/test_explorer_pair.py searches."""
    assert SPLIT_BRAIN.broken == ("one in charge",)
    assert SPLIT_BRAIN.broken_with_the_rule == ()


def test_two_readers_of_one_text() -> None:
    """R22: of seven places where the text names one of two messages, three name none of this closed list."""
    assert [each.name for each in LAST_MESSAGES.refused] == [
        "RECOVERY-UPDATE-ACK",
        "RECOVERY-SUCCESS",
        "RECOVER-SUCESS",
    ]
    assert len(LAST_MESSAGES) == 7
    assert {each.sender for each in LAST_MESSAGES if each.name == "RECOVER-SUCCESS"} == {
        "recovered gateway",
        "counterparty",
    }
    assert LAST_MESSAGES._repr_html_().count("<tr>") == 8
    assert repr(LAST_MESSAGES).count("\n") == 7
    assert read_type("RECOVER") == "read as Recover"
    assert len(NAMED_QUOTES) == 4


def test_a_quote_has_a_place() -> None:
    sentences = [*(proof.sentence for proof in PROOFS.values()), SPLIT_BRAIN.sentence, NAMED_QUOTES]
    for quote in (quote for sentence in sentences for quote in sentence):
        assert quote.document in ("RECOVERY", "SATP")
        assert re.fullmatch(r"\d+(\.\d+)*( \(\d\)|, figure)?", quote.section)
        assert repr(quote).startswith(f"{quote.document} {quote.section}, l.{quote.line}: ")
