"""What folding does to how long runs are: folded ones against those that were left as they are, by chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import fmean, variance
from typing import Any, Final

__all__ = ["FoldedRun", "HoldoutEffect", "holdout_effect"]

_FEWEST_RUNS: Final = 2
_Z_95: Final = 1.959964
_PER_TOKENS: Final = 1_000


@dataclass(frozen=True, slots=True)
class FoldedRun:
    """One run tree in which folding found something to do."""

    folded: bool
    """False: it was held out, and only measured."""
    steps: int
    """Calls that were sent."""
    tokens_removed: int
    """Of its results, each when it was first sent; held out: what would have been."""


@dataclass(frozen=True, slots=True)
class HoldoutEffect:
    """Steps with and without folding. The interval is Welch's with the normal's 1.96, fair from some 30 runs a side."""

    folded_runs: int
    held_out_runs: int
    steps_folded: float
    """Mean per run."""
    steps_held_out: float
    tokens_removed: float
    """Mean per folded run."""
    extra_steps: float
    """Per 1,000 tokens removed; below zero: folded runs are shorter."""
    low: float
    """Of the 95 % interval of `extra_steps`."""
    high: float

    @property
    def sentence(self) -> str:
        """In words, with all numbers."""
        sure = "" if self.low > 0 or self.high < 0 else "; no difference is shown"
        return (
            f"{self.folded_runs:,} folded runs took {self.steps_folded:.1f} calls, {self.held_out_runs:,} held out "
            f"ones {self.steps_held_out:.1f}: {self.extra_steps:+.3f} calls per 1,000 tokens removed (95 % interval "
            f"{self.low:+.3f} to {self.high:+.3f}{sure})."
        )

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def holdout_effect(runs: Iterable[FoldedRun]) -> HoldoutEffect | None:
    """Compare both groups; None: one of them has fewer than two runs, or nothing was removed."""
    known = list(runs)
    folded = [one.steps for one in known if one.folded]
    held_out = [one.steps for one in known if not one.folded]
    if min(len(folded), len(held_out)) < _FEWEST_RUNS:
        return None
    removed = fmean(one.tokens_removed for one in known if one.folded)
    if removed <= 0:
        return None
    scale = _PER_TOKENS / removed
    more = fmean(folded) - fmean(held_out)
    margin = _Z_95 * sqrt(_squared_error(folded) + _squared_error(held_out))
    return HoldoutEffect(
        folded_runs=len(folded),
        held_out_runs=len(held_out),
        steps_folded=fmean(folded),
        steps_held_out=fmean(held_out),
        tokens_removed=removed,
        extra_steps=more * scale,
        low=(more - margin) * scale,
        high=(more + margin) * scale,
    )


def _squared_error(steps: Sequence[int]) -> float:
    """Of their mean."""
    return variance(steps) / len(steps)
