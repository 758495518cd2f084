"""Rolling windows in SQL: what an account settled, by slice of time, beside the one balance row that is locked.

A slice is a cache of transfers, as a balance is: each transfer belongs to the slice that held its hold. The balance row
keeps what was ever settled; what counts at an instant is the sum of the slices of its window (docs/adr/0015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from tokenguard.core.rolling import PREFIX, counted_from, room_at, slice_at
from tokenguard.core.verdict import AccountState, Ask, Reason, Short, kept_back
from tokenguard.ledger import schema
from tokenguard.ledger.statements import in_batches
from tokenguard.ledger.tx import Tx

__all__ = ["add_to_slices", "in_window", "left_behind", "read_in_window", "with_room"]

_NONE: Final[Mapping[str, int]] = {}


def in_window(tx: Tx, states: Sequence[AccountState], at: datetime) -> tuple[AccountState, ...]:
    """The locked states with what counts at `at`: of a rolling account only what its window settled."""

    def sums(rolling: Sequence[AccountState]) -> list[tuple[str, datetime, int]]:
        params: dict[str, Any] = {}
        for place, one in enumerate(rolling):
            params |= {f"id_{place}": one.account.id, f"from_{place}": counted_from(one.account.per, at)}
        return tx.rows(tx.statements.slices(len(rolling)), params)

    return _counted(states, sums)


def read_in_window(connection: sa.Connection, states: Sequence[AccountState], at: datetime) -> tuple[AccountState, ...]:
    """The same for a reader."""
    row = schema.window_slice.c

    def sums(rolling: Sequence[AccountState]) -> list[tuple[str, datetime, int]]:
        since = {one.account.id: counted_from(one.account.per, at) for one in rolling}
        rows = in_batches(connection, sa.select(*row), row.account_id, list(since))
        return [tuple(one) for one in rows if one.starts_at >= since[one.account_id]]

    return _counted(states, sums)


def _counted(
    states: Sequence[AccountState], slices_of: Callable[[Sequence[AccountState]], list[tuple[str, datetime, int]]]
) -> tuple[AccountState, ...]:
    rolling = _rolling(states)
    if not rolling:
        return tuple(states)
    settled = dict.fromkeys([one.account.id for one in rolling], 0)
    for account_id, _, amount in slices_of(rolling):
        settled[account_id] += amount
    return tuple([replace(one, settled=settled.get(one.account.id, one.settled)) for one in states])


def left_behind(locked: Sequence[AccountState], counted: Sequence[AccountState]) -> Mapping[str, int]:
    """By rolling account: what its balance row settled and its window does not hold any more, as `move` needs it."""
    if not _rolling(locked):
        return _NONE
    return {
        whole.account.id: whole.settled - part.settled
        for whole, part in zip(locked, counted, strict=True)
        if whole.account.per.startswith(PREFIX)
    }


def add_to_slices(tx: Tx, states: Sequence[AccountState], amounts: Sequence[int], held_at: datetime) -> None:
    """Add what a transfer settled to the slices that held its hold.

    Args:
        tx: The transaction that locked the balances.
        states: The balances of the transfer.
        amounts: What it settled on each, in their order; may be negative.
        held_at: When the hold was made.
    """
    for state, amount in zip(states, amounts, strict=True):
        if amount and state.account.per.startswith(PREFIX):
            start = slice_at(state.account.per, held_at)
            row = {"account_id": state.account.id, "starts_at": start, "settled": amount}
            tx.run(tx.statements.add_to_slice(), row)


def with_room(tx: Tx, short: Short, ask: Ask, at: datetime) -> Short:
    """A verdict with the instant at which a rolling window will have room."""
    account = short.state.account
    if short.reason is not Reason.SPENT or not account.per.startswith(PREFIX):
        return short
    params = {"id_0": account.id, "from_0": counted_from(account.per, at)}
    slices = sorted((start, amount) for _, start, amount in tx.rows(tx.statements.slices(1), params))
    missing = short.asked - short.state.free + kept_back(short.state, ask)
    return replace(short, retry_at=room_at(account.per, slices, missing))


def _rolling(states: Sequence[AccountState]) -> list[AccountState]:
    return [one for one in states if one.account.per.startswith(PREFIX)]
