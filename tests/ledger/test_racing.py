"""Threads and processes that race for the same cap, a process that is killed, and one that forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.budget import Unit
from tokenguard.core.verdict import Grant, Short
from tokenguard.ledger import reserving
from tokenguard.ledger.accounts import Windows
from tokenguard.ledger.postings import open_balances
from tokenguard.ledger.tx import Tx

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
SPENDER = str(Path(__file__).parent / "programs" / "spender.py")


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SPENDER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def spend_a_cent(ledger: Any, desk: Any, hold: Any) -> bool:
    granted = isinstance(ledger.reserve(hold, desk.ask(cents=1)), Grant)
    if granted:
        ledger.settle(hold.id, desk.booking(cents=1))
    return granted


def test_fifty_threads_under_a_cap_of_ten_cents_are_granted_ten(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10")
    holds = [desk.hold(scope) for _ in range(50)]

    with ThreadPoolExecutor(16) as pool:
        granted = sum(pool.map(lambda hold: isinstance(ledger.reserve(hold, desk.ask(cents=1)), Grant), holds))

    state = ledger.states(holds[0].accounts)[0]
    assert granted == 10
    assert (state.held, state.live) == (10 * desk.cent, 10)


def test_threads_on_crossing_paths_neither_deadlock_nor_overspend(ledger: Any, desk: Any) -> None:
    scopes = [desk.scope(f"scope:{name}", usd="0.20") for name in "abcd"]
    paths = [[scopes[n % 4], scopes[(n * 3 + 1) % 4]] for n in range(120)]
    holds = [desk.hold(*path) for path in paths]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda hold: spend_a_cent(ledger, desk, hold), holds))

    states = [ledger.states(desk.hold(scope).accounts)[0] for scope in scopes]
    assert all(one.settled <= one.cap and one.held == 0 and one.live == 0 for one in states)
    assert sum(one.settled for one in states) == sum(
        len({leg.id for leg in hold.accounts}) * desk.cent for hold in holds if _settled(ledger, desk, hold)
    )


def _settled(ledger: Any, desk: Any, hold: Any) -> bool:
    try:
        return bool(ledger.settle(hold.id, desk.booking(cents=1)).duplicate)
    except Exception:
        return False


def test_the_same_attempt_from_many_threads_is_held_and_settled_once(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))

    with ThreadPoolExecutor(8) as pool:
        grants = list(pool.map(lambda _: ledger.reserve(hold, desk.ask()), range(16)))
        settled = list(pool.map(lambda _: ledger.settle(hold.id, desk.booking()), range(16)))

    assert all(isinstance(one, Grant) for one in grants)
    assert sum(not one.duplicate for one in settled) == 1
    assert ledger.states(hold.accounts)[0].settled == desk.cent


class Interrupted(Tx):
    """A transaction after whose first question, and before whose second, somebody else acts."""

    __slots__ = ("act",)

    def rows(self, statement: Any, params: Any) -> list[Any]:
        found = super().rows(statement, params)
        if self.act is not None:
            self.act, act = None, self.act
            act()
        return found


def test_a_run_that_is_resumed_while_a_call_asks_lets_the_call_through(open_sql: Any, postgres: str, desk: Any) -> None:
    ledger, person = open_sql(postgres), open_sql(postgres)

    def meanwhile(work: Any) -> Any:
        ledger.close_run(desk.closure())

        def interrupted(tx: Tx) -> Any:
            slow = Interrupted(tx._driver, tx.statements, tx.largest, tx.began)
            slow.act = lambda: person.reopen("run-1", by="ada", why="fixed", at=desk.noon)
            return work(slow)

        return ledger._database.transact(interrupted)

    granted = meanwhile(lambda tx: reserving.reserve(tx, desk.hold(), desk.ask(), Windows(), swept=False))
    entered = meanwhile(lambda tx: reserving.enter(tx, desk.entry("step-1", "run-1", path=("run-1",)), Windows()))

    assert isinstance(granted, Grant)
    assert entered is None
    assert [one.id for one in ledger.tree("step-1")] == ["step-1"]


def test_a_cap_that_is_lowered_while_its_window_opens_binds_the_call_that_opens_it(
    open_sql: Any, postgres: str, desk: Any
) -> None:
    ledger, person = open_sql(postgres), open_sql(postgres)
    scope = desk.scope(usd="1.00")
    ledger.declare(scope, desk.noon)

    def interrupted(tx: Tx) -> Any:
        slow = Interrupted(tx._driver, tx.statements, tx.largest, tx.began)
        slow.act = lambda: person.set_cap(scope.key, Unit.USD, "run", "UTC", 5 * desk.cent, by="ada", at=desk.noon)
        return reserving.reserve(slow, desk.hold(scope), desk.ask(cents=10), Windows(), swept=False)

    verdict = ledger._database.transact(interrupted)

    assert isinstance(verdict, Short)
    assert verdict.state.cap == 5 * desk.cent


def test_a_cap_cannot_change_between_the_look_at_it_and_the_opening_of_its_window(
    open_sql: Any, postgres: str, desk: Any
) -> None:
    ledger, person = open_sql(postgres), open_sql(postgres)
    scope = desk.scope(usd="1.00")
    ledger.declare(scope, desk.noon)
    hold = desk.hold(scope)

    with ThreadPoolExecutor(1) as thread:
        later: list[Any] = []

        def meanwhile() -> None:
            cap = 5 * desk.cent
            later.append(thread.submit(person.set_cap, scope.key, Unit.USD, "run", "UTC", cap, by="ada", at=desk.noon))
            while not _asked(postgres, WAITING):
                pass

        def paused(tx: Tx) -> Any:
            slow = Paused(tx._driver, tx.statements, tx.largest, tx.began)
            slow.act = meanwhile
            return reserving.reserve(slow, hold, desk.ask(cents=10), Windows(), swept=False)

        granted = ledger._database.transact(paused)
        later[0].result()

    assert isinstance(granted, Grant)
    assert ledger.states(hold.accounts)[0].cap == 5 * desk.cent


class Paused(Tx):
    """A transaction after whose first written row somebody else acts."""

    __slots__ = ("act",)

    def run(self, statement: Any, params: Any) -> int:
        touched = super().run(statement, params)
        if self.act is not None:
            self.act, act = None, self.act
            act()
        return touched


def test_two_first_calls_of_a_window_open_its_balances_without_a_deadlock(
    open_sql: Any, postgres: str, desk: Any
) -> None:
    first, second, third = open_sql(postgres), open_sql(postgres), open_sql(postgres)
    scopes = sorted((desk.scope(f"scope:{n}", usd="1.00") for n in "ab"), key=lambda one: desk.hold(one).accounts[0].id)
    holds = [desk.hold(*scopes) for _ in range(2)]
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = _asked(postgres, deadlocks)

    with ThreadPoolExecutor(1) as thread:
        later: list[Any] = []

        def meanwhile() -> None:
            # The first transaction has opened the lower balance. Another call opens the higher one, and a third finds
            # that one there and the lower one missing.
            third.reserve(desk.hold(scopes[1]), desk.ask())
            later.append(thread.submit(second.reserve, holds[1], desk.ask()))
            while not _asked(postgres, WAITING):
                pass

        def paused(tx: Tx) -> Any:
            slow = Paused(tx._driver, tx.statements, tx.largest, tx.began)
            slow.act = meanwhile
            return reserving.reserve(slow, holds[0], desk.ask(), Windows(), swept=False)

        granted = [first._database.transact(paused), later[0].result()]

    assert all(isinstance(one, Grant) for one in granted)
    assert [one.live for one in first.states(holds[0].accounts)] == [2, 3]
    for ledger in (first, second, third):
        ledger.dispose()  # A session that ends tells the server what it counted.
    assert _asked(postgres, deadlocks) == before


def _asked(server: str, query: str) -> int:
    engine = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        answer = int(connection.execute(sa.text(query)).scalar_one())
    engine.dispose()
    return answer


def test_eight_processes_on_a_file_that_does_not_exist_yet_spend_exactly_the_cap(open_sql: Any, sqlite: str) -> None:
    spenders = [start(sqlite, "40", "20") for _ in range(8)]

    ended = [one.communicate(timeout=100) for one in spenders]

    assert [error for _, error in ended if error] == []
    ledger = open_sql(sqlite)
    assert sum(int(out) for out, _ in ended) == 40
    assert ledger.spend([])[0].usd.json() == "0.4"
    assert ledger.verify().ok


def test_a_killed_process_leaves_books_that_replay_and_money_that_is_charged(
    open_sql: Any, sqlite: str, desk: Any
) -> None:
    spender = start(sqlite, "100000", "1000000", "--settle=no")
    assert spender.stdout is not None
    granted = [spender.stdout.readline() for _ in range(20)]

    spender.send_signal(signal.SIGKILL)
    granted += spender.stdout.readlines()
    spender.communicate(timeout=60)

    ledger = open_sql(sqlite)
    state = ledger.states(desk.hold(desk.scope(usd="1000.00")).accounts)[0]
    # The last grant may have been committed before it could be printed.
    assert state.live - len([one for one in granted if one.strip()]) in (0, 1)
    assert ledger.verify().ok
    assert ledger.sweep(desk.noon + timedelta(days=36_500)) == state.live
    assert ledger.spend(["status"])[0].assumed.pico == state.live * desk.cent
    assert ledger.verify().ok


def test_what_a_forked_child_inherits_is_left_open_and_replaced(sql_ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    sql_ledger.reserve(hold, desk.ask())
    database = sql_ledger._database
    inherited_pool, inherited_writer = database.engine.pool, database._writer

    sql_ledger.dispose(forked=True)

    assert spend_a_cent(sql_ledger, desk, desk.hold(desk.scope(usd="1.00")))
    assert database.engine.pool is not inherited_pool
    assert inherited_writer is None or inherited_writer.driver_connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_writes_on_its_own_connection_and_leaves_the_parents_alone(sql_ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="1.00")
    spend_a_cent(sql_ledger, desk, desk.hold(scope, id="before"))
    child_hold, parent_hold = desk.hold(scope, id="child"), desk.hold(scope, id="parent")

    pid = os.fork()
    if pid == 0:
        # Nothing of pytest may run in the child, so it leaves without cleaning up.
        status = 1
        try:
            sql_ledger.dispose(forked=True)
            status = 0 if spend_a_cent(sql_ledger, desk, child_hold) else 2
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert code == 0
    assert spend_a_cent(sql_ledger, desk, parent_hold)
    assert sql_ledger.states(parent_hold.accounts)[0].settled == 3 * desk.cent
    assert sql_ledger.verify().ok


def test_a_cap_set_between_the_reading_of_a_budget_and_the_opening_of_its_balance_holds(
    open_sql: Any, postgres: str, desk: Any
) -> None:
    ledger, person = open_sql(postgres), open_sql(postgres)
    ledger.declare(desk.scope(usd="0.10", per="day"), desk.noon)
    tomorrow = desk.noon + timedelta(days=1)

    def reserve(tx: Tx) -> Any:
        openings = reserving.path_of(tx, (), ("scope:acme",), tomorrow, Windows())
        person.set_cap("scope:acme", Unit.USD, "day", "UTC", desk.cent, by="ada", at=tomorrow)
        return open_balances(tx, openings)

    states = ledger._database.transact(reserve)

    assert [one.cap for one in states] == [desk.cent]


def test_threads_under_a_rolling_cap_are_granted_what_it_pays_for(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", per="rolling 24h")
    holds = [desk.hold(scope, at=desk.noon + timedelta(minutes=number)) for number in range(50)]

    with ThreadPoolExecutor(16) as pool:
        granted = sum(pool.map(lambda hold: spend_a_cent(ledger, desk, hold), holds))

    state = ledger.states(holds[0].accounts, desk.noon + timedelta(hours=1))[0]
    assert (granted, state.settled, state.held) == (10, 10 * desk.cent, 0)
