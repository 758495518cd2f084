"""The bound of an answer, kept from LiteLLM's `drop_params`.

`drop_params=True`, given to a call or set for all of LiteLLM, takes out of a request what LiteLLM does not know for its
provider, the bound of the answer included: the answer could then cost more than was held. `drop_params=False` in a call
does not overrule the global (1.106 asks whether either is true), and the user set it for other options, which go on
being dropped. So only a bound that would be lost is refused, before anything is sent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from tokenguard.backends.options import PROVIDER_HINTS
from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import UnsupportedOption

if TYPE_CHECKING:
    from types import ModuleType

    from tokenguard.core.ports import Request

__all__ = ["check_bound"]

_BOUNDS: Final = {"chat": ("max_tokens", "max_completion_tokens"), "responses": ("max_output_tokens",)}
_HINTS: Final = (*PROVIDER_HINTS, "base_model")


def check_bound(request: Request, litellm: ModuleType) -> None:
    """Do nothing where LiteLLM hands the bound of the answer on, or drops nothing; two look-ups in the usual case.

    Raises:
        UnsupportedOption: LiteLLM would drop the bound without a word; `.option` is its name.
    """
    arguments = request.arguments
    if not (litellm.drop_params or arguments.get("drop_params")):
        return
    names = _BOUNDS.get(request.operation, ())
    given = next((name for name in names if arguments.get(name) is not None), None)
    if given is None:
        return
    model = mapping_of(litellm.model_alias_map).get(request.model, request.model)
    hints = tuple(hint if isinstance(hint, str) else None for hint in map(arguments.get, _HINTS))
    try:
        known, as_chat = _known(litellm, request.operation, model, hints)
    except Exception:  # noqa: BLE001  # LiteLLM asks itself the same at the send, and says it in its own words
        return
    sent = "max_tokens" if as_chat else given
    if sent in known or sent in list_of(arguments.get("allowed_openai_params")):
        return
    other = next((name for name in names if name in known), None)
    fix = f"Give {other}= instead" if other else f'If the provider takes it, pass allowed_openai_params=["{sent}"]'
    raise UnsupportedOption(
        f"{given}={arguments[given]} would be dropped, because LiteLLM does not know it for {request.model!r} and "
        f"drop_params is set: the answer could cost more than was held. {fix}, or call this model without drop_params.",
        option=given,
    )


@lru_cache(maxsize=1024)
def _known(litellm: Any, operation: str, model: str, hints: tuple[str | None, ...]) -> tuple[frozenset[str], bool]:
    """The options that LiteLLM hands on to a model's provider, and whether a `responses` call becomes a chat for it."""
    custom, api_base, base_url, base_model = hints
    base = base_url or api_base
    bare, provider, _, base = litellm.get_llm_provider(model=model, custom_llm_provider=custom, api_base=base)
    if operation == "responses":
        native = litellm.ProviderConfigManager.get_provider_responses_api_config(provider, bare, base)
        if native is not None:
            return frozenset(native.get_supported_openai_params(bare)), False
    found = litellm.get_supported_openai_params(bare, provider, base_model=base_model)
    if found is None:
        found = litellm.get_supported_openai_params(bare, "openai")
    return frozenset(found), operation == "responses"
