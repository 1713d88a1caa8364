"""Where a run ends, in four words; and the same run played with a switch of the rules and without it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from protocol.errors import Misuse, Refused
from protocol.gateway import Gateway
from protocol.messages.satp import write_error
from protocol.network import World
from protocol.offers import Outgoing
from protocol.rules import vary
from protocol.session import Session

LONG = 300  # seconds: no lock of the example with an expiry lasts that long


class End(NamedTuple):
    """Where the asset stands in both networks, and the session at both gateways."""

    origin: str
    destination: str
    sender: str
    recipient: str


TRANSFERRED = End("burned", "free", "complete", "complete")
BACK = End("free", "destroyed", "ended", "ended")
BACK_BEFORE_MINT = End("free", "absent", "ended", "ended")


def read_end(world: World) -> End:
    books = ["absent" if not ledger.assets else str(ledger.assets[0].state) for ledger in world.ledgers]
    return End(books[0], books[1], *map(read_session, map(world._known, world._sides.values())))


def read_session(known: list[Session]) -> str:
    """Of the only session of a World."""
    (session,) = known
    if session.frozen or session.parked:
        return "frozen" if session.frozen else "parked"
    if session.ending:
        return "ended" if session.is_ended else "leaving"
    return "complete" if session.is_over else "open"


def play_twice(name: str, story: Callable[[World], None], *also: str) -> tuple[End, End]:
    """The end as the protocol has it, and with `name` turned over; `also` is turned over both times."""
    ends = []
    for names in (also, (*also, name)):
        world = World(seed="test", tls=False, rules=vary(*names))
        story(world)
        ends.append(read_end(world))
        world.close()
    return ends[0], ends[1]


def wish(world: World, who: str) -> None:
    """The application behind a gateway wants to end the session; a refusal is its answer."""
    with suppress(Misuse):
        world.abort(who, "a wish")


def complain(world: World, who: str, code: str) -> None:
    """The peer refuses the last message of this gateway, which is on the link and arrives all the same (N1)."""
    side, said = world._side(who), world.link[-1].data
    peer = world._sides[side.role.other].id
    error = world.key(peer).sign(write_error(said, Refused("not to my liking", code=code), world.now)).encode()

    def work(gateway: Gateway) -> list[Outgoing]:
        answer = gateway.receive(error)
        return [] if answer is None else [Outgoing(peer, answer)]

    world._live(side, work)
