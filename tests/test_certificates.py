"""What certificates say: who, by whom, and who may take over. Whether one counts is tried in test_peers.py."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.certificates import BACKUPS, MOST_BACKUPS, BadCertificate, Certificate, OwnerCA, RootCA, compute_key_hash
from protocol.errors import Misuse
from protocol.signing import KeyPair, PublicKey

ROOT = RootCA("Root", KeyPair.lab("root", "test"))
OWNER = OwnerCA("Owner LTD", KeyPair.lab("owner", "test"), ROOT)
OTHER = OwnerCA("Other LTD", KeyPair.lab("other", "test"), ROOT)
KEY = KeyPair.lab("GW1", "test")
PEER = KeyPair.lab("GW2", "test")
NEW_KEY = KeyPair.lab("GW1 after the loss of its key", "test")
FIRST = OWNER.certify("GW1", KEY.public)
SECOND = OWNER.certify("GW1", NEW_KEY.public, serial=2)
BACKUP = KeyPair.lab("GW1-B", "test")


def test_a_certificate_says_who_and_is_the_same_every_time() -> None:
    certificate = OWNER.certify("GW1", KEY.public, serial=7)
    assert (certificate.gateway_id, certificate.owner, certificate.serial) == ("GW1", "Owner LTD", 7)
    assert certificate.key.kid == KEY.public.kid
    assert certificate.der == OWNER.certify("GW1", KEY.public, serial=7).der
    assert repr(certificate) == "certificate 7 of GW1, owner Owner LTD, valid until 2099-12-31"


def test_a_chain_leads_from_the_gateway_over_its_owner_to_the_root() -> None:
    owner, root = OWNER.certificate, ROOT.certificate
    again = RootCA("Root", KeyPair.lab("root", "test"))
    assert (owner, root) == (OwnerCA("Owner LTD", KeyPair.lab("owner", "test"), again).certificate, again.certificate)
    root.x509.verify_directly_issued_by(root.x509)
    owner.x509.verify_directly_issued_by(root.x509)
    FIRST.x509.verify_directly_issued_by(owner.x509)
    assert len({each.serial for each in (root, owner, OTHER.certificate, SECOND)}) == 4
    with pytest.raises((ValueError, TypeError)):
        FIRST.x509.verify_directly_issued_by(OTHER.certificate.x509)


def test_only_what_rfc_5280_wants_critical_is_critical() -> None:
    def critical(certificate: Certificate) -> set[str]:
        return {each.oid._name for each in certificate.x509.extensions if each.critical}

    assert critical(FIRST) == {"basicConstraints"}
    assert critical(OWNER.certificate) == critical(ROOT.certificate) == {"basicConstraints", "keyUsage"}


def test_a_certificate_travels_as_base64_and_as_pem() -> None:
    assert Certificate.from_base64(FIRST.base64) == FIRST
    assert x509.load_pem_x509_certificate(FIRST.as_pem.encode()) == FIRST.x509


@pytest.mark.parametrize("text", ["", "!", "AAAA", FIRST.base64[:-8], FIRST.base64 + "AAAA", "ü"])
def test_base64_that_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(BadCertificate):
        Certificate.from_base64(text)


# ------------------------------------------------------------------ authorised backups

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command line is not installed")
OCTETS = {number: bytes([number]) * 32 for number in range(20)}


def keys(count: int) -> list[PublicKey]:
    return [KeyPair.lab(f"backup {number}", "test").public for number in range(count)]


def begin_raw() -> x509.CertificateBuilder:
    first = FIRST.x509
    builder = x509.CertificateBuilder().subject_name(first.subject).issuer_name(first.issuer).serial_number(2)
    builder = builder.not_valid_before(first.not_valid_before_utc).not_valid_after(first.not_valid_after_utc)
    return builder.public_key(first.public_key())


def sign_raw(builder: x509.CertificateBuilder) -> Certificate:
    signer = OWNER.key.key.private_key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    return Certificate(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


def certify_raw(value: bytes) -> Certificate:
    """A certificate of GW1, well signed by its owner, with these bytes in the place of the list."""
    return sign_raw(begin_raw().add_extension(x509.UnrecognizedExtension(BACKUPS, value), critical=False))


def listed(*entries: bytes) -> bytes:
    """A short SEQUENCE, written by hand."""
    body = b"".join(entries)
    return b"\x30" + bytes([len(body)]) + body


def run_openssl(*words: str | Path, data: bytes = b"") -> str:
    command = ["openssl", *map(str, words)]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout.decode()


def test_a_certificate_names_the_keys_of_its_backups() -> None:
    assert FIRST.backups == ()
    named = OWNER.certify("GW1", KEY.public, backups=[BACKUP.public, NEW_KEY.public, BACKUP.public])
    assert named.backups == (compute_key_hash(BACKUP.public), compute_key_hash(NEW_KEY.public))
    assert named.der == OWNER.certify("GW1", KEY.public, backups=[BACKUP.public, NEW_KEY.public]).der
    assert Certificate.from_der(named.der).backups == named.backups


def test_without_backups_there_is_no_extension_and_with_some_it_is_not_critical() -> None:
    assert BACKUPS not in [each.oid for each in FIRST.x509.extensions]
    extension = OWNER.certify("GW1", KEY.public, backups=[BACKUP.public]).x509.extensions.get_extension_for_oid(BACKUPS)
    assert extension.critical is False


def test_the_oid_is_a_uuid() -> None:
    """X.667: 2.25 and the number of a UUID that somebody has once drawn."""
    assert BACKUPS.dotted_string == f"2.25.{UUID('a04fff48-e8e6-4400-b65a-d63058a36a11').int}"


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8, MOST_BACKUPS])
def test_the_list_is_a_sequence_of_octet_strings(count: int) -> None:
    """Read by hand: a SEQUENCE, its length in one, two or three bytes, and 04 20 before every hash."""
    certificate = OWNER.certify("GW1", KEY.public, backups=keys(count))
    found = certificate.x509.extensions.get_extension_for_oid(BACKUPS).value
    assert isinstance(found, x509.UnrecognizedExtension)
    size = 34 * count
    length = f"{size:02x}" if size < 128 else f"81{size:02x}" if size < 256 else f"82{size:04x}"
    assert found.value.hex() == f"30{length}" + "".join(f"0420{each}" for each in certificate.backups)
    assert certificate.backups == tuple(map(compute_key_hash, keys(count)))


def test_more_backups_than_the_bound_are_neither_written_nor_read() -> None:
    assert len(OWNER.certify("GW1", KEY.public, backups=keys(MOST_BACKUPS)).backups) == MOST_BACKUPS == 16
    with pytest.raises(Misuse, match="at most 16 backups, not 17"):
        OWNER.certify("GW1", KEY.public, backups=keys(17))
    body = b"".join(b"\x04\x20" + OCTETS[number] for number in range(17))
    with pytest.raises(BadCertificate, match="has 1 to 16 hashes"):
        Certificate.from_der(certify_raw(b"\x30\x82" + len(body).to_bytes(2, "big") + body).der)


GOOD = b"\x04\x20" + OCTETS[1]
MALFORMED = {
    "nothing": b"",
    "an empty list": b"\x30\x00",
    "a cut one": listed(GOOD, GOOD)[:-1],
    "bytes after it": listed(GOOD) + b"\x00",
    "a list after it": listed(GOOD) + listed(GOOD),
    "a set": b"\x31" + listed(GOOD)[1:],
    "a bare hash": GOOD,
    "a hash that is too short": listed(b"\x04\x1f" + OCTETS[1][:31]),
    "a hash that is too long": listed(b"\x04\x21" + OCTETS[1] + b"\x00"),
    "a bit string": listed(b"\x03\x20" + OCTETS[1]),
    "a good one and a bad one": listed(GOOD, b"\x05\x20" + OCTETS[2]),
    "a length in two bytes where one is enough": b"\x30\x81\x22" + GOOD,
    "a length in three bytes where one is enough": b"\x30\x82\x00\x22" + GOOD,
    "an indefinite length": b"\x30\x80" + GOOD + b"\x00\x00",
    "a length that is too great": b"\x30\x44" + GOOD,
    "hex": compute_key_hash(BACKUP.public).encode(),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_list_is_refused_although_the_owner_signed_it(case: str) -> None:
    with pytest.raises(BadCertificate, match="list of authorised backups"):
        Certificate.from_der(certify_raw(MALFORMED[case]).der)
    assert Certificate.from_der(certify_raw(listed(GOOD)).der).backups == (OCTETS[1].hex(),)


def test_two_lists_are_none() -> None:
    """RFC 5280, 4.2: an extension stands in a certificate once. The second one here gets the OID of the first."""
    builder = begin_raw().add_extension(x509.UnrecognizedExtension(BACKUPS, listed(GOOD)), critical=False)
    other = x509.ObjectIdentifier(f"2.25.{UUID('a04fff48-e8e6-4400-b65a-d63058a36a12').int}")
    der = sign_raw(builder.add_extension(x509.UnrecognizedExtension(other, listed(GOOD)), critical=False)).der
    place = der.index(listed(GOOD), der.index(listed(GOOD)) + 1) - 3  # before the tags and lengths of the value
    assert der[place] == 0x12
    with pytest.raises(BadCertificate, match="can be read"):
        Certificate.from_der(der[:place] + b"\x11" + der[place + 1 :])
    assert Certificate.from_der(der).backups == (OCTETS[1].hex(),)


def test_a_hash_is_of_the_key_as_it_stands_in_a_certificate() -> None:
    """RFC 7469: algorithm and curve are part of what is hashed, not only the point."""
    p256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
    start = FIRST.der.index(p256)
    spki = FIRST.der[start : start + len(p256) + 65]
    assert compute_key_hash(KEY.public) == hashlib.sha256(spki).hexdigest()


@needs_openssl
def test_openssl_reads_the_list(tmp_path: Path) -> None:
    certificate = OWNER.certify("GW1", KEY.public, backups=[BACKUP.public, NEW_KEY.public])
    parsed = run_openssl("asn1parse", "-inform", "DER", data=certificate.der).splitlines()
    where = next(number for number, line in enumerate(parsed) if line.endswith(f":{BACKUPS.dotted_string}"))
    value = bytes.fromhex(parsed[where + 1].rpartition(":")[2])
    entries = run_openssl("asn1parse", "-inform", "DER", data=value).splitlines()
    assert "SEQUENCE" in entries[0]
    hashes_found = [line.rpartition(":")[2].lower() for line in entries[1:] if "OCTET STRING" in line]
    public = tmp_path / "key.pem"
    public.write_bytes(BACKUP.key.as_pem(private=False))
    spki = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], capture_output=True, check=True, timeout=60
    ).stdout
    digested = run_openssl("dgst", "-sha256", "-r", data=spki).split()[0]
    assert hashes_found == [digested, compute_key_hash(NEW_KEY.public)] == list(certificate.backups)


@needs_openssl
def test_openssl_verifies_the_chain_with_the_list_in_it(tmp_path: Path) -> None:
    gateway = OWNER.certify("GW1", KEY.public, backups=keys(MOST_BACKUPS))
    for name, certificate in {"root": ROOT.certificate, "owner": OWNER.certificate, "gateway": gateway}.items():
        (tmp_path / f"{name}.pem").write_text(certificate.as_pem)
    root, owner, leaf = (tmp_path / f"{name}.pem" for name in ("root", "owner", "gateway"))
    verify = ("verify", "-x509_strict", "-CAfile", root, "-no-CApath", "-attime", "1727956920")
    assert run_openssl(*verify, "-untrusted", owner, leaf).strip() == f"{leaf}: OK"
    with pytest.raises(subprocess.CalledProcessError):
        run_openssl(*verify, leaf)
    (tmp_path / "owner.pem").write_text(OTHER.certificate.as_pem)
    with pytest.raises(subprocess.CalledProcessError):
        run_openssl(*verify, "-untrusted", owner, leaf)


# ------------------------------------------------------------------ a public CA


def test_a_public_ca_certifies_its_customers_and_nobody_else() -> None:
    public = OwnerCA("Public CA", KeyPair.lab("public", "test"), ROOT, customers=("Alpha LTD", "Beta LTD"))
    for name in ("Public CA", "Alpha LTD", "Beta LTD"):
        certificate = public.certify("GW1", KEY.public, organization=name)
        public.verify_issued(certificate)
        assert certificate.owner == name
    with pytest.raises(BadCertificate, match=r"names another owner \(expected Public CA or Alpha LTD or Beta LTD"):
        public.verify_issued(public.certify("GW1", KEY.public, organization="Gamma LTD"))
