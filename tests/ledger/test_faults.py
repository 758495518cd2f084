"""Databases that cannot answer: each trouble has its sentence, and nothing is half-written."""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.account import Amounts
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import Grant
from tokenguard.errors import BadAmount, LedgerUnavailable, MissingExtra, SchemaMismatch, SettingsError
from tokenguard.ledger.address import Address
from tokenguard.ledger.faults import CONNECTIONS_MAX, may_pass, sentence_for
from tokenguard.ledger.schema import SCHEMA_VERSION

TEN_MILLION = 10_000_000 * 10**12


def test_a_file_that_another_process_keeps_locked_is_named(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite, busy_timeout_s=0.05)
    other = sqlite3.connect(sqlite, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(LedgerUnavailable, match="locked by another process") as caught:
        ledger.reserve(desk.hold(), desk.ask())
    other.execute("ROLLBACK")
    other.close()

    assert caught.value.database == sqlite
    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_threads_that_keep_the_file_too_long_are_named(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite, busy_timeout_s=0.01)

    with ledger._database._lock, pytest.raises(LedgerUnavailable, match="other threads of this process"):
        ledger.reserve(desk.hold(), desk.ask())

    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_a_transaction_that_an_interrupt_left_open_is_rolled_back_first(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    driver = ledger._database._writer.driver_connection
    driver.execute("BEGIN IMMEDIATE")
    driver.execute("UPDATE tg_balance SET settled = 1")

    settled = ledger.settle(hold.id, desk.booking())

    assert settled.states[0].settled == desk.cent
    assert ledger.verify().ok


def test_a_new_file_waits_while_another_process_prepares_it(
    open_sql: Any, sqlite: str, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(sqlite, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(time, "sleep", lambda _: other.close())

    ledger = open_sql(sqlite, busy_timeout_s=0.01)

    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)
    assert ledger._database._writer.driver_connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_new_file_that_another_process_never_releases_is_named(
    open_sql: Any, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(sqlite, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(time, "sleep", lambda _: None)

    with pytest.raises(LedgerUnavailable, match="locked by another process"):
        open_sql(sqlite, busy_timeout_s=0.01)

    other.close()


def test_an_empty_file_that_may_not_be_written_is_named(open_sql: Any, sqlite: str) -> None:
    Path(sqlite).touch()

    with pytest.raises(LedgerUnavailable, match="read-only"):
        open_sql(f"sqlite:///file:{sqlite}?mode=ro&uri=true")

    assert Path(sqlite).read_bytes() == b""


def test_a_read_only_file_is_named(open_sql: Any, sqlite: str, desk: Any) -> None:
    open_sql(sqlite).dispose()
    ledger = open_sql(f"sqlite:///file:{sqlite}?mode=ro&uri=true")

    with pytest.raises(LedgerUnavailable, match="read-only"):
        ledger.reserve(desk.hold(), desk.ask())


def test_a_full_disk_is_named_and_nothing_is_half_written(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite)
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    driver = ledger._database._writer.driver_connection
    pages = driver.execute("PRAGMA page_count").fetchone()[0]
    driver.execute(f"PRAGMA max_page_count={pages}")

    with pytest.raises(LedgerUnavailable, match="disk is full"):
        ledger.settle(hold.id, desk.booking(note="x" * 100_000))
    driver.execute("PRAGMA max_page_count=1000000")

    assert ledger.verify().ok
    assert ledger.settle(hold.id, desk.booking()).states[0].settled == desk.cent


def test_a_missing_folder_is_named(open_sql: Any, tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="no folder"):
        open_sql(str(tmp_path / "nowhere" / "ledger.db"))


def test_a_folder_is_not_a_ledger(open_sql: Any, tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="it is a folder"):
        open_sql(str(tmp_path))


def test_a_file_of_another_kind_is_named_and_left_alone(open_sql: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Dear diary, " * 1_000, encoding="utf-8")

    with pytest.raises(LedgerUnavailable, match="not a SQLite database"):
        open_sql(str(notes))

    assert notes.read_text(encoding="utf-8").startswith("Dear diary")


@pytest.mark.parametrize("database", ["", ":memory:", "sqlite://", "sqlite:///:memory:"])
def test_a_database_that_keeps_nothing_is_refused(open_sql: Any, database: str) -> None:
    with pytest.raises(SettingsError, match='database="memory"'):
        open_sql(database)


def test_an_unknown_kind_of_database_is_refused_without_its_password(open_sql: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        open_sql("mysql://root:hunter2@db.example/ledger")

    assert "hunter2" not in str(caught.value)
    assert "mysql" in str(caught.value)


def test_a_url_that_cannot_be_read_is_refused_without_its_password() -> None:
    with pytest.raises(SettingsError, match="not a readable database URL") as caught:
        Address.of("postgresql://ada:hunter2@db.example:many/spend")

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_files_url_and_its_path_are_the_same_place(sqlite: str) -> None:
    assert Address.of(f"sqlite:///{sqlite}") == Address.of(sqlite)


def test_a_server_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(MissingExtra, match=r"tokenguard-llm\[postgres\]") as caught:
        Address.of("postgresql://ada:hunter2@db.example/spend")

    assert caught.value.extra == "postgres"


def test_a_server_is_named_without_user_and_password() -> None:
    address = Address.of("postgresql://ada:hunter2@db.example:5433/spend")

    assert address.name == "postgresql://db.example:5433/spend"


def test_servers_of_which_one_is_the_primary_are_named_together() -> None:
    address = Address.of("postgresql://ada:hunter2@/spend?host=db1:5432&host=db2:5432&target_session_attrs=read-write")

    assert address.name == "postgresql://db1:5432,db2:5432/spend"


def test_a_server_that_is_away_is_named_without_credentials(open_sql: Any) -> None:
    with pytest.raises(LedgerUnavailable, match="cannot be reached") as caught:
        open_sql("postgresql://ada:hunter2@127.0.0.1:1/spend")

    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1:1/spend" in str(caught.value)


def test_tables_that_vanish_under_an_open_ledger_name_the_upgrade(open_sql: Any, postgres: str, desk: Any) -> None:
    ledger = open_sql(postgres)
    with ledger._database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE tg_hold RENAME TO tg_elsewhere"))

    with pytest.raises(SchemaMismatch, match=f"needs {SCHEMA_VERSION}.*tokenguard db upgrade") as caught:
        ledger.reserve(desk.hold(), desk.ask())
    with ledger._database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE tg_elsewhere RENAME TO tg_hold"))

    assert (caught.value.found, caught.value.expected) == (None, SCHEMA_VERSION)
    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_more_callers_than_connections_hear_which_limit_they_met_and_nothing_is_written(
    open_sql: Any, postgres: str, desk: Any
) -> None:
    ledger = open_sql(postgres)
    pool = ledger._database.engine.pool
    waits_s, pool._timeout = pool._timeout, 0.01
    taken = [pool.connect() for _ in range(CONNECTIONS_MAX)]

    with pytest.raises(LedgerUnavailable, match="Nothing was written") as caught:
        ledger.reserve(desk.hold(), desk.ask())
    for one in taken:
        one.close()

    assert "all 32 connections of this process in use, and none came free within 15 s" in str(caught.value)
    assert "Make fewer calls at once" in str(caught.value)
    assert (caught.value.connections, caught.value.wait_s) == (32, 15) == (CONNECTIONS_MAX, waits_s)
    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_a_connection_that_the_server_ends_in_a_transaction_is_named_and_leaves_no_noise(
    open_sql: Any, postgres: str, desk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, other = open_sql(postgres), open_sql(postgres)

    def ended(tx: Any) -> None:
        (mine,) = tx.select(sa.select(sa.func.pg_backend_pid()))[0]
        other._database.transact(lambda theirs: theirs.select(sa.select(sa.func.pg_terminate_backend(mine))))
        tx.select(sa.select(sa.func.pg_backend_pid()))

    with pytest.raises(LedgerUnavailable, match="is shutting down or starting"):
        ledger._database.transact(ended)

    assert caplog.records == []
    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_a_server_that_takes_no_more_connections_has_that_among_the_reasons(open_sql: Any, postgres: str) -> None:
    engine = open_sql(postgres)._database.engine
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE ROLE latecomer LOGIN CONNECTION LIMIT 0"))

    with pytest.raises(LedgerUnavailable, match="max_connections has room"):
        open_sql(sa.make_url(postgres).set(username="latecomer").render_as_string(hide_password=False))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP ROLE latecomer"))


def test_a_cap_above_nine_million_dollars_names_postgresql(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite)

    for act in (
        lambda: ledger.declare(desk.scope(usd=10_000_000), desk.noon),
        lambda: ledger.set_cap("scope:acme", Unit.USD, "day", "UTC", TEN_MILLION, by="ada", at=desk.noon),
        lambda: ledger.reserve(desk.hold(desk.scope("run:1", usd=10_000_000)), desk.ask()),
        lambda: ledger.reserve(desk.hold(enforce=False), desk.ask(cents=10**9)),
    ):
        with pytest.raises(BadAmount, match="PostgreSQL"):
            act()


def test_topping_up_above_nine_million_dollars_names_postgresql(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite)
    ledger.declare(desk.scope(usd=9_000_000), desk.noon)

    with pytest.raises(BadAmount, match="PostgreSQL"):
        ledger.top_up("scope:acme", Unit.USD, TEN_MILLION // 10, by="ada", at=desk.noon)


def test_spend_above_nine_million_dollars_is_refused_before_a_balance_turns_to_float(
    open_sql: Any, sqlite: str, desk: Any
) -> None:
    ledger = open_sql(sqlite)
    scope = desk.scope(usd=9_000_000)
    hold = desk.hold(scope)
    ledger.reserve(hold, desk.ask())
    ledger.settle(hold.id, desk.booking(amounts=Amounts(9_000_000 * 10**12), lines=()))

    with pytest.raises(BadAmount, match="PostgreSQL"):
        ledger.charge(desk.hold(scope), desk.booking(amounts=Amounts(1_000_000 * 10**12), lines=()))

    assert ledger.verify().ok


def test_a_report_whose_sum_sqlite_cannot_count_names_postgresql(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite)
    for _ in range(2):
        ledger.charge(desk.hold(), desk.booking(amounts=Amounts(9_000_000 * 10**12), lines=()))

    with pytest.raises(LedgerUnavailable, match="Move the ledger to PostgreSQL"):
        ledger.spend([])


def test_postgresql_counts_beyond_that(open_sql: Any, postgres: str, desk: Any) -> None:
    ledger = open_sql(postgres)
    scope = desk.scope(usd=10**15)
    hold = desk.hold(scope)
    ledger.reserve(hold, desk.ask(cents=10**12))

    settled = ledger.settle(hold.id, desk.booking(cents=10**12))

    assert settled.states[0].settled == 10**12 * desk.cent
    assert ledger.spend([])[0].usd.pico == 10**12 * desk.cent
    assert ledger.verify().ok


def test_full_durability_syncs_every_commit(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite, durability="full")
    ledger.reserve(desk.hold(), desk.ask())

    full = ledger._database._writer.driver_connection.execute("PRAGMA synchronous").fetchone()[0]

    assert full == 2


class _Error(Exception):
    def __init__(self, sqlstate: str | None = None, sqlite_errorcode: int | None = None) -> None:
        self.sqlstate = sqlstate
        self.sqlite_errorcode = sqlite_errorcode


@pytest.mark.parametrize(
    ("error", "words", "passes"),
    [
        (_Error(sqlite_errorcode=5 | 1 << 8), "locked by another process", True),
        (_Error(sqlite_errorcode=10 | 3 << 8), "disk reports an error", False),
        (_Error(sqlite_errorcode=11), "damaged", False),
        (_Error("40P01"), "contention", True),
        (_Error("40001"), "contention", True),
        (_Error("28P01"), "refuses the login", False),
        (_Error("3D000"), "does not exist", False),
        (_Error("53100"), "out of room", False),
        (_Error("53300"), "each process takes up to 32", False),
        (_Error("25006"), "refuses to write", False),
        (_Error("57P01"), "shutting down", False),
        (_Error("42501"), "Grant the rights", False),
        (_Error("XX000"), "Nothing was written", False),
    ],
)
def test_every_trouble_has_a_sentence_with_the_next_move(error: Exception, words: str, passes: bool) -> None:  # noqa: FBT001
    sentence = sentence_for(error, "ledger.db")

    assert words in sentence
    assert sentence.startswith("ledger ledger.db ")
    assert may_pass(error) is passes
