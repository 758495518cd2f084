"""The JSON document that a text with tables in it says.

A text is read line by line: JSON without blanks has no line's end in it, so each line of the document ends with the
header of a table, whose rows follow, and the next line goes on behind them. What stands between tables is the
document's own text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tokenguard.errors import SettingsError
from tokenguard.prompt.tables.cells import Cell, Odd, cells_of, objects
from tokenguard.prompt.tables.heads import Head, read_head
from tokenguard.prompt.tables.plans import TAGS
from tokenguard.prompt.tables.strict import CHARACTERS_MAX, Refused, compact, parsed, written
from tokenguard.prompt.tables.words import COMMA, TAB

__all__ = ["is_folded", "reads_back", "unfold"]

_TABLE: Final = re.compile(
    r"(?:\[\[(?P<sizes>[0-9]{1,7}(?:,[0-9]{1,7})*)\]\]|\[(?P<rows>[1-9][0-9]{0,6})\]|\{(?P<keys>[1-9][0-9]{0,6})\})"
    r"(?=a?\{)"
)
_OR_STRING: Final = re.compile(rf'"(?:[^"\\]|\\.)*"|{_TABLE.pattern}')
_AGAIN: Final = re.compile(r"\{\^([1-9][0-9]{0,6})\}")


def unfold(folded: str) -> str:
    """The JSON document without blanks that a folded text says; JSON without tables says itself.

    Raises:
        SettingsError: the text is neither JSON nor anything that `fold` wrote.
    """
    try:
        if not _has_table(folded):
            return compact(parsed(folded))
        text = _Reading(folded.split("\n")).whole()
        if compact(parsed(text)) == text:
            return text
    except (Refused, ValueError, RecursionError):
        pass
    begins = folded[:40]
    raise SettingsError(f"{begins!r} begins no folded JSON: it has no table that can be read.")


def is_folded(text: str) -> bool:
    """Whether a text has a table of ours in its first line, and can be read back."""
    try:
        return _has_table(text) and unfold(text) != ""
    except SettingsError:
        return False


def reads_back(folded: str, short: str) -> bool:
    """Whether a text with tables says a document, which is given without blanks."""
    try:
        return _Reading(folded.split("\n")).whole() == short
    except (ValueError, RecursionError):
        return False


def _has_table(text: str) -> bool:
    """Whether the first line ends with a header, which is how no other text begins."""
    if len(text) > CHARACTERS_MAX or text[:1] not in ("{", "["):
        return False
    end = text.find("\n")
    return end > 0 and text[end - 1] == "}" and _TABLE.search(text, 0, end) is not None


def _first_table(line: str) -> re.Match[str] | None:
    """Where the first table in a line begins, strings passed over."""
    found = _TABLE.search(line)
    if found is None:
        return None
    before = line[: found.start()]
    if "\\" not in before and before.count('"') % 2 == 0:
        return found
    return next((one for one in _OR_STRING.finditer(line) if not one[0].startswith('"')), None)


@dataclass(slots=True)
class _Reading:
    lines: Sequence[str]
    next: int = 0
    """Number of the line that is read next."""
    heads: list[Head] = field(default_factory=list[Head])
    known: set[str] = field(default_factory=set[str])
    """The texts of these headers."""

    def whole(self) -> str:
        parts: list[str] = []
        while self.next < len(self.lines):
            (line,) = self.rows(1)
            table = _first_table(line)
            if table is None:
                parts.append(line)
                break
            parts += line[: table.start()], written(self.table(line, table))
        if self.next < len(self.lines):
            raise ValueError("something stands behind the document")
        return "".join(parts)

    def table(self, line: str, start: re.Match[str]) -> Any:
        """The list or object that a table says."""
        heads = self.headers(line, start.end())
        separator = TAB if any(one.separator == TAB for one in heads) else COMMA
        if start["sizes"] is not None:
            return self.lists(list(map(int, start["sizes"].split(","))), heads, separator)
        keyed = start["keys"] is not None
        keys, values = _table(self.rows(int(start["keys"] or start["rows"])), heads, separator, keyed=keyed)
        if not keyed:
            return values
        found = dict(zip(keys, values, strict=True))
        if len(found) < len(keys):
            raise ValueError("a key comes twice")
        return found

    def lists(self, sizes: Sequence[int], heads: Sequence[Head], separator: str) -> list[list[Any]]:
        """Lists in a list, with an empty line between them."""
        lines: list[str] = []
        for number, size in enumerate(sizes):
            if number and self.rows(1) != [""]:
                raise ValueError("an empty line expected")
            lines.extend(self.rows(size))
        _, values = _table(lines, heads, separator, keyed=False)
        rest = iter(values)
        return [[next(rest) for _ in range(size)] for size in sizes]

    def rows(self, count: int) -> Sequence[str]:
        found = self.lines[self.next : self.next + count]
        if len(found) < count:
            raise ValueError("a table has too few rows")
        self.next += count
        return found

    def headers(self, line: str, at: int) -> list[Head]:
        """Those of a table, of which each begins with a tag if there are several; nothing stands behind them."""
        heads: list[Head] = []
        if line[at] == "{":
            found, at = self.header(line, at)
            heads.append(found)
        while at < len(line):
            if line[at] != TAGS[len(heads) : len(heads) + 1]:
                raise ValueError("something stands behind a header")
            found, at = self.header(line, at + 1)
            heads.append(found)
        return heads

    def header(self, line: str, at: int) -> tuple[Head, int]:
        again = _AGAIN.match(line, at)
        if again is not None:
            number = int(again[1])
            if number > len(self.heads):
                raise ValueError(f"no header has the number {number}")
            return self.heads[number - 1], again.end()
        found, behind = read_head(line, at)
        text = line[at:behind]
        if text not in self.known:
            self.known.add(text)
            self.heads.append(found)
        return found, behind


def _table(lines: Sequence[str], heads: Sequence[Head], separator: str, *, keyed: bool) -> tuple[list[str], list[Any]]:
    """What rows are called (nothing, where they have no keys), and their values."""
    rows, marked = cells_of(lines, separator)
    keys = [_key(row.pop(0)) for row in rows] if keyed else []
    if len(heads) == 1 and not (marked and Odd in {type(row[0]) for row in rows if row}):
        return keys, objects(rows, heads[0].columns, keys)
    values: list[Any] = [None] * len(rows)
    places: list[list[int]] = [[] for _ in heads]
    for at, row in enumerate(rows):
        if row and isinstance(row[0], Odd):
            values[at] = row[0].value
        else:
            places[0 if len(heads) == 1 else _part(row, len(heads))].append(at)
    for part, head in zip(places, heads, strict=True):
        own = [keys[at] for at in part] if keyed else []
        for at, value in zip(part, objects([rows[at] for at in part], head.columns, own), strict=True):
            values[at] = value
    return keys, values


def _part(row: list[Cell], parts: int) -> int:
    """Under which header a row stands, by the tag at its beginning, which is taken off."""
    tag = row.pop(0) if row else ""
    number = TAGS.find(tag) if type(tag) is str and len(tag) == 1 else -1
    if not 0 <= number < parts:
        raise ValueError(f"{tag!r} is no tag of a header")
    return number


def _key(cell: Cell) -> str:
    if type(cell) is tuple:
        (cell,) = cell
    if type(cell) is not str:
        raise ValueError("a key is no text")
    return cell
