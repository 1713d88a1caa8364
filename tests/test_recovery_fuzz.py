"""A bad network and a buggy peer, at random: old messages again, and changed ones under their author's key.

Seeded, so that a run that fails can be had again. Two promises, and they differ:

    replayed    whatever was said before is said again, anywhere and any number of times: exactly one owner in the
                end, and nobody is frozen or parked
    changed     one field of a real message is another one, signed by its author: a signed error or silence or an
                answer, never an exception; never two owners; and if no session was frozen, exactly one
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest

from protocol.link import PLAIN, Side, read_label
from protocol.messages.recovery import is_recovery
from protocol.network import World
from protocol.objects import Json
from protocol.signing import read_payload
from protocol.steps import Role
from tests.conftest import check_one_owner
from tests.test_mutations import look_up, paths

STEPS = ("1.1", "1.2", "1.4", "2.2", "2.4", "3.1", "3.3", "3.5", "3.7")
LOSSES: tuple[int | str | None, ...] = (None, None, 1, 2, 3, 5, "log")
WORDS: tuple[Any, ...] = (
    *(None, 0, 1, 7, True, "", "x", "0" * 64, [], {}),
    *("sender", "recipient", "held", "undone", "left", "nothing", "final"),
)


class Recorded(World):
    """Keeps every message that was sent, with the gateway that it was for. Without TLS: anything may be said again."""

    def __init__(self, seed: str) -> None:
        self.said: list[tuple[Role, bytes]] = []
        super().__init__(seed, tls=False)

    def _send(self, source: Side, target: Side, data: bytes) -> None:
        self.said.append((target.role, data))
        super()._send(source, target, data)

    def hand(self, role: Role, data: bytes) -> None:
        """What the network brings to a gateway, as if it came from the other one; nothing if the gateway is down."""
        side = self._sides[role]
        if side.gateway is None:
            return
        reply, others = side.gateway.receive(data), side.gateway.collect()
        for answer in [*([reply] if reply is not None else []), *(each.data for each in others)]:
            self._send(side, self._sides[role.other], answer)


def live(world: Recorded, dice: random.Random, interfere: Callable[[], None]) -> None:
    """One transfer with one or two crashes, and something strange between any two deliveries."""
    for _ in range(dice.randint(0, 3)):
        world.make_id()  # so that sessions of different runs have different names
    world.start("an asset")
    role, until = dice.choice(list(Role)), dice.choice(STEPS)
    for _ in range(40):  # an answer to what is said again is answered too: without a bound it may go on for long
        if not world.link or until in world.sender.session(world.sessions[0]).done:
            break
        world.deliver_next()
        if dice.random() < 0.3:
            interfere()
    crash_and_restart(world, dice, [role, role.other] if dice.random() < 0.3 else [role], interfere)
    in_order = dice.random() < 0.5
    for _ in range(60):
        if world.link:
            world._deliver(world.link.pop(0 if in_order else dice.randrange(len(world.link))))
        elif not world.is_at_rest:
            world._time_out()
        if dice.random() < 0.4:
            interfere()
    world.run()


def crash_and_restart(world: Recorded, dice: random.Random, who: list[Role], interfere: Callable[[], None]) -> None:
    """The first of them may lose something; one in five comes back after every lock has expired."""
    for each in who:
        world.crash(each)
    loss = dice.choice(LOSSES)
    if loss is not None:
        world.forget(who[0], None if loss == "log" else int(loss))
        # What was forgotten cannot be known again when it is repeated: a new connection keeps it out, and all that
        # travels without one is an offer and its answer (Rules.fresh_connection_after_restart).
        world.said = [said for said in world.said if read_label(said[1])[1] in PLAIN]
    if dice.random() < 0.2:
        world.wait(400)
    for each in who:
        world.restart(each)
        if dice.random() < 0.5:
            interfere()


def describe(world: World) -> str:
    return "\n".join([*(str(event) for event in world.trace.events), repr(world)])


@pytest.mark.parametrize("number", range(40))
def test_whatever_was_said_is_said_again(number: int) -> None:
    dice = random.Random(f"replayed {number}")
    world = Recorded("replayed")

    def interfere() -> None:
        if not world.said:
            return
        role, data = dice.choice(world.said)
        world.hand(role if dice.random() < 0.9 else role.other, data)

    live(world, dice, interfere)
    assert world.is_at_rest, describe(world)
    check_one_owner(world)
    for gateway in (world.sender, world.recipient):
        session = gateway.find_session(world.sessions[0])
        assert session is None or (not session.frozen and not session.parked), describe(world)
    world.close()


def change(payload: Json, dice: random.Random) -> Json:
    """One place of a payload, at random: removed, or another value, or that of another place of the same name."""
    changed = copy.deepcopy(payload)
    place = dice.choice(list(paths(changed)))
    inner: Any = look_up(changed, place[:-1])
    if dice.random() < 0.3:
        del inner[place[-1]]
    else:
        inner[place[-1]] = dice.choice(WORDS)
    return changed


@pytest.mark.parametrize("number", range(40))
def test_one_field_is_another(number: int) -> None:
    dice = random.Random(f"changed {number}")
    world = Recorded("changed")

    def interfere() -> None:
        pool = [said for said in world.said if is_recovery(read_payload(said[1]))]
        if not pool:
            return
        role, data = dice.choice(pool[-6:])
        author = world.key("GW2" if role is Role.SENDER else "GW1")
        world.hand(role, author.sign(change(read_payload(data), dice)).encode())

    live(world, dice, interfere)
    assert len(world.owners) <= 1, describe(world)
    sessions = [gateway.find_session(world.sessions[0]) for gateway in (world.sender, world.recipient)]
    if not any(session is not None and session.frozen for session in sessions):
        assert world.is_at_rest, describe(world)
        check_one_owner(world)
    world.close()
