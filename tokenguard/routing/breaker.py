"""A breaker per endpoint: closed, open, half-open with one probe at a time.

A value, and a function for each thing that can happen to it.
It opens on failures in a row or on their share among the latest outcomes, and stays shut for a pause that doubles with
each failed probe, up to a cap. After the pause one call may try; the others wait for its outcome. A probe that never
reports back stands for as long as a probe may take, then the next one may try.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tokenguard.errors import BadAmount

__all__ = ["CLOSED", "Breaker", "BreakerRule", "begin", "fail", "forget", "succeed"]

_WINDOW: Final = 32
_BITS: Final = (1 << _WINDOW) - 1


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When to open and for how long.

    Attributes:
        in_a_row: So many failures in a row open it, >= 1.
        share: This share of failures among the latest outcomes opens it, 0..1.
        among_min: So many outcomes at least are needed for a share, 1..32.
        window_s: Outcomes before a silence of this length do not count.
        pause_s: How long it stays shut at first.
        pause_s_max: The longest it stays shut.
        probe_s: How long a probe is waited for.
    """

    in_a_row: int = 3
    share: float = 0.5
    among_min: int = 8
    window_s: float = 60.0
    pause_s: float = 1.0
    pause_s_max: float = 60.0
    probe_s: float = 30.0

    def __post_init__(self) -> None:
        if self.in_a_row < 1 or not 1 <= self.among_min <= _WINDOW or not 0 < self.share <= 1:
            raise BadAmount(
                f"A breaker cannot open at {self.in_a_row} failures in a row or {self.share} of {self.among_min}; give "
                f"at least 1 in a row, a share above 0 and up to 1, among 1 to {_WINDOW} outcomes."
            )
        if not 0 < self.pause_s <= self.pause_s_max or self.probe_s <= 0 or self.window_s <= 0:
            raise BadAmount(
                f"A breaker cannot pause {self.pause_s} s up to {self.pause_s_max} s; give pauses above 0, the first "
                "not above the longest, and a probe and a window above 0 s."
            )


@dataclass(frozen=True, slots=True)
class Breaker:
    """Where one endpoint's breaker stands.

    Attributes:
        shut_until_s: No call before this instant (monotonic); while a probe is out, when it is given up.
        is_open: It opened, and no probe has come back well yet.
        is_probing: A probe is out.
        trips: How often its state began anew; outcomes of calls from before do not count.
        row: Failures in a row.
        failed: The latest outcomes as bits, 1 for a failure, the newest lowest.
        seen: How many of those bits are outcomes.
        pause_s: The pause that was last taken.
        at_s: When the last outcome came.
    """

    shut_until_s: float = float("-inf")
    is_open: bool = False
    is_probing: bool = False
    trips: int = 0
    row: int = 0
    failed: int = 0
    seen: int = 0
    pause_s: float = 0.0
    at_s: float = float("-inf")

    def admits(self, at_s: float) -> bool:
        """Whether a call may begin now; the one that does takes the probe where it is open."""
        return at_s >= self.shut_until_s


CLOSED: Final = Breaker()


def begin(breaker: Breaker, at_s: float, rule: BreakerRule) -> Breaker | None:
    """A call wants to begin: the next state, or None where it may not."""
    if at_s < breaker.shut_until_s:
        return None
    if not breaker.is_open:
        return breaker
    return replace(breaker, is_probing=True, trips=breaker.trips + 1, shut_until_s=at_s + rule.probe_s)


def succeed(breaker: Breaker, at_s: float, trips: int, rule: BreakerRule) -> Breaker:
    """A call that began at `trips` ended well."""
    if trips != breaker.trips:
        return breaker
    if breaker.is_open:
        return replace(CLOSED, trips=breaker.trips + 1, at_s=at_s)
    return _noted(breaker, at_s, rule, failure=0)


def fail(breaker: Breaker, at_s: float, trips: int, rule: BreakerRule) -> Breaker:
    """A call that began at `trips` failed, and the endpoint was at fault."""
    if trips != breaker.trips:
        return breaker
    noted = _noted(breaker, at_s, rule, failure=1)
    if breaker.is_open:
        return _opened(noted, at_s, min(rule.pause_s_max, breaker.pause_s * 2))
    shares = noted.seen >= rule.among_min and noted.failed.bit_count() >= rule.share * noted.seen
    return _opened(noted, at_s, rule.pause_s) if noted.row >= rule.in_a_row or shares else noted


def forget(breaker: Breaker, at_s: float, trips: int) -> Breaker:
    """A call that began at `trips` ended in a way that says nothing: another may probe at once."""
    if trips != breaker.trips or not breaker.is_probing:
        return breaker
    return replace(breaker, is_probing=False, trips=breaker.trips + 1, shut_until_s=at_s)


def _noted(breaker: Breaker, at_s: float, rule: BreakerRule, *, failure: int) -> Breaker:
    """One more outcome."""
    is_late = at_s - breaker.at_s > rule.window_s
    failed, seen, row = (0, 0, 0) if is_late else (breaker.failed, breaker.seen, breaker.row)
    return replace(
        breaker,
        row=row + 1 if failure else 0,
        failed=(failed << 1 | failure) & _BITS,
        seen=min(_WINDOW, seen + 1),
        at_s=at_s,
    )


def _opened(breaker: Breaker, at_s: float, pause_s: float) -> Breaker:
    return replace(
        breaker,
        is_open=True,
        is_probing=False,
        trips=breaker.trips + 1,
        pause_s=pause_s,
        shut_until_s=at_s + pause_s,
    )
