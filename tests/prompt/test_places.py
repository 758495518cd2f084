"""Where tool results stand in a prompt, in every shape that providers take."""

import copy
from typing import Any

import pytest

from tokenguard.prompt.places import places, written

CHAT: list[Any] = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "look"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "the file"},
    {"role": "tool", "tool_call_id": "c9", "content": [{"type": "text", "text": "part"}, {"type": "image_url"}]},
    {"role": "function", "name": "old", "content": "legacy"},
]
BLOCKS: list[Any] = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "grep", "input": {}}]},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what the user wrote"},
            {"type": "tool_result", "tool_use_id": "t1", "content": "one line"},
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "in parts"}]},
        ],
    },
]
ITEMS: list[Any] = [
    {"type": "function_call", "call_id": "f1", "name": "query", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "f1", "output": "rows"},
    {"type": "custom_tool_call_output", "call_id": "f2", "output": [{"type": "input_text", "text": "more"}]},
]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (CHAT, [(3, "read", "the file"), (4, "", "part"), (5, "old", "legacy")]),
        (BLOCKS, [(1, "grep", "one line"), (1, "grep", "in parts")]),
        (ITEMS, [(1, "query", "rows"), (2, "", "more")]),
    ],
    ids=["chat", "blocks", "responses"],
)
def test_the_texts_of_tools_are_found_with_their_names(
    messages: list[Any], expected: list[tuple[int, str, str]]
) -> None:
    found = [(one.message, one.tool, one.text) for one in places(messages)]

    assert found == expected


@pytest.mark.parametrize("messages", [CHAT, BLOCKS, ITEMS], ids=["chat", "blocks", "responses"])
def test_other_texts_go_into_a_copy_that_shares_the_rest(messages: list[Any]) -> None:
    before = copy.deepcopy(messages)
    changed: dict[int, Any] = {}
    for one in places(messages):
        changed.setdefault(one.message, {})[one.path] = one.text.upper()

    new = written(messages, changed)

    assert messages == before
    assert [one.text for one in places(new)] == [one.text.upper() for one in places(messages)]
    assert all(new[at] is message for at, message in enumerate(messages) if at not in changed)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "what a user wrote"},
        {"role": "assistant", "content": "what the model said"},
        {"role": "tool", "content": None},
        {"role": "tool", "content": [{"type": "image_url", "image_url": {"url": "data:"}}, "loose", 3]},
        {"role": "user", "content": [{"type": "tool_result", "content": None}, "loose"]},
        {"type": "function_call_output", "output": {"odd": 1}},
        {"type": "image_generation_call", "result": "abc"},
        "a string",
        None,
    ],
)
def test_what_is_no_text_of_a_tool_is_passed_over(message: Any) -> None:
    assert list(places([message])) == []
