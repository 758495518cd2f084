"""Spend by dimensions, from rollups and deltas where these know the answer, from single events where only they do.

A report's whole days come from rollups plus the deltas that are not compacted yet; the hours at its ends, and
dimensions that no rollup has (run, status, prompt, labels), come from events. One snapshot: the sums are the events'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import sqlalchemy as sa

from tokenguard.core.books import SpendRow
from tokenguard.core.money import Money
from tokenguard.core.usage import Quality
from tokenguard.ledger import schema
from tokenguard.ledger.columns import Pico
from tokenguard.ledger.months import keep_months
from tokenguard.ledger.outcomes import check_dimensions
from tokenguard.ledger.rollups import DIMENSIONS

__all__ = ["PRUNED", "event_day", "is_rolled", "spend"]

PRUNED: Final = "(pruned)"
"""The value of a dimension that only events had which are no longer there."""

_COLUMNS: Final = {
    "agent": "agent",
    "model": "model",
    "provider": "provider",
    "scope": "scope",
    "run": "run_id",
    "root": "root_id",
    "operation": "operation",
    "status": "status",
    "quality": "quality",
    "mode": "mode",
    "prompt": "prompt_id",
}

_DAY: Final = {
    # Floor division also before 1970, and integers stay integers.
    "sqlite": "strftime('%Y-%m-%d', at / 1000000, 'unixepoch')",
    "postgresql": "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}

_A_DAY: Final = timedelta(days=1)
_AMOUNTS: Final = 6
"""usd, estimated, assumed, calls, input and output tokens, after the dimensions of each row."""


def event_day(dialect: str) -> sa.ColumnElement[str]:
    """The UTC day of an event, such as `2026-11-20`."""
    return sa.literal_column(_DAY[dialect])


def is_rolled(by: Sequence[str]) -> bool:
    """Whether rollups know every one of these dimensions."""
    return all(name == "day" or name in DIMENSIONS for name in by)


def spend(
    connection: sa.Connection, by: Sequence[str], since: datetime | None, until: datetime | None
) -> tuple[SpendRow, ...]:
    """See `core.ports.Ledger.spend`. Spend whose events were pruned counts at the midnight its UTC day began."""
    check_dimensions(by)
    keep_months(connection)
    groups: dict[tuple[str, ...], list[int]] = {}
    for clause in _questions(connection.dialect.name, by, since, until):
        for row in connection.execute(clause):
            sums = groups.setdefault(tuple(row[: len(by)]), [0] * _AMOUNTS)
            for place, amount in enumerate(row[len(by) :]):
                sums[place] += amount
    rows = (_spend_row(group, sums) for group, sums in groups.items())
    return tuple(sorted(rows, key=lambda one: (-one.usd.pico, one.by)))


def _questions(
    dialect: str, by: Sequence[str], since: datetime | None, until: datetime | None
) -> Iterator[sa.Select[Any]]:
    """Queries over disjoint parts of the books that together are the answer."""
    began, ends = _midnight(since, later=True), _midnight(until, later=True)
    yield _of_days(schema.rollup, by, began, ends, pruned=True)
    ends = _midnight(until, later=False)
    if not is_rolled(by) or (began and ends and began >= ends):
        yield _of_events(dialect, by, since, until)
        return
    yield _of_days(schema.rollup, by, began, ends, pruned=False)
    yield _of_days(schema.rollup_delta, by, began, ends)
    if since is not None and since != began:
        yield _of_events(dialect, by, since, began)
    if until is not None and until != ends:
        yield _of_events(dialect, by, ends, until)


def _midnight(instant: datetime | None, *, later: bool) -> datetime | None:
    """The UTC midnight at an instant, or the next one before or after it."""
    if instant is None:
        return None
    instant = instant.astimezone(UTC)
    midnight = datetime.combine(instant.date(), time(), UTC)
    if not later or midnight == instant:
        return midnight
    # The calendar ends in 9999; nothing is booked on its last day.
    return midnight if midnight.date() == date.max else midnight + _A_DAY


def _of_days(
    table: sa.Table, by: Sequence[str], began: datetime | None, ends: datetime | None, *, pruned: bool | None = None
) -> sa.Select[Any]:
    """Sums over whole days of rollups or deltas."""
    row = table.c
    rolled = {"day", *DIMENSIONS}
    pruned_value: sa.ColumnElement[str] = sa.literal_column(f"'{PRUNED}'")
    groups: list[sa.ColumnElement[Any]] = [row[name] if name in rolled else pruned_value for name in by]
    clause = _summed(row, groups)
    if pruned is not None:
        clause = clause.where(row.pruned.is_(sa.true() if pruned else sa.false()))
    if began is not None:
        clause = clause.where(row.day >= began.date().isoformat())
    if ends is not None:
        clause = clause.where(row.day < ends.date().isoformat())
    return clause


def _of_events(dialect: str, by: Sequence[str], since: datetime | None, until: datetime | None) -> sa.Select[Any]:
    """Sums over single events, so that any instants may bound it."""
    row = schema.spend_event.c
    clause = _summed(row, [_dimension(name, event_day(dialect)) for name in by])
    if since is not None:
        clause = clause.where(row.at >= since)
    if until is not None:
        clause = clause.where(row.at < until)
    return clause


def _summed(row: Any, groups: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
    usd = row.usd_pico
    clause = sa.select(
        *groups,
        _sum(usd),
        _sum(sa.case((row.quality == Quality.ESTIMATED, usd), else_=0)),
        _sum(sa.case((row.quality == Quality.ASSUMED, usd), else_=0)),
        _sum(row.calls),
        _sum(row.input_tokens),
        _sum(row.output_tokens),
    )
    # By position: PostgreSQL takes a constant among the groups for one. Without dimensions a sum over nothing would
    # still be a row.
    by_place: list[sa.ColumnElement[Any]] = [sa.literal_column(str(place)) for place in range(1, len(groups) + 1)]
    return clause.group_by(*by_place) if groups else clause.having(sa.func.count() > 0)


def _dimension(name: str, day: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """One dimension as a column; empty where the call has none."""
    row = schema.spend_event.c
    if name == "day":
        return day
    if name.startswith("label:"):
        return sa.func.coalesce(row.labels[name.removeprefix("label:")].as_string(), "")
    return sa.func.coalesce(row[_COLUMNS[name]], "")


def _sum(column: Any) -> sa.ColumnElement[int]:
    return sa.type_coerce(sa.func.coalesce(sa.func.sum(column), 0), Pico())


def _spend_row(by: tuple[str, ...], sums: Sequence[int]) -> SpendRow:
    usd, estimated, assumed, calls, input_tokens, output_tokens = sums
    return SpendRow(
        by,
        Money.from_pico(usd),
        Money.from_pico(estimated),
        Money.from_pico(assumed),
        calls,
        input_tokens,
        output_tokens,
    )
