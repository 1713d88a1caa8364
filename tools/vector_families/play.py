"""Where the vectors' messages come from: runs of the package with one seed, and every message that was sent in them."""

from __future__ import annotations

from functools import cache

from protocol.link import Side
from protocol.network import World
from protocol.objects import Json
from protocol.signing import KeyPair, read_payload
from protocol.steps import TABLE_1, Role

SEED = "vectors"
MESSAGES = tuple(row.number for row in TABLE_1 if not row.is_action)
LONG_S = 400  # no lock of the example lasts that long


class Recording(World):
    """A World without TLS that keeps every message as it was sent."""

    def __init__(self) -> None:
        self.said: list[str] = []
        super().__init__(SEED, tls=False)

    def _send(self, source: Side, target: Side, data: bytes) -> None:
        self.said.append(data.decode())
        super()._send(source, target, data)

    def find(self, name: str) -> str:
        """The first message of this name: `transfer-resume`, `commit-final`."""
        return next(each for each in self.said if find_name(each) == name)


def find_name(compact: str) -> str:
    return str(read_payload(compact)["messageType"]).rpartition(":")[2].removesuffix("-msg")


def key(name: str) -> KeyPair:
    """A party's P-256 lab key; a network's is `network 1`, as in a World of this seed."""
    return KeyPair.lab(name, SEED)


def make_public_jwk(pair: KeyPair) -> Json:
    return {name: value for name, value in pair.public.jwk.items() if name != "lab"}


def make_private_jwk(pair: KeyPair) -> Json:
    """With the private half: the seed is printed here, and whoever has to sign needs it."""
    members = pair.key.as_dict(private=True)
    return {name: members[name] for name in (*make_public_jwk(pair), "d")}


@cache
def play_transfer() -> dict[str, str]:
    """The messages of a whole transfer, by step."""
    world = Recording()
    world.start()
    world.run()
    assert len(world.said) == len(MESSAGES), "nothing was lost, so nothing was sent twice"
    world.close()
    return dict(zip(MESSAGES, world.said, strict=True))


def crash_and_return(until: str, *, forget: int | None = None, wait: int = 0, key_lost: bool = False) -> Recording:
    """The sender crashes after step `until`, loses what is named, waits, and comes back; then all runs to its end."""
    world = Recording()
    world.start()
    world.run(until=until)
    world.crash("sender")
    if forget is not None:
        world.forget("sender", forget or None)
    if key_lost:
        world.lose_key("sender")
    world.wait(wait)
    world.restart("sender")
    world.run()
    assert world.is_at_rest
    world.close()
    return world


@cache
def play_tail_lost() -> Recording:
    """RECOVER to RECOVER-SUCCESS."""
    return crash_and_return("3.3", forget=5)


@cache
def play_key_lost() -> Recording:
    """The messages of a recovery with a new key, and its certificate."""
    return crash_and_return("3.3", forget=5, key_lost=True)


@cache
def play_rollback() -> Recording:
    """ROLLBACK and ROLLBACK-ACK: the lock has run out while the sender was away."""
    return crash_and_return("2.4", wait=LONG_S)


@cache
def play_dispute() -> Recording:
    """RECOVER-DISPUTE: both lost the end of their logs and agreed on another 1.2; then an old copy was put back."""
    world = Recording()
    world.start()
    world.run(until="1.3")
    copy = world.keep_copy("sender")
    for who in Role:
        world.crash(who)
        world.forget(who, 2)
    world.wait(60)
    for who in Role:
        world.restart(who)
    world.run(until="2.4")
    world.crash("sender")
    world.put_back("sender", copy)
    world.restart("sender")
    world.run()
    world.close()
    return world


@cache
def play_abort(who: str) -> Recording:
    """The application behind a gateway ends the session when the asset is locked."""
    world = Recording()
    world.start()
    world.run(until="2.4")
    world.abort(who, "a customer has changed her mind")
    world.run()
    assert world.is_at_rest
    world.close()
    return world
