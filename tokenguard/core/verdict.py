"""May this call be sent? A pure decision over an `Ask` and the balances of its path.

For each account: free = cap − settled, room = free − held.

- the smallest form of the call is above the cap   → too large: refuse
- … above what is free                             → spent: stop
- what it would hold is above the room             → busy: wait, then refuse
- otherwise                                        → granted, with the output tokens it may ask for

The ledger calls `judge` inside its transaction, with the rows locked; the in-memory ledger calls it under its lock.
So the rule exists once, and a test can read it without a database. docs/adr/0002.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tokenguard.core.account import Account, Amounts
from tokenguard.core.budget import Unit
from tokenguard.core.tree import TooFast

__all__ = ["AccountState", "Ask", "Grant", "Reason", "Short", "judge", "kept_back"]


@dataclass(frozen=True, slots=True)
class AccountState:
    """A balance row as the transaction sees it. Usd in pico-dollars, other units in whole counts."""

    account: Account
    cap: int
    """In force now: what the code declared, or what a person set, plus top-ups."""
    settled: int
    """Of a rolling account, what counts in its window at the instant in question."""
    held: int
    live: int
    """Holds that are open on this account."""

    @property
    def free(self) -> int:
        """What is not settled; below zero after an overrun."""
        return self.cap - self.settled

    @property
    def room(self) -> int:
        """What is neither settled nor held."""
        return self.cap - self.settled - self.held


@dataclass(frozen=True, slots=True)
class Ask:
    """The bounds of one call, before anybody knows what it may spend.

    The worst cost is `fixed_pico + output tokens × output_rate_pico`; `output_rate_pico` already contains `n` answers.

    Attributes:
        fixed_pico: Input bound at its dearest rate, plus fees; pico-USD, >= 0.
        output_rate_pico: Pico-USD per output token per answer, times n; >= 0.
        input_tokens: Upper bound of the prompt, >= 0.
        output_min: Fewest output tokens worth asking for, per answer; <= output_max.
        output_max: Most output tokens this call may be given, per answer.
        output_given: The caller named `max_tokens`, so it is clamped only when `free` itself is short.
        answers: n, >= 1.
        calls: 1 for an attempt, 0 for a bare step.
        steps: 1 where the call is a step of its own.
        final_scope: Key of the scope whose last answer this is: it may spend the reserve kept back there.
        priced: False where no price is known: then it fits no account in usd.
    """

    fixed_pico: int = 0
    output_rate_pico: int = 0
    input_tokens: int = 0
    output_min: int = 0
    output_max: int = 0
    output_given: bool = True
    answers: int = 1
    calls: int = 1
    steps: int = 0
    final_scope: str | None = None
    priced: bool = True

    def amounts(self, output_tokens: int) -> Amounts:
        """What to hold when each answer may have `output_tokens`."""
        return Amounts(
            usd_pico=self.fixed_pico + output_tokens * self.output_rate_pico,
            tokens=self.input_tokens + output_tokens * self.answers,
            calls=self.calls,
            steps=self.steps,
        )

    def output_within(self, unit: Unit, amount: int) -> int:
        """The most output tokens per answer whose hold stays within `amount` of `unit`; may be negative."""
        if unit is Unit.USD and self.output_rate_pico:
            return (amount - self.fixed_pico) // self.output_rate_pico
        if unit is Unit.TOKENS:
            return (amount - self.input_tokens) // self.answers
        return self.output_max


@dataclass(frozen=True, slots=True)
class Grant:
    """The call may be sent with `output_tokens` per answer; `amounts` are held on `states`' accounts."""

    amounts: Amounts
    output_tokens: int
    states: tuple[AccountState, ...] = ()
    outpaced: TooFast | None = None
    """Observing: enforcing would have stopped the tree by this limit."""


class Reason(StrEnum):
    """Why a call was not granted, worst first."""

    UNPRICED = "unpriced"
    SPENT = "spent"
    TOO_LARGE = "too_large"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Short:
    """The outermost account that says no. `asked` is what it was asked for, in its unit."""

    reason: Reason
    state: AccountState
    asked: int
    retry_at: datetime | None = None
    """When a rolling window will have room; a calendar window says so itself (`account.ends_at`)."""


def judge(ask: Ask, states: Sequence[AccountState], *, enforce: bool = True) -> Grant | Short:
    """Decide on one call over the accounts of its path, given outermost first; observing, everything is granted.

    A stop anywhere comes before a refusal anywhere, because waiting or shrinking cannot help it; among equals the
    outermost scope is named, so that a sub-agent cannot loop by catching its own limit while its parent's is what is
    spent.
    """
    if not enforce:
        return Grant(ask.amounts(ask.output_max), ask.output_max, tuple(states))
    least = ask.amounts(ask.output_min)
    verdicts = [(state, _least_fits(least.of(state.account.unit), state, ask)) for state in states]
    for reason in (Reason.SPENT, Reason.UNPRICED, Reason.TOO_LARGE):
        for state, found in verdicts:
            if found is reason:
                return Short(reason, state, least.of(state.account.unit))
    output_tokens = _clamp(ask, states)
    amounts = ask.amounts(output_tokens)
    for state in states:
        asked = amounts.of(state.account.unit)
        if asked and asked > _room(state, ask):
            return Short(Reason.BUSY, state, asked)
    return Grant(amounts, output_tokens, tuple(states))


def _least_fits(least: int, state: AccountState, ask: Ask) -> Reason | None:
    """Whether the smallest form of the call fits what is free, holds aside."""
    kept = kept_back(state, ask)
    if not ask.priced and state.account.unit is Unit.USD:
        return Reason.UNPRICED
    if least == 0:
        return None
    if least > state.cap - kept:
        return Reason.TOO_LARGE
    return Reason.SPENT if least > state.free - kept else None


def _clamp(ask: Ask, states: Sequence[AccountState]) -> int:
    """Output tokens per answer: what the caller asked for, or our fair share; never below the minimum.

    A `max_tokens` of our own choosing takes at most free ÷ (live calls + 1) and only room that is there, so that
    fifty calls gathered at once do not refuse each other. One that the caller gave means something to them: it waits
    for room instead.
    """
    tokens = ask.output_max
    for state in states:
        unit = state.account.unit
        free = state.free - kept_back(state, ask)
        if ask.output_given:
            tokens = min(tokens, ask.output_within(unit, free))
        else:
            share = min(free // (state.live + 1), _room(state, ask))
            tokens = min(tokens, ask.output_within(unit, share))
    return max(tokens, ask.output_min)


def kept_back(state: AccountState, ask: Ask) -> int:
    """The reserve for the final answer, which only the final answer may touch."""
    return 0 if state.account.scope_key == ask.final_scope else state.account.reserve_final_pico


def _room(state: AccountState, ask: Ask) -> int:
    return state.room - kept_back(state, ask)
