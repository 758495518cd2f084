"""Ledgers to test, and a desk that writes the records they take."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import private_postgres
import pytest
import sqlalchemy as sa

from tokenguard.core.account import Amounts, Scope, accounts_on
from tokenguard.core.books import Booking, CallFacts, Closure, Entry, Hold, Kind, Line, Status
from tokenguard.core.budget import Budget
from tokenguard.core.usage import Meter, Quality, Usage
from tokenguard.core.verdict import Ask
from tokenguard.ledger import schema
from tokenguard.ledger.address import Address
from tokenguard.ledger.engine import Database
from tokenguard.ledger.journal import Journaled
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.ledger.prepare import upgrade
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing import FakeClock

CENT = 10**10
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


class CountingIds:
    """Ids in order."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def new(self) -> str:
        return f"id-{next(self._numbers):08d}"


@dataclass
class Desk:
    """Writes holds, asks and bookings; every default can be replaced."""

    cent: int = CENT
    noon: datetime = NOON
    _numbers: Any = field(default_factory=lambda: count(1))

    def scope(self, key: str = "scope:acme", **budget: Any) -> Scope:
        return Scope(key, key.partition(":")[2], (Budget(**budget),) if budget else ())

    def hold(
        self, *path: Scope, at: datetime = NOON, lease_s: float = 60, run: str | None = "run-1", **changes: Any
    ) -> Hold:
        hold_id = changes.pop("id", None) or f"hold-{next(self._numbers):06d}"
        enforce = changes.pop("enforce", True)
        runs = changes.pop("runs", (run,) if run else ())
        owner, paced = changes.pop("owner", "owner"), changes.pop("paced", ())
        return Hold(
            id=hold_id,
            at=at,
            owner=owner,
            lease_until=at + timedelta(seconds=lease_s),
            accounts=accounts_on(path, at),
            scope_keys=tuple(one.key for one in path),
            run_ids=runs,
            facts=self.facts(run, mode="enforce" if enforce else "observe", **changes),
            enforce=enforce,
            paced=paced,
        )

    def facts(self, run: str | None = "run-1", **changes: Any) -> CallFacts:
        facts = CallFacts("call-1", 1, "chat", "gpt-5-mini", "openai", run, run, run, "researcher", "acme")
        return replace(facts, **changes)

    def ask(self, cents: int = 1, **changes: Any) -> Ask:
        return replace(Ask(fixed_pico=cents * CENT, input_tokens=100), **changes)

    def booking(self, cents: int = 1, *, at: datetime = NOON, **changes: Any) -> Booking:
        booking = Booking(
            at=at,
            status=Status.OK,
            quality=Quality.REPORTED,
            amounts=Amounts(cents * CENT, 100, 1, 0),
            usage=Usage(input_tokens=60, output_tokens=40),
            lines=(Line(Meter.INPUT, 60, 0, 0), Line(Meter.OUTPUT, 40, cents * CENT // 40, cents * CENT)),
            ceiling_pico=cents * CENT,
        )
        return replace(booking, **changes)

    def void(self, *, at: datetime = NOON) -> Booking:
        return Booking(
            at, Status.REJECTED, Quality.REPORTED, Amounts(0, 0, 1, 0), error_class="RateLimitError", error_status=429
        )

    def unknown(self, *, at: datetime = NOON) -> Booking:
        return Booking(at, Status.UNRESOLVED, Quality.ASSUMED, Amounts(), error_class="Timeout", endpoint="eu-1")

    def entry(
        self, node_id: str = "run-1", parent: str | None = None, root: str | None = None, **changes: Any
    ) -> Entry:
        entry = Entry(
            node_id, Kind.RUN, node_id, root or parent or node_id, parent, "acme", NOON, "owner", path=(node_id,)
        )
        return replace(entry, **changes)

    def closure(self, run_id: str = "run-1", **changes: Any) -> Closure:
        return replace(Closure(run_id, "loop_detected", "it loops.", {"repeats": 6}, NOON, "guard"), **changes)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """One private server per session, with the ledger's tables."""
    # Not pytest's folder: only its owner may enter that, and as root the server runs as another user.
    folder = tempfile.mkdtemp(prefix="tokenguard-postgres-")
    server = _start(Path(folder))
    database = Database(Address.of(server.get_uri()), "normal", 10.0)
    upgrade(database)
    database.dispose(forked=False)
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> Any:
    try:
        return private_postgres.start(folder)
    except Exception as error:
        pytest.skip(f"no private PostgreSQL could be started here: {error!r}")


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The server's URL, with empty tables."""
    engine = sa.create_engine(postgres_server.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE " + ", ".join(schema.metadata.tables)))
    engine.dispose()
    return postgres_server


@pytest.fixture
def new_postgres(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database without any tables, thrown away at the end."""
    name = f"new_{abs(hash(request.node.nodeid)):x}"
    engine = sa.create_engine(
        postgres_server.replace("postgresql://", "postgresql+psycopg://", 1), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield postgres_server.replace("/postgres?", f"/{name}?", 1)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


@pytest.fixture
def clock() -> FakeClock:
    """The clock that the ledgers of a test measure leases by."""
    return FakeClock(NOON)


@pytest.fixture
def open_sql(clock: FakeClock) -> Iterator[Callable[..., SqlLedger]]:
    """Opens SQL ledgers and closes them at the end."""
    opened: list[SqlLedger] = []

    def open_one(database: str, **options: Any) -> SqlLedger:
        opened.append(SqlLedger.open(database, clock, CountingIds(), **{"now": clock.now, **options}))
        return opened[-1]

    yield open_one
    for one in opened:
        one.dispose()


@pytest.fixture(params=["memory", "sqlite", "journaled", "postgres"])
def ledger(request: pytest.FixtureRequest, clock: FakeClock) -> Any:
    """Each kind of ledger in turn: they keep the same promises."""
    if request.param == "memory":
        return MemoryLedger(clock, CountingIds())
    if request.param == "journaled":
        inner = request.getfixturevalue("open_sql")(request.getfixturevalue("sqlite"))
        journaled: Any = Journaled(inner, request.getfixturevalue("tmp_path") / "spools")
        # What is no part of the port, the command line asks the ledger inside.
        journaled.budgets, journaled.runs = inner.budgets, inner.runs
        return journaled
    return request.getfixturevalue("open_sql")(request.getfixturevalue(request.param))


@pytest.fixture(params=["sqlite", "postgres"])
def sql_ledger(request: pytest.FixtureRequest) -> Any:
    """Each SQL ledger in turn."""
    return request.getfixturevalue("open_sql")(request.getfixturevalue(request.param))


@pytest.fixture
def busy_ledger(sql_ledger: Any, desk: Any) -> Any:
    """A ledger in which everything has happened once."""
    return _busy(sql_ledger, desk, desk.scope("scope:acme/search", usd="9.00", per="rolling 24h"))


@pytest.fixture
def old_busy_ledger(sql_ledger: Any, desk: Any) -> Any:
    """The same without what the first schema did not know: rolling windows."""
    return _busy(sql_ledger, desk)


def _busy(sql_ledger: Any, desk: Any, *more: Scope) -> Any:
    path = (
        desk.scope("scope:acme", usd="9.00", per="day"),
        *more,
        desk.scope("run:1", usd="5.00", tokens=100_000, calls=50),
    )
    posted, void, lost, late, kept, held = holds = [desk.hold(*path, lease_s=60) for _ in range(6)]
    for hold in holds:
        sql_ledger.reserve(hold, desk.ask(cents=2))
    sql_ledger.settle(posted.id, desk.booking(cents=1))
    sql_ledger.settle(void.id, desk.void())
    sql_ledger.keep(kept.id, desk.unknown())
    sql_ledger.renew("owner", [held.id], 86_400.0)
    sql_ledger.sweep(desk.noon + timedelta(hours=1))
    sql_ledger.settle(late.id, desk.booking(cents=1, at=desk.noon + timedelta(hours=2)))
    sql_ledger.charge(desk.hold(*path), desk.booking(cents=3, status=Status.CHARGED))
    sql_ledger.enter(desk.entry("step", accounts=desk.hold(desk.scope("run:1", steps=5)).accounts))
    assert lost.id
    return sql_ledger


@pytest.fixture
def server(new_postgres: str, open_sql: Any) -> Any:
    """An upgraded database of its own, and a ledger on it."""
    database = Database(Address.of(new_postgres), "normal", 10.0)
    upgrade(database)
    database.dispose(forked=False)
    return open_sql(new_postgres)
