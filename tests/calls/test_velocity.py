"""Velocity where the ledger and this process see different parts of it."""

from __future__ import annotations

from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.testing import FakeClock, ScriptedReply, scripted_guard

CENT = ScriptedReply("one two three four", usage={"prompt_tokens": 0, "completion_tokens": 400})
THREE_CENTS = tg.Limits(usd_per_minute="0.03")


def cents(clock: FakeClock, **arguments: Any) -> tg.Guard:
    return scripted_guard(lambda _: CENT, prices=PRICES, clock=clock, **arguments)


def call(guard: tg.Guard, number: int = 0) -> None:
    guard.completion(PENNY, ask(number), max_tokens=400)


def test_two_guards_on_one_run_share_its_limit_and_both_are_stopped() -> None:
    clock = FakeClock()

    with cents(clock) as first, first.run("root", limits=THREE_CENTS) as run:
        with cents(clock, ledger=first.late.get().ledger) as second, second.join(run.token()):
            for number in range(2):
                call(first, number)
            call(second, 3)
            with pytest.raises(tg.VelocityExceeded) as stop:
                call(second, 4)
            with pytest.raises(tg.VelocityExceeded):
                call(first, 5)

    assert (stop.value.scope, stop.value.count, stop.value.limit) == ("run root", tg.Money("0.03"), tg.Money("0.03"))
    assert stop.value.receipt is not None
    assert run.receipt().calls == 3


def test_who_joins_knows_the_limits_and_counts_what_it_spends_itself() -> None:
    clock = FakeClock()

    with cents(clock) as first, first.run("root", limits=THREE_CENTS) as run:
        with cents(clock, ledger=first.late.get().ledger) as second, second.join(run.token()):
            for number in range(3):
                call(second, number)
            with pytest.raises(tg.VelocityExceeded):
                call(second, 4)

    assert run.receipt().stopped is not None


def test_after_a_stop_that_others_caused_and_a_resume_this_process_counts_from_nothing() -> None:
    clock = FakeClock()

    with cents(clock) as first, first.run("root", limits=THREE_CENTS) as run:
        with cents(clock, ledger=first.late.get().ledger) as second:
            with second.join(run.token()):
                call(second)
            for number in range(2):
                call(first, number)
            with pytest.raises(tg.VelocityExceeded):
                call(first, 3)
            second.resume(run.id, why="the burst was meant", by="ada")
        for number in range(3):
            call(first, 4 + number)
        with pytest.raises(tg.VelocityExceeded):
            call(first, 9)

    assert run.receipt().calls == 6


def test_a_run_that_somebody_stopped_first_says_so_and_not_how_fast_it_was() -> None:
    clock = FakeClock()

    with cents(clock) as first, first.run("root", limits=THREE_CENTS) as run:
        for number in range(3):
            call(first, number)
        with cents(clock, ledger=first.late.get().ledger) as second:
            second.kill(run.id, why="enough", by="ada")
        with pytest.raises(tg.RunRevoked):
            call(first, 4)


def test_a_cap_that_is_raised_elsewhere_leaves_the_minute_as_it_is() -> None:
    clock, budget = FakeClock(), tg.Budget(usd="0.02")

    with cents(clock) as first, first.run("root", budget=budget, limits=THREE_CENTS) as run:
        for number in range(2):
            call(first, number)
        with pytest.raises(tg.BudgetExceeded):
            call(first, 3)
        with cents(clock, ledger=first.late.get().ledger) as second:
            second.top_up(f"run:{run.id}", usd="1", by="ada")
        call(first, 4)
        with pytest.raises(tg.VelocityExceeded):
            call(first, 5)

    assert run.receipt().calls == 3


def test_a_charge_counts_for_the_next_call() -> None:
    with cents(FakeClock()) as guard, guard.run("root", limits=THREE_CENTS):
        guard.charge("browser", usd="0.03")
        with pytest.raises(tg.VelocityExceeded):
            call(guard)


def test_a_stop_that_another_one_replaced_stays() -> None:
    from tokenguard.calls.velocity import lifted  # noqa: PLC0415  # only this test looks inside

    with cents(FakeClock()) as guard, guard.run("root", limits=THREE_CENTS) as run:
        parts = guard.late.get()
        node = parts.nodes[run.id]
        first, second = (tg.RunRevoked(why, scope="", scope_key="", by="ada", why=why) for why in ("one", "two"))
        node.stopped = second

        lifted(node, first, parts)

        assert node.stopped is second


def test_observing_says_once_for_each_call_that_money_flows_too_fast() -> None:
    would: list[tg.events.WouldHave] = []

    with cents(FakeClock(), mode="observe") as guard, guard.run("root", limits=tg.Limits(usd_per_minute="0.01")):
        guard.on(tg.events.WouldHave, would.append)
        for number in range(3):
            call(guard, number)

    assert [event.error.code for event in would] == ["velocity_exceeded"] * 2
    assert [event.error.kind for event in would] == ["usd_per_minute"] * 2  # type: ignore[attr-defined]
