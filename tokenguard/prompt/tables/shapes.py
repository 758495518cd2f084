"""What like objects have in common: the columns of a table, found in its rows.

A column is a plain cell, words (strings that look like nothing else), text (any strings), a constant, a group of
columns (an object in every row), a list of such groups, or the key of its row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from tokenguard.prompt.tables.strict import written

__all__ = ["ABSENT", "Column", "Kind", "Row", "is_ambiguous", "shape"]

Kind: TypeAlias = Literal["cell", "words", "text", "constant", "group", "groups", "key"]
Row: TypeAlias = dict[str, Any]

ABSENT: Final = object()
"""What a row has where its object does not have the key."""

_COLUMNS_MAX: Final = 256
_FULL_OF: Final = 2
"""At least one of so many cells is there: objects with keys of their own are no table."""
_CONSTANT_ROWS: Final = 3
"""A constant is said in the header from so many rows on: two are shorter with the value in both."""
_CONSTANT_CHARACTERS: Final = 400
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_SUSPECT: Final = frozenset("-0123456789[{tfn")
"""How everything begins that is JSON without being a string."""
_WORDS: Final = ("true", "false", "null")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    optional: bool = False
    """Some rows do not have it."""
    columns: tuple[Column, ...] = ()
    """Of a group, or of each object in a list."""
    constant: Any = None


def shape(
    rows: Sequence[Row], keys: Sequence[str] | None = None, *, constants: bool = True
) -> tuple[Column, ...] | None:
    """The columns of some objects in the order of their keys; None: they do not go into one table.

    Args:
        rows: Objects with at least one key each.
        keys: What each row is called, where they are the values of an object.
        constants: Whether a column may be said in the header once.
    """
    names = _names(rows)
    if names is None or sum(map(len, rows)) * _FULL_OF < len(rows) * len(names):
        return None
    columns: list[Column] = []
    for name in names:
        values = [row.get(name, ABSENT) for row in rows]
        optional = any(value is ABSENT for value in values)
        if keys is not None and not optional and all(map(_same, values, keys)):
            columns.append(Column(name, "key"))
        else:
            columns.append(_column(name, values, optional=optional, constants=constants))
    if keys is None and all(one.kind == "constant" for one in columns):
        return None  # Its rows would be empty lines.
    return tuple(columns)


def is_ambiguous(text: str) -> bool:
    """Whether a string in a plain cell would be read as something else."""
    if text[:1] not in _SUSPECT:
        return False
    return text[0] in "[{" or text in _WORDS or _NUMBER.fullmatch(text) is not None


def _same(value: Any, key: str) -> bool:
    return type(value) is str and value == key


def _names(rows: Sequence[Row]) -> list[str] | None:
    """All keys in an order that every row keeps; None: there is none, or there are too many."""
    first = rows[0].keys()
    order = list(first)
    known = set(order)
    mixed = False
    for row in rows:
        if row.keys() == first and len(row) == len(first):
            mixed = mixed or list(row) != order[: len(row)]
            continue
        mixed = True
        at = 0
        for name in row:
            if name in known:
                at = order.index(name) + 1
            else:
                order.insert(at, name)
                known.add(name)
                at += 1
        if len(order) > _COLUMNS_MAX:
            return None
    if mixed:
        place = {name: at for at, name in enumerate(order)}
        for row in rows:
            places = [place[name] for name in row]
            if places != sorted(places):
                return None
    return order


def _column(name: str, values: list[Any], *, optional: bool, constants: bool) -> Column:
    present = [value for value in values if value is not ABSENT] if optional else values
    if constants and not optional and len(values) >= _CONSTANT_ROWS and _is_constant(present):
        return Column(name, "constant", constant=present[0])
    kinds: set[type[Any]] = {type(value) for value in present}
    if kinds == {str}:
        return Column(name, "text" if any(map(is_ambiguous, present)) else "words", optional)
    if kinds == {dict} and not optional and all(present):
        columns = shape(present, constants=constants)
        if columns is not None:
            return Column(name, "group", columns=columns)
    if kinds == {list}:
        inner = [one for value in present for one in value]
        if len(inner) > 1 and all(type(one) is dict and one and one.keys() == inner[0].keys() for one in inner):
            columns = shape(inner, constants=False)
            if columns is not None and not any(one.optional for one in _all(columns)):
                return Column(name, "groups", optional, columns)
    return Column(name, "cell", optional)


def _all(columns: Sequence[Column]) -> list[Column]:
    return [one for column in columns for one in (column, *_all(column.columns))]


def _is_constant(values: list[Any]) -> bool:
    first = values[0]
    if type(first) in (dict, list):
        text = written(first)
        return len(text) < _CONSTANT_CHARACTERS and all(
            type(value) is type(first) and written(value) == text for value in values
        )
    # 1, 1.0 and True are equal, and are not the same JSON.
    return all(type(value) is type(first) and value == first for value in values)
