"""What a call used: disjoint leaves, so that no token is priced twice.

Providers count inclusively (OpenAI's `prompt_tokens` contains the cached ones, Anthropic's `input_tokens` does not);
the split happens once, at the door (`pricing/shapes.py`), and everything behind it adds leaves up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import Final

from tokenguard.errors import BadAmount

__all__ = ["INPUT_METERS", "METERS", "OUTPUT_METERS", "Meter", "Quality", "Usage"]


class Quality(StrEnum):
    """How well a cost is known. Unknown is never zero."""

    REPORTED = "reported"
    """The provider said what was used."""
    ESTIMATED = "estimated"
    """Counted by us from what was sent and received."""
    ASSUMED = "assumed"
    """The ceiling: nobody could say, so the worst case stands."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Billable quantities of one call, as disjoint leaves. Whole numbers, each >= 0.

    Raises:
        BadAmount: a leaf is negative, a float, NaN or a bool.
    """

    input_tokens: int = 0
    """Text that was neither read from nor written to a prompt cache."""
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_cache_read_tokens: int = 0
    image_input_tokens: int = 0
    output_tokens: int = 0
    """Visible text; reasoning is its own leaf."""
    reasoning_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    requests: int = 1
    """1 for a call that reached a model; carries the per-request fee."""
    web_searches: int = 0
    input_milliseconds: int = 0
    """Audio or compute billed by time on the way in."""
    output_milliseconds: int = 0

    def __post_init__(self) -> None:
        quantities = _leaves(self)
        if {*map(type, quantities)} == _WHOLE and min(quantities) >= 0:
            return  # Nearly every usage there is; which leaf is wrong is only looked for where one is.
        leaves = zip(METERS, quantities, strict=True)
        meter, quantity = next(leaf for leaf in leaves if type(leaf[1]) is not int or leaf[1] < 0)
        raise BadAmount(
            f"usage {meter} = {quantity!r} cannot be meant: counts are whole numbers, 0 or more.",
            bucket=meter,
            amount=repr(quantity),
        )

    @property
    def input_total(self) -> int:
        """All tokens of the prompt, cached ones included: what tiers and context windows look at."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
            + self.audio_input_tokens
            + self.audio_cache_read_tokens
            + self.image_input_tokens
        )

    @property
    def output_total(self) -> int:
        """All tokens of the answer, reasoning included."""
        return self.output_tokens + self.reasoning_tokens + self.audio_output_tokens + self.image_output_tokens

    @property
    def tokens(self) -> int:
        """Input plus output, cached ones included: what `Budget(tokens=)` counts."""
        return self.input_total + self.output_total

    def quantities(self) -> tuple[int, ...]:
        """All leaves in the order of `METERS`: shape (n_meters,)."""
        return _leaves(self)


class Meter(StrEnum):
    """One priced leaf; the value is the field's name in `Usage` and the column in the ledger's lines."""

    INPUT = "input_tokens"
    CACHE_READ = "cache_read_tokens"
    CACHE_WRITE_5M = "cache_write_5m_tokens"
    CACHE_WRITE_1H = "cache_write_1h_tokens"
    AUDIO_INPUT = "audio_input_tokens"
    AUDIO_CACHE_READ = "audio_cache_read_tokens"
    IMAGE_INPUT = "image_input_tokens"
    OUTPUT = "output_tokens"
    REASONING = "reasoning_tokens"
    AUDIO_OUTPUT = "audio_output_tokens"
    IMAGE_OUTPUT = "image_output_tokens"
    REQUEST = "requests"
    WEB_SEARCH = "web_searches"
    INPUT_TIME = "input_milliseconds"
    OUTPUT_TIME = "output_milliseconds"


METERS: Final[tuple[Meter, ...]] = tuple(Meter)
INPUT_METERS: Final = METERS[:7]
OUTPUT_METERS: Final = METERS[7:11]

_WHOLE: Final = {int}
_leaves: Final[Callable[[Usage], tuple[int, ...]]] = attrgetter(*METERS)

assert tuple(field.name for field in fields(Usage)) == METERS, "Usage and Meter name the same leaves in the same order"
