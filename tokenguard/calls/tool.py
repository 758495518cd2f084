"""`@guard.tool`: each call of a tool is evidence for the loop rules, and a stopped run's tools do not run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

from tokenguard.calls.drive import adrive, drive
from tokenguard.calls.guards import still_stopped, tool_loop, tool_returned
from tokenguard.calls.scope import Node, current
from tokenguard.core.untrusted import list_of
from tokenguard.errors import SetupError
from tokenguard.loops.repeats import call_evidence

if TYPE_CHECKING:
    from tokenguard.calls.effects import Flow
    from tokenguard.calls.parts import LateParts, Parts

__all__ = ["LoopKey", "guarded_tool"]

F = TypeVar("F", bound=Callable[..., Any])
LoopKey: TypeAlias = tuple[str, ...] | Callable[..., Any] | Literal[False] | None


def guarded_tool(function: F, name: str, loop_key: LoopKey, late: LateParts) -> F:
    """Wrap a tool.

    Args:
        function: A function or a coroutine function.
        name: The tool's name in evidence and sentences.
        loop_key: Which arguments make two calls equal: names, a function of them, None (all), or False (exempt).
        late: The guard's parts.

    Raises:
        SetupError: `loop_key` names an argument that the tool does not have, or the tool is a generator.
    """
    signature = inspect.signature(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SetupError(f"tool {name!r} is a generator; a tool returns one result.")
    for field in list_of(loop_key):
        if field not in signature.parameters:
            raise SetupError(f"loop_key={loop_key!r}: tool {name!r} has no argument {field!r}.")

    def evidence(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> str | None:
        return None if loop_key is False else call_evidence(_key(signature, loop_key, args, kwargs), result)

    if inspect.iscoroutinefunction(function):

        async def awrapper(*args: Any, **kwargs: Any) -> Any:
            parts = await late.aget()
            node = _node(parts)
            stop = await adrive(still_stopped(node, parts), parts)
            if stop is not None:
                raise stop
            began_s = parts.clock.monotonic()
            result = await function(*args, **kwargs)
            await adrive(_noted(node, name, evidence(args, kwargs, result), began_s, parts), parts)
            return result

        return cast("F", functools.wraps(function)(awrapper))

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        parts = late.get()
        node = _node(parts)
        stop = drive(still_stopped(node, parts), parts)
        if stop is not None:
            raise stop
        began_s = parts.clock.monotonic()
        result = function(*args, **kwargs)
        drive(_noted(node, name, evidence(args, kwargs, result), began_s, parts), parts)
        return result

    return cast("F", functools.wraps(function)(wrapper))


def _node(parts: Parts) -> Node | None:
    """The node that the tool runs in."""
    frame = current(parts.owner_key)
    return frame.node if frame else None


def _key(signature: inspect.Signature, loop_key: LoopKey, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What makes two calls equal."""
    if callable(loop_key):
        return loop_key(*args, **kwargs)
    arguments = signature.bind(*args, **kwargs).arguments
    return {name: arguments.get(name) for name in (loop_key or arguments)}


def _noted(node: Node | None, name: str, evidence: str | None, began_s: float, parts: Parts) -> Flow[None]:
    """Note a result; a finding closes the run, and the result is still handed out."""
    if node is None or evidence is None or not parts.loops:
        return
    finding = tool_returned(node, name, evidence, began_s=began_s, parts=parts)
    if finding is not None:
        yield from tool_loop(finding, node.run, parts)
