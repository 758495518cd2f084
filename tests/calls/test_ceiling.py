"""What is held for a call before it is sent: every option that can make it dearer makes the hold larger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import ask

import tokenguard as tg
from tokenguard.core.receipt import CallReceipt
from tokenguard.testing import ScriptedBackend, ScriptedReply, scripted_guard

MODEL = "test/claude-rates"  # Claude writes to its cache only where a request says so
PRICES: dict[str, Any] = {
    "prices": {
        MODEL: {
            "input": "1",
            "output": "10",
            "cache_write_5m": "2",
            "cache_write_1h": "4",
            "audio_input": "8",
            "image_input": "6",
            "audio_output": "50",
            "image_output": "40",
            "batch": {"input": "0.5", "output": "5"},
            "priority": {"input": "2", "output": "20"},
            "output_tokens_max": 1_000,
            "context_tokens": 10_000,
        },
        "test/plain": {"input": "1", "output": "10", "context_tokens": 10_000},
    }
}
PICO_INPUT, PICO_OUTPUT = 10**6, 10**7


class Desk:
    """One run under a dollar, and what was held for and sent with each call in it.

    Answers report no usage, so that nothing is learnt about a prompt and equal calls hold the same.
    """

    def __init__(self, **arguments: Any) -> None:
        self.backend = ScriptedBackend(lambda _: ScriptedReply("ok", usage=None))
        self.guard = tg.Guard(database="memory", prices=PRICES, backend=self.backend, **{"loops": False, **arguments})
        self.run = self.guard.run("desk", budget=tg.Budget(usd="1"))

    def held(self, messages: Any = None, *, model: str = MODEL, **options: Any) -> int:
        """Pico-dollars held for one call."""
        return self.receipt(messages, model=model, **options).ceiling.pico

    def receipt(self, messages: Any = None, *, model: str = MODEL, **options: Any) -> CallReceipt:
        reply = self.guard.completion(model, messages or ask(), **options)
        receipt = tg.receipt_of(reply)
        assert receipt is not None
        return receipt

    @property
    def sent(self) -> dict[str, Any]:
        """What went out last."""
        return dict(self.backend.requests[-1].arguments)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    with desk.guard, desk.run:
        yield desk


def parts(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def marked(mark: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "hi"}], "cache_control": mark}]


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


def test_a_service_tier_is_held_at_its_own_rates(desk: Desk) -> None:
    standard = desk.held(max_tokens=100)
    by_tier = {
        tier: desk.held(max_tokens=100, service_tier=tier) for tier in ("priority", "batch", "flex", "auto", "scale")
    }

    assert by_tier["priority"] == 2 * standard
    assert by_tier["batch"] == standard // 2
    assert by_tier["flex"] == by_tier["auto"] == standard
    assert by_tier["scale"] == by_tier["priority"]  # An unknown name is held at the dearest table.


def test_fast_modes_and_places_without_rates_of_their_own_are_held_at_the_dearest(desk: Desk) -> None:
    standard = desk.held(max_tokens=100)
    dearest = desk.held(max_tokens=100, service_tier="priority")

    assert desk.held(max_tokens=100, speed="fast") == dearest
    assert desk.held(max_tokens=100, inference_geo="us") == dearest
    assert desk.held(max_tokens=100, vertex_location="europe-west1") == dearest
    assert desk.held(max_tokens=100, inference_geo="global", vertex_location="global") == standard


def test_cache_marks_are_held_at_the_write_they_can_cause(desk: Desk) -> None:
    output = 100 * PICO_OUTPUT
    tokens = (desk.held(marked(None), max_tokens=100) - output) // PICO_INPUT
    short = desk.held(marked({"type": "ephemeral"}), max_tokens=100)
    hour = desk.held(marked({"type": "ephemeral", "ttl": "1h"}), max_tokens=100)
    injected = desk.held(marked(None), max_tokens=100, cache_control_injection_points=[{"location": "message"}])

    assert (short - output) // PICO_INPUT >= 2 * tokens
    assert (hour - output) // PICO_INPUT >= 4 * tokens
    assert injected == output + 2 * tokens * PICO_INPUT


@pytest.mark.parametrize("where", ["part", "tool"])
def test_a_mark_on_a_part_or_a_tool_counts_as_well(desk: Desk, where: str) -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    tool = {"type": "function", "function": {"name": "read", "parameters": {}}}
    on_part = parts({"type": "text", "text": "hi", **({"cache_control": mark} if where == "part" else {})})
    tools = [{**tool, **({"cache_control": mark} if where == "tool" else {})}]
    plain = parts({"type": "text", "text": "hi"})

    without = desk.held(plain, max_tokens=1, tools=[tool])
    with_mark = desk.held(on_part, max_tokens=1, tools=tools)

    assert with_mark - PICO_OUTPUT >= 4 * (without - PICO_OUTPUT)


@pytest.mark.parametrize("name", ["n", "best_of"])
def test_every_answer_that_is_asked_for_is_held(desk: Desk, name: str) -> None:
    one, three = desk.held(max_tokens=100), desk.held(max_tokens=100, **{name: 3})

    assert three - one == 2 * 100 * PICO_OUTPUT


def test_a_prompt_that_cannot_be_seen_is_held_at_the_whole_window_and_sent(desk: Desk) -> None:
    image, audio = desk.held(parts(IMAGE), max_tokens=100), desk.held(*[parts(AUDIO)], max_tokens=100)

    assert image == 10_000 * 6 * PICO_INPUT + 100 * PICO_OUTPUT
    assert audio == 10_000 * 8 * PICO_INPUT + 100 * PICO_OUTPUT
    assert desk.sent["max_tokens"] == 100


def test_spoken_and_drawn_answers_are_held_at_their_own_rates(desk: Desk) -> None:
    text = desk.held(max_tokens=100)
    spoken = desk.held(max_tokens=100, modalities=["text", "audio"], audio={"voice": "alloy"})
    drawn = desk.held(max_tokens=100, modalities=["text", "image"])

    assert spoken - text == 100 * 4 * PICO_OUTPUT
    assert drawn - text == 100 * 3 * PICO_OUTPUT


def test_thinking_keeps_its_budget_and_an_answer() -> None:
    desk = Desk()
    thinking = {"type": "enabled", "budget_tokens": 500}

    with desk.guard:
        with desk.guard.run("enough", budget=tg.Budget(usd="0.009")):
            receipt = desk.receipt(thinking=thinking)
        with desk.guard.run("too little", budget=tg.Budget(usd="0.007")), pytest.raises(tg.CallTooLarge):
            desk.receipt(thinking=thinking)

    assert receipt.clamped
    assert receipt.max_tokens is not None
    assert 500 + 256 <= receipt.max_tokens < 1_000


def test_a_structured_answer_is_never_cut_below_what_its_caller_gave() -> None:
    desk = Desk()
    schema = {"type": "json_object"}

    with desk.guard, desk.guard.run("small", budget=tg.Budget(usd="0.006")) as run:
        clamped = desk.receipt(max_tokens=900)
        with pytest.raises(tg.CallTooLarge):
            desk.receipt(max_tokens=900, response_format=schema)
        fits = desk.receipt(max_tokens=300, response_format=schema)

    assert clamped.clamped
    assert clamped.max_tokens is not None
    assert clamped.max_tokens < 900
    assert fits.max_tokens == 300
    assert run.receipt().calls == 2


def test_a_schema_of_a_class_is_part_of_the_prompt(desk: Desk) -> None:
    class Answer:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            return {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(50)}}

    plain = desk.held(max_tokens=100)
    structured = desk.held(max_tokens=100, response_format=Answer)
    unknown = desk.held(max_tokens=100, response_format=int)

    assert structured - plain > 1_000 * PICO_INPUT
    assert unknown > plain


def test_a_clamp_is_on_the_receipt_and_is_said() -> None:
    desk, events = Desk(), []
    desk.guard.on(tg.events.Clamped, events.append)

    with desk.guard, desk.guard.run("small", budget=tg.Budget(usd="0.006")):
        receipt = desk.receipt(max_tokens=900)

    assert receipt.clamped
    assert [(event.asked, event.granted) for event in events] == [(900, receipt.max_tokens)]
    assert desk.sent["max_tokens"] == receipt.max_tokens


def test_a_maximum_of_our_own_is_always_sent_and_never_above_the_models(desk: Desk) -> None:
    ours, theirs = desk.receipt(), desk.receipt(max_tokens=5_000)

    assert ours.max_tokens == theirs.max_tokens == 1_000
    assert not ours.clamped
    assert desk.sent["max_tokens"] == 1_000


def test_max_completion_tokens_keeps_its_name(desk: Desk) -> None:
    desk.receipt(max_completion_tokens=5_000)

    assert desk.sent["max_completion_tokens"] == 1_000
    assert "max_tokens" not in desk.sent


def test_an_instruction_makes_the_prompts_name() -> None:
    desk, facts = Desk(), []
    desk.guard.on(tg.events.Settlement, lambda event: facts.append(event.facts))
    system = {"role": "system", "content": "Be brief."}

    with desk.guard, desk.guard.run("named"):
        desk.guard.completion(MODEL, [system, *ask(1)])
        desk.guard.completion(MODEL, [system, *ask(2)])
        desk.guard.completion(MODEL, ask(3))
        desk.guard.responses(MODEL, "hello", instructions="Be brief.")

    named = [fact.prompt_id for fact in facts]
    assert named[0] == named[1] == named[3] is not None
    assert named[2] is None


def test_a_response_that_continues_another_is_held_at_the_whole_window(desk: Desk) -> None:
    reply = desk.guard.responses(MODEL, "and then?", max_output_tokens=50, previous_response_id="resp_1")

    receipt = tg.receipt_of(reply)
    assert receipt is not None
    assert receipt.ceiling.pico == 10_000 * PICO_INPUT + 50 * PICO_OUTPUT


def test_a_prompt_that_fills_the_window_is_refused_before_it_is_sent() -> None:
    scripted = scripted_guard(lambda _: "ok", prices={"prices": {"openai/gpt-4o": SMALL}})

    with scripted as guard, guard.run("long") as run, pytest.raises(tg.CallTooLarge, match="fills the whole context"):
        guard.completion("openai/gpt-4o", [{"role": "user", "content": "word " * 2_000}], max_tokens=10)

    assert run.receipt().calls == 0


SMALL = {"input": "1", "output": "10", "context_tokens": 1_000, "output_tokens_max": 500}


def test_observing_sends_a_prompt_that_seems_to_fill_the_window() -> None:
    prices = {"prices": {"openai/gpt-4o": SMALL}}

    with scripted_guard(lambda _: "ok", prices=prices, mode="observe") as guard, guard.run("long") as run:
        guard.completion("openai/gpt-4o", [{"role": "user", "content": "word " * 2_000}], max_tokens=10)

    assert run.receipt().calls == 1


def test_a_final_answer_without_tools_is_sent_as_it_is() -> None:
    cent = ScriptedReply("done", usage={"prompt_tokens": 0, "completion_tokens": 400})
    prices = {"prices": {"openai/penny": {"input": "0", "output": "25", "context_tokens": 100_000}}}

    with scripted_guard(lambda _: cent, prices=prices) as guard:
        with guard.run("agent", budget=tg.Budget(usd="0.02", reserve_final="0.01")) as run:
            guard.completion("openai/penny", ask(1), max_tokens=400)
            guard.completion("openai/penny", ask(2), max_tokens=400)
            with pytest.raises(tg.BudgetExceeded):
                guard.completion("openai/penny", ask(3), max_tokens=400)

    assert run.receipt().cost == tg.Money("0.02")
