"""Conversations for the tests of loops, in the shapes that agents send."""

from __future__ import annotations

import json
from typing import Any

TASK: dict[str, Any] = {"role": "user", "content": "fix it"}


def turn(
    number: int | str,
    result: Any = "the same text",
    arguments: Any = None,
    tool: str = "read",
    thought: str | None = None,
) -> list[dict[str, Any]]:
    """One round: the model asks for a tool, the tool answers."""
    return turns(f"call_{number}", [(tool, arguments, result)], thought)


def turns(
    name: str, calls: list[tuple[str, Any, Any]], thought: str | None = None, ids: list[str] | None = None
) -> list[dict[str, Any]]:
    """One round of several calls."""
    ids = ids or [f"{name}_{at}" for at in range(len(calls))]
    asked = [
        {"id": one, "type": "function", "function": {"name": tool, "arguments": _text(arguments)}}
        for one, (tool, arguments, _) in zip(ids, calls, strict=True)
    ]
    answers = [
        {"role": "tool", "tool_call_id": one, "content": result} for one, (_, _, result) in zip(ids, calls, strict=True)
    ]
    return [{"role": "assistant", "content": thought, "tool_calls": asked}, *answers]


def talk(*rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The task and the rounds."""
    return [TASK, *(message for one in rounds for message in one)]


def reply(call_id: str, tool: str = "read", reason: str = "tool_calls") -> dict[str, Any]:
    """What a model answers that asks for a tool."""
    call = {"id": call_id, "type": "function", "function": {"name": tool, "arguments": "{}"}}
    return {"choices": [{"finish_reason": reason, "message": {"role": "assistant", "tool_calls": [call]}}]}


def _text(arguments: Any) -> Any:
    return (
        json.dumps({"path": "a.txt"} if arguments is None else arguments)
        if not isinstance(arguments, str)
        else arguments
    )
