"""An agent reads one file again and again: it is told, changes course, and gives its last answer inside its cap."""

import json
from typing import Any

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, RecordedRequest, Reply, ToolCall

TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "read", "parameters": {"type": "object", "properties": {}}}}
]
NOTE = "Do not repeat it"
told_in: list[int] = []


def model(request: RecordedRequest) -> Reply:
    """It reads page 1 for ever; told that this leads nowhere, it turns the pages until it must answer."""
    if request.json.get("tool_choice") == "none":
        return Reply("The invoice of March is missing.")
    if NOTE in str(request.messages[-1]["content"]):
        told_in.append(request.index + 1)
    page = request.index if told_in else 1
    return Reply(completion_tokens=100, tool_calls=[ToolCall("read", json.dumps({"page": page}))])


with ModelServer(model) as server, tg.Guard(database="memory") as guard:
    guard.on(tg.events.Looped, lambda event: print(f"{event.rung}: {event.rule} × {event.repeats}"))
    guard.on(tg.events.Laddered, lambda event: print(f"{event.rung}: {event.sentence}"))

    @guard.agent("clerk", budget=tg.Budget(usd="0.02", reserve_final="0.008"), ladder=tg.Ladder(steer_at=0.4))
    def find_the_gap() -> str:
        messages = [{"role": "user", "content": "Which invoice is missing?"}]
        while True:
            reply = guard.completion(
                "openai/gpt-4o", messages, tools=TOOLS, max_tokens=300, api_base=server.url, api_key="none"
            )
            said = reply.choices[0].message
            if not said.tool_calls:
                return str(said.content)
            messages.append(said.model_dump())
            for call in said.tool_calls:
                page = json.loads(call.function.arguments)["page"]
                messages.append({"role": "tool", "tool_call_id": call.id, "content": f"invoices of page {page}"})

    print("answer:", find_the_gap())
    print("requests:", server.count, "- told what repeats in request", *told_in)
    print("last message sent:", server.requests[-1].messages[-1]["content"])
