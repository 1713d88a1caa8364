"""Which crashes are vectors: some chosen from the lab's lists, some written by hand, and why each is there.

Chosen are one crash in every step and of every kind of loss, at either gateway and at both, so that each row of TABLE
2 that one crash can lead to decides somewhere, with different facts. Written are those that take more than a choice: a
second crash in the middle of the recovery, an abort, a lock that runs out, an old copy of a log put back.
"""

from __future__ import annotations

from protocol.scenarios import Scenario

CHOSEN: dict[str, Scenario] = {
    # nothing but the process: every stage, at either gateway
    "sender-before-1.1-arrives": Scenario("sender", "1.1", act=1),
    "sender-between-messages": Scenario("sender", "1.4", act=1),
    "sender-before-the-lock": Scenario("sender", "2.1", "before", act=2),
    "sender-after-the-lock": Scenario("sender", "2.1", act=2),
    "sender-2.2-lost-with-it": Scenario("sender", "2.2", act=1),
    "sender-before-the-burn": Scenario("sender", "3.4", "before", act=2),
    "sender-after-the-burn": Scenario("sender", "3.4", act=2),
    "sender-3.5-lost-with-it": Scenario("sender", "3.5", act=1),
    "sender-last-word-lost": Scenario("sender", "3.9", act=1),
    "recipient-after-1.1": Scenario("recipient", "1.1", act=1),
    "recipient-2.4-lost-with-it": Scenario("recipient", "2.4", act=1),
    "recipient-after-the-mint": Scenario("recipient", "3.2", act=2),
    "recipient-commit-ready-lost": Scenario("recipient", "3.3", act=1),
    "recipient-before-assigning": Scenario("recipient", "3.5", act=1),
    "recipient-after-assigning": Scenario("recipient", "3.6", act=2),
    "recipient-3.7-lost-with-it": Scenario("recipient", "3.7", act=1),
    "recipient-after-all": Scenario("recipient", "3.9", act=1),
    # both at once
    "both-proposal-never-sent": Scenario("both", "1.1", act=1),
    "both-in-stage-1": Scenario("both", "1.2", act=1),
    "both-after-the-lock": Scenario("both", "2.1", act=2),
    "both-commit-ready-under-way": Scenario("both", "3.3", act=1),
    "both-after-the-burn": Scenario("both", "3.4", act=2),
    "both-commit-final-under-way": Scenario("both", "3.5", act=1),
    "both-last-word-under-way": Scenario("both", "3.9", act=1),
    # the last entry of a log is lost
    "sender-forgets-the-proposal": Scenario("sender", "1.1", act=1, lost="last entry"),
    "sender-forgets-commit-ready": Scenario("sender", "3.3", act=1, lost="last entry"),
    "recipient-forgets-the-proposal": Scenario("recipient", "1.1", act=1, lost="last entry"),
    "recipient-forgets-commit-final": Scenario("recipient", "3.5", act=1, lost="last entry"),
    "both-forget-an-entry": Scenario("both", "3.4", act=1, lost="last entry"),
    # more of it
    "sender-forgets-and-has-burned": Scenario("sender", "3.4", act=2, lost="last 3 entries"),
    "recipient-forgets-its-promise": Scenario("recipient", "3.5", act=1, lost="last 3 entries"),
    "recipient-forgets-and-has-assigned": Scenario("recipient", "3.6", act=3, lost="last 3 entries"),
    "recipient-forgets-the-end": Scenario("recipient", "3.9", act=1, lost="last 3 entries"),
    "both-forget-and-one-forgets-more": Scenario("both", "2.3", act=1, lost="last 3 entries"),
    "both-forget-after-the-burn": Scenario("both", "3.4", act=2, lost="last 3 entries"),
    "both-forget-before-assigning": Scenario("both", "3.6", act=1, lost="last 3 entries"),
    # a whole log
    "sender-loses-its-log-in-stage-1": Scenario("sender", "1.3", act=1, lost="log"),
    "sender-loses-its-log-after-the-lock": Scenario("sender", "2.1", act=2, lost="log"),
    "sender-loses-its-log-after-the-burn": Scenario("sender", "3.4", act=2, lost="log"),
    "recipient-loses-its-log-after-the-mint": Scenario("recipient", "3.2", act=2, lost="log"),
    "recipient-loses-its-log-after-assigning": Scenario("recipient", "3.6", act=2, lost="log"),
    "both-lose-their-logs-before-the-lock": Scenario("both", "1.3", act=1, lost="log"),
    "both-lose-their-logs-after-the-lock": Scenario("both", "2.1", act=2, lost="log"),
    "both-lose-their-logs-after-the-mint": Scenario("both", "3.2", act=2, lost="log"),
    "both-lose-their-logs-after-the-burn": Scenario("both", "3.4", act=2, lost="log"),
    "both-lose-their-logs-after-assigning": Scenario("both", "3.6", act=2, lost="log"),
    # the signing key
    "sender-loses-its-key": Scenario("sender", "2.2", act=1, lost="key"),
    "sender-loses-its-key-before-anybody-knows-it": Scenario("sender", "1.1", act=1, lost="key"),
    "recipient-loses-its-key-when-prepared": Scenario("recipient", "3.3", act=1, lost="key"),
    "both-lose-their-keys": Scenario("both", "3.5", act=1, lost="key"),
    # from the beginning of the stage
    "from-the-stage-sender": Scenario("sender", "3.5", act=1, restart="stage"),
    "from-the-stage-recipient": Scenario("recipient", "3.7", act=1, restart="stage"),
    # a bad network
    "lossy-sender-burned": Scenario("sender", "3.4", act=2, network="lossy"),
    "lossy-recipient-loses-its-log": Scenario("recipient", "3.2", act=2, lost="log", network="lossy"),
    "doubling-recipient-prepared": Scenario("recipient", "3.3", act=1, network="doubling"),
    "doubling-sender-forgets": Scenario("sender", "3.1", act=1, lost="last 3 entries", network="doubling"),
}

STAGE_1 = "start 1.1 1.2 1.3 1.4"
LOCKED = f"{STAGE_1} 2.2"
AGREED = f"{LOCKED} 2.4"
PREPARED = f"{AGREED} 3.1"

WRITTEN: dict[str, tuple[str, str]] = {  # name: comment and text
    # crash in the recovery
    "again-while-coming-back": (
        "The sender crashes again right after it has counted its restart.",
        f"{AGREED} S.crash S.forget3 S.restart:a1 S.restart run",
    ),
    "again-while-taking-back": (
        "The sender has taken back one lost message and crashes; the rest it gets when it comes back again.",
        f"{PREPARED} S.crash S.forget S.restart run-until=recover-update R.recover-update:a1 S.restart run",
    ),
    "helper-crashes": (
        "The gateway that hands over the lost messages crashes after it was asked.",
        f"{PREPARED} S.crash S.forget S.restart run-until=recover -S.recover R.crash R.restart run",
    ),
    "again-in-the-middle-of-a-rollback": (
        "The lock has run out; the sender crashes again while it notes what the network has undone.",
        f"{LOCKED} S.crash wait S.restart run-until=transfer-continue R.transfer-continue:a2 S.restart run",
    ),
    # the connection, and an order that is late
    "only-the-connection": ("Nobody crashes: the connection is lost, and with it a message.", f"{LOCKED} S.cut run"),
    "burn-order-lands-late": (
        "The order to burn was on its way when the sender crashed, and lands while it is down.",
        f"{PREPARED} 3.3:b3 S.land S.restart run",
    ),
    # backing out
    "abort-begun": (
        "The sender wanted to leave, and crashed before it had undone anything.",
        f"{LOCKED} S.abort:a1 S.restart run",
    ),
    "abort-lost": ("The sender has left; its abort is lost with the crash.", f"{LOCKED} S.abort S.crash S.restart run"),
    "abort-while-the-peer-is-down": (
        "The recipient was down while the sender left.",
        f"{LOCKED} R.crash S.abort R.restart run",
    ),
    "abort-of-the-recipient": (
        "The recipient wanted to leave in stage 1, and crashed before it could say so.",
        f"{STAGE_1} R.abort:a1 R.restart run",
    ),
    "rolled-back": (
        "The recipient is prepared; the sender is down until its lock has run out, and proves that it has.",
        f"{PREPARED} S.crash wait S.restart run",
    ),
    "rolled-back-both-down": (
        "The same, and the recipient was down too: it may undo only with the receipt.",
        f"{PREPARED} S.crash R.crash wait R.restart S.restart run",
    ),
    "rollback-lost": (
        "The recipient never gets the first report of the rollback.",
        f"{PREPARED} S.crash wait S.restart run-until=rollback -S.rollback R.crash R.restart run",
    ),
    "lock-expired-while-the-log-was-lost": (
        "The sender has lost its log and its lock has run out: it takes the messages back, and then leaves.",
        f"{AGREED} S.crash S.forget wait S.restart run",
    ),
    "lock-expired-with-both-logs-lost": (
        "Nobody remembers the transfer but the networks; nothing is left to unlock.",
        f"{AGREED} S.crash R.crash S.forget R.forget wait S.restart R.restart run",
    ),
    "lock-expired-after-the-burn": (
        "The asset is burned, so there is no lock that could run out while the recipient is down.",
        f"{PREPARED} 3.3 R.crash wait R.restart run",
    ),
    "without-expiry": (
        "A HASH_LOCK does not run out, however long the sender is down.",
        f"HASH_LOCK; {PREPARED} S.crash wait wait S.restart run",
    ),
    # disputes
    "dispute": (
        "Both forget 1.2 and agree on another one; then an old copy of the sender's log is put back. Nobody is right.",
        "start run-until=1.3 S.keep-copy S.crash S.forget2 R.crash R.forget2 wait S.restart R.restart run-until=2.4 "
        "S.crash S.put-back S.restart run",
    ),
    "dispute-survives-a-crash": (
        "The same, and both crash once more: a frozen session stays frozen.",
        "start run-until=1.3 S.keep-copy S.crash S.forget2 R.crash R.forget2 wait S.restart R.restart run-until=2.4 "
        "S.crash S.put-back S.restart run S.crash R.crash R.restart S.restart run",
    ),
    "old-copy-of-a-log": (
        "An old copy of the sender's log is put back, and nothing contradicts it: the peer has the rest.",
        f"{STAGE_1} S.keep-copy run-until=3.5 S.crash S.put-back S.restart run",
    ),
}
