"""Names of keys: RFC 7638 thumbprints, and the hash by which a certificate names a backup."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from protocol.certificates import OwnerCA, RootCA, compute_key_hash
from protocol.errors import Refused
from protocol.signing import PublicKey
from tools.vector_families import Family, Json, case
from tools.vector_families.play import key, make_private_jwk, make_public_jwk

# The example of RFC 8037 A.2 and A.3.
ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ED25519_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
# The key of RFC 7515 A.3.
P256 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
SHORT = "short 153"  # the lab key of this name has an x that begins with a zero byte
SPKI_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def compute_by_hand(jwk: Json) -> Json:
    """RFC 7638 3 and RFC 5480 without the package: the required members in order; point and algorithm in DER."""
    names = ("crv", "kty", "x", "y") if jwk["kty"] == "EC" else ("crv", "kty", "x")
    text = json.dumps({name: jwk[name] for name in names}, separators=(",", ":"))
    found = {"thumbprint": encode(hashlib.sha256(text.encode()).digest())}
    if jwk["kty"] == "OKP":
        return found
    spki = SPKI_P256 + b"\x04" + decode(jwk["x"]) + decode(jwk["y"])
    return found | {"keyHash": hashlib.sha256(spki).hexdigest()}


def name_key(name: str, comment: str, jwk: Json, *, holds: object) -> Json:
    return case(name, comment, {"jwk": jwk}, holds=holds, expect=compute_by_hand(jwk))


def refuse(name: str, comment: str, jwk: Json, reason: str) -> Json:
    try:
        PublicKey.from_jwk(jwk)
        is_refused = False
    except Refused:
        is_refused = True
    return case(name, comment, {"jwk": jwk}, holds=is_refused, code="", reason=reason)


def make_good() -> list[Json]:
    gateway, short = make_public_jwk(key("GW1")), make_public_jwk(key(SHORT))
    short_hash = compute_key_hash(key(SHORT).public)
    mixed = {"use": "sig", "y": P256["y"], "kid": "a name", "x": P256["x"], "alg": "ES256", "kty": "EC", "crv": "P-256"}
    owner = OwnerCA("An owner", key("An owner"), RootCA("A root", key("A root")))
    listed = owner.certify("GW2", key("GW2").public, backups=[key("GW1").public]).backups
    return [
        name_key("rfc-8037-example", "The key of RFC 8037 A.2 with the thumbprint that is printed in A.3.", ED25519,
                 holds=compute_by_hand(ED25519) == {"thumbprint": ED25519_THUMBPRINT}),
        name_key("rfc-7515-key", "The P-256 key of RFC 7515 A.3.", P256,
                 holds=compute_by_hand(P256)["thumbprint"] == PublicKey.from_jwk(P256).kid),
        name_key("members-in-any-order", "Order and optional members of the JWK do not count.", mixed,
                 holds=compute_by_hand(mixed) == compute_by_hand(P256)),
        name_key("lab-key", "The key of GW1 in these vectors; a certificate names it as a backup by keyHash.", gateway,
                 holds=listed == (compute_by_hand(gateway)["keyHash"],)),
        name_key("marked-as-lab-key", "A member of ours is one like any other that RFC 7638 does not ask for.",
                 gateway | {"lab": True}, holds=key("GW1").public.jwk == gateway | {"lab": True}),
        name_key("leading-zero", "A coordinate that begins with a zero byte keeps it.", short,
                 holds=decode(short["x"])[0] == 0 and compute_by_hand(short)["keyHash"] == short_hash),
    ]  # fmt: skip


def make_refused() -> list[Json]:
    short, off = make_public_jwk(key(SHORT)), bytearray(decode(P256["x"]))
    off[-1] ^= 1
    length, curve = "a coordinate has 32 bytes, no more and no less", "the point is not on the curve"
    return [
        refuse("private-key", "A private key has strayed in where a public one belongs.", make_private_jwk(key("GW1")),
               "a private key has no place here"),
        refuse("point-off-the-curve", "One bit of x is another one.", P256 | {"x": encode(bytes(off))}, curve),
        refuse("point-at-zero", "The point (0, 0) is not on P-256.", P256 | {"x": "A" * 43, "y": "A" * 43}, curve),
        refuse("short-coordinate", "RFC 7518 6.2.1.2: a leading zero byte was left out, so that one key had two names.",
               short | {"x": encode(decode(short["x"])[1:])}, length),
        refuse("long-coordinate", "The same with one zero byte too many.",
               P256 | {"x": encode(b"\0" + decode(P256["x"]))}, length),
        refuse("no-y", "A coordinate is missing.", {name: P256[name] for name in ("kty", "crv", "x")}, length),
        refuse("padding", "RFC 7515 2: base64url is without padding.", P256 | {"x": P256["x"] + "="}, length),
        refuse("other-alphabet", "The alphabet is that of base64url.",
               P256 | {"y": P256["y"].replace("_", "/").replace("-", "+")}, "not base64url"),
        refuse("number-for-text", "A coordinate is text.", P256 | {"x": 5}, "a coordinate is text"),
        refuse("short-ed25519", "A key of Ed25519 has 32 bytes.",
               ED25519 | {"x": encode(decode(ED25519["x"])[:31])}, length),
        refuse("other-curve", "No other curve is used: SATP 5.2 asks for P-256.", P256 | {"crv": "P-384"},
               "neither P-256 nor Ed25519"),
        refuse("other-kind", "A shared secret is no public key.", {"kty": "oct", "k": "AAAA"},
               "neither P-256 nor Ed25519"),
    ]  # fmt: skip


def make() -> Family:
    return Family(
        name="thumbprints",
        about="A public key is named by its thumbprint (RFC 7638), in a certificate's list of backups by its keyHash.",
        sections=("RFC 7638", "RFC 7517", "RFC 8037", "SATP 4.4", "RECOVERY 6.1"),
        operation="compute-thumbprint",
        cases=[*make_good(), *make_refused()],
    )
