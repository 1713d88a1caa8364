"""Messages that a gateway must refuse, each at its place in a transfer, with the code of SATP 11.4.

The codes are written here by hand. For each case a real gateway, brought to this place, refuses the message with this
code and changes nothing; and afterwards it takes the real one.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from protocol.messages.satp import NAMESPACE
from protocol.objects import Json as _Json
from protocol.objects import canonical
from protocol.signing import extract, read_payload
from tools.vector_families import Family, Json
from tools.vector_families.places import (
    CLAIMS,
    OTHER_ID,
    WRONG,
    Place,
    find_place,
    share,
    sign_raw,
)
from tools.vector_families.play import LONG_S, MESSAGES, key, make_private_jwk, make_public_jwk, play_transfer
from tools.vector_families.signing import is_verified, read_numbers
from tools.vector_families.thumbprints import encode

NO_MESSAGE, NO_PERMISSION, BAD_SIGNATURE = "err_0.1.1", "err_0.1.2", "err_0.1.3"
AT = "2.2"  # the place of what can be wrong with any message: lock-assert, to GW2


def spoil_last(signature: str) -> str:
    """The same 64 bytes for who reads no unused bits."""
    spoiled = signature[:-1] + chr(ord(signature[-1]) + 1)
    assert urlsafe_b64decode(spoiled + "==") == urlsafe_b64decode(signature + "==")
    assert spoiled != signature
    return spoiled


def make_unsigned() -> list[Json]:
    """What is no JWS over canonical JSON, or a JWS whose signature does not count."""
    place, pair = find_place(AT), key("GW1")
    header, payload, signature = place.message.split(".")
    read, content = extract(place.message).headers(), canonical(place.payload)
    flattened = canonical({"payload": payload, "protected": header, "signature": signature}).decode()
    der = encode(encode_dss_signature(*read_numbers(place.message)))
    secret = canonical(make_public_jwk(pair))
    symmetric = f"{encode(canonical(read | {'alg': 'HS256'}))}.{payload}"
    tag = encode(hmac.digest(secret, symmetric.encode(), "sha256"))
    forged = sign_raw(read, content, key("somebody"))
    cases = [
        ("no-jws", "Neither three parts nor base64url.", "hello", NO_MESSAGE),
        ("nothing", "No bytes at all.", "", NO_MESSAGE),
        ("payload-alone", "What was signed, without the signature.", content.decode(), NO_MESSAGE),
        ("two-parts", "Without the signature.", f"{header}.{payload}", NO_MESSAGE),
        ("four-parts", "One part too many.", f"{place.message}.{signature}", NO_MESSAGE),
        ("flattened", "The JSON serialisation of RFC 7515 7.2.2 is another one than the compact one.", flattened,
         NO_MESSAGE),
        ("header-is-no-json", "The first part is not JSON.", f"{encode(b'alg')}.{payload}.{signature}", NO_MESSAGE),
        ("unknown-key", "A good signature of somebody nobody knows.", key("somebody").sign(place.payload),
         BAD_SIGNATURE),
        ("no-kid", "A good signature of the right key, which the header does not name.",
         sign_raw({"alg": "ES256"}, content, pair), BAD_SIGNATURE),
        ("kid-of-another", "Signed by GW1 under the kid of GW3.",
         sign_raw(read | {"kid": key("GW3").public.kid}, content, pair), BAD_SIGNATURE),
        ("forged", "Somebody else has signed under the kid of GW1.", forged, BAD_SIGNATURE),
        ("payload-changed", "A right signature over another payload.",
         f"{header}.{encode(canonical(place.payload | {'more': 1}))}.{signature}", BAD_SIGNATURE),
        ("header-changed", "The header was written anew, with blanks: the signature covers its bytes.",
         f"{encode(json.dumps(read).encode())}.{payload}.{signature}", BAD_SIGNATURE),
        ("signature-of-another-message", "A good signature of the same key, over 1.3.",
         f"{header}.{payload}.{play_transfer()['1.3'].split('.')[2]}", BAD_SIGNATURE),
        ("signature-in-der", "RFC 7518 3.4: r and s stand side by side; this is DER.", f"{header}.{payload}.{der}",
         BAD_SIGNATURE),
        ("signature-cut", "The last byte is missing.", f"{header}.{payload}.{signature[:-2]}", BAD_SIGNATURE),
        ("signature-with-unused-bits", "The last letter has bits that no byte needs, and they are not zero: lenient "
         "readers of base64url see the same signature in other bytes.", f"{header}.{payload}.{spoil_last(signature)}",
         BAD_SIGNATURE),
        ("signature-of-zeros", "r and s are zero: a verifier that computes with them may accept anything.",
         f"{header}.{payload}.{encode(bytes(64))}", BAD_SIGNATURE),
        ("algorithm-none", "Unsigned, and it says so.", f"{encode(canonical(read | {'alg': 'none'}))}.{payload}.",
         BAD_SIGNATURE),
        ("algorithm-hs256", "A tag made with the public key as a shared secret.", f"{symmetric}.{tag}", BAD_SIGNATURE),
        ("algorithm-of-another-key", "A P-256 key, and the header says EdDSA.",
         sign_raw(read | {"alg": "EdDSA"}, content, pair), BAD_SIGNATURE),
        ("critical-extension", "RFC 7515 4.1.11: crit names what is not understood here.",
         sign_raw(read | {"crit": ["exp"], "exp": 1}, content, pair), NO_MESSAGE),
        ("unencoded-payload", "The option of RFC 7797 is another serialisation.",
         sign_raw(read | {"b64": False, "crit": ["b64"]}, content, pair), NO_MESSAGE),
    ]  # fmt: skip
    well_signed = ("no-kid", "kid-of-another", "algorithm-of-another-key", "critical-extension", "unencoded-payload")
    return [
        place.refuse(name, words, message, code, holds=name not in well_signed or is_verified(message, pair))
        for name, words, message, code in cases
    ]


def make_not_canonical() -> list[Json]:
    """Rightly signed, and not the one notation that JSON has here: two readers could understand two things."""
    place, pair = find_place(AT), key("GW1")
    read, content = extract(place.message).headers(), canonical(place.payload)
    unsorted = json.dumps(dict(sorted(place.payload.items(), reverse=True)), separators=(",", ":")).encode()
    end = content[:-1]
    cases: dict[str, tuple[str, bytes]] = {
        "blanks": ("White space between the tokens.", json.dumps(place.payload, sort_keys=True).encode()),
        "line-break-after": ("A line break at the end.", content + b"\n"),
        "unsorted": ("The members are not sorted.", unsorted),
        "a-member-twice": ("Two members of one name: some readers take the first, some the last.",
                           content.replace(b'"messageType"', b'"hashPrevMessage":"","messageType"')),
        "number-with-fraction": ("A number that is whole has no fraction.", end + b',"x":1.0}'),
        "number-that-no-double-holds": ("It comes out of a reader as another number.", end + b',"x":9007199254740993}'),
        "needless-escape": ("A letter is escaped that need not be.", content.replace(b"-assert", rb"\u002dassert")),
        "not-utf-8": ("A byte that no UTF-8 text has.", end + b',"x":"\xff"}'),
        "half-a-surrogate-pair": ("Half a surrogate pair.", end + rb',"x":"\ud800"}'),
        "byte-order-mark": ("A byte order mark before the text.", b"\xef\xbb\xbf" + content),
        "not-an-object": ("A message is an object.", b"[" + content + b"]"),
        "empty": ("Nothing is signed, rightly.", b""),
        "cut": ("The last byte of the object is missing.", end),
    }  # fmt: skip
    return [
        place.refuse(f"payload-{name}", words, message, NO_MESSAGE, holds=is_verified(message, pair))
        for name, (words, data) in cases.items()
        for message in (sign_raw(read, data, pair),)
    ]


def make_places() -> list[Json]:
    """What binds each message to the one before it, and to its session; the code is that of the step."""
    codes = {  # of sessionId, transferContextId and hashPrevMessage
        "1.2": ("err_1.2.2", "err_1.2.1", NO_MESSAGE),
        "1.3": ("err_1.3.2", "err_1.3.1", "err_1.3.4"),
        "1.4": ("err_1.4.2", "err_1.4.1", "err_1.4.3"),
        "2.2": ("err_2.2.2", "err_2.2.1", "err_2.2.5"),
    } | {
        step: (f"err_{step}.2", f"err_{step}.1", f"err_{step}.3") for step in MESSAGES[5:]
    }  # fmt: skip
    cases = []
    for step, (session, context, chain) in codes.items():
        place = find_place(step)
        cases += [
            place.refuse(f"{step}-unknown-session", "A session that this gateway does not know.",
                         place.change(sessionId=OTHER_ID), session),
            place.refuse(f"{step}-other-context", "The transfer context is not the proposal's.",
                         place.change(transferContextId="another"), context),
            place.refuse(f"{step}-other-hash", "hashPrevMessage is not the digest of the message before.",
                         place.change(hashPrevMessage=WRONG), chain),
            place.refuse(f"{step}-no-hash", "hashPrevMessage is missing.", place.change(hashPrevMessage=None), chain),
        ]  # fmt: skip
    return cases


def make_fields() -> list[Json]:
    """Single fields of single messages."""
    fields: list[tuple[str, str, str, str, Any, str]] = [
        ("type-unknown", "There is no such message.", AT, "messageType", f"{NAMESPACE}hello-msg", NO_MESSAGE),
        ("type-missing", "A message without a type.", AT, "messageType", None, NO_MESSAGE),
        ("type-a-number", "A type is text.", AT, "messageType", 7, NO_MESSAGE),
        ("type-of-another-namespace", "The name is right, its namespace is not.", AT, "messageType",
         "urn:ietf:params:satp:msgtype:lock-assert-msg", NO_MESSAGE),
        ("session-no-uuid", "A session id is a UUID (RFC 9562).", AT, "sessionId", "7", "err_2.2.2"),
        ("session-in-capitals", "Its digits are small.", AT, "sessionId", "D66A567C-11F2-4729-A0E9-17CE1FAF47C1",
         "err_2.2.2"),
        ("session-missing", "No session id.", AT, "sessionId", None, "err_2.2.2"),
        ("context-missing", "No transfer context.", AT, "transferContextId", None, "err_2.2.1"),
        ("context-a-list", "A transfer context is text.", AT, "transferContextId", [1], "err_2.2.1"),
        ("hash-in-capitals", "A digest has small hexadecimal digits.", AT, "hashPrevMessage", "A" * 64, "err_2.2.5"),
        ("hash-in-base64", "A digest is hexadecimal.", AT, "hashPrevMessage",
         "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", "err_2.2.5"),
        ("version-other", "Another version of the protocol.", "1.2", "version", "2.0", NO_MESSAGE),
        ("claim-hash-of-the-receipt", "What is accepted is not the claim that was proposed.", "1.2",
         "hashTransferInitClaim", WRONG, "err_1.2.3"),
        ("claim-hash-of-commence", "What is begun is not the claim that was proposed.", "1.3",
         "hashTransferInitClaim", WRONG, "err_1.3.3"),
        ("commence-hash", "hashTransferCommence is not the digest of 1.3.", "3.9", "hashTransferCommence", WRONG,
         "err_3.9.4"),
    ]  # fmt: skip
    formats = {"2.2": ("lockAssertionClaimFormat", "err_2.2.3"), "3.3": ("mintAssertionFormat", "err_3.3.4"),
               "3.5": ("burnAssertionClaimFormat", "err_3.5.4"),
               "3.7": ("assignmentAssertionClaimFormat", "err_3.7.4")}  # fmt: skip
    for step, (field, code) in formats.items():
        fields.append((f"{step}-format", "There is no such format of a claim.", step, field, "X", code))
    return [
        find_place(step).refuse(name, words, find_place(step).change(**{field: value}), code)
        for name, words, step, field, value, code in fields
    ]


def make_times() -> list[Json]:
    """Times are RFC 3339 in UTC with Z; the lock's is that of its receipt."""
    place, receipt = find_place("2.2"), find_place("1.2")
    times: dict[str, tuple[str, Any]] = {
        "as-the-draft-writes-it": ("The notation of the draft's example is no RFC 3339.", "2024-10-03T12:02+00Z"),
        "with-an-offset": ("The same moment as text is another text: only Z is written.", "2024-10-03T12:04:00+00:00"),
        "without-zone": ("Nobody knows which moment it is.", "2024-10-03T12:04:00"),
        "without-time": ("A date is no time.", "2024-10-03"),
        "with-a-blank": ("T stands between date and time.", "2024-10-03 12:04:00Z"),
        "in-small-letters": ("T and Z are capitals.", "2024-10-03t12:04:00z"),
        "in-seconds": ("Seconds since 1970, as text.", "1727956920"),
        "a-number": ("Seconds since 1970, as a number.", 1727956920),
        "missing": ("SATP 9.1 requires it.", None),
        "not-the-receipts": ("Well written, and not what the receipt of the lock says.", "2024-10-03T12:09:00Z"),
        "in-the-past": ("Well written and over; nor is it what the receipt says.", "2000-01-01T00:00:00Z"),
    }
    cases = [
        place.refuse(f"expiration-{name}", words, place.change(lockAssertionExpiration=value), "err_2.2.4",
                     holds=place.payload["lockAssertionExpiration"] != value)
        for name, (words, value) in times.items()
    ]  # fmt: skip
    wrong = times["as-the-draft-writes-it"][1]
    words = "SATP 11.4 has no code for this field, so it is the general one."
    cases.append(receipt.refuse("timestamp-as-the-draft-writes-it", words, receipt.change(timestamp=wrong), NO_MESSAGE))
    late = Place("2.2", wait=LONG_S)
    words = "A right message that comes when its lock is over: only the time of its arrival is wrong."
    return [*cases, late.refuse("expiration-is-over", words, late.message, "err_2.2.9")]


def make_proposals() -> list[Json]:
    """What a recipient does not accept in a proposal."""
    place, other = find_place("1.1"), make_public_jwk(key("somebody"))
    claims: list[tuple[str, str, str, Any, str]] = [
        ("no-asset", "Nothing to transfer.", "digitalAssetId", None, "err_1.1.11"),
        ("no-profile", "No asset profile.", "assetProfileId", None, "err_1.1.12"),
        ("originator-a-number", "An entity is text.", "verifiedOriginatorEntityId", 7, "err_1.1.13"),
        ("beneficiary-empty", "An entity has a name.", "verifiedBeneficiaryEntityId", "", "err_1.1.14"),
        ("originator-key-of-the-draft", "The placeholder that the draft prints is no JWK.", "originatorPublicKey",
         "0304b9", "err_1.1.15"),
        ("beneficiary-key-on-no-curve", "A JWK without a point.", "beneficiaryPublicKey", {"kty": "EC"}, "err_1.1.16"),
        ("beneficiary-key-private", "A private key has strayed in.", "beneficiaryPublicKey",
         make_private_jwk(key("Bob")), "err_1.1.16"),
        ("sender-key-of-another", "Not the key that signs the proposal.", "senderGatewaySignaturePublicKey", other,
         "err_1.1.17"),
        ("recipient-key-of-another", "Not the key of the recipient.", "receiverGatewaySignaturePublicKey", other,
         "err_1.1.18"),
        ("another-sender", "The sender that is named is not the one that signs.", "senderGatewayId", "GW3",
         "err_1.1.19"),
        ("another-recipient", "It is for another gateway.", "recipientGatewayId", "GW3", "err_1.1.20"),
        ("another-network", "The recipient does not serve this network.", "recipientGatewayNetworkId", "7", NO_MESSAGE),
    ]  # fmt: skip
    able: list[tuple[str, str, str, Any, str]] = [
        ("algorithm-of-the-draft", "RSA is no algorithm of RFC 7518.", "gatewayDefaultSignatureAlgorithm", "RSA",
         "err_1.1.31"),
        ("lock-unknown", "A lock that nobody has.", "networkLockType", "PAD_LOCK", "err_1.1.32"),
        ("lock-of-one-second", "It could not outlive one lost message.", "networkLockExpirationTime", 1, "err_1.1.33"),
        ("lock-of-minus-one-second", "A duration is positive.", "networkLockExpirationTime", -1, "err_1.1.33"),
        ("tls-of-old", "A scheme before TLS 1.3.", "gatewayTlsScheme", "TLS_RSA_WITH_RC4_128_MD5", "err_1.1.34"),
    ]  # fmt: skip
    parts = {"transferInitClaim": claims, "gatewayAndNetworkCapabilities": able}
    cases = [
        place.refuse(f"proposal-{name}", words, place.change_part(part, **{field: value}), code)
        for part, rows in parts.items()
        for name, words, field, value, code in rows
    ]
    wrong: _Json = {"version": "2.0", "transferInitClaimFormat": "TRANSFER_INIT_CLAIM_FORMAT_9"}
    codes = {"version": NO_MESSAGE, "transferInitClaimFormat": "err_1.1.3"}
    words = {"version": "Another version of the protocol.", "transferInitClaimFormat": "There is no such format."}
    for field, code in codes.items():
        name = "proposal-version" if field == "version" else "proposal-format"
        cases.append(place.refuse(name, words[field], place.change(**{field: wrong[field]}), code))
    return cases


def make_receipts() -> list[Json]:
    """The receipts inside the claims must be those of this transfer, by the right network."""
    codes = {"2.2": "err_2.2.3", "3.3": "err_3.3.4", "3.5": "err_3.5.4", "3.7": "err_3.7.4"}
    cases = []
    for step, code in codes.items():
        place = find_place(step)
        own = read_payload(place.payload[CLAIMS[step]]["receipt"])
        other_network = "43114" if own["networkId"] == "1" else "1"
        asset = "err_2.2.7" if step == "2.2" else code
        faults: list[tuple[str, str, str, str]] = [
            ("none", "A claim without a receipt.", place.change_part(CLAIMS[step], receipt=None), code),
            ("by-the-gateway", "The gateway itself has signed it.", place.change_receipt(place.author), code),
            ("by-the-other-network", "The network of the receiver has signed it.",
             place.change_receipt(f"network {other_network}"), code),
            ("of-another-session", "It is about another session.", place.change_receipt(sessionId=OTHER_ID), code),
            ("of-another-asset", "It is about another asset.", place.change_receipt(assetId="another"), asset),
            ("of-another-action", "It shows another action.", place.change_receipt(action="unlock"), code),
            ("for-another-beneficiary", "It is for somebody else.",
             place.change_receipt(beneficiary="CN=Mallory"), code),
        ]  # fmt: skip
        if "under" in own:
            words = "It builds on another lock, or another mint."
            faults.append(("under-another", words, place.change_receipt(under=f"another/{step}"), code))
        cases += [place.refuse(f"{step}-receipt-{name}", words, data, code) for name, words, data, code in faults]
    return cases


def make_disorder() -> list[Json]:
    """Good messages of good authors that do not come here."""
    place, later = find_place("2.2"), find_place("2.4")
    ids = {name: place.payload[name] for name in ("sessionId", "transferContextId", "hashPrevMessage")}
    early = key("GW1").sign(ids | {"messageType": f"{NAMESPACE}commit-prepare-msg"})
    proposal = read_payload(play_transfer()["1.1"]) | {"transferContextId": "another"}
    answer = key("GW1").sign(ids | {"messageType": f"{NAMESPACE}assertion-receipt-msg"})
    first = find_place("1.1")
    return [
        place.refuse("too-early", "3.1 with the right hash of the message before: only TABLE 1 can tell.", early,
                     NO_MESSAGE),
        place.refuse("session-used-twice", "A second proposal with the id of a session that exists.",
                     key("GW1").sign(proposal), "err_1.1.2"),
        place.refuse("of-the-other-role", "A message of the recipient, by the sender.", answer, NO_MESSAGE),
        place.refuse("by-a-third-gateway", "A gateway with a good certificate speaks in a session of others.",
                     key("GW3").sign(place.payload), NO_PERMISSION),
        place.refuse("by-a-network", "The key of a network signs receipts and no messages.",
                     key("network 1").sign(place.payload), BAD_SIGNATURE),
        later.refuse("the-own-message", "What this gateway said itself comes back: its own key is no peer's.",
                     play_transfer()["2.2"], BAD_SIGNATURE),
        first.refuse("first-of-no-session", "A session begins with a proposal.", play_transfer()["1.3"], "err_1.3.2"),
    ]  # fmt: skip


def make() -> Family:
    cases = [*make_unsigned(), *make_not_canonical(), *make_disorder(), *make_places(), *make_fields(), *make_times(),
             *make_proposals(), *make_receipts()]  # fmt: skip
    return Family(
        name="invalid-messages",
        about="One message arrives at a gateway, at a time, after others that were good. Most must be refused.",
        sections=("SATP 11.4", "SATP 5.2", "SATP 8", "SATP 9", "SATP 10", "RFC 7515", "RFC 8785", "RFC 3339"),
        operation="receive-message",
        shared=share(),
        cases=[*(find_place(step).accept() for step in MESSAGES), *cases],
    )
