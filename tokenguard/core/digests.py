"""Digests that name a text without keeping it."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

__all__ = ["prefix_digest"]


@lru_cache(maxsize=256)
def prefix_digest(text: str) -> str:
    """Twelve hexadecimal digits for the fixed text that every call of a prompt starts with."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
