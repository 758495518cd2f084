"""While streams are open: hear within half a second of stops by other processes, and renew their leases."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from tokenguard.core import events
from tokenguard.core.stops import error_from
from tokenguard.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenguard.calls.parts import Parts
    from tokenguard.calls.scope import Node
    from tokenguard.calls.stream import Tap

__all__ = ["Watch", "Watched"]

_LOOK_S: Final = 0.5
_RENEW_EVERY: Final = 40
"""Looks between two renewals: 20 seconds."""
_LEASE_S: Final = 120


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


class Watch:
    """A daemon thread that lives only while streams are open."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    def begin(self) -> None:
        """A stream was opened: see that somebody watches."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="tokenguard-watch", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread; the next stream starts another."""
        self._wake.set()

    def _run(self) -> None:
        looks = 0
        while not self._wake.wait(_LOOK_S):
            looks += 1
            if not self._looked(renew=looks % _RENEW_EVERY == 0):
                return

    def _looked(self, *, renew: bool) -> bool:
        """One look; False: nothing is open. A method of its own, or its list would keep dropped streams alive."""
        with self._lock:
            streams = [stream for stream in self._parts.streams.snapshot() if not stream.settled]
            if not streams:
                self._thread = None
                return False
        try:
            self._look(streams, renew=renew)
        except LedgerError as away:
            # The hold stands whatever happens; streams go on and are asked about again.
            self._parts.emit(events.Fault(at=self._parts.clock.now(), run_id=None, where="watch", error=away))
        return True

    def _look(self, streams: Sequence[Watched], *, renew: bool) -> None:
        nodes = {one.id: one for stream in streams for one in _lineage(stream)}
        for closure in self._parts.ledger.closures(tuple(nodes)) if nodes else ():
            nodes[closure.run_id].stopped = error_from(closure)
        if renew:
            until = self._parts.clock.now() + timedelta(seconds=_LEASE_S)
            self._parts.ledger.renew([stream.tap.sent.attempt.hold.id for stream in streams], until)


def _lineage(stream: Watched) -> list[Node]:
    node = stream.tap.sent.attempt.call.node
    return list(node.lineage) if node else []
