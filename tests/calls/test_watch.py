"""The thread that renews leases: there while something is open, of this process alone, and of nothing given up."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from support import PENNY, PENNY_USAGE, PRICES, ask, penny_guard

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedReply
from tokenguard.core.ids import RandomIds
from tokenguard.core.leases import BEAT_S
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing import FakeClock


@pytest.fixture(params=["memory", "sqlite"])
def books(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """A ledger whose clock of leases is moved by the test, and that clock."""
    clock = FakeClock()
    if request.param == "memory":
        return MemoryLedger(clock, RandomIds()), clock
    return SqlLedger.open(str(tmp_path / "spend.db"), clock, RandomIds(), now=clock.now), clock


def beat(guard: tg.Guard) -> None:
    """Half a minute passes for the watch."""
    watch = guard.late.get().watch
    watch._renewed_s -= BEAT_S
    watch._looked()


def test_the_hold_of_a_long_call_is_renewed_until_it_is_answered(books: Any) -> None:
    (ledger, clock), sent, answer = books, threading.Event(), threading.Event()

    def slow(_: Any) -> ScriptedReply:
        sent.set()
        answer.wait(30)
        return ScriptedReply("late", usage=PENNY_USAGE)

    guard = tg.Guard(ledger=ledger, backend=ScriptedBackend(slow), prices=PRICES)
    with guard, guard.run("agent") as run:
        caller = threading.Thread(target=guard.bind(lambda: guard.completion(PENNY, ask(), max_tokens=400)))
        caller.start()
        sent.wait(30)
        swept = []
        for _ in range(5):
            clock.advance(100)
            beat(guard)
            swept.append(ledger.sweep())
        answer.set()
        caller.join(30)
        receipt = run.receipt()

    assert swept == [0] * 5
    assert (receipt.cost, receipt.assumed) == (tg.Money("0.01"), tg.Money(0))


def test_with_nothing_open_there_is_no_thread_and_nobody_is_asked() -> None:
    with penny_guard() as guard, guard.run("agent"):
        watch = guard.late.get().watch
        before = watch._thread
        with guard.charge("browser", up_to="0.10"):
            during, thread = watch._looked(), watch._thread
        after = watch._looked()

    assert before is None
    assert during == BEAT_S
    assert thread is not None
    assert after is watch._thread is None


def test_many_calls_one_after_the_other_share_one_thread() -> None:
    with penny_guard() as guard, guard.run("agent"):
        guard.completion(PENNY, ask(), max_tokens=400)
        first = guard.late.get().watch._thread
        for number in range(50):
            guard.completion(PENNY, ask(number), max_tokens=400)
        last = guard.late.get().watch._thread

    assert first is last is not None


def test_a_hold_that_could_not_be_settled_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def away(*_: Any) -> Any:
        raise tg.LedgerUnavailable("the ledger is away", database="spend.db")

    with penny_guard(database=str(tmp_path / "spend.db")) as guard, guard.run("agent") as run:
        monkeypatch.setattr(guard.late.get().ledger, "settle", away)
        guard.completion(PENNY, ask(), max_tokens=400)
        held = run.receipt().held
        watched = dict(guard.late.get().watch._open)

    assert held == tg.Money("0.01")
    assert watched == {}


def test_a_run_below_another_keeps_its_process_alive_in_the_books_and_a_root_needs_not() -> None:
    with penny_guard() as guard, guard.run("root"):
        root = dict(guard.late.get().watch._open)
        with guard.run("child") as child:
            below = list(guard.late.get().watch._open)
        after = dict(guard.late.get().watch._open)

    assert (root, below, after) == ({}, [child.id], {})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_renews_what_it_opened_itself_and_nothing_of_its_parent(tmp_path: Any) -> None:
    with penny_guard(database=str(tmp_path / "spend.db")) as guard, guard.run("agent"):
        parts = guard.late.get()
        ledger: Any = parts.ledger
        with guard.charge("parent", up_to="0.10"):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    inherited = dict(parts.watch._open)
                    with guard.charge("child", up_to="0.10"):
                        owners = ledger.inner.inner._database.read(
                            lambda connection: connection.exec_driver_sql("SELECT DISTINCT owner FROM tg_hold").all()
                        )
                        opened, thread = len(parts.watch._open), parts.watch._thread
                        beat(guard)
                    status = 0 if (inherited, opened, len(owners)) == ({}, 1, 2) and thread is not None else 2
                finally:
                    os._exit(status)  # nothing of pytest may run in the child
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ledger.sweep()

    assert code == 0
