"""Every message that the package makes, as it travels: transfers, aborts, errors, recoveries, channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from protocol.channel import Channel
from protocol.channel_world import ChannelWorld, lab_cid
from protocol.errors import Refused
from protocol.gateway import Gateway
from protocol.messages.offchain import request_object
from protocol.network import World
from protocol.objects import Json
from protocol.outbox import Post, to_request_id
from protocol.signing import read_payload
from protocol.steps import Role
from protocol.trace import Delivered, Trace
from tests.test_disputes import make_fork
from tests.test_offchain import payment
from tests.test_resync import make as make_behind
from tests.test_rollback import begin_rollback


class Heard:
    """What went over the links, and what a gateway answered to what."""

    def __init__(self) -> None:
        self.payloads: list[Json] = []
        self.answers: list[tuple[Json, Json | None]] = []
        self.entries: list[Json] = []

    def hear(self, trace: Trace) -> None:
        self.payloads += [read_payload(event.data) for event in trace.of(Delivered) if isinstance(event, Delivered)]

    def keep(self, world: World) -> None:
        self.hear(world.trace)
        self.entries += [entry.as_json() for who in Role for entry in world.log(who)]


@cache
def hear_gateways() -> Heard:
    """Runs of two gateways that send every message there is; each message once for each run that has it."""
    heard, receive = Heard(), Gateway.receive

    def listen(gateway: Gateway, data: bytes) -> bytes | None:
        answer = receive(gateway, data)
        try:
            asked = read_payload(data)
        except Refused:
            return answer
        heard.answers.append((asked, None if answer is None else read_payload(answer)))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gateway, "receive", listen)
        for world in play_gateways():
            heard.keep(world)
            world.close()
    return heard


def play_gateways() -> Iterator[World]:
    """A transfer of each lock type, aborts, refusals, and crashes with every loss, one world after the other."""
    for lock_type in ("TIME_LOCK", "HASH_LOCK", "HASH_TIME_LOCK"):
        world = make()
        world.start(lock_type=lock_type)
        world.run()
        yield world
    for who, step in ((Role.SENDER, "2.4"), (Role.RECIPIENT, "3.1")):
        world = make()
        world.start()
        world.run(until=step)
        world.abort(who, "a reason")
        world.run()
        yield world
    world = make()
    world.start()
    wrong = read_payload(world.link[0].data) | {"version": "9.0"}
    world.link[0] = replace(world.link[0], data=world.key("GW1").sign(wrong).encode())
    world.run()
    yield world
    for who in Role:
        for step in ("1.3", "3.3"):
            yield crash(who, step, "process")
        for loss in ("tail", "log", "key"):
            yield crash(who, "3.2", loss)
    world = make()
    begin_rollback(world)
    world.run()
    yield world
    world = make()
    make_fork(world)
    world.run()
    yield world


def make() -> World:
    return World(seed="test", tls=False)


def crash(who: Role, step: str, loss: str) -> World:
    world = make()
    world.start()
    world.run(until=step)
    world.crash(who)
    if loss == "key":
        world.lose_key(who)
    elif loss != "process":
        world.forget(who, 2 if loss == "tail" else None)
    world.restart(who)
    world.run()
    return world


@cache
def hear_channels() -> Heard:
    """A channel of two VASPs: payments, conflicts, refusals, questions, a lost database, an old one put back."""
    heard, on_request = Heard(), Channel.on_request

    def listen(channel: Channel, post: Post, now: float) -> Post:
        reply = on_request(channel, post, now)
        heard.payloads += [read_payload(post.body), read_payload(reply.body)]
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Channel, "on_request", listen)
        play_channel(ChannelWorld())
        behind, name = make_behind("C")
        behind.update("C", name, metadata=["mine"])
        behind.run()
        behind.act("D", lambda channel: channel.recovery.offer(name))
        behind.run()
    return heard


def play_channel(world: ChannelWorld) -> None:
    full = payment()
    given = {name: full[name] for name in ("sender", "description", "original_payment_reference_id")}
    name = world.create("C", "1")
    world.create("C", "2", **given)
    world.act("C", lambda channel: channel.recovery.ask_payment(name))
    world.run()
    world.act("C", lambda channel: channel.recovery.ask_payment(name))
    world.act("D", lambda channel: channel.recovery.ask_history(name))
    world.ask("C", name, lab_cid("9"), "3", sender={"metadata": ["a version that is not there"]})
    world.run()
    old = world.copy_database("D")
    world.update("D", name, "4", metadata=["a"])
    world.run()
    world.put_back("D", old)
    world.restart("D")
    world.update("D", name, "5", metadata=["b"])
    world.run()
    world.lose_database("C")
    world.restart("C")
    world.run()
    empty = request_object({"_ObjectType": "EmptyCommand", "_reads": {}, "_writes": {}}, lab_cid("e"))
    body = world.places["C"].key.sign(empty, memory=world["C"].recovery.memory)
    world["D"].on_request(Post(to_request_id(lab_cid("e")), body), world.now)


def read_jws(text: str) -> Json | None:
    """The payload of a text, if it is a compact JWS over a JSON object."""
    try:
        return read_payload(text)
    except Refused:
        return None
