"""Embeddings are priced by their prompt, held and booked like every other call."""

from __future__ import annotations

from typing import Any

import pytest
from support import MakeGuard, MakeServer, at

import tokenguard as tg
from tokenguard.testing import ScriptedReply, scripted_guard

SMALL = "openai/text-embedding-3-small"  # $0.02 per million tokens
TINY: dict[str, Any] = {"prices": {SMALL: {"input": "0.02", "output": "0", "context_tokens": 8_191}}}


def test_an_embedding_is_booked_by_what_the_provider_counted(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database, prices=TINY)

    with guard.run("index", budget=tg.Budget(usd="1")) as run:
        reply = guard.embedding(SMALL, ["one text", "another text"], **at(server))

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert receipt.usage is not None
    assert (receipt.quality, receipt.usage.output_total) == ("reported", 0)
    assert receipt.cost == tg.Money("0.00000002") * receipt.usage.input_total > tg.Money(0)
    assert run.receipt().cost == receipt.cost
    assert len(reply.data) == 2


async def test_an_async_embedding_is_booked_the_same(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard(prices=TINY)

    async with guard.run("index", budget=tg.Budget(usd="1")) as run:
        reply = await guard.aembedding(SMALL, "one text", **at(server))

    assert run.receipt().calls == 1
    assert run.receipt().cost > tg.Money(0)
    assert tg.receipt_of(reply) is not None


def test_an_embedding_above_its_budget_is_not_sent() -> None:
    usage = {"prompt_tokens": 1_000, "total_tokens": 1_000}

    with scripted_guard([ScriptedReply(usage=usage)] * 3, prices=TINY) as guard:
        with guard.run("index", budget=tg.Budget(usd="0.00004")) as run:
            guard.embedding(SMALL, "word " * 100)
            guard.embedding(SMALL, "word " * 100)
            with pytest.raises(tg.BudgetExceeded):
                guard.embedding(SMALL, "word " * 100)

    assert run.receipt().cost == tg.Money("0.00004")
    assert run.receipt().tokens == 2_000


def test_an_embedding_without_usage_is_counted_and_not_free() -> None:
    with scripted_guard([ScriptedReply(usage=None)], prices=TINY) as guard, guard.run("index") as run:
        reply = guard.embedding(SMALL, "a text that nobody reports")

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert receipt.quality == "estimated"
    assert run.receipt().estimated == run.receipt().cost > tg.Money(0)
