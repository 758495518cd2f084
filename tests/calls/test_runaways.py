"""Whole agents over real HTTP: what runs away is found at the fourth repetition, what makes progress is left alone."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from agents import NOTE, answers, noted, wants, work
from support import PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import RecordedRequest, Reply


def stuck(guard: tg.Guard, server: Any, tools: Any) -> tg.LoopBlocked:
    with guard.run("agent"), pytest.raises(tg.LoopBlocked) as blocked:
        work(guard, server, tools)
    return blocked.value


def test_an_agent_that_reads_the_same_file_is_told_at_three_and_refused_at_four(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(lambda _: wants("read", path="a.txt")), make_guard(database)

    blocked = stuck(guard, server, {"read": lambda **_: "the same text"})

    assert server.count == 4
    assert noted(server) == [3]
    assert (blocked.rule, blocked.repeats) == ("same_call_same_result", 4)
    assert blocked.wasted == tg.Money("0.03")
    assert "a.txt" not in str(blocked.facts)


def test_an_agent_that_swallows_refusals_is_stopped_without_sending_anything_more(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(lambda _: wants("read", path="a.txt")), make_guard()

    with guard.run("stubborn") as run:
        outcomes = []
        messages = conversation("read", ["same"] * 4)
        for _ in range(4):
            try:
                guard.completion(PENNY, messages, max_tokens=400, **at(server))
            except tg.TokenguardError as error:
                outcomes.append(type(error))

    assert outcomes == [tg.LoopBlocked, tg.LoopBlocked, tg.LoopDetected, tg.LoopDetected]
    assert server.count == 0
    assert run.receipt().stopped is not None


def conversation(tool: str, results: list[str]) -> list[dict[str, Any]]:
    """Rounds of one call with these results."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "find the bug"}]
    for number, result in enumerate(results):
        function = {"name": tool, "arguments": '{"path": "a.txt"}'}
        call = {"id": f"c{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": result})
    return messages


def test_two_calls_in_turn_are_found_without_any_decorator(make_guard: MakeGuard, make_server: MakeServer) -> None:
    turn = itertools.cycle(["read", "list"])
    server, guard = make_server(lambda _: wants(next(turn))), make_guard()

    blocked = stuck(guard, server, {"read": lambda: "the same text", "list": lambda: "the same files"})

    assert blocked.rule in ("same_call_same_result", "cycle")
    assert server.count <= 8


def test_new_words_around_the_same_call_do_not_hide_it(make_guard: MakeGuard, make_server: MakeServer) -> None:
    thoughts = itertools.count()
    server = make_server(lambda _: wants("read", text=f"Thought {next(thoughts)}: look once more", path="a.txt"))

    blocked = stuck(make_guard(), server, {"read": lambda **_: "the same text"})

    assert blocked.rule == "same_call_same_result"
    assert server.count == 4


def test_a_nonce_among_the_arguments_does_not_hide_the_same_result(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    nonces = itertools.count(0xA3F1_0000_0000_0000)
    server = make_server(lambda _: wants("read", path="a.txt", nonce=f"{next(nonces) * 7919:032x}"))

    stuck(make_guard(), server, {"read": lambda **_: "the same text of the file, every time"})

    assert server.count <= 6


def test_a_steered_agent_that_changes_course_is_left_alone(make_guard: MakeGuard, make_server: MakeServer) -> None:
    def model(request: RecordedRequest) -> Reply:
        return answers("it is in line 7") if NOTE in str(request.messages) else wants("read", path="a.txt")

    server, guard = make_server(model), make_guard()
    looped: list[tg.events.Looped] = []
    guard.on(tg.events.Looped, looped.append)

    with guard.run("agent") as run:
        answer = work(guard, server, {"read": lambda **_: "the same text"})

    assert answer == "it is in line 7"
    assert [(one.rung, one.applied, one.repeats) for one in looped] == [("steer", True, 3)]
    assert looped[0].evidence["note_tokens"] > 0
    assert run.receipt().stopped is None


def test_a_model_reads_that_a_tool_was_not_run_and_goes_another_way(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    def model(request: RecordedRequest) -> Reply:
        told = "Not run" in str(request.messages[-1].get("content"))
        return answers("it is in line 7") if told else wants("read", path="a.txt")

    server, guard = make_server(model), make_guard(loops=tg.Loops(steer_at=None))
    ran: list[str] = []

    @guard.tool
    def read(path: str) -> str:
        ran.append(path)
        return "the same text"

    with guard.run("agent") as run:
        answer = work(guard, server, {"read": read})

    assert answer == "it is in line 7"
    assert len(ran) == 3
    assert run.receipt().stopped is None


def test_a_model_that_does_not_listen_is_stopped_at_six(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(lambda _: wants("read", path="a.txt")), make_guard()
    ran: list[str] = []

    @guard.tool
    def read(path: str) -> str:
        ran.append(path)
        return "the same text"

    with guard.run("agent") as run, pytest.raises(tg.LoopDetected):
        work(guard, server, {"read": read})

    assert (len(ran), server.count) == (3, 6)
    (loop,) = run.receipt().loops
    assert (loop.repeats, loop.rung) == (6, "stop")


def test_a_recursion_of_agents_ends_at_the_sixteenth_level(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    @guard.agent("splitter")
    def split(level: int) -> None:
        guard.completion(PENNY, ask(level), max_tokens=400, **at(server))
        if level < 50:
            split(level + 1)

    with pytest.raises(tg.DepthExceeded) as stop:
        split(1)

    assert (stop.value.depth, stop.value.limit) == (17, 16)
    assert server.count == 16


def test_five_agents_that_become_hundreds_are_stopped_at_a_hundred_and_twenty_a_minute(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()
    stops: list[tg.SpendStopped] = []

    @guard.agent("worker")
    def worker(level: int) -> None:
        guard.completion(PENNY, ask(level), max_tokens=400, **at(server))
        if level < 4:
            spread(level + 1)

    def spread(level: int) -> None:
        for _ in range(5):
            worker(level)

    with guard.run("fan-out"):
        try:
            spread(1)
        except tg.SpendStopped as stop:
            stops.append(stop)

    assert [type(stop) for stop in stops] == [tg.FanOutExceeded]
    assert (stops[0].kind, stops[0].limit) == ("spawns_per_minute", 120)  # type: ignore[attr-defined]
    assert server.count == 120


def test_two_agents_that_talk_to_each_other_in_ever_new_words_are_stopped_by_velocity(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    numbers = itertools.count()
    server = make_server(lambda _: answers(f"An entirely new thought, the {next(numbers)}th of many."))
    guard = make_guard()
    said = "hello"

    with guard.run("pair", limits=tg.Limits(usd_per_minute="0.20")), pytest.raises(tg.VelocityExceeded) as stop:
        for speaker in itertools.cycle(["analyst", "critic"]):
            messages = [{"role": "system", "content": f"you are the {speaker}"}, {"role": "user", "content": said}]
            reply = guard.completion(PENNY, messages, max_tokens=400, **at(server))
            said = reply.choices[0].message.content

    assert stop.value.kind == "usd_per_minute"
    assert server.count == 20


def test_a_poller_that_is_meant_to_ask_again_is_left_alone(make_guard: MakeGuard, make_server: MakeServer) -> None:
    builds = iter(["running"] * 15 + ["green"])
    server = make_server(lambda request: answers() if "green" in str(request.messages) else wants("build", id="7"))
    guard = make_guard()

    @guard.tool(poll=True)
    def build(id: str) -> str:  # noqa: A002  # the model's own name for it
        return next(builds)

    with guard.run("poller"):
        answer = work(guard, server, {"build": build})

    assert answer == "done"
    assert server.count == 17


def test_a_poller_whose_answer_changes_needs_no_word_about_it(make_guard: MakeGuard, make_server: MakeServer) -> None:
    progress = iter([f"{percent} % done" for percent in range(0, 101, 5)])
    server = make_server(lambda request: answers() if "100 % done" in str(request.messages) else wants("build", id="7"))

    with (guard := make_guard()).run("poller"):
        answer = work(guard, server, {"build": lambda **_: next(progress)})

    assert answer == "done"
    assert noted(server) == []


def test_a_crawl_from_page_to_page_is_left_alone(make_guard: MakeGuard, make_server: MakeServer) -> None:
    pages = itertools.count(1)
    server = make_server(lambda request: answers() if request.index == 30 else wants("fetch", page=next(pages)))

    with (guard := make_guard()).run("crawler"):
        answer = work(guard, server, {"fetch": lambda page: f"rows {page * 20} to {page * 20 + 19}"})

    assert answer == "done"
    assert noted(server) == []


def test_tests_that_fail_in_new_ways_until_they_pass_are_left_alone(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    failures = itertools.count(12, -1)
    turn = itertools.cycle(["edit", "test"])
    server = make_server(
        lambda request: answers() if "0 failed" in str(request.messages[-1]) else wants(next(turn), file="a.py")
    )
    tools = {
        "edit": lambda **_: "edited",
        "test": lambda **_: f"FAILED tests/test_a.py::test_{(left := next(failures))} AssertionError: {left} failed",
    }

    with (guard := make_guard()).run("fixer"):
        answer = work(guard, server, tools)

    assert answer == "done"


def test_a_storm_of_rate_limits_is_no_loop(make_guard: MakeGuard, make_server: MakeServer) -> None:
    results = iter(["Error: 429 Too Many Requests"] * 9 + ["found it"])
    server = make_server(lambda request: answers() if "found it" in str(request.messages) else wants("search", q="bug"))

    with (guard := make_guard()).run("patient"):
        answer = work(guard, server, {"search": lambda **_: next(results)})

    assert answer == "done"
    assert noted(server) == []


def test_a_provider_that_says_429_again_and_again_is_asked_again(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server([*[Reply(status=429, error="slow down", retry_after="0")] * 7, answers()])

    with (guard := make_guard()).run("patient") as run:
        reply = guard.completion(PENNY, ask(), max_tokens=400, num_retries=8, **at(server))

    assert reply.choices[0].message.content == "done"
    assert server.count == 8
    assert run.receipt().usd == tg.Money("0.01").usd


def test_observing_sends_what_would_have_been_refused_and_says_so(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server(lambda request: answers() if request.index == 8 else wants("read", path="a.txt"))
    guard = make_guard(mode="observe")
    looped: list[tg.events.Looped] = []
    guard.on(tg.events.Looped, looped.append)

    with guard.run("watched"):
        answer = work(guard, server, {"read": lambda **_: "the same text"})

    assert answer == "done"
    assert noted(server) == []
    assert not any(one.applied for one in looped)
    assert [one.rung for one in looped] == ["steer", "block", "block", "stop", "stop", "stop"]


def test_threads_of_one_run_that_ask_the_same_at_once_are_one_round(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply("same", completion_tokens=400, latency_s=0.2)), make_guard()

    with guard.run("gather") as run:
        ask_once = guard.bind(lambda: guard.completion(PENNY, ask(), max_tokens=400, **at(server)))
        threads = [threading.Thread(target=ask_once) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert server.count == 8
    assert run.receipt().stopped is None
