"""What a text is, by a look at its first lines: whether a model may quote it, and which fold may fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final

__all__ = ["PROTECTED", "Kind", "kind_of"]

_LOOKED_AT: Final = 200
"""Lines: a long text is what its beginning is."""
_LINE_MAX: Final = 400
_FEWEST: Final = 3

_NUMBERED: Final = re.compile(r"\s*(\d{1,7})(?:[\t|:→]| {1,4}\S|$)")
_FOUND: Final = re.compile(
    r"[^\s:]{1,200}[/.][^\s:]{1,200}[:-]\d{1,7}[:-]"  # path:line:text
    r"|[\w.-]{1,80}(?:/[\w.-]{1,80}){0,20}\.\w{1,8}:(?!:)"  # path:text
)
_PATH: Final = re.compile(r"[^\s:*?\"<>|]{0,200}/[^\s:*?\"<>|]{0,200}")
_STAMP: Final = re.compile(
    r"\W{0,2}(?:\d{2,4}[-/.]\d\d[-/.]\d\d|[A-Z][a-z]{2} [ \d]\d |\d\d:\d\d:\d\d|\d{6} \d{6}|\d{9,13}\b"
    r"|\w{3} \w{3} [ \d]\d )"
    r"|\S{1,60} \S{1,30} \S{1,30} \[\d\d/\w{3}/\d{4}"  # a web server's
    r"|\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\b"
)
_TEST: Final = re.compile(
    r"=+ .*test session starts|Ran \d+ tests? in|(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL)\b"
    r"|.{1,200} \.\.\. (?:ok|FAIL|ERROR|skipped)|collected \d+ items|test process starts"
)
_CODE: Final = re.compile(
    r"\s*(?:(?:async )?def \w+\(|class \w+[:({]|from [\w.]+ import |import [\w.{*]|#include\b|package \w|public "
    r"|private |func(?:tion)? \w*\(|const \w+ =|let \w+ =|var \w+ =|return\b|if \(|\}\s*(?:else\b.*)?$|\)\s*[:{]$"
    r"|@\w+|elif |else:|try:|except |/[*/]|[^=]{1,200}[;{]$)"
)
_HTML: Final = re.compile(r"\s*(?:<!doctype html|<html[\s>])", re.IGNORECASE)


class Kind(StrEnum):
    """What a text is."""

    FILE = "file"
    """A file as a tool shows it, its lines numbered."""
    SEARCH = "search"
    """What a search found: path, line, text."""
    DIFF = "diff"
    CODE = "code"
    HTML = "html"
    PATHS = "paths"
    """A path on each line."""
    TESTS = "tests"
    """What a test runner says."""
    LOG = "log"
    OTHER = "other"


PROTECTED: Final = frozenset({Kind.FILE, Kind.SEARCH, Kind.DIFF, Kind.CODE})
"""What a model quotes, edits or counts lines in: never changed."""


def kind_of(text: str) -> Kind:
    """What a text is, by its first 200 lines. Never raises."""
    if _HTML.match(text):
        return Kind.HTML
    lines = [line[:_LINE_MAX].rstrip() for line in text[: _LOOKED_AT * _LINE_MAX].split("\n")[:_LOOKED_AT]]
    lines = [line for line in lines if line]
    if len(lines) < _FEWEST:
        return Kind.OTHER
    return next((kind for kind, is_it in _KINDS if is_it(lines)), Kind.OTHER)


def _is_diff(lines: Sequence[str]) -> bool:
    return any(line.startswith(("diff --git ", "@@ -")) for line in lines)


def _is_numbered(lines: Sequence[str]) -> bool:
    """Whether lines carry their numbers: most of them do, and the numbers rise by one."""
    numbers = [int(found[1]) for line in lines if (found := _NUMBERED.match(line))]
    steps = sum(after == before + 1 for before, after in pairwise(numbers))
    return len(numbers) >= _FEWEST and len(numbers) * 2 >= len(lines) and steps * 10 >= 8 * (len(numbers) - 1)


def _is_tests(lines: Sequence[str]) -> bool:
    return any(map(_TEST.match, lines)) or any(map(_TEST.search, lines[:20]))


def _mostly(matches: Callable[[str], object], percent: int) -> Callable[[Sequence[str]], bool]:
    """Whether so many of some lines match."""
    return lambda lines: sum(matches(line) is not None for line in lines) * 100 >= percent * len(lines)


_KINDS: Final[tuple[tuple[Kind, Callable[[Sequence[str]], bool]], ...]] = (
    (Kind.DIFF, _is_diff),
    (Kind.FILE, _is_numbered),
    (Kind.SEARCH, _mostly(_FOUND.match, 60)),
    (Kind.PATHS, _mostly(_PATH.fullmatch, 80)),
    (Kind.TESTS, _is_tests),
    (Kind.LOG, _mostly(_STAMP.match, 50)),
    # Most lines of a program are plain statements.
    (Kind.CODE, _mostly(_CODE.match, 20)),
)
