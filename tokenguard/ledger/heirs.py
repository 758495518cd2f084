"""What dead processes of this machine left of their allowances, booked by whoever looks next.

What they paid is booked as they wrote it down, what was in flight is assumed at its worst case, and the rest of their
leases goes back. Everything is looked for in the books first, so doing it twice does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tokenguard.core.allowance import Exchange, Exchanged
from tokenguard.core.usage import Quality
from tokenguard.errors import LedgerConflict, LedgerError
from tokenguard.ledger.conditions import Lender
from tokenguard.ledger.purse_spool import recovered
from tokenguard.ledger.spool import orphans

__all__ = ["Inherited", "inherit"]


@dataclass(frozen=True, slots=True)
class Inherited:
    """What was found, and what became of it."""

    processes: int = 0
    paid: int = 0
    """Calls whose cost was written down."""
    assumed: int = 0
    """Calls that were in flight, or whose outcome nobody knew."""
    refused: tuple[LedgerConflict, ...] = ()
    """Calls that the books have with other numbers: what is in the books stands."""
    away: LedgerError | None = None
    """Why some of it still waits."""


def inherit(
    lender: Lender,
    folder: Path,
    at: datetime,
    owner: str,
    told: Callable[[Exchange, Exchanged], None] = lambda _, __: None,
) -> Inherited:
    """Take over from every dead process with a spool in `folder`.

    Args:
        lender: Where its leases are.
        folder: Of this ledger's spools of allowances on this machine.
        at: Now.
        owner: Who does it.
        told: Called with each exchange that is in the books.
    """
    found = Inherited()
    for spool in orphans(folder):
        done = False
        refused: tuple[LedgerConflict, ...] = ()
        try:
            requests = recovered(spool.records(), at, owner)
            answers = [lender.exchange(one) for one in requests]
            refused = tuple([conflict for answer in answers for conflict in answer.refused])
            done = True
        except LedgerConflict as conflict:
            # These books never knew its leases: they were restored from a copy, or are not the ones it wrote to.
            requests, answers, refused, done = [], [], (conflict,), True
        except LedgerError as away:
            # The spool stays for the next look; what is in the books already is found there.
            found = Inherited(found.processes, found.paid, found.assumed, found.refused, away)
            continue
        except Exception as strange:  # noqa: BLE001  # one file that cannot be read or booked must not keep others away
            why = f"{spool.path} cannot be booked ({type(strange).__name__}); it is kept beside, as .refused."
            requests, answers, refused, done = [], [], (LedgerConflict(why, path=str(spool.path)),), True
        finally:
            if refused:  # What the books contradict is not lost.
                spool.path.rename(spool.path.with_suffix(".refused"))
            spool.close(remove=done)
        for request, answer in zip(requests, answers, strict=True):
            told(request, answer)
        bookings = [paid.booking for request in requests for paid in request.paid]
        assumed = sum(booking.quality is Quality.ASSUMED for booking in bookings)
        found = Inherited(
            found.processes + 1,
            found.paid + len(bookings) - assumed,
            found.assumed + assumed,
            (*found.refused, *refused),
            found.away,
        )
    return found
