"""Retention: transfers, events and lines of old months go; what they added up to stays.

Before a fact goes, in the same transaction, a closing row of each balance takes what its transfers came to, and
rollups take what its events came to; so the books replay from there, and reports by day keep their sums. On PostgreSQL
a month is a partition and is dropped whole; in a file, and in a DEFAULT partition, attempts go in batches. Balances are
never touched, whether their windows are over or not, and a month with an open hold is not pruned. Rows that nobody
reads any more go last (leftovers.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tokenguard.core.clock import SystemClock
from tokenguard.errors import PruneRefused, SettingsError
from tokenguard.ledger import schema
from tokenguard.ledger.columns import Instant, Pico
from tokenguard.ledger.engine import Database
from tokenguard.ledger.leftovers import count_leftovers, drop_leftovers, runs_left_empty
from tokenguard.ledger.months import PARTITIONED, PARTITIONS, month_of, next_month, partition
from tokenguard.ledger.rollups import AMOUNTS, DIMENSIONS, add_to_rollup, compact
from tokenguard.ledger.spending import event_day
from tokenguard.ledger.statements import Rows
from tokenguard.ledger.tx import Tx

__all__ = ["Pruned", "month_named", "old_rows", "prune", "pruned_before"]

_NAME: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_META: Final = "pruned_before"
_BATCH: Final = 500
"""Attempts per transaction where they go one by one: some ten milliseconds on a SQLite file."""

_LOCK: Final = 0x7072756E65
"""One pruning of a server's month at a time: the bytes of `prune`."""

_transfer, _event, _line = schema.transfer.c, schema.spend_event.c, schema.spend_line.c


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or would go."""

    transfers: int
    events: int
    lines: int
    partitions: tuple[str, ...] = ()
    """Dropped whole, on PostgreSQL."""
    anchors: int = 0
    """Limits of runs that are over."""
    owners: int = 0
    """Processes that were not heard of for long."""
    slices: int = 0
    """Of rolling windows that have moved on."""
    loop_states: int = 0
    """What the loop rules of runs that are over had seen."""
    originals: int = 0
    """Of what was left out of prompts, which nobody may read any more."""
    fold_states: int = 0
    """How far runs were folded that nobody goes on with."""
    savings: int = 0
    """Of single runs, which become sums of days."""

    @property
    def facts(self) -> int:
        """Rows about single calls."""
        return self.transfers + self.events + self.lines

    @property
    def leftovers(self) -> int:
        """Rows that nobody reads any more."""
        unread = self.originals + self.fold_states + self.savings
        return self.anchors + self.owners + self.slices + self.loop_states + unread

    def __bool__(self) -> bool:
        return bool(self.facts or self.partitions or self.leftovers)


def month_named(text: str) -> datetime:
    """The first instant of a month written `YYYY-MM`.

    Raises:
        SettingsError: it is not one, or it is not over.
    """
    found = _NAME.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise SettingsError(f"--before {text!r} is no month. Write it as 2026-03: what is older goes, March stays.")
    month, current = datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC), month_of(SystemClock().now())
    if month > current:
        raise SettingsError(
            f"--before {text} reaches into a month that is not over, whose windows are open. "
            f"The latest that can be pruned is --before {current:%Y-%m}."
        )
    return month


def prune(database: Database, before: datetime, *, on_progress: Callable[[int], None] = lambda _: None) -> Pruned:
    """Close the books of everything held before `before`, and let the facts go. May be interrupted and repeated.

    Args:
        database: Any; its schema is this version's.
        before: The first instant of a month that has begun.
        on_progress: Told the number of transfers that went so far.

    Raises:
        PruneRefused: a hold from before is open.
        LedgerUnavailable: the database is away, or this user does not own its tables.
    """
    _refuse_open_holds(database.read(lambda connection: connection.execute(_open_holds(before)).one()), before)
    found = database.read(lambda connection: old_rows(connection, before))
    compact(database)
    gone, dropped = 0, list[str]()
    for month in database.read(lambda connection: _whole_months(connection, before)):
        gone += database.transact(partial(_drop_month, month=month))
        dropped.extend(partition(table, month) for table in PARTITIONED)
        on_progress(gone)
    after = ""
    while True:
        batch = database.transact(partial(_delete_batch, before=before, after=after))
        if batch is None:
            break
        gone, after = gone + batch[0], batch[1]
        on_progress(gone)
    database.transact(lambda tx: _finish(tx, before))
    return replace(found, partitions=tuple(dropped))


def old_rows(connection: sa.Connection, before: datetime) -> Pruned:
    """What `prune` would let go, open holds apart."""
    transfers, events, lines = (
        connection.execute(sa.select(sa.func.count()).select_from(table).where(table.c.held_at < before)).scalar_one()
        for table in (schema.transfer, schema.spend_event, schema.spend_line)
    )
    months = _whole_months(connection, before)
    names = tuple(partition(table, month) for month in months for table in PARTITIONED)
    return Pruned(transfers, events, lines, names, **count_leftovers(connection, before))


def pruned_before(connection: sa.Connection) -> str | None:
    """The first month, as `YYYY-MM`, whose single events were never pruned; None: all are there."""
    row = schema.meta.c
    found: str | None = connection.execute(sa.select(row.value).where(row.name == _META)).scalar()
    return found


# ---- refusing ------------------------------------------------------------------------------------------------------


def _open_holds(before: datetime) -> Rows:
    row = schema.hold.c
    return sa.select(sa.func.count(), sa.func.max(row.lease_until)).where(row.held_at < before)


def _refuse_open_holds(found: Sequence[Any], before: datetime) -> None:
    holds, lease_until = found
    if holds:
        raise PruneRefused(
            f"{holds:,} holds from before {before:%Y-%m} are open, the last until {lease_until:%Y-%m-%d %H:%M} UTC, so "
            "their month stays. Make a guarded call after that time, which turns them into assumed charges, and try "
            "again.",
            holds=holds,
            lease_until=lease_until,
        )


# ---- closing -------------------------------------------------------------------------------------------------------


def _close(tx: Tx, transfers: sa.ColumnElement[bool], events: sa.ColumnElement[bool], before: datetime) -> None:
    """Write down what these transfers and events add up to."""
    _close_balances(tx, transfers, before)
    columns = [sa.func.coalesce(_event[name], "").label(name) for name in DIMENSIONS]
    day = event_day(tx.statements.dialect.name).label("day")
    of_day = sa.select(day, *columns, *(_event[name] for name in AMOUNTS)).where(events).subquery()
    add_to_rollup(tx, of_day, pruned=True)
    add_to_rollup(tx, of_day, pruned=False, sign=-1)


def _close_balances(tx: Tx, transfers: sa.ColumnElement[bool], before: datetime) -> None:
    places: list[sa.ColumnElement[Any]] = [sa.literal_column(_LEG[tx.on_server].format(place)) for place in range(4)]
    account, *amounts = places
    elements = sa.func.jsonb_array_elements if tx.on_server else sa.func.json_each
    legs = elements(_transfer.legs).table_valued("value").alias("leg")
    sums = [sa.func.sum(sa.cast(amount, Pico())) for amount in amounts]
    chosen = sa.select(account, *sums, sa.func.count(), sa.bindparam(None, before, type_=Instant()))
    chosen = chosen.select_from(schema.transfer, legs).where(transfers)
    chosen = chosen.group_by(sa.literal_column("1")).order_by(sa.literal_column("1"))
    names = ["account_id", "held", "settled", "live", "transfers", "before"]
    insert = (postgresql_insert if tx.on_server else sqlite_insert)(schema.closing).from_select(names, chosen)
    closing, new = schema.closing.c, insert.excluded
    more = {name: closing[name] + new[name] for name in ("held", "settled", "live", "transfers")}
    tx.write(insert.on_conflict_do_update(index_elements=["account_id"], set_={**more, "before": new.before}))


_LEG: Final = {True: "leg.value ->> {}", False: "json_extract(leg.value, '$[{}]')"}
"""A place of a transfer's leg, on a server and in a file."""


# ---- letting go ----------------------------------------------------------------------------------------------------


def _whole_months(connection: sa.Connection, before: datetime) -> list[datetime]:
    """The months whose partitions end by `before`, oldest first."""
    if connection.dialect.name == "sqlite":
        return []
    names = [name for name in connection.execute(PARTITIONS).scalars() if not name.endswith("_default")]
    months = {datetime(int(name[-6:-2]), int(name[-2:]), 1, tzinfo=UTC) for name in names}
    return sorted(month for month in months if month < before)


def _drop_month(tx: Tx, month: datetime) -> int:
    """Close one month and drop its partitions, those that are there; how many transfers went."""
    before = next_month(month)
    tx.select(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    known = {name for (name,) in tx.select(PARTITIONS)}
    there = [name for name in (partition(table, month) for table in PARTITIONED) if name in known]
    if not there:
        return 0  # somebody else prunes, and was here first
    # A report that is running may take longer; everybody else would queue behind this one until it is through.
    tx.write(sa.text("SET LOCAL lock_timeout = '3s'"))
    # Nobody writes into the month any more, and whoever wanted to does so afterwards, into DEFAULT.
    tx.write(sa.text(f"LOCK TABLE {', '.join(there)} IN SHARE ROW EXCLUSIVE MODE"))
    _refuse_open_holds(tx.select(_open_holds(before))[0], before)
    transfers, events = (sa.and_(row.held_at >= month, row.held_at < before) for row in (_transfer, _event))
    gone: int = tx.select(sa.select(sa.func.count()).where(transfers))[0][0]
    _close(tx, transfers, events, before)
    tx.write(sa.text(f"DROP TABLE {', '.join(there)}"))
    _remember(tx, before)
    return gone


def _delete_batch(tx: Tx, before: datetime, after: str) -> tuple[int, str] | None:
    """Close and delete some attempts with ids above `after`: how many transfers and the last id, if any is left."""
    if tx.on_server:
        # In the order in which a settlement writes.
        defaults = ", ".join(f"{table}_default" for table in PARTITIONED)
        tx.write(sa.text(f"LOCK TABLE {defaults} IN SHARE ROW EXCLUSIVE MODE"))
    is_open = sa.exists().where(schema.hold.c.id == _transfer.hold_id)
    old = (_transfer.held_at < before, _transfer.hold_id > after, ~is_open)
    some = sa.select(_transfer.hold_id).where(*old).order_by(_transfer.hold_id).limit(_BATCH).subquery()
    last: str | None = tx.select(sa.select(sa.func.max(some.c.hold_id)))[0][0]
    if last is None:
        return None
    transfers = sa.and_(*old, _transfer.hold_id <= last)
    events, lines = (
        sa.and_(row.held_at < before, key > after, key <= last)
        for row, key in ((_event, _event.id), (_line, _line.event_id))
    )
    _close(tx, transfers, events, before)
    tx.write(sa.delete(schema.spend_line).where(lines))
    tx.write(sa.delete(schema.spend_event).where(events))
    return tx.write(sa.delete(schema.transfer).where(transfers)), last


def _finish(tx: Tx, before: datetime) -> None:
    """Forget runs of which nothing is left, rollups that came to nothing, and leftovers; remember the month."""
    rolled, node = schema.rollup.c, schema.node.c
    empty = [rolled[name] == sa.literal_column("0") for name in AMOUNTS]
    old = (rolled.pruned.is_(sa.false()), rolled.day < before.date().isoformat())
    tx.write(sa.delete(schema.rollup).where(*old, *empty))
    tx.write(sa.delete(schema.node).where(node.root_id.in_(runs_left_empty(before, pruned=True))))
    drop_leftovers(tx, before)
    _remember(tx, before)


def _remember(tx: Tx, before: datetime) -> None:
    """Keep the latest month before which events were pruned."""
    insert = (postgresql_insert if tx.on_server else sqlite_insert)(schema.meta)
    insert = insert.values(name=_META, value=f"{before:%Y-%m}")
    later = schema.meta.c.value < insert.excluded.value
    tx.write(insert.on_conflict_do_update(index_elements=["name"], set_={"value": insert.excluded.value}, where=later))
