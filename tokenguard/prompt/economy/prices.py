"""What a prompt's tokens cost by where they come from: fresh, written to the provider's cache, or read from it.

One value per card, service tier and prompt size. Everything that decides about folding, retiring and marking asks this
value, so that no constant of one provider is built into a rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tokenguard.core.usage import Meter
from tokenguard.prompt.economy.rules import CacheRules, Dialect, Marked, cache_rules

if TYPE_CHECKING:
    from tokenguard.core.price import PriceCard, Rates, RateTable

__all__ = ["CachePrices", "cache_prices"]

_HOUR_S: Final = 3_600
_MARGIN_S: Final = 60
_LARGEST_MINIMUM: Final = 6_144


@dataclass(frozen=True, slots=True)
class CachePrices:
    """The rates of one card and tier that a prompt's history meets, in pico-USD per token; all of them >= 0.

    Attributes:
        input: A token that is neither read from nor written to the cache: `p`.
        write: A token that is written to it: `p·w`; equal to `input` where writing costs nothing extra.
        write_1h: The same for a life of an hour; None where the provider does not sell one.
        read: A token that is read from it: `p·r`.
        output: A token of the answer.
        minimum: Prompts of fewer tokens are not cached: `m`; None: unknown.
        life_s: Seconds for which an unused prefix lives; None: unknown.
        marked: Whether the provider needs marks, caches by itself, or does not cache.
        known: False where a rate is assumed: then history is never rewritten (I12).
        steps: Where prompts of more than so many tokens have other rates: every size of the card, the first one 0,
            smallest first; empty where one set of rates holds for all sizes.
        dialect: The marks that a request may carry; None: none.
        gone_s: Idle seconds after which a prefix certainly is gone; None: never certain.
    """

    input: int
    write: int
    write_1h: int | None
    read: int
    output: int
    minimum: int | None
    life_s: int | None
    marked: Marked
    known: bool
    steps: tuple[tuple[int, CachePrices], ...] = ()
    dialect: Dialect | None = None
    gone_s: int | None = None

    @property
    def caches(self) -> bool:
        """Whether being cached changes what a token costs."""
        return self.marked != "none" and (self.read != self.input or self.write != self.input)

    def at(self, input_tokens: int) -> CachePrices:
        """The prices of a request whose whole prompt has `input_tokens`, cached ones included: tiers are cliffs."""
        found = self
        for above, prices in self.steps:
            if input_tokens > above:
                found = prices
        return found if found is self else replace(found, steps=self.steps)

    def hourly(self) -> CachePrices:
        """The same with entries that live for an hour; itself where the provider sells no such life."""
        if self.write_1h is None:
            return self
        steps = tuple((above, prices.hourly()) for above, prices in self.steps)
        gone_s = None if self.gone_s is None else _HOUR_S + _MARGIN_S
        return replace(self, write=self.write_1h, life_s=_HOUR_S, gone_s=gone_s, steps=steps)

    def surely_cached(self, tokens: int) -> bool:
        """Whether a prompt of so many tokens is cached for certain.

        Where nobody states the minimum, from 6,144 tokens on: the largest of any model in LiteLLM's map of 2026-10
        (Gemini 4).
        """
        return self.marked != "none" and tokens >= (_LARGEST_MINIMUM if self.minimum is None else self.minimum)

    def maybe_cached(self, tokens: int) -> bool:
        """Whether a prompt of so many tokens may be cached; where nobody states the minimum, any may."""
        return self.marked != "none" and tokens >= (self.minimum or 0)


def cache_prices(card: PriceCard, *, service_tier: str | None = None, input_tokens: int = 0) -> CachePrices:
    """What a prompt of `input_tokens` costs by where its tokens come from.

    Args:
        card: The card in force.
        service_tier: As the request names it; of several tables that may apply, the dearest is taken.
        input_tokens: Of the whole prompt, >= 0; decides the tier. `.at(tokens)` moves to another size later.

    Rates that the card leaves open are taken as the input rate, or 0 where that is unknown too, and `known` is False.

    Source: the card for rates and, where its sources list one, the minimum; `rules` for everything else.
    """
    table = max(card.tables_for(service_tier), key=lambda one: one.at(input_tokens)[Meter.INPUT] or 0)
    plain, read = table.rates[Meter.INPUT], table.rates[Meter.CACHE_READ]
    rules = cache_rules(card.provider, card.model, discounted=(read or 0) < (plain or 0) and card.has_cache_rates)
    base = _prices(card, table.rates, rules)
    return replace(base, steps=_steps(card, table, rules, base)).at(input_tokens)


def _steps(
    card: PriceCard, table: RateTable, rules: CacheRules, base: CachePrices
) -> tuple[tuple[int, CachePrices], ...]:
    larger = tuple((tier.above_input_tokens, _prices(card, tier.rates, rules)) for tier in table.tiers)
    return ((0, base), *larger) if larger else ()


def _prices(card: PriceCard, rates: Rates, rules: CacheRules) -> CachePrices:
    plain, output = rates[Meter.INPUT], rates[Meter.OUTPUT]
    write, read, hour = rates[Meter.CACHE_WRITE_5M], rates[Meter.CACHE_READ], rates[Meter.CACHE_WRITE_1H]
    fresh = plain or 0
    return CachePrices(
        input=fresh,
        write=fresh if write is None else write,
        write_1h=hour if rules.dialect == "cache_control" else None,
        read=fresh if read is None else read,
        output=output or 0,
        minimum=card.cache_minimum_tokens or rules.minimum,
        life_s=rules.life_s,
        marked=rules.marked,
        known=card.has_cache_rates and card.source != "assumed" and None not in (plain, write, read, output),
        dialect=rules.dialect,
        gone_s=rules.gone_s,
    )
