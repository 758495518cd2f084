"""Options of LiteLLM that send, spend or change the prompt by themselves: the guard's own, and those refused.

Pure names, nothing here imports LiteLLM. Found by reading `main.py`, `utils.py` and `responses/main.py` of 1.106.2.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OWNED", "PROVIDER_HINTS", "REFUSED"]

OWNED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "num_retries": "the guard repeats attempts itself and reserves each one",
        "max_retries": "the guard repeats attempts itself and reserves each one",
        "fallbacks": "each fallback is an attempt of the guard's own, priced at its own model's card",
    }
)
"""What callers may pass and LiteLLM never sees: the guard does it, one reserved attempt at a time."""

REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "retry_policy": "LiteLLM would repeat requests that nobody reserved. Pass num_retries= to the guarded call.",
        "retry_strategy": "LiteLLM would repeat requests that nobody reserved. Pass num_retries= to the guarded call.",
        "context_window_fallback_dict": (
            "LiteLLM would send to a model that nobody priced. Pass fallbacks=[...] to the guarded call."
        ),
        "model_list": "LiteLLM would send one request to several deployments. Call the guard once for each.",
        "complete_response": "it turns a stream into a whole reply that cannot be stopped. Leave out stream= instead.",
        "background": "the answer is generated and billed after the call returned, where no guard can see it.",
        "guardrails": "LiteLLM's guardrails may ask models of their own. Call them as steps of your own.",
        "prompt_id": "LiteLLM would fetch other messages, and maybe another model, after the price was reserved.",
        "litellm_system_prompt": "LiteLLM would add it after the prompt was counted. Put it into messages.",
        "vector_store_ids": "LiteLLM would add search results after the prompt was counted. Search first, then call.",
    }
)
"""Refused by name: `<name>= is not available through tokenguard: <reason>`."""

PROVIDER_HINTS: Final = ("custom_llm_provider", "api_base", "base_url")
"""Options that decide, besides the model's name, which provider a call leads to."""
