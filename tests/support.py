"""What the tests of guarded calls share: model names with round prices, and short ways to write a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tokenguard as tg
from tokenguard.testing import ScriptedReply, scripted_guard
from tokenguard.testing.model_server import ModelServer

# 400 output tokens cost exactly one cent; the prompt is free, so that a ceiling can equal a true cost.
PENNY = "openai/penny"
WIDE = "openai/wide"
NANO = "openai/three-nano"
PRICES: dict[str, Any] = {
    "prices": {
        PENNY: {"input": "0", "output": "25", "output_tokens_max": 16_384, "context_tokens": 1_000_000},
        WIDE: {"input": "0", "output": "10", "output_tokens_max": 128_000, "context_tokens": 1_000_000},
        NANO: {"input": "1", "output": "2", "output_tokens_max": 4_096, "context_tokens": 100_000},
    }
}

PENNY_USAGE = {"prompt_tokens": 0, "completion_tokens": 400, "total_tokens": 400}

MakeGuard = Callable[..., tg.Guard]
MakeServer = Callable[..., ModelServer]


def ask(number: int = 0) -> list[dict[str, str]]:
    """A short conversation that differs by its number."""
    return [{"role": "user", "content": f"question {number}"}]


def at(server: ModelServer) -> dict[str, str]:
    """Options that lead LiteLLM to the model server."""
    return {"api_base": server.url, "api_key": "none"}


def penny_guard(**arguments: Any) -> tg.Guard:
    """A scripted guard of which every answer of `PENNY` costs a cent."""
    arguments.setdefault("prices", PRICES)
    return scripted_guard(
        lambda request: ScriptedReply(f"{request.arguments['messages']}", usage=PENNY_USAGE), **arguments
    )
