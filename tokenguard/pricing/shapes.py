"""The door for usage: whatever shape a provider or LiteLLM reports becomes disjoint leaves, once.

Counts come inclusive or exclusive of each other, by provider and by API. Each reader below turns one shape into
`_Counts`, whose totals are inclusive; `_split` then takes the parts out of the totals. Shapes, as of LiteLLM 1.106:

- chat: `prompt_tokens` contains cached, written, audio and image tokens for every provider, Anthropic and Bedrock
  included (their transformations add what the provider counts apart). `cache_creation_input_tokens` on the top level
  repeats `prompt_tokens_details.cache_creation_tokens`; OpenAI's own name is `cache_write_tokens`.
- responses, realtime and transcription: `input_tokens`, with details under `input_tokens_details` or, in older replies,
  `input_token_details`; or `seconds` where audio is billed by time.
- raw Anthropic: `input_tokens` *excludes* what was read from or written to the cache. Told apart by its cache fields on
  the top level, or by the provider's name, and by the absence of details.
- raw Bedrock (`inputTokens` …), where cached tokens are also excluded, and raw Gemini (`promptTokenCount` …), where
  they are included but thoughts are not part of the candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.core.usage import Usage
from tokenguard.errors import BadAmount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["served_tier", "split_usage"]

_TOTALS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_GLOBAL_PLACES: Final = frozenset({"global", "not_available"})


def split_usage(raw: Mapping[str, Any], *, provider: str) -> Usage:
    """Turn a reported usage into disjoint leaves.

    Args:
        raw: `usage` of a reply, as LiteLLM or the provider gives it. Missing and null fields count as 0; a float that
            is a whole number is taken (servers in JavaScript send them), any other is refused.
        provider: LiteLLM's name of the provider, such as `anthropic`; decides only where a shape is ambiguous.

    Raises:
        BadAmount: a negative, fractional, infinite or non-numeric count, or parts that exceed their total.
    """
    return _plain_chat(raw) or _split(_reader(raw, provider)(raw), raw)


def served_tier(raw: Mapping[str, Any], served: str | None = None) -> str | None:
    """The name of the card's table that a reply was billed by.

    Args:
        raw: `usage` of the reply. Anthropic says `speed: "fast"` and `inference_geo: "us"` there, each with a price.
        served: The reply's own `service_tier`, which wins unless it names the ordinary tier.
    """
    tier = served or raw.get("service_tier")
    if isinstance(tier, str) and tier.lower() not in ("", "standard", "default", "auto"):
        return tier
    if raw.get("speed") == "fast":
        return "fast"
    place = raw.get("inference_geo")
    if isinstance(place, str) and place and place.lower() not in _GLOBAL_PLACES:
        return f"geo-{place.lower()}"
    return tier if isinstance(tier, str) else None


@dataclass(slots=True)
class _Counts:
    """One usage with inclusive totals: `prompt` and `completion` contain everything below them."""

    prompt: int = 0
    completion: int = 0
    total: int = 0
    cached: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    written: int = 0
    written_5m: int = 0
    written_1h: int = 0
    audio_in: int = 0
    image_in: int = 0
    reasoning: int = 0
    audio_out: int = 0
    image_out: int = 0
    searches: int = 0
    input_ms: int = 0
    output_ms: int = 0


def _plain_chat(raw: Mapping[str, Any]) -> Usage | None:
    """A chat usage that breaks nothing down, which most replies are; None for every other."""
    if any(type(raw.get(name)) is not int or raw[name] < 0 for name in _TOTALS):
        return None
    for name, value in raw.items():
        if name not in _TOTALS and not (
            _is_nothing(value) or all(map(_is_nothing, mapping_of(value).values() or (1,)))
        ):
            return None
    return Usage(input_tokens=raw["prompt_tokens"], output_tokens=raw["completion_tokens"])


def _is_nothing(value: Any) -> bool:
    return value is None or (type(value) is int and value == 0)


def _reader(raw: Mapping[str, Any], provider: str) -> Callable[[Mapping[str, Any]], _Counts]:
    if "promptTokenCount" in raw or "candidatesTokenCount" in raw:
        return _read_gemini
    if "inputTokens" in raw or "outputTokens" in raw:
        return _read_bedrock
    if "prompt_tokens" in raw or "completion_tokens" in raw:
        return _read_chat
    detailed = bool(raw.get("input_tokens_details") or raw.get("input_token_details"))
    caches = "cache_read_input_tokens" in raw or "cache_creation_input_tokens" in raw
    if "input_tokens" in raw and not detailed and (caches or provider == "anthropic"):
        return _read_anthropic
    return _read_responses


def _read_chat(raw: Mapping[str, Any]) -> _Counts:
    """OpenAI's chat shape, which LiteLLM gives for every provider; embeddings have no completion tokens."""
    prompt, answer = mapping_of(raw.get("prompt_tokens_details")), mapping_of(raw.get("completion_tokens_details"))
    counts = _details(prompt, answer, raw)
    counts.prompt, counts.completion = _count(raw, "prompt_tokens"), _count(raw, "completion_tokens")
    counts.total = _count(raw, "total_tokens")
    if not counts.reasoning:
        counts.reasoning = _count(raw, "reasoning_tokens")
    if counts.reasoning:
        _place_reasoning(counts)
    return counts


def _place_reasoning(counts: _Counts) -> None:
    """Make the completion contain the reasoning.

    OpenAI includes it; xAI and some gateways do not, and LiteLLM folds it in on some of their paths only. The total
    decides, because it counts everything once. Where it does not help, reasoning above the completion can only be apart
    from it. LiteLLM estimates Anthropic's reasoning from the text, so that it may come out above what contains it.
    """
    visible = counts.completion - counts.audio_out - counts.image_out
    if counts.total == counts.prompt + counts.completion:
        counts.reasoning = min(counts.reasoning, max(visible, 0))
    elif counts.total == counts.prompt + counts.completion + counts.reasoning or counts.reasoning > visible:
        counts.completion += counts.reasoning


def _read_responses(raw: Mapping[str, Any]) -> _Counts:
    prompt = mapping_of(raw.get("input_tokens_details") or raw.get("input_token_details"))
    answer = mapping_of(raw.get("output_tokens_details") or raw.get("output_token_details"))
    counts = _details(prompt, answer, raw)
    counts.prompt, counts.completion = _count(raw, "input_tokens"), _count(raw, "output_tokens")
    counts.input_ms = _milliseconds(raw, "seconds")
    return counts


def _details(prompt: Mapping[str, Any], answer: Mapping[str, Any], raw: Mapping[str, Any]) -> _Counts:
    """The breakdowns of OpenAI's shapes, with the extra fields that LiteLLM adds for other providers."""
    lives = mapping_of(prompt.get("cache_creation_token_details")) or mapping_of(raw.get("cache_creation"))
    cached = mapping_of(prompt.get("cached_tokens_details"))
    tools = mapping_of(raw.get("server_tool_use"))
    return _Counts(
        cached=_count(prompt, "cached_tokens") or _count(raw, "cache_read_input_tokens") or _hits(raw),
        cached_audio=_count(cached, "audio_tokens"),
        cached_image=_count(cached, "image_tokens"),
        written=_count(prompt, "cache_write_tokens")
        or _count(prompt, "cache_creation_tokens")
        or _count(raw, "cache_creation_input_tokens"),
        written_5m=_count(lives, "ephemeral_5m_input_tokens"),
        written_1h=_count(lives, "ephemeral_1h_input_tokens"),
        # Modalities contain their cached part: OpenAI's realtime reports `audio_tokens` with the cached ones in it.
        # LiteLLM takes Gemini's cached parts out and then gives no `cached_tokens_details`: nothing is taken out twice.
        audio_in=max(_count(prompt, "audio_tokens") - _count(cached, "audio_tokens"), 0),
        # Video frames are images to every price list that has a rate for them.
        image_in=max(_count(prompt, "image_tokens") - _count(cached, "image_tokens"), 0)
        + _count(prompt, "video_tokens"),
        reasoning=_count(answer, "reasoning_tokens"),
        audio_out=_count(answer, "audio_tokens"),
        image_out=_count(answer, "image_tokens") + _count(answer, "video_tokens"),
        searches=_xai_searches(raw) or _count(tools, "web_search_requests") or _count(prompt, "web_search_requests"),
    )


def _xai_searches(raw: Mapping[str, Any]) -> int:
    """Searches of the web and of X, at one price; LiteLLM repeats the web's in the prompt's details, on some paths."""
    tools = mapping_of(raw.get("server_side_tool_usage_details"))
    return _count(tools, "web_search_calls") + _count(tools, "x_search_calls")


def _hits(raw: Mapping[str, Any]) -> int:
    return _count(raw, "prompt_cache_hit_tokens")  # DeepSeek's own name, before LiteLLM maps it


def _read_anthropic(raw: Mapping[str, Any]) -> _Counts:
    """Anthropic's own shape: the three parts of the prompt are counted apart.

    `iterations` (server-side compaction) are billed requests that the top level leaves out; they contain it.
    """
    steps = [mapping_of(one) for one in list_of(raw.get("iterations"))] or [raw]
    lives = mapping_of(raw.get("cache_creation"))
    answer = mapping_of(raw.get("output_tokens_details"))
    cached = sum(_count(step, "cache_read_input_tokens") for step in steps)
    written = sum(_count(step, "cache_creation_input_tokens") for step in steps)
    return _Counts(
        prompt=sum(_count(step, "input_tokens") for step in steps) + cached + written,
        completion=sum(_count(step, "output_tokens") for step in steps),
        cached=cached,
        written=written,
        written_5m=_count(lives, "ephemeral_5m_input_tokens"),
        written_1h=_count(lives, "ephemeral_1h_input_tokens"),
        reasoning=_count(answer, "thinking_tokens") or _count(answer, "reasoning_tokens"),
        searches=_count(mapping_of(raw.get("server_tool_use")), "web_search_requests"),
    )


def _read_bedrock(raw: Mapping[str, Any]) -> _Counts:
    """Bedrock's Converse and InvokeModel shapes, which differ in the names of the cache counts only."""
    cached = _count(raw, "cacheReadInputTokens") or _count(raw, "cacheReadInputTokenCount")
    written = _count(raw, "cacheWriteInputTokens") or _count(raw, "cacheWriteInputTokenCount")
    lives = [mapping_of(one) for one in list_of(raw.get("cacheDetails"))]
    return _Counts(
        prompt=_count(raw, "inputTokens") + cached + written,
        completion=_count(raw, "outputTokens"),
        cached=cached,
        written=written,
        written_5m=sum(_count(one, "inputTokens") for one in lives if one.get("ttl") == "5m"),
        written_1h=sum(_count(one, "inputTokens") for one in lives if one.get("ttl") == "1h"),
    )


def _read_gemini(raw: Mapping[str, Any]) -> _Counts:
    """Gemini's `usageMetadata`: the prompt contains what was cached, the candidates do not contain the thoughts."""
    prompt, cached = _modalities(raw, "promptTokensDetails"), _modalities(raw, "cacheTokensDetails")
    answer = _modalities(raw, "candidatesTokensDetails")
    thoughts = _count(raw, "thoughtsTokenCount")
    return _Counts(
        prompt=_count(raw, "promptTokenCount") + _count(raw, "toolUsePromptTokenCount"),
        completion=_count(raw, "candidatesTokenCount") + thoughts,
        cached=_count(raw, "cachedContentTokenCount"),
        cached_audio=cached.get("AUDIO", 0),
        cached_image=cached.get("IMAGE", 0) + cached.get("VIDEO", 0),
        audio_in=prompt.get("AUDIO", 0) - cached.get("AUDIO", 0),
        image_in=prompt.get("IMAGE", 0) + prompt.get("VIDEO", 0) - cached.get("IMAGE", 0) - cached.get("VIDEO", 0),
        reasoning=thoughts,
        audio_out=answer.get("AUDIO", 0),
        image_out=answer.get("IMAGE", 0) + answer.get("VIDEO", 0),
    )


def _modalities(raw: Mapping[str, Any], name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for detail in map(mapping_of, list_of(raw.get(name))):
        modality = str(detail.get("modality", "")).upper()
        found[modality] = found.get(modality, 0) + _count(detail, "tokenCount")
    return found


def _split(counts: _Counts, raw: Mapping[str, Any]) -> Usage:
    """Take the parts out of the totals."""
    # Writes without a named life are five-minute ones: Anthropic's default, and the only kind elsewhere.
    written = max(counts.written, counts.written_5m + counts.written_1h)
    leaves = {
        "cache_read_tokens": counts.cached - counts.cached_audio,
        "audio_cache_read_tokens": counts.cached_audio,
        "cache_write_5m_tokens": written - counts.written_1h,
        "cache_write_1h_tokens": counts.written_1h,
        "audio_input_tokens": counts.audio_in,
        "image_input_tokens": counts.image_in,
    }
    leaves["input_tokens"] = counts.prompt - sum(leaves.values())
    if leaves["input_tokens"] < 0:
        _untangle(leaves)
    leaves["reasoning_tokens"] = counts.reasoning
    leaves["audio_output_tokens"] = counts.audio_out
    leaves["image_output_tokens"] = counts.image_out
    leaves["output_tokens"] = counts.completion - counts.reasoning - counts.audio_out - counts.image_out
    for bucket, quantity in leaves.items():
        if quantity < 0:
            raise BadAmount(
                f"usage parts exceed their total: {bucket} would be {quantity}. This shape is not understood, please "
                f"report it: {', '.join(sorted(key for key, value in raw.items() if value is not None))}.",
                bucket=bucket,
                amount=quantity,
            )
    return Usage(
        **leaves,
        web_searches=counts.searches,
        input_milliseconds=counts.input_ms,
        output_milliseconds=counts.output_ms,
    )


def _untangle(leaves: dict[str, int]) -> None:
    """Resolve cached tokens that are counted among images and audio too.

    Gemini's implicit cache reports one number of cached tokens and no modalities, so a cached picture is in both.
    The overlap is taken from images first: what stays is at the dearer rates, so that the sum is never too low.
    """
    over = -leaves["input_tokens"]
    from_images = min(over, leaves["image_input_tokens"], leaves["cache_read_tokens"])
    from_audio = min(over - from_images, leaves["audio_input_tokens"], leaves["cache_read_tokens"] - from_images)
    leaves["image_input_tokens"] -= from_images
    leaves["audio_input_tokens"] -= from_audio
    leaves["cache_read_tokens"] -= from_audio
    leaves["audio_cache_read_tokens"] += from_audio
    leaves["input_tokens"] += from_images + from_audio


def _count(source: Mapping[str, Any], name: str) -> int:
    """A count that may be missing, null, or a whole float."""
    value = source.get(name)
    if value is None:
        return 0
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or value < 0:
        raise BadAmount(
            f"usage {name} = {value!r} cannot be meant: counts are whole numbers, 0 or more.",
            bucket=name,
            amount=repr(value),
        )
    return value


def _milliseconds(source: Mapping[str, Any], name: str) -> int:
    """Seconds as whole milliseconds, rounded up."""
    value = source.get(name)
    if value is None:
        return 0
    # `0 <= nan` is False, so that NaN is refused with the negatives.
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise BadAmount(f"usage {name} = {value!r} cannot be meant.", bucket=name, amount=repr(value))
    return int((Decimal(str(value)) * 1000).to_integral_value(ROUND_CEILING))
