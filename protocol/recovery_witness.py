"""What anybody can verify of a recovery who has the keys and both chains: who lacked what, and that both are equal now.

    Transfer-Resume      A came back, and says where it stands          rows of TABLE 2 are computed, not believed
    Transfer-Continue    B answers, and says where it stands
    RECOVER              A asks                                         each message names the one that it answers
    RECOVER-UPDATE       what A lacked: the messages go on where A's chain ended, up to the head that B had named
    RECOVER-UPDATE-ACK   what A has appended, and what B lacked
    RECOVER-SUCCESS      what B has appended: both chains have one head
    ROLLBACK, -ACK       in place of the last four: the receipts that prove what was undone

A recovery may end after its second message: nothing was lost, and the transfer goes on. `verify_recovery` is an
operation for test vectors. Refused with the code that a gateway would give, "" where a gateway would open a dispute.
"""

from __future__ import annotations

from protocol.errors import INSUFFICIENT_PERMISSIONS, INVALID_MESSAGE_TYPE, Refused
from protocol.facts import compare, verify_position
from protocol.messages import recovery as wire
from protocol.objects import Json
from protocol.operations import Operation
from protocol.recovery import Facts, MyLedger, MyLog, RecoveryRow, decide
from protocol.session import Session, read_receipt
from protocol.signing import Signed
from protocol.steps import Role
from protocol.witness import Witness

LINKS = {  # what names the message before it
    wire.TransferContinue: "hashPrevMessage",
    wire.Recover: "hashPrevMessage",
    wire.RecoverUpdate: "hashRecoverMessage",
    wire.RecoverUpdateAck: "hashRecoverUpdateMessage",
    wire.RecoverSuccess: "hashRecoverUpdateAckMessage",
    wire.RollbackAck: "hashPrevMessage",
}
ORDER = {  # what may follow
    wire.TransferResume: (wire.TransferContinue,),
    wire.TransferContinue: (wire.Recover, wire.Rollback),
    wire.Recover: (wire.RecoverUpdate,),
    wire.RecoverUpdate: (wire.RecoverUpdateAck,),
    wire.RecoverUpdateAck: (wire.RecoverSuccess,),
    wire.Rollback: (wire.RollbackAck,),
}
ENDINGS = {Role.SENDER: ("unlock", "expire"), Role.RECIPIENT: ("destroy",)}


def _refuse(words: str, expected: object = None, found: object = None, code: str = INVALID_MESSAGE_TYPE) -> Refused:
    return Refused(words, code=code, expected=expected, found=found)


class End:
    """One gateway: its chain of messages, as it grows."""

    def __init__(self, witness: Witness, role: Role) -> None:
        self.witness, self.role = witness, role
        self.recovered: list[str] = []

    @property
    def session(self) -> Session | None:
        return self.witness.session_of(self.role)

    def verify_stands(self, position: wire.Position) -> None:
        """Refused unless this is how far the chain of this end goes."""
        chain = self.witness.digests
        expected = (len(chain), chain[-1] if chain else None, self.role.value)
        found = (position.messages, position.headHash, position.role)
        if found != expected:
            raise _refuse("the position is not that of this chain", expected, found)

    def judge(self, own: wire.Position, peers: wire.Position) -> RecoveryRow:
        """What TABLE 2 says at this end."""
        return decide(Facts(MyLog(own.log), MyLedger(own.ledger), compare(self.session, peers)))

    def append(self, logs: list[str]) -> None:
        """Messages that were lost here come back; those that are here are passed over.

        A gateway that is shown what does not fit opens a dispute.
        """
        for compact in logs:
            try:
                if self.witness.verify_signed(compact).digest in self.witness.digests:
                    continue
                self.witness.read(compact)
            except Refused as refusal:
                raise _refuse(f"a recovered message does not fit: {refusal.reason}", code="") from refusal
            self.recovered.append(self.witness.digests[-1])


class RecoveryWitness:
    """Reads the messages of one recovery of one session, in order."""

    def __init__(self, shared: Json, before: Json) -> None:
        self._shared = shared
        self.ends: dict[str, End] = {}
        for role, name in zip(Role, before["gateways"], strict=True):
            witness = Witness(shared["gateways"], shared["networks"])
            for each in before[role.value]:
                witness.read(shared["messages"][each])
            self.ends[name] = End(witness, role)
        self.letters: Json = {role.value: "" for role in Role}
        self._session_id = before["sessionId"]
        self._last: tuple[Signed, wire.RecoveryMessage] | None = None
        self._positions: dict[str, wire.Position] = {}

    def read(self, compact: str) -> None:
        end = next(iter(self.ends.values()))
        signed = end.witness.verify_signed(compact)
        message = wire.parse_recovery(signed.payload)
        self._verify_order(signed, message)
        match message:
            case wire.TransferResume() | wire.TransferContinue():
                self._read_offer(signed.signer, message)
            case wire.Recover():
                self._verify_session(message.sessionId)
                if message.position is not None:
                    self.ends[signed.signer].verify_stands(message.position)
            case wire.RecoverUpdate():
                self._read_update(signed.signer, message)
            case wire.RecoverUpdateAck() | wire.RecoverSuccess():
                self._read_appended(signed.signer, message)
            case wire.Rollback() | wire.RollbackAck():
                self._verify_session(message.sessionId)
                self._verify_proofs(signed.signer, message)
        self._last = signed, message

    def _verify_order(self, signed: Signed, message: wire.RecoveryMessage) -> None:
        """A comes first, then both take turns; each message is one that may follow, and names the one before it."""
        if signed.signer not in self.ends:
            raise _refuse("neither of the two gateways", found=signed.signer, code=INSUFFICIENT_PERMISSIONS)
        if self._last is None:
            if not isinstance(message, wire.TransferResume):
                raise _refuse("a recovery begins with Transfer-Resume")
            return
        before, said = self._last
        if type(message) not in ORDER.get(type(said), ()):
            raise _refuse("this message does not follow that one", found=message.messageType)
        if signed.signer == before.signer:
            raise _refuse("the other one's turn", found=signed.signer, code=INSUFFICIENT_PERMISSIONS)
        name = LINKS.get(type(message))
        if name is not None and getattr(message, name) != before.digest:
            raise _refuse(f"{name} names another message", before.digest, getattr(message, name))

    def _verify_session(self, session_id: str) -> None:
        if session_id != self._session_id:
            raise _refuse("of another session", self._session_id, session_id)

    def _read_offer(self, signer: str, message: wire.TransferResume | wire.TransferContinue) -> None:
        end, other = self.ends[signer], next(name for name in self.ends if name != signer)
        if message.gatewayId != signer or getattr(message, "peerId", other) != other:
            raise _refuse("between other gateways", found=message.gatewayId, code=INSUFFICIENT_PERMISSIONS)
        told = [*message.sessions, *getattr(message, "notNamed", [])]
        position = next((each for each in told if each.sessionId == self._session_id), None)
        if position is not None:
            verify_position(position, self._session_id, None)
            end.verify_stands(position)
            self._positions[signer] = position
        if isinstance(message, wire.TransferContinue):
            assert self._last is not None and isinstance(self._last[1], wire.TransferResume)
            if message.nonce != self._last[1].nonce:
                raise _refuse("an answer to another offer", self._last[1].nonce, message.nonce)
            self._judge(signer, other)

    def _judge(self, answerer: str, asker: str) -> None:
        """Both rows, where both have named the session."""
        answer, offer = self._positions.get(answerer), self._positions.get(asker)
        if not isinstance(answer, wire.Answer) or offer is None:
            return
        row = self.ends[answerer].judge(answer, offer)
        if (row.letter, row.verdict.value) != (answer.decidedBy, answer.verdict):
            raise _refuse("TABLE 2 says something else", row, answer.decidedBy, code="")
        self.letters[self.ends[answerer].role.value] = row.letter
        self.letters[self.ends[asker].role.value] = self.ends[asker].judge(offer, answer).letter

    def _read_update(self, signer: str, message: wire.RecoverUpdate) -> None:
        self._verify_session(message.sessionId)
        self.ends[signer].verify_stands(message.position)
        asker = self._find_other(signer)
        asker.append(message.recoveredLogs)
        chain = asker.witness.digests
        if len(chain) < message.position.messages or message.position.headHash not in (None, *chain):
            raise _refuse("the messages do not lead to the head that was named", code="")

    def _read_appended(self, signer: str, message: wire.RecoverUpdateAck | wire.RecoverSuccess) -> None:
        self._verify_session(message.sessionId)
        end, other = self.ends[signer], self._find_other(signer)
        changed, shown = len(message.entriesChanged), len(end.recovered)  # entries of its own log, which nobody sees
        if changed != shown:
            raise _refuse("entriesChanged are not as many as the messages that were shown", shown, changed)
        if isinstance(message, wire.RecoverUpdateAck):
            other.append(message.recoveredLogs)
        if end.witness.digests != other.witness.digests:
            raise _refuse("the two chains are not equal", code="")

    def _find_other(self, signer: str) -> End:
        return next(end for name, end in self.ends.items() if name != signer)

    def _verify_proofs(self, signer: str, message: wire.Rollback | wire.RollbackAck) -> None:
        """Every proof is a receipt of the signer's network; a ROLLBACK has one that ended what it held."""
        end = self.ends[signer]
        network, networks = self._shared["gateways"][signer]["network"], end.witness.networks
        receipts = [read_receipt(each, network, networks, "proofs", INVALID_MESSAGE_TYPE) for each in message.proofs]
        found = [each["action"] for each in receipts if each["sessionId"] == self._session_id]
        if isinstance(message, wire.Rollback) and not set(found) & set(ENDINGS[end.role]):
            raise _refuse("no receipt ends what was held", ENDINGS[end.role], found)


def verify_recovery(given: Json, shared: Json) -> Json:
    """The messages of a recovery in order, by their names in `shared`, after both chains."""
    witness = RecoveryWitness(shared, given["before"])
    for name in given["recovery"]:
        witness.read(shared["messages"][name])
    ends = {end.role.value: end for end in witness.ends.values()}
    chains = [end.witness.digests for end in ends.values()]
    return {
        "letters": witness.letters,
        "recovered": {role: end.recovered for role, end in ends.items()},
        "heads": {role: end.witness.digests[-1] if end.witness.digests else None for role, end in ends.items()},
        "sameHead": chains[0] == chains[1],
    }


OPERATIONS: dict[str, Operation] = {
    "verify-recovery": verify_recovery,
}
