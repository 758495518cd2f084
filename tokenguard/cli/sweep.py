"""`tokenguard sweep`: charge what processes that died had reserved."""

from __future__ import annotations

from tokenguard.cli.ledgers import inherited, opened
from tokenguard.cli.options import Database, Json
from tokenguard.cli.terminal import document, say

__all__ = ["sweep"]


def sweep(as_json: Json = False, database: Database = None) -> None:
    """Charge what dead processes had reserved at its ceiling, marked assumed. Guards do the same when they reserve.

    A process of this machine is known to be dead at once, one of another machine or container when its lease ends, two
    minutes after its last sign of life. What dead processes of this machine paid out of allowances is booked as they
    wrote it down, and the rest of their leases given back.
    """
    with opened(database) as ledger:
        inherited(ledger)
        swept = ledger.sweep()
        place = ledger.name
    if as_json:
        document({"swept": swept, "ledger": place})
    elif not swept:
        say(f"Nothing to sweep: every open hold belongs to a process that may live. Ledger: {place}")
    else:
        calls = "1 call" if swept == 1 else f"{swept:,} calls"
        say(
            f"{calls} of processes that died, or whose outcome nobody could say, charged at the ceiling and marked "
            "assumed; see `tokenguard report spend --by quality`.",
            f"ledger: {place}",
        )
