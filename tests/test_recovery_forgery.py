"""Logs and receipts that are wrong, from the right peer; and a log that has forgotten what a ROLLBACK cites.

What does not fit freezes the session, at both sides, with what was shown (R23). A receipt that does not fit moves
nobody.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.messages.recovery import MOST_SESSIONS, parse_recovery
from protocol.network import World
from protocol.objects import Json
from protocol.signing import read_payload
from protocol.steps import Role
from tests.conftest import ALICE, check_one_owner
from tests.test_bad_input import OTHER_SESSION, fingerprint
from tests.test_recovery_bad_input import Bench


@pytest.mark.parametrize("lost", [1, 2, 4, 6])
@pytest.mark.parametrize("until", ["2.2", "2.4", "3.1", "3.3"])
@pytest.mark.parametrize("who", Role)
def test_who_forgot_the_end_of_its_log_follows_a_rollback(who: Role, until: str, lost: int) -> None:
    """The lock expires meanwhile; the ROLLBACK may cite a message, or undo a mint, of which this log knows nothing."""
    world = World("forgetful", tls=False)
    world.start()
    world.run(until=until)
    world.crash(who)
    world.forget(who, lost)
    world.wait(400)
    world.run()
    world.restart(who)
    world.run()
    assert world.is_at_rest
    check_one_owner(world)
    assert world.owners == [ALICE]
    assert not any(asset.state == "held" for asset in world.destination.assets), "the mint was undone too"


# ---------------------------------------------------------------------- logs that are wrong


def shuffle(logs: list[str], bench: Bench) -> list[str]:
    return [logs[1], logs[0], *logs[2:]]


LOGS: dict[str, Callable[[list[str], Bench], list[str]]] = {
    "the first one is missing": lambda logs, bench: logs[1:],
    "the last one is missing": lambda logs, bench: logs[:-1],
    "all are missing": lambda logs, bench: [],
    "in another order": shuffle,
    "one is forged": lambda logs, bench: [bench.world.key("somebody").sign(read_payload(logs[0])), *logs[1:]],
    "one is signed by the other one": lambda logs, bench: [
        bench.world.key("GW1" if "ack-commence" in read_payload(logs[0])["messageType"] else "GW2").sign(
            read_payload(logs[0])
        ),
        *logs[1:],
    ],
    "one is another session's": lambda logs, bench: [
        bench.world.key("GW2").sign(read_payload(logs[0]) | {"sessionId": OTHER_SESSION}), *logs[1:]
    ],
    "one is a recovery message": lambda logs, bench: [bench.data.decode(), *logs],
    "one is no JWS": lambda logs, bench: ["a.b.c", *logs],
    "one is a network's receipt": lambda logs, bench: [bench.world.key("network 1").sign({"a": 1}), *logs],
}  # fmt: skip


@pytest.mark.parametrize("case", LOGS)
def test_logs_that_do_not_fit_freeze_the_session(case: str) -> None:
    """R23. The network sees nothing of it, both keep what was shown, and a dispute survives what comes after."""
    bench = Bench("recover-update")
    world = bench.world
    ledgers = repr([(ledger.assets, ledger.height) for ledger in world.ledgers])
    wrong = LOGS[case](bench.payload["recoveredLogs"], bench)
    reply = bench.receive(bench.change(recoveredLogs=wrong))
    dispute = read_payload(reply or b"")
    assert dispute["messageType"].endswith("recover-dispute-msg"), dispute
    assert set(wrong) <= set(dispute["evidence"])
    assert world.sender.disputes[world.sessions[0]]["reason"] in dispute["reason"]
    world.hand(Role.RECIPIENT, reply or b"")
    world.run()
    assert world.recipient.disputes.keys() == world.sender.disputes.keys() == {world.sessions[0]}
    before = fingerprint(world)
    answer = bench.receive(bench.data)
    assert read_payload(answer or b"")["messageType"].endswith("recover-dispute-msg"), "the real one comes too late"
    assert fingerprint(world) == before
    assert repr([(ledger.assets, ledger.height) for ledger in world.ledgers]) == ledgers


# ---------------------------------------------------------------------- receipts that are wrong


RECEIPTS: dict[str, tuple[Json, str]] = {
    "of the own network": ({}, "network 43114"),
    "of a gateway": ({}, "GW1"),
    "of a stranger": ({}, "somebody"),
    "of another session's lock": ({"under": f"{OTHER_SESSION}/2.1"}, "network 1"),
    "of another lock": ({"under": "another/2.1"}, "network 1"),
    "of another gateway": ({"gateway": "GW3"}, "network 1"),
    "for another peer": ({"peer": "GW3"}, "network 1"),
    "of another action": ({"action": "lock"}, "network 1"),
    "of a burn": ({"action": "burn"}, "network 1"),
}


@pytest.mark.parametrize("case", [*RECEIPTS, "none"])
def test_a_rollback_needs_the_receipt_that_ended_the_lock(case: str) -> None:
    """A prepared recipient is not moved by anything else, whoever signs it."""
    bench = Bench("rollback")
    receipt = read_payload(bench.payload["proofs"][0])
    if case == "none":
        proofs = []
    else:
        fields, signer = RECEIPTS[case]
        proofs = [bench.world.key(signer).sign(receipt | fields)]
    assert bench.refused(bench.change(proofs=proofs)) == "err_0.1.1"
    bench.finish()


def test_an_offer_and_its_answer_fit_into_a_message() -> None:
    """The longest words there are."""
    bench = Bench("transfer-continue")
    line = {"sessionId": OTHER_SESSION, "satpPhase": 3, "sequenceNumber": 2**53 - 1, "step": "3.5", "role": "recipient",
            "messages": 11, "headHash": "0" * 64, "log": "committed", "ledger": "untouched", "verdict": "back out",
            "continueWith": "3.5", "decidedBy": "A"}  # fmt: skip
    parse_recovery(bench.payload | {"sessions": [line]})
    data = bench.change(sessions=[line] * MOST_SESSIONS, notNamed=[])
    assert bench.unchanged(data) is None, "it was read: an answer that is too long would be refused"
