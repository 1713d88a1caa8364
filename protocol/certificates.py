"""Who a key belongs to: a root, owner CAs, and the certificates of their gateways (RECOVERY 6.1, SATP 4.4, RFC 5280).

An owner, the legal entity that answers for its gateways, certifies the signing key of each of them. A
certificate binds gateway id, owner and key for a time. A root certifies the owners, each as a CA for its own
organization. What the certificates say is written and read here; whether one counts is judged in peers.py.
They carry what RFC 5280 asks for, so that OpenSSL in its strict mode can build the same chains. A serial number
says which certificate of one gateway is the newer one; the gateways of an owner are numbered apart.

**Authorised backups** (RECOVERY 6.1, which gives neither OID nor hash nor encoding) stand in an extension, and
no extension means that there are none:

    extnID      2.25 and a UUID as a number (X.667), which nobody has to register; not critical
    extnValue   SEQUENCE SIZE (1..16) OF OCTET STRING (SIZE (32)), in DER
    each        SHA-256 of the DER SubjectPublicKeyInfo of a backup's key, as RFC 7469 pins keys

Keys and not certificates, although the text says "certificate hash": two gateways may each be the other's backup,
and neither certificate can hold the hash of the other (R37). A renewed certificate for the same key stays
authorised; the price is that a new *key* of a backup needs a new certificate of each gateway that names it.
"""

from __future__ import annotations

import base64
import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TypedDict, Unpack

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey

from protocol.errors import Misuse, Refused
from protocol.signing import BadSignature, KeyPair, PublicKey

VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2099, 12, 31, tzinfo=UTC)
ROOT_SERIAL = 1
CA_SERIAL = 2**64  # from here on those of the owners count; those of their gateways count from 1
BACKUPS = x509.ObjectIdentifier(f"2.25.{0xA04FFF48_E8E6_4400_B65A_D63058A36A11}")
MOST_BACKUPS = 16
_HASH = b"\x04\x20"  # an OCTET STRING of 32 bytes


class Validity(TypedDict, total=False):
    """From when and until when a certificate is valid, both included; `VALID_FROM` and `VALID_UNTIL` unless given."""

    valid_from: datetime
    valid_until: datetime


class BadCertificate(BadSignature):
    """A certificate that does not show what it should: SATP 11.2 (b) names the reasons, and so does the text."""


_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    Warning,
)


@dataclass(frozen=True)
class Certificate:
    """An X.509 certificate of a gateway's signing key, as DER bytes."""

    der: bytes

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """A certificate that somebody else shows. BadCertificate unless all that is asked of it later can be read."""
        shown = cls(der)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what the library only warns of, a negative serial number, is no better
                _ = shown.gateway_id, shown.owner, shown.serial, shown.key, shown.x509.signature_hash_algorithm
                _ = shown.x509.not_valid_before_utc, shown.x509.not_valid_after_utc, shown.backups
        except _UNREADABLE as error:
            raise BadCertificate("these bytes are not a certificate that can be read (RFC 5280)") from error
        return shown

    @classmethod
    def from_base64(cls, text: str) -> Certificate:
        """The certificate that `base64` wrote, out of a JSON message. Raises BadCertificate."""
        try:
            return cls.from_der(base64.b64decode(text, validate=True))
        except (ValueError, TypeError) as error:
            raise BadCertificate("a certificate is sent as the base64 of its DER bytes") from error

    @cached_property
    def base64(self) -> str:
        return base64.b64encode(self.der).decode("ascii")

    @cached_property
    def as_pem(self) -> str:
        return self.x509.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @cached_property
    def x509(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)

    @cached_property
    def gateway_id(self) -> str:
        return _read_name(self.x509.subject, NameOID.COMMON_NAME)

    @cached_property
    def owner(self) -> str:
        return _read_name(self.x509.subject, NameOID.ORGANIZATION_NAME)

    @property
    def serial(self) -> int:
        return self.x509.serial_number

    @cached_property
    def key(self) -> PublicKey:
        public = self.x509.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise BadCertificate(
                f"the certificate of {self.gateway_id} is for another kind of key than SATP 5.2 asks for"
            )
        return PublicKey(ECKey.import_key(public))

    @cached_property
    def backups(self) -> tuple[str, ...]:
        """The hashes of the keys of this gateway's authorised backups, in lower-case hex."""
        try:
            found = self.x509.extensions.get_extension_for_oid(BACKUPS).value
        except x509.ExtensionNotFound:
            return ()
        assert isinstance(found, x509.UnrecognizedExtension), "the library knows nothing of this extension"
        return _read_backups(found.value)

    def __repr__(self) -> str:
        until = self.x509.not_valid_after_utc.date()
        return f"certificate {self.serial} of {self.gateway_id}, owner {self.owner}, valid until {until}"


@dataclass(frozen=True)
class RootCA:
    """Whom everybody trusts to say who the owners are."""

    name: str
    key: KeyPair

    @cached_property
    def certificate(self) -> Certificate:
        """Signed by itself: where every chain ends. The same bytes every time."""
        own = _make_name(self.name, self.name)
        return _sign(_begin_ca(own, self.key.public, own, ROOT_SERIAL, path_length=1), self.key)

    def certify(self, name: str, organization: str, key: PublicKey) -> Certificate:
        """A CA that certifies gateways and no further CA. Its serial number comes of its key."""
        serial = CA_SERIAL + int.from_bytes(bytes.fromhex(compute_key_hash(key))[:8], "big")
        subject, issuer = _make_name(name, organization), _make_name(self.name, self.name)
        return _sign(_begin_ca(subject, key, issuer, serial, path_length=0, issuer_key=self.key.public), self.key)


@dataclass(frozen=True)
class OwnerCA:
    """An owner and the key with which it certifies its gateways.

    A public CA answers for no gateway: it certifies those of its `customers`, whose names it has verified. Every
    other organization in a certificate of this CA is refused, and no customer stands for another one (R38).
    """

    owner: str
    key: KeyPair
    root: RootCA
    customers: tuple[str, ...] = ()

    @property
    def organizations(self) -> tuple[str, ...]:
        """Whose gateways it may certify."""
        return (self.owner, *self.customers)

    @cached_property
    def certificate(self) -> Certificate:
        """The owner's own, signed by the root: the parent of its gateways' certificates. The same bytes every time."""
        return self.root.certify(f"{self.owner} CA", self.owner, self.key.public)

    def certify(
        self,
        gateway_id: str,
        key: PublicKey,
        *,
        serial: int = 1,
        backups: Iterable[PublicKey] = (),
        organization: str | None = None,
        **validity: Unpack[Validity],
    ) -> Certificate:
        """A certificate for the signing key of one gateway. A higher serial number replaces a lower one.

        `backups` are the keys of those that may take over from it; `organization` is one of the customers.
        """
        subject = _make_name(gateway_id, organization or self.owner)
        issuer = _make_name(f"{self.owner} CA", self.owner)
        builder = _begin(subject, key, issuer, serial, **validity)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_find_authority(self.key.public), critical=False)
        named = list(dict.fromkeys(compute_key_hash(backup) for backup in backups))
        if len(named) > MOST_BACKUPS:
            raise Misuse(f"a certificate names at most {MOST_BACKUPS} backups, not {len(named)}")
        if named:
            builder = builder.add_extension(x509.UnrecognizedExtension(BACKUPS, _write_backups(named)), critical=False)
        return _sign(builder, self.key)

    def verify_issued(self, certificate: Certificate) -> None:
        """Raise BadCertificate unless this owner signed it, for a gateway of its own or of a customer."""
        if certificate.owner not in self.organizations:
            words = f"the certificate of {certificate.gateway_id} names another owner"
            raise BadCertificate(words, expected=" or ".join(self.organizations), found=certificate.owner)
        public = _as_ec(self.key.public)
        body, algorithm = certificate.x509.tbs_certificate_bytes, certificate.x509.signature_hash_algorithm
        try:
            public.verify(certificate.x509.signature, body, ec.ECDSA(algorithm or hashes.SHA256()))
        except InvalidSignature as error:
            raise BadCertificate(
                f"the certificate of {certificate.gateway_id} was not signed by {self.owner}"
            ) from error


def compute_key_hash(key: PublicKey) -> str:
    """SHA-256 of the DER SubjectPublicKeyInfo, in lower-case hex: what names an authorised backup."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(_as_ec(key).public_bytes(serialization.Encoding.DER, form)).hexdigest()


def _write_backups(named: Iterable[str]) -> bytes:
    body = b"".join(_HASH + bytes.fromhex(each) for each in named)
    length = len(body)
    if length < 0x80:
        return bytes([0x30, length]) + body
    octets = length.to_bytes(1 if length < 0x100 else 2, "big")
    return bytes([0x30, 0x80 | len(octets)]) + octets + body


def _read_backups(value: bytes) -> tuple[str, ...]:
    """DER has one way to write a list: whatever is not what `_write_backups` makes of its own content is refused."""
    step = len(_HASH) + 32
    starts = range(len(value) % step + len(_HASH), len(value), step)
    if not 1 <= len(starts) <= MOST_BACKUPS:
        raise BadCertificate(f"a list of authorised backups has 1 to {MOST_BACKUPS} hashes")
    named = tuple(value[start : start + 32].hex() for start in starts)
    if _write_backups(named) != value:
        raise BadCertificate("the list of authorised backups is not a SEQUENCE OF OCTET STRING of SHA-256 in DER")
    return named


def _begin(
    subject: x509.Name, key: PublicKey, issuer: x509.Name, serial: int, **validity: Unpack[Validity]
) -> x509.CertificateBuilder:
    begins, ends = validity.get("valid_from", VALID_FROM), validity.get("valid_until", VALID_UNTIL)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(_as_ec(key))
    return builder.serial_number(serial).not_valid_before(begins).not_valid_after(ends)


def _begin_ca(
    subject: x509.Name,
    key: PublicKey,
    issuer: x509.Name,
    serial: int,
    *,
    path_length: int,
    issuer_key: PublicKey | None = None,
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _begin(subject, key, issuer, serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(_as_ec(key)), critical=False)
    )
    return builder if issuer_key is None else builder.add_extension(_find_authority(issuer_key), critical=False)


def _find_authority(issuer: PublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(_as_ec(issuer))


def _sign(builder: x509.CertificateBuilder, by: KeyPair) -> Certificate:
    signer = by.key.private_key
    assert isinstance(signer, ec.EllipticCurvePrivateKey), "the key of a CA is P-256"
    signed = builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True)
    return Certificate(signed.public_bytes(serialization.Encoding.DER))


def _make_name(common_name: str, organization: str) -> x509.Name:
    attributes = [(NameOID.COMMON_NAME, common_name), (NameOID.ORGANIZATION_NAME, organization)]
    return x509.Name([x509.NameAttribute(oid, text[:64]) for oid, text in attributes])


def _read_name(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    if len(found) != 1:
        raise BadCertificate("a gateway's certificate has one common name and one organization")
    return str(found[0].value)


def _as_ec(key: PublicKey) -> ec.EllipticCurvePublicKey:
    public = key.key.public_key
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise Refused("SATP signatures are ES256: the key must be on P-256")
    return public
