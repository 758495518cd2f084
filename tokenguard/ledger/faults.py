"""What a database's error means, in a sentence with the next move; and whether trying again may help.

Recognised by code, never by text: SQLite's result codes (sqlite.org/rescode.html) and PostgreSQL's SQLSTATE classes.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from tokenguard.errors import LedgerError, LedgerUnavailable, SchemaMismatch
from tokenguard.ledger.schema import SCHEMA_VERSION

__all__ = [
    "CONNECTIONS_MAX",
    "CONNECTION_WAIT_S",
    "behind",
    "doubtful",
    "is_disk_error",
    "may_pass",
    "mismatch",
    "sentence_for",
    "unavailable",
]

CONNECTIONS_MAX: Final = 32
"""To a server, per process: the pool that `engine.py` makes."""
CONNECTION_WAIT_S: Final = 30
"""How long a thread waits for one of them: SQLAlchemy's own `pool_timeout`."""

_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 26

_SQLITE: Final = {
    _BUSY: "is locked by another process. Look for a program that keeps a transaction open in it, or use PostgreSQL",
    _LOCKED: "is locked by another statement. Close what reads it, then try again",
    _READONLY: "is read-only. Give this user write permission on the file and on its folder",
    _IOERR: "cannot be read or written: the disk reports an error. Check the disk and its mount",
    _CORRUPT: "is damaged. Restore a copy, or save what is left with `sqlite3 <file> .recover`",
    _FULL: "cannot grow: the disk is full. Free some space; nothing was written",
    _CANTOPEN: "cannot be opened. Create its folder, or give this user permission to write there",
    _NOTADB: "is not a SQLite database. Name another file, or move this one away",
}

_UNDEFINED_TABLE: Final = "42P01"
_PASSING_STATES: Final = frozenset({"40001", "40P01", "23505", "55P03", "23514"})
"""Serialization failure, deadlock, a row that somebody else inserted first, lock not available, and a row for the
DEFAULT partition whose month was made meanwhile (our tables on a server have no other checks)."""

_POSTGRES: Final = {
    "08": "cannot be reached. Check that the server runs and that the address is right",
    "25": "refuses to write (read-only transaction). Connect to the primary",
    "28": "refuses the login. Check user and password",
    "3D": "does not exist on that server. Create it with `createdb`",
    "42": "does not let this user read or write the ledger's tables. Grant the rights",
    "53": "is out of room: disk or memory. Free some, then try again",
    "57": "is shutting down or starting. Try again in a moment",
    "40": "has too much contention: other transactions won several times over. Try again",
    "55": "has too much contention: its rows stay locked. Try again",
}

_TOO_MANY_CONNECTIONS: Final = "53300"
_NO_ROOM_TO_CONNECT: Final = (
    f"accepts no more connections. Close other clients or raise max_connections; each process takes up to "
    f"{CONNECTIONS_MAX}"
)
# libpq reports a connection that failed without a SQLSTATE, so this one sentence lists what may be wrong.
_NOT_CONNECTED: Final = (
    "cannot be reached. Check that the server runs, that address, user, password and database are right, and that "
    "max_connections has room"
)

_INTEGER_OVERFLOW: Final = "integer overflow"
# The one check in our tables: a rollup whose sum SQLite would have rounded.
_NOT_WHOLE: Final = "SQLITE_CONSTRAINT_CHECK"


def may_pass(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is tried again at once."""
    if _sqlite_code(error) in (_BUSY, _LOCKED):
        return True
    state = _sqlstate(error)
    return state is not None and state in _PASSING_STATES


def unavailable(error: BaseException, database: str) -> LedgerError:
    """Our error for a database's error.

    Args:
        error: The driver's exception, or SQLAlchemy's with or without one inside.
        database: The ledger's name, without credentials.
    """
    if isinstance(error, PoolExhausted):
        return LedgerUnavailable(
            f"ledger {database} has all {CONNECTIONS_MAX} connections of this process in use, and none came free "
            f"within {CONNECTION_WAIT_S} s. Nothing was written. Make fewer calls at once in each process, or look on "
            "the server for what keeps transactions open.",
            database=database,
            connections=CONNECTIONS_MAX,
            wait_s=CONNECTION_WAIT_S,
        )
    inner = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if _sqlstate(inner) == _UNDEFINED_TABLE:
        return behind(None, database)
    return LedgerUnavailable(sentence_for(inner, database), database=database)


def doubtful(database: str, *, repeatable: bool) -> LedgerUnavailable:
    """The error for a transaction of which nobody knows whether it was written.

    Args:
        database: The ledger's name.
        repeatable: Its id is in the books, so that it counts once however often it is made.
    """
    move = (
        "Making it again is safe, because its id counts once; a hold that nobody settles is charged when its lease ends"
        if repeatable
        else "Look with `tokenguard budget list` and `tokenguard runs list` before you make it again"
    )
    return LedgerUnavailable(
        f"ledger {database} was lost while it committed: the transaction may be in the books or not. {move}.",
        database=database,
        in_doubt=True,
    )


def is_disk_error(error: BaseException) -> bool:
    """Whether SQLite's disk failed, after which a commit may be on it or not."""
    return _sqlite_code(error) == _IOERR


def behind(found: str | None, database: str) -> SchemaMismatch:
    """The error for a ledger that needs an upgrade; `found` None: it has no tables."""
    state = "has no ledger tables" if found is None else f"has schema {found}"
    return SchemaMismatch(
        f"ledger {database} {state}, this code needs {SCHEMA_VERSION}. Run `tokenguard db upgrade`.",
        found=found,
        expected=SCHEMA_VERSION,
        database=database,
    )


def mismatch(found: str | None, database: str) -> SchemaMismatch:
    """The error for a ledger whose schema is not this code's."""
    if found is None or found < SCHEMA_VERSION:
        return behind(found, database)
    return SchemaMismatch(
        f"ledger {database} has schema {found}, this code knows {SCHEMA_VERSION}: a newer tokenguard wrote it. "
        "Upgrade tokenguard-llm here, or use another file.",
        found=found,
        expected=SCHEMA_VERSION,
        database=database,
    )


def sentence_for(error: BaseException, database: str) -> str:
    """The fact and the next move."""
    code = _sqlite_code(error)
    if code in _SQLITE:
        return f"ledger {database} {_SQLITE[code]}."
    state = _sqlstate(error)
    if state == _TOO_MANY_CONNECTIONS:
        return f"ledger {database} {_NO_ROOM_TO_CONNECT}."
    if state is not None and state[:2] in _POSTGRES:
        return f"ledger {database} {_POSTGRES[state[:2]]}."
    if _INTEGER_OVERFLOW in str(error) or getattr(error, "sqlite_errorname", None) == _NOT_WHOLE:
        return f"ledger {database}: a sum is above what SQLite can add up ($9,223,372). Move the ledger to PostgreSQL."
    if type(error).__name__ == "OperationalError" and state is None and code is None:
        return f"ledger {database} {_NOT_CONNECTED}."
    # A driver's own text may quote what it was given; its class and code never do.
    return f"ledger {database} failed ({type(error).__name__}, code {code or state}). Nothing was written; try again."


def _sqlite_code(error: BaseException) -> int | None:
    """SQLite's primary result code: the lowest byte of the extended one."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None
