"""Bringing a day to what its provider billed: the difference is an event of its own, with a reason. docs/adr/0016."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

import sqlalchemy as sa

from tokenguard.core.account import Amounts
from tokenguard.core.books import Booking, CallFacts, GuardEvent, Status
from tokenguard.core.money import Money
from tokenguard.core.posting import charged
from tokenguard.core.statement import Billed, Reconciled
from tokenguard.core.usage import Quality
from tokenguard.errors import AdjustRefused
from tokenguard.ledger import schema
from tokenguard.ledger.accounts import Windows
from tokenguard.ledger.columns import Pico
from tokenguard.ledger.event_rows import BookedEvent
from tokenguard.ledger.history import pruned_before, queue_for, was_transferred
from tokenguard.ledger.postings import move, open_balances, write_event, write_transfer
from tokenguard.ledger.reserving import path_of
from tokenguard.ledger.rows import guard_event_row
from tokenguard.ledger.tx import Tx

__all__ = ["OPERATION", "reconcile"]

OPERATION: Final = "reconcile"
"""The operation of these events in reports."""


def reconcile(
    tx: Tx, billed: Billed, *, scope_keys: tuple[str, ...], why: str, by: str, at: datetime, windows: Windows
) -> Reconciled:
    """Book what is missing, or too much, on a day, so that the ledger says what was billed.

    What is missing counts in the windows of that day on the scope's budgets. What was booked too much makes no room in
    any: nobody knows whose calls it was.

    Args:
        tx: A transaction of its own.
        billed: By a provider, for a day that is over.
        scope_keys: Keys of the scopes that pay, outermost first; the last one is named in reports.
        why: For the books.
        by: Who does it.
        at: Now.
        windows: The ledger's.

    Raises:
        AdjustRefused: the day is not over, or its month was pruned.
    """
    _check_day(tx, billed, at)
    queue_for(tx, "/".join(str(one) for one in billed.key[:2]))
    booked = Money.from_pico(_booked(tx, billed))
    difference = billed.usd - booked
    if not difference:
        return Reconciled(billed, booked, None)
    row_id = _new_id(tx, billed)
    amounts = Amounts(usd_pico=difference.pico)
    noon, posting = billed.noon, charged(amounts)
    counts = path_of(tx, (), scope_keys, noon, windows) if difference.pico > 0 else ()
    # The place in the queue must be kept while balances are opened.
    states = open_balances(tx, counts, keeps_locks=True)
    move(tx, states, posting)
    write_transfer(tx, row_id, states, posting, held_at=noon, phase=2, kind="adjust", at=at)
    note = f"billed {billed.usd} and booked {booked}, reconciled by {by}: {why}"
    booking = Booking(noon, Status.CHARGED, Quality.REPORTED, amounts, stated_pico=difference.pico, note=note)
    scope = scope_keys[-1].partition(":")[2]
    facts = CallFacts(row_id, 1, OPERATION, billed.model or "", billed.provider, None, None, None, None, scope)
    write_event(tx, BookedEvent(row_id, 1, noon, at, facts, booking, 0, 0))
    whose = f"{billed.day} {billed.provider} {billed.model or ''}".strip()
    act = GuardEvent(row_id, at, "reconciled", None, scope_keys[-1], f"{whose}: {note}", _facts(billed, booked))
    tx.run(tx.statements.insert(schema.guard_event), guard_event_row(act))
    return Reconciled(billed, booked, row_id)


def _check_day(tx: Tx, billed: Billed, at: datetime) -> None:
    """Refuse a day of which more may still be booked, or whose single events are gone."""
    if billed.day >= at.astimezone(UTC).date():
        raise AdjustRefused(
            f"{billed.day} is not over (UTC), and its calls are still being booked. Reconcile it from the next day on.",
            reason="too_early",
            day=billed.day.isoformat(),
        )
    pruned = pruned_before(tx)
    if pruned is not None and f"{billed.day:%Y-%m}" < pruned:
        raise AdjustRefused(
            f"{billed.day} is in a month that was pruned: the ledger keeps its sums and takes nothing more before "
            f"{pruned}. Leave such days out of the statement, and keep their differences outside.",
            reason="pruned",
            day=billed.day.isoformat(),
            pruned_before=pruned,
        )


def _booked(tx: Tx, billed: Billed) -> int:
    """What the ledger has for a line, in pico-dollars; one statement, so that no compaction comes between."""
    both = [
        sa.select(table.c.provider, table.c.model, table.c.usd_pico).where(table.c.day == billed.day.isoformat())
        for table in (schema.rollup, schema.rollup_delta)
    ]
    day = sa.union_all(*both).subquery().c
    total = sa.type_coerce(sa.func.sum(day.usd_pico), Pico())
    rows = tx.select(sa.select(day.provider, day.model, total).group_by(day.provider, day.model))
    return sum(usd for provider, model, usd in rows if billed.covers(provider, model))


def _new_id(tx: Tx, billed: Billed) -> str:
    """From the statement's key and amount: two people who book the same line at once book it once.

    The number tells apart what is booked for the same line after other truths came in between.
    """
    number = 0
    while True:
        text = "\x1f".join((*(str(one) for one in billed.key), str(billed.usd.pico), str(number)))
        found = f"reconcile-{blake2b(text.encode(), digest_size=16).hexdigest()}"
        if not was_transferred(tx, found):
            return found
        number += 1


def _facts(billed: Billed, booked: Money) -> dict[str, str | None]:
    """A difference as JSON values."""
    return {
        "day": billed.day.isoformat(),
        "provider": billed.provider,
        "model": billed.model,
        "billed": billed.usd.json(),
        "booked": booked.json(),
        "difference": (billed.usd - booked).json(),
    }
