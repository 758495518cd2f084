"""What an unguarded agent spent, and where that leads: the arithmetic of the demo, in whole pico-dollars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tokenguard.core.money import Money

__all__ = ["FOUNDING_FIGURE", "Burn"]

FOUNDING_FIGURE: Final = Money(45_000)
"""What the script in our founding story burned before anybody looked."""
_MICROSECONDS: Final = 1_000_000
_HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Burn:
    """Spend up to a moment."""

    began: datetime
    elapsed_us: int
    spent: Money
    answers: int
    """Answers that came, each with the usage that the server reported."""
    requests: int
    """Requests that reached the server, those still being answered included."""
    depth: int

    @property
    def per_second(self) -> Money:
        """The measured rate, over the whole time."""
        return Money.from_pico(self.spent.pico * _MICROSECONDS // max(1, self.elapsed_us))

    @property
    def reaches_in_s(self) -> int | None:
        """Seconds from now until `FOUNDING_FIGURE` at this rate; None while nothing was spent."""
        rate = self.per_second.pico
        return None if rate <= 0 else max(0, FOUNDING_FIGURE.pico - self.spent.pico) // rate

    @property
    def reaches_at(self) -> datetime | None:
        """The instant at which it passes `FOUNDING_FIGURE`, aware."""
        left_s = self.reaches_in_s
        return None if left_s is None else self.began + timedelta(microseconds=self.elapsed_us, seconds=left_s)

    def sentences(self) -> list[str]:
        """What it comes to, with the computation."""
        seconds = self.elapsed_us / _MICROSECONDS
        # Four decimals, so that a reader who divides gets the hours that are printed.
        spent, rate = f"${self.spent.usd:,.4f}", f"${self.per_second.usd:,.4f}"
        flow = f"{rate} a second, {self.per_second * _HOUR_S} an hour"
        lines = [f"{spent} in {seconds:.1f} s: {self.answers:,} answers, {self.depth} levels deep, {flow}."]
        if self.reaches_at is not None and self.reaches_in_s is not None:
            at = self.reaches_at.astimezone()
            lines.append(
                f"({FOUNDING_FIGURE} - {spent}) / {rate} a second = {self.reaches_in_s / _HOUR_S:.1f} hours: "
                f"at this rate it passes {FOUNDING_FIGURE} on {at:%A %d %B} at {at:%H:%M}."
            )
        return lines

    def json(self) -> dict[str, Any]:
        """As JSON values; money as decimal strings of dollars."""
        return {
            "seconds": self.elapsed_us / _MICROSECONDS,
            "usd": self.spent.json(),
            "usd_per_second": self.per_second.json(),
            "answers": self.answers,
            "requests_arrived": self.requests,
            "depth": self.depth,
            "limit_usd": FOUNDING_FIGURE.json(),
            "passes_limit_at": self.reaches_at.isoformat() if self.reaches_at else None,
            "simulated": True,
        }
