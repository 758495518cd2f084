"""`tokenguard db`: exit codes and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from tokenguard.cli.db import app
from tokenguard.ledger import schema


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
    assert f"none → {schema.SCHEMA_VERSION}" in first.output
    assert "up to date" in second.output


def test_upgrade_prepares_a_server_too(postgres: str) -> None:
    done = run("upgrade", "--database", postgres, "--json")

    assert done.exit_code == 0
    assert json.loads(done.output)["after"] == schema.SCHEMA_VERSION


def test_current_says_which_schema_there_is(spent: str) -> None:
    done = run("current", "--database", spent, "--json")

    assert done.exit_code == 0
    assert json.loads(done.output) == {
        "database": spent,
        "found": schema.SCHEMA_VERSION,
        "expected": schema.SCHEMA_VERSION,
    }


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
