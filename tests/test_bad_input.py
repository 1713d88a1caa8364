"""What a peer may send and must not: a signed problem-details reply with the draft's code, and nothing changes.

Each case tampers with one message on its way and names the code of SATP 11.4 that has to come back.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws

from protocol.errors import SATP_CODES
from protocol.messages.satp import NAMESPACE, NO_ID, ErrorMessage, parse_message
from protocol.network import World
from protocol.objects import Json, canonical, digest
from protocol.signing import KeyPair, KeyRing, read_payload
from protocol.steps import FIRST, TABLE_1, Kind, Role, find_row

Tamper = Callable[[World, Json], bytes]
MESSAGES = [row for row in TABLE_1 if row.kind is Kind.MESSAGE]


def stop_before(world: World, step: str) -> bytes:
    """Run until the message of this step is on the link, and take it off."""
    world.start()
    for _ in range(200):
        if world.link and world.link[0].step == step:
            return world.link.pop(0).data
        world.deliver_next()
    raise AssertionError(f"no message of step {step} came")


def fingerprint(world: World) -> tuple[object, ...]:
    """Log files, byte for byte, and both ledgers. The -shm file is SQLite's index in memory; reading touches it too."""
    files = sorted(file for file in Path(world.directory).iterdir() if not file.name.endswith("-shm"))
    ledgers = [(ledger.assets, ledger.actions_of("GW1"), ledger.actions_of("GW2")) for ledger in world.ledgers]
    return ([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files], repr(ledgers))


def receive_refused(world: World, step: str, data: bytes) -> ErrorMessage:
    """Hand `data` to whoever receives this step; it must answer with a signed error, and nothing may change."""
    target = world.recipient if find_row(step).actor is Role.SENDER else world.sender
    before = fingerprint(world)
    reply = target.receive(data)
    assert fingerprint(world) == before, "a refused message changed the log or a ledger"
    assert reply is not None, "a refused message was not answered"
    signed = KeyRing([(target.id, world.key(target.id).public)]).verify(reply)
    error = parse_message(signed.payload)
    assert isinstance(error, ErrorMessage)
    code = SATP_CODES[error.type.rpartition(":")[2]]
    assert (error.status, error.title) == (code.status, code.description)
    return error


def resign(who: str) -> Callable[[World, Json], bytes]:
    return lambda world, payload: world.key(who).sign(payload).encode()


def change(**fields: Any) -> Tamper:
    """Change fields (None removes one) and sign again with the right key, as a faulty peer would."""

    def tamper(world: World, payload: Json) -> bytes:
        changed = {name: value for name, value in {**payload, **fields}.items() if value is not None}
        return world.key("GW1" if actor_of(payload) is Role.SENDER else "GW2").sign(changed).encode()

    return tamper


def actor_of(payload: Json) -> Role:
    return next(row.actor for row in MESSAGES if payload["messageType"] == NAMESPACE + row.name)


def b64(payload: Json) -> bytes:
    return base64.urlsafe_b64encode(canonical(payload)).rstrip(b"=")


def forge(world: World, payload: Json) -> bytes:
    """Signed by somebody else, under the kid of the right gateway."""
    who = "GW1" if actor_of(payload) is Role.SENDER else "GW2"
    return jws.serialize_compact(
        {"alg": "ES256", "kid": world.key(who).public.kid}, canonical(payload), world.key("somebody").key
    ).encode()


def swap_payload(world: World, payload: Json) -> bytes:
    """Another payload under a signature that was right."""
    header, _, signature = change()(world, payload).split(b".")
    return b".".join([header, b64(payload | {"more": 1}), signature])


def not_canonical(world: World, payload: Json) -> bytes:
    """A right signature over JSON with white space: joserfc signs whatever bytes it is given."""
    key = world.key("GW1")
    header = {"alg": "ES256", "kid": key.public.kid}
    return jws.serialize_compact(header, json.dumps(payload, indent=1).encode(), key.key).encode()


WRONG = "0" * 64
OTHER_SESSION = "00000000-0000-4000-8000-000000000001"

ANY_MESSAGE: dict[str, tuple[Tamper, str]] = {
    "not a JWS": (lambda world, payload: b"hello", "err_0.1.1"),
    "nothing": (lambda world, payload: b"", "err_0.1.1"),
    "not even text": (lambda world, payload: b"\xff\x00.\x80.\x80", "err_0.1.1"),
    "only the payload, unsigned": (lambda world, payload: canonical(payload), "err_0.1.1"),
    "a key nobody knows": (resign("somebody"), "err_0.1.3"),
    "another's signature under the right kid": (forge, "err_0.1.3"),
    "another payload under a right signature": (swap_payload, "err_0.1.3"),
    "the algorithm none": (lambda world, payload: b"eyJhbGciOiJub25lIn0." + b64(payload) + b".", "err_0.1.3"),
    "an unknown message type": (change(messageType=NAMESPACE + "hello-msg"), "err_0.1.1"),
    "no message type": (change(messageType=None), "err_0.1.1"),
    "a message type that is a number": (change(messageType=7), "err_0.1.1"),
    "a session id that is no UUID": (change(sessionId="7"), ".sessionId"),
    "no session id": (change(sessionId=None), ".sessionId"),
    "no transfer context": (change(transferContextId=None), ".transferContextId"),
    "a transfer context that is a list": (change(transferContextId=[1]), ".transferContextId"),
}
LATER_MESSAGE: dict[str, tuple[Tamper, str]] = {
    "another transfer context": (change(transferContextId="other"), ".transferContextId"),
    "an unknown session": (change(sessionId=OTHER_SESSION), ".sessionId"),
    "the wrong hash of the previous message": (change(hashPrevMessage=WRONG), ".hashPrevMessage"),
    "no hash of the previous message": (change(hashPrevMessage=None), ".hashPrevMessage"),
    "a hash in capitals": (change(hashPrevMessage="A" * 64), ".hashPrevMessage"),
}


def expected_code(step: str, wanted: str) -> str:
    """A leading dot asks for the code that SATP 11.4 has for that field of that step."""
    if not wanted.startswith("."):
        return wanted
    found = [c.code for c in SATP_CODES.values() if c.step == step and c.subject == wanted[1:]]
    return found[0] if found else "err_0.1.1"


CASES_AT_STEPS = [
    (row.number, case) for row in MESSAGES for case in (ANY_MESSAGE if row is FIRST else ANY_MESSAGE | LATER_MESSAGE)
]


@pytest.mark.parametrize(("step", "case"), CASES_AT_STEPS)
def test_a_faulty_message_is_refused_at_every_step(step: str, case: str, world: World) -> None:
    tamper, wanted = (ANY_MESSAGE | LATER_MESSAGE)[case]
    payload = read_payload(stop_before(world, step))
    error = receive_refused(world, step, tamper(world, payload))
    assert error.type.rpartition(":")[2] == expected_code(step, wanted)


CLAIM_CASES: dict[str, tuple[Json, str]] = {
    "no asset": ({"digitalAssetId": None}, "err_1.1.11"),
    "no profile": ({"assetProfileId": None}, "err_1.1.12"),
    "an originator that is a number": ({"verifiedOriginatorEntityId": 7}, "err_1.1.13"),
    "no beneficiary": ({"verifiedBeneficiaryEntityId": ""}, "err_1.1.14"),
    "the draft's placeholder for the originator's key": ({"originatorPublicKey": "0304b9"}, "err_1.1.15"),
    "a beneficiary's key on no curve": ({"beneficiaryPublicKey": {"kty": "EC"}}, "err_1.1.16"),
    "another sender key than the one that signs": (
        {"senderGatewaySignaturePublicKey": KeyPair.lab("other", "x").public.jwk},
        "err_1.1.17",
    ),
    "another recipient's key": (
        {"receiverGatewaySignaturePublicKey": KeyPair.lab("other", "x").public.jwk},
        "err_1.1.18",
    ),
    "another sender": ({"senderGatewayId": "GW9"}, "err_1.1.19"),
    "another recipient": ({"recipientGatewayId": "GW9"}, "err_1.1.20"),
}
CAPABILITY_CASES: dict[str, tuple[Json, str]] = {
    "the draft's RSA": ({"gatewayDefaultSignatureAlgorithm": "RSA"}, "err_1.1.31"),
    "a lock that nobody has": ({"networkLockType": "PAD_LOCK"}, "err_1.1.32"),
    "a lock of one second": ({"networkLockExpirationTime": 1}, "err_1.1.33"),
    "a lock of minus one second": ({"networkLockExpirationTime": -1}, "err_1.1.33"),
    "an old TLS scheme": ({"gatewayTlsScheme": "TLS_RSA_WITH_RC4_128_MD5"}, "err_1.1.34"),
}


@pytest.mark.parametrize("case", CLAIM_CASES | CAPABILITY_CASES)
def test_a_faulty_proposal_is_refused(case: str, world: World) -> None:
    payload = read_payload(stop_before(world, "1.1"))
    part = "transferInitClaim" if case in CLAIM_CASES else "gatewayAndNetworkCapabilities"
    changes, code = (CLAIM_CASES | CAPABILITY_CASES)[case]
    payload[part] = {name: value for name, value in {**payload[part], **changes}.items() if value is not None}
    error = receive_refused(world, "1.1", change()(world, payload))
    assert error.type.rpartition(":")[2] == code
    assert error.detail is not None
    assert next(iter(changes)) in error.detail, "the reason names the field"


def test_a_session_id_is_used_once(world: World) -> None:
    payload = read_payload(stop_before(world, "1.3"))
    proposal = read_payload(world.log("sender")[0].payload["message"])
    proposal["transferContextId"] = "another context"
    assert payload["sessionId"] == proposal["sessionId"]
    assert receive_refused(world, "1.1", change()(world, proposal)).type.endswith("err_1.1.2")


def test_a_message_that_comes_too_early_is_refused(world: World) -> None:
    """3.1 instead of 2.2, with the right hash of the previous message: only the table of steps can tell."""
    payload = read_payload(stop_before(world, "2.2"))
    early = {name: payload[name] for name in ("sessionId", "transferContextId", "hashPrevMessage")}
    early["messageType"] = NAMESPACE + "commit-prepare-msg"
    error = receive_refused(world, "3.1", world.key("GW1").sign(early).encode())
    assert error.type.endswith("err_0.1.1")
    assert "does not come next" in str(error.detail)


def test_a_payload_that_is_not_canonical_is_refused(world: World) -> None:
    payload = read_payload(stop_before(world, "2.2"))
    error = receive_refused(world, "2.2", not_canonical(world, payload))
    assert "not canonical" in str(error.detail)


WRONG_RECEIPTS: dict[str, Json] = {
    "of another asset": {"assetId": "another"},
    "of another action": {"action": "unlock"},
    "of another session": {"sessionId": OTHER_SESSION},
    "of another operation": {"operationId": "another/2.1"},
    "for another gateway": {"gateway": "GW3"},
    "for another peer": {"peer": "GW3"},
    "for another beneficiary": {"beneficiary": "CN=Mallory"},
    "of another network": {"networkId": "7"},
}


@pytest.mark.parametrize("step", ["2.2", "3.3", "3.5", "3.7"])
@pytest.mark.parametrize("fault", ["no receipt", "signed by a gateway", "builds on another operation", *WRONG_RECEIPTS])
def test_a_claim_without_a_fitting_receipt_is_refused(step: str, fault: str, world: World) -> None:
    payload = read_payload(stop_before(world, step))
    name = next(name for name in payload if name.endswith("Claim"))
    receipt = read_payload(payload[name]["receipt"])
    network = world.key(f"network {receipt['networkId']}")
    if fault == "builds on another operation" and "under" not in receipt:
        return  # a lock and a mint build on nothing
    special = {
        "no receipt": {},
        "signed by a gateway": {"receipt": world.key("GW1").sign(receipt)},
        "builds on another operation": {"receipt": network.sign(receipt | {"under": "another/2.1"})},
    }
    changed = receipt | WRONG_RECEIPTS.get(fault, {})
    payload[name] = special[fault] if fault in special else {"receipt": network.sign(changed)}
    error = receive_refused(world, step, change()(world, payload))
    assert SATP_CODES[error.type.rpartition(":")[2]].step == step


@pytest.mark.parametrize(
    ("expiration", "code"),
    [("2000-01-01T00:00:00Z", "err_2.2.4"), ("2024-10-03T12:09:00Z", "err_2.2.4"), ("soon", "err_2.2.4")],
)
def test_the_lock_expires_when_its_receipt_says(expiration: str, code: str, world: World) -> None:
    payload = read_payload(stop_before(world, "2.2"))
    error = receive_refused(world, "2.2", change(lockAssertionExpiration=expiration)(world, payload))
    assert error.type.endswith(code)


def test_two_gateways_that_do_not_know_each_other_fall_silent() -> None:
    """Each refuses the other's key; an error is never answered, known key or not."""
    one, other = World(seed="a"), World(seed="b")
    reply = one.recipient.receive(stop_before(other, "1.1"))
    assert reply is not None
    assert other.sender.receive(reply) is None
    malformed = other.key("GW2").sign({"messageType": NAMESPACE + "error-msg"}).encode()
    assert other.sender.receive(malformed) is None
    for world in (one, other):
        world.close()


def test_an_error_names_the_message_it_is_about(world: World) -> None:
    data = change(hashPrevMessage=WRONG)(world, read_payload(stop_before(world, "2.2")))
    error = receive_refused(world, "2.2", data)
    assert error.hashPrevMessage == digest(read_payload(data))
    assert error.sessionId == world.sessions[0]
    assert error.prevMsgType == NAMESPACE + "lock-assert-msg"


def test_what_cannot_be_read_is_answered_with_ids_that_say_so(world: World) -> None:
    stop_before(world, "1.1")
    error = receive_refused(world, "1.1", b"hello")
    assert (error.sessionId, error.transferContextId) == (NO_ID, NO_ID)


def test_an_error_about_nothing_is_not_answered(world: World) -> None:
    """Otherwise two gateways could answer each other for ever."""
    stop_before(world, "2.2")
    error = world.recipient.receive(b"hello")
    assert error is not None
    before = fingerprint(world)
    assert world.sender.receive(error) is None
    assert fingerprint(world) == before


def test_fields_that_the_draft_does_not_name_are_kept_and_covered(world: World) -> None:
    """They were signed, so they belong to the message; the next message's hash covers them."""
    data = change(somethingNew={"a": 1})(world, read_payload(stop_before(world, "2.2")))
    reply = world.recipient.receive(data)
    assert reply is not None
    assert read_payload(reply)["hashPrevMessage"] == digest(read_payload(data))
    assert read_payload(world.log("recipient")[4].payload["message"])["somethingNew"] == {"a": 1}
