"""Messages that a gateway in recovery must not believe: an error, silence or a dispute, and nothing changes."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from protocol.certificates import OwnerCA
from protocol.errors import Refused
from protocol.messages.recovery import RECOVERY_NAMESPACE
from protocol.objects import canonical
from protocol.scenario_steps import StepPlay, reach, receive_recovery
from protocol.signing import KeyPair, KeyRing, read_payload
from protocol.steps import Role
from tools.vector_families import Family, Json, case
from tools.vector_families.play import make_public_jwk
from tools.vector_families.recovery_scenarios import Driver
from tools.vector_families.scenario_texts import AGREED, PREPARED

OTHER_SESSION = "00000000-0000-4000-8000-00000000000f"
WRONG = "0" * 64
LONG_AGO = datetime(2021, 1, 1, tzinfo=UTC)
FORGETS = f"{PREPARED} S.crash S.forget5 S.restart run-until="
EXPIRES = "S.crash wait S.restart run-until="
STATES: dict[str, tuple[str, Role, str]] = {  # by the message that is about to arrive: what came before, and for whom
    "transfer-resume": ("The sender has lost five entries and offers to go on.", Role.RECIPIENT, FORGETS),
    "transfer-continue": ("It is answered.", Role.SENDER, FORGETS),
    "recover": ("It asks for what it lacks.", Role.RECIPIENT, FORGETS),
    "recover-update": ("It gets what it lacks.", Role.SENDER, FORGETS),
    "recover-update-ack": ("It says what it has appended.", Role.RECIPIENT, FORGETS),
    "recover-success": ("The other one confirms.", Role.SENDER, FORGETS),
    "rollback": (
        "The sender's lock has run out; it proves that to a prepared recipient.",
        Role.RECIPIENT,
        f"{PREPARED} {EXPIRES}",
    ),
    "rollback-ack": ("Without a mint: what the recipient has undone.", Role.SENDER, f"{AGREED} {EXPIRES}"),
}
IN_SESSION = tuple(name for name in STATES if not name.startswith("transfer"))
LINKS = {
    "transfer-continue": "hashPrevMessage",
    "recover-update": "hashRecoverMessage",
    "recover-update-ack": "hashRecoverUpdateMessage",
    "recover-success": "hashRecoverUpdateAckMessage",
    "rollback": "hashPrevMessage",
    "rollback-ack": "hashPrevMessage",
}


class Bench:
    """A recovery that was stopped before one of its messages arrived: the good one is `data`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.about, self.to, text = STATES[name]
        driver = Driver(known=("GW3",))
        driver.tell(text + name)
        self.play: StepPlay = driver.play
        self.world = self.play.world
        message = next(each for each in self.world.link if each.name == name)
        assert message.target.role is self.to
        self.data, self.author = message.data.decode(), message.source.id
        session = self.play.find(self.to)
        self.state: Json = {
            "about": self.about,
            "to": self.to.value,
            "time": self.world.now,
            "known": ["GW3"],
            "steps": driver.steps,
            "chain": [version.signed for version in session.history] if session else [],
            "next": self.data,
        }
        self.shared: Json = {"states": {name: self.state}}

    @property
    def payload(self) -> Json:
        return read_payload(self.data)

    def sign(self, payload: Json, who: str | None = None) -> str:
        return self.world.key(who or self.author).sign(payload)

    def change(self, **fields: Any) -> str:
        """Some fields are others (None removes one), signed by the author."""
        return self.sign({name: value for name, value in {**self.payload, **fields}.items() if value is not None})

    def is_signed_by_author(self, compact: str) -> bool:
        ring = KeyRing([(self.author, self.world.key(self.author).public)])
        try:
            ring.verify(compact)
        except Refused:
            return False
        return True

    def look(self) -> str:
        """Both logs, line by line, and both networks."""
        entries = [entry.canonical_bytes for role in Role for entry in self.world.log(role)]
        return repr((entries, [(ledger.assets, ledger.height) for ledger in self.world.ledgers]))


def make_case(
    bench: Bench, name: str, comment: str, message: str, *, signed: bool = True, freezes: bool = False
) -> Json:
    """`signed`: by the right author, so that its content is what counts. Nothing may change but by a dispute."""
    name = f"{bench.name}-{name}"
    assert message != bench.data, f"{name}: this is the good message"
    assert bench.is_signed_by_author(message) is signed, f"{name}: signed by its author: {not signed}"
    given: Json = {"state": bench.name, "to": bench.to.value, "message": message}
    code, expect = None, None
    try:
        expect = receive_recovery(given, bench.shared)
    except Refused as refusal:
        code = refusal.code
    if expect is not None:
        assert expect["answer"] == ("recover-dispute" if freezes else "nothing"), f"{name}: {expect}"
        assert (expect["log"] == "frozen") is freezes, f"{name}: {expect}"
    return case(name, comment, given, holds=freezes or changes_nothing(bench, given), expect=expect, code=code)


def changes_nothing(bench: Bench, given: Json) -> bool:
    """Whether logs and ledgers are, byte for byte, what they were before the message came."""
    before = bench.look()
    bench.world._gateway(bench.to).receive(given["message"].encode())
    return bench.look() == before


# ---------------------------------------------------------------------- tampered with


def swap(bench: Bench) -> str:
    header, _, signature = bench.data.split(".")
    body = urlsafe_b64encode(canonical(bench.payload | {"more": 1})).rstrip(b"=").decode()
    return f"{header}.{body}.{signature}"


Make = Callable[[Bench], str]
EVERYWHERE: dict[str, tuple[str, Make, bool]] = {
    "with-a-strangers-key": ("A key that nobody knows.", lambda bench: bench.sign(bench.payload, "somebody"), False),
    "changed-after-signing": ("One field more, under the old signature.", swap, False),
    "of-another-gateway": (
        "GW3 has a good certificate, and nothing to do with this session.",
        lambda bench: bench.sign(bench.payload, "GW3"),
        False,
    ),
    "without-a-type": ("Signed by its author, and of no type.", lambda bench: bench.change(messageType=None), True),
}
ONCE: dict[str, tuple[str, Make, bool]] = {
    "no-jws": ("Five letters.", lambda bench: "hello", False),
    "empty": ("No bytes at all.", lambda bench: "", False),
    "unsigned": ("The payload alone.", lambda bench: canonical(bench.payload).decode(), False),
    "with-the-receivers-key": (
        "The receiver's own key, in another's hands.",
        lambda bench: bench.sign(bench.payload, "GW2"),
        False,
    ),
    "with-a-networks-key": (
        "A network signs receipts and no messages.",
        lambda bench: bench.sign(bench.payload, "network 1"),
        False,
    ),
    "of-an-unknown-type": (
        "A type of this namespace that there is not.",
        lambda bench: bench.change(messageType=RECOVERY_NAMESPACE + "hello-msg"),
        True,
    ),
}


def make_tampered(benches: dict[str, Bench]) -> list[Json]:
    cases = [
        make_case(bench, name, comment, make(bench), signed=signed)
        for bench in benches.values()
        for name, (comment, make, signed) in EVERYWHERE.items()
    ]
    bench = benches["recover"]
    return cases + [
        make_case(bench, name, comment, make(bench), signed=signed) for name, (comment, make, signed) in ONCE.items()
    ]


# ---------------------------------------------------------------------- of the right author, and wrong here


def make_out_of_place(benches: dict[str, Bench]) -> list[Json]:
    cases = [
        make_case(
            benches[name],
            "answers-something-else",
            f"{field} names no message that was said in this recovery.",
            benches[name].change(**{field: WRONG}),
        )
        for name, field in LINKS.items()
    ]
    cases += [
        make_case(
            benches[name],
            "another-context",
            "The contextId is not that of the session.",
            benches[name].change(contextId="another"),
        )
        for name in IN_SESSION
    ]
    cases += [
        make_case(
            benches[name],
            "another-session",
            "No session has this id, so nothing follows from the message.",
            benches[name].change(sessionId=OTHER_SESSION),
        )
        for name in IN_SESSION
        if "position" not in benches[name].payload
    ]
    positions: dict[str, Json] = {
        "position-of-the-same-role": {"role": "recipient"},
        "position-without-a-head": {"headHash": None},
        "position-of-another-session": {"sessionId": OTHER_SESSION},
    }
    recover = benches["recover"]
    for name, fields in positions.items():
        position = {key: value for key, value in (recover.payload["position"] | fields).items() if value is not None}
        cases.append(
            make_case(recover, name, "A position that the peer cannot have.", recover.change(position=position))
        )
    return cases


OFFERS: dict[str, tuple[str, Json]] = {
    "in-anothers-name": ("The gateway that offers is not the one that signed.", {"gatewayId": "GW3"}),
    "to-somebody-else": ("The offer is to another gateway.", {"peerId": "GW3"}),
    "after-an-unknown-crash": ("A kind of crash that there is not.", {"crashErrorCode": "meteorite"}),
    "with-an-empty-position": ("A session of which nothing is said.", {"sessions": [{}]}),
    "with-garbage-as-certificate": ("A certificate that is none.", {"certificate": "AAAA"}),
    "with-a-key-that-did-not-sign": (
        "The new key that is announced is not the one that signed.",
        {"newIdentityPublicKey": KeyPair.lab("x", "x").public.jwk},
    ),
    "with-a-key-that-is-none": ("A JWK without coordinates.", {"newIdentityPublicKey": {"kty": "EC"}}),
}
ANSWERS: dict[str, tuple[str, Json]] = {
    "of-anothers-name": ("The gateway that answers is not the one that signed.", {"gatewayId": "GW3"}),
    "with-another-nonce": ("An answer to an offer that was never made.", {"nonce": "another"}),
}


def make_offers(benches: dict[str, Bench]) -> list[Json]:
    return [
        make_case(benches[state], name, comment, benches[state].change(**fields))
        for state, wrong in (("transfer-resume", OFFERS), ("transfer-continue", ANSWERS))
        for name, (comment, fields) in wrong.items()
    ]


def make_certified(bench: Bench) -> list[Json]:
    """A new key comes with a certificate of the same owner, with a higher serial number, for the key that signs."""
    world = bench.world
    owner, own, new = world.registry._owners["GW1"], world.key("GW1"), world.key("another key of GW1")
    stranger = OwnerCA("Mallory LTD", world.key("Mallory LTD"), owner.root)
    namesake = OwnerCA(owner.owner, world.key("Mallory LTD"), owner.root)
    made = {
        "foreign-owner": ("Issued by somebody else's owner.", stranger.certify("GW1", new.public, serial=2), new),
        "owner-of-the-same-name": (
            "Issued under the owner's name with another key.",
            namesake.certify("GW1", new.public, serial=2),
            new,
        ),
        "old-serial-number": ("A serial number that was used before.", owner.certify("GW1", new.public, serial=1), new),
        "key-that-did-not-sign": (
            "The certificate is of a new key; the old one has signed.",
            owner.certify("GW1", new.public, serial=2),
            own,
        ),
        "another-gateways-certificate": (
            "GW3's certificate in GW1's message.",
            world.registry._published["GW3", 1],
            own,
        ),
        "certificate-for-an-unknown-gateway": (
            "The owner has certified another gateway.",
            owner.certify("GW9", new.public, serial=2),
            new,
        ),
        "key-of-another-gateway": (
            "Two gateways with one key.",
            owner.certify("GW1", world.key("GW3").public, serial=2),
            world.key("GW3"),
        ),
        "certificate-that-has-run-out": (
            "It was valid once.",
            owner.certify("GW1", new.public, serial=2, valid_until=LONG_AGO),
            new,
        ),
    }
    return [
        make_case(
            bench,
            name,
            comment,
            key.sign(bench.payload | {"certificate": certificate.base64, "newIdentityPublicKey": key.public.jwk}),
            signed=key is own,
        )
        for name, (comment, certificate, key) in made.items()
    ]


# ---------------------------------------------------------------------- logs and receipts


def make_forged_logs(bench: Bench) -> list[Json]:
    """What the peer signs and does not fit freezes the session: two signed words that contradict each other."""
    world, logs = bench.world, bench.payload["recoveredLogs"]
    first = read_payload(logs[0])
    wrong: dict[str, tuple[str, list[str]]] = {
        "first-log-is-missing": ("The chain that is shown does not begin where the receiver's ends.", logs[1:]),
        "last-log-is-missing": ("The chain that is shown ends before the head that is claimed.", logs[:-1]),
        "no-logs": ("A head is claimed and nothing shown.", []),
        "logs-in-another-order": ("The first two messages have changed places.", [logs[1], logs[0], *logs[2:]]),
        "log-of-a-stranger": (
            "The first message is signed by nobody known.",
            [world.key("somebody").sign(first), *logs[1:]],
        ),
        "log-of-another-session": (
            "The first message names another session.",
            [world.key("GW2").sign(first | {"sessionId": OTHER_SESSION}), *logs[1:]],
        ),
        "log-is-a-recovery-message": ("Only messages of the transfer are in the chain.", [bench.data, *logs]),
        "log-is-no-jws": ("The first text is no message.", ["a.b.c", *logs]),
        "log-is-a-receipt": (
            "A network's signature in the place of a gateway's.",
            [world.key("network 1").sign({"a": 1}), *logs],
        ),
    }
    return [
        make_case(bench, name, comment, bench.change(recoveredLogs=shown), freezes=True)
        for name, (comment, shown) in wrong.items()
    ]


RECEIPTS: dict[str, tuple[str, Json, str]] = {
    "receipt-of-the-own-network": ("The receiver's network says nothing about the peer's.", {}, "network 43114"),
    "receipt-of-a-gateway": ("The peer signs what its network should.", {}, "GW1"),
    "receipt-of-a-stranger": ("Signed by nobody known.", {}, "somebody"),
    "receipt-of-another-lock": (
        "The end of a lock of another session.",
        {"under": f"{OTHER_SESSION}/2.1"},
        "network 1",
    ),
    "receipt-for-another-gateway": ("The lock was made by another gateway.", {"gateway": "GW3"}, "network 1"),
    "receipt-for-another-peer": ("The lock was made for another peer.", {"peer": "GW3"}, "network 1"),
    "receipt-of-a-lock": ("It was locked: no reason to give up the mint.", {"action": "lock"}, "network 1"),
    "receipt-of-a-burn": ("It was burned: the very reason not to.", {"action": "burn"}, "network 1"),
}


def make_unproven(bench: Bench) -> list[Json]:
    """A prepared recipient is moved by the receipt that ended the lock, and by nothing else."""
    receipt = read_payload(bench.payload["proofs"][0])
    cases = [make_case(bench, "without-proof", "A rollback that proves nothing.", bench.change(proofs=[]))]
    return cases + [
        make_case(bench, name, comment, bench.change(proofs=[bench.world.key(signer).sign(receipt | fields)]))
        for name, (comment, fields, signer) in RECEIPTS.items()
    ]


def make_shared(benches: dict[str, Bench]) -> Json:
    """The keys and certificates of all who speak, and how each state is reached."""
    world = benches["recover"].world
    certificates = world.registry._published
    names = ("GW1", "GW2", "GW3")
    return {
        "gateways": {
            name: {"key": make_public_jwk(world.key(name)), "certificate": certificates[name, 1].base64}
            for name in names
        },
        "networks": {name: make_public_jwk(world.key(f"network {name}")) for name in ("1", "43114")},
        "states": {name: bench.state for name, bench in benches.items()},
    }


def make() -> Family:
    benches = {name: Bench(name) for name in STATES}
    for bench in benches.values():
        with closing(reach(bench.state).world) as world:
            assert bench.data.encode() in [each.data for each in world.link], "the steps lead to the same bytes"
    cases = [
        *make_tampered(benches),
        *make_out_of_place(benches),
        *make_offers(benches),
        *make_certified(benches["transfer-resume"]),
        *make_forged_logs(benches["recover-update"]),
        *make_unproven(benches["rollback"]),
    ]
    shared = make_shared(benches)
    for bench in benches.values():
        bench.world.close()
    return Family(
        name="invalid-recovery",
        about="A message in the middle of a recovery that must not be believed. In each state the good message "
        "is `next`; what arrives in its place gets an error with a code, no answer, or a dispute, and changes nothing "
        "else.",
        sections=("RECOVERY 5", "RECOVERY 6.1", "SATP 11.3"),
        operation="receive-recovery",
        cases=cases,
        shared=shared,
    )
