"""What is folded reads back exactly, and what cannot be said again exactly is refused."""

import importlib.util
import json
import random
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.errors import SettingsError
from tokenguard.prompt.tables import fold, is_folded, minify, unfold
from tokenguard.prompt.tables.read import reads_back
from tokenguard.prompt.tables.strict import compact
from tokenguard.prompt.tables.write import drafted


def _sets() -> ModuleType:
    """Of the benchmark. Its folder must not be on the path: it has modules that are called like folders of tests."""
    path = Path(__file__).parents[3] / "benchmarks" / "fold_sets.py"
    spec = importlib.util.spec_from_file_location("fold_sets", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sets = _sets()
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
DEEP: Any = {"a": 1}
for _ in range(40):
    DEEP = [{"b": DEEP}, {"b": 2}]
FALLING: Any = {"a": 1}
for _ in range(300):
    FALLING = {"k": FALLING, "l": [FALLING, 1]} if _ % 60 == 0 else {"k": FALLING}


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "",
        '{"a":1}',
        '{"a": NaN}',
        '[{"a": -Infinity}]',
        '{"a": 1, "a": 2}',
        '[ {"b": {"a": 1, "a": 1}} ]',
        '{"half": "\\ud800 x"}',
        '{"half": "\ud800 x"}',
        '{"mark": "\ufdd0 x"}',
        '{"mark": "\\uFDD0 x"}',
        '{"nul": "\x00" }',
        f'[ "{"x" * 1_000_001}"]',
        "[" * 100_000,
        '{"a": ' * 3_000,
    ],
    ids=[
        *("text", "empty", "short", "nan", "infinity", "a key twice", "an inner key twice", "half a pair", "raw half"),
        *("our mark", "our mark escaped", "raw nul", "large", "open", "nested"),
    ],
)
def test_what_cannot_be_said_again_exactly_or_shorter_is_refused(text: str) -> None:
    assert fold(text) is None
    assert minify(text) is None


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ('[1.50, 1E5, -0, 1e400, "a  b"]', '[1.50,1E5,-0,1e400,"a  b"]'),
        ('{"a": 12345678901234567890123456789}', '{"a":12345678901234567890123456789}'),
        (f"[ {'9' * 500}, -{'8' * 9_000}]", f"[{'9' * 500},-{'8' * 9_000}]"),
        ('{ "s": "\\u00e9\\" \\/ \\u0000" }', '{"s":"é\\" / \\u0000"}'),
        ('"\\ud83d\\ude00 \\u20ac"', '"😀 €"'),
        ("[\n\t1,\r\n 2.5 ]", "[1,2.5]"),
        ('{"a": {}, "b": [], "c": [[]]}', '{"a":{},"b":[],"c":[[]]}'),
    ],
    ids=["numbers", "long number", "very long numbers", "escapes", "pairs", "blanks", "empty"],
)
def test_json_loses_its_blanks_and_nothing_else(text: str, short: str) -> None:
    assert minify(text) == short
    assert fold(text) == short
    assert unfold(short) == short


def test_without_a_limit_of_digits_numbers_are_still_read_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.get_int_max_str_digits", lambda: 0)

    assert minify(f"[ {'9' * 5_000} ]") == f"[{'9' * 5_000}]"


@pytest.mark.parametrize(
    "text",
    [
        "nothing of ours",
        "",
        "{'a': 1}",
        "[0]{a}\n",
        "[2]{a,b}\n1,2",
        "[1]{a,b}\n1,2,3",
        "[1]{a,b}\n1",
        "[1]{a,a}\n1,2",
        "[1]{^1}\n1",
        "[1]{a b}\n1",
        '[1]{a"}\n1',
        "[1]{a,b\tc}\n1,2,3",
        "[1]a{a}c{b}\na,1",
        "[1]a{a}b{b}\nc,1",
        "[1]a{a}b{b}\n[1],1",
        "[1]{a}{b}\n1",
        "[1]{a=1+2}\n",
        "[1]{a=1+$}\n1",
        '[1]{a=$+1}\n"x"',
        "[1]{a$}\n1,2",
        "[1]{a$}\n[1]",
        "[1]{a}\n[1",
        "[1]{a}\n[1]2",
        "[1]{a}\n~x",
        "[1]{a,b}\n1,~{}",
        "[1]{a}\n1\nmore",
        "[1]{a[}\n1",
        "[1]{a[]{b}}\n3",
        "[1]{a[]{b}}\n[3]",
        "[1]{a[]{b}}\n[[3,4]]",
        "[1]{a[]{b,c}}\n[[3]]",
        "{2}{a}\nk,1\nk,2",
        "{1}{a}\n[1],2",
        "{1}{a}\nk",
        "[[1,1]]{a}\n1\n2",
        "[[1,1]]{a}\n1\n\n2\n3",
        '{"x":[1]{a}\n1\n;"y":2}',
        '{"x":[1]{a}\n1\n',
        '{"x":[1]{a}\n1\n,"x":2}',
        '{"x": [1]{a}\n1\n}',
        '[1]{a}\n"\\ud800"',
        '{"says [1]{a}\n1"}',
        "[1]{" + "a{" * 5_000 + "}\n1",
    ],
)
def test_what_no_fold_wrote_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match="begins no folded JSON"):
        unfold(text)

    assert not is_folded(text)


def test_a_text_that_says_something_else_does_not_read_back() -> None:
    assert reads_back("[2]{a}\n1\n2", '[{"a":1},{"a":2}]')
    assert not reads_back("[2]{a}\n1\n3", '[{"a":1},{"a":2}]')
    assert not reads_back("[2]{a}\n1", '[{"a":1},{"a":2}]')


def test_random_documents_read_back_exactly() -> None:
    dice = random.Random(11)
    for _ in range(3_000):
        document = sets.random_document(dice)
        text = json.dumps(document, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, 2)))
        folded = fold(text)
        assert folded is None or len(folded) < len(text)
        assert folded is None or json.dumps(json.loads(unfold(folded))) == json.dumps(document)


def test_random_texts_keep_every_character_but_blanks_and_escapes() -> None:
    dice = random.Random(12)
    for _ in range(3_000):
        text = sets.random_text(dice)
        folded, short = fold(text), minify(text)
        assert folded is None or unfold(folded) == sets.without_blanks(text)
        assert short is None or short == sets.without_blanks(text)


def test_what_is_drafted_always_reads_back() -> None:
    # Otherwise `fold` would fall back to JSON without blanks, and nobody would see that a table was wrong.
    dice = random.Random(13)
    for _ in range(3_000):
        document = sets.random_document(dice)
        draft = drafted(document)
        assert draft is None or reads_back(draft, compact(document))


def test_random_damage_is_refused_or_read_as_some_document() -> None:
    dice = random.Random(14)
    for _ in range(1_500):
        folded = fold(json.dumps(sets.random_document(dice))) or "[1]{a}\n1"
        at = dice.randrange(len(folded))
        damaged = folded[:at] + dice.choice(("", "\n", ",", "~", '"', "{", "}", "[", "a", "1")) + folded[at + 1 :]
        if is_folded(damaged):
            assert json.loads(unfold(damaged)) is not ...


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values: Any = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"a": inner, "b": scalars}, optional={"c": inner}), max_size=5)
        | st.lists(st.fixed_dictionaries({"t": scalars, "n": inner}) | st.fixed_dictionaries({"x": inner}), max_size=6)
        | st.lists(st.lists(st.fixed_dictionaries({"a": scalars, "b": scalars}), max_size=3), max_size=4)
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_any_value_reads_back_exactly(document: Any) -> None:
    text = json.dumps(document)

    folded, short = fold(text), minify(text)

    assert folded is None or json.dumps(json.loads(unfold(folded))) == text
    assert folded is None or unfold(folded) == (short or text)
    assert short is None or json.dumps(json.loads(short)) == text


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text('[]{}",:~^$=+*?ab01 \t\n\\-.'))
def test_no_text_makes_folding_raise(text: str) -> None:
    folded = fold(text)

    assert folded is None or re.sub(r"\s", "", unfold(folded)) == re.sub(r"\s", "", minify(text) or text)


@pytest.mark.parametrize(
    "document",
    [
        [{"a": at} for at in range(50_000)],
        {str(at): {"a": at, "b": "x"} for at in range(20_000)},
        [{"a" * 50 + str(at): 1} for at in range(5_000)],
        [{"v": "[" * 60_000}, {"v": "{" * 60_000}],
        [{f"k{at % 60}": 1, f"j{other}": 2} for at in range(99) for other in range(60)],
        [{f"c{at}": at for at in range(300)}, *({f"d{at}": at for at in range(other)} for other in range(60))],
        {f"t{at}": {"n": 1, "l": [{f"x{at}": 1, "y": other} for other in range(3)]} for at in range(4_000)},
        {"s": "[2]{a}" * 50_000, "rows": [{"a": at, "b": "\\"} for at in range(9)]},
        [*({"a": at} if at % 2 else {"b": at, "c": "x"} for at in range(20_000))],
        DEEP,
        FALLING,
    ],
    ids=["rows", "keys", "names", "brackets", "kinds", "wide", "tables", "marks", "parts", "deep", "falling"],
)
def test_hostile_documents_take_bounded_time_and_read_back(document: Any) -> None:
    text = json.dumps(document)

    folded = fold(text)

    assert folded is not None
    assert json.loads(unfold(folded)) == document


@pytest.mark.parametrize(
    "text",
    [
        "[2]{a}\n" * 100_000,
        "[[1," * 200_000 + "\n",
        '{"a":' * 100_000 + "[1]{a}\n1\n",
        "[9999999]{a}\n1",
        "-0," * 9_999,
    ],
    ids=["heads", "sizes", "levels", "rows", "zeros"],
)
def test_hostile_texts_take_bounded_time_and_are_refused(text: str) -> None:
    assert fold(text) is None
    assert not is_folded(text)


def test_recorded_outputs_read_back_exactly() -> None:
    if not SHARED.is_dir():
        pytest.skip("The recorded outputs are not here: shared/data beside the checkout.")
    for documents in sets.json_sets(SHARED).values():
        for document in documents:
            text = json.dumps(document)
            folded = fold(text) or text
            assert unfold(folded) == json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("levels", range(880, 1_000, 3))
def test_documents_that_nearly_exhaust_the_stack_are_folded_or_refused(levels: int) -> None:
    text = json.dumps([{"id": 1, "of": 0}, {"id": 2, "of": 0}]).replace("0", "[" * levels + "]" * levels, 1)

    folded = fold(text)

    assert folded is None or unfold(folded) == text.replace(" ", "")
