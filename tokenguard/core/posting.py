"""How balances move: what a hold, its end and a correction change, as values that both ledgers apply.

The in-memory ledger adds them to its balances, the SQL ledger writes them in its UPDATE and its transfers. So the
arithmetic of the books exists once, and tests/properties/test_small_model.py walks every interleaving of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from tokenguard.core.account import Amounts
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import AccountState, Ask

__all__ = ["ONE_STEP", "STEP", "ByUnit", "Posting", "charged", "corrected", "holding", "moved", "resolved"]

ByUnit: TypeAlias = tuple[int, int, int, int]
"""Changes of usd in pico-dollars, tokens, calls and steps; each may be negative."""

_PLACE: Final = {Unit.USD: 0, Unit.TOKENS: 1, Unit.CALLS: 2, Unit.STEPS: 3}
_NOTHING: Final = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Posting:
    """What one act changes on every account of its path."""

    held: ByUnit
    settled: ByUnit
    live: int
    """Change of the number of open holds."""

    def on(self, unit: Unit) -> tuple[int, int]:
        """Changes of (held, settled) on an account that counts `unit`."""
        place = _PLACE[unit]
        return self.held[place], self.settled[place]


def holding(amounts: Amounts) -> Posting:
    """A grant: its worst case is held."""
    return Posting(_four(amounts), _NOTHING, 1)


def resolved(held: Amounts, booked: Amounts) -> Posting:
    """The end of a hold: all of it is released, and what it came to is settled.

    A post books the truth, even above the hold; a void books nothing; a lease that ended books the hold itself.
    """
    return Posting(_difference(_NO_AMOUNTS, held), _four(booked), -1)


def charged(booked: Amounts) -> Posting:
    """A cost that was never held: a step, or money that was spent already."""
    return Posting(_NOTHING, _four(booked), 0)


def corrected(before: Amounts, after: Amounts) -> Posting:
    """The truth after an assumed charge: the difference."""
    return Posting(_NOTHING, _difference(after, before), 0)


def moved(state: AccountState, posting: Posting) -> AccountState:
    """The balance after a posting."""
    held, settled = posting.on(state.account.unit)
    return AccountState(state.account, state.cap, state.settled + settled, state.held + held, state.live + posting.live)


def _difference(after: Amounts, before: Amounts) -> ByUnit:
    """`after` − `before`."""
    return (
        after.usd_pico - before.usd_pico,
        after.tokens - before.tokens,
        after.calls - before.calls,
        after.steps - before.steps,
    )


_NO_AMOUNTS: Final = Amounts()


def _four(amounts: Amounts) -> ByUnit:
    return amounts.usd_pico, amounts.tokens, amounts.calls, amounts.steps


ONE_STEP: Final = Ask(calls=0, steps=1)
"""What the entry of a step asks for."""
STEP: Final = charged(ONE_STEP.amounts(0))
"""What it changes."""
