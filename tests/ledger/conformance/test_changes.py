"""Budgets that change while calls are in flight, and scopes with several windows: what holds, on every ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest

from tokenguard.core.account import Scope, accounts_on
from tokenguard.core.budget import Budget, Unit
from tokenguard.core.verdict import Grant, Reason, Short

DAY = timedelta(days=1)


def in_flight(ledger: Any, desk: Any, scope: Any, cents: int) -> Any:
    hold = desk.hold(scope)
    assert isinstance(ledger.reserve(hold, desk.ask(cents=cents)), Grant)
    return hold


def ask(ledger: Any, desk: Any, scope: Any, cents: int, at: Any = None) -> Any:
    return ledger.reserve(desk.hold(scope, at=at or desk.noon), desk.ask(cents=cents))


def test_a_raised_cap_lets_the_next_call_in_beside_those_in_flight(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.10", per="day"), desk.noon)
    hold = in_flight(ledger, desk, desk.scope(), 10)
    busy = ask(ledger, desk, desk.scope(), 5)

    ledger.declare(desk.scope(usd="0.15", per="day"), desk.noon)

    assert busy.reason is Reason.BUSY
    assert isinstance(ask(ledger, desk, desk.scope(), 5), Grant)
    assert ledger.settle(hold.id, desk.booking(cents=10)).states[0].cap == 15 * desk.cent


@pytest.mark.parametrize("by", ["code", "person"])
def test_a_cap_lowered_below_what_is_held_cuts_no_call_and_lets_none_in(ledger: Any, desk: Any, by: str) -> None:
    ledger.declare(desk.scope(usd="0.10", per="day"), desk.noon)
    hold = in_flight(ledger, desk, desk.scope(), 8)

    if by == "code":
        ledger.declare(desk.scope(usd="0.05", per="day"), desk.noon)
    else:
        ledger.set_cap("scope:acme", Unit.USD, "day", "UTC", 5 * desk.cent, by="ada", at=desk.noon)

    busy = ask(ledger, desk, desk.scope(), 1)
    settled = ledger.settle(hold.id, desk.booking(cents=3))
    assert (busy.reason, busy.state.room) == (Reason.BUSY, -3 * desk.cent)
    assert (settled.states[0].settled, settled.states[0].room) == (3 * desk.cent, 2 * desk.cent)
    assert isinstance(ask(ledger, desk, desk.scope(), 3), Short)
    assert isinstance(ask(ledger, desk, desk.scope(), 2), Grant)


def test_a_cap_lowered_below_what_is_settled_is_spent(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.10", per="day"), desk.noon)
    hold = in_flight(ledger, desk, desk.scope(), 8)
    ledger.settle(hold.id, desk.booking(cents=8))

    ledger.set_cap("scope:acme", Unit.USD, "day", "UTC", 5 * desk.cent, by="ada", at=desk.noon)

    spent = ask(ledger, desk, desk.scope(), 1)
    assert (spent.reason, spent.state.free) == (Reason.SPENT, -3 * desk.cent)
    assert isinstance(ask(ledger, desk, desk.scope(), 5, desk.noon + DAY), Grant)


def test_a_removed_budget_is_settled_by_those_in_flight_and_asks_nobody_else(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="day")
    ledger.declare(scope, desk.noon)
    hold = in_flight(ledger, desk, desk.scope(), 10)

    ledger.declare(desk.scope(calls=5, per="day"), desk.noon)

    granted = ask(ledger, desk, desk.scope(), 50)
    ledger.settle(hold.id, desk.booking(cents=4))
    assert [one.account.unit for one in granted.states] == [Unit.CALLS]
    state = ledger.states(accounts_on((scope,), desk.noon))[0]
    assert (state.settled, state.held, state.live) == (4 * desk.cent, 0, 0)


def test_a_budget_that_comes_back_in_the_same_window_remembers_what_was_spent(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="day")
    ledger.declare(scope, desk.noon)
    hold = in_flight(ledger, desk, desk.scope(), 10)
    ledger.declare(desk.scope(calls=5, per="day"), desk.noon)
    ledger.settle(hold.id, desk.booking(cents=9))

    ledger.declare(replace(scope, budgets=(Budget(usd="0.12", per="day"),)), desk.noon)

    short = ask(ledger, desk, desk.scope(), 4)
    assert (short.state.cap, short.state.settled) == (12 * desk.cent, 9 * desk.cent)


@pytest.mark.parametrize("window", ["week", "rolling 24h", "total"])
def test_a_changed_window_is_another_budget_and_calls_in_flight_settle_in_their_own(
    ledger: Any, desk: Any, window: str
) -> None:
    old, new = desk.scope(usd="0.10", per="day"), desk.scope(usd="0.10", per=window)
    ledger.declare(old, desk.noon)
    hold = in_flight(ledger, desk, desk.scope(), 10)

    ledger.declare(new, desk.noon)
    granted = ask(ledger, desk, desk.scope(), 10)
    ledger.settle(hold.id, desk.booking(cents=7))

    before, after = (ledger.states(accounts_on((one,), desk.noon))[0] for one in (old, new))
    assert [one.account.per for one in granted.states] == [window]
    assert (before.settled, before.held) == (7 * desk.cent, 0)
    assert (after.settled, after.held) == (0, 10 * desk.cent)


def test_a_top_up_in_flight_is_room_for_the_next_call_and_not_for_tomorrows(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.10", per="day"), desk.noon)
    in_flight(ledger, desk, desk.scope(), 10)

    ledger.top_up("scope:acme", Unit.USD, 5 * desk.cent, by="ada", at=desk.noon)

    assert isinstance(ask(ledger, desk, desk.scope(), 5), Grant)
    assert ask(ledger, desk, desk.scope(), 11, desk.noon + DAY).state.cap == 10 * desk.cent


def test_a_scope_with_several_windows_and_units_is_bound_by_each(ledger: Any, desk: Any) -> None:
    budgets = (
        Budget(usd="0.10", per="day", tz="Europe/Berlin"),
        Budget(usd="0.16", per="month", tz="America/New_York"),
        Budget(usd="0.12", calls=3, per="rolling 24h"),
    )
    scope = Scope("scope:acme", "acme", budgets)
    ledger.declare(scope, desk.noon)

    def spend(cents: int, hours: float) -> Any:
        at = desk.noon + timedelta(hours=hours)
        hold = desk.hold(desk.scope(), at=at)
        verdict = ledger.reserve(hold, desk.ask(cents=cents))
        if isinstance(verdict, Grant):
            ledger.settle(hold.id, desk.booking(cents=cents, at=at))
        return verdict.state.account if isinstance(verdict, Short) else None

    assert spend(9, 0) is None
    assert (found := spend(2, 1)) is not None
    assert (found.per, found.ends_at) == ("day", datetime(2026, 3, 14, 23, tzinfo=UTC))
    assert spend(3, 11.1) is None  # a new day in Berlin
    assert (found := spend(1, 11.2)) is not None
    assert found.per == "rolling 24h"
    assert spend(4, 24.5) is None
    assert (found := spend(1, 49)) is not None
    assert (found.per, found.ends_at) == ("month", datetime(2026, 4, 1, 4, tzinfo=UTC))  # New York is in summer by then


def test_a_top_up_reaches_every_open_window_of_its_unit(ledger: Any, desk: Any) -> None:
    budgets = (Budget(usd="0.10", per="day"), Budget(usd="0.20", per="month"), Budget(calls=9, per="day"))
    ledger.declare(Scope("scope:acme", "acme", budgets), desk.noon)

    raised = ledger.top_up("scope:acme", Unit.USD, desk.cent, by="ada", at=desk.noon)

    assert sorted((one.account.per, one.cap) for one in raised) == [("day", 11 * desk.cent), ("month", 21 * desk.cent)]


@pytest.mark.parametrize(
    ("first", "hours"), [(datetime(2026, 3, 28, 23, tzinfo=UTC), 23), (datetime(2026, 10, 24, 22, tzinfo=UTC), 25)]
)
def test_a_day_of_23_and_one_of_25_hours_have_one_cap_each(ledger: Any, desk: Any, first: Any, hours: int) -> None:
    scope = desk.scope(usd="0.10", per="day", tz="Europe/Berlin")
    ledger.declare(scope, first)
    minute = timedelta(minutes=1)
    verdicts = []
    for at, cents in ((first, 6), (first + timedelta(hours=hours) - minute, 5), (first + timedelta(hours=hours), 5)):
        hold = desk.hold(desk.scope(), at=at)
        verdicts.append(ledger.reserve(hold, desk.ask(cents=cents)))
        with suppress(Exception):
            ledger.settle(hold.id, desk.booking(cents=cents, at=at))

    assert [type(one) for one in verdicts] == [Grant, Short, Grant]
    assert verdicts[1].state.account.ends_at == first + timedelta(hours=hours)


@pytest.mark.parametrize("per", ["day", "rolling 1h"])
def test_every_grant_fits_the_cap_in_force_while_people_and_code_change_it(ledger: Any, desk: Any, per: str) -> None:
    scope = desk.scope(usd="0.20", per=per)
    ledger.declare(scope, desk.noon)
    holds = [desk.hold(desk.scope(), lease_s=3600) for _ in range(160)]
    done = Event()

    def spend(number: int) -> Any:
        verdict = ledger.reserve(holds[number], desk.ask(cents=1 + number % 3))
        if isinstance(verdict, Grant) and number % 4:
            ledger.settle(holds[number].id, desk.booking(cents=1))
        return verdict

    def change() -> int:
        rounds = 0
        while not done.is_set() or rounds < 5:
            cap = (5 + rounds * 7 % 60) * desk.cent
            ledger.set_cap(scope.key, Unit.USD, per, "UTC", cap, by="ada", at=desk.noon)
            ledger.top_up(scope.key, Unit.USD, desk.cent, by="bob", at=desk.noon)
            ledger.declare(desk.scope(usd=f"0.{20 + rounds % 9}", per=per), desk.noon)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(9) as pool:
        changes = pool.submit(change)
        verdicts = list(pool.map(spend, range(160)))
        done.set()
        assert changes.result() >= 5

    granted = [one for one in verdicts if isinstance(one, Grant)]
    assert granted
    for one in granted:
        (state,) = one.states
        assert state.settled + state.held + one.amounts.usd_pico <= state.cap
    if hasattr(ledger, "verify"):
        assert ledger.verify().findings == ()
