"""Stage 1: what a recipient accepts in a proposal (SATP 8.1 to 8.3), and with which code it declines.

There is no counter-offer in a session: the draft speaks of one (8) and gives it no message; a rejected
proposal ends, and another one begins with another session id (C2).

Three lock durations stand in three places (C5). Here: the lock lasts for the shorter of
`assetLockExpirationTime` and `networkLockExpirationTime`, and `lockAssertionExpiration` must be what
the receipt of the lock says.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from protocol.errors import Misuse, Refused, satp_code
from protocol.messages.satp import VERSION, TransferProposal
from protocol.signing import KeyPair, PublicKey, Signed

LOCK_TYPES = ("TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK")


@dataclass(frozen=True)
class Identity:
    """SATP 5.3.11: a gateway's id, the network behind it, and its signing key.

    `former` are keys that it lost, or of those that acted for it before. `backup_id` is the own id of a backup that
    acts for the gateway: it has the gateway's place in every session, and a key and a certificate of its own.
    """

    gateway_id: str
    network_id: str
    key: KeyPair
    former: tuple[PublicKey, ...] = ()
    backup_id: str | None = None


@dataclass(frozen=True)
class Capabilities:
    """What a gateway can work with. `shortest_lock_s`: a shorter lock could not outlive a few lost messages."""

    signature_algorithms: tuple[str, ...] = ("ES256",)
    lock_types: tuple[str, ...] = LOCK_TYPES
    tls_schemes: tuple[str, ...] = ("TLS_AES_128_GCM_SHA256",)
    shortest_lock_s: int = 30


KEYS = (
    "originatorPublicKey",
    "beneficiaryPublicKey",
    "senderGatewaySignaturePublicKey",
    "receiverGatewaySignaturePublicKey",
)


def verify_proposal(proposal: TransferProposal, signed: Signed, own: Identity, able: Capabilities) -> None:
    """Raise Refused unless this gateway can take part; the code names the first thing that does not fit."""
    kids = _read_keys(proposal)
    claim = proposal.transferInitClaim
    expected: tuple[tuple[str, object, object], ...] = (
        ("version", proposal.version, VERSION),
        ("senderGatewayId", claim.senderGatewayId, signed.signer),
        ("recipientGatewayId", claim.recipientGatewayId, own.gateway_id),
        ("recipientGatewayNetworkId", claim.recipientGatewayNetworkId, own.network_id),
        ("senderGatewaySignaturePublicKey", kids["senderGatewaySignaturePublicKey"], signed.kid),
        ("receiverGatewaySignaturePublicKey", kids["receiverGatewaySignaturePublicKey"], own.key.public.kid),
    )
    for name, found, value in expected:
        if found != value:
            raise Refused(f"invalid {name}", code=satp_code("1.1", name), field=name, expected=value, found=found)
    _verify_capabilities(proposal, able)


def verify_own_proposal(proposal: TransferProposal, own: Identity, known: Container[str]) -> None:
    """Misuse for a proposal that a sender cannot stand for: another network or key, or a peer it does not know."""
    claim = proposal.transferInitClaim
    try:
        kid = PublicKey.from_jwk(claim.senderGatewaySignaturePublicKey).kid
    except Refused as refusal:
        raise Misuse(f"senderGatewaySignaturePublicKey: {refusal}") from refusal
    wanted = {
        "senderGatewayNetworkId": (claim.senderGatewayNetworkId, own.network_id),
        "senderGatewaySignaturePublicKey": (kid, own.key.public.kid),
        "recipientGatewayId": (claim.recipientGatewayId in known, True),
    }
    for name, (found, value) in wanted.items():
        if found != value:
            raise Misuse(f"{name} in the proposal does not fit {own.gateway_id}: expected {value}, found {found}")


def _read_keys(proposal: TransferProposal) -> dict[str, str]:
    """The thumbprints of the keys in the claim, which must be public P-256 keys as JWK."""
    kids = {}
    for name in KEYS:
        try:
            kids[name] = PublicKey.from_jwk(getattr(proposal.transferInitClaim, name)).kid
        except Refused as error:
            raise Refused(f"{name}: {error.reason}", code=satp_code("1.1", name), field=name) from error
    return kids


def _verify_capabilities(proposal: TransferProposal, able: Capabilities) -> None:
    claim, offered = proposal.transferInitClaim, proposal.gatewayAndNetworkCapabilities
    choices = (
        ("gatewayDefaultSignatureAlgorithm", offered.gatewayDefaultSignatureAlgorithm, able.signature_algorithms),
        ("networkLockType", claim.networkLockType, able.lock_types),
        ("networkLockType", offered.networkLockType, able.lock_types),
        ("gatewayTlsScheme", offered.gatewayTlsScheme, able.tls_schemes),
    )
    for name, found, wanted in choices:
        if found not in wanted:
            code, words = satp_code("1.1", name), f"unsupported {name}"
            raise Refused(words, code=code, field=name, expected=" or ".join(wanted), found=found)
    lock_s = min(filter(None, [offered.networkLockExpirationTime, claim.assetLockExpirationTime]))
    if claim.networkLockType != "HASH_LOCK" and lock_s < able.shortest_lock_s:
        name, wanted_s = "networkLockExpirationTime", f"at least {able.shortest_lock_s} s"
        code, words = satp_code("1.1", name), f"unsupported {name}"
        raise Refused(words, code=code, field=name, expected=wanted_s, found=f"{lock_s} s")
