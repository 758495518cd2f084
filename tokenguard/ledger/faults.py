"""What a database's error means, in a sentence with the next move; and whether trying again may help.

Recognised by code, never by text: SQLite's result codes (sqlite.org/rescode.html) and PostgreSQL's SQLSTATE classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from tokenguard.errors import LedgerError, LedgerUnavailable, SchemaMismatch
from tokenguard.ledger.schema import SCHEMA_VERSION

__all__ = [
    "CONNECTIONS_MAX",
    "CONNECTION_WAIT_S",
    "CONNECT_S",
    "PING_S",
    "SILENCE_MARGIN_S",
    "SOON_S",
    "STATEMENT_S",
    "behind",
    "doubtful",
    "is_disk_error",
    "may_pass",
    "mismatch",
    "sentence_for",
    "unavailable",
    "was_demoted",
]

CONNECTIONS_MAX: Final = 32
"""To a server, per process: the pool that `engine.py` makes."""
CONNECTION_WAIT_S: Final = 15
"""How long a thread waits for one of them."""
CONNECT_S: Final = 10
"""How long a server may take to accept a connection."""
STATEMENT_S: Final = 15
"""How long a statement may take on the server, waiting for locks included, and a transaction may do nothing."""
SILENCE_MARGIN_S: Final = 5
"""How much longer nothing may come, so that a server which lives is the one to say that it took too long."""
PING_S: Final = 5
"""How long a connection of the pool may take to say that it is still there."""

SOON_S: Final = 1.0
"""After this much somebody else may have let go of what was locked."""
_BACK_S: Final = 5.0
"""After this much a server may be back that was restarted or failed over."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What an error means."""

    words: str
    """The fact and the next move, to stand after the ledger's name."""
    retry_in_s: float | None = None
    """When it may have passed by itself; None: somebody has to act."""


_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 26

_SQLITE: Final = {
    _BUSY: _Trouble(
        "is locked by another process. Look for a program that keeps a transaction open in it, or use PostgreSQL",
        SOON_S,
    ),
    _LOCKED: _Trouble("is locked by another statement. Close what reads it, then try again", SOON_S),
    _READONLY: _Trouble("is read-only. Give this user write permission on the file and on its folder"),
    _IOERR: _Trouble("cannot be read or written: the disk reports an error. Check the disk and its mount"),
    _CORRUPT: _Trouble("is damaged. Restore a copy, or save what is left with `sqlite3 <file> .recover`"),
    _FULL: _Trouble("cannot grow: the disk is full. Free some space; nothing was written"),
    _CANTOPEN: _Trouble("cannot be opened. Create its folder, or give this user permission to write there"),
    _NOTADB: _Trouble("is not a SQLite database. Name another file, or move this one away"),
}

_UNDEFINED_TABLE: Final = "42P01"
_PASSING_STATES: Final = frozenset({"40001", "40P01", "23505", "55P03", "23514"})
"""Serialization failure, deadlock, a row that somebody else inserted first, lock not available, and a row for the
DEFAULT partition whose month was made meanwhile (our tables on a server have no other checks)."""

_READ_ONLY: Final = "25006"

_POSTGRES: Final = {
    "08": _Trouble("cannot be reached. Check that the server runs and that the address is right", _BACK_S),
    "25": _Trouble("ended a transaction that this process left alone for too long. Nothing was written", SOON_S),
    _READ_ONLY: _Trouble(
        "refuses to write (read-only transaction). Connect to the primary: name all servers and "
        "target_session_attrs=read-write in the URL",
        _BACK_S,
    ),
    "28": _Trouble("refuses the login. Check user and password"),
    "3D": _Trouble("does not exist on that server. Create it with `createdb`"),
    "42": _Trouble("does not let this user read or write the ledger's tables. Grant the rights"),
    "53": _Trouble("is out of room: disk or memory. Free some, then try again"),
    "53100": _Trouble("is out of room: its server's disk is full. Free some space there; nothing was written"),
    "53300": _Trouble(
        "accepts no more connections. Close other clients or raise max_connections; each process takes up to "
        f"{CONNECTIONS_MAX}",
        _BACK_S,
    ),
    "57": _Trouble("is shutting down or starting. Try again in a moment", _BACK_S),
    "57014": _Trouble(
        f"ended a statement that took longer than its statement_timeout ({STATEMENT_S} s unless it was set). Nothing "
        "was written. Look in pg_stat_activity for what keeps rows locked, or what the server is busy with",
        _BACK_S,
    ),
    "40": _Trouble("has too much contention: other transactions won several times over. Try again", SOON_S),
    "55": _Trouble("has too much contention: its rows stay locked. Try again", SOON_S),
}
"""By SQLSTATE, or by its class."""

# libpq reports a connection that failed without a SQLSTATE, so this one sentence lists what may be wrong.
_NOT_CONNECTED: Final = _Trouble(
    "cannot be reached. Check that the server runs, that address, user, password and database are right, and that "
    "max_connections has room",
    _BACK_S,
)
_NOT_ACCEPTED: Final = _Trouble(
    f"cannot be reached: no connection within connect_timeout ({CONNECT_S} s unless it was set). Check the network to "
    "the server, and whether a firewall drops what it does not allow",
    _BACK_S,
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
            retry_in_s=SOON_S,
        )
    inner = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if _sqlstate(inner) == _UNDEFINED_TABLE:
        return behind(None, database)
    trouble, silent_s = _trouble_of(inner), getattr(inner, "silent_s", None)
    more = {} if silent_s is None else {"wait_s": silent_s}
    sentence = f"ledger {database} {trouble.words}."
    return LedgerUnavailable(sentence, database=database, retry_in_s=trouble.retry_in_s, **more)


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
        retry_in_s=_BACK_S,
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
    return f"ledger {database} {_trouble_of(error).words}."


def was_demoted(error: BaseException) -> bool:
    """Whether a server refuses to write that was the primary when the connection was made, or never was."""
    return _sqlstate(error) == _READ_ONLY


def _trouble_of(error: BaseException) -> _Trouble:
    code, state = _sqlite_code(error), _sqlstate(error)
    if code in _SQLITE:
        return _SQLITE[code]
    if state is not None and (found := _POSTGRES.get(state) or _POSTGRES.get(state[:2])):
        return found
    if _INTEGER_OVERFLOW in str(error) or getattr(error, "sqlite_errorname", None) == _NOT_WHOLE:
        return _Trouble("holds a sum above what SQLite can add up ($9,223,372). Move the ledger to PostgreSQL")
    if code is None and state is None and (trouble := _without_a_code(error)):
        return trouble
    # A driver's own text may quote what it was given; its class and code never do.
    return _Trouble(f"failed ({type(error).__name__}, code {code or state}). Nothing was written; try again", SOON_S)


def _without_a_code(error: BaseException) -> _Trouble | None:
    """What libpq and psycopg say themselves, known by its class."""
    silent_s = getattr(error, "silent_s", None)
    if silent_s is not None:
        return _Trouble(
            f"said nothing for {silent_s:g} s, so its connection was given up. Nothing was written. Check the network "
            "to the server, and whether it hangs",
            _BACK_S,
        )
    names = {one.__name__ for one in type(error).__mro__}
    if "ConnectionTimeout" in names:
        return _NOT_ACCEPTED
    return _NOT_CONNECTED if "OperationalError" in names else None


def _sqlite_code(error: BaseException) -> int | None:
    """SQLite's primary result code: the lowest byte of the extended one."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None
