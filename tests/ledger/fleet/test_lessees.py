"""Processes with allowances: told to end, killed, forked and stopped by others."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

import tokenguard as tg
from tokenguard.config.location import allowance_folder, spool_folder
from tokenguard.config.owners import owner_id
from tokenguard.core.clock import SystemClock
from tokenguard.core.ids import RandomIds
from tokenguard.ledger.heirs import inherit
from tokenguard.ledger.sql import SqlLedger
from tokenguard.testing.model_server import ModelServer, Reply

CENT = tg.Money("0.01").pico
CAP = 100 * CENT


@pytest.fixture
def open_books(database: str) -> Any:
    """The test's own handle on the books, with the clock that the database has."""
    ledger = SqlLedger.open(database, SystemClock(), RandomIds())
    yield ledger
    ledger.dispose()


@pytest.fixture
def lessee(start: Any, database: str, tmp_path: Path) -> Any:
    """Starts lessees that share a machine."""
    return lambda server, act: start("lessee.py", database, tmp_path / "spools", server.url, act)


@pytest.fixture
def take_over(open_books: Any, tmp_path: Path) -> Any:
    """Books what dead lessees left."""
    folder = allowance_folder(spool_folder(str(tmp_path / "spools"), open_books.name))
    return lambda: inherit(open_books, folder, SystemClock().now(), owner_id())


def rows(books: Any) -> dict[str, Any]:
    return {row.by[0]: row for row in books.spend(["quality"])}


@pytest.mark.parametrize("act", ["spend", "async"])
def test_sigterm_gives_a_lease_back(lessee: Any, hears: Any, open_books: Any, act: str) -> None:
    with ModelServer(Reply(completion_tokens=200, latency_s=0.01)) as server:
        told = lessee(server, act)
        run = hears(told, "run")
        hears(told, "leasing")
        assert open_books.tree(run)[0].held.pico > CENT

        told.send_signal(signal.SIGTERM)

        assert told.wait(30) == -signal.SIGTERM
        in_flight = open_books.tree(run)[0].held.pico
        assert in_flight <= CENT
        open_books.sweep()
        spent = rows(open_books)
        counted = server.count

    assert spent["reported"].calls + (in_flight > 0) >= counted
    assert spent["reported"].usd.pico == spent["reported"].calls * CENT // 2
    assert open_books.verify().ok


def test_a_killed_lessee_leaves_at_most_the_calls_in_flight_assumed(
    lessee: Any, hears: Any, open_books: Any, take_over: Any
) -> None:
    chance = random.Random(7)

    with ModelServer(Reply(completion_tokens=200, latency_s=0.01)) as server:
        killed = [lessee(server, "spend") for _ in range(6)]
        for one in killed:
            hears(one, "leasing")
        for one in killed:
            server.wait_count(server.count + chance.randrange(4), 10)
            one.send_signal(signal.SIGKILL)
        for one in killed:
            one.wait(30)
        left = take_over()
        open_books.sweep()
        spent, counted = rows(open_books), server.count

    booked = sum(row.usd.pico for row in spent.values())
    calls = sum(row.calls for row in spent.values())
    assert left.processes == 6
    assert left.assumed <= 6
    assert (spent["assumed"].calls if "assumed" in spent else 0) <= 6
    assert counted * CENT // 2 <= booked <= CAP
    assert counted <= calls <= counted + 6
    assert open_books.runs(open_only=True)[0].held == tg.Money(0)
    assert open_books.verify().ok


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_with_a_lease_spends_no_cent_twice(lessee: Any, hears: Any, open_books: Any, take_over: Any) -> None:
    with ModelServer(Reply(completion_tokens=400, prompt_tokens=0, latency_s=0.002)) as server:
        parent = lessee(server, "fork")
        hears(parent, "done")
        assert parent.wait(30) == 0
        counted = server.count

    assert counted == 100
    assert sum(row.usd.pico for row in open_books.spend([])) == CAP
    assert take_over().processes == 0
    assert open_books.verify().ok


@pytest.mark.parametrize("act", ["spend", "async"])
def test_a_stop_by_another_process_ends_a_lessee_within_a_second(
    database: str, lessee: Any, hears: Any, open_books: Any, act: str
) -> None:
    with (
        ModelServer(Reply(completion_tokens=1, latency_s=0.02)) as server,
        tg.Guard(database=database, prices={}) as other,
    ):
        stopped = lessee(server, act)
        run = hears(stopped, "run")
        hears(stopped, "leasing")

        other.kill(run, why="enough", by="ada")
        before = server.count

        assert hears(stopped, "stopped") == "run_revoked"
        # A second is fifty calls of 20 ms; a busy machine makes fewer.
        assert server.count <= before + 55
    assert open_books.verify().ok
