"""Three nodes on one link: at most one connection between any two, and who hangs up takes only its own."""

from __future__ import annotations

import pytest

from protocol.link import Side
from protocol.network import World
from protocol.offers import Outgoing
from protocol.steps import Role
from protocol.tls import Endpoint
from protocol.trace import Connected, Lost, NotConnected

BACKUP = "GW1-B"


class Nodes(World):
    """GW1 has a second machine, which has its own key and acts for GW1 once it is in charge."""

    def __init__(self) -> None:
        super().__init__("nodes")
        self.admit(BACKUP)
        self.first = self._sides[Role.SENDER]
        self.second = self._make_nodes(Role.SENDER, self.first.id, self.first.ledger)[0]
        self.second.node = BACKUP
        self.second.ring = self.registry.make_ring(BACKUP)
        certificate = self.registry.find(self.second)
        self.second.endpoint = Endpoint(self.key(BACKUP), certificate, self.registry.owners, self.second.ring)
        self.second.gateway = self.first.gateway
        self.peer = self._sides[Role.RECIPIENT]
        self.in_charge = self.first

    def _find_target(self, source: Side, peer: str) -> Side:
        return self.in_charge if peer == self.first.id else super()._find_target(source, peer)


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


def test_a_node_has_a_name_beside_the_gateway_for_which_it_acts(nodes: Nodes) -> None:
    assert (nodes.second.id, nodes.second.name, nodes.first.name) == ("GW1", BACKUP, "GW1")
    assert nodes.first != nodes.second


def test_a_connection_for_each_pair(nodes: Nodes) -> None:
    assert nodes.secure.open(nodes.first, nodes.peer)
    old = nodes.secure.find("GW1", "GW2")
    assert nodes.secure.open(nodes.second, nodes.peer)
    new = nodes.secure.find("GW2", BACKUP)
    assert old is not None and new is not None and old is not new
    assert old.is_open and new.is_open
    assert nodes.secure.connection is new
    assert [str(event).split(":")[0] for event in nodes.trace.of(Connected)] == [
        "GW1 and GW2 connect",
        "GW1-B and GW2 connect",
    ]


@pytest.mark.parametrize(("who", "left"), [("first", ["GW1-B"]), ("second", ["GW1"]), ("peer", [])])
def test_hanging_up_ends_the_connections_of_one_node(who: str, left: list[str], nodes: Nodes) -> None:
    for side in (nodes.first, nodes.second):
        nodes._send(side, nodes.peer, nodes.key("x").sign({"messageType": "urn:x:error-msg", "type": "x:y"}).encode())
    assert [message.source.name for message in nodes.link] == ["GW1", BACKUP]
    nodes._hang_up(getattr(nodes, who))
    assert [message.source.name for message in nodes.link] == left
    assert [name for name in ("GW1", BACKUP) if nodes.secure.find(name, "GW2")] == left
    assert len(nodes.trace.of(Lost)) == 2 - len(left)


def test_a_refused_handshake_closes_no_other_connection(nodes: Nodes) -> None:
    assert nodes.secure.open(nodes.first, nodes.peer)
    old = nodes.secure.find("GW1", "GW2")
    nodes.registry.revoke(nodes.registry.find(nodes.second), [nodes.peer.ring])
    assert not nodes.secure.open(nodes.second, nodes.peer)
    assert nodes.trace.of(NotConnected)
    assert old is not None and old.is_open
    assert nodes.secure.find("GW1", "GW2") is old


def test_what_one_pair_wants_of_its_next_connection_is_no_business_of_another(nodes: Nodes) -> None:
    for side in (nodes.first, nodes.second):
        assert nodes.secure.open(side, nodes.peer)
        nodes._hang_up(side)
    nodes.secure.note_wish(BACKUP, "GW2", resume=False)
    for side in (nodes.first, nodes.second):
        assert nodes.secure.open(side, nodes.peer)
    resumed = [(event.one, event.is_resumed) for event in nodes.trace.of(Connected) if isinstance(event, Connected)]
    assert resumed == [("GW1", False), (BACKUP, False), ("GW1", True), (BACKUP, False)]


def test_whoever_speaks_is_answered_itself_and_others_go_to_the_node_in_charge(nodes: Nodes) -> None:
    data = nodes.key("x").sign({"messageType": "urn:x:error-msg", "type": "x:y"}).encode()
    nodes._live(nodes.peer, lambda gateway: [Outgoing("GW1", data)], speaker=nodes.second)
    nodes._live(nodes.peer, lambda gateway: [Outgoing("GW1", data)])
    nodes.in_charge = nodes.second
    nodes._live(nodes.peer, lambda gateway: [Outgoing("GW1", data)])
    nodes._live(nodes.peer, lambda gateway: [Outgoing("GW1", data)], speaker=nodes.first)
    assert [message.target.name for message in nodes.link] == [BACKUP, "GW1", BACKUP, "GW1"]
    assert all(message.connection is nodes.secure.find(message.target.name, "GW2") for message in nodes.link)


def test_a_paused_gateway_that_wakes_answers_whoever_spoke_to_it(nodes: Nodes) -> None:
    """Also if another node is in charge by then."""
    nodes.pause("GW2", at="1.2", after=1)
    nodes.start()
    nodes.run()
    nodes.in_charge = nodes.second
    nodes.wake("GW2")
    assert [(message.name, message.target.name) for message in nodes.link] == [("proposal-receipt", "GW1")]
