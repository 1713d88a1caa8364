"""One side of a channel as a local unit of an exploration: the real `Channel`, one event at a time.

    state      what the store holds, the cids drawn so far, and what is in memory while the side is up
    event      update, deliver, time out; crash, restart, forget (the database is lost while the side is down)
    outcome    the state after it, what was sent, and what a crash after each write would have left

Store, signatures and rules are those of `channel_world`; nothing of it is a model. What a message carries is what HTTP
would: the request id, and a signed body; a request is told from a response by its first word.

A state is what the parts of a channel hold, taken out of them and put back before the next event. Which fields of a
part are its memory stands in `MEMORY`; a field that is in no list is a mistake, so none is left out silently.

Time stands still. Whatever is due is sent with the event that made it due, and then it waits; how often it has been
sent is not part of the state. A time-out ends all the pauses of a side at once.

`promised` is what an observer has noted, not the channel: versions to which this side was told, or told, that they are
agreed. It outlives crashes and lost databases, so that a property can ask what became of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from protocol.automata import Cut, Event, Outcome
from protocol.channel import Channel
from protocol.channel_recovery import Memories, Question, Rebuild, Recovery
from protocol.channel_store import Change, MemoryStore
from protocol.channel_world import ChannelWorld, Ids, lab_cid
from protocol.commands import Commands
from protocol.errors import Misuse, NotYet
from protocol.memories import copy_value
from protocol.objects import Json, canonical
from protocol.outbox import Outbox, Post
from protocol.parties import Keys
from protocol.signing import read_payload
from protocol.units import RememberingKey

MEMORY: Final[dict[type, frozenset[str]]] = {  # what is lost in a crash
    Channel: frozenset(("_changes",)),
    Commands: frozenset(("_held", "_sent_away", "_yields")),
    Outbox: frozenset(("_bodies", "_tries", "_next", "_clock", "_turn")),
    Recovery: frozenset(("_questions", "_rebuild", "_own", "_peers")),
    Keys: frozenset(),
}
FIXED: Final[dict[type, frozenset[str]]] = {  # what never changes here, or what nothing depends on
    Channel: frozenset(
        ("me", "peer", "store", "keys", "commands", "outbox", "log", "_key", "_ids", "_recovers", "recovery")
    ),
    Commands: frozenset(("_me", "_store", "is_server", "_sides")),
    Outbox: frozenset(),
    Recovery: frozenset(("_engine", "_me", "_key", "_keys", "_store", "_outbox", "_ids", "answers")),
    Keys: frozenset(("_store", "_parties", "ring", "_current", "_asked_before")),  # no key is replaced
}


class Agreed(NamedTuple):
    """A version, what it reads, and a digest of both signatures."""

    name: str
    reads: str | None
    signatures: str


class ChannelView(NamedTuple):
    """What can be said of one side from outside."""

    is_up: bool
    history: tuple[Agreed, ...]
    commands: tuple[tuple[str, str | None, str, bool], ...]  # own: cid, reads, what became of it, is it sent no more
    promised: frozenset[tuple[str, str | None]]  # versions of which somebody was told, and what they read
    memories: int  # one more than how often it knows to have lost its database
    is_busy: bool = False  # something of it is unanswered
    is_asking: bool = False  # it is still finding out what it knew
    is_disputed: bool = False
    is_accusing: bool = False  # it keeps what it takes for a proof that the peer has hidden something
    failure: str = ""  # the program itself broke down
    is_comparing: bool = False  # a word of transfers; a channel's questions are in its outbox


class Process(NamedTuple):
    """What a side has in memory."""

    held: dict[tuple[str, str | None], str]
    sent_away: dict[str, str]
    yields: dict[str, str]
    waiting: dict[str, str]  # what is unanswered: bodies by cid
    questions: dict[str, Question]
    rebuild: Rebuild | None
    own: Memories
    peers: Memories
    changes: dict[str, Json]  # read again when missing, so no part of a state's name

    @property
    def key(self) -> tuple[Any, ...]:
        asked = sorted((cid, *vars(each).values()) for cid, each in self.questions.items())
        rebuild = self.rebuild and (self.rebuild.health, sorted(self.rebuild.wanted), self.rebuild.shown)
        held, waiting = sorted(self.held.items(), key=str), sorted(self.waiting.items())
        order = sorted(self.sent_away.items()), sorted(self.yields.items())
        return held, order, waiting, asked, rebuild, self.own.names, self.peers.names


@dataclass(frozen=True, eq=False)
class ChannelState:
    """A side between two events. Two with the same `key` are the same in all that can ever matter."""

    key: bytes = field(repr=False)
    view: ChannelView
    drawn: int  # how many cids
    store: dict[str, Any] = field(repr=False)
    kept: str = field(repr=False)  # a name for what the store holds
    process: Process | None = field(default=None, repr=False)


class UnitStore(MemoryStore):
    """The store in memory; what is written is shown to whoever wants to know what a crash would leave."""

    def __init__(self, on_write: Callable[[], None]) -> None:
        super().__init__()
        self._on_write = on_write

    def write(self, changes: Sequence[Change]) -> None:
        super().write(changes)
        self._on_write()

    def load(self, contents: dict[str, Any]) -> None:
        vars(self).update(copy_value(contents))

    def copy(self) -> dict[str, Any]:
        return {name: copy_value(value) for name, value in vars(self).items() if name != "_on_write"}

    @property
    def key(self) -> str:
        """All that it holds. The order of what is pending is the order in which it is shown."""
        content = (  # tuples, because what these print is shorter than what they hold
            sorted((*name, *map(str, each)) for name, each in self._records.items()),
            sorted((name, each.head, canonical(each.payment), each.closed_at) for name, each in self._objects.items()),
            sorted(
                (name, [tuple(vars(version).values()) for version in each]) for name, each in self._histories.items()
            ),
            *(list(each) for each in (self._pending, self._unexplained, self._open, self._closed)),
            [tuple(dispute) for dispute in self.list_disputes()],
            sorted((name, canonical(value)) for name, value in self._notes.items()),
        )
        return hashlib.blake2b(repr(content).encode(), digest_size=16).hexdigest()


class ChannelUnit:
    """Computes events of one side. It is always in one state; `run` puts it into another one first."""

    def __init__(
        self, world: ChannelWorld, name: str, reference_id: str, updates: Sequence[Json], *, forgets: bool = True
    ) -> None:
        """It begins where this side of `world` stands. `updates` are what it may write into its half of the payment."""
        place = world.places[name]
        self.name, self._reference_id, self._updates, self._forgets = name, reference_id, list(updates), forgets
        self._vasp, self._peer = place.vasp, next(each.vasp for each in world.places.values() if each is not place)
        self._role, self._now = world.role(name, reference_id), world.now
        self._key = RememberingKey.lab_ed25519(name, world.seed)
        self._ids = Ids(world.seed, name, place.ids.drawn)
        self._store = UnitStore(self._on_write)
        self._cuts: list[Cut] = []
        self._promised: frozenset[tuple[str, str | None]] = frozenset()
        self._failure = ""
        self._store.load(vars(place.disk.store))
        self._tell(self._list_versions())
        self._is_up = True
        self._channel = self._make_channel()
        list(self._channel.take_due(self._now))
        self.initial = self._copy()

    # ------------------------------------------------------------------ events

    def run(self, state: ChannelState, event: Event) -> Outcome | None:
        """What this event does in this state; None if it cannot happen there, or changes nothing and says nothing."""
        kind, about = event
        if (state.process is None) is not (kind in ("restart", "forget")):
            return None
        if kind == "crash":
            view = replace_down(state.view)
            return Outcome(replace(state, key=_name(state.drawn, view, state.kept, None), view=view, process=None))
        if kind == "forget" and not self._forgets:
            return None
        self._load(state)
        sent: list[bytes] = []
        try:
            sent += self._happen(kind, about)
        except Exception as broken:  # a program that breaks down is gone like one that crashes
            if kind == "update" and isinstance(broken, Misuse | NotYet) and not self._cuts:
                return None
            self._failure, self._is_up = f"{type(broken).__name__}: {broken}", False
        if self._is_up:
            sent += [write_message(post, is_request=True) for post in self._channel.take_due(self._now)]
        after = self._copy()
        if after.key == state.key and not sent:
            return None
        return Outcome(after, tuple(dict.fromkeys(sent)), tuple(self._cuts))

    def _happen(self, kind: str, about: Any) -> list[bytes]:
        match kind:
            case "update":
                change = {self._role: self._updates[about]}
                self._channel.update(self._reference_id, change, self._now, own_cid(self.name, about))
            case "deliver":
                return self._receive(about)
            case "time out":
                self._channel.outbox.hurry(self._now)
            case "restart":
                self._channel = self._make_channel()
                self._is_up = True
            case "forget":
                self._store.load(vars(MemoryStore()))
            case _:
                raise Misuse(f"a side of a channel knows no event {kind!r}")
        return []

    def _receive(self, data: bytes) -> list[bytes]:
        post, is_request = read_message(data)
        if not is_request:
            self._channel.on_response(post, self._now)
            self._tell(self._list_versions())
            return []
        reply = self._channel.on_request(post, self._now)
        request = read_payload(post.body)
        is_command = request["command_type"] == "PaymentCommand"
        self._tell(each for each in self._list_versions() if not is_command or each[0] == request["cid"])
        return [write_message(reply, is_request=False)]

    def _list_versions(self) -> list[tuple[str, str | None]]:
        return [(version.name, version.reads) for version in self._store.read_history(self._reference_id)]

    def _tell(self, versions: Any) -> None:
        self._promised |= frozenset(versions)

    def _make_channel(self) -> Channel:
        """A new process from what survives."""
        channel = Channel(self._vasp, self._key, self._peer, self._store, self._ids)
        for part in (channel, channel.commands, channel.outbox, channel.recovery, channel.keys):
            known = MEMORY[type(part)] | FIXED[type(part)]
            assert vars(part).keys() == known, f"not known of a {type(part).__name__}: {vars(part).keys() ^ known}"
        return channel

    # ------------------------------------------------------------------ states

    def _on_write(self) -> None:
        self._cuts.append(Cut(len(self._cuts) + 1, True, self._make_state(None)))

    def _load(self, state: ChannelState) -> None:
        self._cuts, self._failure, self._promised = [], "", state.view.promised
        self._ids.drawn = state.drawn
        self._store.load(state.store)
        self._is_up = state.process is not None
        if state.process is not None:
            self._put_back(state.process)

    def _put_back(self, process: Process) -> None:
        channel, recovery = self._channel, self._channel.recovery
        channel._changes, channel.commands._held = dict(process.changes), dict(process.held)
        channel.commands._sent_away, channel.commands._yields = dict(process.sent_away), dict(process.yields)
        recovery._questions, recovery._rebuild = dict(process.questions), _copy_rebuild(process.rebuild)
        recovery._own, recovery._peers = process.own, process.peers
        recovery.answers.clear()
        vars(channel.outbox).update(vars(Outbox()))
        for cid, body in process.waiting.items():
            channel.outbox.put(cid, body, self._now)
        list(channel.take_due(self._now))  # sent before; now it waits

    def _take_apart(self) -> Process:
        channel, recovery = self._channel, self._channel.recovery
        return Process(
            dict(channel.commands._held),
            dict(channel.commands._sent_away),
            dict(channel.commands._yields),
            dict(channel.outbox._bodies),
            dict(recovery._questions),
            _copy_rebuild(recovery._rebuild),
            recovery._own,
            recovery._peers,
            dict(channel._changes),
        )

    def _copy(self) -> ChannelState:
        return self._make_state(self._take_apart() if self._is_up else None)

    def _make_state(self, process: Process | None) -> ChannelState:
        view, kept = self._make_view(process), self._store.key
        return ChannelState(
            _name(self._ids.drawn, view, kept, process), view, self._ids.drawn, self._store.copy(), kept, process
        )

    def _make_view(self, process: Process | None) -> ChannelView:
        store = self._store
        own = sorted(record for (author, _), record in store._records.items() if author == self.name)
        memories = store.find_note("memories") or {"names": []}
        return ChannelView(
            process is not None,
            tuple(
                Agreed(each.name, each.reads, hashlib.sha256(f"{each.signed}{each.answer}".encode()).hexdigest()[:8])
                for each in store.read_history(self._reference_id)
            ),
            tuple((record.cid, record.reads, record.state, record.reason is not None) for record in own),
            self._promised,
            len(memories["names"]),
            process is not None and bool(process.waiting),
            process is not None and process.rebuild is not None,
            bool(store.list_disputes()),
            store.find_note("contradiction") is not None,
            self._failure,
        )


def replace_down(view: ChannelView) -> ChannelView:
    """The same side, crashed."""
    return view._replace(is_up=False, is_busy=False, is_asking=False, failure="")


def own_cid(name: str, number: int) -> str:
    """The cid of a side's first update, or of its next."""
    return lab_cid(name.lower() * 4 + (str(number + 1) if number else ""))


def write_message(post: Post, *, is_request: bool) -> bytes:
    """What goes over the link."""
    body = post.body if isinstance(post.body, str) else post.body.decode()
    return f"{'POST' if is_request else '200'} {post.x_request_id}\n{body}".encode()


def read_message(data: bytes) -> tuple[Post, bool]:
    """What has come over the link, and whether it is a request."""
    head, body = data.decode().split("\n", 1)
    kind, request_id = head.split(" ")
    return Post(request_id, body), kind == "POST"


def _copy_rebuild(rebuild: Rebuild | None) -> Rebuild | None:
    return rebuild and Rebuild(rebuild.health, set(rebuild.wanted), list(rebuild.shown))


def _name(drawn: int, view: ChannelView, kept: str, process: Process | None) -> bytes:
    content = (drawn, sorted(view.promised, key=str), view.failure, kept, process and process.key)
    return hashlib.blake2b(repr(content).encode(), digest_size=16).digest()
