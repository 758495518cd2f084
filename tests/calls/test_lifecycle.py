"""What a guard leased goes back when its process is told to end; asyncio pays out of it without leaving the loop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import PENNY, PENNY_USAGE, PRICES, ask

import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend, ScriptedReply
from tokenguard.calls import lifecycle
from tokenguard.calls.lifecycle import give_back_at_sigterm


@pytest.fixture
def sigterm() -> Iterator[None]:
    """SIGTERM as a program finds it, and as it was again at the end."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def leasing(tmp_path: Path) -> Iterator[tg.Guard]:
    backend = ScriptedBackend(lambda _: ScriptedReply("answer", usage=PENNY_USAGE))
    budget = tg.Budget(usd="5", per="total", allowance="1")
    database, spool = str(tmp_path / "spend.db"), str(tmp_path / "spools")
    with tg.Guard(database=database, spool=spool, scope="acme", budget=budget, backend=backend, prices=PRICES) as guard:
        yield guard


async def test_tasks_pay_out_of_an_allowance(leasing: tg.Guard) -> None:
    async with leasing.run("tasks") as run:
        for number in range(5):
            await leasing.acompletion(PENNY, ask(number), max_tokens=400)

        assert run.receipt().usd == tg.Money("0.05").usd
    assert leasing.late.get().ledger.tree(run.id)[0].held == tg.Money(0)


def test_sigterm_gives_back_and_then_ends_the_process(
    leasing: tg.Guard, sigterm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[int, int]] = []
    done = threading.Event()

    def end(pid: int, number: int) -> None:
        ended.append((pid, number))
        done.set()

    monkeypatch.setattr(lifecycle, "_GUARDS", {leasing, tg.Guard(database="memory")})
    with leasing.run("calls") as run:
        for number in range(3):
            leasing.completion(PENNY, ask(number), max_tokens=400)
        assert give_back_at_sigterm()
        handler: Any = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(lifecycle.os, "kill", end)
        handler(signal.SIGTERM, None)

        assert done.wait(30)
        assert leasing.late.get().ledger.tree(run.id)[0].held == tg.Money(0)
    assert ended == [(os.getpid(), signal.SIGTERM)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_application_that_hears_of_sigterm_keeps_it(sigterm: None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    assert give_back_at_sigterm()

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_only_the_main_thread_can_see_to_it() -> None:
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(give_back_at_sigterm()))
    thread.start()
    thread.join()

    assert said == [False]
