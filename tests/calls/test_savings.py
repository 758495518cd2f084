"""What folding saved in guarded calls, by what the provider counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from folding_talk import PAGE, PRICES, ROWS, TOOL, conversation, send, sent, used
from support import MakeGuard, MakeServer

import tokenguard as tg
from tokenguard.testing.model_server import Reply


@pytest.fixture
def make(make_guard: MakeGuard) -> MakeGuard:
    return lambda **options: make_guard(**{"prices": PRICES, "loops": False, **options})


@pytest.fixture(params=["memory", "sqlite"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory" if request.param == "memory" else str(tmp_path / "spend.db")


def test_what_each_call_saved_adds_up_to_the_receipt_of_the_run(
    make: MakeGuard, make_server: MakeServer, books: str
) -> None:
    server, guard = make_server(Reply("ok", cached_tokens=50)), make(database=books, prompt="lossless")

    with guard.run("agent") as run:
        receipts = list(conversation(server, guard, [ROWS, PAGE, ROWS[:30], "ok"]))

    found = {one.name: one for one in run.receipt().savings}
    for stage in ("json", "text"):
        calls = [one for receipt in receipts for one in receipt.savings if one.name == stage]
        assert found[stage].settled == sum((one.settled for one in calls), tg.Money("0"))
        assert found[stage].tokens == sum(one.tokens for one in calls)
    assert run.receipt().saved == sum((one.saved for one in receipts), tg.Money("0"))
    assert f"saved: {run.receipt().saved} by" in str(run.receipt())
    assert run.receipt().json()["saved_usd"] == run.receipt().saved.json()


def test_calls_outside_any_run_are_folded_and_their_savings_written_when_the_guard_closes(
    make: MakeGuard, make_server: MakeServer, tmp_path: Path
) -> None:
    server, books = make_server(), str(tmp_path / "spend.db")
    guard = make(database=books)

    with pytest.warns(tg.UnattributedSpend):
        send(guard, server, used(ROWS))
    assert guard.late.get().ledger.savings() == ()
    guard.close()

    (found,) = make(database=books).late.get().ledger.savings("run")
    assert (found.name, found.calls, found.results) == ("", 1, 1)


def test_savings_of_a_long_run_are_written_while_it_goes_on(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make()

    with guard.run("agent") as run:
        for _ in range(33):
            send(guard, server, used(ROWS))
        (written,) = guard.late.get().ledger.savings()
        (told,) = run.receipt().savings

    assert (written.calls, told.calls) == (32, 33)
    assert run.receipt().savings == (told,)


def test_a_ledger_that_is_away_at_the_end_costs_nobody_the_run(
    make: MakeGuard, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, guard = make_server(), make()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def away(*_: Any) -> None:
        raise tg.LedgerUnavailable("the disk is full.")

    with guard.run("agent"):
        send(guard, server, used(ROWS))
        monkeypatch.setattr(type(guard.late.get().ledger), "note_savings", away)

    assert [one.where for one in faults] == ["savings"]


def test_savings_that_cannot_be_worked_out_cost_nobody_the_answer(
    make: MakeGuard, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, guard = make_server(), make()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    def trips(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("tokenguard.calls.savings.saved_in", trips)
    with guard.run("agent"):
        assert send(guard, server, used(ROWS)).savings == ()

    assert [one.where for one in faults] == ["savings"]


def test_an_answer_without_usage_settles_nothing_and_estimates(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply("ok", usage_mode="never")), make()

    with guard.run("agent"):
        (saving,) = send(guard, server, used(ROWS)).savings

    assert saving.estimated > tg.Money("0")
    assert saving.settled == tg.Money("0")


@pytest.mark.parametrize("prompt_tokens", [100, 100_000])
def test_tokens_besides_the_text_never_pose_as_saved(
    make: MakeGuard, make_server: MakeServer, prompt_tokens: int
) -> None:
    server, guard = make_server(Reply("ok", prompt_tokens=prompt_tokens)), make()

    with guard.run("agent"):
        (saving,) = send(guard, server, used(ROWS)).savings

    most = tg.Money.from_pico(saving.tokens * 10_000_000)
    assert saving.settled == most if prompt_tokens > 10_000 else tg.Money("0") < saving.settled < most


def test_tools_count_as_prompt_when_savings_are_scaled(make: MakeGuard, make_server: MakeServer) -> None:
    text = "a tool with many words in its description " * 400
    tool = {**TOOL, "function": {**TOOL["function"], "description": text}}
    server, guard = make_server(Reply("ok", prompt_tokens=1_500)), make()

    with guard.run("agent"):
        (plain,) = send(guard, server, used(ROWS)).savings
    with guard.run("agent"):
        (scaled,) = send(guard, server, used(ROWS), tools=[tool]).savings

    assert scaled.settled.pico * 2 < plain.settled.pico


def test_observing_sends_what_came_and_says_what_would_have_been_saved(
    make: MakeGuard, make_server: MakeServer
) -> None:
    server, messages = make_server(), used(ROWS)

    with (guard := make(prompt="lossless", mode="observe")).run("agent") as run:
        receipt = send(guard, server, messages)

    assert server.requests[0].messages == messages
    assert [(one.name, one.applied) for one in receipt.savings] == [("json", False)]
    assert receipt.saved == tg.Money("0")
    assert [(one.name, one.applied) for one in run.receipt().savings] == [("json", False)]
    assert "saved" not in str(run.receipt())


def test_a_run_that_is_held_out_is_only_measured(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make(prompt=tg.Folding("lossless", holdout=0.5))
    applied: list[bool] = []

    for _ in range(24):
        with guard.run("agent"):
            (saving,) = send(guard, server, used(ROWS)).savings
        applied.append(saving.applied)

    assert {True, False} == set(applied)
    assert [sent(server, at) == json.dumps(ROWS) for at in range(24)] == [not one for one in applied]


def test_the_same_conversation_in_another_run_saves_anew(make: MakeGuard, make_server: MakeServer) -> None:
    server, guard, told = make_server(), make(), list[Any]()

    for _ in range(2):
        with guard.run("agent"):
            told.append(send(guard, server, used(ROWS)).savings)
            told.append(send(guard, server, used(ROWS, "ok")).savings)

    first, going_on, again, _ = told
    assert [(one.results, one.tokens_before > 0, one.estimated.pico > 0) for one in again] == [(1, True, True)]
    assert [replace(one, elapsed_us=0) for one in first] == [replace(one, elapsed_us=0) for one in again]
    assert [(one.results, one.tokens_before) for one in going_on] == [(0, 0)]
