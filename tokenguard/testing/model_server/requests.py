"""What arrived at the model server, byte for byte, and how many tokens its prompt counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenguard.core.untrusted import list_of, mapping_of

__all__ = ["RecordedRequest", "words"]

_PER_MESSAGE = 4
_BYTES_PER_TOOL_TOKEN = 4
_OPERATIONS = {"/chat/completions": "chat", "/responses": "responses", "/embeddings": "embeddings"}


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it was received. `index` counts arrivals from 0."""

    index: int
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    """Exactly as received."""

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body as an object; empty where it is not one."""
        try:
            found: object = json.loads(self.body)
        except ValueError:
            return {}
        return dict(mapping_of(found))

    @property
    def operation(self) -> str | None:
        """`chat`, `responses` or `embeddings`; None: something this server does not speak."""
        path = self.path.partition("?")[0]
        return next((name for tail, name in _OPERATIONS.items() if path.endswith(tail)), None)

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self.json.get("model", ""))

    @property
    def stream(self) -> bool:
        """Whether the answer goes out in chunks."""
        return bool(self.json.get("stream"))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """A chat's messages; empty for other operations."""
        return [dict(mapping_of(message)) for message in list_of(self.json.get("messages"))]

    @property
    def usage_asked(self) -> bool:
        """Whether `stream_options.include_usage` is on."""
        return bool(mapping_of(self.json.get("stream_options")).get("include_usage"))

    @property
    def output_max(self) -> int | None:
        """The most tokens one answer may have; None: the request sets no limit."""
        names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
        given = [self.json[name] for name in names if isinstance(self.json.get(name), int)]
        return min(given) if given else None

    @property
    def answers(self) -> int:
        """n: how many answers are asked for."""
        given = self.json.get("n")
        return given if isinstance(given, int) and given > 0 else 1

    @cached_property
    def prompt_tokens(self) -> int:
        """One token for each whitespace-separated word, 4 for each message, a quarter of the tools' JSON bytes.

        Words, not bytes: no tokenizer writes two words as one token, so a client's bound of the same prompt is never
        below this count, whatever filler a test uses.
        """
        operation = self.operation
        content = self.json.get("messages" if operation == "chat" else "input")
        parts = list_of(content) or [content]
        overhead = 0 if operation == "embeddings" else _PER_MESSAGE * len(parts)
        tools = self.json.get("tools")
        tool_tokens = -(-len(json.dumps(tools)) // _BYTES_PER_TOOL_TOKEN) if tools else 0
        text = sum(words(one) for one in _texts([self.json.get("instructions"), *parts]))
        return overhead + tool_tokens + text


def words(text: str) -> int:
    """How many whitespace-separated words a text has: this server's tokens."""
    return len(text.split())


def _texts(value: Any) -> Iterator[str]:
    """Every text a model would read in messages, parts and tool calls; field names, roles and ids are not read."""
    if isinstance(value, str):
        yield value
    for one in list_of(value):
        yield from _texts(one)
    found = mapping_of(value)
    if found:
        for name in ("content", "text", "output", "arguments", "function", "tool_calls"):
            yield from _texts(found.get(name))
