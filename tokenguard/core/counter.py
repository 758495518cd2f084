"""What counts prompts: the protocol of token counters, and what they say of a prompt before it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["InputBound", "Prompt", "TokenCounter"]


@dataclass(frozen=True, slots=True)
class InputBound:
    """An upper bound of a prompt's tokens and how it was found."""

    tokens: int
    method: str
    """`reported+new`, `tokenizer`, `bytes` or `window`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a prompt holds, before it is sent."""

    bound: InputBound | None
    """None where a part of it cannot be seen (images, files, stored prompts)."""
    kinds: frozenset[str] = frozenset()
    """Types of its content parts, such as `image_url` or `input_audio`."""
    cache_life: str | None = None
    """The dearest cache write that marks in it can cause: `1h`, `5m` or None."""
    state: Any = None
    """The counter's own, for `learn`."""


class TokenCounter(Protocol):
    """Bounds prompts before they are sent and learns from what providers report."""

    def written(self, schemas: Any) -> str:
        """Tools and answer schemas as the text that is counted; give it to `read`.

        Raises:
            SetupError: they cannot be written as JSON.
        """
        ...

    def read(self, model: str, messages: Sequence[Mapping[str, Any]], schemas: str = "") -> Prompt:
        """What a chat prompt holds; a growing conversation costs only its new messages.

        Raises:
            SetupError: `messages` is not a list of messages, or something in it cannot be written as JSON.
        """
        ...

    def read_input(self, model: str, prompt: Any, *, instructions: str | None = None, schemas: str = "") -> Prompt:
        """The same for the `input` of embeddings and of the responses API, with its `instructions`."""
        ...

    def is_heavy(self, content: Any) -> bool:
        """Whether counting this prompt would stop an event loop for long; costs a look at each message."""
        ...

    def count(self, model: str, text: str) -> int:
        """Tokens of a text, exactly where the tokenizer is known, else a fair estimate; for aborted streams."""
        ...

    def learn(self, prompt: Prompt, reply: Mapping[str, Any] | None, *, tokens: int) -> str:
        """Remember what the provider counted for a prompt that was read, and the reply that will come back in the next.

        Args:
            prompt: As `read` gave it.
            reply: The assistant's message.
            tokens: All tokens of the prompt, cached ones included; 0: nobody knows.

        Returns:
            A digest that is the same for an equal prompt with an equal reply, in every process.
        """
        ...
