"""Quality curves: by hand on four questions, and on recorded answers of two models."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from pathlib import Path
from random import Random

import pytest

from tokenguard.errors import BadAmount
from tokenguard.routing import Judged, curve_of, perfect_scores

ROOT = Path(__file__).resolve().parents[2]
RECORDED = Path("data/groundtruth/routellm/gsm8k_responses.csv.gz")
WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"


def test_a_curve_by_hand() -> None:
    questions = [
        Judged(0.9, weak=0, strong=1, weak_pico=1, strong_pico=10),
        Judged(0.5, weak=1, strong=1, weak_pico=1, strong_pico=10),
        Judged(0.5, weak=0, strong=1, weak_pico=1, strong_pico=10),
        Judged(0.1, weak=1, strong=1, weak_pico=1, strong_pico=10),
    ]

    curve = curve_of(questions)

    assert [(one.threshold, one.strong_share, one.quality, one.cost_pico) for one in curve.points] == [
        (float("inf"), 0.0, 0.5, 4),
        (0.9, 0.25, 0.75, 13),
        (0.5, 0.75, 1.0, 31),
        (0.1, 1.0, 1.0, 40),
    ]
    assert curve.gap == 0.5
    assert curve.area == pytest.approx(0.25 * 0.625 + 0.5 * 0.875 + 0.25 * 1.0)
    assert curve.apgr == pytest.approx((curve.area - 0.5) / 0.5)
    assert [curve.least_share(one) for one in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 0.125, 0.25, 0.5, 0.75]
    assert curve.least_share(1.0 + 1e-9) == 1.0


def test_without_questions_or_without_a_gap_there_is_no_curve() -> None:
    with pytest.raises(BadAmount, match="give at least one that both models have answered"):
        curve_of([])
    with pytest.raises(BadAmount, match=r"Over 1 questions the strong model has a quality of 0\.000"):
        curve_of([Judged(0.0, weak=1, strong=0)])


def test_recorded_answers_give_the_known_curves() -> None:
    folder = next((one / "shared" for one in ROOT.parents if (one / "shared" / RECORDED).is_file()), None)
    if folder is None:
        pytest.skip(f"The recorded answers are not here: shared/{RECORDED} beside the checkout.")
    csv.field_size_limit(sys.maxsize)
    with gzip.open(folder / RECORDED, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(io.StringIO(file.read())))

    def curve(scores: list[float]) -> tuple[float, float]:
        judged = [
            Judged(score, float(row[WEAK] == "True"), float(row[STRONG] == "True"))
            for score, row in zip(scores, rows, strict=True)
        ]
        found = curve_of(judged)
        return found.apgr, found.least_share(0.95)

    known = [Judged(0, float(row[WEAK] == "True"), float(row[STRONG] == "True")) for row in rows]
    perfect = curve(perfect_scores(known))
    words = curve([float(len(row["prompt"].split())) for row in rows])
    lots = curve([Random(number).random() for number in range(len(rows))])

    assert len(rows) == 1_319
    assert perfect[1] == pytest.approx(0.207, abs=0.002)
    assert perfect[0] > 1.1
    assert words[0] == pytest.approx(0.598, abs=0.01), "counting words is a little better than lots"
    assert 0.45 < lots[0] < 0.56
