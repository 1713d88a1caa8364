"""Who a key belongs to: owner CAs and the certificates of their gateways (SATP 4.4, RFC 5280).

An owner, the legal entity that answers for its gateways, certifies the signing key of each of them. A
certificate binds gateway id, owner and key for a time. Everything about it is judged here, in one place
and against the clock that is passed in: issuer, signature, identity, validity. Nothing reads the wall
clock, so a run that takes place in 2024 is judged in 2024.

`CertifiedKeys` is the ring of keys that a gateway accepts from its peers. A certificate that is not
valid when a message arrives makes its signature worth nothing (C27: the draft fixes the keys at the
start of a session and says nothing about the days that a recovery may take).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey

from protocol.errors import Refused
from protocol.signing import BadSignature, KeyPair, KeyRing, PublicKey, Signed

VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2099, 12, 31, tzinfo=UTC)


class BadCertificate(BadSignature):
    """A certificate that does not show what it should: SATP 11.2 (b) names the reasons, and so does the text."""


@dataclass(frozen=True)
class Certificate:
    """An X.509 certificate of a gateway's signing key, as DER bytes."""

    der: bytes

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
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise BadCertificate(
                f"the certificate of {self.gateway_id} is for another kind of key than SATP 5.2 asks for"
            )
        return PublicKey(ECKey.import_key(public))

    def __repr__(self) -> str:
        until = self.x509.not_valid_after_utc.date()
        return f"certificate {self.serial} of {self.gateway_id}, owner {self.owner}, valid until {until}"


@dataclass(frozen=True)
class OwnerCA:
    """An owner and the key with which it certifies its gateways."""

    owner: str
    key: KeyPair

    def certify(
        self,
        gateway_id: str,
        key: PublicKey,
        *,
        serial: int = 1,
        valid_from: datetime = VALID_FROM,
        valid_until: datetime = VALID_UNTIL,
    ) -> Certificate:
        """A certificate for the signing key of one gateway. A higher serial number replaces a lower one."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(_make_name(gateway_id, self.owner))
            .issuer_name(_make_name(f"{self.owner} CA", self.owner))
            .public_key(_as_ec(key))
            .serial_number(serial)
            .not_valid_before(valid_from)
            .not_valid_after(valid_until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        signer = self.key.key.private_key
        assert isinstance(signer, ec.EllipticCurvePrivateKey), "an owner's key is P-256"
        signed = builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True)
        return Certificate(signed.public_bytes(serialization.Encoding.DER))

    def verify_issued(self, certificate: Certificate) -> None:
        """Raise BadCertificate unless this owner signed it, for a gateway of its own."""
        if certificate.owner != self.owner:
            words = f"the certificate of {certificate.gateway_id} names another owner"
            raise BadCertificate(words, expected=self.owner, found=certificate.owner)
        public = _as_ec(self.key.public)
        body, algorithm = certificate.x509.tbs_certificate_bytes, certificate.x509.signature_hash_algorithm
        try:
            public.verify(certificate.x509.signature, body, ec.ECDSA(algorithm or hashes.SHA256()))
        except InvalidSignature as error:
            raise BadCertificate(
                f"the certificate of {certificate.gateway_id} was not signed by {self.owner}"
            ) from error


class CertifiedKeys(KeyRing):
    """The keys of peers, each by a certificate that is judged whenever one of its signatures arrives."""

    def __init__(
        self, certificates: Iterable[Certificate], owners: Iterable[OwnerCA], now: Callable[[], datetime]
    ) -> None:
        authorities = {owner.owner: owner for owner in owners}
        self._certificates: dict[str, Certificate] = {}
        for certificate in certificates:
            authority = authorities.get(certificate.owner)
            if authority is None:
                raise BadCertificate(f"{certificate!r}: this owner is not known here")
            authority.verify_issued(certificate)
            self._certificates[certificate.key.kid] = certificate
        self._now = now
        super().__init__((certificate.gateway_id, certificate.key) for certificate in self._certificates.values())

    def verify(self, compact: bytes | str) -> Signed:
        """As KeyRing; besides, BadCertificate if the signer's certificate is not valid now."""
        signed = super().verify(compact)
        certificate, now = self._certificates[signed.kid], self._now()
        begins, ends = certificate.x509.not_valid_before_utc, certificate.x509.not_valid_after_utc
        if not begins <= now <= ends:
            word = "not valid before" if now < begins else "expired at"
            limit = begins if now < begins else ends
            raise BadCertificate(f"the certificate of {signed.signer} is {word} {limit:%Y-%m-%dT%H:%M:%SZ}")
        return signed


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
