"""One thread that is there while something is open: it hears of stops by other processes, and says that this one lives.

Twice a second it asks, for all open streams in one query, whether a run above them was closed, and closes the upstream
of those that were, so that a reader who waits for a chunk that does not come hears of it too. Once a second would hear
of a stop up to a second late. Every half minute it renews, in one transaction, the
leases of this process and of all its holds. With nothing open there is no thread, and nothing is asked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol

from tokenguard.core import events
from tokenguard.core.clock import SystemClock
from tokenguard.core.leases import BEAT_S, LEASE_S
from tokenguard.core.stops import error_from
from tokenguard.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.calls.stream import Tap

__all__ = ["Watch", "Watched"]

_LOOK_S: Final = 0.5


class Watched(Protocol):
    """A metered stream of either kind."""

    @property
    def settled(self) -> bool:
        """Whether somebody has taken on the settlement."""
        ...

    @property
    def tap(self) -> Tap:
        """What it delivered so far."""
        ...

    def halt(self) -> None:
        """Close its upstream where it was stopped."""
        ...


class Watch:
    """The thread, and what it watches. Made anew in a forked child: what is open belongs to the parent."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ended = False
        self._open: dict[str, None] = {}
        """Ids of holds and of runs below others: what must not be taken for a dead process's."""
        # Threads wait in real time, whatever clock a test gave the guard.
        self._clock = SystemClock()
        self._renewed_s = self._clock.monotonic()

    def opened(self, open_id: str) -> None:
        """A hold was granted, or a run began below another: from now on its lease is renewed."""
        with self._lock:  # Or a thread that is about to end would have looked just before.
            self._open[open_id] = None
            self._begin()

    def closed(self, open_id: str) -> None:
        """It is over, or nobody here will say what it came to: its lease may end."""
        self._open.pop(open_id, None)

    def stream_opened(self) -> None:
        """A stream was opened: hear of stops from now on."""
        with self._lock:
            self._begin()
            self._wake.set()

    def halt(self) -> None:
        """Let open streams that were stopped in this process hear of it now, also where they are silent."""
        for stream in self._parts.streams.snapshot():
            stream.halt()

    def stop(self) -> None:
        """End the thread; what is opened next starts another."""
        with self._lock:
            self._ended = True
            self._wake.set()

    def _begin(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._ended = False
            self._wake.clear()
            self._renewed_s = self._clock.monotonic()
            self._thread = threading.Thread(target=self._run, name="tokenguard-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause_s: float | None = _LOOK_S
        while pause_s is not None:
            self._wake.wait(pause_s)
            self._wake.clear()
            pause_s = self._looked()

    def _looked(self) -> float | None:
        """One look; seconds until the next. A method of its own, or its list would keep dropped streams alive."""
        with self._lock:
            streams = [stream for stream in self._parts.streams.snapshot() if _listens(stream)]
            holds = tuple(self._open)
            if self._ended or not (streams or holds):
                self._thread = None
                return None
        if streams:
            self._safely(lambda: self._hear(streams))
        if self._clock.monotonic() - self._renewed_s >= BEAT_S:
            self._renewed_s = self._clock.monotonic()
            self._safely(lambda: self._parts.ledger.renew(self._parts.owner, holds, LEASE_S))
        return _LOOK_S if streams else BEAT_S

    def _safely(self, act: Callable[[], None]) -> None:
        try:
            act()
        except LedgerError as away:
            # Holds stand until their leases end, streams go on; both are asked about again.
            self._parts.emit(events.Fault(at=self._parts.clock.now(), run_id=None, where="watch", error=away))

    def _hear(self, streams: Sequence[Watched]) -> None:
        nodes = {one.id: one for stream in streams for one in _lineage(stream)}
        for closure in self._parts.ledger.closures(tuple(nodes)) if nodes else ():
            nodes[closure.run_id].stopped = error_from(closure)
        for stream in streams:
            stream.halt()


def _listens(stream: Watched) -> bool:
    return not stream.settled and stream.tap.halted is None


def _lineage(stream: Watched) -> list[Node]:
    node = stream.tap.sent.attempt.call.node
    return list(node.lineage) if node else []
