"""TLS with a backup: a connection of its own, nothing resumed of its predecessor's, and that one is let in no more."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from protocol.certificates import Certificate
from protocol.errors import Misuse
from protocol.network import START
from protocol.peers import CertifiedKeys
from protocol.tls import Connection, Endpoint, HandshakeRefused
from tests.test_backup_certificates import BACKUP, KEYS, PRIMARY, certify
from tests.test_certificates import OTHER, OWNER, ROOT


@dataclass
class Place:
    """GW1, its backup, and a peer whose id sorts before or after that of GW1, which makes it client or server."""

    peer: str

    def __post_init__(self) -> None:
        self.keys = CertifiedKeys([PRIMARY], [OWNER], lambda: START, roots=[ROOT.certificate])
        self.other = OTHER.certify(self.peer, KEYS["GW2"].public)
        self.tls = Endpoint(KEYS["GW2"], self.other, [OTHER], self.keys)
        self.primary, self.backup = self.make(PRIMARY, "GW1"), self.make(BACKUP, "GW1-B")

    def make(self, certificate: Certificate, key: str) -> Endpoint:
        known = CertifiedKeys([self.other], [OTHER], lambda: START, roots=[ROOT.certificate])
        return Endpoint(KEYS[key], certificate, [OWNER], known, gateway_id="GW1")


@pytest.fixture(params=["GW0", "GW2"], ids=["the peer is client", "the peer is server"])
def place(request: pytest.FixtureRequest) -> Place:
    return Place(request.param)


def test_a_backup_never_resumes_the_session_of_its_predecessor(place: Place) -> None:
    assert not Connection.open(place.primary, place.tls, resume=True).is_resumed
    assert Connection.open(place.primary, place.tls, resume=True).is_resumed
    place.keys.adopt_backup(BACKUP, "GW1", 2)
    assert (place.tls.can_resume("GW1"), place.backup.can_resume(place.peer)) == (False, False)
    connection = Connection.open(place.backup, place.tls, resume=True)
    assert not connection.is_resumed
    assert connection.carry("GW1", b"over") == b"over"
    assert place.tls.find_shown("GW1") == BACKUP
    assert Connection.open(place.backup, place.tls, resume=True).is_resumed, "its own it may"
    assert repr(place.backup).startswith("TLS of GW1, certificate 1 of GW1-B, sessions with")


def test_what_was_saved_of_the_predecessor_is_not_even_offered() -> None:
    place = Place("GW0")
    Connection.open(place.primary, place.tls, resume=True)
    assert place.tls.find_session("GW1") is not None
    place.keys.adopt_backup(BACKUP, "GW1", 2)
    assert place.tls.find_session("GW1") is None
    assert place.tls.find_shown("GW1") is None


@pytest.mark.parametrize("resume", [True, False])
def test_a_fenced_predecessor_is_refused(resume: bool, place: Place) -> None:
    """It has lived on, with all that it saved: OpenSSL would resume with its old connection, we do not."""
    Connection.open(place.primary, place.tls, resume=True)
    place.keys.adopt_backup(BACKUP, "GW1", 2)
    with pytest.raises(HandshakeRefused, match="GW1 was replaced: GW1-B acts for GW1 since epoch 2") as refused:
        Connection.open(place.primary, place.tls, resume=resume)
    assert (refused.value.by, refused.value.peer, refused.value.code) == (place.peer, "GW1", "badCertificate")
    assert refused.value.is_resumed is (resume and place.peer == "GW2"), "a client offers nothing of a predecessor"


def test_a_handshake_adopts_no_backup(place: Place) -> None:
    """However well it is authorised: a handshake has no epoch."""
    place.keys.copy().verify_backup(BACKUP, "GW1", 1)
    with pytest.raises(HandshakeRefused, match=r"one of another gateway \(expected GW1, found GW1-B\)"):
        Connection.open(place.backup, place.tls, resume=False)
    assert place.keys.current("GW1") == PRIMARY


def test_a_renewed_backup_is_adopted_from_a_handshake(place: Place) -> None:
    place.keys.adopt_backup(BACKUP, "GW1", 2)
    renewed = certify("GW1-B", "GW1", key="new", serial=2)
    assert Connection.open(place.make(renewed, "new"), place.tls, resume=True).is_open
    assert (place.keys.current("GW1"), place.keys.epoch_of("GW1")) == (renewed, 2)
    with pytest.raises(HandshakeRefused, match="certificate 1 of GW1-B was replaced by certificate 2"):
        Connection.open(place.backup, place.tls, resume=True)


def test_two_that_act_for_the_same_gateway_do_not_connect_in_its_name(place: Place) -> None:
    with pytest.raises(Misuse, match="GW1 does not connect with itself"):
        Connection.open(place.primary, place.backup, resume=False)
