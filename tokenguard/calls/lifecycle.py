"""What happens to guards when their process ends or forks.

Locks that stand alone are renewed by `core.forks`, which was imported first and so comes first in a child.
"""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from tokenguard.calls.iterate import Stream

if TYPE_CHECKING:
    from tokenguard.calls.parts import LateParts, Parts

__all__ = ["Closable", "close_parts", "look_after"]


class Closable(Protocol):
    """A guard."""

    @property
    def late(self) -> LateParts:
        """Its parts, where they are assembled."""
        ...

    def close(self) -> None:
        """Finish and let go."""
        ...


_GUARDS: WeakSet[Closable] = WeakSet()


def look_after(guard: Closable) -> None:
    """Close the guard at interpreter exit and renew it in forked children, for as long as it lives."""
    _GUARDS.add(guard)


def close_parts(parts: Parts) -> None:
    """Close open streams, finish bookkeeping and let go of the database."""
    for stream in parts.streams.snapshot():
        stream.close() if isinstance(stream, Stream) else stream.drop()
    parts.watch.stop()
    parts.reaper.finish()
    parts.executor.shutdown(wait=True)
    parts.ledger.dispose()


def _close_all() -> None:
    for guard in set(_GUARDS):
        guard.close()


def _renew_all() -> None:
    for guard in set(_GUARDS):
        parts = guard.late.built
        if parts is not None:
            parts.renew_after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_all)
