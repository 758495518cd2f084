"""What a tool result becomes at the levels `compact` and `lossless`, by the package's own folders."""

from __future__ import annotations

from functools import cache

from tokenguard.prompt.lines import clean
from tokenguard.prompt.lines import fold as fold_lines
from tokenguard.prompt.tables import fold as fold_table
from tokenguard.prompt.tables import minify

FOLDERS = "the package's own"


@cache
def compact(text: str) -> str:
    """JSON without blanks; other text as a terminal would show it."""
    return (minify(text) or text) if text.lstrip()[:1] in ("{", "[") else clean(text)


@cache
def lossless(text: str) -> tuple[str, ...]:
    """Every form that decodes to the same; the caller counts and takes the shortest."""
    small = compact(text)
    return (small, *(form for form in (fold_table(text), fold_lines(small)) if form))
