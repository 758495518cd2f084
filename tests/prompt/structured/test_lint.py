"""What a lint finds, and what it costs in a thousand calls."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

from tokenguard.core.money import Money
from tokenguard.core.price import PriceCard, Rates
from tokenguard.core.usage import Meter
from tokenguard.errors import BadAmount
from tokenguard.prompt.structured.findings import Finding, Traffic
from tokenguard.prompt.structured.lint import lint_messages
from tokenguard.prompt.structured.prompts import Example, StructuredPrompt

UUID = "0b1c6c1e-7f50-4c8e-9a3b-0123456789ab"


def card(**rates: int) -> PriceCard:
    """Pico-dollars per token: 1,000,000 in, 100,000 from the cache, 1,250,000 into it, 8,000,000 out unless given."""
    given = {"input": 1_000_000, "cache_read": 100_000, "cache_write_5m": 1_250_000, "output": 8_000_000, **rates}
    return PriceCard(
        "c",
        "m",
        "p",
        "override",
        "1",
        Rates.of({Meter[name.upper()]: rate for name, rate in given.items() if rate >= 0}),
    )


def words(text: str) -> int:
    """One token for each word, so that amounts can be worked out by hand."""
    return len(text.split())


class Small(BaseModel):
    mood: str = Field(max_length=20)


class Tagged(BaseModel):
    tags: list[str]
    few: list[str] = Field(max_length=3)
    short: list[str] = []
    groups: list[Tagged]


def good(**parts: Any) -> StructuredPrompt[Any]:
    return StructuredPrompt(
        **{
            "name": "mood",
            "role": "reader of letters",
            "task": "Say how the writer of the letter feels.",
            "output": Small,
            "examples": (Example("I am so glad.", Small(mood="happy")),),
            **parts,
        }
    )


def linted(prompt: StructuredPrompt[Any], **more: Any) -> dict[str, Finding]:
    return {one.code: one for one in prompt.lint(card=card(), count=words, **more)}


def in_messages(*texts: str, **more: Any) -> dict[str, Finding]:
    messages = [{"role": "system" if not at else "user", "content": text} for at, text in enumerate(texts)]
    return {one.code: one for one in lint_messages(messages, card=card(), count=words, **more)}


def test_a_prompt_that_says_what_it_wants_has_no_finding() -> None:
    assert good().lint() == ()
    assert linted(good()) == {}


@pytest.mark.parametrize(
    ("parts", "code"),
    [({"role": ""}, "no_role"), ({"task": "Classify it."}, "vague_task"), ({"examples": ()}, "no_example")],
)
def test_what_a_model_has_to_guess_costs_answers_that_are_asked_again(parts: dict[str, Any], code: str) -> None:
    prompt = good(**parts)
    each = words(prompt.prefix) * 1_000_000 + 500 * 1_000_000 + 150 * 8_000_000

    found = linted(prompt)

    assert set(found) == {code}
    assert found[code].cost == Money.from_pico(each * 1_000 * 5 // 100)
    assert found[code].assumption == "it makes 5 % of the answers be asked again"


def test_traffic_that_was_measured_decides_the_amount() -> None:
    traffic = Traffic(calls=10, input_tokens=0, output_tokens=100, asked_again_percent=50)

    found = linted(good(role=""), traffic=traffic)["no_role"]

    assert found.cost == Money.from_pico((words(good(role="").prefix) * 1_000_000 + 100 * 8_000_000) * 5)


def test_a_task_of_one_word_is_called_one() -> None:
    assert linted(good(task="Summarise."))["vague_task"].sentence.startswith("Its task has 1 word:")


def test_lists_of_texts_without_an_end_are_named_once_each() -> None:
    found = [one for one in good(output=Tagged, examples=()).lint(card=card()) if one.code == "unbounded_list"]

    assert sorted(one.sentence.split()[0] for one in found) == ["short", "tags"]
    assert {str(one.cost) for one in found} == {"$4.22"}


def test_a_list_as_the_answer_itself_is_named() -> None:
    [found] = [one for one in good(output=list[list[str]], examples=()).lint() if one.code == "unbounded_list"]

    assert found.sentence.startswith("the answer[] is a list of texts")
    assert found.cost is None


def test_a_prefix_just_under_the_minimum_is_dearer_than_a_longer_one() -> None:
    prompt = good(rules=tuple(f"rule {number}" for number in range(300)))
    tokens = words(prompt.prefix)

    found = linted(prompt)["under_cache_minimum"]

    assert 512 < tokens < 1_024
    assert found.cost == Money.from_pico(tokens * 10**6 * 1_000 - 1_024 * (1_250_000 + 100_000 * 999))
    assert f"{1_024 - tokens:,} under the 1,024" in found.sentence


@pytest.mark.parametrize(
    ("parts", "traffic"),
    [
        ({"rules": ("be kind",) * 900}, Traffic()),
        ({}, Traffic()),
        ({"rules": ("be kind",) * 200}, Traffic(calls=1)),
    ],
    ids=["above it", "far below it", "one call"],
)
def test_other_prefixes_stay_as_they_are(parts: dict[str, Any], traffic: Traffic) -> None:
    assert "under_cache_minimum" not in linted(good(**parts), traffic=traffic)


def test_without_a_price_the_minimum_is_still_named() -> None:
    found = good(rules=("be kind",) * 200).lint(count=words)

    assert [(one.code, one.cost) for one in found] == [("under_cache_minimum", None)]


def test_a_schema_longer_than_its_input_is_told_its_shorter_form() -> None:
    traffic = Traffic(input_tokens=1)

    found = linted(good(), traffic=traffic)["long_schema"]
    lean = linted(good(style="line"), traffic=Traffic(input_tokens=0))["long_schema"]

    assert "style='line' takes 2." in found.sentence
    assert found.cost == Money.from_pico(1_000 * 100_000 * (words(good().schema_text) - 2))
    assert "fewer fields" in lean.sentence


def test_a_time_in_the_fixed_part_makes_it_new_in_every_call() -> None:
    rules = (*("be kind",) * 600, "It is 2026-12-01 10:00.", *("be kind",) * 100)
    prompt = good(rules=rules)

    found = linted(prompt)["moving_prefix"]

    assert found.cost is not None
    assert found.cost.pico > 0
    assert "behind a time or an id" in found.sentence


@pytest.mark.parametrize("moving", [UUID, "1764583200", "1764583200123", "2026-12-01T10:00:00Z"])
def test_times_and_ids_are_seen(moving: str) -> None:
    assert "moving_prefix" in in_messages(
        f"You are a clerk. Answer as JSON, for example {{}}. {moving} " + "word " * 1_100
    )


@pytest.mark.parametrize("still", ["In 2026-12 we sold 1764583200999999 things.", "Use ISO 8601.", "call 1234567890"])
def test_other_numbers_are_no_times(still: str) -> None:
    assert "moving_prefix" not in in_messages(f"You are a clerk. JSON. Example. {still} " + "word " * 1_100)


def test_a_time_where_nothing_is_cached_costs_nothing() -> None:
    assert "moving_prefix" not in in_messages(f"You are a clerk. JSON. Example. {UUID}")


# ---- messages that were written by hand -----------------------------------------------------------------------------


def test_a_short_vague_prompt_has_every_finding_of_its_kind() -> None:
    found = {one.code for one in lint_messages([{"role": "user", "content": "Summarise {text}"}])}

    assert found == {"no_role", "no_example", "no_schema", "vague_task"}


def test_a_prompt_by_hand_that_says_it_all_has_none() -> None:
    assert in_messages("You are a clerk. Answer as JSON. Example: …", "Classify the ticket: {ticket}") == {}


def test_an_earlier_answer_is_an_example() -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Classify tickets by kind, as JSON."},
        {"role": "user", "content": [{"type": "text", "text": "It is slow."}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
    ]

    assert lint_messages(messages) == ()


@pytest.mark.parametrize("place", ["{ticket}", "{{ ticket }}", "{{ticket}}", "${ticket}", "<<ticket>>"])
def test_fixed_text_behind_a_variable_is_not_cached(place: str) -> None:
    found = in_messages(f"You are a clerk. JSON. Example. {place} " + "word " * 1_100)["variables_first"]

    assert found.cost == Money.from_pico(6 * 10**9 + 1_100 * 10**9 - 1_106 * (1_250_000 + 999 * 100_000))
    assert "1,100 tokens" in found.sentence


@pytest.mark.parametrize(
    "text", ["{ticket} " + "word " * 20, "{ticket} " + "word " * 500, '{"a": 1} ' + "word " * 1_100]
)
def test_a_variable_before_what_would_not_be_cached_anyway_is_left_alone(text: str) -> None:
    assert "variables_first" not in in_messages(f"You are a clerk. JSON. Example. {text}")


def test_a_json_schema_in_the_text_is_told_its_shorter_form() -> None:
    texts = '{"type": "array", "items": {"type": "string"}}'
    schema = f'{{"type": "object", "properties": {{"name": {{"type": "string"}}, "tags": {texts}}}}}'

    found = lint_messages(
        [{"role": "system", "content": f"You are a clerk. Answer like this, for example: {schema}"}], card=card()
    )

    assert [one.code for one in found] == ["unbounded_list", "json_schema"]
    assert "as types it takes" in found[1].sentence
    assert found[1].cost


def test_a_card_without_cache_prices_has_one_price_for_the_prefix() -> None:
    plain = card(cache_read=-1, cache_write_5m=-1)

    assert good(rules=("be kind",) * 200).lint(card=plain, count=words) == ()


def test_a_card_without_an_output_price_has_no_amount_for_answers() -> None:
    found = good(role="").lint(card=card(output=-1), count=words)

    assert [one.cost for one in found] == [None]


@pytest.mark.parametrize("wrong", [{"calls": 0}, {"input_tokens": -1}, {"asked_again_percent": -5}])
def test_traffic_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadAmount, match="at least one call"):
        Traffic(**wrong)
