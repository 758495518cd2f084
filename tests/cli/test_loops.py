"""Repetitions at the command line: in their report, and below the run in which they happened."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend
from tokenguard.calls.hub import guard_event
from tokenguard.core.events import Looped
from tokenguard.core.looping import LOOPED
from tokenguard.core.money import Money

AT = datetime(2026, 3, 14, 12, tzinfo=UTC)
MEAN = "one more repetition at their mean cost"


@pytest.fixture
def repeated(tmp_path: Path) -> Any:
    """Books with a repetition that was blocked and then stopped, of a tool with a hostile name."""
    path = str(tmp_path / "loops.db")
    with tg.Guard(database=path, backend=ScriptedBackend([])) as guard, guard.run("stuck") as run:
        record = guard.late.get().ledger.record
        evidence = {"subject": "read\x1b[2J", "fingerprint": "f", "window": 10, "keys": ["path"]}
        for rung, repeats, wasted in (("block", 4, "0.30"), ("stop", 6, "0.20")):
            event = Looped(
                at=AT,
                run_id=run.id,
                rung=rung,
                applied=True,
                rule="cycle",
                repeats=repeats,
                evidence=evidence,
                wasted=Money(wasted),
                averted=Money("0.10"),
                assumption=MEAN,
            )
            record(guard_event(event, LOOPED, f"event-{rung}"))
    return path, run.id


def test_the_report_of_loops_says_what_was_wasted_and_averted(cli: Any, repeated: Any) -> None:
    done = cli("report", "loops", "--database", repeated[0])

    (row,) = [line.split() for line in done.out.splitlines() if line.startswith("cycle")]
    assert done.code == 0
    assert row[0], row[-4:] == ("cycle", ["6", "stopped", "$0.50", "$0.20"])
    assert f"averted is an estimate: {MEAN}." in done.out
    assert "\x1b" not in done.out


def test_the_report_of_loops_as_json_has_money_as_decimal_strings(cli: Any, repeated: Any) -> None:
    document = cli("report", "loops", "--json", "--since", "2026-03-01", "--database", repeated[0]).json

    assert document["report"] == "loops"
    assert document["rows"][0]["wasted_usd"] == document["total"]["wasted_usd"] == "0.5"
    assert document["total"]["averted_usd"] == "0.2"
    assert document["rows"][0]["run"] == repeated[1]
    assert document["ledger"] == repeated[0]


def test_a_time_without_repetitions_says_so(cli: Any, repeated: Any) -> None:
    done = cli("report", "loops", "--until", "2020-01-01", "--database", repeated[0])

    assert done.code == 0
    assert "Nothing was found to repeat itself in that time" in done.out


def test_a_run_is_shown_with_what_repeated_in_it(cli: Any, repeated: Any) -> None:
    shown = cli("runs", "show", repeated[1], "--database", repeated[0])
    document = cli("runs", "show", repeated[1], "--json", "--database", repeated[0]).json

    assert "× 6, stopped; wasted $0.50, averted $0.20" in shown.out
    assert "\x1b" not in shown.out
    assert document["own_loops"][0]["rung"] == "stop"
