"""What type checkers see of structured prompts: read by mypy and pyright, never executed."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

from pydantic import BaseModel, TypeAdapter

import tokenguard as tg

guard = tg.Guard(database="memory")


class Ticket(BaseModel):
    category: str


prompt = tg.StructuredPrompt(
    name="triage",
    role="support triager",
    task="Classify the ticket.",
    rules=("Answer from the ticket only.",),
    examples=(tg.Example("I was charged twice.", Ticket(category="billing")),),
    variables=("ticket",),
    output=Ticket,
    style="line",
)
numbers = tg.StructuredPrompt(name="numbers", task="List the numbers.", output=TypeAdapter(list[int]))


def asked() -> None:
    answer = guard.ask(prompt, ticket="text", model="openai/gpt-5-mini", retries=1, options={"temperature": 0})
    assert_type(answer, tg.Answer[Ticket])
    assert_type(answer.value, Ticket)
    assert_type(answer.usd, Decimal)
    assert_type(answer.repairs, tuple[str, ...])
    assert_type(answer.receipts, tuple[tg.CallReceipt, ...])
    assert_type(guard.ask(numbers, text="1 2", model="m").value, list[int])
    assert_type(prompt.read("{}").value, Ticket | None)
    assert_type(prompt.render(ticket="a").max_tokens, int)


async def awaited() -> None:
    assert_type((await guard.aask(prompt, ticket="text", model="m")).value, Ticket)


def listened(event: tg.events.Reasked) -> None:
    assert_type(event.wasted, tg.Money)
