"""The connections between the gateways of a World, on both levels: messages, and the TLS that carries them.

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

What goes to a process that stands still waits for it, unless its connection ends. No handshake comes about with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Unpack

from protocol.certificates import Certificate, OwnerCA, RootCA, Validity
from protocol.faults import Tripwire, WatchedLog
from protocol.gateway import Gateway
from protocol.ledger import Ledger, rfc3339
from protocol.messages.recovery import NAMES, RECOVERY_NAMESPACE, CrashErrorCode
from protocol.messages.satp import short_name
from protocol.negotiation import Identity
from protocol.peers import CertifiedKeys
from protocol.signing import KeyPair, PublicKey, read_payload
from protocol.steps import Role, find_row, find_step
from protocol.tls import Connection, ConnectionLost, Endpoint, HandshakeRefused
from protocol.trace import Connected, Delivered, Event, Lost, NotConnected

OFFER, ANSWER = "transfer-resume", "transfer-continue"
PLAIN = (OFFER, ANSWER)


class Clock:
    """The simulated time. It moves only when somebody lets it."""

    def __init__(self, start: datetime) -> None:
        self.time = start

    def read(self) -> datetime:
        return self.time

    def tell(self) -> str:
        """RFC 3339."""
        return rfc3339(self.time)

    def advance(self, seconds: int) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass(eq=False)
class Side:
    """One gateway's place: what survives a crash (file, ledger, identity), and what does not (gateway).

    `node` is the name of a machine that stands in for the gateway of the identity; empty if it is that gateway itself.
    """

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
    node: str = ""
    is_coming_up: bool = False  # until its restart is through
    speaker: Side | None = None  # whose message it is at work on

    @property
    def id(self) -> str:
        """The gateway of the sessions for which it acts."""
        return self.identity.gateway_id

    @property
    def name(self) -> str:
        return self.node or self.id

    @property
    def is_paused(self) -> bool:
        return self.wire.is_paused

    @property
    def is_awake(self) -> bool:
        return self.gateway is not None and not self.wire.is_paused

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
        return Lost(at, self.source.name, self.target.name, self.step, self.name)


class SecureLink:
    """At most one connection between any two gateways; a new one ends the old one of the same two."""

    def __init__(self, report: Callable[[Event], None], now: Callable[[], str]) -> None:
        self._report, self._now = report, now
        self._connections: dict[frozenset[str], Connection] = {}  # the youngest is the last
        self._unwanted: set[frozenset[str]] = set()

    @property
    def connection(self) -> Connection | None:
        """The youngest of those that nobody has closed."""
        return next(reversed(self._connections.values()), None)

    def find(self, one: str, other: str) -> Connection | None:
        return self._connections.get(frozenset((one, other)))

    def note_wish(self, one: str, other: str, *, resume: bool) -> None:
        """What the last Transfer-Continue between the two said of `tlsResume`; counts for their next connection."""
        (self._unwanted.discard if resume else self._unwanted.add)(frozenset((one, other)))

    def open(self, one: Side, other: Side) -> bool:
        """Connect unless connected: resumed if the client would and nobody said otherwise. False if it is refused.

        Whoever is down is not connected with; on a connection that it left behind one can still write, in vain. With
        a process that stands still no handshake comes about, but what is open stays open.
        """
        present = self.find(one.name, other.name)
        if one.endpoint is None or other.endpoint is None:
            return present is not None
        if present is not None and present.is_open:
            return True
        if not (one.is_awake and other.is_awake):
            return False
        client, server = sorted((one.endpoint, other.endpoint), key=lambda endpoint: endpoint.gateway_id)
        is_wanted = frozenset((one.name, other.name)) not in self._unwanted
        return self.connect(one.endpoint, other.endpoint, resume=is_wanted and client.can_resume(server.gateway_id))

    def connect(self, one: Endpoint, other: Endpoint, *, resume: bool) -> bool:
        """A new connection; the old one is over. False, with the reason in the trace, if either end refuses."""
        name, other_name = one.certificate.gateway_id, other.certificate.gateway_id
        pair = frozenset((name, other_name))
        self._close(pair)
        self._unwanted.discard(pair)
        try:
            connection = self._connections[pair] = Connection.open(one, other, resume=resume)
        except HandshakeRefused as refusal:
            names = {one.gateway_id: name, other.gateway_id: other_name}
            by, peer = names[refusal.by], names[refusal.peer]
            self._report(NotConnected(self._now(), by, peer, refusal.reason, refusal.is_resumed))
            return False
        self._report(Connected(self._now(), name, other_name, connection.is_resumed))
        return True

    def carry(self, connection: Connection | None, source: str, data: bytes) -> bytes | None:
        """What arrives at the other end of the connection on which the message was sent; None if that is gone."""
        if connection is None:
            return data
        try:
            return connection.carry(source, data)
        except ConnectionLost:
            return None

    def close_between(self, one: str, other: str) -> None:
        """End the connection of these two."""
        self._close(frozenset((one, other)))

    def close(self, name: str) -> None:
        """End the connections of a gateway, as a crash does: without a word."""
        for pair in [pair for pair in self._connections if name in pair]:
            self._close(pair)

    def _close(self, pair: frozenset[str]) -> None:
        connection = self._connections.pop(pair, None)
        if connection is not None:
            connection.close()


class Carrier:
    """What is on its way, and what is to become of it: lost, or delivered twice."""

    def __init__(
        self, secure: SecureLink, report: Callable[[Event], None], now: Callable[[], str], *, tls: bool
    ) -> None:
        self._secure, self._report, self._now, self._tls = secure, report, now, tls
        self.messages: list[InFlight] = []
        self.to_lose: list[str] = []
        self.to_repeat: list[str] = []
        self._arrived: set[bytes] = set()

    def send(self, source: Side, target: Side, data: bytes) -> None:
        step, name = read_label(data)
        label = step or name
        is_lost = label in self.to_lose
        is_secure = self._tls and name not in PLAIN
        if is_secure and not self._secure.open(source, target):
            is_lost = True
        connection = self._secure.find(source.name, target.name) if is_secure else None
        message = InFlight(source, target, data, step, name, connection)
        if label in self.to_lose:
            self.to_lose.remove(label)
        if is_lost:
            self._report(message.as_lost(self._now()))
            return
        self.messages.append(message)
        if label in self.to_repeat:
            self.to_repeat.remove(label)
            self.messages.append(message)

    def lose(self, source: Side, target: Side, data: bytes) -> None:
        """It is sent, and nothing gets through."""
        step, name = read_label(data)
        self._report(InFlight(source, target, data, step, name).as_lost(self._now()))

    def find_next(self) -> InFlight | None:
        """The first message that does not wait for a process that stands still."""
        return next((message for message in self.messages if not message.target.is_paused), None)

    def arrive(self, message: InFlight) -> bytes | None:
        """The bytes that the gateway gets; None if the message is lost because it or the connection is gone."""
        source, target = message.source, message.target
        is_down = target.gateway is None
        data = None if is_down else self._secure.carry(message.connection, source.id, message.data)
        if data is None:
            self._report(message.as_lost(self._now()))
            return None
        again = data in self._arrived
        self._arrived.add(data)
        self._report(Delivered(self._now(), source.name, target.name, message.step, message.name, again, data))
        return data

    def drop(self, is_lost: Callable[[InFlight], bool]) -> None:
        for message in [message for message in self.messages if is_lost(message)]:
            self.messages.remove(message)
            self._report(message.as_lost(self._now()))

    def close_replaced(self, side: Side, replaced: set[str]) -> None:
        """Another node acts for a peer now: with those that it replaced this side has no connection any more.

        What needs none, an offer, may still come; it is judged by its signature.
        """
        for name in replaced:
            self._secure.close_between(side.name, name)
        pairs = [{side.name, name} for name in replaced]
        self.drop(lambda each: each.name not in PLAIN and {each.source.name, each.target.name} in pairs)

    def hang_up(self, side: Side) -> None:
        """The connections of this gateway are over, with everything that is on its way to it and from it."""
        self._secure.close(side.name)
        self.drop(lambda message: message.source is side or message.target is side)


class Registry:
    """What the owners have certified and taken back, as the operators of the gateways know it.

    Each new process is configured with it. A running one hears of a revocation from its operator, and of a new
    certificate from the peer that shows it.
    """

    def __init__(
        self, owners: Mapping[str, str], make_key: Callable[[str], KeyPair], now: Callable[[], datetime]
    ) -> None:
        """`owners` names the owner of each gateway; those of others are made when needed. All are under one root."""
        self._make_key, self._now = make_key, now
        self.root = RootCA("Root of the owners", make_key("root of the owners"))
        self._owners = {name: self._make_owner(name, owner) for name, owner in owners.items()}
        self._published: dict[tuple[str, int], Certificate] = {}
        self._revoked: list[Certificate] = []

    @property
    def owners(self) -> list[OwnerCA]:
        return list(self._owners.values())

    def _make_owner(self, name: str, owner: str) -> OwnerCA:
        return OwnerCA(owner, self._make_key(f"owner of {name}"), self.root)

    def certify(
        self,
        name: str,
        key: PublicKey,
        serial: int = 1,
        *,
        backups: Iterable[PublicKey] = (),
        owner_of: str | None = None,
        **validity: Unpack[Validity],
    ) -> Certificate:
        """By the owner of that gateway, or of `owner_of`: that is how a backup gets its certificate. Nobody is told.

        `backups` and `validity` as in `OwnerCA.certify`.
        """
        whose = owner_of or name
        if whose not in self._owners:
            self._owners[whose] = self._make_owner(whose, f"owner of {whose}")
        return self._owners[whose].certify(name, key, serial=serial, backups=backups, **validity)

    def publish(
        self,
        name: str,
        key: PublicKey,
        serial: int = 1,
        *,
        backups: Iterable[PublicKey] = (),
        **validity: Unpack[Validity],
    ) -> Certificate:
        """As `certify`; and whatever process starts from now on knows the certificate: of a peer, not of a backup."""
        certificate = self.certify(name, key, serial, backups=backups, **validity)
        self._published[name, serial] = certificate
        return certificate

    def find(self, side: Side) -> Certificate:
        """The certificate that a gateway shows."""
        return side.successor or self._published[side.name, 1]

    def revoke(self, certificate: Certificate, rings: Iterable[CertifiedKeys | None]) -> None:
        """For good; the processes that have these rings are told at once."""
        self._revoked.append(certificate)
        for ring in rings:
            if ring is not None:
                ring.revoke(certificate, certificate.gateway_id)

    def make_ring(self, own: str) -> CertifiedKeys:
        """What a new process of the gateway `own` accepts of all others."""
        others = [certificate for certificate in self._published.values() if certificate.gateway_id != own]
        ring = CertifiedKeys(others, self.owners, self._now, roots=[self.root.certificate])
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
