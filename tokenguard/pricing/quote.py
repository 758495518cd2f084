"""What one source says about one model, before our rules fill the gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from tokenguard.core.price import Source
    from tokenguard.core.usage import Meter

__all__ = ["STANDARD", "Quote", "Rounding", "is_claude"]

_PICO: Final = 10**12
STANDARD: Final = "standard"


@dataclass(frozen=True, slots=True)
class Quote:
    """Rates of one model by service tier, prompt size and meter, in pico-USD per unit. A missing meter is unknown."""

    source: Source
    model: str
    """The source's own name."""
    provider: str
    """LiteLLM's name of the provider, without sub-kinds (`vertex_ai`, not `vertex_ai-language-models`)."""
    version: str
    tables: Mapping[str, Mapping[int, Mapping[Meter, int]]]
    """`tables["standard"][0]` is the base; other sizes mean "above so many input tokens"."""
    valid_from: datetime | None = None
    """The day on which these prices began, where the source says."""
    stands_since: datetime | None = None
    """Since when nothing about the quote changed, which may be an hour of today; None: always."""
    stands_until: datetime | None = None
    """Exclusive; None: no change is announced."""
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    cache_minimum_tokens: int | None = None
    """Shorter prompts are not cached; None: the source does not say."""
    has_reasoning: bool = False
    answers: bool = True
    """False for embeddings, rerankers and moderation, which have no output tokens to bill."""
    anthropic_cache: bool = False
    """Anthropic's cache prices and marks apply, whoever sells the model."""
    uplifts: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    """Factors on every token rate, by table name: a place (`geo-eu`) or a mode (`fast`)."""
    free: bool = False
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> Mapping[Meter, int]:
        """Standard rates of a small prompt."""
        return self.tables[STANDARD][0]


def is_claude(model: str) -> bool:
    """Whether a model is one of Anthropic's, by its name; Bedrock, Vertex and routers keep the name."""
    return "claude" in model.lower()


class Rounding:
    """Turns prices into whole pico-dollars and remembers which of them were finer than that."""

    def __init__(self) -> None:
        self._rounded: dict[Meter, None] = {}

    def up(self, meter: Meter, usd: Decimal, *, per: int = 1) -> int:
        """Whole pico-USD per unit, rounded up: a price must never come out too low.

        Args:
            meter: What is priced, for the note.
            usd: The price of `per` units. Fractions carry it, because a caller's decimal context may be narrow.
            per: How many of our units the price is for, >= 1.
        """
        return self.whole(meter, Fraction(usd) * _PICO / per)

    def whole(self, meter: Meter, pico: Fraction) -> int:
        """Whole pico-USD per unit, rounded up, of a rate that is in pico-USD already."""
        found = math.ceil(pico)
        if found != pico:
            self._rounded[meter] = None
        return found

    def notes(self) -> tuple[str, ...]:
        """A sentence per card, where anything was rounded."""
        return (f"rounded up to whole pico-dollars: {_listed(self._rounded)}.",) if self._rounded else ()


def _listed(meters: Iterable[Meter]) -> str:
    return ", ".join(meter.value for meter in meters)
