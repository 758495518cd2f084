"""`@guard.tool`: each call of a tool is evidence for the loop rules; one that would only repeat is not run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

from tokenguard.calls.decorate import name_of
from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.guards import still_stopped
from tokenguard.calls.loop_checks import ToolUse, after_tool, before_tool
from tokenguard.calls.scope import current, here
from tokenguard.calls.steering import blocked_note
from tokenguard.core import events
from tokenguard.core.untrusted import list_of
from tokenguard.errors import SetupError, TokenguardError

if TYPE_CHECKING:
    from tokenguard.calls.effects import Flow
    from tokenguard.calls.parts import LateParts, Parts
    from tokenguard.loops.finding import Finding

__all__ = ["LoopKey", "guarded_tool"]

F = TypeVar("F", bound=Callable[..., Any])
LoopKey: TypeAlias = tuple[str, ...] | Callable[..., Any] | Literal[False] | None


def guarded_tool(function: F, name: str | None, loop_key: LoopKey, late: LateParts) -> F:
    """Wrap a tool.

    Args:
        function: A function or a coroutine function.
        name: What models call it. None: the function's bare name, wherever it is defined.
        loop_key: Which arguments make two calls equal: names, a function of them, None (all), or False (exempt).
        late: The guard's parts.

    Raises:
        SetupError: `loop_key` names an argument that the tool does not have, or the tool is a generator.
    """
    name = name or name_of(function).rpartition(".")[2]
    tool = _Tool(name, inspect.signature(function), loop_key)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SetupError(f"tool {name!r} is a generator; a tool returns one result.")
    for field in list_of(loop_key):
        if field not in tool.signature.parameters:
            raise SetupError(f"loop_key={loop_key!r}: tool {name!r} has no argument {field!r}.")
    if loop_key is not None:
        late.tool_keys[name] = loop_key
    if inspect.iscoroutinefunction(function):

        async def awrapper(*args: Any, **kwargs: Any) -> Any:
            return await _arun(tool, function, late, args, kwargs)

        return cast("F", functools.wraps(function)(awrapper))

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _run(tool, function, late, args, kwargs)

    return cast("F", functools.wraps(function)(wrapper))


def _run(tool: _Tool, function: Any, late: LateParts, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """One call of a function."""
    parts = late.get()
    use = tool.used(args, kwargs, parts)
    blocked = drive(_allowed(use, parts), parts)
    if blocked is not None:
        return blocked_note(blocked)
    try:
        result = function(*args, **kwargs)
    except TokenguardError:
        raise
    except Exception as error:
        drive(after_tool(use, error, parts), parts)
        raise
    drive(after_tool(use, result, parts), parts)
    return result


async def _arun(tool: _Tool, function: Any, late: LateParts, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """One call of a coroutine function."""
    parts = await late.aget()
    use = tool.used(args, kwargs, parts)
    blocked = await adrive(_allowed(use, parts), parts)
    if blocked is not None:
        return blocked_note(blocked)
    try:
        result = await function(*args, **kwargs)
    except TokenguardError:
        raise
    except Exception as error:
        await adrive(after_tool(use, error, parts), parts)
        raise
    await adrive(after_tool(use, result, parts), parts)
    return result


def _allowed(use: ToolUse, parts: Parts) -> Flow[Finding | None]:
    """What keeps a tool from running, where it is said to the model; a stopped run's tools raise its stop."""
    stop = yield from still_stopped(use.node, parts)
    if stop is not None:
        raise stop
    return (yield from before_tool(use, parts))


@dataclass(frozen=True, slots=True)
class _Tool:
    """What its author says of a tool."""

    name: str
    signature: inspect.Signature
    loop_key: LoopKey

    def used(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], parts: Parts) -> ToolUse:
        """One call of it, where it is made."""
        frame = current(parts.owner_key)
        node = frame.node if frame else None
        loops = frame.ladder.loops if frame and self.loop_key is not False else None
        key: Any = None
        if loops is not None:
            try:
                key = self._key(args, kwargs)
            except Exception as fault:  # noqa: BLE001  # what makes calls equal is not what the tool is for
                key = (args, kwargs)
                run_id = node.run.id if node else None
                parts.emit(events.Fault(at=parts.clock.now(), run_id=run_id, where="loops", error=fault))
        return ToolUse(self.name, key, parts.clock.monotonic(), node, loops, here())

    def _key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What makes two calls equal."""
        if callable(self.loop_key):
            return self.loop_key(*args, **kwargs)
        arguments = self.signature.bind(*args, **kwargs).arguments
        key = {name: arguments.get(name) for name in (self.loop_key or arguments)}
        owner = next(iter(self.signature.parameters), "")
        if owner in ("self", "cls") and owner in key:
            key[owner] = id(key[owner])  # Another object's method is another call.
        return key
