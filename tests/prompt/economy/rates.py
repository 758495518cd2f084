"""Price sets by their multipliers, a card, and an exact prefix cache that is not the gate's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tokenguard.core.price import PriceCard, Rates
from tokenguard.core.usage import Meter
from tokenguard.prompt.economy import CachePrices

INPUT = 1_000_000
"""A dollar a million tokens, in pico-USD per token."""


def rates(write: int = 125, read: int = 10, **changes: Any) -> CachePrices:
    """Prices with multipliers in hundredths, known and cached by itself from 1,024 tokens on."""
    fields: dict[str, Any] = {
        "input": INPUT,
        "write": INPUT * write // 100,
        "write_1h": None,
        "read": INPUT * read // 100,
        "output": 5 * INPUT,
        "minimum": 1_024,
        "life_s": None,
        "marked": "automatic",
        "known": True,
    }
    return CachePrices(**{**fields, **changes})


def stepped(above: int, factor: int = 2, **changes: Any) -> CachePrices:
    """Prices of which the whole request is dearer above a size."""
    base = rates(**changes)
    dear = {name: factor * getattr(base, name) for name in ("input", "write", "read", "output")}
    return replace(base, steps=((0, base), (above, replace(base, **dear))))


def card(provider: str = "anthropic", model: str = "claude-sonnet-4-5", **changes: Any) -> PriceCard:
    """Claude's multipliers on a dollar a million."""
    known = {
        Meter.INPUT: INPUT,
        Meter.CACHE_READ: INPUT // 10,
        Meter.CACHE_WRITE_5M: INPUT * 5 // 4,
        Meter.CACHE_WRITE_1H: INPUT * 2,
        Meter.OUTPUT: 5 * INPUT,
    }
    fields: dict[str, Any] = {
        "id": f"{provider}/{model}/undated.0",
        "model": model,
        "provider": provider,
        "source": "litellm",
        "version": "test",
        "rates": Rates.of(known),
        "has_cache_rates": True,
    }
    return PriceCard(**{**fields, **changes})


def billed(prices: CachePrices, requests: list[list[tuple[str, int]]]) -> int:
    """What a provider bills for prompts of named pieces that are sent one after the other, in pico-USD.

    It reads the longest beginning that any earlier prompt had, if that has at least the minimum.
    """
    seen: set[tuple[str, ...]] = set()
    spent = 0
    for pieces in requests:
        names = tuple(name for name, _ in pieces)
        total = sum(size for _, size in pieces)
        now = prices.at(total)
        if total < (prices.minimum or 0):
            spent += now.input * total
            continue
        warm = reached = 0
        for place, (_, size) in enumerate(pieces, 1):
            reached += size
            warm = reached if names[:place] in seen and reached >= (prices.minimum or 0) else warm
        seen |= {names[:place] for place in range(1, len(names) + 1)}
        spent += now.read * warm + now.write * (total - warm)
    return spent
