"""Between a warning and a stop: the model is told what is left, answers get shorter, another model answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from agents import NOTE, TOOLS, answers, noted, wants, work
from support import NANO, PENNY, PENNY_USAGE, PRICES, MakeGuard, MakeServer, ask, at

import tokenguard as tg
from tokenguard.testing import FakeClock, ScriptedReply, scripted_guard
from tokenguard.testing.model_server import ModelServer, RecordedRequest, Reply


def heard(guard: tg.Guard) -> list[tg.events.Laddered]:
    """What the ladder of a guard tells."""
    found: list[tg.events.Laddered] = []
    guard.on(tg.events.Laddered, found.append)
    return found


def pennies(guard: tg.Guard, server: ModelServer, count: int, **options: Any) -> None:
    """Calls that cost a cent each."""
    for number in range(count):
        guard.completion(PENNY, ask(number), **{"max_tokens": 400, **at(server), **options})


def last_text(request: RecordedRequest) -> str:
    return str(request.messages[-1]["content"])


def test_from_its_share_on_each_request_ends_with_what_is_left(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    told = heard(guard)

    budget = tg.Budget(usd="0.10", steps=40)
    with guard.run("digest", budget=budget, ladder=tg.Ladder(steer_at=0.5)):
        pennies(guard, server, 7)

    assert noted(server) == [5, 6]
    assert last_text(server.requests[5]).startswith("question 5\n\n[tokenguard] Left for run digest: $0.0500 of $0.10.")
    assert "$0.0400 of $0.10" in last_text(server.requests[6])
    assert [(one.rung, one.applied, one.evidence["share_percent"]) for one in told] == [("steer", True, 50)]
    assert told[0].evidence["note_tokens"] > 10


def test_each_unit_that_is_short_is_named(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    budget = tg.Budget(usd="5", steps=4, calls=4)
    with guard.run("digest", budget=budget, ladder=tg.Ladder(steer_at=0.5)):
        pennies(guard, server, 4)

    assert "Left for run digest: 1 of 4 steps, 1 of 4 calls." in last_text(server.requests[3])


def test_a_run_that_is_short_of_time_is_told_so(make_guard: MakeGuard, make_server: MakeServer) -> None:
    clock = FakeClock()
    server, guard = make_server(), make_guard(clock=clock)

    budget = tg.Budget(wall=timedelta(minutes=10))
    with guard.run("slow", budget=budget, ladder=tg.Ladder(steer_at=0.8)):
        pennies(guard, server, 1)
        clock.advance(500)
        pennies(guard, server, 1)

    assert noted(server) == [1]
    assert "Left for run slow: 100 s of 600 s." in last_text(server.requests[1])


def test_the_budgets_of_outer_scopes_count_as_well(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server()
    guard = make_guard(scope="acme", budget=tg.Budget(usd="0.10", per="day"), ladder=tg.Ladder(steer_at=0.5))

    for number in range(7):
        with guard.run(f"short {number}"):
            pennies(guard, server, 1)

    assert noted(server) == [5, 6]


def test_the_innermost_ladder_decides(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard(ladder=tg.Ladder(steer_at=0.0))

    @guard.agent("silent", ladder=tg.Ladder())
    def silent() -> None:
        pennies(guard, server, 1)

    with guard.run("outer", budget=tg.Budget(usd="1")):
        pennies(guard, server, 1)
        silent()
        with guard.scope("quiet", ladder=tg.Ladder()):
            pennies(guard, server, 1)
        pennies(guard, server, 1)

    assert noted(server) == [3]


def test_a_note_changes_no_byte_of_what_was_sent_before(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    given: list[dict[str, Any]] = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}}]},
    ]

    with guard.run("digest", budget=tg.Budget(usd="0.10"), ladder=tg.Ladder(steer_at=0.0)):
        pennies(guard, server, 1)
        guard.completion(PENNY, given, max_tokens=400, **at(server))

    sent = server.requests[1].messages
    assert sent[0] == given[0]
    assert sent[1]["content"][0] == given[1]["content"][0]
    assert len(sent[1]["content"]) == 2
    assert NOTE not in str(given)


def test_words_put_into_the_models_mouth_are_left_alone(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    told = heard(guard)
    prefilled = [*ask(), {"role": "assistant", "content": "The answer is"}]

    with guard.run("digest", budget=tg.Budget(usd="0.10"), ladder=tg.Ladder(steer_at=0.0)):
        pennies(guard, server, 1)
        guard.completion(PENNY, prefilled, max_tokens=400, **at(server))

    assert server.requests[1].messages == prefilled
    assert told == []


def test_the_note_is_part_of_what_is_held_and_booked(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply("yes")), make_guard()

    with guard.run("plain"):
        plain = tg.receipt_of(guard.completion(NANO, ask(), max_tokens=300, **at(server)))
    with guard.run("told", budget=tg.Budget(usd="1"), ladder=tg.Ladder(steer_at=0.0)):
        pennies(guard, server, 1)
        told = tg.receipt_of(guard.completion(NANO, ask(), max_tokens=300, **at(server)))

    assert told.ceiling.pico > plain.ceiling.pico
    assert told.cost.pico > plain.cost.pico


def test_answers_get_shorter_from_a_share_on(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(completion_tokens=2_000)), make_guard()
    told = heard(guard)

    ladder = tg.Ladder(shrink_at=0.5, shrink_to=800)
    with guard.run("digest", budget=tg.Budget(usd="0.20"), ladder=ladder):
        pennies(guard, server, 3, max_tokens=2_000)
        pennies(guard, server, 1, max_tokens=500)

    assert [one.output_max for one in server.requests] == [2_000, 2_000, 800, 500]
    assert [(one.rung, one.evidence["max_tokens"]) for one in told] == [("shrink", 800)]


def test_thinking_keeps_its_room_when_answers_get_shorter() -> None:
    sent: list[Any] = []
    guard = scripted_guard(
        lambda request: sent.append(request) or ScriptedReply("yes", usage=PENNY_USAGE), prices=PRICES
    )

    with guard.run("thinker", budget=tg.Budget(usd="5"), ladder=tg.Ladder(shrink_at=0.0, shrink_to=256)):
        guard.completion(PENNY, ask(), thinking={"type": "enabled", "budget_tokens": 1_024})

    assert sent[0].arguments["max_tokens"] == 1_024 + 256


def test_another_model_answers_from_a_share_on(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    told = heard(guard)

    ladder = tg.Ladder(reroute_at=0.5, reroute_to=NANO)
    with guard.run("digest", budget=tg.Budget(usd="0.04"), ladder=ladder) as run:
        pennies(guard, server, 4)

    assert [one.model for one in server.requests] == ["penny", "penny", "three-nano", "three-nano"]
    assert told[0].evidence == {"share_percent": 50, "asked": PENNY, "answers": NANO}
    assert run.receipt().usd < tg.Money("0.03").usd


def test_the_other_model_may_live_elsewhere(make_guard: MakeGuard, make_server: MakeServer) -> None:
    cloud, own, guard = make_server(), make_server(), make_guard()

    ladder = tg.Ladder(reroute_at=0.0, reroute_to={"model": NANO, **at(own)})
    with guard.run("digest", budget=tg.Budget(usd="1"), ladder=ladder):
        pennies(guard, cloud, 1)

    assert (cloud.count, own.count) == (0, 1)


def test_the_same_model_elsewhere_is_another_one(make_guard: MakeGuard, make_server: MakeServer) -> None:
    cloud, own, guard = make_server(), make_server(), make_guard()

    ladder = tg.Ladder(reroute_at=0.0, reroute_to={"model": PENNY, **at(own)})
    with guard.run("digest", budget=tg.Budget(usd="1"), ladder=ladder):
        pennies(guard, cloud, 1)

    assert (cloud.count, own.count) == (0, 1)


def test_a_model_without_a_price_does_not_answer_instead(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    faults: list[tg.events.Fault] = []
    guard.on(tg.events.Fault, faults.append)

    ladder = tg.Ladder(reroute_at=0.0, reroute_to="openai/nobody-knows-it")
    with guard.run("digest", budget=tg.Budget(usd="1"), ladder=ladder):
        pennies(guard, server, 1)

    assert server.requests[0].model == "penny"
    assert [(fault.where, fault.error.code) for fault in faults] == [("ladder", "unpriceable")]  # type: ignore[attr-defined]


def test_where_unknown_prices_are_observed_any_model_may_answer(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard(prices=tg.Prices(PRICES, unknown="observe"))

    ladder = tg.Ladder(reroute_at=0.0, reroute_to="openai/nobody-knows-it")
    with guard.run("digest", budget=tg.Budget(calls=9), ladder=ladder):
        pennies(guard, server, 1)

    assert server.requests[0].model == "nobody-knows-it"


def test_a_cap_that_was_raised_is_known_with_the_next_call(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("digest", budget=tg.Budget(calls=4), ladder=tg.Ladder(steer_at=0.5)) as run:
        pennies(guard, server, 3)
        guard.top_up(run.id, calls=16)
        pennies(guard, server, 1)

    assert noted(server) == [2]


def test_nothing_is_said_where_nothing_is_capped(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("digest", ladder=tg.Ladder(steer_at=0.0)):
        pennies(guard, server, 2)

    assert noted(server) == []


def test_a_model_that_is_asked_anyway_is_not_rerouted(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard()
    told = heard(guard)

    with guard.run("digest", budget=tg.Budget(usd="1"), ladder=tg.Ladder(reroute_at=0.0, reroute_to=PENNY)):
        pennies(guard, server, 1)

    assert told == []


def test_observing_changes_nothing_that_is_sent(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(), make_guard(mode="observe")
    told = heard(guard)

    ladder = tg.Ladder(steer_at=0.0, shrink_at=0.0, shrink_to=256, reroute_at=0.0, reroute_to=NANO)
    with guard.run("watched", budget=tg.Budget(usd="1"), ladder=ladder):
        pennies(guard, server, 2)

    assert [(one.model, one.output_max) for one in server.requests] == [("penny", 400)] * 2
    assert noted(server) == []
    assert [(one.rung, one.applied) for one in told] == [("reroute", False), ("shrink", False), ("steer", False)]


def test_the_last_answer_comes_out_of_what_was_kept_back_without_tools(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    def model(request: RecordedRequest) -> Reply:
        return answers("what I know so far") if request.json.get("tool_choice") == "none" else wants("read", page="x")

    server, guard = make_server(model), make_guard(loops=False)
    told = heard(guard)

    with guard.run("digest", budget=tg.Budget(usd="0.05", reserve_final="0.02")) as run:
        answer = work(guard, server, {"read": lambda **_: "a page"})

    assert answer == "what I know so far"
    assert server.count == 4
    assert "This is the last answer this run can pay for" in last_text(server.requests[3])
    assert [one.rung for one in told] == ["final"]
    assert run.receipt().usd == tg.Money("0.04").usd


@pytest.mark.parametrize("budget_cents", range(3, 43))
def test_a_capped_agent_gives_its_final_answer(
    make_guard: MakeGuard, make_server: MakeServer, budget_cents: int
) -> None:
    size = 130 + 20 * (budget_cents % 7)

    def model(request: RecordedRequest) -> Reply:
        if request.json.get("tool_choice") == "none":
            return Reply("what I know so far", completion_tokens=size)
        reply = wants("read", page=f"page {request.index}")
        return Reply(reply.text, completion_tokens=size, tool_calls=reply.tool_calls)

    server, guard = make_server(model), make_guard()

    with guard.run("digest", budget=tg.Budget(usd=f"0.{budget_cents:02}", reserve_final="0.011")) as run:
        answer = work(guard, server, {"read": lambda page: f"text of {page}"}, rounds=200)

    assert answer == "what I know so far"
    assert TOOLS[0]["function"] in [tool["function"] for tool in server.requests[-1].json["tools"]]
    assert run.receipt().usd <= tg.Money(f"0.{budget_cents:02}").usd
