"""What is shown of a takeover is what the store, the certificates and the logs say."""

from __future__ import annotations

import pytest

from protocol.errors import Misuse
from protocol.evidence import BackupList, SharedLog, judge_candidates, list_successions, watch_lease
from protocol.peers import CertifiedKeys, Condition
from protocol.replacement import PrimaryBackup
from protocol.trace import Delivered
from protocol.views import read_message
from tests.test_backup_certificates import BACKUP, KEYS, PRIMARY, THIRD, Ring, certify

PUBLIC_KEYS = {name: key.public for name, key in KEYS.items()}


def make_taken_over(who: str = "sender") -> PrimaryBackup:
    """A transfer whose second half is the backup's."""
    world = PrimaryBackup(who, tls=False)
    world.start()
    world.run(until="2.4")
    world.crash(who)
    world.run()
    assert world.is_at_rest
    return world


def test_a_list_of_backups_names_the_keys_that_the_reader_knows() -> None:
    assert BackupList(PRIMARY, PUBLIC_KEYS).authorised == ["GW1-B"]
    assert BackupList(BACKUP, PUBLIC_KEYS).authorised == ["GW1", "GW1-C"]
    assert BackupList(BACKUP, {}).authorised == ["unknown", "unknown"]
    text = repr(BackupList(PRIMARY, PUBLIC_KEYS))
    assert f"36 bytes: 30 22 04 20 {bytes.fromhex(PRIMARY.backups[0][:8]).hex(' ')} ..." in text
    assert f"GW1-B: SHA-256 of its public key {PRIMARY.backups[0][:16]}..." in text
    assert "not critical" in text
    assert repr(BackupList(certify("GW1"), {})).endswith("no extension: it authorises nobody")


def test_candidates_are_judged_and_nobody_is_adopted() -> None:
    ring = Ring()
    before = ring.describe()
    found = judge_candidates(ring.keys, "GW1", {"the backup": BACKUP, "a third <one>": THIRD})
    assert found["the backup"] is None
    refusal = found["a third <one>"]
    assert refusal is not None
    assert refusal.condition is Condition.LISTED
    assert repr(found).splitlines()[:2] == ["the backup -> takes over", "a third <one> -> refused: list of backups"]
    assert 'left">a third &lt;one&gt;</td><td style="text-align: left">list of backups</td>' in found._repr_html_()
    assert ring.describe() == before


def test_an_epoch_that_is_over_is_judged_too() -> None:
    ring = Ring()
    ring.take_over()
    assert isinstance(ring.keys, CertifiedKeys)
    (refused,) = judge_candidates(ring.keys, "GW1", {"third": THIRD}, epoch=2).values()
    (heir,) = judge_candidates(ring.keys, "GW1", {"third": THIRD}, epoch=3).values()
    assert refused is not None
    assert refused.condition is Condition.EPOCH
    assert heir is None


def test_a_lease_is_watched_to_its_end_and_nobody_takes_over_meanwhile() -> None:
    world = PrimaryBackup(tls=False)
    world.start()
    assert watch_lease(world, "GW1", 20) == ["GW1, epoch 1, 30 s left"] * 3, "it is renewed"
    world.pause("GW1")
    assert watch_lease(world, "GW1", 40, every=20)[-2:] == ["GW1, epoch 1, 10 s left", "GW1, epoch 1, over"]
    assert world.in_charge["GW1"] == "GW1"


@pytest.mark.parametrize("who", ["sender", "recipient"])
def test_a_shared_log_shows_writers_and_epochs(who: str) -> None:
    world = make_taken_over(who)
    primary = world.primary_of(who)
    shown = SharedLog(world, who)
    assert (shown.primary, shown.lease) == (primary, world.lease(who))
    assert set(zip(shown.writers, shown.epochs, strict=True)) == {(primary, 1), (f"{primary}-B", 2)}
    assert shown.epochs == sorted(each or 0 for each in shown.epochs)
    assert len(SharedLog(world, who, since=5).entries) == len(shown.entries) - 4
    text = repr(shown)
    assert f"log of {primary}, lease: {primary}-B, epoch 2, until" in text
    assert " done succession\n" in text
    assert "    1  GW1     " in text if who == "sender" else "    1  GW2     " in text


def test_a_succession_is_the_same_evidence_in_both_logs() -> None:
    world = make_taken_over()
    (own,), (heard,) = list_successions(world, "GW1"), list_successions(world, "GW2")
    assert (own.message, own.answer) == (heard.message, heard.answer)
    assert own.answer is not None
    assert (own.message.name, own.message.signer) == ("recover", "GW1-B")
    assert (own.answer.name, own.answer.signer) == ("recover-update", "GW2")
    assert (own.certificate.gateway_id, own.epoch, own.entry.gatewayId) == ("GW1-B", 2, "GW1")
    assert "GW1-B, for GW1, since epoch 2" in repr(own)
    assert f"told by      recover, signed by GW1-B, digest {own.message.digest[:8]}" in repr(heard)


def test_a_transfer_without_a_takeover_has_no_succession() -> None:
    world = PrimaryBackup(tls=False)
    world.start()
    world.run()
    assert list_successions(world, "GW1") == list_successions(world, "GW2") == []


def test_a_backup_with_a_key_that_nobody_named_gets_a_signed_refusal() -> None:
    world = PrimaryBackup(tls=False)
    key = world.key("nobody named it")
    world.give_certificate("GW1-B", world.registry.certify("GW1-B", key.public, owner_of="GW1"), key)
    world.start()
    world.run(until="2.4")
    world.crash("GW1")
    world.run()
    error = next(event for event in world.trace.of(Delivered) if event.target == "GW1-B")  # type: ignore[attr-defined]
    detail = read_message(world, error.data).payload["detail"]  # type: ignore[attr-defined]
    assert detail.startswith("the key of GW1-B is not among the authorised backups of GW1")
    assert "None" not in detail
    assert list_successions(world, "GW2") == []
    assert not world.is_at_rest


def test_only_who_stands_by_gets_another_certificate() -> None:
    world = PrimaryBackup(tls=False)
    with pytest.raises(Misuse, match="GW1 does not stand by"):
        world.give_certificate("GW1", BACKUP)
    with pytest.raises(Misuse, match="GW2 has no backup"):
        world.give_certificate("GW2", BACKUP)
