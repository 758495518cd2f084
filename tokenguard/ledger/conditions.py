"""Under which conditions a process leases: from whom, where it writes down what it pays, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tokenguard.core.allowance import Exchange, Exchanged
from tokenguard.core.books import Hold
from tokenguard.core.clock import Clock
from tokenguard.core.ids import Ids
from tokenguard.errors import TokenguardError

__all__ = ["Conditions", "Lender", "Listener"]


class Lender(Protocol):
    """A ledger that leases."""

    def caps(self, hold: Hold) -> dict[str, int] | None:
        """The caps in force for a call, by account, without locking anything; None: a run on its path is closed.

        Raises:
            LedgerUnavailable: the books cannot be read.
        """
        ...

    def exchange(self, request: Exchange) -> Exchanged:
        """Settle up and take the next lease, in one transaction; the same request again changes nothing.

        Raises:
            LedgerUnavailable: nothing was written, unless `.in_doubt` says that nobody knows.
        """
        ...


class Listener(Protocol):
    """Hears of exchanges, and of what goes wrong where nobody waits for them."""

    def leasing(self) -> bool:
        """Calls are paid in this process, this thread says; False: other threads should say so too."""
        ...

    def exchanged(self, request: Exchange, done: Exchanged) -> None:
        """An exchange is in the books."""
        ...

    def failed(self, error: TokenguardError) -> None:
        """Something that nobody waits for was not possible."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which a process leases."""

    folder: Path
    """Of this ledger's spools of allowances on this machine."""
    clock: Clock
    """Tells when a lease is taken."""
    ids: Ids
    """Names leases."""
    owner: Callable[[], str]
    """What the ledger calls this process; asked again after a fork."""
    listener: Listener
    """Hears what happens in the background."""
    bridges: bool = False
    """Whether to spend what was leased while the ledger is away, for as long as a lease lasts."""
    tick_s: float | None = 0.5
    """Seconds between two looks of the thread that settles up; None: there is none, and somebody calls `tend`."""
