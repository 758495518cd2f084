"""Moving amounts: lock balances in canonical order, change them under a condition, write the transfer that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from tokenguard.core.budget import Unit
from tokenguard.core.posting import Posting, moved
from tokenguard.core.verdict import AccountState
from tokenguard.errors import BadAmount, LedgerInvariant
from tokenguard.ledger import schema
from tokenguard.ledger.accounts import Opening, spoken
from tokenguard.ledger.event_rows import BookedEvent, event_row, line_rows, rollup_row
from tokenguard.ledger.rows import balance_row, budget_of, by_unit, state_of
from tokenguard.ledger.slices import add_to_slices
from tokenguard.ledger.tx import Tx

__all__ = ["check_size", "lock", "move", "open_balances", "write_event", "write_transfer"]

_NOTHING_LEFT: Final[Mapping[str, int]] = {}


def lock(tx: Tx, account_ids: Sequence[str]) -> tuple[AccountState, ...]:
    """Lock balances and read them, in the order given; those that do not exist are left out."""
    if not account_ids:
        return ()
    params = {f"id_{place}": account_id for place, account_id in enumerate(account_ids)}
    found = {row[0]: row for row in tx.rows(tx.statements.lock_balances(len(account_ids)), params)}
    return tuple([state_of(found[account_id]) for account_id in account_ids if account_id in found])


def open_balances(tx: Tx, openings: Sequence[Opening], *, keeps_locks: bool = False) -> tuple[AccountState, ...]:
    """Lock the balances of these accounts, and make those that are missing.

    Where some are missing, the locks on the others are given back first: a transaction that kept them while it inserts
    a row of a lower id would deadlock with one that inserted that row and locks the others. What a person set meanwhile
    is what a new balance opens with (docs/adr/0014).

    Args:
        tx: The transaction; it has written nothing yet, unless `keeps_locks`.
        openings: The accounts, outermost first.
        keeps_locks: What the transaction read and locked before must stand.

    Raises:
        BadAmount: a new cap is larger than the column.
        LedgerInvariant: a row that was just inserted is not there.
    """
    ids = [one.account.id for one in openings]
    states = lock(tx, ids)
    if len(states) == len(openings):
        return states
    if states and not keeps_locks:
        tx.let_go()
    there = {one.account.id for one in states}
    missing = [one for one in openings if one.account.id not in there]
    for opening in sorted(_as_set_now(tx, missing), key=lambda one: one.account.id):
        check_size(tx, opening.account.unit, opening.cap)
        check_size(tx, opening.account.unit, opening.account.cap)
        tx.run(tx.statements.insert_missing(schema.balance), balance_row(opening))
    states = lock(tx, ids)
    if len(states) != len(openings):
        raise LedgerInvariant("a balance that was just opened is not there. Please report this.", accounts=ids)
    return states


def _as_set_now(tx: Tx, openings: Sequence[Opening]) -> Sequence[Opening]:
    """The openings with the caps that are stored now, which stay as they are until this transaction ends.

    They were read before it locked anything. Who changes a cap meanwhile changes the balance too, and this one is not
    there yet. SQLite has one writer, so there nothing changes meanwhile.
    """
    if not tx.on_server:
        return openings
    keys = sorted({one.account.scope_key for one in openings})
    params = {f"key_{place}": key for place, key in enumerate(keys)}
    stored = [budget_of(row) for row in tx.rows(tx.statements.stored_budgets(len(keys), keeps=True), params)]
    return [
        next((replace(one, cap=budget.cap) for budget in stored if budget.caps(one.account)), one) for one in openings
    ]


def check_size(tx: Tx, unit: Unit, amount: int) -> None:
    """Refuse what a SQLite column cannot count.

    Raises:
        BadAmount: with the largest amount and the way out.
    """
    if tx.largest is not None and abs(amount) > tx.largest:
        raise BadAmount(
            f"{spoken(unit, amount)} of {unit} is above what a SQLite ledger can count "
            f"({spoken(unit, tx.largest)}). Use PostgreSQL, or a lower cap.",
            unit=str(unit),
            amount=amount,
            largest=tx.largest,
        )


def move(
    tx: Tx,
    states: Sequence[AccountState],
    posting: Posting,
    *,
    within_caps: bool = False,
    left: Mapping[str, int] = _NOTHING_LEFT,
) -> tuple[AccountState, ...]:
    """Change the locked balances; the states after it.

    Args:
        tx: The transaction that locked them.
        states: What was locked.
        posting: What changes on each.
        within_caps: Insist that no cap is passed, although `judge` said so: the condition is in the UPDATE itself.
        left: By rolling account, what it settled and its window does not hold any more (`slices.left_behind`); counts
            where `within_caps` does.

    Raises:
        LedgerInvariant: a balance would become unsound.
    """
    if not states:
        return ()
    after = tuple([moved(one, posting) for one in states])
    for one in after:
        check_size(tx, one.account.unit, one.settled)
        check_size(tx, one.account.unit, one.held)
    ids = {f"id_{place}": one.account.id for place, one in enumerate(states)}
    params = {**ids, **by_unit("h", posting.held), **by_unit("s", posting.settled), "live": posting.live}
    for place, (account_id, amount) in enumerate(left.items()):
        params |= {f"rolling_{place}": account_id, f"left_{place}": amount}
    touched = tx.run(tx.statements.move(len(states), within_caps=within_caps, rolling=len(left)), params)
    if touched != len(states):
        raise LedgerInvariant(
            f"{len(states)} balances were to change and {touched} could: the books contradict themselves. "
            "Please report this with `tokenguard db verify --json`.",
            accounts=[one.account.id for one in states],
        )
    return after


def write_transfer(
    tx: Tx,
    hold_id: str,
    states: Sequence[AccountState],
    posting: Posting,
    *,
    held_at: datetime,
    phase: int,
    kind: str,
    at: datetime,
) -> None:
    """Append the fact behind a `move`; a second one of the same phase is refused by the key.

    What it settles on rolling accounts goes to the slices of `held_at`, so read `slices.in_window` after this.
    """
    legs = [[one.account.id, *posting.on(one.account.unit), posting.live] for one in states]
    row = {"hold_id": hold_id, "held_at": held_at, "phase": phase, "kind": kind, "at": at, "legs": legs}
    tx.run(tx.statements.insert(schema.transfer), row)
    if any(posting.settled):
        add_to_slices(tx, states, [posting.on(one.account.unit)[1] for one in states], held_at)


def write_event(tx: Tx, event: BookedEvent, *, taken_back: bool = False) -> None:
    """Append an event with its lines and what it adds to its day; or the rows that take one back."""
    sign = -1 if taken_back else 1
    tx.run(tx.statements.insert(schema.spend_event), event_row(event, sign=sign))
    lines = line_rows(event, sign=sign)
    if lines:
        tx.append(schema.spend_line, lines)
    tx.run(tx.statements.insert(schema.rollup_delta), rollup_row(event, sign=sign))
