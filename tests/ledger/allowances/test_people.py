"""Stops, caps and ends of runs while something is leased: in this process at once, in others within a second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tokenguard.core.books import Closure
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import Grant, Reason, Short


def test_a_stop_ends_granting_in_this_process_at_once(one: Any, desk: Any) -> None:
    assert one.ledger.close_run(desk.closure())

    assert isinstance(one.reserve()[1], Closure)
    assert one.leased == 0
    assert not one.ledger.close_run(desk.closure())


def test_a_stop_by_another_process_is_heard_within_a_second(one: Any, process: Any, desk: Any) -> None:
    other = process()
    other.ledger.close_run(desk.closure())

    one.clock.advance(1.01)

    assert isinstance(one.reserve()[1], Closure)
    assert one.leased == 0


def test_a_run_that_goes_on_leases_again(one: Any, desk: Any) -> None:
    one.ledger.close_run(desk.closure())
    one.reserve()

    one.ledger.reopen("run-1", by="ada", why="checked", at=one.clock.now())
    for _ in range(3):
        one.call()

    assert one.leased > 0


def test_a_cap_that_a_person_lowers_here_binds_the_next_call(one: Any) -> None:
    one.ledger.set_cap("scope:acme", Unit.USD, "day", "UTC", 2 * one.desk.cent, by="ada", at=one.clock.now())

    _, verdict = one.reserve()

    assert isinstance(verdict, Short)
    assert verdict.reason is Reason.SPENT


def test_a_cap_that_is_lowered_elsewhere_binds_within_a_second(one: Any) -> None:
    one.books.set_cap("scope:acme", Unit.USD, "day", "UTC", 2 * one.desk.cent, by="ada", at=one.clock.now())

    one.clock.advance(1.01)
    _, verdict = one.reserve()

    assert isinstance(verdict, Short)
    assert verdict.reason is Reason.SPENT
    assert one.leased == 0


def test_a_top_up_makes_room_here_at_once(process: Any, desk: Any) -> None:
    found = process(desk.scope("scope:acme", usd="0.03", per="day", allowance=True))
    for _ in range(3):
        found.call()
    assert isinstance(found.reserve()[1], Short)

    found.ledger.top_up("scope:acme", Unit.USD, 10 * desk.cent, by="ada", at=found.clock.now())

    assert isinstance(found.reserve()[1], Grant)


def test_a_cap_that_a_person_takes_back_binds_no_more(one: Any) -> None:
    key = ("scope:acme", Unit.USD, "day", "UTC")
    at = one.clock.now()
    one.ledger.declare(replace(one.path[0]), at)
    one.ledger.set_cap(*key, 2 * one.desk.cent, by="ada", at=at)
    assert isinstance(one.reserve()[1], Short)

    assert one.ledger.unset_cap(*key, by="ada", at=at)

    assert isinstance(one.reserve()[1], Grant)


def test_a_declaration_gives_back_what_its_scope_leased(one: Any) -> None:
    assert one.leased > 0

    one.ledger.declare(one.path[0], one.clock.now())

    assert one.leased == 0


def test_a_run_that_ends_gives_back_what_it_leased(one: Any) -> None:
    one.ledger.leave("run-1", outcome="completed", at=one.clock.now())

    assert one.leased == 0
    assert one.spent() == 2


def test_what_is_in_flight_when_a_run_ends_stays_held_until_it_is_settled(one: Any) -> None:
    hold_id = one.reserve()[0]
    one.ledger.leave("run-1", outcome="completed", at=one.clock.now())
    assert one.leased == 1

    one.ledger.settle(hold_id, one.booking())
    one.ledger.sweep()
    one.ledger.relinquish()

    assert one.leased == 0
    assert one.settled() == 3


@pytest.mark.parametrize(("bridges", "left"), [(False, 0), (True, 2)])
def test_a_lease_goes_back_when_nothing_was_called_for_five_seconds(process: Any, *, bridges: bool, left: int) -> None:
    found = process(bridges=bridges, tick_s=None)
    found.call()
    found.call()
    found.ledger._purses.tend()  # what its thread does

    found.clock.advance(5.1)
    assert found.ledger._purses.tend() is bridges  # as above

    assert found.leased == left
    found.ledger.relinquish()
    assert found.settled() == 2


def test_a_lease_that_is_kept_for_outages_is_renewed_and_goes_back_after_five_minutes(process: Any) -> None:
    found = process(bridges=True, tick_s=None)
    found.call()
    purses = found.ledger._purses  # as above
    (first,) = found.held()

    found.clock.advance(31)
    purses.tend()
    (second,) = found.held()
    found.clock.advance(100)
    purses.tend()
    found.books.sweep()
    assert first != second
    assert found.settled() == 1

    found.clock.advance(300)
    found.books.sweep()
    purses.tend()
    assert found.leased == 0
    assert found.settled() == 1
    assert found.books.verify().ok


def test_the_lease_of_a_call_that_takes_long_is_renewed(one: Any) -> None:
    hold_id = one.reserve()[0]
    one.clock.advance(100)
    one.ledger.renew("process-0", [hold_id, "another"], 120.0)

    one.clock.advance(100)
    one.books.sweep()

    assert one.settled() == 1
    one.ledger.settle(hold_id, one.booking())
    one.ledger.relinquish()
    assert one.settled() == 3


def test_a_path_that_was_not_used_for_a_minute_is_forgotten(process: Any) -> None:
    found = process(tick_s=None)
    found.call()
    found.call()
    purses = found.ledger._purses  # as above
    for seconds in (0, 6, 61):
        found.clock.advance(seconds)
        purses.tend()

    assert not purses.knows(found.hold())
