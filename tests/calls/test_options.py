"""What callers may pass: LiteLLM's options, those that become ours, and those that would send unseen."""

from __future__ import annotations

from typing import Any

import pytest
from support import NANO, PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.core.ports import Failure
from tokenguard.testing import ScriptedBackend, ScriptedReply

DOWN = ScriptedReply(error=ConnectionError("down"), failure=Failure(False, retryable=False, error_class="Down"))
CENT = ScriptedReply("done", usage={"prompt_tokens": 0, "completion_tokens": 400})


class Line:
    """A guard, and what its backend was sent."""

    def __init__(self, *replies: ScriptedReply, **arguments: Any) -> None:
        self.backend = ScriptedBackend(replies)
        self.guard = tg.Guard(database="memory", backend=self.backend, prices=PRICES, **arguments)

    def call(self, model: str = PENNY, **options: Any) -> Any:
        with self.guard, self.guard.run("agent") as self.run:
            return self.guard.completion(model, ask(), max_tokens=400, **options)

    @property
    def sent(self) -> list[tuple[str, dict[str, Any]]]:
        return [(request.model, dict(request.arguments)) for request in self.backend.requests]


def test_a_fallback_with_options_of_its_own_keeps_the_others() -> None:
    line = Line(DOWN, DOWN, CENT)

    reply = line.call(fallbacks=[NANO, {"model": "openai/wide", "temperature": 0}], temperature=1, seed=7)

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert (receipt.model, receipt.attempts) == ("openai/wide", 3)
    assert [model for model, _ in line.sent] == [PENNY, NANO, "openai/wide"]
    assert [arguments["temperature"] for _, arguments in line.sent] == [1, 1, 0]
    assert all(arguments["seed"] == 7 and "fallbacks" not in arguments for _, arguments in line.sent)
    assert line.run.receipt().calls == 3


def test_a_fallback_cannot_bring_back_what_sends_by_itself() -> None:
    line = Line(DOWN, CENT)

    line.call(fallbacks=[{"model": NANO, "num_retries": 9, "max_retries": 9, "fallbacks": ["another/model"]}])

    assert [sorted(arguments) for _, arguments in line.sent] == [["max_tokens", "messages"]] * 2


def test_an_option_that_is_refused_is_refused_inside_a_fallback_too() -> None:
    line = Line(CENT)

    with pytest.raises(tg.SetupError, match="not available through tokenguard") as refused:
        line.call(fallbacks=[{"model": NANO, "context_window_fallback_dict": {"a": "b"}}])

    assert refused.value.option == "context_window_fallback_dict"
    assert line.sent == []


@pytest.mark.parametrize("fallbacks", [[7], [{"models": NANO}], [{"model": None}]])
def test_a_fallback_that_names_no_model_is_a_sentence(fallbacks: Any) -> None:
    line = Line(CENT)

    with pytest.raises(tg.SetupError, match="names no model: give its name"):
        line.call(fallbacks=fallbacks)

    assert line.sent == []


@pytest.mark.parametrize("retries", [{"num_retries": -1}, {"max_retries": 1.5}, {"num_retries": "many"}])
def test_retries_that_cannot_be_meant_are_a_sentence(retries: dict[str, Any]) -> None:
    with pytest.raises(tg.BadAmount, match="0 or more"):
        Line(CENT).call(**retries)


class HttpxTimeout:
    """As `httpx.Timeout` says it."""

    read = 30.0


@pytest.mark.parametrize("timeout", [30, 0.5, HttpxTimeout(), None, 0, float("inf"), float("nan"), 10**12, "soon"])
def test_any_timeout_that_litellm_takes_leaves_a_lease_that_ends(timeout: Any) -> None:
    line = Line(CENT)

    line.call(timeout=timeout)

    assert line.run.receipt().cost == tg.Money("0.01")


def test_a_file_search_that_litellm_would_emulate_is_refused() -> None:
    line = Line(CENT, CENT)

    with line.guard, line.guard.run("agent"):
        with pytest.raises(tg.SetupError, match="emulates file_search for 'anthropic'"):
            line.guard.responses("anthropic/claude-sonnet-4-5", "hi", tools=[{"type": "file_search"}])
        line.guard.responses(PENNY, "hi", tools=[{"type": "file_search"}])

    assert [model for model, _ in line.sent] == [PENNY]


@pytest.mark.parametrize(
    "options",
    [
        {"extra_body": {"max_tokens": 100_000}},
        {"extra_body": {"n": 50}},
        {"additional_drop_params": ["max_tokens"]},
        {"max_completion_tokens": 400},
    ],
)
def test_nothing_may_change_the_size_of_an_answer_behind_what_is_held_for_it(options: dict[str, Any]) -> None:
    line = Line(CENT)

    with pytest.raises(tg.SetupError):
        line.call(**options)

    assert line.sent == []


def test_other_fields_of_an_extra_body_are_the_callers() -> None:
    line = Line(CENT)

    line.call(extra_body={"reasoning": {"effort": "low"}}, additional_drop_params=["seed"])

    assert line.sent[0][1]["extra_body"] == {"reasoning": {"effort": "low"}}


def test_without_a_usd_cap_an_unpriced_part_of_a_priced_model_is_sent() -> None:
    audio = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]
    line = Line(CENT, CENT)

    with line.guard:
        with line.guard.run("free"):
            line.guard.completion("hosted_vllm/mine", audio)
        with line.guard.run("capped", budget=tg.Budget(usd="1")), pytest.raises(tg.Unpriceable):
            line.guard.completion("hosted_vllm/mine", audio)

    assert line.backend.count == 1
