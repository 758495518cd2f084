"""Budgets that bind everybody: what code declares, what a person sets, and top-ups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from tokenguard.core.account import Account, Scope
from tokenguard.core.books import GuardEvent, Source
from tokenguard.core.budget import Unit
from tokenguard.core.ids import Ids
from tokenguard.core.verdict import AccountState
from tokenguard.ledger import schema
from tokenguard.ledger.accounts import (
    Opening,
    StoredBudget,
    Windows,
    check_cap,
    check_top_up,
    declared_budgets,
    is_open,
    person_budget,
    redeclared,
    spoken,
    undeclared,
    unset_sentence,
    without_person,
)
from tokenguard.ledger.closing import end_closures, record
from tokenguard.ledger.postings import check_size, lock, open_balances
from tokenguard.ledger.rows import budget_of, budget_row
from tokenguard.ledger.slices import in_window
from tokenguard.ledger.statements import BUDGET_COLUMNS, one_of
from tokenguard.ledger.tx import Tx

__all__ = ["declare", "set_cap", "top_up", "unset_cap"]


def declare(tx: Tx, scope: Scope, at: datetime, windows: Windows, source: Source = Source.CODE) -> None:
    """See `core.ports.Ledger.declare`. A scope without budgets declares nothing and changes nothing."""
    declared = {one.key: one for one in declared_budgets(scope, source)}
    if not declared:
        return
    stored = {one.key: one for one in _stored(tx, scope.key)}
    # Balances in canonical order, like every other lock.
    for any_one in sorted({**stored, **declared}.values(), key=lambda one: _account(one, at, windows).id):
        before, new = stored.get(any_one.key), declared.get(any_one.key)
        after = redeclared(before, new) if new is not None else undeclared(stored[any_one.key], source)
        if after is None:
            tx.write(sa.delete(schema.budget).where(*_key(any_one)))
        elif after != before:
            _store(tx, after, at, known=before is not None)
            changed = before is None or before.beneath != after.beneath
            _refresh(tx, after, at, windows, cap=after.cap if changed else None)


def set_cap(
    tx: Tx,
    scope_key: str,
    *,
    unit: Unit,
    per: str,
    tz: str,
    cap: int,
    by: str,
    at: datetime,
    windows: Windows,
    ids: Ids,
) -> None:
    """See `core.ports.Ledger.set_cap`; ends closures of that cap where it is raised."""
    per = check_cap(unit, per, tz, cap)
    old = next((one for one in _stored(tx, scope_key) if (one.unit, one.per, one.tz) == (unit, per, tz)), None)
    budget = person_budget(old, scope_key, unit=unit, per=per, tz=tz, cap=cap)
    _store(tx, budget, at, known=old is not None)
    _put(tx, budget, at, windows, by=by)
    sentence = f"{by} set {unit} per {per} of {scope_key} to {spoken(unit, cap)}."
    record(tx, GuardEvent(ids.new(), at, "cap_set", None, scope_key, sentence, {"by": by, "cap": str(cap)}))


def unset_cap(
    tx: Tx,
    scope_key: str,
    *,
    unit: Unit,
    per: str,
    tz: str,
    declared: bool,
    by: str,
    at: datetime,
    windows: Windows,
    ids: Ids,
) -> bool:
    """See `core.ports.Ledger.unset_cap`; ends closures of that cap where it is raised by this."""
    old = next((one for one in _stored(tx, scope_key) if (one.unit, one.per, one.tz) == (unit, per, tz)), None)
    if old is None or not (declared or old.set_by == Source.PERSON):
        return False
    budget = None if declared else without_person(old)
    if budget is None:
        tx.write(sa.delete(schema.budget).where(*_key(old)))
        end_closures(tx, [_account(old, at, windows).id], by=by, why="cap removed", at=at)
    else:
        _store(tx, budget, at, known=True)
        _put(tx, budget, at, windows, by=by)
    record(tx, GuardEvent(ids.new(), at, "cap_unset", None, scope_key, unset_sentence(by, old, budget), {"by": by}))
    return True


def top_up(
    tx: Tx, scope_key: str, unit: Unit, amount: int, *, by: str, at: datetime, windows: Windows, ids: Ids
) -> tuple[AccountState, ...]:
    """See `core.ports.Ledger.top_up`; the states come in the order of their account ids."""
    check_top_up(unit, amount)
    budgets = [one for one in _stored(tx, scope_key) if one.unit is unit]
    openings = [Opening(one.account_in(windows.at(one.per, one.tz, at)), one.cap) for one in budgets]
    open_balances(tx, openings, keeps_locks=True)
    row = schema.balance.c
    ids_found = tx.select(sa.select(row.id).where(row.scope_key == scope_key, row.unit == str(unit)).order_by(row.id))
    states = [one for one in lock(tx, [found[0] for found in ids_found]) if is_open(one.account, at)]
    if not states:
        return ()
    for state in states:
        check_size(tx, unit, state.cap + amount)
        tx.write(sa.update(schema.balance).where(row.id == state.account.id).values(cap=state.cap + amount))
    end_closures(tx, [one.account.id for one in states], by=by, why=f"raised by {spoken(unit, amount)}", at=at)
    sentence = f"{by} raised {unit} of {scope_key} by {spoken(unit, amount)}."
    record(tx, GuardEvent(ids.new(), at, "topped_up", None, scope_key, sentence, {"by": by, "amount": str(amount)}))
    return in_window(tx, [replace(one, cap=one.cap + amount) for one in states], at)


def _stored(tx: Tx, scope_key: str) -> Iterable[StoredBudget]:
    clause = sa.select(*BUDGET_COLUMNS).where(one_of(schema.budget.c.scope_key, [scope_key])).with_for_update()
    return [budget_of(row) for row in tx.select(clause)]


def _store(tx: Tx, budget: StoredBudget, at: datetime, *, known: bool) -> None:
    check_size(tx, budget.unit, budget.cap)
    row = budget_row(budget, at)
    if known:
        tx.write(sa.update(schema.budget).where(*_key(budget)).values(**row))
    else:
        tx.run(tx.statements.insert(schema.budget), row)


def _put(tx: Tx, budget: StoredBudget, at: datetime, windows: Windows, *, by: str) -> None:
    """Bring the open window to a budget's cap; what that cap had closed goes on where it is raised."""
    before = lock(tx, [_account(budget, at, windows).id])
    _refresh(tx, budget, at, windows, cap=budget.cap)
    if before and budget.cap > before[0].cap:
        why = f"cap set to {spoken(budget.unit, budget.cap)}"
        end_closures(tx, [before[0].account.id], by=by, why=why, at=at)


def _account(budget: StoredBudget, at: datetime, windows: Windows) -> Account:
    return budget.account_in(windows.at(budget.per, budget.tz, at))


def _key(budget: StoredBudget) -> tuple[sa.ColumnElement[bool], ...]:
    row = schema.budget.c
    return (
        row.scope_key == budget.scope_key,
        row.unit == str(budget.unit),
        row.per == budget.per,
        row.tz == budget.tz,
    )


def _refresh(tx: Tx, budget: StoredBudget, at: datetime, windows: Windows, *, cap: int | None) -> None:
    """Bring the balance of a budget's open window up to a new declaration or cap.

    It is opened where it is not there: a reservation that read the budget before this change, and opens the balance
    after it, would write the cap that it read.
    """
    fresh = _account(budget, at, windows)
    open_balances(tx, [Opening(fresh, budget.cap)])
    changes: dict[str, object] = {
        "label": fresh.scope_label,
        "declared": fresh.cap,
        "warn_at": fresh.warn_at,
        "reserve_final_pico": fresh.reserve_final_pico,
        "allowance_pico": fresh.allowance_pico,
    }
    if cap is not None:
        changes["cap"] = cap
    tx.write(sa.update(schema.balance).where(schema.balance.c.id == fresh.id).values(**changes))
