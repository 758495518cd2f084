"""The two repetition rules stop a run that goes in circles and leave a good one alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.loops.repeats import STOP_AT, repeated_call
from tokenguard.testing.model_server import Reply


def turns(results: list[str], arguments: str = '{"path": "a.txt"}') -> list[dict[str, Any]]:
    """A conversation in which the model reads the same file again and again."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "fix it"}]
    for index, result in enumerate(results):
        call = {"id": f"c{index}", "type": "function", "function": {"name": "read", "arguments": arguments}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{index}", "content": result})
    return messages


def test_the_same_tool_call_with_the_same_result_stops_the_run_before_it_is_sent(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("agent") as run:
        guard.completion(PENNY, turns(["same"] * (STOP_AT - 1)), **at(server))
        with pytest.raises(tg.LoopDetected) as stop:
            guard.completion(PENNY, turns(["same"] * STOP_AT), **at(server))
        with pytest.raises(tg.LoopDetected):
            guard.completion(PENNY, ask(), **at(server))

    assert server.count == 1
    assert (stop.value.rule, stop.value.repeats) == ("same_call_same_result", STOP_AT)
    assert "same" not in str(stop.value.evidence)
    assert run.receipt().stopped is not None


def test_a_resumed_run_goes_on_with_the_conversation_that_stopped_it(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("agent") as run:
        with pytest.raises(tg.LoopDetected):
            guard.completion(PENNY, turns(["same"] * STOP_AT), **at(server))
        guard.resume(run.id, why="it waits for a build")
        guard.completion(PENNY, turns(["same"] * STOP_AT), **at(server))

    assert server.count == 1


def test_changing_results_and_changing_arguments_are_no_loop() -> None:
    progress = turns([f"line {number}" for number in range(20)])
    search = [message for number in range(20) for message in turns(["none"], f'{{"query": "{number}"}}')[1:]]

    assert repeated_call(progress) is None
    assert repeated_call(search) is None


def test_equal_arguments_are_equal_in_any_order_and_spacing() -> None:
    one, other = turns(["same"] * 3, '{"a": 1, "b": 2}')[1:], turns(["same"] * 3, '{"b":2,"a":1}')[1:]

    assert repeated_call([*one, *other]) is not None


def test_a_fan_out_of_equal_calls_in_one_turn_is_one_round() -> None:
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "read", "arguments": "{}"}} for n in range(8)]
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": "same"} for n in range(8)]

    assert repeated_call([{"role": "assistant", "tool_calls": calls}, *results]) is None


def test_the_same_prompt_after_the_same_completion_stops_the_call_after(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard()

    with guard.run("agent"), pytest.raises(tg.LoopDetected) as stop:
        for _ in range(20):
            guard.completion(PENNY, ask(), **at(server))

    assert server.count == STOP_AT
    assert stop.value.rule == "same_prompt_same_completion"


async def test_equal_calls_in_flight_together_are_one_round(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer", latency_s=0.05)), make_guard()

    async with guard.run("agent"):
        await asyncio.gather(*(guard.acompletion(PENNY, ask(), **at(server)) for _ in range(30)))
        await guard.acompletion(PENNY, ask(), **at(server))

    assert server.count == 31


def test_loops_can_be_switched_off(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard(loops=False)

    with guard.run("evaluation"):
        for _ in range(20):
            guard.completion(PENNY, ask(), **at(server))

    assert server.count == 20


def test_a_guarded_tool_that_gives_the_same_again_stops_the_run_and_then_does_not_run(make_guard: MakeGuard) -> None:
    guard = make_guard()
    ran: list[str] = []

    @guard.tool(loop_key=("path",))
    def read(path: str, offset: int = 0) -> str:
        ran.append(path)
        return "same"

    with guard.run("agent"), pytest.raises(tg.LoopDetected) as stop:
        for offset in range(20):
            read("a.txt", offset)

    assert len(ran) == STOP_AT
    assert stop.value.evidence["subject"].endswith("read")


async def test_a_poll_is_never_a_loop(make_guard: MakeGuard) -> None:
    guard = make_guard()

    @guard.tool(poll=True)
    async def status() -> str:
        return "running"

    async with guard.run("agent"):
        answers = [await status() for _ in range(20)]

    assert answers == ["running"] * 20


def test_a_loop_key_that_the_tool_does_not_have_is_refused(make_guard: MakeGuard) -> None:
    guard = make_guard()

    with pytest.raises(tg.SetupError, match="no argument 'file'"):

        @guard.tool(loop_key=("file",))
        def read(path: str) -> str:
            return path
