"""One SQL statement, compiled once: how its parameters are written, its columns read; and the driver that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol, TypeAlias

from sqlalchemy.engine import Dialect

__all__ = ["Cursor", "Driver", "Params", "Statement"]

Params: TypeAlias = Mapping[str, Any]


class Cursor(Protocol):
    """What both drivers' cursors do."""

    rowcount: int

    def fetchall(self) -> list[Any]:
        """All rows."""
        ...

    def executemany(self, sql: str, params: Any, /) -> Any:
        """Run for each."""
        ...


class Driver(Protocol):
    """What both drivers' connections do (sqlite3, psycopg 3)."""

    def execute(self, sql: str, params: Any = ..., /) -> Any:
        """Run one statement on a new cursor."""
        ...

    def cursor(self) -> Any:
        """A new cursor."""
        ...

    def commit(self) -> None:
        """Make it last."""
        ...

    def rollback(self) -> None:
        """Make it never have been."""
        ...


class Statement:
    """One statement: its SQL, how its parameters are written and how its columns are read."""

    __slots__ = ("_constants", "_decoders", "_encoders", "_named", "_values", "names", "sql")

    def __init__(
        self, clause: Any, dialect: Dialect, columns: Iterable[Any] = (), keys: Sequence[str] | None = None
    ) -> None:
        compiled = clause.compile(dialect=dialect, column_keys=keys)
        self.sql = str(compiled)
        self._constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._named = compiled.positiontup is None
        self.names = tuple(compiled.positiontup or compiled.binds)
        self._values = _values_of(self.names)
        # Only what needs a conversion is looked at: most values are taken as they are.
        encoders = [_encoder(compiled.binds[name].type, dialect) for name in self.names]
        self._encoders = [(place, encode) for place, encode in enumerate(encoders) if encode is not None]
        decoders = [_decoder(column.type, dialect) for column in columns]
        self._decoders = [(place, decode) for place, decode in enumerate(decoders) if decode is not None]

    def parameters(self, params: Params) -> Any:
        """The parameters as the driver takes them."""
        if self._constants:
            params = {**self._constants, **params}
        found = self.values(params)
        return dict(zip(self.names, found, strict=True)) if self._named else found

    def values(self, params: Params) -> list[Any]:
        """The parameters' values in the order of `names`."""
        found = self._values(params)
        for place, encode in self._encoders:
            found[place] = encode(found[place])
        return found

    def read(self, rows: list[Any]) -> list[Any]:
        """The rows with their columns as our types."""
        return [self._decoded(row) for row in rows] if self._decoders else rows

    def _decoded(self, row: Any) -> tuple[Any, ...]:
        values = list(row)
        for place, decode in self._decoders:
            values[place] = decode(values[place])
        return tuple(values)


def _values_of(names: Sequence[str]) -> Callable[[Params], list[Any]]:
    """A function that picks values by name."""
    if len(names) < 2:  # noqa: PLR2004  # `itemgetter` of one name gives no tuple, and there is none of no name
        return lambda params: [params[name] for name in names]
    pick = itemgetter(*names)
    return lambda params: list(pick(params))


def _encoder(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    encode: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return encode


def _decoder(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    decode: Callable[[Any], Any] | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return decode
