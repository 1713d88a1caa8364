"""TLS under a transfer: when a connection is new, when it is resumed, who is refused, and what dies with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from protocol.errors import Misuse
from protocol.link import InFlight
from protocol.network import START, World
from protocol.rules import Rules
from protocol.signing import read_payload
from protocol.tls import Connection, Endpoint, HandshakeRefused
from protocol.trace import Connected, Delivered, Forgotten, Lost, NotConnected

PEER_OF = {"GW1": "GW2", "GW2": "GW1"}
BOB = "network 43114: CN=Bob, OU=Case Org Unit, O=Case, L=San Francisco, C=US"
ALICE = "network 1: CN=Alice, OU=Example Org Unit, O=Example, L=New York, C=US"


def handshakes(world: World) -> list[str]:
    """full, resumed or refused, in order."""
    found = []
    for event in world.trace.of(Connected, NotConnected):
        resumed = "resumed" if getattr(event, "is_resumed", False) else "full"
        found.append(resumed if isinstance(event, Connected) else f"{resumed} refused")
    return found


def begin(until: str) -> World:
    world = World("link")
    world.start()
    world.run(until=until)
    return world


def said(world: World, name: str) -> list[dict[str, object]]:
    """The payloads of what is on the link now, by name."""
    return [read_payload(message.data) for message in world.link if message.name == name]


# ------------------------------------------------------------------ the same with and without


def crash_once(world: World) -> None:
    world.crash("GW2", at="3.2", after=2)
    world.run()
    world.restart("GW2")


def forget_once(world: World) -> None:
    world.run(until="2.4")
    world.crash("GW1")
    world.forget("GW1", 3)
    world.restart("GW1")


def lose_a_key(world: World) -> None:
    world.run(until="2.4")
    world.crash("GW2")
    world.lose_key("GW2")
    world.restart("GW2")


@pytest.mark.parametrize("story", [None, crash_once, forget_once, lose_a_key])
def test_with_tls_and_without_the_same_messages_logs_and_ledgers(story: Callable[[World], None] | None) -> None:
    """TLS guards what is said; it adds nothing to it."""
    runs = []
    for tls in (True, False):
        world = World("same", tls=tls)
        world.start()
        if story is not None:
            story(world)
        world.run()
        logs = [[entry.compute_hash() for entry in world.log(who)] for who in ("GW1", "GW2")]
        runs.append((logs, repr(world), world.owners, [str(event) for event in world.trace.of(Delivered)]))
        assert bool(handshakes(world)) is tls
    assert runs[0] == runs[1]
    assert runs[0][2] == [BOB]


# ------------------------------------------------------------------ how many connections


def test_a_transfer_has_one_connection() -> None:
    world = begin("3.9")
    assert handshakes(world) == ["full"]
    assert world.secure.connection is not None
    assert repr(world.secure.connection) == "TLSv1.3 between GW1 and GW2, full handshake"


@pytest.mark.parametrize("who", PEER_OF)
@pytest.mark.parametrize("step", ["1.2", "2.2", "3.3", "3.5"])
def test_a_crashed_process_means_a_full_handshake_whichever_side_is_client(who: str, step: str) -> None:
    """C20, R36: so nothing in a recovery may hang on a resumption."""
    world = begin(step)
    world.crash(who)
    world.restart(who)
    world.run()
    assert handshakes(world) == ["full", "full"]
    assert world.owners == [BOB]


def test_both_crash_and_one_connection_comes_of_it() -> None:
    world = begin("2.2")
    for who in PEER_OF:
        world.crash(who)
    for who in PEER_OF:
        world.restart(who)
    world.run()
    assert handshakes(world) == ["full", "full"]
    assert world.owners == [BOB]


@pytest.mark.parametrize("by", PEER_OF)
@pytest.mark.parametrize("step", ["1.3", "2.2", "3.3", "3.5"])
def test_only_the_connection_is_lost_and_it_is_resumed(by: str, step: str) -> None:
    world = begin(step)
    world.cut(by=by)
    assert said(world, "transfer-resume")[0]["crashErrorCode"] == "connection"
    world.deliver_next()
    assert said(world, "transfer-continue")[0]["tlsResume"] is True
    world.run()
    assert handshakes(world) == ["full", "resumed"]
    assert world.owners == [BOB]


def test_a_connection_can_be_lost_again_and_again() -> None:
    world = begin("1.2")
    for step in ("1.4", "2.2", "3.1", "3.5"):
        world.cut(by="GW1")
        world.run(until=step)
    world.run()
    assert handshakes(world) == ["full"] + 4 * ["resumed"]
    assert world.owners == [BOB]


def test_a_lost_message_costs_no_connection() -> None:
    """It stands for what is lost above TLS, which loses no single message."""
    world = World("link")
    world.start()
    world.lose("2.2")
    world.run()
    assert handshakes(world) == ["full"]
    assert len(world.trace.of(Lost)) == 1
    assert world.owners == [BOB]


# ------------------------------------------------------------------ who decides


@pytest.mark.parametrize("answerer", PEER_OF)
def test_the_answerer_says_no_and_the_handshake_is_full(answerer: str) -> None:
    world = begin("2.2")
    world.endpoint(answerer).forget(PEER_OF[answerer])
    world.cut(by=PEER_OF[answerer])
    world.deliver_next()
    assert said(world, "transfer-continue")[0]["tlsResume"] is False
    world.run()
    assert handshakes(world) == ["full", "full"]
    assert world.owners == [BOB]


def test_no_is_no_although_openssl_could_have_resumed() -> None:
    """The server forgets what it was shown; the client's session and the server's ticket keys are still there."""
    runs = {}
    for answer in (True, False):
        world = begin("2.2")
        if not answer:
            world.endpoint("GW2").forget("GW1")
        world.cut(by="GW1")
        world.deliver_next()
        assert said(world, "transfer-continue")[0]["tlsResume"] is answer
        assert world.endpoint("GW1").can_resume("GW2")
        world.run()
        runs[answer] = handshakes(world)
    assert runs == {True: ["full", "resumed"], False: ["full", "full"]}
    world = begin("2.2")
    world.endpoint("GW2").forget("GW1")
    assert Connection.open(world.endpoint("GW1"), world.endpoint("GW2"), resume=True).is_resumed


def test_the_client_decides_too() -> None:
    world = begin("2.2")
    world.cut()
    world.endpoint("GW1").forget("GW2")
    world.run()
    assert handshakes(world) == ["full", "full"]


def test_a_yes_does_not_outlive_the_process_that_said_it() -> None:
    """The server says yes and crashes: the client offers its session, and the new process cannot read the ticket."""
    world = begin("2.2")
    world.cut(by="GW1")
    world.deliver_next()
    world.deliver_next()
    world.crash("GW2")
    world.restart("GW2")
    world.run()
    assert handshakes(world)[-1] == "full"
    assert world.owners == [BOB]


# ------------------------------------------------------------------ certificates


def expire(world: World, who: str) -> None:
    """Its certificate of a day is over; so are all locks, in this story there is none."""
    world.wait(2 * 24 * 3600)


@pytest.mark.parametrize("who", PEER_OF)
@pytest.mark.parametrize("step", ["1.4", "2.2", "3.3"])
def test_a_revoked_gateway_is_refused_and_both_wait_until_it_is_certified_anew(who: str, step: str) -> None:
    world = begin(step)
    before = [len(world.log(each)) for each in PEER_OF]
    world.revoke(who)
    world.cut()
    world.run()
    refusals = [event for event in world.trace.of(NotConnected) if isinstance(event, NotConnected)]
    assert {(event.gateway, event.peer) for event in refusals} == {(PEER_OF[who], who)}
    assert all(f"certificate 1 of {who} was revoked" in event.reason for event in refusals)
    assert [event.is_resumed for event in refusals] == [who == "GW1"] + [False] * (len(refusals) - 1)
    assert [len(world.log(each)) for each in PEER_OF] == before, "nothing got through"
    assert not world.is_at_rest

    world.renew(who)
    world.run()
    assert handshakes(world)[-1] == "full", "a resumed connection would show the old certificate"
    assert world.owners == [BOB]


@pytest.mark.parametrize("who", PEER_OF)
def test_on_a_connection_that_stays_open_a_revoked_signature_is_refused_all_the_same(who: str) -> None:
    """TLS has judged once, when the connection was made; every signature is judged when it arrives."""
    world = begin("2.2" if who == "GW1" else "2.4")
    before = len(world.log(PEER_OF[who]))
    world.revoke(who)
    world.deliver_next()
    assert handshakes(world) == ["full"]
    assert len(world.log(PEER_OF[who])) == before
    [error] = [read_payload(message.data) for message in world.link]
    assert "revoked" in str(error["detail"])


def test_an_expired_certificate_is_refused_and_a_new_one_brings_both_together() -> None:
    world = World("link")
    world.admit("GW1", valid_until=START + timedelta(days=1))
    world.start()
    world.run(until="1.4")
    world.wait(2 * 24 * 3600)
    world.cut()
    world.run()
    first = world.trace.of(NotConnected)[0]
    assert isinstance(first, NotConnected)
    assert first.is_resumed
    assert "is expired at 2024-10-04T12:02:00Z" in first.reason
    assert len(world.log("GW2")) == 4
    world.renew("GW1")
    world.run()
    assert world.owners == [BOB]


@pytest.mark.parametrize("who", PEER_OF)
def test_a_renewed_certificate_outlives_a_crash_of_either_side(who: str) -> None:
    world = begin("2.2")
    world.revoke("GW1")
    world.renew("GW1")
    world.run(until="3.1")
    world.crash(who)
    world.restart(who)
    world.run()
    assert world.owners == [BOB]
    assert "refused" not in " ".join(handshakes(world))


@pytest.mark.parametrize("who", PEER_OF)
def test_another_gateways_certificate_is_refused_in_this_ones_place(who: str) -> None:
    world = begin("2.2")
    world.admit("GW3")
    key, registry = world.key("GW3"), world.registry
    for certificate in (registry.certify("GW3", key.public), registry.certify(who, key.public, serial=1)):
        intruder = Endpoint(key, certificate, registry.owners, registry.make_ring(who))
        intruder.gateway_id = who
        with pytest.raises(HandshakeRefused) as refused:
            Connection.open(intruder, world.endpoint(PEER_OF[who]), resume=True)
        assert (refused.value.by, refused.value.code) == (PEER_OF[who], "badCertificate")


# ------------------------------------------------------------------ a lost key


def lose_key(who: str) -> World:
    world = begin("2.2" if who == "GW1" else "2.4")
    world.crash(who)
    world.lose_key(who)
    world.restart(who)
    world.run(until="3.1")
    return world


@pytest.mark.parametrize("who", PEER_OF)
def test_after_a_lost_key_the_new_certificate_connects_and_the_stolen_key_does_not(who: str) -> None:
    world = lose_key(who)
    assert handshakes(world) == ["full", "full"]
    stolen, registry = world.key(who), world.registry
    thief = Endpoint(stolen, registry.certify(who, stolen.public), registry.owners, registry.make_ring(who))
    with pytest.raises(HandshakeRefused, match=f"certificate 1 of {who} was replaced by certificate 2"):
        Connection.open(thief, world.endpoint(PEER_OF[who]), resume=True)
    world.run()
    assert world.owners == [BOB]


@pytest.mark.parametrize("who", PEER_OF)
def test_what_a_stolen_key_signs_is_refused_with_a_signed_error(who: str) -> None:
    world = lose_key(who)
    peer = world.sender if who == "GW2" else world.recipient
    before = len(world.log(PEER_OF[who]))
    own = next(entry for entry in world.log(who) if "message" in entry.payload)
    forged = read_payload(str(own.payload["message"]).encode()) | {"timestamp": "2024-10-03T13:00:00Z"}
    reply = peer.receive(world.key(who).sign(forged).encode())
    assert reply is not None
    error = peer.identity.key.public.kid, read_payload(reply)
    assert "was replaced by certificate 2" in str(error[1]["detail"])
    assert len(world.log(PEER_OF[who])) == before


def test_what_is_in_the_chain_still_verifies() -> None:
    """The proposal under the old key gets its stored answer; the sender's log is read under both keys."""
    world = lose_key("GW1")
    proposal = str(world.log("GW1")[0].payload["message"])
    reply = world.recipient.receive(proposal.encode())
    assert reply is not None
    assert str(read_payload(reply)["messageType"]).endswith("proposal-receipt-msg")


# ------------------------------------------------------------------ what dies with a connection


@pytest.mark.parametrize("how", ["cut", "restart"])
def test_everything_in_flight_dies_with_its_connection(how: str) -> None:
    world = World("link")
    names = [world.start(), world.start("a second asset")]
    world.deliver_next()
    flying = list(world.link)
    assert len(flying) == len(names)
    assert all(message.connection is world.secure.connection for message in flying)
    if how == "cut":
        world.cut()
    else:
        world.crash("GW1")
        world.restart("GW1")
    assert not [message for message in world.link if message in flying]
    assert len(world.trace.of(Lost)) == len(flying)
    world.link[:0] = flying  # even if somebody had kept the records
    for _ in flying:
        world.deliver_next()
    assert len(world.trace.of(Lost)) == 2 * len(flying)
    world.run()
    assert world.is_at_rest


# ------------------------------------------------------------------ why a new connection is a safety rule


def run_late(
    who: str, step: str, entries: int, *, rule: bool, aborts: bool, carried: int, tls: bool = True
) -> tuple[World, InFlight]:
    """The author of a message crashes, loses entries and comes back; then the message of before arrives.

    Between the two, `carried` messages of the recovery arrive, and the application may end the session.
    """
    world = World("late", tls=tls, rules=Rules(fresh_connection_after_restart=rule))
    world.start()
    world.run(until=step)
    late = world.link.pop()
    world.crash(who)
    world.forget(who, entries)
    world.restart(who)
    for _ in range(carried):
        if world.link:
            world.deliver_next()
    if aborts:
        world.abort(who, "the customer has left")
    world.link.insert(0, late)
    world.run()
    return world, late


def test_a_recipient_that_has_forgotten_its_promise_is_still_bound_by_its_mint() -> None:
    """R31's loss by another door: if it could leave now, the old promise would arrive and the sender burn on it."""
    with pytest.raises(Misuse, match="only a receipt of the origin network"):
        run_late("GW2", "3.3", 4, rule=False, aborts=True, carried=2)


def test_an_old_commit_ready_during_the_recovery_is_burned_on_and_then_unknown() -> None:
    """The sender burns on what its author has forgotten; commit-final is refused, and a human has to look."""
    bad, late = run_late("GW2", "3.3", 4, rule=False, aborts=False, carried=1)
    assert (late.step, bad.owners) == ("3.3", [])
    assert not bad.is_at_rest
    assert bad.sender.session(bad.sessions[0]).parked is not None
    good, _ = run_late("GW2", "3.3", 4, rule=True, aborts=False, carried=1)
    assert good.owners == [BOB]
    assert "3.3 commit-ready is lost" in repr(good.trace)


@pytest.mark.parametrize(("who", "steps"), [("GW1", ["1.3", "2.2", "3.1", "3.5"]), ("GW2", ["1.2", "2.4", "3.3"])])
def test_with_the_rule_no_old_message_does_any_harm(who: str, steps: list[str]) -> None:
    """Whatever was lost, and whenever it arrives. Only the closed connection stands in its way."""
    tried = 0
    for step in steps:
        for entries in (2, 4, 6):
            for carried in (0, 1, 2, 3):
                world, _ = run_late(who, step, entries, rule=True, aborts=False, carried=carried)
                assert (world.owners, world.is_at_rest) in (([BOB], True), ([ALICE], True)), (step, entries, carried)
                tried += 1
    assert tried == 12 * len(steps)


def test_who_remembers_what_it_said_needs_no_new_connection() -> None:
    """A crash that takes only the process: the old message is one that its author still knows."""
    for carried in (0, 1, 2):
        world, _ = run_late("GW2", "3.3", 0, rule=False, aborts=False, carried=carried)
        assert world.owners == [BOB]


# ------------------------------------------------------------------ telling the World


def test_only_who_is_up_has_tls_and_only_who_is_up_is_renewed() -> None:
    world = begin("2.2")
    world.crash("GW1")
    with pytest.raises(Misuse, match="GW1 is down; restart it first"):
        world.endpoint("GW1")
    with pytest.raises(Misuse, match="GW1 is down; restart it first"):
        world.renew("GW1")
    world.revoke("GW1")
    assert str(world.trace.of(Forgotten)[-1]) == "GW1 loses its certificate: revoked"
    world.restart("GW1")
    world.run()
    assert [str(each) for each in world.trace.of(NotConnected)][:1] == [
        "GW2 refused GW1: certificate 1 of GW1 was revoked"
    ]


def test_a_stolen_key_stays_out_after_the_peer_has_restarted_without_an_open_session() -> None:
    """The configuration knows the first certificate; which one replaced it stands in the gateway's own log."""
    world = World(seed="test")
    world.start()
    world.run(until="2.2")
    world.crash("GW1")
    world.lose_key("GW1")
    world.restart("GW1")
    world.run()
    world.crash("GW2")
    world.restart("GW2")
    stolen, registry = world.key("GW1"), world.registry
    thief = Endpoint(stolen, registry.certify("GW1", stolen.public), registry.owners, registry.make_ring("GW1"))
    with pytest.raises(HandshakeRefused, match="was replaced by certificate 2"):
        Connection.open(thief, world.endpoint("GW2"), resume=False)
    world.close()
