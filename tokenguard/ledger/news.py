"""What is told to a listener when no lock is held, because listeners act on the guard that tells them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["News"]


class News:
    """Kept in order until somebody who holds no lock passes it on. Thread-safe."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()

    def keep(self, tell: Callable[..., object], *what: Any) -> None:
        """Something to tell, later."""
        self._waiting.append(partial(tell, *what))

    def pass_on(self) -> None:
        """Tell everything; call it without locks."""
        while self._waiting:
            with suppress(IndexError):  # Somebody else passed it on.
                tell = self._waiting.popleft()
                tell()
