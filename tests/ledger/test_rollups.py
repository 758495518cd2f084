"""Compacting changes no answer: before it, beside it and after it."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.books import Status
from tokenguard.core.usage import Quality
from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger.rollups import BATCH, backlog, compact, compact_batch
from tokenguard.ledger.upkeep import MANY, SETTLEMENTS

DAY = timedelta(days=1)


@pytest.fixture
def month(sql_ledger: Any, desk: Any) -> Any:
    """Sixty calls over five days, by three agents on two models, with a correction and calls at the ends of days."""
    for number in range(60):
        at = desk.noon + number * timedelta(hours=2)
        hold = desk.hold(at=at, agent=f"agent-{number % 3}", model=f"model-{number % 2}", run=f"run-{number % 4}")
        sql_ledger.reserve(hold, desk.ask(cents=9))
        quality = Quality.ESTIMATED if number % 7 == 0 else Quality.REPORTED
        sql_ledger.settle(hold.id, desk.booking(cents=number % 5 + 1, at=at, quality=quality))
    lost = desk.hold(at=desk.noon, lease_s=1, agent=None)
    sql_ledger.reserve(lost, desk.ask(cents=9))
    sql_ledger.sweep(desk.noon + DAY)
    sql_ledger.settle(lost.id, desk.booking(cents=2, at=desk.noon + 2 * DAY))
    return sql_ledger


def deltas(ledger: Any) -> int:
    return ledger._database.read(lambda connection: backlog(connection, 10**9))


def answers(ledger: Any, windows: list[tuple[datetime | None, datetime | None]]) -> list[Any]:
    asked = (
        ["agent"],
        ["day", "model"],
        [],
        ["quality", "scope", "provider", "operation", "mode"],
        ["run"],
        ["status"],
    )
    return [ledger.spend(by, since=since, until=until) for by in asked for since, until in windows]


def windows_around(noon: datetime) -> list[tuple[datetime | None, datetime | None]]:
    midnight = noon - timedelta(hours=12)
    return [
        (None, None),
        (noon, None),
        (None, noon + 3 * DAY),
        (midnight + DAY, midnight + 3 * DAY),
        (noon + timedelta(hours=3), noon + 4 * DAY + timedelta(minutes=1)),
        (noon, noon + timedelta(hours=4)),
        (midnight, noon),
        (noon + 100 * DAY, None),
    ]


def test_answers_are_the_same_before_and_after(month: Any, desk: Any) -> None:
    windows = windows_around(desk.noon)
    before = answers(month, windows)

    compacted = compact(month._database)

    assert (compacted, deltas(month)) == (63, 0)
    assert answers(month, windows) == before
    assert month.verify().ok


def test_whole_days_from_rollups_are_what_the_events_say(month: Any, desk: Any) -> None:
    compact(month._database)

    for since, until in windows_around(desk.noon):
        rolled = month.spend(["agent"], since=since, until=until)
        # Runs are in events only.
        single = month.spend(["agent", "run"], since=since, until=until)

        assert {row.by[0]: row.usd.pico for row in rolled} == {
            agent: sum(row.usd.pico for row in single if row.by[0] == agent) for agent in {row.by[0] for row in single}
        }


def test_what_comes_after_a_compaction_is_added_to_it(month: Any, desk: Any) -> None:
    compact(month._database)
    month.charge(desk.hold(agent="agent-0"), desk.booking(cents=7, status=Status.CHARGED))
    between = month.spend(["agent"])

    compact(month._database)

    assert month.spend(["agent"]) == between
    assert deltas(month) == 0
    assert month.verify().ok


def test_a_changed_rollup_is_found(month: Any) -> None:
    compact(month._database)
    with month._database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE tg_rollup SET calls = calls + 1 WHERE agent = 'agent-1'"))

    findings = month.verify().findings

    assert {(one.table, one.what) for one in findings} == {("rollup", "calls")}


def test_compacting_beside_writers_loses_nothing(sql_ledger: Any, desk: Any) -> None:
    holds = [desk.hold(agent=f"agent-{number % 3}") for number in range(300)]
    done, seen = Event(), []

    def write(mine: list[Any]) -> None:
        for hold in mine:
            sql_ledger.charge(hold, desk.booking(cents=1))

    def keep_compacting() -> None:
        while not done.is_set():
            sql_ledger._database.transact(lambda tx: compact_batch(tx, limit=7, wait=False))
            seen.append(sum(row.calls for row in sql_ledger.spend([])))

    writers = [Thread(target=write, args=(holds[start::4],)) for start in range(4)]
    compactors = [Thread(target=keep_compacting) for _ in range(2)]
    for one in (*writers, *compactors):
        one.start()
    for one in writers:
        one.join()
    done.set()
    for one in compactors:
        one.join()

    assert sum(row.calls for row in sql_ledger.spend([])) == 300
    assert sql_ledger.verify().ok
    assert all(0 <= calls <= 300 for calls in seen)


def test_a_process_compacts_as_it_settles(open_sql: Any, sqlite: str, desk: Any) -> None:
    ledger = open_sql(sqlite)
    for _ in range(SETTLEMENTS):
        hold = desk.hold()
        ledger.reserve(hold, desk.ask())
        ledger.settle(hold.id, desk.booking())

    assert deltas(ledger) == 0
    assert ledger.spend([])[0].calls == SETTLEMENTS


def fill(ledger: Any, count: int) -> None:
    """As many deltas; no events are behind them."""
    engine = ledger._database.engine
    insert = (
        "INSERT INTO tg_rollup_delta WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
        "SELECT 'id-' || i, 1, '2026-03-14', 'acme', 'researcher', 'gpt', 'openai', "
        "'chat', 'reported', 'enforce', 3, 2, 1, 1 FROM n"
    )
    with engine.begin() as connection:
        connection.execute(sa.text(insert), {"count": count})


def test_a_report_over_many_deltas_compacts_them_first(sql_ledger: Any) -> None:
    fill(sql_ledger, 2 * MANY + 1)

    report = sql_ledger.spend(["agent"])

    assert (report[0].usd.pico, report[0].calls) == (3 * (2 * MANY + 1), 2 * MANY + 1)
    assert deltas(sql_ledger) <= MANY


def test_a_report_that_cannot_compact_answers_all_the_same(open_sql: Any, sqlite: str) -> None:
    ledger = open_sql(sqlite, busy_timeout_s=0.05)
    fill(ledger, MANY + 1)
    other = sqlite3.connect(sqlite, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    report = ledger.spend(["agent"])

    other.close()
    assert report[0].calls == MANY + 1
    assert deltas(ledger) == MANY + 1


def test_one_compaction_leaves_the_work_to_another(open_sql: Any, postgres: str) -> None:
    first, second = open_sql(postgres), open_sql(postgres)
    fill(first, MANY + 1)

    def while_it_runs(tx: Any) -> Any:
        mine = compact_batch(tx, limit=10, wait=False)
        second.spend(["agent"])
        return mine, second._database.transact(lambda other: compact_batch(other, limit=10, wait=False))

    mine, theirs = first._database.transact(while_it_runs)

    assert (mine.deltas, theirs.deltas) == (10, 0)
    assert deltas(first) == MANY + 1 - 10


def test_names_too_long_for_an_index_stay_deltas_and_count(open_sql: Any, postgres: str, desk: Any) -> None:
    ledger = open_sql(postgres)
    long = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(2_000))
    ledger.charge(desk.hold(agent=long), desk.booking(cents=2))
    ledger.charge(desk.hold(agent="short"), desk.booking(cents=1))

    compact(ledger._database)

    assert [row.by[0] for row in ledger.spend(["agent"])] == [long, "short"]
    assert deltas(ledger) == 1
    assert ledger.verify().ok


def test_a_day_that_sqlite_cannot_count_is_not_rounded(open_sql: Any, sqlite: str) -> None:
    ledger = open_sql(sqlite)
    huge = "INSERT INTO tg_rollup_delta SELECT :id, 1, '2026-03-14', 'acme', '', 'm', 'p', 'o', 'q', 'e', :usd, 0, 0, 1"
    for name in ("a", "b"):
        with ledger._database.engine.begin() as connection:
            connection.execute(sa.text(huge), {"id": name, "usd": 2**62 + 1})
        if name == "a":
            compact(ledger._database)

    with pytest.raises(LedgerUnavailable, match="Move the ledger to PostgreSQL"):
        compact(ledger._database)

    assert deltas(ledger) == 1


def test_a_long_compaction_says_how_far_it_is(open_sql: Any, sqlite: str) -> None:
    ledger = open_sql(sqlite)
    fill(ledger, BATCH + 5)
    told: list[int] = []

    compact(ledger._database, on_progress=told.append)

    assert told == [BATCH, BATCH + 5]


def test_a_table_that_cannot_be_vacuumed_is_told(open_sql: Any, postgres: str, desk: Any) -> None:
    ledger = open_sql(postgres + "&options=-c%20lock_timeout%3D100")
    ledger.charge(desk.hold(), desk.booking())
    with ledger._database.engine.begin() as other:
        other.execute(sa.text("LOCK TABLE tg_rollup_delta IN SHARE UPDATE EXCLUSIVE MODE"))

        with pytest.raises(LedgerUnavailable, match="contention"):
            compact(ledger._database)

    assert deltas(ledger) == 0
    assert ledger.spend([])[0].calls == 1
