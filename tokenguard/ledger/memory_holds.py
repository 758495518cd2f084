"""Holds in memory: open ones, and how the others ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tokenguard.core.books import Booking, Hold
from tokenguard.core.verdict import Grant
from tokenguard.ledger.memory_caps import Balance

__all__ = ["Open", "Resolved"]


class Open:
    """A hold that is not resolved."""

    __slots__ = ("balances", "grant", "hold", "input_bound", "kept", "lease_until")

    def __init__(
        self, hold: Hold, grant: Grant, balances: tuple[Balance, ...], input_bound: int, now: datetime
    ) -> None:
        self.hold = hold
        self.grant = grant
        self.balances = balances
        self.input_bound = input_bound
        self.lease_until = now + (hold.lease_until - hold.at)
        self.kept: Booking | None = None


@dataclass(slots=True)
class Resolved:
    """How a hold ended; `expired` until a late settlement corrects it."""

    hold: Hold
    booking: Booking
    balances: tuple[Balance, ...]
    input_bound: int
    expired: bool = False
    late: bool = False
