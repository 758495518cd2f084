"""Moving amounts: lock balances in canonical order, change them under a condition, write the transfer that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from tokenguard.core.account import Amounts
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import AccountState
from tokenguard.errors import BadAmount, LedgerInvariant
from tokenguard.ledger import schema
from tokenguard.ledger.accounts import Opening, spoken
from tokenguard.ledger.event_rows import BookedEvent, event_row, line_rows, rollup_row
from tokenguard.ledger.rows import balance_row, by_unit, state_of
from tokenguard.ledger.slices import add_to_slices
from tokenguard.ledger.statements import Tx

__all__ = ["check_size", "lock", "move", "open_balances", "write_event", "write_transfer"]

_NOTHING: Final = Amounts()
_NOTHING_LEFT: Final[Mapping[str, int]] = {}


def lock(tx: Tx, account_ids: Sequence[str]) -> tuple[AccountState, ...]:
    """Lock balances and read them, in the order given; those that do not exist are left out."""
    if not account_ids:
        return ()
    params = {f"id_{place}": account_id for place, account_id in enumerate(account_ids)}
    found = {row[0]: row for row in tx.rows(tx.statements.lock_balances(len(account_ids)), params)}
    return tuple([state_of(found[account_id]) for account_id in account_ids if account_id in found])


def open_balances(tx: Tx, openings: Sequence[Opening]) -> tuple[AccountState, ...]:
    """Lock the balances of these accounts, and make those that are missing.

    Raises:
        BadAmount: a new cap is larger than the column.
        LedgerInvariant: a row that was just inserted is not there.
    """
    ids = [one.account.id for one in openings]
    states = lock(tx, ids)
    if len(states) == len(openings):
        return states
    there = {one.account.id for one in states}
    for opening in sorted(openings, key=lambda one: one.account.id):
        if opening.account.id not in there:
            check_size(tx, opening.account.unit, opening.cap)
            check_size(tx, opening.account.unit, opening.account.cap)
            tx.run(tx.statements.insert_missing(schema.balance), balance_row(opening))
    states = lock(tx, ids)
    if len(states) != len(openings):
        raise LedgerInvariant("a balance that was just opened is not there. Please report this.", accounts=ids)
    return states


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
    *,
    held: Amounts | Sequence[int] = _NOTHING,
    settled: Amounts | Sequence[int] = _NOTHING,
    live: int,
    within_caps: bool = False,
    left: Mapping[str, int] = _NOTHING_LEFT,
) -> tuple[AccountState, ...]:
    """Change the locked balances; the states after it.

    Args:
        tx: The transaction that locked them.
        states: What was locked.
        held: Change of what is held, by unit; may be negative.
        settled: Change of what is settled, by unit; may be negative.
        live: Change of the number of open holds.
        within_caps: Insist that no cap is passed, although `judge` said so: the condition is in the UPDATE itself.
        left: By rolling account, what it settled and its window does not hold any more (`slices.left_behind`); counts
            where `within_caps` does.

    Raises:
        LedgerInvariant: a balance would become unsound.
    """
    if not states:
        return ()
    h, s = _four(held), _four(settled)
    after = tuple([_moved(one, h, s, live) for one in states])
    for one in after:
        check_size(tx, one.account.unit, one.settled)
        check_size(tx, one.account.unit, one.held)
    ids = {f"id_{place}": one.account.id for place, one in enumerate(states)}
    params = {**ids, **by_unit("h", h), **by_unit("s", s), "live": live}
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


_ZERO: Final = (0, 0, 0, 0)


def _four(amounts: Amounts | Sequence[int]) -> Sequence[int]:
    if amounts is _NOTHING:
        return _ZERO
    return (amounts.usd_pico, amounts.tokens, amounts.calls, amounts.steps) if isinstance(amounts, Amounts) else amounts


_PLACE: Final = {Unit.USD: 0, Unit.TOKENS: 1, Unit.CALLS: 2, Unit.STEPS: 3}


def _moved(state: AccountState, held: Sequence[int], settled: Sequence[int], live: int) -> AccountState:
    place = _PLACE[state.account.unit]
    return AccountState(
        state.account, state.cap, state.settled + settled[place], state.held + held[place], state.live + live
    )


def write_transfer(
    tx: Tx,
    hold_id: str,
    states: Sequence[AccountState],
    *,
    held_at: datetime,
    phase: int,
    kind: str,
    at: datetime,
    held: Amounts | Sequence[int] = _NOTHING,
    settled: Amounts | Sequence[int] = _NOTHING,
    live: int = 0,
) -> None:
    """Append the fact behind a `move`; a second one of the same phase is refused by the key.

    What it settles on rolling accounts goes to the slices of `held_at`, so read `slices.in_window` after this.
    """
    h, s = _four(held), _four(settled)
    legs = [[one.account.id, h[_PLACE[one.account.unit]], s[_PLACE[one.account.unit]], live] for one in states]
    row = {"hold_id": hold_id, "held_at": held_at, "phase": phase, "kind": kind, "at": at, "legs": legs}
    tx.run(tx.statements.insert(schema.transfer), row)
    if s is not _ZERO:
        add_to_slices(tx, states, [s[_PLACE[one.account.unit]] for one in states], held_at)


def write_event(tx: Tx, event: BookedEvent, *, taken_back: bool = False) -> None:
    """Append an event with its lines and what it adds to its day; or the rows that take one back."""
    sign = -1 if taken_back else 1
    tx.run(tx.statements.insert(schema.spend_event), event_row(event, sign=sign))
    # Only assumed charges are ever taken back, and those have no lines: nobody metered them.
    lines = line_rows(event.id, event.revision, event.booking.lines)
    if lines:
        tx.many(tx.statements.insert(schema.spend_line), lines)
    tx.run(tx.statements.insert(schema.rollup_delta), rollup_row(event, sign=sign))
