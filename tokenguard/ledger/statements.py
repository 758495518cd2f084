"""SQL compiled once per database and run on the driver's own cursor: the ledger's inner loop.

SQLAlchemy writes the SQL and converts values (schema.py), but its execution layer costs more than SQLite itself: one
INSERT and COMMIT took 108 µs through the engine and 29 µs on the driver, on the same file. A reservation has six
statements, so the difference decides whether a guard can be afforded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Protocol, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Dialect

from tokenguard.core.budget import Unit
from tokenguard.ledger import schema
from tokenguard.ledger.columns import Instant, Pico

__all__ = ["BALANCE_COLUMNS", "BUDGET_COLUMNS", "Driver", "Statement", "Statements", "Tx", "in_batches", "one_of"]

Params: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = sa.Select[*tuple[Any, ...]]
"""A SELECT of any columns."""

BALANCE_COLUMNS: Final = tuple(schema.balance.c)
BUDGET_COLUMNS: Final = tuple(schema.budget.c)

_BATCH: Final = 500
"""Values in one IN list; older builds of SQLite take 999."""


class Cursor(Protocol):
    """What both drivers' cursors do."""

    rowcount: int

    def fetchall(self) -> list[Any]:
        """All rows."""
        ...

    def executemany(self, sql: str, params: Any, /) -> Any:
        """Run for each."""
        ...


class Driver(Protocol):
    """What both drivers' connections do (sqlite3, psycopg 3)."""

    def execute(self, sql: str, params: Any = ..., /) -> Any:
        """Run one statement on a new cursor."""
        ...

    def cursor(self) -> Any:
        """A new cursor."""
        ...

    def commit(self) -> None:
        """Make it last."""
        ...

    def rollback(self) -> None:
        """Make it never have been."""
        ...


class Statement:
    """One statement: its SQL, how its parameters are written and how its columns are read."""

    __slots__ = ("_constants", "_decoders", "_encoders", "_named", "_names", "_values", "sql")

    def __init__(
        self, clause: Any, dialect: Dialect, columns: Iterable[Any] = (), keys: Sequence[str] | None = None
    ) -> None:
        compiled = clause.compile(dialect=dialect, column_keys=keys)
        self.sql = str(compiled)
        self._constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._named = compiled.positiontup is None
        self._names = tuple(compiled.positiontup or compiled.binds)
        self._values = _values_of(self._names)
        # Only what needs a conversion is looked at: most values are taken as they are.
        encoders = [_encoder(compiled.binds[name].type, dialect) for name in self._names]
        self._encoders = [(place, encode) for place, encode in enumerate(encoders) if encode is not None]
        decoders = [_decoder(column.type, dialect) for column in columns]
        self._decoders = [(place, decode) for place, decode in enumerate(decoders) if decode is not None]

    def parameters(self, params: Params) -> Any:
        """The parameters as the driver takes them."""
        if self._constants:
            params = {**self._constants, **params}
        found = self._values(params)
        for place, encode in self._encoders:
            found[place] = encode(found[place])
        return dict(zip(self._names, found, strict=True)) if self._named else found

    def read(self, rows: list[Any]) -> list[Any]:
        """The rows with their columns as our types."""
        return [self._decoded(row) for row in rows] if self._decoders else rows

    def _decoded(self, row: Any) -> tuple[Any, ...]:
        values = list(row)
        for place, decode in self._decoders:
            values[place] = decode(values[place])
        return tuple(values)


class Tx:
    """One open write transaction on the driver's connection."""

    __slots__ = ("_driver", "_wrote", "largest", "statements")

    def __init__(self, driver: Driver, statements: Statements, largest: int | None) -> None:
        self._driver = driver
        self.statements = statements
        self.largest = largest
        """The largest amount a column holds; None: more than anybody has."""
        self._wrote = False

    def rows(self, statement: Statement, params: Params) -> list[Any]:
        """Run and read."""
        return statement.read(self._driver.execute(statement.sql, statement.parameters(params)).fetchall())

    def run(self, statement: Statement, params: Params) -> int:
        """Run; how many rows it touched."""
        self._wrote = True
        count: int = self._driver.execute(statement.sql, statement.parameters(params)).rowcount
        return count

    def many(self, statement: Statement, params: Iterable[Params]) -> None:
        """Run once for each."""
        self._driver.cursor().executemany(statement.sql, [statement.parameters(one) for one in params])

    def select(self, clause: Rows) -> list[Any]:
        """Compile, run and read a statement that is not worth keeping."""
        return self.rows(Statement(clause, self.statements.dialect, clause.selected_columns), {})

    def write(self, clause: Any) -> int:
        """Compile and run a statement that is not worth keeping; how many rows it touched."""
        return self.run(Statement(clause, self.statements.dialect), {})

    def let_go(self) -> None:
        """Begin anew, without locks, where nothing was written yet. SQLite's only writer has nobody to wait for."""
        assert not self._wrote, "what was written would be lost"
        if self.is_shared:
            self._driver.rollback()

    @property
    def is_shared(self) -> bool:
        """Whether others may write while this transaction is open."""
        return self.statements.dialect.name == "postgresql"


class Statements:
    """Every statement of the inner loop, compiled when first needed. Shared by threads: a race compiles twice."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._known: dict[tuple[Any, ...], Statement] = {}

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

    def preflight(self, runs: int, scopes: int) -> Statement:
        """Is the attempt known, has a lease ended, is a run on the path closed? And the budgets stored for its scopes.

        Three flags and a budget's columns: a row for each budget, or one without.
        """
        return self._keep(("preflight", runs, scopes), lambda: self._preflight(runs, scopes))

    def _preflight(self, runs: int, scopes: int) -> Statement:
        known = sa.exists().where(schema.transfer.c.hold_id == sa.bindparam("id"))
        over = sa.exists().where(schema.hold.c.lease_until <= sa.bindparam("now", type_=Instant()))
        flags = sa.select(known.label("known"), over.label("over"), _closed(runs).label("shut")).subquery("flags")
        columns = (*flags.c, *BUDGET_COLUMNS)
        theirs = schema.budget.c.scope_key.in_(_binds("key", scopes)) if scopes else sa.false()
        clause = sa.select(*columns).select_from(flags.outerjoin(schema.budget, theirs))
        return Statement(clause, self.dialect, columns)

    def entering(self, runs: int) -> Statement:
        """Is the node known, is a run on its path closed? Two flags in one row."""
        return self._keep(("entering", runs), lambda: self._entering(runs))

    def _entering(self, runs: int) -> Statement:
        known = sa.exists().where(schema.node.c.id == sa.bindparam("id"))
        return Statement(sa.select(known, _closed(runs)), self.dialect)

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

    def move(self, count: int, *, within_caps: bool) -> Statement:
        """Change held (`h_…`), settled (`s_…`) by unit and `live` on balances `id_0` …; only rows that stay sound.

        Args:
            count: How many balances.
            within_caps: A row whose cap would be passed does not match, so that its absence shows in the row count.
        """
        return self._keep(("move", count, within_caps), lambda: self._move(count, within_caps=within_caps))

    def _move(self, count: int, *, within_caps: bool) -> Statement:
        row = schema.balance.c
        held, settled = _by_unit("h"), _by_unit("s")
        live = sa.bindparam("live", type_=sa.BigInteger())
        sound = (
            sa.or_(row.settled + row.held + held <= row.cap, held == sa.literal_column("0"))
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
        """Delete an open hold and read what it held."""
        return self._keep(("take",), self._take_hold)

    def _take_hold(self) -> Statement:
        columns = (schema.hold.c.held_at, schema.hold.c.facts, schema.hold.c.granted)
        clause = sa.delete(schema.hold).where(schema.hold.c.id == sa.bindparam("id")).returning(*columns)
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


def _values_of(names: Sequence[str]) -> Callable[[Params], list[Any]]:
    """A function that picks values by name."""
    if len(names) < 2:  # noqa: PLR2004  # `itemgetter` of one name gives no tuple, and there is none of no name
        return lambda params: [params[name] for name in names]
    pick = itemgetter(*names)
    return lambda params: list(pick(params))


def _encoder(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    encode: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return encode


def _decoder(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    decode: Callable[[Any], Any] | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return decode
