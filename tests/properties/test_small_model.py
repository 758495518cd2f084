"""The exhaustive small model: in every order of acts, the promises about money hold; and the ledger does the same."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from properties.small_model import (
    ACCOUNTS,
    ASKS,
    NOON,
    PATHS,
    SCOPES,
    TOP_UP,
    Act,
    Phase,
    World,
    walk,
)

from tokenguard.core.account import Amounts
from tokenguard.core.books import Booking, CallFacts, Closure, Hold, Status
from tokenguard.core.budget import Unit
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import Grant, Reason, Short
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.testing.clock import FakeClock
from tokenguard.testing.ids import CountingIds

ON_PATH = tuple(tuple(who for who, path in enumerate(PATHS) if scope in path) for scope in range(len(SCOPES)))
"""Callers by the scope that pays for them."""


def broken(before: World, act: Act | None, after: World) -> Iterator[str]:
    """Every promise that a transition breaks."""
    for scope, (was, now) in enumerate(zip(before.balances, after.balances, strict=True)):
        open_holds = [after.callers[who].held for who in ON_PATH[scope] if _is_open(after, who)]
        if min(now) < 0:
            yield "something is below zero"
        if now.settled + now.held > now.cap + sum(after.overrun[who] for who in ON_PATH[scope]):
            yield "settled and held are above the cap, and no overrun says why"
        if now.live != len(open_holds) or now.held != sum(open_holds):
            yield "what is held is not what the open holds below hold"
        if now.settled != sum(after.booked[who] for who in ON_PATH[scope]):
            yield "what is settled is not what the calls below came to"
        if act is not None and act.name == "expire" and now.cap - now.settled - now.held > _room(was):
            yield "the money of a hold that expired became free"
        if act is not None and act.name in ("stop", "resume", "top up") and now[1:] != was[1:]:
            yield "a person's act moved money"
    if act is not None and act.name == "reserve":
        yield from _broken_by_a_reservation(before, act, after)


def _broken_by_a_reservation(before: World, act: Act, after: World) -> Iterator[str]:
    path = PATHS[act.who]
    if act.amount is None:
        if after.balances != before.balances:
            yield "a refusal moved money"
        return
    if any(before.stopped[scope] or before.spent[scope] for scope in path):
        yield "a closed scope granted"
    if any(_room(after.balances[scope]) < 0 for scope in path):
        yield "a grant passed a cap"


def _is_open(world: World, who: int) -> bool:
    return world.callers[who].phase in (Phase.HELD, Phase.CRASHED)


def _room(balance: Any) -> int:
    return int(balance.cap - balance.settled - balance.held)


def test_no_order_of_acts_breaks_a_promise(capsys: pytest.CaptureFixture[str]) -> None:
    seen: set[World] = set()
    acts: Counter[tuple[str, bool]] = Counter()

    for before, act, after in walk():
        assert not (found := list(broken(before, act, after))), (found, before, act, after)
        seen.add(after)
        if act is not None:
            acts[act.name, act.amount is None] += 1

    with capsys.disabled():
        sys.stdout.write(f"\nsmall model: {len(seen):,} states, {acts.total():,} transitions\n")
    assert len(seen) >= 50_000
    assert acts.total() >= 350_000
    assert {name for name, _ in acts} == {
        *("reserve", "settle", "void", "crash", "expire", "settle late", "give up"),
        *("top up", "stop", "resume"),
    }
    assert min(acts["reserve", True], acts["reserve", False]) > 3_000
    assert any(sum(one.overrun) for one in seen)


@dataclass(frozen=True)
class _Step:
    """How a world was first reached."""

    before: World
    act: Act


def test_the_ledger_goes_the_same_way_as_the_model() -> None:
    first_way: dict[World, _Step | None] = {}
    for before, act, after in walk():
        first_way.setdefault(after, None if act is None else _Step(before, act))
    worlds = list(first_way)

    for world in [*worlds[::25], *worlds[-500:]]:
        played = _Played()
        for act in _history(world, first_way):
            played.act(act)

        assert played.balances() == world.balances


def _history(world: World, first_way: dict[World, _Step | None]) -> list[Act]:
    """A shortest list of acts that leads from the beginning to this world."""
    acts = []
    while (step := first_way[world]) is not None:
        acts.append(step.act)
        world = step.before
    return acts[::-1]


class _Played:
    """The in-memory ledger, and what the calls above it do: close a scope whose cap is spent."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger(FakeClock(NOON), CountingIds())
        for scope in SCOPES:
            self.ledger.declare(scope, NOON)
        self.numbers = count()
        self.holds: dict[int, Hold] = {}

    def balances(self) -> tuple[tuple[int, int, int, int], ...]:
        return tuple((one.cap, one.settled, one.held, one.live) for one in self.ledger.states(ACCOUNTS))

    def act(self, act: Act) -> None:
        if act.name == "reserve":
            self.reserve(act)
        elif act.name in ("settle", "settle late"):
            amount = act.amount or 0
            self.settle(act.who, Booking(NOON, Status.OK, Quality.REPORTED, Amounts(amount), ceiling_pico=amount))
        elif act.name == "void":
            self.settle(act.who, Booking(NOON, Status.REJECTED, Quality.REPORTED, Amounts()))
        elif act.name == "expire":
            self.ledger.renew("owner", [self.holds[act.who].id], 0.0)
            assert self.ledger.sweep() == 1
        elif act.name == "top up":
            self.ledger.top_up(SCOPES[act.who].key, Unit.USD, TOP_UP, by="ada", at=NOON)
        elif act.name == "stop":
            self.close(act.who, None)
        elif act.name == "resume":
            assert self.ledger.reopen(self.run_id(act.who), by="ada", why="go on", at=NOON)

    def reserve(self, act: Act) -> None:
        path = [SCOPES[scope] for scope in PATHS[act.who]]
        run = self.run_id(PATHS[act.who][-1])
        hold = Hold(
            id=f"hold-{next(self.numbers)}",
            at=NOON,
            owner="owner",
            lease_until=NOON.replace(year=NOON.year + 1),
            accounts=tuple(ACCOUNTS[scope] for scope in PATHS[act.who]),
            scope_keys=tuple(one.key for one in path),
            run_ids=tuple(self.run_id(scope) for scope in PATHS[act.who]),
            facts=CallFacts("call", 1, "chat", "m", "openai", run, "parent", run, None, ""),
        )
        verdict = self.ledger.reserve(hold, ASKS[act.who])
        assert (verdict.amounts.usd_pico if isinstance(verdict, Grant) else None) == act.amount
        if isinstance(verdict, Grant):
            self.holds[act.who] = hold
        elif isinstance(verdict, Short) and verdict.reason is Reason.SPENT:
            self.close(ACCOUNTS.index(verdict.state.account), verdict.state.account.id)

    def settle(self, who: int, booking: Booking) -> None:
        self.ledger.settle(self.holds[who].id, booking)

    def close(self, scope: int, account_id: str | None) -> None:
        self.ledger.close_run(Closure(self.run_id(scope), "closed", "it is closed.", {}, NOON, "guard", account_id))

    def run_id(self, scope: int) -> str:
        return SCOPES[scope].label
