"""Certificates of gateways: who issued them, for whom, from when until when, and which one replaces which."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.certificates import BACKUPS, Certificate, OwnerCA, RootCA, compute_key_hash
from protocol.errors import BAD_SIGNATURE, Refused
from protocol.operations import verify_certificate
from protocol.signing import KeyPair
from tools.vector_families import Family, Json, case
from tools.vector_families.play import key

NOTHING = ("nothing",)  # is known of the gateway
AT = "2024-10-03T12:02:00Z"
LATE, EARLY = datetime(2024, 10, 1, tzinfo=UTC), datetime(2024, 11, 1, tzinfo=UTC)

ROOT = RootCA("The root of the lab", key("The root of the lab"))
OTHER_ROOT = RootCA("Another root", key("Another root"))
OWNER = OwnerCA("GatewayOps LTD", key("GatewayOps LTD"), ROOT)
PEER = OwnerCA("BridgeSolutions LTD", key("BridgeSolutions LTD"), ROOT)
PUBLIC = OwnerCA("A public CA", key("A public CA"), ROOT, customers=("Alpha LTD", "Beta LTD"))
UNTRUSTED = OwnerCA("Elsewhere LTD", key("Elsewhere LTD"), OTHER_ROOT)
MALLORY = OwnerCA("Mallory LTD", key("Mallory LTD"), ROOT)  # in no list of owners
NAMESAKE = OwnerCA(OWNER.owner, key("Mallory LTD"), ROOT)

FIRST = OWNER.certify("GW1", key("GW1").public)
SECOND = OWNER.certify("GW1", key("GW1 key 2").public, serial=2)
CERTIFICATES = {
    "GW1": FIRST,
    "GW1 with backups": OWNER.certify("GW1", key("GW1").public, backups=[key("GW1-B").public, key("GW1-C").public]),
    "GW1 second": SECOND,
    "GW2": PEER.certify("GW2", key("GW2").public),
    "GW1 of Alpha": PUBLIC.certify("GW1", key("GW1").public, organization="Alpha LTD"),
}
SHARED: Json = {
    "trusted": [ROOT.name],
    "roots": {root.name: root.certificate.base64 for root in (ROOT, OTHER_ROOT)},
    "owners": {
        owner.owner: {"certificate": owner.certificate.base64, "root": owner.root.name}
        | ({"customers": list(owner.customers)} if owner.customers else {})
        for owner in (OWNER, PEER, PUBLIC, UNTRUSTED)
    },
    "certificates": {name: certificate.base64 for name, certificate in CERTIFICATES.items()},
}


def is_signed_by(certificate: Certificate, pair: KeyPair) -> bool:
    """By the library of signatures alone."""
    public, shown = pair.key.public_key, certificate.x509
    assert isinstance(public, ec.EllipticCurvePublicKey)
    try:
        public.verify(shown.signature, shown.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def is_valid(certificate: Certificate, at: str = AT) -> bool:
    shown = certificate.x509
    return shown.not_valid_before_utc <= datetime.fromisoformat(at) <= shown.not_valid_after_utc


def describe(certificate: Certificate) -> Json:
    """What a reader has to find, read with the library of X.509 alone."""
    shown = certificate.x509
    names = {attribute.oid.dotted_string: str(attribute.value) for attribute in shown.subject}
    listed: list[str] = []
    for extension in shown.extensions:
        if extension.oid == BACKUPS and isinstance(extension.value, x509.UnrecognizedExtension):
            text = extension.value.value.hex()
            listed = [text[place + 4 : place + 68] for place in range(len(text) % 68, len(text), 68)]
    return {
        "gateway": names["2.5.4.3"],
        "owner": names["2.5.4.10"],
        "serial": shown.serial_number,
        "kid": certificate.key.kid,
        "backups": listed,
        "validFrom": shown.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "validUntil": shown.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def accept(name: str, comment: str, shown: Certificate, *known: str, holds: object = True, at: str = AT) -> Json:
    given = {"gateway": "GW1", "known": list(known), "at": at, "certificate": shown.base64}
    return case(name, comment, given, holds=holds, expect=describe(shown))


def refuse(
    name: str,
    comment: str,
    shown: Certificate | str,
    *known: str,
    reason: str,
    holds: object,
    at: str = AT,
    revoked: int | None = None,
) -> Json:
    text = shown if isinstance(shown, str) else shown.base64
    known = () if known == NOTHING else known or ("GW1",)
    given: Json = {"gateway": "GW1", "known": list(known), "at": at, "certificate": text}
    if revoked is not None:
        given["revoked"] = [{"gateway": "GW1", "serial": revoked}]
    assert reason in explain(given), f"{name}: refused for another reason: {explain(given)}"
    return case(name, comment, given, holds=holds, code=BAD_SIGNATURE, reason=reason)


def explain(given: Json) -> str:
    """In words of the package, why it refuses; empty if it does not."""
    try:
        verify_certificate(given, SHARED)
    except Refused as refusal:
        return refusal.reason
    return ""


def make_accepted() -> list[Json]:
    short = OWNER.certify("GW1", key("GW1").public, valid_from=LATE, valid_until=EARLY)
    two = [key(name).public for name in ("GW1-B", "GW1-C")]
    many = [key(f"backup {number}").public for number in range(16)]
    listed, longest = CERTIFICATES["GW1 with backups"], OWNER.certify("GW1", key("GW1").public, backups=many)
    begins, ends = (f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (LATE, EARLY))
    renewed = OWNER.certify("GW1", key("GW1").public, serial=7)
    return [
        accept("the-first-one", "Nothing of this gateway is known: its owner is, under a trusted root.", FIRST,
               holds=is_signed_by(FIRST, OWNER.key) and is_signed_by(OWNER.certificate, ROOT.key)),
        accept("the-known-one", "The current certificate is shown again.", FIRST, "GW1"),
        accept("a-new-key", "The same owner, a higher serial number, a new key: it replaces the known one.", SECOND,
               "GW1", holds=SECOND.key.kid != FIRST.key.kid and is_signed_by(SECOND, OWNER.key)),
        accept("a-renewed-one", "A higher serial number for the same key; the numbers need not follow each other.",
               renewed, "GW1", holds=renewed.key.kid == FIRST.key.kid),
        accept("first-second", "Valid from this second on.", short, at=begins, holds=is_valid(short, begins)),
        accept("last-second", "Valid until this second, and in it.", short, at=ends, holds=is_valid(short, ends)),
        accept("two-backups", "The list names keys: SHA-256 of the DER SubjectPublicKeyInfo.", listed,
               holds=describe(listed)["backups"] == list(map(compute_key_hash, two))),
        accept("sixteen-backups", "The longest list; its length takes three bytes.", longest,
               holds=describe(longest)["backups"] == list(map(compute_key_hash, many))),
        accept("a-customer-of-a-public-ca", "A public CA certifies the gateways of those whose names it has verified.",
               CERTIFICATES["GW1 of Alpha"], holds=is_signed_by(CERTIFICATES["GW1 of Alpha"], PUBLIC.key)),
    ]  # fmt: skip


def make_issuers() -> list[Json]:
    """Somebody else has issued it."""
    foreign, namesake = (by.certify("GW1", key("GW1 key 2").public, serial=2) for by in (MALLORY, NAMESAKE))
    other, gamma = (PEER.certify("GW1", key("GW1 key 2").public, serial=2),
                    PUBLIC.certify("GW1", key("GW1").public, organization="Gamma LTD"))  # fmt: skip
    elsewhere = UNTRUSTED.certify("GW1", key("GW1").public)
    beta = PUBLIC.certify("GW1", key("GW1 key 2").public, serial=2, organization="Beta LTD")
    return [
        refuse("another-owner", "Well signed by another known owner, which does not answer for this gateway.", other,
               reason="names another owner", holds=is_signed_by(other, PEER.key)),
        refuse("an-unknown-owner", "Its owner is in no list.", foreign, reason="names another owner",
               holds=is_signed_by(foreign, MALLORY.key)),
        refuse("a-namesake", "It names the right owner, and somebody else has signed it.", namesake,
               reason="was not signed by", holds=not is_signed_by(namesake, OWNER.key)),
        refuse("an-untrusted-root", "Its owner is certified by a root that is not trusted.", elsewhere, *NOTHING,
               holds=is_signed_by(UNTRUSTED.certificate, OTHER_ROOT.key),
               reason="certified by no root that is trusted"),
        refuse("no-customer", "Well signed by a public CA, for an organization that is none of its customers.",
               gamma, *NOTHING,
               reason="this owner is not known here", holds=is_signed_by(gamma, PUBLIC.key)),
        refuse("another-customer", "The same public CA, and another customer of it than the known certificate names.",
               beta, "GW1 of Alpha", reason="names another owner", holds=is_signed_by(beta, PUBLIC.key)),
    ]  # fmt: skip


def make_replaced() -> list[Json]:
    """It was issued by the right owner, and something newer is known."""
    twin = OWNER.certify("GW1", key("GW1 key 2").public)
    back = OWNER.certify("GW1", key("GW1").public, serial=3)
    other = OWNER.certify("GW9", key("GW9").public, serial=2)
    taken = OWNER.certify("GW1", key("GW2").public, serial=2)
    return [
        refuse("replaced", "A higher serial number is known.", FIRST, "GW1", "GW1 second", reason="was replaced by",
               holds=FIRST.serial < SECOND.serial),
        refuse("the-same-serial-number", "Another certificate with the serial number of the known one.", twin,
               reason="was replaced by", holds=(twin.serial, twin.der == FIRST.der) == (FIRST.serial, False)),
        refuse("a-lost-key-comes-back", "A newer certificate for a key that was replaced: whoever found it has it.",
               back, "GW1", "GW1 second", reason="is for a key that was replaced", holds=back.serial > SECOND.serial),
        refuse("another-gateway", "Well signed, for another gateway of the same owner.", other,
               reason="is one of another gateway", holds=is_signed_by(other, OWNER.key)),
        refuse("the-key-of-another", "Two gateways cannot have one key: a signature would be of both.", taken,
               "GW1", "GW2", reason="is for a key of GW2", holds=taken.key.kid == CERTIFICATES["GW2"].key.kid),
    ]  # fmt: skip


def make_times() -> list[Json]:
    short = OWNER.certify("GW1", key("GW1").public, serial=2, valid_from=LATE, valid_until=EARLY)
    return [
        refuse("one-second-too-early", "It is not valid yet.", short, reason="is not valid before",
               at="2024-09-30T23:59:59Z", holds=not is_valid(short, "2024-09-30T23:59:59Z") and is_valid(short)),
        refuse("one-second-too-late", "It has expired.", short, reason="expired at", at="2024-11-01T00:00:01Z",
               holds=not is_valid(short, "2024-11-01T00:00:01Z") and is_valid(short)),
        refuse("revoked", "The owner has taken the known certificate back.", FIRST, reason="was revoked", revoked=1,
               holds=is_valid(FIRST)),
        refuse("revoked-before-it-came", "The owner has taken back the one with which the gateway comes now.", SECOND,
               reason="was revoked", revoked=2, holds=is_signed_by(SECOND, OWNER.key)),
    ]  # fmt: skip


# ---------------------------------------------------------------------- what cannot be read


def certify_raw(value: bytes, public: ec.EllipticCurvePublicKey | None = None) -> Certificate:
    """A certificate of GW1, well signed by its owner, with these bytes as its list of backups."""
    usual, signer = FIRST.x509, OWNER.key.key.private_key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder().subject_name(usual.subject).issuer_name(usual.issuer).serial_number(2)
    builder = builder.not_valid_before(usual.not_valid_before_utc).not_valid_after(usual.not_valid_after_utc)
    subject = public or usual.public_key()
    assert isinstance(subject, ec.EllipticCurvePublicKey)
    builder = builder.public_key(subject)
    if value:
        builder = builder.add_extension(x509.UnrecognizedExtension(BACKUPS, value), critical=False)
    return Certificate(builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER))


HASH = bytes.fromhex(compute_key_hash(key("GW1-B").public))
GOOD = b"\x04\x20" + HASH
MALFORMED = {
    "list-is-empty": ("No backups means no extension.", b"\x30\x00"),
    "list-is-cut": ("The last byte of the second hash is missing.", b"\x30\x44" + (GOOD + GOOD)[:-1]),
    "list-has-bytes-after-it": ("DER ends where the length says.", b"\x30\x22" + GOOD + b"\x00"),
    "list-is-a-set": ("A SET OF is not a SEQUENCE OF.", b"\x31\x22" + GOOD),
    "list-is-a-bare-hash": ("One backup is a list too.", GOOD),
    "list-with-a-short-hash": ("A hash has 32 bytes.", b"\x30\x21\x04\x1f" + HASH[:31]),
    "list-with-a-long-length": ("DER has one notation of a length: the shortest.", b"\x30\x81\x22" + GOOD),
    "list-with-no-length": ("An indefinite length is no DER.", b"\x30\x80" + GOOD + b"\x00\x00"),
    "list-of-hex": ("Hashes are bytes, not text.", HASH.hex().encode()),
    "list-of-seventeen": ("There are at most sixteen.", b"\x30\x82\x02\x42" + GOOD * 17),
}


def make_unreadable() -> list[Json]:
    assert describe(certify_raw(b"\x30\x22" + GOOD))["backups"] == [HASH.hex()], "a good list, made the same way"
    curve = ec.derive_private_key(7, ec.SECP384R1()).public_key()
    other_curve = certify_raw(b"", curve)
    cut = b64encode(SECOND.der[:-1]).decode()
    base = SECOND.base64
    return [
        *(
            refuse(name, words, certify_raw(value), reason="list of authorised backups",
                   holds=is_signed_by(certify_raw(value), OWNER.key))
            for name, (words, value) in MALFORMED.items()
        ),
        refuse("another-curve", "Well signed, for a key on P-384: SATP 5.2 asks for P-256.", other_curve,
               reason="another kind of key", holds=is_signed_by(other_curve, OWNER.key)),
        refuse("one-byte-missing", "The last byte is not there.", cut, reason="not a certificate that can be read",
               holds=cut != base),
        refuse("no-certificate", "Good base64 of something else.", "AAAA", reason="not a certificate that can be read",
               holds=True),
        refuse("no-base64", "A certificate is sent as base64 of its DER bytes; this is PEM.", SECOND.as_pem,
               reason="base64 of its DER bytes", holds="BEGIN CERTIFICATE" in SECOND.as_pem),
    ]  # fmt: skip


def make() -> Family:
    return Family(
        name="certificates",
        about="A gateway shows a certificate, at a time, to one who knows owners, roots and earlier certificates.",
        sections=("RECOVERY 6.1", "SATP 4.4", "SATP 11.2", "RFC 5280"),
        operation="verify-certificate",
        shared=SHARED,
        cases=[*make_accepted(), *make_issuers(), *make_replaced(), *make_times(), *make_unreadable()],
    )
