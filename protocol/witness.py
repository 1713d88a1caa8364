"""What anybody can verify of a transfer who has the keys, and no gateway: its messages in order, a log as lines.

A witness stands at both ends. Each message is judged by the session of the gateway that received it, with the rules
by which that gateway judged it; then both sessions take it. Actions on the ledgers are not in the messages: a witness
believes that a gateway has done what its next message says or takes for granted. Receipts inside are verified. It
reads later, so a lock that has run out since is no reason to refuse.

`verify_transfer` and `verify_log` are operations for test vectors: JSON in, JSON out. Refused, with the document's
code, for a message that its receiver would have refused. A broken log has no code in the documents: it is an output.
"""

from __future__ import annotations

import tempfile
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Final

from protocol.errors import BAD_SIGNATURE, INVALID_MESSAGE_TYPE, Misuse, Refused, satp_code
from protocol.lines import Lines, read_lines
from protocol.log import BrokenChain, LogEntry, Operation, compose_entry, is_end, verify_signature
from protocol.messages.satp import VERSION, ErrorMessage, Message, SessionAbort, TransferProposal, parse_message
from protocol.negotiation import Capabilities, Identity, verify_proposal
from protocol.objects import Json
from protocol.operations import Operation as Asked
from protocol.session import Session
from protocol.signing import BadSignature, KeyPair, KeyRing, NotSigned, PublicKey, Signed
from protocol.steps import LAST, TABLE_1, Role, Row, find_row_of_type

LONG_AGO: Final = ""  # before every RFC 3339 time: at this time no lock has run out


class Reader:
    """One end of a transfer: the session of the gateway there, brought forward message by message."""

    def __init__(self, session_id: str, gateway_id: str) -> None:
        self.session = Session(session_id, gateway_id)
        self._last: LogEntry | None = None

    def take(self, row: Row, signed: Signed) -> None:
        self._write(row, {"message": signed.compact, "author": signed.signer}, signed)

    def judge(self, message: Message, row: Row, signed: Signed, networks: KeyRing, now: str) -> None:
        """Refused unless this gateway would take the message as the next step. `now` is RFC 3339."""
        if signed.signer == self.session.gateway_id:
            raise Refused("the own key is no peer's", code=BAD_SIGNATURE, found=signed.kid)
        if isinstance(message, TransferProposal):
            raise Refused("the session exists", code=satp_code("1.1", "sessionId"), found=message.sessionId)
        if message.sessionId != self.session.id:
            raise Refused("unknown session", code=satp_code(row.number, "sessionId"), found=message.sessionId)
        self.session.verify_peer(signed.signer)
        self.session.verify_key(signed)
        self.believe_own_actions(row)
        self.session.verify_follows(message, row, networks, now)

    def believe_own_actions(self, before: Row) -> None:
        """What this gateway must have done by now, for the next message to be its peer's."""
        while (row := self.session.next_row) is not None and row.is_action and row.number < before.number:
            self._write(row, {"receipt": {}, "signed": ""}, None)

    def _write(self, row: Row, payload: Json, signed: Signed | None) -> None:
        fields = {
            "version": VERSION,
            "sessionId": self.session.id,
            "contextId": self.session.context,
            "gatewayId": self.session.gateway_id,
            "satpPhase": row.stage,
            "step": row.number,
            "operation": Operation.DONE,
            "timestamp": "",
            "payload": payload,
        }
        self._last = compose_entry(self._last, fields)
        self.session.apply(self._last, signed)


class Witness:
    """Reads the messages of one transfer, in order."""

    def __init__(self, gateways: Json, networks: Json) -> None:
        keys = {name: PublicKey.from_jwk(gateway["key"]) for name, gateway in gateways.items()}
        self._identities = {
            name: Identity(name, gateways[name]["network"], KeyPair(name, key.key)) for name, key in keys.items()
        }
        self._keys = KeyRing(keys.items())
        self.networks = KeyRing((name, PublicKey.from_jwk(jwk)) for name, jwk in networks.items())
        self.ends: dict[Role, Reader] = {}
        self.rows: list[Row] = []
        self.digests: list[str] = []

    def read(self, compact: str) -> None:
        """The next message. Refused as its receiver would, and nothing is taken."""
        signed = self.verify_signed(compact)
        message = parse_message(signed.payload)
        if isinstance(message, ErrorMessage | SessionAbort):
            raise Refused("this message is no step of a transfer", code=INVALID_MESSAGE_TYPE)
        row = find_row_of_type(message.messageType)
        if self.ends:
            self.ends[row.actor.other].judge(message, row, signed, self.networks, LONG_AGO)
        elif isinstance(message, TransferProposal):
            self._begin(message, signed)
        else:
            raise Refused("unknown session", code=satp_code(row.number, "sessionId"), found=message.sessionId)
        for end in self.ends.values():
            end.believe_own_actions(row)
            end.take(row, signed)
        self.rows.append(row)
        self.digests.append(signed.digest)

    def session_of(self, role: Role) -> Session | None:
        """The transfer as one of the two gateways has it; None before the first message."""
        return self.ends[role].session if self.ends else None

    def verify_signed(self, compact: str) -> Signed:
        """Form, key and signature."""
        try:
            return self._keys.verify(compact)
        except BadSignature as error:
            raise Refused(error.reason, code=BAD_SIGNATURE, found=error.found) from error
        except NotSigned as error:
            raise Refused(error.reason, code=INVALID_MESSAGE_TYPE, found=error.found) from error

    def _begin(self, proposal: TransferProposal, signed: Signed) -> None:
        claim = proposal.transferInitClaim
        if claim.recipientGatewayId not in self._identities:
            code = satp_code("1.1", "recipientGatewayId")
            raise Refused("invalid recipientGatewayId", code=code, found=claim.recipientGatewayId)
        verify_proposal(proposal, signed, self._identities[claim.recipientGatewayId], Capabilities())
        self.ends = {
            Role.SENDER: Reader(proposal.sessionId, claim.senderGatewayId),
            Role.RECIPIENT: Reader(proposal.sessionId, claim.recipientGatewayId),
        }

    @property
    def next_message(self) -> str | None:
        """The step of the message that comes next; None when the transfer is complete."""
        messages = [row for row in TABLE_1 if not row.is_action]
        place = len(self.rows)
        return messages[place].number if place < len(messages) else None


def verify_transfer(given: Json, shared: Json) -> Json:
    """The messages of a transfer in order, by their names in `shared`."""
    witness = Witness(shared["gateways"], shared["networks"])
    if not given["messages"]:
        raise Misuse("a transfer has at least its proposal")
    for name in given["messages"]:
        witness.read(shared["messages"][name])
    return {
        "steps": [row.number for row in witness.rows],
        "digests": witness.digests,
        "head": witness.digests[-1],
        "stage": witness.rows[-1].stage,
        "next": witness.next_message,
        "isComplete": witness.rows[-1] is LAST,
    }


# ---------------------------------------------------------------------- a log as lines


def verify_log(given: Json, shared: Json) -> Json:
    """A file of lines: whole, torn at its end, or broken; with `keys`, the signatures of its entries too."""
    content = given["text"].encode() if "text" in given else _decode(given["bytes"])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log.jsonl"
        path.write_bytes(content)
        try:
            found = read_lines(path)
            if "keys" in given:
                _verify_signatures(found, shared["keys"], given["keys"])
        except BrokenChain as broken:
            if broken.line:
                return {"standing": "broken", "line": broken.line}
            place = {"sessionId": broken.session_id, "entry": broken.entry}
            return {"standing": "broken", "field": broken.field, **place}
    sessions = [_describe_session(name, entries) for name, entries in found.sessions.items()]
    if found.torn is None:
        return {"standing": "whole", "sessions": sessions}
    return {"standing": "torn", "line": found.torn_line, "sessions": sessions}


def _verify_signatures(found: Lines, keys: Json, names: list[str]) -> None:
    ring = KeyRing((name, PublicKey.from_jwk(keys[name])) for name in names)
    for session_id, entries in found.sessions.items():
        for entry in entries:
            try:
                verify_signature(entry, ring)
            except Refused as refusal:
                words = f"entry {entry.sequenceNumber}: {refusal.reason}"
                raise BrokenChain(
                    words, field="messageSignature", session_id=session_id, entry=entry.sequenceNumber
                ) from refusal


def _describe_session(session_id: str, entries: list[LogEntry]) -> Json:
    return {
        "sessionId": session_id,
        "gatewayId": entries[0].gatewayId,
        "entries": len(entries),
        "head": entries[-1].compute_hash(),
        "isOpen": not any(map(is_end, entries)),
    }


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


OPERATIONS: dict[str, Asked] = {
    "verify-transfer": verify_transfer,
    "verify-log": verify_log,
}
