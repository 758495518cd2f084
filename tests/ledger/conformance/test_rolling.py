"""Rolling windows: any span of their length holds at most the cap, on every ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokenguard.core.account import accounts_on
from tokenguard.core.budget import Unit
from tokenguard.core.stops import stop_of
from tokenguard.core.verdict import Grant, Reason, Short

HOUR = timedelta(hours=1)
SLICE = timedelta(minutes=24)


def spend(ledger: Any, desk: Any, scope: Any, cents: int, at: Any) -> Any:
    hold = desk.hold(scope, at=at)
    verdict = ledger.reserve(hold, desk.ask(cents=cents))
    if isinstance(verdict, Grant):
        ledger.settle(hold.id, desk.booking(cents=cents, at=at))
    return verdict


def test_midnight_gives_nothing_back(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 24h")
    spend(ledger, desk, scope, 10, desk.noon + 11 * HOUR)

    after_midnight = spend(ledger, desk, scope, 1, desk.noon + 13 * HOUR)

    assert isinstance(after_midnight, Short)
    assert after_midnight.reason is Reason.SPENT


def test_what_was_spent_a_window_ago_is_free_again_at_the_instant_that_was_named(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 24h")
    for hours, cents in ((0, 4), (6, 6)):
        spend(ledger, desk, scope, cents, desk.noon + hours * HOUR)

    small, large = (spend(ledger, desk, scope, cents, desk.noon + 8 * HOUR) for cents in (3, 5))

    # Noon begins a slice of 24 minutes; it leaves as a whole, when its end is a day old.
    assert (small.retry_at, large.retry_at) == (desk.noon + 24 * HOUR + SLICE, desk.noon + 30 * HOUR + SLICE)
    assert isinstance(spend(ledger, desk, scope, 3, small.retry_at - timedelta(microseconds=1)), Short)
    assert isinstance(spend(ledger, desk, scope, 3, small.retry_at), Grant)


def test_the_stop_says_when_room_comes(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 24h")
    spend(ledger, desk, scope, 10, desk.noon)

    error = stop_of(spend(ledger, desk, scope, 1, desk.noon + HOUR))

    assert error.retry_at == desk.noon + 24 * HOUR + SLICE
    assert "$0.10 of $0.10 used in the last 24h" in str(error)
    assert "There is room for it at 2026-03-15 12:24:00 UTC." in str(error)


def test_what_is_kept_for_the_last_answer_makes_the_wait_longer(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 24h", reserve_final="0.03")
    for hours, cents in ((0, 2), (6, 5)):
        spend(ledger, desk, scope, cents, desk.noon + hours * HOUR)

    short = spend(ledger, desk, scope, 3, desk.noon + 7 * HOUR)

    assert short.retry_at == desk.noon + 30 * HOUR + SLICE


def test_holds_count_however_old_they_are(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 1m")
    ledger.reserve(desk.hold(scope, lease_s=3600), desk.ask(cents=8))

    busy = spend(ledger, desk, scope, 3, desk.noon + timedelta(minutes=10))

    assert (busy.reason, busy.retry_at) == (Reason.BUSY, None)


def test_a_settlement_books_into_the_slice_of_its_hold(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 24h")
    hold = desk.hold(scope, lease_s=90_000)
    ledger.reserve(hold, desk.ask(cents=10))

    settled = ledger.settle(hold.id, desk.booking(cents=10, at=desk.noon + 23 * HOUR))

    assert settled.states[0].settled == 10 * desk.cent
    assert isinstance(spend(ledger, desk, scope, 10, desk.noon + 24 * HOUR + SLICE), Grant)


def test_a_settlement_after_its_window_counts_no_more(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 1m")
    hold = desk.hold(scope, lease_s=3600)
    ledger.reserve(hold, desk.ask(cents=10))

    settled = ledger.settle(hold.id, desk.booking(cents=10, at=desk.noon + timedelta(minutes=5)))

    assert (settled.states[0].settled, settled.states[0].held) == (0, 0)


def test_a_charge_a_lost_hold_and_a_late_truth_stay_in_their_slice(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="1.00", per="rolling 24h")
    accounts = accounts_on((scope,), desk.noon)
    lost = desk.hold(scope)
    ledger.reserve(lost, desk.ask(cents=9))
    ledger.charge(desk.hold(scope, at=desk.noon + HOUR), desk.booking(cents=2, at=desk.noon + HOUR))

    ledger.sweep(desk.noon + 2 * HOUR)
    assumed = ledger.states(accounts, desk.noon + 2 * HOUR)[0].settled
    late = ledger.settle(lost.id, desk.booking(cents=4, at=desk.noon + 3 * HOUR))
    again = ledger.settle(lost.id, desk.booking(cents=4, at=desk.noon + 24 * HOUR + SLICE))

    assert assumed == 11 * desk.cent
    assert (late.late, late.states[0].settled) == (True, 6 * desk.cent)
    assert (again.duplicate, again.states[0].settled) == (True, 2 * desk.cent)


def test_steps_are_counted_in_rolling_windows_too(ledger: Any, desk: Any) -> None:
    scope = desk.scope(steps=2, per="rolling 1h")
    entries = [
        desk.entry(f"step-{number}", accounts=desk.hold(scope).accounts, at=desk.noon + number * timedelta(minutes=20))
        for number in range(5)
    ]

    refused = [ledger.enter(entry) for entry in entries]

    assert [isinstance(one, Short) for one in refused] == [False, False, True, True, False]
    assert refused[2].retry_at == desk.noon + timedelta(minutes=61)


def test_a_call_fits_calendar_and_rolling_windows_at_once(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="1.00", per="day")
    both = desk.scope("scope:acme/search", usd="0.10", per="rolling 24h")
    hold = desk.hold(scope, both)
    ledger.reserve(hold, desk.ask(cents=10))
    ledger.settle(hold.id, desk.booking(cents=10))

    short = ledger.reserve(desk.hold(scope, both, at=desk.noon + 13 * HOUR), desk.ask())

    assert (short.state.account.scope_key, short.state.settled) == (both.key, 10 * desk.cent)


def test_a_top_up_and_a_persons_cap_reach_a_rolling_window(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 24h")
    ledger.declare(scope, desk.noon)
    spend(ledger, desk, scope, 10, desk.noon)

    raised = ledger.top_up(scope.key, Unit.USD, 2 * desk.cent, by="ada", at=desk.noon + HOUR)
    first = spend(ledger, desk, scope, 2, desk.noon + HOUR)
    ledger.set_cap(scope.key, Unit.USD, "rolling 1d", "UTC", 13 * desk.cent, by="ada", at=desk.noon + HOUR)
    second = spend(ledger, desk, scope, 1, desk.noon + HOUR)

    assert (raised[0].cap, raised[0].settled) == (12 * desk.cent, 10 * desk.cent)
    assert (type(first), type(second)) == (Grant, Grant)
    assert [(one.budget.per, one.state.settled) for one in ledger.budgets(desk.noon + HOUR)] == [
        ("rolling 24h", 13 * desk.cent)
    ]
    assert ledger.budgets(desk.noon + 26 * HOUR)[0].state.settled == 0


def test_hundreds_of_slices_later_the_sums_are_still_right(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.61", per="rolling 1m")

    for second in range(260):
        at = desk.noon + timedelta(seconds=second)
        assert isinstance(spend(ledger, desk, scope, 1, at), Grant), second

    assert ledger.states(accounts_on((scope,), desk.noon), at)[0].settled == 61 * desk.cent
