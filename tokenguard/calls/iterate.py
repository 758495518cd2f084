"""The two stream objects that callers iterate; everything they decide is in `Tap`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.stream import Tap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from tokenguard.calls.effects import Flow
    from tokenguard.calls.flow import Opened
    from tokenguard.calls.parts import Parts
    from tokenguard.core.receipt import CallReceipt
    from tokenguard.errors import TokenguardError

__all__ = ["AsyncStream", "Stream"]

R = TypeVar("R")


class _Metered:
    """What both kinds share: identity, registration, and LiteLLM's own attributes shining through."""

    def __init__(self, opened: Opened, parts: Parts) -> None:
        self._tap = Tap(opened, parts)
        self._parts = parts
        self.opened_by = opened.sent.attempt.call.opened_by
        self.account_ids = self._tap.account_ids
        node = opened.sent.attempt.call.node
        parts.streams.add(self)
        if node is not None:
            node.streams.add(self)
        parts.watch.stream_opened()
        parts.reaper.begin()

    @property
    def settled(self) -> bool:
        """Whether somebody has taken on the settlement."""
        return self._tap.settled

    def claim(self) -> bool:
        """Take on the settlement; False: it is taken."""
        return self._tap.claim()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_tap"].upstream, name)

    @property
    def tap(self) -> Tap:
        """What was delivered so far, for the guard's own watch."""
        return self._tap

    def halt(self) -> None:
        """Where the stream was stopped, close its upstream: who waits for a chunk hears of it now. From any thread."""
        tap = self._tap
        if tap.settled or tap.halted is not None or (error := tap.stop()) is None:
            return
        tap.halted = error
        try:
            self._wake()
        except Exception as fault:  # noqa: BLE001  # a backend that cannot close leaves the stop to the next chunk
            tap.fault("watch", fault)

    def _wake(self) -> None:
        """Close the upstream under whoever reads it. From any thread."""

    @property
    def _hidden_params(self) -> dict[str, Any]:
        # Where receipts ride on LiteLLM's objects; here beside whatever the upstream carries.
        hidden = getattr(self._tap.upstream, "_hidden_params", None)
        receipt = self._tap.receipt
        return {**(hidden if isinstance(hidden, dict) else {}), **({"tokenguard_receipt": receipt} if receipt else {})}

    @property
    def receipt(self) -> CallReceipt | None:
        """What the stream cost; None while it is open or where nobody knows yet."""
        return self._tap.receipt


class Stream(_Metered):
    """A blocking stream. Iterate it, use it in `with`, or `close()` it; dropping it closes it too."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        tap = self._tap
        if not tap.settled:
            self._halt_if_stopped()
        if tap.ahead:
            return tap.ahead.popleft()
        if tap.pending is not None:
            error, tap.pending = tap.pending, None
            raise error
        if tap.ended:
            raise StopIteration
        chunk = self._pull()
        part = tap.take(chunk)
        if tap.complete(part) and not tap.settled:
            self._read_usage(part)
        return next(self) if tap.hidden(chunk) else chunk

    def _pull(self) -> Any:
        """The next chunk of the upstream, with every way it can end booked."""
        handling = sys.exception()
        try:
            chunk = next(self._tap.upstream)
        except StopIteration:
            self._halt_if_woken()
            self._tap.ended = True
            self._settle(self._tap.finish())
            raise
        except Exception as error:
            self._halt_if_woken()
            self._tap.ended = True
            self._settle(self._tap.broken(error, handling))
            raise
        except BaseException:
            self.close()
            raise
        self._halt_if_woken()
        return chunk

    def _read_usage(self, part: Any) -> None:
        """Read on until the usage is here, keep what is the caller's, and book."""
        tap = self._tap
        while part.usage is None:
            try:
                chunk = next(tap.upstream)
            except StopIteration:
                tap.ended = True
                break
            except Exception as error:  # noqa: BLE001  # raised in its turn, after the chunks that came before it
                tap.ended, tap.pending = True, error
                break
            part = tap.take(chunk)
            if not tap.hidden(chunk):
                tap.ahead.append(chunk)
        if part.usage is None:
            self._halt_if_woken()
        self._settle(tap.finish())

    def _halt_if_stopped(self) -> None:
        error: TokenguardError | None = self._tap.stop() or self._tap.runaway()
        if error is None and self._tap.circling is not None:
            error = drive(self._tap.circled(), self._parts)
        if error is not None:
            self.close()
            raise error

    def _halt_if_woken(self) -> None:
        """What the upstream says after it was closed under its reader is not what a provider said."""
        if self._tap.halted is not None:
            self.close()
            raise self._tap.halted from None

    def _wake(self) -> None:
        self._parts.backend.close_stream(self._tap.upstream)

    def _settle(self, flow: Flow[Any]) -> None:
        if self._tap.claim():
            drive(flow, self._parts)
        else:
            flow.close()

    def close(self) -> None:
        """Close the upstream, so that the server stops, and book what was delivered. Idempotent."""
        self._tap.ended = True
        self._tap.ahead.clear()
        if self._tap.claim():
            self._parts.backend.close_stream(self._tap.upstream)
            drive(self._tap.abandon(), self._parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        tap = self.__dict__.get("_tap")
        if tap is not None and tap.claim():
            parts = self._parts
            parts.reaper.put(lambda: _close_dropped(tap, parts))


def _close_dropped(tap: Tap, parts: Parts) -> None:
    parts.backend.close_stream(tap.upstream)
    drive(tap.abandon(), parts)


class AsyncStream(_Metered):
    """A stream under asyncio. Iterate it, use it in `async with`, or `aclose()` it; dropping it closes it too."""

    def __init__(self, opened: Opened, parts: Parts) -> None:
        super().__init__(opened, parts)
        self._loop = weakref.ref(asyncio.get_running_loop())
        self._reader: asyncio.Task[Any] | None = None
        """Who waits for a chunk."""
        self._woken = False
        """The reader's cancellation is ours."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        tap = self._tap
        if not tap.settled:
            await self._halt_if_stopped()
        if tap.ahead:
            return tap.ahead.popleft()
        if tap.pending is not None:
            error, tap.pending = tap.pending, None
            raise error
        if tap.ended:
            raise StopAsyncIteration
        chunk = await self._pull()
        part = tap.take(chunk)
        if tap.complete(part) and not tap.settled:
            await self._read_usage(part)
        return await anext(self) if tap.hidden(chunk) else chunk

    async def _pull(self) -> Any:
        """The next chunk of the upstream, with every way it can end booked."""
        handling = sys.exception()
        try:
            chunk = await self._next()
        except StopAsyncIteration:
            await self._halt_if_woken()
            self._tap.ended = True
            await self._settle(self._tap.finish())
            raise
        except Exception as error:
            await self._halt_if_woken()
            self._tap.ended = True
            await self._settle(self._tap.broken(error, handling))
            raise
        except asyncio.CancelledError:
            await self.aclose()
            raise
        except BaseException:
            # GeneratorExit: the consumer's coroutine is being thrown away and may not await.
            self.drop()
            raise
        await self._halt_if_woken()
        return chunk

    async def _next(self) -> Any:
        """The next chunk of the upstream; where the stream is halted meanwhile, the wait for it ends."""
        self._reader = task = asyncio.current_task()
        try:
            return await anext(self._tap.upstream)
        except asyncio.CancelledError:
            if not self._taken_back(task):
                raise
            raise _Woken from None
        finally:
            self._reader = None
            self._taken_back(task)  # An upstream may swallow a cancellation, or turn it into something else.

    def _taken_back(self, task: asyncio.Task[Any] | None) -> bool:
        """Take our own cancellation back, where there is one; whether no other one is left."""
        woken, self._woken = self._woken, False
        return woken and task is not None and task.uncancel() == 0

    async def _read_usage(self, part: Any) -> None:
        """Read on until the usage is here, keep what is the caller's, and book."""
        tap = self._tap
        while part.usage is None:
            try:
                chunk = await self._next()
            except StopAsyncIteration:
                tap.ended = True
                break
            except asyncio.CancelledError:
                await self.aclose()
                raise
            except Exception as error:  # noqa: BLE001  # raised in its turn, after the chunks that came before it
                tap.ended, tap.pending = True, error
                break
            part = tap.take(chunk)
            if not tap.hidden(chunk):
                tap.ahead.append(chunk)
        if part.usage is None:
            await self._halt_if_woken()
        await self._settle(tap.finish())

    async def _halt_if_stopped(self) -> None:
        error: TokenguardError | None = self._tap.stop() or self._tap.runaway()
        if error is None and self._tap.circling is not None:
            error = await adrive(self._tap.circled(), self._parts)
        if error is not None:
            await self.aclose()
            raise error

    async def _halt_if_woken(self) -> None:
        """What the upstream says after it was closed under its reader is not what a provider said."""
        if self._tap.halted is not None:
            await self.aclose()
            raise self._tap.halted from None

    def _wake(self) -> None:
        loop = self._loop()
        assert loop is not None, "the task that opened the stream keeps its loop"
        with contextlib.suppress(RuntimeError):  # It was closed, and nobody waits on it.
            loop.call_soon_threadsafe(self._wake_here, loop)

    def _wake_here(self, loop: asyncio.AbstractEventLoop) -> None:
        """On its own loop: end the wait of who reads, else only close."""
        if self._reader is not None:
            self._woken = True
            self._reader.cancel()
        elif not self.settled:
            _spawn_close(loop, self._tap, self._parts)

    async def _settle(self, flow: Flow[Any]) -> None:
        if self._tap.claim():
            await adrive(flow, self._parts)
        else:
            flow.close()

    async def aclose(self) -> None:
        """Close the upstream, so that the server stops, and book what was delivered. Idempotent."""
        self._tap.ended = True
        self._tap.ahead.clear()
        if self._tap.claim():
            cancelled = await _through_cancellation(self._parts.backend.aclose_stream(self._tap.upstream))
            await adrive(self._tap.abandon(), self._parts)
            if cancelled is not None:
                raise cancelled

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if "_tap" in self.__dict__:
            self.drop()

    def drop(self) -> None:
        """Close and book without awaiting; only enqueues."""
        tap, parts, loop = self._tap, self._parts, self._loop()
        tap.ended = True
        if tap.claim():
            parts.reaper.put(lambda: _abandon_async(tap, parts, loop))


def _abandon_async(tap: Tap, parts: Parts, loop: asyncio.AbstractEventLoop | None) -> None:
    """Close an upstream on the loop it belongs to, where that still runs, and book what came."""
    with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile, and its sockets with it
        if loop is not None and loop.is_running():
            loop.call_soon_threadsafe(_spawn_close, loop, tap, parts)
    drive(tap.abandon(), parts)


class _Woken(Exception):  # noqa: N818  # a signal, never seen outside
    """The wait for a chunk was ended, because the stream is halted."""


_CLOSING: set[asyncio.Task[None]] = set()


def _spawn_close(loop: asyncio.AbstractEventLoop, tap: Tap, parts: Parts) -> None:
    """Close an upstream from the loop that it belongs to; the set keeps the task from being collected."""
    task = loop.create_task(parts.backend.aclose_stream(tap.upstream))
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)


async def _through_cancellation(work: Any) -> asyncio.CancelledError | None:
    """Await to the end even when cancelled; the cancellation, for the caller to raise after."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    return cancelled
