"""One open write transaction: statements run on the driver's own connection, and what it knows of the books."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from tokenguard.ledger import schema
from tokenguard.ledger.compiled import Driver, Params, Statement
from tokenguard.ledger.statements import Rows, Statements

__all__ = ["SchemaMoved", "Tx"]

_COPIED: Final = 16
"""Rows from which a COPY is worth its round trips."""


class SchemaMoved(Exception):  # noqa: N818  # a signal to the connection, which knows the ledger's name
    """The database has another schema than this code, since it was opened."""

    def __init__(self, found: str | None) -> None:
        super().__init__(found)
        self.found = found


class Tx:
    """One open write transaction on the driver's connection."""

    __slots__ = ("_driver", "_wrote", "again", "began", "largest", "statements")

    def __init__(
        self,
        driver: Driver,
        statements: Statements,
        largest: int | None,
        began: datetime | None = None,
        *,
        again: bool = False,
    ) -> None:
        self._driver = driver
        self.statements = statements
        self.largest = largest
        """The largest amount a column holds; None: more than anybody has."""
        self.began = began
        """The books' instant, where the database has no clock of its own (docs/adr/0013)."""
        self.again = again
        """The same work was committed before, and nobody answered: what is found of it was written by this caller."""
        self._wrote = False

    def now(self) -> datetime:
        """The books' instant. Leases are measured by it alone, never by a caller's clock."""
        found: datetime = self.began or self.rows(self.statements.instant(), {})[0][0]
        return found

    @property
    def on_server(self) -> bool:
        """Whether others may write meanwhile: true on PostgreSQL, never on SQLite."""
        return self.statements.dialect.name == "postgresql"

    def check_schema(self) -> None:
        """Insist on this code's schema, as it is in this transaction.

        Whoever upgrades waits for transactions that asked, and those that ask later wait for the upgrade.

        Raises:
            SchemaMoved: it is another.
        """
        rows = self.rows(self.statements.schema_version(), {})
        self.insist_on(rows[0][0] if rows else None)

    @staticmethod
    def insist_on(found: str | None) -> None:
        """Insist that the schema found is this code's.

        Raises:
            SchemaMoved: it is another.
        """
        if found != schema.SCHEMA_VERSION:
            raise SchemaMoved(found)

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
        self._wrote = True
        self._driver.cursor().executemany(statement.sql, [statement.parameters(one) for one in params])

    def append(self, table: sa.Table, rows: Sequence[Params]) -> None:
        """Insert rows with every column given. A server takes many by COPY, which costs a third of as many INSERTs."""
        insert = self.statements.insert(table)
        if not self.on_server or len(rows) < _COPIED:
            self.many(insert, rows)
            return
        self._wrote = True
        with self._driver.cursor().copy(f"COPY {table.name} ({', '.join(insert.names)}) FROM STDIN") as copy:
            for one in rows:
                copy.write_row(insert.values(one))

    def select(self, clause: Rows) -> list[Any]:
        """Compile, run and read a statement that is not worth keeping."""
        return self.rows(Statement(clause, self.statements.dialect, clause.selected_columns), {})

    def write(self, clause: Any) -> int:
        """Compile and run a statement that is not worth keeping; how many rows it touched."""
        return self.run(Statement(clause, self.statements.dialect), {})

    def let_go(self) -> None:
        """Begin anew, without locks, where nothing was written yet. SQLite's only writer has nobody to wait for."""
        assert not self._wrote, "what was written would be lost"
        if self.on_server:
            self._driver.rollback()
            self.check_schema()
