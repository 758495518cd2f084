"""What an attempt came to, as both ledgers read it: assumed charges, token counts, when two bookings are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from tokenguard.core.account import Amounts
from tokenguard.core.books import Booking, Closure, Status
from tokenguard.core.usage import Quality
from tokenguard.errors import AdjustRefused, LedgerConflict, SettingsError

__all__ = [
    "DIMENSIONS",
    "Numbers",
    "assumed",
    "check_dimensions",
    "never_held",
    "not_there",
    "numbers_of",
    "other_numbers",
    "resolved_already",
    "still_open",
    "strongest_first",
    "tokens_of",
]

DIMENSIONS: Final = (
    "agent",
    "model",
    "provider",
    "scope",
    "run",
    "root",
    "day",
    "operation",
    "status",
    "quality",
    "mode",
    "prompt",
)
"""What `Ledger.spend` groups by, besides `label:<name>`."""

Numbers = tuple[str, str, tuple[int, ...], tuple[tuple[str, int, int, int], ...]]
"""Status, quality, amounts and lines: what makes two bookings of one attempt the same."""


def assumed(held: Amounts, kept: Booking | None, at: datetime) -> Booking:
    """The charge of a hold whose lease ended: its ceiling, because nobody could say less.

    Args:
        held: What was held.
        kept: What `Ledger.keep` was told, if anything; its facts stay on the row.
        at: When the lease was found ended.
    """
    if kept is None:
        note = "The lease ended and nobody settled: the process died or was cut off."
        return Booking(at, Status.LOST, Quality.ASSUMED, held, ceiling_pico=held.usd_pico, note=note)
    return replace(
        kept, at=at, quality=Quality.ASSUMED, amounts=held, usage=None, lines=(), stated_pico=None, computed_pico=None
    )


def tokens_of(booking: Booking, input_bound: int) -> tuple[int, int]:
    """Input and output tokens of a booking; without usage the charged tokens, the prompt's bound first.

    Together they are `booking.amounts.tokens` or, where the provider reported usage, its total.
    """
    if booking.usage is not None:
        return booking.usage.input_total, booking.usage.output_total
    tokens = booking.amounts.tokens
    within = min(tokens, input_bound)
    return within, tokens - within


def numbers_of(booking: Booking) -> Numbers:
    """What a second booking of the same attempt must repeat; times and notes may differ."""
    amounts = booking.amounts
    return (
        str(booking.status),
        str(booking.quality),
        (amounts.usd_pico, amounts.tokens, amounts.calls, amounts.steps),
        tuple((str(one.meter), one.quantity, one.rate_pico, one.amount_pico) for one in booking.lines),
    )


def strongest_first(closures: Sequence[Closure]) -> list[Closure]:
    """Closures of one run: those that only a person can end come before those that a raised cap ends."""
    return sorted(closures, key=lambda one: (one.account_id is not None, one.at, one.account_id or ""))


def check_dimensions(by: Sequence[str]) -> None:
    """Refuse a dimension that no row has.

    Raises:
        SettingsError: the name is unknown, or a label's name cannot be looked up.
    """
    for name in by:
        label = name.removeprefix("label:") if name.startswith("label:") else None
        if label is None and name not in DIMENSIONS:
            known = ", ".join(DIMENSIONS)
            raise SettingsError(
                f"{name!r} is not a dimension of spend. Choose from {known}, or label:<name>.", dimension=name
            )
        if label is not None and (not label or '"' in label or "\\" in label):
            raise SettingsError(
                f"{name!r} names no label: write label:<name>, without quotes or backslashes.", dimension=name
            )


def never_held(hold_id: str) -> LedgerConflict:
    """The refusal to settle what was never reserved."""
    return LedgerConflict(
        f"attempt {hold_id} has no hold in this ledger: it was never reserved here. Reserve before you settle.",
        attempt_id=hold_id,
        reserved=False,
    )


def other_numbers(hold_id: str, stands: Numbers, came: Numbers) -> LedgerConflict:
    """The refusal of a second booking with other numbers."""
    return LedgerConflict(
        f"attempt {hold_id} was booked as {stands[0]}/{stands[1]} {stands[2]} "
        f"and came again as {came[0]}/{came[1]} {came[2]} (pico-usd, tokens, calls, steps). "
        "The first booking stands; give a new attempt its own id.",
        attempt_id=hold_id,
        stands=stands,
        came=came,
    )


def resolved_already(hold_id: str) -> LedgerConflict:
    """The refusal to reserve under the id of an attempt that is over."""
    return LedgerConflict(
        f"attempt {hold_id} was resolved already and cannot hold again. Give a new attempt its own id.",
        attempt_id=hold_id,
    )


def still_open(attempt_id: str) -> AdjustRefused:
    """The refusal to adjust what is not settled."""
    return AdjustRefused(
        f"attempt {attempt_id} is not settled yet: its hold is open. Wait until its call ends, or until `tokenguard "
        "sweep` charges what a dead process held, and try again.",
        reason="open",
        attempt_id=attempt_id,
    )


def not_there(attempt_id: str, pruned: str | None) -> AdjustRefused:
    """The refusal to adjust what the books do not have, or have no more.

    Args:
        attempt_id: As it was asked for.
        pruned: The month, as `YYYY-MM`, before which facts were pruned.
    """
    if pruned is None:
        return AdjustRefused(
            f"there is no attempt {attempt_id!r} in this ledger. Its id is `tg.receipt_of(reply).attempt_id`, and "
            "`attempt_id` of its Settlement event.",
            reason="unknown",
            attempt_id=attempt_id,
        )
    return AdjustRefused(
        f"there is no attempt {attempt_id!r} in this ledger, whose single calls from before {pruned} were pruned. Such "
        "a month is closed: book what comes back for it outside, or restore a copy from before the pruning.",
        reason="pruned",
        attempt_id=attempt_id,
        pruned_before=pruned,
    )
