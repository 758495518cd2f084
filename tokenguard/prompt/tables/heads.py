"""The header of a table: `{name,code$,price{low,high},items[]{sku,count},currency="USD",note?,id=*}`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from tokenguard.prompt.tables.shapes import Column
from tokenguard.prompt.tables.strict import written

__all__ = ["head", "read_head"]

_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-/]*")
_decode: Final = json.JSONDecoder().raw_decode


def head(columns: Sequence[Column]) -> str:
    """Columns as a header, braces included."""
    return "{" + ",".join(map(_said, columns)) + "}"


def read_head(text: str, at: int) -> tuple[tuple[Column, ...], int]:
    """The columns of the header that begins at a place, and the place behind it.

    Raises:
        ValueError: no header begins there.
    """
    _expect(text, at, "{")
    columns: list[Column] = []
    at += 1
    while True:
        column, at = _read(text, at)
        columns.append(column)
        if text[at : at + 1] == "}":
            return tuple(columns), at + 1
        _expect(text, at, ",")
        at += 1


def _said(column: Column) -> str:
    name = column.name if _BARE.fullmatch(column.name) else written(column.name)
    name += "?" if column.optional else ""
    match column.kind:
        case "text":
            return name + "$"
        case "key":
            return name + "=*"
        case "constant":
            return f"{name}={written(column.constant)}"
        case "group":
            return name + head(column.columns)
        case "groups":
            return f"{name}[]{head(column.columns)}"
        case "cell" | "words":
            return name


def _read(text: str, at: int) -> tuple[Column, int]:
    if text[at : at + 1] == '"':
        name, at = _decode(text, at)
    else:
        found = _BARE.match(text, at)
        if found is None:
            raise ValueError(f"no column at {at}")
        name, at = found[0], found.end()
    optional = text[at : at + 1] == "?"
    at += optional
    if text.startswith("=*", at):
        return Column(name, "key"), at + 2
    match text[at : at + 1]:
        case "$":
            return Column(name, "text", optional), at + 1
        case "=":
            constant, at = _decode(text, at + 1)
            return Column(name, "constant", constant=constant), at
        case "{":
            columns, at = read_head(text, at)
            return Column(name, "group", columns=columns), at
        case "[":
            _expect(text, at + 1, "]")
            columns, at = read_head(text, at + 2)
            return Column(name, "groups", optional, columns), at
        case _:
            return Column(name, "cell", optional), at


def _expect(text: str, at: int, character: str) -> None:
    if text[at : at + 1] != character:
        raise ValueError(f"{character!r} expected at {at}")
