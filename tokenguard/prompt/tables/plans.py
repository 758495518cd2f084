"""Ways to put values into one table: all under one header, some as they are, or each kind under a header of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from tokenguard.prompt.tables.shapes import CONSTANT_ROWS, Column, fused, keeps, shape, width

__all__ = ["TAGS", "Part", "Plan", "Rows", "plans", "rows_of"]

TAGS: Final = "abcdefghi"
"""What the rows of each part begin with, where there are several."""
_ROWS_MIN: Final = 2
_KINDS_MAX: Final = 64
"""Of objects with different keys; more are no table under one header."""
_PART_CONSTANT_ROWS: Final = 2
"""In a part of its own, what is the same in two rows is what makes it a part: a type, a status."""

_Kind: TypeAlias = "tuple[str, ...] | None"
"""The keys of an object in their order; None: no object, or an empty one."""


class Rows(NamedTuple):
    """What may go into one table."""

    values: list[Any]
    """Elements of a list, or of lists in a list; or the values of an object."""
    keys: list[str] | None = None
    """What the values of an object are called."""
    sizes: list[int] | None = None
    """Of the lists in a list."""

    @property
    def begin(self) -> str:
        """How a table of them begins."""
        if self.keys is not None:
            return f"{{{len(self.values)}}}"
        return f"[{len(self.values)}]" if self.sizes is None else f"[[{','.join(map(str, self.sizes))}]]"

    def at(self, places: Sequence[int]) -> tuple[list[Any], list[str] | None]:
        """Some of the values, and what they are called."""
        if len(places) == len(self.values):
            return self.values, self.keys
        return [self.values[at] for at in places], None if self.keys is None else [self.keys[at] for at in places]


class Part(NamedTuple):
    """Rows under one header."""

    at: Sequence[int]
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    mixed: bool = False
    """Some rows do not have all of the names."""


class Plan(NamedTuple):
    """One table."""

    parts: Sequence[Part]
    odd: Sequence[int] = ()
    """Rows that say their own value."""


def rows_of(value: dict[str, Any] | list[Any]) -> Rows:
    """The rows of the table that a list or an object may be."""
    if type(value) is dict:
        return Rows(list(value.values()), list(value))
    values = cast("list[Any]", value)
    if set(map(type, values)) == {list}:
        return Rows([one for inner in values for one in inner], sizes=list(map(len, values)))
    return Rows(values)


def plans(rows: Rows) -> Iterator[Plan]:
    """The tables that rows could be; none, if they are too different."""
    values = rows.values
    if len(values) < _ROWS_MIN or dict not in set(map(type, values)):
        return
    kinds = [_kind(value) for value in values]
    first = kinds[0]
    if first and kinds.count(first) == len(kinds):
        found = iter([Plan([Part(range(len(kinds)), first, shape(values, first, rows.keys))])])
    else:
        found = _mixed(rows, kinds)
    for plan in found:
        if rows.keys is not None or len(plan.parts) > 1 or width(plan.parts[0].columns):
            yield plan  # Otherwise its rows would be empty lines.


def _kind(value: Any) -> _Kind:
    return tuple(cast("dict[str, Any]", value)) if type(value) is dict and value else None


def _mixed(rows: Rows, kinds: Sequence[_Kind]) -> Iterator[Plan]:
    counts = Counter(kinds)
    none = counts.pop(None, 0)
    if none * 3 > len(kinds) or not counts:
        return
    places: dict[_Kind, list[int]] = {}
    for at, kind in enumerate(kinds):
        places.setdefault(kind, []).append(at)
    (most, number), *_ = counts.most_common(1)
    if number >= _ROWS_MIN and number * 2 >= len(kinds):
        yield _plan(rows, [_part(rows, places[most], most)])
    if not 1 < len(counts) <= _KINDS_MAX:
        return
    order = fused([kind for kind in kinds if kind])
    if order is not None:
        kept = {kind for kind in counts if kind and keeps(kind, order)}
        together = [at for at, kind in enumerate(kinds) if kind in kept]
        if len(kept) > 1 and len(together) * 3 >= len(kinds) * 2:
            yield _plan(rows, [_part(rows, together, order, mixed=True)])
    common = [kind for kind, number in counts.most_common(len(TAGS)) if number >= _ROWS_MIN]
    common.sort(key=lambda kind: places[kind][0])
    if len(common) > 1 and sum(counts[kind] for kind in common) * 3 >= len(kinds) * 2:
        yield _plan(rows, [_part(rows, places[kind], kind, constant_rows=_PART_CONSTANT_ROWS) for kind in common])


def _part(
    rows: Rows, places: Sequence[int], names: _Kind, *, mixed: bool = False, constant_rows: int = CONSTANT_ROWS
) -> Part:
    assert names, "only objects with keys are counted"
    values, keys = rows.at(places)
    return Part(places, names, shape(values, names, keys, mixed=mixed, constant_rows=constant_rows), mixed)


def _plan(rows: Rows, parts: Sequence[Part]) -> Plan:
    covered = {at for part in parts for at in part.at}
    return Plan(parts, [at for at in range(len(rows.values)) if at not in covered])
