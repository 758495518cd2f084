"""What the books say about one attempt: what it was settled at, and what stands after all adjustments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from tokenguard.core.books import Booking, Status
from tokenguard.ledger import schema
from tokenguard.ledger.event_rows import BookedEvent, event_of
from tokenguard.ledger.tx import Tx

__all__ = ["ASSUMED", "History", "history", "pruned_before", "queue_for", "was_transferred"]

ASSUMED: Final = frozenset({Status.LOST, Status.UNRESOLVED})
"""How an attempt is marked of which nobody said yet what it came to."""

_COLUMNS: Final = tuple(schema.spend_event.c)


@dataclass(frozen=True, slots=True)
class History:
    """A resolved attempt."""

    phase: int
    """Of its last transfer."""
    account_ids: tuple[str, ...]
    """The balances that its transfers name."""
    stands: BookedEvent
    """What it stands at: the last revision."""
    settled: Booking | None
    """As its settlement booked it, before any adjustment; None: it was only assumed so far."""
    late: bool
    """It was charged as assumed before anybody settled it."""


def queue_for(tx: Tx, key: str) -> None:
    """Wait for everybody who books about the same id, and keep them waiting until this transaction ends.

    Taken before any balance is locked, never after. A resolved attempt has no hold row to lock, and no key of a
    partitioned table tells two rows of one id apart. A SQLite file has one writer.
    """
    if tx.on_server:
        tx.select(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(key, 0))))


def was_transferred(tx: Tx, attempt_id: str) -> bool:
    """Whether anything was ever moved under this id."""
    row = schema.transfer.c
    return bool(tx.select(sa.select(row.phase).where(row.hold_id == attempt_id).limit(1)))


def pruned_before(tx: Tx) -> str | None:
    """The month, as `YYYY-MM`, before which facts were pruned (pruning.py writes it down); None: all are there."""
    row = schema.meta.c
    rows = tx.select(sa.select(row.value).where(row.name == "pruned_before"))
    return rows[0][0] if rows else None


def history(tx: Tx, attempt_id: str) -> History | None:
    """Read an attempt, after `queue_for` it; None: the books know no such attempt, or nothing came of it yet."""
    row = schema.transfer.c
    transfers = tx.select(sa.select(row.phase, row.kind, row.legs).where(row.hold_id == attempt_id).order_by(row.phase))
    events = _events(tx, attempt_id)
    if not events or not transfers:
        # A step's id has a transfer too, but no attempt was ever held under it.
        return None
    # Even revisions take the one before them back.
    told = (one.booking for one in events if one.revision % 2 and one.booking.status not in ASSUMED)
    return History(
        phase=transfers[-1][0],
        account_ids=tuple([leg[0] for leg in transfers[-1][2]]),
        stands=events[-1],
        settled=next(told, None),
        late=any(kind == "expire" for _, kind, _ in transfers),
    )


def _events(tx: Tx, attempt_id: str) -> list[BookedEvent]:
    """All revisions of an attempt's event, oldest first."""
    event, line = schema.spend_event.c, schema.spend_line.c
    names = [column.name for column in _COLUMNS]
    rows = tx.select(sa.select(*_COLUMNS).where(event.id == attempt_id).order_by(event.revision))
    of_line = ("revision", "position", "meter", "quantity", "rate_pico", "amount_pico")
    found = tx.select(sa.select(*(line[name] for name in of_line)).where(line.event_id == attempt_id)) if rows else []
    lines: dict[int, list[dict[str, Any]]] = {}
    for one in found:
        lines.setdefault(one[0], []).append(dict(zip(of_line, one, strict=True)))
    events = [dict(zip(names, one, strict=True)) for one in rows]
    return [event_of(one, lines.get(one["revision"], [])) for one in events]
