"""Recoveries as they were said: the messages of one recovery, after the two chains that it found."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from protocol.errors import Refused
from protocol.messages.recovery import NAMES, RECOVERY_NAMESPACE, Rollback, TransferResume, parse_recovery
from protocol.network import World
from protocol.objects import digest
from protocol.recovery_witness import LINKS, ORDER, verify_recovery
from protocol.signing import read_payload
from protocol.steps import Role
from protocol.trace import Delivered
from tools.vector_families import Family, Json, case
from tools.vector_families.play import make_public_jwk
from tools.vector_families.recovery_scenarios import Driver
from tools.vector_families.scenario_texts import AGREED, LOCKED, PREPARED, STAGE_1

WRONG = "0" * 64
FORGOT = "sender-forgot"
STORIES: dict[str, tuple[str, str, str, str]] = {  # comment, what happens before anybody comes back, who, after it
    "nothing-lost": (
        "The sender lost its memory only: two messages, and the transfer goes on.",
        f"{AGREED} S.crash",
        "S",
        "AA",
    ),
    "sender-burned": ("The sender has burned and crashed; the other one waits.", f"{PREPARED} 3.3:a3", "S", "CB"),
    "recipient-prepared": ("The recipient had said commit-ready; it was lost.", f"{PREPARED} R.crash", "R", "BA"),
    FORGOT: ("The sender has lost the last messages of its chain.", f"{PREPARED} S.crash S.forget5", "S", "EF"),
    "sender-lost-its-log": ("The sender has lost all.", f"{AGREED} S.crash S.forget", "S", "HF"),
    "recipient-lost-its-log": (
        "The recipient has lost all, and its network holds the mint.",
        f"{PREPARED} R.crash R.forget",
        "R",
        "HF",
    ),
    "recipient-forgot-and-is-told": (
        "The recipient forgot; its own offer was lost, so the sender's RECOVER brings what is missing.",
        f"{PREPARED} S.crash R.crash R.forget6 R.restart",
        "S",
        "FE",
    ),
    "in-stage-1": (
        "The recipient has forgotten its own answer, and the message after it.",
        f"{STAGE_1} R.crash R.forget3",
        "R",
        "EF",
    ),
    "rollback": (
        "The sender's lock has run out; it proves that to a prepared recipient.",
        f"{PREPARED} S.crash wait",
        "S",
        "JM",
    ),
    "rollback-without-a-mint": ("The same before anything was minted.", f"{LOCKED} S.crash wait", "S", "JM"),
}


class Recording:
    """One recovery: both chains before it, and its messages."""

    def __init__(self, name: str, messages: dict[str, str]) -> None:
        _, before, letter, self.letters = STORIES[name]
        self.asker = "GW1" if letter == "S" else "GW2"
        driver = Driver()
        with closing(driver.play.world):
            driver.tell(before)
            play = driver.play
            chains: dict[str, list[str]] = {}
            for role in Role:
                session = play.find(role)
                signed = [version.signed for version in session.history] if session else []
                chains[role.value] = [f"{name} message {number}" for number in range(1, len(signed) + 1)]
                messages.update(zip(chains[role.value], signed, strict=True))
            self.before: Json = {"sessionId": play.world.sessions[0], "gateways": ["GW1", "GW2"], **chains}
            events = len(play.trace.events)
            driver.tell(f"{letter}.restart run")
            said = [each for each in play.trace.events[events:] if isinstance(each, Delivered) and each.name in NAMES]
            self.recovery = self._follow(name, [each.data.decode() for each in said], messages)

    def _follow(self, name: str, said: list[str], messages: dict[str, str]) -> list[str]:
        """The longest line of messages that begins with an offer of this side, each naming the one before it."""
        lines: list[list[str]] = []
        for compact in said:
            payload = read_payload(compact)
            if isinstance(parse_recovery(payload), TransferResume):
                lines += [[compact]] if payload["gatewayId"] == self.asker else []
                continue
            cited = [str(value) for field, value in payload.items() if field.startswith("hash")]
            is_report = isinstance(parse_recovery(payload), Rollback)
            lines += [[*line, compact] for line in lines if digest(read_payload(line[-1])) in cited or is_report]
        names = []
        for compact in max(lines, key=len):
            kind = str(read_payload(compact)["messageType"]).removeprefix(RECOVERY_NAMESPACE).removesuffix("-msg")
            names.append(f"{name} {kind}")
            messages[names[-1]] = compact
        return names


class Bench:
    """All recordings, and the ways to spoil one message of the one in which the sender forgot."""

    def __init__(self) -> None:
        self.world = World(tls=False)
        self.messages: dict[str, str] = {}
        self.recordings = {name: Recording(name, self.messages) for name in STORIES}
        key = self.world.key
        self.shared: Json = {
            "gateways": {
                name: {"network": network, "key": make_public_jwk(key(name))}
                for name, network in (("GW1", "1"), ("GW2", "43114"))
            },
            "networks": {name: make_public_jwk(key(f"network {name}")) for name in ("1", "43114")},
            "messages": self.messages,
        }

    def change(self, message: str, signer: str = "", **fields: Any) -> str:
        """Some fields are others, signed by the author or by another."""
        payload = read_payload(self.messages[message])
        author = "GW2" if message.endswith(("continue", "update", "success", "rollback-ack")) else "GW1"
        return self.world.key(signer or author).sign(payload | fields)


def make_good(bench: Bench, name: str) -> Json:
    comment, _, letter, letters = STORIES[name]
    recording = bench.recordings[name]
    given: Json = {"before": recording.before, "recovery": recording.recovery}
    expect = verify_recovery(given, bench.shared)
    asker, other = ("sender", "recipient") if letter == "S" else ("recipient", "sender")
    assert (expect["letters"][asker], expect["letters"][other]) == tuple(letters), f"{name}: {expect['letters']}"
    was_unequal = recording.before["sender"] != recording.before["recipient"]
    assert expect["sameHead"] or len(recording.recovery) == 2 or name.startswith("rollback"), f"{name}: {expect}"
    return case(name, comment, given, holds=was_unequal or len(recording.recovery) in (2, 4), expect=expect)


def make_wrong(bench: Bench, name: str, comment: str, message: str, spoiled: str, story: str = FORGOT) -> Json:
    """A good recovery up to a message that was changed and signed."""
    recording, original = bench.recordings[story], f"{story} {message}"
    names = recording.recovery[: recording.recovery.index(original)]
    bench.messages[name] = spoiled
    verify_recovery({"before": recording.before, "recovery": names}, bench.shared)
    given: Json = {"before": recording.before, "recovery": [*names, name]}
    try:
        verify_recovery(given, bench.shared)
    except Refused as refusal:
        reason = "" if refusal.code else refusal.reason.partition(":")[0]
        is_other = spoiled != bench.messages[original]
        return case(name, comment, given, holds=is_other, code=refusal.code, reason=reason)
    raise AssertionError(f"{name} was not refused")


def make_unlinked(bench: Bench) -> list[Json]:
    fields = {
        "transfer-continue": "hashPrevMessage",
        "recover": "hashPrevMessage",
        "recover-update": "hashRecoverMessage",
        "recover-update-ack": "hashRecoverUpdateMessage",
        "recover-success": "hashRecoverUpdateAckMessage",
    }
    assert set(fields.values()) == set(LINKS.values()) and len(ORDER) == 6
    return [
        make_wrong(
            bench,
            f"{message}-names-another-message",
            f"{field} is the digest of no message before it.",
            message,
            bench.change(f"{FORGOT} {message}", **{field: WRONG}),
        )
        for message, field in fields.items()
    ]


def make_false(bench: Bench) -> list[Json]:
    """Linked and signed by the right gateway, and not true."""
    offer, answer, update = (
        read_payload(bench.messages[f"{FORGOT} {name}"])
        for name in ("transfer-resume", "transfer-continue", "recover-update")
    )
    logs, ack = update["recoveredLogs"], f"{FORGOT} recover-update-ack"
    claims: list[tuple[str, str, str, Json]] = [
        (
            "offer-of-a-longer-chain",
            "The chain has fewer messages than the offer says.",
            "transfer-resume",
            {"sessions": [offer["sessions"][0] | {"messages": 9}]},
        ),
        (
            "offer-of-another-head",
            "The last message of the chain is another one.",
            "transfer-resume",
            {"sessions": [offer["sessions"][0] | {"headHash": WRONG}]},
        ),
        ("offer-to-another", "The offer is to a third gateway.", "transfer-resume", {"peerId": "GW3"}),
        ("answer-with-another-nonce", "The nonce is not that of the offer.", "transfer-continue", {"nonce": "another"}),
        (
            "answer-by-another-row",
            "TABLE 2 has another row for these facts.",
            "transfer-continue",
            {"sessions": [answer["sessions"][0] | {"decidedBy": "A"}]},
        ),
        (
            "logs-without-the-last",
            "The messages do not reach the head that was named.",
            "recover-update",
            {"recoveredLogs": logs[:-1]},
        ),
        (
            "logs-without-the-first",
            "The messages do not go on where the chain ended.",
            "recover-update",
            {"recoveredLogs": logs[1:]},
        ),
        (
            "logs-with-one-of-a-stranger",
            "One of the messages is signed by nobody known.",
            "recover-update",
            {"recoveredLogs": [bench.world.key("somebody").sign(read_payload(logs[0])), *logs[1:]]},
        ),
        (
            "ack-of-too-little",
            "Fewer entries were changed than messages were shown.",
            "recover-update-ack",
            {"entriesChanged": read_payload(bench.messages[ack])["entriesChanged"][1:]},
        ),
    ]
    return [
        make_wrong(bench, name, comment, message, bench.change(f"{FORGOT} {message}", **fields))
        for name, comment, message, fields in claims
    ]


def make_others(bench: Bench) -> list[Json]:
    resume, receipt = f"{FORGOT} transfer-resume", read_payload(bench.messages["rollback rollback"])["proofs"]
    return [
        make_wrong(
            bench,
            "begins-with-recover",
            "A recovery begins with an offer.",
            "transfer-resume",
            bench.messages[f"{FORGOT} recover"],
        ),
        make_wrong(
            bench,
            "update-without-being-asked",
            "RECOVER is left out.",
            "recover",
            bench.messages[f"{FORGOT} recover-update"],
        ),
        make_wrong(
            bench,
            "signed-by-a-stranger",
            "A key that nobody knows.",
            "transfer-resume",
            bench.change(resume, "somebody"),
        ),
        make_wrong(
            bench,
            "recover-by-the-other-one",
            "Whoever answered does not ask.",
            "recover",
            bench.change(f"{FORGOT} recover", "GW2"),
        ),
        make_wrong(
            bench,
            "rollback-without-proof",
            "A rollback is believed by its receipts alone.",
            "rollback",
            bench.change("rollback rollback", proofs=[]),
            story="rollback",
        ),
        make_wrong(
            bench,
            "rollback-with-a-gateways-word",
            "The gateway signs what its network should.",
            "rollback",
            bench.change("rollback rollback", proofs=[bench.world.key("GW1").sign(read_payload(receipt[0]))]),
            story="rollback",
        ),
    ]


def make() -> Family:
    bench = Bench()
    cases = [
        *(make_good(bench, name) for name in STORIES),
        *make_unlinked(bench),
        *make_false(bench),
        *make_others(bench),
    ]
    bench.world.close()
    return Family(
        name="recoveries",
        about="The messages of a recovery in order, after the two chains that it found: links, rows of TABLE 2, the "
        "messages that come back, and the head that both have in the end. In a case that has to be refused the last "
        "message is the wrong one.",
        sections=("RECOVERY 5", "RECOVERY 6.1"),
        operation="verify-recovery",
        cases=cases,
        shared=bench.shared,
    )
