"""Streams whose reader or whose close is cancelled, and runs that close them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.core.ports import Request
from tokenguard.testing import FakeClock, ScriptedBackend, ScriptedReply

REPLY = ScriptedReply("one two three four", usage={"prompt_tokens": 0, "completion_tokens": 400})


def guarded(backend: ScriptedBackend, **arguments: Any) -> tg.Guard:
    return tg.Guard(database="memory", backend=backend, prices=PRICES, clock=FakeClock(), **arguments)


async def astream(guard: tg.Guard, **options: Any) -> Any:
    return await guard.acompletion(PENNY, ask(), max_tokens=400, stream=True, **options)


class SlowChunks:
    """Chunks for asyncio, one of which never comes."""

    def __init__(self, chunks: Iterator[Any], never: Callable[[Any], bool], reached: asyncio.Event) -> None:
        self._chunks, self._never, self._reached = chunks, never, reached

    async def __anext__(self) -> Any:
        chunk = next(self._chunks)
        if self._never(chunk):
            self._reached.set()
            await asyncio.Event().wait()
        return chunk


class Slow(ScriptedBackend):
    """Streams that stop coming, and closes that take as long as they are told."""

    def __init__(self, never: Callable[[Any], bool]) -> None:
        super().__init__(lambda _: REPLY)
        self._never = never
        self.reached = asyncio.Event()
        self.closing, self.may_close = asyncio.Event(), asyncio.Event()
        self.may_close.set()

    async def asend(self, request: Request) -> Any:
        return SlowChunks(super().send(request), self._never, self.reached)

    async def aclose_stream(self, stream: Any) -> None:  # the port's signature
        self.closing.set()
        await self.may_close.wait()
        self.closed_streams += 1


def is_usage(chunk: Any) -> bool:
    return chunk.get("usage") is not None


def is_second_word(chunk: Any) -> bool:
    return bool(chunk.choices[0].delta.get("content") == " two")


async def consume(guard: tg.Guard) -> None:
    async for _ in await astream(guard):
        pass


async def test_a_run_cancelled_while_it_closes_its_streams_closes_them_all_and_ends() -> None:
    backend = Slow(is_usage)
    backend.may_close.clear()
    runs: list[Any] = []

    with guarded(backend) as guard:

        async def work() -> None:
            async with guard.run("agent") as run:
                runs.append(run)
                for _ in range(2):
                    chunks = await astream(guard)
                    await anext(chunks)
                    runs.append(chunks)

        task = asyncio.create_task(work())
        await backend.closing.wait()
        task.cancel()
        await asyncio.sleep(0)
        backend.may_close.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert backend.closed_streams == 2
    assert runs[0].receipt().node.outcome == "cancelled"
    assert runs[0].receipt().held == tg.Money(0)


@pytest.mark.parametrize("never", [is_usage, is_second_word])
async def test_a_consumer_cancelled_while_a_chunk_is_awaited_pays_for_what_came(never: Any) -> None:
    backend = Slow(never)

    with guarded(backend) as guard:
        async with guard.run("agent") as run:
            task = asyncio.create_task(consume(guard))
            await backend.reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert backend.closed_streams == 1
    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)
    assert run.receipt().held == tg.Money(0)


async def test_a_close_that_is_cancelled_is_finished_first_and_books() -> None:
    backend = Slow(is_usage)
    backend.may_close.clear()

    with guarded(backend) as guard:
        async with guard.run("agent") as run:
            chunks = await astream(guard)
            await anext(chunks)
            await anext(chunks)
            task = asyncio.create_task(chunks.aclose())
            await backend.closing.wait()
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            running = not task.done()
            backend.may_close.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert running
    assert backend.closed_streams == 1
    assert run.receipt().cost > tg.Money(0)
    assert run.receipt().held == tg.Money(0)


async def test_a_consumer_whose_coroutine_is_thrown_away_drops_its_stream() -> None:
    backend = Slow(is_second_word)

    with guarded(backend) as guard:
        async with guard.run("agent") as run:
            chunks = await astream(guard)
            await anext(chunks)
            await anext(chunks)
            reading = chunks.__anext__()
            reading.send(None)
            reading.close()
            del reading
            settled = chunks.tap.settled
            await backend.closing.wait()

    assert settled
    assert run.receipt().cost > tg.Money(0)
    assert run.receipt().held == tg.Money(0)
