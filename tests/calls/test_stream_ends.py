"""The rarer ends of a stream: each books once, closes the upstream, and hands the error out in its turn."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedStream
from tokenguard.calls.holders import Holders
from tokenguard.calls.iterate import AsyncStream, Stream
from tokenguard.core.leases import BEAT_S
from tokenguard.core.ports import Failure, Request
from tokenguard.testing import FakeClock, ScriptedBackend, ScriptedReply

REPLY = ScriptedReply("one two three four", usage={"prompt_tokens": 0, "completion_tokens": 400})
Chunks = Callable[[Iterator[Any]], Iterator[Any]]


class Wire(ScriptedBackend):
    """A backend whose streams pass through a function, as bytes pass through a network."""

    def __init__(self, through: Chunks = iter, reply: ScriptedReply = REPLY) -> None:
        super().__init__(lambda _: reply)
        self._through = through
        self.billed = True

    def send(self, request: Request) -> Any:
        return ScriptedStream(self._through(super().send(request)), self)

    def failure(self, error: BaseException, *, handling: BaseException | None = None) -> Failure:
        return Failure(billed=self.billed, retryable=False, error_class=type(error).__name__)


def guarded(backend: ScriptedBackend, **arguments: Any) -> tg.Guard:
    return tg.Guard(database="memory", backend=backend, prices=PRICES, clock=FakeClock(), **arguments)


def stream(guard: tg.Guard, **options: Any) -> Any:
    return guard.completion(PENNY, ask(), max_tokens=400, stream=True, **options)


async def astream(guard: tg.Guard, **options: Any) -> Any:
    return await guard.acompletion(PENNY, ask(), max_tokens=400, stream=True, **options)


def text(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.get("content") or "" for chunk in chunks)


def cut_after_finish(chunks: Iterator[Any]) -> Iterator[Any]:
    """The connection breaks where the usage would come."""
    for chunk in chunks:
        yield chunk
        if chunk.choices[0].finish_reason:
            raise ConnectionError("reset by peer")


def cut_at_once(_: Iterator[Any]) -> Iterator[Any]:
    raise ConnectionError("reset by peer")
    yield


def interrupted(chunks: Iterator[Any]) -> Iterator[Any]:
    """Somebody presses Ctrl-C while the third chunk is awaited."""
    yield next(chunks)
    yield next(chunks)
    raise KeyboardInterrupt


def without_finish(chunks: Iterator[Any]) -> Iterator[Any]:
    """A server that ends its stream without saying why."""
    return (chunk for chunk in chunks if not chunk.choices[0].finish_reason and chunk.get("usage") is None)


def test_leaving_the_block_of_a_stream_closes_it_and_books_what_came() -> None:
    backend = Wire()

    with guarded(backend) as guard, guard.run("agent") as run:
        with stream(guard) as chunks:
            next(chunks)
            next(chunks)
        rest = list(chunks)

    assert rest == []
    assert backend.closed_streams == 1
    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)


def test_a_stream_that_was_read_to_its_end_stays_at_its_end() -> None:
    with guarded(Wire()) as guard, guard.run("agent") as run:
        with stream(guard) as chunks:
            first = list(chunks)
            again = [list(chunks), list(chunks)]
        chunks.close()

    assert text(first) == "one two three four"
    assert again == [[], []]
    assert run.receipt().cost == tg.Money("0.01")
    assert run.receipt().calls == 1


async def test_an_async_stream_that_was_read_to_its_end_stays_at_its_end() -> None:
    with guarded(Wire()) as guard:
        async with guard.run("agent") as run:
            async with await astream(guard) as chunks:
                first = [chunk async for chunk in chunks]
                again = [chunk async for chunk in chunks]

    assert text(first) == "one two three four"
    assert again == []
    assert run.receipt().cost == tg.Money("0.01")


def test_a_stream_knows_its_receipt_only_after_its_end() -> None:
    with guarded(Wire()) as guard, guard.run("agent"):
        chunks = stream(guard)
        next(chunks)
        before = chunks.receipt, tg.receipt_of(chunks)
        list(chunks)
        after = chunks.receipt

    assert before == (None, None)
    assert after is tg.receipt_of(chunks) is not None
    assert after.usage.output_tokens == 400


def test_what_the_upstream_knows_about_itself_shines_through() -> None:
    with guarded(Wire()) as guard, guard.run("agent"):
        chunks = stream(guard)
        upstream = chunks.tap.upstream
        upstream.response_headers = {"x-request-id": "r1"}

        assert chunks.response_headers == {"x-request-id": "r1"}
        with pytest.raises(AttributeError):
            _ = chunks.nothing_like_this


def test_an_error_in_place_of_the_usage_comes_after_the_finish_chunk_and_the_answer_is_counted() -> None:
    seen: list[Any] = []

    with guarded(Wire(cut_after_finish)) as guard, guard.run("agent") as run:
        chunks = stream(guard)
        with pytest.raises(ConnectionError, match="reset by peer"):
            for chunk in chunks:
                seen.append(chunk)  # noqa: PERF402  # what came before the error is what is looked at
        rest = list(chunks)

    assert text(seen) == "one two three four"
    assert seen[-1].choices[0].finish_reason == "stop"
    assert rest == []
    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)


async def test_the_same_under_asyncio() -> None:
    seen: list[Any] = []

    async def read(chunks: AsyncIterator[Any]) -> None:
        async for chunk in chunks:
            seen.append(chunk)

    with guarded(Wire(cut_after_finish)) as guard:
        async with guard.run("agent") as run:
            chunks = await astream(guard)
            with pytest.raises(ConnectionError, match="reset by peer"):
                await read(chunks)
            rest = [chunk async for chunk in chunks]

    assert text(seen) == "one two three four"
    assert seen[-1].choices[0].finish_reason == "stop"
    assert rest == []
    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)


def test_a_stream_that_breaks_before_anything_came_costs_nothing_where_nothing_was_billed() -> None:
    backend = Wire(cut_at_once)
    backend.billed = False

    with guarded(backend) as guard, guard.run("agent") as run, pytest.raises(ConnectionError):
        list(stream(guard))

    assert (run.receipt().cost, run.receipt().held) == (tg.Money(0), tg.Money(0))
    assert run.receipt().calls == 1


async def test_a_stream_that_breaks_where_nobody_knows_keeps_its_hold() -> None:
    with guarded(Wire(cut_at_once)) as guard:
        async with guard.run("agent") as run:
            with pytest.raises(ConnectionError):
                _ = [chunk async for chunk in await astream(guard)]

    assert (run.receipt().cost, run.receipt().held) == (tg.Money(0), tg.Money("0.01"))


def test_a_stream_without_a_finish_is_counted() -> None:
    with guarded(Wire(without_finish)) as guard, guard.run("agent") as run:
        chunks = list(stream(guard))

    assert text(chunks) == "one two three four"
    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)
    assert run.receipt().held == tg.Money(0)


async def test_an_async_stream_without_usage_is_counted() -> None:
    silent = ScriptedReply("one two three four", usage=None)

    with guarded(Wire(reply=silent)) as guard:
        async with guard.run("agent") as run:
            chunks = [chunk async for chunk in await astream(guard)]

    assert text(chunks) == "one two three four"
    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)


async def test_a_run_thrown_away_with_its_coroutine_drops_its_streams_and_ends() -> None:
    backend, runs = Wire(), []

    with guarded(backend) as guard:

        async def work() -> None:
            async with guard.run("agent") as run:
                runs.append(run)
                runs.append(await astream(guard))
                await anext(runs[-1])
                runs.append(stream(guard))
                await asyncio.Event().wait()

        await guard.late.aget()
        coroutine = work()
        coroutine.send(None)
        coroutine.close()
        guard.late.get().reaper.finish()
        receipt = runs[0].receipt()

    assert receipt.node.ended_at is not None
    assert receipt.held == tg.Money(0)
    assert receipt.calls == 2


@pytest.mark.parametrize("kind", [Stream, AsyncStream])
def test_a_stream_that_was_never_made_is_collected_without_a_word(kind: Any) -> None:
    stillborn = kind.__new__(kind)

    stillborn.__del__()

    assert stillborn.__dict__ == {}


def test_an_interrupt_from_the_keyboard_closes_the_stream_and_books_what_came() -> None:
    backend = Wire(interrupted)

    with guarded(backend) as guard, guard.run("agent") as run, pytest.raises(KeyboardInterrupt):
        list(stream(guard))

    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)
    assert run.receipt().held == tg.Money(0)


def test_a_stream_dropped_after_its_loop_ended_is_booked() -> None:
    backend, kept = Wire(), []

    with guarded(backend) as guard:

        async def main() -> Any:
            async with guard.run("agent") as run:
                chunks = await astream(guard)
                await anext(chunks)
                chunks.tap.sent.attempt.call.node.streams = Holders()  # so that the end of the block leaves it open
                kept.append(chunks)
            return run

        run = asyncio.run(main())
        kept.clear()
        gc.collect()
        parts = guard._late.get()
        parts.reaper.finish()

    assert run.receipt().held == tg.Money(0)
    assert run.receipt().cost > tg.Money(0)


def test_a_guard_that_is_closed_closes_its_open_streams() -> None:
    backend = Wire()
    guard = guarded(backend)
    with pytest.warns(tg.UnattributedSpend):
        chunks = stream(guard)
    next(chunks)

    guard.close()
    guard.close()

    (row,) = guard._late.get().ledger.spend(["scope"])
    assert backend.closed_streams == 1
    assert row.usd > tg.Money(0)
    assert list(chunks) == []


def test_the_end_of_a_blocking_run_drops_an_async_stream() -> None:
    backend = Wire()

    with guarded(backend) as guard:

        async def main() -> Any:
            with guard.run("agent") as run:
                chunks = await astream(guard)
                await anext(chunks)
                await anext(chunks)
            return run, chunks

        run, chunks = asyncio.run(main())
        guard._late.get().executor.shutdown(wait=True)

    assert chunks.tap.settled
    assert run.receipt().cost > tg.Money(0)
    assert run.receipt().held == tg.Money(0)


async def test_the_end_of_an_async_run_closes_a_blocking_stream() -> None:
    backend = Wire()

    with guarded(backend) as guard:
        async with guard.run("agent") as run:
            chunks = stream(guard)
            next(chunks)

    assert backend.closed_streams == 1
    assert run.receipt().held == tg.Money(0)


def test_the_hold_of_a_long_stream_is_renewed_while_it_is_read() -> None:
    clock, going, released = FakeClock(), threading.Event(), threading.Event()

    def paced(chunks: Iterator[Any]) -> Iterator[Any]:
        for number, chunk in enumerate(chunks):
            if number == 2:
                going.set()
                released.wait(20)
            yield chunk

    backend = Wire(paced)
    guard = tg.Guard(database="memory", backend=backend, prices=PRICES, clock=clock)

    with guard, guard.run("agent") as run:
        chunks = stream(guard, timeout=10)
        reader = threading.Thread(target=list, args=(chunks,))
        reader.start()
        going.wait(20)
        parts = guard._late.get()
        clock.advance(100)
        parts.watch._renewed_s -= BEAT_S
        parts.watch._looked()
        clock.advance(100)
        swept = parts.ledger.sweep()
        released.set()
        reader.join(20)

    assert swept == 0
    assert run.receipt().cost == tg.Money("0.01")


PROGRAM = """
    import tokenguard as tg
    from tokenguard.testing import ScriptedBackend, ScriptedReply

    guard = tg.Guard(database={database!r}, backend=ScriptedBackend(lambda _: ScriptedReply("one two three four")),
                     prices={prices!r})
    run = guard.run("agent")
    run.__enter__()
    stream = guard.completion({model!r}, [{{"role": "user", "content": "hi"}}], max_tokens=400, stream=True)
    next(stream)
    next(stream)
    print(run.id)
    {ending}
"""


@pytest.mark.parametrize("ending", ["pass", "del stream", "import sys; sys.exit(0)"])
def test_an_interpreter_that_exits_with_an_open_stream_books_it_and_ends_quietly(tmp_path: Any, ending: str) -> None:
    database = str(tmp_path / "spend.db")
    program = textwrap.dedent(PROGRAM.format(database=database, prices=PRICES, model=PENNY, ending=ending))

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    with tg.Guard(database=database) as reader:
        (node,) = reader._late.get().ledger.tree(done.stdout.strip())
    assert (done.returncode, done.stderr) == (0, "")
    assert node.usd + node.held > tg.Money(0)
