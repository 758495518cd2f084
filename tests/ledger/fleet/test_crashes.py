"""Processes that are killed between any two states of a call, and what their books say afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

import tokenguard as tg
from tokenguard.cli.main import app
from tokenguard.config.owners import owner_id
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.core.verdict import Grant, Reason, Short
from tokenguard.ledger import schema
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing.model_server import ModelServer, Reply

CENT = tg.Money("0.01")
FAR = datetime(2126, 1, 1, tzinfo=UTC)
KILLED = 200
LITTER = Path(__file__).parent / "programs" / "litter.py"
TESTS = Path(__file__).resolve().parents[2]
ASSUMED = (
    sa.select(schema.spend_event.c.run_id, sa.func.count(), sa.func.max(schema.spend_event.c.usd_pico))
    .where(schema.spend_event.c.quality == "assumed")
    .group_by(schema.spend_event.c.run_id)
)
"""By process, of which each has a run: how many assumed charges, and the largest."""


def said(*arguments: str) -> Any:
    """What a command prints as JSON."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.fixture
def open_books(database: str) -> Any:
    """The test's own handle on the books, with the clock that the database has."""
    ledger = SqlLedger.open(database, SystemClock(), RandomIds())
    yield ledger
    ledger.dispose()


@pytest.mark.parametrize(
    ("point", "arrived", "assumed", "reported"),
    [
        ("reserved", 0, "0.01", "0"),
        ("sent", 1, "0.01", "0"),
        ("answered", 1, "0.01", "0"),
        ("settled", 1, "0", "0.005"),
    ],
)
def test_a_process_killed_between_two_states_of_a_call_leaves_at_most_that_calls_ceiling(  # noqa: PLR0917  # fixtures and cases, by name
    database: str, start: Any, hears: Any, open_books: Any, point: str, arrived: int, assumed: str, reported: str
) -> None:
    with ModelServer(Reply(completion_tokens=200, stall="request" if point == "sent" else None)) as server:
        killed = start("caller.py", database, server.url, point, 1)
        run = hears(killed, "run")
        if point == "sent":
            assert server.wait_count(1, 60)
        else:
            hears(killed, f"at {point}")
        killed.send_signal(signal.SIGKILL)
        killed.wait(30)

        swept = said("sweep", "--database", database)["swept"]
        by_quality = {
            row["by"]["quality"]: row["usd"]
            for row in said("report", "spend", "--by", "quality", "--database", database)["rows"]
        }
        shown = said("runs", "show", run, "--database", database)

    assert server.count == arrived
    assert swept == (0 if point == "settled" else 1)
    assert tg.Money(by_quality.get("assumed", "0")) == tg.Money(assumed) == tg.Money(shown["assumed_usd"])
    assert tg.Money(by_quality.get("reported", "0")) == tg.Money(reported)
    assert tg.Money(shown["held_usd"]) == tg.Money(0)
    assert open_books.verify().ok
    assert said("sweep", "--database", database)["swept"] == 0


def test_processes_killed_at_any_moment_leave_at_most_one_ceiling_each(
    database: str, start: Any, hears: Any, open_books: Any
) -> None:
    chance = random.Random(7)

    with ModelServer(Reply(completion_tokens=200, latency_s=0.02)) as server:
        killed = [start("caller.py", database, server.url, "never", 1_000) for _ in range(6)]
        for one in killed:
            hears(one, "run")
        for one in killed:
            server.wait_count(server.count + chance.randrange(4), 10)
            one.send_signal(signal.SIGKILL)
        for one in killed:
            one.wait(30)
        open_books.sweep()
        rows = {row.by[0]: row for row in open_books.spend(["quality"])}
        counted = server.count

    booked = sum(row.usd.pico for row in rows.values())
    calls = sum(row.calls for row in rows.values())
    assert counted * CENT.pico // 2 <= booked <= 100 * CENT.pico
    assert rows["assumed"].calls <= len(killed) if "assumed" in rows else True
    assert counted <= calls <= counted + len(killed)
    assert open_books.runs(open_only=True)[0].held == tg.Money(0)
    assert open_books.verify().ok


def littered(database: str, model: ModelServer, folder: Path) -> int:
    """How many processes were killed while they called the model."""
    port = model.url.removesuffix("/v1").rpartition(":")[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, "-W", "ignore", str(LITTER), database, port, str(KILLED), "7"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=env, timeout=150, check=True)
    return int(json.loads(done.stdout)["killed"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.timeout(180)
def test_two_hundred_killed_processes_leave_at_most_one_ceiling_each_as_assumed(
    database: str, open_books: Any, tmp_path: Path
) -> None:
    with ModelServer(Reply(completion_tokens=200, prompt_tokens=0, latency_s=0.005)) as model:
        killed = littered(database, model, tmp_path)
        model.wait_idle()
        counted = model.count * CENT.pico // 2

    swept = open_books.sweep()
    fleet = next(one for one in open_books.budgets(SystemClock().now()) if one.state.account.scope_key == "scope:fleet")
    assumed = open_books._database.read(lambda connection: connection.execute(ASSUMED).all())

    assert killed == KILLED
    assert counted <= fleet.state.settled <= fleet.state.cap
    assert fleet.state.held == 0
    # Most were in the middle of a call, or this proves nothing.
    assert swept <= len(assumed)
    assert KILLED // 4 <= len(assumed) <= KILLED
    assert all((charges, amount) == (1, CENT.pico) for _, charges, amount in assumed)
    assert open_books.verify().ok
    assert open_books.sweep() == 0


def test_a_settlement_after_the_sweep_finds_the_window_of_its_hold(
    database: str, start: Any, hears: Any, open_books: Any
) -> None:
    with ModelServer(Reply(completion_tokens=200)) as server:
        slow = start("caller.py", database, server.url, "answered", 1)
        run = hears(slow, "run")
        hears(slow, "at answered")

        alive = open_books.sweep()
        given_up = open_books.sweep(FAR)
        before = open_books.tree(run)[0]
        slow.stdin.write("\n")
        slow.stdin.flush()
        hears(slow, "done")
        after = open_books.tree(run)[0]

    assert (alive, given_up) == (0, 1)
    assert (before.usd, before.assumed) == (CENT, CENT)
    assert (after.usd, after.assumed) == (tg.Money("0.005"), tg.Money(0))
    assert open_books.verify().ok


def test_who_waits_for_the_room_of_a_dead_process_learns_at_once_that_it_is_spent(
    database: str, start: Any, hears: Any, open_books: Any, desk: Any
) -> None:
    scope = desk.scope("scope:fleet")
    with ModelServer(Reply(completion_tokens=200)) as server:
        killed = start("caller.py", database, server.url, "reserved", 1)
        hears(killed, "at reserved")
        rest = open_books.reserve(desk.hold(scope, run=None, owner=owner_id()), desk.ask(cents=98))
        waiting = open_books.reserve(desk.hold(scope, run=None), desk.ask(cents=2))
        killed.kill()
        killed.wait(30)
        open_books._looked_s = -1e9  # it looks once a second; nobody waits for that here
        whole = open_books.reserve(desk.hold(scope, run=None), desk.ask(cents=100))

    assert isinstance(rest, Grant)
    assert [verdict.reason for verdict in (waiting, whole)] == [Reason.BUSY, Reason.SPENT]
    assert [one.state.settled for one in open_books.budgets(desk.noon)] == [CENT.pico]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_caller_whose_clock_is_an_hour_off_neither_frees_money_nor_ends_leases(
    open_books: Any, desk: Any, hours: int
) -> None:
    now = SystemClock().now()
    scope, off = desk.scope(usd="0.02"), now + timedelta(hours=hours)
    right, wrong = desk.hold(scope, at=now, owner=owner_id()), desk.hold(scope, at=off, owner=owner_id())

    granted = [isinstance(open_books.reserve(one, desk.ask()), Grant) for one in (right, wrong)]
    third = open_books.reserve(desk.hold(scope, at=off), desk.ask())
    early, late = open_books.sweep(), open_books.sweep(now + timedelta(minutes=5))

    assert granted == [True, True]
    assert isinstance(third, Short)
    assert (early, late) == (0, 2)


def test_a_machine_whose_clock_is_set_does_not_move_the_clock_of_a_file(
    sqlite: str, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = SqlLedger.open(sqlite, SystemClock(), RandomIds())
    hold = desk.hold(desk.scope(usd="1"), owner=owner_id())
    before.reserve(hold, desk.ask())
    true = SystemClock().now

    monkeypatch.setattr(SystemClock, "now", lambda _: true() + timedelta(hours=1))  # as NTP or a person would
    after = SqlLedger.open(sqlite, SystemClock(), RandomIds())
    swept = [before.sweep(), after.sweep()]
    apart = after._database.now() - before._database.now()
    before.dispose()
    after.dispose()

    assert swept == [0, 0]
    assert abs(apart) < timedelta(minutes=1)


def test_a_machine_that_does_not_tell_its_boot_has_the_wall_clock(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenguard.ledger.steady.since_boot", lambda: None)  # as on macOS

    ledger = SqlLedger.open(sqlite, SystemClock(), RandomIds())
    apart = ledger._database.now() - SystemClock().now()
    ledger.dispose()

    assert abs(apart) < timedelta(minutes=1)
