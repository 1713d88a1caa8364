"""World: two gateways, two networks, the link between them, a clock, and faults.

The simulated part, at the same seams as the real thing: a gateway's log is a real file, its messages are
real bytes, and its network stands where the client of a real one would stand. The World carries messages,
lets time pass, writes what it sees into a Trace, and crashes gateways.

A crash throws the gateway object away with everything it had in memory; its file and its ledger stay, and
`restart` makes a new gateway from them. What was on its way is lost with the connection. `forget`, `put_back` and
`lose_key` take more from a gateway that is down, `cut` takes the connection from two that are up.

`pause` makes a gateway stand still, `wake` lets it go on as if nothing had happened. What is sent to it meanwhile
waits. `land` lets an order arrive that a stopped gateway had on its way to its ledger; `cut_store` takes the log store
away for a while. Nothing in a gateway holds the World itself, so a World with a paused gateway goes like any other.

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
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from protocol.certificates import Validity
from protocol.errors import Misuse
from protocol.example import CLAIM, make_proposal
from protocol.faults import CrashPoint, Store
from protocol.gateway import Gateway
from protocol.ledger import Ledger, Receipt
from protocol.link import Side, find_label
from protocol.log import LogEntry
from protocol.losses import copy_log, lose_log, lose_tail, put_log_back
from protocol.objects import History
from protocol.processes import START, Processes
from protocol.session import Session
from protocol.signing import KeyPair
from protocol.steps import Role, find_row
from protocol.stores import SQLiteLog
from protocol.tls import Endpoint
from protocol.trace import Crashed, Forgotten, Healed, Logged, Partitioned, Paused, Restarted, TimedOut, Woken

__all__ = ["START", "World"]

STORE = "its log store"
TIME_OUT_S = 5
PATIENCE = 8  # time-outs in a row that change nothing, after which a run ends where it is


class World(Processes):
    """Everything that is simulated, in one place. Same seed, same bytes. Without `tls` there is no handshake."""

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
        side = self._awake_side(by)
        is_another = asset is not None or bool(self.sessions) or side.role is Role.RECIPIENT
        ids = (asset or CLAIM["digitalAssetId"], self.make_id(), self.make_id()) if is_another else None
        proposal = make_proposal(self.find_key, ids, lock_type, is_mirrored=side.role is Role.RECIPIENT)
        claim = proposal["transferInitClaim"]
        if not any(known.id == claim["digitalAssetId"] for known in side.ledger.assets):
            side.ledger.issue(claim["digitalAssetId"], claim["verifiedOriginatorEntityId"])
        self.sessions.append(proposal["sessionId"])
        self._live(side, lambda gateway: [gateway.start(proposal)], is_asked=True)
        return str(proposal["sessionId"])

    def find_key(self, name: str) -> KeyPair:
        """The present key of a party: a gateway's may have been replaced."""
        keys = {side.id: side.identity.key for side in self._sides.values()}
        return keys.get(name) or self.key(name)

    def wait(self, seconds: int) -> None:
        """Let time pass. Nothing is delivered meanwhile; what is due (a lock's expiry) is due afterwards."""
        self._let_time_pass(seconds)

    def run(self, until: str | None = None, of: str | None = None) -> None:
        """Carry messages until step `until` is done at its actor, or a gateway crashes or pauses, or all is at rest.

        `of` names the session that `until` is about; without it any will do.
        While nothing can be delivered, time passes and gateways send their last message again; when that has changed
        nothing for long, or somebody is down or stands still, the run ends where it is.
        """
        stops, patience = len(self.trace.of(Crashed, Paused)), self._compute_patience()
        while patience and not (until and self._is_done(until, of)) and len(self.trace.of(Crashed, Paused)) == stops:
            entries = len(self.trace.of(Logged))
            if self.carrier.find_next() is not None:
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
        else:
            side.wire.armed = self._find_act(side, at, before, after)

    def pause(self, who: str, at: str | None = None, *, before: int | None = None, after: int | None = None) -> None:
        """The same words as for `crash`: the gateway stands still there, with all that it has in memory, until `wake`.

        Before an action, its order may be on its way to the ledger already: `land` lets it arrive.
        """
        side = self._side(who)
        if before is None and after is None and at is None:
            self._verify_awake(side)
            side.wire.pause()
            self.trace.add(Paused(self.now, side.name, ""))
        else:
            side.wire.armed = replace(self._find_act(side, at, before, after), is_pause=True)

    def wake(self, who: str) -> None:
        """A paused gateway goes on where it stands. It cannot know how long it stood there."""
        side = self._side(who)
        if not side.is_paused:
            raise Misuse(f"{side.name} is not paused")
        self.trace.add(Woken(self.now, side.name))
        self._serve(side, lambda: side.wire.wake() or [])

    def land(self, who: str) -> Receipt | None:
        """The order that a stopped gateway had on its way arrives at the ledger; None if it is refused there."""
        return self._watch(self._side(who)).land()

    def cut_store(self, who: str) -> None:
        """A gateway cannot reach its log store any more. It says nothing that would have to be logged."""
        side = self._side(who)
        side.wire.is_cut_off = True
        self.trace.add(Partitioned(self.now, side.name, STORE))

    def heal_store(self, who: str) -> None:
        """The gateway reaches its log store again. It knows what is in there, and goes on from it."""
        side = self._side(who)
        side.wire.is_cut_off = False
        self.trace.add(Healed(self.now, side.name, STORE))

    def deliver_next(self) -> None:
        """Carry one message: the first on the link that does not wait for a gateway that stands still."""
        message = self.carrier.find_next()
        if message is None:
            raise Misuse("nothing on the link can be delivered")
        self.link.remove(message)
        self._deliver(message)

    def restart(self, who: str, start: str = "last-message") -> None:
        """A new gateway from the same file and the same ledger. The old connection, and what was on it, is gone.

        It tells its peer what is known to be lost. Open sessions go on from the "last-message", or from the first one
        of the "stage".
        """
        side = self._down_side(who)
        if side.wire.is_cut_off:
            raise Misuse(f"{side.name} cannot come up without its log store; heal_store it first")
        if start not in ("last-message", "stage"):
            raise Misuse(f"a restart is from the last-message or from the stage, not from {start}")
        if self.rules.fresh_connection_after_restart:
            self._hang_up(side)
        self.trace.add(Restarted(self.now, side.name))
        self._make_gateway(side)
        loss, side.loss = side.loss, "process"
        self._come_up(side, lambda gateway: gateway.restart(loss, start))

    def forget(self, who: str, entries: int | None = None) -> None:
        """A gateway that is down loses the last `entries` of its log, or all of it."""
        side = self._down_side(who)
        path = self._find_file(side)
        if entries is None:
            lose_log(path)
            side.loss, what = "storage", "its log"
        else:
            lost = lose_tail(path, entries)
            side.loss = "storage" if side.loss == "storage" else "storage-tail"
            what = f"the last {'entry' if lost == 1 else f'{lost} entries'} of its log"
        self.trace.add(Forgotten(self.now, side.name, what))

    def keep_copy(self, who: str) -> bytes:
        """A backup of a gateway's log as it is now."""
        return copy_log(self._find_file(self._side(who)))

    def put_back(self, who: str, copy: bytes) -> None:
        """A gateway that is down gets an old copy of its log, from `keep_copy`, in place of the present one."""
        side = self._down_side(who)
        put_log_back(self._find_file(side), copy)
        side.loss = "storage-tail"
        self.trace.add(Forgotten(self.now, side.name, "its log to an old copy"))

    def lose_key(self, who: str) -> None:
        """A gateway that is down loses its signing key. Its owner certifies a new one, with the next serial number."""
        side = self._down_side(who)
        serial = self.registry.find(side).serial + 1
        side.replace_key(self.key(f"{side.id} key {serial}"))
        side.successor = self.registry.certify(side.id, side.identity.key.public, serial=serial)
        self.trace.add(Forgotten(self.now, side.name, "its key"))

    def cut(self, by: str | None = None) -> None:
        """The connection is lost with everything on it; both gateways are up. `by` is the one that notices, if any."""
        notices = None if by is None else self._awake_side(by)
        for side in self._sides.values():
            self._hang_up(side)
        if notices is not None:
            self.trace.add(Forgotten(self.now, notices.name, "the connection"))
            self._come_up(notices, lambda gateway: gateway.restart("connection"))

    def revoke(self, who: str) -> None:
        """The owner takes a certificate back and tells the peer's operator. What still comes is refused by the peer."""
        side = self._side(who)
        self.registry.revoke(self.registry.find(side), [each.ring for each in self._sides.values()])
        self.trace.add(Forgotten(self.now, side.name, "its certificate: revoked"))

    def renew(self, who: str) -> None:
        """The owner of a gateway that is up certifies its key anew, with the next serial number.

        Its process goes on with the new certificate and a connection of its own, on which the peer sees it.
        """
        side = self._awake_side(who)
        key, serial = self._gateway(side.role).identity.key.public, self.registry.find(side).serial + 1
        side.successor = self.registry.publish(side.id, key, serial=serial)
        self._remake(side)
        self.cut(by=who)

    def abort(self, who: str, reason: str, session_id: str | None = None) -> None:
        """The application behind a gateway ends a session: the first one unless another is named."""
        side, name = self._awake_side(who), session_id or self.sessions[0]
        self._live(side, lambda gateway: gateway.abort(name, reason), is_asked=True)

    def admit(self, name: str, **validity: Unpack[Validity]) -> None:
        """Both gateways take a certificate of `name`: another gateway, of which nothing but its key exists here.

        Or a new one of a gateway they know; `validity` as in `OwnerCA.certify`.
        """
        self.registry.publish(name, self.key(name).public, 1, **validity)
        for side in self._sides.values():
            self._remake(side)

    def lose(self, step: str) -> None:
        """Lose the next message of this step, or the next recovery message of this name: "transfer-resume"."""
        self.carrier.to_lose.append(find_label(step))

    def repeat(self, step: str) -> None:
        """Deliver the next message of this step, or the next recovery message of this name, twice."""
        self.carrier.to_repeat.append(find_label(step))

    # ------------------------------------------------------------------ asking it

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

    def is_waiting(self, who: str) -> bool:
        """Whether a gateway is at work and has something open: it would send its last message again."""
        side = self._side(who)
        return side.is_awake and self._is_waiting(side)

    @property
    def is_at_rest(self) -> bool:
        """Nothing to deliver, both gateways at work, and every session complete or parked wherever it is known.

        What waits for a process that stands still, and whose place another one has taken, may wait for ever.
        """
        if (
            self.carrier.find_next() is not None
            or not self._are_at_work
            or any(self._is_comparing(side) for side in self._sides.values())
        ):
            return False
        return all(session.is_at_rest for side in self._sides.values() for session in self._known(side))

    def log(self, who: str, session_id: str | None = None) -> list[LogEntry]:
        """The entries in a gateway's file, also while it is down; of the first session unless another is named."""
        with closing(self._read_store(self._side(who))) as store:
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
        goes_both_ways = side.gateway is not None and len({each.role for each in self._known(side)}) > 1
        if row.is_action:
            return 3 if row.actor == side.role or goes_both_ways else 0
        return 1

    # ------------------------------------------------------------------ inside

    def _find_act(self, side: Side, at: str | None, before: int | None, after: int | None) -> CrashPoint:
        """The durable act that is meant; Misuse if there is none."""
        number = after if before is None else before
        if number is None or (before is not None and after is not None):
            raise Misuse("name one durable act, before=1 or after=1, counted from 1")
        if at is not None and not 1 <= number <= self.count_acts(side.name, at):
            allowed = self.count_acts(side.name, at)
            words = f"they are 1 to {allowed}" if allowed else "it is the other gateway's"
            raise Misuse(f"{side.name} has no durable act {number} in step {at} {find_row(at).name}: {words}")
        if number < 1:
            raise Misuse("durable acts are counted from 1")
        return CrashPoint(number, after is not None, at)

    def _read_store(self, side: Side) -> Store:
        """A gateway's log store, to be looked into by whoever runs the World."""
        return SQLiteLog(side.path)

    def _find_file(self, side: Side) -> Path:
        """Where a gateway's log is, for what can happen to a disk."""
        return side.path

    def _known(self, side: Side) -> list[Session]:
        """The sessions of this World that a gateway knows and can read."""
        gateway = side.gateway
        if gateway is None or side.wire.is_cut_off:
            return []
        readable = (name for name in self.sessions if name not in gateway.damaged)
        return [found for found in map(gateway.find_session, readable) if found is not None]

    def _is_done(self, until: str, of: str | None) -> bool:
        row = find_row(until)
        sessions = (each for side in self._sides.values() for each in self._known(side) if of in (None, each.id))
        return any(each.role is row.actor and row.number in each.done for each in sessions)

    @property
    def _are_at_work(self) -> bool:
        return all(side.is_awake and not side.wire.is_cut_off for side in self._sides.values())

    def _compute_patience(self) -> int:
        return PATIENCE if self._are_at_work else 1

    def _time_out(self) -> None:
        self._let_time_pass(TIME_OUT_S)
        for side in self._nodes:
            if side.is_awake and self._is_waiting(side):
                self.trace.add(TimedOut(self.now, side.name))
                self._live(side, lambda gateway: gateway.on_time_out())

    def _is_comparing(self, side: Side) -> bool:
        """Whether a gateway that came back still has something to compare with the other one."""
        peer, gateway = self._sides[side.role.other], side.gateway
        return gateway is not None and (peer.id in gateway.find_unheard() or gateway.has_pending)

    def _is_waiting(self, side: Side) -> bool:
        if side.wire.is_cut_off:
            return bool(self.sessions)
        return self._is_comparing(side) or any(not session.is_at_rest for session in self._known(side))

    def __repr__(self) -> str:
        gateways = (repr(side.gateway or f"gateway {side.name} is down").strip("'") for side in self._sides.values())
        return "\n".join([*gateways, repr(self.origin), repr(self.destination)])
