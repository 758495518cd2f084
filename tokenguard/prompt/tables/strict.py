"""Reading JSON that can be written again exactly, and writing it without blanks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

__all__ = ["CHARACTERS_MAX", "Refused", "compact", "minify", "parsed", "written"]

CHARACTERS_MAX: Final = 1_000_000
"""Longer texts are left alone, so that no tool's output can hold a call up."""

_BLANKS: Final = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\n\r]+')
_MINUS_ZERO: Final = re.compile(r"-0(?![\d.eE])")
_DIGITS_MAX: Final = 400
"""Of one number; reading thousands of digits takes quadratic time."""
_LONG_NUMBER: Final = re.compile(rf"\d{{{_DIGITS_MAX}}}")


class Refused(Exception):  # noqa: N818  # never leaves this package
    """The text is no JSON, or writing its value again would not give the same."""


def minify(text: str) -> str | None:
    """The same JSON document without the blanks between its parts.

    Characters that were written as escapes are written as themselves where that is the same value; documents that
    would come out otherwise (numbers written in another way, a key twice) keep every character but the blanks.

    Returns:
        None: it is no JSON, has NaN or Infinity, is larger than a million characters, or would not be shorter.
    """
    short: str | None
    try:
        short = compact(parsed(text))
    except Refused:
        short = _without_blanks(text)
    return short if short is not None and len(short) < len(text) else None


def parsed(text: str) -> Any:
    """The value of a JSON document that `compact` writes again exactly.

    Raises:
        Refused: it is no JSON or too large, a key occurs twice in an object, or a number or a surrogate would not be
            written as it was.
    """
    if len(text) > CHARACTERS_MAX or _LONG_NUMBER.search(text) or _MINUS_ZERO.search(text):
        raise Refused
    try:
        value = json.loads(text)
        if _is_written_like(text, value):
            return value
        # Rare spellings are looked at number by number and key by key, which takes four times as long.
        return json.loads(text, object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise Refused from None


def compact(value: Any) -> str:
    """A value as JSON without blanks; characters stand for themselves.

    Raises:
        Refused: it holds half of a surrogate pair, which no UTF-8 can carry, or nests too deeply.
    """
    try:
        text = _encode(value)
        text.encode()
    except (UnicodeEncodeError, RecursionError):
        raise Refused from None
    return text


def written(value: Any) -> str:
    """A part of a value that was checked as a whole, as JSON without blanks."""
    if type(value) is str:
        return _quoted(value)
    # Not for True and False, which are whole numbers to Python.
    return repr(value) if type(value) is int else _encode(value)


_quoted: Callable[[str], str] = json.encoder.encode_basestring
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def _is_written_like(text: str, value: Any) -> bool:
    """Whether Python writes the value as it was: then nothing in it was said twice or in another way."""
    if "NaN" in text or "Infinity" in text:
        return False
    return any(text == write(value) for write in (_usual, _encode, _usual_unicode, _pretty))


_usual = json.JSONEncoder(check_circular=False).encode
_usual_unicode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
_pretty = json.JSONEncoder(indent=2, check_circular=False).encode


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused
    return found


def _float(text: str) -> float:
    value = float(text)
    if repr(value) != text:
        raise Refused
    return value


def _constant(name: str) -> Any:
    raise Refused(name)


def _without_blanks(text: str) -> str | None:
    """The document with nothing removed but blanks outside of strings; None: it is none."""
    if len(text) > CHARACTERS_MAX or _LONG_NUMBER.search(text):
        return None
    try:
        json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError, Refused):
        return None
    return _BLANKS.sub(lambda found: found[1] or "", text)
