"""Routed calls over real HTTP: own hardware first, the cloud behind it, private data nowhere else, all of it priced."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from support import MakeGuard, MakeServer

import tokenguard as tg
from tokenguard.errors import SettingsError
from tokenguard.routing import Need, Signals
from tokenguard.testing import FakeClock
from tokenguard.testing.model_server import ModelServer, Reply, ToolCall

ASKED = "openai/gpt-4o-mini"
"""150,000 pico-dollars a token in, 600,000 out."""
OWN = "hosted_vllm/llama"
SAYS = Reply("own", prompt_tokens=10, completion_tokens=50)
Routed = Callable[..., tg.Guard]


@pytest.fixture
def own(make_server: MakeServer) -> ModelServer:
    return make_server(SAYS)


@pytest.fixture
def cloud(make_server: MakeServer) -> ModelServer:
    return make_server(Reply("cloud", prompt_tokens=10, completion_tokens=50))


@pytest.fixture
def guard(make_guard: MakeGuard, own: ModelServer, cloud: ModelServer) -> Routed:
    """A guard whose model has one own endpoint and the cloud behind it."""

    def make(database: str = "memory", *, policy: Any = None, scopes: Any = (), **arguments: Any) -> tg.Guard:
        gpu = tg.Endpoint("gpu", OWN, own.url, own=True, local=True, internal=tg.Rates.per_million("0.05", "0.20"))
        options = {"gpu": {"api_key": "k"}, ASKED: {"api_base": cloud.url, "api_key": "none"}}
        route = tg.Route([gpu, ASKED], policy, options, scopes, poll_s=60)
        arguments.setdefault("routes", {ASKED: route})
        return make_guard(database, **{"prices": None, "loops": False, "prompt": "off", **arguments})

    return make


def ask(guard: tg.Guard, text: str = "Go on.", **options: Any) -> tuple[Any, tg.CallReceipt]:
    reply = guard.completion(ASKED, [{"role": "user", "content": text}], **{"max_tokens": 100, **options})
    receipt = tg.receipt_of(reply)
    assert receipt is not None
    return reply.choices[0].message.content, receipt


def test_own_hardware_answers_for_nothing_and_the_books_say_what_the_cloud_would_have_cost(
    guard: Routed, own: ModelServer, cloud: ModelServer, database: str
) -> None:
    routed = guard(database)

    with routed.run("agent", budget=tg.Budget(usd="1")) as run:
        said, receipt = ask(routed)

    assert (said, own.count, cloud.count) == ("own", 1, 0)
    assert own.requests[0].headers["authorization"] == "Bearer k"
    assert (receipt.endpoint, receipt.cost, receipt.quality) == ("gpu", tg.Money("0"), "reported")
    # 10 tokens in and 50 out at the price of the model that was asked for.
    assert receipt.first_choice == tg.Money.from_pico(10 * 150_000 + 50 * 600_000)
    assert receipt.route is not None
    assert receipt.route.startswith("gpu: ")
    (saving,) = run.receipt().savings
    assert (saving.name, saving.settled) == ("route", receipt.first_choice)
    assert f"saved: {receipt.first_choice} (route" in str(run.receipt())


def test_the_books_keep_marginal_internal_and_counterfactual_cost_apart(guard: Routed, tmp_path: Any) -> None:
    routed = guard(str(tmp_path / "spend.db"))

    with routed.run("agent") as run:
        ask(routed)
    (event,) = routed.late.get().ledger.inner.inner.events_of(run.id)

    booking = event.booking
    assert (booking.amounts.usd_pico, booking.internal_pico) == (0, 10 * 50_000 + 50 * 200_000)
    assert (booking.route, booking.first_choice) == ("home", ASKED)
    assert booking.counterfactual_pico == 10 * 150_000 + 50 * 600_000
    assert event.facts.model == OWN


def test_a_refused_connection_goes_to_the_cloud_at_once_and_both_attempts_are_booked(
    guard: Routed, own: ModelServer, cloud: ModelServer
) -> None:
    own.__exit__(None, None, None)
    routed = guard()

    with routed.run("agent") as run:
        said, receipt = ask(routed)

    assert (said, receipt.attempts, receipt.endpoint) == ("cloud", 2, ASKED)
    assert run.receipt().usd == receipt.usd > 0
    assert cloud.count == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("async_", [False, True])
def test_streams_and_tasks_are_routed_alike(guard: Routed, own: ModelServer, *, stream: bool, async_: bool) -> None:
    routed, options = guard(), {"max_tokens": 100, "stream": stream}
    messages = [{"role": "user", "content": "Go on."}]

    async def later() -> Any:
        async with routed.run("agent") as run:
            reply = await routed.acompletion(ASKED, messages, **options)
            if stream:
                assert [chunk async for chunk in reply]
            return run.receipt(), tg.receipt_of(reply)

    def now() -> Any:
        with routed.run("agent") as run:
            reply = routed.completion(ASKED, messages, **options)
            if stream:
                assert list(reply)
            return run.receipt(), tg.receipt_of(reply)

    run, receipt = asyncio.run(later()) if async_ else now()

    assert (receipt.endpoint, run.usd, own.count) == ("gpu", 0, 1)
    router = routed.late.get().routes.of(ASKED)
    assert [one.in_flight for one in router.snapshot.standings] == [0, 0]
    assert router.snapshot.standings[0].learned.output_tokens != 200  # It learned from the answer.


def test_a_private_call_is_refused_rather_than_sent_out(guard: Routed, own: ModelServer, cloud: ModelServer) -> None:
    routed = guard()
    own.__exit__(None, None, None)
    private = tg.Routing(private=True)

    with routed.run("agent"):
        for _ in range(12):
            with pytest.raises(Exception) as caught:  # noqa: PT011  # the provider's own, then ours
                ask(routed, routing=private, fallbacks=["openai/gpt-4o"], num_retries=0)

    assert isinstance(caught.value, tg.NoEndpoint)
    assert caught.value.private
    assert "private" in str(caught.value)
    assert cloud.count == 0


def test_a_thousand_private_calls_that_fail_in_every_way_never_leave(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    dice = random.Random(7)
    failures = [Reply(status=status, text="no") for status in (400, 429, 500, 503)]
    local = make_server(lambda _: dice.choice([SAYS, *failures]))
    outside = make_server(SAYS)
    endpoints = [
        tg.Endpoint(f"gpu-{number}", OWN, local.url, own=True, local=True, max_concurrent=dice.choice([None, 1]))
        for number in range(3)
    ]
    options = {one.name: {"api_key": "k"} for one in endpoints} | {ASKED: {"api_base": outside.url, "api_key": "x"}}
    clock = FakeClock()
    guard = make_guard(
        prices=None,
        loops=False,
        prompt="off",
        routes={ASKED: tg.Route([*endpoints, ASKED], None, options)},
        clock=clock,
    )
    router: Any = guard.late.get().routes.of(ASKED)  # type: ignore[union-attr]  # it was given

    answered = 0
    with guard.run("agent"):
        for number in range(1_000):
            clock.advance(5)
            if number % 7 == 0:
                name, at_s = dice.choice(endpoints).name, guard.late.get().clock.monotonic()
                router.hear(
                    name,
                    Signals(at_s, waiting=dice.choice([0, 50]), kv_usage=dice.random(), asleep=dice.random() < 0.1),
                )
            try:
                ask(guard, routing=tg.Routing(private=True, session=str(number % 5)), num_retries=0)
            except Exception:  # whatever it was, nothing left
                continue
            answered += 1

    assert outside.count == 0
    assert answered > 100


def test_scopes_can_be_private_as_a_whole(guard: Routed, own: ModelServer, cloud: ModelServer) -> None:
    routed = guard(scope="acme/hr", scopes=["acme/hr"])
    own.__exit__(None, None, None)

    with routed.scope("files"), routed.run("agent"), pytest.raises(Exception):  # noqa: B017, PT011  # whatever it says
        ask(routed, num_retries=0)
    with pytest.raises(tg.NoEndpoint, match="has no route"), routed.run("agent"):
        routed.completion("openai/gpt-4o", [{"role": "user", "content": "Go on."}], max_tokens=100)

    assert cloud.count == 0


def test_observing_leaves_calls_where_they_are_but_private_ones_at_home(
    guard: Routed, own: ModelServer, cloud: ModelServer
) -> None:
    routed = guard(mode="observe")

    with routed.run("agent"):
        ask(routed, api_base=cloud.url, api_key="x")
        ask(routed, routing=tg.Routing(private=True))

    assert (cloud.count, own.count) == (1, 1)


def test_pressed_hardware_spills_to_the_cloud_and_comes_back(
    guard: Routed, own: ModelServer, cloud: ModelServer
) -> None:
    routed = guard()
    parts = routed.late.get()
    router: Any = parts.routes.of(ASKED)  # type: ignore[union-attr]  # it was given

    with routed.run("agent"):
        router.hear("gpu", Signals(parts.clock.monotonic(), running=64, waiting=400, kv_usage=0.99, kv_tokens=10_000))
        spilled = [ask(routed, routing=tg.Routing(session=str(number)))[0] for number in range(4)]
        router.hear("gpu", Signals(parts.clock.monotonic(), kv_usage=0.0, kv_tokens=10_000))
        back, receipt = ask(routed)

    assert "cloud" in spilled
    assert (back, receipt.endpoint) == ("own", "gpu")
    assert own.count + cloud.count == 5


def test_a_budget_that_is_spent_stops_the_cloud_and_not_what_costs_nothing(
    guard: Routed, own: ModelServer, cloud: ModelServer
) -> None:
    routed = guard()

    with routed.run("agent", budget=tg.Budget(usd="0.0001")) as run:
        routed.charge("a search", usd="0.0001")
        said, _ = ask(routed)
        own.__exit__(None, None, None)
        with pytest.raises(tg.BudgetExceeded):
            ask(routed, num_retries=0)

    assert (said, cloud.count) == ("own", 0)
    assert run.receipt().usd == tg.Money("0.0001").usd


def test_a_ladder_may_lead_to_a_route(guard: Routed, own: ModelServer) -> None:
    ladder = tg.Ladder(reroute_at=0.5, reroute_to=ASKED)
    routed = guard(ladder=ladder)

    with routed.run("agent", budget=tg.Budget(usd="0.01")) as run:
        routed.charge("a search", usd="0.006")
        ask(routed)
        reply = routed.completion("openai/gpt-4o", [{"role": "user", "content": "Go on."}], max_tokens=100)

    assert own.count == 2
    assert tg.receipt_of(reply).route is not None  # type: ignore[union-attr]  # it has one
    assert run.receipt().usd == tg.Money("0.006").usd


def test_what_an_endpoint_cannot_do_is_asked_of_another_one(
    make_guard: MakeGuard, make_server: MakeServer, cloud: ModelServer
) -> None:
    own = make_server(Reply(tool_calls=[ToolCall("f", "{}")]))
    gpu = tg.Endpoint("gpu", OWN, own.url, own=True, can=frozenset({"json"}), context_tokens=2_000)
    options = {"gpu": {"api_key": "k"}, ASKED: {"api_base": cloud.url, "api_key": "x"}}
    guard = make_guard(prices=None, prompt="off", routes={ASKED: tg.Route([gpu, ASKED], None, options)})
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]

    with guard.run("agent"):
        _, tools = ask(guard, tools=[tool])
        reply = guard.completion(ASKED, [{"role": "user", "content": picture}], max_tokens=100)
        _, long = ask(guard, "a word " * 3_000)
        _, plain = ask(guard, response_format={"type": "json_object"})

    assert [tools.endpoint, tg.receipt_of(reply).endpoint, long.endpoint] == [ASKED] * 3  # type: ignore[union-attr]
    assert plain.endpoint == "gpu"


def test_the_responses_api_is_routed_too(guard: Routed, own: ModelServer) -> None:
    routed = guard()

    with routed.run("agent"):
        reply = routed.responses(ASKED, "Go on.", instructions="Be brief.", max_output_tokens=100)

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert (receipt.endpoint, own.count) == ("gpu", 1)


def test_what_cannot_be_meant_is_a_sentence(make_guard: MakeGuard, guard: Routed) -> None:
    for wrong, said in (
        ({ASKED: tg.Route(["nobody/knows"])}, "which has no price"),
        ({ASKED: tg.Route([tg.Endpoint("a", OWN, own=True)] * 2)}, "endpoints are named 'a'"),
    ):
        broken = make_guard(prices=None, routes=wrong)
        with pytest.raises(SettingsError, match=said), broken.run("agent"):
            ask(broken)
    with pytest.raises(SettingsError, match="has no endpoints"):
        tg.Route([])
    with pytest.raises(SettingsError, match="options for 'b'"):
        tg.Route([tg.Endpoint("a", OWN, own=True)], None, {"b": {}})
    for broken_value in ({"poll_s": 0}, {"deadline_s": 0}, {"output_tokens": -1}):
        with pytest.raises(tg.BadAmount, match="give more than 0"):
            tg.Route(["x"], **broken_value) if "poll_s" in broken_value else tg.Routing(**broken_value)
    with pytest.raises(tg.BadAmount, match="finer than a pico-dollar"):
        tg.Rates.per_million("0.0000001", "1")
    with pytest.raises(tg.SetupError, match="routing='private'"):
        ask(guard(), routing="private")


def test_an_endpoint_that_filled_up_meanwhile_is_passed_over(guard: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    routed = guard()
    router: Any = routed.late.get().routes.of(ASKED)  # type: ignore[union-attr]  # it was given
    begin = router.begin

    def full(plan: Any, choice: Any, *, at_s: float) -> Any:
        return None if choice.endpoint.own else begin(plan, choice, at_s=at_s)

    monkeypatch.setattr(router, "begin", full)
    with routed.run("agent") as run:
        said, receipt = ask(routed)
        with pytest.raises(tg.NoEndpoint, match="private call"):
            ask(routed, routing=tg.Routing(private=True))

    assert (said, receipt.attempts) == ("cloud", 2)
    assert run.receipt().usd == receipt.usd  # What was held for the first one went back.


def test_a_router_is_told_how_calls_ended(make_guard: MakeGuard, make_server: MakeServer, cloud: ModelServer) -> None:
    replies = iter([Reply(status=429, text="busy"), Reply(status=400, text="wrong"), Reply(status=500, text="broken")])
    own = make_server(lambda _: next(replies))
    gpu = tg.Endpoint("gpu", OWN, own.url, own=True)
    options = {"gpu": {"api_key": "k"}, ASKED: {"api_base": cloud.url, "api_key": "x"}}
    clock = FakeClock()
    guard = make_guard(prices=None, prompt="off", routes={ASKED: tg.Route([gpu, ASKED], None, options)}, clock=clock)
    told: list[Any] = []
    router: Any = guard.late.get().routes.of(ASKED)  # type: ignore[union-attr]  # it was given
    end = router.end

    def listen(ticket: Any, outcome: Any, *, at_s: float) -> None:
        told.append((ticket.name, outcome.how))
        end(ticket, outcome, at_s=at_s)

    router.end = listen
    with guard.run("agent"):
        for _ in range(3):
            ask(guard)
            clock.advance(5)  # A busy endpoint is asked again.

    assert [how for name, how in told if name == "gpu"] == ["busy", "caller", "fault"]
    assert {how for name, how in told if name != "gpu"} == {"ok"}


def test_sessions_that_were_answered_are_warm_for_a_while(guard: Routed) -> None:
    routed, needs = guard(), list[Need]()
    router: Any = routed.late.get().routes.of(ASKED)  # type: ignore[union-attr]  # it was given
    route = router.route
    router.route = lambda need, *, at_s, minute: (needs.append(need), route(need, at_s=at_s, minute=minute))[1]

    with routed.run("agent"):
        talk = [{"role": "user", "content": "one two three " * 50}, {"role": "assistant", "content": "Yes."}]
        for messages in (talk, [*talk, {"role": "user", "content": "And now?"}]):
            routed.completion(ASKED, messages, max_tokens=100)
        ask(routed, routing=tg.Routing(session="another", tier="large", deadline_s=60, output_tokens=20))

    assert [one.warm_tokens > 0 for one in needs] == [False, True, False]
    # The server said that the first prompt had ten tokens, so the second one is reckoned from there.
    assert needs[1].warm_tokens == needs[1].prompt_tokens < needs[0].prompt_tokens
    assert (needs[2].prefix_key, needs[2].tier, needs[2].deadline_s, needs[2].output_tokens) == (
        "another",
        "large",
        60,
        20,
    )


@pytest.mark.parametrize("async_", [False, True])
def test_a_stream_that_breaks_is_not_begun_again_and_hands_over_what_came(
    make_guard: MakeGuard, make_server: MakeServer, cloud: ModelServer, *, async_: bool
) -> None:
    own = make_server(Reply("one two three four five six", chunks=6, cut=3))
    gpu = tg.Endpoint("gpu", OWN, own.url, own=True)
    options = {"gpu": {"api_key": "k"}, ASKED: {"api_base": cloud.url, "api_key": "x"}}
    guard = make_guard(prices=None, prompt="off", routes={ASKED: tg.Route([gpu, ASKED], None, options)})
    router: Any = guard.late.get().routes.of(ASKED)  # type: ignore[union-attr]  # it was given
    messages = [{"role": "user", "content": "Go on."}]
    heard: list[str] = []

    async def later() -> None:
        async with guard.run("agent"):
            async for chunk in await guard.acompletion(ASKED, messages, max_tokens=100, stream=True):
                heard.append(chunk.choices[0].delta.content or "")

    def now() -> None:
        with guard.run("agent"):
            for chunk in guard.completion(ASKED, messages, max_tokens=100, stream=True):
                heard.append(chunk.choices[0].delta.content or "")

    with pytest.raises(Exception) as caught:  # noqa: PT011  # LiteLLM's own
        asyncio.run(later()) if async_ else now()

    assert tg.partial_of(caught.value) == "".join(heard) != ""
    assert tg.partial_of(ValueError("another")) is None
    assert (own.count, cloud.count) == (1, 0)
    (gpu_standing, _) = router.snapshot.standings
    assert (gpu_standing.in_flight, gpu_standing.breaker.row) == (0, 1)


def test_a_child_counts_anew_and_its_parent_goes_on(guard: Routed, tmp_path: Any) -> None:
    routed = guard(str(tmp_path / "spend.db"))
    routes: Any = routed.late.get().routes

    def flying() -> int:
        return sum(one.in_flight for one in routes.of(ASKED).snapshot.standings)

    with routed.run("agent"):
        stream = routed.completion(ASKED, [{"role": "user", "content": "Go on."}], max_tokens=100, stream=True)
        child = os.fork()
        if child == 0:
            os._exit(0 if not routes._open and routes._stop_polling is None and not flying() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert flying() == 1
        assert list(stream)

    assert flying() == 0


def test_a_name_of_ones_own_is_priced_by_the_dearest_cloud_behind_it(
    make_guard: MakeGuard, own: ModelServer, cloud: ModelServer
) -> None:
    gpu = tg.Endpoint("gpu", OWN, own.url, own=True)
    options: dict[str, Any] = {"gpu": {"api_key": "k"}}
    alone, beside = tg.Route([gpu], None, options), tg.Route([gpu, ASKED, "openai/gpt-4o"], None, options)
    guard = make_guard(prices=None, prompt="off", routes={"alone": alone, "beside": beside})
    receipts: list[Any] = []

    with guard.run("agent"):
        for name in ("alone", "beside"):
            receipts.append(
                tg.receipt_of(guard.completion(name, [{"role": "user", "content": "Go on."}], max_tokens=9))
            )
    with pytest.warns(tg.UnattributedSpend):
        guard.completion("alone", [{"role": "user", "content": "Go on."}], max_tokens=9)

    assert [one.endpoint for one in receipts] == ["gpu", "gpu"]
    assert receipts[0].first_choice is None
    assert receipts[1].first_choice == tg.Money.from_pico(10 * 2_500_000 + 9 * 10_000_000)


def test_tokens_that_the_first_choice_has_no_rate_for_have_no_counterfactual(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    details = {"prompt_tokens_details": {"audio_tokens": 5}}
    own = make_server(Reply("own", usage={"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, **details}))
    gpu = tg.Endpoint("gpu", OWN, own.url, own=True)
    guard = make_guard(prices=None, prompt="off", routes={ASKED: tg.Route([gpu], None, {"gpu": {"api_key": "k"}})})

    with guard.run("agent"):
        _, receipt = ask(guard)

    assert (receipt.endpoint, receipt.first_choice, receipt.savings) == ("gpu", None, ())


def test_the_longest_silent_sessions_are_forgotten_first(guard: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    routes: Any = guard().late.get().routes
    monkeypatch.setattr("tokenguard.calls.routes._SESSIONS_MAX", 2)

    for session in ("a", "b", "a", "c"):
        routes.remember(ASKED, session, 100)

    assert [routes.warm_tokens(ASKED, session, 1_000) for session in ("a", "b", "c")] == [100, 0, 100]


def test_a_closed_guard_reads_no_metrics(guard: Routed) -> None:
    routed = guard()
    with routed.run("agent"):
        ask(routed)
    routes: Any = routed.late.get().routes
    reads = routes._stop_polling

    routed.close()

    assert reads is not None
    assert routes._stop_polling is None


@pytest.mark.parametrize("name", ["base_url", "api_base"])
def test_an_address_of_the_callers_leads_no_private_call_out_and_their_key_to_no_stranger(
    make_guard: MakeGuard, own: ModelServer, cloud: ModelServer, name: str
) -> None:
    gpu = tg.Endpoint("gpu", OWN, own.url, own=True, local=True)
    guard = make_guard(prices=None, prompt="off", routes={ASKED: tg.Route([gpu, ASKED])})
    theirs = {name: cloud.url, "api_key": "a key for the cloud"}

    with guard.run("agent"):
        said, _ = ask(guard, routing=tg.Routing(private=True), **theirs)
        own.__exit__(None, None, None)
        behind, _ = ask(guard, **theirs)

    assert (said, behind, own.count, cloud.count) == ("own", "cloud", 1, 1)
    assert "a key for the cloud" not in str(own.requests[0].headers)
    assert cloud.requests[0].headers["authorization"] == "Bearer a key for the cloud"


def test_an_endpoint_that_no_list_knows_costs_what_was_declared(make_guard: MakeGuard, cloud: ModelServer) -> None:
    rates = tg.Rates.per_million("1", "2")
    rented = tg.Endpoint("rented", "openai/nobody-lists-this", cloud.url, marginal=rates)
    guard = make_guard(prices=None, prompt="off", routes={"m": tg.Route([rented], None, {"rented": {"api_key": "k"}})})

    with guard.run("agent", budget=tg.Budget(usd="1")):
        receipt = tg.receipt_of(guard.completion("m", [{"role": "user", "content": "Go on."}], max_tokens=100))

    assert receipt is not None
    assert receipt.cost == tg.Money.from_pico(10 * 1_000_000 + 50 * 2_000_000)
    assert receipt.savings == ()


def test_what_own_hardware_has_no_rate_for_breaks_no_answer(make_guard: MakeGuard, make_server: MakeServer) -> None:
    searched = {"prompt_tokens_details": {"web_search_requests": 2}}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, **searched}
    own = make_server(Reply("own", usage=usage))
    gpu = tg.Endpoint("gpu", OWN, own.url, own=True)
    guard = make_guard(prices=None, prompt="off", routes={ASKED: tg.Route([gpu], None, {"gpu": {"api_key": "k"}})})

    with guard.run("agent"):
        said, receipt = ask(guard)

    assert (said, receipt.endpoint) == ("own", "gpu")


def test_a_route_does_not_say_its_keys() -> None:
    route = tg.Route([tg.Endpoint("a", OWN, own=True)], None, {"a": {"api_key": "sk-secret"}})

    assert "sk-secret" not in repr(route)
