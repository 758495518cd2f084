"""Tombstones: which runs are closed, by what, and what ends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from tokenguard.core.books import Closure, GuardEvent
from tokenguard.core.ids import Ids
from tokenguard.ledger import schema
from tokenguard.ledger.outcomes import strongest_first
from tokenguard.ledger.pacing import begin_anew
from tokenguard.ledger.rows import closure_of, closure_row, guard_event_row
from tokenguard.ledger.statements import in_batches, one_of
from tokenguard.ledger.tx import Tx

__all__ = ["close_run", "end_closures", "record", "reopen", "standing", "standing_on"]


def close_run(tx: Tx, closure: Closure, row_id: str) -> bool:
    """See `core.ports.Ledger.close_run`. A run may be closed by several caps and a person; each ends on its own."""
    if tx.run(tx.statements.insert_missing(schema.closure), closure_row(closure, row_id)):
        return True
    return tx.again and bool(tx.select(sa.select(schema.closure.c.id).where(schema.closure.c.id == row_id)))


def reopen(tx: Tx, run_id: str, *, by: str, why: str, at: datetime, ids: Ids) -> bool:
    """See `core.ports.Ledger.reopen`."""
    row = schema.closure.c
    update = sa.update(schema.closure).where(row.run_id == run_id, row.ended_at.is_(None))
    if not tx.write(update.values(ended_at=at, ended_by=by, ended_why=why)):
        return False
    sentence = f"{by} resumed run {run_id}: {why}"
    begin_anew(tx, run_id)
    record(tx, GuardEvent(ids.new(), at, "resumed", run_id, f"run:{run_id}", sentence, {"by": by, "why": why}))
    return True


def end_closures(tx: Tx, account_ids: Iterable[str], *, by: str, why: str, at: datetime) -> None:
    """End what these caps closed, because they were raised."""
    row = schema.closure.c
    update = sa.update(schema.closure).where(one_of(row.account_id, account_ids), row.ended_at.is_(None))
    tx.write(update.values(ended_at=at, ended_by=by, ended_why=why))


def record(tx: Tx, event: GuardEvent) -> None:
    """See `core.ports.Ledger.record`; the same id again is the same event."""
    tx.run(tx.statements.insert_missing(schema.guard_event), guard_event_row(event))


def standing_on(tx: Tx, run_ids: Sequence[str]) -> list[Closure]:
    """Closures in force on any of the runs, root first; of one run, those that only a person can end first."""
    row = schema.closure.c
    return _in_order(run_ids, tx.select(sa.select(*row).where(one_of(row.run_id, run_ids), row.ended_at.is_(None))))


def standing(connection: sa.Connection, run_ids: Sequence[str]) -> list[Closure]:
    """The same for a reader."""
    row = schema.closure.c
    clause = sa.select(*row).where(row.ended_at.is_(None))
    return _in_order(run_ids, in_batches(connection, clause, row.run_id, run_ids))


def _in_order(run_ids: Sequence[str], rows: Iterable[Sequence[object]]) -> list[Closure]:
    """Closure rows in the order of the path."""
    names = [column.name for column in schema.closure.c]
    found: dict[str, list[Closure]] = {}
    for row in rows:
        one = closure_of(dict(zip(names, row, strict=True)))
        found.setdefault(one.run_id, []).append(one)
    return [one for run_id in run_ids for one in strongest_first(found.get(run_id, ()))]
