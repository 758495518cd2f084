"""A stop reaches streams whose provider says nothing: who waits for a chunk hears of it, and what came is booked."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from support import PENNY, PRICES, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.core import events
from tokenguard.testing import ScriptedBackend
from tokenguard.testing.model_server import ModelServer, Reply

VLLM = "hosted_vllm/penny"
CARDS = {"prices": {**PRICES["prices"], VLLM: PRICES["prices"][PENNY]}}
SOON_S = 30.0
"""Long enough for a slow machine, and far below every timeout of a provider's client."""

UNSAID = Reply("one two three", stall=5)
"""Falls silent after the finish, before it says what was used."""
SILENT = Reply(completion_tokens=400, stall=5)
"""Falls silent after five chunks, and keeps the connection."""


class Reader:
    """A consumer in a thread or task of its own."""

    def __init__(self) -> None:
        self.chunks = 0
        self.waits = threading.Event()
        self.error: BaseException | None = None

    def read(self, stream: Any) -> None:
        try:
            for _ in stream:
                self._count()
        except BaseException as error:
            self.error = error

    async def aread(self, stream: Any) -> None:
        try:
            async for _ in stream:
                self._count()
        except BaseException as error:
            self.error = error

    def _count(self) -> None:
        self.chunks += 1
        if self.chunks == 3:
            self.waits.set()


def opened(guard: tg.Guard, operation: str, model: str, server: ModelServer) -> Any:
    options = {"stream": True, **at(server)}
    if operation == "responses":
        return guard.responses(input="question", model=model, **options)
    return guard.completion(model, ask(), max_tokens=4_000, **options)


async def aopened(guard: tg.Guard, operation: str, model: str, server: ModelServer) -> Any:
    options = {"stream": True, **at(server)}
    if operation == "responses":
        return await guard.aresponses(input="question", model=model, **options)
    return await guard.acompletion(model, ask(), max_tokens=4_000, **options)


ways = pytest.mark.parametrize(
    ("operation", "model"), [("chat", PENNY), ("chat", VLLM), ("responses", "openai/gpt-4o")]
)


@ways
def test_a_kill_wakes_a_thread_that_waits_for_a_chunk(
    make_guard: MakeGuard, make_server: MakeServer, operation: str, model: str
) -> None:
    server, guard, reader = make_server(SILENT), make_guard(prices=CARDS), Reader()

    with guard.run("agent") as run:
        stream = opened(guard, operation, model, server)
        thread = threading.Thread(target=reader.read, args=(stream,), daemon=True)
        thread.start()
        assert reader.waits.wait(SOON_S)
        guard.kill(run.id, why="enough", by="ada")
        thread.join(SOON_S)
        receipt = run.receipt()

    assert isinstance(reader.error, tg.RunRevoked)
    assert reader.chunks <= 5
    assert (receipt.held, receipt.assumed) == (tg.Money(0), tg.Money(0))
    assert receipt.estimated == receipt.cost > tg.Money(0)
    assert server.wait_idle()
    assert server.exchanges[0].client_left


@ways
async def test_a_kill_wakes_a_task_that_waits_for_a_chunk(
    make_guard: MakeGuard, make_server: MakeServer, operation: str, model: str
) -> None:
    server, guard, reader = make_server(SILENT), make_guard(prices=CARDS), Reader()

    async with guard.run("agent") as run:
        task = asyncio.create_task(reader.aread(await aopened(guard, operation, model, server)))
        assert await asyncio.to_thread(reader.waits.wait, SOON_S)
        guard.kill(run.id, why="enough", by="ada")
        async with asyncio.timeout(SOON_S):
            await task
        receipt = run.receipt()

    assert isinstance(reader.error, tg.RunRevoked)
    assert task.cancelling() == 0
    assert (receipt.held, receipt.assumed) == (tg.Money(0), tg.Money(0))
    assert receipt.estimated == receipt.cost > tg.Money(0)
    assert await asyncio.to_thread(server.wait_idle)
    assert server.exchanges[0].client_left


def test_a_stop_by_another_guard_is_heard_by_a_thread_that_waits_for_a_chunk(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    server, reader, place = make_server(SILENT), Reader(), str(tmp_path / "spend.db")
    guard, other = make_guard(place), make_guard(place)

    with guard.run("agent") as run:
        thread = threading.Thread(target=reader.read, args=(opened(guard, "chat", PENNY, server),), daemon=True)
        thread.start()
        assert reader.waits.wait(SOON_S)
        other.kill(run.id, why="enough", by="ada")
        stopped_s = time.monotonic()
        thread.join(SOON_S)

    assert isinstance(reader.error, tg.RunRevoked)
    assert time.monotonic() - stopped_s < SOON_S
    assert run.receipt().estimated > tg.Money(0)


def test_a_run_whose_time_is_over_ends_the_wait_of_a_silent_stream(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard, reader = make_server(SILENT), make_guard(), Reader()

    with guard.run("agent", budget=tg.Budget(wall=timedelta(seconds=0.3))):
        reader.read(opened(guard, "chat", PENNY, server))

    assert isinstance(reader.error, tg.BudgetExceeded)
    assert 3 <= reader.chunks <= 5


def test_a_stream_that_nobody_reads_is_closed_at_the_server_and_raises_when_it_is_read_also_after_a_resume(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(endless=True, pace_s=0.01)), make_guard()

    with guard.run("agent") as run:
        stream = opened(guard, "chat", PENNY, server)
        next(stream)
        guard.kill(run.id, why="enough", by="ada")
        idle = server.wait_idle()
        guard.resume(run.id, why="go on", by="ada")
        with pytest.raises(tg.RunRevoked):
            next(stream)
        with pytest.raises(StopIteration):
            next(stream)
        receipt = run.receipt()

    assert idle
    assert (receipt.held, receipt.cost) == (tg.Money(0), receipt.estimated)


async def test_an_async_stream_that_nobody_reads_is_closed_at_the_server_and_raises_when_it_is_read(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(endless=True, pace_s=0.01)), make_guard()

    async with guard.run("agent") as run:
        stream = await aopened(guard, "chat", PENNY, server)
        await anext(stream)
        guard.kill(run.id, why="enough", by="ada")
        idle = await asyncio.to_thread(server.wait_idle)
        with pytest.raises(tg.RunRevoked):
            await anext(stream)
        receipt = run.receipt()

    assert idle
    assert (receipt.held, receipt.cost) == (tg.Money(0), receipt.estimated)


async def test_a_task_that_is_cancelled_and_stopped_at_once_stays_cancelled(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(SILENT), make_guard()

    async def read(stream: Any) -> None:
        async for _ in stream:
            reader.set()

    async with guard.run("agent") as run:
        reader = asyncio.Event()
        task = asyncio.create_task(read(await aopened(guard, "chat", PENNY, server)))
        await reader.wait()
        guard.kill(run.id, why="enough", by="ada")
        await asyncio.sleep(0)  # The stop is on its way to the loop.
        task.cancel()
        await asyncio.wait((task,), timeout=SOON_S)
        receipt = run.receipt()

    assert task.cancelled()
    assert receipt.held == tg.Money(0)


# ---- rarer moments -------------------------------------------------------------------------------------------------


def test_a_kill_wakes_a_thread_that_waits_for_what_was_used(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard, reader = make_server(UNSAID), make_guard(), Reader()

    with guard.run("agent") as run:
        thread = threading.Thread(target=reader.read, args=(opened(guard, "chat", PENNY, server),), daemon=True)
        thread.start()
        assert reader.waits.wait(SOON_S)
        guard.kill(run.id, why="enough", by="ada")
        thread.join(SOON_S)
        receipt = run.receipt()

    assert isinstance(reader.error, tg.RunRevoked)
    assert (receipt.held, receipt.cost) == (tg.Money(0), receipt.estimated)


async def test_a_kill_wakes_a_task_that_waits_for_what_was_used(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard, reader = make_server(UNSAID), make_guard(), Reader()

    async with guard.run("agent") as run:
        task = asyncio.create_task(reader.aread(await aopened(guard, "chat", PENNY, server)))
        assert await asyncio.to_thread(reader.waits.wait, SOON_S)
        guard.kill(run.id, why="enough", by="ada")
        async with asyncio.timeout(SOON_S):
            await task
        receipt = run.receipt()

    assert isinstance(reader.error, tg.RunRevoked)
    assert (receipt.held, receipt.cost) == (tg.Money(0), receipt.estimated)


class Deaf(ScriptedBackend):
    """A backend whose streams wait until they are told to go on, and then deliver, whatever happened meanwhile."""

    def __init__(self, *, closes: bool = True) -> None:
        super().__init__(["one two three"])
        self.closes = closes
        self.asked, self.told = threading.Event(), threading.Event()

    def send(self, request: Any) -> Any:
        chunks = super().send(request)

        def slow() -> Iterator[Any]:
            for chunk in chunks:
                yield chunk
                self.asked.set()
                self.told.wait(SOON_S)

        return slow()

    async def asend(self, request: Any) -> Any:
        chunks = super().send(request)

        async def stubborn() -> AsyncIterator[Any]:
            for chunk in chunks:
                yield chunk
                self.asked.set()
                try:
                    await asyncio.sleep(SOON_S)
                except asyncio.CancelledError:
                    self.told.set()

        return stubborn()

    def close_stream(self, stream: Any) -> None:
        if not self.closes:
            raise OSError("it does not close")

    async def aclose_stream(self, stream: Any) -> None:
        pass


def deaf_guard(backend: Deaf) -> tg.Guard:
    return tg.Guard(database="memory", backend=backend, prices=PRICES)


@pytest.mark.parametrize("closes", [True, False])
def test_what_a_backend_delivers_after_the_stop_is_not_handed_out_and_one_that_cannot_close_is_told(
    closes: Any,
) -> None:
    backend, reader, faults = Deaf(closes=closes), Reader(), []
    with deaf_guard(backend) as guard, guard.run("agent") as run:
        guard.on(events.Fault, lambda fault: faults.append(fault.where))
        stream = guard.completion(PENNY, ask(), max_tokens=400, stream=True)
        thread = threading.Thread(target=reader.read, args=(stream,), daemon=True)
        thread.start()
        assert backend.asked.wait(SOON_S)
        guard.kill(run.id, why="enough", by="ada")
        backend.closes = True
        backend.told.set()
        thread.join(SOON_S)

    assert isinstance(reader.error, tg.RunRevoked)
    assert reader.chunks == 1
    assert faults == ([] if closes else ["watch"])


async def test_an_upstream_that_swallows_our_cancellation_leaves_no_trace_of_it_on_the_task() -> None:
    backend, reader = Deaf(), Reader()
    with deaf_guard(backend) as guard:
        async with guard.run("agent") as run:
            stream = await guard.acompletion(PENNY, ask(), max_tokens=400, stream=True)
            task = asyncio.create_task(reader.aread(stream))
            assert await asyncio.to_thread(backend.asked.wait, SOON_S)
            guard.kill(run.id, why="enough", by="ada")
            async with asyncio.timeout(SOON_S):
                await task

    assert backend.told.is_set()
    assert isinstance(reader.error, tg.RunRevoked)
    assert (reader.chunks, task.cancelling()) == (1, 0)


async def test_a_stream_that_is_closed_while_its_stop_is_on_the_way_is_closed_once() -> None:
    backend = ScriptedBackend(["one two three"])
    with tg.Guard(database="memory", backend=backend, prices=PRICES) as guard:
        async with guard.run("agent") as run:
            stream = await guard.acompletion(PENNY, ask(), max_tokens=400, stream=True)
            await anext(stream)
            guard.kill(run.id, why="enough", by="ada")
            await stream.aclose()
            await asyncio.sleep(0)

    assert backend.closed_streams == 1


def test_a_stream_of_a_loop_that_is_over_is_stopped_without_a_fuss() -> None:
    backend, faults = ScriptedBackend(["one two three"]), []
    with tg.Guard(database="memory", backend=backend, prices=PRICES) as guard, guard.run("agent") as run:
        guard.on(events.Fault, faults.append)
        stream = asyncio.run(guard.acompletion(PENNY, ask(), max_tokens=400, stream=True))
        gc.collect()
        closed = guard.kill(run.id, why="enough", by="ada")

    assert closed
    assert stream.settled
    assert faults == []
