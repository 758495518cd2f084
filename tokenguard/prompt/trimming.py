"""Very long results: head, what must not be missed, and tail, with the gaps said. And passing tests as a count."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tokenguard.prompt.lines import Kind, kind_of

__all__ = ["Trimmed", "trim"]

_MUST: Final = re.compile(
    r"error|fail|exception|fatal|panic|traceback|critical|warn|denied|refused|timed? ?out|abort|assert|invalid|<keep>",
    re.IGNORECASE,
)
_PASSED: Final = re.compile(
    r"\S{1,400}\s+PASSED(?:\s+\[\s*\d{1,3}\s*%\s*\])?\s*|PASSED \S{1,400}\s*|.{1,400} \.\.\. ok\s*|\S{1,200} ok\s*"
    r"|(?:\S{1,300}\.py )?[.sx]{2,300}(?:\s+\[\s*\d{1,3}\s*%\s*\])?\s*"
)
_PASSING_MIN: Final = 3
_LINE_MAX: Final = 2_000
"""A line that is longer is cut itself: it is no line that somebody wrote."""
_HEAD_PERCENT: Final = 40
_MUST_PERCENT: Final = 30


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A text of which lines were left out."""

    text: str
    lines_left_out: int


def trim(text: str, *, keep_chars: int, must_keep: Callable[[str], bool] | None = None) -> Trimmed | None:
    """The text without passing tests, and without the middle of what is still longer than it may be.

    Args:
        text: As a tool gave it.
        keep_chars: So many characters may stay; a test run that fits loses its passing tests only.
        must_keep: Lines of the middle that stay as long as a third of the room holds them; None: errors, failures,
            warnings and what says `<keep>`.

    Returns:
        None: nothing is left out.
    """
    lines = text.split("\n")
    left_out = 0
    if kind_of(text) is Kind.TESTS:
        lines, left_out = _without_passing(lines)
    if sum(map(len, lines)) + len(lines) - 1 > keep_chars:
        lines, more = _shortened(lines, keep_chars, must_keep or _must_keep)
        left_out += more
    return Trimmed("\n".join(lines), left_out) if left_out else None


def _must_keep(line: str) -> bool:
    return _MUST.search(line) is not None


def _without_passing(lines: list[str]) -> tuple[list[str], int]:
    """Runs of lines that say only that tests passed, as a count."""
    out: list[str] = []
    run: list[str] = []
    left_out = 0
    for line in [*lines, None]:
        if line is not None and len(line) < _LINE_MAX and _PASSED.fullmatch(line):
            run.append(line)
            continue
        if len(run) >= _PASSING_MIN:
            out.append(f"… {len(run):,} lines of passing tests left out …")
            left_out += len(run)
        else:
            out += run
        run = []
        if line is not None:
            out.append(line)
    return out, left_out


def _shortened(lines: list[str], keep_chars: int, must_keep: Callable[[str], bool]) -> tuple[list[str], int]:
    """Head and tail, and of the middle the lines that must be kept."""
    lines = [
        line if len(line) <= _LINE_MAX else f"{line[:_LINE_MAX]} … {len(line) - _LINE_MAX:,} characters left out …"
        for line in lines
    ]
    head = _fitting(lines, keep_chars * _HEAD_PERCENT // 100)
    tail = len(lines) - _fitting(lines[:head:-1], keep_chars * (100 - _HEAD_PERCENT - _MUST_PERCENT) // 100)
    room = keep_chars * _MUST_PERCENT // 100
    out, gap, left_out = lines[:head], 0, 0
    for line in lines[head:tail]:
        if room >= len(line) and must_keep(line):
            out += _gap(gap)
            out.append(line)
            room -= len(line) + 1
            gap = 0
        else:
            gap += 1
            left_out += 1
    return [*out, *_gap(gap), *lines[tail:]], left_out or 1


def _gap(lines: int) -> list[str]:
    return [f"… {lines:,} lines left out …"] if lines else []


def _fitting(lines: list[str], characters: int) -> int:
    """How many lines fit."""
    for at, line in enumerate(lines):
        characters -= len(line) + 1
        if characters < 0:
            return at
    return len(lines)
