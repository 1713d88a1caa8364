"""Two VASPs with a channel between them, on a network that loses and doubles what it carries.

The world stands where HTTP, the disk and the clock would stand, and a party cannot tell. A crash throws the
party away in the middle of whatever it does; a restart makes a new one from the same store. Time passes
only when nothing else happens. Everything follows from the seed: keys, addresses, cids.

    world = ChannelWorld()
    payment = world.create("C", "abcd")
    world.crash("D", after=1)
    world.run()
    world.restart("D")
    world.run()
    world.copies

`lab_cid` turns a word into a cid that begins with it, so that a story can call its versions by name.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from protocol.channel import Channel, Outcome
from protocol.channel_store import Change, ChannelStore, MemoryStore
from protocol.errors import Misuse
from protocol.messages.offchain import Address, request_object
from protocol.objects import History, Json
from protocol.outbox import Post, to_request_id
from protocol.parties import Vasp, is_protocol_server
from protocol.signing import KeyPair, read_payload, state_key
from protocol.trace import Crashed, Delivered, Event, Lost, Restarted, Trace

START = datetime(2024, 10, 3, 12, 2, 0, tzinfo=UTC)
MOST_MESSAGES = 5_000  # in one run; more than that is a story that goes in circles
PATIENCE_S = 600.0  # how long a run goes on when something is never answered


class PowerCut(Exception):
    """The party is gone; nothing after this line of it runs."""


class Breakable:
    """A store that outlives its party, and can cut the power before or after one of its writes."""

    def __init__(self, store: ChannelStore) -> None:
        self.store, self.writes, self.cut_at, self.is_before = store, 0, 0, False

    def write(self, changes: Sequence[Change]) -> None:
        self.writes += 1
        is_cut = self.writes == self.cut_at
        if not (is_cut and self.is_before):
            self.store.write(changes)
        if is_cut:
            raise PowerCut

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        setattr(self, name, found)  # not looked for again: a party reads its store all the time
        return found


@dataclass
class Ids:
    """The cids that one party draws, one after the other; a crash does not begin them anew."""

    seed: str
    name: str
    drawn: int = 0

    def __call__(self) -> str:
        self.drawn += 1
        return hashlib.sha256(f"{self.seed}|{self.name}|{self.drawn - 1}".encode()).hexdigest()[:32]


@dataclass
class Place:
    """One party's place: what survives a crash, and what does not (`channel`)."""

    vasp: Vasp
    owner: KeyPair
    key: KeyPair
    disk: Breakable
    ids: Ids
    statements: list[tuple[str, str]] = field(default_factory=list)
    channel: Channel | None = None


@dataclass(frozen=True)
class InFlight:
    """A request on its way, or a response on its way back."""

    source: str
    target: str
    post: Post
    is_request: bool
    name: str


def lab_cid(word: str) -> str:
    """A cid that begins with this word; the word is hexadecimal, like abcd."""
    if not word or set(word) - set("0123456789abcdef"):
        raise Misuse("a cid is hexadecimal: letters a to f and digits")
    return word.ljust(32, "0")


class ChannelWorld:
    """Everything that is simulated, in one place. Same seed, same bytes."""

    def __init__(
        self,
        seed: str = "lip-1",
        names: tuple[str, str] = ("C", "D"),
        server: str | None = None,
        recovers: bool = True,
        make_store: Callable[[], ChannelStore] = MemoryStore,
    ) -> None:
        self.seed, self.names, self._recovers, self._make_store = seed, names, recovers, make_store
        self.now = START.timestamp()
        self.link: list[InFlight] = []
        self.trace = Trace(names, names)
        self._seen: set[tuple[str, str | bytes]] = set()
        addresses = self._make_addresses(server or names[0])
        self.places = {name: self._make_place(name, addresses[name]) for name in names}
        for name in names:
            self._start(name)
        self.run()
        self.trace.events.clear()

    def __getitem__(self, name: str) -> Channel:
        channel = self.places[name].channel
        if channel is None:
            raise Misuse(f"{name} is down: restart it")
        return channel

    # What the parties do

    def create(self, name: str, word: str = "", amount: int = 1000, **fields: Any) -> str:
        """`name` sends a new payment to the other. Returns its reference id; `word` names its first version."""
        me, peer = self.places[name].vasp, self.places[self._other(name)].vasp
        cid = lab_cid(word) if word else self.places[name].ids()
        payment = {
            "reference_id": f"{me.address}_{cid[:8]}",
            "sender": {
                "address": str(me.address.with_subaddress(b"customer")),
                "status": {"status": "needs_kyc_data"},
                "metadata": [],
            },
            "receiver": {"address": str(peer.address.with_subaddress(b"merchant"))},
            "action": {"amount": amount, "currency": "LBR", "action": "charge", "timestamp": int(self.now)},
            **fields,
        }
        self.act(name, lambda channel: channel.create(payment, self.now, cid))
        return str(payment["reference_id"])

    def update(self, name: str, reference_id: str, word: str = "", retry: bool = True, **fields: Any) -> str:
        """`name` changes its own half of a payment; `fields` are those of its PaymentActorObject. Returns the cid."""
        cid = lab_cid(word) if word else self.places[name].ids()
        change = {self.role(name, reference_id): fields} if fields else {}
        self.act(name, lambda channel: channel.update(reference_id, change, self.now, cid, retry))
        return cid

    def ask(self, name: str, reference_id: str, reads: str | None, writes: str, **payment: Any) -> Json:
        """A command that its own side would not send, written by hand and signed. Returns the verified answer."""
        cid, place = lab_cid(writes), self.places[name]
        mapping = {} if reads is None else {reference_id: lab_cid(reads)}
        command = {
            "_ObjectType": "PaymentCommand",
            "_reads": mapping,
            "_writes": {reference_id: cid},
            "payment": {"reference_id": reference_id, **payment},
        }
        body = place.key.sign(request_object(command, cid), memory=self[name].recovery.memory)
        reply = self[self._other(name)].on_request(Post(to_request_id(cid), body), self.now)
        return self[name].keys.verify(reply.body).payload

    def role(self, name: str, reference_id: str) -> str:
        """Which half of a payment is this party's."""
        return "sender" if reference_id.startswith(f"{self.places[name].vasp.address}_") else "receiver"

    def outcome(self, name: str, word: str) -> Outcome:
        """What became of the command that a party sent under this word, or cid."""
        return self[name].compute_outcome(word if len(word) == 32 else lab_cid(word))

    # What happens to them

    def crash(self, name: str, after: int = 0, before: int = 0) -> None:
        """Now; or when its n-th durable act from now is done, or about to be done."""
        disk = self.places[name].disk
        if after or before:
            disk.cut_at, disk.is_before = disk.writes + (after or before), bool(before)
        else:
            self._take_down(name, "")

    def restart(self, name: str) -> None:
        if self.places[name].channel is not None:
            self._take_down(name, "and comes back at once")
        self.trace.add(Restarted(self.at, name))
        self._start(name)

    def lose_database(self, name: str) -> None:
        """The party is down and its store is empty; its configuration and its keys are still there."""
        self._take_down(name, "and its database is lost")
        self.places[name].disk = Breakable(self._make_store())

    def copy_database(self, name: str) -> ChannelStore:
        return copy.deepcopy(self.places[name].disk.store)

    def put_back(self, name: str, store: ChannelStore) -> None:
        """The party is down, and a copy of its database from an earlier time takes the place of the newest."""
        self._take_down(name, "and gets back an old database")
        self.places[name].disk = Breakable(copy.deepcopy(store))

    def replace_key(self, name: str) -> None:
        """The key of a party is lost: its owner states a new one, to both sides."""
        place = self.places[name]
        serial = len(place.statements) + 1
        place.key = KeyPair.lab_ed25519(f"{name} {serial}", self.seed)
        place.statements.append((name, state_key(place.owner, name, place.key.public, serial)))
        for other in self.places.values():
            if other is not place and other.channel is not None:
                self._tell_keys(other)
        self.restart(name)

    # The network

    def run(self, for_s: float = PATIENCE_S) -> None:
        """Deliver until everything is answered, or until this much time has passed."""
        until, most = self.now + for_s, len(self.trace) + MOST_MESSAGES
        while len(self.trace) < most:
            self.collect()
            if self.link:
                self.deliver(0)
                continue
            times = [
                at
                for place in self.places.values()
                if place.channel is not None and (at := place.channel.outbox.compute_next()) is not None
            ]
            if not times or max(min(times), self.now) > until:
                return
            self.now = max(min(times), self.now)
        raise Misuse(f"this run does not come to rest\n{self.since(most - 40)}")

    def collect(self) -> None:
        """Put on the link what the parties have to send now."""
        for name, place in self.places.items():
            if place.channel is not None:
                for post in place.channel.take_due(self.now):
                    self.link.append(InFlight(name, self._other(name), post, True, describe(post)))

    def deliver(self, number: int, keep: bool = False) -> None:
        """One message of the link arrives, or is lost; `keep` leaves a second copy of it under way."""
        message = self.link[number] if keep else self.link.pop(number)
        if self.places[message.target].channel is None:
            self.drop(message)
            return
        key = message.target, message.post.body
        self.trace.add(Delivered(self.at, message.source, message.target, "", message.name, key in self._seen))
        self._seen.add(key)
        self.act(message.target, lambda channel: self._receive(channel, message))

    def drop(self, message: InFlight) -> None:
        self.trace.add(Lost(self.at, message.source, message.target, "", message.name))

    def _receive(self, channel: Channel, message: InFlight) -> None:
        if message.is_request:
            reply = channel.on_request(message.post, self.now)
            self.link.append(InFlight(message.target, message.source, reply, False, describe(reply)))
        else:
            channel.on_response(message.post, self.now)

    def act(self, name: str, action: Callable[[Channel], Any]) -> None:
        """Let a party do something; it may be cut off in the middle."""
        try:
            action(self[name])
        except PowerCut:
            disk = self.places[name].disk
            self._take_down(name, f"{'before' if disk.is_before else 'after'} a durable act")

    # What can be seen

    @property
    def at(self) -> str:
        return (START + timedelta(seconds=self.now - START.timestamp())).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def copies(self) -> Copies:
        """Both sides' copies of every open object."""
        stores = {name: place.disk for name, place in self.places.items()}
        names = sorted({name for store in stores.values() for name in [*store.list_open(), *store.list_closed()]})
        return Copies({ref: {name: store.read_history(ref) for name, store in stores.items()} for ref in names})

    def since(self, place: int) -> Trace:
        """The events from number `place` on, for a figure of their own."""
        return Trace(self.names, self.names, self.trace.events[place:])

    # Inside

    def _other(self, name: str) -> str:
        return next(other for other in self.names if other != name)

    def _make_addresses(self, server: str) -> dict[str, Address]:
        """Addresses from the seed; one bit is turned if the roles would be the other way round."""
        mine, theirs = (hashlib.sha256(f"{self.seed}|{name}".encode()).digest()[:16] for name in self.names)
        first, second = Address("lbr", mine), Address("lbr", theirs)
        if is_protocol_server(first, second) != (server == self.names[0]):
            first = Address("lbr", mine[:15] + bytes([mine[15] ^ 1]))
        return dict(zip(self.names, (first, second), strict=True))

    def _make_place(self, name: str, address: Address) -> Place:
        key, owner = KeyPair.lab_ed25519(name, self.seed), KeyPair.lab_ed25519(f"owner of {name}", self.seed)
        vasp = Vasp(name, address, owner.public, key.public)
        return Place(vasp, owner, key, Breakable(self._make_store()), Ids(self.seed, name))

    def _start(self, name: str) -> None:
        place, peer = self.places[name], self.places[self._other(name)].vasp
        place.channel = Channel(place.vasp, place.key, peer, place.disk, place.ids, self._recovers)
        self._tell_keys(place)

    def _tell_keys(self, place: Place) -> None:
        for of in self.places.values():
            for name, statement in of.statements:
                if place.channel is not None:
                    self.act(place.vasp.name, partial(Channel.replace_key, name=name, statement=statement))

    def _take_down(self, name: str, where: str) -> None:
        place = self.places[name]
        place.disk.cut_at = 0
        if place.channel is not None:
            place.channel = None
            self.trace.add(Crashed(self.at, name, where))


@dataclass(frozen=True)
class Copies:
    """The chain of versions of each object, as each side has it."""

    histories: dict[str, dict[str, History]]

    def agree(self) -> bool:
        """Whether both sides hold the same versions, with the same signatures, byte by byte."""
        return all(list(first) == list(second) for first, second in (each.values() for each in self.histories.values()))

    def __repr__(self) -> str:
        rows = []
        for reference_id, copies in self.histories.items():
            rows.append(f"object {reference_id[-8:]}")
            rows += [f"  {name}: {_chain(history)}" for name, history in copies.items()]
        return "\n".join(rows) or "no object yet"


def _chain(history: History) -> str:
    return " <- ".join(version.name[:4] for version in history) or "nothing"


def describe(post: Post) -> str:
    """A message in a few words, for a figure."""
    payload = read_payload(post.body)
    if payload["_ObjectType"] == "CommandResponseObject":
        return _describe_response(payload)
    command = payload["command"]
    match payload["command_type"]:
        case "PaymentCommand":
            reads = "".join(cid[:4] for cid in command["_reads"].values())
            return f"{reads} -> {payload['cid'][:4]}" if reads else f"create {payload['cid'][:4]}"
        case "GetPaymentHistoryByRef":
            return f"history since {command['since'][:4]}?" if "since" in command else "history?"
        case "ChannelHealthCheck":
            return "health? I lost my state" if command["state_lost"] else "health?"
        case "HistoryOffer":
            number = len(command["history"])
            return f"offers {number} version{'s' * (number != 1)}"
    return {"GetPaymentByRef": "payment?"}.get(payload["command_type"], str(payload["command_type"]))


def _describe_response(payload: Json) -> str:
    if payload["status"] == "failure":
        return ", ".join(error["code"] for error in payload["error"])
    result = payload.get("result")
    if result is None:
        return f"success {payload['cid'][:4]}"
    if result["_ObjectType"] == "ChannelHealth":
        if not result["known"]:
            return "no channel known"
        pending = f", {len(result['pending'])} pending" if result.get("pending") else ""
        return f"{len(result['open'])} open{pending}"
    number = len(result["history"])
    return f"{number} version{'s' * (number != 1)}"


__all__ = ["ChannelWorld", "Copies", "Event", "lab_cid"]
