"""The local unit of an exploration: one gateway with its log and its ledger, in memory, and one event at a time.

    state      what survives a crash (log, ledger, order on its way, key) and what does not (the process)
    event      a message arrives, the gateway comes back, waits no longer, an hour passes, something is lost
    outcome    the state after it, what was sent, and the state that a crash after each durable act would have left

It is the real `Gateway` over the log and the ledger of the other chapters, with real messages and certificates. A state
is taken apart into what its parts hold, and put back before the next event; nothing of it is a model.

What a crash leaves is copied while the event runs, right after each durable act: a crash loses memory and nothing
else, so one run shows all of them. Before an action on the ledger the order may have left already: it is part of
what the crash leaves, and may land later.

States are compared by content. Sessions in memory are a fold over the log, so the hash of the last entry names them.
Time stands still but for what an event says: so two ways to the same state have the same timestamps, and meet.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, NamedTuple

from protocol.automata import Event, Outcome
from protocol.certificates import Certificate
from protocol.disks import Recorder, UnitLedger, UnitLog
from protocol.errors import Misuse, NotYet
from protocol.example import CLAIM, OWNERS, make_proposal
from protocol.facts import read_log
from protocol.faults import WatchedLog, WatchedNetwork
from protocol.gateway import Gateway
from protocol.ledger import Ledger, LedgerRefused, Order
from protocol.ledger import State as AssetState
from protocol.link import Clock, Registry
from protocol.log import LogEntry
from protocol.losses import is_closed
from protocol.memories import Contents, find_parts, freeze, put_back, take_apart
from protocol.messages.recovery import CrashErrorCode
from protocol.negotiation import Identity
from protocol.objects import Json
from protocol.offers import Outgoing
from protocol.processes import START
from protocol.rules import AskedRules, Rules
from protocol.session import Session, read_session
from protocol.signing import KeyPair, KeyRing
from protocol.steps import Role
from protocol.successions import Succession

LOCK_S: Final = 120  # the lock of the example
ASKED: Final = ("start", "abort", "land", "wait")  # what may be refused where it makes no sense; any other may not


class Transfer(NamedTuple):
    """What can be said of one session from outside: the facts of the network, and where the gateway stands."""

    standing: str  # the words of MyLog (recovery.py), or "parked"
    done: frozenset[str]  # the steps of TABLE 1 that are done as far as the gateway knows
    free: tuple[str, ...]  # who can use the asset in this network, once for each copy
    actions: tuple[str, ...]  # what the network did in this session, in order


class View(NamedTuple):
    """What can be said of a unit from outside. `is_comparing`: it came back, and has not compared everything yet.

    `is_in_order`: along its log no epoch is followed by an older one.
    """

    is_up: bool
    is_comparing: bool
    transfers: tuple[Transfer, ...]
    failure: str = ""  # the program itself broke down
    is_in_order: bool = True


@dataclass(frozen=True, eq=False)
class State:
    """A unit between two events. Two with the same `key` are the same in all that can ever matter."""

    key: bytes = field(repr=False)
    view: View
    waits: int  # how often a lock's time has passed
    serial: int  # of the gateway's certificate
    restarts: int
    nonces: int  # how many this process has made
    loss: CrashErrorCode
    log: tuple[tuple[LogEntry, bool], ...] = field(repr=False)  # every entry, and whether it closes its session
    ledger: dict[str, Any] = field(repr=False)
    kept: tuple[Any, ...] = field(repr=False)  # names of what log and ledger hold
    order: Order | None = None
    process: Contents | None = field(default=None, repr=False)
    is_ahead: bool = False  # memory knows more than the log


class Unit:
    """Computes events of one gateway. It is always in one state; `run` puts it into another one first."""

    def __init__(
        self,
        role: Role,
        rules: Rules | None = None,
        *,
        seed: str = "lab",
        sessions: int = 1,
        lock_type: str | None = None,
        keeps_orders: bool = False,
        loses_tails: bool = False,
    ) -> None:
        """Of `sessions` transfers. `keeps_orders`: what a crash leaves on its way to the ledger may land later."""
        self.role, self.rules, self._seed, self.name = role, AskedRules(rules or Rules()), seed, str(role)
        self.configuration = (role, seed, sessions, lock_type, keeps_orders, loses_tails)
        mine = ("sender", "recipient") if role is Role.SENDER else ("recipient", "sender")
        self.id, self.peer = (CLAIM[f"{each}GatewayId"] for each in mine)
        network_id = CLAIM[f"{role}GatewayNetworkId"]
        self._clock, self._waits, self._serial = Clock(START), 0, 1
        self._loss: CrashErrorCode = "process"
        self._order: Order | None = None
        self._restarts, self._nonces, self._failure = 0, 0, ""
        self._registry = Registry(OWNERS, self._make_key, self._clock.read)
        for name in OWNERS:
            self._publish(name)
        networks = (CLAIM["senderGatewayNetworkId"], CLAIM["recipientGatewayNetworkId"])
        self._networks = KeyRing((name, self._make_key(f"network {name}").public) for name in networks)
        self._ledger = UnitLedger(network_id, self._make_key(f"network {network_id}"), self._clock.read, self.rules)
        self._recorder = self._make_recorder(keeps_orders=keeps_orders, has_groups=sessions > 1)
        self._log = self._make_log(loses_tails=loses_tails)
        self._proposals = [make_proposal(self._make_key, _make_ids(number), lock_type) for number in range(sessions)]
        self.sessions = [str(proposal["sessionId"]) for proposal in self._proposals]
        self._processes: dict[int, tuple[Gateway, list[Any], Contents]] = {}
        self._gateway: Gateway | None = None
        self._parts: list[Any] = []
        self._folds: dict[str, tuple[str, frozenset[str]]] = {}
        if role is Role.SENDER:
            for proposal in self._proposals:
                claim = proposal["transferInitClaim"]
                self._ledger.issue(claim["digitalAssetId"], claim["verifiedOriginatorEntityId"])
        self._begin_process()
        self.initial = self._copy()

    def _make_key(self, name: str) -> KeyPair:
        return RememberingKey.lab(name, self._seed)

    def _publish(self, name: str) -> None:
        self._registry.publish(name, self._make_key(name).public)

    def _make_recorder(self, *, keeps_orders: bool, has_groups: bool) -> Recorder:
        return Recorder(self._copy_durable, keeps_orders=keeps_orders, has_groups=has_groups)

    def _make_log(self, *, loses_tails: bool) -> UnitLog:
        return UnitLog(loses_tails=loses_tails)

    # ------------------------------------------------------------------ events

    def run(self, state: State, event: Event) -> Outcome | None:
        """What this event does in this state; None if it cannot happen there, or changes nothing and says nothing."""
        kind, about = event
        if kind == "crash":
            return self._end(state)
        if kind in ("start", "deliver", "time out", "abort", "cut") and state.process is None:
            return None
        if kind in ("restart", "forget", "lose key") and state.process is not None:
            return None
        self._load(state)
        self._recorder.cuts, self._recorder.number = [], 0
        outgoing: list[Outgoing] = []
        try:
            outgoing = self._happen(kind, about)
        except Exception as broken:
            if kind in ASKED and isinstance(broken, Misuse | NotYet) and not self._recorder.number:
                return None
            self._failure = (
                f"{type(broken).__name__}: {broken}"  # a program that breaks down is gone like a crashed one
            )
            self._gateway = None
        sent = tuple(message.data for message in outgoing if message.peer == self.peer)
        after = self._copy()
        if after.key == state.key and not sent:
            return None
        return Outcome(after, sent, tuple(self._recorder.cuts))

    def _end(self, state: State) -> Outcome | None:
        """The process is gone, with all that it had in memory; nothing has to be computed for that."""
        if state.process is None:
            return None
        if state.is_ahead:
            self._load(state)
            self._gateway = None
            return Outcome(self._copy())
        counts = (state.waits, state.serial, state.restarts, 0, state.loss, state.order and state.order.operationId)
        view = state.view._replace(is_up=False, is_comparing=False, failure="")
        return Outcome(replace(state, key=compute_key(counts, state.kept, None), view=view, nonces=0, process=None))

    def _happen(self, kind: str, about: Any) -> list[Outgoing]:
        match kind:
            case "start":
                assert self._gateway is not None
                return [self._gateway.start(self._proposals[about])]
            case "deliver":
                return self._receive(about)
            case "time out" | "restart" | "cut":
                return self._come_up_or_wait(kind)
            case "abort":
                assert self._gateway is not None
                return self._gateway.abort(self.sessions[about], "the application wants to leave")
            case "wait":
                self._wait()
            case "land":
                self._land()
            case "forget":
                self._forget(about)
            case "lose key":
                self._serial, self._loss = self._serial + 1, "key"
            case _:
                raise Misuse(f"a unit knows no event {kind!r}")
        return []

    def _receive(self, data: bytes) -> list[Outgoing]:
        assert self._gateway is not None
        reply = self._gateway.receive(data)
        others = self._gateway.collect()
        return [*([Outgoing(self.peer, reply)] if reply is not None else []), *others]

    def _come_up_or_wait(self, kind: str) -> list[Outgoing]:
        if kind == "restart":
            self._begin_process()
            self._restarts, self._nonces = self._restarts + 1, 0
            loss, self._loss = self._loss, "process"
            assert self._gateway is not None
            return self._gateway.restart(loss)
        assert self._gateway is not None
        return self._gateway.on_time_out() if kind == "time out" else self._gateway.restart("connection")

    def _wait(self) -> None:
        """The time of a lock passes. The network that has the lock says whether there is one."""
        if self.role is Role.SENDER and not any(asset.expiry for asset in self._ledger.assets):
            raise NotYet("no lock is live that could expire")
        self._set_clock(self._waits + 1)
        _ = self._ledger.assets  # what is due is due now

    def _set_clock(self, waits: int) -> None:
        self._waits = waits
        self._clock.time = START + timedelta(seconds=waits * (LOCK_S + 1))

    def _land(self) -> None:
        """The order that a crash has left on its way arrives."""
        order, self._order = self._order, None
        if order is None:
            raise Misuse("no order is on its way")
        with suppress(LedgerRefused):
            self._ledger.act(order)

    def _forget(self, entries: int | None) -> None:
        """The log is lost, or its last entries, whatever session they belong to."""
        written = self._log.written
        if entries is None:
            self._log.load([])
            self._loss = "storage"
            return
        kept = written[: max(0, len(written) - entries)]
        last = {entry.sessionId: entry for entry, _ in kept}
        self._log.load((entry, entry is last[entry.sessionId] and is_closed(entry)) for entry, _ in kept)
        self._loss = "storage" if self._loss == "storage" else "storage-tail"

    def _begin_process(self) -> None:
        """A new gateway from what survives: no memory, and the key that it has now."""
        self._gateway, self._parts, contents = self._find_process()
        put_back(self._parts, contents)

    def _find_process(self) -> tuple[Gateway, list[Any], Contents]:
        """The gateway with the key that it has now, and what it holds at its beginning; made once."""
        if self._serial not in self._processes:
            self._processes[self._serial] = self._make_process()
        return self._processes[self._serial]

    def _make_process(self) -> tuple[Gateway, list[Any], Contents]:
        names = [self.id, *(f"{self.id} key {serial}" for serial in range(2, self._serial + 1))]
        keys = [self._make_key(name) for name in names]
        former = tuple(key.public for key in keys[:-1])
        identity = Identity(self.id, self._ledger.network_id, keys[-1], former)
        certificate = self._registry.certify(self.id, keys[-1].public, serial=self._serial) if former else None
        return self._make_gateway(self.id, identity, certificate)

    def _make_gateway(
        self, name: str, identity: Identity, certificate: Certificate | None
    ) -> tuple[Gateway, list[Any], Contents]:
        """A gateway, its parts, and what they hold at its beginning. `name` is that of its machine."""
        gateway = Gateway(
            identity,
            WatchedLog(self._log, name, self._recorder, _ignore, self._clock.tell),
            WatchedNetwork(self._ledger, name, self._recorder, _ignore, self._clock.tell),
            peers=self._registry.make_ring(self.id),
            networks=self._networks,
            now=self._clock.read,
            make_nonce=self._make_nonce,
            rules=self.rules,
            certificate=certificate,
            on_succession=self._on_succession,
        )
        parts = find_parts(gateway)
        return gateway, parts, take_apart(parts)

    def _on_succession(self, heard: Succession) -> None:
        """A unit that has one peer with one key hears of none."""

    def _make_nonce(self) -> str:
        self._nonces += 1
        return f"{self.id}-{self._restarts}.{self._nonces}"

    # ------------------------------------------------------------------ states

    def _load(self, state: State) -> None:
        self._serial, self._loss, self._order = state.serial, state.loss, state.order
        self._restarts, self._nonces, self._failure = state.restarts, state.nonces, ""
        self._set_clock(state.waits)
        self._log.load(state.log)
        self._ledger.load(state.ledger)
        if state.process is None:
            self._gateway = None
            return
        self._gateway, self._parts, _ = self._find_process()
        put_back(self._parts, state.process)

    def _copy(self) -> State:
        return self._make_state(take_apart(self._parts) if self._gateway is not None else None, self._order)

    def _copy_durable(self, order: Order | None) -> State:
        """What is left if the process ends now."""
        with self._log.as_on_disk():
            return self._make_state(None, order or self._order)

    def _make_state(self, process: Contents | None, order: Order | None) -> State:
        memory = None if process is None else tuple(self._freeze_part(part) for part in process)
        nonces = 0 if process is None else self._nonces
        counts = (self._waits, self._serial, self._restarts, nonces, self._loss)
        kept = (self._log.key, self._ledger.key, self._failure)
        return State(
            compute_key((*counts, order and order.operationId), kept, memory),
            self._make_view(process),
            *counts,
            tuple(self._log.written),
            self._ledger.take_copy(),
            kept,
            order,
            process,
            process is not None and bool(self._find_ahead(find_sessions(process))),
        )

    def _freeze_part(self, part: dict[str, Any]) -> tuple[Any, ...]:
        """What memory knows of sessions is what the log says, unless it is ahead of it."""
        return tuple(
            (name, self._find_ahead(value) if name == "_sessions" else freeze(value)) for name, value in part.items()
        )

    def _find_ahead(self, sessions: dict[str, Session]) -> tuple[Any, ...]:
        heads = dict(self._log.key[0])
        return tuple((name, each.last_hash) for name, each in sessions.items() if each.last_hash != heads.get(name))

    def _make_view(self, process: Contents | None) -> View:
        gateway = None if process is None else self._gateway
        known = {} if process is None else find_sessions(process)
        transfers = tuple(self._make_transfer(proposal, known) for proposal in self._proposals)
        return View(gateway is not None, is_comparing(gateway), transfers, self._failure)

    def _make_transfer(self, proposal: Json, known: dict[str, Session]) -> Transfer:
        session_id, asset_id = proposal["sessionId"], proposal["transferInitClaim"]["digitalAssetId"]
        session = known.get(session_id)
        standing, done = self._read_log(session_id) if session is None else show_session(session)
        return Transfer(standing, done, *show_ledger(self._ledger, self.id, session_id, asset_id))

    def _read_log(self, session_id: str) -> tuple[str, frozenset[str]]:
        """Where a session stands as the log says; each log is read once."""
        entries = self._log.getLog(session_id)
        head = entries[-1].compute_hash() if entries else ""
        if head not in self._folds:
            self._folds[head] = show_session(read_session(session_id, self.id, entries))
        return self._folds[head]


def _make_ids(number: int) -> tuple[str, str, str] | None:
    """Asset, session and context of another transfer; None for the first, which is the example's own."""
    if not number:
        return None
    one, two, three = (str(uuid.UUID(int=number * 16 + part, version=4)) for part in range(3))
    return one, two, three


def is_comparing(gateway: Gateway | None) -> bool:
    """Whether it came back and has something left to compare; one that is down has not."""
    return gateway is not None and (bool(gateway.find_unheard()) or gateway.has_pending)


def find_sessions(process: Contents) -> dict[str, Session]:
    found: dict[str, Session] = next(part["_sessions"] for part in process if "_sessions" in part)
    return found


def show_ledger(
    ledger: Ledger, gateway_id: str, session_id: str, asset_id: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who can use the asset in a network, and what the network did in a session."""
    assets = [asset for asset in ledger.assets if asset.id.partition("/")[0] == asset_id]
    receipts = ledger.actions_of(gateway_id, session_id)
    actions = tuple(receipt.action for receipt in receipts if receipt.action != "record")
    return tuple(sorted(asset.owner for asset in assets if asset.state is AssetState.FREE)), actions


def show_session(session: Session | None) -> tuple[str, frozenset[str]]:
    """Where a session stands, and the steps that are done."""
    standing = "parked" if session is not None and session.parked else read_log(session).value
    return standing, frozenset(session.done) if session is not None else frozenset()


def is_in_order(logs: Iterable[Iterable[LogEntry]]) -> bool:
    """Whether along none of these logs an epoch is followed by an older one."""
    epochs = ([entry.epoch or 0 for entry in log] for log in logs)
    return all(each == sorted(each) for each in epochs)


def compute_key(counts: tuple[Any, ...], kept: tuple[Any, ...], memory: tuple[Any, ...] | None) -> bytes:
    """The name of a state, by its content."""
    return hashlib.blake2b(repr((counts, kept, memory)).encode(), digest_size=16).digest()


class RememberingKey(KeyPair):
    """A signature with RFC 6979 is the same whenever it is made: made once, it is kept."""

    def sign_canonical(self, payload: bytes, **header: str) -> str:
        known = (self.public.kid, payload, *sorted(header.items()))
        if known not in _SIGNED:
            _SIGNED[known] = super().sign_canonical(payload, **header)
        return _SIGNED[known]


_SIGNED: dict[tuple[Any, ...], str] = {}


def _ignore(event: object) -> None:
    """Nobody watches an exploration event by event."""
