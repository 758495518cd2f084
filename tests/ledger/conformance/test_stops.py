"""Tombstones and acts: a raised cap ends what that cap closed, and only a person ends the rest."""

from __future__ import annotations

from typing import Any

from tokenguard.core.account import accounts_on
from tokenguard.core.books import GuardEvent
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import Grant


def test_closing_a_run_twice_for_the_same_reason_is_told(ledger: Any, desk: Any) -> None:
    assert ledger.close_run(desk.closure())
    assert not ledger.close_run(desk.closure())
    assert len(ledger.closures(["run-1"])) == 1


def test_closures_come_root_first_and_a_persons_before_a_caps(ledger: Any, desk: Any) -> None:
    ledger.close_run(desk.closure("child"))
    ledger.close_run(desk.closure("root", account_id="a1", code="budget_exceeded"))
    ledger.close_run(desk.closure("root", code="run_revoked", by="ada"))

    found = ledger.closures(["root", "child", "elsewhere"])

    assert [(one.run_id, one.code) for one in found] == [
        ("root", "run_revoked"),
        ("root", "budget_exceeded"),
        ("child", "loop_detected"),
    ]


def test_a_closure_keeps_its_facts(ledger: Any, desk: Any) -> None:
    closure = desk.closure(
        facts={"evidence": {"tool": "read", "repeats": 6}, "limit": "0.10"}, sentence="Äöü 🚫 it loops."
    )
    ledger.close_run(closure)

    assert ledger.closures(["run-1"]) == (closure,)


def test_resuming_ends_every_closure_of_the_run(ledger: Any, desk: Any) -> None:
    ledger.close_run(desk.closure(account_id="a1"))
    ledger.close_run(desk.closure())

    assert ledger.reopen("run-1", by="ada", why="fixed", at=desk.noon)
    assert ledger.closures(["run-1"]) == ()
    assert not ledger.reopen("run-1", by="ada", why="again", at=desk.noon)
    assert isinstance(ledger.reserve(desk.hold(), desk.ask()), Grant)


def test_a_resumed_run_can_be_closed_again(ledger: Any, desk: Any) -> None:
    ledger.close_run(desk.closure())
    ledger.reopen("run-1", by="ada", why="fixed", at=desk.noon)

    assert ledger.close_run(desk.closure())


def test_raising_the_cap_ends_the_stop_by_that_cap_only(ledger: Any, desk: Any) -> None:
    scope = desk.scope("run:run-1", usd="0.01")
    account = accounts_on((scope,), desk.noon)[0]
    hold = desk.hold(scope)
    ledger.reserve(hold, desk.ask())
    ledger.settle(hold.id, desk.booking())
    ledger.close_run(desk.closure("run-1", account_id=account.id, code="budget_exceeded"))
    ledger.close_run(desk.closure("run-2", account_id="another"))
    ledger.close_run(desk.closure("run-3"))

    ledger.top_up(scope.key, Unit.USD, desk.cent, by="ada", at=desk.noon)

    assert [one.run_id for one in ledger.closures(["run-1", "run-2", "run-3"])] == ["run-2", "run-3"]


def test_a_kill_survives_a_top_up(ledger: Any, desk: Any) -> None:
    scope = desk.scope("run:run-1", usd="0.01")
    account = accounts_on((scope,), desk.noon)[0]
    ledger.reserve(desk.hold(scope), desk.ask())
    ledger.close_run(desk.closure(account_id=account.id))
    ledger.close_run(desk.closure(code="run_revoked", by="ada"))

    ledger.top_up(scope.key, Unit.USD, desk.cent, by="ada", at=desk.noon)

    assert [one.code for one in ledger.closures(["run-1"])] == ["run_revoked"]


def test_setting_a_higher_cap_ends_its_stop_and_a_lower_one_does_not(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.02")
    ledger.declare(scope, desk.noon)
    account = accounts_on((scope,), desk.noon)[0]
    ledger.reserve(desk.hold(scope), desk.ask())
    ledger.close_run(desk.closure(account_id=account.id))

    ledger.set_cap(scope.key, Unit.USD, "run", "UTC", desk.cent, by="ada", at=desk.noon)
    lowered = ledger.closures(["run-1"])
    ledger.set_cap(scope.key, Unit.USD, "run", "UTC", 5 * desk.cent, by="ada", at=desk.noon)

    assert len(lowered) == 1
    assert ledger.closures(["run-1"]) == ()


def test_a_recorded_event_may_come_twice(ledger: Any, desk: Any) -> None:
    event = GuardEvent("event-1", desk.noon, "warned", "run-1", None, "half is spent.", {"share": 0.5})

    ledger.record(event)
    ledger.record(event)
