"""Folded runs and runs that were held out, with the calls that they sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokenguard.core.holdout import FoldedRun
from tokenguard.core.savings import Saving


def saving(desk: Any, name: str, root_id: str, stage: str = "json", *, applied: bool = True) -> Saving:
    return Saving(
        id=name,
        at=desk.noon,
        run_id=root_id,
        root_id=root_id,
        scope="acme",
        agent="",
        model="openai/penny",
        stage=stage,
        applied=applied,
        calls=1,
        results=1,
        tokens_before=100,
        tokens_after=60,
        tokens=40,
        elapsed_us=1,
        estimated_pico=1,
        settled_pico=1,
    )


def test_calls_are_counted_by_run_tree_and_marks_are_no_folding(sql_ledger: Any, desk: Any) -> None:
    for run, calls in (("run-a", 3), ("run-b", 1), ("run-c", 2)):
        sql_ledger.enter(desk.entry(run))
        for _ in range(calls):
            hold = desk.hold(desk.scope(), run=run)
            sql_ledger.reserve(hold, desk.ask())
            sql_ledger.settle(hold.id, desk.booking())
    sql_ledger.note_savings(
        [
            saving(desk, "s-1", "run-a"),
            saving(desk, "s-2", "run-a", "text"),
            saving(desk, "s-3", "run-a", "mark"),
            saving(desk, "s-4", "run-b", applied=False),
            saving(desk, "s-5", "run-c", "mark"),
            saving(desk, "s-6", ""),
        ]
    )
    later = desk.noon + timedelta(days=1)

    found = sorted(sql_ledger.folded_runs(), key=lambda one: one.steps)

    assert found[-2:] == [FoldedRun(folded=False, steps=1, tokens_removed=40), FoldedRun(True, 3, 80)]
    assert sql_ledger.folded_runs(since=later) == sql_ledger.folded_runs(until=desk.noon) == ()
