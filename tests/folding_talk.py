"""Conversations with large results of tools, and how they are sent through a guard to the model server."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from support import at

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer

CHEAP = "openai/gpt-4o-cheap"
PRICES: dict[str, Any] = {
    "prices": {
        CHEAP: {
            "input": "10",
            "cache_read": "1",
            "output": "40",
            "output_tokens_max": 1_000,
            "context_tokens": 400_000,
        },
    }
}
ROWS = [{"flight": f"HAT{at:03}", "price": 100 + at, "seats": at % 7, "cabin": "economy"} for at in range(40)]
PAGE = "\n".join(
    f"Jun 14 15:16:{at % 60:02} host sshd[{19000 + at}]: Failed password for root from 10.0.0.{at}" for at in range(60)
)
TEXT = "\n".join(f"a plain line of prose with the letter {at} in it" for at in "abcdefgh")
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}
WORDS = ("quick", "brown", "fox", "jumps", "over", "lazy", "dog", "while", "nobody", "looks", "waits", "for", "rain")
DICE = random.Random(5)
LONG = "\n".join(" ".join(DICE.choice(WORDS) for _ in range(14)) for _ in range(900))
FLAT: dict[str, Any] = {"prices": {CHEAP: {**PRICES["prices"][CHEAP], "cache_read": "10"}}}
"""No discount for what is cached: a token costs the same each time it is sent, so old results give way soon."""
ORDERS = [f"order ORD-{number}\n{LONG[number * 2_000 : number * 2_000 + 2_000].strip()}" for number in range(20)]
AGAIN = [ROWS, ROWS, PAGE, TEXT, TEXT]
"""The first result is asked for again, after which results of its run are said in full."""


def used(*results: Any, tool: str = "search") -> list[dict[str, Any]]:
    """A conversation in which a tool was called once for each result."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}]
    for number, result in enumerate(results):
        text = result if isinstance(result, str) else json.dumps(result)
        call = {"id": f"c{number}", "type": "function", "function": {"name": tool, "arguments": f'{{"n": {number}}}'}}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": text},
        ]
    return messages


def send(guard: tg.Guard, server: ModelServer, messages: list[dict[str, Any]], **options: Any) -> tg.CallReceipt:
    reply = guard.completion(CHEAP, messages, max_tokens=100, **at(server), **options)
    receipt = tg.receipt_of(reply)
    assert receipt is not None
    return receipt


def sent(server: ModelServer, request: int = -1, message: int = -1) -> Any:
    return server.requests[request].messages[message]["content"]


def conversation(server: ModelServer, guard: tg.Guard, results: list[Any]) -> Iterator[tg.CallReceipt]:
    for count in range(1, len(results) + 1):
        yield send(guard, server, used(*results[:count]))
