"""What is known of one endpoint's load at one instant. A value; where it comes from is a driver's affair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["STALE_AFTER_S", "Signals"]

STALE_AFTER_S: Final = 5.0
"""Older signals are not believed: then only own counters and the last averages count, with caution."""


@dataclass(frozen=True, slots=True)
class Signals:
    """One endpoint's load, summed over its engines.

    Attributes:
        at_s: When it was read, on the monotonic clock.
        running: Requests being answered.
        waiting: Requests that wait for room.
        kv_usage: Share of the KV cache in use, 0..1; None: unknown.
        kv_tokens: Tokens that the KV cache holds; None: unknown.
        ttft_s: Time to first token, averaged over the latest readings; None: nothing was answered yet.
        ttft_s_p50: Of the answers since the last reading.
        ttft_s_p95: The same.
        queue_s: Mean time in the queue of those answers; None: there were none.
        token_s: Seconds per output token of one stream, averaged over the latest readings.
        output_tps: Output tokens per second of all streams since the last reading.
        hit_share: Share of prompt tokens that the prefix cache had since the last reading, 0..1.
        rejections: Requests turned away since the last reading.
        asleep: Its engines sleep and answer nothing.
    """

    at_s: float
    running: int = 0
    waiting: int = 0
    kv_usage: float | None = None
    kv_tokens: int | None = None
    ttft_s: float | None = None
    ttft_s_p50: float | None = None
    ttft_s_p95: float | None = None
    queue_s: float | None = None
    token_s: float | None = None
    output_tps: float | None = None
    hit_share: float | None = None
    rejections: int = 0
    asleep: bool = False
