"""What folding saved, as rows that are only added: by run, model and stage.

Estimated when a result is first sent, for the rest of its run, and settled by what the provider counted in each call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from tokenguard.core.money import Money

__all__ = ["SAVING_DIMENSIONS", "Saving", "SavingBy", "SavingSpend", "ordered", "saving_spends", "together"]

SavingBy: TypeAlias = Literal["stage", "model", "agent", "scope", "run"]
SAVING_DIMENSIONS: Final[dict[str, str]] = {
    "stage": "stage",
    "model": "model",
    "agent": "agent",
    "scope": "scope",
    "run": "run_id",
}
"""What savings are grouped by, and the field that says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What one stage saved in some calls of one run with one model."""

    id: str
    at: datetime
    run_id: str
    """Empty: calls outside any run."""
    root_id: str
    scope: str
    agent: str
    """Empty: none."""
    model: str
    stage: str
    applied: bool
    """False: only measured, because the guard observes or the run is held out; nothing was saved."""
    calls: int
    """In which something was smaller by this stage."""
    results: int
    """Tool results that it changed, each when it was first sent."""
    tokens_before: int
    """Of those results, as the stage got them."""
    tokens_after: int
    tokens: int
    """Fewer tokens in all these calls, results that were sent again counted again."""
    elapsed_us: int
    estimated_pico: int
    """What was expected when they were sent first, for the rest of their run."""
    settled_pico: int
    """What it came to by the provider's own counts; below zero where a cache was broken for more than it saved."""


@dataclass(frozen=True, slots=True)
class SavingSpend:
    """Savings added up by one dimension."""

    name: str
    """Of the stage, model, agent, scope or run."""
    applied: bool
    calls: int
    results: int
    tokens_before: int
    tokens_after: int
    tokens: int
    elapsed_us: int
    estimated: Money
    settled: Money

    def json(self) -> dict[str, Any]:
        """As JSON values; money as decimal strings of dollars."""
        return {
            "name": self.name,
            "applied": self.applied,
            "calls": self.calls,
            "results": self.results,
            "tokens_before": self.tokens_before,
            "tokens_after": self.tokens_after,
            "tokens_saved": self.tokens,
            "elapsed_us": self.elapsed_us,
            "estimated_usd": self.estimated.json(),
            "settled_usd": self.settled.json(),
        }


_ADDED: Final = ("calls", "results", "tokens_before", "tokens_after", "tokens", "elapsed_us")


def saving_spends(rows: Iterable[Saving], by: SavingBy) -> tuple[SavingSpend, ...]:
    """Rows added up by a dimension, what saved most first; what was only measured is apart from what was saved."""
    field, found = SAVING_DIMENSIONS[by], dict[tuple[str, bool], SavingSpend]()
    for row in rows:
        one = SavingSpend(
            name=getattr(row, field),
            applied=row.applied,
            **{name: getattr(row, name) for name in _ADDED},
            estimated=Money.from_pico(row.estimated_pico),
            settled=Money.from_pico(row.settled_pico),
        )
        key = one.name, one.applied
        found[key] = _together(found[key], one) if key in found else one
    return ordered(found.values())


def ordered(spends: Iterable[SavingSpend]) -> tuple[SavingSpend, ...]:
    """What saved most first."""
    return tuple(sorted(spends, key=lambda one: (not one.applied, -one.settled.pico, -one.tokens, one.name)))


def together(spends: Sequence[SavingSpend], name: str, *, applied: bool = True) -> SavingSpend:
    """Several as one, under a name."""
    total = SavingSpend(name, applied, 0, 0, 0, 0, 0, 0, Money(0), Money(0))
    for one in spends:
        total = _together(total, one)
    return total


def _together(before: SavingSpend, after: SavingSpend) -> SavingSpend:
    added = {
        one.name: getattr(before, one.name) + getattr(after, one.name)
        for one in fields(SavingSpend)
        if one.name not in ("name", "applied")
    }
    return replace(before, **added)
