"""A place in a transfer: a message that was about to arrive, ways to spoil it, and what the real gateway says then."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from joserfc.jwk import ECKey

from protocol.errors import SATP_CODES
from protocol.messages.satp import ErrorMessage, parse_message
from protocol.network import World
from protocol.objects import Json as _Json
from protocol.signing import DeterministicES256, KeyPair, KeyRing, read_payload
from protocol.steps import Role, find_row
from tools.vector_families import Json, case
from tools.vector_families.play import MESSAGES, SEED, key, make_public_jwk, play_transfer
from tools.vector_families.thumbprints import encode

GATEWAYS = {"GW1": "1", "GW2": "43114", "GW3": "7"}  # with their networks; GW3 has no part in the transfer
CLAIMS = {
    "2.2": "lockAssertionClaim",
    "3.3": "mintAssertionClaim",
    "3.5": "burnAssertionClaim",
    "3.7": "assignmentAssertionClaim",
}
WRONG = "0" * 64
OTHER_ID = "00000000-0000-4000-8000-000000000001"


def share() -> Json:
    return {
        "gateways": {
            name: {"network": network, "key": make_public_jwk(key(name))} for name, network in GATEWAYS.items()
        },
        "networks": {name: make_public_jwk(key(f"network {name}")) for name in ("1", "43114")},
        "messages": play_transfer(),
    }


class Place:
    """The transfer up to a message that is not delivered; a real gateway waits for it."""

    def __init__(self, step: str, wait: int = 0) -> None:
        self.step, self.world = step, World(SEED, tls=False)
        self.world.admit("GW3")
        self.world.start()
        while self.world.link[0].step != step:
            self.world.deliver_next()
        self.message = self.world.link.pop(0).data.decode()
        assert self.message == play_transfer()[step], "the same seed, the same bytes"
        self.world.wait(wait)
        self.is_late = wait > 0
        is_senders = find_row(step).actor is Role.SENDER
        self.author, self.gateway = ("GW1", "GW2") if is_senders else ("GW2", "GW1")

    @property
    def payload(self) -> _Json:
        return read_payload(self.message)

    def change(self, **fields: Any) -> str:
        """Some fields are others (None removes one), signed by the author."""
        changed = {name: value for name, value in {**self.payload, **fields}.items() if value is not None}
        return key(self.author).sign(changed)

    def change_part(self, part: str, **fields: Any) -> str:
        """The same in an object of the message."""
        inner = {name: value for name, value in {**self.payload[part], **fields}.items() if value is not None}
        return self.change(**{part: inner})

    def change_receipt(self, signer: str = "", **fields: Any) -> str:
        """The receipt inside says something else, signed by its network or somebody else."""
        claim = CLAIMS[self.step]
        receipt = read_payload(self.payload[claim]["receipt"])
        by = key(signer or f"network {receipt['networkId']}")
        return self.change_part(claim, receipt=by.sign(receipt | fields))

    def say(self, data: str) -> str:
        """The code with which the gateway refuses, `accepted`, or `silence`. Refused, it has changed nothing."""
        gateway = self.world.recipient if self.gateway == "GW2" else self.world.sender
        before = self._fingerprint()
        reply = gateway.receive(data.encode())
        if reply is None:
            return "silence"
        said = KeyRing([(self.gateway, key(self.gateway).public)]).verify(reply)
        error = parse_message(said.payload)
        if not isinstance(error, ErrorMessage):
            return "accepted"
        assert self._fingerprint() == before, "a refused message changed the log or a ledger"
        code = error.type.rpartition(":")[2]
        assert (error.status, error.title) == (SATP_CODES[code].status, SATP_CODES[code].description)
        return code

    def _fingerprint(self) -> tuple[object, ...]:
        logs = [[entry.compute_hash() for entry in self.world.log(role)] for role in Role]
        return logs, [repr(ledger) for ledger in self.world.ledgers], [ledger.height for ledger in self.world.ledgers]

    def refuse(self, name: str, comment: str, message: str, code: str, *, holds: object = True) -> Json:
        """A case: the gateway refuses this with this code; the code was written by hand."""
        said = self.say(message)
        assert said == code, f"{name}: the gateway says {said}, not {code}"
        is_other = self.is_late or message != self.message
        return case(name, comment, self._give(message), holds=holds and is_other, code=code)

    def accept(self) -> Json:
        """The case of the real message, after all others of this place: nothing has kept the gateway from taking it."""
        name = f"{self.step}-as-it-was-sent"
        expect = {"step": self.step, "digest": KeyRing([("", key(self.author).public)]).verify(self.message).digest}
        words = "The message of this place itself: what is wrong with the other cases is not their place."
        found = case(name, words, self._give(self.message), holds=expect, expect=expect)
        said = self.say(self.message)
        assert said == ("silence" if self.step == MESSAGES[-1] else "accepted"), f"{name}: {said}"
        return found

    def _give(self, message: str) -> Json:
        after = list(MESSAGES[: MESSAGES.index(self.step)])
        return {"gateway": self.gateway, "at": self.world.now, "after": after, "message": message}


@cache
def find_place(step: str) -> Place:
    """Refused messages change nothing: one place is enough for many cases."""
    return Place(step)


# ---------------------------------------------------------------------- parts of a JWS


def sign_raw(header: Json, payload: bytes, by: KeyPair) -> str:
    """A good signature of this key over whatever stands here."""
    assert isinstance(by.key, ECKey)
    signing_input = f"{encode(json.dumps(header, separators=(',', ':')).encode())}.{encode(payload)}"
    return f"{signing_input}.{encode(DeterministicES256().sign(signing_input.encode(), by.key))}"
