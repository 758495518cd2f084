"""What only goes wrong when two things happen at once: shared blocks, cancellations, threads, stops in mid-stream."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at, penny_guard

import tokenguard as tg
from tokenguard.testing.model_server import Reply


async def test_one_scope_block_shared_by_tasks_leaves_nobody_in_it() -> None:
    guard = penny_guard()
    team = guard.scope("team/ml", budget=tg.Budget(usd="1", per="total"))

    async def work(number: int) -> None:
        async with team:
            await asyncio.sleep(0.01 * (number % 3))
            await guard.acompletion(PENNY, ask(number))
        await guard.acompletion(PENNY, ask(100 + number))

    async with guard.run("agent"):
        await asyncio.gather(*(work(number) for number in range(4)))

    spend = {row.by[0]: row.calls for row in guard.late.get().ledger.spend(["scope"])}
    assert spend == {"team/ml": 4, "": 4}


async def test_a_charge_cancelled_while_it_reserves_holds_nothing() -> None:
    guard = penny_guard()
    ledger = guard.late.get().ledger
    slow, reached = ledger.reserve, threading.Event()

    def reserve(*arguments: Any) -> Any:
        reached.set()
        time.sleep(0.1)
        return slow(*arguments)

    ledger.inline, ledger.reserve = False, reserve  # type: ignore[method-assign]

    async def pay() -> None:
        async with guard.charge("browser", up_to="0.50"):
            pass

    async with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        task = asyncio.create_task(pay())
        while not reached.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert run.receipt().held == tg.Money(0)


async def test_a_run_cancelled_while_it_begins_is_ended(tmp_path: Any) -> None:
    guard = penny_guard(database=str(tmp_path / "spend.db"))

    async with guard.run("root", limits=tg.Limits(children=1)) as root:
        for _ in range(5):
            task = asyncio.create_task(_enter(guard))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with guard.run("last"):
            pass

    assert all(child.node.ended_at is not None for child in root.receipt().children)


async def _enter(guard: tg.Guard) -> None:
    async with guard.run("below"):
        await asyncio.sleep(5)


async def test_a_cancellation_is_not_lost_when_the_ledger_fails_meanwhile() -> None:
    guard = penny_guard()
    ledger, reached = guard.late.get().ledger, threading.Event()

    def reserve(*_: Any) -> Any:
        reached.set()
        time.sleep(0.1)
        raise tg.LedgerUnavailable("away", database="memory")

    ledger.inline, ledger.reserve = False, reserve  # type: ignore[method-assign]

    async def stubborn() -> None:
        for number in range(3):
            try:
                await guard.acompletion(PENNY, ask(number))
            except Exception:
                continue

    async with guard.run("agent"):
        task = asyncio.create_task(stubborn())
        while not reached.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_eight_threads_speak_last_words_once() -> None:
    guard = penny_guard()

    with guard.run("parent", budget=tg.Budget(usd="0.03", reserve_final="0.01")) as run, ThreadPoolExecutor(8) as pool:
        call = guard.bind(lambda number: _code(guard, number))
        codes = list(pool.map(call, range(8)))

    assert codes.count("ok") == 3
    assert run.receipt().cost == tg.Money("0.03")


def _code(guard: tg.Guard, number: int) -> str:
    try:
        guard.completion(PENNY, ask(number), max_tokens=400)
    except tg.TokenguardError as refusal:
        return refusal.code
    return "ok"


def test_a_kill_never_trips_over_streams_that_come_and_go() -> None:
    guard = penny_guard(loops=False)
    stop, errors = threading.Event(), []

    def churn() -> None:
        while not stop.is_set():
            list(guard.completion(PENNY, ask(), stream=True))

    with guard.run("agent"), guard.run("other") as other:
        churner = threading.Thread(target=guard.bind(churn))
        churner.start()
        try:
            for _ in range(300):
                guard.resume(other.id, why="again")
        except RuntimeError as error:
            errors.append(error)
        stop.set()
        churner.join()

    assert errors == []


def test_the_first_finish_of_two_answers_reads_nothing_ahead(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=200, pace_s=0.002)), make_guard()
    seen = 0

    with guard.run("agent") as run, pytest.raises(tg.RunRevoked):
        for chunk in guard.completion("openai/gpt-4o-mini", ask(), stream=True, n=2, **at(server)):
            seen += 1
            if chunk.choices[0].finish_reason:
                guard.kill(run.id, why="enough")
                after = seen

    assert seen == after
