"""A world small enough to walk through: every order in which three callers of two capped scopes can act.

The transitions are the project's own pure functions: `judge` grants, `core.posting` moves balances, `assumed` says what
a lease that ended is charged. What is modelled here is only who may do what next.

A parent scope contains a child scope. Two callers pay child and parent, one the parent alone; one of them makes two
calls. A call is granted or refused; what is held is settled (below, at or above its ceiling), voided, lost with its
process, or outlives its lease; and what was charged for it is corrected by a settlement that comes late. People raise
each cap once, stop and resume both scopes at any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final, NamedTuple

from tokenguard.core.account import Account, Amounts, Scope, accounts_on
from tokenguard.core.budget import Budget
from tokenguard.core.posting import Posting, corrected, holding, moved, resolved
from tokenguard.core.verdict import AccountState, Ask, Grant, Reason, Short, judge
from tokenguard.ledger.outcomes import assumed

__all__ = ["ACCOUNTS", "ASKS", "NOON", "PATHS", "SCOPES", "TOP_UP", "Act", "World", "begin", "next_worlds", "walk"]

NOON: Final = datetime(2026, 3, 14, 12, tzinfo=UTC)
PARENT, CHILD = 0, 1
SCOPES: Final = (
    Scope("run:parent", "parent", (Budget(usd="0.000000000007"),)),
    Scope("run:child", "child", (Budget(usd="0.000000000005"),)),
)
ACCOUNTS: Final[tuple[Account, ...]] = accounts_on(SCOPES, NOON)
PATHS: Final = ((PARENT, CHILD), (PARENT, CHILD), (PARENT,))
"""Who pays for each caller, outermost first."""
ASKS: Final = (
    Ask(fixed_pico=1, output_rate_pico=1, output_min=1, output_max=2),
    Ask(fixed_pico=1, output_rate_pico=1, output_min=1, output_max=3, output_given=False),
    Ask(fixed_pico=2),
)
CALLS: Final = (2, 1, 1)
"""How many calls each makes, one after the other."""
TOP_UP: Final = 2
OVERRUN: Final = 1


class Phase(IntEnum):
    """Where a caller's call is."""

    IDLE = 0
    HELD = 1
    CRASHED = 2
    """Its process is gone; the hold stands."""
    LOST = 3
    """Its lease ended: charged at the ceiling."""


class Caller(NamedTuple):
    phase: Phase
    calls_left: int
    held: int
    """The ceiling of the call it makes; 0 while it makes none."""


class Balance(NamedTuple):
    cap: int
    settled: int
    held: int
    live: int


class World(NamedTuple):
    balances: tuple[Balance, Balance]
    callers: tuple[Caller, Caller, Caller]
    top_ups_left: tuple[int, int]
    stopped: tuple[bool, bool]
    """By a person."""
    spent: tuple[bool, bool]
    """By its cap."""
    booked: tuple[int, int, int]
    """What each caller's calls came to, counted apart from the balances."""
    overrun: tuple[int, int, int]
    """Of that, what was billed above a ceiling."""


@dataclass(frozen=True, slots=True)
class Act:
    """One step of somebody; `amount` is what a settlement states, or what a grant held (None: refused)."""

    name: str
    who: int
    amount: int | None = None


def begin() -> World:
    """Nothing has happened."""
    caps = (Balance(ACCOUNTS[PARENT].cap, 0, 0, 0), Balance(ACCOUNTS[CHILD].cap, 0, 0, 0))
    first, second, third = (Caller(Phase.IDLE, calls, 0) for calls in CALLS)
    return World(caps, (first, second, third), (1, 1), (False, False), (False, False), (0, 0, 0), (0, 0, 0))


def walk() -> Iterator[tuple[World, Act | None, World]]:
    """Every transition that can happen, as (before, act, after); first the beginning, as (world, None, world)."""
    first = begin()
    yield first, None, first
    seen, waiting = {first}, deque([first])
    while waiting:
        before = waiting.popleft()
        for act, after in next_worlds(before):
            yield before, act, after
            if after not in seen:
                seen.add(after)
                waiting.append(after)


def next_worlds(world: World) -> Iterator[tuple[Act, World]]:
    """Everything that anybody may do next."""
    for who in range(len(PATHS)):
        yield from _of_caller(world, who)
    for scope in (PARENT, CHILD):
        yield from _of_people(world, scope)


def _of_caller(world: World, who: int) -> Iterator[tuple[Act, World]]:
    caller = world.callers[who]
    ceiling = caller.held
    if caller.phase is Phase.IDLE:
        if caller.calls_left:
            yield _reserved(world, who)
        return
    if caller.phase is Phase.HELD:
        for truth in {1, ceiling, ceiling + OVERRUN}:
            after = _moved(world, who, resolved(Amounts(ceiling), Amounts(truth)))
            yield Act("settle", who, truth), _done(after, who, booked=truth, above=truth - ceiling)
        yield Act("void", who), _done(_moved(world, who, resolved(Amounts(ceiling), Amounts())), who, booked=0)
        yield Act("crash", who), _with_caller(world, who, caller._replace(phase=Phase.CRASHED))
    if caller.phase in (Phase.HELD, Phase.CRASHED):
        charge = assumed(Amounts(ceiling), None, NOON).amounts
        after = _moved(world, who, resolved(Amounts(ceiling), charge))
        lost = _with_caller(after, who, caller._replace(phase=Phase.LOST))
        yield Act("expire", who), lost._replace(booked=_at(lost.booked, who, lost.booked[who] + charge.usd_pico))
        return
    yield Act("give up", who), _done(world, who, booked=0)
    for truth in {1, ceiling + OVERRUN}:
        after = _moved(world, who, corrected(Amounts(ceiling), Amounts(truth)))
        yield Act("settle late", who, truth), _done(after, who, booked=truth - ceiling, above=truth - ceiling)


def _reserved(world: World, who: int) -> tuple[Act, World]:
    """What the ledgers do in one transaction: closures on the path, then the verdict, then the hold."""
    path = PATHS[who]
    if any(world.stopped[scope] or world.spent[scope] for scope in path):
        return Act("reserve", who), world
    states = [_state(world, scope) for scope in path]
    verdict = judge(ASKS[who], states)
    if isinstance(verdict, Grant):
        after = _moved(world, who, holding(verdict.amounts))
        granted = Caller(Phase.HELD, world.callers[who].calls_left, verdict.amounts.usd_pico)
        return Act("reserve", who, verdict.amounts.usd_pico), _with_caller(after, who, granted)
    return Act("reserve", who), _closed_by(world, verdict)


def _closed_by(world: World, short: Short) -> World:
    """A spent cap closes its scope until it is raised; a call that is too large, or must wait, closes nothing."""
    if short.reason is not Reason.SPENT:
        return world
    return world._replace(spent=_at(world.spent, ACCOUNTS.index(short.state.account), True))


def _of_people(world: World, scope: int) -> Iterator[tuple[Act, World]]:
    if world.top_ups_left[scope]:
        balance = world.balances[scope]
        yield (
            Act("top up", scope),
            world._replace(
                balances=_at(world.balances, scope, balance._replace(cap=balance.cap + TOP_UP)),
                top_ups_left=_at(world.top_ups_left, scope, 0),
                spent=_at(world.spent, scope, False),
            ),
        )
    if world.stopped[scope]:
        resumed = world._replace(stopped=_at(world.stopped, scope, False), spent=_at(world.spent, scope, False))
        yield Act("resume", scope), resumed
    else:
        yield Act("stop", scope), world._replace(stopped=_at(world.stopped, scope, True))


def _state(world: World, scope: int) -> AccountState:
    return AccountState(ACCOUNTS[scope], *world.balances[scope])


def _moved(world: World, who: int, posting: Posting) -> World:
    """A posting on every balance of the caller's path."""
    balances = list(world.balances)
    for scope in PATHS[who]:
        after = moved(_state(world, scope), posting)
        balances[scope] = Balance(after.cap, after.settled, after.held, after.live)
    return world._replace(balances=(balances[PARENT], balances[CHILD]))


def _with_caller(world: World, who: int, caller: Caller) -> World:
    return world._replace(callers=_at(world.callers, who, caller))


def _done(world: World, who: int, *, booked: int, above: int = 0) -> World:
    """The call is over."""
    after = _with_caller(world, who, Caller(Phase.IDLE, world.callers[who].calls_left - 1, 0))
    return after._replace(
        booked=_at(after.booked, who, after.booked[who] + booked),
        overrun=_at(after.overrun, who, after.overrun[who] + max(0, above)),
    )


def _at(values: Any, place: int, value: Any) -> Any:
    """The tuple with one value replaced."""
    return (*values[:place], value, *values[place + 1 :])
