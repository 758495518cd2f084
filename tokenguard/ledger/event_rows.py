"""Events to rows and back: what an attempt was, what it came to, its priced meters and what it adds to its day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, TypeAlias

from tokenguard.core.account import Amounts
from tokenguard.core.books import Booking, CallFacts, Line, Status
from tokenguard.core.usage import METERS, Meter, Quality, Usage

__all__ = [
    "BookedEvent",
    "event_of",
    "event_row",
    "facts_json",
    "facts_of",
    "kept_json",
    "kept_of",
    "line_rows",
    "rollup_row",
]

Row: TypeAlias = dict[str, Any]

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
    "route",
    "first_choice",
    "counterfactual_pico",
    "internal_pico",
)
"""Fields of `Booking` that are columns of the same name and need no conversion."""
_facts_values: Final = attrgetter(*_FACTS)
_plain_values: Final = attrgetter(*_PLAIN)


@dataclass(frozen=True, slots=True)
class BookedEvent:
    """One row of `spend_event` as values.

    Revision 1 is the first booking. Each even one takes the one before it back, and the odd one after it states what is
    true since.
    """

    id: str
    revision: int
    held_at: datetime
    booked_at: datetime
    facts: CallFacts
    booking: Booking
    input_tokens: int
    output_tokens: int


def facts_json(facts: CallFacts) -> Row:
    """The facts as JSON, and as an event's columns."""
    found: Row = dict(zip(_FACTS, _facts_values(facts), strict=True))
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
    # A hold from before an upgrade does not say what the schema came to know since.
    plain: Row = {name: json.get(name) for name in _PLAIN}
    return Booking(
        at,
        Status.UNRESOLVED,
        Quality.ASSUMED,
        Amounts(),
        output_tps=None if rate is None else Decimal(rate),
        **plain,
    )


def event_row(event: BookedEvent, *, sign: int = 1) -> Row:
    """An event; with `sign=-1` the row that takes it back."""
    booking, facts = event.booking, event.facts
    amounts = booking.amounts
    # A row that takes one back has the lines of that one with their signs turned, so its sums turn too.
    usage = booking.usage if sign > 0 else None
    row = facts_json(facts)
    row.update(zip(_PLAIN, _plain_values(booking), strict=True))
    for name in ("stated_pico", "computed_pico", "counterfactual_pico", "internal_pico"):
        row[name] = None if row[name] is None else sign * row[name]
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
        usage=None if usage is None else _usage_json(usage),
        output_tps_milli=booking.output_tps,
    )
    return row


def event_of(row: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> BookedEvent:
    """An event in its columns and those of its lines."""
    return BookedEvent(
        row["id"],
        row["revision"],
        row["held_at"],
        row["booked_at"],
        facts_of(row),
        _booking_of(row, _lines_of(lines)),
        row["input_tokens"],
        row["output_tokens"],
    )


def _booking_of(row: Mapping[str, Any], lines: tuple[Line, ...]) -> Booking:
    usage = row["usage"]
    return Booking(
        row["at"],
        Status(row["status"]),
        Quality(row["quality"]),
        Amounts(row["usd_pico"], row["tokens"], row["calls"], row["steps"]),
        usage=None if usage is None else Usage(**{"requests": 0, **usage}),
        lines=lines,
        output_tps=row["output_tps_milli"],
        **{name: row[name] for name in _PLAIN},
    )


def _lines_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Line, ...]:
    """Line rows in their order."""
    ordered = sorted(rows, key=lambda row: row["position"])
    return tuple(Line(Meter(row["meter"]), row["quantity"], row["rate_pico"], row["amount_pico"]) for row in ordered)


def _usage_json(usage: Usage) -> Row:
    """Leaves that are not zero."""
    return {meter: quantity for meter, quantity in zip(METERS, usage.quantities(), strict=True) if quantity}


def line_rows(event: BookedEvent, *, sign: int = 1) -> list[Row]:
    """The priced meters of an event; with `sign=-1` those of the row that takes it back."""
    return [
        {
            "event_id": event.id,
            "revision": event.revision,
            "position": position,
            "held_at": event.held_at,
            "meter": str(line.meter),
            "quantity": sign * line.quantity,
            "rate_pico": line.rate_pico,
            "amount_pico": sign * line.amount_pico,
        }
        for position, line in enumerate(event.booking.lines)
    ]


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
