from dataclasses import replace
from datetime import UTC, datetime

from tokenguard.core.ladder import Rung
from tokenguard.core.looping import LoopSpend
from tokenguard.core.money import Money
from tokenguard.reports.loops import LoopReport

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MEAN = "one more repetition at their mean cost"
LOOP = LoopSpend(
    "0193c0de-0001-7000-8000-000000000001",
    "cycle",
    "read",
    "f",
    1_006,
    Rung.STOP,
    Money("0.75"),
    Money("0.25"),
    MEAN,
    NOON,
    NOON,
    applied=True,
)
OTHER = replace(
    LOOP,
    run_id="0193c0de-0002-7000-8000-000000000002",
    rung=Rung.STEER,
    wasted=Money("0.0000000001"),
    averted=Money(0),
    assumption="nothing is averted by a note",
    applied=False,
)
REPORT = LoopReport(NOON, None, (LOOP, OTHER))


def test_each_row_says_what_repeated_where_and_what_was_done() -> None:
    table = REPORT.table()

    assert table.rows[0][:5] == ("cycle", "read", "0193c0de-0001", "1,006", "stopped")
    assert table.rows[1][4] == "would have been steered"
    assert table.total is not None
    assert (table.total[0], table.total[-1]) == ("total", "$0.25")


def test_a_limit_hides_no_money() -> None:
    table = REPORT.table(1)

    assert [row[0] for row in table.rows] == ["cycle", "… 1 more"]
    assert table.total is not None
    assert table.total[5] == REPORT.table().total[5]  # type: ignore[index]


def test_money_is_decimal_strings_and_the_total_is_exact() -> None:
    document = REPORT.json()

    assert document["total"] == {"wasted_usd": "0.7500000001", "averted_usd": "0.25"}
    assert (document["since"], document["until"]) == ("2026-01-05T12:00:00+00:00", None)
    assert LoopReport(None, NOON, ()).json()["until"] == "2026-01-05T12:00:00+00:00"


def test_the_assumption_behind_what_was_averted_is_said_once() -> None:
    twice = LoopReport(None, None, (LOOP, LOOP, OTHER))

    assert twice.assumption == f"averted is an estimate: {MEAN}."
    assert LoopReport(None, None, (OTHER,)).assumption == "averted is an estimate: nothing was averted."
