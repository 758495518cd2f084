"""What answers cost while the database is away: on disk first, in the books once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from support import PENNY, PENNY_USAGE, PRICES, ask

import tokenguard as tg
from tokenguard.config.location import spool_folder
from tokenguard.core.adjusting import Adjustment, Adjusts
from tokenguard.core.books import Booking, Settled, Status
from tokenguard.core.ports import Request
from tokenguard.core.verdict import Grant, Reason, Short
from tokenguard.errors import LedgerConflict, LedgerUnavailable
from tokenguard.ledger.journal import Journaled, Replayed
from tokenguard.ledger.replay import verify
from tokenguard.ledger.spool import Spool
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing import CountingIds, FakeClock, ScriptedBackend, ScriptedReply, scripted_guard

DYING = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[3], str(Path(sys.argv[3]).parent)]
from conftest import Desk
from tokenguard.testing import CountingIds, FakeClock
from tokenguard.ledger.journal import Journaled
from tokenguard.ledger.sql import SqlLedger
import sqlite3
ledger = Journaled(SqlLedger.open(sys.argv[1], FakeClock(), CountingIds(), busy_timeout_s=0.05), Path(sys.argv[2]))
desk = Desk()
hold = desk.hold(desk.scope(usd=1, per="day"), id="hold-of-the-dead")
ledger.reserve(hold, desk.ask())
sqlite3.connect(sys.argv[1], isolation_level=None).execute("BEGIN IMMEDIATE")
assert ledger.settle(hold.id, desk.booking()).journaled
os.kill(os.getpid(), 9)
"""


class Books:
    """A journaled ledger on a file that can be locked away."""

    def __init__(self, folder: Path, open_sql: Any) -> None:
        self.path = folder / "ledger.db"
        self.spools = folder / "spools"
        self.inner: SqlLedger = open_sql(str(self.path), busy_timeout_s=0.05)
        self.told: list[Replayed] = []
        self.came_back = threading.Event()
        self.ledger = self.open()

    def open(self) -> Journaled:
        return Journaled(self.inner, self.spools, self._tell)

    def _tell(self, done: Replayed) -> None:
        self.told.append(done)
        self.came_back.set()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Somebody else has the file."""
        blocker = sqlite3.connect(self.path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        yield
        blocker.close()

    @property
    def spent(self) -> int:
        return sum(row.usd.pico for row in self.inner.spend(("model",)))

    @property
    def sound(self) -> bool:
        return self.inner._database.read(verify).ok

    @property
    def files(self) -> list[str]:
        return sorted(path.suffix for path in self.spools.iterdir()) if self.spools.exists() else []


@pytest.fixture
def books(tmp_path: Path, open_sql: Any) -> Books:
    return Books(tmp_path, open_sql)


def held(books: Books, desk: Any, **changes: Any) -> Any:
    hold = desk.hold(desk.scope(usd=1, per="day"), **changes)
    assert isinstance(books.ledger.reserve(hold, desk.ask()), Grant)
    return hold


def test_a_settlement_while_the_ledger_is_away_is_booked_when_it_is_back(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    with books.away():
        assert books.ledger.settle(hold.id, desk.booking()) == Settled((), journaled=True)
        assert books.files == [".spool"]

    done = books.ledger.catch_up()

    assert (done.booked, done.left) == (1, 0)
    assert books.spent == desk.cent
    assert books.sound
    assert books.files == []


def test_it_is_booked_without_anybody_asking(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    with books.away():
        books.ledger.settle(hold.id, desk.booking())

    assert books.came_back.wait(10)
    assert books.spent == desk.cent


def test_a_booking_comes_back_with_everything_it_knew(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    booking = desk.booking(output_tps=None, service_tier="flex", note="Grüße \ud83d\ude00", ttft_ms=12)
    with books.away():
        books.ledger.settle(hold.id, booking)
    books.ledger.catch_up()

    # The very same numbers, or the books would say that these are others.
    assert books.inner.settle(hold.id, booking).duplicate


def test_a_charge_while_the_ledger_is_away_counts_before_the_next_verdict(books: Books, desk: Any) -> None:
    scope = desk.scope(usd="0.01", per="day")
    books.inner.declare(scope, desk.noon)
    with books.away():
        charged = books.ledger.charge(desk.hold(scope), desk.booking(status=Status.CHARGED, lines=(), usage=None))
        assert charged.journaled

    verdict = books.ledger.reserve(desk.hold(scope), desk.ask())

    assert isinstance(verdict, Short)
    assert verdict.reason is Reason.SPENT
    assert books.sound


def test_while_it_is_away_nothing_is_granted_and_nothing_forgotten(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    with books.away():
        books.ledger.settle(hold.id, desk.booking())
        with pytest.raises(LedgerUnavailable, match="locked"):
            books.ledger.reserve(desk.hold(), desk.ask())
        assert books.files == [".spool"]

    books.ledger.catch_up()
    assert books.spent == desk.cent


def test_bookings_keep_their_order_over_a_return_that_did_not_last(books: Books, desk: Any) -> None:
    first, second = held(books, desk), held(books, desk)
    with books.away():
        books.ledger.settle(first.id, desk.booking(cents=1))
        assert books.ledger.catch_up().left == 1
        books.ledger.settle(second.id, desk.booking(cents=2))
        assert books.files == [".spool", ".spool"]

    assert books.ledger.catch_up().booked == 2
    assert books.spent == 3 * desk.cent


def test_a_replay_that_was_cut_short_books_nothing_twice(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    with books.away():
        books.ledger.settle(hold.id, desk.booking())
    (spool,) = books.spools.iterdir()
    content = spool.read_bytes()
    books.ledger.catch_up()

    # As if the process had died between booking and clearing.
    (books.spools / "1-left.spool").write_bytes(content)
    done = books.ledger.take_over()

    assert done.booked == 1
    assert books.spent == desk.cent
    assert books.sound


def test_what_a_killed_process_journaled_the_next_one_books(books: Books, desk: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DYING, str(books.path), str(books.spools), str(Path(__file__).parent)]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.returncode == -9, died.stderr
    assert books.files == [".spool"]

    books.open()

    assert books.came_back.wait(10)
    assert books.told == [Replayed(1)]
    assert books.spent == desk.cent
    assert books.inner.settle("hold-of-the-dead", desk.booking()).duplicate


def test_a_booking_that_the_books_contradict_is_set_aside_and_blocks_nobody(books: Books, desk: Any) -> None:
    first, second = held(books, desk), held(books, desk)
    with books.away():
        books.ledger.settle(first.id, desk.booking(cents=1))
        books.ledger.settle(second.id, desk.booking(cents=1))
    books.inner.settle(first.id, desk.booking(cents=3))

    done = books.ledger.catch_up()

    assert (done.booked, len(done.refused)) == (1, 1)
    assert isinstance(done.refused[0], LedgerConflict)
    assert books.spent == 4 * desk.cent
    assert books.files == [".refused"]
    (aside,) = books.spools.iterdir()
    (record,) = Spool.at(aside).records()
    assert record["hold_id"] == first.id
    assert record["refused"] == done.refused[0].sentence


def test_where_the_disk_is_away_too_the_hold_stands(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    books.spools.write_text("in the way")

    with books.away(), pytest.raises(LedgerUnavailable, match="spool"):
        books.ledger.settle(hold.id, desk.booking())

    (state,) = books.inner.states(hold.accounts)
    assert state.held == desk.cent


def test_closing_leaves_what_waits_to_the_next_process(books: Books, desk: Any, open_sql: Any) -> None:
    hold = held(books, desk)
    with books.away():
        books.ledger.settle(hold.id, desk.booking())
        books.ledger.dispose()
        assert books.files == [".spool"]

    came_back = threading.Event()
    heir = Journaled(open_sql(str(books.path)), books.spools, lambda _: came_back.set())

    assert came_back.wait(10)
    assert sum(row.usd.pico for row in heir.spend(("model",))) == desk.cent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_leaves_the_journal_to_its_parent(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    with books.away():
        books.ledger.settle(hold.id, desk.booking())
        child = os.fork()
        if child == 0:
            books.ledger.dispose(forked=True)
            os._exit(books.ledger.catch_up().booked + books.ledger.take_over().booked)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert books.ledger.catch_up().booked == 1


def test_what_a_fork_does_to_the_childs_copy_forgets_what_waits(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    with books.away():
        books.ledger.settle(hold.id, desk.booking())

        books.ledger.dispose(forked=True)

    assert books.ledger.catch_up() == Replayed()


def test_an_answer_that_could_not_be_booked_reaches_its_caller_and_says_so(tmp_path: Path) -> None:
    inner = SqlLedger.open(str(tmp_path / "ledger.db"), FakeClock(), CountingIds(), busy_timeout_s=0.05)
    ledger = Journaled(inner, tmp_path / "spools")
    blocker = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)

    def answer(_: Request) -> ScriptedReply:
        blocker.execute("BEGIN IMMEDIATE")
        return ScriptedReply("42", usage=PENNY_USAGE)

    with scripted_guard(answer, ledger=ledger, prices=PRICES) as guard:
        heard: list[Any] = []
        guard.on(tg.events.Journaled, heard.append)
        with guard.run("agent", budget=tg.Budget(usd=1)) as run:
            reply = guard.completion(PENNY, ask())
            blocker.execute("ROLLBACK")
            ledger.catch_up()

        assert reply.choices[0].message.content == "42"
        (fact,) = heard
        assert fact.cost == tg.Money("0.01")
        assert "is journaled and will be booked later" in fact.sentence
        assert run.receipt().cost == tg.Money("0.01")
        assert run.receipt().held == tg.Money(0)


def test_a_guard_books_what_dead_processes_left_and_writes_down_what_it_found(tmp_path: Path, desk: Any) -> None:
    database, above = tmp_path / "ledger.db", tmp_path / "spools"
    booking = TypeAdapter(Booking).dump_python(desk.booking(), mode="json")
    left = Spool.open(spool_folder(str(above), str(database)))
    left.append({"do": "settle", "hold_id": "nobody-held-this", "booking": booking})
    left.close()
    heard: list[Any] = []
    told = threading.Event()

    with tg.Guard(database=str(database), spool=above, backend=ScriptedBackend(["42"])) as guard:
        guard.on(tg.events.Replayed, lambda fact: (heard.append(fact), told.set()))
        with guard.run("agent"):
            assert told.wait(10)

    assert (heard[0].booked, heard[0].refused) == (0, 1)
    assert "contradict the books and stay beside the spool" in heard[0].sentence
    rows = sqlite3.connect(database).execute("SELECT kind FROM tg_guard_event").fetchall()
    assert rows == [("replayed",)]


def test_a_refund_comes_after_the_settlement_that_waits(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    asked = Adjustment("refund-1", hold.id, Adjusts.REFUND, desk.cent, "credited", "ada", desk.noon)
    with books.away():
        books.ledger.settle(hold.id, desk.booking())
        with pytest.raises(LedgerUnavailable):
            books.ledger.adjust(asked)

    done = books.ledger.adjust(asked)

    assert (done.duplicate, books.spent) == (False, 0)
    assert books.sound


def test_a_settlement_that_is_replayed_after_a_refund_is_known(books: Books, desk: Any) -> None:
    hold = held(books, desk)
    with books.away():
        books.ledger.settle(hold.id, desk.booking())
    books.inner.settle(hold.id, desk.booking())
    books.inner.adjust(Adjustment("refund-1", hold.id, Adjusts.REFUND, desk.cent, "credited", "ada", desk.noon))

    done = books.ledger.catch_up()

    assert (done.booked, done.refused) in ((1, ()), (0, ()))
    assert books.spent == 0
    assert books.sound
