"""Searches that run at the provider: how many a request can be billed for, and who bills them by what.

As of LiteLLM 1.106, which turns `web_search_options` and the responses API's `web_search` into each provider's own:

- Claude at Anthropic, Vertex AI and Azure AI gets a tool whose `max_uses` follows from `search_context_size`
  (`ANTHROPIC_WEB_SEARCH_TOOL_MAX_USES`); without a size it may search as often as it likes.
- Gemini 2 bills a grounded prompt once, whatever it looked up; later ones bill every query (`web_search_billing_unit`).
- OpenAI's search models search once for every request, asked or not, and count nothing.
- Perplexity's request fee contains its searches, but for deep research, which bills each of them.
- All others search as often as the model likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenguard.core.price import PriceCard

__all__ = ["SIZED_SEARCHES", "always_searches", "billed_by_prompt", "is_search", "searches_max", "sells_claude"]

SIZED_SEARCHES: Final = {"low": 1, "medium": 5, "high": 10}
"""`search_context_size` → the most searches that Claude makes for it."""
_SEARCHES: Final = frozenset(
    {
        "web_search_options",
        "web_search",
        "web_search_preview",
        "googleSearch",
        "google_search",
        "googleSearchRetrieval",
        "google_search_retrieval",
    }
)
"""What LiteLLM turns into the provider's own search; a date in a type (`web_search_20250305`) means it stays itself."""
_CLAUDE_SELLERS: Final = frozenset({"anthropic", "vertex_ai", "azure_ai"})
_OPENAI_SELLERS: Final = frozenset({"openai", "azure"})
_GOOGLE: Final = frozenset({"gemini", "vertex_ai"})


def is_search(kind: str) -> bool:
    """Whether a hosted tool of this type is billed at the card's rate for web searches."""
    return kind in _SEARCHES or kind.startswith("web_search")


def sells_claude(card: PriceCard) -> bool:
    """Whether a card is of a Claude whose searches a size or `max_uses` limits."""
    return card.provider in _CLAUDE_SELLERS and "claude" in card.model.lower()


def always_searches(provider: str, model: str) -> bool:
    """Whether every request of a model searches once: `gpt-4o-search-preview`, `gpt-5-search-api`."""
    return "-search-" in model and provider in _OPENAI_SELLERS  # Every call asks, and nearly every name says no.


def billed_by_prompt(model: str) -> bool:
    """Whether a model's searches are billed once for a prompt, by any name of it."""
    return "gemini-2" in model.lower()


def searches_max(kind: str, size: str | None, card: PriceCard, model: str) -> int | None:
    """The most searches that a request is billed for besides its request fee; None: nobody limits them.

    Args:
        kind: Type of the hosted tool.
        size: `search_context_size` of the options or the tool.
        card: Of the model that is asked.
        model: As the caller named it: price lists file some search models under their plain sisters.
    """
    if kind not in _SEARCHES:
        return None
    if sells_claude(card):
        return SIZED_SEARCHES.get(size or "")
    if card.provider in _GOOGLE and billed_by_prompt(card.model):
        return 1
    if always_searches(card.provider, model) or always_searches(card.provider, card.model):
        return 0 if card.request_fee_pico else 1
    if card.provider == "perplexity" and card.request_fee_pico:
        return 0
    return None
