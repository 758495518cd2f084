"""Unknown is never zero: refuse, assume or observe, by decision."""

from __future__ import annotations

import pytest
from support import MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply


@pytest.mark.parametrize("model", ["claude-nine-opus-20991231", "openai/my-own-server-model", "o1-mini-nope"])
def test_an_unknown_model_is_refused_under_a_usd_cap_with_the_line_to_paste(
    make_guard: MakeGuard, make_server: MakeServer, model: str
) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("agent", budget=tg.Budget(usd="1")), pytest.raises(tg.Unpriceable) as refusal:
        guard.completion(model, ask(), **at(server))

    assert server.count == 0
    assert model in refusal.value.toml
    assert model in str(refusal.value)


def test_an_unknown_model_is_refused_under_a_cap_that_another_process_declared(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: object
) -> None:
    server, database = make_server(), f"{tmp_path}/spend.db"
    boss = make_guard(database, scope="acme", budget=tg.Budget(usd="1", per="day"))
    worker = make_guard(database, scope="acme/search")

    with boss.run("declares"):
        pass
    with worker.run("agent"), pytest.raises(tg.Unpriceable):
        worker.completion("openai/my-own-server-model", ask(), **at(server))

    assert server.count == 0


def test_without_a_usd_cap_an_unknown_model_is_sent_and_listed_as_unpriced(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(prompt_tokens=5, completion_tokens=5)), make_guard()

    with guard.run("agent", budget=tg.Budget(calls=3)) as run:
        receipt = tg.receipt_of(guard.completion("openai/my-own-server-model", ask(), **at(server)))

    assert receipt is not None
    assert receipt.price_id is None
    assert run.receipt().tokens == 10


def test_assume_books_at_the_stated_rates_and_says_so(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(Reply(prompt_tokens=1_000, completion_tokens=1_000))
    guard = make_guard(prices=tg.Prices(unknown="assume", assume={"input": "10", "output": "40"}))

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        receipt = tg.receipt_of(guard.completion("openai/my-own-server-model", ask(), max_tokens=2_000, **at(server)))

    assert receipt is not None
    assert receipt.quality == "assumed"
    assert receipt.cost == tg.Money("0.05")
    assert run.receipt().assumed == tg.Money("0.05")


def test_observe_sends_under_a_usd_cap_and_counts_tokens(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(Reply(prompt_tokens=5, completion_tokens=5))
    guard = make_guard(prices=tg.Prices(unknown="observe"))

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        guard.completion("openai/my-own-server-model", ask(), **at(server))

    assert server.count == 1
    assert run.receipt().tokens == 10


def test_a_hosted_tool_without_a_maximum_is_refused_under_a_usd_cap(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]

    with guard.run("agent", budget=tg.Budget(usd="1")), pytest.raises(tg.Unpriceable, match="code_interpreter"):
        guard.responses("openai/gpt-4o-mini", "hello", tools=tools, **at(server))

    assert server.count == 0


def test_a_cost_that_the_provider_states_is_booked_with_ours_beside(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server(Reply(prompt_tokens=1_000, completion_tokens=1_000, cost_usd="0.5"))
    guard = make_guard()
    disagreements: list[tg.events.PriceDisagreed] = []
    guard.on(tg.events.PriceDisagreed, disagreements.append)

    with guard.run("agent") as run:
        guard.completion("openrouter/openai/gpt-4o-mini", ask(), **at(server))

    assert run.receipt().cost == tg.Money("0.5")
    assert len(disagreements) == 1


def test_another_model_that_answers_is_priced_as_what_it_says_it_is(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server = make_server(Reply(prompt_tokens=1_000_000, completion_tokens=1, model="gpt-4o"))
    guard = make_guard()

    with guard.run("agent") as run:
        guard.completion("openai/gpt-4o-mini", ask(), **at(server))

    assert run.receipt().cost > tg.Money("2")


def test_a_bill_above_the_ceiling_is_booked_in_full_and_closes_a_cap_that_it_passes(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = (
        make_server(
            Reply(
                prompt_tokens=10,
                completion_tokens=4_000,
                usage={"prompt_tokens": 10, "completion_tokens": 400_000, "total_tokens": 400_010},
            )
        ),
        make_guard(),
    )
    overruns: list[tg.events.Overrun] = []
    guard.on(tg.events.Overrun, overruns.append)

    with guard.run("agent", budget=tg.Budget(usd="1")) as run:
        guard.completion("openai/penny", ask(), max_tokens=400, **at(server))
        with pytest.raises(tg.BudgetExceeded):
            guard.completion("openai/penny", ask(1), max_tokens=400, **at(server))

    assert run.receipt().cost == tg.Money("10")
    assert len(overruns) == 1
