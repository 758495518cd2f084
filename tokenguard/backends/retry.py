"""When to try again, with tenacity's wait and stop objects. The only module that imports tenacity.

Tenacity's own loop is not used: the flow repeats an attempt itself, because each one is reserved before it is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from tenacity import RetryCallState, stop_after_attempt, wait_random_exponential

from tokenguard.errors import SettingsError

if TYPE_CHECKING:
    from tokenguard.core.ports import Failure

__all__ = ["RETRY_AFTER_MAX_S", "TenacityRetry"]

RETRY_AFTER_MAX_S: Final = 60.0
"""A provider that asks for a longer pause is not waited for: the caller decides."""


class TenacityRetry:
    """Waits a random time that doubles with each attempt, or as long as the provider asks.

    Args:
        retries: How often a failed call is tried again, >= 0.
        first_s: Upper end of the first wait, > 0.
        most_s: Upper end of any wait, >= `first_s`.

    Raises:
        SettingsError: a number that cannot be meant.
    """

    def __init__(self, retries: int = 2, *, first_s: float = 0.5, most_s: float = 20.0) -> None:
        if retries < 0 or not 0 < first_s <= most_s:
            raise SettingsError(
                f"retries={retries}, first_s={first_s}, most_s={most_s} cannot be meant: "
                "give retries >= 0 and 0 < first_s <= most_s.",
                path=None,
            )
        self._stop = stop_after_attempt(retries + 1)
        self._wait = wait_random_exponential(multiplier=first_s, max=most_s)

    def next_wait(self, attempt: int, failure: Failure) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (1 is the first).

        None: give up, because it is hopeless, because all retries are used, or because the provider asks for a pause
        of more than a minute.
        """
        if not failure.retryable:
            return None
        state = _state(attempt)
        if self._stop(state):
            return None
        if failure.retry_after_s is None:
            return self._wait(state)
        return failure.retry_after_s if failure.retry_after_s <= RETRY_AFTER_MAX_S else None


def _state(attempt: int) -> RetryCallState:
    """As much of tenacity's state as waits and stops look at; there is no call that it could belong to."""
    state = RetryCallState(cast("Any", None), None, (), {})
    state.attempt_number = attempt
    return state
