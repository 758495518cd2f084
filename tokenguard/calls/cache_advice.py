"""What could be done about the provider's cache for one prompt, in dollars. Nothing is done by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.untrusted import field_of
from tokenguard.counting.words import words_of
from tokenguard.errors import BadAmount
from tokenguard.prompt.economy import Advice, cache_prices, keep_alive, promotion, switch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tokenguard.core.ports import PriceBook, TokenCounter

__all__ = ["cache_advice"]

_RETURN_PERMILLE: Final = 1_000
_IN_FRONT: Final = ("system", "developer")


def cache_advice(
    messages: Sequence[Any],
    *,
    model: str,
    counter: TokenCounter,
    prices: PriceBook,
    at: datetime,
    calls: int,
    pause_s: int | None = None,
    switch_to: str | None = None,
    output_tokens: int = 0,
) -> tuple[Advice, ...]:
    """What there is to say about a prompt.

    Args:
        messages: Of a chat, or items of the responses API.
        model: Who reads it.
        counter: Counts tokens.
        prices: Says what they cost.
        at: When.
        calls: Calls that are still to come while the cache lives, >= 1.
        pause_s: Seconds until the next call, if that is the question.
        switch_to: Another model to go on with, if that is the question.
        output_tokens: Of each answer, for the other model's price of them.

    Raises:
        BadAmount: a number that is too small.
        Unpriceable: a model has no price.
    """
    if calls < 1 or (pause_s is not None and pause_s < 1):
        wrong = f"calls={calls}" if calls < 1 else f"pause_s={pause_s}"
        raise BadAmount(f"{wrong}: give 1 or more.", amount=min(calls, pause_s or calls))
    sizes = [counter.count(model, words_of(one, place)[0]) for place, one in enumerate(messages)]
    here = cache_prices(prices.card(model, at=at), input_tokens=sum(sizes))
    found = [promotion(here, _prefix(messages, sizes), calls)]
    if pause_s is not None:
        found.append(keep_alive(here, sum(sizes), gap_s=pause_s, return_permille=_RETURN_PERMILLE))
    if switch_to is not None:
        there = cache_prices(prices.card(switch_to, at=at), input_tokens=sum(sizes))
        found.append(switch(here, there, sum(sizes), requests=calls, output=output_tokens))
    return tuple(one for one in found if one is not None)


def _prefix(messages: Sequence[Any], sizes: Sequence[int]) -> int:
    """Tokens of the rules in front, which every call shares: 1 at least."""
    total = 0
    for message, size in zip(messages, sizes, strict=True):
        if field_of(message, "role") not in _IN_FRONT:
            break
        total += size
    return max(1, total)
