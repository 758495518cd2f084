"""An agent as people write them: ask, run the tools that the model wants, ask again. For tests of runaways."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from support import PENNY, at

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, Reply, ToolCall

NOTE = "[tokenguard]"
TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object", "properties": {}}}}]

Tools = Mapping[str, Callable[..., Any]]


def wants(tool: str, text: str = "", **arguments: Any) -> Reply:
    """A reply of the model that asks for one tool call, for a cent."""
    return Reply(text, completion_tokens=400, tool_calls=[ToolCall(tool, json.dumps(arguments))])


def answers(text: str = "done") -> Reply:
    """A reply that ends the agent, for a cent."""
    return Reply(text, completion_tokens=400)


def work(guard: tg.Guard, server: ModelServer, tools: Tools, *, rounds: int = 60, **options: Any) -> str:
    """Run an agent to its answer; `rounds` bounds the test, not the agent."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "find the bug"}]
    for _ in range(rounds):
        reply = guard.completion(PENNY, messages, max_tokens=400, tools=TOOLS, **at(server), **options)
        said = reply.choices[0].message
        if not said.tool_calls:
            return str(said.content)
        messages.append(said.model_dump())
        for call in said.tool_calls:
            result = tools[call.function.name](**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(result)})
    return "the agent is still going"


def noted(server: ModelServer) -> list[int]:
    """Which requests told the model something, by their number from 0."""
    return [number for number, one in enumerate(server.requests) if NOTE in str(one.messages[-1].get("content"))]
