"""The gateways' processes in a World: made, at work, standing still, ended.

What a process knows dies with it; its store and its ledger stay. Whoever lets a gateway work goes through `_live`: what
comes of the work is sent when it has ended, so a process that crashes or pauses on the way has said nothing. The way of
a message from one process to another is the Carrier's (link.py).

Nothing in a gateway holds the World itself: not its clock, not what it reports to. A stack that stands still holds what
it needs, so a World with a paused gateway is given up like any other.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from protocol.errors import Misuse
from protocol.example import CLAIM, OWNERS
from protocol.faults import PAUSED, GatewayGone, IsPaused, Store, WatchedLog, WatchedNetwork
from protocol.gateway import Gateway
from protocol.ledger import Ledger
from protocol.link import ANSWER, Carrier, Clock, InFlight, Registry, SecureLink, Side
from protocol.log import StorageFailed
from protocol.negotiation import Identity
from protocol.offers import Outgoing
from protocol.reconcile import Judgement
from protocol.rules import Rules
from protocol.signing import KeyPair, KeyRing
from protocol.steps import Role
from protocol.stores import SQLiteLog
from protocol.successions import Succession
from protocol.tls import Endpoint
from protocol.trace import Accepted, Crashed, Expired, Judged, Paused, Trace

START = datetime(2024, 10, 3, 12, 2, 0, tzinfo=UTC)  # the minute of the draft's own examples
DELIVERY_S = 1


class Processes:
    """The places of the gateways, and what runs there. A message takes `delivery_s` seconds to arrive."""

    delivery_s = DELIVERY_S

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
        self.clock = Clock(START)
        self._ids = 0
        self._nonces = itertools.count(1)
        self.sessions: list[str] = []
        self.origin = self._make_network(CLAIM["senderGatewayNetworkId"])
        self.destination = self._make_network(CLAIM["recipientGatewayNetworkId"])
        self._nodes = [
            *self._make_nodes(Role.SENDER, CLAIM["senderGatewayId"], self.origin),
            *self._make_nodes(Role.RECIPIENT, CLAIM["recipientGatewayId"], self.destination),
        ]
        self._sides = {role: next(node for node in self._nodes if node.role is role) for role in Role}
        self.registry = Registry(OWNERS, self.key, self.clock.read)
        for side in self._sides.values():
            self._publish(side)
        names = tuple(node.name for node in self._nodes)
        self.trace = Trace((self.origin.name, *names, self.destination.name), names)
        self.secure = SecureLink(self.trace.add, self.clock.tell)
        self.carrier = Carrier(self.secure, self.trace.add, self.clock.tell, tls=tls)
        for side in self._sides.values():
            self._make_gateway(side)

    def key(self, name: str) -> KeyPair:
        """The lab key of a party: the same for the same seed and name."""
        return KeyPair.lab(name, self.seed)

    def _make_network(self, network_id: str) -> Ledger:
        return Ledger(network_id, self.key(f"network {network_id}"), self.clock.read, self.rules)

    def _make_nodes(self, role: Role, gateway_id: str, ledger: Ledger) -> list[Side]:
        """The machines that can act for a gateway; the first of them does when the World begins."""
        identity = Identity(gateway_id, ledger.network_id, self.key(gateway_id))
        return [Side(role, identity, ledger, self.directory / f"{gateway_id}.sqlite")]

    def _publish(self, side: Side) -> None:
        """The owner certifies a gateway, and its peers are configured with the certificate."""
        self.registry.publish(side.id, side.identity.key.public)

    def _open_store(self, side: Side) -> Store:
        """What a new process of this gateway has its log in."""
        return SQLiteLog(side.path)

    def _make_gateway(self, side: Side) -> None:
        peer = self._sides[side.role.other]
        names = (side.ledger.network_id, peer.ledger.network_id)
        seed, nonces, nodes = self.seed, self._nonces, self._nodes  # not the World itself
        clock, trace, carrier = self.clock, self.trace, self.carrier

        def on_verdict(judgement: Judgement) -> None:
            letter, facts = judgement.row.letter, judgement.facts.words
            trace.add(Judged(clock.tell(), side.name, judgement.session_id, letter, judgement.words, facts))

        def on_succession(heard: Succession) -> None:
            name = heard.certificate.gateway_id
            trace.add(Accepted(clock.tell(), side.name, heard.gateway_id, name, heard.epoch))
            carrier.close_replaced(side, {each.name for each in nodes if each.id == heard.gateway_id} - {name})

        side.log = WatchedLog(self._open_store(side), side.name, side.wire, trace.add, clock.tell)
        side.ring = self.registry.make_ring(side.id)
        certificate, owners = self.registry.find(side), self.registry.owners
        side.endpoint = Endpoint(side.identity.key, certificate, owners, side.ring, gateway_id=side.id)
        side.gateway = Gateway(
            side.identity,
            side.log,
            self._watch(side),
            peers=side.ring,
            networks=KeyRing((name, self.key(f"network {name}").public) for name in names),
            now=clock.read,
            make_nonce=lambda: f"{seed}-{next(nonces)}",
            rules=self.rules,
            certificate=side.successor,
            can_resume_tls=side.endpoint.can_resume if self.tls else lambda peer: False,
            on_verdict=on_verdict,
            on_succession=on_succession,
        )

    def _watch(self, side: Side) -> WatchedNetwork:
        return WatchedNetwork(side.ledger, side.name, side.wire, self.trace.add, self.clock.tell)

    # ------------------------------------------------------------------ finding it

    @property
    def now(self) -> str:
        """RFC 3339."""
        return self.clock.tell()

    @property
    def link(self) -> list[InFlight]:
        """The messages on their way, in the order in which they were sent."""
        return self.carrier.messages

    @link.setter
    def link(self, messages: list[InFlight]) -> None:
        self.carrier.messages = messages

    def _side(self, who: str) -> Side:
        """The node of this name; or the one that acts for a role."""
        found = [node for node in self._nodes if node.name == who]
        found += [side for role, side in self._sides.items() if who == role]
        if not found:
            names = " and ".join(f"{node.role} ({node.name})" for node in self._nodes)
            raise Misuse(f"there is no gateway {who!r}; there are {names}")
        return found[0]

    def _find_target(self, source: Side, peer: str) -> Side:
        """Where a message of `source` to the gateway `peer` goes: to whoever it believes to act for that one."""
        return self._side(source.ring.current(peer).gateway_id if source.ring is not None else peer)

    def _down_side(self, who: str) -> Side:
        side = self._side(who)
        if side.gateway is not None:
            raise Misuse(f"{side.name} is up; crash it first")
        return side

    def _awake_side(self, who: str) -> Side:
        side = self._side(who)
        self._verify_awake(side)
        return side

    @staticmethod
    def _verify_awake(side: Side) -> None:
        if not side.is_awake:
            raise Misuse(
                f"{side.name} is paused; wake it first" if side.gateway else f"{side.name} is down; restart it first"
            )

    def _remake(self, side: Side) -> None:
        """Another configuration, for a gateway that is up."""
        if side.log is not None:
            self._verify_awake(side)
            side.log.close()
            self._make_gateway(side)

    def _gateway(self, role: Role) -> Gateway:
        gateway = self._sides[role].gateway
        if gateway is None:
            raise Misuse(f"{self._sides[role].name} is down; restart it first")
        return gateway

    # ------------------------------------------------------------------ a gateway at work

    def _live(
        self,
        side: Side,
        work: Callable[[Gateway], list[Outgoing]],
        speaker: Side | None = None,
        *,
        is_asked: bool = False,
    ) -> None:
        """Let a gateway work and send what comes of it; if it crashes or pauses on the way, nothing is sent.

        What it has to say to the gateway of `speaker`, whose message it works on, goes to that node. `is_asked` by its
        application, which hears of a store that fails.
        """
        self._verify_awake(side)
        gateway, side.speaker = side.gateway, speaker
        assert gateway is not None
        self._serve(side, lambda: side.wire.run_pausable(lambda: work(gateway)), is_asked=is_asked)

    def _come_up(self, side: Side, work: Callable[[Gateway], list[Outgoing]]) -> None:
        side.is_coming_up = True
        self._live(side, work)

    def _serve(self, side: Side, run: Callable[[], list[Outgoing] | IsPaused], *, is_asked: bool = False) -> None:
        """Run a piece of work, or the rest of one.

        Cut off from its log store a gateway answers nothing, and tries again when its time comes. Only one that was
        just coming up ends: it has told nobody yet, and would not know that it has to.
        """
        try:
            outgoing = run()
        except GatewayGone as gone:
            self._end(side, str(gone))
            return
        except StorageFailed:
            if is_asked or not side.wire.is_cut_off:
                raise
            if side.is_coming_up:
                self._end(side, "without its log store")
            return
        if outgoing is PAUSED:
            self.trace.add(Paused(self.now, side.name, side.wire.where))
            return
        side.is_coming_up = False
        for message in outgoing:
            if message.peer in OWNERS:  # of any other gateway nothing but a key exists
                self._send(side, self._find_addressee(side, message.peer), message.data)

    def _find_addressee(self, side: Side, peer: str) -> Side:
        """Whoever spoke is answered itself."""
        speaker = side.speaker
        return speaker if speaker is not None and speaker.id == peer else self._find_target(side, peer)

    def _end(self, side: Side, where: str) -> None:
        if side.gateway is None or side.log is None:
            raise Misuse(f"{side.name} is down already")
        self.trace.add(Crashed(self.now, side.name, where))
        self._take_down(side)

    def _take_down(self, side: Side) -> None:
        """The process is gone with all that it had in memory."""
        side.wire.discard()
        if side.log is not None:
            side.log.close()
        side.log = side.gateway = side.endpoint = side.wire.armed = None
        side.is_coming_up = False
        if self.rules.fresh_connection_after_restart:  # else what is on its way may meet the next process
            self.carrier.drop(lambda message: message.target is side)

    def _send(self, source: Side, target: Side, data: bytes) -> None:
        self.carrier.send(source, target, data)

    def _hang_up(self, side: Side) -> None:
        self.carrier.hang_up(side)

    def _let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds)
        for ledger in (self.origin, self.destination):
            for _ in ledger.let_locks_expire():
                self.trace.add(Expired(self.now, ledger.name))

    def _deliver(self, message: InFlight) -> None:
        source, target, secure = message.source, message.target, self.secure
        if target.is_paused:
            self.link.append(message)  # it waits
            return
        self._let_time_pass(self.delivery_s)
        data = self.carrier.arrive(message)
        if data is None:
            return

        def work(gateway: Gateway) -> list[Outgoing]:
            reply = gateway.receive(data)
            others = gateway.collect()
            if message.name == ANSWER:
                secure.note_wish(source.name, target.name, resume=gateway.wants_tls_resumed(source.id))
            return [*([Outgoing(source.id, reply)] if reply is not None else []), *others]

        self._live(target, work, speaker=source)

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Close the files. Needed only where many worlds are made; otherwise they go with the World."""
        for node in self._nodes:
            node.wire.discard()
            if node.log is not None:
                node.log.close()

    def __del__(self) -> None:
        with suppress(Exception):  # a World that was not made to the end has nothing to close
            self.close()
