"""What an endpoint did lately, held against what it should do.

A sliding window in six slices, each with two histograms of fixed size: memory does not grow with traffic, a quantile is
within 4 %, and a slice leaves as a whole. Not safe under several threads; its owner has a lock.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import log
from typing import Final

from tokenguard.errors import BadAmount

__all__ = ["Breach", "Slo", "SloReading", "SloWindow"]

_SLICES: Final = 6
_BUCKETS: Final = 192
_LEAST: Final = 0.001
_GROWTH: Final = 1.08
"""Each bucket is so many times wider than the one before: 1 ms to 40 minutes, or 0.001 to 2,400 tokens/s."""
_LOG_GROWTH: Final = log(_GROWTH)


@dataclass(frozen=True, slots=True)
class Slo:
    """Targets; None: no target.

    Attributes:
        ttft_s_p50: Median time to first token, at most.
        ttft_s_p95: The same for 95 of 100.
        output_tps: Median output tokens per second of a stream, at least.
        success_share: Share of calls that end well, at least, 0..1.
    """

    ttft_s_p50: float | None = None
    ttft_s_p95: float | None = None
    output_tps: float | None = None
    success_share: float | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """One target that is missed."""

    what: str
    measured: float
    target: float

    def __str__(self) -> str:
        return f"{self.what} is {self.measured:.3g}, the target is {self.target:.3g}"


@dataclass(frozen=True, slots=True)
class SloReading:
    """The window at one instant; None: nothing was measured."""

    calls: int
    ttft_s_p50: float | None
    ttft_s_p95: float | None
    output_tps: float | None
    success_share: float | None

    def breaches(self, slo: Slo) -> tuple[Breach, ...]:
        """The targets that are missed; what was not measured misses none."""
        pairs = (
            ("the median TTFT in seconds", self.ttft_s_p50, slo.ttft_s_p50, 1),
            ("the p95 TTFT in seconds", self.ttft_s_p95, slo.ttft_s_p95, 1),
            ("the median of output tokens/s", self.output_tps, slo.output_tps, -1),
            ("the share of successes", self.success_share, slo.success_share, -1),
        )
        return tuple(
            Breach(what, measured, target)
            for what, measured, target, side in pairs
            if measured is not None and target is not None and side * measured > side * target
        )


class _Slice:
    """What one slice counted."""

    __slots__ = ("good", "number", "speeds", "total", "ttfts")

    def __init__(self, number: int) -> None:
        self.number, self.good, self.total = number, 0, 0
        self.ttfts, self.speeds = array("L", [0]) * _BUCKETS, array("L", [0]) * _BUCKETS


class SloWindow:
    """The latest outcomes of one endpoint.

    Args:
        window_s: How long an outcome counts, > 0; it leaves up to a sixth earlier.
    """

    def __init__(self, window_s: float = 300.0) -> None:
        if window_s <= 0:
            raise BadAmount(f"Outcomes cannot be kept for {window_s} s; give a window above 0.")
        self._slice_s = window_s / _SLICES
        self._slices = [_Slice(-1) for _ in range(_SLICES)]

    def add(self, at_s: float, *, is_good: bool, ttft_s: float | None = None, output_tps: float | None = None) -> None:
        """One call ended at an instant (monotonic)."""
        number = int(at_s / self._slice_s)
        current = self._slices[number % _SLICES]
        if current.number != number:
            current = self._slices[number % _SLICES] = _Slice(number)
        current.total += 1
        current.good += is_good
        if ttft_s is not None:
            current.ttfts[_bucket(ttft_s)] += 1
        if output_tps is not None:
            current.speeds[_bucket(output_tps)] += 1

    def read(self, at_s: float) -> SloReading:
        """The window that ends now."""
        number = int(at_s / self._slice_s)
        live = [one for one in self._slices if number - _SLICES < one.number <= number]
        total = sum(one.total for one in live)
        ttfts = [sum(column) for column in zip(*(one.ttfts for one in live), strict=True)]
        speeds = [sum(column) for column in zip(*(one.speeds for one in live), strict=True)]
        return SloReading(
            calls=total,
            ttft_s_p50=_quantile(ttfts, 0.5),
            ttft_s_p95=_quantile(ttfts, 0.95),
            output_tps=_quantile(speeds, 0.5),
            success_share=sum(one.good for one in live) / total if total else None,
        )


def _bucket(value: float) -> int:
    """The bucket of a value; the ends take what is beyond."""
    return min(_BUCKETS - 1, int(log(value / _LEAST) / _LOG_GROWTH)) if value > _LEAST else 0


def _quantile(counts: list[int], share: float) -> float | None:
    """The middle of the bucket below which the share lies."""
    wanted, under = share * sum(counts), 0
    for number, count in enumerate(counts):
        under += count
        if count and under >= wanted:
            return float(_LEAST * _GROWTH ** (number + 0.5))
    return None
