"""Resolving holds: once, truly, in the window they were held in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.account import Amounts
from tokenguard.core.books import Status
from tokenguard.core.usage import Quality
from tokenguard.errors import LedgerConflict


def test_a_post_releases_the_hold_and_settles_what_it_cost(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00", tokens=1_000, calls=10))
    ledger.reserve(hold, desk.ask(cents=5))

    settled = ledger.settle(hold.id, desk.booking(cents=2))

    assert [(one.settled, one.held, one.live) for one in settled.states] == [
        (1, 0, 0),
        (100, 0, 0),
        (2 * desk.cent, 0, 0),
    ]
    assert (settled.duplicate, settled.late) == (False, False)


def test_a_void_returns_the_whole_hold_but_counts_the_attempt(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00", calls=10))
    ledger.reserve(hold, desk.ask(cents=5))

    settled = ledger.settle(hold.id, desk.void())

    assert [(one.settled, one.held) for one in settled.states] == [(1, 0), (0, 0)]


def test_an_overrun_is_booked_in_full_above_the_cap(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="0.01"))
    ledger.reserve(hold, desk.ask(cents=1))

    settled = ledger.settle(hold.id, desk.booking(cents=3, overrun=True))

    assert settled.states[0].settled == 3 * desk.cent
    assert settled.states[0].free == -2 * desk.cent


def test_the_same_booking_again_moves_nothing(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    first = ledger.settle(hold.id, desk.booking())

    again = ledger.settle(hold.id, desk.booking())

    assert again.duplicate
    assert again.states == first.states
    assert ledger.spend([])[0].calls == 1


def test_other_numbers_for_the_same_attempt_are_a_conflict(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=5))
    ledger.settle(hold.id, desk.booking(cents=1))

    with pytest.raises(LedgerConflict, match="The first booking stands"):
        ledger.settle(hold.id, desk.booking(cents=2))

    assert ledger.states(hold.accounts)[0].settled == desk.cent


def test_what_was_never_held_cannot_be_settled_or_kept(ledger: Any, desk: Any) -> None:
    with pytest.raises(LedgerConflict, match="no hold"):
        ledger.settle("nobody", desk.booking())
    with pytest.raises(LedgerConflict, match="no hold"):
        ledger.keep("nobody", desk.unknown())


def test_a_step_is_no_attempt_although_it_was_charged(ledger: Any, desk: Any) -> None:
    accounts = desk.hold(desk.scope("run:1", steps=2)).accounts
    ledger.enter(desk.entry("step-1", "run-1", accounts=accounts))

    with pytest.raises(LedgerConflict, match="no hold"):
        ledger.settle("step-1", desk.booking())

    assert ledger.states(accounts)[0].settled == 1
    assert ledger.spend([]) == ()


def test_a_call_over_midnight_settles_in_the_day_it_was_held_in(ledger: Any, desk: Any) -> None:
    late = desk.noon.replace(hour=23, minute=59)
    hold = desk.hold(desk.scope(usd="1.00", per="day"), at=late)
    ledger.reserve(hold, desk.ask())

    settled = ledger.settle(hold.id, desk.booking(at=late + timedelta(minutes=2)))

    assert settled.states[0].account.bucket == "2026-03-14T00:00Z"
    assert settled.states[0].settled == desk.cent


def test_an_unresolved_hold_stands_until_its_lease_ends(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"), lease_s=60)
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.keep(hold.id, desk.unknown())

    early = ledger.sweep(desk.noon + timedelta(seconds=59))
    standing = ledger.states(hold.accounts)[0]
    swept = ledger.sweep(desk.noon + timedelta(seconds=60))

    assert (early, swept) == (0, 1)
    assert (standing.held, standing.settled) == (4 * desk.cent, 0)
    assert ledger.states(hold.accounts)[0].settled == 4 * desk.cent
    assert [row.by for row in ledger.spend(["status", "quality"])] == [("unresolved", "assumed")]


def test_a_kept_hold_can_still_be_settled(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.keep(hold.id, desk.unknown())

    settled = ledger.settle(hold.id, desk.booking(cents=1))

    assert (settled.states[0].settled, settled.states[0].held, settled.late) == (desk.cent, 0, False)


def test_a_hold_nobody_settles_becomes_an_assumed_charge_not_free_money(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00", tokens=10_000, calls=3))
    ledger.reserve(hold, desk.ask(cents=4))

    swept = ledger.sweep(desk.noon + timedelta(hours=1))

    assert swept == 1
    assert [one.settled for one in ledger.states(hold.accounts)] == [1, 100, 4 * desk.cent]
    row = ledger.spend(["status", "quality"])[0]
    assert (row.by, row.assumed.pico, row.input_tokens) == (("lost", "assumed"), 4 * desk.cent, 100)


def test_a_reservation_sweeps_expired_leases_first(ledger: Any, desk: Any, clock: Any) -> None:
    scope = desk.scope(usd="0.04")
    lost = desk.hold(scope, lease_s=10)
    ledger.reserve(lost, desk.ask(cents=4))

    clock.advance(11)
    ledger.reserve(desk.hold(scope), desk.ask(cents=1))

    state = ledger.states(lost.accounts)[0]
    assert (state.settled, state.held, state.live) == (4 * desk.cent, 0, 0)


def test_a_renewed_lease_is_not_swept_but_an_unresolved_one_is_not_renewed(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="1.00")
    alive, unknown = desk.hold(scope), desk.hold(scope)
    ledger.reserve(alive, desk.ask())
    ledger.reserve(unknown, desk.ask())
    ledger.keep(unknown.id, desk.unknown())

    ledger.renew("owner", [alive.id, unknown.id], 7_200.0)

    assert ledger.sweep(desk.noon + timedelta(hours=1)) == 1
    assert ledger.states(alive.accounts)[0].live == 1


def test_renewing_nothing_renews_nothing(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())

    ledger.renew("owner", [], 7_200.0)

    assert ledger.sweep(desk.noon + timedelta(hours=1)) == 1


def test_the_truth_after_an_assumed_charge_corrects_the_original_window(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00", per="day"))
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.sweep(desk.noon + timedelta(hours=1))

    settled = ledger.settle(hold.id, desk.booking(cents=1, at=desk.noon + timedelta(days=2)))

    assert settled.late
    assert settled.states[0].account.bucket == "2026-03-14T00:00Z"
    assert settled.states[0].settled == desk.cent
    total = ledger.spend(["day"])
    assert [(row.by, row.usd.pico, row.assumed.pico, row.calls) for row in total] == [
        (("2026-03-14",), desk.cent, 0, 1)
    ]


def test_a_late_settlement_is_taken_once(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.sweep(desk.noon + timedelta(hours=1))
    ledger.settle(hold.id, desk.booking(cents=1))

    again = ledger.settle(hold.id, desk.booking(cents=1))

    assert (again.duplicate, again.late) == (True, True)
    with pytest.raises(LedgerConflict):
        ledger.settle(hold.id, desk.booking(cents=2))
    with pytest.raises(LedgerConflict):
        ledger.keep(hold.id, desk.unknown())


def test_a_late_void_returns_the_assumed_money(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.sweep(desk.noon + timedelta(hours=1))

    settled = ledger.settle(hold.id, desk.void())

    assert settled.states[0].settled == 0
    assert ledger.spend([])[0].usd.pico == 0


def test_keeping_what_was_swept_already_changes_nothing(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=4))
    ledger.sweep(desk.noon + timedelta(hours=1))

    ledger.keep(hold.id, desk.unknown())

    assert ledger.states(hold.accounts)[0].settled == 4 * desk.cent


def test_a_cost_already_incurred_is_booked_above_the_cap(ledger: Any, desk: Any) -> None:
    charge = desk.hold(desk.scope(usd="0.01"), operation="gpu-hour")
    booking = desk.booking(cents=3, status=Status.CHARGED, amounts=Amounts(3 * desk.cent), usage=None, lines=())

    settled = ledger.charge(charge, booking)

    assert (settled.states[0].settled, settled.states[0].live) == (3 * desk.cent, 0)
    assert ledger.charge(charge, booking).duplicate
    with pytest.raises(LedgerConflict):
        ledger.charge(charge, replace(booking, amounts=Amounts(desk.cent)))


def test_a_held_attempt_is_settled_not_charged(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())

    with pytest.raises(LedgerConflict, match="settle it instead"):
        ledger.charge(hold, desk.booking())


def test_a_thousand_tiny_calls_add_up_exactly(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.03")
    tiny = 30_000_000
    ask = desk.ask(fixed_pico=tiny)
    booking = desk.booking(cents=0, amounts=Amounts(tiny, 0, 1), lines=(), usage=None)
    holds = [desk.hold(scope) for _ in range(1_000 if ledger.inline else 100)]

    for hold in holds:
        ledger.reserve(hold, ask)
        ledger.settle(hold.id, booking)

    assert ledger.states(holds[0].accounts)[0].settled == tiny * len(holds)
    assert ledger.spend([])[0].usd.pico == tiny * len(holds)


def test_estimated_spend_is_told_apart(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask(cents=2))

    ledger.settle(hold.id, desk.booking(cents=2, status=Status.CLOSED, quality=Quality.ESTIMATED))

    row = ledger.spend([])[0]
    assert (row.usd.pico, row.estimated.pico, row.assumed.pico) == (2 * desk.cent, 2 * desk.cent, 0)
