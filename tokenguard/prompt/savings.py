"""What folding saved in one call, by what the provider counted: a run's sum needs no forecast.

A token that is not sent would have been written or read: where it was new to the provider it is worth the write rate
(the input rate where nothing was written), and in every later call what reading the cache costs, or the input rate
where the provider read nothing from it. Tokens are ours, scaled to the provider's count of the same prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenguard.prompt.economy import forecast, token_value_pico
from tokenguard.prompt.report import by_stage

if TYPE_CHECKING:
    from tokenguard.core.usage import Usage
    from tokenguard.prompt.economy import CachePrices
    from tokenguard.prompt.folder import Folded
    from tokenguard.prompt.report import StageTotal

__all__ = ["Saved", "marks_saved_pico", "saved_in"]


@dataclass(frozen=True, slots=True)
class Saved:
    """What one stage saved in one call."""

    total: StageTotal
    """Of the results that were new in this call."""
    tokens: int
    """Fewer tokens in this call, all results counted."""
    settled_pico: int
    """What that was worth in this call."""
    estimated_pico: int
    """What the new ones are expected to be worth, this call and the later ones of their run."""


def saved_in(folded: Folded, usage: Usage | None, prices: CachePrices, *, ours: int, calls: int) -> tuple[Saved, ...]:
    """What each stage saved in one call.

    Args:
        folded: The prompt as it was sent.
        usage: What the provider counted; None: it did not say, and nothing is settled.
        prices: Of the card, for the size of the prompt.
        ours: Tokens of the prompt by our count, > 0.
        calls: Calls of this run up to now, this one included.
    """
    fresh = [change for change in folded.changes if change.message >= folded.new_from]
    old = [change for change in folded.changes if change.message < folded.new_from]
    new_totals = {one.stage: one for one in by_stage(fresh)}
    old_tokens = {one.stage: one.tokens_saved for one in by_stage(old)}
    requests = forecast(calls)
    found: list[Saved] = []
    for one in by_stage(folded.changes):
        new = new_totals.get(one.stage)
        entering = new.tokens_saved if new else 0
        staying = old_tokens.get(one.stage, 0)
        settled = 0 if usage is None else _settled(entering, staying, usage, prices, ours)
        expected = entering * token_value_pico(prices, requests)
        found.append(Saved(new or _nothing(one), entering + staying, settled, expected))
    return tuple(found)


def marks_saved_pico(usage: Usage, prices: CachePrices) -> int:
    """What cache marks of ours saved in one call: reading instead of sending again, less what writing cost extra."""
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    return usage.cache_read_tokens * (prices.input - prices.read) - written * (prices.write - prices.input)


def _settled(entering: int, staying: int, usage: Usage, prices: CachePrices, ours: int) -> int:
    writes = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens > 0
    fresh = prices.write if writes else prices.input
    again = prices.read if usage.cache_read_tokens else fresh
    return (entering * fresh + staying * again) * usage.input_total // max(1, ours)


def _nothing(total: StageTotal) -> StageTotal:
    """A stage that changed only what was sent before."""
    return type(total)(total.stage, 0, 0, 0, 0, 0, 0, total.reversible)
