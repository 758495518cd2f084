"""The header of a table: `{name,code$,price{low,high},items[]{sku,count},currency="USD",note?,id=*}`.

What stands between its columns, a comma or a tab, stands between the cells of its rows too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from tokenguard.prompt.tables.shapes import Column
from tokenguard.prompt.tables.strict import quoted, raw, written
from tokenguard.prompt.tables.words import COMMA, TAB

__all__ = ["Head", "head", "read_head"]

_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-/]*")
_BARES: Final = re.compile(rf"(?:{_BARE.pattern}\n)*")
_COLUMN: Final = rf"{_BARE.pattern}\??\$?"
_FLAT: Final = re.compile(rf"\{{({_COLUMN}(?:([,\t])(?:{_COLUMN}\2)*{_COLUMN})?)\}}")
"""A header with nothing but cells and text in it, as most are."""
_SEPARATORS: Final = (COMMA, TAB)


class Head(NamedTuple):
    """What a header says."""

    columns: tuple[Column, ...]
    separator: str


def head(columns: Sequence[Column], separator: str) -> str:
    """Columns as a header, braces included."""
    names = [one.name for one in columns]
    together = "\n".join(names) + "\n"
    if together.count("\n") > len(names) or not _BARES.fullmatch(together):
        names = [name if _BARE.fullmatch(name) else quoted(name) for name in names]
    said = [name + _said(one, separator) for name, one in zip(names, columns, strict=True)]
    return "{" + separator.join(said) + "}"


def read_head(text: str, at: int) -> tuple[Head, int]:
    """The header that begins at a place, and the place behind it.

    Raises:
        ValueError: none begins there.
    """
    flat = _FLAT.match(text, at)
    if flat is not None:
        separator = flat[2] or COMMA
        return Head(tuple(map(_plain, flat[1].split(separator))), separator), flat.end()
    reading = _Reading(text)
    columns, at = reading.columns(at)
    return Head(columns, reading.separator or COMMA), at


def _said(column: Column, separator: str) -> str:
    """What stands behind the name of a column."""
    optional = "?" if column.optional else ""
    match column.kind:
        case "cell":
            return optional
        case "text":
            return optional + _text(column)
        case "key":
            return "=*"
        case "constant":
            return "=" + written(column.constant)
        case _:
            return optional + ("[]" if column.kind == "groups" else "") + head(column.columns, separator)


def _text(column: Column) -> str:
    """How a column of text is marked: with what all of its values begin or end with, if they do."""
    if not column.before and not column.behind:
        return "$"
    before = quoted(column.before) + "+" if column.before else ""
    behind = "+" + quoted(column.behind) if column.behind else ""
    return f"={before}${behind}"


def _plain(said: str) -> Column:
    if said[-1] not in "?$":
        return Column(said, "cell")
    bare = said.removesuffix("$")
    name = bare.removesuffix("?")
    return Column(name, "cell" if bare == said else "text", optional=name != bare)


class _Reading:
    """One header on its way; its first separator decides for all."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.separator = ""

    def columns(self, at: int) -> tuple[tuple[Column, ...], int]:
        at = self._behind("{", at)
        found: list[Column] = []
        while True:
            column, at = self._column(at)
            found.append(column)
            if self._is("}", at):
                return tuple(found), at + 1
            if not self.separator and self._text[at : at + 1] in _SEPARATORS:
                self.separator = self._text[at]
            at = self._behind(self.separator or COMMA, at)

    def _column(self, at: int) -> tuple[Column, int]:
        if self._is('"', at):
            name, at = raw(self._text, at)
        else:
            found = _BARE.match(self._text, at)
            if found is None:
                raise ValueError(f"no column at {at}")
            name, at = found[0], found.end()
        optional = self._is("?", at)
        at += optional
        match self._text[at : at + 1]:
            case "$":
                return Column(name, "text", optional), at + 1
            case "=":
                return self._equal(name, at + 1)
            case "{":
                columns, at = self.columns(at)
                return Column(name, "group", optional, columns), at
            case "[":
                columns, at = self.columns(self._behind("[]", at))
                return Column(name, "groups", optional, columns), at
            case _:
                return Column(name, "cell", optional), at

    def _equal(self, name: str, at: int) -> tuple[Column, int]:
        """A column of which something is said once: the key of the row, a constant, or a beginning or an end."""
        if self._is("*", at):
            return Column(name, "key"), at + 1
        before = behind = ""
        if not self._is("$", at):
            constant, at = raw(self._text, at)
            if not self._is("+$", at):
                return Column(name, "constant", constant=constant), at
            before, at = _string(constant), at + 1
        at += 1
        if self._is("+", at):
            said, at = raw(self._text, at + 1)
            behind = _string(said)
        return Column(name, "text", before=before, behind=behind), at

    def _is(self, mark: str, at: int) -> bool:
        return self._text.startswith(mark, at)

    def _behind(self, mark: str, at: int) -> int:
        if not self._text.startswith(mark, at):
            raise ValueError(f"{mark!r} expected at {at}")
        return at + len(mark)


def _string(value: object) -> str:
    if type(value) is not str:
        raise ValueError("only text has a beginning or an end")
    return value
