"""What a JSON schema allows, as a small tree that can be written, sized and walked.

Read from schemas of any origin (pydantic, MCP servers, tools written by hand), so nothing about them is believed: a
keyword of the wrong type is passed over, an unknown type allows anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tokenguard.core.untrusted import list_of, mapping_of

__all__ = [
    "ABSENT",
    "AnyOf",
    "Choice",
    "Field",
    "Items",
    "Limits",
    "Map",
    "Record",
    "Ref",
    "Scalar",
    "Schema",
    "Shape",
    "Tuple",
    "names_of",
    "parts_of",
    "reached",
    "read_schema",
    "refs_of",
]

ABSENT: Final = object()
"""A default that is not there; None is one."""

Limits: TypeAlias = tuple[tuple[str, Any], ...]
"""Keywords of the schema that narrow a type, with their values, such as `("minimum", 1)`."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value without parts."""

    kind: str
    """`string`, `int`, `number`, `bool`, `null` or `any`."""
    form: str = ""
    """The schema's `format`, such as `date` or `uuid`; empty: none."""
    limits: Limits = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    item: Shape
    limits: Limits = ()


@dataclass(frozen=True, slots=True)
class Tuple:
    """A list whose places have types of their own; `rest` is the type of further ones, None: there are none."""

    items: tuple[Shape, ...]
    rest: Shape | None = None
    limits: Limits = ()


@dataclass(frozen=True, slots=True)
class Map:
    """An object with any names."""

    key: Shape
    value: Shape
    limits: Limits = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One name of a record."""

    name: str
    shape: Shape
    required: bool
    default: Any = ABSENT
    about: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known names; `rest` is the type of further ones, None: the schema does not name it."""

    fields: tuple[Field, ...]
    rest: Shape | None = None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several shapes; at least two."""

    options: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Ref:
    """A shape that has a name, in `Schema.named`."""

    name: str


Shape: TypeAlias = Scalar | Choice | Items | Tuple | Map | Record | AnyOf | Ref


@dataclass(frozen=True, slots=True)
class Schema:
    """A whole schema."""

    root: Shape
    named: Mapping[str, Shape]
    about: Mapping[str, str]
    """Descriptions of the named shapes; the root's is under the empty name."""


ANY: Final = Scalar("any")
_TEXT: Final = Scalar("string")
_KINDS: Final[Mapping[str, str]] = {
    "string": "string",
    "integer": "int",
    "int": "int",
    "number": "number",
    "float": "number",
    "boolean": "bool",
    "bool": "bool",
    "null": "null",
}
_LISTS: Final = frozenset({"array", "list", "tuple"})
_OBJECTS: Final = frozenset({"object", "dict"})
_LIMITS: Final[Mapping[str, tuple[str, ...]]] = {
    "string": ("minLength", "maxLength", "pattern"),
    "int": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": (
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "maxDigits",
        "decimalPlaces",
    ),
    "list": ("minItems", "maxItems", "uniqueItems"),
    "map": ("minProperties", "maxProperties"),
}


def read_schema(schema: Mapping[str, Any]) -> Schema:
    """Read a JSON schema.

    Args:
        schema: With its definitions inside (`$defs`, `definitions`, or any place that a `$ref` points to).
    """
    reader = _Reader(schema)
    root = reader.shape(schema)
    about = {"": _about(schema), **reader.about}
    return Schema(root, reader.named, {name: text for name, text in about.items() if text})


def names_of(schema: Schema) -> Iterator[str]:
    """Every name of a record's field in a schema."""
    pending = [schema.root, *schema.named.values()]
    while pending:
        shape = pending.pop()
        pending += parts_of(shape)
        if isinstance(shape, Record):
            yield from (field.name for field in shape.fields)


def parts_of(shape: Shape) -> tuple[Shape, ...]:
    """What a shape consists of, in the order in which it is written; references are not followed."""
    match shape:
        case Items():
            return (shape.item,)
        case Tuple():
            return (*shape.items, *((shape.rest,) if shape.rest else ()))
        case Map():
            return (shape.key, shape.value)
        case Record():
            return (*(field.shape for field in shape.fields), *((shape.rest,) if shape.rest else ()))
        case AnyOf():
            return shape.options
        case _:
            return ()


def refs_of(shape: Shape) -> Iterator[str]:
    """Names that a shape contains, as often as it does."""
    if isinstance(shape, Ref):
        yield shape.name
    for part in parts_of(shape):
        yield from refs_of(part)


def reached(shape: Shape, named: Mapping[str, Shape]) -> dict[str, None]:
    """Names that a shape leads to, through others too, in order."""
    found: dict[str, None] = {}
    pending = list(refs_of(shape))
    while pending:
        name = pending.pop(0)
        if name not in found:
            found[name] = None
            pending += refs_of(named[name])
    return found


class _Reader:
    """Reads one document, following its references once each."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self.named: dict[str, Shape] = {}
        self.about: dict[str, str] = {}

    def shape(self, schema: Any) -> Shape:
        """The shape of one schema, `true` and `{}` included."""
        found = mapping_of(schema)
        if isinstance(found.get("$ref"), str):
            return self._ref(found["$ref"])
        if "const" in found:
            return Choice((found["const"],))
        if list_of(found.get("enum")):
            return Choice(tuple(list_of(found["enum"])))
        for word in ("anyOf", "oneOf"):
            if list_of(found.get(word)):
                return _any_of([self.shape(one) for one in list_of(found[word])])
        if list_of(found.get("allOf")):
            return self._all_of(found)
        kinds = [found["type"]] if isinstance(found.get("type"), str) else list(list_of(found.get("type")))
        if not kinds:
            kinds = ["object"] if "properties" in found else ["array"] if "items" in found else [""]
        if found.get("nullable") is True:
            kinds.append("null")
        return _any_of([self._typed(str(kind).lower(), found) for kind in kinds])

    def _ref(self, pointer: str) -> Ref:
        if pointer not in self._names:
            target = self._at(pointer)
            name = self._free_name(pointer.rpartition("/")[2].rpartition("__")[2].strip("_#") or "Type")
            self._names[pointer] = name
            self.named[name] = ANY  # It may refer to itself while it is read.
            self.named[name] = self.shape(target)
            self.about[name] = _about(target)
        return Ref(self._names[pointer])

    def _free_name(self, name: str) -> str:
        """The last part of a definition's name, with a number where another one has it."""
        clean = "".join(char if char.isalnum() or char == "_" else "_" for char in name)
        number, free = 1, clean
        while free in self.named:
            number += 1
            free = f"{clean}{number}"
        return free

    def _at(self, pointer: str) -> Any:
        """What a JSON pointer of this document leads to; anything is allowed where it leads nowhere."""
        here: Any = self._document
        for step in pointer.removeprefix("#").strip("/").split("/") if pointer.strip("#/") else ():
            name = step.replace("~1", "/").replace("~0", "~")
            inside = list_of(here)
            here = inside[int(name)] if name.isdigit() and int(name) < len(inside) else mapping_of(here).get(name)
        return here

    def _all_of(self, schema: Mapping[str, Any]) -> Shape:
        """All of some schemas: their keywords together, with those beside them."""
        together: dict[str, Any] = {}
        for one in [*list_of(schema["allOf"]), {name: value for name, value in schema.items() if name != "allOf"}]:
            for name, value in self._resolved(one).items():
                together[name] = _joined(name, together.get(name), value)
        only = list_of(schema["allOf"])
        if len(only) == 1 and "$ref" in mapping_of(only[0]):
            return self.shape(only[0])  # The usual way to put a description beside a reference.
        return self.shape(together)

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        pointer = mapping_of(schema).get("$ref")
        return mapping_of(self._at(pointer) if isinstance(pointer, str) else schema)

    def _typed(self, kind: str, schema: Mapping[str, Any]) -> Shape:
        if kind in _OBJECTS:
            return self._object(schema)
        if kind in _LISTS:
            return self._list(schema)
        known = _KINDS.get(kind, "any")
        form = schema.get("format")
        return Scalar(known, form if isinstance(form, str) else "", _limits(known, schema))

    def _list(self, schema: Mapping[str, Any]) -> Shape:
        limits = _limits("list", schema)
        places = list_of(schema.get("prefixItems")) or list_of(schema.get("items"))
        if not places:
            return Items(self.shape(schema.get("items")), limits)
        # A tuple's own length says nothing that its places do not.
        count = len(places)
        limits = tuple(one for one in limits if one not in (("minItems", count), ("maxItems", count)))
        rest = schema.get("additionalItems" if isinstance(schema.get("items"), list) else "items", True)
        ends = rest is False or schema.get("maxItems") == count
        return Tuple(tuple(map(self.shape, places)), None if ends else self.shape(rest), limits)

    def _object(self, schema: Mapping[str, Any]) -> Shape:
        properties, more = mapping_of(schema.get("properties")), schema.get("additionalProperties")
        patterns = mapping_of(schema.get("patternProperties"))
        if not properties and more is not False:
            key: Shape = self.shape(schema["propertyNames"]) if "propertyNames" in schema else _TEXT
            value: Shape = ANY if more in (None, True) else self.shape(more)
            if patterns:
                pattern, first = next(iter(patterns.items()))
                key, value = Scalar("string", "", (("pattern", pattern),)), self.shape(first)
            # Names without a type of their own are texts, as all names are.
            key = _TEXT if key == ANY else key
            return Map(key, value, _limits("map", schema))
        required = set(map(str, list_of(schema.get("required"))))
        fields = tuple(self._field(name, one, required=name in required) for name, one in properties.items())
        return Record(fields, self.shape(more) if mapping_of(more) or more is True else None)

    def _field(self, name: str, schema: Any, *, required: bool) -> Field:
        default = mapping_of(schema).get("default", ABSENT)
        return Field(name, self.shape(schema), required, default, _about(schema))


def _limits(kind: str, schema: Mapping[str, Any]) -> Limits:
    """The keywords that narrow a type, where they say something."""
    found = [(name, schema[name]) for name in _LIMITS.get(kind, ()) if name in schema]
    return tuple((name, value) for name, value in found if value is not None and value is not False)


def _joined(name: str, known: Any, value: Any) -> Any:
    """A keyword that several schemas of an `allOf` have."""
    if mapping_of(known) and mapping_of(value):
        return {**mapping_of(known), **mapping_of(value)}
    return [*list_of(known), *list_of(value)] if name == "required" else value


def _any_of(options: list[Shape]) -> Shape:
    """One of some shapes, without nesting and without saying the same twice; choices are joined."""
    flat: list[Shape] = []
    values: list[Any] = []
    for one in options:
        for shape in one.options if isinstance(one, AnyOf) else (one,):
            if isinstance(shape, Choice):
                if not values:
                    flat.append(shape)
                values += [value for value in shape.values if _unknown(value, values)]
            elif shape not in flat:
                flat.append(shape)
    joined = [Choice(tuple(values)) if isinstance(one, Choice) else one for one in flat]
    return joined[0] if len(joined) == 1 else AnyOf(tuple(joined))


def _unknown(value: Any, values: list[Any]) -> bool:
    """Whether a value is new; 1 and True are two."""
    return all(type(one) is not type(value) or one != value for one in values)


def _about(schema: Any) -> str:
    """A description on one line."""
    text = mapping_of(schema).get("description")
    return " ".join(text.split()) if isinstance(text, str) else ""
