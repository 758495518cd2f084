"""Tokens of messages, counted once for each text: what decides about cache marks and about old results."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from tokenguard.core.forks import renew_in_children
from tokenguard.counting.words import words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Sizes"]

_CHARACTERS_MAX: Final = 16_000_000
_PER_MESSAGE: Final = 4
"""Tokens for a message's role and separators; OpenAI's cookbook counts 3 or 4."""


class Sizes:
    """Remembers how many tokens a text has. Safe to use from any thread.

    Args:
        count: Tokens of a text for a model.
    """

    def __init__(self, count: Callable[[str, str], int]) -> None:
        self._count = count
        self._known: dict[tuple[str, str], int] = {}
        self._characters = 0
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = threading.Lock()

    def of(self, model: str, messages: Sequence[Any]) -> list[int]:
        """Tokens of each message: (n_messages,).

        Raises:
            SetupError: something in them is no message.
        """
        return [self.text(model, words_of(one, at)[0]) + _PER_MESSAGE for at, one in enumerate(messages)]

    def text(self, model: str, text: str) -> int:
        """Tokens of one text."""
        key = model, text
        known = self._known.get(key)
        if known is None:
            known = self._count(model, text)
            with self._lock:
                if self._characters > _CHARACTERS_MAX:
                    self._known, self._characters = {}, 0
                self._known[key] = known
                self._characters += len(text)
        return known
