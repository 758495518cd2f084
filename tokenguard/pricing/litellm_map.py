"""LiteLLM's bundled price map as quotes, read from the installed package's JSON without importing LiteLLM (7 s).

Zero means unknown here: the map writes 0 for "free", for "not known" and for "billed elsewhere" alike (GitHub Copilot,
Snowflake, Ollama, retired previews), and a cap that trusts it does not bind (LiteLLM #10973, #35524).
"""

from __future__ import annotations

import importlib.util
import json
import re
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.core.usage import Meter
from tokenguard.pricing.quote import STANDARD, Quote, Rounding, is_claude
from tokenguard.pricing.searches import always_searches

__all__ = ["LitellmMap", "provider_of"]

_FILE: Final = "model_prices_and_context_window_backup.json"
_NOT_MODELS: Final = frozenset({"sample_spec", "fallback_generalizations"})
_METERS: Final = {
    "input_cost_per_token": Meter.INPUT,
    "output_cost_per_token": Meter.OUTPUT,
    "cache_read_input_token_cost": Meter.CACHE_READ,
    "input_cost_per_token_cache_hit": Meter.CACHE_READ,
    "cache_creation_input_token_cost": Meter.CACHE_WRITE_5M,
    "cache_creation_input_token_cost_above_1hr": Meter.CACHE_WRITE_1H,
    "input_cost_per_audio_token": Meter.AUDIO_INPUT,
    "cache_read_input_audio_token_cost": Meter.AUDIO_CACHE_READ,
    "input_cost_per_image_token": Meter.IMAGE_INPUT,
    # Video frames are counted as images, and cached pictures as cached text: the dearer of the two rates stands.
    "input_cost_per_video_token": Meter.IMAGE_INPUT,
    "cache_read_input_image_token_cost": Meter.CACHE_READ,
    "output_cost_per_reasoning_token": Meter.REASONING,
    "output_cost_per_audio_token": Meter.AUDIO_OUTPUT,
    "output_cost_per_image_token": Meter.IMAGE_OUTPUT,
    "input_cost_per_request": Meter.REQUEST,
    "input_cost_per_second": Meter.INPUT_TIME,
    "output_cost_per_second": Meter.OUTPUT_TIME,
}
_SERVICES: Final = {"batches": "batch"}
_KEY: Final = re.compile(
    rf"^({'|'.join(sorted(_METERS, key=len, reverse=True))})"
    r"(?:_above_(\d+)k_tokens)?(?:_(priority|flex|batches|balanced|fast|ultrafast|decisions))?$"
)
_PER: Final = {Meter.INPUT_TIME: 1000, Meter.OUTPUT_TIME: 1000}
"""Seconds in the map, milliseconds in our meters."""
_WITHOUT_ANSWER: Final = frozenset({"embedding", "rerank", "moderation"})
_INCLUSIVE_TIERS: Final = frozenset({"xai"})
"""A prompt of exactly the threshold is already above it (LiteLLM's own `_INCLUSIVE_THRESHOLD_PROVIDERS`)."""
_PROVIDERS: Final = {
    "bedrock_converse": "bedrock",
    "text-completion-openai": "openai",
    "text-completion-codestral": "codestral",
    "text-completion-inception": "inception",
    "cohere_chat": "cohere",
    "azure_text": "azure",
    "fireworks_ai-embedding-models": "fireworks_ai",
}


def provider_of(litellm_provider: str) -> str:
    """The provider's name without LiteLLM's sub-kinds: `vertex_ai-mistral_models` is sold by `vertex_ai`."""
    return (
        "vertex_ai" if litellm_provider.startswith("vertex_ai") else _PROVIDERS.get(litellm_provider, litellm_provider)
    )


class LitellmMap:
    """The map of one LiteLLM installation. Loading takes about 30 ms and happens at the first question."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Names of all models, in the map's order."""
        return tuple(self._entries)

    @cached_property
    def prefixes(self) -> frozenset[str]:
        """Every provider of the map: what may stand before the first slash of a name, unlike `1024-x-1024`."""
        return frozenset(provider_of(str(entry.get("litellm_provider"))) for entry in self._entries.values())

    @property
    def version(self) -> str:
        """Package version and digest of the file."""
        return self._loaded[1]

    def provider(self, key: str) -> str:
        """Who sells the model that is listed under `key`."""
        return provider_of(str(self._entries[key].get("litellm_provider", "")))

    def mode(self, key: str) -> str | None:
        """`chat`, `embedding`, `responses` … as the map says."""
        return cast("str | None", self._entries[key].get("mode"))

    def quote(self, key: str) -> Quote | None:
        """What the map says about `key`; None where it is not listed, or where no meter of ours has a price."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        rounding = Rounding()
        tables = _tables(entry, rounding, inclusive=self.provider(key) in _INCLUSIVE_TIERS)
        answers = entry.get("mode") not in _WITHOUT_ANSWER
        if not set(tables[STANDARD].get(0, ())) - {Meter.WEB_SEARCH}:
            return None
        searching = _put_search(tables[STANDARD][0]) if always_searches(self.provider(key), key) else ()
        return Quote(
            source="litellm",
            model=key,
            provider=self.provider(key),
            version=self.version,
            tables=tables,
            context_tokens=_whole(entry.get("max_input_tokens")),
            output_tokens_max=_whole(entry.get("max_output_tokens")),
            cache_minimum_tokens=_whole(entry.get("prompt_cache_min_tokens")),
            has_reasoning=entry.get("supports_reasoning") is True,
            answers=answers,
            anthropic_cache=is_claude(key),
            uplifts=_uplifts(entry),
            notes=(*rounding.notes(), *searching, *_notes(entry)),
        )

    @property
    def _entries(self) -> dict[str, dict[str, Any]]:
        return self._loaded[0]

    @cached_property
    def _loaded(self) -> tuple[dict[str, dict[str, Any]], str]:
        path = self._path or _installed()
        if path is None:
            return {}, "litellm (not installed)"
        content = path.read_bytes()
        entries: dict[str, dict[str, Any]] = json.loads(content)
        for name in _NOT_MODELS:
            entries.pop(name, None)
        return entries, f"litellm {_release()} {blake2b(content, digest_size=4).hexdigest()}"


def _installed() -> Path | None:
    """The map inside the installed package; finding a top-level package does not import it."""
    spec = importlib.util.find_spec("litellm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / _FILE).is_file():
            return path
    return None


def _release() -> str:
    try:
        return version("litellm")
    except PackageNotFoundError:
        return "(unversioned)"


def _tables(entry: dict[str, Any], rounding: Rounding, *, inclusive: bool) -> dict[str, dict[int, dict[Meter, int]]]:
    tables: dict[str, dict[int, dict[Meter, int]]] = {STANDARD: {0: {}}}
    for field, value in entry.items():
        found = _KEY.match(field)
        if found is None:
            continue
        name, thousands, service = found.groups()
        above = int(thousands) * 1000 - inclusive if thousands else 0
        sizes = tables.setdefault(_SERVICES.get(service, service) if service else STANDARD, {})
        _put(sizes.setdefault(above, {}), _METERS[name], value, rounding)
    for step in map(mapping_of, list_of(entry.get("tiered_pricing"))):
        bounds = list_of(step.get("range"))
        if len(bounds) == 2:  # noqa: PLR2004  # a range has two ends; newer kinds of steps have none
            rates: dict[Meter, int] = {}
            for field, value in step.items():
                if field in _METERS:
                    _put(rates, _METERS[field], value, rounding)
            tables[STANDARD][int(bounds[0])] = {**tables[STANDARD].get(int(bounds[0]), {}), **rates}
    searches = [Decimal(str(value)) for value in mapping_of(entry.get("search_context_cost_per_query")).values()]
    if searches and max(searches) > 0:
        tables[STANDARD][0][Meter.WEB_SEARCH] = rounding.up(Meter.WEB_SEARCH, max(searches))
    # A service that only lists sizes, or a size without any rate, says nothing that could be charged.
    return {
        service: {above: rates for above, rates in sizes.items() if rates}
        for service, sizes in tables.items()
        if service == STANDARD or sizes.get(0)
    }


def _put(rates: dict[Meter, int], meter: Meter, value: object, rounding: Rounding) -> None:
    """Keep a positive rate, the dearer one where two fields share a meter. repr of a float is what the file says."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return
    rate = rounding.up(meter, Decimal(repr(value)), per=_PER.get(meter, 1))
    rates[meter] = max(rate, rates.get(meter, 0))


def _put_search(rates: dict[Meter, int]) -> tuple[str, ...]:
    """Make the search that every request of a model makes part of its fee, since no reply counts it; with a note."""
    if Meter.WEB_SEARCH not in rates:
        return ()
    rates[Meter.REQUEST] = rates.get(Meter.REQUEST, 0) + rates[Meter.WEB_SEARCH]
    return ("every request searches the web once, which its fee contains.",)


def _uplifts(entry: dict[str, Any]) -> dict[str, Decimal]:
    """Factors for places and modes that the model's name does not say."""
    factors = {
        "geo-eu": entry.get("regional_processing_uplift_multiplier_eu"),
        "geo-us": entry.get("regional_processing_uplift_multiplier_us"),
        "geo-regional": entry.get("regional_endpoint_uplift_multiplier"),
    }
    specific = mapping_of(entry.get("provider_specific_entry"))
    factors["geo-us"] = factors["geo-us"] or specific.get("us")
    factors["fast"] = specific.get("fast")
    return {
        name: Decimal(str(value)) for name, value in factors.items() if isinstance(value, int | float) and value > 1
    }


def _notes(entry: dict[str, Any]) -> tuple[str, ...]:
    notes: list[str] = []
    if "off_peak_pricing" in entry:
        notes.append("cheaper off-peak hours are not applied.")
    if len(set(mapping_of(entry.get("search_context_cost_per_query")).values())) > 1:
        notes.append("web search is priced at the largest context size.")
    if "search_free_requests" in entry:
        notes.append("free web searches are not deducted.")
    return tuple(notes)


def _whole(value: object) -> int | None:
    """A token limit; the map has a few floats and texts."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
