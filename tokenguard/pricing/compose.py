"""From what the sources say to a card: how two quotes become one, and how gaps are filled.

Every rule errs to the dear side or stays unknown. docs/prices.md lists them for readers of an invoice.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from tokenguard.core.price import PriceCard, Rates, RateTable, Tier
from tokenguard.core.usage import INPUT_METERS, OUTPUT_METERS, Meter
from tokenguard.pricing.quote import STANDARD, Quote, Rounding

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

__all__ = ["agree", "card_of", "merge", "scaled"]

_TOLERANCE: Final = Fraction(1, 100)
_SHARED: Final = (Meter.INPUT, Meter.OUTPUT)
_GOOGLE: Final = frozenset({"gemini", "vertex_ai"})
_TOKENS: Final = frozenset((*INPUT_METERS, *OUTPUT_METERS))
_XAI_SEARCH_PICO: Final = 5_000_000_000
"""docs.x.ai/developers/pricing: web and X searches cost $5 a thousand with every model; no list says so by model."""

Table = dict[int, dict[Meter, int]]


def agree(one: int, other: int) -> bool:
    """Whether two rates are within 1 % of the larger."""
    return abs(one - other) <= _TOLERANCE * max(one, other)


def merge(first: Quote | None, second: Quote | None) -> Quote | None:
    """One quote from two sources: the first one's, with the second filling what it leaves out.

    Rates are filled only where both name the same input and output rates (within 1 %), else the second may mean another
    model or another day. Limits are taken from both in any case, the larger window and the first known answer limit:
    they bound a request and cost nothing. Prompt sizes are the first's, if it has any, and the second's otherwise.
    """
    if first is None or second is None:
        return first or second
    limits = replace(
        first,
        context_tokens=max(filter(None, (first.context_tokens, second.context_tokens)), default=None),
        output_tokens_max=first.output_tokens_max or second.output_tokens_max,
        cache_minimum_tokens=first.cache_minimum_tokens or second.cache_minimum_tokens,
        has_reasoning=first.has_reasoning or second.has_reasoning,
        answers=first.answers and second.answers,
    )
    if first.free:
        return limits
    apart = [meter for meter in _SHARED if _differ(first.base.get(meter), second.base.get(meter))]
    if apart:
        note = f"{second.source} has other rates for {' and '.join(apart)}; they were not used."
        return replace(limits, notes=(*limits.notes, note))
    tables = {service: dict(sizes) for service, sizes in first.tables.items()}
    sizes = first.tables[STANDARD] if len(first.tables[STANDARD]) > 1 else second.tables[STANDARD]
    tables[STANDARD] = {**sizes, 0: {**second.base, **first.base}}
    for service, listed in second.tables.items():
        tables.setdefault(service, dict(listed))
    return replace(
        limits,
        tables=tables,
        version=f"{first.version} + {second.version}",
        uplifts={**second.uplifts, **first.uplifts},
        notes=(*limits.notes, *second.notes),
    )


def card_of(quote: Quote) -> PriceCard:
    """Fill the gaps of a quote by rule and seal it as a card."""
    rounding = Rounding()
    tables = {STANDARD: RateTable(Rates.free())} if quote.free else _tables(quote, rounding)
    standard = tables.pop(STANDARD)
    write, plain = standard.rates[Meter.CACHE_WRITE_5M], standard.rates[Meter.INPUT]
    return PriceCard(
        id=_identity(quote, standard, tables),
        model=quote.model.removeprefix(f"{quote.provider}/"),
        provider=quote.provider,
        source=quote.source,
        version=quote.version,
        rates=standard.rates,
        tiers=standard.tiers,
        services=tables,
        valid_from=quote.valid_from,
        context_tokens=quote.context_tokens,
        output_tokens_max=quote.output_tokens_max,
        has_reasoning=quote.has_reasoning,
        # Claude writes only where a request marks what to cache; others that charge for writes decide by themselves.
        writes_cache_unasked=not quote.anthropic_cache and (write or 0) > (plain or 0),
        has_cache_rates=quote.free or Meter.CACHE_READ in quote.base,
        cache_minimum_tokens=quote.cache_minimum_tokens,
        free=quote.free,
        notes=tuple(dict.fromkeys((*quote.notes, *rounding.notes()))),
    )


def _identity(quote: Quote, standard: RateTable, services: Mapping[str, RateTable]) -> str:
    day = quote.valid_from.date().isoformat() if quote.valid_from else "undated"
    digest = blake2b(repr((standard, sorted(services.items()))).encode(), digest_size=4).hexdigest()
    bare = quote.model.removeprefix(f"{quote.provider}/")
    return f"{quote.provider}/{bare}/{day}.{digest}"


def _tables(quote: Quote, rounding: Rounding) -> dict[str, RateTable]:
    """All service tiers of a quote, complete."""
    standard: Table = {0: _fill(dict(quote.base), quote, rounding)}
    for above, rates in sorted(quote.tables[STANDARD].items()):
        if above:
            standard[above] = _fill(_over(standard[0], rates, rounding), quote, rounding)
    tables = {STANDARD: _sealed(standard)}
    for service, sizes in quote.tables.items():
        if service != STANDARD:
            tables[service] = _sealed(_service(standard, sizes, quote, rounding))
    for name, factor in quote.uplifts.items():
        if name not in tables:
            tables[name] = _sealed({above: scaled(rates, factor, rounding) for above, rates in standard.items()})
    return tables


def _service(standard: Table, sizes: Mapping[int, Mapping[Meter, int]], quote: Quote, rounding: Rounding) -> Table:
    """A service tier over the standard sizes; one that it leaves out is the dearer of its base and the standard one."""
    found: Table = {0: _fill(_over(standard[0], sizes[0], rounding), quote, rounding)}
    for above in sorted({*standard, *sizes} - {0}):
        listed = sizes.get(above)
        if listed is not None:
            found[above] = _fill(_over(found[0], listed, rounding), quote, rounding)
        else:
            larger, base = standard[above], found[0]
            found[above] = {meter: max(rate, base.get(meter, 0)) for meter, rate in larger.items()}
    return found


def _sealed(table: Table) -> RateTable:
    tiers = tuple(Tier(above, Rates.of(rates)) for above, rates in sorted(table.items()) if above)
    return RateTable(Rates.of(table[0]), tiers)


def _over(base: Mapping[Meter, int], listed: Mapping[Meter, int], rounding: Rounding) -> dict[Meter, int]:
    """A table that lists only some meters, completed from the one below it.

    A meter that it leaves out rises with its side's main rate (input or output) and never falls: providers publish
    "2x above 200k" for everything but discount less than everything. What equals the main rate below does so here too,
    as reasoning that is billed as output.
    """
    rates = dict(base)
    for meters, main in ((INPUT_METERS, Meter.INPUT), (OUTPUT_METERS, Meter.OUTPUT)):
        if main not in listed or not base.get(main):
            continue
        factor = Fraction(listed[main], base[main])
        for meter in meters:
            if meter not in base or meter in listed:
                continue
            if base[meter] == base[main]:
                rates[meter] = listed[main]
            elif factor > 1:
                rates[meter] = rounding.whole(meter, base[meter] * factor)
    rates.update(listed)
    return rates


def _fill(rates: dict[Meter, int], quote: Quote, rounding: Rounding) -> dict[Meter, int]:
    """The rules for meters that no source lists; each is explained in docs/prices.md."""
    plain, answer = rates.get(Meter.INPUT), rates.get(Meter.OUTPUT)
    if plain is not None:
        # Never free: a provider that lists no discount gives none. Fireworks states one discount for all of its models
        # (LiteLLM's FIREWORKS_AI_DEFAULT_CACHE_READ_RATE_RATIO).
        if Meter.CACHE_READ not in rates:
            share = Fraction(1, 2) if quote.provider == "fireworks_ai" else Fraction(1)
            rates[Meter.CACHE_READ] = rounding.whole(Meter.CACHE_READ, plain * share)
        if quote.anthropic_cache:
            # Anthropic's price page: five-minute writes 1.25 x input, one-hour writes 2 x, on every platform.
            if Meter.CACHE_WRITE_5M not in rates:
                rates[Meter.CACHE_WRITE_5M] = rounding.whole(Meter.CACHE_WRITE_5M, plain * Fraction(5, 4))
            rates.setdefault(Meter.CACHE_WRITE_1H, plain * 2)
        else:
            # Others that list no price for writes bill written tokens as ordinary input, and sell one life only.
            rates.setdefault(Meter.CACHE_WRITE_5M, plain)
            rates.setdefault(Meter.CACHE_WRITE_1H, rates[Meter.CACHE_WRITE_5M])
        # Both sources define their input rate as that of every prompt token without a rate of its own. Pictures are
        # billed so; audio costs 3 to 16 times the text rate wherever it is listed, so it stays unknown but for Google,
        # whose page lists audio apart only where it differs.
        rates.setdefault(Meter.IMAGE_INPUT, plain)
        if quote.provider in _GOOGLE:
            rates.setdefault(Meter.AUDIO_INPUT, plain)
    if quote.provider == "xai":
        rates.setdefault(Meter.WEB_SEARCH, _XAI_SEARCH_PICO)
    if Meter.AUDIO_INPUT in rates:
        rates.setdefault(Meter.AUDIO_CACHE_READ, rates[Meter.AUDIO_INPUT])
    if answer is not None:
        rates.setdefault(Meter.REASONING, answer)
    elif not quote.answers:
        # An embedding has no answer: 0 for a reason, not for want of a price.
        rates[Meter.OUTPUT] = rates[Meter.REASONING] = 0
    return rates


def scaled(rates: Mapping[Meter, int], factor: Decimal, rounding: Rounding) -> dict[Meter, int]:
    """Token rates times a factor, rounded up; fees stay."""
    exact = Fraction(factor)
    return {meter: rounding.whole(meter, rate * exact) if meter in _TOKENS else rate for meter, rate in rates.items()}


def _differ(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and not agree(one, other)
