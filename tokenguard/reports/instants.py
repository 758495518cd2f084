"""What `--since` and `--until` mean: `7d` ago, or an ISO date or instant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from tokenguard.errors import SettingsError

__all__ = ["instant"]

_AGO: Final = re.compile(r"(\d{1,6})\s*(min|h|d|w)")
_UNITS: Final = {
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def instant(text: str, now: datetime) -> datetime:
    """The instant that a person means.

    Args:
        text: `30min`, `12h`, `7d`, `2w` (before now), or an ISO date or instant; without an offset it is UTC.
        now: Aware.

    Raises:
        SettingsError: it is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - int(ago[1]) * _UNITS[ago[2]]
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{text!r} is not a time. Write 7d, 12h, 30min or 2w for that long ago, or a date as in 2026-11-01 (UTC).",
            value=text,
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
