"""Advice about caches, each with a sentence and the dollars behind it. Nothing here is done by itself.

Promotion: a prefix a little below the cache minimum is cheaper when useful examples fill it up. Keep-alive: a ping
before the cache forgets costs one read, and the write that follows a forgotten prefix costs twelve. Switching: a warm
cache can make a dear model cheaper than a cheap one, for a few calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tokenguard.core.money import Money, dollars

if TYPE_CHECKING:
    from tokenguard.prompt.economy.prices import CachePrices

__all__ = ["Advice", "keep_alive", "promotion", "switch"]

_WHOLE: Final = 1_000
_MARGIN_S: Final = 60


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing that could be done.

    Attributes:
        kind: Which rule speaks.
        pays: Whether the forecast says that it saves money.
        saved_pico: How much, in pico-USD, over all requests of the forecast; negative where it would cost.
        sentence: The same in words, with its numbers.
    """

    kind: Literal["promotion", "keep_alive", "switch"]
    pays: bool
    saved_pico: int
    sentence: str

    @property
    def saved(self) -> Money:
        """`saved_pico` as an amount."""
        return Money.from_pico(self.saved_pico)


def promotion(prices: CachePrices, prefix: int, requests: int) -> Advice | None:
    """Fill a fixed prefix up to the cache minimum with examples (formula 8).

    Pays iff `R > m(w−r)/(N−r·m)`. Below the minimum nothing fails and nothing is cached, which is why nobody notices.

    Args:
        prices: Of the card; None is returned where they, or the minimum, are not known.
        prefix: `N`, tokens of the part that all requests share, >= 1.
        requests: `R`, requests while the cache lives, >= 1.

    Returns:
        None where the prefix is cached already, or is so short that filling it up can never pay.
    """
    minimum = prices.minimum
    if minimum is None or not prices.known or not prices.caches or prefix >= minimum:
        return None
    if prices.input * prefix <= prices.read * minimum:
        return None
    now = prices.input * prefix * requests
    filled = minimum * (prices.write + prices.read * (requests - 1))
    sentence = (
        f"the fixed prefix has {prefix:,} tokens and is cached from {minimum:,} on: {minimum - prefix:,} tokens of "
        f"examples would make {_calls(requests)} cost {dollars(filled)} instead of {dollars(now)}."
    )
    return Advice("promotion", filled < now, now - filled, sentence)


def keep_alive(prices: CachePrices, prefix: int, *, gap_s: int, return_permille: int) -> Advice | None:
    """Ping a prefix until the caller comes back (formula 12).

    `k` pings pay iff `k < ((w−r)/r)·P(return)`; at 1.25/0.1 that is 11.5 pings for a certain return.

    Args:
        prices: Of the card; None is returned where they, or how long a prefix lives, are not known.
        prefix: Tokens that would be forgotten.
        gap_s: Seconds until the next request is expected.
        return_permille: How likely it comes at all, 0..1000.

    Returns:
        None where the prefix outlives the gap by itself.
    """
    if prices.life_s is None or not prices.known or not prices.caches or not prices.maybe_cached(prefix):
        return None
    every_s = max(1, prices.life_s - _MARGIN_S)
    pings = (max(gap_s, 1) - 1) // every_s
    if pings == 0:
        return None
    spent = pings * prices.read * prefix
    saved = return_permille * (prices.write - prices.read) * prefix // _WHOLE
    sentence = (
        f"a pause of {gap_s:,} s outlasts the cache: {pings} ping{'s' * (pings > 1)} would cost {dollars(spent)}, and "
        f"writing {prefix:,} tokens again is expected to cost {dollars(saved)} more than reading them."
    )
    return Advice("keep_alive", spent < saved, saved - spent, sentence)


def switch(
    here: CachePrices, there: CachePrices, prefix: int, *, requests: int, growth: int = 0, output: int = 0
) -> Advice:
    """Go on with another model, whose cache is cold (formula 13).

    One-off `N·(p_B·w_B − p_A·r_A)`; on each later request `N·(p_A·r_A − p_B·r_B)`, and on every request, the first
    included, `d·(p_A·w_A − p_B·w_B) + out·(o_A − o_B)`.

    Args:
        here: Prices of the model that has the prefix in its cache.
        there: Prices of the other.
        prefix: `N`, tokens so far.
        requests: `R`, this one included, >= 1.
        growth: `d`, new tokens per request.
        output: Tokens of an answer.
    """
    total = prefix + growth
    stay, go = here.at(total), there.at(total)
    stay_write, stay_read = _own(stay, prefix)
    go_write, go_read = _own(go, prefix)
    once = prefix * (go_write - stay_read)
    each = growth * (stay_write - go_write) + output * (stay.output - go.output)
    saved = requests * each + (requests - 1) * prefix * (stay_read - go_read) - once
    word, more = "saves" if saved > 0 else "costs", "less" if once < 0 else "more"
    sentence = (
        f"the other model's cache is cold: writing {prefix:,} tokens there costs {dollars(abs(once))} {more} than "
        f"reading them here; over {_calls(requests)} the change {word} {dollars(abs(saved))}."
    )
    return Advice("switch", saved > 0, saved, sentence)


def _own(prices: CachePrices, prefix: int) -> tuple[int, int]:
    """The write and read rates that a prefix meets: plain input where it is not cached."""
    return (prices.write, prices.read) if prices.surely_cached(prefix) else (prices.input, prices.input)


def _calls(requests: int) -> str:
    return "one call" if requests == 1 else f"{requests:,} calls"
