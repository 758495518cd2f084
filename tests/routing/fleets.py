"""Short ways to write endpoints, calls and signals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tokenguard.routing import Endpoint, Need, Policy, Rates, Router, Signals, SpillRule

CHEAP = Rates(250_000, 2_000_000)
DEAR = Rates(3_000_000, 15_000_000)


def gpu(name: str = "gpu-a", **more: Any) -> Endpoint:
    """An own endpoint where private data may go."""
    return Endpoint(name, "hosted_vllm/llama", **{"own": True, "local": True, **more})


def cloud(name: str = "cloud", rates: Rates = CHEAP, **more: Any) -> Endpoint:
    return Endpoint(name, "openai/gpt-5-mini", marginal=rates, **more)


def call(call_id: str = "call", prompt: int = 1_000, output: int = 200, **more: Any) -> Need:
    return Need(call_id, prompt, output, **more)


def calm(at_s: float = 0.0, **more: Any) -> Signals:
    """An engine with little to do."""
    return replace(Signals(at_s=at_s, running=2, kv_usage=0.1, kv_tokens=100_000), **more)


def pressed(at_s: float = 0.0, waiting: int = 40) -> Signals:
    """An engine with a queue: 40 waiting prompts of 1,000 tokens are 8 s at 5,000 tokens/s."""
    return calm(at_s, waiting=waiting)


def router(*endpoints: Endpoint, spill: SpillRule | None = None, at_s: float = 0.0, **policy: Any) -> Router:
    return Router(endpoints, Policy(spill=spill or SpillRule(), **policy), at_s=at_s)


def names(plan: Any) -> list[str]:
    return [one.endpoint.name for one in plan.choices]
