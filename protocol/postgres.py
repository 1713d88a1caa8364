"""A log in PostgreSQL, which several machines share. The same rules as in `stores.py`, and the same code.

What is different is what a server adds. It has a clock, the only one that all its clients share: without another,
leases are measured by it. And it can end the transaction of a client that does not go on: a gateway that is
stopped in the middle of an append would hold up its successor for as long as it is stopped, for it is alive, and
its connection is not lost. After `idle_s` seconds the server ends that session and takes the append back; the
successor, who waits up to `wait_s` for its turn, claims; the gateway that wakes up finds its connection closed
and, when it appends again, is fenced.

Every log is one schema with the three tables. Whoever writes takes the lock of the table `lease` first, also
where it has no row yet. `synchronous_commit` is on: an append that returned is on the server's disk. What no
answer came to may be there or not (StorageFailed), as with every store.

psycopg is imported when a log is opened, and not before: nothing else here needs it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from protocol.errors import Misuse
from protocol.log import StorageFailed
from protocol.stores import WAIT_S, DatabaseLog, Now

if TYPE_CHECKING:
    import psycopg

IDLE_S = 1.0

_SCHEMA = """
CREATE TABLE session (
    id        TEXT PRIMARY KEY,
    length    BIGINT NOT NULL,
    last_hash TEXT NOT NULL,
    is_open   INTEGER NOT NULL,
    place     BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX open_session ON session (place) INCLUDE (id) WHERE is_open = 1;
CREATE TABLE entry (
    session TEXT NOT NULL,
    number  BIGINT NOT NULL,
    body    BYTEA NOT NULL,
    PRIMARY KEY (session, number)
);
CREATE TABLE lease (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    holder TEXT NOT NULL,
    epoch  BIGINT NOT NULL,
    until  TEXT NOT NULL
);
"""


class PostgresLog(DatabaseLog):
    """The Log Storage API over PostgreSQL: one schema, called `name`, for each log. Needs psycopg.

    A connection that was lost is made again at the next use, never inside a group: what was in it is gone. Without
    `now` the lease is measured by the database's own clock. `fencing` and `wait_s` are as in SQLiteLog. A session
    that does nothing for `idle_s` inside a transaction is ended by the server; so a group must not pause for long.
    """

    _sessions = "SELECT id FROM session ORDER BY place"
    _open_sessions = "SELECT id FROM session WHERE is_open = 1 ORDER BY place"

    def __init__(
        self,
        conninfo: str,
        name: str,
        *,
        now: Now | None = None,
        fencing: bool = True,
        wait_s: float = WAIT_S,
        idle_s: float = IDLE_S,
    ) -> None:
        super().__init__(is_shared=True, now=now, fencing=fencing)
        try:
            import psycopg
        except ImportError as error:
            raise Misuse("PostgreSQL needs psycopg: pip install 'psycopg[binary]'") from error
        if not 0 < len(name.encode()) < 64 or "\0" in name:
            raise Misuse(f"{name!r} cannot be the name of a schema: 1 to 63 bytes")
        self.name = name
        self._conninfo, self._wait_s, self._idle_s = conninfo, wait_s, idle_s
        self._driver, self._errors = psycopg, psycopg.Error
        self._database: psycopg.Connection[tuple[Any, ...]] | None = None
        self._is_closed = False
        with self._reading():
            self._connect()

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        database = self._driver.connect(self._conninfo, autocommit=True)
        try:
            schema = self._driver.sql.Identifier(self.name).as_string(database)
            settings = {
                "search_path": schema,
                "synchronous_commit": "on",
                "lock_timeout": f"{self._wait_s * 1000:.0f}ms",
                "idle_in_transaction_session_timeout": f"{self._idle_s * 1000:.0f}ms",
            }
            for setting, value in settings.items():
                database.execute("SELECT set_config(%s, %s, false)", (setting, value))
            with database.transaction():
                # IF NOT EXISTS is not enough: two processes that create at once get an error of the catalogue.
                database.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"log {self.name}",))
                if database.execute("SELECT to_regclass('lease')").fetchone() == (None,):
                    database.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; {_SCHEMA}")
        except BaseException:
            database.close()
            raise
        self._database = database
        return database

    def _connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._is_closed:
            raise StorageFailed("the store was closed")
        if self._database is None or self._database.closed:
            if self._depth:
                raise StorageFailed("the connection was lost inside the group")
            return self._connect()
        return self._database

    def _execute(self, statement: str, *values: object) -> Any:
        return self._connection().execute(statement.replace("?", "%s"), values or None, binary=bool(values))

    def _begin(self) -> None:
        """EXCLUSIVE: of all that want to write, one; readers do not wait. It is there before the first entry is."""
        self._execute("BEGIN; LOCK TABLE lease IN EXCLUSIVE MODE")

    def _commit(self) -> None:
        """A transaction in which anything failed is rolled back by COMMIT, without an error."""
        if self._execute("COMMIT").statusmessage != "COMMIT":
            raise StorageFailed("a statement inside the group failed")

    def _is_in_transaction(self) -> bool:
        idle = self._driver.pq.TransactionStatus.IDLE
        database = self._database
        return database is not None and not database.closed and database.info.transaction_status != idle

    def _is_damage(self, error: Exception) -> bool:
        return isinstance(error, self._driver.errors.DataCorrupted | self._driver.errors.IndexCorrupted)

    def read_clock(self) -> datetime:
        if self._clock is not None:
            return self._clock()
        with self._reading():
            now: datetime = self._execute("SELECT clock_timestamp()").fetchone()[0]
        return now.astimezone(UTC)

    def close(self) -> None:
        self._is_closed = True
        if self._database is not None:
            self._database.close()

    def drop(self) -> None:
        with self._reading():
            self._execute(f"DROP SCHEMA {self._driver.sql.Identifier(self.name).as_string()} CASCADE")
        self.close()
