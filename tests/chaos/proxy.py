"""A TCP proxy that can cut, reset, silence, refuse and lose what passes through it."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, Self

__all__ = ["Network", "Proxy"]

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
Connect = Callable[[Callable[[], asyncio.BaseProtocol]], Awaitable[Any]]


class Network:
    """The loop, on a thread of its own, that all proxies of a session run on."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="chaos-network", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self._proxies:
            self.call(proxy.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def proxy(self, *, host: str = "", port: int = 0, socket_path: str = "") -> Proxy:
        """A proxy to a TCP address or to a Unix socket; it listens on a free port of 127.0.0.1."""

        def connect(protocol: Callable[[], asyncio.BaseProtocol]) -> Awaitable[Any]:
            if socket_path:
                return self.loop.create_unix_connection(protocol, socket_path)
            return self.loop.create_connection(protocol, host, port)

        proxy = Proxy(self, connect)
        asyncio.run_coroutine_threadsafe(proxy.listen(), self.loop).result()
        self._proxies.append(proxy)
        return proxy

    def call(self, act: Callable[[], object]) -> None:
        """Do something on the loop's thread, and wait for it."""
        done = threading.Event()

        def acting() -> None:
            try:
                act()
            finally:
                done.set()

        self.loop.call_soon_threadsafe(acting)
        done.wait()


class Proxy:
    """One address that leads to another."""

    def __init__(self, network: Network, connect: Connect) -> None:
        self._network, self.connect = network, connect
        self.sides: set[_Side] = set()
        self.swallows = False
        """The next answer is lost, and its connection with it."""
        self.refuses = False
        self.silent = False
        self.lost: tuple[bytes, bool, Literal["", "refuse", "stall"]] | None = None
        """Words of a request that will go wrong, whether it still arrives, and what the network does then."""
        self.has_lost = threading.Event()
        self.port = 0

    async def listen(self) -> None:
        self._server = await self._network.loop.create_server(lambda: _Side(self, answers=False), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()
        self.end_all(reset=False)

    # ---- what goes wrong, from any thread --------------------------------------------------------------------------

    def cut(self) -> None:
        """End every connection."""
        self._network.call(lambda: self.end_all(reset=False))

    def reset(self) -> None:
        """Reset every connection."""
        self._network.call(lambda: self.end_all(reset=True))

    def swallow(self) -> None:
        """Lose the next answer."""
        self.swallows = True

    def lose(self, words: bytes, *, arrives: bool = True, then: Literal["", "refuse", "stall"] = "") -> None:
        """Lose the answer to the next request with these words in it, or the request too.

        Its connection is lost with it, unless everything falls silent `then`.
        """
        self.has_lost.clear()
        self.lost = words, arrives, then

    def stall(self, *, on: bool) -> None:
        """Let nothing through, or go on."""
        self._network.call(lambda: self.silence(on=on))

    def refuse(self, *, on: bool) -> None:
        """End what is open and accept nothing, or accept again."""
        self.refuses = on
        if on:
            self.reset()

    def heal(self) -> None:
        """Let everything through."""
        self.swallows = self.refuses = False
        self.stall(on=False)

    # ---- on the loop's thread --------------------------------------------------------------------------------------

    def end_all(self, *, reset: bool) -> None:
        for side in tuple(self.sides):
            side.end(reset=reset)

    def silence(self, *, on: bool) -> None:
        self.silent = on
        for side in tuple(self.sides):
            side.listen()


class _Side(asyncio.Protocol):
    """One of the two connections of a client."""

    def __init__(self, proxy: Proxy, *, answers: bool, peer: _Side | None = None) -> None:
        self.proxy, self.answers, self.peer = proxy, answers, peer
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.proxy.sides.add(self)
        if self.proxy.refuses:
            self.end(reset=True)
        elif self.peer is None:
            transport.pause_reading()
            self._connecting = asyncio.ensure_future(self._reach())
        elif self.peer.transport is None or self.peer.transport.is_closing():
            transport.abort()  # The client left while the server was being reached.
        else:
            self.peer.peer = self
            self.peer.listen()
            self.listen()

    async def _reach(self) -> None:
        try:
            await self.proxy.connect(lambda: _Side(self.proxy, answers=True, peer=self))
        except OSError:
            self.end(reset=True)

    def listen(self) -> None:
        """Read if anything may pass."""
        if self.transport is None or self.transport.is_closing() or self.peer is None:
            return
        if self.proxy.silent:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if not self.answers and self.proxy.lost is not None and self.proxy.lost[0] in data:
            self._lose(*self.proxy.lost)
        if self.answers and self.proxy.swallows:
            self.proxy.swallows = False
            self.end(reset=True)
        elif self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    def _lose(self, _: bytes, arrives: bool, then: str) -> None:  # noqa: FBT001  # as it was told
        self.proxy.lost = None
        if then == "stall":
            self.proxy.silence(on=True)
        else:
            self.proxy.swallows, self.proxy.refuses = arrives, then == "refuse"
            if not arrives:
                self.end(reset=True)
        self.proxy.has_lost.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.proxy.sides.discard(self)
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()

    def end(self, *, reset: bool) -> None:
        """End both connections."""
        for side in (self, self.peer):
            if side is None or side.transport is None or side.transport.is_closing():
                continue
            if reset:
                raw = side.transport.get_extra_info("socket")
                if raw is not None and raw.family != socket.AF_UNIX:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                side.transport.abort()
            else:
                side.transport.close()
