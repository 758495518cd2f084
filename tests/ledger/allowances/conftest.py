"""Ledgers that lease: what a process of a fleet has, with a clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tokenguard.core.allowance import Exchange, Exchanged
from tokenguard.core.books import Booking, Hold
from tokenguard.core.verdict import Ask, Grant
from tokenguard.errors import TokenguardError
from tokenguard.ledger.allowances import Allowances
from tokenguard.ledger.conditions import Conditions
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing import FakeClock
from tokenguard.testing.ids import CountingIds


@dataclass
class Heard:
    """A listener that remembers."""

    exchanges: list[tuple[Exchange, Exchanged]] = field(default_factory=list)
    faults: list[TokenguardError] = field(default_factory=list)

    def leasing(self) -> bool:
        return True

    def exchanged(self, request: Exchange, done: Exchanged) -> None:
        self.exchanges.append((request, done))

    def failed(self, error: TokenguardError) -> None:
        self.faults.append(error)


@dataclass
class Process:
    """One process: its ledger, and calls on the path of `acme`."""

    ledger: Allowances
    books: SqlLedger
    heard: Heard
    desk: Any
    clock: FakeClock
    path: tuple[Any, ...]
    folder: Path

    def hold(self, **changes: Any) -> Hold:
        hold: Hold = self.desk.hold(*changes.pop("path", self.path), at=self.clock.now(), **changes)
        return hold

    def ask(self, cents: int = 1) -> Ask:
        ask: Ask = self.desk.ask(cents)
        return ask

    def reserve(self, cents: int = 1, **changes: Any) -> tuple[str, Any]:
        """An attempt's id, and its verdict."""
        hold = self.hold(**changes)
        return hold.id, self.ledger.reserve(hold, self.ask(cents))

    def call(self, cents: int = 1, *, cost: int | None = None, **changes: Any) -> str:
        """A whole call that must be granted; its id."""
        hold_id, verdict = self.reserve(cents, **changes)
        assert isinstance(verdict, Grant), verdict
        self.ledger.settle(hold_id, self.booking(cents if cost is None else cost))
        return hold_id

    def booking(self, cents: int = 1, **changes: Any) -> Booking:
        booking: Booking = self.desk.booking(cents, at=self.clock.now(), **changes)
        return booking

    @property
    def leased(self) -> int:
        """Open holds of the books, in cents: leases and calls that were judged one by one."""
        return sum(self.held().values())

    def held(self) -> dict[str, int]:
        """By open hold of the ledger: cents."""
        import sqlalchemy as sa  # noqa: PLC0415  # only here

        from tokenguard.ledger import schema  # noqa: PLC0415  # only here

        rows = self.books._database.read(  # what no port tells
            lambda connection: connection.execute(sa.select(schema.hold.c.id, schema.hold.c.usd_pico)).all()
        )
        return {one.id: one.usd_pico // self.desk.cent for one in rows}

    def settled(self) -> int:
        """What the outermost budget's books say was settled, in cents."""
        account = self.hold().accounts[0]
        return int(self.books.states([account], self.clock.now())[0].settled // self.desk.cent)

    def spent(self) -> int:
        """What events say was spent, in cents."""
        return sum(one.usd.pico for one in self.books.spend([])) // int(self.desk.cent)


def made_of(
    books: SqlLedger, desk: Any, clock: FakeClock, folder: Path, path: tuple[Any, ...] = (), **under: Any
) -> Process:
    """A process on books of its own handle."""
    heard, owner, ids = Heard(), under.pop("owner", "process"), under.pop("ids", CountingIds())
    ledger = Allowances(books, Conditions(folder, clock, ids, lambda: owner, heard, **under))
    books.before_burying = ledger.take_over
    books.enter(desk.entry("run-1"))
    path = path or (desk.scope("scope:acme", usd="10.00", per="day", allowance="1.00"),)
    return Process(ledger, books, heard, desk, clock, path, folder)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """Each database that processes can share."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def process(
    database: str, open_sql: Any, desk: Any, clock: FakeClock, tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    """Makes processes that share a database and a machine."""
    made: list[Process] = []
    scope = desk.scope("scope:acme", usd="10.00", per="day", allowance="1.00")
    ids = CountingIds()

    def make(*path: Any, **conditions: Any) -> Process:
        under = {"owner": f"process-{len(made)}", "ids": ids, **conditions}
        folder = under.pop("folder", tmp_path / "spools")
        made.append(made_of(open_sql(database), desk, clock, folder, path or (scope,), **under))
        return made[-1]

    yield make
    for one in made:
        one.ledger._purses.close()  # the books are closed by their own fixture


@pytest.fixture
def one(process: Any) -> Process:
    """A process that has leased: its first call taught it that it may, its second took the lease."""
    found: Process = process()
    found.call()
    found.call()
    return found
