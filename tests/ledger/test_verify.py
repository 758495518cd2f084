"""The books replay, and whoever changes one number is found."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa


def tamper(ledger: Any, statement: str) -> None:
    with ledger._database.engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_honest_books_replay(busy_ledger: Any) -> None:
    result = busy_ledger.verify()

    assert result.findings == ()
    assert (result.ok, result.transfers, result.events, result.lines) == (True, 14, 8, 6)


def test_an_empty_ledger_replays(sql_ledger: Any) -> None:
    assert sql_ledger.verify().ok


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE tg_balance SET settled = settled - 1 WHERE unit = 'usd' AND scope_key = 'run:1'", "balance"),
        ("UPDATE tg_balance SET held = held + 1 WHERE unit = 'usd' AND scope_key = 'scope:acme'", "balance"),
        ("UPDATE tg_balance SET live = live + 1 WHERE unit = 'calls'", "balance"),
        ("DELETE FROM tg_balance WHERE unit = 'tokens'", "balance"),
        ("UPDATE tg_window_slice SET settled = settled + 1", "window_slice"),
        ("DELETE FROM tg_window_slice", "window_slice"),
        ("DELETE FROM tg_hold", "hold"),
        ("DELETE FROM tg_transfer WHERE phase = 3", "balance"),
        ("UPDATE tg_spend_event SET usd_pico = usd_pico + 1 WHERE revision = 3", "spend_event"),
        ("DELETE FROM tg_spend_line WHERE position = 1", "spend_event"),
        ("UPDATE tg_spend_line SET amount_pico = amount_pico + 1 WHERE position = 1", "spend_line"),
        ("UPDATE tg_rollup_delta SET usd_pico = usd_pico - 1 WHERE revision = 2", "rollup"),
        ("DELETE FROM tg_rollup_delta WHERE revision = 1", "rollup"),
    ],
)
def test_a_changed_row_is_found(busy_ledger: Any, statement: str, table: str) -> None:
    tamper(busy_ledger, statement)

    result = busy_ledger.verify()

    assert not result.ok
    assert table in {one.table for one in result.findings}
    assert all(one.sentence.startswith(one.table) for one in result.findings)


def test_an_event_without_a_transfer_is_found(busy_ledger: Any) -> None:
    tamper(busy_ledger, "DELETE FROM tg_transfer WHERE kind IN ('hold', 'void') AND hold_id = 'hold-000002'")

    assert any(one.table == "spend_event" and one.key == "hold-000002" for one in busy_ledger.verify().findings)


def test_every_field_of_a_booking_comes_back(sql_ledger: Any, desk: Any) -> None:
    sql_ledger.enter(desk.entry("run-1"))
    booking = desk.booking(
        price_version="2026-03-01",
        stated_pico=desk.cent,
        computed_pico=desk.cent,
        overrun=True,
        response_model="gpt-5-mini-2025",
        response_id="resp_1",
        service_tier="flex",
        finish_reason="length",
        max_tokens=512,
        clamped=True,
        duration_ms=1_500,
        output_tps=Decimal("81.125"),
        endpoint="eu-1",
        error_class="Late",
        error_status=503,
        error_request_id="req_1",
        would_have="budget_exceeded",
        note="größer als gedacht 🙂",
    )
    hold = desk.hold()
    sql_ledger.reserve(hold, desk.ask())

    sql_ledger.settle(hold.id, booking)

    assert sql_ledger.events_of("run-1")[0].booking == booking


def test_the_events_of_a_run_are_listed_with_their_corrections(sql_ledger: Any, desk: Any) -> None:
    sql_ledger.enter(desk.entry("run-1"))
    hold = desk.hold(labels={"team": "search"}, prompt_id="digest@1", lease_s=1)
    sql_ledger.reserve(hold, desk.ask(cents=2))
    sql_ledger.sweep(desk.noon + timedelta(hours=1))
    truth = desk.booking(cents=1, at=desk.noon + timedelta(hours=2), price_id="openai/gpt-5-mini", ttft_ms=120)
    sql_ledger.settle(hold.id, truth)

    events = sql_ledger.events_of("run-1")

    assert [(one.revision, one.booking.amounts.usd_pico // desk.cent) for one in events] == [(1, 2), (2, -2), (3, 1)]
    assert events[2].facts == hold.facts
    assert (events[2].booking.price_id, events[2].booking.ttft_ms, events[2].booking.lines) == (
        "openai/gpt-5-mini",
        120,
        truth.lines,
    )
    assert events[2].booking.usage == truth.usage
