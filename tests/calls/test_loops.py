"""Repetition meets a call: told, refused, stopped, forgiven, and left alone where it is meant."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from agents import NOTE, noted, wants
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply, ToolCall

STEER_AT, BLOCK_AT, STOP_AT = 3, 4, 6


def turns(results: list[str], arguments: str = '{"path": "a.txt"}') -> list[dict[str, Any]]:
    """A conversation in which the model reads the same file again and again."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "fix it"}]
    for index, result in enumerate(results):
        call = {"id": f"c{index}", "type": "function", "function": {"name": "read", "arguments": arguments}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{index}", "content": result})
    return messages


def test_six_equal_rounds_stop_the_run_before_anything_is_sent(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("agent") as run:
        guard.completion(PENNY, turns(["same"] * (STEER_AT - 1)), **at(server))
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
    assert noted(server) == []


def test_the_same_prompt_after_the_same_completion_is_told_and_then_refused(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard()

    with guard.run("agent"), pytest.raises(tg.LoopBlocked) as blocked:
        for _ in range(20):
            guard.completion(PENNY, ask(), **at(server))

    assert server.count == BLOCK_AT
    assert noted(server) == [STEER_AT]
    assert blocked.value.rule == "same_prompt_same_completion"


def test_who_swallows_refusals_of_the_same_prompt_is_stopped(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard()
    codes: list[str] = []

    with guard.run("agent"):
        for _ in range(8):
            try:
                guard.completion(PENNY, ask(), **at(server))
            except tg.TokenguardError as error:
                codes.append(error.code)

    assert codes == ["loop_blocked", "loop_blocked", "loop_detected", "loop_detected"]
    assert server.count == BLOCK_AT


def test_another_prompt_after_the_same_ones_is_sent_as_it_is(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard()

    with guard.run("agent"):
        for _ in range(BLOCK_AT):
            guard.completion(PENNY, ask(), **at(server))
        guard.completion(PENNY, ask(1), **at(server))

    assert server.count == BLOCK_AT + 1
    assert noted(server) == [STEER_AT]


async def test_equal_calls_in_flight_together_are_one_round(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer", latency_s=0.05)), make_guard()

    async with guard.run("agent"):
        await asyncio.gather(*(guard.acompletion(PENNY, ask(), **at(server)) for _ in range(30)))
        await guard.acompletion(PENNY, ask(), **at(server))

    assert server.count == 31


def test_the_items_of_the_responses_api_are_watched_as_well(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    items: list[dict[str, Any]] = [{"role": "user", "content": "fix it"}]
    for number in range(BLOCK_AT):
        call = {"type": "function_call", "call_id": f"c{number}", "name": "read", "arguments": "{}"}
        items += [call, {"type": "function_call_output", "call_id": f"c{number}", "output": "same"}]

    with guard.run("agent"):
        guard.responses(PENNY, items[: 1 + 2 * STEER_AT], **at(server))
        with pytest.raises(tg.LoopBlocked):
            guard.responses(PENNY, items, **at(server))

    assert server.count == 1
    assert NOTE in server.requests[0].json["input"][-1]["output"]


def test_loops_can_be_switched_off(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard(loops=False)

    with guard.run("evaluation"):
        for _ in range(20):
            guard.completion(PENNY, ask(), **at(server))

    assert server.count == 20


def test_one_rule_or_one_rung_can_be_switched_off(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(Reply(text="same answer"))
    patient = tg.Ladder(loops=tg.Loops(steer_at=None, block_at=None, stop_at=8))
    deaf = tg.Ladder(loops=tg.Loops(off=["same_prompt_same_completion"]))
    guard = make_guard()

    with guard.run("deaf", ladder=deaf):
        for _ in range(20):
            guard.completion(PENNY, ask(), **at(server))
    with guard.run("patient", ladder=patient), pytest.raises(tg.LoopDetected):
        for _ in range(20):
            guard.completion(PENNY, ask(), **at(server))

    assert server.count == 28
    assert noted(server) == []


@pytest.mark.parametrize("blocked", ["message", "raise"])
def test_a_guarded_tool_is_not_run_a_fourth_time_for_the_same(make_guard: MakeGuard, blocked: Any) -> None:
    guard = make_guard(loops=tg.Loops(blocked=blocked))
    ran: list[str] = []
    answers: list[Any] = []

    @guard.tool(loop_key=("path",))
    def read(path: str, offset: int = 0) -> str:
        ran.append(path)
        return "same"

    with guard.run("agent"), pytest.raises(tg.LoopDetected) as stop:
        for offset in range(20):
            try:
                answers.append(read("a.txt", offset))
            except tg.LoopBlocked as error:
                answers.append(error.code)

    assert len(ran) == BLOCK_AT - 1
    told = "[tokenguard] Not run: " if blocked == "message" else "loop_blocked"
    assert [str(one).startswith(told) for one in answers] == [False] * 3 + [True] * 2
    assert stop.value.evidence["subject"].endswith("read")


async def test_a_guarded_coroutine_is_not_run_a_fourth_time_for_the_same(make_guard: MakeGuard) -> None:
    guard = make_guard()
    ran = itertools.count()

    @guard.tool
    async def read() -> str:
        next(ran)
        return "same"

    async with guard.run("agent"):
        answers = [await read() for _ in range(5)]

    assert next(ran) == BLOCK_AT - 1
    assert [answer.startswith(NOTE) for answer in answers] == [False, False, False, True, True]


def test_what_a_tool_repeats_is_told_to_the_model_with_the_next_call(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()

    @guard.tool
    def read() -> str:
        return "same"

    with guard.run("agent"):
        for _ in range(STEER_AT):
            read()
        guard.completion(PENNY, ask(), **at(server))
        guard.completion(PENNY, ask(1), **at(server))

    assert noted(server) == [0]


def test_a_tool_whose_refusals_are_off_stops_its_run_before_the_sixth_time(make_guard: MakeGuard) -> None:
    guard = make_guard(loops=tg.Loops(block_at=None))
    ran = itertools.count()

    @guard.tool
    def read() -> str:
        next(ran)
        return "same"

    with guard.run("agent"), pytest.raises(tg.LoopDetected):
        for _ in range(20):
            read()

    assert next(ran) == STOP_AT - 1


async def test_a_poll_is_never_a_loop(make_guard: MakeGuard) -> None:
    guard = make_guard()

    @guard.tool(poll=True)
    async def status() -> str:
        return "running"

    async with guard.run("agent"):
        answers = [await status() for _ in range(20)]

    assert answers == ["running"] * 20


@pytest.mark.parametrize(
    ("loop_key", "equal"), [(("path",), True), (lambda path, **_: path, True), (None, False), (False, False)]
)
def test_what_makes_two_calls_of_a_tool_equal_holds_for_conversations_too(
    make_guard: MakeGuard, make_server: MakeServer, loop_key: Any, equal: object
) -> None:
    server, guard = make_server(), make_guard()

    @guard.tool("read", loop_key=loop_key)
    def read(path: str, salt: str) -> str:
        return "same"

    rounds = [turns(["ok"], f'{{"path": "a.txt", "salt": "word {number}"}}')[1:] for number in range(BLOCK_AT)]
    for number, one in enumerate(rounds):
        one[0]["tool_calls"][0]["id"] = one[1]["tool_call_id"] = f"c{number}"
    blocked = False
    with guard.run("agent"):
        try:
            guard.completion(PENNY, [*ask(), *itertools.chain(*rounds)], **at(server))
        except tg.LoopBlocked:
            blocked = True

    assert blocked is equal


def test_a_loop_key_that_fails_leaves_the_calls_as_they_are(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    @guard.tool("read", loop_key=lambda path: path.missing)
    def read(path: str) -> str:
        return "same"

    with guard.run("agent"), pytest.raises(tg.LoopBlocked):
        guard.completion(PENNY, turns(["same"] * BLOCK_AT), **at(server))


def test_a_loop_key_that_fails_breaks_no_tool_and_all_its_arguments_count(make_guard: MakeGuard) -> None:
    guard = make_guard()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    @guard.tool(loop_key=lambda path: path.missing)
    def read(path: str) -> str:
        return f"text of {path}"

    with guard.run("agent"):
        answers = [read("a.txt") for _ in range(4)]
    read("outside any run")

    assert [answer.startswith(NOTE) for answer in answers] == [False] * 3 + [True]
    assert {fault.where for fault in faults} == {"loops"}


def test_a_run_that_another_process_resumed_goes_on_here(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server()
    one, other = (make_guard(str(tmp_path / "spend.db")) for _ in range(2))

    with one.run("agent") as run:
        with pytest.raises(tg.LoopDetected):
            one.completion(PENNY, turns(["same"] * STOP_AT), **at(server))
        other.resume(run.id, why="it waits for a build")
        one.completion(PENNY, turns(["same"] * STOP_AT), **at(server))

    assert server.count == 1


def test_a_process_that_joins_after_the_resume_goes_on(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server()
    one, other, third = (make_guard(str(tmp_path / "spend.db")) for _ in range(3))

    with one.run("agent") as run:
        with pytest.raises(tg.LoopDetected):
            one.completion(PENNY, turns(["same"] * STOP_AT), **at(server))
        other.resume(run.id, why="it waits for a build")
        with third.join(run.token()):
            third.completion(PENNY, turns(["same"] * STOP_AT), **at(server))
        one.completion(PENNY, ask(), **at(server))
        one.completion(PENNY, turns(["same"] * STOP_AT), **at(server))

    assert server.count == 3


def test_a_tool_that_fails_the_same_way_is_not_run_for_ever(make_guard: MakeGuard) -> None:
    guard = make_guard()
    ran = itertools.count()
    codes: list[str] = []

    @guard.tool
    def read() -> str:
        next(ran)
        raise ValueError("no such file")

    with guard.run("agent"):
        for _ in range(8):
            try:
                codes.append(read())
            except ValueError:
                codes.append("failed")
            except tg.LoopDetected:
                codes.append("stopped")

    assert codes[:3] == ["failed"] * 3
    assert codes[3].startswith("[tokenguard] Not run: ")
    assert codes[5:] == ["stopped"] * 3
    assert next(ran) == 3


async def test_a_coroutine_that_fails_the_same_way_is_not_run_for_ever(make_guard: MakeGuard) -> None:
    guard = make_guard()

    @guard.tool
    async def read() -> str:
        raise ValueError("no such file")

    async with guard.run("agent"):
        for _ in range(3):
            with pytest.raises(ValueError, match="no such file"):
                await read()

        assert (await read()).startswith("[tokenguard] Not run: ")


def test_a_method_of_another_object_is_another_call(make_guard: MakeGuard) -> None:
    guard = make_guard()

    class Page:
        @guard.tool
        def broken_links(self) -> list[str]:
            return []

    with guard.run("crawler"):
        pages = [Page() for _ in range(7)]
        answers = [page.broken_links() for page in pages]

    assert answers == [[]] * 7


async def test_a_stop_inside_a_coroutine_is_no_failure_of_it(make_guard: MakeGuard) -> None:
    guard = make_guard()

    @guard.tool
    async def research() -> str:
        raise tg.BudgetExceeded("spent", scope="inner", scope_key="run:x")

    async with guard.run("agent"):
        for _ in range(8):
            with pytest.raises(tg.BudgetExceeded):
                await research()


def test_a_tool_of_a_run_that_another_process_resumed_runs_again(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server()
    one, other = (make_guard(str(tmp_path / "spend.db")) for _ in range(2))

    @one.tool
    def read() -> str:
        return "text"

    with one.run("agent") as run:
        with pytest.raises(tg.LoopDetected):
            one.completion(PENNY, turns(["same"] * STOP_AT), **at(server))
        with pytest.raises(tg.LoopDetected):
            read()
        other.resume(run.id, why="it waits for a build")
        assert read() == "text"


def test_who_heard_of_a_stop_and_remembers_nothing_can_resume(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server()
    one, other = make_guard(str(tmp_path / "spend.db"), loops=False), make_guard(str(tmp_path / "spend.db"))

    with one.run("agent") as run:
        with other.join(run.token()), pytest.raises(tg.LoopDetected):
            other.completion(PENNY, turns(["same"] * STOP_AT), **at(server))
        with pytest.raises(tg.LoopDetected):
            one.completion(PENNY, ask(), **at(server))
        one.resume(run.id, why="it waits for a build")
        one.completion(PENNY, ask(), **at(server))

    assert server.count == 1


def monologue() -> list[dict[str, Any]]:
    said = [{"role": "assistant", "content": f"Thinking, step {number}."} for number in range(STEER_AT)]
    return [*ask(), *said]


@pytest.mark.parametrize(
    ("rule", "conversation"),
    [
        ("cycle", [*ask(), *(one for _ in range(3) for one in (*turns(["a"])[1:], *turns(["b"], "{}")[1:]))]),
        ("same_call_same_error", turns(["Error: no such file"] * STEER_AT)),
        ("monologue", monologue()),
    ],
)
def test_each_rule_says_what_it_found(
    make_guard: MakeGuard, make_server: MakeServer, rule: str, conversation: list[dict[str, Any]]
) -> None:
    server, guard = make_server(), make_guard()
    told: list[tg.events.Looped] = []
    guard.on(tg.events.Looped, told.append)
    numbered = [dict(message) for message in conversation]
    for place, message in enumerate(numbered):
        if message.get("tool_calls"):
            message["tool_calls"] = [{**message["tool_calls"][0], "id": f"id{place}"}]
        elif message["role"] == "tool":
            message["tool_call_id"] = f"id{place - 1}"

    with guard.run("agent", ladder=tg.Ladder(loops=tg.Loops(off=["same_call_same_result"]))):
        guard.completion(PENNY, numbered, **at(server))

    assert [(one.rule, one.rung) for one in told] == [(rule, "steer")]
    assert told[0].sentence.startswith("run 'agent' repeats itself: ")
    assert noted(server) == [0]


def test_of_many_prompts_that_repeat_the_latest_are_remembered(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard()

    with guard.run("agent"):
        for number in range(40):
            for _ in range(STEER_AT):
                guard.completion(PENNY, ask(number), **at(server))
        guard.completion(PENNY, ask(0), **at(server))
        guard.completion(PENNY, ask(39), **at(server))

    assert noted(server) == [121]


def test_a_stop_inside_a_tool_is_no_failure_of_the_tool(make_guard: MakeGuard) -> None:
    guard = make_guard()

    @guard.tool
    def research() -> str:
        raise tg.BudgetExceeded("spent", scope="inner", scope_key="run:x")

    with guard.run("agent"):
        for _ in range(8):
            with pytest.raises(tg.BudgetExceeded):
                research()


def test_the_same_prompt_at_other_temperatures_is_another_question(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard()

    with guard.run("sweep"):
        for tenth in range(8):
            guard.completion(PENNY, ask(), temperature=tenth / 10, **at(server))

    assert server.count == 8


def test_the_same_input_with_the_same_output_is_refused_in_the_responses_api_too(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard()

    with guard.run("agent"), pytest.raises(tg.LoopBlocked):
        for _ in range(8):
            guard.responses(PENNY, "is it done?", **at(server))

    assert server.count == BLOCK_AT


def test_a_response_that_goes_on_with_another_is_a_new_question(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard()

    with guard.run("agent"):
        for number in range(8):
            guard.responses(PENNY, "go on", previous_response_id=f"resp_{number}", **at(server))

    assert server.count == 8


def test_a_run_that_was_stopped_elsewhere_can_be_resumed_here(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server()
    one, other = (make_guard(str(tmp_path / "spend.db")) for _ in range(2))

    with one.run("agent") as run:
        with other.join(run.token()), pytest.raises(tg.LoopDetected):
            other.completion(PENNY, turns(["same"] * STOP_AT), **at(server))
        with pytest.raises(tg.LoopDetected):
            one.completion(PENNY, ask(), **at(server))
        one.resume(run.id, why="it waits for a build")
        one.completion(PENNY, ask(), **at(server))

    assert server.count == 1


def test_observing_goes_on_with_the_same_prompt(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text="same answer")), make_guard(mode="observe")
    rungs: list[str] = []
    guard.on(tg.events.Looped, lambda event: rungs.append(event.rung))

    with guard.run("agent"):
        for _ in range(8):
            guard.completion(PENNY, ask(), **at(server))

    assert server.count == 8
    assert rungs == ["steer", "block", "block", "stop", "stop", "stop"]


def test_the_latest_of_many_repetitions_are_remembered_as_told(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard(loops=tg.Loops(block_at=None, stop_at=None))

    with guard.run("agent") as run:
        for number in range(70):
            repeated = turns(["same"] * STEER_AT, f'{{"path": "{number}.txt"}}')
            for place, message in enumerate(repeated[1:]):
                for call in message.get("tool_calls", [message]):
                    call["id" if "function" in call else "tool_call_id"] = f"{number}-{place // 2}"
            guard.completion(PENNY, repeated, **at(server))

    assert len(noted(server)) == 70
    assert len(run.receipt().loops) == 70


def test_a_loop_key_that_the_tool_does_not_have_is_refused(make_guard: MakeGuard) -> None:
    guard = make_guard()

    with pytest.raises(tg.SetupError, match="no argument 'file'"):

        @guard.tool(loop_key=("file",))
        def read(path: str) -> str:
            return path


@pytest.mark.parametrize("text", ["the same words again and again and now ", "ja, "])
def test_a_stream_whose_text_goes_in_circles_is_closed(
    make_guard: MakeGuard, make_server: MakeServer, text: str
) -> None:
    server = make_server(Reply(text * 4_000, completion_tokens=12_000, pace_s=0.001))
    guard = make_guard()
    seen = 0

    with guard.run("agent") as run, pytest.raises(tg.LoopBlocked) as blocked:
        for _ in guard.completion(PENNY, ask(), stream=True, max_tokens=16_000, **at(server)):
            seen += 1

    assert blocked.value.rule == "text_tail"
    assert seen < 400
    assert server.sent_chunks[0] < 2_000
    assert tg.Money(0) < run.receipt().cost < tg.Money("0.05")
    assert run.receipt().stopped is None


async def test_the_arguments_of_streamed_calls_may_repeat_themselves(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    rows = "INSERT INTO prices VALUES (1, 'same'); " * 40
    write = ToolCall("write", json.dumps({"text": rows}), id="w1")
    server, guard = make_server(Reply("Writing the file now.", tool_calls=[write])), make_guard()

    with guard.run("agent"):
        chunks = list(guard.completion(PENNY, ask(), stream=True, max_tokens=900, **at(server)))

    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_several_answers_in_one_stream_may_say_the_same(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply("It is in line seven of the file.")), make_guard()

    with guard.run("agent"):
        chunks = list(guard.completion(PENNY, ask(), stream=True, n=12, max_tokens=400, **at(server)))

    assert len(chunks) > 12


def test_a_streamed_agent_knows_what_it_wasted(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(lambda request: wants("read", path="a.txt", text=f"look {request.index}"))
    guard = make_guard()
    messages: list[Any] = ask()

    with guard.run("agent") as run, pytest.raises(tg.LoopBlocked):
        for number in range(9):
            stream = guard.completion(PENNY, messages, stream=True, max_tokens=400, **at(server))
            calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
            arguments = "".join(call.function.arguments for call in calls)
            call = {"id": calls[0].id, "type": "function", "function": {"name": "read", "arguments": arguments}}
            messages += [{"role": "assistant", "content": f"look {number}", "tool_calls": [call]}]
            messages += [{"role": "tool", "tool_call_id": calls[0].id, "content": "the same text"}]

    assert server.count == 4
    assert run.receipt().wasted == tg.Money("0.03")


def test_streams_that_ask_for_other_tools_are_other_answers(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(lambda request: wants(f"tool_{request.index}")), make_guard()

    with guard.run("agent"):
        for _ in range(8):
            list(guard.completion(PENNY, ask(), stream=True, max_tokens=400, **at(server)))

    assert server.count == 8


def test_streams_follow_the_rungs_that_are_on(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply("over and over " * 300)), make_guard()
    told: list[str] = []
    guard.on(tg.events.Looped, lambda event: told.append(event.rung))

    with guard.run("agent", ladder=tg.Ladder(loops=tg.Loops(block_at=None, stop_at=None))):
        for number in range(4):
            list(guard.completion(PENNY, ask(number), stream=True, max_tokens=900, **at(server)))

    assert server.count == 4
    assert set(told) == {"steer"}


def test_a_stream_that_goes_in_circles_now_and_then_stops_no_run(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server(
        lambda request: "over and over " * 300 if request.index % 6 == 0 else f"a new answer, the {request.index}th"
    )
    guard = make_guard()
    codes: list[str] = []

    with guard.run("service") as run:
        for number in range(25):
            try:
                list(guard.completion(PENNY, ask(number), stream=True, max_tokens=900, **at(server)))
            except tg.TokenguardError as error:
                codes.append(error.code)

    assert codes == ["loop_blocked"] * 5
    assert run.receipt().stopped is None


async def test_the_third_stream_that_goes_in_circles_stops_the_run(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply("over and over " * 300)), make_guard()
    codes: list[str] = []

    async with guard.run("agent") as run:
        for number in range(4):
            try:
                async for _ in await guard.acompletion(PENNY, ask(number), stream=True, max_tokens=900, **at(server)):
                    pass
            except tg.TokenguardError as error:
                codes.append(error.code)

    assert codes == ["loop_blocked", "loop_blocked", "loop_detected", "loop_detected"]
    assert server.count == 3
    assert run.receipt().stopped is not None


def test_observing_reads_a_stream_that_goes_in_circles_to_its_end(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply("over and over " * 300)), make_guard(mode="observe")
    would: list[str] = []
    guard.on(tg.events.WouldHave, lambda event: would.append(event.error.code))

    with guard.run("agent"):
        chunks = list(guard.completion(PENNY, ask(), stream=True, max_tokens=900, **at(server)))

    assert len(chunks) > 800
    assert would == ["loop_blocked"]
