"""What a message says, as text: the parts that become prompt tokens, and whether all of them can be seen.

A message is a mutable dict of the user's, so it is identified by what it holds: its strings (immutable, so the same
object is the same text, and comparing costs nothing) and a frozen copy of everything else.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

from tokenguard.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "HEAVY_CHARACTERS",
    "Key",
    "Words",
    "chained",
    "is_heavy",
    "is_list",
    "json_text",
    "key_of",
    "plain_of",
    "same",
    "snapshot",
    "words_of",
]

HEAVY_CHARACTERS: Final = 50_000
"""Above this, counting takes milliseconds and belongs off the event loop."""

Key: TypeAlias = tuple[str | bytes | None, str | bytes | None, str | bytes | None]
"""(role, content, everything else): strings as they are, other values frozen."""
Words: TypeAlias = tuple[str, bool]
"""All text of a message, and True where a part of it cannot be seen."""

# Parts whose tokens are in their own JSON. Any other type - images, audio, files, references to what a provider stored,
# and whatever is invented tomorrow - cannot be counted from here.
_SEEN: Final = frozenset(
    {
        "code_interpreter_call",
        "computer_call",
        "custom",
        "custom_tool_call",
        "custom_tool_call_output",
        "file_search_call",
        "function",
        "function_call",
        "function_call_output",
        "input_text",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "message",
        "output_text",
        "reasoning",
        "reasoning_text",
        "redacted_thinking",
        "refusal",
        "server_tool_use",
        "summary_text",
        "text",
        "thinking",
        "tool_result",
        "tool_use",
        "web_search_call",
    }
)
_OWN: Final = ("role", "content")
_IMMUTABLE: Final = (str, int, float, bool)
_TEXT_KEYS: Final = frozenset({"type", "text"})
_NESTING: Final = ("content", "output", "summary", "tool_calls", "thinking_blocks")
# Names of things that a provider keeps: a recording of an earlier answer, an uploaded file.
_STORED: Final = ("audio", "file_id")
_DEPTH_MAX: Final = 100


def is_heavy(messages: Any) -> bool:
    """Whether a prompt holds more than 50,000 characters of text, so that counting it belongs off the event loop.

    Looks at lengths only: under a microsecond per message.

    Args:
        messages: A list of messages or items, or one string.
    """
    if isinstance(messages, str):
        return len(messages) > HEAVY_CHARACTERS
    if not is_list(messages):
        return False
    characters = 0
    for message in messages:
        characters += _length(message, 4)
        if characters > HEAVY_CHARACTERS:
            return True
    return False


def _length(value: Any, levels: int) -> int:
    """Characters of the strings in a value: a message, its parts or tool calls, their fields and theirs."""
    if isinstance(value, str):
        return len(value)
    if levels == 0:
        return 0
    if _is_dict(value) or _is_mapping(value):
        return sum(_length(inner, levels - 1) for inner in value.values())
    return sum(_length(inner, levels - 1) for inner in value) if is_list(value) else 0


def key_of(message: Any, position: int) -> Key:
    """Identify a message or item by what it holds; equal keys are equal messages.

    Args:
        message: A mapping, a pydantic model, or a string.
        position: Its place in the list, for the sentence.

    Raises:
        SetupError: it is none of these, holds a value that JSON cannot write, or contains itself.
    """
    if isinstance(message, str):
        return None, message, None
    plain = plain_of(message, position)
    role, content = plain.get("role"), plain.get("content")
    if len(plain) == len(_OWN) and type(role) is str and type(content) is str:
        return role, content, None
    rest = {name: value for name, value in plain.items() if name not in _OWN}
    return (
        role if type(role) is str or role is None else _frozen(role, position),
        content if type(content) is str or content is None else _frozen(content, position),
        _frozen(rest, position) if rest else None,
    )


def chained(prefix: bytes, key: Sequence[bytes | str | None]) -> bytes:
    """A digest of 8 bytes of everything up to a message, from that of what is before it and the message's key."""
    digest = blake2b(prefix, digest_size=8)
    for piece in key:
        raw = piece if isinstance(piece, bytes) else (piece or "").encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % (-1 if piece is None else len(raw)))
        digest.update(raw)
    return digest.digest()


def _frozen(value: Any, position: int) -> bytes | str:
    """A value that a dict can be searched by.

    Marshal is four times as fast as JSON here, and its version 2 writes equal values as equal bytes (later versions
    write references). What it does not know, such as pydantic models inside LiteLLM's replies, becomes JSON.
    """
    try:
        return marshal.dumps(value, 2)
    except ValueError:
        return json_text(value, position)


def snapshot(message: Any) -> Any:
    """A copy that shares only immutable values with the message; None where it holds anything but plain JSON values.

    Strings stay the objects they are, so comparing with the same message again compares addresses.
    """
    try:
        return _copied(message)
    except (TypeError, RecursionError):
        return None


def _copied(value: Any) -> Any:
    if _is_dict(value):
        return {name: _copied(inner) for name, inner in value.items()}
    if is_list(value):
        return [_copied(inner) for inner in value]
    if value is None or type(value) in _IMMUTABLE:
        return value
    raise TypeError(type(value).__name__)


def same(copy: Any, message: Any) -> bool:
    """Whether a message still equals its copy; a value that cannot be compared is another one."""
    try:
        return copy is not None and bool(copy == message)
    except (TypeError, ValueError, RecursionError):
        return False


def words_of(message: Any, position: int) -> Words:
    """All text of a message, role excluded (the allowance per message holds it).

    Raises:
        SetupError: as in `key_of`.
    """
    if isinstance(message, str):
        return message, False
    plain = plain_of(message, position)
    content = plain.get("content")
    rest = {name: value for name, value in plain.items() if name not in _OWN}
    texts: list[str] = []
    unseen = False
    parts: tuple[Any, ...] = (*(content if is_list(content) else (content,)), rest or None)
    for part in parts:
        text = part["text"] if _is_text(part) else part
        if isinstance(text, str):
            texts.append(text)
        elif part is not None:
            texts.append(json_text(part, position))
            unseen = unseen or not _visible_json(texts[-1])
    return "\n".join(texts), unseen


def _is_text(part: Any) -> bool:
    """Exactly `{"type": "text", "text": "…"}`."""
    return _is_dict(part) and part.keys() == _TEXT_KEYS and part["type"] == "text" and isinstance(part["text"], str)


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """A list or tuple, whatever is in it."""
    return isinstance(value, list | tuple)


def _is_dict(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def json_text(value: Any, position: int | None = None) -> str:
    """JSON of a value, as a provider would receive it.

    Raises:
        SetupError: it cannot be written as JSON; the sentence says which message and what to do.
    """
    where = "tools" if position is None else f"messages[{position}]"
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        reason = "nests too deeply or contains itself" if isinstance(error, RecursionError) else str(error)
        raise SetupError(
            f"{where} cannot be written as JSON ({reason}), so it cannot be counted or sent. "
            "Give plain dicts, lists, strings, numbers, booleans and None.",
            position=position,
        ) from None


def _default(value: Any) -> Any:
    """What JSON does not know: pydantic models, which LiteLLM's own replies are, and mappings that are no dict."""
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(exclude_none=True)
    if _is_mapping(value):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__name__}")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_default).encode


def plain_of(message: Any, position: int) -> Any:
    """A message or item as a dict, or the string that it is.

    Raises:
        SetupError: it is neither, nor anything that can be written as one.
    """
    if _is_dict(message) or isinstance(message, str):
        return message
    try:
        plain = _default(message)
    except TypeError:
        plain = None
    if not _is_dict(plain):
        raise SetupError(
            f"messages[{position}] is a {type(message).__name__}, not a message. "
            'Give mappings such as {"role": "user", "content": "…"}.',
            position=position,
        )
    return plain


def _visible_json(text: str) -> bool:
    """Whether all parts in a JSON text can be counted; what nests too deeply to read cannot."""
    try:
        return _visible(json.loads(text))
    except RecursionError:
        return False


def _visible(value: Any, depth: int = 0) -> bool:
    """Whether every typed part inside is one whose tokens are in its own text.

    Looks where parts live; what else a message carries (annotations, a provider's own fields) is text like any other.
    """
    if depth > _DEPTH_MAX:
        return False
    if is_list(value):
        return all(_visible(part, depth + 1) for part in value)
    if not _is_dict(value):
        return True
    kind = value.get("type")
    if kind is not None and not (isinstance(kind, str) and kind in _SEEN):
        return False
    if any(value.get(name) is not None for name in _STORED):
        return False
    return all(_visible(value[name], depth + 1) for name in _NESTING if name in value)
