"""A clock that waits for you."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["FakeClock"]


class FakeClock:
    """Stands still until `advance` is called. Implements `core.clock.Clock`."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)) -> None:
        """Begin at an aware instant; a Monday noon unless given."""
        self._now = start.astimezone(UTC)
        self._monotonic_s = 1_000.0

    def now(self) -> datetime:
        """The instant it stands at."""
        return self._now

    def monotonic(self) -> float:
        """Seconds; moves only with `advance`."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP does; the monotonic one goes on."""
        self._now += timedelta(seconds=seconds)
