"""What a tool result becomes at the levels `compact` and `lossless`, by the package's own folders."""

from __future__ import annotations

import json
import re
from functools import cache

try:
    from tokenguard.prompt.lines import clean
    from tokenguard.prompt.lines import fold as fold_lines
    from tokenguard.prompt.tables import fold as fold_table

    FOLDERS = "the package's own"
except ImportError:
    FOLDERS = "stand-ins: JSON without blanks, text without control bytes"
    _CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[ \t\r]+(?=\n|$)")

    def clean(text: str) -> str | None:
        return _CONTROL.sub("", text)

    def fold_lines(text: str) -> str | None:
        return None

    def fold_table(text: str) -> str | None:
        return None


@cache
def compact(text: str) -> str:
    """JSON without blanks; other text without control bytes and trailing blanks."""
    try:
        value = json.loads(text)
    except ValueError:
        return clean(text) or text
    if not isinstance(value, dict | list):
        return text
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@cache
def lossless(text: str) -> tuple[str, ...]:
    """Every form that decodes to the same; the caller counts and takes the shortest."""
    small = compact(text)
    return (small, *(form for form in (fold_table(text), fold_lines(small)) if form))
