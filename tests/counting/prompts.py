"""Models and prompts that the tests of counting share."""

from __future__ import annotations

OPENAI = "openai/gpt-5-mini"
CLAUDE = "anthropic/claude-sonnet-4-5"

HELLO = [{"role": "user", "content": "Hello there, how are you?"}]


def nested(levels: int) -> object:
    """A text inside so many lists."""
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value
