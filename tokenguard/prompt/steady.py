"""Tools in one order: a provider's cache holds a prompt only while all that stands before it, tools first, is the same.

Dicts and sets in agent code give tools in another order now and then, which silently costs the whole cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenguard.core.untrusted import field_of

__all__ = ["in_one_order"]


def in_one_order(tools: Sequence[Any]) -> Sequence[Any]:
    """The tools by name; themselves where they stand so already, or where one has no name of its own.

    Hosted tools (which have a type and no function) keep their places: their order may mean something to a provider.
    """
    names = [_name(tool) for tool in tools]
    if None in names or names == sorted(names, key=str):
        return tools
    return sorted(tools, key=lambda tool: str(_name(tool)))


def _name(tool: Any) -> str | None:
    """Of a chat's or a responses API's function; None: it is none."""
    name = field_of(field_of(tool, "function"), "name") or field_of(tool, "name")
    return name if isinstance(name, str) else None
