"""The most one attempt can cost, before it is sent: from a price card, the prompt's bound and its options' terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenguard.core.marks import dearest_life
from tokenguard.core.ports import InputBound
from tokenguard.core.price import toml_to_paste
from tokenguard.core.verdict import Ask
from tokenguard.errors import CallTooLarge, Unpriceable
from tokenguard.pricing.searches import SIZED_SEARCHES, always_searches, is_search, searches_max, sells_claude

if TYPE_CHECKING:
    from tokenguard.calls.terms import HostedTool, Terms
    from tokenguard.core.ports import Prompt
    from tokenguard.core.price import PriceCard

__all__ = ["Bounds", "bounds_of"]

_UNKNOWN_OUTPUT_MAX: Final = 16_384
_UNKNOWN_WINDOW: Final = 128_000
_LIKELY_BYTES_PER_TOKEN: Final = 3
_KEEPS_TOOL_CALLS: Final = frozenset({"openai", "azure"})
"""Providers whose responses API is known to keep `max_tool_calls`; LiteLLM sends it to others as well, or drops it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an attempt may need."""

    ask: Ask
    input: InputBound
    likely_input: int
    """Our best estimate of the prompt, for answers that report nothing."""


def bounds_of(
    model: str,
    terms: Terms,
    prompt: Prompt,
    card: PriceCard | None,
    *,
    output_min: int,
    capped_usd: bool,
    step: bool,
    priced: bool,
    enforce: bool,
) -> Bounds:
    """Bound one attempt.

    Args:
        model: As the caller named it, for sentences.
        terms: Of the options it is sent with.
        prompt: Where parts of it cannot be seen, the context window stands for its bound.
        card: None where no price is known and the policy is to observe.
        output_min: The fewest output tokens worth sending for.
        capped_usd: Whether a usd cap applies, so that every bucket the call may fill needs a price.
        step: Whether the call is a step of its own.
        priced: False: the call fits no account in usd.
        enforce: Whether a prompt that leaves no room for an answer is refused.

    Raises:
        Unpriceable: a bucket that this call may fill has no price.
        CallTooLarge: the caller's own bound leaves no room in the model's context window.
    """
    window = card.context_tokens if card else None
    own = _seen(prompt.bound, window)
    likely = own.tokens if own.method != "bytes" else -(-own.tokens // _LIKELY_BYTES_PER_TOKEN)
    seen = _filled(own, window) if terms.hosted or _always_searches(model, card) else own
    # A prompt that we cannot see may leave any room in its window; and observing refuses nothing.
    left = None if window is None or prompt.bound is None or not enforce else window - likely
    most = _output_max(model, terms, card, left) if terms.output_name else 0
    fixed_pico, rate_pico = 0, 0
    if card is not None:
        try:
            fixed_pico, rate_pico = _worst(terms, prompt, card, seen.tokens)
            if terms.hosted:
                fixed_pico += _tool_fees(model, terms, card)
        except Unpriceable:
            if capped_usd:
                raise
            priced = False  # No usd cap in this process; one that only the ledger knows refuses it there.
    ask = Ask(
        fixed_pico=fixed_pico,
        output_rate_pico=rate_pico * terms.answers if most else 0,
        input_tokens=seen.tokens,
        output_min=min(most, output_min),
        output_max=most,
        output_given=terms.output_given is not None or terms.output_name is None,
        answers=terms.answers,
        steps=int(step),
        priced=priced,
    )
    return Bounds(ask, seen, likely)


def _worst(terms: Terms, prompt: Prompt, card: PriceCard, input_tokens: int) -> tuple[int, int]:
    """Pico-USD that a call costs whatever it answers, but for hosted tools, and per output token of each answer."""
    kinds = prompt.kinds
    input_rate = card.input_rate_max(
        input_tokens,
        service_tier=terms.tier,
        cache_write=terms.cache_life
        if prompt.cache_life is None
        else dearest_life((prompt.cache_life, terms.cache_life)),
        audio=bool(kinds) and any("audio" in kind for kind in kinds),
        image=bool(kinds) and any("image" in kind for kind in kinds),
    )
    output_rate = card.output_rate_max(input_tokens, service_tier=terms.tier, audio=terms.audio, image=terms.image)
    return input_tokens * input_rate + card.request_fee_pico, output_rate


def _seen(bound: InputBound | None, window: int | None) -> InputBound:
    """The prompt's bound, capped by the context window: the one true bound."""
    if bound is None:
        return InputBound(window or _UNKNOWN_WINDOW, "window")
    if window is not None and bound.tokens > window:
        return InputBound(window, "window" if bound.method == "reported+new" else bound.method)
    return bound


def _filled(own: InputBound, window: int | None) -> InputBound:
    """The whole window: what hosted tools find comes into the prompt, and is billed as such."""
    return InputBound(window or max(own.tokens, _UNKNOWN_WINDOW), "window")


def _always_searches(model: str, card: PriceCard | None) -> bool:
    return card is not None and (always_searches(card.provider, model) or always_searches(card.provider, card.model))


def _output_max(model: str, terms: Terms, card: PriceCard | None, left: int | None) -> int:
    """The most output tokens per answer: the caller's, the model's and the window's, whichever is least."""
    given, known = terms.output_given, card.output_tokens_max if card else None
    limits = [limit for limit in (given, known, left) if limit is not None]
    if given is None and known is None:
        limits.append(_UNKNOWN_OUTPUT_MAX)
    most = min(limits)
    if most < 1:
        raise CallTooLarge(
            f"the prompt fills the whole context window of {model!r}: no room is left for an answer. "
            "Shorten it, or take a model with a larger window.",
            context_tokens=card.context_tokens if card else None,
        )
    return most


def _tool_fees(model: str, terms: Terms, card: PriceCard) -> int:
    """Pico-USD that hosted tools can add, besides the tokens that they bring.

    Raises:
        Unpriceable: a hosted tool without a maximum number of uses, or without a price.
    """
    fees = 0
    for tool in terms.hosted:
        uses = _uses(model, tool, terms, card)
        rate = card.web_search_pico if is_search(tool.kind) else None
        if uses == 0:  # The request's fee contains it.
            continue
        if uses is None or rate is None:
            raise _unbounded(tool, card, limited=uses is not None)
        fees += uses * rate
    return fees


def _uses(model: str, tool: HostedTool, terms: Terms, card: PriceCard) -> int | None:
    """How often a tool can be billed besides the request fee; None: as often as the model likes."""
    if tool.uses_max is not None:
        return tool.uses_max
    searches = searches_max(tool.kind, tool.search_size, card, model)
    if searches is None and card.provider in _KEEPS_TOOL_CALLS:
        return terms.tool_calls_max
    return searches


def _unbounded(tool: HostedTool, card: PriceCard, *, limited: bool) -> Unpriceable:
    """Why a hosted tool fits no usd cap, and what would let it through."""
    toml = ""
    if not is_search(tool.kind):
        what, move = "has no price that tokenguard meters", "Leave it out, or run it outside a usd cap."
    elif limited:
        toml = toml_to_paste(card.model, "web_search", like=True)
        what, move = "has no known price", f"Put it into your price file:\n{toml}"
    else:
        what, move = "can be used without limit", f"{_limit(card)}run it outside a usd cap."
    return Unpriceable(
        f"hosted tool {tool.kind!r} of {card.model!r} {what}, and a usd cap applies. {move}",
        model=card.model,
        bucket=tool.kind,
        toml=toml,
    )


def _limit(card: PriceCard) -> str:
    """What limits searches at a provider, as the beginning of a next move."""
    if sells_claude(card):
        sizes = ", ".join(f'"{size}" for {uses}' for size, uses in SIZED_SEARCHES.items())
        return f'Give web_search_options={{"search_context_size": ...}} ({sizes}), or max_uses= in a dated tool, or '
    if card.provider in _KEEPS_TOOL_CALLS:
        return 'Call guard.responses() with tools=[{"type": "web_search"}] and max_tool_calls=, or '
    return f"tokenguard knows nothing that limits it at {card.provider!r}: "
