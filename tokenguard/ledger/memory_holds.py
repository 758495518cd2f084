"""Holds in memory: open ones, how the others ended, and what is booked on those afterwards."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tokenguard.core.adjusting import Adjusted, Adjustment, act_of, adjusted, told_before
from tokenguard.core.books import Booking, GuardEvent, Hold, Settled
from tokenguard.core.money import Money
from tokenguard.core.posting import corrected
from tokenguard.core.verdict import AccountState, Grant
from tokenguard.ledger.memory_caps import Balance
from tokenguard.ledger.outcomes import never_held, not_there, numbers_of, other_numbers
from tokenguard.ledger.totals import Totals

__all__ = ["Open", "Resolved", "ResolvedHolds"]

_KEEP: Final = 10_000


class Open:
    """A hold that is not resolved."""

    __slots__ = ("balances", "grant", "hold", "input_bound", "kept", "lease_until")

    def __init__(
        self, hold: Hold, grant: Grant, balances: tuple[Balance, ...], input_bound: int, now: datetime
    ) -> None:
        self.hold = hold
        self.grant = grant
        self.balances = balances
        self.input_bound = input_bound
        self.lease_until = now + (hold.lease_until - hold.at)
        self.kept: Booking | None = None


@dataclass(slots=True)
class Resolved:
    """How a hold ended, and what was said of it since."""

    hold: Hold
    booking: Booking
    """What stands."""
    balances: tuple[Balance, ...]
    input_bound: int
    settled: Booking | None
    """As it was settled, before any adjustment; None: its lease ended, and it was only assumed so far."""
    late: bool = False
    """Its lease ended before anybody settled it."""

    def restate(self, true: Booking, totals: Totals) -> None:
        """Book the difference to the windows of the hold, and the truth to the minute of what stood before."""
        before, posting = self.booking, corrected(self.booking.amounts, true.amounts)
        for balance in self.balances:
            balance.move(posting, self.hold.at)
        totals.add(self.hold.facts, before, self.input_bound, sign=-1)
        self.booking = replace(true, at=before.at)
        totals.add(self.hold.facts, self.booking, self.input_bound)

    def states(self, at: datetime) -> tuple[AccountState, ...]:
        """Its balances."""
        return tuple([one.state(at) for one in self.balances])

    def settle_again(self, booking: Booking, totals: Totals) -> Settled:
        """A second booking: the same, another, or the truth after an assumed charge."""
        stands, came = numbers_of(self.settled or self.booking), numbers_of(booking)
        if stands == came:
            return Settled(self.states(booking.at), duplicate=True, late=self.late)
        if self.settled is not None:
            raise other_numbers(self.hold.id, stands, came)
        self.restate(booking, totals)
        self.settled = booking
        return Settled(self.states(booking.at), late=True)

    def adjust(self, adjustment: Adjustment, totals: Totals) -> Adjusted:
        """A refund or a correction of what stands."""
        true = adjusted(self.booking, adjustment)
        before, after = (Money.from_pico(one.amounts.usd_pico) for one in (self.booking, true))
        self.restate(true, totals)
        run_id = self.hold.facts.run_id
        return Adjusted(adjustment.id, self.hold.id, before, after, run_id, self.states(adjustment.at))


class ResolvedHolds:
    """The last 10,000 holds that ended, and the last 10,000 adjustments. Not thread-safe."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._by_id: OrderedDict[str, Resolved] = OrderedDict()
        self._acts: OrderedDict[str, GuardEvent] = OrderedDict()

    def __contains__(self, hold_id: str) -> bool:
        return hold_id in self._by_id

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, hold_id: str) -> Resolved | None:
        """How a hold ended; None: it did not, or is forgotten."""
        return self._by_id.get(hold_id)

    def add(self, resolved: Resolved) -> None:
        """Remember how a hold ended."""
        self._by_id[resolved.hold.id] = resolved
        if len(self._by_id) > _KEEP:
            self._by_id.popitem(last=False)

    def settle_again(self, hold_id: str, booking: Booking) -> Settled:
        """A second booking, or one of a hold that never was."""
        known = self._by_id.get(hold_id)
        if known is None:
            raise never_held(hold_id)
        return known.settle_again(booking, self._totals)

    def adjust(self, adjustment: Adjustment) -> tuple[Adjusted, GuardEvent | None]:
        """See `core.ports.Ledger.adjust`; and the act to write down, where it is new."""
        told = self._acts.get(adjustment.id)
        if told is not None:
            return told_before(adjustment, told), None
        known = self._by_id.get(adjustment.attempt_id)
        if known is None:
            raise not_there(adjustment.attempt_id, None)
        done = known.adjust(adjustment, self._totals)
        act = self._acts[adjustment.id] = act_of(adjustment, done)
        if len(self._acts) > _KEEP:
            self._acts.popitem(last=False)
        return done, act
