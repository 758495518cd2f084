"""What may be spent, and what cannot be meant."""

import copy
import pickle
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tokenguard.core.budget import Budget, Limits, Unit
from tokenguard.core.money import Money
from tokenguard.errors import BadAmount


def test_dollars_are_given_as_text_whole_numbers_or_decimals() -> None:
    budgets = [Budget(usd=usd) for usd in ("2", 2, Decimal(2), Money(2), "$2.00")]

    assert {budget.usd for budget in budgets} == {Money("2")}


def test_a_budget_without_caps_caps_nothing() -> None:
    assert Budget().caps() == ()


def test_caps_come_in_the_order_of_precedence() -> None:
    budget = Budget(usd="1", tokens=2, calls=3, steps=4)

    assert budget.caps() == ((Unit.STEPS, 4), (Unit.CALLS, 3), (Unit.TOKENS, 2), (Unit.USD, 10**12))


def test_a_cap_of_zero_is_a_cap() -> None:
    assert Budget(usd=0, calls=0).caps() == ((Unit.CALLS, 0), (Unit.USD, 0))


def test_wall_time_is_not_an_account() -> None:
    assert Budget(wall=timedelta(minutes=5)).caps() == ()


def test_shares_to_warn_at_are_sorted_and_counted_once() -> None:
    assert Budget(warn_at=(0.8, 0.5, 0.8)).warn_at == (0.5, 0.8)


def test_a_budget_is_a_value() -> None:
    budget = Budget(usd="2", steps=4, per="day", tz="Europe/Berlin")

    assert budget == Budget(usd="2.00", steps=4, per="day", tz="Europe/Berlin")
    assert len({budget, Budget(usd="2", steps=4, per="day", tz="Europe/Berlin")}) == 1
    assert pickle.loads(pickle.dumps(budget)) == copy.deepcopy(budget) == budget


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"usd": 2.5}, r'Write Money\("2.5"\): a float cannot hold cents exactly'),
        ({"usd": float("nan")}, "is a float, not an amount of money"),
        ({"usd": "two"}, "is not an amount of money. Write dollars"),
        ({"usd": "-1"}, "usd='-1': a cap cannot be below zero"),
        ({"usd": True}, "is a bool, not an amount of money"),
        ({"usd": "NaN"}, "is not a finite amount of money"),
        ({"usd": "0.0000000000001"}, "is finer than a pico-dollar"),
        ({"tokens": 1.5}, "tokens=1.5: a cap is a whole number, 0 or more"),
        ({"tokens": -1}, "tokens=-1: a cap is a whole number, 0 or more"),
        ({"calls": True}, "calls=True: a cap is a whole number"),
        ({"steps": "3"}, "steps='3': a cap is a whole number"),
        ({"wall": 60}, "wall=60: give a timedelta above zero"),
        ({"wall": timedelta(0)}, "give a timedelta above zero"),
        ({"wall": timedelta(minutes=1), "per": "day"}, "cannot be combined with per='day'"),
        ({"per": "year"}, "per='year' is not a period. Choose one of run, minute, hour, day, week, month, total"),
        ({"tz": "Berlin"}, "tz='Berlin' is not a time zone of the IANA database"),
        ({"tz": "../etc"}, "is not a time zone"),
        ({"tz": ""}, "is not a time zone"),
        ({"tz": None}, "is not a time zone"),
        ({"warn_at": (0.5, 1.0)}, "shares lie between 0 and 1"),
        ({"warn_at": (0,)}, "shares lie between 0 and 1"),
        ({"warn_at": 0.5}, "warn_at=0.5: give shares"),
        ({"warn_at": ("half",)}, "give shares"),
        ({"reserve_final": "1"}, "is part of the usd cap"),
        ({"usd": "1", "reserve_final": "2"}, "cannot be above it"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadAmount, match=sentence):
        Budget(**given)


def test_limits_have_defaults_that_stop_a_runaway_tree() -> None:
    limits = Limits()

    assert (limits.depth, limits.children, limits.descendants, limits.spawns_per_minute) == (16, 64, 1_000, 120)
    assert (limits.usd_per_minute, limits.tokens_per_minute) == (None, None)


def test_none_switches_a_limit_off() -> None:
    assert Limits(depth=None, children=None, usd_per_minute="0.50") == Limits(
        depth=None, children=None, usd_per_minute=Money("0.5")
    )


@pytest.mark.parametrize(
    "given", [{"depth": 1.5}, {"children": -1}, {"usd_per_minute": 0.5}, {"tokens_per_minute": "9"}]
)
def test_limits_refuse_what_cannot_be_meant(given: dict[str, Any]) -> None:
    with pytest.raises(BadAmount):
        Limits(**given)
