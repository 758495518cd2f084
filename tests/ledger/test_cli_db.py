"""`tokenguard db`: exit codes and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from tokenguard.cli.db import app
from tokenguard.ledger.schema import SCHEMA_VERSION


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def spent(open_sql: Any, sqlite: str, desk: Any) -> str:
    ledger = open_sql(sqlite)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    ledger.settle(hold.id, desk.booking())
    return sqlite


def test_upgrade_creates_the_tables_and_may_be_repeated(sqlite: str) -> None:
    first, second = run("upgrade", "--database", sqlite), run("upgrade", "--database", sqlite)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert f"none → {SCHEMA_VERSION}" in first.output
    assert "up to date" in second.output


def test_upgrade_prepares_a_server_too(postgres: str) -> None:
    done = run("upgrade", "--database", postgres, "--json")

    assert done.exit_code == 0
    assert json.loads(done.output)["after"] == SCHEMA_VERSION


def test_current_says_which_schema_there_is(spent: str) -> None:
    done = run("current", "--database", spent, "--json")

    assert done.exit_code == 0
    assert json.loads(done.output) == {"database": spent, "found": SCHEMA_VERSION, "expected": SCHEMA_VERSION}


def test_current_is_a_finding_where_the_tables_are_missing(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()

    done = run("current", "--database", str(empty))

    assert done.exit_code == 1
    assert "schema none" in done.output


def test_verify_accepts_honest_books(spent: str) -> None:
    done = run("verify", "--database", spent)

    assert done.exit_code == 0
    assert "the books replay (2 transfers, 1 balances, 1 events, 2 lines)" in done.output


def test_verify_finds_a_changed_row(spent: str) -> None:
    engine = sa.create_engine(f"sqlite:///{spent}")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE tg_balance SET settled = 0"))
    engine.dispose()

    told, read = run("verify", "--database", spent), run("verify", "--database", spent, "--json")

    assert (told.exit_code, read.exit_code) == (1, 1)
    assert "settled is 0, replayed it is 10000000000" in told.output
    assert json.loads(read.output)["findings"][0]["replayed"] == "10000000000"


@pytest.mark.parametrize("command", ["verify", "current"])
def test_asking_about_a_ledger_that_is_not_there_creates_none(tmp_path: Path, command: str) -> None:
    missing = tmp_path / "missing.db"

    done = run(command, "--database", str(missing))

    assert done.exit_code == 2
    assert "there is no ledger" in done.output
    assert not missing.exists()


def test_a_file_without_tables_is_not_verified_as_empty(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()

    done = run("verify", "--database", str(empty), "--json")

    assert done.exit_code == 1
    assert json.loads(done.output)["error"] == "schema_mismatch"


def test_compact_says_how_many_deltas_it_added_up(spent: str) -> None:
    first, second = run("compact", "--database", spent), run("compact", "--database", spent, "--json")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "1 deltas compacted" in first.output
    assert json.loads(second.output)["compacted"] == 0


@pytest.fixture
def old(open_sql: Any, sqlite: str, desk: Any) -> Any:
    """A call in January and one in March of a year that is over."""
    ledger = open_sql(sqlite)
    for month in (1, 3):
        at = desk.noon.replace(year=2020, month=month)
        hold = desk.hold(desk.scope(usd="1.00"), at=at, lease_s=10**9)
        ledger.reserve(hold, desk.ask())
        ledger.settle(hold.id, desk.booking(at=at))
    return ledger


def test_prune_says_what_would_go_and_what_went(old: Any, sqlite: str) -> None:
    would, did = (run("prune", "--database", sqlite, "--before", "2020-03", *more) for more in (["--dry-run"], []))
    again, read = (run("prune", "--database", sqlite, "--before", "2020-03", *more) for more in ([], ["--json"]))

    assert [one.exit_code for one in (would, did, again, read)] == [0] * 4
    assert "2 transfers, 1 events and 2 lines from before 2020-03 would go." in would.output
    assert "2 transfers, 1 events and 2 lines from before 2020-03 are pruned." in did.output
    assert "nothing is older than 2020-03" in again.output
    assert json.loads(read.output)["transfers"] == 0
    assert run("verify", "--database", sqlite).exit_code == 0


def test_prune_says_which_rows_nobody_reads_any_more(old: Any, sqlite: str) -> None:
    old.renew("boot/gone/1/1", [], -1e9)

    would, read, did, again = (
        run("prune", "--database", sqlite, "--before", "2020-03", *more)
        for more in (["--dry-run"], ["--dry-run", "--json"], [], [])
    )

    assert "With them would go what nobody reads any more: limits of 0 runs that are over, 1 processes" in would.output
    assert [json.loads(read.output)[name] for name in ("anchors", "owners", "slices", "originals")] == [0, 1, 0, 0]
    assert "With them went what nobody reads any more" in did.output
    assert "nothing is older than 2020-03" in again.output


def test_prune_names_partitions_on_a_server(new_postgres: str, open_sql: Any, desk: Any) -> None:
    run("upgrade", "--database", new_postgres)
    at = desk.noon.replace(year=2020)
    open_sql(new_postgres).charge(desk.hold(at=at), desk.booking(at=at))

    done = run("prune", "--database", new_postgres, "--before", "2020-04")

    assert "are pruned, in 3 partitions." in done.output


def test_prune_refuses_a_month_that_is_not_over_as_asked_wrongly(sqlite: str, old: Any) -> None:
    done = run("prune", "--database", sqlite, "--before", "9998-01", "--json")

    assert done.exit_code == 2
    assert json.loads(done.output)["error"] == "settings_error"


def test_prune_refuses_open_holds_as_a_finding(sqlite: str, old: Any, desk: Any) -> None:
    old.reserve(desk.hold(at=desk.noon.replace(year=2020), lease_s=10**9), desk.ask())

    done = run("prune", "--database", sqlite, "--before", "2020-04")

    assert done.exit_code == 1
    assert "1 holds from before 2020-04 are open" in done.output
