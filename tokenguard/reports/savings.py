"""What folding saved, what saved most first, with totals that add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenguard.core.holdout import HoldoutEffect, holdout_effect
from tokenguard.core.savings import SavingSpend, together
from tokenguard.reports.tables import Column, Table, aligned, visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from tokenguard.core.holdout import FoldedRun
    from tokenguard.core.ports import Ledger
    from tokenguard.core.savings import SavingBy

__all__ = ["SavingReport", "saving_report"]


@dataclass(frozen=True, slots=True)
class SavingReport:
    """What each stage, model, agent, scope or run saved between two instants."""

    by: SavingBy
    since: datetime | None
    until: datetime | None
    rows: tuple[SavingSpend, ...]
    """What was sent so, what saved most first."""
    measured: tuple[SavingSpend, ...]
    """What was only measured: guards that observe, and runs that were held out."""
    holdout: HoldoutEffect | None = None
    """Steps of folded runs against those that were not; None: too few of either."""

    @property
    def total(self) -> SavingSpend:
        """All rows that were sent so."""
        return together(self.rows, "total")

    def table(self) -> Table:
        """For a terminal."""
        shown = [*self.rows, self.total]
        estimated, settled = (aligned([getattr(one, name) for one in shown]) for name in ("estimated", "settled"))
        cells = [
            (
                visible(one.name or "none", 48),
                f"{one.calls:,}",
                f"{one.results:,}",
                f"{one.tokens_before:,}",
                f"{one.tokens_after:,}",
                _percent(one),
                f"{one.tokens:,}",
                estimated[at],
                settled[at],
            )
            for at, one in enumerate(shown)
        ]
        names = ("calls", "results", "tokens", "folded", "less", "tokens saved", "estimated", "settled")
        return Table((Column(self.by), *(Column(name, right=True) for name in names)), tuple(cells[:-1]), cells[-1])

    def json(self) -> dict[str, Any]:
        """All rows as JSON values; money as decimal strings of dollars."""
        return {
            "report": "savings",
            "by": self.by,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "rows": [row.json() for row in self.rows],
            "total": self.total.json(),
            "measured": [row.json() for row in self.measured],
            "holdout": self.holdout.json() if self.holdout else None,
        }


def saving_report(
    ledger: Ledger,
    by: SavingBy = "stage",
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    runs: Iterable[FoldedRun] = (),
) -> SavingReport:
    """Ask a ledger.

    Args:
        ledger: Whose books.
        by: The dimension.
        since: Aware; None: from the beginning.
        until: Aware; excluded.
        runs: Of the same time, to compare folded ones with those that were held out.
    """
    found = ledger.savings(by, since=since, until=until)
    applied, measured = (tuple(one for one in found if one.applied is sent) for sent in (True, False))
    return SavingReport(by, since, until, applied, measured, holdout_effect(runs))


def _percent(one: SavingSpend) -> str:
    return f"{100 * (one.tokens_before - one.tokens_after) / one.tokens_before:.1f} %" if one.tokens_before else ""
