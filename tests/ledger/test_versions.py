"""Programs of several versions on one ledger: whoever meets another schema says so, and writes nothing."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.books import GuardEvent
from tokenguard.core.budget import Unit
from tokenguard.errors import SchemaMismatch
from tokenguard.ledger import schema
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database
from tokenguard.ledger.prepare import upgrade
from tokenguard.ledger.rollups import compact

NEWER = "9999"
OLDER = "0001"


@pytest.fixture(params=["sqlite", "new_postgres"])
def running(request: pytest.FixtureRequest, open_sql: Any, desk: Any) -> Any:
    """A program that has the ledger open, with a hold and a run."""
    database = Database(Address.of(request.getfixturevalue(request.param)), "normal", 10.0)
    upgrade(database)
    database.dispose(forked=False)
    ledger = open_sql(request.getfixturevalue(request.param))
    ledger.enter(desk.entry("run-1"))
    ledger.reserve(desk.hold(desk.scope(usd="1.00"), id="held"), desk.ask())
    return ledger


def become(ledger: Any, version: str) -> None:
    with ledger._database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE tg_schema_version SET version_num = :version"), {"version": version})


def rows(ledger: Any) -> dict[str, int]:
    with ledger._database.engine.connect() as connection:
        return {
            name: connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in schema.metadata.tables
        }


WRITES = {
    "enter": lambda books, desk: books.enter(desk.entry("run-2")),
    "leave": lambda books, desk: books.leave("run-1", outcome="ok", at=desk.noon),
    "reserve": lambda books, desk: books.reserve(desk.hold(desk.scope(usd="1.00")), desk.ask()),
    "settle": lambda books, desk: books.settle("held", desk.booking()),
    "keep": lambda books, desk: books.keep("held", desk.unknown()),
    "renew": lambda books, _: books.renew("owner", ["held"], 60.0),
    "charge": lambda books, desk: books.charge(desk.hold(), desk.booking()),
    "sweep": lambda books, desk: books.sweep(desk.noon.replace(year=2027)),
    "declare": lambda books, desk: books.declare(desk.scope(usd="2.00"), desk.noon),
    "set_cap": lambda books, desk: books.set_cap(
        "scope:acme", Unit.USD, "day", "UTC", desk.cent, by="cli", at=desk.noon
    ),
    "top_up": lambda books, desk: books.top_up("scope:acme", Unit.USD, desk.cent, by="cli", at=desk.noon),
    "close_run": lambda books, desk: books.close_run(desk.closure()),
    "reopen": lambda books, desk: books.reopen("run-1", by="ada", why="fixed", at=desk.noon),
    "remember": lambda books, desk: books.remember("run-1", {"seen": 1}, desk.noon),
    "record": lambda books, desk: books.record(GuardEvent("e", desk.noon, "fault", None, None, "it broke.")),
    "compact": lambda books, _: compact(books._database),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("version", "says"), [(NEWER, "a newer tokenguard wrote it"), (OLDER, "tokenguard db upgrade")]
)
def test_a_program_that_has_the_ledger_open_writes_nothing_into_another_schema(
    running: Any, desk: Any, write: str, version: str, says: str
) -> None:
    become(running, version)
    before = rows(running)

    with pytest.raises(SchemaMismatch, match=says) as caught:
        WRITES[write](running, desk)

    assert (caught.value.found, caught.value.expected) == (version, schema.SCHEMA_VERSION)
    assert rows(running) == before
    become(running, schema.SCHEMA_VERSION)
    assert running.verify().ok
    running.settle("held", desk.booking())


def test_a_newer_ledger_is_neither_opened_nor_upgraded(running: Any, open_sql: Any) -> None:
    become(running, NEWER)

    with pytest.raises(SchemaMismatch, match="newer tokenguard"):
        open_sql(running._database.address.url.render_as_string(hide_password=False))
    with pytest.raises(SchemaMismatch, match="newer tokenguard"):
        upgrade(running._database)


def test_an_older_server_is_left_to_db_upgrade(server: Any, open_sql: Any) -> None:
    become(server, OLDER)

    with pytest.raises(SchemaMismatch, match="Run `tokenguard db upgrade`"):
        open_sql(server._database.address.url.render_as_string(hide_password=False))


def test_a_write_during_an_upgrade_waits_and_meets_the_new_schema(server: Any, desk: Any) -> None:
    engine = server._database.engine
    upgrading, refused = Event(), list[SchemaMismatch]()

    def write() -> None:
        upgrading.wait()
        with pytest.raises(SchemaMismatch) as caught:
            server.reserve(desk.hold(), desk.ask())
        refused.append(caught.value)

    writer = Thread(target=write)
    writer.start()
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tg_schema_version'::regclass")
    with engine.begin() as upgrader, engine.connect() as watcher:
        upgrader.execute(sa.text("LOCK TABLE tg_schema_version IN ACCESS EXCLUSIVE MODE"))
        upgrading.set()
        while not watcher.execute(waiting).scalar():
            pass
        upgrader.execute(sa.text("UPDATE tg_schema_version SET version_num = '9999'"))
    writer.join()

    assert [one.found for one in refused] == [NEWER]
    assert rows(server)["tg_hold"] == 0
