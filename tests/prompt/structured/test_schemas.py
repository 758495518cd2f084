"""Schemas in a prompt: short, and nothing of them lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import pytest
from prompt.structured.kinds import Cat, Color, Dog, Everything, Left, Loose, Node, Page, Point, Tags
from pydantic import BaseModel, Field, TypeAdapter

from tokenguard.errors import SetupError
from tokenguard.prompt.structured.pydantics import OutputType
from tokenguard.prompt.structured.shapes import Map, Record, Scalar, names_of, read_schema
from tokenguard.prompt.structured.sizes import answer_tokens
from tokenguard.prompt.structured.writing import write_schema

STYLES = ("typescript", "line")


class WithCallable(BaseModel):
    act: Callable[[int], int]


def written(output: Any, style: Any = "line") -> str:
    return write_schema(OutputType(output).schema, style)


@pytest.mark.parametrize("style", STYLES)
def test_every_name_value_and_limit_survives(style: Any) -> None:
    text = written(Everything, style)

    names = [field.alias or name for name, field in Everything.model_fields.items()]
    for word in [*names, "kind", "lives", "good", "items", "after", "x", "y", "a", "b", "right", "left"]:
        assert re.search(rf"\b{word}\b", text), word
    for value in ("red", "dark red", "1|7", "cat", "dog", "a b", "semi;colon", "true", "null"):
        assert value in text, value
    for limit in (">=0", "8 digits", "2 decimals", ">0", "<=1.5", "of 5", "/^[A-Z]{3}$/", "(3)", "max 77", "min 33"):
        assert limit in text, limit
    for limit in (">=1", "<10", "max 5", "(1..4)", "unique", "(min 2)", ">=18", "<=99"):
        assert limit in text, limit
    for word in ("YYYY-MM-DD", "ISO datetime", "HH:MM:SS", "ISO duration", "uuid", "url", "a short note", "All kinds."):
        assert word in text, word


def test_one_field_stands_on_a_line_without_commas_or_quotes() -> None:
    class Ticket(BaseModel):
        category: Literal["billing", "bug"]
        urgency: int = Field(ge=1, le=5, description="5 is worst")
        customer: str | None = None
        tags: list[str] = []

    assert written(Ticket, "typescript") == (
        '{\ncategory:"billing"|"bug"\nurgency:int(1..5) //5 is worst\ncustomer?:string\ntags?:string[]\n}'
    )
    assert written(Ticket) == "{category:billing|bug,urgency:int(1..5)(5 is worst),customer?,tags?:string[]}"


def test_a_model_used_twice_is_written_once_where_that_is_shorter() -> None:
    class Address(BaseModel):
        street: str
        city: str
        postal_code: str

    class Tiny(BaseModel):
        a: int

    class Order(BaseModel):
        bill: Address
        ship: Address
        one: Tiny
        two: Tiny

    assert written(Order) == ("{bill:Address,ship:Address,one:{a:int},two:{a:int}}\nAddress={street,city,postal_code}")


def test_what_contains_itself_has_a_name() -> None:
    assert written(Node) == "Node={name,children:Node[]}"
    assert written(Node, "typescript") == "Node={\nname:string\nchildren:Node[]\n}"
    assert written(Left) == "Left={right?:Right}\nRight={left:Left[]}"


def test_a_definition_says_what_it_is_where_it_is_written() -> None:
    class Part(BaseModel):
        """A part."""

        name: str
        inside: list[Part]

    class Whole(BaseModel):
        first: Part = Field(description="the first")
        second: Part

    assert written(Whole) == "{first:Part(the first),second:Part}\nPart={name,inside:Part[]}(A part.)"


def test_a_model_that_is_written_in_place_brings_its_description() -> None:
    class Part(BaseModel):
        """A part."""

        name: str

    class Whole(BaseModel):
        first: Part

    assert written(Whole) == "{first:{name}(A part.)}"
    assert written(Whole, "typescript") == "{\nfirst:{ //A part.\nname:string\n}\n}"


def test_a_tag_with_one_value_is_always_asked_for() -> None:
    assert written(TypeAdapter(Cat | Dog)) == "{kind:cat,lives?:int(>=1,<10)=9}|{kind:dog,good?:bool=true}"


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (int, "int"),
        (Literal["a", "b"], "a|b"),
        (list[Point], "{x:number,y?:number=0}[]"),
        (Loose, "{a:int,b?}"),
        (Tags, "string[]"),
        (Color, "red|dark red"),
        (Page[int], "{items:int[](max 5),after?}"),
        (list[Literal["a", "b"]], "(a|b)[]"),
        (tuple[int, str], "[int,string]"),
        (dict[str, list[int]], "{[string]:int[]}"),
        (list[int | str], "(int|string)[]"),
    ],
)
def test_any_type_that_pydantic_checks_can_be_asked_for(output: Any, text: str) -> None:
    assert written(output) == text


def test_words_beside_a_type_keep_their_quotes() -> None:
    assert written(TypeAdapter(Literal["auto"] | int)) == '"auto"|int'


def test_a_name_that_is_no_word_keeps_its_quotes() -> None:
    class Odd(BaseModel):
        value: int = Field(alias="two words")

    assert written(Odd) == '{"two words":int}'


def test_a_type_that_cannot_be_described_is_refused_with_a_sentence() -> None:
    class Opaque:
        pass

    with pytest.raises(SetupError, match="output=Opaque cannot be asked for"):
        OutputType(Opaque)
    with pytest.raises(SetupError, match="output=WithCallable cannot be asked for"):
        OutputType(WithCallable)


# ---- schemas that others wrote --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "any"),
        ({"type": "object"}, "{[string]:any}"),
        ({"type": "object", "properties": {}, "additionalProperties": False}, "{}"),
        ({"properties": {"a": {}}}, "{a?:any}"),
        ({"items": {"type": "integer"}}, "int[]"),
        ({"type": ["string", "null"]}, "string|null"),
        ({"type": "integer", "nullable": True}, "int|null"),
        ({"type": "dict", "properties": {"a": {"type": "float"}}, "required": ["a"]}, "{a:number}"),
        ({"type": "String"}, "string"),
        ({"type": "nonsense", "enum": "no list"}, "any"),
        ({"enum": ["x", 1, 1.5, None]}, "x|1|1.5|null"),
        ({"const": "x"}, "x"),
        ({"type": "string", "format": "hostname"}, "string(hostname)"),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, "[int,...string[]]"),
        ({"type": "array", "items": [{"type": "integer"}], "additionalItems": False}, "[int]"),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "minItems": 3}, "[int,...any[]](min 3)"),
        ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}}, "{[string(/^x/)]:int}"),
        (
            {"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
            "{a?:int,[string]:string}",
        ),
        ({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"type": "integer"}}}, "int"),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
                ]
            },
            "{a:int,b:int}",
        ),
        ({"allOf": [{"$ref": "#/$defs/A"}, {"maximum": 5}], "$defs": {"A": {"type": "integer"}}}, "int<=5"),
        ({"$ref": "#/nowhere"}, "any"),
        ({"anyOf": [{"type": "integer"}, {"type": "integer"}]}, "int"),
        ({"anyOf": [{"const": 1}, {"anyOf": [{"const": True}, {"const": 1}]}]}, "1|true"),
        ({"type": "array", "items": {"$ref": "#/prefix/0"}, "prefix": [{"type": "boolean"}]}, "bool[]"),
    ],
)
def test_schemas_that_others_wrote_are_read_without_belief(schema: dict[str, Any], text: str) -> None:
    assert write_schema(read_schema(schema), "line") == text


def test_a_schema_that_is_its_own_part_ends() -> None:
    schema = {"type": "object", "properties": {"inside": {"$ref": "#"}, "name": {"type": "string"}}}

    assert write_schema(read_schema(schema), "line") == ("{inside?:Type,name?}\nType={inside?:Type,name?}")


def test_two_definitions_of_one_name_are_told_apart() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/x__Item"}, "b": {"$ref": "#/$defs/y__Item"}},
        "$defs": {"x__Item": {"type": "integer"}, "y__Item": {"type": "string"}},
    }

    read = read_schema(schema)

    assert dict(read.named) == {"Item": Scalar("int"), "Item2": Scalar("string")}
    assert sorted(names_of(read)) == ["a", "b"]


def test_an_object_of_any_names_is_a_map_and_one_of_none_a_record() -> None:
    assert isinstance(read_schema({"type": "object"}).root, Map)
    assert isinstance(read_schema({"type": "object", "additionalProperties": False}).root, Record)


# ---- how long an answer may be --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "least", "most"),
    [
        (bool, 48, 48),
        (Color, 48, 48),
        (str, 100, 105),
        (list[str], 600, 750),
        (dict[str, int], 200, 300),
        (tuple[int, ...], 80, 100),
        (Node, 500, 6_000),
        (Left, 32, 6_000),
        (Everything, 2_000, 8_000),
    ],
)
def test_the_bound_of_an_answer_grows_with_what_its_schema_allows(output: Any, least: int, most: int) -> None:
    assert least <= answer_tokens(OutputType(output).schema) <= most


def test_limits_of_a_schema_bound_its_answer() -> None:
    short = TypeAdapter(list[Literal["a", "b"]])
    few = read_schema({"type": "array", "items": {"type": "string", "maxLength": 30}, "maxItems": 2})

    assert answer_tokens(OutputType(short).schema) == 50
    assert answer_tokens(few) == 53


def test_types_that_contain_each_other_do_not_grow_without_end() -> None:
    names = [f"N{number}" for number in range(20)]
    schema = {
        "$ref": "#/$defs/N0",
        "$defs": {
            name: {"type": "array", "items": {"anyOf": [{"$ref": f"#/$defs/{one}"} for one in names]}} for name in names
        },
    }

    assert answer_tokens(read_schema(schema)) <= 16_384


def test_names_are_counted_by_the_given_tokenizer() -> None:
    schema = read_schema({"properties": {"name": {"type": "integer"}}, "required": ["name"]})

    assert answer_tokens(schema, lambda _: 100) == -(-(2 + 100 + 6) * 130 // 100) + 16
