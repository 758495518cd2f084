"""Long results: passing tests counted, the middle left out, nothing missed that matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenguard.prompt.trimming import trim

LOGS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "tool_outputs" / "testlogs"


def test_passing_tests_are_counted_and_failing_ones_stay() -> None:
    run = "\n".join(
        [
            "== test session starts ==",
            *(f"tests/test_a.py::test_{at} PASSED [ {at}%]" for at in range(30)),
            "tests/test_a.py::test_bad FAILED [ 31%]",
            *(f"test_ok_{at} (app.Tests) ... ok" for at in range(5)),
            "1 failed, 35 passed",
        ]
    )

    trimmed = trim(run, keep_chars=10_000)

    assert trimmed is not None
    assert trimmed.text.split("\n") == [
        "== test session starts ==",
        "… 30 lines of passing tests left out …",
        "tests/test_a.py::test_bad FAILED [ 31%]",
        "… 5 lines of passing tests left out …",
        "1 failed, 35 passed",
    ]
    assert trimmed.lines_left_out == 35


def test_the_middle_gives_way_but_not_its_errors() -> None:
    lines = [f"line {at} of a long text that says nothing of note" for at in range(400)]
    lines[200] = "ERROR: the disk is full"

    trimmed = trim("\n".join(lines), keep_chars=4_000)

    assert trimmed is not None
    assert len(trimmed.text) < 4_200
    assert trimmed.text.startswith(lines[0])
    assert trimmed.text.endswith(lines[-1])
    assert "ERROR: the disk is full" in trimmed.text
    assert trimmed.text.count("lines left out …") == 2


def test_lines_without_end_are_cut() -> None:
    trimmed = trim("x" * 100_000, keep_chars=10_000)

    assert trimmed is not None
    assert "98,000 characters left out" in trimmed.text


def test_what_must_be_kept_is_said_by_the_caller() -> None:
    lines = [f"line {at} of a long text" for at in range(400)]

    trimmed = trim("\n".join(lines), keep_chars=1_000, must_keep=lambda line: line == "line 200 of a long text")

    assert trimmed is not None
    assert "line 200 of" in trimmed.text


@pytest.mark.parametrize("text", ["", "short", "a\nb\nc"])
def test_what_fits_is_left_alone(text: str) -> None:
    assert trim(text, keep_chars=1_000) is None


def test_two_passing_tests_are_said() -> None:
    text = "Ran 2 tests in 1s\na ... ok\nb ... ok\nmore"

    assert trim(text, keep_chars=1_000) is None


def test_every_failing_test_of_recorded_runs_stays() -> None:
    if not LOGS.is_dir():
        pytest.skip("the recorded test logs are not here: shared/data beside the checkout")
    for path in sorted(LOGS.glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        failing = {
            line.split()[1]
            for line in text.split("\n")
            if line.startswith(("FAILED ", "ERROR ")) and len(line.split()) > 1
        }
        trimmed = trim(text, keep_chars=80_000)
        kept = trimmed.text if trimmed else text
        assert [one for one in failing if one not in kept] == [], path.name
