"""How long the ledger believes that a process lives without hearing from it."""

from __future__ import annotations

from typing import Final

__all__ = ["BEAT_S", "LEASE_S"]

LEASE_S: Final = 120.0
"""Seconds, on the ledger's clock, that a hold or a process stands without a sign of life."""

BEAT_S: Final = 30.0
"""Seconds between two signs of life: three may be lost before a lease ends."""
