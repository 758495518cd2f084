"""Refunds and corrections of booked attempts, as values: what is asked, what it makes of a booking, and what was done.

Nothing that was booked is changed. Both ledgers book the difference as a transfer, take the standing event back and
state the new one, each as rows of their own (docs/adr/0016).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from tokenguard.core.books import Booking, GuardEvent
from tokenguard.core.money import Money
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import AccountState
from tokenguard.errors import AdjustRefused, BadAmount, LedgerConflict, SettingsError

__all__ = ["Adjusted", "Adjustment", "Adjusts", "act_of", "adjusted", "one_line", "told_before"]

_LINE_MAX: Final = 500


class Adjusts(StrEnum):
    """What an adjustment says."""

    REFUND = "refund"
    """Money of this attempt came back from the provider."""
    CORRECTION = "correction"
    """What the attempt truly cost, as the provider billed it."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One refund or correction, by an id that its client makes: told again, it is booked once.

    Raises:
        BadAmount: a refund of nothing, or a cost below zero.
        SettingsError: nobody says why or who, or not in one printable line.
    """

    id: str
    attempt_id: str
    kind: Adjusts
    usd_pico: int
    """Of a refund what came back, above zero; of a correction what the attempt cost, zero or more."""
    why: str
    by: str
    at: datetime

    def __post_init__(self) -> None:
        least = 1 if self.kind is Adjusts.REFUND else 0
        if type(self.usd_pico) is not int or self.usd_pico < least:
            amount = Money.from_pico(self.usd_pico)
            wanted = "Give what came back, above zero." if least else "Give what it cost, zero or more."
            raise BadAmount(f"a {self.kind} of {amount} cannot be meant. {wanted}", amount=amount)
        one_line("why", self.why)
        one_line("by", self.by)

    @property
    def usd(self) -> Money:
        """The amount."""
        return Money.from_pico(self.usd_pico)

    @property
    def note(self) -> str:
        """What the attempt's event says about it."""
        said = f"{self.usd} refunded" if self.kind is Adjusts.REFUND else f"corrected to {self.usd}"
        return f"{said}, booked by {self.by}: {self.why}"


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What an adjustment did."""

    id: str
    """Its own; give it again to be sure that it was booked."""
    attempt_id: str
    before: Money
    """What the attempt stood at."""
    after: Money
    """What it stands at now."""
    run_id: str | None
    """The run that the attempt belongs to."""
    states: tuple[AccountState, ...] = ()
    """The balances of its hold after it; empty where nothing moved."""
    duplicate: bool = False
    """It was booked before; nothing moved."""

    @property
    def scope_key(self) -> str | None:
        """The run's key."""
        return None if self.run_id is None else f"run:{self.run_id}"

    @property
    def sentence(self) -> str:
        """It for a reader."""
        return f"attempt {self.attempt_id} stands at {self.after} instead of {self.before}"


def act_of(adjustment: Adjustment, done: Adjusted) -> GuardEvent:
    """The act of a person, under the adjustment's own id: the row by which it is known when it comes again."""
    return GuardEvent(
        adjustment.id,
        adjustment.at,
        "refunded" if adjustment.kind is Adjusts.REFUND else "corrected",
        done.run_id,
        done.scope_key,
        f"{done.sentence}: {adjustment.note}",
        {
            "attempt_id": adjustment.attempt_id,
            "kind": str(adjustment.kind),
            "usd": adjustment.usd.json(),
            "before": done.before.json(),
            "after": done.after.json(),
            "by": adjustment.by,
            "why": adjustment.why,
        },
    )


def told_before(adjustment: Adjustment, act: GuardEvent) -> Adjusted:
    """What an adjustment did when it came first, by the act that has its id.

    Raises:
        LedgerConflict: something else was booked under this id.
    """
    facts = act.facts
    asked = (adjustment.attempt_id, adjustment.kind, adjustment.usd.json())
    stands = tuple(facts.get(name, "nothing") for name in ("attempt_id", "kind", "usd"))
    if stands != asked:
        raise LedgerConflict(
            f"adjustment {adjustment.id} is known as {stands[1]} of ${stands[2]} on attempt {stands[0]} and came again "
            f"as {asked[1]} of ${asked[2]} on attempt {asked[0]}. The first one stands; give a new adjustment its own "
            "id.",
            adjustment_id=adjustment.id,
            stands=stands,
            came=asked,
        )
    before, after = Money(facts["before"]), Money(facts["after"])
    return Adjusted(adjustment.id, adjustment.attempt_id, before, after, act.run_id, duplicate=True)


def one_line(name: str, text: str) -> str:
    """A reason or a name as the books take it.

    Raises:
        SettingsError: it is blank, longer than 500 characters, or has line breaks or characters that nobody can see.
    """
    if not text.strip() or len(text) > _LINE_MAX or not text.isprintable():
        raise SettingsError(
            f"{name}={text[:_LINE_MAX]!r}: the books need one printable line of 1 to {_LINE_MAX} characters.",
            given=name,
        )
    return text


def adjusted(stands: Booking, adjustment: Adjustment) -> Booking:
    """The booking that stands after an adjustment; usage, lines and our own price of it stay.

    Raises:
        AdjustRefused: more is to come back than stands booked.
    """
    usd_pico, amounts = adjustment.usd_pico, stands.amounts
    computed = sum(line.amount_pico for line in stands.lines) if stands.lines else None
    computed = computed if stands.computed_pico is None else stands.computed_pico
    if adjustment.kind is Adjusts.CORRECTION:
        return replace(
            stands,
            quality=Quality.REPORTED,
            amounts=replace(amounts, usd_pico=usd_pico),
            stated_pico=usd_pico,
            computed_pico=computed,
            overrun=usd_pico > stands.ceiling_pico,
            note=adjustment.note,
        )
    if usd_pico > amounts.usd_pico:
        booked = Money.from_pico(amounts.usd_pico)
        raise AdjustRefused(
            f"attempt {adjustment.attempt_id} stands booked at {booked}, and {adjustment.usd} are to come back. Refund "
            f"{booked} or less; where it was booked too low, say what it cost with guard.correct(attempt_id, usd=...).",
            reason="too_much",
            attempt_id=adjustment.attempt_id,
            booked=booked,
            asked=adjustment.usd,
        )
    left = replace(amounts, usd_pico=amounts.usd_pico - usd_pico)
    return replace(stands, amounts=left, computed_pico=computed, note=adjustment.note)
