"""Spilling over to the cloud: when an endpoint counts as pressed, what may be spent on it, and which calls go.

*Pressure* is the predicted TTFT of the endpoint's mean call over the target, at least 1 where its KV cache has no room
for one. Pressed begins above `enter` and ends below `leave`; between the two nothing changes.

*The budget* is a bucket of whole pico-dollars. It holds half of the cap and refills the other half evenly over a
window, so that what begins within any window never costs more than the cap. What is held for calls in flight keeps its
place in the bucket until they end; else a long stream would be paid for twice by the refill.

*Which calls*: each saves so many seconds of our hardware for so many pico-dollars. The share of calls that should go
grows from 0 at `leave` to all of them at a pressure of 1, and that share of the cheapest per second goes: `cut` follows
that quantile, a sixteenth of itself at most with each call (Robbins and Monro, 1951), so nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tokenguard.core.money import dollars
from tokenguard.errors import BadAmount

__all__ = [
    "Bucket",
    "SpillRule",
    "cut_after",
    "full_bucket",
    "held",
    "is_pressed",
    "paid",
    "room_pico",
    "share_permille",
]

_ALL: Final = 1_000
_STEP: Final = 16
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SpillRule:
    """When to spill and what it may cost.

    Attributes:
        enter: An endpoint above this pressure is pressed; 0 < `leave` < `enter`.
        leave: Below this one it no longer is.
        cap_pico: The most that calls cost in the cloud which an own endpoint could have served, in any window; whole
            pico-dollars > 0. None: no bound but the budgets.
        window_s: The window, whole seconds > 0.
    """

    enter: float = 0.8
    leave: float = 0.5
    cap_pico: int | None = None
    window_s: int = 3_600

    def __post_init__(self) -> None:
        if not 0 < self.leave < self.enter:
            raise BadAmount(
                f"Spilling cannot begin at {self.enter} and end at {self.leave} of the target; leave must be above 0 "
                "and below enter, as in SpillRule(enter=0.8, leave=0.5)."
            )
        if self.cap_pico is not None and self.cap_pico < 1:
            raise BadAmount(
                f"A spill budget of {dollars(self.cap_pico)} spends nothing; give more than 0, or leave the cloud "
                "endpoints out."
            )
        if self.window_s < 1:
            raise BadAmount(f"A spill budget cannot have a window of {self.window_s} s; give whole seconds, 1 or more.")

    @property
    def size_pico(self) -> int:
        """What the bucket holds, and what refills it over a window."""
        return (self.cap_pico or 0) // 2


def is_pressed(pressed: bool, pressure: float, rule: SpillRule) -> bool:  # noqa: FBT001  # a state and its successor
    """Whether an endpoint is pressed now, when it was `pressed` before."""
    return pressure >= rule.leave if pressed else pressure > rule.enter


def share_permille(pressure: float, rule: SpillRule) -> int:
    """Which share of calls should leave a pressed endpoint, 0..1000; all of them at a pressure of 1."""
    if pressure >= 1.0:
        return _ALL
    return max(0, round(_ALL * (pressure - rule.leave) / (1.0 - rule.leave)))


def cut_after(cut: int, score: int, share: int) -> int:
    """The quantile at `share` (permille) after one more score, in pico-dollars per second; 0: none was seen yet."""
    if cut == 0:
        return max(1, score)
    if score > cut:
        return cut + max(1, cut * share // (_ALL * _STEP))
    return max(1, cut - cut * (_ALL - share) // (_ALL * _STEP))


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a spill budget has left.

    Attributes:
        free_pico: May be spent; below zero after a call that cost more than its bound.
        held_pico: Of calls in flight.
        at_us: When it was last refilled, in whole microseconds of the monotonic clock.
    """

    free_pico: int
    held_pico: int
    at_us: int


def full_bucket(rule: SpillRule, at_s: float) -> Bucket:
    """A bucket that nothing was taken from."""
    return Bucket(rule.size_pico, 0, int(at_s * _US))


def room_pico(bucket: Bucket, rule: SpillRule, at_s: float) -> int:
    """What may be held now, in whole pico-dollars."""
    elapsed_us = max(0, int(at_s * _US) - bucket.at_us)
    refilled = bucket.free_pico + rule.size_pico * elapsed_us // (rule.window_s * _US)
    return min(refilled, rule.size_pico - bucket.held_pico)


def held(bucket: Bucket, rule: SpillRule, at_s: float, bound_pico: int) -> Bucket | None:
    """The bucket with a call's bound held; None where it does not fit."""
    room = room_pico(bucket, rule, at_s)
    if bound_pico > room:
        return None
    return Bucket(room - bound_pico, bucket.held_pico + bound_pico, max(bucket.at_us, int(at_s * _US)))


def paid(bucket: Bucket, bound_pico: int, cost_pico: int) -> Bucket:
    """The bucket after a call whose bound was held has ended."""
    return replace(bucket, free_pico=bucket.free_pico + bound_pico - cost_pico, held_pico=bucket.held_pico - bound_pico)
