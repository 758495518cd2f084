"""What messages and tools carry besides text that changes a price: cache marks, sounds and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenguard.core.untrusted import field_of, list_of, mapping_of

__all__ = ["cache_life", "dearest_life", "part_kinds"]


def part_kinds(message: Any) -> frozenset[str]:
    """Types of a message's content parts, such as `text`, `image_url` or `input_audio`; empty where it is one text."""
    content = mapping_of(message).get("content")
    if content is None or type(content) is str:
        return frozenset()
    return frozenset(str(mapping_of(part).get("type")) for part in list_of(content))


def cache_life(carrier: Any) -> str | None:
    """The dearest cache write that the `cache_control` marks of a message or a tool can cause: `1h`, `5m` or None."""
    fields = mapping_of(carrier)
    marks = [fields.get("cache_control")]
    content = fields.get("content")
    if type(content) is not str:
        marks += [mapping_of(part).get("cache_control") for part in list_of(content)]
    return dearest_life("1h" if field_of(mark, "ttl") == "1h" else "5m" for mark in marks if mark is not None)


def dearest_life(lives: Iterable[str | None]) -> str | None:
    """The longest of some cache lives."""
    found = set(lives)
    return "1h" if "1h" in found else "5m" if "5m" in found else None
