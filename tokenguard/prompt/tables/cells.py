"""The rows of a table: one line each, cells between commas, strings without quotes where they cannot be mistaken.

As in CSV an empty cell is null; an empty string is `""`, and `~` says that the object does not have the key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tokenguard.prompt.tables.shapes import ABSENT, Column, Row, is_ambiguous
from tokenguard.prompt.tables.strict import written

__all__ = ["key_cell", "read_row", "row"]

_ABSENT: Final = "~"
# A comma ends a cell, a quote or a tilde begins another kind of one, blanks at its ends would be cut by some, and
# control characters (a line's end is one) are written as escapes.
_QUOTED: Final = re.compile(r'\A["~ ]|[,\x00-\x1f\x7f-\x9f\u2028\u2029]| \Z')
_SCALARS: Final = {"true": True, "false": False, "": None}
_decode: Final = json.JSONDecoder().raw_decode


def key_cell(key: str) -> str:
    """What a row of an object is called."""
    return _text(key)


def row(value: Row, columns: Sequence[Column]) -> list[str]:
    """The cells of one object."""
    cells: list[str] = []
    _fill(cells, value, columns)
    return cells


def _fill(cells: list[str], value: Row, columns: Sequence[Column]) -> None:
    for column in columns:
        kind = column.kind
        if kind in ("constant", "key"):
            continue
        cell = value.get(column.name, ABSENT)
        if cell is ABSENT:
            cells.append(_ABSENT)
        elif kind == "group":
            _fill(cells, cell, column.columns)
        elif kind == "groups":
            cells.append(written([_tuple(one, column.columns) for one in cell]))
        elif cell is None:
            cells.append("")
        elif type(cell) is str:
            cells.append(written(cell) if kind == "cell" and is_ambiguous(cell) else _text(cell))
        else:
            cells.append(written(cell))


def _text(text: str) -> str:
    return written(text) if not text or _QUOTED.search(text) else text


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


def read_row(line: str, columns: Sequence[Column], *, keyed: bool) -> tuple[str, Row]:
    """The key (empty, where rows have none) and the object that a line says.

    Raises:
        ValueError: the line has other cells than the header says.
    """
    cells = _cells(line)
    key = ""
    if keyed:
        quoted, text, value = next(cells)
        key = value if quoted and text[0] == '"' else text
    try:
        found = _object(cells, columns, key)
    except StopIteration:
        raise ValueError("a row has too few cells") from None
    if next(cells, None) is not None:
        raise ValueError("a row has too many cells")
    return key, found


def _cells(line: str) -> Iterator[tuple[bool, str, Any]]:
    """(is JSON, text, value) of each cell."""
    at, end = 0, len(line)
    while True:
        if at < end and line[at] in '"[{':
            try:
                value, behind = _decode(line, at)
            except ValueError:
                behind = -1
                value = None
            if behind == end or (behind > 0 and line[behind] == ","):
                yield True, line[at:behind], value
                at = behind
            else:
                at, text = _plain(line, at, end)
                yield False, text, None
        else:
            at, text = _plain(line, at, end)
            yield False, text, None
        if at >= end:
            return
        at += 1
        if at == end:
            yield False, "", None
            return


def _plain(line: str, at: int, end: int) -> tuple[int, str]:
    behind = line.find(",", at)
    behind = end if behind < 0 else behind
    return behind, line[at:behind]


def _object(cells: Iterator[tuple[bool, str, Any]], columns: Sequence[Column], key: str) -> Row:
    found: Row = {}
    for column in columns:
        match column.kind:
            case "constant":
                found[column.name] = json.loads(written(column.constant))  # A copy: rows share nothing.
                continue
            case "key":
                found[column.name] = key
                continue
            case "group":
                found[column.name] = _object(cells, column.columns, key)
                continue
            case _:
                pass
        is_json, text, value = next(cells)
        if text == _ABSENT and column.optional:
            continue
        if column.kind == "groups":
            found[column.name] = [_untuple(iter(one), column.columns) for one in value]
        elif column.kind == "text":
            found[column.name] = value if is_json and text[0] == '"' else text
        else:
            found[column.name] = value if is_json else _scalar(text)
    return found


def _scalar(text: str) -> Any:
    """What a plain cell says."""
    if text in _SCALARS:
        return _SCALARS[text]
    return json.loads(text) if is_ambiguous(text) else text


def _untuple(values: Iterator[Any], columns: Sequence[Column]) -> Row:
    found: Row = {}
    for column in columns:
        match column.kind:
            case "group":
                found[column.name] = _untuple(values, column.columns)
            case "groups":
                found[column.name] = [_untuple(iter(one), column.columns) for one in next(values)]
            case _:
                found[column.name] = next(values)
    return found
