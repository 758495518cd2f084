"""Calls that an allowance pays: granted without the ledger, and told to it in one transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.account import Amounts
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import Grant, Reason, Short
from tokenguard.errors import LedgerConflict


def test_the_first_call_is_judged_by_the_ledger_and_the_next_ones_by_the_lease(process: Any) -> None:
    found = process()

    found.call()
    assert not found.heard.exchanges
    for _ in range(3):
        found.call()

    assert len(found.heard.exchanges) == 1
    assert found.leased == 4


def test_what_is_paid_reaches_the_books_call_by_call(one: Any) -> None:
    paid = [one.call(cost=1) for _ in range(3)]

    one.ledger.relinquish()

    assert one.spent() == one.settled() == 5
    assert one.leased == 0
    events = {event.id: event for event in one.books.events_of("run-1")}
    assert set(paid) < set(events)
    assert events[paid[0]].booking.lines == one.booking().lines
    assert events[paid[0]].facts == one.hold().facts
    assert one.books.verify().ok


def test_a_budget_without_an_allowance_leases_nothing(process: Any, desk: Any) -> None:
    found = process(desk.scope("scope:acme", usd="10.00", per="day"))

    for _ in range(4):
        found.call()

    assert not found.heard.exchanges
    assert found.leased == 0


def test_a_cap_that_somebody_else_set_without_one_ends_leasing(one: Any) -> None:
    one.books.set_cap("scope:acme", Unit.CALLS, "day", "UTC", 100, by="ada", at=one.clock.now())

    one.clock.advance(1.5)
    one.call()

    assert one.leased == 0
    one.ledger.relinquish()
    assert one.books.verify().ok


def test_calls_in_flight_have_room_of_their_own_in_the_next_lease(one: Any) -> None:
    open_ids = [one.reserve()[0] for _ in range(4)]

    one.clock.advance(1.5)
    one.call()
    for hold_id in open_ids:
        one.ledger.settle(hold_id, one.booking())
    one.ledger.relinquish()

    assert one.settled() == 7
    assert one.books.verify().ok


def test_a_call_that_is_cheaper_than_its_worst_case_leaves_room_for_others(one: Any) -> None:
    for _ in range(40):
        one.call(cost=0)

    assert len(one.heard.exchanges) == 1


def test_a_lease_that_is_too_small_doubles(one: Any) -> None:
    for _ in range(40):
        one.call()

    asked = [request.times for request, _ in one.heard.exchanges]
    assert asked == [4, 8, 16, 32]


def test_a_call_is_never_clamped_to_a_lease(one: Any, desk: Any) -> None:
    ask = desk.ask(cents=0, output_rate_pico=desk.cent, output_max=50, output_min=1, output_given=False)

    grant = one.ledger.reserve(one.hold(), ask)

    assert isinstance(grant, Grant)
    assert grant.output_tokens == 50


def test_near_the_cap_every_call_is_judged_by_the_ledger(process: Any, desk: Any) -> None:
    found = process(desk.scope("scope:acme", usd="0.10", per="day", allowance="1.00"))

    granted = 0
    while isinstance((attempt := found.reserve())[1], Grant):
        found.ledger.settle(attempt[0], found.booking())
        granted += 1
        found.clock.advance(0.3)

    assert granted == 10
    assert attempt[1].reason is Reason.SPENT
    assert found.settled() == 10


def test_another_process_finds_room_beside_a_lease(process: Any, desk: Any) -> None:
    scope = desk.scope("scope:acme", usd="0.40", per="day", allowance="1.00")
    first, second = process(scope), process(scope)
    for _ in range(8):
        first.call()
    assert first.leased > 2

    for _ in range(8):
        second.call()

    assert second.settled() + second.leased <= 40


def test_leases_of_many_processes_never_pass_the_cap(process: Any, desk: Any) -> None:
    scope = desk.scope("scope:acme", usd="0.50", per="day", allowance="1.00")
    fleet = [process(scope) for _ in range(4)]
    sent = 0

    for turn in range(100):
        member = fleet[turn % 4]
        hold_id, verdict = member.reserve()
        assert member.settled() + member.leased <= 50
        if isinstance(verdict, Grant):
            sent += 1
            member.ledger.settle(hold_id, member.booking())
        if turn % 10 == 0:
            member.clock.advance(1.1)

    assert sent == 50
    for member in fleet:
        member.ledger.relinquish()
    assert fleet[0].settled() == fleet[0].spent() == 50
    assert fleet[0].books.verify().ok


def test_a_new_window_has_leases_of_its_own(one: Any) -> None:
    hold_id, _ = one.reserve()
    yesterday = one.hold().accounts

    one.clock.advance(timedelta(days=1).total_seconds())
    one.call()
    one.call()
    one.ledger.settle(hold_id, one.booking())
    one.ledger.relinquish()

    before, after = one.books.states([*yesterday, *one.hold().accounts], one.clock.now())
    assert before.settled == 3 * one.desk.cent
    assert after.settled == 2 * one.desk.cent
    assert before.held == after.held == 0
    assert one.books.verify().ok


def test_an_overrun_is_booked_in_full_and_lent_no_more(process: Any, desk: Any) -> None:
    found = process(desk.scope("scope:acme", usd="0.20", per="day", allowance="1.00"))
    found.call()

    found.call(cost=30)
    found.clock.advance(1.1)
    _, verdict = found.reserve()

    assert isinstance(verdict, Short)
    assert verdict.reason is Reason.SPENT
    assert found.settled() == 31
    assert found.books.verify().ok


def test_a_rejected_call_costs_nothing_and_gives_its_room_back(one: Any, desk: Any) -> None:
    hold_id, _ = one.reserve()

    one.ledger.settle(hold_id, desk.void(at=one.clock.now()))
    one.ledger.relinquish()

    assert one.settled() == 2
    assert one.books.verify().ok


def test_an_unknown_outcome_becomes_a_hold_of_its_own_and_then_an_assumed_charge(one: Any, desk: Any) -> None:
    hold_id, _ = one.reserve()
    one.ledger.keep(hold_id, desk.unknown(at=one.clock.now()))

    one.ledger.relinquish()
    assert one.held() == {hold_id: 1}
    one.clock.advance(121)
    one.ledger.sweep()

    event = next(event for event in one.books.events_of("run-1") if event.id == hold_id)
    assert event.booking.quality == "assumed"
    assert event.booking.endpoint == "eu-1"
    assert one.settled() == 3
    assert one.books.verify().ok


def test_the_same_settlement_again_moves_nothing_and_another_one_is_a_conflict(one: Any) -> None:
    hold_id = one.call()

    again = one.ledger.settle(hold_id, one.booking())
    assert again.duplicate
    with pytest.raises(LedgerConflict):
        one.ledger.settle(hold_id, one.booking(cents=2))
    with pytest.raises(LedgerConflict):
        one.ledger.settle("never-held", one.booking())

    one.ledger.relinquish()
    assert one.settled() == 3


def test_observed_calls_last_words_and_calls_without_a_price_are_judged_by_the_ledger(one: Any, desk: Any) -> None:
    for hold, ask in (
        (one.hold(enforce=False), one.ask()),
        (one.hold(), desk.ask(final_scope="run:1")),
    ):
        assert one.ledger.reserve_at_once(hold, ask) is None
        assert isinstance(one.ledger.reserve(hold, ask), Grant)
    assert one.ledger.reserve(one.hold(), desk.ask(priced=False)).reason is Reason.UNPRICED


def test_units_that_nobody_caps_are_leased_beside_those_that_are(process: Any, desk: Any) -> None:
    path = (desk.scope("scope:acme", usd="10", per="day", allowance=True), desk.scope("run:run-1", calls=6, tokens=900))
    found = process(*path)

    verdicts = []
    for _ in range(8):
        hold_id, verdict = found.reserve()
        verdicts.append(type(verdict))
        if isinstance(verdict, Grant):
            found.ledger.settle(hold_id, found.booking(amounts=Amounts(desk.cent, 100, 1, 0)))

    assert verdicts == [Grant] * 6 + [Short] * 2
    found.ledger.relinquish()
    assert found.books.verify().ok


def test_steps_without_a_budget_share_their_runs_lease(one: Any, desk: Any) -> None:
    for number in range(3):
        one.call(path=(*one.path, desk.scope(f"run:step-{number}")))

    assert len(one.heard.exchanges) == 1


def test_a_step_with_a_budget_has_leases_of_its_own(one: Any, desk: Any) -> None:
    step = (*one.path, desk.scope("run:step", calls=2))

    verdicts = [one.reserve(path=step)[1] for _ in range(3)]

    assert [type(verdict) for verdict in verdicts] == [Grant, Grant, Short]


def test_a_call_does_not_wait_for_what_its_own_process_leased_for_others(process: Any, desk: Any) -> None:
    team = desk.scope("scope:acme", usd="0.40", per="day", allowance="1.00")
    found = process(team)
    for _ in range(3):
        found.call(cost=0)
    assert found.leased == 4

    _, verdict = found.reserve(cents=38, run="run-2")

    assert isinstance(verdict, Grant)
