"""`guard.refund` and `guard.correct`: what a provider paid back, and what it billed, on an attempt that is booked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenguard.calls.acts import who
from tokenguard.core import events
from tokenguard.core.adjusting import Adjusted, Adjustment, Adjusts
from tokenguard.core.money import Money

if TYPE_CHECKING:
    from tokenguard.calls.parts import LateParts
    from tokenguard.core.money import UsdLike

__all__ = ["Corrections"]


class Corrections:
    """The part of a guard that adjusts what is booked."""

    _late: LateParts

    def refund(
        self,
        attempt_id: str,
        *,
        usd: UsdLike | Money,
        why: str,
        by: str | None = None,
        adjustment_id: str | None = None,
    ) -> Adjusted:
        """Book money that came back from the provider for one attempt, in the budgets and the windows that paid for it.

        Args:
            attempt_id: `tg.receipt_of(reply).attempt_id`.
            usd: What came back, above zero and at most what stands booked.
            why: The reason, for the books.
            by: Who does it; None: the user of this process.
            adjustment_id: Makes a repetition harmless: the same id with the same amount is booked once.

        Raises:
            AdjustRefused: the attempt is open, unknown or pruned, or less stands booked.
            LedgerConflict: `adjustment_id` was used with other numbers.
            LedgerUnavailable: nothing was written.
        """
        return self._adjust(Adjusts.REFUND, attempt_id, Money(usd), why=why, by=by, adjustment_id=adjustment_id)

    def correct(
        self,
        attempt_id: str,
        *,
        usd: UsdLike | Money,
        why: str,
        by: str | None = None,
        adjustment_id: str | None = None,
    ) -> Adjusted:
        """Book what one attempt truly cost, as the provider billed it: more or less than is booked, also above a cap.

        Args:
            attempt_id: `tg.receipt_of(reply).attempt_id`.
            usd: What it cost in all, zero or more.
            why: The reason, for the books.
            by: Who does it; None: the user of this process.
            adjustment_id: Makes a repetition harmless: the same id with the same amount is booked once.

        Raises:
            AdjustRefused: the attempt is open, unknown or pruned.
            LedgerConflict: `adjustment_id` was used with other numbers.
            LedgerUnavailable: nothing was written.
        """
        return self._adjust(Adjusts.CORRECTION, attempt_id, Money(usd), why=why, by=by, adjustment_id=adjustment_id)

    def _adjust(
        self, kind: Adjusts, attempt_id: str, usd: Money, *, why: str, by: str | None, adjustment_id: str | None
    ) -> Adjusted:
        parts = self._late.get()
        adjustment = Adjustment(
            parts.ids.new() if adjustment_id is None else adjustment_id,
            attempt_id,
            kind,
            usd.pico,
            why,
            who() if by is None else by,
            parts.clock.now(),
        )
        done = parts.ledger.adjust(adjustment)
        if not done.duplicate:
            parts.lines.room_made(state.account.id for state in done.states)
            parts.emit(
                events.Adjusted(
                    at=adjustment.at,
                    run_id=done.run_id,
                    scope_key=done.scope_key,
                    sentence=f"{done.sentence}: {adjustment.note}.",
                    adjustment_id=done.id,
                    attempt_id=attempt_id,
                    kind=str(kind),
                    before=done.before,
                    after=done.after,
                    why=why,
                    by=adjustment.by,
                )
            )
        return done
