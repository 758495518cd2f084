"""What happens in a ledger while no call waits for it reaches those who listen to the guard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import PENNY, PENNY_USAGE, PRICES, ask

import tokenguard as tg
from tokenguard.core import events
from tokenguard.errors import LedgerConflict
from tokenguard.ledger.journal import Replayed
from tokenguard.testing import ScriptedBackend, ScriptedReply


@pytest.fixture
def leasing(tmp_path: Path) -> Iterator[tg.Guard]:
    """A guard whose calls are paid by an allowance of its day's dollar."""
    backend = ScriptedBackend(lambda _: ScriptedReply("answer", usage=PENNY_USAGE))
    budget = tg.Budget(usd="1", per="total", allowance="0.25")
    database, spool = str(tmp_path / "spend.db"), str(tmp_path / "spools")
    with tg.Guard(database=database, spool=spool, scope="acme", budget=budget, backend=backend, prices=PRICES) as guard:
        yield guard


def test_a_share_that_allowances_reach_is_told_once(leasing: tg.Guard) -> None:
    told: list[events.Warned] = []
    halves = threading.Event()

    def heard(event: events.Warned) -> None:
        told.append(event)
        halves.set()

    leasing.on(tg.events.Warned, heard)
    with leasing.run("sixty cents"):
        for number in range(60):
            leasing.completion(PENNY, ask(number), max_tokens=400)

    assert halves.wait(10)
    assert [one.share for one in told] == [0.5]


def test_what_the_books_contradict_is_told(leasing: tg.Guard) -> None:
    faults: list[events.Fault] = []
    replays: list[events.Replayed] = []
    leasing.on(tg.events.Fault, faults.append)
    leasing.on(tg.events.Replayed, replays.append)
    conflict = LedgerConflict("the same id with other numbers.")
    background = leasing.late.get().ledger._under.listener  # type: ignore[attr-defined]
    exchanged = background.exchanged
    background.exchanged = lambda request, done: exchanged(request, replace(done, refused=(conflict,)))

    with leasing.run("three"):
        for number in range(3):
            leasing.completion(PENNY, ask(number), max_tokens=400)
    background.replayed(Replayed(booked=2, refused=(conflict,)))

    assert faults
    assert all(fault.error is conflict for fault in faults)
    assert [(one.booked, one.refused) for one in replays] == [(2, 1)]
    assert conflict.sentence in replays[0].sentence
