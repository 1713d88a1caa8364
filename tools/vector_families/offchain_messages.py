"""LIP-1: requests and responses as they were sent in runs of a channel, and such as must be refused."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature

from protocol.channel_world import ChannelWorld, InFlight
from protocol.messages.offchain import QUESTIONS, REQUESTS
from protocol.objects import Json as _Json
from protocol.objects import canonical
from protocol.signing import KeyPair, KeyRing, read_payload
from tools.vector_families import Family, Json, case
from tools.vector_families.play import SEED, make_public_jwk
from tools.vector_families.thumbprints import compute_by_hand, decode, encode

EMPTY = {"_ObjectType": "EmptyCommand", "_reads": {}, "_writes": {}}
PARTIES = {name: KeyPair.lab_ed25519(name, SEED) for name in ("C", "D")}


class Recording(ChannelWorld):
    """Keeps every post that was delivered, and which request a response answers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.answers: dict[str, str] = {}
        super().__init__(SEED)

    def deliver(self, number: int, keep: bool = False) -> None:
        message: InFlight = self.link[number]
        body = str(message.post.body)
        if not message.is_request:
            by_digest = {hashlib.sha256(decode(each.split(".")[1])).hexdigest(): each for each in self.said}
            self.answers[body] = by_digest[read_header(body)["request_digest"]]
        self.said.append(body)
        super().deliver(number, keep)


def read_header(compact: str) -> Json:
    header: Json = json.loads(decode(compact.partition(".")[0]))
    return header


@cache
def play() -> Recording:
    """A payment from its creation to the third version; two commands that conflict; a lost database; what is left."""
    world = Recording()
    payment = world.create("C", "abcd")
    world.run()
    world.update("D", payment, "cbad", status={"status": "ready_for_settlement"})
    world.run()
    world.update("C", payment, "1234", metadata=["a", "b"])
    world.update("D", payment, "4321", metadata=["c"])
    world.run()
    world.lose_database("C")
    world.restart("C")
    world.run()
    world.act("C", lambda channel: channel.issue(EMPTY, world.now))
    world.act("D", lambda channel: channel.recovery.ask_payment(payment))
    world.act("D", lambda channel: channel.recovery.offer(payment))
    world.run()
    return world


def describe(compact: str) -> Json:
    """What a reader has to find, computed without the package."""
    header, payload, _ = compact.split(".")
    read = json.loads(decode(header))
    signers = {compute_by_hand(make_public_jwk(pair))["thumbprint"]: name for name, pair in PARTIES.items()}
    digest = hashlib.sha256(decode(payload)).hexdigest()
    return {"signer": signers[read["kid"]], "header": read, "payload": json.loads(decode(payload)), "digest": digest}


def show(name: str, comment: str, compact: str, *, holds: object) -> Json:
    ring = KeyRing((party, pair.public) for party, pair in PARTIES.items())
    assert ring.verify(compact).payload == describe(compact)["payload"]
    answered = play().answers.get(compact)
    given = {"message": compact} | ({"request": answered} if answered else {})
    return case(name, comment, given, holds=holds, expect=describe(compact))


def make_good() -> list[Json]:
    world = play()
    first: dict[str, str] = {}
    for compact in world.said:
        payload = read_payload(compact)
        kind = payload["command_type"] if "command_type" in payload else name_answer(payload)
        first.setdefault(kind, compact)
    comments = {
        "PaymentCommand": "A new payment: it reads nothing and writes its first version, named by the cid.",
        "success": "The other side has taken it; this response and the request are evidence of the version.",
        "failure-command_error": "An answer that no repetition will change: the version was used.",
        "failure-protocol_error": "An answer of this moment: the same command may be sent again.",
        "ChannelHealthCheck": "A side that has lost its database asks what the other one knows.",
        "ChannelHealth": "What the other one knows, with the names of the memories that each side has had.",
        "GetPaymentHistoryByRef": "A question for all versions of a payment.",
        "PaymentHistoryByRef": "All versions of it, each with the signed request and the signed response.",
        "EmptyCommand": "A command on no object: nothing is read and nothing is written.",
        "GetPaymentByRef": "A question for a payment as it stands.",
        "PaymentByRef": "The payment as its history makes it, and that history: the one is computed from the other.",
        "HistoryOffer": "A side shows what the other one lacks: whole versions, with both signatures of each.",
    }
    missing = sorted(set(comments) - set(first))
    assert not missing, f"these are not in the run: {missing}; there are {sorted(first)}"
    assert set(REQUESTS) <= set(comments), "a good message of every command"
    return [
        show(name.lower().replace("_", "-"), words, first[name], holds=is_of_its_kind(name, read_payload(first[name])))
        for name, words in comments.items()
    ]


def name_answer(payload: _Json) -> str:
    if payload["status"] == "failure":
        return f"failure-{payload['error'][0]['type']}"
    return str(payload["result"]["_ObjectType"]) if "result" in payload else "success"


def is_of_its_kind(name: str, payload: _Json) -> bool:
    if name in REQUESTS:
        return (name in QUESTIONS) == ("_writes" not in payload["command"])
    return bool(payload["_ObjectType"] == "CommandResponseObject")


# ---------------------------------------------------------------------- refused


def refuse(name: str, comment: str, compact: str, code: str, reason: str = "", *, holds: object) -> Json:
    return case(name, comment, {"message": compact}, holds=holds, code=code, reason=reason)


def is_signed(text: str) -> bool:
    """Whether this is a message that C has signed. If so, something else has to be found wrong."""
    signing_input, _, signature = text.rpartition(".")
    key: Any = PARTIES["C"].key.public_key
    try:
        key.verify(decode(signature), signing_input.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def find_payment() -> str:
    """The first payment of the run, by C."""
    return next(each for each in play().said if read_payload(each).get("command_type") == "PaymentCommand")


def make_unsigned() -> list[Json]:
    compact = find_payment()
    header, payload, signature = compact.split(".")
    flipped = bytearray(decode(signature))
    flipped[0] ^= 1
    none = encode(canonical({"alg": "none"}))
    stranger = KeyPair.lab_ed25519("a stranger", SEED)
    forged = stranger.sign(read_payload(compact), memory="x").split(".")
    other = encode(canonical(read_payload(compact) | {"cid": "0" * 32}))
    cases = [
        ("no-jws", "Neither three parts nor base64url.", "hello", "invalid_jws"),
        ("payload-alone", "What was signed, without the signature.", decode(payload).decode(), "invalid_jws"),
        ("changed-signature", "One bit is another one.", f"{header}.{payload}.{encode(bytes(flipped))}",
         "invalid_jws_signature"),
        ("changed-payload", "A right signature over another payload.", f"{header}.{other}.{signature}",
         "invalid_jws_signature"),
        ("algorithm-none", "Unsigned, and it says so.", f"{none}.{payload}.", "invalid_jws_signature"),
        ("unknown-key", "A good signature of somebody nobody knows.", stranger.sign(read_payload(compact)),
         "invalid_jws_signature"),
        ("forged", "The signature of a stranger under the kid of C.", f"{header}.{payload}.{forged[2]}",
         "invalid_jws_signature"),
    ]  # fmt: skip
    assert is_signed(compact), "without the change it is a good one"
    return [refuse(name, words, text, code, holds=not is_signed(text)) for name, words, text, code in cases]


def make_malformed() -> list[Json]:
    compact, pair = find_payment(), PARTIES["C"]
    payload = read_payload(compact)
    command = payload["command"]
    spaced = json.dumps(payload, sort_keys=True).encode()
    cases = [
        ("not-canonical", "A right signature over JSON with blanks.", pair.sign_canonical(spaced), "invalid_json"),
        ("an-array", "A right signature over JSON that is no object.", pair.sign_canonical(b"[1]"), "invalid_object"),
        ("unknown-object", "A request is a CommandRequestObject.", pair.sign(payload | {"_ObjectType": "Letter"}),
         "invalid_object"),
        ("unknown-command", "There is no such command.", pair.sign(payload | {"command_type": "Refund"}),
         "unknown_command_type"),
        ("no-cid", "A field that LIP-1 requires is missing.",
         pair.sign({name: payload[name] for name in payload if name != "cid"}), "missing_field"),
        ("unknown-field", "LIP-1's objects are closed, unlike SATP's messages.", pair.sign(payload | {"surprise": 1}),
         "unknown_field"),
        ("cid-in-capitals", "A cid is 32 small hexadecimal digits.", pair.sign(payload | {"cid": "ABCD" * 8}),
         "invalid_field_value"),
        ("null", "An optional field is absent, never null.",
         pair.sign(payload | {"command": command | {"payment": command["payment"] | {"description": None}}}),
         "invalid_field_value"),
        ("truth-for-number", "In some languages true is 1; on the wire it is not.",
         pair.sign(payload | {"command": command | {"payment": command["payment"] | {
             "action": command["payment"]["action"] | {"amount": True}}}}), "invalid_field_value"),
        ("address-with-a-wrong-checksum", "One letter of the bech32 address is another one.",
         pair.sign(payload | {"command": command | {"payment": spoil_address(command["payment"])}}),
         "invalid_field_value"),
    ]  # fmt: skip
    return [refuse(name, words, message, code, holds=is_signed(message)) for name, words, message, code in cases]


def spoil_address(payment: _Json) -> _Json:
    address = payment["sender"]["address"]
    wrong = address[:-1] + ("q" if address[-1] != "q" else "p")
    return payment | {"sender": payment["sender"] | {"address": wrong}}


def make_wrong_answer() -> Json:
    """Evidence is the pair: with another request the signed response says nothing."""
    world = play()
    answers = [each for each in world.said if each in world.answers]
    given = {"message": answers[0], "request": world.answers[answers[1]]}
    words = "A good response, shown together with another request than the one that it answers."
    is_other = world.answers[answers[0]] != world.answers[answers[1]]
    return case("answer-to-another-request", words, given, holds=is_other, code="",
                reason="request_digest is not the digest of this request")  # fmt: skip


def make() -> Family:
    return Family(
        name="offchain-messages",
        about="Requests and responses of LIP-1, signed with EdDSA. A response is verified with the request it answers.",
        sections=("LIP-1", "DIP-1", "DIP-5", "RFC 8037"),
        operation="verify-offchain",
        shared={"keys": {name: make_public_jwk(pair) for name, pair in PARTIES.items()}},
        cases=[*make_good(), *make_unsigned(), *make_malformed(), make_wrong_answer()],
    )
