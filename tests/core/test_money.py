from __future__ import annotations

import copy
import pickle
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.core.money import ZERO, Money, dollars
from tokenguard.errors import BadAmount

PICO = st.integers(min_value=-(10**36) + 1, max_value=10**36 - 1)


def test_a_thousand_times_three_hundred_thousandths_is_three_cents_exactly() -> None:
    total = sum((Money("0.00003") for _ in range(1000)), ZERO)

    assert total == Money("0.03")


@pytest.mark.parametrize(
    ("written", "pico"),
    [
        ("2.50", 2_500_000_000_000),
        (" $2.50 ", 2_500_000_000_000),
        ("1_000", 10**15),
        (2, 2 * 10**12),
        (Decimal("0.000000000001"), 1),
        ("-0.5", -5 * 10**11),
        ("1e-12", 1),
    ],
)
def test_dollars_are_read_exactly(written: str | int | Decimal, pico: int) -> None:
    assert Money(written).pico == pico


@pytest.mark.parametrize(
    ("written", "word"),
    [
        (2.5, 'Money("2.5")'),
        (True, "bool"),
        (None, "NoneType"),
        ("two", "not an amount of money"),
        ("", "not an amount of money"),
        ("NaN", "finite"),
        ("Infinity", "finite"),
        (Decimal("sNaN"), "finite"),
        ("0.0000000000001", "finer than a pico-dollar"),
        ("1e24", "largest amount"),
    ],
)
def test_what_cannot_be_meant_as_money_is_refused_with_a_sentence(written: object, word: str) -> None:
    with pytest.raises(BadAmount, match=word.replace("(", r"\(").replace(")", r"\)")):
        Money(written)  # type: ignore[arg-type]  # the point of the test


def test_fractions_of_a_pico_dollar_do_not_exist() -> None:
    with pytest.raises(BadAmount, match="whole numbers"):
        Money.from_pico(1.0)  # type: ignore[arg-type]  # the point of the test


@given(PICO, PICO)
def test_sums_and_differences_are_exact(left: int, right: int) -> None:
    one, other = Money.from_pico(left), Money.from_pico(right)

    assert (one + other - other) == one
    assert (one - other).pico == left - right
    assert (-one).pico == -left


@given(PICO)
def test_json_is_read_back_to_the_same_amount(pico: int) -> None:
    money = Money.from_pico(pico)

    assert Money(money.json()) == money
    assert "e" not in money.json().lower()


def test_a_callers_decimal_context_does_not_round_money() -> None:
    with localcontext() as context:
        context.prec = 3

        assert Money("1234.567891").json() == "1234.567891"
        assert str(Money("1234.56")) == "$1,234.56"


@given(PICO)
def test_copies_and_pickles_are_equal(pico: int) -> None:
    money = Money.from_pico(pico)

    assert pickle.loads(pickle.dumps(money)) == copy.deepcopy(money) == money


@pytest.mark.parametrize(
    ("pico", "text"),
    [
        (0, "$0.00"),
        (1_980_000_000_000, "$1.98"),
        (30_000_000, "$0.000030"),
        (1, "<$0.000001"),
        (-1, "-<$0.000001"),
        (5_000_000_000, "$0.0050"),
        (-(45_000 * 10**12), "-$45,000.00"),
    ],
)
def test_readers_see_as_many_decimals_as_they_need(pico: int, text: str) -> None:
    assert dollars(pico) == str(Money.from_pico(pico)) == text


def test_money_is_ordered_and_false_only_at_zero() -> None:
    cent = Money("0.01")

    assert ZERO < cent < 3 * cent == cent * 3
    assert cent
    assert not ZERO
    assert repr(cent) == "Money('0.01')"
