"""Reading JSON that can be written again exactly, and writing it without blanks.

Python's own reader loses how numbers were spelled and which keys came twice. A text that Python would write the same
way has lost nothing, which is quickly seen; of any other, each number and each object is looked at.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

__all__ = ["ABSENT", "CHARACTERS_MAX", "Number", "Refused", "compact", "exact", "minify", "parsed"]
__all__ += ["quoted", "raw", "with_texts", "written"]

CHARACTERS_MAX: Final = 1_000_000
"""Longer texts are left alone, so that no tool's output can hold a call up."""

ABSENT: Final = object()
"""What stands where there is no value."""

_MARK: Final = "\ufdd0"
"""Begins a spelled number on its way through the encoder. Unicode keeps this code point for uses inside of programs."""
_MARK_ESCAPED: Final = re.compile(r"\\ufdd0", re.IGNORECASE)
_PLACE: Final = f'"{_MARK}"'
_DIGITS_MAX: Final = 400
"""Of a whole number that is read as one; reading thousands of digits takes quadratic time."""
_MINUS_ZERO: Final = re.compile(r"-0(?![\d.eE])")
_BLANKS: Final = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\n\r]+')
_SPELLED: Final = re.compile(f'"{_MARK}([^"]+)"')


class Refused(Exception):  # noqa: N818  # never leaves this package
    """The text is no JSON, or writing its value again would not give the same."""


class Number(str):
    """A number that Python would spell otherwise (1.50, 1E5, -0), as it was spelled, behind a mark."""

    __slots__ = ()


def minify(text: str) -> str | None:
    """The same JSON document without the blanks between its parts.

    Numbers keep their spelling and objects the order of their keys. Characters that were written as escapes are
    written as themselves, where they can be.

    Returns:
        None: it is no JSON, or has NaN, Infinity, a key twice in one object, half of a surrogate pair, more levels
            than Python's stack or more than a million characters; or it would not be shorter.
    """
    try:
        short = compact(parsed(text))
    except Refused:
        return None
    return short if len(short) < len(text) else None


def parsed(text: str) -> Any:
    """The value of a JSON document that `compact` writes again exactly.

    Raises:
        Refused: `minify` says when.
    """
    if len(text) > CHARACTERS_MAX or _MARK in text or ("\\u" in text and _MARK_ESCAPED.search(text)):
        raise Refused
    try:
        value = _usually(text)
        return exact(text) if value is ABSENT else value
    except (ValueError, RecursionError):
        raise Refused from None


def compact(value: Any) -> str:
    """A value as JSON without blanks; characters stand for themselves.

    Raises:
        Refused: it holds half of a surrogate pair, which no UTF-8 can carry, or nests too deeply.
    """
    try:
        text = written(value)
        text.encode()
    except (UnicodeEncodeError, RecursionError):
        raise Refused from None
    return text


def written(value: Any) -> str:
    """A part of a value that was checked as a whole, as JSON without blanks."""
    if type(value) is int:
        return repr(value)
    if type(value) is str:
        return quoted(value)
    text = _encode(value)
    return _SPELLED.sub(r"\1", text) if _MARK in text else text


def with_texts(value: dict[str, Any] | list[Any], texts: Sequence[str | None]) -> str:
    """An object or a list as JSON without blanks, with the texts of some of its values given: None for the others."""
    rest: dict[str, Any] | list[Any]
    if isinstance(value, dict):
        rest = {name: one if text is None else _MARK for (name, one), text in zip(value.items(), texts, strict=True)}
    else:
        rest = [one if text is None else _MARK for one, text in zip(value, texts, strict=True)]
    given = [text for text in texts if text is not None]
    text = "".join([part for pair in zip(_encode(rest).split(_PLACE), [*given, ""], strict=True) for part in pair])
    return _SPELLED.sub(r"\1", text) if _MARK in text else text


quoted: Callable[[str], str] = json.encoder.encode_basestring
"""A string as JSON."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_usual = json.JSONEncoder(check_circular=False).encode
_usual_unicode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


def _usually(text: str) -> Any:
    """The value of a document in which nothing is spelled in a way of its own; ABSENT: something may be."""
    # Without Python's limit of digits, reading one whole number could take minutes.
    if not sys.get_int_max_str_digits() or _MINUS_ZERO.search(text):
        return ABSENT
    try:
        value = _quickly(text)
    except ValueError:
        return ABSENT  # More digits than the limit, or no JSON.
    return value if _is_written_like(text, value) else ABSENT


def _is_written_like(text: str, value: Any) -> bool:
    """Whether Python writes the value as it was, blanks aside: then nothing was said twice or in another way."""
    if text == _usual(value) or text == _encode(value) or text == _usual_unicode(value):
        return True
    bare = _BLANKS.sub(lambda found: found[1] or "", text)
    return bare in (_encode(value), _encode_ascii(value))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _float(text: str) -> float | Number:
    value = float(text)
    return value if repr(value) == text else Number(_MARK + text)


def _integer(text: str) -> int | Number:
    return Number(_MARK + text) if len(text) > _DIGITS_MAX or text == "-0" else int(text)


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_quickly = json.JSONDecoder(parse_constant=_constant).decode
_exactly: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_constant
)
exact: Final[Callable[[str], Any]] = _exactly.decode
"""The value of a document, its numbers as they are spelled; ValueError: it is none, or has a key twice."""
raw: Final[Callable[[str, int], tuple[Any, int]]] = _exactly.raw_decode
"""The same for the value that begins at a place, and the place behind it."""
