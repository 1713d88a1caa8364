"""The lease of a shared log: when somebody may take over. Over a shared file and over PostgreSQL alike."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from protocol.errors import Fault, Misuse, NotYet
from protocol.lease import BEAT_S, LEASE_S, Fenced, Heartbeat, Lease
from protocol.postgres import PostgresLog
from protocol.stores import DatabaseLog, SQLiteLog
from tests.places import START, Clock, Place
from tests.postgres import Server
from tests.test_log import extend, make_chain


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_the_first_claim_has_epoch_1(shared: Place) -> None:
    log = shared.open()
    assert (log.read_lease(), log.epoch) == (None, 0)
    assert log.claim("GW1", 30) == Lease("GW1", 1, later(30)) == shared.open().read_lease()
    assert log.epoch == 1
    assert repr(log.read_lease()) == "GW1, epoch 1, until 2024-10-03T12:02:30Z"


def test_another_waits_until_the_lease_is_over(shared: Place) -> None:
    primary, backup = shared.open(), shared.open()
    primary.claim("GW1", 30)
    shared.clock.wait(29.999)
    with pytest.raises(NotYet, match="the lease of GW1, epoch 1, until 2024-10-03T12:02:30Z runs"):
        backup.claim("GW1-B", 30)
    assert backup.epoch == 0
    assert backup.read_lease() == Lease("GW1", 1, later(30)), "who was refused has changed nothing"
    shared.clock.wait(0.001)
    assert backup.claim("GW1-B", 30) == Lease("GW1-B", 2, later(60))
    assert (primary.epoch, backup.epoch) == (1, 2), "the primary has not heard of it"


def test_a_restarted_process_claims_at_once_and_fences_its_own_earlier_one(shared: Place) -> None:
    first, second = shared.open(), shared.open()
    first.claim("GW1", 30)
    assert second.claim("GW1", 30).epoch == 2
    with pytest.raises(Fenced):
        first.renew(30)


def test_a_renewed_lease_runs_from_the_heartbeat_on(shared: Place) -> None:
    log, other = shared.open(), shared.open()
    log.claim("GW1", 30)
    shared.clock.wait(20)
    assert log.renew(30) == Lease("GW1", 1, later(50)) == other.read_lease()
    shared.clock.wait(29)
    with pytest.raises(NotYet):
        other.claim("GW1-B", 30)


def test_a_late_heartbeat_renews_if_nobody_has_claimed(shared: Place) -> None:
    log = shared.open()
    log.claim("GW1", 30)
    shared.clock.wait(1000)
    assert log.renew(30) == Lease("GW1", 1, later(1030))


def test_whoever_was_taken_over_learns_it_from_every_question_about_the_lease(shared: Place) -> None:
    primary, backup = shared.open(), shared.open()
    primary.claim("GW1", 30)
    shared.clock.wait(30)
    lease = backup.claim("GW1-B", 30)
    for question in (lambda: primary.renew(30), primary.release, lambda: primary.raise_epoch(9)):
        with pytest.raises(Fenced, match=r"GW1-B has taken over: another epoch \(expected 2, found 1\)") as fenced:
            question()
        assert (fenced.value.epoch, fenced.value.lease) == (1, lease)
    assert backup.read_lease() == lease


def test_a_released_lease_is_over_and_its_epoch_stays_until_the_next_claim(shared: Place) -> None:
    primary, backup = shared.open(), shared.open()
    primary.claim("GW1", 30)
    shared.clock.wait(1)
    primary.release()
    assert backup.read_lease() == Lease("GW1", 1, later(1))
    chain = make_chain(2, epoch=1)
    primary.writeLogEntry(chain[0])
    assert backup.claim("GW1-B", 30).epoch == 2
    with pytest.raises(Fenced):
        primary.writeLogEntry(chain[1])


def test_a_higher_epoch_that_a_peer_remembers_is_taken_over(shared: Place) -> None:
    log = shared.open()
    log.claim("GW1", 30)
    log.raise_epoch(7)
    assert log.epoch == 7
    assert log.read_lease() == Lease("GW1", 7, later(30))
    log.raise_epoch(3)
    assert log.epoch == 7, "an epoch is never lowered"
    log.writeLogEntry(make_chain(1, epoch=7)[0])
    assert shared.open().claim("GW1", 30).epoch == 8
    with pytest.raises(Misuse, match="no epoch"):
        log.raise_epoch(2**53)


def test_an_epoch_beyond_32_bits_is_one(shared: Place) -> None:
    log = shared.open()
    log.claim("GW1", 30)
    log.raise_epoch(2**53 - 1)
    lease = log.read_lease()
    assert lease is not None and lease.epoch == 2**53 - 1


def test_nobody_changes_a_lease_that_he_never_claimed(shared: Place) -> None:
    log = shared.open()
    shared.open().claim("GW1", 30)
    for question in (lambda: log.renew(30), log.release, lambda: log.raise_epoch(9)):
        with pytest.raises(Misuse, match="claim the lease first"):
            question()


def test_a_lease_is_not_changed_inside_a_group(shared: Place) -> None:
    log = shared.open()
    with pytest.raises(Misuse, match="leave it before"), log.group():
        log.claim("GW1", 30)
    assert log.read_lease() is None


def test_a_lease_that_was_lost_with_its_store_is_not_renewed(shared: Place) -> None:
    log = shared.open()
    log.claim("GW1", 30)
    log._execute("DELETE FROM lease")
    with pytest.raises(Fault, match="not the store in which it was claimed"):
        log.renew(30)


def test_the_lease_outlives_every_process(shared: Place) -> None:
    log = shared.open()
    lease = log.claim("GW1", 30)
    log.close()
    assert shared.open().read_lease() == lease


def test_a_clock_that_is_wrong_costs_an_unnecessary_takeover_and_no_more(shared: Place) -> None:
    """The lease says when, the epoch says who: the primary is well, and is fenced all the same."""
    primary, backup = shared.open(), shared.open(now=Clock(START + timedelta(hours=1)))
    primary.claim("GW1", 30)
    assert backup.claim("GW1-B", 30).epoch == 2
    with pytest.raises(Fenced):
        primary.writeLogEntry(make_chain(1, epoch=1)[0])
    backup.writeLogEntry(make_chain(1, epoch=2)[0])


def test_of_two_claims_at_once_one_wins(shared: Place) -> None:
    for epoch in range(1, 11):
        barrier = threading.Barrier(2)
        answers: list[object] = []

        def take(holder: str, barrier: threading.Barrier = barrier, answers: list[object] = answers) -> None:
            log = shared.open_here()
            barrier.wait()
            try:
                answers.append(log.claim(holder, 30))
            except NotYet:
                answers.append("not yet")
            log.close()

        threads = [threading.Thread(target=take, args=(name,)) for name in ("GW1", "GW1-B")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        leases = [answer for answer in answers if isinstance(answer, Lease)]
        assert len(answers) == 2 and len(leases) == 1
        assert leases[0].epoch == epoch
        shared.clock.wait(30)


# ------------------------------------------------------------------ heartbeats


def make_pair(shared: Place) -> tuple[Heartbeat, Heartbeat]:
    return Heartbeat(shared.open(), "GW1"), Heartbeat(shared.open(), "GW1-B")


def test_the_period_is_conservative() -> None:
    assert (LEASE_S, BEAT_S) == (30, 10)


def test_it_beats_when_the_period_has_passed_and_not_before(shared: Place) -> None:
    primary, backup = make_pair(shared)
    primary.claim()
    for _ in range(3):
        shared.clock.wait(9.9)
        assert not primary.beat()
        shared.clock.wait(0.1)
        assert primary.beat()
        assert primary.store.read_lease() == Lease("GW1", 1, shared.clock.now + timedelta(seconds=30))
        assert not backup.is_over()


def test_two_lost_heartbeats_are_no_takeover_and_three_are(shared: Place) -> None:
    primary, backup = make_pair(shared)
    assert backup.is_over(), "no lease at all counts as over"
    primary.claim()
    shared.clock.wait(29)
    assert not backup.is_over()
    with pytest.raises(NotYet):
        backup.claim()
    shared.clock.wait(1)
    assert backup.is_over()
    assert backup.claim().epoch == 2
    with pytest.raises(Fenced):
        primary.beat()
    assert primary.is_over() is False


def test_who_was_fenced_watches_and_can_come_back(shared: Place) -> None:
    primary, backup = make_pair(shared)
    primary.claim()
    primary.release()
    assert backup.is_over()
    backup.claim()
    with pytest.raises(Fenced):
        primary.release()
    shared.clock.wait(30)
    assert primary.is_over()
    assert primary.claim().epoch == 3
    with pytest.raises(Fenced):
        backup.beat()


def test_a_heartbeat_that_the_store_did_not_answer_is_tried_again(shared: Place) -> None:
    primary, _ = make_pair(shared)
    primary.claim()
    shared.clock.wait(10)
    store = primary.store
    assert isinstance(store, DatabaseLog)
    store._execute("ALTER TABLE lease RENAME TO away")
    with pytest.raises(Fault):
        primary.beat()
    store._execute("ALTER TABLE away RENAME TO lease")
    assert primary.beat()


def test_a_lease_lasts_several_heartbeats(shared: Place) -> None:
    with pytest.raises(Misuse, match="several heartbeats"):
        Heartbeat(shared.open(), "GW1", lease_s=15, beat_s=10)


def test_nobody_beats_who_has_not_claimed(shared: Place) -> None:
    with pytest.raises(Misuse, match="claim the lease first"):
        Heartbeat(shared.open(), "GW1").beat()


# ------------------------------------------------------------------ whose clock, whose file


def test_without_another_clock_the_databases_own_measures(postgres: Server) -> None:
    log = PostgresLog(postgres.conninfo, "by the clock of the database")
    other = PostgresLog(postgres.conninfo, "by the clock of the database")
    lease = log.claim("GW1", 3600)
    assert abs(lease.until - timedelta(hours=1) - datetime.now(UTC)) < timedelta(minutes=10)
    assert lease.until.tzinfo is UTC
    with pytest.raises(NotYet):
        other.claim("GW1-B", 30)
    log.release()
    assert other.claim("GW1-B", 30).epoch == 2
    log.close()
    other.drop()
    with pytest.raises(Fault):
        other.getSessions()


def test_a_file_has_no_clock_of_its_own(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.sqlite", shared=True)
    assert log.read_lease() is None
    with pytest.raises(Misuse, match="needs a clock"):
        log.claim("GW1", 30)
    log.close()


def test_a_private_log_has_no_lease_and_a_shared_one_is_not_opened_as_private(tmp_path: Path) -> None:
    """A private log turns on the write-ahead log, which two processes may damage."""
    private = SQLiteLog(tmp_path / "private.sqlite", now=Clock())
    assert (private.read_lease(), private.epoch) == (None, 0)
    with pytest.raises(Misuse, match="this log is private"):
        private.claim("GW1", 30)
    log = SQLiteLog(tmp_path / "log.sqlite", shared=True)
    with pytest.raises(Misuse, match="open it with shared=True"):
        SQLiteLog(log.path)
    assert log.read_pragma("journal_mode") == "delete"
    assert log.read_pragma("synchronous") == 3, "EXTRA: the deletion of the journal is durable too"
    log.drop()
    assert (
        list(tmp_path.iterdir()) == [private.path, *sorted(tmp_path.glob("private.sqlite-*"))] or not log.path.exists()
    )
    private.close()


def test_a_private_log_becomes_a_shared_one_when_nobody_else_has_it_open(tmp_path: Path) -> None:
    private = SQLiteLog(tmp_path / "log.sqlite")
    chain = make_chain(2)
    private.updateLog(chain[0].sessionId, chain)
    with pytest.raises(Fault):
        SQLiteLog(private.path, shared=True, wait_s=0.1)
    private.close()
    log = SQLiteLog(private.path, shared=True, now=Clock())
    assert log.claim("GW1", 30).epoch == 1
    assert log.writeLogEntry(extend(chain, 1, epoch=1)[-1]) == 3
    assert [entry.epoch for entry in log.getLog(chain[0].sessionId)] == [None, None, 1]
    log.close()
