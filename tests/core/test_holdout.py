"""Steps of folded runs against those of runs that were held out."""

from __future__ import annotations

import random

import pytest

from tokenguard.core.holdout import FoldedRun, holdout_effect


def runs(folded: bool, steps: list[int], removed: int = 2_000) -> list[FoldedRun]:  # noqa: FBT001  # it is a group's name
    return [FoldedRun(folded, one, removed) for one in steps]


def test_extra_steps_are_told_per_thousand_tokens_with_their_interval() -> None:
    effect = holdout_effect([*runs(True, [10, 12, 14, 12]), *runs(False, [8, 10, 12, 10], removed=9)])

    assert effect is not None
    # Two calls more for two thousand tokens; variance 8/3 over four runs on each side.
    assert (effect.steps_folded, effect.steps_held_out, effect.extra_steps) == (12, 10, 1)
    assert effect.high - effect.low == pytest.approx(1.959964 * (2 * 8 / 3 / 4) ** 0.5)
    assert "4 folded runs took 12.0 calls, 4 held out ones 10.0: +1.000 calls per 1,000 tokens" in effect.sentence
    assert effect.json()["extra_steps"] == 1


def test_a_difference_is_claimed_only_where_the_interval_shows_one() -> None:
    dice = random.Random(11)

    def effect(more: int) -> str:
        both = [(folded, dice.randint(5, 15) + more * folded) for folded in (True, False) for _ in range(200)]
        found = holdout_effect(FoldedRun(folded, steps, 1_000) for folded, steps in both)
        assert found is not None
        return found.sentence

    assert "no difference is shown" in effect(0)
    assert "no difference is shown" not in effect(3)


@pytest.mark.parametrize(
    "known",
    [
        [],
        runs(True, [3, 4]),
        [*runs(True, [3, 4]), *runs(False, [3])],
        [*runs(True, [3, 4], removed=0), *runs(False, [3, 5])],
    ],
)
def test_too_few_runs_say_nothing(known: list[FoldedRun]) -> None:
    assert holdout_effect(known) is None
