"""Column types: amounts, instants, shares and rates, exact on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = ["Instant", "Pico", "Shares", "Thousandths"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Pico(TypeDecorator[int]):
    """Whole pico-dollars, or a whole count of another unit. BIGINT on SQLite, NUMERIC(38,0) on PostgreSQL."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type."""
        return dialect.type_descriptor(sa.Numeric(38, 0) if dialect.name == "postgresql" else sa.BigInteger())

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002  # SQLAlchemy's hook
        """Both drivers take an int as it is."""
        return

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002  # as above
        """Give an int: PostgreSQL's driver makes a Decimal of a NUMERIC."""
        return _whole if dialect.name == "postgresql" else None


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant: microseconds since 1970 on SQLite, TIMESTAMPTZ on PostgreSQL; both keep every digit."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type."""
        return dialect.type_descriptor(sa.DateTime(timezone=True) if dialect.name == "postgresql" else sa.BigInteger())

    def bind_processor(self, dialect: Dialect) -> Any:
        """Write it."""
        return None if dialect.name == "postgresql" else _microseconds

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002  # as above
        """Read it."""
        return _in_utc if dialect.name == "postgresql" else _instant_of


class Shares(TypeDecorator[tuple[float, ...]]):
    """Shares of a cap, such as (0.5, 0.8), as the text `0.5 0.8`: two balances are read for every call."""

    impl = sa.Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002  # as above
        """Write them."""
        return _spaced

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002  # as above
        """Read them."""
        return _shares


class Thousandths(TypeDecorator[Decimal]):
    """A measured rate with three decimals, stored as a whole number of thousandths."""

    impl = sa.BigInteger
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002  # as above
        """Write it."""
        return _thousandths

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002  # as above
        """Read it."""
        return _rate


# Plain functions instead of `process_bind_param`: SQLAlchemy would wrap those in two more calls per value, and a
# reservation has dozens of values.


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _microseconds(value: datetime | None) -> int | None:
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def _instant_of(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def _in_utc(value: datetime | None) -> datetime | None:
    # The session's time zone decides what the driver returns; the ledger speaks UTC.
    return None if value is None else value.astimezone(UTC)


def _spaced(value: tuple[float, ...] | None) -> str | None:
    return None if value is None else " ".join(map(str, value))


@lru_cache(maxsize=256)
def _shares(value: str | None) -> tuple[float, ...]:
    return () if value is None else tuple(float(share) for share in value.split())


def _thousandths(value: Decimal | None) -> int | None:
    return None if value is None else int((value * 1000).to_integral_value())


def _rate(value: int | None) -> Decimal | None:
    return None if value is None else Decimal(value).scaleb(-3)
