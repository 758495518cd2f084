"""A structured prompt: what is fixed comes first and never changes, and what is wrong is said when it is made."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import pytest
from prompt.structured.kinds import Cat, Dog, Everything, Node
from pydantic import AliasChoices, BaseModel, Field

from tokenguard.errors import SetupError
from tokenguard.prompt.structured.prompts import Example, StructuredPrompt


class Ticket(BaseModel):
    category: Literal["billing", "bug"]
    urgency: int = Field(ge=1, le=5)
    tags: list[str] = []


def made(**parts: Any) -> StructuredPrompt[Any]:
    return StructuredPrompt(**{"name": "triage", "task": "Classify the ticket.", "output": Ticket, **parts})


FULL = made(
    role="support triager",
    rules=("Answer from the ticket only.", "Never guess."),
    examples=(Example("I was charged twice.", Ticket(category="billing", urgency=3)),),
    variables=("ticket",),
)


def test_the_sections_come_in_one_order_and_the_variables_last() -> None:
    rendered = FULL.render(ticket="It crashes.")

    assert rendered.prefix == (
        "Role: support triager\n"
        "Task: Classify the ticket.\n"
        "Rules:\n- Answer from the ticket only.\n- Never guess.\n"
        "Answer only with compact JSON:\n"
        '{\ncategory:"billing"|"bug"\nurgency:int(1..5)\ntags?:string[]\n}\n'
        "Examples:\n"
        'Input: I was charged twice.\nOutput: {"category":"billing","urgency":3}'
    )
    assert rendered.messages == (
        {"role": "system", "content": rendered.prefix},
        {"role": "user", "content": "It crashes."},
    )


def test_sections_without_anything_to_say_are_left_out() -> None:
    assert made(style="line").prefix == (
        "Task: Classify the ticket.\nAnswer only with compact JSON:\n"
        "{category:billing|bug,urgency:int(1..5),tags?:string[]}"
    )


def test_the_fixed_part_is_the_same_bytes_in_every_call_and_its_id_says_so() -> None:
    one, two = FULL.render(ticket="a"), FULL.render(ticket="b")
    other = made()

    assert (one.prefix, one.prompt_id) == (two.prefix, two.prompt_id)
    assert one.prompt_id.startswith("triage@")
    assert other.prompt_id != one.prompt_id
    assert repr(FULL) == f"StructuredPrompt({FULL.prompt_id}, output=Ticket)"


def test_the_bound_of_an_answer_comes_from_the_schema_unless_it_is_given() -> None:
    rendered = FULL.render(ticket="a")

    assert rendered.max_tokens == FULL.max_tokens()
    assert made(max_tokens=77).render(any_name="a").max_tokens == 77
    assert rendered.stop == ("\n\n\n",)


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"ticket": "plain"}, "plain"),
        ({"ticket": ""}, "(empty)"),
        ({"ticket": {"id": 7, "day": dt.date(2026, 1, 2)}}, '{"id":7,"day":"2026-01-02"}'),
        ({"ticket": Cat(lives=3)}, '{"kind":"cat","lives":3}'),
        ({"subject": "a", "body": ["b"]}, 'subject: a\nbody: ["b"]'),
        ({}, "Begin."),
    ],
)
def test_one_variable_is_the_users_text_and_several_have_their_names(variables: dict[str, Any], text: str) -> None:
    assert made().render(**variables).messages[1]["content"] == text


def test_declared_variables_are_written_in_their_order() -> None:
    both = made(variables=("subject", "body"))

    assert both.render(body="b", subject="a").messages[1]["content"] == "subject: a\nbody: b"


def test_an_example_of_several_variables_is_written_as_they_are() -> None:
    example = Example({"subject": "Bill", "body": "Twice."}, {"category": "billing", "urgency": 1})

    assert (
        "Input: subject: Bill\nbody: Twice.\nOutput: {"
        in made(variables=("subject", "body"), examples=[example]).prefix
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "misses ticket: its variables are ticket"),
        ({"ticket": "a", "tone": "b"}, "has no variable tone"),
        ({"ticket": object()}, "ticket= of prompt 'triage' cannot be written as JSON"),
    ],
)
def test_variables_that_do_not_fit_are_refused_with_a_sentence(variables: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        FULL.render(**variables)


def test_an_option_is_not_taken_for_a_variable_unless_it_was_declared() -> None:
    with pytest.raises(SetupError, match=r"given temperature=, which is an option of LiteLLM"):
        made().render(ticket="a", temperature=0)

    assert made(variables=("user",)).render(user="Ada").messages[1]["content"] == "Ada"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"name": "two words"}, "name='two words'"),
        ({"name": "a@b"}, "name='a@b'"),
        ({"name": ""}, "name=''"),
        ({"task": " "}, "has no task"),
        ({"rules": "one"}, r"rules='one' .* is one text: give a tuple"),
        ({"variables": "ticket"}, "variables='ticket' .* is one text"),
        ({"variables": ("model",)}, "variables='model' .* arguments of guard.ask itself"),
        ({"variables": ("two words",)}, "give a Python name"),
        ({"style": "xml"}, 'give "typescript" or "line"'),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"max_tokens": True}, "max_tokens=True"),
        (
            {"examples": (Example("a", {"category": "money", "urgency": 1}),)},
            "example 1 of prompt 'triage' does not fit Ticket: category",
        ),
        ({"examples": (Example("a", Ticket.model_construct(category="x", urgency=9)),)}, "example 1"),
        (
            {"examples": (Example({"subject": "a"}, Ticket(category="bug", urgency=1)),), "variables": ("ticket",)},
            "misses ticket",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_prompt_that_cannot_be_meant_fails_when_it_is_made(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        made(**parts)


def test_examples_teach_the_names_that_are_asked_for() -> None:
    class Aliased(BaseModel):
        customer: int = Field(alias="customerId")

    class Differently(BaseModel):
        customer: int = Field(validation_alias="customerId", serialization_alias="customer_id")

    assert 'Output: {"customerId":1}' in made(output=Aliased, examples=[Example("a", Aliased(customerId=1))]).prefix
    with pytest.raises(SetupError, match="example 1"):
        made(output=Differently, examples=[Example("a", Differently(customerId=1))])


def test_an_example_leaves_out_what_is_the_default_and_keeps_tags() -> None:
    class Owner(BaseModel):
        pets: list[Cat | Dog]
        best: Cat | None = None
        by_name: dict[str, Cat] = Field(default_factory=dict)
        home: tuple[int, int] = (0, 0)

    def output(owner: Owner) -> str:
        return made(output=Owner, examples=[Example("a", owner)]).prefix.rpartition("Output: ")[2]

    assert output(Owner(pets=[Cat(), Cat(lives=3), Dog(kind="dog", good=False)])) == (
        '{"pets":[{"kind":"cat"},{"kind":"cat","lives":3},{"kind":"dog","good":false}]}'
    )
    assert output(Owner(pets=[], best=Cat(), by_name={"Tom": Cat()}, home=(1, 2))) == (
        '{"pets":[],"best":{"kind":"cat"},"by_name":{"Tom":{"kind":"cat"}},"home":[1,2]}'
    )


def test_an_example_that_reads_differently_is_still_one_that_fits() -> None:
    class Odd(BaseModel):
        value: float

        def __eq__(self, other: object) -> bool:
            return False

        __hash__ = None  # type: ignore[assignment]

    assert made(output=Odd, examples=[Example("a", Odd(value=1))]).prefix.endswith('Output: {"value":1.0}')


def test_a_name_that_only_validation_knows_is_written_by_it() -> None:
    class Chosen(BaseModel):
        customer: int = Field(validation_alias=AliasChoices("customer", "id"))

    assert made(output=Chosen, examples=[Example("a", {"id": 1})]).prefix.endswith('{"customer":1}')


@pytest.mark.parametrize("output", [Everything, Node])
@pytest.mark.parametrize("style", ["typescript", "line"])
def test_any_model_makes_a_prompt(output: Any, style: str) -> None:
    assert made(output=output, style=style).render(text="a").max_tokens >= 48
