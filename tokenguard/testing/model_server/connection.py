"""One client's connection: read requests, answer them in order, notice at once when the client leaves."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from tokenguard.testing.model_server import http
from tokenguard.testing.model_server.requests import RecordedRequest
from tokenguard.testing.model_server.script import Reply
from tokenguard.testing.model_server.shapes import DONE, error_body, stream_of, whole
from tokenguard.testing.model_server.writing import write

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenguard.core.clock import Clock

__all__ = ["Connection", "Exchange", "Server"]

_FIRST_ERROR = 400
_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Exchange:
    """A request and what was really sent for it. Written by the server's thread only."""

    request: RecordedRequest
    reply: Reply
    sent_chunks: int = 0
    """Stream events written, `[DONE]` not counted."""
    client_left: bool = False
    """The client closed the connection before the answer was complete."""
    done: bool = False


class Server(Protocol):
    """What a connection needs of the server."""

    choose: Callable[[RecordedRequest], Reply]
    clock: Clock
    metrics: Callable[[], str] | None

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Everything answered so far."""
        ...

    def opened(self, connection: Connection) -> None:
        """A client connected."""
        ...

    def closed(self, connection: Connection) -> None:
        """A client is gone."""
        ...

    def next_index(self) -> int:
        """Number the next model request."""
        ...

    def begun(self, exchange: Exchange) -> None:
        """Record a model request before it is answered."""
        ...

    def ended(self, exchange: Exchange) -> None:
        """An answer is out, or its client left."""
        ...


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection, kept alive until either side closes it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = http.Parser()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # ---- asyncio's side --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a client."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes and answer what is complete."""
        self._parser.feed(data)
        self._serve_next()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering; called as soon as the client closes."""
        del exc
        self._transport = None
        if self._task is not None:
            self._task.cancel()
        if self._exchange is not None:
            self._exchange.client_left = True
            self._end()
        self._server.closed(self)

    def abort(self) -> asyncio.Task[None] | None:
        """Close because the server stops; gives the task that was answering, if one was."""
        if self._transport is not None:
            self._transport.abort()
        task = self._task
        if task is not None:
            task.cancel()
        return task

    # ---- requests --------------------------------------------------------------------------------------------------

    def _serve_next(self) -> None:
        """Answer requests that are completely here, one at a time; a pipelined one waits for the one before it."""
        while self._exchange is None and self._transport is not None:
            try:
                found = self._parser.next_request()
            except ValueError as problem:
                self._write(http.response(400, json.dumps({"error": {"message": str(problem)}}).encode(), close=True))
                self._close()
                return
            if found is None:
                return
            self._serve(*found)

    def _serve(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        request = RecordedRequest(-1, method, path, headers, body)
        if method != "POST" or request.operation is None:
            self._write(self._side_door(method, path))
            return
        request = RecordedRequest(self._server.next_index(), method, path, headers, body)
        try:
            reply = self._server.choose(request)
        except Exception as problem:  # noqa: BLE001  # a script's own mistake must reach the test that wrote it
            reply = _scripts_own(problem)
        exchange = self._exchange = Exchange(request, reply)
        self._server.begun(exchange)
        if reply.latency_s or reply.cut is not None or reply.stall is not None or _streams(request, reply):
            self._task = asyncio.get_running_loop().create_task(self._answer(exchange))
            self._task.add_done_callback(self._fail)
        else:
            try:
                answer = self._whole(exchange)
            except (TypeError, ValueError) as problem:
                answer = _mistake(problem)
            self._write(answer)
            self._end()

    def _side_door(self, method: str, path: str) -> bytes:
        """What is not a model request: health, the list of models, and the counters for other processes."""
        tail = path.partition("?")[0].rstrip("/")
        if method == "GET" and tail.endswith("/stats"):
            chunks = [exchange.sent_chunks for exchange in self._server.exchanges]
            return http.response(200, json.dumps({"requests": len(chunks), "sent_chunks": chunks}).encode())
        if method == "GET" and tail.endswith("/models"):
            models = [{"id": "scripted", "object": "model", "created": 0, "owned_by": "tokenguard"}]
            return http.response(200, json.dumps({"object": "list", "data": models}).encode())
        if method == "GET" and tail.endswith("/health"):
            return http.response(200, b"{}")
        if method == "GET" and tail.endswith("/metrics") and self._server.metrics is not None:
            return http.response(200, self._server.metrics().encode())
        missing = Reply(status=404, error=f"this server does not answer {method} {path}")
        return http.response(404, json.dumps(error_body(missing)).encode())

    # ---- answers ---------------------------------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange) -> None:
        """Send an answer that takes time or breaks off; runs as the connection's task."""
        reply = exchange.reply
        if reply.latency_s:
            await asyncio.sleep(reply.latency_s)
        await self._breaks(reply, "request")
        if _streams(exchange.request, reply):
            await self._stream(exchange)
        else:
            await self._send_whole(exchange)
        self._task = None
        self._end()
        self._serve_next()

    async def _send_whole(self, exchange: Exchange) -> None:
        answer, reply = self._whole(exchange), exchange.reply
        if not {"headers", "body"} & {reply.cut, reply.stall}:
            self._write(answer)
            return
        head = answer.index(b"\r\n\r\n") + 4
        self._write(answer[:head])
        await self._breaks(reply, "headers")
        self._write(answer[head : (head + len(answer)) // 2])
        await self._breaks(reply, "body")

    async def _stream(self, exchange: Exchange) -> None:
        request, reply = exchange.request, exchange.reply
        self._write(http.stream_head(_headers(exchange)))
        await self._breaks(reply, "headers")
        for piece in stream_of(request, write(request, reply), self._created()):
            await self._breaks(reply, exchange.sent_chunks)
            if reply.pace_s:
                await asyncio.sleep(reply.pace_s)
            elif not self._writable.is_set():
                await self._writable.wait()
            elif reply.endless:
                await asyncio.sleep(0)  # an endless stream without pace would never let the loop see the client leave
            if "body" in (reply.cut, reply.stall) and exchange.sent_chunks:
                self._write(http.chunk(piece)[: len(piece) // 2])
                await self._breaks(reply, "body")
            # Counted first: a client that reads the chunk and looks at the counter must find it there.
            exchange.sent_chunks += 1
            self._write(http.chunk(piece))
        await self._breaks(reply, exchange.sent_chunks)
        self._write((http.chunk(DONE) if request.operation == "chat" else b"") + http.LAST_CHUNK)

    async def _breaks(self, reply: Reply, place: str | int) -> None:
        """Close or fall silent here, if the reply says so; a closed connection cancels the task that asks."""
        if reply.stall == place:
            await asyncio.Event().wait()
        if reply.cut == place:
            self._close(reset=reply.reset)
            await asyncio.Event().wait()

    def _whole(self, exchange: Exchange) -> bytes:
        request, reply = exchange.request, exchange.reply
        failed = reply.status >= _FIRST_ERROR
        body: dict[str, Any] = error_body(reply) if failed else whole(request, write(request, reply), self._created())
        content = json.dumps(body, separators=(",", ":")).encode()
        return http.response(reply.status, content, headers=_headers(exchange))

    def _fail(self, task: asyncio.Task[None]) -> None:
        """An answer that cannot be written, such as usage that is no JSON, ends as an error and not as silence."""
        problem = None if task.cancelled() else task.exception()
        if problem is not None:
            self._write(_mistake(problem))
            self._end()
            self._close()

    def _created(self) -> int:
        return int(self._server.clock.now().timestamp())

    def _write(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content)

    def _end(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._server.ended(exchange)

    def _close(self, *, reset: bool = False) -> None:
        if self._transport is None:
            return
        sock = cast("socket.socket | None", self._transport.get_extra_info("socket"))
        if sock is not None and reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self._transport.abort()
            return
        if sock is not None and not self._transport.get_write_buffer_size():
            # Forked children hold copies of this socket; shutting it down ends the connection in spite of them.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._transport.close()


def _scripts_own(problem: BaseException) -> Reply:
    return Reply(status=500, error=f"the script failed: {type(problem).__name__}: {problem}")


def _mistake(problem: BaseException) -> bytes:
    """The script's own mistake, as the server's answer."""
    return http.response(500, json.dumps(error_body(_scripts_own(problem))).encode(), close=True)


def _streams(request: RecordedRequest, reply: Reply) -> bool:
    return reply.status < _FIRST_ERROR and request.stream and request.operation != "embeddings"


def _headers(exchange: Exchange) -> dict[str, str]:
    """Headers of an answer: its id, when to come back, and what the script adds."""
    headers = {"x-request-id": f"req_{exchange.request.index}", **exchange.reply.headers}
    if exchange.reply.retry_after is not None:
        headers["retry-after"] = exchange.reply.retry_after
    return headers
