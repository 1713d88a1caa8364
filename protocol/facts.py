"""The three facts of TABLE 2: read off the own log, asked of the own network, compared with the peer's position.

Nothing is decided here and nothing changes. A position is the first two facts and the shared chain's length and
head, as they are told to the peer; the third fact is what comes of holding the peer's position against the own chain.

Messages of a transfer alternate: the odd ones are the sender's. So a gateway knows whose the next message is
before it has seen it, and can tell a message that was on its way from one that it has forgotten.
"""

from __future__ import annotations

from protocol.errors import INVALID_MESSAGE_TYPE, Refused
from protocol.journal import AssetNetwork
from protocol.messages.recovery import Position
from protocol.recovery import Facts, MyLedger, MyLog, Peer
from protocol.session import ANCHORS, Session
from protocol.steps import LAST, Role

_WORDS = {"live": MyLedger.HELD, "unknown": MyLedger.UNTOUCHED, "burned": MyLedger.FINAL, "assigned": MyLedger.FINAL}


def read_log(session: Session | None) -> MyLog:
    """The first fact."""
    if session is None:
        return MyLog.NOTHING
    if session.frozen:
        return MyLog.FROZEN
    if session.ending:
        return MyLog.LEFT if session.is_ended else MyLog.LEAVING
    if session.is_over:
        return MyLog.COMPLETE
    if not session.history:
        return MyLog.NOTHING
    if session.is_committed:
        return MyLog.COMMITTED
    return MyLog.PREPARED if session.is_prepared else MyLog.OPEN


def ask_ledger(network: AssetNetwork, session_id: str, role: Role) -> MyLedger:
    """The second fact: what became of the lock, or of the mint, whatever the log says."""
    return _WORDS.get(network.state(f"{session_id}/{ANCHORS[role]}"), MyLedger.UNDONE)


def compute_position(session: Session, ledger: MyLedger) -> Position:
    """What is told to the peer of a session."""
    rows = session.rows_done
    return Position(
        sessionId=session.id,
        satpPhase=rows[-1].stage if rows else 0,
        sequenceNumber=session.length,
        step=rows[-1].number if rows else None,
        role=session.role.value,
        messages=len(session.history),
        headHash=session.history.head,
        log=read_log(session).value,
        ledger=ledger.value,
        peerKey=session.keys.get(session.peer) if session.history else None,
    )


def compute_no_position(session_id: str, role: Role, ledger: MyLedger) -> Position:
    """The same for a session that the log does not know; the own network may."""
    return Position(
        sessionId=session_id,
        satpPhase=0,
        sequenceNumber=0,
        role=role.value,
        messages=0,
        log=MyLog.NOTHING.value,
        ledger=ledger.value,
    )


def verify_position(position: Position, session_id: str, session: Session | None) -> None:
    """Refused for what cannot be the peer's position in this session, wherever that stands."""
    expected = {"sessionId": session_id, "role": session.role.other.value if session is not None else position.role}
    for name, value in expected.items():
        if getattr(position, name) != value:
            words, found = f"mismatch position.{name}", getattr(position, name)
            raise Refused(words, code=INVALID_MESSAGE_TYPE, field=f"position.{name}", expected=value, found=found)
    if (position.messages == 0) != (position.headHash is None):
        raise Refused("a chain without a head, or a head without a chain", code=INVALID_MESSAGE_TYPE, field="position")


def compare(session: Session | None, position: Position) -> Peer:
    """The third fact. `position` is the peer's, signed by it."""
    chain = [version.name for version in session.history] if session is not None else []
    mine, theirs = len(chain), position.messages
    if MyLog(position.log) is MyLog.FROZEN:
        return Peer.FROZEN
    if 0 < theirs <= mine and chain[theirs - 1] != position.headHash:
        return Peer.FORKED
    distance = _compare_lengths(mine, position)
    has_forgotten = distance is Peer.BEHIND and MyLedger(position.ledger) is not MyLedger.UNDONE
    if has_left(position) and not (MyLog(position.log) is MyLog.LEAVING and has_forgotten):
        return Peer.LEFT  # a wish to leave that is older than messages of the peer's own was given up since
    return distance


def _compare_lengths(mine: int, position: Position) -> Peer:
    """Which of two chains is longer, and whether the difference can have been on the way."""
    theirs = position.messages
    if mine == theirs:
        if mine:
            return Peer.SAME
        is_burned = Role(position.role) is Role.SENDER and MyLedger(position.ledger) is MyLedger.FINAL
        return Peer.BURNED if is_burned else Peer.UNKNOWN
    is_peers = _is_authored_by(position.role, max(mine, theirs))  # the first message that one of us lacks, if it is one
    if mine - theirs == 1:
        return Peer.BEHIND if is_peers else Peer.LACKS_LAST
    if theirs - mine == 1:
        return Peer.HAS_NEXT if is_peers else Peer.AHEAD
    return Peer.BEHIND if mine > theirs else Peer.AHEAD


def has_left(position: Position) -> bool:
    """Whether the peer's position says that it has taken back its part, or is about to and still can.

    A recipient that holds a mint cannot on its own: its wish is older than the mint, and was given up since.
    """
    log, ledger = MyLog(position.log), MyLedger(position.ledger)
    if (log, ledger, Role(position.role)) == (MyLog.LEAVING, MyLedger.HELD, Role.RECIPIENT):
        return False
    return ledger is MyLedger.UNDONE or (log in (MyLog.LEAVING, MyLog.LEFT) and ledger is not MyLedger.FINAL)


def ask_facts(network: AssetNetwork, session: Session | None, position: Position) -> Facts:
    """All three, for a session that may be unknown here. `position` is the peer's."""
    role = session.role if session is not None else Role(position.role).other
    ledger = ask_ledger(network, position.sessionId, role)
    return Facts(read_log(session), ledger, compare(session, position))


def compute_next_step(session: Session) -> str | None:
    """Step X: the first row of TABLE 1 that this gateway cannot see as done; None where there is none."""
    row = session.next_row
    is_open = session.orphan is None and not session.ending and not session.frozen and LAST.number not in session.done
    return row.number if row is not None and is_open else None


def _is_authored_by(role: str, number: int) -> bool:
    """Whether the message with this number, counted from 1, is this role's."""
    return (number % 2 == 1) == (role == Role.SENDER)
