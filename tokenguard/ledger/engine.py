"""Connections and transactions: SQLite with one writer per process, PostgreSQL with a pool.

SQLite allows one writer at a time, whoever asks. Threads of this process queue on a lock, in order, before they meet
other processes in SQLite's own busy handler, which knows no order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Any, Final, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from tokenguard.errors import BadAmount, LedgerUnavailable
from tokenguard.ledger.address import Address
from tokenguard.ledger.faults import (
    CONNECTION_WAIT_S,
    CONNECTIONS_MAX,
    SOON_S,
    doubtful,
    is_disk_error,
    mismatch,
    unavailable,
    was_demoted,
)
from tokenguard.ledger.gate import SQLITE
from tokenguard.ledger.statements import Statements
from tokenguard.ledger.tries import Lost, Tries
from tokenguard.ledger.tx import SchemaMoved, Tx

__all__ = ["LARGEST_ON_SQLITE", "Database", "Durability"]

T = TypeVar("T")
Durability = Literal["normal", "full"]

LARGEST_ON_SQLITE: Final = 2**63 - 1
"""Pico-dollars in a signed 64-bit column: $9,223,372."""

_compact: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

_left_to_the_parent: Final[list[Any]] = []
"""Connections inherited by a forked child. Closing them there, as collecting them would, could break the parent's."""


class Database:
    """One database: an engine for reads, a way to write, and the statements compiled for it."""

    def __init__(
        self,
        address: Address,
        durability: Durability,
        busy_timeout_s: float,
        *,
        now: Callable[[], datetime] | None = None,
        patient: bool = False,
    ) -> None:
        """Describe a database; nothing is opened yet.

        Args:
            address: Where it is.
            durability: SQLite's `synchronous`.
            busy_timeout_s: How long to wait for other processes' locks on a SQLite file; > 0.
            now: The clock of leases; None: a server's own, and for a file the machine's (see steady.py).
            patient: Everything may take long: for upgrades, verification and retention (see patience.py).
        """
        self.address = address
        self.name = address.name
        self._durability = durability
        self._busy_timeout_s = busy_timeout_s
        self._patient = patient
        self.engine = self._make_engine()
        self.now = now
        self.statements = Statements(self.engine.dialect, server_time=now is None and not address.is_sqlite)
        self.largest = LARGEST_ON_SQLITE if address.is_sqlite else None
        dbapi = self.engine.dialect.loaded_dbapi
        self._driver_error: type[Exception] = dbapi.Error
        self._renew()
        # Books in memory would end with their last connection, and no child sees them in any case.
        self.gate: AbstractContextManager[None] = nullcontext()
        if address.is_file:
            self.gate = SQLITE
            SQLITE.watch(self)

    def _renew(self) -> None:
        self._lock = Lock()
        self._writer: Any = None

    def _make_engine(self) -> sa.Engine:
        return self._file_engine() if self.address.is_sqlite else self._server_engine()

    def _server_engine(self) -> sa.Engine:
        from tokenguard.ledger.patience import PatientConnection, parameters  # noqa: PLC0415  # the driver is an extra

        # A pinged connection costs a round trip and spares every caller the first error after a restart of the server.
        engine = sa.create_engine(
            self.address.url,
            pool_size=8,
            max_overflow=CONNECTIONS_MAX - 8,
            pool_timeout=CONNECTION_WAIT_S,
            pool_pre_ping=True,
            connect_args=parameters(self.address.url.query),
            json_serializer=_compact.encode,
        )
        patient = self._patient

        @event.listens_for(engine, "do_connect")
        def _connect(  # pyright: ignore[reportUnusedFunction]  # a listener
            dialect: object, record: object, args: Sequence[Any], how: dict[str, Any]
        ) -> PatientConnection:
            del dialect, record
            return PatientConnection.connect(*args, **how)

        @event.listens_for(engine, "connect")
        def _limit(connection: PatientConnection, record: object) -> None:  # pyright: ignore[reportUnusedFunction]  # a listener
            del record
            if not patient:
                connection.limit()

        @event.listens_for(engine, "checkin")
        def _rest(connection: PatientConnection | None, record: object) -> None:  # pyright: ignore[reportUnusedFunction]  # a listener
            del record
            if connection is not None:
                connection.rest()

        return engine

    def _file_engine(self) -> sa.Engine:
        engine = sa.create_engine(
            self.address.url,
            connect_args={"timeout": self._busy_timeout_s, "check_same_thread": False},
            json_serializer=_compact.encode,
        )
        synchronous = "FULL" if self._durability == "full" else "NORMAL"

        @event.listens_for(engine, "connect")
        def _on_connect(connection: Any, record: object) -> None:  # pyright: ignore[reportUnusedFunction]  # a listener
            del record
            # Autocommit mode, so that transactions begin where we say and not where Python's driver guesses.
            connection.isolation_level = None
            connection.execute(f"PRAGMA synchronous={synchronous}")
            connection.execute("PRAGMA wal_autocheckpoint=4000")

        @event.listens_for(engine, "begin")
        def _on_begin(connection: sa.Connection) -> None:  # pyright: ignore[reportUnusedFunction]  # a listener
            connection.exec_driver_sql(connection.get_execution_options().get("tg_begin", "BEGIN"))

        return engine

    def transact(self, work: Callable[[Tx], T], *, checks_schema: bool = False, repeatable: bool = False) -> T:
        """Run `work` in one write transaction; all of it is written, or nothing.

        `work` may run several times: what passes is tried again, a bounded number of times (see tries.py).

        Args:
            work: Writes; only after the schema was found to be this code's.
            checks_schema: It finds that out itself, with a statement that it needs anyway.
            repeatable: The books know it by its ids, so that doing it twice is doing it once: where the answer to a
                commit is lost, it is done again, with `Tx.again`, and its caller hears the truth.

        Raises:
            LedgerUnavailable: the database cannot be written; `in_doubt` where nobody knows whether it was.
            SchemaMismatch: somebody upgraded it since it was opened, or put an older copy back.
            BadAmount: an amount is larger than a SQLite column.
        """
        job = work if checks_schema else partial(_on_our_schema, work)
        tries = Tries(in_file=self.address.is_sqlite, repeatable=repeatable)
        while True:
            try:
                return self._once(job, again=tries.in_doubt)
            except SchemaMoved as moved:
                raise mismatch(moved.found, self.name) from None
            except OverflowError as error:
                raise BadAmount(
                    "an amount is above what a SQLite ledger can hold ($9,223,372, or 2^63 tokens). Use PostgreSQL.",
                    largest=LARGEST_ON_SQLITE,
                ) from error
            except (Lost, self._driver_error, SQLAlchemyError) as error:
                pause_s = tries.pause_s(error)
                if pause_s is None:
                    cause = error.cause if isinstance(error, Lost) else error
                    if tries.in_doubt:
                        raise doubtful(self.name, repeatable=repeatable) from cause
                    raise unavailable(cause, self.name) from cause
            time.sleep(pause_s)

    def read(self, work: Callable[[sa.Connection], T], *, long: bool = False) -> T:
        """Run `work` on one consistent snapshot.

        Args:
            work: Reads.
            long: It may take long, as reports do.

        Raises:
            LedgerUnavailable: the database cannot be read.
        """
        try:
            with self.gate, self.engine.connect() as connection:
                if not self.address.is_sqlite:
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
                    self._expect(connection.connection.driver_connection, long=long)
                with connection.begin():
                    return work(connection)
        except SQLAlchemyError as error:
            raise unavailable(error, self.name) from error

    def _once(self, work: Callable[[Tx], T], *, again: bool) -> T:
        """One attempt at a transaction."""
        if self.address.is_sqlite:
            return self._once_on_file(work)
        pooled = self.engine.raw_connection()
        driver: Any = pooled.driver_connection
        self._expect(driver, long=False)
        try:
            return self._committed(driver, work, again=again)
        except self._driver_error as error:
            if not was_demoted(error):
                raise
            # After a failover this server is a standby, and so it is for every connection of the pool.
            driver.close()
            self.engine.dispose()
            raise Lost(error, in_doubt=False) from error
        finally:
            if driver.closed:
                pooled.invalidate()  # Lost on the way; the pool would try to roll it back, and log that it cannot.
            pooled.close()

    def _expect(self, driver: Any, *, long: bool) -> None:
        """Say how long a server's connection may be silent in the transaction that begins."""
        if long:
            driver.take_time()
        else:
            driver.hurry()

    def _once_on_file(self, work: Callable[[Tx], T]) -> T:
        lock = self._lock
        if not lock.acquire(timeout=3 * self._busy_timeout_s):
            raise LedgerUnavailable(
                f"ledger {self.name} is busy: other threads of this process kept it for "
                f"{3 * self._busy_timeout_s:g} s. Look for what locks the file, or use PostgreSQL.",
                database=self.name,
                wait_s=3 * self._busy_timeout_s,
                retry_in_s=SOON_S,
            )
        try:
            with self.gate:
                if self._writer is None:
                    self._writer = self.engine.raw_connection()
                driver = self._writer.driver_connection
                if driver.in_transaction:
                    # An interrupt fell between BEGIN and the work, or between the work and its rollback.
                    driver.rollback()
                driver.execute("BEGIN IMMEDIATE")
                return self._committed(driver, work)
        finally:
            lock.release()

    def _committed(self, driver: Any, work: Callable[[Tx], T], *, again: bool = False) -> T:
        """Commit what `work` did, or roll it back on any error, an interrupt by the user included.

        Raises:
            Lost: the connection is gone, or the disk failed in the commit.
        """
        asked = False
        try:
            result = work(Tx(driver, self.statements, self.largest, self.now() if self.now else None, again=again))
            asked = True
            driver.commit()
        except BaseException as error:
            # A connection that is lost rolls back by itself, and what lost it is the error to tell.
            with suppress(self._driver_error):
                driver.rollback()
            if isinstance(error, self._driver_error) and _is_gone(driver, error, asked=asked):
                raise Lost(error, in_doubt=asked) from error
            raise
        return result

    def dispose(self, *, forked: bool) -> None:
        """Close every connection; in a forked child leave the parent's untouched and start anew."""
        if forked:
            _left_to_the_parent.append((self.engine.pool, self._writer))
            self.engine.dispose(close=False)
            self._renew()
            return
        # The gate is shut for good in a child that was forked inside a transaction; it has nothing to close.
        with suppress(LedgerUnavailable), self._lock, self.gate:
            self.close_connections()

    def close_connections(self) -> None:
        """Close every connection that no thread uses; the next use opens new ones."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.engine.dispose()


def _on_our_schema(work: Callable[[Tx], T], tx: Tx) -> T:
    tx.check_schema()
    return work(tx)


def _is_gone(driver: Any, error: Exception, *, asked: bool) -> bool:
    """Whether nobody will answer for the transaction. A file's connection stays; its disk may fail in a commit."""
    return bool(getattr(driver, "closed", False)) or (asked and is_disk_error(error))
