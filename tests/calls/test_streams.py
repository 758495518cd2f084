"""Streams settle exactly once, however they end, and their chunks are LiteLLM's own."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

import litellm
import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.core.receipt import CallReceipt
from tokenguard.testing.model_server import ModelServer, Reply

LONG = Reply(completion_tokens=500, pace_s=0.005)
MODEL = "openai/gpt-4o-mini"


def spent(guard: tg.Guard, run: Any, seconds: float = 5.0) -> Any:
    """The run's receipt once nothing is held any more."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        receipt = run.receipt()
        if receipt.cost and not receipt.held:
            return receipt
        time.sleep(0.01)
    return run.receipt()


def assert_cut_and_counted(server: ModelServer, receipt: Any) -> None:
    time.sleep(0.1)
    assert server.sent_chunks[0] <= 55
    assert receipt.cost > tg.Money(0)
    assert receipt.cost == receipt.estimated
    assert receipt.held == tg.Money(0)


def test_a_stream_read_to_its_end_books_what_the_provider_reported(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(Reply(text="one two three", prompt_tokens=100)), make_guard(database)

    with guard.run("agent") as run:
        stream = guard.completion(MODEL, ask(), stream=True, **at(server))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    receipt = tg.receipt_of(stream)
    assert text == "one two three"
    assert isinstance(receipt, CallReceipt)
    assert receipt.quality == "reported"
    assert receipt.usage is not None
    assert (receipt.usage.input_tokens, receipt.usage.output_tokens) == (100, 3)
    assert run.receipt().cost == receipt.cost


def test_a_consumer_that_breaks_at_the_finish_reason_still_books_reported(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(text="one two three", prompt_tokens=100)), make_guard()

    with guard.run("agent") as run:
        for chunk in guard.completion(MODEL, ask(), stream=True, **at(server)):
            if chunk.choices[0].finish_reason:
                break

    assert run.receipt().cost > tg.Money(0)
    assert run.receipt().estimated == tg.Money(0)


def test_a_consumer_that_closes_at_chunk_fifty_pays_for_fifty(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(LONG), make_guard(database)

    with guard.run("agent") as run:
        stream = guard.completion(MODEL, ask(), stream=True, **at(server))
        for _ in range(50):
            next(stream)
        stream.close()
        receipt = spent(guard, run)

    assert_cut_and_counted(server, receipt)


def test_a_stream_whose_last_reference_is_dropped_is_closed_and_counted(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(LONG), make_guard(database)

    with guard.run("agent") as run:
        stream = guard.completion(MODEL, ask(), stream=True, **at(server))
        for _ in range(50):
            next(stream)
        del stream
        gc.collect()
        receipt = spent(guard, run)

    assert_cut_and_counted(server, receipt)


def test_the_end_of_its_runs_block_closes_a_stream(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(LONG), make_guard(database)

    with guard.run("agent") as run:
        stream = guard.completion(MODEL, ask(), stream=True, **at(server))
        for _ in range(50):
            next(stream)

    assert_cut_and_counted(server, run.receipt())
    assert list(stream) == []


async def test_an_async_consumer_that_closes_pays_for_what_came(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(LONG), make_guard(database)

    async with guard.run("agent") as run:
        stream = await guard.acompletion(MODEL, ask(), stream=True, **at(server))
        for _ in range(50):
            await anext(stream)
        await stream.aclose()

    assert_cut_and_counted(server, run.receipt())


async def test_a_cancelled_consumer_pays_for_what_came(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(LONG), make_guard(database)
    reached = asyncio.Event()

    async def consume() -> None:
        seen = 0
        async for _ in await guard.acompletion(MODEL, ask(), stream=True, **at(server)):
            seen += 1
            if seen == 45:
                reached.set()

    async with guard.run("agent") as run:
        task = asyncio.create_task(consume())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert_cut_and_counted(server, run.receipt())


async def test_an_async_stream_that_is_dropped_is_closed_and_counted(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(LONG), make_guard(database)

    async with guard.run("agent") as run:
        stream = await guard.acompletion(MODEL, ask(), stream=True, **at(server))
        for _ in range(50):
            await anext(stream)
        del stream
        gc.collect()
        await asyncio.sleep(0.2)

    assert_cut_and_counted(server, run.receipt())


async def test_the_end_of_its_runs_block_closes_an_async_stream(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(LONG), make_guard(database)

    async with guard.run("agent") as run:
        stream = await guard.acompletion(MODEL, ask(), stream=True, **at(server))
        for _ in range(50):
            await anext(stream)

    assert_cut_and_counted(server, run.receipt())
    assert [chunk async for chunk in stream] == []


def test_a_kill_in_mid_stream_lets_no_further_chunk_out(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(LONG), make_guard()
    seen = 0

    with guard.run("agent") as run, pytest.raises(tg.RunRevoked):
        for _ in guard.completion(MODEL, ask(), stream=True, **at(server)):
            seen += 1
            if seen == 20:
                guard.kill(run.id, why="enough")

    assert seen == 20
    assert run.receipt().estimated > tg.Money(0)


def test_a_kill_by_another_guard_on_the_same_file_is_heard_within_a_second(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    server = make_server(Reply(completion_tokens=5_000, pace_s=0.005))
    guard, other = make_guard(str(tmp_path / "spend.db")), make_guard(str(tmp_path / "spend.db"))
    killed_s = 0.0

    with guard.run("agent") as run, pytest.raises(tg.RunRevoked):
        for number, _ in enumerate(guard.completion(MODEL, ask(), stream=True, **at(server))):
            if number == 20:
                other.kill(run.id, why="enough", by="ada")
                killed_s = time.monotonic()

    assert time.monotonic() - killed_s < 1.5


def test_a_server_that_omits_usage_is_counted_and_not_free(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=200, usage_mode="never")), make_guard()

    with guard.run("agent") as run:
        streamed = guard.completion(MODEL, ask(), stream=True, **at(server))
        list(streamed)
        whole = guard.completion(MODEL, ask(1), **at(server))

    receipts = [tg.receipt_of(streamed), tg.receipt_of(whole)]
    assert [one.quality for one in receipts if one] == ["estimated", "estimated"]
    assert all(one is not None and one.usage is not None and one.usage.output_tokens >= 150 for one in receipts)
    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)


def test_a_stream_cut_by_the_network_keeps_its_hold(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=50, cut=10)), make_guard()

    with guard.run("agent") as run, pytest.raises(litellm.exceptions.MidStreamFallbackError, match="peer closed"):
        list(guard.completion(MODEL, ask(), stream=True, **at(server)))

    assert run.receipt().held > tg.Money(0)
    assert run.receipt().cost == tg.Money(0)


def test_a_reasoning_models_closed_stream_keeps_its_hold(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(LONG), make_guard()

    with guard.run("agent") as run:
        stream = guard.completion("openai/gpt-5-mini", ask(), stream=True, **at(server))
        next(stream)
        stream.close()

    assert run.receipt().held > tg.Money(0)


def test_an_endless_stream_that_ignores_its_maximum_is_closed(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(endless=True)), make_guard()

    with guard.run("agent") as run, pytest.raises(tg.CallTooLarge, match="ignores max_tokens"):
        for _ in guard.completion(PENNY, ask(), stream=True, max_tokens=400, **at(server)):
            pass

    assert run.receipt().cost >= tg.Money("0.01")


@pytest.mark.parametrize("include_usage", [None, True])
@pytest.mark.parametrize("answers", [1, 2])
def test_chunk_sequences_equal_bare_litellms(
    make_guard: MakeGuard, make_server: MakeServer, include_usage: object, answers: int
) -> None:
    server, guard = make_server(Reply(text="one two three four", prompt_tokens=7)), make_guard()
    options: dict[str, Any] = {"stream": True, "n": answers, **at(server)}
    if include_usage:
        options["stream_options"] = {"include_usage": True}

    bare = [_shape(chunk) for chunk in litellm.completion(MODEL, ask(), **options)]
    with guard.run("agent"):
        ours = [_shape(chunk) for chunk in guard.completion(MODEL, ask(), **options)]

    assert ours == bare


@pytest.mark.parametrize("include_usage", [None, True])
async def test_async_chunk_sequences_equal_bare_litellms(
    make_guard: MakeGuard, make_server: MakeServer, include_usage: object
) -> None:
    server, guard = make_server(Reply(text="one two three four", prompt_tokens=7)), make_guard()
    options: dict[str, Any] = {"stream": True, **at(server)}
    if include_usage:
        options["stream_options"] = {"include_usage": True}

    bare = [_shape(chunk) async for chunk in await litellm.acompletion(MODEL, ask(), **options)]
    async with guard.run("agent"):
        ours = [_shape(chunk) async for chunk in await guard.acompletion(MODEL, ask(), **options)]

    assert ours == bare


def _shape(chunk: Any) -> dict[str, Any]:
    """A chunk without what differs between any two requests."""
    return {key: value for key, value in chunk.model_dump().items() if key not in ("id", "created")}


def test_a_waiter_that_holds_the_room_itself_is_refused_at_once(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=400, pace_s=0.005)), make_guard()

    with guard.run("agent", budget=tg.Budget(usd="0.01")):
        stream = guard.completion(PENNY, ask(), stream=True, max_tokens=400, **at(server))
        next(stream)
        began = time.monotonic()
        with pytest.raises(tg.HeadroomBusy):
            guard.completion(PENNY, ask(1), max_tokens=400, **at(server))

    assert time.monotonic() - began < 5


def test_a_stream_closed_from_another_thread_is_booked_once(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(LONG), make_guard()
    settlements: list[tg.events.Settlement] = []
    guard.on(tg.events.Settlement, settlements.append)

    with guard.run("agent"):
        stream = guard.completion(MODEL, ask(), stream=True, **at(server))
        next(stream)
        closers = [threading.Thread(target=stream.close) for _ in range(4)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()

    assert len(settlements) == 1


async def test_responses_stream_and_settle(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="one two three", prompt_tokens=100)), make_guard()

    async with guard.run("agent") as run:
        async for _ in await guard.aresponses(MODEL, "hello", stream=True, **at(server)):
            pass
        for _ in guard.responses(MODEL, "hello again", stream=True, **at(server)):
            pass
        whole = await guard.aresponses(MODEL, "and whole", **at(server))

    assert run.receipt().calls == 3
    assert run.receipt().estimated == tg.Money(0)
    assert run.receipt().tokens == 309
    assert tg.receipt_of(whole) is not None
