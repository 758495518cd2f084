"""Tools that run at the provider: what is held for their fees and their findings, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ask

import tokenguard as tg
from tokenguard.core.receipt import CallReceipt
from tokenguard.testing import ScriptedReply, scripted_guard

RATES: dict[str, Any] = {
    "input": "1",
    "output": "10",
    "web_search": "0.01",
    "output_tokens_max": 1_000,
    "context_tokens": 10_000,
}
CLAUDES = ("anthropic/claude-test", "vertex_ai/claude-test", "azure_ai/claude-test")
GEMINI_2, GEMINI_3 = "gemini/gemini-2.5-test", "gemini/gemini-3-test"
OPENAI = "openai/gpt-test"
SEARCHER, FEELESS = "openai/gpt-test-search-preview", "openai/gpt-old-search-preview"
SONAR = "perplexity/sonar-test"
UNLIMITED = (
    GEMINI_3,
    OPENAI,
    "xai/grok-test",
    "groq/openai/gpt-oss-test",
    "perplexity/sonar-deep-test",
    "openrouter/anthropic/claude-test",
    "bedrock/anthropic.claude-test",
)
PRICES: dict[str, Any] = {
    "prices": {
        **dict.fromkeys((*CLAUDES, *UNLIMITED, GEMINI_2, FEELESS), RATES),
        SEARCHER: {**RATES, "per_request": "0.01"},
        SONAR: {"input": "1", "output": "10", "per_request": "0.01", "context_tokens": 10_000},
        "anthropic/claude-unpriced": {"input": "1", "output": "10", "context_tokens": 10_000},
        "anthropic/claude-wordy": {**RATES, "output_tokens_max": 10_000},
        "openai/gpt-windowless": {"input": "1", "output": "10", "web_search": "0.01"},
    }
}
PICO_INPUT, PICO_OUTPUT, PICO_SEARCH = 10**6, 10**7, 10**10
WINDOW_AND_ANSWER = 10_000 * PICO_INPUT + 100 * PICO_OUTPUT
DATED = {"type": "web_search_20250305", "name": "web_search"}


class Desk:
    """One run under a dollar; answers report no usage, so that nothing is learnt about a prompt."""

    def __init__(self) -> None:
        self.guard = scripted_guard(lambda _: ScriptedReply("ok", usage=None), prices=PRICES, loops=False)
        self.run = self.guard.run("desk", budget=tg.Budget(usd="1"))

    def receipt(self, model: str, messages: Any = None, *, max_tokens: int = 100, **options: Any) -> CallReceipt:
        return _receipt(self.guard.completion(model, messages or ask(), max_tokens=max_tokens, **options))

    def held(self, model: str, **options: Any) -> int:
        """Pico-dollars held for one chat call."""
        return self.receipt(model, **options).ceiling.pico

    def response(self, model: str, *, max_output_tokens: int = 100, **options: Any) -> CallReceipt:
        return _receipt(self.guard.responses(model, "hello", max_output_tokens=max_output_tokens, **options))

    @property
    def calls(self) -> int:
        return self.run.receipt().calls


def _receipt(reply: Any) -> CallReceipt:
    receipt = tg.receipt_of(reply)
    assert receipt is not None
    return receipt


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    with desk.guard, desk.run:
        yield desk


@pytest.mark.parametrize(("size", "searches"), [("low", 1), ("medium", 5), ("high", 10)])
@pytest.mark.parametrize("model", CLAUDES)
def test_a_search_of_claude_is_held_as_often_as_its_size_allows(
    desk: Desk, model: str, size: str, searches: int
) -> None:
    assert desk.held(model, web_search_options={"search_context_size": size}) == (
        WINDOW_AND_ANSWER + searches * PICO_SEARCH
    )


@pytest.mark.parametrize("size", [{}, {"search_context_size": None}, {"search_context_size": ["low"]}])
def test_a_search_of_claude_without_a_size_is_refused_with_the_sizes(desk: Desk, size: dict[str, Any]) -> None:
    with pytest.raises(tg.Unpriceable, match="can be used without limit") as refused:
        desk.held(CLAUDES[0], web_search_options=size)

    assert 'web_search_options={"search_context_size": ...} ("low" for 1, "medium" for 5, "high" for 10)' in str(
        refused.value
    )
    assert desk.calls == 0


@pytest.mark.parametrize("model", UNLIMITED)
def test_a_search_that_nobody_limits_is_refused_under_a_usd_cap(desk: Desk, model: str) -> None:
    with pytest.raises(tg.Unpriceable, match="can be used without limit"):
        desk.held(model, web_search_options={"search_context_size": "low"})

    assert desk.calls == 0


@pytest.mark.parametrize(
    ("model", "move"),
    [
        (OPENAI, r"Call guard\.responses\(\) with .* and max_tool_calls=, or run it outside a usd cap\."),
        (GEMINI_3, r"tokenguard knows nothing that limits it at 'gemini': run it outside a usd cap\."),
    ],
)
def test_the_refusal_names_what_would_limit_the_search_there(desk: Desk, model: str, move: str) -> None:
    with pytest.raises(tg.Unpriceable, match=move):
        desk.held(model, web_search_options={})


@pytest.mark.parametrize(
    "options",
    [
        {"web_search_options": {}},
        {"tools": [{"googleSearch": {}}]},
        {"tools": [{"google_search": {}}]},
        {"tools": [{"type": "google_search", "google_search": {}}]},
        {"tools": [{"type": "function", "googleSearch": {}}]},
        {"tools": [{"type": "web_search", "max_uses": 9}]},
    ],
)
def test_gemini_2_is_held_for_one_search_of_the_prompt(desk: Desk, options: dict[str, Any]) -> None:
    assert desk.held(GEMINI_2, **options) == WINDOW_AND_ANSWER + PICO_SEARCH


@pytest.mark.parametrize("tool", [{"googleSearch": {}}, {"type": "web_search", "max_uses": 1}])
def test_gemini_3_is_refused_because_litellm_drops_every_limit(desk: Desk, tool: dict[str, Any]) -> None:
    with pytest.raises(tg.Unpriceable, match="can be used without limit"):
        desk.held(GEMINI_3, tools=[tool])


@pytest.mark.parametrize("model", [SEARCHER, SONAR])
def test_a_search_that_the_request_fee_contains_is_held_once(desk: Desk, model: str) -> None:
    assert desk.held(model, web_search_options={"search_context_size": "high"}) == WINDOW_AND_ANSWER + PICO_SEARCH


def test_a_model_that_always_searches_is_held_so_without_being_asked_to(desk: Desk) -> None:
    assert desk.held(SEARCHER) == WINDOW_AND_ANSWER + PICO_SEARCH


def test_a_search_model_without_a_fee_is_held_for_one_search(desk: Desk) -> None:
    assert desk.held(FEELESS, web_search_options={}) == WINDOW_AND_ANSWER + PICO_SEARCH
    assert desk.held(FEELESS) == WINDOW_AND_ANSWER


def test_a_dated_tool_is_held_as_often_as_it_may_be_used(desk: Desk) -> None:
    assert desk.held(CLAUDES[0], tools=[{**DATED, "max_uses": 3}]) == WINDOW_AND_ANSWER + 3 * PICO_SEARCH


@pytest.mark.parametrize("uses", [None, 0, -5, True, "3"])
def test_a_number_of_uses_that_cannot_be_meant_limits_nothing(desk: Desk, uses: object) -> None:
    with pytest.raises(tg.Unpriceable, match="can be used without limit"):
        desk.held(CLAUDES[0], tools=[{**DATED, "max_uses": uses}])


def test_openais_responses_are_held_for_as_many_tool_calls_as_they_may_make(desk: Desk) -> None:
    receipt = desk.response(OPENAI, tools=[{"type": "web_search"}], max_tool_calls=4)

    assert receipt.ceiling.pico == WINDOW_AND_ANSWER + 4 * PICO_SEARCH


@pytest.mark.parametrize("model", [CLAUDES[0], GEMINI_3, "xai/grok-test"])
def test_a_number_of_tool_calls_limits_nothing_where_it_is_not_kept(desk: Desk, model: str) -> None:
    with pytest.raises(tg.Unpriceable, match="can be used without limit"):
        desk.response(model, tools=[{"type": "web_search"}], max_tool_calls=1)


def test_a_number_of_tool_calls_limits_nothing_in_a_chat(desk: Desk) -> None:
    with pytest.raises(tg.Unpriceable, match="can be used without limit"):
        desk.held(OPENAI, tools=[{"type": "web_search"}], max_tool_calls=1)


def test_the_size_of_a_responses_tool_limits_claude(desk: Desk) -> None:
    receipt = desk.response(CLAUDES[0], tools=[{"type": "web_search", "search_context_size": "medium"}])

    assert receipt.ceiling.pico == WINDOW_AND_ANSWER + 5 * PICO_SEARCH


def test_a_search_without_a_price_is_refused_with_the_line_to_paste(desk: Desk) -> None:
    with pytest.raises(tg.Unpriceable, match="has no known price") as gap:
        desk.held("anthropic/claude-unpriced", web_search_options={"search_context_size": "low"})

    assert 'web_search = "?"' in gap.value.toml
    assert gap.value.toml in str(gap.value)
    assert desk.calls == 0


def test_a_tool_that_no_meter_of_ours_counts_is_refused_whatever_limits_it(desk: Desk) -> None:
    with pytest.raises(tg.Unpriceable, match="'code_interpreter' of 'gpt-test' has no price that tokenguard meters"):
        desk.response(OPENAI, tools=[{"type": "code_interpreter"}], max_tool_calls=1)


def test_without_a_usd_cap_an_unlimited_search_is_sent() -> None:
    with scripted_guard(["ok"], prices=PRICES) as guard, guard.run("free", budget=tg.Budget(calls=5)) as run:
        guard.completion(GEMINI_3, ask(), web_search_options={})

    assert run.receipt().calls == 1


def test_an_unlimited_search_is_refused_under_a_cap_that_only_the_ledger_knows(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"database": tmp_path / "spend.db", "prices": PRICES, "scope": "acme"}
    with scripted_guard(["ok"], budget=tg.Budget(usd="5", per="total"), **shared) as boss, boss.run("declares"):
        boss.completion(GEMINI_3, ask(), max_tokens=100)

    with scripted_guard(["ok"], **shared) as worker, worker.run("inherits") as run:
        with pytest.raises(tg.Unpriceable, match="usd cap applies"):
            worker.completion(GEMINI_3, ask(), max_tokens=100, web_search_options={})

    assert run.receipt().calls == 0


def test_observing_sends_an_unlimited_search_and_says_that_it_would_have_been_refused() -> None:
    settled: list[tg.events.Settlement] = []
    with scripted_guard(["ok"], prices=PRICES, mode="observe") as guard:
        guard.on(tg.events.Settlement, settled.append)
        with guard.run("watched", budget=tg.Budget(usd="1")):
            receipt = _receipt(guard.completion(GEMINI_3, ask(), max_tokens=100, web_search_options={}))

    assert [event.booking.would_have for event in settled] == ["unpriced"]
    assert receipt.ceiling.pico == WINDOW_AND_ANSWER


@pytest.mark.parametrize(
    "tool",
    [
        {"function": {"name": "read", "parameters": {}}},
        {"name": "read", "input_schema": {}},
        {"type": "custom", "custom": {"name": "read"}},
        {"functionDeclarations": [{"name": "read"}]},
        {"toolSpec": {"name": "read"}},
        {"type": "function"},
    ],
)
def test_tools_that_the_caller_runs_leave_the_hold_at_the_prompt(desk: Desk, tool: dict[str, Any]) -> None:
    assert desk.held(GEMINI_3, tools=[tool]) < 1_000 * PICO_INPUT + 100 * PICO_OUTPUT


def test_an_answer_that_reports_nothing_is_booked_by_the_prompt_itself(desk: Desk) -> None:
    plain = desk.receipt(CLAUDES[0])
    searched = desk.receipt(CLAUDES[0], web_search_options={"search_context_size": "low"})

    assert searched.cost == plain.cost
    assert searched.ceiling.pico > 10_000 * PICO_INPUT


def test_the_room_for_an_answer_is_what_the_prompt_itself_leaves(desk: Desk) -> None:
    prompt = [{"role": "user", "content": "word " * 1_200}]
    low = {"search_context_size": "low"}

    plain = desk.receipt("anthropic/claude-wordy", prompt, max_tokens=10_000)
    searched = desk.receipt("anthropic/claude-wordy", prompt, max_tokens=10_000, web_search_options=low)

    assert plain.max_tokens == searched.max_tokens
    assert 0 < (searched.max_tokens or 0) < 9_000


@pytest.mark.parametrize(("words", "tokens"), [(1, 128_000), (40_000, 200_080)])
def test_a_window_that_nobody_knows_is_held_no_smaller_than_the_prompt(desk: Desk, words: int, tokens: int) -> None:
    message = [{"role": "user", "content": "word " * words}]

    receipt = _receipt(
        desk.guard.responses(
            "openai/gpt-windowless", message, max_output_tokens=100, max_tool_calls=1, tools=[{"type": "web_search"}]
        )
    )

    assert receipt.ceiling.pico - 100 * PICO_OUTPUT - PICO_SEARCH >= tokens * PICO_INPUT


def test_a_window_is_what_a_token_cap_is_asked_for() -> None:
    tight = tg.Budget(tokens=5_000)

    with scripted_guard(["ok", "ok"], prices=PRICES) as guard, guard.run("tight", budget=tight) as run:
        guard.completion(CLAUDES[0], ask(), max_tokens=100)
        with pytest.raises(tg.CallTooLarge):
            guard.completion(CLAUDES[0], ask(), max_tokens=100, tools=[{**DATED, "max_uses": 1}])

    assert run.receipt().calls == 1
