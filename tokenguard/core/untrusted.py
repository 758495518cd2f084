"""Looking into values that came from outside (options, messages, replies) without believing their shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

__all__ = ["field_of", "list_of", "mapping_of"]

_EMPTY: Mapping[str, Any] = {}


def mapping_of(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else _EMPTY


def list_of(value: object) -> Sequence[Any]:
    """The value where it is a list or tuple, else an empty one; a string is not a list."""
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()


def field_of(value: object, name: str) -> Any:
    """A field of a mapping, or an attribute of one of a library's objects; None where there is none."""
    return mapping_of(value).get(name) if isinstance(value, Mapping) else getattr(value, name, None)
