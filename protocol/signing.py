"""Keys and signatures: JWK thumbprints, compact JWS, and nothing about what is signed.

Every message is a compact JWS (RFC 7515) over canonical JSON, with `alg` and `kid` in the protected
header; `kid` is the RFC 7638 thumbprint of the key. SATP 5.2 asks for ECDSA with P-256 and SHA-256,
which is ES256. Signatures are deterministic (RFC 6979): the same message has the same bytes wherever
it is signed, which is what lets documentation be compared byte by byte.

Lab keys are computed from a seed that everybody can read. They carry `"lab": true` in their JWK, and
`refuse_lab_key` is what anything that opens a real socket must call first.

Verification is over the bytes received, never over a re-encoding of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwa import ESAlgorithm, JWSAlgModel
from joserfc.jwk import ECKey
from joserfc.jws import CompactSignature, JWSRegistry

from protocol.errors import Misuse, Refused
from protocol.objects import Json, canonical, digest, parse

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class BadSignature(Refused):
    """A JWS whose signature does not fit, or whose key is not one we know."""


class NotSigned(Refused):
    """Bytes that are not a compact JWS over canonical JSON at all."""


class DeterministicES256(ESAlgorithm):
    """ES256 with the nonce of RFC 6979; verification is the library's."""

    def __init__(self) -> None:
        super().__init__("ES256", "P-256", 256, recommended=True)
        self._ecdsa = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)

    def sign(self, msg: bytes, key: ECKey) -> bytes:
        r, s = decode_dss_signature(key.get_op_key("sign").sign(msg, self._ecdsa))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Registry(JWSRegistry):
    """The algorithms of this project, in one place; a header that names another one is refused."""

    max_payload_length = 4_000_000  # recovery messages carry whole histories

    def __init__(self) -> None:
        super().__init__()
        self.algorithms: dict[str, JWSAlgModel] = {"ES256": DeterministicES256()}
        self.recommended = list(self.algorithms)


_REGISTRY = Registry()


@dataclass(frozen=True)
class PublicKey:
    """A party's verification key."""

    key: ECKey
    is_lab: bool = False

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> PublicKey:
        """Refused unless it is a public EC key on P-256; a private key that strayed in here is refused too."""
        if not isinstance(jwk, Mapping) or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or "d" in jwk:
            raise Refused("not the JWK of a public P-256 key (RFC 7517)")
        try:
            return cls(ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")}), jwk.get("lab") is True)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Refused(f"not the JWK of a public P-256 key (RFC 7517): {error}") from error

    @cached_property
    def kid(self) -> str:
        """RFC 7638 thumbprint."""
        return self.key.thumbprint()

    @cached_property
    def jwk(self) -> Json:
        members = self.key.as_dict(private=False)
        jwk = {name: members[name] for name in ("crv", "kty", "x", "y")}
        return {**jwk, "lab": True} if self.is_lab else jwk


@dataclass(frozen=True)
class KeyPair:
    """A party's signing key. `name` is whose it is, for people."""

    name: str
    key: ECKey = field(repr=False)
    is_lab: bool = False

    @classmethod
    def lab(cls, name: str, seed: str) -> KeyPair:
        """The key that everybody computes from the same seed and name. For the lab only."""
        secret = int.from_bytes(
            hashlib.sha512(f"lab key|{seed}|{name}".encode(errors="surrogateescape")).digest(), "big"
        )
        private = ec.derive_private_key(secret % (P256_ORDER - 1) + 1, ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(name, ECKey.import_key(pem), is_lab=True)

    @classmethod
    def generate(cls, name: str) -> KeyPair:
        return cls(name, ECKey.generate_key("P-256", private=True))

    @cached_property
    def public(self) -> PublicKey:
        return PublicKey(ECKey.import_key(self.key.as_dict(private=False)), self.is_lab)

    @cached_property
    def _header(self) -> dict[str, Any]:
        return {"alg": "ES256", "kid": self.public.kid}

    def sign(self, payload: Json) -> str:
        """A compact JWS over the canonical bytes of `payload`."""
        return jws.serialize_compact(self._header, canonical(payload), self.key, registry=_REGISTRY)


def refuse_lab_key(key: KeyPair | PublicKey) -> None:
    """Raise Misuse for a lab key: its private half is computed from a seed that is printed in the notebooks."""
    if key.is_lab:
        raise Misuse("a lab key is public knowledge and must not be used on a real connection: use KeyPair.generate")


@dataclass(frozen=True)
class Signed:
    """A compact JWS that was verified: who signed it, with which key, and what."""

    compact: str
    signer: str
    kid: str
    payload: Json = field(hash=False)
    digest: str

    def __repr__(self) -> str:
        return f"{self.payload.get('messageType', 'payload')} signed by {self.signer}, digest {self.digest[:8]}"


class KeyRing:
    """The keys that a party accepts, and whose they are."""

    def __init__(self, keys: Iterable[tuple[str, PublicKey]]) -> None:
        self._by_kid = {key.kid: (owner, key) for owner, key in keys}

    @property
    def owners(self) -> set[str]:
        """Whose keys these are."""
        return {owner for owner, _ in self._by_kid.values()}

    def verify(self, compact: bytes | str) -> Signed:
        """Check form, key, signature and canonical payload. Raises NotSigned or BadSignature."""
        signature = extract(compact)
        owner, key = self._by_kid.get(str(signature.headers().get("kid")), (None, None))
        if owner is None or key is None:
            raise BadSignature("the key named by kid is not known here", found=signature.headers().get("kid"))
        try:
            fits = jws.validate_compact(signature, key.key, registry=_REGISTRY)
        except (JoseError, ValueError, TypeError) as error:
            raise BadSignature(f"the protected header is not acceptable: {error}") from error
        if not fits:
            raise BadSignature(f"the signature is not one of {owner}")
        try:
            payload = parse(signature.payload)
        except Refused as error:
            raise NotSigned(error.reason, found=error.found) from error
        return Signed(_as_text(compact), owner, key.kid, payload, digest(signature.payload))


def extract(compact: bytes | str) -> CompactSignature:
    """The parts of a compact JWS, not verified. Raises NotSigned.

    Nothing critical is understood here, the unencoded payload of RFC 7797 included: it is another serialisation.
    """
    try:
        found = jws.extract_compact(compact if isinstance(compact, bytes) else compact.encode(), registry=_REGISTRY)
        if {"crit", "b64"} & found.headers().keys():
            raise NotSigned("the protected header asks for an extension that is not understood here", found="crit")
        return found
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NotSigned(f"not a compact JWS (RFC 7515): {error or type(error).__name__}") from error


def read_payload(compact: bytes | str) -> Json:
    """The payload of a JWS whose signature was verified before, or that is only being shown."""
    return parse(bytes(extract(compact).payload))


def _as_text(compact: bytes | str) -> str:
    return compact if isinstance(compact, str) else compact.decode("ascii")
