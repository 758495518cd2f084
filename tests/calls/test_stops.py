"""A stopped scope sends nothing more until a person raises the limit or resumes it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from support import NANO, PENNY, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply


def test_a_thousand_swallowed_stops_send_nothing_and_a_top_up_lets_the_run_go_on(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database)

    with guard.run("agent", budget=tg.Budget(usd="0.05")) as run:
        for number in range(1_000):
            try:
                guard.completion(PENNY, ask(number), max_tokens=400, **at(server))
            except Exception:
                continue
        sent_before = server.count
        guard.top_up(run.id, usd="0.02")
        for number in range(3):
            try:
                guard.completion(PENNY, ask(2_000 + number), max_tokens=400, **at(server))
            except tg.BudgetExceeded:
                continue

    assert sent_before == 5
    assert server.count == 7
    assert run.receipt().cost == tg.Money("0.07")


def test_the_stop_names_its_scope_its_numbers_and_the_next_move(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("nightly", budget=tg.Budget(usd="0.02")), pytest.raises(tg.BudgetExceeded) as stop:
        for number in range(3):
            guard.completion(PENNY, ask(number), max_tokens=400, **at(server))

    assert stop.value.scope == "run nightly"
    assert stop.value.cap == tg.Money("0.02")
    assert stop.value.settled == tg.Money("0.02")
    assert stop.value.receipt.cost == tg.Money("0.02")
    assert "$0.0200 of $0.0200 used" in str(stop.value)
    assert "guard.top_up" in str(stop.value)


def test_five_children_of_a_dollar_spend_a_dollar_of_their_parent(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(completion_tokens=4_000)), make_guard()  # ten cents a call

    @guard.agent("child", budget=tg.Budget(usd="1"))
    def child(index: int) -> None:
        for number in range(12):
            guard.completion(PENNY, ask(100 * index + number), max_tokens=4_000, **at(server))

    with guard.run("parent", budget=tg.Budget(usd="1")) as run:
        for index in range(5):
            with pytest.raises(tg.BudgetExceeded):
                child(index)

    assert run.receipt().cost == tg.Money("1")
    assert server.count == 10


def test_a_childs_spent_cap_leaves_its_parent_running(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    @guard.agent("child", budget=tg.Budget(usd="0.02"))
    def child() -> None:
        for number in range(5):
            guard.completion(PENNY, ask(number), max_tokens=400, **at(server))

    with guard.run("parent", budget=tg.Budget(usd="1")) as run:
        with pytest.raises(tg.BudgetExceeded) as stop:
            child()
        guard.completion(PENNY, ask(99), max_tokens=400, **at(server))

    assert stop.value.scope == "agent child"
    assert run.receipt().cost == tg.Money("0.03")
    assert run.receipt().stopped is None


def test_a_killed_run_is_refused_everywhere_below_and_goes_on_after_resume(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(), make_guard(database)

    @guard.step
    def step(number: int) -> None:
        guard.completion(PENNY, ask(number), max_tokens=400, **at(server))

    with guard.run("agent") as run:
        step(1)
        assert guard.kill(run.id, why="looks wrong", by="ada")
        with pytest.raises(tg.RunRevoked) as stop:
            step(2)
        with pytest.raises(tg.RunRevoked):
            guard.completion(PENNY, ask(3), **at(server))
        assert guard.resume(run.id, why="it was fine", by="ada")
        step(4)

    assert server.count == 2
    assert (stop.value.by, stop.value.why) == ("ada", "looks wrong")


def test_a_thousand_tiny_calls_book_three_cents_exactly(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server = make_server(Reply(prompt_tokens=10, completion_tokens=10))  # 10 × $1 + 10 × $2 per million = $0.00003
    guard = make_guard(database)

    with guard.run("tiny", budget=tg.Budget(usd="1")) as run:
        for number in range(1_000):
            guard.completion(NANO, ask(number), max_tokens=100, **at(server))

    assert run.receipt().cost == tg.Money("0.03")
    assert run.receipt().usd == Decimal("0.03")


def test_calls_and_tokens_and_steps_are_caps_like_dollars(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(prompt_tokens=10, completion_tokens=10)), make_guard()

    @guard.step
    def step(number: int) -> None:
        guard.completion(PENNY, ask(number), max_tokens=100, **at(server))

    with guard.run("calls", budget=tg.Budget(calls=2)), pytest.raises(tg.BudgetExceeded) as calls:
        for number in range(3):
            guard.completion(PENNY, ask(number), max_tokens=100, **at(server))
    with guard.run("steps", budget=tg.Budget(steps=2)), pytest.raises(tg.BudgetExceeded) as steps:
        for number in range(3):
            step(number)
    with guard.run("tokens", budget=tg.Budget(tokens=400)) as tokens, pytest.raises(tg.BudgetExceeded) as too_many:
        for number in range(100):
            guard.completion(PENNY, ask(number), max_tokens=100, **at(server))

    assert [stop.value.unit for stop in (calls, steps, too_many)] == ["calls", "steps", "tokens"]
    assert tokens.receipt().tokens <= 400


def test_a_zero_budget_refuses_every_call_that_could_cost(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("nothing", budget=tg.Budget(usd=0)), pytest.raises(tg.CallTooLarge, match=r"\$0\.00"):
        guard.completion(PENNY, ask(), **at(server))

    assert server.count == 0


def test_recursion_is_stopped_at_sixteen_levels(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    deepest = 0

    @guard.agent("recursive")
    def recursive(level: int) -> None:
        nonlocal deepest
        deepest = max(deepest, level)
        guard.completion(PENNY, ask(level), max_tokens=400, **at(server))
        recursive(level + 1)

    with pytest.raises(tg.DepthExceeded) as stop:
        recursive(1)

    assert deepest == 16
    assert stop.value.limit == 16


def test_a_windowed_scope_is_refused_by_its_balance_and_says_when_it_rolls(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server = make_server()
    guard = make_guard(database, scope="acme/search", budget=tg.Budget(usd="0.02", per="day"))

    with guard.run("first"):
        for number in range(2):
            guard.completion(PENNY, ask(number), max_tokens=400, **at(server))
    with guard.run("second") as second, pytest.raises(tg.BudgetExceeded) as stop:
        guard.completion(PENNY, ask(9), max_tokens=400, **at(server))
    guard.top_up("acme/search", usd="0.01")
    with guard.run("third"):
        guard.completion(PENNY, ask(10), max_tokens=400, **at(server))

    assert stop.value.scope == "acme/search"
    assert stop.value.retry_at is not None
    assert second.receipt().stopped is None
    assert server.count == 3


def test_the_reserve_for_the_final_answer_is_spent_once_and_without_tools(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()
    tools = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object", "properties": {}}}}]
    sent: list[str] = []

    with guard.run("agent", budget=tg.Budget(usd="0.03", reserve_final="0.01")) as run:
        for number in range(6):
            try:
                guard.completion(PENNY, ask(number), max_tokens=400, tools=tools, **at(server))
                sent.append("ok")
            except tg.BudgetExceeded:
                sent.append("stopped")

    bodies = [request.json for request in server.requests]
    assert sent == ["ok", "ok", "ok", "stopped", "stopped", "stopped"]
    assert [body.get("tool_choice") for body in bodies] == [None, None, "none"]
    assert run.receipt().cost == tg.Money("0.03")
