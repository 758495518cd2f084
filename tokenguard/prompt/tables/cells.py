"""The rows of a table: one line each, strings without quotes where they cannot be mistaken.

As in CSV an empty cell is null; an empty string is `""`, and `~` says that the object does not have the key. Cells at
the end of a row that would all be `~` are left out. A row that does not have the columns of its table is its JSON
behind a `~`.

Cells are written and read by column: Python does most of that in C.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from tokenguard.core.untrusted import list_of
from tokenguard.prompt.tables.shapes import Column, Row, values_of, width
from tokenguard.prompt.tables.strict import ABSENT, exact, quoted, raw, written
from tokenguard.prompt.tables.words import COMMA, SCALAR, are_bare, are_strings, are_whole

__all__ = ["Cell", "Odd", "Writing", "cells_of", "objects", "odd"]

_ABSENT: Final = "~"
_SCALARS: Final = {"": None, "true": True, "false": False}
_NUMERIC: Final = frozenset("-0123456789")
_MARKS: Final = re.compile(r'["\[{~]')


class Odd(NamedTuple):
    """A row that says its own value."""

    value: Any


Cell: TypeAlias = "str | tuple[Any] | Odd"
"""As it stands in a line; the value of one that is JSON; or the rest of a line."""


def odd(value: Any) -> str:
    """A row that does not have the columns of its table."""
    return _ABSENT + written(value)


class Writing:
    """Cells with one separator."""

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self.crowded = False
        """Whether a cell needed quotes for a comma in it."""

    def lines(self, rows: Sequence[Row], columns: Sequence[Column], *before: Sequence[str]) -> list[str]:
        """A line for each row; `before` are the cells at its beginning."""
        by_row = zip(*before, *self._filled(rows, columns), strict=True)
        if _is_sparse(columns):
            return [self._without_end(row, len(before) + 1) for row in by_row]
        return list(map(self.separator.join, by_row))

    def texts(self, values: Sequence[str], *, words: bool = False) -> Sequence[str]:
        """Strings as cells; words: they need quotes too where they would be read as something else."""
        if are_bare(values, self.separator, words=words):
            return values
        return [self._text(value, words=words) for value in values]

    def _text(self, value: str, *, words: bool) -> str:
        if are_bare((value,), self.separator, words=words):
            return value
        self.crowded = self.crowded or COMMA in value
        return quoted(value)

    def _without_end(self, row: tuple[str, ...], fewest: int) -> str:
        end = len(row)
        while end > fewest and row[end - 1] == _ABSENT:
            end -= 1
        return self.separator.join(row[:end])

    def _filled(self, rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[Sequence[str]]:
        """The cells of each column."""
        mixed = True in [one.optional for one in columns]
        names = [one.name for one in columns]
        for column, values in zip(columns, values_of(rows, names, mixed=mixed), strict=True):
            if column.kind in ("constant", "key"):
                continue
            if column.optional:
                yield from self._spread(values, column)
            else:
                yield from self._column(values, column)

    def _spread(self, values: Sequence[Any], column: Column) -> Iterator[Sequence[str]]:
        """The cells of a column that some rows do not have."""
        none = None if column.kind == "group" else ABSENT
        there = [at for at, value in enumerate(values) if value is not ABSENT and value is not none]
        inner = self._column([values[at] for at in there], column)
        for number, cells in enumerate(inner):
            spread = [_ABSENT] * len(values)
            for at, cell in zip(there, cells, strict=True):
                spread[at] = cell
            if number == 0 and none is None:
                spread = ["" if value is None else cell for cell, value in zip(spread, values, strict=True)]
            yield spread

    def _column(self, values: Sequence[Any], column: Column) -> Iterator[Sequence[str]]:
        """The cells of values that are all there."""
        match column.kind:
            case "group":
                yield from self._filled(values, column.columns)
            case "groups":
                yield [written([_tuple(one, column.columns) for one in value]) for value in values]
            case "text":
                start = len(column.before)
                if start or column.behind:
                    values = [value[start : len(value) - len(column.behind)] for value in values]
                yield self.texts(values)
            case _:
                yield values if column.bare else self._anything(values)

    def _anything(self, values: Sequence[Any]) -> Sequence[str]:
        types: set[type[Any]] = set(map(type, values))
        if types == {str}:
            return self.texts(values, words=True)
        if types == {int}:
            return list(map(repr, values))
        return [
            "" if value is None else self._text(value, words=True) if type(value) is str else written(value)
            for value in values
        ]


def _is_sparse(columns: Sequence[Column]) -> bool:
    return True in [one.optional or (one.kind == "group" and _is_sparse(one.columns)) for one in columns]


def _tuple(value: Row, columns: Sequence[Column]) -> list[Any]:
    """An object in a cell: its values without their names, in order."""
    found: list[Any] = []
    for column in columns:
        cell = value[column.name]
        match column.kind:
            case "group":
                found.extend(_tuple(cell, column.columns))
            case "groups":
                found.append([_tuple(one, column.columns) for one in cell])
            case _:
                found.append(cell)
    return found


def cells_of(lines: Sequence[str], separator: str) -> tuple[list[list[Cell]], bool]:
    """What stands in each line, and whether there is more than plain text.

    Raises:
        ValueError: JSON in one does not end, or something stands behind it.
    """
    if _MARKS.search("\n".join(lines)) is None:
        return [list[Cell](line.split(separator)) for line in lines], False
    return [_cells(line, separator) for line in lines], True


def _cells(line: str, separator: str) -> list[Cell]:
    if _MARKS.search(line) is None:
        return list[Cell](line.split(separator))
    found: list[Cell] = []
    at, end = 0, len(line)
    while True:
        begins = line[at : at + 1]
        if begins and begins in '"[{':
            value, behind = raw(line, at)
            found.append((value,))
        elif begins == _ABSENT and line[at + 1 : at + 2] not in ("", separator):
            found.append(Odd(exact(line[at + 1 :])))
            return found
        else:
            behind = line.find(separator, at)
            behind = end if behind < 0 else behind
            found.append(line[at:behind])
        if behind == end:
            return found
        if line[behind] != separator:
            raise ValueError(f"{line[behind]!r} stands behind a cell")
        at = behind + 1


def objects(rows: Sequence[list[Cell]], columns: Sequence[Column], keys: Sequence[str]) -> list[Row]:
    """The objects that rows of cells say.

    Args:
        rows: Without keys and tags.
        columns: Of all of them.
        keys: What each row is called; empty where they have no names.

    Raises:
        ValueError: they have other cells than the columns say.
    """
    cells = width(columns)
    if set(map(len, rows)) != {cells}:
        for row in rows:
            if len(row) > cells or (cells and not row):
                raise ValueError(f"a row has {len(row)} cells where {cells} were announced")
            row.extend([_ABSENT] * (cells - len(row)))
    together: list[Sequence[Cell]] = list(zip(*rows, strict=True)) if rows else [()] * cells
    return _objects(together, columns, keys, len(rows))


def _objects(cells: Sequence[Sequence[Cell]], columns: Sequence[Column], keys: Sequence[str], count: int) -> list[Row]:
    values: list[Sequence[Any]] = []
    at = 0
    for column in columns:
        if column.kind in ("cell", "text") and not column.optional:
            values.append(_there(cells[at], column))
            at += 1
            continue
        wide = width((column,))
        values.append(_values(cells[at : at + wide], column, keys, count))
        at += wide
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise ValueError("two columns have one name")
    if True in [column.optional for column in columns]:
        return [
            {name: value for name, value in zip(names, row, strict=True) if value is not ABSENT}
            for row in zip(*values, strict=True)
        ]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _values(cells: Sequence[Sequence[Cell]], column: Column, keys: Sequence[str], count: int) -> Sequence[Any]:
    """One value for each row; ABSENT where it does not have the column."""
    match column.kind:
        case "constant":
            return [column.constant] * count
        case "key":
            return keys
        case "group" if column.optional:
            return _groups_or_none(cells, column, count)
        case "group":
            return _objects(cells, column.columns, (), count)
        case "groups" if not column.optional:
            return _there(cells[0], column)
        case _:
            there = [at for at, cell in enumerate(cells[0]) if cell != _ABSENT]
            values: list[Any] = [ABSENT] * count
            for at, value in zip(there, _there([cells[0][at] for at in there], column), strict=True):
                values[at] = value
            return values


def _groups_or_none(cells: Sequence[Sequence[Cell]], column: Column, count: int) -> list[Any]:
    """The objects of a group that some rows have; null where only the first cell is there, and empty."""
    values: list[Any] = [ABSENT] * count
    there: list[int] = []
    for at, row in enumerate(zip(*cells, strict=True)):
        if all(cell == _ABSENT for cell in row[1:]) and row[0] in (_ABSENT, ""):
            values[at] = None if row[0] == "" else ABSENT
        else:
            there.append(at)
    inner = [[one[at] for at in there] for one in cells]
    for at, value in zip(there, _objects(inner, column.columns, (), len(there)), strict=True):
        values[at] = value
    return values


def _there(cells: Sequence[Any], column: Column) -> Sequence[Any]:
    """The values of cells of which none may be absent."""
    if _ABSENT in cells:
        raise ValueError("a row does not have a column that all should have")
    if column.kind == "groups":
        return [_untuples(_value(cell), column.columns) for cell in cells]
    try:
        lines = "\n".join(cells) + "\n"
    except TypeError:  # Some of them are JSON.
        lines = ""
    if column.kind == "text":
        if lines and not column.before and not column.behind:
            return cells
        return [column.before + _string(cell) + column.behind for cell in cells]
    if lines:
        if are_strings(lines):
            return cells
        if are_whole(lines):
            return list(map(int, cells))
    return [_value(cell) for cell in cells]


def _value(cell: Cell) -> Any:
    """What a cell of anything says."""
    return cell[0] if type(cell) is tuple else _scalar(cell)


def _string(cell: Cell) -> str:
    if type(cell) is tuple:
        (cell,) = cell
    if type(cell) is not str:
        raise ValueError("a column of text has something else")
    return cell


def _scalar(cell: Any) -> Any:
    """What a plain cell says."""
    if type(cell) is not str:
        raise ValueError("a row ends in the middle")
    if cell in _SCALARS:
        return _SCALARS[cell]
    return exact(cell) if cell[0] in _NUMERIC and SCALAR.fullmatch(cell) else cell


def _untuples(values: Any, columns: Sequence[Column]) -> list[Row]:
    """The objects that lists of their values say."""
    found: list[Row] = []
    for one in _listed(values):
        rest = iter(_listed(one))
        found.append(_untuple(rest, columns))
        if next(rest, ABSENT) is not ABSENT:
            raise ValueError("an object has too many values")
    return found


def _listed(value: object) -> Sequence[Any]:
    found = list_of(value)
    if type(value) is not list:
        raise ValueError("a list of objects has something else in it")
    return found


def _untuple(values: Iterator[Any], columns: Sequence[Column]) -> Row:
    found: Row = {}
    for column in columns:
        if column.kind == "group":
            found[column.name] = _untuple(values, column.columns)
            continue
        value = next(values, ABSENT)
        if value is ABSENT:
            raise ValueError("an object has too few values")
        found[column.name] = _untuples(value, column.columns) if column.kind == "groups" else value
    return found
