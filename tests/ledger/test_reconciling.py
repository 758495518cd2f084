"""Bringing a day to what was billed, in both databases: exactly, once, also by two at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.account import accounts_on
from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.budget import Budget
from tokenguard.core.money import Money
from tokenguard.core.statement import Billed
from tokenguard.errors import AdjustRefused
from tokenguard.ledger.rollups import compact


def spent(ledger: Any, desk: Any, cents: int = 4, **changes: Any) -> Any:
    hold = desk.hold(desk.scope(usd="9.00", per="day"), **changes)
    ledger.reserve(hold, desk.ask(cents=9))
    ledger.settle(hold.id, desk.booking(cents=cents))
    return hold


def billed(desk: Any, usd: str, model: str | None = "gpt-5-mini") -> Billed:
    return Billed(desk.noon.date(), "openai", model, Money(usd))


def reconcile(ledger: Any, desk: Any, line: Billed, scope: str = "scope:reconciled", **changes: Any) -> Any:
    given = {"why": "invoice", "by": "ada", "at": desk.noon + timedelta(days=30), **changes}
    return ledger.reconcile(line, scope_keys=(scope,), **given)


@pytest.mark.parametrize("usd", ["0.050000000001", "0.01", "0", "-3"])
def test_the_books_say_what_was_billed_to_the_pico_dollar(sql_ledger: Any, desk: Any, usd: str) -> None:
    spent(sql_ledger, desk)
    spent(sql_ledger, desk, provider="azure")
    spent(sql_ledger, desk, model="openai/GPT-5-mini")
    compact(sql_ledger._database)
    spent(sql_ledger, desk)

    done = reconcile(sql_ledger, desk, billed(desk, usd))
    again = reconcile(sql_ledger, desk, billed(desk, usd))

    assert (done.booked, done.difference) == (Money("0.12"), Money(usd) - Money("0.12"))
    assert (again.booked, again.id) == (Money(usd), None)
    rows = {row.by: row.usd for row in sql_ledger.spend(["day", "provider"])}
    assert rows == {("2026-03-14", "openai"): Money(usd), ("2026-03-14", "azure"): Money("0.04")}
    assert sql_ledger.verify().findings == ()


def test_who_reconciles_at_the_same_time_books_it_once(sql_ledger: Any, desk: Any) -> None:
    hold = spent(sql_ledger, desk)
    sql_ledger.declare(desk.scope("scope:reconciled", usd="1.00", per="month"), desk.noon)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: reconcile(sql_ledger, desk, billed(desk, "1")), range(16)))

    assert sum(one.id is not None for one in done) == 1
    assert sql_ledger.spend([])[0].usd == Money(1)
    assert sql_ledger.states(hold.accounts)[0].settled == 4 * desk.cent
    assert sql_ledger.verify().findings == ()


def test_what_was_missing_counts_in_the_windows_of_its_day(sql_ledger: Any, desk: Any) -> None:
    budgets = tuple(Budget(usd="9.00", per=per) for per in ("day", "month", "rolling 7d"))
    scope = replace(desk.scope("scope:acme"), budgets=budgets)
    sql_ledger.declare(scope, desk.noon)

    reconcile(sql_ledger, desk, billed(desk, "1"), scope="scope:acme")

    def counted(days: int) -> dict[str, int]:
        now = desk.noon + timedelta(days=days)
        return {one.account.per: one.settled // desk.cent for one in sql_ledger.states(accounts_on((scope,), now), now)}

    assert counted(0) == {"day": 100, "month": 100, "rolling 7d": 100}
    assert counted(1) == {"day": 0, "month": 100, "rolling 7d": 100}
    assert counted(8) == {"day": 0, "month": 100, "rolling 7d": 0}
    assert sql_ledger.verify().findings == ()


def test_a_day_that_is_not_over_is_refused(sql_ledger: Any, desk: Any) -> None:
    midnight = desk.noon + timedelta(hours=12)

    with pytest.raises(AdjustRefused, match="2026-03-14 is not over") as caught:
        reconcile(sql_ledger, desk, billed(desk, "1"), at=midnight - timedelta(microseconds=1))
    done = reconcile(sql_ledger, desk, billed(desk, "1"), at=midnight)

    assert (caught.value.reason, caught.value.day) == ("too_early", "2026-03-14")
    assert done.id is not None


def test_a_truth_that_comes_between_two_statements_is_made_up_for(sql_ledger: Any, desk: Any) -> None:
    hold = spent(sql_ledger, desk)
    first = reconcile(sql_ledger, desk, billed(desk, "0.06"))
    refund = Adjustment("refund-1", hold.id, Adjusts.REFUND, 2 * desk.cent, "credited", "ada", desk.noon)
    sql_ledger.adjust(refund)

    second = reconcile(sql_ledger, desk, billed(desk, "0.06"))

    assert (first.difference, second.difference) == (Money("0.02"), Money("0.02"))
    assert first.id != second.id
    assert sql_ledger.spend([])[0].usd == Money("0.06")
    assert sql_ledger.verify().findings == ()


def test_a_reconciled_difference_is_an_attempt_that_can_be_corrected(sql_ledger: Any, desk: Any) -> None:
    done = reconcile(sql_ledger, desk, billed(desk, "1", model=None))

    sql_ledger.adjust(Adjustment("refund-1", done.id, Adjusts.REFUND, 40 * desk.cent, "credited", "ada", desk.noon))

    assert [(row.by, row.usd) for row in sql_ledger.spend(["operation", "scope", "model"])] == [
        (("reconcile", "reconciled", ""), Money("0.60"))
    ]
    assert sql_ledger.verify().findings == ()
