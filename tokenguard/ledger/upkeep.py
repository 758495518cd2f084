"""What a process does for the books beside its calls, in transactions of their own: compact deltas, make months."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Final

from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger.engine import Database
from tokenguard.ledger.months import make_months
from tokenguard.ledger.rollups import backlog, compact_batch

__all__ = ["MANY", "SETTLEMENTS", "Upkeep"]

SETTLEMENTS: Final = 1_000
"""Settlements of one process between two compactions."""
_SMALL: Final = 2_000
"""Deltas that such a compaction takes: more than came since the last, so that a backlog shrinks; some milliseconds."""
MANY: Final = 20_000
"""Deltas that a report reads as they are: adding them up is some milliseconds."""
_AT_ONCE: Final = 100_000
"""Deltas that a report compacts before it reads, at most: a second or two. It reads what is left."""


class Upkeep:
    """Counts what this process wrote. Thread-safe; whatever fails here is left for the next time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._settlements = 0
        self._months_seen: set[tuple[int, int]] = set()

    def look_at_month(self, at: datetime) -> None:
        """Make the months of a server that are missing, once per process and month. Else DEFAULT takes their rows."""
        month = (at.year, at.month)
        if month in self._months_seen:
            return
        self._months_seen.add(month)
        with suppress(LedgerUnavailable):
            make_months(self._database, at=at, ahead=1, wait=False)

    def after_settlement(self, count: int = 1) -> None:
        """Compact some deltas after every thousandth settlement, in a transaction of its own."""
        self._settlements += count
        if self._settlements >= SETTLEMENTS:
            self._settlements = 0  # Two threads may lose a count to each other: then it is the next one's turn.
            self._compact(_SMALL)

    def before_report(self) -> None:
        """Compact where there are so many deltas that a report would take long over them."""
        if self._database.read(lambda connection: backlog(connection, MANY + 1)) > MANY:
            self._compact(_AT_ONCE)

    def _compact(self, limit: int) -> None:
        """One batch. A reader without the right to write reads the deltas instead."""
        with suppress(LedgerUnavailable):
            self._database.transact(lambda tx: compact_batch(tx, limit=limit, wait=False))
