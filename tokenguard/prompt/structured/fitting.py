"""A value bent to its schema where only the form is wrong: the case of an enum, a number in quotes.

Used on answers that pydantic refused, so that what is right already is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.prompt.structured.shapes import (
    ABSENT,
    AnyOf,
    Choice,
    Field,
    Items,
    Map,
    Record,
    Ref,
    Scalar,
    Schema,
    Shape,
    Tuple,
)

__all__ = ["fitted", "trimmed"]

_INT: Final = re.compile(r"\s*[+-]?\d{1,100}\s*")
_NUMBER: Final = re.compile(r"\s*[+-]?\d{1,100}(?:\.\d{1,100})?(?:[eE][+-]?\d{1,3})?\s*")
_WORDS: Final = re.compile(r"[\s_\-]+")
_CASE: Final = "case of an enum"
_QUOTED: Final = "number in quotes"


def fitted(value: Any, schema: Schema) -> tuple[Any, tuple[str, ...]]:
    """The value as its schema wants it, and what was changed; nothing is added or left out.

    Args:
        value: JSON values, as they were read.
        schema: Of the answer.
    """
    repairs: dict[str, None] = {}
    return _fit(value, schema.root, schema.named, repairs), tuple(repairs)


def trimmed(value: Any, schema: Schema) -> Any:
    """The value without what its fields' defaults say already; tags of unions stay, because they are always asked for.

    Args:
        value: JSON values, valid.
        schema: Of the value.
    """
    return _trim(value, schema.root, schema.named)


def _trim(value: Any, shape: Shape | None, named: Mapping[str, Shape]) -> Any:
    while isinstance(shape, Ref | AnyOf):
        shape = named[shape.name] if isinstance(shape, Ref) else _branch(value, shape, named)
    if isinstance(shape, Record):
        fields = {field.name: field for field in shape.fields}
        return {
            name: _trim(one, fields[name].shape if name in fields else shape.rest, named)
            for name, one in mapping_of(value).items()
            if name not in fields or not _is_default(one, fields[name])
        }
    if isinstance(shape, Map):
        return {name: _trim(one, shape.value, named) for name, one in mapping_of(value).items()}
    if isinstance(shape, Items):
        return [_trim(one, shape.item, named) for one in list_of(value)]
    return value


def _is_default(value: Any, field: Field) -> bool:
    """Whether leaving a field out says the same."""
    if field.required or (isinstance(field.shape, Choice) and len(field.shape.values) == 1):
        return False
    return value in (None, [], {}) if field.default is ABSENT else bool(value == field.default)


def _fit(value: Any, shape: Shape, named: Mapping[str, Shape], repairs: dict[str, None]) -> Any:  # noqa: PLR0911  # one for each shape
    match shape:
        case Ref():
            return _fit(value, named[shape.name], named, repairs)
        case Choice():
            return _choice(value, shape, repairs)
        case Scalar():
            return _scalar(value, shape, repairs)
        case AnyOf():
            branch = _branch(value, shape, named)
            return value if branch is None else _fit(value, branch, named, repairs)
        case Record():
            kinds = {field.name: field.shape for field in shape.fields}
            found = {name: kinds.get(name) or shape.rest for name in mapping_of(value)}
            return _each(value, found, named, repairs)
        case Map():
            return _each(value, dict.fromkeys(mapping_of(value), shape.value), named, repairs)
        case Items():
            return _row(value, [shape.item] * len(list_of(value)), named, repairs)
        case _:
            more = max(0, len(list_of(value)) - len(shape.items))
            return _row(value, [*shape.items, *[shape.rest] * more], named, repairs)


def _each(value: Any, kinds: Mapping[str, Shape | None], named: Mapping[str, Shape], repairs: dict[str, None]) -> Any:
    """An object with each of its values fitted; anything else as it is."""
    found: dict[str, Any] = {}
    for name, one in mapping_of(value).items():
        kind = kinds[name]
        found[name] = one if kind is None else _fit(one, kind, named, repairs)
    return found or value


def _row(value: Any, kinds: Sequence[Shape | None], named: Mapping[str, Shape], repairs: dict[str, None]) -> Any:
    """A list with each of its items fitted; anything else as it is."""
    pairs = zip(list_of(value), kinds, strict=False)
    return [one if kind is None else _fit(one, kind, named, repairs) for one, kind in pairs] or value


def _choice(value: Any, shape: Choice, repairs: dict[str, None]) -> Any:
    """The one value of an enum that is the same but for case, blanks, underscores and hyphens."""
    if not isinstance(value, str) or value in shape.values:
        return value
    same = [one for one in shape.values if isinstance(one, str) and _folded(one) == _folded(value)]
    if len(same) == 1:
        repairs[_CASE] = None
        return same[0]
    number = _scalar(value, Scalar("number"), {})
    if number in [one for one in shape.values if isinstance(one, int | float)]:
        repairs[_QUOTED] = None
        return number
    return value


def _folded(text: str) -> str:
    return _WORDS.sub(" ", text.strip().casefold())


def _scalar(value: Any, shape: Scalar, repairs: dict[str, None]) -> Any:
    """A number that stands in quotes; a decimal stays a text, which keeps its digits."""
    if not isinstance(value, str) or shape.form == "decimal":
        return value
    if shape.kind in ("int", "number") and _INT.fullmatch(value):
        repairs[_QUOTED] = None
        return int(value)
    if shape.kind == "number" and _NUMBER.fullmatch(value):
        repairs[_QUOTED] = None
        return float(value)
    return value


def _branch(value: Any, shape: AnyOf, named: Mapping[str, Shape]) -> Shape | None:
    """The only branch of a union that a value can be meant for; None: there are several, or none."""
    options: list[Shape] = [named[one.name] if isinstance(one, Ref) else one for one in shape.options]
    fields = mapping_of(value)
    if fields:
        tagged: list[Shape] = [one for one in options if isinstance(one, Record) and _tags_fit(fields, one)]
        meant = tagged or [one for one in options if isinstance(one, Map)]
    elif list_of(value):
        meant = [one for one in options if isinstance(one, Items | Tuple)]
    else:
        # A text fits a branch of texts as it is.
        texts = any(isinstance(one, Scalar) and one.kind in ("string", "any") for one in options)
        meant = [] if texts else [one for one in options if isinstance(one, Choice | Scalar) and one != Scalar("null")]
    return meant[0] if len(meant) == 1 else None


def _tags_fit(value: Mapping[str, Any], record: Record) -> bool:
    """Whether an object has what a record needs, tags included, whatever their case."""
    for field in record.fields:
        if field.required and field.name not in value:
            return False
        if field.name in value and isinstance(field.shape, Choice):
            repaired = _choice(value[field.name], field.shape, {})
            if repaired not in field.shape.values:
                return False
    return True
