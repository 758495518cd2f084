"""When a transaction is tried again: after contention, on a fresh connection, or because its commit was not answered.

A connection that is lost before the commit took its transaction with it: nothing was written, and the same work may be
tried again whatever it is. One that is lost during the commit leaves a doubt that only the books can end. Work that
they know by its id asks them, by being done again; other work is handed back with the doubt. docs/adr/0020.
"""

from __future__ import annotations

import random
from typing import Final

from tokenguard.core.clock import SystemClock
from tokenguard.ledger.faults import may_pass

__all__ = ["ASKING_S", "Lost", "Tries"]

ASKING_S: Final = 5.0
"""How long a commit in doubt is asked about on fresh connections: a server that restarts is back within it. Once more
is asked in any case, also where the loss itself took longer to be noticed."""

_CONTENDED: Final = 8
_CONTENDED_IN_A_FILE: Final = 2
"""Transactions for one piece of work; on a file each waits as long as `busy_timeout_s` says."""
_BACKOFF_S: Final = 0.005
_BACKOFF_DOUBLINGS: Final = 7

_CLOCK: Final = SystemClock()


class Lost(Exception):  # noqa: N818  # a signal inside the engine, which makes the error
    """The connection went and took the transaction with it; `in_doubt`: after it was asked to commit."""

    def __init__(self, cause: Exception, *, in_doubt: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.in_doubt = in_doubt


class Tries:
    """The tries of one piece of work."""

    def __init__(self, *, in_file: bool, repeatable: bool) -> None:
        """Begin to count.

        Args:
            in_file: On SQLite, where a new connection leads to the same disk.
            repeatable: The books know the work by its id, and doing it twice is doing it once.
        """
        self.in_doubt = False
        """Whether an earlier try may be in the books."""
        self._in_file, self._repeatable = in_file, repeatable
        self._tried = self._lost = 0
        self._began_s = _CLOCK.monotonic()

    def pause_s(self, error: Exception) -> float | None:
        """Seconds to wait before the next try; None: there is none."""
        self._tried += 1
        goes_on = self._goes_on_without(error) if isinstance(error, Lost) else self._goes_on_after(error)
        if not goes_on:
            return None
        return random.uniform(0, _BACKOFF_S * 2 ** min(self._tried, _BACKOFF_DOUBLINGS))  # noqa: S311  # spreads retries, guards no secret

    def _goes_on_without(self, lost: Lost) -> bool:
        """Whether a fresh connection is tried."""
        known = self.in_doubt
        self.in_doubt = known or lost.in_doubt
        if self._in_file:
            return False
        if self.in_doubt:
            return self._repeatable and (not known or self._in_time())
        self._lost += 1
        return self._lost == 1 and self._in_time()

    def _goes_on_after(self, error: Exception) -> bool:
        """Whether an error of the database passes; in doubt even one that says that it cannot be reached."""
        if self.in_doubt and self._in_time():
            return True
        return may_pass(error) and self._tried < (_CONTENDED_IN_A_FILE if self._in_file else _CONTENDED)

    def _in_time(self) -> bool:
        return _CLOCK.monotonic() - self._began_s < ASKING_S
