"""Prompts that nobody would write: odd, endless, of other types, or impossible to send."""

from types import MappingProxyType

import pytest
from counting.prompts import CLAUDE, HELLO, OPENAI, nested

from tokenguard.counting import Counter
from tokenguard.errors import SetupError


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


def _cycle() -> dict[str, object]:
    message: dict[str, object] = {"role": "user"}
    message["content"] = [message]
    return message


def _deep() -> dict[str, object]:
    return {"role": "user", "content": nested(100_000)}


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
