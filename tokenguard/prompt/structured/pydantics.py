"""Types as pydantic knows them: their schema, how their values are written, and what is wrong with an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import SetupError
from tokenguard.prompt.structured.shapes import Schema, names_of, read_schema
from tokenguard.prompt.structured.writing import compact

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from pydantic_core.core_schema import DecimalSchema

__all__ = ["OutputType", "Problem"]

M = TypeVar("M")

_OWN_WORDS: Final = frozenset({"value_error", "assertion_error"})
"""Errors whose message a validator of the user's wrote: it may quote what the model said."""
_SHOWN_MAX: Final = 200
_NO_VALUE: Final = frozenset({"missing", "extra_forbidden", "union_tag_not_found"})
"""Errors whose input is the object around the path, which would be sent back whole."""
_DECIMAL_LIMITS: Final = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "max_digits": "maxDigits",
    "decimal_places": "decimalPlaces",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an answer."""

    path: str
    """Such as `items[2].quantity`; empty: the answer itself."""
    place: str
    """The path with names that only the answer knows as `*`, for sentences that are kept."""
    kind: str
    """Pydantic's name of the error, such as `int_parsing`."""
    message: str
    """The validator's sentence; it may quote the answer."""
    value: str = ""
    """The value as compact JSON, where it is short and there is one."""

    @property
    def sentence(self) -> str:
        """What is wrong, without any word of the answer."""
        said = "a rule of the model's own is broken" if self.kind in _OWN_WORDS else self.message
        return f"{self.place or 'the answer'}: {said}"


class OutputType(Generic[M]):
    """A type that answers are checked against.

    Args:
        output: A pydantic model, a dataclass, a `TypedDict`, any other type that pydantic can check, or a
            `TypeAdapter`.

    Raises:
        SetupError: pydantic cannot check the type, or describe it as a JSON schema.
    """

    def __init__(self, output: type[M] | TypeAdapter[M]) -> None:
        self.name = getattr(output, "__name__", "") or "answer"
        try:
            self._adapter: TypeAdapter[M] = output if isinstance(output, TypeAdapter) else TypeAdapter(output)
            document = self._adapter.json_schema(schema_generator=_Schema, mode="validation")
        except (PydanticUserError, PydanticInvalidForJsonSchema) as wrong:
            raise SetupError(
                f"output={self.name} cannot be asked for: {str(wrong).splitlines()[0]} Give a pydantic model, a "
                "dataclass or a TypedDict of plain types."
            ) from wrong
        self.schema: Schema = read_schema(document)
        self._names = frozenset(names_of(self.schema))

    def check(self, text: str) -> M:
        """The value of a JSON text.

        Raises:
            ValidationError: pydantic's; `problems` reads it.
        """
        return self._adapter.validate_json(text)

    def written(self, value: Any, *, where: str) -> str:
        """A value as the compact JSON in which answers are asked for.

        What the value leaves to its defaults is left out where the rest still says the same.

        Args:
            value: An instance, or what pydantic takes for one.
            where: What it is, for the sentence.

        Raises:
            SetupError: the value does not fit the type, or cannot be written so that it is read again.
        """
        try:
            known = self._adapter.validate_python(value)
            for by_alias in (True, False):
                for exclude_unset in (True, False):
                    text = compact(
                        self._adapter.dump_python(known, mode="json", by_alias=by_alias, exclude_unset=exclude_unset)
                    )
                    if self._reads(text, known):
                        return text
            text = compact(self._adapter.dump_python(known, mode="json", by_alias=True))
            self.check(text)
        except ValidationError as wrong:
            first = next(self.problems(wrong, value))
            raise SetupError(
                f"{where} does not fit {self.name}: {first.path or 'it'}: {first.message}. Give an output that the "
                "model could have answered."
            ) from wrong
        return text

    def _reads(self, text: str, known: Any) -> bool:
        """Whether a text is read as the value."""
        try:
            return bool(self.check(text) == known)
        except ValidationError:
            return False

    def problems(self, error: ValidationError, value: Any) -> Iterator[Problem]:
        """What pydantic found wrong.

        Args:
            error: As `check` raised it.
            value: What was checked, as JSON values.
        """
        seen: set[tuple[str, str]] = set()
        for one in error.errors(include_url=False, include_context=False):
            steps = list(_steps(one, value))
            path, kind = _path(steps), one["type"]
            if (path, kind) not in seen:
                seen.add((path, kind))
                place = _path([step if isinstance(step, int) or step in self._names else "*" for step in steps])
                shown = "" if kind in _NO_VALUE else _shown(one["input"])
                yield Problem(path, place, kind, one["msg"], shown)


def _steps(one: ErrorDetails, value: Any) -> Iterator[str | int]:
    """Where an error is, without the names of union branches that pydantic puts in between."""
    location = one["loc"]
    for number, step in enumerate(location):
        fields, places = mapping_of(value), list_of(value)
        if isinstance(step, int):
            if places:
                yield step
                value = places[step] if step < len(places) else None
        elif step in fields:
            yield step
            value = fields[step]
        elif number == len(location) - 1 and one["type"] == "missing":
            yield step


def _path(steps: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _shown(value: Any) -> str:
    """A value that is short enough to be sent back."""
    try:
        text = compact(value)
    except (TypeError, ValueError):
        return ""
    return text if len(text) <= _SHOWN_MAX else ""


class _Schema(GenerateJsonSchema):
    """Pydantic's schema, with decimals as the numbers they are, limits included, instead of a number or a pattern."""

    def decimal_schema(self, schema: DecimalSchema) -> dict[str, Any]:
        """A decimal."""
        given = cast("Mapping[str, Any]", schema)
        limits = {ours: _plain(given[name]) for name, ours in _DECIMAL_LIMITS.items() if given.get(name) is not None}
        return {"type": "number", "format": "decimal", **limits}


def _plain(limit: Any) -> Any:
    """A limit of a decimal as a JSON number; one that floats cannot say as text."""
    return limit if isinstance(limit, int) else float(limit) if str(float(limit)) == str(limit) else str(limit)
