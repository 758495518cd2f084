"""Which ledger a command reads, by the same rules as `Guard`, and how a run is found in it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.errors import LedgerUnavailable, SettingsError
from tokenguard.reports.runs import SHORTEST_ID

if TYPE_CHECKING:
    from collections.abc import Generator

    from tokenguard.ledger.sql import SqlLedger

__all__ = ["database_in_force", "find_run", "inherited", "opened"]

_FULL_ID = 36
_ROOTS_SEARCHED = 1_000
_NAMED = 4


def database_in_force(database: str | None) -> str:
    """The ledger's address: the option, else what the environment or `tokenguard.toml` say, else the default file.

    Raises:
        SettingsError: a setting is wrong, or the ledger is one in memory.
    """
    from tokenguard.config.location import default_database  # noqa: PLC0415  # --help must not wait for pydantic
    from tokenguard.config.settings import load_settings  # noqa: PLC0415  # as above

    settings = load_settings({"database": database}, environ=os.environ, directory=Path.cwd())
    if settings.database == "memory":
        raise SettingsError(
            'database="memory" keeps its books inside the process that made them; no other program can read them. '
            "Name a file with --database."
        )
    return settings.database or str(default_database(Path.cwd()))


@contextmanager
def opened(database: str | None, *, create: bool = False) -> Generator[SqlLedger]:
    """The ledger, open for one command.

    Args:
        database: As given by `--database`.
        create: Make the file where there is none, instead of saying so.

    Raises:
        LedgerUnavailable: there is no such ledger, or it cannot be opened.
        SchemaMismatch: a newer tokenguard wrote it.
        SettingsError: the address is not one.
    """
    from tokenguard.ledger.address import Address  # noqa: PLC0415  # --help must not wait for SQLAlchemy
    from tokenguard.ledger.sql import SqlLedger  # noqa: PLC0415  # as above

    chosen = database_in_force(database)
    path = Address.of(chosen).path
    if path is not None and not path.exists() and not create:
        raise LedgerUnavailable(
            f"there is no ledger at {path}. It is made by the first guarded call; name another one with --database, or "
            "run `tokenguard demo`.",
            database=str(path),
        )
    ledger = SqlLedger.open(chosen, SystemClock(), RandomIds())
    try:
        yield ledger
    finally:
        ledger.dispose()


def inherited(ledger: SqlLedger) -> None:
    """Book what dead processes of this machine left of their allowances, before what they leased is charged whole.

    Raises:
        LedgerError: the ledger cannot take it.
    """
    from tokenguard.config.location import allowance_folder, spool_folder  # noqa: PLC0415  # as above
    from tokenguard.config.owners import owner_id  # noqa: PLC0415  # as above
    from tokenguard.config.settings import load_settings  # noqa: PLC0415  # as above
    from tokenguard.ledger.heirs import inherit  # noqa: PLC0415  # as above

    settings = load_settings({}, environ=os.environ, directory=Path.cwd())
    folder = allowance_folder(spool_folder(settings.spool, ledger.name))
    away = inherit(ledger, folder, SystemClock().now(), owner_id()).away
    if away is not None:
        raise away


def find_run(ledger: SqlLedger, text: str) -> str:
    """The id of a run, from its id or an unambiguous prefix of at least eight characters.

    Prefixes are looked for among the newest 1,000 root runs and, where none of them fits, in what runs below those.

    Raises:
        SettingsError: there is no such run, there are several, or the prefix is too short.
    """
    wanted = text.strip().lower().removeprefix("run:")
    if len(wanted) == _FULL_ID and ledger.tree(wanted):
        return wanted
    if len(wanted) < SHORTEST_ID:
        raise SettingsError(
            f"{text!r} is too short to name a run: give its id or at least {SHORTEST_ID} characters of it, "
            "as `tokenguard runs list` shows them."
        )
    roots = [node.id for node in ledger.runs(_ROOTS_SEARCHED)]
    found = [one for one in roots if one.startswith(wanted)]
    if not found:
        found = [node.id for root in roots for node in ledger.tree(root) if node.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise SettingsError(f"there is no run {text!r} in {ledger.name}; see `tokenguard runs list`.")
    raise SettingsError(f"{text!r} fits {len(found)} runs: {', '.join(found[:_NAMED])} … Give more of the id.")
