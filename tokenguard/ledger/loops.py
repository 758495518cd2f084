"""Loops in the books: the state of a run's rules, which outlives its process, and what repetitions cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokenguard.core.books import GuardEvent
from tokenguard.core.looping import LOOPED, LoopSpend, loop_spends
from tokenguard.ledger import schema
from tokenguard.ledger.statements import in_batches
from tokenguard.ledger.tx import Tx

__all__ = ["loops", "recall", "remember"]


def remember(tx: Tx, run_id: str, state: Mapping[str, Any], at: datetime) -> None:
    """See `core.ports.Ledger.remember`."""
    tx.run(tx.statements.put(schema.loop_state), {"run_id": run_id, "state": dict(state), "at": at})


def recall(connection: sa.Connection, run_id: str) -> Mapping[str, Any] | None:
    """See `core.ports.Ledger.recall`."""
    row = schema.loop_state.c
    found: Mapping[str, Any] | None = connection.execute(sa.select(row.state).where(row.run_id == run_id)).scalar()
    return found


def loops(
    connection: sa.Connection, run_ids: Sequence[str] | None, since: datetime | None, until: datetime | None
) -> tuple[LoopSpend, ...]:
    """See `core.ports.Ledger.loops`."""
    row = schema.guard_event.c
    # As a literal, or the index of these events is not used for a parameter that may be any kind.
    clause = sa.select(*row).where(row.kind == sa.literal_column(f"'{LOOPED}'"))
    if since is not None:
        clause = clause.where(row.at >= since)
    if until is not None:
        clause = clause.where(row.at < until)
    if run_ids is None:
        rows: Iterable[Any] = connection.execute(clause).all()
    else:
        rows = in_batches(connection, clause, row.run_id, run_ids)
    return loop_spends(GuardEvent(*one) for one in rows)
