"""The last room of a budget: who may take it, what must not wait for it, what hides it, and who makes more."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from support import PENNY, ask, penny_guard

import tokenguard as tg
from tokenguard.core.budget import Unit
from tokenguard.testing import FakeClock


def test_a_child_cannot_take_its_parents_last_words() -> None:
    guard = penny_guard()

    @guard.agent("child")
    def child() -> None:
        for number in range(5):
            guard.completion(PENNY, ask(number), max_tokens=400)

    with guard.run("parent", budget=tg.Budget(usd="0.03", reserve_final="0.01")) as run:
        with pytest.raises(tg.BudgetExceeded):
            child()
        guard.completion(PENNY, ask(99), max_tokens=400)
        with pytest.raises(tg.BudgetExceeded):
            guard.completion(PENNY, ask(100), max_tokens=400)

    assert run.receipt().cost == tg.Money("0.03")


def test_a_finished_stream_that_is_still_referenced_holds_nobody_up() -> None:
    guard = penny_guard()

    with guard.run("agent", budget=tg.Budget(usd="0.02")) as run:
        kept = guard.completion(PENNY, ask(1), stream=True, max_tokens=400)
        list(kept)
        guard.completion(PENNY, ask(2), max_tokens=400)

    assert run.receipt().cost == tg.Money("0.02")


def test_a_call_inside_its_own_charge_does_not_wait_for_it() -> None:
    guard = penny_guard()

    with guard.run("agent", budget=tg.Budget(usd="0.02")), guard.charge("browser", up_to="0.015"):
        began = time.monotonic()
        with pytest.raises(tg.HeadroomBusy):
            guard.completion(PENNY, ask(), max_tokens=400)

    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "options",
    [
        {"extra_body": {"max_tokens": 10_000}},
        {"extra_body": {"n": 20}},
        {"additional_drop_params": ["max_tokens"]},
        {"max_tokens": 10_000, "max_completion_tokens": 100},
    ],
)
def test_options_that_would_undo_the_bound_are_refused(options: dict[str, Any]) -> None:
    guard = penny_guard()

    with guard.run("agent", budget=tg.Budget(usd="0.05")), pytest.raises(tg.SetupError, match=r"max_tokens|n in"):
        guard.completion(PENNY, ask(), **options)


def test_resume_restarts_the_wall_and_forgives_velocity() -> None:
    clock = FakeClock()
    guard = penny_guard(clock=clock)
    budget, limits = tg.Budget(wall=timedelta(seconds=60)), tg.Limits(usd_per_minute="0.02")

    with guard.run("slow", budget=budget) as slow:
        clock.advance(61)
        with pytest.raises(tg.BudgetExceeded, match="61"):
            guard.completion(PENNY, ask(1))
        guard.resume(slow.id, why="it is nearly done")
        guard.completion(PENNY, ask(2))
    with guard.run("fast", limits=limits) as fast:
        for number in range(2):
            guard.completion(PENNY, ask(number))
        with pytest.raises(tg.VelocityExceeded):
            guard.completion(PENNY, ask(9))
        guard.resume(fast.id, why="a burst")
        guard.completion(PENNY, ask(10))

    assert (slow.receipt().calls, fast.receipt().calls) == (1, 3)


def test_a_top_up_and_a_resume_let_tools_run_at_once() -> None:
    guard = penny_guard()

    @guard.tool
    def look() -> str:
        return "seen"

    with guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        guard.completion(PENNY, ask(1), max_tokens=400)
        with pytest.raises(tg.BudgetExceeded):
            guard.completion(PENNY, ask(2), max_tokens=400)
        with pytest.raises(tg.BudgetExceeded):
            look()
        guard.top_up(run.id, usd="0.01")
        after_top_up = look()
        guard.kill(run.id, why="enough")
        with pytest.raises(tg.RunRevoked):
            look()
        guard.resume(run.id, why="go on")

        assert (after_top_up, look()) == ("seen", "seen")


def test_a_cap_that_a_person_sets_on_an_agents_name_binds(tmp_path: Any) -> None:
    guard = penny_guard(database=str(tmp_path / "spend.db"))
    parts = guard.late.get()
    parts.ledger.set_cap("agent:worker", Unit.CALLS, "day", "UTC", 1, by="ada", at=parts.clock.now())

    @guard.agent("worker")
    def worker(number: int) -> None:
        guard.completion(PENNY, ask(number))

    worker(1)
    with pytest.raises(tg.BudgetExceeded):
        worker(2)


def test_a_charge_is_told_like_a_call() -> None:
    guard = penny_guard()
    told: list[str] = []
    guard.on(tg.events.Settlement, lambda _: told.append("settled"))
    guard.on(tg.events.Warned, lambda event: told.append(f"{event.share}"))

    with guard.run("agent", budget=tg.Budget(usd="1")):
        guard.charge("browser", usd="0.90")

    assert told == ["settled", "0.5", "0.8"]
