"""What answers cost while the database is away: written down first, booked when it is back, each exactly once.

An answer that arrived is paid for. Where its settlement cannot be written, the booking goes to a spool on this machine,
with fsync, and the answer to its caller. The spool is replayed in order as soon as the ledger answers again, by this
process or, when it died, by the next one that opens the same ledger. Settling is idempotent by the attempt's id, so a
replay that is cut short is simply done again. docs/adr/0019.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from tokenguard.core.books import Booking, Closure, Hold, Settled, Status
from tokenguard.errors import LedgerConflict, LedgerError, LedgerUnavailable, SchemaMismatch
from tokenguard.ledger.forwarding import Forwarding
from tokenguard.ledger.spool import SUFFIX, Spool, orphans

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from tokenguard.core.adjusting import Adjusted, Adjustment
    from tokenguard.core.allowance import Exchange, Exchanged
    from tokenguard.core.ports import Ledger
    from tokenguard.core.tree import TooFast
    from tokenguard.core.verdict import Ask, Grant, Short
    from tokenguard.ledger.conditions import Lender

__all__ = ["Journaled", "Replayed", "replay"]

_AWAY: Final = (LedgerUnavailable, SchemaMismatch)
"""Errors after which the booking must be kept: nothing was written, and a later attempt may succeed."""
_FIRST_LOOK_S: Final = 0.5
_SLOWEST_LOOK_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of journaled bookings."""

    booked: int = 0
    """Bookings that are in the books now; those that had been there already are among them."""
    refused: tuple[LedgerConflict, ...] = ()
    """Those that the books contradict; they stay beside the spool, in a file that ends with `.refused`."""
    left: int = 0
    """Bookings that wait for a ledger that is still away."""
    away: LedgerError | None = None
    """Why some are left."""

    def __add__(self, other: Replayed) -> Replayed:
        return Replayed(
            self.booked + other.booked,
            self.refused + other.refused,
            self.left + other.left,
            self.away or other.away,
        )


class Journaled(Forwarding):
    """A ledger whose settlements survive its absence. Everything else is refused while it is away, as ever.

    Args:
        inner: Where the books are.
        folder: Of this ledger's spools on this machine.
        told: Called with what a replay did, on the thread that did it.
        watch: Look for what dead processes left, now and on a thread.
    """

    def __init__(
        self, inner: Ledger, folder: Path, told: Callable[[Replayed], None] = lambda _: None, *, watch: bool = True
    ) -> None:
        super().__init__(inner)
        self._folder = folder
        self._told = told
        self._begin()
        if watch and any(folder.glob(f"*{SUFFIX}")):
            self._start_looking()

    def _begin(self) -> None:
        self._waiting: list[Spool] = []
        self._open: Spool | None = None
        self._lock = threading.Lock()
        self._replaying = threading.Lock()
        self._over = threading.Event()
        self._watch: threading.Thread | None = None

    def reserve(self, hold: Hold, ask: Ask) -> Grant | Short | Closure | TooFast:
        """See `core.ports.Ledger.reserve`; what waits is booked first, so that the verdict knows the truth."""
        if self._waiting and (away := self.catch_up().away) is not None:
            raise away
        return self.inner.reserve(hold, ask)

    def settle(self, hold_id: str, booking: Booking) -> Settled:
        """See `core.ports.Ledger.settle`; where the ledger is away, the booking is journaled and `states` is empty."""
        try:
            return self.inner.settle(hold_id, booking)
        except _AWAY:
            self._write({"do": "settle", "hold_id": hold_id, "booking": _bookings().dump_python(booking, mode="json")})
            return Settled((), journaled=True)

    def charge(self, hold: Hold, booking: Booking) -> Settled:
        """See `core.ports.Ledger.charge`; the money is gone, so it is journaled like a settlement."""
        try:
            return self.inner.charge(hold, booking)
        except _AWAY:
            row = {"hold": _holds().dump_python(hold, mode="json")}
            self._write({"do": "charge", **row, "booking": _bookings().dump_python(booking, mode="json")})
            return Settled((), journaled=True)

    def caps(self, hold: Hold) -> dict[str, int] | None:
        """See `ledger.conditions.Lender.caps`."""
        return cast("Lender", self.inner).caps(hold)

    def exchange(self, request: Exchange) -> Exchanged:
        """See `ledger.conditions.Lender.exchange`; what waits is booked first, as for any other grant.

        What another process left comes before it: a journaled answer may be to a call that its spool knows.
        """
        if self._waiting and not request.repeated and (away := self.catch_up().away) is not None:
            raise away
        # Only what leases from a journaled ledger asks, and it was given one that lends.
        return cast("Lender", self.inner).exchange(request)

    def adjust(self, adjustment: Adjustment) -> Adjusted:
        """See `core.ports.Ledger.adjust`; what waits is booked first, because it may be what is adjusted."""
        if self._waiting and (away := self.catch_up().away) is not None:
            raise away
        return self.inner.adjust(adjustment)

    def catch_up(self) -> Replayed:
        """Book what waits, of this process, in its order."""
        done = Replayed()
        with self._replaying:
            while self._waiting and done.away is None:
                spool = self._waiting[0]
                with self._lock:  # What is journaled from now on goes to a file of its own.
                    self._open = None
                done += _finished(spool, self.inner, keep=True)
                if done.away is None:
                    self._waiting.pop(0)
        self._tell(done)
        return done

    def take_over(self) -> Replayed:
        """Book what processes that died left on this machine."""
        done = Replayed()
        for spool in orphans(self._folder):
            done += _finished(spool, self.inner, keep=False)
        self._tell(done)
        return done

    def dispose(self, *, forked: bool = False) -> None:
        """See `core.ports.Ledger.dispose`. What still waits stays on disk for the next process."""
        self._over.set()
        if forked:
            self._begin()  # Spools, locks and thread are the parent's.
        else:
            self.catch_up()
            for spool in self._waiting:
                spool.close()
            self._waiting = []
        self.inner.dispose(forked=forked)

    def _write(self, record: dict[str, Any]) -> None:
        """Journal one booking, and look for the ledger's return from now on.

        Raises:
            LedgerUnavailable: the spool cannot be written either: the hold stands, and is charged when its lease ends.
        """
        with self._lock:
            if self._open is None:
                self._open = Spool.open(self._folder)
                self._waiting.append(self._open)
            self._open.append(record, durable=True)
        self._start_looking()

    def _tell(self, done: Replayed) -> None:
        if done.booked or done.refused:
            self._told(done)

    def _start_looking(self) -> None:
        with self._lock:
            if self._watch is None or not self._watch.is_alive():
                self._watch = threading.Thread(target=self._look, name="tokenguard-journal", daemon=True)
                self._watch.start()

    def _look(self) -> None:
        """Take over what others left; then look until nothing waits, half a second apart at first, 15 s at last."""
        left = self.take_over().left
        pause_s = _FIRST_LOOK_S
        while (left or self._waiting) and not self._over.wait(pause_s):
            left = self.take_over().left if left else 0
            self.catch_up()
            pause_s = min(2 * pause_s, _SLOWEST_LOOK_S)


def replay(spool: Spool, ledger: Ledger) -> Replayed:
    """Book a spool's records in their order, and forget them; stops where the ledger is still away.

    A booking that the books contradict is set aside, so that it neither blocks the others nor is lost.
    """
    records = spool.records()
    refused: list[tuple[dict[str, Any], LedgerConflict]] = []
    for place, record in enumerate(records):
        try:
            _book(record, ledger)
        except _AWAY as away:
            return Replayed(left=len(records) - place, away=away)  # What was booked is met again as booked before.
        except LedgerConflict as conflict:
            refused.append((record, conflict))
    for record, why in refused:
        _set_aside(spool, record, why)
    spool.clear()
    return Replayed(len(records) - len(refused), tuple(why for _, why in refused))


def _finished(spool: Spool, ledger: Ledger, *, keep: bool) -> Replayed:
    """Replay a spool and remove it; where something is left, `keep` it open or let others have it."""
    left = True
    try:
        done = replay(spool, ledger)
        left = bool(done.left)
    finally:
        if not left or not keep:
            spool.close(remove=not left)
    return done


def _book(record: dict[str, Any], ledger: Ledger) -> None:
    booking = _bookings().validate_python(record["booking"])
    if record["do"] == "settle":
        try:
            ledger.settle(record["hold_id"], booking)
        except LedgerConflict as conflict:
            # A reservation in doubt was given back, and had not been written: nothing is owed and nothing held.
            if conflict.facts.get("reserved", True) or booking.status is not Status.REJECTED:
                raise
    else:
        ledger.charge(_holds().validate_python(record["hold"]), booking)


def _set_aside(spool: Spool, record: dict[str, Any], conflict: LedgerConflict) -> None:
    """Keep a refused booking with the sentence that refused it."""
    beside = Spool.at(spool.path.with_suffix(".refused"))
    beside.append({**record, "refused": conflict.sentence}, durable=True)
    beside.close()


@lru_cache(maxsize=1)
def _bookings() -> TypeAdapter[Booking]:
    """Bookings to JSON and back; loaded where a ledger is away, which is rare."""
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(Booking)


@lru_cache(maxsize=1)
def _holds() -> TypeAdapter[Hold]:
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(Hold)
