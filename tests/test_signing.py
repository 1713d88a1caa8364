"""Keys of both kinds, the protected header, and what is no signature."""

import base64
import json
import warnings

import pytest

from protocol.errors import Misuse, Refused
from protocol.signing import BadPayload, BadSignature, KeyPair, KeyRing, NotSigned, PublicKey, extract, refuse_lab_key

PAIRS = [KeyPair.lab("A", "x"), KeyPair.lab_ed25519("A", "x")]


@pytest.mark.parametrize("pair", PAIRS, ids=["ES256", "EdDSA"])
def test_a_signature_is_deterministic_and_verifies(pair: KeyPair) -> None:
    ring = KeyRing([("A", pair.public)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        signed = pair.sign({"b": 1, "a": 2}, request_digest="0" * 64, memory="m")
        verified = ring.verify(signed)
    assert pair.sign({"a": 2, "b": 1}, request_digest="0" * 64, memory="m") == signed
    assert (verified.signer, verified.request_digest, verified.memory) == ("A", "0" * 64, "m")
    assert extract(signed).headers()["alg"] == pair.public.algorithm


@pytest.mark.parametrize("pair", PAIRS, ids=["ES256", "EdDSA"])
def test_a_public_key_survives_its_jwk_and_a_private_one_is_refused(pair: KeyPair) -> None:
    assert PublicKey.from_jwk(pair.public.jwk).kid == pair.public.kid
    with pytest.raises(Refused):
        PublicKey.from_jwk({**pair.public.jwk, "d": "x"})
    with pytest.raises(Refused):
        PublicKey.from_jwk({**pair.public.jwk, "x": "!"})
    with pytest.raises(Refused):
        PublicKey.from_jwk({**pair.public.jwk, "crv": "X25519"})
    with pytest.raises(Refused, match="32 bytes"):
        PublicKey.from_jwk({**pair.public.jwk, "x": "A" * 42})
    with pytest.raises(Refused, match="32 bytes"):
        PublicKey.from_jwk({**pair.public.jwk, "x": f"AA{pair.public.jwk['x']}"})
    with pytest.raises(Misuse):
        refuse_lab_key(pair)


def forge(pair: KeyPair, **header: object) -> str:
    """A good signature under another header."""
    first, payload, signature = pair.sign({"a": 1}).split(".")
    old = json.loads(base64.urlsafe_b64decode(first + "=="))
    new = base64.urlsafe_b64encode(json.dumps({**old, **header}).encode()).decode().rstrip("=")
    return f"{new}.{payload}.{signature}"


@pytest.mark.parametrize("pair", PAIRS, ids=["ES256", "EdDSA"])
@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": "EdDSA"},
        {"kid": "other"},
        {"kid": 5},
        {"surprise": 1},
        {"request_digest": "x"},
        {"memory": 5},
        {"crit": ["x"]},
        {"b64": False},
    ],
)
def test_another_header_is_refused(pair: KeyPair, header: dict[str, object]) -> None:
    ring = KeyRing([("A", key.public) for key in PAIRS])
    with pytest.raises((BadSignature, NotSigned)):
        ring.verify(forge(pair, **header))


@pytest.mark.parametrize("pair", PAIRS, ids=["ES256", "EdDSA"])
def test_a_changed_byte_anywhere_is_refused(pair: KeyPair) -> None:
    ring, signed = KeyRing([("A", pair.public)]), pair.sign({"text": "x"})
    for place in range(0, len(signed), 3):
        other = signed[:place] + ("A" if signed[place] != "A" else "B") + signed[place + 1 :]
        with pytest.raises(Refused):
            ring.verify(other)


def test_a_good_signature_over_something_else_than_canonical_json_says_what_it_was() -> None:
    pair = PAIRS[1]
    with pytest.raises(BadPayload) as refusal:
        KeyRing([("A", pair.public)]).verify(pair.sign_canonical(b'{"b":1,"a":2}'))
    assert refusal.value.payload == b'{"b":1,"a":2}' and refusal.value.field == "a"


def test_a_generated_ed25519_key_signs_by_eddsa_and_is_no_lab_key() -> None:
    key, other = KeyPair.generate_ed25519("C"), KeyPair.generate_ed25519("C")
    refuse_lab_key(key)
    signed = KeyRing([("C", key.public)]).verify(key.sign({"a": 1}))
    assert signed.signer == "C" and extract(signed.compact).headers()["alg"] == "EdDSA"
    assert key.public.kid != other.public.kid


def test_a_header_that_is_remembered_saves_no_check_of_the_signature() -> None:
    """The ring reads a header once; what follows it is checked every time."""
    key = KeyPair.lab("GW1", "remembered")
    ring = KeyRing([("GW1", key.public)])
    first, second = key.sign({"a": 1}), key.sign({"a": 2})
    assert ring.verify(first).payload == {"a": 1}
    header, payload, signature = second.split(".")
    for wrong in (
        f"{header}.{first.split('.')[1]}.{signature}",
        f"{header}.{payload}.{first.split('.')[2]}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature}.x",
        f"{header}..{signature}",
    ):
        with pytest.raises(Refused):
            ring.verify(wrong)
    assert ring.verify(second).payload == {"a": 2}


def test_a_key_that_is_added_clears_what_was_remembered() -> None:
    key, other = KeyPair.lab("GW1", "remembered"), KeyPair.lab("GW2", "remembered")
    ring = KeyRing([("GW1", key.public)])
    assert ring.verify(key.sign({"a": 1})).signer == "GW1"
    ring.add("GW2", other.public)
    assert ring.verify(other.sign({"a": 1})).signer == "GW2"
    ring.add("somebody else", key.public)
    assert ring.verify(key.sign({"a": 1})).signer == "somebody else"
