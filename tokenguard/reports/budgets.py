"""Budgets with what their windows have left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tokenguard.core.budget import Unit
from tokenguard.core.money import Money
from tokenguard.core.stops import amount_text
from tokenguard.reports.tables import Column, Table, visible

if TYPE_CHECKING:
    from tokenguard.ledger.accounts import BudgetState, StoredBudget

__all__ = ["budget_json", "budgets_table"]


def budgets_table(states: Sequence[BudgetState]) -> Table:
    """One row per cap, in the ledger's order."""
    columns = (
        Column("scope"),
        Column("per"),
        Column("cap", right=True),
        Column("settled", right=True),
        Column("held", right=True),
        Column("free", right=True),
        Column("set by"),
        Column("rolls at (UTC)"),
    )
    return Table(columns, tuple(_row(one) for one in states)).without_empty("held", "rolls at (UTC)")


def budget_json(one: BudgetState) -> dict[str, Any]:
    """One cap as JSON values; usd as decimal strings of dollars, other units as whole counts."""
    budget, state = one.budget, one.state
    amount = partial(_json_amount, budget.unit)
    ends_at = state.account.ends_at
    return {
        "scope": budget.scope_key,
        "label": budget.label,
        "unit": budget.unit.value,
        "per": budget.per,
        "tz": budget.tz,
        "cap": amount(state.cap),
        "declared": None if budget.declared is None else amount(budget.declared),
        "settled": amount(state.settled),
        "held": amount(state.held),
        "free": amount(state.free),
        "room": amount(state.room),
        "in_file": None if budget.in_file is None else amount(budget.in_file),
        "set_by": budget.set_by,
        "rolls_at": ends_at.isoformat() if ends_at else None,
    }


def _row(one: BudgetState) -> tuple[str, ...]:
    budget, state = one.budget, one.state
    zone = "" if budget.tz == "UTC" or state.account.ends_at is None else f" {budget.tz}"
    return (
        visible(budget.scope_key),
        f"{budget.per}{zone}",
        amount_text(budget.unit, state.cap),
        amount_text(budget.unit, state.settled),
        amount_text(budget.unit, state.held) if state.held else "",
        amount_text(budget.unit, state.free),
        _set_by(budget),
        f"{state.account.ends_at:%Y-%m-%d %H:%M}" if state.account.ends_at else "",
    )


def _set_by(budget: StoredBudget) -> str:
    """Whose cap is in force, and what it stands over: `person, over 50 in code`."""
    over = [
        (amount, where) for amount, where in ((budget.declared, "code"), (budget.in_file, "file")) if amount is not None
    ]
    over = [one for one in over if one[1] != budget.set_by]
    texts = ", ".join(f"{amount_text(budget.unit, amount)} in {where}" for amount, where in over)
    return f"{budget.set_by}, over {texts}" if texts else str(budget.set_by)


def _json_amount(unit: Unit, amount: int) -> str | int:
    return Money.from_pico(amount).json() if unit is Unit.USD else amount
