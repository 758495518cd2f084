"""Shapes as text for a model: TypeScript-like, one field a line, or everything on one line.

Both leave out what costs tokens and says nothing: quotes around names, blanks, commas at line ends, and the definition
of a shape that is used once. A shape that is used more often gets a name where that is shorter; one that contains
itself always does. What is kept: every name, every value of an enum, every limit and every description.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from tokenguard.prompt.structured.shapes import (
    ABSENT,
    AnyOf,
    Choice,
    Field,
    Items,
    Limits,
    Map,
    Record,
    Ref,
    Scalar,
    Schema,
    Shape,
    Tuple,
    reached,
    refs_of,
)

__all__ = ["Style", "Writer", "compact", "write_schema"]

Style: TypeAlias = Literal["typescript", "line"]

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_$][\w$.\-]*")
_PLAIN_VALUE: Final = re.compile(r"[A-Za-z_][\w.\-]*(?: [\w.\-]+)*")
_TYPE_WORDS: Final = frozenset({"any", "bool", "false", "int", "null", "number", "string", "true", "url"})
_FORMS: Final[Mapping[str, str]] = {
    "date": "YYYY-MM-DD",
    "date-time": "ISO datetime",
    "time": "HH:MM:SS",
    "duration": "ISO duration",
    "uuid": "uuid",
    "uuid1": "uuid",
    "uuid3": "uuid",
    "uuid4": "uuid",
    "uuid5": "uuid",
    "email": "email",
    "uri": "url",
    "binary": "string",
    "base64url": "base64url",
    "password": "string",
}


@dataclass(frozen=True, slots=True)
class _Marks:
    """What tells one style from the other."""

    opening: str
    between: str
    closing: str
    quoted: bool
    """Whether texts of an enum keep their quotes."""
    typed: bool
    """Whether a text's type is written."""


_MARKS: Final[Mapping[Style, _Marks]] = {
    "typescript": _Marks("{\n", "\n", "\n}", quoted=True, typed=True),
    "line": _Marks("{", ",", "}", quoted=False, typed=False),
}


def compact(value: Any) -> str:
    """JSON without blanks, as answers are asked for; text outside ASCII as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_schema(schema: Schema, style: Style) -> str:
    """A schema as text; the first line or block is the answer's type, named shapes follow, one a line or block."""
    return Writer(schema, style).document()


class Writer:
    """Writes the shapes of one schema in one style."""

    def __init__(self, schema: Schema, style: Style, *, named: Iterable[str] | None = None) -> None:
        """Begin.

        Args:
            schema: What is written.
            style: How.
            named: Shapes that are written by name; None: those for which that is shorter, or the only way.
        """
        self._schema = schema
        self._marks = _MARKS[style]
        self._texts: dict[str, str] = {}
        self._pending: list[str] = []
        chosen = (name for name in schema.named if _is_named(name, schema, style)) if named is None else named
        self._named = frozenset(chosen)

    def document(self) -> str:
        """The root, and the definitions that it needs."""
        root = self._schema.root
        lines: list[str] = []
        if isinstance(root, Ref) and root.name in self._named:
            self._pending.append(root.name)
        else:
            about = self._schema.about.get(root.name if isinstance(root, Ref) else "", "")
            lines.append(self._commented(self.text(root), about))
        return "\n".join([*lines, *self._definitions()])

    def _definitions(self) -> Iterator[str]:
        """Named shapes in the order in which they were first met."""
        written: set[str] = set()
        while self._pending:
            name = self._pending.pop(0)
            if name not in written:
                written.add(name)
                yield self._commented(f"{name}={self.text(self._schema.named[name])}", self._schema.about.get(name, ""))

    def text(self, shape: Shape) -> str:  # noqa: PLR0911  # one for each shape
        """One shape, its named parts by their names."""
        match shape:
            case Scalar():
                return _scalar(shape)
            case Choice():
                return "|".join(map(self._value, shape.values))
            case Items():
                return f"{self._item(shape.item)}[]{_range(shape.limits, 'Items')}"
            case Tuple():
                rest = [] if shape.rest is None else [f"...{self._item(shape.rest)}[]"]
                return f"[{','.join([*map(self.text, shape.items), *rest])}]{_range(shape.limits, 'Items')}"
            case Map():
                return f"{{[{self.text(shape.key)}]:{self.text(shape.value)}}}{_range(shape.limits, 'Properties')}"
            case Record():
                return self._record(shape)
            case AnyOf():
                return self._any_of(shape)
            case _:
                return self._ref(shape.name)

    def fields(self, record: Record) -> Iterator[str]:
        """The fields of a record, each as it is written."""
        yield from map(self._field, record.fields)
        if record.rest is not None:
            yield f"[string]:{self.text(record.rest)}"

    def _record(self, record: Record) -> str:
        fields = list(self.fields(record))
        return self._marks.opening + self._marks.between.join(fields) + self._marks.closing if fields else "{}"

    def _field(self, field: Field) -> str:
        shape = field.shape if field.required else _without_null(field)
        kind = self.text(shape)
        if kind == "string" and not self._marks.typed:
            kind = ""
        # A tag that has one value only is always said: unions are told apart by it.
        said = field.required or (isinstance(shape, Choice) and len(shape.values) == 1)
        mark, default = ("", "") if said else ("?", _default(field.default))
        name = field.name if _PLAIN_NAME.fullmatch(field.name) else compact(field.name)
        about = field.about or (self._schema.about.get(shape.name, "") if isinstance(shape, Ref) else "")
        # A named shape says what it is where it is written.
        if isinstance(shape, Ref) and shape.name in self._named:
            about = field.about
        return self._commented(f"{name}{mark}{':' if kind else ''}{kind}{default}", about)

    def _commented(self, text: str, about: str) -> str:
        if not about:
            return text
        if not self._marks.typed:
            return f"{text}({about})"
        # Behind a block a comment would stand at its end, far from its name.
        head, line, rest = text.partition("\n")
        return f"{head} //{about}{line}{rest}"

    def _any_of(self, shape: AnyOf) -> str:
        # Bare words of an enum could not be told from the names of types beside them.
        texts = [
            "|".join(map(compact, one.values)) if isinstance(one, Choice) else self.text(one) for one in shape.options
        ]
        return "|".join(texts)

    def _item(self, shape: Shape) -> str:
        """What a list's brackets are put behind."""
        text = self.text(shape)
        single = isinstance(shape, Record | Ref | Map | Tuple) or text.isidentifier()
        return text if single else f"({text})"

    def _value(self, value: Any) -> str:
        plain = isinstance(value, str) and _PLAIN_VALUE.fullmatch(value) and value.lower() not in _TYPE_WORDS
        return value if plain and not self._marks.quoted else compact(value)

    # ---- named, or written where it is used -------------------------------------------------------------------------

    def _ref(self, name: str) -> str:
        if name not in self._named:
            return self._inline(name)
        self._pending.append(name)
        return name

    def _inline(self, name: str) -> str:
        if name not in self._texts:
            self._texts[name] = self.text(self._schema.named[name])
        return self._texts[name]


def _is_named(name: str, schema: Schema, style: Style) -> bool:
    """Whether a shape gets a name: it contains itself, or naming it is shorter than writing it again."""
    if name in reached(schema.named[name], schema.named):
        return True
    uses = _uses(name, schema)
    if uses <= 1:
        return False
    length = len(Writer(schema, style, named=schema.named).text(schema.named[name]))
    return (uses - 1) * length > (uses + 1) * (len(name) + 1)


def _uses(name: str, schema: Schema) -> int:
    """How often a shape is referred to in the whole schema, each named shape written once."""
    needed = reached(schema.root, schema.named)
    shapes = [schema.root, *(schema.named[one] for one in needed)]
    return sum(one == name for shape in shapes for one in refs_of(shape))


# ---- words ---------------------------------------------------------------------------------------------------------


def _scalar(shape: Scalar) -> str:
    limits = dict(shape.limits)
    pattern = limits.pop("pattern", None)
    if shape.kind == "string":
        word = _FORMS.get(shape.form, f"string({shape.form})" if shape.form else "string")
        tail = _range(shape.limits, "Length") + ("" if pattern is None else f"(/{pattern}/)")
        return word + tail
    return shape.kind + _bounds(limits)


def _bounds(limits: Mapping[str, Any]) -> str:
    """Limits of a number, as short as they can be said."""
    low, high = limits.get("minimum"), limits.get("maximum")
    words: list[str] = []
    if low is not None and high is not None:
        words.append(f"{_number(low)}..{_number(high)}")
    elif low is not None or high is not None:
        words.append(f">={_number(low)}" if low is not None else f"<={_number(high)}")
    for name, sign in (("exclusiveMinimum", ">"), ("exclusiveMaximum", "<")):
        if name in limits:
            words.append(f"{sign}{_number(limits[name])}")
    for name, text in (
        ("multipleOf", "multiple of {}"),
        ("maxDigits", "max {} digits"),
        ("decimalPlaces", "max {} decimals"),
    ):
        if name in limits:
            words.append(text.format(_number(limits[name])))
    if len(words) == 1 and words[0][0] in "<>":
        return words[0]
    return f"({','.join(words)})" if words else ""


def _range(limits: Limits, what: str) -> str:
    """How long, or how many, in brackets: `(1..5)`, `(min 1)`, `(max 5)`, `(unique)`."""
    found = dict(limits)
    low, high = found.get(f"min{what}"), found.get(f"max{what}")
    words = ["unique"] if found.get("uniqueItems") else []
    if low is not None and high is not None:
        words.append(str(low) if low == high else f"{low}..{high}")
    elif low is not None or high is not None:
        words.append(f"min {low}" if low is not None else f"max {high}")
    return f"({','.join(words)})" if words else ""


def _number(value: Any) -> str:
    """A value as JSON has it; 1.0 is 1."""
    return compact(int(value) if isinstance(value, float) and value.is_integer() else value)


def _without_null(field: Field) -> Shape:
    """The type of a field that may be left out: null says the same as leaving it out, unless there is a default."""
    shape, null = field.shape, Scalar("null")
    if field.default is not None or not isinstance(shape, AnyOf) or null not in shape.options:
        return shape
    kept = tuple(one for one in shape.options if one != null)
    return kept[0] if len(kept) == 1 else AnyOf(kept)


def _default(value: Any) -> str:
    """A default that says more than that the field is empty."""
    return "" if value is ABSENT or value is None or value in ([], {}, "") else f"={_number(value)}"
