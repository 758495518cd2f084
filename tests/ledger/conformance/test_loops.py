"""The state of loop rules and the money of repetitions: the same in memory, in a file and on a server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokenguard.core.books import GuardEvent
from tokenguard.core.ladder import Rung
from tokenguard.core.money import Money

ASSUMED = "one more repetition at their mean cost"


def looped(desk: Any, event_id: str, run: str | None = "run-1", **changes: Any) -> GuardEvent:
    """A rung that acted, as `calls/hub.py` writes it."""
    evidence = {"subject": "read", "fingerprint": "f-1", "window": 10, "keys": ["path"]}
    facts = {
        "rung": "steer",
        "applied": True,
        "rule": "same_call_same_result",
        "repeats": 3,
        "evidence": {**evidence, **changes.pop("evidence", {})},
        "wasted": "0.02",
        "averted": "0",
        "assumption": "",
    }
    minutes, kind = changes.pop("minutes", 0), changes.pop("kind", "looped")
    at = desk.noon + timedelta(minutes=minutes)
    return GuardEvent(event_id, at, kind, run, None, "It repeats itself.", {**facts, **changes})


def test_rungs_of_one_repetition_are_one_loop_at_its_highest_waste(ledger: Any, desk: Any) -> None:
    acts: list[dict[str, Any]] = [
        {"rung": "steer", "repeats": 3, "wasted": "0.02"},
        {"rung": "block", "repeats": 4, "wasted": "0.01", "averted": "0.01", "assumption": ASSUMED},
        {"rung": "block", "repeats": 5, "wasted": "0", "averted": "0.01", "assumption": ASSUMED},
        {"rung": "stop", "repeats": 6, "wasted": "0.01", "averted": "0.01", "assumption": ASSUMED},
        {"rung": "steer", "repeats": 3, "wasted": "0"},
    ]
    for minutes, act in enumerate(acts):
        ledger.record(looped(desk, f"event-{minutes}", minutes=minutes, **act))

    (found,) = ledger.loops()

    assert (found.run_id, found.rule, found.subject, found.fingerprint) == (
        "run-1",
        "same_call_same_result",
        "read",
        "f-1",
    )
    assert (found.repeats, found.rung, found.applied, found.assumption) == (6, Rung.STOP, True, ASSUMED)
    assert (found.wasted, found.averted) == (Money("0.04"), Money("0.03"))
    assert (found.first_at, found.at) == (desk.noon, desk.noon + timedelta(minutes=4))


def test_each_run_and_each_repetition_is_a_loop_of_its_own_the_dearest_first(ledger: Any, desk: Any) -> None:
    ledger.record(looped(desk, "a"))
    ledger.record(looped(desk, "b", evidence={"fingerprint": "f-2"}, wasted="0.05"))
    ledger.record(looped(desk, "c", "run-2", wasted="0.000000000001", applied=False))
    ledger.record(looped(desk, "d", None))
    ledger.record(looped(desk, "e", kind="laddered"))

    found = ledger.loops()

    assert [(one.run_id, one.fingerprint) for one in found] == [("run-1", "f-2"), ("run-1", "f-1"), ("run-2", "f-1")]
    assert [one.applied for one in found] == [True, True, False]
    assert found[2].wasted == Money.from_pico(1)


def test_loops_are_told_of_some_runs_and_of_a_time(ledger: Any, desk: Any) -> None:
    for number in range(3):
        ledger.record(looped(desk, f"event-{number}", f"run-{number}", minutes=number))
    first, second = desk.noon + timedelta(minutes=1), desk.noon + timedelta(minutes=2)

    assert [one.run_id for one in ledger.loops(["run-0", "run-2", "nobody"])] == ["run-0", "run-2"]
    assert [one.run_id for one in ledger.loops(since=first, until=second)] == ["run-1"]
    assert ledger.loops([]) == ()


def test_the_state_of_a_run_is_kept_until_the_next_and_read_by_anybody(ledger: Any, desk: Any) -> None:
    ledger.enter(desk.entry("run-1"))
    ledger.remember("run-1", {"rounds": [["read", "f-1", 3]], "version": 1}, desk.noon)
    first = ledger.recall("run-1")
    ledger.remember("run-1", {"rounds": []}, desk.noon + timedelta(minutes=1))

    assert first == {"rounds": [["read", "f-1", 3]], "version": 1}
    assert ledger.recall("run-1") == {"rounds": []}
    assert ledger.recall("nobody") is None


def test_a_state_survives_its_process(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite)
    ledger.enter(desk.entry("run-1"))
    ledger.remember("run-1", {"seen": 3}, desk.noon)
    ledger.dispose()

    assert open_sql(sqlite).recall("run-1") == {"seen": 3}


def test_the_report_reads_the_index_of_repetitions(open_sql: Any, sqlite: str) -> None:
    ledger = open_sql(sqlite)
    plan = ledger._database.read(
        lambda connection: connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM tg_guard_event WHERE kind = 'looped' AND at >= 5"
        ).all()
    )

    assert any("tg_guard_event_looped" in str(row) for row in plan)
