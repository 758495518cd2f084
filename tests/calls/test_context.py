"""Who pays, wherever the call is made: threads, tasks, generators, fixtures, forks."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.calls.scope import current
from tokenguard.testing.model_server import ModelServer, Reply


def call(guard: tg.Guard, server: ModelServer, number: int = 0) -> None:
    guard.completion(PENNY, ask(number), max_tokens=400, **at(server))


def rows(guard: tg.Guard, by: str) -> dict[str, str]:
    """Dollars by one dimension, from the ledger."""
    return {row.by[0]: row.usd.json() for row in guard._late.get().ledger.spend([by])}


def test_a_call_outside_any_run_is_booked_to_unattributed_with_a_warning(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database, scope="acme")

    with pytest.warns(tg.UnattributedSpend, match="outside any run") as seen:
        call(guard, server)

    assert rows(guard, "scope") == {"acme/unattributed": "0.01"}
    assert seen[0].filename == __file__


def test_unattributed_spend_has_a_cap_of_its_own(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server()
    guard = make_guard(unattributed=tg.Budget(usd="0.02", per="day"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.UnattributedSpend)
        for number in range(2):
            call(guard, server, number)
        with pytest.raises(tg.BudgetExceeded, match="unattributed"):
            call(guard, server, 3)

    assert server.count == 2


def test_strict_refuses_a_call_outside_any_run(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard(strict=True)

    with pytest.raises(tg.NoActiveRun, match=r"guard\.bind"):
        call(guard, server)

    assert server.count == 0


def test_a_thread_without_context_is_visible_and_a_bound_one_belongs_to_its_run(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard(strict=True)
    lost: list[BaseException] = []

    def unbound() -> None:
        try:
            call(guard, server, 1)
        except tg.NoActiveRun as error:
            lost.append(error)

    with guard.run("agent") as run, ThreadPoolExecutor(1) as threads:
        threads.submit(unbound).result()
        threads.submit(guard.bind(lambda: call(guard, server, 2))).result()

    assert len(lost) == 1
    assert run.receipt().cost == tg.Money("0.01")


async def test_tasks_inherit_their_run_and_siblings_do_not_mix(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=400, latency_s=0.02)), make_guard()

    async def work(name: str, calls: int) -> Any:
        async with guard.run(name) as run:
            for number in range(calls):
                await guard.acompletion(PENNY, ask(number), max_tokens=400, **at(server))
        return run.receipt()

    receipts = await asyncio.gather(work("one", 1), work("two", 2), work("three", 3))

    assert [receipt.cost.json() for receipt in receipts] == ["0.01", "0.02", "0.03"]


def test_a_decorated_generator_does_not_leak_its_scope_between_yields(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()
    inside: list[Any] = []

    @guard.agent("producer")
    def produce() -> Iterator[int]:
        for number in range(2):
            inside.append(current(guard))
            call(guard, server, number)
            yield number

    with guard.run("consumer") as run:
        outside = [current(guard) for _ in produce()]
        call(guard, server, 9)

    child = run.receipt().children[0]
    assert all(frame is run.frame for frame in outside)
    assert all(frame.node.name == "producer" for frame in inside)
    assert (child.node.name, child.cost.json()) == ("producer", "0.02")
    assert run.receipt().node.usd == tg.Money("0.01")


async def test_a_decorated_async_generator_does_not_leak_its_scope_between_yields(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()

    @guard.agent("producer")
    async def produce() -> AsyncIterator[int]:
        for number in range(2):
            await guard.acompletion(PENNY, ask(number), max_tokens=400, **at(server))
            yield number

    async with guard.run("consumer") as run:
        outside = [current(guard) async for _ in produce()]

    assert all(frame is run.frame for frame in outside)
    assert run.receipt().children[0].cost == tg.Money("0.02")


def test_a_generator_that_is_closed_early_ends_its_node(make_guard: MakeGuard) -> None:
    guard = make_guard()
    closed: list[bool] = []

    @guard.agent("producer")
    def produce() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(current(guard) is not None)

    with guard.run("consumer") as run:
        generator = produce()
        next(generator)
        generator.close()  # type: ignore[attr-defined]

    guard.late.get().reaper.finish()
    assert closed == [True]
    assert run.receipt().children[0].node.outcome == "completed"


def test_leaving_a_run_from_another_context_is_tolerated(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    run = guard.run("fixture")

    contextvars.copy_context().run(run.__enter__)
    run.__exit__(None, None, None)

    assert run.receipt().node.outcome == "completed"
    assert current(guard) is None
    assert server.count == 0


def test_frames_of_two_guards_do_not_mix(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, one, two = make_server(), make_guard(), make_guard()

    with one.run("first") as first, two.run("second") as second:
        call(one, server, 1)
        call(two, server, 2)

    assert first.receipt().cost == second.receipt().cost == tg.Money("0.01")


def test_named_scopes_pay_too_and_hold_over_guards(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    server = make_server()
    database = str(tmp_path / "spend.db")
    first, second = make_guard(database, scope="acme"), make_guard(database, scope="acme")
    budget = tg.Budget(usd="0.03", per="total")

    with first.scope("team/ml", budget=budget), first.run("a"):
        call(first, server, 1)
        call(first, server, 2)
    with second.scope("team/ml", budget=budget), second.run("b"):
        call(second, server, 3)
        with pytest.raises(tg.BudgetExceeded) as stop:
            call(second, server, 4)

    assert stop.value.scope == "acme/team/ml"
    assert server.count == 3


def test_a_budget_set_on_a_parent_scope_binds_processes_that_never_declared_it(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    server, database = make_server(), str(tmp_path / "spend.db")
    boss = make_guard(database, scope="acme", budget=tg.Budget(usd="0.02", per="total"))
    worker = make_guard(database, scope="acme/search")

    with boss.run("declares"):
        call(boss, server, 1)
    with worker.run("inherits"):
        call(worker, server, 2)
        with pytest.raises(tg.BudgetExceeded) as stop:
            call(worker, server, 3)

    assert stop.value.scope == "acme"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_books_under_its_own_name(make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any) -> None:
    server, guard = make_server(), make_guard(str(tmp_path / "spend.db"))

    with guard.run("parent") as run:
        call(guard, server, 1)
        child = os.fork()
        if child == 0:
            try:
                call(guard, server, 2)
                os._exit(0)
            except BaseException:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        call(guard, server, 3)

    assert status == 0
    assert run.receipt().cost == tg.Money("0.03")


async def test_an_executor_full_of_waiters_does_not_delay_a_settlement(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    server, guard = make_server(Reply(completion_tokens=400, latency_s=0.3)), make_guard(str(tmp_path / "spend.db"))
    loop, blocked = asyncio.get_running_loop(), threading.Event()

    async with guard.run("agent", budget=tg.Budget(usd="0.02")) as run:
        calls = [asyncio.create_task(guard.acompletion(PENNY, ask(n), max_tokens=400, **at(server))) for n in range(2)]
        while server.count < 2:
            await asyncio.sleep(0.01)
        waiters = [loop.run_in_executor(None, blocked.wait, 30) for _ in range(64)]
        await asyncio.gather(*calls)
        waiting = sum(not waiter.done() for waiter in waiters)
        blocked.set()
        await asyncio.gather(*waiters)

    assert waiting == 64
    assert run.receipt().cost == tg.Money("0.02")


def test_a_budget_over_time_without_a_scope_binds_all_the_same(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database, budget=tg.Budget(calls=1, per="day"))

    with guard.run("agent"):
        call(guard, server, 1)
        with pytest.raises(tg.BudgetExceeded) as stop:
            call(guard, server, 2)

    assert stop.value.scope == "default"
    assert server.count == 1


def test_a_guards_own_budget_per_run_caps_each_root_run_by_itself(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard(budget=tg.Budget(calls=1))

    for number in range(2):
        with guard.run("agent"):
            call(guard, server, number)
            with pytest.raises(tg.BudgetExceeded), guard.run("below"):
                call(guard, server, 9)

    assert server.count == 2
