"""Old results give way to stubs where the gate says that it pays: the one stage that changes what was sent before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.folding import Level
from tokenguard.counting.words import words_of
from tokenguard.errors import Unpriceable
from tokenguard.prompt.economy import Block, Outlook, alive_permille, cache_prices, forecast, retire
from tokenguard.prompt.entry import Step
from tokenguard.prompt.folder import Change
from tokenguard.prompt.markers import TOOL_NAME, marker_line, marker_of
from tokenguard.prompt.places import places, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.parts import Parts
    from tokenguard.core.folding import Folding
    from tokenguard.prompt.economy import CachePrices, Retired
    from tokenguard.prompt.folder import Folded
    from tokenguard.prompt.places import Place
    from tokenguard.prompt.state import Conversation

__all__ = ["prices_of", "retired"]

_WHOLE_RESULT: Final = 1


def retired(call: Call, done: Folded, talk: Conversation, folding: Folding, parts: Parts) -> Folded:
    """The folded prompt with stubs for old results: those of earlier requests, and what this one decides.

    Args:
        call: As the caller made it.
        done: What the other stages made of its prompt.
        talk: The conversation; keeps what is decided.
        folding: The guard's.
        parts: The guard's.
    """
    prices = prices_of(call.targets[0], parts)
    if not folding.does("retire", Level.GATED) or prices is None:
        return done
    model = call.targets[0].model
    originals = _whole_results(call.given)
    sizes = parts.sizes.of(model, done.messages)
    blocks = _blocks(done, originals, sizes, folding)
    idle_s = max(0, int(parts.clock.monotonic() - talk.sent_s))
    decided = retire(
        blocks,
        sent=min(talk.sent, len(blocks)),
        prices=prices.at(sum(sizes)),
        outlook=Outlook(
            requests=forecast(talk.calls + 1),
            growth=max(0, sum(sizes) - talk.tokens) if talk.calls else 0,
            alive_permille=alive_permille(prices, idle_s),
        ),
        count=lambda text: parts.counter.count(model, text),
        marker=lambda key: marker_line(_marker(key), "this result was", folding.recovery),
        state=talk.retired,
        keep=folding.keep_results,
    )
    talk.retired = decided.state
    return _replaced(done, decided, originals, blocks) if decided.stubs else done


def prices_of(target: Target, parts: Parts) -> CachePrices | None:
    """What the cache of a target's provider costs; None: no price."""
    base = target.options.get("base_model")
    try:
        card = parts.prices.card(target.model, at=parts.clock.now(), base_model=base if isinstance(base, str) else None)
    except Unpriceable:
        return None
    return cache_prices(card)


def _whole_results(messages: Sequence[Any]) -> dict[int, Place]:
    """Messages that are one tool's result and nothing else, by index."""
    found: dict[int, list[Place]] = {}
    for place in places(messages):
        found.setdefault(place.message, []).append(place)
    return {
        at: of[0]
        for at, of in found.items()
        if len(of) == 1 and len(of[0].path) == _WHOLE_RESULT and of[0].tool != TOOL_NAME
    }


def _blocks(done: Folded, originals: dict[int, Place], sizes: Sequence[int], folding: Folding) -> list[Block]:
    """The prompt as the gate sees it. What another result refers to stays, and so do shielded tools."""
    blocks: list[Block] = []
    for at, message in enumerate(done.messages):
        place = originals.get(at)
        free = place is not None and at not in done.pinned and not folding.shields(place.tool, place.text)
        key = f"{at}:{marker_of(place.text)}" if free and place is not None else None
        blocks.append(Block(sizes[at], key, words_of(message, at)[0]))
    return blocks


def _replaced(done: Folded, decided: Retired, originals: dict[int, Place], blocks: Sequence[Block]) -> Folded:
    texts: dict[int, Any] = {}
    changes = list(done.changes)
    kept = dict(done.originals)
    tokens = decided.state["tokens"]
    for at, block in enumerate(blocks):
        stub = decided.stubs.get(block.key or "")
        if stub is None:
            continue
        place = originals[at]
        marker = _marker(block.key or "")
        texts[at] = {place.path: stub}
        kept[marker] = place.text
        step = Step("retire", block.tokens, tokens[block.key], len(block.text), len(stub), 0)
        changes.append(Change(at, place.tool, (step,), marker))
    return replace(
        done,
        messages=written(done.messages, texts),
        changes=tuple(changes),
        originals=kept,
        broken=decided.cut.behind if decided.cut else 0,
    )


def _marker(key: str) -> str:
    return key.partition(":")[2]
