"""The most one attempt can cost, before it is sent: from a price card, the prompt's bound and the caller's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tokenguard.calls.call import Call, output_option
from tokenguard.core.ports import InputBound
from tokenguard.core.price import toml_to_paste
from tokenguard.core.untrusted import field_of, list_of, mapping_of
from tokenguard.core.verdict import Ask
from tokenguard.errors import CallTooLarge, Unpriceable

if TYPE_CHECKING:
    from tokenguard.core.price import PriceCard

__all__ = ["OUTPUT_FLOOR", "Bounds", "asked_tier", "bounds_of"]

OUTPUT_FLOOR: Final = 256
"""Fewer output tokens than this are not worth asking for, unless the caller did."""
_UNKNOWN_OUTPUT_MAX: Final = 16_384
_UNKNOWN_WINDOW: Final = 128_000
_LIKELY_BYTES_PER_TOKEN: Final = 3
_OWN_TOOLS: Final = (None, "function", "custom")
"""Types of tools that the caller runs; all others run, and are billed, at the provider."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an attempt may need, and how its answer's bound is sent."""

    ask: Ask
    input: InputBound
    likely_input: int
    """Our best estimate of the prompt, for answers that report nothing."""
    output_name: str | None
    output_given: int | None


def bounds_of(
    call: Call,
    options: Mapping[str, Any],
    card: PriceCard | None,
    bound: InputBound | None,
    *,
    capped_usd: bool,
    step: bool,
    priced: bool,
    enforce: bool,
) -> Bounds:
    """Bound one attempt.

    Args:
        call: What the caller asked for.
        options: Of this target.
        card: None where no price is known and the policy is to observe.
        bound: Of the prompt; None where parts of it cannot be seen, then the context window stands.
        capped_usd: Whether a usd cap applies, so that every bucket the call may fill needs a price.
        step: Whether the call is a step of its own.
        priced: False: the call fits no account in usd.
        enforce: Whether a prompt that leaves no room for an answer is refused.

    Raises:
        Unpriceable: a bucket that this call may fill has no price.
        CallTooLarge: the caller's own bound leaves no room in the model's context window.
    """
    window = card.context_tokens if card else None
    seen = _seen(bound, window)
    likely = seen.tokens if seen.method != "bytes" else -(-seen.tokens // _LIKELY_BYTES_PER_TOKEN)
    name, given = output_option(call.operation, options)
    # A prompt that we cannot see may leave any room in its window; and observing refuses nothing.
    left = None if window is None or bound is None or not enforce else window - likely
    most = _output_max(call, card, given, left)
    least = min(most, _output_min(options))
    answers = _answers(options)
    fixed_pico, rate_pico = 0, 0
    if card is not None:
        try:
            fixed_pico, rate_pico = _worst(call, options, card, seen.tokens, capped_usd=capped_usd)
        except Unpriceable:
            if capped_usd:
                raise
            priced = False  # No usd cap in this process; one that only the ledger knows refuses it there.
    ask = Ask(
        fixed_pico=fixed_pico,
        output_rate_pico=rate_pico * answers if most else 0,
        input_tokens=seen.tokens,
        output_min=least,
        output_max=most,
        output_given=given is not None or name is None,
        answers=answers,
        steps=int(step),
        priced=priced,
    )
    return Bounds(ask, seen, likely, name, given)


def asked_tier(options: Mapping[str, Any]) -> str | None:
    """The name of the card's table that a request asks for: a service tier, a fast mode, or a place."""
    tier = options.get("service_tier")
    if isinstance(tier, str) and tier not in ("", "auto", "default", "standard"):
        return tier
    if options.get("speed") == "fast":
        return "fast"
    place = options.get("inference_geo")
    if isinstance(place, str) and place and place != "global":
        return f"geo-{place.lower()}"
    location = options.get("vertex_location")
    return "geo-regional" if isinstance(location, str) and location not in ("", "global") else None


def _worst(
    call: Call, options: Mapping[str, Any], card: PriceCard, input_tokens: int, *, capped_usd: bool
) -> tuple[int, int]:
    """Pico-USD that a call costs whatever it answers, and per output token of each answer."""
    tier, kinds = asked_tier(options), _part_kinds(call)
    input_rate = card.input_rate_max(
        input_tokens,
        service_tier=tier,
        cache_write=_cache_write(call, options),
        audio=any("audio" in kind for kind in kinds),
        image=any("image" in kind for kind in kinds),
    )
    output_rate = card.output_rate_max(
        input_tokens, service_tier=tier, audio=_wants(options, "audio"), image=_wants(options, "image")
    )
    fees = card.request_fee_pico + _tool_fees(options, card, capped_usd=capped_usd)
    return input_tokens * input_rate + fees, output_rate


def _part_kinds(call: Call) -> set[str]:
    """Types of the content parts of a prompt: `text`, `image_url` or `input_audio`."""
    carriers = call.messages if call.operation == "chat" else list_of(call.content)
    return {str(mapping_of(part).get("type")) for one in carriers for part in list_of(mapping_of(one).get("content"))}


def _seen(bound: InputBound | None, window: int | None) -> InputBound:
    """The prompt's bound, capped by the context window: the one true bound."""
    if bound is None:
        return InputBound(window or _UNKNOWN_WINDOW, "window")
    if window is not None and bound.tokens > window:
        return InputBound(window, "window" if bound.method == "reported+new" else bound.method)
    return bound


def _output_max(call: Call, card: PriceCard | None, given: int | None, left: int | None) -> int:
    """The most output tokens per answer: the caller's, the model's and the window's, whichever is least."""
    if call.operation == "embeddings":
        return 0
    known = card.output_tokens_max if card else None
    limits = [limit for limit in (given, known, left) if limit is not None]
    if given is None and known is None:
        limits.append(_UNKNOWN_OUTPUT_MAX)
    most = min(limits)
    if most < 1:
        raise CallTooLarge(
            f"the prompt fills the whole context window of {call.targets[0].model!r}: no room is left for an answer. "
            "Shorten it, or take a model with a larger window.",
            context_tokens=card.context_tokens if card else None,
        )
    return most


def _output_min(options: Mapping[str, Any]) -> int:
    """The fewest output tokens worth sending for: thinking comes on top, and a structured answer is never cut."""
    if options.get("response_format") or options.get("text_format"):
        given = options.get("max_tokens") or options.get("max_completion_tokens") or options.get("max_output_tokens")
        if type(given) is int:
            return given
    budget = mapping_of(options.get("thinking")).get("budget_tokens")
    return OUTPUT_FLOOR + (budget if type(budget) is int else 0)


def _answers(options: Mapping[str, Any]) -> int:
    """`n`, at least 1; providers that take `best_of` bill every candidate."""
    counts = [value for value in (options.get("n"), options.get("best_of")) if type(value) is int]
    return max([1, *counts])


def _wants(options: Mapping[str, Any], modality: str) -> bool:
    """Whether the answer may carry audio or images."""
    return modality in (options.get("modalities") or ()) or (modality == "audio" and bool(options.get("audio")))


def _cache_write(call: Call, options: Mapping[str, Any]) -> str | None:
    """The dearest cache write that the request's own marks can cause: `1h`, `5m` or None."""
    found = "5m" if options.get("cache_control_injection_points") else None
    for mark in _marks((*call.messages, *list_of(options.get("tools")))):
        if field_of(mark, "ttl") == "1h":
            return "1h"
        found = "5m"
    return found


def _marks(carriers: Sequence[Any]) -> list[Any]:
    """Every `cache_control` on messages, their parts and tools."""
    marks: list[Any] = []
    for carrier in map(mapping_of, carriers):
        marks.append(carrier.get("cache_control"))
        content = carrier.get("content")
        if type(content) is not str:
            marks += [mapping_of(part).get("cache_control") for part in list_of(content)]
    return [mark for mark in marks if mark is not None]


def _tool_fees(options: Mapping[str, Any], card: PriceCard, *, capped_usd: bool) -> int:
    """Pico-USD that hosted tools can add.

    Raises:
        Unpriceable: under a usd cap, a hosted tool without a maximum number of uses, or without a price.
    """
    hosted = [tool for tool in map(mapping_of, list_of(options.get("tools"))) if tool.get("type") not in _OWN_TOOLS]
    if options.get("web_search_options") is not None:  # `{}` switches the search on: one for each request
        hosted.append({"type": "web_search_options", "max_uses": 1})
    fees = 0
    for tool in hosted:
        kind = str(tool["type"])
        uses = tool.get("max_uses") or options.get("max_tool_calls")
        rate = card.web_search_pico if kind.startswith("web_search") else None
        if type(uses) is int and rate is not None:
            fees += uses * rate
        elif capped_usd:
            raise Unpriceable(
                f"hosted tool {kind!r} of {card.model!r} can be used without limit or has no known price, and a usd "
                "cap applies. Give it max_uses= (Anthropic) or max_tool_calls= (OpenAI responses) and its price "
                "(web_search, docs/prices.md), or run it outside a usd cap.",
                model=card.model,
                bucket=kind,
                toml=toml_to_paste(card.model, "web_search", like=True) if kind.startswith("web_search") else "",
            )
    return fees
