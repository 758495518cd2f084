"""Holding money: who may, who may not, and that asking twice holds once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.books import Closure
from tokenguard.core.budget import Unit
from tokenguard.core.verdict import Grant, Reason, Short
from tokenguard.errors import LedgerConflict


def test_a_grant_holds_the_worst_case_on_every_account_of_the_path(ledger: Any, desk: Any) -> None:
    path = (desk.scope("scope:acme", usd="1.00"), desk.scope("run:1", usd="0.10", calls=5))
    hold = desk.hold(*path)

    grant = ledger.reserve(hold, desk.ask(cents=3))

    assert isinstance(grant, Grant)
    states = ledger.states(hold.accounts)
    assert [(one.account.unit, one.held, one.live) for one in states] == [
        (Unit.USD, 3 * desk.cent, 1),
        (Unit.CALLS, 1, 1),
        (Unit.USD, 3 * desk.cent, 1),
    ]


def test_a_new_run_under_a_scope_already_in_use_opens_only_its_own_balance(ledger: Any, desk: Any) -> None:
    shared = desk.scope("scope:acme", usd="1.00")
    ledger.reserve(desk.hold(shared, desk.scope("run:1", usd="0.10")), desk.ask())

    grant = ledger.reserve(desk.hold(shared, desk.scope("run:2", usd="0.10")), desk.ask())

    assert [(one.account.scope_key, one.held) for one in grant.states] == [("scope:acme", desk.cent), ("run:2", 0)]


def test_the_same_hold_again_is_the_same_grant_and_holds_once(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="0.01"))
    first = ledger.reserve(hold, desk.ask())

    again = ledger.reserve(hold, desk.ask())

    assert again == first
    assert ledger.states(hold.accounts)[0].held == desk.cent


def test_what_does_not_fit_the_whole_cap_is_too_large(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="0.01"))

    verdict = ledger.reserve(hold, desk.ask(cents=2))

    assert isinstance(verdict, Short)
    assert (verdict.reason, verdict.asked) == (Reason.TOO_LARGE, 2 * desk.cent)


def test_what_does_not_fit_beside_open_holds_is_busy(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.03")
    ledger.reserve(desk.hold(scope), desk.ask(cents=2))

    verdict = ledger.reserve(desk.hold(scope), desk.ask(cents=2))

    assert isinstance(verdict, Short)
    assert verdict.reason is Reason.BUSY


def test_what_does_not_fit_beside_settled_spend_is_spent_and_writes_nothing(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.03")
    hold = desk.hold(scope)
    ledger.reserve(hold, desk.ask(cents=2))
    ledger.settle(hold.id, desk.booking(cents=2))

    verdict = ledger.reserve(desk.hold(scope), desk.ask(cents=2))

    assert isinstance(verdict, Short)
    assert verdict.reason is Reason.SPENT
    assert (verdict.state.settled, verdict.state.held) == (2 * desk.cent, 0)
    assert ledger.states(hold.accounts)[0].held == 0


def test_the_outermost_spent_scope_is_named(ledger: Any, desk: Any) -> None:
    path = (desk.scope("scope:acme", usd="0.01"), desk.scope("run:1", usd="0.01"))
    hold = desk.hold(*path)
    ledger.reserve(hold, desk.ask())
    ledger.settle(hold.id, desk.booking())

    verdict = ledger.reserve(desk.hold(*path), desk.ask())

    assert isinstance(verdict, Short)
    assert verdict.state.account.scope_key == "scope:acme"


def test_a_refusal_on_one_account_holds_nothing_on_the_others(ledger: Any, desk: Any) -> None:
    path = (desk.scope("scope:acme", usd="1.00"), desk.scope("run:1", usd="0.01"))

    verdict = ledger.reserve(desk.hold(*path), desk.ask(cents=2))

    assert isinstance(verdict, Short)
    assert [one.held for one in ledger.states(desk.hold(*path).accounts)] == [0, 0]


def test_an_output_of_our_own_choosing_is_clamped_to_a_fair_share(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10")
    ask = desk.ask(fixed_pico=0, output_rate_pico=desk.cent // 100, output_min=10, output_max=5_000, output_given=False)

    first = ledger.reserve(desk.hold(scope), ask)
    second = ledger.reserve(desk.hold(scope), replace(ask, output_max=400))

    assert isinstance(first, Grant)
    assert isinstance(second, Short)
    assert first.output_tokens == 1_000


def test_observing_holds_the_full_ask_whatever_the_balance_says(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01")
    hold = desk.hold(scope, enforce=False)

    grant = ledger.reserve(hold, desk.ask(cents=5, output_rate_pico=1, output_max=700, output_given=False))

    assert isinstance(grant, Grant)
    assert grant.output_tokens == 700
    assert ledger.states(hold.accounts)[0].held == 5 * desk.cent + 700


def test_observed_spend_counts_for_those_who_enforce(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.03")
    observed = desk.hold(scope, enforce=False)
    ledger.reserve(observed, desk.ask(cents=5))
    ledger.settle(observed.id, desk.booking(cents=5))

    verdict = ledger.reserve(desk.hold(scope), desk.ask())

    assert isinstance(verdict, Short)
    assert verdict.reason is Reason.SPENT


def test_a_closed_run_on_the_path_refuses_before_any_balance_is_asked(ledger: Any, desk: Any) -> None:
    ledger.close_run(desk.closure("root"))

    verdict = ledger.reserve(desk.hold(desk.scope(usd="0.01"), runs=("root", "child")), desk.ask(cents=99))

    assert isinstance(verdict, Closure)
    assert (verdict.run_id, verdict.facts) == ("root", {"repeats": 6})


def test_observing_is_not_refused_by_a_closed_run(ledger: Any, desk: Any) -> None:
    ledger.close_run(desk.closure("run-1"))

    assert isinstance(ledger.reserve(desk.hold(enforce=False), desk.ask()), Grant)


def test_a_call_without_any_budget_is_granted_and_still_held(ledger: Any, desk: Any) -> None:
    hold = desk.hold()

    assert isinstance(ledger.reserve(hold, desk.ask()), Grant)
    assert ledger.settle(hold.id, desk.booking()).states == ()


def test_a_resolved_attempt_cannot_hold_again(ledger: Any, desk: Any) -> None:
    hold = desk.hold(desk.scope(usd="1.00"))
    ledger.reserve(hold, desk.ask())
    ledger.settle(hold.id, desk.booking())

    with pytest.raises(LedgerConflict, match="resolved already"):
        ledger.reserve(hold, desk.ask())


def test_a_new_window_is_a_new_balance(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01", per="day")
    today, tomorrow = desk.hold(scope), desk.hold(scope, at=desk.noon + timedelta(days=1))
    ledger.reserve(today, desk.ask())
    ledger.settle(today.id, desk.booking())

    assert isinstance(ledger.reserve(desk.hold(scope), desk.ask()), Short)
    assert isinstance(ledger.reserve(tomorrow, desk.ask()), Grant)


def test_a_step_is_charged_until_its_budget_is_spent(ledger: Any, desk: Any) -> None:
    accounts = desk.hold(desk.scope("run:1", steps=2)).accounts

    verdicts = [ledger.enter(desk.entry(f"step-{n}", "run-1", accounts=accounts)) for n in range(3)]

    assert verdicts[:2] == [None, None]
    assert isinstance(verdicts[2], Short)
    assert ledger.states(accounts)[0].settled == 2


def test_entering_the_same_node_again_charges_nothing(ledger: Any, desk: Any) -> None:
    accounts = desk.hold(desk.scope("run:1", steps=2)).accounts
    ledger.enter(desk.entry("step-1", "run-1", accounts=accounts))

    assert ledger.enter(desk.entry("step-1", "run-1", accounts=accounts)) is None
    assert ledger.states(accounts)[0].settled == 1


def test_nothing_begins_under_a_closed_run(ledger: Any, desk: Any) -> None:
    ledger.close_run(desk.closure("root"))

    refused = ledger.enter(desk.entry("child", "root", path=("root", "child")))

    assert isinstance(refused, Closure)
    assert ledger.tree("child") == ()


def test_the_reserve_for_the_last_answer_is_kept_from_others(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.10", reserve_final="0.04")

    ordinary = ledger.reserve(desk.hold(scope), desk.ask(cents=7))
    final = ledger.reserve(desk.hold(scope), desk.ask(cents=7, final_scope=scope.key))

    assert isinstance(ordinary, Short)
    assert isinstance(final, Grant)


def test_a_step_is_charged_to_a_budget_that_only_a_person_set(ledger: Any, desk: Any) -> None:
    ledger.set_cap("scope:acme", Unit.STEPS, "total", "UTC", 1, by="ada", at=desk.hold(desk.scope("run:1")).at)

    verdicts = [ledger.enter(desk.entry(f"step-{n}", "run-1", scope_keys=("scope:acme",))) for n in range(2)]

    assert verdicts[0] is None
    assert verdicts[1].state.cap == 1


def test_observing_enters_a_closed_run_and_charges_above_its_steps(ledger: Any, desk: Any) -> None:
    accounts = desk.hold(desk.scope("run:run-1", steps=1)).accounts
    ledger.enter(desk.entry("run-1"))
    ledger.close_run(desk.closure("run-1"))

    entered = [
        ledger.enter(desk.entry(f"step-{n}", "run-1", path=("run-1",), accounts=accounts, enforce=False))
        for n in range(2)
    ]

    assert entered == [None, None]
    assert ledger.states(accounts)[0].settled == 2
    assert [node.id for node in ledger.tree("run-1")] == ["run-1", "step-0", "step-1"]
