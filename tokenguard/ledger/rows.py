"""Values to rows and back. One place knows how a hold, a booking, a balance and a closure look in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from tokenguard.core.account import Account, Amounts
from tokenguard.core.books import Booking, CallFacts, Closure, Entry, GuardEvent, Hold, Line, Status
from tokenguard.core.budget import Per, Unit
from tokenguard.core.usage import METERS, Meter, Quality, Usage
from tokenguard.core.verdict import AccountState, Ask, Grant
from tokenguard.ledger.accounts import Opening, StoredBudget

__all__ = [
    "BookedEvent",
    "Granted",
    "balance_row",
    "booking_of",
    "budget_of",
    "budget_row",
    "by_unit",
    "closure_of",
    "closure_row",
    "event_row",
    "facts_of",
    "granted_of",
    "guard_event_row",
    "hold_row",
    "kept_json",
    "kept_of",
    "line_rows",
    "lines_of",
    "node_row",
    "rollup_row",
    "state_of",
]

Row = dict[str, Any]

_FACTS: Final = (
    "call_id",
    "attempt",
    "operation",
    "model",
    "provider",
    "run_id",
    "root_id",
    "node_id",
    "agent",
    "scope",
    "prompt_id",
    "mode",
)
_PLAIN: Final = (
    "price_id",
    "price_version",
    "stated_pico",
    "computed_pico",
    "ceiling_pico",
    "overrun",
    "response_model",
    "response_id",
    "service_tier",
    "finish_reason",
    "max_tokens",
    "clamped",
    "duration_ms",
    "ttft_ms",
    "endpoint",
    "error_class",
    "error_status",
    "error_request_id",
    "would_have",
    "note",
)
"""Fields of `Booking` that are columns of the same name and need no conversion."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What an open hold has taken, as its row remembers it."""

    amounts: Amounts
    output_tokens: int
    input_bound: int
    before: tuple[tuple[str, int, int, int, int], ...]
    """(account id, cap, settled, held, live) as the grant saw them, outermost scope first."""

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts it is held on."""
        return tuple([one[0] for one in self.before])


@dataclass(frozen=True, slots=True)
class BookedEvent:
    """One row of `spend_event` as values. Revision 1 is the first booking; 2 takes it back, 3 states what was true."""

    id: str
    revision: int
    held_at: datetime
    booked_at: datetime
    facts: CallFacts
    booking: Booking
    input_tokens: int
    output_tokens: int


# ---- balances and budgets ------------------------------------------------------------------------------------------


def balance_row(opening: Opening) -> Row:
    """A new balance at zero."""
    account = opening.account
    return {
        "id": account.id,
        "scope_key": account.scope_key,
        "label": account.scope_label,
        "unit": str(account.unit),
        "per": account.per,
        "bucket": account.bucket,
        "ends_at": account.ends_at,
        "declared": account.cap,
        "warn_at": account.warn_at,
        "reserve_final_pico": account.reserve_final_pico,
        "cap": opening.cap,
        "settled": 0,
        "held": 0,
        "live": 0,
    }


def state_of(row: Sequence[Any]) -> AccountState:
    """A balance row in the order of `BALANCE_COLUMNS`."""
    return AccountState(_account_of(*row[:10]), row[10], row[11], row[12], row[13])


@lru_cache(maxsize=4096)
def _account_of(  # noqa: PLR0917  # a row's columns in their order; keywords would slow the cache
    account_id: str,
    scope_key: str,
    label: str,
    unit: str,
    per: Per,
    bucket: str,
    ends_at: datetime | None,
    declared: int,
    warn_at: tuple[float, ...],
    reserve_final_pico: int,
) -> Account:
    """What does not change from call to call, built once."""
    return Account(
        account_id, scope_key, label, Unit(unit), per, bucket, declared, ends_at, warn_at, reserve_final_pico
    )


def budget_row(budget: StoredBudget, at: datetime) -> Row:
    """A stored budget."""
    return {
        "scope_key": budget.scope_key,
        "unit": str(budget.unit),
        "per": budget.per,
        "tz": budget.tz,
        "label": budget.label,
        "declared": budget.declared,
        "cap": budget.cap,
        "warn_at": budget.warn_at,
        "reserve_final_pico": budget.reserve_final_pico,
        "set_by": budget.set_by,
        "changed_at": at,
    }


def budget_of(row: Sequence[Any]) -> StoredBudget:
    """A budget row in the order of `BUDGET_COLUMNS`."""
    scope_key, unit, per, tz, label, declared, cap, warn_at, kept, set_by, _ = row
    return StoredBudget(scope_key, label, Unit(unit), per, tz, declared, cap, warn_at, kept, set_by)


def by_unit(prefix: str, amounts: Sequence[int]) -> Row:
    """Parameters of `Statements.move` for (usd, tokens, calls, steps)."""
    usd, tokens, calls, steps = amounts
    return {f"{prefix}_usd": usd, f"{prefix}_tokens": tokens, f"{prefix}_calls": calls, f"{prefix}_steps": steps}


# ---- holds ---------------------------------------------------------------------------------------------------------


def hold_row(hold: Hold, ask: Ask, grant: Grant) -> Row:
    """An open hold."""
    amounts = grant.amounts
    granted = {
        "amounts": [amounts.usd_pico, amounts.tokens, amounts.calls, amounts.steps],
        "output_tokens": grant.output_tokens,
        "input_bound": ask.input_tokens,
        "before": [[one.account.id, one.cap, one.settled, one.held, one.live] for one in grant.states],
    }
    return {
        "id": hold.id,
        "held_at": hold.at,
        "owner": hold.owner,
        "lease_until": hold.lease_until,
        "state": "held",
        "root_id": hold.facts.root_id,
        "node_id": hold.facts.node_id or hold.facts.run_id,
        "usd_pico": amounts.usd_pico,
        "facts": _facts_json(hold.facts),
        "granted": granted,
        "kept": None,
    }


def granted_of(json: Mapping[str, Any]) -> Granted:
    """What `hold_row` wrote."""
    before = tuple([tuple(one) for one in json["before"]])
    return Granted(Amounts(*json["amounts"]), json["output_tokens"], json["input_bound"], before)


def _facts_json(facts: CallFacts) -> Row:
    found: Row = {name: getattr(facts, name) for name in _FACTS}
    found["labels"] = dict(facts.labels)
    return found


def facts_of(columns: Mapping[str, Any]) -> CallFacts:
    """The facts in a hold's JSON, or in an event's columns."""
    return CallFacts(**{name: columns[name] for name in _FACTS}, labels=columns["labels"])


def kept_json(booking: Booking) -> Row:
    """What an unresolved attempt leaves on its hold; its amounts will be the ceiling."""
    found: Row = {name: getattr(booking, name) for name in _PLAIN}
    found["output_tps"] = None if booking.output_tps is None else str(booking.output_tps)
    return found


def kept_of(json: Mapping[str, Any], at: datetime) -> Booking:
    """What `kept_json` wrote."""
    rate = json["output_tps"]
    return Booking(
        at,
        Status.UNRESOLVED,
        Quality.ASSUMED,
        Amounts(),
        output_tps=None if rate is None else Decimal(rate),
        **{name: json[name] for name in _PLAIN},
    )


# ---- events --------------------------------------------------------------------------------------------------------


def event_row(event: BookedEvent, *, sign: int = 1) -> Row:
    """An event; with `sign=-1` the row that takes it back."""
    booking, facts = event.booking, event.facts
    amounts = booking.amounts
    row = _facts_json(facts)
    row.update({name: getattr(booking, name) for name in _PLAIN})
    row.update(
        id=event.id,
        revision=event.revision,
        held_at=event.held_at,
        at=booking.at,
        booked_at=event.booked_at,
        status=str(booking.status),
        quality=str(booking.quality),
        usd_pico=sign * amounts.usd_pico,
        tokens=sign * amounts.tokens,
        calls=sign * amounts.calls,
        steps=sign * amounts.steps,
        input_tokens=sign * event.input_tokens,
        output_tokens=sign * event.output_tokens,
        usage=None if booking.usage is None else _usage_json(booking.usage),
        output_tps_milli=booking.output_tps,
    )
    return row


def booking_of(row: Mapping[str, Any], lines: Sequence[Line]) -> Booking:
    """The booking in an event's columns."""
    usage = row["usage"]
    return Booking(
        row["at"],
        Status(row["status"]),
        Quality(row["quality"]),
        Amounts(row["usd_pico"], row["tokens"], row["calls"], row["steps"]),
        usage=None if usage is None else Usage(**{"requests": 0, **usage}),
        lines=tuple(lines),
        output_tps=row["output_tps_milli"],
        **{name: row[name] for name in _PLAIN},
    )


def _usage_json(usage: Usage) -> Row:
    """Leaves that are not zero."""
    return {meter: quantity for meter, quantity in zip(METERS, usage.quantities(), strict=True) if quantity}


def line_rows(event_id: str, revision: int, lines: Sequence[Line]) -> list[Row]:
    """The priced meters of an event."""
    return [
        {
            "event_id": event_id,
            "revision": revision,
            "position": position,
            "meter": str(line.meter),
            "quantity": line.quantity,
            "rate_pico": line.rate_pico,
            "amount_pico": line.amount_pico,
        }
        for position, line in enumerate(lines)
    ]


def lines_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Line, ...]:
    """Line rows in their order."""
    ordered = sorted(rows, key=lambda row: row["position"])
    return tuple(Line(Meter(row["meter"]), row["quantity"], row["rate_pico"], row["amount_pico"]) for row in ordered)


def rollup_row(event: BookedEvent, *, sign: int = 1) -> Row:
    """What an event adds to its day."""
    booking, facts = event.booking, event.facts
    return {
        "event_id": event.id,
        "revision": event.revision,
        "day": booking.at.astimezone(UTC).date().isoformat(),
        "scope": facts.scope,
        "agent": facts.agent or "",
        "model": facts.model,
        "provider": facts.provider,
        "operation": facts.operation,
        "quality": str(booking.quality),
        "mode": facts.mode,
        "usd_pico": sign * booking.amounts.usd_pico,
        "input_tokens": sign * event.input_tokens,
        "output_tokens": sign * event.output_tokens,
        "calls": sign * booking.amounts.calls,
    }


# ---- nodes, closures, acts -----------------------------------------------------------------------------------------


def node_row(entry: Entry) -> Row:
    """A node that begins."""
    return {
        "id": entry.id,
        "kind": str(entry.kind),
        "name": entry.name,
        "parent_id": entry.parent_id,
        "root_id": entry.root_id,
        "scope": entry.scope,
        "owner": entry.owner,
        "labels": dict(entry.labels),
        "started_at": entry.at,
        "ended_at": None,
        "outcome": None,
    }


def closure_row(closure: Closure, row_id: str) -> Row:
    """A tombstone."""
    return {
        "id": row_id,
        "run_id": closure.run_id,
        "account_id": closure.account_id or "",
        "code": closure.code,
        "sentence": closure.sentence,
        "facts": dict(closure.facts),
        "at": closure.at,
        "by": closure.by,
        "ended_at": None,
        "ended_by": None,
        "ended_why": None,
    }


def closure_of(row: Mapping[str, Any]) -> Closure:
    """A closure's columns."""
    return Closure(
        row["run_id"], row["code"], row["sentence"], row["facts"], row["at"], row["by"], row["account_id"] or None
    )


def guard_event_row(event: GuardEvent) -> Row:
    """A decision or an act."""
    return {
        "id": event.id,
        "at": event.at,
        "kind": event.kind,
        "run_id": event.run_id,
        "scope_key": event.scope_key,
        "sentence": event.sentence,
        "facts": dict(event.facts),
    }
