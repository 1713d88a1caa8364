"""The fence: after a takeover no append of an older epoch is answered as accepted. Over both shared stores."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress

import pytest

from protocol.errors import Misuse
from protocol.lease import Fenced
from protocol.log import BrokenChain, Conflict, StorageFailed
from protocol.postgres import PostgresLog
from protocol.stores import DatabaseLog
from tests.places import Place
from tests.postgres import Server
from tests.test_log import OTHER, SESSION, extend, make_chain


def take_over(shared: Place) -> tuple[DatabaseLog, DatabaseLog]:
    """Primary with epoch 1 and one entry, and the backup that has taken over with epoch 2."""
    primary, backup = shared.open(), shared.open()
    primary.claim("GW1", 30)
    primary.writeLogEntry(make_chain(1, epoch=1)[0])
    shared.clock.wait(30)
    backup.claim("GW1-B", 30)
    return primary, backup


def test_an_append_of_an_older_epoch_is_fenced_whatever_it_is(shared: Place) -> None:
    primary, backup = take_over(shared)
    first = make_chain(1, epoch=1)
    lease = backup.read_lease()
    for entry in (
        extend(first, 1, epoch=1)[1],  # the next one
        make_chain(1, OTHER, epoch=1)[0],  # of a new session
        first[0],  # the identical one again, which is stored
        extend(first, 1)[1],  # without an epoch
        extend(first, 1, epoch=3)[1],  # of an epoch that nobody has claimed
    ):
        for log in (primary, backup):
            with pytest.raises(Fenced, match="GW1-B has taken over") as fenced:
                log.writeLogEntry(entry)
            assert (fenced.value.epoch, fenced.value.lease) == (entry.epoch, lease)
    assert backup.getLog(SESSION) == first
    assert backup.getSessions() == [SESSION]
    assert backup.writeLogEntry(extend(first, 1, epoch=2)[1]) == 2


def test_a_process_paused_before_its_append_and_woken_after_a_takeover_is_fenced(shared: Place) -> None:
    primary, backup = shared.open(), shared.open()
    primary.claim("GW1", 30)
    entry = make_chain(1, epoch=primary.epoch)[0]  # made; now the process is paused
    shared.clock.wait(30)
    backup.claim("GW1-B", 30)
    with pytest.raises(Fenced):
        primary.writeLogEntry(entry)
    assert backup.getSessions() == []


def test_the_same_append_again_is_answered_alike_while_the_epoch_is(shared: Place) -> None:
    log = shared.open()
    log.claim("GW1", 30)
    entry = make_chain(1, epoch=1)[0]
    assert [log.writeLogEntry(entry), log.writeLogEntry(entry)] == [1, 1]


def test_a_log_without_a_lease_takes_every_epoch(place: Place) -> None:
    """A copy of a shared log can be brought anywhere and read there."""
    log = place.open()
    chain = extend(extend(make_chain(1), 1, epoch=5), 1)
    log.updateLog(SESSION, chain)
    assert [entry.epoch for entry in log.getLog(SESSION)] == [None, 5, None]


def test_a_fenced_append_loses_its_group(shared: Place) -> None:
    primary, backup = take_over(shared)
    with pytest.raises(Fenced), primary.group():
        primary.writeLogEntry(extend(make_chain(1, epoch=1), 1, epoch=1)[1])
    with primary.group(), pytest.raises(Fenced):
        primary.writeLogEntry(make_chain(1, OTHER, epoch=1)[0])
    assert backup.getSessions() == [SESSION] and backup.getLogLength(SESSION) == 1


def test_a_claim_waits_for_a_group_that_is_under_way(shared: Place) -> None:
    """So what was appended before the takeover is there before it, and nothing comes after."""
    options = {"idle_s": 60} if shared.kind == "postgres" else {}
    primary = shared.open(**options)
    primary.claim("GW1", 30)
    chain = make_chain(3, epoch=1)
    has_begun, has_claimed = threading.Event(), threading.Event()
    epochs: list[int] = []

    def claim() -> None:
        backup = shared.open_here(wait_s=60)
        has_begun.set()
        epochs.append(backup.claim("GW1-B", 30).epoch)
        has_claimed.set()
        backup.close()

    shared.clock.wait(30)
    thread = threading.Thread(target=claim)
    with primary.group():
        primary.writeLogEntry(chain[0])
        thread.start()
        assert has_begun.wait(60)
        assert not has_claimed.wait(0.3)
        primary.writeLogEntry(chain[1])
    thread.join(60)
    assert epochs == [2]
    assert shared.open().getLog(SESSION) == chain[:2]
    with pytest.raises(Fenced):
        primary.writeLogEntry(chain[2])


def test_with_the_fence_off_a_slow_primary_writes_on(shared: Place) -> None:
    """An experiment. Only the comparison of the epoch is gone: the chain is compared, and the lease is kept."""
    primary, backup = shared.open(fencing=False), shared.open(fencing=False)
    primary.claim("GW1", 30)
    shared.clock.wait(30)
    backup.claim("GW1-B", 30)
    chain = extend(make_chain(1, epoch=1), 1, epoch=2)
    primary.writeLogEntry(chain[0])
    backup.writeLogEntry(chain[1])
    assert [entry.epoch for entry in backup.getLog(SESSION)] == [1, 2]
    with pytest.raises(Conflict):
        primary.writeLogEntry(extend(chain[:1], 1, epoch=1, step="3.4")[1])
    with pytest.raises(Fenced):
        primary.renew(30)


# ------------------------------------------------------------------ what PostgreSQL adds


def test_a_takeover_goes_through_while_a_client_sits_in_an_open_append(in_postgres: Place) -> None:
    """The server ends the session of whoever does nothing inside a transaction, and takes its append back."""
    primary, backup = in_postgres.open(idle_s=0.2), in_postgres.open(wait_s=60)
    primary.claim("GW1", 30)
    in_postgres.clock.wait(30)
    chain = make_chain(2, epoch=1)
    with pytest.raises(StorageFailed), primary.group():
        primary.writeLogEntry(chain[0])
        assert backup.claim("GW1-B", 30).epoch == 2
        with pytest.raises(StorageFailed):
            primary.writeLogEntry(chain[1])
        with pytest.raises(StorageFailed, match="the connection was lost inside the group"):
            primary.getSessions()
    assert backup.getSessions() == []
    with pytest.raises(Fenced):
        primary.writeLogEntry(chain[0])


def test_whoever_waits_too_long_is_not_answered(in_postgres: Place) -> None:
    primary, backup = in_postgres.open(idle_s=60), in_postgres.open(wait_s=0.1)
    primary.claim("GW1", 30)
    in_postgres.clock.wait(30)
    with primary.group():
        primary.writeLogEntry(make_chain(1, epoch=1)[0])
        with pytest.raises(StorageFailed, match="lock timeout"):
            backup.claim("GW1-B", 30)
    assert backup.claim("GW1-B", 30).epoch == 2


def test_a_database_that_restarts_is_survived(in_postgres: Place, postgres: Server) -> None:
    """A crash of the server loses no append that returned, no lease, and no claim of a gateway that still runs."""
    log = in_postgres.open()
    log.claim("GW1", 30)
    chain = make_chain(3, epoch=1)
    log.writeLogEntry(chain[0])
    postgres.stop()
    try:
        with pytest.raises(StorageFailed):
            log.writeLogEntry(chain[1])
        with pytest.raises(StorageFailed):
            log.getSessions()
    finally:
        postgres.start()
    assert log.writeLogEntry(chain[1]) == 2
    assert log.getLog(SESSION) == chain[:2]
    assert log.renew(30).epoch == 1
    postgres.stop("fast")
    postgres.start()
    with pytest.raises(StorageFailed), log.group():  # found out by the first statement of the group
        log.writeLogEntry(chain[2])
    with log.group():
        log.writeLogEntry(chain[2])
    assert log.getLog(SESSION) == chain


def test_a_connection_lost_inside_a_group_loses_the_group(in_postgres: Place) -> None:
    """It must not go on over a new connection, where the rest would be durable without the beginning."""
    log, other = in_postgres.open(), in_postgres.open()
    number = log._execute("SELECT pg_backend_pid()").fetchone()[0]
    chain = make_chain(1)
    with pytest.raises(StorageFailed), log.group():
        log.writeLogEntry(chain[0])
        other._execute("SELECT pg_terminate_backend(?, 60000)", number)
        with suppress(StorageFailed):
            log.writeLogEntry(make_chain(1, OTHER)[0])
        with suppress(StorageFailed):
            log.writeLogEntry(make_chain(1, OTHER)[0])
    assert log.getSessions() == []
    log.writeLogEntry(chain[0])


def test_a_group_in_which_anything_failed_is_not_answered_as_durable(in_postgres: Place) -> None:
    """PostgreSQL rolls it back, and answers COMMIT without an error."""
    log = in_postgres.open()
    failed = pytest.raises(StorageFailed, match="a statement inside the group failed")
    with failed, log.group():
        log.writeLogEntry(make_chain(1)[0])
        with suppress(StorageFailed), log._reading():
            log._execute("SELECT 1 / 0")
    assert log.getSessions() == []


def test_a_group_in_which_the_store_failed_is_lost_whole_whoever_caught_it(in_postgres: Place) -> None:
    log = in_postgres.open()
    log._execute("ALTER TABLE session ADD CONSTRAINT fail CHECK (length < 2)")
    chain = make_chain(2)
    with pytest.raises(StorageFailed, match="inside the group failed"), log.group():
        log.writeLogEntry(chain[0])
        with suppress(StorageFailed), log.group():
            log.writeLogEntry(chain[1])
    assert log.getSessions() == []
    log.writeLogEntry(chain[0])


def test_an_append_that_returned_is_on_the_servers_disk(in_postgres: Place, postgres: Server) -> None:
    """Also where the database is set up otherwise."""
    log = PostgresLog(f"{postgres.conninfo} options='-c synchronous_commit=off'", "durable")
    assert log._execute("SHOW synchronous_commit").fetchone() == ("on",)
    assert log._execute("SHOW fsync").fetchone() == ("on",)
    log.drop()


def test_finding_the_open_sessions_reads_the_partial_index(in_postgres: Place) -> None:
    log = in_postgres.open()
    statement = "INSERT INTO session SELECT 'session ' || n, 1, '', (n % 200 = 0)::int FROM generate_series(1, 4000) n"
    log._execute(statement)
    log._execute("VACUUM ANALYZE session")
    assert log.getOpenSessions() == [f"session {number}" for number in range(200, 4001, 200)]
    plan = "\n".join(row[0] for row in log._execute(f"EXPLAIN {log._open_sessions}").fetchall())
    assert "using open_session" in plan
    assert "Sort" not in plan


def test_many_connections_may_create_one_log_at_once(postgres: Server) -> None:
    barrier, failures = threading.Barrier(8), []

    def create() -> None:
        barrier.wait()
        try:
            PostgresLog(postgres.conninfo, "created at once").close()
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_logs_are_apart(postgres: Server) -> None:
    one, other = PostgresLog(postgres.conninfo, 'a "quoted" name'), PostgresLog(postgres.conninfo, "another; name")
    one.writeLogEntry(make_chain(1)[0])
    assert (one.getSessions(), other.getSessions()) == ([SESSION], [])
    one.drop()
    other.drop()


def test_a_name_that_postgresql_would_cut_off_is_refused(postgres: Server) -> None:
    for name in ("", "x" * 64, "ü" * 32, "a\0b"):
        with pytest.raises(Misuse, match="cannot be the name of a schema"):
            PostgresLog(postgres.conninfo, name)
    PostgresLog(postgres.conninfo, "x" * 63).drop()


def test_a_server_that_is_not_there_is_no_broken_log() -> None:
    with pytest.raises(StorageFailed):
        PostgresLog("host=/nonexistent dbname=postgres", "log")


def test_what_the_database_finds_damaged_is_a_broken_log(in_postgres: Place) -> None:
    log = in_postgres.open()
    damage = "DO $$ BEGIN RAISE 'invalid page in block 0' USING ERRCODE = 'data_corrupted'; END $$"
    with pytest.raises(BrokenChain, match="invalid page"), log._reading():
        log._execute(damage)


def test_without_the_driver_somebody_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Misuse, match=r"pip install 'psycopg\[binary\]'"):
        PostgresLog("", "log")
