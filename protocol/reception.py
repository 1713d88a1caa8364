"""What a gateway says to one message, at its place in a transfer and at a time: a step, or a refusal with its code.

A witness has read the messages before it; then the receiving gateway's end of the transfer judges the next one, in
the order in which a gateway does it: signature, form, session, peer, key, links, claims, time. What the receiver has
done on its own network is believed. Repeated messages, errors and aborts are no steps; they are not judged here.

`receive_message` is an operation for test vectors: JSON in, JSON out.
"""

from __future__ import annotations

from protocol.errors import BAD_SIGNATURE, INVALID_MESSAGE_TYPE, Refused, satp_code
from protocol.messages.satp import ErrorMessage, SessionAbort, TransferProposal, parse_message
from protocol.negotiation import Capabilities, verify_proposal
from protocol.objects import Json
from protocol.operations import Operation
from protocol.signing import Signed
from protocol.steps import FIRST, Row, find_row_of_type
from protocol.witness import Reader, Witness


class Receiver(Witness):
    """A witness who then stands at one end."""

    def judge(self, compact: str, gateway_id: str, now: str) -> tuple[Row, Signed]:
        """The row that the message takes. Refused as this gateway would. `now` is RFC 3339."""
        signed = self.verify_signed(compact)
        if signed.signer == gateway_id:
            raise Refused("the own key is no peer's", code=BAD_SIGNATURE, found=signed.kid)
        message = parse_message(signed.payload)
        if isinstance(message, ErrorMessage | SessionAbort):
            raise Refused("this message is no step of a transfer", code=INVALID_MESSAGE_TYPE)
        row, end = find_row_of_type(message.messageType), self._find_end(gateway_id, message.sessionId)
        if isinstance(message, TransferProposal):
            if end is not None:
                raise Refused("the session exists", code=satp_code("1.1", "sessionId"), found=message.sessionId)
            verify_proposal(message, signed, self._identities[gateway_id], Capabilities())
            return FIRST, signed
        if end is None:
            raise Refused("unknown session", code=satp_code(row.number, "sessionId"), found=message.sessionId)
        end.session.verify_peer(signed.signer)
        end.session.verify_key(signed)
        end.believe_own_actions(row)
        end.session.verify_follows(message, row, self.networks, now)
        return row, signed

    def _find_end(self, gateway_id: str, session_id: str) -> Reader | None:
        known = (end for end in self.ends.values() if end.session.gateway_id == gateway_id)
        return next((end for end in known if end.session.id == session_id), None)


def receive_message(given: Json, shared: Json) -> Json:
    """One message to one gateway, `after` others by their names in `shared`."""
    receiver = Receiver(shared["gateways"], shared["networks"])
    for name in given["after"]:
        receiver.read(shared["messages"][name])
    row, signed = receiver.judge(given["message"], given["gateway"], given["at"])
    return {"step": row.number, "digest": signed.digest}


OPERATIONS: dict[str, Operation] = {
    "receive-message": receive_message,
}
