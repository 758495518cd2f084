"""A rolling window lets no more than its cap through in any window of its length, whatever happens when."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenguard.core.account import Amounts, Scope, accounts_on
from tokenguard.core.books import Booking, CallFacts, Hold, Status
from tokenguard.core.budget import Budget
from tokenguard.core.rolling import length_of
from tokenguard.core.usage import Quality
from tokenguard.core.verdict import Ask, Grant, Short
from tokenguard.ledger.memory import MemoryLedger
from tokenguard.ledger.sql import SqlLedger

START = datetime(2026, 3, 28, 23, 59, 7, 123_457, tzinfo=UTC)
CAP = 100


class StoppedClock:
    def now(self) -> datetime:
        return START

    def monotonic(self) -> float:
        return 0.0


class CountingIds:
    def __init__(self) -> None:
        self._numbers = count()

    def new(self) -> str:
        return f"id-{next(self._numbers):06d}"


@cache
def _empty_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        SqlLedger.open(str(file), StoppedClock(), CountingIds()).dispose()
        return file.read_bytes()


@dataclass(frozen=True)
class Call:
    """What happens: time passes, a call asks, and it ends in some way later on."""

    after_us: int
    asked: int
    share: int
    """Hundredths of what was held that it came to."""
    ending: str
    pending: int
    """How many further calls begin before it ends."""


def calls(per: str) -> st.SearchStrategy[list[Call]]:
    window_us = length_of(per) // timedelta(microseconds=1)
    gaps = st.one_of(st.integers(0, window_us // 40), st.integers(0, window_us), st.just(window_us // 60))
    endings = st.sampled_from(["settle", "settle", "settle", "void", "lose", "late"])
    one = st.builds(Call, gaps, st.integers(1, 60), st.integers(0, 100), endings, st.integers(0, 4))
    return st.lists(one, min_size=1, max_size=40)


@pytest.mark.parametrize("per", ["rolling 1m", "rolling 24h", "rolling 7d"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_no_window_of_its_length_ever_holds_more_than_the_cap(per: str, kind: str) -> None:
    @settings(max_examples=60 if kind == "memory" else 25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(calls(per))
    def holds(script: list[Call]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            if kind == "memory":
                _play(MemoryLedger(StoppedClock(), CountingIds()), per, script)
                return
            file = Path(folder) / "ledger.db"
            file.write_bytes(_empty_ledger())
            ledger = SqlLedger.open(str(file), StoppedClock(), CountingIds())
            try:
                _play(ledger, per, script)
                assert ledger.verify().findings == ()
            finally:
                ledger.dispose()

    holds()


def _play(ledger: Any, per: str, script: list[Call]) -> None:
    """Carry the script out; after it, and whenever a call is granted, look at every window."""
    scope = Scope("scope:acme", "acme", (Budget(usd=f"0.{CAP:012d}", per=per),))
    now, open_calls, through = START, [], []
    for number, call in enumerate(script):
        now += timedelta(microseconds=call.after_us)
        hold = _hold(scope, f"hold-{number}", now)
        verdict = ledger.reserve(hold, Ask(call.asked))
        if isinstance(verdict, Grant):
            through.append([now, call.asked])
            open_calls.append((number, call, hold, through[-1]))
        else:
            _check_retry(verdict, now)
        for one in [one for one in open_calls if one[0] + one[1].pending <= number]:
            open_calls.remove(one)
            _end(ledger, one[1], one[2], one[3], now)
        _check_windows(through, length_of(per))
    state = ledger.states(accounts_on((scope,), now), now)[0]
    assert state.held == sum(one[1].asked for one in open_calls)


def _end(ledger: Any, call: Call, hold: Hold, booked: list[Any], now: datetime) -> None:
    """End a call; what it truly came to is what went through."""
    came_to = 0 if call.ending == "void" else call.asked * call.share // 100
    status = Status.REJECTED if call.ending == "void" else Status.OK
    booking = Booking(now, status, Quality.REPORTED, Amounts(came_to))
    if call.ending in ("lose", "late"):
        ledger.renew("owner", [hold.id], -1.0)
        ledger.sweep()
    if call.ending != "lose":
        ledger.settle(hold.id, booking)
        booked[1] = came_to


def _check_windows(through: list[list[Any]], length: timedelta) -> None:
    """Any window of the length, so those that end with a call: (t − length, t]."""
    for end, _ in through:
        assert sum(amount for at, amount in through if end - length < at <= end) <= CAP


def _check_retry(verdict: Any, now: datetime) -> None:
    assert isinstance(verdict, Short)
    assert verdict.retry_at is None or verdict.retry_at > now


def _hold(scope: Scope, hold_id: str, now: datetime) -> Hold:
    return Hold(
        id=hold_id,
        at=now,
        owner="owner",
        lease_until=now + timedelta(days=365),
        accounts=accounts_on((scope,), now),
        scope_keys=(scope.key,),
        run_ids=(),
        facts=CallFacts("call", 1, "chat", "model", "openai", None, None, None, None, "acme"),
    )
