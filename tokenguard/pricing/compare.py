"""Where the packaged price sources contradict each other: what `tokenguard prices check` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenguard.errors import Unpriceable
from tokenguard.pricing.compose import agree
from tokenguard.pricing.quote import STANDARD, Quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from tokenguard.pricing.book import Book

__all__ = ["Difference", "differences"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One rate on which two sources are more than 1 % apart, or a prompt size that only one of them re-prices."""

    model: str
    service: str
    above_input_tokens: int
    meter: str
    """A meter's name, or `tier` where the other source has no such size."""
    genai_pico: int | None
    litellm_pico: int | None


def differences(book: Book, models: Iterable[str], at: datetime | None = None) -> Iterator[Difference]:
    """Compare both packages on every model that both list, in the order given."""
    for model in models:
        try:
            one, other = book.quotes(model, at)
        except Unpriceable:
            continue
        if one is not None and other is not None and not one.free:
            left, right = (one, other) if one.source == "genai-prices" else (other, one)
            yield from _between(model, left, right)


def _between(model: str, one: Quote, other: Quote) -> Iterator[Difference]:
    for service in one.tables.keys() & other.tables.keys():
        left, right = one.tables[service], other.tables[service]
        for above in sorted(left.keys() & right.keys()):
            for meter in left[above].keys() & right[above].keys():
                if not agree(left[above][meter], right[above][meter]):
                    yield Difference(model, service, above, meter.value, left[above][meter], right[above][meter])
        if service == STANDARD:
            for above in sorted(left.keys() ^ right.keys()):
                only_left, only_right = left.get(above, {}), right.get(above, {})
                shown = next(iter(only_left or only_right))
                yield Difference(model, service, above, "tier", only_left.get(shown), only_right.get(shown))
