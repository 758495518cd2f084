"""Types as pydantic knows them: their schema, how their values are written, and what is wrong with an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, get_args

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python
from pydantic_core.core_schema import ErrorType

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.errors import SetupError
from tokenguard.prompt.structured.fitting import fitted, trimmed
from tokenguard.prompt.structured.readings import Problem, Reading
from tokenguard.prompt.structured.shapes import Schema, names_of, read_schema
from tokenguard.prompt.structured.tolerant import Candidate
from tokenguard.prompt.structured.writing import compact

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from pydantic_core.core_schema import DecimalSchema

__all__ = ["OutputType", "json_text"]

M = TypeVar("M")

_STEADY: Final = frozenset(get_args(ErrorType)) - {
    "assertion_error",
    "union_tag_invalid",
    "uuid_parsing",
    "value_error",
}
"""Errors whose message says nothing of the answer; those of the user's own validators, and some of pydantic's, may."""
_SHOWN_MAX: Final = 200
_NO_VALUE: Final = frozenset({"json_invalid", "missing", "extra_forbidden", "union_tag_not_found"})
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

    def read(self, one: Candidate, text: str | None = None) -> Reading[M]:
        """One candidate against the type: as it is, then bent where only its form is wrong.

        Args:
            one: What an answer contains.
            text: The answer, where it is JSON as it stands: then its numbers keep all their digits.
        """
        try:
            return Reading(self.check(json.dumps(one.value) if text is None else _encodable(text)), one.repairs)
        except ValidationError as error:
            refused = error
        value, bent = fitted(one.value, self.schema)
        if bent:
            try:
                return Reading(self.check(json.dumps(value)), (*one.repairs, *bent))
            except ValidationError as error:
                refused = error
        return Reading(None, (*one.repairs, *bent), tuple(self.problems(refused, value)))

    def check(self, text: str) -> M:
        """The value of a JSON text.

        Raises:
            ValidationError: pydantic's; `problems` reads it.
        """
        return self._adapter.validate_json(text)

    def written(self, value: Any, *, where: str) -> str:
        """A value as the compact JSON in which answers are asked for.

        What is the default anyway is left out where the rest still says the same.

        Args:
            value: An instance, or what pydantic takes for one.
            where: What it is, for the sentence.

        Raises:
            SetupError: the value does not fit the type, or cannot be written so that it is read again.
        """
        try:
            known = self._adapter.validate_python(value)
            wholes = [self._adapter.dump_python(known, mode="json", by_alias=by_alias) for by_alias in (True, False)]
            for one in (trimmed(wholes[0], self.schema), wholes[0], trimmed(wholes[1], self.schema), wholes[1]):
                if self._reads(compact(one), known):
                    return compact(one)
            text = compact(wholes[0])
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
                yield Problem(path, place, kind, one["msg"], shown, quotes=kind not in _STEADY)


def _steps(one: ErrorDetails, value: Any) -> Iterator[str | int]:
    """Where an error is, without the names of union branches that pydantic puts in between."""
    location = one["loc"]
    for number, step in enumerate(location):
        fields, places = mapping_of(value), list_of(value)
        if isinstance(step, int):
            yield step
            value = places[step] if step < len(places) else None
        elif step in fields:
            yield step
            value = fields[step]
        elif number == len(location) - 1 and one["type"] == "missing":
            yield step


def _path(steps: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def json_text(value: Any, where: str) -> str:
    """A value as compact JSON: dates, models and the like too.

    Raises:
        SetupError: it cannot be written.
    """
    try:
        return compact(to_jsonable_python(value))
    except (ValueError, TypeError) as wrong:
        raise SetupError(f"{where} cannot be written as JSON: {str(wrong).splitlines()[0]} Give a text.") from wrong


def _encodable(text: str) -> str:
    """A JSON text that survives UTF-8; a lone surrogate becomes its escape, which pydantic refuses with a sentence."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


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
