"""Limits beside the balances: wall time, velocity, and the shape of the run tree."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.testing import FakeClock, ScriptedReply, scripted_guard

CENT = ScriptedReply("one two three four", usage={"prompt_tokens": 0, "completion_tokens": 400})
FIVE_SECONDS = timedelta(seconds=5)


def cents(clock: FakeClock | None = None, **arguments: Any) -> tg.Guard:
    """A guard whose calls cost a cent and 400 tokens each."""
    return scripted_guard(lambda _: CENT, prices=PRICES, clock=clock or FakeClock(), **arguments)


def call(guard: tg.Guard, number: int = 0) -> None:
    guard.completion(PENNY, ask(number), max_tokens=400)


def test_a_run_whose_time_is_up_sends_nothing_more_and_holds_nothing() -> None:
    clock = FakeClock()

    with cents(clock) as guard, guard.run("slow", budget=tg.Budget(wall=FIVE_SECONDS, usd="1")) as run:
        call(guard, 1)
        clock.advance(5.1)
        with pytest.raises(tg.BudgetExceeded) as stop:
            call(guard, 2)
        with pytest.raises(tg.BudgetExceeded):
            call(guard, 3)

    assert (stop.value.unit, stop.value.scope, stop.value.cap) == ("wall", "run slow", 5.0)
    assert "5.1 s of 5 s have passed" in str(stop.value)
    assert (run.receipt().calls, run.receipt().held) == (1, tg.Money(0))
    assert run.receipt().stopped is not None


def test_a_parents_time_counts_for_its_agents_and_the_agents_own_does_not_for_the_parent() -> None:
    clock = FakeClock()

    with cents(clock) as guard:

        @guard.agent("child", budget=tg.Budget(wall=FIVE_SECONDS))
        def child(number: int, seconds: float) -> None:
            clock.advance(seconds)
            call(guard, number)

        with guard.run("parent", budget=tg.Budget(wall=timedelta(seconds=20))) as run:
            with pytest.raises(tg.BudgetExceeded) as own:
                child(1, seconds=6)
            call(guard, 2)
            clock.advance(12)
            with pytest.raises(tg.BudgetExceeded) as above:
                child(3, seconds=4)

    assert (own.value.scope, above.value.scope) == ("agent child", "run parent")
    assert run.receipt().calls == 1


def test_a_stream_is_cut_at_the_chunk_at_which_its_runs_time_is_up() -> None:
    clock = FakeClock()
    seen: list[Any] = []

    with cents(clock) as guard, guard.run("slow", budget=tg.Budget(wall=FIVE_SECONDS)) as run:
        with pytest.raises(tg.BudgetExceeded) as stop:
            for chunk in guard.completion(PENNY, ask(), max_tokens=400, stream=True):
                seen.append(chunk)
                clock.advance(2)

    assert len(seen) == 3
    assert stop.value.unit == "wall"
    assert run.receipt().cost == run.receipt().estimated > tg.Money(0)
    assert run.receipt().held == tg.Money(0)


async def test_an_async_stream_is_cut_as_well() -> None:
    clock = FakeClock()
    seen: list[Any] = []

    with cents(clock) as guard:
        async with guard.run("slow", budget=tg.Budget(wall=FIVE_SECONDS)) as run:
            with pytest.raises(tg.BudgetExceeded):
                async for chunk in await guard.acompletion(PENNY, ask(), max_tokens=400, stream=True):
                    seen.append(chunk)
                    clock.advance(2)

    assert len(seen) == 3
    assert run.receipt().cost > tg.Money(0)


def test_observing_says_that_the_time_is_up_and_sends() -> None:
    clock = FakeClock()
    would: list[tg.events.WouldHave] = []

    with cents(clock, mode="observe") as guard:
        guard.on(tg.events.WouldHave, would.append)
        with guard.run("slow", budget=tg.Budget(wall=FIVE_SECONDS)) as run:
            clock.advance(6)
            call(guard, 1)
            text = list(guard.completion(PENNY, ask(2), stream=True))

    assert run.receipt().calls == 2
    assert len(text) > 3
    assert {event.error.code for event in would} == {"budget_exceeded"}


def test_money_that_flows_too_fast_stops_the_run() -> None:
    clock = FakeClock()

    with cents(clock) as guard, guard.run("fast", limits=tg.Limits(usd_per_minute="0.03")) as run:
        for number in range(3):
            call(guard, number)
            clock.advance(10)
        with pytest.raises(tg.VelocityExceeded) as stop:
            call(guard, 4)
        clock.advance(120)
        with pytest.raises(tg.VelocityExceeded):
            call(guard, 5)
        guard.resume(run.id, why="the burst was meant")
        call(guard, 6)

    assert (stop.value.kind, stop.value.count, stop.value.limit) == (
        "usd_per_minute",
        tg.Money("0.03"),
        tg.Money("0.03"),
    )
    assert "$0.03" in str(stop.value)
    assert run.receipt().calls == 4


def test_money_that_flows_slowly_is_never_too_fast() -> None:
    clock = FakeClock()

    with cents(clock) as guard, guard.run("steady", limits=tg.Limits(usd_per_minute="0.03")) as run:
        for number in range(20):
            call(guard, number)
            clock.advance(21)

    assert run.receipt().cost == tg.Money("0.20")


def test_tokens_that_flow_too_fast_stop_the_tree_from_its_root() -> None:
    with cents() as guard:

        @guard.agent("child")
        def child(number: int) -> None:
            call(guard, number)

        with guard.run("root", limits=tg.Limits(tokens_per_minute=1_000)) as run:
            with pytest.raises(tg.VelocityExceeded) as stop:
                for number in range(10):
                    child(number)

    assert (stop.value.kind, stop.value.count, stop.value.scope) == ("tokens_per_minute", 1_200, "run root")
    assert run.receipt().calls == 3


def test_observing_says_that_money_flows_too_fast_and_sends() -> None:
    would: list[tg.events.WouldHave] = []

    with cents(mode="observe") as guard:
        guard.on(tg.events.WouldHave, would.append)
        with guard.run("fast", limits=tg.Limits(usd_per_minute="0.01")) as run:
            call(guard, 1)
            call(guard, 2)

    assert run.receipt().calls == 2
    assert [event.error.code for event in would] == ["velocity_exceeded"]
    assert run.receipt().stopped is None


async def test_live_children_are_limited_and_children_that_ended_are_not_counted() -> None:
    release = asyncio.Event()

    with cents() as guard:

        async def child(number: int) -> None:
            async with guard.run(f"together {number}"):
                await release.wait()

        async with guard.run("root", limits=tg.Limits(children=2)):
            for number in range(5):
                async with guard.run(f"one after the other {number}"):
                    pass
            children = [asyncio.create_task(child(number)) for number in range(3)]
            await asyncio.wait(children, return_when=asyncio.FIRST_COMPLETED)
            release.set()
            ends = await asyncio.gather(*children, return_exceptions=True)

    assert ends[:2] == [None, None]
    assert isinstance(ends[2], tg.FanOutExceeded)
    assert (ends[2].kind, ends[2].count, ends[2].limit) == ("children", 3, 2)


def test_descendants_are_limited_at_any_depth() -> None:
    with cents() as guard:

        @guard.agent("node")
        def node(depth: int) -> None:
            if depth:
                node(depth - 1)
                node(depth - 1)

        with guard.run("root", limits=tg.Limits(descendants=10)) as run, pytest.raises(tg.FanOutExceeded) as stop:
            node(5)

    assert (stop.value.kind, stop.value.count, stop.value.limit) == ("descendants", 11, 10)
    assert stop.value.scope == "run root"
    assert len(list(run.receipt().walk())) == 11


def test_spawns_a_minute_are_limited_and_a_minute_later_there_is_room() -> None:
    clock = FakeClock()

    with cents(clock) as guard, guard.run("root", limits=tg.Limits(spawns_per_minute=3)) as run:
        for _ in range(4):
            clock.advance(25)
            with guard.run("steady"):
                pass
        clock.advance(60)
        with pytest.raises(tg.FanOutExceeded) as stop:
            for _ in range(4):
                with guard.run("burst"):
                    pass

    assert (stop.value.kind, stop.value.count) == ("spawns_per_minute", 4)
    assert "guard.resume" in str(stop.value)
    assert run.receipt().stopped is not None


def test_a_limit_of_an_agent_in_the_middle_stops_that_agent_and_not_its_parent() -> None:
    with cents() as guard:

        @guard.agent("middle", limits=tg.Limits(depth=2))
        def middle() -> None:
            with guard.run("below"), guard.run("too deep"):
                pass

        with guard.run("root") as run:
            with pytest.raises(tg.DepthExceeded) as stop:
                middle()
            call(guard)

    assert (stop.value.scope, stop.value.depth, stop.value.limit) == ("agent middle", 3, 2)
    assert run.receipt().stopped is None
    assert run.receipt().calls == 1


def test_observing_says_that_the_tree_is_too_deep_and_goes_on() -> None:
    would: list[tg.events.WouldHave] = []

    with cents(mode="observe") as guard:
        guard.on(tg.events.WouldHave, would.append)
        with guard.run("root", limits=tg.Limits(depth=1)) as run, guard.run("below"):
            call(guard)

    assert run.receipt().calls == 1
    assert [event.error.code for event in would] == ["depth_exceeded"]


def test_limits_that_are_switched_off_limit_nothing() -> None:
    off = tg.Limits(depth=None, children=None, descendants=None, spawns_per_minute=None)

    with cents() as guard, ExitStack() as deep:
        root = deep.enter_context(guard.run("root", limits=off))
        for depth in range(200):
            deep.enter_context(guard.run(f"level {depth}"))
        call(guard)

        assert root.receipt().calls == 1
