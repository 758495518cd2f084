"""Leasing and settling up, as one transaction: one lease of a process for the next (docs/adr/0017).

What was paid is booked call by call, in the windows of the lease that granted it; the lease itself leaves two transfers
that cancel out, and no event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from tokenguard.core.account import Amounts
from tokenguard.core.allowance import Exchange, Exchanged, Kept, Paid, lends, scaled, times_lent, together
from tokenguard.core.books import Booking, Closure, Hold, Status
from tokenguard.core.posting import Posting, holding, moved, resolved
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import AccountState, Ask, Grant
from tokenguard.errors import LedgerConflict
from tokenguard.ledger import pacing, schema
from tokenguard.ledger.accounts import Windows, openings_for
from tokenguard.ledger.adjusting import settle_again
from tokenguard.ledger.closing import standing, standing_on
from tokenguard.ledger.event_rows import BookedEvent, event_row, kept_json, line_rows, rollup_row
from tokenguard.ledger.outcomes import never_held, tokens_of
from tokenguard.ledger.postings import lock, move, open_balances, write_transfer
from tokenguard.ledger.reserving import numbered, path_of
from tokenguard.ledger.rows import budget_of, granted_of, hold_row
from tokenguard.ledger.settling import settle
from tokenguard.ledger.statements import BUDGET_COLUMNS, in_batches, one_of
from tokenguard.ledger.tx import Tx

__all__ = ["BalancesMissing", "caps", "exchange", "open_path"]

_DAY: Final = timedelta(days=1)
_NOTHING: Final = Amounts()
_BATCH: Final = 500


class BalancesMissing(Exception):  # noqa: N818  # a signal between two transactions, not an error
    """A window of the path opens with this lease: its balances are opened first, in a transaction of their own.

    Opening them here would let go of the leases that were just taken (docs/adr/0014).
    """


def exchange(tx: Tx, request: Exchange, windows: Windows) -> Exchanged:
    """See `core.allowance.Exchange`.

    Raises:
        BalancesMissing: call `open_path` first.
    """
    lease = request.lease
    around = {"now": tx.began, "day_before": lease.at - _DAY, "day_after": lease.at + _DAY}
    params = {"id": lease.id, **around, **numbered("run", lease.run_ids), **numbered("key", lease.scope_keys)}
    rows = tx.rows(tx.statements.preflight(len(lease.run_ids), len(lease.scope_keys)), params)
    known, _, shut, version, now = rows[0][:5]
    tx.insist_on(version)
    if known:
        return _exchanged_before(tx, lease)
    if request.repeated or tx.again:
        pacing.keep_others_out(tx, lease.paced)  # Attempts that are told again lock balances.
    request, refused = _what_is_new(tx, request) if request.repeated or tx.again else (request, ())
    ids, released, paced = _taken(tx, request)
    pacing.flow_in(tx, paced, _flows(request))
    if request.times and lease.paced and pacing.outpaced(tx, lease.paced):
        request = replace(request, times=0)  # The next call is judged by the books themselves.
    closure = next(iter(standing_on(tx, lease.run_ids)), None) if shut else None
    stored = [budget_of(row[5:]) for row in rows if row[5] is not None]
    openings = openings_for(lease.accounts, lease.scope_keys, stored, lease.at, windows)
    wanted = [one.account.id for one in openings] if request.times and not closure else list(ids)
    locked = {one.account.id: one for one in lock(tx, sorted({*ids, *wanted}))}
    if len(locked) < len({*ids, *wanted}):
        raise BalancesMissing
    settled = _settled_up(tx, [locked[one] for one in ids], request, released, now)
    locked |= {one.account.id: one for one in settled}
    done = _leased(tx, [locked[one] for one in wanted], request, now, closure)
    return replace(done, settled=settled, closure=closure, refused=refused)


def open_path(tx: Tx, request: Exchange, windows: Windows) -> None:
    """Open the balances of the next lease."""
    lease = request.lease
    open_balances(tx, path_of(tx, lease.accounts, lease.scope_keys, lease.at, windows))


def caps(connection: sa.Connection, hold: Hold, windows: Windows) -> dict[str, int] | None:
    """See `conditions.Lender.caps`."""
    if standing(connection, hold.run_ids):
        return None
    budget = schema.budget.c
    rows = in_batches(connection, sa.select(*BUDGET_COLUMNS), budget.scope_key, hold.scope_keys)
    stored = [budget_of(tuple(row)) for row in rows]
    found = {one.account.id: one.cap for one in openings_for(hold.accounts, hold.scope_keys, stored, hold.at, windows)}
    balance = schema.balance.c
    rows = in_batches(connection, sa.select(balance.id, balance.cap), balance.id, list(found))
    return found | {row.id: row.cap for row in rows}


def _exchanged_before(tx: Tx, lease: Hold) -> Exchanged:
    """The same exchange again: what the next lease holds, which is nothing where it has ended meanwhile."""
    row = schema.hold.c
    rows = tx.select(sa.select(row.granted, row.owner).where(row.id == lease.id))
    if not rows:
        return Exchanged(lease.id)
    if rows[0][1] != lease.owner:
        raise LedgerConflict(
            f"lease {lease.id} belongs to process {rows[0][1]!r}, not to {lease.owner!r}. Give each lease its own id.",
            attempt_id=lease.id,
        )
    granted = granted_of(rows[0][0])
    return Exchanged(lease.id, granted.amounts, lock(tx, granted.account_ids))


def _what_is_new(tx: Tx, request: Exchange) -> tuple[Exchange, tuple[LedgerConflict, ...]]:
    """The exchange without the attempts that the books have, each of which is told to them again by itself."""
    ids = [*(one.promise.id for one in request.paid), *(one.promise.id for one in request.kept)]
    row, known = schema.transfer.c, set[str]()
    for start in range(0, len(ids), _BATCH):
        found = tx.select(sa.select(row.hold_id).where(one_of(row.hold_id, ids[start : start + _BATCH])).distinct())
        known |= {one[0] for one in found}
    refused: list[LedgerConflict] = []
    for one in request.paid:
        # Who took over from a dead process can only assume; where its own word is in the books, that stands.
        if one.promise.id in known and one.booking.quality is not Quality.ASSUMED:
            try:
                settle(tx, one.promise.id, one.booking)
            except LedgerConflict as conflict:
                refused.append(conflict)
    paid = tuple([one for one in request.paid if one.promise.id not in known])
    kept = tuple([one for one in request.kept if one.promise.id not in known])
    return replace(request, paid=paid, kept=kept), tuple(refused)


def _flows(request: Exchange) -> list[tuple[int, Amounts]]:
    """What was paid and how many seconds ago, on the clock of who tells it: some of it may be from before an outage."""
    told_at = request.lease.at
    return [(max(0, int((told_at - one.booking.at).total_seconds())), one.booking.amounts) for one in request.paid]


def _taken(tx: Tx, request: Exchange) -> tuple[list[str], list[tuple[str, datetime, Amounts]], tuple[str, ...]]:
    """End the old leases: the accounts they were on, what each held, and who above limits what flows.

    One that was charged because it seemed to be a dead process's is corrected to nothing.
    """
    row = schema.transfer.c
    ids: list[str] = []
    released: list[tuple[str, datetime, Amounts]] = []
    paced = request.lease.paced
    for lease_id in request.old_ids:
        rows = tx.rows(tx.statements.take_hold(), {"id": lease_id})
        if rows:
            held_at, _, granted = rows[0]
            held = granted_of(granted)
            ids, paced = list(held.account_ids), held.paced
            released.append((lease_id, held_at, held.amounts))
        else:
            facts = tx.select(sa.select(row.kind, row.legs).where(row.hold_id == lease_id).order_by(row.phase))
            ids = list(dict.fromkeys(leg[0] for _, legs in facts for leg in legs)) or ids
            if any(kind == "expire" for kind, _ in facts):
                settle_again(tx, lease_id, _back(request.lease.at))
    if not ids and (request.paid or request.kept):
        raise never_held(request.old_ids[0] if request.old_ids else request.lease.id)
    return ids, released, paced


def _back(at: datetime) -> Booking:
    note = "What this lease paid for is booked call by call."
    return Booking(at, Status.RETURNED, Quality.REPORTED, _NOTHING, note=note)


def _settled_up(
    tx: Tx,
    states: Sequence[AccountState],
    request: Exchange,
    released: Sequence[tuple[str, datetime, Amounts]],
    now: datetime,
) -> tuple[AccountState, ...]:
    """Release the old leases, book what was paid, hold what is kept; the states after it."""
    if not (released or request.paid or request.kept):
        return tuple(states)
    before = together([one[2] for one in released])
    came = together([one.booking.amounts for one in request.paid])
    kept = together([one.promise.amounts for one in request.kept])
    freed = resolved(before, came)
    held = holding(kept).held
    posting = Posting(
        tuple([mine + theirs for mine, theirs in zip(freed.held, held, strict=True)]),  # type: ignore[arg-type]
        freed.settled,
        len(request.kept) - len(released),
    )
    after = move(tx, states, posting)
    at = request.lease.at
    for lease_id, held_at, amounts in released:
        write_transfer(tx, lease_id, states, resolved(amounts, _NOTHING), held_at=held_at, phase=2, kind="void", at=at)
    _write_paid(tx, states, request.paid, at)
    for one in request.kept:
        _write_kept(tx, states, one, request, now)
    return after


def _write_paid(tx: Tx, states: Sequence[AccountState], paid: Sequence[Paid], at: datetime) -> None:
    """The facts of many attempts, table by table."""
    if not paid:
        return
    units = [(one.account.id, one.account.unit) for one in states]
    transfers: list[dict[str, Any]] = []
    events: list[BookedEvent] = []
    for one in paid:
        promise, booking = one.promise, one.booking
        kind = "void" if booking.status is Status.REJECTED and not booking.amounts.usd_pico else "post"
        legs = [[account_id, 0, booking.amounts.of(unit), 0] for account_id, unit in units]
        key = {"hold_id": promise.id, "held_at": promise.at, "phase": 2}
        transfers.append({**key, "kind": kind, "at": booking.at, "legs": legs})
        used = tokens_of(booking, promise.input_tokens)
        events.append(BookedEvent(promise.id, 1, promise.at, at, promise.facts, booking, used[0], used[1]))
    tx.append(schema.transfer, transfers)
    tx.append(schema.spend_event, [event_row(one) for one in events])
    tx.append(schema.spend_line, [row for one in events for row in line_rows(one)])
    tx.append(schema.rollup_delta, [rollup_row(one) for one in events])


def _write_kept(tx: Tx, states: Sequence[AccountState], kept: Kept, request: Exchange, now: datetime) -> None:
    """A promise becomes a hold, whose balances have it already."""
    promise = kept.promise
    lasts = request.lease.lease_until - request.lease.at
    hold = replace(request.lease, id=promise.id, at=promise.at, lease_until=promise.at + lasts, facts=promise.facts)
    row = hold_row(hold, Ask(input_tokens=promise.input_tokens), Grant(promise.amounts, 0, tuple(states)), now)
    if kept.booking is not None:
        row |= {"state": "unresolved", "kept": kept_json(kept.booking)}
    tx.run(tx.statements.insert(schema.hold), row)
    posting = holding(promise.amounts)
    write_transfer(tx, promise.id, states, posting, held_at=promise.at, phase=1, kind="hold", at=request.lease.at)


def _leased(
    tx: Tx, states: Sequence[AccountState], request: Exchange, now: datetime, closure: Closure | None
) -> Exchanged:
    """Hold what is in flight, and as many calls more as the path has room for."""
    times = 0
    if request.times and closure is None and lends([one.account for one in states]):
        in_flight = holding(request.open)
        times = times_lent(request.one, request.times, [moved(one, replace(in_flight, live=0)) for one in states])
    leased = together([request.open, scaled(request.one, times)])
    if leased == _NOTHING:
        return Exchanged()
    posting = holding(leased)
    after = move(tx, states, posting, within_caps=times > 0)
    grant = Grant(leased, 0, tuple(states))
    tx.run(tx.statements.insert(schema.hold), hold_row(request.lease, Ask(), grant, now))
    at = request.lease.at
    write_transfer(tx, request.lease.id, states, posting, held_at=at, phase=1, kind="hold", at=at)
    return Exchanged(request.lease.id, leased, after)
