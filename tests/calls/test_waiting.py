"""Calls that wait for room: who goes first, who gives up when, and what a wait does not hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.core.clock import SystemClock
from tokenguard.testing import FakeClock, ScriptedReply, scripted_guard

CENT = ScriptedReply("done", usage={"prompt_tokens": 0, "completion_tokens": 400})


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Diary:
    """A guard whose calls cost a cent, and the order in which they were answered."""

    def __init__(self, **arguments: Any) -> None:
        self.answered: list[int] = []
        self.guard = scripted_guard(self._answer, prices=PRICES, **arguments)

    def _answer(self, request: Any) -> ScriptedReply:
        self.answered.append(int(request.arguments["messages"][0]["content"].split()[1]))
        return CENT

    def call(self, number: int, **options: Any) -> Any:
        return self.guard.completion(PENNY, ask(number), max_tokens=400, **options)

    def waiting(self, count: int) -> None:
        """Until `count` callers stand in line."""
        lines = self.guard._late.get().lines
        until(lambda: sum(len(line) for line in lines._lines.values()) == count)


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def test_a_wait_that_is_long_enough_ends_in_headroom_busy_and_sends_nothing(threads: ThreadPoolExecutor) -> None:
    diary = Diary(clock=SystemClock())

    with diary.guard as guard, guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        with guard.charge("browser", up_to="0.01") as charge:
            began = time.monotonic()
            with pytest.raises(tg.HeadroomBusy, match=r"no room for this call within 0\.1 s") as busy:
                threads.submit(guard.bind(diary.call), 1, timeout=0.1).result(30)
            charge.usd("0")
        diary.call(2)

    assert time.monotonic() - began >= 0.1
    assert busy.value.scope == "run agent"
    assert diary.answered == [2]
    assert run.receipt().cost == tg.Money("0.01")


async def test_an_async_wait_ends_the_same() -> None:
    diary = Diary(clock=SystemClock())

    with diary.guard as guard:
        async with guard.run("agent", budget=tg.Budget(usd="0.01")):
            async with guard.charge("browser", up_to="0.01") as charge:
                with pytest.raises(tg.HeadroomBusy, match="no room"):
                    await asyncio.create_task(guard.acompletion(PENNY, ask(1), max_tokens=400, timeout=0.1))
                charge.usd("0")

    assert diary.answered == []


def test_waiters_go_in_the_order_in_which_they_came(threads: ThreadPoolExecutor) -> None:
    diary, calls = Diary(), []

    with diary.guard as guard, guard.run("agent", budget=tg.Budget(usd="0.04")) as run:
        with guard.charge("browser", up_to="0.04") as charge:
            for number in range(4):
                calls.append(threads.submit(guard.bind(diary.call), number))
                diary.waiting(number + 1)
            charge.usd("0")
        for call in calls:
            call.result(30)

    assert diary.answered == [0, 1, 2, 3]
    assert run.receipt().cost == tg.Money("0.04")


def test_a_newcomer_that_would_fit_lines_up_behind_who_waits_already(threads: ThreadPoolExecutor) -> None:
    diary = Diary()

    with diary.guard as guard, guard.run("agent", budget=tg.Budget(usd="0.05")) as run:
        with guard.charge("browser", up_to="0.03") as charge:
            large = threads.submit(guard.bind(guard.completion), PENNY, ask(1), max_tokens=1_600)
            diary.waiting(1)
            small = threads.submit(guard.bind(diary.call), 2)
            diary.waiting(2)
            before = list(diary.answered)
            charge.usd("0")
        large.result(30)
        small.result(30)

    assert before == []
    assert diary.answered == [1, 2]
    assert run.receipt().cost == tg.Money("0.02")


def test_with_busy_raise_nobody_lines_up() -> None:
    diary = Diary(busy="raise")

    with diary.guard as guard, guard.run("agent", budget=tg.Budget(usd="0.02")):
        with guard.charge("browser", up_to="0.02") as charge:
            with pytest.raises(tg.HeadroomBusy, match="calls in flight hold"):
                diary.call(1)
            charge.usd("0")
        diary.call(2)

    assert diary.answered == [2]


def test_a_call_for_which_two_budgets_are_short_in_turn_waits_for_both(threads: ThreadPoolExecutor) -> None:
    diary = Diary()
    lines = diary.guard._late.get().lines
    seen: list[str] = []

    with diary.guard as guard, guard.scope("outer", budget=tg.Budget(usd="0.04", per="total")):
        with guard.run("other"):
            outer = guard.charge("browser", up_to="0.03").__enter__()
        with guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
            inner = guard.charge("browser", up_to="0.01").__enter__()
            call = threads.submit(guard.bind(diary.call), 1)
            diary.waiting(1)
            seen += lines._lines
            outer.usd("0")
            outer.__exit__(None, None, None)
            until(lambda: list(lines._lines) != seen)
            seen += lines._lines
            inner.usd("0")
            inner.__exit__(None, None, None)
            call.result(30)

    assert len(set(seen)) == 2
    assert diary.answered == [1]
    assert run.receipt().cost == tg.Money("0.01")


def test_a_day_that_begins_while_a_call_waits_gives_it_the_new_days_room(threads: ThreadPoolExecutor) -> None:
    clock = FakeClock(datetime(2026, 1, 5, 23, 59, 58, tzinfo=UTC))
    diary = Diary(clock=clock, scope="acme", budget=tg.Budget(usd="0.01", per="day"))

    with diary.guard as guard, guard.run("agent") as run, guard.charge("browser", up_to="0.01"):
        call = threads.submit(guard.bind(diary.call), 1)
        diary.waiting(1)
        clock.advance(3)
        reply = call.result(30)

    assert tg.receipt_of(reply) is not None
    assert run.receipt().cost == tg.Money("0.02")


def test_a_waiter_is_stopped_when_what_it_waits_for_is_spent(threads: ThreadPoolExecutor) -> None:
    diary = Diary()

    with diary.guard as guard, guard.run("agent", budget=tg.Budget(usd="0.01")):
        with guard.charge("browser", up_to="0.01") as charge:
            call: Future[Any] = threads.submit(guard.bind(diary.call), 1)
            diary.waiting(1)
            charge.usd("0.01")
        with pytest.raises(tg.BudgetExceeded):
            call.result(30)

    assert diary.answered == []


def test_a_top_up_wakes_who_waits(threads: ThreadPoolExecutor) -> None:
    diary = Diary()

    with diary.guard as guard, guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        with guard.charge("browser", up_to="0.01") as charge:
            call = threads.submit(guard.bind(diary.call), 1)
            diary.waiting(1)
            guard.top_up(run.id, usd="0.01")
            call.result(30)
            charge.usd("0.01")

    assert run.receipt().cost == tg.Money("0.02")


def test_a_kill_ends_the_wait(threads: ThreadPoolExecutor) -> None:
    diary = Diary()

    with diary.guard as guard, guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        with guard.charge("browser", up_to="0.01"):
            call = threads.submit(guard.bind(diary.call), 1)
            diary.waiting(1)
            guard.kill(run.id, why="enough", by="ada")
            with pytest.raises(tg.RunRevoked):
                call.result(30)

    assert diary.answered == []
