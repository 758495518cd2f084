"""Two clerks read the same long lists. One sends them folded: the same answer for fewer tokens, and nothing is lost."""

import json
from typing import Any

import tokenguard as tg
from tokenguard.counting.counter import Counter
from tokenguard.prompt.tables import unfold
from tokenguard.testing.model_server import ModelServer, RecordedRequest, Reply, ToolCall

SEARCH: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "flights",
        "parameters": {"type": "object", "properties": {"day": {"type": "integer"}}, "required": ["day"]},
    },
}
DAYS = 3
COUNTER = Counter()


def flights(day: int) -> str:
    """What the clerk's tool gives: a list as most APIs write it."""
    legs = [
        {"number": f"HAT{day}{leg:02}", "price": 90 + (leg * 37 + day) % 80, "cabin": "economy"} for leg in range(40)
    ]
    return json.dumps(legs, indent=2)


def model(request: RecordedRequest) -> Reply:
    """It asks for each day and answers from what it reads, tables or JSON."""
    parts = [request.json["tools"], *(one.get("tool_calls") or one["content"] for one in request.messages)]
    tokens = sum(4 + COUNTER.count("openai/gpt-4o", part if type(part) is str else json.dumps(part)) for part in parts)
    results = [unfold(str(one["content"])) for one in request.messages if one["role"] == "tool"]
    if len(results) < DAYS:
        day = ToolCall("flights", json.dumps({"day": len(results) + 1}))
        return Reply(prompt_tokens=tokens, completion_tokens=20, tool_calls=[day])
    best = min((leg for text in results for leg in json.loads(text)), key=lambda leg: leg["price"])
    return Reply(f"{best['number']}, {best['price']} dollars", prompt_tokens=tokens, completion_tokens=10)


def ask(guard: tg.Guard, url: str) -> tuple[str, tg.Receipt]:
    """One clerk."""
    messages: list[Any] = [{"role": "user", "content": "Which flight of the first three days is cheapest?"}]
    with guard.run("clerk") as run:
        while True:
            reply = guard.completion(
                "openai/gpt-4o", messages, tools=[SEARCH], max_tokens=100, api_base=url, api_key="none"
            )
            said = reply.choices[0].message
            if not said.tool_calls:
                return str(said.content), run.receipt()
            messages.append(said.model_dump())
            for call in said.tool_calls:
                result = flights(json.loads(call.function.arguments)["day"])
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


with ModelServer(model) as server:
    for level in ("off", "compact", "lossless"):
        with tg.Guard(database="memory", prompt=level) as guard:
            answer, receipt = ask(guard, server.url)
        print(f"{level:>8}: {answer}; {receipt.tokens:,} tokens, ${receipt.usd}, saved {receipt.saved}")
    print("what the model read, in part:", *server.requests[-1].messages[2]["content"].split("\n")[:4], sep="\n  ")
