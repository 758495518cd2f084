"""Ids that count: what began first has the smaller id, also where a clock stands still."""

from __future__ import annotations

import os
from itertools import count

__all__ = ["CountingIds"]


class CountingIds:
    """Ids in the order in which they were made, the same in every run of a test. Implements `core.ids.Ids`.

    Receipts list siblings by their start, then by id. Under a `FakeClock` all of them start at one instant, and random
    ids would put them into another order each time.
    """

    def __init__(self, *, shared: bool = False) -> None:
        """Count from 1.

        Args:
            shared: Others write into the same books, and count from 1 too: each id then ends in random digits, so that
                the order is still the same but the ids are not.
        """
        self._numbers = count(1)
        self._shared = shared

    def new(self) -> str:
        """The next id, in the form of a UUIDv7 whose time is the count: `00000000-0001-7000-8000-000000000000`."""
        number = f"{next(self._numbers):012x}"
        # Drawn for each id: a forked child goes on counting where its parent does.
        tail = os.urandom(6).hex() if self._shared else "0" * 12
        return f"{number[:8]}-{number[8:]}-7000-8000-{tail}"
