"""Which strings can stand in a cell without quotes. Whole columns are looked at, a line for each string."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["COMMA", "SCALAR", "TAB", "are_bare", "are_strings", "are_unlike_scalars", "are_whole"]

COMMA: Final = ","
TAB: Final = "\t"

SCALAR: Final = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""What is JSON without being a string or having parts."""
_NEVER: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""Control characters (a line's end is one), which are written as escapes."""
_NO_SCALAR: Final = rf"(?!(?:{SCALAR.pattern})\n)"


def _bare(separator: str, *, words: bool) -> re.Pattern[str]:
    """Lines that need no quotes.

    A separator ends a cell; a quote, a tilde or a brace begins another kind of one, and blanks at its ends would be cut
    by some.
    """
    inside = rf"{separator}{_NEVER}"
    return re.compile(rf'(?:{_NO_SCALAR if words else ""}[^"~ \[{{{inside}](?:[^{inside}]*[^ {inside}])?\n)*')


_TEXTS: Final = {one: _bare(one, words=False) for one in (COMMA, TAB)}
_WORDS: Final = {one: _bare(one, words=True) for one in (COMMA, TAB)}
_UNLIKE: Final = re.compile(rf"(?:{_NO_SCALAR}[^\n]*\n)*")
_STRINGS: Final = re.compile(rf"(?:(?!(?:{SCALAR.pattern})?\n)[^\n]*\n)*")
_WHOLE: Final = re.compile(r"(?:(?:0|[1-9][0-9]{0,17})\n)+")


def are_bare(values: Sequence[str], separator: str, *, words: bool) -> bool:
    """Whether no string needs quotes; words: not even to be told from a number, where that is possible."""
    lines = "\n".join(values) + "\n"
    bare = (_WORDS if words else _TEXTS)[separator]
    return bare.fullmatch(lines) is not None and lines.count("\n") == len(values)


def are_unlike_scalars(values: Sequence[str]) -> bool:
    """Whether no string looks like a number, true, false or null."""
    return _UNLIKE.fullmatch("\n".join(values) + "\n") is not None


def are_strings(lines: str) -> bool:
    """Whether cells, each with a line's end behind it, all say themselves."""
    return _STRINGS.fullmatch(lines) is not None


def are_whole(lines: str) -> bool:
    """Whether cells, each with a line's end behind it, are all whole numbers of usual size."""
    return _WHOLE.fullmatch(lines) is not None
