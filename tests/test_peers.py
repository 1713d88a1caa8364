"""Which certificate of a peer counts is judged in one place, on the clock that is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.certificates import BadCertificate, Certificate, OwnerCA, RootCA
from protocol.errors import Misuse
from protocol.network import START, World
from protocol.peers import CertifiedKeys, KeyReplaced
from protocol.signing import BadSignature, KeyPair, KeyRing, Signed, read_payload
from tests.test_bad_input import receive_refused, stop_before
from tests.test_certificates import FIRST, KEY, NEW_KEY, OTHER, OWNER, PEER, ROOT, SECOND

DAY = timedelta(days=1)


def ring(certificate: Certificate, now: datetime = START, *owners: OwnerCA) -> CertifiedKeys:
    return CertifiedKeys([certificate], owners or [OWNER], lambda: now)


def in_force(keys: CertifiedKeys) -> tuple[Certificate, bool, bool]:
    """What a refused call must not change: the current certificate of GW1, and which of its keys count."""

    def counts(key: KeyPair) -> bool:
        try:
            return keys.verify(key.sign({"a": 1})).signer == "GW1"
        except BadSignature:
            return False

    return keys.current("GW1"), counts(KEY), counts(NEW_KEY)


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
    forged = OwnerCA("Owner LTD", KeyPair.lab("forger", "test"), ROOT).certify("GW1", KEY.public)
    with pytest.raises(BadCertificate, match="was not signed by Owner LTD"):
        ring(forged)
    with pytest.raises(BadCertificate, match="names another owner"):
        OTHER.verify_issued(OWNER.certify("GW1", KEY.public))


def test_an_owner_under_no_trusted_root_certifies_nothing() -> None:
    """The root that an owner names for itself is its own word: the configuration says which ones are trusted."""
    usurper = RootCA("Root", KeyPair.lab("no root", "test"))
    owner = OwnerCA("Owner LTD", OWNER.key, usurper)
    with pytest.raises(BadCertificate, match="certified by no root that is trusted here"):
        CertifiedKeys([FIRST], [owner], lambda: START, roots=[ROOT.certificate])
    for owners in ([owner, OWNER], [OWNER]):
        assert CertifiedKeys([FIRST], owners, lambda: START, roots=[ROOT.certificate]).current("GW1") == FIRST


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


def test_every_changed_byte_of_a_certificate_is_noticed() -> None:
    """SATP 11.2 (b): corrupt, or signatures that do not verify correctly. Never an exception of a library."""
    keys = ring(FIRST)
    for place in range(len(FIRST.der)):
        for bit in (0x01, 0x80):
            changed = bytearray(FIRST.der)
            changed[place] ^= bit
            with pytest.raises(BadCertificate):
                keys.judge(bytes(changed), "GW1")
    for length in (0, 1, 100, len(FIRST.der) - 1):
        with pytest.raises(BadCertificate, match="can be read"):
            keys.judge(FIRST.der[:length], "GW1")
    assert in_force(keys) == (FIRST, True, False)


def test_a_certificate_for_another_curve_is_refused() -> None:
    """SATP 5.2 asks for P-256."""
    signer = OWNER.key.key.private_key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    first = FIRST.x509
    builder = x509.CertificateBuilder().subject_name(first.subject).issuer_name(first.issuer).serial_number(2)
    builder = builder.not_valid_before(first.not_valid_before_utc).not_valid_after(first.not_valid_after_utc)
    builder = builder.public_key(ec.derive_private_key(7, ec.SECP384R1()).public_key())
    der = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    with pytest.raises(BadCertificate, match="another kind of key"):
        ring(FIRST).judge(der, "GW1")


# ------------------------------------------------------------------ the life of a certificate


def test_a_replaced_key_signs_nothing_new_and_still_verifies_the_chain() -> None:
    keys, old, new = ring(FIRST), KEY.sign({"a": 1}), NEW_KEY.sign({"a": 1})
    with pytest.raises(BadSignature, match="not known here"):
        keys.verify_stored(new)
    assert keys.adopt(SECOND) is True
    assert keys.current("GW1") == SECOND
    with pytest.raises(KeyReplaced, match="the key of GW1 was replaced by certificate 2"):
        keys.verify(old)
    assert [keys.verify_stored(each).signer for each in (old, new)] == ["GW1", "GW1"]
    assert keys.verify(new).signer == "GW1"


def test_a_forged_signature_of_a_replaced_key_is_a_bad_signature() -> None:
    """KeyReplaced says that the old key did sign it."""
    keys = ring(FIRST)
    keys.adopt(SECOND)
    header, payload, _ = KEY.sign({"a": 1}).split(".")
    forged = f"{header}.{payload}.{KEY.sign({'a': 2}).split('.')[2]}"
    for verify in (keys.verify, keys.verify_stored):
        with pytest.raises(BadSignature) as refused:
            verify(forged)
        assert not isinstance(refused.value, KeyReplaced)


def test_a_header_that_is_remembered_does_not_outlive_its_key() -> None:
    """The ring remembers the header of the first message; the certificate is judged with every message."""
    for end in (lambda keys: keys.adopt(SECOND), lambda keys: keys.revoke(FIRST, "GW1")):
        keys = ring(FIRST)
        assert keys.verify(KEY.sign({"a": 1})).signer == "GW1"
        end(keys)
        with pytest.raises(BadCertificate):
            keys.verify(KEY.sign({"a": 2}))
        keys.verify_stored(KEY.sign({"a": 3}))
        with pytest.raises(BadCertificate):
            keys.verify(KEY.sign({"a": 4}))


def test_what_is_stored_does_not_expire() -> None:
    certificate = OWNER.certify("GW1", KEY.public, valid_until=START - DAY)
    keys, compact = ring(certificate), KEY.sign({"a": 1})
    with pytest.raises(BadCertificate, match="expired at"):
        keys.verify(compact)
    assert keys.verify_stored(compact).payload == {"a": 1}
    keys.revoke(1, "GW1")
    assert keys.verify_stored(compact).payload == {"a": 1}


def test_a_ring_without_certificates_verifies_what_is_stored_as_anything_else() -> None:
    keys, compact = KeyRing([("GW1", KEY.public)]), KEY.sign({"a": 1})
    same: list[Signed] = [keys.verify(compact), keys.verify_stored(compact)]
    assert same[0] == same[1]
    with pytest.raises(BadSignature):
        keys.verify_stored(NEW_KEY.sign({"a": 1}))


NOT_ADOPTED = {
    "a lower serial number": (FIRST, "certificate 1 of GW1 was replaced by certificate 2"),
    "the same serial number": (
        OWNER.certify("GW1", KEY.public, serial=2),
        "certificate 2 of GW1 was replaced by another certificate 2",
    ),
    "another owner": (OTHER.certify("GW1", NEW_KEY.public, serial=3), "names another owner"),
    "nobody": (
        OwnerCA("Owner LTD", KeyPair.lab("forger", "test"), ROOT).certify("GW1", NEW_KEY.public, serial=3),
        "was not signed by Owner LTD",
    ),
    "another gateway": (OWNER.certify("GW3", NEW_KEY.public, serial=3), "no certificate of GW3 is known here"),
    "the key that was replaced": (OWNER.certify("GW1", KEY.public, serial=3), "is for a key that was replaced"),
}


@pytest.mark.parametrize("case", NOT_ADOPTED)
def test_what_does_not_replace_the_current_certificate(case: str) -> None:
    certificate, words = NOT_ADOPTED[case]
    keys = ring(FIRST, START, OWNER, OTHER)
    keys.adopt(SECOND)
    for offer in (keys.adopt, lambda each: keys.judge(each.der, each.gateway_id)):
        with pytest.raises(BadCertificate, match=words):
            offer(certificate)
    assert in_force(keys) == (SECOND, False, True)


def test_the_current_certificate_once_more_changes_nothing() -> None:
    keys = ring(FIRST)
    assert keys.adopt(FIRST) is False
    assert keys.judge(FIRST.der, "GW1") == FIRST
    assert in_force(keys) == (FIRST, True, False)


def test_a_renewed_certificate_may_keep_its_key() -> None:
    keys = ring(OWNER.certify("GW1", KEY.public, valid_until=START - DAY))
    assert keys.adopt(OWNER.certify("GW1", KEY.public, serial=2))
    assert keys.verify(KEY.sign({"a": 1})).signer == "GW1"
    with pytest.raises(BadCertificate, match="certificate 1 of GW1 was replaced by certificate 2"):
        keys.judge(FIRST.der, "GW1")


def test_nobody_takes_the_key_of_another_gateway() -> None:
    """A public key is public: a certificate of GW2 for it would make GW2 the author of all that GW1 signs."""
    keys = CertifiedKeys([FIRST, OTHER.certify("GW2", PEER.public)], [OWNER, OTHER], lambda: START)
    with pytest.raises(BadCertificate, match="certificate 2 of GW2 is for a key of GW1"):
        keys.adopt(OTHER.certify("GW2", KEY.public, serial=2))
    assert keys.verify(KEY.sign({"a": 1})).signer == "GW1"
    assert keys.verify(PEER.sign({"a": 1})).signer == "GW2"


def test_a_revoked_certificate_counts_nowhere_until_a_higher_serial_number_comes() -> None:
    keys = ring(FIRST)
    keys.revoke(FIRST, "GW1")
    for refused in (lambda: keys.verify(KEY.sign({"a": 1})), lambda: keys.judge(FIRST.der, "GW1")):
        with pytest.raises(BadCertificate, match="certificate 1 of GW1 was revoked"):
            refused()
    keys.revoke(2, "GW1")
    for offer in (lambda: keys.adopt(SECOND), lambda: keys.judge(SECOND.der, "GW1")):
        with pytest.raises(BadCertificate, match="certificate 2 of GW1 was revoked"):
            offer()
    assert in_force(keys) == (FIRST, False, False)
    keys.adopt(OWNER.certify("GW1", NEW_KEY.public, serial=3))
    assert keys.verify(NEW_KEY.sign({"a": 1})).signer == "GW1"


def test_revocation_is_of_one_gateways_serial_number() -> None:
    keys = CertifiedKeys([FIRST, OTHER.certify("GW2", PEER.public)], [OWNER, OTHER], lambda: START)
    keys.revoke(1, "GW2")
    assert keys.verify(KEY.sign({"a": 1})).signer == "GW1"


def test_a_successor_is_adopted_from_a_handshake_if_it_is_valid_now() -> None:
    keys = ring(FIRST)
    for begins, ends in ((START + DAY, START + 2 * DAY), (START - 2 * DAY, START - DAY)):
        not_now = OWNER.certify("GW1", NEW_KEY.public, serial=2, valid_from=begins, valid_until=ends)
        with pytest.raises(BadCertificate, match=r"not valid before|expired at"):
            keys.judge(not_now.der, "GW1")
        assert in_force(keys) == (FIRST, True, False)
    assert keys.judge(SECOND.der, "GW1") == SECOND
    assert in_force(keys) == (SECOND, False, True)


def test_the_current_certificate_is_judged_anew_every_time() -> None:
    now = [START]
    keys = CertifiedKeys([OWNER.certify("GW1", KEY.public, valid_until=START + DAY)], [OWNER], lambda: now[0])
    shown = keys.current("GW1").der
    assert keys.judge(shown, "GW1")
    now[0] = START + 2 * DAY
    with pytest.raises(BadCertificate, match="expired at 2024-10-04T12:02:00Z"):
        keys.judge(shown, "GW1")


def test_a_certificate_is_for_the_gateway_that_is_expected() -> None:
    keys = CertifiedKeys([FIRST, OTHER.certify("GW2", PEER.public)], [OWNER, OTHER], lambda: START)
    with pytest.raises(BadCertificate, match=r"of another gateway \(expected GW2, found GW1\)"):
        keys.judge(FIRST.der, "GW2")
    with pytest.raises(BadCertificate, match="no certificate of GW3 is known here"):
        keys.judge(FIRST.der, "GW3")


def test_certificates_from_a_log_may_come_in_any_order() -> None:
    for certificates in ([FIRST, SECOND], [SECOND, FIRST], [SECOND, FIRST, SECOND]):
        keys = CertifiedKeys(certificates, [OWNER], lambda: START)
        assert in_force(keys) == (SECOND, False, True)
        assert keys.verify_stored(KEY.sign({"a": 1})).signer == "GW1"


def test_a_key_comes_with_its_certificate() -> None:
    with pytest.raises(Misuse, match="comes with its certificate"):
        ring(FIRST).add("GW1", NEW_KEY.public)
    with pytest.raises(BadCertificate, match="no certificate of GW2 is known here"):
        ring(FIRST).current("GW2")


def test_what_a_copy_learns_is_not_learned_here() -> None:
    keys = ring(FIRST)
    trial = keys.copy()
    trial.adopt(SECOND)
    trial.revoke(2, "GW1")
    assert in_force(keys) == (FIRST, True, False)
    assert keys.adopt(SECOND)
    assert in_force(keys) == (SECOND, False, True)
    assert in_force(trial) == (SECOND, False, False)
