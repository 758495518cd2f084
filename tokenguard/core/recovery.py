"""Originals of what was left out of a prompt, for as long as somebody may ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from tokenguard.errors import BadAmount

__all__ = ["CHARACTERS_MAX", "StoredText", "digest_of"]

CHARACTERS_MAX: Final = 16_000_000
"""Longer results are sent as they came."""


@dataclass(frozen=True, slots=True)
class StoredText:
    """One original. The same text of the same run is stored once, whoever stores it.

    Raises:
        BadAmount: the text is longer than 16 million characters.
    """

    marker: str
    """The first digits of its digest, by which the prompt names it."""
    root_id: str
    """The root of the run tree that may read it; empty: calls outside any run."""
    text: str
    at: datetime
    until: datetime
    """From then on it is forgotten."""

    def __post_init__(self) -> None:
        if len(self.text) > CHARACTERS_MAX:
            raise BadAmount(
                f"a result of {len(self.text):,} characters cannot be kept: at most {CHARACTERS_MAX:,} are.",
                amount=len(self.text),
            )


def digest_of(text: str) -> str:
    """SHA-256 of a text as UTF-8, surrogates as they are, in hex."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
