"""Retries and fallbacks are attempts of our own, each reserved; what was not billed costs nothing."""

from __future__ import annotations

import time
from importlib.util import find_spec

import litellm
import pytest
from support import PENNY, WIDE, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing.model_server import Reply

BUSY = Reply(status=429, retry_after="0")


def test_two_busy_answers_are_retried_and_cost_nothing(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server([BUSY, BUSY, Reply(completion_tokens=400)]), make_guard(database)
    settlements: list[tg.events.Settlement] = []
    guard.on(tg.events.Settlement, settlements.append)

    with guard.run("agent", budget=tg.Budget(usd="0.01")) as run:
        reply = guard.completion(PENNY, ask(), max_tokens=400, **at(server))

    receipt = tg.receipt_of(reply)
    assert server.count == 3
    assert receipt is not None
    assert receipt.attempts == 3
    assert [one.booking.status for one in settlements] == ["rejected", "rejected", "ok"]
    assert len({one.facts.call_id for one in settlements}) == 1
    assert run.receipt().cost == tg.Money("0.01")
    assert run.receipt().calls == 3


def test_the_callers_number_of_retries_is_ours_to_keep(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(BUSY), make_guard()

    with guard.run("agent"), pytest.raises(litellm.RateLimitError) as error:
        guard.completion(PENNY, ask(), num_retries=0, **at(server))

    assert server.count == 1
    assert "tokenguard: nothing owed" in error.value.__notes__[0]


async def test_an_async_call_is_retried_as_well(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server([Reply(status=503), Reply(completion_tokens=400)]), make_guard()

    async with guard.run("agent") as run:
        await guard.acompletion(PENNY, ask(), max_tokens=400, **at(server))

    assert server.count == 2
    assert run.receipt().cost == tg.Money("0.01")


def test_every_retry_counts_against_a_cap_of_calls(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(BUSY), make_guard()

    with guard.run("agent", budget=tg.Budget(calls=2)), pytest.raises(tg.BudgetExceeded):
        guard.completion(PENNY, ask(), num_retries=5, **at(server))

    assert server.count == 2


def test_a_wrong_request_is_not_retried(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(status=400, error="no such thing")), make_guard()

    with guard.run("agent") as run, pytest.raises(litellm.BadRequestError):
        guard.completion(PENNY, ask(), **at(server))

    assert server.count == 1
    assert run.receipt().held == tg.Money(0)


def test_a_fallback_is_reserved_and_priced_as_itself(make_guard: MakeGuard, make_server: MakeServer) -> None:
    def script(request: object) -> Reply:
        return Reply(status=401) if getattr(request, "json", {})["model"] == "penny" else Reply(completion_tokens=1_000)

    server, guard = make_server(script), make_guard()

    with guard.run("agent") as run:
        reply = guard.completion(PENNY, ask(), max_tokens=1_000, fallbacks=[WIDE], **at(server))

    receipt = tg.receipt_of(reply)
    assert server.count == 2
    assert receipt is not None
    assert receipt.model == WIDE
    assert run.receipt().cost == tg.Money("0.01")


def test_a_read_timeout_keeps_its_hold_because_the_provider_may_bill(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(Reply(completion_tokens=400, latency_s=5)), make_guard()

    with guard.run("agent") as run, pytest.raises(litellm.Timeout):
        guard.completion(PENNY, ask(), max_tokens=400, timeout=0.3, num_retries=0, **at(server))

    assert run.receipt().held == tg.Money("0.01")


def test_a_refused_connection_is_void(make_guard: MakeGuard) -> None:
    guard = make_guard()

    with guard.run("agent") as run, pytest.raises(litellm.InternalServerError, match="Connection"):
        guard.completion(PENNY, ask(), num_retries=0, api_base="http://127.0.0.1:9", api_key="none")

    assert run.receipt().held == tg.Money(0)
    assert run.receipt().cost == tg.Money(0)


@pytest.mark.parametrize("option", ["model_list"])
def test_options_that_send_behind_our_back_are_refused_by_name(
    make_guard: MakeGuard, make_server: MakeServer, option: str
) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("agent"), pytest.raises(tg.SetupError, match=option):
        guard.completion(PENNY, ask(), **{option: [{"model": "x"}]}, **at(server))

    assert server.count == 0


def test_a_retry_after_is_honoured(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server([Reply(status=429, retry_after="1"), Reply(completion_tokens=400)])
    guard = make_guard()

    with guard.run("agent"):
        began = time.monotonic()
        guard.completion(PENNY, ask(), **at(server))

    assert time.monotonic() - began >= 1


@pytest.mark.skipif(find_spec("fastapi") is None, reason="LiteLLM 1.106 needs fastapi to look into its own cache")
def test_a_litellm_cache_hit_costs_nothing(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    litellm.cache = litellm.Cache(type="local")  # type: ignore[arg-type]  # LiteLLM takes its enum's text

    try:
        with guard.run("agent") as run:
            guard.completion(PENNY, ask(), caching=True, **at(server))
            reply = guard.completion(PENNY, ask(), caching=True, **at(server))
    finally:
        litellm.cache = None

    receipt = tg.receipt_of(reply)
    assert server.count == 1
    assert receipt is not None
    assert (receipt.status, receipt.quality, receipt.cost) == ("cache_hit", "reported", tg.Money(0))
    assert run.receipt().cost == tg.Money("0.01")
