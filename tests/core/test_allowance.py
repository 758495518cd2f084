"""Who may lease, and for how many calls: the pure rules of allowances."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokenguard.core.account import Account, Amounts
from tokenguard.core.allowance import TIMES_MOST, largest, lends, next_times, scaled, times_lent, together
from tokenguard.core.budget import DEFAULT_ALLOWANCE, Budget, Unit
from tokenguard.core.money import Money
from tokenguard.core.verdict import AccountState
from tokenguard.errors import BadAmount

CENT = 10**10
ORGANISATION = Account("a", "scope:acme", "acme", Unit.USD, "day", "2026-03-14", 100 * CENT, allowance_pico=50 * CENT)
RUN = Account("b", "run:1", "run", Unit.USD, "run", "", 100 * CENT)
ONE = Amounts(CENT, 100, 1, 0)


def state(account: Account = ORGANISATION, *, settled: int = 0, held: int = 0, live: int = 0) -> AccountState:
    return AccountState(account, account.cap, settled * CENT, held * CENT, live)


def test_a_path_lends_where_somebody_switched_it_on() -> None:
    assert lends([ORGANISATION])
    assert lends([ORGANISATION, RUN])


@pytest.mark.parametrize(
    "other",
    [
        replace(ORGANISATION, scope_key="scope:acme/search", allowance_pico=None),
        replace(ORGANISATION, scope_key="agent:acme/writer", allowance_pico=None),
        replace(RUN, allowance_pico=0),
        replace(RUN, per="rolling 24h", allowance_pico=CENT),
    ],
)
def test_nobody_on_the_path_may_be_against_it(other: Account) -> None:
    assert not lends([ORGANISATION, other])


def test_a_run_alone_does_not_lend_and_neither_does_a_path_without_caps() -> None:
    assert not lends([RUN])
    assert not lends([])


def test_a_lease_takes_at_most_half_of_an_idle_budgets_room() -> None:
    assert times_lent(ONE, TIMES_MOST, [state(settled=20)]) == 40


def test_who_comes_when_others_hold_gets_a_smaller_share() -> None:
    assert times_lent(ONE, TIMES_MOST, [state(held=10, live=7)]) == 10


def test_the_smallest_allowance_of_the_path_bounds_it() -> None:
    assert times_lent(ONE, TIMES_MOST, [state(), state(replace(RUN, allowance_pico=5 * CENT))]) == 5


def test_every_unit_bounds_it() -> None:
    tokens = Account("t", "run:1", "run", Unit.TOKENS, "run", "", 1_000)

    assert times_lent(ONE, TIMES_MOST, [state(), AccountState(tokens, 1_000, 0, 0, 0)]) == 5


def test_a_unit_that_calls_do_not_use_bounds_nothing() -> None:
    steps = Account("s", "run:1", "run", Unit.STEPS, "run", "", 1)

    assert times_lent(ONE, 3, [state(), AccountState(steps, 1, 1, 0, 0)]) == 3


def test_the_reserve_for_the_last_answer_is_not_lent() -> None:
    kept = state(replace(ORGANISATION, reserve_final_pico=60 * CENT))

    assert times_lent(ONE, TIMES_MOST, [kept]) == 20


@pytest.mark.parametrize("settled", [97, 100, 130])
def test_near_a_cap_and_beyond_it_nothing_is_lent(settled: int) -> None:
    assert times_lent(ONE, TIMES_MOST, [state(settled=settled)]) == 0


def test_calls_that_cost_nothing_are_lent_by_their_count() -> None:
    assert times_lent(Amounts(0, 0, 1, 0), 7, [state()]) == 7


def test_a_lease_doubles_where_it_was_too_small_and_follows_what_is_used() -> None:
    assert next_times(4, 3, short=True) == 8
    assert next_times(64, 3, short=False) == 6
    assert next_times(64, 0, short=False) == 2
    assert next_times(TIMES_MOST, 9, short=True) == TIMES_MOST


def test_amounts_add_up() -> None:
    assert together([ONE, ONE]) == scaled(ONE, 2) == Amounts(2 * CENT, 200, 2, 0)
    assert largest(ONE, Amounts(0, 300, 0, 1)) == Amounts(CENT, 300, 1, 1)


def test_a_budget_says_how_much_of_it_one_process_may_lease() -> None:
    assert Budget(usd=1, allowance="0.25").allowance == Money("0.25")
    assert Budget(usd=1, allowance=True).allowance == DEFAULT_ALLOWANCE
    assert Budget(usd=1, allowance=False).allowance == Money(0)
    assert Budget(usd=1).allowance is None


def test_a_rolling_window_leases_nothing_and_says_why() -> None:
    with pytest.raises(BadAmount, match="no place in a rolling window"):
        Budget(usd=1, per="rolling 24h", allowance="0.25")
    assert Budget(usd=1, per="rolling 24h", allowance=False).allowance == Money(0)


@pytest.mark.parametrize("wrong", [0.5, "-1", "much"])
def test_an_allowance_is_money(wrong: object) -> None:
    with pytest.raises(BadAmount):
        Budget(usd=1, allowance=wrong)  # type: ignore[arg-type]
