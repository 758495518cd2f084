"""`tokenguard reconcile`: a statement beside the books, and the differences booked once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import PENNY, WIDE, ask, penny_guard

from tokenguard.core.clock import SystemClock
from tokenguard.testing import FakeClock

PENNIES, WIDES = PENNY.removeprefix("openai/"), WIDE.removeprefix("openai/")


@pytest.fixture
def spent(tmp_path: Path) -> str:
    """Two cents of `penny` and 0.4 of `wide` on one day, a cent of `penny` two days later."""
    path, clock = str(tmp_path / "spend.db"), FakeClock()
    with penny_guard(database=path, clock=clock, scope="acme") as guard, guard.run("month"):
        for number in range(2):
            guard.completion(PENNY, ask(number))
        guard.completion(WIDE, ask(2))
        clock.advance(2 * 86_400)
        guard.completion(PENNY, ask(3))
    return path


@pytest.fixture
def first(spent: str, cli: Any) -> str:
    """The first day of those books."""
    days = cli("report", "spend", "--by", "day", "--json", "--database", spent).json["rows"]
    return min(row["by"]["day"] for row in days)


def statement(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "invoice.csv"
    path.write_text("day,provider,model,usd\n" + "".join(f"{line}\n" for line in lines))
    return str(path)


def test_a_statement_that_says_what_was_booked_is_no_finding(cli: Any, tmp_path: Path, spent: str, first: str) -> None:
    invoice = statement(tmp_path, f"{first},openai,{PENNIES},0.02", f"{first},OpenAI,{WIDE},0.004")

    done = cli("reconcile", invoice, "--database", spent)

    assert done.code == 0
    assert "The books say what was billed" in done.out
    assert [line.split() for line in done.out.splitlines() if line.startswith(first)] == [
        [first, "openai", PENNY, "$0.0200", "$0.0200", "$0.00", "0.0", "%"],
        [first, "openai", WIDE, "$0.0040", "$0.0040", "$0.00", "0.0", "%"],
    ]


def test_what_differs_is_listed_and_is_a_finding(cli: Any, tmp_path: Path, spent: str, first: str) -> None:
    invoice = statement(tmp_path, f"{first},openai,{PENNIES},0.025", f"{first},azure,gpt-5,1")

    done = cli("reconcile", invoice, "--json", "--database", spent)
    said = cli("reconcile", invoice, "--database", spent)

    assert (done.code, said.code) == (1, 1)
    assert "3 lines differ by more than the tolerance" in said.out
    assert [(row["provider"], row["model"], row["booked"], row["billed"]) for row in done.json["rows"]] == [
        ("azure", "gpt-5", "0", "1"),
        ("openai", PENNY, "0.02", "0.025"),
        ("openai", WIDE, "0.004", "0"),
    ]
    assert [row["difference"] for row in done.json["rows"]] == ["1", "0.005", "-0.004"]
    assert (done.json["findings"], done.json["booked"]) == (3, [])


@pytest.mark.parametrize(
    ("tolerance", "code"), [("0.005", 0), ("$0.0049", 1), ("20%", 0), ("19.9 %", 1), ("0", 1), ("1e-12", 1)]
)
def test_a_tolerance_is_dollars_or_a_share_of_what_was_billed(
    cli: Any, tmp_path: Path, spent: str, first: str, *, tolerance: str, code: int
) -> None:
    invoice = statement(tmp_path, f"{first},openai,{PENNIES},0.025", f"{first},openai,{WIDES},0.004")

    assert cli("reconcile", invoice, "--tolerance", tolerance, "--database", spent).code == code


def test_booking_makes_the_books_say_what_was_billed_once(cli: Any, tmp_path: Path, spent: str, first: str) -> None:
    invoice = statement(
        tmp_path, f"{first},openai,{PENNIES},0.025000000001", f"{first},openai,{WIDES},0.003", f"{first},azure,a,1"
    )
    options = ("--book", "--why", "March invoice", "--database", spent)

    done, again = cli("reconcile", invoice, *options), cli("reconcile", invoice, *options, "--json")
    after = cli("reconcile", invoice, "--database", spent)

    assert (done.code, again.code, after.code) == (0, 0, 0)
    assert "3 differences booked to reconciled, $1.00 together" in done.out
    assert again.json["booked"] == []
    spend = cli("report", "spend", "--by", "day,operation,scope,quality", "--json", "--database", spent).json
    rows = {tuple(row["by"].values()): row["usd"] for row in spend["rows"]}
    assert rows[first, "reconcile", "reconciled", "reported"] == "1.004000000001"
    assert cli("db", "verify", "--database", spent).code == 0


def test_a_statement_that_changes_is_booked_each_time(cli: Any, tmp_path: Path, spent: str, first: str) -> None:
    booked = []
    for usd in ("0.05", "0.03", "0.05"):
        invoice = statement(tmp_path, f"{first},openai,,{usd}")
        done = cli("reconcile", invoice, "--book", "--why", "restated", "--json", "--database", spent)
        booked += [(one["usd"], one["model"]) for one in done.json["booked"]]
        assert cli("reconcile", invoice, "--database", spent).code == 0

    assert booked == [("0.026", None), ("-0.02", None), ("0.02", None)]
    named = cli("reconcile", statement(tmp_path, f"{first},openai,{PENNIES},0.02"), "--database", spent)
    assert "all models" not in named.out
    assert [line.split()[2] for line in named.out.splitlines() if line.startswith(first)] == ["–", PENNY, WIDE]


def test_a_day_of_the_provider_that_the_statement_has_not_is_told_and_left_alone(
    cli: Any, tmp_path: Path, spent: str, first: str
) -> None:
    last = max(
        row["by"]["day"] for row in cli("report", "spend", "--by", "day", "--json", "--database", spent).json["rows"]
    )
    invoice = statement(tmp_path, f"{first},azure,,0", f"{last},openai,,0.01")

    done = cli("reconcile", invoice, "--database", spent)

    assert done.code == 0
    assert f"{first} openai: $0.0240 booked, and not in the statement; not compared." in done.out
    assert cli("reconcile", invoice, "--json", "--database", spent).json["left_out"] == [
        {"day": first, "provider": "openai", "booked": "0.024"}
    ]


def test_what_is_missing_is_paid_by_the_scope_that_is_named(cli: Any, tmp_path: Path, spent: str, first: str) -> None:
    cli("budget", "set", "acme", "--usd", "5", "--per", "total", "--database", spent)
    invoice = statement(tmp_path, f"{first},azure,,1", f"{first},openai,,0.01")

    cli("reconcile", invoice, "--book", "--why", "invoice", "--scope", "acme/search", "--database", spent)

    budget = cli("budget", "list", "--json", "--database", spent).json["budgets"][0]
    # The dollar that was missing counts, and what was booked too much makes no room: nobody knows whose it was.
    assert budget["settled"] == "1"
    assert cli("db", "verify", "--database", spent).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--book",), "--book needs a reason"),
        (("--book", "--why", "a", "--scope", ""), "--scope '' names nobody"),
        (("--book", "--why", "a", "--scope", "a//b"), "give printable names divided by '/'"),
        (("--book", "--why", "x" * 501), "one printable line"),
        (("--tolerance", "much"), "--tolerance 'much' is neither dollars nor a share"),
        (("--tolerance", "-1"), "neither dollars nor a share"),
        (("--tolerance", "nan%"), "neither dollars nor a share"),
        (("--tolerance", "1e9%"), "neither dollars nor a share"),
        (("--tolerance", "%"), "neither dollars nor a share"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence_and_books_nothing(
    cli: Any, tmp_path: Path, spent: str, first: str, *, arguments: tuple[str, ...], said: str
) -> None:
    done = cli("reconcile", statement(tmp_path, f"{first},openai,,9"), *arguments, "--database", spent)

    assert done.code == 2
    assert said in done.err
    assert cli("report", "spend", "--json", "--database", spent).json["total"]["usd"] == "0.034"


def test_a_statement_that_cannot_be_read_is_asked_wrongly(cli: Any, tmp_path: Path, spent: str) -> None:
    done = cli("reconcile", statement(tmp_path, "yesterday,openai,,1"), "--database", spent)

    assert (done.code, done.out) == (2, "")
    assert "invoice.csv, line 2: day 'yesterday' is not one" in done.err


def test_today_is_compared_but_not_booked(cli: Any, tmp_path: Path, spent: str) -> None:
    invoice = statement(tmp_path, f"{SystemClock().now().date()},openai,,1")

    compared = cli("reconcile", invoice, "--database", spent)
    booked = cli("reconcile", invoice, "--book", "--why", "early", "--database", spent)

    assert (compared.code, booked.code) == (1, 2)
    assert "1 line differs" in compared.out
    assert "is not over (UTC), and its calls are still being booked" in booked.err


def test_a_pruned_day_is_compared_but_not_booked(cli: Any, tmp_path: Path, spent: str, first: str) -> None:
    month = f"{int(first[:4]) + (first[5:7] == '12')}-{int(first[5:7]) % 12 + 1:02}"
    cli("db", "prune", "--before", month, "--database", spent)
    invoice = statement(tmp_path, f"{first},openai,{PENNIES},0.02", f"{first},openai,{WIDES},1")

    compared = cli("reconcile", invoice, "--json", "--database", spent)
    booked = cli("reconcile", invoice, "--book", "--why", "late", "--database", spent)

    assert [row["booked"] for row in compared.json["rows"]] == ["0.02", "0.004"]
    assert booked.code == 1
    assert f"{first} is in a month that was pruned" in booked.err
    assert cli("db", "verify", "--database", spent).code == 0
