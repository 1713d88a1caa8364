"""What the ledgers alone allow, when the logs of both gateways are lost.

A receipt names session, peer, asset and beneficiary. So a lock or a mint that still holds an asset tells that there
was a session, and with whom; the proposal, and everything that was signed, is gone. Nobody can go on with such an
orphan. But it need not be lost:

    the asset is not burned   the sender has its burn refused for good and unlocks; with that receipt the recipient
                              destroys its mint
    the asset is burned       the receipt of the burn names the beneficiary; with it the recipient assigns

Every restart searches for orphans. A log need not be empty to have forgotten a session: the last entries may be all
that there was of it, or the gateway crashed once more after it had found the first of many.
"""

from __future__ import annotations

from protocol.errors import INSUFFICIENT_PERMISSIONS, Refused
from protocol.journal import Journal, Work
from protocol.ledger import LedgerRefused, Receipt
from protocol.log import Operation
from protocol.session import ANCHORS, Session
from protocol.signing import KeyRing
from protocol.steps import Role, find_row

ROLE_OF = {"lock": Role.SENDER, "mint": Role.RECIPIENT}


class Salvage:
    """Finds the orphans of one gateway, and ends those that are burned."""

    def __init__(self, journal: Journal, networks: KeyRing) -> None:
        self._journal = journal
        self._networks = networks

    def find_all(self) -> list[Session]:
        """A session for every lock and every mint that holds an asset of which the log knows nothing."""
        actions = self._journal.network.actions_of(self._journal.identity.gateway_id)
        anchors = [receipt for receipt in actions if receipt.action in ROLE_OF]
        held = [receipt for receipt in anchors if self._journal.network.end_of(receipt.operationId) is None]
        readable = [receipt for receipt in held if not self._journal.is_damaged(receipt.sessionId)]
        unknown = [receipt for receipt in readable if self._journal.find(receipt.sessionId) is None]
        with self._journal.together(len(unknown)):
            return [self._open(receipt) for receipt in unknown]

    def find(self, session_id: str, role: Role) -> Session | None:
        """One session that the log does not know and the own network does, also if its lock or mint has ended."""
        receipt = self._journal.network.receipt(f"{session_id}/{ANCHORS[role]}")
        return self._open(receipt) if receipt is not None else None

    def verify_between(self, session_id: str, peer: str) -> None:
        """Refused if the own network knows a session that the log does not know as one between others."""
        network, own = self._journal.network, self._journal.identity.gateway_id
        names = (f"{session_id}/{anchor}" for anchor in ANCHORS.values())
        for receipt in [network.receipt(name) for name in names if network.state(name) != "unknown"]:
            if receipt is not None and (receipt.gateway, receipt.peer) != (own, peer):
                raise Refused("the session is one between others", code=INSUFFICIENT_PERMISSIONS, found=peer)

    def _open(self, receipt: Receipt) -> Session:
        session = Session(receipt.sessionId, self._journal.identity.gateway_id)
        self._journal.write_receipt(session, find_row(ANCHORS[ROLE_OF[receipt.action]]), receipt)
        return session

    def list_receipts(self, session_id: str) -> list[str]:
        """The words of the own network about a session, signed by it, oldest first."""
        actions = self._journal.network.actions_of(self._journal.identity.gateway_id, session_id)
        return [receipt.signed for receipt in actions]

    def is_burned(self, session: Session, receipts: list[str]) -> bool:
        """Whether these receipts show the burn that an orphan waits for.

        Refused for what is no receipt of the peer's network.
        """
        is_waiting = session.orphan is not None and session.role is Role.RECIPIENT and not session.is_over
        return is_waiting and session.find_end_of_lock(receipts, self._networks, ("burn",)) is not None

    def complete(self, session: Session) -> Work[None]:
        """Assign the asset of an orphan whose burn was shown, and end it."""
        try:
            yield from self._journal.do(session, find_row("3.6"))
        except LedgerRefused:
            return  # logged as failed; the asset is not under our mint any more
        self._journal.write(session, session.rows_done[-1], Operation.DONE, {"ended": True}, closes=True)
