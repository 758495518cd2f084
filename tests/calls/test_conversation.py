"""A growing conversation is held at little more than it costs."""

from __future__ import annotations

from typing import Any

from support import MakeGuard, MakeServer, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply
from tokenguard.testing.model_server.requests import RecordedRequest

CLAUDE = "openai/claude-sonnet-4-5"
PRICES = {"prices": {CLAUDE: {"like": "anthropic/claude-sonnet-4-5"}}}
WORDS = "the quick brown fox jumps over the lazy dog and runs into the deep dark wood "


def test_sixty_turns_to_a_hundred_thousand_tokens_are_held_within_thirty_percent_of_the_dearest_call(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    def script(request: RecordedRequest) -> Reply:
        # One token per word is close to what real tokenizers make of plain English.
        tokens = sum(len(str(message.get("content")).split()) for message in request.json["messages"])
        return Reply(text=WORDS * 55, prompt_tokens=tokens)

    server, guard = make_server(script), make_guard(prices=PRICES)
    receipts: list[Any] = []
    messages: list[dict[str, Any]] = []

    with guard.run("agent", budget=tg.Budget(usd="12")) as run:
        for turn in range(60):
            messages.append({"role": "user", "content": f"turn {turn}: " + WORDS * 50})
            reply = guard.completion(CLAUDE, messages, max_tokens=1_024, **at(server))
            messages.append({"role": "assistant", "content": reply.choices[0].message.content})
            receipts.append(tg.receipt_of(reply))

    dearest = max(receipt.cost.pico for receipt in receipts)
    assert max(receipt.usage.input_tokens for receipt in receipts) >= 95_000
    assert all(receipt.ceiling.pico <= dearest * 13 // 10 for receipt in receipts[1:])
    assert all(receipt.cost.pico <= receipt.ceiling.pico for receipt in receipts)
    assert run.receipt().cost.pico == sum(receipt.cost.pico for receipt in receipts)


def test_a_two_dollar_budget_is_not_refused_before_a_dollar_eighty_is_settled(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    def script(request: RecordedRequest) -> Reply:
        tokens = sum(len(str(message.get("content")).split()) for message in request.json["messages"])
        return Reply(text=WORDS * 55, prompt_tokens=tokens)

    server, guard = make_server(script), make_guard(prices=PRICES)
    messages: list[dict[str, Any]] = []

    with guard.run("agent", budget=tg.Budget(usd="2")) as run:
        try:
            for turn in range(60):
                messages.append({"role": "user", "content": f"turn {turn}: " + WORDS * 50})
                reply = guard.completion(CLAUDE, messages, max_tokens=1_024, **at(server))
                messages.append({"role": "assistant", "content": reply.choices[0].message.content})
        except tg.BudgetExceeded:
            pass

    assert tg.Money("1.80") <= run.receipt().cost <= tg.Money("2")
