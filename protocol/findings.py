"""All findings, and how each stands: shown by a run, decided by a line, left to the editors, or open.

    shown       a run plays it: a notebook that names it, or a test
    decided     a line of the code decides it: the module names the finding, or has the words that stand here
    editorial   it is about words, numbers or references of the documents; no code could be otherwise for it
    open        nothing here decides it, and it says why

What a finding says is in docs/findings.md and nowhere else; `read_findings` reads it. Here is only how it stands, one
line for each. A finding that a run shows and a line decides counts as shown. `tests/test_findings.py` looks up every
line: the test is there, the notebook names the finding, the module has the words.

Nothing here plays a run: the strongest findings have theirs in strongest.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from protocol.errors import Misuse
from protocol.evidence import write_table

FINDINGS: Final = Path(__file__).resolve().parent.parent / "docs" / "findings.md"
ITEM: Final = re.compile(r"^\* \*\*([RCN]\d+)\*\* (.+)$", re.MULTILINE)


class Standing(StrEnum):
    SHOWN = "shown"
    DECIDED = "decided"
    EDITORIAL = "editorial"
    OPEN = "open"


# Finding, standing, where, and there: the name of a test, the words of a module, or why.
STANDINGS: Final = """
R1   decided    recovery                   the recipient is prepared and waits
R2   decided    steps                      The rows are the seventeen steps of SATP figure 2.
R3   shown      notebook 12
R4   decided    log
R5   decided    log
R6   shown      test_gateway               each_log_holds_the_signed_messages_and_the_own_actions
R7   decided    notary
R8   decided    log
R9   decided    log_api
R10  shown      test_trouble               a_disk_that_fails_once
R11  decided    messages/satp              Uuid = Annotated[str, StringConstraints(pattern=UUID_PATTERN)]
R12  decided    notations
R13  decided    log
R14  decided    log
R15  decided    log
R16  decided    log
R17  shown      notebook 12
R18  shown      notebook 12
R19  shown      notebook 10
R20  editorial  recovery draft             references to sections that have other numbers
R21  shown      test_replacement           a_dead_primary_is_replaced_when_its_lease_has_run_out
R22  shown      notebook 12
R23  shown      test_disputes              two_agreed_chains_freeze_both_sides
R24  decided    messages/recovery
R25  shown      test_recovery_bad_input    an_old_offer_takes_the_place_of_no_later_one
R26  shown      test_recovery_messages     the_drafts_key_of_a_backup_must_be_the_one_that_signed
R27  shown      test_gateway               a_crash_anywhere_ends_with_one_owner
R28  shown      test_rollback              the_lock_expires_after_every_step
R29  shown      notebook 12
R30  shown      notebook 12
R31  shown      notebook 12
R32  shown      test_rollback              a_rollback_and_its_acknowledgement_name_each_other
R33  shown      test_rollback              a_rollback_and_its_acknowledgement_name_each_other
R34  shown      test_rollback              a_crash_at_every_act_of_a_rollback
R35  shown      test_recovery_regressions  two_recover_that_cross
R36  shown      notebook 12
R37  shown      test_backup_certificates   each_of_two_may_be_the_others_backup
R38  shown      test_backup_certificates   a_customer_of_the_same_public_ca_is_no_backup
R39  shown      notebook 10
R40  shown      test_successions_noted     the_succession_is_in_both_logs_signed_and_answered
R41  decided    admission                  verified before anything is looked up, written or done
R42  shown      test_trouble               a_disk_that_fails_once
R43  decided    messages/recovery
R44  decided    log
R45  open       log                        no entry of a log is ever removed here, so no period had to be chosen
R46  decided    messages/recovery          it carries no content, so it may travel before TLS is back
R47  shown      test_rollback              a_time_out_decides_nothing
R48  shown      notebook 12
R49  shown      notebook 12
R50  shown      test_rollback              a_rollback_and_its_acknowledgement_name_each_other
R51  decided    journal                    recoveryMessage=recovery
R52  shown      test_rollback              a_time_out_decides_nothing
C1   shown      test_every_message         ack_prepare_is_taken_for_commit_ready
C2   decided    negotiation
C3   decided    steps                      "3.4"
C4   shown      notebook 12
C5   decided    negotiation
C6   shown      notebook 12
C7   shown      notebook 12
C8   shown      test_abort                 an_unchained_or_incomplete_abort_is_refused
C9   shown      notebook 12
C10  decided    recovery
C11  decided    objects                    Canonical bytes are RFC 8785
C12  shown      notebook 05
C13  decided    log                        version: str
C14  shown      notebook 12
C15  decided    messages/satp
C16  shown      notebook 12
C17  shown      notebook 12
C18  shown      notebook 08
C19  shown      test_gateway               a_crash_anywhere_ends_with_one_owner
C20  shown      test_link                  only_the_connection_is_lost_and_it_is_resumed
C21  decided    link                       and a World may carry messages in any order
C22  decided    messages/satp              here inside a JWS, like every message
C23  shown      test_codes                 the_unreachable_fields_are_not_in_the_draft_any_more
C24  shown      test_draft_examples        each_fault_is_refused_with_its_reason_and_without_faults_it_is_a_message
C25  shown      test_bad_input             a_claim_without_a_fitting_receipt_is_refused
C26  shown      test_draft_examples        the_capabilities_are_read_and_rsa_is_only_listed
C27  shown      test_link                  on_a_connection_that_stays_open_a_revoked_signature_is_refused_all_the_same
C28  shown      notebook 08
C29  shown      test_rules                 burn_only_under_a_live_lock
C30  decided    log                        Field names are those of RECOVERY 4 in camelCase.
C31  open       core draft                 core itself would have to name a profile of recovery
C32  shown      test_rollback              the_lock_expires_at_every_durable_act_with_both_up
C33  shown      test_rollback              a_time_lock_is_pending_until_it_expires
C34  decided    steps                      is drawn in the figure and described nowhere
N1   shown      test_abort                 a_damaged_copy_parks_and_ends_nothing
N2   decided    rollback                   cites the last message of the peer, which the peer surely has
N3   decided    errors                     SATP 11.4 has no other general code
N4   decided    session                    the shared chain by `hashPrevMessage`
N5   shown      test_abort                 what_is_parked_goes_on_when_the_next_message_comes_after_all
N6   shown      test_resync                a_command_that_its_author_has_forgotten_takes_no_effect_any_more
N7   shown      test_resync                a_side_without_memory_cannot_be_made_to_create_a_reference_id_anew
N8   decided    messages/payments          here additional_kyc_data may be added once, and nothing else changes
N9   decided    log_api                    updateLog is not in that table
N10  shown      test_recovery_regressions  a_key_that_was_replaced_before_the_proposal_came
N11  shown      test_recovery_regressions  a_lock_is_opened_with_the_preimage_of_the_key_that_was_lost
N12  shown      test_recovery_regressions  the_old_receipt_of_a_mint_that_was_destroyed_is_worth_nothing
N13  shown      test_recovery_regressions  two_recover_that_cross
N14  shown      test_recovery_regressions  the_peer_has_forgotten_the_message_that_the_rollback_cites
N15  shown      test_recovery_regressions  a_wish_to_leave_from_an_old_copy_does_not_destroy_the_mint
N16  shown      test_recovery_regressions  a_session_of_which_all_entries_were_the_last_ones
N17  shown      test_tls                   openssl_resumes_what_no_longer_counts_and_we_refuse_it
N18  shown      test_recovery_regressions  a_key_that_was_replaced_while_nothing_was_open
N19  shown      test_recovery_regressions  a_lock_assertion_that_was_timely_when_it_was_acted_on
N20  shown      test_recovery_many         more_sessions_than_one_message_names
N21  shown      test_recovery_bad_input    a_false_claim_without_its_link_changes_nothing
N22  shown      test_recovery_regressions  a_commit_ready_that_both_logs_have_forgotten_still_binds_the_recipient
N23  shown      test_backup_certificates   a_customer_of_the_same_public_ca_is_no_backup
N24  shown      test_backup_certificates   a_new_key_of_the_backup_needs_a_new_certificate_of_the_gateway
N25  shown      test_backup_certificates   a_revoked_certificate_authorises_nobody_until_its_owner_issues_another
N26  shown      test_successions_noted     who_acts_is_known_after_a_restart
N27  decided    negotiation                `former` are keys that it lost, or of those that acted for it before
N28  decided    journal                    secret = {"preimage": preimage} if order.hashLock else {}
N29  shown      test_replacement_many      a_counterparty_loses_its_log_while_a_backup_is_in_charge
N30  shown      test_replacement           a_proposal_that_the_peer_never_logged_ends_with_its_key
N31  shown      test_lease                 a_restarted_process_claims_at_once_and_fences_its_own_earlier_one
N32  shown      test_replacement           a_burn_that_lands_after_the_backup_has_cancelled_it_is_refused
N33  shown      test_replacement           an_operator_hands_over_what_is_cut_off_from_its_counterparty
N34  shown      test_fencing               a_takeover_goes_through_while_a_client_sits_in_an_open_append
N35  shown      test_peers                 revocation_is_of_one_gateways_serial_number
N36  decided    gateway                    then the wish waits until the peer has been heard
N37  shown      test_successions_noted     a_counterparty_that_lost_its_log_learns_the_line_again
N38  shown      test_replacement_regressions  a_gateway_comes_back_when_its_backup_was_revoked
N39  shown      test_replacement_regressions  an_operator_raises_the_epoch_of_a_store_that_was_lost
N40  shown      test_explorer_channel      a_question_that_arrives_late_makes_nobody_wait_for_ever
N41  shown      test_explorer_channel      an_answer_to_an_older_question_ends_no_recovery
N42  shown      test_campaigns             names_turned_over_together
"""


@dataclass(frozen=True)
class Finding:
    """One finding: what docs/findings.md says of it, and how it stands."""

    name: str
    text: str
    standing: Standing
    where: str
    words: str

    @property
    def document(self) -> str:
        return {"R": "recovery draft", "C": "core draft", "N": "found by running"}[self.name[0]]

    @property
    def place(self) -> str:
        """Where it stands in its document."""
        return self.text.partition(" - ")[0]

    @property
    def decision(self) -> str:
        return re.split(r" - decided?:? |; decide:? ", self.text)[-1] if " decide" in self.text else ""

    def __repr__(self) -> str:
        where = f"{self.where}: {self.words}" if self.words else self.where
        return f"{self.name} ({self.document}): {self.text}\n  {self.standing}: {where}"


class FindingsTable(dict[str, Finding]):
    """All findings by name, in the order of docs/findings.md."""

    heads = ("finding", "stands in", "standing", "where")

    def count(self) -> dict[str, Counter[str]]:
        """How many stand how, for each document."""
        counted: dict[str, Counter[str]] = {}
        for finding in self.values():
            counted.setdefault(finding.document, Counter())[finding.standing.value] += 1
        return counted

    def select(self, standing: Standing | str) -> FindingsTable:
        """Those that stand so. Misuse for a word that is none."""
        if standing not in list(Standing):
            raise Misuse(f"a finding is {', '.join(Standing)}, not {standing!r}")
        return FindingsTable({name: each for name, each in self.items() if each.standing == standing})

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (each.name, f"{each.document}, {each.place}", each.standing.value, " ".join(_say(each)))
            for each in self.values()
        ]

    def _repr_html_(self) -> str:
        return write_table(self.heads, self.rows)

    def __repr__(self) -> str:
        lines = [" | ".join(row) for row in (self.heads, *self.rows)]
        return "\n".join(lines)


def _say(finding: Finding) -> Sequence[str]:
    words = finding.words.replace("_", " ") if finding.where.startswith("test_") else finding.words
    return (f"{finding.where}:", words) if words else (finding.where,)


def read_findings(path: Path = FINDINGS) -> FindingsTable:
    """The findings of the document, with how each stands. Misuse if one of them stands nowhere here, or twice."""
    texts = ITEM.findall(path.read_text(encoding="utf-8"))
    stands = [_read_standing(line) for line in STANDINGS.strip().splitlines()]
    names = Counter([name for name, _ in texts] + [name for name, *_ in stands])
    odd = [name for name, count in names.items() if count != 2]
    if odd:
        raise Misuse(f"each finding is in {path.name} once and has one standing; not so {', '.join(odd)}")
    by_name = {name: (Standing(standing), where, words) for name, standing, where, words in stands}
    return FindingsTable({name: Finding(name, text, *by_name[name]) for name, text in texts})


def _read_standing(line: str) -> tuple[str, str, str, str]:
    name, standing, rest = line.split(maxsplit=2)
    where, *words = re.split(r" {2,}", rest, maxsplit=1)
    return name, standing, where, words[0] if words else ""
