"""Entering nodes and holding money: the transactions that may say no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from tokenguard.core.account import Account
from tokenguard.core.books import Closure, Entry, Hold
from tokenguard.core.budget import Unit
from tokenguard.core.posting import ONE_STEP, STEP, holding
from tokenguard.core.tree import Crowded, TooFast
from tokenguard.core.verdict import AccountState, Ask, Grant, Short, judge
from tokenguard.errors import LedgerInvariant
from tokenguard.ledger import limits, pacing, schema
from tokenguard.ledger.accounts import Opening, StoredBudget, Windows, openings_for
from tokenguard.ledger.closing import standing_on
from tokenguard.ledger.outcomes import resolved_already
from tokenguard.ledger.postings import lock, move, open_balances, write_transfer
from tokenguard.ledger.rows import budget_of, granted_of, hold_row, node_row
from tokenguard.ledger.slices import in_window, left_behind, with_room
from tokenguard.ledger.tx import Tx

__all__ = ["LeaseOver", "enter", "leave", "numbered", "path_of", "reserve"]

_DAY: Final = timedelta(days=1)


class LeaseOver(Exception):  # noqa: N818  # a signal between two transactions, not an error
    """Holds on this database outlived their leases; sweep them first, in a transaction of their own.

    Sweeping inside the reservation would lock other scopes' balances before its own, out of the canonical order.
    """


def reserve(tx: Tx, hold: Hold, ask: Ask, windows: Windows, *, swept: bool) -> Grant | Short | Closure | TooFast:
    """See `core.ports.Ledger.reserve`.

    Raises:
        LeaseOver: a lease has ended and `swept` is False.
    """
    around = {"now": tx.began, "day_before": hold.at - _DAY, "day_after": hold.at + _DAY}
    params = {"id": hold.id, **around, **numbered("run", hold.run_ids), **numbered("key", hold.scope_keys)}
    rows = tx.rows(tx.statements.preflight(len(hold.run_ids), len(hold.scope_keys)), params)
    known, over, shut, version, now = rows[0][:5]
    tx.insist_on(version)
    if known:
        return _granted_before(tx, hold.id)
    if over and not swept:
        raise LeaseOver
    # On PostgreSQL somebody may resume the run between the two questions.
    if shut and hold.enforce and (standing := standing_on(tx, hold.run_ids)):
        return standing[0]
    too_fast = pacing.outpaced(tx, hold.paced) if hold.paced else None
    if too_fast is not None and hold.enforce:
        return too_fast
    stored = [budget_of(row[5:]) for row in rows if row[5] is not None]
    locked = open_balances(tx, openings_for(hold.accounts, hold.scope_keys, stored, hold.at, windows))
    states = in_window(tx, locked, hold.at)
    verdict = judge(ask, states, enforce=hold.enforce)
    if isinstance(verdict, Short):
        return with_room(tx, verdict, ask, hold.at)
    posting = holding(verdict.amounts)
    move(tx, locked, posting, within_caps=hold.enforce, left=left_behind(locked, states))
    tx.run(tx.statements.insert(schema.hold), hold_row(hold, ask, verdict, now))
    write_transfer(tx, hold.id, locked, posting, held_at=hold.at, phase=1, kind="hold", at=hold.at)
    return verdict if too_fast is None else replace(verdict, outpaced=too_fast)


def enter(tx: Tx, entry: Entry, windows: Windows) -> Short | Closure | Crowded | None:
    """See `core.ports.Ledger.enter`."""
    params = {"id": entry.id, "now": tx.began, **numbered("run", entry.path)}
    known, shut, now = tx.rows(tx.statements.entering(len(entry.path)), params)[0]
    if known:
        return None
    if shut and entry.enforce and (standing := standing_on(tx, entry.path)):
        return standing[0]
    anchors = limits.anchors_above(tx, entry)
    crowded = limits.crowd_of(tx, entry, anchors, now) if anchors else None
    if crowded is not None and entry.enforce:
        return crowded
    path = path_of(tx, entry.accounts, entry.scope_keys, entry.at, windows)
    steps = tuple(one for one in path if one.account.unit is Unit.STEPS)
    if steps:
        states = open_balances(tx, steps, keeps_locks=bool(anchors))
        verdict = judge(ONE_STEP, in_window(tx, states, entry.at))
        if isinstance(verdict, Short) and entry.enforce:
            return with_room(tx, verdict, ONE_STEP, entry.at)
        move(tx, states, STEP)
        write_transfer(tx, entry.id, states, STEP, held_at=entry.at, phase=2, kind="post", at=entry.at)
    tx.run(tx.statements.insert(schema.node), node_row(entry))
    limits.count_in(tx, entry, anchors, now)
    return crowded


def leave(tx: Tx, node_id: str, outcome: str, at: datetime) -> None:
    """See `core.ports.Ledger.leave`."""
    tx.run(tx.statements.leaving(), {"node": node_id, "how": outcome, "at": at})


def path_of(
    tx: Tx, accounts: Sequence[Account], scope_keys: Sequence[str], at: datetime, windows: Windows
) -> tuple[Opening, ...]:
    """Every account that must be fit at `at`, stored budgets of the scopes included; outermost scope first."""
    stored: Sequence[StoredBudget] = ()
    if scope_keys:
        rows = tx.rows(tx.statements.stored_budgets(len(scope_keys)), numbered("key", scope_keys))
        stored = [budget_of(row) for row in rows]
    return openings_for(accounts, scope_keys, stored, at, windows)


def _granted_before(tx: Tx, hold_id: str) -> Grant:
    """The grant of a reservation that is repeated, to the last digit."""
    rows = tx.select(sa.select(schema.hold.c.granted).where(schema.hold.c.id == hold_id))
    if not rows:
        raise resolved_already(hold_id)
    granted = granted_of(rows[0][0])
    accounts = {one.account.id: one.account for one in lock(tx, granted.account_ids)}
    if len(accounts) != len(granted.before):
        raise LedgerInvariant(f"hold {hold_id} names balances that do not exist.", hold_id=hold_id)
    states = tuple(
        AccountState(accounts[account_id], cap, settled, held, live)
        for account_id, cap, settled, held, live in granted.before
    )
    return Grant(granted.amounts, granted.output_tokens, states)


def numbered(name: str, values: Sequence[str]) -> dict[str, str]:
    """Parameters `name_0`, `name_1` and so on."""
    return {f"{name}_{place}": value for place, value in enumerate(values)}
