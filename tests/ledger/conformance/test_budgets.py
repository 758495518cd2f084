"""Stored budgets: they bind everybody, code replaces code, and a person's cap stands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tokenguard.core.account import Scope, accounts_on
from tokenguard.core.books import Source
from tokenguard.core.budget import Budget, Unit
from tokenguard.core.verdict import Grant, Reason, Short
from tokenguard.errors import BadAmount


def spend(ledger: Any, desk: Any, scope: Any, cents: Any) -> Any:
    hold = desk.hold(scope)
    grant = ledger.reserve(hold, desk.ask(cents=cents))
    if isinstance(grant, Grant):
        ledger.settle(hold.id, desk.booking(cents=cents))
    return grant


def test_a_stored_budget_binds_a_process_that_declares_none(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.02", per="day"), desk.noon)
    stranger = desk.scope()

    first, second = spend(ledger, desk, stranger, 2), spend(ledger, desk, stranger, 1)

    assert isinstance(first, Grant)
    assert isinstance(second, Short)
    assert second.state.account.scope_key == "scope:acme"
    assert second.state.account.ends_at == desk.noon.replace(hour=0) + timedelta(days=1)


def test_the_outer_scope_comes_first_also_where_only_the_inner_one_is_declared_here(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope("scope:outer", usd="0.01"), desk.noon)
    path = (desk.scope("scope:outer"), desk.scope("run:1", usd="0.01"))
    hold = desk.hold(*path)

    grant = ledger.reserve(hold, desk.ask())

    assert [one.account.scope_key for one in grant.states] == ["scope:outer", "run:1"]


def test_the_cap_in_force_wins_over_what_this_process_declares(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.01"), desk.noon)

    grant = ledger.reserve(desk.hold(desk.scope(usd="99")), desk.ask(cents=2))

    assert isinstance(grant, Short)
    assert grant.state.cap == desk.cent


def test_declaring_again_changes_the_cap_and_keeps_what_was_spent(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.01"), desk.noon)
    spend(ledger, desk, desk.scope(), 1)

    ledger.declare(desk.scope(usd="0.05"), desk.noon)

    state = ledger.states(accounts_on((desk.scope(usd="0.05"),), desk.noon))[0]
    assert (state.cap, state.settled, state.account.cap) == (5 * desk.cent, desk.cent, 5 * desk.cent)


def test_a_persons_cap_stands_until_the_declaration_changes(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01")
    ledger.declare(scope, desk.noon)
    ledger.set_cap(scope.key, Unit.USD, "run", "UTC", 7 * desk.cent, by="ada", at=desk.noon)

    ledger.declare(scope, desk.noon)
    kept = ledger.budgets(desk.noon)[0]
    ledger.declare(desk.scope(usd="0.02"), desk.noon)
    replaced = ledger.budgets(desk.noon)[0]

    assert (kept.budget.cap, kept.budget.set_by, kept.budget.declared) == (7 * desk.cent, "person", desk.cent)
    assert (replaced.budget.cap, replaced.budget.set_by) == (2 * desk.cent, "code")


def test_a_budget_that_the_code_drops_binds_no_longer(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.01", per="day"), desk.noon)

    ledger.declare(desk.scope(usd="0.05", per="week"), desk.noon)

    assert isinstance(spend(ledger, desk, desk.scope(), 2), Grant)
    assert [one.budget.per for one in ledger.budgets(desk.noon)] == ["week"]


def test_a_scope_without_budgets_declares_nothing_and_drops_nothing(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.01"), desk.noon)

    ledger.declare(desk.scope(), desk.noon)

    assert len(ledger.budgets(desk.noon)) == 1


def test_a_budget_of_time_alone_is_no_account_and_drops_nothing(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.01"), desk.noon)

    ledger.declare(desk.scope(wall=timedelta(minutes=5)), desk.noon)

    assert [one.budget.unit for one in ledger.budgets(desk.noon)] == [Unit.USD]


def test_declaring_other_warnings_for_the_same_cap_keeps_what_was_topped_up(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01", warn_at=(0.5,))
    ledger.declare(scope, desk.noon)
    ledger.top_up(scope.key, Unit.USD, desk.cent, by="ada", at=desk.noon)

    ledger.declare(desk.scope(usd="0.01", warn_at=(0.9,)), desk.noon)

    state = ledger.states(accounts_on((scope,), desk.noon))[0]
    assert (state.cap, state.account.warn_at) == (2 * desk.cent, (0.9,))


def test_a_cap_set_by_a_person_alone_binds_and_survives_declarations(ledger: Any, desk: Any) -> None:
    ledger.set_cap("scope:acme", Unit.CALLS, "day", "UTC", 1, by="ada", at=desk.noon)
    ledger.declare(desk.scope(usd="1.00"), desk.noon)
    spend(ledger, desk, desk.scope(), 1)

    second = spend(ledger, desk, desk.scope(), 1)

    assert isinstance(second, Short)
    assert (second.reason, second.state.account.unit) == (
        Reason.TOO_LARGE if second.state.cap == 0 else Reason.SPENT,
        Unit.CALLS,
    )


@pytest.mark.parametrize("caps", [("0.05", "0.02"), ("0.02", "0.05")])
def test_of_two_caps_on_one_account_the_lower_one_binds(ledger: Any, desk: Any, caps: Any) -> None:
    scope = Scope("scope:acme", "acme", tuple(Budget(usd=usd) for usd in caps))
    alone = Scope("run:1", "1", scope.budgets)
    ledger.declare(scope, desk.noon)

    verdicts = [ledger.reserve(desk.hold(one), desk.ask(cents=3)) for one in (scope, alone)]

    assert [one.state.cap for one in verdicts] == [2 * desk.cent, 2 * desk.cent]


def test_a_top_up_raises_open_windows_and_frees_the_next_call(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01", per="day")
    ledger.declare(scope, desk.noon)
    spend(ledger, desk, scope, 1)

    states = ledger.top_up(scope.key, Unit.USD, 2 * desk.cent, by="ada", at=desk.noon)

    assert [(one.cap, one.settled) for one in states] == [(3 * desk.cent, desk.cent)]
    assert isinstance(spend(ledger, desk, scope, 2), Grant)


def test_a_top_up_raises_its_own_unit_only(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01", calls=3)
    ledger.declare(scope, desk.noon)

    raised = ledger.top_up(scope.key, Unit.USD, desk.cent, by="ada", at=desk.noon)

    assert [(one.account.unit, one.cap) for one in raised] == [(Unit.USD, 2 * desk.cent)]
    assert [(one.account.unit, one.cap) for one in ledger.states(accounts_on((scope,), desk.noon))] == [
        (Unit.CALLS, 3),
        (Unit.USD, 2 * desk.cent),
    ]


def test_an_unused_balance_shows_the_stored_cap_of_its_own_unit(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01", calls=3)
    ledger.declare(scope, desk.noon)

    states = ledger.states(accounts_on((scope,), desk.noon))

    assert [(one.account.unit, one.cap) for one in states] == [(Unit.CALLS, 3), (Unit.USD, desk.cent)]


def test_a_top_up_does_not_reach_the_next_window(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01", per="day")
    ledger.declare(scope, desk.noon)
    ledger.top_up(scope.key, Unit.USD, 5 * desk.cent, by="ada", at=desk.noon)

    tomorrow = ledger.reserve(desk.hold(scope, at=desk.noon + timedelta(days=1)), desk.ask(cents=2))

    assert isinstance(tomorrow, Short)


def test_a_set_cap_reaches_this_window_and_the_next(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01", per="day")
    ledger.declare(scope, desk.noon)
    spend(ledger, desk, scope, 1)

    ledger.set_cap(scope.key, Unit.USD, "day", "UTC", 5 * desk.cent, by="ada", at=desk.noon)

    assert isinstance(spend(ledger, desk, scope, 4), Grant)
    assert isinstance(ledger.reserve(desk.hold(scope, at=desk.noon + timedelta(days=1)), desk.ask(cents=5)), Grant)


def test_a_run_that_only_its_own_process_declared_can_be_topped_up(ledger: Any, desk: Any) -> None:
    run = desk.scope("run:1", usd="0.01")
    spend(ledger, desk, run, 1)

    states = ledger.top_up("run:1", Unit.USD, desk.cent, by="ada", at=desk.noon)

    assert states[0].cap == 2 * desk.cent
    assert isinstance(spend(ledger, desk, run, 1), Grant)


def test_topping_up_what_has_no_budget_says_so(ledger: Any, desk: Any) -> None:
    assert ledger.top_up("scope:nowhere", Unit.USD, desk.cent, by="ada", at=desk.noon) == ()


@pytest.mark.parametrize("amount", [-1, 1.5, True])
def test_a_cap_or_top_up_that_cannot_be_meant_is_refused(ledger: Any, desk: Any, amount: Any) -> None:
    with pytest.raises(BadAmount):
        ledger.top_up("scope:acme", Unit.USD, amount, by="ada", at=desk.noon)
    with pytest.raises(BadAmount):
        ledger.set_cap("scope:acme", Unit.USD, "day", "UTC", amount, by="ada", at=desk.noon)


def test_a_cap_for_a_period_or_zone_that_does_not_exist_is_refused(ledger: Any, desk: Any) -> None:
    with pytest.raises(BadAmount, match="fortnight"):
        ledger.set_cap("scope:acme", Unit.USD, "fortnight", "UTC", 1, by="ada", at=desk.noon)
    with pytest.raises(BadAmount, match="Mars"):
        ledger.set_cap("scope:acme", Unit.USD, "day", "Mars/Base", 1, by="ada", at=desk.noon)


def test_a_balance_never_used_shows_the_stored_cap_or_else_the_declared_one(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.01"), desk.noon)
    accounts = accounts_on((desk.scope(usd="9"), desk.scope("run:1", usd="3")), desk.noon)

    states = ledger.states(accounts)

    assert [(one.cap, one.settled) for one in states] == [(desk.cent, 0), (300 * desk.cent, 0)]


def test_warning_shares_and_the_final_reserve_travel_with_the_stored_budget(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="1.00", warn_at=(0.25, 0.9), reserve_final="0.10"), desk.noon)

    grant = ledger.reserve(desk.hold(desk.scope()), desk.ask())

    account = grant.states[0].account
    assert (account.warn_at, account.reserve_final_pico) == ((0.25, 0.9), 10 * desk.cent)


def listed(ledger: Any, desk: Any) -> Any:
    """(cap in cents, whose it is) of the only budget; None where there is none."""
    found = [(one.budget.cap // desk.cent, one.budget.set_by) for one in ledger.budgets(desk.noon)]
    return found[0] if found else None


@pytest.mark.parametrize("order", [(Source.FILE, Source.CODE), (Source.CODE, Source.FILE)])
def test_code_wins_over_the_file_whoever_speaks_first(ledger: Any, desk: Any, order: Any) -> None:
    caps = {Source.FILE: "0.09", Source.CODE: "0.05"}

    for source in order:
        ledger.declare(desk.scope(usd=caps[source], per="day"), desk.noon, source)

    assert listed(ledger, desk) == (5, "code")
    assert ledger.budgets(desk.noon)[0].budget.in_file == 9 * desk.cent
    assert isinstance(ledger.reserve(desk.hold(desk.scope()), desk.ask(cents=6)), Short)


def test_the_files_cap_holds_again_when_the_code_declares_none(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(usd="0.09", per="day"), desk.noon, Source.FILE)
    ledger.declare(desk.scope(usd="0.05", per="day"), desk.noon)

    ledger.declare(desk.scope(calls=7, per="week"), desk.noon)

    assert [(one.budget.unit, one.budget.cap, one.budget.set_by) for one in ledger.budgets(desk.noon)] == [
        (Unit.CALLS, 7, "code"),
        (Unit.USD, 9 * desk.cent, "file"),
    ]
    assert isinstance(ledger.reserve(desk.hold(desk.scope()), desk.ask(cents=9)), Grant)


def test_what_the_file_declares_replaces_what_the_file_declared_and_no_more(ledger: Any, desk: Any) -> None:
    ledger.declare(desk.scope(calls=3, per="day"), desk.noon)
    ledger.declare(desk.scope(usd="0.09", calls=5, per="day"), desk.noon, Source.FILE)

    ledger.declare(desk.scope(usd="0.08", per="week"), desk.noon, Source.FILE)

    found = [one.budget for one in ledger.budgets(desk.noon)]
    assert [(one.unit, one.per, one.cap, one.set_by, one.in_file) for one in found] == [
        (Unit.CALLS, "day", 3, "code", None),
        (Unit.USD, "week", 8 * desk.cent, "file", 8 * desk.cent),
    ]


def test_a_persons_cap_stands_over_code_and_file_and_gives_way_to_a_new_word_of_the_stronger(
    ledger: Any, desk: Any
) -> None:
    ledger.declare(desk.scope(usd="0.09", per="day"), desk.noon, Source.FILE)
    ledger.declare(desk.scope(usd="0.05", per="day"), desk.noon)
    ledger.set_cap("scope:acme", Unit.USD, "day", "UTC", 7 * desk.cent, by="ada", at=desk.noon)

    ledger.declare(desk.scope(usd="0.08", per="day"), desk.noon, Source.FILE)
    ledger.declare(desk.scope(usd="0.05", per="day"), desk.noon)
    stands = listed(ledger, desk)
    ledger.declare(desk.scope(usd="0.06", per="day"), desk.noon)

    assert (stands, listed(ledger, desk)) == ((7, "person"), (6, "code"))


@pytest.mark.parametrize(("source", "whose"), [(Source.CODE, "code"), (Source.FILE, "file")])
def test_a_persons_cap_that_is_unset_gives_way_to_the_declared_one(
    ledger: Any, desk: Any, source: Source, whose: str
) -> None:
    ledger.declare(desk.scope(usd="0.05", per="day"), desk.noon, source)
    ledger.set_cap("scope:acme", Unit.USD, "day", "UTC", desk.cent, by="ada", at=desk.noon)
    spend(ledger, desk, desk.scope(), 1)

    first = ledger.unset_cap("scope:acme", Unit.USD, "day", "UTC", by="ada", at=desk.noon)
    again = ledger.unset_cap("scope:acme", Unit.USD, "day", "UTC", by="ada", at=desk.noon)

    assert (first, again, listed(ledger, desk)) == (True, False, (5, whose))
    assert isinstance(spend(ledger, desk, desk.scope(), 4), Grant)


def test_a_cap_that_only_a_person_set_is_gone_when_it_is_unset(ledger: Any, desk: Any) -> None:
    ledger.set_cap("scope:acme", Unit.USD, "day", "UTC", desk.cent, by="ada", at=desk.noon)

    assert ledger.unset_cap("scope:acme", Unit.USD, "day", "UTC", by="ada", at=desk.noon)

    assert listed(ledger, desk) is None
    assert isinstance(spend(ledger, desk, desk.scope(), 5), Grant)
    assert not ledger.unset_cap("scope:nowhere", Unit.USD, "day", "UTC", by="ada", at=desk.noon)


def test_a_declared_budget_can_be_forgotten_until_it_is_declared_again(ledger: Any, desk: Any) -> None:
    scope = desk.scope(usd="0.01", per="day")
    ledger.declare(scope, desk.noon)
    spend(ledger, desk, desk.scope(), 1)

    kept = ledger.unset_cap(scope.key, Unit.USD, "day", "UTC", by="ada", at=desk.noon)
    dropped = ledger.unset_cap(scope.key, Unit.USD, "day", "UTC", by="ada", at=desk.noon, declared=True)

    assert (kept, dropped, listed(ledger, desk)) == (False, True, None)
    assert isinstance(spend(ledger, desk, desk.scope(), 5), Grant)
    ledger.declare(scope, desk.noon)
    assert isinstance(spend(ledger, desk, desk.scope(), 1), Short)


def test_unsetting_a_cap_that_stopped_a_run_lets_it_go_on(ledger: Any, desk: Any) -> None:
    ledger.set_cap("run:run-1", Unit.USD, "run", "UTC", desk.cent, by="ada", at=desk.noon)
    account = ledger.budgets(desk.noon)[0].state.account
    ledger.close_run(desk.closure("run-1", account_id=account.id))

    ledger.unset_cap("run:run-1", Unit.USD, "run", "UTC", by="ada", at=desk.noon)

    assert ledger.closures(["run-1"]) == ()
