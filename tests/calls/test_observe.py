"""Observe mode: what is sent changes by nothing but stream usage, nothing is refused, and the books are true."""

from __future__ import annotations

import json
from typing import Any

import litellm
import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply

TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object", "properties": {}}}}]


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.3, "n": 2}, {"tools": TOOLS, "tool_choice": "auto"}, {"max_tokens": 77}, {"user": "ada"}],
)
def test_bodies_are_byte_equal_to_bare_litellms(
    make_guard: MakeGuard, make_server: MakeServer, options: dict[str, Any]
) -> None:
    server, guard = make_server(), make_guard(mode="observe")

    # In a plain install LiteLLM 1.106 cannot send tools without this: it imports a package that it does not require.
    litellm.completion("openai/gpt-4o-mini", ask(), **options, **at(server), _skip_mcp_handler=True)
    with guard.run("agent", budget=tg.Budget(usd="0.000001")):
        guard.completion("openai/gpt-4o-mini", ask(), **options, **at(server))

    bare, ours = server.requests
    assert ours.body == bare.body


def test_streamed_bodies_differ_by_stream_options_alone(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard(mode="observe")

    list(litellm.completion("openai/gpt-4o-mini", ask(), stream=True, **at(server)))
    with guard.run("agent"):
        list(guard.completion("openai/gpt-4o-mini", ask(), stream=True, **at(server)))

    bare, ours = (json.loads(request.body) for request in server.requests)
    assert ours.pop("stream_options") == {"include_usage": True}
    assert list(ours.items()) == list(bare.items())


def test_nothing_is_refused_and_the_books_say_what_would_have_been(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database, mode="observe")
    settlements: list[tg.events.Settlement] = []
    guard.on(tg.events.Settlement, settlements.append)

    with guard.run("agent", budget=tg.Budget(usd="0.02")) as run:
        for number in range(4):
            guard.completion(PENNY, ask(number), max_tokens=400, **at(server))
        guard.kill(run.id, why="would be refused")
        guard.completion(PENNY, ask(9), max_tokens=400, **at(server))

    assert run.receipt().cost == tg.Money("0.05")
    assert [one.booking.would_have for one in settlements][:4] == [None, None, "spent", "spent"]
    assert {one.facts.mode for one in settlements} == {"observe"}


def test_an_unknown_price_is_observed_and_marked(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(prompt_tokens=5, completion_tokens=5)), make_guard(mode="observe")

    with guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        reply = guard.completion("openai/nobody-knows-this", ask(), **at(server))

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert receipt.price_id is None
    assert receipt.quality == "assumed"
    assert run.receipt().tokens == 10
