"""What makes two calls of a tool equal, where its author said so: some arguments, a function of them, nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from tokenguard.core.untrusted import list_of, mapping_of
from tokenguard.loops.canonical import plain

__all__ = ["EXEMPT", "keyed"]

EXEMPT: Final = object()
"""In place of arguments: calls of this tool are no evidence."""


def keyed(tool: str, arguments: Any, keys: Mapping[str, Any]) -> Any:
    """The arguments that count of one call in a conversation; `EXEMPT` where none of its calls does.

    Args:
        tool: Its name.
        arguments: As the model wrote them: JSON text, or a mapping.
        keys: By tool: names of arguments, a function of them, or False.
    """
    key = keys.get(tool)
    if key is None:
        return arguments
    if key is False:
        return EXEMPT
    named = mapping_of(plain(arguments))
    if callable(key):
        try:
            return cast("Callable[..., Any]", key)(**named)
        except Exception:  # noqa: BLE001  # the model's arguments need not fit the tool: then all of them count
            return arguments
    return {name: named.get(name) for name in list_of(key)} if named else arguments
