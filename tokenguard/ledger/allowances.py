"""A ledger that pays calls out of allowances: money leased in one transaction, spent in many calls without any.

Each call is written to a spool on this machine before it is sent. What was paid is told to the ledger twice a second,
or sooner where it is much; that exchange also hears of stops and lowered caps, and takes the next lease. docs/adr/0017.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tokenguard.core.account import Account, Scope
from tokenguard.core.adjusting import Adjusted, Adjustment
from tokenguard.core.books import Booking, Closure, Hold, NodeSpend, Settled, Source, SpendRow
from tokenguard.core.budget import Unit
from tokenguard.core.ports import Ledger
from tokenguard.core.tree import TooFast
from tokenguard.core.verdict import AccountState, Ask, Grant, Reason, Short
from tokenguard.errors import LedgerConflict
from tokenguard.ledger.conditions import Conditions, Lender
from tokenguard.ledger.forwarding import Forwarding
from tokenguard.ledger.heirs import Inherited, inherit
from tokenguard.ledger.purses import Purses
from tokenguard.ledger.spool import SUFFIX

__all__ = ["Allowances", "LendingLedger"]


class LendingLedger(Ledger, Lender, Protocol):
    """A ledger that leases."""


class Allowances(Forwarding):
    """Implements `core.ports.Ledger`: calls that fit an allowance are granted here, all others by the inner ledger.

    Args:
        inner: Where the books are.
        under: The conditions under which this process leases.
    """

    def __init__(self, inner: LendingLedger, under: Conditions) -> None:
        super().__init__(inner)
        self._lender, self._under = inner, under
        self._purses = Purses(inner, under)
        if any(under.folder.glob(f"*{SUFFIX}")):
            self.take_over()

    # ---- calls -----------------------------------------------------------------------------------------------------

    def reserve_at_once(self, hold: Hold, ask: Ask) -> Grant | None:
        """See `core.ports.Ledger.reserve_at_once`."""
        return self._purses.grant_at_once(hold, ask)

    def reserve(self, hold: Hold, ask: Ask) -> Grant | Short | Closure | TooFast:
        """See `core.ports.Ledger.reserve`."""
        if self._purses.knows(hold):
            grant = self._purses.grant_at_once(hold, ask) or self._purses.grant(hold, ask)
            return grant or self._judged(hold, ask)
        verdict = self._judged(hold, ask)
        if isinstance(verdict, Grant):
            self._purses.learn(hold, verdict)
        return verdict

    def _judged(self, hold: Hold, ask: Ask) -> Grant | Short | Closure | TooFast:
        """The ledger's own word. What this process has leased for other calls is nothing to wait for."""
        verdict = self.inner.reserve(hold, ask)
        if (
            isinstance(verdict, Short)
            and verdict.reason is Reason.BUSY
            and self._purses.spare(verdict.state.account.id)
        ):
            return self.inner.reserve(hold, ask)
        return verdict

    def settle_at_once(self, hold_id: str, booking: Booking) -> Settled | None:
        """See `core.ports.Ledger.settle_at_once`; `states` is empty, because the ledger hears of it later."""
        return Settled(()) if self._purses.settle(hold_id, booking) else None

    def settle(self, hold_id: str, booking: Booking) -> Settled:
        """See `core.ports.Ledger.settle`."""
        done = self.settle_at_once(hold_id, booking)
        if done is not None:
            return done
        try:
            return self.inner.settle(hold_id, booking)
        except LedgerConflict:
            if not self._purses.tell():
                raise
            return self.inner.settle(hold_id, booking)  # It was paid, and the ledger did not know yet.

    def keep(self, hold_id: str, booking: Booking) -> None:
        """See `core.ports.Ledger.keep`."""
        if not self._purses.keep(hold_id, booking):
            self.inner.keep(hold_id, booking)

    def renew(self, owner: str, hold_ids: Sequence[str], lease_s: float) -> None:
        """See `core.ports.Ledger.renew`; calls that an allowance paid live as long as its lease."""
        self.inner.renew(owner, self._purses.leases_of(tuple(hold_ids)), lease_s)

    # ---- what ends a lease early -----------------------------------------------------------------------------------

    def leave(self, node_id: str, *, outcome: str, at: datetime) -> None:
        """See `core.ports.Ledger.leave`; a run that ends gives back what it leased."""
        self._purses.give_back(lambda one: node_id in one.hold.run_ids)
        self.inner.leave(node_id, outcome=outcome, at=at)

    def close_run(self, closure: Closure) -> bool:
        """See `core.ports.Ledger.close_run`; in this process nothing more is granted from now on."""
        self._purses.shut(lambda one: closure.run_id in one.hold.run_ids)
        closed = self.inner.close_run(closure)
        self._purses.give_back(lambda one: closure.run_id in one.hold.run_ids)
        return closed

    def declare(self, scope: Scope, at: datetime, source: Source = Source.CODE) -> None:
        """See `core.ports.Ledger.declare`; what this process leased goes back, so that the caps bind at once."""
        self.inner.declare(scope, at, source)
        self._purses.give_back(lambda one: scope.key in one.hold.scope_keys)

    def set_cap(self, scope_key: str, unit: Unit, per: str, tz: str, cap: int, *, by: str, at: datetime) -> None:
        """See `core.ports.Ledger.set_cap`."""
        self.inner.set_cap(scope_key, unit, per, tz, cap, by=by, at=at)
        self._purses.give_back(lambda one: scope_key in one.hold.scope_keys)

    def unset_cap(
        self, scope_key: str, unit: Unit, per: str, tz: str, *, by: str, at: datetime, declared: bool = False
    ) -> bool:
        """See `core.ports.Ledger.unset_cap`."""
        unset = self.inner.unset_cap(scope_key, unit, per, tz, by=by, at=at, declared=declared)
        self._purses.give_back(lambda one: scope_key in one.hold.scope_keys)
        return unset

    def top_up(self, scope_key: str, unit: Unit, amount: int, *, by: str, at: datetime) -> tuple[AccountState, ...]:
        """See `core.ports.Ledger.top_up`."""
        states = self.inner.top_up(scope_key, unit, amount, by=by, at=at)
        self._purses.give_back(lambda one: scope_key in one.hold.scope_keys)
        return states

    # ---- reads: what was paid is told first ------------------------------------------------------------------------

    def tree(self, run_id: str) -> tuple[NodeSpend, ...]:
        """See `core.ports.Ledger.tree`."""
        self._purses.tell()
        return self.inner.tree(run_id)

    def lineage(self, run_id: str) -> tuple[NodeSpend, ...]:
        """See `core.ports.Ledger.lineage`."""
        self._purses.tell()
        return self.inner.lineage(run_id)

    def states(self, accounts: Sequence[Account], at: datetime | None = None) -> tuple[AccountState, ...]:
        """See `core.ports.Ledger.states`."""
        self._purses.tell()
        return self.inner.states(accounts, at)

    def spend(
        self, by: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[SpendRow, ...]:
        """See `core.ports.Ledger.spend`."""
        self._purses.tell()
        return self.inner.spend(by, since=since, until=until)

    def adjust(self, adjustment: Adjustment) -> Adjusted:
        """See `core.ports.Ledger.adjust`; what is adjusted may be what was just paid."""
        self._purses.tell()
        return self.inner.adjust(adjustment)

    # ---- ends ------------------------------------------------------------------------------------------------------

    def sweep(self, now: datetime | None = None) -> int:
        """See `core.ports.Ledger.sweep`; what dead processes of this machine wrote down is booked as it was first."""
        self.take_over()
        return self.inner.sweep(now)

    def take_over(self) -> Inherited:
        """Book what dead processes of this machine left, and give their leases back."""
        under = self._under
        told = under.listener.exchanged
        done = inherit(self._lender, under.folder, under.clock.now(), under.owner(), told)
        if done.away is not None:
            under.listener.failed(done.away)
        return done

    def relinquish(self) -> None:
        """See `core.ports.Ledger.relinquish`. Calls in flight become holds of their own."""
        self._purses.close()
        self.inner.relinquish()

    def dispose(self, *, forked: bool = False) -> None:
        """See `core.ports.Ledger.dispose`. A child has no part in its parent's leases."""
        if forked:
            self._purses = Purses(self._lender, self._under)
        else:
            self._purses.close()
        self.inner.dispose(forked=forked)
