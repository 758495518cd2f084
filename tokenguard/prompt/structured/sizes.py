"""How many tokens an answer of a schema may need: the bound that is asked for, and held, instead of a model's maximum.

A text without a limit counts 64 tokens and one with `max_length` a third of it, a list its `max_length` or 8 items, a
dict 8 pairs; names and punctuation are counted as they are. All of it times 1.3, never below 32, and a few more for
the code fence that some models cannot leave out: an answer that is cut for it has to be paid twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tokenguard.prompt.structured.shapes import (
    Choice,
    Items,
    Map,
    Record,
    Ref,
    Scalar,
    Schema,
    Shape,
    Tuple,
    reached,
)
from tokenguard.prompt.structured.writing import compact

__all__ = ["Count", "answer_tokens", "likely_tokens"]

Count = Callable[[str], int]
"""Tokens of a text."""

_TEXT: Final = 64
_MANY: Final = 8
_LEAST: Final = 32
_FENCE: Final = 16
_SLACK_PERCENT: Final = 130
_CHARACTERS_PER_TOKEN: Final = 3
_LEVELS: Final = 2
"""How often a shape that contains itself is counted on the way to one of its parts."""
_LEVELS_MAX: Final = 3
"""… and how many such shapes together: those that contain each other would grow without end."""
_MOST: Final = 16_384
"""Longer answers are asked for by name: `StructuredPrompt(max_tokens=)`."""
_KINDS: Final[Mapping[str, int]] = {"bool": 2, "int": 6, "number": 8, "null": 1, "any": _TEXT}
_FORMS: Final[Mapping[str, int]] = {
    "date": 10,
    "time": 12,
    "date-time": 22,
    "duration": 10,
    "uuid": 26,
    "uuid4": 26,
    "ipv4": 10,
    "email": 16,
    "uri": 40,
}


def likely_tokens(text: str) -> int:
    """Tokens of a text where no tokenizer is at hand: one for three characters, and one more."""
    return 1 + len(text) // _CHARACTERS_PER_TOKEN


def answer_tokens(schema: Schema, count: Count = likely_tokens) -> int:
    """The most tokens that an answer should need, 48 to 16,384.

    Args:
        schema: Of the answer.
        count: Of the model that answers.
    """
    tokens = _Sizes(schema.named, count).of(schema.root, ())
    return min(_MOST, max(_LEAST, -(-tokens * _SLACK_PERCENT // 100)) + _FENCE)


class _Sizes:
    """Adds up shapes, each text counted once."""

    def __init__(self, named: Mapping[str, Shape], count: Count) -> None:
        self._named = named
        self._count = count
        self._counted: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._endless = {name for name, shape in named.items() if name in reached(shape, named)}

    def of(self, shape: Shape, inside: tuple[str, ...]) -> int:  # noqa: PLR0911  # one for each shape
        """Tokens of the largest value that is to be expected."""
        match shape:
            case Ref():
                return self._named_size(shape.name, inside)
            case Scalar():
                return _scalar(shape)
            case Choice():
                return max(self._tokens(compact(value)) for value in shape.values)
            case Items():
                return 2 + _number(shape.limits, "maxItems", _MANY) * (1 + self.of(shape.item, inside))
            case Tuple():
                rest = 0 if shape.rest is None else _MANY * (1 + self.of(shape.rest, inside))
                return 2 + rest + sum(1 + self.of(one, inside) for one in shape.items)
            case Map():
                pair = 2 + min(_TEXT // 4, self.of(shape.key, inside)) + self.of(shape.value, inside)
                return 2 + _number(shape.limits, "maxProperties", _MANY) * pair
            case Record():
                return 2 + sum(
                    self._tokens(f'"{field.name}":,') + self.of(field.shape, inside) for field in shape.fields
                )
            case _:
                return max(self.of(one, inside) for one in shape.options)

    def _named_size(self, name: str, inside: tuple[str, ...]) -> int:
        shape = self._named[name]
        if name not in self._endless:
            if name not in self._sizes:
                self._sizes[name] = self.of(shape, inside)
            return self._sizes[name]
        if inside.count(name) >= _LEVELS or len(inside) >= _LEVELS_MAX:
            return 1
        return self.of(shape, (*inside, name))

    def _tokens(self, text: str) -> int:
        if text not in self._counted:
            self._counted[text] = max(1, self._count(text))
        return self._counted[text]


def _scalar(shape: Scalar) -> int:
    if shape.kind != "string":
        return _KINDS[shape.kind]
    longest = _number(shape.limits, "maxLength", 0)
    # Two tokens for the quotes.
    return 2 + (-(-longest // _CHARACTERS_PER_TOKEN) if longest else _FORMS.get(shape.form, _TEXT))


def _number(limits: tuple[tuple[str, Any], ...], name: str, otherwise: int) -> int:
    found = dict(limits).get(name)
    return found if isinstance(found, int) else otherwise
