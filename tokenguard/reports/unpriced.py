"""Answers whose price nobody knew: booked at $0 by `unknown="observe"`, or at an assumed rate. Never silently free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenguard.core.books import Status
from tokenguard.core.money import Money
from tokenguard.core.usage import Quality
from tokenguard.errors import Unpriceable
from tokenguard.reports.tables import Column, Table, aligned, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tokenguard.core.ports import Ledger, PriceBook

__all__ = ["Unpriced", "unpriced_models", "unpriced_table"]

_ANSWERED = (Status.OK, Status.CLOSED)


@dataclass(frozen=True, slots=True)
class Unpriced:
    """One model that answered without a known price."""

    model: str
    provider: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: Money
    """What stands in the books for them: $0, or an assumed amount."""
    toml: str
    """The lines to paste into the price file; empty where a price is known by now."""

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "model": self.model,
            "provider": self.provider,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "usd": self.usd.json(),
            "priced_now": not self.toml,
            "toml": self.toml or None,
        }


def unpriced_models(
    ledger: Ledger, prices: PriceBook, *, since: datetime | None = None, until: datetime | None = None
) -> tuple[Unpriced, ...]:
    """Models whose answers are marked `assumed` although they came: most tokens first."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in ledger.spend(("model", "provider", "status", "quality"), since=since, until=until):
        model, provider, status, quality = row.by
        if status in _ANSWERED and quality == Quality.ASSUMED:
            sums = found.setdefault((model, provider), [0, 0, 0, 0])
            for index, amount in enumerate((row.calls, row.input_tokens, row.output_tokens, row.usd.pico)):
                sums[index] += amount
    rows = [
        Unpriced(model, provider, calls, used, written, Money.from_pico(pico), _line_to_paste(model, prices))
        for (model, provider), (calls, used, written, pico) in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.input_tokens - row.output_tokens, row.model, row.provider)))


def unpriced_table(rows: Sequence[Unpriced]) -> Table:
    """For a terminal."""
    usd = aligned([row.usd for row in rows])
    columns = (
        Column("model"),
        Column("provider"),
        Column("calls", right=True),
        Column("input", right=True),
        Column("output", right=True),
        Column("booked", right=True),
        Column("price now"),
    )
    cells = tuple(
        (
            visible(row.model),
            visible(row.provider),
            f"{row.calls:,}",
            f"{row.input_tokens:,}",
            f"{row.output_tokens:,}",
            usd[index],
            "unknown" if row.toml else "known",
        )
        for index, row in enumerate(rows)
    )
    return Table(columns, cells)


def _line_to_paste(model: str, prices: PriceBook) -> str:
    try:
        prices.card(model)
    except Unpriceable as unknown:
        return unknown.toml
    return ""
