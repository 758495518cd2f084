"""`@guard.agent`, `@guard.step` and `@guard.tool` for functions, coroutines, generators and async generators.

Signatures stay what they are. A generator's scope is entered at each `next` or `send` and left at each `yield`, so
that it never leaks into the code between.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.scope import Frame, enter, leave

if TYPE_CHECKING:
    from tokenguard.calls.parts import LateParts
    from tokenguard.calls.run import Run

__all__ = ["bound", "decorator", "name_of", "scoped"]

F = TypeVar("F", bound=Callable[..., Any])


def scoped(function: F, make: Callable[[], Run], parts: LateParts) -> F:
    """Wrap a function so that each call of it is one entry of what `make()` gives."""
    if inspect.isasyncgenfunction(function):
        wrapper: Any = _async_generator(function, make, parts)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(function, make, parts)
    elif inspect.iscoroutinefunction(function):

        async def awrapper(*args: Any, **kwargs: Any) -> Any:
            async with make():
                return await function(*args, **kwargs)

        wrapper = awrapper
    else:

        def plain(*args: Any, **kwargs: Any) -> Any:
            with make():
                return function(*args, **kwargs)

        wrapper = plain

    return cast("F", functools.wraps(function)(wrapper))


def _generator(function: Callable[..., Any], make: Callable[[], Run], parts: LateParts) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        inner, error = function(*args, **kwargs), None
        run = make()
        drive(run.begin(), parts.get())
        step, value = inner.send, None
        try:
            while True:
                try:
                    produced = _inside(run.frame, step, value)
                except StopIteration as end:
                    return end.value
                try:
                    step, value = inner.send, (yield produced)
                except GeneratorExit:
                    _inside(run.frame, _closer(inner), None)
                    raise
                except BaseException as thrown:  # noqa: BLE001  # belongs inside: handed to the wrapped generator
                    step, value = inner.throw, thrown
        except BaseException as ended:
            error = ended
            raise
        finally:
            run.finish(error)

    return wrapper


def _closer(inner: Generator[Any, Any, Any]) -> Callable[[Any], None]:
    return lambda _: inner.close()


def _inside(frame: Frame, step: Callable[[Any], Any], value: Any) -> Any:
    """One step of a generator inside its scope."""
    token = enter(frame)
    try:
        return step(value)
    finally:
        leave(frame, token)


def _async_generator(function: Callable[..., Any], make: Callable[[], Run], parts: LateParts) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        run = make()
        await adrive(run.begin(), await parts.aget(), undo=lambda _: run.end(asyncio.CancelledError()))
        error: BaseException | None = None
        step, value = cast("Callable[[Any], Any]", inner.asend), cast("Any", None)
        try:
            while True:
                try:
                    produced = await _ainside(run.frame, step, value)
                except StopAsyncIteration:
                    return
                try:
                    step, value = inner.asend, (yield produced)
                except GeneratorExit:
                    await _ainside(run.frame, lambda _: inner.aclose(), None)
                    raise
                except BaseException as thrown:  # noqa: BLE001  # belongs inside: handed to the wrapped generator
                    step, value = inner.athrow, thrown
        except BaseException as ended:
            error = ended
            raise
        finally:
            await adrive(run.end(error), parts.get())

    return wrapper


async def _ainside(frame: Frame, step: Callable[[Any], Any], value: Any) -> Any:
    token = enter(frame)
    try:
        return await step(value)
    finally:
        leave(frame, token)


def bound(function: F, frame: Frame | None) -> F:
    """Wrap a function so that it runs inside `frame` wherever it is called: threads, executors, callbacks."""
    if frame is None:
        return function
    if inspect.iscoroutinefunction(function):

        async def awrapper(*args: Any, **kwargs: Any) -> Any:
            token = enter(frame)
            try:
                return await function(*args, **kwargs)
            finally:
                leave(frame, token)

        return cast("F", functools.wraps(function)(awrapper))

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        token = enter(frame)
        try:
            return function(*args, **kwargs)
        finally:
            leave(frame, token)

    return cast("F", functools.wraps(function)(wrapper))


def decorator(wrap: Callable[[Callable[..., Any]], Any]) -> Callable[[Any], Any]:
    """A decorator whose exact type is in its overloads."""
    return wrap


def name_of(function: Callable[..., Any]) -> str:
    """What people call it, such as `Agent.search`."""
    return getattr(function, "__qualname__", type(function).__name__).replace("<locals>.", "")
