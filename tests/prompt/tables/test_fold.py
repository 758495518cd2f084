"""JSON as tables: what it looks like, that it reads back exactly, and what is refused."""

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.errors import SettingsError
from tokenguard.prompt.tables import fold, is_folded, minify, unfold


def _random_document() -> Any:
    """Of the benchmark. Its folder must not be on the path: it has modules that are called like folders of tests."""
    path = Path(__file__).parents[3] / "benchmarks" / "fold_sets.py"
    spec = importlib.util.spec_from_file_location("fold_sets", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.random_document


random_document = _random_document()

FLIGHTS = [
    {"number": "HAT1", "seats": {"economy": 12, "business": 3}, "price": 152, "code": "0042", "note": None},
    {"number": "HAT2", "seats": {"economy": 7, "business": 0}, "price": 103.5, "code": "17", "note": "a, b"},
]


def test_a_list_of_objects_becomes_a_header_and_a_line_for_each() -> None:
    folded = fold(json.dumps({"id": 7, "flights": FLIGHTS, "done": True}))

    assert folded == (
        '{"id":7,"flights":[2]{number,seats{economy,business},price,code$,note}\n'
        "HAT1,12,3,152,0042,\n"
        'HAT2,7,0,103.5,17,"a, b"\n'
        ',"done":true}'
    )


def test_an_object_of_objects_names_its_lines_and_says_the_key_once() -> None:
    cards = {name: {"brand": "visa", "last": last, "id": name} for name, last in (("c1", "7447"), ("c2", "1907"))}

    assert fold(json.dumps(cards)) == "{2}{brand,last$,id=*}\nc1,visa,7447\nc2,visa,1907"


def test_what_is_the_same_in_three_rows_stands_in_the_header() -> None:
    rows = [{"id": number, "currency": "USD", "tags": ["a"]} for number in range(3)]

    assert fold(json.dumps(rows)) == '[3]{id,currency="USD",tags=["a"]}\n0\n1\n2'


def test_keys_that_some_rows_do_not_have_are_marked_and_their_order_is_kept() -> None:
    rows = [{"a": 1, "c": 3}, {"a": 1, "b": 2, "c": 3}, {"a": "~", "c": ""}]

    folded = fold(json.dumps(rows))

    assert folded == '[3]{a,b?,c}\n1,~,3\n1,2,3\n"~",~,""'
    assert unfold(folded) == json.dumps(rows, separators=(",", ":"))


def test_columns_that_were_said_before_are_named_by_their_number() -> None:
    legs = [[{"number": f"HAT{day}{leg}", "price": leg, "cabin": "economy"} for leg in range(2)] for day in range(3)]

    folded = fold(json.dumps(legs))

    assert folded is not None
    assert folded.count("{number,price,cabin}") == 1
    assert folded.count("[2]{^1}") == 2
    assert json.loads(unfold(folded)) == legs


def test_lists_inside_of_rows_are_said_without_their_names() -> None:
    orders = [{"id": at, "items": [{"sku": f"s{n}", "count": at} for n in range(2)]} for at in range(3)]

    folded = fold(json.dumps(orders))

    assert folded is not None
    assert folded.split("\n")[:2] == ["[3]{id,items[]{sku,count}}", '0,[["s0",0],["s1",0]]']
    assert json.loads(unfold(folded)) == orders


def test_objects_with_keys_of_their_own_are_no_table() -> None:
    rows = [{f"key {at}": at, f"other {at}": "some text that is long enough"} for at in range(5)]

    assert fold(json.dumps(rows)) == json.dumps(rows, separators=(",", ":"))


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "",
        '{"a":1}',
        '{"a": NaN}',
        '[{"a": Infinity}]',
        f'"{"x" * 1_000_001}"',
        f'{{"a": {"9" * 500}}}',
        "[" * 100_000,
        '{"a": ' * 3_000,
    ],
    ids=["text", "empty", "compact", "nan", "infinity", "large", "digits", "open", "nested"],
)
def test_what_is_no_json_too_large_or_not_shorter_is_left_alone(text: str) -> None:
    assert fold(text) is None
    assert minify(text) is None


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ('{"a": 1, "a": 2}', '{"a":1,"a":2}'),
        ('[1.50, 1E5, -0, "a  b"]', '[1.50,1E5,-0,"a  b"]'),
        ('{"half": "\\ud800 x"}', '{"half":"\\ud800 x"}'),
        ('{ "s": "\\u00e9\\" " }', '{"s":"é\\" "}'),
    ],
    ids=["a key twice", "numbers", "half a pair", "escapes"],
)
def test_what_would_be_written_otherwise_only_loses_its_blanks(text: str, short: str) -> None:
    assert fold(text) == short
    assert minify(text) == short


@pytest.mark.parametrize(
    "text",
    [
        "nothing of ours",
        "",
        "[0]{a}",
        "[2]{a,b}\n1,2",
        "[1]{a,b}\n1,2,3",
        "[1]{a,b}\n1",
        "[1]{^1}\n1",
        "[1]{a b}\n1",
        '[1]{a"}\n1',
        '{"x":[1]{a}\n1\n;"y":2}',
        '{"x":[1]{a}\n1\n',
        "[1]{a}\n1\nmore",
        "[1]{a[}\n1",
        "[1]{a[]{b}}\n3",
    ],
)
def test_what_no_fold_wrote_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match="begins no folded JSON"):
        unfold(text)

    assert not is_folded(text)


def test_a_folded_text_is_known_and_json_is_none() -> None:
    folded = fold(json.dumps(FLIGHTS))

    assert folded is not None
    assert is_folded(folded)
    assert not is_folded(json.dumps(FLIGHTS))
    assert not is_folded('{"a": "[2]{a,b}"}')


def test_a_table_by_a_stranger_is_not_folded_again() -> None:
    folded = fold(json.dumps(FLIGHTS))

    assert folded is not None
    assert fold(folded) is None


def test_random_documents_read_back_exactly() -> None:
    dice = random.Random(11)
    for _ in range(3_000):
        document = random_document(dice)
        text = json.dumps(document, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, 2)))
        folded = fold(text)
        assert folded is None or len(folded) < len(text)
        assert folded is None or json.dumps(json.loads(unfold(folded))) == json.dumps(document)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values: Any = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"a": inner, "b": scalars}, optional={"c": inner}), max_size=5)
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_any_value_reads_back_exactly(document: Any) -> None:
    text = json.dumps(document)

    folded, short = fold(text), minify(text)

    assert folded is None or json.dumps(json.loads(unfold(folded))) == text
    assert short is None or json.dumps(json.loads(short)) == text


NESTED: Any = {"a": 1}
for _ in range(40):
    NESTED = [{"b": NESTED}, {"b": 2}]


@pytest.mark.parametrize(
    "document",
    [
        [{"a": at} for at in range(50_000)],
        {str(at): {"a": at, "b": "x"} for at in range(20_000)},
        [{"a" * 50 + str(at): 1} for at in range(5_000)],
        [{"v": "[" * 60_000}, {"v": "{" * 60_000}],
        NESTED,
    ],
    ids=["rows", "keys", "columns", "brackets", "deep"],
)
def test_hostile_documents_take_bounded_time_and_read_back(document: Any) -> None:
    text = json.dumps(document)

    folded = fold(text)

    assert folded is not None
    assert json.loads(unfold(folded)) == document
