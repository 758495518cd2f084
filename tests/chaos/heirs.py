"""What killed workers wrote down and nobody had booked when their round was over: another process books it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chaos.plan import Plan
from chaos.worker import leases_in
from tokenguard.config.owners import owner_id
from tokenguard.core.clock import SystemClock
from tokenguard.ledger import heirs
from tokenguard.ledger.journal import Journaled, Replayed
from tokenguard.ledger.spool import orphans
from tokenguard.ledger.sql import SqlLedger

__all__ = ["Inherited", "inherit"]


@dataclass(frozen=True, slots=True)
class Inherited:
    """What was left, and what went wrong with it."""

    promised: tuple[str, ...] = ()
    """A line `settled ATTEMPT PICO` for each booking on disk: written with fsync, it must be in the books."""
    leased: int = 0
    """Calls that dead processes had paid out of allowances and not told the ledger."""
    broken: tuple[str, ...] = ()


def inherit(plan: Plan, ledger: SqlLedger, spools: Path) -> Inherited:
    """Book what the dead left, as the next process that opens the ledger does."""
    promised = tuple(_promises(spools))
    now = SystemClock().now()
    if plan.sweeps_first:
        ledger.sweep(now.replace(year=now.year + 1))
    leases = leases_in(spools)
    left, none = heirs.inherit(ledger, leases, now, owner_id()), heirs.inherit(ledger, leases, now, owner_id())
    done = Journaled(ledger, spools, watch=False).take_over()
    again = Journaled(ledger, spools, watch=False).take_over()
    broken = [*_strange(done, again, len(promised), spools), *_strange_leases(left, none, leases)]
    return Inherited(promised, left.paid, tuple(broken))


def _promises(spools: Path) -> Iterator[str]:
    for spool in orphans(spools):
        for record in spool.records():
            yield f"settled {record['hold_id']} {record['booking']['amounts']['usd_pico']}"
        spool.close()


def _strange_leases(left: heirs.Inherited, again: heirs.Inherited, leases: Path) -> Iterator[str]:
    yield from (f"the books refused what an allowance paid: {one.sentence}" for one in left.refused)
    if left.away or again != heirs.Inherited():
        yield f"after allowances were inherited there was {again}, {left.away}"
    yield from (f"after allowances were inherited there is still {path.name}" for path in sorted(leases.glob("*")))


def _strange(done: Replayed, again: Replayed, promised: int, spools: Path) -> Iterator[str]:
    if done.booked != promised or done.left:
        yield f"{promised} bookings were journaled, {done.booked} booked, {done.left} left"
    yield from (f"the books refused a journaled booking: {one.sentence}" for one in done.refused)
    if again != Replayed():
        yield f"after the replay another one found {again.booked} bookings"
    yield from (f"after the replay there is still {path.name}" for path in sorted(spools.glob("*")))
