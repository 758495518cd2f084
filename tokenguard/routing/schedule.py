"""When an endpoint may be used: windows of the week, in minutes since Monday midnight UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tokenguard.errors import SettingsError

__all__ = ["WEEK_MINUTES", "Schedule", "minute_of_week", "read_schedule"]

WEEK_MINUTES: Final = 7 * 24 * 60
_DAY_MINUTES: Final = 24 * 60
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPELLED: Final = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))? )?(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Half-open windows (start, end) of minutes in the week, 0 <= start < end <= 10,080."""

    windows: tuple[tuple[int, int], ...]

    def holds(self, minute: int) -> bool:
        """Whether a minute of the week is inside a window."""
        return any(start <= minute < end for start, end in self.windows)


def minute_of_week(at: datetime) -> int:
    """Minutes since Monday midnight UTC of an aware instant."""
    utc = at.astimezone(UTC)
    return utc.weekday() * _DAY_MINUTES + utc.hour * 60 + utc.minute


def read_schedule(text: str) -> Schedule:
    """Windows as people write them, in UTC: `mon-fri 08:00-18:00; sat 22:00-06:00`. Without days: every day.

    A window that ends before it starts runs over midnight; from 00:00 to 00:00 is the whole day.

    Raises:
        SettingsError: a window that cannot be read.
    """
    windows: list[tuple[int, int]] = []
    for part in text.lower().split(";"):
        found = _SPELLED.fullmatch(part.strip())
        if found is None or not _is_time(found[3], found[4]) or not _is_time(found[5], found[6]):
            raise _unreadable(part, text)
        first, last = found[1] or "mon", found[2] or found[1] or "sun"
        if first not in _DAYS or last not in _DAYS:
            raise _unreadable(part, text)
        start, end = int(found[3]) * 60 + int(found[4]), int(found[5]) * 60 + int(found[6])
        length = (end - start) % _DAY_MINUTES or _DAY_MINUTES
        days = (_DAYS.index(last) - _DAYS.index(first)) % 7 + 1
        for day in range(days):
            windows += _split((_DAYS.index(first) + day) % 7 * _DAY_MINUTES + start, length)
    return Schedule(tuple(sorted(windows)))


def _split(start: int, length: int) -> list[tuple[int, int]]:
    """A window that runs over the end of the week goes on at its beginning."""
    end = start + length
    return [(start, end)] if end <= WEEK_MINUTES else [(start, WEEK_MINUTES), (0, end - WEEK_MINUTES)]


def _is_time(hours: str, minutes: str) -> bool:
    return int(hours) <= 24 and int(minutes) < 60 and int(hours) * 60 + int(minutes) <= _DAY_MINUTES  # noqa: PLR2004  # a clock


def _unreadable(part: str, text: str) -> SettingsError:
    return SettingsError(
        f"{part.strip()!r} in the schedule {text!r} is no window of the week; write days and times in UTC, as in "
        "'mon-fri 08:00-18:00; sat 22:00-06:00'.",
        schedule=text,
    )
