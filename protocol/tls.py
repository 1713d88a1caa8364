"""TLS 1.3 between two gateways, full and resumed (SATP 5.4, 11.2; RFC 8446): real handshakes, no sockets.

OpenSSL, as the standard library has it, stands at both ends and works on buffers in memory; what carries the
bytes is the caller's. Both ends show the certificate of their signing key (SATP 4.4 also knows a key for the
channel alone; here it is one key, certified once) and that of the owner that issued it. OpenSSL verifies this
chain up to a trusted root. It is asked for no host name, since gateway ids are none, and for no time, since it
knows only the wall clock.

**OpenSSL resumes a session without asking anything again**: the certificate may have expired, been replaced or
been revoked meanwhile. So after every handshake, full or resumed, each end has `CertifiedKeys.judge` look at the
certificate of the other, before a byte is carried. That call is in one place, `Connection.open`.

A session can be resumed while both processes live: the client keeps it in memory (Python cannot write it down),
and the server's keys for its tickets are in its context. A crash of either ends both, and the next handshake is
silently a full one. So recovery never depends on a resumption.

A **backup** speaks for the gateway that it replaced, under that one's id and with its own certificate. It has another
context, so it never resumes its predecessor's session; and what its peers saved of that one, they do not offer it. A
handshake adopts no backup: a takeover needs an epoch, which comes with a signed offer, before there is TLS.

The scheme (SATP 5.3.9): the draft asks for at least TLS_AES_128_GCM_SHA256. Python's `ssl` offers no choice among
the cipher suites of TLS 1.3: OpenSSL agrees on TLS_AES_256_GCM_SHA384 unless the machine's settings say otherwise.
`Connection.cipher` says what was agreed, and a suite that is weaker than the draft's is refused.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property

from protocol.certificates import BadCertificate, Certificate, OwnerCA
from protocol.errors import Misuse, NotYet, ProtocolError, Refused
from protocol.peers import CertifiedKeys
from protocol.signing import KeyPair, refuse_lab_key

CONNECTION_ERROR, BAD_CERTIFICATE = "connectionError", "badCertificate"  # SATP 11.2 (a) and (b)
STRONG_ENOUGH = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME: validity is judged on the injected clock
MOST_FLIGHTS = 6  # of a handshake: four, or six when the server asks for another kind of key first
LENGTH_BYTES, LONGEST_MESSAGE = 4, 16_000_000


class HandshakeRefused(Refused):
    """No connection came about. `by` refused `peer`; `is_resumed` tells whether OpenSSL itself had agreed to resume.

    `code` is the error of SATP 11.2: badCertificate, or connectionError for everything else.
    """

    def __init__(self, by: str, peer: str, reason: str, *, code: str, is_resumed: bool = False) -> None:
        where = " in a resumed handshake" if is_resumed else ""
        super().__init__(f"{by} refused {peer}{where}: {reason}", code=code)
        self.by, self.peer, self.is_resumed = by, peer, is_resumed


class ConnectionLost(ProtocolError):
    """The connection is closed, or ended by what arrived on it. What was in flight is gone."""


class Endpoint:
    """One gateway's TLS: it lives and dies with its process. What it saved of its connections dies with it."""

    def __init__(
        self,
        key: KeyPair,
        certificate: Certificate,
        owners: Iterable[OwnerCA],
        peers: CertifiedKeys,
        *,
        gateway_id: str | None = None,
        is_for_sockets: bool = False,
    ) -> None:
        """One of `owners` has issued the certificate; the chains that OpenSSL accepts end at the roots of `peers`.

        `gateway_id` is the one for which it speaks: another one than in the certificate, if it is a backup. For
        sockets, Misuse for a lab key, those of the owners and of their roots included.
        """
        self._owners = tuple(owners)
        if is_for_sockets:
            for each in (key, *(signer.key for owner in self._owners for signer in (owner, owner.root))):
                refuse_lab_key(each)
        if certificate.key.kid != key.public.kid:
            raise Misuse(f"{certificate!r} is for another key than the one of {key.name}")
        self.gateway_id = gateway_id or certificate.gateway_id
        self.certificate = certificate
        self.peers = peers
        self._key = key
        self._sessions: dict[str, ssl.SSLSession] = {}
        self._shown: dict[str, bytes] = {}  # the certificate that each peer showed last

    def can_resume(self, peer: str) -> bool:
        """Whether this end would resume: it has been connected with that peer, whose certificate then still counts.

        A client also needs the session that it saved. The other end has to be asked as well.
        """
        if peer not in self._shown or (self._is_client_of(peer) and peer not in self._sessions):
            return False
        try:
            self.peers.judge(self._shown[peer], peer)
        except BadCertificate:
            return False
        return True

    def find_shown(self, peer: str) -> Certificate | None:
        """The certificate that a peer showed in the last handshake, full or resumed; None if there was none."""
        return Certificate(self._shown[peer]) if peer in self._shown else None

    def find_session(self, peer: str) -> ssl.SSLSession | None:
        """What was saved to resume with that peer. Of one that a backup has replaced since, nothing is kept."""
        shown = self.find_shown(peer)
        if shown is not None and shown.gateway_id != self.peers.current(peer).gateway_id:
            self.forget(peer)
        return self._sessions.get(peer)

    def forget(self, peer: str) -> None:
        """Drop what was saved of connections with that peer: the next handshake is a full one."""
        self._sessions.pop(peer, None)
        self._shown.pop(peer, None)

    def _is_client_of(self, peer: str) -> bool:
        return self.gateway_id < peer

    def _make_context(self, *, is_server: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT | NO_CHECK_TIME
        if is_server:
            context.num_tickets = 1
        context.load_verify_locations(cadata=b"".join(root.der for root in self.peers.roots))
        self._load_own(context)
        return context

    def _load_own(self, context: ssl.SSLContext) -> None:
        """Python's `ssl` takes a private key only from a file: one that nobody else can read, and gone at once."""
        with tempfile.NamedTemporaryFile(prefix="gateway-", suffix=".pem") as file:
            file.write(self._key.key.as_pem(private=True))
            for each in self._make_chain():
                file.write(each.as_pem.encode("ascii"))
            file.flush()
            context.load_cert_chain(file.name)

    def _make_chain(self) -> list[Certificate]:
        """The own certificate and its parent: the root is what the other end has already."""
        chain = [self.certificate]
        for owner in self._owners:
            with suppress(BadCertificate):
                owner.verify_issued(self.certificate)
                return [*chain, owner.certificate]
        return chain

    # Made when first needed, since each takes a millisecond and a gateway has one role towards a peer for good.

    @cached_property
    def _as_client(self) -> ssl.SSLContext:
        return self._make_context(is_server=False)

    @cached_property
    def _as_server(self) -> ssl.SSLContext:
        return self._make_context(is_server=True)

    def __repr__(self) -> str:
        backup = f" of {self.certificate.gateway_id}" if self.certificate.gateway_id != self.gateway_id else ""
        serial, count = f"{self.certificate.serial}{backup}", len(self._sessions)
        return f"TLS of {self.gateway_id}, certificate {serial}, sessions with {count}"


class _End:
    """One end of a connection: OpenSSL between a buffer of what came in and one of what goes out."""

    def __init__(self, endpoint: Endpoint, peer: str, *, is_server: bool, may_resume: bool = False) -> None:
        self.endpoint = endpoint
        self.peer = peer
        self.is_ready = False
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = endpoint._as_server if is_server else endpoint._as_client
        session = endpoint.find_session(peer) if may_resume and not is_server else None
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=is_server, session=session)
        self._arrived = bytearray()

    @property
    def id(self) -> str:
        return self.endpoint.gateway_id

    def shake_hands(self) -> bytes:
        """As far as it goes with what has come in; returns what has to go to the other end."""
        try:
            self.tls.do_handshake()
            self.is_ready = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            raise self.make_refusal(error.verify_message, BAD_CERTIFICATE) from error
        except ssl.SSLError as error:
            words = (error.reason or str(error)).replace("_", " ").lower()
            raise self.make_refusal(words, CONNECTION_ERROR) from error
        return self.outgoing.read()

    def judge_peer(self) -> bytes:
        """The certificate of the other end, judged on our clock. Raises HandshakeRefused."""
        cipher = self.tls.cipher()
        if cipher is None or cipher[0] not in STRONG_ENOUGH:
            words = f"{cipher and cipher[0]} is weaker than {STRONG_ENOUGH[0]}"
            raise self.make_refusal(words, CONNECTION_ERROR)
        shown = self.tls.getpeercert(binary_form=True) or b""
        try:
            self.endpoint.peers.judge(shown, self.peer)
        except BadCertificate as error:
            raise self.make_refusal(error.in_words(), BAD_CERTIFICATE) from error
        return shown

    def make_refusal(self, words: str, code: str) -> HandshakeRefused:
        is_resumed = self.is_ready and bool(self.tls.session_reused)
        return HandshakeRefused(self.id, self.peer, words, code=code, is_resumed=is_resumed)

    def encrypt(self, data: bytes) -> bytes:
        rest = memoryview(len(data).to_bytes(LENGTH_BYTES, "big") + data)
        while rest:
            rest = rest[self.tls.write(rest) :]
        return self.outgoing.read()

    def decrypt(self, records: bytes) -> None:
        """Take in what came. Raises ConnectionLost if it is not what the other end wrote."""
        self.incoming.write(records)
        try:
            while chunk := self.tls.read(1 << 16):
                self._arrived += chunk
        except ssl.SSLWantReadError:
            return  # everything is read
        except ssl.SSLError as error:
            raise ConnectionLost(f"{self.id} cannot read what came from {self.peer}: {error.reason}") from error

    def take_message(self) -> bytes | None:
        """The first whole message that has arrived."""
        length = int.from_bytes(self._arrived[:LENGTH_BYTES], "big")
        if length > LONGEST_MESSAGE:
            raise ConnectionLost(f"{self.peer} announces a message of {length} bytes")
        end = LENGTH_BYTES + length
        if len(self._arrived) < end:
            return None
        message = bytes(self._arrived[LENGTH_BYTES:end])
        del self._arrived[:end]
        return message


class Connection:
    """A TLS 1.3 connection between two gateways that have authenticated each other. `open` makes one.

    `in_flight` holds, by the id of the gateway that it goes to, what was written and not read yet.
    """

    def __init__(self, client: _End, server: _End) -> None:
        self._client, self._server = client, server
        self._ends = {client.id: client, server.id: server}
        self.in_flight = {client.id: bytearray(), server.id: bytearray()}
        self.is_open = False
        self.handshake_bytes = 0
        self.round_trips = 0

    @classmethod
    def open(cls, one: Endpoint, other: Endpoint, *, resume: bool) -> Connection:
        """Raises HandshakeRefused; then nothing was carried, nothing is open, and a resumed session is forgotten.

        The gateway whose id sorts first is the client, whoever asks and whoever crashed: two gateways that
        reconnect at the same time open the same connection, so there is no tie to break; and a ticket belongs
        to whoever was client, so it is still of use when the other one asks. (In SATP 5.4 the sender gateway is the
        client; but one connection carries the sessions of both directions.) With `resume` the client offers what it
        saved, if it has; whether OpenSSL took it is `is_resumed`.
        """
        if one.gateway_id == other.gateway_id:
            raise Misuse(f"{one.gateway_id} does not connect with itself")
        client, server = sorted((one, other), key=lambda endpoint: endpoint.gateway_id)
        connection = cls(
            _End(client, server.gateway_id, is_server=False, may_resume=resume),
            _End(server, client.gateway_id, is_server=True),
        )
        connection._shake_hands()
        try:
            shown = {end.id: end.judge_peer() for end in connection._ends.values()}
        except HandshakeRefused:
            if connection.is_resumed:
                client.forget(server.gateway_id)
                server.forget(client.gateway_id)
            raise
        for end in connection._ends.values():
            end.endpoint._shown[end.peer] = shown[end.id]
        connection._save_session()
        connection.is_open = True
        return connection

    def _shake_hands(self) -> None:
        end, other = self._client, self._server
        for _ in range(MOST_FLIGHTS):
            flight = end.shake_hands()
            self.handshake_bytes += len(flight)
            self.round_trips += end is self._client and not end.is_ready
            other.incoming.write(flight)
            end, other = other, end
            if end.is_ready and other.is_ready:
                return
        raise HandshakeRefused(end.id, other.id, "the handshake has no end", code=CONNECTION_ERROR)

    def _save_session(self) -> None:
        """The ticket came with the server's last flight, but counts only once the client has read."""
        self._client.decrypt(b"")
        session = self._client.tls.session
        if session is not None and session.has_ticket:
            self._client.endpoint._sessions[self._server.id] = session

    @property
    def is_resumed(self) -> bool:
        """As OpenSSL reports it."""
        return bool(self._client.tls.session_reused)

    @property
    def version(self) -> str:
        return self._client.tls.version() or ""

    @property
    def cipher(self) -> str:
        """The cipher suite, by its name in RFC 8446."""
        cipher = self._client.tls.cipher()
        return cipher[0] if cipher else ""

    def carry(self, source: str, data: bytes) -> bytes:
        """Encrypt at one gateway, decrypt at the other: what came out there. Raises ConnectionLost.

        Misuse if something written before is still in flight that way, because a connection keeps the order.
        """
        target = self._find(source).peer
        if self.in_flight[target]:
            raise Misuse(f"something is in flight to {target} already: read that first")
        self.write(source, data)
        return self.read(target)

    def write(self, source: str, data: bytes) -> None:
        """Encrypt at one gateway and put it in flight. Raises ConnectionLost."""
        end = self._find(source)
        if len(data) > LONGEST_MESSAGE:
            raise Misuse(f"a message has at most {LONGEST_MESSAGE} bytes, not {len(data)}")
        self._require_open()
        self.in_flight[end.peer] += end.encrypt(data)

    def read(self, target: str) -> bytes:
        """What arrives at a gateway: the oldest message. NotYet if there is none; ConnectionLost if it is damaged."""
        end = self._find(target)
        self._require_open()
        records = bytes(self.in_flight[target])
        self.in_flight[target].clear()
        try:
            end.decrypt(records)
            message = end.take_message()
        except ConnectionLost:
            self.close()
            raise
        if message is None and records:  # the link carries all that was written: what is missing was damaged
            self.close()
            raise ConnectionLost(f"what came to {target} is not a whole message")
        if message is None:
            raise NotYet(f"nothing is in flight to {target}")
        return message

    def close(self) -> None:
        """End it at both ends, as a crash does: without a word, and what is in flight never arrives."""
        self.is_open = False
        for records in self.in_flight.values():
            records.clear()

    def _find(self, gateway_id: str) -> _End:
        if gateway_id not in self._ends:
            raise Misuse(f"this connection is between {' and '.join(self._ends)}, not of {gateway_id}")
        return self._ends[gateway_id]

    def _require_open(self) -> None:
        if not self.is_open:
            raise ConnectionLost(f"the connection between {' and '.join(self._ends)} is closed")

    def __repr__(self) -> str:
        words = "resumed" if self.is_resumed else "full handshake"
        return f"{self.version} between {' and '.join(self._ends)}, {words}{'' if self.is_open else ', closed'}"
