"""A table as a value: columns, rows of text and a total, for terminals and CSV. Names are made harmless here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tokenguard.core.money import PICO_PER_USD, Money, dollars

__all__ = ["Column", "Table", "aligned", "csv_text", "visible"]

_CENT, _HUNDREDTH_CENT, _MICRO = PICO_PER_USD // 10, PICO_PER_USD // 1_000, PICO_PER_USD // 1_000_000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; numbers stand to the right and are never cut."""

    name: str
    right: bool = False
    whole: bool = False
    """A cell is one line: cut where the terminal is narrow, never folded. For trees, whose guides must line up."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, one cell per column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    total: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        widths = {len(row) for row in (*self.rows, *([self.total] if self.total else []))}
        assert widths <= {len(self.columns)}, "one cell per column"

    def without_empty(self, *names: str) -> Table:
        """The same table without those of the named columns in which no row says anything."""
        kept = [
            index
            for index, column in enumerate(self.columns)
            if column.name not in names or any(row[index] for row in self.rows)
        ]
        return Table(
            tuple(self.columns[index] for index in kept),
            tuple(tuple(row[index] for index in kept) for row in self.rows),
            tuple(self.total[index] for index in kept) if self.total else None,
        )


def aligned(amounts: Sequence[Money]) -> tuple[str, ...]:
    """Amounts with the same number of decimals, as many as the smallest of them needs: a column that can be read."""
    decimals = max((_decimals(abs(one.pico)) for one in amounts), default=2)
    return tuple(_fixed(one, decimals) for one in amounts)


def visible(text: str, most: int = 80) -> str:
    """A name that cannot move a cursor or reorder a line: unprintables are replaced, long names end with `…`."""
    short = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """RFC 4180 text. Names that a spreadsheet would run as a formula get an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _decimals(pico: int) -> int:
    """As `core.money.dollars` chooses them for one amount."""
    if pico == 0 or pico >= _CENT:
        return 2
    return 4 if pico >= _HUNDREDTH_CENT else 6


def _fixed(amount: Money, decimals: int) -> str:
    if 0 < abs(amount.pico) < _MICRO:
        return dollars(amount.pico)
    return f"{'-' if amount.pico < 0 else ''}${abs(amount.usd):,.{decimals}f}"


def _cell(value: str | int) -> str | int:
    if isinstance(value, int):
        return value
    text = value.encode("utf-8", "replace").decode()  # A lone surrogate in a name must not end the export.
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()
