"""How a model's name is read: who sells it, under which names lists have it, which names say nothing.

Only names that are provably the same model are tried. `gpt-5-mini-turbo` is not `gpt-5-mini` with a suffix: a fallback
by prefix or substring lands on a cheaper sibling sooner or later, silently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["SELF_HOSTED", "VERSION_SUFFIX", "Opaque", "Reading", "family_of", "read_name", "without_geo"]

VERSION_SUFFIX: Final = re.compile(r"(?:[-@](?:20\d{6}|20\d\d-\d\d-\d\d|00\d|latest)|@default)$")
"""A date, one of Google's versions (`-001`), or an alias of the newest one."""

SELF_HOSTED: Final = frozenset(
    {"hosted_vllm", "vllm", "ollama", "ollama_chat", "lm_studio", "llamafile", "xinference", "docker_model_runner"}
)
"""Servers that anyone can run: no list knows what an hour of that machine costs."""
_ROUTERS: Final = frozenset({"litellm_proxy"})
"""Prefixes that only say by which way a request goes."""
_UNLISTED: Final = frozenset(
    {"openrouter", "custom_openai", "openai_like", "custom", "huggingface", "text-completion-openai"}
)
"""Prefixes of providers that LiteLLM's map has no keys for."""
_ALIASES: Final = {"bedrock_converse": "bedrock", "cohere_chat": "cohere", "text-completion-openai": "openai"}
_FIREWORKS: Final = "accounts/fireworks/models/"
_BEDROCK_ROUTES: Final = frozenset({"converse", "converse_like", "invoke", "async_invoke"})
_REGION: Final = re.compile(r"^(?:us|eu|ap|ca|sa|af|me|il|mx)(?:-gov)?-[a-z]+-\d$")
_GEO: Final = re.compile(r"^(us-gov|us|eu|apac|global|jp|au|ca|sa|in|uk)\.(?=[a-z0-9_-]+\.)")
_BEDROCK_ID: Final = re.compile(
    r"^(?:ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshotai?|nvidia|openai|qwen|stability|"
    r"twelvelabs|writer|xai|zai)\.[a-z0-9]"
)
"""`vendor.model`, which nobody but Bedrock writes."""
_ARN: Final = re.compile(r"^arn:aws[a-z-]*:(?:bedrock|sagemaker):([a-z0-9-]*):\d*:([a-z-]+)/(.+)$")
_FINE_TUNED: Final = re.compile(r"^ft:([^:]+):.*$")


class Opaque(Exception):  # noqa: N818  # never leaves the package: the book turns it into Unpriceable
    """A name that says nothing about the model behind it; the text says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a name."""

    provider: str | None
    """LiteLLM's name; None: the name has no prefix, its list says who sells it."""
    bare: str
    """The name as that provider has it."""
    region: str | None = None
    """An AWS region that the name carries."""
    geo: str | None = None
    """The geography of a Bedrock inference profile, such as `us` or `global`."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names under which price lists and price files may have it, most specific first."""
        if self.provider is None:
            return (self.bare,)
        special = (f"bedrock/{self.region}/{self.bare}",) if self.region else ()
        if self.provider == "fireworks_ai":
            special = (f"fireworks_ai/{_FIREWORKS}{self.bare}",)
        return (*special, f"{self.provider}/{self.bare}", self.bare)


def read_name(model: str, prefixes: Collection[str]) -> Reading:
    """Read a name as LiteLLM would route it.

    Args:
        model: As it is passed to `completion`.
        prefixes: Providers that LiteLLM's map lists keys for.

    Raises:
        Opaque: the name does not say which model it is.
    """
    head, slash, rest = model.partition("/")
    if slash and head in _ROUTERS:
        return read_name(rest, prefixes)
    if model.startswith("arn:") or _BEDROCK_ID.match(without_geo(model)):
        return _read_bedrock(model)
    if not slash or head not in {*prefixes, *SELF_HOSTED, *_UNLISTED, *_ALIASES}:
        return Reading(None, _tuned(model))
    provider = _ALIASES.get(head, head)
    if provider == "bedrock":
        return _read_bedrock(rest)
    if provider == "fireworks_ai":
        # Both spellings are one model; the map has most of them under the long one.
        return Reading(provider, rest.removeprefix(_FIREWORKS))
    return Reading(provider, _tuned(rest))


def family_of(bare: str) -> str | None:
    """The name without its date or version; None where it has none."""
    family = VERSION_SUFFIX.sub("", bare)
    return family if family and family != bare else None


def _read_bedrock(rest: str) -> Reading:
    region: str | None = None
    parts = rest.split("/")
    while (
        len(parts) > 1 and not parts[0].startswith("arn:") and (parts[0] in _BEDROCK_ROUTES or _REGION.match(parts[0]))
    ):
        head = parts.pop(0)
        region = head if _REGION.match(head) else region
    name = "/".join(parts)
    if name.startswith("arn:"):
        found = _ARN.match(name)
        kind = found.group(2) if found else ""
        if found is None or kind not in ("inference-profile", "foundation-model"):
            raise Opaque(f"an ARN of kind {kind or 'unknown'!r} does not say which model is behind it")
        region, name = found.group(1) or region, found.group(3)
        if kind == "inference-profile":
            # The price is the profile's; the region in the ARN is only where it was called from.
            region = None
    geo = _GEO.match(name)
    return Reading("bedrock", name, region, geo.group(1) if geo else None)


def _tuned(bare: str) -> str:
    """`ft:base:organisation:suffix:id` is listed as `ft:base`."""
    found = _FINE_TUNED.match(bare)
    return f"ft:{found.group(1)}" if found else bare


def without_geo(bare: str) -> str:
    """A Bedrock name without the geography of its inference profile."""
    return _GEO.sub("", bare)
