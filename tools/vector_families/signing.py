"""Signatures to be made, byte for byte: ES256 with the nonce of RFC 6979, and EdDSA, which needs none."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from itertools import count

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc.jwk import ECKey

from protocol.example import make_proposal
from protocol.messages.satp import NAMESPACE
from protocol.objects import Json as _Json
from protocol.objects import canonical
from protocol.signing import P256_ORDER, DeterministicES256, KeyPair
from tools.vector_families import Family, Json, case
from tools.vector_families.play import SEED, key, make_private_jwk
from tools.vector_families.thumbprints import decode

GW1, C = key("GW1"), KeyPair.lab_ed25519("C", SEED)
HASH = "d9e5bb4b9ae8cb6dfe1a4b0f3c9a8a3d3c3f8d3a7b0cf4e1f3d0f1f0c0d4e5f6"
SMALL: _Json = {
    "messageType": f"{NAMESPACE}ack-commence-msg",
    "sessionId": "d66a567c-11f2-4729-a0e9-17ce1faf47c1",
    "transferContextId": "89e04e71-bba2-4363-933c-262f42ec07a0",
    "hashPrevMessage": HASH,
}
# RFC 6979 A.2.5: the key, and the signature of the text "sample" with SHA-256.
RFC_SECRET = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC_R = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
RFC_S = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8


def is_rfc_6979() -> bool:
    """Whether this package draws the nonces of RFC 6979, as its appendix prints them."""
    numbers = ec.derive_private_key(RFC_SECRET, ec.SECP256R1()).private_numbers()
    point = numbers.public_numbers
    members = {"x": point.x, "y": point.y, "d": numbers.private_value}
    texts = {name: urlsafe_b64encode(value.to_bytes(32, "big")).decode().rstrip("=") for name, value in members.items()}
    jwk: dict[str, str | list[str]] = {"kty": "EC", "crv": "P-256", **texts}
    signature = DeterministicES256().sign(b"sample", ECKey.import_key(jwk))
    return signature == RFC_R.to_bytes(32, "big") + RFC_S.to_bytes(32, "big")


def is_verified(compact: str, pair: KeyPair) -> bool:
    """By the library of signatures alone: RFC 7518 3.4, RFC 8037 3.1."""
    signing_input, _, text = compact.rpartition(".")
    signature, public = decode(text), pair.key.public_key
    try:
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, signing_input.encode())
        elif isinstance(public, ec.EllipticCurvePublicKey):
            r, s = read_numbers(compact)
            public.verify(encode_dss_signature(r, s), signing_input.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return len(signature) == 64


def read_numbers(compact: str) -> tuple[int, int]:
    signature = decode(compact.rpartition(".")[2])
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


def sign(name: str, comment: str, pair: KeyPair, payload: _Json, *, holds: object = True, **header: str) -> Json:
    given: Json = {"key": make_private_jwk(pair), "payload": payload} | ({"header": header} if header else {})
    compact = pair.sign(payload, **header)
    members = {"alg": pair.public.algorithm, "kid": pair.public.kid, **header}
    assert decode(compact.partition(".")[0]) == canonical(members), "the header is canonical too"
    return case(name, comment, given, holds=holds and is_verified(compact, pair), expect={"message": compact})


def find_number(condition: str) -> _Json:
    """A payload whose signature is of a rare kind; the first one, counted from 0."""
    tests = {
        "short r": lambda r, s: r < 2**248,
        "short s": lambda r, s: s < 2**248,
        "high s": lambda r, s: s > P256_ORDER // 2,
        "low s": lambda r, s: s <= P256_ORDER // 2,
    }
    return next(SMALL | {"n": n} for n in count() if tests[condition](*read_numbers(GW1.sign(SMALL | {"n": n}))))


def make_es256() -> list[Json]:
    unsorted = dict(sorted(SMALL.items(), reverse=True))
    letters = SMALL | {"transferContextId": "\u00c5ngstr\u00f6m \u20ac \U0001d11e"}
    return [
        sign("es256", "A message of SATP: the header has alg and kid; header and payload are canonical.", GW1, SMALL,
             holds=is_rfc_6979()),
        sign("es256-unsorted", "The members come in another order; the signed bytes are the same.", GW1, unsorted,
             holds=list(unsorted) != sorted(unsorted) and GW1.sign(unsorted) == GW1.sign(SMALL)),
        sign("es256-beyond-ascii", "What is signed is UTF-8.", GW1, letters, holds=not canonical(letters).isascii()),
        sign("es256-numbers", "Numbers are signed in their shortest notation.", GW1, SMALL | {"n": [1.5, 1e21, 100]},
             holds=b"[1.5,1e+21,100]" in canonical([1.5, 1e21, 100])),
        sign("es256-proposal", "The proposal of SATP 8.3, with lab keys.", GW1, make_proposal(key)),
        sign("es256-other-key", "Another key, another kid.", key("GW2"), SMALL),
        sign("es256-r-below-32-bytes", "r begins with a zero byte, which stays: both numbers have 32 bytes.", GW1,
             find_number("short r")),
        sign("es256-s-below-32-bytes", "The same for s.", GW1, find_number("short s")),
        sign("es256-high-s", "s is in the upper half and stays there: nothing asks for the smaller one of two.", GW1,
             find_number("high s")),
        sign("es256-low-s", "s is in the lower half, as a signer would have it who always takes the smaller one.", GW1,
             find_number("low s")),
    ]  # fmt: skip


def make_eddsa() -> list[Json]:
    request: _Json = {
        "_ObjectType": "CommandRequestObject",
        "command_type": "EmptyCommand",
        "command": {"_ObjectType": "EmptyCommand", "_reads": {}, "_writes": {}},
        "cid": "12ce83f680ab14ee7b87ecd4e6b1d6e9",
    }
    answer: _Json = {"_ObjectType": "CommandResponseObject", "status": "success", "cid": request["cid"]}
    error = {"type": "command_error", "field": "cid", "code": "conflict", "message": "\u20ac 5 or \u20ac 6?"}
    return [
        sign("eddsa", "A request of LIP-1.", C, request),
        sign("eddsa-with-memory", "memory names what its author wrote it from; it changes when a database is lost.", C,
             request, memory="first"),
        sign("eddsa-response", "A response carries the digest of its request in the protected header.",
             KeyPair.lab_ed25519("D", SEED), answer, request_digest=HASH),
        sign("eddsa-beyond-ascii", "What is signed is UTF-8.", C,
             answer | {"status": "failure", "error": [error]}, holds=not canonical(error).isascii()),
    ]  # fmt: skip


def make() -> Family:
    return Family(
        name="signing",
        about="A payload and a private key make a compact JWS, the same bytes every time: ES256 (RFC 6979) or EdDSA.",
        sections=("RFC 7515", "RFC 7518", "RFC 6979", "RFC 8037", "SATP 5.2", "LIP-1"),
        operation="sign-message",
        cases=[*make_es256(), *make_eddsa()],
    )
