"""Partitions by month, on PostgreSQL: made ahead by `db upgrade`, and by whoever is first to write in a new month.

Transfers, events and lines lie in the month of their hold, so that old months can be dropped whole. What fits no month
lies in a DEFAULT partition: nothing is lost where nobody may create tables, and a month that is made later takes its
rows from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import MAXYEAR, UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tokenguard.ledger.engine import Database
from tokenguard.ledger.faults import unavailable

__all__ = [
    "AHEAD",
    "PARTITIONED",
    "PARTITIONS",
    "keep_months",
    "make_months",
    "month_of",
    "months_from",
    "next_month",
    "partition",
]

PARTITIONED: Final = ("tg_transfer", "tg_spend_event", "tg_spend_line")
"""Tables that PostgreSQL keeps by month."""
AHEAD: Final = 3
"""Months made beside the current one by `db upgrade`."""

_LOCK: Final = 0x6D6F6E7468
"""One maker of months at a time: the bytes of `month`."""


def month_of(at: datetime) -> datetime:
    """The first instant of the UTC month in which `at` lies."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    """The month after a month."""
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def months_from(at: datetime, ahead: int) -> Iterator[datetime]:
    """The month of `at` and `ahead` more; none where the calendar ends."""
    month = month_of(at)
    for _ in range(ahead + 1):
        if month.year >= MAXYEAR:
            return
        yield month
        month = next_month(month)


def partition(table: str, month: datetime) -> str:
    """The name of a month's partition, such as `tg_transfer_p202611`."""
    return f"{table}_p{month.year:04}{month.month:02}"


def make_months(database: Database, *, at: datetime | None = None, ahead: int, wait: bool) -> Sequence[str]:
    """Make the partitions that are missing; their names.

    Args:
        database: On a server; in a file there is nothing to make.
        at: Where to begin; None: the server's now.
        ahead: Months after that one.
        wait: For another maker of months; else leave the work to it.

    Raises:
        LedgerUnavailable: the server is away, or does not let this user create tables.
    """
    if database.address.is_sqlite:
        return ()
    try:
        with database.engine.begin() as connection:
            wanted = list(months_from(at or connection.execute(sa.select(sa.func.now())).scalar_one(), ahead))
            missing = _missing(connection, wanted)
        # A transaction for each: two DEFAULT partitions locked at once could deadlock with a writer.
        return [partition(table, month) for table, month in missing if _make(database, table, month, wait=wait)]
    except SQLAlchemyError as error:
        raise unavailable(error, database.name) from error


_parents: Final = ", ".join(f"CAST('{table}' AS regclass)" for table in PARTITIONED)
PARTITIONS: Final[sa.Select[str]] = (
    sa.select(sa.column("relname", sa.Text()))
    .select_from(sa.text("pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"))
    .where(sa.text(f"inhparent IN ({_parents})"))
)
"""The names of all partitions that there are. Asked of the catalogue's tables: functions such as `to_regclass` read a
cache, which may not know yet what another transaction just made or dropped."""


def _missing(
    connection: sa.Connection, months: Sequence[datetime], tables: Sequence[str] = PARTITIONED
) -> list[tuple[str, datetime]]:
    """Which of these partitions do not exist: one cheap look."""
    there = set(connection.execute(PARTITIONS).scalars())
    return [(table, month) for table in tables for month in months if partition(table, month) not in there]


def _is_our_turn(connection: sa.Connection, *, wait: bool) -> bool:
    if wait:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        return True
    return bool(connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))).scalar())


def _make(database: Database, table: str, month: datetime, *, wait: bool) -> bool:
    """Make one partition; False: somebody else does.

    Attaching an empty one lets others go on. Where the DEFAULT partition already has rows of its month (PostgreSQL
    looks), everybody waits while they move: a query planned before would look for them in the old place only.
    """
    try:
        return _attach(database, table, month, wait=wait, with_rows=False)
    except IntegrityError:
        return _attach(database, table, month, wait=wait, with_rows=True)


def _attach(database: Database, table: str, month: datetime, *, wait: bool, with_rows: bool) -> bool:
    name, began, ends = partition(table, month), month.isoformat(), next_month(month).isoformat()
    with database.engine.begin() as connection:
        # Asked again under the lock: somebody else may have made it while this one waited.
        if not _is_our_turn(connection, wait=wait) or not _missing(connection, [month], (table,)):
            return False
        run = connection.exec_driver_sql
        run("SET LOCAL lock_timeout = '5s'")
        run(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
        if with_rows:
            run(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            run(
                f"WITH moved AS (DELETE FROM {table}_default WHERE held_at >= '{began}' AND held_at < '{ends}' "  # noqa: S608  # our own names
                f"RETURNING *) INSERT INTO {name} SELECT * FROM moved"
            )
        run(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{began}') TO ('{ends}')")
    return True


def keep_months(connection: sa.Connection) -> None:
    """Let nobody drop a month before this transaction's end. Its first statement: the snapshot must be younger."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"LOCK TABLE ONLY {', ONLY '.join(PARTITIONED)} IN ACCESS SHARE MODE")
