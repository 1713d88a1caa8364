"""The strongest findings: for each the draft's sentence, the run, the rule, and a text that a draft could adopt.

    prove("R31")        the proof of a finding, to be looked at and played
    PROOFS              all that a search has shown, as one table
    SPLIT_BRAIN         R18: shown with a backup gateway
    LAST_MESSAGES       R22: shown by reading

The sentences are quoted from the revisions that the README names. A text says MUST where a run shows what happens
otherwise, and SHOULD where only comfort is at stake. Step numbers and names of messages are the drafts'; where they
have several, those of SATP figure 2.

Every run is the shortest of its search: tests/test_findings.py searches again and compares.
"""

from __future__ import annotations

from typing import Final

from protocol.bounds import Bounds
from protocol.proofs import Proof, ProofTable, Quote, Quotes, Reading, Takeover, Text, read_names

BEGUN: Final = "start 1.1 1.2 1.3 1.4"
READY: Final = f"{BEGUN} 2.2 2.4 3.1"  # commit-ready is on its way
BURNED: Final = f"{READY} 3.3"  # commit-final is
NOTHING: Final = Bounds(crashes=0)

R30: Final = Proof(
    ("R30",),
    "the asset is created again at the origin and assigned at the destination",
    Quotes(
        [
            Quote(
                "RECOVERY",
                "5.2.3 (8)",
                550,
                "Otherwise, if the last commit is unsuccessful, then abort the transaction and apply rollbacks to both "
                "gateways.",
            )
        ]
    ),
    "no double spend",
    ("sender_reissues",),
    Bounds(crashes=0, losses=1),
    f"{BURNED} S.time-out 3.5",
    "",
    Text(
        "Once the burn of step 3.4 has been submitted to NW1, a gateway MUST NOT apply a rollback to NW1 or NW2, "
        "whatever message, error or time-out follows. The sender gateway MUST repeat commit-final-msg (3.5) until it "
        "receives ack-commit-final-msg (3.7). The absence of ack-commit-final-msg MUST NOT be taken for a commit that "
        "was unsuccessful. An asset that was burned MUST NOT be created again in NW1 within the same session."
    ),
)

R31: Final = Proof(
    ("R31", "C17"),
    "a prepared recipient rolls back alone, and the sender has burned",
    Quotes(
        [
            Quote("RECOVERY", "5.4.3, figure", 806, "[3] <3, 2, COMMIT-PREPARE-ACK>"),
            Quote("RECOVERY", "5.4.3, figure", 811, "[4]  Timeout"),
            Quote("RECOVERY", "5.4.3, figure", 818, "[6]: execute rollback"),
            Quote(
                "SATP",
                "12",
                1545,
                "If gateway G1 intentionally drops the commit-final-msg (commit-final) such that gateway G2 times-out, "
                "then G2 may suffer financial loss due to roll-back costs in network NW2.",
            ),
        ]
    ),
    "no loss",
    ("recipient_rolls_back_on_its_timer",),
    Bounds(crashes=1),
    f"{READY} 3.3:a5 R.time-out",
    "S.restart S.transfer-resume R.transfer-continue",
    Text(
        "A recipient gateway that has logged commit-ready-msg (3.3) is prepared. A prepared gateway MUST NOT reverse "
        "its mint (3.2) on a time-out. It MUST repeat commit-ready-msg until it obtains a receipt of NW1: of the "
        "burn, and then it assigns (3.6), or of the unlock or the expiry of the lock, and then it reverses the mint. "
        "The receipt MAY be delivered by anybody."
    ),
)

R29: Final = Proof(
    ("R29",),
    "the rollback list has the lock only when the asset is burned",
    Quotes(
        [
            Quote(
                "RECOVERY",
                "5.2.3 (2)",
                538,
                "On step 2.1A, add a pre-lock transaction to the origin gateway rollback list.",
            ),
            Quote(
                "RECOVERY",
                "5.2.3 (4)",
                542,
                "On step 3.4A, add a lock transaction to the origin gateway rollback list.",
            ),
            Quote(
                "RECOVERY",
                "5.2.3 (6)",
                546,
                "On step 3.6A,  add a create asset transaction to the rollback list of the destination gateway.",
            ),
        ]
    ),
    "no loss",
    ("roll_back_by_the_drafts_list",),
    Bounds(crashes=0, aborts=1, lock_type="HASH_LOCK"),
    f"{BEGUN} S.abort S.session-abort 2.2",
    "",
    Text(
        "Before the sender gateway submits the lock of step 2.1, it MUST add that lock to its rollback list. Before "
        "the recipient gateway submits the mint of step 3.2, it MUST add that mint to its rollback list. The burn of "
        "step 3.4 and the assignment of step 3.6 MUST NOT be added to any rollback list: when the burn is submitted, "
        "the rollback lists of both gateways end."
    ),
)

R3: Final = Proof(
    ("R3", "R17"),
    "what was done and not written down is done twice",
    Quotes(
        [
            Quote(
                "RECOVERY",
                "3",
                153,
                "For each protocol step a gateway performs, a log entry is created immediately before executing and "
                "immediately after executing a given operation.",
            ),
            Quote(
                "RECOVERY",
                "5.1",
                497,
                "Thus, gateways can recover by obtaining the latest successful operation and continuing from there.",
            ),
        ]
    ),
    "isolation",
    ("ask_the_ledger_before_repeating", "ledger_acts_once"),
    Bounds(crashes=1),
    f"{BEGUN} 2.2 2.4 3.1:a3 R.restart R.transfer-resume S.transfer-continue",
    "",
    Text(
        "Each action on a network (2.1, 2.3, 3.2, 3.4, 3.6, 3.8) MUST carry an operation identifier that is computed "
        "from the sessionId and the step number. A gateway that recovers and finds an exec entry without a done entry "
        "MUST ask its network for the receipt of that operation before it executes it again. A gateway SHOULD use a "
        "network that executes an operation identifier at most once and answers a repeated one with the first receipt."
    ),
)

R36: Final = Proof(
    ("R36", "C9"),
    "a lost connection ends the session on one side of the burn",
    Quotes(
        [
            Quote(
                "RECOVERY",
                "5.1",
                516,
                "Finally, the gateway resumes the normal execution of SATP (session resumption).",
            ),
            Quote(
                "SATP",
                "11.2",
                1370,
                "Connection errors resulting in the time-out of the session MUST result in the termination of the "
                "transfer session.",
            ),
            Quote(
                "SATP",
                "11.2",
                1371,
                "In the case of a transfer session termination, gateways SHOULD release its local computing resources "
                "and release asset-locks in their respective networks.",
            ),
        ]
    ),
    "no loss",
    ("terminate_on_lost_connection",),
    Bounds(crashes=0, cuts=1),
    f"{BURNED} R.cut",
    "S.time-out",
    Text(
        "The loss of a connection suspends a session and MUST NOT terminate it. A gateway MUST NOT release the lock "
        "of step 2.1 once it has submitted the burn of step 3.4, and MUST NOT reverse the mint of step 3.2 once it "
        "has logged commit-ready-msg. When the gateways are connected again, the recovery procedure decides how the "
        "session continues."
    ),
)

R48: Final = Proof(
    ("R48", "R49"),
    "a message that was logged and never sent is not sent after the recovery",
    Quotes(
        [
            Quote(
                "RECOVERY",
                "5.4.1",
                669,
                "The following figure represents the origin gateway (G1) crashing before it issued an init command to "
                "the destination gateway (G2).",
            ),
            Quote("RECOVERY", "5.4.1, figure", 709, "[12]: <1,7,init-validateNext>"),
        ]
    ),
    "progress",
    ("repeat_until_answered",),
    Bounds(crashes=1),
    "start:a1",
    "S.restart S.transfer-resume R.transfer-continue",
    Text(
        "A gateway that receives RECOVER for a session of which it has no log entry MUST answer that the session is "
        "unknown, with a signed message, and MUST NOT answer with log entries. After the recovery each gateway MUST "
        "send its last message again, with the same bytes, unless the peer has answered it. A gateway MUST NOT "
        "proceed to the next step while the done entry of the step before it is missing."
    ),
)

C6: Final = Proof(
    ("C6",),
    "the recipient leaves between commit-ready and commit-final",
    Quotes(
        [
            Quote(
                "SATP",
                "11.5",
                1530,
                "Similarly, if either gateway G1 or gateway G2 transmits a session-abort message immediately after "
                "gateway G1 sends a commit-prepare message (msgtype:commit-prepare-msg) but before G2 sends the "
                "commit ready message (msgtype:commit-ready-msg), the gateway G2 can always reverse the changes made "
                "by G2 to NW2 (i.e. reverse the assignment-to-self of the minted asset).",
            ),
            Quote(
                "SATP",
                "11.5",
                1532,
                "However, an abort message (occurring in either direction) after gateway G1 transmits the commit final "
                "message (msgtype:commit-final-msg) will not be effective.",
            ),
        ]
    ),
    "no loss",
    ("prepared_recipient_waits",),
    Bounds(crashes=0, aborts=1),
    f"{BURNED} R.abort",
    "R.session-abort 3.5",
    Text(
        "After gateway G2 has logged commit-ready-msg, G2 MUST NOT transmit a session-abort message of its own accord. "
        "Gateway G1 MAY transmit a session-abort message until it submits the burn of step 3.4; after commit-ready-msg "
        "the message MUST carry the receipt of the unlock, or of the expiry, and G2 MUST NOT follow it without."
    ),
)

C7: Final = Proof(
    ("C7",),
    "an abort and commit-final cross, and both sides agree on a loss",
    Quotes(
        [
            Quote("SATP", "11.1", 1358, "Any data received after the session termination message MUST be ignored."),
            Quote(
                "SATP",
                "11.5",
                1524,
                "Note that a session-abort message maybe lost and never be received by the peer gateway.",
            ),
        ]
    ),
    "no loss",
    ("prepared_recipient_waits", "only_forward_after_burn"),
    Bounds(crashes=0, aborts=1),
    f"{BURNED} R.abort",
    "R.session-abort 3.5",
    Text(
        "A commit-final-msg with a valid burn receipt of NW1 MUST be acted upon, whatever was sent or received before "
        "it: it prevails over session-abort-msg and over any error message. Gateway G1 MUST refuse a session-abort "
        "message that reaches it after the burn of step 3.4, and MUST NOT end the session."
    ),
)

C14: Final = Proof(
    ("C14",),
    "one lost response, and the repeated request ends the transfer",
    Quotes(
        [
            Quote(
                "SATP",
                "10.6",
                1307,
                "The default action upon receiving an error message is the immediate termination of the session.",
            ),
            Quote(
                "SATP",
                "11",
                1342,
                "The default action to be taken by the transitting gateway is to terminate the session immediately.",
            ),
        ]
    ),
    "no loss",
    ("errors_end_the_session", "same_reply_to_a_repeated_request"),
    Bounds(crashes=0, losses=1),
    f"{BURNED} -3.5 R.time-out 3.3 S.error-err_3.3.3",
    "",
    Text(
        "A gateway that has no answer to its last message SHOULD send the same bytes again. A gateway that receives a "
        "message again, identified by the hash of its bytes, MUST answer with the bytes of its first answer, and MUST "
        "NOT compare hashPrevMessage with the present end of the chain. Neither gateway changes its state."
    ),
    mended_by=("same_reply_to_a_repeated_request",),
)

C4: Final = Proof(
    ("C4",),
    "the sender's timer ends a session whose asset is burned",
    Quotes(
        [
            Quote(
                "SATP",
                "10",
                1102,
                "If the lockAssertionExpiration timer at the client expires before the Commit-Final Acknowledgement "
                "Receipt Message is received by the client, the client may terminate the session.",
            )
        ]
    ),
    "forward",
    ("sender_terminates_on_its_timer",),
    Bounds(crashes=0, waits=1),
    f"{BURNED} S.time-out",
    "",
    Text(
        "The client MUST NOT submit the burn of step 3.4 unless NW1 confirms that the lock is held and will not "
        "expire before the burn is final. When the lockAssertionExpiration timer expires before the burn was "
        "submitted, the client MAY terminate the session, and MUST then send the receipt of the expiry. After the "
        "burn was submitted the client MUST NOT terminate the session."
    ),
)

C16: Final = Proof(
    ("C16",),
    "an error about commit-final ends a session whose asset is burned",
    Quotes(
        [
            Quote(
                "SATP",
                "11.4",
                1507,
                "| err_3.5.3 | Commit Final Assertion errors | badly formed message | mismatch hashPrevMessage | 404 |",
            ),
            Quote(
                "SATP",
                "10.6",
                1307,
                "The default action upon receiving an error message is the immediate termination of the session.",
            ),
        ]
    ),
    "forward",
    ("errors_end_the_session", "same_reply_to_a_repeated_request"),
    Bounds(crashes=0, losses=1),
    f"{BURNED} 3.5 -3.7 S.time-out 3.5 R.error-err_3.5.3",
    "",
    Text(
        "An error message about commit-final-msg (err_3.5.1 to err_3.5.4) MUST NOT terminate the session, because the "
        "asset has been burned in NW1. The sender gateway MUST keep the session open and its evidence, and MUST "
        "report it to its operator. It MUST continue when ack-commit-final-msg (3.7) arrives after all."
    ),
    mended_by=("errors_end_the_session",),
)

SPLIT_BRAIN: Final = Takeover(
    ("R18",),
    "a slow primary and its backup act at once",
    Quotes(
        [
            Quote(
                "RECOVERY",
                "5.1 (2)",
                502,
                "If the timeout is exceeded, a backup gateway detects that failure unequivocally and takes the role "
                "of the primary gateway.",
            )
        ]
    ),
    "sender",
    "3.4",
    "slow",
    3,
    False,
    ("fence_the_replaced_primary",),
    "S-B.take-over S-B.transfer-resume R.transfer-continue start 1.1 1.2/b2 S.time-out",
    Text(
        "A backup gateway that takes over MUST raise an epoch in the log that it shares with the primary gateway, and "
        "MUST carry that epoch in RECOVER. The log storage MUST refuse any entry of an earlier epoch. The "
        "counterparty MUST refuse a new message that is signed by a gateway of an earlier epoch. A time-out alone "
        "MUST NOT be taken as proof that the primary gateway has crashed: the backup gateway MUST ask the network "
        "about every operation that the primary gateway may have begun."
    ),
)

NAMED_QUOTES: Final = Quotes(
    [
        Quote(
            "RECOVERY",
            "5.1 (3)",
            514,
            "The gateway and informs other gateways of the recovery with a recovery confirmation message is sent "
            "(RECOVERY-UPDATE-ACK), and the respective acknowledgment is sent by the counterparty gateway "
            "(RECOVERY-SUCCESS).",
        ),
        Quote(
            "RECOVERY",
            "5.3.3",
            606,
            "The recover-success message (response to RECOVER-UPDATE) states if the recovered gateway's logs have been "
            "successfully updated.",
        ),
        Quote(
            "RECOVERY",
            "5.3.3",
            608,
            "The counterparty gateway sends this message to sinalize the recovered gateway acknowledging that the "
            "state is synchronized.",
        ),
        Quote("RECOVERY", "5.3.3", 616, "- Message Type REQUIRED: urn:ietf:SATP-2pc:msgtype:recover-update-ack-msg."),
    ]
)
NAMED: Final = (
    ("RECOVERY-UPDATE-ACK", "5.1 (3), l.514", "recovered gateway"),
    ("RECOVERY-SUCCESS", "5.1 (3), l.514", "counterparty"),
    ("RECOVER-SUCCESS", "5.3.3, l.606", "recovered gateway"),
    ("RECOVER-SUCCESS", "5.3.3, l.608", "counterparty"),
    ("RECOVER-UPDATE-ACK", "5.3.3, l.616, as the type", "not said"),
    ("RECOVER-UPDATE-ACK", "5.4.1, l.703", "recovered gateway"),
    ("RECOVER-SUCESS", "5.4.1, l.706", "counterparty"),
)
LAST_MESSAGES: Final[Reading] = read_names(NAMED)
FOUR_MESSAGES: Final = Text(
    "A recovery has four messages with four types: recover-msg (recovered gateway), recover-update-msg "
    "(counterparty), recover-update-ack-msg (recovered gateway) and recover-success-msg (counterparty). Each MUST "
    "carry the hash of the one before it. A gateway that finds an inconsistency MUST send recover-dispute-msg instead "
    "of its next message."
)

PROOFS: Final = ProofTable({each.names[0]: each for each in (R30, R31, R29, R3, R36, R48, C6, C7, C14, C4, C16)})


def prove(name: str) -> Proof:
    """The proof of a finding: "R31". Misuse, with the names that there are, if it has none."""
    return PROOFS.find(name)
