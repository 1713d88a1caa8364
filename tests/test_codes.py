"""The whole registry of SATP 11.4: each code is provoked by the message that deserves it, or cannot be, and why."""

from __future__ import annotations

import pytest

from protocol.errors import SATP_CODES
from protocol.messages.satp import ErrorMessage, SessionAbort, parse_message
from protocol.network import World
from protocol.objects import Json
from protocol.signing import read_payload
from tests.test_bad_input import CAPABILITY_CASES, CLAIM_CASES, change, receive_refused, stop_before

UNREACHABLE = {
    "err_1.1.35": "gatewayLoggingProfile: SATP 8.2 no longer has the field (C23)",
    "err_1.1.36": "gatewayAccessControlProfile: SATP 8.2 no longer has the field (C23)",
}

# Codes about one field of one message: the field and a value that deserves the code.
OTHER = "00000000-0000-4000-8000-000000000001"
FIELD_CASES: dict[str, tuple[str, Json]] = {
    "err_0.1.1": ("2.2", {"messageType": "urn:ietf:params:satp:core:msgtype:hello-msg"}),
    "err_1.1.1": ("1.1", {"transferContextId": 7}),
    "err_1.1.2": ("1.1", {"sessionId": "no uuid"}),
    "err_1.1.3": ("1.1", {"transferInitClaimFormat": "TRANSFER_INIT_CLAIM_FORMAT_9"}),
    "err_1.2.3": ("1.2", {"hashTransferInitClaim": "0" * 64}),
    "err_1.3.3": ("1.3", {"hashTransferInitClaim": "0" * 64}),
    "err_2.2.3": ("2.2", {"lockAssertionClaimFormat": "ANOTHER"}),
    "err_2.2.4": ("2.2", {"lockAssertionExpiration": "2024-12-23T23:59:59.999Z"}),
    "err_3.3.4": ("3.3", {"mintAssertionFormat": "ANOTHER"}),
    "err_3.5.4": ("3.5", {"burnAssertionClaimFormat": "ANOTHER"}),
    "err_3.7.4": ("3.7", {"assignmentAssertionClaimFormat": "ANOTHER"}),
    "err_3.9.4": ("3.9", {"hashTransferCommence": "0" * 64}),
}
ANY_STEP: dict[str, Json] = {
    "transferContextId": {"transferContextId": "another"},
    "sessionId": {"sessionId": OTHER},
    "hashPrevMessage": {"hashPrevMessage": "0" * 64},
}
FIELD_CASES |= {
    code.code: (code.step, ANY_STEP[code.subject])
    for code in SATP_CODES.values()
    if code.description.startswith("mismatch ") and code.subject in ANY_STEP
}
PROPOSAL_CASES = {code: (name, CLAIM_CASES[name][0]) for name, (_, code) in CLAIM_CASES.items()} | {
    code: (name, CAPABILITY_CASES[name][0]) for name, (_, code) in CAPABILITY_CASES.items()
}


@pytest.mark.parametrize("code", FIELD_CASES)
def test_a_field_that_deserves_the_code_gets_it(code: str, world: World) -> None:
    step, changes = FIELD_CASES[code]
    payload = read_payload(stop_before(world, step))
    error = receive_refused(world, step, change(**changes)(world, payload))
    assert error.type == SATP_CODES[code].urn
    assert error.status == SATP_CODES[code].status


@pytest.mark.parametrize("code", PROPOSAL_CASES)
def test_a_proposal_that_deserves_the_code_gets_it(code: str, world: World) -> None:
    payload = read_payload(stop_before(world, "1.1"))
    part = "transferInitClaim" if PROPOSAL_CASES[code][0] in CLAIM_CASES else "gatewayAndNetworkCapabilities"
    changed = payload[part] | PROPOSAL_CASES[code][1]
    payload[part] = {name: value for name, value in changed.items() if value is not None}
    error = receive_refused(world, "1.1", change()(world, payload))
    assert error.type == SATP_CODES[code].urn


def test_err_0_1_2_another_gateway_speaks_in_the_session(world: World) -> None:
    """A gateway that is known, and is not the peer of this session."""
    third = world.key("GW3")
    world.admit("GW3")
    payload = read_payload(stop_before(world, "2.2"))
    error = receive_refused(world, "2.2", third.sign(payload).encode())
    assert error.type == SATP_CODES["err_0.1.2"].urn
    assert error.status == 403


def test_err_0_1_3_bad_signature(world: World) -> None:
    data = stop_before(world, "2.2")
    assert receive_refused(world, "2.2", data[:-8] + b"AAAAAAAA").type == SATP_CODES["err_0.1.3"].urn


def test_err_2_2_7_asset_not_found(world: World) -> None:
    """The receipt is real and about another asset than the one proposed."""
    payload = read_payload(stop_before(world, "2.2"))
    receipt = read_payload(payload["lockAssertionClaim"]["receipt"]) | {"assetId": "another"}
    payload["lockAssertionClaim"] = {"receipt": world.key("network 1").sign(receipt)}
    assert receive_refused(world, "2.2", change()(world, payload)).type == SATP_CODES["err_2.2.7"].urn


def test_err_2_2_8_asset_already_locked(world: World) -> None:
    """Found by the sender's own network; the code goes to the peer in the abort, which has no place for a status."""
    world.start("the asset")
    second = world.start("the asset")
    world.run()
    aborts = [e.payload for e in world.log("recipient", second) if e.step == "abort" and "message" in e.payload]
    abort = parse_message(read_payload(aborts[0]["message"]))
    assert isinstance(abort, SessionAbort)
    assert abort.code == "err_2.2.8"


def test_err_2_2_9_asset_lock_expired(world: World) -> None:
    data = stop_before(world, "2.2")
    world.wait(200)
    assert receive_refused(world, "2.2", data).type == SATP_CODES["err_2.2.9"].urn


def test_every_code_is_provoked_or_cannot_be() -> None:
    alone = {
        "err_" + ".".join(name.removeprefix("test_err_").split("_")[:3])
        for name in globals()
        if name.startswith("test_err_")
    }
    reached = FIELD_CASES.keys() | PROPOSAL_CASES.keys() | alone
    assert reached | UNREACHABLE.keys() == SATP_CODES.keys()
    assert not reached & UNREACHABLE.keys()


def test_the_unreachable_fields_are_not_in_the_draft_any_more() -> None:
    from protocol.messages.satp import Capabilities

    assert not {"gatewayLoggingProfile", "gatewayAccessControlProfile"} & Capabilities.model_fields.keys()


def test_an_error_message_is_problem_details_as_11_3_wants(world: World) -> None:
    error = receive_refused(world, "1.1", b"") if world.start() else None
    assert isinstance(error, ErrorMessage)
    assert {"messageType", "type", "status", "title", "version", "sessionId", "transferContextId", "hashPrevMessage",
            "timestamp"} <= error.model_dump(exclude_none=True).keys()  # fmt: skip
