"""The scripts build what the schema says, once, whoever comes first."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from tokenguard.errors import SchemaMismatch
from tokenguard.ledger import schema
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database
from tokenguard.ledger.migrate import head, migrate
from tokenguard.ledger.prepare import upgrade

PART = re.compile("_(p[0-9]{6}|default)$")


def test_the_newest_script_is_the_version_the_code_expects() -> None:
    assert head() == schema.SCHEMA_VERSION


def test_a_migrated_database_has_the_schemas_tables(sql_ledger: Any) -> None:
    with sql_ledger._database.engine.connect() as connection:
        options = {
            "compare_type": True,
            "version_table": schema.VERSION_TABLE,
            # Partitions are tables too, which no schema names.
            "include_name": lambda name, kind, _: kind != "table" or (name.startswith("tg_") and not PART.search(name)),
        }
        found = compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata)

    assert found == []


def test_sqlite_tables_that_every_call_writes_are_stored_in_their_key(open_sql: Any, sqlite: str) -> None:
    ledger = open_sql(sqlite)

    with ledger._database.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'")).all()

    assert {row.name for row in rows} == {
        table.name
        for table in schema.metadata.tables.values()
        if table.dialect_options["sqlite"]["with_rowid"] is False
    }


def test_an_up_to_date_file_opens_without_alembic(open_sql: Any, sqlite: str) -> None:
    open_sql(sqlite).dispose()
    program = (
        "import sys\n"
        "from tokenguard.core.clock import SystemClock\n"
        "from tokenguard.core.ids import RandomIds\n"
        "from tokenguard.ledger.sql import SqlLedger\n"
        f"SqlLedger.open({sqlite!r}, SystemClock(), RandomIds()).runs()\n"
        "assert 'alembic' not in sys.modules\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stderr == ""


def test_a_newer_schema_is_refused_with_both_versions(open_sql: Any, sqlite: str) -> None:
    with open_sql(sqlite)._database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE tg_schema_version SET version_num = '9999'"))

    with pytest.raises(SchemaMismatch, match="newer tokenguard") as caught:
        open_sql(sqlite)

    assert (caught.value.found, caught.value.expected) == ("9999", schema.SCHEMA_VERSION)


def test_a_server_without_tables_is_not_upgraded_behind_anybodys_back(open_sql: Any, postgres: str) -> None:
    engine = sa.create_engine(
        postgres.replace("postgresql://", "postgresql+psycopg://", 1), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS bare"))
        connection.execute(sa.text("CREATE DATABASE bare"))
    engine.dispose()

    with pytest.raises(SchemaMismatch, match="tokenguard db upgrade"):
        open_sql(postgres.replace("/postgres?", "/bare?", 1))


def test_other_programs_tables_stay_untouched(open_sql: Any, sqlite: str) -> None:
    engine = sa.create_engine(f"sqlite:///{sqlite}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE customers (id INTEGER PRIMARY KEY)"))
    engine.dispose()

    open_sql(sqlite)

    with open_sql(sqlite)._database.engine.connect() as connection:
        assert sa.inspect(connection).has_table("customers")


@pytest.fixture(params=["first.db", "new_postgres"])
def first_schema(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of the first schema, empty."""
    is_file = request.param == "first.db"
    place = str(tmp_path / request.param) if is_file else request.getfixturevalue(request.param)
    database = Database(Address.of(place), "normal", 10.0)
    with database.engine.begin() as connection:
        migrate(connection, to="0001")
    yield database
    database.dispose(forked=False)


def copy_rows(source: Database, target: Database) -> None:
    """Every row, as far as the target's tables have columns for it."""
    with source.engine.connect() as there, target.engine.begin() as here:
        tables = sa.inspect(here)
        for table in schema.metadata.sorted_tables:
            if not tables.has_table(table.name):
                continue
            names = [column["name"] for column in tables.get_columns(table.name)]
            rows = [dict(row._mapping) for row in there.execute(sa.select(*(table.c[name] for name in names)))]
            if rows:
                here.execute(sa.insert(table), rows)


def test_an_upgrade_keeps_every_row(old_busy_ledger: Any, first_schema: Database, open_sql: Any) -> None:
    copy_rows(old_busy_ledger._database, first_schema)

    before, after = upgrade(first_schema)

    assert (before, after) == ("0001", schema.SCHEMA_VERSION)
    upgraded = open_sql(first_schema.address.url.render_as_string(hide_password=False))
    assert upgraded.verify() == old_busy_ledger.verify()
    assert upgraded.verify().ok
    for by in (["agent", "day"], ["run", "status", "quality"]):
        assert upgraded.spend(by) == old_busy_ledger.spend(by)


def test_an_upgrade_hands_on_what_others_were_granted(new_postgres: str) -> None:
    database = Database(Address.of(new_postgres), "normal", 10.0)
    with database.engine.begin() as connection:
        migrate(connection, to="0001")
        connection.execute(sa.text("GRANT SELECT ON tg_spend_event TO pg_monitor"))
        connection.execute(sa.text("GRANT INSERT ON tg_transfer TO PUBLIC"))

    upgrade(database)

    may = "SELECT has_table_privilege('pg_monitor', 'tg_{}', '{}')"
    with database.engine.connect() as connection:
        granted = [
            connection.execute(sa.text(may.format(table, right))).scalar()
            for table, right in (("spend_event", "SELECT"), ("transfer", "INSERT"), ("spend_event", "INSERT"))
        ]
    database.dispose(forked=False)
    assert granted == [True, True, False]
