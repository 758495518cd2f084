"""Text in lines: what is cleaned, what is folded and reads back exactly, what is left alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard.errors import SettingsError
from tokenguard.prompt.lines import Kind, clean, fold, is_folded, kind_of, unfold

PATHS = "\n".join(
    f"./src/{folder}/{name}"
    for folder in ("core", "core/deep/down", "api")
    for name in ("a.py", "b.py", "long_module_name.py", "test_it.py")
)
LOG = "\n".join(f"2024-05-01T10:00:{at:02}Z INFO worker-{at % 3} took {at * 7} ms for 10.0.0.{at}" for at in range(30))
VIEW = "\n".join(f"{at:6}\tdef f{at}(): return {at}" for at in range(1, 40))
FOUND = "\n".join(f"src/core/a.py:{at}:    value = {at}" for at in range(1, 40))
DIFF = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n" + "\n".join(
    f"-old {at}\n+new {at}" for at in range(30)
)
CODE = "\n".join(f"def function_{at}(value):\n    total = value + {at}\n    return total\n" for at in range(20))
TESTS = "== test session starts ==\n" + "\n".join(f"tests/test_a.py::test_{at} PASSED [ {at}%]" for at in range(40))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PATHS, Kind.PATHS),
        (LOG, Kind.LOG),
        (VIEW, Kind.FILE),
        (FOUND, Kind.SEARCH),
        (DIFF, Kind.DIFF),
        (CODE, Kind.CODE),
        (TESTS, Kind.TESTS),
        ("<!DOCTYPE html><html>", Kind.HTML),
        ("one line", Kind.OTHER),
        ("some\nplain\nprose\nin lines", Kind.OTHER),
    ],
)
def test_what_a_text_is_shows_in_its_first_lines(text: str, kind: Kind) -> None:
    assert kind_of(text) is kind


@pytest.mark.parametrize("text", [VIEW, FOUND, DIFF, CODE], ids=["file", "search", "diff", "code"])
def test_what_a_model_quotes_stays_byte_for_byte(text: str) -> None:
    dirty = text.replace("\n", "  \n", 1)

    assert fold(text) is None
    assert clean(dirty) is dirty


def test_paths_become_a_tree_in_their_order() -> None:
    folded = fold(PATHS)

    assert folded is not None
    assert folded.split("\n")[:7] == [
        "[paths as a tree]",
        "./src/core/",
        " a.py",
        " b.py",
        " long_module_name.py",
        " test_it.py",
        " deep/down/",
    ]
    assert unfold(folded) == PATHS


def test_folders_that_are_listed_themselves_are_marked() -> None:
    listing = "\n".join(
        ["./a", "./a/long_file_name_one.py", "./a/b", "./a/b/long_file_name_two.py", *PATHS.split("\n")]
    )

    folded = fold(listing)

    assert folded is not None
    assert folded.split("\n")[1:5] == ["./", " a/.", "  long_file_name_one.py", "  b/."]
    assert unfold(folded) == listing


def test_a_log_becomes_templates_and_what_varies() -> None:
    folded = fold(LOG)

    assert folded is not None
    _, template, end, first, *_ = folded.split("\n")
    assert template == "1 <> INFO worker-<> took <> ms for <>"
    assert end == "--"
    assert first == "1 2024-05-01T10:00:00Z 0 0 10.0.0.0"
    assert len(folded) < 0.75 * len(LOG)
    assert unfold(folded) == LOG


def test_lines_in_a_row_that_are_the_same_are_counted() -> None:
    text = LOG + "\n" + "\n".join(["2024-05-01T10:00:59Z WARN disk is nearly full on the data volume"] * 20)

    folded = fold(text)

    assert folded is not None
    assert "\n*19" in folded
    assert unfold(folded) == text


def test_text_that_is_no_log_is_folded_only_where_much_is_gained() -> None:
    dice = random.Random(1)
    prose = "\n".join(" ".join(dice.choice(["one", "two", "three"]) for _ in range(6)) for _ in range(60))

    assert fold(prose) is None
    assert fold("short\n" * 3) is None


@pytest.mark.parametrize(
    ("dirty", "shown"),
    [
        ("\x1b[31mred\x1b[0m and \x1b]0;title\x07plain", "red and plain"),
        ("10%\r50%\r100%\nnext", "100%\nnext"),
        ("long line\rshort", "shortline"),
        ("N\x08NA\x08AME", "NAME"),
        ("a\r\nb\r\n", "a\nb"),
        ("tail  \t\nend \n\n\n", "tail\nend"),
        ("bell\x07 and null\x00", "bell and null"),
        ("\x08start", "start"),
        ("```\ncode  \n```\n\x1b[1mx", "```\ncode  \n```\nx"),
        ("```\ncode  \n```", "```\ncode  \n```"),
    ],
)
def test_a_terminals_output_becomes_what_a_reader_saw(dirty: str, shown: str) -> None:
    assert clean(dirty) == shown


def test_what_is_clean_is_the_same_object() -> None:
    text = "nothing to do\nhere"

    assert clean(text) is text


@pytest.mark.parametrize("text", ["", "no fold", "[paths as a tree", f"{fold(LOG)}\n2 too", f"{fold(LOG)}\n1 few"])
def test_what_no_fold_wrote_is_refused(text: str) -> None:
    assert not is_folded(text)
    with pytest.raises(SettingsError, match="begins no folded text"):
        unfold(text)


def test_a_folded_text_is_known_and_not_folded_again() -> None:
    folded = fold(LOG)

    assert folded is not None
    assert is_folded(folded)
    assert fold(folded) is None


piece = st.one_of(
    st.sampled_from(
        [
            *PATHS.split("\n")[:6],
            *LOG.split("\n")[:6],
            *(
                "",
                " lead",
                "trail ",
                "--",
                "*3",
                "1",
                "1 2",
                "\\",
                "\\x",
                "a/",
                "a/.",
                "/",
                "//",
                "a//b",
                "a/ b",
                "./a",
            ),
            *("[paths as a tree]", "<>", "\x1b[0m", "\r", "\x00", "\ud800", "é", "\u2028"),
        ]
    ),
    st.text(max_size=30),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(piece, max_size=40))
def test_any_text_that_is_folded_reads_back_exactly(parts: list[str]) -> None:
    text = "\n".join(parts)

    for one in (text, clean(text)):
        folded = fold(one)
        assert folded is None or (unfold(folded) == one and len(folded) < len(one))


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "\n" * 1_000_000,
        "a/b\n" * 100_000,
        "1 2 3\n" * 100_000,
        "\r" * 1_000_000,
        "\x1b[" * 300_000,
        "\x08" * 500_000,
        ("x" * 399 + " \n") * 2_000,
        "<>" * 100_000,
        "abcdef0123456789" * 60_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_text_takes_bounded_time(text: str) -> None:
    folded = fold(clean(text))

    assert folded is None or unfold(folded) == clean(text)
