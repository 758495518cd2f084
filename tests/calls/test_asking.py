"""Structured prompts over real HTTP: what is sent, repaired, asked again, booked and refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field
from support import PENNY, PRICES, MakeGuard, MakeServer, at

import tokenguard as tg
from tokenguard.testing import ScriptedReply, scripted_guard
from tokenguard.testing.model_server import ModelServer, RecordedRequest, Reply

VALID = '{"category":"billing","urgency":2}'
WRONG = '{"category":"money","urgency":9}'
Ask = Callable[..., tg.Answer["Ticket"]]


class Ticket(BaseModel):
    category: Literal["billing", "bug"]
    urgency: int = Field(ge=1, le=5)


TRIAGE = tg.StructuredPrompt(
    name="triage",
    role="support triager",
    task="Classify the ticket.",
    rules=("Answer from the ticket only.",),
    examples=(tg.Example("I was charged twice.", Ticket(category="billing", urgency=3)),),
    variables=("ticket",),
    output=Ticket,
)


def texts(*answers: str, **reply: Any) -> list[Reply]:
    """Answers of 400 tokens each, which cost a cent."""
    return [Reply(text=one, usage={"prompt_tokens": 0, "completion_tokens": 400}, **reply) for one in answers]


def ask(guard: tg.Guard, server: ModelServer, **more: Any) -> tg.Answer[Ticket]:
    options = {**at(server), **more.pop("options", {})}
    return guard.ask(TRIAGE, model=PENNY, ticket="My card was charged twice.", options=options, **more)


def heard(guard: tg.Guard, kind: type[Any]) -> list[Any]:
    found: list[Any] = []
    guard.on(kind, found.append)
    return found


def test_a_valid_answer_is_a_value_for_one_call(make_guard: MakeGuard, make_server: MakeServer, database: str) -> None:
    server, guard = make_server(texts(VALID)), make_guard(database)

    with guard.run("desk") as run:
        answer = ask(guard, server)

    assert answer.value == Ticket(category="billing", urgency=2)
    assert (answer.attempts, answer.repairs, answer.usd) == (1, (), Decimal("0.01"))
    assert run.receipt().calls == server.count == 1
    assert [row.by for row in guard.late.get().ledger.spend(["prompt"])] == [(TRIAGE.prompt_id,)]


def test_the_fixed_part_comes_first_and_the_schema_bounds_the_answer(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(texts(VALID)), make_guard()

    with guard.run("desk"):
        ask(guard, server)

    sent = server.requests[0]
    assert sent.messages == [
        {"role": "system", "content": TRIAGE.prefix},
        {"role": "user", "content": "My card was charged twice."},
    ]
    assert 48 <= (sent.output_max or 0) < 64
    assert "stop" not in sent.json


def test_what_is_wrong_in_form_is_repaired_for_nothing(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server = make_server(texts("Sure:\n```json\n{'category': 'Billing', \"urgency\": '2',}\n```"))
    guard = make_guard()
    repaired, reasked = heard(guard, tg.events.Repaired), heard(guard, tg.events.Reasked)

    with guard.run("desk") as run:
        answer = ask(guard, server)

    assert answer.value == Ticket(category="billing", urgency=2)
    assert answer.repairs == (
        "text around the answer",
        "single quotes",
        "trailing comma",
        "case of an enum",
        "number in quotes",
    )
    assert (server.count, reasked) == (1, [])
    assert [(one.run_id, one.prompt_id, one.tokens, str(one.spared)) for one in repaired] == [
        (run.id, TRIAGE.prompt_id, 400, "$0.0100")
    ]


def test_what_does_not_fit_goes_back_once_with_the_failing_paths_alone(
    make_guard: MakeGuard, make_server: MakeServer, database: str
) -> None:
    server, guard = make_server(texts(WRONG, VALID)), make_guard(database)
    reasked = heard(guard, tg.events.Reasked)

    with guard.run("desk") as run:
        answer = ask(guard, server)

    again = server.requests[1].messages
    assert answer.value.category == "billing"
    assert (answer.attempts, len(answer.receipts), str(answer.cost)) == (2, 2, "$0.0200")
    assert again[:2] == server.requests[0].messages
    assert again[2] == {"role": "assistant", "content": WRONG}
    assert again[3]["content"] == (
        "Correct only this, and answer again with the whole JSON:\n"
        "category: Input should be 'billing' or 'bug'; got \"money\"\n"
        "urgency: Input should be less than or equal to 5; got 9"
    )
    assert [(one.why, one.kinds, one.tokens, str(one.wasted)) for one in reasked] == [
        ("invalid", ("literal_error", "less_than_equal"), 400, "$0.0100")
    ]
    assert (run.receipt().calls, str(run.receipt().cost)) == (2, "$0.0200")
    assert [row.by for row in guard.late.get().ledger.spend(["prompt"])] == [(TRIAGE.prompt_id,)]


def test_an_answer_that_never_fits_is_an_error_with_every_try_booked(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(texts(WRONG)), make_guard()

    with guard.run("desk") as run, pytest.raises(tg.AnswerInvalid) as caught:
        ask(guard, server)

    error = caught.value
    assert (error.attempts, error.why, error.paths) == (2, "invalid", ("category", "urgency"))
    assert pickle.loads(pickle.dumps(error)).problems == error.problems
    assert (error.text, str(error.cost), len(error.receipts)) == (WRONG, "$0.0200", 2)
    assert "category: Input should be 'billing' or 'bug'" in error.sentence
    assert "money" not in error.sentence
    assert run.receipt().calls == server.count == 2


def test_without_retries_nothing_is_asked_again(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(texts(WRONG)), make_guard()

    with guard.run("desk"), pytest.raises(tg.AnswerInvalid, match="gave 1 answer"):
        ask(guard, server, retries=0)

    assert server.count == 1


def test_an_answer_that_was_cut_is_asked_for_with_twice_the_tokens(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    cut = Reply(text='{"category":"billing","urg', finish_reason="length")
    server, guard = make_server([cut, *texts(VALID)]), make_guard()
    reasked = heard(guard, tg.events.Reasked)

    with guard.run("desk"):
        answer = ask(guard, server)

    first, second = server.requests
    assert answer.attempts == 2
    assert second.output_max == 2 * (first.output_max or 0)
    assert second.messages == first.messages
    assert [one.why for one in reasked] == ["length"]


def test_an_answer_that_is_cut_at_twice_the_length_is_given_up(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text='{"category":', finish_reason="length")), make_guard()

    with guard.run("desk"), pytest.raises(tg.AnswerInvalid, match="it was cut") as caught:
        ask(guard, server, retries=5)

    assert (server.count, caught.value.why) == (2, "length")


def test_a_models_own_maximum_is_not_asked_beyond(make_guard: MakeGuard, make_server: MakeServer) -> None:
    prices = {"prices": {PENNY: {"input": "0", "output": "25", "output_tokens_max": 20, "context_tokens": 1_000}}}
    server = make_server(Reply(text='{"category":', finish_reason="length"))
    guard = make_guard(prices=prices)

    with guard.run("desk"), pytest.raises(tg.AnswerInvalid, match="it was cut"):
        ask(guard, server, retries=5)

    assert [one.output_max for one in server.requests] == [20]


def test_whole_json_before_the_cut_is_an_answer(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(Reply(text=f"{VALID} I chose this bec", finish_reason="length")), make_guard()

    with guard.run("desk"):
        answer = ask(guard, server)

    assert (answer.attempts, answer.repairs) == (1, ("text around the answer",))


@pytest.mark.parametrize(
    ("reply", "why", "sent"),
    [
        (Reply(text="I cannot tell."), "unreadable", 2),
        (Reply(text=" ", finish_reason="stop"), "empty", 2),
        (Reply(text="", finish_reason="content_filter"), "refused", 1),
    ],
    ids=["words", "nothing", "a refusal"],
)
def test_an_answer_without_json_is_told_by_its_kind(
    make_guard: MakeGuard, make_server: MakeServer, reply: Reply, why: str, sent: int
) -> None:
    server, guard = make_server(reply), make_guard()

    with guard.run("desk"), pytest.raises(tg.AnswerInvalid) as caught:
        ask(guard, server)

    assert (caught.value.why, server.count) == (why, sent)


def test_words_instead_of_json_go_back_with_one_sentence(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(texts("It is about billing.", VALID)), make_guard()

    with guard.run("desk"):
        ask(guard, server)

    assert server.requests[1].messages[3]["content"] == (
        "That is no JSON that can be read. Answer again, only with the JSON."
    )


def test_a_model_that_calls_a_tool_is_not_asked_again() -> None:
    from tokenguard.backends.scripted import ScriptedCall  # noqa: PLC0415

    guard = scripted_guard([ScriptedReply("", tool_calls=[ScriptedCall("look")])])

    with guard.run("desk"), pytest.raises(tg.AnswerInvalid, match="called a tool"):
        guard.ask(TRIAGE, model=PENNY, ticket="x")


def test_a_spent_cap_stops_the_second_try_and_says_what_the_first_one_cost(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(texts(WRONG)), make_guard()

    with guard.run("desk", budget=tg.Budget(usd="0.0105")) as run, pytest.raises(tg.BudgetExceeded) as caught:
        ask(guard, server, options={"max_tokens": 400})

    assert caught.value.__notes__ == [f"tokenguard: answers of {TRIAGE.prompt_id} that did not fit cost $0.0100 so far"]
    assert run.receipt().calls == server.count == 1


def test_a_structured_answer_is_never_clamped_below_its_own_maximum(
    make_guard: MakeGuard, make_server: MakeServer
) -> None:
    server, guard = make_server(), make_guard()

    with guard.run("desk", budget=tg.Budget(usd="0.0099")), pytest.raises(tg.CallTooLarge):
        ask(guard, server, options={"max_tokens": 400})
    with guard.run("plain", budget=tg.Budget(usd="0.0099")):
        guard.completion(PENNY, [{"role": "user", "content": "x"}], max_tokens=400, **at(server))

    assert [one.output_max for one in server.requests] == [396]


def test_the_shrink_rung_leaves_a_structured_answer_whole(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(texts(VALID)), make_guard()

    ladder = tg.Ladder(shrink_at=0.0, shrink_to=256)
    with guard.run("desk", budget=tg.Budget(usd="1"), ladder=ladder):
        ask(guard, server, options={"max_tokens": 900})
        ask(guard, server, options={"max_tokens": 900})

    assert [one.output_max for one in server.requests] == [900, 900]


async def test_the_async_twin_does_the_same(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(texts(WRONG, VALID)), make_guard()

    async with guard.run("desk") as run:
        answer = await guard.aask(TRIAGE, model=PENNY, ticket="My card was charged twice.", options=at(server))

    assert (answer.value.urgency, answer.attempts) == (2, 2)
    assert run.receipt().calls == 2


async def test_the_async_twin_raises_the_same(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(texts(WRONG)), make_guard()

    async with guard.run("desk", budget=tg.Budget(usd="0.0105")):
        with pytest.raises(tg.BudgetExceeded) as caught:
            await guard.aask(TRIAGE, model=PENNY, ticket="x", options={**at(server), "max_tokens": 400})

    assert "did not fit cost $0.0100" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("options", "reserve"),
    [
        ({}, 0),
        ({"thinking": {"type": "enabled", "budget_tokens": 5_000}}, 5_000),
        ({"reasoning_effort": "low"}, 2_048),
        ({"reasoning_effort": "none"}, 0),
        ({"reasoning_effort": "unheard of"}, 4_096),
    ],
)
def test_thinking_gets_tokens_of_its_own(options: dict[str, Any], reserve: int) -> None:
    bounds: list[int] = []

    def model(request: Any) -> str:
        bounds.append(request.arguments["max_tokens"])
        return VALID

    guard = scripted_guard(model, prices=PRICES)
    with guard.run("desk"):
        guard.ask(TRIAGE, model=PENNY, ticket="x")
        guard.ask(TRIAGE, model=PENNY, ticket="x", options=options)

    assert bounds[1] - bounds[0] == reserve


@pytest.mark.parametrize(("model", "thinks"), [("openai/gpt-5-mini", True), ("anthropic/claude-sonnet-4-5", False)])
def test_models_that_think_unasked_get_a_reserve(model: str, *, thinks: bool) -> None:
    bounds: list[int] = []

    def answer(request: Any) -> str:
        bounds.append(request.arguments["max_tokens"])
        return VALID

    guard = scripted_guard(answer)
    with guard.run("desk"):
        guard.ask(TRIAGE, model=model, ticket="x")

    assert (bounds[0] > 4_096) is thinks


def test_a_model_without_a_price_is_asked_where_no_cap_counts_dollars() -> None:
    guard = scripted_guard([VALID])

    with guard.run("desk", budget=tg.Budget(calls=3)):
        answer = guard.ask(TRIAGE, model="openai/of-next-year", ticket="x", options={"base_model": None})

    assert answer.value.urgency == 2


def test_the_callers_own_bound_is_kept_under_its_own_name() -> None:
    sent: list[dict[str, Any]] = []

    def answer(request: Any) -> str:
        sent.append(dict(request.arguments))
        return VALID

    guard = scripted_guard(answer, prices=PRICES)
    with guard.run("desk"):
        guard.ask(TRIAGE, model=PENNY, ticket="x", options={"max_completion_tokens": 77})

    assert (sent[0]["max_completion_tokens"], "max_tokens" in sent[0]) == (77, False)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"retries": -1}, tg.BadAmount, "retries=-1"),
        ({"retries": True}, tg.BadAmount, "retries=True"),
        ({"options": {"stream": True}}, tg.SetupError, "stream= is not for guard.ask"),
        ({"options": {"n": 2}}, tg.SetupError, "n= is not for guard.ask"),
        ({"options": {"messages": []}}, tg.SetupError, "contain messages"),
        ({"temperature": 0}, tg.SetupError, "has no variable temperature"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    arguments: dict[str, Any], kind: type[Exception], words: str
) -> None:
    guard = scripted_guard([])

    with guard.run("desk"), pytest.raises(kind, match=words):
        guard.ask(TRIAGE, model=PENNY, ticket="x", **arguments)


def test_outside_any_run_the_answer_is_booked_as_unattributed(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(texts(VALID)), make_guard()

    with pytest.warns(UserWarning, match="outside any run"):
        answer = ask(guard, server)

    assert answer.attempts == 1


def test_a_providers_error_comes_out_untouched(make_guard: MakeGuard, make_server: MakeServer) -> None:
    import litellm  # noqa: PLC0415

    server, guard = make_server(Reply(status=400, error="no")), make_guard()

    with guard.run("desk"), pytest.raises(litellm.exceptions.BadRequestError) as caught:
        ask(guard, server)

    assert all("did not fit" not in note for note in caught.value.__notes__)


def test_a_prompt_sent_by_hand_is_known_by_the_same_digest(make_guard: MakeGuard, make_server: MakeServer) -> None:
    server, guard = make_server(texts(VALID)), make_guard()
    rendered = TRIAGE.render(ticket="x")

    with guard.run("desk"):
        guard.completion(PENNY, rendered.messages, max_tokens=rendered.max_tokens, **at(server))

    [row] = guard.late.get().ledger.spend(["prompt"])
    assert row.by == (rendered.prompt_id.partition("@")[2],)


def test_repairs_and_second_questions_are_in_the_ledger_without_text(
    make_guard: MakeGuard, make_server: MakeServer, tmp_path: Any
) -> None:
    import sqlite3  # noqa: PLC0415

    def model(request: RecordedRequest) -> Reply:
        return texts(WRONG, f"```{VALID}```")[request.index]

    guard = make_guard(str(tmp_path / "spend.db"))
    with guard.run("desk"):
        ask(guard, make_server(model))
    guard.close()

    rows = sqlite3.connect(tmp_path / "spend.db").execute("select kind, sentence, facts from tg_guard_event").fetchall()
    told = {kind: json.loads(facts) for kind, _, facts in rows if kind in ("repaired", "reasked")}
    assert told["reasked"]["wasted"] == told["repaired"]["spared"] == "0.01"
    assert told["repaired"]["repairs"] == ["code fence"]
    assert "money" not in str(rows)
