"""JSON as models write it, read without asking again: what is around it, and what is nearly JSON.

Only form is repaired, never content: no value is made up or completed (of two equal names the last one counts, as JSON
has it everywhere). A text that ends inside a string, or
behind a comma or a colon, stays unreadable; and brackets are closed at the end only where the model said that it was
done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Candidate", "candidates", "loads"]

_STARTS_MAX: Final = 64
"""Brackets at which JSON may begin in one text; each is tried once, so that hostile text costs at most this often."""
_DEPTH_MAX: Final = 100
_BLANK: Final = re.compile(r"(?:\s+|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_SPACE: Final = re.compile(r"\s*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_WORD: Final = re.compile(r"[A-Za-z_$][\w$\-]*")
_LITERALS: Final = {"true": True, "false": False, "null": None}
_PYTHON: Final = {"True": True, "False": False, "None": None}
_ESCAPES: Final = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_CLOSES: Final = {"{": "}", "[": "]"}
_UNICODE: Final = re.compile(r"u[0-9a-fA-F]{4}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2})?")
_FENCE: Final = re.compile(r"\s*```[\w-]*\s*")
_PLAIN: Final = {'"': re.compile(r'[^"\\\x00-\x1f]*'), "'": re.compile(r"[^'\\\x00-\x1f]*")}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that a text contains, and what had to be repaired to read it."""

    value: Any
    repairs: tuple[str, ...] = ()


class _UnreadableError(ValueError):
    """What stands there is no JSON, nor nearly."""


def loads(text: str) -> Candidate | None:
    """A text that is JSON from its first character to its last; None: it is not."""
    try:
        return Candidate(json.loads(text))
    except (ValueError, RecursionError):
        return None


def candidates(text: str, *, cut: bool) -> Iterator[Candidate]:
    """The objects and lists in a text, the last one first: models think first and answer then.

    Args:
        text: What the model said.
        cut: Whether it ended because its tokens did; then nothing is closed for it.
    """
    found: list[Candidate] = []
    at = 0
    for _ in range(_STARTS_MAX):
        start = _bracket(text, at)
        if start is None:
            break
        reader = _Reader(text, cut=cut)
        try:
            value, end = reader.value(start, 0)
        except _UnreadableError:
            if reader.begun:
                break  # The answer itself is broken: what is whole inside it is only a part.
            at = start + 1
            continue
        around = _around(text[:start] if not found else text[at:start], text[end:])
        found.append(Candidate(value, (*around, *reader.repairs)))
        at = end
    yield from reversed(found)


def _bracket(text: str, at: int) -> int | None:
    """Where the next object or list may begin."""
    places = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
    return min(places, default=None)


def _around(before: str, behind: str) -> tuple[str, ...]:
    """What stands around a value: nothing, a code fence, or words."""
    if not before.strip() and not behind.strip():
        return ()
    bare = _FENCE.fullmatch(before) and (not behind.strip() or _FENCE.fullmatch(behind))
    return ("code fence",) if bare else ("text around the answer",)


class _Reader:
    """Reads one value, noting each kind of repair once."""

    def __init__(self, text: str, *, cut: bool) -> None:
        self._text = text
        self._cut = cut
        self.begun = False
        """Whether a part of an object or list was read, so that this is no bracket in a sentence."""
        self._repairs: dict[str, None] = {}

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was repaired, in the order in which it was met."""
        return tuple(self._repairs)

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        """The value at a place, and where it ends.

        Raises:
            _UnreadableError: there is none.
        """
        if depth > _DEPTH_MAX:
            raise _UnreadableError
        at = self._skip(at)
        sign = self._text[at : at + 1]
        if sign in _CLOSES:
            return self._whole(at, depth)
        if sign in _PLAIN:
            return self._string(at)
        number = _NUMBER.match(self._text, at)
        if number is not None:
            return _number(number.group()), number.end()
        word = _WORD.match(self._text, at)
        if word is not None and word.group() in _LITERALS:
            return _LITERALS[word.group()], word.end()
        if word is not None and word.group() in _PYTHON:
            self._note("Python's words")
            return _PYTHON[word.group()], word.end()
        raise _UnreadableError

    def _whole(self, at: int, depth: int) -> tuple[Any, int]:
        """An object or a list."""
        closing, is_object = _CLOSES[self._text[at]], self._text[at] == "{"
        fields: dict[str, Any] = {}
        items: list[Any] = []
        at, empty = self._skip(at + 1), True
        while not self._closed(at, closing, empty=empty):
            if not empty:
                at = self._comma(at, closing)
                if self._text[at] == closing:
                    break
            empty = False
            if is_object:
                name, at = self._name(at)
                at = self._skip(at)
                if self._text[at : at + 1] != ":":
                    raise _UnreadableError
                fields[name], at = self.value(at + 1, depth + 1)
            else:
                item, at = self.value(at, depth + 1)
                items.append(item)
            self.begun = True
            at = self._skip(at)
        return (fields if is_object else items), min(at + 1, len(self._text))

    def _closed(self, at: int, closing: str, *, empty: bool) -> bool:
        """Whether an object or list ends here; at the end of a finished text its bracket may be missing.

        One that has nothing in it yet may lack all of it.
        """
        if at < len(self._text):
            return self._text[at] == closing
        if self._cut or empty:
            raise _UnreadableError
        self._note("missing brackets at the end")
        return True

    def _comma(self, at: int, closing: str) -> int:
        """Past the comma between two parts, and past one that has nothing behind it."""
        if self._text[at] != ",":
            raise _UnreadableError
        at = self._skip(at + 1)
        if at >= len(self._text):
            raise _UnreadableError  # Something was to follow.
        if self._text[at] == closing:
            self._note("trailing comma")
        return at

    def _name(self, at: int) -> tuple[str, int]:
        if self._text[at : at + 1] in _PLAIN:
            return self._string(at)
        word = _WORD.match(self._text, at)
        if word is None:
            raise _UnreadableError
        self._note("names without quotes")
        return word.group(), word.end()

    def _string(self, at: int) -> tuple[str, int]:
        quote = self._text[at]
        if quote == "'":
            self._note("single quotes")
        pieces: list[str] = []
        at += 1
        while True:
            plain = _PLAIN[quote].match(self._text, at)
            assert plain is not None, "it matches nothing as well"
            pieces.append(plain.group())
            at = plain.end()
            sign = self._text[at : at + 1]
            if sign == quote:
                return "".join(pieces), at + 1
            if not sign:
                raise _UnreadableError  # A string that never ends may lack words.
            if sign == "\\":
                piece, at = self._escape(at + 1)
                pieces.append(piece)
            else:
                self._note("line breaks in a string")
                pieces.append(sign)
                at += 1

    def _escape(self, at: int) -> tuple[str, int]:
        sign = self._text[at : at + 1]
        if sign == "u":
            # json joins the two halves of a surrogate pair.
            pair = _UNICODE.match(self._text, at)
            if pair is None:
                raise _UnreadableError
            return json.loads(f'"\\{pair.group()}"'), pair.end()
        if sign not in _ESCAPES:
            raise _UnreadableError
        if sign == "'":
            self._note("single quotes")
        return _ESCAPES[sign], at + 1

    def _skip(self, at: int) -> int:
        """Past blanks and comments."""
        end = _SPACE.match(self._text, at)
        assert end is not None, "it matches nothing as well"
        at = end.end()
        if self._text[at : at + 1] == "/":
            behind = _BLANK.match(self._text, at)
            assert behind is not None, "it matches nothing as well"
            if behind.end() > at:
                self._note("comments")
            at = behind.end()
        return at

    def _note(self, repair: str) -> None:
        self._repairs[repair] = None


def _number(text: str) -> int | float:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:  # More digits than Python reads as a number.
        raise _UnreadableError from None
