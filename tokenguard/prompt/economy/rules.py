"""How providers cache prompts: who needs marks, from which size on, and for how long. What no price list says.

A short dated table, read from the providers' own pages (each row names its page and the day it was read). A minimum
that LiteLLM's map lists for a model goes before the table's: it is per model and platform and comes with updates.
What nobody documents is None, and every rule that uses it takes the cautious side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["CacheRules", "Dialect", "Marked", "cache_rules"]

Marked: TypeAlias = Literal["marks", "automatic", "none"]
"""Whether a provider caches what a request marks, caches by itself, or does not cache."""
Dialect: TypeAlias = Literal["cache_control", "prompt_cache_breakpoint"]
"""What a breakpoint is called in a request, as LiteLLM passes it on."""


@dataclass(frozen=True, slots=True)
class CacheRules:
    """How one family of models caches.

    Attributes:
        marked: Whether it needs marks.
        dialect: The marks that a request may carry; None: none at all.
        minimum: Tokens below which nothing is cached; None: not documented.
        life_s: Seconds for which an unused prefix certainly lives; None: not documented.
        gone_s: Idle seconds after which it certainly is gone; None: never certain.
    """

    marked: Marked
    dialect: Dialect | None = None
    minimum: int | None = None
    life_s: int | None = None
    gone_s: int | None = None


_FIVE_MINUTES: Final = 300
_OPENAI_MARKED_SINCE: Final = (5, 6)

# docs.claude.com/en/docs/build-with-claude/prompt-caching, read 2026-10: marks; an entry lives five minutes after its
# last use. The edges are a minute wide, because the provider's clock starts at another moment than ours.
_CLAUDE_GONE_S: Final = _FIVE_MINUTES + 60
_CLAUDE_MINIMUMS: Final = (
    (re.compile(r"haiku-4[-.]5|opus-4[-.][56]"), 4_096),
    (re.compile(r"opus-4[-.]7|3[-.]5-haiku|3-haiku"), 2_048),
    (re.compile(r"(?:opus|fable|mythos)-5|(?:sonnet|haiku)-5[-.]5"), 512),
    (re.compile(r"sonnet|opus|3[-.]7|3[-.]5"), 1_024),
)
# LiteLLM 1.106 hands `cache_control` on to these; for others it takes the marks out of the request.
_CLAUDE_SELLERS: Final = frozenset(
    {"anthropic", "azure_ai", "bedrock", "databricks", "litellm_proxy", "openrouter", "snowflake", "vertex_ai"}
)

# developers.openai.com/api/docs/guides/prompt-caching, read 2026-10: from GPT-4o on, of 1,024 tokens or more. Before
# GPT-5.6 an entry is dropped after five to ten idle minutes and always within an hour; from GPT-5.6 on it lives at
# least 30 minutes, with no maximum, and breakpoints may be set.
_OPENAI: Final = CacheRules("automatic", None, 1_024, _FIVE_MINUTES, 3_600)
_OPENAI_MARKED: Final = CacheRules("automatic", "prompt_cache_breakpoint", 1_024, 1_800, None)
_OPENAI_UNMARKABLE: Final = CacheRules("automatic", None, 1_024, 1_800, None)
_OPENAI_SELLERS: Final = frozenset({"openai", "azure", "azure_ai", "bedrock_mantle"})
# LiteLLM 1.106 writes breakpoints for these only (`supports_prompt_cache_breakpoint`).
_OPENAI_MARK_SELLERS: Final = frozenset({"openai", "azure_ai", "bedrock_mantle"})
_OPENAI_CACHED: Final = re.compile(r"gpt-4o|gpt-4\.1|gpt-4\.5|(?:^|[^a-z])o[134](?:$|-)|codex")
_GPT: Final = re.compile(r"gpt-(\d+)(?:\.(\d+))?")

# ai.google.dev/gemini-api/docs/caching, read 2026-10-13: implicit from 2.5 on; explicit objects are never made here.
_GEMINI: Final = (
    (re.compile(r"gemini-2[-.]5"), CacheRules("automatic", minimum=2_048)),
    (re.compile(r"gemini-[3-9]"), CacheRules("automatic", minimum=4_096)),
)

# docs.vllm.ai, automatic prefix caching, read 2026-10: by blocks of 16 tokens, the least recently used leave first.
_VLLM: Final = CacheRules("automatic", minimum=16)
_VLLM_SELLERS: Final = frozenset({"hosted_vllm", "vllm"})


def cache_rules(provider: str, model: str, *, discounted: bool) -> CacheRules:
    """How a model's prompts are cached.

    Args:
        provider: LiteLLM's name of who sells it, as on a price card.
        model: Its name there, in any spelling.
        discounted: A cached token is cheaper than a fresh one on the price card: for providers outside the table, the
            only sign that they cache at all.

    Source: the pages named in this module's table.
    """
    name = model.lower()
    if "claude" in name:
        return _claude(provider, name)
    if provider in _OPENAI_SELLERS and (found := _openai(provider, name)) is not None:
        return found
    if provider in _VLLM_SELLERS:
        return _VLLM
    for pattern, rules in _GEMINI:
        if pattern.search(name):
            return rules
    return CacheRules("automatic" if discounted else "none")


def _claude(provider: str, name: str) -> CacheRules:
    if provider not in _CLAUDE_SELLERS:
        return CacheRules("none")
    minimum = next((tokens for pattern, tokens in _CLAUDE_MINIMUMS if pattern.search(name)), None)
    return CacheRules("marks", "cache_control", minimum, _FIVE_MINUTES, _CLAUDE_GONE_S)


def _openai(provider: str, name: str) -> CacheRules | None:
    version = _GPT.search(name)
    if version is not None:
        number = int(version[1]), int(version[2] or 0)
        if number >= _OPENAI_MARKED_SINCE:
            return _OPENAI_MARKED if provider in _OPENAI_MARK_SELLERS else _OPENAI_UNMARKABLE
        if number >= (5, 0):
            return _OPENAI
    return _OPENAI if _OPENAI_CACHED.search(name) else None
