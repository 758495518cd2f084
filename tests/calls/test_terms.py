"""What options decide, remembered by what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from tokenguard.calls.terms import OUTPUT_FLOOR, HostedTool, KnownTerms
from tokenguard.errors import BadAmount, UnsupportedOption

TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}


class Writer:
    """Writes schemas as JSON, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, schemas: Any) -> str:
        self.count += 1
        return json.dumps(schemas)


@pytest.fixture
def written() -> Writer:
    return Writer()


@pytest.fixture
def known(written: Writer) -> KnownTerms:
    return KnownTerms(refused={"mock": "it sends nothing."}, enforce=True, written=written)


def test_equal_options_are_read_once(known: KnownTerms, written: Writer) -> None:
    first = known.of("chat", {"max_tokens": 64, "tools": [dict(TOOL)], "temperature": 0.1})
    again = known.of("chat", {"max_tokens": 64, "tools": [dict(TOOL)], "temperature": 0.9, "user": "ada"})

    assert again is first
    assert written.count == 1


def test_a_tool_that_changed_in_place_is_another_tool(known: KnownTerms) -> None:
    tools = [dict(TOOL)]
    before = known.of("chat", {"tools": tools})

    tools.append({"type": "web_search_20250305", "max_uses": 3})
    after = known.of("chat", {"tools": tools})

    assert before.hosted == ()
    assert after.hosted == (HostedTool("web_search_20250305", 3, None),)
    assert known.of("chat", {"tools": [dict(TOOL)]}).hosted == ()


def test_a_bool_is_not_taken_for_the_number_it_equals(known: KnownTerms) -> None:
    assert known.of("chat", {"max_tokens": 1}).output_given == 1

    with pytest.raises(BadAmount, match="max_tokens=True"):
        known.of("chat", {"max_tokens": True})


def test_an_option_that_was_refused_is_refused_again(known: KnownTerms) -> None:
    for _ in range(2):
        with pytest.raises(UnsupportedOption, match="mock= is not available"):
            known.of("chat", {"mock": "yes"})


def test_a_class_as_answer_is_its_schema_once(known: KnownTerms, written: Writer) -> None:
    class Answer(BaseModel):
        city: str

    class Other(BaseModel):
        country: str

    schemas = [known.of("chat", {"response_format": one}).schemas for one in (Answer, Other, Answer)]

    assert "city" in schemas[0]
    assert "country" in schemas[1]
    assert schemas[2] == schemas[0]
    assert written.count == 2


@pytest.mark.parametrize("timeout", [object(), {"read": object()}], ids=["an object", "a mapping with one"])
def test_what_cannot_be_told_apart_is_read_each_time(known: KnownTerms, timeout: Any) -> None:
    first, again = (known.of("chat", {"timeout": timeout, "max_tokens": 8}) for _ in range(2))

    assert first == again
    assert first is not again


def test_a_thousand_different_options_are_not_all_kept(known: KnownTerms) -> None:
    for number in range(1, 1_001):
        assert known.of("chat", {"max_tokens": number}).output_given == number

    assert len(known._known) <= 256


def test_the_operation_decides_which_option_bounds_the_answer(known: KnownTerms) -> None:
    names = [known.of(operation, {}).output_name for operation in ("chat", "responses", "embeddings", "charge")]

    assert names == ["max_tokens", "max_output_tokens", None, None]


def test_a_response_is_bounded_by_no_fewer_tokens_than_litellm_asks_for(known: KnownTerms) -> None:
    bounds = [known.of("responses", {"max_output_tokens": given}).output_given for given in (1, 15, 16, 17)]

    assert bounds == [16, 16, 16, 17]
    assert known.of("chat", {"max_tokens": 1}).output_given == 1


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_structured_answer_needs_all_that_its_caller_gave(known: KnownTerms, name: str) -> None:
    assert known.of("chat", {name: 900, "response_format": {"type": "json_object"}}).output_min == 900
    assert known.of("responses", {"max_output_tokens": 5, "text_format": Structured}).output_min == 16


def test_a_structured_answer_without_a_bound_needs_the_floor(known: KnownTerms) -> None:
    assert known.of("chat", {"response_format": {"type": "json_object"}}).output_min == OUTPUT_FLOOR


class Structured(BaseModel):
    city: str


@pytest.mark.parametrize(("given", "kept"), [(3, 3), (0, None), (-1, None), (True, None), (None, None)])
def test_a_number_of_tool_calls_is_of_a_response_and_above_zero(
    known: KnownTerms, given: object, kept: int | None
) -> None:
    assert known.of("responses", {"max_tool_calls": given}).tool_calls_max == kept
    assert known.of("chat", {"max_tool_calls": given}).tool_calls_max is None
