"""What like objects have in common: the columns of a table, found in its rows.

Columns are looked at one by one, each with all of its values, because Python does most of that in C.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from tokenguard.prompt.tables.strict import ABSENT, written
from tokenguard.prompt.tables.words import COMMA, are_bare, are_unlike_scalars

__all__ = [
    "CONSTANT_ROWS",
    "NESTED",
    "Column",
    "Kind",
    "Row",
    "fits",
    "fused",
    "keeps",
    "shape",
    "values_of",
    "wary",
]
__all__ += ["width"]

Kind: TypeAlias = Literal["cell", "text", "constant", "key", "group", "groups"]
Row: TypeAlias = dict[str, Any]

NESTED: Final = frozenset({dict, list})
"""What is no plain value."""
CONSTANT_ROWS: Final = 3
"""A constant is said in the header from so many rows on: two are as short with the value in both."""

_DEPTH_MAX: Final = 8
"""Of objects in the objects of rows; what lies deeper is said in one cell."""
_COLUMNS_MAX: Final = 256
"""Of rows with different keys: finding their order takes time with each pair."""
_FULL_OF: Final = 2
"""At least one of so many cells is there: objects with keys of their own are no table."""
_CONSTANT_CHARACTERS: Final = 400
_PLAIN: Final = (int, bool, type(None))
_AFFIX_SAVES: Final = 24
"""Characters that a common beginning or end must save, for a reader has to put the parts together again."""
_PREFIX_MIN: Final = 8
# Only what says nothing by itself is taken out of values: the seconds of times to the minute, the midnight of dates,
# and the host and folder of addresses. Ids stay whole, because a model must be able to copy them.
_IDLE: Final = re.compile(r"(?:T00:00)?:00(?:\.0+)?(?:Z|[+-]00:00)?\Z")


class Column(NamedTuple):
    """One column of a table."""

    name: str
    kind: Kind
    """A cell of anything, text (strings only), a constant, the key of the row, a group of columns (an object in each
    row), or groups (a list of objects, in one cell)."""
    optional: bool = False
    """Some rows do not have it. Of a group: or have null."""
    columns: tuple[Column, ...] = ()
    """Of a group, or of each object in a list."""
    constant: Any = None
    before: str = ""
    """How each value of a text column begins; not in its cells."""
    behind: str = ""
    """How each value of a text column ends; not in its cells."""
    bare: bool = False
    """All of its strings are words that need no quotes; not said in a header."""
    holds_more: bool = False
    """Some cells have lists or objects in them; not said in a header."""


def width(columns: Sequence[Column]) -> int:
    """Cells of a full row."""
    return sum(map(_width, columns))


def values_of(rows: Sequence[Row], names: Sequence[str], *, mixed: bool) -> Sequence[Sequence[Any]]:
    """The values of each key in all rows, which have these keys in this order; mixed: or only some of them."""
    if mixed:
        return [[row.get(name, ABSENT) for row in rows] for name in names]
    return list(zip(*map(dict[str, Any].values, rows), strict=True))


def shape(
    rows: Sequence[Row],
    names: Sequence[str],
    keys: Sequence[str] | None = None,
    *,
    mixed: bool = False,
    constant_rows: int = CONSTANT_ROWS,
    depth: int = 0,
) -> tuple[Column, ...]:
    """The columns of some objects.

    Args:
        rows: At least one.
        names: Their keys, in an order that every row keeps.
        keys: What each row is called, where they are the values of an object.
        mixed: Some rows do not have all keys.
        constant_rows: From how many rows on a constant is said in the header.
        depth: Of these objects in the rows of a table.
    """
    found: list[Column] = []
    called = None if keys is None else tuple(keys)
    for name, values in zip(names, values_of(rows, names, mixed=mixed), strict=True):
        present = [value for value in values if value is not ABSENT] if mixed else values
        if len(present) < len(rows):
            found.append(_optional(name, present, depth, absent=True))
        elif called is not None and called == tuple(values):
            found.append(Column(name, "key"))
        else:
            found.append(_full(name, values, constant_rows, depth))
    return tuple(found)


def fused(kinds: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """All keys of objects with different ones, in an order that most keep; None: too many, or too few in each.

    Args:
        kinds: The keys of each object.
    """
    order = list(kinds[0])
    known = set(order)
    for kind in dict.fromkeys(kinds):
        new: list[str] = []
        for name in kind:
            if name not in known:
                new.append(name)
            elif new:
                at = order.index(name)
                order[at:at] = new
                known.update(new)
                new = []
        order += new
        known.update(new)
        if len(order) > _COLUMNS_MAX:
            return None
    full = sum(map(len, kinds)) * _FULL_OF >= len(kinds) * len(order)
    return tuple(order) if full else None


def keeps(kind: Sequence[str], order: Sequence[str]) -> bool:
    """Whether keys come in an order."""
    rest = iter(order)
    return all(name in rest for name in kind)


def fits(rows: Sequence[Row], columns: Sequence[Column], keys: Sequence[str] | None) -> bool:
    """Whether rows that have all of these keys, in this order, can be said under these columns."""
    names = [one.name for one in columns]
    together = zip(values_of(rows, names, mixed=False), columns, strict=True)
    return all(_suits(values, one, keys) for values, one in together)


def wary(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Columns for other rows than those that they were found in, of which nothing is known."""
    return tuple(one._replace(bare=False, columns=wary(one.columns)) for one in columns)


def _suits(values: Sequence[Any], column: Column, keys: Sequence[str] | None) -> bool:
    match column.kind:
        case "cell":
            return True
        case "text":
            return set(map(type, values)) == {str} and all(
                len(value) >= len(column.before) + len(column.behind)
                and value.startswith(column.before)
                and value.endswith(column.behind)
                for value in values
            )
        case "key":
            return keys is not None and tuple(values) == tuple(keys)
        case "constant":
            return _is_constant([column.constant, *values])
        case "group":
            names = tuple(one.name for one in column.columns)
            alike = all(type(value) is dict and tuple(value) == names for value in values)
            return alike and fits(values, column.columns, keys=None)
        case _:
            return False  # The objects in lists would have to be looked at one by one; they get their own header.


def _width(column: Column) -> int:
    if column.kind == "group":
        return width(column.columns)
    return 0 if column.kind in ("constant", "key") else 1


def _full(name: str, values: Sequence[Any], constant_rows: int, depth: int) -> Column:
    """A column that every row has."""
    if len(values) >= constant_rows and _is_constant(values):
        return Column(name, "constant", constant=values[0])
    types: set[type[Any]] = set(map(type, values))
    if types == {str}:
        return _strings(name, values)
    if depth < _DEPTH_MAX:
        if types == {dict} and all(values):
            columns = _group(values, constant_rows, depth)
            if columns is not None:
                return Column(name, "group", columns=columns)
        elif types == {dict, type(None)}:
            return _optional(name, values, depth, absent=False)
        elif types == {list}:
            return _lists(name, values, optional=False, depth=depth)
    return Column(name, "cell", holds_more=not NESTED.isdisjoint(types))


def _optional(name: str, present: Sequence[Any], depth: int, *, absent: bool) -> Column:
    """A column that some rows do not have, or a group that is null in some."""
    types: set[type[Any]] = set(map(type, present))
    if types == {str}:
        return Column(name, _kind(present), optional=True)
    if depth < _DEPTH_MAX:
        if types == {list}:
            return _lists(name, present, optional=True, depth=depth)
        objects = [value for value in present if value is not None]
        if len(objects) > 1 and types <= {dict, type(None)} and all(objects):
            columns = _group(objects, len(objects) + 1, depth)
            if columns is not None and _tells_null(columns):
                return Column(name, "group", optional=True, columns=columns)
    return Column(name, "cell", optional=absent, holds_more=not NESTED.isdisjoint(types))


def _group(values: Sequence[Row], constant_rows: int, depth: int) -> tuple[Column, ...] | None:
    kinds = list(map(tuple, values))
    names = kinds[0]
    mixed = kinds.count(names) < len(kinds)
    if mixed:
        order = fused(kinds)
        if order is None or not all(keeps(kind, order) for kind in set(kinds)):
            return None
        names = order
    return shape(values, names, mixed=mixed, constant_rows=constant_rows, depth=depth + 1)


def _tells_null(columns: Sequence[Column]) -> bool:
    """Whether null can be said by an empty first cell and no others, which no object of this shape has."""
    return any(not one.optional for one in columns[1:])


def _lists(name: str, values: Sequence[list[Any]], *, optional: bool, depth: int) -> Column:
    inner = [one for value in values for one in value]
    columns = _tuple(inner, depth) if len(inner) > 1 else None
    if columns is not None:
        return Column(name, "groups", optional, columns)
    return Column(name, "cell", optional, holds_more=True)


def _tuple(values: Sequence[Any], depth: int) -> tuple[Column, ...] | None:
    """The columns of objects that are said inside of a cell, all with the same keys."""
    if set(map(type, values)) != {dict} or not values[0]:
        return None
    objects: Sequence[Row] = values
    names = tuple(objects[0])
    if any(tuple(one) != names for one in objects):
        return None
    found: list[Column] = []
    for name, inner in zip(names, values_of(values, names, mixed=False), strict=True):
        columns = _tuple(inner, depth + 1) if depth < _DEPTH_MAX else None
        if columns is not None:
            found.append(Column(name, "group", columns=columns))
        elif set(map(type, inner)) == {list} and depth < _DEPTH_MAX:
            found.append(_lists(name, inner, optional=False, depth=depth + 1))
        else:
            found.append(Column(name, "cell"))
    return tuple(found)


def _strings(name: str, values: Sequence[str]) -> Column:
    before, behind = _affixes(values) if len(values) > CONSTANT_ROWS else ("", "")
    if before or behind:
        return Column(name, "text", before=before, behind=behind)
    if are_bare(values, COMMA, words=True):
        return Column(name, "cell", bare=True)
    return Column(name, _kind(values))


def _kind(values: Sequence[str]) -> Literal["cell", "text"]:
    """Text, where plain cells would need quotes: they could be read as numbers."""
    return "cell" if are_unlike_scalars(values) else "text"


def _affixes(values: Sequence[str]) -> tuple[str, str]:
    """How all of some strings begin and end, as far as that is said once in the header."""
    low = min(values)
    before = behind = ""
    if "/" in low:
        alike = os.path.commonprefix([low, max(values)])  # noqa: RUF071  # of texts, which need not be paths
        before = alike[: alike.rfind("/") + 1]
    elif low.endswith(("0", "Z")):
        end = _IDLE.search(low)
        behind = "" if end is None else end[0]
    if len(before + behind) * (len(values) - 1) < _AFFIX_SAVES or (before and len(before) < _PREFIX_MIN):
        return "", ""
    return before, behind if behind and all(value.endswith(behind) for value in values) else ""


def _is_constant(values: Sequence[Any]) -> bool:
    first = values[0]
    if values.count(first) < len(values):
        return False
    if type(first) is str:
        return len(first) < _CONSTANT_CHARACTERS
    if type(first) in _PLAIN and len(set(map(type, values))) == 1:
        return True
    # 1, 1.0 and True are equal, as are 0.0 and -0.0, and are not the same JSON.
    text = written(first)
    return len(text) < _CONSTANT_CHARACTERS and all(written(value) == text for value in values)
