"""What a model costs: a `PriceCard` of whole pico-dollars per unit; pricing a call is a sum of products.

Rules that a reader of an invoice needs:

- A rate is a whole number of pico-dollars (10⁻¹² USD) per unit of a `Meter`, or None: unknown. Unknown is never zero: a
  quantity that meets an unknown rate raises `Unpriceable`. A rate of 0 is in a card only where a source says "free".
- Tiers are cliffs: a prompt above `above_input_tokens` re-prices the whole request, output included. Every provider
  that publishes tiers bills them this way (genai-prices #241).
- Service tiers (`batch`, `flex`, `priority` …) are tables of their own. `PriceCard.tables_for` says what happens to
  names that a card does not list.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from tokenguard.core.books import Line
from tokenguard.core.usage import METERS, Meter, Usage
from tokenguard.errors import BadAmount, Unpriceable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["TOML_KEYS", "PriceCard", "RateTable", "Rates", "ServiceTier", "Source", "Tier", "toml_to_paste"]

ServiceTier: TypeAlias = Literal["standard", "batch", "flex", "priority"]
"""Tiers that several providers sell. Cards may list others (`fast`, `geo-us` …) under the name that replies use."""
Source: TypeAlias = Literal["override", "genai-prices", "litellm", "assumed"]

TOML_KEYS: Final[Mapping[Meter, str]] = {
    Meter.INPUT: "input",
    Meter.CACHE_READ: "cache_read",
    Meter.CACHE_WRITE_5M: "cache_write_5m",
    Meter.CACHE_WRITE_1H: "cache_write_1h",
    Meter.AUDIO_INPUT: "audio_input",
    Meter.AUDIO_CACHE_READ: "audio_cache_read",
    Meter.IMAGE_INPUT: "image_input",
    Meter.OUTPUT: "output",
    Meter.REASONING: "reasoning",
    Meter.AUDIO_OUTPUT: "audio_output",
    Meter.IMAGE_OUTPUT: "image_output",
    Meter.REQUEST: "per_request",
    Meter.WEB_SEARCH: "web_search",
    Meter.INPUT_TIME: "input_second",
    Meter.OUTPUT_TIME: "output_second",
}
"""What each meter is called in a price file; docs/prices.md says the units."""

_STANDARD_NAMES: Final = (None, "", "standard", "default", "auto", "on_demand", "standard_only")
"""What requests and replies call the ordinary tier (OpenAI, Anthropic, Groq, Gemini). `auto` may be anything that a
project's settings say; the reply then names what was served, and that is what is billed."""
_DISCOUNTS: Final = frozenset({"batch", "flex"})
_SAME_TIER: Final[Mapping[str, str]] = {
    "fast": "priority",  # OpenAI renamed it; both sources list the two at one price
    "on_demand_priority": "priority",  # Gemini's trafficType
    "on_demand_flex": "flex",
    "batches": "batch",
}
_INDEX: Final = {meter: index for index, meter in enumerate(METERS)}
_LEAVES: Final = attrgetter(*(meter.value for meter in METERS))
_INPUT_LEAVES: Final = _INDEX[Meter.OUTPUT]
_WORST_MAX: Final = 64
_WRITES: Final = {"5m": Meter.CACHE_WRITE_5M, "1h": Meter.CACHE_WRITE_1H}


@dataclass(frozen=True, slots=True)
class Rates:
    """One rate per meter, in the order of `METERS`: pico-USD per unit, or None where nobody knows.

    Raises:
        BadAmount: a rate that is negative or not a whole number.
    """

    by_meter: tuple[int | None, ...]

    def __post_init__(self) -> None:
        assert len(self.by_meter) == len(METERS), "one rate per meter"
        for meter, rate in zip(METERS, self.by_meter, strict=True):
            if rate is not None and (type(rate) is not int or rate < 0):
                raise BadAmount(
                    f"the rate of {meter} is {rate!r}; rates are whole pico-dollars per unit, 0 or more.",
                    bucket=str(meter),
                )

    @classmethod
    def of(cls, rates: Mapping[Meter, int | None]) -> Rates:
        """Rates by meter; those not given are unknown, but a request fee that nobody lists is not charged."""
        return cls(tuple(rates.get(meter, 0 if meter is Meter.REQUEST else None) for meter in METERS))

    @classmethod
    def free(cls) -> Rates:
        """Every meter at 0, for a model that is known to cost nothing per call."""
        return cls((0,) * len(METERS))

    def __getitem__(self, meter: Meter) -> int | None:
        return self.by_meter[_INDEX[meter]]

    def known(self) -> dict[Meter, int]:
        """Meters that have a rate, in their order."""
        return {meter: rate for meter, rate in zip(METERS, self.by_meter, strict=True) if rate is not None}


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of the whole request once its prompt is larger than `above_input_tokens`, cached tokens included."""

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class RateTable:
    """The rates of one service tier: a base, and tiers by prompt size, smallest first."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        sizes = [tier.above_input_tokens for tier in self.tiers]
        assert sizes == sorted(set(sizes)), "tiers are listed smallest first, each size once"

    def at(self, input_tokens: int) -> Rates:
        """The rates of a request whose prompt has `input_tokens`."""
        for tier in reversed(self.tiers):
            if input_tokens > tier.above_input_tokens:
                return tier.rates
        return self.rates

    def up_to(self, input_tokens: int) -> tuple[Rates, ...]:
        """Every set of rates that a prompt of at most `input_tokens` can meet."""
        return (self.rates, *(tier.rates for tier in self.tiers if input_tokens > tier.above_input_tokens))


@dataclass(frozen=True, slots=True)
class PriceCard:
    """The price of one model from one day on, with where it came from. Never changed: a new price is a new card."""

    id: str
    """`provider/model/day.digest`; the same rates have the same id in every process and package version."""
    model: str
    provider: str
    source: Source
    version: str
    """Of the source: package version and digest of its data, or digest of the price file."""
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    services: Mapping[str, RateTable] = field(default_factory=dict[str, RateTable], hash=False)
    valid_from: datetime | None = None
    """None: the source does not say since when."""
    context_tokens: int | None = None
    """The largest window that a source names; bounds a prompt, and prompt plus answer."""
    output_tokens_max: int | None = None
    has_reasoning: bool = False
    writes_cache_unasked: bool = False
    """The provider writes prompts to its cache by itself and bills that above the input rate."""
    has_cache_rates: bool = False
    """A source lists what a cached token costs. Where none does, the input rate stands in for it: dear enough for a
    cap, but nothing may be decided from it."""
    cache_minimum_tokens: int | None = None
    """Shorter prompts are not cached, as a source lists it; None: no source does."""
    free: bool = False
    notes: tuple[str, ...] = ()
    """How gaps were filled and what was rounded, as sentences."""
    _tables: Mapping[str | None, RateTable] = field(init=False, repr=False, compare=False)
    _sizes: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Prompt sizes above which some table has other rates."""
    _worst: dict[tuple[Any, ...], int] = field(init=False, repr=False, compare=False)
    """Dearest rates that were worked out before: every call of an agent asks for the same one."""

    def __post_init__(self) -> None:
        standard = RateTable(self.rates, self.tiers)
        tables: dict[str | None, RateTable] = dict.fromkeys(_STANDARD_NAMES, standard)
        tables.update(self.services)
        object.__setattr__(self, "_tables", tables)
        sizes = {tier.above_input_tokens for table in tables.values() for tier in table.tiers}
        object.__setattr__(self, "_sizes", tuple(sorted(sizes)))
        object.__setattr__(self, "_worst", {})

    def cost(self, usage: Usage, service_tier: str | None = None) -> int:
        """What a call cost: the sum of quantity times rate, in pico-USD, exactly.

        Args:
            usage: As split at the door.
            service_tier: As the reply names it.

        Raises:
            Unpriceable: a quantity meets an unknown rate.
        """
        quantities: tuple[int, ...] = _LEAVES(usage)
        table = self._tables.get(service_tier) or self._dearest(service_tier, usage)
        rates = table.at(sum(quantities[:_INPUT_LEAVES])) if table.tiers else table.rates
        total = 0
        for quantity, rate in zip(quantities, rates.by_meter, strict=True):
            if quantity:
                if rate is None:
                    raise self._gap(_first_gap(quantities, rates))
                total += quantity * rate
        return total

    def lines(self, usage: Usage, service_tier: str | None = None) -> tuple[Line, ...]:
        """The same as invoice lines, one per meter that was used; their amounts add up to `cost` exactly.

        Free tokens have lines too, so that a report can count them; a request fee of 0 has none.

        Raises:
            Unpriceable: a quantity meets an unknown rate.
        """
        table = self._tables.get(service_tier) or self._dearest(service_tier, usage)
        rates = table.at(usage.input_total)
        found: list[Line] = []
        for meter, quantity, rate in zip(METERS, usage.quantities(), rates.by_meter, strict=True):
            if not quantity:
                continue
            if rate is None:
                raise self._gap(meter)
            if rate or meter is not Meter.REQUEST:
                found.append(Line(meter, quantity, rate, quantity * rate))
        return tuple(found)

    def input_rate_max(
        self,
        input_tokens: int,
        *,
        service_tier: str | None = None,
        cache_write: str | None = None,
        audio: bool = False,
        image: bool = False,
    ) -> int:
        """The dearest rate that a token of the prompt may meet, in pico-USD.

        Args:
            input_tokens: Upper bound of the prompt; every tier below it counts, because the prompt may be smaller.
            service_tier: As the request names it.
            cache_write: `5m` or `1h` where the request carries cache marks of that life; None where it carries none.
            audio: The prompt has audio parts.
            image: The prompt has image parts.

        Raises:
            Unpriceable: no rate for a bucket that the prompt may fill.
        """
        key = self._reach(input_tokens), service_tier, cache_write, audio, image
        known = self._worst.get(key)
        if known is not None:
            return known
        needed = [Meter.INPUT]
        if cache_write is not None:
            # A one-hour mark may be written for five minutes too: by other marks, or where its life is ignored.
            needed += [Meter.CACHE_WRITE_5M] if cache_write == "5m" else [Meter.CACHE_WRITE_5M, _WRITES[cache_write]]
        needed += [Meter.AUDIO_INPUT] * audio + [Meter.IMAGE_INPUT] * image
        optional = (
            [Meter.CACHE_READ] + [Meter.AUDIO_CACHE_READ] * audio + [Meter.CACHE_WRITE_5M] * self.writes_cache_unasked
        )
        return self._keep(key, self._rate_max(input_tokens, service_tier, needed, optional))

    def output_rate_max(
        self, input_tokens: int, *, service_tier: str | None = None, audio: bool = False, image: bool = False
    ) -> int:
        """The dearest rate that a token of the answer may meet, reasoning included, in pico-USD.

        Args:
            input_tokens: Upper bound of the prompt, which decides the tier.
            service_tier: As the request names it.
            audio: The answer may be spoken.
            image: The answer may be drawn.

        Raises:
            Unpriceable: no rate for a bucket that the answer may fill.
        """
        key = self._reach(input_tokens), service_tier, audio, image
        known = self._worst.get(key)
        if known is not None:
            return known
        needed = [Meter.OUTPUT] + [Meter.AUDIO_OUTPUT] * audio + [Meter.IMAGE_OUTPUT] * image
        return self._keep(key, self._rate_max(input_tokens, service_tier, needed, [Meter.REASONING]))

    @property
    def request_fee_pico(self) -> int:
        """Pico-USD for one request besides its tokens; 0 where no source lists a fee."""
        return self.rates[Meter.REQUEST] or 0

    @property
    def web_search_pico(self) -> int | None:
        """Pico-USD for one web search of the provider's own tool; None: unknown."""
        return self.rates[Meter.WEB_SEARCH]

    def tables_for(self, service_tier: str | None) -> tuple[RateTable, *tuple[RateTable, ...]]:
        """The tables that a service tier may be billed by; more than one only where the card does not know the name.

        A discount (`batch`, `flex`) that a card does not list is the standard table: it cannot be dearer. Any other
        unknown name (`scale`, a tier of next year) may be any of the card's tables, and the dearest of them is taken;
        tables of places (`geo-…`) stay out, because a place is never a service tier's name.
        """
        found = self._tables.get(service_tier)
        if found is None and service_tier is not None:
            name = service_tier.lower()
            found = self._tables.get(name) or self._tables.get(_SAME_TIER.get(name, name))
            if found is None and _SAME_TIER.get(name, name) in _DISCOUNTS:
                found = self._tables[None]
        if found is not None:
            return (found,)
        return (self._tables[None], *(table for name, table in self.services.items() if not name.startswith("geo-")))

    def tier_note(self, service_tier: str | None) -> str | None:
        """A sentence where a service tier is not priced by a table of its own; None where it is."""
        tables = self.tables_for(service_tier)
        if len(tables) > 1:
            return f"service tier {service_tier!r} has no price of its own: the dearest of {len(tables)} was taken."
        if tables[0] is self._tables[None] and (service_tier or "").lower() not in _STANDARD_NAMES:
            return f"service tier {service_tier!r} has no price of its own: the standard one was taken."
        return None

    def _dearest(self, service_tier: str | None, usage: Usage) -> RateTable:
        """The table that makes this usage cost the most, of those it may be billed by."""
        tables = self.tables_for(service_tier)
        if len(tables) == 1:
            return tables[0]
        return max(tables, key=lambda table: _value(table.at(usage.input_total), usage))

    def _reach(self, input_tokens: int) -> int:
        """How many of the card's prompt sizes a prompt is above; equal for prompts that can meet the same rates."""
        return bisect_left(self._sizes, input_tokens) if self._sizes else 0

    def _keep(self, key: tuple[Any, ...], rate: int) -> int:
        if len(self._worst) >= _WORST_MAX:  # Names of service tiers come from callers.
            self._worst.clear()
        self._worst[key] = rate
        return rate

    def _rate_max(self, input_tokens: int, service_tier: str | None, needed: list[Meter], optional: list[Meter]) -> int:
        dearest = 0
        for table in self.tables_for(service_tier):
            for rates in table.up_to(input_tokens):
                for meter in needed:
                    rate = rates[meter]
                    if rate is None:
                        raise self._gap(meter)
                    dearest = max(dearest, rate)
                dearest = max([dearest, *(rates[meter] or 0 for meter in optional)])
        return dearest

    def _gap(self, meter: Meter) -> Unpriceable:
        key = TOML_KEYS[meter]
        toml = toml_to_paste(self.model, key, like=True)
        return Unpriceable(
            f"{self.model!r} has no price for {meter} (card {self.id}). Put this into your price file:\n{toml}",
            model=self.model,
            bucket=meter.value,
            toml=toml,
        )


def toml_to_paste(model: str, *keys: str, like: bool = False) -> str:
    """What to paste into a price file so that `model` gets prices under `keys`.

    The prices are `"?"`, which the file's reader refuses with a sentence: pasting alone must never make a model free.
    `like` keeps every other price of the model as the sources have it.
    """
    name = model.replace("\\", "\\\\").replace('"', '\\"')
    head = [f'[prices."{name}"]'] + ([f'like = "{name}"'] if like else [])
    return "\n".join([*head, *(f'{key} = "?"  # {_UNITS.get(key, "US dollars per million tokens")}' for key in keys)])


_UNITS: Final = {
    "per_request": "US dollars per request",
    "web_search": "US dollars per search",
    "input_second": "US dollars per second",
    "output_second": "US dollars per second",
}


def _first_gap(quantities: tuple[int, ...], rates: Rates) -> Meter:
    """The first meter with a quantity and no rate."""
    return next(
        meter
        for meter, quantity, rate in zip(METERS, quantities, rates.by_meter, strict=True)
        if quantity and rate is None
    )


def _value(rates: Rates, usage: Usage) -> int:
    """Pico-USD of the meters that have a rate; only for comparing tables."""
    return sum(quantity * (rate or 0) for quantity, rate in zip(usage.quantities(), rates.by_meter, strict=True))
