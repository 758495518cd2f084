from datetime import UTC, datetime

from tokenguard.core.books import SpendRow
from tokenguard.core.money import Money
from tokenguard.reports.spend import SpendReport

NONE = Money(0)
ROWS = (
    SpendRow(("writer", "gpt"), Money("0.75"), NONE, Money("0.25"), 3, 300, 30),
    SpendRow(("reader", "gpt"), Money("0.2000000001"), NONE, NONE, 2, 200, 20),
    SpendRow(("", "mini"), Money("0.05"), NONE, NONE, 1, 100, 10),
)
REPORT = SpendReport(("agent", "model"), datetime(2026, 11, 1, tzinfo=UTC), None, ROWS)


def test_a_limit_hides_no_money() -> None:
    table = REPORT.table(1)

    assert [row[0] for row in table.rows] == ["writer", "… 2 more"]
    assert table.total is not None
    assert table.total[0] == "total"
    assert table.total[4] == "6"


def test_the_total_is_exact_to_the_pico_dollar() -> None:
    assert REPORT.json()["total"]["usd"] == "1.0000000001"


def test_shares_are_of_the_whole_and_not_of_what_is_shown() -> None:
    table = REPORT.table(1)

    assert [row[3] for row in table.rows] == ["75.0 %", "25.0 %"]


def test_only_marks_that_somebody_has_get_a_column() -> None:
    names = [column.name for column in REPORT.table().columns]

    assert "assumed" in names
    assert "estimated" not in names


def test_a_call_without_an_agent_has_a_visible_name() -> None:
    assert REPORT.table().rows[2][0] == "–"


def test_csv_has_every_row_and_exact_amounts() -> None:
    lines = REPORT.csv().splitlines()

    assert lines[0] == "agent,model,usd,estimated_usd,assumed_usd,calls,input_tokens,output_tokens"
    assert lines[2] == "reader,gpt,0.2000000001,0,0,2,200,20"
    assert len(lines) == 4


def test_nothing_spent_is_an_empty_table_with_a_total() -> None:
    table = SpendReport(("agent",), None, None, ()).table()

    assert table.rows == ()
    assert table.total is not None
    assert table.total[1] == "$0.00"
