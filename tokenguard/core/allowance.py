"""Allowances: money that one process leased on one path, and spends without asking the ledger for each call.

A lease is a hold like any other, on every account of the path, so a cap stays hard: what is in the lease is held, and
what is spent from it was in the lease. Now and then the process tells the ledger what it paid (`Exchange`): that is
settled, the lease is released, and a new one takes its place, all in one transaction. docs/adr/0017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tokenguard.core.account import Account, Amounts
from tokenguard.core.books import Booking, CallFacts, Closure, Hold
from tokenguard.core.rolling import is_rolling
from tokenguard.core.verdict import AccountState, Ask, kept_back
from tokenguard.errors import LedgerConflict

__all__ = [
    "TIMES_FIRST",
    "TIMES_MOST",
    "Exchange",
    "Exchanged",
    "Kept",
    "Paid",
    "Promise",
    "largest",
    "lends",
    "next_times",
    "scaled",
    "times_lent",
    "together",
]

TIMES_FIRST: Final = 4
"""How many calls the first lease of a path is for."""
TIMES_MOST: Final = 1024
"""How many calls a lease is for at most."""
_ENTRY_KEYS: Final = ("run:", "step:")
"""Scopes that are one entry of a run or step: their budgets follow those above them."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A call that was granted out of an allowance."""

    id: str
    at: datetime
    facts: CallFacts
    amounts: Amounts
    """Its worst case."""
    input_tokens: int
    """The bound of its prompt."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What became of a promise."""

    promise: Promise
    booking: Booking


@dataclass(frozen=True, slots=True)
class Kept:
    """A promise that its lease covers no longer: a hold of its own from now on."""

    promise: Promise
    booking: Booking | None = None
    """What `Ledger.keep` was told: nobody knows what it came to. None: it is still in flight."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A process settles up with the ledger: one lease for the next."""

    lease: Hold
    """The next one. Its id is made before anything is sent: the same exchange again changes nothing."""
    old_ids: tuple[str, ...] = ()
    """Leases that end: the last one, or all that a dead process may have had."""
    paid: tuple[Paid, ...] = ()
    kept: tuple[Kept, ...] = ()
    open: Amounts = field(default_factory=Amounts)
    """Worst cases of the calls in flight, which the next lease holds whatever the balances say."""
    one: Amounts = field(default_factory=Amounts)
    """The worst case of one call."""
    times: int = 0
    """How many such calls the next lease should be for, besides those in flight; 0: none."""
    repeated: bool = False
    """Some of it may be in the books already, so each attempt is looked for first."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What an exchange came to."""

    lease_id: str | None = None
    """The next lease, to be named in the exchange after this one; None: nothing was left to hold."""
    leased: Amounts = field(default_factory=Amounts)
    """What it holds."""
    states: tuple[AccountState, ...] = ()
    """Balances of its path after it, outermost scope first; empty where nothing is leased."""
    settled: tuple[AccountState, ...] = ()
    """Balances after what was paid, and before the next lease."""
    closure: Closure | None = None
    """A run of the path is closed, so nothing is leased."""
    refused: tuple[LedgerConflict, ...] = ()
    """Attempts that the books have with other numbers: what is in the books stands."""


def lends(accounts: Sequence[Account]) -> bool:
    """Whether a process may lease on a path: somebody switched it on, and nobody on the path is against it.

    What outlives a run must be switched on itself: its room is shared, and what one process leases another one cannot
    have. A run's or step's own budget follows those above it, unless it says no. A rolling window never lends.
    """
    return any(one.allowance_pico for one in accounts) and not any(
        is_rolling(one.per)
        or one.allowance_pico == 0
        or (one.allowance_pico is None and not one.scope_key.startswith(_ENTRY_KEYS))
        for one in accounts
    )


def times_lent(one: Amounts, times: int, states: Sequence[AccountState]) -> int:
    """For how many calls of worst case `one` a process gets a lease, 2..times; 0: too few to be worth one.

    At most room ÷ (live holds + 2) of each account, so that processes which come later get a lease too, and calls that
    no lease covers find room; at most the smallest allowance of the path. Near a cap leases shrink and vanish, and
    every call is judged by the ledger itself.

    Args:
        one: The worst case of one call.
        times: How many are wanted, >= 0.
        states: The path's balances, the process's last lease released.
    """
    plain = Ask()
    for state in states:
        amount = one.of(state.account.unit)
        if amount:
            room = state.room - kept_back(state, plain)
            times = min(times, max(0, room) // (state.live + 2) // amount)
    most = min((state.account.allowance_pico for state in states if state.account.allowance_pico), default=0)
    if one.usd_pico:
        times = min(times, most // one.usd_pico)
    return times if times > 1 else 0


def next_times(times: int, used: int, *, short: bool) -> int:
    """How many calls the next lease is for: twice as many where this one was too small, else twice what was used."""
    wanted = 2 * times if short else 2 * used
    return max(2, min(wanted, TIMES_MOST))


def together(amounts: Sequence[Amounts]) -> Amounts:
    """All of them together."""
    return Amounts(
        sum(one.usd_pico for one in amounts),
        sum(one.tokens for one in amounts),
        sum(one.calls for one in amounts),
        sum(one.steps for one in amounts),
    )


def scaled(one: Amounts, times: int) -> Amounts:
    """`times` of it."""
    return Amounts(one.usd_pico * times, one.tokens * times, one.calls * times, one.steps * times)


def largest(first: Amounts, second: Amounts) -> Amounts:
    """The larger of two in each unit."""
    return Amounts(
        max(first.usd_pico, second.usd_pico),
        max(first.tokens, second.tokens),
        max(first.calls, second.calls),
        max(first.steps, second.steps),
    )
