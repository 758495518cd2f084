"""A provider's statement beside the books: what was booked, what was billed, and the difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.money import ZERO, Money
from tokenguard.core.statement import Billed
from tokenguard.errors import BadAmount
from tokenguard.reports.tables import Column, Table, aligned, visible

if TYPE_CHECKING:
    from tokenguard.core.ports import Ledger

__all__ = ["Comparison", "Difference", "Tolerance", "compare"]

_NUMBERS: Final = ("booked", "billed", "difference", "share")
_NONE: Final = Fraction(0)
_PERCENT_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far apart is near enough: an amount, or a share of what was billed."""

    usd: Money = ZERO
    share: Fraction = _NONE

    @classmethod
    def of(cls, text: str) -> Tolerance:
        """Read `0.05` (dollars) or `0.5%`.

        Raises:
            BadAmount: it is neither, or below zero.
        """
        given = text.strip()
        try:
            if not given.endswith("%"):
                usd = Money(given)
                if usd.pico >= 0:
                    return cls(usd)
            elif 0 <= (percent := Decimal(given[:-1])) <= _PERCENT_MAX:
                return cls(share=Fraction(percent) / 100)
        except (BadAmount, InvalidOperation):
            pass
        raise BadAmount(
            f"--tolerance {text!r} is neither dollars nor a share. Write 0.05 for five cents, or 0.5%.", amount=text
        )

    def allows(self, one: Difference) -> bool:
        """Whether a difference is within it."""
        return abs(one.difference.pico) <= max(Fraction(self.usd.pico), self.share * abs(one.billed.usd.pico))


@dataclass(frozen=True, slots=True)
class Difference:
    """One line: what the ledger has for what was billed."""

    billed: Billed
    booked: Money

    @property
    def difference(self) -> Money:
        """What the books lack; below zero: what they have too much."""
        return self.billed.usd - self.booked

    @property
    def share(self) -> str:
        """The difference in per cent of what was billed, rounded to a tenth; empty where nothing was."""
        whole = abs(self.billed.usd.pico)
        if not whole:
            return ""
        size = abs(self.difference.pico)
        tenths = (size * 2000 + whole) // (2 * whole)
        return f"{'-' if self.difference.pico < 0 and tenths else ''}{tenths // 10:,}.{tenths % 10} %"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A statement and the books, side by side."""

    rows: tuple[Difference, ...]
    """By day, provider and model."""
    left_out: tuple[tuple[str, str, Money], ...]
    """Days between the statement's first and last on which a provider of it was booked and not billed: not compared."""

    @property
    def differing(self) -> tuple[Difference, ...]:
        """Those that are not equal, to the pico-dollar."""
        return tuple(one for one in self.rows if one.difference)

    def table(self) -> Table:
        """For a terminal."""
        total = Difference(
            Billed(date.min, "total", None, _sum([one.billed.usd for one in self.rows])),
            _sum([one.booked for one in self.rows]),
        )
        every = [*self.rows, total]
        columns = [
            aligned([one.booked for one in every]),
            aligned([one.billed.usd for one in every]),
            aligned([one.difference for one in every]),
            [one.share for one in every],
        ]
        names = [(one.billed.day.isoformat(), visible(one.billed.provider), _model(one.billed)) for one in self.rows]
        cells = [
            (*name, *(column[place] for column in columns)) for place, name in enumerate([*names, ("total", "", "")])
        ]
        heads = (
            *(Column(name) for name in ("day", "provider", "model")),
            *(Column(one, right=True) for one in _NUMBERS),
        )
        return Table(heads, tuple(cells[:-1]), cells[-1])

    def json(self) -> dict[str, Any]:
        """All rows as JSON values; money as decimal strings of dollars."""
        return {
            "report": "reconcile",
            "rows": [
                {
                    "day": one.billed.day.isoformat(),
                    "provider": one.billed.provider,
                    "model": one.billed.model,
                    "booked": one.booked.json(),
                    "billed": one.billed.usd.json(),
                    "difference": one.difference.json(),
                }
                for one in self.rows
            ],
            "left_out": [
                {"day": day, "provider": provider, "booked": usd.json()} for day, provider, usd in self.left_out
            ],
        }


def compare(ledger: Ledger, statement: Sequence[Billed]) -> Comparison:
    """Put what was billed beside what the ledger booked, day by day.

    Where a statement names models, models that it does not name were billed nothing on the days that it has.

    Args:
        ledger: The books.
        statement: By day; not empty.
    """
    first, last = (datetime.combine(one.day, time(), UTC) for one in (statement[0], statement[-1]))
    spent = ledger.spend(("day", "provider", "model"), since=first, until=last + timedelta(days=1))
    lines = {one.key: one for one in _as_booked(statement, [row.by for row in spent])}
    booked = dict.fromkeys(lines, 0)
    by_day = {key[:2]: line for key, line in lines.items()}
    providers = {key[1] for key in lines}
    left_out: dict[tuple[str, str], int] = {}
    for row in spent:
        day, provider, model = row.by
        known = by_day.get((day, provider.casefold()))
        if known is not None:
            own = Billed(known.day, provider, None if known.model is None else model, ZERO)
            if row.usd:
                lines.setdefault(own.key, own)
            booked[own.key] = booked.get(own.key, 0) + row.usd.pico
        elif provider.casefold() in providers:
            left_out[day, provider] = left_out.get((day, provider), 0) + row.usd.pico
    rows = sorted(lines.items(), key=lambda one: (one[0][0], one[0][1], one[0][2] or ""))
    return Comparison(
        tuple(Difference(line, Money.from_pico(booked[key])) for key, line in rows),
        tuple((day, provider, Money.from_pico(usd)) for (day, provider), usd in sorted(left_out.items()) if usd),
    )


def _as_booked(statement: Sequence[Billed], booked: Sequence[tuple[str, ...]]) -> Iterator[Billed]:
    """The lines with names as the ledger spells them, where it knows them, so that reports show one name and not two.

    Args:
        statement: As the provider writes it.
        booked: Day, provider and model of what was spent, dearest first.
    """
    providers: dict[str, str] = {}
    models: dict[tuple[str, str | None], str] = {}
    for _, provider, model in booked:
        providers.setdefault(provider.casefold(), provider)
        models.setdefault(Billed(date.min, provider, model, ZERO).key[1:], model)
    for one in statement:
        provider = providers.get(one.provider.casefold(), one.provider)
        named = None if one.model is None else models.get(one.key[1:], one.model)
        yield Billed(one.day, provider, named, one.usd)


def _model(billed: Billed) -> str:
    """A model's name in a table."""
    if billed.model is None:
        return "all models"
    return visible(billed.model) or "–"


def _sum(amounts: Sequence[Money]) -> Money:
    return Money.from_pico(sum(one.pico for one in amounts))
