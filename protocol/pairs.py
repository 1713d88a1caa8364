"""A local unit of two gateways: a primary and its backup, which share one log and one ledger (RECOVERY 5.1 (2), 6.1).

    take over    whoever stands by claims the shared log, with the next epoch, and comes up from it
    pause        a gateway stands still before or after a durable act, with all that it has in memory
    wake         it goes on from there, with that old memory, on the log and the ledger as they are by then
    restart      a gateway that is down comes back: it claims again if it is still in charge, and else stands by
    land         the order that a stopped gateway had on its way to the ledger arrives

A process that stands still is no frozen stack here. It is the state before its event, the event, and the number of
durable acts done. To wake it the real code runs once more from that state to that act; there the contents of log and
ledger are exchanged, in place, for those of the present, and the code goes on. It stands still once in one event.

That somebody is slow is not modelled by the clock. A takeover is possible whenever another one holds the lease, because
the lease may be over at any time for all that its holder knows; how often is bounded. Heartbeats are left out: for what
must always hold, one could only add that a replaced gateway learns earlier that it was. A way to rest may need one, if
there is no fence: then a replaced gateway never learns it, and "progress" says less than it does with the fence.

A gateway that is slow between two events needs no pause: it does nothing until its next event, with its old memory.
One that has learned by its append that it is fenced stands by, as in a World (replacement.py). Without the fence the
shared log compares the chain alone, and a Conflict makes the gateway read its log again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from protocol.automata import Cut, Event, Outcome
from protocol.certificates import Certificate
from protocol.disks import Recorder, UnitLog
from protocol.errors import Misuse, NotYet
from protocol.example import make_proposal
from protocol.gateway import Gateway
from protocol.lease import LEASE_S, Fenced, Lease
from protocol.ledger import LedgerRefused, Order
from protocol.letters import AFTER, Letter
from protocol.link import OFFER, read_label
from protocol.log import Conflict, LogEntry
from protocol.memories import Contents, freeze, put_back, take_apart
from protocol.negotiation import Identity
from protocol.offers import Outgoing
from protocol.processes import START
from protocol.rules import Rules
from protocol.steps import Role
from protocol.units import (
    ASKED,
    State,
    Transfer,
    Unit,
    View,
    compute_key,
    find_sessions,
    is_comparing,
    is_in_order,
    show_ledger,
    show_session,
)

AT_WORK, DOWN, STANDS_BY, STANDS_STILL = "at work", "down", "stands by", "stands still"
MOST_ATTEMPTS: Final = 3  # how often one that was replaced and has not been heard offers what it has


# ---------------------------------------------------------------------- the shared log


class SharedUnitLog(UnitLog):
    """The log in memory with a holder and an epoch. `epoch` is that of the claim of whoever is at work."""

    def __init__(self, *, fencing: bool) -> None:
        super().__init__()
        self.epoch, self.holder, self.present, self._fencing = 0, "", 0, fencing

    def claim(self, holder: str) -> None:
        """The next epoch."""
        self.holder, self.present = holder, self.present + 1
        self.epoch = self.present

    def writeLogEntry(self, entry: LogEntry, *, closes: bool = False) -> int:
        if self._fencing and entry.epoch != self.present:
            raise Fenced(entry.epoch, Lease(self.holder, self.present, START + timedelta(seconds=LEASE_S)))
        return super().writeLogEntry(entry, closes=closes)

    @property
    def is_in_order(self) -> bool:
        """Whether no entry of an older epoch stands after one of a newer epoch."""
        return is_in_order(self._entries.values())


# ---------------------------------------------------------------------- states


@dataclass(frozen=True, eq=False)
class Still:
    """Where a process stands still: this far into an event that began in another state."""

    before: PairState = field(repr=False)
    event: Event
    number: int
    is_after: bool

    @property
    def key(self) -> tuple[Any, ...]:
        return self.before.key, self.event, self.number, self.is_after


@dataclass(frozen=True, eq=False)
class NodeState:
    """One of the two gateways. `has_replaced`: its certificate has to be shown. `order` is on its way to the ledger."""

    standing: str
    epoch: int = 0
    has_replaced: bool = False
    restarts: int = 0
    nonces: int = 0
    is_comparing: bool = False
    known: tuple[str, frozenset[str]] | None = None  # what it knows of the transfer
    process: Contents | None = field(default=None, repr=False)
    memory: tuple[Any, ...] | None = field(default=None, repr=False)
    order: Order | None = None
    still: Still | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        counts = (self.standing, self.epoch, self.has_replaced, self.restarts, self.nonces)
        return *counts, self.order and self.order.operationId, self.still and self.still.key, self.memory


@dataclass(frozen=True, eq=False)
class PairState(State):
    """Both gateways between two events."""

    nodes: tuple[NodeState, ...] = ()
    holder: int = 0  # who is in charge
    present: int = 1  # the epoch of the lease


class PairRecorder(Recorder):
    """Copies what a crash or a pause leaves at each durable act; or runs up to one of them, to go on in the present."""

    def __init__(self, pair: Pair, *, keeps_orders: bool) -> None:
        super().__init__(pair.copy_crashed, keeps_orders=keeps_orders, has_groups=False)
        self._pair = pair
        self.until: tuple[int, bool] | None = None
        self.may_pause = True

    def begin(self, *, may_pause: bool = True, until: tuple[int, bool] | None = None) -> None:
        self.cuts, self.number, self.may_pause, self.until = [], 0, may_pause, until

    @contextmanager
    def around(self, step: str, words: str, order: Order | None = None) -> Iterator[None]:
        self.number += 1
        number = self.number
        if self.until == (number, False):
            self._arrive()
            self.number = number = 1
        if self.until is None:
            self._note(number, False, order if self._keeps_orders else None)
        yield
        if self.until == (number, True):
            self._arrive()
            self.number = 0
        elif self.until is None:
            self._note(number, True, None)

    def _arrive(self) -> None:
        self.until = None
        self._pair.arrive_in_the_present()

    def _note(self, number: int, is_after: bool, order: Order | None) -> None:
        pair = self._pair
        if is_after or number == 1 or order is not None:
            self.cuts.append(Cut(number, is_after, pair.copy_crashed(order), loses=(f"to {pair.at_work}",)))
        if self.may_pause:
            still = pair.copy_still(number, is_after, order)
            self.cuts.append(Cut(number, is_after, still, is_pause=True, loses=()))


# ---------------------------------------------------------------------- the two nodes


class Pair(Unit):
    """Computes events of a primary and its backup, one transfer. An event says which of the two it is about."""

    _log: SharedUnitLog
    _recorder: PairRecorder
    initial: PairState

    def __init__(
        self,
        role: Role,
        rules: Rules | None = None,
        *,
        seed: str = "lab",
        lock_type: str | None = None,
        keeps_orders: bool = False,
    ) -> None:
        self._lock_type = lock_type
        self._at = 0
        self._nodes = [NodeState(AT_WORK), NodeState(STANDS_BY, has_replaced=True)]
        self._event: Event = ("begin", None)
        self._before: PairState | None = None
        self._waking: PairState | None = None
        self._made: dict[tuple[int, bool], tuple[Gateway, list[Any], Contents]] = {}
        super().__init__(role, rules, seed=seed, lock_type=lock_type, keeps_orders=keeps_orders)

    def _make_log(self, *, loses_tails: bool) -> SharedUnitLog:
        log = SharedUnitLog(fencing=self.rules.fence_the_replaced_primary)
        log.claim(self.id)
        return log

    def _make_recorder(self, *, keeps_orders: bool, has_groups: bool) -> PairRecorder:
        return PairRecorder(self, keeps_orders=keeps_orders)

    @property
    def at_work(self) -> str:
        """The name of the node that an event is about."""
        return self._name(self._at)

    def _name(self, index: int) -> str:
        return f"{self.id}{AFTER[index]}"

    # ------------------------------------------------------------------ events

    def run(self, state: State, event: Event) -> Outcome | None:
        assert isinstance(state, PairState)
        kind, about = event
        index = self._find_node(state, kind, about)
        if index is None:
            return None
        node = state.nodes[index]
        if kind == "deliver" and node.standing == STANDS_STILL:
            return Outcome(state, waits=True)
        if not self._can(state, index, kind):
            return None
        self._load(state, index)
        if kind in ("crash", "land", "wait"):
            return self._compute_simple(state, kind)
        return self._compute(state, event)

    def _find_node(self, state: PairState, kind: str, about: Any) -> int | None:
        """Which of the two an event is about."""
        if kind == "deliver":
            letter = Letter.open(about)
            index = AFTER.index(letter.target.removeprefix(self.id))
            if state.nodes[index].standing == AT_WORK or read_label(letter.data)[1] != OFFER:
                return index
            return 1 - index if state.nodes[1 - index].standing == AT_WORK else index
        if kind in ("start", "abort", "wait"):
            return state.holder
        return AFTER.index(about) if isinstance(about, str) and about in AFTER else None

    def _can(self, state: PairState, index: int, kind: str) -> bool:
        node = state.nodes[index]
        match kind:
            case "start" | "abort" | "deliver":
                return node.standing == AT_WORK
            case "time out":
                is_heard = index == state.holder or not node.is_comparing or node.nonces < MOST_ATTEMPTS
                return node.standing == AT_WORK and is_heard
            case "crash":
                return node.standing in (AT_WORK, STANDS_STILL)
            case "restart":
                return node.standing == DOWN
            case "take over":
                return node.standing == STANDS_BY and index != state.holder
            case "wake":
                return node.standing == STANDS_STILL
            case "land":
                return node.order is not None
        return kind == "wait"

    def _compute_simple(self, state: PairState, kind: str) -> Outcome | None:
        """What needs no gateway."""
        node = state.nodes[self._at]
        if kind == "crash":
            return Outcome(self.copy_crashed(node.order), loses=(f"to {self.at_work}",))
        if kind == "wait":
            self._wait()
        elif node.order is not None:
            with suppress(LedgerRefused):
                self._ledger.act(node.order)
            self._nodes[self._at] = replace(node, order=None)
        return Outcome(self._make_pair_state())

    def _compute(self, state: PairState, event: Event) -> Outcome | None:
        """A gateway works."""
        outgoing: list[Outgoing] = []
        loses: tuple[str, ...] = ()
        standing = AT_WORK
        try:
            outgoing = self._work(state, event)
            loses = (f"of {self.at_work}",) if self._has_hung_up(event[0]) else ()
            standing = AT_WORK if self._gateway is not None else STANDS_BY
        except Fenced:
            standing, loses = STANDS_BY, (f"to {self.at_work}",)
        except Conflict:
            pass
        except Exception as broken:
            if event[0] in ASKED and isinstance(broken, Misuse | NotYet) and not self._recorder.number:
                return None
            self._failure, standing = f"{type(broken).__name__}: {broken}", DOWN
        sent = tuple(Letter(self.at_work, self.peer, each.data).seal() for each in outgoing if each.peer == self.peer)
        after = self._copy_node(standing)
        if after.key == state.key and not sent:
            return None
        return Outcome(after, sent, tuple(self._recorder.cuts), loses)

    def _has_hung_up(self, kind: str) -> bool:
        return kind == "restart" and self._gateway is not None and self.rules.fresh_connection_after_restart

    def _work(self, state: PairState, event: Event) -> list[Outgoing]:
        still = state.nodes[self._at].still
        self._event, self._before, self._waking = event, state, None
        if event[0] != "wake":
            self._recorder.begin()
            return self._do(event)
        assert still is not None
        self._load(still.before, self._at)
        self._waking = state
        self._recorder.begin(may_pause=False, until=(still.number, still.is_after))
        return self._do(still.event)

    def _do(self, event: Event) -> list[Outgoing]:
        kind, about = event
        if kind == "deliver":
            return self._receive(Letter.open(about).data)
        if kind == "take over":
            self._nodes[self._at] = replace(self._nodes[self._at], has_replaced=True)
            return self._come_up("replaced")
        if kind == "restart":
            return self._come_up("process") if self._log.holder == self.at_work else []
        if kind == "start":
            return self._start()
        return self._happen(kind, about)

    def _start(self) -> list[Outgoing]:
        """Its claim names the key of the node that proposes."""
        assert self._gateway is not None
        names = {self.id: self.at_work}
        proposal = make_proposal(lambda name: self._make_key(names.get(name, name)), None, self._lock_type)
        return [self._gateway.start(proposal)]

    def _come_up(self, why: Any) -> list[Outgoing]:
        """The lease is claimed first, whoever held it."""
        self._log.claim(self.at_work)
        self._restarts, self._nonces = self._restarts + 1, 0
        self._begin_process()
        assert self._gateway is not None
        return self._gateway.restart(why)

    def arrive_in_the_present(self) -> None:
        """Right at the act where it stood still: log and ledger are those of now."""
        state, epoch = self._waking, self._log.epoch
        assert state is not None, "only who was woken arrives"
        self._load_shared(state)
        self._log.epoch = epoch
        self._nodes = list(state.nodes)

    # ------------------------------------------------------------------ processes

    def _begin_process(self) -> None:
        name = (self._at, self._nodes[self._at].has_replaced)
        if name not in self._made:
            self._made[name] = self._make_process()
        self._gateway, self._parts, contents = self._made[name]
        put_back(self._parts, contents)

    def _make_process(self) -> tuple[Gateway, list[Any], Contents]:
        keys = [self._make_key(self._name(index)) for index in (0, 1)]
        own, other = keys[self._at], keys[1 - self._at]
        backup_id = self.at_work if self._at else None
        identity = Identity(self.id, self._ledger.network_id, own, (other.public,), backup_id)
        certificate: Certificate | None = None
        if self._nodes[self._at].has_replaced:
            backups = [other.public]
            certificate = self._registry.certify(self.at_work, own.public, backups=backups, owner_of=self.id)
        return self._make_gateway(self.at_work, identity, certificate)

    def _make_nonce(self) -> str:
        self._nonces += 1
        return f"{self.at_work}-{self._restarts}.{self._nonces}"

    # ------------------------------------------------------------------ states

    def _load(self, state: State, index: int = 0) -> None:
        assert isinstance(state, PairState)
        node = state.nodes[index]
        self._at, self._nodes = index, list(state.nodes)
        self._restarts, self._nonces, self._failure = node.restarts, node.nonces, ""
        self._load_shared(state)
        self._log.epoch, self._gateway = node.epoch, None
        if node.process is not None:
            self._gateway, self._parts, _ = self._made[index, node.has_replaced]
            put_back(self._parts, node.process)

    def _load_shared(self, state: PairState) -> None:
        """What survives every crash."""
        self._set_clock(state.waits)
        self._log.load(state.log)
        self._log.holder, self._log.present = self._name(state.holder), state.present
        self._ledger.load(state.ledger)

    def _copy(self) -> PairState:
        return self._copy_node(AT_WORK)

    def _copy_node(self, standing: str) -> PairState:
        """The present, with the node that has worked."""
        node = self._make_node(DOWN if standing == AT_WORK and self._gateway is None else standing)
        if standing == AT_WORK and self._gateway is not None:
            process = take_apart(self._parts)
            memory = tuple(self._freeze_part(part) for part in process)
            session = find_sessions(process).get(self.sessions[0])
            known = None if session is None else show_session(session)
            node = replace(node, nonces=self._nonces, is_comparing=is_comparing(self._gateway), known=known)
            node = replace(node, process=process, memory=memory)
        return self._make_pair_state(node)

    def copy_crashed(self, order: Order | None) -> PairState:
        """What is left if the process ends now."""
        node = self._make_node(DOWN)
        return self._make_pair_state(replace(node, order=order or node.order))

    def copy_still(self, number: int, is_after: bool, order: Order | None) -> PairState:
        """What there is if it stands still now."""
        assert self._before is not None
        still = Still(self._before, self._event, number, is_after)
        node = self._make_node(STANDS_STILL)
        return self._make_pair_state(replace(node, order=order or node.order, still=still))

    def _make_node(self, standing: str) -> NodeState:
        before = self._nodes[self._at]
        order = None if before.still is not None else before.order  # woken, it brings its order to its end itself
        return NodeState(standing, self._log.epoch, before.has_replaced, self._restarts, order=order)

    def _freeze_part(self, part: dict[str, Any]) -> tuple[Any, ...]:
        """Memory may be old here: each session by the last entry that it knows."""
        return tuple(
            (name, tuple((each, found.last_hash) for each, found in value.items()))
            if name == "_sessions"
            else (name, freeze(value))
            for name, value in part.items()
        )

    def _make_pair_state(self, node: NodeState | None = None) -> PairState:
        nodes = list(self._nodes)
        if node is not None:
            nodes[self._at] = node
        holder, log = AFTER.index(self._log.holder.removeprefix(self.id)), self._log
        kept = (log.key, self._ledger.key, self._failure, log.is_in_order)
        counts = (self._waits, holder, log.present)
        return PairState(
            compute_key(counts, kept, tuple(each.key for each in nodes)),
            self._make_pair_view(nodes, holder),
            self._waits,
            1,
            0,
            max(each.nonces for each in nodes),
            "process",
            tuple(log.written),
            self._ledger.take_copy(),
            kept,
            nodes=tuple(nodes),
            holder=holder,
            present=log.present,
        )

    def _make_pair_view(self, nodes: list[NodeState], holder: int) -> View:
        """Of whoever is in charge. `is_up`: one of both is."""
        acting, claim = nodes[holder], self._proposals[0]["transferInitClaim"]
        standing, done = acting.known or self._read_log(self.sessions[0])
        actions = show_ledger(self._ledger, self.id, self.sessions[0], claim["digitalAssetId"])
        is_up = any(each.standing in (AT_WORK, STANDS_STILL) for each in nodes)
        is_comparing = acting.is_comparing or acting.standing != AT_WORK
        transfer = Transfer(standing, done, *actions)
        return View(is_up, is_comparing, (transfer,), self._failure, self._log.is_in_order)
