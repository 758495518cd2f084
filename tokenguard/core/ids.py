"""Ids are made by the client before anything is sent: UUIDv7, time-ordered, so that a retry names the same row.

RFC 9562 §5.7. Python 3.14 brings `uuid.uuid7`; the floor is 3.11. Nothing is kept between two ids, so a forked child
cannot repeat its parent's.
"""

from __future__ import annotations

import os
import time
from typing import Protocol

__all__ = ["Ids", "RandomIds"]


class Ids(Protocol):
    """Makes ids. Tests pass a counter."""

    def new(self) -> str:
        """A new id: 36 characters, lower case, unique, sorting by time."""
        ...


class RandomIds:
    """UUIDv7 from the wall clock and the kernel's randomness."""

    def new(self) -> str:
        """A new UUIDv7."""
        # time_ns is not a reading of the time that anybody acts on, only the id's sort key.
        milliseconds = time.time_ns() // 1_000_000
        head = f"{milliseconds & 0xFFFF_FFFF_FFFF:012x}"
        random = os.urandom(10).hex()
        variant = "89ab"[int(random[3], 16) & 3]
        return f"{head[:8]}-{head[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
