"""Agents and steps of every kind of function: their scope, their outcome, and what they give back."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.calls.scope import current
from tokenguard.testing import ScriptedReply, scripted_guard

CENT = ScriptedReply("done", usage={"prompt_tokens": 0, "completion_tokens": 400})


def cents(**arguments: Any) -> tg.Guard:
    """A guard whose calls cost a cent each."""
    return scripted_guard(lambda _: CENT, prices=PRICES, **arguments)


def tree(run: Any) -> dict[str, tuple[str, str, str | None]]:
    """Kind, dollars and outcome of each node below a run, by name."""
    below = list(run.receipt().walk())[1:]
    return {one.node.name: (one.node.kind, one.cost.json(), one.node.outcome) for one in below}


async def test_coroutine_functions_are_agents_and_steps() -> None:
    with cents() as guard:

        @guard.agent("researcher")
        async def research(question: int) -> str:
            return await gather(question)

        @guard.step("gather")
        async def gather(question: int) -> str:
            reply = await guard.acompletion(PENNY, ask(question), max_tokens=400)
            return str(reply.choices[0].message.content)

        async with guard.run("root") as run:
            answers = await asyncio.gather(research(1), research(2))

    assert answers == ["done", "done"]
    assert inspect.iscoroutinefunction(research)
    assert [child.cost for child in run.receipt().children] == [tg.Money("0.01")] * 2
    assert tree(run)["gather"] == ("step", "0.01", "completed")


def test_methods_and_static_methods_are_decorated_like_functions() -> None:
    with cents() as guard:

        class Crew:
            def __init__(self, number: int) -> None:
                self.number = number

            @guard.agent("lead")
            def lead(self, offset: int = 0) -> int:
                guard.completion(PENNY, ask(self.number), max_tokens=400)
                return self.number + offset

            @staticmethod
            @guard.step
            def check(number: int) -> int:
                guard.completion(PENNY, ask(number), max_tokens=400)
                return number

            @classmethod
            @guard.step("made")
            def made(cls, number: int) -> Crew:
                return cls(number)

        with guard.run("root") as run:
            found = Crew.made(1).lead(offset=4), Crew.check(2)

    assert found == (5, 2)
    assert list(inspect.signature(Crew.lead).parameters) == ["self", "offset"]
    assert sorted(name.rpartition(".")[2] for name in tree(run)) == ["check", "lead", "made"]
    assert run.receipt().steps == 3  # made, check, and the lead's own call


def test_a_step_with_a_name_and_a_budget_stops_only_itself() -> None:
    with cents() as guard:

        @guard.step("careful", budget=tg.Budget(usd="0.01"))
        def careful(number: int) -> None:
            guard.completion(PENNY, ask(number), max_tokens=400)
            guard.completion(PENNY, ask(-number), max_tokens=400)

        with guard.run("root") as run:
            with pytest.raises(tg.BudgetExceeded) as stop:
                careful(1)
            guard.completion(PENNY, ask(9), max_tokens=400)

    assert stop.value.scope == "step careful"
    assert run.receipt().cost == tg.Money("0.02")
    assert tree(run)["careful"][2] == "stopped"


def test_an_agent_that_fails_says_so_and_its_error_is_its_own() -> None:
    with cents() as guard:

        @guard.agent("clumsy")
        def clumsy() -> None:
            raise KeyError("mine")

        with guard.run("root") as run, pytest.raises(KeyError, match="mine"):
            clumsy()

    assert tree(run)["clumsy"] == ("agent", "0", "failed")


def test_a_generator_receives_what_is_sent_and_returns_its_value() -> None:
    with cents() as guard:

        @guard.agent("echo")
        def echo() -> Iterator[Any]:
            got = yield "ready"
            while got is not None:
                guard.completion(PENNY, ask(got), max_tokens=400)
                got = yield got * 2
            return "over"

        with guard.run("root") as run:
            talk: Any = echo()
            said = [next(talk), talk.send(1), talk.send(2)]
            between = current(guard)
            with pytest.raises(StopIteration) as end:
                talk.send(None)

    assert said == ["ready", 2, 4]
    assert end.value.value == "over"
    assert between is run.frame
    assert tree(run)["echo"] == ("agent", "0.02", "completed")


def test_what_is_thrown_into_a_generator_arrives_inside_its_scope() -> None:
    inside: list[Any] = []

    with cents() as guard:

        @guard.agent("patient")
        def patient() -> Iterator[str]:
            try:
                yield "waiting"
            except ValueError as error:
                inside.append((str(error), current(guard)))
                yield "recovered"
            raise RuntimeError("gave up")

        with guard.run("root") as run:
            work: Any = patient()
            said = [next(work), work.throw(ValueError("poke"))]
            with pytest.raises(RuntimeError, match="gave up"):
                next(work)

    assert said == ["waiting", "recovered"]
    assert inside[0][0] == "poke"
    assert inside[0][1].node.name == "patient"
    assert tree(run)["patient"] == ("agent", "0", "failed")


async def test_an_async_generator_receives_what_is_sent_and_thrown() -> None:
    inside: list[Any] = []

    with cents() as guard:

        @guard.agent("patient")
        async def patient() -> AsyncIterator[Any]:
            got = yield "ready"
            await guard.acompletion(PENNY, ask(got), max_tokens=400)
            try:
                yield got * 2
            except ValueError as error:
                inside.append((str(error), current(guard)))
                yield "recovered"

        async with guard.run("root") as run:
            work: Any = patient()
            said = [await anext(work), await work.asend(21), await work.athrow(ValueError("poke"))]
            between = current(guard)
            rest = [one async for one in work]

    assert said == ["ready", 42, "recovered"]
    assert (inside[0][0], inside[0][1].node.name) == ("poke", "patient")
    assert between is run.frame
    assert rest == []
    assert tree(run)["patient"] == ("agent", "0.01", "completed")


async def test_an_async_generator_that_is_closed_early_cleans_up_inside_its_scope() -> None:
    closed: list[Any] = []

    with cents() as guard:

        @guard.agent("producer")
        async def produce() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                closed.append(current(guard))

        async with guard.run("root") as run:
            work: Any = produce()
            first = await anext(work)
            await work.aclose()

    assert first == 1
    assert closed[0].node.name == "producer"
    assert tree(run)["producer"] == ("agent", "0", "completed")


async def test_an_async_generator_that_fails_says_so() -> None:
    with cents() as guard:

        @guard.step
        async def produce() -> AsyncIterator[int]:
            yield 1
            raise OSError("the disk is gone")

        async with guard.run("root") as run:
            with pytest.raises(OSError, match="the disk"):
                _ = [one async for one in produce()]

    (step,) = tree(run).values()
    assert step == ("step", "0", "failed")


async def test_a_bound_coroutine_function_runs_in_the_run_it_was_bound_in() -> None:
    with cents(strict=True) as guard:

        async def call(number: int) -> Any:
            return await guard.acompletion(PENNY, ask(number), max_tokens=400)

        async with guard.run("root") as run:
            carried = guard.bind(call)
        await carried(1)
        with pytest.raises(tg.NoActiveRun):
            await call(2)

    assert inspect.iscoroutinefunction(carried)
    assert run.receipt().cost == tg.Money("0.01")


def test_a_function_bound_outside_any_run_is_the_function_itself() -> None:
    with cents() as guard:
        carried = guard.bind(ask)

    assert carried is ask


def test_a_bound_function_that_raises_leaves_no_scope_behind() -> None:
    frames: list[Any] = []

    with cents() as guard:

        def fail() -> None:
            raise KeyError("mine")

        def frame() -> None:
            frames.append(current(guard))

        with guard.run("root"):
            carried = guard.bind(fail)
        with ThreadPoolExecutor(1) as threads:
            with pytest.raises(KeyError):
                threads.submit(carried).result()
            threads.submit(frame).result()

    assert frames == [None]


def test_a_stopped_runs_tools_do_not_run() -> None:
    ran: list[str] = []

    with cents() as guard:

        @guard.tool
        def read(path: str) -> str:
            ran.append(path)
            return path

        with guard.run("root") as run:
            read("a.txt")
            guard.kill(run.id, why="enough", by="ada")
            with pytest.raises(tg.RunRevoked):
                guard.completion(PENNY, ask(), max_tokens=400)
            with pytest.raises(tg.RunRevoked):
                read("b.txt")

    assert ran == ["a.txt"]


def test_a_tool_outside_any_run_runs_and_is_evidence_of_nothing() -> None:
    with cents() as guard:

        @guard.tool
        def read(path: str) -> str:
            return path

        answers = [read("a.txt") for _ in range(20)]

    assert answers == ["a.txt"] * 20


def test_a_tool_that_is_a_generator_is_refused_with_a_sentence() -> None:
    with cents() as guard, pytest.raises(tg.SetupError, match="a tool returns one result"):

        @guard.tool
        def lines() -> Iterator[str]:
            yield "one"


def test_a_key_of_ones_own_decides_which_tool_calls_are_equal() -> None:
    with cents() as guard:

        @guard.tool(loop_key=lambda path, offset: (path, offset // 100))
        def read(path: str, offset: int) -> str:
            return "same"

        with guard.run("steady"):
            answers = [read("a.txt", 100 * page) for page in range(20)]
        with guard.run("circling"), pytest.raises(tg.LoopDetected):
            for offset in range(20):
                read("a.txt", offset)

    assert answers == ["same"] * 20


async def test_an_async_tool_that_gives_the_same_again_stops_the_run() -> None:
    with cents() as guard:

        @guard.tool("status")
        async def status() -> str:
            return "running"

        async with guard.run("root") as run:
            with pytest.raises(tg.LoopDetected) as stop:
                for _ in range(20):
                    await status()

    assert stop.value.evidence["subject"] == "status"
    assert run.receipt().stopped is not None
