"""Keys and signatures: JWK thumbprints, compact JWS, and nothing about what is signed.

Every message is a compact JWS (RFC 7515) over canonical JSON, with `alg` and `kid` in the protected
header; `kid` is the RFC 7638 thumbprint of the key. SATP 5.2 asks for ECDSA with P-256 and SHA-256,
which is ES256. Signatures are deterministic (RFC 6979): the same message has the same bytes wherever
it is signed, which is what lets documentation be compared byte by byte. LIP-1 asks for EdDSA with Ed25519,
which is deterministic by itself. A response of LIP-1 also carries the digest of its request in the protected
header (ours; LIP-1 signs only the cid): without it a response is no evidence of what was answered. And
every message of LIP-1 may name the memory of its author, which changes when a database is lost.

A lost key is replaced by a statement of the same owner with a higher serial number. The old key still
verifies what was signed with it; whether it may sign anything new is for the protocol to say.

Lab keys are computed from a seed that everybody can read. They carry `"lab": true` in their JWK, and
`refuse_lab_key` is what anything that opens a real socket must call first.

Verification is over the bytes received, never over a re-encoding of them. Most messages of a party have the
same protected header: its bytes are made once, and a header that a good signature came with is not read and
checked again. The signature is verified every time, and a header that differs in a single bit is another one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwa import EdDSAAlgorithm, ESAlgorithm, JWSAlgModel
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import CompactSignature, JWSRegistry
from joserfc.registry import Header, HeaderParameter
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from protocol.errors import Misuse, Refused
from protocol.objects import Json, canonical, digest, parse

REQUEST_DIGEST, MEMORY = "request_digest", "memory"
DIGEST = re.compile("[0-9a-f]{64}")
MOST_SEALS = 256  # different headers that a key ring remembers
COORDINATE = 43  # letters for 32 bytes: RFC 7518 6.2.1.2; with fewer, or with more, one key would have two thumbprints
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class BadSignature(Refused):
    """A JWS whose signature does not fit, or whose key is not one we know."""


class NotSigned(Refused):
    """Bytes that are not a compact JWS over canonical JSON at all."""


class BadPayload(NotSigned):
    """The signature is good, but what was signed is not a canonical JSON object. `payload` is what it was."""

    payload: bytes = b""


class DeterministicES256(ESAlgorithm):
    """ES256 with the nonce of RFC 6979; verification is the library's."""

    def __init__(self) -> None:
        super().__init__("ES256", "P-256", 256, recommended=True)
        self._ecdsa = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)

    def sign(self, msg: bytes, key: ECKey) -> bytes:
        r, s = decode_dss_signature(key.get_op_key("sign").sign(msg, self._ecdsa))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Ed25519(EdDSAAlgorithm):
    """EdDSA as LIP-1 writes it; RFC 9864 would call the algorithm Ed25519, and the only key accepted is one of that."""

    security_warning = ""  # the library's reminder of RFC 9864; the curve is checked with the key


def _validate_digest(value: object) -> None:
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise ValueError("must be a SHA-256 digest in lower-case hex")


class Registry(JWSRegistry):
    """The algorithms of this project, in one place; a header that names another one is refused."""

    max_payload_length = 6_000_000  # an answer about MOST_SESSIONS of messages/recovery.py takes 4.1 MB

    def __init__(self) -> None:
        super().__init__(
            {
                REQUEST_DIGEST: HeaderParameter("Digest of the request", _validate_digest),
                MEMORY: HeaderParameter("Which memory of its author this was written from", "str"),
            }
        )
        self.algorithms: dict[str, JWSAlgModel] = {"ES256": DeterministicES256(), "EdDSA": Ed25519()}
        self.recommended = list(self.algorithms)


_REGISTRY = Registry()


_MEMBERS = {"P-256": ("crv", "kty", "x", "y"), "Ed25519": ("crv", "kty", "x")}
_ALGORITHMS = {"P-256": "ES256", "Ed25519": "EdDSA"}
Key = ECKey | OKPKey


@dataclass(frozen=True)
class PublicKey:
    """A party's verification key."""

    key: Key
    is_lab: bool = False

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> PublicKey:
        """Refused unless it is a public key on P-256 or Ed25519; a private key that strayed in here is refused too."""
        curve = (jwk.get("kty"), jwk.get("crv")) if isinstance(jwk, Mapping) else None
        if curve not in (("EC", "P-256"), ("OKP", "Ed25519")) or "d" in jwk:
            raise Refused("not the JWK of a public P-256 key or public Ed25519 key (RFC 7517)")
        try:
            members = [(name, jwk.get(name, "")) for name in _MEMBERS[jwk["crv"]]]
            if any(len(value) != COORDINATE for name, value in members if name in ("x", "y")):
                raise ValueError("a coordinate has 32 bytes, no more and no less, in base64url without padding")
            return _import_public(jwk.get("lab") is True, *members)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Refused(f"not the JWK of a public P-256 key or public Ed25519 key (RFC 7517): {error}") from error

    @cached_property
    def kid(self) -> str:
        """RFC 7638 thumbprint."""
        return self.key.thumbprint()

    @cached_property
    def algorithm(self) -> str:
        return _ALGORITHMS[self.key.curve_name]

    @cached_property
    def jwk(self) -> Json:
        members = self.key.as_dict(private=False)
        jwk = {name: members[name] for name in _MEMBERS[self.key.curve_name]}
        return {**jwk, "lab": True} if self.is_lab else jwk


@dataclass(frozen=True)
class KeyPair:
    """A party's signing key. `name` is whose it is, for people."""

    name: str
    key: Key = field(repr=False)
    is_lab: bool = False

    @classmethod
    def lab(cls, name: str, seed: str) -> KeyPair:
        """The P-256 key that everybody computes from the same seed and name. For the lab only."""
        return _compute_lab_key(name, seed)

    @classmethod
    def lab_ed25519(cls, name: str, seed: str) -> KeyPair:
        """The same for Ed25519. For the lab only."""
        private = ed25519.Ed25519PrivateKey.from_private_bytes(_lab_secret(name, seed)[:32])
        return cls(name, OKPKey.import_key(_to_pem(private)), is_lab=True)

    @classmethod
    def generate(cls, name: str) -> KeyPair:
        return cls(name, ECKey.generate_key("P-256", private=True))

    @classmethod
    def generate_ed25519(cls, name: str) -> KeyPair:
        return cls(name, OKPKey.generate_key("Ed25519", private=True))

    @cached_property
    def public(self) -> PublicKey:
        return PublicKey(type(self.key).import_key(self.key.as_dict(private=False)), self.is_lab)

    @cached_property
    def _algorithm(self) -> JWSAlgModel:
        algorithm = _REGISTRY.get_alg(self.public.algorithm)
        algorithm.check_key(self.key)
        return algorithm

    def sign(self, payload: Json, **header: str) -> str:
        """A compact JWS over the canonical bytes of `payload`; `header` is added to the protected header."""
        return self.sign_canonical(canonical(payload), **header)

    def sign_canonical(self, payload: bytes, **header: str) -> str:
        """The same where the canonical bytes are at hand."""
        protected = _write_header(self.public.algorithm, self.public.kid, **header)
        signing_input = protected + b"." + urlsafe_b64encode(payload)
        signature = self._algorithm.sign(signing_input, self.key)
        return (signing_input + b"." + urlsafe_b64encode(signature)).decode("ascii")


_encode_header = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache(maxsize=256)
def _write_header(alg: str, kid: str, **more: str) -> bytes:
    """A protected header of ours as it is sent, checked as those of others are."""
    header = {"alg": alg, "kid": kid, **more}
    _REGISTRY.check_header(header)
    return urlsafe_b64encode(_encode_header(header).encode("ascii"))


@lru_cache(maxsize=4096)
def _import_public(is_lab: bool, *members: tuple[str, str]) -> PublicKey:
    """The same few gateways send the same few keys with every proposal."""
    jwk: dict[str, str | list[str]] = dict(members)
    return PublicKey(ECKey.import_key(jwk) if jwk["kty"] == "EC" else OKPKey.import_key(jwk), is_lab)


@lru_cache(maxsize=256)
def _compute_lab_key(name: str, seed: str) -> KeyPair:
    """Computing one takes longer than a signature, and many runs with one seed have the same few keys."""
    secret = int.from_bytes(_lab_secret(name, seed), "big")
    private = ec.derive_private_key(secret % (P256_ORDER - 1) + 1, ec.SECP256R1())
    return KeyPair(name, ECKey.import_key(_to_pem(private)), is_lab=True)


def _lab_secret(name: str, seed: str) -> bytes:
    return hashlib.sha512(f"lab key|{seed}|{name}".encode(errors="surrogateescape")).digest()


def _to_pem(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return private.private_bytes(encoding, form, serialization.NoEncryption())


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
    request_digest: str | None = None
    memory: str | None = None

    def __repr__(self) -> str:
        return f"{self.payload.get('messageType', 'payload')} signed by {self.signer}, digest {self.digest[:8]}"


class _Seal(NamedTuple):
    """A protected header that was checked: whose key it names, and what else it says."""

    owner: str
    key: PublicKey
    algorithm: JWSAlgModel
    header: Header


class KeyRing:
    """The keys that a party accepts, and whose they are."""

    def __init__(self, keys: Iterable[tuple[str, PublicKey]]) -> None:
        self._by_kid = {key.kid: (owner, key) for owner, key in keys}
        self._seals: dict[bytes, _Seal] = {}  # headers that came with a good signature, by their bytes

    def add(self, owner: str, key: PublicKey) -> None:
        self._by_kid[key.kid] = (owner, key)
        self._seals.clear()

    @property
    def owners(self) -> set[str]:
        """Whose keys these are."""
        return {owner for owner, _ in self._by_kid.values()}

    def verify(self, compact: bytes | str) -> Signed:
        """Check form, key, signature and canonical payload. Raises NotSigned or BadSignature."""
        data = _as_bytes(compact)
        seal = self._seals.get(data.partition(b".")[0])
        token = extract(data) if seal is None else _extract_known(data, seal.header)
        try:
            seal = seal or self._check_header(token.headers())
            fits = _is_signed(token, seal)
        except (JoseError, ValueError, TypeError) as error:
            raise BadSignature(f"the protected header is not acceptable: {error}") from error
        if not fits:
            raise BadSignature(f"the signature is not one of {seal.owner}")
        self._remember(token.segments["header"], seal)
        payload = token.payload
        try:
            said = parse(payload)
        except Refused as error:
            refusal = BadPayload(error.reason, found=error.found, field=error.field)
            refusal.payload = payload
            raise refusal from error
        of, memory = seal.header.get(REQUEST_DIGEST), seal.header.get(MEMORY)
        return Signed(_as_text(compact), seal.owner, seal.key.kid, said, digest(payload), of, memory)

    def verify_stored(self, compact: bytes | str) -> Signed:
        """As `verify`, for what is in a chain already. Where keys are replaced, former keys still count for that."""
        return self.verify(compact)

    def _check_header(self, header: Header) -> _Seal:
        owner, key = self._by_kid.get(str(header.get("kid")), (None, None))
        if owner is None or key is None:
            raise BadSignature("the key named by kid is not known here", found=header.get("kid"))
        _REGISTRY.check_header(header)
        algorithm = _REGISTRY.get_alg(header["alg"])
        algorithm.check_key(key.key)
        return _Seal(owner, key, algorithm, header)

    def _remember(self, segment: bytes, seal: _Seal) -> None:
        if REQUEST_DIGEST in seal.header:
            return  # an answer: no other message has this header
        if len(self._seals) >= MOST_SEALS:
            self._seals.clear()
        self._seals[segment] = seal


def _is_signed(token: CompactSignature, seal: _Seal) -> bool:
    try:
        signature = urlsafe_b64decode(token.segments["signature"])
    except ValueError:
        return False
    signing_input = token.segments["header"] + b"." + token.segments["payload"]
    return seal.algorithm.verify(signing_input, signature, seal.key.key)


def extract(compact: bytes | str) -> CompactSignature:
    """The parts of a compact JWS, not verified. Raises NotSigned.

    Nothing critical is understood here, the unencoded payload of RFC 7797 included: it is another serialisation.
    """
    try:
        found = jws.extract_compact(_as_bytes(compact), registry=_REGISTRY)
        if {"crit", "b64"} & found.headers().keys():
            raise NotSigned("the protected header asks for an extension that is not understood here", found="crit")
        return found
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise NotSigned(f"not a compact JWS (RFC 7515): {error or type(error).__name__}") from error


def _extract_known(data: bytes, header: Header) -> CompactSignature:
    """The same where the header was read before. What is wrong with the rest, `extract` says."""
    try:
        _REGISTRY.validate_compact_value_size(data)
        first, payload, last = data.split(b".")
        _REGISTRY.validate_payload_size(payload)
        _REGISTRY.validate_signature_size(last)
        token = CompactSignature(header, urlsafe_b64decode(payload))
    except (JoseError, ValueError):
        return extract(data)
    token.segments = {"header": first, "payload": payload, "signature": last}
    return token


def _as_bytes(compact: bytes | str) -> bytes:
    try:
        return compact if isinstance(compact, bytes) else compact.encode()
    except (ValueError, AttributeError) as error:
        raise NotSigned(f"not a compact JWS (RFC 7515): {error or type(error).__name__}") from error


def read_payload(compact: bytes | str) -> Json:
    """The payload of a JWS whose signature was verified before, or that is only being shown."""
    return parse(bytes(extract(compact).payload))


def reread(compact: str, signer: str) -> Signed:
    """A JWS from the own log, whose signature was verified, or made, before it was written there."""
    payload = urlsafe_b64decode(compact.split(".")[1].encode())
    return Signed(compact, signer, "", json.loads(payload), digest(payload))


def _as_text(compact: bytes | str) -> str:
    return compact if isinstance(compact, str) else compact.decode("ascii")


@dataclass(frozen=True)
class KeyStatement:
    """What an owner says about one of its parties: this is its signing key from now on."""

    party: str
    serial: int
    key: PublicKey


def state_key(owner: KeyPair, party: str, key: PublicKey, serial: int) -> str:
    """The owner's signed statement that `key` signs for `party`; of two statements the higher serial holds."""
    return owner.sign({"_ObjectType": "KeyStatement", "party": party, "serial": serial, "key": key.jwk})


def verify_key_statement(statement: str, owner: PublicKey, party: str) -> KeyStatement:
    """Refused unless this owner made it, about this party."""
    said = KeyRing([("the owner", owner)]).verify(statement).payload
    if said.get("_ObjectType") != "KeyStatement" or said.get("party") != party:
        raise Refused("not a statement about a key of this party", expected=party, found=said.get("party"))
    serial, jwk = said.get("serial"), said.get("key")
    if not isinstance(serial, int) or isinstance(serial, bool) or serial < 1 or not isinstance(jwk, dict):
        raise Refused("the statement has no serial number, or no key", field="serial")
    return KeyStatement(party, serial, PublicKey.from_jwk(jwk))
