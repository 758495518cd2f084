"""Does it pay to change what was already sent? Expected pico-dollars, exact for the forecast that is given.

A sent byte that changes costs the provider's cache behind it: those tokens are written again instead of read. What is
removed is saved on this request and on every later one. The rule that follows reads prices instead of knowing a
provider, and it is the reason why the same pipeline retires old results on one model and leaves them on another.

Symbols, as in docs/caching.md: `R` requests from now on, `D` net tokens removed, `S` cached tokens behind the first
changed byte that stay, `N` tokens of the prompt, `m` the cache minimum, `a` the chance that the cache is alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenguard.prompt.economy.prices import CachePrices

__all__ = [
    "EXTRA_STEPS_PERMILLE",
    "Candidate",
    "Cut",
    "Outlook",
    "alive_permille",
    "behaviour_pico",
    "best_cut",
    "cost_ahead_pico",
    "entry_pays",
    "forecast",
    "rewrite_gain_pico",
    "token_value_pico",
]

EXTRA_STEPS_PERMILLE: Final = 1_030
"""Extra steps an agent takes per thousand tokens of information removed, in thousandths: distil's measurement (1.03,
95 % interval 0.23 to 1.80), until a holdout of one's own replaces it."""

_WHOLE: Final = 1_000
_SMALLEST_FALL: Final = 16
_SMALLEST_FALL_PERCENT: Final = 5
_COLD_MARGIN_S: Final = 60
_USUAL_MINIMUM: Final = 1_024


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of a run from this request on.

    Attributes:
        requests: `R`, this one included, >= 1.
        growth: Tokens that each later prompt has more than the one before, >= 0.
        output: Tokens of an answer; matters only where a larger prompt makes them dearer.
        alive_permille: `a`: how likely the provider still has the prefix, 0..1000.
        step_pico: Mean cost of a step of this agent, in pico-USD, for what lost information costs; 0: it costs nothing.
        extra_steps_permille: `λ`, see `behaviour_pico`.
        certain: The number of requests is known; otherwise the gate is patient.
    """

    requests: int = 1
    growth: int = 0
    output: int = 0
    alive_permille: int = _WHOLE
    step_pico: int = 0
    extra_steps_permille: int = EXTRA_STEPS_PERMILLE
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sent result that could give way to a stub.

    Attributes:
        at: Tokens of the prompt before it.
        removed: Net tokens that go, the stub deducted, > 0.
        lost: Of them, tokens of information that the stub does not carry, 0..removed.
        waited: Earlier requests that carried it though it could have gone, >= 0.
    """

    at: int
    removed: int
    lost: int = 0
    waited: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """From which candidate on everything gives way, in one break of the cache.

    Attributes:
        first: Index of the first candidate that goes; every later one goes with it.
        removed: `D`, net tokens that go.
        behind: `S`, tokens that are written again.
        gain_pico: What the forecast says it saves, in pico-USD, behaviour deducted; > 0.
    """

    first: int
    removed: int
    behind: int
    gain_pico: int


def forecast(calls: int, *, median_left: int | None = None) -> int:
    """Requests that are still to come, this one included (formula 4).

    Args:
        calls: Made so far by this run, >= 0.
        median_left: What the ledger says of this agent's earlier runs at the same point; None: nothing is known, and
            half of what has been is expected to come.
    """
    return max(1, calls // 2 if median_left is None else median_left)


def alive_permille(prices: CachePrices, idle_s: int) -> int:
    """How likely the provider still has a prefix that was last used `idle_s` seconds ago, 0..1000 (formula 5).

    Certain up to a minute before the documented life ends, impossible a minute after the longest one, a straight line
    between. An unknown life counts as endless, which errs on the side of leaving sent bytes alone.
    """
    if not prices.caches:
        return 0
    if prices.life_s is None or prices.gone_s is None:
        return _WHOLE
    sure_s = prices.life_s - _COLD_MARGIN_S if prices.gone_s - prices.life_s <= _COLD_MARGIN_S else prices.life_s
    if idle_s < sure_s:
        return _WHOLE
    return max(0, _WHOLE * (prices.gone_s - idle_s) // (prices.gone_s - sure_s))


def token_value_pico(prices: CachePrices, requests: int) -> int:
    """What one token that is sent now for the first time costs until the run ends (formula 1): `w + r(R−1)`."""
    return prices.write + prices.read * (requests - 1)


def rewrite_gain_pico(prices: CachePrices, removed: int, behind: int, outlook: Outlook) -> int:
    """Expected gain of rewriting cached history, in pico-USD, rounded down (formula 2).

    `a·(r·R·D − (w−r)·S) + (1−a)·D·(w + r(R−1))`. Holds where the prompt stays above the minimum and in its tier;
    `best_cut` also knows what happens at those edges.
    """
    warm = prices.read * outlook.requests * removed - (prices.write - prices.read) * behind
    cold = removed * token_value_pico(prices, outlook.requests)
    return (outlook.alive_permille * warm + (_WHOLE - outlook.alive_permille) * cold) // _WHOLE


def behaviour_pico(lost: int, step_pico: int, *, extra_steps_permille: int = EXTRA_STEPS_PERMILLE) -> int:
    """What missing information costs in steps that the agent makes again, in pico-USD, rounded up (formula 6).

    Args:
        lost: Tokens of information that are gone.
        step_pico: Mean cost of a step of this agent.
        extra_steps_permille: `λ` in thousandths, per thousand tokens.
    """
    return -(-extra_steps_permille * lost * step_pico // _WHOLE**2)


def cost_ahead_pico(prices: CachePrices, total: int, warm: int, outlook: Outlook, *, hopeful: bool = False) -> int:
    """What this request and those after it cost, in pico-USD: formula 7's `F`, with growth and tiers (formula 9).

    Args:
        prices: Of the card; each request is priced by its own size.
        total: Tokens of this prompt.
        warm: Tokens at its beginning that are read from the cache, 0..total.
        outlook: How many requests, and how they grow; `alive_permille` is not used here.
        hopeful: Where the minimum is unknown, give the least that a small prompt can cost instead of the most.
    """
    cached = prices.maybe_cached if hopeful else prices.surely_cached
    spent, tokens = 0, total
    warm = warm if cached(warm) else 0
    for _ in range(outlook.requests):
        rates = prices.at(tokens)
        read = rates.read * warm + rates.write * (tokens - warm)
        # Between the two answers lies doubt, which exists only where nobody states the minimum.
        doubtful = prices.maybe_cached(tokens) and not prices.surely_cached(tokens)
        if doubtful:
            fresh = rates.input * tokens
            spent += min(fresh, read) if hopeful else max(fresh, rates.write * tokens)
        else:
            spent += read if cached(tokens) else rates.input * tokens
        warm = tokens if cached(tokens) else 0
        spent += rates.output * outlook.output
        tokens += outlook.growth
    return spent


def entry_pays(prices: CachePrices, *, before: int, after: int, total: int, warm: int, outlook: Outlook) -> bool:
    """Whether a text is worth folding when it first enters (formula 1), and the prompt with it (formula 7).

    Tokens must fall by at least 16 and by 5 %. Their price does not matter, because they are paid for in every case;
    only a prompt that would be cached unfolded and is not cached folded can lose. A minimum that nobody states is taken
    as 1,024, as LiteLLM does.

    Args:
        prices: Of the card; need not be known.
        before: Tokens of the text as it is.
        after: The same, folded.
        total: Tokens of the whole prompt with the text as it is.
        warm: Tokens of it that were sent before.
        outlook: What is expected of the run.
    """
    fall = before - after
    if fall < _SMALLEST_FALL or fall * 100 < _SMALLEST_FALL_PERCENT * before:
        return False
    if prices.minimum is None:
        prices = replace(prices, minimum=_USUAL_MINIMUM)
    if not prices.caches or prices.surely_cached(total - fall):
        return True
    return cost_ahead_pico(prices, total - fall, warm, outlook) < cost_ahead_pico(prices, total, warm, outlook)


def best_cut(
    prices: CachePrices, candidates: Sequence[Candidate], *, total: int, cached: int, outlook: Outlook
) -> Cut | None:
    """Where to break the cache so that it pays most, or None where it does not pay (formulas 2, 3, 6, 7 and 9).

    Everything deeper than the first change rides on the same break. The closed formula ranks all cuts in one pass; the
    few that win (the best of all, the best that stays above the minimum, the first below each price step) are then
    priced exactly, so that no edge is overlooked.

    Unless the forecast is certain, the gate also waits until carrying the candidates has cost as much as the break:
    whoever rents until the rent has reached the price never pays more than twice what was best, however the forecast
    errs.

    Args:
        prices: Of the card; where they are not known nothing is rewritten.
        candidates: In the order of the prompt, all of them sent before.
        total: Tokens of the prompt as it would be sent unchanged.
        cached: Tokens of it that were sent before, 0..total.
        outlook: The forecast.
    """
    if not prices.known or not candidates:
        return None

    def gain(cut: Cut, ahead: Outlook) -> int:
        return _exact_gain(prices, total, total - cut.removed, warm=(cached, candidates[cut.first].at), outlook=ahead)

    def net(cut: Cut, lost: int) -> Cut:
        behaviour = behaviour_pico(lost, outlook.step_pico, extra_steps_permille=outlook.extra_steps_permille)
        return replace(cut, gain_pico=gain(cut, outlook) - behaviour)

    ranked = _ranked(prices, candidates, cached, outlook)
    best = max((net(*one) for one in _finalists(prices, ranked, total)), key=lambda cut: cut.gain_pico)
    if best.gain_pico <= 0:
        return None
    carried = prices.read * sum(one.removed * one.waited for one in candidates[best.first :])
    ripe = carried + gain(best, replace(outlook, requests=1)) >= 0
    return best if ripe or outlook.certain else None


def _ranked(
    prices: CachePrices, candidates: Sequence[Candidate], cached: int, outlook: Outlook
) -> Iterator[tuple[Cut, int]]:
    """Every cut with what is lost by it, from the last candidate back; its gain by the closed formula."""
    removed = lost = 0
    loss_rate = outlook.step_pico * outlook.extra_steps_permille
    for first in range(len(candidates) - 1, -1, -1):
        one = candidates[first]
        removed += one.removed
        lost += one.lost
        # A prefix too short to be cached is written again with the rest.
        kept = one.at if prices.surely_cached(one.at) else 0
        behind = cached - kept - removed
        gain = rewrite_gain_pico(prices, removed, behind, outlook) - loss_rate * lost // _WHOLE**2
        yield Cut(first, removed, behind, gain), lost


def _finalists(prices: CachePrices, ranked: Iterator[tuple[Cut, int]], total: int) -> Iterator[tuple[Cut, int]]:
    steps = [above for above, _ in prices.steps if 0 < above < total]
    limits: list[Callable[[Cut], bool]] = [lambda _: True, lambda cut: prices.surely_cached(total - cut.removed)]
    best: list[tuple[Cut, int] | None] = [None] * len(limits)
    for cut, lost in ranked:
        for place, fits in enumerate(limits):
            leader = best[place]
            if fits(cut) and (leader is None or cut.gain_pico > leader[0].gain_pico):
                best[place] = cut, lost
        while steps and total - cut.removed <= steps[-1]:
            steps.pop()
            yield cut, lost
    yield from (one for one in best if one is not None)


def _exact_gain(prices: CachePrices, total: int, smaller: int, *, warm: tuple[int, int], outlook: Outlook) -> int:
    """The difference of two forecasts, with a warm cache and with a cold one, weighed by how likely each is.

    `warm` is what is read from a living cache, unchanged and changed.
    """
    alive, gain = outlook.alive_permille, 0
    for weight, (unchanged, changed) in ((alive, warm), (_WHOLE - alive, (0, 0))):
        if weight:
            before = cost_ahead_pico(prices, total, unchanged, outlook, hopeful=True)
            gain += weight * (before - cost_ahead_pico(prices, smaller, changed, outlook))
    return gain // _WHOLE
