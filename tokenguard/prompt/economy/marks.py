"""Cache breakpoints: where they go, for how long, in which dialect, and whether they pay at all.

Only Claude needs them; GPT-5.6 and later accept them beside the one that OpenAI sets by itself at the newest message.
All others cache by themselves, and Gemini's explicit cache objects cost more than they save, so nothing is marked
there. Marks are written the way LiteLLM's own hook writes them: on the last part of a content list, and beside a
content that is one text, which LiteLLM moves to where the provider wants it. No text is ever changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from tokenguard.core.untrusted import list_of, mapping_of

if TYPE_CHECKING:
    from tokenguard.prompt.economy.prices import CachePrices
    from tokenguard.prompt.economy.rules import Dialect

__all__ = ["Life", "MarkedPrompt", "hour_pays", "mark", "marking_pays"]

Life: TypeAlias = Literal["5m", "1h"]

_WHOLE: Final = 1_000
_MARKS: Final = ("cache_control", "prompt_cache_breakpoint")
_IN_FRONT: Final = frozenset({"system", "developer"})
_BREAKPOINT: Final = "prompt_cache_breakpoint"
# What OpenAI lets a breakpoint stand on, as LiteLLM 1.106 checks it.
_BREAKPOINT_PARTS: Final = frozenset(
    {"text", "image", "image_url", "file", "input_audio", "input_text", "input_image", "input_file"}
)
_UNMARKED_PARTS: Final = frozenset({"thinking", "redacted_thinking", "tool_reference"})
"""Parts on which Anthropic refuses a mark."""


@dataclass(frozen=True, slots=True)
class MarkedPrompt:
    """A prompt with breakpoints. Messages and tools without one are the caller's own objects.

    Attributes:
        messages: A new list where anything was marked, else the caller's.
        tools: The same.
        places: Indices of the marked messages; -1 stands for the tools.
    """

    messages: Sequence[Any]
    tools: Sequence[Any] | None
    places: tuple[int, ...] = ()


def marking_pays(prices: CachePrices, reuses_permille: int) -> bool:
    """Whether writing a prefix to the cache is worth it, by how often it is expected to be read (formula 10).

    `n > (w−1)/(1−r)`: 0.28 for five minutes at Anthropic and for GPT-5.6, 1.11 for an hour. A prompt that is sent once
    is not marked.

    Args:
        prices: With the write rate of the life that is asked about (`.hourly()`).
        reuses_permille: Expected reads of each write, in thousandths.
    """
    return _WHOLE * (prices.write - prices.input) < reuses_permille * (prices.input - prices.read)


def hour_pays(prices: CachePrices, *, hour_gaps_permille: int, growth: int, prefix: int) -> bool:
    """Whether a life of an hour is cheaper than one of five minutes (formula 11).

    Args:
        prices: With five-minute writes.
        hour_gaps_permille: Of a thousand turns, those that come more than five minutes and at most an hour after the
            one before.
        growth: `d`, new tokens of a turn.
        prefix: `N`, tokens that are lost when the prefix is forgotten.
    """
    if prices.write_1h is None:
        return False
    return (
        hour_gaps_permille * (prices.write - prices.read) * prefix > _WHOLE * (prices.write_1h - prices.write) * growth
    )


def mark(
    messages: Sequence[Any],
    sizes: Sequence[int],
    prices: CachePrices,
    *,
    tools: Sequence[Any] | None = None,
    tools_tokens: int = 0,
    reuses_permille: int = _WHOLE,
    life: Life = "5m",
) -> MarkedPrompt:
    """Set up to four breakpoints: after the tools, after the system prompt, after the last stable turn, at the end.

    The last stable turn is the newest message of a user before the newest message: what a person typed last, or where
    a conversation began. Places whose prefix is below the provider's minimum are left out, since nothing would be
    cached there. A request in which anything already carries a mark is left as it is: its author decides.

    Args:
        messages: As they will be sent; never changed.
        sizes: `(n_messages,)` tokens of each.
        prices: Of the card in force.
        tools: As they will be sent; they come before all messages.
        tools_tokens: What they have.
        reuses_permille: How often a written prefix is expected to be read, in thousandths.
        life: How long entries shall live; an hour only where the provider sells it.

    Source: docs.claude.com and developers.openai.com, prompt caching, read 2026-10; at most four, in order.
    """
    unmarked = MarkedPrompt(messages, tools)
    hour = life == "1h" and prices.write_1h is not None
    dialect = prices.dialect
    if dialect is None or not marking_pays(prices.hourly() if hour else prices, reuses_permille):
        return unmarked
    if any(_carries_mark(one) for one in (*messages, *(tools or ()))):
        return unmarked
    sign = {"mode": "explicit"} if dialect == _BREAKPOINT else {"type": "ephemeral", **({"ttl": "1h"} if hour else {})}
    signed = [_signed(message, dialect, sign) for message in messages]
    places = _places(messages, [one is not None for one in signed], dialect)
    ends = list(accumulate(sizes, initial=tools_tokens))[1:]
    chosen = [place for place in places if prices.maybe_cached(ends[place])]
    marked = [signed[place] if place in chosen else message for place, message in enumerate(messages)]
    if tools and _tools_are_a_place(tools[-1], tools_tokens, prices, dialect):
        tools = [*tools[:-1], {**tools[-1], dialect: sign}]
        chosen.insert(0, -1)
    return MarkedPrompt(marked if chosen else messages, tools, tuple(chosen))


def _places(messages: Sequence[Any], markable: Sequence[bool], dialect: Dialect) -> list[int]:
    """Indices of the messages to mark, in order: at most three, since one mark may go to the tools."""
    roles = [mapping_of(message).get("role") for message in messages]
    in_front = next((place for place, role in enumerate(roles) if role not in _IN_FRONT), len(roles))
    newest = _last(markable, len(messages))
    turns = [ok and role == "user" for ok, role in zip(markable, roles, strict=True)]
    wanted = {_last(markable, in_front), _last(turns, newest)}
    # OpenAI sets the breakpoint at the end by itself, out of the four that a request may write.
    wanted |= {newest} if dialect == "cache_control" else set()
    return sorted(wanted - {-1})


def _last(fits: Sequence[bool], before: int) -> int:
    """The last index below `before` that fits; -1 where none does."""
    return next((place for place in range(before - 1, -1, -1) if fits[place]), -1)


def _tools_are_a_place(last: Any, tokens: int, prices: CachePrices, dialect: Dialect) -> bool:
    """OpenAI has no breakpoint on tools: the one after the system prompt covers them."""
    return dialect == "cache_control" and bool(mapping_of(last)) and prices.maybe_cached(tokens)


def _signed(message: Any, dialect: Dialect, sign: Mapping[str, str]) -> dict[str, Any] | None:
    """The message with a mark, or None where it has no place for one."""
    fields = mapping_of(message)
    content = fields.get("content")
    if dialect == _BREAKPOINT:
        return None if fields.get("role") == "assistant" else _broken_after(fields, content, sign)
    if isinstance(content, str):
        # Anthropic refuses a mark on an empty text.
        return {**fields, dialect: sign} if content else None
    parts = list_of(content)
    last = mapping_of(parts[-1] if parts else None)
    if not last or last.get("type") in _UNMARKED_PARTS or last.get("text") == "":
        return None
    return {**fields, "content": [*parts[:-1], {**last, dialect: sign}]}


def _broken_after(fields: Mapping[str, Any], content: Any, sign: Mapping[str, str]) -> dict[str, Any] | None:
    """The same in OpenAI's dialect, where only parts can carry a breakpoint."""
    if isinstance(content, str):
        return {**fields, "content": [{"type": "text", "text": content, _BREAKPOINT: sign}]} if content else None
    parts = list(list_of(content))
    for place in range(len(parts) - 1, -1, -1):
        part = mapping_of(parts[place])
        if part.get("type") in _BREAKPOINT_PARTS:
            parts[place] = {**part, _BREAKPOINT: sign}
            return {**fields, "content": parts}
    return None


def _carries_mark(carrier: Any) -> bool:
    fields = mapping_of(carrier)
    inner = [mapping_of(one) for name in ("content", "tool_calls") for one in list_of(fields.get(name))]
    return any(mark in one for one in (fields, mapping_of(fields.get("function")), *inner) for mark in _MARKS)
