"""Adjusting what is booked: the truth that comes after an assumed charge, refunds and corrections.

Each is a transfer of the difference to the windows of the attempt's hold, an event revision that takes the standing one
back, and one that states what is true since. Whoever adjusts an attempt waits for everybody else who does, so a late
settlement and a refund see each other and nothing is credited twice. docs/adr/0016.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from tokenguard.core.adjusting import Adjusted, Adjustment, act_of, adjusted, told_before
from tokenguard.core.books import Booking, GuardEvent, Settled
from tokenguard.core.money import Money
from tokenguard.core.posting import corrected
from tokenguard.core.verdict import AccountState
from tokenguard.errors import AdjustRefused
from tokenguard.ledger import schema
from tokenguard.ledger.history import History, history, pruned_before, queue_for
from tokenguard.ledger.outcomes import never_held, not_there, numbers_of, other_numbers, still_open, tokens_of
from tokenguard.ledger.postings import lock, move, write_event, write_transfer
from tokenguard.ledger.rows import guard_event_row
from tokenguard.ledger.slices import in_window
from tokenguard.ledger.tx import Tx

__all__ = ["PHASES_MAX", "adjust", "settle_again"]

PHASES_MAX: Final = 10_000
"""Transfers of one attempt that people may add to: phases and revisions are SMALLINT, and the truth needs room."""


def settle_again(tx: Tx, attempt_id: str, booking: Booking) -> Settled:
    """Book what a resolved attempt truly came to: over an assumed charge, whatever was refunded of it since.

    What was adjusted on an assumption is superseded with it. Where the attempt was settled before, the same numbers
    move nothing, also after adjustments: those stand.

    Args:
        tx: The transaction; it has locked no balance yet.
        attempt_id: The id of the hold, which is no longer open.
        booking: The truth.

    Raises:
        LedgerConflict: the attempt was settled with other numbers, or was never held.
    """
    queue_for(tx, attempt_id)
    found = history(tx, attempt_id)
    if found is None:
        raise never_held(attempt_id)
    stands = numbers_of(found.settled or found.stands.booking)
    if stands != numbers_of(booking):
        if found.settled is not None:
            raise other_numbers(attempt_id, stands, numbers_of(booking))
        used = tokens_of(booking, found.stands.input_tokens)
        return Settled(_restate(tx, found, booking, booking.at, used), late=True)
    states = in_window(tx, lock(tx, found.account_ids), booking.at)
    return Settled(states, duplicate=not tx.again, late=found.late)


def adjust(tx: Tx, adjustment: Adjustment) -> Adjusted:
    """See `core.ports.Ledger.adjust`."""
    queue_for(tx, adjustment.id)
    columns = tuple(schema.guard_event.c)
    told = tx.select(sa.select(*columns).where(schema.guard_event.c.id == adjustment.id))
    if told:
        return replace(told_before(adjustment, GuardEvent(*told[0])), duplicate=not tx.again)
    # The hold's row first, as a settlement takes it: one that is under way is waited for.
    hold = schema.hold.c
    if tx.select(sa.select(hold.lease_until).where(hold.id == adjustment.attempt_id).with_for_update()):
        raise still_open(adjustment.attempt_id)
    queue_for(tx, adjustment.attempt_id)
    found = history(tx, adjustment.attempt_id)
    if found is None:
        raise not_there(adjustment.attempt_id, pruned_before(tx))
    stands = found.stands
    if found.phase >= PHASES_MAX:
        raise AdjustRefused(
            f"attempt {stands.id} was adjusted {found.phase:,} times, and the books take no more. Say what it cost in "
            "all on another attempt, with guard.charge.",
            reason="too_many",
            attempt_id=stands.id,
            count=found.phase,
        )
    true = adjusted(stands.booking, adjustment)
    states = _restate(tx, found, true, adjustment.at, (stands.input_tokens, stands.output_tokens))
    before, after = (Money.from_pico(one.amounts.usd_pico) for one in (stands.booking, true))
    done = Adjusted(adjustment.id, stands.id, before, after, stands.facts.run_id, states)
    tx.run(tx.statements.insert(schema.guard_event), guard_event_row(act_of(adjustment, done)))
    return done


def _restate(tx: Tx, found: History, true: Booking, at: datetime, used: tuple[int, int]) -> tuple[AccountState, ...]:
    """Book the difference to the windows of the hold, take the standing event back and state the true one.

    Both new rows carry the instant of the standing one, so that the report of its day becomes true instead of another
    day negative.
    """
    before = found.stands
    states = lock(tx, found.account_ids)
    posting = corrected(before.booking.amounts, true.amounts)
    after = move(tx, states, posting)
    write_transfer(tx, before.id, states, posting, held_at=before.held_at, phase=found.phase + 1, kind="adjust", at=at)
    write_event(tx, replace(before, revision=before.revision + 1, booked_at=at), taken_back=True)
    write_event(
        tx,
        replace(
            before,
            revision=before.revision + 2,
            booked_at=at,
            booking=replace(true, at=before.booking.at),
            input_tokens=used[0],
            output_tokens=used[1],
        ),
    )
    return in_window(tx, after, at)
