"""No connection to a SQLite file lives through a fork: before one, threads come out of SQLite and connections close.

SQLite keeps what it has locked per process, in memory, behind mutexes. A child copies that memory, not the locks. With
a mutex that a thread of the parent held it waits for ever; with a lock that it only remembers it writes into a log that
the parent deletes when it closes, and its spend is lost (https://www.sqlite.org/howtocorrupt.html, 2.6). Neither can be
mended in the child, where even closing what was inherited is not allowed.
"""

from __future__ import annotations

import os
import threading
from typing import Final, Protocol
from weakref import WeakSet

from tokenguard.errors import LedgerUnavailable

__all__ = ["SQLITE", "Gate"]

_PATIENCE_S: Final = 30.0
"""How long a fork waits for transactions and reports. One that waits for other processes' locks gives up before."""


class _File(Protocol):
    def close_connections(self) -> None:
        """Close all of them; no thread uses one, and none can begin to."""
        ...

    def dispose(self, *, forked: bool) -> None:
        """Begin anew in a forked child."""
        ...


class Gate:
    """Counts who is inside SQLite, and lets nobody in while a thread forks. Used as a context; it may be nested."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._files: WeakSet[_File] = WeakSet()
        self._torn = False
        self._begin()

    def _begin(self) -> None:
        self._turn = threading.Condition()
        self._depths: dict[int, int] = {}
        """Threads that are inside, and how deep."""
        self._forking: dict[int, bool] = {}
        """Threads that fork or wait to, and whether they were alone."""

    def watch(self, file: _File) -> None:
        """Close its connections before each fork, for as long as it lives."""
        with self._turn:
            self._files.add(file)

    def __enter__(self) -> None:
        """Go in, after the forks that are under way.

        Raises:
            LedgerUnavailable: this process was forked in the middle of a transaction.
        """
        if self._torn:
            raise LedgerUnavailable(
                "this process was forked in the middle of a transaction, and SQLite cannot be used in it. "
                "Fork outside of transactions, or start a new program (multiprocessing: 'spawn').",
                database="SQLite",
            )
        thread = threading.get_ident()
        with self._turn:
            # Who is inside has to finish before anybody forks, so it may go in once more.
            while self._forking and thread not in self._depths:
                self._turn.wait()
            self._depths[thread] = self._depths.get(thread, 0) + 1

    def __exit__(self, *error: object) -> None:
        """Go out."""
        with self._turn:
            self._leave()

    def _leave(self) -> None:
        thread = threading.get_ident()
        # In a child that was forked inside, nothing is counted any more.
        depth = self._depths.pop(thread, 1) - 1
        if depth:
            self._depths[thread] = depth
        elif self._forking:
            self._turn.notify_all()

    def before_fork(self) -> None:
        """Wait until nobody is inside, close every connection, and keep the gate shut.

        A thread that forks inside a transaction of its own cannot wait for itself. Neither does a fork wait for ever.
        """
        thread = threading.get_ident()
        with self._turn:
            self._forking[thread] = False
            alone = thread not in self._depths and self._turn.wait_for(lambda: not self._depths, self._patience_s)
            self._forking[thread] = alone
            # Inside itself: two forks take turns, and what others do before a fork may still use the ledger.
            self._depths[thread] = self._depths.get(thread, 0) + 1
            files = list(self._files)
        if alone:
            for file in files:
                file.close_connections()

    def after_fork_in_parent(self) -> None:
        """Open the gate; connections are made when they are needed."""
        with self._turn:
            del self._forking[threading.get_ident()]
            self._leave()
            self._turn.notify_all()

    def after_fork_in_child(self) -> None:
        """Begin anew. A server that forks in C (uWSGI) says nothing before it, and its children are believed whole."""
        self._torn = self._torn or not self._forking.get(threading.get_ident(), True)
        self._begin()
        for file in list(self._files):
            file.dispose(forked=True)


SQLITE: Final = Gate()
"""Of this process: its SQLite is one, whatever the number of files."""

if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has no fork
    os.register_at_fork(
        before=SQLITE.before_fork,
        after_in_parent=SQLITE.after_fork_in_parent,
        after_in_child=SQLITE.after_fork_in_child,
    )
