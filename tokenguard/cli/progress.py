"""Progress of long work on standard error: one line written over in a terminal, a line every few seconds in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TextIO

from tokenguard.core.clock import SystemClock

__all__ = ["progress"]

_IN_A_TERMINAL_S: Final = 0.2
_IN_A_PIPE_S: Final = 5.0


@contextmanager
def progress(sentence: str, *, quiet: bool = False, stream: TextIO | None = None) -> Generator[Callable[..., None]]:
    """A function that takes the numbers of `sentence` as they grow, and says them now and then.

    Args:
        sentence: A format such as `compacted {:,} deltas`.
        quiet: Say nothing.
        stream: Where to; None: standard error.
    """
    clock, out = SystemClock(), stream or sys.stderr
    in_terminal = out.isatty()
    pause = _IN_A_TERMINAL_S if in_terminal else _IN_A_PIPE_S
    said_at = clock.monotonic()
    said = False

    def so_far(*numbers: object) -> None:
        nonlocal said_at, said
        if quiet or clock.monotonic() - said_at < pause:
            return
        said_at, said = clock.monotonic(), True
        line = sentence.format(*numbers)
        out.write(f"\r\x1b[K{line} …" if in_terminal else f"{line} …\n")
        out.flush()

    try:
        yield so_far
    finally:
        if said and in_terminal:
            out.write("\r\x1b[K")
            out.flush()
