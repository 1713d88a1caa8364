"""TABLE 2: what a session does after a crash. It decides the way back and the way on, and nothing else does.

Three witnesses, three facts:

    my log      what I intended, and what was agreed
    my ledger   what happened on my network: the lock of a sender, the mint of a recipient
    the peer    what it holds of the chain of messages that we share, and how the session ended there

Rows have letters. Exactly one row matches each combination of facts; a test tries all 320. Each row has a verdict,
in the thread's words ("wish to proceed or back out, or indeed don't recognise the transactions"), what is exchanged
before step X, and a paragraph that names the crash which leads there.

Both gateways read the same table: who crashed does not matter, and neither does who is sender. Pure: a fact is
computed elsewhere (reconcile.py), and what a row asks for is done elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MyLog(StrEnum):
    """What the own log says of the session."""

    NOTHING = "nothing"  # no entry: never heard of it, or the log is lost
    OPEN = "open"  # under way; this gateway may still leave
    PREPARED = "prepared"  # recipient: commit-ready is logged, only a receipt of the origin network frees it
    COMMITTED = "committed"  # the burn is known to have happened
    LEAVING = "leaving"  # backing out was begun
    LEFT = "left"  # backed out, everything undone
    COMPLETE = "complete"
    FROZEN = "frozen"  # in dispute


class MyLedger(StrEnum):
    """What the own network says: of the lock if this gateway is the sender, of the mint if it is the recipient."""

    UNTOUCHED = "untouched"  # there is none
    HELD = "held"  # the lock is live; the minted asset is held
    FINAL = "final"  # burned; assigned
    UNDONE = "undone"  # unlocked or expired; destroyed


class Peer(StrEnum):
    """What the peer holds, compared with the own log."""

    UNKNOWN = "unknown"  # neither side has a message of this session
    SAME = "same"  # the same messages
    LACKS_LAST = "lacks last"  # all but the last one, which is mine: it never arrived
    HAS_NEXT = "has next"  # one more, which is its own: it never arrived here
    BEHIND = "behind"  # it lacks more than was on the way: it lost entries, or its whole log
    AHEAD = "ahead"  # it has more than was on the way: I lost entries, or my whole log
    LEFT = "left"  # it has backed out or is about to; its lock is over, or its mint destroyed
    BURNED = "burned"  # neither has a message, and its network has burned the asset
    FORKED = "forked"  # another message where I have one
    FROZEN = "frozen"  # it has frozen the session


class Verdict(StrEnum):
    """The thread's answers to an offer, and one more for what cannot be reconciled."""

    CONTINUE = "continue"
    COMPLETE = "complete"
    BACK_OUT = "back out"
    UNKNOWN = "unknown"
    DISPUTE = "dispute"


class Exchange(StrEnum):
    """What is said before step X."""

    NOTHING = "nothing"  # step X says it all: a repeated message, or the next one
    RECOVER = "RECOVER"  # what one side lacks and the other has: messages, or the receipts of an undoing
    ROLLBACK = "ROLLBACK"  # I undo, and report it with receipts
    DISPUTE = "RECOVER-DISPUTE"  # I freeze, and say why


@dataclass(frozen=True)
class Facts:
    """What the three witnesses say."""

    log: MyLog
    ledger: MyLedger
    peer: Peer

    @property
    def words(self) -> tuple[str, str, str]:
        return self.log.value, self.ledger.value, self.peer.value

    def __repr__(self) -> str:
        return f"my log: {self.log}; my ledger: {self.ledger}; the peer: {self.peer}"


Case = tuple[frozenset[MyLog], frozenset[MyLedger], frozenset[Peer]]


@dataclass(frozen=True)
class RecoveryRow:
    """One row. `cases` are products of facts; `why` names the crash that leads here."""

    letter: str
    title: str
    cases: tuple[Case, ...]
    verdict: Verdict
    exchange: Exchange
    why: str

    def matches(self, facts: Facts) -> bool:
        return any(
            facts.log in logs and facts.ledger in books and facts.peer in peers for logs, books, peers in self.cases
        )

    def __repr__(self) -> str:
        return f"row {self.letter}: {self.title} -> {self.verdict}"


def _case(
    logs: MyLog | set[MyLog] | type[MyLog],
    books: MyLedger | set[MyLedger] | type[MyLedger],
    peers: Peer | set[Peer] | type[Peer],
) -> Case:
    return (
        frozenset([logs] if isinstance(logs, MyLog) else logs),
        frozenset([books] if isinstance(books, MyLedger) else books),
        frozenset([peers] if isinstance(peers, Peer) else peers),
    )


NOTHING, OPEN, PREPARED, COMMITTED = MyLog.NOTHING, MyLog.OPEN, MyLog.PREPARED, MyLog.COMMITTED
LEAVING, LEFT, COMPLETE, FROZEN = MyLog.LEAVING, MyLog.LEFT, MyLog.COMPLETE, MyLog.FROZEN
UNTOUCHED, HELD, FINAL, UNDONE = MyLedger.UNTOUCHED, MyLedger.HELD, MyLedger.FINAL, MyLedger.UNDONE

ON_THE_WAY = {Peer.SAME, Peer.LACKS_LAST, Peer.HAS_NEXT}  # at most one message is missing, and it was on the link
GAP = {Peer.BEHIND, Peer.AHEAD}
STRANGER = {Peer.UNKNOWN, Peer.HAS_NEXT, Peer.LEFT}
NOT_UNDONE = {UNTOUCHED, HELD, FINAL}
THERE = {HELD, FINAL}
GONE = {UNTOUCHED, UNDONE}

TABLE_2: tuple[RecoveryRow, ...] = (
    RecoveryRow(
        "A",
        "one message was on its way",
        (_case(OPEN, NOT_UNDONE, ON_THE_WAY),),
        Verdict.CONTINUE,
        Exchange.NOTHING,
        "The recipient crashed before commit-ready, or the sender before it knew of its burn, and lost nothing but its "
        "memory: between two durable acts, or with a message on the link. Both hold the same chain but for that "
        "message. Whoever has a step to do does it; otherwise the last message is said again and gets the stored "
        "reply. If the ledger is ahead of the log, the crash came between the action and its outcome, and the receipt "
        "was fetched before this row was read.",
    ),
    RecoveryRow(
        "B",
        "the recipient is prepared and waits",
        (_case(PREPARED, THERE, ON_THE_WAY),),
        Verdict.CONTINUE,
        Exchange.NOTHING,
        "Commit-ready was logged; it, or the commit-final that answers it, may be lost. The sender may have burned "
        "and crashed before it could tell. So the recipient says commit-ready again and waits, however long it takes: "
        "rolling back here is how the draft's figure 5.4.3 loses the asset (R31).",
    ),
    RecoveryRow(
        "C",
        "after the burn only forward",
        (_case(COMMITTED, THERE, ON_THE_WAY), _case(LEAVING, FINAL, ON_THE_WAY)),
        Verdict.CONTINUE,
        Exchange.NOTHING,
        "The sender crashed after the burn, or the recipient with commit-final in its log. Or the sender wanted to "
        "back out and its network says that the burn had happened before: an entry is an intent, the ledger decides. "
        "Nothing can be taken back; commit-final, or its answer, is said again until the transfer is complete (R30).",
    ),
    RecoveryRow(
        "D",
        "complete; the last word may be missing over there",
        (_case(COMPLETE, FINAL, ON_THE_WAY),),
        Verdict.COMPLETE,
        Exchange.NOTHING,
        "The sender said 3.9, which has no answer (C10), and it was lost with the recipient's crash or its own. It is "
        "said once more; nothing hangs on it.",
    ),
    RecoveryRow(
        "E",
        "I lost entries",
        (
            _case({OPEN, LEAVING}, MyLedger, Peer.AHEAD),
            _case({PREPARED, COMMITTED}, THERE, Peer.AHEAD),
        ),
        Verdict.CONTINUE,
        Exchange.RECOVER,
        "The tail of my log was not on the disk after all, or an old copy of it was put back. The peer holds messages "
        "that I signed and no longer know. Before I say anything I take them back: a gateway that has forgotten its "
        "commit-ready believes that it may leave, and a wish to leave that an old copy remembers is one that I have "
        "given up since. My private entries I rebuild from my own ledger.",
    ),
    RecoveryRow(
        "F",
        "the peer lost entries",
        (
            _case(OPEN, NOT_UNDONE, Peer.BEHIND),
            _case({PREPARED, COMMITTED}, THERE, Peer.BEHIND),
            _case(LEAVING, FINAL, Peer.BEHIND),
        ),
        Verdict.CONTINUE,
        Exchange.RECOVER,
        "The same at the other side. The difference goes both ways (the draft's goes one way: R24); the peer's own "
        "signatures are among what it gets, so it need not trust me.",
    ),
    RecoveryRow(
        "G",
        "complete; the peer lost entries",
        (_case(COMPLETE, FINAL, Peer.BEHIND),),
        Verdict.COMPLETE,
        Exchange.RECOVER,
        "The peer lost the tail of its log, or all of it, after everything was done. It gets the chain up to 3.9 and "
        "closes the session.",
    ),
    RecoveryRow(
        "H",
        "my log is lost, the peer kept the chain",
        (_case(NOTHING, MyLedger, Peer.AHEAD),),
        Verdict.CONTINUE,
        Exchange.RECOVER,
        "The disk is gone. The peer names the session and hands over the whole chain, verified signature by "
        "signature, my own included; my intents and outcomes come from my ledger, by operation id.",
    ),
    RecoveryRow(
        "I",
        "never heard of it",
        (_case(NOTHING, UNTOUCHED, STRANGER), _case(NOTHING, THERE, Peer.HAS_NEXT)),
        Verdict.UNKNOWN,
        Exchange.NOTHING,
        "The sender logged its proposal and crashed before it was sent, the draft's own first example (R48), or the "
        "proposal was lost. The signed answer unknown lets it propose again, with the same bytes. If both sides lost "
        "all but the proposal, that is where they begin; what the networks did already they do not do twice.",
    ),
    RecoveryRow(
        "J",
        "my lock is over, or my mint is taken back",
        (_case(OPEN, UNDONE, ON_THE_WAY | {Peer.BEHIND, Peer.LEFT}),),
        Verdict.BACK_OUT,
        Exchange.ROLLBACK,
        "The sender was down when its lock expired: the asset is free again, and no burn can land any more. Or the "
        "tail of a log is lost that said why an action was undone. The receipt in hand, the gateway says so.",
    ),
    RecoveryRow(
        "K",
        "I was backing out",
        (_case(LEAVING, {UNTOUCHED, HELD, UNDONE}, ON_THE_WAY | {Peer.BEHIND, Peer.LEFT, Peer.UNKNOWN}),),
        Verdict.BACK_OUT,
        Exchange.ROLLBACK,
        "The crash came in the middle of a rollback (R34). Its steps are in the log, each can be repeated, and it goes "
        "on where it stopped: cancel what may still land, undo, report. A recipient whose network holds a mint gives "
        "the wish up, unless the peer's receipt came: it may have said commit-ready and forgotten it.",
    ),
    RecoveryRow(
        "L",
        "I have backed out",
        (_case(LEFT, GONE, ON_THE_WAY | GAP | {Peer.LEFT, Peer.UNKNOWN}),),
        Verdict.BACK_OUT,
        Exchange.ROLLBACK,
        "The abort or the ROLLBACK was lost, or its reader crashed before it had logged it. The stored one is said "
        "again, with the receipts.",
    ),
    RecoveryRow(
        "M",
        "the peer has backed out",
        (_case(OPEN, {UNTOUCHED, HELD}, Peer.LEFT), _case(PREPARED, {HELD, UNDONE}, Peer.LEFT)),
        Verdict.BACK_OUT,
        Exchange.RECOVER,
        "I was down while the peer aborted, or its lock expired. I ask, and get ROLLBACK with the receipts; only they "
        "free a prepared recipient. Then I undo what is mine and acknowledge. A peer whose network allows no undoing "
        "yet cannot report yet: I ask again.",
    ),
    RecoveryRow(
        "N",
        "both logs are lost, and nothing is final",
        (_case(NOTHING, HELD, {Peer.UNKNOWN, Peer.LEFT}), _case(NOTHING, UNDONE, STRANGER)),
        Verdict.BACK_OUT,
        Exchange.ROLLBACK,
        "Only the networks remember. A lock names session, peer and beneficiary, but the proposal is gone, so nobody "
        "can go on. The sender has its burn refused for good and unlocks; the recipient destroys its mint when it "
        "sees the receipt of that.",
    ),
    RecoveryRow(
        "O",
        "both logs are lost, and the asset is burned",
        (
            _case(NOTHING, THERE, Peer.BURNED),
            _case({NOTHING, LEAVING}, FINAL, Peer.UNKNOWN),
            _case(COMPLETE, FINAL, {Peer.UNKNOWN, Peer.BURNED}),
        ),
        Verdict.COMPLETE,
        Exchange.RECOVER,
        "The burn names the beneficiary, and the mint is held for the same session. The recipient gets the receipt of "
        "the burn and assigns: what the ledgers alone allow, and it is enough.",
    ),
    RecoveryRow(
        "P",
        "one side is final and the other has left",
        (
            _case({OPEN, PREPARED, LEAVING, NOTHING}, FINAL, Peer.LEFT),
            _case({COMMITTED, COMPLETE}, MyLedger, Peer.LEFT),
            _case({NOTHING, LEAVING, LEFT}, GONE, Peer.BURNED),
        ),
        Verdict.DISPUTE,
        Exchange.DISPUTE,
        "Burned here and taken back there, or assigned here and free there. No crash leads here while the rules hold; "
        "a gateway that serves before it has reconciled a lost log does. No ledger is touched any more.",
    ),
    RecoveryRow(
        "Q",
        "two chains, or frozen over there",
        (_case(set(MyLog) - {FROZEN}, MyLedger, {Peer.FORKED, Peer.FROZEN}),),
        Verdict.DISPUTE,
        Exchange.DISPUTE,
        "Two different messages follow the same one. Between honest gateways both must have forgotten, and one of "
        "them must have got an old copy of its log back. Both versions are kept, signed; a human decides.",
    ),
    RecoveryRow(
        "R",
        "frozen here",
        (_case(FROZEN, MyLedger, Peer),),
        Verdict.DISPUTE,
        Exchange.DISPUTE,
        "A dispute survives every crash.",
    ),
    RecoveryRow(
        "Z",
        "facts that no crash leaves behind",
        (
            _case(NOTHING, MyLedger, {Peer.SAME, Peer.LACKS_LAST, Peer.BEHIND}),
            _case({OPEN, PREPARED, COMMITTED}, MyLedger, {Peer.UNKNOWN, Peer.BURNED}),
            _case(LEAVING, THERE, Peer.BURNED),
            _case(LEFT, THERE, {Peer.UNKNOWN, Peer.BURNED}),
            _case(COMPLETE, {UNTOUCHED, HELD, UNDONE}, {Peer.UNKNOWN, Peer.BURNED}),
            _case(PREPARED, GONE, ON_THE_WAY | GAP),
            _case(PREPARED, UNTOUCHED, Peer.LEFT),
            _case(COMMITTED, GONE, ON_THE_WAY | GAP),
            _case(LEFT, THERE, ON_THE_WAY | GAP | {Peer.LEFT}),
            _case(COMPLETE, {UNTOUCHED, HELD, UNDONE}, ON_THE_WAY | GAP),
            _case(COMPLETE, FINAL, Peer.AHEAD),
        ),
        Verdict.DISPUTE,
        Exchange.DISPUTE,
        "The log says that commit-ready went out, and the network knows no mint; a session that is complete, and an "
        "asset that is still locked. A network that forgets, a log that was edited, a mistake in this program: it is "
        "not for a program to guess which.",
    ),
)

_BY_LETTER = {row.letter: row for row in TABLE_2}
_BY_FACTS = {
    facts: row
    for facts in (Facts(log, ledger, peer) for log in MyLog for ledger in MyLedger for peer in Peer)
    for row in TABLE_2
    if row.matches(facts)
}


def decide(facts: Facts) -> RecoveryRow:
    """The row for these facts; there is exactly one."""
    return _BY_FACTS[facts]


def find_recovery_row(letter: str) -> RecoveryRow:
    return _BY_LETTER[letter]
