import csv
import io

import pytest

from tokenguard.core.money import Money
from tokenguard.reports.tables import Column, Table, aligned, csv_text, visible


def test_a_column_of_money_has_as_many_decimals_as_its_smallest_amount_needs() -> None:
    amounts = [Money("12.3"), Money("0.0042"), Money(0)]

    shown = aligned(amounts)

    assert shown == ("$12.3000", "$0.0042", "$0.0000")


def test_an_amount_below_a_microdollar_is_never_shown_as_zero() -> None:
    assert aligned([Money("0.00000000001"), Money(1)]) == ("<$0.000001", "$1.000000")


@pytest.mark.parametrize("hostile", ["a\x1b[2Jb", "a\rb", "a\u202eb", "a\x00b", "a\u2028b"])
def test_a_name_cannot_move_the_cursor(hostile: str) -> None:
    assert visible(hostile).isprintable()
    assert len(visible(hostile)) == len(hostile)


def test_a_long_name_is_cut_where_one_can_see_it() -> None:
    shown = visible("x" * 10_000, 20)

    assert shown == "x" * 19 + "…"


@pytest.mark.parametrize("formula", ["=1+1", "+A1", "-A1", "@sum", "\tx"])
def test_a_spreadsheet_runs_no_name_as_a_formula(formula: str) -> None:
    text = csv_text(["name", "usd"], [[formula, "-0.50"]])

    assert list(csv.reader(io.StringIO(text)))[1] == [f"'{formula}", "-0.50"]


def test_a_column_in_which_no_row_says_anything_goes() -> None:
    table = Table((Column("a"), Column("b")), (("1", ""), ("2", "")), ("3", ""))

    assert table.without_empty("a", "b") == Table((Column("a"),), (("1",), ("2",)), ("3",))
