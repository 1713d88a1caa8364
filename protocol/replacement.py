"""Primary and backup: a World in which another gateway can take the place of one (RECOVERY 5.1 (2) and 6.1).

A gateway has several *nodes*, machines with a key and a certificate of their own: the primary, GW1, and its backup,
GW1-B, which acts for GW1 when it has to. They share GW1's log and the access to its network, and nothing else. One of
them is in charge; the others stand by and watch the lease in the shared store (lease.py).

    dead                crash("GW1"): no heartbeat any more; the backup takes over when the lease has run out
    slow                pause("GW1", ...): the same to all others. It goes on with its old memory when it wakes up
    cut off from store  cut_store("GW1"): it can neither write nor renew its lease, but speak to everybody else
    cut off from peer   part("GW1", "GW2"): its lease goes on; nobody takes over until it is told to hand_over
    coming back         restart("GW1"), wake("GW1"), heal_store("GW1"): whoever finds another in charge stands by

Every node's certificate lists the keys of all others, so each may follow each. With `run` time passes and takeovers
happen by themselves; `take_over` is the same by hand, and refused while the lease runs.

The shared store is one SQLite file, for processes on one machine. If the environment variable SHARED_LOG names a
PostgreSQL server (postgresql://user@host/database), it is that; a World leaves nothing there. All else is the same.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from protocol.certificates import Certificate
from protocol.errors import Misuse
from protocol.faults import IsPaused, Store
from protocol.lease import LEASE_S, Fenced, Heartbeat, Lease
from protocol.ledger import Ledger
from protocol.link import OFFER, Side, read_label
from protocol.log import Conflict, StorageFailed
from protocol.negotiation import Identity
from protocol.network import World
from protocol.offers import Outgoing
from protocol.postgres import PostgresLog
from protocol.rules import Rules
from protocol.signing import KeyPair, PublicKey
from protocol.steps import Role
from protocol.stores import SQLiteLog
from protocol.trace import FencedOff, Forgotten, HandedOver, Healed, Partitioned, Restarted, StandsBy, TookOver

SHARED_LOG = "SHARED_LOG"
LETTERS = "BCDEF"  # GW1-B, GW1-C ...
STEP_S = 5  # how often a World looks at its clock while time passes


@dataclass
class Node(Side):
    """One of the machines of a gateway. `is_standby`: it is up, watches the lease, and does nothing else."""

    heartbeat: Heartbeat | None = None
    is_standby: bool = False


class PrimaryBackup(World):
    """A World whose gateways of the roles `of` have backups: "sender", "recipient", or "both"."""

    def __init__(
        self,
        of: str = Role.SENDER,
        *,
        backups: int = 1,
        seed: str = "lab",
        directory: Path | str | None = None,
        rules: Rules | None = None,
        tls: bool = True,
        server: str | None = None,
    ) -> None:
        """`server` is a PostgreSQL; by default the one that SHARED_LOG names; "" is the SQLite file in any case."""
        if of not in (*Role, "both"):
            raise Misuse(f'a backup of "sender", "recipient" or "both", not of {of!r}')
        if not 1 <= backups <= len(LETTERS):
            raise Misuse(f"1 to {len(LETTERS)} backups, not {backups}")
        self._backed = set(Role) if of == "both" else {Role(of)}
        self._letters = LETTERS[:backups]
        self._parted: set[frozenset[str]] = set()
        self._server = os.environ.get(SHARED_LOG, "") if server is None else server
        super().__init__(seed, directory=directory, rules=rules, tls=tls)
        standing_by = (node.name for node in self._nodes if isinstance(node, Node) and node.is_standby)
        self.trace.marks = frozenset((name, "standby") for name in standing_by)
        names = [self._name_schema(self._list_nodes(role)[0]) for role in self._backed] if self._server else []
        self._drop_logs = weakref.finalize(self, drop_logs, self._server, names)  # at the latest when Python ends

    # ------------------------------------------------------------------ who is there

    def _make_nodes(self, role: Role, gateway_id: str, ledger: Ledger) -> list[Side]:
        if role not in self._backed:
            return super()._make_nodes(role, gateway_id, ledger)
        names = [gateway_id, *(f"{gateway_id}-{letter}" for letter in self._letters)]
        keys = {name: self.key(name) for name in names}
        path = self.directory / f"{gateway_id}.sqlite"
        nodes: list[Side] = []
        for name in names:
            former = tuple(key.public for other, key in keys.items() if other != name)
            backup_id = name if name != gateway_id else None
            identity = Identity(gateway_id, ledger.network_id, keys[name], former, backup_id)
            nodes.append(Node(role, identity, ledger, path, node=name, is_standby=name != gateway_id))
        return nodes

    def _publish(self, side: Side) -> None:
        """Peers are configured with the primary's certificate alone; that of a backup comes with its takeover."""
        if side.role not in self._backed:
            super()._publish(side)
            return
        for node in self._list_nodes(side.role):
            if node is side:
                self.registry.publish(node.name, node.identity.key.public, backups=self._list_other_keys(node))
            else:
                node.successor = self._certify(node, serial=1)

    def _list_other_keys(self, node: Node) -> list[PublicKey]:
        """Those of all that may take over from a node."""
        return [other.identity.key.public for other in self._list_nodes(node.role) if other is not node]

    def _certify(self, node: Node, serial: int) -> Certificate:
        key, backups = node.identity.key.public, self._list_other_keys(node)
        return self.registry.certify(node.name, key, serial, backups=backups, owner_of=node.id)

    def give_certificate(self, who: str, certificate: Certificate, key: KeyPair | None = None) -> None:
        """A node that stands by gets another certificate, whoever issued it, and another key if it is for that."""
        node = self._node(who)
        if not node.is_standby:
            raise Misuse(f"{node.name} does not stand by")
        if key is not None:
            node.replace_key(key)
        node.successor = certificate

    def lose_key(self, who: str) -> None:
        """As in World. Whoever is not at work is certified anew too: its list of backups has to name the new key."""
        side = self._down_side(who)
        if not isinstance(side, Node):
            super().lose_key(who)
            return
        key = self.key(f"{side.name} key {self.registry.find(side).serial + 1}")
        side.replace_key(key)
        for node in self._list_nodes(side.role):
            if node is not side:
                node.identity = replace(node.identity, former=(*node.identity.former, key.public))
            if node.gateway is None:
                node.successor = self._certify(node, self.registry.find(node).serial + 1)
        self.trace.add(Forgotten(self.now, side.name, "its key"))

    def _list_nodes(self, role: Role) -> list[Node]:
        """The nodes of a gateway that has backups."""
        return [node for node in self._nodes if isinstance(node, Node) and node.role is role]

    @property
    def in_charge(self) -> dict[str, str]:
        """Which node acts for which gateway, as the World knows it."""
        return {side.id: side.name for side in self._sides.values()}

    def lease(self, who: str) -> Lease | None:
        """The lease of a gateway's log, as it stands in the store."""
        with closing(self._connect(self._node(who))) as store:
            found: Lease | None = store.read_lease()
            return found

    def primary_of(self, who: str) -> str:
        """The node whose name is that of the gateway, in charge or not."""
        return self._side(who).id

    def in_charge_of(self, who: str) -> str:
        """The node that acts for a role."""
        return self._side(who).name

    def is_awake(self, who: str) -> bool:
        """Whether a node is up, in charge for all that it knows, and does not stand still."""
        return self._side(who).is_awake

    def knows(self, who: str) -> bool:
        """Whether a gateway knows the first session."""
        gateway = self._side(who).gateway
        return gateway is not None and gateway.find_session(self.sessions[0]) is not None

    def has_order_in_flight(self, who: str) -> bool:
        """Whether a node that failed had just sent an order to its network."""
        return self._side(who).wire.in_flight is not None

    @property
    def can_deliver(self) -> bool:
        """Whether a message is on its way to somebody who does not stand still."""
        return self.carrier.find_next() is not None

    def time_out(self) -> None:
        """No answer comes: everybody who waits says its last word again; whoever finds a lease over takes over."""
        self._time_out()

    def _node(self, who: str) -> Node:
        side = self._side(who)
        if not isinstance(side, Node):
            raise Misuse(f"{side.name} has no backup")
        return side

    # ------------------------------------------------------------------ the shared store

    def _connect(self, node: Node) -> Any:
        """A connection to the shared store, without a claim."""
        fencing = self.rules.fence_the_replaced_primary
        if self._server:
            return open_postgres(self._server, self._name_schema(node), now=self.clock.read, fencing=fencing)
        return SQLiteLog(node.path, shared=True, now=self.clock.read, fencing=fencing)

    def _name_schema(self, node: Node) -> str:
        return f"{self.directory.name} {node.id}"

    def _find_file(self, side: Side) -> Path:
        if self._server and isinstance(side, Node):
            raise Misuse(f"the log of {side.id} is in the PostgreSQL that {SHARED_LOG} names: there is no file to lose")
        return super()._find_file(side)

    def _open_store(self, side: Side) -> Store:
        """Whoever comes to be in charge claims the lease first. NotYet while another one's runs."""
        if not isinstance(side, Node):
            return super()._open_store(side)
        if side.wire.is_cut_off:
            raise StorageFailed("the log store cannot be reached")
        store = self._connect(side)
        heartbeat = Heartbeat(store, side.name)
        try:
            heartbeat.claim()
        except BaseException:
            store.close()
            raise
        side.heartbeat = heartbeat
        return store  # type: ignore[no-any-return]

    def _read_store(self, side: Side) -> Store:
        """The nodes of a gateway have one store."""
        store: Store = self._connect(side) if isinstance(side, Node) else super()._read_store(side)
        return store

    def _is_lease_over(self, node: Node) -> bool:
        """What a node that does not hold it sees."""
        with closing(self._connect(node)) as store:
            return Heartbeat(store, node.name).is_over()

    # ------------------------------------------------------------------ taking over

    def take_over(self, who: str, *, epoch: int = 0) -> None:
        """A node that stands by takes over. NotYet while the lease of the one in charge runs.

        `epoch` is the lowest that it shall have: for an operator whose store was lost, and whose peer remembers more.
        """
        node = self._node(who)
        if not node.is_standby:
            state = "is in charge" if node.gateway is not None else "is down; restart it first"
            raise Misuse(f"{node.name} {state}")
        before = self.lease(node.name)
        node.successor = self.registry.find(node)  # from now on its certificate has to be shown
        self._make_gateway(node)
        node.is_standby = False
        assert node.heartbeat is not None
        node.heartbeat.store.raise_epoch(epoch)
        self._sides[node.role] = node
        self.trace.add(TookOver(self.now, node.name, before.holder if before else "", node.heartbeat.store.epoch))
        self._come_up(node, lambda gateway: gateway.restart("replaced"))

    def hand_over(self, who: str) -> None:
        """The one in charge gives its lease up, on its operator's word, and stands by."""
        node = self._node(who)
        if not node.is_awake or node.heartbeat is None:
            raise Misuse(f"{node.name} is not in charge")
        if node.wire.is_cut_off:
            raise Misuse(f"{node.name} cannot give its lease up: it does not reach its log store")
        try:
            node.heartbeat.release()
        except Fenced as fenced:
            self._fence(node, fenced)
            return
        self.trace.add(HandedOver(self.now, node.name, node.heartbeat.store.epoch))
        self._stand_by(node)

    def restart(self, who: str, start: str = "last-message") -> None:
        """As in World. A node that finds another one in charge stands by, or takes over if the lease is over."""
        side = self._down_side(who)
        if isinstance(side, Node) and side.is_standby:
            raise Misuse(f"{side.name} stands by already")
        lease = self.lease(side.name) if isinstance(side, Node) else None
        if not isinstance(side, Node) or lease is None or lease.holder == side.name:
            super().restart(who, start)
            if isinstance(side, Node) and side.gateway is not None:
                self._sides[side.role] = side
            return
        self.trace.add(Restarted(self.now, side.name))
        self.trace.add(StandsBy(self.now, side.name))
        side.is_standby = True
        if self._is_lease_over(side):
            self.take_over(side.name)

    def _fence(self, node: Node, fenced: Fenced) -> None:
        """It has learned that another one is in charge: it acts no more, says so, and can be the backup of that one."""
        self.trace.add(FencedOff(self.now, node.name, fenced.lease.epoch, fenced.lease.holder))
        self._stand_by(node)

    def _stand_by(self, node: Node) -> None:
        self._take_down(node)
        node.heartbeat, node.is_standby = None, True

    # ------------------------------------------------------------------ partitions

    def part(self, one: str, other: str) -> None:
        """Nothing gets through between two nodes any more; what is on its way is lost."""
        names = {self._side(one).name, self._side(other).name}
        self._parted.add(frozenset(names))
        self.trace.add(Partitioned(self.now, *sorted(names)))
        self.carrier.drop(lambda each: {each.source.name, each.target.name} == names)

    def heal(self, one: str, other: str) -> None:
        """They reach each other again."""
        names = frozenset((self._side(one).name, self._side(other).name))
        self._parted.discard(names)
        self.trace.add(Healed(self.now, *sorted(names)))

    def _send(self, source: Side, target: Side, data: bytes) -> None:
        """An offer for a node that does not answer goes to the next one of its gateway: both sides may be new."""
        if read_label(data)[1] == OFFER and isinstance(target, Node) and not target.is_awake:
            awake = (node for node in self._list_nodes(target.role) if node.is_awake)
            target = next(awake, target)
        if frozenset((source.name, target.name)) in self._parted:
            self.carrier.lose(source, target, data)
        else:
            super()._send(source, target, data)

    # ------------------------------------------------------------------ time

    def wait(self, seconds: int) -> None:
        """Let time pass: whoever is in charge and awake renews its lease. Nobody takes over meanwhile."""
        while seconds > 0:
            super().wait(min(seconds, STEP_S))
            self._beat()
            seconds -= STEP_S

    def _deliver(self, message: Any) -> None:
        super()._deliver(message)
        self._beat()

    def _time_out(self) -> None:
        self._beat()
        super()._time_out()
        self._beat()
        self._watch_leases()

    def _beat(self) -> None:
        for node in self._nodes:
            if isinstance(node, Node) and node.heartbeat is not None and node.is_awake and not node.wire.is_cut_off:
                try:
                    node.heartbeat.beat()
                except Fenced as fenced:
                    self._fence(node, fenced)

    def _watch_leases(self) -> None:
        """Of the nodes that stand by, one takes over if it finds the lease over; last of all the one that had it."""
        for role in self._backed:
            waiting = [node for node in self._list_nodes(role) if node.is_standby and not node.wire.is_cut_off]
            for node in sorted(waiting, key=lambda each: each is self._sides[role]):
                if node.is_standby and self._is_lease_over(node):
                    self.take_over(node.name)

    def _compute_patience(self) -> int:
        """Enough for a lease to run out, where somebody stands by to take over."""
        has_backup = any(node.is_standby for role in self._backed for node in self._list_nodes(role))
        return max(super()._compute_patience(), int(LEASE_S // STEP_S) + 2 if has_backup else 0)

    # ------------------------------------------------------------------ a gateway at work

    def _serve(self, side: Side, run: Callable[[], list[Outgoing] | IsPaused], *, is_asked: bool = False) -> None:
        try:
            super()._serve(side, run, is_asked=is_asked)
        except Fenced as fenced:
            assert isinstance(side, Node), "only a shared log has a fence"
            self._fence(side, fenced)
        except Conflict:  # another node wrote this place first: what this one knows is read again
            if not isinstance(side, Node):
                raise

    def close(self) -> None:
        """As in World; what it had in a PostgreSQL is deleted."""
        super().close()
        self._drop_logs()


def open_postgres(server: str, name: str, **options: Any) -> PostgresLog:
    """StorageFailed, or Misuse where psycopg is missing; both say who named this server."""
    try:
        return PostgresLog(server, name, **options)
    except (StorageFailed, Misuse) as error:
        raise type(error)(
            f"{SHARED_LOG} names a PostgreSQL that cannot be used: {' '.join(str(error).split())}"
        ) from error


def drop_logs(server: str, names: list[str]) -> None:
    """Schemas of a World that nobody uses any more. What cannot be reached stays where it is."""
    for name in names:
        with suppress(StorageFailed):
            PostgresLog(server, name).drop()
