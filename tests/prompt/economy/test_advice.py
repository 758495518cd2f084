from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from prompt.economy.rates import INPUT, rates

from tokenguard.core.money import Money
from tokenguard.prompt.economy import keep_alive, promotion, switch


@pytest.mark.parametrize(
    ("prefix", "minimum", "write", "threshold", "saved_percent"),
    [
        (900, 1_024, 125, "1.48", 82),
        (600, 1_024, 125, "2.37", 73),
        (2_500, 4_096, 125, "2.25", 74),
        (3_000, 4_096, 100, "1.42", 80),
    ],
)
def test_filling_a_prefix_up_to_the_minimum_pays_after_a_call_or_two(
    prefix: int, minimum: int, write: int, threshold: str, saved_percent: int
) -> None:
    prices = rates(write, minimum=minimum)
    even = Fraction(minimum * (prices.write - prices.read), prefix * prices.input - minimum * prices.read)

    once, often = promotion(prices, prefix, int(even)), promotion(prices, prefix, 20)

    assert abs(even - Fraction(threshold)) < Fraction(1, 100)
    assert once
    assert often
    assert not once.pays
    assert promotion(prices, prefix, int(even) + 1).pays  # type: ignore[union-attr]  # asserted above for other counts
    assert round(Fraction(100 * often.saved_pico, 20 * prefix * INPUT)) == saved_percent


def test_the_advice_names_tokens_and_dollars() -> None:
    found = promotion(rates(), 900, 20)

    assert found
    assert found.sentence == (
        "the fixed prefix has 900 tokens and is cached from 1,024 on: 124 tokens of examples would make 20 calls cost "
        "$0.0032 instead of $0.0180."
    )
    assert found.saved == Money("0.0147744")
    one = promotion(rates(), 900, 1)
    assert one
    assert "make one call cost" in one.sentence


@pytest.mark.parametrize(
    ("prefix", "changes"),
    [
        (1_024, {}),
        (102, {}),
        (900, {"minimum": None}),
        (900, {"known": False}),
        (900, {"marked": "none"}),
    ],
)
def test_there_is_no_advice_where_filling_up_can_never_pay(prefix: int, changes: dict[str, object]) -> None:
    assert promotion(rates(**changes), prefix, 20) is None


def test_pings_pay_up_to_eleven_and_a_half_for_a_certain_return() -> None:
    prices = rates(life_s=300)

    eleven = keep_alive(prices, 10_000, gap_s=11 * 240 + 1, return_permille=1_000)
    twelve = keep_alive(prices, 10_000, gap_s=12 * 240 + 1, return_permille=1_000)
    doubtful = keep_alive(prices, 10_000, gap_s=6 * 240 + 1, return_permille=500)

    assert eleven
    assert twelve
    assert doubtful
    assert (eleven.pays, twelve.pays, doubtful.pays) == (True, False, False)
    assert eleven.saved == Money("0.0005")
    assert eleven.saved_pico == 11_500_000 * 1_000 - 11 * 100_000 * 10_000
    assert eleven.sentence == (
        "a pause of 2,641 s outlasts the cache: 11 pings would cost $0.0110, and writing 10,000 tokens again is "
        "expected to cost $0.0115 more than reading them."
    )


@pytest.mark.parametrize(
    ("gap_s", "changes"),
    [
        (240, {}),
        (0, {}),
        (900, {"life_s": None}),
        (900, {"known": False}),
        (900, {"minimum": 20_000}),
        (900, {"marked": "none"}),
    ],
)
def test_nothing_is_kept_alive_that_lives_or_is_not_cached(gap_s: int, changes: dict[str, object]) -> None:
    prices = rates(**{"life_s": 300, **changes})

    assert keep_alive(prices, 10_000, gap_s=gap_s, return_permille=1_000) is None


def test_a_warm_cache_beats_a_cheaper_model_for_a_few_calls() -> None:
    here = rates()
    there = replace(here, input=INPUT // 2, write=INPUT * 5 // 8, read=INPUT // 20)
    # One-off 10,000 x (0.625 - 0.1); each later call saves 10,000 x 0.05.
    few, many = (switch(here, there, 10_000, requests=requests) for requests in (11, 12))

    assert few.saved_pico == 10 * 10_000 * 50_000 - 10_000 * 525_000
    assert (few.pays, many.pays) == (False, True)
    assert few.sentence == (
        "the other model's cache is cold: writing 10,000 tokens there costs $0.0052 more than reading them here; over "
        "11 calls the change costs $0.000250."
    )
    assert "saves" in many.sentence


def test_new_tokens_and_answers_count_on_every_call_and_a_short_prefix_is_never_cached() -> None:
    here, there = rates(minimum=4_096), rates(100, 10, output=INPUT)

    found = switch(here, there, 2_000, requests=2, growth=100, output=50)

    each = 100 * (1_000_000 - 1_000_000) + 50 * (5_000_000 - 1_000_000)
    assert found.saved_pico == 2 * each + 2_000 * (1_000_000 - 100_000)
