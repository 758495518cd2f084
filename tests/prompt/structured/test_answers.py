"""Answers that are nearly right are read for nothing; nothing is ever made up."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt.structured.kinds import Cat, Dog, Level
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, field_validator

from tokenguard.prompt.structured.fitting import fitted
from tokenguard.prompt.structured.prompts import StructuredPrompt
from tokenguard.prompt.structured.readings import Problem, Reading
from tokenguard.prompt.structured.shapes import read_schema
from tokenguard.prompt.structured.tolerant import candidates, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
WHOLE = st.lists(JSON) | st.dictionaries(st.text(), JSON)


class Line(BaseModel):
    sku: str
    quantity: int = Field(ge=1)


class Order(BaseModel):
    status: Literal["in progress", "done"]
    lines: list[Line]
    notes: dict[str, int] = {}


def prompt(output: Any) -> StructuredPrompt[Any]:
    return StructuredPrompt(name="order", task="Read the order from the mail.", output=output)


def read(text: str, output: Any = Order, *, cut: bool = False) -> Reading[Any]:
    return prompt(output).read(text, cut=cut)


def only(text: str, *, cut: bool = False) -> tuple[Any, tuple[str, ...]]:
    [one] = candidates(text, cut=cut)
    return one.value, one.repairs


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ('{"a":1}', {"a": 1}, ()),
        ('```json\n{"a":1}\n```', {"a": 1}, ("code fence",)),
        ("```\n[1]", [1], ("code fence",)),
        ('Here it is: {"a":1}. Anything else?', {"a": 1}, ("text around the answer",)),
        ('{"a":[1,2,],}', {"a": [1, 2]}, ("trailing comma",)),
        ("{'a':'it\\'s'}", {"a": "it's"}, ("single quotes",)),
        ("{\"a\":'x'}", {"a": "x"}, ("single quotes",)),
        ('{"a":True,"b":False,"c":None}', {"a": True, "b": False, "c": None}, ("Python's words",)),
        ("{a:1,b-c:true,d:null}", {"a": 1, "b-c": True, "d": None}, ("names without quotes",)),
        ('{"a":1 // one\n,/* two */"b":-2.5e3}', {"a": 1, "b": -2500.0}, ("comments",)),
        ('{"a":"x\ny"}', {"a": "x\ny"}, ("line breaks in a string",)),
        ('{"a":[{"b":1', {"a": [{"b": 1}]}, ("missing brackets at the end",)),
        (r'{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}', {"a": '"\\/\b\f\n\r\té😀'}, ()),
        ("{}", {}, ()),
        ("[ ]", [], ()),
    ],
)
def test_what_is_nearly_json_is_read(text: str, value: Any, repairs: tuple[str, ...]) -> None:
    assert only(text) == (value, repairs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no brackets",
        "{",
        '{"a"',
        '{"a":',
        '{"a":"x',
        '{"a":[1,',
        '{"a":1 "b":2}',
        '{"a" 1}',
        '{"a":01}',
        '{"a":undefined}',
        '{"a":1.2.3}',
        r'{"a":"\x"}',
        r'{"a":"\u12"}',
        '{"a":"x\\',
        "{1:2}",
        "[1/2]",
        '{"a":1,,"b":2}',
        "[" * 200 + "]" * 200,
        "[" + "9" * 5_000 + "]",
        "{'a': 'it's'}",
    ],
)
def test_what_would_have_to_be_guessed_is_not_read(text: str) -> None:
    assert [one for one in candidates(text, cut=True) if one.value] == []


def test_brackets_are_closed_only_where_the_model_said_that_it_was_done() -> None:
    assert list(candidates('{"a":[1,2', cut=True)) == []
    assert only('{"a":[1,2', cut=False)[0] == {"a": [1, 2]}


@pytest.mark.parametrize("text", ["[", "{", '{"a":[', '{"a":{', '[1,{"b":['])
def test_what_was_only_opened_is_not_closed_as_empty(text: str) -> None:
    assert list(candidates(text, cut=False)) == []


def test_a_part_of_a_broken_answer_is_no_answer() -> None:
    assert list(candidates('{"a":1 "b":{"sku":"x","quantity":1}}', cut=False)) == []


def test_models_think_first_and_answer_then() -> None:
    found = [one.value for one in candidates('Maybe {"a":1}, or [set {so}]. No: {"a":2}', cut=False)]

    assert found == [{"a": 2}, {"a": 1}]


@given(WHOLE)
def test_json_is_read_as_json_whatever_stands_around_it(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)

    found = loads(text)
    assert found is not None
    assert found.value == value
    assert only(f"So:\n```json\n{text}\n```\n")[0] == value


@given(st.text(alphabet="{}[]\"':,\\ntrue01.-/*`x ", max_size=200), st.booleans())
def test_no_text_breaks_the_reader(text: str, cut: bool) -> None:  # noqa: FBT001  # hypothesis gives them by place
    for one in candidates(text, cut=cut):
        json.dumps(one.value)


@given(WHOLE, st.integers(min_value=0, max_value=10_000))
def test_an_answer_that_was_cut_anywhere_is_never_read_as_a_shorter_one(value: Any, place: int) -> None:
    text = json.dumps(value)

    assert list(candidates(text[: place % len(text)], cut=True)) == []


@pytest.mark.parametrize(
    "hostile", ["[" * 50_000, '{"a":' * 50_000, "[1," * 50_000, '["' * 50_000, "/*" * 50_000, "{" * 50_000]
)
def test_hostile_text_costs_its_length(hostile: str) -> None:
    assert list(candidates(hostile, cut=True)) == []
    assert loads(hostile) is None


# ---- against the type -----------------------------------------------------------------------------------------------


def test_a_valid_answer_is_its_value_without_repairs() -> None:
    reading = read('{"status":"done","lines":[{"sku":"a","quantity":2}]}')

    assert reading.valid
    assert reading.value == Order(status="done", lines=[Line(sku="a", quantity=2)])
    assert reading.repairs == ()


@pytest.mark.parametrize("said", ["In Progress", "IN_PROGRESS", "in-progress", " in  progress "])
def test_an_enum_in_another_case_is_put_right(said: str) -> None:
    reading = read(json.dumps({"status": said, "lines": []}))

    assert (reading.value.status, reading.repairs) == ("in progress", ("case of an enum",))


def test_the_first_fitting_candidate_counts_the_last_one_first() -> None:
    text = 'Not {"status":"done","lines":[]} but {"status":"in progress","lines":[]} (see [1])'

    assert read(text).value.status == "in progress"


def test_a_strict_model_gets_numbers_out_of_quotes_but_no_more() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        count: int
        ratio: float
        other: float
        price: Decimal
        name: str

    reading = read('{"count":"12","ratio":" 2.50","other":"3","price":"1.10","name":"7"}', Strict)

    assert reading.value == Strict(count=12, ratio=2.5, other=3.0, price=Decimal("1.10"), name="7")
    assert reading.repairs == ("number in quotes",)
    assert not read('{"count":"a dozen","ratio":"2","other":"1e","price":"1","name":"7"}', Strict).valid


def test_digits_of_a_decimal_are_kept() -> None:
    class Priced(BaseModel):
        price: Decimal

    assert read('{"price":"12345678901234567890.12"}', Priced).value.price == Decimal("12345678901234567890.12")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"kind":"CAT","lives":3}', Cat(lives=3)),
        ('{"kind":"Dog"}', Dog(kind="dog")),
    ],
)
def test_the_tag_of_a_union_is_put_right(text: str, value: Any) -> None:
    reading = read(text, TypeAdapter(Cat | Dog))

    assert (reading.value, reading.repairs) == (value, ("case of an enum",))


@pytest.mark.parametrize(
    ("schema", "value", "fit"),
    [
        ({"type": "integer"}, "7", 7),
        ({"type": "integer"}, "7.5", "7.5"),
        ({"type": "integer"}, None, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "7", 7),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "7", "7"),
        ({"anyOf": [{"type": "integer"}, {"enum": ["x"]}]}, "X", "X"),
        ({"enum": [1, 7]}, "7", 7),
        ({"enum": [1, 7]}, "8", "8"),
        ({"enum": ["a", "A"]}, "a ", "a "),
        ({"type": "array", "items": {"type": "integer"}}, ["1", 2], [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, "1", "1"),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, ["1", "2"], [1, "2"]),
        ({"type": "array", "prefixItems": [{"type": "integer"}]}, [], []),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, ["1", "2"], ["1", 2]),
        ({"additionalProperties": {"type": "integer"}, "type": "object"}, {"a": "1"}, {"a": 1}),
        ({"properties": {"a": {"type": "integer"}}}, {"a": "1", "b": "2"}, {"a": 1, "b": "2"}),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"b": "2"}, {"b": 2}),
        ({"properties": {"a": {"type": "integer"}}}, "x", "x"),
        ({"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "integer"}]}, ["1"], [1]),
        (
            {"anyOf": [{"type": "object", "additionalProperties": {"type": "integer"}}, {"type": "integer"}]},
            {"a": "1"},
            {"a": 1},
        ),
        (
            {"anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"type": "integer"}]},
            {"b": "1"},
            {"b": "1"},
        ),
        (
            {"anyOf": [{"properties": {"t": {"const": "x"}, "a": {"type": "integer"}}}, {"type": "integer"}]},
            {"t": "y", "a": "1"},
            {"t": "y", "a": "1"},
        ),
    ],
)
def test_only_the_form_of_a_value_is_bent(schema: dict[str, Any], value: Any, fit: Any) -> None:
    found, repairs = fitted(value, read_schema(schema))

    assert found == fit
    assert bool(repairs) is (found != value)


@given(JSON)
def test_a_value_that_fits_anything_is_never_changed(value: Any) -> None:
    assert fitted(value, read_schema({})) == (value, ())


@pytest.mark.parametrize(
    ("text", "output", "value"),
    [
        ("billing", Literal["billing", "bug"], "billing"),
        ("`Billing`", Literal["billing", "bug"], "billing"),
        ("7", int, 7),
        ("7", Level, Level.HIGH),
        ("It is a cat", str, "It is a cat"),
        ('"quoted"', str, "quoted"),
    ],
)
def test_a_bare_answer_is_one_where_no_object_is_asked_for(text: str, output: Any, value: Any) -> None:
    assert read(text, output).value == value


def test_none_may_be_the_value() -> None:
    reading = read("null", TypeAdapter(int | None))

    assert (reading.value, reading.valid) == (None, True)


# ---- what is said about an answer that does not fit -----------------------------------------------------------------


def test_each_problem_has_its_path_its_rule_and_its_value() -> None:
    reading = read('{"status":"later","lines":[{"sku":"a","quantity":1},{"quantity":0}],"notes":{"secret":"x"}}')

    assert [(one.path, one.place, one.kind, one.value) for one in reading.problems] == [
        ("status", "status", "literal_error", '"later"'),
        ("lines[1].sku", "lines[1].sku", "missing", ""),
        ("lines[1].quantity", "lines[1].quantity", "greater_than_equal", "0"),
        ("notes.secret", "notes.*", "int_parsing", '"x"'),
    ]


def test_a_models_retry_names_the_failing_places_alone() -> None:
    asked = prompt(Order)
    reading = asked.read('{"status":"done","lines":[{"sku":"a","quantity":0}]}')

    assert asked.correction(reading.problems) == (
        "Correct only this, and answer again with the whole JSON:\n"
        "lines[0].quantity: Input should be greater than or equal to 1; got 0"
    )


def test_a_hundred_problems_are_not_all_sent_back() -> None:
    asked = prompt(list[int])
    reading = asked.read(json.dumps(["x"] * 100))

    lines = asked.correction(reading.problems).splitlines()

    assert (len(lines), lines[-1]) == (22, "and 80 more like these")


def test_branches_of_a_union_are_no_part_of_a_path() -> None:
    class Holder(BaseModel):
        pets: list[Cat | Dog]

    reading = read('{"pets":[{"kind":"cat","lives":"many"}]}', Holder)

    assert {one.path for one in reading.problems} == {"pets[0].lives", "pets[0].kind"}


def test_what_two_branches_miss_is_said_once() -> None:
    class One(BaseModel):
        kind: Literal["a"]
        size: int

    class Two(BaseModel):
        kind: Literal["a"]
        size: int
        more: int

    [problem, other] = read('{"kind":"a"}', TypeAdapter(One | Two)).problems

    assert [(one.path, one.kind) for one in (problem, other)] == [("size", "missing"), ("more", "missing")]


def test_a_value_that_is_no_json_any_more_is_not_sent_back() -> None:
    class Turned(BaseModel):
        name: Annotated[str, BeforeValidator(lambda _: object())]

    [problem] = read('{"name":"x"}', Turned).problems

    assert (problem.path, problem.kind, problem.value) == ("name", "string_type", "")


def test_a_list_that_is_none_is_named_and_places_beyond_it_are_not_looked_for() -> None:
    reading = read('{"status":"done","lines":{"sku":"a"}}')

    assert [(one.path, one.kind, one.value) for one in reading.problems] == [("lines", "list_type", '{"sku":"a"}')]


def test_an_object_that_is_too_long_to_be_sent_back_is_not() -> None:
    reading = read(json.dumps({"status": "x" * 300, "lines": []}))

    assert [one.value for one in reading.problems] == [""]


def test_what_a_users_validator_says_stays_out_of_sentences() -> None:
    class Checked(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def _no_secrets(cls, name: str) -> str:
            raise ValueError(f"{name} is secret")

    [problem] = read('{"name":"hunter2"}', Checked).problems

    assert "hunter2" in problem.message
    assert problem.sentence == "name: value_error (its words are in .problems)"


def test_an_unknown_name_is_a_star_in_sentences() -> None:
    class Closed(BaseModel):
        model_config = ConfigDict(extra="forbid")
        a: int

    [problem] = read('{"a":1,"my password":"hunter2"}', Closed).problems

    assert (problem.path, problem.place, problem.value) == ("", "", "") or problem.sentence.startswith("*")
    assert "password" not in problem.sentence


@pytest.mark.parametrize(("cut", "kind"), [(False, "unreadable"), (True, "cut")])
def test_an_answer_without_json_says_why(*, cut: bool, kind: str) -> None:
    asked = prompt(Order)

    [problem] = asked.read("I would rather not.", cut=cut).problems

    assert (problem.kind, problem.sentence) == (kind, "the answer: it is no JSON that can be read")
    assert asked.correction([problem]) == "That is no JSON that can be read. Answer again, only with the JSON."


@pytest.mark.parametrize("text", ['{"status":"\\ud800","lines":[]}', '{"status":"\ud800","lines":[]}'])
def test_half_a_character_is_refused_and_not_sent_back(text: str) -> None:
    [problem] = read(text).problems

    assert problem.kind == "json_invalid"
    assert problem.value == ""


def test_a_problem_of_the_whole_answer_says_so() -> None:
    assert Problem("", "", "dict_type", "Input should be a dictionary").sentence.startswith("the answer: Input")
