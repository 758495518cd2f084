"""Ids are made by the client before anything is sent: UUIDv7, time-ordered, so that a retry names the same row.

RFC 9562 §5.7. Python 3.14 brings `uuid.uuid7`; the floor is 3.11.
"""

from __future__ import annotations

import os
import time
from typing import Final, Protocol

from tokenguard.core.forks import in_children

__all__ = ["Ids", "RandomIds"]

_RANDOM_BYTES: Final = 10
_FETCHED_AT_ONCE: Final = 64
"""Ids per request to the kernel, which costs more than everything else about an id."""


class Ids(Protocol):
    """Makes ids. Tests pass a counter."""

    def new(self) -> str:
        """A new id: 36 characters, lower case, unique, sorting by time."""
        ...


class RandomIds:
    """UUIDv7 from the wall clock and the kernel's randomness. Safe to use from any thread."""

    def new(self) -> str:
        """A new UUIDv7."""
        # time_ns is not a reading of the time that anybody acts on, only the id's sort key.
        milliseconds = time.time_ns() // 1_000_000
        try:
            random = _fetched.pop()
        except IndexError:
            random = _fetch()
        head = f"{milliseconds & 0xFFFF_FFFF_FFFF:012x}"
        return f"{head[:8]}-{head[8:]}-7{random[:3]}-{random[3:7]}-{random[7:19]}"


_fetched: Final[list[str]] = []
"""Randomness of ids to come, as hexadecimal digits with RFC 9562's variant in the fourth."""


def _fetch() -> str:
    """Ask the kernel for the next ids' randomness; the first of it."""
    digits = os.urandom(_RANDOM_BYTES * _FETCHED_AT_ONCE).hex()
    size = 2 * _RANDOM_BYTES
    cut = [digits[start : start + size] for start in range(0, len(digits), size)]
    random, *rest = [f"{one[:3]}{'89ab'[int(one[3], 16) & 3]}{one[4:]}" for one in cut]
    _fetched.extend(rest)
    return random


# A child that kept what its parent fetched would make its parent's ids.
in_children(_fetched.clear)
