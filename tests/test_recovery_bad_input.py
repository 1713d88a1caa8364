"""What a gateway in recovery may be sent and must not: a signed error or silence, nothing changes, and it goes on.

Two kinds of cases: a real message of a real recovery, tampered with on its way; and a message of the right author
that is wrong here: another session's, an old one, one that comes too early or after everything is over.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc import jws

from protocol.certificates import OwnerCA
from protocol.messages.recovery import NAMES, RECOVERY_NAMESPACE
from protocol.messages.satp import NO_ID, ErrorMessage, parse_message
from protocol.network import World
from protocol.objects import Json, canonical, digest
from protocol.session import Session
from protocol.signing import KeyPair, read_payload
from protocol.steps import Role
from tests.conftest import check_one_owner, check_transferred
from tests.test_bad_input import OTHER_SESSION, WRONG, b64, fingerprint
from tests.test_recovery_fuzz import Recorded, describe

EXCHANGE = (
    "transfer-resume",
    "transfer-continue",
    "recover",
    "recover-update",
    "recover-update-ack",
    "recover-success",
)
ENDING = ("rollback", "rollback-ack")
PLACES = (*EXCHANGE, *ENDING)


class Bench:
    """A recovery that was stopped before one of its messages arrived: `data`, for `target`, of `author`."""

    def __init__(self, name: str, *, loss: str = "tail") -> None:
        self.name = name
        self.world = world = Recorded("bad input")
        world.admit("GW3")
        world.start()
        world.run(until="3.3" if name != "rollback-ack" else "2.4")
        world.crash("sender")
        if name in ENDING or loss == "late":
            world.wait(400)
        else:
            world.forget("sender", 5 if loss == "tail" else None)
        world.restart("sender")
        for _ in range(60):
            found = [m for m in world.link if m.name == name]
            if found:
                break
            world.deliver_next() if world.link else world._time_out()
        message = found[0]
        world.link.remove(message)
        self.data, self.target, self.author = message.data, message.target, message.source.id

    @property
    def payload(self) -> Json:
        return read_payload(self.data)

    def sign(self, payload: Json, who: str | None = None) -> bytes:
        return self.world.key(who or self.author).sign(payload).encode()

    def change(self, **fields: Any) -> bytes:
        """Some fields are others (None removes one), signed by the author."""
        changed = {name: value for name, value in {**self.payload, **fields}.items() if value is not None}
        return self.sign(changed)

    def receive(self, data: bytes) -> bytes | None:
        gateway = self.target.gateway
        assert gateway is not None
        return gateway.receive(data)

    def refused(self, data: bytes) -> str:
        """The code of the signed error, or `silence`; whatever it is, nothing has changed."""
        before = fingerprint(self.world)
        reply = self.receive(data)
        assert fingerprint(self.world) == before, "a refused message changed the log or a ledger"
        if reply is None:
            return "silence"
        error = parse_message(read_payload(reply))
        assert isinstance(error, ErrorMessage), f"{self.name} was answered with {error.messageType}"
        assert self.world.key(self.target.id).public.kid in str(jws.extract_compact(reply).headers())
        return error.type.rpartition(":")[2]

    def unchanged(self, data: bytes) -> bytes | None:
        """The answer to what may be answered, and changes nothing."""
        before = fingerprint(self.world)
        reply = self.receive(data)
        assert fingerprint(self.world) == before, "log or ledger changed"
        return reply

    def finish(self) -> None:
        """The real message arrives after all, and the run ends well."""
        self.world.hand(self.target.role, self.data)
        self.world.run()
        assert self.world.is_at_rest, describe(self.world)
        check_one_owner(self.world)
        for gateway in (self.world.sender, self.world.recipient):
            session = gateway.session(self.world.sessions[0])
            assert not session.frozen, describe(self.world)
            assert not session.parked, describe(self.world)
        if self.name in EXCHANGE:
            check_transferred(self.world)
        self.world.close()


# ---------------------------------------------------------------------- tampered with


def forge(bench: Bench) -> bytes:
    header = {"alg": "ES256", "kid": bench.world.key(bench.author).public.kid}
    return jws.serialize_compact(header, canonical(bench.payload), bench.world.key("somebody").key).encode()


def swap(bench: Bench) -> bytes:
    header, _, signature = bench.data.split(b".")
    return b".".join([header, b64(bench.payload | {"more": 1}), signature])


def deepen(bench: Bench) -> bytes:
    """Rightly signed, and deeper than any reader goes."""
    key = bench.world.key(bench.author)
    depth = 100_000
    body = b'{"messageType":"' + bench.payload["messageType"].encode() + b'","x":' + b"[" * depth + b"]" * depth + b"}"
    return key.sign_canonical(body).encode()


def inflate(bench: Bench) -> bytes:
    return bench.sign(bench.payload | {"more": "x" * 6_000_000})


TAMPERED: dict[str, tuple[Callable[[Bench], bytes], str]] = {
    "not a JWS": (lambda bench: b"hello", "err_0.1.1"),
    "nothing": (lambda bench: b"", "err_0.1.1"),
    "only the payload, unsigned": (lambda bench: canonical(bench.payload), "err_0.1.1"),
    "a stranger's key": (lambda bench: bench.sign(bench.payload, "somebody"), "err_0.1.3"),
    "another's signature under the right kid": (forge, "err_0.1.3"),
    "another payload under a right signature": (swap, "err_0.1.3"),
    "the receiver's own key": (lambda bench: bench.sign(bench.payload, bench.target.id), "err_0.1.3"),
    "a network's key": (lambda bench: bench.sign(bench.payload, "network 1"), "err_0.1.3"),
    "another gateway with a good certificate": (lambda bench: bench.sign(bench.payload, "GW3"), "err_0.1.2"),
    "an unknown type": (lambda bench: bench.change(messageType=RECOVERY_NAMESPACE + "hello-msg"), "err_0.1.1"),
    "no type": (lambda bench: bench.change(messageType=None), "err_0.1.1"),
    "deeper than any reader goes": (deepen, "err_0.1.1"),
    "more than six megabytes": (inflate, "err_0.1.1"),
}


@pytest.mark.parametrize("case", TAMPERED)
@pytest.mark.parametrize("name", PLACES)
def test_tampered_with(name: str, case: str) -> None:
    bench = Bench(name)
    tamper, code = TAMPERED[case]
    assert bench.refused(tamper(bench)) == code
    bench.finish()


LINKS = {"transfer-continue": "hashPrevMessage", "recover-update": "hashRecoverMessage",
         "recover-update-ack": "hashRecoverUpdateMessage", "recover-success": "hashRecoverUpdateAckMessage",
         "rollback": "hashPrevMessage", "rollback-ack": "hashPrevMessage"}  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_an_answer_to_something_else(name: str) -> None:
    bench = Bench(name)
    assert bench.refused(bench.change(**{LINKS[name]: WRONG})) in ("err_0.1.1", "silence")
    bench.finish()


@pytest.mark.parametrize("name", [name for name in PLACES if not name.startswith("transfer")])
def test_another_context(name: str) -> None:
    bench = Bench(name)
    assert bench.refused(bench.change(contextId="another")) == "err_0.1.1"
    bench.finish()


@pytest.mark.parametrize("session_id", [OTHER_SESSION, NO_ID])
@pytest.mark.parametrize("name", [name for name in PLACES if not name.startswith("transfer")])
def test_an_unknown_session(name: str, session_id: str) -> None:
    bench = Bench(name)
    position = bench.payload.get("position")
    fields = {"sessionId": session_id} | ({"position": position | {"sessionId": session_id}} if position else {})
    reply = bench.unchanged(bench.change(**fields))
    if name == "recover":
        update = read_payload(reply or b"")
        assert (update["recoveredLogs"], update["receipts"]) == ([], []), "it is answered: we know of nothing"
    else:
        assert reply is None or "error" in read_payload(reply)["messageType"]
    bench.finish()


OFFERS: dict[str, tuple[Json, str]] = {
    "of another gateway": ({"gatewayId": "GW3"}, "err_0.1.2"),
    "to another gateway": ({"peerId": "GW3"}, "err_0.1.2"),
    "with an unknown crash": ({"crashErrorCode": "meteorite"}, "err_0.1.1"),
    "with a crash that is a number": ({"crashErrorCode": 7}, "err_0.1.1"),
    "with a position that is none": ({"sessions": [{}]}, "err_0.1.1"),
    "with a certificate that is garbage": ({"certificate": "AAAA"}, "err_0.1.3"),
    "with a key that did not sign": ({"newIdentityPublicKey": KeyPair.lab("x", "x").public.jwk}, "err_0.1.3"),
    "with a key that is none": ({"newIdentityPublicKey": {"kty": "EC"}}, "err_0.1.1"),
}


@pytest.mark.parametrize("case", OFFERS)
def test_a_wrong_offer(case: str) -> None:
    bench = Bench("transfer-resume")
    fields, code = OFFERS[case]
    assert bench.refused(bench.change(**fields)) == code
    bench.finish()


@pytest.mark.parametrize("fields", [{"gatewayId": "GW3"}, {"nonce": "another"}, {"hashPrevMessage": WRONG}], ids=str)
def test_a_wrong_answer_to_an_offer(fields: Json) -> None:
    bench = Bench("transfer-continue")
    assert bench.refused(bench.change(**fields)) in ("err_0.1.2", "silence")
    assert bench.target.gateway is not None
    assert bench.target.gateway.collect() == []
    bench.finish()


# ---------------------------------------------------------------------- certificates


LONG_AGO = datetime(2021, 1, 1, tzinfo=UTC)


def certify(bench: Bench, case: str) -> tuple[str, KeyPair]:
    """A certificate that is wrong in one way, and the key to sign with."""
    world = bench.world
    owner, own, new = world.registry._owners["GW1"], world.key("GW1"), world.key("another key of GW1")
    stranger = OwnerCA("Mallory LTD", world.key("Mallory LTD"), owner.root)
    namesake = OwnerCA(owner.owner, world.key("Mallory LTD"), owner.root)
    made = {
        "a foreign owner": (stranger.certify("GW1", new.public, serial=2), new),
        "a foreign owner of the same name": (namesake.certify("GW1", new.public, serial=2), new),
        "a lower serial number": (owner.certify("GW1", new.public, serial=1), new),
        "a key that did not sign": (owner.certify("GW1", new.public, serial=2), own),
        "another gateway's certificate": (world.registry._published["GW3", 1], own),
        "for another gateway": (owner.certify("GW9", new.public, serial=2), new),
        "the key of another gateway": (owner.certify("GW1", world.key("GW3").public, serial=2), world.key("GW3")),
        "not valid any more": (owner.certify("GW1", new.public, serial=2, valid_until=LONG_AGO), new),
    }  # fmt: skip
    certificate, key = made[case]
    return certificate.base64, key


CERTIFICATES = ("a foreign owner", "a foreign owner of the same name", "a lower serial number",
                "a key that did not sign", "another gateway's certificate", "for another gateway",
                "the key of another gateway", "not valid any more")  # fmt: skip


@pytest.mark.parametrize("case", CERTIFICATES)
@pytest.mark.parametrize("name", ["transfer-resume", "recover"])
def test_a_wrong_certificate(name: str, case: str) -> None:
    """R26. Refused, and the ring of keys is what it was: the present key goes on to count."""
    bench = Bench(name)
    certificate, key = certify(bench, case)
    payload = bench.payload | {"certificate": certificate, "newIdentityPublicKey": key.public.jwk}
    assert bench.refused(key.sign(payload).encode()).startswith("err_0.1.")
    bench.finish()


@pytest.mark.parametrize("name", ["transfer-resume", "recover"])
def test_a_new_key_that_is_not_the_one_of_its_certificate(name: str) -> None:
    """R26: the certificate is right and so is the signature; the key that is announced beside them is a third one."""
    bench = Bench(name)
    new = bench.world.key("another key of GW1")
    certificate = bench.world.registry._owners["GW1"].certify("GW1", new.public, serial=2).base64
    payload = bench.payload | {"certificate": certificate, "newIdentityPublicKey": KeyPair.lab("x", "x").public.jwk}
    assert bench.refused(new.sign(payload).encode()) == "err_0.1.3"
    bench.finish()


# ---------------------------------------------------------------------- others


def test_what_others_have_is_neither_told_nor_touched() -> None:
    """A third gateway, with a good certificate, names a session that GW1's log has lost and its network knows."""
    world = Recorded("bad input")
    world.admit("GW3")
    first, second = world.start(), world.start("another asset")
    world.run(until="2.4", of=first)
    world.crash("sender")
    log = world.log("sender", first)
    assert log
    forget_session(world, first)
    world.wait(400)  # a lock that is over is not looked for among the orphans
    world.restart("sender")
    assert world.sender.find_session(first) is None
    assert world.sender.find_session(second) is not None
    position = {"sessionId": first, "satpPhase": 0, "sequenceNumber": 0, "role": "recipient", "messages": 0,
                "log": "nothing", "ledger": "untouched"}  # fmt: skip
    offer = {"messageType": RECOVERY_NAMESPACE + "transfer-resume-msg", "gatewayId": "GW3", "peerId": "GW1",
             "crashErrorCode": "storage", "sessions": [position], "isWhole": True, "isBackup": False, "nonce": "n",
             "restartFrom": "last-message", "incarnation": 2, "epoch": 0, "timestamp": world.now}  # fmt: skip
    key = world.key("GW3")
    before = fingerprint(world)
    answer = read_payload(world.sender.receive(key.sign(offer).encode()) or b"")
    assert (answer["sessions"], answer["notNamed"]) == ([], [])
    recover = {"messageType": RECOVERY_NAMESPACE + "recover-msg", "sessionId": first, "isBackup": False,
               "lastEntryTimestamp": world.now, "position": position, "hashPrevMessage": digest(answer)}  # fmt: skip
    error = read_payload(world.sender.receive(key.sign(recover).encode()) or b"")
    assert error["type"].endswith("err_0.1.2")
    assert fingerprint(world) == before
    world.run()
    assert world.is_at_rest
    assert len(world.owners) == 2


def forget_session(world: World, session_id: str) -> None:
    """One session is gone from a log, and the rest of it is there."""
    import sqlite3

    database = sqlite3.connect(world._side("sender").path)
    with database:
        database.execute("DELETE FROM entry WHERE session = ?", (session_id,))
        database.execute("DELETE FROM session WHERE id = ?", (session_id,))
    database.close()


@pytest.mark.parametrize("fields", [{"role": "recipient"}, {"headHash": None}, {"sessionId": OTHER_SESSION}], ids=str)
@pytest.mark.parametrize("name", ["recover", "recover-update"])
def test_a_position_that_cannot_be(name: str, fields: Json) -> None:
    bench = Bench(name)
    wrong = fields if name == "recover" or "role" not in fields else {"role": "sender"}
    position = {k: v for k, v in (bench.payload["position"] | wrong).items() if v is not None}
    assert bench.refused(bench.change(position=position)) == "err_0.1.1"
    bench.finish()


@pytest.mark.parametrize("claim", [{"log": "left", "ledger": "undone"}, {"log": "nothing"}, {"log": "frozen"}], ids=str)
def test_a_false_claim_without_its_link_changes_nothing(claim: Json) -> None:
    """A RECOVER that no answer of this incarnation led to is told what we have, and that is all."""
    bench = Bench("recover")
    position = bench.payload["position"] | claim
    reply = bench.unchanged(bench.change(position=position, hashPrevMessage=WRONG))
    assert read_payload(reply or b"")["messageType"].endswith("recover-update-msg")
    bench.finish()


# ---------------------------------------------------------------------- again, too early, too late


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("times", [2, 5])
def test_again_at_once(name: str, times: int) -> None:
    """The first one counts; the others are answered or not, and change nothing."""
    bench = Bench(name)
    bench.world.hand(bench.target.role, bench.data)
    for _ in range(times - 1):
        bench.unchanged(bench.data)
    bench.world.run()
    assert bench.world.is_at_rest
    check_one_owner(bench.world)


@pytest.mark.parametrize("loss", ["tail", "log", "late"])
def test_everything_again_after_all_is_over(loss: str) -> None:
    """Every message of the run, to both gateways, twice, when both have finished: nothing changes any more."""
    bench = Bench("transfer-resume", loss=loss)
    bench.world.hand(bench.target.role, bench.data)
    world = bench.world
    world.run()
    assert world.is_at_rest
    check_one_owner(world)
    before = fingerprint(world)
    for _, data in [*world.said, *world.said]:
        for gateway in (world.sender, world.recipient):
            gateway.receive(data)
            assert gateway.collect() == []
    assert fingerprint(world) == before


@pytest.mark.parametrize("done", ["1.1", "1.4", "2.2", "2.4", "3.3", "3.5", "3.9"])
@pytest.mark.parametrize("name", NAMES)
def test_out_of_nowhere(name: str, done: str) -> None:
    """Every recovery message of another session's run, its ids put right, in a session that needs no recovery."""
    payloads = recorded()
    world = Recorded("bad input")
    world.start("another asset")
    world.run(until=done)
    session: Session = world.sender.session(world.sessions[0])
    for role in Role:
        gateway, key = world._gateway(role), world.key("GW2" if role is Role.SENDER else "GW1")
        for payload in payloads.get((role, name), []):
            ids = {"sessionId": session.id, "contextId": session.context} if "sessionId" in payload else {}
            inner = payload.get("position")
            position = {"position": inner | {"sessionId": session.id}} if inner else {}
            before = fingerprint(world)
            gateway.receive(key.sign(payload | ids | position).encode())
            assert gateway.collect() == []
            assert fingerprint(world) == before, f"{name} to the {role}"
    world.run()
    check_transferred(world)


def recorded() -> dict[tuple[Role, str], list[Json]]:
    """The recovery messages of a few runs, by whom they were for."""
    found: dict[tuple[Role, str], list[Json]] = {}
    for kind in ("tail", "log", "late"):
        bench = Bench("transfer-resume", loss=kind)
        bench.world.hand(bench.target.role, bench.data)
        bench.world.run()
        for role, data in bench.world.said:
            name = str(read_payload(data)["messageType"]).removeprefix(RECOVERY_NAMESPACE).removesuffix("-msg")
            found.setdefault((role, name), []).append(read_payload(data))
        bench.world.close()
    return found


def test_an_old_offer_takes_the_place_of_no_later_one() -> None:
    """It is answered and forgotten; RECOVER goes on to count as bound to the answer before."""
    bench = Bench("recover", loss="log")
    offers = [data for role, data in bench.world.said if b"transfer-resume" in canonical(read_payload(data))]
    first = next(data for data in offers if read_payload(data)["gatewayId"] == "GW1")
    assert bench.unchanged(first) is not None
    gateway = bench.target.gateway
    assert gateway is not None
    assert bench.payload["hashPrevMessage"] in gateway._offers._answered["GW1"].digests
    bench.finish()


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize("lost", [2, 6, None])
def test_two_that_recover_at_once_both_end(who: Role, lost: int | None) -> None:
    """Both offers, both answers, both RECOVERs cross: two exchanges run through each other."""
    world = World("crossing", tls=False)
    world.start()
    world.run(until="3.3")
    world.crash("sender")
    world.crash("recipient")
    world.forget(who, lost)
    world.restart("sender")
    world.restart("recipient")
    world.link.clear()
    world._time_out()
    assert [message.name for message in world.link] == ["transfer-resume"] * 2
    world.run()
    check_transferred(world)
