import os
import sqlite3
from contextlib import closing
from typing import Any

import pytest

import tokenguard as tg


def test_a_person_sets_a_cap_before_any_code_ran(cli: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "new.db")

    done = cli("budget", "set", "acme/search", "--usd", "50", "--per", "day", "--json", "--database", path)

    assert done.code == 0
    (budget,) = done.json["budgets"]
    assert (budget["scope"], budget["cap"], budget["per"], budget["set_by"]) == (
        "scope:acme/search",
        "50",
        "day",
        "person",
    )


def test_a_persons_cap_binds_code_that_declares_none(cli: Any, books: Any) -> None:
    cli("budget", "set", "acme/search", "--usd", "0.36", "--per", "day", "--database", books.path)

    with tg.Guard(database=books.path, scope="acme/search") as guard, guard.run("late"):
        charge = guard.charge("browser", up_to="0.05")
        with pytest.raises(tg.BudgetExceeded, match=r"\$0.35 of \$0.36 used this day"), charge:
            pass


def test_a_persons_cap_stands_when_the_code_declares_the_same_number_again(cli: Any, books: Any) -> None:
    cli("budget", "set", "acme/search", "--usd", "60", "--per", "day", "--database", books.path)
    budget = tg.Budget(usd="50", per="day")
    with tg.Guard(database=books.path, scope="acme/search", budget=budget) as guard, guard.run("again"):
        pass

    (listed,) = cli("budget", "list", "--json", "--database", books.path).json["budgets"]

    assert (listed["cap"], listed["declared"], listed["set_by"]) == ("60", "50", "person")


def test_raising_the_cap_of_a_run_ends_its_stop(cli: Any, books: Any) -> None:
    key = f"run:{books.stopped}"

    done = cli("budget", "set", key, "--usd", "5", "--per", "run", "--database", books.path)

    runs = cli("runs", "list", "--json", "--database", books.path).json["runs"]
    assert done.code == 0
    assert [run["stopped"] for run in runs] == [None, None]


def test_caps_of_single_runs_are_listed_on_request(cli: Any, books: Any) -> None:
    few = cli("budget", "list", "--json", "--database", books.path).json["budgets"]
    every = cli("budget", "list", "--all", "--json", "--database", books.path).json["budgets"]

    assert [one["scope"] for one in few] == ["scope:acme/search"]
    assert f"run:{books.stopped}" in [one["scope"] for one in every]


def test_a_list_says_what_is_left(cli: Any, books: Any) -> None:
    done = cli("budget", "list", "--database", books.path)

    assert "$49.65" in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("acme", "--per", "day"), "say what the cap is"),
        (("acme", "--per", "decade", "--usd", "1"), "is not a period"),
        (("acme", "--per", "run", "--usd", "1"), "is not one"),
        (("acme", "--per", "day", "--usd", "-1"), "below zero"),
        (("acme", "--per", "day", "--usd", "ten"), "not an amount of money"),
        (("acme", "--per", "day", "--usd", "1", "--tz", "Mars/Base"), "not a time zone"),
        (("", "--per", "day", "--usd", "1"), "names no scope"),
        (("acme", "--usd", "1"), "--per"),
    ],
)
def test_a_cap_that_cannot_be_meant_is_a_usage_error(cli: Any, tmp_path: Any, arguments: Any, says: str) -> None:
    done = cli("budget", "set", *arguments, "--database", str(tmp_path / "new.db"))

    assert done.code == 2
    assert says in done.err


def test_a_ledger_without_budgets_says_how_to_set_one(cli: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "runs.db")
    with tg.Guard(database=path) as guard, guard.run("free"):
        guard.charge("browser", usd="0.01")

    done = cli("budget", "list", "--database", path)

    assert done.code == 0
    assert "`tokenguard budget set SCOPE --usd 50 --per day` sets one" in done.out


def test_a_cap_set_by_a_user_without_a_name_is_set_by_unknown(cli: Any, tmp_path: Any, monkeypatch: Any) -> None:
    # As in a container whose user id is in no passwd file.
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000, raising=False)
    path = str(tmp_path / "new.db")

    done = cli("budget", "set", "acme", "--usd", "5", "--per", "day", "--database", path)

    with closing(sqlite3.connect(path)) as books:
        (facts,) = books.execute("SELECT facts FROM tg_guard_event WHERE kind = 'cap_set'").fetchone()
    assert done.code == 0
    assert '"unknown"' in facts


def declared_in_file(folder: Any, text: str) -> None:
    (folder / "tokenguard.toml").write_text(text, encoding="utf-8")


def budgets_of(cli: Any, path: str) -> Any:
    found = cli("budget", "list", "--json", "--database", path).json["budgets"]
    return {one["scope"]: (one["cap"], one["set_by"], one["declared"], one["in_file"]) for one in found}


def test_budgets_of_the_file_bind_at_start_and_a_list_says_where_each_cap_came_from(cli: Any, tmp_path: Any) -> None:
    declared_in_file(
        tmp_path,
        """
        [budget]
        usd = "9"
        per = "day"
        [budgets.acme]
        usd = "0.20"
        per = "day"
        [budgets."acme/search"]
        calls = 7
        per = "day"
        [budgets."agent:acme/search/writer"]
        usd = "0.05"
        per = "rolling 24h"
        """,
    )
    path = str(tmp_path / "spend.db")
    code = tg.Budget(usd="0.30", per="day")
    with tg.Guard(database=path, scope="acme/search", budget=code) as guard, guard.run("nightly"):
        with pytest.raises(tg.CallTooLarge, match="'acme/search/writer'"):
            guard.agent("writer")(lambda: guard.charge("browser", up_to="0.06").__enter__())()
        guard.charge("browser", usd="0.19")
        with pytest.raises(tg.BudgetExceeded, match=r"'acme' is spent: \$0.19 of \$0.20"):
            guard.charge("browser", up_to="0.02").__enter__()
    cli("budget", "set", "acme", "--usd", "60", "--per", "day", "--database", path)

    found = budgets_of(cli, path)
    table = cli("budget", "list", "--database", path).out

    assert found["scope:acme"] == ("60", "person", None, "0.2")
    assert found["agent:acme/search/writer"] == ("0.05", "file", None, "0.05")
    assert "person, over $0.20 in file" in table
    assert "rolling 24h" in table


def test_without_a_budget_in_code_the_files_own_budget_joins_those_of_its_scope(cli: Any, tmp_path: Any) -> None:
    declared_in_file(
        tmp_path, 'scope = "acme"\n[budget]\nusd = "9"\nper = "day"\n[budgets.acme]\ncalls = 7\nper = "day"\n'
    )
    path = str(tmp_path / "spend.db")
    with tg.Guard(database=path) as guard, guard.run("nightly"):
        pass

    found = cli("budget", "list", "--json", "--database", path).json["budgets"]

    assert [(one["unit"], one["cap"], one["set_by"]) for one in found] == [("calls", 7, "file"), ("usd", "9", "file")]


def test_unsetting_returns_to_the_declared_cap(cli: Any, books: Any) -> None:
    cli("budget", "set", "acme/search", "--usd", "60", "--per", "day", "--database", books.path)

    done = cli("budget", "unset", "acme/search", "--per", "day", "--json", "--database", books.path)
    again = cli("budget", "unset", "acme/search", "--per", "day", "--unit", "usd", "--database", books.path)

    assert [(one["cap"], one["set_by"]) for one in done.json["budgets"]] == [("50", "code")]
    assert again.code == 2
    assert "no person set a cap per day" in again.err


def test_a_declared_cap_is_forgotten_on_request(cli: Any, books: Any) -> None:
    done = cli("budget", "unset", "acme/search", "--per", "day", "--declared", "--database", books.path)

    assert done.code == 0
    assert "nothing caps scope:acme/search per day now" in done.out


def test_unsetting_a_unit_that_does_not_exist_is_a_usage_error(cli: Any, books: Any) -> None:
    done = cli("budget", "unset", "acme", "--per", "day", "--unit", "euro", "--database", books.path)

    assert done.code == 2
    assert "is not one of steps, calls, tokens, usd" in done.err
