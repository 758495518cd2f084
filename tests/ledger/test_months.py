"""Partitions by month on PostgreSQL: made ahead, made late, or not made at all: every row is there."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.clock import SystemClock
from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger.months import AHEAD, PARTITIONED, make_months, months_from, next_month

LATER = datetime(2031, 5, 14, 12, tzinfo=UTC)


def rows_by_partition(ledger: Any, table: str = "tg_transfer") -> Counter[str]:
    with ledger._database.engine.connect() as connection:
        found = connection.execute(sa.text(f"SELECT CAST(tableoid::regclass AS text) FROM {table}"))
        return Counter(found.scalars())


def partitions(ledger: Any) -> set[str]:
    with ledger._database.engine.connect() as connection:
        return set(connection.execute(sa.text("SELECT CAST(inhrelid::regclass AS text) FROM pg_inherits")).scalars())


def spend(ledger: Any, desk: Any, at: datetime) -> None:
    # Leases longer than the years between these calls: none is swept by another's clock.
    hold = desk.hold(desk.scope(usd="100.00"), at=at, lease_s=10**9)
    ledger.reserve(hold, desk.ask())
    ledger.settle(hold.id, desk.booking(at=at))


def test_upgrade_makes_the_months_ahead_and_repeating_it_makes_none(server: Any) -> None:
    now = SystemClock().now()
    wanted = {f"{table}_p{month:%Y%m}" for table in PARTITIONED for month in months_from(now, AHEAD)}

    again = make_months(server._database, ahead=AHEAD, wait=True)

    assert list(again) == []
    assert wanted <= partitions(server)
    assert {f"{table}_default" for table in PARTITIONED} <= partitions(server)


@pytest.mark.parametrize("table", PARTITIONED)
def test_keys_contain_the_time_of_the_hold(server: Any, table: str) -> None:
    with server._database.engine.connect() as connection:
        key = sa.inspect(connection).get_pk_constraint(table)["constrained_columns"]

    assert "held_at" in key


def test_rows_lie_in_the_month_of_their_hold_whenever_they_are_settled(server: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="100.00"), at=datetime(2031, 5, 31, 23, 59, tzinfo=UTC))
    server.reserve(hold, desk.ask())
    server.settle(hold.id, desk.booking(at=datetime(2031, 6, 1, 0, 1, tzinfo=UTC)))

    found = {table: dict(rows_by_partition(server, table)) for table in PARTITIONED}

    assert found == {
        "tg_transfer": {"tg_transfer_p203105": 2},
        "tg_spend_event": {"tg_spend_event_p203105": 1},
        "tg_spend_line": {"tg_spend_line_p203105": 2},
    }
    assert server.verify().ok


def test_who_writes_first_in_a_month_makes_it_and_the_next(server: Any, desk: Any) -> None:
    spend(server, desk, LATER)

    assert {"tg_transfer_p203105", "tg_transfer_p203106"} <= partitions(server)
    assert "tg_transfer_p203107" not in partitions(server)


def test_a_month_is_looked_at_once_per_process(server: Any, desk: Any) -> None:
    asked: list[str] = []
    sa.event.listen(server._database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))

    for _ in range(3):
        spend(server, desk, LATER)

    assert len([one for one in asked if "pg_inherits" in one]) == 1 + 6  # one look, and one under each lock


def test_what_fits_no_month_is_kept_and_moves_when_the_month_is_made(server: Any, desk: Any) -> None:
    server._upkeep._months_seen.add((2031, 5))
    spend(server, desk, LATER)
    before = rows_by_partition(server), server.spend(["agent"]), server.verify().ok

    made = make_months(server._database, at=LATER, ahead=0, wait=True)

    assert before[0] == {"tg_transfer_default": 2}
    assert list(made) == ["tg_transfer_p203105", "tg_spend_event_p203105", "tg_spend_line_p203105"]
    assert rows_by_partition(server) == {"tg_transfer_p203105": 2}
    assert (server.spend(["agent"]), server.verify().ok) == before[1:]


def test_who_may_not_create_tables_spends_all_the_same(
    server: Any, new_postgres: str, open_sql: Any, desk: Any
) -> None:
    with server._database.engine.begin() as connection:
        connection.execute(sa.text("DROP ROLE IF EXISTS teller"))
        connection.execute(sa.text("CREATE ROLE teller LOGIN"))
        connection.execute(sa.text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        connection.execute(sa.text("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO teller"))
    teller = open_sql(new_postgres.replace("postgresql://postgres:", "postgresql://teller:", 1))

    spend(teller, desk, LATER)
    with pytest.raises(LedgerUnavailable, match="Grant the rights"):
        make_months(teller._database, at=LATER, ahead=0, wait=True)

    assert rows_by_partition(server) == {"tg_transfer_default": 2}
    assert server.verify().ok
    teller.dispose()
    with server._database.engine.begin() as connection:
        connection.execute(sa.text("DROP OWNED BY teller"))
        connection.execute(sa.text("DROP ROLE teller"))


def test_months_made_beside_writers_lose_nothing(server: Any, desk: Any, open_sql: Any) -> None:
    months = list(months_from(LATER, 11))
    server._upkeep._months_seen.update((month.year, month.month) for month in months)

    def write(offset: int) -> None:
        for number in range(24):
            spend(server, desk, months[(number + offset) % 12] + timedelta(days=number % 28))

    writers = [Thread(target=write, args=(offset,)) for offset in range(4)]
    for one in writers:
        one.start()
    for month in months:
        make_months(server._database, at=month, ahead=0, wait=True)
    for one in writers:
        one.join()

    assert sum(row.calls for row in server.spend([])) == 4 * 24
    assert sum(rows_by_partition(server).values()) == 2 * 4 * 24
    assert rows_by_partition(server)["tg_transfer_default"] == 0
    assert server.verify().ok


def test_a_write_that_waits_for_a_month_being_made_goes_into_it(server: Any, desk: Any) -> None:
    server._upkeep._months_seen.add((2031, 5))
    engine = server._database.engine
    writer = Thread(target=spend, args=(server, desk, LATER))
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tg_transfer_default'::regclass")
    with engine.begin() as maker:
        for statement in (
            "CREATE TABLE tg_transfer_p203105 (LIKE tg_transfer INCLUDING ALL)",
            "LOCK TABLE tg_transfer_default IN ACCESS EXCLUSIVE MODE",
        ):
            maker.execute(sa.text(statement))
        writer.start()
        with engine.connect() as watcher:
            while not watcher.execute(waiting).scalar():
                pass
        maker.execute(
            sa.text(
                "ALTER TABLE tg_transfer ATTACH PARTITION tg_transfer_p203105 "
                "FOR VALUES FROM ('2031-05-01T00:00:00+00:00') TO ('2031-06-01T00:00:00+00:00')"
            )
        )
    writer.join()

    assert rows_by_partition(server) == {"tg_transfer_p203105": 2}
    assert server.verify().ok


def test_one_maker_of_months_leaves_the_work_to_another(server: Any) -> None:
    with server._database.engine.begin() as first:
        first.execute(sa.text("SELECT pg_advisory_xact_lock(x'6D6F6E7468'::bigint)"))

        made = make_months(server._database, at=LATER, ahead=0, wait=False)

    assert list(made) == []
    assert "tg_transfer_p203105" not in partitions(server)


def test_a_reservation_repeated_over_the_end_of_a_month_is_known(server: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="100.00"), at=datetime(2031, 5, 31, 23, 59, 59, tzinfo=UTC))
    server.reserve(hold, desk.ask())
    server.settle(hold.id, desk.booking(at=LATER))

    with pytest.raises(Exception, match=hold.id):
        server.reserve(hold, desk.ask())


def test_a_charge_told_twice_at_different_times_is_booked_once(server: Any, desk: Any) -> None:
    first = desk.hold(desk.scope(usd="100.00"), at=LATER, id="charge-1")
    second = desk.hold(desk.scope(usd="100.00"), at=LATER + timedelta(seconds=1), id="charge-1")

    def tell(hold: Any) -> None:
        server.charge(hold, desk.booking(at=LATER))

    tellers = [Thread(target=tell, args=(one,)) for one in (first, second) * 8]
    for one in tellers:
        one.start()
    for one in tellers:
        one.join()

    assert server.spend([])[0].calls == 1
    assert server.verify().ok


def test_the_calendar_ends(server: Any) -> None:
    assert list(months_from(datetime(9999, 1, 1, tzinfo=UTC), 2)) == []
    assert next_month(datetime(2031, 12, 1, tzinfo=UTC)) == datetime(2032, 1, 1, tzinfo=UTC)
    assert make_months(server._database, at=datetime(9999, 1, 1, tzinfo=UTC), ahead=2, wait=True) in ((), [])


def test_a_file_has_no_months(open_sql: Any, sqlite: str) -> None:
    assert make_months(open_sql(sqlite)._database, at=LATER, ahead=2, wait=True) in ((), [])
