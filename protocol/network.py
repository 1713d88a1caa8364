"""World: two gateways, two networks, the link between them, a clock, and faults.

The simulated part, at the same seams as the real thing: a gateway's log is a real file, its messages are
real bytes, and its network stands where the client of a real one would stand. The World carries messages,
lets time pass, writes what it sees into a Trace, and crashes gateways.

A crash throws the gateway object away with everything it had in memory; its file and its ledger stay, and
`restart` makes a new gateway from them. What was on its way is lost with the connection. `forget`, `put_back` and
`lose_key` take more from a gateway that is down, `cut` takes the connection from two that are up.

    world = World()
    world.start()
    world.crash("recipient", at="3.2", after=2)
    world.run()
    world.restart("recipient")
    world.run()
    world.owners
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from protocol.errors import Misuse
from protocol.example import CLAIM, OWNERS, make_proposal
from protocol.faults import CrashPoint, GatewayGone, WatchedLog, WatchedNetwork
from protocol.gateway import Gateway
from protocol.ledger import Ledger, rfc3339
from protocol.link import ANSWER, PLAIN, InFlight, Registry, SecureLink, Side, find_label, read_label
from protocol.log import LogEntry
from protocol.losses import copy_log, lose_log, lose_tail, put_log_back
from protocol.negotiation import Identity
from protocol.objects import History
from protocol.offers import Outgoing
from protocol.reconcile import Judgement
from protocol.rules import Rules
from protocol.session import Session
from protocol.signing import KeyPair, KeyRing
from protocol.steps import Role, find_row
from protocol.stores import SQLiteLog
from protocol.tls import Endpoint
from protocol.trace import Crashed, Delivered, Forgotten, Judged, Logged, Restarted, TimedOut, Trace

START = datetime(2024, 10, 3, 12, 2, 0, tzinfo=UTC)  # the minute of the draft's own examples
DELIVERY_S, TIME_OUT_S = 1, 5
PATIENCE = 8  # time-outs in a row that change nothing, after which a run ends where it is


class World:
    """Everything that is simulated, in one place. Same seed, same bytes. Without `tls` there is no handshake."""

    def __init__(
        self,
        seed: str = "lab",
        *,
        directory: Path | str | None = None,
        rules: Rules | None = None,
        tls: bool = True,
    ) -> None:
        self.seed = seed
        self.tls = tls
        self.rules = rules or Rules()
        self.directory = Path(directory or tempfile.mkdtemp(prefix="gateways-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        if directory is None:
            weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        self._time = START
        self._ids = self._nonces = 0
        self.link: list[InFlight] = []
        self._arrived: set[bytes] = set()
        self._to_lose: list[str] = []
        self._to_repeat: list[str] = []
        self.sessions: list[str] = []
        self.origin = self._make_network(CLAIM["senderGatewayNetworkId"])
        self.destination = self._make_network(CLAIM["recipientGatewayNetworkId"])
        self._sides = {
            Role.SENDER: self._make_side(Role.SENDER, CLAIM["senderGatewayId"], self.origin),
            Role.RECIPIENT: self._make_side(Role.RECIPIENT, CLAIM["recipientGatewayId"], self.destination),
        }
        self.registry = Registry(OWNERS, self.key, lambda: self._time)
        for side in self._sides.values():
            self.registry.publish(side.id, side.identity.key.public)
        self.trace = Trace((self.origin.name, *OWNERS, self.destination.name), tuple(OWNERS))
        self.secure = SecureLink(self.trace.add, lambda: self.now)
        for side in self._sides.values():
            self._make_gateway(side)

    def key(self, name: str) -> KeyPair:
        """The lab key of a party: the same for the same seed and name."""
        return KeyPair.lab(name, self.seed)

    def _make_network(self, network_id: str) -> Ledger:
        return Ledger(network_id, self.key(f"network {network_id}"), lambda: self._time, self.rules)

    def _make_side(self, role: Role, gateway_id: str, ledger: Ledger) -> Side:
        identity = Identity(gateway_id, ledger.network_id, self.key(gateway_id))
        return Side(role, identity, ledger, self.directory / f"{gateway_id}.sqlite")

    def _make_gateway(self, side: Side) -> None:
        peer = self._sides[side.role.other]
        names = (side.ledger.network_id, peer.ledger.network_id)
        side.log = WatchedLog(side.path, side.id, side.wire, self.trace.add, lambda: self.now)
        side.ring = self.registry.make_ring(side.id)
        side.endpoint = Endpoint(side.identity.key, self.registry.find(side), self.registry.owners, side.ring)
        side.gateway = Gateway(
            side.identity,
            side.log,
            WatchedNetwork(side.ledger, side.id, side.wire, self.trace.add, lambda: self.now),
            peers=side.ring,
            networks=KeyRing((name, self.key(f"network {name}").public) for name in names),
            now=lambda: self._time,
            make_nonce=self._make_nonce,
            rules=self.rules,
            successor=side.successor,
            can_resume_tls=side.endpoint.can_resume if self.tls else lambda peer: False,
            on_verdict=lambda judgement: self._on_verdict(side, judgement),
        )

    def _on_verdict(self, side: Side, judgement: Judgement) -> None:
        letter, facts = judgement.row.letter, judgement.facts.words
        self.trace.add(Judged(self.now, side.id, judgement.session_id, letter, judgement.words, facts))

    def _make_nonce(self) -> str:
        self._nonces += 1
        return f"{self.seed}-{self._nonces}"

    def make_id(self) -> str:
        """A version 4 UUID, computed from the seed."""
        self._ids += 1
        seed = f"{self.seed}|{self._ids}".encode(errors="surrogateescape")
        return str(uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4))

    # ------------------------------------------------------------------ telling the story

    def start(self, asset: str | None = None, *, by: str = Role.SENDER, lock_type: str | None = None) -> str:
        """Issue the asset to its originator, let a gateway propose the transfer; returns the session id.

        Without `asset` it is the draft's own example, with its ids; `lock_type` is another than its HASH_TIME_LOCK.
        `by="GW2"` goes the other way, from Bob to Alice. An asset that the network has already is not issued again.
        """
        side = self._side(by)
        self._gateway(side.role)
        is_another = asset is not None or bool(self.sessions) or side.role is Role.RECIPIENT
        ids = (asset or CLAIM["digitalAssetId"], self.make_id(), self.make_id()) if is_another else None
        proposal = make_proposal(self.find_key, ids, lock_type, is_mirrored=side.role is Role.RECIPIENT)
        claim = proposal["transferInitClaim"]
        if not any(known.id == claim["digitalAssetId"] for known in side.ledger.assets):
            side.ledger.issue(claim["digitalAssetId"], claim["verifiedOriginatorEntityId"])
        self.sessions.append(proposal["sessionId"])
        self._live(side, lambda gateway: [gateway.start(proposal)])
        return str(proposal["sessionId"])

    def find_key(self, name: str) -> KeyPair:
        """The present key of a party: a gateway's may have been replaced."""
        keys = {side.id: side.identity.key for side in self._sides.values()}
        return keys.get(name) or self.key(name)

    def wait(self, seconds: int) -> None:
        """Let time pass. Nothing is delivered meanwhile; what is due (a lock's expiry) is due afterwards."""
        self._time += timedelta(seconds=seconds)

    def run(self, until: str | None = None, of: str | None = None) -> None:
        """Carry messages until step `until` is done at its actor, or a gateway crashes, or everything is at rest.

        `of` names the session that `until` is about; without it any will do.
        While the link is empty, time passes and gateways send their last message again; when that has changed
        nothing for long, or somebody is down, the run ends where it is.
        """
        crashes, patience = len(self.trace.of(Crashed)), self._compute_patience()
        while patience and not (until and self._is_done(until, of)) and len(self.trace.of(Crashed)) == crashes:
            entries = len(self.trace.of(Logged))
            if self.link:
                self.deliver_next()
            elif self.is_at_rest:
                return
            else:
                self._time_out()
                patience -= 1
            if len(self.trace.of(Logged)) > entries:
                patience = self._compute_patience()

    def crash(self, who: str, at: str | None = None, *, before: int | None = None, after: int | None = None) -> None:
        """Crash a gateway now; or before or after its n-th durable act from now on, within step `at` if given."""
        side = self._side(who)
        if before is None and after is None and at is None:
            self._end(side, "")
            return
        number = after if before is None else before
        if number is None or (before is not None and after is not None):
            raise Misuse("name one durable act, before=1 or after=1, counted from 1")
        if at is not None and not 1 <= number <= self.count_acts(who, at):
            allowed = self.count_acts(who, at)
            words = f"they are 1 to {allowed}" if allowed else "it is the other gateway's"
            raise Misuse(f"{side.id} has no durable act {number} in step {at} {find_row(at).name}: {words}")
        if number < 1:
            raise Misuse("durable acts are counted from 1")
        side.wire.armed = CrashPoint(number, after is not None, at)

    def deliver_next(self) -> None:
        """Carry one message: the first on the link."""
        self._deliver(self.link.pop(0))

    def restart(self, who: str, start: str = "last-message") -> None:
        """A new gateway from the same file and the same ledger. The old connection, and what was on it, is gone.

        It tells its peer what is known to be lost. Open sessions go on from the "last-message", or from the first one
        of the "stage".
        """
        side = self._down_side(who)
        if start not in ("last-message", "stage"):
            raise Misuse(f"a restart is from the last-message or from the stage, not from {start}")
        if self.rules.fresh_connection_after_restart:
            self._hang_up()
        self.trace.add(Restarted(self.now, side.id))
        self._make_gateway(side)
        loss, side.loss = side.loss, "process"
        self._live(side, lambda gateway: gateway.restart(loss, start))

    def forget(self, who: str, entries: int | None = None) -> None:
        """A gateway that is down loses the last `entries` of its log, or all of it."""
        side = self._down_side(who)
        if entries is None:
            lose_log(side.path)
            side.loss, what = "storage", "its log"
        else:
            lost = lose_tail(side.path, entries)
            side.loss = "storage" if side.loss == "storage" else "storage-tail"
            what = f"the last {lost} {'entry' if lost == 1 else 'entries'} of its log"
        self.trace.add(Forgotten(self.now, side.id, what))

    def keep_copy(self, who: str) -> bytes:
        """A backup of a gateway's log as it is now."""
        return copy_log(self._side(who).path)

    def put_back(self, who: str, copy: bytes) -> None:
        """A gateway that is down gets an old copy of its log, from `keep_copy`, in place of the present one."""
        side = self._down_side(who)
        put_log_back(side.path, copy)
        side.loss = "storage-tail"
        self.trace.add(Forgotten(self.now, side.id, "its log to an old copy"))

    def lose_key(self, who: str) -> None:
        """A gateway that is down loses its signing key. Its owner certifies a new one, with the next serial number."""
        side = self._down_side(who)
        serial = self.registry.find(side).serial + 1
        side.replace_key(self.key(f"{side.id} key {serial}"))
        side.successor = self.registry.certify(side.id, side.identity.key.public, serial=serial)
        self.trace.add(Forgotten(self.now, side.id, "its key"))

    def cut(self, by: str | None = None) -> None:
        """The connection is lost with everything on it; both gateways are up. `by` is the one that notices, if any."""
        self._hang_up()
        if by is not None:
            side = self._side(by)
            self.trace.add(Forgotten(self.now, side.id, "the connection"))
            self._live(side, lambda gateway: gateway.restart("connection"))

    def revoke(self, who: str) -> None:
        """The owner takes a certificate back and tells the peer's operator. What still comes is refused by the peer."""
        side = self._side(who)
        self.registry.revoke(self.registry.find(side), [each.ring for each in self._sides.values()])
        self.trace.add(Forgotten(self.now, side.id, "its certificate: revoked"))

    def renew(self, who: str) -> None:
        """The owner of a gateway that is up certifies its key anew, with the next serial number.

        Its process goes on with the new certificate and a connection of its own, on which the peer sees it.
        """
        side = self._side(who)
        key, serial = self._gateway(side.role).identity.key.public, self.registry.find(side).serial + 1
        side.successor = self.registry.publish(side.id, key, serial=serial)
        self._remake(side)
        self.cut(by=who)

    def abort(self, who: str, reason: str, session_id: str | None = None) -> None:
        """The application behind a gateway ends a session: the first one unless another is named."""
        side, name = self._side(who), session_id or self.sessions[0]
        self._live(side, lambda gateway: gateway.abort(name, reason))

    def admit(self, name: str, **validity: datetime) -> None:
        """Both gateways take a certificate of `name`: another gateway, of which nothing but its key exists here.

        Or a new one of a gateway they know; `validity` as in `OwnerCA.certify`.
        """
        self.registry.publish(name, self.key(name).public, 1, **validity)
        for side in self._sides.values():
            self._remake(side)

    def lose(self, step: str) -> None:
        """Lose the next message of this step, or the next recovery message of this name: "transfer-resume"."""
        self._to_lose.append(find_label(step))

    def repeat(self, step: str) -> None:
        """Deliver the next message of this step, or the next recovery message of this name, twice."""
        self._to_repeat.append(find_label(step))

    # ------------------------------------------------------------------ asking it

    @property
    def now(self) -> str:
        return rfc3339(self._time)

    @property
    def sender(self) -> Gateway:
        return self._gateway(Role.SENDER)

    @property
    def recipient(self) -> Gateway:
        return self._gateway(Role.RECIPIENT)

    def endpoint(self, who: str) -> Endpoint:
        """The TLS of a gateway that is up."""
        endpoint = self._side(who).endpoint
        if endpoint is None:
            raise Misuse(f"{who} is down; restart it first")
        return endpoint

    @property
    def ledgers(self) -> tuple[Ledger, Ledger]:
        return self.origin, self.destination

    @property
    def owners(self) -> list[str]:
        """Who can use an asset, and where: one line per asset that is free somewhere."""
        places = ((ledger, asset) for ledger in self.ledgers for asset in ledger.assets)
        return [f"{ledger.name}: {asset.owner}" for ledger, asset in places if ledger.owner_of(asset.id)]

    @property
    def is_at_rest(self) -> bool:
        """Nothing on the link, both gateways up, and every session complete or parked wherever it is known."""
        if self.link or any(side.gateway is None or self._is_comparing(side) for side in self._sides.values()):
            return False
        return all(session.is_at_rest for role in Role for session in self._known(role))

    def log(self, who: str, session_id: str | None = None) -> list[LogEntry]:
        """The entries in a gateway's file, also while it is down; of the first session unless another is named."""
        with closing(SQLiteLog(self._side(who).path)) as store:
            return store.getLog(session_id or self.sessions[0]) if self.sessions else []

    def history(self, who: str, session_id: str | None = None) -> History:
        """The signed messages of a session as a gateway holds them; of the first session unless another is named."""
        return self._gateway(self._side(who).role).session(session_id or self.sessions[0]).history

    def durable_acts(self, who: str) -> list[tuple[str, str]]:
        """What a gateway has made durable so far, as (step, words): the places where a crash can be put."""
        return list(self._side(who).wire.acts)

    def count_acts(self, who: str, step: str) -> int:
        """How many durable acts a gateway takes in a step: intent, action and outcome, or one entry for a message."""
        row, side = find_row(step), self._side(who)
        goes_both_ways = side.gateway is not None and len({each.role for each in self._known(side.role)}) > 1
        if row.is_action:
            return 3 if row.actor == side.role or goes_both_ways else 0
        return 1

    def close(self) -> None:
        """Close the files. Needed only where many worlds are made; otherwise they go with the World."""
        for side in self._sides.values():
            if side.log is not None:
                side.log.close()

    def __del__(self) -> None:
        with suppress(Exception):  # a World that was not made to the end has nothing to close
            self.close()

    # ------------------------------------------------------------------ inside

    def _side(self, who: str) -> Side:
        for side in self._sides.values():
            if who in (side.role, side.id):
                return side
        names = " and ".join(f"{side.role} ({side.id})" for side in self._sides.values())
        raise Misuse(f"there is no gateway {who!r}; there are {names}")

    def _down_side(self, who: str) -> Side:
        side = self._side(who)
        if side.gateway is not None:
            raise Misuse(f"{side.id} is up; crash it first")
        return side

    def _remake(self, side: Side) -> None:
        """Another configuration, for a gateway that is up."""
        if side.log is not None:
            side.log.close()
            self._make_gateway(side)

    def _gateway(self, role: Role) -> Gateway:
        gateway = self._sides[role].gateway
        if gateway is None:
            raise Misuse(f"{self._sides[role].id} is down; restart it first")
        return gateway

    def _known(self, role: Role) -> list[Session]:
        """The sessions of this World that the gateway knows and can read."""
        gateway = self._gateway(role)
        readable = (name for name in self.sessions if name not in gateway.damaged)
        return [found for found in map(gateway.find_session, readable) if found is not None]

    def _is_done(self, until: str, of: str | None) -> bool:
        row = find_row(until)
        up = [role for role, side in self._sides.items() if side.gateway is not None]
        sessions = (each for role in up for each in self._known(role) if of in (None, each.id))
        return any(each.role is row.actor and row.number in each.done for each in sessions)

    def _compute_patience(self) -> int:
        return PATIENCE if all(side.gateway for side in self._sides.values()) else 1

    def _live(self, side: Side, work: Callable[[Gateway], list[Outgoing]]) -> None:
        """Let a gateway work and send what comes of it; if it crashes on the way, nothing is sent."""
        try:
            outgoing = work(self._gateway(side.role))
        except GatewayGone as gone:
            self._end(side, str(gone))
            return
        for message in outgoing:
            if message.peer in OWNERS:  # of any other gateway nothing but a key exists
                self._send(side, self._side(message.peer), message.data)

    def _end(self, side: Side, where: str) -> None:
        if side.gateway is None or side.log is None:
            raise Misuse(f"{side.id} is down already")
        self.trace.add(Crashed(self.now, side.id, where))
        side.log.close()
        side.log = side.gateway = side.endpoint = side.wire.armed = None
        self._drop(lambda message: message.target is side)

    def _send(self, source: Side, target: Side, data: bytes) -> None:
        step, name = read_label(data)
        label = step or name
        is_lost = label in self._to_lose
        if self.tls and name not in PLAIN and not self.secure.open(source.endpoint, target.endpoint):
            is_lost = True
        message = InFlight(source, target, data, step, name, self.secure.connection if name not in PLAIN else None)
        if label in self._to_lose:
            self._to_lose.remove(label)
        if is_lost:
            self.trace.add(message.as_lost(self.now))
            return
        self.link.append(message)
        if label in self._to_repeat:
            self._to_repeat.remove(label)
            self.link.append(message)

    def _hang_up(self) -> None:
        self.secure.close()
        self._drop(lambda message: True)

    def _deliver(self, message: InFlight) -> None:
        source, target = message.source, message.target
        self._time += timedelta(seconds=DELIVERY_S)
        data = None if target.gateway is None else self.secure.carry(message.connection, source.id, message.data)
        if data is None:
            self.trace.add(message.as_lost(self.now))
            return
        again = data in self._arrived
        self._arrived.add(data)
        self.trace.add(Delivered(self.now, source.id, target.id, message.step, message.name, again, data))

        def work(gateway: Gateway) -> list[Outgoing]:
            reply = gateway.receive(data)
            others = gateway.collect()
            if message.name == ANSWER:
                self.secure.wants_resumed = gateway.wants_tls_resumed(source.id)
            return [*([Outgoing(source.id, reply)] if reply is not None else []), *others]

        self._live(target, work)

    def _drop(self, is_lost: Callable[[InFlight], bool]) -> None:
        for message in [message for message in self.link if is_lost(message)]:
            self.link.remove(message)
            self.trace.add(message.as_lost(self.now))

    def _time_out(self) -> None:
        self._time += timedelta(seconds=TIME_OUT_S)
        for side in self._sides.values():
            if side.gateway is not None and self._is_waiting(side):
                self.trace.add(TimedOut(self.now, side.id))
                self._live(side, lambda gateway: gateway.on_time_out())

    def _is_comparing(self, side: Side) -> bool:
        """Whether a gateway that came back still has something to compare with the other one."""
        peer, gateway = self._sides[side.role.other], side.gateway
        return gateway is not None and (peer.id in gateway.find_unheard() or gateway.has_pending)

    def _is_waiting(self, side: Side) -> bool:
        return self._is_comparing(side) or any(not session.is_at_rest for session in self._known(side.role))

    def __repr__(self) -> str:
        gateways = (repr(side.gateway or f"gateway {side.id} is down").strip("'") for side in self._sides.values())
        return "\n".join([*gateways, repr(self.origin), repr(self.destination)])
