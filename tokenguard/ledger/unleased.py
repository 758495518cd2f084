"""What a ledger says that grants nothing without being asked: the base of those that keep the books themselves."""

from __future__ import annotations

from tokenguard.core.books import Booking, Hold
from tokenguard.core.verdict import Ask

__all__ = ["Unleased"]


class Unleased:
    """Leasing is done by `allowances.Allowances`, around a ledger."""

    def reserve_at_once(self, hold: Hold, ask: Ask) -> None:
        """See `core.ports.Ledger.reserve_at_once`."""

    def settle_at_once(self, hold_id: str, booking: Booking) -> None:
        """See `core.ports.Ledger.settle_at_once`."""

    def relinquish(self) -> None:
        """See `core.ports.Ledger.relinquish`."""
