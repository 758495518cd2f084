"""A ledger that hands everything on: the base of ledgers that change one thing about another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tokenguard.core.account import Account, Scope
from tokenguard.core.adjusting import Adjusted, Adjustment
from tokenguard.core.books import Booking, Closure, Entry, GuardEvent, Hold, NodeSpend, Settled, Source, SpendRow
from tokenguard.core.budget import Unit
from tokenguard.core.looping import LoopSpend
from tokenguard.core.ports import Ledger
from tokenguard.core.recovery import StoredText
from tokenguard.core.savings import Saving, SavingBy, SavingSpend
from tokenguard.core.tree import Crowded, TooFast
from tokenguard.core.verdict import AccountState, Ask, Grant, Short

__all__ = ["Forwarding"]


class Forwarding:
    """Implements `core.ports.Ledger` by another one."""

    def __init__(self, inner: Ledger) -> None:
        self.inner = inner
        self.name = inner.name
        self.inline = inner.inline

    def enter(self, entry: Entry) -> Short | Closure | Crowded | None:
        """See `core.ports.Ledger.enter`."""
        return self.inner.enter(entry)

    def leave(self, node_id: str, *, outcome: str, at: datetime) -> None:
        """See `core.ports.Ledger.leave`."""
        self.inner.leave(node_id, outcome=outcome, at=at)

    def reserve(self, hold: Hold, ask: Ask) -> Grant | Short | Closure | TooFast:
        """See `core.ports.Ledger.reserve`."""
        return self.inner.reserve(hold, ask)

    def reserve_at_once(self, hold: Hold, ask: Ask) -> Grant | None:
        """See `core.ports.Ledger.reserve_at_once`."""
        return self.inner.reserve_at_once(hold, ask)

    def settle_at_once(self, hold_id: str, booking: Booking) -> Settled | None:
        """See `core.ports.Ledger.settle_at_once`."""
        return self.inner.settle_at_once(hold_id, booking)

    def settle(self, hold_id: str, booking: Booking) -> Settled:
        """See `core.ports.Ledger.settle`."""
        return self.inner.settle(hold_id, booking)

    def keep(self, hold_id: str, booking: Booking) -> None:
        """See `core.ports.Ledger.keep`."""
        self.inner.keep(hold_id, booking)

    def renew(self, owner: str, hold_ids: Sequence[str], lease_s: float) -> None:
        """See `core.ports.Ledger.renew`."""
        self.inner.renew(owner, hold_ids, lease_s)

    def charge(self, hold: Hold, booking: Booking) -> Settled:
        """See `core.ports.Ledger.charge`."""
        return self.inner.charge(hold, booking)

    def adjust(self, adjustment: Adjustment) -> Adjusted:
        """See `core.ports.Ledger.adjust`."""
        return self.inner.adjust(adjustment)

    def sweep(self, now: datetime | None = None) -> int:
        """See `core.ports.Ledger.sweep`."""
        return self.inner.sweep(now)

    def declare(self, scope: Scope, at: datetime, source: Source = Source.CODE) -> None:
        """See `core.ports.Ledger.declare`."""
        self.inner.declare(scope, at, source)

    def set_cap(self, scope_key: str, unit: Unit, per: str, tz: str, cap: int, *, by: str, at: datetime) -> None:
        """See `core.ports.Ledger.set_cap`."""
        self.inner.set_cap(scope_key, unit, per, tz, cap, by=by, at=at)

    def unset_cap(
        self, scope_key: str, unit: Unit, per: str, tz: str, *, by: str, at: datetime, declared: bool = False
    ) -> bool:
        """See `core.ports.Ledger.unset_cap`."""
        return self.inner.unset_cap(scope_key, unit, per, tz, by=by, at=at, declared=declared)

    def top_up(self, scope_key: str, unit: Unit, amount: int, *, by: str, at: datetime) -> tuple[AccountState, ...]:
        """See `core.ports.Ledger.top_up`."""
        return self.inner.top_up(scope_key, unit, amount, by=by, at=at)

    def close_run(self, closure: Closure) -> bool:
        """See `core.ports.Ledger.close_run`."""
        return self.inner.close_run(closure)

    def reopen(self, run_id: str, *, by: str, why: str, at: datetime) -> bool:
        """See `core.ports.Ledger.reopen`."""
        return self.inner.reopen(run_id, by=by, why=why, at=at)

    def lineage(self, run_id: str) -> tuple[NodeSpend, ...]:
        """See `core.ports.Ledger.lineage`."""
        return self.inner.lineage(run_id)

    def secret(self) -> bytes:
        """See `core.ports.Ledger.secret`."""
        return self.inner.secret()

    def closures(self, run_ids: Sequence[str]) -> tuple[Closure, ...]:
        """See `core.ports.Ledger.closures`."""
        return self.inner.closures(run_ids)

    def states(self, accounts: Sequence[Account], at: datetime | None = None) -> tuple[AccountState, ...]:
        """See `core.ports.Ledger.states`."""
        return self.inner.states(accounts, at)

    def record(self, event: GuardEvent) -> None:
        """See `core.ports.Ledger.record`."""
        self.inner.record(event)

    def remember(self, run_id: str, state: Mapping[str, Any], at: datetime) -> None:
        """See `core.ports.Ledger.remember`."""
        self.inner.remember(run_id, state, at)

    def recall(self, run_id: str) -> Mapping[str, Any] | None:
        """See `core.ports.Ledger.recall`."""
        return self.inner.recall(run_id)

    def loops(
        self, run_ids: Sequence[str] | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[LoopSpend, ...]:
        """See `core.ports.Ledger.loops`."""
        return self.inner.loops(run_ids, since=since, until=until)

    def store_texts(self, texts: Sequence[StoredText]) -> None:
        """See `core.prompt_books.PromptBooks.store_texts`."""
        self.inner.store_texts(texts)

    def find_text(self, marker: str, *, root_id: str | None) -> str | None:
        """See `core.prompt_books.PromptBooks.find_text`."""
        return self.inner.find_text(marker, root_id=root_id)

    def keep_folding(self, run_id: str, state: Mapping[str, Any], *, at: datetime, until: datetime) -> None:
        """See `core.prompt_books.PromptBooks.keep_folding`."""
        self.inner.keep_folding(run_id, state, at=at, until=until)

    def folding_of(self, run_id: str) -> Mapping[str, Any] | None:
        """See `core.prompt_books.PromptBooks.folding_of`."""
        return self.inner.folding_of(run_id)

    def note_savings(self, savings: Sequence[Saving]) -> None:
        """See `core.prompt_books.PromptBooks.note_savings`."""
        self.inner.note_savings(savings)

    def savings(
        self,
        by: SavingBy = "stage",
        *,
        run_ids: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[SavingSpend, ...]:
        """See `core.prompt_books.PromptBooks.savings`."""
        return self.inner.savings(by, run_ids=run_ids, since=since, until=until)

    def tree(self, run_id: str) -> tuple[NodeSpend, ...]:
        """See `core.ports.Ledger.tree`."""
        return self.inner.tree(run_id)

    def spend(
        self, by: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[SpendRow, ...]:
        """See `core.ports.Ledger.spend`."""
        return self.inner.spend(by, since=since, until=until)

    def relinquish(self) -> None:
        """See `core.ports.Ledger.relinquish`."""
        self.inner.relinquish()

    def dispose(self, *, forked: bool = False) -> None:
        """See `core.ports.Ledger.dispose`."""
        self.inner.dispose(forked=forked)
