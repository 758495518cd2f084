"""Work that finalizers leave behind. A finalizer may run inside any lock of this process, so all it may do is enqueue.

`queue.SimpleQueue.put` is reentrant by contract; `ThreadPoolExecutor.submit` is not: a stream collected inside another
`submit` would wait for a lock that its own thread holds.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

__all__ = ["Reaper"]


class Reaper:
    """Runs what was put, in order, on a daemon thread that exists only once something could be put."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Somebody may put something later: have a thread ready, because a finalizer must not start one."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="tokenguard-reaper", daemon=True)
                self._thread.start()

    def put(self, work: Callable[[], object]) -> None:
        """Leave work behind. Safe inside finalizers, signal handlers and any lock."""
        self._queue.put(work)

    def finish(self) -> None:
        """Do what is left, here and now, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            self._queue.put(_end)
            thread.join(timeout=10)
        with contextlib.suppress(Empty):
            while True:
                _do(self._queue.get_nowait())

    def _run(self) -> None:
        while (work := self._queue.get()) is not _end:
            _do(work)
            del work  # Or this thread would keep what it closed alive until the next one comes.


def _do(work: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):  # nobody is left to hear it; the hold in the books stands
        work()


def _end() -> None:
    """The thread's last work."""
