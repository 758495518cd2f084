"""Getting a database ready: write-ahead logging, and the right schema before the first row.

A SQLite file is created and upgraded here, by whichever process comes first, under one exclusive lock; the others wait
and find it done. A server is shared by programs of several versions, so it is upgraded only by `tokenguard db upgrade`.
"""

from __future__ import annotations

import time
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from tokenguard.ledger.engine import Database
from tokenguard.ledger.faults import behind, may_pass, mismatch, unavailable
from tokenguard.ledger.months import AHEAD, make_months
from tokenguard.ledger.schema import SCHEMA_VERSION, VERSION_TABLE

__all__ = ["check_version", "current_version", "prepare", "upgrade"]

_WAL_ATTEMPTS: Final = 200
_WAL_PAUSE_S: Final = 0.025


def prepare(database: Database) -> None:
    """Check the schema; bring a SQLite file up to date.

    Raises:
        SchemaMismatch: the database is newer than this code, or a server's is missing or older.
        LedgerUnavailable: it cannot be opened or written.
    """
    if not database.address.is_sqlite:
        check_version(database)
        return
    found = current_version(database)
    _refuse_newer(found, database.name)
    if found != SCHEMA_VERSION:
        upgrade(database)


def check_version(database: Database) -> None:
    """Insist on this code's schema, without changing anything.

    Raises:
        SchemaMismatch: the database is older or newer, or has no tables.
        LedgerUnavailable: it cannot be read.
    """
    found = current_version(database)
    _refuse_newer(found, database.name)
    if found != SCHEMA_VERSION:
        raise behind(found, database.name)


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring a database to this code's schema, under an exclusive lock; the versions before and after.

    A server also gets the partitions of the months ahead, whether its schema changes or not.

    Raises:
        SchemaMismatch: it is newer than this code.
        LedgerUnavailable: it cannot be opened or written.
    """
    try:
        with database.gate:
            found = _upgraded(database)
    except SQLAlchemyError as error:
        raise unavailable(error, database.name) from error
    make_months(database, ahead=AHEAD, wait=True)
    return found, SCHEMA_VERSION


def _upgraded(database: Database) -> str | None:
    """Bring it to this code's schema; the version before."""
    if database.address.is_sqlite:
        _write_ahead(database.engine)
    with database.engine.connect() as connection:
        connection = connection.execution_options(tg_begin="BEGIN EXCLUSIVE")  # noqa: PLW2901
        with connection.begin():
            if not database.address.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
            # Asked again under the lock: another process may have done it while this one waited.
            found = _version_in(connection)
            _refuse_newer(found, database.name)
            if found != SCHEMA_VERSION:
                if found is not None and not database.address.is_sqlite:
                    # Writers asked for the schema in their transactions: those that run end first, later ones wait.
                    connection.execute(sa.text(f"LOCK TABLE {VERSION_TABLE} IN ACCESS EXCLUSIVE MODE"))
                from tokenguard.ledger.migrate import migrate  # noqa: PLC0415  # Alembic, only where there is work

                migrate(connection)
    return found


_ADVISORY_KEY: Final = 0x746F6B656E67
"""Any constant that nobody else locks: the bytes of `tokeng`."""


def current_version(database: Database) -> str | None:
    """The schema's revision; None where there are no tables.

    Raises:
        LedgerUnavailable: it cannot be opened or read.
    """
    return database.read(_version_in)


def _version_in(connection: sa.Connection) -> str | None:
    """The revision, asked in plain SQL so that an up-to-date ledger never imports Alembic."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  # our constant
    return version


def _refuse_newer(found: str | None, name: str) -> None:
    if found is not None and found > SCHEMA_VERSION:
        raise mismatch(found, name)


def _write_ahead(engine: sa.Engine) -> None:
    """Switch the file to write-ahead logging, which stays with the file.

    SQLite answers "busy" at once, without its busy handler, while another process does the same; so it is asked again.
    """
    for attempt in range(1, _WAL_ATTEMPTS + 1):
        pooled = engine.raw_connection()
        driver: Any = pooled.driver_connection
        try:
            # A file system without shared memory keeps the journal it has, and says so without an error. The books are
            # as right there; readers and the writer take turns.
            driver.execute("PRAGMA journal_mode=WAL").fetchone()
        except engine.dialect.loaded_dbapi.Error as error:
            if attempt == _WAL_ATTEMPTS or not may_pass(error):
                raise OperationalError("PRAGMA journal_mode=WAL", {}, error) from error
        else:
            return
        finally:
            pooled.close()
        time.sleep(_WAL_PAUSE_S)
    raise AssertionError("the loop returns or raises")  # pragma: no cover - as its last attempt does
