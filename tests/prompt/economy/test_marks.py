from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt.economy.rates import INPUT, rates

from tokenguard.core.marks import cache_life
from tokenguard.prompt.economy import CachePrices, hour_pays, mark, marking_pays

CLAUDE = rates(marked="marks", dialect="cache_control", write_1h=2 * INPUT)
GPT = rates(dialect="prompt_cache_breakpoint")
SIGN = {"type": "ephemeral"}
CALL = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "You are an agent."},
    {"role": "user", "content": "Fix it."},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "the file"},
]
SIZES = [2_000, 500, 100, 900]
TOOLS = [{"type": "function", "function": {"name": "read"}}, {"type": "function", "function": {"name": "write"}}]


def marked(messages: list[Any], prices: CachePrices = CLAUDE, sizes: list[int] | None = None, **options: Any) -> Any:
    return mark(messages, sizes or [2_000] * len(messages), prices, **options)


def test_a_conversation_is_marked_after_tools_system_the_last_stable_turn_and_at_the_end() -> None:
    found = mark(TALK, SIZES, CLAUDE, tools=TOOLS, tools_tokens=1_500)

    assert found.places == (-1, 0, 1, 3)
    assert found.messages[3] == {**TALK[3], "cache_control": SIGN}
    assert found.tools == [TOOLS[0], {**TOOLS[1], "cache_control": SIGN}]


def test_what_carries_no_mark_is_the_callers_own_object_and_nothing_of_it_changes() -> None:
    before = copy.deepcopy((TALK, TOOLS))

    found = mark(TALK, SIZES, CLAUDE, tools=TOOLS, tools_tokens=1_500)

    assert before == (TALK, TOOLS)
    assert found.messages[2] is TALK[2]
    assert found.tools is not None
    assert found.tools[0] is TOOLS[0]
    assert [message["content"] for message in found.messages] == [message["content"] for message in TALK]


def test_a_list_of_parts_is_marked_on_its_last_part() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    message = {"role": "user", "content": [{"type": "text", "text": "see"}, image]}

    found = marked([message])

    assert found.messages[0]["content"] == [message["content"][0], {**image, "cache_control": SIGN}]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": ""},
        {"role": "user", "content": []},
        {"role": "user", "content": [{"type": "text", "text": ""}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "user", "content": ["a bare text"]},
        "no message at all",
    ],
)
def test_a_message_without_a_place_for_a_mark_is_passed_over(message: Any) -> None:
    assert marked([TALK[0], message]).places == (0,)
    assert marked([message]).messages == [message]


def test_places_below_the_minimum_are_left_out() -> None:
    assert mark(TALK, [900, 100, 20, 10], CLAUDE, tools=TOOLS, tools_tokens=5).places == (3,)
    assert mark(TALK, [500, 100, 20, 10], CLAUDE, tools=TOOLS, tools_tokens=5).messages is TALK
    assert mark(TALK, SIZES, CLAUDE, tools=TOOLS, tools_tokens=1_023).places == (0, 1, 3)


def test_a_request_that_carries_a_mark_anywhere_is_left_to_its_author() -> None:
    own = {"type": "text", "text": "hello", "cache_control": SIGN}
    carriers: list[dict[str, Any]] = [
        {"role": "user", "content": "hello", "cache_control": SIGN},
        {"role": "user", "content": [own]},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "cache_control": SIGN}]},
        {"role": "user", "content": [{"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
    ]
    messages = [[*TALK, carrier] for carrier in carriers]

    assert [marked(one).messages is one for one in messages] == [True] * 4
    assert marked(TALK, tools=[{"function": {"name": "x", "cache_control": SIGN}}]).places == ()


def test_gpt_marks_parts_and_leaves_the_end_to_openai() -> None:
    found = mark(TALK, SIZES, GPT, tools=TOOLS, tools_tokens=1_500)

    assert found.places == (0, 1)
    assert found.tools is TOOLS
    sign = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    assert found.messages[0]["content"] == [{"type": "text", "text": "You are an agent.", **sign}]


def test_gpt_marks_the_last_part_that_may_carry_a_mark() -> None:
    odd = {"type": "refusal", "refusal": "no"}
    parts = {"role": "system", "content": [{"type": "text", "text": "rules"}, odd]}
    nothing = {"role": "system", "content": [odd]}

    found = marked([parts], GPT)

    assert found.messages[0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert found.messages[0]["content"][1] is odd
    assert marked([nothing], GPT).places == ()
    assert marked([{"role": "system", "content": ""}], GPT).places == ()


def test_providers_that_cache_by_themselves_get_no_marks() -> None:
    assert marked(TALK, rates()).messages is TALK


def test_an_hour_is_asked_for_only_where_it_is_sold() -> None:
    hour = marked(TALK, life="1h", reuses_permille=2_000)
    five = marked(TALK, rates(marked="marks", dialect="cache_control"), life="1h")

    assert [cache_life(message) for message in hour.messages] == ["1h", "1h", None, "1h"]
    assert cache_life(five.messages[0]) == "5m"


@pytest.mark.parametrize(("write", "first"), [(125, 278), (200, 1_112), (100, 1)])
def test_marking_pays_from_so_many_reuses_on(write: int, first: int) -> None:
    prices = rates(write)

    assert marking_pays(prices, first)
    assert not marking_pays(prices, first - 1)


def test_a_prompt_that_is_sent_once_is_not_marked() -> None:
    assert marked(TALK, reuses_permille=0).messages is TALK
    assert marked(TALK, reuses_permille=1_000).places
    assert not marked(TALK, reuses_permille=1_000, life="1h").places


def test_an_hour_pays_from_a_share_of_long_pauses_on() -> None:
    # 0.75 / 1.15 = 0.65 of the new tokens over the prefix: 65 of a thousand turns at a tenth.
    pauses = {"growth": 1_000, "prefix": 10_000}

    assert hour_pays(CLAUDE, hour_gaps_permille=66, **pauses)
    assert not hour_pays(CLAUDE, hour_gaps_permille=65, **pauses)
    assert not hour_pays(rates(), hour_gaps_permille=1_000, **pauses)


PARTS = st.lists(
    st.sampled_from([{"type": "text", "text": "words"}, {"type": "text", "text": ""}, {"type": "image_url"}]),
    max_size=3,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
            "content": st.none() | st.sampled_from(["", "words"]) | PARTS,
        }
    ),
    max_size=12,
)


@given(MESSAGES, st.sampled_from([CLAUDE, GPT]), st.integers(0, 3_000))
def test_there_are_never_more_than_four_marks_and_no_text_changes(
    messages: list[dict[str, Any]], prices: CachePrices, tools_tokens: int
) -> None:
    found = mark(messages, [500] * len(messages), prices, tools=TOOLS, tools_tokens=tools_tokens)

    assert len(found.places) <= 4
    assert [texts(one) for one in found.messages] == [texts(one) for one in messages]
    assert sum(one is not other for one, other in zip(found.messages, messages, strict=True)) == sum(
        place >= 0 for place in found.places
    )


def texts(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or () if part["type"] == "text"]
