"""One endpoint as this process knows it, and how that changes: signals come, a call begins, a call ends.

Values and pure functions. Everything a decision reads is worked out here, when something changes, so that deciding
between many endpoints takes some comparisons each.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final, Literal, NamedTuple, TypeAlias

from tokenguard.core.ports import Failure
from tokenguard.routing.breaker import CLOSED, Breaker, begin, fail, forget, succeed
from tokenguard.routing.endpoints import Endpoint
from tokenguard.routing.fleet import Fleet
from tokenguard.routing.policies import Policy
from tokenguard.routing.predict import (
    UNBOUNDED,
    Forecast,
    Learned,
    Unread,
    fresh_forecast,
    learn,
    learned_of,
    stale_forecast,
)
from tokenguard.routing.signals import STALE_AFTER_S, Signals
from tokenguard.routing.spill import Bucket, is_pressed

__all__ = ["How", "Outcome", "Snapshot", "Standing", "Ticket", "after", "begun", "heard", "how_of", "standing_of"]

How: TypeAlias = Literal["ok", "fault", "busy", "caller", "cancelled"]
"""How a call ended: well; the endpoint failed; it turned the call away; the request was wrong; we ended it."""

_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_OVERLOADED: Final = 529
_CALLERS: Final = frozenset({400, 413, 422})
Reads: TypeAlias = tuple[tuple[float, int], ...]

_READS_MAX: Final = 256
_BUSY_S: Final = 1.0
_BUSY_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call.

    Attributes:
        how: How it ended.
        total_s: From sending it to its end.
        ttft_s: To its first token; None: it was not streamed, or there was none.
        output_tokens: Of the answer.
        cost_pico: What it cost, in whole pico-dollars; None: as much as was held for it.
        retry_after_s: When to come back, where a busy endpoint said so.
    """

    how: How
    total_s: float = 0.0
    ttft_s: float | None = None
    output_tokens: int = 0
    cost_pico: int | None = None
    retry_after_s: float | None = None


def how_of(failure: Failure) -> How:
    """How a call ended that a provider answered with an error.

    Turned away: 429 that may be tried again, 529, and 503 with a time to come back. The caller's: 400, 413 and 422. All
    else is the endpoint's fault, wrong keys and missing models too: nobody should be sent there.
    """
    status = failure.status
    if (status == _TOO_MANY and failure.retryable) or status == _OVERLOADED:
        return "busy"
    if status == _UNAVAILABLE and failure.retry_after_s is not None:
        return "busy"
    return "caller" if status in _CALLERS else "fault"


class Ticket(NamedTuple):
    """A call in flight. Hand it back with its outcome, once."""

    name: str
    trips: int
    """The breaker's, when it began."""
    prompt_tokens: int
    ahead_tokens: float
    hold_pico: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One endpoint now.

    Attributes:
        endpoint: Which.
        learned: By its outcomes.
        breaker: Its breaker.
        signals: The latest; None: there never were any.
        in_flight: Our calls there.
        in_flight_read: How many there were when the signals were read.
        busy_until_s: It turned a call away and is left alone until then.
        reads: Own prompts that are not read yet: when each will be, one after the other, and its tokens.
        pressed: It spills, if it is own.
        pressure: Predicted TTFT of its mean call over the target.
        fresh: Forecast while the signals are believed.
        stale: Forecast afterwards.
        fresh_until_s: When that is.
        shut_until_s: No call before this instant; infinite while it is full.
        context_tokens: As declared; without a bound where nobody says.
    """

    endpoint: Endpoint
    learned: Learned
    breaker: Breaker
    signals: Signals | None
    in_flight: int
    in_flight_read: int
    busy_until_s: float
    reads: Reads
    pressed: bool
    pressure: float
    fresh: Forecast
    stale: Forecast
    fresh_until_s: float
    shut_until_s: float
    context_tokens: int

    def forecast(self, at_s: float) -> Forecast:
        """The one that counts at an instant."""
        return self.fresh if at_s <= self.fresh_until_s else self.stale

    @property
    def is_full(self) -> bool:
        """No further call of ours fits."""
        most = self.endpoint.max_concurrent
        return most is not None and self.in_flight >= most


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision depends on, at one instant. Taking it is reading one reference."""

    fleet: Fleet
    standings: tuple[Standing, ...]
    """In the fleet's order."""
    bucket: Bucket
    cut: int


def standing_of(endpoint: Endpoint, policy: Policy, at_s: float) -> Standing:
    """An endpoint of which nothing is known yet."""
    return _worked_out(endpoint, learned_of(endpoint.speed), CLOSED, _NEW, policy, at_s)


def heard(standing: Standing, signals: Signals, policy: Policy) -> Standing:
    """New signals came."""
    reads = standing.reads
    if not signals.waiting:  # Nobody waits, so at most the latest is being read.
        token_s = standing.learned.prompt_token_s
        reads = tuple((min(until_s, signals.at_s + tokens * token_s), tokens) for until_s, tokens in reads[-1:])
    counts = _Counts(signals, standing.in_flight, standing.in_flight, standing.busy_until_s, reads, standing.pressed)
    return _worked_out(standing.endpoint, standing.learned, standing.breaker, counts, policy, signals.at_s)


def begun(standing: Standing, policy: Policy, at_s: float, *, tokens: int = 0) -> Standing | None:
    """One more call is in flight, with so many tokens to read; None where none may begin.

    That is: it is shut, full, or another call is its probe.
    """
    if at_s < standing.shut_until_s:
        return None
    breaker = begin(standing.breaker, at_s, policy.breaker)
    assert breaker is not None, "a standing is shut at least as long as its breaker"
    counts = _Counts(
        standing.signals,
        standing.in_flight + 1,
        standing.in_flight_read,
        standing.busy_until_s,
        _reading(standing.reads, tokens, standing.learned.prompt_token_s, at_s),
        standing.pressed,
    )
    return _worked_out(standing.endpoint, standing.learned, breaker, counts, policy, at_s)


def after(standing: Standing, ticket: Ticket, outcome: Outcome, policy: Policy, at_s: float) -> Standing:
    """One call less, and what its outcome taught."""
    breaker, learned, busy_until_s = standing.breaker, standing.learned, standing.busy_until_s
    if outcome.how == "ok":
        breaker = succeed(breaker, at_s, ticket.trips, policy.breaker)
        learned = learn(
            learned,
            ahead_tokens=ticket.ahead_tokens,
            prompt_tokens=ticket.prompt_tokens,
            output_tokens=outcome.output_tokens,
            ttft_s=outcome.ttft_s,
            total_s=outcome.total_s,
        )
    elif outcome.how == "fault":
        breaker = fail(breaker, at_s, ticket.trips, policy.breaker)
    else:
        breaker = forget(breaker, at_s, ticket.trips)
    if outcome.how == "busy":
        pause_s = _BUSY_S if outcome.retry_after_s is None else outcome.retry_after_s
        busy_until_s = max(busy_until_s, at_s + min(_BUSY_S_MAX, max(0.0, pause_s)))
    # An endpoint that left the fleet and came back counts anew, and may hear of calls from before.
    in_flight = max(0, standing.in_flight - 1)
    reads = standing.reads if in_flight else ()
    counts = _Counts(standing.signals, in_flight, standing.in_flight_read, busy_until_s, reads, standing.pressed)
    return _worked_out(standing.endpoint, learned, breaker, counts, policy, at_s)


def _reading(reads: Reads, tokens: int, token_s: float, at_s: float) -> Reads:
    """The line of own prompts with one more at its end."""
    left = tuple(one for one in reads if one[0] > at_s)
    begins_s = left[-1][0] if left else at_s
    return (*left[-_READS_MAX:], (begins_s + tokens * token_s, tokens))


class _Counts(NamedTuple):
    """What a standing does not work out itself, beside what was learned and the breaker."""

    signals: Signals | None
    in_flight: int
    in_flight_read: int
    busy_until_s: float
    reads: Reads
    pressed: bool


_NEW: Final = _Counts(None, 0, 0, -inf, (), pressed=False)


def _worked_out(  # noqa: PLR0917  # the fields of a standing
    endpoint: Endpoint, learned: Learned, breaker: Breaker, counts: _Counts, policy: Policy, at_s: float
) -> Standing:
    """A standing with everything that a decision reads."""
    signals, in_flight, in_flight_read, busy_until_s, reads, pressed = counts
    stale = stale_forecast(endpoint, learned, signals, in_flight)
    fresh, fresh_until_s, shut_until_s = stale, -inf, max(breaker.shut_until_s, busy_until_s)
    if signals is not None:
        left = [until_s for until_s, _ in reads if until_s > at_s]
        unread = Unread(len(left), (left[-1] - at_s) / learned.prompt_token_s) if left else Unread()
        fresh = fresh_forecast(endpoint, learned, signals, max(0, in_flight - in_flight_read), unread)
        fresh_until_s = signals.at_s + STALE_AFTER_S
        if signals.asleep:
            shut_until_s = max(shut_until_s, fresh_until_s)
    now = fresh if at_s <= fresh_until_s else stale
    pressure = now.ttft_s(round(learned.prompt_tokens)) / policy.ttft_s
    if now.room_tokens < learned.prompt_tokens + learned.output_tokens:
        pressure = max(1.0, pressure)
    most = endpoint.max_concurrent
    return Standing(
        endpoint,
        learned,
        breaker,
        signals,
        in_flight,
        in_flight_read,
        busy_until_s,
        reads,
        endpoint.own and is_pressed(pressed, pressure, policy.spill),
        pressure,
        fresh,
        stale,
        fresh_until_s,
        inf if most is not None and in_flight >= most else shut_until_s,
        endpoint.context_tokens or UNBOUNDED,
    )
