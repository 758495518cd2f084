"""When the first token and the last will come, from what was measured.

    TTFT   = residual + (queued tokens + own uncached tokens) ÷ prefill rate
    finish = TTFT + output tokens × seconds per output token

- *residual* and *1 ÷ prefill rate* are intercept and slope of a line through the endpoint's own outcomes, TTFT over
  tokens ahead, with weights that halve about every seven outcomes and a prior that counts like a spread of 500 tokens.
- Until three outcomes are in, the engine's own mean TTFT stands for the residual, less its queue and a mean prefill.
- *queued tokens* = own prompts that are not read yet, one after the other since each began, + (requests waiting + own
  calls begun since the reading − own calls not read yet) × the mean prompt less its cached share. Prompts differ by a
  factor of a hundred, so only strangers' are reckoned as mean ones. Where the engine measured its queue and somebody
  still waits, it is at least as long as that: a queue for seats or for KV blocks drains slower than one for prefill.
- *KV head-room* = capacity × (1 − use) − 5 % − what those queued will take. Where nobody states the capacity, an engine
  above 90 % has none.
- *stale* (no signals, or older than five seconds): every own call in flight counts as queued, nothing is below the last
  average, all of it × 1.5, and there is head-room only below half of `max_concurrent` (16 where none is given).

A forecast is made when something changes; asking it about a call is two multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from tokenguard.routing.endpoints import Endpoint, Prior
from tokenguard.routing.signals import Signals

__all__ = ["UNBOUNDED", "Forecast", "Learned", "Unread", "fresh_forecast", "learn", "learned_of", "stale_forecast"]

UNBOUNDED: Final = 1 << 62
"""Head-room where nobody states a bound."""

_WEIGHT: Final = 0.1
"""Of the newest outcome, once there are ten."""
_RIDGE: Final = 500.0**2
_SLOPE_SPAN: Final = 20.0
"""A measured prefill rate is believed within so many times the prior's."""
_KNOWN_FROM: Final = 3
_TYPICAL_PROMPT: Final = 1_000.0
_TYPICAL_OUTPUT: Final = 200.0
_KV_KEPT: Final = 0.05
_KV_FULL: Final = 0.9
_CAUTION: Final = 1.5
_CONCURRENT: Final = 16
_TPS_MAX: Final = 10_000.0


@dataclass(frozen=True, slots=True)
class Learned:
    """What an endpoint's own outcomes taught: averages with exponentially falling weights.

    Attributes:
        outcomes: How many times to first token went in.
        base_s: Residual: the line's intercept.
        prompt_token_s: Seconds per token ahead: the line's slope.
        output_token_s: Seconds per output token of one stream.
        ttft_s: Mean time to first token.
        prompt_tokens: Mean prompt.
        output_tokens: Mean answer.
        ahead_tokens: Mean tokens ahead, the line's centre; spread and slant are its moments.
    """

    prior: Prior
    outcomes: int
    base_s: float
    prompt_token_s: float
    output_token_s: float
    ttft_s: float
    prompt_tokens: float = _TYPICAL_PROMPT
    output_tokens: float = _TYPICAL_OUTPUT
    ahead_tokens: float = 0.0
    spread: float = 0.0
    slant: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether enough was measured to refuse a call over it."""
        return self.outcomes >= _KNOWN_FROM


def learned_of(prior: Prior) -> Learned:
    """What is believed before anything was measured."""
    return Learned(prior, 0, prior.ttft_s, 1.0 / prior.prefill_tps, 1.0 / prior.output_tps, prior.ttft_s)


def learn(
    learned: Learned,
    *,
    ahead_tokens: float,
    prompt_tokens: int,
    output_tokens: int,
    ttft_s: float | None,
    total_s: float,
) -> Learned:
    """What one good answer adds.

    Args:
        learned: What was known.
        ahead_tokens: Queued and own uncached tokens when it was sent, as the forecast had them.
        prompt_tokens: Of the call.
        output_tokens: Of the answer.
        ttft_s: Time to first token; None: it was not streamed, so only its speed is learned, with the TTFT as known.
        total_s: Until the last token, >= `ttft_s`.
    """
    weight = max(_WEIGHT, 1.0 / (learned.outcomes + 1))
    prefill_s = learned.base_s + ahead_tokens * learned.prompt_token_s if ttft_s is None else ttft_s
    speed = learned.output_token_s
    if output_tokens > 1 and total_s > prefill_s:
        measured = max(1.0 / _TPS_MAX, (total_s - prefill_s) / (output_tokens - 1))
        speed += weight * (measured - speed)
    prompt = learned.prompt_tokens + weight * (prompt_tokens - learned.prompt_tokens)
    output = learned.output_tokens + weight * (output_tokens - learned.output_tokens)
    if ttft_s is None:
        return _with(learned, speed, prompt, output)
    off_x, off_y = ahead_tokens - learned.ahead_tokens, ttft_s - learned.ttft_s
    spread = (1.0 - weight) * (learned.spread + weight * off_x * off_x)
    slant = (1.0 - weight) * (learned.slant + weight * off_x * off_y)
    ahead, mean_s = learned.ahead_tokens + weight * off_x, learned.ttft_s + weight * off_y
    usual = 1.0 / learned.prior.prefill_tps
    slope = (slant + _RIDGE * usual) / (spread + _RIDGE)
    slope = min(usual * _SLOPE_SPAN, max(usual / _SLOPE_SPAN, slope))
    base_s = max(0.0, mean_s - slope * ahead)
    return Learned(
        learned.prior, learned.outcomes + 1, base_s, slope, speed, mean_s, prompt, output, ahead, spread, slant
    )


def _with(learned: Learned, speed: float, prompt: float, output: float) -> Learned:
    """The same line, with other means."""
    return Learned(
        learned.prior,
        learned.outcomes,
        learned.base_s,
        learned.prompt_token_s,
        speed,
        learned.ttft_s,
        prompt,
        output,
        learned.ahead_tokens,
        learned.spread,
        learned.slant,
    )


class Forecast(NamedTuple):
    """A prediction for any call, before the call is known."""

    wait_s: float
    """Until the endpoint begins with the prompt: residual and queue."""
    prompt_token_s: float
    output_token_s: float
    room_tokens: int
    """KV tokens that a new call may take."""
    queued_tokens: float
    """What is ahead of it."""
    streams: int
    """How many share a decoding step with it, itself included."""
    is_known: bool
    """Measured; else it is mostly the prior's."""

    def ttft_s(self, uncached_tokens: int) -> float:
        """Predicted time to first token of a prompt with so many tokens to read."""
        return self.wait_s + uncached_tokens * self.prompt_token_s

    def finish_s(self, uncached_tokens: int, output_tokens: int) -> float:
        """Predicted time to the last token."""
        return self.ttft_s(uncached_tokens) + output_tokens * self.output_token_s

    def busy_s(self, uncached_tokens: int, output_tokens: int) -> float:
        """Seconds of the hardware that a call takes: its prefill, and its share of the decoding steps."""
        return uncached_tokens * self.prompt_token_s + output_tokens * self.output_token_s / self.streams


class Unread(NamedTuple):
    """Prompts of own calls that an endpoint has not read yet, as far as its learned speed tells."""

    calls: int = 0
    tokens: float = 0.0


_NOTHING: Final = Unread()


def fresh_forecast(
    endpoint: Endpoint, learned: Learned, signals: Signals, begun: int, unread: Unread = _NOTHING
) -> Forecast:
    """By signals that are believed.

    Args:
        endpoint: Which.
        learned: By its outcomes.
        signals: Its latest.
        begun: Own calls that began since they were read.
        unread: Own calls that it still has to read, those included.
    """
    uncached = learned.prompt_tokens * (1.0 - (signals.hit_share or 0.0))
    strangers = max(0, signals.waiting + begun - unread.calls)
    queued = unread.tokens + strangers * uncached
    if signals.waiting > 0 and signals.queue_s is not None:
        queued = max(queued, signals.queue_s / learned.prompt_token_s)
    base_s, is_known = learned.base_s, learned.is_known
    if not is_known and signals.ttft_s is not None:
        base_s = max(0.0, signals.ttft_s - (signals.queue_s or 0.0) - uncached * learned.prompt_token_s)
        is_known = True
    each = learned.prompt_tokens + learned.output_tokens
    return Forecast(
        wait_s=base_s + queued * learned.prompt_token_s,
        prompt_token_s=learned.prompt_token_s,
        output_token_s=signals.token_s or learned.output_token_s,
        room_tokens=_room(endpoint, signals, (signals.waiting + begun) * each),
        queued_tokens=queued,
        streams=max(1, signals.running + begun),
        is_known=is_known,
    )


def stale_forecast(endpoint: Endpoint, learned: Learned, last: Signals | None, in_flight: int) -> Forecast:
    """By own counters and the last averages; a cloud, which shows no signals, is taken as it was measured."""
    if not endpoint.own:
        return Forecast(
            learned.base_s,
            learned.prompt_token_s,
            learned.output_token_s,
            UNBOUNDED,
            0.0,
            1,
            learned.is_known,
        )
    queued = in_flight * learned.prompt_tokens
    token_s = learned.prompt_token_s * _CAUTION
    wait_s = learned.base_s * _CAUTION + queued * token_s
    if last is not None and last.ttft_s is not None:
        wait_s = max(wait_s, last.ttft_s * _CAUTION - learned.prompt_tokens * token_s)
    has_room = 2 * in_flight < (endpoint.max_concurrent or _CONCURRENT)
    return Forecast(
        wait_s=wait_s,
        prompt_token_s=token_s,
        output_token_s=learned.output_token_s * _CAUTION,
        room_tokens=UNBOUNDED if has_room else 0,
        queued_tokens=queued,
        streams=max(1, in_flight),
        is_known=learned.is_known,
    )


def _room(endpoint: Endpoint, signals: Signals, coming_tokens: float) -> int:
    capacity, usage = signals.kv_tokens or endpoint.kv_tokens, signals.kv_usage
    if usage is None:
        return UNBOUNDED
    if capacity is None:
        return UNBOUNDED if usage <= _KV_FULL else 0
    return max(0, int(capacity * (1.0 - usage - _KV_KEPT) - coming_tokens))
