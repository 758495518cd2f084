"""Spend by any dimensions: the rows of the ledger, dearest first, with shares and a total that always adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenguard.core.books import SpendRow
from tokenguard.core.money import Money
from tokenguard.reports.tables import Column, Table, aligned, csv_text, visible

if TYPE_CHECKING:
    from datetime import datetime

    from tokenguard.core.ports import Ledger

__all__ = ["SpendReport", "spend_report"]

_NUMBERS = (
    Column("usd", right=True),
    Column("share", right=True),
    Column("calls", right=True),
    Column("input", right=True),
    Column("output", right=True),
    Column("estimated", right=True),
    Column("assumed", right=True),
)


@dataclass(frozen=True, slots=True)
class SpendReport:
    """What was spent between two instants, grouped."""

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    rows: tuple[SpendRow, ...]
    """Dearest first."""

    @property
    def total(self) -> SpendRow:
        """The sum of all rows, those that a table leaves out included."""
        return _sum(("total",), self.rows)

    def table(self, limit: int | None = None) -> Table:
        """For a terminal: at most `limit` rows, the rest as one row, and the total."""
        shown = self.rows if limit is None else self.rows[:limit]
        rest = self.rows[len(shown) :]
        rows = [*shown, *([_sum((f"… {len(rest):,} more",), rest)] if rest else [])]
        total = self.total
        cells = _cells([*rows, total], total.usd, max(1, len(self.by)))
        names = tuple(Column(name) for name in self.by) or (Column(""),)
        table = Table((*names, *_NUMBERS), tuple(cells[:-1]), cells[-1])
        return table.without_empty("estimated", "assumed")

    def json(self) -> dict[str, Any]:
        """All rows as JSON values; money as decimal strings of dollars."""
        return {
            "report": "spend",
            "by": list(self.by),
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "rows": [{"by": dict(zip(self.by, row.by, strict=True)), **_numbers(row)} for row in self.rows],
            "total": _numbers(self.total),
        }

    def csv(self) -> str:
        """All rows, with exact amounts; the total is not among them."""
        numbers = ("usd", "estimated_usd", "assumed_usd", "calls", "input_tokens", "output_tokens")
        return csv_text(
            (*self.by, *numbers), ((*row.by, *(_numbers(row)[name] for name in numbers)) for row in self.rows)
        )


def spend_report(
    ledger: Ledger, by: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
) -> SpendReport:
    """Ask a ledger.

    Raises:
        SettingsError: a dimension that no row has.
    """
    return SpendReport(tuple(by), since, until, ledger.spend(by, since=since, until=until))


def _sum(by: tuple[str, ...], rows: Sequence[SpendRow]) -> SpendRow:
    return SpendRow(
        by,
        Money.from_pico(sum(row.usd.pico for row in rows)),
        Money.from_pico(sum(row.estimated.pico for row in rows)),
        Money.from_pico(sum(row.assumed.pico for row in rows)),
        sum(row.calls for row in rows),
        sum(row.input_tokens for row in rows),
        sum(row.output_tokens for row in rows),
    )


def _numbers(row: SpendRow) -> dict[str, Any]:
    return {
        "usd": row.usd.json(),
        "estimated_usd": row.estimated.json(),
        "assumed_usd": row.assumed.json(),
        "calls": row.calls,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
    }


def _cells(rows: Sequence[SpendRow], whole: Money, names: int) -> list[tuple[str, ...]]:
    """Rows as text; a row about several groups has its one name in the first column."""
    usd, estimated, assumed = (
        aligned([getattr(row, name) for row in rows]) for name in ("usd", "estimated", "assumed")
    )
    return [
        (
            *(visible(name) or "–" for name in row.by),
            *[""] * (names - len(row.by)),
            usd[index],
            _share(row.usd, whole),
            f"{row.calls:,}",
            f"{row.input_tokens:,}",
            f"{row.output_tokens:,}",
            estimated[index] if row.estimated else "",
            assumed[index] if row.assumed else "",
        )
        for index, row in enumerate(rows)
    ]


def _share(part: Money, whole: Money) -> str:
    """Per cent with one decimal, rounded, in whole numbers."""
    if whole.pico <= 0:
        return ""
    tenths = (part.pico * 2000 + whole.pico) // (2 * whole.pico)
    return f"{tenths // 10}.{tenths % 10} %"
