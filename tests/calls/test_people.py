"""What people do to runs: kill, resume, top up, charge; and what the acts say where they cannot be meant."""

from __future__ import annotations

import os
from typing import Any

import pytest
from support import PENNY, PRICES, ask

import tokenguard as tg
from tokenguard.testing import FakeClock, ScriptedReply, scripted_guard

CENT = ScriptedReply("done", usage={"prompt_tokens": 0, "completion_tokens": 400})


def cents(**arguments: Any) -> tg.Guard:
    """A guard whose calls cost a cent and 400 tokens each."""
    return scripted_guard(lambda _: CENT, prices=PRICES, **arguments)


def call(guard: tg.Guard, number: int = 0) -> Any:
    return guard.completion(PENNY, ask(number), max_tokens=400)


def test_a_kill_of_a_run_that_does_not_exist_is_a_sentence() -> None:
    with cents() as guard, pytest.raises(tg.SetupError, match="there is no run 'nobody' in this ledger"):
        guard.kill("nobody", why="enough")


def test_a_second_kill_changes_nothing_and_says_so() -> None:
    stops: list[tg.events.Stopped] = []

    with cents() as guard, guard.run("agent") as run:
        guard.on(tg.events.Stopped, stops.append)
        first = guard.kill(f"run:{run.id}", why="enough", by="ada")
        second = guard.kill(run.id, why="again", by="grace")
        with pytest.raises(tg.RunRevoked) as stop:
            call(guard)

    assert (first, second) == (True, False)
    assert len(stops) == 1
    assert (stop.value.by, stop.value.why) == ("ada", "enough")


def test_a_resume_of_a_run_that_was_not_stopped_says_so() -> None:
    resumed: list[tg.events.Resumed] = []

    with cents() as guard, guard.run("agent") as run:
        guard.on(tg.events.Resumed, resumed.append)
        before = guard.resume(run.id, why="to be sure")
        guard.kill(run.id, why="enough", by="ada")
        after = guard.resume(run.id, why="it was fine", by="ada")

    assert (before, after) == (False, True)
    assert [event.why for event in resumed] == ["it was fine"]


def test_a_resume_from_elsewhere_lets_a_run_of_this_process_go_on() -> None:
    clock = FakeClock()

    with cents(clock=clock) as guard, guard.run("fast", limits=tg.Limits(usd_per_minute="0.01")) as run:
        call(guard, 1)
        with pytest.raises(tg.VelocityExceeded):
            call(guard, 2)
        with cents(ledger=guard.late.get().ledger) as elsewhere:
            resumed = elsewhere.resume(run.id, why="the burst was meant", by="ada")
        call(guard, 3)
        with pytest.raises(tg.VelocityExceeded):
            call(guard, 4)

    assert resumed
    assert run.receipt().calls == 2


def test_a_tool_of_a_run_that_was_resumed_elsewhere_runs_again() -> None:
    ran: list[str] = []

    with cents() as guard:

        @guard.tool
        def read(path: str) -> str:
            ran.append(path)
            return path

        with guard.run("agent") as run:
            guard.kill(run.id, why="enough", by="ada")
            with pytest.raises(tg.RunRevoked):
                read("a.txt")
            with cents(ledger=guard.late.get().ledger) as elsewhere:
                elsewhere.resume(run.id, why="it was fine", by="ada")
            read("b.txt")
            read("c.txt")

    assert ran == ["b.txt", "c.txt"]


@pytest.mark.parametrize(("unit", "cap", "more"), [("tokens", 900, 400), ("calls", 2, 1), ("steps", 2, 1)])
def test_a_stop_by_any_cap_ends_when_that_cap_is_raised(unit: str, cap: int, more: int) -> None:
    raised: list[tg.events.ToppedUp] = []

    with cents() as guard, guard.run("agent", budget=tg.Budget(**{unit: cap})) as run:  # type: ignore[arg-type]  # one of the three counts
        guard.on(tg.events.ToppedUp, raised.append)
        call(guard, 1)
        call(guard, 2)
        with pytest.raises(tg.BudgetExceeded) as stop:
            call(guard, 3)
        guard.top_up(run.id, **{unit: more})  # type: ignore[arg-type]  # as above
        call(guard, 4)
        with pytest.raises(tg.BudgetExceeded):
            call(guard, 5)

    assert stop.value.unit == unit
    assert (raised[0].amount, raised[0].cap) == (more, cap + more)
    assert run.receipt().calls == 3


def test_a_scope_is_topped_up_by_its_path_or_by_the_key_that_the_error_names() -> None:
    with cents(scope="acme/search", budget=tg.Budget(usd="0.01", per="total")) as guard, guard.run("agent") as run:
        call(guard, 1)
        with pytest.raises(tg.BudgetExceeded) as stop:
            call(guard, 2)
        guard.top_up(stop.value.scope_key, usd="0.01", by="ada")
        call(guard, 3)
        guard.top_up("/acme/search/", usd="0.01")
        call(guard, 4)

    assert run.receipt().cost == tg.Money("0.03")


@pytest.mark.parametrize("amounts", [{}, {"tokens": 0}, {"calls": -1}, {"tokens": 1.5}, {"steps": "many"}])
def test_a_top_up_that_cannot_be_meant_raises_nothing(amounts: dict[str, Any]) -> None:
    with cents() as guard, guard.run("agent", budget=tg.Budget(calls=1)) as run, pytest.raises(tg.BadAmount):
        guard.top_up(run.id, **amounts)


def test_who_acts_is_the_user_of_the_machine_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "grace")

    with cents() as guard, guard.run("agent") as run:
        guard.kill(run.id, why="enough")
        with pytest.raises(tg.RunRevoked, match="stopped by grace: enough") as stop:
            call(guard)

    assert stop.value.by == "grace"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)  # what it raises in a container without /etc/passwd

    with cents() as guard, guard.run("agent") as run:
        guard.kill(run.id, why="enough")
        with pytest.raises(tg.RunRevoked) as stop:
            call(guard)

    assert stop.value.by == f"uid {os.getuid()}"


def test_a_charge_of_nothing_is_nothing_and_not_its_ceiling() -> None:
    with cents() as guard, guard.run("agent") as run:
        with guard.charge("browser", up_to="0.50") as charge:
            charge.usd("0")

    assert run.receipt().cost == tg.Money(0)
    assert run.receipt().assumed == tg.Money(0)


def test_a_charge_above_its_ceiling_is_booked_in_full_and_is_an_overrun() -> None:
    overruns: list[tg.events.Overrun] = []

    with cents() as guard, guard.run("agent", budget=tg.Budget(usd="1")) as run:
        guard.on(tg.events.Overrun, overruns.append)
        with guard.charge("browser", up_to="0.50") as charge:
            charge.usd("0.10")
            charge.usd("0.70")

    assert run.receipt().cost == tg.Money("0.70")
    assert [(event.ceiling, event.cost) for event in overruns] == [(tg.Money("0.50"), tg.Money("0.70"))]


def test_a_charge_below_zero_is_refused_and_its_ceiling_is_booked() -> None:
    with cents() as guard, guard.run("agent") as run:
        with guard.charge("browser", up_to="0.50") as charge, pytest.raises(tg.BadAmount, match="below zero"):
            charge.usd("-0.10")

    assert run.receipt().assumed == tg.Money("0.50")


def test_a_charge_that_never_began_cannot_end() -> None:
    with cents() as guard, guard.run("agent") as run, pytest.raises(tg.SetupError, match="never began"):
        guard.charge("browser", up_to="0.50").__exit__(None, None, None)

    assert run.receipt().held == tg.Money(0)


def test_a_charge_that_ended_twice_is_booked_once() -> None:
    with cents() as guard, guard.run("agent") as run:
        with guard.charge("browser", up_to="0.50") as charge:
            charge.usd("0.20")
        charge.__exit__(None, None, None)

    assert run.receipt().cost == tg.Money("0.20")


async def test_a_charge_under_asyncio_is_reserved_first_and_settles_at_its_cost() -> None:
    with cents() as guard:
        async with guard.run("agent", budget=tg.Budget(usd="1")) as run:
            async with guard.charge("browser", up_to="0.60") as charge:
                held = run.receipt().held
                charge.usd("0.25")
            with pytest.raises(RuntimeError, match="crashed"):
                async with guard.charge("browser", up_to="0.75"):
                    raise RuntimeError("the browser crashed")
            with pytest.raises(tg.BudgetExceeded):
                async with guard.charge("browser", up_to="0.01"):
                    raise AssertionError("not reached")

    assert held == tg.Money("0.60")
    assert run.receipt().cost == tg.Money("1")
    assert run.receipt().assumed == tg.Money("0.75")


def test_a_charge_outside_any_run_is_unattributed() -> None:
    with cents() as guard:
        with pytest.warns(tg.UnattributedSpend, match="'browser'"):
            guard.charge("browser", usd="0.25")
        (row,) = guard._late.get().ledger.spend(["scope"])

    assert (row.by, row.usd) == (("unattributed",), tg.Money("0.25"))


def test_the_variables_of_a_run_are_its_token_and_its_file(tmp_path: Any) -> None:
    database = tmp_path / "spend.db"

    with cents(database=str(database)) as guard, guard.run("agent") as run:
        on_disk = guard.env()
    with cents() as guard, guard.run("agent"):
        in_memory = guard.env()

    assert sorted(on_disk) == ["TOKENGUARD_DATABASE", "TOKENGUARD_RUN"]
    assert on_disk["TOKENGUARD_RUN"].startswith(f"tg1.{run.id}.")
    assert on_disk["TOKENGUARD_DATABASE"] == str(database)
    assert sorted(in_memory) == ["TOKENGUARD_RUN"]


def test_outside_a_run_there_is_nothing_to_hand_down() -> None:
    with cents() as guard, pytest.raises(tg.SetupError, match="call it inside"):
        guard.env()


def test_steps_have_no_token_but_the_run_they_belong_to_has() -> None:
    tokens: list[str] = []

    with cents() as guard:

        @guard.step
        def step() -> None:
            tokens.append(guard.env()["TOKENGUARD_RUN"])

        with guard.run("agent") as run:
            step()

    assert tokens[0].split(".")[1] == run.id


def test_a_run_that_has_not_begun_has_neither_frame_nor_receipt() -> None:
    with cents() as guard:
        run = guard.run("later")
        with pytest.raises(tg.SetupError, match="has not begun"):
            run.receipt()
        with pytest.raises(tg.SetupError, match="use it in `with`"):
            _ = run.frame

    assert run.name == "later"


def test_the_word_for_how_a_run_ended_is_the_users() -> None:
    with cents() as guard:
        with guard.run("agent") as run:
            run.outcome("handed over")
        with pytest.raises(KeyboardInterrupt), guard.run("interrupted") as cut:
            raise KeyboardInterrupt

    assert run.receipt().node.outcome == "handed over"
    assert cut.receipt().node.outcome == "cancelled"


@pytest.mark.parametrize("labels", [{"team": 7}, {7: "search"}])
def test_labels_are_text_and_are_inherited(labels: dict[Any, Any]) -> None:
    with cents() as guard:
        with guard.run("agent", labels={"team": "search"}), guard.run("below", labels={"feature": "digest"}) as below:
            pass
        with pytest.raises(tg.SetupError, match="names and values are text"):
            guard.run("wrong", labels=labels)

    assert below.receipt().node.labels == {"team": "search", "feature": "digest"}
