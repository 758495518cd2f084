"""A stop keeps its class, its sentence and its numbers on the way through the ledger to other processes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tokenguard import errors
from tokenguard.core.account import Account, Scope, account_of
from tokenguard.core.books import Closure
from tokenguard.core.budget import Budget, Unit
from tokenguard.core.money import Money
from tokenguard.core.stops import amount_text, closes_run, closure_of, error_from, error_of, stop_of
from tokenguard.core.verdict import AccountState, Reason, Short
from tokenguard.errors import (
    BudgetExceeded,
    CallTooLarge,
    DepthExceeded,
    FanOutExceeded,
    HeadroomBusy,
    LoopDetected,
    RunRevoked,
    SpendStopped,
    VelocityExceeded,
)

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
CENT = 10**10


def state(key: str, label: str, budget: Budget, unit: Unit, *, settled: int = 0, held: int = 0) -> AccountState:
    """The balance of one cap."""
    cap = dict(budget.caps())[unit]
    account: Account = account_of(Scope(key, label, (budget,)), budget, unit, cap, NOON)
    return AccountState(account, cap, settled, held, live=1 if held else 0)


RUN = state("run:r1", "run nightly", Budget(usd="0.02"), Unit.USD, settled=2 * CENT)
DAY = state("scope:acme", "acme", Budget(tokens=1_000, per="day"), Unit.TOKENS, settled=900, held=50)
OWNER = {"scope": "run nightly", "scope_key": "run:r1"}
EVIDENCE = {"subject": "read", "fingerprint": "ab:cd", "window": 10}

STOPS: list[SpendStopped] = [
    SpendStopped("It is closed.", **OWNER),
    stop_of(Short(Reason.SPENT, RUN, CENT)),
    stop_of(Short(Reason.SPENT, DAY, 200)),
    BudgetExceeded("Time is up.", **OWNER, unit="wall", per="run", cap=1.5, settled=2.25, held=0, asked=0),
    LoopDetected("It repeats itself.", **OWNER, rule="same_call_same_result", repeats=6, evidence=EVIDENCE),
    DepthExceeded("It nests.", **OWNER, depth=17, limit=16),
    FanOutExceeded("It fans out.", **OWNER, kind="children", count=65, limit=64),
    VelocityExceeded("Too fast.", **OWNER, kind="usd_per_minute", count=Money("2"), limit=Money("1")),
    VelocityExceeded("Too fast.", **OWNER, kind="tokens_per_minute", count=2_000, limit=1_000),
    RunRevoked("Stopped by ada: enough.", **OWNER, by="ada", why="enough"),
]


def named(stop: SpendStopped) -> str:
    """A stop's code, and what tells it from others of its class."""
    return " ".join([stop.code, *(str(stop.facts[name]) for name in ("unit", "kind") if name in stop.facts)])


def test_every_class_of_stop_is_tried() -> None:
    every = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SpendStopped)}

    assert {type(stop) for stop in STOPS} == every


@pytest.mark.parametrize("stop", STOPS, ids=named)
def test_a_stop_comes_back_from_the_ledger_as_it_was_raised(stop: SpendStopped) -> None:
    closure = closure_of(stop, run_id="r1", at=NOON, by="owner")

    stored = replace(closure, facts=json.loads(json.dumps(closure.facts)))
    back = error_from(stored)

    assert type(back) is type(stop)
    assert (back.sentence, back.code) == (stop.sentence, stop.code)
    assert back.facts == stop.facts


def test_neither_a_receipt_nor_notes_go_into_a_tombstone() -> None:
    stop = RunRevoked("Stopped.", **OWNER, by="ada", why="enough", receipt=object())
    stop.add_note("tokenguard: seen twice")

    closure = closure_of(stop, run_id="r1", at=NOON, by="owner")

    assert sorted(closure.facts) == ["by", "scope", "scope_key", "why"]


def test_a_fact_that_is_no_json_value_becomes_text() -> None:
    stop = LoopDetected("It repeats itself.", **OWNER, rule="r", repeats=6, evidence=timedelta(seconds=3))

    closure = closure_of(stop, run_id="r1", at=NOON, by="owner")

    assert closure.facts["evidence"] == "0:00:03"


def test_a_tombstone_of_a_newer_version_is_still_a_stop() -> None:
    closure = Closure("r1", "a_stop_of_next_year", "It is closed for a new reason.", {}, NOON, "ada")

    stop = error_from(closure)

    assert isinstance(stop, RunRevoked)
    assert (stop.scope, stop.scope_key) == ("r1", "run:r1")
    assert (stop.by, stop.why) == ("ada", "It is closed for a new reason.")


def test_a_mapping_of_one_unknown_key_stays_a_mapping() -> None:
    closure = Closure("r1", "loop_detected", "It repeats itself.", {"evidence": {"subject": "read"}}, NOON, "ada")

    stop = error_from(closure)

    assert stop.facts["evidence"] == {"subject": "read"}


def test_a_window_that_rolls_says_when_and_a_run_says_how_to_go_on() -> None:
    windowed, once = stop_of(Short(Reason.SPENT, DAY, 200)), stop_of(Short(Reason.SPENT, RUN, CENT))

    assert windowed.retry_at == datetime(2026, 1, 6, tzinfo=UTC)
    assert "this day" in str(windowed)
    assert "It rolls at 2026-01-06 00:00 UTC. Raise it with Budget(tokens=...)." in str(windowed)
    assert once.retry_at is None
    assert "guard.top_up('run:r1', usd=...)" in str(once)


def test_each_verdict_has_its_error_with_its_numbers() -> None:
    large, busy, spent = (error_of(Short(reason, DAY, 200)) for reason in (Reason.TOO_LARGE, Reason.BUSY, Reason.SPENT))

    assert isinstance(large, CallTooLarge)
    assert "200 tokens at the least, above the whole cap of budget 'acme': 1,000 tokens" in str(large)
    assert isinstance(busy, HeadroomBusy)
    assert "has 50 tokens of room, calls in flight hold 50 tokens" in str(busy)
    assert busy.retry_in_s > 0
    assert isinstance(spent, BudgetExceeded)
    assert (spent.cap, spent.settled, spent.held, spent.asked) == (1_000, 900, 50, 200)


@pytest.mark.parametrize(
    ("key", "per", "closed"), [("run:r1", "run", "r1"), ("run:r1", "day", None), ("agent:acme/a", "total", None)]
)
def test_only_the_cap_of_one_run_closes_a_run(key: str, per: Any, closed: str | None) -> None:
    budget = Budget(calls=1, per=per)

    account = state(key, "it", budget, Unit.CALLS).account

    assert closes_run(account) == closed


def test_amounts_are_spoken_in_their_unit() -> None:
    spoken = [amount_text(Unit.USD, 198 * CENT), amount_text(Unit.TOKENS, 1_200), amount_text(Unit.CALLS, 3)]

    assert spoken == ["$1.98", "1,200 tokens", "3 calls"]
