"""Logs as templates: what lines have in common once, and of each line only what differs.

    1 <> combo sshd[<>]: Accepted password for root from <>
    --
    1 15:16:01 19939 218.188.2.4

A line that fits no template stands behind a blank as it came, and `*3` says that the line before came three times more.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby
from typing import Final

__all__ = ["read_templates", "templates"]

_HOLE: Final = "<>"
_END: Final = "--"
_REPEATS: Final = 3
_TEMPLATES_MAX: Final = 500
_LINE_MAX: Final = 2_000
"""Longer lines stand as they came."""
_VALUES: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|0x[0-9a-fA-F]+"
    r"|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?::\d{1,5})?"
    r"|\b(?=[a-f]{0,39}\d)[0-9a-f]{8,40}\b"
    r"|(?<!\w)-\d+(?:\.\d+)?|\d+(?:\.\d+)?"
)


def templates(lines: list[str]) -> list[str] | None:
    """The templates of some lines, then the lines by them; None: too few lines are like others."""
    cut = [_cut(line) for line in lines]
    counts = Counter(template for template, _ in cut if template is not None)
    common = [template for template, count in counts.most_common(_TEMPLATES_MAX) if count >= _REPEATS]
    columns: dict[str, list[tuple[str, ...]]] = {template: [] for template in common}
    for template, values in cut:
        if template in columns:
            columns[template].append(values)
    known: dict[str, tuple[int, list[int]]] = {}
    heads: list[str] = []
    for template in common:
        varying = _varying(columns[template])
        head = _head(template, columns[template][0], varying)
        rows = sum(
            len(value) + 1 for values in columns[template] for at, value in enumerate(values) if at in set(varying)
        )
        # What the lines cost in full, against the head, a number each and what varies.
        full = sum(len(template) + sum(map(len, values)) for values in columns[template])
        if head is None or len(head) + 4 + 3 * len(columns[template]) + rows >= full:
            continue
        known[template] = len(heads) + 1, varying
        heads.append(f"{len(heads) + 1} {head}")
    if not heads:
        return None
    out: list[str] = []
    for (template, values), line in zip(cut, lines, strict=True):
        number, varying = known.get(template or "", (0, []))
        out.append(" ".join([str(number), *(values[at] for at in varying)]) if number else f" {line}")
    return [*heads, _END, *_runs(out)]


def read_templates(lines: list[str]) -> list[str]:
    """The lines that templates were made of.

    Raises:
        ValueError: they say nothing of this form.
    """
    end = lines.index(_END)
    heads = [line.partition(" ")[2].split(_HOLE) for line in lines[:end]]
    found: list[str] = []
    for line in lines[end + 1 :]:
        if line.startswith(" "):
            found.append(line[1:])
        elif line.startswith("*"):
            found += [found[-1]] * int(line[1:])
        else:
            number, *values = line.split(" ")
            parts = heads[int(number) - 1]
            if len(values) != len(parts) - 1:
                raise ValueError(f"template {number} has {len(parts) - 1} holes, not {len(values)}")
            found.append(parts[0] + "".join(value + part for value, part in zip(values, parts[1:], strict=True)))
    return found


def _cut(line: str) -> tuple[str | None, tuple[str, ...]]:
    """A line with holes where numbers stand, and the numbers; None: it is no line of a log."""
    if len(line) > _LINE_MAX or _HOLE in line or not line.strip():
        return None, ()
    return _VALUES.sub(_HOLE, line), tuple(_VALUES.findall(line))


def _varying(rows: list[tuple[str, ...]]) -> list[int]:
    """Which holes are filled in more than one way."""
    return [at for at, values in enumerate(zip(*rows, strict=True)) if len(set(values)) > 1]


def _head(template: str, values: tuple[str, ...], varying: list[int]) -> str | None:
    """A template with what does not vary filled in; None: nothing would be left of it."""
    parts = template.split(_HOLE)
    kept = set(varying)
    head = parts[0]
    for at, value in enumerate(values):
        head += (_HOLE if at in kept else value) + parts[at + 1]
    return head if len(head) > len(_HOLE) * (len(varying) + 1) else None


def _runs(rows: list[str]) -> list[str]:
    """Rows with equal ones in a row said once."""
    out: list[str] = []
    for row, group in groupby(rows):
        more = sum(1 for _ in group) - 1
        out.append(row)
        if more > 1 or (more and len(row) > len("*1")):
            out.append(f"*{more}")
        elif more:
            out.append(row)
    return out
