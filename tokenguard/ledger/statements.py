"""SQL compiled once per database and run on the driver's own cursor: the ledger's inner loop.

SQLAlchemy writes the SQL and converts values (schema.py), but its execution layer costs more than SQLite itself: one
INSERT and COMMIT took 108 µs through the engine and 29 µs on the driver, on the same file. A reservation has six
statements, so the difference decides whether a guard can be afforded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Dialect

from tokenguard.core.budget import Unit
from tokenguard.ledger import schema
from tokenguard.ledger.columns import Instant, Pico
from tokenguard.ledger.compiled import Driver, Statement

__all__ = [
    "BALANCE_COLUMNS",
    "BUDGET_COLUMNS",
    "Driver",
    "Statement",
    "Statements",
    "in_batches",
    "one_of",
]

Rows: TypeAlias = sa.Select[*tuple[Any, ...]]
"""A SELECT of any columns."""

BALANCE_COLUMNS: Final = tuple(schema.balance.c)
BUDGET_COLUMNS: Final = tuple(schema.budget.c)

_VERSION: Final = sa.table(schema.VERSION_TABLE, sa.column("version_num", sa.String())).c.version_num

_BATCH: Final = 500
"""Values in one IN list; older builds of SQLite take 999."""


class Statements:
    """Every statement of the inner loop, compiled when first needed. Shared by threads: a race compiles twice."""

    def __init__(self, dialect: Dialect, *, server_time: bool) -> None:
        self.dialect = dialect
        self.now: sa.ColumnElement[Any] = (
            sa.type_coerce(sa.func.statement_timestamp(), Instant())
            if server_time
            else sa.bindparam("now", type_=Instant())
        )
        """The books' instant: the server's own, else the parameter `now`. Of the functions that tell it, this one lets
        PostgreSQL use the index on leases."""
        self._known: dict[tuple[Any, ...], Statement] = {}

    def instant(self) -> Statement:
        """The books' instant."""
        return self._keep(("instant",), lambda: Statement(sa.select(self.now), self.dialect, (self.now,)))

    def insert(self, table: sa.Table) -> Statement:
        """Insert one row with every column given."""
        return self._keep(
            ("insert", table.name),
            lambda: Statement(sa.insert(table), self.dialect, keys=[one.name for one in table.c]),
        )

    def insert_missing(self, table: sa.Table) -> Statement:
        """Insert one row unless its key is there."""
        keys = [one.name for one in table.c]
        make = postgresql_insert if self.dialect.name == "postgresql" else sqlite_insert
        return self._keep(
            ("insert_missing", table.name),
            lambda: Statement(make(table).on_conflict_do_nothing(), self.dialect, keys=keys),
        )

    def schema_version(self) -> Statement:
        """The schema's revision."""
        return self._keep(("version",), lambda: Statement(sa.select(_VERSION), self.dialect, (_VERSION,)))

    def preflight(self, runs: int, scopes: int) -> Statement:
        """Is the attempt known, has a lease ended, is a run on the path closed? And the budgets stored for its scopes.

        Three flags, the schema's revision, the books' instant and a budget's columns: a row for each budget, or one
        without.
        """
        return self._keep(("preflight", runs, scopes), lambda: self._preflight(runs, scopes))

    def _preflight(self, runs: int, scopes: int) -> Statement:
        known = sa.exists().where(schema.transfer.c.hold_id == sa.bindparam("id"))
        if self.dialect.name == "postgresql":
            # A reservation is repeated with its own instant, or not at all: one or two months are looked through
            # instead of all.
            began, ends = (sa.bindparam(name, type_=Instant()) for name in ("day_before", "day_after"))
            known = known.where(schema.transfer.c.held_at.between(began, ends))
        over = sa.exists().where(schema.hold.c.lease_until <= self.now)
        version = sa.select(_VERSION).scalar_subquery().label("version")
        flags = sa.select(
            known.label("known"), over.label("over"), _closed(runs).label("shut"), version, self.now.label("now")
        ).subquery("flags")
        columns = (*flags.c, *BUDGET_COLUMNS)
        theirs = schema.budget.c.scope_key.in_(_binds("key", scopes)) if scopes else sa.false()
        clause = sa.select(*columns).select_from(flags.outerjoin(schema.budget, theirs))
        return Statement(clause, self.dialect, columns)

    def entering(self, runs: int) -> Statement:
        """Is the node known, is a run on its path closed? Two flags and the books' instant in one row."""
        return self._keep(("entering", runs), lambda: self._entering(runs))

    def _entering(self, runs: int) -> Statement:
        known = sa.exists().where(schema.node.c.id == sa.bindparam("id"))
        clause = sa.select(known, _closed(runs), self.now.label("now"))
        return Statement(clause, self.dialect, clause.selected_columns)

    def lock_anchors(self, count: int) -> Statement:
        """Lock anchors `id_0` … of a path, outermost first: ids sort by time, and what is above began before."""
        return self._keep(("anchors", count), lambda: self._lock_anchors(count))

    def _lock_anchors(self, count: int) -> Statement:
        row = schema.anchor.c
        clause = sa.select(*row).where(row.node_id.in_(_binds("id", count))).order_by(row.node_id).with_for_update()
        return Statement(clause, self.dialect, tuple(row))

    def count_below(self) -> Statement:
        """Write what has begun below the anchor `node`."""
        return self._keep(("below",), self._count_below)

    def _count_below(self) -> Statement:
        row = schema.anchor.c
        counts = {name: sa.bindparam(name, type_=row[name].type) for name in ("begun", "spawns")}
        where = row.node_id == sa.bindparam("node", type_=sa.String())
        return Statement(sa.update(schema.anchor).where(where).values(counts), self.dialect)

    def paced(self, count: int, *, locks: bool) -> Statement:
        """What may flow and what flowed below anchors `id_0` … of a path, outermost first, and the books' instant."""
        return self._keep(("paced", count, locks), lambda: self._paced(count, locks=locks))

    def _paced(self, count: int, *, locks: bool) -> Statement:
        row = schema.anchor.c
        columns = (row.node_id, row.usd_per_minute_pico, row.tokens_per_minute, row.flow, self.now.label("now"))
        clause = sa.select(*columns).where(row.node_id.in_(_binds("id", count))).order_by(row.node_id)
        return Statement(clause.with_for_update() if locks else clause, self.dialect, columns)

    def count_flow(self) -> Statement:
        """Write what flowed below the anchor `node`."""
        return self._keep(("flow",), self._count_flow)

    def _count_flow(self) -> Statement:
        row = schema.anchor.c
        where = row.node_id == sa.bindparam("node", type_=sa.String())
        clause = sa.update(schema.anchor).where(where).values(flow=sa.bindparam("flow", type_=row.flow.type))
        return Statement(clause, self.dialect)

    def live_children(self) -> Statement:
        """How many runs and agents directly below `parent` have not ended, in processes that live at `now`."""
        return self._keep(("live",), self._live_children)

    def _live_children(self) -> Statement:
        row, owner = schema.node.c, schema.owner.c
        lives = sa.exists().where(owner.id == row.owner, owner.lease_until > sa.bindparam("now", type_=Instant()))
        clause = sa.select(sa.func.count()).where(
            row.above_id == sa.bindparam("parent", type_=sa.String()), row.ended_at.is_(None), lives
        )
        return Statement(clause, self.dialect)

    def lives(self) -> Statement:
        """Process `id` lives until `lease_until`."""
        return self._keep(("lives",), self._lives)

    def _lives(self) -> Statement:
        make = postgresql_insert if self.dialect.name == "postgresql" else sqlite_insert
        insert = make(schema.owner)
        clause = insert.on_conflict_do_update(index_elements=["id"], set_={"lease_until": insert.excluded.lease_until})
        return Statement(clause, self.dialect, keys=["id", "lease_until"])

    def put(self, table: sa.Table) -> Statement:
        """Insert one row, or put it in place of the one with its key."""
        return self._keep(("put", table.name), lambda: self._put(table))

    def _put(self, table: sa.Table) -> Statement:
        insert = (postgresql_insert if self.dialect.name == "postgresql" else sqlite_insert)(table)
        new = {one.name: insert.excluded[one.name] for one in table.c if not one.primary_key}
        clause = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=new)
        return Statement(clause, self.dialect, keys=[one.name for one in table.c])

    def leaving(self) -> Statement:
        """End a node that has not ended."""
        return self._keep(("leaving",), self._leaving)

    def _leaving(self) -> Statement:
        row = schema.node.c
        at, how = sa.bindparam("at", type_=Instant()), sa.bindparam("how", type_=sa.Text())
        clause = sa.update(schema.node).where(row.id == sa.bindparam("node"), row.ended_at.is_(None))
        return Statement(clause.values(ended_at=at, outcome=how), self.dialect)

    def stored_budgets(self, scopes: int, *, keeps: bool = False) -> Statement:
        """Budgets stored for the scopes `key_0`, `key_1` and so on; `keeps`: nobody changes them meanwhile."""
        return self._keep(("budgets", scopes, keeps), lambda: self._stored_budgets(scopes, keeps=keeps))

    def _stored_budgets(self, scopes: int, *, keeps: bool) -> Statement:
        clause = sa.select(*BUDGET_COLUMNS).where(schema.budget.c.scope_key.in_(_binds("key", scopes)))
        if keeps:
            clause = clause.order_by(*schema.budget.primary_key).with_for_update(read=True)
        return Statement(clause, self.dialect, BUDGET_COLUMNS)

    def lock_balances(self, count: int) -> Statement:
        """Lock balances `id_0` … in canonical order. An unordered lock deadlocks on PostgreSQL (docs/adr/0009)."""
        return self._keep(("lock", count), lambda: self._lock_balances(count))

    def _lock_balances(self, count: int) -> Statement:
        clause = (
            sa.select(*BALANCE_COLUMNS)
            .where(schema.balance.c.id.in_(_binds("id", count)))
            .order_by(schema.balance.c.id)
            .with_for_update()
        )
        return Statement(clause, self.dialect, BALANCE_COLUMNS)

    def slices(self, count: int) -> Statement:
        """The slices of rolling accounts `id_0` … that begin at `from_0` … or later; ask under their lock."""
        return self._keep(("slices", count), lambda: self._slices(count))

    def _slices(self, count: int) -> Statement:
        row = schema.window_slice.c
        columns = (row.account_id, row.starts_at, row.settled)
        since = [sa.bindparam(f"from_{place}", type_=Instant()) for place in range(count)]
        mine = zip(_binds("id", count), since, strict=True)
        clause = sa.select(*columns).where(
            sa.or_(*(sa.and_(row.account_id == one, row.starts_at >= at) for one, at in mine))
        )
        return Statement(clause, self.dialect, columns)

    def add_to_slice(self) -> Statement:
        """Add `settled` to the slice of `account_id` that begins at `starts_at`, which may be new."""
        return self._keep(("add_to_slice",), self._add_to_slice)

    def _add_to_slice(self) -> Statement:
        table = schema.window_slice
        insert = (postgresql_insert if self.dialect.name == "postgresql" else sqlite_insert)(table)
        added = {"settled": table.c.settled + insert.excluded.settled}
        clause = insert.on_conflict_do_update(index_elements=[table.c.account_id, table.c.starts_at], set_=added)
        return Statement(clause, self.dialect, keys=[one.name for one in table.c])

    def move(self, count: int, *, within_caps: bool, rolling: int = 0) -> Statement:
        """Change held (`h_…`), settled (`s_…`) by unit and `live` on balances `id_0` …; only rows that stay sound.

        Args:
            count: How many balances.
            within_caps: A row whose cap would be passed does not match, so that its absence shows in the row count.
            rolling: How many of them, `rolling_0` …, have settled `left_0` … that their window does not hold any more.
        """
        key = ("move", count, within_caps, rolling)
        return self._keep(key, lambda: self._move(count, within_caps=within_caps, rolling=rolling))

    def _move(self, count: int, *, within_caps: bool, rolling: int) -> Statement:
        row = schema.balance.c
        counted: sa.ColumnElement[Any] = row.settled
        if rolling:
            left = [sa.bindparam(f"left_{place}", type_=Pico()) for place in range(rolling)]
            whose = zip(_binds("rolling", rolling), left, strict=True)
            counted = counted - sa.case(
                *((row.id == one, amount) for one, amount in whose), else_=sa.literal_column("0", Pico())
            )
        held, settled = _by_unit("h"), _by_unit("s")
        live = sa.bindparam("live", type_=sa.BigInteger())
        sound = (
            sa.or_(counted + row.held + held <= row.cap, held == sa.literal_column("0"))
            if within_caps
            else sa.and_(row.held + held >= sa.literal_column("0"), row.live + live >= sa.literal_column("0"))
        )
        clause = (
            sa.update(schema.balance)
            .values(held=row.held + held, settled=row.settled + settled, live=row.live + live)
            .where(row.id.in_(_binds("id", count)), sound)
        )
        return Statement(clause, self.dialect)

    def take_hold(self) -> Statement:
        """Delete an open hold and read what it held; no row also where the schema is another than this code's."""
        return self._keep(("take",), self._take_hold)

    def _take_hold(self) -> Statement:
        columns = (schema.hold.c.held_at, schema.hold.c.facts, schema.hold.c.granted)
        ours = sa.select(_VERSION).scalar_subquery() == sa.literal_column(f"'{schema.SCHEMA_VERSION}'")
        clause = sa.delete(schema.hold).where(schema.hold.c.id == sa.bindparam("id"), ours).returning(*columns)
        return Statement(clause, self.dialect, columns)

    def _keep(self, key: tuple[Any, ...], make: Callable[[], Statement]) -> Statement:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = make()
        return found


def one_of(column: sa.Column[Any], values: Iterable[Any]) -> sa.ColumnElement[bool]:
    """`column IN (values)` with one parameter each, as `Tx.select` and `Tx.write` need it."""
    return column.in_([sa.bindparam(None, value, type_=column.type) for value in values])


def in_batches(connection: sa.Connection, clause: Rows, column: Any, values: Sequence[Any]) -> Iterator[Any]:
    """Rows of `clause` whose `column` is one of `values`, asked for a few hundred at a time."""
    for start in range(0, len(values), _BATCH):
        yield from connection.execute(clause.where(column.in_(values[start : start + _BATCH])))


def _binds(name: str, count: int) -> list[sa.BindParameter[Any]]:
    return [sa.bindparam(f"{name}_{place}", type_=sa.String()) for place in range(count)]


def _closed(runs: int) -> sa.ColumnElement[Any]:
    """Whether any of the runs `run_0` and so on is closed."""
    row = schema.closure.c
    return sa.exists().where(row.ended_at.is_(None), row.run_id.in_(_binds("run", runs))) if runs else sa.literal(0)


def _by_unit(prefix: str) -> sa.Case[Any]:
    """The amount for the row's unit, one of the parameters `h_usd`, `h_tokens`, `h_calls`, `h_steps`."""
    amounts = {unit: sa.bindparam(f"{prefix}_{unit}", type_=Pico()) for unit in Unit}
    return sa.case(
        *(
            (schema.balance.c.unit == sa.literal_column(f"'{unit}'"), amounts[unit])
            for unit in (Unit.USD, Unit.TOKENS, Unit.CALLS)
        ),
        else_=amounts[Unit.STEPS],
    )
