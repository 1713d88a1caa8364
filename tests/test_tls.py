"""TLS between two gateways: who is let in, what is resumed, and what is judged again although OpenSSL is content."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Unpack

import pytest

from protocol.certificates import VALID_UNTIL, BadCertificate, Certificate, OwnerCA, RootCA, Validity
from protocol.errors import Misuse, Refused
from protocol.network import START
from protocol.peers import CertifiedKeys
from protocol.signing import KeyPair
from protocol.tls import Connection, Endpoint, HandshakeRefused

DAY = timedelta(days=1)
ROOT = RootCA("Root", KeyPair.lab("root", "test"))
OWNERS = {
    "GW1": OwnerCA("Owner LTD", KeyPair.lab("owner", "test"), ROOT),
    "GW2": OwnerCA("Other LTD", KeyPair.lab("other", "test"), ROOT),
}
KEYS = {name: KeyPair.lab(name, "test") for name in ("GW1", "GW2", "GW3", "intruder")}
PEER_OF = {"GW1": "GW2", "GW2": "GW1"}


def certify(name: str, serial: int = 1, key: str = "", **validity: Unpack[Validity]) -> Certificate:
    return OWNERS[name].certify(name, KEYS[key or name].public, serial=serial, **validity)


@dataclass
class Place:
    """Two gateways and one clock. What they know of each other's certificates outlives a process; TLS does not."""

    shown: dict[str, Certificate] = field(default_factory=lambda: {name: certify(name) for name in OWNERS})
    now: datetime = START

    def __post_init__(self) -> None:
        self.peers = {
            name: CertifiedKeys([certify(PEER_OF[name])], OWNERS.values(), lambda: self.now) for name in OWNERS
        }
        self.tls = {name: self.make(name) for name in OWNERS}

    def make(self, name: str, key: str = "", kind: type[Endpoint] = Endpoint, by: OwnerCA | None = None) -> Endpoint:
        owners = [by] if by is not None else OWNERS.values()
        return kind(KEYS[key or name], self.shown[name], owners, self.peers[name])

    def restart(self, name: str) -> None:
        self.tls[name] = self.make(name)

    def open(self, *, resume: bool = True) -> Connection:
        return Connection.open(self.tls["GW1"], self.tls["GW2"], resume=resume)

    @property
    def can_resume(self) -> tuple[bool, bool]:
        return self.tls["GW1"].can_resume("GW2"), self.tls["GW2"].can_resume("GW1")


@pytest.fixture
def place() -> Place:
    return Place()


def open_refused(place: Place, by: str, words: str, code: str = "badCertificate") -> HandshakeRefused:
    with pytest.raises(HandshakeRefused, match=words) as caught:
        place.open()
    refused = caught.value
    assert (refused.by, refused.peer, refused.code) == (by, PEER_OF[by], code)
    assert str(refused).startswith(f"{by} refused {PEER_OF[by]}")
    return refused


# ------------------------------------------------------------------ full and resumed


def test_a_full_handshake_and_a_resumed_one(place: Place) -> None:
    assert place.can_resume == (False, False)
    full = place.open()
    assert repr(full) == "TLSv1.3 between GW1 and GW2, full handshake"
    assert place.can_resume == (True, True)
    resumed = place.open()
    assert repr(resumed) == "TLSv1.3 between GW1 and GW2, resumed"
    for connection in (full, resumed):
        assert (connection.version, connection.round_trips) == ("TLSv1.3", 1)
        assert connection.cipher in ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
        assert connection.carry("GW1", b"proposal") == b"proposal"
        assert connection.carry("GW2", b"receipt") == b"receipt"
    assert 0 < resumed.handshake_bytes < full.handshake_bytes < 5000


def test_only_the_connection_is_lost_and_it_resumes_again_and_again(place: Place) -> None:
    assert [place.open().is_resumed for _ in range(4)] == [False, True, True, True]


@pytest.mark.parametrize("who", OWNERS)
def test_a_lost_process_means_a_silent_full_handshake(who: str, place: Place) -> None:
    place.open()
    assert place.open().is_resumed
    place.restart(who)
    assert place.tls[who].can_resume(PEER_OF[who]) is False
    assert place.tls[PEER_OF[who]].can_resume(who) is True, "the other one cannot know"
    assert not place.open().is_resumed
    assert place.open().is_resumed


def test_who_does_not_ask_for_resumption_gets_none(place: Place) -> None:
    place.open()
    assert not place.open(resume=False).is_resumed
    assert place.open(resume=True).is_resumed


def test_who_forgets_does_not_resume(place: Place) -> None:
    place.open()
    place.tls["GW1"].forget("GW2")
    assert place.can_resume == (False, True)
    assert not place.open().is_resumed
    place.tls["GW2"].forget("GW1")
    assert place.can_resume == (True, False)


class Ticketless(Endpoint):
    """A server that lets nobody resume."""

    def _make_context(self, *, is_server: bool) -> ssl.SSLContext:
        context = super()._make_context(is_server=is_server)
        if is_server:
            context.num_tickets = 0
        return context


def test_without_a_ticket_the_client_knows_that_it_cannot_resume(place: Place) -> None:
    place.tls["GW2"] = place.make("GW2", kind=Ticketless)
    place.open()
    assert place.can_resume == (False, True)
    assert not place.open().is_resumed


def test_the_client_is_the_one_whose_id_sorts_first_whoever_opens(place: Place) -> None:
    one, other = place.tls["GW1"], place.tls["GW2"]
    Connection.open(other, one, resume=False)
    assert Connection.open(one, other, resume=True).is_resumed
    assert [repr(each) for each in (one, other)] == [
        "TLS of GW1, certificate 1, sessions with 1",
        "TLS of GW2, certificate 1, sessions with 0",
    ]
    with pytest.raises(Misuse, match="does not connect with itself"):
        Connection.open(one, one, resume=False)


# ------------------------------------------------------------------ who is not let in


class Unarmed(Endpoint):
    """A peer that shows no certificate at all."""

    def _load_own(self, context: ssl.SSLContext) -> None:
        pass


def test_a_client_without_a_certificate_is_refused(place: Place) -> None:
    place.tls["GW1"] = place.make("GW1", kind=Unarmed)
    open_refused(place, "GW2", "peer did not return a certificate", "connectionError")
    assert place.can_resume == (False, False)


def test_a_server_without_a_certificate_is_refused(place: Place) -> None:
    place.tls["GW2"] = place.make("GW2", kind=Unarmed)
    with pytest.raises(HandshakeRefused):
        place.open()


class Dated(Endpoint):
    """A peer that knows nothing newer than TLS 1.2."""

    def _make_context(self, *, is_server: bool) -> ssl.SSLContext:
        context = super()._make_context(is_server=is_server)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


@pytest.mark.parametrize("who", OWNERS)
def test_tls_1_2_is_refused(who: str, place: Place) -> None:
    """SATP 5.4.1: TLS 1.3 MUST be implemented."""
    place.tls[who] = place.make(who, kind=Dated)
    with pytest.raises(HandshakeRefused, match="protocol") as refused:
        place.open()
    assert refused.value.code == "connectionError"


@pytest.mark.parametrize("who", OWNERS)
def test_a_certificate_under_an_unknown_root_is_refused_by_openssl(who: str, place: Place) -> None:
    """Even if the whole chain has the right names."""
    forger = OwnerCA(OWNERS[who].owner, OWNERS[who].key, RootCA("Root", KeyPair.lab("no root", "test")))
    place.shown[who] = forger.certify(who, KEYS[who].public)
    place.tls[who] = place.make(who, by=forger)
    open_refused(place, PEER_OF[who], "unable to get local issuer certificate")


@pytest.mark.parametrize("who", OWNERS)
def test_a_certificate_without_its_parent_is_refused_by_openssl(who: str, place: Place) -> None:
    """Both ends have the root and no owner: the chain has to be shown."""
    place.tls[who] = place.make(who, by=OWNERS[PEER_OF[who]])
    open_refused(place, PEER_OF[who], "unable to get local issuer certificate")


@pytest.mark.parametrize("who", OWNERS)
def test_a_certificate_by_another_owner_under_the_same_root_is_refused_by_us(who: str, place: Place) -> None:
    nobody = OwnerCA("Nobody LTD", KeyPair.lab("nobody", "test"), ROOT)
    place.shown[who] = nobody.certify(who, KEYS[who].public, serial=2)
    place.tls[who] = place.make(who, by=nobody)
    open_refused(place, PEER_OF[who], f"the certificate of {who} names another owner")


@pytest.mark.parametrize("who", OWNERS)
def test_a_certificate_by_somebody_who_calls_himself_the_owner_is_refused(who: str, place: Place) -> None:
    forger = OwnerCA(OWNERS[who].owner, KeyPair.lab("forger", "test"), ROOT)
    place.shown[who] = forger.certify(who, KEYS[who].public, serial=2)
    place.tls[who] = place.make(who, by=forger)
    open_refused(place, PEER_OF[who], f"was not signed by {OWNERS[who].owner}")


@pytest.mark.parametrize("who", OWNERS)
def test_a_certificate_of_another_owner_is_refused_by_us(who: str, place: Place) -> None:
    """OpenSSL is content: both owners are known here. But a gateway stays with its owner."""
    place.shown[who] = OWNERS[PEER_OF[who]].certify(who, KEYS[who].public, serial=2)
    place.restart(who)
    open_refused(place, PEER_OF[who], f"the certificate of {who} names another owner")


@pytest.mark.parametrize("who", OWNERS)
def test_a_certificate_of_another_gateway_is_refused_by_us(who: str, place: Place) -> None:
    """One owner may have many gateways; none of them is let in as another."""
    place.shown[who] = OWNERS[who].certify("GW3", KEYS["GW3"].public)
    intruder = place.make(who, key="GW3")
    intruder.gateway_id = who
    place.tls[who] = intruder
    open_refused(place, PEER_OF[who], rf"one of another gateway \(expected {who}, found GW3\)")


@pytest.mark.parametrize("who", OWNERS)
def test_a_certificate_that_somebody_else_copied_is_worth_nothing(who: str, place: Place) -> None:
    """A certificate is public. Who shows it must have the key."""
    with pytest.raises(Misuse, match="is for another key than the one of intruder"):
        place.make(who, key="intruder")


@pytest.mark.parametrize("who", OWNERS)
@pytest.mark.parametrize(
    ("validity", "words"),
    [
        ({"valid_until": START - DAY}, "expired at 2024-10-02T12:02:00Z"),
        ({"valid_from": START + DAY}, "not valid before 2024-10-04T12:02:00Z"),
    ],
)
def test_validity_is_judged_on_the_injected_clock(who: str, validity: Any, words: str, place: Place) -> None:
    place.shown[who] = certify(who, 2, **validity)
    place.restart(who)
    open_refused(place, PEER_OF[who], f"the certificate of {who} is {words}")


def test_a_certificate_that_openssl_would_accept_today_is_refused_when_our_clock_says_so(place: Place) -> None:
    assert datetime.now(UTC) < VALID_UNTIL
    place.now = VALID_UNTIL + DAY
    open_refused(place, "GW1", "the certificate of GW2 is expired at 2099-12-31")


def test_a_certificate_that_is_over_today_is_accepted_when_our_clock_says_so(place: Place) -> None:
    """A run takes place in 2024 for ever; what OpenSSL would say of it changes with the day that it is read."""
    place.shown["GW2"] = certify("GW2", 2, valid_until=START + DAY)
    place.restart("GW2")
    assert place.open().is_open
    place.now += 2 * DAY
    open_refused(place, "GW1", "expired at")


@pytest.mark.parametrize("who", OWNERS)
def test_a_new_certificate_is_adopted_from_the_handshake(who: str, place: Place) -> None:
    place.open()
    place.shown[who] = certify(who, 2, key="GW3")
    place.tls[who] = place.make(who, key="GW3")
    assert not place.open().is_resumed
    assert place.peers[PEER_OF[who]].current(who).serial == 2
    assert place.open().is_resumed
    place.shown[who] = certify(who)
    place.restart(who)
    open_refused(place, PEER_OF[who], f"certificate 1 of {who} was replaced by certificate 2")


# ------------------------------------------------------------------ resumed by OpenSSL, refused by us


def replace(place: Place, who: str) -> None:
    place.peers[PEER_OF[who]].adopt(certify(who, 2, key="GW3"))


def revoke(place: Place, who: str) -> None:
    place.peers[PEER_OF[who]].revoke(1, who)


def expire(place: Place, who: str) -> None:
    place.now += 2 * DAY


@pytest.mark.parametrize("who", OWNERS)
@pytest.mark.parametrize(
    ("meanwhile", "words"),
    [(replace, "was replaced by certificate 2"), (revoke, "was revoked"), (expire, "expired at")],
    ids=["replaced", "revoked", "expired"],
)
def test_openssl_resumes_what_no_longer_counts_and_we_refuse_it(who: str, meanwhile: Any, words: str) -> None:
    place = Place()
    place.peers[PEER_OF[who]] = CertifiedKeys(
        [certify(who, valid_until=START + DAY)], OWNERS.values(), lambda: place.now
    )
    place.shown[who] = certify(who, valid_until=START + DAY)
    for name in OWNERS:
        place.restart(name)
    place.open()
    assert place.open().is_resumed
    assert place.can_resume == (True, True)

    meanwhile(place, who)

    assert place.tls[PEER_OF[who]].can_resume(who) is False
    refused = open_refused(place, PEER_OF[who], words)
    assert refused.is_resumed, "OpenSSL itself had agreed: nothing but our own judgement stands here"
    assert "in a resumed handshake" in str(refused)
    assert place.can_resume == (False, False), "what was refused is not offered again"
    assert not open_refused(place, PEER_OF[who], words).is_resumed, "and a full handshake does not help"


@pytest.mark.parametrize("by_whom", ["OpenSSL", "us"])
def test_a_refusal_of_somebody_else_does_not_cost_the_saved_session(by_whom: str, place: Place) -> None:
    """Otherwise anybody could make two gateways forget."""
    place.open()
    good = place.tls["GW1"]
    root = ROOT if by_whom == "us" else RootCA("Root", KEYS["intruder"])
    owner = OwnerCA("Owner LTD", OWNERS["GW1"].key, root)
    place.shown["GW1"] = owner.certify("GW3", KEYS["intruder"].public)
    intruder = place.tls["GW1"] = place.make("GW1", key="intruder", by=owner)
    intruder.gateway_id = "GW1"
    open_refused(place, "GW2", "another gateway" if by_whom == "us" else "issuer")
    place.tls["GW1"] = good
    assert place.can_resume == (True, True)
    assert place.open().is_resumed


# ------------------------------------------------------------------ keys and suites


def test_a_lab_key_guards_no_real_connection(place: Place) -> None:
    """Of the gateway, an owner or a root: whoever can compute one of the last two makes certificates as he likes."""
    real, root = KeyPair.generate("GW1"), RootCA("Root", KeyPair.generate("root"))
    owner = OwnerCA("Owner LTD", KeyPair.generate("owner"), root)
    lab_owner, lab_root = OwnerCA("Owner LTD", KEYS["GW1"], root), OwnerCA("Owner LTD", owner.key, ROOT)

    def make(key: KeyPair, by: OwnerCA) -> Endpoint:
        peers = CertifiedKeys([], [by], lambda: START)
        return Endpoint(key, by.certify("GW1", key.public), [by], peers, is_for_sockets=True)

    for key, by in ((KEYS["GW1"], owner), (real, lab_owner), (real, lab_root)):
        with pytest.raises(Misuse, match="must not be used on a real connection"):
            make(key, by)
    assert make(real, owner).gateway_id == "GW1"


def test_a_private_key_is_in_a_file_of_its_own_for_a_moment(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    load = ssl.SSLContext.load_cert_chain

    def watch(self: ssl.SSLContext, name: str) -> None:
        seen.append((name, stat.S_IMODE(Path(name).stat().st_mode)))
        load(self, name)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place.open()
    assert [mode for _, mode in seen] == [0o600, 0o600]
    assert all(Path(name).parent == tmp_path for name, _ in seen)
    assert list(tmp_path.iterdir()) == []


SUITES = """
openssl_conf = all
[all]
ssl_conf = tls
[tls]
system_default = these
[these]
Ciphersuites = {}
"""
TRY = """
from protocol.tls import HandshakeRefused
from tests.test_tls import Place
try:
    print(Place().open().cipher)
except HandshakeRefused as refused:
    print(refused)
"""


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        (
            "TLS_AES_128_CCM_8_SHA256",
            "GW1 refused GW2: TLS_AES_128_CCM_8_SHA256 is weaker than TLS_AES_128_GCM_SHA256 [connectionError]",
        ),
    ],
)
def test_the_machines_settings_choose_the_suite_and_a_weak_one_is_refused(
    suite: str, words: str, tmp_path: Path
) -> None:
    """SATP 5.3.9: at least as secure as TLS_AES_128_GCM_SHA256."""
    settings = tmp_path / "openssl.cnf"
    settings.write_text(SUITES.format(suite))
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "OPENSSL_CONF": str(settings), "PYTHONPATH": root}
    run = subprocess.run(
        [sys.executable, "-c", TRY], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == words


def test_the_refusal_is_one_of_the_tree() -> None:
    assert issubclass(HandshakeRefused, Refused)
    assert not issubclass(HandshakeRefused, BadCertificate), "it is not a signature that was bad"
