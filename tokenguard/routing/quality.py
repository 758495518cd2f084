"""What routing by difficulty would cost and keep, measured on questions that both models have answered.

A scorer gives each question a number; those above a threshold go to the strong model. Every threshold is a point on a
curve of cost and quality. This module measures curves. It has no scorer: whether a score is worth anything is what the
curve says, on one's own questions.

Terms as in RouteLLM (Ong et al., 2024): the gap is the strong model's quality less the weak one's; a point recovers so
much of it; APGR is the mean recovered over all shares of strong calls, 0.5 for drawing lots; CPT(x) is the least share
of strong calls that recovers x of the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from tokenguard.errors import BadAmount

__all__ = ["Curve", "CurvePoint", "Judged", "curve_of", "perfect_scores"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One question: a score, how good both answers are (0..1), and what each costs in whole pico-dollars."""

    score: float
    weak: float
    strong: float
    weak_pico: int = 0
    strong_pico: int = 1


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one threshold does: questions that score at least `threshold` go to the strong model.

    Attributes:
        threshold: Infinite where none does.
        strong_share: Share of questions, 0..1.
        quality: Mean over all questions, 0..1.
        cost_pico: Of all questions together.
    """

    threshold: float
    strong_share: float
    quality: float
    cost_pico: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A scorer's curve: points from no question to all of them."""

    points: tuple[CurvePoint, ...]

    @property
    def gap(self) -> float:
        """The strong model's quality less the weak one's."""
        return self.points[-1].quality - self.points[0].quality

    def recovered(self, point: CurvePoint) -> float:
        """How much of the gap a point recovers; above 1 where the weak model was better here and there."""
        return (point.quality - self.points[0].quality) / self.gap

    @property
    def area(self) -> float:
        """Mean quality over all shares of strong calls: the area under the curve."""
        return sum((b.strong_share - a.strong_share) * (a.quality + b.quality) / 2 for a, b in pairwise(self.points))

    @property
    def apgr(self) -> float:
        """Mean share of the gap that is recovered; drawing lots has 0.5."""
        return (self.area - self.points[0].quality) / self.gap

    def least_share(self, recovered: float) -> float:
        """The smallest share of strong calls that recovers so much of the gap, 0..1: CPT.

        Between two points by a line: among equal scores lots are drawn.
        """
        if recovered <= 0:
            return 0.0
        for before, after in pairwise(self.points):
            low, high = self.recovered(before), self.recovered(after)
            if high >= recovered:
                return before.strong_share + (after.strong_share - before.strong_share) * (recovered - low) / (
                    high - low
                )
        return 1.0


def curve_of(questions: Sequence[Judged]) -> Curve:
    """The curve of a scorer.

    Raises:
        BadAmount: no questions, or the strong model is not better than the weak one.
    """
    if not questions:
        raise BadAmount("A curve needs questions; give at least one that both models have answered.")
    total = len(questions)
    quality, cost_pico = sum(one.weak for one in questions), sum(one.weak_pico for one in questions)
    best = sum(one.strong for one in questions)
    if best <= quality:
        raise BadAmount(
            f"Over {total} questions the strong model has a quality of {best / total:.3f} and the weak one of "
            f"{quality / total:.3f}; there is no gap to recover: let the weak one answer."
        )
    points = [CurvePoint(float("inf"), 0.0, quality / total, cost_pico)]
    above = 0
    # Equal scores cannot be told apart by a threshold, so they move together.
    for score, group in groupby(sorted(questions, key=lambda one: -one.score), key=lambda one: one.score):
        for one in group:
            above += 1
            quality += one.strong - one.weak
            cost_pico += one.strong_pico - one.weak_pico
        points.append(CurvePoint(score, above / total, quality / total, cost_pico))
    return Curve(tuple(points))


def perfect_scores(questions: Sequence[Judged]) -> list[float]:
    """The scores of somebody who knows both answers: the bound of every scorer."""
    return [one.strong - one.weak for one in questions]
