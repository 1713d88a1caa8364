"""The connection between the two gateways of a World, on both levels: messages, and the TLS that carries them.

Transfer-Resume and Transfer-Continue travel before TLS is back, signed like everything else; all other messages
travel on a TLS connection, which is opened when the first of them is sent. A message belongs to the connection on
which it was sent. If that connection is gone, the message is too: that is what makes a new connection a safety rule
and not only a convenience.

TLS itself loses no single message: what it carries arrives whole and in order, or the connection is over. A World can
lose one message all the same; that stands for what is lost above TLS, in a proxy or a queue, before the gateway saw it.

Two say whether a connection is resumed: the gateway that answers a Transfer-Resume, by its `tlsResume`, and the TLS
client, which offers the session it saved or does not. The server's OpenSSL takes what it is offered, and asks nothing.

TLS keeps the order of what it carries, and a World may carry messages in any order; so a record is made when its
message is carried, not when it is sent. Handshakes, certificates and records are the real ones (tls.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from protocol.certificates import Certificate, CertifiedKeys, OwnerCA
from protocol.faults import Tripwire, WatchedLog
from protocol.gateway import Gateway
from protocol.ledger import Ledger
from protocol.messages.recovery import NAMES, RECOVERY_NAMESPACE, CrashErrorCode
from protocol.messages.satp import short_name
from protocol.negotiation import Identity
from protocol.signing import KeyPair, PublicKey, read_payload
from protocol.steps import Role, find_row, find_step
from protocol.tls import Connection, ConnectionLost, Endpoint, HandshakeRefused
from protocol.trace import Connected, Event, Lost, NotConnected

ANSWER = "transfer-continue"
PLAIN = ("transfer-resume", ANSWER)


@dataclass
class Side:
    """One gateway's place: what survives a crash (file, ledger, identity), and what does not (gateway)."""

    role: Role
    identity: Identity
    ledger: Ledger
    path: Path
    successor: Certificate | None = None
    loss: CrashErrorCode = "process"
    wire: Tripwire = field(default_factory=Tripwire)
    log: WatchedLog | None = None
    endpoint: Endpoint | None = None
    ring: CertifiedKeys | None = None  # what this process knows of others' certificates
    gateway: Gateway | None = None

    @property
    def id(self) -> str:
        return self.identity.gateway_id

    def replace_key(self, key: KeyPair) -> None:
        """Sign with this one from now on; the old one is lost, and its public part still verifies what it signed."""
        former = (*self.identity.former, self.identity.key.public)
        self.identity, self.loss = replace(self.identity, key=key, former=former), "key"


@dataclass(frozen=True)
class InFlight:
    """A message on the link. `connection` is the one it was sent on; None if it needs none, or there is no TLS."""

    source: Side
    target: Side
    data: bytes
    step: str
    name: str
    connection: Connection | None = None

    def as_lost(self, at: str) -> Lost:
        return Lost(at, self.source.id, self.target.id, self.step, self.name)


class SecureLink:
    """At most one connection at a time; a new one ends the old one."""

    def __init__(self, report: Callable[[Event], None], now: Callable[[], str]) -> None:
        self._report, self._now = report, now
        self.connection: Connection | None = None
        self.wants_resumed = True  # what the last Transfer-Continue said; True again once a connection has come about

    def open(self, one: Endpoint | None, other: Endpoint | None) -> bool:
        """Connect unless connected: resumed if the client would and nobody said otherwise. False if it is refused.

        Whoever is down is not connected with; on a connection that it left behind one can still write, in vain.
        """
        if one is None or other is None:
            return self.connection is not None
        if self.connection is not None and self.connection.is_open:
            return True
        client, server = sorted((one, other), key=lambda endpoint: endpoint.gateway_id)
        return self.connect(one, other, resume=self.wants_resumed and client.can_resume(server.gateway_id))

    def connect(self, one: Endpoint, other: Endpoint, *, resume: bool) -> bool:
        """A new connection; the old one is over. False, with the reason in the trace, if either end refuses."""
        self.close()
        self.wants_resumed = True
        try:
            self.connection = Connection.open(one, other, resume=resume)
        except HandshakeRefused as refusal:
            event = NotConnected(self._now(), refusal.by, refusal.peer, refusal.reason, refusal.is_resumed)
            self._report(event)
            return False
        self._report(Connected(self._now(), one.gateway_id, other.gateway_id, self.connection.is_resumed))
        return True

    def carry(self, connection: Connection | None, source: str, data: bytes) -> bytes | None:
        """What arrives at the other end of the connection on which the message was sent; None if that is gone."""
        if connection is None:
            return data
        try:
            return connection.carry(source, data)
        except ConnectionLost:
            return None

    def close(self) -> None:
        """End the connection, as a crash does: without a word."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class Registry:
    """What the owners have certified and taken back, as the operators of the gateways know it.

    Each new process is configured with it. A running one hears of a revocation from its operator, and of a new
    certificate from the peer that shows it.
    """

    def __init__(
        self, owners: Mapping[str, str], make_key: Callable[[str], KeyPair], now: Callable[[], datetime]
    ) -> None:
        """`owners` names the owner of each gateway; those of others are made when they are needed."""
        self._make_key, self._now = make_key, now
        self._owners = {name: OwnerCA(owner, make_key(f"owner of {name}")) for name, owner in owners.items()}
        self._published: dict[tuple[str, int], Certificate] = {}
        self._revoked: list[Certificate] = []

    @property
    def owners(self) -> list[OwnerCA]:
        return list(self._owners.values())

    def certify(self, name: str, key: PublicKey, serial: int = 1, **validity: datetime) -> Certificate:
        """By the owner of that gateway; `validity` as in `OwnerCA.certify`. Nobody else is told."""
        owner = self._owners.get(name) or OwnerCA(f"owner of {name}", self._make_key(f"owner of {name}"))
        self._owners[name] = owner
        return owner.certify(name, key, serial=serial, **validity)

    def publish(self, name: str, key: PublicKey, serial: int = 1, **validity: datetime) -> Certificate:
        """As `certify`; and whatever process starts from now on knows the certificate."""
        certificate = self.certify(name, key, serial, **validity)
        self._published[name, serial] = certificate
        return certificate

    def find(self, side: Side) -> Certificate:
        """The certificate that a gateway shows."""
        return side.successor or self._published[side.id, 1]

    def revoke(self, certificate: Certificate, rings: Iterable[CertifiedKeys | None]) -> None:
        """For good; the processes that have these rings are told at once."""
        self._revoked.append(certificate)
        for ring in rings:
            if ring is not None:
                ring.revoke(certificate, certificate.gateway_id)

    def make_ring(self, own: str) -> CertifiedKeys:
        """What a new process of the gateway `own` accepts of all others."""
        others = [certificate for certificate in self._published.values() if certificate.gateway_id != own]
        ring = CertifiedKeys(others, self.owners, self._now)
        for certificate in self._revoked:
            ring.revoke(certificate, certificate.gateway_id)
        return ring


def read_label(data: bytes) -> tuple[str, str]:
    """What to call a message in a picture: its step and its name; errors by their code."""
    payload = read_payload(data)
    message_type = str(payload.get("messageType", ""))
    if message_type.endswith(":error-msg"):
        return "", f"error {str(payload['type']).rpartition(':')[2]}"
    return find_step(message_type), short_name(message_type.removeprefix(RECOVERY_NAMESPACE))


def find_label(name: str) -> str:
    """A step of TABLE 1, or the name of a recovery message. Misuse for anything else."""
    return name if name in NAMES else find_row(name).number
