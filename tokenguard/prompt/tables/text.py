"""A JSON document as text with tables in it, and back.

A table stands where its list or object would: `[2]{number,price}` and a line for each element, or `{2}{source,id=*}`
and a line for each key. JSON never has a brace behind a bracket, so what is a table cannot be mistaken. Columns that
were said before are named by their number: `{^1}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tokenguard.errors import SettingsError
from tokenguard.prompt.tables.cells import key_cell, read_row, row
from tokenguard.prompt.tables.heads import head, read_head
from tokenguard.prompt.tables.shapes import Column, Row, shape
from tokenguard.prompt.tables.strict import Refused, compact, minify, parsed, written

__all__ = ["fold", "is_folded", "unfold"]

_ROWS_MIN: Final = 2
_DEPTH_MAX: Final = 8
"""Deeper values are said as they are: each level is looked at once for every one around it."""
_NESTED: Final = (dict, list)
_TABLE: Final = re.compile(r"\[([1-9]\d{0,6})\](?=\{)|\{([1-9]\d{0,6})\}(?=\{)")
_AGAIN: Final = re.compile(r"\{\^([1-9]\d{0,6})\}")
_decode: Final = json.JSONDecoder().raw_decode


def fold(text: str) -> str | None:
    """A JSON document in fewer characters: its lists of like objects as tables, or only without blanks.

    Verified: what it gives reads back to the same value, key order and types included.

    Returns:
        None: the text is no JSON, cannot be said again exactly, or would not be shorter.
    """
    try:
        value = parsed(text)
        short = compact(value)
        folded = _Writing().document(value)
        if len(folded) < min(len(short), len(text)) and compact(_read(folded)) == short:
            return folded
    except (Refused, ValueError, RecursionError, StopIteration):
        return minify(text)
    return short if len(short) < len(text) else None


def unfold(folded: str) -> str:
    """The JSON document without blanks that a folded text says.

    Raises:
        SettingsError: the text is neither JSON nor anything that `fold` wrote.
    """
    try:
        return compact(_read(folded))
    except (Refused, ValueError, RecursionError, StopIteration, LookupError, TypeError):
        begins = folded[:40]
        raise SettingsError(f"{begins!r} begins no folded JSON: it has no table that can be read.") from None


def is_folded(text: str) -> bool:
    """Whether a text has a table of ours in it and is no plain JSON."""
    if text[:1] not in ("{", "[") or _TABLE.search(text) is None:
        return False
    try:
        unfold(text)
    except SettingsError:
        return False
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


class _Table(NamedTuple):
    head: str
    text: str
    holds_more: bool


@dataclass(slots=True)
class _Writing:
    """The columns that were said up to some place of a document."""

    heads: dict[str, int] = field(default_factory=dict[str, int])

    def document(self, value: Any) -> str:
        return self.said(value, 0).removesuffix("\n")

    def said(self, value: Any, depth: int) -> str:
        """A value at its place."""
        if type(value) not in _NESTED or not value or depth > _DEPTH_MAX:
            return written(value)
        if not any(type(one) in _NESTED for one in _inner(value)):
            return written(value)
        table = self.table(value, written(value))
        if table is not None and not table.holds_more:
            return self.taken(table)
        plain = _Writing(dict(self.heads))
        inside = plain.opened(value, depth)
        if table is not None and len(table.text) < len(inside):
            return self.taken(table)
        self.heads = plain.heads
        return inside

    def taken(self, table: _Table) -> str:
        """The text of a table that stands in the document."""
        self.heads.setdefault(table.head, len(self.heads) + 1)
        return table.text

    def opened(self, value: Any, depth: int) -> str:
        """A list or object as JSON, with tables inside."""
        if _is_list(value):
            return f"[{','.join([self.said(one, depth + 1) for one in _inner(value)])}]"
        return "{" + ",".join([f"{written(name)}:{self.said(one, depth + 1)}" for name, one in value.items()]) + "}"

    def table(self, value: Any, plain: str) -> _Table | None:
        """A list of objects, or an object of objects, as a table; None: it is none, or not shorter."""
        rows = _inner(value)
        keys: list[str] | None = None if type(value) is list else list(value)
        if len(rows) < _ROWS_MIN or not all(type(one) is dict and one for one in rows):
            return None
        columns = shape(rows, keys)
        if columns is None:
            return None
        count = f"[{len(rows)}]" if keys is None else f"{{{len(rows)}}}"
        own = head(columns)
        known = self.heads.get(own)
        again = own if known is None else f"{{^{known}}}"
        text = "\n".join([count + again, *_lines(rows, keys, columns), ""])
        return _Table(own, text, _holds_more(rows, columns)) if len(text) < len(plain) else None


def _is_list(value: Any) -> bool:
    return type(value) is list


def _inner(value: list[Any] | dict[str, Any]) -> list[Any]:
    """The elements of a list, or the values of an object."""
    return list(value.values()) if isinstance(value, dict) else value


def _holds_more(rows: Sequence[Row], columns: Sequence[Column]) -> bool:
    """Whether a cell holds a list or an object, in which there may be tables."""
    for column in columns:
        if column.kind == "cell" and any(type(row.get(column.name)) in _NESTED for row in rows):
            return True
        if column.kind == "group" and _holds_more([row[column.name] for row in rows], column.columns):
            return True
    return False


def _lines(rows: Sequence[Row], keys: list[str] | None, columns: Sequence[Column]) -> list[str]:
    if keys is None:
        return [",".join(row(one, columns)) for one in rows]
    return [",".join([key_cell(key), *row(one, columns)]) for key, one in zip(keys, rows, strict=True)]


def _read(text: str) -> Any:
    """The value of a document.

    Raises:
        ValueError: it is none.
    """
    reading = _Reading(text + "\n")
    value, at = reading.value(0)
    if text[at:].strip():
        raise ValueError(f"something stands behind the document at {at}")
    return value


@dataclass(slots=True)
class _Reading:
    text: str
    heads: list[tuple[Column, ...]] = field(default_factory=list[tuple[Column, ...]])

    def value(self, at: int) -> tuple[Any, int]:
        """The value that begins at a place, and the place behind it."""
        table = _TABLE.match(self.text, at)
        if table is not None:
            return self.table(table)
        try:
            return _decode(self.text, at)  # Without a table inside, as nearly everything is.
        except ValueError:
            if self.text[at] not in "{[":
                raise
        return self.list(at) if self.text[at] == "[" else self.object(at)

    def list(self, at: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        while True:
            value, at = self.value(at + 1)
            found.append(value)
            if self.text[at] == "]":
                return found, at + 1
            self.expect(",", at)

    def object(self, at: int) -> tuple[Row, int]:
        found: Row = {}
        while True:
            name, at = _decode(self.text, at + 1)
            self.expect(":", at)
            found[name], at = self.value(at + 1)
            if self.text[at] == "}":
                return found, at + 1
            self.expect(",", at)

    def table(self, start: re.Match[str]) -> tuple[Any, int]:
        """The list or object that a table says."""
        keyed, count = start[1] is None, int(start[1] or start[2])
        columns, at = self.columns(start.end())
        self.expect("\n", at)
        rows: list[tuple[str, Row]] = []
        for _ in range(count):
            end = self.text.index("\n", at + 1)
            rows.append(read_row(self.text[at + 1 : end], columns, keyed=keyed))
            at = end
        # The line's end belongs to the table; the last one of a document may be missing.
        return (dict(rows) if keyed else [one for _, one in rows]), at + 1

    def columns(self, at: int) -> tuple[tuple[Column, ...], int]:
        again = _AGAIN.match(self.text, at)
        if again is not None:
            return self.heads[int(again[1]) - 1], again.end()
        columns, at = read_head(self.text, at)
        if columns not in self.heads:
            self.heads.append(columns)
        return columns, at

    def expect(self, character: str, at: int) -> None:
        if self.text[at] != character:
            raise ValueError(f"{character!r} expected at {at}")
