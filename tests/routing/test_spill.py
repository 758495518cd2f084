"""Spilling: hysteresis that does not flap, a budget that is never exceeded, and the cheapest calls first."""

from __future__ import annotations

from bisect import bisect_right
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tokenguard.routing import SpillRule
from tokenguard.routing.spill import (
    cut_after,
    full_bucket,
    held,
    is_pressed,
    paid,
    room_pico,
    share_permille,
)

RULE = SpillRule(enter=0.8, leave=0.5)
CAPPED = SpillRule(cap_pico=1_000_001, window_s=100)


def test_pressed_begins_above_enter_and_ends_below_leave() -> None:
    assert [is_pressed(False, one, RULE) for one in (0.5, 0.8, 0.81)] == [False, False, True]
    assert [is_pressed(True, one, RULE) for one in (0.8, 0.5, 0.49)] == [True, True, False]


@given(pressures=st.lists(st.floats(0.5, 0.8), max_size=60), begins=st.booleans())
def test_within_the_band_it_never_changes(pressures: list[float], begins: bool) -> None:  # noqa: FBT001
    state = begins
    for one in pressures:
        state = is_pressed(state, one, RULE)

        assert state is begins


def test_the_share_that_goes_grows_to_all_of_them() -> None:
    assert [share_permille(one, RULE) for one in (0.3, 0.5, 0.75, 0.999, 1.0, 7.0)] == [0, 0, 500, 998, 1000, 1000]


def test_the_cut_follows_the_quantile_of_what_it_sees() -> None:
    draws, cut, below = Random(7), 0, 0
    scores = [int(draws.lognormvariate(20, 1)) for _ in range(6_000)]
    for number, score in enumerate(scores):
        cut = cut_after(cut, score, 300)
        below += score <= cut and number >= 1_000

    assert abs(below / 5_000 - 0.3) < 0.05


def test_a_cut_stays_above_zero_and_can_grow_again() -> None:
    cut = 1
    for _ in range(100):
        cut = cut_after(cut, 0, 0)
    assert cut == 1
    assert cut_after(1, 50, 1) == 2
    assert cut_after(0, 0, 500) == 1


def test_a_bucket_holds_half_of_the_cap_and_refills_half_in_a_window() -> None:
    bucket = full_bucket(CAPPED, 10.0)
    assert room_pico(bucket, CAPPED, 10.0) == 500_000
    assert held(bucket, CAPPED, 10.0, 500_001) is None

    empty = held(bucket, CAPPED, 10.0, 500_000)

    assert empty is not None
    spent = paid(empty, 500_000, 500_000)
    assert [room_pico(spent, CAPPED, one) for one in (10.0, 60.0, 110.0, 999.0)] == [0, 250_000, 500_000, 500_000]
    assert room_pico(spent, CAPPED, 5.0) == 0, "a clock that seems to go back refills nothing"


def test_what_is_held_keeps_its_place_however_long_it_takes() -> None:
    bucket = held(full_bucket(CAPPED, 0.0), CAPPED, 0.0, 400_000)

    assert bucket is not None
    assert room_pico(bucket, CAPPED, 10_000.0) == 100_000
    assert room_pico(paid(bucket, 400_000, 1), CAPPED, 0.0) == 499_999


def test_a_call_that_cost_more_than_its_bound_is_paid_off_first() -> None:
    bucket = held(full_bucket(CAPPED, 0.0), CAPPED, 0.0, 100_000)
    assert bucket is not None

    bucket = paid(bucket, 100_000, 900_000)

    assert room_pico(bucket, CAPPED, 0.0) == -400_000
    assert held(bucket, CAPPED, 0.0, 1) is None


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 40_000_000), st.integers(1, 400_000), st.floats(0, 1), st.integers(0, 6)), max_size=60
    )
)
def test_calls_that_begin_within_any_window_never_cost_more_than_the_cap(
    steps: list[tuple[int, int, float, int]],
) -> None:
    assert CAPPED.cap_pico is not None
    bucket, at_us, flying, began = full_bucket(CAPPED, 0.0), 0, list[tuple[int, int, int]](), list[tuple[int, int]]()
    for later_us, bound, share, ends in steps:
        at_us += later_us
        for _ in range(min(ends, len(flying))):
            place, bound_was, cost = flying.pop(0)
            bucket = paid(bucket, bound_was, cost)
            began[place] = (began[place][0], cost)
        taken = held(bucket, CAPPED, at_us / 1e6, bound)
        if taken is not None:
            bucket = taken
            flying.append((len(began), bound, int(bound * share)))
            began.append((at_us, bound))

        assert bucket.held_pico == sum(one[1] for one in flying)

    starts = [one[0] for one in began]
    for place, start in enumerate(starts):
        end = bisect_right(starts, start + CAPPED.window_s * 1_000_000)
        assert sum(cost for _, cost in began[place:end]) <= CAPPED.cap_pico
