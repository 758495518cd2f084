"""Targets: what an endpoint did lately, in fixed memory."""

from __future__ import annotations

import sys
from random import Random

import pytest

from tokenguard.routing import Slo, SloWindow


def test_nothing_measured_is_unknown_and_misses_no_target() -> None:
    reading = SloWindow().read(1_000.0)

    assert (reading.calls, reading.ttft_s_p50, reading.output_tps, reading.success_share) == (0, None, None, None)
    assert reading.breaches(Slo(0.1, 0.1, 100.0, 1.0)) == ()


def test_quantiles_are_within_four_percent() -> None:
    draws, window = Random(3), SloWindow(600.0)
    times = [draws.lognormvariate(-1, 0.8) for _ in range(5_000)]
    for one in times:
        window.add(100.0, is_good=True, ttft_s=one, output_tps=one * 100)

    reading = window.read(100.0)

    assert reading.ttft_s_p50 == pytest.approx(sorted(times)[2_500], rel=0.05)
    assert reading.ttft_s_p95 == pytest.approx(sorted(times)[4_750], rel=0.05)
    assert reading.output_tps == pytest.approx(sorted(times)[2_500] * 100, rel=0.05)


def test_old_outcomes_leave_by_slices() -> None:
    window = SloWindow(60.0)
    window.add(5.0, is_good=False)
    window.add(55.0, is_good=True)

    assert (window.read(59.0).calls, window.read(59.0).success_share) == (2, 0.5)
    assert (window.read(65.0).calls, window.read(65.0).success_share) == (1, 1.0)
    assert window.read(500.0).calls == 0


def test_missed_targets_are_named_with_both_numbers() -> None:
    window = SloWindow()
    window.add(1.0, is_good=True, ttft_s=2.0, output_tps=20.0)
    window.add(1.0, is_good=False)

    reading = window.read(1.0)
    missed = reading.breaches(Slo(ttft_s_p50=1.0, ttft_s_p95=3.0, output_tps=30.0, success_share=0.99))

    assert [str(one) for one in missed] == [
        "the median TTFT in seconds is 1.96, the target is 1",
        "the median of output tokens/s is 19.7, the target is 30",
        "the share of successes is 0.5, the target is 0.99",
    ]
    assert reading.breaches(Slo()) == ()


def test_memory_does_not_grow_with_traffic() -> None:
    window = SloWindow(60.0)

    def size() -> int:
        return sum(sys.getsizeof(one.ttfts) + sys.getsizeof(one.speeds) for one in window._slices)

    before = size()
    for number in range(5_000):
        window.add(number * 0.1, is_good=True, ttft_s=10.0 ** (number % 9 - 4), output_tps=float(number))

    assert size() == before < 30_000
