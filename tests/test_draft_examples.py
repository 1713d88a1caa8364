"""The examples that SATP core prints: which are messages, which are not, and why.

The texts in `vectors/satp_core_examples.json` are copied from the draft, letter by letter, with their line in its
Markdown source. Each is tried three times: as printed; with the commas mended that JSON does not allow; and with
every further fault of the list mended too, after which all of them are messages.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import Refused
from protocol.messages.satp import Capabilities, TransferInitClaim, parse_message
from protocol.objects import Json
from protocol.signing import KeyPair

EXAMPLES: dict[str, str] = {
    each["name"]: each["text"]
    for each in json.loads((Path(__file__).parent / "vectors" / "satp_core_examples.json").read_text())
}
HASH = "0b0aecc2680e0d8a86bece6b54c454fba67068799484f477cdf2f87e6541db66"
JWK = KeyPair.lab("somebody", "draft").public.jwk
CLAIM = {"receipt": "eyJh.e30.c2ln"}
TIME = "2024-10-03T12:02:00Z"

NOT_JSON = {  # what a JSON parser says about the text as printed
    "8.4 proposal receipt": "a comma after the last member",
    "8.6 transfer commence": "a comma after the last member",
    "8.7 ack commence": "a comma after the last member",
    "9.1 lock assertion": "a comma after the last member",
    "9.2 assertion receipt": "a comma after the last member",
    "10.1 commit prepare": "a comma after the last member",
    "10.2 commit ready": "a comma after the last member",
    "10.3 commit final": "a comma after the last member",
    "10.4 ack commit final": "a comma after the last member",
    "10.5 transfer complete": "a comma after the last member",
    "11.3 error": "a comma after the last member, and one missing after prevMsgType",
}
KEY_FIELDS = [
    "originatorPublicKey", "beneficiaryPublicKey", "senderGatewaySignaturePublicKey",
    "receiverGatewaySignaturePublicKey", "senderGatewayDeviceIdentityPublicKey",
    "receiverGatewayDeviceIdentityPublicKey",
]  # fmt: skip

# The faults that remain once it is JSON: field that is refused -> (code, why, what would be right).
FAULTS: dict[str, dict[str, tuple[str, str, Any]]] = {
    "8.3 transfer proposal": {
        f"transferInitClaim.{name}": (code, "a placeholder, not a JWK", JWK)
        for name, code in zip(
            KEY_FIELDS, ["err_1.1.15", "err_1.1.16", "err_1.1.17", "err_1.1.18", "err_1.1.3", "err_1.1.3"], strict=True
        )
    },
    "8.4 proposal receipt": {
        "timestamp": ("err_0.1.1", "2024-10-03T12:02+00Z is not RFC 3339 (C24)", TIME),
        "hashPrevMessage": ("err_0.1.1", "left out by 8.4; here every message but the first has it (C12)", HASH),
    },
    "9.1 lock assertion": {
        "lockAssertionClaim.receipt": ("err_2.2.3", "an empty claim shows nothing (C25)", "eyJh.e30.c2ln"),
        "lockAssertionExpiration": ("err_2.2.4", "written lockAssetionExpiration in the example (C5)", TIME),
    },
    "10.2 commit ready": {
        "mintAssertionFormat": (
            "err_3.3.4",
            "mintAssertionClaimFormat in the example",
            "MINT_ASSERTION_CLAIM_FORMAT_1",
        ),
        "mintAssertionClaim.receipt": ("err_3.3.4", "an empty claim shows nothing (C25)", "eyJh.e30.c2ln"),
    },
    "10.3 commit final": {
        "burnAssertionClaim.receipt": ("err_3.5.4", "an empty claim shows nothing (C25)", "eyJh.e30.c2ln"),
    },
    "10.4 ack commit final": {
        "assignmentAssertionClaim.receipt": ("err_3.7.4", "an empty claim shows nothing (C25)", "eyJh.e30.c2ln"),
    },
    "11.3 error": {"timestamp": ("err_0.1.1", "2024-10-03T12:02+00Z is not RFC 3339 (C24)", TIME)},
}
PARTS = ("8.1 claim", "8.2 capabilities")
MESSAGES = [name for name in EXAMPLES if name not in PARTS]


def mend_commas(text: str) -> Json:
    value = json.loads(re.sub(r",(\s*})", r"\1", re.sub(r'(-msg")(\s*"hash)', r"\1,\2", text)))
    assert isinstance(value, dict)
    return value


def put(payload: Json, path: str, value: Any) -> None:
    *outer, last = path.split(".")
    for name in outer:
        payload = payload[name]
    payload[last] = value


@pytest.mark.parametrize("name", EXAMPLES)
def test_which_examples_are_json(name: str) -> None:
    if name in NOT_JSON:
        with pytest.raises(ValueError):
            json.loads(EXAMPLES[name])
    json.loads(EXAMPLES[name]) if name not in NOT_JSON else mend_commas(EXAMPLES[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_each_fault_is_refused_with_its_reason_and_without_faults_it_is_a_message(name: str) -> None:
    faults = FAULTS.get(name, {})
    for path, (code, _, _) in faults.items():
        payload = mend_commas(EXAMPLES[name])
        for other, (_, _, right) in faults.items():
            if other != path:
                put(payload, other, right)
        with pytest.raises(Refused) as refusal:
            parse_message(payload)
        assert (refusal.value.field, refusal.value.code) == (path, code)
    payload = mend_commas(EXAMPLES[name])
    for path, (_, _, right) in faults.items():
        put(payload, path, right)
    assert parse_message(payload).sessionId == "d66a567c-11f2-4729-a0e9-17ce1faf47c1"


def test_the_examples_that_are_right_as_printed_but_for_a_comma() -> None:
    right = [name for name in MESSAGES if name not in FAULTS]
    assert right == [
        "8.6 transfer commence", "8.7 ack commence", "9.2 assertion receipt", "10.1 commit prepare",
        "10.5 transfer complete",
    ]  # fmt: skip


def test_the_capabilities_are_read_and_rsa_is_only_listed() -> None:
    """RSA is no algorithm name of RFC 7518 (C26); nobody is asked to use it while it is not the default."""
    assert Capabilities.model_validate(json.loads(EXAMPLES["8.2 capabilities"])).networkLockExpirationTime == 120


def test_the_claim_alone_lacks_a_required_field() -> None:
    """8.1 requires networkLockType, its example leaves it out; the same claim inside 8.3 has it."""
    claim = json.loads(EXAMPLES["8.1 claim"]) | dict.fromkeys(KEY_FIELDS, JWK)
    with pytest.raises(ValueError, match="networkLockType"):
        TransferInitClaim.model_validate(claim)
    TransferInitClaim.model_validate(claim | {"networkLockType": "HASH_TIME_LOCK"})
