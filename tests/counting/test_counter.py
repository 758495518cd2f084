"""What a prompt can cost at most, and what a text comes to."""

from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.core.ports import InputBound, TokenCounter
from tokenguard.counting import Counter, is_heavy
from tokenguard.errors import SetupError

OPENAI = "openai/gpt-5-mini"
CLAUDE = "anthropic/claude-sonnet-4-5"


def _nested(levels: int) -> object:
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


HELLO = [{"role": "user", "content": "Hello there, how are you?"}]


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


def test_a_conversation_that_extends_a_reported_one_costs_the_report_and_its_new_messages() -> None:
    counter = Counter()
    counter.learn(CLAUDE, HELLO, None, None, tokens=1_000)

    bound = counter.bound(CLAUDE, [*HELLO, {"role": "assistant", "content": "Fine."}])

    assert bound == InputBound(1_000 + 5 + 16, "reported+new")


def test_a_report_counts_only_for_the_same_model_and_the_same_tools() -> None:
    counter = Counter()
    counter.learn(CLAUDE, HELLO, None, None, tokens=1_000)

    other_model = counter.bound("anthropic/claude-opus-4-5", HELLO)
    other_tools = counter.bound(CLAUDE, HELLO, [{"name": "read"}])

    assert other_model is not None
    assert other_model.method == "bytes"
    assert other_tools is not None
    assert other_tools.method == "bytes"


def test_the_deepest_report_on_the_path_is_used() -> None:
    counter = Counter()
    longer = [*HELLO, {"role": "assistant", "content": "Fine."}]
    counter.learn(CLAUDE, HELLO, None, None, tokens=10)
    counter.learn(CLAUDE, longer, None, HELLO[0], tokens=20)

    bound = counter.bound(CLAUDE, [*longer, {"role": "user", "content": "OK"}])

    assert bound == InputBound(20 + 16 + 2, "reported+new")


def test_a_message_changed_in_place_is_counted_again() -> None:
    counter = Counter()
    message = {"role": "user", "content": "short"}
    counter.learn(CLAUDE, [message], None, None, tokens=7)
    message["content"] = "x" * 500

    bound = counter.bound(CLAUDE, [message])

    assert bound == InputBound(64 + 16 + 500, "bytes")


def test_a_nested_value_changed_in_place_is_counted_again() -> None:
    counter = Counter()
    call = {"id": "1", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    before = counter.bound(CLAUDE, [message])
    call["function"] = {"name": "read", "arguments": "x" * 300}

    after = counter.bound(CLAUDE, [message])

    assert before is not None
    assert after is not None
    assert after.tokens > before.tokens + 290


def test_two_conversations_that_branch_do_not_disturb_each_other() -> None:
    counter = Counter()
    left, right = [*HELLO, {"role": "user", "content": "left"}], [*HELLO, {"role": "user", "content": "right!"}]
    counter.learn(CLAUDE, left, None, None, tokens=100)

    bounds = [counter.bound(CLAUDE, one) for one in (right, left, right)]

    assert [bound and (bound.tokens, bound.method) for bound in bounds] == [
        (64 + 16 + 25 + 16 + 6, "bytes"),
        (100, "reported+new"),
        (64 + 16 + 25 + 16 + 6, "bytes"),
    ]


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
        {"type": "tool_result", "content": _nested(150)},
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


def test_a_report_that_covers_an_image_makes_the_conversation_countable_again() -> None:
    counter = Counter()
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}
    counter.learn(OPENAI, [image], None, None, tokens=1_200)

    bound = counter.bound(OPENAI, [image, {"role": "assistant", "content": "A cat"}])
    second_image = counter.bound(OPENAI, [image, image])

    assert bound == InputBound(1_200 + 16 + 3, "reported+new")
    assert second_image is None


def test_a_report_above_the_bound_widens_that_models_margin() -> None:
    counter = Counter()
    counter.learn(CLAUDE, HELLO, None, None, tokens=315)  # three times the bound of 105

    bound = counter.bound(CLAUDE, [{"role": "user", "content": "Another question, twenty-five"}])
    other = counter.bound("anthropic/claude-opus-4-5", HELLO)

    assert bound is not None
    assert bound.tokens > 3 * (64 + 16 + 29)
    assert other == InputBound(105, "bytes")


def test_a_report_above_a_reported_bound_widens_by_the_new_messages_alone() -> None:
    counter = Counter()
    longer = [*HELLO, {"role": "user", "content": "x" * 84}]
    counter.learn(CLAUDE, HELLO, None, None, tokens=50)
    counter.learn(CLAUDE, longer, None, None, tokens=50 + 200)

    bound = counter.bound(CLAUDE, [*longer, {"role": "user", "content": "y" * 84}])

    assert bound is not None
    assert 250 + 200 <= bound.tokens <= 250 + 230


def test_of_two_reports_on_one_prompt_the_dearer_stands() -> None:
    counter = Counter()
    for tokens in (90, 120, 100):
        counter.learn(CLAUDE, HELLO, None, None, tokens=tokens)

    bound = counter.bound(CLAUDE, HELLO)

    assert bound == InputBound(120, "reported+new")


def test_any_number_of_model_names_can_be_counted_for() -> None:
    counter = Counter(nodes_max=100)

    methods = {bound.method for n in range(4_200) if (bound := counter.bound(f"hosted_vllm/m{n}", HELLO))}

    assert methods == {"bytes"}
    assert len(counter._methods) < 4_200


def test_a_report_of_nothing_teaches_nothing() -> None:
    counter = Counter()
    counter.learn(CLAUDE, HELLO, None, None, tokens=0)

    bound = counter.bound(CLAUDE, HELLO)

    assert bound == InputBound(105, "bytes")


def test_memory_is_bounded_and_what_was_forgotten_is_counted_again() -> None:
    counter = Counter(nodes_max=50, characters_max=10_000)
    counter.learn(CLAUDE, HELLO, None, None, tokens=9)
    for number in range(500):
        counter.bound(CLAUDE, [{"role": "user", "content": f"question {number}"}])

    bound = counter.bound(CLAUDE, HELLO)

    assert len(counter._known) <= 100
    assert bound == InputBound(105, "bytes")


def test_a_conversation_in_use_is_not_forgotten() -> None:
    counter = Counter(nodes_max=50)
    counter.learn(CLAUDE, HELLO, None, None, tokens=9)
    for number in range(500):
        counter.bound(CLAUDE, [{"role": "user", "content": f"question {number}"}])
        counter.bound(CLAUDE, HELLO)

    bound = counter.bound(CLAUDE, HELLO)

    assert bound == InputBound(9, "reported+new")


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


def test_a_responses_input_learns_like_a_conversation() -> None:
    counter = Counter()
    counter.learn_input(CLAUDE, "Hello", instructions="Be brief.", tokens=33)

    bound = counter.bound_input(CLAUDE, "Hello", instructions="Be brief.")

    assert bound == InputBound(33, "reported+new")


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


def test_texts_that_look_like_special_tokens_are_plain_text() -> None:
    bound = Counter().bound(OPENAI, [{"role": "user", "content": "<|endoftext|><|im_start|>"}])

    assert bound is not None
    assert bound.tokens > 64 + 16 + 5


@pytest.mark.parametrize("text", ["\ud800 lone", "\x00\x07", "👩‍👩‍👧‍👦" * 50, "ﷺ" * 50])
@pytest.mark.parametrize("model", [OPENAI, CLAUDE, "gpt-4-turbo"])
def test_odd_text_is_bounded_too(text: str, model: str) -> None:
    bound = Counter().bound(model, [{"role": "user", "content": text}])

    assert bound is not None
    assert bound.tokens > 80


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["a" * 1_000_000, " " * 1_000_000, "\n" * 300_000, "^" * 300_000, "你" * 100_000])
def test_a_pathological_text_does_not_hang(text: str) -> None:
    bound = Counter().bound(OPENAI, [{"role": "user", "content": text}])

    assert bound is not None
    assert bound.tokens <= 80 + len(text) * 2


def test_a_text_of_ten_megabytes_is_bounded_by_its_bytes() -> None:
    bound = Counter().bound(OPENAI, [{"role": "user", "content": "word " * 2_000_000}])

    assert bound is not None
    assert bound.tokens == 80 + 10_000_000


def test_a_pydantic_message_counts_like_its_dict() -> None:
    class Reply:
        def model_dump(self, *, exclude_none: bool) -> dict[str, str]:
            return {"role": "assistant", "content": "Fine."} if exclude_none else {}

    counter = Counter()

    as_object = counter.bound(CLAUDE, [Reply()])  # type: ignore[list-item]  # what LiteLLM takes, our type does not say
    as_dict = counter.bound(CLAUDE, [{"role": "assistant", "content": "Fine."}])

    assert as_object == as_dict


def test_a_mapping_that_is_no_dict_counts_like_one() -> None:
    counter = Counter()

    frozen = counter.bound(CLAUDE, [MappingProxyType({"role": "user", "content": ({"type": "text", "text": "Hi"},)})])
    plain = counter.bound(CLAUDE, [{"role": "user", "content": "Hi"}])

    assert frozen == plain


def test_values_that_cannot_be_compared_are_counted_again() -> None:
    class Odd(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

    counter = Counter()
    counter.learn(CLAUDE, HELLO, None, None, tokens=9)

    bound = counter.bound(CLAUDE, [{"role": "user", "content": Odd("Hello there, how are you?")}])

    assert bound is not None
    assert bound.method == "bytes"


def _cycle() -> dict[str, object]:
    message: dict[str, object] = {"role": "user"}
    message["content"] = [message]
    return message


def _deep() -> dict[str, object]:
    return {"role": "user", "content": _nested(100_000)}


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ("Hello", "messages is a str, not a list"),
        (None, "messages is a NoneType, not a list"),
        ({"role": "user"}, "messages is a dict, not a list"),
        ([*HELLO, 7], r"messages\[1\] is a int, not a message"),
        ([{"role": "user", "content": b"bytes"}], r"messages\[0\] cannot be written as JSON"),
        ([{"role": "user", "content": {1, 2}}], r"messages\[0\] cannot be written as JSON"),
        ([{"role": "user", "content": [object()]}], "a value of type object"),
        ([_cycle()], "Circular reference"),
        ([_deep()], "nests too deeply"),
    ],
)
def test_messages_that_cannot_be_sent_are_refused_with_a_sentence(messages: object, sentence: str) -> None:
    with pytest.raises(SetupError, match=sentence):
        Counter().bound(CLAUDE, messages)  # type: ignore[arg-type]  # the wrong types are the test


def test_tools_that_cannot_be_sent_are_refused_with_a_sentence() -> None:
    with pytest.raises(SetupError, match="tools cannot be written as JSON"):
        Counter().bound(CLAUDE, HELLO, [object()])


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


texts = st.text(max_size=200)
conversations = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": texts}), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(conversations, st.integers(0, 8), st.sampled_from([OPENAI, CLAUDE]))
def test_counting_in_steps_equals_counting_at_once(conversation: list[dict[str, str]], cut: int, model: str) -> None:
    stepwise, at_once = Counter(), Counter()
    stepwise.bound(model, conversation[:cut])
    stepwise.bound(model, conversation[cut:])

    again = stepwise.bound(model, [dict(message) for message in conversation])
    once = at_once.bound(model, conversation)

    assert again == once


@settings(max_examples=60, deadline=None)
@given(texts)
def test_no_text_has_more_tokens_than_its_bound_or_its_bytes(text: str) -> None:
    counter = Counter()

    tokens = counter.count(OPENAI, text)

    assert tokens <= len(text.encode("utf-8", "surrogatepass"))
    assert tokens + 80 <= counter.bound_text(OPENAI, text).tokens
