"""Cache marks in guarded calls: where they stand, what they cost, and when there are none."""

from __future__ import annotations

from typing import Any

import pytest

import tokenguard as tg
from tokenguard.testing import FakeClock, ScriptedReply, scripted_guard

CLAUDE = "anthropic/claude-sonnet-writer"
OTHER = "openai/other"
MARK = "cache_control"
BREAKPOINTS = "openai/gpt-5.6"
PRICES: dict[str, Any] = {
    "prices": {
        CLAUDE: {
            "input": "3",
            "cache_read": "0.3",
            "cache_write_5m": "3.75",
            "cache_write_1h": "6",
            "output": "15",
            "output_tokens_max": 1_000,
            "context_tokens": 200_000,
        },
        BREAKPOINTS: {
            "input": "3",
            "cache_read": "0.3",
            "output": "15",
            "output_tokens_max": 1_000,
            "context_tokens": 200_000,
        },
        OTHER: {"input": "3", "output": "15", "output_tokens_max": 1_000, "context_tokens": 200_000},
    }
}
SYSTEM = " ".join(f"rule {number} says something that must be kept in mind" for number in range(600))
USAGE = {
    "prompt_tokens": 6_000,
    "completion_tokens": 10,
    "total_tokens": 6_010,
    "prompt_tokens_details": {"cached_tokens": 5_000},
    "cache_creation_input_tokens": 500,
    "cache_read_input_tokens": 5_000,
}


def conversation() -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "second"},
    ]


def ask(messages: list[dict[str, Any]], model: str = CLAUDE, **options: Any) -> tuple[list[Any], tg.CallReceipt]:
    """What was sent, and the receipt."""
    sent: list[Any] = []

    def answer(request: Any) -> ScriptedReply:
        sent.append(request.arguments["messages"])
        return ScriptedReply("ok", usage=USAGE)

    guard_options = {name: options.pop(name) for name in ("prompt", "mode") if name in options}
    guard = scripted_guard(answer, prices=PRICES, **guard_options)
    with guard.run("agent"):
        receipt = tg.receipt_of(guard.completion(model, messages, max_tokens=100, **options))
    assert receipt is not None
    return sent[0], receipt


def marked(messages: list[Any]) -> list[int]:
    return [at for at, one in enumerate(messages) if "cache_control" in str(one)]


def test_a_conversation_that_goes_on_is_marked_after_its_rules_and_at_its_end() -> None:
    messages = conversation()

    sent, receipt = ask(messages)

    assert marked(sent) == [0, 1, 3]
    assert messages == conversation()
    (saving,) = receipt.savings
    # 5,000 tokens read at 0.30 instead of 3 dollars a million, 500 written at 3.75.
    assert saving.name == "mark"
    assert saving.settled == tg.Money("0.0135") - tg.Money("0.000375")


def test_the_ceiling_holds_what_writing_to_the_cache_costs() -> None:
    _, with_marks = ask(conversation())
    _, without = ask(conversation(), prompt="off")

    assert with_marks.ceiling.pico - without.ceiling.pico > 5_000 * 750_000
    assert without.savings == ()


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        (conversation()[:2], {}),
        (conversation(), {"prompt": "off"}),
        (conversation(), {"prompt": tg.Folding(off=["mark"])}),
        (conversation(), {"mode": "observe"}),
        (conversation(), {"model": OTHER}),
        (conversation(), {"cache_control_injection_points": []}),
        ([{"role": "system", "content": "short"}, *conversation()[1:]], {}),
    ],
    ids=["one question", "off", "stage off", "observe", "other model", "own points", "below the minimum"],
)
def test_nothing_is_marked_where_it_would_not_pay_or_was_not_asked_for(messages: list[Any], options: Any) -> None:
    sent, receipt = ask(messages, **options)

    assert marked(sent) == []
    assert receipt.savings == ()


def test_a_first_call_with_tools_is_marked_because_it_will_come_back() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

    sent, _ = ask(conversation()[:2], tools=[tool])

    assert marked(sent) == [0, 1]


def test_marks_of_the_caller_stay_the_only_ones() -> None:
    messages = conversation()
    messages[0]["cache_control"] = {"type": "ephemeral"}

    sent, receipt = ask(messages)

    assert marked(sent) == [0]
    assert receipt.savings == ()


def test_where_a_provider_caches_by_itself_marks_claim_nothing() -> None:
    sent, receipt = ask(conversation(), model=BREAKPOINTS)

    assert "prompt_cache_breakpoint" in str(sent)
    assert receipt.savings == ()


def test_marks_whose_effect_nobody_counted_claim_nothing() -> None:
    guard = scripted_guard(lambda _: ScriptedReply("ok", usage=None), prices=PRICES)

    with guard.run("agent"):
        receipt = tg.receipt_of(guard.completion(CLAUDE, conversation(), max_tokens=100))

    assert receipt is not None
    assert receipt.quality != "reported"
    assert receipt.savings == ()


def test_a_fallback_that_knows_no_marks_gets_none() -> None:
    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append((request.model, marked(request.arguments["messages"])))
        if request.model == CLAUDE:
            raise RuntimeError("not today")
        return ScriptedReply("ok")

    guard = scripted_guard(answer, prices=PRICES)
    with guard.run("agent"):
        guard.completion(CLAUDE, conversation(), max_tokens=100, fallbacks=[OTHER], num_retries=0)

    assert sent == [(CLAUDE, [0, 1, 3]), (OTHER, [])]


def test_marking_that_fails_sends_the_prompt_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def trips(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("tokenguard.calls.marking.mark", trips)

    sent, receipt = ask(conversation())

    assert marked(sent) == []
    assert receipt.savings == ()


def test_a_call_outside_any_run_is_not_marked() -> None:
    sent: list[Any] = []
    guard = scripted_guard(lambda request: sent.append(request.arguments["messages"]) or "ok", prices=PRICES)

    with pytest.warns(tg.UnattributedSpend):
        guard.completion(CLAUDE, conversation(), max_tokens=100)

    assert marked(sent[0]) == []


def test_a_conversation_with_long_pauses_is_kept_for_an_hour_from_its_next_pause_on() -> None:
    clock, lives = FakeClock(), list[list[str]]()

    def answer(request: Any) -> ScriptedReply:
        lives.append([one["cache_control"].get("ttl", "5m") for one in request.arguments["messages"] if MARK in one])
        return ScriptedReply("ok", usage=USAGE)

    guard = scripted_guard(answer, prices=PRICES, clock=clock)
    messages = conversation()
    receipts: list[Any] = []
    with guard.run("agent"):
        for turn in range(9):
            receipts.append(tg.receipt_of(guard.completion(CLAUDE, messages, max_tokens=100)))
            messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"turn {turn}"}]
            clock.advance(900 if turn % 2 else 5)

    told = [set(one) for one in lives]
    # Every second pause is a quarter of an hour; from the sixth call on so many are expected that an hour pays.
    assert told == [{"5m"}] * 6 + [{"1h"}] * 3
    # Writing for an hour costs 6 dollars a million instead of 3.75, and the ceiling knows.
    assert receipts[6].ceiling.pico - receipts[5].ceiling.pico > 5_000 * 2_000_000


def test_pauses_that_no_cache_outlives_do_not_buy_an_hour() -> None:
    clock, lives = FakeClock(), set[str]()

    def answer(request: Any) -> ScriptedReply:
        lives.update(one[MARK].get("ttl", "5m") for one in request.arguments["messages"] if MARK in one)
        return ScriptedReply("ok", usage=USAGE)

    guard = scripted_guard(answer, prices=PRICES, clock=clock)
    messages = conversation()
    with guard.run("agent"):
        for turn in range(9):
            guard.completion(CLAUDE, messages, max_tokens=100)
            messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"turn {turn}"}]
            clock.advance(7_200)

    assert lives == {"5m"}


def test_what_an_hour_cost_is_taken_off_what_its_marks_saved() -> None:
    usage = {
        **USAGE,
        "prompt_tokens_details": {
            "cached_tokens": 5_000,
            "cache_creation_token_details": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 500},
        },
    }
    guard = scripted_guard(lambda _: ScriptedReply("ok", usage=usage), prices=PRICES)

    with guard.run("agent"):
        receipt = tg.receipt_of(guard.completion(CLAUDE, conversation(), max_tokens=100))

    assert receipt is not None
    (saving,) = receipt.savings
    # 500 tokens written at 6 instead of 3 dollars a million.
    assert saving.settled == tg.Money("0.0135") - tg.Money("0.0015")
