"""Budgets and balances in memory: the caps that a call must fit, and how they change. Not thread-safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

from tokenguard.core.account import Account, Scope, account_id
from tokenguard.core.books import Source
from tokenguard.core.budget import Unit
from tokenguard.core.posting import Posting
from tokenguard.core.rolling import SLICES, counted_from, is_rolling, room_at, slice_at
from tokenguard.core.verdict import AccountState, Ask, Reason, Short, kept_back
from tokenguard.ledger.accounts import (
    BudgetState,
    Opening,
    StoredBudget,
    Windows,
    check_cap,
    declared_budgets,
    is_open,
    openings_for,
    person_budget,
    redeclared,
    undeclared,
    without_person,
)

__all__ = ["Balance", "Caps"]

_KEEP_WINDOWS: Final = 4_096
_LATE: Final = timedelta(days=1)
"""How long the balance of a window that is over is kept for late settlements."""


class Balance:
    """A balance row; amounts in the account's unit."""

    __slots__ = ("__weakref__", "_slices", "account", "cap", "held", "live", "settled")

    def __init__(self, account: Account, cap: int) -> None:
        self.account = account
        self.cap = cap
        self.settled = self.held = self.live = 0
        self._slices: dict[datetime, int] | None = {} if is_rolling(account.per) else None
        """What the holds of each slice of time settled; None: no rolling window."""

    def move(self, posting: Posting, held_at: datetime) -> None:
        """Change it as `core.posting.moved` does, in place; what settles goes to the window that held the hold."""
        held, settled = posting.on(self.account.unit)
        self.held += held
        self.live += posting.live
        if settled:
            self.settle(settled, held_at)

    def settle(self, amount: int, held_at: datetime) -> None:
        """Settle, in the window that held the hold."""
        self.settled += amount
        if self._slices is not None:
            start = slice_at(self.account.per, held_at)
            self._slices[start] = self._slices.get(start, 0) + amount
            if len(self._slices) > 4 * SLICES:
                self._forget_slices()

    def state(self, at: datetime) -> AccountState:
        """It as a value, with what counts at `at`."""
        settled = self.settled if self._slices is None else sum(amount for _, amount in self.slices(at))
        return AccountState(self.account, self.cap, settled, self.held, self.live)

    def slices(self, at: datetime) -> list[tuple[datetime, int]]:
        """The slices of a rolling window that count at `at`, oldest first."""
        since = counted_from(self.account.per, at)
        return sorted(one for one in (self._slices or {}).items() if one[0] >= since)

    def _forget_slices(self) -> None:
        """Keep the newest two windows' worth."""
        assert self._slices is not None, "asked only where there are some"
        self._slices = dict(sorted(self._slices.items())[-2 * SLICES :])


class Caps:
    """Stored budgets by scope, balances by account."""

    def __init__(self) -> None:
        self._windows = Windows()
        self._budgets: dict[str, dict[tuple[str, str, str, str], StoredBudget]] = {}
        self._balances: dict[str, Balance] = {}
        self._by_scope: dict[str, list[str]] = {}
        """Balances of single runs, so that they go when the run is forgotten."""
        self._forgotten: WeakValueDictionary[str, Balance] = WeakValueDictionary()
        """Balances of forgotten runs that are held on: kept by those attempts, and gone with the last one."""

    def __len__(self) -> int:
        return len(self._balances) + len(self._forgotten)

    def path(self, accounts: Sequence[Account], scope_keys: Sequence[str], at: datetime) -> tuple[Balance, ...]:
        """Balances of every account that must be fit at `at`, outermost scope first."""
        stored = [one for key in scope_keys if key in self._budgets for one in self._budgets[key].values()]
        openings = openings_for(accounts, scope_keys, stored, at, self._windows)
        return tuple([self.balance(opening) for opening in openings])

    def balance(self, opening: Opening) -> Balance:
        """The balance of an account, opened where it is not there yet."""
        balance = self._balances.get(opening.account.id)
        if balance is None:
            balance = self._forgotten.get(opening.account.id)
        if balance is None:
            if len(self._balances) >= _KEEP_WINDOWS and opening.account.ends_at is not None:
                self._forget_windows(opening.account.ends_at - _LATE)
            balance = self._balances[opening.account.id] = Balance(opening.account, opening.cap)
            if opening.account.scope_key.startswith("run:"):
                self._by_scope.setdefault(opening.account.scope_key, []).append(opening.account.id)
        return balance

    def with_room(self, short: Short, ask: Ask, at: datetime) -> Short:
        """A verdict with the instant at which a rolling window will have room."""
        account = short.state.account
        if short.reason is not Reason.SPENT or not is_rolling(account.per):
            return short
        balance = self._balances.get(account.id) or self._forgotten[account.id]
        missing = short.asked - short.state.free + kept_back(short.state, ask)
        return replace(short, retry_at=room_at(account.per, balance.slices(at), missing))

    def declare(self, scope: Scope, at: datetime, source: Source = Source.CODE) -> None:
        """Replace what the code or the file declared before; a scope without budgets changes nothing."""
        declared = {one.key: one for one in declared_budgets(scope, source)}
        if not declared:
            return
        stored = self._budgets.setdefault(scope.key, {})
        for key in [*stored, *(key for key in declared if key not in stored)]:
            before, new = stored.get(key), declared.get(key)
            after = redeclared(before, new) if new is not None else undeclared(stored[key], source)
            if after is None:
                del stored[key]
            else:
                stored[key] = after
                changed = before is None or before.beneath != after.beneath
                self._refresh(after, at, cap=after.cap if changed else None)

    def set_cap(self, scope_key: str, *, unit: Unit, per: str, tz: str, cap: int, at: datetime) -> set[str]:
        """Set a cap as a person; the id of its account where that was raised."""
        per = check_cap(unit, per, tz, cap)
        stored = self._budgets.setdefault(scope_key, {})
        old = stored.get((scope_key, unit, per, tz))
        budget = person_budget(old, scope_key, unit=unit, per=per, tz=tz, cap=cap)
        stored[budget.key] = budget
        return self._put(budget, at)

    def unset_cap(
        self, scope_key: str, *, unit: Unit, per: str, tz: str, declared: bool, at: datetime
    ) -> tuple[StoredBudget, StoredBudget | None, set[str]] | None:
        """Take a person's cap back, or forget the budget; as it was, as it is, and accounts that were raised by it."""
        stored = self._budgets.get(scope_key, {})
        old = stored.get((scope_key, unit, per, tz))
        if old is None or not (declared or old.set_by == Source.PERSON):
            return None
        budget = None if declared else without_person(old)
        if budget is None:
            del stored[old.key]
            return old, None, {old.account_in(self._windows.at(old.per, old.tz, at)).id}
        stored[old.key] = budget
        return old, budget, self._put(budget, at)

    def _put(self, budget: StoredBudget, at: datetime) -> set[str]:
        """Bring the open window to a budget's cap; the id of its account where that was raised."""
        account = budget.account_in(self._windows.at(budget.per, budget.tz, at))
        before = self._balances[account.id].cap if account.id in self._balances else budget.cap
        self._refresh(budget, at, cap=budget.cap)
        return {account.id} if budget.cap > before else set()

    def top_up(self, scope_key: str, unit: Unit, amount: int, at: datetime) -> tuple[AccountState, ...]:
        """Raise the scope's open windows; their states, by account id."""
        for budget in self._budgets.get(scope_key, {}).values():
            if budget.unit is unit:
                window = self._windows.at(budget.per, budget.tz, at)
                self.balance(Opening(budget.account_in(window), budget.cap))
        raised = [
            one
            for one in self._balances.values()
            if one.account.scope_key == scope_key and one.account.unit is unit and is_open(one.account, at)
        ]
        for balance in raised:
            balance.cap += amount
        return tuple(one.state(at) for one in sorted(raised, key=lambda one: one.account.id))

    def state(self, account: Account, at: datetime) -> AccountState:
        """The account's balance; one never used shows the cap it would open with."""
        known = self._balances.get(account.id) or self._forgotten.get(account.id)
        if known is not None:
            return known.state(at)
        for one in self._budgets.get(account.scope_key, {}).values():
            if account_id(one.scope_key, one.unit, one.per, one.tz, account.bucket) == account.id:
                return AccountState(account, one.cap, 0, 0, 0)
        return AccountState(account, account.cap, 0, 0, 0)

    def budgets(self, at: datetime) -> tuple[BudgetState, ...]:
        """Every stored budget with the balance of its window at `at`."""
        stored = [one for group in self._budgets.values() for one in group.values()]
        return tuple(
            BudgetState(one, self.state(one.account_in(self._windows.at(one.per, one.tz, at)), at))
            for one in sorted(stored, key=lambda one: one.key)
        )

    def forget(self, scope_key: str) -> None:
        """Drop what belongs to a run that is over and forgotten; a balance that is held on goes with its last hold."""
        self._budgets.pop(scope_key, None)
        for key in self._by_scope.pop(scope_key, ()):
            balance = self._balances.pop(key, None)
            if balance is not None and balance.live:
                self._forgotten[key] = balance

    def _forget_windows(self, before: datetime) -> None:
        """Drop balances of windows that ended a day ago, once there are thousands."""
        for key, one in list(self._balances.items()):
            if one.live == 0 and one.account.ends_at is not None and one.account.ends_at < before:
                del self._balances[key]

    def _refresh(self, budget: StoredBudget, at: datetime, *, cap: int | None) -> None:
        """Bring the balance of a budget's open window up to a new declaration or cap, and open it as SQL does."""
        fresh = budget.account_in(self._windows.at(budget.per, budget.tz, at))
        balance = self.balance(Opening(fresh, budget.cap))
        balance.account = fresh
        if cap is not None:
            balance.cap = cap
