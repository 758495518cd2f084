"""Arguments as canonical JSON: RFC 8785 where it applies, bounded and quiet everywhere else."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.loops.canonical import BYTES_MAX, canonical

NUMBERS = """
    0000000000000000 0
    8000000000000000 0
    0000000000000001 5e-324
    8000000000000001 -5e-324
    7fefffffffffffff 1.7976931348623157e+308
    ffefffffffffffff -1.7976931348623157e+308
    4340000000000000 9007199254740992
    c340000000000000 -9007199254740992
    4430000000000000 295147905179352830000
    44b52d02c7e14af5 9.999999999999997e+22
    44b52d02c7e14af6 1e+23
    44b52d02c7e14af7 1.0000000000000001e+23
    444b1ae4d6e2ef4e 999999999999999700000
    444b1ae4d6e2ef4f 999999999999999900000
    444b1ae4d6e2ef50 1e+21
    3eb0c6f7a0b5ed8c 9.999999999999997e-7
    3eb0c6f7a0b5ed8d 0.000001
    41b3de4355555553 333333333.3333332
    41b3de4355555554 333333333.33333325
    41b3de4355555555 333333333.3333333
    41b3de4355555556 333333333.3333334
    41b3de4355555557 333333333.33333343
    becbf647612f3696 -0.0000033333333333333333
    43143ff3c1cb0959 1424953923781206.2
"""
"""RFC 8785, appendix B."""

SAFE = st.integers(-(2**53) + 1, 2**53 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | SAFE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("line", NUMBERS.strip().splitlines())
def test_numbers_are_written_as_the_rfc_writes_them(line: str) -> None:
    bits, expected = line.split()

    assert canonical([struct.unpack(">d", bytes.fromhex(bits))[0]]) == f"[{expected}]"


def test_the_rfcs_example_is_written_as_there() -> None:
    text = (
        '{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
        ' "string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false]}'
    )

    assert canonical(text) == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_names_are_sorted_by_their_utf_16_units() -> None:
    names = ["€", "\r", "\ufb33", "1", "😀", "\x80", "ö"]

    text = canonical(dict.fromkeys(names, 0))

    assert list(json.loads(text)) == ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]


@given(JSON)
def test_the_short_way_writes_what_the_library_writes(value: Any) -> None:
    expected = rfc8785.dumps(value).decode()

    assert canonical(json.dumps(value)) == expected
    assert isinstance(value, str) or canonical(value) == expected


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2}', '{"b":2,"a":1}', '{\n "b": 2.0,\n "a": 1e0}'])
def test_the_same_arguments_are_the_same_however_they_are_written(text: str) -> None:
    assert canonical(text) == canonical({"a": 1, "b": 2}) == '{"a":1,"b":2}'


def test_text_that_is_no_json_is_itself() -> None:
    assert canonical("ls -l") == '"ls -l"'


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**70,
        -(2**70),
        "\ud800",
        {"\ud800": 1},
        '["\\ud800"]',
        "[NaN, -Infinity]",
        "9" * 9_999,
    ],
)
def test_what_the_rfc_has_no_text_for_is_the_same_as_itself_and_different_from_others(value: Any) -> None:
    assert canonical([value]) == canonical([value])
    assert canonical([value]) != canonical([1])


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(deep(100_000), id="deep list"),
        pytest.param("[" * 100_000, id="deep text"),
        pytest.param("[" * 30_000 + "]" * 30_000, id="deep text that is JSON"),
        pytest.param('{"a": "' + "x" * 10_000_000 + '"}', id="10 MB text"),
        pytest.param({"a": "x" * 10_000_000}, id="10 MB string"),
        pytest.param(list(range(1_000_000)), id="a million numbers"),
        pytest.param({str(one): one for one in range(100_000)}, id="many names"),
        pytest.param({"x" * 1_000_000: 1}, id="a long name"),
        pytest.param(10**100_000, id="a huge number"),
    ],
)
def test_the_work_is_bounded_by_the_size_we_look_at(value: Any) -> None:
    began = time.perf_counter()

    text = canonical(value)

    assert len(text) < 4 * BYTES_MAX
    assert time.perf_counter() - began < 2


def test_long_texts_differ_by_head_tail_and_length() -> None:
    long = "x" * 1_000_000

    assert canonical(long) == canonical(long)
    assert len({canonical(one) for one in (long, long + "x", "y" + long[1:], long[:-1] + "y")}) == 4


@dataclass
class Point:
    x: int


class Slotted:
    __slots__ = ("x",)


class Angry:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]  # it is made to raise
        raise RuntimeError("no fields")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Refusing(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def test_objects_are_told_by_their_type_and_fields() -> None:
    assert canonical(Point(1)) == canonical(Point(1))
    assert canonical(Point(1)) != canonical(Point(2))
    assert canonical({"p": Point(1)}) != canonical({"p": {"x": 1}})
    assert "Slotted" in canonical(Slotted())
    assert canonical({1, 2, 3}) == canonical({3, 2, 1})
    assert canonical({1: "a", None: "b"}) == canonical({None: "b", 1: "a"})
    assert canonical((1, True, 2.5)) == "[1,true,2.5]"


def test_objects_that_raise_are_their_type() -> None:
    assert canonical(Angry()) == '"Angry"'
    assert canonical(Refusing()) == '{"…":"Refusing"}'
