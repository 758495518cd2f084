"""Two drivers for one flow: blocking, and under asyncio. They perform effects and decide nothing.

Under asyncio the ledger runs on the guard's own executor. A cancellation never interrupts bookkeeping: a
reservation's outcome is awaited and then given back by the flow, a settlement is finished, and the cancellation goes
on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tokenguard.calls.effects import Book, Effect, Flow, Reserve, Send, Wait

if TYPE_CHECKING:
    from tokenguard.calls.parts import Parts
    from tokenguard.calls.waiting import Ticket

__all__ = ["adrive", "detach", "drive"]

R = TypeVar("R")
Step = Callable[[Any], Effect[Any]]


def drive(flow: Flow[R], parts: Parts) -> R:
    """Run a flow with blocking I/O."""
    return _run(flow, flow.send, None, parts)


def _run(flow: Flow[R], step: Step, answer: Any, parts: Parts) -> R:
    while True:
        try:
            effect = step(answer)
        except StopIteration as end:
            return cast("R", end.value)
        try:
            answer, step = _perform(effect, parts), flow.send
        except BaseException as error:  # noqa: BLE001  # thrown into the flow, which settles and raises it again
            answer, step = error, flow.throw


def _perform(effect: Effect[Any], parts: Parts) -> Any:
    """One effect, blocking."""
    if isinstance(effect, Send):
        effect.begun, effect.handling = True, sys.exception()
        return parts.backend.send(effect.request)
    if isinstance(effect, Wait):
        return _wait(effect)
    return _ledger_work(effect, parts)()


def _wait(effect: Wait) -> bool:
    if effect.ticket is None:
        time.sleep(effect.seconds)
        return False
    woken = threading.Event()
    if not effect.ticket.arm(woken.set):
        woken.wait(effect.seconds)
    return effect.ticket.disarm() or woken.is_set()


async def adrive(
    flow: Flow[R], parts: Parts, *, heavy: bool = False, undo: Callable[[R], Flow[Any]] | None = None
) -> R:
    """Run a flow under asyncio.

    Args:
        flow: Not yet started.
        parts: Whose ledger and backend answer.
        heavy: The flow's own work (counting a large prompt) belongs off the loop too.
        undo: Gives back what the flow returned, where a cancellation keeps the caller from ever having it.
    """
    step: Step = flow.send
    answer: Any = None
    cancelled: BaseException | None = None
    while True:
        pending: list[Future[Any]] = []
        try:
            effect, late = await _stepped(step, answer, parts, pending, heavy=heavy)
            cancelled = cancelled or late
        except GeneratorExit:
            detach(flow, _ThrownAway(), parts, after=pending)
            raise
        if isinstance(effect, _Ended):
            if cancelled is None:
                return cast("R", effect.outcome())
            if undo is not None and effect.error is None:
                await adrive(undo(effect.value), parts)
            raise cancelled from effect.error
        if cancelled is not None and isinstance(effect, Send | Wait):
            answer, step = cancelled, flow.throw
            continue
        try:
            answer, error, late = await _aperform(effect, parts, pending)
            cancelled = cancelled or late
            step = flow.send
        except GeneratorExit:
            detach(flow, _ThrownAway(), parts, after=pending)
            raise
        except BaseException as raised:  # noqa: BLE001  # thrown into the flow, which settles and raises it again
            error = raised
        if error is not None:
            answer, step = error, flow.throw


class _Ended:
    """The flow is over: with a value, or with an error."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value, self.error = value, error

    def outcome(self) -> Any:
        """The value, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.value


def _advance(step: Step, answer: Any) -> Effect[Any] | _Ended:
    """One step. Nothing escapes: StopIteration cannot cross a future, and an error must meet a cancellation."""
    try:
        return step(answer)
    except StopIteration as end:
        return _Ended(end.value)
    except BaseException as error:  # noqa: BLE001  # raised by the driver, which also knows of a cancellation
        return _Ended(error=error)


async def _stepped(
    step: Step, answer: Any, parts: Parts, pending: list[Future[Any]], *, heavy: bool
) -> tuple[Effect[Any] | _Ended, BaseException | None]:
    """One step, on the executor where the flow's own work is heavy."""
    if not heavy:
        return _advance(step, answer), None
    effect, error, cancelled = await _uninterrupted(lambda: _advance(step, answer), parts, pending)
    assert effect is not None, error
    return effect, cancelled


async def _aperform(
    effect: Effect[Any], parts: Parts, pending: list[Future[Any]]
) -> tuple[Any, BaseException | None, BaseException | None]:
    """One effect under asyncio: (answer, its error, a cancellation while it could not be interrupted)."""
    if isinstance(effect, Send):
        effect.begun, effect.handling = True, sys.exception()
        return await parts.backend.asend(effect.request), None, None
    if isinstance(effect, Wait):
        return await _await_turn(effect), None, None
    at_once = _at_once(effect, parts)
    if at_once is not None:
        return at_once, None, None
    work = _ledger_work(effect, parts)
    if parts.ledger.inline:
        return work(), None, None
    return await _uninterrupted(work, parts, pending)


def _at_once(effect: Effect[Any], parts: Parts) -> Any:
    """The answer of a ledger that need not wait for it, which spares the loop two hops to the executor; else None."""
    if isinstance(effect, Reserve):
        return parts.ledger.reserve_at_once(effect.hold, effect.ask)
    assert isinstance(effect, Book), effect
    book: Book[Any] = effect
    return None if book.at_once is None else book.at_once(parts.ledger)


def _ledger_work(effect: Effect[Any], parts: Parts) -> Callable[[], Any]:
    if isinstance(effect, Reserve):
        return lambda: parts.ledger.reserve(effect.hold, effect.ask)
    assert isinstance(effect, Book), effect
    book: Book[Any] = effect
    return lambda: book.write(parts.ledger)


async def _uninterrupted(
    work: Callable[[], R], parts: Parts, pending: list[Future[Any]]
) -> tuple[R | None, BaseException | None, BaseException | None]:
    """Executor work to its end, whatever happens to the caller meanwhile: (result, its error, a cancellation)."""
    job = parts.submit(work)
    pending.append(job)
    loop = asyncio.get_running_loop()
    turn = loop.create_future()

    def wake() -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # A cancellation took it; the next one is awaited.
            turn.set_result(None)

    job.add_done_callback(lambda _: _call_soon(loop, wake))
    cancelled: BaseException | None = None
    while not job.done():
        try:
            await turn
        except asyncio.CancelledError as error:
            # A cancellation takes what is awaited with it, so the rest of the wait needs another one.
            cancelled, turn = error, loop.create_future()
    failed = job.exception()
    return (None, failed, cancelled) if failed else (job.result(), None, cancelled)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call back on a loop, from any thread; one that was closed has nobody left who waits."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


async def _await_turn(effect: Wait) -> bool:
    if effect.ticket is None:
        await asyncio.sleep(effect.seconds)
        return False
    ticket: Ticket = effect.ticket
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    try:
        if not ticket.arm(lambda: _call_soon(loop, woken.set)):
            async with asyncio.timeout(effect.seconds):
                await woken.wait()
    except TimeoutError:
        pass
    finally:
        signalled = ticket.disarm()
    return signalled or woken.is_set()


class _ThrownAway(BaseException):
    """What the flow of a discarded coroutine is ended with: `yield from` would turn a GeneratorExit into a close."""


def detach(flow: Flow[Any], error: BaseException, parts: Parts, *, after: Iterable[Future[Any]] = ()) -> None:
    """Let the reaper finish a flow that nobody waits for any more, beginning with `error`. Only enqueues.

    `after` is executor work that must end first: a reservation that is being written is given back only once it is
    there.
    """
    earlier = tuple(after)

    def finish() -> None:
        wait(earlier)
        with contextlib.suppress(_ThrownAway):  # thrown in only to let the flow settle
            _run(flow, flow.throw, error, parts)

    parts.reaper.put(finish)
