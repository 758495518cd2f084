"""A stream that says the same words over and over, and streams that repeat by nature."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard.core.ladder import Loops
from tokenguard.loops.finding import Finding
from tokenguard.loops.tail import Tail

SENTENCE = "I will now check the file again. "


def fed(text: str, *, size: int = 7) -> list[Finding]:
    tail = Tail(Loops(), model="gpt", key=b"k")
    found = [tail.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return [one for one in found if one]


def test_a_sentence_is_found_when_it_is_said_for_the_eighth_time() -> None:
    found = fed("Let me look at this first. " + SENTENCE * 9, size=1)

    assert (found[0].rule, found[0].repeats, found[0].subject) == ("text_tail", 8, "gpt")
    assert found[-1].repeats >= 8


def test_seven_times_is_emphasis() -> None:
    assert fed(SENTENCE * 7 + "Done.") == []


def test_a_refrain_of_four_lines_is_a_poem() -> None:
    refrain = (
        "Row, row, row your boat\nGently down the stream\nMerrily, merrily, merrily, merrily\nLife is but a dream\n"
    )

    assert fed(refrain * 4) == []
    assert fed("la la la\n" * 4 + "and then the sun came out.\n") == []


def test_a_single_word_needs_twenty_four() -> None:
    assert fed("no " * 23 + "yes") == []
    assert fed("no " * 25)


@pytest.mark.parametrize("period", range(1, 17))
def test_periods_up_to_sixteen_words_are_found(period: int) -> None:
    phrase = " ".join(f"word{chr(97 + at)}" for at in range(period)) + " "

    assert fed(phrase * (24 // period + 9))


def test_a_longer_period_is_not() -> None:
    assert fed(" ".join(f"w{chr(97 + at)}" for at in range(17)) + " " + "") == []
    assert fed((" ".join(f"w{chr(97 + at)}" for at in range(17)) + " ") * 9) == []


def test_languages_without_spaces_are_read_by_their_marks() -> None:
    assert fed("我再检查一次文件。" * 25)


@pytest.mark.parametrize(
    "text",
    [
        "```\n" + "pass pass pass\n" * 20 + "```\n",
        "~~~\nx y z\n" * 1 + "go on go on\n" * 20,
        "| a | b |\n" * 20,
        "a | b | c\n" * 20,
        "- the same item\n" * 20,
        "1. the same item\n" * 20,
        "* the same item\n" * 20,
        "# Heading\n" * 20,
        "> quoted words here\n" * 20,
        '{"a": "b", "c": "d"}\n' * 20,
        '"name": "value",\n' * 20,
        "    return a + b\n" * 20,
        "<td>one</td>\n" * 20,
        "--- --- ---\n" * 20,
        "0, 0, 0, 0, " * 20,
        "= = = = " * 20,
    ],
)
def test_code_tables_lists_and_data_repeat_by_nature(text: str) -> None:
    assert fed(text) == []


def test_after_a_fence_prose_is_read_again() -> None:
    assert fed("```\nx x x\n```\n" + SENTENCE * 9)


def test_the_fingerprint_does_not_depend_on_where_the_stream_was_cut() -> None:
    first, second = fed(SENTENCE * 10)[0], fed("again. " + SENTENCE * 10)[0]

    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != Tail(Loops(), key=b"other").feed(SENTENCE * 10).fingerprint  # type: ignore[union-attr]  # found


def test_a_rule_that_is_off_finds_nothing() -> None:
    assert Tail(Loops(off=["text_tail"])).feed(SENTENCE * 19) is None


def test_the_end_of_a_repetition_is_its_end() -> None:
    tail = Tail(Loops())

    assert tail.feed(SENTENCE * 9) is not None
    assert tail.feed("Now something else entirely happens. ") is None
    assert tail.feed("") is None


@given(
    st.lists(st.sampled_from(["a", "b ", "\n", " ", "- ", "```", "|", "。", "x" * 40]), max_size=80), st.integers(0, 99)
)
def test_what_is_found_does_not_depend_on_the_cuts(parts: list[str], seed: int) -> None:
    text = "".join(parts) + "\n"
    whole, cut = Tail(Loops()), Tail(Loops())
    dice = random.Random(seed)
    at, found = 0, None
    while at < len(text):
        size = dice.randint(1, 9)
        found = cut.feed(text[at : at + size]) or (found if text[at : at + size].isspace() else None)
        at += size

    whole.feed(text)

    assert cut._words == whole._words
    assert cut._matching == whole._matching


def test_a_long_stream_costs_little() -> None:
    tail = Tail(Loops())
    began = time.perf_counter()

    for _ in range(2_000):
        tail.feed("x" * 500)
        tail.feed(" " * 500)

    assert len(tail._words) <= 16
    assert len(tail._rest) < 700
    assert time.perf_counter() - began < 5
