"""LiteLLM's streams through the backend: the same chunks, and a close that the server notices."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest
from backends.ways import WAYS

from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.core.ports import Request
from tokenguard.testing.model_server import ModelServer, Reply


async def _leave_at(backend: LiteLLMBackend, request: Request, count: int) -> None:
    stream = await backend.asend(request)
    for _ in range(count):
        await anext(stream)
    await backend.aclose_stream(stream)
    await backend.aclose_stream(stream)
    await asyncio.sleep(0)  # lets the transport close


def test_a_consumer_that_leaves_stops_the_server(
    server: ModelServer, backend: LiteLLMBackend, stream_way: Any, loop: asyncio.Runner
) -> None:
    server.reset(Reply(completion_tokens=500, pace_s=0.005))
    request = stream_way.request(server.url)

    if stream_way.asynchronous:
        loop.run(_leave_at(backend, request, 50))
    else:
        stream = backend.send(request)
        for _ in range(50):
            next(stream)
        backend.close_stream(stream)
        backend.close_stream(stream)

    assert server.wait_idle()
    assert server.sent_chunks[0] <= 55
    assert server.exchanges[0].client_left


@pytest.mark.parametrize("way", [way for way in WAYS if way.stream and not way.asynchronous], ids=str)
def test_another_thread_can_close_a_stream_that_waits(server: ModelServer, backend: LiteLLMBackend, way: Any) -> None:
    server.reset(Reply(completion_tokens=50, stall=3))
    stream = backend.send(way.request(server.url))
    waiting = threading.Event()
    consumer = threading.Thread(target=_consume, args=(stream, waiting))

    consumer.start()
    assert waiting.wait(5)
    time.sleep(0.05)  # until the consumer waits in the kernel, which nothing else shows
    backend.close_stream(stream)

    assert server.wait_idle()
    assert server.exchanges[0].client_left
    consumer.join(5)
    assert not consumer.is_alive()


def _consume(stream: Any, waiting: threading.Event) -> None:
    """Read until the stream is closed under us; LiteLLM may say so in several ways."""
    with contextlib.suppress(Exception):
        for number, _ in enumerate(stream):
            if number == 2:
                waiting.set()


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["plain", "usage"])
def test_chunks_equal_bare_litellms(
    server: ModelServer, run: Any, chat_way: Any, loop: asyncio.Runner, options: dict[str, Any]
) -> None:
    import litellm  # noqa: PLC0415

    server.reset(lambda _: Reply("four is the answer", model="echo"))
    request = chat_way.request(server.url, **options)
    arguments = {**request.arguments, "model": request.model, "stream": True}

    ours = run(Request("chat", request.model, {**request.arguments, "stream": True}), chat_way.asynchronous)
    bare = loop.run(_chunks(arguments)) if chat_way.asynchronous else list(litellm.completion(**arguments))

    assert [_content(chunk) for chunk in ours] == [_content(chunk) for chunk in bare]


async def _chunks(arguments: dict[str, Any]) -> list[Any]:
    import litellm  # noqa: PLC0415

    return [chunk async for chunk in await litellm.acompletion(**arguments)]


def _content(chunk: Any) -> dict[str, Any]:
    """A chunk without what differs by call: its id and time, and LiteLLM's own price."""
    found = chunk.model_dump()
    found.pop("id")
    found.pop("created")
    (found.get("usage") or {}).pop("cost", None)
    return found


def test_everything_else_of_litellms_stream_shines_through(
    server: ModelServer, backend: LiteLLMBackend, chat_way: Any, loop: asyncio.Runner
) -> None:
    request = chat_way.request(server.url, stream=True)

    stream = loop.run(backend.asend(request)) if chat_way.asynchronous else backend.send(request)

    assert stream.custom_llm_provider == chat_way.model.partition("/")[0]
    assert isinstance(stream._hidden_params, dict)
