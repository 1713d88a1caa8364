"""What an implementation can be asked about bytes, keys, messages and certificates, as JSON in and JSON out.

Each operation takes the `input` of a case of tests/vectors and what the family's cases share, and returns the
output; what must be refused raises Refused with the document's code. An operation only translates: every rule it
tests lives in the module that a gateway uses too. tests/vectors/README.md describes input and output of each.

Certificates are judged by public halves alone, as whoever has no key of an owner must do it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from joserfc.jwk import ECKey, OKPKey

from protocol.certificates import BadCertificate, Certificate, OwnerCA, RootCA, compute_key_hash
from protocol.channel import Unreadable
from protocol.errors import BAD_SIGNATURE, INVALID_MESSAGE_TYPE, Refused
from protocol.messages.offchain import read_request, read_response
from protocol.messages.recovery import is_recovery, parse_recovery
from protocol.messages.satp import parse_message
from protocol.objects import Json, canonical, digest
from protocol.peers import CertifiedKeys
from protocol.signing import BadSignature, KeyPair, KeyRing, NotSigned, PublicKey, Signed, extract

Operation = Callable[[Json, Json], Json]  # input, shared; returns the output


def canonicalize(given: Json, shared: Json) -> Json:
    """The one notation of a value, and its digest."""
    value = json.loads(given["json"])
    return {"text": canonical(value).decode(), "digest": digest(value)}


# ---------------------------------------------------------------------- keys and signatures


def compute_thumbprint(given: Json, shared: Json) -> Json:
    """The name of a public key; and the hash by which a certificate names a backup, where it can."""
    key = PublicKey.from_jwk(given["jwk"])
    is_p256 = key.algorithm == "ES256"
    return {"thumbprint": key.kid} | ({"keyHash": compute_key_hash(key)} if is_p256 else {})


def read_private_key(jwk: Json) -> KeyPair:
    return KeyPair("the signer", ECKey.import_key(jwk) if jwk["kty"] == "EC" else OKPKey.import_key(jwk))


def sign_message(given: Json, shared: Json) -> Json:
    """A compact JWS over the canonical payload, by the algorithm of the key."""
    key = read_private_key(given["key"])
    return {"message": key.sign(given["payload"], **given.get("header", {}))}


def read_ring(keys: Json) -> KeyRing:
    return KeyRing((name, PublicKey.from_jwk(jwk)) for name, jwk in keys.items())


def verify_signed(ring: KeyRing, compact: str) -> Signed:
    """Refused with the documents' codes: the signature does not count, or there is none over canonical JSON."""
    try:
        return ring.verify(compact)
    except BadSignature as error:
        raise Refused(error.reason, code=BAD_SIGNATURE, found=error.found) from error
    except NotSigned as error:
        raise Refused(error.reason, code=INVALID_MESSAGE_TYPE, found=error.found) from error


def describe_signed(signed: Signed) -> Json:
    header = extract(signed.compact).headers()
    return {"signer": signed.signer, "header": header, "payload": signed.payload, "digest": signed.digest}


def verify_message(given: Json, shared: Json) -> Json:
    """A message of SATP or of its recovery, alone: signature and form. Whether it comes at its place is not asked."""
    signed = verify_signed(read_ring(shared["keys"]), given["message"])
    parse_recovery(signed.payload) if is_recovery(signed.payload) else parse_message(signed.payload)
    return describe_signed(signed)


def verify_offchain(given: Json, shared: Json) -> Json:
    """A request or a response of LIP-1; a response together with the request that it answers."""
    try:
        signed = read_ring(shared["keys"]).verify(given["message"])
    except Refused as refusal:
        raise Unreadable(refusal, given["message"]).refusal from refusal
    if signed.payload.get("_ObjectType") != "CommandResponseObject":
        read_request(signed.payload)
        return describe_signed(signed)
    read_response(signed.payload)
    request = digest(bytes(extract(given["request"]).payload))
    if signed.request_digest != request:
        raise Refused("the response answers another request", expected=request, found=signed.request_digest)
    return describe_signed(signed)


# ---------------------------------------------------------------------- certificates


@dataclass(frozen=True)
class KnownRoot(RootCA):
    """A root of which only the certificate is known."""

    shown: Certificate = field(kw_only=True)

    @property
    def certificate(self) -> Certificate:
        return self.shown


@dataclass(frozen=True)
class KnownOwner(OwnerCA):
    """An owner of which only the certificate is known."""

    shown: Certificate = field(kw_only=True)

    @property
    def certificate(self) -> Certificate:
        return self.shown


def read_authorities(shared: Json) -> tuple[list[OwnerCA], list[Certificate]]:
    """The owners and the trusted roots of a family. An owner may be certified by a root that is not trusted."""
    roots: dict[str, RootCA] = {}
    for name, text in shared["roots"].items():
        shown = Certificate.from_base64(text)
        roots[name] = KnownRoot(name, KeyPair(name, shown.key.key), shown=shown)
    owners: list[OwnerCA] = []
    for name, owner in shared["owners"].items():
        shown = Certificate.from_base64(owner["certificate"])
        known = KeyPair(name, shown.key.key)
        customers = tuple(owner.get("customers", ()))
        owners.append(KnownOwner(shown.owner, known, roots[owner["root"]], customers, shown=shown))
    return owners, [roots[name].certificate for name in shared["trusted"]]


def read_peers(given: Json, shared: Json) -> CertifiedKeys:
    """What a gateway knows of its peers before the certificate of the case is shown to it."""
    now = datetime.fromisoformat(given["at"])
    owners, trusted = read_authorities(shared)
    known = [Certificate.from_base64(shared["certificates"][name]) for name in given["known"]]
    peers = CertifiedKeys(known, owners, lambda: now, roots=trusted)
    for takeover in given.get("takeovers", []):
        backup = Certificate.from_base64(shared["certificates"][takeover["certificate"]])
        peers.adopt_backup(backup, takeover["gateway"], takeover["epoch"])
    for taken_back in given.get("revoked", []):
        peers.revoke(taken_back["serial"], taken_back["gateway"])
    return peers


def describe_certificate(certificate: Certificate) -> Json:
    return {
        "gateway": certificate.gateway_id,
        "owner": certificate.owner,
        "serial": certificate.serial,
        "kid": certificate.key.kid,
        "backups": list(certificate.backups),
        "validFrom": f"{certificate.x509.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "validUntil": f"{certificate.x509.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
    }


def verify_certificate(given: Json, shared: Json) -> Json:
    """The certificate that a gateway shows: its first one if none of it is known, else the current or a successor."""
    peers = read_peers(given, shared)
    try:
        certificate = Certificate.from_base64(given["certificate"])
        if not given["known"]:
            peers.admit(certificate)
        return describe_certificate(peers.judge(certificate.der, given["gateway"]))
    except BadCertificate as error:
        raise _as_bad_signature(error) from error


def verify_backup(given: Json, shared: Json) -> Json:
    """Whether another gateway may act for this one from an epoch on."""
    peers = read_peers(given, shared)
    try:
        certificate = Certificate.from_base64(given["certificate"])
        peers.verify_backup(certificate, given["gateway"], given["epoch"])
    except BadCertificate as error:
        raise _as_bad_signature(error) from error
    return describe_certificate(certificate)


def _as_bad_signature(error: BadCertificate) -> Refused:
    """A certificate that does not count makes the signature under it worth nothing."""
    condition: Any = getattr(error, "condition", None)
    words = f"{condition}: {error.reason}" if condition else error.reason
    return Refused(words, code=BAD_SIGNATURE)


OPERATIONS: dict[str, Operation] = {
    "canonicalize": canonicalize,
    "compute-thumbprint": compute_thumbprint,
    "sign-message": sign_message,
    "verify-message": verify_message,
    "verify-offchain": verify_offchain,
    "verify-certificate": verify_certificate,
    "verify-backup": verify_backup,
}
