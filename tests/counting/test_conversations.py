"""What the counter remembers of conversations: reports, the messages they cover, and how long."""

from counting.prompts import CLAUDE, HELLO, OPENAI
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.core.ports import InputBound
from tokenguard.counting import Counter


def test_a_conversation_that_extends_a_reported_one_costs_the_report_and_its_new_messages() -> None:
    counter = Counter()
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=1_000)

    bound = counter.bound(CLAUDE, [*HELLO, {"role": "assistant", "content": "Fine."}])

    assert bound == InputBound(1_000 + 5 + 16, "reported+new")


def test_a_report_counts_only_for_the_same_model_and_the_same_tools() -> None:
    counter = Counter()
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=1_000)

    other_model = counter.bound("anthropic/claude-opus-4-5", HELLO)
    other_tools = counter.bound(CLAUDE, HELLO, [{"name": "read"}])

    assert other_model is not None
    assert other_model.method == "bytes"
    assert other_tools is not None
    assert other_tools.method == "bytes"


def test_the_deepest_report_on_the_path_is_used() -> None:
    counter = Counter()
    longer = [*HELLO, {"role": "assistant", "content": "Fine."}]
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=10)
    counter.learn(counter.read(CLAUDE, longer), HELLO[0], tokens=20)

    bound = counter.bound(CLAUDE, [*longer, {"role": "user", "content": "OK"}])

    assert bound == InputBound(20 + 16 + 2, "reported+new")


def test_a_message_changed_in_place_is_counted_again() -> None:
    counter = Counter()
    message = {"role": "user", "content": "short"}
    counter.learn(counter.read(CLAUDE, [message]), None, tokens=7)
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


def test_values_that_cannot_be_compared_are_counted_again() -> None:
    class Odd(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

    counter = Counter()
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=9)

    bound = counter.bound(CLAUDE, [{"role": "user", "content": Odd("Hello there, how are you?")}])

    assert bound is not None
    assert bound.method == "bytes"


def test_two_conversations_that_branch_do_not_disturb_each_other() -> None:
    counter = Counter()
    left, right = [*HELLO, {"role": "user", "content": "left"}], [*HELLO, {"role": "user", "content": "right!"}]
    counter.learn(counter.read(CLAUDE, left), None, tokens=100)

    bounds = [counter.bound(CLAUDE, one) for one in (right, left, right)]

    assert [bound and (bound.tokens, bound.method) for bound in bounds] == [
        (64 + 16 + 25 + 16 + 6, "bytes"),
        (100, "reported+new"),
        (64 + 16 + 25 + 16 + 6, "bytes"),
    ]


def test_a_responses_input_learns_like_a_conversation() -> None:
    counter = Counter()
    counter.learn(counter.read_input(CLAUDE, "Hello", instructions="Be brief."), None, tokens=33)

    bound = counter.bound_input(CLAUDE, "Hello", instructions="Be brief.")

    assert bound == InputBound(33, "reported+new")


def test_a_report_that_covers_an_image_makes_the_conversation_countable_again() -> None:
    counter = Counter()
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}
    counter.learn(counter.read(OPENAI, [image]), None, tokens=1_200)

    bound = counter.bound(OPENAI, [image, {"role": "assistant", "content": "A cat"}])
    second_image = counter.bound(OPENAI, [image, image])

    assert bound == InputBound(1_200 + 16 + 3, "reported+new")
    assert second_image is None


def test_a_report_above_the_bound_widens_that_models_margin() -> None:
    counter = Counter()
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=315)  # three times the bound of 105

    bound = counter.bound(CLAUDE, [{"role": "user", "content": "Another question, twenty-five"}])
    other = counter.bound("anthropic/claude-opus-4-5", HELLO)

    assert bound is not None
    assert bound.tokens > 3 * (64 + 16 + 29)
    assert other == InputBound(105, "bytes")


def test_a_report_above_a_reported_bound_widens_by_the_new_messages_alone() -> None:
    counter = Counter()
    longer = [*HELLO, {"role": "user", "content": "x" * 84}]
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=50)
    counter.learn(counter.read(CLAUDE, longer), None, tokens=50 + 200)

    bound = counter.bound(CLAUDE, [*longer, {"role": "user", "content": "y" * 84}])

    assert bound is not None
    assert 250 + 200 <= bound.tokens <= 250 + 230


def test_of_two_reports_on_one_prompt_the_dearer_stands() -> None:
    counter = Counter()
    for tokens in (90, 120, 100):
        counter.learn(counter.read(CLAUDE, HELLO), None, tokens=tokens)

    bound = counter.bound(CLAUDE, HELLO)

    assert bound == InputBound(120, "reported+new")


def test_a_report_of_nothing_teaches_nothing() -> None:
    counter = Counter()
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=0)

    bound = counter.bound(CLAUDE, HELLO)

    assert bound == InputBound(105, "bytes")


def test_any_number_of_model_names_can_be_counted_for() -> None:
    counter = Counter(nodes_max=100)

    methods = {bound.method for n in range(4_200) if (bound := counter.bound(f"hosted_vllm/m{n}", HELLO))}

    assert methods == {"bytes"}
    assert len(counter._methods) < 4_200


def test_memory_is_bounded_and_what_was_forgotten_is_counted_again() -> None:
    counter = Counter(nodes_max=50, characters_max=10_000)
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=9)
    for number in range(500):
        counter.bound(CLAUDE, [{"role": "user", "content": f"question {number}"}])

    bound = counter.bound(CLAUDE, HELLO)

    assert len(counter._known) <= 100
    assert bound == InputBound(105, "bytes")


def test_a_conversation_in_use_is_not_forgotten() -> None:
    counter = Counter(nodes_max=50)
    counter.learn(counter.read(CLAUDE, HELLO), None, tokens=9)
    for number in range(500):
        counter.bound(CLAUDE, [{"role": "user", "content": f"question {number}"}])
        counter.bound(CLAUDE, HELLO)

    bound = counter.bound(CLAUDE, HELLO)

    assert bound == InputBound(9, "reported+new")


conversations = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text(max_size=200)}),
    max_size=8,
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
