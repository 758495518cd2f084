"""Resolving holds: posts, voids, unresolved attempts, leases that ended. Later truths are in adjusting.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from tokenguard.core.books import Booking, CallFacts, Hold, Settled, Status
from tokenguard.core.posting import charged, resolved
from tokenguard.core.verdict import AccountState
from tokenguard.errors import LedgerConflict, LedgerInvariant
from tokenguard.ledger import pacing, schema
from tokenguard.ledger.accounts import Windows
from tokenguard.ledger.adjusting import settle_again
from tokenguard.ledger.event_rows import BookedEvent, facts_of, kept_json, kept_of
from tokenguard.ledger.history import history, queue_for, was_transferred
from tokenguard.ledger.outcomes import assumed, never_held, numbers_of, other_numbers, tokens_of
from tokenguard.ledger.postings import lock, move, open_balances, write_event, write_transfer
from tokenguard.ledger.reserving import path_of
from tokenguard.ledger.rows import Granted, granted_of
from tokenguard.ledger.slices import in_window
from tokenguard.ledger.statements import one_of
from tokenguard.ledger.tx import Tx

__all__ = ["SWEEP_BATCH", "charge", "keep", "renew", "settle", "sweep"]

SWEEP_BATCH: Final = 100
"""Holds per transaction, so that a sweep after a disaster does not keep everybody else waiting."""

_RENEW_BATCH: Final = 500


def settle(tx: Tx, hold_id: str, booking: Booking) -> Settled:
    """See `core.ports.Ledger.settle`."""
    rows = tx.rows(tx.statements.take_hold(), {"id": hold_id})
    if not rows:
        tx.check_schema()
        return settle_again(tx, hold_id, booking)
    held_at, facts, granted = rows[0]
    kind = "void" if booking.status is Status.REJECTED and not booking.amounts.usd_pico else "post"
    mine = granted_of(granted)
    pacing.flow_in(tx, mine.paced, [(0, booking.amounts)])
    return Settled(_resolve(tx, _Taken(hold_id, held_at, facts_of(facts), mine), booking, kind))


def charge(tx: Tx, hold: Hold, booking: Booking, windows: Windows) -> Settled:
    """See `core.ports.Ledger.charge`. No hold is written: the post alone is the fact."""
    queue_for(tx, hold.id)
    if was_transferred(tx, hold.id):
        if tx.select(sa.select(schema.hold.c.id).where(schema.hold.c.id == hold.id)):
            raise LedgerConflict(f"attempt {hold.id} is held: settle it instead of charging it.", attempt_id=hold.id)
        return settle_again(tx, hold.id, booking)
    pacing.flow_in(tx, hold.paced, [(0, booking.amounts)])
    path = path_of(tx, hold.accounts, hold.scope_keys, hold.at, windows)
    states = open_balances(tx, path, keeps_locks=bool(hold.paced))
    posting = charged(booking.amounts)
    after = move(tx, states, posting)
    write_transfer(tx, hold.id, states, posting, held_at=hold.at, phase=2, kind="post", at=booking.at)
    write_event(tx, _first_event(hold.id, hold.at, hold.facts, booking, booking.amounts.tokens))
    return Settled(in_window(tx, after, booking.at))


def keep(tx: Tx, hold_id: str, booking: Booking) -> None:
    """See `core.ports.Ledger.keep`."""
    update = sa.update(schema.hold).where(schema.hold.c.id == hold_id)
    if tx.write(update.values(state="unresolved", kept=kept_json(booking))):
        return
    found = history(tx, hold_id)
    if found is None:
        raise never_held(hold_id)
    if found.settled is not None:
        raise other_numbers(hold_id, numbers_of(found.settled), numbers_of(booking))


def renew(tx: Tx, owner: str, hold_ids: Sequence[str], lease_s: float) -> None:
    """See `core.ports.Ledger.renew`; unresolved holds keep the lease they have."""
    lease_until = tx.now() + timedelta(seconds=lease_s)
    tx.run(tx.statements.lives(), {"id": owner, "lease_until": lease_until})
    for start in range(0, len(hold_ids), _RENEW_BATCH):
        some = hold_ids[start : start + _RENEW_BATCH]
        where = (one_of(schema.hold.c.id, some), schema.hold.c.state == "held")
        tx.write(sa.update(schema.hold).where(*where).values(lease_until=lease_until))


def sweep(tx: Tx, now: datetime | None) -> int:
    """Charge the ceiling of up to `SWEEP_BATCH` holds whose lease ended; how many.

    Args:
        tx: A transaction of its own, see `LeaseOver`.
        now: The instant to go by instead of the books' own.
    """
    row, now = schema.hold.c, now or tx.now()
    over = tx.select(
        sa.select(row.id, row.held_at, row.facts, row.granted, row.kept)
        .where(row.lease_until <= now)
        .order_by(row.lease_until, row.id)
        .limit(SWEEP_BATCH)
        .with_for_update(skip_locked=True)
    )
    if not over:
        return 0
    granted = {one[0]: granted_of(one[3]) for one in over}
    # All balances of the batch at once, in canonical order; one hold after the other could deadlock with a reservation.
    lock(tx, sorted({account_id for one in granted.values() for account_id in one.account_ids}))
    tx.write(sa.delete(schema.hold).where(one_of(row.id, granted)))
    for hold_id, held_at, facts, _, kept in over:
        mine = granted[hold_id]
        booking = assumed(mine.amounts, None if kept is None else kept_of(kept, now), now)
        _resolve(tx, _Taken(hold_id, held_at, facts_of(facts), mine), booking, "expire")
    return len(over)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A hold whose row was just deleted."""

    id: str
    held_at: datetime
    facts: CallFacts
    granted: Granted


def _resolve(tx: Tx, hold: _Taken, booking: Booking, kind: str) -> tuple[AccountState, ...]:
    """Take a hold off its balances, settle what it came to, and write the facts; the states after it."""
    states = lock(tx, hold.granted.account_ids)
    if len(states) != len(hold.granted.before):
        raise LedgerInvariant(f"hold {hold.id} names balances that do not exist. Please report this.", hold_id=hold.id)
    posting = resolved(hold.granted.amounts, booking.amounts)
    after = move(tx, states, posting)
    write_transfer(tx, hold.id, states, posting, held_at=hold.held_at, phase=2, kind=kind, at=booking.at)
    write_event(tx, _first_event(hold.id, hold.held_at, hold.facts, booking, hold.granted.input_bound))
    return in_window(tx, after, booking.at)


def _first_event(
    attempt_id: str, held_at: datetime, facts: CallFacts, booking: Booking, input_bound: int
) -> BookedEvent:
    used = tokens_of(booking, input_bound)
    return BookedEvent(attempt_id, 1, held_at, booking.at, facts, booking, used[0], used[1])
