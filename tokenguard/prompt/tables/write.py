"""A JSON document as text with tables in it.

A table stands where its list or object would: `[2]{number,price}` and a line for each element, `{2}{source,id=*}` and
a line for each key, or `[[2,1]]{number}` for lists in a list. JSON never has a brace behind a bracket, so what is a
table cannot be mistaken. Columns that were said before are named by their number: `{^1}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from tokenguard.prompt.tables.cells import Writing, odd
from tokenguard.prompt.tables.heads import head
from tokenguard.prompt.tables.plans import TAGS, Part, Plan, Rows, plans, rows_of
from tokenguard.prompt.tables.read import reads_back
from tokenguard.prompt.tables.shapes import NESTED, Column, fits, wary
from tokenguard.prompt.tables.strict import Refused, compact, parsed, with_texts, written
from tokenguard.prompt.tables.words import COMMA, TAB

__all__ = ["drafted", "fold"]

_DEPTH_MAX: Final = 8
"""Deeper values are said as they are: each level is looked at once for every one around it."""
_AGAIN_MAX: Final = 3
"""Earlier headers that are tried for other rows with the same keys."""

_Known: TypeAlias = "tuple[tuple[str, ...], tuple[Column, ...], str]"
"""Names, columns and text of a header."""


def fold(text: str) -> str | None:
    """A JSON document in fewer characters: its lists of like objects as tables, or only without blanks.

    Verified: what it gives reads back to the same document, order of keys and spelling of numbers included.

    Returns:
        None: the text is no JSON, cannot be said again exactly (`minify` says when), or would not be shorter.
    """
    try:
        value = parsed(text)
        short = compact(value)
    except Refused:
        return None
    try:
        folded = drafted(value)
        if folded is not None and len(folded) < min(len(short), len(text)) and reads_back(folded, short):
            return folded
    except RecursionError:
        pass  # Too many levels for tables, which take more of the stack than JSON does.
    return short if len(short) < len(text) else None


def drafted(value: Any) -> str | None:
    """A value with tables in it, not read back yet; None: it has none."""
    text = _Document().said(value, 0) if type(value) in NESTED else None
    return None if text is None else text.removesuffix("\n")


class _Table(NamedTuple):
    text: str
    heads: Sequence[_Known]
    """Those that it says for the first time."""
    holds_more: bool
    """There may be tables in its cells."""


@dataclass(slots=True)
class _Document:
    """The headers that were said up to some place."""

    heads: list[_Known] = field(default_factory=list[_Known])
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    alike: dict[tuple[str, ...], list[tuple[Column, ...]]] = field(
        default_factory=dict[tuple[str, ...], list[tuple[Column, ...]]]
    )

    def said(self, value: dict[str, Any] | list[Any], depth: int) -> str | None:
        """A list or object at its place, with tables in it; None: it has none, and is said as JSON."""
        inner = list(value.values()) if isinstance(value, dict) else value
        types: set[type[Any]] = set(map(type, inner))
        if types.isdisjoint(NESTED) or depth > _DEPTH_MAX:
            return None
        # Only objects go into a table, or lists of them.
        may_be = len(inner) > 1 and (dict in types or (type(value) is list and len(types) == 1))
        table = self.table(value) if may_be else None
        if table is not None and not table.holds_more:
            return self.taken(table)
        before = len(self.heads)
        texts = [self.said(one, depth + 1) if type(one) in NESTED else None for one in inner]
        inside = with_texts(value, texts) if any(texts) else None
        if table is None or (inside is not None and len(inside) <= len(table.text)):
            return inside
        self.forget(before)
        return self.taken(table)

    def taken(self, table: _Table) -> str:
        """The text of a table that stands in the document."""
        for known in table.heads:
            names, columns, text = known
            self.heads.append(known)
            self.numbers[text] = len(self.heads)
            self.alike.setdefault(names, []).append(columns)
        return table.text

    def forget(self, before: int) -> None:
        """Headers of a text that does not stand in the document."""
        for names, _, text in self.heads[before:]:
            del self.numbers[text]
            self.alike[names].pop()
        del self.heads[before:]

    def table(self, value: dict[str, Any] | list[Any]) -> _Table | None:
        """A list or object as the shortest table; None: it is none, or not shorter than JSON."""
        rows = rows_of(value)
        best: _Table | None = None
        least = 0
        for plan in plans(rows):
            best = _shorter(best, self.drawn(rows, plan))
            first, *more = plan.parts
            if first.mixed:
                continue
            if not more and first.names in self.alike:
                for part in self.earlier(rows, first):
                    best = _shorter(best, self.drawn(rows, plan._replace(parts=[part])))
            # What the names of its most common rows take in JSON, with quotes, colon, comma and one character.
            least = max(least, len(first.at) * (sum(map(len, first.names)) + 5 * len(first.names)))
        if best is None or len(best.text) < least:
            return best
        return best if len(best.text) < len(written(value)) else None

    def drawn(self, rows: Rows, plan: Plan) -> _Table:
        """A plan as text, with tabs where commas would need many quotes."""
        table, crowded = self.separated(COMMA, rows, plan)
        # Beside quotes and brackets a comma is seldom a token of its own, and a tab always is.
        if crowded and not table.holds_more:
            other, _ = self.separated(TAB, rows, plan)
            # Without a tab in a header, nobody would know that the rows have them.
            if any(TAB in text for _, _, text in other.heads):
                return _shorter(table, other)
        return table

    def separated(self, separator: str, rows: Rows, plan: Plan) -> tuple[_Table, bool]:
        """A plan as text, and whether cells needed quotes for a comma in them."""
        writing = Writing(separator)
        lines = _lines(writing, rows, plan)
        heads = [(part.names, part.columns, head(part.columns, separator)) for part in plan.parts]
        tags = TAGS if len(heads) > 1 else ("",)
        first = rows.begin + "".join([tag + self.short(text) for tag, (_, _, text) in zip(tags, heads, strict=False)])
        table = _Table(
            "\n".join([first, *_apart(lines, rows.sizes), ""]),
            [one for one in heads if one[2] not in self.numbers],
            bool(plan.odd) or any(_holds_more(part.columns) for part in plan.parts),
        )
        return table, writing.crowded

    def short(self, text: str) -> str:
        """A header, or the number of an earlier one that says the same."""
        number = self.numbers.get(text)
        return text if number is None else min(f"{{^{number}}}", text, key=len)

    def earlier(self, rows: Rows, part: Part) -> Iterator[Part]:
        """The same rows under earlier headers, with the same keys, that are not their own."""
        values, keys = rows.at(part.at)
        for columns in self.alike[part.names][-_AGAIN_MAX:]:
            if columns != part.columns and fits(values, columns, keys):
                yield part._replace(columns=wary(columns))


def _shorter(one: _Table | None, other: _Table) -> _Table:
    return other if one is None or len(other.text) < len(one.text) else one


def _lines(writing: Writing, rows: Rows, plan: Plan) -> list[str]:
    """The rows in their order."""
    names = None if rows.keys is None else writing.texts(rows.keys)
    lines = [""] * len(rows.values)
    for tag, part in zip(TAGS, plan.parts, strict=False):
        values, _ = rows.at(part.at)
        before: list[Sequence[str]] = [] if names is None else [[names[at] for at in part.at]]
        if len(plan.parts) > 1:
            before.append([tag] * len(values))
        said = writing.lines(values, part.columns, *before)
        if len(said) == len(lines):
            return said
        for at, line in zip(part.at, said, strict=True):
            lines[at] = line
    for at in plan.odd:
        own = odd(rows.values[at])
        lines[at] = own if names is None else names[at] + writing.separator + own
    return lines


def _apart(lines: Sequence[str], sizes: Sequence[int] | None) -> Iterator[str]:
    """Lines with an empty one between the lists that they are from."""
    if sizes is None:
        yield from lines
        return
    at = 0
    for number, size in enumerate(sizes):
        if number:
            yield ""
        yield from lines[at : at + size]
        at += size


def _holds_more(columns: Sequence[Column]) -> bool:
    """Whether a cell holds a list or an object, in which there may be tables."""
    return any(
        one.holds_more or one.kind == "groups" or (one.kind == "group" and _holds_more(one.columns)) for one in columns
    )
