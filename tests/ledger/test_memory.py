"""What only the ledger in memory does: it forgets single calls and keeps exact totals."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.ids import RandomIds
from tokenguard.core.verdict import Short
from tokenguard.errors import LedgerConflict
from tokenguard.ledger import memory_holds
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing import FakeClock


@pytest.fixture
def books() -> MemoryLedger:
    return MemoryLedger(FakeClock(), RandomIds())


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


def test_adjustments_are_forgotten_like_attempts(
    books: MemoryLedger, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_holds, "_KEEP", 2)
    hold = desk.hold(desk.scope(usd="1"))
    books.reserve(hold, desk.ask(cents=9))
    books.settle(hold.id, desk.booking(cents=9))
    asked = [
        Adjustment(f"refund-{number}", hold.id, Adjusts.REFUND, desk.cent, "credited", "ada", desk.noon)
        for number in range(3)
    ]
    for one in asked:
        books.adjust(one)

    again = [books.adjust(one).duplicate for one in asked[1:]]

    assert again == [True, True]
    assert not books.adjust(asked[0]).duplicate


def end_runs(ledger: MemoryLedger, desk: Any, runs: int, *, name: str = "run") -> None:
    for number in range(runs):
        ledger.enter(desk.entry(f"{name}-{number}"))
        ledger.leave(f"{name}-{number}", outcome="completed", at=desk.noon)


def end_tree(ledger: MemoryLedger, desk: Any, root: str, *, nodes: int) -> None:
    ledger.enter(desk.entry(root))
    child = desk.entry(root, parent=root)
    for number in range(1, nodes):
        ledger.enter(replace(child, id=f"{root}-{number}"))
        ledger.leave(f"{root}-{number}", outcome="completed", at=desk.noon)
    ledger.leave(root, outcome="completed", at=desk.noon)


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


def test_ended_trees_are_forgotten_by_their_nodes_too_but_never_the_last_one(books: MemoryLedger, desk: Any) -> None:
    end_tree(books, desk, "small", nodes=10)
    end_tree(books, desk, "enormous", nodes=100_001)
    with_the_last = [len(books.tree(root)) for root in ("small", "enormous")]

    end_tree(books, desk, "next", nodes=2)

    assert with_the_last == [0, 100_001]
    assert len(books.tree("next")) == len(books._nodes) == 2


def test_a_tree_of_which_something_still_runs_is_not_forgotten(books: MemoryLedger, desk: Any) -> None:
    scope = desk.scope("run:child", usd="0.01")
    books.enter(desk.entry("root"))
    books.enter(desk.entry("child", parent="root"))
    spend(books, desk, scope, 1)
    books.leave("root", outcome="completed", at=desk.noon)
    end_runs(books, desk, 1_005)

    verdict = books.reserve(desk.hold(scope, run="child"), desk.ask())

    assert isinstance(verdict, Short)
    assert [one.id for one in books.tree("root")] == ["root", "child"]


def test_a_node_that_begins_in_an_ended_tree_keeps_it_until_it_ends_too(books: MemoryLedger, desk: Any) -> None:
    books.enter(desk.entry("root"))
    books.leave("root", outcome="completed", at=desk.noon)
    books.enter(desk.entry("late", parent="root"))
    end_runs(books, desk, 1_005)
    while_it_ran = len(books.tree("root"))

    books.leave("late", outcome="completed", at=desk.noon)
    after_it = len(books.tree("root"))
    end_runs(books, desk, 1_005, name="next")

    assert (while_it_ran, after_it) == (2, 2)
    assert books.tree("root") == ()
    assert len(books._nodes) == 1_000


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


def forgotten_while_held(ledger: MemoryLedger, desk: Any, *, usd: str) -> Any:
    """The open hold of `run-0`, which ended so long ago that its tree is forgotten."""
    hold = desk.hold(desk.scope("run:run-0", usd=usd), run="run-0")
    ledger.enter(desk.entry("run-0"))
    ledger.reserve(hold, desk.ask())
    end_runs(ledger, desk, 1_005)
    return hold


def test_a_forgotten_run_keeps_its_balance_while_a_call_is_open(books: MemoryLedger, desk: Any) -> None:
    hold = forgotten_while_held(books, desk, usd="1.00")

    settled = books.settle(hold.id, desk.booking())

    assert books.tree("run-0") == ()
    assert [(one.settled, one.held, one.live) for one in settled.states] == [(desk.cent, 0, 0)]


def test_a_forgotten_runs_balance_goes_with_the_last_attempt_that_names_it(books: MemoryLedger, desk: Any) -> None:
    hold = forgotten_while_held(books, desk, usd="1.00")
    while_held = books.states(hold.accounts)[0].held

    books.settle(hold.id, desk.booking())
    spend(books, desk, desk.scope(), 10_000)  # settled attempts are remembered that long

    assert while_held == desk.cent
    assert books.states(hold.accounts)[0].settled == 0
    assert len(books._caps) == 0


def test_a_late_call_of_a_forgotten_run_meets_the_balance_that_is_held_on(books: MemoryLedger, desk: Any) -> None:
    forgotten_while_held(books, desk, usd="0.01")

    verdict = books.reserve(desk.hold(desk.scope("run:run-0", usd="0.01"), run="run-0"), desk.ask())

    assert isinstance(verdict, Short)


def test_an_account_that_nobody_used_shows_the_cap_it_would_open_with(books: MemoryLedger, desk: Any) -> None:
    mine, other = desk.scope("scope:acme", usd="2.00", per="day"), desk.scope("scope:acme", usd="3.00", per="week")
    books.declare(mine, desk.noon)
    account = desk.hold(desk.scope("scope:acme", usd="1.00", per="day")).accounts
    unknown = desk.hold(other).accounts

    assert [one.cap for one in books.states((*account, *unknown))] == [200 * desk.cent, 300 * desk.cent]


def test_a_window_that_nobody_used_shows_the_cap_that_is_stored(books: MemoryLedger, desk: Any) -> None:
    books.declare(desk.scope("scope:acme", usd="2.00", per="day"), desk.noon)
    tomorrow = desk.hold(desk.scope("scope:acme", usd="1.00", per="day"), at=desk.noon + timedelta(days=1)).accounts

    assert [one.cap for one in books.states(tomorrow)] == [200 * desk.cent]


def test_a_run_that_was_never_entered_leaves_no_state_behind(books: MemoryLedger, desk: Any) -> None:
    books.remember("nobody", {"seen": 1}, desk.noon)

    assert books.recall("nobody") is None


def test_the_state_of_a_run_goes_with_its_run(books: MemoryLedger, desk: Any) -> None:
    for number in range(1_002):
        books.enter(desk.entry(f"run-{number}"))
        books.remember(f"run-{number}", {"seen": number}, desk.noon)
        books.leave(f"run-{number}", outcome="completed", at=desk.noon)

    assert books.recall("run-0") is None
    assert books.recall("run-1001") == {"seen": 1001}
