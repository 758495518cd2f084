"""Compacting: the deltas that settlements leave are added to their day's rollup and deleted, in one transaction.

Whoever reads rollups and deltas in one snapshot reads the same sums before, during and after. There is no watermark:
ids commit late, so a delta counts until the transaction that adds it up deletes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import SQLAlchemyError

from tokenguard.ledger import schema
from tokenguard.ledger.engine import Database
from tokenguard.ledger.faults import unavailable
from tokenguard.ledger.tx import Tx

__all__ = ["AMOUNTS", "BATCH", "DIMENSIONS", "add_to_rollup", "backlog", "compact", "compact_batch"]

DIMENSIONS: Final = ("scope", "agent", "model", "provider", "operation", "quality", "mode")
"""What a rollup row is about, beside its day."""
AMOUNTS: Final = ("usd_pico", "input_tokens", "output_tokens", "calls")

BATCH: Final = 50_000
"""Deltas per transaction of `compact`: about a second, so that nobody waits long for a SQLite file."""

_LOCK: Final = 0x726F6C6C7570
"""One compaction at a time on a server: the bytes of `rollup`."""

_KEY_BYTES_MAX: Final = 2_000
"""PostgreSQL's index rows end at 2,704 bytes. Deltas with longer names stay deltas; reports count them all the same."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction compacted."""

    deltas: int
    last_id: str | None
    """Where the next batch goes on; None: nothing is left, or somebody else is at it."""


def compact(database: Database, *, on_progress: Callable[[int], None] = lambda _: None) -> int:
    """Compact every delta that is there, in batches; how many. Waits for another compaction to end.

    Args:
        database: Any; its schema is this version's.
        on_progress: Told the number of deltas so far, after each batch.
    """
    compacted, after = 0, ""
    while True:
        batch = _next_batch(database, after)
        if batch.last_id is None:
            _vacuum(database)
            return compacted
        compacted, after = compacted + batch.deltas, batch.last_id
        on_progress(compacted)


def _next_batch(database: Database, after: str) -> Batch:
    return database.transact(lambda tx: compact_batch(tx, after=after, limit=BATCH, wait=True))


def _vacuum(database: Database) -> None:
    """On a server deleted rows are read over until they are vacuumed; reports should not wait for autovacuum."""
    if database.address.is_sqlite:
        return
    try:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE) tg_rollup_delta, tg_rollup")
    except SQLAlchemyError as error:
        raise unavailable(error, database.name) from error


def compact_batch(tx: Tx, *, after: str = "", limit: int, wait: bool) -> Batch:
    """Compact up to `limit` events' deltas with ids above `after`.

    Args:
        tx: A write transaction with nothing else in it.
        after: An event's id.
        limit: How many, > 0.
        wait: For another compaction on a server; else leave the work to it.
    """
    if not _is_our_turn(tx, wait=wait):
        return Batch(0, None)
    row = schema.rollup_delta.c
    some = sa.select(row.event_id).where(row.event_id > after).order_by(row.event_id).limit(limit).subquery()
    deltas, last_id = tx.select(sa.select(sa.func.count(), sa.func.max(some.c.event_id)))[0]
    if last_id is None:
        return Batch(0, None)
    _fold(tx, sa.and_(row.event_id > after, row.event_id <= last_id))
    return Batch(deltas, last_id)


def _is_our_turn(tx: Tx, *, wait: bool) -> bool:
    if not tx.on_server:
        return True
    if wait:
        tx.select(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        return True
    return bool(tx.select(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK)))[0][0])


def _fold(tx: Tx, where: sa.ColumnElement[bool]) -> None:
    """Add the deltas up and delete exactly those."""
    if not tx.on_server:
        # Nobody else writes during a SQLite transaction: both statements see the same rows.
        add_to_rollup(tx, schema.rollup_delta, where, pruned=False)
        tx.write(sa.delete(schema.rollup_delta).where(where))
        return
    row = schema.rollup_delta.c
    names = [row[name] for name in DIMENSIONS]
    short = sa.func.octet_length(sa.func.concat(*names)) <= _KEY_BYTES_MAX
    columns = [row.day, *names, *(row[name] for name in AMOUNTS)]
    add_to_rollup(tx, sa.delete(schema.rollup_delta).where(where, short).returning(*columns).cte("gone"), pruned=False)


def add_to_rollup(
    tx: Tx, source: sa.FromClause, where: sa.ColumnElement[bool] | None = None, *, pruned: bool, sign: int = 1
) -> None:
    """Add rows with a day, dimensions and amounts to their rollups; with `sign=-1` take them off."""
    keys = [source.c[name] for name in ("day", *DIMENSIONS)]
    factor = sa.literal_column(str(sign), sa.Integer())
    sums = [factor * sa.func.sum(source.c[name]) for name in AMOUNTS]
    chosen: sa.Select[Any] = sa.select(*keys, sa.literal_column("true" if pruned else "false"), *sums)
    chosen = chosen.where(sa.true() if where is None else where).group_by(*keys).order_by(*keys)
    make = postgresql_insert if tx.on_server else sqlite_insert
    insert = make(schema.rollup).from_select(["day", *DIMENSIONS, "pruned", *AMOUNTS], chosen)
    more = {name: schema.rollup.c[name] + insert.excluded[name] for name in AMOUNTS}
    tx.write(insert.on_conflict_do_update(index_elements=["day", *DIMENSIONS, "pruned"], set_=more))


def backlog(connection: sa.Connection, most: int) -> int:
    """How many deltas wait to be compacted, counted up to `most`."""
    some = sa.select(schema.rollup_delta.c.event_id).limit(most).subquery()
    return connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
