"""What is no part of a result, and which results are errors."""

from __future__ import annotations

import pytest

from tokenguard.loops.faults import error_class, is_transient
from tokenguard.loops.volatile import is_nonce, settled, unmarked

REPORT = "The nightly build of the main branch was green on all of its twelve machines, as before. "


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 passed in 0.03s", "5 passed in 1.2s"),
        ("ok (12 ms)", "ok (7 ms)"),
        ("at 2026-11-20T12:03:11.123Z ok", "at 2026-11-21 08:00:59+01:00 ok"),
        ("[12:03:11] ok", "[08:59:00.5] ok"),
        ("\x1b[32mok\x1b[0m", "ok"),
        ("ok  \nfine\t\n", "ok\nfine"),
        ("a\r\nb", "a\nb"),
        ("wrote /tmp/tmpab12/x.log", "wrote /tmp/tmpzz99/x.log"),
        ("attempt 3 failed", "attempt 4 failed"),
        (REPORT + "<Job at 0x7f01a2b3c4d5>", REPORT + "<Job at 0x7fffa2b3c4d5>"),
        (REPORT + "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", REPORT + "00000000-7dec-11d0-a765-00a0c91e6bf6"),
        (REPORT + "commit 8f3a9c0b1d2e4f5a", REPORT + "commit 1a2b3c4d5e6f7a8b"),
        (REPORT + "since 1764560000", REPORT + "since 1764569999.25"),
    ],
)
def test_times_ids_and_noise_do_not_make_another_result(one: str, other: str) -> None:
    assert settled(one) == settled(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("total: 41", "total: 42"),
        ("3 passed, 2 failed", "4 passed, 1 failed"),
        ("2026-11-20", "2026-11-21"),
        ("time: 532 ms", "time: 498 ms"),
        ('{"job": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"}', '{"job": "00000000-7dec-11d0-a765-00a0c91e6bf6"}'),
        ("8f3a9c0b1d2e4f5a", "1a2b3c4d5e6f7a8b"),
        ("price 19.99", "price 18.99"),
        ("line 10000000", "line 10000001"),
    ],
)
def test_numbers_dates_and_ids_that_are_the_result_stay(one: str, other: str) -> None:
    assert settled(one) != settled(other)


def test_ids_in_arguments_are_marks() -> None:
    assert unmarked('{"q":"a","trace":"8f3a9c0b1d2e4f5a"}') == '{"q":"a","trace":"~"}'
    assert unmarked('{"q":"a","n":17}') == '{"q":"a","n":17}'


def test_a_nonce_is_known_by_its_name() -> None:
    assert all(is_nonce(name) for name in ("nonce", "Cache-Bust", "_", "retry_count"))
    assert not any(is_nonce(name) for name in ("page", "attempts_max", "id"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Error: no table 'a'", "error: no table 'b'"),
        ("FileNotFoundError: a1", "FileNotFoundError: a2"),
        ("bash: foo: No such file", "bash: foo: No such file\nmore"),
        (
            "Traceback (most recent call last):\n  File 1\nKeyError: 'a'",
            "Traceback (most recent call last):\n  File 2\n  File 3\nKeyError: 'b'",
        ),
    ],
)
def test_errors_of_one_class_differ_in_what_they_name(one: str, other: str) -> None:
    assert error_class(one) == error_class(other) != ""


def test_errors_of_different_kinds_are_of_different_classes() -> None:
    texts = ["Error: no table 'a'", "Error: no column 'a'", '{"error": "x"}', '{"error": "y"}', "KeyError: 'a'"]

    assert len({error_class(one) for one in texts}) == len(texts)


def test_an_error_is_known_by_how_it_begins_or_by_its_message() -> None:
    assert error_class("12 errors were fixed") == ""
    assert error_class("no rows", failed=True) == "no rows"
    assert error_class("", failed=True) == "error"


@pytest.mark.parametrize(
    "text",
    [
        "429 Too Many Requests",
        "Error: rate limit exceeded, retry in 3 s",
        "HTTP 503",
        "status: 500",
        "Error 502",
        "500 Internal Server Error",
        "429",
        "503 no healthy upstream: Error",
        "Error: 503",
        "openai.APIError: Error code: 529",
        "HTTP/1.1 504",
        "failed with status code 500",
        "TimeoutError: ",
        "EXECUTION TIMED OUT",
        "requests.exceptions.ConnectionError: refused",
        "Error: timeout",
        "RateLimitError: slow down",
        "ServiceUnavailableError: ",
        "InternalServerError: oops",
    ],
)
def test_what_time_may_heal_is_transient(text: str) -> None:
    assert is_transient(text, error_class(text))


@pytest.mark.parametrize(
    "text",
    [
        "total 429",
        "flight 503 departs",
        '{"timeout": 30}',
        "a page on timeouts. " * 100,
        "Error: main.py line 512: invalid syntax",
        "SyntaxError: main.py:500:3 unexpected token",
        "Error: 512 tests failed",
        "Error: no row with id 503",
        "error 500:12: missing semicolon",
    ],
)
def test_words_and_numbers_in_results_are_not(text: str) -> None:
    assert not is_transient(text, error_class(text))
