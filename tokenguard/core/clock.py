"""The only place that asks the time. Instants are aware UTC; durations use the monotonic clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "SystemClock", "since_boot"]


class Clock(Protocol):
    """What time it is. Tests pass one that waits for them (`tokenguard.testing.FakeClock`)."""

    def now(self) -> datetime:
        """The instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; only differences mean something."""
        ...


def since_boot() -> timedelta | None:
    """Time since the machine started, sleep included: the same for every process of a boot, and nobody can set it.

    None where the system does not say (macOS, Windows).
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return None if boottime is None else timedelta(microseconds=time.clock_gettime_ns(boottime) // 1000)


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """The instant, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251  # this is the one place

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()
