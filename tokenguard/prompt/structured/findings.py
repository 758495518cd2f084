"""What a lint says, and the money behind it: rates of a price card, and traffic that is measured or assumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenguard.core.money import Money
from tokenguard.core.usage import Meter
from tokenguard.errors import BadAmount

if TYPE_CHECKING:
    from tokenguard.core.price import PriceCard

__all__ = ["Finding", "Pricing", "Traffic"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """How a prompt is used. What is not measured is assumed, and each finding says so.

    Attributes:
        calls: That the dollars of a finding are for.
        input_tokens: What varies, in one call.
        output_tokens: Of one answer.
        asked_again_percent: Of the answers, that a prompt without a role, an example or a clear task is assumed to
            have asked again: 5, until you know better.
        cache_minimum: Tokens from which on the provider caches a prefix.

    Raises:
        BadAmount: a number below zero, or no calls.
    """

    calls: int = 1_000
    input_tokens: int = 500
    output_tokens: int = 150
    asked_again_percent: int = 5
    cache_minimum: int = 1_024

    def __post_init__(self) -> None:
        if self.calls < 1 or min(self.input_tokens, self.output_tokens, self.asked_again_percent) < 0:
            raise BadAmount(f"{self}: give at least one call, and no number below zero.", amount=repr(self))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a prompt that costs money or answers."""

    code: str
    sentence: str
    """The fact, its numbers, and the next move."""
    cost: Money | None
    """Of `Traffic.calls` calls; None: nothing that can be counted, or no price."""
    assumption: str
    """What the amount rests on, besides the price card."""


class Pricing:
    """Costs of parts of a prompt at one card's first tier; amounts are for all calls of the traffic.

    Args:
        card: None: no amount is known.
        traffic: As assumed or measured.
    """

    def __init__(self, card: PriceCard | None, traffic: Traffic) -> None:
        rates = card.rates if card else None
        self._input = rates[Meter.INPUT] if rates else None
        self._output = rates[Meter.OUTPUT] if rates else None
        plain = self._input or 0
        read = rates[Meter.CACHE_READ] if rates else None
        write = rates[Meter.CACHE_WRITE_5M] if rates else None
        self.read_pico = plain if read is None else min(read, plain)
        """Pico-USD for a token of a prefix that is in the provider's cache; the input rate where none is listed."""
        self.write_pico = plain if write is None else write
        """Pico-USD for a token that is written to it."""
        self.traffic = traffic

    def prefix(self, tokens: int) -> int:
        """Pico-USD for a prefix in all calls, cached where it is long enough."""
        calls, plain = self.traffic.calls, self._input or 0
        if tokens < self.traffic.cache_minimum:
            return tokens * plain * calls
        return tokens * (self.write_pico + self.read_pico * (calls - 1))

    def calls(self, prefix_tokens: int) -> int | None:
        """Pico-USD for all calls with their answers."""
        if self._input is None or self._output is None:
            return None
        each = self.traffic.input_tokens * self._input + self.traffic.output_tokens * self._output
        return self.prefix(prefix_tokens) + self.traffic.calls * each

    def of_input(self, pico: Callable[[int], int]) -> Money | None:
        """An amount that the input rate decides, where there is one."""
        return None if self._input is None else Money.from_pico(max(0, pico(self._input)))

    def of_output(self, tokens: int) -> Money | None:
        """So many more output tokens in each call."""
        return None if self._output is None else Money.from_pico(tokens * self._output * self.traffic.calls)

    def of_retries(self, prefix_tokens: int) -> Money | None:
        """Asking a share of the calls again."""
        total = self.calls(prefix_tokens)
        return None if total is None else Money.from_pico(total * self.traffic.asked_again_percent // 100)
