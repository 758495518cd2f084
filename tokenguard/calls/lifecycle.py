"""What happens to guards when their process ends, is told to end, or forks.

Locks that stand alone are renewed by `core.forks`, which was imported first and so comes first in a child.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from tokenguard.calls.drive import drive
from tokenguard.calls.iterate import Stream
from tokenguard.calls.savings import save

if TYPE_CHECKING:
    from types import FrameType

    from tokenguard.calls.parts import LateParts, Parts

__all__ = ["Closable", "close_parts", "give_back_at_sigterm", "look_after"]


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
_END_S: Final = 5.0
"""How long SIGTERM waits for the ledger; what does not go back by then is found in the spool."""


def look_after(guard: Closable) -> None:
    """Close the guard at interpreter exit and renew it in forked children, for as long as it lives."""
    _GUARDS.add(guard)


def close_parts(parts: Parts) -> None:
    """Close open streams, finish bookkeeping and let go of the database."""
    if parts.routes is not None:
        parts.routes.stop()
    for stream in parts.streams.snapshot():
        stream.close() if isinstance(stream, Stream) else stream.drop()
    parts.watch.stop()
    drive(save(None, parts), parts)
    parts.reaper.finish()
    parts.executor.shutdown(wait=True)
    parts.ledger.dispose()


def give_back_at_sigterm() -> bool:
    """Let SIGTERM give back what this process leased before it ends it, unless the application hears of it itself.

    An application that does, and then ends as Python programs do, gives it back on the way out.

    Returns:
        False: only the main thread can see to this; let it ask.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _told_to_end)
    return True


def _told_to_end(number: int, frame: FrameType | None) -> None:
    """Give back on a thread: what this one is in the middle of may hold the locks that it takes."""
    del frame
    signal.signal(number, signal.SIG_DFL)  # Whoever is impatient ends the process with a second one.
    threading.Thread(target=_end, args=(number,), name="tokenguard-end", daemon=True).start()


def _end(number: int) -> None:
    giving = threading.Thread(target=_give_back_all, name="tokenguard-give-back", daemon=True)
    giving.start()
    giving.join(_END_S)
    os.kill(os.getpid(), number)


def _give_back_all() -> None:
    for guard in set(_GUARDS):
        parts = guard.late.built
        if parts is not None:
            parts.ledger.relinquish()


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
