"""Two drivers for one flow: blocking, and under asyncio. They perform effects and decide nothing.

Under asyncio the ledger runs on the guard's own executor. A cancellation never interrupts bookkeeping: a
reservation's outcome is awaited and then given back by the flow, a settlement is finished, and the cancellation goes
on from there.
"""

from __future__ import annotations

import asyncio
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
    if isinstance(effect, Reserve):
        return parts.ledger.reserve(effect.hold, effect.ask)
    if isinstance(effect, Send):
        effect.begun = True
        return parts.backend.send(effect.request)
    if isinstance(effect, Book):
        return effect.write(parts.ledger)
    assert isinstance(effect, Wait), effect
    return _wait(effect)


def _wait(effect: Wait) -> bool:
    if effect.ticket is None:
        time.sleep(effect.seconds)
        return False
    woken = threading.Event()
    if not effect.ticket.arm(woken.set):
        woken.wait(effect.seconds)
    return effect.ticket.disarm() or woken.is_set()


async def adrive(flow: Flow[R], parts: Parts, *, heavy: bool = False) -> R:
    """Run a flow under asyncio.

    Args:
        flow: Not yet started.
        parts: Whose ledger and backend answer.
        heavy: The flow's own work (counting a large prompt) belongs off the loop too.
    """
    step: Step = flow.send
    answer: Any = None
    cancelled: BaseException | None = None
    while True:
        try:
            if heavy:
                effect, late = await _uninterrupted(_contained(step, answer), parts)
                cancelled = cancelled or late
            else:
                effect = step(answer)
        except (StopIteration, _Returned) as end:
            if cancelled is not None:
                raise cancelled from None
            return cast("R", end.value)
        except Exception as error:
            if cancelled is not None and error is not cancelled:
                raise cancelled from error
            raise
        if cancelled is not None and isinstance(effect, Send | Wait):
            answer, step = cancelled, flow.throw
            continue
        pending: list[Future[Any]] = []
        try:
            answer, late = await _aperform(effect, parts, pending)
            cancelled = cancelled or late
            step = flow.send
        except GeneratorExit:
            detach(flow, _ThrownAway(), parts, after=pending)
            raise
        except BaseException as error:  # noqa: BLE001  # thrown into the flow, which settles and raises it again
            answer, step = error, flow.throw


async def _aperform(effect: Effect[Any], parts: Parts, pending: list[Future[Any]]) -> tuple[Any, BaseException | None]:
    """One effect under asyncio: (answer, a cancellation that arrived while it could not be interrupted)."""
    if isinstance(effect, Reserve):
        return await _uninterrupted(lambda: parts.ledger.reserve(effect.hold, effect.ask), parts, pending)
    if isinstance(effect, Send):
        effect.begun = True
        return await parts.backend.asend(effect.request), None
    if isinstance(effect, Book):
        return await _uninterrupted(lambda: effect.write(parts.ledger), parts, pending)
    assert isinstance(effect, Wait), effect
    return await _await_turn(effect), None


async def _uninterrupted(
    work: Callable[[], R], parts: Parts, pending: list[Future[Any]] | None = None
) -> tuple[R, BaseException | None]:
    """Executor work to its end, whatever happens to the caller meanwhile: (result, a cancellation on the way)."""
    if parts.ledger.inline and pending is not None:
        return work(), None
    job = parts.executor.submit(work)
    if pending is not None:
        pending.append(job)
    future = asyncio.wrap_future(job)
    cancelled: BaseException | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    return future.result(), cancelled


async def _await_turn(effect: Wait) -> bool:
    if effect.ticket is None:
        await asyncio.sleep(effect.seconds)
        return False
    ticket: Ticket = effect.ticket
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(woken.set)
        except RuntimeError:
            return  # The loop is closed; its waiter went with it and left the line.

    try:
        if not ticket.arm(wake):
            async with asyncio.timeout(effect.seconds):
                await woken.wait()
    except TimeoutError:
        pass
    finally:
        signalled = ticket.disarm()
    return signalled or woken.is_set()


class _ThrownAway(BaseException):
    """What the flow of a discarded coroutine is ended with: `yield from` would turn a GeneratorExit into a close."""


class _Returned(Exception):  # noqa: N818  # not an error: StopIteration cannot cross a future
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def _contained(step: Step, answer: Any) -> Callable[[], Effect[Any]]:
    """One step of the flow for another thread."""

    def work() -> Effect[Any]:
        try:
            return step(answer)
        except StopIteration as end:
            raise _Returned(end.value) from None

    return work


def detach(flow: Flow[Any], error: BaseException, parts: Parts, *, after: Iterable[Future[Any]] = ()) -> Future[None]:
    """Let the executor finish a flow that nobody waits for any more, beginning with `error`. Only enqueues.

    `after` is executor work that must end first: a reservation that is being written is given back only once it is
    there.
    """
    earlier = tuple(after)

    def finish() -> None:
        wait(earlier)
        try:
            _run(flow, cast("Step", flow.throw), error, parts)
        except BaseException:  # noqa: BLE001  # it was thrown in only to let the flow settle; nobody is there to hear it
            return

    return parts.executor.submit(finish)
