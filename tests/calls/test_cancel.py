"""A task cancelled in any state leaves no hold behind that nobody knows about."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing.model_server import Reply


class SlowLedger:
    """A real ledger whose chosen verb takes a while, as a busy database does; it runs on the guard's executor."""

    def __init__(self, verb: str) -> None:
        self._inner = MemoryLedger(SystemClock(), RandomIds())
        self._verb = verb
        self.inline = False
        self.name = "memory"
        self.reached = threading.Event()

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._inner, name)
        if name != self._verb:
            return method

        def slowly(*arguments: Any, **named: Any) -> Any:
            self.reached.set()
            time.sleep(0.15)
            return method(*arguments, **named)

        return slowly


async def reached(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.005)


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_while_reserving_gives_the_hold_back(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, ledger = make_server(), SlowLedger("reserve")
    guard = make_guard(ledger=ledger)

    async with guard.run("agent", budget=tg.Budget(usd="0.10")) as run:
        task = asyncio.create_task(guard.acompletion(PENNY, ask(), max_tokens=400, **at(server)))
        await reached(ledger.reached)
        await cancelled(task)

    assert run.receipt().held == tg.Money(0)
    assert run.receipt().cost == tg.Money(0)
    assert server.count == 0


async def test_cancelled_while_waiting_for_room_leaves_the_line(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=400, latency_s=0.3)), make_guard()

    async with guard.run("agent", budget=tg.Budget(usd="0.015")) as run:
        first = asyncio.create_task(guard.acompletion(PENNY, ask(1), max_tokens=400, **at(server)))
        await asyncio.sleep(0.05)
        waiter = asyncio.create_task(guard.acompletion(PENNY, ask(2), max_tokens=400, **at(server)))
        await asyncio.sleep(0.05)
        await cancelled(waiter)
        await first

    assert server.count == 1
    assert run.receipt().cost == tg.Money("0.01")
    assert guard._late.get().lines._lines == {}


async def test_cancelled_after_sending_keeps_the_hold_because_the_provider_may_bill(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(Reply(completion_tokens=400, latency_s=5)), make_guard(database)

    async with guard.run("agent", budget=tg.Budget(usd="0.10")) as run:
        task = asyncio.create_task(guard.acompletion(PENNY, ask(), max_tokens=400, **at(server)))
        while not server.count:
            await asyncio.sleep(0.01)
        await cancelled(task)

    assert run.receipt().held == tg.Money("0.01")
    assert run.receipt().cost == tg.Money(0)


async def test_cancelled_while_settling_is_settled_first(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, ledger = make_server(), SlowLedger("settle")
    guard = make_guard(ledger=ledger)

    async with guard.run("agent", budget=tg.Budget(usd="0.10")) as run:
        task = asyncio.create_task(guard.acompletion(PENNY, ask(), max_tokens=400, **at(server)))
        await reached(ledger.reached)
        await cancelled(task)

    assert run.receipt().cost == tg.Money("0.01")
    assert run.receipt().held == tg.Money(0)


async def test_a_coroutine_that_is_thrown_away_while_reserving_gives_its_hold_back(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, ledger = make_server(), SlowLedger("reserve")
    # Without rules of repetition, which ask the books for their key first: one step leads to the reservation.
    guard = make_guard(ledger=ledger, loops=False)

    async with guard.run("agent", budget=tg.Budget(usd="0.10")) as run:
        await guard._late.aget()
        coroutine = guard.acompletion(PENNY, ask(), max_tokens=400, **at(server))
        coroutine.send(None)
        await reached(ledger.reached)
        coroutine.close()
        del coroutine
        gc.collect()
        await asyncio.sleep(0.5)

    assert run.receipt().held == tg.Money(0)
    assert server.count == 0


def test_a_settlement_outlives_the_event_loop(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, ledger = make_server(), SlowLedger("settle")
    guard = make_guard(ledger=ledger)
    runs: list[Any] = []

    async def main() -> None:
        async with guard.run("agent") as run:
            runs.append(run)
            background = asyncio.create_task(guard.acompletion(PENNY, ask(), max_tokens=400, **at(server)))
            await reached(ledger.reached)
            background.cancel()

    asyncio.run(main())

    assert runs[0].receipt().cost == tg.Money("0.01")


async def test_a_timeout_around_a_waiting_call_sends_nothing(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=400, latency_s=1)), make_guard()

    async with guard.run("agent", budget=tg.Budget(usd="0.01")):
        first = asyncio.create_task(guard.acompletion(PENNY, ask(1), max_tokens=400, **at(server)))
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await guard.acompletion(PENNY, ask(2), max_tokens=400, **at(server))
        await first

    assert server.count == 1
