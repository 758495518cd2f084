"""What folding saved in one call, by what the provider counted: a run's sum needs no forecast.

A token that is not sent would have been written or read: where it was new to the provider it is worth the write rate
(the input rate where nothing was written), and in every later call what reading the cache costs, or the input rate
where the provider read nothing from it. Tokens are ours, scaled down where the provider counts fewer in the same
prompt and never up: what it counts besides (images, its own instructions) would pose as tokens that were saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenguard.core.money import Money
from tokenguard.core.savings import SavingSpend
from tokenguard.core.usage import Quality
from tokenguard.prompt.economy import forecast, token_value_pico
from tokenguard.prompt.report import by_stage

if TYPE_CHECKING:
    from tokenguard.core.books import Booking
    from tokenguard.core.usage import Usage
    from tokenguard.prompt.economy import CachePrices
    from tokenguard.prompt.folder import Folded

__all__ = ["marks_saved", "route_saved", "saved_in"]


def saved_in(
    folded: Folded, usage: Usage | None, prices: CachePrices, *, ours: int, sent: int, calls: int, applied: bool
) -> tuple[SavingSpend, ...]:
    """What each stage saved in one call.

    Args:
        folded: The prompt as it was sent.
        usage: What the provider counted; None: it did not say, and nothing is settled.
        prices: Of the card, for the size of the prompt.
        sent: Messages of the conversation's request before this one; those behind them are new to the provider.
        ours: Tokens of the prompt and its tools by our count, > 0.
        calls: Calls of this conversation up to now, this one included.
        applied: Whether it was sent so; else it is only what would have been.
    """
    fresh = {one.stage: one for one in by_stage([one for one in folded.changes if one.message >= sent])}
    requests = forecast(calls)
    found: list[SavingSpend] = []
    for one in by_stage(folded.changes):
        new = fresh.get(one.stage)
        entering = new.tokens_saved if new else 0
        settled = 0 if usage is None else _settled(entering, one.tokens_saved - entering, usage, prices, ours)
        if one.stage == "retire" and usage is not None:
            # Behind the first byte that changed everything is written to the cache again instead of read from it.
            settled -= folded.broken * (_write(usage, prices) - prices.read)
        found.append(
            SavingSpend(
                name=one.stage,
                applied=applied,
                calls=1,
                results=new.results if new else 0,
                tokens_before=new.tokens_before if new else 0,
                tokens_after=new.tokens_after if new else 0,
                tokens=one.tokens_saved,
                elapsed_us=new.elapsed_us if new else 0,
                estimated=Money.from_pico(entering * token_value_pico(prices, requests)),
                settled=Money.from_pico(settled),
            )
        )
    return tuple(found)


def marks_saved(usage: Usage, prices: CachePrices) -> SavingSpend:
    """What cache marks of ours saved in one call: reading instead of sending again, less what writing cost extra."""
    hour = prices.hourly()
    extra = usage.cache_write_5m_tokens * (prices.write - prices.input)
    extra += usage.cache_write_1h_tokens * (hour.write - hour.input)
    pico = usage.cache_read_tokens * (prices.input - prices.read) - extra
    amount = Money.from_pico(pico)
    return SavingSpend("mark", True, 1, 0, 0, 0, 0, 0, amount, amount)  # noqa: FBT003  # it was sent


def route_saved(booking: Booking) -> tuple[SavingSpend, ...]:
    """What answering elsewhere saved against the model that was asked for; below zero where that was dearer.

    The other model's price is for the tokens that this one wrote, so it is an estimate, and only told of answers whose
    tokens were counted.
    """
    elsewhere = booking.counterfactual_pico
    if elsewhere is None or booking.quality is not Quality.REPORTED or elsewhere == booking.amounts.usd_pico:
        return ()
    amount = Money.from_pico(elsewhere - booking.amounts.usd_pico)
    return (SavingSpend("route", True, 1, 0, 0, 0, 0, 0, amount, amount),)  # noqa: FBT003  # it was sent


def _settled(entering: int, staying: int, usage: Usage, prices: CachePrices, ours: int) -> int:
    writes = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens > 0
    fresh = _write(usage, prices) if writes else prices.input
    again = prices.read if usage.cache_read_tokens else fresh
    worth = entering * fresh + staying * again
    return worth * min(usage.input_total, ours) // max(1, ours)


def _write(usage: Usage, prices: CachePrices) -> int:
    """What a token costs that is written to the cache, for the life that this call's entries got."""
    return (prices.hourly() if usage.cache_write_1h_tokens else prices).write
