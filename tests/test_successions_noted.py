"""Takeovers that are believed: noted, answered, learned again; and field by field what must not be changed in one."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.log import LogEntry
from protocol.messages.recovery import RECOVERY_NAMESPACE
from protocol.signing import KeyPair, KeyRing, read_payload
from tests.at_rest import find_unsettled
from tests.conftest import check_transferred
from tests.line_of_backups import BAD_SIGNATURE, Bench, Line, accepted, make_resume
from tests.test_bad_input import b64

# ---------------------------------------------------------------------- how it should be


def find_successions(world: Line, who: str) -> list[LogEntry]:
    return [entry for entry in world.log(who) if "succession" in entry.payload]


def test_the_succession_is_in_both_logs_signed_and_answered() -> None:
    """R40: signed by the backup, answered by the counterparty, and the answer names what it answers."""
    bench = Bench("2.2")
    bench.finish()
    world = bench.world
    backup, counterparty = KeyRing([("GW1", world.key("GW1-B").public)]), KeyRing([("GW2", world.key("GW2").public)])
    for who in ("sender", "recipient"):
        [entry] = find_successions(world, who)
        words = entry.payload["succession"]
        said, answer = backup.verify(words["message"]), counterparty.verify(words["answer"])
        assert said.payload["messageType"].endswith(":recover-msg")
        assert answer.payload["hashRecoverMessage"] == said.digest
        assert said.payload["sessionId"] == answer.payload["sessionId"] == world.sessions[0]
        assert said.payload["certificate"] == words["certificate"] == bench.certify("GW1-B")
        assert (words["gatewayId"], words["backupId"], words["epoch"]) == ("GW1", "GW1-B", said.payload["epoch"])
        assert words["kid"] == said.kid
    [mine], [theirs] = (find_successions(world, who) for who in ("sender", "recipient"))
    assert mine.payload["succession"] == theirs.payload["succession"]


def replace_thrice() -> Line:
    """GW1, GW1-B, GW1-C, GW1-D act one after the other; the last one is about to say commit-prepare."""
    world = Line()
    world.start()
    for name, until in (("GW1-B", "1.2"), ("GW1-C", "1.4"), ("GW1-D", "2.2")):
        world.run(until=until)
        world.link.clear()
        world.pause(world.in_charge["GW1"])
        world.wait(40)
        world.take_over(name)
    world.run(until="2.4")
    return world


@pytest.mark.parametrize("entries", [None, 1, 2, 3, 5, 8])
def test_a_counterparty_that_lost_its_log_learns_the_line_again(entries: int | None) -> None:
    world = replace_thrice()
    world.crash("recipient")
    world.forget("recipient", entries)
    world.restart("recipient")
    world.run()
    check_transferred(world)
    assert not find_unsettled(world)
    ring = world._side("recipient").ring
    assert ring is not None
    assert (ring.current("GW1").gateway_id, ring.epoch_of("GW1")) == ("GW1-D", 4)
    assert world.recipient.session(world.sessions[0]).kid_of("GW1") == world.key("GW1-D").public.kid
    assert find_successions(world, "recipient")[-1].payload["succession"]["backupId"] == "GW1-D"


def test_who_acts_is_known_after_a_restart() -> None:
    """Before anybody has said anything again; and whoever was replaced stays refused."""
    bench = accepted()
    data = bench.sign(make_resume(bench), "GW1")
    bench.world.crash("recipient")
    bench.world.restart("recipient")
    assert (bench.ring.current("GW1").gateway_id, bench.ring.epoch_of("GW1")) == ("GW1-B", 2)
    code, detail = bench.refused(data)
    assert (code, "GW1 was replaced: GW1-B acts for GW1 since epoch 2" in detail) == (BAD_SIGNATURE, True)
    bench.finish()


# ---------------------------------------------------------------------- field by field

CHANGED: dict[str, Any] = {
    "messageType": RECOVERY_NAMESPACE + "transfer-continue-msg", "gatewayId": "GW2", "peerId": "GW1",
    "crashErrorCode": "process", "sessions": [], "isWhole": False, "isBackup": False, "restartFrom": "stage",
    "nonce": "another", "incarnation": 77, "epoch": 0, "timestamp": "2024-10-03T13:00:00Z",
    "newIdentityPublicKey": KeyPair.lab("GW1", "line").public.jwk, "certificate": "AAAA",
}  # fmt: skip
MATTERS = {"messageType", "gatewayId", "peerId", "epoch", "newIdentityPublicKey", "certificate"}


def test_every_field_is_changed_below() -> None:
    assert read_payload(Bench().data).keys() == CHANGED.keys()


@pytest.mark.parametrize("field", CHANGED)
def test_a_field_that_was_changed_on_the_way(field: str) -> None:
    bench = Bench()
    header, _, signature = bench.data.split(b".")
    changed = read_payload(bench.data) | {field: CHANGED[field]}
    code, detail = bench.refused(b".".join([header, b64(changed), signature]))
    assert code in (BAD_SIGNATURE, "err_0.1.1")
    assert "transferResume" not in detail
    bench.finish()


@pytest.mark.parametrize("field", CHANGED)
def test_a_field_that_the_backup_itself_says_otherwise(field: str) -> None:
    """What matters is refused; of the rest nothing leads astray."""
    bench = Bench()
    data = bench.offer(**{field: CHANGED[field]})
    if field in MATTERS:
        bench.refused(data)
    else:
        bench.hand(data, "GW1-B")
        bench.world.run()
        assert bench.ring.current("GW1").gateway_id == "GW1-B"
    bench.finish()
