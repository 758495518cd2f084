"""Where the results of tools stand in a prompt, and the same prompt with other text in those places.

Read are the chat shape (`tool` and `function` messages), content blocks (`tool_result`, of Anthropic) and the items of
the responses API (`function_call_output` and its kin), with text as a string or in parts. Images, unknown parts and
objects that are no dict are passed over: what is not understood is sent as it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from tokenguard.core.untrusted import field_of, list_of

__all__ = ["Path", "Place", "places", "written"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from a message to a text in it."""

_OUTPUTS: Final = frozenset(
    {"computer_call_output", "custom_tool_call_output", "function_call_output", "local_shell_call_output"}
)
_TEXTS: Final = frozenset({"text", "input_text", "output_text"})
_CALLS: Final = frozenset({"custom_tool_call", "function_call"})


class Place(NamedTuple):
    """One text that a tool gave."""

    message: int
    """Index of its message."""
    path: Path
    tool: str
    """The tool's name; empty where the prompt does not say."""
    text: str


def places(messages: Sequence[Any]) -> Iterator[Place]:
    """The texts of tool results, in the order in which they are sent."""
    names: dict[str, str] = {}
    for index, message in enumerate(messages):
        if type(message) is dict:
            fields = cast("dict[str, Any]", message)
            role = fields.get("role")
            if role in ("tool", "function"):
                tool = fields.get("name") or names.get(_word(fields.get("tool_call_id")), "")
                yield from _texts(fields.get("content"), index, ("content",), _word(tool))
                continue
            if role is None and fields.get("type") in _OUTPUTS:
                tool = names.get(_word(fields.get("call_id")), "")
                yield from _texts(fields.get("output"), index, ("output",), tool)
                continue
            if role == "user" and type(fields.get("content")) is list:
                yield from _blocks(fields["content"], index, names)
                continue
        _note_names(message, names)


def written(messages: Sequence[Any], changed: Mapping[int, Mapping[Path, str]]) -> list[Any]:
    """The same messages with other texts in some places; everything else is shared, nothing is changed in place.

    Args:
        messages: As `places` read them.
        changed: New texts by path, by message.
    """
    new = list(messages)
    for index, texts in changed.items():
        message = new[index]
        for path, text in texts.items():
            message = _put(message, path, text)
        new[index] = message
    return new


def _texts(content: object, index: int, path: Path, tool: str) -> Iterator[Place]:
    """A string, or the text parts of a list."""
    if type(content) is str:
        yield Place(index, path, tool, content)
        return
    # Not of a tuple, which `written` could not copy.
    for at, part in enumerate(list_of(content) if type(content) is not tuple else ()):
        if type(part) is dict:
            fields = cast("dict[str, Any]", part)
            if fields.get("type") in _TEXTS and type(fields.get("text")) is str:
                yield Place(index, (*path, at, "text"), tool, fields["text"])


def _blocks(content: list[Any], index: int, names: Mapping[str, str]) -> Iterator[Place]:
    """The results among a user's content blocks; what the user wrote beside them is not ours."""
    for at, block in enumerate(content):
        if type(block) is dict:
            fields = cast("dict[str, Any]", block)
            if fields.get("type") == "tool_result":
                tool = names.get(_word(fields.get("tool_use_id")), "")
                yield from _texts(fields.get("content"), index, ("content", at, "content"), tool)


def _note_names(message: Any, names: dict[str, str]) -> None:
    """What the calls in an assistant's message, or an item that is one, are called, by their ids."""
    if field_of(message, "type") in _CALLS:
        names[_word(field_of(message, "call_id"))] = _word(field_of(message, "name"))
    for call in list_of(field_of(message, "tool_calls")):
        function = field_of(call, "function") or field_of(call, "custom")
        names[_word(field_of(call, "id"))] = _word(field_of(function, "name"))
    for block in list_of(field_of(message, "content")):
        if field_of(block, "type") == "tool_use":
            names[_word(field_of(block, "id"))] = _word(field_of(block, "name"))


def _put(value: Any, path: Path, text: str) -> Any:
    """A copy of a value with a text at the end of a path; what is beside the path is shared."""
    if not path:
        return text
    head, rest = path[0], path[1:]
    copy = value.copy()
    copy[head] = _put(value[head], rest, text)
    return copy


def _word(value: Any) -> str:
    return value if type(value) is str else ""
