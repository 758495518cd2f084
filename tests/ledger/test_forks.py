"""A process that forks while its SQLite ledger is in use; tests/ledger/test_racing.py has forks of an idle one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger.address import Address
from tokenguard.ledger.gate import SQLITE, Gate

FORKER = str(Path(__file__).parent / "programs" / "forker.py")
really_forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class File:
    """What a gate closes."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def close_connections(self) -> None:
        self.told.append("close")

    def dispose(self, *, forked: bool) -> None:
        self.told.append(f"dispose forked={forked}")


def forked(way: str, database: str) -> str:
    """The exits of the children."""
    forker = subprocess.run(
        [sys.executable, FORKER, database, way], capture_output=True, text=True, timeout=120, check=False
    )
    assert forker.returncode == 0, forker.stderr
    return forker.stdout.strip()


def in_a_thread(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


@really_forks
def test_children_forked_while_threads_write_pay_without_waiting_for_them(sqlite: str, open_sql: Any) -> None:
    codes = forked("busy", sqlite)

    assert codes == str([0] * 8)
    assert open_sql(sqlite).verify().ok


@really_forks
def test_what_a_child_pays_after_its_parent_closed_is_in_the_books(sqlite: str, open_sql: Any) -> None:
    codes = forked("closing", sqlite)

    (row,) = open_sql(sqlite).spend(())
    assert codes == "[0]"
    assert row.calls == 3


@really_forks
def test_a_child_forked_inside_a_transaction_is_refused_and_its_parent_goes_on(sqlite: str, open_sql: Any) -> None:
    codes = forked("inside", sqlite)

    assert codes == "[2]"
    assert open_sql(sqlite).verify().ok


def test_a_fork_waits_for_who_is_inside_and_shuts_the_gate_behind_itself() -> None:
    gate, file, order = Gate(), File(), list[str]()
    gate.watch(file)
    inside, forks, leave = threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:
        with gate:
            inside.set()
            leave.wait()
            with gate:  # Who is inside may go in once more.
                order.append("left")

    def fork() -> None:
        forks.set()
        gate.before_fork()
        come = in_a_thread(enter)
        order.append("forked")
        gate.after_fork_in_parent()
        come.join()

    def enter() -> None:
        with gate:
            order.append("came")

    stays = in_a_thread(stay)
    inside.wait()
    waits = in_a_thread(fork)
    forks.wait()
    leave.set()
    stays.join()
    waits.join()

    assert order == ["left", "forked", "came"]
    assert file.told == ["close"]


def test_a_child_of_a_quiet_process_begins_anew() -> None:
    gate, file = Gate(), File()
    gate.watch(file)

    gate.before_fork()
    gate.after_fork_in_child()

    with gate:
        assert file.told == ["close", "dispose forked=True"]


def test_a_fork_that_waited_too_long_leaves_connections_open_and_its_child_is_refused() -> None:
    gate, file = Gate(patience_s=0.01), File()
    gate.watch(file)
    in_a_thread(gate.__enter__).join()

    gate.before_fork()
    gate.after_fork_in_child()

    with pytest.raises(LedgerUnavailable, match="forked in the middle of a transaction"), gate:
        pass
    assert file.told == ["dispose forked=True"]


def test_a_child_whose_server_forks_without_a_word_is_believed_to_be_whole() -> None:
    gate = Gate()

    gate.after_fork_in_child()

    with gate:
        assert list(gate._depths.values()) == [1]


def test_a_child_forked_inside_goes_out_where_its_parent_went_in() -> None:
    gate = Gate()

    with gate:
        gate.before_fork()
        gate.after_fork_in_child()

    assert gate._depths == {}


def test_a_ledger_of_a_child_that_is_refused_closes_without_a_word(
    open_sql: Any, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_sql(sqlite)
    monkeypatch.setattr(SQLITE, "_torn", True)

    ledger.dispose()

    with pytest.raises(LedgerUnavailable):
        ledger.runs()


def test_books_in_shared_memory_are_no_file() -> None:
    assert not Address.of("sqlite:///file:books?mode=memory&cache=shared&uri=true").is_file
    assert Address.of("sqlite:///file:books.db?uri=true").is_file
