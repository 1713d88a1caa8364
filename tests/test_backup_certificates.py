"""Who takes over from a gateway: the checks of RECOVERY 6.1 and what they leave open, each refused for itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.certificates import BadCertificate, Certificate, OwnerCA, RootCA
from protocol.network import START
from protocol.peers import CertifiedKeys, Condition, KeyReplaced, NotABackup
from protocol.signing import BadSignature, KeyPair
from tests.test_certificates import OTHER, OWNER, ROOT

DAY = timedelta(days=1)
KEYS = {name: KeyPair.lab(name, "test") for name in ("GW1", "GW1-B", "GW1-C", "GW2", "GW3", "new", "newer")}
PUBLIC = OwnerCA("Public CA", KeyPair.lab("public", "test"), ROOT, customers=("Alpha LTD", "Beta LTD"))


def certify(name: str, *backups: str, key: str = "", serial: int = 1, by: OwnerCA = OWNER) -> Certificate:
    named = [KEYS[backup].public for backup in backups]
    return by.certify(name, KEYS[key or name].public, serial=serial, backups=named)


PRIMARY = certify("GW1", "GW1-B")
BACKUP = certify("GW1-B", "GW1", "GW1-C")
THIRD = certify("GW1-C", "GW1", "GW1-B")
PEER = certify("GW2", by=OTHER)


@dataclass
class Ring:
    """What GW2, and GW3 beside it, know of GW1. Everything is right unless a test changes it."""

    certificates: list[Certificate] = field(default_factory=lambda: [PRIMARY, PEER])
    owners: list[OwnerCA] = field(default_factory=lambda: [OWNER, OTHER, PUBLIC])
    now: datetime = START
    backup: Certificate = BACKUP
    epoch: int = 2

    def __post_init__(self) -> None:
        self.keys = CertifiedKeys(self.certificates, self.owners, lambda: self.now, roots=[ROOT.certificate])

    def take_over(self) -> bool:
        return self.keys.adopt_backup(self.backup, "GW1", self.epoch)

    def signs_for(self, name: str) -> str:
        """For whom a new message of this key counts; empty if it does not."""
        try:
            return self.keys.verify(KEYS[name].sign({"a": 1})).signer
        except BadSignature:
            return ""

    def describe(self) -> tuple[object, ...]:
        """What a refused call must not change."""
        speakers = [self.signs_for(name) for name in KEYS]
        return self.keys.current("GW1"), self.keys.epoch_of("GW1"), self.keys.owners, speakers


def refuse(ring: Ring, condition: Condition, words: str) -> None:
    before = ring.describe()
    for ask in (ring.keys.verify_backup, ring.keys.adopt_backup):
        with pytest.raises(NotABackup, match=words) as refused:
            ask(ring.backup, "GW1", ring.epoch)
        assert refused.value.condition is condition
    assert ring.describe() == before


# ------------------------------------------------------------------ it takes over


def test_an_authorised_backup_takes_over() -> None:
    ring = Ring()
    assert (ring.keys.epoch_of("GW1"), ring.signs_for("GW1"), ring.signs_for("GW1-B")) == (0, "GW1", "")
    ring.keys.verify_backup(BACKUP, "GW1", 2)
    assert (ring.keys.current("GW1"), ring.keys.epoch_of("GW1")) == (PRIMARY, 0), "to ask is not to adopt"
    assert ring.take_over() is True
    assert (ring.keys.current("GW1"), ring.keys.epoch_of("GW1")) == (BACKUP, 2)
    assert (ring.signs_for("GW1"), ring.signs_for("GW1-B")) == ("", "GW1")
    assert ring.keys.owners == {"GW1", "GW2"}, "a backup is no peer of its own"
    with pytest.raises(BadCertificate, match="no certificate of GW1-B is known here"):
        ring.keys.current("GW1-B")


def test_what_the_predecessor_signed_is_history_and_nothing_new() -> None:
    ring, compact = Ring(), KEYS["GW1"].sign({"a": 1})
    ring.take_over()
    with pytest.raises(KeyReplaced, match="GW1 was replaced: GW1-B acts for GW1 since epoch 2"):
        ring.keys.verify(compact)
    assert ring.keys.verify_stored(compact).signer == "GW1"
    assert ring.keys.verify_stored(KEYS["GW1-B"].sign({"a": 1})).signer == "GW1"


def test_whoever_acts_says_it_again_and_raises_its_epoch_with_a_restart() -> None:
    ring = Ring()
    ring.take_over()
    for epoch in (2, 2, 5):
        assert ring.keys.adopt_backup(BACKUP, "GW1", epoch) is False
        assert ring.keys.epoch_of("GW1") == epoch
    with pytest.raises(NotABackup, match="epoch 4 of GW1 is over: its epoch is 5") as refused:
        ring.keys.adopt_backup(BACKUP, "GW1", 4)
    assert refused.value.condition is Condition.EPOCH


def test_a_gateway_that_was_never_replaced_has_no_epoch_to_raise() -> None:
    """It could lock its own backup out. If another one took over and nobody heard of it, the shared log tells of it."""
    ring = Ring(epoch=3)
    with pytest.raises(NotABackup, match="GW1 does not replace itself") as refused:
        ring.keys.adopt_backup(PRIMARY, "GW1", 4)
    assert refused.value.condition is Condition.IDENTITY
    assert ring.keys.epoch_of("GW1") == 0


# ------------------------------------------------------------------ each condition alone


def make_ca(key: KeyPair, **changes: datetime | bool) -> x509.Certificate:
    """The owner's own certificate, issued by the root, but for one thing that makes it unfit to issue others."""
    usual, signer = OWNER.certificate.x509, ROOT.key.key.private_key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder().subject_name(usual.subject).issuer_name(usual.issuer).serial_number(77)
    ends = changes.get("ends", usual.not_valid_after_utc)
    assert isinstance(ends, datetime)
    builder = builder.not_valid_before(usual.not_valid_before_utc).not_valid_after(ends).public_key(usual.public_key())
    for extension in usual.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and not changes.get("is_ca", True):
            value = x509.BasicConstraints(ca=False, path_length=None)
        builder = builder.add_extension(value, critical=extension.critical)
    return builder.sign(signer, hashes.SHA256())


def unfit_owner(**changes: datetime | bool) -> OwnerCA:
    """An owner with this certificate. What it has issued, it has issued."""
    owner = OwnerCA(OWNER.owner, OWNER.key, ROOT)
    der = make_ca(OWNER.key, **changes).public_bytes(serialization.Encoding.DER)
    owner.__dict__["certificate"] = Certificate(der)
    return owner


def test_1_a_path_that_ends_at_another_root() -> None:
    """The same names all the way up."""
    usurper = RootCA("Root", KeyPair.lab("no root", "test"))
    owner = OwnerCA(OWNER.owner, KeyPair.lab("no owner", "test"), usurper)
    refuse(Ring(backup=certify("GW1-B", by=owner)), Condition.PATH, "no certification path leads from GW1-B")
    both = Ring(owners=[OWNER, OTHER, owner], backup=certify("GW1-B", by=owner))
    refuse(both, Condition.PATH, "no certification path leads from GW1-B")


@pytest.mark.parametrize("changes", [{"ends": START - DAY}, {"is_ca": False}], ids=["expired", "not a CA"])
def test_1_a_parent_that_may_not_issue(changes: dict[str, datetime | bool]) -> None:
    """RFC 5280, section 6: every certificate on the path counts, not only its last signature."""
    refuse(Ring(owners=[unfit_owner(**changes), OTHER]), Condition.PATH, "no certification path leads from GW1-B")


def test_1_a_further_ca_below_the_owner() -> None:
    """Path length 0: an owner certifies gateways and no CA."""
    between = OwnerCA("Owner LTD", KeyPair.lab("between", "test"), RootCA("Owner LTD CA", OWNER.key))
    ring = Ring(owners=[OWNER, OTHER, between], backup=certify("GW1-B", by=between))
    refuse(ring, Condition.PATH, "no certification path leads from GW1-B")


def test_1_a_critical_extension_that_nobody_understands() -> None:
    signer, usual = OWNER.key.key.private_key, BACKUP.x509
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder().subject_name(usual.subject).issuer_name(usual.issuer).serial_number(9)
    builder = builder.not_valid_before(usual.not_valid_before_utc).not_valid_after(usual.not_valid_after_utc)
    builder = builder.public_key(usual.public_key())
    for extension in usual.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    for critical, oid in ((False, "2.25.1"), (True, "2.25.2")):
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=critical)
        der = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        ring = Ring(backup=Certificate.from_der(der))
        if critical:
            refuse(ring, Condition.PATH, "no certification path leads from GW1-B")
        else:
            ring.keys.verify_backup(ring.backup, "GW1", 2)


def test_2_another_parent_of_the_same_organization_under_the_same_root() -> None:
    """The same name is not the same certificate."""
    twin = OwnerCA(OWNER.owner, KeyPair.lab("twin", "test"), ROOT)
    ring = Ring(owners=[OWNER, OTHER, twin], backup=certify("GW1-B", by=twin))
    assert BACKUP.x509.issuer == ring.backup.x509.issuer
    refuse(ring, Condition.PARENT, "the certificate of GW1-B has another parent than that of GW1 .expected certificate")


def test_2_another_owner_known_here() -> None:
    refuse(Ring(backup=certify("GW1-B", by=OTHER)), Condition.PARENT, "has another parent")


def test_3_a_backup_that_the_certificate_does_not_name() -> None:
    words = "the key of GW1-C is not among the authorised backups of GW1"
    refuse(Ring(backup=THIRD), Condition.LISTED, words)
    refuse(Ring(certificates=[certify("GW1"), PEER]), Condition.LISTED, "GW1-B is not among the authorised backups")


def test_3_the_backup_may_not_authorise_itself() -> None:
    own_word = certify("GW1-C", "GW1-C", "GW1")
    refuse(Ring(backup=own_word), Condition.LISTED, "GW1-C is not among the authorised backups of GW1")


def test_a_customer_of_the_same_public_ca_is_no_backup() -> None:
    """R38: the parent is the same, and even the list names its key. The organization decides."""
    primary = PUBLIC.certify("GW1", KEYS["GW1"].public, backups=[KEYS["GW1-B"].public], organization="Alpha LTD")
    stranger = PUBLIC.certify("GW1-B", KEYS["GW1-B"].public, organization="Beta LTD")
    ring = Ring(certificates=[primary, PEER], backup=stranger)
    words = r"another organization than GW1 \(expected Alpha LTD, found Beta LTD\)"
    refuse(ring, Condition.ORGANIZATION, words)
    ring.backup = PUBLIC.certify("GW1-B", KEYS["GW1-B"].public, organization="Alpha LTD")
    assert ring.take_over()
    renewed = PUBLIC.certify("GW1-B", KEYS["GW1-B"].public, serial=2, organization="Beta LTD")
    with pytest.raises(BadCertificate, match="names another owner"):
        ring.keys.adopt(renewed)


def test_an_organization_that_the_ca_may_not_certify_is_nobodys() -> None:
    """Neither for a first certificate nor for a backup is the word of a CA about a stranger believed."""
    outside = PUBLIC.certify("GW1", KEYS["GW1"].public, organization="Gamma LTD")
    with pytest.raises(BadCertificate, match="this owner is not known here"):
        Ring(certificates=[outside])


def test_a_revoked_backup() -> None:
    ring = Ring()
    ring.keys.revoke(BACKUP, "GW1-B")
    refuse(ring, Condition.REVOKED, "certificate 1 of GW1-B was revoked")


def test_a_revoked_certificate_authorises_nobody_until_its_owner_issues_another() -> None:
    """The owner took back all that it says. That the crashed gateway's certificate has expired is no such word."""
    ring = Ring()
    ring.keys.revoke(PRIMARY, "GW1")
    refuse(ring, Condition.PREDECESSOR, "certificate 1 of GW1 was revoked")
    ring.keys.adopt(certify("GW1", "GW1-B", key="new", serial=2))
    assert ring.take_over()


@pytest.mark.parametrize("days", [-1, 1])
def test_a_backup_whose_certificate_is_not_valid_now(days: int) -> None:
    ring = Ring(backup=OWNER.certify("GW1-B", KEYS["GW1-B"].public, valid_from=START, valid_until=START))
    ring.now += days * DAY
    refuse(ring, Condition.VALIDITY, "the certificate of GW1-B is (expired at|not valid before) 2024-10-03T12:02:00Z")
    ring.now = START
    assert ring.take_over()


def test_a_crash_may_last_longer_than_the_certificate_of_who_crashed() -> None:
    short = OWNER.certify("GW1", KEYS["GW1"].public, valid_until=START - DAY, backups=[KEYS["GW1-B"].public])
    assert Ring(certificates=[short, PEER]).take_over()


def test_an_older_certificate_of_a_backup_that_is_known() -> None:
    ring = Ring()
    ring.take_over()
    ring.keys.adopt(certify("GW1-B", "GW1", serial=2))
    ring.keys.adopt_backup(PRIMARY, "GW1", 3)
    ring.epoch = 4
    refuse(ring, Condition.SERIAL, "certificate 1 of GW1-B was replaced by certificate 2")
    ring.backup = certify("GW1-B", "GW1", serial=2)
    assert ring.take_over()


def test_a_gateway_is_not_its_own_backup() -> None:
    """Otherwise a stolen list would do for a renewal; that is what a successor is for."""
    ring = Ring(certificates=[certify("GW1", "new"), PEER], backup=certify("GW1", key="new", serial=2))
    refuse(ring, Condition.IDENTITY, "GW1 does not replace itself")
    assert ring.keys.adopt(ring.backup)


def test_a_peer_of_its_own_is_no_backup() -> None:
    """What it signs would suddenly be signed by another one."""
    ring = Ring(certificates=[PRIMARY, PEER, certify("GW1-B")])
    refuse(ring, Condition.IDENTITY, "GW1-B is a peer of its own here and does not act for GW1")


def test_one_gateway_does_not_act_for_two() -> None:
    ring = Ring(certificates=[PRIMARY, PEER, certify("GW3", "GW1-B")])
    ring.take_over()
    with pytest.raises(NotABackup, match="GW1-B is a backup of GW1 here and does not act for GW3") as refused:
        ring.keys.adopt_backup(BACKUP, "GW3", 9)
    assert refused.value.condition is Condition.IDENTITY


def test_the_key_of_another_gateway() -> None:
    named = certify("GW1", "GW3", "GW1")
    ring = Ring(certificates=[named, PEER, certify("GW3")], backup=certify("GW1-B", key="GW3"))
    refuse(ring, Condition.KEY, "certificate 1 of GW1-B is for a key of GW3")
    refuse(Ring(certificates=[named, PEER], backup=certify("GW1-B", key="GW1")), Condition.KEY, "is for a key of GW1")


@pytest.mark.parametrize("epoch", [-1, 0])
def test_an_epoch_that_is_none(epoch: int) -> None:
    refuse(Ring(epoch=epoch), Condition.EPOCH, f"epoch {epoch} of GW1 is over: its epoch is 0")


def test_an_older_takeover_changes_nothing() -> None:
    """R18: GW1, then GW1-B, then GW1 again. What GW1-B said at its time may be replayed for ever."""
    ring = Ring()
    ring.take_over()
    ring.keys.adopt_backup(PRIMARY, "GW1", 3)
    for ring.epoch in (2, 3):
        refuse(ring, Condition.EPOCH, f"epoch {ring.epoch} of GW1 is over: its epoch is 3")
    ring.epoch = 4
    assert ring.take_over()


def test_an_authorised_backup_of_one_is_nothing_for_another() -> None:
    """GW1 and GW3 have the same owner and the same parent."""
    ring = Ring(certificates=[PRIMARY, PEER, certify("GW3", "GW1-C")])
    for name, condition in (("GW3", Condition.LISTED), ("GW2", Condition.PARENT)):
        with pytest.raises(NotABackup) as refused:
            ring.keys.adopt_backup(BACKUP, name, 2)
        assert refused.value.condition is condition
    with pytest.raises(BadCertificate, match="no certificate of GW4 is known here"):
        ring.keys.adopt_backup(BACKUP, "GW4", 2)
    ring.take_over()
    assert [ring.signs_for(name) for name in ("GW1-B", "GW2", "GW3")] == ["GW1", "GW2", "GW3"]


@pytest.mark.parametrize("condition", Condition)
def test_every_condition_is_refused_by_a_test_of_this_module(condition: Condition) -> None:
    """Whoever adds a condition adds a test."""
    assert re.search(rf"refuse\(.*Condition\.{condition.name}\b", Path(__file__).read_text())


# ------------------------------------------------------------------ who comes after whom


def test_a_backup_may_name_its_own_backups() -> None:
    ring = Ring()
    with pytest.raises(NotABackup):
        ring.keys.adopt_backup(THIRD, "GW1", 3)
    ring.take_over()
    assert ring.keys.adopt_backup(THIRD, "GW1", 3)
    assert [ring.signs_for(name) for name in ("GW1", "GW1-B", "GW1-C")] == ["", "", "GW1"]
    assert ring.keys.owners == {"GW1", "GW2"}


def test_each_of_two_may_be_the_others_backup() -> None:
    """R37: with the hashes of certificates, neither of these two could be issued first."""
    ring = Ring()
    for epoch, certificate in enumerate((BACKUP, PRIMARY, BACKUP, PRIMARY), start=2):
        assert ring.keys.adopt_backup(certificate, "GW1", epoch)
        assert [ring.signs_for(name) for name in ("GW1", "GW1-B")] == (
            ["", "GW1"] if certificate == BACKUP else ["GW1", ""]
        )


def test_who_is_fenced_off_comes_back_only_if_its_backup_names_it() -> None:
    ring = Ring(backup=certify("GW1-B", "GW1-C"))
    ring.take_over()
    ring.backup, ring.epoch = PRIMARY, 3
    refuse(ring, Condition.LISTED, "the key of GW1 is not among the authorised backups of GW1-B")


def test_a_fenced_key_may_come_back_and_a_lost_one_never() -> None:
    ring = Ring()
    ring.take_over()
    assert ring.keys.adopt(certify("GW1", "GW1-B", key="new", serial=2)), "GW1 is standing by and has lost its key"
    assert ring.keys.current("GW1") == BACKUP, "that does not bring it back"
    assert ring.signs_for("new") == ""
    ring.backup, ring.epoch = PRIMARY, 3
    refuse(ring, Condition.KEY, "certificate 1 of GW1 is for a key that was replaced")
    ring.backup = certify("GW1", key="GW1", serial=3)
    refuse(ring, Condition.KEY, "certificate 3 of GW1 is for a key that was replaced")
    ring.backup = certify("GW1", "GW1-B", key="new", serial=2)
    refuse(ring, Condition.LISTED, "the key of GW1 is not among the authorised backups of GW1-B")
    ring.keys.adopt(certify("GW1-B", "new", serial=2))
    assert ring.take_over()
    assert (ring.signs_for("new"), ring.signs_for("GW1"), ring.signs_for("GW1-B")) == ("GW1", "", "")


def test_a_renewed_backup_is_its_own_successor_and_stays_in_charge() -> None:
    ring, renewed = Ring(), certify("GW1-B", "GW1", serial=2)
    ring.take_over()
    assert ring.keys.adopt(renewed) is True
    assert ring.keys.adopt(renewed) is False
    assert (ring.keys.current("GW1"), ring.keys.epoch_of("GW1"), ring.signs_for("GW1-B")) == (renewed, 2, "GW1")


def test_a_new_key_of_the_backup_needs_a_new_certificate_of_the_gateway() -> None:
    """Before the takeover. What the list names is the key."""
    renewed, new_key = certify("GW1-B", serial=2), certify("GW1-B", key="new", serial=2)
    assert Ring(backup=renewed).take_over()
    ring = Ring(backup=new_key)
    refuse(ring, Condition.LISTED, "not among the authorised backups of GW1")
    ring.keys.adopt(certify("GW1", "new", serial=2))
    assert ring.take_over()


def test_a_new_key_of_a_backup_in_charge_replaces_its_old_one_for_good() -> None:
    ring = Ring()
    ring.take_over()
    ring.keys.adopt(certify("GW1-B", key="new", serial=2))
    with pytest.raises(KeyReplaced, match="the key of GW1-B was replaced by certificate 2"):
        ring.keys.verify(KEYS["GW1-B"].sign({"a": 1}))
    assert ring.signs_for("new") == "GW1"
    with pytest.raises(BadCertificate, match="is for a key that was replaced"):
        ring.keys.adopt(certify("GW1-B", serial=3))


def test_a_renewed_certificate_of_who_was_replaced_does_not_bring_it_back() -> None:
    ring, renewed = Ring(), certify("GW1", "GW1-B", serial=2)
    ring.take_over()
    assert ring.keys.adopt(renewed)
    assert ring.keys.current("GW1") == BACKUP
    with pytest.raises(BadCertificate, match="GW1 was replaced: GW1-B acts for GW1 since epoch 2"):
        ring.keys.judge(renewed.der, "GW1")


def test_a_revoked_or_expired_backup_counts_no_more_and_lets_nobody_back_in() -> None:
    for end in (lambda ring: ring.keys.revoke(ring.backup, "GW1-B"), lambda ring: setattr(ring, "now", START + DAY)):
        until = START + timedelta(hours=1)
        backup = OWNER.certify("GW1-B", KEYS["GW1-B"].public, valid_until=until, backups=[KEYS["GW1"].public])
        ring = Ring(backup=backup)
        ring.take_over()
        end(ring)
        assert (ring.signs_for("GW1-B"), ring.signs_for("GW1")) == ("", "")
        assert ring.keys.current("GW1") == backup


# ------------------------------------------------------------------ read from the own log


def test_what_the_log_says_outlives_expiry_revocation_and_a_newer_list() -> None:
    """Otherwise a restart of the peer would let the predecessor back in."""
    later: dict[str, Callable[[Ring], object]] = {
        "expired": lambda ring: setattr(ring, "now", START + DAY),
        "revoked": lambda ring: ring.keys.revoke(ring.backup, "GW1-B"),
        "not named any more": lambda ring: ring.keys.adopt(certify("GW1", serial=2)),
    }
    until = START + timedelta(hours=1)
    for change in later.values():
        ring = Ring(backup=OWNER.certify("GW1-B", KEYS["GW1-B"].public, valid_until=until))
        change(ring)
        with pytest.raises(NotABackup):
            ring.keys.adopt_backup(ring.backup, "GW1", 2)
        ring.keys.restore_backup(ring.backup, "GW1", 2)
        assert (ring.keys.current("GW1"), ring.keys.epoch_of("GW1")) == (ring.backup, 2)
        assert ring.signs_for("GW1") == ""


def test_a_log_is_read_in_its_order_and_knows_no_newer_certificate_away() -> None:
    ring = Ring(certificates=[PRIMARY, PEER, certify("GW1", "GW1-B", serial=3)])
    ring.keys.restore_backup(BACKUP, "GW1", 2)
    ring.keys.adopt(certify("GW1-B", "GW1", serial=2))
    ring.keys.restore_backup(BACKUP, "GW1", 3)
    assert (ring.keys.current("GW1").serial, ring.keys.epoch_of("GW1")) == (2, 3)
    ring.keys.restore_backup(PRIMARY, "GW1", 4)
    assert (ring.keys.current("GW1").serial, ring.keys.epoch_of("GW1"), ring.signs_for("GW1")) == (3, 4, "GW1")
    with pytest.raises(NotABackup, match="epoch 2 of GW1 is over"):
        ring.keys.restore_backup(BACKUP, "GW1", 2)
    with pytest.raises(BadCertificate, match="was not signed by Owner LTD"):
        forger = OwnerCA("Owner LTD", KEYS["GW3"], ROOT)
        ring.keys.restore_backup(certify("GW1-C", by=forger), "GW1", 5)
