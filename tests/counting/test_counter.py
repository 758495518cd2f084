"""What a prompt can cost at most, and what a text comes to."""

import pytest
from counting.prompts import CLAUDE, HELLO, OPENAI, nested
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.core.ports import InputBound, TokenCounter
from tokenguard.counting import Counter, is_heavy


def test_a_counter_keeps_the_promise_of_the_port() -> None:
    counter: TokenCounter = Counter()

    bound = counter.bound(OPENAI, HELLO)

    assert isinstance(bound, InputBound)


def test_an_openai_model_is_bounded_by_its_tokenizer_and_allowances() -> None:
    bound = Counter().bound(OPENAI, HELLO)

    assert bound == InputBound(64 + 16 + 8, "tokenizer")  # 7 tokens x 1.05, rounded up


def test_every_other_model_is_bounded_by_bytes() -> None:
    bound = Counter().bound(CLAUDE, [{"role": "user", "content": "Grüße"}])

    assert bound == InputBound(64 + 16 + 7, "bytes")


def test_tool_schemas_are_counted_by_the_bytes_of_their_json() -> None:
    counter = Counter()
    tools = [{"type": "function", "function": {"name": "read"}}]

    without, with_tools = counter.bound(OPENAI, HELLO), counter.bound(OPENAI, HELLO, tools)

    assert without is not None
    assert with_tools is not None
    assert with_tools.tokens - without.tokens == 600 + len('[{"type":"function","function":{"name":"read"}}]')


def test_tool_calls_and_their_results_are_counted() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path": "' + "a" * 200 + '"}'}}
    ]
    messages = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "b" * 300},
        {"role": "assistant", "function_call": {"name": "read", "arguments": "c" * 100}},
    ]

    bound = Counter().bound(CLAUDE, messages)

    assert bound is not None
    assert bound.tokens > 600


def test_text_parts_are_counted_like_plain_text() -> None:
    parts = [{"type": "text", "text": "Hello there, "}, {"type": "text", "text": "how are you?"}]

    bound = Counter().bound(CLAUDE, [{"role": "user", "content": parts}])

    assert bound == InputBound(64 + 16 + 25 + 1, "bytes")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "document", "source": {"type": "base64", "data": "AAAA"}},
        {"type": "tool_result", "content": [{"type": "image", "source": {}}]},
        {"type": ["not", "a", "name"]},
        {"type": "tool_result", "content": nested(150)},
        {"type": "text", "text": "recording", "audio": {"id": "audio_1"}},
        {"type": "invented_tomorrow"},
    ],
)
def test_a_part_that_cannot_be_seen_has_no_bound(part: dict[str, object]) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Look:"}, part]}]

    bound = Counter().bound(OPENAI, messages)

    assert bound is None


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "rs_1"},
        {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "data:"}},
        {"role": "assistant", "audio": {"id": "audio_1"}},
    ],
)
def test_an_item_that_a_provider_stores_has_no_bound(item: dict[str, object]) -> None:
    bound = Counter().bound_input(OPENAI, [item])

    assert bound is None


def test_the_input_of_the_responses_api_is_a_string_or_items() -> None:
    counter = Counter()

    text = counter.bound_input(CLAUDE, "Hello there, how are you?", instructions="Be brief.")
    items = counter.bound_input(
        CLAUDE,
        [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "1", "name": "read", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "x" * 100},
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        ],
    )

    assert text == InputBound(64 + 16 + 9 + 16 + 25, "bytes")
    assert items is not None
    assert items.tokens > 64 + 4 * 16 + 102


def test_the_input_of_embeddings_is_texts_or_token_ids() -> None:
    counter = Counter()

    texts = counter.bound_input("text-embedding-3-small", ["Hello there", "how are you?"])
    ids = counter.bound_input("text-embedding-3-small", [1, 2, 3, 4])
    lists = counter.bound_input(CLAUDE, [[1, 2, 3], [40, 50]])

    assert texts == InputBound(64 + 2 * 16 + 3 + 5, "tokenizer")
    assert ids is not None
    assert ids.tokens >= 64 + 16 + 4
    assert lists == InputBound(64 + 2 * 16 + len("[1,2,3]") + len("[40,50]"), "bytes")


def test_one_text_alone_has_a_bound() -> None:
    counter = Counter()

    assert counter.bound_text(OPENAI, "Hello there") == InputBound(64 + 16 + 3, "tokenizer")
    assert counter.bound_text(CLAUDE, "Hello there") == InputBound(64 + 16 + 11, "bytes")


def test_a_delivered_text_is_counted_exactly_where_the_tokenizer_is_known() -> None:
    assert Counter().count(OPENAI, "Hello there, how are you?") == 7


def test_a_delivered_text_is_estimated_high_where_it_is_not() -> None:
    assert Counter().count(CLAUDE, "Hello there, how are you?") == 10  # 7 x 1.4, rounded up


def test_an_empty_text_is_nothing() -> None:
    assert Counter().count(OPENAI, "") == 0
    assert Counter().count(CLAUDE, "") == 0


def test_heavy_is_decided_by_lengths_alone() -> None:
    light = [{"role": "user", "content": "x" * 49_000}]

    assert not is_heavy(light)
    assert is_heavy([*light, {"role": "user", "content": [{"type": "text", "text": "x" * 2_000}]}])
    assert is_heavy([*light, {"role": "assistant", "tool_calls": [{"function": {"arguments": "x" * 2_000}}]}])
    assert is_heavy("x" * 50_001)
    assert is_heavy(["x" * 30_000, "x" * 30_000])
    assert is_heavy([{"role": "user", "content": ("x" * 30_000, {"text": "x" * 30_000})}])
    assert not is_heavy(None)
    assert not is_heavy([{"role": "user", "content": [[[[["x" * 60_000]]]]]}])
    assert Counter().is_heavy("x" * 50_001)


def test_warming_says_how_a_model_is_bounded() -> None:
    counter = Counter()

    assert counter.warm(OPENAI) == "tokenizer"
    assert counter.warm(CLAUDE) == "bytes"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_no_text_has_more_tokens_than_its_bound_or_its_bytes(text: str) -> None:
    counter = Counter()

    tokens = counter.count(OPENAI, text)

    assert tokens <= len(text.encode("utf-8", "surrogatepass"))
    assert tokens + 80 <= counter.bound_text(OPENAI, text).tokens
