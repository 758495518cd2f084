"""The HTTP side: an asyncio protocol on a thread of its own, so that tests, tasks and other processes can call it.

Nagle is off (asyncio sets TCP_NODELAY) and a whole answer leaves in one write: with Nagle on, header and body sent
apart cost a loopback client 40 ms.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from tokenguard.core.clock import SystemClock
from tokenguard.errors import SetupError
from tokenguard.testing.model_server.connection import Connection, Exchange
from tokenguard.testing.model_server.script import Reply, Script, chooser

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tokenguard.core.clock import Clock
    from tokenguard.testing.model_server.requests import RecordedRequest

__all__ = ["Exchange", "ModelServer"]

_START_TIMEOUT_S = 10.0
_BACKLOG = 1024
_DEFAULT = Reply()


class ModelServer:
    """A scripted model provider on loopback, as a context manager (`with` or `async with`).

    Args:
        script: A reply, replies in order (the last one stays), or a function of the request, which runs on the
            server's thread.
        host: Address to listen on.
        port: 0 picks a free one.
        clock: Tells `created` in answers.
        metrics: What `GET /metrics` answers, such as a vLLM's load in Prometheus text; None: 404.

    Raises (on entering):
        SetupError: the port is taken.
    """

    def __init__(
        self,
        script: Script = _DEFAULT,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        metrics: Callable[[], str] | None = None,
    ) -> None:
        self.choose = chooser(script)
        self.clock = clock or SystemClock()
        self.metrics = metrics
        self.changed = threading.Condition()
        self._host = host
        self._port = port
        self._exchanges: list[Exchange] = []
        self._arrivals = 0
        self._connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # ---- what tests look at ----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The `api_base` to give to a client: `http://127.0.0.1:<port>/v1`."""
        return f"http://{self._host}:{self._port}/v1"

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every model request since the last reset with what was sent for it, in order of arrival."""
        return tuple(self._exchanges)

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """Every model request since the last reset, in order of arrival."""
        return tuple(exchange.request for exchange in self._exchanges)

    @property
    def count(self) -> int:
        """How many model requests arrived since the last reset."""
        return len(self._exchanges)

    @property
    def sent_chunks(self) -> tuple[int, ...]:
        """For each request, how many stream events were written before the end or before the client left."""
        return tuple(exchange.sent_chunks for exchange in self._exchanges)

    def wait_idle(self, timeout_s: float = 5.0) -> bool:
        """Block until no request is being answered; False when it still is after `timeout_s`."""
        with self.changed:
            return self.changed.wait_for(lambda: all(one.done for one in self._exchanges), timeout_s)

    def wait_count(self, count: int, timeout_s: float = 5.0) -> bool:
        """Block until `count` requests arrived; False when they have not after `timeout_s`."""
        with self.changed:
            return self.changed.wait_for(lambda: self.count >= count, timeout_s)

    def reset(self, script: Script | None = None) -> None:
        """Forget what arrived, count from 0 again, and follow another script where one is given."""
        with self.changed:
            self._exchanges = []
            self._arrivals = 0
            if script is not None:
                self.choose = chooser(script)

    # ---- life ------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen; returns itself when requests are answered."""
        ready: list[BaseException | None] = []
        self._thread = threading.Thread(target=self._run, args=(ready,), name="tokenguard-model-server", daemon=True)
        self._thread.start()
        with self.changed:
            self.changed.wait_for(lambda: bool(ready), _START_TIMEOUT_S)
        problem = ready[0] if ready else TimeoutError(f"nothing after {_START_TIMEOUT_S} s")
        if problem is not None:
            self._thread = None
            raise SetupError(f"the model server cannot listen on {self._host}:{self._port}: {problem}.") from problem
        return self

    def stop(self) -> None:
        """Close every connection and the socket; idempotent."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()

    def wait(self) -> None:
        """Block until another thread stops the server."""
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, ready: list[BaseException | None]) -> None:
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            listening = loop.create_server(lambda: Connection(self), self._host, self._port, backlog=_BACKLOG)
            listener = loop.run_until_complete(listening)
        except OSError as problem:
            loop.close()
            self._say(ready, problem)
            return
        self._port = listener.sockets[0].getsockname()[1]
        self._say(ready, None)
        try:
            loop.run_forever()
        finally:
            listener.close()
            loop.run_until_complete(self._close_connections())
            loop.close()

    def _say(self, ready: list[BaseException | None], problem: BaseException | None) -> None:
        with self.changed:
            ready.append(problem)
            self.changed.notify_all()

    async def _close_connections(self) -> None:
        tasks = [task for task in (connection.abort() for connection in tuple(self._connections)) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets transports call connection_lost, which runs one turn of the loop after closing

    # ---- what connections tell (on the loop's thread) --------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A client connected."""
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """A client is gone."""
        self._connections.discard(connection)

    def next_index(self) -> int:
        """Number the next model request."""
        with self.changed:
            self._arrivals += 1
            return self._arrivals - 1

    def begun(self, exchange: Exchange) -> None:
        """Record a model request before it is answered."""
        with self.changed:
            self._exchanges.append(exchange)
            self.changed.notify_all()

    def ended(self, exchange: Exchange) -> None:
        """An answer is out, or its client left."""
        with self.changed:
            exchange.done = True
            self.changed.notify_all()
