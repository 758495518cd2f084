"""Lines of calls that wait for room: first come, first served in a process.

A waiter holds no money. Only the head of a line asks the ledger again; it is woken by settlements of this process
and looks for those of other processes at jittered intervals. Everybody behind sleeps until they are the head.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

__all__ = ["Lines", "Ticket"]


class Ticket:
    """One waiter's place. `wake` is set by the driver to whatever wakes its kind of caller."""

    __slots__ = ("_lines", "_wake", "account_id", "signalled")

    def __init__(self, lines: Lines, account_id: str) -> None:
        self._lines = lines
        self._wake: Callable[[], None] | None = None
        self.account_id = account_id
        self.signalled = False

    @property
    def is_head(self) -> bool:
        """Whether it is this waiter's turn to ask."""
        return self._lines.is_head(self)

    def arm(self, wake: Callable[[], None]) -> bool:
        """Be told by `wake()`, from any thread; True: it was signalled meanwhile, do not sleep."""
        with self._lines.lock:
            self._wake = wake
            return self.signalled

    def disarm(self) -> bool:
        """Be told no more; whether a signal came."""
        with self._lines.lock:
            self._wake = None
            signalled, self.signalled = self.signalled, False
            return signalled

    def leave(self) -> None:
        """Give the place up; the next in line is woken. Idempotent."""
        self._lines.leave(self)

    def signal(self) -> None:
        """Wake the waiter, or let it not fall asleep. Called with the lines' lock held."""
        self.signalled = True
        if self._wake is not None:
            self._wake()


class Lines:
    """All lines of one guard, by account id. Thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._lines: dict[str, deque[Ticket]] = {}

    def join(self, account_id: str) -> Ticket:
        """Take the last place in an account's line."""
        ticket = Ticket(self, account_id)
        with self.lock:
            self._lines.setdefault(account_id, deque()).append(ticket)
        return ticket

    def waited_on(self, account_ids: Iterable[str]) -> str | None:
        """The first of the accounts that somebody waits for; a newcomer lines up behind them."""
        if not self._lines:  # The usual case costs one look, without the lock: a stale answer only costs a place.
            return None
        with self.lock:
            return next((account_id for account_id in account_ids if account_id in self._lines), None)

    def is_head(self, ticket: Ticket) -> bool:
        """Whether a ticket is the first of its line."""
        with self.lock:
            line = self._lines.get(ticket.account_id)
            return line is not None and line[0] is ticket

    def leave(self, ticket: Ticket) -> None:
        """Take a ticket out of its line and wake the new head."""
        with self.lock:
            line = self._lines.get(ticket.account_id)
            if line is None or ticket not in line:
                return
            line.remove(ticket)
            if line:
                line[0].signal()
            else:
                del self._lines[ticket.account_id]

    def room_made(self, account_ids: Iterable[str]) -> None:
        """Something settled on these accounts: wake the heads of their lines."""
        if not self._lines:
            return
        with self.lock:
            for account_id in account_ids:
                line = self._lines.get(account_id)
                if line:
                    line[0].signal()
