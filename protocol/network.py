"""World: two gateways, two networks, the link between them, a clock, and faults.

The simulated part, at the same seams as the real thing: a gateway's log is a real file, its messages are
real bytes, and its network stands where the client of a real one would stand. The World carries messages,
lets time pass, writes what it sees into a Trace, and crashes gateways.

A crash throws the gateway object away with everything it had in memory; its file and its ledger stay, and
`restart` makes a new gateway from them. What was on its way is lost with the connection.

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
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from protocol.certificates import VALID_FROM, VALID_UNTIL, CertifiedKeys, OwnerCA
from protocol.errors import Misuse
from protocol.example import CLAIM, make_proposal
from protocol.faults import CrashPoint, GatewayGone, Tripwire, WatchedLog, WatchedNetwork
from protocol.gateway import Gateway, Outgoing
from protocol.ledger import Ledger, rfc3339
from protocol.log import LogEntry
from protocol.messages.satp import short_name
from protocol.negotiation import Identity
from protocol.objects import History
from protocol.rules import Rules
from protocol.session import Session
from protocol.signing import KeyPair, KeyRing, read_payload
from protocol.steps import Role, find_row, find_step
from protocol.stores import SQLiteLog
from protocol.trace import Crashed, Delivered, Logged, Lost, Restarted, TimedOut, Trace

OWNERS = {  # SATP 8.1: whose gateway it is; the common name of the draft's example
    CLAIM["senderGatewayId"]: "GatewayOps LTD",
    CLAIM["recipientGatewayId"]: "BridgeSolutions LTD",
}
START = datetime(2024, 10, 3, 12, 2, 0, tzinfo=UTC)  # the minute of the draft's own examples
DELIVERY_S, TIME_OUT_S = 1, 5
PATIENCE = 8  # time-outs in a row that change nothing, after which a run ends where it is


@dataclass
class Side:
    """One gateway's place: what survives a crash (file, ledger, identity), and what does not (gateway)."""

    role: Role
    identity: Identity
    ledger: Ledger
    path: Path
    wire: Tripwire = field(default_factory=Tripwire)
    log: WatchedLog | None = None
    gateway: Gateway | None = None

    @property
    def id(self) -> str:
        return self.identity.gateway_id


@dataclass(frozen=True)
class InFlight:
    """A message on the link."""

    source: Side
    target: Side
    data: bytes
    step: str
    name: str


class World:
    """Everything that is simulated, in one place. Same seed, same bytes."""

    def __init__(self, seed: str = "lab", *, directory: Path | str | None = None, rules: Rules | None = None) -> None:
        self.seed = seed
        self.rules = rules or Rules()
        self.directory = Path(directory or tempfile.mkdtemp(prefix="gateways-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        if directory is None:
            weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        self._time = START
        self._ids = 0
        self.link: list[InFlight] = []
        self._arrived: set[bytes] = set()
        self._to_lose: list[str] = []
        self._to_repeat: list[str] = []
        self._admitted: list[str] = []
        self.sessions: list[str] = []
        self.origin = self._make_network(CLAIM["senderGatewayNetworkId"])
        self.destination = self._make_network(CLAIM["recipientGatewayNetworkId"])
        self._sides = {
            Role.SENDER: self._make_side(Role.SENDER, CLAIM["senderGatewayId"], self.origin),
            Role.RECIPIENT: self._make_side(Role.RECIPIENT, CLAIM["recipientGatewayId"], self.destination),
        }
        self.owner_cas = {name: OwnerCA(owner, self.key(f"owner of {name}")) for name, owner in OWNERS.items()}
        self.certificates = {
            side.id: self.owner_cas[side.id].certify(side.id, side.identity.key.public) for side in self._sides.values()
        }
        gateways = tuple(side.id for side in self._sides.values())
        self.trace = Trace((self.origin.name, *gateways, self.destination.name), gateways)
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
        side.gateway = Gateway(
            side.identity,
            side.log,
            WatchedNetwork(side.ledger, side.id, side.wire, self.trace.add, lambda: self.now),
            peers=CertifiedKeys(
                (self.certificates[name] for name in (peer.id, *self._admitted)),
                self.owner_cas.values(),
                lambda: self._time,
            ),
            networks=KeyRing((name, self.key(f"network {name}").public) for name in names),
            now=lambda: self._time,
            rules=self.rules,
        )

    def make_id(self) -> str:
        """A version 4 UUID, computed from the seed."""
        self._ids += 1
        return str(
            uuid.UUID(
                bytes=hashlib.sha256(f"{self.seed}|{self._ids}".encode(errors="surrogateescape")).digest()[:16],
                version=4,
            )
        )

    # ------------------------------------------------------------------ telling the story

    def start(self, asset: str | None = None, *, by: str = Role.SENDER, lock_type: str | None = None) -> str:
        """Issue the asset to its originator, let a gateway propose the transfer; returns the session id.

        Without `asset` it is the draft's own example, with the draft's ids; `lock_type` is another one than the
        example's HASH_TIME_LOCK. `by="GW2"` goes the other way, from Bob to Alice: then GW2 is the sender of that
        session. An asset that the network has already is not issued again.
        """
        side = self._side(by)
        self._gateway(side.role)
        is_another = asset is not None or bool(self.sessions) or side.role is Role.RECIPIENT
        ids = (asset or CLAIM["digitalAssetId"], self.make_id(), self.make_id()) if is_another else None
        proposal = make_proposal(self.key, ids, lock_type, is_mirrored=side.role is Role.RECIPIENT)
        claim = proposal["transferInitClaim"]
        if not any(known.id == claim["digitalAssetId"] for known in side.ledger.assets):
            side.ledger.issue(claim["digitalAssetId"], claim["verifiedOriginatorEntityId"])
        self.sessions.append(proposal["sessionId"])
        self._live(side, lambda gateway: [gateway.start(proposal)])
        return str(proposal["sessionId"])

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
        while patience and not self._is_done(until, of) and len(self.trace.of(Crashed)) == crashes:
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

    def restart(self, who: str) -> None:
        """A new gateway from the same file and the same ledger. The old connection, and what was on it, is gone."""
        side = self._side(who)
        if side.gateway is not None:
            raise Misuse(f"{side.id} is up; crash it first")
        self._drop(lambda message: True)
        self.trace.add(Restarted(self.now, side.id))
        self._make_gateway(side)
        self._live(side, lambda gateway: gateway.restart())

    def abort(self, who: str, reason: str, session_id: str | None = None) -> None:
        """The application behind a gateway ends a session: the first one unless another is named."""
        side, name = self._side(who), session_id or self.sessions[0]
        self._live(side, lambda gateway: gateway.abort(name, reason))

    def admit(self, name: str, valid_from: datetime = VALID_FROM, valid_until: datetime = VALID_UNTIL) -> None:
        """Both gateways take a certificate of `name`: another gateway, of which nothing but its key exists here.

        Or a new one of a gateway they know; `valid_from` and `valid_until` as in `OwnerCA.certify`.
        """
        owner = self.owner_cas.get(name) or OwnerCA(f"owner of {name}", self.key(f"owner of {name}"))
        self.owner_cas[name] = owner
        self.certificates[name] = owner.certify(
            name, self.key(name).public, valid_from=valid_from, valid_until=valid_until
        )
        if name not in (side.id for side in self._sides.values()):
            self._admitted.append(name)
        for side in self._sides.values():
            if side.log is not None:
                side.log.close()
                self._make_gateway(side)

    def lose(self, step: str) -> None:
        """Lose the next message of this step."""
        self._to_lose.append(find_row(step).number)

    def repeat(self, step: str) -> None:
        """Deliver the next message of this step twice."""
        self._to_repeat.append(find_row(step).number)

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
        if self.link or any(side.gateway is None for side in self._sides.values()):
            return False
        return all(session.is_at_rest for role in Role for session in self._known(role))

    def log(self, who: str, session_id: str | None = None) -> list[LogEntry]:
        """The entries in a gateway's file, also while it is down; of the first session unless another is named."""
        store = SQLiteLog(self._side(who).path)
        try:
            return store.getLog(session_id or self.sessions[0]) if self.sessions else []
        finally:
            store.close()

    def history(self, who: str, session_id: str | None = None) -> History:
        """The signed messages of a session as a gateway holds them; of the first session unless another is named."""
        return self._gateway(self._side(who).role).session(session_id or self.sessions[0]).history

    def durable_acts(self, who: str) -> list[tuple[str, str]]:
        """What a gateway has made durable so far, as (step, words): the places where a crash can be put."""
        return list(self._side(who).wire.acts)

    def count_acts(self, who: str, step: str) -> int:
        """How many durable acts a gateway takes in a step: intent, action and outcome, or one entry for a message."""
        row = find_row(step)
        goes_both_ways = len({each.role for each in self._known_everywhere(who)}) > 1
        if row.is_action:
            return 3 if row.actor == self._side(who).role or goes_both_ways else 0
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
        names = [f"{side.role} ({side.id})" for side in self._sides.values()]
        raise Misuse(f"there is no gateway {who!r}; there are {' and '.join(names)}")

    def _gateway(self, role: Role) -> Gateway:
        gateway = self._sides[role].gateway
        if gateway is None:
            raise Misuse(f"{self._sides[role].id} is down; restart it first")
        return gateway

    def _known_everywhere(self, who: str) -> list[Session]:
        side = self._side(who)
        return self._known(side.role) if side.gateway is not None else []

    def _known(self, role: Role) -> list[Session]:
        """The sessions of this World that the gateway knows and can read."""
        gateway = self._gateway(role)
        readable = (name for name in self.sessions if name not in gateway.damaged)
        return [found for found in map(gateway.find_session, readable) if found is not None]

    def _is_done(self, until: str | None, of: str | None) -> bool:
        if until is None:
            return False
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
            self._send(side, self._side(message.peer), message.data)

    def _end(self, side: Side, where: str) -> None:
        if side.gateway is None or side.log is None:
            raise Misuse(f"{side.id} is down already")
        self.trace.add(Crashed(self.now, side.id, where))
        side.log.close()
        side.log = side.gateway = side.wire.armed = None
        self._drop(lambda message: message.target is side)

    def _send(self, source: Side, target: Side, data: bytes) -> None:
        step, name = read_label(data)
        message = InFlight(source, target, data, step, name)
        if step in self._to_lose:
            self._to_lose.remove(step)
            self.trace.add(Lost(self.now, source.id, target.id, step, name))
            return
        self.link.append(message)
        if step in self._to_repeat:
            self._to_repeat.remove(step)
            self.link.append(message)

    def _deliver(self, message: InFlight) -> None:
        source, target = message.source, message.target
        self._time += timedelta(seconds=DELIVERY_S)
        if target.gateway is None:
            self.trace.add(Lost(self.now, source.id, target.id, message.step, message.name))
            return
        again = message.data in self._arrived
        self._arrived.add(message.data)
        self.trace.add(Delivered(self.now, source.id, target.id, message.step, message.name, again))

        def work(gateway: Gateway) -> list[Outgoing]:
            reply = gateway.receive(message.data)
            return [Outgoing(source.id, reply)] if reply is not None else []

        self._live(target, work)

    def _drop(self, is_lost: Callable[[InFlight], bool]) -> None:
        for message in [message for message in self.link if is_lost(message)]:
            self.link.remove(message)
            self.trace.add(Lost(self.now, message.source.id, message.target.id, message.step, message.name))

    def _time_out(self) -> None:
        self._time += timedelta(seconds=TIME_OUT_S)
        for side in self._sides.values():
            if side.gateway is not None and any(not session.is_at_rest for session in self._known(side.role)):
                self.trace.add(TimedOut(self.now, side.id))
                self._live(side, lambda gateway: gateway.on_time_out())

    def __repr__(self) -> str:
        gateways = (repr(side.gateway or f"gateway {side.id} is down").strip("'") for side in self._sides.values())
        return "\n".join([*gateways, repr(self.origin), repr(self.destination)])


def read_label(data: bytes) -> tuple[str, str]:
    """What to call a message in a picture: its step and its name; errors by their code."""
    payload = read_payload(data)
    if str(payload.get("messageType", "")).endswith(":error-msg"):
        return "", f"error {str(payload['type']).rpartition(':')[2]}"
    return find_step(payload["messageType"]), short_name(payload["messageType"])
