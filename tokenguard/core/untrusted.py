"""Looking into values that came from outside (options, messages, replies) without believing their shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

__all__ = ["field_of", "list_of", "mapping_of"]

_EMPTY: Final[Mapping[str, Any]] = {}
_LISTS: Final = (list, tuple)
"""`list | tuple` would be made anew at each question."""


def mapping_of(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    # A plain dict is nearly everything that comes, and asking an abstract class costs ten times as much.
    return cast("Mapping[str, Any]", value) if type(value) is dict or isinstance(value, Mapping) else _EMPTY


def list_of(value: object) -> Sequence[Any]:
    """The value where it is a list or tuple, else an empty one; a string is not a list."""
    return cast("Sequence[Any]", value) if isinstance(value, _LISTS) else ()


def field_of(value: object, name: str) -> Any:
    """A field of a mapping, or an attribute of one of a library's objects; None where there is none."""
    if type(value) is dict or isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name)
    return getattr(value, name, None)
