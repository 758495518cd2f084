"""A thread that looks after something for as long as there is something to look after."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Caretaker"]


class Caretaker:
    """Looks every `tick_s` seconds, and at once when woken, until a look finds nothing left. Thread-safe.

    Args:
        name: Of the thread.
        tick_s: Seconds between two looks; None: there is no thread, and somebody else looks.
        look: One look; False: nothing is left. Whoever has something new calls `start` after it is there.
    """

    def __init__(self, name: str, tick_s: float | None, look: Callable[[], bool]) -> None:
        self._name, self._tick_s, self._look = name, tick_s, look
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._again = False

    def start(self) -> None:
        """There is something to look after."""
        with self._lock:
            self._again = True
            # One that died of something nobody foresaw is replaced.
            if self._tick_s is not None and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, args=(self._tick_s,), name=self._name, daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """Let the look that is under way end, and look no more."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, tick_s: float) -> None:
        while True:
            self._wake.wait(tick_s)
            self._wake.clear()
            with self._lock:
                if self._thread is not threading.current_thread():
                    return  # Somebody stopped it.
                self._again = False
            goes_on = self._look()
            with self._lock:
                # Or what came while it looked would find a thread that is about to end.
                if not (goes_on or self._again) and self._thread is threading.current_thread():
                    self._thread = None
                    return
