"""What a provider says it billed, as values: one day of one provider, and what the books make of the difference."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from tokenguard.core.money import Money

__all__ = ["Billed", "Reconciled"]


@dataclass(frozen=True, slots=True)
class Billed:
    """What a provider billed for one UTC day, for one of its models or for all of them."""

    day: date
    provider: str
    model: str | None
    """None: all models of the provider together."""
    usd: Money

    @property
    def noon(self) -> datetime:
        """The instant at which a difference is booked, so that most calendars have it on the same day."""
        return datetime.combine(self.day, time(12), UTC)

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What makes two lines one: the day, and the names as providers and people spell them."""
        model = None if self.model is None else _plain(self.model, self.provider)
        return (self.day.isoformat(), self.provider.casefold(), model)

    def covers(self, provider: str, model: str) -> bool:
        """Whether spend that the ledger booked on this day is what this line bills."""
        _, ours, only = self.key
        return provider.casefold() == ours and only in (None, _plain(model, provider))


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What booking one line of a statement did."""

    billed: Billed
    booked: Money
    """What stood booked before."""
    id: str | None
    """Of the event that has the difference; None: there was none."""

    @property
    def difference(self) -> Money:
        """What was booked now; below zero where too much had been."""
        return self.billed.usd - self.booked


def _plain(model: str, provider: str) -> str:
    """A model's name without its provider in front: `openai/gpt-5` is what OpenAI bills as `gpt-5`."""
    return model.casefold().removeprefix(f"{provider.casefold()}/")
