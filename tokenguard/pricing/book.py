"""The price book: from a model's name to the card in force, or to a sentence that says why there is none.

Sources in order: the user's price file, genai-prices' data, LiteLLM's bundled map. Nothing is fetched: prices change
when a package is upgraded or the file is edited, never under a running ledger. A name that no source lists has no
price, with two exceptions that cannot come out cheaper: `_dated` and `_elsewhere`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.clock import Clock, SystemClock
from tokenguard.core.forks import renew_in_children
from tokenguard.core.price import PriceCard, toml_to_paste
from tokenguard.core.usage import Meter
from tokenguard.errors import Unpriceable
from tokenguard.pricing.compose import agree, card_of, merge
from tokenguard.pricing.genai import GENAI_PROVIDERS, GenaiPrices
from tokenguard.pricing.like import applied
from tokenguard.pricing.litellm_map import LitellmMap
from tokenguard.pricing.names import SELF_HOSTED, Opaque, Reading, family_of, read_name, without_geo
from tokenguard.pricing.overrides import read_overrides

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from tokenguard.pricing.quote import Quote

__all__ = ["Book"]

_LONGEST_CHAIN: Final = 8
_BARE_NAMES: Final = frozenset({"openai", "anthropic"})
"""Whose new models LiteLLM routes by their bare names."""
_CARDS_KEPT: Final = 10_000
_LIST_PRICE_REGIONS: Final = frozenset({"us-east-1", "us-west-2"})
"""Where Bedrock's list prices are those of the bare model names."""
_FIRST_PARTY: Final = ("openai", "anthropic", "gemini", "mistral", "deepseek", "xai", "cohere")
"""Whose models are known by their bare names, in genai-prices' data."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A card and how long it stands."""

    card: PriceCard
    since: datetime | None
    until: datetime | None


class Book:
    """Dated price cards by model name. Safe for threads: a lookup that races does the same work twice.

    Args:
        overrides: The user's price file, its content as a mapping, or None.
        clock: What "now" is, for dated prices.
        litellm_map: Another map than the installed one.

    Raises:
        SettingsError: the price file is wrong.
    """

    def __init__(
        self,
        overrides: Path | str | Mapping[str, Any] | None = None,
        *,
        clock: Clock | None = None,
        litellm_map: Path | None = None,
    ) -> None:
        self._overrides = read_overrides(overrides)
        self._clock = clock or SystemClock()
        self._days = sorted(
            {own.valid_from for dated in self._overrides.prices.values() for own in dated if own.valid_from is not None}
        )
        self.renew_lock()
        renew_in_children(self)
        self._litellm = LitellmMap(litellm_map)
        self._genai = GenaiPrices()
        self._entries: dict[tuple[str, str | None], _Entry] = {}

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._reading = RLock()

    def card(self, model: str, *, at: datetime | None = None, base_model: str | None = None) -> PriceCard:
        """The card in force.

        Args:
            model: As LiteLLM takes it, with or without provider prefix.
            at: Instant of the call, aware; None: now.
            base_model: What an Azure deployment or an alias really is.

        Raises:
            Unpriceable: nothing is known; `.toml` is the line to paste.
        """
        entry = self._entries.get((model, base_model))
        if entry is not None:
            if entry.until is None and (at is None or entry.since is None or at >= entry.since):
                return entry.card
            moment = at or self._clock.now()
            if (entry.since is None or moment >= entry.since) and (entry.until is None or moment < entry.until):
                return entry.card
        return self._look_up(model, base_model, at or self._clock.now())

    def quotes(self, model: str, at: datetime | None = None) -> tuple[Quote | None, Quote | None]:
        """What the two packages say about a model, unmerged and without the user's prices; the preferred one first.

        Raises:
            Unpriceable: the name does not say which model it is.
        """
        return self._pair(self._read(model), at or self._clock.now())

    def models(self) -> tuple[str, ...]:
        """Names with an entry of their own: in the user's price file, then in LiteLLM's map."""
        return tuple(dict.fromkeys((*self._overrides.prices, *self._overrides.aliases, *self._litellm.keys)))

    def mode(self, model: str) -> str | None:
        """What LiteLLM's map says a model is for (`chat`, `embedding` …); None: not listed there."""
        return self._litellm.mode(model) if model in self._litellm else None

    @property
    def versions(self) -> tuple[str, ...]:
        """Of all sources, in their order."""
        return (self._overrides.version, self._genai.version, self._litellm.version)

    def _look_up(self, model: str, base_model: str | None, at: datetime) -> PriceCard:
        # One thread reads the price data; those that start together with it wait instead of reading it again.
        with self._reading:
            quote = self._resolve(model, base_model, at, ())
        card = card_of(quote)
        if len(self._entries) >= _CARDS_KEPT:
            self._entries.clear()
        # Any date of the price file may concern this name, by an alias or by `like`: a card stands between two of them.
        begun = [moment for moment in (quote.stands_since, *self._days) if moment is not None and moment <= at]
        ahead = [moment for moment in (quote.stands_until, *self._days) if moment is not None and moment > at]
        self._entries[model, base_model] = _Entry(card, max(begun, default=None), min(ahead, default=None))
        return card

    def _resolve(self, model: str, base_model: str | None, at: datetime, path: tuple[str, ...]) -> Quote:
        """The quote of a name: the user's own, what it is an alias of, or what the packages list."""
        if len(path) > _LONGEST_CHAIN:
            raise _unpriceable(path[0], f"its aliases lead in a circle: {' → '.join(path)}")
        found = self._own(model, at, path) or self._aliased(model, at, path)
        if found is not None:
            return found
        if base_model is not None:
            return self._resolve_base(model, base_model, at, path)
        reading = self._read(model)
        for key in self._equal_names(reading):
            found = self._own(key, at, path) or self._aliased(key, at, path)
            if found is not None:
                return found
        quote = self._listed(reading, at) or self._dated(reading, at) or self._elsewhere(reading)
        if quote is None:
            raise _unpriceable(model, self._why(reading), reading)
        return quote

    def _resolve_base(self, model: str, base_model: str, at: datetime, path: tuple[str, ...]) -> Quote:
        """A deployment's true model: as its own provider sells it, else under the name that was given."""
        head, slash, _ = model.partition("/")
        if slash and "/" not in base_model:
            try:
                return self._resolve(f"{head}/{base_model}", None, at, (*path, model))
            except Unpriceable:
                pass
        return self._resolve(base_model, None, at, (*path, model))

    def _own(self, key: str, at: datetime, path: tuple[str, ...]) -> Quote | None:
        """The user's price for exactly this name; a table that is `like` itself is not asked again."""
        dated = self._overrides.prices.get(key, ())
        begun = [own for own in dated if own.valid_from is None or own.valid_from <= at]
        mark = f"like {key}"
        if not begun or mark in path:
            return None
        own = begun[-1]
        return own.quote if own.like is None else applied(own, self._resolve(own.like, None, at, (*path, mark)))

    def _aliased(self, key: str, at: datetime, path: tuple[str, ...]) -> Quote | None:
        target = self._overrides.aliases.get(key)
        return None if target is None else self._resolve(target, None, at, (*path, key))

    def _read(self, model: str) -> Reading:
        try:
            return read_name(model, self._prefixes)
        except Opaque as why:
            raise _unpriceable(model, str(why)) from None

    def _equal_names(self, reading: Reading) -> tuple[str, ...]:
        """Other names in a price file that mean the same model: `gpt-4o` is `openai/gpt-4o`, but not `azure/gpt-4o`."""
        bare, provider = reading.bare, reading.provider
        if provider is None:
            return (bare, f"{self._litellm.provider(bare)}/{bare}") if bare in self._litellm else (bare,)
        same = self._sold(bare, provider) or (provider in _BARE_NAMES and bare not in self._litellm)
        return tuple(key for key in reading.keys if key != bare or same)

    def _listed(self, reading: Reading, at: datetime) -> Quote | None:
        if reading.region and reading.region not in _LIST_PRICE_REGIONS and reading.keys[0] not in self._litellm:
            return None
        return merge(*self._pair(reading, at))

    def _pair(self, reading: Reading, at: datetime) -> tuple[Quote | None, Quote | None]:
        """What both packages say about one reading of a name."""
        key = next((key for key in reading.keys if self._sold(key, reading.provider)), None)
        provider = reading.provider or (self._litellm.provider(key) if key else None)
        if key and key.startswith(f"bedrock/{reading.region}/"):
            return None, self._litellm.quote(key)
        pair = self._from_genai(provider, reading.bare, at), self._litellm.quote(key) if key else None
        # genai-prices knows two kinds of places on Bedrock (global, regional), LiteLLM's map each place by name.
        # Neither contains the other, so the dearer goes first.
        return _dearer_first(*pair) if provider == "bedrock" else pair

    def _from_genai(self, provider: str | None, bare: str, at: datetime) -> Quote | None:
        if provider is not None:
            return self._genai.quote(provider, bare, at)
        quotes = [quote for one in _FIRST_PARTY if (quote := self._genai.quote(one, bare, at)) is not None]
        return quotes[0] if len(quotes) == 1 else None

    def _sold(self, key: str, provider: str | None) -> bool:
        """Whether LiteLLM's map lists a name for this provider: `openai/claude-x` is not Anthropic's claude-x."""
        return key in self._litellm and (provider is None or self._litellm.provider(key) == provider)

    def _dated(self, reading: Reading, at: datetime) -> Quote | None:
        """An unlisted date or version of a listed model, where every listed date of it costs the same."""
        family = family_of(reading.bare)
        if family is None or reading.region:
            return None
        quote = merge(*self._pair(replace(reading, bare=family), at))
        if quote is None:
            return None
        siblings = [self._litellm.quote(key) for key in self._families.get((quote.provider, family), ())]
        if not all(_same_price(quote, sibling) for sibling in siblings if sibling is not None):
            return None
        return replace(quote, notes=(f"{reading.bare} is not listed; priced as {family}.", *quote.notes))

    def _elsewhere(self, reading: Reading) -> Quote | None:
        """A Bedrock model that is listed for other places only: the dearest of them, because a place may cost more."""
        if reading.provider != "bedrock":
            return None
        government = "gov" in (reading.region or reading.geo or "")
        keys = [key for key in self._places.get(without_geo(reading.bare), ()) if government or "us-gov" not in key]
        quotes = [quote for key in keys if (quote := self._litellm.quote(key)) is not None]
        if not quotes:
            return None
        dearest = max(quotes, key=lambda quote: (quote.base.get(Meter.INPUT, 0), quote.base.get(Meter.OUTPUT, 0)))
        if any(quote.base.get(Meter.OUTPUT, 0) > dearest.base.get(Meter.OUTPUT, 0) for quote in quotes):
            return None
        place = reading.region or reading.geo or "this place"
        note = f"no price is listed for {place}; the dearest listed place was taken ({dearest.model})."
        return replace(dearest, notes=(note, *dearest.notes))

    @cached_property
    def _prefixes(self) -> frozenset[str]:
        return self._litellm.prefixes | GENAI_PROVIDERS.keys()

    @cached_property
    def _families(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """LiteLLM's dated names by provider and family."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for key in self._litellm.keys:
            provider = self._litellm.provider(key)
            family = family_of(key.removeprefix(f"{provider}/"))
            if family is not None:
                found[provider, family] = (*found.get((provider, family), ()), key)
        return found

    @cached_property
    def _places(self) -> Mapping[str, tuple[str, ...]]:
        """LiteLLM's Bedrock names by model, without region and geography; commitments are another product."""
        found: dict[str, tuple[str, ...]] = {}
        for key in self._litellm.keys:
            if self._litellm.provider(key) == "bedrock" and "commitment" not in key:
                name = without_geo(key.rpartition("/")[2])
                found[name] = (*found.get(name, ()), key)
        return found

    def _why(self, reading: Reading) -> str:
        """Why a name that was read has no price."""
        if reading.provider in SELF_HOSTED:
            return "it runs on a server of your own, and no list knows what that costs"
        if any(self._sold(key, reading.provider) for key in reading.keys):
            return "LiteLLM lists it without a price that tokenguard meters; zero there means unknown"
        if reading.provider == "azure":
            return "a deployment's name says nothing about its model; pass base_model= or write an alias"
        if family_of(reading.bare):
            return "neither this date nor a family of one price is listed"
        return "no price list has it under this very name"


def _dearer_first(one: Quote | None, other: Quote | None) -> tuple[Quote | None, Quote | None]:
    if one is None or other is None:
        return one, other
    first, second = sorted((one, other), key=lambda quote: quote.base.get(Meter.INPUT, 0), reverse=True)
    return first, second


def _same_price(one: Quote, other: Quote) -> bool:
    pairs = [(one.base.get(meter), other.base.get(meter)) for meter in (Meter.INPUT, Meter.OUTPUT)]
    return all(left is None or right is None or agree(left, right) for left, right in pairs)


def _unpriceable(model: str, why: str, reading: Reading | None = None) -> Unpriceable:
    toml = toml_to_paste(model, "input", "output")
    if reading is not None and reading.provider in SELF_HOSTED:
        toml += "\n# or, if only the machine costs: free = true"
    elif reading is None or reading.provider == "azure":
        name = toml_to_paste(model).removeprefix("[prices.").removesuffix("]")
        toml = f'[alias]\n{name} = "?"  # the model behind it, such as azure/gpt-4o'
    return Unpriceable(
        f"{model!r} has no price: {why}. Put this into your price file:\n{toml}", model=model, bucket="model", toml=toml
    )
