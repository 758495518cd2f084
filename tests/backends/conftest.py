"""LiteLLM, loaded once, and a model server for each test."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from backends.ways import WAYS, Way

from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.core.ports import Request
from tokenguard.testing.model_server import ModelServer, Reply


@pytest.fixture(scope="session")
def backend() -> LiteLLMBackend:
    found = LiteLLMBackend()
    found.warm()
    import litellm  # noqa: PLC0415

    litellm.suppress_debug_info = True
    return found


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.Runner]:
    """One event loop for all tests: LiteLLM keeps its clients by loop, and those of a closed loop are never closed."""
    import litellm  # noqa: PLC0415

    with asyncio.Runner() as runner:
        yield runner
        runner.run(litellm.close_litellm_async_clients())


@pytest.fixture(scope="session")
def one_server() -> Iterator[ModelServer]:
    """One address for all tests: LiteLLM keeps a client for each, and forgets to close those it drops."""
    with ModelServer() as found:
        yield found


@pytest.fixture
def server(one_server: ModelServer) -> ModelServer:
    """The server as if it were new."""
    assert one_server.wait_idle()
    one_server.reset(Reply())
    return one_server


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture(params=[way for way in WAYS if way.operation != "embeddings"], ids=str)
def spoken_way(request: pytest.FixtureRequest) -> Way:
    """Ways that end in text."""
    return request.param


@pytest.fixture(params=[way for way in WAYS if way.operation == "chat"], ids=str)
def chat_way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture(params=[way for way in WAYS if way.stream], ids=str)
def stream_way(request: pytest.FixtureRequest) -> Way:
    return request.param


Run = Callable[..., list[Any]]


@pytest.fixture
def run(backend: LiteLLMBackend, loop: asyncio.Runner) -> Run:
    """Send and read to the end: the reply, or all chunks."""

    async def arun(request: Request) -> list[Any]:
        reply = await backend.asend(request)
        return [chunk async for chunk in reply] if request.stream else [reply]

    def go(request: Request, asynchronous: object) -> list[Any]:
        if asynchronous:
            return loop.run(arun(request))
        reply = backend.send(request)
        return list(reply) if request.stream else [reply]

    return go


@pytest.fixture
def closing_port() -> Iterator[int]:
    """A port that accepts connections and closes them at once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
