"""Certificates are judged in one place, on the clock that is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from protocol.certificates import BadCertificate, Certificate, CertifiedKeys, OwnerCA
from protocol.network import START, World
from protocol.signing import KeyPair, read_payload
from tests.test_bad_input import receive_refused, stop_before

OWNER = OwnerCA("Owner LTD", KeyPair.lab("owner", "test"))
OTHER = OwnerCA("Other LTD", KeyPair.lab("other", "test"))
KEY = KeyPair.lab("GW1", "test")


def ring(certificate: Certificate, now: datetime = START, *owners: OwnerCA) -> CertifiedKeys:
    return CertifiedKeys([certificate], owners or [OWNER], lambda: now)


def test_a_certificate_says_who_and_is_the_same_every_time() -> None:
    certificate = OWNER.certify("GW1", KEY.public, serial=7)
    assert (certificate.gateway_id, certificate.owner, certificate.serial) == ("GW1", "Owner LTD", 7)
    assert certificate.key.kid == KEY.public.kid
    assert certificate.der == OWNER.certify("GW1", KEY.public, serial=7).der
    assert repr(certificate) == "certificate 7 of GW1, owner Owner LTD, valid until 2099-12-31"


def test_a_signature_counts_while_the_certificate_is_valid() -> None:
    begins, ends = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    certificate = OWNER.certify("GW1", KEY.public, valid_from=begins, valid_until=ends)
    compact = KEY.sign({"a": 1})
    for now in (begins, START, ends):
        assert ring(certificate, now).verify(compact).signer == "GW1"
    second = timedelta(seconds=1)
    with pytest.raises(BadCertificate, match="not valid before 2024-01-01T00:00:00Z"):
        ring(certificate, begins - second).verify(compact)
    with pytest.raises(BadCertificate, match="expired at 2025-01-01T00:00:00Z"):
        ring(certificate, ends + second).verify(compact)


def test_only_a_known_owners_signature_makes_a_certificate() -> None:
    with pytest.raises(BadCertificate, match="this owner is not known here"):
        ring(OTHER.certify("GW1", KEY.public))
    forged = OwnerCA("Owner LTD", KeyPair.lab("forger", "test")).certify("GW1", KEY.public)
    with pytest.raises(BadCertificate, match="was not signed by Owner LTD"):
        ring(forged)
    with pytest.raises(BadCertificate, match="names another owner"):
        OTHER.verify_issued(OWNER.certify("GW1", KEY.public))


@pytest.mark.parametrize("step", ["1.1", "2.2", "3.3", "3.7"])
@pytest.mark.parametrize("validity", ["expired", "not yet valid"])
def test_a_message_under_an_invalid_certificate_is_refused(step: str, validity: str, world: World) -> None:
    data = stop_before(world, step)
    who = "GW1" if read_payload(data)["messageType"].endswith(("proposal-msg", "lock-assert-msg")) else "GW2"
    day = timedelta(days=1)
    if validity == "expired":
        world.admit(who, valid_until=START - day)
    else:
        world.admit(who, valid_from=START + day)
    error = receive_refused(world, step, data)
    assert error.type.endswith("err_0.1.3")
    assert f"the certificate of {who}" in str(error.detail)
