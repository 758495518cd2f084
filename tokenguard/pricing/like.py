"""Prices by comparison: a table of a price file that says `like = "another model"`, with a factor or single changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tokenguard.pricing.compose import scaled
from tokenguard.pricing.quote import STANDARD, Quote, Rounding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenguard.core.usage import Meter
    from tokenguard.pricing.overrides import Override

__all__ = ["applied"]


def applied(own: Override, base: Quote) -> Quote:
    """The quote of a price file's table over the model that it is like.

    The factor multiplies every token rate of `base` (rounded up, with a note) and leaves fees alone. What the table
    itself lists replaces the base's rates of the same service and prompt size; a meter that only the table lists has
    one price at every size.
    """
    said, rounding = own.quote, Rounding()
    tables = {
        service: {
            above: scaled(_without(rates, said.tables.get(service, {}).get(above, {})), own.times, rounding)
            for above, rates in sizes.items()
        }
        for service, sizes in base.tables.items()
    }
    for service, sizes in said.tables.items():
        changed = tables.setdefault(service, {0: {}})
        for above, rates in sizes.items():
            changed[above] = {**changed.get(above, {}), **rates}
    _everywhere(tables, said.base)
    return replace(
        base,
        source="override",
        model=own.model,
        provider=base.provider if said.provider == "custom" else said.provider,
        version=f"{said.version} + {base.version}",
        tables=tables,
        valid_from=own.valid_from or base.valid_from,
        context_tokens=said.context_tokens or base.context_tokens,
        output_tokens_max=said.output_tokens_max or base.output_tokens_max,
        has_reasoning=said.has_reasoning or base.has_reasoning,
        free=said.free or (base.free and not any(said.base.values())),
        notes=(_likeness(own, base), *rounding.notes(), *said.notes, *base.notes),
    )


def _without(rates: Mapping[Meter, int], replaced: Mapping[Meter, int]) -> dict[Meter, int]:
    """The rates that stand: one that the table replaces is not multiplied, so its rounding is no news."""
    return {meter: rate for meter, rate in rates.items() if meter not in replaced}


def _likeness(own: Override, base: Quote) -> str:
    return f"like {base.model}" + (f" times {own.times}." if own.times != 1 else ".")


def _everywhere(tables: dict[str, dict[int, dict[Meter, int]]], said: Mapping[Meter, int]) -> None:
    """A meter that only the table lists has one price at every prompt size."""
    for above, rates in tables[STANDARD].items():
        if above:
            for meter, rate in said.items():
                rates.setdefault(meter, rate)
