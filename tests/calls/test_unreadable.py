"""Answers, errors and prompts that nobody can read, or that say what cannot be meant: the call goes on."""

from __future__ import annotations

from typing import Any

import httpx
import litellm
import pytest
from support import PENNY, PENNY_USAGE, PRICES, MakeGuard, MakeServer, ask, at, penny_guard

import tokenguard as tg
from tokenguard.testing import ScriptedReply, scripted_guard
from tokenguard.testing.model_server import Reply


def test_an_answer_that_nobody_can_read_is_handed_out_and_its_hold_stands() -> None:
    guard = penny_guard()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def read(operation: str, reply: Any) -> Any:
        raise ValueError(f"{operation}: {type(reply)}")

    guard.late.get().backend.read = read  # type: ignore[method-assign]

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        reply = guard.completion(PENNY, ask(), max_tokens=400)

    assert reply.choices[0].message.content
    assert [fault.where for fault in faults] == ["read"]
    assert run.receipt().held == tg.Money("0.01")


def test_chunks_that_nobody_can_read_are_handed_out_and_the_stream_is_counted() -> None:
    guard = penny_guard()

    def read(operation: str, chunk: Any) -> Any:
        raise ValueError(f"{operation}: {type(chunk)}")

    guard.late.get().backend.read = read  # type: ignore[method-assign]

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        chunks = list(guard.completion(PENNY, ask(), stream=True, max_tokens=400))

    assert len(chunks) > 1
    assert run.receipt().held == tg.Money(0)


def test_an_answer_is_handed_out_although_the_run_cannot_be_ended() -> None:
    guard = penny_guard()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def leave(*_: Any, **__: Any) -> None:
        raise tg.LedgerUnavailable("away", database="memory")

    @guard.agent("agent")
    def agent() -> str:
        return str(guard.completion(PENNY, ask()).choices[0].message.content)

    guard.late.get().ledger.leave = leave  # type: ignore[method-assign]

    assert agent()
    assert [fault.where for fault in faults] == ["leave"]


def test_an_error_that_the_caller_is_handling_says_nothing_about_ours(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(completion_tokens=400, latency_s=5)), make_guard()
    request = httpx.Request("GET", "http://127.0.0.1/tool")
    missing = httpx.HTTPStatusError("404", request=request, response=httpx.Response(404, request=request))

    with guard.run("agent") as run, pytest.raises(litellm.Timeout):
        try:
            raise missing
        except httpx.HTTPStatusError:
            guard.completion(PENNY, ask(), max_tokens=400, timeout=0.3, num_retries=0, **at(server))

    assert run.receipt().held == tg.Money("0.01")


@pytest.mark.parametrize("stated", ["NaN", "1e30", "-1", "much"])
def test_a_stated_cost_that_cannot_be_meant_is_no_statement(stated: str) -> None:
    guard = scripted_guard([ScriptedReply("x", usage=PENNY_USAGE, stated_usd=stated)], prices=PRICES)

    with guard.run("agent") as run:
        reply = guard.completion(PENNY, ask())

    assert reply.choices[0].message.content == "x"
    assert run.receipt().cost == tg.Money("0.01")


def test_a_persons_price_is_not_overruled_by_the_name_in_an_answer() -> None:
    prices = {"prices": {"openai/gpt-4o": {"input": "0.01", "output": "0.01"}}}
    usage = {"prompt_tokens": 1_000, "completion_tokens": 1_000, "total_tokens": 2_000}
    guard = scripted_guard([ScriptedReply("x", usage=usage, model="gpt-4o-2024-08-06")], prices=prices)

    with guard.run("agent") as run:
        guard.completion("openai/gpt-4o", ask())

    assert run.receipt().cost == tg.Money("0.00002")


@pytest.mark.parametrize("messages", [["hi"], [None], [{"role": "tool", "content": {1: 2, "a": 3}}]])
def test_a_detector_that_meets_strange_messages_breaks_nothing_of_its_own(messages: Any) -> None:
    guard = penny_guard()

    with guard.run("agent"):
        try:
            guard.completion(PENNY, messages)
        except tg.SetupError:
            return
