"""What only the ledger in memory does: it forgets single calls and keeps exact totals."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.ids import RandomIds
from tokenguard.errors import LedgerConflict
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing import FakeClock


@pytest.fixture
def books() -> MemoryLedger:
    return MemoryLedger(clock=None, ids=None)  # type: ignore[arg-type]  # neither is asked here


def spend(ledger: MemoryLedger, desk: Any, scope: Any, calls: int) -> None:
    ask, booking = desk.ask(), desk.booking()
    for _ in range(calls):
        hold = desk.hold(scope)
        ledger.reserve(hold, ask)
        ledger.settle(hold.id, booking)


def test_memory_stays_flat_however_many_calls_were_booked(books: MemoryLedger, desk: Any) -> None:
    scope = desk.scope(usd="100000")
    spend(books, desk, scope, 12_000)
    tracemalloc.start()
    before = tracemalloc.take_snapshot()

    spend(books, desk, scope, 12_000)

    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    # The last 10,000 attempts are kept for repeated settlements: as old ones go, new ones come.
    grown = sum(one.size_diff for one in after.compare_to(before, "filename"))
    settled = len(books._resolved)
    assert settled == 10_000
    assert grown < 11_000 * 3_000
    assert books.spend([])[0].calls == 24_000


def test_an_attempt_settled_long_ago_is_refused_instead_of_booked_twice(books: MemoryLedger, desk: Any) -> None:
    scope = desk.scope(usd="100000")
    first = desk.hold(scope)
    books.reserve(first, desk.ask())
    books.settle(first.id, desk.booking())
    spend(books, desk, scope, 10_000)

    with pytest.raises(LedgerConflict):
        books.settle(first.id, desk.booking())

    assert books.spend([])[0].calls == 10_001


def test_run_trees_that_ended_long_ago_are_forgotten_and_their_spend_is_not(books: MemoryLedger, desk: Any) -> None:
    for number in range(1_005):
        run = f"run-{number}"
        books.enter(desk.entry(run))
        hold = desk.hold(run=run)
        books.reserve(hold, desk.ask())
        books.settle(hold.id, desk.booking())
        books.leave(run, outcome="completed", at=desk.noon)

    assert books.tree("run-0") == ()
    assert books.tree("run-1004")[0].calls == 1
    assert books.spend([])[0].calls == 1_005


def test_balances_of_windows_long_over_are_dropped(books: MemoryLedger, desk: Any) -> None:
    scope = desk.scope(usd="1.00", per="minute")
    for minute in range(6_000):
        hold = desk.hold(scope, at=desk.noon + timedelta(minutes=minute))
        books.reserve(hold, desk.ask())
        books.settle(hold.id, desk.booking())

    assert len(books._caps) < 5_000


def test_a_forked_child_gets_a_lock_of_its_own(books: MemoryLedger) -> None:
    books._lock.acquire()

    books.dispose(forked=True)

    assert books.tree("run-1") == ()


def test_closing_books_in_memory_forgets_nothing(books: MemoryLedger, desk: Any) -> None:
    spend(books, desk, desk.scope(usd="1.00"), 1)

    books.dispose()

    assert books.spend([])[0].calls == 1


def test_runs_that_are_over_leave_nothing_but_their_totals(desk: Any) -> None:
    ledger = MemoryLedger(FakeClock(desk.noon), RandomIds())

    for number in range(1_500):
        run = f"run-{number}"
        scope = desk.scope(f"run:{run}", usd="0.01")
        ledger.declare(scope, desk.noon)
        ledger.enter(desk.entry(run))
        hold = desk.hold(scope, run=run)
        ledger.reserve(hold, desk.ask())
        ledger.settle(hold.id, desk.booking())
        ledger.close_run(desk.closure(run))
        ledger.leave(run, outcome="stopped", at=desk.noon)

    assert len(ledger._caps) <= 1_001
    assert len(ledger._caps._budgets) <= 1_001
    assert len(ledger._closures) <= 1_001
    assert sum(row.calls for row in ledger.spend(["agent"])) == 1_500


def test_a_forgotten_run_keeps_its_balance_while_a_call_is_open(books: MemoryLedger, desk: Any) -> None:
    scope = desk.scope("run:run-0", usd="1.00")
    hold = desk.hold(scope, run="run-0")
    books.enter(desk.entry("run-0"))
    books.reserve(hold, desk.ask())
    for number in range(1_005):
        books.enter(desk.entry(f"run-{number}"))
        books.leave(f"run-{number}", outcome="completed", at=desk.noon)

    settled = books.settle(hold.id, desk.booking())

    assert books.tree("run-0") == ()
    assert [(one.settled, one.held, one.live) for one in settled.states] == [(desk.cent, 0, 0)]
