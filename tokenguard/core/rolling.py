"""Rolling windows: "the last 24 hours" at any instant, counted in sixty slices and the one that is running.

A slice leaves as a whole, when its end is a window old, so the oldest one is counted in full: what counts is never less
than what the window holds, and at most one slice, a sixtieth of the window, more (docs/adr/0015).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

__all__ = ["PREFIX", "SLICES", "counted_from", "is_rolling", "length_of", "read_rolling", "room_at", "slice_at"]

PREFIX: Final = "rolling "
SLICES: Final = 60
"""Whole slices in one window; with the running one, 61 are counted."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SPELLED: Final = re.compile(r"rolling ([1-9][0-9]{0,6})(m|h|d)")
_MINUTES: Final = {"m": 1, "h": 60, "d": 24 * 60}
_LONGEST_MINUTES: Final = 366 * 24 * 60


def read_rolling(text: str) -> str | None:
    """The one spelling of a rolling period, such as `rolling 24h`; None where the text names none of 1 m to 366 d."""
    found = _SPELLED.fullmatch(text)
    if found is None:
        return None
    minutes = int(found[1]) * _MINUTES[found[2]]
    if minutes > _LONGEST_MINUTES:
        return None
    # One account for one length, however it was written: 90m, 24h, 2d.
    hours, odd = divmod(minutes, 60)
    if odd:
        return f"{PREFIX}{minutes}m"
    return f"{PREFIX}{hours}h" if hours <= 24 or hours % 24 else f"{PREFIX}{hours // 24}d"  # noqa: PLR2004  # a day


def is_rolling(per: str) -> bool:
    """Whether a period is a rolling one."""
    return per.startswith(PREFIX)


@lru_cache(maxsize=256)
def length_of(per: str) -> timedelta:
    """How long the window is: whole minutes, 1 minute to 366 days. `per` is spelled as `read_rolling` does."""
    return timedelta(minutes=int(per[len(PREFIX) : -1]) * _MINUTES[per[-1]])


def slice_at(per: str, at: datetime) -> datetime:
    """The start, in UTC, of the slice that holds the instant `at` (aware); the same in every process."""
    width = length_of(per) // SLICES
    return _EPOCH + (at - _EPOCH) // width * width


def counted_from(per: str, at: datetime) -> datetime:
    """The start of the oldest slice that counts at `at`: part of it may be older than the window."""
    return slice_at(per, at) - length_of(per)


def room_at(per: str, slices: Iterable[tuple[datetime, int]], missing: int) -> datetime | None:
    """When so much will have left the window that `missing` more fits; None where it holds less than that.

    Args:
        per: The rolling period.
        slices: (start, amount) of those that count, oldest first.
        missing: What is lacking now, > 0, in the account's unit.
    """
    width = length_of(per) // SLICES
    for start, amount in slices:
        missing -= amount
        if missing <= 0:
            return start + length_of(per) + width
    return None
