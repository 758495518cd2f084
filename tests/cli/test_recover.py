"""`tokenguard db recover`: what dead processes journaled is booked, and what the books contradict is said."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from tokenguard.config.location import spool_folder
from tokenguard.core.account import Amounts
from tokenguard.core.books import Booking, Status
from tokenguard.core.clock import SystemClock
from tokenguard.core.usage import Quality
from tokenguard.ledger.spool import Spool


@pytest.fixture
def left(tmp_path: Path, books: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a dead process left: settlements of these attempts."""
    monkeypatch.setenv("TOKENGUARD_SPOOL", str(tmp_path / "spools"))

    def leave(*hold_ids: str) -> Path:
        spool = Spool.open(spool_folder(str(tmp_path / "spools"), books.path))
        booking = Booking(SystemClock().now(), Status.CHARGED, Quality.REPORTED, Amounts(10**10))
        for hold_id in hold_ids:
            row = TypeAdapter(Booking).dump_python(booking, mode="json")
            spool.append({"do": "settle", "hold_id": hold_id, "booking": row})
        spool.close()
        return spool.path.parent

    return leave


def charged_attempt(books: Any) -> str:
    """An attempt that is in the books with other numbers."""
    with sqlite3.connect(books.path) as connection:
        found = connection.execute("SELECT hold_id FROM tg_transfer WHERE kind = 'post'").fetchone()
    return str(found[0])


def test_nothing_left_is_nothing_to_do(cli: Any, books: Any) -> None:
    done = cli("db", "recover", "--database", books.path)

    assert done.code == 0
    assert "0 journaled bookings are in the books now" in done.out


def test_what_the_books_contradict_is_kept_and_said(cli: Any, books: Any, left: Any) -> None:
    folder = left("never-held", charged_attempt(books))

    done = cli("db", "recover", "--database", books.path)

    assert done.code == 1
    assert "0 journaled bookings are in the books now" in done.out
    assert done.out.count(f"refused, and kept in {folder}") == 2
    assert [path.suffix for path in folder.iterdir()] == [".refused"]


def test_machines_get_the_same_as_json(cli: Any, books: Any, left: Any) -> None:
    folder = left("never-held")

    done = cli("db", "recover", "--database", books.path, "--json")

    assert done.code == 1
    assert done.json["folder"] == str(folder)
    assert done.json["booked"] == 0
    assert "never-held" in done.json["refused"][0]


def test_a_ledger_that_is_away_leaves_everything_where_it_is(cli: Any, books: Any, left: Any, monkeypatch: Any) -> None:
    folder = left("never-held")
    monkeypatch.setattr("tokenguard.cli.db._BUSY_TIMEOUT_S", 0.05)
    with sqlite3.connect(books.path, isolation_level=None) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        done = cli("db", "recover", "--database", books.path)

    assert done.code == 1
    assert "locked" in done.err
    assert [path.suffix for path in folder.iterdir()] == [".spool"]
