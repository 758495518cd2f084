"""genai-prices' data as quotes: dated, tested prices with their sources. The package is imported at the first question.

Only names that the data lists are taken. Its matching also knows prefixes and substrings (`contains: nova-lite`), made
for usage that has already happened; for a cap they would let an unknown, dearer sibling through at a known price. A
prefix counts only where the rest of the name is a date or a version.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.usage import Meter
from tokenguard.pricing.names import VERSION_SUFFIX
from tokenguard.pricing.quote import STANDARD, Quote, Rounding, is_claude

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice

__all__ = ["GENAI_PROVIDERS", "GenaiPrices"]

GENAI_PROVIDERS: Final[Mapping[str, str]] = {
    "anthropic": "anthropic",
    "azure": "azure",
    "baseten": "baseten",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "cloudflare": "cloudflare",
    "cohere": "cohere",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "groq": "groq",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "ovhcloud": "ovhcloud",
    "perplexity": "perplexity",
    "together_ai": "together",
    "vertex_ai": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
    "zai": "zai",
}
"""LiteLLM's name of a provider → genai-prices' name."""

_METERS: Final = {
    "input_mtok": (Meter.INPUT, 10**6),
    "output_mtok": (Meter.OUTPUT, 10**6),
    "cache_read_mtok": (Meter.CACHE_READ, 10**6),
    "cache_image_read_mtok": (Meter.CACHE_READ, 10**6),
    "cache_write_mtok": (Meter.CACHE_WRITE_5M, 10**6),
    "cache_write_5m_mtok": (Meter.CACHE_WRITE_5M, 10**6),
    "cache_write_1h_mtok": (Meter.CACHE_WRITE_1H, 10**6),
    "input_audio_mtok": (Meter.AUDIO_INPUT, 10**6),
    "cache_audio_read_mtok": (Meter.AUDIO_CACHE_READ, 10**6),
    "input_image_mtok": (Meter.IMAGE_INPUT, 10**6),
    "input_video_mtok": (Meter.IMAGE_INPUT, 10**6),
    "output_reasoning_mtok": (Meter.REASONING, 10**6),
    "output_audio_mtok": (Meter.AUDIO_OUTPUT, 10**6),
    "output_image_mtok": (Meter.IMAGE_OUTPUT, 10**6),
    "output_video_mtok": (Meter.IMAGE_OUTPUT, 10**6),
    "requests_kcount": (Meter.REQUEST, 10**3),
    "web_searches_kcount": (Meter.WEB_SEARCH, 10**3),
    "audio_hours": (Meter.INPUT_TIME, 3_600_000),
    "input_audio_hours": (Meter.INPUT_TIME, 3_600_000),
}
"""Price key → meter, and how many of our units it is the price of. The dearer stands where two share a meter."""
_SERVICE_KEYS: Final = frozenset({"service_tier", "processing", "speed"})
_DAY: Final = timedelta(days=1)


class GenaiPrices:
    """The data of the installed genai-prices. Importing it takes about 0.6 s and happens at the first question."""

    @cached_property
    def version(self) -> str:
        """Package version and digest of its data file."""
        from genai_prices import data  # noqa: PLC0415  # lazy: importing it costs 0.6 s

        digest = blake2b(Path(str(data.__file__)).read_bytes(), digest_size=4).hexdigest()
        return f"genai-prices {version('genai-prices')} {digest}"

    def quote(self, provider: str, name: str, at: datetime) -> Quote | None:
        """What the data says about a model at an instant (aware); None where it is not listed by that very name."""
        model = self._find(GENAI_PROVIDERS.get(provider, ""), name.lower())
        if model is None:
            return None
        rounding, moments = Rounding(), tuple(_moments(model, at))
        prices, valid_from = _in_force(model, at)
        tables = {STANDARD: _sizes(vars(prices), rounding)}
        for service, changes in _services(model, at):
            # A variant changes single prices; what it leaves out stays as it is.
            tables[service] = _sizes({**vars(prices), **changes}, rounding)
        free = model.id.endswith(":free") and not any(tables[STANDARD].values())
        if not (tables[STANDARD].get(0) or free):
            return None
        return Quote(
            source="genai-prices",
            model=model.id,
            provider=provider,
            version=self.version,
            tables=tables,
            valid_from=valid_from,
            stands_since=max((moment for moment in moments if moment <= at), default=None),
            stands_until=min((moment for moment in moments if moment > at), default=None),
            context_tokens=model.context_window,
            free=free,
            # The data lists an output price for everything that answers; what has an input price only is an embedding.
            answers=any(key.startswith("output") for key in vars(prices)),
            anthropic_cache=is_claude(model.id),
            notes=rounding.notes(),
        )

    def _find(self, genai_provider: str, name: str) -> ModelInfo | None:
        found = self._index.get(genai_provider, {}).get(name)
        if found is not None:
            return found
        for pattern, model in self._patterns.get(genai_provider, ()):
            if pattern.fullmatch(name):
                return model
        return None

    @cached_property
    def _index(self) -> dict[str, dict[str, ModelInfo]]:
        index: dict[str, dict[str, ModelInfo]] = {}
        for provider, model, clause in self._clauses():
            if clause is None and model.is_match(model.id):
                # Some ids are labels only: `codestral` is the entry of `codestral-latest`, and nobody's model name.
                index.setdefault(provider, {}).setdefault(model.id.lower(), model)
            elif type(clause).__name__ == "ClauseEquals":
                index.setdefault(provider, {}).setdefault(_text(clause, "equals"), model)
        return index

    @cached_property
    def _patterns(self) -> dict[str, list[tuple[re.Pattern[str], ModelInfo]]]:
        """Anchored regular expressions, and prefixes followed by a date or version."""
        patterns: dict[str, list[tuple[re.Pattern[str], ModelInfo]]] = {}
        for provider, model, clause in self._clauses():
            kind = type(clause).__name__
            if kind == "ClauseRegex" and (text := _text(clause, "regex")).startswith("^") and text.endswith("$"):
                patterns.setdefault(provider, []).append((re.compile(text), model))
            elif kind == "ClauseStartsWith":
                text = re.escape(_text(clause, "starts_with")) + VERSION_SUFFIX.pattern.removesuffix("$")
                patterns.setdefault(provider, []).append((re.compile(text), model))
        return patterns

    def _clauses(self) -> Iterator[tuple[str, ModelInfo, MatchLogic | None]]:
        """(provider, model, None for its id), then one per alternative of its match."""
        from genai_prices.data import providers  # noqa: PLC0415  # lazy: importing it costs 0.6 s

        for provider in providers:
            for model in provider.models:
                yield provider.id, model, None
        for provider in providers:
            for model in provider.models:
                for clause in getattr(model.match, "or_", (model.match,)):
                    yield provider.id, model, clause


def _text(clause: object, name: str) -> str:
    return str(getattr(clause, name)).lower()


def _in_force(model: ModelInfo, at: datetime) -> tuple[ModelPrice, datetime | None]:
    """The prices at an instant and the day they began, where the data says."""
    prices = model.get_prices(at)
    begins: datetime | None = None
    for conditional in model.prices if isinstance(model.prices, list) else ():
        start = getattr(conditional.constraint, "start_date", None)
        if conditional.prices is prices and start is not None:
            begins = datetime.combine(start, time(), UTC)
    return prices, begins


def _services(model: ModelInfo, at: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Service tiers in force; `processing: batch` and `speed: fast` are tiers here too."""
    seen: set[str] = set()
    for variant in model.price_variants or ():
        keys = set(variant.when)
        if len(keys) != 1 or not keys <= _SERVICE_KEYS or not _active(variant.constraint, at):
            continue
        service = next(iter(variant.when.values()))
        changes = {key: value for key, value in vars(variant.prices).items() if value is not None}
        if changes and service not in seen:
            seen.add(service)
            yield service, changes


def _active(constraint: Any, at: datetime) -> bool:
    return constraint is None or bool(constraint.active(at))


def _sizes(prices: Mapping[str, Any], rounding: Rounding) -> dict[int, dict[Meter, int]]:
    """Rates by prompt size. A price without tiers is the same at every size."""
    known = {key: value for key, value in prices.items() if key in _METERS and value is not None}
    starts = sorted({tier.start for value in known.values() for tier in getattr(value, "tiers", ())})
    sizes: dict[int, dict[Meter, int]] = {}
    for above in (0, *starts):
        rates = sizes.setdefault(above, {})
        for key, value in known.items():
            meter, units = _METERS[key]
            rate = rounding.up(meter, _price_at(value, above), per=units)
            rates[meter] = max(rate, rates.get(meter, 0))
    return sizes


def _price_at(value: Any, above: int) -> Decimal:
    """The price of a prompt just above a size."""
    price: Decimal = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if tier.start <= above and above:
            price = tier.price
    return price


def _moments(model: ModelInfo, at: datetime) -> Iterator[datetime]:
    """Every instant around `at` when another price may come into force."""
    constraints: list[Any] = [one.constraint for one in (model.prices if isinstance(model.prices, list) else ())]
    constraints += [variant.constraint for variant in model.price_variants or ()]
    today = at.astimezone(UTC).date()
    for constraint in constraints:
        if (start := getattr(constraint, "start_date", None)) is not None:
            yield datetime.combine(start, time(), UTC)
        for edge in ("start_time", "end_time"):
            if (clock := getattr(constraint, edge, None)) is not None:
                moment = datetime.combine(today, clock if clock.tzinfo else clock.replace(tzinfo=UTC))
                yield from (moment - _DAY, moment, moment + _DAY)
