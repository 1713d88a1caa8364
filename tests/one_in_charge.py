"""What must hold of a run in which gateways were replaced, besides what must hold of any (at_rest.py).

ledgers   of burn, unlock and expiry of one lock at most one took effect, and of assignment and destruction of one
          mint
logs      along a shared log the epochs never decrease, and each entry was written by the node that had claimed its
          epoch; between the takeover and the next one nobody else wrote
fenced    whoever has learned that another one is in charge neither writes, nor acts, nor asks to act
peers     a new message of a transfer counts under the key that the session knows, and no other; nothing new of a
          predecessor counts once its successor is accepted
TLS       no backup resumes what another node has begun
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing

from protocol.log import Operation
from protocol.network import World
from protocol.replacement import Node, PrimaryBackup
from protocol.session import Session
from protocol.signing import extract
from protocol.steps import SUCCESSION, Role
from protocol.trace import (
    Accepted,
    Acted,
    Asked,
    Connected,
    Delivered,
    Event,
    FencedOff,
    HandedOver,
    Logged,
    TimedOut,
    TookOver,
)
from tests.at_rest import open_log

ENDS = ("burn", "unlock", "expire", "assign", "destroy")
Claims = Mapping[tuple[str, int], str]
"""Which node claimed which epoch of a gateway."""


def find_wrong(world: PrimaryBackup, claims: Claims) -> list[str]:
    """Everything in the list above; empty if all is well."""
    wrong = [*find_contradictions(world), *find_acts_of_the_fenced(world), *find_resumed(world)]
    wrong += find_heard_predecessors(world)
    for role in Role:
        wrong += [*find_wrong_keys(world, role), *find_wrong_epochs(world, role, claims)]
    return wrong


def find_contradictions(world: World) -> list[str]:
    """Two actions that each end the same lock or the same mint."""
    receipts = [
        receipt for ledger in world.ledgers for side in world._sides.values() for receipt in ledger.actions_of(side.id)
    ]
    ends = Counter(receipt.under for receipt in receipts if receipt.action in ENDS)
    return [f"{under} was ended {count} times" for under, count in ends.items() if count > 1]


def find_wrong_epochs(world: PrimaryBackup, role: Role, claims: Claims) -> list[str]:
    side = world._sides[role]
    if not isinstance(side, Node):
        return []
    wrong = []
    with closing(open_log(world, side.name)) as store:
        for session_id in store.getSessions():
            before = 0
            for entry in store.getLog(session_id):
                writer = entry.writerId or entry.gatewayId
                place = f"{side.id}, entry {entry.sequenceNumber} of {session_id[:8]}"
                if entry.epoch is None or entry.epoch < before:
                    wrong.append(f"{place}: epoch {entry.epoch} after {before}")
                elif claims[side.id, entry.epoch] != writer:
                    wrong.append(f"{place}: {writer} wrote under the epoch of {claims[side.id, entry.epoch]}")
                before = entry.epoch or before
    return wrong


def find_acts_of_the_fenced(world: PrimaryBackup) -> list[str]:
    """Entries of whoever is not in charge; and anything done by whoever knows that it is not."""
    id_of = {node.name: node.id for node in world._nodes}
    in_charge = {side.id: side.id for side in world._sides.values()}
    fenced: set[str] = set()
    wrong = []
    for event in world.trace:
        name = str(getattr(event, "gateway", ""))
        if isinstance(event, TookOver):
            in_charge[id_of[name]] = name
            fenced.discard(name)
        if isinstance(event, FencedOff | HandedOver):
            fenced.add(name)
        if isinstance(event, Logged) and in_charge[id_of[name]] != name:
            wrong.append(f"{event}, and {in_charge[id_of[name]]} is in charge")
        is_late = isinstance(event, Acted) and event.late
        if isinstance(event, Logged | Acted | Asked) and name in fenced and not is_late:
            wrong.append(f"{event}, and it knows that it was replaced")
    return wrong


def find_heard_predecessors(world: PrimaryBackup) -> list[str]:
    """New messages of a transfer that a counterparty logged although it had accepted the successor of their sender."""
    id_of = {node.name: node.id for node in world._nodes}
    acting: dict[tuple[str, str], str] = {}
    wrong = []
    for source, target, step, events in _cut_by_deliveries(world):
        acts = acting.get((id_of[target], id_of[source]), id_of[source])
        is_counted = any(
            isinstance(event, Logged) and event.gateway == target and event.step == step for event in events
        )
        if step and source != acts and is_counted and _is_done(events, target, step):
            wrong.append(f"{target} took {step} of {source}, and had accepted {acts}")
        for event in events:
            if isinstance(event, Accepted):
                acting[id_of[event.gateway], event.peer] = event.by
    return wrong


def _is_done(events: list[Event], target: str, step: str) -> bool:
    words = (target, step, Operation.DONE)
    return any(isinstance(event, Logged) and (event.gateway, event.step, event.operation) == words for event in events)


def _cut_by_deliveries(world: World) -> Iterator[tuple[str, str, str, list[Event]]]:
    """Each delivery, and what happened until the next one, or until time passed."""
    events: list[Event] = []
    current: Delivered | None = None
    for event in [*world.trace, TimedOut("", "")]:
        if isinstance(event, Delivered | TimedOut):
            if current is not None:
                yield current.source, current.target, current.step, events
            current, events = (event if isinstance(event, Delivered) else None), []
        else:
            events.append(event)


def find_wrong_keys(world: World, role: Role) -> list[str]:
    """Messages of the peer in a log that came under another key than the one that the session knew."""
    side, wrong = world._sides[role], []
    with closing(open_log(world, side.name)) as store:
        for session_id in world.sessions:
            session = Session(session_id, side.id)
            for entry in store.getLog(session_id):
                message, author = entry.payload.get("message"), entry.payload.get("author", "")
                is_new = entry.recoveryMessage is None and entry.operation is Operation.DONE and entry.step != "abort"
                if message and author != side.id and is_new and session.proposal:
                    kid = extract(message).headers()["kid"]
                    if kid != session.kid_of(author):
                        wrong.append(
                            f"{side.id}: {entry.step} of {author} came under a key that the session did not know"
                        )
                session.apply(entry)
    return wrong


def find_resumed(world: PrimaryBackup) -> list[str]:
    """Connections that were resumed: nothing cuts one in these runs, so each is a node's first with another."""
    connected = [event for event in world.trace if isinstance(event, Connected)]
    return [str(event) for event in connected if event.is_resumed]


def has_succession(world: World, who: str) -> bool:
    """Whether the log of this gateway says of the first session who acts for one of the two."""
    return any(entry.step == SUCCESSION for entry in world.log(who))
