"""Anchors, holds and balances are locked in one order: threads that settle, charge, begin and lease at once all end."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from tokenguard.core.allowance import Exchange, Kept, Paid, Promise
from tokenguard.core.budget import Limits
from tokenguard.core.verdict import Grant

DEADLOCKS = sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
ROUNDS = 240
PACED = ("root", "root-a")


@pytest.fixture
def paced(sql_ledger: Any, desk: Any) -> Any:
    """Books with two limited runs, one below the other."""
    wide = Limits(
        usd_per_minute="500", tokens_per_minute=10**9, children=None, descendants=None, spawns_per_minute=None
    )
    for place, node_id in enumerate(PACED):
        path = PACED[: place + 1]
        parent = PACED[place - 1] if place else None
        sql_ledger.enter(desk.entry(node_id, parent, "root", path=path, runs=path, limits=wide))
    return sql_ledger


def act(ledger: Any, desk: Any, number: int) -> int:
    """One of the five acts that come by an anchor; how many cents it settled."""
    scopes = [desk.scope(f"scope:{name}", usd="900", per="day", allowance="9") for name in "abcd"]
    path = [scopes[number % 4], scopes[(number * 3 + 1) % 4]]
    hold = desk.hold(*path, id=f"hold-{number}", paced=PACED, runs=PACED)
    kind = number % 5
    if kind == 0:
        runs = (*PACED, f"root-b-{number}")
        ledger.enter(desk.entry(runs[-1], PACED[-1], "root", path=runs, runs=runs))
        return 0
    if kind == 1:
        ledger.charge(hold, desk.booking(1))
        return 1
    if kind == 2:
        return lease(ledger, desk, hold)
    granted = ledger.reserve(hold, desk.ask(1))
    assert isinstance(granted, Grant)
    if kind == 3:
        ledger.sweep()
    ledger.settle(hold.id, desk.booking(1))
    return 1


def lease(ledger: Any, desk: Any, hold: Any) -> int:
    """Lease, pay one call and give back; the last exchange is asked twice."""
    one = desk.ask(1).amounts(0)
    first = ledger.exchange(Exchange(hold, one=one, times=4))
    promise = Promise(f"{hold.id}-paid", desk.noon, hold.facts, one, 100)
    kept = Promise(f"{hold.id}-kept", desk.noon, hold.facts, one, 100)
    back = desk.hold(id=f"{hold.id}-back", paced=PACED, runs=PACED)
    done = Exchange(back, (first.lease_id,), (Paid(promise, desk.booking(1)),), (Kept(kept),))
    ledger.exchange(done)
    ledger.exchange(Exchange(back, (first.lease_id,), done.paid, done.kept, repeated=True))
    ledger.settle(kept.id, desk.booking(1))
    return 2


def deadlocks(ledger: Any) -> int:
    if not ledger._database.address.is_sqlite:
        return int(ledger._database.read(lambda connection: connection.execute(DEADLOCKS).scalar_one()))
    return 0


def test_acts_on_limited_runs_neither_deadlock_nor_lose_what_flowed(paced: Any, desk: Any) -> None:
    before = deadlocks(paced)
    for number in range(20):  # The balances of the day are there: opening them is another test's.
        act(paced, desk, number + 10_000)

    with ThreadPoolExecutor(12) as pool:
        cents = sum(pool.map(lambda number: act(paced, desk, number), range(ROUNDS)))

    rows = paced._database.read(
        lambda connection: connection.exec_driver_sql("SELECT node_id, flow FROM tg_anchor ORDER BY node_id").all()
    )
    flows = [json.loads(flow) if isinstance(flow, str) else flow for _, flow in rows[:2]]
    started = [[sum(moment[1] for moment in flow), sum(moment[2] for moment in flow)] for flow in flows]
    warm = sum((0, 1, 2, 1, 1)) * 4
    assert started == [[(cents + warm) * desk.cent, (cents + warm) * 100]] * 2
    assert deadlocks(paced) == before
    assert paced.verify().ok
