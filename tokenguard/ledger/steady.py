"""The clock of a SQLite ledger: time since boot, told as an instant that every process of the boot agrees on.

A file has no server whose clock could be asked, and the wall clock of a machine is set: by NTP, by people, by a
suspended laptop. So the first process of a boot writes down which instant its boot began at, and all of them count from
there. A clock that jumps an hour neither ends leases nor keeps them (docs/adr/0013).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from tokenguard.config.owners import boot_id, namespace_id
from tokenguard.core.clock import SystemClock, since_boot
from tokenguard.ledger import schema
from tokenguard.ledger.engine import Database
from tokenguard.ledger.tx import Tx

__all__ = ["steady_clock"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def steady_clock(database: Database) -> Callable[[], datetime]:
    """The clock of a file's leases; where the system tells no time since boot, the wall clock."""
    wall, boot, passed = SystemClock(), boot_id(), since_boot()
    if boot is None or passed is None:
        return wall.now
    # Containers may count from another boot time than their host.
    name = f"boot {boot} {namespace_id('time') or ''}".strip()
    began = database.read(lambda connection: _began(connection, name))
    if began is None:
        row = {"name": name, "value": str((wall.now() - passed - _EPOCH) // timedelta(microseconds=1))}
        database.transact(lambda tx: _write(tx, row))
        began = database.read(lambda connection: _began(connection, name))
    assert began is not None, "written above, by this process or by another"
    start = began
    return lambda: start + (since_boot() or passed)


def _began(connection: sa.Connection, name: str) -> datetime | None:
    row = schema.meta.c
    found: str | None = connection.execute(sa.select(row.value).where(row.name == name)).scalar()
    return None if found is None else _EPOCH + timedelta(microseconds=int(found))


def _write(tx: Tx, row: dict[str, str]) -> None:
    tx.run(tx.statements.insert_missing(schema.meta), row)
