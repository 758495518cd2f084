"""When a failed attempt is tried again, and how long that waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.backends.retry import RETRY_AFTER_MAX_S, TenacityRetry
from tokenguard.core.ports import Failure
from tokenguard.errors import SettingsError


def _failure(*, retryable: bool = True, retry_after_s: float | None = None) -> Failure:
    return Failure(billed=False, retryable=retryable, error_class="RateLimitError", retry_after_s=retry_after_s)


def test_two_retries_are_granted_and_the_third_is_not() -> None:
    policy = TenacityRetry(retries=2)

    waits = [policy.next_wait(attempt, _failure()) for attempt in (1, 2, 3)]

    assert [wait is not None for wait in waits] == [True, True, False]


@given(attempt=st.integers(1, 50), first_s=st.floats(0.01, 5), longer=st.floats(1, 10))
def test_waits_grow_at_random_and_stay_within_their_bounds(attempt: int, first_s: float, longer: float) -> None:
    policy = TenacityRetry(retries=100, first_s=first_s, most_s=first_s * longer)

    wait = policy.next_wait(attempt, _failure())

    assert wait is not None
    assert 0 <= wait <= min(first_s * 2 ** (attempt - 1), first_s * longer)


def test_what_cannot_get_better_is_not_tried_again() -> None:
    assert TenacityRetry(retries=5).next_wait(1, _failure(retryable=False, retry_after_s=1.0)) is None


def test_a_provider_is_given_the_pause_it_asks_for() -> None:
    assert TenacityRetry().next_wait(1, _failure(retry_after_s=7.5)) == 7.5


def test_a_pause_of_more_than_a_minute_is_left_to_the_caller() -> None:
    policy = TenacityRetry()

    assert policy.next_wait(1, _failure(retry_after_s=RETRY_AFTER_MAX_S)) == RETRY_AFTER_MAX_S
    assert policy.next_wait(1, _failure(retry_after_s=RETRY_AFTER_MAX_S + 1)) is None


def test_no_retries_means_none() -> None:
    assert TenacityRetry(retries=0).next_wait(1, _failure()) is None


@pytest.mark.parametrize("arguments", [{"retries": -1}, {"first_s": 0}, {"first_s": 5, "most_s": 1}])
def test_numbers_that_cannot_be_meant_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="cannot be meant"):
        TenacityRetry(**arguments)
