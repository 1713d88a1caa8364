"""A behaviour of a channel as a short text, played in a ChannelWorld: the parties, cids and bytes of an exploration.

Both sides know a payment with one version, 1111. Each may write a version after it once: aaaa and bbbb.

    A.update                   the side writes; its command goes on its way
    A.aaaa  B.aaaa-ok          it arrives; so does the answer to it: ok, or the code of the first error
    A.4c0e-health?  B.4c0e-health    a question, and what it brings: health, history
    -A.aaaa  +A.aaaa           it is lost; it arrives and a copy stays on its way
    A.aaaa:a1                  its receiver crashes after its first write
    A.crash  A.restart  A.restart:a1  A.forget  A.time-out

"A aborts; " before all this: what A writes ends the payment. Otherwise each side says that it is ready.

    replay_channel("A.update B.update A.aaaa B.aaaa-ok B.bbbb A.bbbb-used_dependencies").trace
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from protocol.channel import Channel
from protocol.channel_units import own_cid
from protocol.channel_world import ChannelWorld, Copies, InFlight, PowerCut, describe
from protocol.errors import Misuse
from protocol.objects import Json
from protocol.outbox import Post
from protocol.replays import HOWS, TOKEN, verify_fits
from protocol.signing import read_payload
from protocol.trace import Crashed, TimedOut, Trace

NAMES: Final = ("A", "B")  # A is the protocol server
FIRST: Final = "1111"
READY: Final = {"status": {"status": "ready_for_settlement"}}
ABORT: Final = {"status": {"status": "abort"}}
OF_A_SIDE: Final = re.compile(r"([AB])\.(update|crash|restart|time-out|forget)")


def make_update(name: str, aborting: str) -> Json:
    """What a side writes into its half of the payment."""
    return ABORT if name in aborting else READY


def label_post(source: str, post: Post, is_request: bool) -> str:
    """What a message is called: who has sent it, and what it is about."""
    payload = read_payload(post.body)
    cid = str(payload.get("cid"))[:4]
    if is_request:
        words = {"GetPaymentHistoryByRef": "history", "ChannelHealthCheck": "health", "HistoryOffer": "offer"}
        question = words.get(payload["command_type"])
        return f"{source}.{cid}{f'-{question}?' if question else ''}"
    if payload["status"] == "failure":
        return f"{source}.{cid}-{payload['error'][0]['code']}"
    words = {"ChannelHealth": "health", "PaymentHistoryByRef": "history"}
    return f"{source}.{cid}-{words.get((payload.get('result') or {}).get('_ObjectType', ''), 'ok')}"


class StillChannelWorld(ChannelWorld):
    """A ChannelWorld in which time stands still, nothing is on its way twice, and what is due is sent at once."""

    def __init__(self) -> None:
        super().__init__(names=NAMES)
        self.reference_id = self.create(NAMES[0], FIRST)
        self.run()
        self.trace.events.clear()

    def act(self, name: str, action: Callable[[Channel], Any]) -> None:
        super().act(name, action)
        self._send_due(name)

    def restart(self, name: str) -> None:
        try:
            super().restart(name)
        except PowerCut:
            self.places[name].disk.cut_at = 0
            self.trace.add(Crashed(self.at, name, "after a durable act"))
        self._send_due(name)

    def time_out(self, name: str) -> None:
        self.trace.add(TimedOut(self.at, name))
        self.act(name, lambda channel: channel.outbox.hurry(self.now))

    def _send_due(self, name: str) -> None:
        channel = self.places[name].channel
        for post in channel.take_due(self.now) if channel is not None else ():
            self.link.append(InFlight(name, self._other(name), post, True, describe(post)))
        self.link = list(dict.fromkeys(self.link))


class ChannelReplay:
    """A behaviour that was played: its world, its Trace, and the copies that it leaves."""

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        *before, actions = self.text.split(";")
        self.aborting = "".join(_read_aborting(words) for words in before)
        self.world = StillChannelWorld()
        for token in actions.split():
            try:
                self._play(token)
            except Misuse as misuse:
                raise Misuse(f"{token!r} of this replay cannot be played: {misuse}") from misuse

    @property
    def trace(self) -> Trace:
        return self.world.trace

    @property
    def copies(self) -> Copies:
        return self.world.copies

    def _play(self, token: str) -> None:
        found = TOKEN.fullmatch(token)
        if found is None:
            raise Misuse("it is no action: a message such as A.aaaa, or A.update, B.crash, B.restart")
        how, word, nth, stop, cut, number = found.groups()
        if stop == "/":
            raise Misuse("a side of a channel crashes; none stands still")
        if cut == "b":
            raise Misuse("a crash before a write is a crash after the one before it, or before the event")
        of_a_side = OF_A_SIDE.fullmatch(word)
        verify_fits(found, of_a_side[2] if of_a_side else word, is_message=of_a_side is None)
        if of_a_side is not None:
            name, what = of_a_side.groups()
            self._arm(name, number)
            self._play_side(name, what)
        else:
            place = self._find(word, int(nth or 1))
            message = self.world.link[place]
            self._arm(message.target, number)
            if HOWS["lose"] == how:
                self.world.drop(self.world.link.pop(place))
            else:
                self.world.deliver(place, keep=how == HOWS["twice"])
        if any(place.disk.cut_at for place in self.world.places.values()):
            raise Misuse("there are not so many writes")

    def _play_side(self, name: str, what: str) -> None:
        world = self.world
        is_up = world.places[name].channel is not None
        if is_up is (what in ("restart", "forget")):
            raise Misuse(f"{name} is {'up' if is_up else 'down'}")
        match what:
            case "update":
                word = own_cid(name, 0).rstrip("0")
                world.update(name, world.reference_id, word, **make_update(name, self.aborting))
            case "crash":
                world.crash(name)
            case "restart":
                world.restart(name)
            case "forget":
                world.lose_database(name)
            case "time-out":
                world.time_out(name)

    def _arm(self, name: str, number: str | None) -> None:
        if number is not None:
            self.world.crash(name, after=int(number))

    def _find(self, label: str, nth: int) -> int:
        labels = [label_post(each.source, each.post, each.is_request) for each in self.world.link]
        places = [place for place, each in enumerate(labels) if each == label]
        if len(places) < nth:
            raise Misuse(f"there is no such message on its way; there are {', '.join(labels) or 'none'}")
        return places[nth - 1]

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.trace}\n\n{self.copies}"


def _read_aborting(words: str) -> str:
    found = re.fullmatch(r"\s*([AB]) aborts\s*", words)
    if found is None:
        raise Misuse(f"{words.strip()!r} is nothing that a replay can begin with; there is A aborts, or B aborts")
    return found[1]


def replay_channel(text: str) -> ChannelReplay:
    """Play a behaviour, as an exploration wrote it or as you write it. Misuse, with what there is, if it cannot be."""
    return ChannelReplay(text)
