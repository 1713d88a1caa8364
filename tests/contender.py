"""A process that writes a shared log while it holds the lease, and says on stdout what it was answered.

    python -m tests.contender PLACE HOLDER PART

PLACE is a path or the name of a schema (then SHARED_LOG is the server). PART is `fight`: claim when it may be,
append as fast as it can, beat; for ever. Or stop itself once, at one place: `before` an append whose entry is
made, or `inside` its transaction. Every line is one write, made before anything else is done.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime

from protocol.errors import NotYet
from protocol.lease import Fenced, Heartbeat
from protocol.log import LogEntry, StorageFailed, compose_entry
from protocol.postgres import PostgresLog
from protocol.stores import WAIT_S, DatabaseLog, SQLiteLog

SESSION = "00000000-0000-4000-8000-000000000001"
LEASE_S, BEAT_S = 0.3, 0.1


def open_log(place: str, wait_s: float = WAIT_S) -> DatabaseLog:
    """With the real clock: that of the database, or of the machine that both processes share."""
    if "SHARED_LOG" in os.environ:
        return PostgresLog(os.environ["SHARED_LOG"], place, wait_s=wait_s)
    return SQLiteLog(place, shared=True, now=lambda: datetime.now(UTC), wait_s=wait_s)


def make_next(before: LogEntry | None, holder: str, epoch: int) -> LogEntry:
    """The writer is this very process: a restarted one is another, of the same gateway."""
    fields = {
        "version": "1.0",
        "sessionId": SESSION,
        "contextId": "context",
        "gatewayId": "GW1",
        "satpPhase": 2,
        "step": "2.1",
        "operation": "exec",
        "timestamp": "2024-10-03T12:02:00Z",
        "payload": {"process": os.getpid()},
        "writerId": holder,
        "epoch": epoch,
    }
    return compose_entry(before, fields)


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def append(log: DatabaseLog, entry: LogEntry) -> None:
    """Until there is an answer. What no answer came to may be stored: the same entry again is answered alike."""
    while True:
        try:
            number = log.writeLogEntry(entry)
        except StorageFailed:
            continue
        say("appended", number, entry.epoch, entry.compute_hash())
        return


def fight(log: DatabaseLog, holder: str) -> None:
    node = Heartbeat(log, holder, LEASE_S, BEAT_S)
    while True:
        try:
            epoch = node.claim().epoch
            say("claimed", epoch)
            entry = log.getLastEntry(SESSION)
            while True:
                entry = make_next(entry, holder, epoch)
                append(log, entry)
                node.beat()
        except Fenced as fenced:
            say("fenced", fenced.epoch, fenced.lease.epoch)
        except (NotYet, StorageFailed):
            time.sleep(0.01)


def stop_inside(log: DatabaseLog, entry: LogEntry) -> None:
    """The entry is written and its transaction is open."""
    try:
        with log.group():
            log.writeLogEntry(entry)
            os.kill(os.getpid(), signal.SIGSTOP)
        say("committed", entry.sequenceNumber)
    except StorageFailed:
        say("lost", entry.sequenceNumber)


def stop_once(log: DatabaseLog, holder: str, part: str) -> None:
    say("claimed", log.claim(holder, LEASE_S).epoch)
    entry = make_next(log.getLastEntry(SESSION), holder, log.epoch)
    if part == "inside":
        stop_inside(log, entry)
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        append(log, entry)
    except Fenced as fenced:
        say("fenced", fenced.epoch, fenced.lease.epoch)


def main(place: str, holder: str, part: str) -> None:
    log = open_log(place)
    if part == "fight":
        fight(log, holder)
    stop_once(log, holder, part)
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
