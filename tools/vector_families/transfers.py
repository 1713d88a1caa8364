"""Whole transfers, eleven messages in order, and chains of messages that their receiver must refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.errors import Refused
from protocol.network import World
from protocol.objects import canonical
from protocol.signing import KeyRing, read_payload
from protocol.witness import verify_transfer
from tools.vector_families import Family, Json, case
from tools.vector_families.play import make_public_jwk

STEPS = ("1.1", "1.2", "1.3", "1.4", "2.2", "2.4", "3.1", "3.3", "3.5", "3.7", "3.9")
SENDERS = ("1.1", "1.3", "2.2", "3.1", "3.5", "3.9")
RECEIPTS = {
    "2.2": "lockAssertionClaim",
    "3.3": "mintAssertionClaim",
    "3.5": "burnAssertionClaim",
    "3.7": "assignmentAssertionClaim",
}
NETWORKS = {"2.2": "1", "3.3": "43114", "3.5": "1", "3.7": "43114"}  # whose receipt is in the message
WRONG = "0" * 64
OTHER_ID = "00000000-0000-4000-8000-00000000000f"


class Bench:
    """The messages that cases name, and ways to spoil one of them."""

    def __init__(self) -> None:
        self.world = world = World(tls=False)
        self.messages: dict[str, str] = {}
        self.record("draft", world.start())
        self.record("hash-lock", world.start("an asset under a hash lock", lock_type="HASH_LOCK"))
        self.record("time-lock", world.start("an asset under a time lock", lock_type="TIME_LOCK"))
        self.record("back", world.start("a picture of Bob's", by="GW2"))
        self.record("names", world.start('\u00c5ngstr\u00f6m, \u20ac and \U0001d11e, "quoted"\n'))
        self.shared: Json = {
            "gateways": {
                name: {"network": network, "key": make_public_jwk(world.key(name))}
                for name, network in (("GW1", "1"), ("GW2", "43114"))
            },
            "networks": {name: make_public_jwk(world.key(f"network {name}")) for name in ("1", "43114")},
            "messages": self.messages,
        }
        self._gateways = KeyRing((name, world.key(name).public) for name in ("GW1", "GW2"))

    def record(self, name: str, session_id: str) -> None:
        """Play one transfer to its end and keep its messages."""
        self.world.run()
        chain = [version.signed for version in self.world.history("sender", session_id)]
        assert len(chain) == len(STEPS)
        self.messages.update({f"{name} {step}": signed for step, signed in zip(STEPS, chain, strict=True)})

    def payload(self, name: str) -> Json:
        return read_payload(self.messages[name])

    def sign(self, who: str, payload: Json) -> str:
        return self.world.key(who).sign(payload)

    def change(self, name: str, **fields: Any) -> str:
        """Some fields are others (None removes one), signed by the message's own author."""
        changed = {key: value for key, value in {**self.payload(name), **fields}.items() if value is not None}
        return self.sign(author(name), changed)

    def change_receipt(self, name: str, signer: str = "", **fields: Any) -> str:
        """The receipt inside says something else, signed by its network, or by another."""
        step = name.rpartition(" ")[2]
        inner = read_payload(self.payload(name)[RECEIPTS[step]]["receipt"]) | fields
        compact = self.sign(signer or f"network {NETWORKS[step]}", inner)
        return self.change(name, **{RECEIPTS[step]: {"receipt": compact}})

    def is_well_signed(self, compact: str) -> bool:
        """Whether the signature is right, so that something else has to be found wrong."""
        try:
            self._gateways.verify(compact)
        except Refused:
            return False
        return True


def author(name: str) -> str:
    return "GW1" if name.rpartition(" ")[2] in SENDERS else "GW2"


def names(transfer: str, until: str = "3.9") -> list[str]:
    return [f"{transfer} {step}" for step in STEPS[: STEPS.index(until) + 1]]


def whole(bench: Bench, name: str, comment: str, messages: Sequence[str], *, holds: object) -> Json:
    given: Json = {"messages": list(messages)}
    expect = verify_transfer(given, bench.shared)
    return case(name, comment, given, holds=holds, expect=expect)


def broken(bench: Bench, name: str, comment: str, messages: Sequence[str], *, holds: object) -> Json:
    """The last of these messages has to be refused; all before it are good."""
    given: Json = {"messages": list(messages)}
    if messages[:-1]:
        verify_transfer({"messages": given["messages"][:-1]}, bench.shared)
    try:
        verify_transfer(given, bench.shared)
    except Refused as refusal:
        return case(name, comment, given, holds=holds, code=refusal.code)
    raise AssertionError(f"{name} was not refused")


def spoiled(bench: Bench, name: str, comment: str, step: str, message: str, *, signed: bool = True) -> Json:
    """A good transfer up to a message that was changed. `signed`: by its author, so that the content is what counts."""
    original = f"draft {step}"
    assert message != bench.messages[original], f"{name}: the message is the good one"
    assert bench.is_well_signed(message) is signed, f"{name}: the signature is {'not ' if signed else ''}good"
    bench.messages[name] = message
    return broken(bench, name, comment, [*names("draft", step)[:-1], name], holds=True)


def make_good(bench: Bench) -> list[Json]:
    heads = {name: bench.messages[f"{name} 3.9"] for name in ("draft", "hash-lock", "time-lock", "back", "names")}
    lock = {name: bench.payload(f"{name} 1.1")["transferInitClaim"]["networkLockType"] for name in heads}
    claim = bench.payload("back 1.1")["transferInitClaim"]
    return [
        whole(
            bench,
            "the-drafts-example",
            "The transfer of the draft's example, from proposal to completion.",
            names("draft"),
            holds=lock["draft"] == "HASH_TIME_LOCK",
        ),
        whole(
            bench,
            "hash-lock",
            "Under a lock without a time the assertion says the year 9999.",
            names("hash-lock"),
            holds=bench.payload("hash-lock 2.2")["lockAssertionExpiration"].startswith("9999"),
        ),
        whole(bench, "time-lock", "A lock without a hash.", names("time-lock"), holds=lock["time-lock"] == "TIME_LOCK"),
        whole(
            bench,
            "the-other-way",
            "GW2 is the sender, so its network locks and GW1's mints.",
            names("back"),
            holds=claim["senderGatewayId"] == "GW2",
        ),
        whole(
            bench,
            "letters-beyond-ascii",
            "The asset's id has letters of two, three and four bytes in UTF-8.",
            names("names"),
            holds=len(canonical(claim))
            and not bench.payload("names 1.1")["transferInitClaim"]["digitalAssetId"].isascii(),
        ),
        *(
            whole(
                bench,
                f"until-{step}",
                f"A transfer under way; what comes next follows from the number of messages, {number}.",
                names("draft", step),
                holds=number < len(STEPS),
            )
            for number, step in enumerate(STEPS, 1)
            if step in ("1.1", "1.4", "2.4", "3.3", "3.5", "3.7")
        ),
    ]


def make_disordered(bench: Bench) -> list[Json]:
    """Good messages, wrongly put together."""
    start = names("draft", "2.2")
    return [
        broken(bench, "begins-in-the-middle", "A transfer begins with its proposal.", ["draft 1.3"], holds=True),
        broken(
            bench,
            "one-is-missing",
            "1.3 is left out, so 1.4 follows no message that is there.",
            [*start[:2], "draft 1.4"],
            holds="draft 1.3" not in start[:2],
        ),
        broken(bench, "two-changed-places", "1.3 stands before 1.2.", [start[0], "draft 1.3"], holds=True),
        broken(
            bench,
            "one-comes-twice",
            "A repeated message is answered by a gateway, but is no part of the chain twice.",
            [*start, "draft 2.2"],
            holds=start[-1] == "draft 2.2",
        ),
        broken(
            bench,
            "a-second-proposal",
            "A proposal in the middle of its own transfer.",
            [*start, "draft 1.1"],
            holds=True,
        ),
        broken(
            bench,
            "of-another-transfer",
            "A good message of another transfer between the same two gateways.",
            [*start[:2], "hash-lock 1.3"],
            holds=bench.is_well_signed(bench.messages["hash-lock 1.3"]),
        ),
        broken(
            bench,
            "goes-on-after-the-end",
            "Nothing follows the last message.",
            [*names("draft"), "draft 3.9"],
            holds=True,
        ),
    ]


def make_ill_signed(bench: Bench) -> list[Json]:
    """The content is that of the good transfer."""
    good = bench.messages["draft 2.2"]
    head, body, signature = good.split(".")
    other = bench.messages["draft 3.1"].rpartition(".")[2]
    changed = bench.change("draft 2.2", lockAssertionExpiration="2024-10-03T12:05:00Z").split(".")[1]
    spaced = bench.world.key("GW1").sign_canonical(canonical(bench.payload("draft 2.2")).replace(b'":', b'": ', 1))
    return [
        spoiled(
            bench,
            "another-signature",
            "The signature is that of another message of the same gateway.",
            "2.2",
            f"{head}.{body}.{other}",
            signed=False,
        ),
        spoiled(
            bench,
            "content-changed-after-signing",
            "The payload was changed and not signed again.",
            "2.2",
            f"{head}.{changed}.{signature}",
            signed=False,
        ),
        spoiled(
            bench,
            "a-strangers-key",
            "Signed with a key that belongs to neither gateway.",
            "2.2",
            bench.sign("somebody", bench.payload("draft 2.2")),
            signed=False,
        ),
        spoiled(
            bench,
            "signed-by-its-receiver",
            "A key that counts, of the gateway that receives this message.",
            "2.2",
            bench.sign("GW2", bench.payload("draft 2.2")),
        ),
        spoiled(
            bench,
            "not-canonical",
            "One blank more than RFC 8785 allows; the signature over it is right.",
            "2.2",
            spaced,
            signed=False,
        ),
    ]


def make_unlinked(bench: Bench) -> list[Json]:
    """Signed by the right gateway, and not part of this chain."""
    comment = "hashPrevMessage names no message of this chain."
    return [
        spoiled(
            bench,
            f"hash-of-the-message-before-{step}",
            comment,
            step,
            bench.change(f"draft {step}", hashPrevMessage=WRONG),
        )
        for step in STEPS[1:]
    ]


def make_proposals(bench: Bench) -> list[Json]:
    """What a recipient declines at once."""
    claim = bench.payload("draft 1.1")["transferInitClaim"]
    other_key = {"senderGatewaySignaturePublicKey": claim["receiverGatewaySignaturePublicKey"]}
    proposals: dict[str, tuple[str, Json]] = {
        "for-nobody-known": ("The recipient gateway is none that this list knows.", {"recipientGatewayId": "GW9"}),
        "in-another-name": ("The sender that is named is not the one that signed.", {"senderGatewayId": "GW2"}),
        "for-another-network": ("The recipient does not serve that network.", {"recipientGatewayNetworkId": "7"}),
        "with-a-key-that-did-not-sign": ("The sender's key in the claim is another one.", other_key),
        "with-an-unknown-lock": ("A lock type that the draft does not have.", {"networkLockType": "PADLOCK"}),
    }
    return [
        spoiled(
            bench,
            f"proposal-{name}",
            comment,
            "1.1",
            bench.change("draft 1.1", transferInitClaim=claim | fields),
        )
        for name, (comment, fields) in proposals.items()
    ]


def make_unfitting(bench: Bench) -> list[Json]:
    """Signed by the right gateway, and the content does not fit what was said before."""
    accepted = "The claim that is accepted is not the one that was proposed."
    before_last: str = bench.payload("draft 3.9")["hashPrevMessage"]
    wrong: list[tuple[str, str, str, Json]] = [
        ("another-session", "The sessionId is that of no session.", "1.4", {"sessionId": OTHER_ID}),
        ("another-context", "It is not the proposal's transferContextId.", "1.4", {"transferContextId": OTHER_ID}),
        ("hash-of-the-claim-1.2", accepted, "1.2", {"hashTransferInitClaim": WRONG}),
        ("hash-of-the-claim-1.3", accepted, "1.3", {"hashTransferInitClaim": WRONG}),
        ("another-version", "The receipt is of another version of the protocol.", "1.2", {"version": "2.0"}),
        ("a-field-is-missing", "A message without a required field.", "2.2", {"lockAssertionExpiration": None}),
        ("hash-of-commence", "It is the digest of 1.3, and not of 3.7.", "3.9", {"hashTransferCommence": before_last}),
        (
            "expiration-is-not-the-receipts",
            "The lock is said to last longer than its receipt says.",
            "2.2",
            {"lockAssertionExpiration": "2030-01-01T00:00:00Z"},
        ),
    ]
    return [
        spoiled(bench, name, comment, step, bench.change(f"draft {step}", **fields))
        for name, comment, step, fields in wrong
    ]


def make_false_receipts(bench: Bench) -> list[Json]:
    """The message is signed by its author and follows; the receipt inside shows something else, or nothing."""
    others = {step: "network 43114" if NETWORKS[step] == "1" else "network 1" for step in RECEIPTS}
    wrong: list[tuple[str, str, str, str, Json]] = [
        *(
            (f"receipt-of-another-network-{step}", "Signed by the network of the receiver.", step, signer, {})
            for step, signer in others.items()
        ),
        ("receipt-signed-by-the-gateway", "A gateway's word about its network is no receipt.", "2.2", "GW1", {}),
        (
            "receipt-of-another-asset",
            "The documents have a code for this one.",
            "2.2",
            "",
            {"assetId": "another asset"},
        ),
        ("receipt-of-another-action", "Unlocked where it should have been burned.", "3.5", "", {"action": "unlock"}),
        ("receipt-for-another-beneficiary", "Minted for somebody else.", "3.3", "", {"beneficiary": "CN=Mallory"}),
        ("burn-under-another-lock", "What was burned is not what was locked.", "3.5", "", {"under": "another/2.1"}),
        ("assignment-of-another-mint", "It is not what was minted.", "3.7", "", {"under": "another/3.2"}),
    ]
    genuine = bench.payload("hash-lock 2.2")["lockAssertionClaim"]
    return [
        *(
            spoiled(bench, name, comment, step, bench.change_receipt(f"draft {step}", signer, **fields))
            for name, comment, step, signer, fields in wrong
        ),
        spoiled(
            bench,
            "receipt-of-another-transfer",
            "A genuine receipt, of the lock of another transfer.",
            "2.2",
            bench.change("draft 2.2", lockAssertionClaim=genuine),
        ),
    ]


def make() -> Family:
    bench = Bench()
    cases = [
        *make_good(bench),
        *make_disordered(bench),
        *make_ill_signed(bench),
        *make_unlinked(bench),
        *make_proposals(bench),
        *make_unfitting(bench),
        *make_false_receipts(bench),
    ]
    bench.world.close()
    return Family(
        name="transfers",
        about="The messages of a transfer, in order: signatures, chain, claims and receipts are verified. In a case "
        "that has to be refused the last message is the wrong one.",
        sections=("SATP 5.2", "SATP 8", "SATP 9", "SATP 10", "SATP 11.4"),
        operation="verify-transfer",
        cases=cases,
        shared=bench.shared,
    )
