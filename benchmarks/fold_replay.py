"""Exact replays of recorded runs: what each policy would have sent, and what the provider would have billed.

The cache is the simplest that providers describe: a prompt's longest beginning that an earlier prompt of the run had
is read, message by message, if it has at least the minimum; the rest is written. It never forgets within a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import fold_stages
from fold_runs import Talk

from tokenguard.counting.encodings import O200K, load
from tokenguard.prompt.economy import Block, CachePrices, Outlook, entry_pays, forecast, retire

_O200K = load(O200K)
OMITTED = "[old tool result omitted]"
Policy = Callable[[Talk, CachePrices], Iterator[list[str]]]


@cache
def tokens(text: str) -> int:
    """By o200k_base; each text is counted once in the whole benchmark."""
    assert _O200K is not None, "LiteLLM ships the vocabulary"
    return len(_O200K.encode_ordinary(text))


def _marker(key: str) -> str:
    return f"[tg:{key}]"


@dataclass
class ProviderCache:
    """Beginnings that were cached, as a tree of texts."""

    nodes: dict[tuple[int, str], int] = field(default_factory=dict)

    def send(self, texts: Sequence[str], prices: CachePrices) -> tuple[int, int, int]:
        """A prompt's tokens, those read, and pico-USD for all of them."""
        total = sum(map(tokens, texts))
        rates = prices.at(total)
        if not prices.surely_cached(total):
            return total, 0, rates.input * total
        at = reached = warm = 0
        for text in texts:
            reached += tokens(text)
            known = (at, text) in self.nodes
            at = self.nodes.setdefault((at, text), len(self.nodes) + 1)
            if known and prices.surely_cached(reached):
                warm = reached
        return total, warm, rates.read * warm + rates.write * (total - warm)


@dataclass
class Bill:
    """What a policy came to."""

    pico: int = 0
    requests: int = 0
    rewritten: int = 0
    """Requests that changed a text which the one before had sent."""

    def add(self, other: Bill) -> None:
        self.pico += other.pico
        self.requests += other.requests
        self.rewritten += other.rewritten


def bill(talk: Talk, prices: CachePrices, policy: Policy) -> Bill:
    """Replay one run."""
    provider, found, before = ProviderCache(), Bill(), list[str]()
    for texts in policy(talk, prices):
        found.pico += provider.send(texts, prices)[2]
        found.requests += 1
        found.rewritten += texts[: len(before)] != before
        before = texts
    return found


def off(talk: Talk, _: CachePrices) -> Iterator[list[str]]:
    """Everything as it is."""
    texts = [talk.tools, *(one.text for one in talk.said)]
    for end in talk.requests:
        yield texts[: end + 1]


def compact(talk: Talk, prices: CachePrices) -> Iterator[list[str]]:
    """Level `compact`: each result folded once, when it first enters."""
    for texts, _ in _entered(talk, prices, lambda text: (fold_stages.compact(text),)):
        yield texts


def lossless(talk: Talk, prices: CachePrices) -> Iterator[list[str]]:
    """Level `lossless`: the same with tables and templates."""
    for texts, _ in _entered(talk, prices, fold_stages.lossless):
        yield texts


def gated(
    *, truth: bool = False, keep: int = 5, paying: bool = False, watch: Callable[[int, int], None] | None = None
) -> Policy:
    """Level `gated`: lossless, and old results retire where the price gate says that it pays.

    Args:
        truth: The gate knows how many requests will come, instead of expecting half of those that were.
        keep: Newest results that stay.
        paying: Lost information costs extra steps at the mean price of a step so far.
        watch: Hears of each request the number of texts sent before that changed, and of cuts that were declared.
    """

    def policy(talk: Talk, prices: CachePrices) -> Iterator[list[str]]:
        state: dict[str, Any] | None = None
        before: list[str] = []
        provider, spent, first = ProviderCache(), 0, 0
        for calls, (texts, results) in enumerate(_entered(talk, prices, fold_stages.lossless)):
            blocks = [
                Block(tokens(text), _key(place) if place in results else None, text) for place, text in enumerate(texts)
            ]
            total = sum(block.tokens for block in blocks)
            first = first or total
            left = len(talk.requests) - calls if truth else forecast(calls)
            retired = retire(
                blocks,
                sent=len(before),
                prices=prices,
                outlook=Outlook(
                    left,
                    growth=(total - first) // max(1, calls),
                    step_pico=spent // max(1, calls) if paying else 0,
                    certain=truth,
                ),
                count=tokens,
                marker=_marker,
                state=state,
                keep=keep,
            )
            state = retired.state
            sent = [retired.stubs.get(block.key or "", block.text) for block in blocks]
            if watch is not None:
                changed = sum(now != then for now, then in zip(sent, before, strict=False))
                watch(changed, int(retired.cut is not None))
            spent += provider.send(sent, prices)[2] if paying else 0
            before = sent
            yield sent

    return policy


def mask(keep: int, every: int) -> Policy:
    """Peers: all results but the newest `keep` are left out, decided at every n-th request."""

    def policy(talk: Talk, _: CachePrices) -> Iterator[list[str]]:
        gone = 0
        results = [place for place, one in enumerate(talk.said) if one.who == "result"]
        for calls, end in enumerate(talk.requests):
            old = [place for place in results if place < end][:-keep]
            gone = len(old) if calls % every == 0 else gone
            masked = set(old[:gone])
            yield [talk.tools, *(OMITTED if place in masked else one.text for place, one in enumerate(talk.said[:end]))]

    return policy


def recompress(talk: Talk, _: CachePrices) -> Iterator[list[str]]:
    """Peers: a result is sent as it is when it is new, and folded from the next request on."""
    before = 0
    for end in talk.requests:
        yield [
            talk.tools,
            *(
                min(fold_stages.lossless(one.text), key=tokens) if one.who == "result" and place < before else one.text
                for place, one in enumerate(talk.said[:end])
            ),
        ]
        before = end


def _entered(
    talk: Talk, prices: CachePrices, forms: Callable[[str], tuple[str, ...]]
) -> Iterator[tuple[list[str], set[int]]]:
    """Each request's texts with every result folded at its entry, if that pays, and where the results are."""
    texts = [talk.tools]
    results: set[int] = set()
    first = 0
    for calls, end in enumerate(talk.requests):
        warm = sum(map(tokens, texts)) if calls else 0
        fresh = talk.said[len(texts) - 1 : end]
        total = warm + sum(tokens(one.text) for one in fresh) + (0 if calls else tokens(talk.tools))
        first = first or total
        outlook = Outlook(forecast(calls), growth=(total - first) // max(1, calls))
        for one in fresh:
            text = one.text
            if one.who == "result":
                results.add(len(texts))
                text, total = _folded(text, forms(text), prices, total=total, warm=warm, outlook=outlook)
            texts.append(text)
        yield list(texts), results


def _folded(
    text: str, forms: tuple[str, ...], prices: CachePrices, *, total: int, warm: int, outlook: Outlook
) -> tuple[str, int]:
    best = min(forms, key=tokens)
    before, after = tokens(text), tokens(best)
    if entry_pays(prices, before=before, after=after, total=total, warm=warm, outlook=outlook):
        return best, total - (before - after)
    return text, total


def _key(place: int) -> str:
    return hashlib.sha256(str(place).encode()).hexdigest()[:12]
