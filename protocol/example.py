"""The transfer that every notebook moves: the example of the SATP core draft itself (SATP 8.3).

Its asset, parties, networks and capabilities are taken word for word, with two changes:

    keys    the draft prints placeholders ("replaced with hexadecimal for brevity", and one of them twice,
            for two different parties); here stand lab keys as JWK, which SATP 4.4 asks for
    "RSA"   is no algorithm name of RFC 7518 and is left out of gatewaySupportedSignatureAlgorithms

`make_proposal` is the only way from the example to a message.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol.objects import Json
from protocol.signing import KeyPair

DRAFT_EXAMPLE: Json = {
    "version": "1.0",
    "messageType": "urn:ietf:params:satp:core:msgtype:transfer-proposal-msg",
    "sessionId": "d66a567c-11f2-4729-a0e9-17ce1faf47c1",
    "transferContextId": "89e04e71-bba2-4363-933c-262f42ec07a0",
    "transferInitClaimFormat": "TRANSFER_INIT_CLAIM_FORMAT_1",
    "transferInitClaim": {
        "digitalAssetId": "2c949e3c-5edb-4a2c-9ef4-20de64b9960d",
        "assetProfileId": "38561",
        "networkLockType": "HASH_TIME_LOCK",
        "assetLockExpirationTime": 120,
        "verifiedOriginatorEntityId": "CN=Alice, OU=Example Org Unit, O=Example, L=New York, C=US",
        "verifiedBeneficiaryEntityId": "CN=Bob, OU=Case Org Unit, O=Case, L=San Francisco, C=US",
        "originatorPublicKey": "0304b9f34d3898b27f85b3d88fa069a879abe14db5060dde466dd1e4a31ff75e44",
        "beneficiaryPublicKey": "02a7bc058e1c6f3a79601d046069c9b6d0cb8ea5afc99e6074a5997284756fc9ae",
        "senderGatewaySignaturePublicKey": "02a7bc058e1c6f3a79601d046069c9b6d0cb8ea5afc99e6074a5997284756fc9ae",
        "receiverGatewaySignaturePublicKey": "0243b12ada6515ada3bf99a7da32e84f00383b5765fd7701528e660449ba5ef260",
        "senderGatewayId": "GW1",
        "recipientGatewayId": "GW2",
        "senderGatewayNetworkId": "1",
        "recipientGatewayNetworkId": "43114",
        "senderGatewayDeviceIdentityPublicKey": "0245785e34b4a7b457dd4683a297ea3d78bab35f8b2583df55d9df8c69604d0e73",
        "receiverGatewayDeviceIdentityPublicKey": "03763f0bc48ff154cff45ea533a9d8a94349d65a45573e4de6ad6495b6e834312b",
        "senderGatewayOwnerId": "CN=GatewayOps, OU=GatewayOps Systems, O=GatewayOps LTD, L=Austin, C=US",
        "receiverGatewayOwnerId": (
            "CN=BridgeSolutions, OU=BridgeSolutions Engineering, O=BridgeSolutions LTD, L=Austin, C=US"
        ),
    },
    "gatewayAndNetworkCapabilities": {
        "gatewayDefaultSignatureAlgorithm": "ES256",
        "gatewaySupportedSignatureAlgorithms": ["ES256", "RSA"],
        "networkLockType": "HASH_TIME_LOCK",
        "networkLockExpirationTime": 120,
        "gatewayTlsScheme": "TLS_AES_128_GCM_SHA256",
    },
}
CLAIM = DRAFT_EXAMPLE["transferInitClaim"]
OWNERS = {  # SATP 8.1: whose gateway it is; the common name of the draft's example
    CLAIM["senderGatewayId"]: "GatewayOps LTD",
    CLAIM["recipientGatewayId"]: "BridgeSolutions LTD",
}
KEY_HOLDERS = {  # whose lab key stands in which field of the claim
    "originatorPublicKey": "Alice",
    "beneficiaryPublicKey": "Bob",
    "senderGatewaySignaturePublicKey": "GW1",
    "receiverGatewaySignaturePublicKey": "GW2",
    "senderGatewayDeviceIdentityPublicKey": "GW1 device",
    "receiverGatewayDeviceIdentityPublicKey": "GW2 device",
}


MIRRORED = (  # what changes places when the recipient of the example is the sender
    ("verifiedOriginatorEntityId", "verifiedBeneficiaryEntityId"),
    ("originatorPublicKey", "beneficiaryPublicKey"),
    ("senderGatewaySignaturePublicKey", "receiverGatewaySignaturePublicKey"),
    ("senderGatewayId", "recipientGatewayId"),
    ("senderGatewayNetworkId", "recipientGatewayNetworkId"),
    ("senderGatewayDeviceIdentityPublicKey", "receiverGatewayDeviceIdentityPublicKey"),
    ("senderGatewayOwnerId", "receiverGatewayOwnerId"),
)


def make_proposal(
    key_of: Callable[[str], KeyPair],
    ids: tuple[str, str, str] | None = None,
    lock_type: str | None = None,
    *,
    is_mirrored: bool = False,
) -> Json:
    """The payload of 1.1. `ids` are asset, session and transfer context of another transfer of the same kind.

    Mirrored, it goes the other way: from Bob, through GW2, to Alice.
    """
    claim = CLAIM | {field: key_of(holder).public.jwk for field, holder in KEY_HOLDERS.items()}
    capabilities = DRAFT_EXAMPLE["gatewayAndNetworkCapabilities"] | {"gatewaySupportedSignatureAlgorithms": ["ES256"]}
    if is_mirrored:
        for one, other in MIRRORED:
            claim[one], claim[other] = claim[other], claim[one]
    if lock_type is not None:
        claim["networkLockType"] = capabilities["networkLockType"] = lock_type
    proposal = DRAFT_EXAMPLE | {"transferInitClaim": claim, "gatewayAndNetworkCapabilities": capabilities}
    if ids is not None:
        claim["digitalAssetId"], proposal["sessionId"], proposal["transferContextId"] = ids
    return proposal
