"""Old results give way to stubs where the gate says that it pays: the one stage that changes what was sent before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tokenguard.calls.fold_keeping import state_of
from tokenguard.core.folding import Level
from tokenguard.core.untrusted import list_of
from tokenguard.counting.words import words_of
from tokenguard.errors import Unpriceable
from tokenguard.prompt.economy import Block, Outlook, alive_permille, cache_prices, forecast, retire
from tokenguard.prompt.entry import Step
from tokenguard.prompt.folder import Change
from tokenguard.prompt.markers import TOOL_NAME, marker_line, marker_of
from tokenguard.prompt.places import Place, places, written

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tokenguard.calls.call import Call, Target
    from tokenguard.calls.parts import Parts
    from tokenguard.core.folding import Folding
    from tokenguard.prompt.economy import CachePrices, Retired
    from tokenguard.prompt.folder import Folded
    from tokenguard.prompt.places import Path
    from tokenguard.prompt.state import Conversation

__all__ = ["forgotten", "prices_of", "retired"]


def retired(
    call: Call, done: Folded, talk: Conversation, folding: Folding, parts: Parts, *, decides: bool = True
) -> Folded:
    """The folded prompt with stubs for old results: those of earlier requests, and what this one decides.

    Args:
        call: As the caller made it.
        done: What the other stages made of its prompt.
        talk: The conversation; keeps what is decided.
        folding: The guard's.
        parts: The guard's.
        decides: Whether more results may give way than those that did before.
    """
    prices = prices_of(call.targets[0], parts)
    if not folding.does("retire", Level.GATED) or prices is None:
        return done
    model = call.targets[0].model
    sizes = parts.sizes.of(model, done.messages)
    prompt = _prompt(done, list_of(call.given), sizes, lambda text: parts.sizes.text(model, text), folding)
    before = parts.sizes.text(model, call.targets[0].terms.schemas)
    total = before + sum(sizes)
    idle_s = max(0, int(parts.clock.monotonic() - talk.sent_s))
    decided = retire(
        prompt.blocks,
        sent=prompt.starts[min(talk.sent, len(sizes))] if decides else 0,
        prices=prices.at(total),
        outlook=Outlook(
            requests=forecast(talk.calls + 1),
            growth=max(0, total - talk.tokens) if talk.calls else 0,
            alive_permille=alive_permille(prices, idle_s),
        ),
        count=lambda text: parts.counter.count(model, text),
        marker=lambda key: marker_line(_marker(key), "this result was", folding.recovery),
        state=talk.retired,
        keep=folding.keep_results,
        before=before,
    )
    talk.retired = decided.state
    if decided.cut:
        state_of(call, parts).is_new = True
    return _replaced(done, decided, prompt) if decided.stubs else done


def forgotten(state: dict[str, Any] | None, markers: Collection[str]) -> dict[str, Any] | None:
    """The state without stubs whose originals could not be kept: their results are said in full again."""
    if state is None:
        return None
    keeps = {key: text for key, text in state["stubs"].items() if _marker(key) not in markers}
    return {**state, "stubs": keeps}


def prices_of(target: Target, parts: Parts) -> CachePrices | None:
    """What the cache of a target's provider costs; None: no price."""
    base = target.options.get("base_model")
    try:
        card = parts.prices.card(target.model, at=parts.clock.now(), base_model=base if isinstance(base, str) else None)
    except Unpriceable:
        return None
    return cache_prices(card)


@dataclass(slots=True)
class _Prompt:
    """A prompt as the gate sees it: each result a block of its own, behind what else its message says."""

    blocks: list[Block] = field(default_factory=list[Block])
    starts: list[int] = field(default_factory=list[int])
    """At which block each message begins, and behind the last one the number of blocks."""
    places: dict[str, Place] = field(default_factory=dict[str, Place])
    """Results that may give way, as the tool gave them, by key."""


def _prompt(
    done: Folded, given: Sequence[Any], sizes: Sequence[int], count: Callable[[str], int], folding: Folding
) -> _Prompt:
    """What other results refer to stays, and so do shielded tools and what the model read back."""
    found = _Prompt()
    results: dict[int, list[tuple[Place, str]]] = {}
    for place, sent in zip(places(given), places(done.messages), strict=True):
        results.setdefault(place.message, []).append((place, sent.text))
    for at, message in enumerate(done.messages):
        found.starts.append(len(found.blocks))
        of_message = results.get(at, [])
        if not of_message:
            found.blocks.append(Block(sizes[at], None, words_of(message, at)[0]))
            continue
        tokens = [count(text) for _, text in of_message]
        found.blocks.append(Block(max(0, sizes[at] - sum(tokens))))
        for number, (place, text) in enumerate(of_message):
            key = f"{at}.{number}:{marker_of(place.text)}" if _may_go(place, at in done.pinned, folding) else None
            found.blocks.append(Block(tokens[number], key, text))
            if key is not None:
                found.places[key] = place
    found.starts.append(len(found.blocks))
    return found


def _may_go(place: Place, pinned: bool, folding: Folding) -> bool:  # noqa: FBT001  # it is said by its name
    return not pinned and place.tool != TOOL_NAME and not folding.shields(place.tool, place.text)


def _replaced(done: Folded, decided: Retired, prompt: _Prompt) -> Folded:
    texts: dict[int, dict[Path, str]] = {}
    changes = list(done.changes)
    kept = dict(done.originals)
    tokens = decided.state["tokens"]
    for block in prompt.blocks:
        stub = decided.stubs.get(block.key or "")
        if stub is None or block.key is None:
            continue
        place, marker = prompt.places[block.key], _marker(block.key)
        texts.setdefault(place.message, {})[place.path] = stub
        kept[marker] = place.text
        step = Step("retire", block.tokens, tokens[block.key], len(block.text), len(stub), 0)
        changes.append(Change(place.message, place.tool, (step,), marker))
    return replace(
        done,
        messages=written(done.messages, texts),
        changes=tuple(changes),
        originals=kept,
        broken=decided.cut.behind if decided.cut else 0,
    )


def _marker(key: str) -> str:
    return key.partition(":")[2]
