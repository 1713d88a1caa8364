"""What must hold whatever was lost: at every moment, and when everything has come to rest.

at every moment   an asset is usable in one network at most; a burn is never without its mint, an assignment never
                  without its burn; every log is a chain that verifies
at rest           one owner per asset, nothing locked or held, no session parked or frozen, and where both
                  gateways know a session they say the same of it, and so do the networks
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from protocol.faults import Store
from protocol.ledger import State
from protocol.link import Side
from protocol.network import World
from protocol.replacement import Node, PrimaryBackup
from protocol.session import Session
from protocol.steps import Role
from protocol.takeovers import make_directory

BEYOND_EXPIRY_S = 200  # a lock of the example lasts 120 s
ROUNDS = 5


@contextmanager
def make_world(seed: str, *, tls: bool) -> Iterator[World]:
    """A World for one case of many: its files in memory where the machine has such a place. Gone afterwards."""
    with make_directory() as directory:
        world = World(seed, directory=directory, tls=tls)
        try:
            yield world
        finally:
            world.close()


def restart_all(world: World, start: str = "last-message") -> None:
    """Whoever is down, stands still or is cut off comes back; nothing is in the way any more."""
    world.carrier.to_lose.clear()
    world.carrier.to_repeat.clear()
    for node in world._nodes:
        node.wire.armed = None
    if isinstance(world, PrimaryBackup):
        for pair in list(world._parted):
            world.heal(*pair)
    for node in world._nodes:
        come_back(world, node, start)


def come_back(world: World, node: Side, start: str = "last-message") -> None:
    """A node that is down restarts, one that stands still goes on, one that is cut off reaches its log store again."""
    if node.wire.is_cut_off:
        world.heal_store(node.name)
    if node.is_paused:
        world.wake(node.name)
    elif node.gateway is None and not (isinstance(node, Node) and node.is_standby):
        world.restart(node.name, start)


def come_to_rest(world: World, start: str = "last-message") -> None:
    """Everybody up, nothing lost or held back, and time enough: also beyond the expiry of every lock."""
    restart_all(world, start)
    world.run()
    for _ in range(ROUNDS):
        if world.is_at_rest and not find_bound(world):
            return
        world.wait(BEYOND_EXPIRY_S)
        world.run()


def find_bound(world: World) -> list[str]:
    """The assets that are locked or held."""
    bound = (State.LOCKED, State.HELD)
    return [f"{ledger.name}: {asset}" for ledger in world.ledgers for asset in ledger.assets if asset.state in bound]


def find_unsafe(world: World) -> list[str]:
    """What must not be at any moment; empty if all is well."""
    names = {asset.id for ledger in world.ledgers for asset in ledger.assets}
    wrong = [f"usable twice: {name}" for name in names if len(find_owners(world, name)) > 1]
    for session_id in world.sessions:
        lock, mint = find_end(world, f"{session_id}/2.1"), find_end(world, f"{session_id}/3.2")
        if mint == "assigned" and lock != "burned":
            wrong.append(f"assigned without a burn: lock {lock}, session {session_id}")
        if lock == "burned" and mint not in ("live", "assigned"):
            wrong.append(f"burned without a mint: mint {mint}, session {session_id}")
    return wrong


def find_owners(world: World, asset_id: str) -> list[str]:
    return [f"{ledger.name}: {ledger.owner_of(asset_id)}" for ledger in world.ledgers if ledger.owner_of(asset_id)]


def find_end(world: World, operation_id: str) -> str:
    """Where a lock or a mint stands, in whichever network it is."""
    states = [ledger.state(operation_id) for ledger in world.ledgers]
    return next((state for state in states if state != "unknown"), "unknown")


def find_final(world: World) -> set[str]:
    """The locks that were burned and the mints that were assigned."""
    anchors = [f"{session_id}/{step}" for session_id in world.sessions for step in ("2.1", "3.2")]
    return {anchor for anchor in anchors if find_end(world, anchor) in ("burned", "assigned")}


def verify_chains(world: World, who: str) -> None:
    """Raises BrokenChain for a log that is none."""
    with closing(open_log(world, who)) as store:
        for session_id in store.getSessions():
            store.getLog(session_id)


def open_log(world: World, who: str) -> Store:
    """A connection to a gateway's log, to read in; without a claim if it is shared."""
    return world._read_store(world._side(who))


def describe_outcome(session: Session) -> str:
    """In one word; in many where there is none."""
    if session.parked or session.frozen or not session.is_over:
        return repr(session)
    return "ended" if session.ending else "complete"


def find_unsettled(world: World) -> list[str]:
    """What must not be at rest; empty if all is well."""
    if not world.is_at_rest:
        return [f"not at rest: {world!r}"]
    wrong = find_unsafe(world) + find_bound(world)
    names = {asset.id for ledger in world.ledgers for asset in ledger.assets}
    wrong += [f"no owner: {name}" for name in names if not find_owners(world, name)]
    for session_id in world.sessions:
        known = [session for role in Role if (session := world._gateway(role).find_session(session_id)) is not None]
        outcomes = {describe_outcome(session) for session in known}
        is_burned = find_end(world, f"{session_id}/2.1") == "burned"
        if len(outcomes) > 1 or outcomes - {"complete", "ended"}:
            wrong.append(f"no agreement: {known}")
        if outcomes and is_burned != (outcomes == {"complete"}):
            wrong.append(f"burned is {is_burned}, and the gateways say {outcomes}: session {session_id}")
    for role in Role:
        verify_chains(world, role)
        wrong += [f"{role}: {name} is damaged: {why}" for name, why in world._gateway(role).damaged.items()]
    return wrong
