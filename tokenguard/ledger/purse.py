"""What one process may spend on one path without asking: a lease, what was promised out of it, and what was paid.

Values and arithmetic only; `allowances.py` does the locking, the spool and the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from tokenguard.core.account import Account, Amounts
from tokenguard.core.allowance import (
    TIMES_FIRST,
    Exchange,
    Exchanged,
    Kept,
    Paid,
    Promise,
    largest,
    next_times,
    together,
)
from tokenguard.core.books import Booking, Hold
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import AccountState, Ask, Grant

__all__ = ["FRESH_S", "PAID_MOST", "Purse", "may_be_leased", "path_key"]

FRESH_S: Final = 1.0
"""Seconds for which what the ledger said last is believed: stops and lowered caps are heard of within them."""
PAID_MOST: Final = 4096
"""Calls that are paid and not told: more of them are told before the next one is granted."""
_NOTHING: Final = Amounts()
_PLENTY: Final = 1 << 62


def path_key(hold: Hold) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What calls have in common that one lease may pay: their runs, and the scopes on their path.

    A step without a budget of its own is no scope of its own here, or each step would need a lease.
    """
    runs, capped = hold.run_ids, [one.scope_key for one in hold.accounts]
    return runs, tuple([key for key in hold.scope_keys if key[:4] != "run:" or key[4:] in runs or key in capped])


def may_be_leased(hold: Hold, ask: Ask) -> bool:
    """Observed calls, last words and calls without a price are judged by the ledger itself."""
    return hold.enforce and ask.priced and ask.final_scope is None


class Purse:
    """One path's allowance. Everything but `exchanging` is guarded by the lock of its `Allowances`."""

    __slots__ = (
        "accounts",
        "ends_at",
        "exchanged_s",
        "exchanging",
        "heard_s",
        "hold",
        "kept",
        "lease_ids",
        "number",
        "one",
        "open",
        "paid",
        "peak",
        "rests_until_s",
        "retired",
        "room",
        "shut",
        "states",
        "times",
        "unanswered",
        "used",
        "used_s",
    )

    def __init__(self, number: int, hold: Hold, now_s: float) -> None:
        self.number = number
        """Names it in the spool."""
        self.hold = hold
        """The first call of its path, which says where leases belong."""
        self.accounts: tuple[Account, ...] = hold.accounts
        self.exchanging = threading.Lock()
        """Held while it settles up, so that others wait for the next lease."""
        self.lease_ids: tuple[str, ...] = ()
        self.room = _NOTHING
        """What may still be promised; below zero after an overrun."""
        self.open: dict[str, Promise] = {}
        self.paid: list[Paid] = []
        self.kept: list[Kept] = []
        self.states: tuple[AccountState, ...] = ()
        self.ends_at: datetime | None = None
        """When the first of its windows ends: nothing is promised from then on."""
        self.exchanged_s = now_s
        self.heard_s = now_s
        """When the ledger said last that nothing has changed."""
        self.used_s = now_s
        self.used = 0
        """Calls promised since the last exchange."""
        self.one = _NOTHING
        """The largest call of the time before the last exchange in which there were any."""
        self.peak = _NOTHING
        """The largest since."""
        self.times = TIMES_FIRST
        self.rests_until_s = now_s
        """Until then calls are judged by the ledger itself: there was too little room for a lease."""
        self.shut = True
        """Nothing is promised: there is no lease, or it is being exchanged."""
        self.retired = False
        """Its window or run is over, or a person changed a cap: it takes no further lease."""
        self.unanswered: Exchange | None = None
        """An exchange that the ledger may or may not have seen; it is asked again before anything else."""

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to tell the ledger."""
        return not (self.lease_ids or self.open or self.has_news)

    @property
    def has_news(self) -> bool:
        """Whether something was paid or kept that the ledger does not know, or may not know."""
        return bool(self.paid or self.kept or self.unanswered)

    def leases_on(self, account_id: str) -> bool:
        """Whether its lease holds something of an account."""
        return any(one.account.id == account_id for one in self.states)

    def is_for(self, hold: Hold) -> bool:
        """Whether a call of its path is in its windows."""
        if self.accounts is not hold.accounts:
            if self.accounts != hold.accounts:
                return False
            self.accounts = hold.accounts  # The next look is quicker.
        return self.ends_at is None or hold.at < self.ends_at

    def promise(self, hold: Hold, ask: Ask, now_s: float, *, stale: bool = False) -> Grant | None:
        """Grant a call in full out of what is left; None: it must be asked elsewhere.

        A call is never clamped to what is left of a lease: the budget itself may have room for all of it.
        """
        if hold.id in self.open:
            return Grant(self.open[hold.id].amounts, ask.output_max, self.states)  # It was asked before.
        if self.shut or (now_s - self.heard_s > FRESH_S and not stale) or len(self.paid) >= PAID_MOST:
            return None
        if not self.is_for(hold):
            return None
        amounts, room = ask.amounts(ask.output_max), self.room
        if (
            amounts.usd_pico > room.usd_pico
            or amounts.tokens > room.tokens
            or amounts.calls > room.calls
            or amounts.steps > room.steps
        ):
            return None
        self.room = _less(room, amounts)
        self.open[hold.id] = Promise(hold.id, hold.at, hold.facts, amounts, ask.input_tokens)
        self.used += 1
        self.used_s = now_s
        self.peak = largest(self.peak, amounts)
        return Grant(amounts, ask.output_max, self.states)

    def take_back(self, promise_id: str) -> None:
        """A promise that could not be written down was never made."""
        self.room = together((self.room, self.open.pop(promise_id).amounts))

    def settle(self, promise_id: str, booking: Booking) -> None:
        """A promise came to something: what it did not cost may be promised again."""
        promise = self.open.pop(promise_id)
        self.paid.append(Paid(promise, booking))
        if not self.shut:
            self.room = _less(together((self.room, promise.amounts)), booking.amounts)

    def keep(self, promise_id: str, booking: Booking | None) -> None:
        """Nobody knows what a promise came to, or nobody here will: it becomes a hold of its own."""
        self.kept.append(Kept(self.open.pop(promise_id), booking))

    def close_for_exchange(self, lease: Hold, *, wanted: Ask | None, times: int) -> Exchange:
        """What to tell the ledger. From now until it has answered, nothing is promised.

        Args:
            lease: The next one.
            wanted: A call that found no room.
            times: For how many calls the next lease should be; 0: only for those in flight.
        """
        self.shut = True
        if self.used:
            self.one, self.peak = self.peak, _NOTHING
        if wanted is not None:
            self.one = largest(self.one, wanted.amounts(wanted.output_max))
        request = Exchange(
            lease,
            self.lease_ids,
            tuple(self.paid),
            tuple(self.kept),
            together([one.amounts for one in self.open.values()]),
            self.one,
            times,
        )
        self.paid, self.kept = [], []
        self.unanswered = request
        self.used = 0
        return request

    def hears(self, caps: Mapping[str, int] | None, now_s: float) -> bool:
        """The caps in force now: whether all is as it was when the lease was taken."""
        if caps != {one.account.id: one.cap for one in self.states}:
            return False
        self.heard_s = now_s
        return True

    def exchanged(self, done: Exchanged, request: Exchange, now_s: float) -> None:
        """The ledger has answered: promise out of the next lease what calls in flight do not have."""
        self.unanswered = None
        self.lease_ids = (done.lease_id,) if done.lease_id else ()
        self.states = done.states
        ends = [one.account.ends_at for one in done.states if one.account.ends_at is not None]
        self.ends_at = min(ends, default=None)
        # What ended while the ledger was asked was in flight when it was asked, so the lease has it.
        promised = together([one.amounts for one in (*self.open.values(), *(kept.promise for kept in self.kept))])
        left = _less(done.leased, together([promised, *(one.booking.amounts for one in self.paid)]))
        self.room = _bounded_by(done.states, left)
        self.exchanged_s = self.heard_s = now_s
        # Without balances nothing bounds a call, so nothing is promised.
        self.shut = self.retired or not request.times or done.closure is not None or not done.states

    def unheard(self, request: Exchange) -> None:
        """The ledger wrote nothing of it for certain: everything is as it was before, and still to be told."""
        self.unanswered = None
        settled_since = together([one.booking.amounts for one in self.paid])
        since = together([one.promise.amounts for one in self.paid])
        self.paid[:0] = request.paid
        self.kept[:0] = request.kept
        self.room = _less(together((self.room, since)), settled_since)
        self.shut = not self.lease_ids or self.retired

    def retire(self) -> None:
        """It takes no further lease."""
        self.retired = self.shut = True

    def next_times(self, *, short: bool) -> int:
        """For how many calls the next lease should be."""
        self.times = next_times(self.times, self.used, short=short)
        return self.times


def _bounded_by(states: Sequence[AccountState], left: Amounts) -> Amounts:
    """What is left in the units that some account counts; of the others there is always enough, if there is a lease."""
    if not states:
        return _NOTHING
    counted = {one.account.unit for one in states}
    usd, tokens, calls, steps = (
        left.of(unit) if unit in counted else _PLENTY for unit in (Unit.USD, Unit.TOKENS, Unit.CALLS, Unit.STEPS)
    )
    return Amounts(usd, tokens, calls, steps)


def _less(first: Amounts, second: Amounts) -> Amounts:
    return Amounts(
        first.usd_pico - second.usd_pico,
        first.tokens - second.tokens,
        first.calls - second.calls,
        first.steps - second.steps,
    )
