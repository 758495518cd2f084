"""What a tool result becomes at the levels `compact` and `lossless`, by the package's own folders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[ \t\r]+(?=\n|$)")
Fold = Callable[[str], str | None]


def _folder(module: str, name: str, stand_in: Fold) -> Fold:
    """A folder of the package, or what stands in for it where the package does not have it."""
    try:
        found: Fold = getattr(import_module(f"tokenguard.prompt.{module}"), name)
    except ImportError:
        return stand_in
    return found


clean = _folder("lines", "clean", lambda text: _CONTROL.sub("", text))
fold_lines = _folder("lines", "fold", lambda _: None)
fold_table = _folder("tables", "fold", lambda _: None)
FOLDERS = ", ".join(
    f"{name} {'of the package' if one.__module__ != __name__ else 'by a stand-in'}"
    for name, one in {"JSON": fold_table, "text": fold_lines}.items()
)


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
