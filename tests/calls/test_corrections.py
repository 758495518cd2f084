"""Refunds and corrections through the guard: what a user writes, hears and sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing import CountingIds, FakeClock


def called(guard: tg.Guard, server: Any) -> str:
    """The id of an attempt that cost a cent."""
    reply = guard.completion(PENNY, ask(), max_tokens=400, **at(server))
    return tg.receipt_of(reply).attempt_id


def test_a_refund_makes_room_in_the_run_that_paid(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database)
    heard: list[tg.events.Adjusted] = []
    guard.on(tg.events.Adjusted, heard.append)

    with guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        attempt = called(guard, server)
        done = guard.refund(attempt, usd="0.01", why="an outage was credited", by="ada")
        called(guard, server)

    assert (done.before, done.after, done.duplicate) == (tg.Money("0.01"), tg.Money(0), False)
    assert (run.receipt().cost, run.receipt().calls) == (tg.Money("0.01"), 2)
    assert [(one.kind, one.attempt_id, one.before, one.after, one.why, one.by) for one in heard] == [
        ("refund", attempt, tg.Money("0.01"), tg.Money(0), "an outage was credited", "ada")
    ]
    assert heard[0].run_id == run.id
    assert heard[0].sentence == (
        f"attempt {attempt} stands at $0.00 instead of $0.0100: $0.0100 refunded, booked by ada: an outage was "
        "credited."
    )


def test_a_correction_that_passes_the_cap_is_booked_and_refuses_the_next_call(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database)

    with guard.run("agent", budget=tg.Budget(usd="0.10")) as run:
        attempt = called(guard, server)
        guard.correct(attempt, usd=tg.Money("0.25"), why="billed as the large model")
        with pytest.raises(tg.BudgetExceeded):
            called(guard, server)

    assert run.receipt().cost == tg.Money("0.25")
    assert server.count == 1


def test_the_same_adjustment_again_is_booked_once_and_heard_once(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database)
    heard: list[Any] = []
    guard.on(tg.events.Adjusted, heard.append)

    with guard.run("agent") as run:
        attempt = called(guard, server)
        first, again = (
            guard.refund(attempt, usd="0.004", why="credited", adjustment_id="credit-note-17") for _ in range(2)
        )

    assert (first.id, first.duplicate, again.duplicate) == ("credit-note-17", False, True)
    assert run.receipt().cost == tg.Money("0.006")
    assert len(heard) == 1


def test_a_float_and_a_missing_reason_are_refused_before_the_books_are_asked(make_guard: MakeGuard) -> None:
    guard = make_guard()
    usd: Any = 0.01

    with pytest.raises(tg.BadAmount, match="a float cannot hold cents"):
        guard.refund("attempt", usd=usd, why="credited")
    with pytest.raises(tg.SetupError, match="why=''"):
        guard.correct("attempt", usd="0.01", why="")
    with pytest.raises(tg.LedgerError, match="there is no attempt 'attempt'"):
        guard.correct("attempt", usd="0.01", why="billed")


def test_who_and_why_are_in_the_books(make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path) -> None:
    path = str(tmp_path / "spend.db")
    server, guard = make_server(), make_guard(path)
    with guard.run("agent") as run:
        guard.refund(called(guard, server), usd="0.01", why="an outage was credited", by="ada")
    guard.close()

    ledger = SqlLedger.open(path, FakeClock(), CountingIds())
    events, sound = ledger.events_of(run.id), ledger.verify().ok
    ledger.dispose()

    assert events[-1].booking.note == "$0.0100 refunded, booked by ada: an outage was credited"
    assert sound
