"""What decides between endpoints, as frozen values, and what a decision says: choices in order, and who is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

from tokenguard.core.money import dollars
from tokenguard.errors import BadAmount
from tokenguard.routing.breaker import BreakerRule
from tokenguard.routing.endpoints import Endpoint, Need
from tokenguard.routing.slo import Slo
from tokenguard.routing.spill import SpillRule

__all__ = ["Choice", "Drop", "Order", "Plan", "Policy", "Reason", "Why"]

Order: TypeAlias = Literal["own_first", "least_loaded", "cheapest", "weighted"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How endpoints are ordered once the filters are through. No order changes what the filters leave out.

    Attributes:
        order: `own_first`: own hardware while it holds `ttft_s`, the cloud for the burst. `least_loaded`: the shortest
            predicted TTFT. `cheapest`: the lowest marginal cost. `weighted`: drawn by weight with the call's id.
        ttft_s: The time to first token that own endpoints have to hold, > 0.
        spill: When and for how much own endpoints spill over.
        breaker: When an endpoint is left alone.
        slo: Targets that endpoints are held against in reports; they decide nothing.
        choices_max: How many endpoints a plan names at most, >= 1.
    """

    order: Order = "own_first"
    ttft_s: float = 2.0
    spill: SpillRule = field(default_factory=SpillRule)
    breaker: BreakerRule = field(default_factory=BreakerRule)
    slo: Slo = field(default_factory=Slo)
    choices_max: int = 4

    def __post_init__(self) -> None:
        if self.ttft_s <= 0 or self.choices_max < 1:
            raise BadAmount(
                f"A policy cannot hold a TTFT of {self.ttft_s} s over {self.choices_max} choices; give a target above "
                "0 s and at least 1 choice."
            )


class Why(StrEnum):
    """Why an endpoint stands where it does in a plan."""

    OWN = "own"
    """Own hardware that holds its target."""
    HOME = "home"
    """The own replica that the session's prefix belongs to."""
    SPILL = "spill"
    """Own endpoints are pressed, and this call is among the cheapest to send away."""
    STAYS = "stays"
    """Own, though it is predicted to be late: nothing else may, is faster or is worth its price."""
    FALLBACK = "fallback"
    """If those before it fail."""
    ONLY = "only"
    """No own endpoint can answer this call."""
    THRIFT = "thrift"
    """A budget has reached its reroute rung: the cheapest first."""
    ORDER = "order"
    """As the policy's order has it."""


class Reason(StrEnum):
    """Why an endpoint was left out of a plan."""

    PRIVATE = "private"
    CANNOT = "cannot"
    TIER = "tier"
    CONTEXT = "context"
    SCHEDULE = "schedule"
    SHUT = "shut"
    FULL = "full"
    DEADLINE = "deadline"
    BUDGET = "budget"


_DROPPED = {
    Reason.PRIVATE: "it is not local",
    Reason.CANNOT: "it does not understand what the call uses",
    Reason.TIER: "it is a small model and the call asks for a large one",
    Reason.CONTEXT: "the call may need {number:,.0f} tokens and its window has {limit:,.0f}",
    Reason.SCHEDULE: "it is outside its schedule",
    Reason.SHUT: "it failed, is busy or sleeps, and is asked again in {number:.1f} s",
    Reason.FULL: "all {limit:,.0f} of its calls are in flight",
    Reason.DEADLINE: "it would be done in {number:.1f} s and the deadline is in {limit:.1f} s",
}


class Drop(NamedTuple):
    """An endpoint that was left out; numbers are tokens, seconds, calls or pico-dollars, by reason."""

    name: str
    reason: Reason
    number: float = 0
    limit: float = 0

    @property
    def sentence(self) -> str:
        """For people."""
        if self.reason is Reason.BUDGET:
            asked, left = dollars(int(self.number)), dollars(max(0, int(self.limit)))
            return f"{self.name}: it may cost {asked} and the spill budget has {left} now"
        return f"{self.name}: {_DROPPED[self.reason].format(number=self.number, limit=self.limit)}"


_CHOSEN = {
    Why.OWN: "own hardware holds its target",
    Why.HOME: "the session's prefix belongs to this replica",
    Why.SPILL: "own endpoints are pressed and this call is cheap to send away",
    Why.STAYS: "no other endpoint may answer sooner at a price that is worth it",
    Why.FALLBACK: "it answers if those before it fail",
    Why.ONLY: "no own endpoint can answer this call",
    Why.THRIFT: "a budget has reached its reroute rung, so the cheapest answers",
    Why.ORDER: "the policy's order",
}


class Choice(NamedTuple):
    """One endpoint of a plan."""

    endpoint: Endpoint
    why: Why
    ttft_s: float
    """Predicted."""
    finish_s: float
    uncached_tokens: int
    """Of the prompt, to be read there."""
    hold_pico: int
    """The most it may cost against the spill budget; 0: it is none of the budget's affair."""

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.endpoint.name}: {_CHOSEN[self.why]}; first token predicted in {self.ttft_s:.2f} s."


class Plan(NamedTuple):
    """Whom to ask, in order, and why. Without choices the call is refused."""

    need: Need
    choices: tuple[Choice, ...]
    dropped: tuple[Drop, ...]
    cut: int
    """The price per saved second up to which calls spill, after this one; pico-dollars."""
